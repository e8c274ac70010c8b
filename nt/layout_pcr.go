// KPCR and KPRCB: what GS points at on x64.
package nt

// KPCR is KPCR on x64, build 19045, as far as drivers look; GS is its address in kernel mode.
type KPCR struct {
	GdtBase                       Addr
	TssBase                       Addr
	UserRsp                       uint64
	Self                          Addr // gs:[18h]
	CurrentPrcb                   Addr // gs:[20h]
	LockArray                     Addr
	Used_Self                     Addr
	IdtBase                       Addr
	Unused                        [2]uint64
	Irql                          IRQL
	SecondLevelCacheAssociativity uint8
	ObsoleteNumber                uint8
	Fill0                         uint8
	Unused0                       [3]uint32
	MajorVersion                  uint16
	MinorVersion                  uint16
	StallScaleFactor              uint32
	Unused1                       [3]uint64
	KernelReserved                [15]uint32
	SecondLevelCacheSize          uint32
	HalReserved                   [16]uint32
	Unused2                       uint32
	_                             [4]byte
	KdVersionBlock                Addr
	Unused3                       uint64
	PcrAlign1                     [24]uint32
	_                             [8]byte
	Prcb                          KPRCB // gs:[180h]
}

// Offsets from GS that compilers and headers use on x64, in bytes.
const (
	KPCRPrcbOffset    = 0x180 // KPCR.Prcb
	GSSelf            = 0x18
	GSCurrentPrcb     = 0x20
	GSCurrentIrql     = 0x50
	GSCurrentThread   = 0x188 // KPCR.Prcb.CurrentThread
	GSProcessorNumber = 0x1A4 // KPCR.Prcb.Number
)

// KPRCBSize is the size of a KPRCB in build 19045, and KPCRSize that of the KPCR around it, in bytes.
// The Go type KPRCB is only its beginning: what follows must be memory, and reads as zero.
const (
	KPRCBSize = 0xAF00
	KPCRSize  = KPCRPrcbOffset + KPRCBSize
	KPCRAlign = 0x1000
)

// KPRCB is the beginning of KPRCB on x64, build 19045, as far as drivers look.
type KPRCB struct {
	MxCsr                           uint32
	LegacyNumber                    uint8
	ReservedMustBeZero              uint8
	InterruptRequest                uint8
	IdleHalt                        uint8
	CurrentThread                   Addr // gs:[188h]
	NextThread                      Addr
	IdleThread                      Addr
	NestingLevel                    uint8
	ClockOwner                      uint8
	PendingTickFlags                uint8
	IdleState                       uint8
	Number                          uint32 // gs:[1A4h]
	RspBase                         uint64
	PrcbLock                        uintptr
	PriorityState                   Addr
	CpuType                         int8
	CpuID                           int8
	CpuStep                         uint16
	MHz                             uint32
	HalReserved                     [8]uint64
	MinorVersion                    uint16
	MajorVersion                    uint16
	BuildType                       uint8
	CpuVendor                       uint8
	LegacyCoresPerPhysicalProcessor uint8
	LegacyLogicalProcessorsPerCore  uint8
	TscFrequency                    uint64
	CoresPerPhysicalProcessor       uint32
	LogicalProcessorsPerCore        uint32
	PrcbPad04                       [4]uint64
	ParentNode                      Addr
	GroupSetMember                  uintptr
	Group                           uint8
	GroupIndex                      uint8
	PrcbPad05                       [2]uint8
	InitialApicId                   uint32
	ScbOffset                       uint32
	ApicMask                        uint32
	AcpiReserved                    Addr
	CFlushSize                      uint32
	PrcbFlags                       uint32
	PrcbPad11                       [2]uint64
	ProcessorState                  KProcessorState
}

// KProcessorState is KPROCESSOR_STATE.
type KProcessorState struct {
	SpecialRegisters KSpecialRegisters
	ContextFrame     Context
}

// KDescriptor is KDESCRIPTOR: what LGDT and LIDT load, with padding in front.
type KDescriptor struct {
	Pad   [3]uint16
	Limit uint16
	Base  Addr
}

// KSpecialRegisters is KSPECIAL_REGISTERS.
type KSpecialRegisters struct {
	Cr0                  uint64
	Cr2                  uint64
	Cr3                  uint64
	Cr4                  uint64
	KernelDr0            uint64
	KernelDr1            uint64
	KernelDr2            uint64
	KernelDr3            uint64
	KernelDr6            uint64
	KernelDr7            uint64
	Gdtr                 KDescriptor
	Idtr                 KDescriptor
	Tr                   uint16
	Ldtr                 uint16
	MxCsr                uint32
	DebugControl         uint64
	LastBranchToRip      uint64
	LastBranchFromRip    uint64
	LastExceptionToRip   uint64
	LastExceptionFromRip uint64
	Cr8                  uint64
	MsrGsBase            uint64
	MsrGsSwap            uint64
	MsrStar              uint64
	MsrLStar             uint64
	MsrCStar             uint64
	MsrSyscallMask       uint64
	Xcr0                 uint64
	MsrFsBase            uint64
	SpecialPadding0      uint64
}
