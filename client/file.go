package client

// An open device, and the requests that one can make.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/nt"
)

// File is an open file object in a driver host. Its methods may be called from many goroutines at
// once, Close too. A File that is not closed holds a socket until the process ends.
type File struct {
	name        string
	sock        wire.Socket
	pid         int
	version     uint16 // of the protocol
	id          uint64
	information uint64
	maxInline   int
	maxRequests int
	maxBytes    int
	maxBuffer   uint64
	expectFD    atomic.Bool   // receive descriptors too
	turn        chan struct{} // of a File whose requests are serialised: holds one while one is made

	original *File       // of a duplicate: what it duplicates; everything below is there
	shut     atomic.Bool // this handle is closed

	mu        sync.Mutex
	changed   sync.Cond // for who waits in waitFor (blocked), and for Close
	blocked   int
	calls     []*call // by index
	free      []*call
	waiters   []*call
	sequence  uint64
	inFlight  int
	bytes     int
	handles   int  // that are not closed: this one and its duplicates
	users     int  // of sock and mapped
	receiving bool // somebody is in receive
	closing   bool // by Close
	err       error
	buf       []byte // of the one who receives
	mapped    []byte // the shared buffer
	mapping   bool   // somebody is fetching it
	slots     slots
}

func newFile(sock wire.Socket, name string, pid int, w *wire.Welcome) *File {
	f := &File{
		handles: 1, name: name, sock: sock, pid: pid, version: w.Version, id: w.FileID,
		information: w.Information,
		maxInline:   int(min(w.MaxInline, 1<<20)),
		maxRequests: int(min(w.MaxRequests, 1<<indexBits)),
		maxBytes:    int(min(w.MaxBytes, 1<<30)),
		maxBuffer:   min(w.MaxBuffer, 1<<40) &^ (slotAlign - 1),
	}
	f.changed.L = &f.mu
	return f
}

// Name gives the name that the File was opened by.
func (f *File) Name() string { return f.name }

// HostPID gives the process id of the driver host, 0 when Linux does not tell.
func (f *File) HostPID() int { return f.pid }

// Information gives what CREATE put into IoStatus.Information: FILE_OPENED and its kin.
func (f *File) Information() uint64 { return f.information }

// Request is an I/O request of any major function that a client may send.
type Request struct {
	Major     nt.MajorFunction
	Minor     uint8
	Code      uint32 // the control code, the information class or the SECURITY_INFORMATION
	Key       uint32
	Flags     uint8 // SL_ bits of the stack location, where a caller may choose them
	HasOffset bool  // else the host uses the file's position
	Offset    int64 // in bytes
	In        []byte
	Out       []byte
	SendOut   bool // the driver sees what Out holds before

	sent func() // called when it is on its way
}

// Result is how a request ended, with the three numbers apart.
type Result struct {
	Status      nt.Status // what the dispatch routine returned, STATUS_PENDING if it pended
	IOStatus    nt.Status // IoStatus.Status
	Information uint64    // IoStatus.Information, whatever the driver wrote there
	N           int       // bytes of Out that came back
}

// Final gives the status that a caller sees who waits: IOStatus if Status is STATUS_PENDING.
func (r Result) Final() nt.Status {
	if r.Status == nt.STATUS_PENDING {
		return r.IOStatus
	}
	return r.Status
}

// Do makes any request and waits for its completion. The error is not the driver's status, which is
// in the Result: it says that the request was not made, or that its end is unknown. When ctx ends
// the request is cancelled as CancelIoEx does it, and Do still waits for its completion, which may
// be any.
func (f *File) Do(ctx context.Context, r *Request) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if f.shut.Load() {
		return Result{}, errClosed
	}
	if f.original != nil {
		f = f.original
	}
	if f.turn != nil {
		select {
		case f.turn <- struct{}{}:
			defer func() { <-f.turn }()
		case <-ctx.Done():
			return Result{}, ctx.Err()
		}
	}
	if r.Flags != 0 && !wire.HasStackFlags(f.version) {
		return Result{}, fmt.Errorf("the host speaks version %d of the protocol: %w", f.version,
			nt.STATUS_NOT_SUPPORTED)
	}
	inShared := len(r.In) > f.maxInline || len(r.In) >= sharedFrom && f.maxBuffer > 0
	outShared := len(r.Out) > f.maxInline || len(r.Out) >= sharedFrom && f.maxBuffer > 0
	if !inShared && !outShared {
		return f.exchange(ctx, r, extent{}, extent{})
	}
	in, out := 0, 0
	if inShared {
		in = len(r.In)
	}
	if outShared {
		out = len(r.Out)
	}
	inAt, outAt, err := f.borrow(ctx, in, out)
	if errors.Is(err, errNoBuffer) && max(len(r.In), len(r.Out)) <= f.maxInline {
		return f.exchange(ctx, r, extent{}, extent{})
	}
	if err != nil {
		return Result{}, err
	}
	defer f.repay(inAt, outAt)
	if inShared {
		copy(f.mapped[inAt.place:], r.In)
	}
	if outShared && r.SendOut {
		copy(f.mapped[outAt.place:], r.Out)
	}
	res, err := f.exchange(ctx, r, inAt, outAt)
	if err == nil && outShared {
		copy(r.Out[:res.N], f.mapped[outAt.place:])
	}
	return res, err
}

