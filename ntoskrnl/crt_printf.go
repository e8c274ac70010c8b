package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// The printf family. Functions with "..." take their arguments from the caller's registers and
// stack, those whose names have a "v" from a va_list. Each gives the number of characters that it
// wrote, without the zero, or -1. A format with %n is refused with -1.
//
// The documentation asks for PASSIVE_LEVEL where a format converts between the two kinds of string,
// as %S does, because Windows has the tables for that in pageable memory. Here they always are in
// memory, so these run at any IRQL.
var crtPrintfExports = []Export{
	// int sprintf(char *buffer, const char *format, ...).
	// "sprintf, _sprintf_l, swprintf, _swprintf_l, __swprintf_l".
	{Name: "sprintf", Fn: printTo(rtl.Sprintf), Params: "buffer format:str", MaxIRQL: anyIRQL,
		Support: Full},
	// int vsprintf(char *buffer, const char *format, va_list argptr).
	// "vsprintf, _vsprintf_l, vswprintf, _vswprintf_l, __vswprintf_l".
	{Name: "vsprintf", Fn: vprintTo(rtl.Sprintf), Params: "buffer format:str argptr",
		MaxIRQL: anyIRQL, Support: Full},
	// int swprintf(wchar_t *buffer, const wchar_t *format, ...): the kernel's has no size.
	{Name: "swprintf", Fn: printTo(rtl.Swprintf), Params: "buffer format:wstr", MaxIRQL: anyIRQL,
		Support: Full},
	// int _swprintf(wchar_t *buffer, const wchar_t *format, ...).
	{Name: "_swprintf", Fn: printTo(rtl.Swprintf), Params: "buffer format:wstr", MaxIRQL: anyIRQL,
		Support: Full},
	// int _vswprintf(wchar_t *buffer, const wchar_t *format, va_list argptr).
	{Name: "_vswprintf", Fn: vprintTo(rtl.Swprintf), Params: "buffer format:wstr argptr",
		MaxIRQL: anyIRQL, Support: Full},
	// int _snprintf(char *buffer, size_t count, const char *format, ...): -1 if more than count
	// characters were to be written; of exactly count there is no zero. Without a buffer and a count
	// it gives the length. "snprintf, _snprintf, _snprintf_l, _snwprintf, _snwprintf_l".
	{Name: "_snprintf", Fn: printSized(rtl.Snprintf), Params: "buffer count:d format:str",
		MaxIRQL: anyIRQL, Support: Full},
	// int _vsnprintf(char *buffer, size_t count, const char *format, va_list argptr).
	// "vsnprintf, _vsnprintf, _vsnprintf_l, _vsnwprintf, _vsnwprintf_l".
	{Name: "_vsnprintf", Fn: vprintSized(rtl.Snprintf), Params: "buffer count:d format:str argptr",
		MaxIRQL: anyIRQL, Support: Full},
	// int _snwprintf(wchar_t *buffer, size_t count, const wchar_t *format, ...).
	{Name: "_snwprintf", Fn: printSized(rtl.Snwprintf), Params: "buffer count:d format:wstr",
		MaxIRQL: anyIRQL, Support: Full},
	// int _vsnwprintf(wchar_t *buffer, size_t count, const wchar_t *format, va_list argptr).
	{Name: "_vsnwprintf", Fn: vprintSized(rtl.Snwprintf),
		Params: "buffer count:d format:wstr argptr", MaxIRQL: anyIRQL, Support: Full},
	// int sprintf_s(char *buffer, size_t sizeOfBuffer, const char *format, ...): -1 and an empty
	// string if it does not fit. "sprintf_s, _sprintf_s_l, swprintf_s, _swprintf_s_l".
	{Name: "sprintf_s", Fn: printSized(rtl.SprintfS), Params: "buffer sizeOfBuffer:d format:str",
		MaxIRQL: anyIRQL, Support: Full},
	// int vsprintf_s(char *buffer, size_t numberOfElements, const char *format, va_list argptr).
	// "vsprintf_s, _vsprintf_s_l, vswprintf_s, _vswprintf_s_l".
	{Name: "vsprintf_s", Fn: vprintSized(rtl.SprintfS),
		Params: "buffer numberOfElements:d format:str argptr", MaxIRQL: anyIRQL, Support: Full},
	// int swprintf_s(wchar_t *buffer, size_t sizeOfBuffer, const wchar_t *format, ...).
	{Name: "swprintf_s", Fn: printSized(rtl.SwprintfS), Params: "buffer sizeOfBuffer:d format:wstr",
		MaxIRQL: anyIRQL, Support: Full},
	// int vswprintf_s(wchar_t *buffer, size_t numberOfElements, const wchar_t *format, va_list
	// argptr).
	{Name: "vswprintf_s", Fn: vprintSized(rtl.SwprintfS),
		Params: "buffer numberOfElements:d format:wstr argptr", MaxIRQL: anyIRQL, Support: Full},
	// int _snprintf_s(char *buffer, size_t sizeOfBuffer, size_t count, const char *format, ...):
	// with _TRUNCATE as count the text is cut to what fits. "_snprintf_s, _snprintf_s_l,
	// _snwprintf_s, _snwprintf_s_l".
	{Name: "_snprintf_s", Fn: printCounted(rtl.SnprintfS),
		Params: "buffer sizeOfBuffer:d count:d format:str", MaxIRQL: anyIRQL, Support: Full},
	// int _vsnprintf_s(char *buffer, size_t sizeOfBuffer, size_t count, const char *format, va_list
	// argptr). "vsnprintf_s, _vsnprintf_s, _vsnprintf_s_l, _vsnwprintf_s, _vsnwprintf_s_l".
	{Name: "_vsnprintf_s", Fn: vprintCounted(rtl.SnprintfS),
		Params: "buffer sizeOfBuffer:d count:d format:str argptr", MaxIRQL: anyIRQL, Support: Full},
	// int _snwprintf_s(wchar_t *buffer, size_t sizeOfBuffer, size_t count, const wchar_t *format,
	// ...).
	{Name: "_snwprintf_s", Fn: printCounted(rtl.SnwprintfS),
		Params: "buffer sizeOfBuffer:d count:d format:wstr", MaxIRQL: anyIRQL, Support: Full},
	// int _vsnwprintf_s(wchar_t *buffer, size_t sizeOfBuffer, size_t count, const wchar_t *format,
	// va_list argptr).
	{Name: "_vsnwprintf_s", Fn: vprintCounted(rtl.SnwprintfS),
		Params: "buffer sizeOfBuffer:d count:d format:wstr argptr", MaxIRQL: anyIRQL,
		Support: Full},
}

