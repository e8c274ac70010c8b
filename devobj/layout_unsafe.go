package devobj

import (
	"unsafe"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Sizes of the objects, in bytes.
const (
	sizeofDriverObject    = unsafe.Sizeof(nt.DriverObject{})
	sizeofDriverExtension = unsafe.Sizeof(nt.DriverExtension{})
	sizeofDeviceObject    = unsafe.Sizeof(nt.DeviceObject{})
	sizeofDevObjExtension = unsafe.Sizeof(nt.DevObjExtension{})
	sizeofDeviceQueue     = unsafe.Sizeof(nt.KDeviceQueue{})
	sizeofFileObject      = unsafe.Sizeof(nt.FileObject{})
	sizeofEvent           = unsafe.Sizeof(nt.KEvent{})
	sizeofUnicodeString   = unsafe.Sizeof(nt.UnicodeString{})
)

// initList makes a list head in guest memory empty: it points at itself.
func initList(head *nt.ListEntry) {
	a := guest.AddrOf(head)
	head.Flink, head.Blink = a, a
}
