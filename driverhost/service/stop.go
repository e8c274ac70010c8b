package service

// How a service is stopped.

import (
	"errors"
	"slices"
	"time"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// dependents gives the services that depend on one, those that run if asked, in the order in which
// they were started last to first.
func (m *Manager) dependents(name string, running bool) (list []Config) {
	all := m.Configs()
	readGroupOrder(m.opts.Store.Registry).sort(all)
	on := dependencies(all)
	for i := len(all) - 1; i >= 0; i-- {
		if !slices.Contains(on[cm.Fold(all[i].Name)], cm.Fold(name)) {
			continue
		}
		m.mu.Lock()
		runs := m.service(all[i].Name).state != Stopped
		m.mu.Unlock()
		if runs || !running {
			list = append(list, all[i])
		}
	}
	return list
}

// Dependents gives the statuses of the services that depend on one.
func (m *Manager) Dependents(name string) (list []Status, err error) {
	if _, _, err := m.key(name); err != nil {
		return nil, err
	}
	for _, c := range m.dependents(name, false) {
		list = append(list, m.status(&c))
	}
	return list, nil
}

// Stop stops a service: its driver is unloaded, and its host ended if nothing else is in it. What
// does not end in time is killed.
func (m *Manager) Stop(name string) error {
	if _, _, err := m.key(name); err != nil {
		return err
	}
	return m.haltBy(name, &operation{}, m.needers(name))
}

// needers gives the services that cannot run without one.
func (m *Manager) needers(name string) (list []string) {
	for _, d := range m.dependents(name, false) {
		// One member of a group that runs still does for those that depend on the group.
		if slices.ContainsFunc(d.DependOnService,
			func(n string) bool { return cm.Fold(n) == cm.Fold(name) }) {
			list = append(list, d.Name)
		}
	}
	return list
}

// halt is Stop without a look at others.
func (m *Manager) halt(name string) error { return m.haltBy(name, &operation{}, nil) }

// haltBy is halt as a part of an operation, unless one of some others runs. One that a host asks for
// does no harm to who uses the driver.
func (m *Manager) haltBy(name string, o *operation, unless []string) error {
	m.mu.Lock()
	s := m.service(name)
	m.mu.Unlock()
	if err := m.take(o, s); err != nil {
		return err
	}
	defer m.release(s)
	m.mu.Lock()
	u := s.unit
	if u != nil {
		m.occupy(u)
	}
	if u == nil || s.state != Running && !s.marked || s.unit != u || u.link == nil {
		pending, home := s.cancel(), m.home(name, u)
		if u != nil {
			m.vacate(u)
		}
		m.mu.Unlock()
		if pending && home != nil {
			return m.wishFor(home, name, wishStopped)
		}
		return NotActive
	}
	for _, other := range unless {
		if m.service(other).state != Stopped {
			m.vacate(u)
			m.mu.Unlock()
			return fail(DependentRunning, "%s", other)
		}
	}
	l, home, limit := u.link, m.home(name, u), m.limits().StopLimit
	soft := o.from != nil
	last := !soft && !m.used(u, s)
	before, was := home.record(name).Wish, s.state
	s.state = StopPending
	if last {
		u.ending = true
		defer func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.vacate(u)
		}()
	} else {
		m.vacate(u) // another one may be started there, also by this one's DriverUnload
	}
	m.mu.Unlock()
	err := m.wishFor(home, name, wishStopped)
	step("stop wished")
	marked := false
	switch {
	case err != nil:
	case soft:
		marked, err = m.soften(o, s, u, l)
	default:
		done := m.within(o, u)
		_, err = l.call(hostRequest{Do: "stop", Service: name, Stay: !last}, nil, limit)
		done()
	}
	step("stopped")
	if err != nil && m.isClosed() {
		return CannotAcceptControl // the next manager finds the host, and what was wished
	}
	late := errors.Is(err, RequestTimeout)
	switch {
	case last && (err == nil || late || errors.Is(err, ProcessAborted)):
		if late {
			l.kill()
		}
		if !wait(l, limit) {
			l.kill()
			<-l.gone
		}
	case marked:
		m.mu.Lock()
		s.marked = true
		m.mu.Unlock()
		return nil
	case late || errors.Is(err, ProcessAborted):
		l.kill() // with what else is in it: its failure actions bring that back
		<-l.gone
	case err != nil:
		m.mu.Lock()
		s.state = was
		if last {
			u.ending = false
		}
		m.mu.Unlock()
		return errors.Join(err, m.wishFor(home, name, before))
	}
	m.mu.Lock()
	s.state, s.unit, s.exit, s.detail, s.marked = Stopped, nil, Success, "", false
	m.mu.Unlock()
	if !last {
		m.endHost(u) // if another stop has left nothing else there
	}
	if _, c, err := m.key(name); err == nil && c.Deleted {
		return m.remove(name)
	}
	return nil
}

// wait waits for a host's end.
func wait(l *link, limit time.Duration) bool {
	select {
	case <-l.gone:
		return true
	case <-time.After(limit):
		return false
	}
}

// endHost ends a host, if there is nothing in it.
func (m *Manager) endHost(u *unit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.occupy(u)
	defer m.vacate(u)
	l := u.link
	if l == nil || m.used(u, nil) {
		return
	}
	u.ending = true
	m.mu.Unlock()
	l.kill()
	<-l.gone
	m.mu.Lock()
}
