package ke

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// workItem makes a WORK_QUEUE_ITEM whose routine is a Go function.
func (s *testSystem) workItem(parameter guest.Addr, f func(th *Thread)) guest.Addr {
	a := s.alloc(32)
	routine := s.imported(func(th *Thread) uint64 { f(th); return 0 })
	require.NoError(s.t, guest.Ptr[nt.WorkQueueItem](a).Store(nt.WorkQueueItem{
		WorkerRoutine: routine, Parameter: parameter}))
	return a
}

func TestWorkItemRunsOnAWorker(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	ran := make(chan uint64, 1)
	var item guest.Addr
	item = s.workItem(0x77, func(th *Thread) {
		assert.Equal(t, nt.PASSIVE_LEVEL, th.IRQL())
		assert.True(t, th.IsWorker())
		assert.Same(t, s.SystemProcess, th.Process)
		ran <- arg(th, 0)
	})
	for _, q := range []WorkQueue{CriticalWorkQueue, DelayedWorkQueue, HyperCriticalWorkQueue, 32,
		63} {
		require.True(t, q.Valid())
		require.NoError(t, s.QueueWorkItem(item, q))
		assert.EqualValues(t, 0x77, within(t, ran))
		// The worker has taken it off the queue before it ran, so it may be queued again.
	}
	assert.False(t, WorkQueue(7).Valid())
	assert.False(t, WorkQueue(64).Valid())
}

func TestWorkItemQueuedTwice(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 1})
	item := s.workItem(0, func(th *Thread) {})
	block := make(chan struct{})
	s.do(func(th *Thread) {
		// The one processor is taken, so nothing runs.
		require.NoError(t, s.QueueWorkItem(item, DelayedWorkQueue))
		var e *WorkItemError
		require.ErrorAs(t, s.QueueWorkItem(item, DelayedWorkQueue), &e)
		code, params := e.BugCheck()
		assert.Equal(t, nt.WORKER_INVALID, code)
		assert.EqualValues(t, item, params[1])
		var fault *guest.FaultError
		assert.ErrorAs(t, s.QueueWorkItem(0x1000, DelayedWorkQueue), &fault)
		assert.ErrorAs(t, s.QueueWorkItem(s.alloc(32), DelayedWorkQueue), &e, "no routine")
		close(block)
	})
	<-block
}

// Items that wait for one another must not run out of workers.
func TestWorkersThatWaitMakeRoomForOthers(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 1, memory: 8 << 20})
	const n = 40
	events := make([]guest.Addr, n+1)
	for i := range events {
		events[i] = s.event(nt.NotificationEvent, false)
	}
	var done sync.WaitGroup
	for i := range n {
		done.Add(1)
		s.QueueWork(DelayedWorkQueue, func(th *Thread) {
			defer done.Done()
			await(t, th, events[i+1]) // which the next item sets
			_, err := s.SetEvent(events[i])
			assert.NoError(t, err)
		})
	}
	_, err := s.SetEvent(events[n])
	require.NoError(t, err)
	done.Wait()
	s.quiet()
	s.workers.mu.Lock()
	defer s.workers.mu.Unlock()
	assert.Zero(t, s.workers.blocked)
	assert.LessOrEqual(t, s.workers.count, n+minWorkers)
}

func TestUrgentWorkGoesFirst(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 1})
	var mu sync.Mutex
	var order []WorkQueue
	var done sync.WaitGroup
	s.do(func(th *Thread) {
		for _, q := range []WorkQueue{DelayedWorkQueue, DelayedWorkQueue, DelayedWorkQueue,
			DelayedWorkQueue, DelayedWorkQueue, DelayedWorkQueue, CriticalWorkQueue} {
			done.Add(1)
			s.QueueWork(q, func(*Thread) {
				mu.Lock()
				order = append(order, q)
				mu.Unlock()
				done.Done()
			})
		}
		time.Sleep(time.Millisecond)
	})
	done.Wait()
	// Each worker may have taken one item before the urgent one came.
	assert.Contains(t, order[:minWorkers+1], CriticalWorkQueue)
}

func TestWorkItemMisuse(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(s *testSystem, th *Thread)
		code nt.BugCheck
	}{
		{"a routine that returns at a raised IRQL",
			func(s *testSystem, th *Thread) { th.RaiseIRQL(nt.APC_LEVEL) },
			nt.WORKER_THREAD_RETURNED_AT_BAD_IRQL},
		{"a routine that returns in a critical region",
			func(s *testSystem, th *Thread) { th.EnterCriticalRegion() },
			nt.WORKER_THREAD_RETURNED_AT_BAD_IRQL},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTestSystem(t, testOptions{})
			item := s.workItem(0, func(th *Thread) { c.f(s, th) })
			require.NoError(t, s.QueueWorkItem(item, CriticalWorkQueue))
			assert.Equal(t, c.code, s.crash().Code)
		})
	}
}
