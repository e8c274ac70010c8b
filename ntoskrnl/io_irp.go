package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// IRPs: passing on, completing, cancelling.
var ioIRPExports = []Export{
	{Name: "IofCallDriver", Fn: fn2(iofCallDriver), Params: "DeviceObject Irp", MaxIRQL: dispatch,
		Support: Full},
	{Name: "IoCallDriver", Fn: fn2(iofCallDriver), Params: "DeviceObject Irp", MaxIRQL: dispatch,
		Support: Full},
	{Name: "IofCompleteRequest", Fn: do2(iofCompleteRequest), Params: "Irp PriorityBoost:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoCompleteRequest", Fn: do2(iofCompleteRequest), Params: "Irp PriorityBoost:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoAcquireCancelSpinLock", Fn: do1(ioAcquireCancelSpinLock), Params: "Irql",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoReleaseCancelSpinLock", Fn: do1(ioReleaseCancelSpinLock), Params: "Irql:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoCancelIrp", Fn: fn1(ioCancelIrp), Params: "Irp", MaxIRQL: dispatch, Support: Full},
	{Name: "IopInvalidDeviceRequest", Fn: fn2(iopInvalidDeviceRequest), Params: "DeviceObject Irp",
		MaxIRQL: dispatch, Support: Full, Internal: true},
}

// iofCallDriver sends an IRP to the driver of a device.
//
//	NTSTATUS IofCallDriver(PDEVICE_OBJECT DeviceObject, PIRP Irp)
//
// What the driver's dispatch routine returns. "IofCallDriver function (wdm.h)".
func iofCallDriver(c *Call, device, irp guest.Addr) nt.Status { return c.IO.Call(c.T, device, irp) }

// iofCompleteRequest says that the driver has done with an IRP.
//
//	VOID IofCompleteRequest(PIRP Irp, CCHAR PriorityBoost)
//
// "IofCompleteRequest function (wdm.h)". The priority boost has no effect: priorities have none.
func iofCompleteRequest(c *Call, irp guest.Addr, boost uint8) { c.IO.Complete(c.T, irp) }

// ioAcquireCancelSpinLock takes the lock under which cancel routines are set and called.
//
//	VOID IoAcquireCancelSpinLock(PKIRQL Irql)
//
// "IoAcquireCancelSpinLock function (wdm.h)".
func ioAcquireCancelSpinLock(c *Call, irql guest.Addr) {
	Store(c, irql, c.IO.AcquireCancelSpinLock(c.T))
}

// ioReleaseCancelSpinLock gives it back and lowers the IRQL.
//
//	VOID IoReleaseCancelSpinLock(KIRQL Irql)
//
// "IoReleaseCancelSpinLock function (wdm.h)".
func ioReleaseCancelSpinLock(c *Call, irql nt.IRQL) { c.IO.ReleaseCancelSpinLock(c.T, irql) }

// ioCancelIrp marks an IRP as cancelled and calls its cancel routine.
//
//	BOOLEAN IoCancelIrp(PIRP Irp)
//
// TRUE if there was a cancel routine. "IoCancelIrp function (wdm.h)".
func ioCancelIrp(c *Call, irp guest.Addr) nt.Boolean { return boolean(c.IO.CancelIRP(c.T, irp)) }

// iopInvalidDeviceRequest is what stands in a dispatch table where the driver sets nothing: it
// completes the IRP with STATUS_INVALID_DEVICE_REQUEST.
func iopInvalidDeviceRequest(c *Call, device, irp guest.Addr) nt.Status {
	c.IO.Fail(c.T, irp, nt.STATUS_INVALID_DEVICE_REQUEST)
	return nt.STATUS_INVALID_DEVICE_REQUEST
}

func boolean(b bool) nt.Boolean {
	if b {
		return nt.TRUE
	}
	return nt.FALSE
}
