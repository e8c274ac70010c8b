package ntoskrnl

import (
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// The routines in ke_leaf_amd64.s: each goes on to a row of the kernel's own when it is not the
// common case.

// Offsets into KPCR, from GS, and into KLOCK_QUEUE_HANDLE, in bytes.
const (
	kpcrIRQL    = nt.GSCurrentIrql
	kpcrThread  = nt.GSCurrentThread
	kpcrPending = ke.DPCPendingOffset

	queueNext    = lockQueueNext
	queueLock    = lockQueueLock
	queueOldIRQL = lockQueueOldIRQL
)

var (
	codeGetIRQL         = &Code{Text: leafText(addrGetIRQL)}
	codeRaiseIRQL       = &Code{Text: leafText(addrRaiseIRQL), Next: "KiRaiseIrql"}
	codeRaiseToDPC      = &Code{Text: leafText(addrRaiseToDPC), Next: "KiRaiseIrqlToDpcLevel"}
	codeLowerIRQL       = &Code{Text: leafText(addrLowerIRQL), Next: "KiLowerIrql"}
	codeAcquireSpinLock = &Code{Text: leafText(addrAcquireSpinLock),
		Next: "KiAcquireSpinLockRaiseToDpc"}
	codeReleaseSpinLock = &Code{Text: leafText(addrReleaseSpinLock), Next: "KiReleaseSpinLock"}
	codeAcquireAtDPC    = &Code{Text: leafText(addrAcquireAtDPC),
		Next: "KiAcquireSpinLockAtDpcLevel"}
	codeReleaseFromDPC = &Code{Text: leafText(addrReleaseFromDPC),
		Next: "KiReleaseSpinLockFromDpcLevel"}
	codeAcquireQueued = &Code{Text: leafText(addrAcquireQueued),
		Next: "KiAcquireInStackQueuedSpinLock"}
	codeReleaseQueued = &Code{Text: leafText(addrReleaseQueued), Next: "KeReleaseSpinLock"}
)
