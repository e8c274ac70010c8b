// Operands: general registers and effective addresses.

package insn

// get gives a general register's value, zero-extended.
func (e *emulation) get(r register) uint64 {
	v := e.c.GPR[r.n&15]
	if r.high {
		v >>= 8
	}
	return v & maskOf(r.width)
}

// set changes a general register as the processor does: a 32-bit write clears the upper half, a
// narrower one leaves the rest alone.
func (e *emulation) set(r register, v uint64) {
	p := &e.c.GPR[r.n&15]
	switch {
	case r.width == 8:
		*p = v
	case r.width == 4:
		*p = uint64(uint32(v))
	case r.high:
		*p = *p&^0xFF00 | v&0xFF<<8
	default:
		m := maskOf(r.width)
		*p = *p&^m | v&m
	}
}

// address gives the effective address of the memory operand.
func (e *emulation) address() uint64 {
	a := &e.in.mem
	v := a.disp
	switch a.base {
	case noRegister:
	case ripRelative:
		v += e.c.RIP
	default:
		v += e.c.GPR[a.base&15]
	}
	if a.index != noRegister {
		v += e.c.GPR[a.index&15] * uint64(a.scale)
	}
	if a.narrow {
		v = uint64(uint32(v))
	}
	if a.gs {
		v += e.c.GSBase
	}
	return v
}

// maskOf covers the low width bytes.
func maskOf(width uint8) uint64 { return ^uint64(0) >> (64 - 8*uint(width)) }

// signExtend extends a value of width bytes to 64 bits.
func signExtend(v uint64, width uint8) uint64 {
	s := 64 - 8*uint(width)
	return uint64(int64(v<<s) >> s)
}
