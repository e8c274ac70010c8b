package ntoskrnl

import (
	"fmt"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/seh"
)

// What an access was, in the numbers of exception records.
const (
	accessRead    = 0
	accessWrite   = 1
	accessExecute = 8
)

func accessVerb(op uint64) string {
	switch op {
	case accessWrite:
		return "write to"
	case accessExecute:
		return "jump to"
	}
	return "read from"
}

// fault handles an instruction fault of driver code: instructions that a kernel may execute are
// emulated, everything else is an exception in the driver.
func (k *Kernel) fault(t *ke.Thread, f *engine.Fault) {
	if k.emulate(t, f) {
		return
	}
	rip := guest.Addr(t.Context().RIP)
	switch {
	case f.IsSyscall():
		k.exception(t, nt.STATUS_ILLEGAL_INSTRUCTION, rip-2, nil, "a raw system call")
	case f.IsPageFault():
		op := uint64(accessRead)
		if f.IsExecute() {
			op = accessExecute
		} else if f.IsWrite() {
			op = accessWrite
		}
		if t.Stack().InGuard(guest.Addr(f.Addr)) {
			t.Crash(&ke.Bugcheck{Code: nt.UNEXPECTED_KERNEL_MODE_TRAP,
				Params: [4]uint64{trapDoubleFault, t.Context().GPR[engine.RSP], f.Addr, uint64(rip)},
				Reason: fmt.Sprintf("kernel stack overflow at %s", k.Where(rip))})
		}
		how := ""
		if f.IsForbidden() {
			how = "the host's own memory, which a protection key has kept"
		}
		k.memoryFault(t, f.Addr, op, rip, how)
	case isInterrupt(f, interruptFastFail):
		k.fastFail(t, rip)
	case isInterrupt(f, interruptAssertion):
		k.exception(t, nt.STATUS_ASSERTION_FAILURE, rip, nil, "")
	case f.Vector == engine.VectorDivide:
		k.exception(t, nt.STATUS_INTEGER_DIVIDE_BY_ZERO, rip, nil, "")
	case f.Vector == engine.VectorDebug:
		k.exception(t, nt.STATUS_SINGLE_STEP, rip, nil, "")
	case f.Vector == engine.VectorBreakpoint:
		k.exception(t, nt.STATUS_BREAKPOINT, rip-1, nil, "")
	case f.Vector == engine.VectorOverflow:
		k.exception(t, nt.STATUS_INTEGER_OVERFLOW, rip, nil, "")
	case f.Vector == engine.VectorBounds:
		k.exception(t, nt.STATUS_ARRAY_BOUNDS_EXCEEDED, rip, nil, "")
	case f.Vector == engine.VectorInvalidOpcode:
		k.exception(t, nt.STATUS_ILLEGAL_INSTRUCTION, rip, nil, "")
	case f.Vector == engine.VectorX87, f.Vector == engine.VectorSIMD:
		k.exception(t, nt.STATUS_FLOAT_MULTIPLE_FAULTS, rip, nil, "")
	case f.Vector == engine.VectorAlignment:
		k.exception(t, nt.STATUS_DATATYPE_MISALIGNMENT, rip, nil, "")
	case f.Signal == engine.SignalBus:
		k.exception(t, nt.STATUS_IN_PAGE_ERROR, rip, []uint64{accessRead, f.Addr}, "")
	default:
		// A general protection fault: a privileged instruction, or a non-canonical address, which
		// the processor does not tell.
		k.memoryFault(t, ^uint64(0), accessRead, rip, "general protection fault")
	}
}

const trapDoubleFault = 8

// Interrupts that Windows serves to the kernel itself. In a process INT is a general protection
// fault.
const (
	interruptFastFail  = 0x29 // __fastfail
	interruptAssertion = 0x2C // DbgRaiseAssertionFailure
)

// isInterrupt reports whether a fault is an INT n. The error code has n as an index into the table
// of interrupts (Intel SDM volume 3, "Error code").
func isInterrupt(f *engine.Fault, n uint32) bool {
	const inIDT = 2
	return f.Vector == engine.VectorGeneral && f.Code == n<<3|inIDT
}

