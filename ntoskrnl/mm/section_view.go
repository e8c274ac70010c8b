// Views: where sections can be seen.

package mm

import (
	"errors"
	"math/bits"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"golang.org/x/sys/unix"
)

// The MEM_* flags of a view.
const (
	MEM_RESERVE     uint32 = 0x00002000
	MEM_TOP_DOWN    uint32 = 0x00100000
	MEM_LARGE_PAGES uint32 = 0x20000000
)

// granularity is that of views' addresses and offsets, in bytes.
const granularity = 64 << 10

// maxZeroBits is the largest number of address bits that a view can be asked to leave zero.
const maxZeroBits = 21

// ViewRequest says what view is wanted. Sizes, offsets and addresses are in bytes.
type ViewRequest struct {
	Base           nt.Addr // 0: where there is room
	ZeroBits       uint64  // how many high bits of a 32-bit address are zero; above 32 a mask
	CommitSize     uint64  // what is committed of a reserved section, from the view's start on
	Offset         uint64  // in the section
	Size           uint64  // 0: up to the section's end
	AllocationType uint32  // MEM_*
	Protect        uint32  // PAGE_*
}

// View is a view that was mapped.
type View struct {
	Base   nt.Addr
	Offset uint64 // in the section, in bytes
	Size   uint64 // in bytes, whole pages

	lead uint64 // the bytes before the page that was asked for
}

// view is what a mapping shows of a section.
type view struct {
	section *Section
	offset  uint64
	prot    guest.Prot
	user    bool // in the user arena, for a process
	copy    bool // what is written there stays there
}

// hides says whether the view's address is of no use to who looks for one of its pages.
func (v *view) hides() bool { return v.copy || v.prot&guest.ProtRead == 0 }

// Check is what is said of a request before anybody looks at the section:
// STATUS_INVALID_PARAMETER_9 for the allocation type, STATUS_INVALID_PAGE_PROTECTION,
// STATUS_INVALID_PARAMETER_3 for an address or a size that is not user memory's,
// STATUS_INVALID_PARAMETER_4 for the zero bits.
func (r ViewRequest) Check() nt.Status {
	if r.AllocationType&^(MEM_RESERVE|MEM_TOP_DOWN|MEM_LARGE_PAGES) != 0 {
		return nt.STATUS_INVALID_PARAMETER_9
	}
	if _, ok := sectionRights(r.Protect); !ok {
		return nt.STATUS_INVALID_PAGE_PROTECTION
	}
	if r.Base >= guest.UserEnd || r.Size > uint64(guest.UserEnd-r.Base) {
		return nt.STATUS_INVALID_PARAMETER_3
	}
	if r.ZeroBits > maxZeroBits && (r.ZeroBits <= 32 || r.ZeroBits > 1<<47) {
		return nt.STATUS_INVALID_PARAMETER_4
	}
	return nt.STATUS_SUCCESS
}

// CheckAlignment is what ZwMapViewOfSection says of an address and an offset that are not multiples
// of 64 KiB: STATUS_MAPPED_ALIGNMENT. An offset in the physical memory is rounded down instead.
func (s *Section) CheckAlignment(r ViewRequest) nt.Status {
	if r.Base%granularity != 0 || r.Offset%granularity != 0 && !s.physical {
		return nt.STATUS_MAPPED_ALIGNMENT
	}
	return nt.STATUS_SUCCESS
}

// CheckProtection says whether views can have a protection: STATUS_SECTION_PROTECTION, and
// STATUS_INVALID_PAGE_PROTECTION for a copy of physical memory.
func (s *Section) CheckProtection(protect uint32) nt.Status {
	have, _ := sectionRights(s.page)
	need, ok := sectionRights(protect)
	_, isCopy := viewProt(protect)
	switch {
	case !ok || isCopy && s.physical:
		return nt.STATUS_INVALID_PAGE_PROTECTION
	case need&^have != 0:
		return nt.STATUS_SECTION_PROTECTION
	}
	return nt.STATUS_SUCCESS
}

