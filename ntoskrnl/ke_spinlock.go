package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Spin locks.
var keSpinLockExports = []Export{
	{Name: "KeInitializeSpinLock", Fn: do1(keInitializeSpinLock), Params: "SpinLock",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeAcquireSpinLockRaiseToDpc", Code: codeAcquireSpinLock, Hal: true, Params: "SpinLock",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeReleaseSpinLock", Code: codeReleaseSpinLock, Hal: true, Params: "SpinLock NewIrql:d",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeAcquireSpinLockAtDpcLevel", Code: codeAcquireAtDPC, Params: "SpinLock",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeReleaseSpinLockFromDpcLevel", Code: codeReleaseFromDPC, Params: "SpinLock",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeTryToAcquireSpinLockAtDpcLevel", Fn: fn1(keTryToAcquireSpinLockAtDpcLevel),
		Params: "SpinLock", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeTestSpinLock", Fn: fn1(keTestSpinLock), Params: "SpinLock", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KeAcquireInStackQueuedSpinLock", Code: codeAcquireQueued, Hal: true,
		Params: "SpinLock LockHandle", MaxIRQL: dispatch, Support: Full},
	{Name: "KeReleaseInStackQueuedSpinLock", Code: codeReleaseQueued, Hal: true,
		Params: "LockHandle", MaxIRQL: dispatch, Support: Full},
	{Name: "KeAcquireInStackQueuedSpinLockAtDpcLevel",
		Fn:     do2(keAcquireInStackQueuedSpinLockAtDpcLevel),
		Params: "SpinLock LockHandle", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeReleaseInStackQueuedSpinLockFromDpcLevel",
		Fn:     do1(keReleaseInStackQueuedSpinLockFromDpcLevel),
		Params: "LockHandle", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeAcquireInStackQueuedSpinLockForDpc", Fn: do2(keAcquireInStackQueuedSpinLockForDpc),
		Params: "SpinLock LockHandle", MaxIRQL: dispatch, Support: Full},
	{Name: "KeReleaseInStackQueuedSpinLockForDpc", Code: codeReleaseQueued, Params: "LockHandle",
		MaxIRQL: dispatch, Support: Full},

	{Name: "KiAcquireSpinLockRaiseToDpc", Fn: fn1(keAcquireSpinLockRaiseToDpc), Params: "SpinLock",
		MaxIRQL: dispatch, Support: Full, Internal: true, Of: "KeAcquireSpinLockRaiseToDpc"},
	{Name: "KiReleaseSpinLock", Fn: do2(keReleaseSpinLock), Params: "SpinLock NewIrql:d",
		MaxIRQL: anyIRQL, Support: Full, Internal: true, Of: "KeReleaseSpinLock"},
	{Name: "KiAcquireSpinLockAtDpcLevel", Fn: do1(keAcquireSpinLockAtDpcLevel), Params: "SpinLock",
		MaxIRQL: anyIRQL, Support: Full, Internal: true, Of: "KeAcquireSpinLockAtDpcLevel"},
	{Name: "KiReleaseSpinLockFromDpcLevel", Fn: do1(keReleaseSpinLockFromDpcLevel),
		Params: "SpinLock", MaxIRQL: anyIRQL, Support: Full, Internal: true,
		Of: "KeReleaseSpinLockFromDpcLevel"},
	{Name: "KiAcquireInStackQueuedSpinLock", Fn: do2(keAcquireInStackQueuedSpinLock),
		Params: "SpinLock LockHandle", MaxIRQL: dispatch, Support: Full, Internal: true,
		Of: "KeAcquireInStackQueuedSpinLock"},
}

// keInitializeSpinLock makes a spin lock that is free.
//
//	VOID KeInitializeSpinLock(PKSPIN_LOCK SpinLock)
//
// "KeInitializeSpinLock function (wdm.h)".
func keInitializeSpinLock(c *Call, lock guest.Addr) { Store(c, lock, uint64(0)) }

// keAcquireSpinLockRaiseToDpc raises to DISPATCH_LEVEL and takes a spin lock: what the macro
// KeAcquireSpinLock is on x64.
//
//	KIRQL KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK SpinLock)
//
// The IRQL from before. SPIN_LOCK_ALREADY_OWNED for the caller's own lock.
// "KeAcquireSpinLockRaiseToDpc function (wdm.h)".
func keAcquireSpinLockRaiseToDpc(c *Call, lock guest.Addr) nt.IRQL {
	old := c.T.RaiseIRQL(dispatch)
	c.Must(c.T.AcquireSpinLock(lock))
	return old
}

// keReleaseSpinLock gives a spin lock back and lowers the IRQL.
//
//	VOID KeReleaseSpinLock(PKSPIN_LOCK SpinLock, KIRQL NewIrql)
//
// SPIN_LOCK_NOT_OWNED for a lock that the caller does not own. "KeReleaseSpinLock function
// (wdm.h)".
func keReleaseSpinLock(c *Call, lock guest.Addr, irql nt.IRQL) {
	if lock != 0 { // else guest code has released it
		c.Must(c.T.ReleaseSpinLock(lock))
	}
	c.T.LowerIRQL(irql)
}

