package irp

import (
	"unsafe"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

const (
	locationSize = unsafe.Sizeof(nt.IOStackLocation{})
	irpSize      = unsafe.Sizeof(nt.IRP{})
)

// initIRP does what IoInitializeIrp does, for an IRP of n stack locations whose memory is the
// host's own.
func initIRP(p *nt.IRP, n int8) {
	*p = nt.IRP{}
	addr := guest.AddrOf(p)
	locations := unsafe.Slice((*nt.IOStackLocation)(unsafe.Add(unsafe.Pointer(p), irpSize)), n)
	clear(locations)
	p.Type, p.Size = nt.IO_TYPE_IRP, nt.IoSizeOfIrp(n)
	p.StackCount, p.CurrentLocation = n, n+1
	p.ThreadListEntry.Flink = addr + guest.Addr(unsafe.Offsetof(p.ThreadListEntry))
	p.ThreadListEntry.Blink = p.ThreadListEntry.Flink
	p.Tail.Overlay.CurrentStackLocation = addr + guest.Addr(irpSize) + guest.Addr(uintptr(n)*locationSize)
}

// location gives stack location i, from 1, in place; the caller has checked that it is there.
func location(p *nt.IRP, i int8) *nt.IOStackLocation {
	return (*nt.IOStackLocation)(unsafe.Add(unsafe.Pointer(p), irpSize+uintptr(i-1)*locationSize))
}

// locationAddr gives the address of stack location i, from 1, of the IRP at addr.
func locationAddr(addr guest.Addr, i int8) guest.Addr {
	return addr + guest.Addr(irpSize+uintptr(i-1)*locationSize)
}

const (
	cancelRoutineOffset = guest.Addr(unsafe.Offsetof(nt.IRP{}.CancelRoutine))
	cancelOffset        = guest.Addr(unsafe.Offsetof(nt.IRP{}.Cancel))
	associatedOffset    = guest.Addr(unsafe.Offsetof(nt.IRP{}.AssociatedIrp))
	ioStatusOffset      = guest.Addr(unsafe.Offsetof(nt.IRP{}.IoStatus))

	csqContextIRP = guest.Addr(unsafe.Offsetof(CSQContext{}.Irp))
)

// Sizes of what an open needs, in bytes.
const (
	sizeofSecurityContext = unsafe.Sizeof(nt.IOSecurityContext{})
	securityContextSize   = sizeofSecurityContext + unsafe.Sizeof(nt.AccessState{})
	iosbSize              = unsafe.Sizeof(nt.IOStatusBlock{})
)