// viewProt gives the protection of a view's pages, and whether they are copied when written.
func viewProt(protect uint32) (prot guest.Prot, isCopy bool) {
	switch protect &^ pageCaching {
	case pageWriteCopy:
		return guest.ProtRW, true
	case pageExecuteWriteCopy:
		return guest.ProtRWX, true
	}
	prot, _ = PageProt(protect)
	return prot, false
}

// MapView is MmMapViewOfSection: it maps a view in the user arena, as user memory of the process
// that owner is the window of; nil is a process without one, such as System. An offset is rounded
// down to 64 KiB, and the view begins there.
//
// The status is what Check and CheckProtection say; STATUS_INVALID_VIEW_SIZE for what is not in the
// section, STATUS_INVALID_PARAMETER_5 to commit more than the view, STATUS_INVALID_PARAMETER_9 for
// MEM_RESERVE, which is for files, STATUS_CONFLICTING_ADDRESSES where Base is taken,
// STATUS_NO_MEMORY without room, STATUS_PROCESS_IS_TERMINATING, STATUS_INSUFFICIENT_RESOURCES for
// physical memory that cannot be mapped.
func (s *Section) MapView(owner *Window, r ViewRequest) (View, nt.Status) {
	status := r.Check()
	if status == nt.STATUS_SUCCESS {
		status = s.CheckProtection(r.Protect)
	}
	if status == nt.STATUS_SUCCESS && r.AllocationType&MEM_RESERVE != 0 {
		status = nt.STATUS_INVALID_PARAMETER_9
	}
	if status != nt.STATUS_SUCCESS {
		return View{}, status
	}
	v, status := s.extent(r.Offset, r.Size)
	if status != nt.STATUS_SUCCESS {
		return View{}, status
	}
	if !s.physical && r.CommitSize > v.Size {
		return View{}, nt.STATUS_INVALID_PARAMETER_5
	}
	v.Base = r.Base &^ (granularity - 1)
	p := &mapping{user: owner, view: &view{section: s, offset: v.Offset, user: true}}
	p.view.prot, p.view.copy = viewProt(r.Protect)
	if v.Base, status = s.show(p, v, r.CommitSize, "view of a section"); status != nt.STATUS_SUCCESS {
		return View{}, status
	}
	if r.Base == 0 && r.ZeroBits != 0 && uint64(v.Base)+v.Size-1 > highestAddress(r.ZeroBits) {
		s.m.unmap(v.Base, func(q *mapping) bool { return q == p })
		return View{}, nt.STATUS_NO_MEMORY
	}
	return v, nt.STATUS_SUCCESS
}

// highestAddress gives the last address that has the zero bits.
func highestAddress(zeroBits uint64) uint64 {
	if zeroBits > 32 {
		return 1<<bits.Len64(zeroBits) - 1
	}
	return 0xFFFFFFFF >> zeroBits
}

// MapSystemView is MmMapViewInSystemSpaceEx: it maps a view in the system arena, with the section's
// protection but never for execution. An offset is rounded down to 64 KiB, and the view begins
// there; a size of 0 is all up to the section's end. STATUS_INVALID_VIEW_SIZE, STATUS_NO_MEMORY.
func (s *Section) MapSystemView(offset, size uint64) (View, nt.Status) {
	v, status := s.extent(offset, size)
	if status != nt.STATUS_SUCCESS {
		return View{}, status
	}
	p := &mapping{view: &view{section: s, offset: v.Offset}}
	p.view.prot, p.view.copy = viewProt(s.page)
	p.view.prot &^= guest.ProtExec
	v.Base, status = s.show(p, v, 0, "view of a section in system space")
	return v, status
}

// extent gives what of the section a view shows.
func (s *Section) extent(offset, size uint64) (View, nt.Status) {
	if offset >= s.size || size > s.size-offset {
		return View{}, nt.STATUS_INVALID_VIEW_SIZE
	}
	if size == 0 {
		size = s.size - offset
	}
	start := offset &^ (granularity - 1)
	size = (offset + size - start + pageSize - 1) &^ (pageSize - 1)
	return View{Offset: start, Size: size, lead: (offset - start) &^ (pageSize - 1)},
		nt.STATUS_SUCCESS
}

