package rtl

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func f64(v float64) uint64 { return math.Float64bits(v) }

func TestFormatNumbers(t *testing.T) {
	const minus1 = ^uint64(0)
	for _, c := range []struct {
		format string
		args   []uint64
		want   string
	}{
		{"plain text", nil, "plain text"},
		{"100%%", nil, "100%"},
		{"%d", []uint64{42}, "42"},
		{"%i", []uint64{minus1}, "-1"},
		{"%d", []uint64{0xDEAD_0000_0000_0007}, "7"}, // the upper half of an int's slot is garbage
		{"%u", []uint64{minus1}, "4294967295"},
		{"%x", []uint64{0xABCDEF}, "abcdef"},
		{"%X", []uint64{0xABCDEF}, "ABCDEF"},
		{"%o", []uint64{8}, "10"},
		{"%#x", []uint64{0x1F}, "0x1f"},
		{"%#X", []uint64{0x1F}, "0X1F"},
		{"%#x", []uint64{0}, "0"}, // zero has no prefix
		{"%#o", []uint64{8}, "010"},
		{"%#o", []uint64{0}, "0"},
		{"%5d|", []uint64{42}, "   42|"},
		{"%-5d|", []uint64{42}, "42   |"},
		{"%05d|", []uint64{42}, "00042|"},
		{"%05d|", []uint64{minus1}, "-0001|"},
		{"%-05d|", []uint64{42}, "42   |"},
		{"%+d", []uint64{42}, "+42"},
		{"% d", []uint64{42}, " 42"},
		{"%+ d", []uint64{42}, "+42"},
		{"%+u", []uint64{42}, "42"}, // a sign belongs to signed conversions only
		{"%.3d", []uint64{7}, "007"},
		{"%8.3d|", []uint64{7}, "     007|"},
		{"%08.3d|", []uint64{7}, "     007|"}, // a precision switches the zero flag off
		{"%.0d|", []uint64{0}, "|"},
		{"%.d|", []uint64{0}, "|"},
		{"%#08x", []uint64{0x1F}, "0x00001f"},
		{"%*d|", []uint64{6, 42}, "    42|"},
		{"%*d|", []uint64{uint64(0xFFFFFFFA), 42}, "42    |"}, // a negative width is left
		{"%.*d|", []uint64{4, 42}, "0042|"},
		{"%.*d|", []uint64{minus1, 42}, "42|"}, // a negative precision is none
		{"%*.*d|", []uint64{6, 4, 42}, "  0042|"},
		{"%ld", []uint64{minus1 - 1}, "-2"},
		{"%lu", []uint64{0x1_0000_0005}, "5"}, // long has 32 bits
		{"%lld", []uint64{minus1 - 1}, "-2"},
		{"%llx", []uint64{0x123456789ABCDEF0}, "123456789abcdef0"},
		{"%I64x", []uint64{0x123456789ABCDEF0}, "123456789abcdef0"},
		{"%I64u", []uint64{minus1}, "18446744073709551615"},
		{"%I64d", []uint64{1 << 63}, "-9223372036854775808"},
		{"%I32x", []uint64{0x123456789ABCDEF0}, "9abcdef0"},
		{"%Ix", []uint64{0x123456789ABCDEF0}, "123456789abcdef0"},
		{"%zu", []uint64{0x1_0000_0000}, "4294967296"},
		{"%zx %tx %jx", []uint64{1 << 40, 1 << 41, 1 << 42}, "10000000000 20000000000 40000000000"},
		{"%hd", []uint64{0x1FFFF}, "-1"},
		{"%hu", []uint64{0x1FFFF}, "65535"},
		{"%hhd", []uint64{0x1FF}, "-1"},
		{"%hhx", []uint64{0x1FF}, "ff"},
		{"%p", []uint64{0xDEADBEEF}, "00000000DEADBEEF"},
		{"%p", []uint64{0xFFFFF80012345678}, "FFFFF80012345678"},
		{"%p", []uint64{0}, "0000000000000000"},
		{"%#p", []uint64{0x10}, "0X0000000000000010"},
		{"%20p|", []uint64{0x10}, "    0000000000000010|"},
		{"%-20p|", []uint64{0x10}, "0000000000000010    |"},
		{"0x%p", []uint64{0x1234}, "0x0000000000001234"},
		{"%c%c%c", []uint64{'a', 'b', 'c'}, "abc"},
		{"%3c|%-3c|", []uint64{'a', 'b'}, "  a|b  |"},
		{"%c", []uint64{0}, "\x00"},
		{"%wc%lc%C", []uint64{0x20AC, 0xE4, 'x'}, "€äx"},
		{"%hc", []uint64{'h'}, "h"},
		{"%wc", []uint64{0xD800}, "\uFFFD"}, // half a pair is no character
		{"%y", nil, "y"},                    // what is no conversion is printed
		{"%-5y|", nil, "y|"},
		{"%", nil, ""},
		{"abc%5", nil, "abc"},
		{"%I", nil, "I"},
		{"%I6", nil, "I6"},
		{"%Iq", nil, "Iq"},
		{"%d %s %d", []uint64{1, 0, 2}, "1 (null) 2"},
		{"%ws|%S|%Z|%wZ", []uint64{0, 0, 0, 0}, "(null)|(null)|(null)|(null)"},
		{"%.3s", []uint64{0}, "(nu"},
		{"%8s|", []uint64{0}, "  (null)|"},
	} {
		t.Run(c.format, func(t *testing.T) {
			var buf [256]byte
			args := Words(c.args)
			n, cut, err := Format(buf[:], c.format, &args)
			require.NoError(t, err)
			require.False(t, cut)
			require.Equal(t, c.want, string(buf[:n]))
			require.Empty(t, args, "arguments left")
		})
	}
}

