package rtl

// Comparison, hashing and number conversion of counted UTF-16 text in Go memory.

import (
	"math/bits"

	"github.com/drvhost/drvhost/nt"
)

// CompareUnicode is RtlCompareUnicodeString on Go values: negative, zero or positive as a sorts
// before, with or after b. Units are compared, after upcasing if fold is set.
func CompareUnicode(a, b []uint16, fold bool) int32 {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		if x != y && fold {
			x, y = UpcaseUnicodeChar(x), UpcaseUnicodeChar(y)
		}
		if x != y {
			return int32(x) - int32(y)
		}
	}
	return int32(len(a) - len(b))
}

// EqualUnicode is RtlEqualUnicodeString on Go values.
func EqualUnicode(a, b []uint16, fold bool) bool {
	return len(a) == len(b) && CompareUnicode(a, b, fold) == 0
}

// PrefixUnicode is RtlPrefixUnicodeString on Go values: s starts with prefix.
func PrefixUnicode(prefix, s []uint16, fold bool) bool {
	return len(prefix) <= len(s) && CompareUnicode(prefix, s[:len(prefix)], fold) == 0
}

// UpcaseUnicode maps s in place.
func UpcaseUnicode(s []uint16) {
	for i, c := range s {
		s[i] = UpcaseUnicodeChar(c)
	}
}

// DowncaseUnicode maps s in place.
func DowncaseUnicode(s []uint16) {
	for i, c := range s {
		s[i] = DowncaseUnicodeChar(c)
	}
}

// The algorithms of RtlHashUnicodeString.
const (
	HASH_STRING_ALGORITHM_DEFAULT = 0 // x65599
	HASH_STRING_ALGORITHM_X65599  = 1
)

// HashUnicode is RtlHashUnicodeString on Go values: x65599 over the units, upcased if fold is set.
// Another algorithm is STATUS_INVALID_PARAMETER.
func HashUnicode(s []uint16, fold bool, algorithm uint32) (uint32, error) {
	if algorithm > HASH_STRING_ALGORITHM_X65599 {
		return 0, nt.STATUS_INVALID_PARAMETER
	}
	var h uint32
	for _, c := range s {
		if fold {
			c = UpcaseUnicodeChar(c)
		}
		h = h*65599 + uint32(c)
	}
	return h, nil
}

// Positions and options of FindCharInUnicode (RTL_FIND_CHAR_IN_UNICODE_STRING_*).
const (
	FindCharFromEnd       = 1 // search backwards
	FindCharComplementSet = 2 // look for a unit that is not in the set
	FindCharFold          = 4 // compare without case
)

// FindCharInUnicode is RtlFindCharInUnicodeString on Go values. The position is in bytes: behind
// the unit found when searching forwards, before it when searching backwards. STATUS_NOT_FOUND if
// there is none, STATUS_INVALID_PARAMETER for an unknown flag.
func FindCharInUnicode(flags uint32, s, set []uint16) (uint16, error) {
	if flags&^(FindCharFromEnd|FindCharComplementSet|FindCharFold) != 0 {
		return 0, nt.STATUS_INVALID_PARAMETER
	}
	in := func(c uint16) bool {
		for _, d := range set {
			if c == d || flags&FindCharFold != 0 && UpcaseUnicodeChar(c) == UpcaseUnicodeChar(d) {
				return true
			}
		}
		return false
	}
	want := flags&FindCharComplementSet == 0
	for k := range s {
		i := k
		if flags&FindCharFromEnd != 0 {
			i = len(s) - 1 - k
		}
		if in(s[i]) != want {
			continue
		}
		// The result of Windows is the number of bytes before the found unit, plus, when searching
		// forwards, that unit.
		if flags&FindCharFromEnd != 0 {
			return uint16(i * 2), nil
		}
		return uint16((i + 1) * 2), nil
	}
	return 0, nt.STATUS_NOT_FOUND
}

// parseInteger reads a number as RtlUnicodeStringToInteger and RtlCharToInteger do: white space is
// all units up to ' ', one sign, with base 0 the prefixes 0x, 0o and 0b, then digits up to the
// first unit that is none. Overflow wraps. next gives the units, and 0 at the end.
func parseInteger(base uint32, next func() (uint16, error)) (uint32, error) {
	switch base {
	case 0, 2, 8, 10, 16:
	default:
		return 0, nt.STATUS_INVALID_PARAMETER
	}
	c, err := next()
	for err == nil && c != 0 && c <= ' ' {
		c, err = next()
	}
	negative := c == '-'
	if err == nil && (c == '-' || c == '+') {
		c, err = next()
	}
	if err == nil && base == 0 {
		base = 10
		if c == '0' {
			c, err = next()
			prefix := map[uint16]uint32{'x': 16, 'o': 8, 'b': 2}[c]
			if err == nil && prefix != 0 {
				base = prefix
				c, err = next()
			}
		}
	}
	var v uint32
	for err == nil {
		d, ok := digitValue(c)
		if !ok || d >= base {
			break
		}
		v = v*base + d
		c, err = next()
	}
	if negative {
		v = -v
	}
	return v, err
}

// digitValue gives the value of 0-9, a-z and A-Z.
func digitValue(c uint16) (uint32, bool) {
	switch {
	case c >= '0' && c <= '9':
		return uint32(c - '0'), true
	case c >= 'a' && c <= 'z':
		return uint32(c-'a') + 10, true
	case c >= 'A' && c <= 'Z':
		return uint32(c-'A') + 10, true
	}
	return 0, false
}

// UnicodeToInteger is RtlUnicodeStringToInteger on Go values. base is 0, 2, 8, 10 or 16, else
// STATUS_INVALID_PARAMETER.
func UnicodeToInteger(s []uint16, base uint32) (uint32, error) {
	i := 0
	return parseInteger(base, func() (uint16, error) {
		if i >= len(s) {
			return 0, nil
		}
		i++
		return s[i-1], nil
	})
}

// formatInteger writes v's digits (upper case) to the end of buf. base 0 means 10; a base other
// than 2, 8, 10 and 16 is STATUS_INVALID_PARAMETER.
func formatInteger(buf *[64]byte, v uint64, base uint32) ([]byte, error) {
	switch base {
	case 0:
		base = 10
	case 2, 8, 10, 16:
	default:
		return nil, nt.STATUS_INVALID_PARAMETER
	}
	i := len(buf)
	for {
		var d uint64
		v, d = bits64(v, uint64(base))
		i--
		buf[i] = "0123456789ABCDEF"[d]
		if v == 0 {
			return buf[i:], nil
		}
	}
}

func bits64(v, base uint64) (quotient, remainder uint64) { return bits.Div64(0, v, base) }
