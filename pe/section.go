// Sections: where their bytes are in the file and in memory, and what their pages allow.

package pe

import (
	"fmt"
	"strings"
)

// Section is one row of the section table.
type Section struct {
	// Name is at most 8 bytes; what is not printable ASCII is written as \xNN.
	Name string
	// RVA is where the section starts in memory, relative to the base.
	RVA uint32
	// VirtualSize is its size in memory, in bytes, as the file gives it.
	VirtualSize uint32
	// RawOffset and RawSize say where its bytes are in the file. What VirtualSize has more is zero.
	RawOffset, RawSize uint32
	// Characteristics are the section's flags.
	Characteristics uint32

	extent  uint32 // bytes in memory: the size rounded up to the section alignment
	rawUsed uint32 // bytes of the file that are mapped, at most extent
}

// The flags of a section that loading looks at ("PE Format", Section Flags).
const (
	SectionCode              = 0x00000020
	SectionInitializedData   = 0x00000040
	SectionUninitializedData = 0x00000080
	SectionDiscardable       = 0x02000000
	SectionNotPaged          = 0x08000000
	SectionExecute           = 0x20000000
	SectionRead              = 0x40000000
	SectionWrite             = 0x80000000
)

// Executable says whether the section's pages hold code.
func (s *Section) Executable() bool { return s.Characteristics&SectionExecute != 0 }

// Writable says whether the section's pages may be written by the driver.
func (s *Section) Writable() bool { return s.Characteristics&SectionWrite != 0 }

// Discardable says whether Windows frees the section once the driver has been initialised.
func (s *Section) Discardable() bool { return s.Characteristics&SectionDiscardable != 0 }

// Pageable says whether the section's code or data may be paged out: one whose name begins with
// PAGE, or .edata ("Making Drivers Pageable").
func (s *Section) Pageable() bool {
	return strings.HasPrefix(s.Name, "PAGE") || s.Name == ".edata"
}

// Flags gives the protection as "r-x", and a "d" after it if the section is discardable.
func (s *Section) Flags() string {
	b := []byte("r--")
	if s.Writable() {
		b[1] = 'w'
	}
	if s.Executable() {
		b[2] = 'x'
	}
	if s.Discardable() {
		b = append(b, 'd')
	}
	return string(b)
}

// end is the address after the section's last byte in memory.
func (s *Section) end() uint32 { return s.RVA + s.extent }

// sectionName makes a name that can be shown anywhere of the table's eight bytes.
func sectionName(raw []byte) string {
	n := 0
	for n < len(raw) && raw[n] != 0 {
		n++
	}
	return printable(string(raw[:n]))
}

// printable writes what is not printable ASCII as \xNN.
func printable(s string) string {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			var b strings.Builder
			for j := range len(s) {
				if s[j] < 0x20 || s[j] > 0x7e {
					fmt.Fprintf(&b, `\x%02x`, s[j])
				} else {
					b.WriteByte(s[j])
				}
			}
			return b.String()
		}
	}
	return s
}

// layOut checks the section table against the image and the file, and computes each section's
// extent. What it demands is what the Windows memory manager demands: sections in the order of
// their addresses, without gaps or overlaps, inside SizeOfImage and the file. An image whose
// section alignment is less than a page ("low alignment") is mapped as the file lies, so there
// address and file offset must agree.
func (img *Image) layOut() error {
	align := uint64(img.SectionAlignment)
	flat := img.SectionAlignment < pageSize
	next := roundUp(uint64(img.SizeOfHeaders), align)
	for i := range img.Sections {
		s := &img.Sections[i]
		size := uint64(s.VirtualSize)
		if size == 0 {
			size = uint64(s.RawSize)
		}
		if size == 0 {
			return fmt.Errorf("%s at 0x%x is empty in memory and in the file", img.section(i), s.RVA)
		}
		where := func() string {
			return fmt.Sprintf("%s at 0x%x+0x%x", img.section(i), s.RVA, size)
		}
		end := uint64(s.RVA) + roundUp(size, align)
		switch {
		case uint64(s.RVA)%align != 0:
			return fmt.Errorf("%s does not start at a multiple of the section alignment 0x%x",
				where(), align)
		case uint64(s.RVA) < next:
			return fmt.Errorf("%s overlaps %s", where(), img.section(i-1))
		case uint64(s.RVA) > next && !flat:
			return fmt.Errorf("%s leaves a gap after %s, which ends at 0x%x", where(),
				img.section(i-1), next)
		case uint64(s.RVA)+size > uint64(img.SizeOfImage):
			return fmt.Errorf("%s ends after the image, whose size is 0x%x", where(),
				img.SizeOfImage)
		}
		if s.RawSize != 0 {
			rawEnd := uint64(s.RawOffset) + uint64(s.RawSize)
			switch {
			case rawEnd > uint64(len(img.data)):
				return fmt.Errorf("%s has its bytes at file offset 0x%x+0x%x, but the file ends "+
					"at 0x%x", img.section(i), s.RawOffset, s.RawSize, len(img.data))
			case s.RawOffset%img.FileAlignment != 0:
				return fmt.Errorf("%s has its bytes at file offset 0x%x, which is no multiple of "+
					"the file alignment 0x%x", img.section(i), s.RawOffset, img.FileAlignment)
			case flat && s.RawOffset != s.RVA:
				return fmt.Errorf("%s is at file offset 0x%x, but an image with section alignment "+
					"0x%x is mapped as the file lies", where(), s.RawOffset, align)
			}
		}
		// The extent fits 32 bits: its end is at most SizeOfImage, which was rounded up.
		s.extent = uint32(min(end, uint64(img.SizeOfImage)) - uint64(s.RVA))
		s.rawUsed = min(s.RawSize, s.extent)
		next = end
	}
	return nil
}

// section names a section by its number, which counts from 1, for error messages; before the first
// one are the headers.
func (img *Image) section(i int) string {
	if i < 0 {
		return "the headers"
	}
	return fmt.Sprintf("section %d (%s)", i+1, img.Sections[i].Name)
}

// roundUp rounds up to a multiple of align, which is a power of two.
func roundUp(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }
