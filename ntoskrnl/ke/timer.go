package ke

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Timers. A KTIMER's state, due time, period and DPC are in guest memory; Go has which ones are in
// the queue. One goroutine expires them.

// timer is a KTIMER's place in the queue.
type timer struct {
	object guest.Addr
	due    time.Duration // by the system's clock
	period time.Duration // 0 for once
	proc   *Processor    // where its DPC runs if no processor is idle
	index  int           // in timerQueue.heap
	set    uint64        // counts the settings of what is in this place
}

// timerQueue is the timers that are set, as a heap by due time.
type timerQueue struct {
	sys     *System
	mu      sync.Mutex
	heap    []*timer
	set     map[guest.Addr]*timer
	count   atomic.Int32
	spare   *timer // its place is free
	wake    chan struct{}
	running bool
}

func (q *timerQueue) init(s *System) {
	q.sys, q.set, q.wake = s, make(map[guest.Addr]*timer), make(chan struct{}, 1)
}

// inserted is the bit of a KTIMER's TimerMiscFlags that says that it is in the queue.
const inserted = 0x40

// InitializeTimer makes the KTIMER at object ready, as KeInitializeTimerEx does. To do so to one
// that is in the queue is a bugcheck.
func (s *System) InitializeTimer(object guest.Addr, typ nt.TimerType) error {
	s.timers.mu.Lock()
	queued := s.timers.set[object] != nil
	s.timers.mu.Unlock()
	if queued {
		return &timerError{object, "was initialised while it was set"}
	}
	return guest.Ptr[nt.KTimer](object).Store(nt.KTimer{
		Header: newHeader(object, nt.TimerNotificationObject+uint8(typ), sizeofKTimer, 0)})
}

// timerError is what a driver did to a timer that is in the queue.
type timerError struct {
	timer guest.Addr
	fact  string
}

func (e *timerError) Error() string { return fmt.Sprintf("the KTIMER at %v %s", e.timer, e.fact) }

// BugCheck gives the bugcheck's code and parameters.
func (e *timerError) BugCheck() (nt.BugCheck, [4]uint64) {
	return nt.TIMER_OR_DPC_INVALID,
		[4]uint64{0, uint64(e.timer), uint64(e.timer), uint64(e.timer) + uint64(sizeofKTimer)}
}

func loadTimer(object guest.Addr) (header, error) {
	return loadAs(object, nt.TimerNotificationObject, nt.TimerSynchronizationObject, "KTIMER")
}

// SetTimer puts a timer into the queue, as KeSetTimerEx does, and reports whether it was there
// before. due is a system time if it is not negative, else relative, in units of 100 ns; period is
// in milliseconds, 0 for once. When it expires, the timer is signalled and the KDPC at dpc, if it
// is not 0, is queued. A time that has passed expires at once.
func (t *Thread) SetTimer(object guest.Addr, due int64, period uint32, dpc guest.Addr) (was bool,
	err error) {
	return t.SetTimerPrecise(object, due, time.Duration(period)*time.Millisecond, dpc)
}

// SetTimerPrecise is SetTimer with a period that need not be in milliseconds.
func (t *Thread) SetTimerPrecise(object guest.Addr, due int64, period time.Duration,
	dpc guest.Addr) (was bool, err error) {
	s := t.sys
	if dpc != 0 {
		if err := checkDPC(dpc); err != nil {
			return false, err
		}
	}
	wait := s.clock.until(due)
	e := timer{object: object, period: period, proc: t.proc, due: s.clock.elapsed() + wait}
	b := s.bucket(object)
	b.mu.Lock()
	if _, err := loadTimer(object); err != nil {
		b.mu.Unlock()
		return false, err
	}
	was = s.timers.remove(object)
	if err := s.storeTimer(object, &e, dpc); err != nil {
		b.mu.Unlock()
		return was, err
	}
	place, set := s.timers.insert(e)
	b.mu.Unlock()
	if wait == 0 {
		if err := s.expire(place, set); err != nil {
			return was, err
		}
		t.DeliverDPCs()
	}
	return was, nil
}

