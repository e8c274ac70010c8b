package service

// The failure action reboot. The system that drivers see is what one manager runs, so that is what is
// restarted: every service is stopped, and those that start by themselves are started again.

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// rebootFile lies in the state directory while everything is being stopped.
const rebootFile = "reboot"

// Reboot stops every service, those first that others depend on least, and starts those whose start is
// automatic, as when the machine starts: also those that were stopped by hand. It logs a message. Asked
// again before it has begun, it does nothing.
func (m *Manager) Reboot(message string) { m.reboot(message, func() bool { return true }) }

// reboot is Reboot, if that is still wanted once everything that goes on has been started.
func (m *Manager) reboot(message string, wanted func() bool) {
	if !m.reboots.CompareAndSwap(false, true) {
		return
	}
	m.system.Lock()
	defer m.system.Unlock()
	m.reboots.Store(false) // who asks from now on means another one
	if !wanted() || m.isClosed() {
		return
	}
	m.log.Error("restarting every service", "message", message)
	if err := os.WriteFile(m.rebootPath(), nil, 0o600); err != nil {
		m.log.Error("the restart", "error", err)
		return
	}
	m.haltAll()
	m.startAll()
}

func (m *Manager) rebootPath() string { return filepath.Join(m.opts.Dir, rebootFile) }

// rebooting says whether everything is to be stopped.
func (m *Manager) rebooting() bool {
	_, err := os.Lstat(m.rebootPath())
	return err == nil
}

// haltAll stops every service and forgets what was wanted of each. The counts of failures stay, so
// that a service whose failure does this again and again has to wait longer and longer. m.system is
// held.
func (m *Manager) haltAll() {
	step("reboot")
	all := m.Configs()
	readGroupOrder(m.opts.Store.Registry).sort(all)
	on := dependencies(all)
	done := map[string]bool{}
	var stop func(name string)
	stop = func(name string) {
		if done[cm.Fold(name)] || m.isClosed() {
			return
		}
		done[cm.Fold(name)] = true
		for i := range all {
			if slices.Contains(on[cm.Fold(all[i].Name)], cm.Fold(name)) {
				stop(all[i].Name)
			}
		}
		if err := m.halt(name); err != nil && !errors.Is(err, NotActive) {
			m.log.Error("the service is not stopped", "service", name, "error", err)
		}
	}
	for i := range slices.Backward(all) {
		stop(all[i].Name)
	}
	if m.isClosed() {
		return
	}
	step("all stopped")
	m.mu.Lock()
	for i := range all {
		s, u := m.service(all[i].Name), m.unitFor(unitKey(&all[i]))
		rec := u.record(all[i].Name)
		if s.state != Stopped || rec.Wish == wishNone && rec.Due == nil {
			continue
		}
		s.cancel()
		s.exit, s.detail = NeverStarted, ""
		rec.Wish, rec.Due = wishNone, nil
		if err := u.writeState(); err != nil {
			m.log.Error("state", "error", err)
		}
	}
	m.mu.Unlock()
	if err := os.Remove(m.rebootPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		m.log.Error("the restart", "error", err)
	}
	step("rebooted")
}
