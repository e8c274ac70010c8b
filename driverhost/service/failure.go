package service

// What is done when a service fails.

import (
	"errors"
	"time"
)

// dueAction is a failure action that waits.
type dueAction struct {
	Type  ActionType    `json:"type"`
	Delay time.Duration `json:"delay_ns"`
	At    time.Time     `json:"at"` // it is to begin
}

// Failures that follow each other quickly are slowed down, also when the reset period makes each of
// them the first: from a number of them on, each of which came within a time of the one before.
const (
	quickFailure  = time.Second
	quickFailures = 5
)

// throttle gives the least delay after a number of quick failures.
func throttle(streak int) time.Duration {
	if streak <= quickFailures {
		return 0
	}
	return min(50*time.Millisecond<<min(streak-quickFailures, 10), backoffLimit)
}

// actions gives what is done when a service fails: what it is registered with, or what the manager's
// settings say.
func (m *Manager) actions(c *Config) FailureActions {
	if c.Failure.Actions != nil {
		return c.Failure
	}
	f := m.limits().Failure
	f.OnNonCrash = f.OnNonCrash || c.Failure.OnNonCrash
	return f
}

// failed begins what a service's failure actions say. The service is stopped; what was wanted of it
// and what is to be done now are noted as one. m.mu is held.
func (m *Manager) failed(u *unit, s *runtime, why error) {
	_, c, err := m.key(s.name)
	if err == nil {
		u = m.unitFor(unitKey(&c)) // it may have moved to another one while it ran
	}
	if u == nil {
		return
	}
	s.exit, s.detail = CodeOf(why)
	rec := u.record(s.name)
	if m.closed || rec.Wish == wishStopped {
		return
	}
	f := m.actions(&c)
	since := time.Since(rec.Last)
	if f.reset(since) {
		rec.Failures = 0
	}
	if since > quickFailure {
		rec.Streak = 0
	}
	rec.Failures++
	rec.Streak++
	rec.Last = time.Now()
	action, delay := f.after(rec.Failures)
	delay = max(delay, throttle(rec.Streak))
	if err != nil || c.Deleted || c.Start == DisabledStart {
		action = ActionNone
	}
	s.cancel()
	rec.Wish, rec.Due = wishNone, nil
	if action == ActionRestart {
		rec.Wish = wishRunning
	}
	if action != ActionNone {
		rec.Due = &dueAction{action, delay, rec.Last.Add(delay)}
		m.log.Warn("the service has failed", "service", s.name, "failures", rec.Failures,
			"action", action, "delay", delay)
		m.arm(u, s, delay)
	}
	if err := u.writeState(); err != nil {
		m.log.Error("state", "error", err)
	}
	if c.Deleted {
		go func() { _ = m.remove(s.name) }()
	}
}

// later does something with a service after a time, unless somebody starts or stops it before: until
// then s.due is not nil and s.turn what f is given. m.mu is held.
func (m *Manager) later(s *runtime, delay time.Duration, f func(turn int)) {
	s.cancel()
	s.turn++
	turn := s.turn
	s.due = time.AfterFunc(delay, func() {
		f(turn)
		m.mu.Lock()
		defer m.mu.Unlock()
		if s.turn == turn {
			s.due = nil
		}
	})
}

// arm has a failure action begin after a time. m.mu is held.
func (m *Manager) arm(u *unit, s *runtime, delay time.Duration) {
	m.later(s, delay, func(turn int) { m.act(u, s, turn) })
}

// resume has a failure action begin that another manager has left. m.mu is held.
func (m *Manager) resume(u *unit, s *runtime, d *dueAction) {
	m.arm(u, s, min(max(time.Until(d.At), 0), d.Delay))
}

// act does the failure action that was due, unless it was taken back.
func (m *Manager) act(u *unit, s *runtime, turn int) {
	m.mu.Lock()
	u = m.home(s.name, u)
	rec := u.record(s.name)
	if m.closed || s.due == nil || s.turn != turn || rec.Due == nil {
		m.mu.Unlock()
		return
	}
	action, failures := rec.Due.Type, rec.Failures
	switch action {
	case ActionRestart:
		m.mu.Unlock()
		m.startAgain(u, s, turn)
		return
	case ActionReboot:
		m.mu.Unlock()
		m.rebootFor(u, s, turn)
		return
	}
	s.due, rec.Due = nil, nil
	err := u.writeState()
	m.mu.Unlock()
	if err != nil {
		m.log.Error("state", "error", err)
		return
	}
	step("action")
	if _, c, err := m.key(s.name); err == nil {
		m.run(u, s, m.actions(&c), failures)
	}
}

// rebootFor restarts everything after a failure. The action waits until the restart has begun, so that
// another manager goes on with one or the other.
func (m *Manager) rebootFor(u *unit, s *runtime, turn int) {
	_, c, err := m.key(s.name)
	if err != nil {
		return
	}
	m.log.Error("a failure restarts every service", "service", s.name)
	m.reboot(m.actions(&c).RebootMessage, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return s.due != nil && s.turn == turn
	})
}

// run runs the command of a failure.
func (m *Manager) run(u *unit, s *runtime, f FailureActions, failures int) {
	m.mu.Lock()
	busy := s.command
	s.command = true
	m.mu.Unlock()
	if busy {
		m.log.Error("the command of the failure before still runs", "service", s.name)
		return
	}
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		s.command = false
	}()
	switch {
	case f.Command == "":
		m.log.Error("there is no command for the failure", "service", s.name)
		return
	case f.Unapproved:
		m.log.Error("the command in the registry was not set through the manager, and is not run",
			"service", s.name, "command", f.Command)
		return
	}
	o := &operation{}
	if err := m.take(o, s); err != nil { // so that its directory is not removed meanwhile
		m.log.Error("the command of the failure", "service", s.name, "error", err)
		return
	}
	_, _, err := m.key(s.name)
	var wait func() error
	if err == nil {
		wait, err = u.startCommand(f.Command, failures, m.limits().CommandLimit)
	}
	m.release(s)
	if err == nil {
		m.log.Warn("the command of the failure runs", "service", s.name, "failures", failures)
		err = wait()
	}
	if err != nil {
		m.log.Error("the command of the failure", "service", s.name, "error", err)
	}
}

// errTakenBack says that a failure action is not wanted any more.
var errTakenBack = errors.New("the failure action was taken back")

// startAgain starts a service after a failure; that it cannot be started is one more.
func (m *Manager) startAgain(u *unit, s *runtime, turn int) {
	step("restart")
	told, err := m.start(s.name, &operation{}, &deferred{turn, true})
	if err == nil || told || errors.Is(err, AlreadyRunning) || errors.Is(err, errTakenBack) {
		return
	}
	// Nothing was tried: what it depends on does not start, or its registration has changed.
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.due != nil && s.turn == turn {
		m.log.Error("the service cannot be started again", "service", s.name, "error", err)
		m.failed(u, s, err)
	}
}
