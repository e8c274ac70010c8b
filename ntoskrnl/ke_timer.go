package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Timers.
var keTimerExports = []Export{
	{Name: "KeInitializeTimer", Fn: do1(keInitializeTimer), Params: "Timer", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeInitializeTimerEx", Fn: do2(keInitializeTimerEx), Params: "Timer Type:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeSetTimer", Fn: fn3(keSetTimer), Params: "Timer DueTime:d Dpc", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeSetTimerEx", Fn: fn4(keSetTimerEx), Params: "Timer DueTime:d Period:d Dpc",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeSetCoalescableTimer", Fn: fn5(keSetCoalescableTimer),
		Params: "Timer DueTime:d Period:d TolerableDelay:d Dpc", MaxIRQL: dispatch, Support: Full},
	{Name: "KeCancelTimer", Fn: fn1(keCancelTimer), Params: "Timer", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeReadStateTimer", Fn: fn1(keReadStateTimer), Params: "Timer", MaxIRQL: dispatch,
		Support: Full},
}

// keInitializeTimer makes a notification timer.
//
//	VOID KeInitializeTimer(PKTIMER Timer)
//
// The bugcheck TIMER_OR_DPC_INVALID for one that is set. "KeInitializeTimer function (wdm.h)".
func keInitializeTimer(c *Call, timer guest.Addr) {
	c.Must(c.Ke.InitializeTimer(timer, nt.NotificationTimer))
}

// keInitializeTimerEx makes a timer of either type.
//
//	VOID KeInitializeTimerEx(PKTIMER Timer, TIMER_TYPE Type)
//
// "KeInitializeTimerEx function (wdm.h)".
func keInitializeTimerEx(c *Call, timer guest.Addr, typ nt.TimerType) {
	c.Must(c.Ke.InitializeTimer(timer, typ))
}

// keSetTimer sets a timer, once.
//
//	BOOLEAN KeSetTimer(PKTIMER Timer, LARGE_INTEGER DueTime, PKDPC Dpc)
//
// TRUE if it was set already. "KeSetTimer function (wdm.h)".
func keSetTimer(c *Call, timer guest.Addr, due int64, dpc guest.Addr) nt.Boolean {
	return keSetTimerEx(c, timer, due, 0, dpc)
}

// keSetTimerEx sets a timer, once or every Period milliseconds.
//
//	BOOLEAN KeSetTimerEx(PKTIMER Timer, LARGE_INTEGER DueTime, LONG Period, PKDPC Dpc)
//
// TRUE if it was set already. "KeSetTimerEx function (wdm.h)".
func keSetTimerEx(c *Call, timer guest.Addr, due int64, period int32, dpc guest.Addr) nt.Boolean {
	was, err := c.T.SetTimer(timer, due, uint32(max(period, 0)), dpc)
	c.Must(err)
	return boolean(was)
}

// keSetCoalescableTimer sets a timer that may expire later than it should. Here it does not.
//
//	BOOLEAN KeSetCoalescableTimer(PKTIMER Timer, LARGE_INTEGER DueTime, ULONG Period,
//	    ULONG TolerableDelay, PKDPC Dpc)
//
// TRUE if it was set already. "KeSetCoalescableTimer function (wdm.h)".
func keSetCoalescableTimer(c *Call, timer guest.Addr, due int64, period, delay uint32,
	dpc guest.Addr) nt.Boolean {
	was, err := c.T.SetTimer(timer, due, period, dpc)
	c.Must(err)
	return boolean(was)
}

// keCancelTimer takes back what KeSetTimer did, if the time has not come.
//
//	BOOLEAN KeCancelTimer(PKTIMER Timer)
//
// TRUE if it was set. "KeCancelTimer function (wdm.h)".
func keCancelTimer(c *Call, timer guest.Addr) nt.Boolean {
	was, err := c.Ke.CancelTimer(timer)
	c.Must(err)
	return boolean(was)
}

// keReadStateTimer tells whether a timer has expired.
//
//	BOOLEAN KeReadStateTimer(PKTIMER Timer)
//
// "KeReadStateTimer function (wdm.h)".
func keReadStateTimer(c *Call, timer guest.Addr) nt.Boolean {
	return boolean(keReadState(c, timer) != 0)
}
