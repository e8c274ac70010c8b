package ke

import (
	"fmt"

	"github.com/drvhost/drvhost/nt"
)

// Critical and guarded regions: counters in the KTHREAD that keep kernel APCs away.

// EnterCriticalRegion disables normal kernel APCs; regions nest.
func (t *Thread) EnterCriticalRegion() { t.ETHREAD().Tcb.KernelApcDisable-- }

// LeaveCriticalRegion undoes EnterCriticalRegion.
func (t *Thread) LeaveCriticalRegion() { t.ETHREAD().Tcb.KernelApcDisable++ }

// EnterGuardedRegion disables all kernel APCs; regions nest.
func (t *Thread) EnterGuardedRegion() { t.ETHREAD().Tcb.SpecialApcDisable-- }

// LeaveGuardedRegion undoes EnterGuardedRegion.
func (t *Thread) LeaveGuardedRegion() { t.ETHREAD().Tcb.SpecialApcDisable++ }

// APCsDisabled reports whether normal kernel APCs are disabled.
func (t *Thread) APCsDisabled() bool {
	tcb := &t.ETHREAD().Tcb
	return tcb.KernelApcDisable != 0 || tcb.SpecialApcDisable != 0
}

// AllAPCsDisabled reports whether special kernel APCs are disabled too, also by the IRQL.
func (t *Thread) AllAPCsDisabled() bool {
	return t.ETHREAD().Tcb.SpecialApcDisable != 0 || t.IRQL() >= nt.APC_LEVEL
}

// checkService is the bugcheck of a Do whose driver code has left the thread at a raised IRQL, in a
// region or attached to a process: the ones that Windows gives when a system service ends so.
func (t *Thread) checkService() {
	if irql := t.IRQL(); irql != nt.PASSIVE_LEVEL {
		t.Crash(&Bugcheck{Code: nt.IRQL_GT_ZERO_AT_SYSTEM_SERVICE,
			Params: [4]uint64{uint64(t.ctx.RIP), uint64(irql), 0, 0},
			Reason: "a driver's routine returned at " + irql.String()})
	}
	tcb := &t.ETHREAD().Tcb
	if t.IsAttached() {
		t.Crash(&Bugcheck{Code: nt.APC_INDEX_MISMATCH,
			Params: [4]uint64{uint64(t.ctx.RIP), uint64(tcb.ApcStateIndex), 0, 0},
			Reason: fmt.Sprintf("a driver's routine returned attached to process %v",
				tcb.ApcState.Process)})
	}
	if tcb.KernelApcDisable != 0 || tcb.SpecialApcDisable != 0 {
		t.Crash(&Bugcheck{Code: nt.APC_INDEX_MISMATCH,
			Params: [4]uint64{uint64(t.ctx.RIP), 0, uint64(uint16(tcb.SpecialApcDisable))<<16 |
				uint64(uint16(tcb.KernelApcDisable)), 0},
			Reason: fmt.Sprintf("a driver's routine returned in a critical or guarded region, or with "+
				"a mutex (KernelApcDisable %d, SpecialApcDisable %d)", tcb.KernelApcDisable,
				tcb.SpecialApcDisable)})
	}
}