// keAcquireSpinLockAtDpcLevel takes a spin lock at DISPATCH_LEVEL or above.
//
//	VOID KeAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock)
//
// "KeAcquireSpinLockAtDpcLevel function (wdm.h)".
func keAcquireSpinLockAtDpcLevel(c *Call, lock guest.Addr) {
	c.atDispatch()
	c.Must(c.T.AcquireSpinLock(lock))
}

// atDispatch is the bugcheck of a call that is for DISPATCH_LEVEL or above and comes from below.
func (c *Call) atDispatch() {
	if c.T.IRQL() < dispatch {
		c.T.Bugcheck(nt.IRQL_NOT_DISPATCH_LEVEL, uint64(c.T.IRQL()), 0, 0, 0)
	}
}

// keReleaseSpinLockFromDpcLevel gives a spin lock back and leaves the IRQL.
//
//	VOID KeReleaseSpinLockFromDpcLevel(PKSPIN_LOCK SpinLock)
//
// "KeReleaseSpinLockFromDpcLevel function (wdm.h)".
func keReleaseSpinLockFromDpcLevel(c *Call, lock guest.Addr) { c.Must(c.T.ReleaseSpinLock(lock)) }

// keTryToAcquireSpinLockAtDpcLevel takes a spin lock if it is free.
//
//	BOOLEAN KeTryToAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock)
//
// FALSE if it is not. "KeTryToAcquireSpinLockAtDpcLevel function (ntddk.h)".
func keTryToAcquireSpinLockAtDpcLevel(c *Call, lock guest.Addr) nt.Boolean {
	c.atDispatch()
	ok, err := c.T.TryAcquireSpinLock(lock)
	c.Must(err)
	return boolean(ok)
}

// keTestSpinLock tells whether a spin lock is free.
//
//	BOOLEAN KeTestSpinLock(PKSPIN_LOCK SpinLock)
//
// "KeTestSpinLock function (wdm.h)".
func keTestSpinLock(c *Call, lock guest.Addr) nt.Boolean {
	free, err := ke.SpinLockFree(lock)
	c.Must(err)
	return boolean(free)
}

// keAcquireInStackQueuedSpinLock takes a queued spin lock at DISPATCH_LEVEL. The lock is handed on
// in no particular order. A lock is used as a queued one or as a plain one, never as both.
//
//	VOID KeAcquireInStackQueuedSpinLock(PKSPIN_LOCK SpinLock, PKLOCK_QUEUE_HANDLE LockHandle)
//
// KeReleaseInStackQueuedSpinLock goes on as KeReleaseSpinLock does, with what is in the handle.
// "KeAcquireInStackQueuedSpinLock function (wdm.h)".
func keAcquireInStackQueuedSpinLock(c *Call, lock, handle guest.Addr) {
	c.acquireQueued(lock, handle, c.T.RaiseIRQL(dispatch))
}

// keAcquireInStackQueuedSpinLockForDpc does the same, for DPC routines that may be threaded: at
// whatever level the caller is.
//
//	VOID KeAcquireInStackQueuedSpinLockForDpc(PKSPIN_LOCK SpinLock, PKLOCK_QUEUE_HANDLE LockHandle)
//
// "KeAcquireInStackQueuedSpinLockForDpc function (wdm.h)".
func keAcquireInStackQueuedSpinLockForDpc(c *Call, lock, handle guest.Addr) {
	keAcquireInStackQueuedSpinLock(c, lock, handle)
}

func (c *Call) acquireQueued(lock, handle guest.Addr, irql nt.IRQL) {
	c.Must(c.T.AcquireSpinLock(lock))
	Store(c, handle, nt.KLockQueueHandle{LockQueue: nt.KSpinLockQueue{Lock: lock}, OldIrql: irql})
}

// keAcquireInStackQueuedSpinLockAtDpcLevel takes a queued spin lock at DISPATCH_LEVEL or above.
//
//	VOID KeAcquireInStackQueuedSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock,
//	    PKLOCK_QUEUE_HANDLE LockHandle)
//
// "KeAcquireInStackQueuedSpinLockAtDpcLevel function (wdm.h)".
func keAcquireInStackQueuedSpinLockAtDpcLevel(c *Call, lock, handle guest.Addr) {
	c.atDispatch()
	c.acquireQueued(lock, handle, c.T.IRQL())
}

// keReleaseInStackQueuedSpinLockFromDpcLevel gives a queued spin lock back and leaves the IRQL.
//
//	VOID KeReleaseInStackQueuedSpinLockFromDpcLevel(PKLOCK_QUEUE_HANDLE LockHandle)
//
// "KeReleaseInStackQueuedSpinLockFromDpcLevel function (wdm.h)".
func keReleaseInStackQueuedSpinLockFromDpcLevel(c *Call, handle guest.Addr) {
	c.Must(c.T.ReleaseSpinLock(Load[nt.KLockQueueHandle](c, handle).LockQueue.Lock))
}
