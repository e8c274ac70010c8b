// Base relocations: the places that hold absolute addresses ("PE Format", The .reloc Section).

package pe

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
)

// relocations is a table that checkBlocks accepted.
type relocations struct {
	raw []byte // blocks, whole ones only, as they lie in the file
}

// The types of base relocations that x64 images have.
const (
	relAbsolute = 0 // padding
	relHighLow  = 3 // 32 bits
	relDir64    = 10
)

const relocBlockHeader = 8

// parseRelocations checks every block and every entry, so that mapping can apply them as they are.
func (img *Image) parseRelocations(d directory) error {
	raw, size := img.at(d.VirtualAddress)
	if d.Size > size || size == 0 {
		return fmt.Errorf("it is not inside of one section")
	}
	// What the file does not hold is zeros, which end the table.
	raw = raw[:min(uint64(len(raw)), uint64(d.Size))]
	end := uint64(0)
	for off := uint64(0); off < uint64(d.Size); {
		page, n := le32(raw, off), uint64(le32(raw, off+4))
		where := func() string { return img.place(d.VirtualAddress + uint32(off)) }
		if page == 0 && n == 0 {
			// Linkers round the directory's size up; what follows the last block is zeros.
			for i := off; i < uint64(len(raw)); i++ {
				if raw[i] != 0 {
					return fmt.Errorf("block at %s has size 0, and is not the last", where())
				}
			}
			break
		}
		switch {
		case n < relocBlockHeader:
			return fmt.Errorf("block at %s has size 0x%x, less than its header", where(), n)
		case n%2 != 0:
			return fmt.Errorf("block at %s has size 0x%x, which is odd", where(), n)
		case off+n > uint64(d.Size):
			return fmt.Errorf("block at %s with size 0x%x runs over the end of the directory",
				where(), n)
		case off+n > uint64(len(raw)):
			return fmt.Errorf("block at %s with size 0x%x runs over the bytes that the file has",
				where(), n)
		}
		if err := img.checkBlock(page, raw[off+relocBlockHeader:off+n]); err != nil {
			return fmt.Errorf("block at %s: %w", where(), err)
		}
		off += n
		end = off
	}
	img.relocs.raw = raw[:end]
	return nil
}

// checkBlock checks the entries of the block for one page.
func (img *Image) checkBlock(page uint32, entries []byte) error {
	// Entries of a block nearly always hit the same section: remember its bounds.
	var lo, hi uint64
	for i := 0; i < len(entries); i += 2 {
		e := uint16(entries[i]) | uint16(entries[i+1])<<8
		var width uint64
		switch e >> 12 {
		case relAbsolute:
			continue
		case relHighLow:
			width = 4
		case relDir64:
			width = 8
		default:
			return fmt.Errorf("entry %d has type %d, which x64 images do not have", i/2+1, e>>12)
		}
		at := uint64(page) + uint64(e&0xfff)
		if at < lo || at+width > hi {
			if at > uint64(img.SizeOfImage) || !img.inSection(uint32(at), uint32(width)) {
				return fmt.Errorf("entry %d is for %d bytes at 0x%x, which are in no section",
					i/2+1, width, at)
			}
			s, _ := img.SectionAt(uint32(at))
			lo, hi = uint64(s.RVA), uint64(s.end())
		}
	}
	return nil
}

// relocate adds delta to every absolute address of an image mapped at base.
func (img *Image) relocate(base guest.Addr, delta uint64) error {
	for raw := img.relocs.raw; len(raw) >= relocBlockHeader; {
		page, n := le32(raw, 0), le32(raw, 4)
		at := base + guest.Addr(page)
		for i := uint32(relocBlockHeader); i+2 <= n; i += 2 {
			e := uint16(raw[i]) | uint16(raw[i+1])<<8
			a := at + guest.Addr(e&0xfff)
			var err error
			switch e >> 12 {
			case relDir64:
				var v uint64
				if v, err = guest.Load64(a); err == nil {
					err = guest.Store64(a, v+delta)
				}
			case relHighLow:
				var v uint32
				if v, err = guest.Load32(a); err == nil {
					err = guest.Store32(a, v+uint32(delta))
				}
			}
			if err != nil {
				return err
			}
		}
		raw = raw[n:]
	}
	return nil
}
