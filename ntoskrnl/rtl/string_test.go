package rtl

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestInitStrings(t *testing.T) {
	m := newMemory(t)
	dst := m.alloc(16)
	huge := m.bytes(unitBytes(append(u16(strings.Repeat("x", 40000)), 0)))
	limit := m.bytes(unitBytes(append(u16(strings.Repeat("x", 32766)), 0)))
	for _, c := range []struct {
		name   string
		init   func(dst, src nt.Addr) error
		src    nt.Addr
		length uint16
		max    uint16
		err    error
	}{
		{"RtlInitUnicodeString", InitUnicodeString, m.wstr("abc"), 6, 8, nil},
		{"RtlInitUnicodeString, empty", InitUnicodeString, m.wstr(""), 0, 2, nil},
		{"RtlInitUnicodeString, null", InitUnicodeString, 0, 0, 0, nil},
		{"RtlInitUnicodeString, too long", InitUnicodeString, huge, 0xFFFC, 0xFFFE, nil},
		{"RtlInitUnicodeStringEx", InitUnicodeStringEx, m.wstr("abc"), 6, 8, nil},
		{"RtlInitUnicodeStringEx, null", InitUnicodeStringEx, 0, 0, 0, nil},
		{"RtlInitUnicodeStringEx, longest", InitUnicodeStringEx, limit, 0xFFFC, 0xFFFE, nil},
		{"RtlInitUnicodeStringEx, too long", InitUnicodeStringEx, huge, 0, 0, nt.STATUS_NAME_TOO_LONG},
		{"RtlInitAnsiString", InitAnsiString, m.str("abc"), 3, 4, nil},
		{"RtlInitAnsiString, null", InitAnsiString, 0, 0, 0, nil},
		{"RtlInitAnsiStringEx", InitAnsiStringEx, m.str("abc"), 3, 4, nil},
		{"at the end of a page", InitAnsiString, m.atEnd([]byte("ab\x00")), 2, 3, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, guest.Fill(dst, 0xEE, 16))
			require.Equal(t, c.err, c.init(dst, c.src))
			h := m.header(dst)
			require.Equal(t, c.length, h.Length)
			require.Equal(t, c.max, h.MaximumLength)
			if c.err == nil {
				require.Equal(t, c.src, h.Buffer)
			}
		})
	}
	t.Run("bad pointers", func(t *testing.T) {
		requireFault(t, InitUnicodeString(dst, unmapped), unmapped)
		requireFault(t, InitUnicodeString(unmapped, m.wstr("x")), unmapped)
	})
}

func TestCopyUnicodeString(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		name string
		max  int
		src  string
		want string
		raw  string // the first units of the buffer
	}{
		{"with room for a NUL", 10, "abc", "abc", "abc\x00---"},
		{"exactly", 6, "abc", "abc", "abc----"},
		{"cut", 4, "abc", "ab", "ab-----"},
		{"no room at all", 0, "abc", "", "-------"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := m.ubuf(c.max)
			require.NoError(t, CopyUnicodeString(dst, m.ustr(c.src)))
			require.Equal(t, c.want, m.text(dst))
			require.Equal(t, c.raw, m.wide(m.header(dst).Buffer, 7))
		})
	}
	t.Run("a null source empties", func(t *testing.T) {
		dst := m.ustr("abc")
		require.NoError(t, CopyUnicodeString(dst, 0))
		require.Empty(t, m.text(dst))
	})
	t.Run("RtlCopyString adds no NUL", func(t *testing.T) {
		dst := m.counted(0, 5, m.str("------"))
		require.NoError(t, CopyString(dst, m.astr("ab")))
		require.Equal(t, "ab", m.ansi(dst))
		require.Equal(t, "ab----", m.cstr(m.header(dst).Buffer))
	})
}

