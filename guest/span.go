// Which addresses of an arena are free: a first-fit allocator of address ranges.

package guest

import (
	"fmt"
	"slices"
)

// span is the address range [start, end).
type span struct{ start, end uintptr }

// spanSet is a set of addresses, kept as spans in order that do not touch each other.
type spanSet struct{ spans []span }

// take removes the first range of size bytes whose address, pad bytes behind its start, is a
// multiple of align, and gives its start. The zero results say that there is none.
func (s *spanSet) take(size, pad, align uintptr) (start uintptr, ok bool) {
	for i := range s.spans {
		f := s.spans[i]
		base := (f.start + pad + align - 1) &^ (align - 1)
		start := base - pad
		if start < f.start || start >= f.end || f.end-start < size {
			continue
		}
		s.cut(i, span{start, start + size})
		return start, true
	}
	return 0, false
}

// takeAt removes exactly [start, end) and says whether all of it was free.
func (s *spanSet) takeAt(r span) bool {
	i := s.search(r.start)
	if i < 0 || s.spans[i].end < r.end {
		return false
	}
	s.cut(i, r)
	return true
}

// search gives the index of the last span that starts at or before addr, or -1.
func (s *spanSet) search(addr uintptr) int {
	i, found := slices.BinarySearchFunc(s.spans, addr, func(f span, a uintptr) int {
		switch {
		case f.start < a:
			return -1
		case f.start > a:
			return 1
		}
		return 0
	})
	if found {
		return i
	}
	return i - 1
}

// cut removes r from span i, which contains it.
func (s *spanSet) cut(i int, r span) {
	f := s.spans[i]
	switch {
	case f == r:
		s.spans = slices.Delete(s.spans, i, i+1)
	case f.start == r.start:
		s.spans[i].start = r.end
	case f.end == r.end:
		s.spans[i].end = r.start
	default:
		s.spans[i].end = r.start
		s.spans = slices.Insert(s.spans, i+1, span{r.end, f.end})
	}
}

// give adds r, none of which may be free already.
func (s *spanSet) give(r span) error {
	i := s.search(r.start) + 1 // r goes before span i
	if i > 0 && s.spans[i-1].end > r.start || i < len(s.spans) && r.end > s.spans[i].start {
		return fmt.Errorf("guest: range %#x-%#x was free already", r.start, r.end)
	}
	left := i > 0 && s.spans[i-1].end == r.start
	right := i < len(s.spans) && s.spans[i].start == r.end
	switch {
	case left && right:
		s.spans[i-1].end = s.spans[i].end
		s.spans = slices.Delete(s.spans, i, i+1)
	case left:
		s.spans[i-1].end = r.end
	case right:
		s.spans[i].start = r.start
	default:
		s.spans = slices.Insert(s.spans, i, r)
	}
	return nil
}

// size is the number of bytes in the set.
func (s *spanSet) size() (n uintptr) {
	for _, f := range s.spans {
		n += f.end - f.start
	}
	return n
}
