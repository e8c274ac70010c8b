package rtl

// Conversion between UTF-16 and UTF-8, which is also the ANSI and the OEM code page here.

import (
	"unicode/utf8"

	"github.com/drvhost/drvhost/nt"
)

func isHighSurrogate(u uint16) bool { return u&0xFC00 == 0xD800 }
func isLowSurrogate(u uint16) bool  { return u&0xFC00 == 0xDC00 }

func pair(hi, lo uint16) rune {
	return 0x10000 + (rune(hi)&0x3FF)<<10 + rune(lo)&0x3FF
}

func surrogates(r rune) (hi, lo uint16) {
	r -= 0x10000
	return 0xD800 | uint16(r>>10), 0xDC00 | uint16(r&0x3FF)
}

// bmp gives the character of a lone unit: a surrogate without its partner is U+FFFD.
func bmp(u uint16) rune {
	if u&0xF800 == 0xD800 {
		return utf8.RuneError
	}
	return rune(u)
}

// utf8Decoder turns bytes that come one at a time into characters. Each maximal part of a sequence
// that is not valid becomes one U+FFFD (The Unicode Standard, section 3.9, "U+FFFD Substitution").
type utf8Decoder struct {
	buf [utf8.UTFMax]byte
	n   int
	bad bool // a U+FFFD was made
}

// add takes one byte and emits what is complete.
func (d *utf8Decoder) add(b byte, emit func(rune) error) error {
	if d.n == 0 && b < utf8.RuneSelf {
		return emit(rune(b))
	}
	d.buf[d.n] = b
	d.n++
	for d.n > 0 && fullSequence(d.buf[:d.n]) {
		r, size := utf8.DecodeRune(d.buf[:d.n])
		if r == utf8.RuneError && size == 1 {
			size = badPrefix(d.buf[:d.n])
			d.bad = true
		}
		d.n = copy(d.buf[:], d.buf[size:d.n])
		if err := emit(r); err != nil {
			return err
		}
	}
	return nil
}

// end emits a U+FFFD for a sequence that the input broke off.
func (d *utf8Decoder) end(emit func(rune) error) error {
	if d.n == 0 {
		return nil
	}
	d.n = 0
	d.bad = true
	return emit(utf8.RuneError)
}

func fullSequence(b []byte) bool { return utf8.FullRune(b) }

// badPrefix gives the length of the maximal part of an invalid sequence at the start of b.
func badPrefix(b []byte) int {
	n := 1
	for n < len(b) && !utf8.FullRune(b[:n]) {
		n++
	}
	if n > 1 {
		n-- // The n-th byte made it invalid, and starts anew.
	}
	return n
}

// AppendUTF8 appends the UTF-8 form of UTF-16 text; lossy says that a lone surrogate became U+FFFD.
func AppendUTF8(dst []byte, src []uint16) (out []byte, lossy bool) {
	for i := 0; i < len(src); i++ {
		u := src[i]
		if isHighSurrogate(u) && i+1 < len(src) && isLowSurrogate(src[i+1]) {
			dst = utf8.AppendRune(dst, pair(u, src[i+1]))
			i++
			continue
		}
		r := bmp(u)
		lossy = lossy || r == utf8.RuneError && u != utf8.RuneError
		dst = utf8.AppendRune(dst, r)
	}
	return dst, lossy
}

// AppendUTF16 appends the UTF-16 form of UTF-8 text; lossy says that invalid bytes became U+FFFD.
func AppendUTF16(dst []uint16, src []byte) (out []uint16, lossy bool) {
	var d utf8Decoder
	emit := func(r rune) error {
		if r > 0xFFFF {
			hi, lo := surrogates(r)
			dst = append(dst, hi, lo)
		} else {
			dst = append(dst, uint16(r))
		}
		return nil
	}
	for _, b := range src {
		_ = d.add(b, emit)
	}
	_ = d.end(emit)
	return dst, d.bad
}

// mapped gives the status of a conversion: STATUS_SOME_NOT_MAPPED, a success, if it lost text.
func mapped(lossy bool) error {
	if lossy {
		return nt.STATUS_SOME_NOT_MAPPED
	}
	return nil
}
