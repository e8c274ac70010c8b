package ntoskrnl

import (
	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
)

// Device stacks.
var ioAttachExports = []Export{
	{Name: "IoAttachDevice", Fn: fn3(ioAttachDevice),
		Params: "SourceDevice TargetDevice:ustr AttachedDevice", MaxIRQL: passive, Support: Full},
	{Name: "IoAttachDeviceByPointer", Fn: fn2(ioAttachDeviceByPointer),
		Params: "SourceDevice TargetDevice", MaxIRQL: dispatch, Support: Full},
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

// ioAttachDevice puts a device on top of the stack of a named one. To find it, it opens it for
// FILE_READ_ATTRIBUTES: CREATE and CLEANUP go to the top of the stack as it was, and CLOSE, when the
// device is attached, to the new top.
//
//	NTSTATUS IoAttachDevice(PDEVICE_OBJECT SourceDevice, PUNICODE_STRING TargetDevice,
//	    PDEVICE_OBJECT *AttachedDevice)
//
// STATUS_NO_SUCH_DEVICE if it cannot be attached to, what the namespace says of the name, and what the
// driver's CREATE says. An exclusive device may be open. "IoAttachDevice function (wdm.h)".
func ioAttachDevice(c *Call, source, name, result guest.Addr) nt.Status {
	src := c.deviceObject(source)
	o, rest, status := c.Ob.LookupReference(c.UString(name))
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(o)
	target, ok := o.Body.(*devobj.Device)
	if !ok {
		return nt.STATUS_OBJECT_TYPE_MISMATCH
	}
	if c.volumes[target] != nil {
		return c.attach(src, target, result) // opening it takes no driver
	}
	const shareAll = 7
	open, status, _ := c.IO.Create(c.T, target, nil, irp.OpenInfo{
		OpenInfo: devobj.OpenInfo{Name: rest, Access: nt.FILE_READ_ATTRIBUTES,
			ShareAccess: shareAll, Options: nt.FILE_NON_DIRECTORY_FILE, Attach: true},
		Disposition: uint8(nt.FILE_OPEN)})
	if open == nil {
		return status
	}
	c.IO.Cleanup(c.T, open)
	c.IO.CancelAll(c.T, open)
	below, err := c.Dev.AttachStored(src, target, result)
	if c.IO.Release(open, func() { c.later(func() { c.closeFileElsewhere(open) }) }) {
		c.IO.CloseFile(c.T, open)
	}
	c.Must(err)
	return attached(below)
}

// attach is IoAttachDeviceToDeviceStackSafe.
func (c *Call) attach(source, target *devobj.Device, result guest.Addr) nt.Status {
	below, err := c.Dev.AttachStored(source, target, result)
	c.Must(err)
	return attached(below)
}

// attached is the status of an attachment to a device, or to nil.
func attached(below *devobj.Device) nt.Status {
	if below == nil {
		return nt.STATUS_NO_SUCH_DEVICE
	}
	return nt.STATUS_SUCCESS
}

// ioAttachDeviceByPointer puts a device on top of another one's stack.
//
//	NTSTATUS IoAttachDeviceByPointer(PDEVICE_OBJECT SourceDevice, PDEVICE_OBJECT TargetDevice)
//
// STATUS_NO_SUCH_DEVICE. It is what IoAttachDeviceToDeviceStack has replaced; ntddk.h declares it.
func ioAttachDeviceByPointer(c *Call, source, target guest.Addr) nt.Status {
	return attached(c.Dev.Attach(c.deviceObject(source), c.deviceObject(target)))
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
	return c.attach(c.deviceObject(source), c.deviceObject(target), result)
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
