// The address space: the two arenas, and the table of what lies where.

package guest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/nt"
	"golang.org/x/sys/unix"
)

// systemSize is the size of the system arena in bytes. It costs address space only.
const systemSize = 64 << 30

// minUserSize is how many bytes of the user arena must be free for it to be of use.
const minUserSize = 1 << 30

// systemBases are the places where the system arena may be, in the order in which they are tried.
// All are above 2^46, where the Go heap does not go, and below where Linux puts stack and mmaps.
var systemBases = []uintptr{
	0x5000_0000_0000, 0x5800_0000_0000, 0x6000_0000_0000, 0x4800_0000_0000, 0x6800_0000_0000,
}

// Space is the guest's address space. Its methods may be called from any goroutine.
type Space struct {
	table atomic.Pointer[[]*Region] // by address; copied on change

	mu      sync.Mutex
	arenas  [2]arena
	regions int     // in the table, stacks aside
	bytes   uintptr // their sizes
	fixed   int     // regions in the user arena that are not user memory

	userHoles atomic.Bool // the user arena holds something that is not user memory
	stacks    stackPools
}

// arena is one reserved part of the address space.
type arena struct {
	bounds span    // from the first to the last address
	free   spanSet // what is reserved, and free
	holes  []span  // what was taken by others when the arena was reserved
}

var (
	defaultOnce  sync.Once
	defaultSpace atomic.Pointer[Space]
	defaultErr   error
)

// Default gives the guest address space of this process. The first call reserves the arenas and
// installs the signal handler of the access routines; an error, which names the range that could
// not be had, is the answer to every later call as well.
func Default() (*Space, error) {
	defaultOnce.Do(func() {
		s, err := newSpace()
		if err == nil {
			err = installHandler()
		}
		if err != nil {
			defaultErr = err
			return
		}
		defaultSpace.Store(s)
	})
	return defaultSpace.Load(), defaultErr
}

// newSpace reserves the arenas.
func newSpace() (*Space, error) {
	s := &Space{}
	s.table.Store(new([]*Region))
	s.stacks.space = s
	if err := s.arenas[ArenaUser].reserveUser(); err != nil {
		return nil, err
	}
	if err := s.arenas[ArenaSystem].reserveSystem(); err != nil {
		return nil, errors.Join(err, s.arenas[ArenaUser].release())
	}
	s.userHoles.Store(len(s.arenas[ArenaUser].holes) > 0)
	return s, nil
}

// reserveUser reserves [UserBase, UserEnd). What somebody put there before main (a C library's
// brk heap may start anywhere in the first GiB) is left out, as long as most of the arena remains.
func (a *arena) reserveUser() error {
	a.bounds = span{uintptr(UserBase), uintptr(UserEnd)}
	err := reserve(a.bounds)
	if err == nil {
		a.free.spans = []span{a.bounds}
		return nil
	}
	if !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("guest: cannot reserve the user arena %#x-%#x: %w", a.bounds.start,
			a.bounds.end, err)
	}
	return a.reserveAround(minUserSize)
}

// reserveAround reserves the parts of a's bounds that are free, which must be least bytes at least.
func (a *arena) reserveAround(least uintptr) error {
	maps, err := readMappings()
	if err != nil {
		return fmt.Errorf("guest: %#x-%#x is partly taken, and cannot tell by what: %w",
			a.bounds.start, a.bounds.end, err)
	}
	var taken string
	at := a.bounds.start
	maps = append(maps, mapping{start: a.bounds.end, end: a.bounds.end})
	for _, m := range maps {
		m.start, m.end = max(m.start, a.bounds.start), min(m.end, a.bounds.end)
		if m.start > m.end {
			continue
		}
		if m.start > at {
			gap := span{at, m.start}
			if reserve(gap) == nil {
				a.free.spans = append(a.free.spans, gap)
			} else {
				a.holes = append(a.holes, gap)
			}
		}
		if m.end > m.start {
			a.holes = append(a.holes, span{m.start, m.end})
			taken += fmt.Sprintf(" %#x-%#x %s", m.start, m.end, m.name)
		}
		at = max(at, m.end)
	}
	if free := a.free.size(); free < least {
		err := fmt.Errorf("guest: only %#x bytes of %#x-%#x are free; taken:%s", free,
			a.bounds.start, a.bounds.end, taken)
		return errors.Join(err, a.release())
	}
	return nil
}

