// Blocks: what a range of RAM pages is used for.

package mm

import (
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// kind says for what pages are charged.
type kind uint8

const (
	kindNonPaged kind = iota // non-paged pool without execution
	kindExec                 // non-paged pool from which code may run
	kindPaged                // paged pool
	kindOther                // contiguous, non-cached and MDL pages, and sections
	kinds
)

// prot gives the protection of a kind's pages.
func (k kind) prot() guest.Prot {
	if k == kindExec {
		return guest.ProtRWX
	}
	return guest.ProtRW
}

// poolType gives the kind as POOL_TYPE.
func (k kind) poolType() nt.PoolType {
	switch k {
	case kindExec:
		return nt.NonPagedPoolExecute
	case kindPaged:
		return nt.PagedPool
	}
	return nt.NonPagedPoolNx
}

// use says what a block is.
type use uint8

const (
	useSmall      use = iota + 1 // one page of small pool blocks
	useLarge                     // a pool block of whole pages
	useContiguous                // MmAllocateContiguousMemory
	useNonCached                 // MmAllocateNonCachedMemory
	useMdl                       // MmAllocatePagesForMdl: no address of its own
	useSection                   // of a section: no address of its own either
)

// direct says whether the block's pages are accessible in the direct map.
func (u use) direct() bool { return u != useMdl && u != useSection }

// block is a range of pages with one use.
type block struct {
	page  uint32
	pages uint32
	gap   uint32 // pages behind it that have no access
	use   use
	kind  kind

	// live says that the pages are in use.
	live atomic.Bool

	// Of all but small blocks; fixed.
	tag  Tag
	size uintptr // in bytes, as asked for

	// Of small blocks, under cache.mu. The records lie in guest memory: see record.
	cache      *blockCache
	records    []record
	free       bitmap // objects that may be given out
	waiting    bitmap // objects in cache.queue
	taken      uint16 // objects that are not free
	prev, next *block // in cache.partial
	listed     bool
}

// bitmap has a bit for each object of a page.
type bitmap [2]uint64

func (b *bitmap) has(i uint32) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b *bitmap) set(i uint32)      { b[i/64] |= 1 << (i % 64) }
func (b *bitmap) clear(i uint32)    { b[i/64] &^= 1 << (i % 64) }
