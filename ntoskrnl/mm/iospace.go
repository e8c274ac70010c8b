// Device memory: what MmMapIoSpace shows where no device is simulated.

package mm

import (
	"sync"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// deviceMemory is a sparse memory file whose offsets are physical addresses: it reads as zeros
// until a driver writes, and keeps what was written until the manager is closed.
type deviceMemory struct {
	mu sync.Mutex
	fd int
}

// file gives the descriptor of the file, which is made when it is first needed.
func (d *deviceMemory) file() (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd >= 0 {
		return d.fd, nil
	}
	fd, err := guest.SealedMemfd("drvhost-device-memory", otherPhysBase)
	if err != nil {
		return -1, err
	}
	d.fd = fd
	return fd, nil
}

// MapIOSpace is MmMapIoSpace: an address for size bytes of physical memory from p on. Memory that
// is not RAM is that of a device which holds zeros until it is written. The same physical range is
// the same memory wherever it is mapped. prot is ProtRW, for MmMapIoSpaceEx what was asked for. An
// address of 0 means that it cannot be mapped.
func (m *Manager) MapIOSpace(p uint64, size uintptr, prot guest.Prot) nt.Addr {
	off := p & (pageSize - 1)
	end := p + uint64(size)
	if size == 0 || end < p || end > physEnd {
		return 0
	}
	first := p >> pageShift
	pages := (end+pageSize-1)>>pageShift - first
	io := &mapping{frames: []frameRun{{first, pages}}, size: size}
	if err := m.mapFrames(io, guest.ArenaSystem, prot, "device memory"); err != nil {
		return 0
	}
	return io.region.Base() + nt.Addr(off)
}

// UnmapIOSpace is MmUnmapIoSpace. The error is a *StopError when size bytes at a are not what
// MapIOSpace mapped.
func (m *Manager) UnmapIOSpace(a nt.Addr, size uintptr) error {
	if m.unmap(a&^(pageSize-1), func(p *mapping) bool {
		return p.mdl == 0 && p.view == nil && p.size == size
	}) {
		return nil
	}
	return &StopError{
		Code:   nt.SYSTEM_PTE_MISUSE,
		Params: [4]uint64{pteNotMapped, uint64(a), 0, 0},
		What:   "MmUnmapIoSpace of " + a.String() + ", which is no device memory of that size",
	}
}

// The kinds of SYSTEM_PTE_MISUSE (Bug Check 0xDA, parameter 1).
const (
	pteMdlNotMapped = 0x06  // MDL, address, number of pages
	pteNotMapped    = 0x302 // address
)
