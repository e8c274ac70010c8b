// Records: what is known of each small pool block.

package mm

import (
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// record says what a small block is: its tag in bits 0 to 31, its size in bytes in bits 32 to 47, and
// its state in bits 48 to 55. Records lie in guest memory, because guest code allocates and frees, so
// a driver that writes wildly can make one say anything: what Go must rely on it keeps itself, in the
// bitmaps of the page.
type record uint64

type objectState uint8

// The states. In guest code objectLive is bit 48, and objectFreed bit 49.
const (
	objectUnused objectState = iota
	objectLive
	objectFreed
)

func makeRecord(tag Tag, size uint32, s objectState) record {
	return record(tag) | record(size&0xFFFF)<<32 | record(s)<<48
}

func (r record) tag() Tag           { return Tag(r) }
func (r record) state() objectState { return objectState(r >> 48) }

// as gives the record with another state.
func (r record) as(s objectState) record { return r&(1<<48-1) | record(s)<<48 }

func (r *record) load() record { return record(atomic.LoadUint64((*uint64)(r))) }

func (r *record) store(v record) { atomic.StoreUint64((*uint64)(r), uint64(v)) }

func (r *record) swap(old, v record) bool {
	return atomic.CompareAndSwapUint64((*uint64)(r), uint64(old), uint64(v))
}

// sizeOf gives the size of a block in bytes: what its record says, but no more than fits.
func (bc *blockCache) sizeOf(r record) uint32 {
	return min(uint32(r>>32)&0xFFFF, bc.class.size-minGuard)
}

const (
	recordSize = 8

	// pageRecords is how many bytes of records a page of RAM has: more than the smallest class needs.
	pageRecords = 1024
)

// records has the records of all pages, and a byte for each page that says which shelf of the
// magazines its blocks belong on, 0 for none. The memory for records is there from when a page of
// their chunk is first used for small blocks.
type records struct {
	region    *guest.Region
	shelves   *guest.Region
	committed []atomic.Bool // for each chunk of chunkPages pages
}

func (r *records) init(space *guest.Space, pages uint32) (err error) {
	if r.region, err = space.ReserveSystem(uintptr(pages)*pageRecords, "pool records"); err != nil {
		return err
	}
	r.committed = make([]atomic.Bool, (pages+chunkPages-1)/chunkPages)
	r.shelves, err = space.AllocSystem(uintptr(pages), guest.ProtRW, "pool pages")
	if err != nil {
		return closeBoth(r.region, err)
	}
	return nil
}

func closeBoth(r *guest.Region, err error) error {
	_ = r.Free() // err says more
	return err
}

// close gives the memory back.
func (r *records) close() error {
	err := r.region.Free()
	if e := r.shelves.Free(); err == nil {
		err = e
	}
	return err
}

// of gives count records for the blocks of a page, all of them unused. The page is not on a shelf.
func (r *records) of(page uint32, count int) ([]record, error) {
	chunk := page / chunkPages
	if !r.committed[chunk].Load() {
		const size = chunkPages * pageRecords
		off := uintptr(chunk) * size
		if err := r.region.Commit(off, min(size, r.region.Size()-off), guest.ProtRW); err != nil {
			return nil, err
		}
		r.committed[chunk].Store(true) // committing twice does no harm
	}
	list := guest.Ptr[record](r.region.Base() + nt.Addr(page)*pageRecords).RefSlice(count)
	clear(list)
	return list, nil
}

// setShelf says on which shelf a page's blocks belong.
func (r *records) setShelf(page uint32, s shelf) {
	r.shelves.Bytes()[page] = byte(s)
}
