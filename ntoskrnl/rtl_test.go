package ntoskrnl

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// counted16 gives the first words of a counted string that describes another argument.
func counted16(length, maximum int) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(length))
	return binary.LittleEndian.AppendUint16(b, uint16(maximum))
}

func TestCountedStrings(t *testing.T) {
	const ok = nt.STATUS_SUCCESS
	runCases(t, []exportCase{
		{"describes a string", "RtlInitUnicodeString", []any{room(16), wide("abc")}, nil,
			map[int]any{0: raw(counted16(6, 8))}},
		{"is empty of null", "RtlInitUnicodeString", []any{raw("xxxxxxxxxxxxxxxx"), 0}, nil,
			map[int]any{0: uni{"", 0}}},
		{"describes a string", "RtlInitUnicodeStringEx", []any{room(16), wide("abc")}, ok,
			map[int]any{0: uni{"abc", 0}}},
		{"describes a string", "RtlInitAnsiString", []any{room(16), cstr("abc")}, nil,
			map[int]any{0: raw(counted16(3, 4))}},
		{"describes a string", "RtlInitAnsiStringEx", []any{room(16), cstr("abc")}, ok,
			map[int]any{0: ansi{"abc", 0}}},
		{"describes a string", "RtlInitString", []any{room(16), cstr("abc")}, nil,
			map[int]any{0: ansi{"abc", 0}}},

		{"copies what fits", "RtlCopyUnicodeString", []any{uni{"", 4}, uni{"abc", 0}}, nil,
			map[int]any{0: uni{"ab", 0}}},
		{"empties without a source", "RtlCopyUnicodeString", []any{uni{"ab", 4}, 0}, nil,
			map[int]any{0: uni{"", 0}}},
		{"copies what fits", "RtlCopyString", []any{ansi{"", 2}, ansi{"abc", 0}}, nil,
			map[int]any{0: ansi{"ab", 0}}},
		{"copies in upper case", "RtlUpperString", []any{ansi{"", 9}, ansi{"aBc", 0}}, nil,
			map[int]any{0: ansi{"ABC", 0}}},

		{"appends", "RtlAppendUnicodeToString", []any{uni{"ab", 4}, wide("cd")}, ok,
			map[int]any{0: uni{"abcd", 0}}},
		{"leaves what does not fit", "RtlAppendUnicodeToString", []any{uni{"ab", 2}, wide("cd")},
			nt.STATUS_BUFFER_TOO_SMALL, map[int]any{0: uni{"ab", 0}}},
		{"appends nothing of null", "RtlAppendUnicodeToString", []any{uni{"ab", 2}, 0}, ok,
			map[int]any{0: uni{"ab", 0}}},
		{"appends", "RtlAppendUnicodeStringToString", []any{uni{"ab", 4}, uni{"cd", 0}}, ok,
			map[int]any{0: uni{"abcd", 0}}},
		{"leaves what does not fit", "RtlAppendUnicodeStringToString",
			[]any{uni{"ab", 2}, uni{"cd", 0}}, nt.STATUS_BUFFER_TOO_SMALL,
			map[int]any{0: uni{"ab", 0}}},
		{"appends", "RtlAppendStringToString", []any{ansi{"ab", 4}, ansi{"cd", 0}}, ok,
			map[int]any{0: ansi{"abcd", 0}}},
		{"appends", "RtlAppendAsciizToString", []any{ansi{"ab", 4}, cstr("cd")}, ok,
			map[int]any{0: ansi{"abcd", 0}}},

		{"compares with case", "RtlCompareUnicodeString", []any{uni{"a", 0}, uni{"A", 0}, 0}, 32,
			nil},
		{"compares without case", "RtlCompareUnicodeString", []any{uni{"é", 0}, uni{"É", 0}, 1}, 0,
			nil},
		{"sorts a shorter one first", "RtlCompareUnicodeString",
			[]any{uni{"ab", 0}, uni{"abc", 0}, 1}, -2, nil},
		{"takes lengths", "RtlCompareUnicodeStrings", []any{wide("abX"), 2, wide("ABY"), 2, 1}, 0,
			nil},
		{"compares", "RtlCompareString", []any{ansi{"b", 0}, ansi{"A", 0}, 1}, 1, nil},
		{"is true of equal strings", "RtlEqualUnicodeString", []any{uni{"Dev", 0}, uni{"dEV", 0}, 1},
			true, nil},
		{"minds case", "RtlEqualUnicodeString", []any{uni{"Dev", 0}, uni{"dEV", 0}, 0}, false, nil},
		{"takes the low byte as BOOLEAN", "RtlEqualString", []any{ansi{"A", 0}, ansi{"a", 0}, 0x100},
			false, nil},
		{"is true of a prefix", "RtlPrefixUnicodeString",
			[]any{uni{`\dev`, 0}, uni{`\Device`, 0}, 1}, true, nil},
		{"is false the other way", "RtlPrefixUnicodeString",
			[]any{uni{`\Device`, 0}, uni{`\dev`, 0}, 1}, false, nil},
		{"is true of a prefix", "RtlPrefixString", []any{ansi{"a", 0}, ansi{"ab", 0}, 0}, true, nil},
		// x65599 of "AB".
		{"hashes", "RtlHashUnicodeString", []any{uni{"ab", 0}, 1, 0, room(8)}, ok,
			map[int]any{3: uint32('A'*65599 + 'B')}},
		{"refuses another algorithm", "RtlHashUnicodeString", []any{uni{"ab", 0}, 1, 2, room(8)},
			nt.STATUS_INVALID_PARAMETER, nil},
		{"refuses null", "RtlHashUnicodeString", []any{uni{"ab", 0}, 1, 0, 0},
			nt.STATUS_INVALID_PARAMETER, nil},
		{"finds a character", "RtlFindCharInUnicodeString",
			[]any{0, uni{`ab\c`, 0}, uni{`\/`, 0}, room(8)}, ok, map[int]any{3: uint16(6)}},
		{"finds none", "RtlFindCharInUnicodeString", []any{0, uni{`abc`, 0}, uni{`\/`, 0}, room(8)},
			nt.STATUS_NOT_FOUND, map[int]any{3: uint16(0)}},

		{"upcases", "RtlUpcaseUnicodeChar", []any{'é'}, uint32('É'), nil},
		{"lowers", "RtlDowncaseUnicodeChar", []any{'É'}, uint32('é'), nil},
		{"upcases", "RtlUpperChar", []any{'a'}, uint32('A'), nil},
		{"uses the buffer", "RtlUpcaseUnicodeString", []any{uni{"", 8}, uni{"aé", 0}, 0}, ok,
			map[int]any{0: uni{"AÉ", 0}}},
		{"needs room", "RtlUpcaseUnicodeString", []any{uni{"", 2}, uni{"ab", 0}, 0},
			nt.STATUS_BUFFER_OVERFLOW, nil},
		{"uses the buffer", "RtlDowncaseUnicodeString", []any{uni{"", 8}, uni{"AÉ", 0}, 0}, ok,
			map[int]any{0: uni{"aé", 0}}},
		{"accepts a string", "RtlValidateUnicodeString", []any{0, uni{"ab", 2}}, ok, nil},
		{"refuses an odd length", "RtlValidateUnicodeString", []any{0, ansi{"abc", 1}},
			nt.STATUS_INVALID_PARAMETER, nil},
	})
}

