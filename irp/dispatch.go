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
	foreign foreign
	owned   owned
	// Security, if set, has the security descriptors of devices.
	Security Security
	// NoVerify leaves out the checks of what dispatch and completion routines return.
	NoVerify bool
	cancel   ke.GlobalLock
}

// Security has the security descriptors of devices, self-relative. Its methods take and give those
// parts that a SECURITY_INFORMATION names.
type Security interface {
	Query(dev *devobj.Device, info uint32) ([]byte, nt.Status)
	Set(dev *devobj.Device, info uint32, sd []byte) nt.Status
}

// New makes a manager.
func New(_ *guest.Space, memory *mm.Manager, devices *devobj.Manager) *Manager {
	m := &Manager{mm: memory, devices: devices}
	m.slabs.init(memory)
	return m
}

// Close gives all IRPs back.
func (m *Manager) Close() error { return m.slabs.close() }

// Outstanding counts the IRPs that exist.
func (m *Manager) Outstanding() int { return m.slabs.outstanding() }

// Start sends a request to the driver of its file's device, on thread t, which must be in Do. It reports
// whether the request is done: because the driver completed it at once, or because of an error that
// the I/O manager itself finds, for which there is no IRP. Else Client.Done is called, perhaps before
// Start returns. If the Do ends before Start returns, the caller must Abandon the request.
func (m *Manager) Start(t *ke.Thread, r *Request) (done bool) {
	r.renew(t)
	dev := m.devices.Top(r.Open.File.Device)
	if table := dev.Driver.Object.Ref().FastIoDispatch; table != 0 && m.fastIO(t, r, dev, table) {
		return true
	}
	p, status := m.prepare(t, r, dev)
	if status != nt.STATUS_SUCCESS {
		if p != nil {
			_ = m.releaseBuffers(r) // no driver has seen them
			m.owned.drop(p)
			p.end(p.use.Load())
			m.finishPacket(r, p)
		}
		if status == answered {
			return true
		}
		r.Status, r.IOStatus = status, status
		return true
	}
	r.dispatching = true
	status, routine := m.send(t, p.irp, p.addr, p.room, dev)
	r.dispatching = false
	r.Status = status
	if r.inline {
		if !r.ending.fits(status) && !m.NoVerify {
			sent{routine, dev.Object.Addr(), p.addr, r.Major}.misfit(t, status, r.ending)
		}
		r.settle()
		return true
	}
	done = r.returned()
	switch {
	case m.NoVerify:
	case done && !r.ending.fits(status):
		r.state.And(^uint64(stateReturned)) // it is to be abandoned
		sent{routine, dev.Object.Addr(), p.addr, r.Major}.misfit(t, status, r.ending)
	case !done && status != nt.STATUS_PENDING:
		sent{routine, dev.Object.Addr(), p.addr, r.Major}.notCompleted(t, status)
	}
	if done {
		r.settle()
	}
	return done
}

