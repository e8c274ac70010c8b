package client_test

// A backend that stands for a kernel with one driver: what the control codes below do.

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/nt"

	"github.com/stretchr/testify/require"
)

const (
	ioctlEcho     = 0x222000 // METHOD_BUFFERED: input comes back
	ioctlPend     = 0x222004 // pends until cancelled or released
	ioctlBlock    = 0x222008 // waits inside Start until released, or cancelled
	ioctlWarn     = 0x22200c // half of the input, and STATUS_BUFFER_OVERFLOW
	ioctlFail     = 0x222010 // STATUS_INVALID_DEVICE_REQUEST
	ioctlStatus   = 0x222014 // the status that the input holds, pended
	ioctlLie      = 0x222018 // Information is far too large
	ioctlDie      = 0x22201c // the process is killed
	ioctlAdd1     = 0x222023 // METHOD_NEITHER: adds 1 to each byte that out held
	ioctlDeaf     = 0x222024 // pends; a cancel completes it as a success
	ioctlLater    = 0x222028 // echo from another goroutine
	ioctlDirect   = 0x22202e // METHOD_OUT_DIRECT: writes the first byte, Information 0
	ioctlGoodbye  = 0x222030 // Abort with a text
	ioctlInfoOnly = 0x222034 // Information is 7, no output
)

type fakeBackend struct {
	openDelay chan struct{} // Open waits for it
	closed    atomic.Int32
	asked     atomic.Int32
	cancels   atomic.Int32
	opens     atomic.Int32
	abort     func(nt.Status, string)
	mu        sync.Mutex
	files     []*fakeFile
	hello     *wire.Hello
	peer      wire.Peer
}

func (b *fakeBackend) Open(r *wire.OpenRequest) (wire.File, wire.OpenResult, error) {
	b.opens.Add(1)
	b.mu.Lock()
	b.hello, b.peer = r.Hello, r.Peer
	b.mu.Unlock()
	link, _ := wire.SplitDeviceName(r.Hello.Name)
	switch link {
	case "Refuse":
		return nil, wire.OpenResult{Status: nt.STATUS_ACCESS_DENIED}, nil
	case "Broken":
		return nil, wire.OpenResult{}, errors.New("the driver has no CREATE")
	case "Slow":
		r.Blocking()
		select {
		case <-r.Gone():
			b.closed.Add(1)
			return nil, wire.OpenResult{Status: nt.STATUS_CANCELLED}, nil
		case <-b.openDelay:
		}
	}
	f := &fakeFile{b: b, release: make(chan struct{}), pending: map[*wire.Request]bool{}}
	b.mu.Lock()
	b.files = append(b.files, f)
	b.mu.Unlock()
	return f, wire.OpenResult{Information: 1, FileID: uint64(b.opens.Load())}, nil
}

// last gives what the last Open was asked, and by whom.
func (b *fakeBackend) last() (*wire.Hello, wire.Peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hello, b.peer
}

type fakeFile struct {
	b        *fakeBackend
	release  chan struct{}
	mu       sync.Mutex
	pending  map[*wire.Request]bool
	pos      int64
	content  []byte
	order    []uint32
	inStart  atomic.Int32
	overlaps atomic.Int32
}

func (f *fakeFile) Start(r *wire.Request) {
	switch { // the path that the benchmarks take
	case r.Major == nt.IRP_MJ_DEVICE_CONTROL && r.Code == ioctlEcho:
		n := copy(r.Out(), r.In)
		r.Complete(0, 0, uint64(n), n)
		return
	}
	if f.inStart.Add(1) != 1 {
		f.overlaps.Add(1)
	}
	defer f.inStart.Add(-1)
	f.mu.Lock()
	f.order = append(f.order, r.Code)
	f.mu.Unlock()
	switch r.Major {
	case nt.IRP_MJ_DEVICE_CONTROL:
		f.control(r)
	case nt.IRP_MJ_READ:
		f.read(r)
	case nt.IRP_MJ_WRITE:
		f.write(r)
	case nt.IRP_MJ_FLUSH_BUFFERS:
		r.Complete(0, 0, 0, 0)
	default:
		r.Complete(nt.STATUS_INVALID_DEVICE_REQUEST, nt.STATUS_INVALID_DEVICE_REQUEST, 0, 0)
	}
}

// started gives the codes of the requests in the order in which they were started.
func (f *fakeFile) started() []uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.order
}

func (f *fakeFile) pend(r *wire.Request) {
	f.mu.Lock()
	f.pending[r] = true
	f.mu.Unlock()
}

func (f *fakeFile) unpend(r *wire.Request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	ok := f.pending[r]
	delete(f.pending, r)
	return ok
}

