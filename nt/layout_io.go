// Layouts of the I/O manager: drivers, devices, files, MDLs, and what hangs from them.
package nt

// The values of the Type field that I/O objects begin with, with the names of wdm.h.
const (
	IO_TYPE_ADAPTER                 int16 = 1
	IO_TYPE_CONTROLLER              int16 = 2
	IO_TYPE_DEVICE                  int16 = 3
	IO_TYPE_DRIVER                  int16 = 4
	IO_TYPE_FILE                    int16 = 5
	IO_TYPE_IRP                     int16 = 6
	IO_TYPE_MASTER_ADAPTER          int16 = 7
	IO_TYPE_OPEN_PACKET             int16 = 8
	IO_TYPE_TIMER                   int16 = 9
	IO_TYPE_VPB                     int16 = 10
	IO_TYPE_ERROR_LOG               int16 = 11
	IO_TYPE_ERROR_MESSAGE           int16 = 12
	IO_TYPE_DEVICE_OBJECT_EXTENSION int16 = 13
)

// DriverObject is DRIVER_OBJECT.
type DriverObject struct {
	Type             int16
	Size             int16
	_                [ptrPad]byte
	DeviceObject     Addr // the first of its devices; they are linked by NextDevice
	Flags            uint32
	_                [ptrPad]byte
	DriverStart      Addr
	DriverSize       uint32
	_                [ptrPad]byte
	DriverSection    Addr // KLDR_DATA_TABLE_ENTRY
	DriverExtension  Addr
	DriverName       UnicodeString
	HardwareDatabase Addr // UNICODE_STRING
	FastIoDispatch   Addr
	DriverInit       Addr
	DriverStartIo    Addr
	DriverUnload     Addr
	MajorFunction    [IRP_MJ_MAXIMUM_FUNCTION + 1]Addr
}

// DriverExtension is DRIVER_EXTENSION. From ClientDriverExtension on it is not in the headers.
type DriverExtension struct {
	DriverObject          Addr
	AddDevice             Addr
	Count                 uint32
	_                     [ptrPad]byte
	ServiceKeyName        UnicodeString
	ClientDriverExtension Addr
	FsFilterCallbacks     Addr
	KseCallbacks          Addr
	DvCallbacks           Addr
	VerifierContext       Addr
}

// DeviceObjectAlign is the alignment of a DEVICE_OBJECT on x64, in bytes.
const DeviceObjectAlign = 16

// DeviceObject is DEVICE_OBJECT, as x64 Windows lays it out: 0x150 bytes, after which the device
// extension begins.
type DeviceObject struct {
	Type           int16
	Size           uint16 // with the device extension
	ReferenceCount int32
	DriverObject   Addr
	NextDevice     Addr
	AttachedDevice Addr
	CurrentIrp     Addr
	Timer          Addr
	Flags          uint32 // DO_*
	// Characteristics has FILE_DEVICE_SECURE_OPEN and the like.
	Characteristics uint32
	Vpb             Addr
	DeviceExtension Addr
	DeviceType      uint32
	StackSize       int8
	_               [3]byte
	// Queue is a union with a LIST_ENTRY.
	Queue struct {
		Wcb WaitContextBlock
	}
	AlignmentRequirement  uint32
	_                     [ptrPad]byte
	DeviceQueue           KDeviceQueue
	Dpc                   KDPC
	ActiveThreadCount     uint32
	_                     [ptrPad]byte
	SecurityDescriptor    Addr
	DeviceLock            KEvent
	SectorSize            uint16
	Spare1                uint16
	_                     [ptrPad]byte
	DeviceObjectExtension Addr
	Reserved              Addr
	_                     [8]byte
}

// DevObjExtension is DEVOBJ_EXTENSION: Windows' own part of a device. From PowerFlags on it is not
// in the headers.
type DevObjExtension struct {
	Type             int16
	Size             uint16
	_                [ptrPad]byte
	DeviceObject     Addr
	PowerFlags       uint32
	_                [ptrPad]byte
	Dope             Addr
	ExtensionFlags   uint32
	_                [ptrPad]byte
	DeviceNode       Addr
	AttachedTo       Addr
	StartIoCount     int32
	StartIoKey       int32
	StartIoFlags     uint32
	_                [ptrPad]byte
	Vpb              Addr
	DependencyNode   Addr
	InterruptContext Addr
	InterruptCount   int32
	_                [ptrPad]byte
	VerifierContext  Addr
}

// WaitContextBlock is WAIT_CONTEXT_BLOCK.
type WaitContextBlock struct {
	WaitQueueEntry       KDeviceQueueEntry
	DeviceRoutine        Addr
	DeviceContext        Addr
	NumberOfMapRegisters uint32
	_                    [ptrPad]byte
	DeviceObject         Addr
	CurrentIrp           Addr
	BufferChainingDpc    Addr
}