func TestStringsInMemoryOfTheirOwn(t *testing.T) {
	r := newRig(t)
	inPool := func(s uint64) mm.BlockInfo {
		b, ok := r.Mm.BlockAt(guest.Addr(r.u64(s + 8)))
		require.True(t, ok)
		require.Equal(t, mm.Paged, b.Pool)
		return b
	}
	for _, c := range []struct {
		name, free string
		args       func(dst uint64) []uint64
		read       func(a uint64) string
		want       string
	}{
		{"RtlUpcaseUnicodeString", "RtlFreeUnicodeString",
			func(d uint64) []uint64 { return []uint64{d, r.ustr("aé", 0), 1} }, r.readUstr, "AÉ"},
		{"RtlDowncaseUnicodeString", "RtlFreeUnicodeString",
			func(d uint64) []uint64 { return []uint64{d, r.ustr("AÉ", 0), 1} }, r.readUstr, "aé"},
		{"RtlAnsiStringToUnicodeString", "RtlFreeUnicodeString",
			func(d uint64) []uint64 { return []uint64{d, r.astr("aé", 0), 1} }, r.readUstr, "aé"},
		{"RtlOemStringToUnicodeString", "RtlFreeUnicodeString",
			func(d uint64) []uint64 { return []uint64{d, r.astr("ab", 0), 1} }, r.readUstr, "ab"},
		{"RtlUnicodeStringToAnsiString", "RtlFreeAnsiString",
			func(d uint64) []uint64 { return []uint64{d, r.ustr("aé", 0), 1} }, r.readAstr, "aé"},
		{"RtlUnicodeStringToOemString", "RtlFreeOemString",
			func(d uint64) []uint64 { return []uint64{d, r.ustr("ab", 0), 1} }, r.readAstr, "ab"},
		{"RtlUpcaseUnicodeStringToAnsiString", "RtlFreeAnsiString",
			func(d uint64) []uint64 { return []uint64{d, r.ustr("ab", 0), 1} }, r.readAstr, "AB"},
		{"RtlUpcaseUnicodeStringToOemString", "RtlFreeUTF8String",
			func(d uint64) []uint64 { return []uint64{d, r.ustr("ab", 0), 1} }, r.readAstr, "AB"},
		{"RtlDuplicateUnicodeString", "RtlFreeUnicodeString",
			func(d uint64) []uint64 { return []uint64{1, r.ustr("abc", 0), d} }, r.readUstr, "abc"},
		{"RtlStringFromGUID", "RtlFreeUnicodeString",
			func(d uint64) []uint64 { return []uint64{r.mem(16), d} }, r.readUstr,
			"{00000000-0000-0000-0000-000000000000}"},
		{"RtlConvertSidToUnicodeString", "RtlFreeUnicodeString",
			func(d uint64) []uint64 { return []uint64{d, r.bytes(systemSID), 1} }, r.readUstr,
			"S-1-5-18"},
	} {
		dst := r.mem(16)
		require.Equal(t, nt.STATUS_SUCCESS, r.status(c.name, c.args(dst)...), c.name)
		require.Equal(t, c.want, c.read(dst), c.name)
		block := inPool(dst)
		r.call(c.free, dst)
		require.Equal(t, make([]byte, 16), r.read(dst, 16), "%s zeroes the string", c.free)
		after, _ := r.Mm.BlockAt(block.Addr)
		require.True(t, after.Freed, c.free)
		r.call(c.free, dst) // an empty one is left alone
	}
	dst := r.mem(16)
	require.EqualValues(t, 1, r.call("RtlCreateUnicodeString", dst, r.wstr("abc")))
	require.Equal(t, "abc", r.readUstr(dst))
	r.call("RtlFreeUnicodeString", dst)
	require.Equal(t, nt.STATUS_INVALID_PARAMETER,
		r.status("RtlDuplicateUnicodeString", 9, r.ustr("a", 0), dst))
}