func TestAppendStrings(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		name string
		max  uint16
		src  string
		want string
		raw  string
		err  error
	}{
		{"with room for a NUL", 16, "Ustr", "FkUstr", "FkUstr\x00cdef", nil},
		{"exactly", 12, "Ustr", "FkUstr", "FkUstrbcdef", nil},
		{"too small", 11, "Ustr", "Fk", "Fk0123bcdef", nt.STATUS_BUFFER_TOO_SMALL},
		{"nothing", 0, "", "Fk", "Fk0123bcdef", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := m.counted(4, c.max, m.wstr("Fk0123bcdef"))
			require.Equal(t, c.err, AppendUnicodeStringToString(dst, m.ustr(c.src)))
			require.Equal(t, c.want, m.text(dst))
			require.Equal(t, c.raw, m.wide(m.header(dst).Buffer, 11))
			dst = m.counted(4, c.max, m.wstr("Fk0123bcdef"))
			require.Equal(t, c.err, AppendUnicodeToString(dst, m.wstr(c.src)))
			require.Equal(t, c.raw, m.wide(m.header(dst).Buffer, 11))
		})
	}
	t.Run("a null source is nothing", func(t *testing.T) {
		require.NoError(t, AppendUnicodeToString(m.ustr("x"), 0))
		require.NoError(t, AppendAsciizToString(m.astr("x"), 0))
	})
	t.Run("ANSI: no NUL, all or nothing", func(t *testing.T) {
		dst := m.counted(5, 12, m.str("TestS01234abcde"))
		require.NoError(t, AppendAsciizToString(dst, m.str("tring")))
		require.Equal(t, "TestStringabcde", m.cstr(m.header(dst).Buffer))
		require.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, AppendStringToString(dst, m.astr("abc")))
		require.Equal(t, "TestString", m.ansi(dst))
		require.NoError(t, AppendStringToString(dst, m.astr("ab")))
		require.Equal(t, "TestStringab", m.ansi(dst))
	})
	t.Run("a string appended to itself", func(t *testing.T) {
		dst := m.counted(4, 16, m.wstr("ab------"))
		require.NoError(t, AppendUnicodeStringToString(dst, dst))
		require.Equal(t, "abab", m.text(dst))
	})
}

func TestCompareStrings(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		name      string
		a, b      string
		fold      bool
		unicode   int32
		ansi      int32
		equal     bool
		hasPrefix bool
	}{
		{"equal", "abc", "abc", false, 0, 0, true, true},
		{"case differs", "aBc", "abc", false, 'B' - 'b', 'B' - 'b', false, false},
		{"case ignored", "aBc", "AbC", true, 0, 0, true, true},
		{"after folding a letter is upper case", "a", "_", true, 'A' - '_', 'A' - '_', false, false},
		{"prefix", "ab", "abcd", false, -4, -2, false, true},
		{"longer", "abcd", "ab", true, 4, 2, false, false},
		{"empty", "", "a", true, -2, -1, false, true},
		{"both empty", "", "", true, 0, 0, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := m.ustr(c.a), m.ustr(c.b)
			v, err := CompareUnicodeString(a, b, c.fold)
			require.NoError(t, err)
			require.Equal(t, c.unicode, v)
			eq, err := EqualUnicodeString(a, b, c.fold)
			require.NoError(t, err)
			require.Equal(t, c.equal, eq)
			p, err := PrefixUnicodeString(a, b, c.fold)
			require.NoError(t, err)
			require.Equal(t, c.hasPrefix, p)
			x, y := m.astr(c.a), m.astr(c.b)
			v, err = CompareString(x, y, c.fold)
			require.NoError(t, err)
			require.Equal(t, c.ansi, v)
			eq, err = EqualString(x, y, c.fold)
			require.NoError(t, err)
			require.Equal(t, c.equal, eq)
			p, err = PrefixString(x, y, c.fold)
			require.NoError(t, err)
			require.Equal(t, c.hasPrefix, p)
			require.Equal(t, c.equal, EqualUnicode(u16(c.a), u16(c.b), c.fold))
			require.Equal(t, c.hasPrefix, PrefixUnicode(u16(c.a), u16(c.b), c.fold))
		})
	}
	t.Run("RtlCompareUnicodeStrings counts units", func(t *testing.T) {
		v, err := CompareUnicodeStrings(m.wstr("abc"), 3, m.wstr("AB"), 2, true)
		require.NoError(t, err)
		require.EqualValues(t, 1, v)
	})
	t.Run("a bad buffer faults", func(t *testing.T) {
		_, err := CompareUnicodeString(m.counted(2, 2, unmapped), m.ustr("a"), true)
		requireFault(t, err, unmapped)
	})
	t.Run("an empty string's buffer is not touched", func(t *testing.T) {
		eq, err := EqualUnicodeString(m.counted(0, 0, unmapped), m.counted(0, 0, 0), true)
		require.NoError(t, err)
		require.True(t, eq)
	})
}