func TestFormatFloats(t *testing.T) {
	for _, c := range []struct {
		format string
		value  float64
		want   string
	}{
		{"%f", 3.5, "3.500000"},
		{"%.2f", 2.675, "2.67"},
		{"%.0f", 0.5, "0"},
		{"%#.0f", 3, "3."},
		{"%8.3f|", -1.5, "  -1.500|"},
		{"%08.3f|", -1.5, "-001.500|"},
		{"%-8.1f|", 1.5, "1.5     |"},
		{"%+f", 1, "+1.000000"},
		{"%e", 123456, "1.234560e+05"},
		{"%E", 1e-7, "1.000000E-07"},
		{"%.0e", 5, "5e+00"},
		{"%#.0e", 5, "5.e+00"},
		{"%e", 1e300, "1.000000e+300"},
		{"%g", 100000, "100000"},
		{"%g", 1000000, "1e+06"},
		{"%g", 0.0001, "0.0001"},
		{"%g", 0.00001, "1e-05"},
		{"%#g", 1, "1.00000"},
		{"%G", 1e-10, "1E-10"},
		{"%g", 0, "0"},
		{"%.3g", 1234.5, "1.23e+03"},
		{"%a", 1, "0x1.0000000000000p+0"},
		{"%a", -0.5, "-0x1.0000000000000p-1"},
		{"%.2a", 1.99999, "0x2.00p+0"},
		{"%A", 10.5, "0X1.5000000000000P+3"},
		{"%.0a", 1, "0x1p+0"},
		{"%a", 0, "0x0.0000000000000p+0"},
		{"%a", math.SmallestNonzeroFloat64, "0x0.0000000000001p-1022"},
		{"%f", math.Inf(1), "inf"},
		{"%08f|", math.Inf(-1), "    -inf|"},
		{"%F", math.Inf(1), "INF"},
		{"%f", math.NaN(), "nan"},
		{"%f", math.Float64frombits(0xFFF8000000000000), "-nan(ind)"},
		{"%.1100f", 0, "0." + strings.Repeat("0", 1100)},
		{"%.1080e", 1, "1." + strings.Repeat("0", 1080) + "e+00"},
		{"%.310f", math.MaxFloat64, "17976931348623157081452742373170435679807056752584499659891747" +
			"680315726078002853876058955863276687817154045895351438246423432132688946418276846754670353" +
			"751698604991057655128207624549009038932894407586850845513394230458323690322294816580855933" +
			"2123347747979262041447887364957581716443471536128." + strings.Repeat("0", 310)},
	} {
		t.Run(c.format, func(t *testing.T) {
			buf := make([]byte, 2048)
			n, _, err := Format(buf, c.format, &Words{f64(c.value)})
			require.NoError(t, err)
			if !strings.Contains(c.format, ".310f") {
				require.Equal(t, c.want, string(buf[:n]))
				return
			}
			require.Len(t, string(buf[:n]), 309+1+310)
		})
	}
}

