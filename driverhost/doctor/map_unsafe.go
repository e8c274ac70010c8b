package doctor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapsAt tells whether memory can be mapped at an address where nothing is, and unmaps it again. If
// something is there already, such as a host's own drivers, it can.
func mapsAt(addr, size uintptr) bool {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE | unix.MAP_FIXED_NOREPLACE
	at, _, e := unix.Syscall6(unix.SYS_MMAP, addr, size, unix.PROT_NONE, flags, ^uintptr(0), 0)
	if e != 0 {
		return e == unix.EEXIST
	}
	_ = unix.MunmapPtr(unsafe.Add(nil, at), size)
	return at == addr
}
