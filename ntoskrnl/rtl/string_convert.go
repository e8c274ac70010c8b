package rtl

// Conversion between ANSI (UTF-8 here) and Unicode, counted and by length.

import (
	"unicode/utf8"

	"github.com/drvhost/drvhost/nt"
)

// multiByteTo streams n bytes at src into UTF-16 units, and says whether text was lost.
func multiByteTo(src nt.Addr, n uint32, put func(uint16) error) (lossy bool, err error) {
	var c cursor[uint8]
	c.start(src)
	var d utf8Decoder
	emit := func(r rune) error {
		if r > 0xFFFF {
			hi, lo := surrogates(r)
			if err := put(hi); err != nil {
				return err
			}
			return put(lo)
		}
		return put(uint16(r))
	}
	for ; n > 0; n-- {
		b, err := c.get()
		if err != nil {
			return d.bad, err
		}
		if err := d.add(b, emit); err != nil {
			return d.bad, err
		}
	}
	err = d.end(emit)
	return d.bad, err
}

// unicodeTo streams n units at src into UTF-8 sequences; mapping, if not nil, maps each unit first.
func unicodeTo(
	src nt.Addr, n uint32, mapping func(uint16) uint16, put func([]byte) error,
) (lossy bool, err error) {
	var c cursor[uint16]
	c.start(src)
	var b [utf8.UTFMax]byte
	for n > 0 {
		u, err := c.get()
		if err != nil {
			return lossy, err
		}
		n--
		if mapping != nil {
			u = mapping(u)
		}
		r := bmp(u)
		if isHighSurrogate(u) && n > 0 {
			v, err := c.peek()
			if err != nil {
				return lossy, err
			}
			if isLowSurrogate(v) {
				c.pos += 2
				n--
				r = pair(u, v)
			}
		}
		lossy = lossy || r == utf8.RuneError && u != utf8.RuneError
		if err := put(b[:utf8.EncodeRune(b[:], r)]); err != nil {
			return lossy, err
		}
	}
	return lossy, nil
}

// toUnicodeN converts into size bytes at dst. full is what the caller gets when dst is too small,
// nil for silence; bytes counts what was written.
func toUnicodeN(
	dst nt.Addr, size uint32, src nt.Addr, n uint32, full error,
) (bytes uint32, lossy bool, err error) {
	var w writer[uint16]
	w.start(dst)
	lossy, err = multiByteTo(src, n, func(u uint16) error {
		if size-bytes < 2 {
			return errFull
		}
		bytes += 2
		return w.put(u)
	})
	if e := w.flush(); e != nil {
		return bytes, lossy, e
	}
	if err == errFull {
		err = full
	}
	return bytes, lossy, err
}

func toMultiByteN(
	dst nt.Addr, size uint32, src nt.Addr, n uint32, mapping func(uint16) uint16, full error,
) (bytes uint32, lossy bool, err error) {
	var w writer[uint8]
	w.start(dst)
	lossy, err = unicodeTo(src, n/2, mapping, func(b []byte) error {
		if uint64(size-bytes) < uint64(len(b)) {
			return errFull
		}
		for _, c := range b {
			if err := w.put(c); err != nil {
				return err
			}
		}
		bytes += uint32(len(b))
		return nil
	})
	if e := w.flush(); e != nil {
		return bytes, lossy, e
	}
	if err == errFull {
		err = full
	}
	return bytes, lossy, err
}

// MultiByteToUnicodeN is RtlMultiByteToUnicodeN: n bytes at src become UTF-16 in at most size bytes
// at dst; what does not fit is left out without complaint. It returns the bytes written.
func MultiByteToUnicodeN(dst nt.Addr, size uint32, src nt.Addr, n uint32) (uint32, error) {
	bytes, _, err := toUnicodeN(dst, size, src, n, nil)
	return bytes, err
}

// UnicodeToMultiByteN is RtlUnicodeToMultiByteN, with n in bytes; it never cuts a character in two.
func UnicodeToMultiByteN(dst nt.Addr, size uint32, src nt.Addr, n uint32) (uint32, error) {
	bytes, _, err := toMultiByteN(dst, size, src, n, nil, nil)
	return bytes, err
}

