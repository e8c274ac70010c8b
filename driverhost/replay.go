package driverhost

import (
	"context"
	"sync"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
)

// What it takes to do again what somebody else did: files that are opened as another client opened
// them, and requests that are begun and waited for later.

// Identity is who a file is opened for.
type Identity struct {
	PID     int
	UID     uint32
	GID     uint32
	Groups  []uint32
	Program string
}

// ExactOpen is an open with nothing added to what it says.
type ExactOpen struct {
	Name        string // without \\.\
	Access      uint32 // ACCESS_MASK, without generic rights
	Share       uint16 // FILE_SHARE_*
	Disposition uint8
	Options     uint32 // FILE_* create options
	Attributes  uint16 // FILE_ATTRIBUTE_*
	Client      Identity
	// UnderWay, if set, is called when the open is under way: the driver's CREATE has pended, waits for
	// something, or has lost its processor. It must not block, and is called at most once, and not when
	// the open is done.
	UnderWay func()
}

// OpenFor opens a device of this host for a client that may be another process, or none that lives: the
// driver sees a process with its id, and the device's security descriptor is held against its user. The
// requests are the caller's. A status that is no success is the answer of the I/O manager or of the
// driver, and there is no file then; an error says that the host could not ask.
func (h *Host) OpenFor(o ExactOpen) (f *File, status nt.Status, information uint64, err error) {
	f = &File{name: o.Name}
	f.call.init()
	who, blocking := o.Client, f.blocked
	if o.UnderWay != nil {
		var once sync.Once
		defer once.Do(func() {}) // what waits later is no open
		blocking = func() {
			once.Do(o.UnderWay)
			f.blocked()
		}
	}
	s, status, information, err := h.openSession(opening{
		client: client{who.PID, who.UID}, who: who, program: func() string { return who.Program },
		name: wire.TrimDevicePrefix(o.Name),
		info: irp.OpenInfo{
			OpenInfo:    devobj.OpenInfo{Access: o.Access, ShareAccess: o.Share, Options: o.Options},
			Disposition: o.Disposition, FileAttributes: o.Attributes,
		},
		subject:  ntoskrnl.SubjectSIDs(who.UID, append([]uint32{who.GID}, who.Groups...)...),
		blocking: blocking,
	})
	if s == nil {
		return nil, status, information, err
	}
	f.session = s
	return f, status, information, nil
}

// blocked tells whoever begins a request that the driver's thread is about to wait.
func (f *File) blocked() {
	if b := f.beginning.Load(); b != nil {
		b.once.Do(b.under)
	}
}

// beginning is a request that Begin has sent and whose dispatch routine has not returned.
type beginning struct {
	once sync.Once
	way  chan struct{} // closed when the request is under way
}

func (b *beginning) under() { close(b.way) }

// Operation is a request under way on a file of this process, as an OVERLAPPED stands for one.
type Operation struct {
	f      *File
	call   localCall
	done   chan struct{}
	result Result
}

// Begin makes a request of any major function, and returns when it is under way: its dispatch routine
// has returned, or waits for something. So what is begun one after the other on one file is dispatched in
// that order. ctx bounds how long Begin waits for that, not the request. Out is the request's until it is
// done. The error is of the file's being closed, or STATUS_INVALID_PARAMETER as Do's.
func (f *File) Begin(ctx context.Context, r FileRequest) (*Operation, error) {
	if !clientMay(r.Major) {
		return nil, nt.STATUS_INVALID_PARAMETER
	}
	if !f.gate.enter() {
		return nil, ErrClosed
	}
	o := &Operation{f: f, done: make(chan struct{})}
	c := &o.call
	c.init()
	c.Major, c.Minor, c.Flags, c.Code = r.Major, r.Minor, r.Flags, nt.IOCTL(r.Code)
	c.Key, c.Offset = r.Key, r.Offset
	c.In, c.OutData, c.OutLen, c.out = r.In, r.Out, len(r.Out), r.Out
	b := &beginning{way: make(chan struct{})}
	go func() {
		defer f.gate.leave()
		f.beginning.Store(b)
		done := f.start(&c.Request)
		f.beginning.CompareAndSwap(b, nil)
		b.once.Do(b.under)
		if !done {
			<-c.done
		}
		o.result = Result{c.Status, c.IOStatus, c.Information, c.Written}
		close(o.done)
	}()
	select {
	case <-b.way:
	case <-ctx.Done():
	}
	return o, nil
}

// Done is closed when the request has completed.
func (o *Operation) Done() <-chan struct{} { return o.done }

// Result gives the result of a request that has completed.
func (o *Operation) Result() Result {
	<-o.done
	return o.result
}

// Cancel cancels the request's IRP, if there is one still; the driver completes it when and as it will.
func (o *Operation) Cancel() { o.f.cancel(&o.call.Request) }
