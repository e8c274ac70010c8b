package cm

import (
	"encoding/binary"
	"time"
	"unicode/utf16"

	"github.com/drvhost/drvhost/nt"
)

// utf16Len gives the length of a name in characters of UTF-16.
func utf16Len(s string) (n int) {
	for _, r := range s {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}

// Encode gives text as UTF-16 in bytes, without a zero behind it; with zero, with one.
func Encode(s string, zero bool) []byte {
	units := utf16.Encode([]rune(s))
	if zero {
		units = append(units, 0)
	}
	b := make([]byte, 0, 2*len(units))
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// decode reads UTF-16 from bytes, up to a zero.
func decode(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// Text reads the text of a REG_SZ or REG_EXPAND_SZ, up to its zero.
func (v Value) Text() string { return decode(v.Data) }

// Texts reads the texts of a REG_MULTI_SZ.
func (v Value) Texts() (all []string) {
	for b := v.Data; len(b) >= 2; {
		s := decode(b)
		if s == "" {
			break
		}
		all = append(all, s)
		n := len(Encode(s, true))
		if n > len(b) {
			break
		}
		b = b[n:]
	}
	return all
}

// Number reads a REG_DWORD, REG_DWORD_BIG_ENDIAN or REG_QWORD; ok is false for anything else.
func (v Value) Number() (n uint64, ok bool) {
	switch {
	case v.Type == nt.REG_DWORD && len(v.Data) == 4:
		return uint64(binary.LittleEndian.Uint32(v.Data)), true
	case v.Type == nt.REG_DWORD_BIG_ENDIAN && len(v.Data) == 4:
		return uint64(binary.BigEndian.Uint32(v.Data)), true
	case v.Type == nt.REG_QWORD && len(v.Data) == 8:
		return binary.LittleEndian.Uint64(v.Data), true
	}
	return 0, false
}

// SZ gives the data of a REG_SZ.
func SZ(s string) []byte { return Encode(s, true) }

// MultiSZ gives the data of a REG_MULTI_SZ.
func MultiSZ(all ...string) (b []byte) {
	for _, s := range all {
		b = append(b, Encode(s, true)...)
	}
	return append(b, 0, 0)
}

// DWord gives the data of a REG_DWORD.
func DWord(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

// QWord gives the data of a REG_QWORD.
func QWord(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// fileTime gives a time in units of 100 ns since 1601 ("FILETIME structure").
func fileTime(t time.Time) int64 { return t.UnixNano()/100 + 116444736000000000 }
