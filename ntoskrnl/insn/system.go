// System registers: descriptor tables, flags, segment bases, and what cpuid and its like tell. Most
// of these instructions do not trap in a process; they come here when they were patched (see Scan).

package insn

import (
	"encoding/binary"

	"golang.org/x/arch/x86/x86asm"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
)

// Table is one of the processor's tables.
type Table uint8

// The tables: global and interrupt descriptors, the local descriptor table and the task register.
const (
	GDT Table = iota
	IDT
	LDT
	TR
)

// Segment bases, as the op of kindReadBase and kindWriteBase.
const (
	baseFS = iota
	baseGS
)

// Model-specific registers that instructions read besides rdmsr (Intel SDM volume 4).
const (
	msrFSBase = 0xC0000100 // followed by GS base
	msrTSCAux = 0xC0000103
)

// systemForms are the instructions with an operand.
var systemForms = map[x86asm.Op]struct {
	kind kind
	op   uint8
}{
	x86asm.LGDT: {kindLoadTable, uint8(GDT)}, x86asm.LIDT: {kindLoadTable, uint8(IDT)},
	x86asm.SGDT: {kindStoreTable, uint8(GDT)}, x86asm.SIDT: {kindStoreTable, uint8(IDT)},
	x86asm.LLDT: {kindLoadSelector, uint8(LDT)}, x86asm.LTR: {kindLoadSelector, uint8(TR)},
	x86asm.SLDT: {kindStoreSelector, uint8(LDT)}, x86asm.STR: {kindStoreSelector, uint8(TR)},
	x86asm.LMSW: {kindLoadMSW, 0}, x86asm.SMSW: {kindStoreMSW, 0},
	x86asm.RDFSBASE: {kindReadBase, baseFS}, x86asm.RDGSBASE: {kindReadBase, baseGS},
	x86asm.WRFSBASE: {kindWriteBase, baseFS}, x86asm.WRGSBASE: {kindWriteBase, baseGS},
	x86asm.PUSHFQ: {kindPushFlags, 0}, x86asm.PUSHF: {kindPushFlags, 0},
	x86asm.POPFQ: {kindPopFlags, 0}, x86asm.POPF: {kindPopFlags, 0},
}

// tableSize is the size of what sgdt and its like move: a limit and a base.
const tableSize = 10

// classifySystem is for the instructions of systemForms.
func (in *inst) classifySystem(x *x86asm.Inst) bool {
	s, ok := systemForms[x.Op]
	if !ok || locked(x) {
		return false
	}
	k := s.kind
	in.op = s.op
	switch a := x.Args[0].(type) {
	case x86asm.Reg:
		in.reg = registerOf(a)
		if in.reg.width == 0 {
			k = kindNone
		}
	case x86asm.Mem:
		in.width = 2
		if !in.mem.from(x, a) {
			k = kindNone
		}
	default:
		in.width = 8
		if x.DataSize == 16 {
			in.width = 2
		}
	}
	in.kind = k
	return true
}

