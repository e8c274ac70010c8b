// What an instruction means here: x86asm's result brought into a form that is quick to do.

package insn

import (
	"golang.org/x/arch/x86/x86asm"

	"github.com/drvhost/drvhost/engine"
)

// kind says how an instruction is done.
type kind uint8

const (
	kindNone kind = iota // not at all

	kindNothing // it has no effect here
	kindHalt
	kindClearInterrupts
	kindSetInterrupts
	kindReadSpecial
	kindWriteSpecial
	kindReadMSR
	kindWriteMSR
	kindIn
	kindOut
	kindReadCounter  // rdpmc
	kindWriteXCR     // xsetbv
	kindLoadTable    // op: a Table; lgdt, lidt
	kindLoadSelector // op: a Table; lldt, ltr
	kindLoadMSW

	// These fault only if they were patched, or the processor makes them.
	kindStoreTable    // op: a Table; sgdt, sidt
	kindStoreSelector // op: a Table; sldt, str
	kindStoreMSW
	kindPushFlags
	kindPopFlags
	kindCPUID
	kindReadTSC // rdtscp
	kindReadPID
	kindReadBase  // op: 0 for FS, 1 for GS
	kindWriteBase // the same
	kindUndefined // there is no such instruction: vmcall without a hypervisor

	kindString // op: a stringOp

	// Loads: one operand lies in served memory.
	kindMove        // reg = zero-extended memory
	kindMoveSigned  // reg = sign-extended memory
	kindMoveSwapped // reg = byte-swapped memory
	kindArith       // op: an arithOp, of reg (or an immediate) and memory
	kindMultiply    // reg = memory × reg, or × immediate
	kindWide        // op: a wideOp on rDX:rAX and memory
	kindBit         // bt
	kindMoveIf      // op: a condition
	kindCount       // op: a countOp
	kindVector      // op: a vectorOp
	kindPush
)

// privileged reports whether the instruction faults by its nature, not by its operand's address.
func (in *inst) privileged() bool { return in.kind >= kindNothing && in.kind <= kindUndefined }

// inst is a decoded instruction.
type inst struct {
	code     [maxLength]byte // zero behind length
	length   uint8
	kind     kind
	op       uint8
	width    uint8 // of the memory or port operand, in bytes
	special  Special
	reg      register // the operand that is a general register, if there is one
	xmm      uint8    // or that is a vector register
	aligned  bool     // the memory operand must be
	memFirst bool     // the memory operand is the left one
	hasImm   bool
	repeat   repetition
	imm      uint64 // sign-extended
	mem      address
}

// register is a general register, or a part of one.
type register struct {
	n     engine.Register
	width uint8 // in bytes; 0 for no register
	high  bool  // AH, CH, DH, BH
}

// address is how the address of a memory operand comes about.
type address struct {
	base, index int8 // registers, or one of the two below
	scale       uint8
	gs          bool // add GS base
	narrow      bool // a 32-bit address
	disp        uint64
}

const (
	noRegister  = -1
	ripRelative = 16
)

// repetition is the repeat prefix of a string instruction.
type repetition uint8

const (
	once repetition = iota
	repeatWhileEqual
	repeatWhileNot
)

// classify fills in what the instruction means. What it does not know stays kindNone.
func (in *inst) classify(x *x86asm.Inst) {
	for _, p := range x.Prefix {
		switch {
		case p == 0:
		case p.IsVEX(), p.IsEVEX():
			return
		case p&x86asm.PrefixIgnored != 0:
		case p&0xFF == x86asm.PrefixREP:
			in.repeat = repeatWhileEqual
		case p&0xFF == x86asm.PrefixREPN:
			in.repeat = repeatWhileNot
		}
	}
	if k, ok := simple[x.Op]; ok && !locked(x) {
		in.kind = k
		return
	}
	if in.classifyMove(x) || in.classifyPort(x) || in.classifyString(x) || in.classifySystem(x) {
		return
	}
	in.classifyLoad(x)
}

