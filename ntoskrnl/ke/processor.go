package ke

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Processor is a virtual processor: the token that a thread holds while it runs guest code. It has
// a KPCR in guest memory, at which GS points meanwhile; the IRQL is the KPCR's.
type Processor struct {
	sys    *System
	number int
	region *guest.Region
	pcr    *nt.KPCR // the host's own memory, mapped as long as the system lives
	held   atomic.Pointer[Thread]
	// quantumEnd: the quantum of its thread has ended at a raised IRQL. Only that thread uses it.
	quantumEnd bool

	dpcLock   sync.Mutex
	dpcs      []queuedDPC
	dpcFirst  int           // dpcs before it have been run
	dpcWake   chan struct{} // to the goroutine that runs DPCs while the processor is idle
	dpcThread *Thread       // in whose context DPCs run, whoever holds the processor
	dpcRuns   atomic.Uint32 // twice the DPCs that have run, and one more while one runs
}

func (s *System) newProcessor(n int) (*Processor, error) {
	what := fmt.Sprintf("KPCR of processor %d", n)
	region, err := s.Space.AllocSystem(nt.KPCRSize, guest.ProtRead|guest.ProtWrite, what)
	if err != nil {
		return nil, err
	}
	p := &Processor{sys: s, number: n, region: region, dpcWake: make(chan struct{}, 1)}
	p.pcr = guest.Ptr[nt.KPCR](region.Base()).Ref()
	p.pcr.Self = region.Base()
	p.pcr.Used_Self = region.Base()
	p.pcr.CurrentPrcb = region.Base() + nt.KPCRPrcbOffset
	p.pcr.MajorVersion, p.pcr.MinorVersion = 1, 1
	prcb := &p.pcr.Prcb
	prcb.Number = uint32(n)
	prcb.LegacyNumber = uint8(n)
	prcb.MajorVersion, prcb.MinorVersion = 1, 1
	prcb.GroupSetMember = 1 << n
	prcb.GroupIndex = uint8(n)
	prcb.MxCsr = 0x1F80
	if p.dpcThread, err = s.NewThread(s.SystemProcess); err != nil {
		p.release()
		return nil, err
	}
	p.dpcThread.affinity = p.bit()
	p.dpcThread.apcs.closed = true
	p.dpcThread.ctx.GSBase = uint64(region.Base())
	prcb.IdleThread = p.dpcThread.Object
	return p, nil
}

func (p *Processor) release() {
	if p.region != nil {
		// Nothing runs any more, so nothing else can hold on to the region.
		_ = p.region.Free()
		p.region = nil
	}
}

// Number gives the processor's number, from 0.
func (p *Processor) Number() int { return p.number }

// KPCR gives the address of the processor control region.
func (p *Processor) KPCR() guest.Addr { return p.region.Base() }

func (p *Processor) bit() uint64 { return 1 << p.number }

// threadQueue is a queue of threads that wait for a processor, by Thread.nextReady.
type threadQueue struct{ first, last *Thread }

func (q *threadQueue) push(t *Thread) {
	t.nextReady = nil
	if q.last == nil {
		q.first = t
	} else {
		q.last.nextReady = t
	}
	q.last = t
}

// take removes the first thread that want says yes to.
func (q *threadQueue) take(want func(*Thread) bool) *Thread {
	var before *Thread
	for t := q.first; t != nil; before, t = t, t.nextReady {
		if !want(t) {
			continue
		}
		if before == nil {
			q.first = t.nextReady
		} else {
			before.nextReady = t.nextReady
		}
		if q.last == t {
			q.last = before
		}
		t.nextReady = nil
		return t
	}
	return nil
}

// acquire gives t a processor that its affinity allows, and waits for one while there is none. It
// ends the Do when the system has ended.
func (t *Thread) acquire() {
	t.acquireAny()
	t.checkEnded()
}

