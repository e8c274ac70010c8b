package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Push locks, and reader/writer spin locks.
var exPushLockExports = []Export{
	{Name: "ExInitializePushLock", Fn: do1(exInitializePushLock), Params: "PushLock",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExAcquirePushLockExclusiveEx", Fn: do2(exAcquirePushLockExclusiveEx),
		Params: "PushLock Flags", MaxIRQL: apc, Support: Full},
	{Name: "ExAcquirePushLockSharedEx", Fn: do2(exAcquirePushLockSharedEx),
		Params: "PushLock Flags", MaxIRQL: apc, Support: Full},
	{Name: "ExReleasePushLockExclusiveEx", Fn: do2(exReleasePushLockEx), Params: "PushLock Flags",
		MaxIRQL: apc, Support: Full},
	{Name: "ExReleasePushLockSharedEx", Fn: do2(exReleasePushLockEx), Params: "PushLock Flags",
		MaxIRQL: apc, Support: Full},
	{Name: "ExReleasePushLockEx", Fn: do2(exReleasePushLockEx), Params: "PushLock Flags",
		MaxIRQL: apc, Support: Full},
	{Name: "ExfAcquirePushLockExclusive", Fn: do1(exfAcquirePushLockExclusive), Params: "PushLock",
		MaxIRQL: apc, Support: Full},
	{Name: "ExfAcquirePushLockShared", Fn: do1(exfAcquirePushLockShared), Params: "PushLock",
		MaxIRQL: apc, Support: Full},
	{Name: "ExfTryAcquirePushLockShared", Fn: fn1(exfTryAcquirePushLockShared), Params: "PushLock",
		MaxIRQL: apc, Support: Full},
	{Name: "ExfReleasePushLock", Fn: do1(exfReleasePushLock), Params: "PushLock", MaxIRQL: apc,
		Support: Full},
	{Name: "ExfReleasePushLockExclusive", Fn: do1(exfReleasePushLock), Params: "PushLock",
		MaxIRQL: apc, Support: Full},
	{Name: "ExfReleasePushLockShared", Fn: do1(exfReleasePushLock), Params: "PushLock",
		MaxIRQL: apc, Support: Full},

	{Name: "ExAcquireSpinLockShared", Fn: fn1(exAcquireSpinLockShared), Params: "SpinLock",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExReleaseSpinLockShared", Fn: do2(exReleaseSpinLockShared),
		Params:  "SpinLock OldIrql:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExAcquireSpinLockExclusive", Fn: fn1(exAcquireSpinLockExclusive), Params: "SpinLock",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExReleaseSpinLockExclusive", Fn: do2(exReleaseSpinLockExclusive),
		Params: "SpinLock OldIrql:d", MaxIRQL: dispatch, Support: Full},
	{Name: "ExAcquireSpinLockSharedAtDpcLevel", Fn: do1(exAcquireSpinLockSharedAtDpcLevel),
		Params: "SpinLock", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExReleaseSpinLockSharedFromDpcLevel", Fn: do1(exReleaseSpinLockSharedFromDpcLevel),
		Params: "SpinLock", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExAcquireSpinLockExclusiveAtDpcLevel", Fn: do1(exAcquireSpinLockExclusiveAtDpcLevel),
		Params: "SpinLock", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExReleaseSpinLockExclusiveFromDpcLevel",
		Fn: do1(exReleaseSpinLockExclusiveFromDpcLevel), Params: "SpinLock", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "ExTryConvertSharedSpinLockExclusive", Fn: fn1(exTryConvertSharedSpinLockExclusive),
		Params: "SpinLock", MaxIRQL: anyIRQL, Support: Full},
}

// exInitializePushLock makes a push lock that is free.
//
//	VOID ExInitializePushLock(PEX_PUSH_LOCK PushLock)
//
// "ExInitializePushLock function (wdm.h)".
func exInitializePushLock(c *Call, lock guest.Addr) { Store(c, lock, uint64(0)) }

// The flags of the push lock functions: EX_PUSH_LOCK_DISABLE_AUTO_BOOST and
// EX_PUSH_LOCK_ENABLE_AUTO_BOOST, which have no effect, because priorities have none.

// exAcquirePushLockExclusiveEx takes a push lock for itself.
//
//	VOID ExAcquirePushLockExclusiveEx(PEX_PUSH_LOCK PushLock, ULONG Flags)
//
// "ExAcquirePushLockExclusiveEx function (wdm.h)". The caller has disabled normal kernel APCs.
func exAcquirePushLockExclusiveEx(c *Call, lock guest.Addr, flags uint32) {
	c.Must(c.T.AcquirePushLock(lock, true))
}

// exAcquirePushLockSharedEx takes a push lock with others.
//
//	VOID ExAcquirePushLockSharedEx(PEX_PUSH_LOCK PushLock, ULONG Flags)
//
// "ExAcquirePushLockSharedEx function (wdm.h)".
func exAcquirePushLockSharedEx(c *Call, lock guest.Addr, flags uint32) {
	c.Must(c.T.AcquirePushLock(lock, false))
}

// exReleasePushLockEx gives a push lock back, however it was taken.
//
//	VOID ExReleasePushLockExclusiveEx(PEX_PUSH_LOCK PushLock, ULONG Flags)
//	VOID ExReleasePushLockSharedEx(PEX_PUSH_LOCK PushLock, ULONG Flags)
//
// "ExReleasePushLockExclusiveEx function (wdm.h)".
func exReleasePushLockEx(c *Call, lock guest.Addr, flags uint32) {
	c.Must(c.Ke.ReleasePushLock(lock))
}

