package ntoskrnl

import (
	"slices"
	"sync"

	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// routineList is driver routines that want to be told of something. The zero value is an empty
// list. One that is taken off the list is not under way any more when that is done.
type routineList[T any] struct {
	mu  sync.Mutex
	all []*routine[T] // never changed in place
}

// routine is one of them.
type routine[T any] struct {
	is      T
	callers []*ke.Thread // of the calls under way
	gone    bool
	waiters []*ke.Thread // that wait for the calls to end
}

// snapshot gives the routines as they are now.
func (l *routineList[T]) snapshot() []*routine[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

// insert adds a routine before the first one that says so, or at the end. refuse, if set, is asked
// of each one whether the new one may not be added.
func (l *routineList[T]) insert(v T, before, refuse func(old T) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := len(l.all)
	for i, r := range l.all {
		if refuse != nil && refuse(r.is) {
			return false
		}
		if before != nil && at == len(l.all) && before(r.is) {
			at = i
		}
	}
	l.all = slices.Insert(slices.Clone(l.all), at, &routine[T]{is: v})
	return true
}

// each calls f on thread t for the routines, in their order. One that is taken off meanwhile is
// left out.
func (l *routineList[T]) each(t *ke.Thread, f func(v T)) {
	for _, r := range l.snapshot() {
		l.do(r, t, f)
	}
}

// do calls f for a routine, unless it is gone, and reports whether it was there.
func (l *routineList[T]) do(r *routine[T], t *ke.Thread, f func(v T)) bool {
	l.mu.Lock()
	if r.gone {
		l.mu.Unlock()
		return false
	}
	r.callers = append(r.callers, t)
	l.mu.Unlock()
	defer l.end(r, t)
	f(r.is)
	return true
}

func (l *routineList[T]) end(r *routine[T], t *ke.Thread) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(r.callers, t)
	r.callers = slices.Delete(r.callers, i, i+1)
	for _, w := range r.waiters {
		w.Unpark()
	}
}

// remove takes the first routine that match means off the list, and waits on thread t, below
// DISPATCH_LEVEL, until no call of it by another thread is under way. It reports whether there was
// one.
func (l *routineList[T]) remove(t *ke.Thread, match func(v T) bool) bool {
	l.mu.Lock()
	i := slices.IndexFunc(l.all, func(r *routine[T]) bool { return match(r.is) })
	if i < 0 {
		l.mu.Unlock()
		return false
	}
	r := l.all[i]
	l.all = slices.Delete(slices.Clone(l.all), i, i+1)
	r.gone = true
	r.waiters = append(r.waiters, t)
	idle := !r.calledByOther(t)
	l.mu.Unlock()
	if !idle {
		t.Park(func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return !r.calledByOther(t)
		})
	}
	return true
}

func (r *routine[T]) calledByOther(t *ke.Thread) bool {
	return slices.ContainsFunc(r.callers, func(o *ke.Thread) bool { return o != t })
}
