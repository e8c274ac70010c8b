// Writing UNWIND_INFO, version 1: what a function's prologue did, for the unwinder to undo ("x64
// exception handling", struct UNWIND_INFO).

package pe

import (
	"encoding/binary"
	"fmt"
)

// Unwind describes a function to the unwinder. A leaf function, which changes no non-volatile
// register and not the stack pointer either, needs none.
type Unwind struct {
	// PrologSize is the length of the prologue in bytes.
	PrologSize uint8
	// FrameRegister is the number of the register that SetFPReg sets up, and FrameOffset how far
	// above RSP it then points: a multiple of 16, at most 240 bytes. Both are 0 without one.
	FrameRegister uint8
	FrameOffset   uint8
	// Ops are in the order of the instructions in the prologue.
	Ops []UnwindOp
	// Handler names the symbol of the language-specific handler; empty for none.
	Handler string
	// OnException and OnUnwind say when the handler is called.
	OnException, OnUnwind bool
	// HandlerData follows the handler's address, with HandlerFixups at offsets into it.
	HandlerData   []byte
	HandlerFixups []Fixup
}

// UnwindOp is one unwind operation. Its constructors are below; At is always the offset in the
// prologue of the end of the instruction, in bytes.
type UnwindOp struct {
	At   uint8
	op   uint8
	reg  uint8
	size uint32
}

// Operation codes.
const (
	uwopPushNonvol    = 0
	uwopAllocLarge    = 1
	uwopAllocSmall    = 2
	uwopSetFPReg      = 3
	uwopSaveNonvol    = 4
	uwopSaveNonvolFar = 5
	uwopSaveXMM       = 8
	uwopSaveXMMFar    = 9
	uwopPushMachFrame = 10
)

const (
	unwFlagEHandler = 1
	unwFlagUHandler = 2
)

// PushNonvol is a push of a general register (0 RAX … 15 R15, as in instructions).
func PushNonvol(at, reg uint8) UnwindOp { return UnwindOp{At: at, op: uwopPushNonvol, reg: reg} }

// Alloc is a subtraction of size bytes, a multiple of 8, from RSP.
func Alloc(at uint8, size uint32) UnwindOp {
	return UnwindOp{At: at, op: uwopAllocSmall, size: size}
}

// SetFPReg is the set-up of Unwind.FrameRegister.
func SetFPReg(at uint8) UnwindOp { return UnwindOp{At: at, op: uwopSetFPReg} }

// SaveNonvol is a store of a general register at offset bytes above RSP, a multiple of 8.
func SaveNonvol(at, reg uint8, offset uint32) UnwindOp {
	return UnwindOp{At: at, op: uwopSaveNonvol, reg: reg, size: offset}
}

// SaveXMM128 is a store of an XMM register at offset bytes above RSP, a multiple of 16.
func SaveXMM128(at, reg uint8, offset uint32) UnwindOp {
	return UnwindOp{At: at, op: uwopSaveXMM, reg: reg, size: offset}
}

// PushMachFrame is what the processor pushed for a trap: with an error code or without.
func PushMachFrame(at uint8, errorCode bool) UnwindOp {
	o := UnwindOp{At: at, op: uwopPushMachFrame}
	if errorCode {
		o.reg = 1
	}
	return o
}

// encode appends the operation's slots.
func (o UnwindOp) encode(b []byte) ([]byte, error) {
	slot := func(op, info uint8) { b = append(b, o.At, op|info<<4) }
	word := func(v uint32) { b = binary.LittleEndian.AppendUint16(b, uint16(v)) }
	if o.reg > 15 {
		return nil, fmt.Errorf("register %d", o.reg)
	}
	scaled := func(unit uint32, short, far uint8) error {
		switch {
		case o.size%unit != 0:
			return fmt.Errorf("offset 0x%x is no multiple of %d", o.size, unit)
		case o.size/unit <= 0xffff:
			slot(short, o.reg)
			word(o.size / unit)
		default:
			slot(far, o.reg)
			word(o.size)
			word(o.size >> 16)
		}
		return nil
	}
	switch o.op {
	case uwopPushNonvol, uwopPushMachFrame:
		slot(o.op, o.reg)
	case uwopSetFPReg:
		slot(o.op, 0)
	case uwopSaveNonvol:
		return b, scaled(8, uwopSaveNonvol, uwopSaveNonvolFar)
	case uwopSaveXMM:
		return b, scaled(16, uwopSaveXMM, uwopSaveXMMFar)
	case uwopAllocSmall:
		switch {
		case o.size == 0 || o.size%8 != 0:
			return nil, fmt.Errorf("allocation of 0x%x bytes", o.size)
		case o.size <= 128:
			slot(uwopAllocSmall, uint8(o.size/8-1))
		case o.size/8 <= 0xffff:
			slot(uwopAllocLarge, 0)
			word(o.size / 8)
		default:
			slot(uwopAllocLarge, 1)
			word(o.size)
			word(o.size >> 16)
		}
	}
	return b, nil
}

// encode gives the UNWIND_INFO without handler data, with the place of the handler's address in it
// (0 if there is none).
func (u *Unwind) encode(b []byte) (_ []byte, handler int, err error) {
	start := len(b)
	if u.FrameOffset%16 != 0 || u.FrameRegister > 15 {
		return nil, 0, fmt.Errorf("frame register %d with offset %d", u.FrameRegister,
			u.FrameOffset)
	}
	flags := uint8(0)
	if u.OnException {
		flags |= unwFlagEHandler
	}
	if u.OnUnwind {
		flags |= unwFlagUHandler
	}
	if (flags != 0) != (u.Handler != "") {
		return nil, 0, fmt.Errorf("a handler and the flags that call it belong together")
	}
	b = append(b, 1|flags<<3, u.PrologSize, 0, u.FrameRegister|u.FrameOffset)
	last := u.PrologSize
	for i := len(u.Ops) - 1; i >= 0; i-- {
		if u.Ops[i].At > last {
			return nil, 0, fmt.Errorf("unwind operation %d at offset %d is not in order, or after "+
				"the prologue of %d bytes", i+1, u.Ops[i].At, u.PrologSize)
		}
		last = u.Ops[i].At
		if b, err = u.Ops[i].encode(b); err != nil {
			return nil, 0, fmt.Errorf("unwind operation %d: %w", i+1, err)
		}
	}
	n := (len(b) - start - 4) / 2
	if n > 255 {
		return nil, 0, fmt.Errorf("%d unwind codes, more than 255", n)
	}
	b[start+2] = uint8(n)
	if n%2 != 0 {
		b = append(b, 0, 0)
	}
	if flags != 0 {
		handler = len(b) - start
		b = append(b, 0, 0, 0, 0)
	}
	return b, handler, nil
}
