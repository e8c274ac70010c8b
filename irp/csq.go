package irp

// Cancel-safe queues: a driver's own queue of IRPs, for which the I/O manager does everything about
// cancelling. The queue and its lock are the driver's, behind the routines in its IO_CSQ; who takes
// the cancel routine out of an IRP owns it ("Cancel-Safe IRP Queues").
//
// All state is in guest memory: the IO_CSQ, the IO_CSQ_IRP_CONTEXT that a driver may give with an
// IRP, and the IRP's DriverContext[3], which points to one of the two.

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// CSQ is IO_CSQ.
type CSQ struct {
	Type             uint32
	_                [4]byte
	InsertIrp        guest.Addr // or InsertIrpEx
	RemoveIrp        guest.Addr
	PeekNextIrp      guest.Addr
	AcquireLock      guest.Addr
	ReleaseLock      guest.Addr
	CompleteCanceled guest.Addr
	Reserved         guest.Addr
}

// CSQContext is IO_CSQ_IRP_CONTEXT.
type CSQContext struct {
	Type uint32
	_    [4]byte
	Irp  guest.Addr // 0 when it is in the queue no more
	Csq  guest.Addr
}

// The types of both structures, as csq.h has them.
const (
	CSQIRPContextType uint32 = 1 // IO_TYPE_CSQ_IRP_CONTEXT
	CSQType           uint32 = 2 // IO_TYPE_CSQ
	CSQExType         uint32 = 3 // IO_TYPE_CSQ_EX: InsertIrp is a CSQ_INSERT_IRP_EX
)

// csq is a queue for the length of a call: a copy of the driver's structure, and room for an IRQL that
// its lock routines are given.
type csq struct {
	CSQ
	at   guest.Addr
	t    *ke.Thread
	irql guest.Addr // of a KIRQL
}

// openCSQ reads the IO_CSQ at a. irql is a byte of guest memory that is the caller's.
func openCSQ(t *ke.Thread, at, irql guest.Addr) (q csq, err error) {
	q = csq{at: at, t: t, irql: irql}
	if q.CSQ, err = guest.Ptr[CSQ](at).Load(); err != nil {
		return q, err
	}
	if q.Type != CSQType && q.Type != CSQExType {
		return q, &ke.ObjectError{Object: at, Want: "IO_CSQ", Type: uint8(q.Type)}
	}
	return q, nil
}

func (q *csq) lock() { q.t.Call(q.AcquireLock, uint64(q.at), uint64(q.irql)) }

func (q *csq) unlock() error {
	irql, err := guest.Load8(q.irql)
	if err == nil {
		q.t.Call(q.ReleaseLock, uint64(q.at), uint64(irql))
	}
	return err
}

func (q *csq) remove(irp guest.Addr) { q.t.Call(q.RemoveIrp, uint64(q.at), uint64(irp)) }

func (q *csq) completeCancelled(irp guest.Addr) {
	q.t.Call(q.CompleteCanceled, uint64(q.at), uint64(irp))
}

// InsertCSQ is IoCsqInsertIrpEx: it marks the IRP pending and puts it into the queue, unless the
// driver's routine refuses it with an error; a cancelled one is completed at once. context, which may
// be 0, is an IO_CSQ_IRP_CONTEXT by which RemoveCSQ finds it. cancel is the address of the routine
// that does CancelCSQ.
func (m *Manager) InsertCSQ(t *ke.Thread, at, irp, context, insertContext, irql, cancel guest.Addr) (
	nt.Status, error) {
	q, err := openCSQ(t, at, irql)
	if err != nil {
		return 0, err
	}
	p, _ := m.inPlace(t, irp)
	tie := at
	if context != 0 {
		tie = context
		c := CSQContext{Type: CSQIRPContextType, Irp: irp, Csq: at}
		if err := guest.Ptr[CSQContext](context).Store(c); err != nil {
			return 0, err
		}
	}
	p.irp.Tail.Overlay.DriverContext[3] = tie
	q.lock()
	status := nt.STATUS_SUCCESS
	if q.Type == CSQExType {
		status = nt.Status(t.Call(q.InsertIrp, uint64(at), uint64(irp), uint64(insertContext)))
	} else {
		t.Call(q.InsertIrp, uint64(at), uint64(irp))
	}
	if !status.Success() {
		return status, q.unlock()
	}
	p.markPending(t)
	if err := guest.Store64(p.addr+cancelRoutineOffset, uint64(cancel)); err != nil {
		return 0, err
	}
	cancelled, err := guest.Load8(p.addr + cancelOffset)
	if err != nil {
		return 0, err
	}
	if cancelled != 0 && p.takeCancelRoutine() != 0 {
		// Whoever cancelled it came too early to find the routine.
		q.remove(irp)
		if err := p.untie(); err != nil {
			return 0, err
		}
		err := q.unlock()
		if err == nil {
			q.completeCancelled(irp)
		}
		return status, err
	}
	return status, q.unlock()
}

