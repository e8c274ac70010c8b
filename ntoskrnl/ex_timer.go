package ntoskrnl

import (
	"time"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Timers that the system allocates, with periods in units of 100 ns. Every one is as precise as the
// host's clock, whether it asks for high resolution or not.
var exTimerExports = []Export{
	{Name: "ExAllocateTimer", Fn: fn3(exAllocateTimer), Params: "Callback CallbackContext Attributes",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExSetTimer", Fn: fn4(exSetTimer), Params: "Timer DueTime:d Period:d Parameters",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExCancelTimer", Fn: fn2(exCancelTimer), Params: "Timer Parameters", MaxIRQL: dispatch,
		Support: Full},
	{Name: "ExDeleteTimer", Fn: fn4(exDeleteTimer), Params: "Timer Cancel:b Wait:b Parameters",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KiExTimerDpc", Fn: do2(kiExTimerDpc), Params: "Dpc Timer", MaxIRQL: dispatch,
		Support: Full, Internal: true},
}

// exTimer is EX_TIMER, which is opaque to drivers; they may wait for it.
type exTimer struct {
	Timer    nt.KTimer
	Dpc      nt.KDPC
	Callback guest.Addr
	Context  guest.Addr
}

// exDeleteParameters is EXT_DELETE_PARAMETERS.
type exDeleteParameters struct {
	Version        uint32
	Reserved       uint32
	DeleteCallback guest.Addr
	DeleteContext  guest.Addr
}

// exTimerAttributes are the bits that ExAllocateTimer knows: EX_TIMER_HIGH_RESOLUTION,
// EX_TIMER_NO_WAKE and EX_TIMER_NOTIFICATION, which makes it a notification timer.
const (
	exTimerAttributes   = 0x4 | 0x8 | exTimerNotification
	exTimerNotification = 1 << 31
)

// exAllocateTimer makes a timer.
//
//	PEX_TIMER ExAllocateTimer(PEXT_CALLBACK Callback, PVOID CallbackContext, ULONG Attributes)
//
// NULL without memory, and for unknown attributes. "ExAllocateTimer function (wdm.h)".
func exAllocateTimer(c *Call, callback, context guest.Addr, attributes uint32) guest.Addr {
	if attributes&^uint32(exTimerAttributes) != 0 {
		return 0
	}
	a, err := c.allocObject(sizeofExTimer)
	if err != nil {
		return 0
	}
	Store(c, a, exTimer{Callback: callback, Context: context})
	typ := nt.SynchronizationTimer
	if attributes&exTimerNotification != 0 {
		typ = nt.NotificationTimer
	}
	c.Must(c.Ke.InitializeTimer(a, typ))
	c.Must(ke.InitializeDPC(a+exTimerDPC, c.symbol("KiExTimerDpc"), a, false))
	return a
}

// exSetTimer starts a timer. Its callback, if it has one, is called at DISPATCH_LEVEL.
//
//	BOOLEAN ExSetTimer(PEX_TIMER Timer, LONGLONG DueTime, LONGLONG Period,
//	    PEXT_SET_PARAMETERS Parameters)
//
// TRUE if it was set already. "ExSetTimer function (wdm.h)". The tolerable delay in Parameters is not
// made use of.
func exSetTimer(c *Call, timer guest.Addr, due, period int64, parameters guest.Addr) nt.Boolean {
	dpc := guest.Addr(0)
	if Load[exTimer](c, timer).Callback != 0 {
		dpc = timer + exTimerDPC
	}
	const longest = int64(1) << 52 // in units of 100 ns: 14 years
	was, err := c.T.SetTimerPrecise(timer, due, time.Duration(max(0, min(period, longest)))*100, dpc)
	c.Must(err)
	return boolean(was)
}

// exCancelTimer stops a timer. A callback that is about to be called may be.
//
//	BOOLEAN ExCancelTimer(PEX_TIMER Timer, PEXT_CANCEL_PARAMETERS Parameters)
//
// TRUE if it was set. "ExCancelTimer function (wdm.h)".
func exCancelTimer(c *Call, timer, parameters guest.Addr) nt.Boolean {
	was, err := c.Ke.CancelTimer(timer)
	c.Must(err)
	return boolean(was)
}

// exDeleteTimer stops a timer and gives it back when its callback is not under way any more; the
// driver's delete callback is called then. Cancel must be TRUE for a timer with a period, and Wait,
// which needs an IRQL below DISPATCH_LEVEL, requires Cancel.
//
//	BOOLEAN ExDeleteTimer(PEX_TIMER Timer, BOOLEAN Cancel, BOOLEAN Wait,
//	    PEXT_DELETE_PARAMETERS Parameters)
//
// TRUE if it was set and has been cancelled. "ExDeleteTimer function (wdm.h)".
func exDeleteTimer(c *Call, timer guest.Addr, cancel, wait nt.Boolean, parameters guest.Addr) nt.Boolean {
	var p exDeleteParameters
	if parameters != 0 {
		p = Load[exDeleteParameters](c, parameters)
	}
	if wait != 0 {
		c.atMost(apc)
	}
	was := nt.Boolean(nt.FALSE)
	if cancel != 0 {
		was = exCancelTimer(c, timer, 0)
		_, err := c.Ke.RemoveDPC(timer + exTimerDPC)
		c.Must(err)
	}
	end := func(t *ke.Thread) {
		c.freeObject(timer)
		if p.DeleteCallback != 0 {
			t.Call(p.DeleteCallback, uint64(p.DeleteContext))
		}
	}
	if wait != 0 {
		c.T.FlushDPCs()
		end(c.T)
		return was
	}
	k := c.Kernel
	k.Ke.QueueWork(ke.DelayedWorkQueue, func(t *ke.Thread) {
		for {
			set, err := k.Ke.TimerSet(timer)
			if err != nil || !set {
				break
			}
			// It was not to be cancelled: so it is waited for.
			t.Delay(ke.WaitOptions{Timeout: ke.After(time.Millisecond)})
		}
		t.FlushDPCs()
		end(t)
	})
	return was
}

// kiExTimerDpc is the DPC routine of a timer.
func kiExTimerDpc(c *Call, dpc, timer guest.Addr) {
	t := Load[exTimer](c, timer)
	c.T.Call(t.Callback, uint64(timer), uint64(t.Context))
}
