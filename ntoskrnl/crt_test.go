package ntoskrnl

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestCStrings(t *testing.T) {
	runCases(t, []exportCase{
		{"counts the bytes before the zero", "strlen", []any{cstr("abc")}, 3, nil},
		{"stops at its limit", "strnlen", []any{cstr("abcdef"), 4}, 4, nil},
		{"stops at the zero", "strnlen", []any{cstr("abc"), 10}, 3, nil},
		{"is -1 below", "strcmp", []any{cstr("abc"), cstr("abd")}, -1, nil},
		{"compares bytes without sign", "strcmp", []any{cstr("\xFF"), cstr("a")}, 1, nil},
		{"is 0 of equal strings", "strcmp", []any{cstr("abc"), cstr("abc")}, 0, nil},
		{"looks at count bytes only", "strncmp", []any{cstr("abcX"), cstr("abcY"), 3}, 0, nil},
		{"does not fold case", "strncmp", []any{cstr("a"), cstr("A"), 1}, 32, nil},
		{"folds case", "_stricmp", []any{cstr("DeviCE"), cstr("device")}, 0, nil},
		{"folds case for count bytes", "_strnicmp", []any{cstr("DEVx"), cstr("devy"), 3}, 0, nil},
		{"copies with the zero", "strcpy", []any{room(8), cstr("abc")}, at{0, 0},
			map[int]any{0: raw("abc\x00\x00")}},
		{"fills up with zeros", "strncpy", []any{raw("xxxxxxx"), cstr("ab"), 5}, at{0, 0},
			map[int]any{0: raw("ab\x00\x00\x00xx")}},
		{"leaves the zero out", "strncpy", []any{raw("xxxx"), cstr("abcdef"), 3}, at{0, 0},
			map[int]any{0: raw("abcx")}},
		{"appends", "strcat", []any{raw("ab\x00....."), cstr("cd")}, at{0, 0},
			map[int]any{0: cstr("abcd")}},
		{"appends count bytes and a zero", "strncat", []any{raw("ab\x00....."), cstr("cdef"), 2},
			at{0, 0}, map[int]any{0: cstr("abcd")}},
		{"finds the first", "strchr", []any{cstr("abcb"), 'b'}, at{0, 1}, nil},
		{"finds the zero", "strchr", []any{cstr("abc"), 0}, at{0, 3}, nil},
		{"is NULL without", "strchr", []any{cstr("abc"), 'x'}, uint64(0), nil},
		{"finds the last", "strrchr", []any{cstr("abcb"), 'b'}, at{0, 3}, nil},
		{"finds a string", "strstr", []any{cstr("ababac"), cstr("abac")}, at{0, 2}, nil},
		{"finds an empty string", "strstr", []any{cstr("abc"), cstr("")}, at{0, 0}, nil},
		{"is NULL without", "strstr", []any{cstr("abc"), cstr("abcd")}, uint64(0), nil},
		{"counts what is in the set", "strspn", []any{cstr("aabbc"), cstr("ab")}, 4, nil},
		{"upcases", "_strupr", []any{cstr("aZ1é")}, at{0, 0}, map[int]any{0: cstr("AZ1é")}},
		{"lowers", "_strlwr", []any{cstr("aZ1")}, at{0, 0}, map[int]any{0: cstr("az1")}},
		{"turns round", "_strrev", []any{cstr("abcd")}, at{0, 0}, map[int]any{0: cstr("dcba")}},
		{"sets all", "_strset", []any{cstr("abcd"), 'x'}, at{0, 0}, map[int]any{0: cstr("xxxx")}},
		{"sets some", "_strnset", []any{cstr("abcd"), 'x', 2}, at{0, 0},
			map[int]any{0: cstr("xxcd")}},
	})
}

