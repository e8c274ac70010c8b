package rtl

// UNICODE_STRING and ANSI_STRING in guest memory: initialise, copy, append, compare, convert.

import (
	"encoding/binary"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Alloc gives size bytes of guest memory (paged pool, for the strings of Windows), or an error that
// the caller gets: STATUS_NO_MEMORY.
type Alloc func(size uintptr) (nt.Addr, error)

// Limits of the counted strings, in bytes.
const (
	UNICODE_STRING_MAX_BYTES = 0xFFFE
	maxAnsiBytes             = 0xFFFE
)

const (
	stringSize   = 8 << (pointerSize >> 3) // STRING: 8 bytes in 32-bit code, 16 in 64-bit code
	stringBuffer = pointerSize             // offset of Buffer
)

// loadString reads a UNICODE_STRING or an ANSI_STRING, whose layouts are the same.
func loadString(a nt.Addr) (nt.UnicodeString, error) {
	var b [stringSize]byte
	if err := guest.Read(b[:], a); err != nil {
		return nt.UnicodeString{}, err
	}
	return nt.UnicodeString{
		Length:        binary.LittleEndian.Uint16(b[0:]),
		MaximumLength: binary.LittleEndian.Uint16(b[2:]),
		Buffer:        nt.Addr(pointerAt(b[stringBuffer:])),
	}, nil
}

func pointerAt(b []byte) uint64 {
	if pointerSize == 8 {
		return binary.LittleEndian.Uint64(b)
	}
	return uint64(binary.LittleEndian.Uint32(b))
}

func storeString(a nt.Addr, s nt.UnicodeString) error {
	if err := guest.Store16(a, s.Length); err != nil {
		return err
	}
	if err := guest.Store16(a+2, s.MaximumLength); err != nil {
		return err
	}
	return guest.StoreAddr(a+stringBuffer, s.Buffer)
}

func storeLength(a nt.Addr, n uint16) error { return guest.Store16(a, n) }

// readUnits reads n WCHARs. n comes from a USHORT, so the result is at most 64 KiB.
func readUnits(a nt.Addr, n int) ([]uint16, error) {
	b := make([]byte, n*2)
	if err := readSome(b, a); err != nil {
		return nil, err
	}
	s := make([]uint16, n)
	for i := range s {
		s[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return s, nil
}

// readSome is guest.Read that allows any address for no bytes.
func readSome(b []byte, a nt.Addr) error {
	if len(b) == 0 {
		return nil
	}
	return guest.Read(b, a)
}

func writeSome(a nt.Addr, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	return guest.Write(a, b)
}

func unitBytes(s []uint16) []byte {
	b := make([]byte, 0, 2*len(s)+2)
	for _, u := range s {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// LoadUnicode reads the text of the UNICODE_STRING at a.
func LoadUnicode(a nt.Addr) ([]uint16, error) {
	s, err := loadString(a)
	if err != nil {
		return nil, err
	}
	return readUnits(s.Buffer, int(s.Length/2))
}

// LoadAnsi reads the text of the ANSI_STRING at a.
func LoadAnsi(a nt.Addr) ([]byte, error) {
	s, err := loadString(a)
	if err != nil {
		return nil, err
	}
	b := make([]byte, s.Length)
	return b, readSome(b, s.Buffer)
}

// InitUnicodeString is RtlInitUnicodeString: dst describes the NUL-terminated src, which may be
// null. A longer text than 32766 units is cut there.
func InitUnicodeString(dst, src nt.Addr) error {
	var s nt.UnicodeString
	if src != 0 {
		n, err := Wcsnlen(src, UNICODE_STRING_MAX_BYTES/2-1)
		if err != nil {
			return err
		}
		s = nt.UnicodeString{Length: uint16(n * 2), MaximumLength: uint16(n*2 + 2), Buffer: src}
	}
	return storeString(dst, s)
}

// InitUnicodeStringEx is RtlInitUnicodeStringEx: STATUS_NAME_TOO_LONG for more than 32766 units;
// dst is then empty.
func InitUnicodeStringEx(dst, src nt.Addr) error {
	if src != 0 {
		n, err := Wcsnlen(src, UNICODE_STRING_MAX_BYTES/2)
		if err != nil {
			return err
		}
		if n > UNICODE_STRING_MAX_BYTES/2-1 {
			if err := storeString(dst, nt.UnicodeString{}); err != nil {
				return err
			}
			return nt.STATUS_NAME_TOO_LONG
		}
	}
	return InitUnicodeString(dst, src)
}

// InitAnsiString is RtlInitAnsiString and RtlInitString.
func InitAnsiString(dst, src nt.Addr) error {
	var s nt.UnicodeString
	if src != 0 {
		n, err := Strnlen(src, maxAnsiBytes)
		if err != nil {
			return err
		}
		s = nt.UnicodeString{Length: uint16(n), MaximumLength: uint16(n + 1), Buffer: src}
	}
	return storeString(dst, s)
}

// InitAnsiStringEx is RtlInitAnsiStringEx: STATUS_NAME_TOO_LONG for more than 65534 bytes.
func InitAnsiStringEx(dst, src nt.Addr) error {
	if src != 0 {
		n, err := Strnlen(src, maxAnsiBytes+1)
		if err != nil {
			return err
		}
		if n > maxAnsiBytes {
			if err := storeString(dst, nt.UnicodeString{}); err != nil {
				return err
			}
			return nt.STATUS_NAME_TOO_LONG
		}
	}
	return InitAnsiString(dst, src)
}

// copyString is RtlCopyString and RtlCopyUnicodeString: as much as MaximumLength allows; a null src
// empties dst.
func copyString(dst, src nt.Addr, wide bool) error {
	if src == 0 {
		return storeLength(dst, 0)
	}
	s, err := loadString(src)
	if err != nil {
		return err
	}
	d, err := loadString(dst)
	if err != nil {
		return err
	}
	n := min(s.Length, d.MaximumLength)
	if n > 0 {
		if err := guest.Move(d.Buffer, s.Buffer, uintptr(n)); err != nil {
			return err
		}
	}
	if err := storeLength(dst, n); err != nil {
		return err
	}
	if wide {
		return terminate(d, n)
	}
	return nil
}

// terminate writes a NUL behind n bytes of a UNICODE_STRING if it has room for one.
func terminate(d nt.UnicodeString, n uint16) error {
	if int(n)+2 > int(d.MaximumLength) {
		return nil
	}
	return guest.Store16(d.Buffer+nt.Addr(n), 0)
}

// CopyUnicodeString is RtlCopyUnicodeString.
func CopyUnicodeString(dst, src nt.Addr) error { return copyString(dst, src, true) }

// CopyString is RtlCopyString.
func CopyString(dst, src nt.Addr) error { return copyString(dst, src, false) }

// appendBytes appends n bytes at src, all or nothing: STATUS_BUFFER_TOO_SMALL.
func appendBytes(dst, src nt.Addr, n uint16, wide bool) error {
	if n == 0 {
		return nil
	}
	d, err := loadString(dst)
	if err != nil {
		return err
	}
	total := int(d.Length) + int(n)
	if total > int(d.MaximumLength) {
		return nt.STATUS_BUFFER_TOO_SMALL
	}
	if err := guest.Move(d.Buffer+nt.Addr(d.Length), src, uintptr(n)); err != nil {
		return err
	}
	if err := storeLength(dst, uint16(total)); err != nil {
		return err
	}
	if wide {
		return terminate(d, uint16(total))
	}
	return nil
}

func appendString(dst, src nt.Addr, wide bool) error {
	if src == 0 {
		return nil
	}
	s, err := loadString(src)
	if err != nil {
		return err
	}
	return appendBytes(dst, s.Buffer, s.Length, wide)
}

// AppendUnicodeStringToString is RtlAppendUnicodeStringToString: STATUS_BUFFER_TOO_SMALL, with dst
// untouched, if the text does not fit; a NUL is added where there is room.
func AppendUnicodeStringToString(dst, src nt.Addr) error { return appendString(dst, src, true) }

// AppendStringToString is RtlAppendStringToString; it adds no NUL.
func AppendStringToString(dst, src nt.Addr) error { return appendString(dst, src, false) }

// AppendUnicodeToString is RtlAppendUnicodeToString: src is NUL-terminated or null.
func AppendUnicodeToString(dst, src nt.Addr) error {
	if src == 0 {
		return nil
	}
	n, err := Wcsnlen(src, UNICODE_STRING_MAX_BYTES/2)
	if err != nil {
		return err
	}
	if n > UNICODE_STRING_MAX_BYTES/2-1 {
		return nt.STATUS_NAME_TOO_LONG
	}
	return appendBytes(dst, src, uint16(n*2), true)
}

// AppendAsciizToString is RtlAppendAsciizToString.
func AppendAsciizToString(dst, src nt.Addr) error {
	if src == 0 {
		return nil
	}
	n, err := Strnlen(src, maxAnsiBytes+1)
	if err != nil {
		return err
	}
	if n > maxAnsiBytes {
		return nt.STATUS_BUFFER_TOO_SMALL
	}
	return appendBytes(dst, src, uint16(n), false)
}

// compareCounted compares n units of two texts chunk by chunk and gives the first difference.
func compareCounted[C char](a, b nt.Addr, n int, fold func(C) C) (int32, error) {
	var x, y cursor[C]
	x.start(a)
	y.start(b)
	for range n {
		c, err := x.get()
		if err != nil {
			return 0, err
		}
		d, err := y.get()
		if err != nil {
			return 0, err
		}
		if c != d && fold != nil {
			c, d = fold(c), fold(d)
		}
		if c != d {
			return int32(c) - int32(d), nil
		}
	}
	return 0, nil
}

func foldWide(on bool) func(uint16) uint16 {
	if on {
		return UpcaseUnicodeChar
	}
	return nil
}

func foldNarrow(on bool) func(uint8) uint8 {
	if on {
		return UpperChar
	}
	return nil
}

func compareStrings[C char](a, b nt.Addr, fold func(C) C) (int32, error) {
	x, err := loadString(a)
	if err != nil {
		return 0, err
	}
	y, err := loadString(b)
	if err != nil {
		return 0, err
	}
	n := int(min(x.Length, y.Length)) / unitSize[C]()
	if r, err := compareCounted(x.Buffer, y.Buffer, n, fold); r != 0 || err != nil {
		return r, err
	}
	return int32(x.Length) - int32(y.Length), nil
}

func equalStrings[C char](a, b nt.Addr, fold func(C) C, prefix bool) (bool, error) {
	x, err := loadString(a)
	if err != nil {
		return false, err
	}
	y, err := loadString(b)
	if err != nil {
		return false, err
	}
	if x.Length > y.Length || x.Length < y.Length && !prefix {
		return false, nil
	}
	r, err := compareCounted(x.Buffer, y.Buffer, int(x.Length)/unitSize[C](), fold)
	return err == nil && r == 0, err
}

// CompareUnicodeString is RtlCompareUnicodeString: the difference of the first units that differ
// (upcased, if fold), else of the lengths in bytes.
func CompareUnicodeString(a, b nt.Addr, fold bool) (int32, error) {
	return compareStrings(a, b, foldWide(fold))
}

// CompareString is RtlCompareString.
func CompareString(a, b nt.Addr, fold bool) (int32, error) {
	return compareStrings(a, b, foldNarrow(fold))
}

// CompareUnicodeStrings is RtlCompareUnicodeStrings: two texts with their lengths in WCHARs.
func CompareUnicodeStrings(a nt.Addr, na uintptr, b nt.Addr, nb uintptr, fold bool) (int32, error) {
	n := clampCount(min(na, nb))
	if r, err := compareCounted(a, b, n, foldWide(fold)); r != 0 || err != nil {
		return r, err
	}
	return int32(clampCount(na) - clampCount(nb)), nil
}

// EqualUnicodeString is RtlEqualUnicodeString.
func EqualUnicodeString(a, b nt.Addr, fold bool) (bool, error) {
	return equalStrings(a, b, foldWide(fold), false)
}

// EqualString is RtlEqualString.
func EqualString(a, b nt.Addr, fold bool) (bool, error) {
	return equalStrings(a, b, foldNarrow(fold), false)
}

// PrefixUnicodeString is RtlPrefixUnicodeString: b starts with a.
func PrefixUnicodeString(a, b nt.Addr, fold bool) (bool, error) {
	return equalStrings(a, b, foldWide(fold), true)
}

// PrefixString is RtlPrefixString.
func PrefixString(a, b nt.Addr, fold bool) (bool, error) {
	return equalStrings(a, b, foldNarrow(fold), true)
}

// HashUnicodeString is RtlHashUnicodeString; see [HashUnicode].
func HashUnicodeString(a nt.Addr, fold bool, algorithm uint32) (uint32, error) {
	s, err := LoadUnicode(a)
	if err != nil {
		return 0, err
	}
	return HashUnicode(s, fold, algorithm)
}

// FindCharInUnicodeString is RtlFindCharInUnicodeString; see [FindCharInUnicode].
func FindCharInUnicodeString(flags uint32, s, set nt.Addr) (uint16, error) {
	text, err := LoadUnicode(s)
	if err != nil {
		return 0, err
	}
	chars, err := LoadUnicode(set)
	if err != nil {
		return 0, err
	}
	return FindCharInUnicode(flags, text, chars)
}

// caseString maps a UNICODE_STRING into another: RtlUpcaseUnicodeString, RtlDowncaseUnicodeString.
// With alloc the result gets a buffer of its own; there is no NUL.
func caseString(dst, src nt.Addr, alloc Alloc, mapping func([]uint16)) error {
	text, err := LoadUnicode(src)
	if err != nil {
		return err
	}
	d, err := loadString(dst)
	if err != nil {
		return err
	}
	mapping(text)
	n := uint16(len(text) * 2)
	if alloc != nil {
		d.MaximumLength = n
		if d.Buffer, err = alloc(uintptr(n)); err != nil {
			return err
		}
	} else if n > d.MaximumLength {
		return nt.STATUS_BUFFER_OVERFLOW
	}
	if err := writeSome(d.Buffer, unitBytes(text)); err != nil {
		return err
	}
	d.Length = n
	return storeString(dst, d)
}

// UpcaseUnicodeString is RtlUpcaseUnicodeString. alloc is nil when the caller supplies the buffer;
// STATUS_BUFFER_OVERFLOW if that is too small.
func UpcaseUnicodeString(dst, src nt.Addr, alloc Alloc) error {
	return caseString(dst, src, alloc, UpcaseUnicode)
}

// DowncaseUnicodeString is RtlDowncaseUnicodeString; see [UpcaseUnicodeString].
func DowncaseUnicodeString(dst, src nt.Addr, alloc Alloc) error {
	return caseString(dst, src, alloc, DowncaseUnicode)
}

// UpperString is RtlUpperString: as much as fits.
func UpperString(dst, src nt.Addr) error {
	text, err := LoadAnsi(src)
	if err != nil {
		return err
	}
	d, err := loadString(dst)
	if err != nil {
		return err
	}
	text = text[:min(len(text), int(d.MaximumLength))]
	for i, c := range text {
		text[i] = UpperChar(c)
	}
	if err := writeSome(d.Buffer, text); err != nil {
		return err
	}
	return storeLength(dst, uint16(len(text)))
}

// CreateUnicodeString is RtlCreateUnicodeString: a copy of the NUL-terminated src in memory of its
// own. STATUS_NO_MEMORY (FALSE, there) also for a text that a UNICODE_STRING cannot hold.
func CreateUnicodeString(dst, src nt.Addr, alloc Alloc) error {
	n, err := Wcsnlen(src, UNICODE_STRING_MAX_BYTES/2)
	if err != nil {
		return err
	}
	if n >= UNICODE_STRING_MAX_BYTES/2 {
		return nt.STATUS_NO_MEMORY
	}
	size := uint16(n*2 + 2)
	s := nt.UnicodeString{Length: size - 2, MaximumLength: size}
	if s.Buffer, err = alloc(uintptr(size)); err != nil {
		return err
	}
	if err := guest.Move(s.Buffer, src, uintptr(size-2)); err != nil {
		return err
	}
	if err := terminate(s, s.Length); err != nil {
		return err
	}
	return storeString(dst, s)
}

// Flags of DuplicateUnicodeString.
const (
	RTL_DUPLICATE_UNICODE_STRING_NULL_TERMINATE       = 1
	RTL_DUPLICATE_UNICODE_STRING_ALLOCATE_NULL_STRING = 2
)

// DuplicateUnicodeString is RtlDuplicateUnicodeString. STATUS_INVALID_PARAMETER for a null dst,
// unknown flags, ALLOCATE_NULL_STRING without NULL_TERMINATE, or a malformed src;
// STATUS_NAME_TOO_LONG if there is no room for the NUL.
func DuplicateUnicodeString(flags uint32, src, dst nt.Addr, alloc Alloc) error {
	if flags > 3 || flags == RTL_DUPLICATE_UNICODE_STRING_ALLOCATE_NULL_STRING || dst == 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	var s nt.UnicodeString
	if src != 0 {
		var err error
		if s, err = loadString(src); err != nil {
			return err
		}
	}
	if s.Length%2 != 0 || s.MaximumLength%2 != 0 || s.Length > s.MaximumLength ||
		s.Buffer == 0 && s.MaximumLength != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	size := int(s.Length)
	if flags&RTL_DUPLICATE_UNICODE_STRING_NULL_TERMINATE != 0 {
		size += 2
		if size > UNICODE_STRING_MAX_BYTES {
			return nt.STATUS_NAME_TOO_LONG
		}
	}
	if s.Length == 0 && flags&RTL_DUPLICATE_UNICODE_STRING_ALLOCATE_NULL_STRING == 0 {
		size = 0
	}
	d := nt.UnicodeString{Length: s.Length, MaximumLength: uint16(size)}
	if size > 0 {
		var err error
		if d.Buffer, err = alloc(uintptr(size)); err != nil {
			return err
		}
		if s.Length > 0 {
			if err := guest.Move(d.Buffer, s.Buffer, uintptr(s.Length)); err != nil {
				return err
			}
		}
		if err := terminate(d, d.Length); err != nil {
			return err
		}
	}
	return storeString(dst, d)
}

// ValidateUnicodeString is RtlValidateUnicodeString: lengths are even, Length is not above
// MaximumLength, and only an empty string has no buffer. flags must be 0.
func ValidateUnicodeString(flags uint32, a nt.Addr) error {
	if flags != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	if a == 0 {
		return nil
	}
	s, err := loadString(a)
	if err != nil {
		return err
	}
	if s.Length%2 != 0 || s.MaximumLength%2 != 0 || s.Length > s.MaximumLength ||
		s.Buffer == 0 && s.MaximumLength != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	return nil
}
