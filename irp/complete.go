package irp

import (
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
// CANCEL_STATE_IN_COMPLETED_IRP for one that still has a cancel routine, and a violation for the
// status STATUS_PENDING.
func (m *Manager) Complete(t *ke.Thread, addr guest.Addr) {
	i, _ := m.inPlace(t, addr)
	if i.CurrentLocation < 1 || i.CurrentLocation > i.StackCount+1 {
		t.Crash(&ke.Bugcheck{Code: nt.MULTIPLE_IRP_COMPLETE_REQUESTS,
			Params: [4]uint64{uint64(addr), 0, 0, 0},
			Reason: fmt.Sprintf("IRP %v was completed twice", addr)})
	}
	if i.CancelRoutine != 0 {
		t.Crash(&ke.Bugcheck{Code: nt.CANCEL_STATE_IN_COMPLETED_IRP,
			Params: [4]uint64{uint64(addr), uint64(i.CancelRoutine), 0, 0},
			Reason: fmt.Sprintf("IRP %v was completed with its cancel routine still set", addr)})
	}
	if i.IoStatus.Status == nt.STATUS_PENDING {
		t.Crash(&ke.Bugcheck{Code: nt.DRIVER_VERIFIER_DETECTED_VIOLATION,
			Params: [4]uint64{completedPending, 0, uint64(addr), uint64(nt.STATUS_PENDING)},
			Reason: fmt.Sprintf("IRP %v was completed with STATUS_PENDING", addr)})
	}
	for i.CurrentLocation <= i.StackCount {
		loc := *location(i, i.CurrentLocation)
		i.PendingReturned = loc.Control & nt.SL_PENDING_RETURNED
		i.CurrentLocation++
		i.Tail.Overlay.CurrentStackLocation = locationAddr(i, i.CurrentLocation)
		if !invoked(i, loc.Control) {
			if i.PendingReturned != 0 && i.CurrentLocation <= i.StackCount {
				location(i, i.CurrentLocation).Control |= nt.SL_PENDING_RETURNED
			}
			continue
		}
		// The routine's owner is the driver above, whose location is current now; the one who made
		// the IRP has none.
		device := guest.Addr(0)
		if i.CurrentLocation <= i.StackCount {
			device = location(i, i.CurrentLocation).DeviceObject
		}
		status := nt.Status(t.Call(loc.CompletionRoutine, uint64(device), uint64(addr), uint64(loc.Context)))
		if status == nt.STATUS_MORE_PROCESSING_REQUIRED {
			return
		}
	}
	m.finish(addr)
}

// completedPending is DRIVER_VERIFIER_DETECTED_VIOLATION's first parameter for an IRP that is
// completed with STATUS_PENDING ("Bug Check 0xC4").
const completedPending = 0x22E

// invoked reports whether a location's completion routine is to be called.
func invoked(i *nt.IRP, control uint8) bool {
	switch {
	case i.IoStatus.Status.Success() && control&nt.SL_INVOKE_ON_SUCCESS != 0:
		return true
	case !i.IoStatus.Status.Success() && control&nt.SL_INVOKE_ON_ERROR != 0:
		return true
	}
	return i.Cancel != 0 && control&nt.SL_INVOKE_ON_CANCEL != 0
}

// finish ends an IRP that has come all the way up. If a client's request made it, that gets its
// result.
func (m *Manager) finish(addr guest.Addr) {
	p := m.slabs.find(addr)
	if p == nil {
		return
	}
	r := p.req
	if r == nil {
		return
	}
	r.IOStatus, r.Information = p.irp.IoStatus.Status, uint64(p.irp.IoStatus.Information)
	m.takeResults(r)
	m.releaseBuffers(r)
	r.Open.mu.Lock()
	r.packet = nil // from here on there is nothing to cancel
	r.Open.mu.Unlock()
	m.slabs.put(p)
	r.half(stateCompleted)
}

// Fail completes an IRP with an error status and no information.
func (m *Manager) Fail(t *ke.Thread, addr guest.Addr, status nt.Status) {
	i, _ := m.inPlace(t, addr)
	i.IoStatus.Status, i.IoStatus.Information = status, 0
	m.Complete(t, addr)
}
