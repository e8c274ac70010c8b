// Lengths of instructions, and where they lead, without what they mean: what disassembling a whole
// image takes.

package insn

import "encoding/binary"

// shape is the outline of an instruction.
type shape struct {
	length int
	// opcode is the last byte of it; escape is 0, or 0F, 38 or 3A for the other maps.
	opcode, escape uint8
	modRM          uint8 // if it has one
	repeat         uint8 // F2, F3 or 0: the last such prefix
	vector         bool  // it has a VEX prefix

	stops    bool  // it does not lead to the next instruction
	indirect bool  // it jumps by a register or memory, but not through the import table
	jumps    bool  // it may jump by distance, counted from its end
	distance int32 // of a jump, not of a call
}

// What follows an opcode: a ModRM byte, an immediate.
const (
	bad  = 1 << 7 // there is no such instruction in 64-bit mode
	mrm  = 1 << 0
	imm1 = 1 << 1
	imm2 = 1 << 2
	immZ = 1 << 3 // 4 bytes, or 2 with the operand-size prefix
	rel1 = 1 << 4
	rel4 = 1 << 5
)

// primary and secondary are the one-byte opcodes, and those behind 0F (Intel SDM volume 2,
// appendix A), in runs: all opcodes up to and with the first number have the second.
var (
	primary   = opcodes(primaryRuns)
	secondary = opcodes(secondaryRuns)
)

type run struct{ last, form uint8 }

var primaryRuns = []run{
	{0x03, mrm}, {0x04, imm1}, {0x05, immZ}, {0x07, bad}, {0x0B, mrm}, {0x0C, imm1}, {0x0D, immZ},
	{0x0F, bad}, {0x13, mrm}, {0x14, imm1}, {0x15, immZ}, {0x17, bad}, {0x1B, mrm}, {0x1C, imm1},
	{0x1D, immZ}, {0x1F, bad}, {0x23, mrm}, {0x24, imm1}, {0x25, immZ}, {0x27, bad}, {0x2B, mrm},
	{0x2C, imm1}, {0x2D, immZ}, {0x2F, bad}, {0x33, mrm}, {0x34, imm1}, {0x35, immZ}, {0x37, bad},
	{0x3B, mrm}, {0x3C, imm1}, {0x3D, immZ}, {0x4F, bad}, {0x5F, 0}, {0x62, bad}, {0x63, mrm},
	{0x67, bad}, {0x68, immZ}, {0x69, mrm | immZ}, {0x6A, imm1}, {0x6B, mrm | imm1}, {0x6F, 0},
	{0x7F, rel1}, {0x80, mrm | imm1}, {0x81, mrm | immZ}, {0x82, bad}, {0x83, mrm | imm1},
	{0x8F, mrm}, {0x99, 0}, {0x9A, bad}, {0x9F, 0}, {0xA3, 0}, {0xA7, 0}, {0xA8, imm1},
	{0xA9, immZ}, {0xAF, 0}, {0xB7, imm1}, {0xBF, immZ}, {0xC1, mrm | imm1}, {0xC2, imm2}, {0xC3, 0},
	{0xC5, bad}, {0xC6, mrm | imm1}, {0xC7, mrm | immZ}, {0xC8, imm2 | imm1}, {0xC9, 0},
	{0xCA, imm2}, {0xCC, 0}, {0xCD, imm1}, {0xCE, bad}, {0xCF, 0}, {0xD3, mrm}, {0xD6, bad},
	{0xD7, 0}, {0xDF, mrm}, {0xE3, rel1}, {0xE7, imm1}, {0xE9, rel4}, {0xEA, bad}, {0xEB, rel1},
	{0xEF, 0}, {0xF0, bad}, {0xF1, 0}, {0xF3, bad}, {0xF5, 0}, {0xF7, mrm}, {0xFD, 0}, {0xFF, mrm},
}

var secondaryRuns = []run{
	{0x03, mrm}, {0x04, bad}, {0x09, 0}, {0x0A, bad}, {0x0B, 0}, {0x0C, bad}, {0x0D, mrm}, {0x0E, 0},
	{0x0F, bad}, {0x23, mrm}, {0x27, bad}, {0x2F, mrm}, {0x35, 0}, {0x36, bad}, {0x37, 0},
	{0x3F, bad}, {0x6F, mrm}, {0x73, mrm | imm1}, {0x76, mrm}, {0x77, 0}, {0x7B, bad}, {0x7F, mrm},
	{0x8F, rel4}, {0x9F, mrm}, {0xA2, 0}, {0xA3, mrm}, {0xA4, mrm | imm1}, {0xA5, mrm}, {0xA7, bad},
	{0xAA, 0}, {0xAB, mrm}, {0xAC, mrm | imm1}, {0xB9, mrm}, {0xBA, mrm | imm1}, {0xC1, mrm},
	{0xC2, mrm | imm1}, {0xC3, mrm}, {0xC6, mrm | imm1}, {0xC7, mrm}, {0xCF, 0}, {0xFF, mrm},
}

func opcodes(runs []run) (forms [256]uint8) {
	next := 0
	for _, r := range runs {
		for ; next <= int(r.last); next++ {
			forms[next] = r.form
		}
	}
	return forms
}

