// Instructions that the decoder does not know, by their bytes.

package insn

import "github.com/drvhost/drvhost/engine"

// special is an instruction by its bytes behind the prefixes.
type special struct {
	name      string
	op        [2]byte // behind 0F; of a ModRM form, the second is its reg field, shifted
	registers bool    // a ModRM form with a register operand
	prefix    byte    // the mandatory prefix, or 0
	kind      kind
}

// specialForms are those that system software has (Intel SDM volume 2, AMD APM volume 3).
var specialForms = [...]special{
	{name: "rdpid", op: [2]byte{0xC7, 7 << 3}, registers: true, prefix: 0xF3, kind: kindReadPID},
	{name: "vmcall", op: [2]byte{0x01, 0xC1}, kind: kindUndefined},
	{name: "vmfunc", op: [2]byte{0x01, 0xD4}, kind: kindUndefined},
	{name: "vmmcall", op: [2]byte{0x01, 0xD9}, kind: kindUndefined},
	{name: "clac", op: [2]byte{0x01, 0xCA}, kind: kindNothing},
	{name: "stac", op: [2]byte{0x01, 0xCB}, kind: kindNothing},
	{name: "endbr64", op: [2]byte{0x1E, 0xFA}, prefix: 0xF3},
}

// decodeSpecial decodes an instruction of specialForms, or gives nil.
func decodeSpecial(code []byte) (*special, *inst) {
	var prefix byte
	i, extend := 0, uint8(0)
	for ; i < len(code) && (code[i] == 0x66 || code[i] == 0xF2 || code[i] == 0xF3); i++ {
		prefix = code[i]
	}
	if i < len(code) && code[i]&0xF0 == 0x40 {
		extend = code[i] & 1 << 3
		i++
	}
	if i+3 > len(code) || i+3 > maxLength || code[i] != 0x0F {
		return nil, nil
	}
	for n := range specialForms {
		s := &specialForms[n]
		if code[i+1] != s.op[0] || s.prefix != 0 && s.prefix != prefix {
			continue
		}
		in := &inst{length: uint8(i + 3), kind: s.kind}
		switch modRM := code[i+2]; {
		case s.registers:
			if modRM&0xF8 != 0xC0|s.op[1] {
				continue
			}
			in.reg = register{n: engine.Register(modRM&7 | extend), width: 8}
		case modRM != s.op[1]:
			continue
		}
		copy(in.code[:], code[:i+3])
		return s, in
	}
	return nil, nil
}
