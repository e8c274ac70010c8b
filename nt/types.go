// The small types that every layout is made of.
package nt

import "strconv"

// ptrSize is the pointer size in bytes: 8 for 64-bit hosts and drivers, 4 for 32-bit ones.
const ptrSize = 4 << (^uintptr(0) >> 63)

// ptrPad is what C adds after a 32-bit value that is followed by something pointer-aligned: 4 bytes
// on 64-bit systems, none on 32-bit ones. The headers say POINTER_ALIGNMENT for it.
const ptrPad = ptrSize - 4

// PAGE_SIZE is the size of a page in bytes.
const (
	PAGE_SIZE  = 0x1000
	PAGE_SHIFT = 12
)

// Handle is HANDLE: an index into a handle table, or one of the pseudo handles.
type Handle uintptr

// INVALID_HANDLE_VALUE is what user-mode functions give for no handle.
const INVALID_HANDLE_VALUE = ^Handle(0)

// Boolean is BOOLEAN: a byte, 0 for false. A driver may store any non-zero value for true.
type Boolean = uint8

// The values of a Boolean.
const (
	FALSE Boolean = 0
	TRUE  Boolean = 1
)

// ProcessorMode is KPROCESSOR_MODE: who asked for something.
type ProcessorMode int8

// The processor modes.
const (
	KernelMode  ProcessorMode = 0
	UserMode    ProcessorMode = 1
	MaximumMode ProcessorMode = 2
)

// String gives "KernelMode" or "UserMode".
func (m ProcessorMode) String() string {
	switch m {
	case KernelMode:
		return "KernelMode"
	case UserMode:
		return "UserMode"
	}
	return "mode " + strconv.Itoa(int(m))
}

// UnicodeString is UNICODE_STRING. The lengths are in bytes; a terminating zero is not counted and
// need not be there.
type UnicodeString struct {
	Length        uint16
	MaximumLength uint16
	_             [ptrPad]byte
	Buffer        Addr
}

// AnsiString is STRING, also called ANSI_STRING and OEM_STRING. The lengths are in bytes.
type AnsiString struct {
	Length        uint16
	MaximumLength uint16
	_             [ptrPad]byte
	Buffer        Addr
}

// ListEntry is LIST_ENTRY: a link, or the head, of a circular doubly linked list.
type ListEntry struct {
	Flink Addr
	Blink Addr
}

// SingleListEntry is SINGLE_LIST_ENTRY.
type SingleListEntry struct {
	Next Addr
}

// SListEntryAlign is the alignment of an SLIST_ENTRY and of an SLIST_HEADER on x64, in bytes.
const SListEntryAlign = 16

// SListHeader is SLIST_HEADER on x64: a lock-free stack that is changed by CMPXCHG16B, so it must be
// aligned to SListEntryAlign. Bits 0–15 of Alignment are the depth, 16–63 the sequence; Region is
// the address of the first entry, whose lowest bits are 0, with bit 0 (HeaderType) set.
type SListHeader struct {
	Alignment uint64
	Region    uint64
}

// Depth is the number of entries modulo 65536, which is also what ExQueryDepthSList gives.
func (h SListHeader) Depth() uint16 { return uint16(h.Alignment) }

// Sequence is the counter that keeps a compare-and-swap from being fooled.
func (h SListHeader) Sequence() uint64 { return h.Alignment >> 16 }

// NextEntry is the address of the first entry, or 0.
func (h SListHeader) NextEntry() Addr { return Addr(h.Region &^ 0xF) }

// GUID is a globally unique identifier.
type GUID struct {
	Data1 uint32
	Data2 uint16
	Data3 uint16
	Data4 [8]uint8
}

// ClientID is CLIENT_ID: a process and a thread, by their ids.
type ClientID struct {
	UniqueProcess Handle
	UniqueThread  Handle
}

// ObjectAttributes is OBJECT_ATTRIBUTES: how Zw* functions are told which object is meant.
type ObjectAttributes struct {
	Length                   uint32
	_                        [ptrPad]byte
	RootDirectory            Handle
	ObjectName               Addr // UNICODE_STRING
	Attributes               uint32
	_                        [ptrPad]byte
	SecurityDescriptor       Addr
	SecurityQualityOfService Addr
}

// RTLBitmap is RTL_BITMAP: SizeOfBitMap bits at Buffer, in units of 32 bits.
type RTLBitmap struct {
	SizeOfBitMap uint32
	_            [ptrPad]byte
	Buffer       Addr
}

// TimeFields is TIME_FIELDS: a time taken apart. Month and Day count from 1, Weekday from Sunday = 0.
type TimeFields struct {
	Year         int16
	Month        int16
	Day          int16
	Hour         int16
	Minute       int16
	Second       int16
	Milliseconds int16
	Weekday      int16
}

// RTLOSVersionInfoExW is RTL_OSVERSIONINFOEXW, what RtlGetVersion fills in. Its first 276 bytes are
// RTL_OSVERSIONINFOW.
type RTLOSVersionInfoExW struct {
	DwOSVersionInfoSize uint32
	DwMajorVersion      uint32
	DwMinorVersion      uint32
	DwBuildNumber       uint32
	DwPlatformId        uint32
	SzCSDVersion        [128]uint16
	WServicePackMajor   uint16
	WServicePackMinor   uint16
	WSuiteMask          uint16
	WProductType        uint8
	WReserved           uint8
}

// RTLOSVersionInfoWSize is the size of RTL_OSVERSIONINFOW in bytes.
const RTLOSVersionInfoWSize = 276