func TestFormatStrings(t *testing.T) {
	m := newMemory(t)
	narrow, wide := m.str("narrow"), m.wstr("wide")
	ustr, astr := m.ustr("Unicode"), m.astr("Ansi")
	umlaut, pairOf := m.wstr("ä€"), m.wstr("\U0001F600!")
	utf8 := m.str("ä€\U0001F600")
	empty := m.counted(0, 0, 0)
	exact := m.counted(4, 4, m.bytes([]byte("abcdXYZ")))
	for _, c := range []struct {
		name   string
		format string
		args   []nt.Addr
		narrow string // of _snprintf, with the arguments as they are
		wide   string // of _snwprintf
	}{
		{"%hs is narrow in both", "%hs", []nt.Addr{narrow}, "narrow", "narrow"},
		{"%ls is wide in both", "%ls", []nt.Addr{wide}, "wide", "wide"},
		{"%ws is wide in both", "%ws", []nt.Addr{wide}, "wide", "wide"},
		{"%hS is narrow in both", "%hS", []nt.Addr{narrow}, "narrow", "narrow"},
		{"%lS is wide in both", "%lS", []nt.Addr{wide}, "wide", "wide"},
		{"%wZ is a UNICODE_STRING", "%wZ", []nt.Addr{ustr}, "Unicode", "Unicode"},
		{"%Z is an ANSI_STRING", "%Z", []nt.Addr{astr}, "Ansi", "Ansi"},
		{"%hZ is an ANSI_STRING", "%hZ", []nt.Addr{astr}, "Ansi", "Ansi"},
		{"%Z needs no NUL", "%Z", []nt.Addr{exact}, "abcd", "abcd"},
		{"%wZ of a null buffer", "%wZ", []nt.Addr{empty}, "(null)", "(null)"},
		{"width pads left", "%10wZ|", []nt.Addr{ustr}, "   Unicode|", "   Unicode|"},
		{"minus pads right", "%-10wZ|", []nt.Addr{ustr}, "Unicode   |", "Unicode   |"},
		{"width of a narrow string", "%8hs|%-8hs|", []nt.Addr{narrow, narrow}, "  narrow|narrow  |",
			"  narrow|narrow  |"},
		{"zeros pad strings too", "%08ws", []nt.Addr{wide}, "0000wide", "0000wide"},
		{"precision cuts", "%.3ws|%.3hs", []nt.Addr{wide, narrow}, "wid|nar", "wid|nar"},
		{"precision longer than the text", "%.30ws|", []nt.Addr{wide}, "wide|", "wide|"},
		{"precision zero", "[%.0hs]", []nt.Addr{narrow}, "[]", "[]"},
		{"UTF-16 becomes UTF-8", "%ws", []nt.Addr{umlaut}, "ä€", "ä€"},
		{"a surrogate pair is one character", "%ws", []nt.Addr{pairOf}, "\U0001F600!", "\U0001F600!"},
		{"half a pair is U+FFFD in UTF-8", "%.1ws", []nt.Addr{pairOf}, "\uFFFD", "\uFFFD"},
		{"UTF-8 becomes UTF-16", "%hs", []nt.Addr{utf8}, "ä€\U0001F600", "ä€\U0001F600"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var args, again Words
			for _, a := range c.args {
				args = append(args, uint64(a))
			}
			again = append(again, args...)
			var buf [256]byte
			n, _, err := FormatGuest(buf[:], m.str(c.format), false, &args)
			require.NoError(t, err)
			require.Equal(t, c.narrow, string(buf[:n]))
			n, _, err = FormatGuest(buf[:], m.wstr(c.format), true, &again)
			require.NoError(t, err)
			require.Equal(t, c.wide, text16(buf[:n]))
		})
	}

	t.Run("%s follows the format's kind, %S is the other", func(t *testing.T) {
		var buf [64]byte
		n, _, err := FormatGuest(buf[:], m.str("%s %S"), false, &Words{uint64(narrow), uint64(wide)})
		require.NoError(t, err)
		require.Equal(t, "narrow wide", string(buf[:n]))
		n, _, err = FormatGuest(buf[:], m.wstr("%s %S"), true, &Words{uint64(wide), uint64(narrow)})
		require.NoError(t, err)
		require.Equal(t, "wide narrow", text16(buf[:n]))
		n, _, err = FormatGuest(buf[:], m.wstr("%c %C %hc"), true, &Words{0x20AC, 'n', 'h'})
		require.NoError(t, err)
		require.Equal(t, "€ n h", text16(buf[:n]))
	})
}

