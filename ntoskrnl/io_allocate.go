package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// IRPs that drivers make themselves.
var ioAllocateExports = []Export{
	{Name: "IoAllocateIrp", Fn: fn2(ioAllocateIrp), Params: "StackSize:d ChargeQuota:b",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoAllocateIrpEx", Fn: fn3(ioAllocateIrpEx),
		Params: "DeviceObject StackSize:d ChargeQuota:b", MaxIRQL: dispatch, Support: Full},
	{Name: "IoMakeAssociatedIrp", Fn: fn2(ioMakeAssociatedIrp), Params: "Irp StackSize:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoInitializeIrp", Fn: do3(ioInitializeIrp), Params: "Irp PacketSize:d StackSize:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoFreeIrp", Fn: do1(ioFreeIrp), Params: "Irp", MaxIRQL: dispatch, Support: Full},
	{Name: "IoReuseIrp", Fn: do2(ioReuseIrp), Params: "Irp Status:status", MaxIRQL: dispatch,
		Support: Full},
}

// ioAllocateIrp gives a driver an IRP of its own.
//
//	PIRP IoAllocateIrp(CCHAR StackSize, BOOLEAN ChargeQuota)
//
// NULL without memory. "IoAllocateIrp function (wdm.h)".
func ioAllocateIrp(c *Call, stack int8, quota nt.Boolean) guest.Addr { return c.IO.Allocate(stack) }

// ioAllocateIrpEx is the same for requests to a device.
//
//	PIRP IoAllocateIrpEx(PDEVICE_OBJECT DeviceObject, CCHAR StackSize, BOOLEAN ChargeQuota)
//
// NULL without memory. "IoAllocateIrpEx function (wdm.h)".
func ioAllocateIrpEx(c *Call, device guest.Addr, stack int8, quota nt.Boolean) guest.Addr {
	return c.IO.Allocate(stack)
}

// ioMakeAssociatedIrp gives the highest driver an IRP for a part of a request. The driver sets the
// request's AssociatedIrp.IrpCount before it sends the first of them; the request is completed with the
// last.
//
//	PIRP IoMakeAssociatedIrp(PIRP Irp, CCHAR StackSize)
//
// NULL without memory. "IoMakeAssociatedIrp function (ntddk.h)".
func ioMakeAssociatedIrp(c *Call, irp guest.Addr, stack int8) guest.Addr {
	return c.IO.MakeAssociated(c.T, irp, stack)
}

// ioInitializeIrp makes an IRP of the driver's own memory.
//
//	VOID IoInitializeIrp(PIRP Irp, USHORT PacketSize, CCHAR StackSize)
//
// "IoInitializeIrp function (wdm.h)".
func ioInitializeIrp(c *Call, irp guest.Addr, size uint16, stack int8) {
	c.Must(c.IO.Initialize(c.T, irp, size, stack))
}

// ioFreeIrp gives it back.
//
//	VOID IoFreeIrp(PIRP Irp)
//
// "IoFreeIrp function (wdm.h)".
func ioFreeIrp(c *Call, irp guest.Addr) { c.IO.Free(c.T, irp) }

// ioReuseIrp makes an IRP of the driver's own as new.
//
//	VOID IoReuseIrp(PIRP Irp, NTSTATUS Iostatus)
//
// "IoReuseIrp function (wdm.h)".
func ioReuseIrp(c *Call, irp guest.Addr, status nt.Status) { c.IO.Reuse(c.T, irp, status) }
