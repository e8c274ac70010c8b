package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	met    bool // it has had a server's tree; only Dial and then run use it

	adopted chan net.Conn // what Adopt was given, until run has it

	mu      sync.Mutex
	conn    net.Conn // nil while there is no server
	next    uint64
	waiting map[uint64]chan nt.Status
}

// Dial connects to a server's socket and gives a mirror that has its tree. The context bounds that
// alone. When the connection ends the mirror can be read on, writes fail with
// STATUS_REGISTRY_IO_FAILED, and it connects again by itself, unless the process has entered a
// sandbox that forbids it. A write whose answer is lost, or takes longer than ten seconds, fails so
// too, and may yet have been done.
func Dial(ctx context.Context, socket string) (*Mirror, error) {
	m := &Mirror{reg: cm.New(), socket: socket, done: make(chan struct{}),
		adopted: make(chan net.Conn, 1), waiting: map[uint64]chan nt.Status{}}
	m.reg.Forward = func(c cm.Change) nt.Status { return m.write(c) }
	conn, err := m.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", socket, err)
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.conn = conn
	go m.run(conn)
	return m, nil
}

// Registry gives the tree.
func (m *Mirror) Registry() *cm.Registry { return m.reg }

// Close ends the connection; the tree can be read on.
func (m *Mirror) Close() error {
	m.cancel()
	m.lose()
	<-m.done
	return nil
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

// meet reads the tree of the server at the other end, and makes this one like it.
func (m *Mirror) meet(ctx context.Context, conn net.Conn) (net.Conn, error) {
	conn = newBuffered(conn)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err := m.greet(conn)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
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

func (m *Mirror) greet(conn net.Conn) error {
	var hello event
	if err := decode(conn, &hello); err != nil {
		return err
	}
	if hello.Version != version {
		return fmt.Errorf("the server speaks version %d, this drvhost %d", hello.Version, version)
	}
	tree := cm.New()
	if !m.met {
		tree = m.reg // it is empty, and nobody has it
	}
	for {
		var e event
		switch err := decode(conn, &e); {
		case err != nil:
			return err
		case e.Ready && !m.met:
			m.met = true
			return nil
		case e.Ready:
			return m.match(tree)
		case e.Change == nil:
			return errors.New("the server's tree has something else in it")
		}
		if status := tree.Apply(*e.Change); status != nt.STATUS_SUCCESS {
			return fmt.Errorf("%v %s: %w", e.Change.Op, e.Change.Key, status)
		}
	}
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

// match makes the mirror's tree like another by what differs, so that only its watches fire. A key
// that has volatile keys of this process below it stays.
func (m *Mirror) match(tree *cm.Registry) error {
	here, there := items(m.reg), items(tree)
	var gone []cm.Change
	for i, c := range here {
		other, ok := there[i]
		// Class, link and the absence of a descriptor cannot be changed in place.
		remade := ok && c.Op == cm.OpCreateKey && (c.Class != other.Class || c.Link != other.Link)
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
		if status := m.reg.Apply(c); status != nt.STATUS_SUCCESS {
			return fmt.Errorf("%v %s: %w", c.Op, c.Key, status)
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
	}
}

// follow does what the server says, in its order.
func (m *Mirror) follow(conn net.Conn) {
	for {
		var e event
		if decode(conn, &e) != nil {
			return
		}
		switch {
		case e.Change != nil:
			if m.reg.Apply(*e.Change) != nt.STATUS_SUCCESS {
				return // what differs is found when connecting again
			}
		case e.Reply != 0:
			m.mu.Lock()
			answer := m.waiting[e.Reply]
			delete(m.waiting, e.Reply)
			m.mu.Unlock()
			if answer != nil {
				answer <- e.Status
			}
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
	m.conn = nil
	for _, answer := range m.waiting {
		answer <- nt.STATUS_REGISTRY_IO_FAILED
	}
	clear(m.waiting)
}

// write asks the server for a change and waits until it has come back.
func (m *Mirror) write(c cm.Change) nt.Status {
	if len(c.Data) > maxData {
		return nt.STATUS_REGISTRY_QUOTA_LIMIT
	}
	answer := make(chan nt.Status, 1)
	if !m.send(c, answer) {
		return nt.STATUS_REGISTRY_IO_FAILED
	}
	select {
	case status := <-answer:
		return status
	case <-time.After(answerWait):
		m.cut()
		return nt.STATUS_REGISTRY_IO_FAILED
	}
}

func (m *Mirror) send(c cm.Change, answer chan nt.Status) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn == nil {
		return false
	}
	m.next++
	b, err := encode(request{ID: m.next, Changes: []cm.Change{c}})
	if err != nil {
		return false
	}
	m.waiting[m.next] = answer
	err = m.conn.SetWriteDeadline(time.Now().Add(answerWait))
	if err == nil {
		_, err = m.conn.Write(b)
	}
	if err != nil {
		delete(m.waiting, m.next)
		_ = m.conn.Close()
	}
	return err == nil
}

// cut ends the connection, so that run makes another.
func (m *Mirror) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn != nil {
		_ = m.conn.Close()
	}
}
