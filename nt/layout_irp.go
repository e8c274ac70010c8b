// The IRP and its stack locations.
package nt

// IRPAlign is the alignment of an IRP on x64, in bytes.
const IRPAlign = 16

// IRP is IRP, as x64 Windows lays it out; the stack locations follow it. The field paths are those
// of C: Tail.Overlay.CurrentStackLocation, AssociatedIrp.SystemBuffer.
type IRP struct {
	Type       int16
	Size       uint16 // with the stack locations
	_          [ptrPad]byte
	MdlAddress Addr
	Flags      uint32 // IRP_*
	_          [ptrPad]byte
	// AssociatedIrp is a union with MasterIrp and the LONG IrpCount.
	AssociatedIrp struct {
		SystemBuffer Addr
	}
	ThreadListEntry ListEntry
	IoStatus        IOStatusBlock
	RequestorMode   ProcessorMode
	PendingReturned Boolean
	StackCount      int8
	CurrentLocation int8
	Cancel          Boolean
	CancelIrql      IRQL
	ApcEnvironment  int8
	AllocationFlags uint8
	UserIosb        Addr
	UserEvent       Addr
	// Overlay is a union with the LARGE_INTEGER AllocationSize.
	Overlay struct {
		AsynchronousParameters struct {
			UserApcRoutine Addr // or IssuingProcess
			UserApcContext Addr
		}
	}
	CancelRoutine Addr
	UserBuffer    Addr
	// Tail is a union with a KAPC, Apc, and the PVOID CompletionKey.
	Tail struct {
		Overlay IRPTailOverlay
		_       [ptrSize]byte
	}
}

// IRPTailOverlay is IRP.Tail.Overlay.
type IRPTailOverlay struct {
	DriverContext        [4]Addr // or DeviceQueueEntry
	Thread               Addr
	AuxiliaryBuffer      Addr
	ListEntry            ListEntry
	CurrentStackLocation Addr // or the ULONG PacketType
	OriginalFileObject   Addr
}

// AllocationSize is Overlay.AllocationSize: for IRP_MJ_CREATE, the wanted size in bytes.
func (i *IRP) AllocationSize() int64 {
	return int64(i.Overlay.AsynchronousParameters.UserApcRoutine)
}

// Sizes on x64, in bytes.
const (
	IRPSize             = 0xD0
	IOStackLocationSize = 0x48
)

// IoSizeOfIrp is the macro of that name: the size in bytes of an IRP with stackSize locations.
func IoSizeOfIrp(stackSize int8) uint16 {
	return uint16(IRPSize + int(stackSize)*IOStackLocationSize)
}

// IOStackLocation is IO_STACK_LOCATION: one driver's part of an IRP.
type IOStackLocation struct {
	MajorFunction     MajorFunction
	MinorFunction     uint8
	Flags             uint8 // SL_*, by major function
	Control           uint8 // SL_PENDING_RETURNED, SL_INVOKE_ON_*
	_                 [ptrPad]byte
	Parameters        Parameters
	DeviceObject      Addr
	FileObject        Addr
	CompletionRoutine Addr
	Context           Addr
}

// Parameters is IO_STACK_LOCATION.Parameters, a union; the field is the member that covers all of
// it, the methods give the others, in place.
type Parameters struct {
	Others ParametersOthers
}

// ParametersOthers is Parameters.Others.
type ParametersOthers struct {
	Argument1 Addr
	Argument2 Addr
	Argument3 Addr
	Argument4 Addr
}

// ParametersCreate is Parameters.Create. The disposition is in the highest 8 bits of Options.
type ParametersCreate struct {
	SecurityContext Addr // IO_SECURITY_CONTEXT
	Options         uint32
	_               [ptrPad]byte
	FileAttributes  uint16
	ShareAccess     uint16
	_               [ptrPad]byte
	EaLength        uint32
	_               [ptrPad]byte
}

// ParametersRead is Parameters.Read. Lengths and offsets are in bytes.
type ParametersRead struct {
	Length     uint32
	_          [ptrPad]byte
	Key        uint32
	Flags      uint32 // x64 only
	ByteOffset int64
}

// ParametersWrite is Parameters.Write. Lengths and offsets are in bytes.
type ParametersWrite struct {
	Length     uint32
	_          [ptrPad]byte
	Key        uint32
	Flags      uint32 // x64 only
	ByteOffset int64
}

// ParametersDeviceIoControl is Parameters.DeviceIoControl. Lengths are in bytes.
type ParametersDeviceIoControl struct {
	OutputBufferLength uint32
	_                  [ptrPad]byte
	InputBufferLength  uint32
	_                  [ptrPad]byte
	IoControlCode      uint32
	_                  [ptrPad]byte
	Type3InputBuffer   Addr
}

// ParametersFileSystemControl is Parameters.FileSystemControl. Lengths are in bytes.
type ParametersFileSystemControl struct {
	OutputBufferLength uint32
	_                  [ptrPad]byte
	InputBufferLength  uint32
	_                  [ptrPad]byte
	FsControlCode      uint32
	_                  [ptrPad]byte
	Type3InputBuffer   Addr
}

// ParametersQueryFile is Parameters.QueryFile.
type ParametersQueryFile struct {
	Length               uint32
	_                    [ptrPad]byte
	FileInformationClass uint32
	_                    [ptrPad]byte
}

