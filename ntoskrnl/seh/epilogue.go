// Epilogues, found and undone by decoding their instructions ("x64 exception handling", Unwind
// procedure): an addition to RSP or an LEA from the frame register, pops, and a return or a jump to
// another function.

package seh

import (
	"encoding/binary"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
)

// maxEpilogue is how much code is looked at, in bytes: more than 7 for LEA, 16 pops of 2, and 7 for
// a jump.
const maxEpilogue = 64

// step is an instruction of an epilogue.
type step struct {
	kind stepKind
	n    int   // length
	reg  uint8 // of a pop
	disp int64
}

type stepKind uint8

const (
	stepOther    stepKind = iota
	stepAdd               // add rsp, disp
	stepLea               // lea rsp, [frame register + disp]
	stepPop               // pop reg
	stepReturn            // ret
	stepBranch            // jmp to disp from its own start
	stepIndirect          // jmp [memory], or jmp reg marked as a tail call by REX.W
	stepTable             // jmp [memory], which may be a switch
)

// decodeStep decodes the instruction at the start of b.
func decodeStep(b []byte, frameReg uint8) step {
	at := func(i int) byte {
		if i < len(b) {
			return b[i]
		}
		return 0
	}
	i, rex := 0, byte(0)
	if at(0) == 0xF2 || at(0) == 0xF3 { // bnd and rep, before ret
		i++
	}
	prefixed := i > 0
	if c := at(i); c&0xF0 == 0x40 {
		rex = c
		i++
	}
	whole := func(s step) step {
		if s.n > len(b) {
			return step{}
		}
		return s
	}
	wide := rex&8 != 0
	op, modrm := at(i), at(i+1)
	switch {
	case op == 0xC3:
		return whole(step{kind: stepReturn, n: i + 1})
	case op == 0xC2:
		return whole(step{kind: stepReturn, n: i + 3})
	case prefixed:
	case op == 0x83 && modrm == 0xC4 && rex == 0x48:
		return whole(step{kind: stepAdd, n: i + 3, disp: int64(int8(at(i + 2)))})
	case op == 0x81 && modrm == 0xC4 && rex == 0x48:
		return whole(step{kind: stepAdd, n: i + 6, disp: int64(le32(b, i+2))})
	case op == 0x8D && wide && rex&4 == 0 && modrm>>3&7 == uint8(engine.RSP) && frameReg != 0:
		return whole(decodeLea(b, i+1, rex, frameReg))
	case op&0xF8 == 0x58:
		return whole(step{kind: stepPop, n: i + 1, reg: op&7 | rex&1<<3})
	case op == 0xEB:
		return whole(step{kind: stepBranch, n: i + 2, disp: int64(i+2) + int64(int8(at(i+1)))})
	case op == 0xE9:
		return whole(step{kind: stepBranch, n: i + 5, disp: int64(i+5) + int64(le32(b, i+1))})
	case op == 0xFF && modrm>>3&7 == 4:
		switch mod := modrm >> 6; {
		case mod == 0 && modrm&7 == 5, wide && (mod == 0 || mod == 3):
			return whole(step{kind: stepIndirect, n: i + 2})
		case mod == 0:
			return whole(step{kind: stepTable, n: i + 2})
		}
	}
	return step{}
}

// decodeLea decodes LEA RSP from its ModRM byte at b[i]; only the frame register will do.
func decodeLea(b []byte, i int, rex, frameReg uint8) step {
	if i >= len(b) {
		return step{}
	}
	modrm := b[i]
	base := modrm&7 | rex&1<<3
	i++
	if modrm&7 == uint8(engine.RSP) {
		// A base of R12 needs a SIB byte: no index.
		if i >= len(b) || b[i] != 0x24 || rex&2 != 0 {
			return step{}
		}
		i++
	}
	s := step{kind: stepLea}
	switch modrm >> 6 {
	case 0:
		if modrm&7 == uint8(engine.RBP) {
			return step{} // that is RIP
		}
		s.n = i
	case 1:
		if i < len(b) {
			s.disp = int64(int8(b[i]))
		}
		s.n = i + 1
	case 2:
		s.disp = int64(le32(b, i))
		s.n = i + 4
	default:
		return step{}
	}
	if base != frameReg {
		return step{}
	}
	return s
}

// le32 gives the number at b[i], or 0 where there is not enough.
func le32(b []byte, i int) int32 {
	if i+4 > len(b) {
		return 0
	}
	return int32(binary.LittleEndian.Uint32(b[i:]))
}

// epilogue undoes the rest of an epilogue, if that is where pc is.
func (t *Tables) epilogue(pc guest.Addr, f Function, u *unwindInfo, r *Registers, saved *Saved) (
	ok bool, err error) {
	rva := uint32(pc - f.Base)
	if rva < f.Begin || rva >= f.End {
		return false, nil
	}
	n := f.End - rva
	listed := false
	if u.version >= 2 {
		if n, listed = u.inEpilog(n); !listed {
			return false, nil
		}
	}
	var buf [maxEpilogue]byte
	b := buf[:min(n, maxEpilogue)]
	if guest.Read(b, pc) != nil {
		return false, nil // what cannot be read is not being run either
	}
	after := *r
	var pops Saved
	for i := 0; ; {
		s := decodeStep(b[i:], u.frameReg)
		switch s.kind {
		case stepAdd, stepLea:
			if i > 0 {
				return false, nil
			}
			if s.kind == stepAdd {
				after.GPR[engine.RSP] += uint64(s.disp)
			} else {
				after.GPR[engine.RSP] = after.GPR[u.frameReg] + uint64(s.disp)
			}
			i += s.n
			continue
		case stepPop:
			if err := after.pop(s.reg, &pops); err != nil {
				return false, err
			}
			i += s.n
			continue
		case stepReturn, stepIndirect:
		case stepBranch:
			if !listed && !t.leaves(f, u, pc+guest.Addr(i)+guest.Addr(s.disp)) {
				return false, nil
			}
		case stepTable:
			if i == 0 && !listed {
				return false, nil
			}
		default:
			if !listed {
				return false, nil
			}
		}
		break
	}
	if err := after.ret(); err != nil {
		return false, err
	}
	*r = after
	if saved != nil {
		saved.add(&pops)
	}
	return true, nil
}

// leaves reports whether a jump to target ends the function that f is a part of: it goes to another
// function, or to this one's start.
func (t *Tables) leaves(f Function, u *unwindInfo, target guest.Addr) bool {
	rva := uint64(target - f.Base)
	if rva >= uint64(f.Begin) && rva < uint64(f.End) {
		return rva == uint64(f.Begin) && !u.chained()
	}
	there, ok := t.Lookup(target)
	if !ok || there.Base != f.Base {
		return true
	}
	mine, err1 := primary(f)
	theirs, err2 := primary(there)
	if err1 != nil || err2 != nil || mine != theirs {
		return true
	}
	return rva == uint64(mine)
}

// primary gives the start of the function that f is a part of.
func primary(f Function) (begin uint32, err error) {
	var u unwindInfo
	for range maxChain {
		if err := u.read(f.info()); err != nil {
			return 0, err
		}
		if !u.chained() {
			return f.Begin, nil
		}
		if f, err = u.next(f.Base); err != nil {
			return 0, err
		}
	}
	return 0, &TableError{u.at, "is chained to itself, or too deeply"}
}
