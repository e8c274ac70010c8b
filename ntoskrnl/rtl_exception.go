package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/seh"
)

// Exceptions and unwinding.
var rtlExceptionExports = []Export{
	{Name: "__C_specific_handler", Fn: fn4(cSpecificHandler),
		Params:  "ExceptionRecord EstablisherFrame ContextRecord DispatcherContext",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "_local_unwind", Fn: do2(localUnwind), Params: "frame target_ip", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "RtlCaptureContext", Code: codeCaptureContext, Params: "ContextRecord", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "RtlCaptureStackBackTrace", Fn: fn4(rtlCaptureStackBackTrace),
		Params: "FramesToSkip:d FramesToCapture:d BackTrace BackTraceHash", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "RtlLookupFunctionEntry", Fn: fn3(rtlLookupFunctionEntry),
		Params: "ControlPc ImageBase HistoryTable", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlPcToFileHeader", Fn: fn2(rtlPcToFileHeader), Params: "PcValue BaseOfImage",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlRaiseException", Fn: do1(rtlRaiseException), Params: "ExceptionRecord",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlRaiseStatus", Fn: do1(rtlRaiseStatus), Params: "Status:status", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "RtlRestoreContext", Fn: do2(rtlRestoreContext), Params: "ContextRecord ExceptionRecord",
		MaxIRQL: anyIRQL, Support: Partial,
		Note: "the exception codes STATUS_LONGJUMP and STATUS_UNWIND_CONSOLIDATE mean nothing"},
	{Name: "RtlUnwind", Fn: do4(rtlUnwind),
		Params: "TargetFrame TargetIp ExceptionRecord ReturnValue", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlUnwindEx", Fn: do6(rtlUnwindEx),
		Params:  "TargetFrame TargetIp ExceptionRecord ReturnValue ContextRecord HistoryTable",
		MaxIRQL: anyIRQL, Support: Partial,
		Note: "the exception code STATUS_UNWIND_CONSOLIDATE means nothing"},
	{Name: "RtlVirtualUnwind", Fn: fn8(rtlVirtualUnwind),
		Params: "HandlerType ImageBase ControlPc FunctionEntry ContextRecord HandlerData " +
			"EstablisherFrame ContextPointers", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlWalkFrameChain", Fn: fn3(rtlWalkFrameChain), Params: "Callers Count:d Flags",
		MaxIRQL: anyIRQL, Support: Full},
}

// cSpecificHandler is the language handler of C's __try.
//
//	EXCEPTION_DISPOSITION __C_specific_handler(PEXCEPTION_RECORD ExceptionRecord,
//	    PVOID EstablisherFrame, PCONTEXT ContextRecord, PDISPATCHER_CONTEXT DispatcherContext)
//
// "__C_specific_handler function (winnt.h)".
func cSpecificHandler(c *Call, record, frame, context, dispatcher guest.Addr) nt.ExceptionDisposition {
	answer, resumed, err := c.seh.CSpecificHandler((*sehThread)(c), record, frame, context, dispatcher)
	c.Must(err)
	if resumed {
		c.resume()
	}
	return answer
}

// localUnwind leaves the __try blocks of a function for a place in it, as goto and return do.
//
//	void _local_unwind(void *frame, void *target_ip)
func localUnwind(c *Call, frame, ip guest.Addr) {
	c.unwind(seh.UnwindRequest{Frame: frame, IP: ip})
}

// unwind unwinds, and does not return.
func (c *Call) unwind(req seh.UnwindRequest) {
	c.Must(c.seh.Unwind((*sehThread)(c), req))
	c.resume()
}

// rtlRaiseStatus raises an exception of which nothing is known but its status. It cannot be
// continued.
//
//	VOID RtlRaiseStatus(NTSTATUS Status)
func rtlRaiseStatus(c *Call, status nt.Status) { c.Raise(status) }

// rtlRaiseException raises an exception that the caller describes. The address is the caller's. It
// returns if a filter asks to go on.
//
//	VOID RtlRaiseException(PEXCEPTION_RECORD ExceptionRecord)
//
// "RtlRaiseException function (winnt.h)".
func rtlRaiseException(c *Call, record guest.Addr) {
	rec := Load[nt.ExceptionRecord](c, record)
	rec.ExceptionAddress = c.Caller()
	c.dispatch(c.T, rec, record, "raised by "+c.row.Name+" at "+c.Where(c.Caller()))
}

// rtlLookupFunctionEntry finds the RUNTIME_FUNCTION of code, and its image's base. Without one the
// code is a leaf function's, or nobody's; then the result is null.
//
//	PRUNTIME_FUNCTION RtlLookupFunctionEntry(DWORD64 ControlPc, PDWORD64 ImageBase,
//	    PUNWIND_HISTORY_TABLE HistoryTable)
//
// "RtlLookupFunctionEntry function (winnt.h)".
func rtlLookupFunctionEntry(c *Call, pc, base, _ guest.Addr) guest.Addr {
	image := guest.Addr(0)
	if m, ok := c.Linker.At(pc); ok {
		image = m.Base()
	}
	f, _ := c.seh.Lookup(pc)
	Store(c, base, image)
	return f.At
}

// rtlPcToFileHeader finds the image that an address lies in, null if in none.
//
//	PVOID RtlPcToFileHeader(PVOID PcValue, PVOID *BaseOfImage)
//
// "RtlPcToFileHeader function (winnt.h)".
func rtlPcToFileHeader(c *Call, pc, base guest.Addr) guest.Addr {
	image := guest.Addr(0)
	if m, ok := c.Linker.At(pc); ok {
		image = m.Base()
	}
	Store(c, base, image)
	return image
}

