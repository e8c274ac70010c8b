package ke

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Deferred procedure calls: KDPC objects, the queues of the processors, and who runs them when.
//
// DPCs run at DISPATCH_LEVEL on the stack of a thread that belongs to the processor, as Windows has
// a stack for them on each processor: the thread that holds the processor lends it, and its own
// registers and stack stay as they are. While nobody holds the processor, a goroutine of the
// processor's own takes it.

// queuedDPC is a place in a processor's queue.
type queuedDPC struct {
	object guest.Addr      // the KDPC, or 0 for work of the kernel's own
	work   func(t *Thread) // the kernel's own
}

// InitializeDPC makes the KDPC at dpc ready, as KeInitializeDpc and KeInitializeThreadedDpc do.
func InitializeDPC(dpc, routine, context guest.Addr, threaded bool) error {
	d := nt.KDPC{Type: nt.DpcObject, Importance: uint8(nt.MediumImportance),
		DeferredRoutine: routine, DeferredContext: context}
	if threaded {
		d.Type = nt.ThreadedDpcObject
	}
	return guest.Ptr[nt.KDPC](dpc).Store(d)
}

// targetBase is what KDPC.Number has added to the number of the target processor.
const targetBase = MaxProcessors

// checkDPC reports what is at dpc, if that is no KDPC.
func checkDPC(dpc guest.Addr) error {
	typ, err := guest.Load8(dpc + dpcType)
	if err != nil {
		return err
	}
	if typ != nt.DpcObject && typ != nt.ThreadedDpcObject {
		return &ObjectError{Object: dpc, Want: "KDPC", Type: typ}
	}
	return nil
}

// QueueDPC queues the KDPC at dpc, as KeInsertQueueDpc does, and reports whether it was not queued
// before. It runs at once if t is below DISPATCH_LEVEL and the DPC is for t's processor.
func (t *Thread) QueueDPC(dpc guest.Addr, arg1, arg2 uint64) (bool, error) {
	queued, err := t.sys.queueDPC(dpc, arg1, arg2, t.proc, t)
	if queued {
		t.DeliverDPCs()
	}
	return queued, err
}

// queueDPC queues a KDPC on its target processor, or else on p. by is the thread that queues, or
// nil.
func (s *System) queueDPC(dpc guest.Addr, arg1, arg2 uint64, p *Processor, by *Thread) (bool,
	error) {
	if err := checkDPC(dpc); err != nil {
		return false, err
	}
	number, err := guest.Load16(dpc + dpcNumber)
	if err != nil {
		return false, err
	}
	if n := int(number) - targetBase; n >= 0 && n < len(s.procs) {
		p = s.procs[n]
	}
	// DpcData is the lock: whoever sets it owns the rest of the KDPC.
	ours, err := guest.CompareAndSwap64(dpc+dpcData, 0, uint64(p.region.Base()))
	if err != nil || !ours {
		return false, err
	}
	args := [2]uint64{arg1, arg2}
	if err := guest.WriteSlice(dpc+dpcArgument1, args[:]); err != nil {
		return false, err
	}
	importance, err := guest.Load8(dpc + dpcImportance)
	if err != nil {
		return false, err
	}
	p.enqueueDPC(queuedDPC{object: dpc}, importance == uint8(nt.HighImportance), by)
	return true, nil
}

// RemoveDPC takes the KDPC at dpc off its queue, as KeRemoveQueueDpc does, and reports whether it
// was there. A DPC that has begun to run is not in the queue.
func (s *System) RemoveDPC(dpc guest.Addr) (bool, error) {
	if err := checkDPC(dpc); err != nil {
		return false, err
	}
	at, err := guest.Load64(dpc + dpcData)
	if err != nil || at == 0 {
		return false, err
	}
	for _, p := range s.procs {
		if p.removeDPC(dpc) {
			return true, guest.StoreAddr(dpc+dpcData, 0)
		}
	}
	return false, nil
}

// SetDPCImportance sets where KeInsertQueueDpc puts the DPC: at the front for HighImportance.
func SetDPCImportance(dpc guest.Addr, importance nt.DpcImportance) error {
	if err := checkDPC(dpc); err != nil {
		return err
	}
	return guest.Store8(dpc+dpcImportance, uint8(importance))
}

// SetDPCTarget sets the processor that the DPC runs on, as KeSetTargetProcessorDpc does. A number
// that the system does not have is STATUS_INVALID_PARAMETER.
func (s *System) SetDPCTarget(dpc guest.Addr, processor int) error {
	if err := checkDPC(dpc); err != nil {
		return err
	}
	if processor < 0 || processor >= len(s.procs) {
		return nt.STATUS_INVALID_PARAMETER
	}
	return guest.Store16(dpc+dpcNumber, uint16(targetBase+processor))
}

// FlushDPCs waits until every DPC that is queued now, on any processor, has run, as
// KeFlushQueuedDpcs does. The IRQL is below DISPATCH_LEVEL.
func (t *Thread) FlushDPCs() {
	var left atomic.Int32
	left.Store(int32(len(t.sys.procs)))
	marker := queuedDPC{work: func(*Thread) {
		if left.Add(-1) == 0 {
			t.unpark()
		}
	}}
	for _, p := range t.sys.procs {
		p.enqueueDPC(marker, false, t)
	}
	t.DeliverDPCs()
	if left.Load() != 0 {
		t.Park(func() bool { return left.Load() == 0 })
	}
}

