// Which pages of RAM are free: a first-fit allocator of page ranges.

package mm

import "sort"

// pageRun is n pages from start on.
type pageRun struct{ start, n uint32 }

// end is the first page behind the run.
func (r pageRun) end() uint32 { return r.start + r.n }

// runSet is a set of pages, kept as runs in order that do not touch each other.
type runSet struct {
	runs  []pageRun
	pages uint32
}

// limits says where a range of pages may be: in [lo, hi), at a multiple of align, and not across a
// multiple of boundary. origin is the physical page number of page 0, on which align and boundary
// count; both are powers of two in pages, and boundary may be 0.
type limits struct {
	lo, hi   uint32
	align    uint64
	boundary uint64
	origin   uint64
}

// fit gives the lowest page at or behind from where n pages obey the limits; ok is false where
// there is none, lo and hi aside.
func (l *limits) fit(from, n uint32) (start uint32, ok bool) {
	p := l.origin + uint64(from)
	for {
		if l.align > 1 {
			p = (p + l.align - 1) &^ (l.align - 1)
		}
		if l.boundary == 0 || p/l.boundary == (p+uint64(n)-1)/l.boundary {
			break
		}
		if uint64(n) > l.boundary {
			return 0, false
		}
		p = (p/l.boundary + 1) * l.boundary
	}
	if p-l.origin > 1<<31 {
		return 0, false
	}
	return uint32(p - l.origin), true
}

// take removes the first n pages that obey l and gives their start.
func (s *runSet) take(n uint32, l *limits) (start uint32, ok bool) {
	if n == 0 || n > s.pages {
		return 0, false
	}
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].end() > l.lo })
	for ; i < len(s.runs) && s.runs[i].start < l.hi; i++ {
		r := s.runs[i]
		start, ok := l.fit(max(r.start, l.lo), n)
		if !ok {
			return 0, false
		}
		if end := uint64(start) + uint64(n); end > uint64(r.end()) || end > uint64(l.hi) {
			continue
		}
		s.cut(i, pageRun{start, n})
		return start, true
	}
	return 0, false
}

// cut removes c from run i, which contains it.
func (s *runSet) cut(i int, c pageRun) {
	r := s.runs[i]
	s.pages -= c.n
	left := pageRun{r.start, c.start - r.start}
	right := pageRun{c.end(), r.end() - c.end()}
	switch {
	case left.n == 0 && right.n == 0:
		s.runs = append(s.runs[:i], s.runs[i+1:]...)
	case left.n == 0:
		s.runs[i] = right
	case right.n == 0:
		s.runs[i] = left
	default:
		s.runs = append(s.runs, pageRun{})
		copy(s.runs[i+2:], s.runs[i+1:])
		s.runs[i], s.runs[i+1] = left, right
	}
}

// give adds r, none of which is in the set.
func (s *runSet) give(r pageRun) {
	s.pages += r.n
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].start > r.start })
	left := i > 0 && s.runs[i-1].end() == r.start
	right := i < len(s.runs) && s.runs[i].start == r.end()
	switch {
	case left && right:
		s.runs[i-1].n += r.n + s.runs[i].n
		s.runs = append(s.runs[:i], s.runs[i+1:]...)
	case left:
		s.runs[i-1].n += r.n
	case right:
		s.runs[i] = pageRun{r.start, r.n + s.runs[i].n}
	default:
		s.runs = append(s.runs, pageRun{})
		copy(s.runs[i+1:], s.runs[i:])
		s.runs[i] = r
	}
}