func TestCaseStrings(t *testing.T) {
	m := newMemory(t)
	t.Run("into a buffer", func(t *testing.T) {
		dst := m.ubuf(8)
		require.NoError(t, UpcaseUnicodeString(dst, m.ustr("aäβz"), nil))
		require.Equal(t, "AÄΒZ", m.text(dst))
		require.NoError(t, DowncaseUnicodeString(dst, m.ustr("AÄΒZ"), nil))
		require.Equal(t, "aäβz", m.text(dst))
		require.Equal(t, nt.STATUS_BUFFER_OVERFLOW, UpcaseUnicodeString(dst, m.ustr("abcde"), nil))
	})
	t.Run("in place", func(t *testing.T) {
		s := m.ustr("abc")
		require.NoError(t, UpcaseUnicodeString(s, s, nil))
		require.Equal(t, "ABC", m.text(s))
	})
	t.Run("allocated, without a NUL", func(t *testing.T) {
		dst := m.alloc(16)
		require.NoError(t, UpcaseUnicodeString(dst, m.ustr("abc"), m.pool))
		h := m.header(dst)
		require.EqualValues(t, 6, h.Length)
		require.EqualValues(t, 6, h.MaximumLength)
		require.Equal(t, "ABC", m.text(dst))
		require.Equal(t, nt.STATUS_NO_MEMORY, UpcaseUnicodeString(dst, m.ustr("abc"), noPool))
	})
	t.Run("RtlUpperString copies what fits", func(t *testing.T) {
		dst := m.counted(0, 3, m.str("------"))
		require.NoError(t, UpperString(dst, m.astr("aäbc")))
		require.Equal(t, "A\xc3\xa4", m.ansi(dst))
	})
}

func TestCreateAndDuplicate(t *testing.T) {
	m := newMemory(t)
	dst := m.alloc(16)
	require.NoError(t, CreateUnicodeString(dst, m.wstr("abc"), m.pool))
	require.Equal(t, "abc", m.cwstr(m.header(dst).Buffer))
	require.EqualValues(t, 8, m.header(dst).MaximumLength)
	require.Equal(t, nt.STATUS_NO_MEMORY, CreateUnicodeString(dst, m.wstr("abc"), noPool))

	for _, c := range []struct {
		name   string
		flags  uint32
		src    nt.Addr
		max    uint16
		buffer bool
		err    error
	}{
		{"plain", 0, m.ustr("ab"), 4, true, nil},
		{"terminated", 1, m.ustr("ab"), 6, true, nil},
		{"empty", 0, m.ustr(""), 0, false, nil},
		{"empty, terminated", 1, m.ustr(""), 0, false, nil},
		{"empty, allocated", 3, m.ustr(""), 2, true, nil},
		{"null, allocated", 3, 0, 2, true, nil},
		{"null", 1, 0, 0, false, nil},
		{"allocate without terminate", 2, m.ustr("ab"), 0, false, nt.STATUS_INVALID_PARAMETER},
		{"unknown flag", 4, m.ustr("ab"), 0, false, nt.STATUS_INVALID_PARAMETER},
		{"odd length", 0, m.counted(3, 4, m.wstr("ab")), 0, false, nt.STATUS_INVALID_PARAMETER},
		{"length above maximum", 0, m.counted(4, 2, m.wstr("ab")), 0, false, nt.STATUS_INVALID_PARAMETER},
		{"no room for the NUL", 1, m.counted(0xFFFE, 0xFFFE, m.wstr("a")), 0, false, nt.STATUS_NAME_TOO_LONG},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := m.alloc(16)
			require.Equal(t, c.err, DuplicateUnicodeString(c.flags, c.src, dst, m.pool))
			h := m.header(dst)
			require.Equal(t, c.max, h.MaximumLength)
			require.Equal(t, c.buffer, h.Buffer != 0)
			if c.err == nil && c.flags&1 != 0 && c.buffer {
				v, err := guest.Load16(h.Buffer + nt.Addr(h.Length))
				require.NoError(t, err)
				require.Zero(t, v)
			}
		})
	}
}

