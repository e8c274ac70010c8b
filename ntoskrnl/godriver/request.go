package godriver

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
)

// Request is an IRP in a dispatch routine, or in what is called when it has come back. It is the
// routine's until that returns; what is kept longer is a Pending.
type Request struct {
	Call
	// IRP is its address.
	IRP guest.Addr
	// Device is the device that it was sent to.
	Device *Device

	irp   nt.IRP             // as it was
	loc   nt.IOStackLocation // the driver's
	at    guest.Addr         // of loc
	ended bool               // completed, pended or sent on
}

// dispatch is a dispatch routine.
func (d *Driver) dispatch(c *ntoskrnl.Call, major nt.MajorFunction) nt.Status {
	r := d.request(c, guest.Addr(c.Arg(0)), guest.Addr(c.Arg(1)))
	var status nt.Status
	switch f := d.Dispatch[major]; {
	case f != nil:
		status = f(r)
		if !r.ended {
			status = r.Complete(status, 0)
		}
	case major == nt.IRP_MJ_CREATE || major == nt.IRP_MJ_CLEANUP || major == nt.IRP_MJ_CLOSE:
		status = r.Complete(nt.STATUS_SUCCESS, 0)
	default:
		status = r.Complete(nt.STATUS_INVALID_DEVICE_REQUEST, 0)
	}
	d.release(r)
	return status
}

// request gives a Request for an IRP.
func (d *Driver) request(c *ntoskrnl.Call, device, irp guest.Addr) *Request {
	d.mu.Lock()
	var r *Request
	if n := len(d.idle); n > 0 {
		r, d.idle = d.idle[n-1], d.idle[:n-1]
	}
	dev := d.devices[device]
	d.mu.Unlock()
	if r == nil {
		r = new(Request)
	}
	r.Call, r.IRP, r.Device, r.ended = Call{c, d}, irp, dev, false
	r.irp = ntoskrnl.Load[nt.IRP](c, irp)
	r.at = r.irp.Tail.Overlay.CurrentStackLocation
	r.loc = ntoskrnl.Load[nt.IOStackLocation](c, r.at)
	return r
}

func (d *Driver) release(r *Request) {
	r.Call, r.Device = Call{}, nil
	d.mu.Lock()
	d.idle = append(d.idle, r)
	d.mu.Unlock()
}

// Major gives the major function code.
func (r *Request) Major() nt.MajorFunction { return r.loc.MajorFunction }

// Minor gives the minor function code.
func (r *Request) Minor() uint8 { return r.loc.MinorFunction }

// File gives the FILE_OBJECT, or 0.
func (r *Request) File() guest.Addr { return r.loc.FileObject }

// control says whether the request has a control code.
func (r *Request) control() bool {
	switch r.loc.MajorFunction {
	case nt.IRP_MJ_DEVICE_CONTROL, nt.IRP_MJ_INTERNAL_DEVICE_CONTROL, nt.IRP_MJ_FILE_SYSTEM_CONTROL:
		return true
	}
	return false
}

// Code gives the control code; 0 for other functions.
func (r *Request) Code() nt.IOCTL {
	if !r.control() {
		return 0
	}
	return nt.IOCTL(r.loc.Parameters.DeviceIoControl().IoControlCode)
}

// Offset gives where a read or write begins.
func (r *Request) Offset() int64 {
	switch r.loc.MajorFunction {
	case nt.IRP_MJ_READ:
		return r.loc.Parameters.Read().ByteOffset
	case nt.IRP_MJ_WRITE:
		return r.loc.Parameters.Write().ByteOffset
	}
	return 0
}

// InputLength gives the bytes of input: of a control request, or of a write.
func (r *Request) InputLength() int {
	switch {
	case r.control():
		return int(r.loc.Parameters.DeviceIoControl().InputBufferLength)
	case r.loc.MajorFunction == nt.IRP_MJ_WRITE:
		return int(r.loc.Parameters.Write().Length)
	}
	return 0
}

