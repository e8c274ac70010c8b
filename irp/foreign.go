package irp

// IRPs in memory that is not the I/O manager's: what a driver makes of a buffer of its own with
// IoInitializeIrp.

import (
	"sync"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// foreign are such IRPs, by address. Drivers free the memory without a word: whether there still is
// an IRP is looked up in it each time.
type foreign struct {
	mu sync.Mutex
	by map[guest.Addr]*packet
}

func (f *foreign) find(addr guest.Addr) (*packet, uint32) {
	f.mu.Lock()
	p := f.by[addr]
	f.mu.Unlock()
	if p == nil || !p.there() {
		return nil, 0
	}
	use := p.use.Load()
	if !inUse(use) {
		return nil, 0
	}
	return p, use
}

// there reports whether the memory of a foreign packet's IRP still holds one.
func (p *packet) there() bool {
	last := p.addr + guest.Addr(nt.IoSizeOfIrp(p.room)) - 1
	if _, err := guest.Load8(last); err != nil {
		return false
	}
	typ, err := guest.Load16(p.addr)
	return err == nil && int16(typ) == nt.IO_TYPE_IRP
}

// Initialize is IoInitializeIrp: it makes an IRP with n stack locations of size bytes at addr. A
// buffer that is too small for them has as many as fit. The error is of memory that is not there.
func (m *Manager) Initialize(t *ke.Thread, addr guest.Addr, size uint16, n int8) error {
	if p, _ := m.slabs.find(addr); p != nil {
		// It came from IoAllocateIrp, and needs no such call.
		m.Reuse(t, addr, nt.STATUS_SUCCESS)
		return nil
	}
	n = max(1, min(n, devobj.MaxStack))
	for n > 1 && nt.IoSizeOfIrp(n) > size {
		n--
	}
	if err := guest.Fill(addr, 0, max(uintptr(size), uintptr(nt.IoSizeOfIrp(n)))); err != nil {
		return err
	}
	m.foreign.mu.Lock()
	p := m.foreign.by[addr]
	if p == nil {
		p = &packet{addr: addr, irp: guest.Ptr[nt.IRP](addr).Ref(), foreign: true, buffered: -1}
		p.levels = make([]level, devobj.MaxStack)
		if m.foreign.by == nil {
			m.foreign.by = make(map[guest.Addr]*packet)
		}
		m.foreign.by[addr] = p
	}
	p.room = n
	m.foreign.mu.Unlock()
	if use := p.use.Load(); inUse(use) {
		p.use.Add(1) // what was there before is forgotten
	}
	p.begin(n)
	return nil
}

// forget ends what the I/O manager knows of a foreign packet.
func (m *Manager) forget(p *packet) {
	m.foreign.mu.Lock()
	defer m.foreign.mu.Unlock()
	delete(m.foreign.by, p.addr)
}