func TestValidateUnicodeString(t *testing.T) {
	m := newMemory(t)
	buf := m.wstr("abc")
	require.NoError(t, ValidateUnicodeString(0, m.counted(6, 8, buf)))
	require.NoError(t, ValidateUnicodeString(0, m.counted(0, 0, 0)))
	require.NoError(t, ValidateUnicodeString(0, 0))
	for _, bad := range []nt.Addr{m.counted(5, 8, buf), m.counted(6, 7, buf), m.counted(8, 6, buf), m.counted(2, 2, 0)} {
		require.Equal(t, nt.STATUS_INVALID_PARAMETER, ValidateUnicodeString(0, bad))
	}
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, ValidateUnicodeString(1, m.counted(6, 8, buf)))
}

func TestHashUnicodeString(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		text string
		fold bool
		want uint32
	}{
		{"", false, 0},
		{"T", false, 0x54},
		{"Test", false, 0x766bb952},
		{"TeSt", false, 0x764bb172},
		{"test", false, 0x4745d132},
		{"test", true, 0x6689c132},
		{"TEST", true, 0x6689c132},
	} {
		got, err := HashUnicodeString(m.ustr(c.text), c.fold, HASH_STRING_ALGORITHM_DEFAULT)
		require.NoError(t, err)
		require.Equal(t, c.want, got, c.text)
	}
	_, err := HashUnicodeString(m.ustr("x"), false, 2)
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, err)
}

func TestFindCharInUnicodeString(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		flags     uint32
		text, set string
		pos       uint16
		err       error
	}{
		{0, "Some Wild String", "S", 2, nil},
		{0, "This is a String", "String", 6, nil},
		{1, "This is a String", "String", 30, nil},
		{2, "This is a String", "String", 2, nil},
		{3, "This is a String", "String", 18, nil},
		{0, "abcdefghijklmnopqrstuvwxyz", "", 0, nt.STATUS_NOT_FOUND},
		{2, "abcdefghijklmnopqrstuvwxyz", "", 2, nil},
		{3, "abcdefghijklmnopqrstuvwxyz", "rvz", 48, nil},
		{0, "", "abc", 0, nt.STATUS_NOT_FOUND},
		{4, "xyzABC", "b", 10, nil},
		{8, "abc", "a", 0, nt.STATUS_INVALID_PARAMETER},
	} {
		pos, err := FindCharInUnicodeString(c.flags, m.ustr(c.text), m.ustr(c.set))
		require.Equal(t, c.err, err, "%d %q %q", c.flags, c.text, c.set)
		require.Equal(t, c.pos, pos, "%d %q %q", c.flags, c.text, c.set)
	}
}