// prepare makes the IRP of a request to dev, with its buffers.
func (m *Manager) prepare(t *ke.Thread, r *Request, dev *devobj.Device) (*packet, nt.Status) {
	o := dev.Object.Ref()
	stack, flags := o.StackSize, o.Flags
	if stack < 1 || stack > devobj.MaxStack {
		return nil, nt.STATUS_INVALID_DEVICE_STATE
	}
	if uint64(len(r.In)) > MaxTransfer || uint64(r.OutLen) > MaxTransfer {
		return nil, nt.STATUS_INVALID_PARAMETER
	}
	p, err := m.begin(r, stack)
	if err != nil {
		return nil, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	i, file := p.irp, r.Open.File.Object
	i.RequestorMode = r.Open.mode()
	i.UserIosb = r.Open.Iosb
	i.Tail.Overlay.OriginalFileObject = file.Addr()
	i.Tail.Overlay.Thread = t.Object
	loc := location(i, stack)
	loc.MajorFunction, loc.MinorFunction = r.Major, r.Minor
	loc.FileObject = file.Addr()
	switch r.Major {
	case nt.IRP_MJ_READ:
		return p, m.prepareRead(r, i, loc, flags)
	case nt.IRP_MJ_WRITE:
		return p, m.prepareWrite(r, i, loc, flags)
	case nt.IRP_MJ_DEVICE_CONTROL, nt.IRP_MJ_INTERNAL_DEVICE_CONTROL,
		nt.IRP_MJ_FILE_SYSTEM_CONTROL:
		return p, m.prepareControl(r, i, loc)
	case nt.IRP_MJ_QUERY_INFORMATION, nt.IRP_MJ_SET_INFORMATION, nt.IRP_MJ_QUERY_VOLUME_INFORMATION,
		nt.IRP_MJ_SET_VOLUME_INFORMATION, nt.IRP_MJ_DIRECTORY_CONTROL, nt.IRP_MJ_LOCK_CONTROL,
		nt.IRP_MJ_QUERY_SECURITY, nt.IRP_MJ_SET_SECURITY:
		return p, m.prepareFile(r, i, loc, flags)
	case nt.IRP_MJ_FLUSH_BUFFERS, nt.IRP_MJ_SHUTDOWN:
		i.Flags |= nt.IRP_SYNCHRONOUS_API
	case nt.IRP_MJ_CREATE:
		i.Flags |= nt.IRP_CREATE_OPERATION | nt.IRP_SYNCHRONOUS_API | nt.IRP_DEFER_IO_COMPLETION
		i.UserIosb = p.addr + ioStatusOffset
	case nt.IRP_MJ_CLEANUP, nt.IRP_MJ_CLOSE:
		// These come from the I/O manager, not from the client.
		i.Flags |= nt.IRP_CLOSE_OPERATION | nt.IRP_SYNCHRONOUS_API
		i.RequestorMode = nt.KernelMode
		i.UserIosb = p.addr + ioStatusOffset
	}
	loc.Parameters = r.Params
	return p, nt.STATUS_SUCCESS
}

// Call sends an IRP to a device: IofCallDriver. It gives what the dispatch routine returns.
//
// NO_MORE_IRP_STACK_LOCATIONS if the IRP has been passed to more drivers than it has room for.
func (m *Manager) Call(t *ke.Thread, device, irp guest.Addr) nt.Status {
	p, _ := m.inPlace(t, irp)
	dev := m.devices.Device(device)
	if dev == nil {
		violation(t, violationDevice, uint64(device), 0, 0,
			"IRP %v was sent to %v, which is no device object", irp, device)
	}
	if routine := p.irp.CancelRoutine; routine != 0 {
		violation(t, violationCancelRoutine, uint64(routine), uint64(irp), uint64(device),
			"IRP %v was passed on with its cancel routine, %v, still set", irp, routine)
	}
	if m.NoVerify {
		status, _ := m.send(t, p.irp, irp, p.room, dev)
		return status
	}
	n := p.irp.CurrentLocation - 1
	if n < 1 || n > p.room {
		status, _ := m.send(t, p.irp, irp, p.room, dev) // says what is wrong
		return status
	}
	number, irql := p.enter(n), t.IRQL()
	s := sent{irp: irp, device: device, major: location(p.irp, n).MajorFunction}
	status := nt.Status(0)
	status, s.routine = m.send(t, p.irp, irp, p.room, dev)
	s.checkIRQL(t, irql)
	p.checkReturn(t, s, n, number, status)
	return status
}

// send sends the IRP at addr, which has room for that many stack locations, to dev, and gives the
// dispatch routine too. Each field that bounds something is read once: other threads of the driver
// may write to it.
func (m *Manager) send(t *ke.Thread, i *nt.IRP, addr guest.Addr, room int8, dev *devobj.Device) (
	status nt.Status, routine guest.Addr) {
	n := i.CurrentLocation - 1
	if n < 1 || n > room {
		t.Crash(&ke.Bugcheck{Code: nt.NO_MORE_IRP_STACK_LOCATIONS,
			Params: [4]uint64{uint64(addr), 0, 0, 0},
			Reason: fmt.Sprintf("IRP %v was passed on with no stack location left (it has %d)", addr,
				i.StackCount)})
	}
	i.CurrentLocation = n
	i.Tail.Overlay.CurrentStackLocation = locationAddr(addr, n)
	loc := location(i, n)
	loc.DeviceObject = dev.Object.Addr()
	major := loc.MajorFunction
	if major > nt.IRP_MJ_MAXIMUM_FUNCTION {
		violation(t, violationMajor, 0, uint64(addr), uint64(dev.Object.Addr()),
			"IRP %v has major function %#x", addr, uint8(major))
	}
	routine = dev.Driver.Object.Ref().MajorFunction[major]
	return nt.Status(t.Call(routine, uint64(dev.Object.Addr()), uint64(addr))), routine
}

// inPlace gives the packet, and its life, of the IRP at addr, which is to be read and written in
// place: it is one of the slabs', in use and of the right type. Anything else is the driver's bug, and
// a bugcheck.
func (m *Manager) inPlace(t *ke.Thread, addr guest.Addr) (p *packet, use uint32) {
	p, use = m.slabs.find(addr)
	if p == nil {
		p, use = m.foreign.find(addr)
	}
	if p == nil || p.irp.Type != nt.IO_TYPE_IRP {
		t.Crash(&ke.Bugcheck{Code: nt.MULTIPLE_IRP_COMPLETE_REQUESTS,
			Params: [4]uint64{uint64(addr), 0, 0, 0},
			Reason: fmt.Sprintf("%v is no IRP in use: freed, completed before, or never one", addr)})
	}
	return p, use
}

// position gives the number of stack locations of an IRP and the current one's number, which may be
// one more. Values that cannot be are a bugcheck: the driver has written over the IRP, or it has been
// completed before.
func (p *packet) position(t *ke.Thread) (current, count int8) {
	current, count = p.irp.CurrentLocation, p.irp.StackCount
	switch {
	case count < 1 || count > p.room:
		t.Crash(&ke.Bugcheck{Code: nt.MULTIPLE_IRP_COMPLETE_REQUESTS,
			Params: [4]uint64{uint64(p.addr), 0, 0, 0},
			Reason: fmt.Sprintf("IRP %v was written over: its StackCount is %d", p.addr, count)})
	case current < 1 || current > count+1:
		t.Crash(&ke.Bugcheck{Code: nt.MULTIPLE_IRP_COMPLETE_REQUESTS,
			Params: [4]uint64{uint64(p.addr), 0, 0, 0},
			Reason: fmt.Sprintf("IRP %v was completed twice, or written over: its CurrentLocation is "+
				"%d of %d", p.addr, current, count)})
	}
	return current, count
}
