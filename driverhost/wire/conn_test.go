package wire

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drvhost/drvhost/nt"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// stub is a File whose reads pend, whose writes block inside Start until released, and whose other
// requests echo their input.
type stub struct {
	mu      sync.Mutex
	pending map[*Request]bool
	release chan struct{}
	closed  atomic.Int32
	cancels atomic.Int32
}

func (s *stub) Open(r *OpenRequest) (File, OpenResult, error) {
	if r.Hello.Name != "Echo" {
		return nil, OpenResult{Status: nt.STATUS_OBJECT_NAME_NOT_FOUND}, nil
	}
	return s, OpenResult{FileID: 1}, nil
}

func (s *stub) Start(r *Request) {
	switch r.Major {
	case nt.IRP_MJ_READ:
		s.mu.Lock()
		s.pending[r] = true
		s.mu.Unlock()
	case nt.IRP_MJ_WRITE:
		stop := make(chan struct{})
		r.Data = stop
		r.Blocking()
		select {
		case <-s.release:
		case <-stop:
		}
		r.Complete(0, 0, uint64(len(r.In)), 0)
	default:
		n := copy(r.Out(), r.In)
		r.Complete(0, 0, uint64(n), n)
	}
}

func (s *stub) Cancel(r *Request) {
	s.cancels.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending[r] {
		delete(s.pending, r)
		r.Complete(nt.STATUS_PENDING, nt.STATUS_CANCELLED, 0, 0)
	}
	if c, ok := r.Data.(chan struct{}); ok {
		select {
		case <-c:
		default:
			close(c)
		}
	}
}

func (s *stub) Close(CloseReason) {
	s.closed.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.pending {
		delete(s.pending, r)
		r.Complete(nt.STATUS_PENDING, nt.STATUS_CANCELLED, 0, 0)
	}
}

// eventually waits for a fact that another goroutine brings about.
func eventually(t testing.TB, fact func() bool) {
	t.Helper()
	require.Eventually(t, fact, 20*time.Second, time.Millisecond)
}

// rig is a server with a stub, and the client's end of a connection to it as a bare socket.
type rig struct {
	t    testing.TB
	s    *Server
	stub *stub
	sock Socket
	done chan struct{} // ServeConn has returned
	buf  []byte
}

func newRig(t testing.TB, cfg Config) *rig {
	r := &rig{t: t, stub: &stub{pending: map[*Request]bool{}, release: make(chan struct{})},
		done: make(chan struct{}), buf: make([]byte, 1<<20)}
	cfg.Backend = r.stub
	r.s = NewServer(cfg)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	r.sock = Socket(fds[0])
	go func() {
		r.s.ServeConn(Socket(fds[1]))
		close(r.done)
	}()
	return r
}

// open does the hand-shake.
func (r *rig) open() *rig {
	r.t.Helper()
	r.send(sample()[0])
	w, err := ParseWelcome(r.recv())
	require.NoError(r.t, err)
	require.Equal(r.t, nt.STATUS_SUCCESS, w.Status, w.Text)
	return r
}

func (r *rig) send(m []byte) {
	r.t.Helper()
	for {
		e := r.sock.TrySend(m)
		if e == unix.EAGAIN {
			r.sock.WaitWritable(-1)
			continue
		}
		if e != 0 && e != unix.EPIPE && e != unix.ECONNRESET {
			r.t.Fatal(e)
		}
		return
	}
}

// recv gives the next message, nil at the end.
func (r *rig) recv() []byte {
	r.t.Helper()
	n, e := r.sock.Recv(r.buf)
	if e == unix.ECONNRESET {
		return nil
	}
	require.Zero(r.t, e)
	return r.buf[:n]
}

// request makes a request message.
func request(h RequestHeader, data ...byte) []byte {
	m := make([]byte, RequestSize+len(data))
	h.Put(m)
	copy(m[RequestSize:], data)
	return m
}

