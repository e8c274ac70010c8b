package irp

import (
	"math"
	"slices"
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
	// Window is the client's memory; nil of a file that the kernel has open.
	Window *mm.Window
	// Iosb is the address of the client's IO_STATUS_BLOCK, in its window.
	Iosb guest.Addr

	mu      sync.Mutex
	pending *Request // requests whose IRP is not completed, a doubly linked list
	idle    sync.Cond
	spare   *packet // kept for the next request
}

// NewOpen makes the client's side of a file object.
func NewOpen(f *devobj.File, t *ke.Thread, access uint32, w *mm.Window, iosb guest.Addr) *Open {
	o := &Open{File: f, Thread: t, Access: access, Window: w, Iosb: iosb}
	o.idle.L = &o.mu
	return o
}

// mode gives the mode of the file's requests.
func (o *Open) mode() nt.ProcessorMode {
	if o.Window == nil {
		return nt.KernelMode
	}
	return nt.UserMode
}

// Client is who made a request.
type Client interface {
	// Out gives OutLen bytes of memory for the output. It is called at most once, before Done, when
	// there is any.
	Out(r *Request) []byte
	// Done is called once, when the request is done, on whatever goroutine completed it, unless Start
	// has said so. It must not block.
	Done(r *Request)
}

// FilePosition as a request's offset stands for the file's current position: Windows'
// FILE_USE_FILE_POINTER_POSITION. EndOfFile, of a write, is FILE_WRITE_TO_END_OF_FILE
// ("ZwWriteFile function (wdm.h)").
const (
	EndOfFile    int64 = -1
	FilePosition int64 = -2
)

// MaxTransfer is the most bytes of input or output that an IRP can tell of.
const MaxTransfer = math.MaxUint32

// Request is a client's I/O request. The caller fills in the first part, hands it to Start
// and leaves it alone until that says that it is done, or Client.Done is called; then the second part
// is true. It may be used again.
type Request struct {
	Open  *Open
	Major nt.MajorFunction
	Minor uint8
	// Flags are the stack location's: SL_RESTART_SCAN and the like, where a caller may choose them.
	Flags uint8
	// Code is an IOCTL's; of a query or a set it is the information class or the SECURITY_INFORMATION.
	Code nt.IOCTL
	// In is what the client sends: a write's data, an IOCTL's input. It is read before Start returns.
	In []byte
	// OutLen is the size of the client's output buffer in bytes. OutData is what it holds, for the
	// methods by which a driver sees the client's own buffer (all but METHOD_BUFFERED); nil stands
	// for zeros. It is read before Start returns.
	OutLen  int
	OutData []byte
	// Offset in bytes of a read or write; FilePosition for the file's position.
	Offset int64
	Key    uint32
	// Params is the stack location's Parameters, for the functions that have no field here.
	Params nt.Parameters
	// Buffers are the addresses of In and Out in kernel memory, of a request on a file that the kernel
	// has open: In is a copy of the first then, and output that is not copied stays in the second.
	Buffers [2]guest.Addr
	// Client gets the results.
	Client Client

	// Status is what the call returns, IOStatus and Information what the IRP was completed with.
	// Written is how many bytes of the client's output buffer were filled.
	Status      nt.Status
	IOStatus    nt.Status
	Information uint64
	Written     int

	// starter is the thread of the Start; only that thread looks at dispatching, which says that the
	// dispatch routine has not returned, and inline, which says that the IRP was completed meanwhile on
	// the same thread.
	starter     *ke.Thread
	dispatching bool
	inline      bool
	// ending is how the IRP was completed, when it is.
	ending ending

	state  atomic.Uint64 // the count of uses, and the bits of this one
	system guest.Addr    // SystemBuffer
	mdl    guest.Addr
	aux    guest.Addr    // AuxiliaryBuffer
	window [2]guest.Addr // copies of In and Out in the client's window

	// Under Open.mu:
	packet *packet // not nil while the request is in Open.pending
	next   *Request
	prev   *Request
}

// What has become of a request that is not completed inline. Its end has two halves, the dispatch routine's return and the IRP's
// completion, in either order; the second tells the client. When the kernel has crashed, a half may
// never come.
const (
	stateReturned   = 1 << iota // the dispatch routine has returned
	stateDelivering             // the IRP is being completed: results go to the client's memory
	stateCompleted              // it is
	stateAbandoned              // the kernel has crashed or ended

	useShift = 8 // the count of uses lies above the bits
)

// renew begins a new use of the request, on thread t. After a use that ended inline the state is still
// as it was at its start.
func (r *Request) renew(t *ke.Thread) {
	r.starter, r.dispatching, r.inline = t, false, false
	if s := r.state.Load(); s&(1<<useShift-1) != 0 {
		r.state.Store((s>>useShift + 1) << useShift)
	}
	r.Status, r.IOStatus, r.Information, r.Written = nt.STATUS_PENDING, 0, 0, 0
	r.ending = ending{}
}

// use tells this use of the request from others, unless those ended inline.
func (r *Request) use() uint64 { return r.state.Load() >> useShift }

