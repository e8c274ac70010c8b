package rtl

// Numbers and GUIDs in UNICODE_STRINGs.

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// UnicodeStringToInteger is RtlUnicodeStringToInteger; see [UnicodeToInteger].
func UnicodeStringToInteger(a nt.Addr, base uint32) (uint32, error) {
	s, err := LoadUnicode(a)
	if err != nil {
		return 0, err
	}
	return UnicodeToInteger(s, base)
}

// CharToInteger is RtlCharToInteger: the number at the NUL-terminated a, as [UnicodeToInteger].
func CharToInteger(a nt.Addr, base uint32) (uint32, error) {
	var c cursor[uint8]
	c.start(a)
	return parseInteger(base, func() (uint16, error) {
		u, err := c.get()
		return uint16(u), err
	})
}

// setASCII stores ASCII text in the buffer of a UNICODE_STRING: STATUS_BUFFER_OVERFLOW if it does
// not fit, a NUL behind it if that fits too.
func setASCII(dst nt.Addr, text []byte) error {
	d, err := loadString(dst)
	if err != nil {
		return err
	}
	if len(text)*2 > int(d.MaximumLength) {
		return nt.STATUS_BUFFER_OVERFLOW
	}
	var w writer[uint16]
	w.start(d.Buffer)
	for _, c := range text {
		if err := w.put(uint16(c)); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	if err := storeLength(dst, uint16(len(text)*2)); err != nil {
		return err
	}
	return terminate(d, uint16(len(text)*2))
}

// IntegerToUnicodeString is RtlIntegerToUnicodeString. base is 0 (10), 2, 8, 10 or 16, else
// STATUS_INVALID_PARAMETER; STATUS_BUFFER_OVERFLOW if dst's buffer is too small.
func IntegerToUnicodeString(v, base uint32, dst nt.Addr) error {
	return Int64ToUnicodeString(uint64(v), base, dst)
}

// Int64ToUnicodeString is RtlInt64ToUnicodeString; see [IntegerToUnicodeString].
func Int64ToUnicodeString(v uint64, base uint32, dst nt.Addr) error {
	var buf [64]byte
	text, err := formatInteger(&buf, v, base)
	if err != nil {
		return err
	}
	return setASCII(dst, text)
}

// IntegerToChar is RtlIntegerToChar: the digits of v in size bytes at dst, with a NUL if there is
// room; STATUS_BUFFER_OVERFLOW if the digits do not fit.
func IntegerToChar(v, base, size uint32, dst nt.Addr) error {
	var buf [64]byte
	text, err := formatInteger(&buf, uint64(v), base)
	if err != nil {
		return err
	}
	if uint64(len(text)) > uint64(size) {
		return nt.STATUS_BUFFER_OVERFLOW
	}
	if err := guest.Write(dst, text); err != nil {
		return err
	}
	if uint64(len(text)) < uint64(size) {
		return guest.Store8(dst+nt.Addr(len(text)), 0)
	}
	return nil
}

const guidChars = 38 // {8-4-4-4-12}

// GUIDString gives the text of a GUID, in upper case and braces.
func GUIDString(g nt.GUID) string {
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, guidChars)
	put := func(v uint64, n int) {
		for i := n - 1; i >= 0; i-- {
			b = append(b, digits[v>>(4*i)&0xF])
		}
	}
	b = append(b, '{')
	put(uint64(g.Data1), 8)
	b = append(b, '-')
	put(uint64(g.Data2), 4)
	b = append(b, '-')
	put(uint64(g.Data3), 4)
	for i, c := range g.Data4 {
		if i == 0 || i == 2 {
			b = append(b, '-')
		}
		put(uint64(c), 2)
	}
	return string(append(b, '}'))
}

// ParseGUID reads "{8-4-4-4-12}" with hexadecimal digits of either case; anything else is
// STATUS_INVALID_PARAMETER. Text behind the closing brace is ignored, as RtlGUIDFromString does.
func ParseGUID(s []uint16) (nt.GUID, error) {
	const form = "{hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh}"
	var g nt.GUID
	if len(s) < len(form) {
		return g, nt.STATUS_INVALID_PARAMETER
	}
	var v [32]uint64
	n := 0
	for i, f := range []byte(form) {
		if f != 'h' {
			if s[i] != uint16(f) {
				return g, nt.STATUS_INVALID_PARAMETER
			}
			continue
		}
		d, ok := digitValue(s[i])
		if !ok || d > 15 {
			return g, nt.STATUS_INVALID_PARAMETER
		}
		v[n] = uint64(d)
		n++
	}
	number := func(from, count int) (x uint64) {
		for _, d := range v[from : from+count] {
			x = x<<4 | d
		}
		return x
	}
	g.Data1 = uint32(number(0, 8))
	g.Data2 = uint16(number(8, 4))
	g.Data3 = uint16(number(12, 4))
	for i := range g.Data4 {
		g.Data4[i] = byte(number(16+2*i, 2))
	}
	return g, nil
}

func loadGUID(a nt.Addr) (nt.GUID, error) {
	var b [16]byte
	if err := guest.Read(b[:], a); err != nil {
		return nt.GUID{}, err
	}
	g := nt.GUID{
		Data1: uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24,
		Data2: uint16(b[4]) | uint16(b[5])<<8,
		Data3: uint16(b[6]) | uint16(b[7])<<8,
	}
	copy(g.Data4[:], b[8:])
	return g, nil
}

// StringFromGUID is RtlStringFromGUID: dst gets a buffer from alloc with the GUID's text and a NUL.
func StringFromGUID(guid, dst nt.Addr, alloc Alloc) error {
	g, err := loadGUID(guid)
	if err != nil {
		return err
	}
	buf, err := alloc((guidChars + 1) * 2)
	if err != nil {
		return err
	}
	s := nt.UnicodeString{MaximumLength: (guidChars + 1) * 2, Buffer: buf}
	if err := storeString(dst, s); err != nil {
		return err
	}
	return setASCII(dst, []byte(GUIDString(g)))
}

// GUIDFromString is RtlGUIDFromString: STATUS_INVALID_PARAMETER for a malformed text.
func GUIDFromString(src, guid nt.Addr) error {
	s, err := LoadUnicode(src)
	if err != nil {
		return err
	}
	g, err := ParseGUID(s)
	if err != nil {
		return err
	}
	b := [16]byte{
		byte(g.Data1), byte(g.Data1 >> 8), byte(g.Data1 >> 16), byte(g.Data1 >> 24),
		byte(g.Data2), byte(g.Data2 >> 8), byte(g.Data3), byte(g.Data3 >> 8),
	}
	copy(b[8:], g.Data4[:])
	return guest.Write(guid, b[:])
}
