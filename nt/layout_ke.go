// Layouts of the kernel core: dispatcher objects, DPCs, APCs, locks and queues.
package nt

// DispatcherHeader is DISPATCHER_HEADER: the first member of everything that can be waited for. The
// first four bytes are one 32-bit word, Lock, in which bit 7 is the header's spin bit.
type DispatcherHeader struct {
	Type         uint8 // a KOBJECTS value
	Signalling   uint8 // in a mutant: Abandoned; in a timer: TimerControlFlags
	Size         uint8 // in units of 4 bytes; in a timer: Hand
	DpcActive    uint8 // in a thread: DebugActive; in a timer: TimerMiscFlags
	SignalState  int32
	WaitListHead ListEntry // of KWAIT_BLOCK
}

// The types of dispatcher objects, with the names and values of KOBJECTS.
const (
	EventNotificationObject    uint8 = 0
	EventSynchronizationObject uint8 = 1
	MutantObject               uint8 = 2
	ProcessObject              uint8 = 3
	QueueObject                uint8 = 4
	SemaphoreObject            uint8 = 5
	ThreadObject               uint8 = 6
	GateObject                 uint8 = 7
	TimerNotificationObject    uint8 = 8
	TimerSynchronizationObject uint8 = 9
	ApcObject                  uint8 = 18
	DpcObject                  uint8 = 19
	DeviceQueueObject          uint8 = 20
	PriQueueObject             uint8 = 21
	InterruptObject            uint8 = 22
	ProfileObject              uint8 = 23
	ThreadedDpcObject          uint8 = 26
)

// EventType is EVENT_TYPE; its values are also the dispatcher types of events.
type EventType uint32

// The types of events.
const (
	NotificationEvent    EventType = 0
	SynchronizationEvent EventType = 1
)

// TimerType is TIMER_TYPE.
type TimerType uint32

// The types of timers.
const (
	NotificationTimer    TimerType = 0
	SynchronizationTimer TimerType = 1
)

// WaitType is WAIT_TYPE.
type WaitType uint32

// The types of waits.
const (
	WaitAll          WaitType = 0
	WaitAny          WaitType = 1
	WaitNotification WaitType = 2
	WaitDequeue      WaitType = 3
	WaitDpc          WaitType = 4
)

// What a wait may be told to hold, and what it gives.
const (
	THREAD_WAIT_OBJECTS  = 3  // wait blocks that a thread has of its own
	MAXIMUM_WAIT_OBJECTS = 64 // the most objects of one wait
)

// KEvent is KEVENT.
type KEvent struct {
	Header DispatcherHeader
}

// KGate is KGATE.
type KGate struct {
	Header DispatcherHeader
}

// KSemaphore is KSEMAPHORE. Header.SignalState is the count.
type KSemaphore struct {
	Header DispatcherHeader
	Limit  int32
	_      [ptrPad]byte
}

// KMutant is KMUTANT, also called KMUTEX. Header.SignalState is 1 when it is free, and less by one
// for each acquisition by the owner.
type KMutant struct {
	Header          DispatcherHeader
	MutantListEntry ListEntry
	OwnerThread     Addr
	Abandoned       Boolean
	ApcDisable      uint8
	_               [ptrSize - 2]byte
}

// KTimer is KTIMER. DueTime is an interrupt time, in units of 100 ns. Period is in milliseconds.
type KTimer struct {
	Header         DispatcherHeader
	DueTime        uint64
	TimerListEntry ListEntry
	Dpc            Addr
	Processor      uint16
	TimerType      uint16
	Period         uint32
}

// KDPC is KDPC. DpcData is not 0 while it is queued.
type KDPC struct {
	Type            uint8
	Importance      uint8
	Number          uint16 // the target processor's number plus MAXIMUM_PROC_PER_GROUP, or 0
	_               [ptrPad]byte
	DpcListEntry    ListEntry // DpcListEntry.Blink holds ProcessorHistory on current systems
	DeferredRoutine Addr
	DeferredContext Addr
	SystemArgument1 Addr
	SystemArgument2 Addr
	DpcData         Addr
}

// DpcImportance is KDPC_IMPORTANCE.
type DpcImportance uint8

// How urgent a DPC is.
const (
	LowImportance        DpcImportance = 0
	MediumImportance     DpcImportance = 1
	HighImportance       DpcImportance = 2
	MediumHighImportance DpcImportance = 3
)

// KAPC is KAPC.
type KAPC struct {
	Type            uint8
	SpareByte0      uint8
	Size            uint8
	SpareByte1      uint8
	SpareLong0      uint32
	Thread          Addr
	ApcListEntry    ListEntry
	KernelRoutine   Addr
	RundownRoutine  Addr
	NormalRoutine   Addr
	NormalContext   Addr
	SystemArgument1 Addr
	SystemArgument2 Addr
	ApcStateIndex   int8
	ApcMode         ProcessorMode
	Inserted        Boolean
	_               [ptrSize - 3]byte
}

// KAPCState is KAPC_STATE: a thread's queued APCs, by mode, and the process it is attached to.
type KAPCState struct {
	ApcListHead      [2]ListEntry
	Process          Addr
	InProgressFlags  uint8
	KernelApcPending Boolean
	UserApcPending   Boolean // with the flags SpecialUserApcPending and UserApcPending
	_                [ptrSize - 3]byte
}

