// Mappings: further addresses of pages.

package mm

import (
	"errors"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"golang.org/x/sys/unix"
)

// mapping is a region that shows pages which have, or had, no address or another one.
type mapping struct {
	region *guest.Region
	frames []frameRun
	mdl    nt.Addr // the MDL it was made for, or 0: device memory, or a view
	user   *Window // whose process it belongs to, or nil: none that has a window
	view   *view   // what it shows of a section, or nil
	size   uintptr // of device memory: the bytes that were asked for
}

// frameRun is n page frames from first on.
type frameRun struct{ first, n uint64 }

// frame gives the page frame number of the mapping's page i.
func (p *mapping) frame(i uint64) uint64 {
	for _, r := range p.frames {
		if i < r.n {
			return r.first + i
		}
		i -= r.n
	}
	return 0
}

// mappingFrom gives the mapping whose region begins at base, or nil.
func (m *Manager) mappingFrom(base nt.Addr) *mapping {
	m.mapMu.RLock()
	defer m.mapMu.RUnlock()
	return m.maps[base]
}

// mappedAt gives the address of a page that a mapping shows, or 0.
func (m *Manager) mappedAt(pfn uint64) nt.Addr {
	m.mapMu.RLock()
	defer m.mapMu.RUnlock()
	for base, p := range m.maps {
		if p.view != nil && p.view.hides() {
			continue
		}
		at := base
		for _, r := range p.frames {
			if pfn >= r.first && pfn-r.first < r.n {
				return at + nt.Addr((pfn-r.first)<<pageShift)
			}
			at += nt.Addr(r.n << pageShift)
		}
	}
	return 0
}

// errUnmappable is the error of mapping pages that have no file behind them, such as an image's.
var errUnmappable = errors.New("mm: the pages are private to their region")

// backing gives the file behind a run of page frames, and how many of them lie in it one after the
// other.
func (m *Manager) backing(r frameRun) (fd int, off int64, n uint64, err error) {
	switch {
	case m.isRAM(r.first):
		return m.ram.fd, int64(r.first-ramPFN) << pageShift,
			min(r.n, ramPFN+uint64(m.ram.pages)-r.first), nil
	case isOther(r.first):
		w := m.systemWindow(otherAddr(r.first))
		if w == nil {
			return 0, 0, 0, errUnmappable
		}
		at := uint64(otherAddr(r.first)-w.sysBase) >> pageShift
		return w.fd, int64(at) << pageShift, min(r.n, uint64(w.size)>>pageShift-at), nil
	case r.first >= endPFN:
		return 0, 0, 0, errUnmappable
	}
	fd, err = m.device.file()
	n = r.n
	for _, border := range [...]uint64{ramPFN, otherPFN} {
		if r.first < border {
			n = min(n, border-r.first)
		}
	}
	return fd, int64(r.first) << pageShift, n, err
}

// mapFrames maps page frames one after the other in an arena, and keeps p, whose frames they are.
func (m *Manager) mapFrames(p *mapping, at guest.Arena, prot guest.Prot, what string) error {
	pages := uint64(0)
	for _, r := range p.frames {
		pages += r.n
	}
	if fd, off, n, err := m.backing(p.frames[0]); err != nil {
		return err
	} else if n == pages {
		p.region, err = m.space.AllocShared(fd, off, uintptr(pages)<<pageShift, at, prot, what)
		if err != nil {
			return err
		}
	} else if err := m.mapPieces(p, uintptr(pages)<<pageShift, at, prot, what); err != nil {
		return err
	}
	m.mapMu.Lock()
	m.maps[p.region.Base()] = p
	m.mapMu.Unlock()
	return nil
}

// mapPieces maps page frames that do not lie one after the other in one file.
func (m *Manager) mapPieces(p *mapping, size uintptr, at guest.Arena, prot guest.Prot,
	what string) (err error) {
	reserve := m.space.ReserveSystem
	if at == guest.ArenaUser {
		reserve = m.space.ReserveUser
	}
	if p.region, err = reserve(size, what); err != nil {
		return err
	}
	if err = p.region.Commit(0, size, prot); err == nil {
		err = m.mapOver(p.region.Base(), p.frames, prot, unix.MAP_SHARED)
	}
	if err != nil {
		return errors.Join(err, p.region.Free())
	}
	return nil
}

// mapOver replaces the pages at a by frames. flags are MAP_SHARED, or MAP_PRIVATE for copies on
// write.
func (m *Manager) mapOver(a nt.Addr, frames []frameRun, prot guest.Prot, flags uintptr) error {
	for _, r := range frames {
		for r.n > 0 {
			fd, off, n, err := m.backing(r)
			if err != nil {
				return err
			}
			_, _, errno := unix.Syscall6(unix.SYS_MMAP, uintptr(a), uintptr(n<<pageShift),
				uintptr(prot), flags|unix.MAP_FIXED, uintptr(fd), uintptr(off))
			if errno != 0 {
				return errno
			}
			a += nt.Addr(n << pageShift)
			r.first += n
			r.n -= n
		}
	}
	return nil
}

// unmap ends the mapping that begins at base if belongs says so, and says whether it did.
func (m *Manager) unmap(base nt.Addr, belongs func(*mapping) bool) bool {
	m.mapMu.Lock()
	p := m.maps[base]
	if p == nil || !belongs(p) {
		m.mapMu.Unlock()
		return false
	}
	delete(m.maps, base)
	m.mapMu.Unlock()
	if p.user != nil {
		p.user.removeMapping(p)
	}
	// The region is gone even when its addresses could not be given back.
	_ = p.region.Free()
	if p.view != nil {
		p.view.section.dropView(p)
	}
	return true
}

// oldProt is what the protection of pages was before it was changed for an MDL.
type oldProt struct {
	region *guest.Region
	off    uintptr
	size   uintptr
	prot   guest.Prot
}

// protectFor changes the protection of [a, a+size), whole pages of one region, until mdl is
// unmapped.
func (m *Manager) protectFor(mdl, a nt.Addr, size uintptr, prot func(guest.Prot) guest.Prot) error {
	for size > 0 {
		info, ok := m.space.Lookup(a)
		if !ok || !info.Committed {
			return nt.STATUS_ACCESS_VIOLATION
		}
		if to := prot(info.Prot); to != info.Prot {
			off := uintptr(a - info.Region.Base())
			if err := info.Region.Protect(off, pageSize, to); err != nil {
				return err
			}
			m.mapMu.Lock()
			m.changed[mdl] = append(m.changed[mdl], oldProt{info.Region, off, pageSize, info.Prot})
			m.mapMu.Unlock()
		}
		a += pageSize
		size -= pageSize
	}
	return nil
}

// restore undoes what protectFor did for mdl, the last change first.
func (m *Manager) restore(mdl nt.Addr) {
	m.mapMu.Lock()
	old := m.changed[mdl]
	delete(m.changed, mdl)
	m.mapMu.Unlock()
	for i := len(old) - 1; i >= 0; i-- {
		// A region that was freed since needs no restoring.
		_ = old[i].region.Protect(old[i].off, old[i].size, old[i].prot)
	}
}