func TestStringToInteger(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		base uint32
		text string
		want int64
	}{
		{0, "1234567", 1234567},
		{0, "-214", -214},
		{0, "+214", 214},
		{0, "--214", 0},
		{0, "+-214", 0},
		{0, "\x01\x02\x1f 17", 17},
		{0, " \n \r \t-214", -214},
		{0, "+214 0", 214},
		{0, " 214.01", 214},
		{0, "f81", 0},
		{0, "0x12345", 0x12345},
		{0, "00x12345", 0},
		{0, "1x34", 1},
		{0, "9999999999", 1410065407}, // wraps
		{0, "-2147483649", 2147483647},
		{0, "056789", 56789},
		{0, "0b1011101100", 748},
		{0, "-0b10123456789", -5},
		{0, "0b", 0},
		{0, "0o56789", 0o567},
		{0, "0d10", 0},
		{0, "0xabcdefgh", 0xABCDEF},
		{0, "0xG", 0},
		{0, "", 0},
		{2, "1011101100", 748},
		{2, "0b1011101100", 0},
		{8, "1011101100", 136610368},
		{8, "8", 0},
		{10, "0x1011101100", 0},
		{16, "-1011101100", -286265600},
		{16, "0b1011101100", 286265600}, // wraps
		{16, "0x10", 0},                 // no prefix with a base
	} {
		v, err := UnicodeStringToInteger(m.ustr(c.text), c.base)
		require.NoError(t, err)
		require.Equal(t, uint32(c.want), v, "%q in base %d", c.text, c.base)
		v, err = CharToInteger(m.str(c.text), c.base)
		require.NoError(t, err)
		require.Equal(t, uint32(c.want), v, "%q in base %d", c.text, c.base)
		m.reset()
	}
	for _, base := range []uint32{1, 3, 20, 0xFFFFFFF8} {
		_, err := UnicodeStringToInteger(m.ustr("0"), base)
		require.Equal(t, nt.STATUS_INVALID_PARAMETER, err)
	}
	_, err := CharToInteger(unmapped, 10)
	requireFault(t, err, unmapped)
	v, err := UnicodeStringToInteger(m.counted(5, 8, m.wstr("1234")), 10)
	require.NoError(t, err)
	require.EqualValues(t, 12, v, "half a unit does not count")
}

func TestIntegerToString(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		value uint32
		base  uint32
		max   int // characters
		want  string
		err   error
	}{
		{123, 10, 11, "123\x00", nil},
		{0x80000000, 0, 11, "2147483648\x00", nil},
		{0xFFFFFFFF, 2, 33, strings.Repeat("1", 32) + "\x00", nil},
		{0xFFFFFFFF, 8, 12, "37777777777\x00", nil},
		{0xFFFFFFFF, 16, 9, "FFFFFFFF\x00", nil},
		{0xFFFFFFFF, 16, 8, "FFFFFFFF-", nil},
		{0xFFFFFFFF, 16, 7, "-", nt.STATUS_BUFFER_OVERFLOW},
		{0, 16, 1, "0-", nil},
		{0, 16, 0, "-", nt.STATUS_BUFFER_OVERFLOW},
		{1, 20, 9, "-", nt.STATUS_INVALID_PARAMETER},
	} {
		dst := m.ubuf(c.max * 2)
		require.Equal(t, c.err, IntegerToUnicodeString(c.value, c.base, dst))
		require.Equal(t, c.want, m.wide(m.header(dst).Buffer, len(c.want)))
		text := m.str(strings.Repeat("-", 40))
		require.Equal(t, c.err, IntegerToChar(c.value, c.base, uint32(c.max), text))
		require.Equal(t, c.want, string(m.read(text, len(c.want))))
	}
	dst := m.ubuf(60)
	require.NoError(t, Int64ToUnicodeString(^uint64(0), 10, dst))
	require.Equal(t, "18446744073709551615", m.text(dst))
	requireFault(t, IntegerToChar(1, 10, 5, unmapped), unmapped)
}

func TestGUID(t *testing.T) {
	m := newMemory(t)
	const text = "{01020304-0506-0708-090A-0B0C0D0E0F0A}"
	guid := m.alloc(16)
	require.NoError(t, GUIDFromString(m.ustr(text), guid))
	require.Equal(t, []byte{4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 10}, m.read(guid, 16))
	dst := m.alloc(16)
	require.NoError(t, StringFromGUID(guid, dst, m.pool))
	require.Equal(t, text, m.text(dst))
	require.EqualValues(t, 78, m.header(dst).MaximumLength)
	require.Equal(t, text, m.cwstr(m.header(dst).Buffer))
	for _, bad := range []string{"", "{", text[:37], strings.Replace(text, "-", "_", 1), text[1:],
		strings.Replace(text, "A", "G", 1), text[:37] + ")"} {
		require.Equal(t, nt.STATUS_INVALID_PARAMETER, GUIDFromString(m.ustr(bad), guid), bad)
	}
	require.NoError(t, GUIDFromString(m.ustr(strings.ToLower(text)), guid))
}