func (f *fakeFile) control(r *wire.Request) {
	switch r.Code {
	case ioctlPend, ioctlDeaf:
		r.Data = r.Code
		f.pend(r)
	case ioctlLater:
		r.Data = r.Code
		n := copy(r.Out(), r.In)
		go r.Complete(nt.STATUS_PENDING, 0, uint64(n), n)
	case ioctlBlock:
		cancelled := make(chan struct{})
		r.Data = cancelled
		r.Blocking()
		select {
		case <-f.release:
			r.Complete(0, 0, 5, 0)
		case <-cancelled:
			r.Complete(nt.STATUS_CANCELLED, nt.STATUS_CANCELLED, 0, 0)
		}
	case ioctlWarn:
		n := copy(r.Out(), r.In[:len(r.In)/2])
		r.Complete(nt.STATUS_BUFFER_OVERFLOW, nt.STATUS_BUFFER_OVERFLOW, uint64(n), n)
	case ioctlFail:
		r.Complete(nt.STATUS_INVALID_DEVICE_REQUEST, nt.STATUS_INVALID_DEVICE_REQUEST, 0, 0)
	case ioctlStatus:
		s := nt.Status(binary.LittleEndian.Uint32(r.In))
		r.Complete(nt.STATUS_PENDING, s, 0, 0)
	case ioctlLie:
		r.Complete(0, 0, 1<<63+17, 1<<30)
	case ioctlDie:
		p, _ := os.FindProcess(os.Getpid())
		p.Kill()
		select {}
	case ioctlAdd1:
		out := r.Out()
		for i, b := range r.OutData {
			out[i] = b + 1
		}
		r.Complete(0, 0, 0, len(out))
	case ioctlDirect:
		out := r.Out()
		copy(out, r.OutData)
		out[0] = 'X'
		r.Complete(0, 0, 0, len(out))
	case ioctlGoodbye:
		f.b.abort(nt.STATUS_DRIVER_PROCESS_TERMINATED, "bugcheck 0x1E in foo.sys+0x1234")
		f.pend(r)
		r.Data = r.Code
	case ioctlInfoOnly:
		r.Complete(0, 0, 7, 0)
	default:
		r.Complete(nt.STATUS_INVALID_DEVICE_REQUEST, nt.STATUS_INVALID_DEVICE_REQUEST, 0, 0)
	}
}

func (f *fakeFile) read(r *wire.Request) {
	f.mu.Lock()
	at := f.pos
	if r.HasOffset {
		at = r.Offset
	}
	var n int
	if at < int64(len(f.content)) {
		n = copy(r.Out(), f.content[at:])
	}
	if !r.HasOffset {
		f.pos += int64(n)
	}
	f.mu.Unlock()
	if n == 0 && r.OutLen > 0 {
		r.Complete(nt.STATUS_END_OF_FILE, nt.STATUS_END_OF_FILE, 0, 0)
		return
	}
	r.Complete(0, 0, uint64(n), n)
}

func (f *fakeFile) write(r *wire.Request) {
	f.mu.Lock()
	at := f.pos
	if r.HasOffset {
		at = r.Offset
	}
	if end := at + int64(len(r.In)); end > int64(len(f.content)) {
		f.content = append(f.content, make([]byte, end-int64(len(f.content)))...)
	}
	n := copy(f.content[at:], r.In)
	if !r.HasOffset {
		f.pos += int64(n)
	}
	f.mu.Unlock()
	r.Complete(0, 0, uint64(n), 0)
}

func (f *fakeFile) Cancel(r *wire.Request) {
	f.b.cancels.Add(1)
	if c, ok := r.Data.(chan struct{}); ok {
		f.mu.Lock()
		defer f.mu.Unlock()
		select {
		case <-c:
		default:
			close(c)
		}
		return
	}
	if f.unpend(r) {
		if r.Data == uint32(ioctlDeaf) {
			r.Complete(nt.STATUS_PENDING, 0, 3, 0)
			return
		}
		r.Complete(nt.STATUS_PENDING, nt.STATUS_CANCELLED, 0, 0)
	}
}

func (f *fakeFile) Close(reason wire.CloseReason) {
	f.mu.Lock()
	var rest []*wire.Request
	for r := range f.pending {
		rest = append(rest, r)
	}
	f.mu.Unlock()
	for _, r := range rest {
		if f.unpend(r) {
			r.Complete(nt.STATUS_PENDING, nt.STATUS_CANCELLED, 0, 0)
		}
	}
	if reason == wire.CloseAsked {
		f.b.asked.Add(1)
	}
	f.b.closed.Add(1)
}

// host is a server in this process, with the device names of the fake backend.
type host struct {
	t      testing.TB
	dir    string
	b      *fakeBackend
	server *wire.Server
	served chan error
}

func newHost(t testing.TB, cfg wire.Config) *host {
	t.Helper()
	h := &host{t: t, dir: filepath.Join(t.TempDir(), "run"), served: make(chan error, 1),
		b: &fakeBackend{openDelay: make(chan struct{})}}
	cfg.Backend = h.b
	if cfg.Logf == nil {
		cfg.Logf = t.Logf
	}
	var quiet atomic.Bool // a late log line would fail the test
	logf := cfg.Logf
	cfg.Logf = func(format string, args ...any) {
		if !quiet.Load() {
			logf(format, args...)
		}
	}
	h.server = wire.NewServer(cfg)
	h.b.abort = h.server.Abort
	require.NoError(t, h.server.ListenRuntime(h.dir))
	for _, n := range []string{"Echo", "Refuse", "Broken", "Slow"} {
		require.NoError(t, wire.Claim(h.dir, n, h.server.Socket()))
	}
	go func() { h.served <- h.server.Serve() }()
	t.Cleanup(func() {
		h.server.Shutdown(nt.STATUS_DEVICE_REMOVED, "the test is over")
		if !h.server.Wait(10 * time.Second) {
			t.Errorf("connections that do not end: %+v", h.server.Outstanding())
		}
		quiet.Store(true)
	})
	return h
}

func (h *host) open(name string, opts ...client.Option) *client.File {
	h.t.Helper()
	f, err := client.Open(name, append([]client.Option{client.RuntimeDir(h.dir)}, opts...)...)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { f.Close() })
	return f
}

// file gives the fake backend's last opened file.
func (h *host) file() *fakeFile {
	h.b.mu.Lock()
	defer h.b.mu.Unlock()
	return h.b.files[len(h.b.files)-1]
}

// eventually waits for a fact that another goroutine brings about.
func eventually(t testing.TB, fact func() bool) {
	t.Helper()
	require.Eventually(t, fact, 20*time.Second, time.Millisecond)
}

var bg = context.Background()
