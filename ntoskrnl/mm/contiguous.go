// Contiguous and non-cached memory.

package mm

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// contiguousTag is the tag of memory that was allocated as contiguous, or non-cached, memory.
const contiguousTag Tag = 'M' | 'm'<<8 | 'C'<<16 | 'm'<<24

// limits gives the pages that lie in the physical range [low, high] and do not cross a multiple of
// boundary, a power of two in bytes of at least a page, or 0. ok is false when there are none.
func (r *ram) limits(low, high, boundary uint64) (l *limits, ok bool) {
	if boundary != 0 && (boundary < pageSize || boundary&(boundary-1) != 0) {
		return nil, false
	}
	first := max((low+pageSize-1)>>pageShift, ramPFN)
	end := uint64(ramPFN) + uint64(r.pages)
	if high < 1<<52 {
		end = min(end, (high+1)>>pageShift)
	}
	if low >= 1<<52 || first >= end {
		return nil, false
	}
	return &limits{lo: uint32(first - ramPFN), hi: uint32(end - ramPFN),
		boundary: boundary >> pageShift, origin: ramPFN}, true
}

// AllocateContiguous is MmAllocateContiguousMemorySpecifyCache, and with low 0, high as given and
// boundary 0 MmAllocateContiguousMemory: size bytes, from a page boundary on, whose pages lie one
// after the other in physical memory, in [low, high], and not across a multiple of boundary, a power
// of two, if that is not 0. prot is ProtRW unless MmAllocateContiguousNodeMemory asks otherwise.
// The contents are zeros. The error is nt.STATUS_INSUFFICIENT_RESOURCES where Windows gives NULL.
func (m *Manager) AllocateContiguous(size uintptr, low, high, boundary uint64, prot guest.Prot) (
	nt.Addr, error) {
	l, ok := m.ram.limits(low, high, boundary)
	if !ok || size == 0 || size > uintptr(m.ram.pages)<<pageShift {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	n := uint32((size + pageSize - 1) >> pageShift)
	// Where nothing else is asked for, low memory is left for those who need it.
	var start uint32
	ok = false
	if l.hi > lowPages && l.lo < lowPages {
		high := *l
		high.lo = lowPages
		start, ok = m.ram.take(kindOther, n, &high)
	}
	if !ok {
		if start, ok = m.ram.take(kindOther, n, l); !ok {
			return 0, nt.STATUS_INSUFFICIENT_RESOURCES
		}
	}
	b := &block{page: start, pages: n, use: useContiguous, kind: kindOther, tag: contiguousTag,
		size: size}
	if err := m.openZeroed(b, prot); err != nil {
		return 0, err
	}
	return m.ram.addr(start), nil
}

// openZeroed is openBlock for memory that may lack write access.
func (m *Manager) openZeroed(b *block, prot guest.Prot) error {
	if err := m.openBlock(b, guest.ProtRW, true); err != nil {
		return err
	}
	if prot == guest.ProtRW {
		return nil
	}
	if err := m.ram.open(b.page, b.pages, prot); err != nil {
		m.closeBlock(b)
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	return nil
}

// FreeContiguous is MmFreeContiguousMemory. The error is a *PoolError when a is not what
// AllocateContiguous gave.
func (m *Manager) FreeContiguous(a nt.Addr) error {
	b := m.ram.block(a)
	if b == nil || b.use != useContiguous || a != m.ram.addr(b.page) || !m.closeBlock(b) {
		return badCaller(poolNotContiguous, a, fmt.Sprintf("MmFreeContiguousMemory of %v, which is "+
			"no contiguous memory that is allocated", a))
	}
	return nil
}

// FreeContiguousSpecifyCache is MmFreeContiguousMemorySpecifyCache; the size is that of the
// allocation, rounded up to pages.
func (m *Manager) FreeContiguousSpecifyCache(a nt.Addr, size uintptr) error {
	if b := m.ram.block(a); b != nil && b.use == useContiguous && a == m.ram.addr(b.page) &&
		(size+pageSize-1)>>pageShift != uintptr(b.pages) {
		return badCaller(poolNotContiguous, a, fmt.Sprintf("MmFreeContiguousMemorySpecifyCache of "+
			"%d bytes at %v, where %d bytes were allocated", size, a, b.size))
	}
	return m.FreeContiguous(a)
}

// AllocateNonCached is MmAllocateNonCachedMemory: whole pages of zeros. The error is
// nt.STATUS_INSUFFICIENT_RESOURCES where Windows gives NULL.
func (m *Manager) AllocateNonCached(size uintptr) (nt.Addr, error) {
	if size == 0 {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	return m.allocateLarge(kindOther, useNonCached, size, contiguousTag, true)
}

// FreeNonCached is MmFreeNonCachedMemory. The error is a *StopError when size bytes at a are not
// what AllocateNonCached gave.
func (m *Manager) FreeNonCached(a nt.Addr, size uintptr) error {
	b := m.ram.block(a)
	if b != nil && b.use == useNonCached && a == m.ram.addr(b.page) &&
		(size+pageSize-1)>>pageShift == uintptr(b.pages) && m.closeBlock(b) {
		return nil
	}
	return &StopError{
		Code:   nt.SYSTEM_PTE_MISUSE,
		Params: [4]uint64{pteNotMapped, uint64(a), 0, 0},
		What: fmt.Sprintf("MmFreeNonCachedMemory of %d bytes at %v, which is no such memory", size,
			a),
	}
}
