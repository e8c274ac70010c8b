package irp

// Associated IRPs: parts into which the highest driver splits a request, the master IRP. The driver
// puts their number into the master's AssociatedIrp.IrpCount, and the I/O manager completes the master
// with the last of them ("IoMakeAssociatedIrp function (ntddk.h)").

import (
	"fmt"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// MakeAssociated is IoMakeAssociatedIrp: an IRP with n stack locations that belongs to the master, or 0
// without memory.
func (m *Manager) MakeAssociated(t *ke.Thread, master guest.Addr, n int8) guest.Addr {
	of, _ := m.inPlace(t, master)
	if n < 1 || n > devobj.MaxStack {
		return 0
	}
	p, err := m.slabs.alloc(n)
	if err != nil {
		return 0
	}
	p.master = master
	p.irp.Flags |= nt.IRP_ASSOCIATED_IRP
	p.irp.AssociatedIrp.SystemBuffer = master // MasterIrp
	p.irp.Tail.Overlay.Thread = of.irp.Tail.Overlay.Thread
	return p.addr
}

// finishAssociated ends an associated IRP that has come all the way up: its MDLs and the IRP are freed,
// and the master is completed if this was the last.
func (m *Manager) finishAssociated(t *ke.Thread, p *packet, use uint32) {
	mdl, master := p.irp.MdlAddress, p.master
	m.endOnce(t, p, use)
	m.slabs.put(p)
	m.mustFree(t, m.freeChain(mdl))
	of, _ := m.inPlace(t, master)
	left, err := guest.Add32(of.addr+associatedOffset, ^uint32(0))
	if err == nil && left == 0 {
		m.Complete(t, master)
	}
}

// endOnce ends the life of a packet whose IRP is completed.
func (m *Manager) endOnce(t *ke.Thread, p *packet, use uint32) {
	if !p.end(use) {
		t.Crash(&ke.Bugcheck{Code: nt.MULTIPLE_IRP_COMPLETE_REQUESTS,
			Params: [4]uint64{uint64(p.addr), 0, 0, 0},
			Reason: fmt.Sprintf("IRP %v was completed by two threads at once", p.addr)})
	}
}
