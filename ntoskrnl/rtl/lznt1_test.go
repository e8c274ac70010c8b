package rtl

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

const lz = COMPRESSION_FORMAT_LZNT1

func TestDecompress(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		name string
		in   string
		room uint32
		want string
		err  error
	}{
		{"the example of [MS-XCA] section 3.3", "\x38\xb0\x88\x46\x23\x20\x00\x20\x47\x20\x41\x00\x10\xa2\x47" +
			"\x01\xa0\x45\x20\x44\x00\x08\x45\x01\x50\x79\x00\xc0\x45\x20\x05\x24\x13\x88\x05\xb4\x02\x4a\x44" +
			"\xef\x03\x58\x02\x8c\x09\x16\x01\x48\x45\x00\xbe\x00\x9e\x00\x04\x01\x18\x90\x00", 300,
			"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# " +
				"D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\x00", nil},
		{"a stored chunk", "\x03\x30WXYZ", 10, "WXYZ", nil},
		{"literals", "\x04\xb0\x00ABCD", 10, "ABCD", nil},
		{"a repeat", "\x06\xb0\x10Echo\x01\x30", 10, "EchoEcho", nil},
		{"a repeat over itself", "\x03\xb0\x02a\x05\x00", 20, "aaaaaaaaa", nil},
		{"cut at the end of the buffer", "\x06\xb0\x10Echo\x01\x30", 6, "EchoEc", nil},
		{"two chunks: the first is filled with zeros", "\x03\x30WXYZ\x01\x30ab", 5000, "WXYZ" + strings.Repeat("\x00", 4092) + "ab", nil},
		{"a header of zero ends the data", "\x03\x30WXYZ\x00\x00\x01\x30ab", 5000, "WXYZ", nil},
		{"one byte behind the last chunk", "\x03\x30WXYZ\x77", 10, "WXYZ", nil},
		{"empty", "", 10, "", nt.STATUS_BAD_COMPRESSION_BUFFER},
		{"one byte", "\x03", 10, "", nt.STATUS_BAD_COMPRESSION_BUFFER},
		{"a chunk beyond the end", "\x04\x30WXYZ", 10, "", nt.STATUS_BAD_COMPRESSION_BUFFER},
		{"half a tuple", "\x05\xb0\x10Echo\x01", 10, "", nt.STATUS_BAD_COMPRESSION_BUFFER},
		{"a reference before the start", "\x06\xb0\x10Echo\x01\x40", 10, "", nt.STATUS_BAD_COMPRESSION_BUFFER},
		{"a reference at the start", "\x02\xb0\x01\x01\x00", 10, "", nt.STATUS_BAD_COMPRESSION_BUFFER},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := m.alloc(8192)
			n, err := DecompressBuffer(lz, dst, c.room, m.bytes([]byte(c.in)), uint32(len(c.in)))
			require.Equal(t, c.err, err)
			require.Equal(t, c.want, string(m.read(dst, int(n))))
		})
		m.reset()
	}
	t.Run("fragments", func(t *testing.T) {
		in := "\x03\x30WXYZ\x03\x30abcd"
		for offset, want := range map[uint32]string{0: "WX", 2: "YZ", 4095: "\x00a", 4096: "ab", 4099: "d", 4100: "", 9000: ""} {
			dst := m.alloc(16)
			n, err := DecompressFragment(lz, dst, 2, m.bytes([]byte(in)), uint32(len(in)), offset)
			require.NoError(t, err)
			require.Equal(t, want, string(m.read(dst, int(n))), "offset %d", offset)
		}
	})
	t.Run("formats", func(t *testing.T) {
		for format, want := range map[uint16]error{
			0: nt.STATUS_INVALID_PARAMETER, 1: nt.STATUS_INVALID_PARAMETER, 3: nt.STATUS_UNSUPPORTED_COMPRESSION,
		} {
			_, err := DecompressBuffer(format, m.alloc(16), 16, m.alloc(16), 16)
			require.Equal(t, want, err)
			_, err = CompressBuffer(format, m.alloc(16), 16, m.alloc(16), 16)
			require.Equal(t, want, err)
			_, _, err = CompressionWorkSpaceSize(format)
			require.Equal(t, want, err)
		}
		_, _, err := CompressionWorkSpaceSize(lz | 0x200)
		require.Equal(t, nt.STATUS_NOT_SUPPORTED, err)
		a, b, err := CompressionWorkSpaceSize(lz | COMPRESSION_ENGINE_MAXIMUM)
		require.NoError(t, err)
		require.NotZero(t, a)
		require.NotZero(t, b)
	})
	t.Run("faults", func(t *testing.T) {
		_, err := DecompressBuffer(lz, m.alloc(16), 16, unmapped, 16)
		requireFault(t, err, unmapped)
		_, err = DecompressBuffer(lz, unmapped, 16, m.bytes([]byte("\x03\x30WXYZ")), 6)
		requireFault(t, err, unmapped)
		_, err = CompressBuffer(lz, unmapped, 16, m.alloc(16), 16)
		requireFault(t, err, unmapped)
		_, err = CompressBuffer(lz, m.alloc(16), 16, unmapped, 16)
		requireFault(t, err, unmapped)
	})
}