func TestFormatReadsNoFartherThanTheString(t *testing.T) {
	m := newMemory(t)
	long := strings.Repeat("x", 700)
	for _, c := range []struct {
		name   string
		format string
		at     nt.Addr
		want   string
	}{
		{"narrow, up to the page's end", "%s", m.atEnd(append([]byte(long), 0)), long},
		{"narrow, with width", "%701s", m.atEnd(append([]byte(long), 0)), " " + long},
		{"precision, no NUL", "%.700s", m.atEnd([]byte(long)), long},
		{"precision, no NUL, with width", "%701.700s", m.atEnd([]byte(long)), " " + long},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.atEnd(append([]byte(long), 0))
			if strings.Contains(c.name, "no NUL") {
				m.atEnd([]byte(long))
			}
			buf := make([]byte, 1024)
			n, _, err := Format(buf, c.format, &Words{uint64(c.at)})
			require.NoError(t, err)
			require.Equal(t, c.want, string(buf[:n]))
		})
	}
	t.Run("wide", func(t *testing.T) {
		at := m.atEnd(unitBytes(append(u16(long), 0)))
		buf := make([]byte, 1024)
		n, _, err := Format(buf, "%ws", &Words{uint64(at)})
		require.NoError(t, err)
		require.Equal(t, long, string(buf[:n]))
	})
	t.Run("wide, high surrogate last", func(t *testing.T) {
		at := m.atEnd(unitBytes([]uint16{'a', 0xD83D}))
		var buf [16]byte
		n, _, err := Format(buf[:], "%.2ws", &Words{uint64(at)})
		require.NoError(t, err)
		require.Equal(t, "a\uFFFD", string(buf[:n]))
	})
	t.Run("format", func(t *testing.T) {
		var buf [16]byte
		n, _, err := FormatGuest(buf[:], m.atEnd([]byte("a%d\x00")), false, &Words{5})
		require.NoError(t, err)
		require.Equal(t, "a5", string(buf[:n]))
	})
}

