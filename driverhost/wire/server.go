package wire

// The listening side: sockets, limits, and the end.

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/drvhost/drvhost/nt"

	"golang.org/x/sys/unix"
)

// Config says how a Server works. Zero values stand for the defaults.
type Config struct {
	Backend Backend

	MaxInline    int           // bytes of input, and of output, in a message; 64 KiB
	MaxBuffer    int64         // bytes of shared buffer for each File; 64 MiB, negative: none
	MaxRequests  int           // outstanding on a File; 65536
	MaxBytes     int           // of message data outstanding on a File; 16 MiB
	MaxConns     int           // connections; 1024. Each takes a thread
	HelloTimeout time.Duration // from connect to Hello; 10 s

	// Logf, if set, is told what clients did wrong. It must not block.
	Logf func(format string, args ...any)
}

const (
	refusalRoom = 64 // connections over MaxConns that are told so
	backlog     = 128
)

// Server accepts connections and serves them with a Backend.
type Server struct {
	cfg Config
	pid int

	mu      sync.Mutex
	changed sync.Cond // conns
	sock    Socket    // -1: none
	path    string
	conns   map[*Conn]struct{}
	serving bool
	stopped atomic.Bool
	bye     nt.Status
	byeText string
	wakeUp  chan struct{} // closed by Shutdown
}

// NewServer makes a Server that does not listen yet.
func NewServer(cfg Config) *Server {
	setDefault(&cfg.MaxInline, 64<<10)
	setDefault(&cfg.MaxBuffer, 64<<20)
	setDefault(&cfg.MaxRequests, 1<<16)
	setDefault(&cfg.MaxBytes, 16<<20)
	setDefault(&cfg.MaxConns, 1024)
	setDefault(&cfg.HelloTimeout, 10*time.Second)
	cfg.MaxBuffer = max(cfg.MaxBuffer, 0)
	cfg.MaxInline = max(min(cfg.MaxInline, (sendBufferSize()-RequestSize-32)/2), 256)
	cfg.MaxBytes = max(cfg.MaxBytes, 2*cfg.MaxInline)
	s := &Server{
		cfg: cfg, pid: os.Getpid(), sock: -1,
		conns: map[*Conn]struct{}{}, wakeUp: make(chan struct{}),
	}
	s.changed.L = &s.mu
	return s
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// sendBufferSize is how long a message a new socket takes, and 32 bytes: unix_dgram_sendmsg refuses
// more with EMSGSIZE.
func sendBufferSize() int {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 64 << 10
	}
	defer unix.Close(fd)
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return 64 << 10
	}
	return n
}

// Listen makes the socket at path, in place of one on which nobody listens any more.
func (s *Server) Listen(path string) error {
	sock, err := listen(path, backlog)
	if errors.Is(err, syscall.EADDRINUSE) {
		if pid, alive := probe(path); alive {
			return fmt.Errorf("%s: process %d listens there already", path, pid)
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		sock, err = listen(path, backlog)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sock, s.path = sock, path
	return nil
}

// ListenRuntime makes a socket in the runtime directory dir, which it prepares, and removes what
// dead hosts have left there.
func (s *Server) ListenRuntime(dir string) error {
	if err := PrepareRuntimeDir(dir); err != nil {
		return err
	}
	if err := Sweep(dir); err != nil {
		s.logf("runtime directory: %v", err)
	}
	// Under the lock: between bind and listen the socket looks like a dead host's.
	unlock, err := lockRuntimeDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	return s.Listen(HostSocket(dir))
}

// Socket gives the path of the socket, empty before Listen.
func (s *Server) Socket() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.path
}

// Serve accepts connections until Shutdown, and then returns nil.
func (s *Server) Serve() error {
	s.mu.Lock()
	sock := s.sock
	if sock < 0 || s.serving {
		s.mu.Unlock()
		return errors.New("the server does not listen, or serves already")
	}
	s.serving = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.serving = false
		s.sock.Close()
		s.sock = -1
		s.changed.Broadcast()
		s.mu.Unlock()
	}()
	const first, most = 5 * time.Millisecond, 500 * time.Millisecond
	pause := first
	for !s.stopped.Load() {
		conn, e := sock.accept()
		switch e {
		case 0:
			pause = first
			s.start(conn)
		case syscall.EINTR, syscall.ECONNABORTED:
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			s.logf("accept on %s: %v; trying again in %v", s.path, e, pause)
			select {
			case <-time.After(pause):
			case <-s.wakeUp:
			}
			pause = min(2*pause, most)
		default:
			if !s.stopped.Load() {
				return fmt.Errorf("accept on %s: %w", s.path, e)
			}
		}
	}
	return nil
}

