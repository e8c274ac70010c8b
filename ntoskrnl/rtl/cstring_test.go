package rtl

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestStrlen(t *testing.T) {
	m := newMemory(t)
	for _, n := range []int{0, 1, 255, 256, 257, 4095, 5000} {
		s := strings.Repeat("x", n)
		got, err := Strlen(m.str(s))
		require.NoError(t, err)
		require.EqualValues(t, n, got)
		got, err = Wcslen(m.wstr(s))
		require.NoError(t, err)
		require.EqualValues(t, n, got)
		got, err = Strlen(m.atEnd(append([]byte(s), 0)))
		require.NoError(t, err, "a string may end right before an unmapped page")
		require.EqualValues(t, n, got)
	}
	got, err := Strnlen(m.atEnd([]byte("abc")), 3)
	require.NoError(t, err, "strnlen reads no more than it may")
	require.EqualValues(t, 3, got)
	got, err = Strnlen(m.str("abc"), 10)
	require.NoError(t, err)
	require.EqualValues(t, 3, got)
	got, err = Wcsnlen(0, 0)
	require.NoError(t, err)
	require.Zero(t, got)
	_, err = Strlen(m.atEnd([]byte("abc")))
	requireFault(t, err, m.region.End())
	_, err = Wcslen(0)
	requireFault(t, err, 0)
	t.Run("an odd address", func(t *testing.T) {
		a := m.bytes(append([]byte{0xFF}, unitBytes(append(u16(strings.Repeat("y", 5000)), 0))...)) + 1
		got, err := Wcslen(a)
		require.NoError(t, err)
		require.EqualValues(t, 5000, got)
	})
}

func TestStrcmp(t *testing.T) {
	m := newMemory(t)
	sgn := func(v int32) int { r, _ := sign(v, nil); return int(r) }
	for _, c := range []struct {
		a, b  string
		exact int
		fold  int
	}{
		{"", "", 0, 0}, {"a", "", 1, 1}, {"", "a", -1, -1}, {"abc", "abc", 0, 0}, {"abc", "abd", -1, -1},
		{"ABC", "abc", -1, 0}, {"abC", "ABd", 1, -1}, {"ab", "abc", -1, -1}, {"\xFF", "a", 1, 1},
		{"_", "A", 1, -1}, // folding is to lower case
	} {
		for _, f := range []struct {
			name string
			want int
			call func(a, b nt.Addr) (int32, error)
		}{
			{"strcmp", c.exact, Strcmp},
			{"stricmp", c.fold, Stricmp},
			{"strncmp", c.exact, func(a, b nt.Addr) (int32, error) { return Strncmp(a, b, 100) }},
			{"strnicmp", c.fold, func(a, b nt.Addr) (int32, error) { return Strnicmp(a, b, 100) }},
		} {
			v, err := f.call(m.str(c.a), m.str(c.b))
			require.NoError(t, err)
			require.Equal(t, f.want, sgn(v), "%s %q %q", f.name, c.a, c.b)
		}
		if c.a[:min(1, len(c.a))] == "\xFF" {
			continue
		}
		for _, f := range []struct {
			name string
			want int
			call func(a, b nt.Addr) (int32, error)
		}{
			{"wcscmp", c.exact, Wcscmp},
			{"wcsicmp", c.fold, Wcsicmp},
			{"wcsncmp", c.exact, func(a, b nt.Addr) (int32, error) { return Wcsncmp(a, b, 100) }},
			{"wcsnicmp", c.fold, func(a, b nt.Addr) (int32, error) { return Wcsnicmp(a, b, 100) }},
		} {
			v, err := f.call(m.wstr(c.a), m.wstr(c.b))
			require.NoError(t, err)
			require.Equal(t, f.want, sgn(v), "%s %q %q", f.name, c.a, c.b)
		}
	}
	v, err := Strncmp(m.str("abcX"), m.str("abcY"), 3)
	require.NoError(t, err)
	require.Zero(t, v)
	v, err = Strncmp(unmapped, unmapped, 0)
	require.NoError(t, err)
	require.Zero(t, v)
	v, err = Strcmp(m.atEnd([]byte("ab")), m.str("ax"))
	require.NoError(t, err, "nothing is read behind the difference")
	require.EqualValues(t, -1, v)
	_, err = Strcmp(m.str("a"), unmapped)
	requireFault(t, err, unmapped)
}

