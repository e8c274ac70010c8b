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

// Sizes and offsets of structures that one component alone knows, in bytes.
const (
	lookasideFree           = guest.Addr(unsafe.Offsetof(nt.GeneralLookaside{}.Free))
	exTimerDPC              = guest.Addr(unsafe.Offsetof(exTimer{}.Dpc))
	sizeofExTimer           = unsafe.Sizeof(exTimer{})
	sizeofInterrupt         = unsafe.Sizeof(interruptObject{})
	interruptLock           = guest.Addr(unsafe.Offsetof(interruptObject{}.SpinLock))
	sizeofRemoveLock        = unsafe.Sizeof(removeLock{})
	sizeofCheckedRemoveLock = sizeofRemoveLock + unsafe.Sizeof(removeLockChecked{})
	removeLockCount         = guest.Addr(unsafe.Offsetof(removeLock{}.IoCount))
	removeLockEvent         = guest.Addr(unsafe.Offsetof(removeLock{}.RemoveEvent))
	bugCheckState           = guest.Addr(unsafe.Offsetof(bugCheckRecord{}.State))
	bugCheckReasonState     = guest.Addr(unsafe.Offsetof(bugCheckReasonRecord{}.State))
	removeLockList          = guest.Addr(unsafe.Offsetof(removeLockChecked{}.LockList))
)