// KQueue is KQUEUE. Header.SignalState is the number of entries.
type KQueue struct {
	Header         DispatcherHeader
	EntryListHead  ListEntry
	CurrentCount   uint32
	MaximumCount   uint32
	ThreadListHead ListEntry
}

// KWaitBlock is KWAIT_BLOCK: one object that one thread waits for.
type KWaitBlock struct {
	WaitListEntry ListEntry
	WaitType      uint8
	BlockState    uint8
	WaitKey       uint16
	_             [ptrPad]byte // SpareLong
	Thread        Addr
	Object        Addr
	SparePtr      Addr
}

// KDeviceQueue is KDEVICE_QUEUE.
type KDeviceQueue struct {
	Type           int16
	Size           int16
	_              [ptrPad]byte
	DeviceListHead ListEntry
	Lock           uintptr // KSPIN_LOCK
	Busy           Boolean
	_              [ptrSize - 1]byte // Hint
}

// KDeviceQueueEntry is KDEVICE_QUEUE_ENTRY.
type KDeviceQueueEntry struct {
	DeviceListEntry ListEntry
	SortKey         uint32
	Inserted        Boolean
	_               [3]byte
}

// KSpinLockQueue is KSPIN_LOCK_QUEUE: one waiter for a queued spin lock.
type KSpinLockQueue struct {
	Next Addr
	Lock Addr // of the KSPIN_LOCK; bit 0: waits, bit 1: owns
}

// KLockQueueHandle is KLOCK_QUEUE_HANDLE: what an in-stack queued spin lock is held with.
type KLockQueueHandle struct {
	LockQueue KSpinLockQueue
	OldIrql   IRQL
	_         [ptrSize - 1]byte
}

// FastMutex is FAST_MUTEX, also called KGUARDED_MUTEX. Count is 1 when it is free.
type FastMutex struct {
	Count      int32
	_          [ptrPad]byte
	Owner      Addr
	Contention uint32
	_          [ptrPad]byte
	Event      KEvent
	OldIrql    uint32
	_          [ptrPad]byte
}

// OwnerEntry is OWNER_ENTRY: a thread that holds an ERESOURCE. TableSize has IoPriorityBoosted in
// bit 0, OwnerReferenced in bit 1, IoQoSPriorityBoosted in bit 2 and OwnerCount above.
type OwnerEntry struct {
	OwnerThread uintptr // ERESOURCE_THREAD
	TableSize   uint32
	_           [ptrPad]byte
}

// EResource is ERESOURCE, a lock for many readers or one writer. Flag has ResourceOwnedExclusive
// while a writer holds it.
type EResource struct {
	SystemResourcesList      ListEntry
	OwnerTable               Addr
	ActiveCount              int16
	Flag                     uint16
	_                        [ptrPad]byte
	SharedWaiters            Addr
	ExclusiveWaiters         Addr
	OwnerEntry               OwnerEntry
	ActiveEntries            uint32
	ContentionCount          uint32
	NumberOfSharedWaiters    uint32
	NumberOfExclusiveWaiters uint32
	Reserved2                Addr
	Address                  Addr
	SpinLock                 uintptr
}

// The bits of EResource.Flag.
const (
	ResourceNeverExclusive       uint16 = 0x10
	ResourceReleaseByOtherThread uint16 = 0x20
	ResourceOwnedExclusive       uint16 = 0x80
)

// WorkQueueItem is WORK_QUEUE_ITEM.
type WorkQueueItem struct {
	List          ListEntry
	WorkerRoutine Addr
	Parameter     Addr
}

// GroupAffinity is GROUP_AFFINITY.
type GroupAffinity struct {
	Mask     uintptr
	Group    uint16
	Reserved [3]uint16
}

// ProcessorNumber is PROCESSOR_NUMBER.
type ProcessorNumber struct {
	Group    uint16
	Number   uint8
	Reserved uint8
}

// LookasideAlign is the alignment of lookaside lists on x64, in bytes: a cache line.
const LookasideAlign = 64

// GeneralLookaside is GENERAL_LOOKASIDE on x64, which NPAGED_LOOKASIDE_LIST and PAGED_LOOKASIDE_LIST
// consist of. It is a driver's memory: the driver reads and changes it by inline functions.
type GeneralLookaside struct {
	ListHead           SListHeader
	Depth              uint16
	MaximumDepth       uint16
	TotalAllocates     uint32
	AllocateMisses     uint32 // or AllocateHits
	TotalFrees         uint32
	FreeMisses         uint32 // or FreeHits
	Type               PoolType
	Tag                uint32
	Size               uint32
	Allocate           Addr
	Free               Addr
	ListEntry          ListEntry
	LastTotalAllocates uint32
	LastAllocateMisses uint32 // or LastAllocateHits
	Future             [2]uint32
	_                  [32]byte
}

// NPagedLookasideList is NPAGED_LOOKASIDE_LIST.
type NPagedLookasideList struct {
	L GeneralLookaside
}

// PagedLookasideList is PAGED_LOOKASIDE_LIST.
type PagedLookasideList struct {
	L GeneralLookaside
}
