package ke

import (
	"fmt"
	"sync"
	"time"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Work items: queues of functions that worker threads run at PASSIVE_LEVEL. Workers come when work
// finds none that is free, and go when they have had none for a while.

// WorkQueue is WORK_QUEUE_TYPE: which workers run an item.
type WorkQueue uint32

// The queues. Values from CustomPriorityWorkQueue on are priorities of threads, 0 to 31.
const (
	CriticalWorkQueue       WorkQueue = 0
	DelayedWorkQueue        WorkQueue = 1
	HyperCriticalWorkQueue  WorkQueue = 2
	NormalWorkQueue         WorkQueue = 3
	BackgroundWorkQueue     WorkQueue = 4
	RealTimeWorkQueue       WorkQueue = 5
	SuperCriticalWorkQueue  WorkQueue = 6
	MaximumWorkQueue        WorkQueue = 7
	CustomPriorityWorkQueue WorkQueue = 32
)

// Valid reports whether q is a queue that items can be put into.
func (q WorkQueue) Valid() bool {
	return q < MaximumWorkQueue || q >= CustomPriorityWorkQueue && q < CustomPriorityWorkQueue+32
}

// urgent reports whether items of q run before those of other queues.
func (q WorkQueue) urgent() bool {
	return q != DelayedWorkQueue && q != NormalWorkQueue && q != BackgroundWorkQueue &&
		!(q >= CustomPriorityWorkQueue && q < CustomPriorityWorkQueue+delayedPriority)
}

const (
	// delayedPriority is the thread priority below which items count as delayed: workers of the
	// critical queue run at 13, those of the delayed queue at 12.
	delayedPriority = 13

	// minWorkers is how many workers may run at a time on a system with few processors.
	minWorkers = 4

	// maxWorkers bounds the worker threads; more work waits until one is free.
	maxWorkers = 512

	// workerPatience is how long a worker without work stays.
	workerPatience = 10 * time.Second
)

// workItem is a place in a queue: a WORK_QUEUE_ITEM, or work of the kernel's own.
type workItem struct {
	object guest.Addr
	work   func(t *Thread)
}

// workers are the worker threads and what they have to do.
type workers struct {
	sys     *System
	mu      sync.Mutex
	urgent  []workItem
	delayed []workItem
	idle    []*worker // the one that came last is taken first
	count   int
	blocked int // workers that wait for something in a routine
	stopped bool
}

type worker struct {
	next     chan workItem // closed to end it
	patience *time.Timer   // until it goes
}

func (w *workers) init(s *System) { w.sys = s }

// WorkItemError says that a WORK_QUEUE_ITEM cannot be queued: the bugcheck WORKER_INVALID.
type WorkItemError struct {
	Item guest.Addr
	Fact string
}

// Error names the item.
func (e *WorkItemError) Error() string {
	return fmt.Sprintf("the work item at %v %s", e.Item, e.Fact)
}

// BugCheck gives the bugcheck's code and parameters.
func (e *WorkItemError) BugCheck() (nt.BugCheck, [4]uint64) {
	return nt.WORKER_INVALID, [4]uint64{0, uint64(e.Item), 0, 0}
}

// QueueWorkItem queues the WORK_QUEUE_ITEM at item, as ExQueueWorkItem does. Its List.Flink is not
// 0 while it is queued; an item that is queued already, or has no routine, is a bugcheck.
func (s *System) QueueWorkItem(item guest.Addr, q WorkQueue) error {
	w, err := guest.Ptr[nt.WorkQueueItem](item).Load()
	if err != nil {
		return err
	}
	if w.WorkerRoutine < guest.SystemRangeStart {
		return &WorkItemError{item, fmt.Sprintf("has the routine %v", w.WorkerRoutine)}
	}
	ours, err := guest.CompareAndSwap64(item, 0, uint64(item))
	if err != nil {
		return err
	}
	if !ours {
		return &WorkItemError{item, "is queued already"}
	}
	s.workers.queue(workItem{object: item}, q)
	return nil
}

// QueueWork has a worker thread call f, at PASSIVE_LEVEL.
func (s *System) QueueWork(q WorkQueue, f func(t *Thread)) { s.workers.queue(workItem{work: f}, q) }

func (w *workers) queue(item workItem, q WorkQueue) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.idle); n > 0 {
		idle := w.idle[n-1]
		w.idle = w.idle[:n-1]
		idle.next <- item
		return
	}
	if q.urgent() {
		w.urgent = append(w.urgent, item)
	} else {
		w.delayed = append(w.delayed, item)
	}
	w.grow()
}

