package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Numbers in strings, and the other way round.
var crtNumberExports = []Export{
	// int atoi(const char *str): 0 without a number, INT_MAX or INT_MIN if it is too large. "atoi,
	// _atoi_l, _wtoi, _wtoi_l".
	{Name: "atoi", Fn: try1(rtl.Atoi), Params: "str:str", MaxIRQL: anyIRQL, Support: Full},
	// long atol(const char *str). "atol, _atol_l, _wtol, _wtol_l".
	{Name: "atol", Fn: try1(rtl.Atoi), Params: "str:str", MaxIRQL: anyIRQL, Support: Full},
	// int _wtoi(const wchar_t *str). "atoi, _atoi_l, _wtoi, _wtoi_l".
	{Name: "_wtoi", Fn: try1(rtl.Wtoi), Params: "str:wstr", MaxIRQL: anyIRQL, Support: Full},
	// long _wtol(const wchar_t *str). "atol, _atol_l, _wtol, _wtol_l".
	{Name: "_wtol", Fn: try1(rtl.Wtoi), Params: "str:wstr", MaxIRQL: anyIRQL, Support: Full},
	// unsigned __int64 _strtoui64(const char *strSource, char **endptr, int base): _UI64_MAX if it is
	// too large. *endptr gets where the number ends, strSource without one. "_strtoui64, _wcstoui64,
	// _strtoui64_l".
	{Name: "_strtoui64", Fn: number(rtl.Strtoui64), Params: "strSource:str endptr base:d",
		MaxIRQL: anyIRQL, Support: Full},
	// unsigned __int64 _wcstoui64(const wchar_t *strSource, wchar_t **endptr, int base). "_strtoui64,
	// _wcstoui64, _strtoui64_l".
	{Name: "_wcstoui64", Fn: number(rtl.Wcstoui64), Params: "strSource:wstr endptr base:d",
		MaxIRQL: anyIRQL, Support: Full},
	// unsigned long wcstoul(const wchar_t *strSource, wchar_t **endptr, int base): ULONG_MAX if it is
	// too large. "strtoul, _strtoul_l, wcstoul, _wcstoul_l".
	{Name: "wcstoul", Fn: number(rtl.Wcstoul), Params: "strSource:wstr endptr base:d",
		MaxIRQL: anyIRQL, Support: Full},
	// char *_itoa(int value, char *buffer, int radix): with a sign only in base 10. "_itoa, _itow
	// functions".
	{Name: "_itoa", Fn: digits(rtl.Itoa, rtl.Int32), Params: "value:d buffer radix:d",
		MaxIRQL: anyIRQL, Support: Full},
	// wchar_t *_itow(int value, wchar_t *buffer, int radix). "_itoa, _itow functions".
	{Name: "_itow", Fn: digits(rtl.Itow, rtl.Int32), Params: "value:d buffer radix:d",
		MaxIRQL: anyIRQL, Support: Full},
	// errno_t _itoa_s(int value, char *buffer, size_t size, int radix): EINVAL or ERANGE, and an
	// empty string. "_itoa_s, _itow_s functions".
	{Name: "_itoa_s", Fn: digitsS(rtl.ItoaS, rtl.Int32), Params: "value:d buffer size:d radix:d",
		MaxIRQL: anyIRQL, Support: Full},
	// errno_t _itow_s(int value, wchar_t *buffer, size_t size, int radix): EINVAL or ERANGE, and an
	// empty string. "_itoa_s, _itow_s functions".
	{Name: "_itow_s", Fn: digitsS(rtl.ItowS, rtl.Int32), Params: "value:d buffer size:d radix:d",
		MaxIRQL: anyIRQL, Support: Full},
	// errno_t _ltoa_s(long value, char *buffer, size_t size, int radix): EINVAL or ERANGE, and an
	// empty string. "_itoa_s, _itow_s functions".
	{Name: "_ltoa_s", Fn: digitsS(rtl.ItoaS, rtl.Int32), Params: "value:d buffer size:d radix:d",
		MaxIRQL: anyIRQL, Support: Full},
	// errno_t _ltow_s(long value, wchar_t *buffer, size_t size, int radix): EINVAL or ERANGE, and an
	// empty string. "_itoa_s, _itow_s functions".
	{Name: "_ltow_s", Fn: digitsS(rtl.ItowS, rtl.Int32), Params: "value:d buffer size:d radix:d",
		MaxIRQL: anyIRQL, Support: Full},
	// errno_t _ultoa_s(unsigned long value, char *buffer, size_t size, int radix): EINVAL or ERANGE,
	// and an empty string. "_itoa_s, _itow_s functions".
	{Name: "_ultoa_s", Fn: digitsS(rtl.ItoaS, rtl.Uint32), Params: "value:d buffer size:d radix:d",
		MaxIRQL: anyIRQL, Support: Full},
	// errno_t _ultow_s(unsigned long value, wchar_t *buffer, size_t size, int radix): EINVAL or
	// ERANGE, and an empty string. "_itoa_s, _itow_s functions".
	{Name: "_ultow_s", Fn: digitsS(rtl.ItowS, rtl.Uint32), Params: "value:d buffer size:d radix:d",
		MaxIRQL: anyIRQL, Support: Full},
	// errno_t _i64toa_s(long long value, char *buffer, size_t size, int radix): EINVAL or ERANGE, and
	// an empty string. "_itoa_s, _itow_s functions".
	{Name: "_i64toa_s", Fn: digitsS(rtl.ItoaS, rtl.Int64), Params: "value:d buffer size:d radix:d",
		MaxIRQL: anyIRQL, Support: Full},
	// errno_t _i64tow_s(long long value, wchar_t *buffer, size_t size, int radix): EINVAL or ERANGE,
	// and an empty string. "_itoa_s, _itow_s functions".
	{Name: "_i64tow_s", Fn: digitsS(rtl.ItowS, rtl.Int64), Params: "value:d buffer size:d radix:d",
		MaxIRQL: anyIRQL, Support: Full},
	// errno_t _ui64toa_s(unsigned long long value, char *buffer, size_t size, int radix): EINVAL or
	// ERANGE, and an empty string. "_itoa_s, _itow_s functions".
	{Name: "_ui64toa_s", Fn: digitsS(rtl.ItoaS, rtl.Uint64),
		Params: "value:d buffer size:d radix:d", MaxIRQL: anyIRQL, Support: Full},
	// errno_t _ui64tow_s(unsigned long long value, wchar_t *buffer, size_t size, int radix): EINVAL
	// or ERANGE, and an empty string. "_itoa_s, _itow_s functions".
	{Name: "_ui64tow_s", Fn: digitsS(rtl.ItowS, rtl.Uint64),
		Params: "value:d buffer size:d radix:d", MaxIRQL: anyIRQL, Support: Full},
}

// number makes an export of a function that reads a number: where it ends goes to *endptr, unless
// that is null.
func number[R word](f func(s guest.Addr, base int32) (R, guest.Addr, error)) Func {
	return fn3(func(c *Call, s, endptr guest.Addr, base int32) R {
		v, end, err := f(s, base)
		c.Must(err)
		StoreOpt(c, endptr, end)
		return v
	})
}

// digits makes an export of a function that writes a number and gives the buffer back.
func digits(f func(v uint64, kind rtl.Bits, dst guest.Addr, base int32) error, kind rtl.Bits) Func {
	return fn3(func(c *Call, v uint64, dst guest.Addr, base int32) guest.Addr {
		c.Must(f(v, kind, dst, base))
		return dst
	})
}

// digitsS is digits for a buffer of known size, in characters.
func digitsS(f func(v uint64, kind rtl.Bits, dst guest.Addr, size uintptr, base int32) (int32, error),
	kind rtl.Bits) Func {
	return fn4(func(c *Call, v uint64, dst guest.Addr, size uintptr, base int32) int32 {
		e, err := f(v, kind, dst, size, base)
		return must(c, e, err)
	})
}
