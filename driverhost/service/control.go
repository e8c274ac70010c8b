package service

// What a manager and the host of a service say to each other.
//
// The host listens on hosts/NAME/control.sock, which the manager has made, and holds
// hosts/NAME/lock, which it has inherited locked: who gets that lock knows that there is no host.
// Both are lines of JSON: the manager's a [hostRequest], behind a start the image's bytes; the
// host's a [hostReply] for each, in any order, and one of id 0 when it has crashed. After the request
// registry, which has no reply, the connection is one of package driverhost/registry: a sandboxed host
// cannot connect to anything, so the manager comes to it.

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// ControlVersion is the version of what is said.
const ControlVersion = 1

// The descriptors that a host inherits.
const (
	HostLockFD   = 3 // holds the lock, and is not used otherwise
	HostListenFD = 4 // the socket to listen on
)

// Limits of what is read.
const (
	maxControlLine = 1 << 20
	maxImage       = 256 << 20
)

type hostRequest struct {
	ID      uint64 `json:"id"`
	Do      string `json:"do"` // hello, start, keep, stop, end, answer or registry
	Service string `json:"service,omitempty"`
	File    string `json:"file,omitempty"`
	Size    int64  `json:"size,omitempty"`    // of the image that follows the line
	Answers bool   `json:"answers,omitempty"` // the manager answers what the host asks
	Stay    bool   `json:"stay,omitempty"`    // of stop: the host does not end with its last service
	Mark    bool   `json:"mark,omitempty"`    // of stop: a driver in use is unloaded when it is not
	Code    Code   `json:"code,omitempty"`    // of answer
	Status  uint32 `json:"status,omitempty"`  // the NTSTATUS behind Code, or 0
}

type hostReply struct {
	ID       uint64   `json:"id"`
	Version  int      `json:"version"`
	PID      int      `json:"pid"`
	Services []string `json:"services"` // that are loaded
	Code     Code     `json:"code,omitempty"`
	Detail   string   `json:"detail,omitempty"`
	Crash    string   `json:"crash,omitempty"`  // the bugcheck that ends the host
	Report   string   `json:"report,omitempty"` // where it is kept
	Status   uint32   `json:"status,omitempty"` // the NTSTATUS behind Code, or 0
	Marked   []string `json:"marked,omitempty"` // of Services, those that are unloaded when they are idle
	Ask      string   `json:"ask,omitempty"`    // see upcall.go
	Service  string   `json:"service,omitempty"`
}

// HostSide does what a manager asks a host to do. Load, Unload, Mark and End are called one at a
// time while no driver waits in an up-call.
type HostSide interface {
	// Load loads a service's driver.
	Load(service, file string, image []byte) error
	// Unload unloads it again; others stay.
	Unload(service string) error
	// Mark unloads it when nothing uses it any more: at once, or later, which it says by pending
	// and then by Control.Unloaded.
	Mark(service string) (pending bool, err error)
	// Keep takes a mark away.
	Keep(service string) error
	// End has the host end, its last service with it. It need not have ended when End returns.
	End() error
	// Follow has the host follow the registry of the manager at the other end of a connection, in place
	// of one that is gone. It keeps the connection.
	Follow(conn net.Conn)
}

// Control is a host's end of the conversation.
type Control struct {
	l    net.Listener
	side HostSide

	mu       sync.Mutex // guards what follows
	services map[string]*hosted
	conns    map[*controlConn]struct{}
	managers int // connections so far of which the manager answers
	asks     asks

	work turns // of side
}

// hosted is a service in a host, by its folded name.
type hosted struct {
	name   string
	done   chan struct{} // closed when it is loaded, or was not
	err    error
	marked bool // guarded by Control.mu
}

type controlConn struct {
	net.Conn
	mu      sync.Mutex // held while a line is written
	answers int        // the manager at the other end answers up-calls, from 1; guarded by Control.mu
}

// InheritControl takes the descriptors that the manager has left this process.
func InheritControl() (*Control, error) {
	// Who listens last is whom SO_PEERCRED names to the next manager.
	if err := unix.Listen(HostListenFD, unix.SOMAXCONN); err != nil {
		return nil, fmt.Errorf("no control socket (descriptor %d): %w", HostListenFD, err)
	}
	unix.CloseOnExec(HostLockFD)
	f := os.NewFile(HostListenFD, "control.sock")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return &Control{l: l, services: map[string]*hosted{}, conns: map[*controlConn]struct{}{}}, nil
}

