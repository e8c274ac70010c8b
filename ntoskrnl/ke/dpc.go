package ke

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// queuedDPC is a DPC in a processor's queue: what KDPC said when it was queued.
type queuedDPC struct {
	object  guest.Addr // the KDPC, or 0 for work of the kernel's own
	routine guest.Addr
	context uint64
	arg1    uint64
	arg2    uint64
	work    func(t *Thread) // the kernel's own
}

// enqueueDPC puts d at the end of p's queue, or at its front, and sees to it that the queue is run
// soon: by the thread that holds p, or by the processor's own thread when nobody does. by is the
// thread that queues, or nil; if that holds p, it must call DeliverDPCs before it goes on.
func (p *Processor) enqueueDPC(d queuedDPC, front bool, by *Thread) {
	p.dpcLock.Lock()
	if front {
		p.dpcs = append(p.dpcs, queuedDPC{})
		copy(p.dpcs[1:], p.dpcs)
		p.dpcs[0] = d
	} else {
		p.dpcs = append(p.dpcs, d)
	}
	p.dpcPending.Store(true)
	p.dpcLock.Unlock()

	switch t := p.held.Load(); {
	case t == nil:
		p.wakeDPCThread()
	case t != by:
		p.sys.CPU.Kick(t.ctx)
	}
}

// removeDPC takes the DPC of a KDPC off p's queue, and reports whether it was there.
func (p *Processor) removeDPC(object guest.Addr) bool {
	p.dpcLock.Lock()
	defer p.dpcLock.Unlock()
	for i := range p.dpcs {
		if p.dpcs[i].object == object {
			p.dpcs = append(p.dpcs[:i], p.dpcs[i+1:]...)
			return true
		}
	}
	return false
}

// nextDPC takes the first DPC off the queue; when there is none it clears the pending flag.
func (p *Processor) nextDPC() (d queuedDPC, ok bool) {
	p.dpcLock.Lock()
	defer p.dpcLock.Unlock()
	if len(p.dpcs) == 0 {
		p.dpcPending.Store(false)
		return d, false
	}
	d = p.dpcs[0]
	p.dpcs = append(p.dpcs[:0], p.dpcs[1:]...)
	if d.object != 0 {
		// From here on the driver may queue it again. A KDPC that is gone by now is the driver's
		// loss: what it said when it was queued is what runs.
		_ = guest.StoreAddr(d.object+kdpcDataOffset, 0)
	}
	return d, true
}

// runDPCs runs the DPCs that wait on t's processor, at DISPATCH_LEVEL, and restores the IRQL.
func (t *Thread) runDPCs() {
	p := t.proc
	irql := p.pcr.Irql
	p.pcr.Irql = nt.DISPATCH_LEVEL
	for {
		d, ok := p.nextDPC()
		if !ok {
			break
		}
		if d.work != nil {
			d.work(t)
		} else {
			t.Call(d.routine, uint64(d.object), d.context, d.arg1, d.arg2)
		}
		if now := p.pcr.Irql; now != nt.DISPATCH_LEVEL {
			t.Crash(&Bugcheck{Code: nt.IRQL_UNEXPECTED_VALUE,
				Params: [4]uint64{uint64(now)<<16 | uint64(nt.DISPATCH_LEVEL)<<8, 0, 0, uint64(d.routine)},
				Reason: "a DPC routine returned at " + now.String()})
		}
	}
	p.pcr.Irql = irql
}

// DeliverDPCs runs the DPCs that wait on t's processor, if the IRQL allows it now.
func (t *Thread) DeliverDPCs() {
	if t.proc.dpcPending.Load() && t.IRQL() < nt.DISPATCH_LEVEL {
		t.runDPCs()
	}
}

// wakeDPCThread makes p's own thread run the DPCs of a processor that no other thread holds.
func (p *Processor) wakeDPCThread() {
	if !p.sys.Ended() {
		p.dpcThread.Do(p.startDPCThread)
	}
	select {
	case p.dpcWake <- struct{}{}:
	default:
	}
}

// startDPCThread makes the thread in whose context DPCs of an idle processor run.
func (p *Processor) startDPCThread() {
	s := p.sys
	t, err := s.NewThread(s.SystemProcess)
	if err != nil {
		go s.Crash(&Bugcheck{Code: HostFault, Reason: "no thread for DPCs: " + err.Error()})
		return
	}
	t.affinity = p.bit()
	p.pcr.Prcb.IdleThread = t.Object
	s.ended.Add(1)
	go func() {
		defer s.ended.Done()
		for range p.dpcWake {
			if s.Ended() {
				return
			}
			if !p.dpcPending.Load() {
				continue
			}
			// acquire takes this processor, and take runs the queue.
			if err := t.Do(func() {}); err != nil {
				return
			}
		}
	}()
}