var systemSID = []byte{1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0}

func TestStringConversions(t *testing.T) {
	const ok = nt.STATUS_SUCCESS
	runCases(t, []exportCase{
		{"uses the buffer", "RtlAnsiStringToUnicodeString", []any{uni{"", 8}, ansi{"abc", 0}, 0}, ok,
			map[int]any{0: uni{"abc", 0}}},
		{"needs room for the zero", "RtlAnsiStringToUnicodeString",
			[]any{uni{"", 6}, ansi{"abc", 0}, 0}, nt.STATUS_BUFFER_OVERFLOW, nil},
		{"gives what fits", "RtlUnicodeStringToAnsiString", []any{ansi{"", 3}, uni{"abc", 0}, 0},
			nt.STATUS_BUFFER_OVERFLOW, map[int]any{0: ansi{"ab", 0}}},
		{"counts the zero", "RtlxAnsiStringToUnicodeSize", []any{ansi{"abc", 0}}, 8, nil},
		{"counts the zero", "RtlxOemStringToUnicodeSize", []any{ansi{"abc", 0}}, 8, nil},
		{"counts the zero", "RtlxUnicodeStringToAnsiSize", []any{uni{"aé", 0}}, 4, nil},
		{"counts the zero", "RtlxUnicodeStringToOemSize", []any{uni{"ab", 0}}, 3, nil},
		{"gives what fits", "RtlMultiByteToUnicodeN", []any{room(8), 4, room(8), cstr("abc"), 3}, ok,
			map[int]any{0: raw("a\x00b\x00\x00"), 2: uint32(4)}},
		{"needs no count", "RtlOemToUnicodeN", []any{room(8), 8, 0, cstr("abc"), 3}, ok,
			map[int]any{0: wide("abc")}},
		{"cuts no character", "RtlUnicodeToMultiByteN", []any{room(8), 2, room(8), wide("aé"), 4}, ok,
			map[int]any{0: cstr("a"), 2: uint32(1)}},
		{"converts", "RtlUnicodeToOemN", []any{room(8), 8, room(8), wide("ab"), 4}, ok,
			map[int]any{0: cstr("ab"), 2: uint32(2)}},
		{"upcases", "RtlUpcaseUnicodeToMultiByteN", []any{room(8), 8, room(8), wide("ab"), 4}, ok,
			map[int]any{0: cstr("AB"), 2: uint32(2)}},
		{"upcases", "RtlUpcaseUnicodeToOemN", []any{room(8), 8, room(8), wide("ab"), 4}, ok,
			map[int]any{0: cstr("AB"), 2: uint32(2)}},
		{"converts", "RtlUTF8ToUnicodeN", []any{room(8), 8, room(8), cstr("aé"), 3}, ok,
			map[int]any{0: wide("aé"), 2: uint32(4)}},
		{"replaces what is invalid", "RtlUTF8ToUnicodeN", []any{room(8), 8, room(8), cstr("\xFF"), 1},
			nt.STATUS_SOME_NOT_MAPPED, map[int]any{0: wide("\uFFFD")}},
		{"counts without a buffer", "RtlUTF8ToUnicodeN", []any{0, 0, room(8), cstr("aé"), 3}, ok,
			map[int]any{2: uint32(4)}},
		{"needs room", "RtlUnicodeToUTF8N", []any{room(8), 2, room(8), wide("aé"), 4},
			nt.STATUS_BUFFER_TOO_SMALL, nil},
		{"counts", "RtlMultiByteToUnicodeSize", []any{room(8), cstr("aé"), 3}, ok,
			map[int]any{0: uint32(4)}},
		{"counts", "RtlUnicodeToMultiByteSize", []any{room(8), wide("aé"), 4}, ok,
			map[int]any{0: uint32(3)}},
	})
	r := newRig(t)
	text := r.str("é!")
	at := r.mem(8)
	r.put64(at, text)
	require.EqualValues(t, 'é', r.call("RtlAnsiCharToUnicodeChar", at))
	require.Equal(t, text+2, r.u64(at))
}