func TestStrchr(t *testing.T) {
	m := newMemory(t)
	s, w := m.str("hello"), m.wstr("hello")
	for _, c := range []struct {
		c           byte
		first, last int // -1: null
	}{{'h', 0, 0}, {'l', 2, 3}, {'x', -1, -1}, {0, 5, 5}} {
		at := func(base nt.Addr, i, unit int) nt.Addr {
			if i < 0 {
				return 0
			}
			return base + nt.Addr(i*unit)
		}
		a, err := Strchr(s, int32(c.c))
		require.NoError(t, err)
		require.Equal(t, at(s, c.first, 1), a)
		a, err = Strrchr(s, int32(c.c))
		require.NoError(t, err)
		require.Equal(t, at(s, c.last, 1), a)
		a, err = Wcschr(w, uint16(c.c))
		require.NoError(t, err)
		require.Equal(t, at(w, c.first, 2), a)
		a, err = Wcsrchr(w, uint16(c.c))
		require.NoError(t, err)
		require.Equal(t, at(w, c.last, 2), a)
	}
}

func TestStrstr(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		s, sub string
		at     int
	}{
		{"hello world", "world", 6}, {"hello", "", 0}, {"", "", 0}, {"", "a", -1}, {"aaab", "aab", 1},
		{"abc", "abcd", -1}, {"abababac", "abac", 4}, {strings.Repeat("x", 300) + "needle", "needle", 300},
	} {
		s, w := m.str(c.s), m.wstr(c.s)
		a, err := Strstr(s, m.str(c.sub))
		require.NoError(t, err)
		b, err := Wcsstr(w, m.wstr(c.sub))
		require.NoError(t, err)
		if c.at < 0 {
			require.Zero(t, a)
			require.Zero(t, b)
			continue
		}
		require.Equal(t, s+nt.Addr(c.at), a)
		require.Equal(t, w+nt.Addr(2*c.at), b)
	}
}

func TestStrspn(t *testing.T) {
	m := newMemory(t)
	n, err := Strspn(m.str("aabbcd"), m.str("ab"))
	require.NoError(t, err)
	require.EqualValues(t, 4, n)
	n, err = Strcspn(m.str("xyz,w"), m.str(".,"))
	require.NoError(t, err)
	require.EqualValues(t, 3, n)
	n, err = Wcsspn(m.wstr("aab"), m.wstr("abc"))
	require.NoError(t, err)
	require.EqualValues(t, 3, n)
	n, err = Wcscspn(m.wstr("abc"), m.wstr(""))
	require.NoError(t, err)
	require.EqualValues(t, 3, n)
	s := m.str("a;b")
	a, err := Strpbrk(s, m.str(":;"))
	require.NoError(t, err)
	require.Equal(t, s+1, a)
	a, err = Wcspbrk(m.wstr("abc"), m.wstr("x"))
	require.NoError(t, err)
	require.Zero(t, a)
}

