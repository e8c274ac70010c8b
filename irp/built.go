package irp

import (
	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// IRPs that the I/O manager builds for a driver, which then sends them (IoBuildSynchronousFsdRequest
// and its kin), and ends when their completion has come all the way up.

// Ended is what such an IRP was when it had come up. It exists no more then.
type Ended struct {
	Result nt.IOStatusBlock
	Flags  uint32 // nt.IRP_*
	System guest.Addr
	MDL    guest.Addr
	User   guest.Addr // UserBuffer
}

// Build makes an IRP for a request to dev of thread t. set fills in the IRP and the location of the
// device's driver. end is called on the thread that completes the IRP, when no completion routine
// has kept it; a driver that keeps it frees it itself, and then end is not called. 0 without memory.
func (m *Manager) Build(t *ke.Thread, dev *devobj.Device, set func(i *nt.IRP, loc *nt.IOStackLocation),
	end func(t *ke.Thread, e Ended)) guest.Addr {
	n := dev.Object.Ref().StackSize
	if n < 1 || n > devobj.MaxStack {
		return 0
	}
	p, err := m.slabs.alloc(n)
	if err != nil {
		return 0
	}
	p.irp.Tail.Overlay.Thread = t.Object
	set(p.irp, location(p.irp, n))
	p.built = end
	return p.addr
}

// Own makes an IRP of Build's one of thread t's: the driver must not free it, and it is cancelled when
// t ends.
func (m *Manager) Own(t *ke.Thread, addr guest.Addr) {
	if p, _ := m.slabs.find(addr); p != nil {
		m.owned.add(p, t)
	}
}

// finishBuilt ends an IRP of Build's that has come all the way up.
func (m *Manager) finishBuilt(t *ke.Thread, p *packet, use uint32) {
	i := p.irp
	e := Ended{Result: i.IoStatus, Flags: i.Flags, System: i.AssociatedIrp.SystemBuffer,
		MDL: i.MdlAddress, User: i.UserBuffer}
	end := p.built
	if p.owner != nil {
		m.owned.drop(p)
	}
	m.endOnce(t, p, use)
	m.slabs.put(p)
	end(t, e)
}
