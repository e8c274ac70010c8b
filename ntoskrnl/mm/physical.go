// Physical addresses: a consistent fiction.
//
//	0x100000 up to RAM's size      RAM: the direct map, page for page
//	0x1000000000000 and up         everything else that has an address: the address itself in the
//	                               lower bits; for a window, the address of its system alias
//	what is between                device memory, see iospace.go
//
// A page has one page frame number, whichever of its addresses is asked about.

package mm

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

const (
	// otherPhysBase marks the physical addresses that hold a virtual one.
	otherPhysBase = 1 << 48
	physEnd       = 1 << 49

	ramPFN   = ramPhysBase >> pageShift
	otherPFN = otherPhysBase >> pageShift
	endPFN   = physEnd >> pageShift
)

// PhysicalRange is an entry of MmGetPhysicalMemoryRanges.
type PhysicalRange struct {
	Base uint64 // physical address
	Size uint64 // in bytes
}

// PhysicalMemoryRanges is MmGetPhysicalMemoryRanges, without the empty entry at the end.
func (m *Manager) PhysicalMemoryRanges() []PhysicalRange {
	return []PhysicalRange{{Base: ramPhysBase, Size: uint64(m.ram.pages) << pageShift}}
}

// PhysicalAddress is MmGetPhysicalAddress: the physical address of a, or 0 where no page is.
func (m *Manager) PhysicalAddress(a nt.Addr) uint64 {
	pfn, ok := m.pfnOf(a)
	if !ok {
		return 0
	}
	return pfn<<pageShift | uint64(a)&(pageSize-1)
}

// VirtualForPhysical is MmGetVirtualForPhysical: an address at which the physical address p is
// mapped, or 0. For a window it is the one in its system alias.
func (m *Manager) VirtualForPhysical(p uint64) nt.Addr {
	pfn, off := p>>pageShift, nt.Addr(p&(pageSize-1))
	switch {
	case m.isRAM(pfn):
		if a := m.ram.addr(uint32(pfn - ramPFN)); m.ram.liveBlock(a) != nil {
			return a + off
		}
	case isOther(pfn):
		a := otherAddr(pfn)
		if info, ok := m.space.Lookup(a); ok && info.Prot != guest.ProtNone {
			return a + off
		}
		return 0
	}
	if a := m.mappedAt(pfn); a != 0 {
		return a + off
	}
	return 0
}

// isRAM says whether the page frame is one of RAM.
func (m *Manager) isRAM(pfn uint64) bool {
	return pfn >= ramPFN && pfn < ramPFN+uint64(m.ram.pages)
}

// isOther says whether the page frame number holds an address.
func isOther(pfn uint64) bool { return pfn >= otherPFN && pfn < endPFN }

// otherAddr gives the address in a page frame number.
func otherAddr(pfn uint64) nt.Addr { return nt.Addr((pfn - otherPFN) << pageShift) }

// otherFrame gives the page frame number that holds the address a.
func otherFrame(a nt.Addr) uint64 { return otherPFN + uint64(a)>>pageShift }

// pfnOf gives the page frame number of a page; ok is false where no page is.
func (m *Manager) pfnOf(a nt.Addr) (pfn uint64, ok bool) {
	if m.ram.contains(a) {
		return ramPFN + uint64(m.ram.page(a)), m.ram.liveBlock(a) != nil
	}
	if w := m.userWindow(a); w != nil {
		return otherFrame(w.sysBase + (a - w.base)), true
	}
	info, ok := m.space.Lookup(a)
	if !ok || info.Prot == guest.ProtNone {
		return 0, false
	}
	if p := m.mappingFrom(info.Base); p != nil && (p.view == nil || !p.view.copy) {
		return p.frame(uint64(a-info.Base) >> pageShift), true
	}
	return otherFrame(a), true
}
