package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Debug output.
var dbgExports = []Export{
	{Name: "DbgPrint", Fn: fn1(dbgPrint), Params: "Format:str", MaxIRQL: anyIRQL, Support: Full},
	{Name: "DbgPrintEx", Fn: fn3(dbgPrintEx), Params: "ComponentId:d Level:d Format:str",
		MaxIRQL: anyIRQL, Support: Partial,
		Note: "every component and level is shown: there are no component filter masks"},
}

// dbgPrint prints to the debugger: here to Options.Print.
//
//	ULONG DbgPrint(PCSTR Format, ...)
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

func (c *Call) print(prefix string, format guest.Addr, args rtl.Args) nt.Status {
	var buf [rtl.DbgPrintSize]byte
	n, err := rtl.DbgPrint(&buf, prefix, format, args)
	if c.opts.Print != nil && n > 0 {
		c.opts.Print(string(buf[:n]))
	}
	c.Must(err)
	return nt.STATUS_SUCCESS
}
