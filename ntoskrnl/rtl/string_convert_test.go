package rtl

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

func TestUnicodeStringToAnsiString(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		name   string
		max    uint16
		src    string
		alloc  bool
		length uint16
		resMax uint16
		text   string
		err    error
	}{
		{"allocated", 0, "abcdef", true, 6, 7, "abcdef", nil},
		{"allocated, empty", 0, "", true, 0, 1, "", nil},
		{"no buffer", 0, "abcdef", false, 6, 0, "------------", nt.STATUS_BUFFER_OVERFLOW},
		{"room for the NUL only", 1, "abcdef", false, 0, 1, "", nt.STATUS_BUFFER_OVERFLOW},
		{"cut", 3, "abcdef", false, 2, 3, "ab", nt.STATUS_BUFFER_OVERFLOW},
		{"no room for the NUL", 6, "abcdef", false, 5, 6, "abcde", nt.STATUS_BUFFER_OVERFLOW},
		{"exactly", 7, "abcdef", false, 6, 7, "abcdef", nil},
		{"not ASCII", 9, "ä€b", false, 6, 9, "ä€b", nil},
		{"cut before half a character", 4, "ä€b", false, 2, 4, "ä", nt.STATUS_BUFFER_OVERFLOW},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := m.counted(8, c.max, m.str("------------"))
			alloc := Alloc(nil)
			if c.alloc {
				alloc = m.pool
			}
			require.Equal(t, c.err, UnicodeStringToAnsiString(dst, m.ustr(c.src), alloc))
			h := m.header(dst)
			require.Equal(t, c.length, h.Length)
			require.Equal(t, c.resMax, h.MaximumLength)
			require.Equal(t, c.text, m.cstr(h.Buffer))
		})
	}
	dst := m.alloc(16)
	require.Equal(t, nt.STATUS_NO_MEMORY, UnicodeStringToAnsiString(dst, m.ustr("x"), noPool))
	long := m.counted(0xFFFE, 0xFFFE, m.wstr(strings.Repeat("€", 0x7FFF)))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER_2, UnicodeStringToAnsiString(dst, long, m.pool))
	require.NoError(t, UpcaseUnicodeStringToAnsiString(dst, m.ustr("abä"), m.pool))
	require.Equal(t, "ABÄ", m.ansi(dst))
}

func TestAnsiStringToUnicodeString(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		name  string
		max   int
		src   string
		alloc bool
		want  string
		err   error
	}{
		{"allocated", 0, "abc", true, "abc", nil},
		{"allocated, empty", 0, "", true, "", nil},
		{"exactly, with NUL", 8, "abc", false, "abc", nil},
		{"no room for the NUL", 6, "abc", false, "", nt.STATUS_BUFFER_OVERFLOW},
		{"UTF-8", 20, "ä€\U0001F600", false, "ä€\U0001F600", nil},
		{"invalid bytes", 20, "a\xFFb", false, "a\uFFFDb", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := m.ubuf(c.max)
			alloc := Alloc(nil)
			if c.alloc {
				alloc = m.pool
			}
			require.Equal(t, c.err, AnsiStringToUnicodeString(dst, m.astr(c.src), alloc))
			require.Equal(t, c.want, m.text(dst))
			if c.err == nil {
				require.Equal(t, c.want, m.cwstr(m.header(dst).Buffer))
			}
		})
	}
	long := m.counted(0xFFFE, 0xFFFE, m.str(strings.Repeat("a", 0xFFFE)))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER_2, AnsiStringToUnicodeString(m.ubuf(10), long, m.pool))
}

func TestConversionSizes(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		text       string
		ansi, wide uint32
	}{{"", 1, 2}, {"abc", 4, 8}, {"ä€", 6, 6}, {"\U0001F600", 5, 6}} {
		n, err := UnicodeStringToAnsiSize(m.ustr(c.text))
		require.NoError(t, err)
		require.Equal(t, c.ansi, n, c.text)
		n, err = AnsiStringToUnicodeSize(m.astr(c.text))
		require.NoError(t, err)
		require.Equal(t, c.wide, n, c.text)
	}
}

func TestMultiByteN(t *testing.T) {
	m := newMemory(t)
	dst := m.alloc(64)
	n, err := MultiByteToUnicodeN(dst, 64, m.str("abc"), 3)
	require.NoError(t, err)
	require.EqualValues(t, 6, n)
	require.Equal(t, "abc", m.wide(dst, 3))
	n, err = MultiByteToUnicodeN(dst, 5, m.str("xyz"), 3)
	require.NoError(t, err, "what does not fit is left out")
	require.EqualValues(t, 4, n)
	n, err = UnicodeToMultiByteN(dst, 64, m.wstr("a\U0001F600"), 6)
	require.NoError(t, err)
	require.Equal(t, "a\U0001F600", string(m.read(dst, int(n))))
	n, err = UnicodeToMultiByteN(dst, 4, m.wstr("a\U0001F600"), 6)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	n, err = UpcaseUnicodeToMultiByteN(dst, 4, m.wstr("abcdef"), 12)
	require.NoError(t, err)
	require.Equal(t, "ABCD", string(m.read(dst, int(n))))
	_, err = UnicodeToMultiByteN(dst, 64, m.atEnd(unitBytes(u16("ab"))), 6)
	requireFault(t, err, m.region.End())
}

