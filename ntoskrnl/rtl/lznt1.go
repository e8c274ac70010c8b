package rtl

// LZNT1 compression: RtlCompressBuffer, RtlDecompressBuffer, RtlDecompressFragment.
//
// Source of the format: [MS-XCA] section 2.5, LZNT1 Algorithm Details. Data is cut into chunks of
// 4096 bytes, each compressed by itself behind a header of 16 bits.

import (
	"encoding/binary"
	"math/bits"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

const (
	lzChunk      = 4096
	lzHeader     = 2
	lzSignature  = 3 << 12
	lzCompressed = 1 << 15
)

// Compression formats and engines, which RtlCompressBuffer takes or'ed.
const (
	COMPRESSION_FORMAT_NONE     = 0
	COMPRESSION_FORMAT_DEFAULT  = 1
	COMPRESSION_FORMAT_LZNT1    = 2
	COMPRESSION_ENGINE_STANDARD = 0x000
	COMPRESSION_ENGINE_MAXIMUM  = 0x100
)

// lzSplit gives how many bits of a tuple are the length when pos bytes of the chunk are there.
func lzSplit(pos int) uint { return 16 - uint(max(4, bits.Len(uint(pos-1)))) }

// lzExpand decompresses the body of one chunk into dst and returns the bytes made; at most
// len(dst), of which more is no error. STATUS_BAD_COMPRESSION_BUFFER for a reference before the
// chunk, or half a tuple.
func lzExpand(dst, src []byte) (int, error) {
	n := 0
	for i := 0; i < len(src); {
		flags := src[i]
		i++
		for bit := 0; bit < 8 && i < len(src); bit++ {
			if n == len(dst) {
				return n, nil
			}
			if flags>>bit&1 == 0 {
				dst[n] = src[i]
				n++
				i++
				continue
			}
			if i+1 == len(src) || n == 0 {
				return n, nt.STATUS_BAD_COMPRESSION_BUFFER
			}
			tuple := uint(binary.LittleEndian.Uint16(src[i:]))
			i += 2
			split := lzSplit(n)
			length := int(tuple&(1<<split-1)) + 3
			back := int(tuple>>split) + 1
			if back > n {
				return n, nt.STATUS_BAD_COMPRESSION_BUFFER
			}
			for length = min(length, len(dst)-n); length > 0; length-- {
				dst[n] = dst[n-back]
				n++
			}
		}
	}
	return n, nil
}

// lzSqueeze compresses a chunk into dst behind a header, and returns the bytes of both.
func lzSqueeze(dst *[lzChunk + lzHeader]byte, src []byte) int {
	n := lzHeader
	var last [1 << 12]int16 // position + 1 of the last place with this hash
	var before [lzChunk]int16
	hash := func(i int) uint32 {
		v := uint32(src[i]) | uint32(src[i+1])<<8 | uint32(src[i+2])<<16
		return v * 0x9E3779B1 >> 20
	}
	note := func(i int) {
		if i+3 <= len(src) {
			h := hash(i)
			before[i], last[h] = last[h], int16(i+1)
		}
	}
	for i := 0; i < len(src); {
		flagAt := n
		n++
		if n > len(dst) {
			return storeChunk(dst, src)
		}
		dst[flagAt] = 0
		for bit := 0; bit < 8 && i < len(src); bit++ {
			length, back := 0, 0
			if i > 0 && i+3 <= len(src) {
				most := min(len(src)-i, 1<<lzSplit(i)+2)
				p := int(last[hash(i)])
				for tries := 64; p > 0 && tries > 0; tries-- {
					k := 0
					for k < most && src[p-1+k] == src[i+k] {
						k++
					}
					if k > length {
						length, back = k, i-(p-1)
					}
					p = int(before[p-1])
				}
			}
			if length < 3 {
				if n+1 > len(dst) {
					return storeChunk(dst, src)
				}
				dst[n] = src[i]
				n++
				note(i)
				i++
				continue
			}
			if n+2 > len(dst) {
				return storeChunk(dst, src)
			}
			binary.LittleEndian.PutUint16(dst[n:], uint16(uint(back-1)<<lzSplit(i)|uint(length-3)))
			n += 2
			dst[flagAt] |= 1 << bit
			for ; length > 0; length-- {
				note(i)
				i++
			}
		}
	}
	if n-lzHeader >= len(src) {
		return storeChunk(dst, src)
	}
	binary.LittleEndian.PutUint16(dst[:], uint16(lzCompressed|lzSignature|(n-lzHeader-1)))
	return n
}

// storeChunk is a chunk that does not get smaller.
func storeChunk(dst *[lzChunk + lzHeader]byte, src []byte) int {
	binary.LittleEndian.PutUint16(dst[:], uint16(lzSignature|(len(src)-1)))
	return lzHeader + copy(dst[lzHeader:], src)
}

func lzFormat(format uint16) error {
	switch format & 0xFF {
	case COMPRESSION_FORMAT_NONE, COMPRESSION_FORMAT_DEFAULT:
		return nt.STATUS_INVALID_PARAMETER
	case COMPRESSION_FORMAT_LZNT1:
		return nil
	}
	return nt.STATUS_UNSUPPORTED_COMPRESSION
}

// CompressionWorkSpaceSize is RtlGetCompressionWorkSpaceSize: what a driver must allocate for
// RtlCompressBuffer and for RtlDecompressFragment. Neither is used here.
func CompressionWorkSpaceSize(format uint16) (buffer, fragment uint32, err error) {
	if err := lzFormat(format); err != nil {
		return 0, 0, err
	}
	switch format &^ 0xFF {
	case COMPRESSION_ENGINE_STANDARD, COMPRESSION_ENGINE_MAXIMUM:
		return 0x10000, lzChunk, nil
	}
	return 0, 0, nt.STATUS_NOT_SUPPORTED
}

// CompressBuffer is RtlCompressBuffer for LZNT1: size bytes at src into room bytes at dst. It
// returns the compressed size. STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER (formats NONE and
// DEFAULT), STATUS_UNSUPPORTED_COMPRESSION (any other format), STATUS_NOT_SUPPORTED (engine).
func CompressBuffer(
	format uint16, src nt.Addr, size uint32, dst nt.Addr, room uint32,
) (uint32, error) {
	if _, _, err := CompressionWorkSpaceSize(format); err != nil {
		return 0, err
	}
	var in [lzChunk]byte
	var out [lzChunk + lzHeader]byte
	made := uint32(0)
	for done := uint32(0); done < size; {
		n := min(size-done, lzChunk)
		if err := guest.Read(in[:n], src+nt.Addr(done)); err != nil {
			return 0, err
		}
		k := uint32(lzSqueeze(&out, in[:n]))
		if k > room-made {
			return 0, nt.STATUS_BUFFER_TOO_SMALL
		}
		if err := guest.Write(dst+nt.Addr(made), out[:k]); err != nil {
			return 0, err
		}
		made += k
		done += n
	}
	if room-made >= lzHeader { // the end, where there is room to mark it
		if err := guest.Write(dst+nt.Addr(made), []byte{0, 0}); err != nil {
			return 0, err
		}
	}
	return made, nil
}

// DecompressBuffer is RtlDecompressBuffer for LZNT1: n bytes at src into at most room bytes at dst.
// It returns the decompressed size; what does not fit is left out. STATUS_BAD_COMPRESSION_BUFFER
// for malformed data, and the statuses of the format as [CompressBuffer].
func DecompressBuffer(
	format uint16, dst nt.Addr, room uint32, src nt.Addr, n uint32,
) (uint32, error) {
	return decompress(format, dst, room, src, n, 0)
}

// DecompressFragment is RtlDecompressFragment: like DecompressBuffer from byte offset of the
// decompressed data on.
func DecompressFragment(
	format uint16, dst nt.Addr, room uint32, src nt.Addr, n, offset uint32,
) (uint32, error) {
	return decompress(format, dst, room, src, n, offset)
}

func decompress(
	format uint16, dst nt.Addr, room uint32, src nt.Addr, n, offset uint32,
) (uint32, error) {
	if err := lzFormat(format); err != nil {
		return 0, err
	}
	if n < lzHeader {
		return 0, nt.STATUS_BAD_COMPRESSION_BUFFER
	}
	var in, out [lzChunk]byte
	made := uint32(0) // bytes at dst
	for skip, at := offset, uint32(0); n-at >= lzHeader && made < room; {
		header, err := guest.Load16(src + nt.Addr(at))
		if err != nil {
			return 0, err
		}
		if header == 0 {
			break
		}
		at += lzHeader
		size := uint32(header&(lzChunk-1)) + 1
		if size > n-at {
			return 0, nt.STATUS_BAD_COMPRESSION_BUFFER
		}
		if err := guest.Read(in[:size], src+nt.Addr(at)); err != nil {
			return 0, err
		}
		at += size
		k := int(size)
		if header&lzCompressed != 0 {
			if k, err = lzExpand(out[:], in[:size]); err != nil {
				return 0, err
			}
		} else {
			copy(out[:], in[:size])
		}
		if k < lzChunk && n-at >= lzHeader {
			// Another chunk follows, which begins 4096 bytes on: zeros fill the gap.
			next, err := guest.Load16(src + nt.Addr(at))
			if err != nil {
				return 0, err
			}
			if next != 0 {
				clear(out[k:])
				k = lzChunk
			}
		}
		from := min(skip, uint32(k))
		if skip >= lzChunk {
			skip -= lzChunk
			continue
		}
		skip = 0
		part := out[from:k]
		part = part[:min(uint32(len(part)), room-made)]
		if err := writeSome(dst+nt.Addr(made), part); err != nil {
			return 0, err
		}
		made += uint32(len(part))
	}
	return made, nil
}