// start serves a new connection on a goroutine of its own.
func (s *Server) start(sock Socket) {
	if c, refuse := s.add(sock); c != nil {
		go c.serve(refuse)
	}
}

// ServeConn serves a connection, one end of a socket pair for example, until it ends.
func (s *Server) ServeConn(sock Socket) {
	if c, refuse := s.add(sock); c != nil {
		c.serve(refuse)
	}
}

func (s *Server) add(sock Socket) (c *Conn, refuse string) {
	peer, err := sock.peer()
	if err != nil {
		s.logf("new connection: %v", err)
		sock.Close()
		return nil, ""
	}
	c = newConn(s, sock, peer)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.conns)
	if s.stopped.Load() || n >= s.cfg.MaxConns+refusalRoom {
		sock.Close()
		return nil, ""
	}
	if n >= s.cfg.MaxConns {
		refuse = fmt.Sprintf("the host serves %d connections already", n)
	}
	s.conns[c] = struct{}{}
	return c, refuse
}

func (s *Server) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.changed.Broadcast()
}

// Shutdown removes the socket and begins the end of every connection: nothing more is received,
// what is pending is cancelled and its replies still go out, Files are closed, and clients get a
// goodbye with status and text. It does not wait: see Wait.
func (s *Server) Shutdown(status nt.Status, text string) {
	s.mu.Lock()
	first := s.stopped.CompareAndSwap(false, true)
	if first {
		close(s.wakeUp)
		if s.sock >= 0 {
			_ = os.Remove(s.path)
			s.sock.Shutdown() // accept returns
			if !s.serving {
				s.sock.Close()
				s.sock = -1
			}
		}
	}
	conns := s.snapshot()
	s.mu.Unlock()
	for _, c := range conns {
		c.stop(status, text)
	}
}

// snapshot gives the connections; s.mu is held.
func (s *Server) snapshot() []*Conn {
	conns := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}

// Wait waits until every connection has ended and Serve is about to return, at most for timeout. It
// says whether they have.
func (s *Server) Wait(timeout time.Duration) bool {
	late := false
	t := time.AfterFunc(timeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late = true
		s.changed.Broadcast()
	})
	defer t.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for (len(s.conns) > 0 || s.serving) && !late {
		s.changed.Wait()
	}
	return len(s.conns) == 0 && !s.serving
}

// Abort tells every client that the host ends, when it ends without order: what is pending fails at
// the client with status. It only sends, and waits for nothing that a stuck driver could hold.
func (s *Server) Abort(status nt.Status, text string) {
	m := appendGoodbye(nil, status, text)
	s.mu.Lock()
	conns := s.snapshot()
	s.mu.Unlock()
	for _, c := range conns {
		c.mu.Lock()
		if !c.dead {
			c.sock.TrySend(m)
		}
		c.mu.Unlock()
	}
}

// Outstanding is a request that a client waits for.
type Outstanding struct {
	Peer   Peer
	Name   string // that the client opened
	FileID uint64
	ID     uint64
	Major  nt.MajorFunction
	Code   uint32
}

// Outstanding gives the requests that have been started and not completed, but for those that are
// inside a Start that has not called Blocking.
func (s *Server) Outstanding() []Outstanding {
	s.mu.Lock()
	conns := s.snapshot()
	s.mu.Unlock()
	var out []Outstanding
	for _, c := range conns {
		c.mu.Lock()
		for _, r := range c.pending {
			out = append(out, Outstanding{
				Peer: c.peer, Name: c.name, FileID: c.fileID,
				ID: r.ID, Major: r.Major, Code: r.Code,
			})
		}
		c.mu.Unlock()
	}
	return out
}

// Conns is how many connections there are.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) logf(format string, args ...any) {
	if f := s.cfg.Logf; f != nil {
		f(format, args...)
	}
}