func TestNumbersInStrings(t *testing.T) {
	const ok = nt.STATUS_SUCCESS
	guid := raw{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD,
		0xEE, 0xFF}
	runCases(t, []exportCase{
		{"writes base 10", "RtlIntegerToUnicodeString", []any{uint64(0xFFFFFFFF), 0, uni{"", 32}}, ok,
			map[int]any{2: uni{"4294967295", 0}}},
		{"refuses base 3", "RtlIntegerToUnicodeString", []any{1, 3, uni{"", 32}},
			nt.STATUS_INVALID_PARAMETER, nil},
		{"needs room", "RtlIntegerToUnicodeString", []any{123, 10, uni{"", 4}},
			nt.STATUS_BUFFER_OVERFLOW, nil},
		{"writes base 16", "RtlInt64ToUnicodeString", []any{uint64(1) << 36, 16, uni{"", 32}}, ok,
			map[int]any{2: uni{"1000000000", 0}}},
		{"writes base 2", "RtlIntegerToChar", []any{5, 2, 8, room(8)}, ok,
			map[int]any{3: cstr("101")}},
		{"finds the base", "RtlUnicodeStringToInteger", []any{uni{"-0x10", 0}, 0, room(8)}, ok,
			map[int]any{2: uint32(0xFFFFFFF0)}},
		{"refuses base 7", "RtlUnicodeStringToInteger", []any{uni{"1", 0}, 7, room(8)},
			nt.STATUS_INVALID_PARAMETER, nil},
		{"reads bytes", "RtlCharToInteger", []any{cstr("0b11"), 0, room(8)}, ok,
			map[int]any{2: uint32(3)}},
		{"reads a GUID", "RtlGUIDFromString",
			[]any{uni{"{00112233-4455-6677-8899-aabbccddeeff}", 0}, room(16)}, ok,
			map[int]any{1: guid}},
		{"refuses what is none", "RtlGUIDFromString", []any{uni{"{00112233}", 0}, room(16)},
			nt.STATUS_INVALID_PARAMETER, nil},
		{"swaps", "RtlUshortByteSwap", []any{0x1234}, uint64(0x3412), nil},
		{"swaps", "RtlUlongByteSwap", []any{0x12345678}, uint64(0x78563412), nil},
		{"swaps", "RtlUlonglongByteSwap", []any{0x12}, uint64(0x12) << 56, nil},
		{"is -1 of 0", "RtlFindMostSignificantBit", []any{0}, -1, nil},
		{"is the highest bit", "RtlFindMostSignificantBit", []any{uint64(5) << 40}, 42, nil},
		{"is the lowest bit", "RtlFindLeastSignificantBit", []any{uint64(5) << 40}, 40, nil},
		{"counts bits", "RtlNumberOfSetBitsUlongPtr", []any{uint64(0xF0F)}, 8, nil},
		{"is the checksum of IEEE 802.3", "RtlComputeCrc32", []any{0, cstr("123456789"), 9},
			uint32(0xCBF43926), nil},
		{"is the checksum of IEEE 802.3", "RtlCrc32", []any{cstr("123456789"), 9, 0},
			uint32(0xCBF43926), nil},
		{"counts equal ULONGs", "RtlCompareMemoryUlong", []any{raw("abcdabcdabcx"), 12, 0x64636261},
			8, nil},
		{"does nothing that shows", "RtlPrefetchMemoryNonTemporal", []any{0, 100}, nil, nil},
	})
}

