package driverhost

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
)

// backend serves the clients of a socket with a host's devices.
type backend struct{ h *Host }

// remoteFile is a session of a client in another process.
type remoteFile struct {
	*session
	name    string // that the client opened
	peer    wire.Peer
	current atomic.Pointer[wire.Request] // that Start is at
}

// remoteCall carries a client's request to the driver and its result back. There is one for each
// wire.Request, which is reused.
type remoteCall struct {
	irp.Request
	wire *wire.Request
}

// Open does the client's CREATE.
func (b backend) Open(req *wire.OpenRequest) (wire.File, wire.OpenResult, error) {
	hello := req.Hello
	f := &remoteFile{name: hello.Name, peer: req.Peer}
	var opened atomic.Bool
	blocking := func() {
		if !opened.Load() {
			req.Blocking()
		} else if r := f.current.Load(); r != nil {
			r.Blocking()
		}
	}
	s, status, information, err := b.h.openSession(opening{
		client:  client{int(req.Peer.PID), req.Peer.UID},
		program: func() string { return processName(req.Peer.PID, hello.Program) },
		name:    hello.Name,
		info: irp.OpenInfo{
			OpenInfo: devobj.OpenInfo{Access: nt.MapGenericAccess(hello.Access, nt.FileGenericMapping),
				ShareAccess: uint16(hello.Share), Options: hello.Options},
			Disposition: uint8(hello.Disposition), FileAttributes: uint16(hello.Attributes),
		},
		subject:  ntoskrnl.SubjectSIDs(req.Peer.UID, append(req.Peer.Groups, req.Peer.GID)...),
		blocking: blocking, gone: req.Gone(),
		who: Identity{GID: req.Peer.GID, Groups: req.Peer.Groups},
	})
	opened.Store(true)
	result := wire.OpenResult{Status: status, Information: information}
	if s == nil {
		return nil, result, err
	}
	f.session = s
	result.FileID = uint64(s.open.Load().File.Object.Addr())
	return f, result, nil
}

// processName gives the name of a process's program: what Linux says, or, from a sandbox that keeps
// the host from looking, what the process says itself.
func processName(pid int32, own string) string {
	if comm, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/comm"); err == nil {
		return strings.TrimSpace(string(comm))
	}
	if own == "" {
		return "client"
	}
	return Printable(own)
}

// Start begins a request.
func (f *remoteFile) Start(r *wire.Request) {
	call, ok := r.Data.(*remoteCall)
	if !ok {
		call = &remoteCall{wire: r}
		call.Client = call
		r.Data = call
	}
	call.Major, call.Minor = r.Major, r.Minor
	call.Code, call.Key, call.Flags = nt.IOCTL(r.Code), r.Key, r.StackFlags
	call.In, call.OutData, call.OutLen = r.In, r.OutData, r.OutLen
	call.Offset = irp.FilePosition
	if r.HasOffset {
		call.Offset = r.Offset
	}
	if r.Major == nt.IRP_MJ_SHUTDOWN && !f.h.owns(f.peer.UID) {
		r.Complete(nt.STATUS_ACCESS_DENIED, nt.STATUS_ACCESS_DENIED, 0, 0)
		return
	}
	f.current.Store(r)
	done := f.start(&call.Request)
	f.current.Store(nil)
	if done {
		call.Done(&call.Request)
	}
}

// Cancel cancels a request.
func (f *remoteFile) Cancel(r *wire.Request) {
	if call, ok := r.Data.(*remoteCall); ok {
		f.cancel(&call.Request)
	}
}

// Close ends the file.
func (f *remoteFile) Close(reason wire.CloseReason) { f.close(reason == wire.CloseGone) }

// Out gives the memory for the output.
func (c *remoteCall) Out(*irp.Request) []byte { return c.wire.Out() }

// Done sends the reply.
func (c *remoteCall) Done(r *irp.Request) {
	c.In, c.OutData = nil, nil
	c.wire.Complete(r.Status, r.IOStatus, r.Information, r.Written)
}
