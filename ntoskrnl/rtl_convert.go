package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Strings of one character set made of another. The ANSI and the OEM code page are UTF-8.
var rtlConvertExports = []Export{
	// NTSTATUS RtlAnsiStringToUnicodeString(PUNICODE_STRING DestinationString, PCANSI_STRING
	// SourceString, BOOLEAN AllocateDestinationString): STATUS_NO_MEMORY; STATUS_BUFFER_OVERFLOW if
	// text and zero do not fit; STATUS_INVALID_PARAMETER_2 if no string can be so long.
	// "RtlAnsiStringToUnicodeString function (wdm.h)".
	{Name: "RtlAnsiStringToUnicodeString", Fn: allocating(rtl.AnsiStringToUnicodeString),
		Params:  "DestinationString SourceString:astr AllocateDestinationString:b",
		MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlOemStringToUnicodeString(PUNICODE_STRING DestinationString, PCOEM_STRING
	// SourceString, BOOLEAN AllocateDestinationString).
	// "RtlOemStringToUnicodeString function (ntifs.h)".
	{Name: "RtlOemStringToUnicodeString", Fn: allocating(rtl.AnsiStringToUnicodeString),
		Params:  "DestinationString SourceString:astr AllocateDestinationString:b",
		MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlUnicodeStringToAnsiString(PANSI_STRING DestinationString, PCUNICODE_STRING
	// SourceString, BOOLEAN AllocateDestinationString): a buffer that is too small gets what fits,
	// and STATUS_BUFFER_OVERFLOW. "RtlUnicodeStringToAnsiString function (wdm.h)".
	{Name: "RtlUnicodeStringToAnsiString", Fn: allocating(rtl.UnicodeStringToAnsiString),
		Params:  "DestinationString SourceString:ustr AllocateDestinationString:b",
		MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlUnicodeStringToOemString(POEM_STRING DestinationString, PCUNICODE_STRING
	// SourceString, BOOLEAN AllocateDestinationString).
	// "RtlUnicodeStringToOemString function (ntifs.h)".
	{Name: "RtlUnicodeStringToOemString", Fn: allocating(rtl.UnicodeStringToAnsiString),
		Params:  "DestinationString SourceString:ustr AllocateDestinationString:b",
		MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlUpcaseUnicodeStringToAnsiString(PANSI_STRING DestinationString, PCUNICODE_STRING
	// SourceString, BOOLEAN AllocateDestinationString).
	{Name: "RtlUpcaseUnicodeStringToAnsiString",
		Fn:      allocating(rtl.UpcaseUnicodeStringToAnsiString),
		Params:  "DestinationString SourceString:ustr AllocateDestinationString:b",
		MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlUpcaseUnicodeStringToOemString(POEM_STRING DestinationString, PCUNICODE_STRING
	// SourceString, BOOLEAN AllocateDestinationString).
	// "RtlUpcaseUnicodeStringToOemString function (ntifs.h)".
	{Name: "RtlUpcaseUnicodeStringToOemString", Fn: allocating(rtl.UpcaseUnicodeStringToAnsiString),
		Params:  "DestinationString SourceString:ustr AllocateDestinationString:b",
		MaxIRQL: pageable, Support: Full},

	// ULONG RtlxAnsiStringToUnicodeSize(PCANSI_STRING AnsiString): in bytes, with the zero.
	// "RtlxAnsiStringToUnicodeSize function (wdm.h)".
	{Name: "RtlxAnsiStringToUnicodeSize", Fn: try1(rtl.AnsiStringToUnicodeSize),
		Params: "AnsiString:astr", MaxIRQL: pageable, Support: Full},
	// ULONG RtlxOemStringToUnicodeSize(PCOEM_STRING OemString).
	{Name: "RtlxOemStringToUnicodeSize", Fn: try1(rtl.AnsiStringToUnicodeSize),
		Params: "OemString:astr", MaxIRQL: pageable, Support: Full},
	// ULONG RtlxUnicodeStringToAnsiSize(PCUNICODE_STRING UnicodeString).
	// "RtlxUnicodeStringToAnsiSize function (wdm.h)".
	{Name: "RtlxUnicodeStringToAnsiSize", Fn: try1(rtl.UnicodeStringToAnsiSize),
		Params: "UnicodeString:ustr", MaxIRQL: pageable, Support: Full},
	// ULONG RtlxUnicodeStringToOemSize(PCUNICODE_STRING UnicodeString).
	{Name: "RtlxUnicodeStringToOemSize", Fn: try1(rtl.UnicodeStringToAnsiSize),
		Params: "UnicodeString:ustr", MaxIRQL: pageable, Support: Full},
	{Name: "RtlAnsiCharToUnicodeChar", Fn: fn1(rtlAnsiCharToUnicodeChar), Params: "SourceCharacter",
		MaxIRQL: pageable, Support: Full},

	// NTSTATUS RtlMultiByteToUnicodeN(PWCH UnicodeString, ULONG MaxBytesInUnicodeString, PULONG
	// BytesInUnicodeString, const CHAR *MultiByteString, ULONG BytesInMultiByteString): as much as
	// fits. "RtlMultiByteToUnicodeN function (ntifs.h)".
	{Name: "RtlMultiByteToUnicodeN", Fn: counted(rtl.MultiByteToUnicodeN),
		Params: "UnicodeString MaxBytesInUnicodeString:d BytesInUnicodeString MultiByteString " +
			"BytesInMultiByteString:d", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlOemToUnicodeN(PWCH UnicodeString, ULONG MaxBytesInUnicodeString, PULONG
	// BytesInUnicodeString, PCCH OemString, ULONG BytesInOemString).
	// "RtlOemToUnicodeN function (ntifs.h)".
	{Name: "RtlOemToUnicodeN", Fn: counted(rtl.MultiByteToUnicodeN),
		Params: "UnicodeString MaxBytesInUnicodeString:d BytesInUnicodeString OemString " +
			"BytesInOemString:d", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlUnicodeToMultiByteN(PCHAR MultiByteString, ULONG MaxBytesInMultiByteString, PULONG
	// BytesInMultiByteString, PCWCH UnicodeString, ULONG BytesInUnicodeString).
	// "RtlUnicodeToMultiByteN function (ntifs.h)".
	{Name: "RtlUnicodeToMultiByteN", Fn: counted(rtl.UnicodeToMultiByteN),
		Params: "MultiByteString MaxBytesInMultiByteString:d BytesInMultiByteString " +
			"UnicodeString BytesInUnicodeString:d", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlUnicodeToOemN(PCHAR OemString, ULONG MaxBytesInOemString, PULONG BytesInOemString,
	// PCWCH UnicodeString, ULONG BytesInUnicodeString). "RtlUnicodeToOemN function (ntifs.h)".
	{Name: "RtlUnicodeToOemN", Fn: counted(rtl.UnicodeToMultiByteN),
		Params: "OemString MaxBytesInOemString:d BytesInOemString UnicodeString " +
			"BytesInUnicodeString:d", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlUpcaseUnicodeToMultiByteN(PCHAR MultiByteString, ULONG MaxBytesInMultiByteString,
	// PULONG BytesInMultiByteString, PCWCH UnicodeString, ULONG BytesInUnicodeString).
	// "RtlUpcaseUnicodeToMultiByteN function (ntifs.h)".
	{Name: "RtlUpcaseUnicodeToMultiByteN", Fn: counted(rtl.UpcaseUnicodeToMultiByteN),
		Params: "MultiByteString MaxBytesInMultiByteString:d BytesInMultiByteString " +
			"UnicodeString BytesInUnicodeString:d", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlUpcaseUnicodeToOemN(PCHAR OemString, ULONG MaxBytesInOemString, PULONG
	// BytesInOemString, PCWCH UnicodeString, ULONG BytesInUnicodeString).
	// "RtlUpcaseUnicodeToOemN function (ntifs.h)".
	{Name: "RtlUpcaseUnicodeToOemN", Fn: counted(rtl.UpcaseUnicodeToMultiByteN),
		Params: "OemString MaxBytesInOemString:d BytesInOemString UnicodeString " +
			"BytesInUnicodeString:d", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlUTF8ToUnicodeN(PWSTR UnicodeStringDestination, ULONG UnicodeStringMaxByteCount,
	// PULONG UnicodeStringActualByteCount, PCCH UTF8StringSource, ULONG UTF8StringByteCount):
	// STATUS_SOME_NOT_MAPPED, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER(_4). Without a
	// destination it counts. "RtlUTF8ToUnicodeN function (wdm.h)".
	{Name: "RtlUTF8ToUnicodeN", Fn: counted(rtl.UTF8ToUnicodeN),
		Params: "UnicodeStringDestination UnicodeStringMaxByteCount:d " +
			"UnicodeStringActualByteCount UTF8StringSource UTF8StringByteCount:d", MaxIRQL: pageable,
		Support: Full},
	// NTSTATUS RtlUnicodeToUTF8N(PCHAR UTF8StringDestination, ULONG UTF8StringMaxByteCount, PULONG
	// UTF8StringActualByteCount, PCWCH UnicodeStringSource, ULONG UnicodeStringByteCount).
	// "RtlUnicodeToUTF8N function (wdm.h)".
	{Name: "RtlUnicodeToUTF8N", Fn: counted(rtl.UnicodeToUTF8N),
		Params: "UTF8StringDestination UTF8StringMaxByteCount:d UTF8StringActualByteCount " +
			"UnicodeStringSource UnicodeStringByteCount:d", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlMultiByteToUnicodeSize(PULONG BytesInUnicodeString, const CHAR *MultiByteString,
	// ULONG BytesInMultiByteString). "RtlMultiByteToUnicodeSize function (ntifs.h)".
	{Name: "RtlMultiByteToUnicodeSize", Fn: sized(rtl.MultiByteToUnicodeSize),
		Params: "BytesInUnicodeString MultiByteString BytesInMultiByteString:d", MaxIRQL: pageable,
		Support: Full},
	// NTSTATUS RtlUnicodeToMultiByteSize(PULONG BytesInMultiByteString, PCWCH UnicodeString, ULONG
	// BytesInUnicodeString). "RtlUnicodeToMultiByteSize function (ntifs.h)".
	{Name: "RtlUnicodeToMultiByteSize", Fn: sized(rtl.UnicodeToMultiByteSize),
		Params: "BytesInMultiByteString UnicodeString BytesInUnicodeString:d", MaxIRQL: pageable,
		Support: Full},
}

// rtlAnsiCharToUnicodeChar gives the character at a pointer, which it moves on.
//
//	WCHAR RtlAnsiCharToUnicodeChar(PUCHAR *SourceCharacter)
//
// U+FFFD at a byte that begins no character. "RtlAnsiCharToUnicodeChar function (ntifs.h)".
func rtlAnsiCharToUnicodeChar(c *Call, at guest.Addr) uint16 {
	unit, next, err := rtl.AnsiCharToUnicodeChar(Load[guest.Addr](c, at))
	c.Must(err)
	Store(c, at, next)
	return unit
}

// counted makes an export of a conversion of counted bytes. The third argument, which may be null,
// gets the number of bytes that were written, whatever the status is.
func counted(f func(dst guest.Addr, size uint32, src guest.Addr, n uint32) (uint32, error)) Func {
	return fn5(func(c *Call, dst guest.Addr, size uint32, actual, src guest.Addr, n uint32) nt.Status {
		written, err := f(dst, size, src, n)
		status := c.status(err)
		StoreOpt(c, actual, written)
		return status
	})
}

// sized makes an export that stores how many bytes a conversion gives.
func sized(f func(src guest.Addr, n uint32) (uint32, error)) Func {
	return fn3(func(c *Call, result, src guest.Addr, n uint32) nt.Status {
		size, err := f(src, n)
		c.Must(err)
		Store(c, result, size)
		return nt.STATUS_SUCCESS
	})
}
