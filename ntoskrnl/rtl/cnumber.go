package rtl

// Numbers and strings of the C runtime: atoi, strtoul and kin, _itoa and kin.

import (
	"math"

	"github.com/drvhost/drvhost/nt"
)

// number is what scan found.
type number struct {
	value    uint64
	negative bool
	overflow bool    // value did not fit 64 bits
	any      bool    // there was a digit
	end      nt.Addr // the first unit that is not part of the number
}

// scan reads white space, a sign, the prefix 0x where base allows it, and digits.
func scan[C char](s nt.Addr, base uint64) (number, error) {
	var n number
	var c cursor[C]
	c.start(s)
	n.end = s
	u, err := c.get()
	for err == nil && Isspace(int32(u)) != 0 {
		u, err = c.get()
	}
	if err == nil && (u == '-' || u == '+') {
		n.negative = u == '-'
		u, err = c.get()
	}
	if err != nil {
		return n, err
	}
	if u == '0' && (base == 0 || base == 16) {
		// "0" alone is a number; "0x" is a prefix, and without a digit behind it the number is "0".
		n.any = true
		n.end = c.addr()
		if u, err = c.get(); err != nil {
			return n, err
		}
		if u == 'x' || u == 'X' {
			base = 16
			if u, err = c.get(); err != nil {
				return n, err
			}
		} else if base == 0 {
			base = 8
		}
	}
	if base == 0 {
		base = 10
	}
	for {
		d, ok := digitValue(uint16(u))
		if !ok || uint64(d) >= base {
			return n, nil
		}
		if n.value > (math.MaxUint64-uint64(d))/base {
			n.overflow = true
		}
		n.value = n.value*base + uint64(d)
		n.any = true
		n.end = c.addr()
		if u, err = c.get(); err != nil {
			return n, err
		}
	}
}

// Atoi is atoi and atol; a number that is too large is cut to INT_MAX or INT_MIN.
func Atoi(s nt.Addr) (int32, error) { return saturate32(scan[uint8](s, 10)) }

// Wtoi is _wtoi and _wtol.
func Wtoi(s nt.Addr) (int32, error) { return saturate32(scan[uint16](s, 10)) }

// Atoi64 is _atoi64.
func Atoi64(s nt.Addr) (int64, error) { return saturate64(scan[uint8](s, 10)) }

// Wtoi64 is _wtoi64.
func Wtoi64(s nt.Addr) (int64, error) { return saturate64(scan[uint16](s, 10)) }

func saturate32(n number, err error) (int32, error) {
	v, err := saturate64(n, err)
	return int32(max(min(v, math.MaxInt32), math.MinInt32)), err
}

func saturate64(n number, err error) (int64, error) {
	switch {
	case err != nil:
		return 0, err
	case n.negative && (n.overflow || n.value > 1<<63):
		return math.MinInt64, nil
	case n.negative:
		return -int64(n.value), nil
	case n.overflow || n.value > math.MaxInt64:
		return math.MaxInt64, nil
	}
	return int64(n.value), nil
}

// strto reads a number in base 0 or 2 to 36; end is s if there is none or the base is invalid.
func strto[C char](s nt.Addr, base int32) (number, error) {
	if base < 0 || base == 1 || base > 36 {
		return number{end: s}, nil
	}
	return scan[C](s, uint64(base))
}

func toLong(n number, err error) (int32, nt.Addr, error) {
	v, err := saturate32(n, err)
	return v, n.end, err
}

func toUlong(n number, err error) (uint32, nt.Addr, error) {
	if err != nil {
		return 0, n.end, err
	}
	if n.overflow || n.value > math.MaxUint32 {
		return math.MaxUint32, n.end, nil
	}
	v := uint32(n.value)
	if n.negative {
		v = -v
	}
	return v, n.end, nil
}

func toI64(n number, err error) (int64, nt.Addr, error) {
	v, err := saturate64(n, err)
	return v, n.end, err
}

func toUI64(n number, err error) (uint64, nt.Addr, error) {
	if err != nil {
		return 0, n.end, err
	}
	if n.overflow {
		return math.MaxUint64, n.end, nil
	}
	v := n.value
	if n.negative {
		v = -v
	}
	return v, n.end, nil
}

// Strtol is strtol: the number, limited to LONG, and the address behind it (s if there is none).
func Strtol(s nt.Addr, base int32) (int32, nt.Addr, error) { return toLong(strto[uint8](s, base)) }

