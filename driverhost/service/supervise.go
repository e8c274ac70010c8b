package service

// How hosts that run are watched: for their end, and for whether they answer.

import (
	"errors"
	"time"
)

// follow waits for a host's end.
func (m *Manager) follow(u *unit, l *link) {
	<-l.ended
	if m.isClosed() {
		close(l.gone)
		return
	}
	l.kill() // it does not speak: whatever it does, nobody can reach it any more
	if f, _, err := u.lock(true); err == nil {
		_ = f.Close()
	}
	m.opts.Guard.gone(l.pid, u.key)
	step("host ended")
	m.mu.Lock()
	if u.link == l {
		u.link = nil
	}
	asked := u.ending
	u.ending = false
	var lost, in []string
	for _, s := range m.services {
		if s.unit != u || s.state == Stopped {
			continue
		}
		in = append(in, s.name)
		if s.state != Running && !s.marked {
			continue // who starts or stops it goes on
		}
		s.state, s.unit, s.exit, s.detail, s.marked = Stopped, nil, Success, "", false
		if !asked {
			lost = append(lost, s.name)
			m.failed(u, s, l.aborted())
		}
	}
	m.mu.Unlock()
	if l.crash.Crash != "" {
		m.crashed(l, in)
	}
	if len(lost) > 0 {
		m.log.Error("a host has ended", "process", l.pid, "services", lost, "error", l.aborted(),
			"report", l.crash.Report)
	}
	close(l.gone)
}

// beat asks each host now and then whether it answers.
func (m *Manager) beat() {
	asked := map[*link]chan struct{}{} // whether it has answered
	t := time.NewTicker(m.limits().Heartbeat)
	defer t.Stop()
	for {
		select {
		case <-m.quit:
			return
		case <-m.changed:
			t.Reset(m.limits().Heartbeat)
			continue
		case <-t.C:
		}
		for l, done := range asked {
			select {
			case <-done:
				delete(asked, l)
			default:
			}
		}
		m.mu.Lock()
		for _, s := range m.services {
			// A host that starts has a limit of its own, and may not listen before its end.
			if s.state != Running || s.unit.link == nil || asked[s.unit.link] != nil {
				continue
			}
			l, done := s.unit.link, make(chan struct{})
			asked[l] = done
			go func() {
				defer close(done)
				m.hello(l)
			}()
		}
		m.mu.Unlock()
	}
}

// hello asks a host whether it answers. It is asked twice before it is killed: when this process was
// stopped for a while, the time for the first answer may be over though the host has given it.
func (m *Manager) hello(l *link) {
	for range 2 {
		_, err := l.call(hostRequest{Do: "hello"}, nil, m.limits().Heartbeat)
		if !errors.Is(err, RequestTimeout) {
			return
		}
	}
	m.log.Error("a host does not answer and is killed", "process", l.pid)
	l.kill()
}
