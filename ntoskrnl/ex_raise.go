package ntoskrnl

import "github.com/drvhost/drvhost/nt"

// Raising exceptions. None of these can be continued.
var exRaiseExports = []Export{
	{Name: "ExRaiseAccessViolation", Fn: do0(exRaiseAccessViolation), MaxIRQL: apc, Support: Full},
	{Name: "ExRaiseDatatypeMisalignment", Fn: do0(exRaiseDatatypeMisalignment), MaxIRQL: apc,
		Support: Full},
	{Name: "ExRaiseStatus", Fn: do1(exRaiseStatus), Params: "Status:status", MaxIRQL: apc,
		Support: Full},
}

// exRaiseAccessViolation raises STATUS_ACCESS_VIOLATION.
//
//	VOID ExRaiseAccessViolation(VOID)
//
// "ExRaiseAccessViolation function (ntddk.h)".
func exRaiseAccessViolation(c *Call) { c.Raise(nt.STATUS_ACCESS_VIOLATION) }

// exRaiseDatatypeMisalignment raises STATUS_DATATYPE_MISALIGNMENT.
//
//	VOID ExRaiseDatatypeMisalignment(VOID)
//
// "ExRaiseDatatypeMisalignment function (ntddk.h)".
func exRaiseDatatypeMisalignment(c *Call) { c.Raise(nt.STATUS_DATATYPE_MISALIGNMENT) }

// exRaiseStatus raises an exception of which nothing is known but its status.
//
//	VOID ExRaiseStatus(NTSTATUS Status)
//
// "ExRaiseStatus function (wdm.h)".
func exRaiseStatus(c *Call, status nt.Status) { c.Raise(status) }