// exchange sends the request and waits for its reply. An extent without size stands for data in the
// message.
func (f *File) exchange(ctx context.Context, r *Request, inAt, outAt extent) (Result, error) {
	h := wire.RequestHeader{
		Major: r.Major, Minor: r.Minor, Code: r.Code, Key: r.Key,
		InLen: uint32(len(r.In)), OutLen: uint32(len(r.Out)),
		InPlace: inAt.place, OutPlace: outAt.place, StackFlags: r.Flags,
	}
	if r.HasOffset {
		h.Flags, h.Offset = wire.FlagOffset, r.Offset
	}
	size := wire.RequestSize
	if inAt.size > 0 {
		h.Flags |= wire.FlagInShared
	} else {
		size += len(r.In)
	}
	if outAt.size > 0 {
		h.Flags |= wire.FlagOutShared
	}
	sendOut := r.SendOut && len(r.Out) > 0
	if sendOut {
		h.Flags |= wire.FlagOutData
		if outAt.size == 0 {
			size += len(r.Out)
		}
	}
	want := expected{kind: wire.MsgReply, outLen: len(r.Out), shared: outAt.size > 0}
	if !want.shared {
		want.out = r.Out
	}
	c, err := f.begin(ctx, want, h.Charge(), false)
	if err != nil {
		return Result{}, err
	}
	h.ID, c.onSent = c.id, r.sent
	if cap(c.msg) < size {
		c.msg = make([]byte, size, max(size, 256))
	}
	m := c.msg[:size]
	c.msg = m
	h.Put(m)
	m = m[wire.RequestSize:]
	if inAt.size == 0 {
		m = m[copy(m, r.In):]
	}
	if sendOut && !want.shared {
		copy(m, r.Out)
	}
	e := f.perform(ctx, c)
	if e.err != nil {
		return Result{}, e.err
	}
	return Result{
		Status: e.reply.Status, IOStatus: e.reply.IOStatus,
		Information: e.reply.Information, N: int(e.reply.OutLen),
	}, nil
}

// outcome turns a Result into the error that a caller gets.
func (f *File) outcome(ctx context.Context, op string, code uint32, res Result, err error) error {
	if err != nil {
		status := nt.STATUS_INVALID_HANDLE
		if !errors.Is(err, errClosed) {
			status = statusOf(err, nt.STATUS_CANCELLED)
		}
		return &Error{Op: op, Name: f.name, Code: code, Status: status, Err: err}
	}
	status := res.Final()
	if status.Success() && status != nt.STATUS_PENDING {
		return nil
	}
	e := &Error{Op: op, Name: f.name, Code: code, Status: status}
	if status == nt.STATUS_CANCELLED {
		e.Err = ctx.Err() // nil if it was the driver's own idea
	}
	return e
}

// DeviceIoControl sends IRP_MJ_DEVICE_CONTROL and gives the number of bytes that came back in out:
// IoStatus.Information as far as out is long. The transfer method in the code decides, as on
// Windows, what the driver sees: for all methods but METHOD_BUFFERED also what out holds before.
// When ctx ends the IRP is cancelled, and the call returns when it has completed: if as cancelled,
// with an error that is both STATUS_CANCELLED and ctx.Err().
func (f *File) DeviceIoControl(ctx context.Context, code uint32, in, out []byte) (int, error) {
	res, err := f.DeviceIoControlEx(ctx, code, in, out)
	if err = f.outcome(ctx, "ioctl", code, res, err); err != nil && res.Final().IsError() {
		return 0, err
	}
	return transferred(res, len(out)), err
}

// DeviceIoControlEx is DeviceIoControl that gives status, IoStatus and Information apart; its error
// is that of Do.
func (f *File) DeviceIoControlEx(ctx context.Context, code uint32, in, out []byte) (Result, error) {
	return f.Do(ctx, &Request{
		Major: nt.IRP_MJ_DEVICE_CONTROL, Code: code, In: in, Out: out,
		SendOut: nt.Method(code&3) != nt.METHOD_BUFFERED,
	})
}

// transferred is IoStatus.Information as a number of bytes of a buffer of n.
func transferred(res Result, n int) int {
	return int(min(res.Information, uint64(n)))
}

