package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Mutexes.
var keMutexExports = []Export{
	{Name: "KeInitializeMutex", Fn: do2(keInitializeMutex), Params: "Mutex Level:d",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeInitializeMutant", Fn: do2(keInitializeMutant), Params: "Mutant InitialOwner:b",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeReleaseMutex", Fn: fn2(keReleaseMutex), Params: "Mutex Wait:b", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeReleaseMutant", Fn: fn4(keReleaseMutant),
		Params: "Mutant Increment:d Abandon:b Wait:b", MaxIRQL: dispatch, Support: Full},
	{Name: "KeReadStateMutex", Fn: fn1(keReadState), Params: "Mutex", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeReadStateMutant", Fn: fn1(keReadState), Params: "Mutant", MaxIRQL: dispatch,
		Support: Full},
}

// keInitializeMutex makes a mutex that is free.
//
//	VOID KeInitializeMutex(PRKMUTEX Mutex, ULONG Level)
//
// "KeInitializeMutex function (wdm.h)". Level is reserved.
func keInitializeMutex(c *Call, mutex guest.Addr, level uint32) {
	c.Must(ke.InitializeMutant(mutex, true))
}

// keInitializeMutant makes a mutant, which in contrast to a mutex leaves APCs enabled and may be
// abandoned.
//
//	VOID KeInitializeMutant(PRKMUTANT Mutant, BOOLEAN InitialOwner)
func keInitializeMutant(c *Call, mutant guest.Addr, owned nt.Boolean) {
	c.Must(ke.InitializeMutant(mutant, false))
	if owned != 0 {
		_, err := c.T.WaitForSingleObject(mutant, ke.Poll)
		c.Must(err)
	}
}

// keReleaseMutex gives up the caller's ownership of a mutex once.
//
//	LONG KeReleaseMutex(PRKMUTEX Mutex, BOOLEAN Wait)
//
// The state from before: 0 if the mutex is free now. Raises STATUS_MUTANT_NOT_OWNED and
// STATUS_ABANDONED. "KeReleaseMutex function (wdm.h)".
func keReleaseMutex(c *Call, mutex guest.Addr, wait nt.Boolean) int32 {
	if wait != 0 {
		c.atMost(apc)
	}
	before, err := c.T.ReleaseMutant(mutex)
	c.Must(err)
	return before
}

// keReleaseMutant is keReleaseMutex, or with abandon frees a mutant whoever owns it and however
// often.
//
//	LONG KeReleaseMutant(PRKMUTANT Mutant, KPRIORITY Increment, BOOLEAN Abandoned, BOOLEAN Wait)
func keReleaseMutant(c *Call, mutant guest.Addr, increment int32, abandon, wait nt.Boolean) int32 {
	if abandon != 0 {
		before, err := c.T.AbandonMutant(mutant)
		c.Must(err)
		return before
	}
	return keReleaseMutex(c, mutant, wait)
}