// UpcaseUnicodeToMultiByteN is RtlUpcaseUnicodeToMultiByteN.
func UpcaseUnicodeToMultiByteN(dst nt.Addr, size uint32, src nt.Addr, n uint32) (uint32, error) {
	bytes, _, err := toMultiByteN(dst, size, src, n, UpcaseUnicodeChar, nil)
	return bytes, err
}

// MultiByteToUnicodeSize is RtlMultiByteToUnicodeSize: the bytes of UTF-16 that n bytes at src
// make.
func MultiByteToUnicodeSize(src nt.Addr, n uint32) (uint32, error) {
	var size uint32
	_, err := multiByteTo(src, n, func(uint16) error { size += 2; return nil })
	return size, err
}

// UnicodeToMultiByteSize is RtlUnicodeToMultiByteSize, with n in bytes.
func UnicodeToMultiByteSize(src nt.Addr, n uint32) (uint32, error) {
	var size uint32
	_, err := unicodeTo(src, n/2, nil, func(b []byte) error { size += uint32(len(b)); return nil })
	return size, err
}

// UTF8ToUnicodeN is RtlUTF8ToUnicodeN. With a null dst it only counts the bytes needed. Statuses:
// STATUS_SOME_NOT_MAPPED (a success) if invalid sequences became U+FFFD, STATUS_BUFFER_TOO_SMALL
// (with as much as fits written), STATUS_INVALID_PARAMETER_4 for a null src.
func UTF8ToUnicodeN(dst nt.Addr, size uint32, src nt.Addr, n uint32) (uint32, error) {
	if src == 0 {
		return 0, nt.STATUS_INVALID_PARAMETER_4
	}
	if dst == 0 {
		var bytes uint32
		lossy, err := multiByteTo(src, n, func(uint16) error { bytes += 2; return nil })
		return bytes, either(err, lossy)
	}
	bytes, lossy, err := toUnicodeN(dst, size, src, n, nt.STATUS_BUFFER_TOO_SMALL)
	return bytes, either(err, lossy)
}

// UnicodeToUTF8N is RtlUnicodeToUTF8N, with n in bytes, which must be even, else
// STATUS_INVALID_PARAMETER_5; see [UTF8ToUnicodeN].
func UnicodeToUTF8N(dst nt.Addr, size uint32, src nt.Addr, n uint32) (uint32, error) {
	if src == 0 {
		return 0, nt.STATUS_INVALID_PARAMETER_4
	}
	if n%2 != 0 {
		return 0, nt.STATUS_INVALID_PARAMETER_5
	}
	if dst == 0 {
		var bytes uint32
		lossy, err := unicodeTo(src, n/2, nil, func(b []byte) error {
			bytes += uint32(len(b))
			return nil
		})
		return bytes, either(err, lossy)
	}
	bytes, lossy, err := toMultiByteN(dst, size, src, n, nil, nt.STATUS_BUFFER_TOO_SMALL)
	return bytes, either(err, lossy)
}

func either(err error, lossy bool) error {
	if err != nil {
		return err
	}
	return mapped(lossy)
}

// AnsiStringToUnicodeSize is RtlxAnsiStringToUnicodeSize and RtlAnsiStringToUnicodeSize: the bytes
// of the Unicode form with its NUL.
func AnsiStringToUnicodeSize(a nt.Addr) (uint32, error) {
	s, err := loadString(a)
	if err != nil {
		return 0, err
	}
	n, err := MultiByteToUnicodeSize(s.Buffer, uint32(s.Length))
	return n + 2, err
}

// UnicodeStringToAnsiSize is RtlxUnicodeStringToAnsiSize and RtlUnicodeStringToAnsiSize.
func UnicodeStringToAnsiSize(a nt.Addr) (uint32, error) {
	s, err := loadString(a)
	if err != nil {
		return 0, err
	}
	n, err := UnicodeToMultiByteSize(s.Buffer, uint32(s.Length))
	return n + 1, err
}