func TestWideStrings(t *testing.T) {
	runCases(t, []exportCase{
		{"counts WCHARs", "wcslen", []any{wide("abc")}, 3, nil},
		{"stops at its limit", "wcsnlen", []any{wide("abcdef"), 4}, 4, nil},
		{"is 1 above", "wcscmp", []any{wide("b"), wide("a")}, 1, nil},
		{"is 0 of equal strings", "wcscmp", []any{wide("é"), wide("é")}, 0, nil},
		{"looks at count WCHARs only", "wcsncmp", []any{wide("abcX"), wide("abcY"), 3}, 0, nil},
		{"folds case", "_wcsicmp", []any{wide("DÉVICE"), wide("dévice")}, 0, nil},
		{"folds case for count WCHARs", "_wcsnicmp", []any{wide(`\DEV1`), wide(`\dev2`), 4}, 0,
			nil},
		{"copies with the zero", "wcscpy", []any{room(16), wide("abc")}, at{0, 0},
			map[int]any{0: wide("abc")}},
		{"fills up with zeros", "wcsncpy", []any{raw("xxxxxxxx"), wide("a"), 3}, at{0, 0},
			map[int]any{0: raw("a\x00\x00\x00\x00\x00xx")}},
		{"appends", "wcscat", []any{raw("a\x00\x00\x00........"), wide("bc")}, at{0, 0},
			map[int]any{0: wide("abc")}},
		{"appends count WCHARs", "wcsncat", []any{raw("a\x00\x00\x00........"), wide("bcd"), 1},
			at{0, 0}, map[int]any{0: wide("ab")}},
		{"finds the first", "wcschr", []any{wide(`a\b\c`), '\\'}, at{0, 2}, nil},
		{"finds the last", "wcsrchr", []any{wide(`a\b\c`), '\\'}, at{0, 6}, nil},
		{"finds a string", "wcsstr", []any{wide("ababac"), wide("abac")}, at{0, 4}, nil},
		{"is NULL without", "wcsstr", []any{wide("abc"), wide("x")}, uint64(0), nil},
		{"counts what is in the set", "wcsspn", []any{wide("aabbc"), wide("ab")}, 4, nil},
		{"counts what is not in the set", "wcscspn", []any{wide("aabbc"), wide("cb")}, 2, nil},
		{"upcases", "_wcsupr", []any{wide("aéz")}, at{0, 0}, map[int]any{0: wide("AÉZ")}},
		{"lowers", "_wcslwr", []any{wide("AÉZ")}, at{0, 0}, map[int]any{0: wide("aéz")}},
		{"turns round", "_wcsrev", []any{wide("abc")}, at{0, 0}, map[int]any{0: wide("cba")}},
		{"sets some", "_wcsnset", []any{wide("abc"), 'x', 2}, at{0, 0},
			map[int]any{0: wide("xxc")}},
	})
}

func TestSecureStrings(t *testing.T) {
	const (
		einval    = 22
		erange    = 34
		struncate = 80
		truncate  = ^uint64(0)
	)
	runCases(t, []exportCase{
		{"copies what fits", "strcpy_s", []any{room(8), 4, cstr("abc")}, 0,
			map[int]any{0: cstr("abc")}},
		{"empties what does not fit", "strcpy_s", []any{raw("xxxx"), 3, cstr("abc")}, erange,
			map[int]any{0: raw("\x00")}},
		{"refuses null", "strcpy_s", []any{0, 3, cstr("abc")}, einval, nil},
		{"copies count bytes", "strncpy_s", []any{room(8), 8, cstr("abcdef"), 2}, 0,
			map[int]any{0: cstr("ab")}},
		{"cuts", "strncpy_s", []any{room(8), 4, cstr("abcdef"), truncate}, struncate,
			map[int]any{0: cstr("abc")}},
		{"appends", "strcat_s", []any{raw("ab\x00....."), 8, cstr("cd")}, 0,
			map[int]any{0: cstr("abcd")}},
		{"needs room", "strcat_s", []any{raw("ab\x00....."), 4, cstr("cd")}, erange,
			map[int]any{0: cstr("")}},
		{"appends count bytes", "strncat_s", []any{raw("ab\x00....."), 8, cstr("cdef"), 1}, 0,
			map[int]any{0: cstr("abc")}},
		{"copies what fits", "wcscpy_s", []any{room(16), 4, wide("abc")}, 0,
			map[int]any{0: wide("abc")}},
		{"empties what does not fit", "wcscpy_s", []any{room(16), 3, wide("abc")}, erange,
			map[int]any{0: wide("")}},
		{"cuts", "wcsncpy_s", []any{room(16), 4, wide("abcdef"), truncate}, struncate,
			map[int]any{0: wide("abc")}},
		{"appends", "wcscat_s", []any{raw("a\x00\x00\x00........"), 6, wide("bc")}, 0,
			map[int]any{0: wide("abc")}},
		{"appends count WCHARs", "wcsncat_s",
			[]any{raw("a\x00\x00\x00........"), 6, wide("bcd"), 1}, 0, map[int]any{0: wide("ab")}},
		{"lowers", "_wcslwr_s", []any{wide("ABC"), 4}, 0, map[int]any{0: wide("abc")}},
		{"needs the zero in its size", "_wcslwr_s", []any{wide("ABC"), 3}, einval,
			map[int]any{0: wide("")}},
		{"gives the first token", "strtok_s", []any{cstr(",a,b"), cstr(","), room(8)}, at{0, 1},
			map[int]any{0: raw(",a\x00b"), 2: at{0, 3}}},
		{"copies", "memcpy_s", []any{room(8), 8, cstr("abcd"), 4}, 0,
			map[int]any{0: cstr("abcd")}},
		{"zeroes a buffer that is too small", "memcpy_s", []any{raw("xxxx"), 3, cstr("abcd"), 4},
			erange, map[int]any{0: raw("\x00\x00\x00x")}},
		{"may overlap", "memmove_s", []any{raw("abcdef"), 6, at{0, 1}, 4}, 0,
			map[int]any{0: raw("bcdeef")}},
		{"finds a byte", "memchr", []any{raw("a\x00b"), 'b', 3}, at{0, 2}, nil},
		{"looks no further", "memchr", []any{raw("a\x00b"), 'b', 2}, uint64(0), nil},
	})
}

