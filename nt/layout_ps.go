// Threads and processes, as far as drivers look, and the list of loaded modules.
//
// Source of all offsets that the headers do not give: the type information in Microsoft's public
// symbols for ntoskrnl.exe of Windows 10 2004 to 22H2 (builds 19041 to 19045, which share it).
package nt

// KThreadWaitBlock is the offset of KTHREAD.WaitBlock, four KWAIT_BLOCKs, whose spare words hold
// other fields, in bytes.
const KThreadWaitBlock = 0x140

// KThread is KTHREAD on x64, build 19045, in its full size, with the fields that are known to be
// looked at.
type KThread struct {
	Header            DispatcherHeader
	SListFaultAddress Addr
	QuantumTarget     uint64
	InitialStack      Addr
	StackLimit        Addr
	StackBase         Addr
	ThreadLock        uintptr
	CycleTime         uint64
	CurrentRunTime    uint32
	ExpectedRunTime   uint32
	KernelStack       Addr
	StateSaveArea     Addr
	SchedulingGroup   Addr
	WaitRegister      uint8
	Running           uint8
	Alerted           [2]uint8
	MiscFlags         int32
	ThreadFlags       int32
	_                 [4]byte
	SystemCallNumber  uint32
	ReadyTime         uint32
	FirstArgument     Addr
	TrapFrame         Addr
	ApcState          KAPCState // its padding holds Priority and UserIdealProcessor
	WaitStatus        int64
	WaitBlockList     Addr
	WaitListEntry     ListEntry
	Queue             Addr
	Teb               Addr
	RelativeTimerBias uint64
	Timer             KTimer
	_                 [0x14]byte // WaitBlock begins here
	ContextSwitches   uint32
	_                 [0x2C]byte
	State             uint8
	_                 [1]byte
	WaitIrql          IRQL
	WaitMode          ProcessorMode
	_                 [0x2C]byte
	WaitTime          uint32
	_                 [0x10]byte
	Win32Thread       Addr
	_                 [0x14]byte
	KernelApcDisable  int16 // with SpecialApcDisable one word, CombinedApcDisable
	SpecialApcDisable int16
	_                 [0x18]byte // WaitBlock ends here
	ThreadFlags2      int32
	_                 [4]byte
	QueueListEntry    ListEntry
	NextProcessor     uint32
	QueuePriority     int32
	Process           Addr
	_                 [10]byte // UserAffinity, whose reserved words hold what follows
	PreviousMode      ProcessorMode
	BasePriority      int8
	PriorityDecrement int8
	Preempted         uint8
	AdjustReason      uint8
	AdjustIncrement   int8
	AffinityVersion   uint64
	_                 [10]byte // Affinity, likewise
	ApcStateIndex     uint8
	WaitBlockCount    uint8
	IdealProcessor    uint32
	NpxState          uint64
	SavedApcState     KAPCState // its padding holds WaitReason and SuspendCount
	SchedulerApc      KAPC
	SuspendEvent      KEvent
	ThreadListEntry   ListEntry
	MutantListHead    ListEntry
	_                 [0x430 - 0x318]byte
}

// EThread is ETHREAD on x64, build 19045, in its full size.
type EThread struct {
	Tcb                    KThread
	CreateTime             int64
	ExitTime               int64
	_                      [0x10]byte
	StartAddress           Addr
	TerminationPort        Addr
	ActiveTimerListLock    uintptr
	ActiveTimerListHead    ListEntry
	Cid                    ClientID
	KeyedWaitSemaphore     KSemaphore
	ClientSecurity         uintptr
	IrpList                ListEntry
	TopLevelIrp            uintptr
	DeviceToVerify         Addr
	Win32StartAddress      Addr
	ChargeOnlySession      Addr
	LegacyPowerObject      Addr
	ThreadListEntry        ListEntry
	RundownProtect         uintptr
	ThreadLock             uintptr
	ReadClusterSize        uint32
	MmLockOrdering         int32
	CrossThreadFlags       uint32
	SameThreadPassiveFlags uint32
	SameThreadApcFlags     uint32
	_                      [0x548 - 0x51C]byte
	ExitStatus             Status
	_                      [0x588 - 0x54C]byte
	IrpListLock            uintptr
	_                      [0x610 - 0x590]byte
	ThreadName             Addr
	_                      [0x898 - 0x618]byte
}

// Bits of the flag words of threads and processes in build 19045.
const (
	PS_CROSS_THREAD_FLAGS_TERMINATED uint32 = 0x00000001 // EThread.CrossThreadFlags
	KThreadMiscAlertable             int32  = 1 << 4     // KThread.MiscFlags
	KThreadMiscSystemThread          int32  = 1 << 10    // KThread.MiscFlags
	PS_PROCESS_FLAGS_PROCESS_EXITING uint32 = 0x00000004 // EProcess.Flags
)

