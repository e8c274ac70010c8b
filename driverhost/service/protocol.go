package service

// What drvhost sc and the manager say to each other: on services.sock a line of JSON each way.

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// ProtocolVersion is the version of the manager's protocol.
const ProtocolVersion = 1

// Limits of the manager's socket.
const (
	maxRequest  = 1 << 20          // bytes of a line
	maxClients  = 256              // connections at once
	idleLimit   = 30 * time.Second // a client may be silent
	clientLimit = 5 * time.Minute  // a client waits for an answer
)

// The requests.
const (
	DoCreate     = "create"
	DoStart      = "start"
	DoStop       = "stop"
	DoDelete     = "delete"
	DoChange     = "change"
	DoQuery      = "query" // of one service, or of all without a name
	DoConfig     = "config"
	DoDependents = "dependents"
	DoTag        = "tag"
)

// Request is what a client asks for.
type Request struct {
	Version int    `json:"version"`
	Do      string `json:"do"`
	Name    string `json:"name,omitempty"`
	// Config is of create; of change, with Fields naming its JSON fields that are to be changed.
	Config *Config  `json:"config,omitempty"`
	Fields []string `json:"fields,omitempty"`
}

// Response is the answer.
type Response struct {
	Version  int      `json:"version"`
	Code     Code     `json:"code"`
	Text     string   `json:"text"`
	Detail   string   `json:"detail"`
	Services []Status `json:"services,omitempty"`
	Config   *Config  `json:"config,omitempty"`
	Tag      uint32   `json:"tag,omitempty"`
}

// Server answers clients.
type Server struct {
	m     *Manager
	users atomic.Pointer[[]uint32]
	log   hclog.Logger

	mu     sync.Mutex
	conns  map[net.Conn]time.Time // since when the manager waits for the client; zero: it does not
	closed bool
}

// NewServer makes a server. Beside the process's own user and root, users may change services.
func NewServer(m *Manager, users ...uint32) *Server {
	s := &Server{m: m, log: m.log, conns: map[net.Conn]time.Time{}}
	s.SetUsers(users)
	return s
}

// SetUsers says who may change services from now on, beside the process's own user and root.
func (s *Server) SetUsers(users []uint32) { s.users.Store(&users) }

// Close ends all conversations. The listener is the caller's.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
}

// Serve answers who connects, until the listener is closed.
func (s *Server) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
				time.Sleep(10 * time.Millisecond) // until some are closed
				continue
			}
			return err
		}
		s.mu.Lock()
		if len(s.conns) >= maxClients {
			s.evict()
		}
		full := s.closed || len(s.conns) >= maxClients
		if !full {
			s.conns[conn] = time.Now()
		}
		s.mu.Unlock()
		if full {
			_ = conn.Close()
			continue
		}
		go s.serve(conn)
	}
}

// evict ends the conversation with the client that the manager has waited for longest, so that those
// who hold connections keep nobody out. s.mu is held.
func (s *Server) evict() {
	var longest net.Conn
	for c, since := range s.conns {
		if !since.IsZero() && (longest == nil || since.Before(s.conns[longest])) {
			longest = c
		}
	}
	if longest != nil {
		delete(s.conns, longest)
		_ = longest.Close()
	}
}

// waits notes since when the manager waits for a client, or that it does not.
func (s *Server) waits(conn net.Conn, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.conns[conn]; ok {
		s.conns[conn] = since
	}
}

// peer gives the user at the other end.
func peer(conn net.Conn) (uid uint32, err error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

func (s *Server) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, conn)
	}()
	uid, err := peer(conn)
	if err != nil {
		return
	}
	owner := uid == 0 || uid == uint32(os.Geteuid())
	in := bufio.NewReader(conn)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(idleLimit))
		line, err := readLine(in, maxRequest)
		if err != nil && !errors.Is(err, errLine) {
			return
		}
		s.waits(conn, time.Time{})
		response := &Response{}
		may := owner || slices.Contains(*s.users.Load(), uid)
		var r Request
		switch {
		case err != nil:
			s.fill(response, fail(InvalidParameter, "%v", err))
		case json.Unmarshal(line, &r) != nil:
			err = fail(InvalidParameter, "not a request")
			s.fill(response, err)
		case r.Version != ProtocolVersion:
			s.fill(response, fail(NotSupported, "version %d: this manager has %d", r.Version,
				ProtocolVersion))
		case !may && !harmless(r.Do):
			s.fill(response, fail(AccessDenied, "user %d may not change services", uid))
		default:
			s.fill(response, s.do(&r, response, owner))
		}
		b, e := json.Marshal(response)
		if e != nil {
			return
		}
		s.waits(conn, time.Now())
		_ = conn.SetWriteDeadline(time.Now().Add(idleLimit))
		if _, e := conn.Write(append(b, '\n')); e != nil || err != nil {
			return
		}
	}
}

func (s *Server) fill(r *Response, err error) {
	r.Version = ProtocolVersion
	r.Code, r.Detail = CodeOf(err)
	r.Text = r.Code.Error()
}

