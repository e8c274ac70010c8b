package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Run-down protection.
var exRundownExports = []Export{
	{Name: "ExInitializeRundownProtection", Fn: do1(exInitializeRundownProtection),
		Params: "RunRef", MaxIRQL: dispatch, Support: Full},
	{Name: "ExReInitializeRundownProtection", Fn: do1(exInitializeRundownProtection),
		Params: "RunRef", MaxIRQL: apc, Support: Full},
	{Name: "ExAcquireRundownProtection", Fn: fn1(exAcquireRundownProtection), Params: "RunRef",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExAcquireRundownProtectionEx", Fn: fn2(exAcquireRundownProtectionEx),
		Params: "RunRef Count:d", MaxIRQL: dispatch, Support: Full},
	{Name: "ExReleaseRundownProtection", Fn: do1(exReleaseRundownProtection), Params: "RunRef",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExReleaseRundownProtectionEx", Fn: do2(exReleaseRundownProtectionEx),
		Params: "RunRef Count:d", MaxIRQL: dispatch, Support: Full},
	{Name: "ExWaitForRundownProtectionRelease", Fn: do1(exWaitForRundownProtectionRelease),
		Params: "RunRef", MaxIRQL: apc, Support: Full},
	{Name: "ExRundownCompleted", Fn: do1(exRundownCompleted), Params: "RunRef", MaxIRQL: apc,
		Support: Full},
}

// exInitializeRundownProtection makes a reference, or makes one that was run down usable again.
//
//	VOID ExInitializeRundownProtection(PEX_RUNDOWN_REF RunRef)
//	VOID ExReInitializeRundownProtection(PEX_RUNDOWN_REF RunRef)
//
// "ExInitializeRundownProtection function (wdm.h)".
func exInitializeRundownProtection(c *Call, ref guest.Addr) { c.Must(ke.InitializeRundown(ref)) }

// exAcquireRundownProtection takes protection against an object's end.
//
//	BOOLEAN ExAcquireRundownProtection(PEX_RUNDOWN_REF RunRef)
//
// FALSE if the object is being run down. "ExAcquireRundownProtection function (wdm.h)".
func exAcquireRundownProtection(c *Call, ref guest.Addr) nt.Boolean {
	return exAcquireRundownProtectionEx(c, ref, 1)
}

// exAcquireRundownProtectionEx takes it several times.
//
//	BOOLEAN ExAcquireRundownProtectionEx(PEX_RUNDOWN_REF RunRef, ULONG Count)
//
// "ExAcquireRundownProtectionEx function (wdm.h)".
func exAcquireRundownProtectionEx(c *Call, ref guest.Addr, count uint32) nt.Boolean {
	ok, err := ke.AcquireRundown(ref, count)
	c.Must(err)
	return boolean(ok)
}

// exReleaseRundownProtection gives protection back.
//
//	VOID ExReleaseRundownProtection(PEX_RUNDOWN_REF RunRef)
//
// "ExReleaseRundownProtection function (wdm.h)".
func exReleaseRundownProtection(c *Call, ref guest.Addr) { c.Must(c.Ke.ReleaseRundown(ref, 1)) }

// exReleaseRundownProtectionEx gives it back several times.
//
//	VOID ExReleaseRundownProtectionEx(PEX_RUNDOWN_REF RunRef, ULONG Count)
//
// "ExReleaseRundownProtectionEx function (wdm.h)".
func exReleaseRundownProtectionEx(c *Call, ref guest.Addr, count uint32) {
	c.Must(c.Ke.ReleaseRundown(ref, count))
}

// exWaitForRundownProtectionRelease stops new protection and waits for what there is.
//
//	VOID ExWaitForRundownProtectionRelease(PEX_RUNDOWN_REF RunRef)
//
// "ExWaitForRundownProtectionRelease function (wdm.h)".
func exWaitForRundownProtectionRelease(c *Call, ref guest.Addr) { c.Must(c.T.WaitForRundown(ref)) }

// exRundownCompleted marks an object as run down.
//
//	VOID ExRundownCompleted(PEX_RUNDOWN_REF RunRef)
//
// "ExRundownCompleted function (wdm.h)".
func exRundownCompleted(c *Call, ref guest.Addr) { c.Must(ke.RundownCompleted(ref)) }
