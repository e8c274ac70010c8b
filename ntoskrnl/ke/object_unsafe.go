package ke

import (
	"errors"
	"sync/atomic"
	"unsafe"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Sizes of kernel objects, in bytes.
const (
	sizeofEThread  = unsafe.Sizeof(nt.EThread{})
	sizeofKThread  = unsafe.Sizeof(nt.KThread{})
	sizeofEProcess = unsafe.Sizeof(nt.EProcess{})
	sizeofKProcess = unsafe.Sizeof(nt.KProcess{})

	sizeofKDPC        = unsafe.Sizeof(nt.KDPC{})
	sizeofKEvent      = unsafe.Sizeof(nt.KEvent{})
	sizeofKQueue      = unsafe.Sizeof(nt.KQueue{})
	sizeofKSemaphore  = unsafe.Sizeof(nt.KSemaphore{})
	sizeofKTimer      = unsafe.Sizeof(nt.KTimer{})
	sizeofDeviceQueue = unsafe.Sizeof(nt.KDeviceQueue{})
	sizeofOwnerEntry  = unsafe.Sizeof(nt.OwnerEntry{})
	sizeofKAPC        = unsafe.Sizeof(nt.KAPC{})
	sizeofKMutant     = unsafe.Sizeof(nt.KMutant{})
)

// Offsets into guest structures, in bytes.
const (
	headerType  = guest.Addr(unsafe.Offsetof(nt.DispatcherHeader{}.Type))
	headerState = guest.Addr(unsafe.Offsetof(nt.DispatcherHeader{}.SignalState))
	headerList  = guest.Addr(unsafe.Offsetof(nt.DispatcherHeader{}.WaitListHead))

	semaphoreLimit = guest.Addr(unsafe.Offsetof(nt.KSemaphore{}.Limit))

	mutantList       = guest.Addr(unsafe.Offsetof(nt.KMutant{}.MutantListEntry))
	mutantOwner      = guest.Addr(unsafe.Offsetof(nt.KMutant{}.OwnerThread))
	mutantAbandoned  = guest.Addr(unsafe.Offsetof(nt.KMutant{}.Abandoned))
	mutantAPCDisable = guest.Addr(unsafe.Offsetof(nt.KMutant{}.ApcDisable))

	timerInserted = guest.Addr(unsafe.Offsetof(nt.DispatcherHeader{}.DpcActive))
	timerDue      = guest.Addr(unsafe.Offsetof(nt.KTimer{}.DueTime))
	timerDPC      = guest.Addr(unsafe.Offsetof(nt.KTimer{}.Dpc))
	timerPeriod   = guest.Addr(unsafe.Offsetof(nt.KTimer{}.Period))

	dpcType       = guest.Addr(unsafe.Offsetof(nt.KDPC{}.Type))
	dpcImportance = guest.Addr(unsafe.Offsetof(nt.KDPC{}.Importance))
	dpcNumber     = guest.Addr(unsafe.Offsetof(nt.KDPC{}.Number))
	dpcArgument1  = guest.Addr(unsafe.Offsetof(nt.KDPC{}.SystemArgument1))
	dpcData       = guest.Addr(unsafe.Offsetof(nt.KDPC{}.DpcData))

	fastMutexCount      = guest.Addr(unsafe.Offsetof(nt.FastMutex{}.Count))
	fastMutexOwner      = guest.Addr(unsafe.Offsetof(nt.FastMutex{}.Owner))
	fastMutexContention = guest.Addr(unsafe.Offsetof(nt.FastMutex{}.Contention))
	fastMutexEvent      = guest.Addr(unsafe.Offsetof(nt.FastMutex{}.Event))
	fastMutexOldIRQL    = guest.Addr(unsafe.Offsetof(nt.FastMutex{}.OldIrql))

	apcInserted  = guest.Addr(unsafe.Offsetof(nt.KAPC{}.Inserted))
	apcIndex     = guest.Addr(unsafe.Offsetof(nt.KAPC{}.ApcStateIndex))
	apcArgument1 = guest.Addr(unsafe.Offsetof(nt.KAPC{}.SystemArgument1))

	threadAPCIndex   = guest.Addr(unsafe.Offsetof(nt.KThread{}.ApcStateIndex))
	threadAPCPending = guest.Addr(unsafe.Offsetof(nt.KThread{}.ApcState)) +
		guest.Addr(unsafe.Offsetof(nt.KAPCState{}.KernelApcPending))

	deviceQueueList    = guest.Addr(unsafe.Offsetof(nt.KDeviceQueue{}.DeviceListHead))
	deviceQueueLock    = guest.Addr(unsafe.Offsetof(nt.KDeviceQueue{}.Lock))
	deviceQueueBusy    = guest.Addr(unsafe.Offsetof(nt.KDeviceQueue{}.Busy))
	queueEntryKey      = guest.Addr(unsafe.Offsetof(nt.KDeviceQueueEntry{}.SortKey))
	queueEntryInserted = guest.Addr(unsafe.Offsetof(nt.KDeviceQueueEntry{}.Inserted))

	resourceShared    = guest.Addr(unsafe.Offsetof(nt.EResource{}.SharedWaiters))
	resourceExclusive = guest.Addr(unsafe.Offsetof(nt.EResource{}.ExclusiveWaiters))

	queueEntries = guest.Addr(unsafe.Offsetof(nt.KQueue{}.EntryListHead))
	queueCounts  = guest.Addr(unsafe.Offsetof(nt.KQueue{}.CurrentCount))
	queueThreads = guest.Addr(unsafe.Offsetof(nt.KQueue{}.ThreadListHead))

	threadQueueEntry = guest.Addr(unsafe.Offsetof(nt.KThread{}.QueueListEntry))

	listBlink = guest.Addr(unsafe.Offsetof(nt.ListEntry{}.Blink))

	threadPriority = guest.Addr(unsafe.Offsetof(nt.KThread{}.ApcState) + 0x2B) // in its padding

	threadMutants = guest.Addr(unsafe.Offsetof(nt.EThread{}.Tcb.MutantListHead))
)

// pcrIrql is where a KPCR has the IRQL.
const pcrIrql = guest.Addr(unsafe.Offsetof(nt.KPCR{}.Irql))

// DPCPendingOffset is where a KPCR has the word that is not 0 while DPCs wait on the processor or
// APCs for its thread, in bytes; guest code that lowers the IRQL without an exit reads it. It is one of the words that
// Windows keeps for itself.
const DPCPendingOffset = unsafe.Offsetof(nt.KPCR{}.KernelReserved)

// TimersSetOffset is where a KPCR has the word that is not 0 while any timer is set, and
// PoolMagazineOffset where it has the address of the processor's pool magazine, in bytes: words of the
// same kind, which guest code reads that frees and allocates pool.
const (
	TimersSetOffset    = DPCPendingOffset + 4
	PoolMagazineOffset = DPCPendingOffset + 8
)

// noteTimers says in each KPCR whether timers are set.
func (s *System) noteTimers(set bool) {
	v := uint32(0)
	if set {
		v = 1
	}
	for _, p := range s.procs {
		atomic.StoreUint32(&p.pcr.KernelReserved[1], v)
	}
}

// The bits of the first of them: DPCs wait on the processor, and APCs for the thread that holds it.
const (
	pendingDPC uint32 = 1 << iota
	pendingAPC
)

// pending reports whether DPCs wait on p.
func (p *Processor) pending() bool {
	return atomic.LoadUint32(&p.pcr.KernelReserved[0])&pendingDPC != 0
}

func (p *Processor) setPending(on bool) { p.setPendingBit(pendingDPC, on) }

// setAPCPending says whether APCs wait for the thread that holds p, which is the one that says so.
func (p *Processor) setAPCPending(on bool) {
	if on != (atomic.LoadUint32(&p.pcr.KernelReserved[0])&pendingAPC != 0) {
		p.setPendingBit(pendingAPC, on)
	}
}

func (p *Processor) setPendingBit(bit uint32, on bool) {
	if on {
		atomic.OrUint32(&p.pcr.KernelReserved[0], bit)
	} else {
		atomic.AndUint32(&p.pcr.KernelReserved[0], ^bit)
	}
}

// initList makes a list head in guest memory empty: it points at itself.
func initList(head *nt.ListEntry) {
	a := guest.AddrOf(head)
	head.Flink, head.Blink = a, a
}

func errorsJoin(errs ...error) error { return errors.Join(errs...) }

// Offsets into KAPC_STATE, in bytes.
const (
	apcListSize = guest.Addr(unsafe.Sizeof(nt.ListEntry{}))
	apcProcess  = guest.Addr(unsafe.Offsetof(nt.KAPCState{}.Process))
	apcFlags    = guest.Addr(unsafe.Offsetof(nt.KAPCState{}.InProgressFlags))
)