func TestFormatFaults(t *testing.T) {
	m := newMemory(t)
	var buf [64]byte
	for _, c := range []struct {
		name   string
		format string
		arg    nt.Addr
		at     nt.Addr
	}{
		{"%s of a bad pointer", "ab%s", unmapped, unmapped},
		{"%ws of a bad pointer", "ab%ws", unmapped, unmapped},
		{"%Z of a bad pointer", "ab%Z", unmapped, unmapped},
		{"%wZ of a bad pointer", "ab%wZ", unmapped, unmapped},
		{"%wZ with a bad buffer", "ab%wZ", m.counted(4, 4, unmapped), unmapped},
		{"a string without NUL", "ab%.0s%s", m.atEnd([]byte("xyz")), m.region.End()},
		{"with width", "ab%9s", unmapped, unmapped},
	} {
		t.Run(c.name, func(t *testing.T) {
			words := Words{uint64(c.arg)}
			if strings.Contains(c.format, "%.0s") {
				words = Words{0, uint64(c.arg)}
			}
			n, _, err := Format(buf[:], c.format, &words)
			requireFault(t, err, c.at)
			require.ErrorIs(t, err, nt.STATUS_ACCESS_VIOLATION)
			require.Equal(t, "ab", string(buf[:2]))
			require.GreaterOrEqual(t, n, 2)
		})
	}
	t.Run("the format itself", func(t *testing.T) {
		_, _, err := FormatGuest(buf[:], 0, false, &Words{})
		requireFault(t, err, 0)
		_, _, err = FormatGuest(buf[:], unmapped, true, &Words{})
		requireFault(t, err, unmapped)
		n, _, err := FormatGuest(buf[:], m.atEnd([]byte("no end")), false, &Words{})
		requireFault(t, err, m.region.End())
		require.Equal(t, "no end", string(buf[:n]))
	})
	t.Run("%n is refused", func(t *testing.T) {
		n, _, err := Format(buf[:], "ab%n", &Words{uint64(m.alloc(8))})
		require.ErrorIs(t, err, ErrFormat)
		require.Equal(t, 2, n)
	})
	t.Run("arguments that end", func(t *testing.T) {
		_, _, err := Format(buf[:], "%d", &Words{})
		require.ErrorIs(t, err, nt.STATUS_INVALID_PARAMETER)
		_, _, err = Format(buf[:], "%d", &VaList{At: unmapped})
		requireFault(t, err, unmapped)
	})
}

func TestFormatAbsurdSizes(t *testing.T) {
	m := newMemory(t)
	var buf [64]byte
	for _, format := range []string{
		"%999999999999999999999d", "%.999999999999999999999d", "%.2147483647f", "%2147483647s",
		"%2147483647.2147483647e", "%.2147483647a", "%0*d", "%2147483647wZ",
	} {
		t.Run(format, func(t *testing.T) {
			words := Words{0x7FFFFFFF, 0x7FFFFFFF, 0x7FFFFFFF}
			if strings.HasSuffix(format, "s") || strings.HasSuffix(format, "Z") {
				words = Words{0}
			}
			n, cut, err := Format(buf[:], format, &words)
			require.NoError(t, err)
			require.True(t, cut)
			require.Equal(t, len(buf), n)
		})
	}
	t.Run("measuring takes no time", func(t *testing.T) {
		n, err := Snprintf(0, 0, m.str("%2147483647d"), &Words{1})
		require.NoError(t, err)
		require.EqualValues(t, math.MaxInt32, n)
		n, err = Snprintf(0, 0, m.str("%2147483647d%d"), &Words{1, 2})
		require.NoError(t, err)
		require.EqualValues(t, -1, n)
	})
}

func TestArgs(t *testing.T) {
	m := newMemory(t)
	stack := m.alloc(64)
	for i := range 8 {
		require.NoError(t, guest.Store64(stack+nt.Addr(8*i), uint64(100+i)))
	}
	t.Run("a va_list is an array of slots", func(t *testing.T) {
		v := VaList{At: stack}
		for i := range 8 {
			w, err := v.Next(4)
			require.NoError(t, err)
			require.EqualValues(t, 100+i, w)
		}
	})
	t.Run("a call has four registers, then the stack", func(t *testing.T) {
		c := CallArgs{Regs: [4]uint64{0, 1, 2, 3}, Index: 2, Stack: stack}
		for _, want := range []uint64{2, 3, 100, 101} {
			w, err := c.Next(8)
			require.NoError(t, err)
			require.Equal(t, want, w)
		}
	})
}

