// What is allocated: by tag, block by block, and at an address.

package mm

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/drvhost/drvhost/nt"
)

// Pool says which pool a block is in.
type Pool uint8

// The pools. Contiguous and non-cached memory and the pages of MDLs are counted beside them.
const (
	NonPaged        Pool = Pool(kindNonPaged)
	NonPagedExecute Pool = Pool(kindExec)
	Paged           Pool = Pool(kindPaged)
	NotPool         Pool = Pool(kindOther)
)

// String gives the name.
func (p Pool) String() string {
	switch p {
	case NonPaged:
		return "non-paged"
	case NonPagedExecute:
		return "non-paged, executable"
	case Paged:
		return "paged"
	}
	return "not pool"
}

// BlockInfo is one allocation.
type BlockInfo struct {
	Addr nt.Addr
	Size uintptr // in bytes, as asked for
	Tag  Tag
	Pool Pool

	// Routine is what it was allocated with: "pool", "MmAllocateContiguousMemory"…
	Routine string
	Freed   bool
}

// TagUse is what is allocated with one tag in one pool.
type TagUse struct {
	Tag    Tag
	Pool   Pool
	Blocks int
	Bytes  uintptr // as asked for
}

// Outstanding gives what is allocated and not freed, by tag and pool, in the order of the tags'
// characters. Blocks that come or go during the call may be counted or not.
func (m *Manager) Outstanding() []TagUse {
	type key struct {
		tag  Tag
		pool Pool
	}
	sums := map[key]*TagUse{}
	m.Blocks(func(b BlockInfo) bool {
		k := key{b.Tag &^ protectedPool, b.Pool}
		s := sums[k]
		if s == nil {
			s = &TagUse{Tag: k.tag, Pool: k.pool}
			sums[k] = s
		}
		s.Blocks++
		s.Bytes += b.Size
		return true
	})
	out := make([]TagUse, 0, len(sums))
	for _, s := range sums {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b TagUse) int {
		return cmp.Or(cmp.Compare(a.Tag.String(), b.Tag.String()), cmp.Compare(a.Tag, b.Tag),
			cmp.Compare(a.Pool, b.Pool))
	})
	return out
}

// Blocks calls f for each block that is allocated, in the order of their addresses, until it gives
// false. Blocks that come or go during the call may be among them or not.
func (m *Manager) Blocks(f func(BlockInfo) bool) {
	for i := range m.ram.table {
		c := m.ram.table[i].Load()
		if c == nil {
			continue
		}
		for j := range c {
			b := c[j].Load()
			if b == nil || b.page != uint32(i*chunkPages+j) || !b.live.Load() {
				continue
			}
			if b.use != useSmall {
				if !f(b.info(&m.ram)) {
					return
				}
				continue
			}
			for k := range b.records {
				r := b.records[k].load()
				if r.state() == objectLive && !f(b.objectInfo(uint32(k), r)) {
					return
				}
			}
		}
	}
}

// BlockAt gives the block that a lies in, or that it lay in before that was freed.
func (m *Manager) BlockAt(a nt.Addr) (info BlockInfo, ok bool) {
	b := m.ram.block(a)
	if b == nil {
		return BlockInfo{}, false
	}
	if b.use != useSmall {
		return b.info(&m.ram), true
	}
	off := uint32(a) & (pageSize - 1)
	c := b.cache.class
	if off < c.first || (off-c.first)/c.size >= c.count {
		return BlockInfo{}, false
	}
	i := (off - c.first) / c.size
	r := b.records[i].load()
	if r.state() == objectUnused {
		return BlockInfo{}, false
	}
	return b.objectInfo(i, r), true
}

// Describe says what a is to the memory manager, for messages, or "" when it is nothing.
func (m *Manager) Describe(a nt.Addr) string {
	if w := m.windowAt(a); w != nil {
		return fmt.Sprintf("user memory of %s, offset %#x", w.name, w.offset(a))
	}
	b, ok := m.BlockAt(a)
	if !ok {
		if m.ram.contains(a) {
			return "kernel RAM, not allocated"
		}
		return ""
	}
	state := "allocated"
	if b.Freed {
		state = "freed"
	}
	return fmt.Sprintf("%s block of %s at %v, offset %#x of %#x, tag %q", state, b.Routine, b.Addr,
		a-b.Addr, b.Size, b.Tag)
}

func (b *block) info(r *ram) BlockInfo {
	return BlockInfo{Addr: r.addr(b.page), Size: b.size, Tag: b.tag, Pool: Pool(b.kind),
		Routine: b.use.String(), Freed: !b.live.Load()}
}

func (b *block) objectInfo(i uint32, r record) BlockInfo {
	return BlockInfo{Addr: b.cache.addr(b, i), Size: uintptr(b.cache.sizeOf(r)), Tag: r.tag(),
		Pool: Pool(b.kind), Routine: b.use.String(), Freed: r.state() != objectLive}
}
