package driverhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
)

// OpenOptions is what CreateFile can be told. The zero value asks for reading and writing, and shares
// both.
type OpenOptions struct {
	Access      uint32 // ACCESS_MASK; 0 is GENERIC_READ and GENERIC_WRITE
	Disposition uint8  // 0 is FILE_OPEN
	// Options are FILE_* create options; 0 is what CreateFile gives a handle that is not overlapped,
	// FILE_SYNCHRONOUS_IO_NONALERT and FILE_NON_DIRECTORY_FILE. Overlapped leaves the first out.
	Options    uint32
	Overlapped bool
	Attributes uint16 // FILE_ATTRIBUTE_*; 0 is FILE_ATTRIBUTE_NORMAL
}

// File is an open device, of this process. Its methods may be called by several goroutines; to the
// driver they are one thread, which dispatches one request at a time, while any number may pend.
type File struct {
	*session
	name string

	call localCall // of whoever has the key of the gate
	// beginning is the request that Begin is about to send.
	beginning atomic.Pointer[beginning]
}

// localCall is a request of this process.
type localCall struct {
	irp.Request
	out  []byte
	done chan struct{} // holds one
}

func (c *localCall) init() {
	c.done = make(chan struct{}, 1)
	c.Client = c
}

// Out gives the caller's own buffer.
func (c *localCall) Out(*irp.Request) []byte { return c.out }

// Done wakes the caller.
func (c *localCall) Done(*irp.Request) { c.done <- struct{}{} }

// Result is how a request ended: what the call returned, and what the driver completed the IRP with.
type Result struct {
	Status      nt.Status
	IOStatus    nt.Status
	Information uint64
	Written     int // bytes of the output buffer that were filled
}

// count gives IoStatus.Information as a number of bytes of a buffer of n; 0 for an error.
func (r Result) count(n int) int {
	if r.Status.IsError() {
		return 0
	}
	return int(min(r.Information, uint64(n)))
}

// Open opens a device by its Win32 name: `\\.\Echo`, `\\.\Echo\sub\path`, or without the prefix. A
// status that the driver or the I/O manager refuses with is in the error's chain.
func (h *Host) Open(name string, opts OpenOptions) (*File, error) {
	s, status, _, err := h.openSession(opening{
		client: self, program: func() string { return "drvhost" },
		name: wire.TrimDevicePrefix(name), info: opts.info(), subject: selfSubject(),
		who: Identity{GID: uint32(os.Getgid())},
	})
	if err == nil && s == nil {
		err = status
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	f := &File{session: s, name: name}
	f.call.init()
	return f, nil
}

// info gives the options with their defaults.
func (o OpenOptions) info() irp.OpenInfo {
	if o.Access == 0 {
		o.Access = nt.GENERIC_READ | nt.GENERIC_WRITE
	}
	o.Access |= nt.SYNCHRONIZE | nt.FILE_READ_ATTRIBUTES // as CreateFile does
	if o.Disposition == 0 {
		o.Disposition = uint8(nt.FILE_OPEN)
	}
	if o.Options == 0 {
		o.Options = nt.FILE_NON_DIRECTORY_FILE
		if !o.Overlapped {
			o.Options |= nt.FILE_SYNCHRONOUS_IO_NONALERT
		}
	}
	if o.Attributes == 0 {
		const normal = 0x80 // FILE_ATTRIBUTE_NORMAL
		o.Attributes = normal
	}
	return irp.OpenInfo{
		OpenInfo: devobj.OpenInfo{Access: nt.MapGenericAccess(o.Access, nt.FileGenericMapping),
			ShareAccess: uint16(nt.FILE_SHARE_READ | nt.FILE_SHARE_WRITE), Options: o.Options},
		Disposition: o.Disposition, FileAttributes: o.Attributes,
	}
}

// take gives a call of the file's, or nil when the file is closed; put takes it back.
func (f *File) take() *localCall {
	open, key := f.gate.enterForKey()
	switch {
	case !open:
		return nil
	case key:
		return &f.call
	}
	c := new(localCall)
	c.init()
	return c
}

func (f *File) put(c *localCall) {
	c.In, c.OutData, c.out = nil, nil, nil
	if c == &f.call {
		f.gate.leaveWithKey()
	} else {
		f.gate.leave()
	}
}

// run sends a request and waits for its end. A cancelled context cancels the IRP; the result is then
// what the driver completes it with.
func (f *File) run(ctx context.Context, c *localCall) Result {
	if !f.start(&c.Request) {
		f.wait(ctx, c)
	}
	return Result{c.Status, c.IOStatus, c.Information, c.Written}
}

func (f *File) wait(ctx context.Context, c *localCall) {
	select {
	case <-c.done:
	case <-ctx.Done():
		f.cancel(&c.Request)
		<-c.done
	}
}

// errOf makes the error of a result: nil for a success, else the status, with the context's error if
// that is why.
func (f *File) errOf(ctx context.Context, op string, r Result) error {
	if r.Status.Success() {
		return nil
	}
	if r.Status == nt.STATUS_CANCELLED && ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", op, f.name, errors.Join(ctx.Err(), r.Status))
	}
	if b := f.h.Crashed(); b != nil && r.Status == StatusGone {
		return fmt.Errorf("%s %s: %w: the driver crashed: %w", op, f.name, r.Status, b)
	}
	return fmt.Errorf("%s %s: %w", op, f.name, r.Status)
}