// rtlVirtualUnwind undoes a function's frame in a CONTEXT. It gives the function's handler of the
// kind that was asked for, if control was where that counts.
//
//	PEXCEPTION_ROUTINE RtlVirtualUnwind(DWORD HandlerType, DWORD64 ImageBase, DWORD64 ControlPc,
//	    PRUNTIME_FUNCTION FunctionEntry, PCONTEXT ContextRecord, PVOID *HandlerData,
//	    PDWORD64 EstablisherFrame, PKNONVOLATILE_CONTEXT_POINTERS ContextPointers)
//
// "RtlVirtualUnwind function (winnt.h)".
func rtlVirtualUnwind(c *Call, kind uint32, base, pc, entry, context, data, frame,
	pointers guest.Addr) guest.Addr {
	w := Load[nt.Context](c, context)
	f, err := seh.ReadFunction(base, entry)
	c.Must(err)
	var r seh.Registers
	r.FromContext(&w)
	var saved seh.Saved
	u, err := c.seh.VirtualUnwind(uint8(kind), pc, f, &r, &saved)
	c.Must(err)
	r.ToContext(&w)
	Store(c, context, w)
	Store(c, frame, u.Establisher)
	if u.Handler != 0 {
		Store(c, data, u.Data)
	}
	if pointers != 0 {
		p := Load[nt.KNonvolatileContextPointers](c, pointers)
		for i := range 16 {
			if saved.GPR[i] != 0 {
				p.IntegerContext[i] = saved.GPR[i]
			}
			if saved.XMM[i] != 0 {
				p.FloatingContext[i] = saved.XMM[i]
			}
		}
		Store(c, pointers, p)
	}
	return u.Handler
}

// rtlUnwind unwinds to a frame, and goes on at a place in it with the value in RAX.
//
//	VOID RtlUnwind(PVOID TargetFrame, PVOID TargetIp, PEXCEPTION_RECORD ExceptionRecord,
//	    PVOID ReturnValue)
//
// "RtlUnwind function (winnt.h)".
func rtlUnwind(c *Call, frame, ip, record guest.Addr, value uint64) {
	rtlUnwindEx(c, frame, ip, record, value, 0, 0)
}

// rtlUnwindEx is rtlUnwind with a CONTEXT that it may use.
//
//	VOID RtlUnwindEx(PVOID TargetFrame, PVOID TargetIp, PEXCEPTION_RECORD ExceptionRecord,
//	    PVOID ReturnValue, PCONTEXT ContextRecord, PUNWIND_HISTORY_TABLE HistoryTable)
//
// "RtlUnwindEx function (winnt.h)".
func rtlUnwindEx(c *Call, frame, ip, record guest.Addr, value uint64, context, _ guest.Addr) {
	c.unwind(seh.UnwindRequest{Frame: frame, IP: ip, Value: value, Record: record, Context: context})
}

// rtlRestoreContext goes on with the registers of a CONTEXT.
//
//	VOID RtlRestoreContext(PCONTEXT ContextRecord, PEXCEPTION_RECORD ExceptionRecord)
//
// "RtlRestoreContext function (winnt.h)".
func rtlRestoreContext(c *Call, context, _ guest.Addr) {
	w := Load[nt.Context](c, context)
	seh.Restore(c.ctx, &w)
	c.resume()
}

// callers gives the return addresses on the stack of the call, from the caller's on.
func (c *Call) callers(skip, n int) []guest.Addr {
	frames := seh.Walk(c.ctx, c.Linker, skip+n)
	frames = frames[min(skip, len(frames)):]
	at := make([]guest.Addr, len(frames))
	for i, f := range frames {
		at[i] = f.RIP
	}
	return at
}

// maxBackTrace bounds a back trace: no stack has more frames that mean something.
const maxBackTrace = 4096

// rtlCaptureStackBackTrace gives the return addresses on the stack, and their sum as a hash.
//
//	USHORT RtlCaptureStackBackTrace(ULONG FramesToSkip, ULONG FramesToCapture, PVOID *BackTrace,
//	    PULONG BackTraceHash)
//
// "RtlCaptureStackBackTrace function (ntifs.h)".
func rtlCaptureStackBackTrace(c *Call, skip, n uint32, to, hash guest.Addr) uint16 {
	at := c.callers(int(min(skip, maxBackTrace)), int(min(n, maxBackTrace)))
	sum := uint32(0)
	for _, a := range at {
		sum += uint32(a)
	}
	c.Must(guest.WriteSlice(to, at))
	StoreOpt(c, hash, sum)
	return uint16(len(at))
}

// rtlWalkFrameChain gives the return addresses on the stack. Bit 0 of the flags asks for the user
// part of it, which no thread has; bits 8 to 15 are frames to skip.
//
//	ULONG RtlWalkFrameChain(PVOID *Callers, ULONG Count, ULONG Flags)
func rtlWalkFrameChain(c *Call, to guest.Addr, n, flags uint32) uint32 {
	if flags&1 != 0 {
		return 0
	}
	at := c.callers(int(flags>>8&0xFF), int(min(n, maxBackTrace)))
	c.Must(guest.WriteSlice(to, at))
	return uint32(len(at))
}

// codeCaptureContext is RtlCaptureContext, in context_amd64.s: no thunk could leave every register
// as it is.
var codeCaptureContext = &Code{Text: leafText(addrCaptureContext)}

// addrCaptureContext is where that is in Go's text.
var addrCaptureContext *byte

// The layout of CONTEXT, for context_amd64.s.
const (
	contextFlags    = 0x30
	contextMxCsr    = 0x34
	contextSegments = 0x38
	contextEFlags   = 0x44
	contextGPR      = 0x78
	contextRip      = 0xF8
	contextFltSave  = 0x100

	contextFull = nt.CONTEXT_FULL | nt.CONTEXT_SEGMENTS
)