// Serve answers managers until the process ends.
func (c *Control) Serve(side HostSide) error {
	c.side = side
	for {
		conn, err := c.l.Accept()
		if err != nil {
			return err
		}
		go c.serve(&controlConn{Conn: conn})
	}
}

// Crashed tells every manager that the host is about to end, and where its report is.
func (c *Control) Crashed(crash, report string) {
	r := c.reply(0, nil)
	r.Crash, r.Report = crash, report
	c.mu.Lock()
	var all []*controlConn
	for conn := range c.conns {
		all = append(all, conn)
	}
	c.mu.Unlock()
	for _, conn := range all {
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_ = conn.send(r)
	}
}

func (c *controlConn) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.Write(append(b, '\n'))
	return err
}

func (c *Control) reply(id uint64, err error) *hostReply {
	r := &hostReply{ID: id, Version: ControlVersion, PID: os.Getpid()}
	r.Code, r.Detail = CodeOf(err)
	r.Status = statusIn(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.services {
		select {
		case <-h.done:
			r.Services = append(r.Services, h.name)
			if h.marked {
				r.Marked = append(r.Marked, h.name)
			}
		default:
		}
	}
	slices.Sort(r.Services)
	slices.Sort(r.Marked)
	return r
}

func (c *Control) serve(conn *controlConn) {
	kept := false
	defer func() {
		if !kept {
			_ = conn.Close()
		}
	}()
	c.mu.Lock()
	c.conns[conn] = struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.conns, conn)
		c.disconnected(conn)
	}()
	in := bufio.NewReaderSize(conn, 4096)
	for {
		line, err := readLine(in, maxControlLine)
		if err != nil {
			return
		}
		var r hostRequest
		if json.Unmarshal(line, &r) != nil || r.Size < 0 || r.Size > maxImage {
			return
		}
		if r.Do == doRegistry {
			if in.Buffered() == 0 { // else it does not wait until the host speaks
				kept = true
				c.side.Follow(conn.Conn)
			}
			return
		}
		if r.Answers {
			c.answersOn(conn)
		}
		if r.Do == doAnswer {
			c.answered(conn, &r)
			continue
		}
		image := make([]byte, r.Size)
		if _, err := io.ReadFull(in, image); err != nil {
			return
		}
		go func() { _ = conn.send(c.reply(r.ID, c.do(&r, image))) }()
	}
}

// doRegistry is the request that makes a connection one of the registry.
const doRegistry = "registry"

// doAnswer is the request that answers an up-call, and has no reply.
const doAnswer = "answer"

func (c *Control) do(r *hostRequest, image []byte) error {
	switch r.Do {
	case "hello":
		step("host: hello")
		return nil
	case "start":
		return c.start(r, image)
	case "keep":
		return c.keep(r.Service)
	case "stop":
		return c.stop(r)
	case "end":
		c.EndAsks()
		c.work.begin()
		defer c.work.end()
		return c.side.End()
	}
	return fail(InvalidParameter, "request %q", r.Do)
}

// start loads a service. Asked again, it gives the same answer and loads nothing.
func (c *Control) start(r *hostRequest, image []byte) error {
	key := cm.Fold(r.Service)
	c.mu.Lock()
	h, there := c.services[key]
	if !there {
		h = &hosted{name: r.Service, done: make(chan struct{})}
		c.services[key] = h
		delete(c.asks.untold, key)
	}
	c.mu.Unlock()
	if there {
		<-h.done
		return h.err
	}
	c.work.begin()
	err := c.side.Load(r.Service, r.File, image)
	c.work.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.err = err; err != nil {
		delete(c.services, key)
	}
	close(h.done)
	return err
}

// keep takes the mark from a service.
func (c *Control) keep(name string) error {
	c.mu.Lock()
	h := c.services[cm.Fold(name)]
	c.mu.Unlock()
	if h == nil {
		return NotActive
	}
	<-h.done
	if err := c.side.Keep(h.name); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h.marked = false
	return nil
}

