// KUSER_SHARED_DATA: the page that the kernel shares with every process.
package nt

// Where KUSER_SHARED_DATA lies: for the kernel on x64, and for user mode.
const (
	KI_USER_SHARED_DATA     uint64 = 0xFFFFF78000000000
	MM_SHARED_USER_DATA_VA  uint64 = 0x7FFE0000
	PROCESSOR_FEATURE_MAX          = 64
	KUserSharedDataPageSize        = 0x1000
)

// KSystemTime is KSYSTEM_TIME: a time in units of 100 ns that is written without a lock. A reader
// takes High1Time, LowPart and High2Time, and tries again unless the high parts are the same.
type KSystemTime struct {
	LowPart   uint32
	High1Time int32
	High2Time int32
}

// XStateFeature is XSTATE_FEATURE: where a processor state component lies in an XSAVE area.
type XStateFeature struct {
	Offset uint32
	Size   uint32
}

// XStateConfiguration is XSTATE_CONFIGURATION, as build 19045 has it.
type XStateConfiguration struct {
	EnabledFeatures                      uint64
	EnabledVolatileFeatures              uint64
	Size                                 uint32
	ControlFlags                         uint32
	Features                             [64]XStateFeature
	EnabledSupervisorFeatures            uint64
	AlignedFeatures                      uint64
	AllFeatureSize                       uint32
	AllFeatures                          [64]uint32
	_                                    [4]byte
	EnabledUserVisibleSupervisorFeatures uint64
}

// KUserSharedData is KUSER_SHARED_DATA, as build 19045 has it. Its layout is the same for 32-bit
// and 64-bit systems.
type KUserSharedData struct {
	TickCountLowDeprecated            uint32
	TickCountMultiplier               uint32
	InterruptTime                     KSystemTime
	SystemTime                        KSystemTime
	TimeZoneBias                      KSystemTime
	ImageNumberLow                    uint16
	ImageNumberHigh                   uint16
	NtSystemRoot                      [260]uint16
	MaxStackTraceDepth                uint32
	CryptoExponent                    uint32
	TimeZoneId                        uint32
	LargePageMinimum                  uint32
	AitSamplingValue                  uint32
	AppCompatFlag                     uint32
	RNGSeedVersion                    uint64
	GlobalValidationRunlevel          uint32
	TimeZoneBiasStamp                 int32
	NtBuildNumber                     uint32
	NtProductType                     uint32
	ProductTypeIsValid                Boolean
	Reserved0                         [1]uint8
	NativeProcessorArchitecture       uint16
	NtMajorVersion                    uint32
	NtMinorVersion                    uint32
	ProcessorFeatures                 [PROCESSOR_FEATURE_MAX]Boolean
	Reserved1                         uint32
	Reserved3                         uint32
	TimeSlip                          uint32
	AlternativeArchitecture           uint32
	BootId                            uint32
	SystemExpirationDate              int64
	SuiteMask                         uint32
	KdDebuggerEnabled                 Boolean
	MitigationPolicies                uint8
	CyclesPerYield                    uint16
	ActiveConsoleId                   uint32
	DismountCount                     uint32
	ComPlusPackage                    uint32
	LastSystemRITEventTickCount       uint32
	NumberOfPhysicalPages             uint32
	SafeBootMode                      Boolean
	VirtualizationFlags               uint8
	Reserved12                        [2]uint8
	SharedDataFlags                   uint32
	DataFlagsPad                      [1]uint32
	TestRetInstruction                uint64
	QpcFrequency                      int64
	SystemCall                        uint32
	Reserved2                         uint32
	SystemCallPad                     [2]uint64
	TickCount                         KSystemTime
	TickCountPad                      [1]uint32
	Cookie                            uint32
	CookiePad                         [1]uint32
	ConsoleSessionForegroundProcessId int64
	TimeUpdateLock                    uint64
	BaselineSystemTimeQpc             uint64
	BaselineInterruptTimeQpc          uint64
	QpcSystemTimeIncrement            uint64
	QpcInterruptTimeIncrement         uint64
	QpcSystemTimeIncrementShift       uint8
	QpcInterruptTimeIncrementShift    uint8
	UnparkedProcessorCount            uint16
	EnclaveFeatureMask                [4]uint32
	TelemetryCoverageRound            uint32
	UserModeGlobalLogger              [16]uint16
	ImageFileExecutionOptions         uint32
	LangGenerationCount               uint32
	Reserved4                         uint64
	InterruptTimeBias                 uint64
	QpcBias                           uint64
	ActiveProcessorCount              uint32
	ActiveGroupCount                  uint8
	Reserved9                         uint8
	QpcBypassEnabled                  uint8
	QpcShift                          uint8
	TimeZoneBiasEffectiveStart        int64
	TimeZoneBiasEffectiveEnd          int64
	XState                            XStateConfiguration
	FeatureConfigurationChangeStamp   KSystemTime
	Spare                             uint32
}
