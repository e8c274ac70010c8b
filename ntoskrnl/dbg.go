package ntoskrnl

import (
	"errors"
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Debug output, and the kernel debugger that is not there.
var dbgExports = []Export{
	{Name: "DbgPrint", Fn: fn1(dbgPrint), Params: "Format:str", MaxIRQL: anyIRQL, Support: Full},
	{Name: "DbgPrintReturnControlC", Fn: fn1(dbgPrint), Params: "Format:str", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "DbgPrintEx", Fn: fn3(dbgPrintEx), Params: "ComponentId:d Level:d Format:str",
		MaxIRQL: anyIRQL, Support: Partial, Note: allShown},
	{Name: "vDbgPrintEx", Fn: fn4(vDbgPrintEx), Params: "ComponentId:d Level:d Format:str arglist",
		MaxIRQL: anyIRQL, Support: Partial, Note: allShown},
	{Name: "vDbgPrintExWithPrefix", Fn: fn5(vDbgPrintExWithPrefix),
		Params: "Prefix:str ComponentId:d Level:d Format:str arglist", MaxIRQL: anyIRQL,
		Support: Partial, Note: allShown},
	{Name: "DbgPrompt", Fn: fn3(dbgPrompt), Params: "Prompt:str Response Length:d",
		MaxIRQL: anyIRQL, Support: Partial, Note: "nobody answers: the response is empty"},
	{Name: "RtlAssert", Fn: do4(rtlAssert),
		Params:  "VoidFailedAssertion:str VoidFileName:str LineNumber:d MutableMessage:str",
		MaxIRQL: anyIRQL, Support: Partial,
		Note: "it prints and goes on: there is no debugger to break into"},

	// VOID DbgBreakPoint(VOID): without a debugger, STATUS_BREAKPOINT. "DbgBreakPoint function
	// (wdm.h)".
	{Name: "DbgBreakPoint", Code: codeBreak, MaxIRQL: anyIRQL, Support: Full},
	// VOID DbgBreakPointWithStatus(ULONG Status). "DbgBreakPointWithStatus function (wdm.h)".
	{Name: "DbgBreakPointWithStatus", Code: codeBreak, Params: "Status", MaxIRQL: anyIRQL,
		Support: Full},

	{Name: "KdDebuggerEnabled", Data: 1, Init: func(*Kernel) []byte { return []byte{nt.FALSE} },
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KdDebuggerNotPresent", Data: 1, Init: func(*Kernel) []byte { return []byte{nt.TRUE} },
		MaxIRQL: anyIRQL, Support: Full},
	// The address of the debugger's serial port: there is none.
	{Name: "KdComPortInUse", Hal: true, Data: 8, Init: func(*Kernel) []byte { return pointer(0) },
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KdRefreshDebuggerNotPresent", Fn: fn0(kdRefreshDebuggerNotPresent), MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KdDisableDebugger", Fn: fn0(kdDisableDebugger), MaxIRQL: anyIRQL, Support: Full},
	{Name: "KdChangeOption", Fn: fn6(kdChangeOption),
		Params:  "Option InBufferBytes:d InBuffer OutBufferBytes:d OutBuffer OutBufferNeeded",
		MaxIRQL: anyIRQL, Support: Full},
}

const allShown = "every component and level is shown: there are no component filter masks"

// dbgPrint prints to the debugger: here to Options.Print.
//
//	ULONG DbgPrint(PCSTR Format, ...)
//	ULONG DbgPrintReturnControlC(PCCH Format, ...)
//
// STATUS_SUCCESS, always. Text beyond 512 bytes is cut. "DbgPrint function (wdm.h)".
func dbgPrint(c *Call, format guest.Addr) nt.Status {
	args := c.VarArgs(1)
	return c.print("", format, &args)
}

// dbgPrintEx prints to the debugger if the component's filter mask allows the level.
//
//	ULONG DbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, ...)
//
// "DbgPrintEx function (wdm.h)".
func dbgPrintEx(c *Call, component, level uint32, format guest.Addr) nt.Status {
	args := c.VarArgs(3)
	return c.print("", format, &args)
}

// vDbgPrintEx is DbgPrintEx with a va_list.
//
//	ULONG vDbgPrintEx(ULONG ComponentId, ULONG Level, PCCH Format, va_list arglist)
//
// "vDbgPrintEx function (wdm.h)".
func vDbgPrintEx(c *Call, component, level uint32, format, list guest.Addr) nt.Status {
	return c.print("", format, &rtl.VaList{At: list})
}

// vDbgPrintExWithPrefix is vDbgPrintEx with text to go before.
//
//	ULONG vDbgPrintExWithPrefix(PCCH Prefix, ULONG ComponentId, ULONG Level, PCCH Format,
//	    va_list arglist)
//
// "vDbgPrintExWithPrefix function (wdm.h)".
func vDbgPrintExWithPrefix(c *Call, prefix guest.Addr, component, level uint32,
	format, list guest.Addr) nt.Status {
	return c.print(c.text(prefix), format, &rtl.VaList{At: list})
}

// print formats and prints. A format with %n, which no kernel prints, is STATUS_INVALID_PARAMETER.
func (c *Call) print(prefix string, format guest.Addr, args rtl.Args) nt.Status {
	var buf [rtl.DbgPrintSize]byte
	n, err := rtl.DbgPrint(&buf, prefix, format, args)
	if n > 0 {
		c.show(string(buf[:n]))
	}
	if errors.Is(err, rtl.ErrFormat) {
		return nt.STATUS_INVALID_PARAMETER
	}
	c.Must(err)
	return nt.STATUS_SUCCESS
}

func (c *Call) show(text string) {
	if c.opts.Print != nil {
		c.opts.Print(text)
	}
}

// text reads a zero-terminated string that is to be shown, at most as much as one line takes.
func (c *Call) text(a guest.Addr) string {
	if a == 0 {
		return ""
	}
	n, err := rtl.Strnlen(a, rtl.DbgPrintSize)
	c.Must(err)
	b := make([]byte, n)
	c.Must(guest.Read(b, a))
	return string(b)
}

// dbgPrompt asks the person at the debugger.
//
//	ULONG DbgPrompt(PCCH Prompt, PCH Response, ULONG Length)
//
// How many characters they typed. "DbgPrompt function (ntddk.h)".
func dbgPrompt(c *Call, prompt, response guest.Addr, length uint32) uint32 {
	c.show(c.text(prompt))
	if length > 0 {
		Store(c, response, uint8(0))
	}
	return 0
}

// rtlAssert is where a failed assertion of a checked build leads.
//
//	VOID RtlAssert(PVOID VoidFailedAssertion, PVOID VoidFileName, ULONG LineNumber,
//	    PSTR MutableMessage)
//
// "RtlAssert function (ntddk.h)".
func rtlAssert(c *Call, assertion, file guest.Addr, line uint32, message guest.Addr) {
	text := c.text(assertion)
	if m := c.text(message); m != "" {
		text = m + ": " + text
	}
	c.show(fmt.Sprintf("Assertion failed: %s, %s line %d\n", text, c.text(file), line))
}

// kdRefreshDebuggerNotPresent looks whether a debugger is there now.
//
//	BOOLEAN KdRefreshDebuggerNotPresent(VOID)
//
// TRUE: there is none. "KdRefreshDebuggerNotPresent function (ntddk.h)".
func kdRefreshDebuggerNotPresent(c *Call) nt.Boolean { return nt.TRUE }

// kdDisableDebugger disables the debugger.
//
//	NTSTATUS KdDisableDebugger(VOID)
//
// STATUS_DEBUGGER_INACTIVE: there is none. "KdDisableDebugger function (ntddk.h)".
func kdDisableDebugger(c *Call) nt.Status { return nt.STATUS_DEBUGGER_INACTIVE }

// kdChangeOption changes what the debugger may do.
//
//	NTSTATUS KdChangeOption(KD_OPTION Option, ULONG InBufferBytes, PVOID InBuffer,
//	    ULONG OutBufferBytes, PVOID OutBuffer, PULONG OutBufferNeeded)
//
// STATUS_DEBUGGER_INACTIVE: there is none. "KdChangeOption function (ntddk.h)".
func kdChangeOption(c *Call, option, inBytes uint32, in guest.Addr, outBytes uint32,
	out, needed guest.Addr) nt.Status {
	return nt.STATUS_DEBUGGER_INACTIVE
}
