package registry

import (
	"bufio"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// ServerOptions is what a server may do.
type ServerOptions struct {
	// MayWrite says who may change the registry; nil is nobody. Whoever can connect may read.
	MayWrite func(uid, gid uint32) bool
	// Check, if set, is asked about each change of a process that may write, whose path then has no
	// links in it; what is not STATUS_SUCCESS refuses it.
	Check func(pid int, c cm.Change) nt.Status
	// Limit, if set, gives by how many bytes of cm.QuotaBytes a process may have the registry grow by one
	// connection; 0 is without a limit. What it takes away counts for it.
	Limit func(pid int) int
	// Batch, if set, makes the changes of f durable as one before it returns.
	Batch func(f func() error) error
	// Settled, if set, calls f while no Batch is half done.
	Settled func(f func())
}

// Server is the side that has the registry.
type Server struct {
	reg         *cm.Registry
	opts        ServerOptions
	counter     *counter
	counterFile *os.File // for mirrors

	mu        sync.Mutex
	closed    bool
	history   history
	listeners map[net.Listener]bool
	peers     map[*peer]bool
	strangers int                    // of the peers, those who may not write
	waiting   map[*peer]waitForOther // for a change
	wg        sync.WaitGroup
}

// waitForOther is a wait that has not been answered.
type waitForOther struct{ id, since uint64 }

// maxStrangers is how many may be connected at once who may not write.
const maxStrangers = 64

// NewServer makes a server of a registry, whose OnChange it puts itself behind: it is to be called
// before others use the registry.
func NewServer(reg *cm.Registry, opts ServerOptions) (*Server, error) {
	s := &Server{reg: reg, opts: opts, listeners: map[net.Listener]bool{}, peers: map[*peer]bool{},
		waiting: map[*peer]waitForOther{}}
	var err error
	if s.counter, s.counterFile, err = newCounter(); err != nil {
		return nil, err
	}
	s.history.last = 1 // so that 0 is nothing
	s.counter.store(s.history.last)
	before := reg.OnChange
	reg.OnChange = func(c cm.Change) nt.Status {
		if len(c.Data) > maxData {
			return nt.STATUS_REGISTRY_QUOTA_LIMIT
		}
		if before != nil {
			if status := before(c); status != nt.STATUS_SUCCESS {
				return status
			}
		}
		s.tell(c)
		return nt.STATUS_SUCCESS
	}
	return s, nil
}

// Serve serves those who connect until the listener or the server is closed; then it gives
// net.ErrClosed.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.Join(net.ErrClosed, l.Close())
	}
	s.listeners[l] = true
	s.mu.Unlock()
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			go s.ServeConn(conn)
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
			time.Sleep(10 * time.Millisecond) // until some are closed
		default:
			return err
		}
	}
}

// ServeConn serves who is at the other end of a connection, until that or the server is closed.
func (s *Server) ServeConn(conn net.Conn) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		_ = conn.Close()
		return
	}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	s.serve(conn)
}

// Close ends the listeners and all connections, and waits for them.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	var err error
	for l := range s.listeners {
		err = errors.Join(err, l.Close())
	}
	clear(s.listeners)
	for p := range s.peers {
		_ = p.conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	s.counter.close()
	return errors.Join(err, s.counterFile.Close())
}

// Disconnect ends the connections of a process. What it has asked for is refused from here on: somebody
// else may hold its end.
func (s *Server) Disconnect(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.peers {
		if p.pid == pid {
			p.cut.Store(true)
			_ = p.conn.Close()
		}
	}
}

// tell notes a change, and tells those who wait for one.
func (s *Server) tell(c cm.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.add(&c)
	s.counter.store(s.history.last)
	for p, w := range s.waiting {
		delete(s.waiting, p)
		s.answerWait(p, w)
	}
}

// answerWait answers a wait, from another goroutine. s.mu is held.
func (s *Server) answerWait(p *peer, w waitForOther) {
	if s.closed {
		return
	}
	p.answers.Add(1)
	s.wg.Go(func() {
		defer p.answers.Done()
		if p.done(w.id, nt.STATUS_SUCCESS, w.since) != nil {
			_ = p.conn.Close()
		}
	})
}

// peer is one connection.
type peer struct {
	conn    *net.UnixConn
	pid     int // of the process at the other end
	greeted bool
	mu      sync.Mutex     // held while an answer is written
	answers sync.WaitGroup // to a wait, under way
	cut     atomic.Bool    // by Disconnect
	grown   int            // bytes, by its changes; only its goroutine uses it
}

// bufferSize is how much is read at once, in bytes.
const bufferSize = 4 << 10

const writeWait = 10 * time.Second // for one frame, before a reader counts as dead

// greet says the server's version and hands out its counter.
func (p *peer) greet(counter *os.File) error {
	hello, err := append(newFrame(kindHello), version).end()
	if err != nil {
		return err
	}
	if err := p.conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	_, _, err = p.conn.WriteMsgUnix(hello, unix.UnixRights(int(counter.Fd())), nil)
	return err
}

