package wire

// What the host's kernel implements to serve clients, and the requests that it gets.

import (
	"sync/atomic"

	"github.com/drvhost/drvhost/nt"
)

// Backend opens Files. Its methods are called from many goroutines at once.
type Backend interface {
	// Open does what IRP_MJ_CREATE stands for, and waits for it. A File is returned when
	// result.Status is a success, and only then. An error is for what is not the driver's answer:
	// the client gets the nt.Status it wraps, else STATUS_UNSUCCESSFUL, and its text.
	Open(req *OpenRequest) (File, OpenResult, error)
}

// OpenRequest asks a Backend for a File. It is valid until Open returns.
type OpenRequest struct {
	Peer  Peer
	Hello *Hello
	conn  *Conn
	gone  chan struct{}
}

// Gone is closed when the client has ended while Open runs.
func (r *OpenRequest) Gone() <-chan struct{} { return r.gone }

// Blocking says that Open is about to wait, so that the end of the client is noticed: see
// [Request.Blocking]. Without it Gone is never closed.
func (r *OpenRequest) Blocking() {
	if r.conn != nil {
		r.conn.handOff(r.conn.opening)
	}
}

// OpenResult is how CREATE ended.
type OpenResult struct {
	Status      nt.Status
	Information uint64 // IoStatus.Information: FILE_OPENED and its kin
	FileID      uint64 // for logs
}

// CloseReason says why a File is closed.
type CloseReason uint8

// The reasons.
const (
	// CloseAsked: the client closed its handle. As on Windows CLEANUP comes first; what the driver
	// does not complete there is then cancelled, so that CLOSE can follow.
	CloseAsked CloseReason = iota
	// CloseGone: the client has ended, or the host ends. What was pending has been cancelled.
	CloseGone
)

// File is one open file object, and one thread to the driver: Start and Close are never called
// while a Start or a Close is under way.
type File interface {
	// Start begins a request. When the driver completes it at once, r.Complete is called before
	// Start returns; otherwise later, from any goroutine.
	Start(r *Request)
	// Cancel does what IoCancelIrp does to a request that Start was called for. It may be called
	// while Start runs and on any goroutine, and r may complete meanwhile; it must not wait for
	// the completion. r stays valid until Cancel returns.
	Cancel(r *Request)
	// Close does CLEANUP and CLOSE, and returns when every request has been completed. No other
	// call follows.
	Close(reason CloseReason)
}

// Request is one I/O request of a client. It belongs to the File from Start until Complete.
type Request struct {
	ID        uint64 // the client's name for it, unique among those outstanding
	Major     nt.MajorFunction
	Minor     uint8
	Code      uint32 // the control code, the information class or the SECURITY_INFORMATION
	Key       uint32 // of reads, writes and locks
	HasOffset bool
	Offset    int64 // in bytes; without HasOffset the file's own position counts
	// StackFlags are SL_ bits of the stack location.
	StackFlags uint8

	// In is the input and OutData the content of the output buffer (nil unless the client sent
	// it). Both may be read only until Start returns: they lie where the next message will be
	// received, or in memory that the client can change at any moment. Copy once, then look.
	In      []byte
	OutData []byte
	OutLen  int // bytes of output that the client has room for

	// Data is the File's own, nil at first; it stays when the Request is used again, which only a
	// request on the same File does. The File sees in Cancel what it stored in Start before it
	// called Blocking or returned.
	Data any

	conn      *Conn
	reply     []byte       // the message of the reply; Out lies behind its fixed part
	out       []byte       // where the output goes, once Out was called
	place     uint64       // in the shared buffer
	shared    bool         // the output goes to the shared buffer
	table     bool         // in conn.pending
	complete  bool         // Complete was called
	started   bool         // Start was called
	visible   bool         // cancels reach the File: Start has returned, or called Blocking
	cancelled bool         // a cancel came before that
	charge    int          // bytes of conn.bytes
	refs      atomic.Int32 // Start, Complete and each Cancel hold the Request
	stored    []byte       // a copy of In and OutData while it waits in the queue
}

// Out gives the memory for the output, OutLen bytes, to be filled before Complete. What it holds at
// first is undefined. It is taken when it is first asked for, so a pended request has none. The
// client may see and change it at any moment.
func (r *Request) Out() []byte {
	if r.out == nil {
		if r.shared {
			r.out, _ = r.conn.buffer.slice(r.place, uint32(r.OutLen))
		} else {
			r.reply = grow(r.reply, ReplySize+r.OutLen)
			r.out = r.reply[ReplySize:]
		}
	}
	return r.out
}

// Complete answers the request, exactly once: what the dispatch routine returned, IoStatus.Status,
// IoStatus.Information, and how many bytes of Out go to the client. It never blocks. The Request
// must not be used afterwards, but by Cancel and Start calls under way.
func (r *Request) Complete(status, ioStatus nt.Status, information uint64, outLen int) {
	outLen = max(0, min(outLen, r.OutLen))
	h := ReplyHeader{
		ID: r.ID, Shared: r.shared, Status: status, IOStatus: ioStatus,
		Information: information, OutLen: uint32(outLen),
	}
	n := ReplySize
	if outLen > 0 {
		r.Out()
		if !r.shared {
			n += outLen
		}
	}
	r.reply = grow(r.reply, n)[:n]
	h.put(r.reply)
	r.conn.completed(r)
}

// Blocking says that the goroutine on which Start runs is about to wait. Another one then takes
// over the connection, so that cancels and the end of the client are noticed; requests that arrive
// meanwhile wait, in order, until Start has returned. It may be called any number of times, from
// any goroutine, also when the request is complete; but not when Start has returned as well.
func (r *Request) Blocking() {
	if r.conn != nil {
		r.conn.handOff(r)
	}
}

// Peer gives the client's process.
func (r *Request) Peer() Peer { return r.conn.peer }

// grow gives a slice of n bytes, b's own memory where it is enough.
func grow(b []byte, n int) []byte {
	if cap(b) >= n {
		return b[:n]
	}
	return make([]byte, n, max(n, 256))
}

// userMajor says whether a client may send the major function in a version of the protocol. The
// others are the I/O manager's and the PnP manager's own, or drivers': CREATE, CLEANUP and CLOSE
// come with the connection, and INTERNAL_DEVICE_CONTROL from drivers only.
func userMajor(m nt.MajorFunction, version uint16) bool {
	switch m {
	case nt.IRP_MJ_READ, nt.IRP_MJ_WRITE, nt.IRP_MJ_QUERY_INFORMATION, nt.IRP_MJ_SET_INFORMATION,
		nt.IRP_MJ_FLUSH_BUFFERS, nt.IRP_MJ_QUERY_VOLUME_INFORMATION,
		nt.IRP_MJ_SET_VOLUME_INFORMATION, nt.IRP_MJ_DIRECTORY_CONTROL,
		nt.IRP_MJ_FILE_SYSTEM_CONTROL, nt.IRP_MJ_DEVICE_CONTROL, nt.IRP_MJ_LOCK_CONTROL,
		nt.IRP_MJ_QUERY_SECURITY, nt.IRP_MJ_SET_SECURITY:
		return true
	case nt.IRP_MJ_SHUTDOWN:
		return version >= 2
	}
	return false
}
