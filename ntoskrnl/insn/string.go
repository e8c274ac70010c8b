// String instructions: movs, lods, cmps and scas on served memory, and ins and outs.

package insn

import (
	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
)

// maxElements is how many elements of a repeated instruction are done at a time. The rest is done
// when the instruction faults again, so that a thread with an enormous count can be kicked out.
const maxElements = 0x1000

// repeat does a string instruction. If it ends early, because the next element is not for this
// package or there are too many, RIP stays at the instruction and the registers say how far it is.
func (e *emulation) repeat() bool {
	in := e.in
	if in.repeat == once {
		return e.element()
	}
	count := &e.c.GPR[engine.RCX]
	for n := 0; *count != 0; n++ {
		if n == maxElements || !e.element() {
			if n == 0 {
				return false
			}
			e.c.RIP -= uint64(in.length)
			return true
		}
		*count--
		if op := stringOp(in.op); op == stringCompare || op == stringScan {
			equal := e.c.RFLAGS&flagZero != 0
			if equal != (in.repeat == repeatWhileEqual) {
				break
			}
		}
	}
	return true
}

// element does one element, and moves RSI and RDI on.
func (e *emulation) element() bool {
	in, c := e.in, e.c
	from, to := guest.Addr(c.GPR[engine.RSI]), guest.Addr(c.GPR[engine.RDI])
	acc := register{n: engine.RAX, width: in.width}
	useFrom, useTo := true, false
	switch stringOp(in.op) {
	case stringMove:
		if !e.m.Serves(uint64(from)) {
			return false
		}
		v, _, ok := e.m.Load(uint64(from), int(in.width))
		if !ok {
			return false
		}
		if err := store(to, in.width, v); err != nil {
			return e.memoryFault(err)
		}
		useTo = true
	case stringLoad:
		if !e.m.Serves(uint64(from)) {
			return false
		}
		v, _, ok := e.m.Load(uint64(from), int(in.width))
		if !ok {
			return false
		}
		e.set(acc, v)
	case stringCompare:
		if !e.m.Serves(uint64(from)) && !e.m.Serves(uint64(to)) {
			return false
		}
		a, ok := e.operand(from)
		if !ok {
			return false
		}
		b, ok := e.operand(to)
		if !ok {
			return false
		}
		_, flags := compute(arithCompare, a, b, 0, in.width)
		e.setFlags(flagsStatus, flags)
		useTo = true
	case stringScan:
		if !e.m.Serves(uint64(to)) {
			return false
		}
		v, _, ok := e.m.Load(uint64(to), int(in.width))
		if !ok {
			return false
		}
		_, flags := compute(arithCompare, e.get(acc), v, 0, in.width)
		e.setFlags(flagsStatus, flags)
		useFrom, useTo = false, true
	case stringIn:
		if e.f.Vector != engine.VectorGeneral {
			return false
		}
		v := e.m.In(uint16(c.GPR[engine.RDX]), int(in.width))
		if err := store(to, in.width, uint64(v)); err != nil {
			return e.memoryFault(err)
		}
		useFrom, useTo = false, true
	case stringOut:
		if e.f.Vector != engine.VectorGeneral {
			return false
		}
		v, err := loadGuest(from, in.width)
		if err != nil {
			return e.memoryFault(err)
		}
		e.m.Out(uint16(c.GPR[engine.RDX]), int(in.width), uint32(v))
	}
	step := uint64(in.width)
	if c.RFLAGS&flagDown != 0 {
		step = -step
	}
	if useFrom {
		c.GPR[engine.RSI] += step
	}
	if useTo {
		c.GPR[engine.RDI] += step
	}
	return true
}

// operand reads an operand from served or from guest memory.
func (e *emulation) operand(at guest.Addr) (uint64, bool) {
	if e.m.Serves(uint64(at)) {
		v, _, ok := e.m.Load(uint64(at), int(e.in.width))
		return v, ok
	}
	v, err := loadGuest(at, e.in.width)
	if err != nil {
		return 0, e.memoryFault(err)
	}
	return v, true
}
