package service

// How a service is started.

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// Start starts a service, and those before it that it depends on.
func (m *Manager) Start(name string) error {
	_, err := m.start(name, &operation{}, nil)
	return err
}

// deferred is what has put a start off.
type deferred struct {
	turn    int  // of runtime.due, while the start is wanted
	failure bool // it is a failure's restart
}

// startable gives the configuration of a service that may be started.
func (m *Manager) startable(name string) (Config, error) {
	_, c, err := m.key(name)
	switch {
	case err != nil:
	case c.Deleted:
		err = MarkedForDelete
	case c.Start == DisabledStart:
		err = Disabled
	}
	return c, err
}

// start is Start, as a part of an operation; d is what has put it off, or nil. told says that an error
// counts as a failure of the service already.
func (m *Manager) start(name string, o *operation, d *deferred) (told bool, err error) {
	c, err := m.startable(name)
	if err != nil {
		return false, err
	}
	m.mu.Lock()
	s := m.service(c.Name)
	runs := s.state == Running && !s.marked
	m.mu.Unlock()
	if runs {
		return false, AlreadyRunning
	}
	if err := m.startDependencies(&c, o); err != nil {
		m.mu.Lock()
		if s.state == Stopped {
			s.exit, s.detail = CodeOf(err)
		}
		m.mu.Unlock()
		return false, err
	}
	if err := m.take(o, s); err != nil {
		return false, err
	}
	defer m.release(s)
	if c, err = m.startable(name); err != nil {
		return false, err
	}
	m.mu.Lock()
	u := m.unitFor(unitKey(&c))
	if s.marked && s.unit != nil {
		in := s.unit
		m.mu.Unlock()
		return false, m.keep(o, s, in)
	}
	if err = m.mayStart(s, &c, d); err == nil {
		s.cancel()
		s.state, s.exit, s.detail = StartPending, Success, ""
		if d == nil {
			u.record(c.Name).By = o.by()
		}
	}
	m.mu.Unlock()
	if err != nil {
		return false, err
	}
	l, said, err := m.launch(u, s, &c, o)
	if err == nil {
		err = m.started(u, s, l)
	}
	if err == nil {
		return false, nil
	}
	return m.notStarted(u, s, &c, d, said, err)
}

// mayStart says whether a service may begin to start. m.mu is held.
func (m *Manager) mayStart(s *runtime, c *Config, d *deferred) error {
	switch {
	case s.state == Running:
		return AlreadyRunning
	case d != nil && (s.due == nil || s.turn != d.turn):
		return errTakenBack
	}
	for _, name := range c.DependOnService {
		// It has run a moment ago. What stops it sees from now on that this one is there.
		if m.service(name).state == Stopped || m.service(name).state == StopPending {
			return fail(DependencyFailed, "%s: %v", name, NotActive)
		}
	}
	return nil
}

// notStarted ends a start that has failed. said says that the error came once the host was asked to
// load the driver.
func (m *Manager) notStarted(u *unit, s *runtime, c *Config, d *deferred, said bool,
	err error) (told bool, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.state, s.unit = Stopped, nil
	s.exit, s.detail = CodeOf(err)
	switch {
	case m.closed:
		return false, CannotAcceptControl // the next manager ends what has begun
	case d != nil && d.failure, errors.Is(err, ProcessAborted), said && m.actions(c).OnNonCrash:
		m.failed(u, s, err)
		return true, err
	}
	rec := u.record(s.name)
	rec.Wish, rec.Due = wishNone, nil
	if e := u.writeState(); e != nil {
		m.log.Error("state", "error", e)
	}
	return false, err
}

// started notes that a service runs, unless its host has ended meanwhile.
func (m *Manager) started(u *unit, s *runtime, l *link) error {
	step("loaded")
	if err := m.wishFor(u, s.name, wishRunning); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if u.link != l {
		return l.aborted()
	}
	s.state, s.unit = Running, u
	return nil
}

// startDependencies starts what a service depends on.
func (m *Manager) startDependencies(c *Config, o *operation) error {
	if len(c.DependOnService)+len(c.DependOnGroup) == 0 {
		return nil
	}
	all := m.Configs()
	if circular(dependencies(all), c.Name) {
		return CircularDependency
	}
	for _, d := range c.DependOnService {
		_, err := m.start(d, o, nil)
		switch {
		case err == nil, errors.Is(err, AlreadyRunning):
		case errors.Is(err, PossibleDeadlock):
			return err
		case errors.Is(err, DoesNotExist), errors.Is(err, MarkedForDelete):
			return fail(DependencyDeleted, "%s", d)
		default:
			return fail(DependencyFailed, "%s: %v", d, err)
		}
	}
	for _, g := range c.DependOnGroup {
		// One member that runs is enough, once all were tried.
		var members []Config
		for _, o := range all {
			if cm.Fold(o.Group) == cm.Fold(g) {
				members = append(members, o)
			}
		}
		readGroupOrder(m.opts.Store.Registry).sort(members)
		runs := false
		for i := range members {
			_, err := m.start(members[i].Name, o, nil)
			runs = runs || err == nil || errors.Is(err, AlreadyRunning)
		}
		if !runs {
			return fail(DependencyFailed, "no service of group %s", g)
		}
	}
	step("dependencies run")
	return nil
}

