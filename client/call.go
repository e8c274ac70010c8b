package client

// One request: send it, wait for its reply.
//
// There is no goroutine that receives. Who waits and finds that nobody receives does it for all,
// until its own reply comes; then one of those that still wait takes over. So a caller alone makes
// two system calls and wakes nobody.

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/nt"
)

// indexBits are the low bits of a request's id: its index in File.calls. The others count, so that
// an id is not used twice.
const indexBits = 16

// call is a request under way. It is reused.
type call struct {
	id    uint64
	index int
	msg   []byte // to send
	wake  chan struct{}
	sent  atomic.Bool // msg is ready, and on its way: only then a reply counts

	onSent func() // called once msg is on its way

	// With File.mu:
	active  bool // the fields below count
	done    bool
	waiting bool // on wake, in File.waiters
	want    expected
	charge  int
	reply   wire.ReplyHeader
	fd      int    // of a buffer reply, or -1
	size    uint64 // of a buffer reply
	err     error
}

// expected is what a reply may be.
type expected struct {
	kind   wire.MsgType
	out    []byte // where inline output goes
	outLen int    // bytes that may come back
	shared bool   // they come back in the shared buffer
}

// begin takes a call when the host's limits allow one more with charge bytes of message data, and
// waits for that. closing is for the one call that Close makes.
func (f *File) begin(ctx context.Context, want expected, charge int, closing bool) (*call, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !closing && (f.inFlight >= f.maxRequests || f.bytes+charge > f.maxBytes) {
		if err := f.waitFor(ctx, func() bool {
			return f.inFlight < f.maxRequests && f.bytes+charge <= f.maxBytes
		}); err != nil {
			return nil, err
		}
	}
	if f.closing && !closing {
		return nil, errClosed
	}
	if f.err != nil {
		return nil, f.err
	}
	var c *call
	if n := len(f.free); n > 0 {
		c = f.free[n-1]
		f.free = f.free[:n-1]
	} else {
		c = &call{index: len(f.calls), wake: make(chan struct{}, 1)}
		f.calls = append(f.calls, c)
	}
	c.sent.Store(false)
	f.sequence++
	c.id = f.sequence<<indexBits | uint64(c.index)
	c.active, c.done, c.want, c.charge, c.fd, c.err = true, false, want, charge, -1, nil
	f.inFlight++
	f.bytes += charge
	f.users++
	return c, nil
}

// waitFor waits on f.changed until ready, the end of ctx, or the end of the File. f.mu is held.
func (f *File) waitFor(ctx context.Context, ready func() bool) error {
	stop := context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.changed.Broadcast()
	})
	defer stop()
	f.blocked++
	defer func() { f.blocked-- }()
	for !ready() && f.err == nil && !f.closing {
		if err := ctx.Err(); err != nil {
			return err
		}
		f.changed.Wait()
	}
	return nil
}

// leave ends a use of the socket and of the shared buffer. f.mu is held.
func (f *File) leave() {
	f.users--
	if f.blocked > 0 || f.closing {
		f.changed.Broadcast()
	}
}

// ended is what became of a call.
type ended struct {
	reply wire.ReplyHeader
	fd    int    // of a buffer reply, or -1
	size  uint64 // of a buffer reply
	err   error  // there is no reply
}

// perform sends c.msg, waits for the reply, and gives c back. When ctx ends it has the host cancel
// the request, and goes on waiting for its completion.
func (f *File) perform(ctx context.Context, c *call) ended {
	c.sent.Store(true)
	if !f.send(c.msg) {
		f.sendSlowly(ctx, c)
	}
	if c.onSent != nil {
		c.onSent()
		c.onSent = nil
	}
	if ctx.Done() == nil {
		return f.wait(c)
	}
	id := c.id
	stop := context.AfterFunc(ctx, func() { f.cancel(id) })
	defer stop()
	return f.wait(c)
}

