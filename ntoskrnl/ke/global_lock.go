package ke

import (
	"runtime"
	"sync/atomic"

	"github.com/drvhost/drvhost/nt"
)

// GlobalLock is a spin lock of the kernel's own, which drivers take only through exports: the
// cancel spin lock. The zero value is free.
type GlobalLock struct {
	owner atomic.Pointer[Thread]
}

// Acquire raises to DISPATCH_LEVEL, takes the lock, and gives the level from before. To take it
// twice is SPIN_LOCK_ALREADY_OWNED.
func (l *GlobalLock) Acquire(t *Thread) nt.IRQL {
	irql := t.IRQL()
	if irql < nt.DISPATCH_LEVEL {
		t.RaiseIRQL(nt.DISPATCH_LEVEL)
	}
	if l.owner.Load() == t {
		t.Bugcheck(nt.SPIN_LOCK_ALREADY_OWNED, 0, 0, 0, 0)
	}
	for !l.owner.CompareAndSwap(nil, t) {
		// The owner has a processor of its own and does not wait, so this is soon over.
		t.checkEnded()
		runtime.Gosched()
	}
	return irql
}

// Release gives the lock back and lowers to irql. To release what one does not hold is
// SPIN_LOCK_NOT_OWNED.
func (l *GlobalLock) Release(t *Thread, irql nt.IRQL) {
	if !l.owner.CompareAndSwap(t, nil) {
		t.Bugcheck(nt.SPIN_LOCK_NOT_OWNED, 0, 0, 0, 0)
	}
	if irql < nt.DISPATCH_LEVEL {
		t.LowerIRQL(irql)
	}
}
