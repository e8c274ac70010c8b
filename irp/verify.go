package irp

// What a dispatch routine has to keep to, checked as Driver Verifier's I/O verification does: a right
// driver cannot notice.
//
// A routine that completes its IRP returns the status that it was completed with; one that does not
// returns STATUS_PENDING, or what the driver below returned; and STATUS_PENDING is returned if, and
// only if, the IRP was marked pending ("Bug Check 0xC9: DRIVER_VERIFIER_IOMANAGER_VIOLATION",
// "IoMarkIrpPending function (wdm.h)"). A completion routine that changes the status of the IRP and
// lets it go up makes the statuses differ without harm; that ends the comparison of statuses.

import (
	"fmt"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// The kinds of DRIVER_VERIFIER_IOMANAGER_VIOLATION, its first parameter. Those from 0x200 on have the
// address of the routine, the IRP and the device object as the others.
const (
	violationFreeOwned       = 0x02  // IoFreeIrp of an IRP that belongs to a thread
	violationDevice          = 0x04  // IoCallDriver with what is no device object
	violationIRQL            = 0x05  // a dispatch routine returned at another IRQL
	violationPendingStatus   = 0x06  // an IRP completed with STATUS_PENDING
	violationCancelRoutine   = 0x203 // IoCallDriver with a cancel routine set
	violationMajor           = 0x200 // IoCallDriver with a major function that there is none
	violationStatus          = 0x224 // the routine returned another status than the IRP has
	violationNotCompleted    = 0x226 // neither completed, nor passed on, nor pending
	violationNotPropagated   = 0x228 // PendingReturned, and the completion routine did not mark it
	violationNotMarked       = 0x23D // STATUS_PENDING returned, and the IRP not marked
	violationMarkedNoPending = 0x23E // marked pending, and another status returned
)

// completionIRQL is DRIVER_VERIFIER_DETECTED_VIOLATION's first parameter for a completion routine that
// returns at another IRQL ("Bug Check 0xC4").
const completionIRQL = 0xFA

// violation is the bugcheck of such a mistake.
func violation(t *ke.Thread, kind uint64, p2, p3, p4 uint64, format string, args ...any) {
	t.Crash(&ke.Bugcheck{Code: nt.DRIVER_VERIFIER_IOMANAGER_VIOLATION,
		Params: [4]uint64{kind, p2, p3, p4}, Reason: fmt.Sprintf(format, args...)})
}

// sent tells of a dispatch routine that has returned.
type sent struct {
	routine, device, irp guest.Addr
	major                nt.MajorFunction
}

func (s sent) violation(t *ke.Thread, kind uint64, format string, args ...any) {
	violation(t, kind, uint64(s.routine), uint64(s.irp), uint64(s.device),
		fmt.Sprintf("the dispatch routine at %v for %v ", s.routine, s.major)+format, args...)
}

// ending is how an IRP was completed, as a driver of it must know.
type ending struct {
	status  nt.Status
	marked  bool // it was marked pending
	changed bool // a completion routine had changed the status before
}

// fits reports whether a dispatch routine may have returned that status for its IRP.
func (e ending) fits(returned nt.Status) bool {
	if returned == nt.STATUS_PENDING {
		return e.marked
	}
	return !e.marked && (returned == e.status || e.changed)
}

// misfit is the bugcheck of a dispatch routine whose status does not fit.
func (s sent) misfit(t *ke.Thread, returned nt.Status, e ending) {
	switch {
	case returned == nt.STATUS_PENDING:
		s.violation(t, violationNotMarked, "returned STATUS_PENDING, and did not mark the IRP pending")
	case e.marked:
		s.violation(t, violationMarkedNoPending, "marked the IRP pending, and returned %s", returned.String())
	default:
		s.violation(t, violationStatus, "returned %s, and completed the IRP with %s", returned.String(),
			e.status.String())
	}
}

// level says how far the driver at a stack location is with an IRP that another driver sent it. Each
// word is one of sends, with the end of the level's completion in its lower bits.
type level struct{ word atomic.Uint64 }

const (
	levelDone    = 1 << 32 // the location's completion has begun; its status is in the lowest 32 bits
	levelMarked  = 1 << 33 // and it was marked pending
	levelChanged = 1 << 34 // and a completion routine had changed the status before
	levelShift   = 35      // the count of sends
)

// enter notes that the IRP is sent to the driver at location n, and gives the send's number.
func (p *packet) enter(n int8) (number uint64) {
	number = p.sends.Add(1) & (1<<(64-levelShift) - 1)
	p.levels[n-1].word.Store(number << levelShift)
	return number
}

// leave notes that the completion of location n begins.
func (p *packet) leave(n int8, e ending) {
	w := &p.levels[n-1].word
	old := w.Load()
	if old == 0 {
		return // no driver sent it
	}
	bits := old>>levelShift<<levelShift | levelDone | uint64(uint32(e.status))
	if e.marked {
		bits |= levelMarked
	}
	if e.changed {
		bits |= levelChanged
	}
	w.Store(bits)
}

// checkReturn checks what a dispatch routine returned that another driver has called.
func (p *packet) checkReturn(t *ke.Thread, s sent, n int8, number uint64, returned nt.Status) {
	bits := p.levels[n-1].word.Load()
	switch {
	case bits>>levelShift != number:
		// It was sent on, or is another IRP by now.
	case bits&levelDone != 0:
		e := ending{nt.Status(uint32(bits)), bits&levelMarked != 0, bits&levelChanged != 0}
		if !e.fits(returned) {
			s.misfit(t, returned, e)
		}
	case returned != nt.STATUS_PENDING:
		s.notCompleted(t, returned)
	}
}

func (s sent) notCompleted(t *ke.Thread, returned nt.Status) {
	s.violation(t, violationNotCompleted, "returned %s, and neither completed the IRP nor passed it on",
		returned.String())
}

// checkIRQL checks that a dispatch routine returned at the IRQL at which it was called.
func (s sent) checkIRQL(t *ke.Thread, before nt.IRQL) {
	if now := t.IRQL(); now != before {
		violation(t, violationIRQL, uint64(s.device), uint64(before), uint64(now),
			"the dispatch routine at %v for %v was called at %v and returned at %v", s.routine, s.major,
			before, now)
	}
}
