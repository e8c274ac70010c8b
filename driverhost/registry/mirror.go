package registry

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// How long a mirror waits: for the answer to a write, and between attempts to connect again.
const (
	answerWait = 10 * time.Second
	backOffMin = 20 * time.Millisecond
	backOffMax = 2 * time.Second
)

// Mirror is a registry that follows a server's.
type Mirror struct {
	reg    *cm.Registry
	socket string
	ctx    context.Context // until Close
	cancel context.CancelFunc
	done   chan struct{}

	adopted chan net.Conn // what Adopt was given, until run has it

	// Who reads the connection, Dial and then run, uses these alone.
	met    bool         // this tree has once been a server's
	tree   *cm.Registry // that is being told, or nil
	treeAt uint64       // the change that it has come to

	at atomic.Uint64 // the server's change that this tree has come to

	sending sync.Mutex // held while a request is written

	mu       sync.Mutex
	conn     net.Conn // nil while there is no server
	counter  *counter // of the server, the last one if there is none
	next     uint64
	waiting  map[uint64]chan nt.Status
	watching uint64 // the request that waits for a change, or 0

	batch   sync.Mutex // held by Batch
	batched *batch     // under way, or nil; guarded by mu
}

// batch is changes that are to be one request.
type batch struct {
	changes []cm.Change
	bytes   int // of names and data
}

// Dial gives a mirror of the server that listens at a socket, which has its tree: see [Mirror.Connect].
func Dial(ctx context.Context, socket string) (*Mirror, error) {
	m := NewMirror(socket)
	if err := m.Connect(ctx); err != nil {
		return nil, err
	}
	return m, nil
}

// Connect connects a new mirror and waits until it has the server's tree, before which nobody is to use
// the registry. It is called once, and the context bounds it alone; after an error the mirror is closed.
//
// When the connection ends the mirror can be read on, writes fail with STATUS_REGISTRY_IO_FAILED, and it
// connects again by itself, unless the process has entered a sandbox that forbids it. A write whose
// answer is lost, or takes longer than ten seconds, fails so too, and may yet have been done.
func (m *Mirror) Connect(ctx context.Context) error {
	conn, err := m.connect(ctx)
	if err != nil {
		m.close()
		return fmt.Errorf("registry %s: %w", m.socket, err)
	}
	m.mu.Lock()
	m.conn = conn
	m.mu.Unlock()
	go m.run(conn)
	return nil
}

// NewMirror makes a mirror of the server that listens at a socket, for Connect.
func NewMirror(socket string) *Mirror {
	m := &Mirror{reg: cm.New(), socket: socket, done: make(chan struct{}),
		adopted: make(chan net.Conn, 1), waiting: map[uint64]chan nt.Status{}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.reg.Forward = func(c cm.Change) nt.Status { return m.write(c) }
	m.reg.Fresh = m.fresh
	m.reg.OnWatch = m.watch
	return m
}

// Registry gives the tree.
func (m *Mirror) Registry() *cm.Registry { return m.reg }

// Close ends the connection; the tree can be read on.
func (m *Mirror) Close() error {
	m.cancel()
	m.lose()
	<-m.done
	m.close()
	return nil
}

// close gives back what a mirror has besides its connection.
func (m *Mirror) close() {
	m.cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counter != nil {
		m.counter.close()
	}
}

// Adopt has the mirror follow the server at the other end of a connection, in place of the one that
// it had; the mirror closes it. A process that may not connect to anything is reached so by the next
// server, by Server.ServeConn.
func (m *Mirror) Adopt(conn net.Conn) {
	m.mu.Lock()
	before := m.conn
	m.mu.Unlock()
	for {
		select {
		case m.adopted <- conn:
			if before != nil { // and not what run may have by now
				_ = before.Close()
			}
			return
		case older := <-m.adopted:
			_ = older.Close()
		case <-m.ctx.Done():
			_ = conn.Close()
			return
		}
	}
}

// connect connects, and makes this tree like the server's.
func (m *Mirror) connect(ctx context.Context) (net.Conn, error) {
	conn, err := dial(ctx, m.socket)
	if err != nil {
		return nil, err
	}
	return m.meet(ctx, conn)
}

// meet asks the server at the other end for its tree, and makes this one like it.
func (m *Mirror) meet(ctx context.Context, conn net.Conn) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	met, err := m.greet(conn)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return met, nil
}