// reserveSystem reserves the system arena at the first of systemBases that is free.
func (a *arena) reserveSystem() error {
	var first error
	for size := uintptr(systemSize); size >= 4<<30; size /= 4 {
		for _, base := range systemBases {
			a.bounds = span{base, base + size}
			err := reserve(a.bounds)
			if err == nil {
				a.free.spans = []span{a.bounds}
				return nil
			}
			if first == nil {
				first = err
			}
		}
	}
	if errors.Is(first, unix.ENOMEM) {
		return fmt.Errorf("guest: cannot reserve the system arena: %w: is the address space "+
			"limited (ulimit -v)?", first)
	}
	return fmt.Errorf("guest: cannot reserve the system arena at %#x or elsewhere: %w",
		systemBases[0], first)
}

// release unmaps what is free of a, which is all of it when nothing was allocated.
func (a *arena) release() (err error) {
	for _, f := range a.free.spans {
		err = errors.Join(err, munmap(f.start, f.end-f.start))
	}
	a.free.spans = nil
	return err
}

// reserve takes r from the process without putting anything there.
func reserve(r span) error {
	return mmap(r.start, r.end-r.start, ProtNone, reservedFlags|unix.MAP_FIXED_NOREPLACE, -1, 0)
}

// contains says whether all of r lies in a's bounds.
func (a *arena) contains(r span) bool { return r.start >= a.bounds.start && r.end <= a.bounds.end }

// overlaps says whether r and q have an address in common.
func (r span) overlaps(q span) bool { return r.start < q.end && q.start < r.end }

// TakenError is the error of an allocation at an address that is in use, or can never be used. It
// unwraps to STATUS_CONFLICTING_ADDRESSES.
type TakenError struct {
	Addr Addr
	Size uintptr
	By   string // what is there
}

// Error names the range and what is there.
func (e *TakenError) Error() string {
	return fmt.Sprintf("guest: cannot allocate %#x bytes at %v: %s", e.Size, e.Addr, e.By)
}

// Status gives STATUS_CONFLICTING_ADDRESSES.
func (e *TakenError) Status() nt.Status { return nt.STATUS_CONFLICTING_ADDRESSES }

// Unwrap gives the status, so that errors.Is finds it.
func (e *TakenError) Unwrap() error { return e.Status() }

// insert adds r to the table. s.mu is held.
func (s *Space) insert(r *Region) {
	old := *s.table.Load()
	i := search(old, r.base)
	t := make([]*Region, 0, len(old)+1)
	t = append(append(append(t, old[:i+1]...), r), old[i+1:]...)
	s.table.Store(&t)
	s.count(r, 1)
}

// remove takes r out of the table. s.mu is held.
func (s *Space) remove(r *Region) {
	old := *s.table.Load()
	i := search(old, r.base)
	t := slices.Concat(old[:i], old[i+1:])
	s.table.Store(&t)
	s.count(r, -1)
}

// count keeps the totals when r comes (n = 1) or goes (n = -1). s.mu is held.
func (s *Space) count(r *Region, n int) {
	if r.kind == KindStack {
		return
	}
	s.regions += n
	s.bytes += uintptr(n) * r.size
	if r.kind != KindUser && s.arenas[ArenaUser].bounds.overlaps(r.span()) {
		s.fixed += n
		s.userHoles.Store(s.fixed > 0 || len(s.arenas[ArenaUser].holes) > 0)
	}
}

