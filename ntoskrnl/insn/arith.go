// Integer arithmetic and its flags (Intel SDM volume 1, 3.4.3.1 and appendix A).

package insn

import (
	"math/bits"

	"github.com/drvhost/drvhost/engine"
)

// The status flags in RFLAGS.
const (
	flagCarry    = 1 << 0
	flagParity   = 1 << 2
	flagAdjust   = 1 << 4
	flagZero     = 1 << 6
	flagSign     = 1 << 7
	flagOverflow = 1 << 11
	flagsStatus  = flagCarry | flagParity | flagAdjust | flagZero | flagSign | flagOverflow
	flagDown     = 1 << 10 // the direction flag
)

// setFlags sets the flags in mask to those in v.
func (e *emulation) setFlags(mask, v uint64) { e.c.RFLAGS = e.c.RFLAGS&^mask | v&mask }

// The two-operand operations.
const (
	arithAdd uint8 = iota
	arithAddCarry
	arithSub
	arithSubBorrow
	arithCompare
	arithAnd
	arithOr
	arithXor
	arithTest
)

// arith does an operation of which v is the memory operand.
func (e *emulation) arith(v uint64) {
	in := e.in
	other := in.imm & maskOf(in.width)
	if !in.hasImm {
		other = e.get(in.reg)
	}
	a, b := other, v
	if in.memFirst {
		a, b = v, other
	}
	r, flags := compute(in.op, a, b, e.c.RFLAGS&flagCarry, in.width)
	if in.op != arithCompare && in.op != arithTest {
		e.set(in.reg, r)
	}
	e.setFlags(flagsStatus, flags)
}

// compute gives the result of an operation on two operands of width bytes, and the status flags.
// The adjust flag of the logical operations, which is undefined, is clear.
func compute(op uint8, a, b, carry uint64, width uint8) (r, flags uint64) {
	mask, top := maskOf(width), 8*uint(width)-1
	switch op {
	case arithAdd, arithAddCarry:
		if op == arithAdd {
			carry = 0
		}
		r = (a + b + carry) & mask
		flags = (a&b | (a|b)&^r) >> top & 1 // carry out of the highest bit
		flags |= (a ^ r) & (b ^ r) >> top & 1 * flagOverflow
		flags |= (a ^ b ^ r) & flagAdjust
	case arithSub, arithCompare, arithSubBorrow:
		if op != arithSubBorrow {
			carry = 0
		}
		r = (a - b - carry) & mask
		flags = (^a&b | (^a|b)&r) >> top & 1
		flags |= (a ^ b) & (a ^ r) >> top & 1 * flagOverflow
		flags |= (a ^ b ^ r) & flagAdjust
	case arithAnd, arithTest:
		r = a & b
	case arithOr:
		r = a | b
	case arithXor:
		r = a ^ b
	}
	return r, flags | resultFlags(r, top)
}

// resultFlags gives the zero, sign and parity flags of a result whose highest bit is top.
func resultFlags(r uint64, top uint) (flags uint64) {
	if r == 0 {
		flags = flagZero
	}
	flags |= r >> top & 1 * flagSign
	if bits.OnesCount8(uint8(r))%2 == 0 {
		flags |= flagParity
	}
	return flags
}

// multiply does imul: with one operand into rDX:rAX, else into the register, cut to its width. The
// flags that are undefined stay as they are.
func (e *emulation) multiply(v uint64) {
	in := e.in
	if in.reg.width == 0 {
		e.multiplyWide(v, true)
		return
	}
	with := in.imm
	if !in.hasImm {
		with = signExtend(e.get(in.reg), in.width)
	}
	hi, lo := mulSigned(signExtend(v, in.width), with)
	r := signExtend(lo, in.width)
	e.set(in.reg, r)
	e.setOverflow(r != lo || hi != uint64(int64(lo)>>63))
}

// mulSigned gives the signed 128-bit product.
func mulSigned(a, b uint64) (hi, lo uint64) {
	hi, lo = bits.Mul64(a, b)
	hi -= uint64(int64(a)>>63)&b + uint64(int64(b)>>63)&a
	return hi, lo
}

// setOverflow sets the carry and the overflow flag to on.
func (e *emulation) setOverflow(on bool) {
	v := uint64(0)
	if on {
		v = flagCarry | flagOverflow
	}
	e.setFlags(flagCarry|flagOverflow, v)
}

// The operations on rDX:rAX.
const (
	wideMul uint8 = iota
	wideDiv
	wideDivSigned
)

