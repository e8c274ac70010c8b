package ntoskrnl

import "github.com/drvhost/drvhost/pe"

// Exports that stay in guest code.

// Code is an exported function that lies in ntoskrnl.exe itself, in place of a thunk: no call of it
// comes to Go. So none is traced or checked for its IRQL. It is for short routines that drivers
// call in inner loops, and for those with a convention of their own; all may run at any IRQL.
type Code struct {
	// Text is x64 code that runs wherever it is put.
	Text []byte
	// Next, if set, is the export that Text goes on to at its end.
	Next string
	// Unwind describes the prologue; nil is a leaf function, which leaves RSP and all registers
	// alone that are the caller's.
	Unwind *pe.Unwind
}

// leafEnd marks where a function ends that is copied out of Go's text.
const leafEnd = 0x0bada55e1eafc0de

// The routines in leaf_amd64.s.
var (
	codeMemmove       = &Code{Text: leafText(addrMemmove)}
	codeMemset        = &Code{Text: leafText(addrMemset)}
	codeZeroMemory    = &Code{Text: leafText(addrZeroMemory), Next: "memset"}
	codeFillMemory    = &Code{Text: leafText(addrFillMemory), Next: "memset"}
	codeMemcmp        = &Code{Text: leafText(addrMemcmp)}
	codeCompareMemory = &Code{Text: leafText(addrCompareMemory)}
	codeChkstk        = &Code{Text: leafText(addrChkstk), Unwind: &pe.Unwind{
		PrologSize: 4,
		Ops:        []pe.UnwindOp{pe.Alloc(2, 8), pe.Alloc(4, 8)},
	}}
	codeSqrt  = &Code{Text: leafText(addrSqrt)}
	codeSqrtf = &Code{Text: leafText(addrSqrtf)}
	codeBreak = &Code{Text: leafText(addrBreak)}
)

// body gives the code and fixups of the export that has it.
func (c *Code) body() ([]byte, []pe.Fixup) {
	if c.Next == "" {
		return c.Text, nil
	}
	const jmp = 0xE9
	text := append(c.Text[:len(c.Text):len(c.Text)], jmp, 0, 0, 0, 0)
	return text, []pe.Fixup{{Offset: uint32(len(c.Text)) + 1, Kind: pe.Rel32, Symbol: c.Next}}
}
