package nt

import "strconv"

// Addr is an address in the driver's address space: what Windows' headers call PVOID. Its size
// follows the pointer size of the host, which is also the driver's.
type Addr uintptr

// String gives the address in hexadecimal, as debuggers print it.
func (a Addr) String() string { return "0x" + strconv.FormatUint(uint64(a), 16) }
