package rtl

// Upper and lower case of WCHARs, as the kernel's NLS tables (l_intl.nls) map them.
//
// Windows maps one BMP unit to one BMP unit, and, with few exceptions, only where the mapping goes
// back and forth: U+00B5 (micro sign), U+0131 (dotless i), U+017F (long s), the title-case letters
// U+01C5…, U+0345, the Greek symbols U+03D0… and U+1E9B stay as they are. So do U+00DF, which has
// no single upper-case form, and surrogates. Exceptions, all in the up-case table that the exFAT
// specification prints (section 7.2.5.1): final sigma U+03C2 becomes U+03A3, and of the Greek
// letters with iota subscript U+1FCC and U+1FFC become U+1FC3 and U+1FF3, not the other way about.
// The tables here are Go's Unicode tables under these rules, without what Unicode added after
// version 6.0.

import (
	"sync"
	"unicode"
)

type caseTables struct{ up, down [0x10000]uint16 }

// The tables take 256 KiB and are made when a character above U+007F is first mapped.
var nls = sync.OnceValue(func() *caseTables {
	t := new(caseTables)
	for i := range t.up {
		t.up[i], t.down[i] = uint16(i), uint16(i)
	}
	for i := range t.up {
		r := rune(i)
		u := unicode.ToUpper(r)
		if u == r || u > 0xFFFF || unicode.ToLower(u) != r || newerCase(r) {
			continue
		}
		t.up[r] = uint16(u)
		t.down[u] = uint16(r)
	}
	t.up[0x03C2] = 0x03A3
	t.up[0x1FC3], t.up[0x1FCC] = 0x1FC3, 0x1FC3
	t.up[0x1FF3], t.up[0x1FFC] = 0x1FF3, 0x1FF3
	return t
})

// newerCase tells lower-case letters whose mapping came with Unicode 6.1 or later.
func newerCase(r rune) bool {
	switch {
	case r >= 0x10D0 && r <= 0x10FF, // Georgian, 11.0
		r >= 0x13F8 && r <= 0x13FD, r >= 0xAB70 && r <= 0xABBF, // Cherokee, 8.0
		r >= 0x0528 && r <= 0x052F, // Cyrillic supplement, 7.0
		r >= 0xA698 && r <= 0xA69B, // Cyrillic extended B, 7.0
		r >= 0xA7AA && r <= 0xA7F6, // Latin extended D, 6.1 and later
		r >= 0x10FD && r <= 0x10FF:
		return true
	}
	switch r {
	case 0x025C, 0x0261, 0x0266, 0x026A, 0x026C, 0x0282, 0x0287, 0x029D, 0x029E, 0x03F3,
		0x1D8E, 0x2C5F, 0x2CF3, 0x2D27, 0x2D2D, 0xA793, 0xA794, 0xA797, 0xA799, 0xA79B, 0xA79D,
		0xA79F, 0xAB53:
		return true
	}
	return false
}

// UpcaseUnicodeChar is RtlUpcaseUnicodeChar.
func UpcaseUnicodeChar(c uint16) uint16 {
	if c < 0x80 {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		return c
	}
	return nls().up[c]
}

// DowncaseUnicodeChar is RtlDowncaseUnicodeChar.
func DowncaseUnicodeChar(c uint16) uint16 {
	if c < 0x80 {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}
	return nls().down[c]
}

// UpperChar is RtlUpperChar: bytes above 0x7F are parts of a UTF-8 sequence and stay.
func UpperChar(c byte) byte {
	if c >= 'a' && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}
