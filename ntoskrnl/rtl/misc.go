package rtl

// Checksums and byte order.

import (
	"hash/crc32"
	"math/bits"

	"github.com/drvhost/drvhost/nt"
)

// Crc32 is RtlComputeCrc32 and RtlCrc32: the CRC of IEEE 802.3 (reflected, polynomial 0xEDB88320)
// of n bytes at a, continued from crc, which is 0 at first.
func Crc32(crc uint32, a nt.Addr, n uintptr) (uint32, error) {
	var buf [chunkSize]byte
	for n > 0 {
		k, err := readChunk(buf[:min(n, chunkSize)], a, 1)
		if err != nil {
			return crc, err
		}
		crc = crc32.Update(crc, crc32.IEEETable, buf[:k])
		a += nt.Addr(k)
		n -= uintptr(k)
	}
	return crc, nil
}

// UshortByteSwap is RtlUshortByteSwap.
func UshortByteSwap(v uint16) uint16 { return bits.ReverseBytes16(v) }

// UlongByteSwap is RtlUlongByteSwap.
func UlongByteSwap(v uint32) uint32 { return bits.ReverseBytes32(v) }

// UlonglongByteSwap is RtlUlonglongByteSwap.
func UlonglongByteSwap(v uint64) uint64 { return bits.ReverseBytes64(v) }
