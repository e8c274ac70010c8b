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