func TestVersionIsWindows10Build19045(t *testing.T) {
	r := newRig(t)
	info := r.mem(284)
	r.put32(info, 284)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("RtlGetVersion", info))
	for i, want := range []uint32{284, 10, 0, 19045, 2} {
		require.Equal(t, want, r.u32(info+4*uint64(i)))
	}
	require.Equal(t, byte(1), r.read(info+282, 1)[0], "VER_NT_WORKSTATION")

	const versionAndBuild, greaterEqual, less = 1 | 2 | 4, 3, 4
	mask := uint64(0)
	for _, part := range []uint64{1, 2, 4} {
		mask = r.call("VerSetConditionMask", mask, part, greaterEqual)
	}
	require.Equal(t, nt.STATUS_SUCCESS, r.status("RtlVerifyVersionInfo", info, versionAndBuild, mask))
	r.put32(info+12, 22000)
	require.Equal(t, nt.STATUS_REVISION_MISMATCH,
		r.status("RtlVerifyVersionInfo", info, versionAndBuild, mask))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER,
		r.status("RtlVerifyVersionInfo", info, 0, r.call("VerSetConditionMask", 0, 4, less)))

	require.EqualValues(t, 1, r.call("RtlIsNtDdiVersionAvailable", 0x0A000000))
	require.EqualValues(t, 0, r.call("RtlIsNtDdiVersionAvailable", 0x0B000000))
	require.EqualValues(t, 0, r.call("RtlIsServicePackVersionInstalled", 0x06010100))

	out := r.mem(32)
	require.EqualValues(t, 0, r.call("PsGetVersion", out, out+4, out+8, out+16), "a free build")
	require.Equal(t, []uint32{10, 0, 19045}, []uint32{r.u32(out), r.u32(out + 4), r.u32(out + 8)})
	require.Equal(t, "", r.readUstr(out+16))
	r.call("PsGetVersion", 0, 0, 0, 0)

	require.Equal(t, uint32(0xF0004A65), r.u32(uint64(r.symbol("NtBuildNumber"))))
	require.Equal(t, uint32(0), r.u32(uint64(r.symbol("InitSafeBootMode"))))
}