// Read sends IRP_MJ_READ for len(p) bytes at the file's position. As on Windows the position is the
// file object's, and it is the driver that moves it; SetInformation with FilePositionInformation sets
// it. A file that is open for asynchronous I/O has none. One Read is one IRP: it may give fewer bytes, and none
// without an error if the driver completes it so. STATUS_END_OF_FILE is io.EOF.
func (f *File) Read(p []byte) (int, error) {
	return f.ReadContext(context.Background(), p)
}

// ReadContext is Read that can be cancelled: see DeviceIoControl.
func (f *File) ReadContext(ctx context.Context, p []byte) (int, error) {
	return f.read(ctx, &Request{Major: nt.IRP_MJ_READ, Out: p})
}

// ReadAt sends IRP_MJ_READ for len(p) bytes at the offset. One ReadAt is one IRP; when it gives
// fewer bytes and no error the error is io.ErrUnexpectedEOF, since an io.ReaderAt must have one.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return f.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt that can be cancelled: see DeviceIoControl.
func (f *File) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	n, err := f.read(ctx, &Request{Major: nt.IRP_MJ_READ, Out: p, HasOffset: true, Offset: off})
	if err == nil && n < len(p) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (f *File) read(ctx context.Context, r *Request) (int, error) {
	res, err := f.Do(ctx, r)
	if err == nil && res.Final() == nt.STATUS_END_OF_FILE {
		return 0, io.EOF
	}
	if err = f.outcome(ctx, "read", 0, res, err); err != nil && !res.Final().Warning() {
		return 0, err
	}
	return transferred(res, len(r.Out)), err
}

// Write sends IRP_MJ_WRITE of p at the file's position: see Read. One Write is one IRP; when the
// driver takes fewer bytes the error is io.ErrShortWrite.
func (f *File) Write(p []byte) (int, error) {
	return f.WriteContext(context.Background(), p)
}

// WriteContext is Write that can be cancelled: see DeviceIoControl.
func (f *File) WriteContext(ctx context.Context, p []byte) (int, error) {
	return f.write(ctx, &Request{Major: nt.IRP_MJ_WRITE, In: p})
}

// WriteAt sends IRP_MJ_WRITE of p at the offset. One WriteAt is one IRP.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	return f.WriteAtContext(context.Background(), p, off)
}

// WriteAtContext is WriteAt that can be cancelled: see DeviceIoControl.
func (f *File) WriteAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	return f.write(ctx, &Request{Major: nt.IRP_MJ_WRITE, In: p, HasOffset: true, Offset: off})
}

func (f *File) write(ctx context.Context, r *Request) (int, error) {
	res, err := f.Do(ctx, r)
	if err = f.outcome(ctx, "write", 0, res, err); err != nil && !res.Final().Warning() {
		return 0, err
	}
	n := transferred(res, len(r.In))
	if err == nil && n < len(r.In) {
		err = io.ErrShortWrite
	}
	return n, err
}

// Flush sends IRP_MJ_FLUSH_BUFFERS.
func (f *File) Flush() error { return f.FlushContext(context.Background()) }

// FlushContext is Flush that can be cancelled: see DeviceIoControl.
func (f *File) FlushContext(ctx context.Context) error {
	res, err := f.Do(ctx, &Request{Major: nt.IRP_MJ_FLUSH_BUFFERS})
	return f.outcome(ctx, "flush", 0, res, err)
}

// Close closes the file: the driver gets CLEANUP, what it then still holds is cancelled, and it
// gets CLOSE. Close waits for that. Calls that are under way end with what their IRPs ended with,
// later ones with os.ErrClosed and STATUS_INVALID_HANDLE. That the host is gone is no error. Of
// several handles (Duplicate) the last to be closed does all this; before that Close only ends the
// use of its own.
func (f *File) Close() error {
	if f.shut.Swap(true) {
		return &Error{Op: "close", Name: f.name, Status: nt.STATUS_INVALID_HANDLE, Err: errClosed}
	}
	if f.original != nil {
		f = f.original
	}
	f.mu.Lock()
	if f.handles--; f.handles > 0 {
		f.mu.Unlock()
		return nil
	}
	f.closing = true
	f.changed.Broadcast()
	f.mu.Unlock()
	if c, err := f.begin(context.Background(), expected{kind: wire.MsgReply}, 0, true); err == nil {
		c.msg = append(c.msg[:0], make([]byte, wire.HeaderSize)...)
		wire.PutHeader(c.msg, wire.MsgClose, c.id)
		f.perform(context.Background(), c)
	}
	f.mu.Lock()
	if f.err == nil {
		f.fail(errClosed)
	}
	for f.users > 0 || f.receiving || f.mapping {
		f.changed.Wait()
	}
	mem := f.mapped
	f.mapped = nil
	f.mu.Unlock()
	if mem != nil {
		wire.UnmapBuffer(mem)
	}
	f.sock.Close()
	return nil
}
