package driverhost

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// client is a process that has devices open. The user is part of it, so that a process that has got
// the id of one that just ended does not share its memory.
type client struct {
	pid int
	uid uint32
}

// process is a client process: its EPROCESS and its window of user memory. It lives as long as a
// session of it does.
type process struct {
	client client
	ke     *ke.Process
	window *mm.Window
	refs   int

	// announced is closed when drivers have been told of the process, and refused is the status that
	// one of them refuses it with, or STATUS_SUCCESS.
	announced chan struct{}
	refused   nt.Status
}

// windowSize is the size in bytes of a client's window; it is sparse, so it costs addresses only.
const windowSize = 80 << 20

// process gives the process of a client, and holds it. name gives the name of its program.
// With first it is new, and drivers are to be told of it.
func (h *Host) process(c client, name func() string) (p *process, first bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.procs[c]; p != nil {
		p.refs++
		return p, false, nil
	}
	if h.closed {
		return nil, false, ErrClosed
	}
	w, err := h.Kernel.Mm.NewWindow(windowSize, fmt.Sprintf("window of process %d", c.pid))
	if err != nil {
		return nil, false, err
	}
	k, err := h.Kernel.Ke.NewProcess(uintptr(c.pid), name())
	if err != nil {
		return nil, false, errors.Join(err, w.Release())
	}
	k.Window = w
	w.SetProcess(k.Object)
	p = &process{client: c, ke: k, window: w, refs: 1, announced: make(chan struct{})}
	h.procs[c] = p
	if c == self {
		p.refs++
		h.self = p // it is kept, since another open is likely
	}
	return p, true, nil
}

// self is the client that opens files in this process.
var self = client{os.Getpid(), uint32(os.Getuid())}

// releaseProcess lets a process go with its last session.
func (h *Host) releaseProcess(p *process) {
	h.mu.Lock()
	p.refs--
	last := p.refs == 0
	if last {
		delete(h.procs, p.client)
	}
	h.mu.Unlock()
	if !last {
		return
	}
	h.Kernel.EndProcess(p.ke)
	p.ke.Release()
	if err := p.window.Release(); err != nil {
		h.log.Error("window", "error", err.Error())
	}
}

// ErrClosed is what a file that is closed gives, and a host that is.
var ErrClosed = errors.New("closed")

// session is an open file, with the process and the thread that it is used by. It is in
// Host.sessions from before the driver's CREATE until the last of it is gone.
type session struct {
	h      *Host
	name   string // that the client opened
	client client
	proc   *process
	t      *ke.Thread
	rec    *recording // or nil
	// announced says that drivers were told of the thread.
	announced bool
	open      atomic.Pointer[irp.Open] // from CREATE on
	gate      gate                     // requests of clients in this process
	// cleaned says, inside Do, that CLEANUP has begun: a request that comes only now is cancelled.
	cleaned bool
	// lingers says that the file is closed, but that drivers may have references to it.
	lingers atomic.Bool
	final   sync.Once
}

// opening is what a client's open asks for.
type opening struct {
	client client
	// program gives the name of the client's program.
	program func() string
	name    string // without \\.\
	info    irp.OpenInfo
	subject []nt.SID // who the client is
	// blocking, if set, is told whenever the thread is about to wait.
	blocking func()
	// gone, if set, is closed when the client has ended; then the open is cancelled.
	gone <-chan struct{}
	who  Identity   // who the client is, for a recording
	rec  *recording // of the session, or nil
}