func TestUTF8N(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		name  string
		utf8  string
		utf16 []uint16
		err   error
	}{
		{"ASCII", "abc", u16("abc"), nil},
		{"two and three bytes", "ä€", u16("ä€"), nil},
		{"a pair", "\U0001F600", []uint16{0xD83D, 0xDE00}, nil},
		{"a stray continuation byte", "a\x80b", []uint16{'a', 0xFFFD, 'b'}, nt.STATUS_SOME_NOT_MAPPED},
		{"a byte that is never valid", "\xFF", []uint16{0xFFFD}, nt.STATUS_SOME_NOT_MAPPED},
		{"a sequence broken off by a letter", "\xE2\x82b", []uint16{0xFFFD, 'b'}, nt.STATUS_SOME_NOT_MAPPED},
		{"a sequence broken off by the end", "\xE2\x82", []uint16{0xFFFD}, nt.STATUS_SOME_NOT_MAPPED},
		{"overlong", "\xC0\x80", []uint16{0xFFFD, 0xFFFD}, nt.STATUS_SOME_NOT_MAPPED},
		{"an encoded surrogate", "\xED\xA0\x80", []uint16{0xFFFD, 0xFFFD, 0xFFFD}, nt.STATUS_SOME_NOT_MAPPED},
		{"U+FFFD itself", "\uFFFD", []uint16{0xFFFD}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, size := m.str(c.utf8), uint32(len(c.utf8))
			n, err := UTF8ToUnicodeN(0, 0, src, size)
			require.Equal(t, c.err, err)
			require.EqualValues(t, 2*len(c.utf16), n)
			dst := m.alloc(64)
			n, err = UTF8ToUnicodeN(dst, 64, src, size)
			require.Equal(t, c.err, err)
			require.Equal(t, unitBytes(c.utf16), m.read(dst, int(n)))
			n, err = UTF8ToUnicodeN(dst, uint32(2*len(c.utf16)-1), src, size)
			require.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, err)
			require.EqualValues(t, 2*len(c.utf16)-2, n)
			out, lossy := AppendUTF16(nil, []byte(c.utf8))
			require.Equal(t, c.utf16, out)
			require.Equal(t, c.err != nil, lossy)
			if c.err != nil {
				return
			}
			back := m.bytes(unitBytes(c.utf16))
			n, err = UnicodeToUTF8N(0, 0, back, uint32(2*len(c.utf16)))
			require.NoError(t, err)
			require.Equal(t, size, n)
			n, err = UnicodeToUTF8N(dst, 64, back, uint32(2*len(c.utf16)))
			require.NoError(t, err)
			require.Equal(t, c.utf8, string(m.read(dst, int(n))))
		})
	}
	t.Run("a lone surrogate", func(t *testing.T) {
		dst := m.alloc(16)
		n, err := UnicodeToUTF8N(dst, 16, m.bytes(unitBytes([]uint16{0xD83D, 'x', 0xDE00})), 6)
		require.Equal(t, nt.STATUS_SOME_NOT_MAPPED, err)
		require.Equal(t, "\uFFFDx\uFFFD", string(m.read(dst, int(n))))
		text, lossy := AppendUTF8(nil, []uint16{0xD83D, 'x', 0xDE00})
		require.True(t, lossy)
		require.Equal(t, "\uFFFDx\uFFFD", string(text))
	})
	t.Run("parameters", func(t *testing.T) {
		_, err := UTF8ToUnicodeN(m.alloc(4), 4, 0, 4)
		require.Equal(t, nt.STATUS_INVALID_PARAMETER_4, err)
		_, err = UnicodeToUTF8N(m.alloc(4), 4, 0, 4)
		require.Equal(t, nt.STATUS_INVALID_PARAMETER_4, err)
		_, err = UnicodeToUTF8N(m.alloc(4), 4, m.wstr("ab"), 3)
		require.Equal(t, nt.STATUS_INVALID_PARAMETER_5, err)
	})
}

func TestAnsiCharToUnicodeChar(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		text string
		unit uint16
		size nt.Addr
	}{{"ab", 'a', 1}, {"äb", 0xE4, 2}, {"€", 0x20AC, 3}, {"\U0001F600", 0xD83D, 4}, {"\x80b", 0xFFFD, 1}} {
		at := m.str(c.text)
		unit, next, err := AnsiCharToUnicodeChar(at)
		require.NoError(t, err)
		require.Equal(t, c.unit, unit)
		require.Equal(t, at+c.size, next)
	}
	_, _, err := AnsiCharToUnicodeChar(unmapped)
	requireFault(t, err, unmapped)
}