func TestSnprintf(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		name  string
		count uintptr
		text  string
		ret   int32
		want  string // what the ten bytes of the buffer hold, '-' being untouched
	}{
		{"shorter than count", 5, "abc", 3, "abc\x00------"},
		{"count long: no NUL", 5, "abcde", 5, "abcde-----"},
		{"longer than count: cut, no NUL", 5, "abcdef", -1, "abcde-----"},
		{"empty", 5, "", 0, "\x00---------"},
		{"count 0", 0, "abc", -1, "----------"},
		{"count 0, nothing to write", 0, "", 0, "----------"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.reset()
			dst := m.bytes([]byte("----------"))
			n, err := Snprintf(dst, c.count, m.str("%s"), &Words{uint64(m.str(c.text))})
			require.NoError(t, err)
			require.Equal(t, c.ret, n)
			require.Equal(t, c.want, string(m.read(dst, 10)))

			wdst := m.bytes(unitBytes(u16("----------")))
			n, err = Snwprintf(wdst, c.count, m.wstr("%s"), &Words{uint64(m.wstr(c.text))})
			require.NoError(t, err)
			require.Equal(t, c.ret, n)
			require.Equal(t, c.want, m.wide(wdst, 10))
		})
	}
	t.Run("null pointers", func(t *testing.T) {
		dst := m.alloc(16)
		n, err := Snprintf(0, 5, m.str("x"), &Words{})
		require.NoError(t, err)
		require.EqualValues(t, -1, n)
		n, err = Snprintf(dst, 5, 0, &Words{})
		require.NoError(t, err)
		require.EqualValues(t, -1, n)
		n, err = Snprintf(0, 0, m.str("%d!"), &Words{12345})
		require.NoError(t, err)
		require.EqualValues(t, 6, n)
	})
	t.Run("%n gives -1", func(t *testing.T) {
		n, err := Snprintf(m.alloc(16), 16, m.str("%n"), &Words{uint64(m.alloc(4))})
		require.NoError(t, err)
		require.EqualValues(t, -1, n)
	})
	t.Run("a bad destination faults", func(t *testing.T) {
		_, err := Snprintf(unmapped, 16, m.str("abc"), &Words{})
		requireFault(t, err, unmapped)
		_, err = Sprintf(m.region.End()-2, m.str("abc"), &Words{})
		requireFault(t, err, m.region.End())
	})
}

func TestSprintf(t *testing.T) {
	m := newMemory(t)
	long := strings.Repeat("0123456789", 100)
	dst := m.alloc(4096)
	n, err := Sprintf(dst, m.str("<%s>"), &Words{uint64(m.str(long))})
	require.NoError(t, err)
	require.EqualValues(t, 1002, n)
	require.Equal(t, "<"+long+">", m.cstr(dst))
	n, err = Swprintf(dst, m.wstr("<%s>%I64x"), &Words{uint64(m.wstr(long)), 1 << 60})
	require.NoError(t, err)
	require.EqualValues(t, 1018, n)
	require.Equal(t, "<"+long+">1000000000000000", m.cwstr(dst))
}

func TestSprintfS(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		name        string
		size, count uintptr
		text        string
		ret         int32
		want        string
	}{
		{"sprintf_s that fits", 5, 5, "abcd", 4, "abcd"},
		{"sprintf_s that does not", 5, 5, "abcde", -1, ""},
		{"_TRUNCATE that fits", 5, Truncate, "abcd", 4, "abcd"},
		{"_TRUNCATE cuts", 5, Truncate, "abcdef", -1, "abcd"},
		{"count cuts", 10, 3, "abcdef", -1, "abc"},
		{"count is enough", 10, 6, "abcdef", 6, "abcdef"},
		{"count above size, and no room", 5, 20, "abcdef", -1, ""},
		{"size 0", 0, 1, "abc", -1, "----------"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.reset()
			dst := m.str("----------")
			n, err := SnprintfS(dst, c.size, c.count, m.str("%s"), &Words{uint64(m.str(c.text))})
			require.NoError(t, err)
			require.Equal(t, c.ret, n)
			require.Equal(t, c.want, m.cstr(dst))
			wdst := m.wstr("----------")
			n, err = SnwprintfS(wdst, c.size, c.count, m.wstr("%s"), &Words{uint64(m.wstr(c.text))})
			require.NoError(t, err)
			require.Equal(t, c.ret, n)
			require.Equal(t, c.want, m.cwstr(wdst))
		})
	}
}