// OutputLength gives the room for output in bytes: of a control request, or of a read.
func (r *Request) OutputLength() int {
	switch {
	case r.control():
		return int(r.loc.Parameters.DeviceIoControl().OutputBufferLength)
	case r.loc.MajorFunction == nt.IRP_MJ_READ:
		return int(r.loc.Parameters.Read().Length)
	}
	return 0
}

// input gives where the input lies.
func (r *Request) input() guest.Addr {
	if r.control() {
		if r.Code().Method() == nt.METHOD_NEITHER {
			return r.loc.Parameters.DeviceIoControl().Type3InputBuffer
		}
		return r.irp.AssociatedIrp.SystemBuffer
	}
	return r.transfer()
}

// output gives where the output goes.
func (r *Request) output() guest.Addr {
	if !r.control() {
		return r.transfer()
	}
	switch r.Code().Method() {
	case nt.METHOD_BUFFERED:
		return r.irp.AssociatedIrp.SystemBuffer
	case nt.METHOD_NEITHER:
		return r.irp.UserBuffer
	}
	return r.direct()
}

// transfer gives where the data of a read or write lies.
func (r *Request) transfer() guest.Addr {
	switch {
	case r.irp.AssociatedIrp.SystemBuffer != 0:
		return r.irp.AssociatedIrp.SystemBuffer
	case r.irp.MdlAddress != 0:
		return r.direct()
	}
	return r.irp.UserBuffer
}

// direct gives the system address of the buffer that the MDL describes.
func (r *Request) direct() guest.Addr {
	if r.irp.MdlAddress == 0 {
		return 0
	}
	a, err := r.Mm.SystemAddressForMdl(r.irp.MdlAddress)
	r.Must(err)
	return a
}

// Read copies the input to p, and gives how much that is.
func (r *Request) Read(p []byte) int {
	n := min(len(p), r.InputLength())
	if n > 0 {
		r.Must(guest.Read(p[:n], r.input()))
	}
	return n
}

// Input gives a copy of the input.
func (r *Request) Input() []byte {
	p := make([]byte, r.InputLength())
	return p[:r.Read(p)]
}

// Write copies p to the output, as far as there is room, and gives how much that is: what Complete
// wants as information.
func (r *Request) Write(p []byte) int {
	n := min(len(p), r.OutputLength())
	if n > 0 {
		r.Must(guest.Write(r.output(), p[:n]))
	}
	return n
}

// ReadOutput copies what is in the output buffer to p: what the driver below has written.
func (r *Request) ReadOutput(p []byte) int {
	n := min(len(p), r.OutputLength())
	if n > 0 {
		r.Must(guest.Read(p[:n], r.output()))
	}
	return n
}

// Status gives IoStatus.Status and IoStatus.Information.
func (r *Request) Status() (nt.Status, uint64) {
	s := ntoskrnl.Load[nt.IRP](r.Call.Call, r.IRP).IoStatus
	return s.Status, uint64(s.Information)
}

// SetStatus changes them, for what completes the IRP.
func (r *Request) SetStatus(status nt.Status, information uint64) {
	r.driver.setStatus(r.Call.Call, r.IRP, status, information)
}

func (d *Driver) setStatus(c *ntoskrnl.Call, irp guest.Addr, status nt.Status, information uint64) {
	const ioStatus = 0x30 // IRP.IoStatus
	ntoskrnl.Store(c, irp+ioStatus, nt.IOStatusBlock{Status: status, Information: uintptr(information)})
}

// Complete completes the IRP and gives the status, to be returned.
func (r *Request) Complete(status nt.Status, information uint64) nt.Status {
	r.ended = true
	r.SetStatus(status, information)
	r.IO.Complete(r.T, r.IRP)
	return status
}

// Pending is an IRP that is to be completed later.
type Pending struct {
	driver *Driver
	copy   Request
}

