// Windows: the user memory of client processes.

package mm

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"golang.org/x/sys/unix"
)

const (
	// DefaultWindow is the size of a window in bytes when none is asked for. It costs addresses;
	// memory is used as it is touched.
	DefaultWindow = 64 << 20

	// MinWindow and MaxWindow bound the size of a window in bytes.
	MinWindow = 1 << 20
	MaxWindow = 1 << 30
)

// UserMemory says what is user memory of the process on whose behalf something runs. A *Window is
// one. A nil UserMemory is a process that has none, such as System.
type UserMemory interface {
	// Contains says whether all of the n bytes at a are. With n = 0 it asks about the address.
	Contains(a nt.Addr, n uintptr) bool
}

// Window is the user memory of one client process: a sealed memory file, mapped in the user arena
// and once more, always, in the system arena. On both sides of either mapping nothing is mapped.
// Its methods may be called from any goroutine.
type Window struct {
	m    *Manager
	name string
	fd   int
	base nt.Addr // in the user arena
	size uintptr

	sysBase nt.Addr
	user    *guest.Region
	sys     *guest.Region

	process atomic.Uint64 // the EPROCESS whose window it is

	locked atomic.Int64 // pages that MDLs have locked
	refs   atomic.Int64 // the owner's, and one for each lock

	mapped atomic.Pointer[[]*mapping] // user-mode mappings of MDLs; copied on change

	mu       sync.Mutex
	blocks   pageBuddy
	released bool
}

// windowTable has the windows in the order of their addresses. It is copied on change.
type windowTable struct {
	byUser []*Window
	bySys  []*Window
}

// windowShare bounds a window to that part of the addresses that windows have left, so that there
// is room for some 200 of them.
const windowShare = 32

// NewWindow makes a window of size bytes, rounded up to a power of two; 0 is DefaultWindow. When
// there are many windows, or the user arena has no such room, it is smaller: see Size. name, such
// as "process 1234", names it in messages.
func (m *Manager) NewWindow(size uintptr, name string) (*Window, error) {
	if size == 0 {
		size = DefaultWindow
	}
	if size > MaxWindow {
		return nil, fmt.Errorf("mm: a window of %d MiB for %s: not above %d MiB", size>>20, name,
			MaxWindow>>20)
	}
	rounded := uintptr(MinWindow)
	for rounded < size {
		rounded *= 2
	}
	left := uintptr(guest.UserEnd - guest.UserBase)
	for _, w := range m.windows.Load().byUser {
		left -= min(w.size, left)
	}
	for rounded > MinWindow && rounded > left/windowShare {
		rounded /= 2
	}
	for {
		w, err := m.makeWindow(rounded, name)
		if err == nil {
			m.windowMu.Lock()
			m.windows.Store(m.windows.Load().with(w))
			m.windowMu.Unlock()
			return w, nil
		}
		if !errors.Is(err, guest.ErrNoRoom) || rounded == MinWindow {
			return nil, fmt.Errorf("mm: no window for %s: %w", name, err)
		}
		rounded /= 2
	}
}

// SetProcess says whose window it is: the address of the EPROCESS, which MDLs of its memory name.
func (w *Window) SetProcess(process nt.Addr) { w.process.Store(uint64(process)) }

