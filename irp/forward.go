package irp

// The next stack location of an IRP, as the I/O manager's own routines set it for a driver.

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// around gives the IRP's next stack location in place, and the current one, or nil where there is none.
func (p *packet) around() (next, current *nt.IOStackLocation) {
	n := p.irp.CurrentLocation
	if n >= 2 && n <= p.room+1 {
		next = location(p.irp, n-1)
	}
	if n >= 1 && n <= min(p.irp.StackCount, p.room) {
		current = location(p.irp, n)
	}
	return next, current
}

// SetCompletion is IoSetCompletionRoutine, with the SL_INVOKE_ON_ flags in control.
func (m *Manager) SetCompletion(t *ke.Thread, irp, routine, context guest.Addr, control uint8) {
	p, _ := m.inPlace(t, irp)
	next, _ := p.around()
	if next == nil {
		t.Crash(&ke.Bugcheck{Code: nt.NO_MORE_IRP_STACK_LOCATIONS,
			Params: [4]uint64{uint64(irp), 0, 0, 0},
			Reason: fmt.Sprintf("a completion routine was set for IRP %v, which has no stack location "+
				"left", irp)})
	}
	next.CompletionRoutine, next.Context, next.Control = routine, context, control
}

// CopyToNext is IoCopyCurrentIrpStackLocationToNext. It reports whether both locations are there.
func (m *Manager) CopyToNext(t *ke.Thread, irp guest.Addr) bool {
	p, _ := m.inPlace(t, irp)
	next, current := p.around()
	if next == nil || current == nil {
		return false
	}
	*next = *current
	next.CompletionRoutine, next.Context, next.Control = 0, 0, 0
	return true
}