func TestCompress(t *testing.T) {
	m := newMemory(t)
	rnd := rand.New(rand.NewPCG(5, 6))
	noise := make([]byte, 10000)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	for _, c := range []struct {
		name  string
		in    []byte
		least uint32 // the most that the compressed form may take
	}{
		{"nothing", nil, 0},
		{"one byte", []byte("x"), 3},
		{"zeros", make([]byte, 20000), 100},
		{"text", []byte(strings.Repeat("the quick brown fox jumps over the lazy dog. ", 300)), 2000},
		{"noise", noise, 10006},
		{"a page", bytes.Repeat([]byte("abcdefghijk"), 400)[:4096], 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.reset()
			src, dst, back := m.bytes(c.in), m.alloc(30000), m.alloc(30000)
			n, err := CompressBuffer(lz, src, uint32(len(c.in)), dst, 30000)
			require.NoError(t, err)
			require.LessOrEqual(t, n, c.least)
			if len(c.in) == 0 {
				return
			}
			k, err := DecompressBuffer(lz, back, 30000, dst, n)
			require.NoError(t, err)
			require.Equal(t, c.in, m.read(back, int(k)))
			_, err = CompressBuffer(lz, src, uint32(len(c.in)), dst, n-1)
			require.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, err)
			_, err = CompressBuffer(lz, src, uint32(len(c.in)), dst, n)
			require.NoError(t, err)
		})
	}
}

// FuzzDecompress: any data gives a result or an error, and stays within the buffer.
func FuzzDecompress(f *testing.F) {
	f.Add([]byte("\x06\xb0\x10Echo\x01\x30"), uint32(0), uint32(100))
	f.Add([]byte("\x03\x30WXYZ\x01\x30ab"), uint32(4090), uint32(100))
	m := newMemory(f)
	src, dst := m.alloc(0x8000), m.alloc(0x4010)
	f.Fuzz(func(t *testing.T, b []byte, offset, room uint32) {
		b, room = b[:min(len(b), 0x8000)], room%0x4000
		if err := writeSome(src, b); err != nil {
			t.Fatal(err)
		}
		if err := guest.Store64(dst+nt.Addr(room), 0xEEEEEEEEEEEEEEEE); err != nil {
			t.Fatal(err)
		}
		n, err := DecompressFragment(lz, dst, room, src, uint32(len(b)), offset)
		if n > room || err != nil && n != 0 {
			t.Fatal(n, err)
		}
		if v, err := guest.Load64(dst + nt.Addr(room)); err != nil || v != 0xEEEEEEEEEEEEEEEE {
			t.Fatalf("wrote past the buffer: %x, %v", v, err)
		}
	})
}

// FuzzCompress: what is compressed comes back.
func FuzzCompress(f *testing.F) {
	f.Add([]byte("abcabcabcabcabc"), uint16(300))
	f.Add([]byte{0}, uint16(9000))
	m := newMemory(f)
	src, packed, back := m.alloc(0x10000), m.alloc(0x12000), m.alloc(0x10000)
	f.Fuzz(func(t *testing.T, b []byte, repeat uint16) {
		if len(b) == 0 {
			return
		}
		b = bytes.Repeat(b, int(repeat)/len(b)+1)
		b = b[:min(len(b), 0x10000)]
		if err := guest.Write(src, b); err != nil {
			t.Fatal(err)
		}
		n, err := CompressBuffer(lz, src, uint32(len(b)), packed, 0x12000)
		if err != nil {
			t.Fatal(err)
		}
		k, err := DecompressBuffer(lz, back, 0x10000, packed, n)
		if err != nil || int(k) != len(b) {
			t.Fatal(k, err)
		}
		got := make([]byte, k)
		if err := guest.Read(got, back); err != nil || !bytes.Equal(got, b) {
			t.Fatal("the data changed", err)
		}
	})
}