// ImageFile gives the file of an image path: an absolute path of Linux, with or without \??\ before
// it.
func ImageFile(path string) (string, error) {
	path = strings.TrimPrefix(path, `\??\`)
	if !filepath.IsAbs(path) {
		return "", fail(FileNotFound, "%s: want the absolute path of a file", path)
	}
	return filepath.Clean(path), nil
}

// readImage reads a driver's file.
func readImage(path string) (file string, image []byte, err error) {
	if file, err = ImageFile(path); err != nil {
		return "", nil, err
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		defer f.Close()
		var info os.FileInfo
		if info, err = f.Stat(); err == nil {
			switch {
			case !info.Mode().IsRegular():
				return "", nil, fail(FileNotFound, "%s is not a regular file", file)
			case info.Size() > maxImage:
				return "", nil, fail(BadExeFormat, "%s has more than %d bytes", file, maxImage)
			}
			image, err = io.ReadAll(io.LimitReader(f, maxImage))
		}
	}
	switch {
	case errors.Is(err, os.ErrPermission):
		return "", nil, fail(AccessDenied, "%v", err)
	case err != nil:
		return "", nil, fail(FileNotFound, "%v", err)
	}
	return file, image, nil
}

// launch has a service's driver loaded, by a host that is started if need be. said says that an error
// came once the host was asked. s.op is held.
func (m *Manager) launch(u *unit, s *runtime, c *Config, o *operation) (l *link, said bool, err error) {
	limits := m.limits()
	file, image, err := readImage(c.ImagePath)
	if err != nil {
		return nil, false, err
	}
	if !isImage(image) {
		return nil, false, fail(BadExeFormat, "%s is no image", file)
	}
	if limits.policy != nil {
		// These bytes, and no others, go to the host.
		if err := limits.policy.CheckImage(filepath.Base(file), image, time.Now()); err != nil {
			return nil, false, &Error{InvalidImageHash, err.Error()}
		}
	}
	if err := m.wishFor(u, c.Name, wishStarting); err != nil {
		return nil, false, err
	}
	step("wished")
	m.mu.Lock()
	m.occupy(u)
	s.unit = u
	m.mu.Unlock()
	l, err = m.host(u)
	m.mu.Lock()
	m.vacate(u)
	m.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	done := m.within(o, u)
	_, err = l.call(hostRequest{Do: "start", Service: c.Name, File: file}, image, limits.StartLimit)
	done()
	switch {
	case err == nil:
		return l, false, nil
	case errors.Is(err, ProcessAborted):
		<-l.gone // it is told whose crash that was
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, false, err // the host goes on, and the next manager finds it
	}
	m.occupy(u)
	defer m.vacate(u)
	s.unit = nil
	if alone := !m.used(u, s); u.link == l && (alone || errors.Is(err, RequestTimeout)) {
		u.ending = alone
		m.mu.Unlock()
		l.kill() // nothing else is in it, or it cannot go on
		<-l.gone
		m.mu.Lock()
	}
	return nil, true, err
}

// host gives the unit's host, and starts one if there is none. The unit is occupied.
func (m *Manager) host(u *unit) (*link, error) {
	m.mu.Lock()
	l, closed := u.link, m.closed
	m.mu.Unlock()
	if closed {
		return nil, CannotAcceptControl
	}
	if l != nil {
		select {
		case <-l.ended: // wait until its end has been told
			<-l.gone
		default:
			return l, nil
		}
	}
	l, err := u.spawn(func(*os.File) *exec.Cmd { return m.opts.Command() })
	if errors.Is(err, errHosted) {
		return nil, fail(CannotAcceptControl, "a host that does not answer has %s", u.dir)
	}
	if err != nil {
		return nil, err
	}
	m.opts.Guard.host(l.pid, u.key)
	m.mu.Lock()
	u.link, u.ending = l, false
	m.mu.Unlock()
	m.answer(u, l, false)
	go l.read()
	go m.follow(u, l)
	return l, nil
}