// stop unloads a service; the last one ends the host, unless that is to stay.
func (c *Control) stop(r *hostRequest) error {
	key := cm.Fold(r.Service)
	c.mu.Lock()
	h := c.services[key]
	c.mu.Unlock()
	if h == nil {
		return NotActive
	}
	<-h.done
	c.mu.Lock()
	last := len(c.services) == 1 && !r.Stay
	h.marked = h.marked || r.Mark // before it can be unloaded
	c.mu.Unlock()
	if last {
		c.EndAsks() // so that what is under way can end
	}
	c.work.begin()
	defer c.work.end()
	var err error
	pending := false
	switch {
	case last:
		err = c.side.End()
	case r.Mark:
		pending, err = c.side.Mark(h.name)
	default:
		err = c.side.Unload(h.name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		h.marked = h.marked && !r.Mark
	case !pending && c.services[key] == h:
		delete(c.services, key)
	}
	return err
}

// errLine says that a line is longer than it may be.
var errLine = errors.New("the line is too long")

// readLine reads a line of at most limit bytes.
func readLine(in *bufio.Reader, limit int) (line []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > limit:
			return nil, errLine
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// link is a manager's end of the conversation with one host.
type link struct {
	conn controlConn
	pid  int
	kill func() // ends the process

	mu     sync.Mutex // guards what follows
	next   uint64
	wait   map[uint64]chan hostReply
	broken bool
	asked  func(hostReply) // takes up-calls; nil while they are not answered
	crash  hostReply       // of id 0, if there was one

	ended chan struct{} // closed when nothing comes any more
	gone  chan struct{} // closed by the manager when all is told
}

func newLink(conn net.Conn) *link {
	return &link{conn: controlConn{Conn: conn}, wait: map[uint64]chan hostReply{},
		ended: make(chan struct{}), gone: make(chan struct{})}
}

// read takes replies until there are no more.
func (l *link) read() {
	in := bufio.NewReader(l.conn.Conn)
	for {
		line, err := readLine(in, maxControlLine)
		if err != nil {
			break
		}
		var r hostReply
		if json.Unmarshal(line, &r) != nil || r.Version != ControlVersion {
			break
		}
		l.mu.Lock()
		if asked := l.asked; r.Ask != "" {
			l.mu.Unlock()
			if asked != nil {
				asked(r)
			}
			continue
		}
		if r.ID == 0 {
			l.crash = r
		} else if ch := l.wait[r.ID]; ch != nil {
			delete(l.wait, r.ID)
			ch <- r
		}
		l.mu.Unlock()
	}
	l.mu.Lock()
	l.broken = true
	l.mu.Unlock()
	_ = l.conn.Close()
	close(l.ended)
}

// call asks the host and waits for its answer. RequestTimeout when it does not come,
// ProcessAborted when the host ends instead; other errors are the host's.
func (l *link) call(r hostRequest, image []byte, limit time.Duration) (hostReply, error) {
	ch := make(chan hostReply, 1)
	l.mu.Lock()
	l.next++
	r.ID, r.Size, r.Answers = l.next, int64(len(image)), l.asked != nil
	broken := l.broken
	if !broken {
		l.wait[r.ID] = ch
	}
	l.mu.Unlock()
	if broken {
		return hostReply{}, l.aborted()
	}
	_ = l.conn.SetWriteDeadline(time.Now().Add(limit))
	b, err := json.Marshal(&r)
	if err != nil {
		return hostReply{}, err
	}
	l.conn.mu.Lock()
	buffers := net.Buffers{append(b, '\n'), image}
	_, err = buffers.WriteTo(l.conn.Conn)
	l.conn.mu.Unlock()
	if err != nil {
		_ = l.conn.Close()
		<-l.ended
		return hostReply{}, l.aborted()
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	answered := func(reply hostReply) (hostReply, error) {
		if reply.Code != Success {
			err := &Error{reply.Code, reply.Detail}
			if reply.Status != 0 {
				return reply, &statusError{err, nt.Status(reply.Status)}
			}
			return reply, err
		}
		return reply, nil
	}
	select {
	case reply := <-ch:
		return answered(reply)
	case <-l.ended:
		select {
		case reply := <-ch: // it has answered before it ended
			return answered(reply)
		default:
		}
		return hostReply{}, l.aborted()
	case <-timer.C:
		l.mu.Lock()
		delete(l.wait, r.ID)
		l.mu.Unlock()
		return hostReply{}, RequestTimeout
	}
}

// aborted gives the error of a host that has ended.
func (l *link) aborted() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.crash.Crash != "" {
		return &Error{ProcessAborted, l.crash.Crash}
	}
	return &Error{ProcessAborted, "the service's host has ended"}
}