func TestDbgPrint(t *testing.T) {
	m := newMemory(t)
	var buf [DbgPrintSize]byte
	n, err := DbgPrint(&buf, "echo: ", m.str("%wZ = %d\n"), &Words{uint64(m.ustr(`\Device\Echo`)), 3})
	require.NoError(t, err)
	require.Equal(t, "echo: \\Device\\Echo = 3\n", string(buf[:n]))

	n, err = DbgPrint(&buf, "", m.str("%600d"), &Words{3})
	require.NoError(t, err)
	require.Equal(t, strings.Repeat(" ", 511)+"\n", string(buf[:n]))
}

func TestFormatDoesNotAllocate(t *testing.T) {
	m := newMemory(t)
	format := m.str("%s %wZ %08x %I64d %p\n")
	args := VaList{}
	slots := m.alloc(64)
	for i, v := range []uint64{uint64(m.str("text")), uint64(m.ustr("Unicode")), 5, 6, 7} {
		require.NoError(t, guest.Store64(slots+nt.Addr(8*i), v))
	}
	var buf [DbgPrintSize]byte
	var src Args = &args
	require.Zero(t, testing.AllocsPerRun(100, func() {
		args.At = slots
		if n, err := DbgPrint(&buf, "", format, src); err != nil || n == 0 {
			panic(errors.Join(err))
		}
	}))
}

func BenchmarkDbgPrint(b *testing.B) {
	m := newMemory(b)
	format := m.str("%s %wZ %08x\n")
	slots := m.alloc(64)
	for i, v := range []uint64{uint64(m.str("text")), uint64(m.ustr("Unicode")), 5} {
		require.NoError(b, guest.Store64(slots+nt.Addr(8*i), v))
	}
	var buf [DbgPrintSize]byte
	args := new(VaList)
	b.ReportAllocs()
	for b.Loop() {
		args.At = slots
		if _, err := DbgPrint(&buf, "", format, args); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzFormat: any format string with any arguments gives a result or an error.
func FuzzFormat(f *testing.F) {
	for _, s := range []string{"%d %s", "%wZ", "%*.*f", "%-+ #0999999999d", "%I64x%I32x%Iq", "%hhc%lc%ws",
		"%.1100g", "%.13a", "%n", "%"} {
		f.Add([]byte(s), uint64(5), uint64(0x7FFFFFFF), uint64(0), false)
	}
	m := newMemory(f)
	text := uint64(m.wstr("some text \U0001F600"))
	header := uint64(m.ustr("counted"))
	dst := m.alloc(600)
	format := m.alloc(0x1000)
	base := m.used
	f.Fuzz(func(t *testing.T, s []byte, a, b, c uint64, wide bool) {
		m.used = base
		s = append(s[:min(len(s), 2000):min(len(s), 2000)], 0, 0, 0)
		if err := guest.Write(format, s); err != nil {
			t.Fatal(err)
		}
		args := Words{a, b, c, text, header, text, header, a, b, c}
		buf := make([]byte, 300)
		n, _, _ := FormatGuest(buf, format, wide, &args)
		if n > len(buf) {
			t.Fatalf("%d bytes of %d", n, len(buf))
		}
		if err := guest.Fill(dst, 0xEE, 600); err != nil {
			t.Fatal(err)
		}
		args = Words{text, header, a, b, c, text, header}
		if wide {
			_, _ = SnwprintfS(dst, 250, Truncate, format, &args)
		} else {
			_, _ = Snprintf(dst, 500, format, &args)
		}
		if v, err := guest.Load8(dst + 500); err != nil || v != 0xEE {
			t.Fatalf("wrote past the destination: %x, %v", v, err)
		}
	})
}
