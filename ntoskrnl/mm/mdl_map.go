// MDLs: mapping the pages at a further address.

package mm

import (
	"fmt"
	"slices"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// mappable are the flags of which an MDL that is to be mapped has at least one.
const mappable = nt.MDL_PAGES_LOCKED | nt.MDL_SOURCE_IS_NONPAGED_POOL | nt.MDL_PARTIAL |
	nt.MDL_IO_SPACE

// SystemAddressForMdl is MmGetSystemAddressForMdlSafe: the system address of an MDL's buffer, which
// is mapped if it is not yet. The error is that of MapLockedPages.
func (m *Manager) SystemAddressForMdl(mdl nt.Addr) (nt.Addr, error) {
	h, err := loadMdl(mdl)
	if err != nil {
		return 0, err
	}
	if flagsOf(&h)&(nt.MDL_MAPPED_TO_SYSTEM_VA|nt.MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
		return h.MappedSystemVa, nil
	}
	return m.MapLockedPages(mdl, nt.KernelMode, nil)
}

// MapLockedPages is MmMapLockedPagesSpecifyCache for whatever caching: the address at which the
// pages of an MDL can be accessed, with the buffer's offset in its first page.
//
// For KernelMode it is a system address, which also goes into the MDL. Pages of a window always have
// one; it is that. Pages that cannot be mapped twice, such as an image's, stay where they are. For
// UserMode the pages are mapped in the user arena and become user memory of the process that owner
// is the window of.
//
// The error is nt.STATUS_INSUFFICIENT_RESOURCES when the pages cannot be mapped (NULL to the driver;
// in UserMode Windows raises), or a *StopError when the MDL is not locked.
func (m *Manager) MapLockedPages(mdl nt.Addr, mode nt.ProcessorMode, owner *Window) (
	nt.Addr, error) {
	h, err := loadMdl(mdl)
	if err != nil {
		return 0, err
	}
	flags := flagsOf(&h)
	if flags&mappable == 0 {
		return 0, mdlFlagsError(verifierMapFlags, "MmMapLockedPages", mdl, &h, mappable)
	}
	var few [4]frameRun
	frames, err := readFrames(few[:0], mdl, pagesOf(&h))
	if err != nil {
		return 0, err
	}
	if len(frames) == 0 {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	off := nt.Addr(h.ByteOffset)
	if mode == nt.UserMode {
		base, err := m.mapUser(mdl, frames, owner)
		return base + off, err
	}
	if flags&nt.MDL_MAPPED_TO_SYSTEM_VA != 0 {
		return h.MappedSystemVa, nil
	}
	base, err := m.mapSystem(mdl, frames)
	if err != nil {
		return 0, err
	}
	h.MappedSystemVa = base + off
	flags |= nt.MDL_MAPPED_TO_SYSTEM_VA
	if flags&nt.MDL_PARTIAL != 0 {
		flags |= nt.MDL_PARTIAL_HAS_BEEN_MAPPED
	}
	h.MdlFlags = int16(flags)
	return base + off, storeMdl(mdl, h)
}

// mapUser maps page frames in the user arena for a process.
func (m *Manager) mapUser(mdl nt.Addr, frames []frameRun, owner *Window) (nt.Addr, error) {
	if owner == nil {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	p := &mapping{frames: slices.Clone(frames), mdl: mdl, user: owner}
	err := m.mapFrames(p, guest.ArenaUser, guest.ProtRW, "pages that a driver mapped for "+owner.name)
	if err != nil {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	base := p.region.Base()
	if !owner.addMapping(p) {
		m.unmap(base, func(q *mapping) bool { return q == p })
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	return base, nil
}

// mapSystem gives the system address of page frames, which it maps where they have none.
func (m *Manager) mapSystem(mdl nt.Addr, frames []frameRun) (nt.Addr, error) {
	if len(frames) == 1 {
		a, err := m.systemAlias(mdl, frames[0])
		if a != 0 || err != nil {
			return a, err
		}
	}
	p := &mapping{frames: slices.Clone(frames), mdl: mdl}
	if m.mapFrames(p, guest.ArenaSystem, guest.ProtRW, "mapping of an MDL") != nil {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	return p.region.Base(), nil
}

// systemAlias gives the system address that a run of page frames always has, or 0.
func (m *Manager) systemAlias(mdl nt.Addr, r frameRun) (nt.Addr, error) {
	if !isOther(r.first) {
		return 0, nil
	}
	a, size := otherAddr(r.first), uintptr(r.n)<<pageShift
	if w := m.systemWindow(a); w != nil {
		if uintptr(a-w.sysBase) > w.size || size > w.size-uintptr(a-w.sysBase) {
			return 0, nil
		}
		return a, nil
	}
	// Private pages, such as those of an image, have no other address. A mapping can be written
	// whatever the pages' own protection is, so for as long as there is one, they can.
	if !m.accessible(a, size, guest.ProtNone) {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	err := m.protectFor(mdl, a, size, func(p guest.Prot) guest.Prot { return p | guest.ProtRW })
	if err != nil {
		m.restore(mdl)
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	return a, nil
}

// UnmapLockedPages is MmUnmapLockedPages of the address a that MapLockedPages gave for the MDL. The
// error is a *StopError when it is not mapped there.
func (m *Manager) UnmapLockedPages(a, mdl nt.Addr) error {
	h, err := loadMdl(mdl)
	if err != nil {
		return err
	}
	base := a &^ (pageSize - 1)
	if m.space.IsUserRange(a, 0) {
		if m.unmap(base, func(p *mapping) bool { return p.mdl == mdl && p.user != nil }) {
			return nil
		}
		return notMapped(a, mdl, &h)
	}
	flags := flagsOf(&h)
	if flags&nt.MDL_MAPPED_TO_SYSTEM_VA == 0 || h.MappedSystemVa != a {
		return notMapped(a, mdl, &h)
	}
	m.restore(mdl)
	m.unmap(base, func(p *mapping) bool { return p.mdl == mdl && p.user == nil })
	h.MdlFlags = int16(flags &^ (nt.MDL_MAPPED_TO_SYSTEM_VA | nt.MDL_PARTIAL_HAS_BEEN_MAPPED |
		nt.MDL_FREE_EXTRA_PTES))
	return storeMdl(mdl, h)
}

// notMapped makes the error of unmapping what is not mapped.
func notMapped(a, mdl nt.Addr, h *nt.MDL) error {
	return &StopError{
		Code:   nt.SYSTEM_PTE_MISUSE,
		Params: [4]uint64{pteMdlNotMapped, uint64(mdl), uint64(a), uint64(pagesOf(h))},
		What: fmt.Sprintf("MmUnmapLockedPages of %v, where the MDL at %v (flags %#x) is not mapped",
			a, mdl, flagsOf(h)),
	}
}

// PageProt gives the protection that a PAGE_* value of memory protection means; ok is false for
// one that is not known. The caching bits PAGE_NOCACHE and PAGE_WRITECOMBINE are ignored.
func PageProt(page uint32) (prot guest.Prot, ok bool) {
	switch page &^ 0x600 {
	case 0x01: // PAGE_NOACCESS
		return guest.ProtNone, true
	case 0x02: // PAGE_READONLY
		return guest.ProtRead, true
	case 0x04: // PAGE_READWRITE
		return guest.ProtRW, true
	case 0x10: // PAGE_EXECUTE
		return guest.ProtExec, true
	case 0x20: // PAGE_EXECUTE_READ
		return guest.ProtRX, true
	case 0x40: // PAGE_EXECUTE_READWRITE
		return guest.ProtRWX, true
	}
	return 0, false
}

// ProtectMdlSystemAddress is MmProtectMdlSystemAddress: it changes the protection of an MDL's system
// mapping until it is unmapped. A status that is not STATUS_SUCCESS is the driver's answer:
// STATUS_INVALID_PAGE_PROTECTION, or STATUS_NOT_MAPPED_VIEW.
//
// The pages of a window have one system address only: that is what changes.
func (m *Manager) ProtectMdlSystemAddress(mdl nt.Addr, page uint32) nt.Status {
	h, err := loadMdl(mdl)
	if err != nil {
		return nt.STATUS_ACCESS_VIOLATION
	}
	prot, ok := PageProt(page)
	if !ok {
		return nt.STATUS_INVALID_PAGE_PROTECTION
	}
	if flagsOf(&h)&nt.MDL_MAPPED_TO_SYSTEM_VA == 0 {
		return nt.STATUS_NOT_MAPPED_VIEW
	}
	base := h.MappedSystemVa &^ (pageSize - 1)
	size := pagesOf(&h) << pageShift
	err = m.protectFor(mdl, base, size, func(guest.Prot) guest.Prot { return prot })
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	return nt.STATUS_SUCCESS
}