func TestTimes(t *testing.T) {
	r := newRig(t)
	at, fields, out := r.mem(8), r.mem(16), r.mem(8)
	const when = 132223104000000000 + 12345*10000 // 2020-01-01 00:00:12.345
	r.put64(at, when)
	r.call("RtlTimeToTimeFields", at, fields)
	for i, want := range []uint16{2020, 1, 1, 0, 0, 12, 345, 3} {
		require.Equal(t, want, r.u16(fields+2*uint64(i)))
	}
	require.EqualValues(t, 1, r.call("RtlTimeFieldsToTime", fields, out))
	require.EqualValues(t, when, r.u64(out))
	r.write(fields+2, []byte{13, 0})
	require.EqualValues(t, 0, r.call("RtlTimeFieldsToTime", fields, out), "month 13")

	require.EqualValues(t, 1, r.call("RtlTimeToSecondsSince1970", at, out))
	require.Equal(t, uint32(1577836812), r.u32(out))
	require.EqualValues(t, 1, r.call("RtlTimeToSecondsSince1980", at, out))
	require.Equal(t, uint32(1577836812-315532800), r.u32(out))
	r.call("RtlSecondsSince1970ToTime", 1577836800, out)
	require.EqualValues(t, 132223104000000000, r.u64(out))
	r.call("RtlSecondsSince1980ToTime", 1577836800-315532800, out)
	require.EqualValues(t, 132223104000000000, r.u64(out))
	r.put64(at, 0)
	require.EqualValues(t, 0, r.call("RtlTimeToSecondsSince1970", at, out), "1601 is before 1970")
}

func TestRandomNumbersKeepTheirSeedWithTheCaller(t *testing.T) {
	r := newRig(t)
	seed := r.mem(8)
	for _, name := range []string{"RtlRandom", "RtlRandomEx"} {
		r.put32(seed, 1)
		seen := map[uint32]bool{}
		for range 20 {
			v := uint32(r.call(name, seed))
			require.Less(t, v, uint32(0x7FFFFFFF))
			seen[v] = true
		}
		require.Greater(t, len(seen), 15, name)
		require.NotEqual(t, uint32(1), r.u32(seed))
	}
	r.put32(seed, 1)
	require.Equal(t, uint32(0x7FFFFFED+0x7FFFFFC3-2*0x7FFFFFFF+0x7FFFFFFF),
		uint32(r.call("RtlUniform", seed)))
}