func TestStrcpyAndStrcat(t *testing.T) {
	m := newMemory(t)
	buf := func() nt.Addr { return m.str("----------") }
	for _, c := range []struct {
		name string
		do   func(dst nt.Addr) error
		want string // ten bytes
	}{
		{"strcpy", func(d nt.Addr) error { return Strcpy(d, m.str("abc")) }, "abc\x00------"},
		{"strncpy pads", func(d nt.Addr) error { return Strncpy(d, m.str("abc"), 6) }, "abc\x00\x00\x00----"},
		{"strncpy cuts", func(d nt.Addr) error { return Strncpy(d, m.str("abcdef"), 3) }, "abc-------"},
		{"strncpy of nothing", func(d nt.Addr) error { return Strncpy(d, unmapped, 0) }, "----------"},
		{"strcat", func(d nt.Addr) error {
			return firstError(Strcpy(d, m.str("ab")), Strcat(d, m.str("cd")))
		}, "abcd\x00-----"},
		{"strncat", func(d nt.Addr) error {
			return firstError(Strcpy(d, m.str("ab")), Strncat(d, m.str("cdef"), 2))
		}, "abcd\x00-----"},
		{"strncat with a short source", func(d nt.Addr) error {
			return firstError(Strcpy(d, m.str("ab")), Strncat(d, m.str("c"), 5))
		}, "abc\x00------"},
		{"_strupr", func(d nt.Addr) error {
			return firstError(Strcpy(d, m.str("aBc1")), Strupr(d))
		}, "ABC1\x00-----"},
		{"_strlwr", func(d nt.Addr) error {
			return firstError(Strcpy(d, m.str("aBc1")), Strlwr(d))
		}, "abc1\x00-----"},
		{"_strrev", func(d nt.Addr) error {
			return firstError(Strcpy(d, m.str("abcd")), Strrev(d))
		}, "dcba\x00-----"},
		{"_strset", func(d nt.Addr) error {
			return firstError(Strcpy(d, m.str("abcd")), Strset(d, 'x'))
		}, "xxxx\x00-----"},
		{"_strnset", func(d nt.Addr) error {
			return firstError(Strcpy(d, m.str("abcd")), Strnset(d, 'x', 2))
		}, "xxcd\x00-----"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := buf()
			require.NoError(t, c.do(d))
			require.Equal(t, c.want, string(m.read(d, 10)))
		})
	}
	t.Run("wide", func(t *testing.T) {
		d := m.wstr("----------")
		require.NoError(t, Wcscpy(d, m.wstr("äbc")))
		require.NoError(t, Wcscat(d, m.wstr("d")))
		require.NoError(t, Wcsncat(d, m.wstr("efg"), 1))
		require.Equal(t, "äbcde", m.cwstr(d))
		require.NoError(t, Wcsupr(d))
		require.Equal(t, "ÄBCDE", m.cwstr(d))
		require.NoError(t, Wcslwr(d))
		require.NoError(t, Wcsrev(d))
		require.Equal(t, "edcbä", m.cwstr(d))
		require.NoError(t, Wcsncpy(d, m.wstr("xy"), 4))
		require.Equal(t, "xy\x00\x00ä\x00", m.wide(d, 6))
		require.NoError(t, Wcsnset(d, 'z', 1))
		require.NoError(t, Wcsset(d+2, 'w'))
		require.Equal(t, "zw", m.cwstr(d))
	})
	t.Run("long strings", func(t *testing.T) {
		s := strings.Repeat("0123456789", 700)
		d := m.alloc(8000)
		require.NoError(t, Strcpy(d, m.str(s)))
		require.Equal(t, s, m.cstr(d))
		require.NoError(t, Strcpy(d, d+1), "moving a string down is common, if not allowed")
		require.Equal(t, s[1:], m.cstr(d))
	})
	t.Run("faults", func(t *testing.T) {
		requireFault(t, Strcpy(m.region.End()-2, m.str("abc")), m.region.End())
		requireFault(t, Strcpy(m.alloc(16), unmapped), unmapped)
		requireFault(t, Strncpy(m.alloc(16), m.atEnd([]byte("ab")), 3), m.region.End())
		requireFault(t, Strupr(unmapped), unmapped)
	})
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestSecureStrings(t *testing.T) {
	m := newMemory(t)
	type result struct {
		ret  int32
		want string
	}
	for _, c := range []struct {
		name string
		do   func(d nt.Addr) (int32, error)
		result
	}{
		{"strcpy_s", func(d nt.Addr) (int32, error) { return StrcpyS(d, 4, m.str("abc")) }, result{0, "abc"}},
		{"strcpy_s, too long", func(d nt.Addr) (int32, error) { return StrcpyS(d, 3, m.str("abc")) }, result{ERANGE, ""}},
		{"strcpy_s, null", func(d nt.Addr) (int32, error) { return StrcpyS(d, 3, 0) }, result{EINVAL, ""}},
		{"strcpy_s, size 0", func(d nt.Addr) (int32, error) { return StrcpyS(d, 0, m.str("a")) }, result{EINVAL, "----------"}},
		{"strncpy_s", func(d nt.Addr) (int32, error) { return StrncpyS(d, 10, m.str("abcdef"), 3) }, result{0, "abc"}},
		{"strncpy_s, exactly", func(d nt.Addr) (int32, error) { return StrncpyS(d, 4, m.str("abcdef"), 3) }, result{0, "abc"}},
		{"strncpy_s, no room", func(d nt.Addr) (int32, error) { return StrncpyS(d, 3, m.str("abcdef"), 3) }, result{ERANGE, ""}},
		{"strncpy_s, _TRUNCATE", func(d nt.Addr) (int32, error) { return StrncpyS(d, 3, m.str("abcdef"), Truncate) }, result{STRUNCATE, "ab"}},
		{"strncpy_s, _TRUNCATE, fits", func(d nt.Addr) (int32, error) { return StrncpyS(d, 7, m.str("abcdef"), Truncate) }, result{0, "abcdef"}},
		{"strcat_s", func(d nt.Addr) (int32, error) {
			_, _ = StrcpyS(d, 10, m.str("ab"))
			return StrcatS(d, 5, m.str("cd"))
		}, result{0, "abcd"}},
		{"strcat_s, too long", func(d nt.Addr) (int32, error) {
			_, _ = StrcpyS(d, 10, m.str("ab"))
			return StrcatS(d, 4, m.str("cd"))
		}, result{ERANGE, ""}},
		{"strcat_s, no NUL in dst", func(d nt.Addr) (int32, error) { return StrcatS(d, 4, m.str("cd")) }, result{EINVAL, ""}},
		{"strncat_s", func(d nt.Addr) (int32, error) {
			_, _ = StrcpyS(d, 10, m.str("ab"))
			return StrncatS(d, 5, m.str("cdef"), 2)
		}, result{0, "abcd"}},
		{"strncat_s, _TRUNCATE", func(d nt.Addr) (int32, error) {
			_, _ = StrcpyS(d, 10, m.str("ab"))
			return StrncatS(d, 4, m.str("cdef"), Truncate)
		}, result{STRUNCATE, "abc"}},
		{"_strupr_s", func(d nt.Addr) (int32, error) {
			_, _ = StrcpyS(d, 10, m.str("ab"))
			return StruprS(d, 3)
		}, result{0, "AB"}},
		{"_strlwr_s without NUL", func(d nt.Addr) (int32, error) { return StrlwrS(d, 3) }, result{EINVAL, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := m.str("----------")
			ret, err := c.do(d)
			require.NoError(t, err)
			require.Equal(t, c.ret, ret)
			require.Equal(t, c.want, m.cstr(d))
		})
	}
	t.Run("wide", func(t *testing.T) {
		d := m.wstr("----------")
		for _, step := range []struct {
			ret  func() (int32, error)
			want int32
			text string
		}{
			{func() (int32, error) { return WcscpyS(d, 4, m.wstr("abc")) }, 0, "abc"},
			{func() (int32, error) { return WcscatS(d, 5, m.wstr("d")) }, 0, "abcd"},
			{func() (int32, error) { return WcsncatS(d, 10, m.wstr("efg"), 2) }, 0, "abcdef"},
			{func() (int32, error) { return WcsuprS(d, 10) }, 0, "ABCDEF"},
			{func() (int32, error) { return WcslwrS(d, 10) }, 0, "abcdef"},
			{func() (int32, error) { return WcsncpyS(d, 3, m.wstr("xyz"), Truncate) }, STRUNCATE, "xy"},
			{func() (int32, error) { return WcscpyS(d, 2, m.wstr("abc")) }, ERANGE, ""},
		} {
			ret, err := step.ret()
			require.NoError(t, err)
			require.Equal(t, step.want, ret)
			require.Equal(t, step.text, m.cwstr(d))
		}
	})
}