// fastFail is __fastfail: the driver has found corruption, and wants no handler to run.
func (k *Kernel) fastFail(t *ke.Thread, rip guest.Addr) {
	c := t.Context()
	code := nt.FastFail(c.GPR[engine.RCX])
	rec := nt.ExceptionRecord{ExceptionCode: nt.STATUS_STACK_BUFFER_OVERRUN,
		ExceptionFlags: nt.EXCEPTION_NONCONTINUABLE, ExceptionAddress: rip, NumberParameters: 1}
	rec.ExceptionInformation[0] = uintptr(code)
	// Without room on the stack the record's address is 0.
	raised, _ := k.seh.Describe((*sehThread)(k.call(t)), rec, seh.Capture(c))
	t.Crash(&ke.Bugcheck{Code: nt.KERNEL_SECURITY_CHECK_FAILURE,
		Params: [4]uint64{uint64(code), 0, uint64(raised.Record), 0},
		Reason: fmt.Sprintf("fast fail at %s: %s", k.Where(rip), code)})
}

// memoryFault is an access that the page tables refuse, at address addr by the instruction at rip:
// the bugcheck that Windows gives for it at this IRQL and address, or an exception.
func (k *Kernel) memoryFault(t *ke.Thread, addr, op uint64, rip guest.Addr, how string) {
	what := func() string { return k.describeAccess(addr, op, rip, how) }
	switch irql := t.IRQL(); {
	case irql >= nt.DISPATCH_LEVEL:
		t.Crash(&ke.Bugcheck{Code: nt.DRIVER_IRQL_NOT_LESS_OR_EQUAL,
			Params: [4]uint64{addr, uint64(irql), op, uint64(rip)},
			Reason: what() + " at " + irql.String()})
	case op == accessExecute && k.pageHas(addr, guest.ProtRead):
		t.Crash(&ke.Bugcheck{Code: nt.ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY,
			Params: [4]uint64{addr, 0, 0, 0}, Reason: what() + ", which is not executable"})
	case op == accessWrite && addr >= uint64(guest.SystemRangeStart) &&
		k.pageHas(addr, guest.ProtRead):
		t.Crash(&ke.Bugcheck{Code: nt.ATTEMPTED_WRITE_TO_READONLY_MEMORY,
			Params: [4]uint64{addr, 0, 0, 0}, Reason: what() + ", which is read-only"})
	case addr >= uint64(guest.SystemRangeStart) && addr != ^uint64(0):
		t.Crash(&ke.Bugcheck{Code: nt.PAGE_FAULT_IN_NONPAGED_AREA,
			Params: [4]uint64{addr, op, uint64(rip), 0}, Reason: what()})
	}
	k.exception(t, nt.STATUS_ACCESS_VIOLATION, rip, []uint64{op, addr}, how)
}

// describeAccess says what an access was that the page tables refuse.
func (k *Kernel) describeAccess(addr, op uint64, rip guest.Addr, how string) string {
	what := fmt.Sprintf("%s %#x at %s", accessVerb(op), addr, k.Where(rip))
	if addr == ^uint64(0) {
		what = "access to a non-canonical address, or a privileged instruction, at " + k.Where(rip)
	}
	if how != "" {
		what += " (" + how + ")"
	}
	return what
}

// pageHas reports whether the page at addr is there with at least the given protection.
func (k *Kernel) pageHas(addr uint64, prot guest.Prot) bool {
	info, ok := k.space.Lookup(guest.Addr(addr))
	return ok && info.Committed && info.Prot&prot == prot
}

// irqlTooHigh is the bugcheck of an export that is called above its highest IRQL.
func (k *Kernel) irqlTooHigh(c *Call) { c.atMost(c.row.MaxIRQL) }

// atMost is the bugcheck of an export that is called above the highest IRQL for its arguments.
func (c *Call) atMost(highest nt.IRQL) {
	irql := c.T.IRQL()
	if irql <= highest {
		return
	}
	c.T.Crash(&ke.Bugcheck{Code: nt.IRQL_NOT_LESS_OR_EQUAL,
		Params: [4]uint64{uint64(c.symbol(c.row.Name)), uint64(irql), accessExecute,
			uint64(c.Caller())},
		Reason: fmt.Sprintf("%s called at %v by %s; the highest level for it is %v",
			c.row.Called(), irql, c.Where(c.Caller()), highest)})
}
