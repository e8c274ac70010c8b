// A buddy allocator of page ranges, with short lists of ranges that were freed last, so that what
// is used again and again is neither split nor joined, and stays in the processor's caches.

package mm

import "math/bits"

const (
	// maxOrder is the largest order: a range has 2^order pages.
	maxOrder = 18

	// quickRanges is the number of ranges of one order that are kept as they are.
	quickRanges = 16
)

// What pageBuddy.state says of a range's first page, besides the order; 0 is no first page.
const (
	stateOrder = 0x1F
	stateFree  = 0x20 // in a free list
	stateQuick = 0x40 // in a quick list
	stateUsed  = 0x80
)

// pageBuddy allocates ranges of a fixed number of pages.
type pageBuddy struct {
	state      []uint8
	next, prev []int32 // links of the free lists, by a range's first page; -1 ends a list
	head       [maxOrder + 1]int32
	quick      [maxOrder + 1]quickList
	top        int // the order of the whole
}

type quickList struct {
	page [quickRanges]int32
	n    int
}

// orderOf gives the smallest order that holds size bytes.
func orderOf(size uintptr) int {
	pages := (size + pageSize - 1) >> pageShift
	return bits.Len(uint(pages - 1))
}

// init makes all of the pages, a power of two, free.
func (b *pageBuddy) init(pages int) {
	b.state = make([]uint8, pages)
	b.next = make([]int32, pages)
	b.prev = make([]int32, pages)
	for i := range b.head {
		b.head[i] = -1
	}
	b.top = bits.Len(uint(pages)) - 1
	b.push(0, b.top)
}

// alloc gives the first page of a range of 2^order pages.
func (b *pageBuddy) alloc(order int) (page int32, ok bool) {
	if order > b.top {
		return 0, false
	}
	if q := &b.quick[order]; q.n > 0 {
		q.n--
		page = q.page[q.n]
		b.state[page] = stateUsed | uint8(order)
		return page, true
	}
	page, ok = b.split(order)
	if !ok {
		b.drain()
		page, ok = b.split(order)
	}
	if ok {
		b.state[page] = stateUsed | uint8(order)
	}
	return page, ok
}

// split takes a range of 2^order pages out of the free lists.
func (b *pageBuddy) split(order int) (page int32, ok bool) {
	o := order
	for b.head[o] < 0 {
		if o++; o > b.top {
			return 0, false
		}
	}
	page = b.head[o]
	b.remove(page, o)
	for o > order {
		o--
		b.push(page+1<<o, o)
	}
	return page, true
}

// free gives back the range that begins at page and says whether one that is in use does.
func (b *pageBuddy) free(page int32) bool {
	s := b.state[page]
	if s&stateUsed == 0 {
		return false
	}
	order := int(s & stateOrder)
	if q := &b.quick[order]; q.n < quickRanges {
		q.page[q.n] = page
		q.n++
		b.state[page] = stateQuick | uint8(order)
		return true
	}
	b.join(page, order)
	return true
}

// join puts a range into the free lists, together with its neighbours.
func (b *pageBuddy) join(page int32, order int) {
	for order < b.top {
		other := page ^ 1<<order
		if b.state[other] != stateFree|uint8(order) {
			break
		}
		b.remove(other, order)
		b.state[max(page, other)] = 0
		page = min(page, other)
		order++
	}
	b.push(page, order)
}

// drain empties the quick lists.
func (b *pageBuddy) drain() {
	for order := range b.quick {
		q := &b.quick[order]
		for q.n > 0 {
			q.n--
			b.join(q.page[q.n], order)
		}
	}
}

// push puts a range at the front of its order's free list.
func (b *pageBuddy) push(page int32, order int) {
	b.state[page] = stateFree | uint8(order)
	b.prev[page], b.next[page] = -1, b.head[order]
	if h := b.head[order]; h >= 0 {
		b.prev[h] = page
	}
	b.head[order] = page
}

// remove takes a range out of its order's free list.
func (b *pageBuddy) remove(page int32, order int) {
	n, p := b.next[page], b.prev[page]
	if p >= 0 {
		b.next[p] = n
	} else {
		b.head[order] = n
	}
	if n >= 0 {
		b.prev[n] = p
	}
}

// eachFree calls f for each range in the free lists.
func (b *pageBuddy) eachFree(f func(page int32, pages int)) {
	for order, page := range b.head {
		for ; page >= 0; page = b.next[page] {
			f(page, 1<<order)
		}
	}
}
