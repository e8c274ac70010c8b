// The second phase: unwinding to a frame, with the termination handlers on the way.

package seh

import (
	"cmp"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// UnwindRequest says where an unwind goes. Addresses of records may be 0: then there are none.
type UnwindRequest struct {
	Frame   guest.Addr // the establisher frame to unwind to; 0 unwinds everything
	IP      guest.Addr // where control goes on in it
	Value   uint64     // RAX there
	Record  guest.Addr // EXCEPTION_RECORD
	Code    nt.Status  // if there is no record, instead of STATUS_UNWIND
	Context guest.Addr // a CONTEXT that may be written
}

// unwindFrame is what an unwind puts on the stack.
type unwindFrame struct {
	Context    nt.Context         // unless there was one
	Record     nt.ExceptionRecord // unless there was one
	_          [8]byte
	Dispatcher nt.DispatcherContext
}

// Unwind unwinds the stack of the import call that is under way, as RtlUnwindEx does: from the
// call's caller to the frame that req names, calling every termination handler on the way. After
// that the thread's context says where it goes on. The error is a *StackError, what is wrong with
// tables or memory, or the status that Windows raises: STATUS_BAD_STACK,
// STATUS_INVALID_UNWIND_TARGET, STATUS_INVALID_DISPOSITION.
// "RtlUnwindEx function (winnt.h)".
func (d *Dispatcher) Unwind(t Thread, req UnwindRequest) error {
	return d.unwindBelow(t, req, t.Context().GPR[engine.RSP])
}

// unwindBelow is Unwind with everything below an address.
func (d *Dispatcher) unwindBelow(t Thread, req UnwindRequest, below uint64) error {
	c := t.Context()
	base := Capture(c)
	at, err := place(c, below, sizeofUnwindFrame)
	if err != nil {
		return err
	}
	raised := Raised{Record: req.Record, Context: req.Context}
	if raised.Context == 0 {
		raised.Context = at + offsetUnwindContext
	}
	if raised.Record == 0 {
		raised.Record = at + offsetUnwindRecord
		err := guest.Ptr[nt.ExceptionRecord](raised.Record).Store(nt.ExceptionRecord{
			ExceptionCode: cmp.Or(req.Code, nt.STATUS_UNWIND), ExceptionAddress: guest.Addr(base.Rip)})
		if err != nil {
			return err
		}
	}
	flags, err := guest.Load32(raised.Record + offsetFlags)
	if err != nil {
		return err
	}
	flags = flags&^(nt.EXCEPTION_COLLIDED_UNWIND|nt.EXCEPTION_TARGET_UNWIND) | nt.EXCEPTION_UNWINDING
	if req.Frame == 0 {
		flags |= nt.EXCEPTION_EXIT_UNWIND
	}
	if err := guest.Store32(raised.Record+offsetFlags, flags); err != nil {
		return err
	}
	return d.walkTo(t, req, at, &raised, &base)
}

// walkTo unwinds frame by frame. current are the registers of the frame that is looked at, caller
// those of its caller.
func (d *Dispatcher) walkTo(t Thread, req UnwindRequest, at guest.Addr, raised *Raised,
	base *nt.Context) error {
	c := t.Context()
	var current Registers
	current.FromContext(base)
	for range maxFrames {
		before, ok := c.Frame(current.GPR[engine.RSP])
		if !ok {
			return nt.STATUS_BAD_STACK
		}
		caller := current
		f, found := d.Lookup(current.RIP)
		var u Unwound
		if err := d.unwind(nt.UNW_FLAG_UHANDLER, f, found, &caller, &u); err != nil {
			return err
		}
		disp := nt.DispatcherContext{ControlPc: uint64(current.RIP), ImageBase: uint64(f.Base),
			FunctionEntry: f.At, EstablisherFrame: uint64(u.Establisher), TargetIp: uint64(req.IP),
			ContextRecord: raised.Context, LanguageHandler: u.Handler, HandlerData: u.Data}
		target := found && u.Establisher == req.Frame
		if found {
			if err := checkFrame(c, disp.EstablisherFrame, req.Frame); err != nil {
				return err
			}
		}
		extra := uint32(0)
		for disp.LanguageHandler != 0 {
			target = guest.Addr(disp.EstablisherFrame) == req.Frame
			if target {
				extra |= nt.EXCEPTION_TARGET_UNWIND
			}
			setFlags(raised.Record, extra, 0)
			current.GPR[engine.RAX] = req.Value
			frame := disp.EstablisherFrame
			from := site{t, at, d.UnwindReturn, at + offsetUnwindDispatcher}
			answer, _, err := d.callHandler(&from, raised, &disp, &current, base)
			if err != nil {
				return err
			}
			setFlags(raised.Record, 0, nt.EXCEPTION_COLLIDED_UNWIND|nt.EXCEPTION_TARGET_UNWIND)
			if answer == nt.ExceptionContinueSearch {
				break
			}
			if answer != nt.ExceptionCollidedUnwind || !above(c, disp.EstablisherFrame, frame) {
				return nt.STATUS_INVALID_DISPOSITION
			}
			if err := d.collided(&disp, &current); err != nil {
				return err
			}
			caller = current
			if err := d.caller(&disp, &caller); err != nil {
				return err
			}
			if err := checkFrame(c, disp.EstablisherFrame, req.Frame); err != nil {
				return err
			}
			disp.ContextRecord = raised.Context
			target = guest.Addr(disp.EstablisherFrame) == req.Frame
			extra = nt.EXCEPTION_COLLIDED_UNWIND
		}
		if target {
			return d.arrive(t, req, raised, disp.LanguageHandler != 0, &current, base)
		}
		if at, ok := c.Height(caller.GPR[engine.RSP]); !ok || at <= before {
			return nt.STATUS_BAD_STACK
		}
		current = caller
	}
	return nt.STATUS_BAD_STACK
}

// checkFrame refuses an establisher frame that is not on the stack, or beyond the target.
func checkFrame(c *engine.Context, frame uint64, target guest.Addr) error {
	_, ok := c.Height(frame)
	switch {
	case !ok || frame%8 != 0:
		return nt.STATUS_BAD_STACK
	case target != 0 && above(c, frame, uint64(target)):
		return nt.STATUS_INVALID_UNWIND_TARGET
	}
	return nil
}

// above says whether frame is outside of another one. What is not on the stack is compared by its
// address.
func above(c *engine.Context, frame, other uint64) bool {
	a, ok := c.Height(frame)
	b, also := c.Height(other)
	if !ok || !also {
		return frame > other
	}
	return a > b
}

// arrive goes on in the target frame. If its handler was called, that may have changed the CONTEXT.
func (d *Dispatcher) arrive(t Thread, req UnwindRequest, raised *Raised, called bool, r *Registers,
	base *nt.Context) error {
	w := *base
	if called {
		var err error
		if w, err = guest.Ptr[nt.Context](raised.Context).Load(); err != nil {
			return err
		}
		w.ContextFlags = base.ContextFlags
	} else {
		r.ToContext(&w)
	}
	w.Rax, w.Rip = req.Value, uint64(req.IP)
	Restore(t.Context(), &w)
	return nil
}
