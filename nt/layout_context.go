// Layouts of exceptions and unwinding on x64.
package nt

// The alignment of a CONTEXT and of the XSAVE_FORMAT in it, in bytes.
const ContextAlign = 16

// M128A is one XMM register.
type M128A struct {
	Low  uint64
	High int64
}

// XSaveFormat is XSAVE_FORMAT, also called XMM_SAVE_AREA32: what FXSAVE writes.
type XSaveFormat struct {
	ControlWord    uint16
	StatusWord     uint16
	TagWord        uint8
	Reserved1      uint8
	ErrorOpcode    uint16
	ErrorOffset    uint32
	ErrorSelector  uint16
	Reserved2      uint16
	DataOffset     uint32
	DataSelector   uint16
	Reserved3      uint16
	MxCsr          uint32
	MxCsr_Mask     uint32
	FloatRegisters [8]M128A
	XmmRegisters   [16]M128A
	Reserved4      [96]uint8
}

// Context is CONTEXT of x64.
type Context struct {
	P1Home               uint64
	P2Home               uint64
	P3Home               uint64
	P4Home               uint64
	P5Home               uint64
	P6Home               uint64
	ContextFlags         uint32 // CONTEXT_*
	MxCsr                uint32
	SegCs                uint16
	SegDs                uint16
	SegEs                uint16
	SegFs                uint16
	SegGs                uint16
	SegSs                uint16
	EFlags               uint32
	Dr0                  uint64
	Dr1                  uint64
	Dr2                  uint64
	Dr3                  uint64
	Dr6                  uint64
	Dr7                  uint64
	Rax                  uint64
	Rcx                  uint64
	Rdx                  uint64
	Rbx                  uint64
	Rsp                  uint64
	Rbp                  uint64
	Rsi                  uint64
	Rdi                  uint64
	R8                   uint64
	R9                   uint64
	R10                  uint64
	R11                  uint64
	R12                  uint64
	R13                  uint64
	R14                  uint64
	R15                  uint64
	Rip                  uint64
	FltSave              XSaveFormat
	VectorRegister       [26]M128A
	VectorControl        uint64
	DebugControl         uint64
	LastBranchToRip      uint64
	LastBranchFromRip    uint64
	LastExceptionToRip   uint64
	LastExceptionFromRip uint64
}

// The parts of a Context that ContextFlags says are valid.
const (
	CONTEXT_AMD64           uint32 = 0x00100000
	CONTEXT_CONTROL         uint32 = CONTEXT_AMD64 | 0x01
	CONTEXT_INTEGER         uint32 = CONTEXT_AMD64 | 0x02
	CONTEXT_SEGMENTS        uint32 = CONTEXT_AMD64 | 0x04
	CONTEXT_FLOATING_POINT  uint32 = CONTEXT_AMD64 | 0x08
	CONTEXT_DEBUG_REGISTERS uint32 = CONTEXT_AMD64 | 0x10
	CONTEXT_FULL            uint32 = CONTEXT_CONTROL | CONTEXT_INTEGER | CONTEXT_FLOATING_POINT
	CONTEXT_ALL             uint32 = CONTEXT_FULL | CONTEXT_SEGMENTS | CONTEXT_DEBUG_REGISTERS
)

// EXCEPTION_MAXIMUM_PARAMETERS is the length of ExceptionRecord.ExceptionInformation.
const EXCEPTION_MAXIMUM_PARAMETERS = 15

// ExceptionRecord is EXCEPTION_RECORD.
type ExceptionRecord struct {
	ExceptionCode        Status
	ExceptionFlags       uint32 // EXCEPTION_*
	ExceptionRecord      Addr
	ExceptionAddress     Addr
	NumberParameters     uint32
	_                    [ptrPad]byte
	ExceptionInformation [EXCEPTION_MAXIMUM_PARAMETERS]uintptr
}

// The flags of an ExceptionRecord.
const (
	EXCEPTION_NONCONTINUABLE  uint32 = 0x01
	EXCEPTION_UNWINDING       uint32 = 0x02
	EXCEPTION_EXIT_UNWIND     uint32 = 0x04
	EXCEPTION_STACK_INVALID   uint32 = 0x08
	EXCEPTION_NESTED_CALL     uint32 = 0x10
	EXCEPTION_TARGET_UNWIND   uint32 = 0x20
	EXCEPTION_COLLIDED_UNWIND uint32 = 0x40
	EXCEPTION_UNWIND          uint32 = 0x66
)

// The first parameter of STATUS_ACCESS_VIOLATION and STATUS_IN_PAGE_ERROR.
const (
	EXCEPTION_READ_FAULT    uintptr = 0
	EXCEPTION_WRITE_FAULT   uintptr = 1
	EXCEPTION_EXECUTE_FAULT uintptr = 8
)

// What an exception filter returns.
const (
	EXCEPTION_EXECUTE_HANDLER    int32 = 1
	EXCEPTION_CONTINUE_SEARCH    int32 = 0
	EXCEPTION_CONTINUE_EXECUTION int32 = -1
)

// ExceptionDisposition is EXCEPTION_DISPOSITION: what a language handler returns.
type ExceptionDisposition uint32

// The dispositions.
const (
	ExceptionContinueExecution ExceptionDisposition = 0
	ExceptionContinueSearch    ExceptionDisposition = 1
	ExceptionNestedException   ExceptionDisposition = 2
	ExceptionCollidedUnwind    ExceptionDisposition = 3
)

// ExceptionPointers is EXCEPTION_POINTERS: what an exception filter gets.
type ExceptionPointers struct {
	ExceptionRecord Addr
	ContextRecord   Addr
}

// DispatcherContext is DISPATCHER_CONTEXT of x64: what a language handler is told of its frame.
type DispatcherContext struct {
	ControlPc        uint64
	ImageBase        uint64
	FunctionEntry    Addr // RuntimeFunction
	EstablisherFrame uint64
	TargetIp         uint64
	ContextRecord    Addr
	LanguageHandler  Addr
	HandlerData      Addr
	HistoryTable     Addr
	ScopeIndex       uint32
	Fill0            uint32
}

// KNonvolatileContextPointers is KNONVOLATILE_CONTEXT_POINTERS of x64: where RtlVirtualUnwind found
// the registers that it restored.
type KNonvolatileContextPointers struct {
	FloatingContext [16]Addr
	IntegerContext  [16]Addr
}

// RuntimeFunction is RUNTIME_FUNCTION of x64: one entry of .pdata. The fields are RVAs.
type RuntimeFunction struct {
	BeginAddress uint32
	EndAddress   uint32
	UnwindData   uint32
}

// The flags of an UNWIND_INFO.
const (
	UNW_FLAG_NHANDLER  uint8 = 0
	UNW_FLAG_EHANDLER  uint8 = 1
	UNW_FLAG_UHANDLER  uint8 = 2
	UNW_FLAG_CHAININFO uint8 = 4
)