func (r *rig) reply() ReplyHeader {
	r.t.Helper()
	var h ReplyHeader
	m := r.recv()
	_, _, err := ParseHeader(m, len(m))
	require.NoError(r.t, err)
	require.Equal(r.t, MsgReply, MsgType(m[4]))
	require.NoError(r.t, h.Parse(m))
	return h
}

// end closes the client's end and waits until the host is done with the connection.
func (r *rig) end() {
	r.t.Helper()
	r.sock.Close()
	r.ended()
}

func (r *rig) ended() {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(20 * time.Second):
		r.t.Fatal("the host still serves the connection")
	}
	eventually(r.t, func() bool { return r.s.Conns() == 0 })
	require.Empty(r.t, r.stub.pending)
}

func TestAVersionThatTheHostDoesNotSpeakIsRefusedByName(t *testing.T) {
	r := newRig(t, Config{})
	m, err := (&Hello{VersionMin: 9, VersionMax: 12, Name: "Echo"}).Append(nil)
	require.NoError(t, err)
	r.send(m)
	w, err := ParseWelcome(r.recv())
	require.NoError(t, err)
	assert.Equal(t, nt.STATUS_REVISION_MISMATCH, w.Status)
	assert.Equal(t, "the client speaks versions 9 to 12 of the protocol, the host 1 to 2", w.Text)
	r.end()
}

func TestASilentClientIsNotWaitedForForEver(t *testing.T) {
	r := newRig(t, Config{HelloTimeout: 20 * time.Millisecond})
	r.ended()
	r.sock.Close()
}

func TestWhatIsNoMessageEndsTheConnection(t *testing.T) {
	hello := sample()[0]
	bad := func(m []byte, at int, b ...byte) []byte {
		m = append([]byte(nil), m...)
		copy(m[at:], b)
		return m
	}
	ioctl := sample()[1]
	header := func(t MsgType) []byte {
		m := make([]byte, HeaderSize)
		PutHeader(m, t, 1)
		return m
	}
	for name, c := range map[string]struct {
		open bool
		m    []byte
	}{
		"garbage first":                 {false, []byte("GET / HTTP/1.1\r\n\r\n")},
		"one byte first":                {false, []byte{1}},
		"another magic":                 {false, bad(hello, 8, 'X')},
		"a name longer than the Hello":  {false, bad(hello, 20, 0xFF, 0xFF, 0xFF, 0xFF)},
		"a request first":               {false, ioctl},
		"a second Hello":                {true, hello},
		"a Welcome from the client":     {true, (&Welcome{}).Append(nil)},
		"a reply from the client":       {true, header(MsgReply)},
		"type 0":                        {true, header(0)},
		"type 255":                      {true, header(255)},
		"garbage":                       {true, bytes.Repeat([]byte{0xA5}, 300)},
		"half a header":                 {true, ioctl[:7]},
		"a size that is too small":      {true, bad(ioctl, 0, 16)},
		"a size of 4 GiB":               {true, bad(ioctl, 0, 0xFF, 0xFF, 0xFF, 0xFF)},
		"less data than it says":        {true, bad(ioctl, 32, 9)},
		"more data than it says":        {true, bad(ioctl, 32, 7)},
		"4 GiB of data":                 {true, bad(ioctl, 32, 0xFF, 0xFF, 0xFF, 0xFF)},
		"unknown flags":                 {true, bad(ioctl, 7, 0x80)},
		"half a buffer request":         {true, header(MsgBuffer)},
		"a message beyond every buffer": {true, make([]byte, 190<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			if c.open {
				r.open()
			}
			r.send(c.m)
			last := r.recv()
			if c.open {
				_, text, err := ParseGoodbye(last)
				require.NoError(t, err)
				assert.Contains(t, text, "protocol violation")
			} else {
				w, err := ParseWelcome(last)
				require.NoError(t, err)
				assert.Equal(t, nt.STATUS_INVALID_PARAMETER, w.Status)
			}
			assert.Empty(t, r.recv(), "and then the end")
			r.ended()
			r.sock.Close()
			if c.open {
				assert.EqualValues(t, 1, r.stub.closed.Load())
			}
		})
	}
}

