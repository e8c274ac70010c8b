package service

// What is under way with services, and who waits for whom: the hosts whose drivers start and stop
// services wait themselves.

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// operation is a start or a stop, with the starts that it takes besides. Its fields are guarded by
// Manager.mu.
type operation struct {
	from  *unit    // whose host has asked for it, or nil
	in    *unit    // in whose host it has a driver loaded or unloaded now
	wants *runtime // whose op it waits for
}

// by gives the unit that an operation is for, or "".
func (o *operation) by() string {
	if o.from == nil {
		return ""
	}
	return o.from.key
}

// operations are those that hosts have asked for. Manager.mu guards them.
type operations map[*operation]struct{}

// take takes the op of a service. For a host that waits it does not wait for what may wait for the
// host: the error is of PossibleDeadlock.
func (m *Manager) take(o *operation, s *runtime) error {
	if !s.op.TryLock() {
		m.mu.Lock()
		o.wants = s
		stuck := o.from != nil && m.circle(o)
		if stuck {
			o.wants = nil
		}
		name := s.name
		m.mu.Unlock()
		if stuck {
			return fail(PossibleDeadlock, "%s is being started or stopped", name)
		}
		s.op.Lock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o.wants, s.holder = nil, o
	return nil
}

// release gives the op of a service back.
func (m *Manager) release(s *runtime) {
	m.mu.Lock()
	s.holder = nil
	m.mu.Unlock()
	s.op.Unlock()
}

// circle says whether an operation would wait for itself: for the operation that has what it
// wants, for what the host asks in which that has a driver loaded, and so on. Which driver of a
// host has asked is not known; so there may be none. m.mu is held.
func (m *Manager) circle(o *operation) bool {
	seen := map[*operation]bool{}
	next := []*operation{o}
	for len(next) > 0 {
		x := next[len(next)-1]
		next = next[:len(next)-1]
		var after []*operation
		if x.wants != nil && x.wants.holder != nil {
			after = append(after, x.wants.holder)
		}
		if x.in != nil {
			for up := range m.asked {
				if up.from == x.in {
					after = append(after, up)
				}
			}
		}
		for _, y := range after {
			if y == o {
				return true
			}
			if !seen[y] {
				seen[y] = true
				next = append(next, y)
			}
		}
	}
	return false
}

// within notes in whose host an operation has something done, until the function that it gives is
// called.
func (m *Manager) within(o *operation, u *unit) func() {
	set := func(u *unit) {
		m.mu.Lock()
		defer m.mu.Unlock()
		o.in = u
	}
	set(u)
	return func() { set(nil) }
}

// occupy takes a unit for what starts or ends its host. m.mu is held, and let go while that waits:
// for others who do so, and not for a driver.
func (m *Manager) occupy(u *unit) {
	for u.occupied != nil {
		occupied := u.occupied
		m.mu.Unlock()
		<-occupied
		m.mu.Lock()
	}
	u.occupied = make(chan struct{})
}

// vacate gives it back. m.mu is held.
func (m *Manager) vacate(u *unit) {
	close(u.occupied)
	u.occupied = nil
}

// used says whether a service other than one is in a unit, or about to be. m.mu is held.
func (m *Manager) used(u *unit, but *runtime) bool {
	for _, s := range m.services {
		if s.unit == u && s != but {
			return true
		}
	}
	return false
}

// Limits of what hosts ask.
const (
	askBurst  = 64                    // up-calls at a stretch
	askEvery  = 50 * time.Millisecond // else
	maxByHost = 64                    // services that run which one host has started
)

// pace has up-calls of one host done at a bounded rate. Manager.mu guards it.
type pace struct{ next time.Time }

// delay says how long the next one waits.
func (p *pace) delay(now time.Time) time.Duration {
	if earliest := now.Add(-askBurst * askEvery); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(askEvery)
	return max(p.next.Sub(now), 0)
}

// answer has the manager answer what a host asks. tell says so to the host, which a start does too.
func (m *Manager) answer(u *unit, l *link, tell bool) {
	// A host has maxAsks at once; one that has more waits, and is killed when it does not answer
	// then.
	under := make(chan struct{}, 2*maxAsks)
	l.mu.Lock()
	l.asked = func(r hostReply) {
		under <- struct{}{}
		go func() {
			defer func() { <-under }()
			m.asks(u, l, &r)
		}()
	}
	l.mu.Unlock()
	if tell {
		go func() { _, _ = l.call(hostRequest{Do: "hello"}, nil, m.limits().Heartbeat) }()
	}
}

// asks does what a host asks.
func (m *Manager) asks(u *unit, l *link, r *hostReply) {
	m.mu.Lock()
	delay := u.pace.delay(time.Now())
	m.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-m.quit:
			return
		case <-l.ended:
			return
		}
	}
	step("asked")
	var err error
	switch r.Ask {
	case askStart:
		err = m.startFor(u, r.Service)
	case askStop:
		err = m.stopFor(u, r.Service)
	case askUnloaded:
		m.unloaded(u, r.Service)
		return
	default:
		err = fail(NotSupported, "up-call %q", r.Ask)
	}
	step("done for a host")
	if err != nil {
		m.log.Warn("a host's driver", "process", l.pid, "asks", r.Ask, "service", r.Service,
			"error", err)
	}
	out := hostRequest{ID: r.ID, Do: doAnswer, Status: statusIn(err)}
	out.Code, _ = CodeOf(err)
	b, err := json.Marshal(&out)
	if err != nil {
		return
	}
	_ = l.conn.SetWriteDeadline(time.Now().Add(m.limits().Heartbeat))
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	_, _ = l.conn.Write(append(b, '\n')) // who cannot be told has ended
}