// enqueueDPC puts d at the end of p's queue, or at its front, and sees to it that the queue is run
// soon: by the thread that holds p, or by the processor's own goroutine when nobody does. by is the
// thread that queues, or nil; if that holds p, it must call DeliverDPCs before it goes on.
func (p *Processor) enqueueDPC(d queuedDPC, front bool, by *Thread) {
	p.dpcLock.Lock()
	switch {
	case !front:
		p.dpcs = append(p.dpcs, d)
	case p.dpcFirst > 0:
		p.dpcFirst--
		p.dpcs[p.dpcFirst] = d
	default:
		p.dpcs = slices.Insert(p.dpcs, 0, d)
	}
	p.setPending(true)
	p.dpcLock.Unlock()

	switch t := p.held.Load(); {
	case t == nil:
		p.wakeDPC()
	case t != by:
		p.sys.CPU.Kick(t.ctx)
	}
}

// removeDPC takes the DPC of a KDPC off p's queue, and reports whether it was there.
func (p *Processor) removeDPC(object guest.Addr) bool {
	p.dpcLock.Lock()
	defer p.dpcLock.Unlock()
	for i := p.dpcFirst; i < len(p.dpcs); i++ {
		if p.dpcs[i].object == object {
			p.dpcs = slices.Delete(p.dpcs, i, i+1)
			return true
		}
	}
	return false
}

// nextDPC takes the first DPC off the queue; when there is none it clears the pending flag.
func (p *Processor) nextDPC() (d queuedDPC, ok bool) {
	p.dpcLock.Lock()
	defer p.dpcLock.Unlock()
	if p.dpcFirst == len(p.dpcs) {
		p.dpcs, p.dpcFirst = p.dpcs[:0], 0
		p.setPending(false)
		return d, false
	}
	d, p.dpcs[p.dpcFirst] = p.dpcs[p.dpcFirst], d
	p.dpcFirst++
	return d, true
}

// runDPCs runs the DPCs that wait on t's processor, at DISPATCH_LEVEL, and restores the IRQL.
//
// While the processor is lent, kicks go to the thread of the DPCs. One that says that another DPC
// has come may be meant for the time after: so the queue is looked at once more when the processor
// is back.
func (t *Thread) runDPCs() {
	p := t.proc
	d := p.dpcThread
	irql := p.pcr.Irql
	p.pcr.Irql = nt.DISPATCH_LEVEL
	for p.pending() {
		t.proc = nil
		d.occupy(p)
		d.runQueue(p)
		d.proc = nil
		t.occupy(p)
	}
	p.pcr.Irql = irql
	// An APC that came meanwhile kicked nobody.
	p.setAPCPending(t.apcs.pending.Load())
}

// runQueue empties p's queue, as the processor's own thread.
func (t *Thread) runQueue(p *Processor) {
	for {
		d, ok := p.nextDPC()
		if !ok {
			return
		}
		p.dpcRuns.Add(1)
		if !p.sys.watching.Load() {
			p.sys.watch()
		}
		if d.work != nil {
			d.work(t)
		} else {
			t.runDPC(d.object)
		}
		p.dpcRuns.Add(1)
	}
}

// runDPC calls the routine of a KDPC. The driver may queue the KDPC again as soon as it runs, and
// free it.
func (t *Thread) runDPC(object guest.Addr) {
	d, err := guest.Ptr[nt.KDPC](object).Load()
	if err == nil {
		err = guest.StoreAddr(object+dpcData, 0)
	}
	if err != nil || d.DpcData != t.proc.region.Base() ||
		d.Type != nt.DpcObject && d.Type != nt.ThreadedDpcObject {
		t.Crash(&Bugcheck{Code: nt.TIMER_OR_DPC_INVALID,
			Params: [4]uint64{1, uint64(object), uint64(object),
				uint64(object) + uint64(sizeofKDPC)},
			Reason: fmt.Sprintf("the KDPC at %v was freed or overwritten while it was queued",
				object)})
	}
	t.Call(d.DeferredRoutine, uint64(object), uint64(d.DeferredContext), uint64(d.SystemArgument1),
		uint64(d.SystemArgument2))
	if now := t.IRQL(); now != nt.DISPATCH_LEVEL {
		t.Crash(&Bugcheck{Code: nt.IRQL_UNEXPECTED_VALUE,
			Params: [4]uint64{uint64(now)<<16 | uint64(nt.DISPATCH_LEVEL)<<8, 0, 0,
				uint64(d.DeferredRoutine)},
			Reason: "a DPC routine returned at " + now.String()})
	}
}

// DeliverDPCs runs the DPCs that wait on t's processor, if the IRQL allows it now.
func (t *Thread) DeliverDPCs() {
	if t.proc.pending() && t.IRQL() < nt.DISPATCH_LEVEL {
		t.runDPCs()
		t.endQuantum()
	}
}

// InDPC reports whether t is a processor's own thread, in which DPC routines run.
func (t *Thread) InDPC() bool { return t.proc != nil && t.proc.dpcThread == t }

// wakeDPC makes p's own goroutine run the DPCs of a processor that no thread holds.
func (p *Processor) wakeDPC() {
	select {
	case p.dpcWake <- struct{}{}:
	default:
	}
}

// runIdle runs DPCs while p is idle, on a goroutine of its own. Whoever else has p runs them
// himself: when he takes p, when he lowers the IRQL or is kicked, or, by wakeDPC, when he gives it
// back.
func (p *Processor) runIdle() {
	s, t := p.sys, p.dpcThread
	for range p.dpcWake {
		if s.Ended() {
			return
		}
		for p.pending() && s.claim(p) {
			err := t.guard(func() {
				p.pcr.Irql = nt.DISPATCH_LEVEL
				t.occupy(p)
				t.runQueue(p)
				p.pcr.Irql = nt.PASSIVE_LEVEL
				t.yieldProcessor()
			})
			if err != nil {
				return
			}
		}
	}
}