func TestBitMaps(t *testing.T) {
	r := newRig(t)
	m, buf, out := r.mem(16), r.mem(16), r.mem(64)
	const bits = 40
	r.call("RtlInitializeBitMap", m, buf, bits)
	yes := func(name string, args ...uint64) {
		t.Helper()
		require.EqualValues(t, 1, uint8(r.call(name, append([]uint64{m}, args...)...)), name)
	}
	no := func(name string, args ...uint64) {
		t.Helper()
		require.EqualValues(t, 0, uint8(r.call(name, append([]uint64{m}, args...)...)), name)
	}
	is := func(want uint32, name string, args ...uint64) {
		t.Helper()
		require.Equal(t, want, uint32(r.call(name, append([]uint64{m}, args...)...)), name)
	}
	r.call("RtlClearAllBits", m)
	yes("RtlAreBitsClear", 0, bits)
	r.call("RtlSetBits", m, 4, 8)
	r.call("RtlSetBit", m, 20)
	yes("RtlTestBit", 20)
	no("RtlTestBit", 21)
	yes("RtlAreBitsSet", 4, 8)
	no("RtlAreBitsSet", 4, 9)
	is(9, "RtlNumberOfSetBits")
	is(31, "RtlNumberOfClearBits")
	r.call("RtlClearBit", m, 20)
	r.call("RtlClearBits", m, 8, 4)
	is(4, "RtlNumberOfSetBits")
	is(4, "RtlFindSetBits", 4, 0)
	is(0xFFFFFFFF, "RtlFindSetBits", 5, 0)
	is(8, "RtlFindClearBits", 5, 0)
	is(10, "RtlFindClearBitsAndSet", 2, 10)
	yes("RtlAreBitsSet", 10, 2)
	is(10, "RtlFindSetBitsAndClear", 2, 9)
	is(4, "RtlFindFirstRunClear", out)
	require.Equal(t, uint32(0), r.u32(out))
	is(32, "RtlFindNextForwardRunClear", 5, out)
	require.Equal(t, uint32(8), r.u32(out))
	is(4, "RtlFindLastBackwardRunClear", 6, out)
	is(32, "RtlFindLongestRunClear", out)
	is(2, "RtlFindClearRuns", out, 4, 1)
	require.Equal(t, []uint32{8, 32, 0, 4},
		[]uint32{r.u32(out), r.u32(out + 4), r.u32(out + 8), r.u32(out + 12)})
	r.call("RtlSetAllBits", m)
	is(bits, "RtlNumberOfSetBits")
}

func TestCompression(t *testing.T) {
	r := newRig(t)
	text := make([]byte, 10000)
	for i := range text {
		text[i] = byte(i % 7)
	}
	const lznt1, xpress = 2, 3
	src, packed, back := r.bytes(text), r.mem(20000), r.mem(10000)
	size := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("RtlGetCompressionWorkSpaceSize", lznt1, size, size+4))
	require.NotZero(t, r.u32(size))
	require.Equal(t, nt.STATUS_SUCCESS,
		r.status("RtlCompressBuffer", lznt1, src, 10000, packed, 20000, 4096, size, 0))
	n := r.u32(size)
	require.Less(t, n, uint32(2000))
	require.Equal(t, nt.STATUS_SUCCESS,
		r.status("RtlDecompressBuffer", lznt1, back, 10000, packed, uint64(n), size))
	require.Equal(t, uint32(10000), r.u32(size))
	require.Equal(t, text, r.read(back, 10000))
	require.Equal(t, nt.STATUS_SUCCESS,
		r.status("RtlDecompressFragment", lznt1, back, 10, packed, uint64(n), 5000, size, 0))
	require.Equal(t, text[5000:5010], r.read(back, 10))
	require.Equal(t, nt.STATUS_BUFFER_TOO_SMALL,
		r.status("RtlCompressBuffer", lznt1, src, 10000, packed, 10, 4096, size, 0))
	require.Equal(t, nt.STATUS_UNSUPPORTED_COMPRESSION,
		r.status("RtlDecompressBuffer", xpress, back, 10000, packed, uint64(n), size))
}