func TestStrtokS(t *testing.T) {
	m := newMemory(t)
	context := m.alloc(8)
	s, set := m.str(",,one,;two;"), m.str(",;")
	var got []string
	a, err := StrtokS(s, set, context)
	for ; a != 0; a, err = StrtokS(0, set, context) {
		require.NoError(t, err)
		got = append(got, m.cstr(a))
	}
	require.NoError(t, err)
	require.Equal(t, []string{"one", "two"}, got)
	w, err := WcstokS(m.wstr("a b"), m.wstr(" "), context)
	require.NoError(t, err)
	require.Equal(t, "a", m.cwstr(w))
	w, err = WcstokS(0, m.wstr(" "), context)
	require.NoError(t, err)
	require.Equal(t, "b", m.cwstr(w))
	a, err = StrtokS(s, set, 0)
	require.NoError(t, err)
	require.Zero(t, a)
}

func TestMemory(t *testing.T) {
	m := newMemory(t)
	a, b := m.bytes([]byte("abcdefgh")), m.bytes([]byte("abcdXfgh"))
	n, err := CompareMemory(a, b, 8)
	require.NoError(t, err)
	require.EqualValues(t, 4, n)
	n, err = CompareMemory(a, a, 8)
	require.NoError(t, err)
	require.EqualValues(t, 8, n)
	v, err := Memcmp(a, b, 8)
	require.NoError(t, err)
	require.EqualValues(t, 1, v)
	v, err = Memcmp(b, a, 8)
	require.NoError(t, err)
	require.EqualValues(t, -1, v)
	v, err = Memcmp(a, b, 4)
	require.NoError(t, err)
	require.Zero(t, v)
	_, err = Memcmp(a, m.atEnd([]byte("abcd")), 8)
	requireFault(t, err, m.region.End())

	at, err := Memchr(a, 'e', 8)
	require.NoError(t, err)
	require.Equal(t, a+4, at)
	at, err = Memchr(a, 'e', 4)
	require.NoError(t, err)
	require.Zero(t, at)
	end := m.atEnd([]byte("xyz"))
	at, err = Memchr(end, 'y', 1<<40)
	require.NoError(t, err, "memchr stops at what it finds")
	require.Equal(t, end+1, at)

	d := m.alloc(1024)
	require.NoError(t, FillMemoryUlong(d, 1003, 0x11223344))
	n, err = CompareMemoryUlong(d, 1024, 0x11223344)
	require.NoError(t, err)
	require.EqualValues(t, 1000, n)
	n, err = CompareMemoryUlong(d, 999, 0x11223344)
	require.NoError(t, err)
	require.EqualValues(t, 996, n)
	n, err = CompareMemoryUlong(d+1, 100, 0x11223344)
	require.NoError(t, err)
	require.Zero(t, n)

	ret, err := MemcpyS(d, 4, a, 5)
	require.NoError(t, err)
	require.EqualValues(t, ERANGE, ret)
	require.Equal(t, []byte{0, 0, 0, 0}, m.read(d, 4))
	ret, err = MemcpyS(d, 8, a, 8)
	require.NoError(t, err)
	require.Zero(t, ret)
	require.Equal(t, "abcdefgh", string(m.read(d, 8)))
	ret, err = MemcpyS(0, 8, a, 8)
	require.NoError(t, err)
	require.EqualValues(t, EINVAL, ret)
}

