package irp

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// IRPs that drivers make themselves.

// Allocate is IoAllocateIrp: an IRP with n stack locations for a driver's own use, or 0 without
// memory.
func (m *Manager) Allocate(n int8) guest.Addr {
	if n < 1 {
		return 0
	}
	p, err := m.slabs.alloc(n)
	if err != nil {
		return 0
	}
	return p.addr
}

// Free is IoFreeIrp. To free what is no IRP in use, or one that is still on its way, is a bugcheck.
func (m *Manager) Free(t *ke.Thread, addr guest.Addr) {
	i, _ := m.inPlace(t, addr)
	p := m.slabs.find(addr)
	if p.req != nil || i.CurrentLocation <= i.StackCount && i.IoStatus.Status == nt.STATUS_PENDING {
		t.Crash(&ke.Bugcheck{Code: nt.MULTIPLE_IRP_COMPLETE_REQUESTS,
			Params: [4]uint64{uint64(addr), 0, 0, 0},
			Reason: fmt.Sprintf("IRP %v was freed by a driver that does not own it", addr)})
	}
	m.slabs.put(p)
}

// Reuse is IoReuseIrp: it makes an IRP of the driver's own as new, with the given status.
func (m *Manager) Reuse(t *ke.Thread, addr guest.Addr, status nt.Status) {
	i, _ := m.inPlace(t, addr)
	initIRP(i, i.StackCount)
	i.IoStatus.Status = status
}
