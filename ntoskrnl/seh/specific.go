// __C_specific_handler: the language handler of C's __try, by the scope table behind its address in
// the unwind data ("x64 exception handling", and the compilers that write it: a count, then for
// each scope the RVAs of its begin and end, of its filter or termination handler, and of its
// __except block).

package seh

import (
	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// scope is a row of a scope table. Target is 0 for a __finally; Handler is 1 for a filter that is
// the constant EXCEPTION_EXECUTE_HANDLER.
type scope struct {
	Begin, End, Handler, Target uint32
}

func (s *scope) covers(rva uint64) bool { return rva >= uint64(s.Begin) && rva < uint64(s.End) }

const (
	scopeSize = 16
	// maxScopes is more than a function can have: each covers an instruction at least.
	maxScopes = 1 << 16
)

// scopeTable gives a function's scope table.
func scopeTable(data guest.Addr) (count uint32, at func(i uint32) (scope, error), err error) {
	count, err = guest.Load32(data)
	if err == nil && count > maxScopes {
		err = &TableError{data, "has an impossible number of scopes"}
	}
	return count, func(i uint32) (scope, error) {
		return guest.Ptr[scope](data + 4 + scopeSize*guest.Addr(i)).Load()
	}, err
}

// CSpecificHandler is __C_specific_handler, called as an import. resumed says that a filter took
// the exception: the stack is unwound, and the thread's context says where it goes on. Errors are
// those of [Dispatcher.Unwind], and of guest memory.
func (d *Dispatcher) CSpecificHandler(t Thread, record, frame, context, dispatcher guest.Addr) (
	answer nt.ExceptionDisposition, resumed bool, err error) {
	from := site{thread: t, sp: guest.Addr(t.Context().GPR[engine.RSP])}
	return d.cSpecific(&from, record, frame, context, dispatcher)
}

// cSpecific is __C_specific_handler, with what it calls called from a place.
func (d *Dispatcher) cSpecific(from *site, record, frame, context, dispatcher guest.Addr) (
	answer nt.ExceptionDisposition, resumed bool, err error) {
	flags, err := guest.Load32(record + offsetFlags)
	if err != nil {
		return 0, false, err
	}
	disp, err := guest.Ptr[nt.DispatcherContext](dispatcher).Load()
	if err != nil {
		return 0, false, err
	}
	if flags&nt.EXCEPTION_UNWIND != 0 {
		return nt.ExceptionContinueSearch, false, d.terminate(from, flags, frame, dispatcher, &disp)
	}
	return d.filter(from, record, frame, context, &disp)
}

// filter looks for the __except block that takes an exception.
func (d *Dispatcher) filter(from *site, record, frame, context guest.Addr,
	disp *nt.DispatcherContext) (answer nt.ExceptionDisposition, resumed bool, err error) {
	count, at, err := scopeTable(disp.HandlerData)
	if err != nil {
		return 0, false, err
	}
	pc := disp.ControlPc - disp.ImageBase
	base := guest.Addr(disp.ImageBase)
	for i := disp.ScopeIndex; i < count; i++ {
		s, err := at(i)
		if err != nil {
			return 0, false, err
		}
		if !s.covers(pc) || s.Target == 0 {
			continue
		}
		verdict := nt.EXCEPTION_EXECUTE_HANDLER
		if s.Handler != 1 {
			filter := base + guest.Addr(s.Handler)
			if verdict, err = callFilter(from, filter, record, frame, context); err != nil {
				return 0, false, err
			}
		}
		if verdict < 0 {
			return nt.ExceptionContinueExecution, false, nil
		}
		if verdict > 0 {
			code, err := guest.Load32(record)
			if err != nil {
				return 0, false, err
			}
			req := UnwindRequest{Frame: frame, IP: base + guest.Addr(s.Target), Value: uint64(code),
				Record: record, Context: disp.ContextRecord}
			err = d.unwindBelow(from.thread, req, uint64(from.sp))
			return 0, err == nil, err
		}
	}
	return nt.ExceptionContinueSearch, false, nil
}

// callFilter calls a filter with EXCEPTION_POINTERS on the stack.
func callFilter(from *site, fn, record, frame, context guest.Addr) (int32, error) {
	at, err := place(from.thread.Context(), uint64(from.sp), sizeofPointers)
	if err != nil {
		return 0, err
	}
	p := nt.ExceptionPointers{ExceptionRecord: record, ContextRecord: context}
	if err := guest.Ptr[nt.ExceptionPointers](at).Store(p); err != nil {
		return 0, err
	}
	below := *from
	below.sp = at
	return int32(below.call(fn, uint64(at), uint64(frame), 0, 0)), nil
}

// terminate calls the termination handlers of the scopes that are left.
func (d *Dispatcher) terminate(from *site, flags uint32, frame, dispatcher guest.Addr,
	disp *nt.DispatcherContext) error {
	count, at, err := scopeTable(disp.HandlerData)
	if err != nil {
		return err
	}
	pc, target := disp.ControlPc-disp.ImageBase, disp.TargetIp-disp.ImageBase
	base := guest.Addr(disp.ImageBase)
	for i := disp.ScopeIndex; i < count; i++ {
		s, err := at(i)
		if err != nil {
			return err
		}
		if !s.covers(pc) {
			continue
		}
		if flags&nt.EXCEPTION_TARGET_UNWIND != 0 {
			// The unwind ends in this function: only scopes that are left are ended.
			inside, err := targetInside(count, at, &s, target)
			if err != nil {
				return err
			}
			if inside {
				return nil
			}
		}
		if s.Target != 0 {
			if flags&nt.EXCEPTION_TARGET_UNWIND != 0 && uint64(s.Target) == target {
				return nil // it goes to this scope's __except block
			}
			continue
		}
		// If the handler is left by an exception or an unwind, the next one is to come after it.
		if err := guest.Store32(dispatcher+offsetScopeIndex, i+1); err != nil {
			return err
		}
		from.call(base+guest.Addr(s.Handler), 1, uint64(frame), 0, 0)
	}
	return nil
}

// targetInside reports whether the place that an unwind goes to is inside the scope s, which may
// consist of several rows with the same handler and target.
func targetInside(count uint32, at func(uint32) (scope, error), s *scope, target uint64) (
	bool, error) {
	for i := range count {
		o, err := at(i)
		if err != nil {
			return false, err
		}
		if o.covers(target) && o.Handler == s.Handler && o.Target == s.Target {
			return true, nil
		}
	}
	return false, nil
}