// outline gives the outline of the instruction that code begins with. ok is false if there is none,
// if it is cut off, or if it is none that compilers make, and whose length processors may not agree
// on.
func outline(code []byte) (s shape, ok bool) {
	at, rex, wide16, wide32 := 0, uint8(0), false, false
prefixes:
	for ; ; at++ {
		if at >= len(code) || at >= maxLength {
			return s, false
		}
		switch b := code[at]; b {
		case 0x66:
			wide16 = true
		case 0x67:
			wide32 = true
		case 0xF2, 0xF3:
			s.repeat = b
		case 0xF0, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65:
		default:
			if b&0xF0 != 0x40 {
				break prefixes
			}
			rex = b
			continue
		}
		rex = 0 // counts only right before the opcode
	}
	// next gives the byte at at, and 0 beyond the end: then the length is too large for the code.
	next := func() (b uint8) {
		if at < len(code) {
			b = code[at]
		}
		at++
		return b
	}
	s.opcode = next()
	form := primary[s.opcode]
	switch s.opcode {
	case 0x0F:
		s.escape = 0x0F
		s.opcode = next()
		switch form = secondary[s.opcode]; s.opcode {
		case 0x38, 0x3A:
			s.escape = s.opcode
			s.opcode = next()
			form = mrm
			if s.escape == 0x3A {
				form = mrm | imm1
			}
		}
	case 0xC4, 0xC5:
		s.vector = true
		m := uint8(1)
		if s.opcode == 0xC4 {
			m = next() & 0x1F
		}
		next()
		s.opcode = next()
		switch m {
		case 1:
			s.escape, form = 0x0F, secondary[s.opcode]
			if form&(mrm|bad) == 0 && s.opcode != 0x77 {
				form = bad
			}
		case 2:
			s.escape, form = 0x38, mrm
		case 3:
			s.escape, form = 0x3A, mrm|imm1
		default:
			form = bad
		}
	}
	if form&bad != 0 {
		return s, false
	}
	if form&mrm != 0 {
		s.modRM = next()
		mod, rm := s.modRM>>6, s.modRM&7
		if s.escape == 0x0F && s.opcode >= 0x20 && s.opcode <= 0x23 {
			mod = 3 // mov to and from special registers has no memory operand
		}
		if mod != 3 && rm == 4 {
			if sib := next(); mod == 0 && sib&7 == 5 {
				at += 4
			}
		}
		switch {
		case mod == 1:
			at++
		case mod == 2, mod == 0 && rm == 5:
			at += 4
		}
	}
	reg := s.modRM >> 3 & 7
	if s.escape == 0 {
		switch s.opcode {
		case 0x8F, 0xC6, 0xC7:
			if reg != 0 {
				return s, false
			}
		case 0xA0, 0xA1, 0xA2, 0xA3:
			at += 8
			if wide32 {
				at -= 4
			}
		case 0xB8, 0xB9, 0xBA, 0xBB, 0xBC, 0xBD, 0xBE, 0xBF:
			if rex&8 != 0 {
				at += 4
			}
		case 0xF6:
			if reg < 2 {
				at++
			}
		case 0xF7:
			if reg < 2 {
				form |= immZ
			}
		}
	}
	if form&imm1 != 0 {
		at++
	}
	if form&imm2 != 0 {
		at += 2
	}
	if form&immZ != 0 {
		at += 4
		if wide16 && rex&8 == 0 {
			at -= 2
		}
	}
	switch {
	case form&rel1 != 0:
		s.distance = int32(int8(next()))
	case form&rel4 != 0:
		if wide16 {
			return s, false
		}
		if at+4 <= len(code) {
			s.distance = int32(binary.LittleEndian.Uint32(code[at:]))
		}
		at += 4
	}
	if at > len(code) || at > maxLength {
		return s, false
	}
	s.length = at
	s.leads(form, reg, code)
	return s, true
}

// leads fills in where the instruction leads.
func (s *shape) leads(form, reg uint8, code []byte) {
	switch {
	case s.vector:
	case s.escape == 0x0F:
		s.jumps = form&rel4 != 0
		s.stops = s.opcode == 0x0B || s.opcode == 0x07 // ud2, sysret
	case s.escape == 0:
		s.jumps = form&(rel1|rel4) != 0 && s.opcode != 0xE8
		switch s.opcode {
		case 0xEB, 0xE9, 0xC2, 0xC3, 0xCA, 0xCB, 0xCF:
			s.stops = true
		case 0xCD:
			const fastFail = 0x29
			s.stops = code[s.length-1] == fastFail
		case 0xFF:
			if reg == 4 || reg == 5 {
				s.stops = true
				s.indirect = s.modRM&0xC7 != 5 // RIP-relative: the import table
			}
		}
	}
}

// mayBeSilent reports whether the outline is that of an instruction that Scan looks for.
func (s *shape) mayBeSilent() bool {
	if s.vector {
		return false
	}
	reg := s.modRM >> 3 & 7
	switch s.escape {
	case 0:
		return s.opcode == 0x9C || s.opcode == 0x9D
	case 0x0F:
		switch s.opcode {
		case 0xA2, 0x01:
			return true
		case 0x00:
			return reg < 2
		case 0xAE:
			return s.repeat == 0xF3 && s.modRM >= 0xC0 && reg < 4
		case 0xC7:
			return s.repeat == 0xF3 && s.modRM >= 0xC0 && reg == 7
		}
	}
	return false
}