// dial connects to a socket whose path may be longer than a socket's address.
func dial(ctx context.Context, path string) (net.Conn, error) {
	const longest = 100
	if len(path) > longest {
		dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
		}
		defer unix.Close(dir)
		path = filepath.Join("/proc/self/fd", strconv.Itoa(dir), filepath.Base(path))
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// greet gives the connection as it is to be read from then on.
func (m *Mirror) greet(conn net.Conn) (net.Conn, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.New("the server is not at a unix socket")
	}
	m.tree = nil
	m.at.Store(0) // another server counts for itself
	pull, err := newFrame(kindPull).number(firstID).number(0).end()
	if err == nil {
		_, err = u.Write(pull)
	}
	if err == nil {
		err = m.hello(u)
	}
	if err != nil {
		return nil, err
	}
	met := newBuffered(conn)
	for {
		id, status, err := m.step(met)
		switch {
		case err != nil:
			return nil, err
		case status != nt.STATUS_SUCCESS:
			return nil, status
		case id == firstID && m.met:
			return met, nil
		case id != 0:
			return nil, errFrame
		}
	}
}

// firstID is the first request on a connection.
const firstID = 1

// hello takes the server's greeting.
func (m *Mirror) hello(conn *net.UnixConn) error {
	var b [6]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(b[:], oob)
	if err != nil {
		return err
	}
	fds, err := rights(oob[:oobn])
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, b[n:]); err != nil {
		return err
	}
	hello, err := append(newFrame(kindHello), version).end()
	switch {
	case err != nil:
		return err
	case !bytes.Equal(b[:5], hello[:5]):
		return errFrame
	case b[5] != version:
		return fmt.Errorf("the server speaks version %d, this drvhost %d", b[5], version)
	case len(fds) != 1:
		return errors.New("the server has not handed out its counter")
	}
	c, err := mapCounter(fds[0])
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counter != nil {
		m.counter.close()
	}
	m.counter = c
	return nil
}

// rights gives the descriptors of a control message.
func rights(oob []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		more, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fds, err
		}
		fds = append(fds, more...)
	}
	return fds, nil
}

// step does what a frame says. id is not 0 for the answer to a request.
func (m *Mirror) step(conn net.Conn) (id uint64, status nt.Status, err error) {
	kind, r, err := readFrame(conn, maxFrame)
	if err != nil {
		return 0, 0, err
	}
	switch kind {
	case kindTree:
		at := r.number()
		if m.tree == nil {
			if m.tree, m.treeAt = m.reg, at; m.met {
				m.tree = cm.New()
			}
		}
		if at != m.treeAt {
			return 0, 0, errFrame
		}
		return 0, 0, r.changes(func(c cm.Change) error { return apply(m.tree, c) })
	case kindLog:
		return 0, 0, m.log(r)
	case kindDone:
		id, status = r.number(), nt.Status(r.number())
		if r.number(); r.failed || len(r.b) != 0 || id == 0 {
			return 0, 0, errFrame
		}
		if m.tree != nil {
			if m.met {
				err = m.match(m.tree)
			}
			m.met, m.tree = true, nil
			m.at.Store(m.treeAt)
		}
		return id, status, err
	}
	return 0, 0, errFrame
}

// log does changes, but for those that were done before.
func (m *Mirror) log(r *reader) error {
	n := r.number()
	into, at := m.reg, m.at.Load()
	if m.tree != nil {
		into, at = m.tree, m.treeAt
	} else if !m.met {
		return errFrame
	}
	return r.changes(func(c cm.Change) error {
		switch {
		case n > at+1:
			return errFrame
		case n == at+1:
			if err := apply(into, c); err != nil {
				return err
			}
			if at = n; m.tree != nil {
				m.treeAt = n
			} else {
				m.at.Store(n)
			}
		}
		n++
		return nil
	})
}

func apply(r *cm.Registry, c cm.Change) error {
	if status := r.Apply(c); status != nt.STATUS_SUCCESS {
		return fmt.Errorf("%v %s: %w", c.Op, c.Key, status)
	}
	return nil
}

// item is what a change is about: the last change about the same makes it what it is.
type item struct {
	op        cm.Op
	key, name string
}

func items(r *cm.Registry) map[item]cm.Change {
	all := map[item]cm.Change{}
	for c := range r.Changes {
		all[item{c.Op, cm.Fold(c.Key), cm.Fold(c.Name)}] = c
	}
	return all
}

