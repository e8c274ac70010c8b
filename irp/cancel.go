package irp

import (
	"fmt"

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
	p, _ := m.inPlace(t, addr)
	irql := m.cancel.Acquire(t)
	return m.runCancelRoutine(t, p, p.markCancelled(irql), irql)
}

// CancelRequest cancels a request in flight, and reports whether a cancel routine was called. A
// request that is done, or about to be, is left alone.
func (m *Manager) CancelRequest(t *ke.Thread, r *Request) bool { return m.cancelUse(t, r, r.use()) }

// cancelUse is CancelRequest for one use of the request. Completion and the marking exclude each
// other by Open.mu, and an IRP whose cancel routine was taken is not completed until that has run.
func (m *Manager) cancelUse(t *ke.Thread, r *Request, use uint64) bool {
	irql := m.cancel.Acquire(t)
	r.Open.mu.Lock()
	p := r.packet
	if p == nil || r.use() != use {
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
	if n := p.irp.CurrentLocation; n >= 1 && n <= p.room {
		device = location(p.irp, n).DeviceObject
	}
	t.Call(routine, uint64(device), uint64(p.addr))
	if now := t.IRQL(); now != irql {
		t.Crash(&ke.Bugcheck{Code: nt.IRQL_UNEXPECTED_VALUE,
			Params: [4]uint64{uint64(now)<<16 | uint64(irql)<<8, 0, 0, uint64(routine)},
			Reason: fmt.Sprintf("the cancel routine at %v returned at %v, and not at the IRP's "+
				"CancelIrql, %v: did it release the cancel spin lock?", routine, now, irql)})
	}
	return true
}

// CancelAll cancels every request in flight on a file.
func (m *Manager) CancelAll(t *ke.Thread, o *Open) {
	type use struct {
		r   *Request
		use uint64
	}
	var all []use
	o.mu.Lock()
	for r := o.pending; r != nil; r = r.next {
		all = append(all, use{r, r.use()})
	}
	o.mu.Unlock()
	for _, u := range all {
		m.cancelUse(t, u.r, u.use)
	}
}

// WaitIdle waits until the IRP of every request on the file is completed, or abandoned. It must not
// be called inside Do.
func (o *Open) WaitIdle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.pending != nil {
		o.idle.Wait()
	}
}
