package ntoskrnl

import (
	"errors"
	"fmt"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/seh"
	"github.com/drvhost/drvhost/pe"
)

// Exceptions in drivers: a handler of theirs takes one, or it is a bugcheck.

// Symbols of ntoskrnl.exe that language handlers return through.
const (
	symSearchReturn = "RtlpExecuteHandlerForException"
	symUnwindReturn = "RtlpExecuteHandlerForUnwind"
)

// addHandlerReturns puts them into ntoskrnl.exe: trampolines whose frames have handlers.
func addHandlerReturns(b *pe.Builder) {
	search, unwind := trampolineUnwind(), trampolineUnwind()
	search.Handler, search.OnException = "RtlpExceptionHandler", true
	unwind.Handler, unwind.OnException, unwind.OnUnwind = "RtlpUnwindHandler", true, true
	addTrampoline(b, symSearchReturn, search)
	addTrampoline(b, symUnwindReturn, unwind)
}

var rtlpHandlerExports = []Export{
	{Name: "RtlpExceptionHandler", Fn: fn4(rtlpExceptionHandler), Internal: true,
		MaxIRQL: anyIRQL, Support: Full,
		Params: "ExceptionRecord EstablisherFrame ContextRecord DispatcherContext"},
	{Name: "RtlpUnwindHandler", Fn: fn4(rtlpUnwindHandler), Internal: true,
		MaxIRQL: anyIRQL, Support: Full,
		Params: "ExceptionRecord EstablisherFrame ContextRecord DispatcherContext"},
}

func rtlpExceptionHandler(c *Call, record, frame, _, dispatcher guest.Addr) nt.ExceptionDisposition {
	answer, err := c.seh.NestedHandler(record, frame, dispatcher)
	c.Must(err)
	return answer
}

func rtlpUnwindHandler(c *Call, _, frame, _, dispatcher guest.Addr) nt.ExceptionDisposition {
	answer, err := c.seh.CollidedHandler(frame, dispatcher)
	c.Must(err)
	return answer
}

// startExceptions makes the dispatcher, when the built-in modules are there.
func (k *Kernel) startExceptions() {
	k.seh = &seh.Dispatcher{Tables: seh.Tables{Linker: k.Linker},
		SearchReturn: k.symbol(symSearchReturn), UnwindReturn: k.symbol(symUnwindReturn),
		CSpecific: k.symbol("__C_specific_handler")}
}

// sehThread is a thread as the dispatcher sees it.
type sehThread Call

// Context implements seh.Thread.
func (c *sehThread) Context() *engine.Context { return c.ctx }

// CallBelow implements seh.Thread.
func (c *sehThread) CallBelow(sp, trampoline, fn guest.Addr, args ...uint64) uint64 {
	return c.T.CallBelow(sp, trampoline, fn, args...)
}

// resume goes on with guest code as the context says, and does not return. The import call that
// made the Call which goes on is under way again.
func (c *Call) resume() {
	depth := c.T.Owner(guest.Addr(c.ctx.GPR[engine.RSP]))
	if index, ok := c.T.CallingImport(depth); ok && int(index) < len(c.rows) {
		c.row = &c.rows[index]
	}
	c.T.Resume()
}

// exception raises an exception in the driver, whose code is at rip: at the instruction that
// faulted, or behind a call of an export. It returns, but not out of an export, if the thread is to
// go on as its context says.
func (k *Kernel) exception(t *ke.Thread, status nt.Status, rip guest.Addr, info []uint64, what string) {
	c := t.Context()
	rec := nt.ExceptionRecord{ExceptionCode: status, ExceptionAddress: rip}
	rec.NumberParameters = uint32(min(len(info), len(rec.ExceptionInformation)))
	for i, v := range info[:rec.NumberParameters] {
		rec.ExceptionInformation[i] = uintptr(v)
	}
	if c.Resume == engine.ResumeFull {
		c.RIP = uint64(rip)
	} else {
		rec.ExceptionFlags = nt.EXCEPTION_NONCONTINUABLE
	}
	k.dispatch(t, rec, 0, what)
}

// dispatch is exception with a whole record, which may lie in guest memory already.
func (k *Kernel) dispatch(t *ke.Thread, rec nt.ExceptionRecord, record guest.Addr, what string) {
	c := t.Context()
	inExport := c.Resume != engine.ResumeFull
	outcome, raised, err := k.seh.Dispatch((*sehThread)(k.call(t)), rec, record, seh.Capture(c))
	if outcome == seh.Resumed {
		if inExport || t.Owner(guest.Addr(c.GPR[engine.RSP])) != t.Depth() {
			k.call(t).resume()
		}
		return
	}
	if raised.ExceptionCode != rec.ExceptionCode {
		what = "a handler of " + rec.ExceptionCode.String() + " wanted what cannot be"
	}
	k.unhandled(t, &raised, what, err)
}

// unhandled is the bugcheck of an exception that no handler took.
func (k *Kernel) unhandled(t *ke.Thread, rec *seh.Raised, what string, err error) {
	switch {
	case rec.ExceptionCode == nt.STATUS_ACCESS_VIOLATION && rec.NumberParameters == 2:
		what = k.describeAccess(uint64(rec.ExceptionInformation[1]),
			uint64(rec.ExceptionInformation[0]), rec.ExceptionAddress, what)
	case what == "":
		what = "at " + k.Where(rec.ExceptionAddress)
	}
	status, rip := uint64(rec.ExceptionCode), uint64(rec.ExceptionAddress)
	b := &ke.Bugcheck{Reason: rec.ExceptionCode.String() + ": " + what}
	var stack *seh.StackError
	switch {
	case errors.As(err, &stack):
		b.Code = nt.UNEXPECTED_KERNEL_MODE_TRAP
		b.Params = [4]uint64{trapDoubleFault, uint64(stack.RSP), rip, 0}
	case t.IRQL() >= nt.DISPATCH_LEVEL:
		b.Code = nt.KMODE_EXCEPTION_NOT_HANDLED
		b.Params = [4]uint64{status, rip, uint64(rec.ExceptionInformation[0]),
			uint64(rec.ExceptionInformation[1])}
	case t.Process == k.Ke.SystemProcess:
		b.Code = nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED
		b.Params = [4]uint64{status, rip, uint64(rec.Record), uint64(rec.Context)}
	default:
		b.Code = nt.SYSTEM_SERVICE_EXCEPTION
		b.Params = [4]uint64{status, rip, uint64(rec.Context), 0}
	}
	if err != nil {
		b.Reason += fmt.Sprintf("; the search for a handler ended: %v", err)
	}
	t.Crash(b)
}
