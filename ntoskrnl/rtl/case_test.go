package rtl

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The facts are rows of the up-case table in the exFAT specification, section 7.2.5.1.
func TestUpcaseUnicodeChar(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to uint16
	}{
		{"ASCII letter", 'z', 'Z'},
		{"no letter", '{', '{'},
		{"Latin 1", 0xE4, 0xC4},
		{"division sign", 0xF7, 0xF7},
		{"y with diaeresis leaves Latin 1", 0xFF, 0x178},
		{"sharp s", 0xDF, 0xDF},
		{"micro sign", 0xB5, 0xB5},
		{"dotless i", 0x131, 0x131},
		{"dotted I", 0x130, 0x130},
		{"kra", 0x138, 0x138},
		{"n preceded by apostrophe", 0x149, 0x149},
		{"long s", 0x17F, 0x17F},
		{"b with stroke", 0x180, 0x243},
		{"title-case Dz", 0x1C5, 0x1C5},
		{"small dz", 0x1C6, 0x1C4},
		{"j with caron", 0x1F0, 0x1F0},
		{"a with stroke", 0x23A, 0x23A},
		{"l with middle tilde", 0x26B, 0x2C62},
		{"dotted i below", 0x345, 0x345},
		{"alpha with tonos", 0x3AC, 0x386},
		{"sigma", 0x3C3, 0x3A3},
		{"final sigma", 0x3C2, 0x3A3},
		{"Greek beta symbol", 0x3D0, 0x3D0},
		{"lunate sigma", 0x3F2, 0x3F9},
		{"Cyrillic", 0x44F, 0x42F},
		{"palochka", 0x4CF, 0x4C0},
		{"Armenian", 0x586, 0x556},
		{"Armenian ligature", 0x587, 0x587},
		{"Georgian", 0x10D0, 0x10D0},
		{"p with stroke", 0x1D7D, 0x2C63},
		{"long s with dot", 0x1E9B, 0x1E9B},
		{"alpha with psili", 0x1F00, 0x1F08},
		{"omega with iota subscript", 0x1FF3, 0x1FF3},
		{"capital omega with prosgegrammeni", 0x1FFC, 0x1FF3},
		{"eta with iota subscript", 0x1FC3, 0x1FC3},
		{"capital eta with prosgegrammeni", 0x1FCC, 0x1FC3},
		{"alpha with iota subscript", 0x1FB3, 0x1FBC},
		{"prosgegrammeni", 0x1FBE, 0x1FBE},
		{"Kelvin sign", 0x212A, 0x212A},
		{"turned small f", 0x214E, 0x2132},
		{"small roman numeral", 0x2170, 0x2160},
		{"circled letter", 0x24E9, 0x24CF},
		{"Glagolitic", 0x2C30, 0x2C00},
		{"Georgian nuskhuri", 0x2D00, 0x10A0},
		{"Cherokee", 0xAB70, 0xAB70},
		{"surrogate", 0xD835, 0xD835},
		{"full width", 0xFF5A, 0xFF3A},
		{"the last unit", 0xFFFF, 0xFFFF},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.to, UpcaseUnicodeChar(c.from)) })
	}
}

func TestDowncaseUnicodeChar(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to uint16
	}{
		{"ASCII letter", 'Z', 'z'},
		{"no letter", '[', '['},
		{"Latin 1", 0xC4, 0xE4},
		{"multiplication sign", 0xD7, 0xD7},
		{"Y with diaeresis", 0x178, 0xFF},
		{"B with hook", 0x181, 0x253},
		{"reversed E", 0x18E, 0x1DD},
		{"Esh", 0x1A9, 0x283},
		{"capital Dz", 0x1C4, 0x1C6},
		{"title-case Dz", 0x1C5, 0x1C5},
		{"dotted I", 0x130, 0x130},
		{"sigma", 0x3A3, 0x3C3},
		{"Kelvin sign", 0x212A, 0x212A},
		{"Ohm sign", 0x2126, 0x2126},
		{"capital sharp s", 0x1E9E, 0x1E9E},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.to, DowncaseUnicodeChar(c.from)) })
	}
}

func TestUpcaseIsIdempotent(t *testing.T) {
	for i := range 0x10000 {
		u := UpcaseUnicodeChar(uint16(i))
		require.Equal(t, u, UpcaseUnicodeChar(u), "U+%04X", i)
	}
}

func TestUpperChar(t *testing.T) {
	for i := range 256 {
		want := byte(i)
		if want >= 'a' && want <= 'z' {
			want -= 32
		}
		require.Equal(t, want, UpperChar(byte(i)))
	}
}
