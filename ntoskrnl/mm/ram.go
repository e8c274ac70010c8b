// The kernel's RAM: one memory file, mapped whole, from which every page is taken.

package mm

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"golang.org/x/sys/unix"
)

const (
	pageSize  = nt.PAGE_SIZE
	pageShift = nt.PAGE_SHIFT

	// ramPhysBase is the physical address of the first page of RAM: what is below belongs to the
	// firmware of a PC.
	ramPhysBase = 1 << 20

	// lowPages is how many pages of RAM lie below 16 MiB. They are given out last, so that memory
	// for ISA DMA can be had late.
	lowPages = (16<<20 - ramPhysBase) / pageSize

	// punchPages is the number of pages from which a freed range gives its memory back to Linux.
	punchPages = 16

	// How long a freed range is kept from reuse: until so many ranges, or so many pages, were freed
	// after it.
	quarantineRuns  = 64
	quarantinePages = 4096

	// maxFragments bounds how many pieces the direct map falls into because of pages without access
	// between others: Linux allows a process some 65,000 mappings, and guest's list of a region's
	// protections grows with each. Above it, blocks get no gap behind them, and what is freed is
	// overwritten instead of shut.
	maxFragments = 512

	// chunkPages is the number of pages that one part of the block table covers.
	chunkPages = 512
)

// ram owns the pages. Each page in use belongs to a block.
type ram struct {
	region *guest.Region
	base   nt.Addr
	pages  uint32
	fd     int

	table  []atomic.Pointer[chunk]
	access []guest.Prot // of each page; whoever owns the page may read and write it

	mu         sync.Mutex
	gaps       int // behind blocks in use
	free       runSet
	quarantine []pageRun // oldest first
	waiting    uint32    // pages in quarantine
	used       [kinds]uint32
	limit      [kinds]uint32
}

// chunk is a part of the table that says which block a page belongs to. An entry stays until the
// page is in another block, so that a freed block is known as such.
type chunk [chunkPages]atomic.Pointer[block]

// init makes size bytes of RAM, a multiple of the page size.
func (r *ram) init(space *guest.Space, size uintptr) error {
	fd, err := guest.SealedMemfd("drvhost-ram", int64(size))
	if err != nil {
		return err
	}
	r.fd = fd
	r.region, err = space.AllocShared(fd, 0, size, guest.ArenaSystem, guest.ProtNone, "kernel RAM")
	if err != nil {
		unix.Close(fd)
		return err
	}
	r.base = r.region.Base()
	r.pages = uint32(size >> pageShift)
	r.table = make([]atomic.Pointer[chunk], (r.pages+chunkPages-1)/chunkPages)
	r.access = make([]guest.Prot, r.pages)
	r.free.give(pageRun{0, r.pages})
	return nil
}

// close gives the RAM back.
func (r *ram) close() error {
	err := r.region.Free()
	if e := unix.Close(r.fd); err == nil {
		err = e
	}
	return err
}

// addr gives the address of a page in the direct map.
func (r *ram) addr(page uint32) nt.Addr { return r.base + nt.Addr(page)<<pageShift }

// contains says whether a is an address in the direct map.
func (r *ram) contains(a nt.Addr) bool { return uintptr(a-r.base)>>pageShift < uintptr(r.pages) }

// page gives the page of an address in the direct map.
func (r *ram) page(a nt.Addr) uint32 { return uint32((a - r.base) >> pageShift) }

// block gives the block that the page at a belongs to, or belonged to last; nil when it never was
// in one.
func (r *ram) block(a nt.Addr) *block {
	if !r.contains(a) {
		return nil
	}
	return r.blockOf(r.page(a))
}

// liveBlock gives the block that the page at a, in the direct map, belongs to and is accessible in;
// nil when there is none.
func (r *ram) liveBlock(a nt.Addr) *block {
	if b := r.block(a); b != nil && b.live.Load() && b.use.direct() {
		return b
	}
	return nil
}

func (r *ram) blockOf(page uint32) *block {
	if c := r.table[page/chunkPages].Load(); c != nil {
		return c[page%chunkPages].Load()
	}
	return nil
}

// take finds n pages for a block of the kind k. The zero results say that there is no such range,
// or that the kind's limit is reached. Its contents are undefined.
func (r *ram) take(k kind, n uint32, l *limits) (start uint32, ok bool) {
	start, _, ok = r.takeGap(k, n, 0, l)
	return start, ok
}

