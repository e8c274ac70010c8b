package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Fast mutexes and guarded mutexes, which are the same structure.
var exFastMutexExports = []Export{
	{Name: "ExAcquireFastMutex", Fn: do1(exAcquireFastMutex), Hal: true, Params: "FastMutex",
		MaxIRQL: apc, Support: Full},
	{Name: "ExReleaseFastMutex", Fn: do1(exReleaseFastMutex), Hal: true, Params: "FastMutex",
		MaxIRQL: apc, Support: Full},
	{Name: "ExTryToAcquireFastMutex", Fn: fn1(exTryToAcquireFastMutex), Hal: true,
		Params: "FastMutex", MaxIRQL: apc, Support: Full},
	{Name: "ExAcquireFastMutexUnsafe", Fn: do1(exAcquireFastMutexUnsafe), Params: "FastMutex",
		MaxIRQL: apc, Support: Full},
	{Name: "ExReleaseFastMutexUnsafe", Fn: do1(exReleaseFastMutexUnsafe), Params: "FastMutex",
		MaxIRQL: apc, Support: Full},
	{Name: "KeInitializeGuardedMutex", Fn: do1(keInitializeGuardedMutex), Params: "Mutex",
		MaxIRQL: apc, Support: Full},
	{Name: "KeAcquireGuardedMutex", Fn: do1(keAcquireGuardedMutex), Params: "Mutex", MaxIRQL: apc,
		Support: Full},
	{Name: "KeReleaseGuardedMutex", Fn: do1(keReleaseGuardedMutex), Params: "Mutex", MaxIRQL: apc,
		Support: Full},
	{Name: "KeTryToAcquireGuardedMutex", Fn: fn1(keTryToAcquireGuardedMutex), Params: "Mutex",
		MaxIRQL: apc, Support: Full},
	{Name: "KeAcquireGuardedMutexUnsafe", Fn: do1(exAcquireFastMutexUnsafe), Params: "Mutex",
		MaxIRQL: apc, Support: Full},
	{Name: "KeReleaseGuardedMutexUnsafe", Fn: do1(exReleaseFastMutexUnsafe), Params: "Mutex",
		MaxIRQL: apc, Support: Full},
}

// exAcquireFastMutex takes a fast mutex, and raises to APC_LEVEL.
//
//	VOID ExAcquireFastMutex(PFAST_MUTEX FastMutex)
//
// MUTEX_ALREADY_OWNED for the caller's own mutex. "ExAcquireFastMutex function (wdm.h)".
func exAcquireFastMutex(c *Call, mutex guest.Addr) { c.Must(c.T.AcquireFastMutex(mutex, false)) }

// exReleaseFastMutex gives a fast mutex back, and restores the IRQL.
//
//	VOID ExReleaseFastMutex(PFAST_MUTEX FastMutex)
//
// THREAD_NOT_MUTEX_OWNER for one that the caller does not own. "ExReleaseFastMutex function
// (wdm.h)".
func exReleaseFastMutex(c *Call, mutex guest.Addr) { c.Must(c.T.ReleaseFastMutex(mutex, false)) }

// exTryToAcquireFastMutex takes a fast mutex if it is free.
//
//	BOOLEAN ExTryToAcquireFastMutex(PFAST_MUTEX FastMutex)
//
// FALSE if it is not. "ExTryToAcquireFastMutex function (wdm.h)".
func exTryToAcquireFastMutex(c *Call, mutex guest.Addr) nt.Boolean {
	ok, err := c.T.TryAcquireFastMutex(mutex, false)
	c.Must(err)
	return boolean(ok)
}

// exAcquireFastMutexUnsafe takes a fast mutex and leaves the IRQL: the caller sees to it that APCs
// are disabled.
//
//	VOID ExAcquireFastMutexUnsafe(PFAST_MUTEX FastMutex)
//
// "ExAcquireFastMutexUnsafe function (wdm.h)".
func exAcquireFastMutexUnsafe(c *Call, mutex guest.Addr) {
	c.Must(c.T.AcquireFastMutex(mutex,
		true))
}

// exReleaseFastMutexUnsafe gives such a mutex back.
//
//	VOID ExReleaseFastMutexUnsafe(PFAST_MUTEX FastMutex)
//
// "ExReleaseFastMutexUnsafe function (wdm.h)".
func exReleaseFastMutexUnsafe(c *Call, mutex guest.Addr) {
	c.Must(c.T.ReleaseFastMutex(mutex,
		true))
}

// keInitializeGuardedMutex makes a guarded mutex that is free.
//
//	VOID KeInitializeGuardedMutex(PKGUARDED_MUTEX Mutex)
//
// "KeInitializeGuardedMutex function (wdm.h)".
func keInitializeGuardedMutex(c *Call, mutex guest.Addr) { c.Must(ke.InitializeFastMutex(mutex)) }

// keAcquireGuardedMutex enters a guarded region and takes a guarded mutex.
//
//	VOID KeAcquireGuardedMutex(PKGUARDED_MUTEX Mutex)
//
// "KeAcquireGuardedMutex function (wdm.h)".
func keAcquireGuardedMutex(c *Call, mutex guest.Addr) {
	c.T.EnterGuardedRegion()
	c.Must(c.T.AcquireFastMutex(mutex, true))
}

// keReleaseGuardedMutex gives a guarded mutex back and leaves the guarded region.
//
//	VOID KeReleaseGuardedMutex(PKGUARDED_MUTEX Mutex)
//
// "KeReleaseGuardedMutex function (wdm.h)".
func keReleaseGuardedMutex(c *Call, mutex guest.Addr) {
	c.Must(c.T.ReleaseFastMutex(mutex, true))
	c.T.LeaveGuardedRegion()
}

// keTryToAcquireGuardedMutex takes a guarded mutex if it is free.
//
//	BOOLEAN KeTryToAcquireGuardedMutex(PKGUARDED_MUTEX Mutex)
//
// FALSE if it is not. "KeTryToAcquireGuardedMutex function (wdm.h)".
func keTryToAcquireGuardedMutex(c *Call, mutex guest.Addr) nt.Boolean {
	ok, err := c.T.TryAcquireFastMutex(mutex, true)
	c.Must(err)
	if ok {
		c.T.EnterGuardedRegion()
	}
	return boolean(ok)
}
