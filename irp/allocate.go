package irp

import (
	"fmt"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// IRPs that drivers make themselves.

// Allocate is IoAllocateIrp: an IRP with n stack locations for a driver's own use, or 0 without
// memory.
func (m *Manager) Allocate(n int8) guest.Addr {
	if n < 1 || n > devobj.MaxStack {
		return 0
	}
	p, err := m.slabs.alloc(n)
	if err != nil {
		return 0
	}
	return p.addr
}

// Free is IoFreeIrp. To free what is no IRP in use, one that the I/O manager made for a client, or one
// that belongs to a thread is a bugcheck.
func (m *Manager) Free(t *ke.Thread, addr guest.Addr) {
	p, use := m.inPlace(t, addr)
	if p.req == nil && p.owner != nil {
		violation(t, violationFreeOwned, uint64(addr), 0, 0,
			"IRP %v was freed, but belongs to a thread: it is freed when it is completed", addr)
	}
	if p.foreign {
		// The memory is pool of the driver's.
		m.forget(p)
		p.end(use)
		m.mustFree(t, m.mm.FreePool(addr))
		return
	}
	if p.req != nil || !p.end(use) {
		t.Crash(&ke.Bugcheck{Code: nt.MULTIPLE_IRP_COMPLETE_REQUESTS,
			Params: [4]uint64{uint64(addr), 0, 0, 0},
			Reason: fmt.Sprintf("IRP %v was freed by a driver that does not own it", addr)})
	}
	m.slabs.put(p)
}

// Reuse is IoReuseIrp: it makes an IRP of the driver's own as new, with the given status.
func (m *Manager) Reuse(t *ke.Thread, addr guest.Addr, status nt.Status) {
	p, _ := m.inPlace(t, addr)
	_, count := p.position(t)
	if p.req != nil || p.owner != nil {
		t.Crash(&ke.Bugcheck{Code: nt.MULTIPLE_IRP_COMPLETE_REQUESTS,
			Params: [4]uint64{uint64(addr), 0, 0, 0},
			Reason: fmt.Sprintf("IRP %v was reused by a driver that does not own it", addr)})
	}
	p.built, p.master = nil, 0
	initIRP(p.irp, count)
	p.irp.IoStatus.Status = status
}
