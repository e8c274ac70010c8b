// Strings in guest memory.
//
// Windows' strings are sequences of 16-bit units and may hold surrogates without their other half.
// In Go they are UTF-8, in which such a unit stands as the three bytes that the same scheme gives
// it (as in WTF-8), so that two different names stay different and EncodeUTF16 gives back what
// DecodeUTF16 took. Such a string is not valid UTF-8.

package guest

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/drvhost/drvhost/nt"
)

// MaxStringBytes is the most that the string functions read, in bytes of guest memory: a length
// from a hostile structure allocates no more. A UNICODE_STRING cannot exceed 65534.
const MaxStringBytes = 1 << 20

// StringError is the error of a string that is there but not well formed. It unwraps to
// STATUS_INVALID_PARAMETER.
type StringError struct {
	Addr Addr
	Why  string
}

// Error names the address and the fact.
func (e *StringError) Error() string { return fmt.Sprintf("string at %v: %s", e.Addr, e.Why) }

// Status gives STATUS_INVALID_PARAMETER.
func (e *StringError) Status() nt.Status { return nt.STATUS_INVALID_PARAMETER }

// Unwrap gives the status, so that errors.Is finds it.
func (e *StringError) Unwrap() error { return e.Status() }

// readBytes reads n bytes at a for a string.
func readBytes(a Addr, n int) ([]byte, error) {
	if n < 0 || n > MaxStringBytes {
		return nil, &StringError{a, fmt.Sprintf("%d bytes long, the limit is %d", n, MaxStringBytes)}
	}
	b := make([]byte, n)
	if err := Read(b, a); err != nil {
		return nil, err
	}
	return b, nil
}

// ReadUTF16 reads a string of nbytes bytes at a; zero units are part of it. The error is a
// *FaultError, or a *StringError when nbytes is odd or too many.
func ReadUTF16(a Addr, nbytes int) (string, error) {
	if nbytes%2 != 0 {
		return "", &StringError{a, fmt.Sprintf("%d bytes long, an odd number, for 16-bit units",
			nbytes)}
	}
	b, err := readBytes(a, nbytes)
	if err != nil {
		return "", err
	}
	return DecodeUTF16(b), nil
}

// ReadUTF16Z reads a string that ends before a zero unit, which is at most maxChars units away. The
// error is a *FaultError, or a *StringError when there is no zero. It touches no page behind the
// zero.
func ReadUTF16Z(a Addr, maxChars int) (string, error) {
	limit := min(maxChars, MaxStringBytes/2)
	b, err := readUntil(a, 2*max(limit, 0)+2, func(b []byte, from int) int {
		for i := from &^ 1; i+1 < len(b); i += 2 {
			if b[i] == 0 && b[i+1] == 0 {
				return i
			}
		}
		return -1
	})
	if err != nil {
		return "", err
	}
	return DecodeUTF16(b), nil
}

// ReadCString reads the bytes before a zero byte, which is at most max bytes away. The bytes are
// kept as they are, whatever code page they are in. The error is a *FaultError, or a *StringError
// when there is no zero. It touches no page behind the zero.
func ReadCString(a Addr, max int) (string, error) {
	limit := min(max, MaxStringBytes)
	if limit < 0 {
		limit = 0
	}
	b, err := readUntil(a, limit+1, func(b []byte, from int) int {
		for i := from; i < len(b); i++ {
			if b[i] == 0 {
				return i
			}
		}
		return -1
	})
	if err != nil {
		return "", err
	}
	return string(b), nil
}

// readUntil reads at most limit bytes at a, never across a page border before it has seen that the
// end is not on the page, and gives the bytes before the end. end looks for it in b, where nothing
// before from needs to be looked at again, and gives its offset or -1.
func readUntil(a Addr, limit int, end func(b []byte, from int) int) ([]byte, error) {
	b := make([]byte, 0, min(limit, 128))
	for len(b) < limit {
		at := a + Addr(len(b))
		step := min(limit-len(b), PageSize-int(at%PageSize), max(128, len(b)))
		from := len(b)
		b = append(b, make([]byte, step)...)
		if err := Read(b[from:], at); err != nil {
			return nil, err
		}
		if i := end(b, from); i >= 0 {
			return b[:i], nil
		}
	}
	return nil, &StringError{a, fmt.Sprintf("no end within %d bytes", limit)}
}

// ReadUnicodeString reads the UNICODE_STRING at a and what it points to. MaximumLength plays no
// part, and neither does Buffer when Length is 0. The error is as for ReadUTF16.
func ReadUnicodeString(a Addr) (string, error) {
	n, buffer, err := readStringHeader(a)
	if err != nil || n == 0 {
		return "", err
	}
	return ReadUTF16(buffer, n)
}

// ReadAnsiString reads the ANSI_STRING at a and what it points to. The bytes are kept as they are,
// whatever code page they are in. The error is a *FaultError.
func ReadAnsiString(a Addr) (string, error) {
	n, buffer, err := readStringHeader(a)
	if err != nil || n == 0 {
		return "", err
	}
	b, err := readBytes(buffer, n)
	return string(b), err
}

// readStringHeader reads length in bytes and buffer of a UNICODE_STRING or of an ANSI_STRING, which
// has the same layout (ntdef.h).
func readStringHeader(a Addr) (n int, buffer Addr, err error) {
	h, err := Ptr[nt.UnicodeString](a).Load()
	return int(h.Length), h.Buffer, err
}

// DecodeUTF16 turns little-endian 16-bit units into a Go string. A last odd byte is left out. See
// above for surrogates without their other half.
func DecodeUTF16(b []byte) string {
	out := make([]byte, 0, len(b)/2)
	for i := 0; i+1 < len(b); i += 2 {
		u := rune(b[i]) | rune(b[i+1])<<8
		if u < utf8.RuneSelf {
			out = append(out, byte(u))
			continue
		}
		if utf16.IsSurrogate(u) {
			if i+3 < len(b) {
				pair := utf16.DecodeRune(u, rune(b[i+2])|rune(b[i+3])<<8)
				if pair != utf8.RuneError {
					out = utf8.AppendRune(out, pair)
					i += 2
					continue
				}
			}
			out = append(out, 0xE0|byte(u>>12), 0x80|byte(u>>6)&0x3F, 0x80|byte(u)&0x3F)
			continue
		}
		out = utf8.AppendRune(out, u)
	}
	return string(out)
}

// EncodeUTF16 turns a Go string into little-endian 16-bit units, without a zero behind them. Bytes
// that are neither UTF-8 nor a surrogate of DecodeUTF16 become U+FFFD.
func EncodeUTF16(s string) []byte {
	out := make([]byte, 0, 2*len(s))
	unit := func(u rune) { out = append(out, byte(u), byte(u>>8)) }
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 && isSurrogate(s[i:]) {
			r, n = rune(s[i]&0x0F)<<12|rune(s[i+1]&0x3F)<<6|rune(s[i+2]&0x3F), 3
		}
		i += n
		if r < 0x10000 {
			unit(r)
			continue
		}
		hi, lo := utf16.EncodeRune(r)
		unit(hi)
		unit(lo)
	}
	return out
}

// isSurrogate says whether s starts with a surrogate in three bytes.
func isSurrogate(s string) bool {
	return len(s) >= 3 && s[0] == 0xED && s[1]&0xE0 == 0xA0 && s[2]&0xC0 == 0x80
}