func TestCtype(t *testing.T) {
	for c := int32(-1); c < 300; c++ {
		ascii := c >= 0 && c < 128
		letter := ascii && (c|0x20) >= 'a' && (c|0x20) <= 'z'
		digit := c >= '0' && c <= '9'
		printable := c >= ' ' && c < 0x7F
		for _, f := range []struct {
			name string
			got  int32
			want bool
		}{
			{"isalpha", Isalpha(c), letter},
			{"isupper", Isupper(c), letter && c < 'a'},
			{"islower", Islower(c), letter && c >= 'a'},
			{"isdigit", Isdigit(c), digit},
			{"isxdigit", Isxdigit(c), digit || letter && (c|0x20) <= 'f'},
			{"isspace", Isspace(c), c == ' ' || c >= 9 && c <= 13},
			{"isalnum", Isalnum(c), letter || digit},
			{"isprint", Isprint(c), printable},
			{"isgraph", Isgraph(c), printable && c != ' '},
			{"ispunct", Ispunct(c), printable && c != ' ' && !letter && !digit},
			{"iscntrl", Iscntrl(c), ascii && (c < ' ' || c == 0x7F)},
		} {
			require.Equal(t, f.want, f.got != 0, "%s(%d)", f.name, c)
		}
	}
	require.EqualValues(t, 'a', Tolower('A'))
	require.EqualValues(t, '[', Tolower('['))
	require.EqualValues(t, 'Z', Toupper('z'))
	require.EqualValues(t, 0xE4, Towlower(0xC4))
	require.EqualValues(t, 0xC4, Towupper(0xE4))
}

