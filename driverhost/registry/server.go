package registry

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// ServerOptions is what a server may do.
type ServerOptions struct {
	// MayWrite says who may change the registry; nil is nobody. Whoever can connect may read.
	MayWrite func(uid, gid uint32) bool
	// Batch, if set, makes the changes of one request durable as one.
	Batch func(func() error) error
}

// Server is the side that has the registry.
type Server struct {
	reg  *cm.Registry
	opts ServerOptions

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]bool
	peers     map[*peer]bool
	wg        sync.WaitGroup
}

// NewServer makes a server of a registry, whose OnChange it puts itself behind: it is to be called
// before others use the registry.
func NewServer(reg *cm.Registry, opts ServerOptions) *Server {
	s := &Server{reg: reg, opts: opts, listeners: map[net.Listener]bool{}, peers: map[*peer]bool{}}
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
	return s
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
		if err != nil {
			return err
		}
		go s.ServeConn(conn)
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
	s.closed = true
	var err error
	for l := range s.listeners {
		err = errors.Join(err, l.Close())
	}
	clear(s.listeners)
	for p := range s.peers {
		p.cut()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

func (s *Server) tell(c cm.Change) {
	b, err := encode(event{Change: &c})
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.peers {
		if err != nil {
			p.cut()
			continue
		}
		p.put(b)
	}
}

// peer is one connection; what it is told waits in order for its writer.
type peer struct {
	conn   net.Conn
	mu     sync.Mutex
	more   *sync.Cond
	queue  [][]byte
	queued int
	gone   bool
}

func (p *peer) put(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queued += len(b); p.queued > maxQueued {
		p.end()
		return
	}
	p.queue = append(p.queue, b)
	p.more.Signal()
}

func (p *peer) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}

func (p *peer) end() {
	p.gone, p.queue = true, nil
	_ = p.conn.Close()
	p.more.Signal()
}

// bufferSize is how much is read or written at once, in bytes.
const bufferSize = 16 << 10

const writeWait = 10 * time.Second // for one frame, before a reader counts as dead

// write sends the tree, then what comes.
func (p *peer) write(tree []cm.Change) {
	defer p.cut()
	out := bufio.NewWriterSize(p.conn, bufferSize)
	send := func(b []byte, err error) bool {
		if err == nil {
			err = p.conn.SetWriteDeadline(time.Now().Add(writeWait))
		}
		if err == nil {
			_, err = out.Write(b)
		}
		return err == nil
	}
	if !send(encode(event{Version: version})) {
		return
	}
	for i := range tree {
		if !send(encode(event{Change: &tree[i]})) {
			return
		}
	}
	if !send(encode(event{Ready: true})) {
		return
	}
	for {
		p.mu.Lock()
		if len(p.queue) == 0 && !p.gone {
			p.mu.Unlock()
			if out.Flush() != nil {
				return
			}
			p.mu.Lock()
		}
		for len(p.queue) == 0 && !p.gone {
			p.more.Wait()
		}
		if p.gone {
			p.mu.Unlock()
			return
		}
		b := p.queue[0]
		p.queue = p.queue[1:]
		p.queued -= len(b)
		p.mu.Unlock()
		if !send(b, nil) {
			return
		}
	}
}

func (s *Server) serve(conn net.Conn) {
	p := &peer{conn: conn}
	p.more = sync.NewCond(&p.mu)
	defer p.cut()
	write := s.mayWrite(conn)
	var tree []cm.Change
	open := false
	s.reg.Snapshot(func(all []cm.Change) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if open = !s.closed; open {
			tree, s.peers[p] = all, true
		}
	})
	if !open {
		return
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		p.write(tree)
	}()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.peers, p)
	}()
	in := bufio.NewReaderSize(conn, bufferSize)
	for {
		var q request
		if decode(in, &q) != nil || q.ID == 0 || len(q.Changes) > maxWrites {
			return
		}
		status := nt.STATUS_ACCESS_DENIED
		if write {
			status = s.do(q.Changes)
		}
		b, err := encode(event{Reply: q.ID, Status: status})
		if err != nil {
			return
		}
		p.put(b)
	}
}

// mayWrite asks about the process at the other end, SO_PEERCRED.
func (s *Server) mayWrite(conn net.Conn) bool {
	u, ok := conn.(*net.UnixConn)
	if !ok || s.opts.MayWrite == nil {
		return false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); e != nil || err != nil {
		return false
	}
	return s.opts.MayWrite(cred.Uid, cred.Gid)
}

// do does changes in order, up to the first that is refused.
func (s *Server) do(all []cm.Change) nt.Status {
	status := nt.STATUS_SUCCESS
	f := func() error {
		for _, c := range all {
			if status = s.one(c); status != nt.STATUS_SUCCESS {
				return nil
			}
		}
		return nil
	}
	if len(all) < 2 || s.opts.Batch == nil {
		_ = f()
	} else if s.opts.Batch(f) != nil {
		return nt.STATUS_REGISTRY_IO_FAILED
	}
	return status
}

func (s *Server) one(c cm.Change) nt.Status {
	if c.Op == cm.OpCreateKey {
		_, _, status := s.reg.Create(nil, c.Key, cm.CreateOptions{Class: c.Class, Link: c.Link})
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
