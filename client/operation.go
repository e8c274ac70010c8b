package client

// Requests that are begun and waited for later, more than one handle to a file object, and
// cancelling what pends.

import (
	"context"
	"sync"

	"github.com/drvhost/drvhost/nt"
)

// Operation is a request under way, as an OVERLAPPED stands for one.
type Operation struct {
	f      *File
	cancel context.CancelFunc
	done   chan struct{}
	result Result
	err    error
}

// Begin makes any request, and returns when it is on its way to the driver: what is begun one after
// the other reaches the driver in that order. When the host has as many requests of this file as it
// allows (65536) Begin waits for one to complete. Out belongs to the request until it is done.
func (f *File) Begin(r *Request) *Operation {
	ctx, cancel := context.WithCancel(context.Background())
	o := &Operation{f: f, cancel: cancel, done: make(chan struct{})}
	sent := make(chan struct{})
	once := sync.OnceFunc(func() { close(sent) })
	req := *r
	req.sent = once
	go func() {
		defer cancel()
		o.result, o.err = f.Do(ctx, &req)
		close(o.done)
		once()
	}()
	<-sent
	return o
}

// Done is closed when the request has completed.
func (o *Operation) Done() <-chan struct{} { return o.done }

// Wait waits for the request, as Do does, and gives its result.
func (o *Operation) Wait() (Result, error) {
	<-o.done
	return o.result, o.err
}

// Cancel does what CancelIoEx does with the request's OVERLAPPED: the IRP is cancelled, and the
// driver completes it when and as it will. STATUS_NOT_FOUND if it has completed already.
func (o *Operation) Cancel() error {
	select {
	case <-o.done:
		return &Error{Op: "cancel", Name: o.f.name, Status: nt.STATUS_NOT_FOUND}
	default:
		o.cancel()
		return nil
	}
}

// CancelIo cancels every request that is under way on the file, by whichever handle: CancelIoEx
// without an OVERLAPPED. It does not wait for them. STATUS_NOT_FOUND if there are none.
func (f *File) CancelIo() error {
	if f.shut.Load() {
		return &Error{Op: "cancel", Name: f.name, Status: nt.STATUS_INVALID_HANDLE, Err: errClosed}
	}
	if f.original != nil {
		f = f.original
	}
	f.mu.Lock()
	var ids []uint64
	for _, c := range f.calls {
		if f.find(c.id) == c {
			ids = append(ids, c.id)
		}
	}
	f.mu.Unlock()
	if len(ids) == 0 {
		return &Error{Op: "cancel", Name: f.name, Status: nt.STATUS_NOT_FOUND}
	}
	for _, id := range ids {
		f.cancel(id)
	}
	return nil
}

// Duplicate gives another handle to the same file object, as DuplicateHandle does: the driver sees
// one FILE_OBJECT, and CLEANUP when the last of its handles is closed. A closed File gives
// STATUS_INVALID_HANDLE.
func (f *File) Duplicate() (*File, error) {
	of := f
	if f.original != nil {
		of = f.original
	}
	of.mu.Lock()
	defer of.mu.Unlock()
	if f.shut.Load() || of.handles == 0 {
		return nil, &Error{Op: "duplicate", Name: f.name, Status: nt.STATUS_INVALID_HANDLE,
			Err: errClosed}
	}
	of.handles++
	return &File{original: of, name: of.name, pid: of.pid, version: of.version, id: of.id,
		information: of.information, maxInline: of.maxInline, maxBuffer: of.maxBuffer}, nil
}