// send says false when the socket is full. That the host is gone is left to the receiver, who may
// still find its last words.
func (f *File) send(m []byte) bool {
	e := f.sock.TrySend(m)
	return e != syscall.EAGAIN && e != syscall.ENOBUFS && e != syscall.ENOMEM
}

// sendSlowly sends when the socket has room again. A request that was not sent before ctx ended
// completes as cancelled.
func (f *File) sendSlowly(ctx context.Context, c *call) {
	for !f.send(c.msg) {
		f.mu.Lock()
		done := c.done || f.err != nil
		if !done && ctx.Err() != nil {
			c.done = true
			c.reply = wire.ReplyHeader{ID: c.id,
				Status: nt.STATUS_CANCELLED, IOStatus: nt.STATUS_CANCELLED}
		}
		done = done || c.done
		f.mu.Unlock()
		if done {
			return
		}
		f.sock.WaitWritable(20)
	}
}

// cancel asks the host to cancel a request. It sends nothing once the request is complete.
func (f *File) cancel(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.find(id) == nil || f.err != nil {
		return
	}
	f.users++
	var m [wire.HeaderSize]byte
	wire.PutHeader(m[:], wire.MsgCancel, id)
	for !f.send(m[:]) {
		f.mu.Unlock()
		f.sock.WaitWritable(20)
		f.mu.Lock()
		if f.find(id) == nil || f.err != nil {
			break
		}
	}
	f.leave()
}

// find gives the call with this id that waits for its reply. f.mu is held.
func (f *File) find(id uint64) *call {
	i := int(id & (1<<indexBits - 1))
	if i >= len(f.calls) {
		return nil
	}
	if c := f.calls[i]; c.active && !c.done && c.id == id && c.sent.Load() {
		return c
	}
	return nil
}

// wait waits until c is done, and gives c back.
func (f *File) wait(c *call) ended {
	f.mu.Lock()
	for !c.done {
		switch {
		case f.err != nil:
			c.done, c.err = true, f.err
		case !f.receiving:
			f.receiving = true
			f.mu.Unlock()
			f.receive(c)
		default:
			c.waiting = true
			f.waiters = append(f.waiters, c)
			f.mu.Unlock()
			<-c.wake
			f.mu.Lock()
		}
	}
	e := ended{reply: c.reply, fd: c.fd, size: c.size, err: c.err}
	c.active, c.want.out = false, nil
	f.inFlight--
	f.bytes -= c.charge
	f.free = append(f.free, c)
	f.leave()
	f.mu.Unlock()
	return e
}

// rouse wakes a waiting call, which is at i in f.waiters. f.mu is held.
func (f *File) rouse(i int) {
	c := f.waiters[i]
	last := len(f.waiters) - 1
	f.waiters[i] = f.waiters[last]
	f.waiters[last] = nil
	f.waiters = f.waiters[:last]
	c.waiting = false
	c.wake <- struct{}{}
}

// stopReceiving lets another one receive. f.mu is held.
func (f *File) stopReceiving() {
	f.receiving = false
	if n := len(f.waiters); n > 0 {
		f.rouse(n - 1)
	}
}

// receive receives for all until mine is done or the host is gone. It returns with f.mu held.
func (f *File) receive(mine *call) {
	if f.buf == nil {
		f.buf = make([]byte, wire.ReplySize+max(f.maxInline, 8<<10))
	}
	buf := f.buf
	for {
		n, fd := 0, -1
		var e syscall.Errno
		if f.expectFD.Load() {
			n, fd, e = f.sock.RecvFD(buf)
		} else {
			n, e = f.sock.Recv(buf)
		}
		if e != 0 || n <= 0 {
			f.lost(e)
			return
		}
		t, id, err := wire.ParseHeader(buf, n)
		f.mu.Lock()
		if err == nil {
			switch t {
			case wire.MsgReply:
				err = f.reply(buf[:n], id)
			case wire.MsgBufferReply:
				if err = f.bufferReply(buf[:n], id, fd); err == nil {
					fd = -1
				}
			case wire.MsgGoodbye:
				err = f.goodbye(buf[:n])
			default:
				err = fmt.Errorf("%w: a message of type %d", wire.ErrProtocol, t)
			}
		}
		if err != nil {
			f.fail(err)
		}
		if fd >= 0 {
			_ = syscall.Close(fd)
		}
		if mine.done || f.err != nil {
			f.stopReceiving()
			return
		}
		f.mu.Unlock()
	}
}

