package irp

import (
	"errors"
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Complete completes an IRP: IofCompleteRequest. Completion routines run, from the completing
// driver's upwards, as their flags ask; one that returns STATUS_MORE_PROCESSING_REQUIRED stops it
// there, and the IRP is that driver's again.
//
// MULTIPLE_IRP_COMPLETE_REQUESTS for an IRP that is completed already,
// CANCEL_STATE_IN_COMPLETED_IRP for one that still has a cancel routine, and
// DRIVER_VERIFIER_IOMANAGER_VIOLATION for the status STATUS_PENDING and for a completion routine that
// does not pass PendingReturned on.
func (m *Manager) Complete(t *ke.Thread, addr guest.Addr) {
	p, use := m.inPlace(t, addr)
	i := p.irp
	n, count := p.position(t)
	if i.CancelRoutine != 0 {
		t.Crash(&ke.Bugcheck{Code: nt.CANCEL_STATE_IN_COMPLETED_IRP,
			Params: [4]uint64{uint64(addr), uint64(i.CancelRoutine), 0, 0},
			Reason: fmt.Sprintf("IRP %v was completed with its cancel routine still set", addr)})
	}
	if i.IoStatus.Status == nt.STATUS_PENDING {
		violation(t, violationPendingStatus, uint64(nt.STATUS_PENDING), uint64(addr), 0,
			"IRP %v was completed with STATUS_PENDING", addr)
	}
	e := ending{}
	for n <= count {
		loc := location(i, n)
		control, routine, context := loc.Control, loc.CompletionRoutine, loc.Context
		pending := control & nt.SL_PENDING_RETURNED
		e.status, e.marked = i.IoStatus.Status, pending != 0
		p.leave(n, e)
		n++
		i.PendingReturned = pending
		i.CurrentLocation = n
		i.Tail.Overlay.CurrentStackLocation = locationAddr(addr, n)
		if !invoked(i, control) {
			if pending != 0 && n <= count {
				location(i, n).Control |= nt.SL_PENDING_RETURNED
			}
			continue
		}
		// The routine's owner is the driver above, whose location is current now; the one who made
		// the IRP has none.
		device := guest.Addr(0)
		if n <= count {
			device = location(i, n).DeviceObject
		}
		irql := t.IRQL()
		status := nt.Status(t.Call(routine, uint64(device), uint64(addr), uint64(context)))
		if now := t.IRQL(); now != irql {
			t.Crash(&ke.Bugcheck{Code: nt.DRIVER_VERIFIER_DETECTED_VIOLATION,
				Params: [4]uint64{completionIRQL, uint64(routine), uint64(irql), uint64(now)},
				Reason: fmt.Sprintf("the completion routine at %v was called at %v and returned at %v",
					routine, irql, now)})
		}
		if status == nt.STATUS_MORE_PROCESSING_REQUIRED {
			return
		}
		if p.use.Load() != use || p.foreign && !p.there() {
			t.Crash(&ke.Bugcheck{Code: nt.MULTIPLE_IRP_COMPLETE_REQUESTS,
				Params: [4]uint64{uint64(addr), 0, 0, 0},
				Reason: fmt.Sprintf("the completion routine at %v freed or completed IRP %v and did "+
					"not return STATUS_MORE_PROCESSING_REQUIRED", routine, addr)})
		}
		n, count = p.position(t)
		e.changed = e.changed || i.IoStatus.Status != e.status
		if pending != 0 && n <= count && !m.NoVerify && device != 0 &&
			location(i, n).Control&nt.SL_PENDING_RETURNED == 0 {
			violation(t, violationNotPropagated, uint64(routine), uint64(addr), uint64(device),
				"the completion routine at %v was called with PendingReturned, and did not mark the IRP "+
					"pending", routine)
		}
	}
	m.finish(t, p, use, e)
}

// invoked reports whether a location's completion routine is to be called.
func invoked(i *nt.IRP, control uint8) bool {
	const any = nt.SL_INVOKE_ON_SUCCESS | nt.SL_INVOKE_ON_ERROR | nt.SL_INVOKE_ON_CANCEL
	switch {
	case control&any == 0:
		return false
	case i.IoStatus.Status.Success() && control&nt.SL_INVOKE_ON_SUCCESS != 0:
		return true
	case !i.IoStatus.Status.Success() && control&nt.SL_INVOKE_ON_ERROR != 0:
		return true
	}
	return i.Cancel != 0 && control&nt.SL_INVOKE_ON_CANCEL != 0
}

// finish ends an IRP that has come all the way up. If a client's request made it, that gets its
// result; else it stays the driver's, which is expected to have stopped it.
func (m *Manager) finish(t *ke.Thread, p *packet, use uint32, e ending) {
	r, reqUse := p.req, p.reqUse
	if r == nil {
		switch {
		case p.built != nil:
			m.finishBuilt(t, p, use)
		case p.master != 0:
			m.finishAssociated(t, p, use)
		}
		return
	}
	if p.owner != nil {
		m.owned.drop(p)
	}
	result, flags := p.irp.IoStatus, p.irp.Flags
	system, mdl := p.irp.AssociatedIrp.SystemBuffer, p.irp.MdlAddress
	m.endOnce(t, p, use)
	inline := r.starter == t && r.dispatching
	if !inline && !r.deliver(reqUse) {
		return // the kernel has ended, and the client knows
	}
	r.IOStatus, r.Information, r.ending = result.Status, uint64(result.Information), e
	r.takeResults(flags, system)
	// A driver may have put other buffers in the place of the first ones, as a filter does, and then
	// has seen to those.
	if r.system != 0 {
		r.system = system
		if flags&nt.IRP_DEALLOCATE_BUFFER == 0 {
			r.system = 0
		}
	}
	err := p.checkBuffer()
	if mdl != 0 || r.mdl != 0 {
		err = errors.Join(err, m.freeMDLs(r, mdl))
	}
	if e := m.releaseBuffers(r); e != nil {
		err = errors.Join(err, e)
	}
	if inline {
		m.finishPacket(r, p)
		r.inline = true
	} else {
		s := sent{irp: p.addr, device: r.Open.File.Device.Object.Addr(), major: r.Major}
		m.finishPacket(r, p)
		if returned, fits := r.completed(); !fits && !m.NoVerify {
			s.misfit(t, returned, e)
		}
	}
	if err != nil {
		m.mustFree(t, err)
	}
}

// mustFree is the bugcheck of a driver that has freed or overrun what the I/O manager gave it, found
// by the memory manager when that was given back.
func (m *Manager) mustFree(t *ke.Thread, err error) {
	if err == nil {
		return
	}
	b := &ke.Bugcheck{Code: nt.BAD_POOL_CALLER, Reason: err.Error()}
	var stop interface {
		error
		BugCheck() (nt.BugCheck, [4]uint64)
	}
	if errors.As(err, &stop) {
		b.Code, b.Params = stop.BugCheck()
		b.Reason = stop.Error() + "; found when the buffers of an IRP were freed"
	}
	t.Crash(b)
}

// Fail completes an IRP with an error status and no information.
func (m *Manager) Fail(t *ke.Thread, addr guest.Addr, status nt.Status) {
	p, _ := m.inPlace(t, addr)
	p.irp.IoStatus.Status, p.irp.IoStatus.Information = status, 0
	m.Complete(t, addr)
}
