package ke

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Waits for dispatcher objects.
//
// The objects are the driver's memory, and their state is there and nowhere else. Go has only the
// waiters, in buckets by the object's address, for as long as they wait. A bucket's lock makes a
// transition of any object in it one step: whoever sets an object and whoever takes it do so under
// the lock, and look at the object anew. Setting an object that nobody waits for looks at a counter
// and no further.
//
// A wait for several objects has a block in the queue of each. Who satisfies it claims it first, by
// its state, so that it ends once; blocks that are left in other queues are taken out by the
// waiter. A wait for all objects together is tried with the locks of all its buckets held, which
// are taken in the order of their numbers.

const (
	bucketBits  = 8
	bucketCount = 1 << bucketBits
)

// bucket has the waiters of the objects whose address falls into it.
type bucket struct {
	mu     sync.Mutex
	blocks int                       // queued in the bucket
	queues map[guest.Addr]*waitQueue // of the objects that have waiters
	spare  *waitQueue
	// Of the KQUEUEs that have threads: which.
	members map[guest.Addr]map[*Thread]struct{}
	_       [64 - 40]byte // a cache line for each
}

// waitQueue is the waiters of one object, in the order in which they came.
type waitQueue struct{ first, last *waitBlock }

// waitBlock is one object that one thread waits for.
type waitBlock struct {
	next, before *waitBlock
	queue        *waitQueue // nil when it is in none
	bucket       *bucket    // of the queue that it was put into last
	wait         *wait
	object       guest.Addr
	index        int32
}

// wait is a wait under way. A thread has one of its own for most waits.
type wait struct {
	thread *Thread
	state  atomic.Int32
	all    bool
	status nt.Status
	blocks []waitBlock
	own    [nt.THREAD_WAIT_OBJECTS]waitBlock

	// What only the waiter uses.
	options     WaitOptions
	interrupted bool // kernel APCs and alerts end the wait
}

// The states of a wait.
const (
	waitNone    int32 = iota // not under way, or ended by the waiter itself
	waitPending              // to be satisfied
	waitClaimed              // being satisfied
	waitDone                 // satisfied, with status
)

func (w *wait) init(t *Thread) { w.thread = t }

// Timeout bounds a wait: it is none if Limited is false, else in units of 100 ns: relative if it is
// negative, an absolute system time if it is positive, and 0 for no waiting at all.
type Timeout struct {
	Limited bool
	Value   int64
}

// WaitOptions says how a wait is waited. The zero value waits forever, in kernel mode.
type WaitOptions struct {
	Timeout
	// Mode is on whose behalf it is, and Alertable whether an alert ends it, or an APC for user mode
	// if Mode is that.
	Mode      nt.ProcessorMode
	Alertable bool
}

// Poll reports that the wait is not to wait.
func (o Timeout) Poll() bool { return o.Limited && o.Value == 0 }

// Poll and Forever are the timeouts that need no time.
var (
	Poll    = Timeout{Limited: true}
	Forever = Timeout{}
)

// After gives the timeout of a duration.
func After(d time.Duration) Timeout { return Timeout{Limited: true, Value: -int64(d / 100)} }

func (s *System) bucketIndex(object guest.Addr) int {
	return int(uint64(object) >> 3 * 0x9E3779B97F4A7C15 >> (64 - bucketBits))
}

func (s *System) bucket(object guest.Addr) *bucket { return &s.buckets[s.bucketIndex(object)] }

// enqueue puts blk at the end of its object's queue. The caller holds b.mu.
func (b *bucket) enqueue(blk *waitBlock) {
	q := b.queues[blk.object]
	if q == nil {
		if b.queues == nil {
			b.queues = make(map[guest.Addr]*waitQueue)
		}
		if q = b.spare; q == nil {
			q = new(waitQueue)
		}
		b.spare = nil
		b.queues[blk.object] = q
	}
	blk.queue, blk.bucket, blk.next, blk.before = q, b, nil, q.last
	if q.last == nil {
		q.first = blk
	} else {
		q.last.next = blk
	}
	q.last = blk
	b.blocks++
}

