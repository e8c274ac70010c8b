package driverhost

import "sync/atomic"

// gate counts who is inside, until it is closed and they have left. Entering and leaving cost an
// atomic addition each.
type gate struct {
	state atomic.Int64  // how many are inside, and gateClosed
	left  chan struct{} // somebody has left a closed gate
}

const gateClosed = 1 << 62

func (g *gate) init() { g.left = make(chan struct{}, 1) }

// enter reports whether the gate is open; then leave follows.
func (g *gate) enter() bool {
	if g.state.Add(1) < gateClosed {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.state.Add(-1) == gateClosed {
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