// begin puts r, with an IRP of n stack locations, among the pending requests.
func (m *Manager) begin(r *Request, n int8) (*packet, error) {
	o := r.Open
	o.mu.Lock()
	p := o.spare
	if p != nil && n <= p.room {
		o.spare = nil
		p.begin(n)
	} else {
		o.mu.Unlock()
		var err error
		if p, err = m.slabs.alloc(n); err != nil {
			return nil, err
		}
		o.mu.Lock()
	}
	p.req, p.reqUse = r, r.use()
	if o.Window == nil {
		m.owned.add(p, r.starter)
	}
	r.packet = p
	r.next, r.prev = o.pending, nil
	if o.pending != nil {
		o.pending.prev = r
	}
	o.pending = r
	o.mu.Unlock()
	return p, nil
}

// finishPacket takes r, whose IRP's life has just ended, out of the pending requests.
func (m *Manager) finishPacket(r *Request, p *packet) {
	o := r.Open
	o.mu.Lock()
	if r.packet == p {
		o.unlink(r)
	}
	if o.spare == nil {
		o.spare, p = p, nil
	}
	o.mu.Unlock()
	if p != nil {
		m.slabs.put(p)
	}
}

// unlink takes r out of the list; o.mu is held.
func (o *Open) unlink(r *Request) {
	r.packet = nil
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		o.pending = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	}
	r.next, r.prev = nil, nil
	if o.pending == nil {
		o.idle.Broadcast()
	}
}

// Pending counts the requests whose IRPs are not completed.
func (o *Open) Pending() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for r := o.pending; r != nil; r = r.next {
		n++
	}
	return n
}

// RequestInfo is what a pending request asks for.
type RequestInfo struct {
	Major nt.MajorFunction
	Code  nt.IOCTL // of a DEVICE_CONTROL
}

// Requests gives the requests whose IRPs are not completed, oldest first.
func (o *Open) Requests() (all []RequestInfo) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for r := o.pending; r != nil; r = r.next {
		all = append(all, RequestInfo{r.Major, r.Code})
	}
	slices.Reverse(all)
	return all
}

// Dispatching gives the request whose dispatch routine the calling thread is in, and its IRP; ok is
// false if it is in none of this file's.
func (o *Open) Dispatching(t *ke.Thread) (r *Request, irp guest.Addr, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for r := o.pending; r != nil; r = r.next {
		if r.starter == t && r.dispatching && r.packet != nil {
			return r, r.packet.addr, true
		}
	}
	return nil, 0, false
}

// Pended reports whether the IRP was marked pending when it was completed: if it was not and the status
// is an error, Windows leaves the caller's IO_STATUS_BLOCK and event alone.
func (r *Request) Pended() bool { return r.ending.marked }

// returned records that the dispatch routine has returned, and reports whether the request is done.
func (r *Request) returned() (done bool) {
	return r.state.Or(stateReturned)&stateCompleted != 0
}

// deliver says that the results of the given use are about to go to the client's memory, and reports
// whether they may: that use is not abandoned, and perhaps over.
func (r *Request) deliver(use uint64) bool {
	for {
		s := r.state.Load()
		if s>>useShift != use || s&stateAbandoned != 0 {
			return false
		}
		if r.state.CompareAndSwap(s, s|stateDelivering) {
			return true
		}
	}
}

// completed records that the IRP is completed, after deliver. It reports whether what the dispatch
// routine had returned by then fits that, and what it was.
func (r *Request) completed() (returned nt.Status, fits bool) {
	s := r.state.Or(stateCompleted)
	if s&(stateReturned|stateAbandoned) == 0 {
		return 0, true
	}
	returned = r.Status
	fits = s&stateAbandoned != 0 || r.ending.fits(returned)
	r.tell()
	return returned, fits
}

// Abandon ends a request whose Start did not return, because the kernel has crashed or ended: its
// starter calls it. The request then fails with the given status.
func (r *Request) Abandon(status nt.Status) {
	o := r.Open
	o.mu.Lock()
	if r.packet != nil {
		o.unlink(r)
	}
	o.mu.Unlock()
	r.abandon(status)
}

func (r *Request) abandon(status nt.Status) {
	s := r.state.Or(stateAbandoned)
	switch {
	case s&stateAbandoned != 0, s&stateReturned != 0 && s&stateCompleted != 0:
		return // it is done
	case s&stateCompleted != 0:
		r.tell() // with what the driver completed it with
	case s&stateDelivering == 0:
		r.Status, r.IOStatus, r.Information, r.Written = status, status, 0, 0
		r.tell()
	}
	// Else whoever delivers the results tells.
}

// AbandonAll ends every request on the file that is pending, when the kernel has crashed or ended.
// One whose Start has not returned is left to its starter, who calls Abandon.
func (o *Open) AbandonAll(status nt.Status) {
	var all []*Request
	o.mu.Lock()
	for r := o.pending; r != nil; {
		next := r.next
		if r.state.Load()&stateReturned != 0 {
			o.unlink(r)
			all = append(all, r)
		}
		r = next
	}
	o.mu.Unlock()
	for _, r := range all {
		r.abandon(status)
	}
}

// settle gives the status of a call that has waited for its completion.
func (r *Request) settle() {
	if r.Status == nt.STATUS_PENDING {
		r.Status = r.IOStatus
	}
}

// tell tells the client that the request is done.
func (r *Request) tell() {
	r.settle()
	r.Client.Done(r)
}