func TestRequestsThatAskForTooMuchFailAlone(t *testing.T) {
	r := newRig(t, Config{MaxInline: 4096, MaxBuffer: 1 << 20}).open()
	const huge = 0xFFFFFFFF
	for name, c := range map[string]struct {
		h      RequestHeader
		data   int
		status nt.Status
	}{
		"a long output":            {RequestHeader{Major: 14, OutLen: 4097}, 0, nt.STATUS_INVALID_BUFFER_SIZE},
		"4 GiB of output":          {RequestHeader{Major: 14, OutLen: huge}, 0, nt.STATUS_INVALID_BUFFER_SIZE},
		"a long input":             {RequestHeader{Major: 14, InLen: 4097}, 4097, nt.STATUS_INVALID_BUFFER_SIZE},
		"no shared buffer yet":     {RequestHeader{Major: 14, Flags: FlagInShared, InLen: 1}, 0, nt.STATUS_INVALID_PARAMETER},
		"CREATE":                   {RequestHeader{Major: nt.IRP_MJ_CREATE}, 0, nt.STATUS_INVALID_PARAMETER},
		"CLEANUP":                  {RequestHeader{Major: nt.IRP_MJ_CLEANUP}, 0, nt.STATUS_INVALID_PARAMETER},
		"INTERNAL_DEVICE_CONTROL":  {RequestHeader{Major: nt.IRP_MJ_INTERNAL_DEVICE_CONTROL}, 0, nt.STATUS_INVALID_PARAMETER},
		"POWER":                    {RequestHeader{Major: nt.IRP_MJ_POWER}, 0, nt.STATUS_INVALID_PARAMETER},
		"PNP":                      {RequestHeader{Major: nt.IRP_MJ_PNP}, 0, nt.STATUS_INVALID_PARAMETER},
		"a function beyond all":    {RequestHeader{Major: 0xFF}, 0, nt.STATUS_INVALID_PARAMETER},
		"nothing out of the usual": {RequestHeader{Major: 14, OutLen: 4096}, 0, nt.STATUS_SUCCESS},
	} {
		c.h.ID = 77
		r.send(request(c.h, make([]byte, c.data)...))
		assert.Equal(t, c.status, r.reply().Final(), name)
	}
	r.send(AppendBuffer(nil, 1, 1<<21))
	status, _, err := ParseBufferReply(r.recv())
	require.NoError(t, err)
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, status, "more than the host allows")
	r.send(AppendBuffer(nil, 1, 1<<20))
	n, fd, e := r.sock.RecvFD(r.buf)
	require.Zero(t, e)
	require.Equal(t, BufferReplySize, n)
	mem, err := MapBuffer(fd, 1<<20)
	require.NoError(t, err)
	defer UnmapBuffer(mem)
	for name, c := range map[string]struct {
		h      RequestHeader
		status nt.Status
	}{
		"all of it":          {RequestHeader{Flags: FlagInShared | FlagOutShared, InLen: 1 << 20, OutLen: 1 << 20}, 0},
		"nothing at its end": {RequestHeader{Flags: FlagInShared, InPlace: 1 << 20}, 0},
		"one byte beyond":    {RequestHeader{Flags: FlagInShared, InPlace: 1 << 20, InLen: 1}, nt.STATUS_INVALID_PARAMETER},
		"a wrapped place":    {RequestHeader{Flags: FlagOutShared, OutPlace: 1<<64 - 1, OutLen: 2}, nt.STATUS_INVALID_PARAMETER},
		"a wrapped length":   {RequestHeader{Flags: FlagOutShared, OutPlace: 8, OutLen: huge}, nt.STATUS_INVALID_PARAMETER},
		"content of it all":  {RequestHeader{Flags: FlagOutShared | FlagOutData, OutLen: 1 << 20}, 0},
	} {
		c.h.Major, c.h.ID = 14, 78
		r.send(request(c.h))
		assert.Equal(t, c.status, r.reply().Final(), name)
	}
	r.end()
}

