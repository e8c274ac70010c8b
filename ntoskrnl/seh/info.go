// Reading UNWIND_INFO, versions 1 and 2 ("x64 exception handling", struct UNWIND_INFO; version 2 as
// the tools that write it have it: LLVM's Win64EH.h).

package seh

import (
	"encoding/binary"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/pe"
)

// Unwind operations.
const (
	opPushNonvol    = 0
	opAllocLarge    = 1
	opAllocSmall    = 2
	opSetFPReg      = 3
	opSaveNonvol    = 4
	opSaveNonvolFar = 5
	opEpilog        = 6 // of version 2
	opSaveXMM       = 8
	opSaveXMMFar    = 9
	opPushMachFrame = 10
)

// unwindInfo is an UNWIND_INFO.
type unwindInfo struct {
	at          guest.Addr
	version     uint8
	flags       uint8
	prolog      uint8 // its size in bytes
	count       uint8 // slots in codes
	frameReg    uint8
	frameOffset uint8 // bytes
	codes       [256 * 2]byte
	tail        [rowSize]byte // the handler's RVA, or the RUNTIME_FUNCTION that this one is chained to
}

// read reads the UNWIND_INFO at at.
func (u *unwindInfo) read(at guest.Addr) error {
	word, err := guest.Load32(at)
	if err != nil {
		return err
	}
	u.at = at
	u.version, u.flags = uint8(word&7), uint8(word>>3&0x1F)
	u.prolog, u.count = uint8(word>>8), uint8(word>>16)
	u.frameReg, u.frameOffset = uint8(word>>24&15), uint8(word>>28*16)
	if u.version != 1 && u.version != 2 {
		return &TableError{at, "is of an unknown version"}
	}
	if err := guest.Read(u.codes[:2*int(u.count)], at+4); err != nil {
		return err
	}
	switch {
	case u.chained():
		return guest.Read(u.tail[:rowSize], u.tailAt())
	case u.flags&(nt.UNW_FLAG_EHANDLER|nt.UNW_FLAG_UHANDLER) != 0:
		return guest.Read(u.tail[:4], u.tailAt())
	}
	return nil
}

func (u *unwindInfo) chained() bool { return u.flags&nt.UNW_FLAG_CHAININFO != 0 }

// tailAt is where the codes end, rounded up to an even number.
func (u *unwindInfo) tailAt() guest.Addr { return u.at + 4 + 2*guest.Addr((int(u.count)+1)&^1) }

// handler gives the RVA of the language-specific handler, and where its data is.
func (u *unwindInfo) handler() (rva uint32, data guest.Addr) {
	return binary.LittleEndian.Uint32(u.tail[:]), u.tailAt() + 4
}

// next gives the function that u is chained to.
func (u *unwindInfo) next(base guest.Addr) (Function, error) {
	le := binary.LittleEndian
	f := Function{pe.RuntimeFunction{Begin: le.Uint32(u.tail[0:]), End: le.Uint32(u.tail[4:]),
		UnwindInfo: le.Uint32(u.tail[8:])}, base, u.tailAt()}
	if f.UnwindInfo&indirect != 0 {
		return ReadFunction(base, base+guest.Addr(f.UnwindInfo&^indirect))
	}
	return f, nil
}

// code is one unwind operation.
type code struct {
	at   uint8 // offset in the prologue of the end of its instruction
	op   uint8
	info uint8
	size uint32 // bytes: of an allocation, or an offset
}

// code reads the operation at slot i, and gives the slot of the one after it.
func (u *unwindInfo) code(i int) (c code, next int, err error) {
	c = code{at: u.codes[2*i], op: u.codes[2*i+1] & 15, info: u.codes[2*i+1] >> 4}
	scale, slots := uint32(0), 1
	switch c.op {
	case opPushNonvol, opPushMachFrame:
	case opSetFPReg:
		if u.frameReg == 0 {
			return c, 0, &TableError{u.at, "sets up a frame register and has none"}
		}
	case opAllocSmall:
		c.size = uint32(c.info)*8 + 8
	case opAllocLarge:
		switch c.info {
		case 0:
			scale, slots = 8, 2
		case 1:
			slots = 3
		default:
			return c, 0, &TableError{u.at, "has a large allocation of an unknown form"}
		}
	case opSaveNonvol:
		scale, slots = 8, 2
	case opSaveXMM:
		scale, slots = 16, 2
	case opSaveNonvolFar, opSaveXMMFar:
		slots = 3
	case opEpilog:
		if u.version < 2 {
			return c, 0, &TableError{u.at, "has an unknown operation"}
		}
	default:
		return c, 0, &TableError{u.at, "has an unknown operation"}
	}
	next = i + slots
	if next > int(u.count) {
		return c, 0, &TableError{u.at, "ends inside of an operation"}
	}
	switch slots {
	case 2:
		c.size = uint32(binary.LittleEndian.Uint16(u.codes[2*i+2:])) * scale
	case 3:
		c.size = binary.LittleEndian.Uint32(u.codes[2*i+2:])
	}
	return c, next, nil
}

// frameSet reports whether, at an offset into the function, its frame register is set up.
func (u *unwindInfo) frameSet(offset uint32) (bool, error) {
	if u.frameReg == 0 {
		return false, nil
	}
	if offset >= uint32(u.prolog) || u.chained() {
		return true, nil
	}
	for i := 0; i < int(u.count); {
		c, next, err := u.code(i)
		if err != nil {
			return false, err
		}
		if c.op == opSetFPReg {
			return offset >= uint32(c.at), nil
		}
		i = next
	}
	return false, nil
}

// inEpilog reports, of version 2, whether an offset from the function's end lies in one of its
// epilogues, and how many bytes of that follow.
//
// The first epilogue operation has the size of all of them, and whether one is the function's end;
// each further one has a distance, of 12 bits, from an epilogue's start to the function's end.
func (u *unwindInfo) inEpilog(fromEnd uint32) (left uint32, ok bool) {
	size := uint32(0)
	for i := 0; i < int(u.count) && u.codes[2*i+1]&15 == opEpilog; i++ {
		at, info := uint32(u.codes[2*i]), uint32(u.codes[2*i+1]>>4)
		start := at | info<<8
		if i == 0 {
			size, start = at, 0
			if info&1 != 0 {
				start = at
			}
		}
		// An epilogue is [start, start-size), counted back from the end.
		if fromEnd <= start && start-fromEnd < size {
			return size - (start - fromEnd), true
		}
	}
	return 0, false
}
