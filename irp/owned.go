package irp

// IRPs that belong to a thread: those that were built for a driver to wait for, and the kernel's own
// requests on files. A thread that ends cancels them and waits for them, as in Windows, where they are
// in its list by IRP.ThreadListEntry.

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// owned are the lists, by thread.
type owned struct {
	mu   sync.Mutex
	head map[*ke.Thread]*packet
}

// ThreadPatience is how long a thread that ends waits for its IRPs to be completed, as in Windows.
const ThreadPatience = 5 * time.Minute

// add makes p one of t's IRPs.
func (o *owned) add(p *packet, t *ke.Thread) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.head == nil {
		o.head = make(map[*ke.Thread]*packet)
	}
	first := o.head[t]
	p.owner, p.ownedNext, p.ownedPrev = t, first, nil
	if first != nil {
		first.ownedPrev = p
	}
	o.head[t] = p
}

// drop takes p, whose life is about to end, off its owner's list.
func (o *owned) drop(p *packet) {
	o.mu.Lock()
	t := p.owner
	last := o.unlink(p)
	o.mu.Unlock()
	if last {
		t.Unpark()
	}
}

// unlink reports whether p was its owner's last; o.mu is held.
func (o *owned) unlink(p *packet) (last bool) {
	t := p.owner
	if t == nil {
		return false
	}
	if p.ownedNext != nil {
		p.ownedNext.ownedPrev = p.ownedPrev
	}
	switch {
	case p.ownedPrev != nil:
		p.ownedPrev.ownedNext = p.ownedNext
	case p.ownedNext != nil:
		o.head[t] = p.ownedNext
	default:
		delete(o.head, t)
		last = true
	}
	p.owner, p.ownedNext, p.ownedPrev = nil, nil, nil
	return last
}

func (o *owned) none(t *ke.Thread) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.head[t] == nil
}

// Owned counts the IRPs that belong to a thread.
func (m *Manager) Owned(t *ke.Thread) (n int) {
	m.owned.mu.Lock()
	defer m.owned.mu.Unlock()
	for p := m.owned.head[t]; p != nil; p = p.ownedNext {
		n++
	}
	return n
}

// CancelThread is IoCancelThreadIo: it cancels the IRPs of thread t, which is about to end, and waits
// until they are completed, inside a Do of it. What is not completed within ThreadPatience belongs
// to nobody from then on.
func (m *Manager) CancelThread(t *ke.Thread) {
	if m.owned.none(t) {
		return
	}
	type life struct {
		p   *packet
		use uint32
	}
	var all []life
	m.owned.mu.Lock()
	for p := m.owned.head[t]; p != nil; p = p.ownedNext {
		all = append(all, life{p, p.use.Load()})
	}
	m.owned.mu.Unlock()
	for _, l := range all {
		irql := m.cancel.Acquire(t)
		m.owned.mu.Lock()
		if l.p.owner != t || l.p.use.Load() != l.use {
			m.owned.mu.Unlock()
			m.cancel.Release(t, irql)
			continue
		}
		routine := l.p.markCancelled(irql)
		m.owned.mu.Unlock()
		m.runCancelRoutine(t, l.p, routine, irql)
	}
	var late atomic.Bool
	timer := time.AfterFunc(ThreadPatience, func() { late.Store(true); t.Unpark() })
	defer timer.Stop()
	t.Park(func() bool { return late.Load() || m.owned.none(t) })
	m.owned.mu.Lock()
	defer m.owned.mu.Unlock()
	for p := m.owned.head[t]; p != nil; p = m.owned.head[t] {
		m.owned.unlink(p)
	}
}