// storeTimer writes into a KTIMER what it was set to.
func (s *System) storeTimer(object guest.Addr, e *timer, dpc guest.Addr) error {
	if err := storeState(object, 0); err != nil {
		return err
	}
	if err := guest.Store64(object+timerDue, s.interruptTimeAt(e.due)); err != nil {
		return err
	}
	if err := guest.StoreAddr(object+timerDPC, dpc); err != nil {
		return err
	}
	if err := guest.Store32(object+timerPeriod,
		uint32(e.period/time.Millisecond)); err != nil {
		return err
	}
	return guest.Store8(object+timerInserted, inserted)
}

// CancelTimer takes a timer out of the queue, as KeCancelTimer does, and reports whether it was
// there. A DPC that it has queued stays queued.
func (s *System) CancelTimer(object guest.Addr) (was bool, err error) {
	b := s.bucket(object)
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := loadTimer(object); err != nil {
		return false, err
	}
	if was = s.timers.remove(object); was {
		err = guest.Store8(object+timerInserted, 0)
	}
	return was, err
}

// expire signals a timer whose time has come, unless it was cancelled or set anew: place is its
// place in the queue, and set says which setting is meant.
func (s *System) expire(place *timer, set uint64) error {
	object, ok := s.timers.objectAt(place, set)
	if !ok {
		return nil
	}
	b := s.bucket(object)
	b.mu.Lock()
	e, ok := s.timers.due(place, set)
	if !ok {
		b.mu.Unlock()
		return nil
	}
	_, err := loadTimer(e.object)
	if err == nil && e.period == 0 {
		err = guest.Store8(e.object+timerInserted, 0)
	}
	var dpc guest.Addr
	if err == nil {
		dpc, err = guest.LoadAddr(e.object + timerDPC)
	}
	if err == nil {
		err = storeState(e.object, 1)
	}
	if err != nil {
		b.mu.Unlock()
		return &timerError{e.object, "was freed or overwritten while it was set"}
	}
	if err := s.wakeAndUnlock(b, e.object); err != nil {
		return err
	}
	if dpc == 0 {
		return nil
	}
	now := uint64(s.SystemTime())
	if _, err := s.queueDPC(dpc, now&0xFFFFFFFF, now>>32, s.processorForDPC(e.proc),
		nil); err != nil {
		return &timerError{e.object, fmt.Sprintf("has no DPC any more: %v", err)}
	}
	return nil
}

// processorForDPC gives a processor on which a DPC disturbs nobody, or else p.
func (s *System) processorForDPC(p *Processor) *Processor {
	idle := s.idle.Load()
	if idle == 0 || idle&p.bit() != 0 {
		return p
	}
	for _, other := range s.procs {
		if idle&other.bit() != 0 {
			return other
		}
	}
	return p
}

// run expires timers as their time comes.
func (q *timerQueue) run() {
	s := q.sys
	sleep := time.NewTimer(time.Hour)
	defer sleep.Stop()
	for !s.Ended() {
		e, set, wait := q.next()
		if e != nil {
			if err := s.expire(e, set); err != nil {
				s.crashFor(err)
				return
			}
			continue
		}
		sleep.Reset(wait)
		select {
		case <-q.wake:
		case <-sleep.C:
		}
	}
}

// crashFor ends the system for an error that no thread is to blame for.
func (s *System) crashFor(err error) {
	b := &Bugcheck{Code: nt.TIMER_OR_DPC_INVALID, Reason: err.Error()}
	if e, ok := err.(interface {
		BugCheck() (nt.BugCheck, [4]uint64)
	}); ok {
		b.Code, b.Params = e.BugCheck()
	}
	s.Crash(b)
}

// next gives a timer whose time has come, and its setting, or how long to wait for the first.
func (q *timerQueue) next() (*timer, uint64, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.heap) == 0 {
		return nil, 0, time.Hour
	}
	e := q.heap[0]
	if wait := e.due - q.sys.clock.elapsed(); wait > 0 {
		return nil, 0, wait
	}
	return e, e.set, 0
}

// objectAt gives the timer at a place in the queue, if it is still the same setting.
func (q *timerQueue) objectAt(e *timer, set uint64) (guest.Addr, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return e.object, e.set == set
}

