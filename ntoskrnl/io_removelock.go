package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Remove locks: a count of who uses a device, for the driver that removes it to wait for.
var ioRemoveLockExports = []Export{
	{Name: "IoInitializeRemoveLockEx", Fn: do5(ioInitializeRemoveLockEx),
		Params:  "Lock AllocateTag:tag MaxLockedMinutes:d HighWatermark:d RemlockSize:d",
		MaxIRQL: passive, Support: Full},
	{Name: "IoAcquireRemoveLockEx", Fn: fn5(ioAcquireRemoveLockEx),
		Params: "RemoveLock Tag File:str Line:d RemlockSize:d", MaxIRQL: dispatch, Support: Full},
	{Name: "IoReleaseRemoveLockEx", Fn: do3(ioReleaseRemoveLockEx),
		Params: "RemoveLock Tag RemlockSize:d", MaxIRQL: dispatch, Support: Full},
	{Name: "IoReleaseRemoveLockAndWaitEx", Fn: do3(ioReleaseRemoveLockAndWaitEx),
		Params: "RemoveLock Tag RemlockSize:d", MaxIRQL: passive, Support: Full},
}

// removeLock is IO_REMOVE_LOCK_COMMON_BLOCK: the whole of an IO_REMOVE_LOCK, but in a driver that was
// built for checking. IoCount is 1 for the lock itself and 1 for each acquisition.
type removeLock struct {
	Removed     nt.Boolean
	IoCount     int32
	RemoveEvent nt.KEvent
}

// removeLockChecked is IO_REMOVE_LOCK_DBG_BLOCK, which a checked driver has behind it.
type removeLockChecked struct {
	Signature      int32
	HighWatermark  uint32
	MaxLockedTicks int64
	AllocateTag    uint32
	LockList       nt.ListEntry
	Spin           uintptr
	LowMemoryCount uint32
	Reserved1      [4]uint32
	Reserved2      guest.Addr
	Blocks         guest.Addr
}

// ioInitializeRemoveLockEx makes a remove lock. What a checked driver wants to be watched, who holds
// the lock for how long and how often, is kept in it and not watched, as on a free build of Windows.
//
//	VOID IoInitializeRemoveLockEx(PIO_REMOVE_LOCK Lock, ULONG AllocateTag, ULONG MaxLockedMinutes,
//	    ULONG HighWatermark, ULONG RemlockSize)
//
// "IoInitializeRemoveLock macro (wdm.h)".
func ioInitializeRemoveLockEx(c *Call, lock guest.Addr, tag, minutes, watermark, size uint32) {
	Store(c, lock, removeLock{IoCount: 1})
	c.Must(ke.InitializeEvent(lock+removeLockEvent, nt.SynchronizationEvent, false))
	if uintptr(size) != sizeofCheckedRemoveLock {
		return
	}
	const ticksPerMinute = 60 * 10_000_000 / ke.TimeIncrement
	checked := lock + guest.Addr(sizeofRemoveLock)
	list := checked + removeLockList
	Store(c, checked, removeLockChecked{HighWatermark: watermark, AllocateTag: tag,
		MaxLockedTicks: int64(minutes) * ticksPerMinute,
		LockList:       nt.ListEntry{Flink: list, Blink: list}})
}

// ioAcquireRemoveLockEx counts a use of the device.
//
//	NTSTATUS IoAcquireRemoveLockEx(PIO_REMOVE_LOCK RemoveLock, PVOID Tag, PCSTR File, ULONG Line,
//	    ULONG RemlockSize)
//
// STATUS_DELETE_PENDING if the device is being removed. "IoAcquireRemoveLock macro (wdm.h)".
func ioAcquireRemoveLockEx(c *Call, lock guest.Addr, tag uint64, file guest.Addr,
	line, size uint32) nt.Status {
	_, err := guest.Add32(lock+removeLockCount, 1)
	c.Must(err)
	removed, err := guest.Load8(lock)
	c.Must(err)
	if removed == 0 {
		return nt.STATUS_SUCCESS
	}
	ioReleaseRemoveLockEx(c, lock, tag, size)
	return nt.STATUS_DELETE_PENDING
}

// ioReleaseRemoveLockEx ends a use of the device.
//
//	VOID IoReleaseRemoveLockEx(PIO_REMOVE_LOCK RemoveLock, PVOID Tag, ULONG RemlockSize)
//
// "IoReleaseRemoveLock macro (wdm.h)".
func ioReleaseRemoveLockEx(c *Call, lock guest.Addr, tag uint64, size uint32) {
	left, err := guest.Add32(lock+removeLockCount, ^uint32(0))
	c.Must(err)
	if left == 0 {
		_, err := c.Ke.SetEvent(lock + removeLockEvent)
		c.Must(err)
	}
}

// ioReleaseRemoveLockAndWaitEx ends the caller's use of the device, refuses more, and waits for the
// others to end.
//
//	VOID IoReleaseRemoveLockAndWaitEx(PIO_REMOVE_LOCK RemoveLock, PVOID Tag, ULONG RemlockSize)
//
// "IoReleaseRemoveLockAndWait macro (wdm.h)".
func ioReleaseRemoveLockAndWaitEx(c *Call, lock guest.Addr, tag uint64, size uint32) {
	c.Must(guest.Store8(lock, nt.TRUE))
	ioReleaseRemoveLockEx(c, lock, tag, size)
	left, err := guest.Add32(lock+removeLockCount, ^uint32(0))
	c.Must(err)
	if int32(left) > 0 {
		_, err := c.T.WaitForSingleObject(lock+removeLockEvent, ke.Forever)
		c.Must(err)
	}
}
