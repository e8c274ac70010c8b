package ke

import (
	"fmt"
	"runtime/debug"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Bugcheck is the crash of a system: what KeBugCheckEx was told, by whom, and where that thread
// was.
type Bugcheck struct {
	Code   nt.BugCheck
	Params [4]uint64
	// Reason says in one sentence what happened, where the code and parameters alone do not.
	Reason string

	Thread    guest.Addr // ETHREAD
	ThreadID  uintptr
	Processor int // -1 if the thread held none
	IRQL      nt.IRQL
	// Registers are the guest's, in the processor's encoding order; RIP is where it was.
	Registers [16]uint64
	RIP       guest.Addr
	RFLAGS    uint64
	// HostStack is the Go stack, when the host itself failed.
	HostStack string
}

// HostFault is the code of a bugcheck for which the host is to blame, not the driver: a Go panic in
// the kernel's own code. Windows has no such code.
const HostFault nt.BugCheck = 0xD0D00001

// errClosed marks a system that was closed without a crash.
var errClosed = &Bugcheck{Reason: "the system was closed"}

// Error gives code, parameters and reason in one line.
func (b *Bugcheck) Error() string {
	if b == errClosed {
		return b.Reason
	}
	s := fmt.Sprintf("bugcheck %s (%#x, %#x, %#x, %#x)", b.Code.Error(),
		b.Params[0], b.Params[1], b.Params[2], b.Params[3])
	if b.Reason != "" {
		s += ": " + b.Reason
	}
	return s
}

// Bugcheck crashes the system, as KeBugCheckEx does: every thread ends, and this one does not
// return. Of several crashes the first counts.
func (t *Thread) Bugcheck(code nt.BugCheck, p1, p2, p3, p4 uint64) {
	t.Crash(&Bugcheck{Code: code, Params: [4]uint64{p1, p2, p3, p4}})
}

// Crash is Bugcheck with a reason: it fills in who and where.
func (t *Thread) Crash(b *Bugcheck) {
	b.fill(t)
	t.sys.fail(t.callBack(b))
	panic(unwind{crashed: true})
}

// Crash ends the system when no thread is to blame.
func (s *System) Crash(b *Bugcheck) {
	b.Processor = -1
	s.fail(b)
}

func (b *Bugcheck) fill(t *Thread) {
	b.Thread, b.ThreadID, b.Processor = t.Object, t.ID, -1
	if p := t.proc; p != nil {
		b.Processor, b.IRQL = p.number, p.pcr.Irql
	}
	c := t.ctx
	b.Registers, b.RFLAGS, b.RIP = c.GPR, c.RFLAGS, guest.Addr(c.RIP)
	if c.Resume == engine.ResumeReturn {
		// In an import call: the driver is where the call returns to.
		b.RIP, _ = c.ReturnAddress()
	}
}

// fail records the first crash and stops everything.
func (s *System) fail(b *Bugcheck) {
	if !s.crash.CompareAndSwap(nil, b) {
		return
	}
	if s.OnCrash != nil {
		s.OnCrash(b)
	}
	s.stopAll()
}

// hostPanic turns a Go panic in the kernel's code into a bugcheck of this system.
func (s *System) hostPanic(t *Thread, r any) error {
	b := &Bugcheck{Code: HostFault, HostStack: string(debug.Stack()),
		Reason: fmt.Sprintf("drvhost itself failed: %v", r)}
	b.fill(t)
	s.fail(b)
	return s.crash.Load()
}
