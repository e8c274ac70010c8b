package ntoskrnl

import (
	"unsafe"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Sizes and offsets of guest structures, in bytes.
const (
	sizeofModuleEntry = unsafe.Sizeof(nt.KLdrDataTableEntry{})
	flinkSize         = guest.Addr(unsafe.Offsetof(nt.ListEntry{}.Blink))
)

const irpMdlOffset = guest.Addr(unsafe.Offsetof(nt.IRP{}.MdlAddress))

// addrBytes gives an address as the bytes that memory has.
func addrBytes(a guest.Addr) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&a)), unsafe.Sizeof(a))
}