// show maps a view, at its base if that is not 0, and enters it.
func (s *Section) show(p *mapping, v View, commit uint64, what string) (nt.Addr, nt.Status) {
	m := s.m
	p.frames = s.framesOf(v)
	reserve := m.space.ReserveSystem
	switch {
	case p.view.user && v.Base != 0:
		reserve = func(size uintptr, what string) (*guest.Region, error) {
			return m.space.ReserveUserAt(v.Base, size, what)
		}
	case p.view.user:
		reserve = m.space.ReserveUser
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs == 0 {
		return 0, nt.STATUS_INVALID_PARAMETER_1
	}
	var err error
	if p.region, err = reserve(uintptr(v.Size), what); err != nil {
		var taken *guest.TakenError
		if errors.As(err, &taken) {
			return 0, nt.STATUS_CONFLICTING_ADDRESSES
		}
		return 0, nt.STATUS_NO_MEMORY
	}
	flags := uintptr(unix.MAP_SHARED)
	if p.view.copy {
		flags = unix.MAP_PRIVATE | unix.MAP_NORESERVE
	}
	if err = p.region.Commit(0, uintptr(v.Size), p.view.prot); err == nil {
		err = m.mapOver(p.region.Base(), p.frames, p.view.prot, flags)
	}
	if s.physical && v.lead > 0 && errors.Is(err, errUnmappable) {
		err = s.skipLead(p, v)
	}
	if err == nil {
		err = s.hideReserved(p)
	}
	if err == nil {
		err = s.commit(v.Offset, commit)
	}
	if err == nil {
		s.views[p] = struct{}{}
		err = s.reveal(p, v.Offset, commit)
	}
	status := nt.STATUS_SUCCESS
	if err != nil {
		status = nt.STATUS_INSUFFICIENT_RESOURCES
	} else if !m.enterView(p) {
		status = nt.STATUS_PROCESS_IS_TERMINATING
	}
	if status != nt.STATUS_SUCCESS {
		delete(s.views, p)
		_ = p.region.Free() // it is gone even when its addresses could not be given back
		return 0, status
	}
	s.refs++
	return p.region.Base(), nt.STATUS_SUCCESS
}

// enterView makes a view known, and the user memory of its process; false when that is gone. A
// process that ends meanwhile finds either none of it or all.
func (m *Manager) enterView(p *mapping) bool {
	m.mapMu.Lock()
	defer m.mapMu.Unlock()
	if p.user != nil && !p.user.addMapping(p) {
		return false
	}
	m.maps[p.region.Base()] = p
	return true
}

// skipLead maps a view of physical memory without what only rounding has added, where no memory is.
func (s *Section) skipLead(p *mapping, v View) error {
	if err := p.region.Protect(0, uintptr(v.lead), guest.ProtNone); err != nil {
		return err
	}
	rest := View{Offset: v.Offset + v.lead, Size: v.Size - v.lead}
	return s.m.mapOver(p.region.Base()+nt.Addr(v.lead), s.framesOf(rest), p.view.prot,
		unix.MAP_SHARED)
}

// framesOf gives the page frames of a part of the section.
func (s *Section) framesOf(v View) []frameRun {
	first, n := v.Offset>>pageShift, v.Size>>pageShift
	if s.physical {
		return []frameRun{{first, n}}
	}
	var frames []frameRun
	for _, r := range s.frames {
		if first >= r.n {
			first -= r.n
			continue
		}
		take := min(n, r.n-first)
		frames = append(frames, frameRun{r.first + first, take})
		first = 0
		if n -= take; n == 0 {
			break
		}
	}
	return frames
}

// hideReserved takes the access to what is not committed away from a new view. s.mu is held.
func (s *Section) hideReserved(p *mapping) error {
	if s.reserved == nil {
		return nil
	}
	return s.eachRun(p, 0, s.size, true, guest.ProtNone)
}

// commit commits n bytes of the section from off on in all views. s.mu is held.
func (s *Section) commit(off, n uint64) error {
	if s.reserved == nil || n == 0 {
		return nil
	}
	for i := off >> pageShift; i < (off+n+pageSize-1)>>pageShift; i++ {
		s.reserved[i] = false
	}
	for p := range s.views {
		// A view that is being unmapped needs no more access.
		if err := s.reveal(p, off, n); err != nil && !errors.Is(err, guest.ErrFreed) {
			return err
		}
	}
	return nil
}

// reveal gives a view its access to what is committed of the n bytes from off on. s.mu is held.
func (s *Section) reveal(p *mapping, off, n uint64) error {
	if s.reserved == nil || n == 0 {
		return nil
	}
	return s.eachRun(p, off, n, false, p.view.prot)
}

// eachRun sets the protection of the view's pages that are reserved, or not, in the n bytes of the
// section from off on. s.mu is held.
func (s *Section) eachRun(p *mapping, off, n uint64, reserved bool, prot guest.Prot) error {
	start := max(off, p.view.offset) >> pageShift
	end := (min(off+n, p.view.offset+uint64(p.region.Size())) + pageSize - 1) >> pageShift
	for i := start; i < end; i++ {
		if s.reserved[i] != reserved {
			continue
		}
		j := i + 1
		for j < end && s.reserved[j] == reserved {
			j++
		}
		err := p.region.Protect(uintptr(i<<pageShift-p.view.offset), uintptr((j-i)<<pageShift), prot)
		if err != nil {
			return err
		}
		i = j
	}
	return nil
}

// dropView says that a view is gone.
func (s *Section) dropView(p *mapping) {
	s.mu.Lock()
	delete(s.views, p)
	s.mu.Unlock()
	if s.file != nil && !p.view.copy && p.view.prot&guest.ProtWrite != 0 {
		s.file.Flush(int64(p.view.offset), int64(p.region.Size()))
	}
	s.Release()
}

// viewAt gives the view that contains a, or nil.
func (m *Manager) viewAt(a nt.Addr) *mapping {
	if m.ram.contains(a) {
		return nil
	}
	info, ok := m.space.Lookup(a)
	if !ok {
		return nil
	}
	if p := m.mappingFrom(info.Base); p != nil && p.view != nil {
		return p
	}
	return nil
}

// UnmapView is MmUnmapViewOfSection: it ends the view that contains a, an address of the process
// that owner is the window of. STATUS_NOT_MAPPED_VIEW.
func (m *Manager) UnmapView(owner *Window, a nt.Addr) nt.Status {
	p := m.viewAt(a)
	if p == nil || !m.unmap(p.region.Base(), func(q *mapping) bool {
		return q == p && q.view.user && q.user == owner
	}) {
		return nt.STATUS_NOT_MAPPED_VIEW
	}
	return nt.STATUS_SUCCESS
}

// UnmapSystemView is MmUnmapViewInSystemSpace of a view's first address. The error is a *StopError
// when there is no such view.
func (m *Manager) UnmapSystemView(a nt.Addr) error {
	if m.unmap(a, func(p *mapping) bool { return p.view != nil && !p.view.user }) {
		return nil
	}
	return &StopError{
		Code:   nt.DRIVER_UNMAPPING_INVALID_VIEW,
		Params: [4]uint64{uint64(a), 0, 0, 0},
		What:   "MmUnmapViewInSystemSpace of " + a.String() + ", where no view begins",
	}
}

// sharedUserMemory is the user memory of processes without a window: their views.
type sharedUserMemory struct{ m *Manager }

// SystemUserMemory gives the user memory of processes that have no window, such as System: the
// views that were mapped for them.
func (m *Manager) SystemUserMemory() UserMemory { return sharedUserMemory{m} }

// Contains says whether the n bytes at a lie in such a view.
func (u sharedUserMemory) Contains(a nt.Addr, n uintptr) bool {
	p := u.m.viewAt(a)
	return p != nil && p.view.user && p.user == nil && p.region.Contains(a, n)
}