// wide does mul, div or idiv with one operand.
func (e *emulation) wide(v uint64) bool {
	switch e.in.op {
	case wideMul:
		e.multiplyWide(v, false)
		return true
	case wideDivSigned:
		return e.divide(v, true)
	}
	return e.divide(v, false)
}

// The halves of the double-width operand: rAX and rDX, and for bytes AL and AH.
func (e *emulation) halves() (low, high register) {
	w := e.in.width
	if w == 1 {
		return register{n: engine.RAX, width: 1}, register{n: engine.RAX, width: 1, high: true}
	}
	return register{n: engine.RAX, width: w}, register{n: engine.RDX, width: w}
}

func (e *emulation) multiplyWide(v uint64, signed bool) {
	w := e.in.width
	low, high := e.halves()
	a := e.get(low)
	var hi, lo uint64
	if signed {
		hi, lo = mulSigned(signExtend(a, w), signExtend(v, w))
	} else {
		hi, lo = bits.Mul64(a, v)
	}
	if w < 8 {
		hi = lo >> (8 * w)
	}
	lo, hi = lo&maskOf(w), hi&maskOf(w)
	e.set(low, lo)
	e.set(high, hi)
	if signed {
		e.setOverflow(hi != signExtend(lo, w)>>63*maskOf(w))
	} else {
		e.setOverflow(hi != 0)
	}
}

// divide does div or idiv: a divide error if the divisor is 0 or the quotient does not fit. The
// flags, which are undefined, stay as they are.
func (e *emulation) divide(by uint64, signed bool) bool {
	w := e.in.width
	low, high := e.halves()
	hi, lo := e.get(high), e.get(low)
	if w < 8 {
		lo |= hi << (8 * w)
		hi = 0
	}
	negative, negativeBy := false, false
	if signed {
		if w < 8 {
			lo = signExtend(lo, 2*w)
			hi = uint64(int64(lo) >> 63)
		}
		by = signExtend(by, w)
		if negative = int64(hi) < 0; negative {
			var borrow uint64
			lo, borrow = bits.Sub64(0, lo, 0)
			hi, _ = bits.Sub64(0, hi, borrow)
		}
		if negativeBy = int64(by) < 0; negativeBy {
			by = -by
		}
	}
	if hi >= by {
		return e.divideError()
	}
	q, r := bits.Div64(hi, lo, by)
	limit := maskOf(w)
	if signed {
		limit >>= 1
		if negative != negativeBy {
			limit++
		}
	}
	if q > limit {
		return e.divideError()
	}
	if negative != negativeBy {
		q = -q
	}
	if negative {
		r = -r
	}
	e.set(low, q)
	e.set(high, r)
	return true
}

// The operations that count bits.
const (
	countForward uint8 = iota // bsf
	countReverse              // bsr
	countTrailing
	countLeading
	countOnes
)

// count counts bits of v. Of a zero operand, bsf and bsr leave their destination alone.
func (e *emulation) count(v uint64) {
	in := e.in
	n := 8 * int(in.width)
	var r int
	switch in.op {
	case countForward, countReverse:
		if v == 0 {
			e.setFlags(flagZero, flagZero)
			return
		}
		r = bits.TrailingZeros64(v)
		if in.op == countReverse {
			r = bits.Len64(v) - 1
		}
		e.setFlags(flagZero, 0)
	case countTrailing, countLeading:
		r = n - bits.Len64(v)
		if in.op == countTrailing {
			r = min(bits.TrailingZeros64(v), n)
		}
		var flags uint64
		if v == 0 {
			flags = flagCarry
		}
		if r == 0 {
			flags |= flagZero
		}
		e.setFlags(flagCarry|flagZero, flags)
	case countOnes:
		r = bits.OnesCount64(v)
		var flags uint64
		if v == 0 {
			flags = flagZero
		}
		e.setFlags(flagsStatus, flags)
	}
	e.set(in.reg, uint64(r))
}

// condition reports whether condition code cc, as jcc, setcc and cmovcc encode it, holds.
func condition(cc uint8, flags uint64) bool {
	is := func(f uint64) bool { return flags&f != 0 }
	var v bool
	switch cc >> 1 {
	case 0:
		v = is(flagOverflow)
	case 1:
		v = is(flagCarry)
	case 2:
		v = is(flagZero)
	case 3:
		v = is(flagCarry | flagZero)
	case 4:
		v = is(flagSign)
	case 5:
		v = is(flagParity)
	case 6:
		v = is(flagSign) != is(flagOverflow)
	case 7:
		v = is(flagZero) || is(flagSign) != is(flagOverflow)
	}
	return v != (cc&1 != 0)
}
