package rtl

// Floating-point conversions of the printf formatter, in the form of the Universal C Runtime:
// exponents of at least two digits, "inf", "nan", "nan(ind)".
//
// Windows' own kernel formatter has no floating-point conversions ("DbgPrint does not support any
// of the floating point types"); here they work, so that a driver's log shows the value.

import (
	"math"
	"strconv"
)

const (
	mostFraction = 1074 // digits behind the point that a float64 can have
	mostDigits   = 1074 + 310 + 16
)

// float prints e, E, f, F, g, G, a and A.
func (p *printer) float(s *spec, verb byte, v float64) error {
	upper := verb < 'a'
	if upper {
		verb += 'a' - 'A'
	}
	var prefix [3]byte
	np := 0
	bits := math.Float64bits(v)
	switch {
	case bits>>63 != 0:
		prefix[0], np = '-', 1
	case s.flags&flagPlus != 0:
		prefix[0], np = '+', 1
	case s.flags&flagSpace != 0:
		prefix[0], np = ' ', 1
	}
	bits &^= 1 << 63
	var buf [mostDigits]byte
	digits := buf[:0]
	zeros := 0 // zeros behind the digits, before the exponent
	var tail []byte
	switch {
	case bits >= 0x7FF<<52:
		s.flags &^= flagZero
		digits = append(digits, notFinite(bits, prefix[0] == '-')...)
	case verb == 'a':
		prefix[np], prefix[np+1] = '0', 'x'
		np += 2
		digits, zeros, tail = hexFloat(digits, bits, s.prec, s.flags&flagAlt != 0)
	default:
		digits, zeros, tail = decimalFloat(digits, math.Float64frombits(bits), verb, s)
	}
	if upper {
		toUpperASCII(prefix[:np])
		toUpperASCII(digits)
		toUpperASCII(tail)
	}
	return p.field(s, prefix[:np], 0, digits, zeros, tail)
}

func toUpperASCII(b []byte) {
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - ('a' - 'A')
		}
	}
}

func notFinite(bits uint64, negative bool) string {
	const quiet = 1 << 51
	switch {
	case bits == 0x7FF<<52:
		return "inf"
	case bits&quiet == 0:
		return "nan(snan)"
	case negative && bits == 0x7FF<<52|quiet:
		return "nan(ind)"
	}
	return "nan"
}

// decimalFloat gives mantissa digits, the zeros behind them and the exponent of e, f or g.
func decimalFloat(b []byte, v float64, verb byte, s *spec) (digits []byte, zeros int, tail []byte) {
	prec := s.prec
	if prec < 0 {
		prec = 6
	}
	alt := s.flags&flagAlt != 0
	strip := false
	if verb == 'g' {
		prec = max(prec, 1)
		// The exponent that %e would print decides between the two forms.
		probe := strconv.AppendFloat(b[:0], v, 'e', min(prec-1, mostFraction), 64)
		x := exponent(probe)
		verb = 'e'
		prec--
		if x >= -4 && x <= prec {
			verb = 'f'
			prec -= x
		}
		strip = !alt
	}
	b = strconv.AppendFloat(b[:0], v, verb, min(prec, mostFraction), 64)
	zeros = max(prec-mostFraction, 0)
	if verb == 'e' {
		i := len(b) - 1
		for b[i] != 'e' {
			i--
		}
		b, tail = b[:i:i], b[i:]
	}
	if strip {
		zeros = 0
		if prec > 0 {
			for b[len(b)-1] == '0' {
				b = b[:len(b)-1]
			}
			if b[len(b)-1] == '.' {
				b = b[:len(b)-1]
			}
		}
	} else if prec == 0 && alt {
		b = append(b, '.')
	}
	return b, zeros, tail
}

// exponent reads the number behind the 'e'.
func exponent(b []byte) int {
	i := len(b) - 1
	for b[i] != 'e' {
		i--
	}
	n := 0
	for _, c := range b[i+2:] {
		n = n*10 + int(c-'0')
	}
	if b[i+1] == '-' {
		return -n
	}
	return n
}

// hexFloat gives the digits of %a behind "0x": h.hhhp±d with 13 digits by default.
func hexFloat(b []byte, bits uint64, prec int, alt bool) (digits []byte, zeros int, tail []byte) {
	exp := int(bits >> 52)
	frac := bits & (1<<52 - 1)
	lead := uint64(1)
	switch {
	case bits == 0:
		exp, lead = 0, 0
	case exp == 0:
		exp, lead = -1022, 0
	default:
		exp -= 1023
	}
	if prec < 0 {
		prec = 13
	}
	m := lead<<52 | frac
	if prec < 13 {
		shift := uint(13-prec) * 4
		half := uint64(1) << (shift - 1)
		rest := m & (half<<1 - 1)
		m >>= shift
		if rest > half || rest == half && m&1 != 0 {
			m++
		}
		m <<= shift
	}
	b = strconv.AppendUint(b, m>>52, 16)
	if prec > 0 || alt {
		b = append(b, '.')
	}
	for i := range min(prec, 13) {
		b = append(b, "0123456789abcdef"[m>>(48-4*uint(i))&0xF])
	}
	tail = append(tail, 'p')
	if exp >= 0 {
		tail = append(tail, '+')
	}
	return b, max(prec-13, 0), strconv.AppendInt(tail, int64(exp), 10)
}
