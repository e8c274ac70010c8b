package ntoskrnl

import (
	"unsafe"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Offsets into threads and processes, in bytes. KTHREAD.Priority lies in the padding of ApcState.
const (
	imageFileName      = guest.Addr(unsafe.Offsetof(nt.EProcess{}.ImageFileName))
	threadBasePriority = guest.Addr(unsafe.Offsetof(nt.KThread{}.BasePriority))
	threadPriority     = guest.Addr(unsafe.Offsetof(nt.KThread{}.ApcState) + 0x2B)

	sizeofIOWorkItem = unsafe.Sizeof(ioWorkItem{})
	sizeofCallback   = unsafe.Sizeof(callbackObject{})
)

// Offsets into KLOCK_QUEUE_HANDLE, in bytes.
const (
	lockQueue        = unsafe.Offsetof(nt.KLockQueueHandle{}.LockQueue)
	lockQueueNext    = lockQueue + unsafe.Offsetof(nt.KSpinLockQueue{}.Next)
	lockQueueLock    = lockQueue + unsafe.Offsetof(nt.KSpinLockQueue{}.Lock)
	lockQueueOldIRQL = unsafe.Offsetof(nt.KLockQueueHandle{}.OldIrql)
)

// Addresses of the routines in ke_leaf_amd64.s, in Go's text.
var (
	addrGetIRQL, addrRaiseIRQL, addrRaiseToDPC, addrLowerIRQL *byte
	addrAcquireSpinLock, addrReleaseSpinLock                  *byte
	addrAcquireAtDPC, addrReleaseFromDPC                      *byte
	addrAcquireQueued, addrReleaseQueued                      *byte
)
