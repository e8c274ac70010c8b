// The first phase of an exception: the search for a handler.

package seh

import (
	"fmt"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Thread is what a Dispatcher needs of the guest thread that it works for.
type Thread interface {
	// Context gives the thread's registers.
	Context() *engine.Context
	// CallBelow calls a guest function whose frames begin below sp, and which returns through the
	// trampoline, or through the usual one if that is 0. An unwinder gets from there to the stack
	// as it is now.
	CallBelow(sp, trampoline, fn guest.Addr, args ...uint64) uint64
}

// Dispatcher dispatches exceptions and unwinds.
//
// Handlers run on the stack of the code that they handle, below it. They return through two pieces
// of code in ntoskrnl.exe, whose unwind data has handlers of their own, so that whoever walks the
// stack out of a handler learns where it was called:
//
//	code that raised an exception
//	  an exceptionFrame: CONTEXT, EXCEPTION_RECORD, DISPATCHER_CONTEXT
//	  a call frame; argument 5 is the DISPATCHER_CONTEXT again    ◄── its handler: NestedException
//	    a language handler
//	      the filter that it calls
//	      or, called by RtlUnwindEx, likewise:
//	        a call frame                                          ◄── its handler: CollidedUnwind
//	          a language handler
//	            the termination handler that it calls
//
// The handler of C is the kernel's own, so it is not called through the guest: its filters and
// termination handlers stand directly in place of language handlers.
type Dispatcher struct {
	Tables
	// SearchReturn and UnwindReturn are that code. Their handlers must come to NestedHandler and
	// CollidedHandler.
	SearchReturn, UnwindReturn guest.Addr
	// CSpecific is the export __C_specific_handler, which must come to CSpecificHandler.
	CSpecific guest.Addr
}

// site is where handlers are called from: what is below sp is free.
type site struct {
	thread     Thread
	sp         guest.Addr
	trampoline guest.Addr // 0 is the usual one
	dispatcher guest.Addr // argument 5
}

// call calls a function with up to 4 arguments.
func (s *site) call(fn guest.Addr, a, b, c, d uint64) uint64 {
	return s.thread.CallBelow(s.sp, s.trampoline, fn, a, b, c, d, uint64(s.dispatcher))
}

// exceptionFrame is what an exception puts on the stack. All is aligned to 16 bytes.
type exceptionFrame struct {
	Context    nt.Context         // of the exception
	Unwound    nt.Context         // of the frame that is being looked at
	Record     nt.ExceptionRecord // unless there was one
	_          [8]byte
	Dispatcher nt.DispatcherContext
}

// Raised is an exception as it was raised, and says where the guest can see it. It may be another
// one than at first: a handler that continues what cannot be continued makes one of its own.
type Raised struct {
	nt.ExceptionRecord
	Record, Context guest.Addr
}

// Outcome is how the first phase ended.
type Outcome int

// The outcomes.
const (
	// Unhandled: nobody took the exception.
	Unhandled Outcome = iota
	// Resumed: the thread's context says where it goes on. A filter has repaired what was wrong, or
	// the stack was unwound to an __except block.
	Resumed
)

// StackError says that there is no room for an exception on the guest stack: it is used up, or the
// stack pointer is somewhere else.
type StackError struct {
	RSP guest.Addr
}

// Error names the stack pointer.
func (e *StackError) Error() string {
	return fmt.Sprintf("no room for an exception on the stack (RSP is %v)", e.RSP)
}

// maxFrames bounds every walk. A stack of 16 MiB has fewer.
const maxFrames = 1 << 21

// Dispatch raises an exception: it calls the handlers of the frames that lead to w, which is where
// the thread's code was, the innermost first. record, if not 0, is the EXCEPTION_RECORD in guest
// memory, and rec what it says.
//
// A language handler that unwinds does not return, and neither does Dispatch then. Of Unhandled the
// error says what is wrong with the stack, if that is why no handler was found. A *StackError comes
// before anything was done.
// "x64 exception handling", "RtlRaiseException".
func (d *Dispatcher) Dispatch(t Thread, rec nt.ExceptionRecord, record guest.Addr, w nt.Context) (
	Outcome, Raised, error) {
	return d.dispatch(t, rec, record, w, innermost(t.Context(), &w))
}

// innermost gives the end of the stack that is in use, for an exception whose context is w.
func innermost(c *engine.Context, w *nt.Context) uint64 {
	now := c.GPR[engine.RSP]
	if w.Rsp > uint64(c.StackBase) || w.Rsp < uint64(c.StackLimit) {
		if _, ok := c.Height(w.Rsp); ok {
			return now // w is on the stack that this one goes on from
		}
	}
	return min(w.Rsp, now)
}

// dispatch is Dispatch with everything below an address.
func (d *Dispatcher) dispatch(t Thread, rec nt.ExceptionRecord, record guest.Addr, w nt.Context,
	below uint64) (Outcome, Raised, error) {
	raised, at, err := put(t.Context(), rec, record, &w, below)
	if err != nil {
		return Unhandled, raised, err
	}
	outcome, again, err := d.search(t, at, &raised, w)
	if again != 0 {
		// The exception cannot end as the handler wanted: that is the next one.
		next := nt.ExceptionRecord{ExceptionCode: again, ExceptionAddress: rec.ExceptionAddress,
			ExceptionFlags: nt.EXCEPTION_NONCONTINUABLE, ExceptionRecord: raised.Record}
		return d.dispatch(t, next, 0, w, uint64(at))
	}
	return outcome, raised, err
}

// Describe puts an exception on the stack that no handler is to see. The error is a *StackError.
func (d *Dispatcher) Describe(t Thread, rec nt.ExceptionRecord, w nt.Context) (Raised, error) {
	raised, _, err := put(t.Context(), rec, 0, &w, innermost(t.Context(), &w))
	return raised, err
}

// put puts an exception on the stack, in an exceptionFrame, whose address it gives too.
func put(c *engine.Context, rec nt.ExceptionRecord, record guest.Addr, w *nt.Context, below uint64) (
	raised Raised, at guest.Addr, err error) {
	raised = Raised{ExceptionRecord: rec, Record: record}
	if at, err = place(c, below, sizeofExceptionFrame); err != nil {
		return raised, 0, err
	}
	raised.Context = at + offsetContext
	if record == 0 {
		raised.Record = at + offsetRecord
	}
	if err = guest.Ptr[nt.ExceptionRecord](raised.Record).Store(rec); err != nil {
		return raised, at, err
	}
	return raised, at, guest.Ptr[nt.Context](raised.Context).Store(*w)
}

// place finds room for size bytes on the stack below an address, aligned to 16 bytes, and for the
// call of a handler below that.
func place(c *engine.Context, below, size uint64) (guest.Addr, error) {
	const call = 0x200
	at := (below - size) &^ 15
	if below > uint64(c.StackBase) || below < uint64(c.StackLimit)+size+call {
		return 0, &StackError{guest.Addr(below)}
	}
	return guest.Addr(at), nil
}

// search calls the exception handlers of the frames above w. again is an exception that comes out
// of a handler's answer.
func (d *Dispatcher) search(t Thread, at guest.Addr, raised *Raised, w nt.Context) (outcome Outcome,
	again nt.Status, err error) {
	c := t.Context()
	var regs Registers
	regs.FromContext(&w)
	// The frame up to which a nested exception was seen, and its height.
	nested, nestedAt := uint64(0), uint64(0)
	for range maxFrames {
		before, ok := c.Frame(regs.GPR[engine.RSP])
		if !ok {
			break
		}
		disp := nt.DispatcherContext{ControlPc: uint64(regs.RIP)}
		f, found := d.Lookup(regs.RIP)
		var u Unwound
		if err := d.unwind(nt.UNW_FLAG_EHANDLER, f, found, &regs, &u); err != nil {
			return Unhandled, 0, err
		}
		disp.ImageBase, disp.FunctionEntry = uint64(f.Base), f.At
		disp.EstablisherFrame = uint64(u.Establisher)
		disp.LanguageHandler, disp.HandlerData = u.Handler, u.Data
		for disp.LanguageHandler != 0 {
			frame := disp.EstablisherFrame
			height, ok := c.Height(frame)
			if !ok || frame%8 != 0 {
				setFlags(raised.Record, nt.EXCEPTION_STACK_INVALID, 0)
				return Unhandled, 0, nil
			}
			if nested != 0 && height <= nestedAt {
				setFlags(raised.Record, nt.EXCEPTION_NESTED_CALL, 0)
			}
			disp.ContextRecord = at + offsetUnwound
			from := site{t, at, d.SearchReturn, at + offsetDispatcher}
			answer, resumed, err := d.callHandler(&from, raised, &disp, &regs, &w)
			if err != nil || resumed {
				return outcomeOf(resumed), 0, err
			}
			if frame == nested {
				nested = 0
				setFlags(raised.Record, 0, nt.EXCEPTION_NESTED_CALL)
			}
			switch answer {
			case nt.ExceptionContinueExecution:
				return d.goOn(t, raised)
			case nt.ExceptionContinueSearch:
			case nt.ExceptionNestedException:
				setFlags(raised.Record, nt.EXCEPTION_NESTED_CALL, 0)
				if at, ok := c.Height(disp.EstablisherFrame); ok && (nested == 0 || at > nestedAt) {
					nested, nestedAt = disp.EstablisherFrame, at
				}
			case nt.ExceptionCollidedUnwind:
				// The frames up to there have been unwound already, as have been the scopes of the
				// frame there before ScopeIndex.
				if err := d.collided(&disp, &regs); err != nil {
					return Unhandled, 0, err
				}
				if at, ok := c.Height(disp.EstablisherFrame); !ok || at <= height {
					return Unhandled, 0, nil
				}
				if err := d.caller(&disp, &regs); err != nil {
					return Unhandled, 0, err
				}
				continue
			default:
				return Unhandled, nt.STATUS_INVALID_DISPOSITION, nil
			}
			break
		}
		if at, ok := c.Height(regs.GPR[engine.RSP]); !ok || at <= before {
			break
		}
	}
	return Unhandled, 0, nil
}

// goOn ends an exception whose filter asked to go on.
func (d *Dispatcher) goOn(t Thread, raised *Raised) (Outcome, nt.Status, error) {
	flags, err := guest.Load32(raised.Record + offsetFlags)
	if err != nil {
		return Unhandled, 0, err
	}
	if flags&nt.EXCEPTION_NONCONTINUABLE != 0 {
		return Unhandled, nt.STATUS_NONCONTINUABLE_EXCEPTION, nil
	}
	w, err := guest.Ptr[nt.Context](raised.Context).Load()
	if err != nil {
		return Unhandled, 0, err
	}
	Restore(t.Context(), &w)
	return Resumed, 0, nil
}

func outcomeOf(resumed bool) Outcome {
	if resumed {
		return Resumed
	}
	return Unhandled
}

// callHandler calls the language handler in disp, and reads disp again, which the handler may have
// changed. regs are the registers for its ContextRecord, and w has what they have not. resumed says
// that the handler has unwound, and where the thread goes on.
func (d *Dispatcher) callHandler(from *site, raised *Raised, disp *nt.DispatcherContext,
	regs *Registers, w *nt.Context) (answer nt.ExceptionDisposition, resumed bool, err error) {
	r := *w
	regs.ToContext(&r)
	if err := guest.Ptr[nt.Context](disp.ContextRecord).Store(r); err != nil {
		return 0, false, err
	}
	p := guest.Ptr[nt.DispatcherContext](from.dispatcher)
	if err := p.Store(*disp); err != nil {
		return 0, false, err
	}
	frame := guest.Addr(disp.EstablisherFrame)
	if d.isCSpecific(disp.LanguageHandler) {
		answer, resumed, err = d.cSpecific(from, raised.Record, frame, raised.Context, from.dispatcher)
		if err != nil || resumed {
			return answer, resumed, err
		}
	} else {
		answer = nt.ExceptionDisposition(from.call(disp.LanguageHandler, uint64(raised.Record),
			uint64(frame), uint64(raised.Context), uint64(from.dispatcher)))
	}
	*disp, err = p.Load()
	return answer, false, err
}

// isCSpecific reports whether a handler is __C_specific_handler: that, or a jump through an
// import's slot that has it.
func (d *Dispatcher) isCSpecific(handler guest.Addr) bool {
	const jump = 6 // FF 25, and a distance of 32 bits
	var code [8]byte
	if handler == d.CSpecific {
		return true
	}
	if guest.Read(code[:jump], handler) != nil || code[0] != 0xFF || code[1] != 0x25 {
		return false
	}
	slot := handler + jump + guest.Addr(int64(le32(code[:], 2)))
	to, err := guest.LoadAddr(slot)
	return err == nil && to == d.CSpecific
}

// collided takes the registers of the frame that a collided unwind was at.
func (d *Dispatcher) collided(disp *nt.DispatcherContext, regs *Registers) error {
	w, err := guest.Ptr[nt.Context](disp.ContextRecord).Load()
	if err != nil {
		return err
	}
	regs.FromContext(&w)
	regs.RIP = guest.Addr(disp.ControlPc)
	return nil
}

// caller unwinds from the frame that disp is about.
func (d *Dispatcher) caller(disp *nt.DispatcherContext, regs *Registers) error {
	f, err := ReadFunction(guest.Addr(disp.ImageBase), disp.FunctionEntry)
	if err != nil {
		return err
	}
	_, err = d.VirtualUnwind(nt.UNW_FLAG_NHANDLER, guest.Addr(disp.ControlPc), f, regs, nil)
	return err
}

// setFlags changes the flags of the EXCEPTION_RECORD at rec. One that has gone stays as it is: who
// reads it next has the error.
func setFlags(rec guest.Addr, set, clear uint32) {
	flags, err := guest.Load32(rec + offsetFlags)
	if err == nil {
		_ = guest.Store32(rec+offsetFlags, flags&^clear|set)
	}
}

// dispatcherArg is where, from the frame of SearchReturn and UnwindReturn, argument 5 is.
const dispatcherArg = 0x20

// NestedHandler is the exception handler of SearchReturn: the exception is one of a handler, so the
// frame that this handles has an exception already. It tells that frame, except to an unwind.
func (d *Dispatcher) NestedHandler(record, frame, disp guest.Addr) (nt.ExceptionDisposition, error) {
	flags, err := guest.Load32(record + offsetFlags)
	if err != nil || flags&nt.EXCEPTION_UNWIND != 0 {
		return nt.ExceptionContinueSearch, err
	}
	old, err := oldDispatcher(frame)
	if err != nil {
		return 0, err
	}
	if err := guest.Store64(disp+offsetEstablisher, old.EstablisherFrame); err != nil {
		return 0, err
	}
	return nt.ExceptionNestedException, nil
}

// CollidedHandler is the handler of UnwindReturn: what comes here has left a handler that an unwind
// had called, and is to go on where that unwind was, in its stead.
func (d *Dispatcher) CollidedHandler(frame, disp guest.Addr) (nt.ExceptionDisposition, error) {
	old, err := oldDispatcher(frame)
	if err != nil {
		return 0, err
	}
	p := guest.Ptr[nt.DispatcherContext](disp)
	mine, err := p.Load()
	if err != nil {
		return 0, err
	}
	old.TargetIp = mine.TargetIp
	return nt.ExceptionCollidedUnwind, p.Store(old)
}

func oldDispatcher(frame guest.Addr) (nt.DispatcherContext, error) {
	at, err := guest.LoadAddr(frame + dispatcherArg)
	if err != nil {
		return nt.DispatcherContext{}, err
	}
	return guest.Ptr[nt.DispatcherContext](at).Load()
}
