package irp

import (
	"fmt"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// Manager makes, sends and completes the IRPs of one kernel.
type Manager struct {
	mm      *mm.Manager
	devices *devobj.Manager
	slabs   slabs
	cancel  ke.GlobalLock
}

// New makes a manager.
func New(space *guest.Space, memory *mm.Manager, devices *devobj.Manager) *Manager {
	m := &Manager{mm: memory, devices: devices}
	m.slabs.init(space)
	return m
}

// Close gives all IRPs back.
func (m *Manager) Close() error { return m.slabs.close() }

// Outstanding counts the IRPs that exist.
func (m *Manager) Outstanding() int { return m.slabs.outstanding() }

// Start sends a request to the driver of its file's device, on thread t, which must be in Do. The
// request is done when Done has been called: before Start returns, if the driver completes it at
// once. An error that the I/O manager itself finds ends the request without an IRP.
func (m *Manager) Start(t *ke.Thread, r *Request) {
	r.state.Store(0)
	r.Status, r.IOStatus, r.Information, r.Written = nt.STATUS_PENDING, 0, 0, 0
	r.Open.link(r)
	dev := m.devices.Top(r.Open.File.Device)
	if status := m.prepare(r, dev); status != nt.STATUS_SUCCESS {
		m.releaseBuffers(r)
		if r.packet != nil {
			m.slabs.put(r.packet)
			r.packet = nil
		}
		r.Status, r.IOStatus = status, status
		r.state.Store(stateDone)
		r.finish()
		return
	}
	p := r.packet
	p.irp.Tail.Overlay.Thread = t.Object
	r.Status = m.Call(t, dev.Object.Addr(), p.addr)
	r.half(stateReturned)
}

// prepare makes the IRP of a request to dev, with its buffers.
func (m *Manager) prepare(r *Request, dev *devobj.Device) nt.Status {
	o := dev.Object.Ref()
	stack := o.StackSize
	if stack < 1 || stack > largeStack {
		return nt.STATUS_INVALID_DEVICE_STATE
	}
	p, err := m.slabs.alloc(stack)
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	r.packet, p.req = p, r
	i := p.irp
	i.RequestorMode = nt.UserMode
	i.UserIosb = r.Open.Iosb
	i.Tail.Overlay.OriginalFileObject = r.Open.File.Object.Addr()
	loc := location(i, stack)
	loc.MajorFunction, loc.MinorFunction = r.Major, r.Minor
	loc.FileObject = r.Open.File.Object.Addr()
	if r.Open.File.Object.Ref().Flags&nt.FO_SYNCHRONOUS_IO != 0 {
		i.Flags = nt.IRP_SYNCHRONOUS_API
	}
	switch r.Major {
	case nt.IRP_MJ_READ:
		return m.prepareRead(r, i, loc, o.Flags)
	case nt.IRP_MJ_WRITE:
		return m.prepareWrite(r, i, loc, o.Flags)
	case nt.IRP_MJ_DEVICE_CONTROL, nt.IRP_MJ_INTERNAL_DEVICE_CONTROL:
		return m.prepareControl(r, i, loc)
	case nt.IRP_MJ_CREATE:
		i.Flags |= nt.IRP_CREATE_OPERATION | nt.IRP_SYNCHRONOUS_API | nt.IRP_DEFER_IO_COMPLETION
	case nt.IRP_MJ_CLEANUP, nt.IRP_MJ_CLOSE:
		i.Flags |= nt.IRP_CLOSE_OPERATION | nt.IRP_SYNCHRONOUS_API
	}
	loc.Parameters = r.Params
	return nt.STATUS_SUCCESS
}

// Call sends an IRP to a device: IofCallDriver. It gives what the dispatch routine returns.
//
// NO_MORE_IRP_STACK_LOCATIONS if the IRP has been passed to more drivers than it has room for.
func (m *Manager) Call(t *ke.Thread, device, irp guest.Addr) nt.Status {
	i, status := m.inPlace(t, irp)
	if i == nil {
		return status
	}
	n := i.CurrentLocation - 1
	if n < 1 || n > i.StackCount {
		t.Crash(&ke.Bugcheck{Code: nt.NO_MORE_IRP_STACK_LOCATIONS,
			Params: [4]uint64{uint64(irp), 0, 0, 0},
			Reason: fmt.Sprintf("IRP %v was passed on with no stack location left (it has %d)", irp,
				i.StackCount)})
	}
	i.CurrentLocation = n
	i.Tail.Overlay.CurrentStackLocation = locationAddr(i, n)
	loc := location(i, n)
	loc.DeviceObject = device
	dev := m.devices.Device(device)
	if dev == nil {
		t.Crash(&ke.Bugcheck{Code: nt.DRIVER_VERIFIER_DETECTED_VIOLATION,
			Params: [4]uint64{invalidDevice, uint64(device), uint64(irp), 0},
			Reason: fmt.Sprintf("IRP %v was sent to %v, which is no device object", irp, device)})
	}
	if loc.MajorFunction > nt.IRP_MJ_MAXIMUM_FUNCTION {
		t.Crash(&ke.Bugcheck{Code: nt.DRIVER_VERIFIER_DETECTED_VIOLATION,
			Params: [4]uint64{invalidMajor, uint64(device), uint64(irp), uint64(loc.MajorFunction)},
			Reason: fmt.Sprintf("IRP %v has major function %#x", irp, uint8(loc.MajorFunction))})
	}
	routine := dev.Driver.Object.Ref().MajorFunction[loc.MajorFunction]
	return nt.Status(t.Call(routine, uint64(device), uint64(irp)))
}

// First parameters of DRIVER_VERIFIER_DETECTED_VIOLATION ("Bug Check 0xC4"): an IRP passed to a
// device object that is not one, and one with an invalid major function.
const (
	invalidDevice = 0x21C
	invalidMajor  = 0x21D
)

// inPlace gives the IRP at addr to be read and written in place: it is one of the slabs', in use and
// of the right type. Anything else is the driver's bug, and a bugcheck.
func (m *Manager) inPlace(t *ke.Thread, addr guest.Addr) (*nt.IRP, nt.Status) {
	p := m.slabs.find(addr)
	if p == nil || p.irp.Type != nt.IO_TYPE_IRP {
		t.Crash(&ke.Bugcheck{Code: nt.MULTIPLE_IRP_COMPLETE_REQUESTS,
			Params: [4]uint64{uint64(addr), 0, 0, 0},
			Reason: fmt.Sprintf("%v is no IRP in use: freed, completed before, or never one", addr)})
	}
	i := p.irp
	if i.StackCount < 1 || i.StackCount > p.room {
		t.Crash(&ke.Bugcheck{Code: nt.DRIVER_VERIFIER_DETECTED_VIOLATION,
			Params: [4]uint64{invalidDevice, 0, uint64(addr), uint64(uint8(i.StackCount))},
			Reason: fmt.Sprintf("IRP %v is corrupted: StackCount %d", addr, i.StackCount)})
	}
	return i, nt.STATUS_SUCCESS
}