func TestTheSharedBufferCannotShrinkGrowOrBeExecuted(t *testing.T) {
	r := newRig(t, Config{MaxBuffer: 1 << 20}).open()
	r.send(AppendBuffer(nil, 1, 100))
	_, fd, e := r.sock.RecvFD(r.buf)
	require.Zero(t, e)
	defer unix.Close(fd)
	assert.ErrorIs(t, unix.Ftruncate(fd, 0), unix.EPERM)
	assert.ErrorIs(t, unix.Ftruncate(fd, 1<<30), unix.EPERM)
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	assert.ErrorIs(t, err, unix.EPERM)
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(fd, &st))
	assert.EqualValues(t, 4096, st.Size)
	if st.Mode&0o111 != 0 {
		t.Skip("Linux before 6.3 has no MFD_NOEXEC_SEAL")
	}
	assert.Error(t, unix.Fchmod(fd, 0o777))
	// A hole that the client punches while the host works reads as zeros there.
	const hole = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	require.NoError(t, unix.Fallocate(fd, hole, 0, 4096))
	r.send(request(RequestHeader{ID: 2, Major: 14, Flags: FlagInShared | FlagOutShared,
		InLen: 4096, OutLen: 4096}))
	assert.EqualValues(t, 4096, r.reply().Information)
	for range maxBufferReplies + 1 {
		r.send(AppendBuffer(nil, 1, 100))
	}
	for {
		m := r.recv()
		if len(m) == 0 {
			break
		}
	}
	r.ended()
	r.sock.Close()
}

func TestCancelsAndReplayedIds(t *testing.T) {
	r := newRig(t, Config{}).open()
	cancel := func(id uint64) {
		m := make([]byte, HeaderSize)
		PutHeader(m, MsgCancel, id)
		r.send(m)
	}
	cancel(99) // never was
	r.send(request(RequestHeader{ID: 5, Major: nt.IRP_MJ_READ, OutLen: 8}))
	cancel(5)
	h := r.reply()
	assert.Equal(t, nt.STATUS_PENDING, h.Status)
	assert.Equal(t, nt.STATUS_CANCELLED, h.IOStatus)
	cancel(5) // has been
	r.send(request(RequestHeader{ID: 5, Major: nt.IRP_MJ_READ, OutLen: 8}))
	r.send(request(RequestHeader{ID: 6, Major: nt.IRP_MJ_READ, OutLen: 8}))
	cancel(6)
	assert.EqualValues(t, 6, r.reply().ID)
	assert.EqualValues(t, 2, r.stub.cancels.Load())
	r.send(request(RequestHeader{ID: 5, Major: nt.IRP_MJ_READ, OutLen: 8}))
	_, text, err := ParseGoodbye(r.recv())
	require.NoError(t, err)
	assert.Contains(t, text, "of one that is outstanding")
	r.ended()
	r.sock.Close()
	assert.EqualValues(t, 1, r.stub.closed.Load())
}

func TestACancelComesThroughAtTheLimit(t *testing.T) {
	r := newRig(t, Config{MaxRequests: 8, MaxInline: 1024, MaxBytes: 8 * 100}).open()
	for id := range uint64(8) {
		r.send(request(RequestHeader{ID: id, Major: nt.IRP_MJ_READ, OutLen: 100}))
	}
	r.send(request(RequestHeader{ID: 100, Major: nt.IRP_MJ_READ}))
	h := r.reply()
	assert.EqualValues(t, 100, h.ID)
	assert.Equal(t, nt.STATUS_QUOTA_EXCEEDED, h.Status)
	m := make([]byte, HeaderSize)
	PutHeader(m, MsgCancel, 3)
	r.send(m)
	assert.EqualValues(t, 3, r.reply().ID)
	r.send(request(RequestHeader{ID: 100, Major: 14, OutLen: 100}))
	assert.Equal(t, nt.STATUS_SUCCESS, r.reply().Status)
	r.end()
	assert.EqualValues(t, 8, r.stub.cancels.Load())
}

