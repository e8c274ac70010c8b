// Regions: allocations of guest memory, their pages' protection and their end.

package guest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Region is one allocation. It stays until Free. Its methods may be called from any goroutine.
type Region struct {
	space *Space
	base  Addr
	size  uintptr
	kind  Kind
	what  string

	taken  span // what Free gives back to the arena: the region and its guard gaps
	arena  *arena
	shared bool    // maps a file: pages cannot be committed or decommitted
	slot   uintptr // of a region of stacks: the size of one with its guard page

	runs atomic.Pointer[[]pageRun] // from offset 0 on, in order; copied on change

	mu    sync.Mutex // serialises changes
	freed bool
}

// pageRun is a run of pages with one protection: from off to the next run's, or to the region's
// end.
type pageRun struct {
	off       uintptr
	prot      Prot
	committed bool
}

// ErrFreed is the error of a method of a region or stack that was freed.
var ErrFreed = errors.New("guest: the memory was freed")

// ErrNoRoom is the error, wrapped in a MapError, of an allocation for which an arena has no range
// of addresses left.
var ErrNoRoom = errors.New("no free range of that size in the arena")

// RangeError is the error of an offset and a size that are not whole pages inside of the region.
type RangeError struct {
	What                  string
	Off, Size, RegionSize uintptr
}

// Error names the range and the region.
func (e *RangeError) Error() string {
	return fmt.Sprintf("guest: offset %#x, size %#x: not whole pages inside of %s (%#x bytes)",
		e.Off, e.Size, e.What, e.RegionSize)
}

// AllocSystem allocates size bytes, rounded up to pages, in the system arena: zeroed, committed,
// with a guard gap on both sides. what names the region in messages. The error is a *MapError.
func (s *Space) AllocSystem(size uintptr, prot Prot, what string) (*Region, error) {
	return s.alloc(ArenaSystem, KindSystem, size, prot, true, what)
}

// AllocUser is AllocSystem in the user arena, at a multiple of 64 KiB.
func (s *Space) AllocUser(size uintptr, prot Prot, what string) (*Region, error) {
	return s.alloc(ArenaUser, KindUser, size, prot, true, what)
}

// ReserveSystem takes size bytes of addresses, rounded up to pages, in the system arena, in which
// nothing is committed yet. The error is a *MapError.
func (s *Space) ReserveSystem(size uintptr, what string) (*Region, error) {
	return s.alloc(ArenaSystem, KindSystem, size, ProtNone, false, what)
}

// ReserveUser is ReserveSystem in the user arena, at a multiple of 64 KiB.
func (s *Space) ReserveUser(size uintptr, what string) (*Region, error) {
	return s.alloc(ArenaUser, KindUser, size, ProtNone, false, what)
}

// alloc takes a range with guard gaps from an arena, commits it if asked to, and puts it in the
// table.
func (s *Space) alloc(at Arena, kind Kind, size uintptr, prot Prot, commit bool, what string) (
	*Region, error) {
	r, err := s.take(at, kind, size, what)
	if err != nil {
		return nil, err
	}
	if commit {
		if prot != ProtNone {
			if err := mprotect(uintptr(r.base), r.size, prot); err != nil {
				return nil, r.abandon("allocate", err)
			}
		}
		r.runs.Store(&[]pageRun{{0, prot, true}})
	}
	s.mu.Lock()
	s.insert(r)
	s.mu.Unlock()
	return r, nil
}

// take finds addresses for a region and makes the region, which is not in the table yet.
func (s *Space) take(at Arena, kind Kind, size uintptr, what string) (*Region, error) {
	fail := func(err error) (*Region, error) {
		return nil, &MapError{Op: "allocate", What: what, Size: size, Err: err}
	}
	if at != ArenaUser && at != ArenaSystem {
		return fail(unix.EINVAL)
	}
	rounded, ok := pageAlign(size)
	if !ok || size == 0 || rounded > uintptr(mappableEnd) {
		return fail(unix.EINVAL)
	}
	align := uintptr(PageSize)
	if at == ArenaUser {
		align = userAlign
	}
	a := &s.arenas[at]
	total := rounded + 2*guardSize
	s.mu.Lock()
	start, ok := a.free.take(total, guardSize, align)
	s.mu.Unlock()
	if !ok {
		return fail(fmt.Errorf("%v: %w", at, ErrNoRoom))
	}
	r := &Region{space: s, base: Addr(start + guardSize), size: rounded, kind: kind, what: what,
		taken: span{start, start + total}, arena: a}
	r.runs.Store(&[]pageRun{{0, ProtNone, false}})
	return r, nil
}

// abandon gives back what a failed allocation took, and makes its error.
func (r *Region) abandon(op string, cause error) error {
	err := error(&MapError{Op: op, What: r.what, Size: r.size, Err: cause})
	return errors.Join(err, r.giveBack())
}

