package ke

import "github.com/drvhost/drvhost/nt"

// IRQL gives the level at which t runs.
func (t *Thread) IRQL() nt.IRQL { return t.proc.pcr.Irql }

// RaiseIRQL raises the level, as KfRaiseIrql does, and gives the old one. To raise to a lower level
// is a bugcheck, IRQL_NOT_GREATER_OR_EQUAL.
func (t *Thread) RaiseIRQL(level nt.IRQL) (old nt.IRQL) {
	pcr := t.proc.pcr
	old = pcr.Irql
	if level < old || level > nt.HIGH_LEVEL {
		t.Bugcheck(nt.IRQL_NOT_GREATER_OR_EQUAL, uint64(level), uint64(old), 0, 0)
	}
	pcr.Irql = level
	return old
}

// LowerIRQL restores a level, as KeLowerIrql does. DPCs that waited for the processor to go below
// DISPATCH_LEVEL run first. To lower to a higher level is a bugcheck, IRQL_NOT_LESS_OR_EQUAL.
//
// No DPC is lost: whoever queues one sets the processor's pending flag and then looks who holds the
// processor; this sets the level and then looks at the flag. If the flag was set too late to be
// seen here, the one who set it kicks this thread, which then runs DPCs in preempted.
func (t *Thread) LowerIRQL(level nt.IRQL) {
	pcr := t.proc.pcr
	if level > pcr.Irql {
		t.Bugcheck(nt.IRQL_NOT_LESS_OR_EQUAL, 0, uint64(level), 0, uint64(pcr.Irql))
	}
	pcr.Irql = level
	if level >= nt.DISPATCH_LEVEL {
		return
	}
	t.DeliverDPCs()
	if t.affinity&t.proc.bit() == 0 {
		t.Reschedule()
	}
}
