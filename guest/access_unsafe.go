//go:build linux && amd64

// The assembly routines in access_amd64.s, as Go sees them.
//
// Each gives a result info that is 0 when the access succeeded, else what the signal handler knows
// of the fault (see faultWrite). The address in the signal frame is then in the place of the value,
// or in at.

package guest

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// Loads: (address) → (value, info).

func load8(a uintptr) (v, info uint64)
func load16(a uintptr) (v, info uint64)
func load32(a uintptr) (v, info uint64)
func load64(a uintptr) (v, info uint64)

// Stores and read-modify-writes: (address, operand) → (value before, info). What a store gives as
// the value before is undefined.

func store8(a uintptr, v uint64) (old, info uint64)
func store16(a uintptr, v uint64) (old, info uint64)
func store32(a uintptr, v uint64) (old, info uint64)
func store64(a uintptr, v uint64) (old, info uint64)
func swap32(a uintptr, v uint64) (old, info uint64)
func swap64(a uintptr, v uint64) (old, info uint64)
func add32(a uintptr, v uint64) (old, info uint64)
func add64(a uintptr, v uint64) (old, info uint64)
func or32(a uintptr, v uint64) (old, info uint64)
func and32(a uintptr, v uint64) (old, info uint64)

// Compare and exchange: (address, expected, new) → (value before, info).

func cas32(a uintptr, expect, v uint64) (old, info uint64)
func cas64(a uintptr, expect, v uint64) (old, info uint64)

// Fast copies and fills: on a fault an unknown part of the range has been done, left is undefined.
// The ranges must not overlap.

//go:noescape
func copyIn(dst unsafe.Pointer, src, n uintptr) (left uintptr, info uint64, at uintptr)

//go:noescape
func copyOut(dst uintptr, src unsafe.Pointer, n uintptr) (left uintptr, info uint64, at uintptr)

func copyGuest(dst, src, n uintptr) (left uintptr, info uint64, at uintptr)
func fill(dst uintptr, b uint64, n uintptr) (left uintptr, info uint64, at uintptr)

// Exact copies and fills, byte after byte: on a fault, left bytes have not been done.

//go:noescape
func copyInExact(dst unsafe.Pointer, src, n uintptr) (left uintptr, info uint64, at uintptr)

//go:noescape
func copyOutExact(dst uintptr, src unsafe.Pointer, n uintptr) (left uintptr, info uint64,
	at uintptr)

func copyGuestExact(dst, src, n uintptr) (left uintptr, info uint64, at uintptr)
func fillExact(dst uintptr, b uint64, n uintptr) (left uintptr, info uint64, at uintptr)

// Where the signal handler sends a routine that faulted, by the routine's signature. Go never
// calls these.

func landAccess1(a uintptr) (v, info uint64)
func landAccess2(a uintptr, v uint64) (old, info uint64)
func landAccess3(a uintptr, x, y uint64) (old, info uint64)
func landCopy(a, x, n uintptr) (left uintptr, info uint64, at uintptr)

// onAccessFault is the signal handler; the kernel calls it.
func onAccessFault()

// onAccessFaultPC gives the address of onAccessFault.
func onAccessFaultPC() uintptr

// routine gives row i of the table of access routines: where the routine starts and where it lands
// when it faults. Past the last row both are 0.
func routine(i uintptr) (start, landing uintptr)

var (
	// hasAVX lets copies move 32 bytes at a time.
	hasAVX = cpu.X86.HasAVX

	// repMin is the length in bytes from which copies use REP MOVSB: below it the instruction's
	// start-up time shows.
	repMin uintptr = 8192
)