// search gives the index of the last region that starts at or before a, or -1.
func search(t []*Region, a Addr) int {
	lo, hi := 0, len(t)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if t[mid].base <= a {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// RegionInfo is what Lookup knows of an address.
type RegionInfo struct {
	Region *Region
	Base   Addr    // of the region, or of the one stack in a region of stacks
	Size   uintptr // in bytes
	Kind   Kind
	What   string // the name it was allocated with

	Committed bool // there is a page at the address
	Prot      Prot // of that page
}

// Lookup says what lies at a. It takes no lock and allocates nothing; by the time the caller looks
// at the answer it may be out of date.
func (s *Space) Lookup(a Addr) (RegionInfo, bool) {
	r := s.region(a)
	if r == nil {
		return RegionInfo{}, false
	}
	info := RegionInfo{Region: r, Base: r.base, Size: r.size, Kind: r.kind, What: r.what}
	run := r.runAt(uintptr(a - r.base))
	info.Committed, info.Prot = run.committed, run.prot
	if r.kind == KindStack {
		r.describeStack(a, &info)
	}
	return info, true
}

// region gives the region that contains a, or nil.
func (s *Space) region(a Addr) *Region {
	t := *s.table.Load()
	if i := search(t, a); i >= 0 && uintptr(a-t[i].base) < t[i].size {
		return t[i]
	}
	return nil
}

// Describe says in a few words what lies at a, for messages: the region, the offset in it and the
// page's protection, or what it just misses.
func (s *Space) Describe(a Addr) string {
	info, ok := s.Lookup(a)
	at := fmt.Sprintf("%s+%#x", info.What, uintptr(a-info.Base))
	switch {
	case ok && info.Kind == KindStack && !info.Committed:
		return at
	case ok && !info.Committed:
		return at + ", reserved but not committed"
	case ok:
		return at + ", " + info.Prot.String()
	case a < LowGuard:
		return "the first 64 KiB, never mapped: a null pointer"
	case a > mappableEnd && a < 0xFFFF_8000_0000_0000:
		return "not a canonical address"
	case a > mappableEnd:
		return "the upper half of the address space"
	}
	t := *s.table.Load()
	i := search(t, a)
	if i >= 0 && a < t[i].End()+guardSize {
		return fmt.Sprintf("unmapped, %#x bytes behind the end of %s", uintptr(a-t[i].End()),
			t[i].what)
	}
	if i+1 < len(t) && a >= t[i+1].base-guardSize {
		return fmt.Sprintf("unmapped, %#x bytes before %s", uintptr(t[i+1].base-a), t[i+1].what)
	}
	return "unmapped"
}

// IsUserRange says whether the n bytes at a are addresses of user memory: in the user arena, and
// none of them in an image or in anything else that is not the user's. It does not say that there
// are pages. With n = 0 it asks about the address alone.
func (s *Space) IsUserRange(a Addr, n uintptr) bool {
	if a < UserBase || a >= UserEnd || n > uintptr(UserEnd-a) {
		return false
	}
	if !s.userHoles.Load() {
		return true
	}
	r := span{uintptr(a), uintptr(a) + max(n, 1)}
	for _, h := range s.arenas[ArenaUser].holes {
		if h.overlaps(r) {
			return false
		}
	}
	t := *s.table.Load()
	for i := max(search(t, a), 0); i < len(t) && uintptr(t[i].base) < r.end; i++ {
		if t[i].kind != KindUser && t[i].span().overlaps(r) {
			return false
		}
	}
	return true
}

// Stats counts what is allocated.
type Stats struct {
	Regions    int     // allocations that were not freed
	Bytes      uintptr // their sizes, committed or not
	Stacks     int     // stacks that were not freed
	StackBytes uintptr // address space of the stack pools, guard pages and free stacks included
}

// Stats gives the present counts.
func (s *Space) Stats() Stats {
	st := s.stacks.stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Regions, st.Bytes = s.regions, s.bytes
	return st
}