// takeGap is take with gap pages behind the others that have no access. Where there are many gaps
// already, the result says that there is none.
func (r *ram) takeGap(k kind, n, gap uint32, l *limits) (start, gapped uint32, ok bool) {
	if n == 0 || n > r.pages || gap > r.pages-n {
		return 0, 0, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > r.limit[k]-r.used[k] {
		return 0, 0, false
	}
	if r.gaps >= maxFragments {
		gap = 0
	}
	for {
		start, ok = r.find(k, n+gap, l)
		if ok {
			r.used[k] += n
			if gap > 0 {
				r.gaps++
			}
			return start, gap, true
		}
		if len(r.quarantine) == 0 {
			return 0, 0, false
		}
		for len(r.quarantine) > 0 {
			r.release()
		}
	}
}

// find takes a free range. Without limits, low memory comes last. Executable pages are put together,
// apart from others, so that the direct map does not fall into pieces.
func (r *ram) find(k kind, n uint32, l *limits) (start uint32, ok bool) {
	if l != nil {
		return r.free.take(n, l)
	}
	if k == kindExec {
		if start, ok = r.free.take(n, &limits{lo: r.pages / 2, hi: r.pages}); ok {
			return start, true
		}
	}
	if start, ok = r.free.take(n, &limits{lo: lowPages, hi: r.pages}); ok {
		return start, true
	}
	return r.free.take(n, &limits{hi: r.pages})
}

// enter puts b into the table.
func (r *ram) enter(b *block) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := b.page; p < b.page+b.pages; p++ {
		c := r.table[p/chunkPages].Load()
		if c == nil {
			c = new(chunk)
			r.table[p/chunkPages].Store(c)
		}
		c[p%chunkPages].Store(b)
	}
}

// open gives the pages of a block the access prot.
func (r *ram) open(start, n uint32, prot guest.Prot) error {
	pages := r.access[start:][:n]
	same := true
	for _, p := range pages {
		same = same && p == prot
	}
	if same {
		return nil
	}
	if err := r.region.Protect(uintptr(start)<<pageShift, uintptr(n)<<pageShift, prot); err != nil {
		return err
	}
	for i := range pages {
		pages[i] = prot
	}
	return nil
}

// shut takes the access to the pages of a block, and the gap behind it, away. Where that would leave
// too many pieces, or Linux allows no more, the block is overwritten with the pattern of freed
// memory.
func (r *ram) shut(start, n, gap uint32) {
	r.mu.Lock()
	pieces := len(r.free.runs) + len(r.quarantine)
	r.mu.Unlock()
	if (pieces < maxFragments || n >= punchPages) && r.open(start, n+gap, guest.ProtNone) == nil {
		return
	}
	if r.open(start, n, guest.ProtRW) == nil {
		// A driver may see its old bytes where this fails.
		_ = guest.Fill(r.addr(start), freedByte, uintptr(n)<<pageShift)
	}
}

// punch drops the pages' contents: they read as zeros.
func (r *ram) punch(start, n uint32) error {
	err := unix.Fallocate(r.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE,
		int64(start)<<pageShift, int64(n)<<pageShift)
	if err != nil {
		return fmt.Errorf("mm: free %d pages of RAM: %w", n, err)
	}
	return nil
}

// give takes back what take or takeGap gave, with the same numbers; the pages are shut.
func (r *ram) give(k kind, start, n, gap uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used[k] -= n
	if gap > 0 {
		r.gaps--
	}
	r.quarantine = append(r.quarantine, pageRun{start, n + gap})
	r.waiting += n + gap
	for len(r.quarantine) > quarantineRuns || r.waiting > quarantinePages {
		r.release()
	}
}

// release makes the oldest range in quarantine free. r.mu is held.
func (r *ram) release() {
	q := r.quarantine[0]
	copy(r.quarantine, r.quarantine[1:])
	r.quarantine = r.quarantine[:len(r.quarantine)-1]
	r.waiting -= q.n
	if q.n >= punchPages {
		// Without the room the contents stay, which costs memory and nothing else.
		_ = r.punch(q.start, q.n)
	}
	r.free.give(q)
}

// fits says whether a kind's limit would allow size bytes if nothing else were allocated.
func (r *ram) fits(k kind, size uintptr) bool { return size <= uintptr(r.limit[k])<<pageShift }

// usage gives the bytes in use of a kind.
func (r *ram) usage(k kind) uintptr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return uintptr(r.used[k]) << pageShift
}