// dequeue takes blk out of its queue, if it is in one. The caller holds b.mu.
func (b *bucket) dequeue(blk *waitBlock) {
	q := blk.queue
	if q == nil {
		return
	}
	if blk.before == nil {
		q.first = blk.next
	} else {
		blk.before.next = blk.next
	}
	if blk.next == nil {
		q.last = blk.before
	} else {
		blk.next.before = blk.before
	}
	blk.queue, blk.next, blk.before = nil, nil, nil
	b.blocks--
	if q.first == nil {
		delete(b.queues, blk.object)
		b.spare = q
	}
}

// hasWaiters reports whether somebody waits for object. The caller holds b.mu.
func (b *bucket) hasWaiters(object guest.Addr) bool {
	return b.blocks != 0 && b.queues[object] != nil
}

// wakeAndUnlock gives an object whose state has just become signalled to its waiters, in the order
// in which they came, for as long as it stays signalled. The caller holds b.mu, and no longer
// afterwards.
func (s *System) wakeAndUnlock(b *bucket, object guest.Addr) (err error) {
	if !b.hasWaiters(object) {
		b.mu.Unlock()
		return nil
	}
	var together []*wait // waits for several objects together, to be tried when b is unlocked
	for blk := b.queues[object].first; blk != nil; {
		w, next := blk.wait, blk.next
		if w.all {
			together = append(together, w)
			blk = next
			continue
		}
		h, err := loadWaitable(object)
		if err != nil || h.state <= 0 {
			b.mu.Unlock()
			if err != nil {
				return err
			}
			return s.tryTogether(together)
		}
		if h.typ == nt.QueueObject && w.thread.removing {
			more, err := mayTakeEntry(object)
			if err != nil {
				b.mu.Unlock()
				return err
			}
			if !more {
				blk = next
				continue
			}
		}
		if w.state.CompareAndSwap(waitPending, waitClaimed) {
			index := blk.index
			b.dequeue(blk)
			abandoned, err := h.satisfy(object, w.thread)
			w.finish(index, abandoned)
			if err != nil {
				b.mu.Unlock()
				return err
			}
		}
		blk = next
	}
	b.mu.Unlock()
	return s.tryTogether(together)
}

// finish ends a wait that was claimed, with the object at index.
func (w *wait) finish(index int32, abandoned bool) {
	t := w.thread
	w.status = nt.STATUS_WAIT_0 + nt.Status(index)
	if abandoned {
		w.status += nt.STATUS_ABANDONED_WAIT_0
	}
	w.state.Store(waitDone)
	t.unpark()
}

// tryTogether satisfies those waits for all of several objects whose objects are all signalled.
func (s *System) tryTogether(waits []*wait) error {
	for _, w := range waits {
		locks := s.lockAll(w.blocks)
		err := w.tryAll()
		unlockAll(locks)
		if err != nil {
			return err
		}
	}
	return nil
}

// tryAll satisfies w if all of its objects are signalled. The caller holds the locks of all.
func (w *wait) tryAll() error {
	if w.state.Load() != waitPending {
		return nil
	}
	ready, err := w.thread.allSignalled(w.blocks)
	if err != nil || !ready || !w.state.CompareAndSwap(waitPending, waitClaimed) {
		return err
	}
	abandoned, err := w.thread.satisfyAll(w.blocks)
	w.finish(0, abandoned)
	return err
}

