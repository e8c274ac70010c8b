package guest

import (
	"strings"
	"testing"

	"github.com/drvhost/drvhost/nt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUTF16(t *testing.T) {
	for _, c := range []struct {
		name  string
		s     string
		units []uint16
	}{
		{"empty", "", nil},
		{"ASCII", `\Device\Echo`, []uint16{'\\', 'D', 'e', 'v', 'i', 'c', 'e', '\\', 'E', 'c', 'h', 'o'}},
		{"zero units stay", "a\x00b", []uint16{'a', 0, 'b'}},
		{"two and three bytes", "é€", []uint16{0xE9, 0x20AC}},
		{"highest unit", "\uFFFF", []uint16{0xFFFF}},
		{"pair", "😀!", []uint16{0xD83D, 0xDE00, '!'}},
		{"high half alone", "\xED\xA0\xBD!", []uint16{0xD83D, '!'}},
		{"high half at the end", "x\xED\xA0\xBD", []uint16{'x', 0xD83D}},
		{"low half alone", "\xED\xB8\x80", []uint16{0xDE00}},
		{"halves the wrong way round", "\xED\xB8\x80\xED\xA0\xBD", []uint16{0xDE00, 0xD83D}},
		{"high half twice", "\xED\xA0\xBD😀", []uint16{0xD83D, 0xD83D, 0xDE00}},
		{"replacement character", "\uFFFD", []uint16{0xFFFD}},
		{"before and behind the surrogates", "\uD7FF\uE000", []uint16{0xD7FF, 0xE000}},
	} {
		var b []byte
		for _, u := range c.units {
			b = append(b, byte(u), byte(u>>8))
		}
		assert.Equal(t, c.s, DecodeUTF16(b), c.name)
		assert.Equal(t, b, append([]byte(nil), EncodeUTF16(c.s)...), c.name)
	}
	assert.Equal(t, "a", DecodeUTF16([]byte{'a', 0, 'b'}), "a last odd byte")
	for _, bad := range []string{"\xFF", "\xC3", "\x80", "\xED", "\xE2\x82"} {
		for i, u := range EncodeUTF16(bad) {
			assert.Equal(t, []byte{0xFD, 0xFF}[i%2], u, "%q", bad)
		}
	}
}

func TestReadStrings(t *testing.T) {
	s := space(t)
	r := alloc(t, s, 3*PageSize, ProtRW)
	a := r.Base()
	require.NoError(t, Write(a, EncodeUTF16("\\Device\\Echo\x00tail")))
	tooLong := &StringError{}
	fault := &FaultError{}

	got, err := ReadUTF16(a, 14)
	require.NoError(t, err)
	assert.Equal(t, `\Device`, got)
	got, err = ReadUTF16(0, 0)
	require.NoError(t, err)
	assert.Empty(t, got)
	for _, n := range []int{1, 7, -1, -2, MaxStringBytes + 2} {
		_, err = ReadUTF16(a, n)
		assert.ErrorAs(t, err, &tooLong, "%d", n)
		assert.ErrorIs(t, err, nt.STATUS_INVALID_PARAMETER)
	}
	_, err = ReadUTF16(r.End()-4, 6)
	assert.ErrorAs(t, err, &fault)

	got, err = ReadUTF16Z(a, 100)
	require.NoError(t, err)
	assert.Equal(t, `\Device\Echo`, got)
	got, err = ReadUTF16Z(a, 12)
	require.NoError(t, err)
	assert.Equal(t, `\Device\Echo`, got, "exactly as many units as allowed")
	for _, max := range []int{11, 0, -1} {
		_, err = ReadUTF16Z(a, max)
		assert.ErrorAs(t, err, &tooLong, "%d", max)
	}
	got, err = ReadUTF16Z(a+24, 0)
	require.NoError(t, err)
	assert.Empty(t, got)

	// A string right before the end of the page, at even and odd addresses.
	for _, n := range []int{0, 1, 63, 64, 65, 500} {
		want := strings.Repeat("x", n)
		text := append(EncodeUTF16(want), 0, 0)
		for _, at := range []Addr{r.End() - Addr(len(text)), a + PageSize - Addr(len(text)/2) - 1} {
			require.NoError(t, Write(at, text))
			got, err = ReadUTF16Z(at, MaxStringBytes)
			require.NoError(t, err, "%d at %v", n, at)
			assert.Equal(t, want, got)
		}
		text = append([]byte(want), 0)
		require.NoError(t, Write(r.End()-Addr(len(text)), text))
		got, err = ReadCString(r.End()-Addr(len(text)), MaxStringBytes)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	require.NoError(t, Fill(a, 'x', r.Size()))
	_, err = ReadUTF16Z(a, MaxStringBytes)
	assert.Equal(t, &FaultError{r.End(), AccessRead}, err)
	_, err = ReadCString(a, MaxStringBytes)
	assert.Equal(t, &FaultError{r.End(), AccessRead}, err)
	_, err = ReadCString(a, 100)
	assert.ErrorAs(t, err, &tooLong)
	_, err = ReadCString(a, -1<<63)
	assert.ErrorAs(t, err, &tooLong)
}

func TestReadCountedStrings(t *testing.T) {
	s := space(t)
	r := alloc(t, s, PageSize, ProtRW)
	text := r.Base() + 0x100
	require.NoError(t, Write(text, EncodeUTF16("Echo")))
	for _, c := range []struct {
		name       string
		h          nt.UnicodeString
		unicode    string
		ansi       string
		unicodeErr error
		ansiErr    error
	}{
		{"empty, buffer null", nt.UnicodeString{}, "", "", nil, nil},
		{"empty, buffer bad", nt.UnicodeString{Buffer: 8}, "", "", nil, nil},
		{"four units", nt.UnicodeString{Length: 8, MaximumLength: 10, Buffer: text}, "Echo",
			"E\x00c\x00h\x00o\x00", nil, nil},
		{"longer than its maximum", nt.UnicodeString{Length: 4, Buffer: text}, "Ec", "E\x00c\x00", nil,
			nil},
		{"odd length", nt.UnicodeString{Length: 3, Buffer: text}, "", "E\x00c", &StringError{text,
			"3 bytes long, an odd number, for 16-bit units"}, nil},
		{"null buffer", nt.UnicodeString{Length: 2}, "", "", &FaultError{0, AccessRead},
			&FaultError{0, AccessRead}},
		{"buffer that ends too early", nt.UnicodeString{Length: 0xFFFE, Buffer: text}, "", "",
			&FaultError{r.End(), AccessRead}, &FaultError{r.End(), AccessRead}},
	} {
		require.NoError(t, Ptr[nt.UnicodeString](r.Base()).Store(c.h))
		got, err := ReadUnicodeString(r.Base())
		assert.Equal(t, c.unicode, got, c.name)
		assert.Equal(t, c.unicodeErr, err, c.name)
		got, err = ReadAnsiString(r.Base())
		assert.Equal(t, c.ansi, got, c.name)
		assert.Equal(t, c.ansiErr, err, c.name)
	}
	_, err := ReadUnicodeString(r.End() - 8)
	assert.Equal(t, &FaultError{r.End(), AccessRead}, err)
	_, err = ReadAnsiString(0)
	assert.Equal(t, &FaultError{0, AccessRead}, err)
}

func FuzzUTF16(f *testing.F) {
	f.Add([]byte("a\x00\x3d\xd8\x00\xde\x00\xde"))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:len(b)&^1]
		assert.Equal(t, string(b), string(EncodeUTF16(DecodeUTF16(b))))
	})
}