// AllocAt allocates size bytes, rounded up to pages, at exactly addr: zeroed, committed, without
// guard gaps. It is for images; the region is never user memory, not even in the user arena. addr
// is a multiple of the page size. The error is a *TakenError when something is there or nothing
// may be, such as in the first 64 KiB, else a *MapError.
func (s *Space) AllocAt(addr Addr, size uintptr, prot Prot, what string) (*Region, error) {
	rounded, ok := pageAlign(size)
	if !ok || size == 0 || addr%PageSize != 0 {
		return nil, &MapError{Op: fmt.Sprintf("allocate at %v", addr), What: what, Size: size,
			Err: unix.EINVAL}
	}
	taken := func(by string) error { return &TakenError{Addr: addr, Size: size, By: by} }
	switch {
	case addr < LowGuard:
		return nil, taken("the first 64 KiB are never mapped")
	case addr > mappableEnd || rounded > uintptr(mappableEnd-addr):
		return nil, taken("not addresses that a Linux process can map")
	}
	r := &Region{space: s, base: addr, size: rounded, kind: KindFixed, what: what}
	r.runs.Store(&[]pageRun{{0, prot, true}})
	r.taken = r.span()
	for i := range s.arenas {
		a := &s.arenas[i]
		if a.contains(r.taken) {
			r.arena = a
		} else if a.bounds.overlaps(r.taken) {
			return nil, taken(fmt.Sprintf("the border of the %v is in between", Arena(i)))
		}
	}
	if r.arena != nil {
		s.mu.Lock()
		ok := r.arena.free.takeAt(r.taken)
		s.mu.Unlock()
		if !ok {
			return nil, taken(s.occupant(r.taken))
		}
		if prot != ProtNone {
			if err := mprotect(uintptr(addr), rounded, prot); err != nil {
				return nil, r.abandon("allocate", err)
			}
		}
	} else {
		err := mmap(uintptr(addr), rounded, prot, reservedFlags|unix.MAP_FIXED_NOREPLACE, -1, 0)
		if errors.Is(err, unix.EEXIST) {
			return nil, taken(s.occupant(r.taken))
		}
		if err != nil {
			return nil, &MapError{Op: fmt.Sprintf("allocate at %v", addr), What: what, Size: size,
				Err: err}
		}
	}
	s.mu.Lock()
	s.insert(r)
	s.mu.Unlock()
	return r, nil
}

// occupant names something that lies in q.
func (s *Space) occupant(q span) string {
	t := *s.table.Load()
	for i := max(search(t, Addr(q.start)), 0); i < len(t) && uintptr(t[i].base) < q.end; i++ {
		r := t[i]
		if r.taken.overlaps(q) {
			return fmt.Sprintf("%s is at %v (%#x bytes)", r.what, r.base, r.size)
		}
	}
	maps, err := readMappings()
	for _, m := range maps {
		if err == nil && (span{m.start, m.end}).overlaps(q) && m.name != "" {
			return fmt.Sprintf("the host process has %s at %#x-%#x", m.name, m.start, m.end)
		}
	}
	return "the addresses are in use"
}

// AllocShared maps size bytes, rounded up to pages, of the file fd from off on, a multiple of the
// page size, in the arena at, with a guard gap on both sides. It keeps no hold of fd. Two mappings
// of one file are two names for the same pages. Pages behind the file's end fault like unmapped
// ones, and nothing but a seal keeps whoever holds the file from moving its end: see SealedMemfd.
// The error is a *MapError.
func (s *Space) AllocShared(fd int, off int64, size uintptr, at Arena, prot Prot, what string) (
	*Region, error) {
	kind := KindSystem
	if at == ArenaUser {
		kind = KindUser
	}
	if off < 0 || off%PageSize != 0 {
		return nil, &MapError{Op: "map a file in", What: what, Size: size, Err: unix.EINVAL}
	}
	r, err := s.take(at, kind, size, what)
	if err != nil {
		return nil, err
	}
	r.shared = true
	err = mmap(uintptr(r.base), r.size, prot, unix.MAP_SHARED|unix.MAP_FIXED, fd, off)
	if err != nil {
		return nil, r.abandon("map a file in", err)
	}
	r.runs.Store(&[]pageRun{{0, prot, true}})
	s.mu.Lock()
	s.insert(r)
	s.mu.Unlock()
	return r, nil
}

// Base gives the first address.
func (r *Region) Base() Addr { return r.base }

// Size gives the size in bytes, whole pages.
func (r *Region) Size() uintptr { return r.size }

// End gives the first address behind the region.
func (r *Region) End() Addr { return r.base + Addr(r.size) }

// Kind says what the region is to a driver.
func (r *Region) Kind() Kind { return r.kind }

// What gives the name the region was allocated with.
func (r *Region) What() string { return r.what }

// Contains says whether the n bytes at a all lie in the region.
func (r *Region) Contains(a Addr, n uintptr) bool {
	off := uintptr(a - r.base)
	return a >= r.base && off <= r.size && n <= r.size-off
}

