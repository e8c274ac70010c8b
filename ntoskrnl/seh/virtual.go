// Undoing one function's frame: RtlVirtualUnwind.

package seh

import (
	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Unwound says what [Tables.VirtualUnwind] found besides the caller's registers.
type Unwound struct {
	// Establisher is the function's frame: where RSP is after its prologue, without what it
	// allocates later.
	Establisher guest.Addr
	// Handler is the language-specific handler of the kind that was asked for, 0 if the function
	// has none or control is in its prologue or an epilogue. Data is what follows it in the table.
	Handler, Data guest.Addr
}

// Saved are the places where registers were saved, 0 for those that were not:
// KNONVOLATILE_CONTEXT_POINTERS.
type Saved struct {
	XMM, GPR [16]guest.Addr
}

// add takes over the places in more.
func (s *Saved) add(more *Saved) {
	for i, a := range more.GPR {
		if a != 0 {
			s.GPR[i] = a
		}
	}
}

// pop is the instruction.
func (r *Registers) pop(reg uint8, saved *Saved) error {
	at := r.RSP()
	v, err := guest.Load64(at)
	if err != nil {
		return err
	}
	r.GPR[engine.RSP] += 8
	r.GPR[reg] = v
	if saved != nil {
		saved.GPR[reg] = at
	}
	return nil
}

// ret is the instruction. It is also all there is to undo of a leaf function.
func (r *Registers) ret() error {
	v, err := guest.LoadAddr(r.RSP())
	if err != nil {
		return err
	}
	r.GPR[engine.RSP] += 8
	r.RIP = v
	return nil
}

// VirtualUnwind makes of the registers of function f, in which control is at pc, those of its
// caller. kind says which handler is wanted: UNW_FLAG_EHANDLER, UNW_FLAG_UHANDLER, or neither.
// saved, if not nil, learns where the registers were that it restores.
//
// Errors are a *TableError for unwind data that makes no sense, and a *guest.FaultError for a stack
// or data that cannot be read; r is then somewhere in between.
// "RtlVirtualUnwind function (winnt.h)".
func (t *Tables) VirtualUnwind(kind uint8, pc guest.Addr, f Function, r *Registers, saved *Saved) (
	w Unwound, err error) {
	var u unwindInfo
	if f.UnwindInfo&indirect != 0 {
		if f, err = ReadFunction(f.Base, f.Base+guest.Addr(f.UnwindInfo&^indirect)); err != nil {
			return w, err
		}
	}
	if err := u.read(f.info()); err != nil {
		return w, err
	}
	offset := uint32(pc-f.Base) - f.Begin
	body := offset >= uint32(u.prolog) || u.chained()
	if body {
		w.Establisher = r.RSP()
		if ok, err := t.epilogue(pc, f, &u, r, saved); ok || err != nil {
			return w, err
		}
	}
	framed, err := u.frameSet(offset)
	if err != nil {
		return w, err
	}
	w.Establisher = r.RSP()
	if framed {
		w.Establisher = guest.Addr(r.GPR[u.frameReg] - uint64(u.frameOffset))
	}
	if offset >= uint32(u.prolog) {
		offset = ^uint32(0)
	}
	machine := false
	for n := 0; ; n++ {
		base := r.RSP()
		if framed {
			base = w.Establisher
		}
		m, err := u.undo(offset, base, r, saved)
		if err != nil {
			return w, err
		}
		machine = machine || m
		if !u.chained() {
			break
		}
		if n == maxChain {
			return w, &TableError{u.at, "is chained to itself, or too deeply"}
		}
		next, err := u.next(f.Base)
		if err != nil {
			return w, err
		}
		if err := u.read(next.info()); err != nil {
			return w, err
		}
		offset = ^uint32(0)
	}
	if !machine {
		if err := r.ret(); err != nil {
			return w, err
		}
	}
	if body && u.flags&kind&(nt.UNW_FLAG_EHANDLER|nt.UNW_FLAG_UHANDLER) != 0 {
		rva, data := u.handler()
		w.Handler, w.Data = f.Base+guest.Addr(rva), data
	}
	return w, nil
}

// info gives the address of the function's UNWIND_INFO.
func (f *Function) info() guest.Addr { return f.Base + guest.Addr(f.UnwindInfo) }

// undo undoes what the prologue has done up to an offset in it. base is what offsets of saved
// registers count from. machine says that RIP and RSP came out of a machine frame.
func (u *unwindInfo) undo(offset uint32, base guest.Addr, r *Registers, saved *Saved) (machine bool,
	err error) {
	for i := 0; i < int(u.count); {
		c, next, err := u.code(i)
		if err != nil {
			return false, err
		}
		i = next
		if c.op == opEpilog || uint32(c.at) > offset {
			continue
		}
		switch c.op {
		case opPushNonvol:
			err = r.pop(c.info, saved)
		case opAllocSmall, opAllocLarge:
			r.GPR[engine.RSP] += uint64(c.size)
		case opSetFPReg:
			r.GPR[engine.RSP] = r.GPR[u.frameReg] - uint64(u.frameOffset)
		case opSaveNonvol, opSaveNonvolFar:
			at := base + guest.Addr(c.size)
			if r.GPR[c.info], err = guest.Load64(at); saved != nil {
				saved.GPR[c.info] = at
			}
		case opSaveXMM, opSaveXMMFar:
			at := base + guest.Addr(c.size)
			if r.XMM[c.info], err = guest.Ptr[engine.XMM](at).Load(); saved != nil {
				saved.XMM[c.info] = at
			}
		case opPushMachFrame:
			machine, err = true, r.machineFrame(c.info)
		}
		if err != nil {
			return false, err
		}
	}
	return machine, nil
}

// machineFrame takes RIP and RSP out of what the processor pushed for a trap: RIP, CS, RFLAGS, RSP,
// SS, below them an error code if info is 1.
func (r *Registers) machineFrame(info uint8) error {
	at := r.RSP()
	if info != 0 {
		at += 8
	}
	var frame [4]uint64
	if err := guest.ReadSlice(frame[:], at); err != nil {
		return err
	}
	r.RIP, r.GPR[engine.RSP] = guest.Addr(frame[0]), frame[3]
	return nil
}
