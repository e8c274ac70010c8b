package irp

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// AcquireCancelSpinLock takes the cancel spin lock and gives the IRQL from which it was taken;
// ReleaseCancelSpinLock gives it back and restores that.
func (m *Manager) AcquireCancelSpinLock(t *ke.Thread) nt.IRQL { return m.cancel.Acquire(t) }

// ReleaseCancelSpinLock gives the cancel spin lock back.
func (m *Manager) ReleaseCancelSpinLock(t *ke.Thread, irql nt.IRQL) { m.cancel.Release(t, irql) }

// CancelIRP is IoCancelIrp: it marks the IRP and calls its cancel routine, if it has one, once. It
// reports whether it called one.
func (m *Manager) CancelIRP(t *ke.Thread, addr guest.Addr) bool {
	irql := m.cancel.Acquire(t)
	p := m.slabs.find(addr)
	if p == nil {
		m.cancel.Release(t, irql)
		return false
	}
	return m.runCancelRoutine(t, p, p.markCancelled(irql), irql)
}

// CancelRequest cancels a request in flight, and reports whether a cancel routine was called. A
// request that is done, or about to be, is left alone: completion and the marking exclude each
// other by Open.mu, and an IRP whose cancel routine was taken is not completed until that has run.
func (m *Manager) CancelRequest(t *ke.Thread, r *Request) bool {
	irql := m.cancel.Acquire(t)
	r.Open.mu.Lock()
	p := r.packet
	if p == nil {
		r.Open.mu.Unlock()
		m.cancel.Release(t, irql)
		return false
	}
	routine := p.markCancelled(irql)
	r.Open.mu.Unlock()
	return m.runCancelRoutine(t, p, routine, irql)
}

// markCancelled sets the IRP's Cancel and takes its cancel routine. The cancel spin lock is held.
func (p *packet) markCancelled(irql nt.IRQL) (routine guest.Addr) {
	p.irp.Cancel = nt.TRUE
	taken, err := guest.Swap64(p.addr+cancelRoutineOffset, 0)
	if err != nil || taken == 0 {
		return 0
	}
	p.irp.CancelIrql = irql
	return guest.Addr(taken)
}

// runCancelRoutine calls the routine, which gives the cancel spin lock back, or does that itself
// when there is none.
func (m *Manager) runCancelRoutine(t *ke.Thread, p *packet, routine guest.Addr, irql nt.IRQL) bool {
	if routine == 0 {
		m.cancel.Release(t, irql)
		return false
	}
	device := guest.Addr(0)
	if n := p.irp.CurrentLocation; n >= 1 && n <= p.irp.StackCount && n <= p.room {
		device = location(p.irp, n).DeviceObject
	}
	t.Call(routine, uint64(device), uint64(p.addr))
	return true
}

// CancelAll cancels every request in flight on a file.
func (m *Manager) CancelAll(t *ke.Thread, o *Open) {
	seen := make(map[*Request]bool)
	for {
		o.mu.Lock()
		r := o.pending
		for r != nil && seen[r] {
			r = r.next
		}
		o.mu.Unlock()
		if r == nil {
			return
		}
		seen[r] = true
		m.CancelRequest(t, r)
	}
}

// WaitIdle waits until no request is in flight on the file. It must not be called inside Do.
func (o *Open) WaitIdle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.pending != nil {
		o.idle.Wait()
	}
}
