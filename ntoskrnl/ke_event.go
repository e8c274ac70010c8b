package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Events and semaphores.
var keEventExports = []Export{
	{Name: "KeInitializeEvent", Fn: do3(keInitializeEvent), Params: "Event Type:d State:b",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeSetEvent", Fn: fn3(keSetEvent), Params: "Event Increment:d Wait:b", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeResetEvent", Fn: fn1(keResetEvent), Params: "Event", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeClearEvent", Fn: do1(keClearEvent), Params: "Event", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KePulseEvent", Fn: fn3(kePulseEvent), Params: "Event Increment:d Wait:b",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeReadStateEvent", Fn: fn1(keReadState), Params: "Event", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeInitializeSemaphore", Fn: do3(keInitializeSemaphore),
		Params: "Semaphore Count:d Limit:d", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeReleaseSemaphore", Fn: fn4(keReleaseSemaphore),
		Params: "Semaphore Increment:d Adjustment:d Wait:b", MaxIRQL: dispatch, Support: Full},
	{Name: "KeReadStateSemaphore", Fn: fn1(keReadState), Params: "Semaphore", MaxIRQL: anyIRQL,
		Support: Full},
}

// keInitializeEvent makes an event.
//
//	VOID KeInitializeEvent(PRKEVENT Event, EVENT_TYPE Type, BOOLEAN State)
//
// "KeInitializeEvent function (wdm.h)".
func keInitializeEvent(c *Call, event guest.Addr, typ nt.EventType, state nt.Boolean) {
	c.Must(ke.InitializeEvent(event, typ, state != 0))
}

// keSetEvent signals an event and wakes who waits for it.
//
//	LONG KeSetEvent(PRKEVENT Event, KPRIORITY Increment, BOOLEAN Wait)
//
// The state from before. The priority boost has no effect: priorities have none. Wait promises a
// wait that follows at once; set and wait are two steps all the same, which nobody can tell apart
// who does not count on being undisturbed on his processor. "KeSetEvent function (wdm.h)".
func keSetEvent(c *Call, event guest.Addr, increment int32, wait nt.Boolean) int32 {
	if wait != 0 {
		c.atMost(apc)
	}
	before, err := c.Ke.SetEvent(event)
	c.Must(err)
	return before
}

// keResetEvent makes an event not signalled.
//
//	LONG KeResetEvent(PRKEVENT Event)
//
// The state from before. "KeResetEvent function (wdm.h)".
func keResetEvent(c *Call, event guest.Addr) int32 {
	before, err := c.Ke.ResetEvent(event)
	c.Must(err)
	return before
}

// keClearEvent makes an event not signalled.
//
//	VOID KeClearEvent(PRKEVENT Event)
//
// "KeClearEvent function (wdm.h)".
func keClearEvent(c *Call, event guest.Addr) { keResetEvent(c, event) }

// kePulseEvent signals an event for those who wait for it now, and leaves it not signalled.
//
//	LONG KePulseEvent(PRKEVENT Event, KPRIORITY Increment, BOOLEAN Wait)
//
// The state from before. As for KeSetEvent.
func kePulseEvent(c *Call, event guest.Addr, increment int32, wait nt.Boolean) int32 {
	if wait != 0 {
		c.atMost(apc)
	}
	before, err := c.Ke.PulseEvent(event)
	c.Must(err)
	return before
}

// keReadState gives the state of a dispatcher object: KeReadStateEvent, KeReadStateSemaphore,
// KeReadStateMutex.
//
//	LONG KeReadStateEvent(PRKEVENT Event)
//
// "KeReadStateEvent function (wdm.h)" and so on.
func keReadState(c *Call, object guest.Addr) int32 {
	state, err := ke.ReadState(object)
	c.Must(err)
	return state
}

// keInitializeSemaphore makes a semaphore.
//
//	VOID KeInitializeSemaphore(PRKSEMAPHORE Semaphore, LONG Count, LONG Limit)
//
// "KeInitializeSemaphore function (wdm.h)".
func keInitializeSemaphore(c *Call, semaphore guest.Addr, count, limit int32) {
	c.Must(ke.InitializeSemaphore(semaphore, count, limit))
}

// keReleaseSemaphore adds to a semaphore's count and wakes as many waiters.
//
//	LONG KeReleaseSemaphore(PRKSEMAPHORE Semaphore, KPRIORITY Increment, LONG Adjustment,
//	    BOOLEAN Wait)
//
// The count from before. Raises STATUS_SEMAPHORE_LIMIT_EXCEEDED. "KeReleaseSemaphore function
// (wdm.h)".
func keReleaseSemaphore(c *Call, semaphore guest.Addr, increment, adjustment int32,
	wait nt.Boolean) int32 {
	if wait != 0 {
		c.atMost(apc)
	}
	before, err := c.Ke.ReleaseSemaphore(semaphore, adjustment)
	c.Must(err)
	return before
}
