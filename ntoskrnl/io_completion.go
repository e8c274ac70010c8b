package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Completion routines that the I/O manager has part in: one that keeps its driver loaded, and those
// of requests that are waited for.
var ioCompletionExports = []Export{
	{Name: "IoSetCompletionRoutineEx", Fn: fn7(ioSetCompletionRoutineEx),
		Params: "DeviceObject Irp CompletionRoutine Context InvokeOnSuccess:b InvokeOnError:b " +
			"InvokeOnCancel:b",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoSynchronousCallDriver", Fn: fn2(ioSynchronousCallDriver), Params: "DeviceObject Irp",
		MaxIRQL: apc, Support: Full},
	{Name: "IoForwardIrpSynchronously", Fn: fn2(ioForwardIrpSynchronously),
		Params: "DeviceObject Irp", MaxIRQL: apc, Support: Full},
	{Name: "IopUnloadSafeCompletion", Fn: fn3(iopUnloadSafeCompletion),
		Params: "DeviceObject Irp Context", MaxIRQL: dispatch, Support: Full, Internal: true},
	{Name: "IopSynchronousCompletion", Fn: fn3(iopSynchronousCompletion),
		Params: "DeviceObject Irp Context", MaxIRQL: dispatch, Support: Full, Internal: true},
}

// safeCompletion is what a completion routine of IoSetCompletionRoutineEx is called with. It holds a
// reference to the device.
type safeCompletion struct {
	Device  guest.Addr
	Routine guest.Addr
	Context guest.Addr
}

// ioSetCompletionRoutineEx sets a completion routine, and keeps the device object until it has run:
// and so the driver, which may be unloaded only then.
//
//	NTSTATUS IoSetCompletionRoutineEx(PDEVICE_OBJECT DeviceObject, PIRP Irp,
//	    PIO_COMPLETION_ROUTINE CompletionRoutine, PVOID Context, BOOLEAN InvokeOnSuccess,
//	    BOOLEAN InvokeOnError, BOOLEAN InvokeOnCancel)
//
// STATUS_INSUFFICIENT_RESOURCES. "IoSetCompletionRoutineEx function (wdm.h)".
func ioSetCompletionRoutineEx(c *Call, device, irp, routine, context guest.Addr, success, failure,
	cancel nt.Boolean) nt.Status {
	c.deviceObject(device)
	control := uint8(0)
	for _, on := range []struct {
		set nt.Boolean
		bit uint8
	}{{success, nt.SL_INVOKE_ON_SUCCESS}, {failure, nt.SL_INVOKE_ON_ERROR},
		{cancel, nt.SL_INVOKE_ON_CANCEL}} {
		if on.set != 0 {
			control |= on.bit
		}
	}
	a, err := c.allocObject(sizeOf[safeCompletion]())
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	Store(c, a, safeCompletion{Device: device, Routine: routine, Context: context})
	c.Ob.Reference(device)
	c.IO.SetCompletion(c.T, irp, c.symbol("IopUnloadSafeCompletion"), a, control)
	return nt.STATUS_SUCCESS
}

// iopUnloadSafeCompletion calls the driver's routine, and lets the device object go.
func iopUnloadSafeCompletion(c *Call, device, irp, context guest.Addr) nt.Status {
	s := Load[safeCompletion](c, context)
	c.freeObject(context)
	status := nt.Status(c.T.Call(s.Routine, uint64(device), uint64(irp), uint64(s.Context)))
	_, err := c.Ob.Dereference(s.Device)
	c.Must(err)
	return status
}

// callAndWait sends an IRP, and waits until it has come back up. It reports whether there was memory
// for that.
func (c *Call) callAndWait(device, irp guest.Addr) bool {
	event, err := c.allocObject(sizeOf[nt.KEvent]())
	if err != nil {
		return false
	}
	defer c.freeObject(event)
	c.Must(ke.InitializeEvent(event, nt.NotificationEvent, false))
	const always = nt.SL_INVOKE_ON_SUCCESS | nt.SL_INVOKE_ON_ERROR | nt.SL_INVOKE_ON_CANCEL
	c.IO.SetCompletion(c.T, irp, c.symbol("IopSynchronousCompletion"), event, always)
	c.IO.Call(c.T, device, irp)
	// Also when it is completed already: whoever completed it may be in the event still.
	_, err = c.T.WaitForSingleObject(event, ke.Forever)
	c.Must(err)
	return true
}

// iopSynchronousCompletion is the completion routine of a request that is waited for.
func iopSynchronousCompletion(c *Call, device, irp, event guest.Addr) nt.Status {
	_, err := c.Ke.SetEvent(event)
	c.Must(err)
	return nt.STATUS_MORE_PROCESSING_REQUIRED
}

// ioSynchronousCallDriver sends an IRP whose next stack location is set, and waits until it is the
// caller's again.
//
//	NTSTATUS IoSynchronousCallDriver(PDEVICE_OBJECT DeviceObject, PIRP Irp)
//
// The status of the IRP; STATUS_INSUFFICIENT_RESOURCES. "IoSynchronousCallDriver function (ntifs.h)".
func ioSynchronousCallDriver(c *Call, device, irp guest.Addr) nt.Status {
	if !c.callAndWait(device, irp) {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	return Load[nt.Status](c, irp+irpStatusAt)
}

// ioForwardIrpSynchronously copies the current stack location to the next one, sends the IRP, and
// waits until it is the caller's again.
//
//	BOOLEAN IoForwardIrpSynchronously(PDEVICE_OBJECT DeviceObject, PIRP Irp)
//
// FALSE without a stack location, or memory, for it. "IoForwardIrpSynchronously function (wdm.h)".
func ioForwardIrpSynchronously(c *Call, device, irp guest.Addr) nt.Boolean {
	return boolean(c.IO.CopyToNext(c.T, irp) && c.callAndWait(device, irp))
}
