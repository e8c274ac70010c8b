package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Numbers and GUIDs in strings, byte order, bits of a word, checksums.
var rtlIntegerExports = []Export{
	// NTSTATUS RtlIntegerToUnicodeString(ULONG Value, ULONG Base, PUNICODE_STRING String): base 0
	// (10), 2, 8, 10 or 16, else STATUS_INVALID_PARAMETER; STATUS_BUFFER_OVERFLOW.
	// "RtlIntegerToUnicodeString function (wdm.h)".
	{Name: "RtlIntegerToUnicodeString", Fn: status3(rtl.IntegerToUnicodeString),
		Params: "Value:d Base:d String", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlInt64ToUnicodeString(ULONGLONG Value, ULONG Base, PUNICODE_STRING String).
	// "RtlInt64ToUnicodeString function (wdm.h)".
	{Name: "RtlInt64ToUnicodeString", Fn: status3(rtl.Int64ToUnicodeString),
		Params: "Value:d Base:d String", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlIntegerToChar(ULONG Value, ULONG Base, LONG OutputLength, PSZ String).
	{Name: "RtlIntegerToChar", Fn: status4(rtl.IntegerToChar),
		Params: "Value:d Base:d OutputLength:d String", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlUnicodeStringToInteger(PCUNICODE_STRING String, ULONG Base, PULONG Value): base 0
	// looks for 0x, 0o and 0b. "RtlUnicodeStringToInteger function (wdm.h)".
	{Name: "RtlUnicodeStringToInteger", Fn: parsed(rtl.UnicodeStringToInteger),
		Params: "String:ustr Base:d Value", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlCharToInteger(PCSZ String, ULONG Base, PULONG Value).
	// "RtlCharToInteger function (ntddk.h)".
	{Name: "RtlCharToInteger", Fn: parsed(rtl.CharToInteger), Params: "String:str Base:d Value",
		MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlGUIDFromString(PCUNICODE_STRING GuidString, GUID *Guid):
	// STATUS_INVALID_PARAMETER. "RtlGUIDFromString function (wdm.h)".
	{Name: "RtlGUIDFromString", Fn: status2(rtl.GUIDFromString), Params: "GuidString:ustr Guid",
		MaxIRQL: pageable, Support: Full},
	{Name: "RtlStringFromGUID", Fn: fn2(rtlStringFromGUID), Params: "Guid GuidString",
		MaxIRQL: pageable, Support: Full},

	// USHORT RtlUshortByteSwap(USHORT Source). "RtlUshortByteSwap macro (wdm.h)".
	{Name: "RtlUshortByteSwap", Fn: pure1(rtl.UshortByteSwap), Params: "Source", MaxIRQL: anyIRQL,
		Support: Full},
	// ULONG RtlUlongByteSwap(ULONG Source). "RtlUlongByteSwap macro (wdm.h)".
	{Name: "RtlUlongByteSwap", Fn: pure1(rtl.UlongByteSwap), Params: "Source", MaxIRQL: anyIRQL,
		Support: Full},
	// ULONGLONG RtlUlonglongByteSwap(ULONGLONG Source). "RtlUlonglongByteSwap macro (wdm.h)".
	{Name: "RtlUlonglongByteSwap", Fn: pure1(rtl.UlonglongByteSwap), Params: "Source",
		MaxIRQL: anyIRQL, Support: Full},
	// CCHAR RtlFindMostSignificantBit(ULONGLONG Set): -1 of 0.
	// "RtlFindMostSignificantBit function (wdm.h)".
	{Name: "RtlFindMostSignificantBit", Fn: pure1(rtl.FindMostSignificantBit), Params: "Set",
		MaxIRQL: anyIRQL, Support: Full},
	// CCHAR RtlFindLeastSignificantBit(ULONGLONG Set): -1 of 0.
	// "RtlFindLeastSignificantBit function (wdm.h)".
	{Name: "RtlFindLeastSignificantBit", Fn: pure1(rtl.FindLeastSignificantBit), Params: "Set",
		MaxIRQL: anyIRQL, Support: Full},
	// ULONG RtlNumberOfSetBitsUlongPtr(ULONG_PTR Target).
	// "RtlNumberOfSetBitsUlongPtr function (wdm.h)".
	{Name: "RtlNumberOfSetBitsUlongPtr", Fn: pure1(rtl.NumberOfSetBitsUlongPtr), Params: "Target",
		MaxIRQL: anyIRQL, Support: Full},
	// ULONG RtlComputeCrc32(ULONG PartialCrc, PVOID Buffer, ULONG Length).
	{Name: "RtlComputeCrc32", Fn: try3(computeCrc32), Params: "PartialCrc Buffer Length:d",
		MaxIRQL: anyIRQL, Support: Full},
	// ULONG RtlCrc32(const VOID *Buffer, SIZE_T Size, ULONG InitialCrc).
	// "RtlCrc32 function (wdm.h)".
	{Name: "RtlCrc32", Fn: try3(crc32), Params: "Buffer Size:d InitialCrc", MaxIRQL: anyIRQL,
		Support: Full},
}

// parsed makes an export that stores the number in a string.
func parsed(f func(s guest.Addr, base uint32) (uint32, error)) Func {
	return fn3(func(c *Call, s guest.Addr, base uint32, value guest.Addr) nt.Status {
		v, err := f(s, base)
		if err == nil {
			Store(c, value, v)
		}
		return c.status(err)
	})
}

// rtlStringFromGUID makes a string, with a buffer of its own, of a GUID.
//
//	NTSTATUS RtlStringFromGUID(REFGUID Guid, PUNICODE_STRING GuidString)
//
// STATUS_NO_MEMORY. "RtlStringFromGUID function (wdm.h)".
func rtlStringFromGUID(c *Call, guid, s guest.Addr) nt.Status {
	return c.status(rtl.StringFromGUID(guid, s, c.allocString))
}

func computeCrc32(crc uint32, a guest.Addr, n uint32) (uint32, error) {
	return rtl.Crc32(crc, a, uintptr(n))
}

func crc32(a guest.Addr, n uintptr, crc uint32) (uint32, error) { return rtl.Crc32(crc, a, n) }
