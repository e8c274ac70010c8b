// Pool blocks of less than a page.
//
// A page of small blocks holds blocks of one size class, and belongs to one cache: there is one
// for each kind of pool, alignment and class, in several shards, so that threads that allocate at
// the same time seldom meet. What is known of a block lies in a record far from the page, and is
// found by arithmetic. A free block waits in its cache's queue before it is used again. Most blocks
// are taken and given back by guest code: see magazine.go.

package mm

import (
	"fmt"
	"math/bits"
	"sync"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

const (
	// groups counts the pools and alignments that do not share pages.
	groups = 2 * int(kindOther)

	// maxShards bounds the caches of one class in one group.
	maxShards = 8

	// minGuard and maxGuard bound the bytes behind a block that are checked when it is freed.
	minGuard = 8
	maxGuard = 32

	// firstBlock is the offset in a page of the first block; cache-aligned ones begin at cacheLine.
	// What is before it is checked as the guard of the block on the page before would be.
	firstBlock = 16
	cacheLine  = 64

	// maxSmall is the largest block in bytes that shares its page.
	maxSmall = pageSize - cacheLine - minGuard

	// keptFree is the number of blocks that were freed later than a block that is used again, and
	// queueSize is how many can wait.
	keptFree  = 32
	queueSize = 64
)

// class is a size of small blocks.
type class struct {
	size  uint32 // bytes from one block to the next
	count uint32 // blocks in a page
	first uint32 // offset of the first block
	recip uint64 // offset * recip >> 32 is the index of the block, as a test shows
}

// sizes are the classes in bytes: as many sizes as fill a page well, multiples of 16.
var sizes = [...]uint32{32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 272, 288,
	304, 336, 368, 400, 448, 496, 576, 672, 816, 1008, 1360, 2032, 4080}

// alignedSizes are the classes of cache-aligned blocks: multiples of 64.
var alignedSizes = [...]uint32{64, 128, 192, 256, 320, 384, 448, 512, 576, 640, 768, 960, 1344,
	1984, 4032}

// classes is the number of entries in the larger of the two lists.
const classes = len(sizes)

var (
	classTable        = makeClasses(sizes[:], firstBlock)
	alignedClassTable = makeClasses(alignedSizes[:], cacheLine)

	// classOf and alignedClassOf give the class for a size with its guard, in units of 16 bytes.
	classOf        = makeClassOf(sizes[:])
	alignedClassOf = makeClassOf(alignedSizes[:])
)

func makeClasses(sizes []uint32, first uint32) (t [classes]class) {
	for i, s := range sizes {
		t[i] = class{size: s, count: (pageSize - first) / s, first: first,
			recip: (1<<32 + uint64(s) - 1) / uint64(s)}
	}
	return t
}

func makeClassOf(sizes []uint32) (t [pageSize/16 + 1]uint8) {
	c := 0
	for i := range t {
		for c < len(sizes)-1 && sizes[c] < uint32(i)*16 {
			c++
		}
		t[i] = uint8(c)
	}
	return t
}

// blockCache has the pages of one class in one shard.
type blockCache struct {
	m     *Manager
	class *class
	kind  kind
	shelf shelf // of its blocks in magazines, or 0

	mu      sync.Mutex
	partial *block // pages with a bit set in free
	empty   int    // pages in partial that have no object taken
	queue   [queueSize]place
	head, n uint32 // the queue's oldest entry and length
}

// place is an object of a page.
type place struct {
	b *block
	i uint32
}

func (p place) record() *record { return &p.b.records[p.i] }
func (p place) addr() nt.Addr   { return p.b.cache.addr(p.b, p.i) }

// cache gives the cache of a class in a shard.
func (m *Manager) cache(k kind, aligned bool, c uint8, shard uintptr) *blockCache {
	g := 2 * k
	if aligned {
		g++
	}
	slot := &m.caches[g][c][shard]
	if bc := slot.Load(); bc != nil {
		return bc
	}
	bc := &blockCache{m: m, class: &classTable[c], kind: k}
	if aligned {
		bc.class = &alignedClassTable[c]
	} else {
		bc.shelf = shelfOf(k, c)
	}
	if !slot.CompareAndSwap(nil, bc) {
		bc = slot.Load()
	}
	return bc
}

// allocateSmall gives a block of at most maxSmall bytes.
func (m *Manager) allocateSmall(k kind, aligned bool, size uintptr, tag Tag) (nt.Addr, error) {
	units := (size + minGuard + 15) / 16
	c := classOf[units]
	if aligned {
		c = alignedClassOf[units]
	}
	shard := stackHint() & (m.shards - 1)
	bc := m.cache(k, aligned, c, shard)
	if !bc.mu.TryLock() {
		bc = m.cache(k, aligned, c, (shard+1)&(m.shards-1))
		bc.mu.Lock()
	}
	p := bc.next()
	if p.b == nil {
		bc.mu.Unlock()
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	bc.mu.Unlock()
	a := p.addr()
	if err := bc.handOut(p, a, size, tag); err != nil {
		return 0, err
	}
	return a, nil
}

// handOut makes a block that next gave one that is allocated. It is the caller's alone.
func (bc *blockCache) handOut(p place, a nt.Addr, size uintptr, tag Tag) error {
	r := p.record()
	was := r.load()
	if was.state() == objectFreed {
		if bad := poisoned(a, bc.sizeOf(was)); bad != 0 {
			return bc.writtenAfterFree(was, a, bad)
		}
	}
	bc.setGuard(a, uint32(size))
	r.store(makeRecord(tag, uint32(size), objectLive))
	return nil
}

// next finds a block for the next allocation; none when there is no memory. bc.mu is held, and
// released for a moment when a new page is needed.
func (bc *blockCache) next() place {
	if bc.n > keptFree {
		return bc.oldest()
	}
	return bc.fresh()
}

// oldest takes the block out of the queue that waits longest.
func (bc *blockCache) oldest() place {
	p := bc.queue[bc.head]
	bc.head = (bc.head + 1) % queueSize
	bc.n--
	p.b.waiting.clear(p.i)
	return p
}

// wait puts a block into the queue, and makes one free that has waited long enough.
func (bc *blockCache) wait(p place) {
	if bc.n == queueSize {
		bc.release(bc.oldest())
	}
	p.b.waiting.set(p.i)
	bc.queue[(bc.head+bc.n)%queueSize] = p
	bc.n++
}

// fresh finds a block that does not wait for its reuse, or where there is no memory for another
// page the one that waits longest.
func (bc *blockCache) fresh() place {
	if bc.partial == nil {
		bc.mu.Unlock()
		page := bc.newPage()
		bc.mu.Lock()
		if page != nil {
			bc.list(page)
			bc.empty++
		}
	}
	b := bc.partial
	if b == nil {
		if bc.n == 0 {
			return place{}
		}
		return bc.oldest()
	}
	w := uint32(0)
	if b.free[0] == 0 {
		w = 1
	}
	i := uint32(bits.TrailingZeros64(b.free[w])) + 64*w
	b.free.clear(i)
	if b.taken == 0 {
		bc.empty--
	}
	b.taken++
	if b.free[0]|b.free[1] == 0 {
		bc.unlist(b)
	}
	return place{b, i}
}

// newPage makes a page of free blocks, or nil.
func (bc *blockCache) newPage() *block {
	r := &bc.m.ram
	start, ok := r.take(bc.kind, 1, nil)
	if !ok {
		return nil
	}
	err := r.open(start, 1, bc.kind.prot())
	if err != nil {
		r.give(bc.kind, start, 1, 0)
		return nil
	}
	c := bc.class
	b := &block{page: start, pages: 1, use: useSmall, kind: bc.kind, cache: bc}
	if b.records, err = bc.m.records.of(start, int(c.count)); err != nil {
		r.shut(start, 1, 0)
		r.give(bc.kind, start, 1, 0)
		return nil
	}
	for i := range b.free {
		if n := int(c.count) - 64*i; n >= 64 {
			b.free[i] = ^uint64(0)
		} else if n > 0 {
			b.free[i] = 1<<n - 1
		}
	}
	guest.Fill(r.addr(start), guardByte, uintptr(c.first))
	b.live.Store(true)
	r.enter(b)
	bc.m.records.setShelf(start, bc.shelf)
	return b
}

// free frees the block at a, which lies in the page b.
func (bc *blockCache) free(b *block, a nt.Addr, tag Tag) error {
	bc.mu.Lock()
	p, ok := bc.at(b, a)
	if !ok {
		err := bc.badFree(b, a)
		bc.mu.Unlock()
		return err
	}
	r := p.record()
	was := r.load()
	if was.state() != objectLive || was.tag() != tag || b.waiting.has(p.i) || b.free.has(p.i) {
		if err := bc.checkFree(p, was, a, tag); err != nil {
			bc.mu.Unlock()
			return err
		}
	}
	size := bc.sizeOf(was)
	if bad := bc.checkGuard(a, size); bad != 0 {
		bc.mu.Unlock()
		return overrun(a, was.tag(), uintptr(size), bad, a+nt.Addr(bc.class.size))
	}
	if !r.swap(was, was.as(objectFreed)) { // guest code has freed it in this moment
		bc.mu.Unlock()
		return doubleFree(a, was.tag(), uintptr(size))
	}
	poison(a, size)
	bc.wait(p)
	bc.mu.Unlock()
	return nil
}

// at finds the object at a, in the page b. bc.mu is held.
func (bc *blockCache) at(b *block, a nt.Addr) (place, bool) {
	c := bc.class
	off := uint32(a)&(pageSize-1) - c.first
	i := uint32(uint64(off) * c.recip >> 32)
	if i >= c.count || i*c.size != off || !b.live.Load() {
		return place{}, false
	}
	return place{b, i}, true
}

// checkFree finds what is wrong with freeing the object at a.
func (bc *blockCache) checkFree(p place, r record, a nt.Addr, tag Tag) error {
	switch {
	case r.state() == objectUnused:
		return badCaller(poolInvalidAddress, a, fmt.Sprintf("%v was freed, which is in a pool of "+
			"blocks of %d bytes, but was not allocated", a, bc.class.size))
	case r.state() != objectLive || p.b.waiting.has(p.i) || p.b.free.has(p.i):
		return doubleFree(a, r.tag(), uintptr(bc.sizeOf(r)))
	}
	return checkTag(a, r.tag(), tag)
}

// badFree makes the error of freeing an address in the page b where no block begins.
func (bc *blockCache) badFree(b *block, a nt.Addr) error {
	c := bc.class
	off := uint32(a) & (pageSize - 1)
	if off < c.first {
		return badCaller(poolInvalidAddress, a, fmt.Sprintf(
			"%v was freed, which is in a pool, but before the first block of its page", a))
	}
	i := (off - c.first) / c.size
	if i >= c.count {
		return badCaller(poolInvalidAddress, a, fmt.Sprintf(
			"%v was freed, which is in a pool, but behind the last block of its page", a))
	}
	r := b.records[i].load()
	start := bc.addr(b, i)
	switch {
	case start == a && r.state() == objectFreed:
		return doubleFree(a, r.tag(), uintptr(bc.sizeOf(r)))
	case r.state() == objectUnused:
		return bc.checkFree(place{b, i}, r, a, 0)
	}
	return notBlock(a, start, r.tag(), uintptr(bc.sizeOf(r)))
}

// release makes a block free for any use of its class, and gives pages back that have no other. One
// such page is kept. bc.mu is held.
func (bc *blockCache) release(p place) {
	b := p.b
	if !b.listed {
		bc.list(b)
	}
	b.free.set(p.i)
	b.taken--
	if b.taken > 0 {
		return
	}
	if bc.empty == 0 {
		bc.empty++
		return
	}
	bc.drop(b)
}

// drop gives the page b back, which has no object taken. bc.mu is held.
func (bc *blockCache) drop(b *block) {
	bc.unlist(b)
	bc.m.records.setShelf(b.page, 0)
	b.live.Store(false)
	r := &bc.m.ram
	r.shut(b.page, 1, 0)
	r.give(b.kind, b.page, 1, 0)
}

// drain ends the waiting of all freed blocks, so that pages without others go back.
func (bc *blockCache) drain() {
	bc.mu.Lock()
	defer bc.mu.Unlock()
	for bc.n > 0 {
		bc.release(bc.oldest())
	}
	for b := bc.partial; b != nil; {
		next := b.next
		if b.taken == 0 {
			bc.empty--
			bc.drop(b)
		}
		b = next
	}
}

// drainAll drains all caches.
func (m *Manager) drainAll() {
	for g := range m.caches {
		for c := range m.caches[g] {
			for s := range m.caches[g][c] {
				if bc := m.caches[g][c][s].Load(); bc != nil {
					bc.drain()
				}
			}
		}
	}
}

// list puts b into the list of pages with free blocks. bc.mu is held.
func (bc *blockCache) list(b *block) {
	b.listed = true
	b.prev, b.next = nil, bc.partial
	if b.next != nil {
		b.next.prev = b
	}
	bc.partial = b
}

// unlist takes b out of the list. bc.mu is held.
func (bc *blockCache) unlist(b *block) {
	b.listed = false
	if b.prev != nil {
		b.prev.next = b.next
	} else {
		bc.partial = b.next
	}
	if b.next != nil {
		b.next.prev = b.prev
	}
	b.prev, b.next = nil, nil
}

// addr gives the address of object i of the page b.
func (bc *blockCache) addr(b *block, i uint32) nt.Addr {
	return bc.m.ram.addr(b.page) + nt.Addr(bc.class.first+i*bc.class.size)
}

// guardSize gives the number of bytes behind a block of size bytes that are checked.
func (bc *blockCache) guardSize(size uint32) uint32 {
	return min(bc.class.size-size, maxGuard)
}

// guardWord is eight bytes of the guard.
const guardWord = guardByte * 0x0101010101010101

// The pages of small blocks are accessible for as long as they have a block, and nothing that a
// driver may call changes that, so the manager reads and writes in them in place.

// setGuard fills the guard of a block, in words that may overlap: a guard has at least one.
func (bc *blockCache) setGuard(a nt.Addr, size uint32) {
	n := nt.Addr(bc.guardSize(size))
	a += nt.Addr(size)
	*guest.Ptr[uint64](a + n - 8).Ref() = guardWord
	for end := a + n - 8; a < end; a += 8 {
		*guest.Ptr[uint64](a).Ref() = guardWord
	}
}

// checkGuard gives the address of the first byte of a block's guard that was changed, or 0.
func (bc *blockCache) checkGuard(a nt.Addr, size uint32) nt.Addr {
	n := nt.Addr(bc.guardSize(size))
	a += nt.Addr(size)
	last := a + n - 8
	for ; a < last; a += 8 {
		if v := *guest.Ptr[uint64](a).Ref(); v != guardWord {
			return firstByte(a, v, 8, guardByte)
		}
	}
	if v := *guest.Ptr[uint64](last).Ref(); v != guardWord {
		return firstByte(last, v, 8, guardByte)
	}
	return 0
}

// freedWord is eight bytes of the pattern of freed blocks.
const freedWord = freedByte * 0x0101010101010101

// poison fills a freed block, up to a multiple of eight bytes: a block has room for that.
func poison(a nt.Addr, size uint32) {
	if size > 256 {
		guest.Fill(a, freedByte, uintptr(size+7)&^7)
		return
	}
	words := guest.Ptr[uint64](a).RefSlice(int(size+7) / 8)
	for i := range words {
		words[i] = freedWord
	}
}

// poisoned gives the address of the first byte of a freed block that was changed, or 0.
func poisoned(a nt.Addr, size uint32) nt.Addr {
	words := guest.Ptr[uint64](a).RefSlice(int(size+7) / 8)
	for len(words) >= 4 {
		if (words[0]^freedWord)|(words[1]^freedWord)|(words[2]^freedWord)|(words[3]^freedWord) != 0 {
			break
		}
		words = words[4:]
	}
	for i, v := range words {
		if v != freedWord {
			at := guest.AddrOf(&words[0]) + nt.Addr(8*i)
			return firstByte(at, v, 8, freedByte)
		}
	}
	return 0
}

// writtenAfterFree makes the error of a block that was changed between its free and its reuse. The
// block is not used again.
func (bc *blockCache) writtenAfterFree(was record, a, bad nt.Addr) error {
	return &PoolError{
		Code:   nt.DRIVER_CAUGHT_MODIFYING_FREED_POOL,
		Params: [4]uint64{uint64(bad), 1, 0, 0},
		Addr:   a, Tag: was.tag(),
		What: fmt.Sprintf("the pool block at %v (tag %q, %d bytes) was written after it was freed, "+
			"at offset %d", a, was.tag(), bc.sizeOf(was), bad-a),
	}
}