// openSession opens a device for a client. A status that is no success is the I/O manager's or the
// driver's answer; an error says that the host could not even ask.
func (h *Host) openSession(o opening) (s *session, status nt.Status, information uint64, err error) {
	if w := h.recorder.Load(); w != nil && o.rec == nil {
		return h.openRecorded(w, o)
	}
	if !h.gate.enter() {
		return nil, StatusGone, 0, ErrClosed
	}
	if b := h.Crashed(); b != nil {
		h.gate.leave()
		return nil, StatusGone, 0, b
	}
	dev, rest, status := h.lookup(o.name)
	if status != nt.STATUS_SUCCESS {
		h.gate.leave()
		return nil, status, 0, nil
	}
	o.info.Name = rest
	status = ntoskrnl.CheckDeviceAccess(dev, rest, o.subject, &o.info.Access)
	if status != nt.STATUS_SUCCESS {
		h.gate.leave()
		return nil, status, 0, nil
	}
	s = &session{h: h, name: o.name, client: o.client, rec: o.rec}
	s.gate.init()
	var first bool
	if s.proc, first, err = h.process(o.client, o.program); err != nil {
		h.gate.leave()
		return nil, nt.STATUS_INSUFFICIENT_RESOURCES, 0, err
	}
	s.t, err = h.Kernel.Ke.NewThread(s.proc.ke)
	if first {
		s.announceProcess()
	}
	if err != nil {
		h.releaseProcess(s.proc)
		h.gate.leave()
		return nil, nt.STATUS_INSUFFICIENT_RESOURCES, 0, err
	}
	s.t.Blocking, s.t.Preempted = o.blocking, o.blocking
	h.mu.Lock()
	h.sessions[s] = struct{}{}
	closed := h.closed
	h.mu.Unlock()
	if closed {
		s.end()
		return nil, StatusGone, 0, ErrClosed
	}
	if o.gone != nil {
		opened := make(chan struct{})
		defer close(opened)
		go func() {
			select {
			case <-o.gone:
				s.cancelAll()
			case <-opened:
			}
		}()
	}
	<-s.proc.announced
	if s.proc.refused != nt.STATUS_SUCCESS {
		s.end()
		return nil, s.proc.refused, 0, nil
	}
	var file *irp.Open
	err = s.t.Do(func() {
		s.announced = true
		h.Kernel.ThreadStarted(s.t)
		o.info.Begun = func(o *irp.Open) { s.open.Store(o) }
		file, status, information = h.Kernel.IO.Create(s.t, dev, s.proc.window, o.info)
	})
	if err != nil {
		s.end()
		return nil, StatusGone, 0, err
	}
	if file == nil {
		s.end()
		return nil, status, information, nil
	}
	return s, status, information, nil
}

// announceProcess tells drivers of the process, on its first thread, if it got one.
func (s *session) announceProcess() {
	defer close(s.proc.announced)
	if s.t != nil {
		// An error is the end of the kernel, which the caller meets too.
		_ = s.t.Do(func() { s.proc.refused = s.h.Kernel.ProcessStarted(s.t) })
	}
}