// grow adds a worker if there is work and few enough run: those that wait for something do not
// count. The caller holds w.mu.
func (w *workers) grow() {
	enough := max(minWorkers, 2*len(w.sys.procs))
	if len(w.urgent)+len(w.delayed) == 0 || w.count-w.blocked >= enough || w.count >= maxWorkers ||
		w.stopped {
		return
	}
	if w.sys.spawn(w.run) {
		w.count++
	}
}

// blocks notes that a worker begins to wait, by 1, or has ended to, by -1.
func (w *workers) blocks(delta int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blocked += delta
	w.grow()
}

// take gives the next item. If there is none, the worker becomes idle. stop says that there will be
// none.
func (w *workers) take(me *worker) (item workItem, ok, stop bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, q := range [...]*[]workItem{&w.urgent, &w.delayed} {
		if len(*q) > 0 {
			item, (*q)[0] = (*q)[0], item
			*q = (*q)[1:]
			return item, true, false
		}
	}
	if !w.stopped {
		w.idle = append(w.idle, me)
	}
	return item, false, w.stopped
}

// leave ends an idle worker, unless it has just been given work.
func (w *workers) leave(me *worker) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, idle := range w.idle {
		if idle == me {
			w.idle = append(w.idle[:i], w.idle[i+1:]...)
			w.count--
			return true
		}
	}
	return false
}

// stop ends the idle workers; the others end with the system.
func (w *workers) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	for _, idle := range w.idle {
		close(idle.next)
	}
	w.idle = nil
}

// run is a worker.
func (w *workers) run() {
	s := w.sys
	t, err := s.NewThread(s.SystemProcess)
	if err != nil {
		if !s.Ended() {
			s.Crash(&Bugcheck{Code: HostFault, Reason: "no thread for work items: " + err.Error()})
		}
		return
	}
	defer t.Release()
	t.ETHREAD().Tcb.MiscFlags |= nt.KThreadMiscSystemThread
	t.worker = true
	me := &worker{next: make(chan workItem, 1), patience: time.NewTimer(workerPatience)}
	defer me.patience.Stop()
	var item workItem
	work := func() { t.runWorkItem(item) }
	for {
		var ok, stop bool
		if item, ok, stop = w.take(me); stop {
			return
		}
		if !ok {
			if item, ok = w.await(me); !ok {
				return
			}
		}
		if err := t.Do(work); err != nil {
			return
		}
	}
}

// await waits for an item, and gives up after a while.
func (w *workers) await(me *worker) (workItem, bool) {
	me.patience.Reset(workerPatience)
	select {
	case item, ok := <-me.next:
		return item, ok
	case <-me.patience.C:
		if w.leave(me) {
			return workItem{}, false
		}
		item, ok := <-me.next
		return item, ok
	}
}

// runWorkItem runs an item. From when its routine is called the driver may queue it again or free
// it.
func (t *Thread) runWorkItem(item workItem) {
	routine, parameter := guest.Addr(0), guest.Addr(0)
	if item.work != nil {
		item.work(t)
	} else {
		w, err := guest.Ptr[nt.WorkQueueItem](item.object).Load()
		if err == nil {
			err = guest.StoreAddr(item.object, 0)
		}
		if err != nil {
			t.Crash(&Bugcheck{Code: nt.WORKER_INVALID, Params: [4]uint64{0, uint64(item.object), 0,
				0},
				Reason: fmt.Sprintf("the work item at %v was freed while it was queued",
					item.object)})
		}
		routine, parameter = w.WorkerRoutine, w.Parameter
		t.Call(routine, uint64(parameter))
	}
	t.CheckWorker(routine, parameter, item.object)
}

// CheckWorker is the bugcheck of a work item's routine that has left its worker thread in a state
// in which it cannot run another.
func (t *Thread) CheckWorker(routine, parameter, item guest.Addr) {
	tcb := &t.ETHREAD().Tcb
	irql := t.IRQL()
	if irql == nt.PASSIVE_LEVEL && tcb.KernelApcDisable == 0 && tcb.SpecialApcDisable == 0 {
		return
	}
	t.Crash(&Bugcheck{Code: nt.WORKER_THREAD_RETURNED_AT_BAD_IRQL,
		Params: [4]uint64{uint64(routine), uint64(irql) | uint64(uint16(tcb.KernelApcDisable))<<16,
			uint64(parameter), uint64(item)},
		Reason: fmt.Sprintf("a work item's routine returned at %v, with KernelApcDisable %d and "+
			"SpecialApcDisable %d", irql, tcb.KernelApcDisable, tcb.SpecialApcDisable)})
}