// send writes frames, and nothing comes between them.
func (p *peer) send(frames ...[]byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range frames {
		if err := p.conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
			return err
		}
		if _, err := p.conn.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (p *peer) done(id uint64, status nt.Status, at uint64, before ...[]byte) error {
	b, err := newFrame(kindDone).number(id).number(uint64(status)).number(at).end()
	if err != nil {
		return err
	}
	if n := len(before); n > 0 && len(before[n-1])+len(b) <= treeFrame {
		before[n-1] = append(before[n-1][:len(before[n-1]):len(before[n-1])], b...)
		return p.send(before...)
	}
	return p.send(append(before, b)...)
}

func (s *Server) serve(conn net.Conn) {
	defer conn.Close()
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return
	}
	p := &peer{conn: u}
	write := s.mayWrite(p)
	if !s.enter(p, write) {
		return
	}
	defer s.leave(p, write)
	in, most := bufio.NewReaderSize(conn, bufferSize), int64(maxFrame)
	if !write {
		most = strangerFrame
	}
	for {
		kind, r, err := readFrame(in, most)
		if err != nil {
			return
		}
		id, since := r.number(), r.number()
		if r.failed || id == 0 {
			return
		}
		if !p.greeted {
			p.greeted = true
			if p.greet(s.counterFile) != nil {
				return
			}
		}
		status := nt.STATUS_SUCCESS
		switch kind {
		case kindPull:
		case kindWrite:
			var all []cm.Change
			paths := 0 // bytes, which may be many more than the frame's
			err := r.changes(func(c cm.Change) error {
				paths += len(c.Key)
				if all = append(all, c); len(all) > maxWrites || paths > maxFrame {
					return errFrame
				}
				return nil
			})
			if err != nil {
				return
			}
			if status = nt.STATUS_ACCESS_DENIED; write {
				status = s.do(p, all)
			}
		case kindWait:
			if !s.wait(p, waitForOther{id, since}) {
				return
			}
			continue
		default:
			return
		}
		frames, at, err := s.since(since)
		if err != nil || p.done(id, status, at, frames...) != nil {
			return
		}
	}
}

func (s *Server) enter(p *peer, write bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !write && s.strangers >= maxStrangers {
		return false
	}
	if s.peers[p] = true; !write {
		s.strangers++
	}
	return true
}

func (s *Server) leave(p *peer, write bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, p)
	delete(s.waiting, p)
	if !write {
		s.strangers--
	}
}

// wait has a peer told when there is a later change. False if it waits already. One whose last answer
// is on its way waits here for that, so that those who ask and do not read are no goroutine each.
func (s *Server) wait(p *peer, w waitForOther) bool {
	s.mu.Lock()
	_, twice := s.waiting[p]
	s.mu.Unlock()
	if twice {
		return false
	}
	p.answers.Wait() // nobody but this goroutine has it wait again
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.since < s.history.last {
		s.answerWait(p, w)
	} else {
		s.waiting[p] = w
	}
	return true
}

// since gives the frames for who has come to a change, and what they come to.
func (s *Server) since(n uint64) (frames [][]byte, at uint64, err error) {
	look := func() {
		s.mu.Lock()
		_, old := s.history.whole(n)
		if !old {
			frames, at, err = s.history.since(n)
		}
		s.mu.Unlock()
		if !old {
			return
		}
		s.reg.Snapshot(func(all []cm.Change) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if err = s.history.keep(all); err == nil {
				frames, at, err = s.history.since(n)
			}
		})
	}
	if s.opts.Settled != nil {
		s.opts.Settled(look)
	} else {
		look()
	}
	return frames, at, err
}

// mayWrite asks about the process at the other end, SO_PEERCRED.
func (s *Server) mayWrite(p *peer) bool {
	if s.opts.MayWrite == nil {
		return false
	}
	raw, err := p.conn.SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); e != nil || err != nil {
		return false
	}
	p.pid = int(cred.Pid)
	return s.opts.MayWrite(cred.Uid, cred.Gid)
}

// do does a process's changes in order, up to the first that is refused.
func (s *Server) do(p *peer, all []cm.Change) nt.Status {
	status := nt.STATUS_SUCCESS
	f := func() error {
		for _, c := range all {
			if status = s.checked(p, &c); status == nt.STATUS_SUCCESS {
				before := s.reg.Used()
				status = s.one(c)
				p.grown = max(0, p.grown+s.reg.Used()-before)
			}
			if status != nt.STATUS_SUCCESS {
				return nil
			}
		}
		return nil
	}
	if s.opts.Batch == nil {
		_ = f()
	} else if s.opts.Batch(f) != nil {
		return nt.STATUS_REGISTRY_IO_FAILED
	}
	return status
}

// checked asks Check, about the key that a change's path leads to.
func (s *Server) checked(p *peer, c *cm.Change) (status nt.Status) {
	if p.cut.Load() {
		return nt.STATUS_ACCESS_DENIED
	}
	if s.opts.Limit != nil && c.Op != cm.OpDeleteKey && c.Op != cm.OpDeleteValue {
		if most := s.opts.Limit(p.pid); most != 0 && p.grown+len(c.Data) > most {
			return nt.STATUS_REGISTRY_QUOTA_LIMIT
		}
	}
	if s.opts.Check == nil {
		return nt.STATUS_SUCCESS
	}
	c.Key, status = s.reg.Resolve(c.Key, c.Op != cm.OpCreateKey || c.Link)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	return s.opts.Check(p.pid, *c)
}

func (s *Server) one(c cm.Change) nt.Status {
	if c.Op == cm.OpCreateKey {
		_, _, status := s.reg.Create(nil, c.Key, cm.CreateOptions{Class: c.Class, Link: c.Link,
			Volatile: c.Volatile})
		return status
	}
	k, status := s.reg.Open(nil, c.Key, true)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	switch c.Op {
	case cm.OpDeleteKey:
		return k.Delete()
	case cm.OpRenameKey:
		return k.Rename(c.Name)
	case cm.OpSetValue:
		return k.Set(c.Name, c.Type, c.Data)
	case cm.OpDeleteValue:
		return k.DeleteValue(c.Name)
	case cm.OpSetSecurity:
		return k.SetSecurity(c.Data)
	}
	return nt.STATUS_INVALID_PARAMETER
}
