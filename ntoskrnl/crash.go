package ntoskrnl

import (
	"strings"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/seh"
)

// What a kernel remembers for the report on its crash, and what it finds then.

// recentCalls is how many import calls are remembered, of each processor.
const recentCalls = 64

// recentCall is an import call that was made.
type recentCall struct {
	thread uintptr
	caller guest.Addr
	args   [4]uint64
	number uint64 // in the order of the processor's calls, from 1
	index  uint32 // of the row
}

// callRing is the last import calls on one processor. Whoever holds the processor writes to it.
type callRing struct {
	next  uint64
	calls [recentCalls]recentCall
	_     [64]byte // no two processors' on one cache line
}

// note remembers a call.
func (r *callRing) note(c *Call, index uint32) {
	r.next++
	e := &r.calls[r.next%recentCalls]
	e.number, e.index, e.thread = r.next, index, c.T.ID
	e.caller, _ = c.ctx.ReturnAddress()
	g := &c.ctx.GPR
	e.args = [4]uint64{g[engine.RCX], g[engine.RDX], g[engine.R8], g[engine.R9]}
}

// CalledExport is an import call that was made before a crash.
type CalledExport struct {
	Thread uintptr
	Caller guest.Addr
	Name   string
	Args   []uint64 // those in registers: up to four
	Params []string // their names
}

// RecentCalls gives the last import calls on a processor, the newest first. It is for when nothing
// runs any more.
func (k *Kernel) RecentCalls(processor int) (list []CalledExport) {
	if processor < 0 || processor >= len(k.rings) {
		return nil
	}
	r := &k.rings[processor]
	for i := range uint64(recentCalls) {
		e := &r.calls[(r.next-i)%recentCalls]
		if e.number == 0 || e.number != r.next-i {
			break
		}
		c := CalledExport{Thread: e.thread, Caller: e.caller, Name: "an unknown import"}
		if int(e.index) < len(k.rows) {
			row := &k.rows[e.index]
			c.Name = row.Called()
			for _, p := range strings.Fields(row.Params) {
				name, _, _ := strings.Cut(p, ":")
				c.Params = append(c.Params, name)
			}
		} else if e.index >= firstGo {
			c.Name = k.goName(e.index)
		} else if all := *k.reports.Load(); e.index >= firstReport && int(e.index)-firstReport < len(all) {
			r := &all[e.index-firstReport]
			c.Name = r.module + "!" + r.name
		}
		n := min(len(c.Params), len(e.args))
		c.Args, c.Params = append([]uint64{}, e.args[:n]...), c.Params[:n]
		list = append(list, c)
	}
	return list
}

// StackFrame is a frame of a driver's stack.
type StackFrame struct {
	RIP, RSP guest.Addr
	Module   string     // "" for a place in none
	Offset   uint32     // in the module
	Symbol   string     // the nearest symbol or export before it, or ""
	Distance uint32     // from there
	Start    guest.Addr // of the function, if .pdata knows it
}

// maxStackFrames bounds the trace of a report.
const maxStackFrames = 64

// StackTrace gives the frames of a thread that has crashed, the innermost first, as .pdata has them.
// It must be called where the crash is told, before the thread's stack is used again.
func (k *Kernel) StackTrace(b *ke.Bugcheck) (frames []StackFrame) {
	t := k.Ke.ThreadAt(b.Thread)
	if t == nil {
		return nil
	}
	for _, f := range seh.Walk(t.Context(), k.Linker, maxStackFrames) {
		s := StackFrame{RIP: f.RIP, RSP: f.RSP}
		if f.Module != nil {
			s.Module, s.Offset = f.Module.Name(), f.Offset
			if f.Function != 0 {
				s.Start = f.Module.Addr(f.Function)
			}
			if near, ok := f.Module.Image().NearestSymbol(f.Offset); ok {
				s.Symbol, s.Distance = near.Name, f.Offset-near.RVA
			}
			builtIn := f.Module.Image().EntryRVA == 0 // whose other functions have no names
			for _, e := range f.Module.Image().Exports() {
				if builtIn && e.RVA < f.Function {
					continue
				}
				if e.Forwarder == "" && e.RVA <= f.Offset && f.Offset-e.RVA < s.nearest() {
					s.Symbol, s.Distance = e.Name, f.Offset-e.RVA
				}
			}
		}
		frames = append(frames, s)
	}
	return frames
}

// nearest is the distance that a nearer export has to beat.
func (s *StackFrame) nearest() uint32 {
	const far = 64 << 10 // bytes: what is further away says nothing
	if s.Symbol == "" {
		return far
	}
	return s.Distance
}

// LoadedModule is a module of the kernel's.
type LoadedModule struct {
	Name string
	Base guest.Addr
	Size uintptr
}

// LoadedModules gives the modules, in the order of loading.
func (k *Kernel) LoadedModules() (list []LoadedModule) {
	for _, m := range k.Linker.Modules() {
		list = append(list, LoadedModule{m.Name(), m.Base(), m.Size()})
	}
	return list
}

