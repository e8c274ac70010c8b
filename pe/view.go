// Reading by RVA from the file: what the mapped image will hold before anything relocates it.

package pe

import (
	"encoding/binary"
	"fmt"
)

// at gives what lies at an address: the file's bytes from there to the end of its section, and how
// many bytes of memory there are to that end; what raw lacks is zero. A size of 0 says that the
// address is in no part of the image.
func (img *Image) at(rva uint32) (raw []byte, size uint32) {
	if i, ok := img.sectionIndex(rva); ok {
		s := &img.Sections[i]
		off := rva - s.RVA
		if off < s.rawUsed {
			raw = img.data[s.RawOffset+off : s.RawOffset+s.rawUsed]
		}
		return raw, s.extent - off
	}
	if rva < img.SizeOfHeaders {
		return img.data[rva:img.SizeOfHeaders], img.SizeOfHeaders - rva
	}
	return nil, 0
}

// inside says whether n bytes at the address lie in one part of the image.
func (img *Image) inside(rva, n uint32) bool {
	_, size := img.at(rva)
	return n <= size && size != 0
}

// inSection says whether n bytes at the address lie in one section.
func (img *Image) inSection(rva, n uint32) bool {
	i, ok := img.sectionIndex(rva)
	return ok && n <= img.Sections[i].end()-rva
}

// zero backs the tails of sections that the file does not hold.
var zero [16]byte

// tail gives n bytes of raw at off, with zeros after its end. n is at most len(zero).
func tail(raw []byte, off uint64, n int) []byte {
	if off+uint64(n) <= uint64(len(raw)) {
		return raw[off : off+uint64(n)]
	}
	if off >= uint64(len(raw)) {
		return zero[:n]
	}
	b := make([]byte, n)
	copy(b, raw[off:])
	return b
}

func le16(raw []byte, off uint64) uint16 { return binary.LittleEndian.Uint16(tail(raw, off, 2)) }
func le32(raw []byte, off uint64) uint32 { return binary.LittleEndian.Uint32(tail(raw, off, 4)) }
func le64(raw []byte, off uint64) uint64 { return binary.LittleEndian.Uint64(tail(raw, off, 8)) }

// names reads names and keeps count of their bytes, so that tables whose names overlap cannot make
// more of them than a file of an honest size would.
type names struct {
	img  *Image
	left int
}

// read gives the NUL-terminated name at an address, of 1 to limit bytes of printable ASCII.
func (n *names) read(rva uint32, limit int) (string, error) {
	raw, size := n.img.at(rva)
	if size == 0 {
		return "", fmt.Errorf("0x%x is outside of the image", rva)
	}
	end := 0
	for end < len(raw) && raw[end] != 0 {
		if c := raw[end]; c < 0x20 || c > 0x7e {
			return "", fmt.Errorf("the name at %s holds the byte 0x%02x", n.img.place(rva), c)
		}
		if end++; end > limit {
			return "", fmt.Errorf("the name at %s is longer than %d bytes", n.img.place(rva),
				limit)
		}
	}
	if end == len(raw) && uint32(end) == size {
		return "", fmt.Errorf("the name at %s is not terminated", n.img.place(rva))
	}
	if end == 0 {
		return "", fmt.Errorf("the name at %s is empty", n.img.place(rva))
	}
	if n.left -= end; n.left < 0 {
		return "", fmt.Errorf("the names take more than %d bytes", maxNameBytes)
	}
	return string(raw[:end]), nil
}
