package service

// What a host asks its manager for: a driver in it has called ZwLoadDriver or ZwUnloadDriver, or
// one that was marked by that has been unloaded.
//
// On the control connection such an up-call is a [hostReply] with Ask and a number of the host's
// own, from askNumbers on, which the manager answers by the request answer. A manager says that it
// does by Answers; one of an older build ignores what is asked, and is not asked. A host that
// loses its manager gets no answer any more: its driver is told STATUS_PORT_DISCONNECTED, and may
// ask the next one, which does what is not done yet.

import (
	"errors"
	"sync"
	"time"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// What a host asks, or tells.
const (
	askStart    = "start"
	askStop     = "stop"
	askUnloaded = "unloaded" // tells that a marked service has gone; not answered
)

const (
	askNumbers   = 1 << 62         // from here on are the numbers of up-calls
	maxAsks      = 16              // up-calls of a host at once, and so the depth of loads
	askLimit     = clientLimit     // an answer may take: a service and all that it depends on
	managerGrace = 2 * time.Second // a manager that has connected may take to say that it answers
)

// asking is an up-call under way.
type asking struct {
	conn    *controlConn
	what    string
	service string
	status  chan nt.Status // has room for one
}

// asks are a host's up-calls. Control.mu guards them.
type asks struct {
	next   uint64
	all    map[uint64]*asking
	ending bool // the host ends: nothing is asked any more
	// untold are marked services that have gone while no manager answered, by folded names.
	untold map[string]string
}

// LoadService has the manager start a service: what ZwLoadDriver does in a service's host.
//
// Besides statuses of the service's start: STATUS_PORT_DISCONNECTED when the manager is gone or
// goes, STATUS_NOT_SUPPORTED when it is of a build without up-calls, STATUS_IO_TIMEOUT when it
// does not answer, STATUS_SHUTDOWN_IN_PROGRESS when this host ends, STATUS_INSUFFICIENT_RESOURCES
// when 16 up-calls are under way, or as many services run as a host may start.
// STATUS_POSSIBLE_DEADLOCK when the service depends on what waits for this up-call,
// STATUS_DRIVER_BLOCKED for a service that is disabled.
func (c *Control) LoadService(name string) nt.Status { return c.ask(askStart, name) }

// UnloadService has the manager stop a service: what ZwUnloadDriver does in a service's host. The
// statuses are those of LoadService, STATUS_ACCESS_DENIED for a service that this host may not
// stop, and STATUS_RESOURCE_IN_USE while services run that depend on it.
func (c *Control) UnloadService(name string) nt.Status { return c.ask(askStop, name) }

func (c *Control) ask(what, service string) nt.Status {
	a := &asking{what: what, service: cm.Fold(service), status: make(chan nt.Status, 1)}
	id, status := c.beginAsk(a)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	c.work.wait(1) // what the manager does for this may be to load a driver here
	defer c.work.wait(-1)
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.asks.all, id)
	}()
	r := c.reply(id, nil)
	r.Ask, r.Service = what, service
	if a.conn.send(r) != nil {
		return nt.STATUS_PORT_DISCONNECTED
	}
	limit := time.NewTimer(askLimit)
	defer limit.Stop()
	select {
	case status := <-a.status:
		return status
	case <-limit.C:
		return nt.STATUS_IO_TIMEOUT
	}
}

// beginAsk finds the connection to ask on.
func (c *Control) beginAsk(a *asking) (id uint64, status nt.Status) {
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		c.mu.Lock()
		status = c.askOn(a)
		if status == nt.STATUS_SUCCESS {
			c.asks.next++
			id = askNumbers + c.asks.next
			if c.asks.all == nil {
				c.asks.all = map[uint64]*asking{}
			}
			c.asks.all[id] = a
		}
		c.mu.Unlock()
		if status != nt.STATUS_NOT_SUPPORTED || time.Since(start) > managerGrace {
			return id, status
		}
	}
}

// askOn gives an up-call the connection to ask on. c.mu is held.
func (c *Control) askOn(a *asking) nt.Status {
	switch {
	case c.asks.ending:
		return nt.STATUS_SHUTDOWN_IN_PROGRESS
	case len(c.asks.all) >= maxAsks:
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	a.conn = c.answering()
	switch {
	case a.conn != nil:
		return nt.STATUS_SUCCESS
	case len(c.conns) > 0:
		return nt.STATUS_NOT_SUPPORTED
	}
	return nt.STATUS_PORT_DISCONNECTED
}

// answering gives the newest connection of a manager that answers, or nil. c.mu is held.
func (c *Control) answering() (newest *controlConn) {
	for conn := range c.conns {
		if conn.answers != 0 && (newest == nil || conn.answers > newest.answers) {
			newest = conn
		}
	}
	return newest
}

// answersOn notes that the manager at a connection answers up-calls.
func (c *Control) answersOn(conn *controlConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn.answers != 0 {
		return
	}
	c.managers++
	conn.answers = c.managers
	// It may have found the host when they were still there.
	for _, name := range c.asks.untold {
		go c.tell(conn, name)
	}
	c.asks.untold = nil
}

// answered takes the manager's answer.
func (c *Control) answered(conn *controlConn, r *hostRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.asks.all[r.ID]; a != nil && a.conn == conn {
		a.end(statusFor(r.Code, r.Status))
	}
}

// end gives an up-call its status, if it has none.
func (a *asking) end(status nt.Status) {
	select {
	case a.status <- status:
	default:
	}
}

// disconnected ends the up-calls on a connection that is gone. c.mu is held.
func (c *Control) disconnected(conn *controlConn) {
	for _, a := range c.asks.all {
		if a.conn == conn {
			a.end(nt.STATUS_PORT_DISCONNECTED)
		}
	}
}

// EndAsks ends the up-calls that are under way, and lets none begin: the host ends. A driver that
// unloads one of this host's has success then.
func (c *Control) EndAsks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asks.ending = true
	for _, a := range c.asks.all {
		if h := c.services[a.service]; a.what == askStop && h != nil {
			a.end(nt.STATUS_SUCCESS)
		}
		a.end(nt.STATUS_SHUTDOWN_IN_PROGRESS)
	}
}