// KProcess is KPROCESS on x64, build 19045, in its full size.
type KProcess struct {
	Header             DispatcherHeader
	ProfileListHead    ListEntry
	DirectoryTableBase uint64
	ThreadListHead     ListEntry
	ProcessLock        uint32
	ProcessTimerDelay  uint32
	_                  [0x278 - 0x48]byte
	ProcessFlags       int32
	ActiveGroupsMask   uint32
	BasePriority       int8
	QuantumReset       int8
	Visited            int8
	Flags              uint8
	_                  [0x350 - 0x284]byte
	ProcessListEntry   ListEntry
	CycleTime          uint64
	ContextSwitches    uint64
	SchedulingGroup    Addr
	FreezeCount        uint32
	KernelTime         uint32
	UserTime           uint32
	ReadyTime          uint32
	_                  [0x438 - 0x388]byte
}

// EProcess is EPROCESS on x64, build 19045, in its full size.
type EProcess struct {
	Pcb                          KProcess
	ProcessLock                  uintptr
	UniqueProcessId              Handle
	ActiveProcessLinks           ListEntry
	RundownProtect               uintptr
	Flags2                       uint32
	Flags                        uint32
	CreateTime                   int64
	ProcessQuotaUsage            [2]uint64
	ProcessQuotaPeak             [2]uint64
	PeakVirtualSize              uint64
	VirtualSize                  uint64
	SessionProcessLinks          ListEntry
	ExceptionPortData            Addr
	Token                        uintptr // EX_FAST_REF: the address with a count in its lowest 4 bits
	_                            [0x508 - 0x4C0]byte
	Win32Process                 Addr
	Job                          Addr
	SectionObject                Addr
	SectionBaseAddress           Addr
	Cookie                       uint32
	_                            [4]byte
	WorkingSetWatch              Addr
	Win32WindowStation           Addr
	InheritedFromUniqueProcessId Handle
	OwnerProcessId               uint64
	Peb                          Addr
	Session                      Addr
	Spare1                       Addr
	QuotaBlock                   Addr
	ObjectTable                  Addr
	DebugPort                    Addr
	WoW64Process                 Addr
	DeviceMap                    Addr
	EtwDataSource                Addr
	PageDirectoryPte             uint64
	ImageFilePointer             Addr
	ImageFileName                [15]uint8
	PriorityClass                uint8
	SecurityPort                 Addr
	SeAuditProcessCreationInfo   Addr
	JobLinks                     ListEntry
	HighestUserAddress           Addr
	ThreadListHead               ListEntry
	ActiveThreads                uint32
	ImagePathHash                uint32
	DefaultHardErrorProcessing   uint32
	LastThreadExitStatus         Status
	_                            [0x7D4 - 0x600]byte
	ExitStatus                   Status
	VadRoot                      Addr
	_                            [0x840 - 0x7E0]byte
	ExitTime                     int64
	_                            [0x878 - 0x848]byte
	SignatureLevel               uint8
	SectionSignatureLevel        uint8
	Protection                   uint8
	_                            [1]byte
	Flags3                       uint32
	_                            [0xA40 - 0x880]byte
}

// KLdrDataTableEntry is KLDR_DATA_TABLE_ENTRY: one module in PsLoadedModuleList; also what
// DriverObject.DriverSection points at.
type KLdrDataTableEntry struct {
	InLoadOrderLinks      ListEntry
	ExceptionTable        Addr
	ExceptionTableSize    uint32
	_                     [ptrPad]byte
	GpValue               Addr
	NonPagedDebugInfo     Addr
	DllBase               Addr
	EntryPoint            Addr
	SizeOfImage           uint32
	_                     [ptrPad]byte
	FullDllName           UnicodeString
	BaseDllName           UnicodeString
	Flags                 uint32
	LoadCount             uint16
	SignatureLevel        uint16 // bits 0–3: level, 4–6: type
	SectionPointer        Addr
	CheckSum              uint32
	CoverageSectionSize   uint32
	CoverageSection       Addr
	LoadedImports         Addr
	Spare                 Addr
	SizeOfImageNotRounded uint32
	TimeDateStamp         uint32
}

// LdrDataTableEntry is the beginning of LDR_DATA_TABLE_ENTRY: one module in a process. Headers that
// drivers carry around use it for PsLoadedModuleList too; DllBase and what follows up to LoadCount
// lie at the same offsets there.
type LdrDataTableEntry struct {
	InLoadOrderLinks           ListEntry
	InMemoryOrderLinks         ListEntry
	InInitializationOrderLinks ListEntry
	DllBase                    Addr
	EntryPoint                 Addr
	SizeOfImage                uint32
	_                          [ptrPad]byte
	FullDllName                UnicodeString
	BaseDllName                UnicodeString
	Flags                      uint32
	ObsoleteLoadCount          uint16
	TlsIndex                   uint16
	HashLinks                  ListEntry
	TimeDateStamp              uint32
	_                          [ptrPad]byte
}