// harmless says whether a request changes nothing.
func harmless(do string) bool {
	return slices.Contains([]string{DoQuery, DoConfig, DoDependents, DoTag}, do)
}

// mayRun says whether a user may have a request done as far as commands are concerned: they run with
// the manager's rights, so only its owner says which. Others may take one away.
func mayRun(r *Request, owner bool) bool {
	sets := r.Do == DoCreate || slices.Contains(r.Fields, "command") ||
		slices.Contains(r.Fields, "failure")
	return owner || !sets || r.Config == nil || r.Config.Failure.Command == ""
}

func (s *Server) do(r *Request, out *Response, owner bool) (err error) {
	if !mayRun(r, owner) {
		return fail(AccessDenied, "only the manager's own user and root may set a command")
	}
	switch r.Do {
	case DoCreate:
		if r.Config == nil {
			return fail(InvalidParameter, "no configuration")
		}
		return s.m.Create(*r.Config)
	case DoStart, DoStop:
		if r.Do == DoStart {
			err = s.m.Start(r.Name)
		} else {
			err = s.m.Stop(r.Name)
		}
		if st, e := s.m.Query(r.Name); e == nil {
			out.Services = []Status{st}
		}
		return err
	case DoDelete:
		return s.m.Delete(r.Name)
	case DoChange:
		if r.Config == nil {
			return fail(InvalidParameter, "no configuration")
		}
		return s.m.Change(r.Name, func(c *Config) error { return merge(c, r.Config, r.Fields) })
	case DoQuery:
		if r.Name == "" {
			out.Services = s.m.QueryAll()
			return nil
		}
		st, err := s.m.Query(r.Name)
		if err == nil {
			out.Services = []Status{st}
		}
		return err
	case DoConfig:
		c, err := s.m.Config(r.Name)
		if err == nil {
			out.Config = &c
		}
		return err
	case DoDependents:
		out.Services, err = s.m.Dependents(r.Name)
		return err
	case DoTag:
		out.Tag = s.m.NextTag(r.Name)
		return nil
	}
	return fail(InvalidParameter, "request %q", r.Do)
}

// merge takes the named fields of one configuration into another.
func merge(into, from *Config, fields []string) error {
	for _, f := range fields {
		switch f {
		case "type":
			into.Type = from.Type
		case "start":
			into.Start = from.Start
		case "error_control":
			into.ErrorControl = from.ErrorControl
		case "image_path":
			into.ImagePath = from.ImagePath
		case "display_name":
			into.DisplayName = from.DisplayName
		case "description":
			into.Description = from.Description
		case "group":
			into.Group = from.Group
		case "tag":
			into.Tag = from.Tag
		case "depend":
			into.DependOnService, into.DependOnGroup = from.DependOnService, from.DependOnGroup
		case "host_group":
			into.HostGroup = from.HostGroup
		case "failure":
			into.Failure = from.Failure
			into.Failure.approve = true
		case "reset_period":
			into.Failure.ResetPeriod = from.Failure.ResetPeriod
		case "actions":
			into.Failure.Actions = from.Failure.Actions
		case "command":
			into.Failure.Command, into.Failure.approve = from.Failure.Command, true
		case "reboot_message":
			into.Failure.RebootMessage = from.Failure.RebootMessage
		case "on_non_crash":
			into.Failure.OnNonCrash = from.Failure.OnNonCrash
		default:
			return fail(InvalidParameter, "field %q", f)
		}
	}
	return nil
}

// Client is a connection to a manager.
type Client struct {
	mu   sync.Mutex
	conn net.Conn
	in   *bufio.Reader
}

// Dial connects to the manager that listens on a socket. The error has ManagerNotRunning in its
// chain when nobody does.
func Dial(socket string) (*Client, error) {
	var conn net.Conn
	err := withShort(socket, func(short string) (err error) {
		conn, err = net.Dial("unix", short)
		return err
	})
	if err != nil {
		code := ManagerNotRunning
		if errors.Is(err, os.ErrPermission) {
			code = AccessDenied
		}
		return nil, fail(code, "%v", err)
	}
	return &Client{conn: conn, in: bufio.NewReader(conn)}, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Do sends a request and waits for its answer. The error is the connection's, or of the answer's
// code.
func (c *Client) Do(r Request) (*Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Version = ProtocolVersion
	b, err := json.Marshal(&r)
	if err != nil {
		return nil, err
	}
	_ = c.conn.SetDeadline(time.Now().Add(clientLimit))
	if _, err := c.conn.Write(append(b, '\n')); err != nil {
		return nil, fail(ManagerNotRunning, "%v", err)
	}
	line, err := readLine(c.in, 64<<20)
	if err != nil {
		return nil, fail(ManagerNotRunning, "the manager has not answered: %v", err)
	}
	var response Response
	if err := json.Unmarshal(line, &response); err != nil {
		return nil, fmt.Errorf("the manager's answer: %w", err)
	}
	if response.Code != Success {
		return &response, &Error{response.Code, response.Detail}
	}
	return &response, nil
}
