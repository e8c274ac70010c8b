package service

// How services are registered, changed and deleted.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// Create registers a service, and starts it if its start is automatic. What cannot be started is
// registered all the same, and the failure in the log and in its status.
func (m *Manager) Create(c Config) error {
	if err := m.create(&c); err != nil {
		return err
	}
	step("created")
	if c.Start.automatic() {
		if err := m.Start(c.Name); err != nil && !errors.Is(err, AlreadyRunning) {
			m.log.Warn("the new service is not started", "service", c.Name, "error", err)
		}
	}
	return nil
}

func (m *Manager) create(c *Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	m.admin.Lock()
	defer m.admin.Unlock()
	switch _, old, err := m.key(c.Name); {
	case err == nil && old.Deleted:
		return MarkedForDelete
	case err == nil:
		return Exists
	}
	if err := m.checkDisplayName(c); err != nil {
		return err
	}
	if len(c.DependOnService)+len(c.DependOnGroup) > 0 &&
		circular(dependencies(append(m.Configs(), *c)), c.Name) {
		return CircularDependency
	}
	step("create")
	if err := m.forget(c); err != nil {
		return err
	}
	return m.opts.Store.Batch(func() error {
		k, _, status := m.opts.Store.Registry.Create(nil, ServicesKey+`\`+c.Name,
			cm.CreateOptions{Parents: true})
		if status != nt.STATUS_SUCCESS {
			return &Error{FromStatus(status), "the service's key"}
		}
		return errors.Join(c.store(k), m.opts.Store.approve(c.Name, c.Failure.Command))
	})
}

// forget forgets what a service of the name has done that was registered before. MarkedForDelete if
// it runs, for somebody has taken its key away without stopping it.
func (m *Manager) forget(c *Config) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.service(c.Name)
	if s.state != Stopped {
		return MarkedForDelete
	}
	s.forget(c.Name)
	m.opts.Guard.taken(c.Name)
	u := m.unitFor(unitKey(c))
	if u.state.Services[cm.Fold(c.Name)] == nil {
		return nil
	}
	delete(u.state.Services, cm.Fold(c.Name))
	return u.writeState()
}

// checkDisplayName says whether a display name is free.
func (m *Manager) checkDisplayName(c *Config) error {
	if c.DisplayName == "" {
		return nil
	}
	for _, o := range m.Configs() {
		if cm.Fold(o.Name) != cm.Fold(c.Name) && (cm.Fold(o.Name) == cm.Fold(c.DisplayName) ||
			cm.Fold(o.DisplayName) == cm.Fold(c.DisplayName)) {
			return DuplicateName
		}
	}
	return nil
}

// Change changes what a service is registered with: change is given what is there, perhaps twice.
// What is running is not touched.
func (m *Manager) Change(name string, change func(c *Config) error) error {
	err := m.change(name, change, false)
	if !errors.Is(err, errMoves) {
		return err
	}
	m.mu.Lock()
	s := m.service(name)
	m.mu.Unlock()
	if err := m.take(&operation{}, s); err != nil {
		return err
	}
	defer m.release(s)
	return m.change(name, change, true)
}

// errMoves says that a service would have another unit, for which its op has to be held.
var errMoves = errors.New("the service moves")

// change is Change. May a service move, its op is held.
func (m *Manager) change(name string, change func(c *Config) error, move bool) error {
	m.admin.Lock()
	defer m.admin.Unlock()
	k, c, err := m.key(name)
	switch {
	case err != nil:
		return err
	case c.Deleted:
		return MarkedForDelete
	}
	was := unitKey(&c)
	if err := change(&c); err != nil {
		return err
	}
	c.Name = name
	if err := c.Validate(); err != nil {
		return err
	}
	if unitKey(&c) != was && !move {
		return errMoves
	}
	if err := m.checkDisplayName(&c); err != nil {
		return err
	}
	all := slices.DeleteFunc(m.Configs(), func(o Config) bool { return cm.Fold(o.Name) == cm.Fold(name) })
	if circular(dependencies(append(all, c)), name) {
		return CircularDependency
	}
	err = m.opts.Store.Batch(func() error {
		if c.Failure.approve {
			if err := m.opts.Store.approve(name, c.Failure.Command); err != nil {
				return err
			}
		}
		// From one moment to the other, all that looks for what is remembered of the service finds it
		// in the new unit.
		m.mu.Lock()
		defer m.mu.Unlock()
		m.opts.Guard.taken(name)
		if err := m.remember(was, unitKey(&c), name); err != nil {
			return err
		}
		return c.store(k)
	})
	if err != nil {
		return err
	}
	return m.moved(was, unitKey(&c), name)
}

// remember has another unit remember what one does of a service, which is as true of both until moved
// is called. m.mu is held.
func (m *Manager) remember(from, to, name string) error {
	rec := m.unitFor(from).state.Services[cm.Fold(name)]
	if from == to || rec == nil {
		return nil
	}
	same := *rec
	u := m.unitFor(to)
	u.state.Services[cm.Fold(name)] = &same
	return u.writeState()
}

// moved has a unit forget a service that is another one's.
func (m *Manager) moved(from, to, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.unitFor(from)
	if from == to || u.state.Services[cm.Fold(name)] == nil {
		return nil
	}
	delete(u.state.Services, cm.Fold(name))
	return u.writeState()
}

// NextTag gives a tag that no service of a group has.
func (m *Manager) NextTag(group string) (tag uint32) {
	for _, c := range m.Configs() {
		if cm.Fold(c.Group) == cm.Fold(group) {
			tag = max(tag, c.Tag)
		}
	}
	return tag + 1
}

// Delete deletes a service: at once if it is stopped, else when it is.
func (m *Manager) Delete(name string) error {
	m.admin.Lock()
	k, c, err := m.key(name)
	switch {
	case err != nil:
	case c.Deleted:
		err = MarkedForDelete
	default:
		if status := k.Set(valDelete, nt.REG_DWORD, cm.DWord(1)); !status.Success() {
			err = &Error{FromStatus(status), "value " + valDelete}
		}
	}
	m.admin.Unlock()
	if err != nil {
		return err
	}
	step("marked for deletion")
	m.mu.Lock()
	s := m.service(c.Name)
	m.mu.Unlock()
	if err := m.take(&operation{}, s); err != nil {
		return err
	}
	defer m.release(s)
	m.mu.Lock()
	stopped := s.state == Stopped
	if stopped {
		s.cancel()
	}
	m.mu.Unlock()
	if !stopped {
		return nil
	}
	return m.remove(c.Name)
}

// remove takes a service out of the registry, and away what it had.
func (m *Manager) remove(name string) error {
	m.admin.Lock()
	defer m.admin.Unlock()
	k, c, err := m.key(name)
	if err != nil || !c.Deleted {
		return nil // it is gone, or another one of the name has come
	}
	m.mu.Lock()
	u := m.unitFor(unitKey(&c))
	delete(u.state.Services, cm.Fold(name))
	m.service(name).forget(name)
	m.opts.Guard.taken(name)
	empty := len(u.state.Services) == 0 && u.link == nil
	err = nil
	if !empty {
		err = u.writeState()
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	step("remove")
	err = m.opts.Store.Batch(func() error {
		if status := k.DeleteTree(); !status.Success() {
			return &Error{FromStatus(status), "the service's key"}
		}
		return m.opts.Store.approve(name, "")
	})
	step("removed")
	if err == nil && (c.HostGroup == "" || !m.homes()[u.dir]) {
		err = removeUnit(u)
	}
	return err
}

// homes gives the directories of the units that services have.
func (m *Manager) homes() map[string]bool {
	homes := map[string]bool{}
	for _, c := range m.Configs() {
		homes[m.unitDir(unitKey(&c))] = true
	}
	return homes
}

// tidy removes the directories of units that no service has, which a manager that has died has left.
func (m *Manager) tidy() {
	m.admin.Lock()
	defer m.admin.Unlock()
	homes := m.homes()
	dirs, _ := os.ReadDir(filepath.Join(m.opts.Dir, unitsDir)) // what is not seen stays
	for _, d := range dirs {
		dir := filepath.Join(m.opts.Dir, unitsDir, d.Name())
		if !d.IsDir() || homes[dir] {
			continue
		}
		if err := removeUnit(&unit{dir: dir}); err != nil {
			m.log.Warn("a directory is left", "error", err)
		}
	}
}

// removeUnit removes a unit's directory, unless a host is in it. None is started while its lock is
// held.
func removeUnit(u *unit) error {
	lock, free, err := u.lock(false)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil || !free {
		return err
	}
	defer lock.Close()
	for _, name := range []string{unitState, unitState + ".new", unitLog, unitLog + ".old", unitSocket,
		unitLock} {
		if err := os.Remove(filepath.Join(u.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("the service's directory: %w", err)
		}
	}
	return os.Remove(u.dir)
}