// reply delivers a reply. f.mu is held.
func (f *File) reply(m []byte, id uint64) error {
	var h wire.ReplyHeader
	if err := h.Parse(m); err != nil {
		return err
	}
	c := f.find(id)
	if c == nil || c.want.kind != wire.MsgReply {
		return fmt.Errorf("%w: a reply to %#x, which waits for none", wire.ErrProtocol, id)
	}
	if uint64(h.OutLen) > uint64(c.want.outLen) || h.OutLen > 0 && h.Shared != c.want.shared {
		return fmt.Errorf("%w: %d bytes in reply to a request for %d", wire.ErrProtocol,
			h.OutLen, c.want.outLen)
	}
	if !h.Shared {
		copy(c.want.out, m[wire.ReplySize:])
	}
	c.reply = h
	f.deliver(c)
	return nil
}

// bufferReply delivers the shared buffer, or word that there is none. f.mu is held.
func (f *File) bufferReply(m []byte, id uint64, fd int) error {
	status, size, err := wire.ParseBufferReply(m)
	if err != nil {
		return err
	}
	c := f.find(id)
	if c == nil || c.want.kind != wire.MsgBufferReply {
		return fmt.Errorf("%w: a buffer that nobody asked for", wire.ErrProtocol)
	}
	c.reply = wire.ReplyHeader{ID: id, Status: status, IOStatus: status}
	c.fd, c.size = fd, size
	f.deliver(c)
	return nil
}

// deliver says that c is done. f.mu is held.
func (f *File) deliver(c *call) {
	c.done = true
	if c.waiting {
		for i, w := range f.waiters {
			if w == c {
				f.rouse(i)
				break
			}
		}
	}
}

// goodbye notes why the host ends the connection, as an error. f.mu is held.
func (f *File) goodbye(m []byte) error {
	status, text, err := wire.ParseGoodbye(m)
	if err != nil {
		return err
	}
	return &HostGoneError{Name: f.name, PID: f.pid, Status: notSuccess(status), Text: text}
}

// lost fails the File because nothing can be received any more. It returns with f.mu held.
func (f *File) lost(e syscall.Errno) {
	gone := &HostGoneError{Name: f.name, PID: f.pid, Status: nt.STATUS_DRIVER_PROCESS_TERMINATED}
	if e != 0 && e != syscall.ECONNRESET {
		gone.Cause = os.NewSyscallError("receive", e)
	}
	var err error = gone
	if e == syscall.ECONNRESET { // what came before may still be there
		if n, e := f.sock.TryRecv(f.buf); e == 0 && n > 0 {
			if t, _, perr := wire.ParseHeader(f.buf, n); perr == nil && t == wire.MsgGoodbye {
				err = f.goodbye(f.buf[:n])
			}
		}
	}
	f.mu.Lock()
	if f.closing { // the host has closed, and never saw what was sent after that
		err = errClosed
	}
	f.fail(err)
	f.stopReceiving()
}

// fail ends the File's working life: everything that waits and everything later fails with err,
// in a HostGoneError unless it is errClosed. f.mu is held.
func (f *File) fail(err error) {
	if f.err != nil {
		return
	}
	if _, ok := err.(*HostGoneError); !ok && err != errClosed {
		err = &HostGoneError{Name: f.name, PID: f.pid, Cause: err,
			Status: nt.STATUS_DRIVER_PROCESS_TERMINATED}
	}
	f.err = err
	f.sock.Shutdown()
	for len(f.waiters) > 0 {
		f.rouse(len(f.waiters) - 1)
	}
	f.changed.Broadcast()
}
