package ntoskrnl

import (
	"strconv"
	"strings"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// traced does a call and gives its line to Options.Trace:
//
//	echo.sys+0x1234 RtlInitUnicodeString(DestinationString=0x…, SourceString=L"\Device\Echo") = 0x0
func (k *Kernel) traced(c *Call) {
	var b strings.Builder
	b.WriteString(k.Where(c.Caller()))
	b.WriteByte(' ')
	b.WriteString(c.row.Called())
	b.WriteByte('(')
	for i, p := range strings.Fields(c.row.Params) {
		if i > 0 {
			b.WriteString(", ")
		}
		name, kind, _ := strings.Cut(p, ":")
		b.WriteString(name)
		b.WriteByte('=')
		v, ok := c.ctx.Arg(i)
		if !ok {
			b.WriteByte('?')
			continue
		}
		writeValue(&b, kind, v)
	}
	b.WriteByte(')')
	defer func() {
		// A call that raises has no result: its line is still worth having.
		k.opts.Trace(b.String())
	}()
	result := c.row.Fn(c)
	c.ctx.GPR[engine.RAX] = result
	b.WriteString(" = ")
	writeValue(&b, "", result)
}

// writeValue shows one argument as its kind says.
func writeValue(b *strings.Builder, kind string, v uint64) {
	const longest = 256 // characters of a string
	a := guest.Addr(v)
	text, err := "", error(nil)
	switch kind {
	case "ustr":
		text, err = guest.ReadUnicodeString(a)
	case "astr":
		text, err = guest.ReadAnsiString(a)
	case "wstr":
		text, err = guest.ReadUTF16Z(a, longest)
	case "str":
		text, err = guest.ReadCString(a, longest)
	case "status":
		b.WriteString(nt.Status(v).String())
		return
	case "tag":
		b.WriteString("'" + mm.Tag(v).String() + "'")
		return
	case "b":
		b.WriteString(strconv.FormatBool(uint8(v) != 0))
		return
	case "d":
		b.WriteString(strconv.FormatInt(int64(v), 10))
		return
	default:
		b.WriteString("0x" + strconv.FormatUint(v, 16))
		return
	}
	if a == 0 || err != nil {
		b.WriteString(a.String())
		return
	}
	b.WriteString(strconv.Quote(text))
}