func TestNumbers(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		text string
		want int32
	}{
		{"42", 42}, {" \t\n-42x", -42}, {"+7", 7}, {"", 0}, {"x", 0}, {"- 1", 0}, {"0x10", 0}, {"010", 10},
		{"2147483648", 2147483647}, {"-99999999999999999999999", -2147483648},
	} {
		v, err := Atoi(m.str(c.text))
		require.NoError(t, err)
		require.Equal(t, c.want, v, c.text)
		v, err = Wtoi(m.wstr(c.text))
		require.NoError(t, err)
		require.Equal(t, c.want, v, c.text)
	}
	v64, err := Atoi64(m.str("-9223372036854775808"))
	require.NoError(t, err)
	require.EqualValues(t, -1<<63, v64)
	v64, err = Wtoi64(m.wstr("9223372036854775808"))
	require.NoError(t, err)
	require.EqualValues(t, 1<<63-1, v64)

	for _, c := range []struct {
		text   string
		base   int32
		signed int32
		plain  uint32
		end    int
	}{
		{"0x1F!", 0, 31, 31, 4},
		{"0x1F", 16, 31, 31, 4},
		{"1F", 16, 31, 31, 2},
		{"017", 0, 15, 15, 3},
		{"0", 0, 0, 0, 1},
		{"0x", 0, 0, 0, 1}, // the number is the 0
		{"0xg", 16, 0, 0, 1},
		{"08", 0, 0, 0, 1},
		{"zz", 36, 1295, 1295, 2},
		{"12", 2, 1, 1, 1},
		{"  -5", 10, -5, 0xFFFFFFFB, 4},
		{"4294967295", 10, 0x7FFFFFFF, 0xFFFFFFFF, 10},
		{"4294967296", 10, 0x7FFFFFFF, 0xFFFFFFFF, 10},
		{"none", 10, 0, 0, 0},
		{"", 10, 0, 0, 0},
		{"5", 1, 0, 0, 0},
		{"5", 37, 0, 0, 0},
	} {
		s, w := m.str(c.text), m.wstr(c.text)
		v, end, err := Strtol(s, c.base)
		require.NoError(t, err)
		require.Equal(t, c.signed, v, c.text)
		require.Equal(t, s+nt.Addr(c.end), end, c.text)
		u, end, err := Strtoul(s, c.base)
		require.NoError(t, err)
		require.Equal(t, c.plain, u, c.text)
		require.Equal(t, s+nt.Addr(c.end), end, c.text)
		v, end, err = Wcstol(w, c.base)
		require.NoError(t, err)
		require.Equal(t, c.signed, v, c.text)
		require.Equal(t, w+nt.Addr(2*c.end), end, c.text)
		u, _, err = Wcstoul(w, c.base)
		require.NoError(t, err)
		require.Equal(t, c.plain, u, c.text)
	}
	u64, _, err := Strtoui64(m.str("18446744073709551615"), 10)
	require.NoError(t, err)
	require.Equal(t, ^uint64(0), u64)
	u64, _, err = Wcstoui64(m.wstr("18446744073709551616"), 10)
	require.NoError(t, err)
	require.Equal(t, ^uint64(0), u64)
	i64, _, err := Strtoi64(m.str("-0x10"), 16)
	require.NoError(t, err)
	require.EqualValues(t, -16, i64)
	i64, _, err = Wcstoi64(m.wstr("7"), 8)
	require.NoError(t, err)
	require.EqualValues(t, 7, i64)
	_, err = Atoi(unmapped)
	requireFault(t, err, unmapped)
}