// VPB is VPB: a volume parameter block.
type VPB struct {
	Type              int16
	Size              int16
	Flags             uint16
	VolumeLabelLength uint16 // bytes
	DeviceObject      Addr
	RealDevice        Addr
	SerialNumber      uint32
	ReferenceCount    uint32
	VolumeLabel       [32]uint16
}

// FileObject is FILE_OBJECT.
type FileObject struct {
	Type                 int16
	Size                 int16
	_                    [ptrPad]byte
	DeviceObject         Addr
	Vpb                  Addr
	FsContext            Addr
	FsContext2           Addr
	SectionObjectPointer Addr
	PrivateCacheMap      Addr
	FinalStatus          Status
	_                    [ptrPad]byte
	RelatedFileObject    Addr
	LockOperation        Boolean
	DeletePending        Boolean
	ReadAccess           Boolean
	WriteAccess          Boolean
	DeleteAccess         Boolean
	SharedRead           Boolean
	SharedWrite          Boolean
	SharedDelete         Boolean
	Flags                uint32 // FO_*
	_                    [ptrPad]byte
	FileName             UnicodeString
	CurrentByteOffset    int64
	Waiters              uint32
	Busy                 uint32
	LastLock             Addr
	Lock                 KEvent
	Event                KEvent
	CompletionContext    Addr
	IrpListLock          uintptr
	IrpList              ListEntry
	FileObjectExtension  Addr
}

// SectionObjectPointers is SECTION_OBJECT_POINTERS.
type SectionObjectPointers struct {
	DataSectionObject  Addr
	SharedCacheMap     Addr
	ImageSectionObject Addr
}

// MDL is the fixed part of an MDL; the page frame numbers (PFN_NUMBER, pointer-sized) follow it.
type MDL struct {
	Next           Addr
	Size           int16 // with the page frame numbers
	MdlFlags       int16 // MDL_*
	_              [ptrPad]byte
	Process        Addr
	MappedSystemVa Addr
	StartVa        Addr // page-aligned
	ByteCount      uint32
	ByteOffset     uint32
}

// IOStatusBlock is IO_STATUS_BLOCK. Status is a union with a pointer.
type IOStatusBlock struct {
	Status      Status
	_           [ptrPad]byte
	Information uintptr
}

// IOSecurityContext is IO_SECURITY_CONTEXT: what a CREATE asks for.
type IOSecurityContext struct {
	SecurityQos       Addr
	AccessState       Addr
	DesiredAccess     uint32
	FullCreateOptions uint32
}

// SecuritySubjectContext is SECURITY_SUBJECT_CONTEXT.
type SecuritySubjectContext struct {
	ClientToken        Addr
	ImpersonationLevel uint32
	_                  [ptrPad]byte
	PrimaryToken       Addr
	ProcessAuditId     Addr
}

// LUID is a locally unique identifier.
type LUID struct {
	LowPart  uint32
	HighPart int32
}

// AccessState is ACCESS_STATE.
type AccessState struct {
	OperationID             LUID
	SecurityEvaluated       Boolean
	GenerateAudit           Boolean
	GenerateOnClose         Boolean
	PrivilegesAllocated     Boolean
	Flags                   uint32
	RemainingDesiredAccess  uint32
	PreviouslyGrantedAccess uint32
	OriginalDesiredAccess   uint32
	_                       [ptrPad]byte
	SubjectSecurityContext  SecuritySubjectContext
	SecurityDescriptor      Addr
	AuxData                 Addr
	// Privileges is an INITIAL_PRIVILEGE_SET or a PRIVILEGE_SET.
	Privileges      [44]byte
	AuditPrivileges Boolean
	_               [3]byte
	ObjectName      UnicodeString
	ObjectTypeName  UnicodeString
}

// FastIODispatch is FAST_IO_DISPATCH.
type FastIODispatch struct {
	SizeOfFastIoDispatch          uint32
	_                             [ptrPad]byte
	FastIoCheckIfPossible         Addr
	FastIoRead                    Addr
	FastIoWrite                   Addr
	FastIoQueryBasicInfo          Addr
	FastIoQueryStandardInfo       Addr
	FastIoLock                    Addr
	FastIoUnlockSingle            Addr
	FastIoUnlockAll               Addr
	FastIoUnlockAllByKey          Addr
	FastIoDeviceControl           Addr
	AcquireFileForNtCreateSection Addr
	ReleaseFileForNtCreateSection Addr
	FastIoDetachDevice            Addr
	FastIoQueryNetworkOpenInfo    Addr
	AcquireForModWrite            Addr
	MdlRead                       Addr
	MdlReadComplete               Addr
	PrepareMdlWrite               Addr
	MdlWriteComplete              Addr
	FastIoReadCompressed          Addr
	FastIoWriteCompressed         Addr
	MdlReadCompleteCompressed     Addr
	MdlWriteCompleteCompressed    Addr
	FastIoQueryOpen               Addr
	ReleaseForModWrite            Addr
	AcquireForCcFlush             Addr
	ReleaseForCcFlush             Addr
}
