// What an access to a bad address gives back.

package guest

import (
	"fmt"

	"github.com/drvhost/drvhost/nt"
)

// Access is the kind of access that failed. The values are those of ExceptionInformation[0] for
// STATUS_ACCESS_VIOLATION (EXCEPTION_RECORD structure).
type Access uint8

// The kinds of access. A read-modify-write such as Add32 counts as a write.
const (
	AccessRead  Access = 0
	AccessWrite Access = 1
	AccessExec  Access = 8
)

// String gives the access as a verb.
func (a Access) String() string {
	switch a {
	case AccessRead:
		return "read"
	case AccessWrite:
		return "write"
	case AccessExec:
		return "execute"
	}
	return "access"
}

// FaultError is the error of an access to an address that is not there, or not there for that kind
// of access. It unwraps to STATUS_ACCESS_VIOLATION. The functions of this package return it as
// *FaultError.
type FaultError struct {
	// Addr is the first address that could not be accessed. A copy has done every byte before it.
	Addr Addr

	// Access is what was tried.
	Access Access
}

// Error names the access, the address and what lies there.
func (e *FaultError) Error() string {
	s := fmt.Sprintf("cannot %v guest address %v", e.Access, e.Addr)
	if space := defaultSpace.Load(); space != nil {
		s += " (" + space.Describe(e.Addr) + ")"
	}
	return s
}

// Status gives STATUS_ACCESS_VIOLATION.
func (e *FaultError) Status() nt.Status { return nt.STATUS_ACCESS_VIOLATION }

// Unwrap gives the status, so that errors.Is finds it.
func (e *FaultError) Unwrap() error { return e.Status() }

// The signal handler packs what it knows of a fault into one word: bit 32 is always set, bits 8 to
// 15 are the trap number, bits 0 to 7 the low bits of the error code.
const (
	faultWrite    = 1 << 1 // page fault error code: the access was a write
	trapPageFault = 14
)

// newFault makes the error of a single access to a. at is the address in the signal frame, which
// is missing when the processor raised a general protection fault instead of a page fault, as it
// does for a non-canonical address.
//
//go:noinline
func newFault(a Addr, access Access, info, at uint64) error {
	if byte(info>>8) == trapPageFault || at != 0 {
		a = Addr(at)
	}
	return &FaultError{Addr: a, Access: access}
}
