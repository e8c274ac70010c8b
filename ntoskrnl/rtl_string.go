package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Counted strings: UNICODE_STRING and ANSI_STRING.
var rtlStringExports = []Export{
	{Name: "RtlInitUnicodeString", Fn: do2(rtlInitUnicodeString),
		Params: "DestinationString SourceString:wstr", MaxIRQL: dispatch, Support: Full},
}

// rtlInitUnicodeString makes a counted string of a zero-terminated one, without copying it.
//
//	VOID RtlInitUnicodeString(PUNICODE_STRING DestinationString, PCWSTR SourceString)
//
// A null source gives an empty string; one of more than 0xFFFC bytes is cut there.
// "RtlInitUnicodeString function (wdm.h)".
func rtlInitUnicodeString(c *Call, dst, src guest.Addr) { c.Must(rtl.InitUnicodeString(dst, src)) }
