// What Windows would stop the system for.

package mm

import (
	"fmt"

	"github.com/drvhost/drvhost/nt"
)

// PoolError is a misuse of the pool that stops Windows.
type PoolError struct {
	// Code is BAD_POOL_CALLER, BAD_POOL_HEADER or DRIVER_CAUGHT_MODIFYING_FREED_POOL.
	Code nt.BugCheck

	// Params are the bugcheck's four parameters. Where Windows would give the address of the pool
	// header, it is the address 16 bytes before the block.
	Params [4]uint64

	// Addr is the block, and Tag the tag with which it was allocated, where that is known.
	Addr nt.Addr
	Tag  Tag

	// What says in one sentence what happened.
	What string
}

// Error gives the bugcheck, its parameters and what happened.
func (e *PoolError) Error() string { return describeStop(e.Code, e.Params, e.What) }

// BugCheck gives the code and the parameters.
func (e *PoolError) BugCheck() (nt.BugCheck, [4]uint64) { return e.Code, e.Params }

// StopError is any other misuse of the memory manager that stops Windows.
type StopError struct {
	Code   nt.BugCheck
	Params [4]uint64
	What   string // what happened, in one sentence
}

// Error gives the bugcheck, its parameters and what happened.
func (e *StopError) Error() string { return describeStop(e.Code, e.Params, e.What) }

// BugCheck gives the code and the parameters.
func (e *StopError) BugCheck() (nt.BugCheck, [4]uint64) { return e.Code, e.Params }

func describeStop(code nt.BugCheck, p [4]uint64, what string) string {
	return fmt.Sprintf("%v {%#x, %#x, %#x, %#x}: %s", code.Error(), p[0], p[1], p[2], p[3], what)
}

// The kinds of BAD_POOL_CALLER (Bug Check 0xC2, parameter 1) that the pool reports.
const (
	poolAlreadyFreed   = 0x07 // reserved, header contents, address
	poolAllocIRQL      = 0x08 // IRQL, pool type, size
	poolFreeIRQL       = 0x09 // IRQL, pool type, address
	poolWrongTag       = 0x0A // address, allocator's tag, tag of the attempted free
	poolUserAddress    = 0x40 // address, start of system address space, 0
	poolNeverAllocated = 0x43 // address, 0, 0
	poolInvalidAddress = 0x46 // address, 0, 0
	poolNotContiguous  = 0x60 // address, 0, 0
	poolMustSucceed    = 0x9A // pool type, size, tag
	poolZeroTag        = 0x9B // pool type, size, caller
	poolTagBIG         = 0x9C // pool type, size, caller
)

// poolHeaderCorrupted is the kind of BAD_POOL_HEADER (Bug Check 0x19, parameter 1) for a block that
// was written past its end: entry, next entry, reserved.
const poolHeaderCorrupted = 0x20

// The kinds of DRIVER_VERIFIER_DETECTED_VIOLATION (Bug Check 0xC4, parameter 1) that MDL routines
// report: MDL, its flags, and the flags that are wrong or missing.
const (
	verifierLockFlags   = 0xB0 // MmProbeAndLockPages of an MDL that needs no lock
	verifierMapFlags    = 0xB3 // MmMapLockedPages of an MDL that is not locked
	verifierUnlockFlags = 0xB4 // MmUnlockPages of a partial MDL
)

// badCaller makes a BAD_POOL_CALLER about the address a.
func badCaller(kind uint64, a nt.Addr, what string) *PoolError {
	return &PoolError{Code: nt.BAD_POOL_CALLER, Params: [4]uint64{kind, uint64(a)}, Addr: a,
		What: what}
}
