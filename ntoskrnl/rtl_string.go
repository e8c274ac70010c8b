package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// pageable is the highest IRQL of routines that lie in pageable code. The documentation gives most
// of them PASSIVE_LEVEL; what Windows and its verifier enforce is APC_LEVEL, and a driver that holds
// a fast mutex is there.
const pageable = nt.APC_LEVEL

// Counted strings: UNICODE_STRING and ANSI_STRING. Case is that of the system's table of upper-case
// letters.
var rtlStringExports = []Export{
	// VOID RtlInitUnicodeString(PUNICODE_STRING DestinationString, PCWSTR SourceString): a null
	// source gives an empty string; one of more than 0xFFFC bytes is cut there.
	// "RtlInitUnicodeString function (wdm.h)".
	{Name: "RtlInitUnicodeString", Fn: run2(rtl.InitUnicodeString),
		Params: "DestinationString SourceString:wstr", MaxIRQL: dispatch, Support: Full},
	// NTSTATUS RtlInitUnicodeStringEx(PUNICODE_STRING DestinationString, PCWSTR SourceString):
	// STATUS_NAME_TOO_LONG if it is longer. "RtlInitUnicodeStringEx function (ntddk.h)".
	{Name: "RtlInitUnicodeStringEx", Fn: status2(rtl.InitUnicodeStringEx),
		Params: "DestinationString SourceString:wstr", MaxIRQL: dispatch, Support: Full},
	// VOID RtlInitAnsiString(PANSI_STRING DestinationString, PCSZ SourceString).
	// "RtlInitAnsiString function (wdm.h)".
	{Name: "RtlInitAnsiString", Fn: run2(rtl.InitAnsiString),
		Params: "DestinationString SourceString:str", MaxIRQL: dispatch, Support: Full},
	// NTSTATUS RtlInitAnsiStringEx(PANSI_STRING DestinationString, PCSZ SourceString):
	// STATUS_NAME_TOO_LONG above 65534 bytes.
	{Name: "RtlInitAnsiStringEx", Fn: status2(rtl.InitAnsiStringEx),
		Params: "DestinationString SourceString:str", MaxIRQL: dispatch, Support: Full},
	// VOID RtlInitString(PSTRING DestinationString, PCSZ SourceString).
	// "RtlInitString function (wdm.h)".
	{Name: "RtlInitString", Fn: run2(rtl.InitAnsiString),
		Params: "DestinationString SourceString:str", MaxIRQL: dispatch, Support: Full},

	// VOID RtlCopyUnicodeString(PUNICODE_STRING DestinationString, PCUNICODE_STRING SourceString): as
	// much as fits; a null source empties the destination. "RtlCopyUnicodeString function (wdm.h)".
	{Name: "RtlCopyUnicodeString", Fn: run2(rtl.CopyUnicodeString),
		Params: "DestinationString SourceString:ustr", MaxIRQL: dispatch, Support: Full},
	// VOID RtlCopyString(PSTRING DestinationString, const STRING *SourceString).
	// "RtlCopyString function (wdm.h)".
	{Name: "RtlCopyString", Fn: run2(rtl.CopyString), Params: "DestinationString SourceString:astr",
		MaxIRQL: dispatch, Support: Full},
	// VOID RtlUpperString(PSTRING DestinationString, const STRING *SourceString): as much as fits.
	// "RtlUpperString function (ntddk.h)".
	{Name: "RtlUpperString", Fn: run2(rtl.UpperString),
		Params: "DestinationString SourceString:astr", MaxIRQL: pageable, Support: Full},

	// NTSTATUS RtlAppendUnicodeToString(PUNICODE_STRING Destination, PCWSTR Source):
	// STATUS_BUFFER_TOO_SMALL, and nothing is appended. "RtlAppendUnicodeToString function (wdm.h)".
	{Name: "RtlAppendUnicodeToString", Fn: status2(rtl.AppendUnicodeToString),
		Params: "Destination:ustr Source:wstr", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlAppendUnicodeStringToString(PUNICODE_STRING Destination, PCUNICODE_STRING Source).
	// "RtlAppendUnicodeStringToString function (wdm.h)".
	{Name: "RtlAppendUnicodeStringToString", Fn: status2(rtl.AppendUnicodeStringToString),
		Params: "Destination:ustr Source:ustr", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlAppendStringToString(PSTRING Destination, const STRING *Source).
	// "RtlAppendStringToString function (ntifs.h)".
	{Name: "RtlAppendStringToString", Fn: status2(rtl.AppendStringToString),
		Params: "Destination:astr Source:astr", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlAppendAsciizToString(PSTRING Destination, PCSZ Source).
	{Name: "RtlAppendAsciizToString", Fn: status2(rtl.AppendAsciizToString),
		Params: "Destination:astr Source:str", MaxIRQL: pageable, Support: Full},

	// LONG RtlCompareUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN
	// CaseInSensitive): below, equal to or above 0. "RtlCompareUnicodeString function (wdm.h)".
	{Name: "RtlCompareUnicodeString", Fn: try3(folding(rtl.CompareUnicodeString)),
		Params: "String1:ustr String2:ustr CaseInSensitive:b", MaxIRQL: pageable, Support: Full},
	// LONG RtlCompareUnicodeStrings(PCWCH String1, SIZE_T String1Length, PCWCH String2, SIZE_T
	// String2Length, BOOLEAN CaseInSensitive), with lengths in WCHARs.
	// "RtlCompareUnicodeStrings function (ntifs.h)".
	{Name: "RtlCompareUnicodeStrings", Fn: try5(compareUnicodeStrings),
		Params:  "String1 String1Length:d String2 String2Length:d CaseInSensitive:b",
		MaxIRQL: pageable, Support: Full},
	// LONG RtlCompareString(const STRING *String1, const STRING *String2, BOOLEAN CaseInSensitive).
	// "RtlCompareString function (ntddk.h)".
	{Name: "RtlCompareString", Fn: try3(folding(rtl.CompareString)),
		Params: "String1:astr String2:astr CaseInSensitive:b", MaxIRQL: pageable, Support: Full},
	// BOOLEAN RtlEqualUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN
	// CaseInSensitive). "RtlEqualUnicodeString function (wdm.h)".
	{Name: "RtlEqualUnicodeString", Fn: test3(folding(rtl.EqualUnicodeString)),
		Params: "String1:ustr String2:ustr CaseInSensitive:b", MaxIRQL: pageable, Support: Full},
	// BOOLEAN RtlEqualString(const STRING *String1, const STRING *String2, BOOLEAN CaseInSensitive).
	// "RtlEqualString function (ntddk.h)".
	{Name: "RtlEqualString", Fn: test3(folding(rtl.EqualString)),
		Params: "String1:astr String2:astr CaseInSensitive:b", MaxIRQL: pageable, Support: Full},
	// BOOLEAN RtlPrefixUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN
	// CaseInSensitive): whether String2 begins with String1.
	// "RtlPrefixUnicodeString function (ntddk.h)".
	{Name: "RtlPrefixUnicodeString", Fn: test3(folding(rtl.PrefixUnicodeString)),
		Params: "String1:ustr String2:ustr CaseInSensitive:b", MaxIRQL: pageable, Support: Full},
	// BOOLEAN RtlPrefixString(const STRING *String1, const STRING *String2, BOOLEAN CaseInSensitive).
	// "RtlPrefixString function (ntifs.h)".
	{Name: "RtlPrefixString", Fn: test3(folding(rtl.PrefixString)),
		Params: "String1:astr String2:astr CaseInSensitive:b", MaxIRQL: pageable, Support: Full},
	{Name: "RtlHashUnicodeString", Fn: fn4(rtlHashUnicodeString),
		Params: "String:ustr CaseInSensitive:b HashAlgorithm:d HashValue", MaxIRQL: pageable,
		Support: Full},
	{Name: "RtlFindCharInUnicodeString", Fn: fn4(rtlFindCharInUnicodeString),
		Params:  "Flags StringToSearch:ustr CharSet:ustr NonInclusivePrefixLength",
		MaxIRQL: pageable, Support: Full},

	// WCHAR RtlUpcaseUnicodeChar(WCHAR SourceCharacter).
	// "RtlUpcaseUnicodeChar function (ntifs.h)".
	{Name: "RtlUpcaseUnicodeChar", Fn: pure1(rtl.UpcaseUnicodeChar), Params: "SourceCharacter",
		MaxIRQL: pageable, Support: Full},
	// WCHAR RtlDowncaseUnicodeChar(WCHAR SourceCharacter).
	// "RtlDowncaseUnicodeChar function (ntifs.h)".
	{Name: "RtlDowncaseUnicodeChar", Fn: pure1(rtl.DowncaseUnicodeChar), Params: "SourceCharacter",
		MaxIRQL: pageable, Support: Full},
	// CHAR RtlUpperChar(CHAR Character). "RtlUpperChar function (ntddk.h)".
	{Name: "RtlUpperChar", Fn: pure1(rtl.UpperChar), Params: "Character", MaxIRQL: pageable,
		Support: Full},
	// NTSTATUS RtlUpcaseUnicodeString(PUNICODE_STRING DestinationString, PCUNICODE_STRING
	// SourceString, BOOLEAN AllocateDestinationString): STATUS_NO_MEMORY, STATUS_BUFFER_OVERFLOW.
	// "RtlUpcaseUnicodeString function (ntifs.h)".
	{Name: "RtlUpcaseUnicodeString", Fn: allocating(rtl.UpcaseUnicodeString),
		Params:  "DestinationString SourceString:ustr AllocateDestinationString:b",
		MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlDowncaseUnicodeString(PUNICODE_STRING DestinationString, PCUNICODE_STRING
	// SourceString, BOOLEAN AllocateDestinationString).
	// "RtlDowncaseUnicodeString function (ntifs.h)".
	{Name: "RtlDowncaseUnicodeString", Fn: allocating(rtl.DowncaseUnicodeString),
		Params:  "DestinationString SourceString:ustr AllocateDestinationString:b",
		MaxIRQL: pageable, Support: Full},

	{Name: "RtlCreateUnicodeString", Fn: fn2(rtlCreateUnicodeString),
		Params: "DestinationString SourceString:wstr", MaxIRQL: pageable, Support: Full},
	{Name: "RtlDuplicateUnicodeString", Fn: fn3(rtlDuplicateUnicodeString),
		Params: "Flags StringIn:ustr StringOut", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlValidateUnicodeString(ULONG Flags, PCUNICODE_STRING String): lengths are even and
	// in order; STATUS_INVALID_PARAMETER. "RtlUnicodeStringValidate function (ntstrsafe.h)".
	{Name: "RtlValidateUnicodeString", Fn: status2(rtl.ValidateUnicodeString),
		Params: "Flags String:ustr", MaxIRQL: pageable, Support: Full},
	{Name: "RtlFreeUnicodeString", Fn: do1(rtlFreeString), Params: "UnicodeString",
		MaxIRQL: pageable, Support: Full},
	{Name: "RtlFreeAnsiString", Fn: do1(rtlFreeString), Params: "AnsiString", MaxIRQL: pageable,
		Support: Full},
	{Name: "RtlFreeOemString", Fn: do1(rtlFreeString), Params: "OemString", MaxIRQL: pageable,
		Support: Full},
	{Name: "RtlFreeUTF8String", Fn: do1(rtlFreeString), Params: "utf8String", MaxIRQL: pageable,
		Support: Full},
}

// folding makes the case switch of a comparison a BOOLEAN.
func folding[R any](f func(a, b guest.Addr, fold bool) (R, error)) func(guest.Addr, guest.Addr,
	nt.Boolean) (R, error) {
	return func(a, b guest.Addr, fold nt.Boolean) (R, error) { return f(a, b, fold != 0) }
}

func compareUnicodeStrings(a guest.Addr, na uintptr, b guest.Addr, nb uintptr, fold nt.Boolean) (
	int32, error) {
	return rtl.CompareUnicodeStrings(a, na, b, nb, fold != 0)
}

// rtlHashUnicodeString gives a hash of a string.
//
//	NTSTATUS RtlHashUnicodeString(PCUNICODE_STRING String, BOOLEAN CaseInSensitive,
//	    ULONG HashAlgorithm, PULONG HashValue)
//
// STATUS_INVALID_PARAMETER for a null pointer or another algorithm than the default and x65599.
// "RtlHashUnicodeString function (wdm.h)".
func rtlHashUnicodeString(c *Call, s guest.Addr, fold nt.Boolean, algorithm uint32,
	value guest.Addr) nt.Status {
	if s == 0 || value == 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	h, err := rtl.HashUnicodeString(s, fold != 0, algorithm)
	if err == nil {
		Store(c, value, h)
	}
	return c.status(err)
}

// rtlFindCharInUnicodeString looks for the first character, or with flag 1 the last, that is in a
// set, or with flag 2 that is not.
//
//	NTSTATUS RtlFindCharInUnicodeString(ULONG Flags, PUNICODE_STRING StringToSearch,
//	    PUNICODE_STRING CharSet, USHORT *NonInclusivePrefixLength)
//
// STATUS_NOT_FOUND, STATUS_INVALID_PARAMETER. The position is in bytes, 0 if there is none.
func rtlFindCharInUnicodeString(c *Call, flags uint32, s, set, pos guest.Addr) nt.Status {
	at, err := rtl.FindCharInUnicodeString(flags, s, set)
	status := c.status(err)
	if status != nt.STATUS_INVALID_PARAMETER {
		Store(c, pos, at)
	}
	return status
}

// stringTag is the pool tag of strings that the routines allocate.
var stringTag = mm.MakeTag("Strg")

// allocString allocates the buffer of a string, which RtlFreeUnicodeString and its kin free.
func (c *Call) allocString(size uintptr) (guest.Addr, error) {
	a, err := c.Mm.AllocatePool(nt.PagedPool, size, stringTag)
	if err != nil {
		return 0, nt.STATUS_NO_MEMORY
	}
	return a, nil
}

// allocating makes an export of a routine that converts a string, into a buffer of its own if the
// third argument says so.
func allocating(f func(dst, src guest.Addr, alloc rtl.Alloc) error) Func {
	return fn3(func(c *Call, dst, src guest.Addr, allocate nt.Boolean) nt.Status {
		var alloc rtl.Alloc
		if allocate != 0 {
			alloc = c.allocString
		}
		return c.status(f(dst, src, alloc))
	})
}

// rtlCreateUnicodeString makes a counted string with a copy of a zero-terminated one.
//
//	BOOLEAN RtlCreateUnicodeString(PUNICODE_STRING DestinationString, PCWSTR SourceString)
//
// FALSE without memory. "RtlCreateUnicodeString function (ntifs.h)".
func rtlCreateUnicodeString(c *Call, dst, src guest.Addr) nt.Boolean {
	return boolean(c.status(rtl.CreateUnicodeString(dst, src, c.allocString)) == nt.STATUS_SUCCESS)
}

// rtlDuplicateUnicodeString makes a copy of a string.
//
//	NTSTATUS RtlDuplicateUnicodeString(ULONG Flags, PCUNICODE_STRING StringIn,
//	    PUNICODE_STRING StringOut)
//
// STATUS_INVALID_PARAMETER, STATUS_NAME_TOO_LONG, STATUS_NO_MEMORY.
// "RtlDuplicateUnicodeString function (ntifs.h)".
func rtlDuplicateUnicodeString(c *Call, flags uint32, src, dst guest.Addr) nt.Status {
	return c.status(rtl.DuplicateUnicodeString(flags, src, dst, c.allocString))
}

// rtlFreeString frees a string's buffer and zeroes the string; one without a buffer is left alone.
//
//	VOID RtlFreeUnicodeString(PUNICODE_STRING UnicodeString)
//	VOID RtlFreeAnsiString(PANSI_STRING AnsiString)
//
// "RtlFreeUnicodeString function (wdm.h)", "RtlFreeAnsiString function (wdm.h)".
func rtlFreeString(c *Call, s guest.Addr) {
	if buffer := Load[nt.UnicodeString](c, s).Buffer; buffer != 0 {
		exFreePool(c, buffer)
		Store(c, s, nt.UnicodeString{})
	}
}
