// The vocabulary of the address space: addresses, protections, arenas and kinds of region.

package guest

import "github.com/drvhost/drvhost/nt"

// Addr is an address in the guest's address space.
type Addr = nt.Addr

const (
	// PageSize is the size of a page in bytes; every protection and every commit is a multiple.
	PageSize = 0x1000

	// LowGuard is the end of the range at the bottom that is never mapped, so that a null pointer
	// with an offset faults: the first 64 KiB, as on Windows.
	LowGuard Addr = 0x10000

	// UserBase is where the user arena starts.
	UserBase Addr = 0x1000_0000

	// UserEnd is where the user arena ends.
	UserEnd Addr = 0x1_0000_0000

	// SystemRangeStart is the lowest system address (MmSystemRangeStart). The user arena ends
	// there, so that the image bases 0x140000000 and 0x180000000 are system addresses.
	SystemRangeStart = UserEnd

	// mappableEnd is the end of what Linux lets a process map on x86-64 unless it asks for more:
	// 47 bits less a guard page (Documentation/arch/x86/x86_64/mm.rst).
	mappableEnd Addr = 1<<47 - PageSize

	// userAlign is the alignment of allocations in the user arena: Windows' allocation
	// granularity (SYSTEM_INFO, dwAllocationGranularity).
	userAlign = 0x10000

	// guardSize is the inaccessible gap on each side of an allocation.
	guardSize = PageSize
)

// Prot says what may be done with a page. The values are those of mmap's PROT_ flags.
type Prot uint8

// Protections, to be combined with |. A page with ProtNone keeps its contents, but every access
// faults.
const (
	ProtNone  Prot = 0
	ProtRead  Prot = 1
	ProtWrite Prot = 2
	ProtExec  Prot = 4

	ProtRW  = ProtRead | ProtWrite
	ProtRX  = ProtRead | ProtExec
	ProtRWX = ProtRead | ProtWrite | ProtExec
)

// String gives the protection as three letters, such as "rw-".
func (p Prot) String() string {
	b := [3]byte{'-', '-', '-'}
	for i, c := range []byte("rwx") {
		if p&(1<<i) != 0 {
			b[i] = c
		}
	}
	return string(b[:])
}

// Arena names one of the two reserved parts of the address space.
type Arena uint8

// The arenas.
const (
	ArenaUser   Arena = iota // [UserBase, UserEnd): client windows and what drivers map for users
	ArenaSystem              // above 2^46: pool, stacks, MDL mappings, KPCRs, relocated images
)

// String gives the arena's name.
func (a Arena) String() string {
	if a == ArenaUser {
		return "user arena"
	}
	return "system arena"
}

// Kind says what a region is to a driver.
type Kind uint8

// The kinds of region.
const (
	KindUser   Kind = iota + 1 // user memory, in the user arena
	KindSystem                 // system memory, in the system arena
	KindFixed                  // at an address that was asked for: images; never user memory
	KindStack                  // kernel stacks
)

// String gives the kind's name.
func (k Kind) String() string {
	switch k {
	case KindUser:
		return "user"
	case KindSystem:
		return "system"
	case KindFixed:
		return "fixed"
	case KindStack:
		return "stack"
	}
	return "unknown"
}

// pageAlign rounds n up to whole pages; ok is false when that overflows.
func pageAlign(n uintptr) (aligned uintptr, ok bool) {
	aligned = (n + PageSize - 1) &^ (PageSize - 1)
	return aligned, aligned >= n
}
