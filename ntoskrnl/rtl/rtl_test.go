package rtl

// Guest memory for the tests of this package.

import (
	"encoding/binary"
	"errors"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// memory is a region of guest memory from which a test takes pieces; it lies before an unmapped
// page.
type memory struct {
	t      testing.TB
	region *guest.Region
	used   uintptr
}

func newMemory(t testing.TB) *memory {
	t.Helper()
	s, err := guest.Default()
	require.NoError(t, err)
	r, err := s.AllocSystem(1<<20, guest.ProtRead|guest.ProtWrite, t.Name())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Free()) })
	return &memory{t: t, region: r}
}

// alloc gives n bytes of zeros, aligned to 16.
func (m *memory) alloc(n uintptr) nt.Addr {
	m.t.Helper()
	a := m.region.Base() + nt.Addr(m.used)
	m.used += (n + 15) &^ 15
	require.LessOrEqual(m.t, m.used, m.region.Size(), "test memory is used up")
	return a
}

// reset makes all pieces free again.
func (m *memory) reset() { m.used = 0 }

// pool is an Alloc that fills what it gives with 0xCD.
func (m *memory) pool(n uintptr) (nt.Addr, error) {
	a := m.alloc(n)
	return a, guest.Fill(a, 0xCD, n)
}

func noPool(uintptr) (nt.Addr, error) { return 0, nt.STATUS_NO_MEMORY }

func (m *memory) bytes(b []byte) nt.Addr {
	m.t.Helper()
	a := m.alloc(uintptr(len(b)))
	if len(b) > 0 {
		require.NoError(m.t, guest.Write(a, b))
	}
	return a
}

// str stores s and a NUL.
func (m *memory) str(s string) nt.Addr { return m.bytes(append([]byte(s), 0)) }

// wstr stores s as UTF-16 and a NUL.
func (m *memory) wstr(s string) nt.Addr { return m.bytes(unitBytes(append(u16(s), 0))) }

// atEnd stores b so that it ends right before the unmapped page.
func (m *memory) atEnd(b []byte) nt.Addr {
	m.t.Helper()
	a := m.region.End() - nt.Addr(len(b))
	require.NoError(m.t, guest.Write(a, b))
	return a
}

// counted stores a UNICODE_STRING or ANSI_STRING header.
func (m *memory) counted(length, maximum uint16, buffer nt.Addr) nt.Addr {
	m.t.Helper()
	a := m.alloc(stringSize)
	s := nt.UnicodeString{Length: length, MaximumLength: maximum, Buffer: buffer}
	require.NoError(m.t, storeString(a, s))
	return a
}

func (m *memory) ustr(s string) nt.Addr {
	u := u16(s)
	return m.counted(uint16(2*len(u)), uint16(2*len(u)+2), m.wstr(s))
}

func (m *memory) astr(s string) nt.Addr {
	return m.counted(uint16(len(s)), uint16(len(s)+1), m.str(s))
}

// ubuf is an empty UNICODE_STRING with room for n bytes, in a buffer full of '-'.
func (m *memory) ubuf(n int) nt.Addr {
	b := make([]uint16, n/2+8)
	for i := range b {
		b[i] = '-'
	}
	return m.counted(0, uint16(n), m.bytes(unitBytes(b)))
}

func (m *memory) read(a nt.Addr, n int) []byte {
	m.t.Helper()
	b := make([]byte, n)
	require.NoError(m.t, readSome(b, a))
	return b
}

func (m *memory) cstr(a nt.Addr) string {
	m.t.Helper()
	n, err := Strlen(a)
	require.NoError(m.t, err)
	return string(m.read(a, int(n)))
}

func (m *memory) cwstr(a nt.Addr) string {
	m.t.Helper()
	n, err := Wcslen(a)
	require.NoError(m.t, err)
	return m.wide(a, int(n))
}

// wide reads n WCHARs as text.
func (m *memory) wide(a nt.Addr, n int) string {
	m.t.Helper()
	return text16(m.read(a, 2*n))
}

// text gives the text of a UNICODE_STRING.
func (m *memory) text(a nt.Addr) string {
	m.t.Helper()
	s, err := LoadUnicode(a)
	require.NoError(m.t, err)
	return string(utf16.Decode(s))
}

func (m *memory) ansi(a nt.Addr) string {
	m.t.Helper()
	s, err := LoadAnsi(a)
	require.NoError(m.t, err)
	return string(s)
}

func (m *memory) header(a nt.Addr) nt.UnicodeString {
	m.t.Helper()
	s, err := loadString(a)
	require.NoError(m.t, err)
	return s
}

func text16(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}

func u16(s string) []uint16 { return utf16.Encode([]rune(s)) }

// requireFault checks that err is a fault at a.
func requireFault(t testing.TB, err error, a nt.Addr) {
	t.Helper()
	var f *guest.FaultError
	require.True(t, errors.As(err, &f), "got %v", err)
	require.Equal(t, a, f.Addr)
}

const unmapped nt.Addr = 0x10 // in the first 64 KiB, which are never mapped