// RemoveNextCSQ is IoCsqRemoveNextIrp: it takes the next IRP out of the queue that the driver's peek
// routine gives and that is not being cancelled, or gives 0.
func (m *Manager) RemoveNextCSQ(t *ke.Thread, at, peekContext, irql guest.Addr) (guest.Addr, error) {
	q, err := openCSQ(t, at, irql)
	if err != nil {
		return 0, err
	}
	q.lock()
	irp := guest.Addr(0)
	for {
		irp = guest.Addr(t.Call(q.PeekNextIrp, uint64(at), uint64(irp), uint64(peekContext)))
		if irp == 0 {
			return 0, q.unlock()
		}
		p, _ := m.inPlace(t, irp)
		if p.takeCancelRoutine() == 0 {
			continue // its cancel routine waits for the queue's lock
		}
		q.remove(irp)
		if err := p.untie(); err != nil {
			return 0, err
		}
		return irp, q.unlock()
	}
}

// RemoveCSQ is IoCsqRemoveIrp: it takes the IRP of a context out of the queue, and gives 0 if it is
// not there any more, or is being cancelled.
func (m *Manager) RemoveCSQ(t *ke.Thread, at, context, irql guest.Addr) (guest.Addr, error) {
	q, err := openCSQ(t, at, irql)
	if err != nil {
		return 0, err
	}
	q.lock()
	c, err := guest.Ptr[CSQContext](context).Load()
	if err != nil {
		return 0, err
	}
	if c.Irp == 0 {
		return 0, q.unlock()
	}
	if c.Csq != at || c.Type != CSQIRPContextType {
		return 0, &ke.ObjectError{Object: context, Want: "IO_CSQ_IRP_CONTEXT of this queue",
			Type: uint8(c.Type)}
	}
	p, _ := m.inPlace(t, c.Irp)
	if p.takeCancelRoutine() == 0 {
		return 0, q.unlock()
	}
	q.remove(c.Irp)
	if err := p.untie(); err != nil {
		return 0, err
	}
	return c.Irp, q.unlock()
}

// CancelCSQ is the cancel routine of an IRP in a queue.
func (m *Manager) CancelCSQ(t *ke.Thread, irp, irql guest.Addr) error {
	p, _ := m.inPlace(t, irp)
	m.cancel.Release(t, p.irp.CancelIrql)
	at, context, err := p.tied()
	if err != nil {
		return err
	}
	q, err := openCSQ(t, at, irql)
	if err != nil {
		return err
	}
	q.lock()
	q.remove(irp)
	if context != 0 {
		if err := p.untie(); err != nil {
			return err
		}
	}
	if err := q.unlock(); err != nil {
		return err
	}
	q.completeCancelled(irp)
	return nil
}

// tied gives the queue that an IRP is in, and its context, or 0.
func (p *packet) tied() (queue, context guest.Addr, err error) {
	tie := p.irp.Tail.Overlay.DriverContext[3]
	typ, err := guest.Load32(tie)
	if err != nil || typ != CSQIRPContextType {
		return tie, 0, err
	}
	c, err := guest.Ptr[CSQContext](tie).Load()
	return c.Csq, tie, err
}

// untie tells the context of an IRP, if it has one, that it is in the queue no more.
func (p *packet) untie() error {
	_, context, err := p.tied()
	if err == nil && context != 0 {
		err = guest.StoreAddr(context+csqContextIRP, 0)
	}
	p.irp.Tail.Overlay.DriverContext[3] = 0
	return err
}

// takeCancelRoutine takes the cancel routine out of an IRP: IoSetCancelRoutine(Irp, NULL).
func (p *packet) takeCancelRoutine() guest.Addr {
	old, _ := guest.Swap64(p.addr+cancelRoutineOffset, 0) // the host's own memory
	return guest.Addr(old)
}

// markPending is IoMarkIrpPending.
func (p *packet) markPending(t *ke.Thread) {
	n, count := p.position(t)
	if n > count {
		t.Crash(&ke.Bugcheck{Code: nt.NO_MORE_IRP_STACK_LOCATIONS,
			Params: [4]uint64{uint64(p.addr), 0, 0, 0},
			Reason: fmt.Sprintf("IRP %v was marked pending by one who has no stack location in it",
				p.addr)})
	}
	location(p.irp, n).Control |= nt.SL_PENDING_RETURNED
}
