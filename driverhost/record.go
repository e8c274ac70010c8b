package driverhost

import (
	"sync"

	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/irp/trace"
	"github.com/drvhost/drvhost/nt"
)

// Recording a host's sessions: what clients ask and what comes back, as a trace. A session of a host
// that is not recorded has no recording, and pays one look at a nil pointer for each request.

// Record has what clients do from now on written to w: every file that is opened later, by clients of
// this process and of others. nil ends it; files that are open then are recorded until their end. The
// caller closes w when the host is closed.
func (h *Host) Record(w *trace.Writer) { h.recorder.Store(w) }

// recording is the recording of a session.
type recording struct {
	w    *trace.Writer
	file uint32
	turn sync.Mutex // dispatches, so that requests stand in the order in which the driver sees them

	mu   sync.Mutex
	ids  map[*irp.Request]uint64 // of what is under way
	free []*recordedCall
}

// recordedCall stands between a request and its client while the request is under way.
type recordedCall struct {
	rec    *recording
	client irp.Client
	id     uint64
	out    []byte // the client's memory, once it was asked for
}

// openRecorded is openSession of a host that is recorded.
func (h *Host) openRecorded(w *trace.Writer, o opening) (s *session, status nt.Status,
	information uint64, err error) {
	rec := &recording{w: w, ids: make(map[*irp.Request]uint64)}
	rec.file = w.Open(&trace.Open{Name: o.name, Access: o.info.Access,
		Share: uint32(o.info.ShareAccess), Disposition: uint32(o.info.Disposition),
		Options: o.info.Options, Attributes: uint32(o.info.FileAttributes),
		Client: trace.Client{PID: o.client.pid, UID: o.client.uid, GID: o.who.GID,
			Groups: o.who.Groups, Program: o.program()}})
	o.rec = rec
	s, status, information, err = h.openSession(o)
	if err != nil && status.Success() {
		status = StatusGone
	}
	w.Opened(rec.file, status, information)
	return s, status, information, err
}

// start is session.dispatch, recorded.
func (rec *recording) start(s *session, r *irp.Request) (done bool) {
	t := trace.Request{File: rec.file, Major: r.Major, Minor: r.Minor, Flags: r.Flags,
		Code: uint32(r.Code), Key: r.Key, Offset: trace.FilePosition, In: r.In, OutSize: r.OutLen}
	if r.Major == nt.IRP_MJ_READ || r.Major == nt.IRP_MJ_WRITE || r.Major == nt.IRP_MJ_LOCK_CONTROL {
		t.Offset = r.Offset
	}
	if shared(r) && !allZero(r.OutData) {
		t.OutBefore = r.OutData
	}
	rec.turn.Lock()
	defer rec.turn.Unlock()
	c := rec.begin(r, &t)
	if c == nil {
		return s.dispatch(r)
	}
	if done = s.dispatch(r); done {
		rec.end(c, r)
	}
	return done
}

// shared reports whether a driver sees the client's own output buffer.
func shared(r *irp.Request) bool {
	switch r.Major {
	case nt.IRP_MJ_DEVICE_CONTROL, nt.IRP_MJ_FILE_SYSTEM_CONTROL:
		return r.Code.Method() != nt.METHOD_BUFFERED
	}
	return true
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// begin notes a request, and puts a call between it and its client. nil says that the trace cannot
// have it.
func (rec *recording) begin(r *irp.Request, t *trace.Request) *recordedCall {
	if trace.OpName(t.Major) == "" {
		return nil
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	id := rec.w.Request(t)
	if id == 0 {
		return nil
	}
	var c *recordedCall
	if n := len(rec.free); n > 0 {
		c, rec.free = rec.free[n-1], rec.free[:n-1]
	} else {
		c = &recordedCall{rec: rec}
	}
	c.client, c.id, c.out = r.Client, id, nil
	r.Client = c
	rec.ids[r] = id
	return c
}

// end notes a request's result and steps out of its way.
func (rec *recording) end(c *recordedCall, r *irp.Request) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.w.Result(&trace.Result{ID: c.id, Status: r.Status, IOStatus: r.IOStatus,
		Information: r.Information, Out: c.out[:min(r.Written, len(c.out))]})
	delete(rec.ids, r)
	r.Client = c.client
	c.client, c.out = nil, nil
	rec.free = append(rec.free, c)
}

// Out gives the client's memory.
func (c *recordedCall) Out(r *irp.Request) []byte {
	c.out = c.client.Out(r)
	return c.out
}

// Done notes the result and tells the client.
func (c *recordedCall) Done(r *irp.Request) {
	client := c.client
	c.rec.end(c, r)
	client.Done(r)
}

// cancelled notes that a request is about to be cancelled.
func (rec *recording) cancelled(r *irp.Request) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if id, ok := rec.ids[r]; ok {
		rec.w.Cancel(id)
	}
}
