// Pool blocks of whole pages.

package mm

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// zeroByPunch is the number of pages from which it is cheaper to drop the contents of a range than
// to overwrite them.
const zeroByPunch = 64

// allocateLarge gives whole pages, as a rule with one behind them that has no access.
func (m *Manager) allocateLarge(k kind, u use, size uintptr, tag Tag, zero bool) (nt.Addr, error) {
	if size > uintptr(m.ram.pages)<<pageShift {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	n := uint32((size + pageSize - 1) >> pageShift)
	start, gap, ok := m.ram.takeGap(k, n, 1, nil)
	if !ok {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	b := &block{page: start, pages: n, gap: gap, use: u, kind: k, tag: tag, size: size}
	if err := m.openBlock(b, k.prot(), zero); err != nil {
		return 0, err
	}
	return m.ram.addr(start), nil
}

// openBlock makes the pages of a new block accessible and the block live. On an error the pages
// have been given back.
func (m *Manager) openBlock(b *block, prot guest.Prot, zero bool) error {
	if zero && b.pages >= zeroByPunch && m.ram.punch(b.page, b.pages) == nil {
		zero = false
	}
	a := m.ram.addr(b.page)
	err := m.ram.open(b.page, b.pages, prot)
	if err == nil && b.gap > 0 {
		err = m.ram.open(b.page+b.pages, b.gap, guest.ProtNone)
	}
	if err == nil && zero {
		err = guest.Fill(a, 0, b.size)
	}
	if err == nil && b.size%pageSize != 0 {
		err = guest.Fill(a+nt.Addr(b.size), guardByte, pageSize-b.size%pageSize)
	}
	if err != nil {
		m.ram.shut(b.page, b.pages, b.gap)
		m.ram.give(b.kind, b.page, b.pages, b.gap)
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	b.live.Store(true)
	m.ram.enter(b)
	return nil
}

// freeLarge frees a block of pages that was allocated as pool.
func (m *Manager) freeLarge(b *block, a nt.Addr, tag Tag) error {
	start := m.ram.addr(b.page)
	if b.use != useLarge {
		return badCaller(poolInvalidAddress, a, "memory of "+b.use.String()+" was freed as pool")
	}
	if a != start {
		return notBlock(a, start, b.tag, b.size)
	}
	if !b.live.Load() {
		return doubleFree(a, b.tag, b.size)
	}
	if err := checkTag(a, b.tag, tag); err != nil {
		return err
	}
	if rest := b.size % pageSize; rest != 0 {
		end := a + nt.Addr(b.size)
		if bad := firstOther(end, pageSize-rest, guardByte); bad != 0 {
			return overrun(a, b.tag, b.size, bad, m.ram.addr(b.page+b.pages))
		}
	}
	if !m.closeBlock(b) {
		return doubleFree(a, b.tag, b.size)
	}
	return nil
}

// closeBlock ends a block and gives its pages back; it says whether the block was live.
func (m *Manager) closeBlock(b *block) bool {
	if !b.live.CompareAndSwap(true, false) {
		return false
	}
	if b.use.direct() {
		m.ram.shut(b.page, b.pages, b.gap)
	}
	m.ram.give(b.kind, b.page, b.pages, b.gap)
	return true
}

// String gives the use in words.
func (u use) String() string {
	switch u {
	case useSmall, useLarge:
		return "pool"
	case useContiguous:
		return "MmAllocateContiguousMemory"
	case useNonCached:
		return "MmAllocateNonCachedMemory"
	case useMdl:
		return "MmAllocatePagesForMdl"
	case useSection:
		return "MmCreateSection"
	}
	return "unknown use"
}

// firstOther gives the address of the first of n bytes at a that is not b, or 0. Bytes that cannot
// be read count as right.
func firstOther(a nt.Addr, n uintptr, b byte) nt.Addr {
	var buf [32]uint64
	want := uint64(b) * 0x0101010101010101
	for n >= 8 {
		k := min(n/8, uintptr(len(buf)))
		if guest.ReadSlice(buf[:k], a) != nil {
			return 0
		}
		for i, v := range buf[:k] {
			if v != want {
				return firstByte(a+nt.Addr(8*i), v, 8, b)
			}
		}
		a += nt.Addr(8 * k)
		n -= 8 * k
	}
	for ; n > 0; n-- {
		if v, err := guest.Load8(a); err == nil && v != b {
			return a
		}
		a++
	}
	return 0
}

// firstByte gives the address of the first byte of v, which was read at a, that is not b.
func firstByte(a nt.Addr, v uint64, n int, b byte) nt.Addr {
	for i := range n {
		if byte(v>>(8*i)) != b {
			return a + nt.Addr(i)
		}
	}
	return 0
}