// The shapes of the family: destination and format, with a size between them, and with a count too.
type (
	printer        func(dst, format guest.Addr, args rtl.Args) (int32, error)
	sizedPrinter   func(dst guest.Addr, size uintptr, format guest.Addr, args rtl.Args) (int32, error)
	countedPrinter func(dst guest.Addr, size, count uintptr, format guest.Addr,
		args rtl.Args) (int32, error)
)

func printTo(f printer) Func {
	return fn2(func(c *Call, dst, format guest.Addr) int32 {
		args := c.VarArgs(2)
		n, err := f(dst, format, &args)
		return must(c, n, err)
	})
}

func vprintTo(f printer) Func {
	return fn3(func(c *Call, dst, format, list guest.Addr) int32 {
		n, err := f(dst, format, &rtl.VaList{At: list})
		return must(c, n, err)
	})
}

func printSized(f sizedPrinter) Func {
	return fn3(func(c *Call, dst guest.Addr, size uintptr, format guest.Addr) int32 {
		args := c.VarArgs(3)
		n, err := f(dst, size, format, &args)
		return must(c, n, err)
	})
}

func vprintSized(f sizedPrinter) Func {
	return fn4(func(c *Call, dst guest.Addr, size uintptr, format, list guest.Addr) int32 {
		n, err := f(dst, size, format, &rtl.VaList{At: list})
		return must(c, n, err)
	})
}

func printCounted(f countedPrinter) Func {
	return fn4(func(c *Call, dst guest.Addr, size, count uintptr, format guest.Addr) int32 {
		args := c.VarArgs(4)
		n, err := f(dst, size, count, format, &args)
		return must(c, n, err)
	})
}

func vprintCounted(f countedPrinter) Func {
	return fn5(func(c *Call, dst guest.Addr, size, count uintptr, format, list guest.Addr) int32 {
		n, err := f(dst, size, count, format, &rtl.VaList{At: list})
		return must(c, n, err)
	})
}
