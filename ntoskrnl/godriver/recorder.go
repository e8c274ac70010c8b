package godriver

import (
	"sync"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Recorder is a driver for tests: a device with the name \Device\NAME and the link \\.\NAME that notes
// the IRPs that it is sent, and answers them.
type Recorder struct {
	// Name is the device's, and the service's.
	Name string
	// Flags are the device's: 0, nt.DO_BUFFERED_IO or nt.DO_DIRECT_IO.
	Flags uint32
	// Answer says how a request is answered; without it, with STATUS_SUCCESS and no output. It is not
	// asked about CREATE, CLEANUP and CLOSE, which succeed.
	Answer func(Received) Answer

	mu       sync.Mutex
	received []Received
}

// Received is an IRP that a Recorder was sent.
type Received struct {
	Major        nt.MajorFunction
	Minor        uint8
	Code         nt.IOCTL
	Offset       int64
	Input        []byte
	OutputLength int
	IRQL         nt.IRQL
	Requestor    nt.ProcessorMode
	File         guest.Addr // the FILE_OBJECT, or 0
	StackCount   int8       // how many locations the IRP has
}

// Answer is how a request is answered.
type Answer struct {
	Status      nt.Status
	Output      []byte
	Information uint64 // 0 is the length of the output, or that of what was written
	// Later says that the request is pended, and completed from another thread.
	Later bool
}

// Driver gives the driver, to be loaded.
func (r *Recorder) Driver() *Driver {
	d := &Driver{Service: r.Name, Entry: func(c *Call) nt.Status {
		if _, status := c.CreateDevice(DeviceOptions{Name: `\Device\` + r.Name,
			Flags: r.Flags}); !status.Success() {
			return status
		}
		return c.CreateLink(`\DosDevices\`+r.Name, `\Device\`+r.Name)
	}, Unload: func(c *Call) {
		c.DeleteLink(`\DosDevices\` + r.Name)
		for _, d := range c.Devices() {
			c.DeleteDevice(d)
		}
	}}
	for m := range d.Dispatch {
		d.Dispatch[m] = r.dispatch
	}
	return d
}

func (r *Recorder) dispatch(q *Request) nt.Status {
	got := Received{Major: q.Major(), Minor: q.Minor(), Code: q.Code(), Offset: q.Offset(),
		Input: q.Input(), OutputLength: q.OutputLength(), IRQL: q.IRQL(), File: q.File(),
		Requestor: q.irp.RequestorMode, StackCount: q.irp.StackCount}
	r.mu.Lock()
	r.received = append(r.received, got)
	r.mu.Unlock()
	var a Answer
	switch got.Major {
	case nt.IRP_MJ_CREATE, nt.IRP_MJ_CLEANUP, nt.IRP_MJ_CLOSE:
	default:
		if r.Answer != nil {
			a = r.Answer(got)
		}
	}
	switch {
	case a.Information != 0:
	case got.Major == nt.IRP_MJ_WRITE:
		a.Information = uint64(len(got.Input))
	default:
		a.Information = uint64(min(len(a.Output), got.OutputLength))
	}
	if a.Later {
		p := q.Pend()
		go func() { _ = p.Complete(a.Status, a.Output, a.Information) }() // a crash is told elsewhere
		return nt.STATUS_PENDING
	}
	q.Write(a.Output)
	return q.Complete(a.Status, a.Information)
}

// Received gives what the device was sent, in order; without major functions all of it.
func (r *Recorder) Received(majors ...nt.MajorFunction) (list []Received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, got := range r.received {
		wanted := len(majors) == 0
		for _, m := range majors {
			wanted = wanted || m == got.Major
		}
		if wanted {
			list = append(list, got)
		}
	}
	return list
}