// system does an instruction of this file.
func (e *emulation) system() bool {
	in, c := e.in, e.c
	switch in.kind {
	case kindClearInterrupts, kindSetInterrupts:
		e.m.SetInterrupts(in.kind == kindSetInterrupts)
		return true
	case kindReadCounter:
		v, ok := e.m.Counter(uint32(c.GPR[engine.RCX]))
		if ok {
			e.setPair(v)
		}
		return ok
	case kindWriteXCR:
		// Only the present value may be written.
		return uint32(c.GPR[engine.RCX]) == 0 && hasXCR && e.pair() == xgetbv(0)
	case kindLoadTable:
		return e.loadTable()
	case kindStoreTable:
		var b [tableSize]byte
		base, limit := e.m.Table(Table(in.op))
		binary.LittleEndian.PutUint16(b[:], limit)
		binary.LittleEndian.PutUint64(b[2:], base)
		if err := guest.Write(guest.Addr(e.address()), b[:]); err != nil {
			return e.memoryFault(err)
		}
		return true
	case kindLoadSelector:
		v, ok := e.word()
		return ok && uint16(v) == e.m.Selector(Table(in.op))
	case kindStoreSelector:
		return e.storeWord(uint64(e.m.Selector(Table(in.op))))
	case kindLoadMSW:
		const settable = 0xF // PE, MP, EM, TS
		v, ok := e.word()
		old, known := e.m.Special(CR0)
		return ok && known && e.m.SetSpecial(CR0, old&^settable|(v|old&1)&settable)
	case kindStoreMSW:
		v, ok := e.m.Special(CR0)
		return ok && e.storeWord(v)
	case kindPushFlags:
		return e.push(e.flags())
	case kindPopFlags:
		return e.popFlags()
	case kindCPUID:
		v := e.m.CPUID(uint32(c.GPR[engine.RAX]), uint32(c.GPR[engine.RCX]))
		for i, r := range [...]engine.Register{engine.RAX, engine.RBX, engine.RCX, engine.RDX} {
			c.GPR[r] = uint64(v[i])
		}
		return true
	case kindReadTSC:
		aux, ok := e.m.MSR(msrTSCAux)
		if ok {
			e.setPair(rdtsc())
			c.GPR[engine.RCX] = uint64(uint32(aux))
		}
		return ok
	case kindReadPID:
		aux, ok := e.m.MSR(msrTSCAux)
		if ok {
			e.set(in.reg, aux)
		}
		return ok
	case kindReadBase:
		v, ok := e.m.MSR(msrFSBase + uint32(in.op))
		if ok {
			e.set(in.reg, v)
		}
		return ok
	case kindWriteBase:
		return e.m.SetMSR(msrFSBase+uint32(in.op), e.get(in.reg))
	case kindUndefined:
		*e.f = engine.Fault{Vector: engine.VectorInvalidOpcode, Signal: signalIll}
	}
	return false
}

// word reads the 16-bit operand of lldt and its like.
func (e *emulation) word() (uint64, bool) {
	if e.in.reg.width != 0 {
		return e.get(e.in.reg) & 0xFFFF, true
	}
	v, err := loadGuest(guest.Addr(e.address()), 2)
	if err != nil {
		return 0, e.memoryFault(err)
	}
	return v, true
}

// storeWord writes to the operand of sldt and its like: memory takes 16 bits, a register its width.
func (e *emulation) storeWord(v uint64) bool {
	if e.in.reg.width != 0 {
		e.set(e.in.reg, v)
		return true
	}
	if err := store(guest.Addr(e.address()), 2, v); err != nil {
		return e.memoryFault(err)
	}
	return true
}

// loadTable does lgdt and lidt: only the present table may be loaded.
func (e *emulation) loadTable() bool {
	var b [tableSize]byte
	if err := guest.Read(b[:], guest.Addr(e.address())); err != nil {
		return e.memoryFault(err)
	}
	base, limit := e.m.Table(Table(e.in.op))
	return binary.LittleEndian.Uint16(b[:]) == limit && binary.LittleEndian.Uint64(b[2:]) == base
}

// Bits of RFLAGS (Intel SDM volume 1, 3.4.3).
const (
	flagTrap       = 1 << 8
	flagInterrupts = 1 << 9
	flagNested     = 1 << 14
	flagResume     = 1 << 16
	flagVirtual    = 1 << 17
	flagAlignment  = 1 << 18
	flagID         = 1 << 21

	flagsPopped = flagsStatus | flagTrap | flagDown | flagNested | flagAlignment | flagID
)

// flags are RFLAGS as pushf gives them: with the interrupt flag as the driver has set it.
func (e *emulation) flags() uint64 {
	v := e.c.RFLAGS &^ (flagResume | flagVirtual | flagInterrupts)
	if e.m.Interrupts() {
		v |= flagInterrupts
	}
	return v
}

func (e *emulation) popFlags() bool {
	sp := e.c.GPR[engine.RSP]
	v, err := loadGuest(guest.Addr(sp), e.in.width)
	if err != nil {
		return e.memoryFault(err)
	}
	mask := uint64(flagsPopped)
	if e.in.width == 2 {
		mask &= 0xFFFF
	}
	e.setFlags(mask, v)
	e.m.SetInterrupts(v&flagInterrupts != 0)
	e.c.GPR[engine.RSP] = sp + uint64(e.in.width)
	return true
}

// pair is EDX:EAX.
func (e *emulation) pair() uint64 {
	return e.c.GPR[engine.RDX]<<32 | uint64(uint32(e.c.GPR[engine.RAX]))
}

func (e *emulation) setPair(v uint64) {
	e.c.GPR[engine.RAX] = uint64(uint32(v))
	e.c.GPR[engine.RDX] = v >> 32
}