func TestInternetAddresses(t *testing.T) {
	const ok = nt.STATUS_SUCCESS
	v4 := raw{192, 168, 0, 1}
	v6 := raw{0xFE, 0x80, 15: 1}
	cases := []exportCase{}
	for _, f := range []struct {
		suffix string
		text   func(s string) any
		unit   int
	}{
		{"A", func(s string) any { return cstr(s) }, 1},
		{"W", func(s string) any { return wide(s) }, 2},
	} {
		text, n := f.text, f.unit
		cases = append(cases,
			exportCase{"ends at its zero", "RtlIpv4AddressToString" + f.suffix, []any{v4, room(64)},
				at{1, 11 * n}, map[int]any{1: text("192.168.0.1")}},
			exportCase{"has the port in network order", "RtlIpv4AddressToStringEx" + f.suffix,
				[]any{v4, 0x5000, room(64), raw{64, 0, 0, 0}}, ok,
				map[int]any{2: text("192.168.0.1:80"), 3: uint32(15)}},
			exportCase{"needs room", "RtlIpv4AddressToStringEx" + f.suffix,
				[]any{v4, 0, room(64), raw{3, 0, 0, 0}}, nt.STATUS_INVALID_PARAMETER,
				map[int]any{3: uint32(12)}},
			exportCase{"ends at its zero", "RtlIpv6AddressToString" + f.suffix, []any{v6, room(128)},
				at{1, 7 * n}, map[int]any{1: text("fe80::1")}},
			exportCase{"has scope and port", "RtlIpv6AddressToStringEx" + f.suffix,
				[]any{v6, 3, 0x5000, room(128), raw{64, 0, 0, 0}}, ok,
				map[int]any{3: text("[fe80::1%3]:80")}},
			exportCase{"reads four numbers", "RtlIpv4StringToAddress" + f.suffix,
				[]any{text("192.168.0.1/8"), 1, room(8), room(8)}, ok,
				map[int]any{2: at{0, 11 * n}, 3: v4}},
			exportCase{"is strict", "RtlIpv4StringToAddress" + f.suffix,
				[]any{text("192.168"), 1, room(8), room(8)}, nt.STATUS_INVALID_PARAMETER, nil},
			exportCase{"reads a port", "RtlIpv4StringToAddressEx" + f.suffix,
				[]any{text("192.168.0.1:80"), 1, room(8), room(8)}, ok,
				map[int]any{2: v4, 3: uint16(0x5000)}},
			exportCase{"reads groups", "RtlIpv6StringToAddress" + f.suffix,
				[]any{text("fe80::1"), room(8), room(16)}, ok, map[int]any{1: at{0, 7 * n}, 2: v6}},
			exportCase{"reads scope and port", "RtlIpv6StringToAddressEx" + f.suffix,
				[]any{text("[fe80::1%3]:80"), room(16), room(8), room(8)}, ok,
				map[int]any{1: v6, 2: uint32(3), 3: uint16(0x5000)}})
	}
	runCases(t, cases)
}

func TestPageableRoutinesRunUpToAPCLevel(t *testing.T) {
	for _, name := range []string{"RtlAppendUnicodeToString", "RtlEqualUnicodeString", "RtlValidSid",
		"RtlGetVersion", "RtlAnsiStringToUnicodeString", "RtlFreeUnicodeString"} {
		args := func(r *driverRig) []uint64 {
			info := r.mem(284)
			r.put32(info, 276)
			if name == "RtlFreeUnicodeString" {
				return []uint64{r.mem(16)}
			}
			if name == "RtlGetVersion" || name == "RtlValidSid" {
				return []uint64{info}
			}
			return []uint64{r.ustr("", 64), r.ustr("", 2), 0}
		}
		r := newRig(t)
		_, err := r.callAt(nt.APC_LEVEL, name, args(r)...)
		require.NoError(t, err, name)
		b := bugcheck(t, nt.DISPATCH_LEVEL, name, args)
		require.Equal(t, nt.IRQL_NOT_LESS_OR_EQUAL, b.Code, name)
	}
}