// Strtoul is strtoul: ULONG_MAX on overflow; a minus sign negates.
func Strtoul(s nt.Addr, base int32) (uint32, nt.Addr, error) {
	return toUlong(strto[uint8](s, base))
}

// Strtoi64 is _strtoi64.
func Strtoi64(s nt.Addr, base int32) (int64, nt.Addr, error) { return toI64(strto[uint8](s, base)) }

// Strtoui64 is _strtoui64.
func Strtoui64(s nt.Addr, base int32) (uint64, nt.Addr, error) {
	return toUI64(strto[uint8](s, base))
}

// Wcstol is wcstol.
func Wcstol(s nt.Addr, base int32) (int32, nt.Addr, error) { return toLong(strto[uint16](s, base)) }

// Wcstoul is wcstoul.
func Wcstoul(s nt.Addr, base int32) (uint32, nt.Addr, error) {
	return toUlong(strto[uint16](s, base))
}

// Wcstoi64 is _wcstoi64.
func Wcstoi64(s nt.Addr, base int32) (int64, nt.Addr, error) {
	return toI64(strto[uint16](s, base))
}

// Wcstoui64 is _wcstoui64.
func Wcstoui64(s nt.Addr, base int32) (uint64, nt.Addr, error) {
	return toUI64(strto[uint16](s, base))
}

// digits writes v in base to the end of buf, with a minus sign if negative; lower case.
func digits(buf *[65]byte, v uint64, base uint64, negative bool) []byte {
	i := len(buf)
	for {
		i--
		buf[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[v%base]
		if v /= base; v == 0 {
			break
		}
	}
	if negative {
		i--
		buf[i] = '-'
	}
	return buf[i:]
}

// Bits says how wide the number of an _itoa function is, and whether it has a sign.
type Bits uint8

// The kinds of number of the _itoa family.
const (
	Int32  Bits = iota // _itoa, _ltoa: in base 10 with a sign, else as unsigned 32 bits
	Uint32             // _ultoa
	Int64              // _i64toa: in base 10 with a sign, else as unsigned 64 bits
	Uint64             // _ui64toa
)

func digitsOf(buf *[65]byte, v uint64, kind Bits, base int32) []byte {
	negative := false
	switch kind {
	case Int32:
		v = uint64(uint32(v))
		if base == 10 && int32(v) < 0 {
			negative, v = true, uint64(-uint32(v))
		}
	case Uint32:
		v = uint64(uint32(v))
	case Int64:
		if base == 10 && int64(v) < 0 {
			negative, v = true, -v
		}
	}
	return digits(buf, v, uint64(base), negative)
}

func itoa[C char](v uint64, kind Bits, dst nt.Addr, base int32) error {
	if base < 2 || base > 36 {
		return store[C](dst, 0)
	}
	var buf [65]byte
	var w writer[C]
	w.start(dst)
	for _, c := range digitsOf(&buf, v, kind, base) {
		if err := w.put(C(c)); err != nil {
			return err
		}
	}
	if err := w.put(0); err != nil {
		return err
	}
	return w.flush()
}

// Itoa is _itoa, _ltoa, _ultoa, _i64toa and _ui64toa, by kind; base is 2 to 36. The row returns
// dst.
func Itoa(v uint64, kind Bits, dst nt.Addr, base int32) error {
	return itoa[uint8](v, kind, dst, base)
}

// Itow is _itow and kin.
func Itow(v uint64, kind Bits, dst nt.Addr, base int32) error {
	return itoa[uint16](v, kind, dst, base)
}

func itoaS[C char](v uint64, kind Bits, dst nt.Addr, size uintptr, base int32) (int32, error) {
	if dst == 0 || size == 0 {
		return EINVAL, nil
	}
	if base < 2 || base > 36 {
		return EINVAL, store[C](dst, 0)
	}
	var buf [65]byte
	if uintptr(len(digitsOf(&buf, v, kind, base))) >= size {
		return ERANGE, store[C](dst, 0)
	}
	return 0, itoa[C](v, kind, dst, base)
}

// ItoaS is _itoa_s and kin: EINVAL for a bad base or pointer, ERANGE if size is too small; dst then
// is an empty string.
func ItoaS(v uint64, kind Bits, dst nt.Addr, size uintptr, base int32) (int32, error) {
	return itoaS[uint8](v, kind, dst, size, base)
}

// ItowS is _itow_s and kin, with size in WCHARs.
func ItowS(v uint64, kind Bits, dst nt.Addr, size uintptr, base int32) (int32, error) {
	return itoaS[uint16](v, kind, dst, size, base)
}