// ParametersSetFile is Parameters.SetFile.
type ParametersSetFile struct {
	Length               uint32
	_                    [ptrPad]byte
	FileInformationClass uint32
	_                    [ptrPad]byte
	FileObject           Addr
	DeleteHandle         Handle // or ClusterCount, or ReplaceIfExists and AdvanceOnly
}

// ParametersQueryVolume is Parameters.QueryVolume.
type ParametersQueryVolume struct {
	Length             uint32
	_                  [ptrPad]byte
	FsInformationClass uint32
	_                  [ptrPad]byte
}

// ParametersSetVolume is Parameters.SetVolume.
type ParametersSetVolume struct {
	Length             uint32
	_                  [ptrPad]byte
	FsInformationClass uint32
	_                  [ptrPad]byte
}

// ParametersQueryDirectory is Parameters.QueryDirectory.
type ParametersQueryDirectory struct {
	Length               uint32
	_                    [ptrPad]byte
	FileName             Addr // UNICODE_STRING
	FileInformationClass uint32
	_                    [ptrPad]byte
	FileIndex            uint32
	_                    [ptrPad]byte
}

// ParametersNotifyDirectory is Parameters.NotifyDirectory.
type ParametersNotifyDirectory struct {
	Length           uint32
	_                [ptrPad]byte
	CompletionFilter uint32
	_                [ptrPad]byte
}

// ParametersLockControl is Parameters.LockControl.
type ParametersLockControl struct {
	Length     Addr // LARGE_INTEGER
	Key        uint32
	_          [ptrPad]byte
	ByteOffset int64
}

// ParametersQuerySecurity is Parameters.QuerySecurity.
type ParametersQuerySecurity struct {
	SecurityInformation uint32
	_                   [ptrPad]byte
	Length              uint32
	_                   [ptrPad]byte
}

// ParametersSetSecurity is Parameters.SetSecurity.
type ParametersSetSecurity struct {
	SecurityInformation uint32
	_                   [ptrPad]byte
	SecurityDescriptor  Addr
}

// ParametersMountVolume is Parameters.MountVolume; VerifyVolume is the same.
type ParametersMountVolume struct {
	Vpb          Addr
	DeviceObject Addr
}

// ParametersScsi is Parameters.Scsi.
type ParametersScsi struct {
	Srb Addr
}

// ParametersQueryDeviceRelations is Parameters.QueryDeviceRelations.
type ParametersQueryDeviceRelations struct {
	Type uint32
}

// ParametersQueryInterface is Parameters.QueryInterface.
type ParametersQueryInterface struct {
	InterfaceType         Addr // GUID
	Size                  uint16
	Version               uint16
	_                     [ptrPad]byte
	Interface             Addr
	InterfaceSpecificData Addr
}

// ParametersDeviceCapabilities is Parameters.DeviceCapabilities.
type ParametersDeviceCapabilities struct {
	Capabilities Addr
}

// ParametersFilterResourceRequirements is Parameters.FilterResourceRequirements.
type ParametersFilterResourceRequirements struct {
	IoResourceRequirementList Addr
}

// ParametersReadWriteConfig is Parameters.ReadWriteConfig.
type ParametersReadWriteConfig struct {
	WhichSpace uint32
	_          [ptrPad]byte
	Buffer     Addr
	Offset     uint32
	_          [ptrPad]byte
	Length     uint32
	_          [ptrPad]byte
}

// ParametersSetLock is Parameters.SetLock.
type ParametersSetLock struct {
	Lock Boolean
}

// ParametersQueryId is Parameters.QueryId.
type ParametersQueryId struct {
	IdType uint32
}

// ParametersQueryDeviceText is Parameters.QueryDeviceText.
type ParametersQueryDeviceText struct {
	DeviceTextType uint32
	_              [ptrPad]byte
	LocaleId       uint32
	_              [ptrPad]byte
}

// ParametersUsageNotification is Parameters.UsageNotification.
type ParametersUsageNotification struct {
	InPath   Boolean
	Reserved [3]Boolean
	_        [ptrPad]byte
	Type     uint32
	_        [ptrPad]byte
}

// ParametersWaitWake is Parameters.WaitWake.
type ParametersWaitWake struct {
	PowerState uint32
}

// ParametersPowerSequence is Parameters.PowerSequence.
type ParametersPowerSequence struct {
	PowerSequence Addr
}

// ParametersPower is Parameters.Power. State is a SYSTEM_POWER_STATE or a DEVICE_POWER_STATE, as
// Type says.
type ParametersPower struct {
	SystemContext uint32
	_             [ptrPad]byte
	Type          uint32
	_             [ptrPad]byte
	State         uint32
	_             [ptrPad]byte
	ShutdownType  uint32
	_             [ptrPad]byte
}

// ParametersStartDevice is Parameters.StartDevice.
type ParametersStartDevice struct {
	AllocatedResources           Addr
	AllocatedResourcesTranslated Addr
}

// ParametersWMI is Parameters.WMI.
type ParametersWMI struct {
	ProviderId uintptr
	DataPath   Addr
	BufferSize uint32
	_          [ptrPad]byte
	Buffer     Addr
}
