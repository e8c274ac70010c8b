package ntoskrnl

import (
	"unsafe"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Sizes and offsets of guest structures that have to do with objects, in bytes.
const (
	sizeofUnicodeString    = unsafe.Sizeof(nt.UnicodeString{})
	sizeofObjectAttributes = unsafe.Sizeof(nt.ObjectAttributes{})
	sizeofObjectTypeInfo   = unsafe.Sizeof(objectTypeInfo{})

	fileNameOffset  = guest.Addr(unsafe.Offsetof(nt.FileObject{}.FileName))
	fileEventOffset = guest.Addr(unsafe.Offsetof(nt.FileObject{}.Event))
)

// sizeOf gives the size of a T in guest memory, in bytes.
func sizeOf[T any]() uintptr {
	var v T
	return unsafe.Sizeof(v)
}

const (
	altitudeOffset       = guest.Addr(unsafe.Offsetof(obCallbackRegistration{}.Altitude))
	preParametersOffset  = guest.Addr(unsafe.Offsetof(obPreOperation{}.DesiredAccess))
	postParametersOffset = guest.Addr(unsafe.Offsetof(obPostOperation{}.GrantedAccess))
)
