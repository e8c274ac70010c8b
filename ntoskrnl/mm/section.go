// Sections: memory that can be seen at several addresses, and the physical memory as such.

package mm

import (
	"sync"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// The SEC_* attributes of a section.
const (
	SEC_BASED        uint32 = 0x00200000
	SEC_NO_CHANGE    uint32 = 0x00400000
	SEC_FILE         uint32 = 0x00800000
	SEC_IMAGE        uint32 = 0x01000000
	SEC_RESERVE      uint32 = 0x04000000
	SEC_COMMIT       uint32 = 0x08000000
	SEC_NOCACHE      uint32 = 0x10000000
	SEC_WRITECOMBINE uint32 = 0x40000000
	SEC_LARGE_PAGES  uint32 = 0x80000000
)

// The PAGE_* protections that PageProt does not answer, and the bits for caching.
const (
	pageWriteCopy        = 0x08
	pageExecuteWriteCopy = 0x80
	pageNoCache          = 0x200
	pageWriteCombine     = 0x400
	pageCaching          = pageNoCache | pageWriteCombine

	pageNoAccess         = 0x01
	pageExecuteReadWrite = 0x40
)

// maxSection is the largest size of a section in bytes.
const maxSection = 16 << 40

// sectionTag is the tag of the pages of sections.
const sectionTag Tag = 'M' | 'm'<<8 | 'S'<<16 | 't'<<24

// Section is a section: pages of RAM, which may be those of a file, or all of the physical memory.
// It stays for as long as there is a reference, a view or a lock of its pages. Its methods may be
// called from any goroutine.
type Section struct {
	m          *Manager
	size       uint64 // in bytes, whole pages
	page       uint32 // PAGE_*
	attributes uint32 // SEC_*
	physical   bool

	blocks []*block
	frames []frameRun

	file  *FilePages // whose pages it shows, or nil
	parts []*Section // where those are
	done  func()     // called when it has ended

	mu       sync.Mutex
	refs     int
	reserved []bool // by page: not committed yet; nil where all are
	views    map[*mapping]struct{}
}

// NewSection is MmCreateSection without a file: a section of size bytes, rounded up to pages, that
// holds zeros. page is the protection PAGE_* that its views can have, attributes are SEC_COMMIT or
// SEC_RESERVE and what goes with them. The pages of a reserved section belong to it from the
// beginning, but cannot be accessed until a view commits them. Release gives up the reference.
//
// The status is STATUS_INVALID_PARAMETER_6 for attributes, STATUS_INVALID_PAGE_PROTECTION,
// STATUS_INVALID_PARAMETER_4 for no size, STATUS_SECTION_TOO_BIG, STATUS_COMMITMENT_LIMIT without
// memory, STATUS_INVALID_FILE_FOR_SECTION for SEC_IMAGE, and STATUS_NOT_SUPPORTED for SEC_BASED and
// SEC_LARGE_PAGES.
func (m *Manager) NewSection(size uint64, page, attributes uint32) (*Section, nt.Status) {
	if status := CheckSection(page, attributes); status != nt.STATUS_SUCCESS {
		return nil, status
	}
	switch {
	case attributes&SEC_IMAGE != 0:
		return nil, nt.STATUS_INVALID_FILE_FOR_SECTION
	case attributes&(SEC_BASED|SEC_LARGE_PAGES) != 0:
		return nil, nt.STATUS_NOT_SUPPORTED
	case size == 0:
		return nil, nt.STATUS_INVALID_PARAMETER_4
	case size > maxSection:
		return nil, nt.STATUS_SECTION_TOO_BIG
	case size > uint64(m.ram.pages)<<pageShift:
		return nil, nt.STATUS_COMMITMENT_LIMIT
	}
	pages := uint32((size + pageSize - 1) >> pageShift)
	s := &Section{m: m, size: uint64(pages) << pageShift, page: page, attributes: attributes,
		refs: 1, views: map[*mapping]struct{}{}}
	got := s.take(lowEnd, ^uint64(0), pages)
	got += s.take(0, lowEnd-1, pages-got)
	for _, b := range s.blocks {
		s.frames = append(s.frames, frameRun{ramPFN + uint64(b.page), uint64(b.pages)})
	}
	m.sections.Add(1)
	if got < pages || s.clear() != nil {
		s.Release()
		return nil, nt.STATUS_COMMITMENT_LIMIT
	}
	if attributes&SEC_RESERVE != 0 {
		s.reserved = make([]bool, pages)
		for i := range s.reserved {
			s.reserved[i] = true
		}
	}
	return s, nt.STATUS_SUCCESS
}

// lowEnd is the physical address where memory begins that is not for ISA DMA. Sections have what is
// below only where nothing else is left.
const lowEnd = 16 << 20

// take takes up to n pages in a physical range, and says how many it got.
func (s *Section) take(low, high uint64, n uint32) (got uint32) {
	had := len(s.blocks)
	s.blocks = s.m.takePages(s.blocks, useSection, sectionTag, low, high, n, 1)
	for _, b := range s.blocks[had:] {
		got += b.pages
	}
	return got
}

// clear makes the pages read as zeros.
func (s *Section) clear() error {
	for _, b := range s.blocks {
		if err := s.m.ram.punch(b.page, b.pages); err != nil {
			return err
		}
	}
	return nil
}

// CheckSection says whether the protection and the attributes of a section make sense:
// STATUS_INVALID_PARAMETER_6, STATUS_INVALID_PAGE_PROTECTION.
func CheckSection(page, attributes uint32) nt.Status {
	const known = SEC_BASED | SEC_NO_CHANGE | SEC_IMAGE | SEC_RESERVE | SEC_COMMIT | SEC_NOCACHE |
		SEC_WRITECOMBINE | SEC_LARGE_PAGES
	how := attributes & (SEC_COMMIT | SEC_RESERVE | SEC_IMAGE)
	caching := attributes & (SEC_NOCACHE | SEC_WRITECOMBINE)
	if attributes&^known != 0 || how == 0 || how&(how-1) != 0 ||
		caching == SEC_NOCACHE|SEC_WRITECOMBINE ||
		how == SEC_IMAGE && attributes&(SEC_WRITECOMBINE|SEC_LARGE_PAGES) != 0 {
		return nt.STATUS_INVALID_PARAMETER_6
	}
	if _, ok := sectionRights(page); !ok || page == pageNoAccess || page&pageCaching != 0 {
		return nt.STATUS_INVALID_PAGE_PROTECTION
	}
	return nt.STATUS_SUCCESS
}

// PhysicalMemory makes the section of the physical memory, \Device\PhysicalMemory: an offset in it
// is a physical address, of RAM or of a device.
func (m *Manager) PhysicalMemory() *Section {
	m.sections.Add(1)
	return &Section{m: m, size: physEnd, page: pageExecuteReadWrite, physical: true, refs: 1,
		views: map[*mapping]struct{}{}}
}

// SectionInfo is what there is to know of a section.
type SectionInfo struct {
	Size       uint64 // in bytes
	Page       uint32 // PAGE_*
	Attributes uint32 // SEC_*
	Physical   bool   // it is the physical memory
}

// Info tells about the section.
func (s *Section) Info() SectionInfo {
	return SectionInfo{Size: s.size, Page: s.page, Attributes: s.attributes, Physical: s.physical}
}

// Release gives up a reference. With the last one the pages are free.
func (s *Section) Release() {
	s.mu.Lock()
	s.refs--
	last := s.refs == 0
	s.mu.Unlock()
	if !last {
		return
	}
	if s.file != nil {
		s.file.Flush(0, -1)
	}
	for _, b := range s.blocks {
		s.m.closeBlock(b)
	}
	for _, p := range s.parts {
		p.Release()
	}
	s.m.sections.Add(-1)
	if s.done != nil {
		s.done()
	}
}

// reference adds a reference, unless the last one has gone.
func (s *Section) reference() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs == 0 {
		return false
	}
	s.refs++
	return true
}

// sectionAt gives the section that a view shows at a, with a reference, or nil.
func (m *Manager) sectionAt(a nt.Addr) *Section {
	p := m.viewAt(a)
	if p == nil || !p.view.section.reference() {
		return nil
	}
	return p.view.section
}

// The rights that a protection stands for.
const (
	canRead = 1 << iota
	canWrite
	canExecute
)

// sectionRights gives the rights of a protection; ok is false for one that is not known. Writing to
// a copy is no more than reading.
func sectionRights(page uint32) (rights uint8, ok bool) {
	caching := page & pageCaching
	if caching == pageCaching || caching != 0 && page&^pageCaching == pageNoAccess {
		return 0, false
	}
	switch page &^ pageCaching {
	case pageWriteCopy:
		return canRead, true
	case pageExecuteWriteCopy:
		return canRead | canExecute, true
	}
	prot, ok := PageProt(page)
	if prot&guest.ProtRead != 0 {
		rights |= canRead
	}
	if prot&guest.ProtWrite != 0 {
		rights |= canWrite
	}
	if prot&guest.ProtExec != 0 {
		rights |= canExecute
	}
	return rights, ok
}