// lookup finds the device that a Win32 name, without \\.\, leads to.
func (h *Host) lookup(name string) (dev *devobj.Device, rest string, status nt.Status) {
	o, rest, status := h.Kernel.Ob.Lookup(`\??\` + name)
	if status != nt.STATUS_SUCCESS {
		return nil, "", status
	}
	dev, ok := o.Body.(*devobj.Device)
	if !ok {
		return nil, "", nt.STATUS_OBJECT_TYPE_MISMATCH
	}
	return dev, rest, nt.STATUS_SUCCESS
}

// start sends a request to the driver, on the session's thread. If it is not done yet when start
// returns, r.Client.Done is called, perhaps before.
func (s *session) start(r *irp.Request) (done bool) {
	if s.rec != nil {
		return s.rec.start(s, r)
	}
	return s.dispatch(r)
}

// dispatch is start without a recording.
func (s *session) dispatch(r *irp.Request) (done bool) {
	if o := s.open.Load(); r.Open != o {
		r.Open = o
	}
	begun := false
	err := s.t.Do(func() {
		begun = true
		if s.cleaned {
			r.Status, r.IOStatus, r.Information, r.Written = nt.STATUS_CANCELLED, nt.STATUS_CANCELLED, 0, 0
			done = true
			return
		}
		done = s.h.Kernel.IO.Start(s.t, r)
	})
	if err != nil {
		s.h.awaitTold()
		if !begun {
			// The request is none that Abandon knows, but perhaps one that it has ended before.
			r.Status, r.IOStatus, r.Information, r.Written = StatusGone, StatusGone, 0, 0
			return true
		}
		r.Abandon(StatusGone)
		return false
	}
	if !done && s.h.Kernel.Ke.Ended() {
		s.abandon() // whoever ended the kernel may have looked before Start returned
	}
	return done
}

// cancel cancels a request in flight. It may be called on any goroutine: the cancel routine runs on
// a thread of the host's.
func (s *session) cancel(r *irp.Request) {
	if s.rec != nil {
		s.rec.cancelled(r)
	}
	s.h.onHelper(func(t *ke.Thread) { s.h.Kernel.IO.CancelRequest(t, r) })
}

// cancelAll cancels all requests in flight.
func (s *session) cancelAll() {
	if o := s.open.Load(); o != nil && o.Pending() > 0 {
		s.h.onHelper(func(t *ke.Thread) { s.h.Kernel.IO.CancelAll(t, o) })
	}
}

// abandon fails all requests that are pending: no driver will complete them any more.
func (s *session) abandon() {
	s.h.awaitTold()
	if o := s.open.Load(); o != nil {
		o.AbandonAll(StatusGone)
	}
}

// close ends the session: CLEANUP, cancel what the driver still holds, and CLOSE, when drivers have no
// references to the file any more. With gone, the client's end, the cancels come first. It returns when
// every request has been answered, and reports whether the session was open.
func (s *session) close(gone bool) bool {
	if !s.gate.shut() {
		return false
	}
	if s.rec != nil {
		s.rec.w.Closing(s.rec.file)
		defer s.rec.w.Closed(s.rec.file)
	}
	io, open := s.h.Kernel.IO, s.open.Load()
	if gone {
		s.cancelAll()
	}
	err := s.t.Do(func() {
		s.cleaned = true
		io.Cleanup(s.t, open)
	})
	if err == nil {
		s.cancelAll()
		open.WaitIdle()
		s.gate.wait()
		s.lingers.Store(true)
		if io.Release(open, func() { go s.closeFile() }) || s.h.Kernel.Ke.Ended() {
			s.closeFile()
		}
		return true
	}
	// The kernel has ended: no driver can be told.
	s.abandon()
	s.gate.wait()
	s.closeFile()
	return true
}

// closeFile is the last step: CLOSE, and everything is given back.
func (s *session) closeFile() {
	s.final.Do(func() {
		io, open := s.h.Kernel.IO, s.open.Load()
		if err := s.t.Do(func() { io.CloseFile(s.t, open) }); err != nil {
			io.Abandon(open)
		}
		s.end()
	})
}

// end gives back what the session has besides the file.
func (s *session) end() {
	h := s.h
	if s.announced {
		_ = s.t.Do(func() { h.Kernel.ThreadEnding(s.t) }) // an error is the end of the kernel
	}
	s.t.Release()
	h.releaseProcess(s.proc)
	h.mu.Lock()
	delete(h.sessions, s)
	h.fewer.Broadcast()
	h.mu.Unlock()
	h.gate.leave()
}

// onHelper runs f on a system thread that is kept for such work. A crash ends f; it has been
// reported.
func (h *Host) onHelper(f func(t *ke.Thread)) {
	if !h.gate.enter() {
		return
	}
	defer h.gate.leave()
	h.mu.Lock()
	var t *ke.Thread
	if n := len(h.helpers); n > 0 {
		t = h.helpers[n-1]
		h.helpers = h.helpers[:n-1]
	}
	h.mu.Unlock()
	if t == nil {
		var err error
		if t, err = h.Kernel.Ke.NewThread(h.Kernel.Ke.SystemProcess); err != nil {
			if !h.Kernel.Ke.Ended() {
				h.log.Error("no thread to cancel a request on", "error", err.Error())
			}
			return
		}
	}
	_ = t.Do(func() { f(t) })
	h.mu.Lock()
	h.helpers = append(h.helpers, t)
	h.mu.Unlock()
}

// closeSessions closes the sessions of this process, cancelling what is pending, and waits until the
// deadline for these and for those of other processes, which end with their connections. It tells
// what is left.
func (h *Host) closeSessions(deadline time.Time) (stuck []string) {
	h.mu.Lock()
	sessions := slices.Collect(maps.Keys(h.sessions))
	h.mu.Unlock()
	for _, s := range sessions {
		switch {
		case s.client != self:
			continue
		case s.open.Load() != nil:
			go s.close(true)
		default:
			s.cancelAll() // of an open under way: its opener will see to the rest
		}
	}
	late := time.AfterFunc(time.Until(deadline), func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.fewer.Broadcast()
	})
	defer late.Stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.sessions) > 0 && time.Now().Before(deadline) && h.Crashed() == nil {
		h.fewer.Wait()
	}
	if h.Crashed() != nil {
		return nil
	}
	for s := range h.sessions {
		stuck = append(stuck, s.describe()...)
	}
	slices.Sort(stuck)
	return stuck
}

// endSessions ends what is left of the sessions when the kernel has ended. Those whose goroutines are
// at it already are left to them.
func (h *Host) endSessions() {
	h.mu.Lock()
	sessions := slices.Collect(maps.Keys(h.sessions))
	h.mu.Unlock()
	for _, s := range sessions {
		s.abandon()
		if s.lingers.Load() {
			s.closeFile()
		}
	}
}

// describe tells, for people, what keeps a session from ending.
func (s *session) describe() (what []string) {
	by := fmt.Sprintf("%s by process %d", s.name, s.client.pid)
	o := s.open.Load()
	if o == nil {
		return []string{nt.IRP_MJ_CREATE.String() + " on " + by}
	}
	for _, r := range o.Requests() {
		text := r.Major.String() + " on " + by
		if r.Major == nt.IRP_MJ_DEVICE_CONTROL {
			text += fmt.Sprintf(", code %#x", uint32(r.Code))
		}
		what = append(what, text)
	}
	switch {
	case len(what) > 0:
	case s.lingers.Load():
		what = []string{fmt.Sprintf("the file %s: drivers have %d references to it", by,
			s.h.Kernel.Dev.Holders(o.File))}
	default:
		what = []string{"the close of " + by}
	}
	return what
}
