package ntoskrnl

import (
	"github.com/drvhost/drvhost/devobj"
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
	{Name: "IoSetStartIoAttributes", Fn: do3(ioSetStartIoAttributes),
		Params: "DeviceObject DeferredStartIo:b NonCancelable:b", MaxIRQL: anyIRQL, Support: Full},
}

// ioSetStartIoAttributes has the StartIo routine of a device called only when the last call has
// returned, and IRPs that it gets have no cancel routine. An attribute that was set stays.
//
//	VOID IoSetStartIoAttributes(PDEVICE_OBJECT DeviceObject, BOOLEAN DeferredStartIo,
//	    BOOLEAN NonCancelable)
//
// "IoSetStartIoAttributes function (ntifs.h)".
func ioSetStartIoAttributes(c *Call, device guest.Addr, deferred, nonCancelable nt.Boolean) {
	s := &c.deviceObject(device).StartIO
	if deferred != 0 {
		s.Deferred.Store(true)
	}
	if nonCancelable != 0 {
		s.NonCancelable.Store(true)
	}
}

// startIO calls a driver's StartIo routine with the IRP that its device is to work on, at
// DISPATCH_LEVEL, and then with those that the routine has asked for, if they are deferred.
func (c *Call) startIO(dev *devobj.Device, irp guest.Addr) {
	device := dev.Object.Addr()
	driver := Load[guest.Addr](c, device+deviceDriverAt)
	routine := Load[guest.Addr](c, driver+driverStartIO)
	if !dev.StartIO.Deferred.Load() {
		c.T.Call(routine, uint64(device), uint64(irp))
		return
	}
	for irp != 0 {
		dev.StartIO.Enter()
		c.T.Call(routine, uint64(device), uint64(irp))
		next, ok := dev.StartIO.Leave()
		if !ok {
			return
		}
		irp = c.nextPacket(dev, next)
	}
}

// ioStartPacket gives an IRP to the StartIo routine, or queues it if the device is busy: by the key, if
// there is one. With a cancel function the IRP can be cancelled from then on.
//
//	VOID IoStartPacket(PDEVICE_OBJECT DeviceObject, PIRP Irp, PULONG Key, PDRIVER_CANCEL CancelFunction)
//
// "IoStartPacket function (ntifs.h)".
func ioStartPacket(c *Call, device, irp, key, cancel guest.Addr) {
	dev := c.deviceObject(device)
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
			if dev.StartIO.NonCancelable.Load() {
				Store(c, irp+irpCancelRoutineAt, guest.Addr(0))
			}
			c.IO.ReleaseCancelSpinLock(c.T, dispatch)
		}
		c.startIO(dev, irp)
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
	c.startNext(device, devobj.NextStart{Cancelable: cancelable != 0})
}

// ioStartNextPacketByKey is the same for the first IRP whose key is not less, or else the first of all.
//
//	VOID IoStartNextPacketByKey(PDEVICE_OBJECT DeviceObject, BOOLEAN Cancelable, ULONG Key)
//
// "IoStartNextPacketByKey function (ntifs.h)".
func ioStartNextPacketByKey(c *Call, device guest.Addr, cancelable nt.Boolean, key uint32) {
	c.startNext(device, devobj.NextStart{Cancelable: cancelable != 0, Key: key, ByKey: true})
}

func (c *Call) startNext(device guest.Addr, next devobj.NextStart) {
	dev := c.deviceObject(device)
	if dev.StartIO.Deferred.Load() && dev.StartIO.Defer(next) {
		return
	}
	old := c.T.RaiseIRQL(dispatch)
	if irp := c.nextPacket(dev, next); irp != 0 {
		c.startIO(dev, irp)
	}
	c.T.LowerIRQL(old)
}

// nextPacket takes the next IRP out of a device's queue, at DISPATCH_LEVEL, and makes it the one that
// the device works on. It is 0 if there is none.
func (c *Call) nextPacket(dev *devobj.Device, next devobj.NextStart) (irp guest.Addr) {
	device := dev.Object.Addr()
	if next.Cancelable {
		c.IO.AcquireCancelSpinLock(c.T)
	}
	Store(c, device+deviceCurrentAt, guest.Addr(0))
	entry, err := c.T.RemoveDeviceQueue(device+deviceQueueAt, next.Key, next.ByKey)
	c.Must(err)
	if entry != 0 {
		irp = entry - irpQueueEntryAt
		Store(c, device+deviceCurrentAt, irp)
	}
	if next.Cancelable {
		if irp != 0 && dev.StartIO.NonCancelable.Load() {
			Store(c, irp+irpCancelRoutineAt, guest.Addr(0))
		}
		c.IO.ReleaseCancelSpinLock(c.T, dispatch)
	}
	return irp
}
