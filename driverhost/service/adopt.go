package service

// How a manager takes over what another one has left: hosts that run, and what was half done.

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// findLimit is how long a manager's start waits for hosts to answer. Most do at once; one that is
// stopped, or has no processor, is not to keep all others from being used.
const findLimit = 3 * time.Second

// find finds the hosts that run. Those that take long to answer are found later: until then what is to
// be in them is StartPending, and who starts or stops it waits.
func (m *Manager) find() error {
	dirs, err := os.ReadDir(filepath.Join(m.opts.Dir, unitsDir))
	if err != nil {
		return err
	}
	all := m.Configs()
	held := map[*unit]<-chan struct{}{} // closed when the host is found, or ended
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		u := &unit{dir: filepath.Join(m.opts.Dir, unitsDir, d.Name())}
		b, err := os.ReadFile(filepath.Join(u.dir, unitState))
		if err != nil {
			continue
		}
		if u.key = lastRecord(b).Key; unitName(u.key) != d.Name() {
			continue
		}
		m.mu.Lock()
		u = m.unitFor(u.key)
		m.mu.Unlock()
		lock, free, err := u.lock(false)
		switch {
		case err != nil:
			m.log.Error("a host's place cannot be used", "dir", u.dir, "error", err)
		case free:
			_ = lock.Close()
		default:
			held[u] = m.findHost(u, all)
		}
	}
	late := time.After(findLimit)
	missing := map[*unit]<-chan struct{}{}
	for u, found := range held {
		select {
		case <-found:
		case <-late:
			late = time.After(0)
			missing[u] = found
		}
	}
	for _, c := range all {
		m.mu.Lock()
		_, later := missing[m.unitFor(unitKey(&c))]
		m.mu.Unlock()
		if !later {
			m.settleService(c)
		}
	}
	settle := func() {
		for u, found := range missing {
			<-found
			for _, c := range m.Configs() {
				if unitKey(&c) == u.key && !m.isClosed() {
					m.settleService(c)
				}
			}
		}
		m.tidy()
	}
	if len(missing) == 0 {
		settle()
	} else {
		go settle()
	}
	return nil
}

// findHost adopts the host of a unit, and has its services until then.
func (m *Manager) findHost(u *unit, all []Config) (found <-chan struct{}) {
	var in []*runtime
	for _, c := range all {
		if unitKey(&c) != u.key {
			continue
		}
		m.mu.Lock()
		s := m.service(c.Name)
		if w := u.record(c.Name).Wish; w == wishRunning || w == wishStarting {
			s.state, s.exit, s.detail = StartPending, Success, ""
		}
		m.mu.Unlock()
		_ = m.take(&operation{}, s) // nobody else has it, or asks for a host
		in = append(in, s)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l, r := m.adopt(u)
		for _, s := range in {
			m.mu.Lock()
			if s.state == StartPending {
				s.state, s.exit = Stopped, NeverStarted
			}
			m.mu.Unlock()
			m.release(s)
		}
		if l != nil {
			m.goOn(u, r)
		}
	}()
	return done
}

// adopt takes a host that runs, or ends one that does not answer.
func (m *Manager) adopt(u *unit) (*link, hostReply) {
	step("adopt")
	l, r, err := u.adopt(m.limits().StartLimit)
	if m.isClosed() {
		if err == nil {
			_ = l.conn.Close()
		}
		return nil, r // the next manager finds it
	}
	if err != nil {
		m.log.Error("a host does not answer and is killed", "dir", u.dir, "error", err)
		if !u.clear(m.limits().StopLimit) {
			m.log.Error("a host does not end", "dir", u.dir)
		}
		return nil, r
	}
	m.opts.Guard.host(l.pid, u.key)
	m.mu.Lock()
	u.link = l
	for _, name := range r.Services {
		s := m.service(name)
		s.state, s.exit, s.detail, s.unit = Running, Success, "", u
	}
	for _, name := range r.Marked {
		s := m.service(name)
		s.state, s.marked = StopPending, true
	}
	m.mu.Unlock()
	if m.opts.Share != nil {
		if conn, err := u.share(); err == nil {
			go m.opts.Share(conn)
		} else {
			m.log.Error("a host does not follow the registry", "process", l.pid, "error", err)
		}
	}
	step("adopted")
	m.log.Info("found a host", "process", l.pid, "services", r.Services)
	m.answer(u, l, true)
	go m.follow(u, l)
	return l, r
}

// goOn ends what the last manager had begun with a host that runs.
func (m *Manager) goOn(u *unit, r hostReply) {
	for _, name := range r.Services {
		m.mu.Lock()
		stop := m.home(name, u).record(name).Wish == wishStopped && !m.service(name).marked
		m.mu.Unlock()
		if _, err := m.Config(name); err != nil || stop {
			_ = m.halt(name) // it goes on where the last manager has ended
		}
	}
	if len(r.Services) == 0 {
		m.mu.Lock()
		starting := false
		for _, rec := range u.state.Services {
			starting = starting || rec.Wish == wishStarting
		}
		m.mu.Unlock()
		if !starting {
			m.endHost(u)
		}
	}
}

// settleService ends what the last manager had begun with one service.
func (m *Manager) settleService(c Config) {
	m.mu.Lock()
	s := m.service(c.Name)
	u := m.unitFor(unitKey(&c))
	rec := *u.record(c.Name)
	running := s.state == Running
	m.mu.Unlock()
	switch {
	case c.Deleted:
		if !running {
			_ = m.remove(c.Name)
		}
	case running:
	case rec.Due != nil:
		m.mu.Lock()
		m.resume(u, s, rec.Due)
		m.mu.Unlock()
	case rec.Wish == wishStarting:
		m.mu.Lock()
		m.later(s, 0, func(turn int) {
			step("restart")
			_, err := m.start(c.Name, &operation{}, &deferred{turn: turn})
			if err != nil && !errors.Is(err, AlreadyRunning) && !errors.Is(err, errTakenBack) {
				m.log.Warn("a start that was under way has failed", "service", c.Name, "error", err)
			}
		})
		m.mu.Unlock()
	case rec.Wish == wishRunning:
		m.mu.Lock()
		m.failed(u, s, fail(ProcessAborted, "the service's host has ended"))
		m.mu.Unlock()
	}
}
