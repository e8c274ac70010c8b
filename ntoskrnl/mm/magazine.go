// Magazines: small pool blocks that guest code takes and gives back by itself.
//
// Each processor has a magazine: for each pool and size class a shelf with blocks to take, and one
// with blocks that were freed. The code of ExAllocatePoolWithTag and ExFreePoolWithTag raises to
// DISPATCH_LEVEL, which makes the processor's magazine its own, and takes or puts a block; it writes
// and checks guards, poison and records as this package does. Whatever is not plain leaves for Go:
// an empty or full shelf, another pool type, and all that is wrong. So Go fills and empties shelves,
// and finds every error.
//
// A magazine lies in guest memory. Go believes nothing of what is in it.

package mm

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// The layout of a magazine in bytes, which guest code knows.
const (
	MagazineBase    = 0  // where RAM begins
	MagazineSize    = 8  // how large it is
	MagazineShelves = 16 // the shelf of each of its pages, plus 1; 0 is none
	MagazineRecords = 24 // the records of the first page
	MagazineClasses = 64 // the class of a size: a byte for each 16 bytes of size and guard
	MagazineFirst   = 4096
	ShelfShift      = 9

	ShelfTake   = 0  // blocks to take
	ShelfGiven  = 4  // freed blocks
	ShelfSize   = 8  // the size of the class
	ShelfCount  = 12 // blocks in a page
	ShelfRecip  = 16 // as class.recip
	shelfMisses = 24 // how often a block was wanted and there was none
	ShelfBlocks = 32 // to take: the address of each, and of its record
	ShelfFreed  = ShelfBlocks + 16*ShelfRoom
	ShelfRoom   = 16

	// PageRecordsShift is how far a page number is shifted to give the place of its records.
	PageRecordsShift = 10

	// FirstBlock is the offset of the first block in a page.
	FirstBlock = firstBlock

	// MagazineClassShift is how far a pool kind is shifted in the number of a shelf.
	MagazineClassShift = 5

	// MaxMagazine is the largest block in bytes that is in a magazine.
	MaxMagazine = 488
)

// The patterns, which guest code writes and checks as well.
const (
	GuardWord = guardWord
	FreedWord = freedWord
	MaxGuard  = maxGuard
	MinGuard  = minGuard
)

// shelf is the number of a shelf, plus 1.
type shelf uint8

const shelves = int(kindOther) << MagazineClassShift

// shelfOf gives the shelf for a class of blocks that are not cache-aligned; 0 if its blocks are too
// large.
func shelfOf(k kind, c uint8) shelf {
	if c > classOf[(MaxMagazine+minGuard+15)/16] || k >= kindOther {
		return 0
	}
	return shelf(k)<<MagazineClassShift + shelf(c) + 1
}

// patience is how many blocks of a class are allocated in Go before a shelf is filled with them.
const patience = 4

// Magazine is a processor's magazine. Its methods are for the thread that holds the processor.
type Magazine struct {
	m      *Manager
	region *guest.Region
	open   bool
}

// NewMagazine makes an empty magazine, which lives as long as m. Into one that is not open nothing is
// ever put, and each call leaves for Go. It is called while no driver runs.
func (m *Manager) NewMagazine(open bool) (*Magazine, error) {
	size := uintptr(MagazineFirst + shelves<<ShelfShift)
	region, err := m.space.AllocSystem(size, guest.ProtRW, "pool magazine")
	if err != nil {
		return nil, err
	}
	m.magazines = append(m.magazines, region)
	g := &Magazine{m: m, region: region, open: open}
	head := guest.Ptr[uint64](region.Base()).RefSlice(4)
	if open {
		head[0], head[1] = uint64(m.ram.base), uint64(m.ram.pages)<<pageShift
		head[2], head[3] = uint64(m.records.shelves.Base()), uint64(m.records.region.Base())
	}
	copy(region.Bytes()[MagazineClasses:MagazineFirst], classOf[:(MaxMagazine+minGuard+15)/16+1])
	return g, nil
}

// Addr gives the magazine's address.
func (g *Magazine) Addr() nt.Addr { return g.region.Base() }

// shelf gives a shelf as numbers of 32 and of 64 bits.
func (g *Magazine) shelf(s shelf) ([]uint32, []uint64) {
	const size = 1 << ShelfShift
	at := g.region.Base() + MagazineFirst + nt.Addr(s-1)*size
	return guest.Ptr[uint32](at).RefSlice(size / 4), guest.Ptr[uint64](at).RefSlice(size / 8)
}

