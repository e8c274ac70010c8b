package ntoskrnl

import (
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Crashing on purpose.
var keBugCheckExports = []Export{
	{Name: "KeBugCheck", Fn: do1(keBugCheck), Params: "BugCheckCode", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KeBugCheckEx", Fn: do5(keBugCheckEx),
		Params: "BugCheckCode BugCheckParameter1 BugCheckParameter2 BugCheckParameter3 " +
			"BugCheckParameter4",
		MaxIRQL: anyIRQL, Support: Full},
}

// keBugCheck crashes the system.
//
//	VOID KeBugCheck(ULONG BugCheckCode)
//
// "KeBugCheck function (ntddk.h)".
func keBugCheck(c *Call, code nt.BugCheck) { keBugCheckEx(c, code, 0, 0, 0, 0) }

// keBugCheckEx crashes the system, with what a reader of the crash should know.
//
//	VOID KeBugCheckEx(ULONG BugCheckCode, ULONG_PTR BugCheckParameter1, …)
//
// "KeBugCheckEx function (wdm.h)".
func keBugCheckEx(c *Call, code nt.BugCheck, p1, p2, p3, p4 uint64) {
	c.T.Crash(&ke.Bugcheck{Code: code, Params: [4]uint64{p1, p2, p3, p4},
		Reason: c.row.Name + " called by " + c.Where(c.Caller())})
}