func TestMessageBytesAreLimitedToo(t *testing.T) {
	r := newRig(t, Config{MaxInline: 1024, MaxBytes: 2048}).open()
	r.send(request(RequestHeader{ID: 1, Major: nt.IRP_MJ_READ, OutLen: 1024}))
	r.send(request(RequestHeader{ID: 2, Major: nt.IRP_MJ_READ, OutLen: 1024}))
	r.send(request(RequestHeader{ID: 3, Major: nt.IRP_MJ_READ, OutLen: 1}))
	h := r.reply()
	assert.EqualValues(t, 3, h.ID)
	assert.Equal(t, nt.STATUS_QUOTA_EXCEEDED, h.Status)
	r.end()
}

func TestAClientThatDoesNotReadHurtsOnlyItself(t *testing.T) {
	r := newRig(t, Config{MaxBytes: 128 << 10}).open()
	// It floods and reads nothing: the host stops reading from it.
	data := make([]byte, 16<<10)
	m := request(RequestHeader{Major: 14, InLen: 16 << 10, OutLen: 16 << 10}, data...)
	sent := 0
	for r.sock.TrySend(m) == 0 || r.sock.WaitWritable(200) {
		le.PutUint64(m[8:], uint64(sent))
		sent++
		require.Less(t, sent, 10_000, "the host takes requests without end")
	}
	other := newRig(t, Config{})
	other.open()
	other.send(sample()[1])
	assert.Equal(t, nt.STATUS_SUCCESS, other.reply().Status)
	other.end()
	// Each reply is still there when it reads at last, and it can go on.
	// (While it has not read, there may be no room to send even one message more.)
	last := make(chan struct{})
	go func() {
		defer close(last)
		r.send(request(RequestHeader{ID: 1 << 40, Major: 14}))
	}()
	for r.reply().ID != 1<<40 {
	}
	<-last
	r.end()

	// The same, but it dies without reading.
	r = newRig(t, Config{MaxBytes: 128 << 10}).open()
	for r.sock.TrySend(m) == 0 || r.sock.WaitWritable(200) {
	}
	r.end()
}

func TestCompletionsForAClientThatDoesNotReadDoNotBlock(t *testing.T) {
	r := newRig(t, Config{}).open()
	for id := range uint64(200) {
		r.send(request(RequestHeader{ID: id, Major: nt.IRP_MJ_READ, OutLen: 32 << 10}))
	}
	eventually(t, func() bool { return len(r.s.Outstanding()) == 200 })
	r.stub.mu.Lock()
	for q := range r.stub.pending { // 6 MiB of replies
		delete(r.stub.pending, q)
		q.Complete(nt.STATUS_PENDING, 0, 0, q.OutLen)
	}
	r.stub.mu.Unlock()
	seen := map[uint64]bool{}
	for range 200 {
		h := r.reply()
		assert.EqualValues(t, 32<<10, h.OutLen)
		seen[h.ID] = true
	}
	assert.Len(t, seen, 200)
	r.end()
}

func TestShutdownEndsAlsoAClientThatDoesNotRead(t *testing.T) {
	r := newRig(t, Config{}).open()
	for id := range uint64(100) {
		r.send(request(RequestHeader{ID: id, Major: nt.IRP_MJ_READ, OutLen: 32 << 10}))
	}
	eventually(t, func() bool { return len(r.s.Outstanding()) == 100 })
	r.stub.mu.Lock()
	for q := range r.stub.pending {
		delete(r.stub.pending, q)
		q.Complete(nt.STATUS_PENDING, 0, 0, q.OutLen)
	}
	r.stub.mu.Unlock()
	r.s.Shutdown(nt.STATUS_DEVICE_REMOVED, "unloaded")
	assert.True(t, r.s.Wait(20*time.Second))
	r.sock.Close()
}

