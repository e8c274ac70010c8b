package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Device stacks.
var ioAttachExports = []Export{
	{Name: "IoAttachDevice", Fn: fn3(ioAttachDevice),
		Params: "SourceDevice TargetDevice:ustr AttachedDevice", MaxIRQL: passive, Support: Partial,
		Note: "the target device is not opened: its driver gets no IRP_MJ_CREATE"},
	{Name: "IoAttachDeviceToDeviceStack", Fn: fn2(ioAttachDeviceToDeviceStack),
		Params: "SourceDevice TargetDevice", MaxIRQL: dispatch, Support: Full},
	{Name: "IoAttachDeviceToDeviceStackSafe", Fn: fn3(ioAttachDeviceToDeviceStackSafe),
		Params: "SourceDevice TargetDevice AttachedToDeviceObject", MaxIRQL: dispatch, Support: Full},
	{Name: "IoDetachDevice", Fn: do1(ioDetachDevice), Params: "TargetDevice", MaxIRQL: passive,
		Support: Full},
	{Name: "IoGetAttachedDevice", Fn: fn1(ioGetAttachedDevice), Params: "DeviceObject",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoGetAttachedDeviceReference", Fn: fn1(ioGetAttachedDeviceReference),
		Params: "DeviceObject", MaxIRQL: dispatch, Support: Full},
}

// ioAttachDevice puts a device on top of the stack of a named one.
//
//	NTSTATUS IoAttachDevice(PDEVICE_OBJECT SourceDevice, PUNICODE_STRING TargetDevice,
//	    PDEVICE_OBJECT *AttachedDevice)
//
// STATUS_NO_SUCH_DEVICE if it cannot be attached to, and what the namespace says of the name.
// "IoAttachDevice function (wdm.h)".
func ioAttachDevice(c *Call, source, name, result guest.Addr) nt.Status {
	src := c.deviceObject(source)
	o, _, status := c.Ob.Lookup(c.UString(name))
	if status != nt.STATUS_SUCCESS {
		return status
	}
	target := c.Dev.Device(o.Addr)
	if target == nil {
		return nt.STATUS_OBJECT_TYPE_MISMATCH
	}
	below := c.Dev.Attach(src, target)
	if below == nil {
		return nt.STATUS_NO_SUCH_DEVICE
	}
	Store(c, result, below.Object.Addr())
	return nt.STATUS_SUCCESS
}

// ioAttachDeviceToDeviceStack puts a device on top of another one's stack.
//
//	PDEVICE_OBJECT IoAttachDeviceToDeviceStack(PDEVICE_OBJECT SourceDevice,
//	    PDEVICE_OBJECT TargetDevice)
//
// The device below, or NULL if it is being set up or deleted.
// "IoAttachDeviceToDeviceStack function (wdm.h)".
func ioAttachDeviceToDeviceStack(c *Call, source, target guest.Addr) guest.Addr {
	below := c.Dev.Attach(c.deviceObject(source), c.deviceObject(target))
	if below == nil {
		return 0
	}
	return below.Object.Addr()
}

// ioAttachDeviceToDeviceStackSafe is the same, and stores the device below before any request can
// come.
//
//	NTSTATUS IoAttachDeviceToDeviceStackSafe(PDEVICE_OBJECT SourceDevice,
//	    PDEVICE_OBJECT TargetDevice, PDEVICE_OBJECT *AttachedToDeviceObject)
//
// STATUS_NO_SUCH_DEVICE. "IoAttachDeviceToDeviceStackSafe function (wdm.h)".
func ioAttachDeviceToDeviceStackSafe(c *Call, source, target, result guest.Addr) nt.Status {
	src, dst := c.deviceObject(source), c.deviceObject(target)
	Store(c, result, c.Dev.Top(dst).Object.Addr())
	below := c.Dev.Attach(src, dst)
	if below == nil {
		Store(c, result, guest.Addr(0))
		return nt.STATUS_NO_SUCH_DEVICE
	}
	Store(c, result, below.Object.Addr())
	return nt.STATUS_SUCCESS
}

// ioDetachDevice takes the device above off a device.
//
//	VOID IoDetachDevice(PDEVICE_OBJECT TargetDevice)
//
// "IoDetachDevice function (wdm.h)".
func ioDetachDevice(c *Call, target guest.Addr) { c.Dev.Detach(c.deviceObject(target)) }

// ioGetAttachedDevice gives the top of a device's stack.
//
//	PDEVICE_OBJECT IoGetAttachedDevice(PDEVICE_OBJECT DeviceObject)
//
// "IoGetAttachedDevice function (ntifs.h)".
func ioGetAttachedDevice(c *Call, device guest.Addr) guest.Addr {
	return c.Dev.Top(c.deviceObject(device)).Object.Addr()
}

// ioGetAttachedDeviceReference gives the top of a device's stack, with a reference.
//
//	PDEVICE_OBJECT IoGetAttachedDeviceReference(PDEVICE_OBJECT DeviceObject)
//
// "IoGetAttachedDeviceReference function (wdm.h)".
func ioGetAttachedDeviceReference(c *Call, device guest.Addr) guest.Addr {
	top := ioGetAttachedDevice(c, device)
	c.Ob.Reference(top)
	return top
}