var simple = map[x86asm.Op]kind{
	x86asm.CLI: kindClearInterrupts, x86asm.STI: kindSetInterrupts, x86asm.CLTS: kindNothing,
	x86asm.WBINVD: kindNothing, x86asm.INVD: kindNothing, x86asm.INVLPG: kindNothing,
	x86asm.INVPCID: kindNothing, x86asm.MONITOR: kindNothing, x86asm.MWAIT: kindHalt,
	x86asm.HLT: kindHalt, x86asm.RDMSR: kindReadMSR, x86asm.WRMSR: kindWriteMSR,
	x86asm.RDPMC: kindReadCounter, x86asm.XSETBV: kindWriteXCR,
	x86asm.CPUID: kindCPUID, x86asm.RDTSCP: kindReadTSC,
}

// classifyMove is for mov to and from special registers.
func (in *inst) classifyMove(x *x86asm.Inst) bool {
	if x.Op != x86asm.MOV {
		return false
	}
	to, _ := x.Args[0].(x86asm.Reg)
	from, _ := x.Args[1].(x86asm.Reg)
	if s, ok := specialOf(to); ok {
		in.kind, in.special, in.reg = kindWriteSpecial, s, registerOf(from)
		return true
	}
	if s, ok := specialOf(from); ok {
		in.kind, in.special, in.reg = kindReadSpecial, s, registerOf(to)
		return true
	}
	return false
}

func specialOf(r x86asm.Reg) (Special, bool) {
	switch {
	case r >= x86asm.CR0 && r <= x86asm.CR15:
		return CR0 + Special(r-x86asm.CR0), true
	case r >= x86asm.DR0 && r <= x86asm.DR15:
		return DR0 + Special(r-x86asm.DR0), true
	}
	return 0, false
}

func (in *inst) classifyPort(x *x86asm.Inst) bool {
	var port, data x86asm.Arg
	switch x.Op {
	case x86asm.IN:
		in.kind, data, port = kindIn, x.Args[0], x.Args[1]
	case x86asm.OUT:
		in.kind, port, data = kindOut, x.Args[0], x.Args[1]
	default:
		return false
	}
	r, _ := data.(x86asm.Reg)
	in.reg = registerOf(r)
	in.width = in.reg.width
	if imm, ok := port.(x86asm.Imm); ok {
		in.hasImm, in.imm = true, uint64(uint8(imm))
	}
	return true
}

// stringOp is what a string instruction does.
type stringOp uint8

const (
	stringMove stringOp = iota
	stringLoad
	stringCompare
	stringScan
	stringIn
	stringOut
)

var stringForms = map[x86asm.Op]struct {
	op    stringOp
	width uint8
}{
	x86asm.MOVSB: {stringMove, 1}, x86asm.MOVSW: {stringMove, 2},
	x86asm.MOVSD: {stringMove, 4}, x86asm.MOVSQ: {stringMove, 8},
	x86asm.LODSB: {stringLoad, 1}, x86asm.LODSW: {stringLoad, 2},
	x86asm.LODSD: {stringLoad, 4}, x86asm.LODSQ: {stringLoad, 8},
	x86asm.CMPSB: {stringCompare, 1}, x86asm.CMPSW: {stringCompare, 2},
	x86asm.CMPSD: {stringCompare, 4}, x86asm.CMPSQ: {stringCompare, 8},
	x86asm.SCASB: {stringScan, 1}, x86asm.SCASW: {stringScan, 2},
	x86asm.SCASD: {stringScan, 4}, x86asm.SCASQ: {stringScan, 8},
	x86asm.INSB: {stringIn, 1}, x86asm.INSW: {stringIn, 2}, x86asm.INSD: {stringIn, 4},
	x86asm.OUTSB: {stringOut, 1}, x86asm.OUTSW: {stringOut, 2}, x86asm.OUTSD: {stringOut, 4},
}

// classifyString is for the string instructions. With 32-bit addresses, or a segment that has a
// base, they are not done.
func (in *inst) classifyString(x *x86asm.Inst) bool {
	s, ok := stringForms[x.Op]
	if !ok || x.AddrSize != 64 {
		return false
	}
	for _, a := range x.Args {
		m, ok := a.(x86asm.Mem)
		if ok && (m.Segment == x86asm.FS || m.Segment == x86asm.GS) {
			return false
		}
	}
	in.kind, in.op, in.width = kindString, uint8(s.op), s.width
	return true
}

