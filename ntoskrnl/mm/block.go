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

	// Of small blocks, under cache.mu.
	cache      *blockCache
	objects    []object
	free       [2]uint64 // a bit for each object that is neither live nor waiting for reuse
	taken      uint16    // objects that are live or waiting for reuse
	prev, next *block    // in cache.partial
	listed     bool
}

// object is one small block.
type object struct {
	tag   Tag
	size  uint16
	state objectState
}

type objectState uint8

const (
	objectUnused objectState = iota
	objectLive
	objectFreed
)