func TestDescriptorsFromAClientAreClosed(t *testing.T) {
	r := newRig(t, Config{}).open()
	before := openDescriptors(t)
	null, err := os.Open("/dev/null")
	require.NoError(t, err)
	for id := range uint64(20) {
		m := request(RequestHeader{ID: id, Major: 14})
		rights := unix.UnixRights(int(null.Fd()), int(null.Fd()))
		require.NoError(t, unix.Sendmsg(int(r.sock), m, rights, nil, 0))
		assert.Equal(t, nt.STATUS_SUCCESS, r.reply().Status)
	}
	null.Close()
	assert.Equal(t, before, openDescriptors(t))
	r.end()
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestConnectionsLeaveNoDescriptorAndNoGoroutineBehind(t *testing.T) {
	run := func() {
		r := newRig(t, Config{}).open()
		r.send(AppendBuffer(nil, 1, 1<<16))
		_, fd, _ := r.sock.RecvFD(r.buf)
		unix.Close(fd)
		r.send(request(RequestHeader{ID: 2, Major: nt.IRP_MJ_READ}))
		r.send(request(RequestHeader{ID: 3, Major: nt.IRP_MJ_WRITE}))
		r.send(request(RequestHeader{ID: 4, Major: nt.IRP_MJ_WRITE}))
		eventually(t, func() bool { return len(r.s.Outstanding()) == 3 })
		r.end()
	}
	run()
	before := openDescriptors(t)
	for range 20 {
		run()
	}
	assert.Equal(t, before, openDescriptors(t))
}

func TestAcceptSurvivesALackOfDescriptors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	logged := make(chan string, 100)
	st := &stub{pending: map[*Request]bool{}}
	s := NewServer(Config{Backend: st, Logf: func(format string, args ...any) {
		logged <- fmt.Sprintf(format, args...)
	}})
	require.NoError(t, s.ListenRuntime(dir))
	go s.Serve()
	sock, err := Connect(s.Socket(), nil) // Serve accepts
	require.NoError(t, err)
	waiting, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	eventually(t, func() bool { return s.Conns() == 1 })
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	low := old
	low.Cur = 3 // below what is open: accept fails with EMFILE
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	err = unix.Connect(waiting, &unix.SockaddrUnix{Name: s.Socket()})
	var line string
	select {
	case line = <-logged:
	case <-time.After(20 * time.Second):
	}
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
	require.NoError(t, err)
	assert.Contains(t, line, "too many open files")
	eventually(t, func() bool { return s.Conns() == 2 })
	sock.Close()
	unix.Close(waiting)
	s.Shutdown(0, "")
	assert.True(t, s.Wait(20*time.Second))
}

// FuzzConnection sends a client's bytes as messages: each begins with two bytes of length. Whatever
// they are, the host must come to the end of the connection, with every request completed.
func FuzzConnection(f *testing.F) {
	pack := func(messages ...[]byte) []byte {
		var out []byte
		for _, m := range messages {
			out = append(append(out, byte(len(m)), byte(len(m)>>8)), m...)
		}
		return out
	}
	s := sample()
	f.Add(pack(s...))
	f.Add(pack(s[0], s[2], s[3], s[2], s[3]))
	f.Add(pack(s[0], s[4],
		request(RequestHeader{ID: 1, Major: 14, Flags: 6, InLen: 99, OutLen: 99})))
	f.Add(pack(s[0], request(RequestHeader{ID: 1, Major: nt.IRP_MJ_WRITE}), s[1], s[2], s[3], s[5]))
	f.Add(pack(s[0], []byte("garbage")))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newRig(t, Config{MaxInline: 512, MaxBuffer: 1 << 16, MaxRequests: 4})
		go func() { // whatever the host says
			buf := make([]byte, 4096)
			for {
				if n, e := r.sock.Recv(buf); e != 0 || n == 0 {
					return
				}
			}
		}()
		for len(data) >= 2 {
			n := min(int(data[0])|int(data[1])<<8, len(data)-2)
			r.send(data[2 : 2+n])
			data = data[2+n:]
		}
		r.sock.Shutdown()
		r.ended()
		r.sock.Close()
	})
}
