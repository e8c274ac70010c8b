package ke

import (
	"fmt"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Calls of guest functions nest, guest and Go by turns, on one guest stack and one goroutine. When
// guest code is unwound to a frame of an outer Call, the inner ones have ended, and the Go
// functions between them: Resume ends those by a typed panic, which the Run loop of the frame's
// owner recovers before it goes on with the guest. Functions in between release what they hold by
// defer.
//
//	guest stack, downwards     Go stack
//	  frames of driver A         Call A: run ◄─────────────┐ recovers, and runs the guest on
//	  ─────────────────          the export, package irp   │
//	  frames of driver B         Call B: run               │
//	  ─────────────────          the fault, package seh    │
//	  a filter                   Call C: run, an export ───┘ Resume, with RSP in a frame of A
//
// Most calls end well, so they pay for this with an open-coded defer and nothing else.

// callRecord is a Call under way.
type callRecord struct {
	saved engine.Saved
	rsp   uint64 // at the callee's first instruction: its frames are not above
	index uint32 // of the import call that made the Call
}

// resumed is the panic that ends Calls inside the one whose guest code goes on.
type resumed struct{}

// pushRecord makes the record of a Call. Records that were used before keep their memory.
func (t *Thread) pushRecord() *callRecord {
	if n := len(t.calls); n < cap(t.calls) {
		t.calls = t.calls[:n+1]
	} else {
		t.calls = append(t.calls, callRecord{})
	}
	return &t.calls[len(t.calls)-1]
}

// CallBelow is Call with the callee's frames below sp, which must not be above what is on the guest
// stack, and with a trampoline of its own, if that is not 0. An unwinder passes what lies between
// sp and the stack that was there: so it has room for what the callee is given.
func (t *Thread) CallBelow(sp, trampoline, fn guest.Addr, args ...uint64) uint64 {
	if trampoline == 0 {
		trampoline = t.sys.Trampoline
	}
	return t.call(uint64(sp), trampoline, fn, args)
}

// call is Call, CallBelow and CallExpanded.
func (t *Thread) call(sp uint64, trampoline, fn guest.Addr, args []uint64) uint64 {
	c := t.ctx
	outer := c.GPR[engine.RSP]
	rec := t.pushRecord()
	depth := len(t.calls)
	rec.index = t.index
	moved := sp < outer || sp == uint64(c.StackBase)
	if moved {
		c.GPR[engine.RSP] = sp
	}
	if err := c.PushCall(&rec.saved, trampoline, fn, t.outerRIP(), args...); err != nil {
		t.Bugcheck(nt.UNEXPECTED_KERNEL_MODE_TRAP, trapDoubleFault, outer, c.RIP, 0)
	}
	rec.rsp = c.GPR[engine.RSP]
	if moved {
		// The machine frame leads to what was there. It is on the host's own stack memory.
		_ = guest.Store64(guest.Addr(rec.rsp)+8+engine.TrampolineAlloc+machineRSP, outer)
	}
	for t.runGuest(depth) {
	}
	result := c.GPR[engine.RAX]
	rec = &t.calls[depth-1] // a nested Call may have moved it
	c.PopCall(&rec.saved)
	c.GPR[engine.RSP] = outer
	t.index = rec.index
	t.calls = t.calls[:depth-1]
	return result
}

// machineRSP is where a machine frame has RSP: behind RIP, CS and RFLAGS.
const machineRSP = 24

// Owner gives the innermost Call among whose frames a stack pointer lies, counted from 1; 0 if it
// lies in none.
func (t *Thread) Owner(rsp guest.Addr) (depth int) {
	at, ok := t.ctx.Height(uint64(rsp))
	for depth = len(t.calls); ok && depth > 0; depth-- {
		if call, _ := t.ctx.Height(t.calls[depth-1].rsp); at <= call {
			return depth
		}
	}
	return 0
}

// Depth gives the number of Calls under way.
func (t *Thread) Depth() int { return len(t.calls) }

// CallingImport gives the import call that made a Call. The outermost Call is made by none.
func (t *Thread) CallingImport(depth int) (index uint32, ok bool) {
	if depth < 2 || depth > len(t.calls) {
		return 0, false
	}
	return t.calls[depth-1].index, true
}

// Resume goes on with guest code where the context, a full one, now says. It ends every Call inside
// the owner of that place, and does not return. If the stack pointer lies in no Call's part of the
// stack there is nothing to go on with, and that is a bugcheck.
func (t *Thread) Resume() {
	c := t.ctx
	rsp := guest.Addr(c.GPR[engine.RSP])
	depth := t.Owner(rsp)
	if depth == 0 {
		t.Crash(&Bugcheck{Code: nt.KMODE_EXCEPTION_NOT_HANDLED,
			Params: [4]uint64{uint64(nt.STATUS_BAD_STACK), c.RIP, uint64(rsp), 0},
			Reason: fmt.Sprintf("a thread was to go on at %#x with RSP %v, which is not on its stack",
				c.RIP, rsp)})
	}
	t.resumeAt = depth
	panic(resumed{})
}

// IsUnwind reports whether a panic is one with which this package ends the Go functions of a thread.
// Whoever recovers it panics with it again.
func IsUnwind(r any) bool {
	switch r.(type) {
	case resumed, unwind:
		return true
	}
	return false
}

// caught is deferred by runGuest, which it makes run again if guest code of that Call goes on. It
// leaves other panics alone, so that their stacks are whole when somebody looks at them.
func (t *Thread) caught(depth int, again *bool) {
	if t.resumeAt != depth {
		return
	}
	t.resumeAt = 0
	if r := recover(); r != (resumed{}) {
		panic(r) // something else went wrong on the way
	}
	t.calls = t.calls[:depth]
	*again = true
}