// begin notes an operation that a host asks for.
func (m *Manager) begin(u *unit) (o *operation, end func()) {
	o = &operation{from: u}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked == nil {
		m.asked = operations{}
	}
	m.asked[o] = struct{}{}
	return o, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.asked, o)
	}
}

// startFor starts a service because a host's driver wants it: any that is registered and not
// disabled, as sc start. One that is being started counts as started, since that may wait for this
// driver.
func (m *Manager) startFor(u *unit, name string) error {
	o, end := m.begin(u)
	defer end()
	_, c, err := m.key(name)
	if err != nil {
		return err
	}
	m.mu.Lock()
	s := m.service(c.Name)
	state, marked := s.state, s.marked
	by := 0
	for _, unit := range m.units {
		for _, rec := range unit.state.Services {
			if rec.By == u.key && rec.Wish != wishNone && rec.Wish != wishStopped {
				by++
			}
		}
	}
	m.mu.Unlock()
	switch {
	case state == Running, state == StartPending:
		return AlreadyRunning
	case state == StopPending && !marked:
		return fail(CannotAcceptControl, "%s is being stopped", c.Name)
	case by >= maxByHost:
		return fail(NotEnoughMemory, "this host has started %d services, which run", by)
	}
	_, err = m.start(c.Name, o, nil)
	return err
}

// stopFor stops a service because a host's driver wants it: one in the same host, or that the host
// has had started. Others are no business of that host: its drivers are not trusted. The service's
// driver is unloaded when nothing uses it any more, and nobody's files are closed for that.
func (m *Manager) stopFor(u *unit, name string) error {
	o, end := m.begin(u)
	defer end()
	_, c, err := m.key(name)
	if err != nil {
		return err
	}
	m.mu.Lock()
	s := m.service(c.Name)
	state, in := s.state, s.unit
	may := in == u || in != nil && in.record(c.Name).By == u.key
	m.mu.Unlock()
	switch {
	case state == Stopped:
		return NotActive
	case !may:
		return fail(AccessDenied, "%s is of another host, which this one has not started", c.Name)
	case state == StartPending:
		return fail(InvalidControl, "%s is being started", c.Name)
	case state == StopPending:
		return nil
	}
	return m.haltBy(c.Name, o, m.needers(c.Name))
}

// unloaded notes that a service that was marked is gone.
func (m *Manager) unloaded(u *unit, name string) {
	m.mu.Lock()
	s := m.services[cm.Fold(name)]
	m.mu.Unlock()
	if s == nil {
		return
	}
	o := &operation{}
	if m.take(o, s) != nil {
		return
	}
	defer m.release(s)
	m.mu.Lock()
	gone := s.unit == u && s.marked
	if gone {
		s.state, s.unit, s.marked, s.exit, s.detail = Stopped, nil, false, Success, ""
	}
	m.mu.Unlock()
	if gone {
		m.emptied(u, s.name)
	}
}

// emptied ends a unit's host when nothing is in it any more, and removes a service that was to go.
func (m *Manager) emptied(u *unit, name string) {
	m.endHost(u)
	if _, c, err := m.key(name); err == nil && c.Deleted {
		if err := m.remove(name); err != nil {
			m.log.Error("a service that is marked for deletion", "service", name, "error", err)
		}
	}
}

// soften stops a service whose driver stays until nothing uses it. s.op is held, and s.state
// StopPending.
func (m *Manager) soften(o *operation, s *runtime, u *unit, l *link) (marked bool, err error) {
	defer m.within(o, u)()
	r, err := l.call(hostRequest{Do: "stop", Service: s.name, Stay: true, Mark: true}, nil,
		m.limits().StopLimit)
	return err == nil && slices.Contains(r.Marked, s.name), err
}

// keep takes the mark from a service that is to be unloaded when nothing uses it.
func (m *Manager) keep(o *operation, s *runtime, u *unit) error {
	m.mu.Lock()
	l := u.link
	m.mu.Unlock()
	if l == nil {
		return NotActive
	}
	defer m.within(o, u)()
	if _, err := l.call(hostRequest{Do: "keep", Service: s.name}, nil, m.limits().StartLimit); err != nil {
		return err
	}
	m.mu.Lock()
	s.state, s.marked = Running, false
	m.mu.Unlock()
	return m.wishFor(u, s.name, wishRunning)
}

// isImage says whether a file is an image of Windows. Of nothing else the bytes go to a host: its
// drivers could name files of the manager's in the registry, and read them.
func isImage(b []byte) bool {
	const atHeader = 0x3c
	if len(b) < atHeader+4 || !bytes.HasPrefix(b, []byte("MZ")) {
		return false
	}
	at := uint64(binary.LittleEndian.Uint32(b[atHeader:]))
	return at+4 <= uint64(len(b)) && bytes.Equal(b[at:at+4], []byte("PE\x00\x00"))
}
