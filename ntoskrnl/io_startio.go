package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// StartIo: a device that works on one IRP at a time, with the others in its DeviceQueue.
var ioStartIOExports = []Export{
	{Name: "IoStartPacket", Fn: do4(ioStartPacket), Params: "DeviceObject Irp Key CancelFunction",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoStartNextPacket", Fn: do2(ioStartNextPacket), Params: "DeviceObject Cancelable:b",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoStartNextPacketByKey", Fn: do3(ioStartNextPacketByKey),
		Params: "DeviceObject Cancelable:b Key:d", MaxIRQL: dispatch, Support: Full},
}

// startIO calls a driver's StartIo routine with the IRP that its device is to work on, at
// DISPATCH_LEVEL.
func (c *Call) startIO(device, irp guest.Addr) {
	driver := Load[guest.Addr](c, device+deviceDriverAt)
	routine := Load[guest.Addr](c, driver+driverStartIO)
	c.T.Call(routine, uint64(device), uint64(irp))
}

// ioStartPacket gives an IRP to the StartIo routine, or queues it if the device is busy: by the key, if
// there is one. With a cancel function the IRP can be cancelled from then on.
//
//	VOID IoStartPacket(PDEVICE_OBJECT DeviceObject, PIRP Irp, PULONG Key, PDRIVER_CANCEL CancelFunction)
//
// "IoStartPacket function (ntifs.h)".
func ioStartPacket(c *Call, device, irp, key, cancel guest.Addr) {
	c.deviceObject(device)
	sort, byKey := uint32(0), key != 0
	if byKey {
		sort = Load[uint32](c, key)
	}
	old := c.T.RaiseIRQL(dispatch)
	if cancel != 0 {
		c.IO.AcquireCancelSpinLock(c.T)
		Store(c, irp+irpCancelRoutineAt, cancel)
	}
	queued, err := c.T.InsertDeviceQueue(device+deviceQueueAt, irp+irpQueueEntryAt, sort, byKey)
	c.Must(err)
	switch {
	case !queued:
		Store(c, device+deviceCurrentAt, irp)
		if cancel != 0 {
			c.IO.ReleaseCancelSpinLock(c.T, dispatch)
		}
		c.startIO(device, irp)
	case cancel != 0 && Load[nt.Boolean](c, irp+irpCancelAt) != 0:
		// It was cancelled before it had a routine for that. The routine gives the lock back.
		Store(c, irp+irpCancelIRQLAt, dispatch)
		Store(c, irp+irpCancelRoutineAt, guest.Addr(0))
		c.T.Call(cancel, uint64(device), uint64(irp))
	case cancel != 0:
		c.IO.ReleaseCancelSpinLock(c.T, dispatch)
	}
	c.T.LowerIRQL(old)
}

// ioStartNextPacket gives the next IRP of a device's queue to its StartIo routine. Cancelable says that
// IRPs there may be cancelled.
//
//	VOID IoStartNextPacket(PDEVICE_OBJECT DeviceObject, BOOLEAN Cancelable)
//
// "IoStartNextPacket function (ntifs.h)".
func ioStartNextPacket(c *Call, device guest.Addr, cancelable nt.Boolean) {
	c.startNext(device, cancelable, 0, false)
}

// ioStartNextPacketByKey is the same for the first IRP whose key is not less, or else the first of all.
//
//	VOID IoStartNextPacketByKey(PDEVICE_OBJECT DeviceObject, BOOLEAN Cancelable, ULONG Key)
//
// "IoStartNextPacketByKey function (ntifs.h)".
func ioStartNextPacketByKey(c *Call, device guest.Addr, cancelable nt.Boolean, key uint32) {
	c.startNext(device, cancelable, key, true)
}

func (c *Call) startNext(device guest.Addr, cancelable nt.Boolean, key uint32, byKey bool) {
	c.deviceObject(device)
	old := c.T.RaiseIRQL(dispatch)
	if cancelable != 0 {
		c.IO.AcquireCancelSpinLock(c.T)
	}
	Store(c, device+deviceCurrentAt, guest.Addr(0))
	entry, err := c.T.RemoveDeviceQueue(device+deviceQueueAt, key, byKey)
	c.Must(err)
	irp := guest.Addr(0)
	if entry != 0 {
		irp = entry - irpQueueEntryAt
		Store(c, device+deviceCurrentAt, irp)
	}
	if cancelable != 0 {
		c.IO.ReleaseCancelSpinLock(c.T, dispatch)
	}
	if irp != 0 {
		c.startIO(device, irp)
	}
	c.T.LowerIRQL(old)
}