func TestCNumbers(t *testing.T) {
	cases := []exportCase{
		{"skips space and takes a sign", "atoi", []any{cstr(" \t-42x")}, -42, nil},
		{"is 0 without a number", "atoi", []any{cstr("x1")}, 0, nil},
		{"stops at INT_MAX", "atol", []any{cstr("99999999999")}, math.MaxInt32, nil},
		{"reads WCHARs", "_wtoi", []any{wide("17")}, 17, nil},
		{"reads WCHARs", "_wtol", []any{wide("-17")}, -17, nil},
		{"finds the base", "_strtoui64", []any{cstr("0x1Fg"), room(8), 0}, uint64(0x1F),
			map[int]any{1: at{0, 4}}},
		{"needs no endptr", "_strtoui64", []any{cstr("777"), 0, 8}, uint64(0o777), nil},
		{"stops at _UI64_MAX", "_wcstoui64", []any{wide("99999999999999999999"), room(8), 10},
			uint64(math.MaxUint64), map[int]any{1: at{0, 40}}},
		{"stops at ULONG_MAX", "wcstoul", []any{wide("4294967296"), room(8), 10},
			uint32(math.MaxUint32), nil},
		{"gives back the start without a number", "wcstoul", []any{wide("z"), room(8), 10}, 0,
			map[int]any{1: at{0, 0}}},
		{"has a sign in base 10", "_itoa", []any{-255, room(40), 10}, at{1, 0},
			map[int]any{1: cstr("-255")}},
		{"has no sign in base 16", "_itoa", []any{-1, room(40), 16}, at{1, 0},
			map[int]any{1: cstr("ffffffff")}},
		{"writes WCHARs", "_itow", []any{-7, room(40), 10}, at{1, 0}, map[int]any{1: wide("-7")}},
		{"needs room", "_itoa_s", []any{-255, room(8), 4, 10}, 34, map[int]any{1: cstr("")}},
		{"refuses base 1", "_itow_s", []any{1, room(8), 4, 1}, 22, map[int]any{1: wide("")}},
	}
	for _, c := range []struct{ name, want string }{
		{"_itoa_s", "-1"}, {"_ltoa_s", "-1"}, {"_ultoa_s", "4294967295"}, {"_i64toa_s", "-1"},
		{"_ui64toa_s", "18446744073709551615"},
	} {
		cases = append(cases, exportCase{"of -1 in base 10", c.name, []any{-1, room(40), 40, 10}, 0,
			map[int]any{1: cstr(c.want)}})
	}
	for _, c := range []struct{ name, want string }{
		{"_itow_s", "-1"}, {"_ltow_s", "-1"}, {"_ultow_s", "4294967295"}, {"_i64tow_s", "-1"},
		{"_ui64tow_s", "18446744073709551615"},
	} {
		cases = append(cases, exportCase{"of -1 in base 10", c.name, []any{-1, room(80), 40, 10}, 0,
			map[int]any{1: wide(c.want)}})
	}
	runCases(t, cases)
}