func (t *Thread) allSignalled(blocks []waitBlock) (bool, error) {
	for i := range blocks {
		h, err := loadWaitable(blocks[i].object)
		if err != nil {
			return false, err
		}
		if ok, err := h.signalled(blocks[i].object, t); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func (t *Thread) satisfyAll(blocks []waitBlock) (abandoned bool, err error) {
	for i := range blocks {
		h, err := loadWaitable(blocks[i].object)
		if err != nil {
			return abandoned, err
		}
		a, err := h.satisfy(blocks[i].object, t)
		abandoned = abandoned || a
		if err != nil {
			return abandoned, err
		}
	}
	return abandoned, nil
}

// lockAll locks the buckets of all objects of blocks, in the order of their numbers.
func (s *System) lockAll(blocks []waitBlock) []*bucket {
	var numbers [nt.MAXIMUM_WAIT_OBJECTS]int
	ns := numbers[:0]
	for i := range blocks {
		ns = append(ns, s.bucketIndex(blocks[i].object))
	}
	slices.Sort(ns)
	ns = slices.Compact(ns)
	locks := make([]*bucket, len(ns))
	for i, n := range ns {
		locks[i] = &s.buckets[n]
		locks[i].mu.Lock()
	}
	return locks
}

func unlockAll(locks []*bucket) {
	for _, b := range locks {
		b.mu.Unlock()
	}
}

// WaitForSingleObject waits until the object is signalled, and takes it, as KeWaitForSingleObject
// does. It gives STATUS_SUCCESS, STATUS_ABANDONED for a mutant whose owner ended without releasing
// it, or STATUS_TIMEOUT. Kernel APCs run meanwhile.
//
// To wait at DISPATCH_LEVEL or above with a timeout that is not 0 is a bugcheck. An error is a bad
// address, an *ObjectError, or a status that is to be raised in the driver.
func (t *Thread) WaitForSingleObject(object guest.Addr, timeout Timeout) (nt.Status, error) {
	return t.WaitSingle(object, WaitOptions{Timeout: timeout})
}

// WaitSingle is WaitForSingleObject with options. It gives STATUS_ALERTED and STATUS_USER_APC too.
func (t *Thread) WaitSingle(object guest.Addr, o WaitOptions) (nt.Status, error) {
	if t.IRQL() >= nt.DISPATCH_LEVEL && !o.Poll() {
		t.waitTooHigh(object, o.Timeout)
	}
	var due deadline
	for {
		status, err := t.waitSingle(object, o, &due)
		if status != nt.STATUS_KERNEL_APC {
			return status, err
		}
		t.DeliverAPCs()
	}
}

// waitSingle is WaitSingle until a kernel APC comes.
func (t *Thread) waitSingle(object guest.Addr, o WaitOptions, due *deadline) (nt.Status, error) {
	b := t.sys.bucket(object)
	b.mu.Lock()
	h, err := loadWaitable(object)
	if err != nil {
		b.mu.Unlock()
		return 0, err
	}
	ready, err := h.signalled(object, t)
	if ready {
		abandoned, err := h.satisfy(object, t)
		b.mu.Unlock()
		if abandoned {
			return nt.STATUS_ABANDONED_WAIT_0, err
		}
		return nt.STATUS_WAIT_0, err
	}
	if err != nil {
		b.mu.Unlock()
		return nt.STATUS_TIMEOUT, err
	}
	if o.Poll() {
		b.mu.Unlock()
		return t.polled(o), nil
	}
	w := &t.wait
	w.prepare(o, true)
	w.single(b, object, 0)
	return t.block(w, due), nil
}

// polled gives the status of a wait that does not wait.
func (t *Thread) polled(o WaitOptions) nt.Status {
	if status := t.alertStatus(o); status != nt.STATUS_SUCCESS {
		return status
	}
	return nt.STATUS_TIMEOUT
}

// prepare makes w ready for another wait. interrupted says whether kernel APCs and alerts end it.
func (w *wait) prepare(o WaitOptions, interrupted bool) {
	w.options, w.interrupted = o, interrupted
}

// single puts w into the queue of one object, which is in bucket b. The caller holds b.mu, and no
// longer afterwards.
func (w *wait) single(b *bucket, object guest.Addr, index int32) {
	w.own[0] = waitBlock{wait: w, object: object, index: index}
	w.blocks = w.own[:1]
	w.state.Store(waitPending)
	b.enqueue(&w.own[0])
	b.mu.Unlock()
}

// waitFor puts t into the queue of object, which is in bucket b, and lets it wait there until it is
// woken; APCs have to wait for that. The caller holds b.mu, and no longer afterwards.
func (t *Thread) waitFor(b *bucket, object guest.Addr, index int32, timeout Timeout) nt.Status {
	w := &t.wait
	w.prepare(WaitOptions{Timeout: timeout}, false)
	w.single(b, object, index)
	return t.block(w, new(deadline))
}

// wakeOne ends the wait of the first thread that waitFor has put into the queue of object, and
// gives it, or nil if there is none. The caller holds b.mu.
func (b *bucket) wakeOne(object guest.Addr) *Thread {
	for b.hasWaiters(object) {
		blk := b.queues[object].first
		w := blk.wait
		b.dequeue(blk)
		if w.state.CompareAndSwap(waitPending, waitClaimed) {
			t := w.thread
			w.finish(0, false)
			return t
		}
	}
	return nil
}

// WaitForMultipleObjects waits until one of the objects is signalled, or, if all is true, until all
// of them are at one time, and takes it or them, as KeWaitForMultipleObjects does. It gives
// STATUS_WAIT_0 plus the object's index, STATUS_ABANDONED_WAIT_0 plus it, or STATUS_TIMEOUT; for
// all objects the index is 0.
//
// The IRQL and the errors are as for WaitForSingleObject. There may be MAXIMUM_WAIT_OBJECTS of
// them.
func (t *Thread) WaitForMultipleObjects(objects []guest.Addr, all bool, timeout Timeout) (nt.Status,
	error) {
	return t.WaitMultiple(objects, all, WaitOptions{Timeout: timeout})
}

// WaitMultiple is WaitForMultipleObjects with options. It gives STATUS_ALERTED and STATUS_USER_APC too.
func (t *Thread) WaitMultiple(objects []guest.Addr, all bool, o WaitOptions) (nt.Status, error) {
	if t.IRQL() >= nt.DISPATCH_LEVEL && !o.Poll() {
		first := guest.Addr(0)
		if len(objects) > 0 {
			first = objects[0]
		}
		t.waitTooHigh(first, o.Timeout)
	}
	var due deadline
	for {
		status, err := t.waitMultiple(objects, all, o, &due)
		if status != nt.STATUS_KERNEL_APC {
			return status, err
		}
		t.DeliverAPCs()
	}
}

// waitMultiple is WaitMultiple until a kernel APC comes.
func (t *Thread) waitMultiple(objects []guest.Addr, all bool, o WaitOptions,
	due *deadline) (nt.Status, error) {
	// Who tries a wait for all objects looks at it after he has unlocked the bucket in which he
	// found it: so it is never used again.
	w := &t.wait
	if all {
		w = &wait{thread: t, all: true}
	}
	if len(objects) <= len(w.own) {
		w.blocks = w.own[:len(objects)]
	} else {
		w.blocks = make([]waitBlock, len(objects))
	}
	w.prepare(o, true)
	for i, o := range objects {
		w.blocks[i] = waitBlock{wait: w, object: o, index: int32(i)}
	}
	locks := t.sys.lockAll(w.blocks)
	status, err := t.tryMultiple(w)
	if err != nil || status != nt.STATUS_TIMEOUT {
		unlockAll(locks)
		return status, err
	}
	if o.Poll() {
		unlockAll(locks)
		return t.polled(o), nil
	}
	w.state.Store(waitPending)
	for i := range w.blocks {
		t.sys.bucket(w.blocks[i].object).enqueue(&w.blocks[i])
	}
	unlockAll(locks)
	return t.block(w, due), nil
}

// tryMultiple satisfies w if its objects are signalled now, else it gives STATUS_TIMEOUT. The
// caller holds the locks of all its objects.
func (t *Thread) tryMultiple(w *wait) (nt.Status, error) {
	if w.all {
		ready, err := t.allSignalled(w.blocks)
		if err != nil || !ready {
			return nt.STATUS_TIMEOUT, err
		}
		abandoned, err := t.satisfyAll(w.blocks)
		if abandoned {
			return nt.STATUS_ABANDONED_WAIT_0, err
		}
		return nt.STATUS_WAIT_0, err
	}
	for i := range w.blocks {
		object := w.blocks[i].object
		h, err := loadWaitable(object)
		if err != nil {
			return 0, err
		}
		ready, err := h.signalled(object, t)
		if err != nil {
			return 0, err
		}
		if !ready {
			continue
		}
		status := nt.STATUS_WAIT_0 + nt.Status(i)
		abandoned, err := h.satisfy(object, t)
		if abandoned {
			status += nt.STATUS_ABANDONED_WAIT_0
		}
		return status, err
	}
	return nt.STATUS_TIMEOUT, nil
}

// Delay waits for the time to pass, as KeDelayExecutionThread does. It gives STATUS_SUCCESS,
// STATUS_ALERTED or STATUS_USER_APC.
func (t *Thread) Delay(o WaitOptions) nt.Status {
	if t.IRQL() >= nt.DISPATCH_LEVEL {
		t.waitTooHigh(0, o.Timeout)
	}
	if o.Poll() {
		if status := t.alertStatus(o); status != nt.STATUS_SUCCESS {
			return status
		}
		// Nothing to wait for: whoever waits for a processor goes first.
		if t.sys.waiting.Load() > 0 {
			t.Reschedule()
		}
		return nt.STATUS_SUCCESS
	}
	var due deadline
	for {
		w := &t.wait
		w.prepare(o, true)
		w.blocks = nil
		w.state.Store(waitPending)
		switch status := t.block(w, &due); status {
		case nt.STATUS_KERNEL_APC:
			t.DeliverAPCs()
		case nt.STATUS_TIMEOUT:
			return nt.STATUS_SUCCESS
		default:
			return status
		}
	}
}

// deadline is when a wait ends that has a timeout; a wait that is begun anew keeps it.
type deadline struct {
	set bool
	at  time.Duration // by the system's clock
}

// block lets t wait, without a processor, for w to be satisfied or its time to pass, or until a kernel
// APC or an alert interrupts it: STATUS_KERNEL_APC, STATUS_ALERTED, STATUS_USER_APC. The IRQL, below
// DISPATCH_LEVEL, is kept.
func (t *Thread) block(w *wait, due *deadline) nt.Status {
	s := t.sys
	irql := t.suspend()
	limited := w.options.Limited
	if limited {
		now := s.clock.elapsed()
		if !due.set {
			due.set, due.at = true, now+s.clock.until(w.options.Value)
		}
		t.startTimer(due.at - now)
	}
	ended := false // by the waiter
	for !ended && w.state.Load() != waitDone {
		switch status, end := t.endOfWait(w, irql, due); {
		case !end:
			<-t.wake
		case w.state.CompareAndSwap(waitPending, waitNone):
			w.status, ended = status, true
		default:
			<-t.wake // somebody satisfies it
		}
	}
	if limited {
		t.timer.Stop()
	}
	for i := range w.blocks {
		// A block that a waker found first is out of its queue already; only a wait for one object
		// needs no second look.
		if blk := &w.blocks[i]; len(w.blocks) > 1 || ended {
			b := blk.bucket
			b.mu.Lock()
			b.dequeue(blk)
			b.mu.Unlock()
		}
	}
	status := w.status
	t.checkEnded()
	t.resume(irql)
	if ended && status == nt.STATUS_ALERTED {
		status = t.alertStatus(w.options)
	}
	return status
}

// endOfWait reports whether t ends its wait itself, and with what status. STATUS_ALERTED is whatever
// alertStatus says then.
func (t *Thread) endOfWait(w *wait, irql nt.IRQL, due *deadline) (status nt.Status, end bool) {
	s := t.sys
	switch {
	case s.Ended():
		return nt.STATUS_TIMEOUT, true
	case w.interrupted && t.apcReady(irql):
		return nt.STATUS_KERNEL_APC, true
	case w.interrupted && t.alertWaits(w.options):
		return nt.STATUS_ALERTED, true
	case w.options.Limited && s.clock.elapsed() >= due.at:
		return nt.STATUS_TIMEOUT, true
	}
	return 0, false
}

// startTimer makes t look at the time after d.
func (t *Thread) startTimer(d time.Duration) {
	if t.timer == nil {
		t.timer = time.AfterFunc(d, t.unpark)
		return
	}
	t.timer.Reset(d)
}

// Parameters of DRIVER_VERIFIER_DETECTED_VIOLATION ("Bug Check 0xC4"): a wait at a raised IRQL.
const verifierWaitTooHigh = 0x3B

// waitTooHigh is the bugcheck of a thread that would wait where it must not: in a DPC routine
// ATTEMPTED_SWITCH_FROM_DPC, elsewhere what Driver Verifier says of it.
func (t *Thread) waitTooHigh(object guest.Addr, timeout Timeout) {
	irql := t.IRQL()
	if t.InDPC() {
		t.Crash(&Bugcheck{Code: nt.ATTEMPTED_SWITCH_FROM_DPC,
			Params: [4]uint64{uint64(t.Object), 0, uint64(t.stack.Top()), 0},
			Reason: "a DPC routine waits with a timeout that is not 0"})
	}
	t.Crash(&Bugcheck{Code: nt.DRIVER_VERIFIER_DETECTED_VIOLATION,
		Params: [4]uint64{verifierWaitTooHigh, uint64(irql), uint64(object), uint64(timeout.Value)},
		Reason: "a wait with a timeout that is not 0, at " + irql.String()})
}
