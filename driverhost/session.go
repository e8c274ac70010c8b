package driverhost

import (
	"errors"
	"fmt"
	"strings"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// process is a client process: its EPROCESS and its window of user memory. It lives as long as a
// session of it does.
type process struct {
	ke     *ke.Process
	window *mm.Window
	refs   int
}

// windowSize is the size in bytes of a client's window; it is sparse, so it costs addresses only.
const windowSize = 80 << 20

// process gives the process of a client, and holds it.
func (h *Host) process(id int, name string) (*process, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.procs[id]; p != nil {
		p.refs++
		return p, nil
	}
	w, err := h.Kernel.Mm.NewWindow(windowSize, fmt.Sprintf("window of process %d", id))
	if err != nil {
		return nil, err
	}
	k, err := h.Kernel.Ke.NewProcess(uintptr(id), name)
	if err != nil {
		return nil, errors.Join(err, w.Release())
	}
	k.Window = w
	p := &process{ke: k, window: w, refs: 1}
	h.procs[id] = p
	return p, nil
}

// releaseProcess lets a process go with its last session.
func (h *Host) releaseProcess(p *process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p.refs--
	if p.refs > 0 {
		return
	}
	delete(h.procs, int(p.ke.ID))
	p.ke.Release()
	if err := p.window.Release(); err != nil {
		h.log.Error("window", "error", err.Error())
	}
}

// session is an open file, with the process and the thread that it is used by.
type session struct {
	h    *Host
	proc *process
	t    *ke.Thread
	open *irp.Open
}

// ErrClosed is the error of using a host or a file that was closed.
var ErrClosed = errors.New("driverhost: closed")

// openSession opens name, what follows \\.\, for a client process. blocking is called before the
// driver's CREATE waits.
func (h *Host) openSession(pid int, client, name string, info irp.OpenInfo, blocking func()) (
	s *session, status nt.Status, information uint64, err error) {
	if b := h.Crashed(); b != nil {
		return nil, StatusGone, 0, b
	}
	dev, rest, status := h.lookup(name)
	if status != nt.STATUS_SUCCESS {
		return nil, status, 0, nil
	}
	info.Name = rest
	proc, err := h.process(pid, client)
	if err != nil {
		return nil, nt.STATUS_INSUFFICIENT_RESOURCES, 0, err
	}
	t, err := h.Kernel.Ke.NewThread(proc.ke)
	if err != nil {
		h.releaseProcess(proc)
		return nil, nt.STATUS_INSUFFICIENT_RESOURCES, 0, err
	}
	t.Blocking = blocking
	s = &session{h: h, proc: proc, t: t}
	err = t.Do(func() {
		s.open, status, information = h.Kernel.IO.Create(t, dev, proc.window, info)
	})
	if err != nil || s.open == nil {
		t.Release()
		h.releaseProcess(proc)
		if err != nil {
			return nil, StatusGone, 0, err
		}
		return nil, status, information, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[s] = struct{}{}
	return s, status, information, nil
}

// lookup finds the device that a Win32 name, without \\.\, leads to.
func (h *Host) lookup(name string) (dev *devobj.Device, rest string, status nt.Status) {
	const globalRoot = `GLOBALROOT\`
	path := `\??\` + name
	if len(name) > len(globalRoot) && strings.EqualFold(name[:len(globalRoot)], globalRoot) {
		path = name[len(globalRoot)-1:]
	}
	o, rest, status := h.Kernel.Ob.Lookup(path)
	if status != nt.STATUS_SUCCESS {
		return nil, "", status
	}
	dev, ok := o.Body.(*devobj.Device)
	if !ok {
		return nil, "", nt.STATUS_OBJECT_TYPE_MISMATCH
	}
	return dev, rest, nt.STATUS_SUCCESS
}

// start sends a request to the driver, on the session's thread. It ends by a call of r.Client.Done,
// before it returns or later.
func (s *session) start(r *irp.Request) {
	r.Open = s.open
	if err := s.t.Do(func() { s.h.Kernel.IO.Start(s.t, r) }); err != nil {
		r.Abandon(StatusGone)
	}
}

// cancel cancels a request in flight. It may be called on any goroutine: the cancel routine runs on
// a thread of the host's.
func (s *session) cancel(r *irp.Request) {
	s.h.onHelper(func(t *ke.Thread) { s.h.Kernel.IO.CancelRequest(t, r) })
}

// close ends the session: CLEANUP, cancel what the driver still holds, CLOSE. With gone, the
// client's end, the cancels come first.
func (s *session) close(gone bool) {
	io := s.h.Kernel.IO
	if gone {
		s.cancelAll()
	}
	err := s.t.Do(func() { io.Cleanup(s.t, s.open) })
	if err == nil {
		s.cancelAll()
		s.open.WaitIdle()
		err = s.t.Do(func() { io.CloseFile(s.t, s.open) })
	}
	if err != nil {
		// The kernel has crashed: no driver can be told.
		s.open.AbandonAll(StatusGone)
		io.Abandon(s.open)
	}
	s.h.mu.Lock()
	delete(s.h.sessions, s)
	s.h.mu.Unlock()
	s.t.Release()
	s.h.releaseProcess(s.proc)
}

func (s *session) cancelAll() {
	if s.open.Pending() > 0 {
		s.h.onHelper(func(t *ke.Thread) { s.h.Kernel.IO.CancelAll(t, s.open) })
	}
}

// onHelper runs f on a system thread that is kept for such work. A crash ends f; it has been
// reported.
func (h *Host) onHelper(f func(t *ke.Thread)) {
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
			h.log.Error("no thread to cancel a request on", "error", err.Error())
			return
		}
	}
	_ = t.Do(func() { f(t) })
	h.mu.Lock()
	h.helpers = append(h.helpers, t)
	h.mu.Unlock()
}

// closeSessions closes the sessions of this process that are still open, cancelling what is pending.
// Those of other processes end with their connections.
func (h *Host) closeSessions() {
	h.mu.Lock()
	var mine []*session
	for s := range h.sessions {
		if int(s.proc.ke.ID) == pid {
			mine = append(mine, s)
		}
	}
	h.mu.Unlock()
	for _, s := range mine {
		s.close(true)
	}
}
