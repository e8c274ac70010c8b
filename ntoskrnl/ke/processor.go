package ke

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Processor is a virtual processor: the token that a thread holds while it runs guest code. It has a
// KPCR in guest memory, at which GS points meanwhile; the IRQL is the KPCR's.
type Processor struct {
	sys    *System
	number int
	region *guest.Region
	pcr    *nt.KPCR // the host's own memory, mapped as long as the system lives
	held   atomic.Pointer[Thread]

	dpcLock    sync.Mutex
	dpcs       []queuedDPC
	dpcPending atomic.Bool
	dpcWake    chan struct{}
	dpcThread  sync.Once
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

// acquire gives t a processor that its affinity allows, and waits for one while there is none.
func (t *Thread) acquire() {
	s := t.sys
	if s.waiting.Load() == 0 {
		if p := s.claimIdle(t.affinity, t.last); p != nil {
			t.take(p)
			return
		}
	}
	s.sched.Lock()
	s.waiting.Add(1)
	// Whoever gives a processor back publishes it and then looks at waiting, so one that became
	// idle before the line above is seen here, and a later one is handed over.
	if p := s.claimIdle(t.affinity, t.last); p != nil {
		s.waiting.Add(-1)
		s.sched.Unlock()
		t.take(p)
		return
	}
	s.queue = append(s.queue, t)
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
	for i, w := range s.queue {
		if w == t {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			s.waiting.Add(-1)
			break
		}
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

// take makes p the processor of t, and runs what DPCs wait on it.
func (t *Thread) take(p *Processor) {
	t.proc, t.last = p, p
	p.held.Store(t)
	p.pcr.Irql = nt.PASSIVE_LEVEL
	p.pcr.Prcb.CurrentThread = t.Object
	t.ctx.GSBase = uint64(p.region.Base())
	if p.dpcPending.Load() {
		t.runDPCs()
	}
}

// yieldProcessor gives t's processor back.
func (t *Thread) yieldProcessor() {
	p := t.proc
	t.proc = nil
	p.held.Store(nil)
	p.pcr.Prcb.CurrentThread = 0
	t.sys.giveBack(p)
}

// giveBack hands p to the thread that has waited longest for it, or makes it idle.
func (s *System) giveBack(p *Processor) {
	if s.waiting.Load() > 0 && s.grantNext(p) {
		return
	}
	s.idle.Or(p.bit())
	for s.waiting.Load() > 0 || p.dpcPending.Load() {
		if s.idle.And(^p.bit())&p.bit() == 0 {
			return // somebody else has it, and will look himself
		}
		if s.grantNext(p) {
			return
		}
		s.idle.Or(p.bit())
		if p.dpcPending.Load() {
			p.wakeDPCThread()
		}
		return
	}
}

// grantNext hands p to the longest-waiting thread whose affinity allows it.
func (s *System) grantNext(p *Processor) bool {
	s.sched.Lock()
	defer s.sched.Unlock()
	for i, t := range s.queue {
		if t.affinity&p.bit() != 0 {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			s.waiting.Add(-1)
			t.granted.Store(p)
			t.unpark()
			return true
		}
	}
	return false
}
