package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Power IRPs.
var poExports = []Export{
	{Name: "PoCallDriver", Fn: fn2(poCallDriver), Params: "DeviceObject Irp", MaxIRQL: dispatch,
		Support: Full},
	{Name: "PoStartNextPowerIrp", Fn: do1(poStartNextPowerIrp), Params: "Irp", MaxIRQL: dispatch,
		Support: Full},
}

// poCallDriver sends a power IRP on. Since Windows Vista it is IofCallDriver.
//
//	NTSTATUS PoCallDriver(PDEVICE_OBJECT DeviceObject, PIRP Irp)
//
// "PoCallDriver function (ntifs.h)".
func poCallDriver(c *Call, device, irp guest.Addr) nt.Status { return c.IO.Call(c.T, device, irp) }

// poStartNextPowerIrp says that the next power IRP may come. Since Windows Vista it does nothing.
//
//	VOID PoStartNextPowerIrp(PIRP Irp)
//
// "PoStartNextPowerIrp function (ntifs.h)".
func poStartNextPowerIrp(*Call, guest.Addr) {}
