package irp

import (
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// Open is an open file as a client has it: the file object, and the requests on it.
type Open struct {
	File   *devobj.File
	Thread *ke.Thread
	Access uint32 // granted ACCESS_MASK
	Window *mm.Window
	// Iosb is the address of the client's IO_STATUS_BLOCK, in its window.
	Iosb guest.Addr

	mu      sync.Mutex
	pending *Request // requests in flight, a doubly linked list
	idle    sync.Cond
}

// NewOpen makes the client's side of a file object.
func NewOpen(f *devobj.File, t *ke.Thread, access uint32, w *mm.Window, iosb guest.Addr) *Open {
	o := &Open{File: f, Thread: t, Access: access, Window: w, Iosb: iosb}
	o.idle.L = &o.mu
	return o
}

// Client is who made a request.
type Client interface {
	// Out gives OutLen bytes of memory for the output. It is called at most once, before Done, when
	// there is any.
	Out(r *Request) []byte
	// Done is called once, when the request is done, on whatever goroutine completed it. It must not
	// block.
	Done(r *Request)
}

// NoOffset as a request's offset stands for the file's current position.
const NoOffset int64 = -1

// Request is a client's I/O request. The caller fills in the first part, hands it to Start
// and leaves it alone until Client.Done is called; then the second part is true. It may be used again.
type Request struct {
	Open  *Open
	Major nt.MajorFunction
	Minor uint8
	// Code is an IOCTL's.
	Code nt.IOCTL
	// In is what the client sends: a write's data, an IOCTL's input. It is read before Start returns.
	In []byte
	// OutLen is the size of the client's output buffer in bytes. OutData is what it holds, for the
	// methods by which a driver sees the client's own buffer (all but METHOD_BUFFERED); nil stands
	// for zeros. It is read before Start returns.
	OutLen  int
	OutData []byte
	// Offset in bytes of a read or write; NoOffset for the file's position.
	Offset int64
	Key    uint32
	// Params is the stack location's Parameters, for the functions that have no field here.
	Params nt.Parameters
	// Client gets the results.
	Client Client

	// Status is what the call returns, IOStatus and Information what the IRP was completed with.
	// Written is how many bytes of the client's output buffer were filled.
	Status      nt.Status
	IOStatus    nt.Status
	Information uint64
	Written     int

	packet *packet
	state  atomic.Uint32
	system guest.Addr // SystemBuffer
	mdl    guest.Addr
	locked bool          // the pages of the MDL are
	window [2]guest.Addr // copies of In and Out in the client's window
	next   *Request      // in Open.pending
	prev   *Request
	linked bool
}

// The two halves of a request's end, and the end without them.
const (
	stateReturned  = 1 // the dispatch routine has returned
	stateCompleted = 2 // the IRP is completed
	stateAbandoned = 4 // the kernel has ended
	stateDone      = stateReturned | stateCompleted
)

func (o *Open) link(r *Request) {
	o.mu.Lock()
	r.next, r.prev = o.pending, nil
	if o.pending != nil {
		o.pending.prev = r
	}
	o.pending = r
	r.linked = true
	o.mu.Unlock()
}

func (o *Open) unlink(r *Request) {
	o.mu.Lock()
	if r.linked {
		if r.prev != nil {
			r.prev.next = r.next
		} else {
			o.pending = r.next
		}
		if r.next != nil {
			r.next.prev = r.prev
		}
		r.next, r.prev, r.linked = nil, nil, false
	}
	if o.pending == nil {
		o.idle.Broadcast()
	}
	o.mu.Unlock()
}

// Pending counts the requests in flight.
func (o *Open) Pending() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for r := o.pending; r != nil; r = r.next {
		n++
	}
	return n
}

// half records one half of a request's end, and finishes it with the second.
func (r *Request) half(bit uint32) {
	if r.state.Or(bit)|bit == stateDone {
		r.finish()
	}
}

// Abandon ends a request whose kernel has ended, with the given status, unless it is done.
func (r *Request) Abandon(status nt.Status) {
	old := r.state.Or(stateAbandoned)
	if old&stateAbandoned == 0 && old&stateDone != stateDone {
		r.Status, r.IOStatus, r.Information, r.Written = status, status, 0, 0
		r.finish()
	}
}

// AbandonAll ends every request in flight on the file.
func (o *Open) AbandonAll(status nt.Status) {
	for {
		o.mu.Lock()
		r := o.pending
		for r != nil && r.state.Load()&stateAbandoned != 0 {
			r = r.next
		}
		o.mu.Unlock()
		if r == nil {
			return
		}
		r.Abandon(status)
	}
}

// finish tells the client.
func (r *Request) finish() {
	if r.Status == nt.STATUS_PENDING {
		r.Status = r.IOStatus
	}
	r.Open.unlink(r)
	r.Client.Done(r)
}
