package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// IRPs that drivers make themselves.
var ioAllocateExports = []Export{
	{Name: "IoAllocateIrp", Fn: fn2(ioAllocateIrp), Params: "StackSize:d ChargeQuota:b",
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
