package ntoskrnl

import "github.com/drvhost/drvhost/nt"

// IRQL, and critical and guarded regions. KeGetCurrentIrql and its like are code in ntoskrnl.exe;
// see ke_leaf.go.
var keIRQLExports = []Export{
	{Name: "KeGetCurrentIrql", Code: codeGetIRQL, Hal: true, MaxIRQL: anyIRQL, Support: Full},
	{Name: "KfRaiseIrql", Code: codeRaiseIRQL, Hal: true, Params: "NewIrql:d", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KeRaiseIrqlToDpcLevel", Code: codeRaiseToDPC, Hal: true, MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KeRaiseIrqlToSynchLevel", Fn: fn0(keRaiseIrqlToSynchLevel), Hal: true,
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeLowerIrql", Code: codeLowerIRQL, Hal: true, Params: "NewIrql:d", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KfLowerIrql", Code: codeLowerIRQL, Hal: true, Params: "NewIrql:d", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KiRaiseIrql", Fn: fn1(kfRaiseIrql), Params: "NewIrql:d", MaxIRQL: anyIRQL,
		Support: Full, Internal: true, Of: "KfRaiseIrql"},
	{Name: "KiRaiseIrqlToDpcLevel", Fn: fn0(keRaiseIrqlToDpcLevel), MaxIRQL: anyIRQL,
		Support: Full, Internal: true, Of: "KeRaiseIrqlToDpcLevel"},
	{Name: "KiLowerIrql", Fn: do1(keLowerIrql), Params: "NewIrql:d", MaxIRQL: anyIRQL,
		Support: Full, Internal: true, Of: "KeLowerIrql"},

	{Name: "KeEnterCriticalRegion", Fn: do0(keEnterCriticalRegion), MaxIRQL: apc, Support: Full},
	{Name: "KeLeaveCriticalRegion", Fn: do0(keLeaveCriticalRegion), MaxIRQL: apc, Support: Full},
	{Name: "FsRtlEnterFileSystem", Fn: do0(keEnterCriticalRegion), MaxIRQL: apc, Support: Full},
	{Name: "FsRtlExitFileSystem", Fn: do0(keLeaveCriticalRegion), MaxIRQL: apc, Support: Full},
	{Name: "KeEnterGuardedRegion", Fn: do0(keEnterGuardedRegion), MaxIRQL: apc, Support: Full},
	{Name: "KeLeaveGuardedRegion", Fn: do0(keLeaveGuardedRegion), MaxIRQL: apc, Support: Full},
	{Name: "KeAreApcsDisabled", Fn: fn0(keAreApcsDisabled), MaxIRQL: dispatch, Support: Full},
	{Name: "KeAreAllApcsDisabled", Fn: fn0(keAreAllApcsDisabled), MaxIRQL: dispatch, Support: Full},
}

// kfRaiseIrql raises the IRQL: what the macro KeRaiseIrql is on x64.
//
//	KIRQL KfRaiseIrql(KIRQL NewIrql)
//
// The IRQL from before; IRQL_NOT_GREATER_OR_EQUAL for a lower one. "KeRaiseIrql macro (wdm.h)".
func kfRaiseIrql(c *Call, irql nt.IRQL) nt.IRQL { return c.T.RaiseIRQL(irql) }

// keRaiseIrqlToDpcLevel raises the IRQL to DISPATCH_LEVEL.
//
//	KIRQL KeRaiseIrqlToDpcLevel(VOID)
//
// "KeRaiseIrqlToDpcLevel function (wdm.h)".
func keRaiseIrqlToDpcLevel(c *Call) nt.IRQL { return c.T.RaiseIRQL(dispatch) }

// synchLevel is SYNCH_LEVEL on x64 systems with several processors.
const synchLevel = nt.IRQL(12)

// keRaiseIrqlToSynchLevel raises the IRQL to the level at which the dispatcher itself works.
//
//	KIRQL KeRaiseIrqlToSynchLevel(VOID)
func keRaiseIrqlToSynchLevel(c *Call) nt.IRQL { return c.T.RaiseIRQL(synchLevel) }

// keLowerIrql restores an IRQL.
//
//	VOID KeLowerIrql(KIRQL NewIrql)
//
// IRQL_NOT_LESS_OR_EQUAL for a higher one. "KeLowerIrql function (wdm.h)".
func keLowerIrql(c *Call, irql nt.IRQL) { c.T.LowerIRQL(irql) }

// keEnterCriticalRegion disables normal kernel APCs.
//
//	VOID KeEnterCriticalRegion(VOID)
//
// "KeEnterCriticalRegion function (ntddk.h)".
func keEnterCriticalRegion(c *Call) { c.T.EnterCriticalRegion() }

// keLeaveCriticalRegion undoes KeEnterCriticalRegion.
//
//	VOID KeLeaveCriticalRegion(VOID)
//
// "KeLeaveCriticalRegion function (ntddk.h)".
func keLeaveCriticalRegion(c *Call) { c.T.LeaveCriticalRegion() }

// keEnterGuardedRegion disables all kernel APCs.
//
//	VOID KeEnterGuardedRegion(VOID)
//
// "KeEnterGuardedRegion function (ntddk.h)".
func keEnterGuardedRegion(c *Call) { c.T.EnterGuardedRegion() }

// keLeaveGuardedRegion undoes KeEnterGuardedRegion.
//
//	VOID KeLeaveGuardedRegion(VOID)
//
// "KeLeaveGuardedRegion function (ntddk.h)".
func keLeaveGuardedRegion(c *Call) { c.T.LeaveGuardedRegion() }

// keAreApcsDisabled tells whether normal kernel APCs are disabled.
//
//	BOOLEAN KeAreApcsDisabled(VOID)
//
// "KeAreApcsDisabled function (ntddk.h)".
func keAreApcsDisabled(c *Call) nt.Boolean { return boolean(c.T.APCsDisabled()) }

// keAreAllApcsDisabled tells whether all kernel APCs are disabled.
//
//	BOOLEAN KeAreAllApcsDisabled(VOID)
//
// "KeAreAllApcsDisabled function (ntddk.h)".
func keAreAllApcsDisabled(c *Call) nt.Boolean { return boolean(c.T.AllAPCsDisabled()) }