func (m *Manager) makeWindow(size uintptr, name string) (*Window, error) {
	fd, err := guest.SealedMemfd("drvhost-window", int64(size))
	if err != nil {
		return nil, err
	}
	w := &Window{m: m, name: name, fd: fd, size: size}
	w.mapped.Store(new([]*mapping))
	w.user, err = m.space.AllocShared(fd, 0, size, guest.ArenaUser, guest.ProtRW,
		"user memory of "+name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	w.sys, err = m.space.AllocShared(fd, 0, size, guest.ArenaSystem, guest.ProtRW,
		"system alias of user memory of "+name)
	if err != nil {
		return nil, errors.Join(err, w.user.Free(), unix.Close(fd))
	}
	w.base, w.sysBase = w.user.Base(), w.sys.Base()
	w.blocks.init(int(size >> pageShift))
	w.refs.Store(1)
	return w, nil
}

// with gives the table with w added.
func (t *windowTable) with(w *Window) *windowTable {
	add := func(list []*Window, base func(*Window) nt.Addr) []*Window {
		i := sort.Search(len(list), func(i int) bool { return base(list[i]) > base(w) })
		return slices.Insert(slices.Clone(list), i, w)
	}
	return &windowTable{
		byUser: add(t.byUser, func(w *Window) nt.Addr { return w.base }),
		bySys:  add(t.bySys, func(w *Window) nt.Addr { return w.sysBase }),
	}
}

// without gives the list without w.
func without(list []*Window, w *Window) []*Window {
	return slices.DeleteFunc(slices.Clone(list), func(o *Window) bool { return o == w })
}

// userWindow gives the window whose memory in the user arena contains a, or nil.
func (m *Manager) userWindow(a nt.Addr) *Window {
	if a < guest.UserBase || a >= guest.UserEnd {
		return nil
	}
	list := m.windows.Load().byUser
	lo, hi := 0, len(list)
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); list[mid].base <= a {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 || uintptr(a-list[lo-1].base) >= list[lo-1].size {
		return nil
	}
	return list[lo-1]
}

// systemWindow gives the window whose system alias contains a, or nil.
func (m *Manager) systemWindow(a nt.Addr) *Window {
	list := m.windows.Load().bySys
	i := sort.Search(len(list), func(i int) bool { return list[i].sysBase > a }) - 1
	if i < 0 || uintptr(a-list[i].sysBase) >= list[i].size {
		return nil
	}
	return list[i]
}

// windowAt gives the window that contains a in either of its mappings, or nil.
func (m *Manager) windowAt(a nt.Addr) *Window {
	if w := m.userWindow(a); w != nil {
		return w
	}
	return m.systemWindow(a)
}

// WindowOf gives the window that contains a, an address in the user arena or in a window's system
// alias; nil when none does.
func (m *Manager) WindowOf(a nt.Addr) *Window { return m.windowAt(a) }

// AliasOf gives the system address of the n bytes of user memory at a, which lie in one window.
func (m *Manager) AliasOf(a nt.Addr, n uintptr) (system nt.Addr, ok bool) {
	w := m.userWindow(a)
	if w == nil {
		return 0, false
	}
	return w.AliasOf(a, n)
}

// Name gives the name the window was made with.
func (w *Window) Name() string { return w.name }

// Base gives the first address in the user arena.
func (w *Window) Base() nt.Addr { return w.base }

// Size gives the size in bytes, a power of two.
func (w *Window) Size() uintptr { return w.size }

// SystemBase gives the first address of the system alias.
func (w *Window) SystemBase() nt.Addr { return w.sysBase }

// FD gives the descriptor of the memory file, which is sealed against shrinking, growing and
// execution. It stays the window's.
func (w *Window) FD() int { return w.fd }

// LockedPages counts the pages that MDLs have locked.
func (w *Window) LockedPages() int { return int(w.locked.Load()) }

// offset gives the place of an address of either mapping in the window.
func (w *Window) offset(a nt.Addr) uintptr {
	if a >= w.sysBase {
		return uintptr(a - w.sysBase)
	}
	return uintptr(a - w.base)
}

// inRange says whether the n bytes at a lie in the window's memory in the user arena.
func (w *Window) inRange(a nt.Addr, n uintptr) bool {
	off := uintptr(a - w.base)
	return off < w.size && n <= w.size-off
}

// Contains says whether the n bytes at a are user memory of this process: the window, or an MDL
// that a driver mapped for it. A nil window contains nothing.
func (w *Window) Contains(a nt.Addr, n uintptr) bool {
	if w == nil {
		return false
	}
	if w.inRange(a, n) {
		return true
	}
	for _, p := range *w.mapped.Load() {
		if off := uintptr(a - p.region.Base()); off < p.region.Size() && n <= p.region.Size()-off {
			return true
		}
	}
	return false
}

// AliasOf gives the system address of the n bytes at a, which lie in the window's memory in the
// user arena.
func (w *Window) AliasOf(a nt.Addr, n uintptr) (system nt.Addr, ok bool) {
	if !w.inRange(a, n) {
		return 0, false
	}
	return w.sysBase + (a - w.base), true
}

// Alloc gives size bytes of the window for a request's buffer, at a multiple of align, a power of
// two of at most 64 KiB (0 is a page): whole pages, which no other buffer shares. The contents are
// those of the range's last use. ok is false when no range is free.
func (w *Window) Alloc(size, align uintptr) (a nt.Addr, ok bool) {
	if size > w.size || align > 64<<10 || align&(align-1) != 0 {
		return 0, false
	}
	w.mu.Lock()
	page, ok := w.blocks.alloc(orderOf(max(size, align, 1)))
	ok = ok && !w.released
	w.mu.Unlock()
	if !ok {
		return 0, false
	}
	return w.base + nt.Addr(page)<<pageShift, true
}

// Free gives back what Alloc gave.
func (w *Window) Free(a nt.Addr) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if off := uintptr(a - w.base); off < w.size && off%pageSize == 0 &&
		w.blocks.free(int32(off>>pageShift)) {
		return nil
	}
	return fmt.Errorf("mm: %v is no buffer that is in use in the window of %s", a, w.name)
}

