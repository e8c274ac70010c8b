package service

// The start of everything that starts by itself.

import (
	"errors"
	"sync"
)

// Boot starts the services whose start is automatic and which do not run, in their order. A restart of
// everything that another manager has begun is ended first.
func (m *Manager) Boot() {
	m.system.Lock()
	defer m.system.Unlock()
	if m.rebooting() {
		m.haltAll()
	}
	m.startAll()
}

// startAll starts what Boot starts. m.system is held.
func (m *Manager) startAll() {
	order := readGroupOrder(m.opts.Store.Registry)
	var all []Config
	for _, c := range m.Configs() {
		m.mu.Lock()
		w := m.unitFor(unitKey(&c)).record(c.Name).Wish
		pending := m.service(c.Name).due != nil
		m.mu.Unlock()
		if c.Start.automatic() && !c.Deleted && w != wishStopped && !pending {
			all = append(all, c)
		}
	}
	order.sort(all)
	for _, wave := range order.waves(all) {
		if m.isClosed() {
			return
		}
		m.bootWave(wave)
	}
}

// startsAtOnce is how many services are started at the same time.
const startsAtOnce = 8

func (m *Manager) bootWave(wave []Config) {
	places := make(chan struct{}, startsAtOnce)
	var wg sync.WaitGroup
	for _, c := range wave {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			err := m.Start(c.Name)
			if err == nil || errors.Is(err, AlreadyRunning) || m.isClosed() {
				return
			}
			switch c.ErrorControl {
			case ErrorIgnore:
			case ErrorNormal:
				m.log.Warn("the service is not started", "service", c.Name, "error", err)
			default:
				m.log.Error("the service is not started", "service", c.Name, "error", err)
			}
		})
	}
	wg.Wait()
}