func (t *Thread) acquireAny() {
	s := t.sys
	if s.waiting.Load() == 0 {
		if p := s.claimIdle(t.affinity, t.last); p != nil {
			t.take(p)
			return
		}
	}
	s.sched.Lock()
	s.waiting.Add(1)
	// Whoever gives a processor back makes it idle and then looks at waiting, so one that became
	// idle before the line above is seen here, and a later one is handed over.
	if p := s.claimIdle(t.affinity, t.last); p != nil {
		s.waiting.Add(-1)
		s.sched.Unlock()
		t.take(p)
		return
	}
	s.queue.push(t)
	s.startQuantumClock()
	s.sched.Unlock()
	for {
		if p := t.granted.Swap(nil); p != nil {
			t.take(p)
			return
		}
		if s.Ended() {
			t.abandonQueue()
			panic(unwind{crashed: true})
		}
		<-t.wake
	}
}

// abandonQueue takes t off the queue for processors, and passes on one that it was just granted.
func (t *Thread) abandonQueue() {
	s := t.sys
	s.sched.Lock()
	if s.queue.take(func(w *Thread) bool { return w == t }) != nil {
		s.waiting.Add(-1)
	}
	s.sched.Unlock()
	if p := t.granted.Swap(nil); p != nil {
		s.giveBack(p)
	}
}

// claimIdle takes an idle processor out of the set, the one last used if it can.
func (s *System) claimIdle(affinity uint64, last *Processor) *Processor {
	for {
		idle := s.idle.Load()
		can := idle & affinity
		if can == 0 {
			return nil
		}
		n := bits.TrailingZeros64(can)
		if last != nil && can&last.bit() != 0 {
			n = last.number
		}
		if s.idle.CompareAndSwap(idle, idle&^(1<<n)) {
			return s.procs[n]
		}
	}
}

// claim takes p out of the set of idle processors, and reports whether it was there.
func (s *System) claim(p *Processor) bool { return s.idle.And(^p.bit())&p.bit() != 0 }

// take makes p the processor of t, and runs what DPCs wait on it.
func (t *Thread) take(p *Processor) {
	t.last = p
	p.pcr.Irql = nt.PASSIVE_LEVEL
	t.ctx.GSBase = uint64(p.region.Base())
	t.occupy(p)
	p.setAPCPending(t.apcs.pending.Load())
	if p.pending() {
		t.runDPCs()
	}
}

// occupy makes t the thread that runs on p.
func (t *Thread) occupy(p *Processor) {
	t.proc = p
	p.pcr.Prcb.CurrentThread = t.Object
	p.held.Store(t)
}

// yieldProcessor gives t's processor back.
func (t *Thread) yieldProcessor() {
	p := t.proc
	t.proc = nil
	p.held.Store(nil)
	p.pcr.Prcb.CurrentThread = p.dpcThread.Object
	t.sys.giveBack(p)
}

// giveBack hands p to the thread that has waited longest for it, or makes it idle.
//
// No thread is left waiting beside an idle processor. Making p idle comes before the look at
// waiting; a thread that wants one counts itself in waiting before its look at the idle set; and
// the look at the queue and the claim are one step under sched, which a thread holds from counting
// itself until it is in the queue.
func (s *System) giveBack(p *Processor) {
	if s.waiting.Load() > 0 && s.grantNext(p, false) {
		return
	}
	s.idle.Or(p.bit())
	if s.waiting.Load() > 0 && s.grantNext(p, true) {
		return
	}
	if p.pending() {
		p.wakeDPC()
	}
}

// grantNext hands p to the longest-waiting thread whose affinity allows it, and reports whether
// there is one. An idle p is claimed first; if somebody else was faster, it is theirs.
func (s *System) grantNext(p *Processor, idle bool) bool {
	s.sched.Lock()
	defer s.sched.Unlock()
	t := s.queue.take(func(t *Thread) bool {
		return t.affinity&p.bit() != 0 && (!idle || s.claim(p))
	})
	if t == nil {
		return false
	}
	s.waiting.Add(-1)
	t.granted.Store(p)
	t.unpark()
	return true
}
