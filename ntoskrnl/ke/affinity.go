package ke

import "github.com/drvhost/drvhost/nt"

// Which processors a thread may run on.

// SetSystemAffinity moves t to the processors of mask, and gives the mask of the affinity that a
// driver had set before, or 0 if none had. A mask without a processor of the system is as one with
// all. RevertAffinity with the result goes back.
func (t *Thread) SetSystemAffinity(mask uint64) (before uint64) {
	before = t.systemAffinity
	t.systemAffinity = mask & t.sys.ActiveProcessors()
	t.move()
	return before
}

// RevertAffinity goes back to what SetSystemAffinity gave, or with 0 to the thread's own affinity.
func (t *Thread) RevertAffinity(before uint64) {
	t.systemAffinity = before & t.sys.ActiveProcessors()
	t.move()
}

// SystemAffinity gives the mask that a driver has set, or 0 if none has.
func (t *Thread) SystemAffinity() uint64 { return t.systemAffinity }

// move makes t run on a processor that it is to run on: now, or when it goes below DISPATCH_LEVEL.
func (t *Thread) move() {
	t.affinity = t.systemAffinity
	if t.affinity == 0 {
		t.affinity = t.sys.ActiveProcessors()
	}
	switch {
	case t.affinity&t.proc.bit() != 0:
	case t.IRQL() < nt.DISPATCH_LEVEL:
		t.Reschedule()
	default:
		t.proc.setPending(true) // guest code that lowers the IRQL leaves for Go
	}
}

// ActiveProcessors gives a mask with a bit for each processor.
func (s *System) ActiveProcessors() uint64 { return 1<<s.Config.Processors - 1 }
