package ke

import (
	"slices"
	"sync"

	"github.com/drvhost/drvhost/guest"
)

// Callback is what a CALLBACK_OBJECT stands for: functions that want to be told of something.
type Callback struct {
	many bool // more than one function may be registered

	mu   sync.Mutex
	list []*Registration
}

// Registration is one function of a Callback.
type Registration struct {
	callback *Callback
	function guest.Addr
	context  guest.Addr
	calls    int     // under way
	gone     bool    // unregistered
	waiter   *Thread // in Unregister
}

// NewCallback makes a callback without functions; many says whether it may have more than one.
func NewCallback(many bool) *Callback { return &Callback{many: many} }

// Register adds a function at the end of the list. It gives nil if there is one already and more
// are not allowed.
func (c *Callback) Register(function, context guest.Addr) *Registration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.many && len(c.list) > 0 {
		return nil
	}
	r := &Registration{callback: c, function: function, context: context}
	c.list = append(slices.Clip(c.list), r)
	return r
}

// Unregister takes a function off the list and waits for the calls of it that are under way. It
// reports whether it was there.
func (t *Thread) Unregister(r *Registration) bool {
	c := r.callback
	c.mu.Lock()
	if r.gone {
		c.mu.Unlock()
		return false
	}
	r.gone = true
	c.list = slices.DeleteFunc(slices.Clone(c.list), func(o *Registration) bool { return o == r })
	r.waiter = t
	calls := r.calls
	c.mu.Unlock()
	if calls > 0 {
		t.Park(func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return r.calls == 0
		})
	}
	return true
}

// Notify calls the functions with their contexts and two arguments, in the order in which they were
// registered, at the IRQL of the caller. One that is registered meanwhile is not called.
func (t *Thread) Notify(c *Callback, arg1, arg2 uint64) {
	c.mu.Lock()
	list := c.list // never changed in place
	c.mu.Unlock()
	for _, r := range list {
		c.mu.Lock()
		gone := r.gone
		if !gone {
			r.calls++
		}
		c.mu.Unlock()
		if gone {
			continue
		}
		t.Call(r.function, uint64(r.context), arg1, arg2)
		c.mu.Lock()
		r.calls--
		if r.calls == 0 && r.waiter != nil {
			r.waiter.Unpark()
		}
		c.mu.Unlock()
	}
}