// bugCheckMeanings say in a sentence what a bugcheck is, and what its parameters are, by the pages
// of "Bug Check Code Reference" in the documentation.
var bugCheckMeanings = map[nt.BugCheck]struct {
	what   string
	params [4]string
}{
	nt.SYSTEM_SERVICE_EXCEPTION: {"An exception in a request's dispatch was handled by nobody.",
		[4]string{"exception code", "address of the instruction", "CONTEXT", ""}},
	nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED: {"An exception in a system thread was handled by nobody.",
		[4]string{"exception code", "address of the instruction", "EXCEPTION_RECORD", "CONTEXT"}},
	nt.KMODE_EXCEPTION_NOT_HANDLED: {"An exception in kernel mode was handled by nobody.",
		[4]string{"exception code", "address of the instruction", "first parameter", "second parameter"}},
	nt.IRQL_NOT_LESS_OR_EQUAL: {"Memory or a routine was used at an IRQL that is too high for it.",
		[4]string{"address", "IRQL", "access", "address of the instruction"}},
	nt.DRIVER_IRQL_NOT_LESS_OR_EQUAL: {"A driver used memory at an IRQL that is too high for it.",
		[4]string{"address", "IRQL", "access", "address of the instruction"}},
	nt.PAGE_FAULT_IN_NONPAGED_AREA: {"Memory was used that is not there.",
		[4]string{"address", "access", "address of the instruction", "kind"}},
	nt.UNEXPECTED_KERNEL_MODE_TRAP: {"A trap came that the kernel may not have; 8 is a stack overflow.",
		[4]string{"trap number", "", "", ""}},
	nt.KERNEL_SECURITY_CHECK_FAILURE: {"A check that a compiler or the kernel makes found corruption.",
		[4]string{"kind of corruption", "trap frame", "EXCEPTION_RECORD", ""}},
	nt.BAD_POOL_CALLER: {"A pool request was wrong: of a block, a tag, a type or an IRQL.",
		[4]string{"kind", "", "", ""}},
	nt.MULTIPLE_IRP_COMPLETE_REQUESTS: {"An IRP was completed that was completed, or freed, before.",
		[4]string{"IRP", "", "", ""}},
	nt.NO_MORE_IRP_STACK_LOCATIONS: {"An IRP was passed to more drivers than it has stack locations.",
		[4]string{"IRP", "", "", ""}},
	nt.CANCEL_STATE_IN_COMPLETED_IRP: {"An IRP was completed with its cancel routine still set.",
		[4]string{"IRP", "cancel routine", "", ""}},
	nt.DRIVER_VERIFIER_IOMANAGER_VIOLATION: {"A driver broke the rules of IRPs, as Driver Verifier has them.",
		[4]string{"kind", "", "", ""}},
	nt.DRIVER_VERIFIER_DETECTED_VIOLATION: {"A driver did what Driver Verifier forbids.",
		[4]string{"kind", "", "", ""}},
	nt.DPC_WATCHDOG_VIOLATION: {"A DPC, or a stay at DISPATCH_LEVEL, took too long.",
		[4]string{"kind: 0 a DPC, 1 the level", "time", "limit", ""}},
	nt.IRQL_GT_ZERO_AT_SYSTEM_SERVICE: {"A routine came back from a request at a raised IRQL.",
		[4]string{"address", "IRQL", "", ""}},
	nt.APC_INDEX_MISMATCH: {"A routine came back in a critical region, or attached to a process.",
		[4]string{"address", "ApcStateIndex", "SpecialApcDisable and KernelApcDisable", ""}},
	nt.REFERENCE_BY_POINTER: {"An object's reference count does not add up.",
		[4]string{"object type", "object", "kind", "count"}},
	nt.TIMER_OR_DPC_INVALID: {"A timer or DPC was found where none may be: in memory that was freed.",
		[4]string{"kind", "object", "start of the range", "end of the range"}},
	nt.ATTEMPTED_WRITE_TO_READONLY_MEMORY: {"A driver wrote to memory that is read-only.",
		[4]string{"address", "page table entry", "", ""}},
	nt.ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY: {"A driver ran memory that holds no code.",
		[4]string{"address", "page table entry", "", ""}},
	nt.THREAD_NOT_MUTEX_OWNER: {"A thread released a mutex that it does not own.",
		[4]string{"thread", "mutex", "", ""}},
	nt.INVALID_KERNEL_HANDLE: {"A kernel handle was closed that is not open, or protected.",
		[4]string{"handle", "kind", "", ""}},
	nt.DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS: {
		"Something of a driver's was still to run when it was unloaded.", [4]string{"address", "", "", ""}},
}

// BugCheckMeaning says what a bugcheck is, and what its parameters are; all is "" for one that is not
// known.
func BugCheckMeaning(code nt.BugCheck) (what string, params [4]string) {
	if code == ke.HostFault {
		return "drvhost itself failed; the driver is not to blame.", params
	}
	m := bugCheckMeanings[code]
	return m.what, m.params
}
