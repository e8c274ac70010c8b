package ke

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Expanded stacks: a second stack, for a call that needs more than is left of the thread's own.
//
//	the thread's stack            the expanded stack
//	  frames of the driver          a call frame, whose machine frame leads to RSP ◄─┐
//	  RSP ──────────────────────┐     frames of the callee                           │
//	                            └────────────────────────────────────────────────────┘
//
// An unwinder goes from one to the other by the machine frame, as it does between two calls on one
// stack. engine.Context.Height puts the two in order, whichever has the higher addresses. There is
// one expanded stack at a time, with room for several expansions: they go on where the first is.

// ExpandedStackSize is the size in bytes of an expanded stack, whose pages appear as they are used.
const ExpandedStackSize = 512 << 10

// Expanded reports whether the thread is on an expanded stack.
func (t *Thread) Expanded() bool { return t.ctx.OuterBase != 0 }

// CallExpanded is Call on an expanded stack, on which the thread must not be yet. The error says
// that there is no memory for one; fn was not called then.
func (t *Thread) CallExpanded(fn guest.Addr, args ...uint64) error {
	stack, err := t.sys.Space.AllocStack(ExpandedStackSize)
	if err != nil {
		return err
	}
	outer := t.stack
	t.moveTo(stack, outer)
	// Also when fn is unwound to a frame of the outer stack, or the thread ends.
	defer func() {
		t.moveTo(outer, nil)
		_ = stack.Free() // a stack that cannot be given back stays with the space
	}()
	t.call(uint64(stack.Top()), t.sys.Trampoline, fn, args)
	return nil
}

// moveTo makes stack the one that the thread is on, and outer, if it is not nil, the one that it
// goes on from.
func (t *Thread) moveTo(stack, outer *guest.Stack) {
	c := t.ctx
	t.stack = stack
	c.StackLimit, c.StackBase, c.OuterLimit, c.OuterBase = stack.Base(), stack.Top(), 0, 0
	if outer != nil {
		c.OuterLimit, c.OuterBase = outer.Base(), outer.Top()
	}
	tcb := &t.ETHREAD().Tcb
	tcb.InitialStack, tcb.StackBase, tcb.StackLimit = stack.Top(), stack.Top(), stack.Base()
}

// checkExpanded is the bugcheck of a thread that ends on an expanded stack. The documentation says
// that there is one, but not which; this is the one for a stack that is still wanted.
func (t *Thread) checkExpanded() {
	if t.Expanded() {
		t.Crash(&Bugcheck{Code: nt.KERNEL_STACK_LOCKED_AT_EXIT,
			Params: [4]uint64{uint64(t.Object), uint64(t.stack.Base()), uint64(t.stack.Top()), 0},
			Reason: "a system thread ended in a routine that KeExpandKernelStackAndCallout has called"})
	}
}