// AnsiStringToUnicodeString is RtlAnsiStringToUnicodeString; alloc is nil when dst has a buffer.
// STATUS_BUFFER_OVERFLOW if that cannot take text and NUL, STATUS_INVALID_PARAMETER_2 if the result
// is too long for a UNICODE_STRING.
func AnsiStringToUnicodeString(dst, src nt.Addr, alloc Alloc) error {
	s, err := loadString(src)
	if err != nil {
		return err
	}
	d, err := loadString(dst)
	if err != nil {
		return err
	}
	size, err := AnsiStringToUnicodeSize(src)
	if err != nil {
		return err
	}
	if size > 0xFFFF {
		return nt.STATUS_INVALID_PARAMETER_2
	}
	if alloc != nil {
		d.MaximumLength = uint16(size)
		if d.Buffer, err = alloc(uintptr(size)); err != nil {
			return err
		}
	} else if size > uint32(d.MaximumLength) {
		return nt.STATUS_BUFFER_OVERFLOW
	}
	bytes, err := MultiByteToUnicodeN(d.Buffer, size-2, s.Buffer, uint32(s.Length))
	if err != nil {
		return err
	}
	d.Length = uint16(bytes)
	if err := store[uint16](d.Buffer+nt.Addr(bytes), 0); err != nil {
		return err
	}
	return storeString(dst, d)
}

// UnicodeStringToAnsiString is RtlUnicodeStringToAnsiString. A buffer that is too small gets what
// fits and a NUL, and the status is STATUS_BUFFER_OVERFLOW.
func UnicodeStringToAnsiString(dst, src nt.Addr, alloc Alloc) error {
	return unicodeToAnsi(dst, src, alloc, nil)
}

// UpcaseUnicodeStringToAnsiString is RtlUpcaseUnicodeStringToAnsiString (and …ToOemString).
func UpcaseUnicodeStringToAnsiString(dst, src nt.Addr, alloc Alloc) error {
	return unicodeToAnsi(dst, src, alloc, UpcaseUnicodeChar)
}

func unicodeToAnsi(dst, src nt.Addr, alloc Alloc, mapping func(uint16) uint16) error {
	s, err := loadString(src)
	if err != nil {
		return err
	}
	d, err := loadString(dst)
	if err != nil {
		return err
	}
	var size uint32 = 1
	_, err = unicodeTo(s.Buffer, uint32(s.Length/2), mapping, func(b []byte) error {
		size += uint32(len(b))
		return nil
	})
	if err != nil {
		return err
	}
	if size > 0xFFFF {
		return nt.STATUS_INVALID_PARAMETER_2
	}
	var status error
	d.Length = uint16(size - 1)
	switch {
	case alloc != nil:
		d.MaximumLength = uint16(size)
		if d.Buffer, err = alloc(uintptr(size)); err != nil {
			return err
		}
	case d.Length >= d.MaximumLength:
		status = nt.STATUS_BUFFER_OVERFLOW
		if d.MaximumLength == 0 {
			if err := storeLength(dst, d.Length); err != nil {
				return err
			}
			return status
		}
		d.Length = d.MaximumLength - 1
	}
	bytes, _, err := toMultiByteN(d.Buffer, uint32(d.Length), s.Buffer, uint32(s.Length), mapping, nil)
	if err != nil {
		return err
	}
	d.Length = uint16(bytes)
	if err := store[uint8](d.Buffer+nt.Addr(bytes), 0); err != nil {
		return err
	}
	if err := storeString(dst, d); err != nil {
		return err
	}
	return status
}

// AnsiCharToUnicodeChar is RtlAnsiCharToUnicodeChar: it reads one character at *at, gives its first
// UTF-16 unit and the address behind it. At an invalid byte it gives U+FFFD and moves one byte.
func AnsiCharToUnicodeChar(at nt.Addr) (unit uint16, next nt.Addr, err error) {
	var c cursor[uint8]
	c.start(at)
	var buf [utf8.UTFMax]byte
	for n := 0; n < len(buf); {
		b, err := c.get()
		if err != nil {
			return 0, at, err
		}
		buf[n] = b
		n++
		if utf8.FullRune(buf[:n]) {
			r, size := utf8.DecodeRune(buf[:n])
			u := uint16(r)
			if r > 0xFFFF {
				u, _ = surrogates(r)
			}
			return u, at + nt.Addr(size), nil
		}
	}
	return utf8.RuneError, at + 1, nil
}