// due takes a timer out of the queue, or to its next period, if it is still the same setting, and
// gives a copy.
func (q *timerQueue) due(e *timer, set uint64) (timer, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.set != set {
		return timer{}, false
	}
	was := *e
	if e.period == 0 {
		q.drop(e)
		return was, true
	}
	// Periods that went by while nobody looked are not made up for.
	now := q.sys.clock.elapsed()
	if e.due += e.period; e.due < now {
		e.due = now + e.period
	}
	q.fix(e.index)
	return was, true
}

// insert puts a timer into the queue, and gives its place and which setting it is.
func (q *timerQueue) insert(v timer) (*timer, uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.spare
	if e == nil {
		e = new(timer)
	}
	q.spare = nil
	v.set, v.index = e.set+1, len(q.heap)
	*e = v
	q.heap = append(q.heap, e)
	q.count.Store(int32(len(q.heap)))
	if len(q.heap) == 1 {
		q.sys.noteTimers(true)
	}
	q.set[e.object] = e
	q.fix(e.index)
	if !q.running {
		q.running = q.sys.spawn(q.run)
	}
	if e.index == 0 {
		q.poke()
	}
	return e, e.set
}

// remove takes the timer at object out of the queue, and reports whether it was there.
func (q *timerQueue) remove(object guest.Addr) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.set[object]
	if e != nil {
		q.drop(e)
	}
	return e != nil
}

func (q *timerQueue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *timerQueue) stop() { q.poke() }

// drop takes e out of the heap and the set; its place may be used again. The caller holds q.mu.
func (q *timerQueue) drop(e *timer) {
	e.set++
	q.spare = e
	delete(q.set, e.object)
	last := len(q.heap) - 1
	i := e.index
	q.swap(i, last)
	q.heap[last] = nil
	q.heap = q.heap[:last]
	q.count.Store(int32(last))
	if last == 0 {
		q.sys.noteTimers(false)
	}
	if i < last {
		q.fix(i)
	}
}

func (q *timerQueue) swap(i, j int) {
	q.heap[i], q.heap[j] = q.heap[j], q.heap[i]
	q.heap[i].index, q.heap[j].index = i, j
}

// fix restores the heap's order after the due time at i has changed.
func (q *timerQueue) fix(i int) {
	for i > 0 && q.heap[i].due < q.heap[(i-1)/2].due {
		q.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		first := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(q.heap) && q.heap[child].due < q.heap[first].due {
				first = child
			}
		}
		if first == i {
			return
		}
		q.swap(i, first)
		i = first
	}
}

// TimersSet reports whether any timer is set.
func (s *System) TimersSet() bool { return s.timers.count.Load() != 0 }

// TimerIn gives a timer that is set and lies in [addr, addr+size): memory that must not be freed.
func (s *System) TimerIn(addr guest.Addr, size uintptr) (object guest.Addr, found bool) {
	if s.timers.count.Load() == 0 {
		return 0, false
	}
	return s.timers.within(addr, size)
}

// CheckFree is the error of memory that is to be freed, [addr, addr+size), and has a timer in it
// that is set.
func (s *System) CheckFree(addr guest.Addr, size uintptr) error {
	if object, found := s.TimerIn(addr, size); found {
		return &timerError{object, "is freed while it is set"}
	}
	return nil
}

// within gives a timer that lies in [addr, addr+size): the shorter way, through the memory or
// through the timers.
func (q *timerQueue) within(addr guest.Addr, size uintptr) (guest.Addr, bool) {
	const align = 8
	q.mu.Lock()
	defer q.mu.Unlock()
	if size/align < uintptr(len(q.heap)) {
		for a := addr &^ (align - 1); a < addr+guest.Addr(size); a += align {
			if q.set[a] != nil {
				return a, true
			}
		}
		return 0, false
	}
	for _, e := range q.heap {
		if e.object >= addr && uintptr(e.object-addr) < size {
			return e.object, true
		}
	}
	return 0, false
}

// TimerSet reports whether a timer is in the queue.
func (s *System) TimerSet(object guest.Addr) (bool, error) {
	b := s.bucket(object)
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := loadTimer(object)
	v := uint8(0)
	if err == nil {
		v, err = guest.Load8(object + timerInserted)
	}
	return v&inserted != 0, err
}