func TestCharacterClasses(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct{ name, members string }{
		{"isdigit", "09"}, {"isxdigit", "09afAF"}, {"islower", "az"}, {"isupper", "AZ"},
		{"isspace", " \t\r\n\v\f"}, {"isprint", " ~aZ0"},
	} {
		for _, m := range []byte(c.members) {
			require.NotZero(t, int32(r.call(c.name, uint64(m))), "%s(%q)", c.name, m)
		}
		require.Zero(t, int32(r.call(c.name, 0x01)), c.name)
		require.Zero(t, int32(r.call(c.name, ^uint64(0))), "%s(EOF)", c.name)
	}
	require.EqualValues(t, 'a', r.call("tolower", 'A'))
	require.EqualValues(t, '[', r.call("tolower", '['))
	require.EqualValues(t, 'Z', r.call("toupper", 'z'))
	require.EqualValues(t, 'é', r.call("towlower", 'É'))
	require.EqualValues(t, 'É', r.call("towupper", 'é'))
}

// slots gives a va_list.
func slots(words ...uint64) raw {
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

func TestPrintf(t *testing.T) {
	const truncate = ^uint64(0)
	runCases(t, []exportCase{
		{"takes arguments from registers and stack", "sprintf",
			[]any{room(64), cstr("%d %x %c %s %I64u %%"), -1, 0xAB, 'q', cstr("str"), uint64(1) << 63},
			33, map[int]any{0: cstr("-1 ab q str 9223372036854775808 %")}},
		{"takes a va_list", "vsprintf", []any{room(64), cstr("%u %hhd"), slots(7, 0xFF)}, 4,
			map[int]any{0: cstr("7 -1")}},
		{"writes WCHARs", "swprintf", []any{room(64), wide("%s %S %d"), wide("a"), cstr("b"), 3}, 5,
			map[int]any{0: wide("a b 3")}},
		{"writes WCHARs", "_swprintf", []any{room(64), wide("%04x"), 0xAB}, 4,
			map[int]any{0: wide("00ab")}},
		{"takes a va_list", "_vswprintf", []any{room(64), wide("%d"), slots(9)}, 1,
			map[int]any{0: wide("9")}},
		{"has no zero when it is full", "_snprintf", []any{raw("xxxxx"), 3, cstr("%d"), 123}, 3,
			map[int]any{0: raw("123xx")}},
		{"is -1 when it is cut", "_snprintf", []any{raw("xxxxx"), 3, cstr("%d"), 1234}, -1,
			map[int]any{0: raw("123xx")}},
		{"gives the length without a buffer", "_vsnprintf", []any{0, 0, cstr("%d"), slots(1234)}, 4,
			nil},
		{"is -1 when it is cut", "_vsnprintf", []any{room(8), 2, cstr("%d"), slots(1234)}, -1,
			map[int]any{0: raw("12\x00")}},
		{"prints a UNICODE_STRING", "_snwprintf", []any{room(64), 20, wide("<%wZ>"), uni{"dev", 0}},
			5, map[int]any{0: wide("<dev>")}},
		{"takes a va_list", "_vsnwprintf", []any{room(64), 20, wide("%p"), slots(0x1234)}, 16,
			map[int]any{0: wide("0000000000001234")}},
		{"prints what fits", "sprintf_s", []any{room(8), 4, cstr("%d"), 123}, 3,
			map[int]any{0: cstr("123")}},
		{"empties what does not", "sprintf_s", []any{raw("xxxx"), 3, cstr("%d"), 123}, -1,
			map[int]any{0: cstr("")}},
		{"takes a va_list", "vsprintf_s", []any{room(8), 8, cstr("%d"), slots(5)}, 1,
			map[int]any{0: cstr("5")}},
		{"writes WCHARs", "swprintf_s", []any{room(16), 8, wide("%d"), 5}, 1,
			map[int]any{0: wide("5")}},
		{"takes a va_list", "vswprintf_s", []any{room(16), 8, wide("%d"), slots(5)}, 1,
			map[int]any{0: wide("5")}},
		{"cuts", "_snprintf_s", []any{room(8), 4, truncate, cstr("%s"), cstr("abcdef")}, -1,
			map[int]any{0: cstr("abc")}},
		{"takes a va_list", "_vsnprintf_s", []any{room(8), 8, 2, cstr("%d"), slots(12)}, 2,
			map[int]any{0: cstr("12")}},
		{"cuts", "_snwprintf_s", []any{room(16), 4, truncate, wide("%s"), wide("abcdef")}, -1,
			map[int]any{0: wide("abc")}},
		{"takes a va_list", "_vsnwprintf_s", []any{room(16), 8, truncate, wide("%d"), slots(12)}, 2,
			map[int]any{0: wide("12")}},
		{"refuses %n", "sprintf", []any{room(64), cstr("%n"), room(8)}, -1,
			map[int]any{2: uint64(0)}},
	})
}

func TestSortingCallsTheDriver(t *testing.T) {
	r := newRig(t)
	// mov eax, [rcx]; sub eax, [rdx]; ret
	compare := r.routine(0x8B, 0x01, 0x2B, 0x02, 0xC3)
	words := func(v ...uint32) uint64 {
		var b []byte
		for _, w := range v {
			b = binary.LittleEndian.AppendUint32(b, w)
		}
		return r.bytes(b)
	}
	array := words(5, 3, 9, 1, 7)
	r.call("qsort", array, 5, 4, compare)
	require.Equal(t, r.read(words(1, 3, 5, 7, 9), 20), r.read(array, 20))
	require.Equal(t, array+12, r.call("bsearch", words(7), array, 5, 4, compare))
	require.Zero(t, r.call("bsearch", words(8), array, 5, 4, compare))
}

func TestRandIsOneSequence(t *testing.T) {
	r := newRig(t)
	// The first numbers of the Microsoft runtime.
	for _, want := range []uint64{41, 18467, 6334} {
		require.Equal(t, want, r.call("rand"))
	}
	r.call("srand", 1)
	require.EqualValues(t, 41, r.call("rand"))
}

func TestSquareRoots(t *testing.T) {
	r := newRig(t)
	// movq xmm0, rcx; sub rsp, 28h; call rdx; add rsp, 28h; movq rax, xmm0; ret
	f := guest.Addr(r.routine(0x66, 0x48, 0x0F, 0x6E, 0xC1, 0x48, 0x83, 0xEC, 0x28, 0xFF, 0xD2,
		0x48, 0x83, 0xC4, 0x28, 0x66, 0x48, 0x0F, 0x7E, 0xC0, 0xC3))
	require.NoError(t, r.thread.Do(func() {
		v := r.thread.Call(f, math.Float64bits(2), uint64(r.symbol("sqrt")))
		require.Equal(t, math.Sqrt2, math.Float64frombits(v))
		v = r.thread.Call(f, uint64(math.Float32bits(9)), uint64(r.symbol("sqrtf")))
		require.Equal(t, float32(3), math.Float32frombits(uint32(v)))
	}))
}

func TestPureCallRaises(t *testing.T) {
	b := bugcheck(t, nt.PASSIVE_LEVEL, "_purecall", func(*driverRig) []uint64 { return nil })
	require.Contains(t, b.Reason, nt.STATUS_NOT_IMPLEMENTED.String())
}

func TestRuntimeFaultsAreTheDrivers(t *testing.T) {
	const bad = 0x1000
	for name, args := range map[string][]uint64{
		"strlen": {bad}, "wcscmp": {bad, bad}, "sprintf": {bad, bad}, "atoi": {bad},
		"_wcsupr": {bad}, "memchr": {bad, 0, 1}, "memcpy_s": {bad, 8, bad, 8},
		"qsort": {bad, 2, 4, bad}, "_vsnprintf": {bad, 8, bad, bad}, "_itoa": {1, bad, 10},
	} {
		b := bugcheck(t, nt.PASSIVE_LEVEL, name, func(*driverRig) []uint64 { return args })
		require.Contains(t, b.Reason, nt.STATUS_ACCESS_VIOLATION.String(), name)
		require.Equal(t, uint64(nt.STATUS_ACCESS_VIOLATION), b.Params[0], name)
	}
}