// DeviceIoControl sends an IOCTL with input in and room for output out, and gives how many bytes of
// out the driver says it has filled. For a warning both the count and the error are given. What out
// holds is input too, for the direct methods and METHOD_NEITHER.
func (f *File) DeviceIoControl(ctx context.Context, code uint32, in, out []byte) (int, error) {
	r, err := f.DeviceIoControlEx(ctx, code, in, out)
	if err != nil {
		return 0, err
	}
	return r.count(len(out)), f.errOf(ctx, "ioctl", r)
}

// DeviceIoControlEx is DeviceIoControl with the whole result; the error is of the file's being closed
// only.
func (f *File) DeviceIoControlEx(ctx context.Context, code uint32, in, out []byte) (Result, error) {
	c := f.take()
	if c == nil {
		return Result{}, ErrClosed
	}
	defer f.put(c)
	c.Major, c.Code = nt.IRP_MJ_DEVICE_CONTROL, nt.IOCTL(code)
	c.In, c.OutData, c.OutLen, c.out = in, out, len(out), out
	return f.run(ctx, c), nil
}

// Read reads from the file's position.
func (f *File) Read(p []byte) (int, error) {
	return f.ReadAtContext(context.Background(), p, irp.FilePosition)
}

// ReadAt reads from a byte offset.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.ReadAtContext(context.Background(), p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// ReadAtContext is ReadAt with a context; irp.FilePosition is the file's position. STATUS_END_OF_FILE is
// io.EOF.
func (f *File) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	c := f.take()
	if c == nil {
		return 0, ErrClosed
	}
	defer f.put(c)
	c.Major, c.Offset = nt.IRP_MJ_READ, off
	c.In, c.OutData, c.OutLen, c.out = nil, p, len(p), p
	r := f.run(ctx, c)
	if r.Status == nt.STATUS_END_OF_FILE {
		return 0, io.EOF
	}
	return r.count(len(p)), f.errOf(ctx, "read", r)
}

// Write writes at the file's position.
func (f *File) Write(p []byte) (int, error) {
	return f.WriteAtContext(context.Background(), p, irp.FilePosition)
}

// WriteAt writes at a byte offset.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	return f.WriteAtContext(context.Background(), p, off)
}

// WriteAtContext is WriteAt with a context; irp.FilePosition is the file's position. A write that the
// driver takes in part is io.ErrShortWrite.
func (f *File) WriteAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	c := f.take()
	if c == nil {
		return 0, ErrClosed
	}
	defer f.put(c)
	c.Major, c.Offset = nt.IRP_MJ_WRITE, off
	c.In, c.OutData, c.OutLen, c.out = p, nil, 0, nil
	r := f.run(ctx, c)
	n := r.count(len(p))
	err := f.errOf(ctx, "write", r)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// Flush sends IRP_MJ_FLUSH_BUFFERS.
func (f *File) Flush() error {
	c := f.take()
	if c == nil {
		return ErrClosed
	}
	defer f.put(c)
	c.Major = nt.IRP_MJ_FLUSH_BUFFERS
	c.OutLen = 0
	ctx := context.Background()
	return f.errOf(ctx, "flush", f.run(ctx, c))
}

// Close closes the file: CLEANUP, then what is pending is cancelled, then CLOSE. It returns when all
// requests have ended. A second Close is ErrClosed.
func (f *File) Close() error {
	if !f.session.close(false) {
		return ErrClosed
	}
	return nil
}