func TestItoa(t *testing.T) {
	m := newMemory(t)
	const minus1 = ^uint64(0)
	for _, c := range []struct {
		v    uint64
		kind Bits
		base int32
		want string
	}{
		{42, Int32, 10, "42"}, {minus1, Int32, 10, "-1"}, {minus1, Int32, 16, "ffffffff"},
		{minus1, Uint32, 10, "4294967295"}, {minus1, Int64, 10, "-1"}, {minus1, Int64, 2, strings.Repeat("1", 64)},
		{minus1, Uint64, 10, "18446744073709551615"}, {1 << 31, Int32, 10, "-2147483648"}, {0, Int32, 10, "0"},
		{35, Int32, 36, "z"}, {1 << 63, Int64, 10, "-9223372036854775808"}, {5, Int32, 1, ""},
	} {
		d := m.str(strings.Repeat("-", 70))
		require.NoError(t, Itoa(c.v, c.kind, d, c.base))
		require.Equal(t, c.want, m.cstr(d))
		w := m.wstr(strings.Repeat("-", 70))
		require.NoError(t, Itow(c.v, c.kind, w, c.base))
		require.Equal(t, c.want, m.cwstr(w))
	}
	d := m.str("------")
	for _, c := range []struct {
		size uintptr
		base int32
		ret  int32
		want string
	}{{3, 10, 0, "42"}, {2, 10, ERANGE, ""}, {3, 40, EINVAL, ""}} {
		ret, err := ItoaS(42, Int32, d, c.size, c.base)
		require.NoError(t, err)
		require.Equal(t, c.ret, ret)
		require.Equal(t, c.want, m.cstr(d))
	}
	w := m.wstr("------")
	ret, err := ItowS(42, Int32, w, 3, 10)
	require.NoError(t, err)
	require.Zero(t, ret)
	require.Equal(t, "42", m.cwstr(w))
	ret, err = ItoaS(1, Int32, 0, 3, 10)
	require.NoError(t, err)
	require.EqualValues(t, EINVAL, ret)
}

func TestQsortAndBsearch(t *testing.T) {
	m := newMemory(t)
	for _, size := range []uintptr{4, 5, 300} {
		const n = 100
		base := m.alloc(n * size)
		for i := range uintptr(n) {
			require.NoError(t, guest.Store32(base+nt.Addr(i*size), uint32(i*7919%n)))
			require.NoError(t, guest.Store8(base+nt.Addr(i*size+size-1), uint8(i*7919%n)))
		}
		key := func(a nt.Addr) (uint32, error) {
			v, err := guest.Load32(a)
			return v & 0xFF, err
		}
		compare := func(a, b nt.Addr) (int32, error) {
			x, err := key(a)
			if err != nil {
				return 0, err
			}
			y, err := key(b)
			return int32(x) - int32(y), err
		}
		require.NoError(t, Qsort(base, n, size, compare))
		for i := range uintptr(n) {
			v, err := key(base + nt.Addr(i*size))
			require.NoError(t, err)
			require.EqualValues(t, i, v)
			last, err := guest.Load8(base + nt.Addr(i*size+size-1))
			require.NoError(t, err)
			require.EqualValues(t, i, last, "the whole element moved")
		}
		want := m.alloc(8)
		require.NoError(t, guest.Store32(want, 42))
		at, err := Bsearch(want, base, n, size, compare)
		require.NoError(t, err)
		require.Equal(t, base+nt.Addr(42*size), at)
		require.NoError(t, guest.Store32(want, 200))
		at, err = Bsearch(want, base, n, size, compare)
		require.NoError(t, err)
		require.Zero(t, at)
	}
	t.Run("a comparison that contradicts itself", func(t *testing.T) {
		base := m.alloc(4000)
		i := int32(0)
		require.NoError(t, Qsort(base, 1000, 4, func(a, b nt.Addr) (int32, error) {
			i = i*1103515245 + 12345
			require.GreaterOrEqual(t, a, base)
			require.Less(t, b, base+4000)
			return i, nil
		}))
	})
	t.Run("errors end it", func(t *testing.T) {
		boom := nt.STATUS_CANCELLED
		fail := func(nt.Addr, nt.Addr) (int32, error) { return 0, boom }
		require.Equal(t, boom, Qsort(m.alloc(64), 16, 4, fail))
		_, err := Bsearch(0, m.alloc(64), 16, 4, fail)
		require.Equal(t, boom, err)
		require.Equal(t, nt.STATUS_INVALID_PARAMETER, Qsort(m.alloc(64), 1<<40, 1<<40, fail))
		requireFault(t, Qsort(unmapped, 2, 4, func(a, b nt.Addr) (int32, error) { return -1, nil }), unmapped+4)
	})
}
