package ntoskrnl

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Timers of devices, which call a routine of the driver's once a second at DISPATCH_LEVEL.
var ioTimerExports = []Export{
	{Name: "IoInitializeTimer", Fn: fn3(ioInitializeTimer),
		Params: "DeviceObject TimerRoutine Context", MaxIRQL: passive, Support: Full},
	{Name: "IoStartTimer", Fn: do1(ioStartTimer), Params: "DeviceObject", MaxIRQL: dispatch,
		Support: Full},
	{Name: "IoStopTimer", Fn: do1(ioStopTimer), Params: "DeviceObject", MaxIRQL: dispatch,
		Support: Full},
	{Name: "IopTimerDpc", Fn: do2(iopTimerDpc), Params: "Dpc DeferredContext", MaxIRQL: dispatch,
		Support: Full, Internal: true},
}

// ioTimer is IO_TIMER, which is opaque to drivers; its device's Timer points to it.
type ioTimer struct {
	Timer   nt.KTimer
	Dpc     nt.KDPC
	Routine guest.Addr
	Context guest.Addr
	Device  guest.Addr
}

const ioTimerPeriod = 1000 // milliseconds

// ioInitializeTimer gives a device a timer.
//
//	NTSTATUS IoInitializeTimer(PDEVICE_OBJECT DeviceObject, PIO_TIMER_ROUTINE TimerRoutine,
//	    PVOID Context)
//
// STATUS_INSUFFICIENT_RESOURCES. A device that has one already is DRIVER_VERIFIER_IOMANAGER_VIOLATION,
// as in Driver Verifier. "IoInitializeTimer function (wdm.h)".
func ioInitializeTimer(c *Call, device, routine, context guest.Addr) nt.Status {
	o := c.deviceObject(device).Object.Ref()
	if o.Timer != 0 {
		const initializedBefore = 0x0A
		c.T.Crash(&ke.Bugcheck{Code: nt.DRIVER_VERIFIER_IOMANAGER_VIOLATION,
			Params: [4]uint64{initializedBefore, uint64(device), 0, 0},
			Reason: fmt.Sprintf("the device object at %v got a timer for the second time", device)})
	}
	a, err := c.allocObject(sizeOf[ioTimer]())
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	Store(c, a, ioTimer{Routine: routine, Context: context, Device: device})
	c.Must(c.Ke.InitializeTimer(a, nt.NotificationTimer))
	c.Must(ke.InitializeDPC(a+ioTimerDPC, c.symbol("IopTimerDpc"), a, false))
	o.Timer = a
	return nt.STATUS_SUCCESS
}

// timerOf gives a device's timer, which must be there.
func (c *Call) timerOf(device guest.Addr) guest.Addr {
	a := c.deviceObject(device).Object.Ref().Timer
	if a == 0 {
		// As Windows, which follows the pointer.
		c.RaiseAccessViolation(&guest.FaultError{Access: guest.AccessRead})
	}
	return a
}

// ioStartTimer starts a device's timer; the routine is called in a second for the first time.
//
//	VOID IoStartTimer(PDEVICE_OBJECT DeviceObject)
//
// "IoStartTimer function (ntifs.h)".
func ioStartTimer(c *Call, device guest.Addr) {
	timer := c.timerOf(device)
	const second = -ioTimerPeriod * 10_000 // relative, in units of 100 ns
	_, err := c.T.SetTimer(timer, second, ioTimerPeriod, timer+ioTimerDPC)
	c.Must(err)
}

// ioStopTimer stops it.
//
//	VOID IoStopTimer(PDEVICE_OBJECT DeviceObject)
//
// "IoStopTimer function (ntifs.h)".
func ioStopTimer(c *Call, device guest.Addr) { c.stopTimer(c.timerOf(device)) }

func (c *Call) stopTimer(timer guest.Addr) {
	_, err := c.Ke.CancelTimer(timer)
	c.Must(err)
	_, err = c.Ke.RemoveDPC(timer + ioTimerDPC)
	c.Must(err)
}

// dropDeviceTimer takes the timer of a device away that is being deleted.
func (c *Call) dropDeviceTimer(device guest.Addr) {
	d := c.Dev.Device(device)
	if d == nil || d.Object.Ref().Timer == 0 {
		return
	}
	timer := d.Object.Ref().Timer
	d.Object.Ref().Timer = 0
	c.stopTimer(timer)
	c.T.FlushDPCs()
	c.freeObject(timer)
}

// iopTimerDpc is the DPC routine of such a timer.
func iopTimerDpc(c *Call, dpc, timer guest.Addr) {
	t := Load[ioTimer](c, timer)
	c.T.Call(t.Routine, uint64(t.Device), uint64(t.Context))
}