// classifyLoad is for instructions that read one operand from memory and write none.
func (in *inst) classifyLoad(x *x86asm.Inst) {
	l, ok := loads[x.Op]
	if !ok {
		return
	}
	at := -1
	for i, a := range x.Args {
		switch a := a.(type) {
		case x86asm.Mem:
			if at >= 0 || !in.mem.from(x, a) {
				return
			}
			at = i
		case x86asm.Imm:
			in.hasImm, in.imm = true, uint64(a)
		case x86asm.Reg:
			if in.reg.width != 0 {
				return
			}
			in.reg = registerOf(a)
			if l.kind == kindVector {
				if a < x86asm.X0 || a > x86asm.X15 {
					return
				}
				in.xmm = uint8(a - x86asm.X0)
			} else if in.reg.width == 0 {
				return
			}
		}
	}
	if at < 0 || locked(x) {
		return
	}
	in.width = uint8(x.MemBytes)
	in.memFirst = at == 0
	in.op, in.aligned = l.op, l.aligned
	if in.memFirst && !l.memFirst || !in.sound(l.kind) {
		return
	}
	in.kind = l.kind
}

// sound reports whether the operands are such as the instruction can have.
func (in *inst) sound(k kind) bool {
	switch in.width {
	case 1, 2, 4, 8:
	case 16:
		return k == kindVector
	default:
		return false
	}
	reg := in.reg.width
	switch k {
	case kindMove, kindMoveSigned:
		return reg >= in.width
	case kindMoveSwapped, kindMoveIf, kindCount:
		return reg == in.width
	case kindArith, kindBit:
		return in.hasImm && reg == 0 || !in.hasImm && reg == in.width
	case kindMultiply:
		return reg == in.width || reg == 0 && !in.hasImm
	case kindPush, kindWide:
		return reg == 0 && !in.hasImm
	}
	return true
}

func locked(x *x86asm.Inst) bool {
	for _, p := range x.Prefix {
		if p&0xFF == x86asm.PrefixLOCK {
			return true
		}
	}
	return false
}

// from takes over a memory operand. It refuses FS, whose base is Go's own.
func (a *address) from(x *x86asm.Inst, m x86asm.Mem) bool {
	if m.Segment == x86asm.FS {
		return false
	}
	a.gs = m.Segment == x86asm.GS
	a.narrow = x.AddrSize == 32
	a.base, a.index = addressRegister(m.Base), addressRegister(m.Index)
	a.scale = m.Scale
	a.disp = uint64(m.Disp)
	if op := x.Opcode >> 24; op < 0xA0 || op > 0xA3 {
		// x86asm gives 32-bit displacements without their sign; only mov with an absolute address
		// has a 64-bit one.
		a.disp = uint64(int64(int32(m.Disp)))
	}
	return true
}

func addressRegister(r x86asm.Reg) int8 {
	switch {
	case r == x86asm.RIP, r == x86asm.EIP:
		return ripRelative
	case r == 0:
		return noRegister
	}
	return int8(registerOf(r).n)
}

// registerOf gives the general register, or one of width 0.
func registerOf(r x86asm.Reg) register {
	switch {
	case r >= x86asm.AL && r <= x86asm.BL:
		return register{n: engine.Register(r - x86asm.AL), width: 1}
	case r >= x86asm.AH && r <= x86asm.BH:
		return register{n: engine.Register(r - x86asm.AH), width: 1, high: true}
	case r >= x86asm.SPB && r <= x86asm.R15B:
		return register{n: engine.RSP + engine.Register(r-x86asm.SPB), width: 1}
	case r >= x86asm.AX && r <= x86asm.R15W:
		return register{n: engine.Register(r - x86asm.AX), width: 2}
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return register{n: engine.Register(r - x86asm.EAX), width: 4}
	case r >= x86asm.RAX && r <= x86asm.R15:
		return register{n: engine.Register(r - x86asm.RAX), width: 8}
	}
	return register{}
}