// Trim gives the memory of free buffers back to Linux.
func (w *Window) Trim() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.released {
		return nil
	}
	w.blocks.drain()
	var err error
	w.blocks.eachFree(func(page int32, pages int) {
		e := unix.Fallocate(w.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE,
			int64(page)<<pageShift, int64(pages)<<pageShift)
		if e != nil && err == nil {
			err = fmt.Errorf("mm: trim the window of %s: %w", w.name, e)
		}
	})
	return err
}

// Release ends the window: the process is gone. Its user memory is unmapped at once, with what
// drivers mapped there; the system alias stays for as long as an MDL has pages of it locked. A
// second Release does nothing.
func (w *Window) Release() error {
	w.mu.Lock()
	done := w.released
	w.released = true
	w.mu.Unlock()
	if done {
		return nil
	}
	m := w.m
	m.windowMu.Lock()
	t := m.windows.Load()
	m.windows.Store(&windowTable{byUser: without(t.byUser, w), bySys: t.bySys})
	m.windowMu.Unlock()
	err := w.user.Free()
	for _, p := range *w.mapped.Load() {
		m.unmap(p.region.Base(), func(q *mapping) bool { return q == p })
	}
	return errors.Join(err, w.unpin())
}

// pin keeps the system alias for a lock; it says whether the window still exists.
func (w *Window) pin(pages int) bool {
	for {
		n := w.refs.Load()
		if n == 0 {
			return false
		}
		if w.refs.CompareAndSwap(n, n+1) {
			w.locked.Add(int64(pages))
			return true
		}
	}
}

// unlock ends what pin began.
func (w *Window) unlock(pages int) error {
	w.locked.Add(-int64(pages))
	return w.unpin()
}

// unpin drops a reference; with the last one the system alias goes.
func (w *Window) unpin() error {
	if w.refs.Add(-1) > 0 {
		return nil
	}
	m := w.m
	m.windowMu.Lock()
	t := m.windows.Load()
	m.windows.Store(&windowTable{byUser: t.byUser, bySys: without(t.bySys, w)})
	m.windowMu.Unlock()
	return errors.Join(w.sys.Free(), unix.Close(w.fd))
}

// addMapping makes p's region user memory of this process; false when the process is gone.
func (w *Window) addMapping(p *mapping) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.released {
		return false
	}
	list := append(slices.Clone(*w.mapped.Load()), p)
	w.mapped.Store(&list)
	return true
}

// removeMapping undoes addMapping.
func (w *Window) removeMapping(p *mapping) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(*w.mapped.Load()),
		func(q *mapping) bool { return q == p })
	w.mapped.Store(&list)
}

// destroy frees what Release and the end of the locks did not. The manager is closing.
func (w *Window) destroy() error {
	w.mu.Lock()
	released := w.released
	w.released = true
	w.mu.Unlock()
	var err error
	if !released {
		err = w.user.Free()
	}
	if w.refs.Swap(0) > 0 {
		err = errors.Join(err, w.sys.Free(), unix.Close(w.fd))
	}
	return err
}
