package driverhost

import "sync/atomic"

// gate counts who is inside, until it is closed and they have left. One of them at a time may have
// the key. Entering and leaving cost an atomic operation each, with or without the key.
type gate struct {
	state atomic.Int64  // how many are inside, gateKeyTaken and gateClosed
	left  chan struct{} // somebody has left a closed gate
}

const (
	gateClosed   = 1 << 62
	gateKeyTaken = 1 << 61
)

func (g *gate) init() { g.left = make(chan struct{}, 1) }

// enter reports whether the gate is open; then leave follows.
func (g *gate) enter() bool {
	if g.state.Add(1) < gateClosed {
		return true
	}
	g.leave()
	return false
}

// enterForKey is enter, and takes the key if nobody has it; then leaveWithKey follows.
func (g *gate) enterForKey() (open, key bool) {
	if s := g.state.Load(); s < gateKeyTaken && g.state.CompareAndSwap(s, s+gateKeyTaken+1) {
		return true, true
	}
	return g.enter(), false
}

func (g *gate) leaveWithKey() { g.depart(-gateKeyTaken - 1) }

func (g *gate) leave() { g.depart(-1) }

func (g *gate) depart(change int64) {
	if g.state.Add(change) == gateClosed {
		select {
		case g.left <- struct{}{}:
		default:
		}
	}
}

// shut keeps others from entering, and reports whether the gate was open.
func (g *gate) shut() bool {
	for {
		s := g.state.Load()
		if s >= gateClosed {
			return false
		}
		if g.state.CompareAndSwap(s, s|gateClosed) {
			return true
		}
	}
}

// wait waits until everybody has left a gate that was shut. One goroutine may do so.
func (g *gate) wait() {
	for g.state.Load() != gateClosed {
		<-g.left
	}
}

// close shuts the gate and waits.
func (g *gate) close() {
	g.shut()
	g.wait()
}
