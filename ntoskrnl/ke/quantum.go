package ke

import (
	"time"

	"github.com/drvhost/drvhost/nt"
)

// quantum is how long a thread may keep its processor while others wait for one: what a client
// version of Windows gives, two ticks of its clock, rounded.
const quantum = 20 * time.Millisecond

// startQuantumClock runs a clock for as long as threads wait for processors. The caller holds
// s.sched.
func (s *System) startQuantumClock() {
	if s.ticking {
		return
	}
	s.ticking = true
	go func() {
		for {
			time.Sleep(quantum)
			s.sched.Lock()
			if s.queue.first == nil || s.Ended() {
				s.ticking = false
				s.sched.Unlock()
				return
			}
			s.sched.Unlock()
			for _, p := range s.procs {
				if t := p.held.Load(); t != nil {
					s.CPU.Kick(t.ctx)
				}
			}
		}
	}()
}

// preempted is where a thread goes that was kicked out of guest code: because the system has ended,
// because a DPC waits for its processor, or because another thread does.
func (t *Thread) preempted() {
	t.checkEnded()
	if t.apcs.pending.Load() {
		t.proc.setAPCPending(true)
	}
	if t.IRQL() >= nt.DISPATCH_LEVEL {
		t.deferQuantumEnd()
		return
	}
	t.DeliverDPCs()
	if t.IRQL() < nt.DISPATCH_LEVEL && t.sys.waiting.Load() > 0 {
		t.Reschedule()
	}
	if t.Preempted != nil {
		t.Preempted()
	}
	if t.apcs.pending.Load() {
		t.DeliverAPCs()
	}
}

// deferQuantumEnd remembers the end of a quantum until the IRQL goes below DISPATCH_LEVEL: as on
// Windows it is an interrupt of that level. It goes the way of a DPC, by the pending flag that
// whoever lowers the IRQL looks at.
func (t *Thread) deferQuantumEnd() {
	p := t.proc
	if t.sys.waiting.Load() == 0 || t.InDPC() || p.quantumEnd {
		return
	}
	p.quantumEnd = true
	p.enqueueDPC(queuedDPC{work: func(*Thread) {}}, false, t)
}

// endQuantum lets others go first if the quantum of t has ended at a raised IRQL.
func (t *Thread) endQuantum() {
	if p := t.proc; p.quantumEnd {
		p.quantumEnd = false
		if t.IRQL() < nt.DISPATCH_LEVEL && t.sys.waiting.Load() > 0 {
			t.Reschedule()
		}
	}
}

// Reschedule lets the threads that wait for a processor go first. The IRQL, which is below
// DISPATCH_LEVEL, is kept.
func (t *Thread) Reschedule() {
	irql := t.IRQL()
	t.yieldProcessor()
	t.acquire()
	t.proc.pcr.Irql = irql
}