// Unloaded says that a driver that HostSide.Mark has marked is unloaded.
func (c *Control) Unloaded(service string) {
	key := cm.Fold(service)
	c.mu.Lock()
	h := c.services[key]
	if h == nil || !h.marked {
		c.mu.Unlock()
		return
	}
	delete(c.services, key)
	conn := c.answering()
	if conn == nil {
		if c.asks.untold == nil {
			c.asks.untold = map[string]string{}
		}
		c.asks.untold[key] = h.name
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.tell(conn, h.name)
}

// tell tells a manager that a marked service has gone. One that has ended meanwhile does without:
// the next one sees what is there.
func (c *Control) tell(conn *controlConn, service string) {
	c.mu.Lock()
	c.asks.next++
	id := askNumbers + c.asks.next
	c.mu.Unlock()
	r := c.reply(id, nil)
	r.Ask, r.Service = askUnloaded, service
	_ = conn.send(r)
}

// turns has the host do one thing at a time, and more while drivers wait in up-calls: what they
// wait for may be among it.
type turns struct {
	mu      sync.Mutex
	cond    sync.Cond
	busy    int
	waiting int // up-calls
}

func (t *turns) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cond.L = &t.mu
	for t.busy > t.waiting {
		t.cond.Wait()
	}
	t.busy++
}

func (t *turns) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy--
	t.cond.Broadcast()
}

// wait adds to the number of up-calls.
func (t *turns) wait(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting += n
	t.cond.Broadcast()
}

// statusError is the error of a code that stands for a status of the kernel's.
type statusError struct {
	err    *Error
	status nt.Status
}

// Error gives the code's text and the detail.
func (e *statusError) Error() string { return e.err.Error() }

// Unwrap gives the error without the status.
func (e *statusError) Unwrap() error { return e.err }

// StatusError gives the error for a status with a text.
func StatusError(status nt.Status, text string) error {
	return &statusError{&Error{FromStatus(status), text}, status}
}

// statusIn gives the status that an error stands for, or 0.
func statusIn(err error) uint32 {
	var e *statusError
	if errors.As(err, &e) {
		return uint32(e.status)
	}
	return 0
}

// codeStatuses are the statuses by which a driver is told of codes.
var codeStatuses = map[Code]nt.Status{
	Success:             nt.STATUS_SUCCESS,
	FileNotFound:        nt.STATUS_OBJECT_NAME_NOT_FOUND,
	AccessDenied:        nt.STATUS_ACCESS_DENIED,
	NotEnoughMemory:     nt.STATUS_INSUFFICIENT_RESOURCES,
	NotSupported:        nt.STATUS_NOT_SUPPORTED,
	InvalidParameter:    nt.STATUS_INVALID_PARAMETER,
	InvalidName:         nt.STATUS_OBJECT_NAME_INVALID,
	ProcNotFound:        nt.STATUS_DRIVER_ENTRYPOINT_NOT_FOUND,
	AlreadyExists:       nt.STATUS_OBJECT_NAME_COLLISION,
	BadExeFormat:        nt.STATUS_INVALID_IMAGE_FORMAT,
	InvalidImageHash:    nt.STATUS_INVALID_IMAGE_HASH,
	RegistryIOFailed:    nt.STATUS_REGISTRY_IO_FAILED,
	DependentRunning:    nt.STATUS_RESOURCE_IN_USE,
	InvalidControl:      nt.STATUS_INVALID_DEVICE_REQUEST,
	RequestTimeout:      nt.STATUS_IO_TIMEOUT,
	AlreadyRunning:      nt.STATUS_IMAGE_ALREADY_LOADED,
	Disabled:            nt.STATUS_DRIVER_BLOCKED,
	CircularDependency:  nt.STATUS_POSSIBLE_DEADLOCK,
	DoesNotExist:        nt.STATUS_OBJECT_NAME_NOT_FOUND,
	CannotAcceptControl: nt.STATUS_INVALID_DEVICE_STATE,
	NotActive:           nt.STATUS_OBJECT_NAME_NOT_FOUND,
	ProcessAborted:      nt.STATUS_DRIVER_PROCESS_TERMINATED,
	DependencyFailed:    nt.STATUS_DRIVER_UNABLE_TO_LOAD,
	DependencyDeleted:   nt.STATUS_DRIVER_UNABLE_TO_LOAD,
	MarkedForDelete:     nt.STATUS_DELETE_PENDING,
	PossibleDeadlock:    nt.STATUS_POSSIBLE_DEADLOCK,
	ManagerNotRunning:   nt.STATUS_PORT_DISCONNECTED,
}

// statusFor gives the status by which a driver is told of a code; status is the kernel's own
// behind it, or 0.
func statusFor(code Code, status uint32) nt.Status {
	if code != Success && status != 0 && !nt.Status(status).Success() {
		return nt.Status(status)
	}
	if s, ok := codeStatuses[code]; ok {
		return s
	}
	return nt.STATUS_UNSUCCESSFUL
}