// exfAcquirePushLockExclusive, exfAcquirePushLockShared and exfReleasePushLock are what inline
// functions of drivers for older systems call.
//
//	VOID FASTCALL ExfAcquirePushLockExclusive(PEX_PUSH_LOCK PushLock)
func exfAcquirePushLockExclusive(c *Call, lock guest.Addr) {
	exAcquirePushLockExclusiveEx(c, lock,
		0)
}

func exfAcquirePushLockShared(c *Call, lock guest.Addr) { exAcquirePushLockSharedEx(c, lock, 0) }

func exfReleasePushLock(c *Call, lock guest.Addr) { exReleasePushLockEx(c, lock, 0) }

// exfTryAcquirePushLockShared takes a push lock with others, if that needs no waiting.
//
//	BOOLEAN FASTCALL ExfTryAcquirePushLockShared(PEX_PUSH_LOCK PushLock)
func exfTryAcquirePushLockShared(c *Call, lock guest.Addr) nt.Boolean {
	ok, err := c.Ke.TryAcquirePushLock(lock, false)
	c.Must(err)
	return boolean(ok)
}

// exAcquireSpinLockShared raises to DISPATCH_LEVEL and takes a reader/writer spin lock as a reader.
//
//	KIRQL ExAcquireSpinLockShared(PEX_SPIN_LOCK SpinLock)
//
// The IRQL from before. "ExAcquireSpinLockShared function (wdm.h)".
func exAcquireSpinLockShared(c *Call, lock guest.Addr) nt.IRQL {
	old := c.T.RaiseIRQL(dispatch)
	c.Must(c.T.AcquireSharedSpinLock(lock))
	return old
}

// exReleaseSpinLockShared gives it back and lowers the IRQL.
//
//	VOID ExReleaseSpinLockShared(PEX_SPIN_LOCK SpinLock, KIRQL OldIrql)
//
// "ExReleaseSpinLockShared function (wdm.h)".
func exReleaseSpinLockShared(c *Call, lock guest.Addr, irql nt.IRQL) {
	c.Must(c.T.ReleaseSharedSpinLock(lock))
	c.T.LowerIRQL(irql)
}

// exAcquireSpinLockExclusive raises to DISPATCH_LEVEL and takes a reader/writer spin lock as the
// writer.
//
//	KIRQL ExAcquireSpinLockExclusive(PEX_SPIN_LOCK SpinLock)
//
// The IRQL from before. "ExAcquireSpinLockExclusive function (wdm.h)".
func exAcquireSpinLockExclusive(c *Call, lock guest.Addr) nt.IRQL {
	old := c.T.RaiseIRQL(dispatch)
	c.Must(c.T.AcquireExclusiveSpinLock(lock))
	return old
}

// exReleaseSpinLockExclusive gives it back and lowers the IRQL.
//
//	VOID ExReleaseSpinLockExclusive(PEX_SPIN_LOCK SpinLock, KIRQL OldIrql)
//
// "ExReleaseSpinLockExclusive function (wdm.h)".
func exReleaseSpinLockExclusive(c *Call, lock guest.Addr, irql nt.IRQL) {
	c.Must(c.T.ReleaseExclusiveSpinLock(lock))
	c.T.LowerIRQL(irql)
}

// exAcquireSpinLockSharedAtDpcLevel takes a reader/writer spin lock as a reader, at DISPATCH_LEVEL.
//
//	VOID ExAcquireSpinLockSharedAtDpcLevel(PEX_SPIN_LOCK SpinLock)
//
// "ExAcquireSpinLockSharedAtDpcLevel function (wdm.h)".
func exAcquireSpinLockSharedAtDpcLevel(c *Call, lock guest.Addr) {
	c.atDispatch()
	c.Must(c.T.AcquireSharedSpinLock(lock))
}

// exReleaseSpinLockSharedFromDpcLevel gives it back and leaves the IRQL.
//
//	VOID ExReleaseSpinLockSharedFromDpcLevel(PEX_SPIN_LOCK SpinLock)
//
// "ExReleaseSpinLockSharedFromDpcLevel function (wdm.h)".
func exReleaseSpinLockSharedFromDpcLevel(c *Call, lock guest.Addr) {
	c.Must(c.T.ReleaseSharedSpinLock(lock))
}

// exAcquireSpinLockExclusiveAtDpcLevel takes a reader/writer spin lock as the writer, at
// DISPATCH_LEVEL.
//
//	VOID ExAcquireSpinLockExclusiveAtDpcLevel(PEX_SPIN_LOCK SpinLock)
//
// "ExAcquireSpinLockExclusiveAtDpcLevel function (wdm.h)".
func exAcquireSpinLockExclusiveAtDpcLevel(c *Call, lock guest.Addr) {
	c.atDispatch()
	c.Must(c.T.AcquireExclusiveSpinLock(lock))
}

// exReleaseSpinLockExclusiveFromDpcLevel gives it back and leaves the IRQL.
//
//	VOID ExReleaseSpinLockExclusiveFromDpcLevel(PEX_SPIN_LOCK SpinLock)
//
// "ExReleaseSpinLockExclusiveFromDpcLevel function (wdm.h)".
func exReleaseSpinLockExclusiveFromDpcLevel(c *Call, lock guest.Addr) {
	c.Must(c.T.ReleaseExclusiveSpinLock(lock))
}

// exTryConvertSharedSpinLockExclusive makes the caller, a reader, the writer.
//
//	LOGICAL ExTryConvertSharedSpinLockExclusive(PEX_SPIN_LOCK SpinLock)
//
// 0 if there are other readers. "ExTryConvertSharedSpinLockExclusive function (wdm.h)".
func exTryConvertSharedSpinLockExclusive(c *Call, lock guest.Addr) uint32 {
	ok, err := ke.TryConvertSpinLock(lock)
	c.Must(err)
	return uint32(boolean(ok))
}