func (r *Region) span() span { return span{uintptr(r.base), uintptr(r.base) + r.size} }

// Commit makes pages of the range accessible with prot: new ones zeroed, those that are committed
// already with their contents, as VirtualAlloc does. The error is a *RangeError or a *MapError.
func (r *Region) Commit(off, size uintptr, prot Prot) error {
	return r.change("commit", off, size, true, func(addr uintptr) error {
		return mprotect(addr, size, prot)
	}, pageRun{prot: prot, committed: true})
}

// Decommit drops the range's pages with their contents; accesses fault until Commit. Pages that
// are not committed are left so. The error is a *RangeError or a *MapError.
func (r *Region) Decommit(off, size uintptr) error {
	return r.change("decommit", off, size, true, func(addr uintptr) error {
		return mmap(addr, size, ProtNone, reservedFlags|unix.MAP_FIXED, -1, 0)
	}, pageRun{})
}

// Protect changes the protection of the range, all of which is committed. The error is a
// *RangeError or a *MapError.
func (r *Region) Protect(off, size uintptr, prot Prot) error {
	return r.change("protect", off, size, false, func(addr uintptr) error {
		return mprotect(addr, size, prot)
	}, pageRun{prot: prot, committed: true})
}

// change does do to the pages of a range and then notes what they are. When do fails, the pages
// that it changed before are not noted; Free deals with them all the same.
func (r *Region) change(op string, off, size uintptr, commits bool, do func(addr uintptr) error,
	to pageRun) error {
	if off%PageSize != 0 || size%PageSize != 0 || size == 0 || off >= r.size || size > r.size-off {
		return &RangeError{What: r.what, Off: off, Size: size, RegionSize: r.size}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.freed:
		return ErrFreed
	case commits && r.shared:
		return &MapError{Op: op, What: r.what, Size: size,
			Err: errors.New("the pages are those of a file")}
	case !commits && !r.allCommitted(off, off+size):
		return &MapError{Op: op, What: r.what, Size: size,
			Err: errors.New("not all of the pages are committed")}
	}
	if err := do(uintptr(r.base) + off); err != nil {
		return &MapError{Op: op, What: r.what, Size: size, Err: err}
	}
	r.note(off, off+size, to)
	return nil
}

// runAt gives the run that contains off.
func (r *Region) runAt(off uintptr) pageRun {
	runs := *r.runs.Load()
	lo, hi := 0, len(runs)
	for lo < hi {
		if mid := (lo + hi) / 2; runs[mid].off <= off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return runs[lo-1]
}

// allCommitted says whether all pages of [from, to) are committed.
func (r *Region) allCommitted(from, to uintptr) bool {
	runs := *r.runs.Load()
	for i, run := range runs {
		end := r.size
		if i+1 < len(runs) {
			end = runs[i+1].off
		}
		if run.off < to && end > from && !run.committed {
			return false
		}
	}
	return true
}

// note records that the pages of [from, to) are now as in run.
func (r *Region) note(from, to uintptr, run pageRun) {
	old := *r.runs.Load()
	runs := make([]pageRun, 0, len(old)+2)
	add := func(p pageRun) {
		if n := len(runs); n == 0 || runs[n-1].prot != p.prot || runs[n-1].committed != p.committed {
			runs = append(runs, p)
		}
	}
	for _, p := range old {
		if p.off < from {
			add(p)
		}
	}
	run.off = from
	add(run)
	if to < r.size {
		after := r.runAt(to)
		after.off = to
		add(after)
		for _, p := range old {
			if p.off > to {
				add(p)
			}
		}
	}
	runs = slices.Clip(runs)
	r.runs.Store(&runs)
}

// Free unmaps the region and gives its addresses back. A second Free is ErrFreed. With any other
// error the region is gone, but its addresses are not used again.
func (r *Region) Free() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.freed {
		return ErrFreed
	}
	r.freed = true
	r.space.mu.Lock()
	r.space.remove(r)
	r.space.mu.Unlock()
	if err := r.giveBack(); err != nil {
		return &MapError{Op: "free", What: r.what, Size: r.size, Err: err}
	}
	return nil
}

// giveBack unmaps the region and gives its addresses back to their arena.
func (r *Region) giveBack() error {
	if r.arena == nil {
		return munmap(uintptr(r.base), r.size)
	}
	err := mmap(uintptr(r.base), r.size, ProtNone, reservedFlags|unix.MAP_FIXED, -1, 0)
	if err != nil && !r.shared {
		// At the limit of mappings Linux refuses even a mapping that replaces another one.
		err = errors.Join(madvise(uintptr(r.base), r.size, unix.MADV_DONTNEED),
			mprotect(uintptr(r.base), r.size, ProtNone))
	}
	if err != nil {
		return err
	}
	r.space.mu.Lock()
	defer r.space.mu.Unlock()
	return r.arena.free.give(r.taken)
}