// Pend marks the IRP pending. The dispatch routine returns STATUS_PENDING.
func (r *Request) Pend() *Pending {
	r.mark()
	r.ended = true
	p := &Pending{r.driver, *r}
	return p
}

// mark is IoMarkIrpPending.
func (r *Request) mark() {
	const pendingReturned = 0x01 // SL_PENDING_RETURNED
	r.loc.Control |= pendingReturned
	const control = 0x03 // IO_STACK_LOCATION.Control
	ntoskrnl.Store(r.Call.Call, r.at+control, r.loc.Control)
}

// Complete completes the IRP, with output for it. It may be called on any goroutine, but not in a
// driver's routine. The error is the crash that ended the kernel.
func (p *Pending) Complete(status nt.Status, output []byte, information uint64) error {
	return p.driver.kernel.OnSystemThread(func(c *ntoskrnl.Call) {
		r := &p.copy
		r.Call = Call{c, p.driver}
		r.Write(output)
		r.Complete(status, information)
	})
}

// Forward sends the IRP to the device below and is done with it.
func (r *Request) Forward() nt.Status {
	r.ended = true
	r.move(1) // IoSkipCurrentIrpStackLocation
	return r.IO.Call(r.T, r.Lower(r.Device), r.IRP)
}

// move changes the current stack location, towards the callers or away from them.
func (r *Request) move(by int8) {
	const location, current = 0x43, 0xB8 // IRP.CurrentLocation, IRP.Tail.Overlay.CurrentStackLocation
	c := r.Call.Call
	ntoskrnl.Store(c, r.IRP+location, r.irp.CurrentLocation+by)
	ntoskrnl.Store(c, r.IRP+current, r.at+guest.Addr(int(by)*nt.IOStackLocationSize))
}

// then is what is called when an IRP has come back.
type then struct {
	f   func(r *Request)
	dev *Device
}

// ForwardThen sends the IRP to the device below, and has f called when that and those below have
// completed it, whatever came of it. f may look at the output and change it and the status; then the
// IRP goes on to whoever sent it.
func (r *Request) ForwardThen(f func(r *Request)) nt.Status {
	d := r.driver
	d.mu.Lock()
	var id int
	if n := len(d.free); n > 0 {
		id, d.free = d.free[n-1], d.free[:n-1]
	} else {
		id = len(d.thens)
		d.thens = append(d.thens, then{})
	}
	d.thens[id] = then{f, r.Device}
	d.mu.Unlock()
	const always = 0x40 | 0x80 | 0x20 // SL_INVOKE_ON_SUCCESS, _ERROR and _CANCEL
	next := r.loc                     // IoCopyCurrentIrpStackLocationToNext
	next.Control = always
	next.CompletionRoutine, next.Context = d.completion, guest.Addr(id)
	ntoskrnl.Store(r.Call.Call, r.at-nt.IOStackLocationSize, next)
	r.ended = true
	return r.IO.Call(r.T, r.Lower(r.Device), r.IRP)
}

// completed is the completion routine of ForwardThen.
func (d *Driver) completed(c *ntoskrnl.Call) uint64 {
	irp, id := guest.Addr(c.Arg(1)), int(c.Arg(2))
	d.mu.Lock()
	if id < 0 || id >= len(d.thens) || d.thens[id].f == nil {
		d.mu.Unlock()
		panic("a completion routine was called for an IRP that is not under way")
	}
	t := d.thens[id]
	d.thens[id] = then{}
	d.free = append(d.free, id)
	d.mu.Unlock()
	r := d.request(c, t.dev.Object, irp)
	r.Device = t.dev
	if r.irp.PendingReturned != 0 {
		r.mark()
	}
	t.f(r)
	d.release(r)
	return uint64(nt.STATUS_SUCCESS) // STATUS_CONTINUE_COMPLETION
}

// IRQL gives the level at which the routine was called.
func (r *Request) IRQL() nt.IRQL { return r.T.IRQL() }
