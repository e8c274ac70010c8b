package ke

import "github.com/drvhost/drvhost/nt"

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