// Fill puts blocks on the shelf for allocations of a size, if that is empty and often wanted. It is
// called after an allocation that guest code could not make.
func (g *Magazine) Fill(t nt.PoolType, size uintptr) {
	if !g.open || size > MaxMagazine || t != nt.NonPagedPoolNx && t != nt.NonPagedPool &&
		t != nt.PagedPool {
		return
	}
	k, c := kindOf(t), classOf[(size+minGuard+15)/16]
	s := shelfOf(k, c)
	small, wide := g.shelf(s)
	if small[ShelfTake/4] != 0 {
		return
	}
	if small[shelfMisses/4] < patience {
		small[shelfMisses/4]++
		return
	}
	small[ShelfSize/4], small[ShelfCount/4] = classTable[c].size, classTable[c].count
	wide[ShelfRecip/8] = classTable[c].recip
	bc := g.m.cache(k, false, c, stackHint()&(g.m.shards-1))
	n := 0
	bc.mu.Lock()
	for ; n < ShelfRoom; n++ {
		p := bc.next()
		if p.b == nil {
			break
		}
		// The last one is taken first: the one that has waited longest.
		at := ShelfBlocks/8 + 2*(ShelfRoom-1-n)
		wide[at], wide[at+1] = uint64(p.addr()), uint64(guest.AddrOf(p.record()))
	}
	bc.mu.Unlock()
	if n < ShelfRoom {
		copy(wide[ShelfBlocks/8:], wide[ShelfBlocks/8+2*(ShelfRoom-n):ShelfBlocks/8+2*ShelfRoom])
	}
	small[ShelfTake/4] = uint32(n)
}

// Empty takes the freed blocks from the shelf that a block belongs on, if that is full. It is called
// after a free that guest code could not make. The error is a *PoolError of a shelf that the driver
// has written to.
func (g *Magazine) Empty(a nt.Addr) error {
	b := g.m.ram.block(a)
	if b == nil || b.use != useSmall || b.cache.shelf == 0 || !g.open {
		return nil
	}
	c := b.cache.class
	small, wide := g.shelf(b.cache.shelf)
	small[ShelfSize/4], small[ShelfCount/4] = c.size, c.count
	wide[ShelfRecip/8] = c.recip
	n := small[ShelfGiven/4]
	if n < ShelfRoom {
		return nil
	}
	small[ShelfGiven/4] = 0
	for i := range uint32(ShelfRoom) {
		if err := g.m.takeBack(nt.Addr(wide[ShelfFreed/8+i])); err != nil {
			return err
		}
	}
	return nil
}

// takeBack has a block wait that guest code has freed.
func (m *Manager) takeBack(a nt.Addr) error {
	b := m.ram.block(a)
	if b == nil || b.use != useSmall {
		return badShelf(a)
	}
	bc := b.cache
	bc.mu.Lock()
	defer bc.mu.Unlock()
	p, ok := bc.at(b, a)
	if !ok || p.record().load().state() != objectFreed || b.waiting.has(p.i) || b.free.has(p.i) {
		return badShelf(a)
	}
	bc.wait(p)
	return nil
}

// badShelf makes the error of a list of freed blocks that the driver has written to.
func badShelf(a nt.Addr) error {
	const freelistCorrupt = 3
	return &PoolError{
		Code:   nt.BAD_POOL_HEADER,
		Params: [4]uint64{freelistCorrupt, uint64(a), 0, 0}, Addr: a,
		What: fmt.Sprintf("the pool's list of freed blocks was overwritten: it has %v, which is no "+
			"freed block", a),
	}
}

// Finish allocates the block at a, which guest code has taken from a magazine and could not make
// ready. The error is a *PoolError of a block that was written after it was freed, or of a magazine
// that the driver has written to.
func (m *Manager) Finish(a nt.Addr, size uintptr, tag Tag) error {
	b := m.ram.block(a)
	if b == nil || b.use != useSmall || size > MaxMagazine {
		return badShelf(a)
	}
	bc := b.cache
	bc.mu.Lock()
	p, ok := bc.at(b, a)
	ok = ok && !b.waiting.has(p.i) && !b.free.has(p.i) && size+minGuard <= uintptr(bc.class.size)
	bc.mu.Unlock()
	if !ok {
		return badShelf(a)
	}
	return bc.handOut(p, a, size, tag)
}
