// Loads from served memory.

package insn

import (
	"math/bits"

	"golang.org/x/arch/x86/x86asm"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
)

// loadForm says how an instruction that loads is done.
type loadForm struct {
	kind     kind
	op       uint8
	memFirst bool // memory may be the left operand, because that is not written
	aligned  bool
}

// loads are the instructions that can be done with an operand in served memory.
var loads = map[x86asm.Op]loadForm{
	x86asm.MOV:    {kind: kindMove},
	x86asm.MOVZX:  {kind: kindMove},
	x86asm.MOVSX:  {kind: kindMoveSigned},
	x86asm.MOVSXD: {kind: kindMoveSigned},
	x86asm.MOVBE:  {kind: kindMoveSwapped},

	x86asm.ADD:  {kind: kindArith, op: arithAdd},
	x86asm.ADC:  {kind: kindArith, op: arithAddCarry},
	x86asm.SUB:  {kind: kindArith, op: arithSub},
	x86asm.SBB:  {kind: kindArith, op: arithSubBorrow},
	x86asm.AND:  {kind: kindArith, op: arithAnd},
	x86asm.OR:   {kind: kindArith, op: arithOr},
	x86asm.XOR:  {kind: kindArith, op: arithXor},
	x86asm.CMP:  {kind: kindArith, op: arithCompare, memFirst: true},
	x86asm.TEST: {kind: kindArith, op: arithTest, memFirst: true},

	x86asm.IMUL: {kind: kindMultiply, memFirst: true},
	x86asm.MUL:  {kind: kindWide, op: wideMul, memFirst: true},
	x86asm.DIV:  {kind: kindWide, op: wideDiv, memFirst: true},
	x86asm.IDIV: {kind: kindWide, op: wideDivSigned, memFirst: true},

	x86asm.BT:     {kind: kindBit, memFirst: true},
	x86asm.BSF:    {kind: kindCount, op: countForward},
	x86asm.BSR:    {kind: kindCount, op: countReverse},
	x86asm.TZCNT:  {kind: kindCount, op: countTrailing},
	x86asm.LZCNT:  {kind: kindCount, op: countLeading},
	x86asm.POPCNT: {kind: kindCount, op: countOnes},
	x86asm.PUSH:   {kind: kindPush, memFirst: true},

	x86asm.CMOVO:  {kind: kindMoveIf, op: 0},
	x86asm.CMOVNO: {kind: kindMoveIf, op: 1},
	x86asm.CMOVB:  {kind: kindMoveIf, op: 2},
	x86asm.CMOVAE: {kind: kindMoveIf, op: 3},
	x86asm.CMOVE:  {kind: kindMoveIf, op: 4},
	x86asm.CMOVNE: {kind: kindMoveIf, op: 5},
	x86asm.CMOVBE: {kind: kindMoveIf, op: 6},
	x86asm.CMOVA:  {kind: kindMoveIf, op: 7},
	x86asm.CMOVS:  {kind: kindMoveIf, op: 8},
	x86asm.CMOVNS: {kind: kindMoveIf, op: 9},
	x86asm.CMOVP:  {kind: kindMoveIf, op: 10},
	x86asm.CMOVNP: {kind: kindMoveIf, op: 11},
	x86asm.CMOVL:  {kind: kindMoveIf, op: 12},
	x86asm.CMOVGE: {kind: kindMoveIf, op: 13},
	x86asm.CMOVLE: {kind: kindMoveIf, op: 14},
	x86asm.CMOVG:  {kind: kindMoveIf, op: 15},

	x86asm.MOVAPS:    {kind: kindVector, op: vectorWhole, aligned: true},
	x86asm.MOVAPD:    {kind: kindVector, op: vectorWhole, aligned: true},
	x86asm.MOVDQA:    {kind: kindVector, op: vectorWhole, aligned: true},
	x86asm.MOVNTDQA:  {kind: kindVector, op: vectorWhole, aligned: true},
	x86asm.MOVUPS:    {kind: kindVector, op: vectorWhole},
	x86asm.MOVUPD:    {kind: kindVector, op: vectorWhole},
	x86asm.MOVDQU:    {kind: kindVector, op: vectorWhole},
	x86asm.LDDQU:     {kind: kindVector, op: vectorWhole},
	x86asm.MOVD:      {kind: kindVector, op: vectorWhole},
	x86asm.MOVQ:      {kind: kindVector, op: vectorWhole},
	x86asm.MOVSS:     {kind: kindVector, op: vectorWhole},
	x86asm.MOVSD_XMM: {kind: kindVector, op: vectorWhole},
	x86asm.MOVLPS:    {kind: kindVector, op: vectorLow},
	x86asm.MOVLPD:    {kind: kindVector, op: vectorLow},
	x86asm.MOVHPS:    {kind: kindVector, op: vectorHigh},
	x86asm.MOVHPD:    {kind: kindVector, op: vectorHigh},
}

