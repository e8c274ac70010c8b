// The manager: what one kernel's memory consists of, its start and its end.

package mm

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"golang.org/x/sys/unix"
)

const (
	// DefaultRAM is the size of a kernel's RAM in bytes when none is asked for. It costs addresses;
	// memory is used as it is touched.
	DefaultRAM = 1 << 30

	// MaxRAM is the largest size of RAM in bytes. Above it is room for devices, as on a PC.
	MaxRAM = 2 << 30

	// minRAM leaves something above the low 16 MiB.
	minRAM = 32 << 20
)

// Config says how much memory a kernel has. The zero value is usable.
type Config struct {
	// RAM is the size of the physical memory in bytes, rounded up to pages; 0 is DefaultRAM.
	RAM uintptr

	// MaxNonPagedPool and MaxPagedPool limit the pools in bytes, counted in pages; 0 is all of RAM.
	// Each of the two kinds of non-paged pool, executable and not, may have as much.
	MaxNonPagedPool uintptr
	MaxPagedPool    uintptr
}

// Manager is one kernel's memory. Its methods may be called from any goroutine, but not after
// Close or beside it.
type Manager struct {
	space *guest.Space
	ram   ram

	records   records
	magazines []*guest.Region
	shards    uintptr // a power of two
	caches    [groups][classes][maxShards]atomic.Pointer[blockCache]

	windowMu sync.Mutex
	windows  atomic.Pointer[windowTable]

	lockMu    sync.Mutex
	locks     map[nt.Addr]*pageLock
	lockCache *pageLock // records for reuse
	locked    int       // pages

	mapMu   sync.RWMutex
	maps    map[nt.Addr]*mapping  // by page address of the mapping's start
	changed map[nt.Addr][]oldProt // by MDL: what to restore when it is unmapped

	device   deviceMemory
	sections atomic.Int64
	closed   atomic.Bool
}

// New makes the memory of a kernel in space.
func New(space *guest.Space, config Config) (*Manager, error) {
	size := config.RAM
	if size == 0 {
		size = DefaultRAM
	}
	if size < minRAM || size > MaxRAM {
		return nil, fmt.Errorf("mm: %d MiB of RAM: not between %d and %d MiB", size>>20,
			minRAM>>20, MaxRAM>>20)
	}
	m := &Manager{
		space:   space,
		shards:  1,
		locks:   map[nt.Addr]*pageLock{},
		maps:    map[nt.Addr]*mapping{},
		changed: map[nt.Addr][]oldProt{},
	}
	m.device.fd = -1
	m.windows.Store(&windowTable{})
	for m.shards < maxShards && m.shards < uintptr(2*runtime.GOMAXPROCS(0)) {
		m.shards *= 2
	}
	if err := m.ram.init(space, (size+pageSize-1)&^(pageSize-1)); err != nil {
		return nil, fmt.Errorf("mm: no RAM for a kernel: %w", err)
	}
	if err := m.records.init(space, m.ram.pages); err != nil {
		return nil, errors.Join(fmt.Errorf("mm: no room for the pool's records: %w", err), m.ram.close())
	}
	pages := func(limit uintptr) uint32 {
		if limit == 0 || limit>>pageShift > uintptr(m.ram.pages) {
			return m.ram.pages
		}
		return uint32(limit >> pageShift)
	}
	m.ram.limit = [kinds]uint32{kindNonPaged: pages(config.MaxNonPagedPool),
		kindExec: pages(config.MaxNonPagedPool), kindPaged: pages(config.MaxPagedPool),
		kindOther: m.ram.pages}
	return m, nil
}

// Close frees everything that the manager ever allocated, windows included, whoever still uses it.
// A second Close does nothing.
func (m *Manager) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	var errs []error
	m.mapMu.Lock()
	for at, p := range m.maps {
		errs = append(errs, p.region.Free())
		delete(m.maps, at)
	}
	m.mapMu.Unlock()
	// Every window that is not quite gone still has its system alias.
	for _, w := range m.windows.Load().bySys {
		errs = append(errs, w.destroy())
	}
	m.windows.Store(&windowTable{})
	if m.device.fd >= 0 {
		errs = append(errs, unix.Close(m.device.fd))
		m.device.fd = -1
	}
	for _, g := range m.magazines {
		errs = append(errs, g.Free())
	}
	errs = append(errs, m.records.close(), m.ram.close())
	return errors.Join(errs...)
}

// MemoryUse counts the memory in use, in bytes of whole pages.
type MemoryUse struct {
	NonPagedPool uintptr
	PagedPool    uintptr
	Other        uintptr // contiguous and non-cached memory, pages of MDLs and of sections
	LockedPages  int     // pages that MmProbeAndLockPages locked and nobody unlocked
	Mappings     int     // mappings of MDLs and device memory, and views, that nobody unmapped
	Sections     int     // sections that exist or of which there is a view or a lock
	Windows      int
}

// Use gives the present counts.
func (m *Manager) Use() MemoryUse {
	u := MemoryUse{
		NonPagedPool: m.ram.usage(kindNonPaged) + m.ram.usage(kindExec),
		PagedPool:    m.ram.usage(kindPaged),
		Other:        m.ram.usage(kindOther),
		Windows:      len(m.windows.Load().byUser),
		Sections:     int(m.sections.Load()),
	}
	m.lockMu.Lock()
	u.LockedPages = m.locked
	m.lockMu.Unlock()
	m.mapMu.RLock()
	u.Mappings = len(m.maps)
	m.mapMu.RUnlock()
	return u
}
