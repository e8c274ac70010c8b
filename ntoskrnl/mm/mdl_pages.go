// MDLs: pages without an address (MmAllocatePagesForMdl).

package mm

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// The flags of MmAllocatePagesForMdlEx. The others have no effect: there is one node, every page is
// at hand, and pages lie one after the other where that is possible.
const (
	MM_DONT_ZERO_ALLOCATION               uint32 = 0x00000001
	MM_ALLOCATE_FROM_LOCAL_NODE_ONLY      uint32 = 0x00000002
	MM_ALLOCATE_FULLY_REQUIRED            uint32 = 0x00000004
	MM_ALLOCATE_NO_WAIT                   uint32 = 0x00000008
	MM_ALLOCATE_PREFER_CONTIGUOUS         uint32 = 0x00000010
	MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS uint32 = 0x00000020
	MM_ALLOCATE_FAST_LARGE_PAGES          uint32 = 0x00000040
)

// AllocatePagesForMdl is MmAllocatePagesForMdlEx: an MDL, in non-paged pool, for up to size bytes
// of pages in the physical range [low, high], then [low+skip, high+skip] and so on if skip is not
// 0. The pages are zeroed unless MM_DONT_ZERO_ALLOCATION is set, and are mapped nowhere. The MDL
// may describe less than size, but with MM_ALLOCATE_FULLY_REQUIRED does not. The error is
// nt.STATUS_INSUFFICIENT_RESOURCES where Windows gives NULL.
//
// With MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS, skip is the size of the chunks, each of which is
// contiguous, and size a multiple of it; skip 0 is one chunk.
func (m *Manager) AllocatePagesForMdl(low, high, skip uint64, size uintptr, flags uint32) (
	nt.Addr, error) {
	if size == 0 || skip%pageSize != 0 || size > uintptr(m.ram.pages)<<pageShift {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	want := uint32((size + pageSize - 1) >> pageShift)
	var blocks []*block
	if flags&MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS != 0 {
		chunk := want
		if skip != 0 {
			chunk = uint32(min(skip>>pageShift, uint64(want)))
		}
		if want%chunk != 0 {
			return 0, nt.STATUS_INSUFFICIENT_RESOURCES
		}
		blocks = m.takePages(blocks, useMdl, mdlTag, low, high, want, chunk)
	} else {
		for left := want; ; {
			n := len(blocks)
			blocks = m.takePages(blocks, useMdl, mdlTag, low, high, left, 1)
			for _, b := range blocks[n:] {
				left -= b.pages
			}
			if left == 0 || skip == 0 || low+skip < low || low+skip > physEnd {
				break
			}
			low, high = low+skip, min(high+skip, physEnd)
		}
	}
	got := uint32(0)
	for _, b := range blocks {
		got += b.pages
	}
	if got == want || got > 0 && flags&MM_ALLOCATE_FULLY_REQUIRED == 0 {
		mdl, err := m.makePagesMdl(blocks, got<<pageShift, flags)
		if err == nil {
			return mdl, nil
		}
	}
	for _, b := range blocks {
		m.closeBlock(b)
	}
	return 0, nt.STATUS_INSUFFICIENT_RESOURCES
}

// takePages appends blocks of up to want pages in [low, high], each a multiple of chunk pages: as
// few as it can. They are for a use that gives them no address in the direct map.
func (m *Manager) takePages(blocks []*block, u use, tag Tag, low, high uint64,
	want, chunk uint32) []*block {
	l, ok := m.ram.limits(low, high, 0)
	if !ok {
		return blocks
	}
	l.align = 1
	for n := want; n >= chunk && want > 0; {
		n = min(n, want)
		start, ok := m.ram.take(kindOther, n, l)
		if !ok {
			n = n / 2 / chunk * chunk
			continue
		}
		b := &block{page: start, pages: n, use: u, kind: kindOther, tag: tag,
			size: uintptr(n) << pageShift}
		if m.ram.open(start, n, guest.ProtNone) != nil {
			m.ram.give(kindOther, start, n, 0)
			return blocks
		}
		b.live.Store(true)
		m.ram.enter(b)
		blocks = append(blocks, b)
		want -= n
	}
	return blocks
}

// makePagesMdl makes the MDL of blocks of pages and zeroes them if asked to.
func (m *Manager) makePagesMdl(blocks []*block, n, flags uint32) (nt.Addr, error) {
	mdl, err := m.allocate(kindNonPaged, false, false, SizeOfMdl(0, uintptr(n)), mdlTag)
	if err != nil {
		return 0, err
	}
	err = initializeMdl(mdl, 0, n, nt.MDL_PAGES_LOCKED)
	i := uintptr(0)
	for _, b := range blocks {
		if flags&MM_DONT_ZERO_ALLOCATION == 0 && err == nil {
			err = m.ram.punch(b.page, b.pages)
		}
		for p := uint64(0); p < uint64(b.pages) && err == nil; p++ {
			err = guest.Store64(framesAt(mdl, i), ramPFN+uint64(b.page)+p)
			i++
		}
	}
	if err != nil {
		_ = m.FreePool(mdl)
		return 0, err
	}
	return mdl, nil
}

// FreePagesFromMdl is MmFreePagesFromMdl: it frees the pages that AllocatePagesForMdl gave; the MDL
// itself stays, for ExFreePool. A system mapping is undone first. The error is a *StopError when
// the MDL describes other pages.
func (m *Manager) FreePagesFromMdl(mdl nt.Addr) error {
	h, err := loadMdl(mdl)
	if err != nil {
		return err
	}
	if flagsOf(&h)&nt.MDL_MAPPED_TO_SYSTEM_VA != 0 {
		if err := m.UnmapLockedPages(h.MappedSystemVa, mdl); err != nil {
			return err
		}
		if h, err = loadMdl(mdl); err != nil {
			return err
		}
	}
	frames, err := readFrames(nil, mdl, pagesOf(&h))
	if err != nil {
		return err
	}
	var blocks []*block
	for _, r := range frames {
		for r.n > 0 {
			b := m.mdlBlock(r)
			if b == nil {
				return &StopError{
					Code:   nt.PFN_LIST_CORRUPT,
					Params: [4]uint64{0x99, r.first, 0, 0},
					What: "MmFreePagesFromMdl of the MDL at " + mdl.String() +
						", whose pages are not those of MmAllocatePagesForMdl",
				}
			}
			blocks = append(blocks, b)
			r.first += uint64(b.pages)
			r.n -= uint64(b.pages)
		}
	}
	for _, b := range blocks {
		m.closeBlock(b)
	}
	h.MdlFlags = int16(flagsOf(&h) &^ nt.MDL_PAGES_LOCKED)
	return storeMdl(mdl, h)
}

// mdlBlock gives the live block of pages of an MDL with which r begins, or nil.
func (m *Manager) mdlBlock(r frameRun) *block {
	if !m.isRAM(r.first) {
		return nil
	}
	page := uint32(r.first - ramPFN)
	b := m.ram.blockOf(page)
	if b == nil || !b.live.Load() || b.use != useMdl || b.page != page || uint64(b.pages) > r.n {
		return nil
	}
	return b
}