// What a vector load changes.
const (
	vectorWhole uint8 = iota // all 128 bits, zero-extended
	vectorLow                // bits 0 to 63
	vectorHigh               // bits 64 to 127
)

// load does an instruction with one operand in memory.
func (e *emulation) load() bool {
	in := e.in
	at := e.address()
	if in.kind == kindBit && !in.hasImm {
		// A register counts bits from the operand's address on, either way.
		bit := int64(signExtend(e.get(in.reg), in.reg.width))
		at += uint64(bit>>shiftOf(in.width)) * uint64(in.width)
	}
	if in.aligned && at%uint64(in.width) != 0 || !e.m.Serves(at) {
		return false
	}
	v, hi, ok := e.m.Load(at, int(in.width))
	if !ok {
		return false
	}
	switch in.kind {
	case kindMove:
		e.set(in.reg, v)
	case kindMoveSigned:
		e.set(in.reg, signExtend(v, in.width))
	case kindMoveSwapped:
		e.set(in.reg, bits.ReverseBytes64(v)>>(64-8*in.width))
	case kindArith:
		e.arith(v)
	case kindMultiply:
		e.multiply(v)
	case kindWide:
		return e.wide(v)
	case kindBit:
		n := in.imm
		if !in.hasImm {
			n = e.get(in.reg)
		}
		e.setFlags(flagCarry, v>>(n%(8*uint64(in.width)))&1)
	case kindMoveIf:
		if !condition(in.op, e.c.RFLAGS) {
			v = e.get(in.reg) // still clears the upper half of a 32-bit destination
		}
		e.set(in.reg, v)
	case kindCount:
		e.count(v)
	case kindVector:
		e.vector(v, hi)
	case kindPush:
		return e.push(v)
	default:
		return false
	}
	return true
}

// shiftOf gives the binary logarithm of the number of bits in width bytes.
func shiftOf(width uint8) int { return bits.TrailingZeros8(width) + 3 }

func (e *emulation) vector(lo, hi uint64) {
	x := engine.XMM{lo, hi}
	switch e.in.op {
	case vectorLow:
		x[1] = e.c.FullXMM(int(e.in.xmm))[1]
	case vectorHigh:
		x = engine.XMM{e.c.FullXMM(int(e.in.xmm))[0], lo}
	}
	e.c.SetFullXMM(int(e.in.xmm), x)
	if image := e.c.XSave(); len(image) > xsaveHeader {
		image[xsaveHeader] |= componentSSE // a component in its initial state is not loaded
	}
}

// The header of an XSAVE image begins with the set of components that it holds (Intel SDM volume 1,
// 13.4.2).
const (
	xsaveHeader  = 512
	componentSSE = 1 << 1
)

func (e *emulation) push(v uint64) bool {
	sp := e.c.GPR[engine.RSP] - uint64(e.in.width)
	if err := store(guest.Addr(sp), e.in.width, v); err != nil {
		return e.memoryFault(err)
	}
	e.c.GPR[engine.RSP] = sp
	return true
}

// store writes the low bytes of v to guest memory.
func store(at guest.Addr, width uint8, v uint64) error {
	switch width {
	case 1:
		return guest.Store8(at, uint8(v))
	case 2:
		return guest.Store16(at, uint16(v))
	case 4:
		return guest.Store32(at, uint32(v))
	}
	return guest.Store64(at, v)
}

// loadGuest reads guest memory.
func loadGuest(at guest.Addr, width uint8) (uint64, error) {
	switch width {
	case 1:
		v, err := guest.Load8(at)
		return uint64(v), err
	case 2:
		v, err := guest.Load16(at)
		return uint64(v), err
	case 4:
		v, err := guest.Load32(at)
		return uint64(v), err
	}
	return guest.Load64(at)
}
