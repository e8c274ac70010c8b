package ntoskrnl

import (
	"unsafe"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Offsets into threads and processes, in bytes. KTHREAD.Priority lies in the padding of ApcState.
const (
	imageFileName      = guest.Addr(unsafe.Offsetof(nt.EProcess{}.ImageFileName))
	threadBasePriority = guest.Addr(unsafe.Offsetof(nt.KThread{}.BasePriority))
	threadPriority     = guest.Addr(unsafe.Offsetof(nt.KThread{}.ApcState) + 0x2B)

	sizeofIOWorkItem = unsafe.Sizeof(ioWorkItem{})
)