// match makes the mirror's tree like another by what differs, so that only its watches fire.
func (m *Mirror) match(tree *cm.Registry) error {
	here, there := items(m.reg), items(tree)
	var gone []cm.Change
	for i, c := range here {
		other, ok := there[i]
		// These cannot be changed in place.
		remade := ok && c.Op == cm.OpCreateKey && (c.Class != other.Class || c.Link != other.Link ||
			c.Volatile != other.Volatile)
		switch {
		case ok && !remade:
		case c.Op == cm.OpCreateKey:
			gone = append(gone, cm.Change{Op: cm.OpDeleteKey, Key: c.Key})
		case c.Op == cm.OpSetValue:
			gone = append(gone, cm.Change{Op: cm.OpDeleteValue, Key: c.Key, Name: c.Name})
		case c.Op == cm.OpSetSecurity:
			gone = append(gone, cm.Change{Op: cm.OpSetSecurity, Key: c.Key})
		}
	}
	slices.SortFunc(gone, func(a, b cm.Change) int {
		return cmp.Compare(strings.Count(b.Key, `\`), strings.Count(a.Key, `\`))
	})
	for _, c := range gone {
		m.reg.Apply(c)
	}
	here = items(m.reg)
	for c := range tree.Changes {
		old, ok := here[item{c.Op, cm.Fold(c.Key), cm.Fold(c.Name)}]
		if ok && old.Type == c.Type && slices.Equal(old.Data, c.Data) && old.Name == c.Name {
			continue
		}
		if err := apply(m.reg, c); err != nil {
			return err
		}
	}
	return nil
}

// run follows the server until Close.
func (m *Mirror) run(conn net.Conn) {
	defer close(m.done)
	may := true // connect, until a sandbox forbids it: that does not open again
	for wait := backOffMin; ; {
		if conn != nil {
			m.follow(conn)
			m.lose()
			wait = backOffMin
		}
		conn = nil
		var again <-chan time.Time
		if may {
			again = time.After(wait)
		}
		select {
		case <-m.ctx.Done():
			return
		case given := <-m.adopted:
			ctx, stop := context.WithTimeout(m.ctx, answerWait)
			conn, _ = m.meet(ctx, given)
			stop()
		case <-again:
			wait = min(2*wait, backOffMax)
			var err error
			conn, err = m.connect(m.ctx)
			may = !errors.Is(err, unix.EPERM)
		}
		m.mu.Lock()
		if m.ctx.Err() != nil && conn != nil {
			_ = conn.Close()
			conn = nil
		}
		m.conn = conn
		m.mu.Unlock()
		if conn != nil && m.reg.Watched() {
			m.watch()
		}
	}
}

// follow does what the server says, in its order, until the connection ends; what differs then is found
// when there is another.
func (m *Mirror) follow(conn net.Conn) {
	for {
		id, status, err := m.step(conn)
		if err != nil {
			return
		}
		if id == 0 {
			continue
		}
		m.mu.Lock()
		answer := m.waiting[id]
		delete(m.waiting, id)
		watched := id == m.watching
		if watched {
			m.watching = 0
		}
		m.mu.Unlock()
		if answer != nil {
			answer <- status
		}
		if watched {
			go m.watched()
		}
	}
}

// lose gives up the connection and all who wait for it.
func (m *Mirror) lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn != nil {
		_ = m.conn.Close()
	}
	m.conn, m.watching = nil, 0
	for _, answer := range m.waiting {
		answer <- nt.STATUS_REGISTRY_IO_FAILED
	}
	clear(m.waiting)
}

// fresh asks the server for what is missing here, if anything is. Without a server the tree is what it
// was.
func (m *Mirror) fresh() {
	m.mu.Lock()
	c, live := m.counter, m.conn != nil
	m.mu.Unlock()
	if !live {
		return
	}
	if last, ok := c.load(); ok && last == m.at.Load() {
		return
	}
	m.ask(kindPull, m.at.Load())
}

// watch has the server tell when there is a later change, unless it is asked for that already.
func (m *Mirror) watch() {
	m.mu.Lock()
	if m.conn == nil || m.watching != 0 {
		m.mu.Unlock()
		return
	}
	conn, id := m.conn, m.number()
	m.watching = id
	m.mu.Unlock()
	m.send(conn, kindWait, id, m.at.Load(), nil) // if it fails, the next connection has it sent again
}

// watched follows a change that watches wait for.
func (m *Mirror) watched() {
	m.ask(kindPull, m.at.Load())
	if m.reg.Watched() {
		m.watch()
	}
}

// write asks the server for a change and waits until it has come back.
func (m *Mirror) write(c cm.Change) nt.Status {
	if len(c.Data) > maxData {
		return nt.STATUS_REGISTRY_QUOTA_LIMIT
	}
	m.mu.Lock()
	b := m.batched
	if b == nil {
		m.mu.Unlock()
		return m.ask(kindWrite, m.at.Load(), c)
	}
	full := len(b.changes) >= maxWrites || b.bytes+len(c.Data) > maxData
	m.mu.Unlock()
	if full {
		if status := m.writeBatch(); status != nt.STATUS_SUCCESS {
			return status
		}
	}
	c.Data = slices.Clone(c.Data)
	m.mu.Lock()
	live := m.conn != nil
	if live {
		b.changes = append(b.changes, c)
		b.bytes += 2*len(c.Key) + len(c.Name) + len(c.Class) + len(c.Data)
	}
	m.mu.Unlock()
	if !live {
		return nt.STATUS_REGISTRY_IO_FAILED
	}
	return m.reg.Apply(c)
}

// Batch does the changes that f makes as one: others see all of them or none, and so it is after a crash.
// Those that this process makes elsewhere meanwhile are among them, and it sees them as they are made. What
// exceeds 65,536 changes or 16 MiB is done in several. An error of f takes nothing back; the error is that,
// or the status of the first change that the server has refused, with which it stops.
func (m *Mirror) Batch(f func() error) error {
	m.batch.Lock()
	defer m.batch.Unlock()
	m.mu.Lock()
	m.batched = &batch{}
	m.mu.Unlock()
	err := f()
	status := m.writeBatch()
	m.mu.Lock()
	m.batched = nil
	m.mu.Unlock()
	if err == nil && status != nt.STATUS_SUCCESS {
		err = status
	}
	return err
}

// writeBatch sends what has come together, and makes the tree again what the server's is.
func (m *Mirror) writeBatch() nt.Status {
	m.mu.Lock()
	changes := m.batched.changes
	*m.batched = batch{}
	m.mu.Unlock()
	if len(changes) == 0 {
		return nt.STATUS_SUCCESS
	}
	// The changes are done here, and may be refused there: it is told the whole tree.
	return m.ask(kindWrite, 0, changes...)
}

// ask sends a request, as one that has come to a change of the server's, and waits for its answer, after
// which what has happened since then is done here.
func (m *Mirror) ask(kind byte, since uint64, changes ...cm.Change) nt.Status {
	answer := make(chan nt.Status, 1)
	m.mu.Lock()
	conn, id := m.conn, m.number()
	if conn != nil {
		m.waiting[id] = answer
	}
	m.mu.Unlock()
	if conn == nil {
		return nt.STATUS_REGISTRY_IO_FAILED
	}
	m.send(conn, kind, id, since, changes) // if it fails, so does what waits
	late := time.NewTimer(answerWait)
	defer late.Stop()
	select {
	case status := <-answer:
		return status
	case <-late.C:
		_ = conn.Close() // and run makes another
		return nt.STATUS_REGISTRY_IO_FAILED
	}
}

// number gives a request's number. m.mu is held.
func (m *Mirror) number() uint64 {
	m.next = max(m.next, firstID) + 1
	return m.next
}

// send sends a request. An error ends the connection.
func (m *Mirror) send(conn net.Conn, kind byte, id, since uint64, changes []cm.Change) {
	f, before := newFrame(kind).number(id).number(since), ""
	for i := range changes {
		f = f.change(&changes[i], before)
		before = changes[i].Key
	}
	b, err := f.end()
	m.sending.Lock()
	defer m.sending.Unlock()
	if err == nil {
		err = conn.SetWriteDeadline(time.Now().Add(answerWait))
	}
	if err == nil {
		_, err = conn.Write(b)
	}
	if err != nil {
		_ = conn.Close()
	}
}

// buffered is a connection that is read by larger pieces.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func newBuffered(conn net.Conn) *buffered {
	return &buffered{conn, bufio.NewReaderSize(conn, bufferSize)}
}

func (b *buffered) Read(p []byte) (int, error) { return b.in.Read(p) }
