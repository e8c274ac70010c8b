package ke

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func (s *testSystem) queue(maximum uint32) guest.Addr {
	a := s.alloc(sizeofKQueue)
	require.NoError(s.t, InitializeQueue(a, maximum))
	return a
}

// active gives a queue's CurrentCount.
func active(queue guest.Addr) uint32 {
	n, _ := guest.Load32(queue + queueCounts)
	return n
}

// until waits for something to come true.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, 20*time.Second, time.Millisecond, what)
}

// threadsOf gives the length of a queue's list of threads, as the driver sees it.
func threadsOf(t testing.TB, queue guest.Addr) (n int) {
	head := queue + queueThreads
	for at := head; ; n++ {
		next, err := guest.LoadAddr(at)
		require.NoError(t, err)
		if next == head {
			return n
		}
		back, err := guest.LoadAddr(next + listBlink)
		require.NoError(t, err)
		require.Equal(t, at, back)
		at = next
	}
}

// waitersOf says whether n threads wait for an object.
func (s *testSystem) waitersOf(object guest.Addr, n int) func() bool {
	return func() bool {
		b := s.bucket(object)
		b.mu.Lock()
		defer b.mu.Unlock()
		found := 0
		if q := b.queues[object]; q != nil {
			for blk := q.first; blk != nil; blk = blk.next {
				found++
			}
		}
		return found == n
	}
}

// run runs f as a new thread, which ends with it; the channel gives how.
func (s *testSystem) run(f func(th *Thread)) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- s.try(f) }()
	return ended
}

func (s *testSystem) insert(queue guest.Addr) guest.Addr {
	entry := s.alloc(16)
	_, err := s.InsertQueue(queue, entry, false)
	require.NoError(s.t, err)
	return entry
}

func TestAQueueLetsOnlySoManyThreadsBeActive(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 2})
	queue, first, second := s.queue(1), s.event(nt.SynchronizationEvent, false),
		s.event(nt.SynchronizationEvent, false)
	got := make(chan int, 4)
	worker := func(number int, event guest.Addr) <-chan error {
		ended := s.run(func(th *Thread) {
			for range 2 {
				entry, status, err := th.RemoveQueue(queue, WaitOptions{})
				if entry == 0 || status != nt.STATUS_SUCCESS || err != nil {
					got <- -1
					return
				}
				got <- number
				_, _ = th.WaitForSingleObject(event, Forever)
			}
		})
		return ended
	}
	a := worker(1, first)
	until(t, "the first waits", s.waitersOf(queue, 1))
	b := worker(2, second)
	until(t, "the second waits", s.waitersOf(queue, 2))
	assert.Zero(t, active(queue))
	assert.Equal(t, 2, threadsOf(t, queue))

	// The first thread's entry makes it active, until it waits for its event; then it is the second's
	// turn.
	s.insert(queue)
	require.Equal(t, 1, <-got)
	until(t, "the first waits for its event", s.waitersOf(first, 1))
	s.insert(queue)
	require.Equal(t, 2, <-got)
	until(t, "the second waits for its event", s.waitersOf(second, 1))
	until(t, "nobody is active", func() bool { return active(queue) == 0 })
	set := func(event guest.Addr) {
		_, err := s.SetEvent(event)
		require.NoError(t, err)
	}
	set(first)
	until(t, "the first asks again", s.waitersOf(queue, 1))
	s.insert(queue)
	s.insert(queue)
	require.Equal(t, 1, <-got)
	set(first)
	require.NoError(t, <-a)
	set(second)
	require.Equal(t, 2, <-got)
	set(second)
	require.NoError(t, <-b)
	assert.Zero(t, active(queue), "threads that have ended are not active")
	assert.Zero(t, threadsOf(t, queue))
	assert.Zero(t, state(t, queue))
	assert.Empty(t, s.bucket(queue).members)
}

func TestAnEntryWaitsWhileAsManyAreActiveAsMayBe(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 3})
	queue, other := s.queue(1), s.queue(1)
	var took atomic.Bool
	waits := s.run(func(th *Thread) {
		_, _, _ = th.RemoveQueue(queue, WaitOptions{})
		took.Store(true)
	})
	until(t, "one waits", s.waitersOf(queue, 1))
	s.do(func(th *Thread) {
		// This thread is active: it has an entry, and does not wait.
		s.insertFirst(th, queue)
		require.EqualValues(t, 1, active(queue))
		s.insert(queue)
		assert.EqualValues(t, 1, state(t, queue), "nobody takes it")
		assert.False(t, took.Load())
		// It takes the entry itself when it asks, before the one that waits.
		entry, status, err := th.RemoveQueue(queue, WaitOptions{Timeout: Poll})
		assert.NotZero(t, entry)
		assert.Equal(t, nt.STATUS_SUCCESS, status)
		assert.NoError(t, err)
		entry, status, _ = th.RemoveQueue(queue, WaitOptions{Timeout: Poll})
		assert.Zero(t, entry)
		assert.Equal(t, nt.STATUS_TIMEOUT, status)
		assert.EqualValues(t, 1, active(queue), "without an entry it is active again")
		// It goes to another queue: the one that waits may.
		s.insert(queue)
		_, status, _ = th.RemoveQueue(other, WaitOptions{Timeout: Poll})
		assert.Equal(t, nt.STATUS_TIMEOUT, status)
		assert.Equal(t, other, th.ETHREAD().Tcb.Queue)
		assert.Equal(t, 1, threadsOf(t, other))
	})
	require.NoError(t, <-waits)
	assert.True(t, took.Load())
	assert.Zero(t, active(queue)+active(other))
}

// insertFirst gives th an entry of a queue for which another thread waits.
func (s *testSystem) insertFirst(th *Thread, queue guest.Addr) {
	// The other one gets the first entry only if this one is not active: so this one joins the queue,
	// and counts as active by a poll that finds nothing.
	_, status, err := th.RemoveQueue(queue, WaitOptions{Timeout: Poll})
	require.NoError(s.t, err)
	require.Equal(s.t, nt.STATUS_TIMEOUT, status)
}

func TestRundownLetsThreadsGo(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 2})
	queue := s.queue(2)
	ended := make(chan nt.Status, 2)
	for range 2 {
		s.run(func(th *Thread) {
			_, status, _ := th.RemoveQueue(queue, WaitOptions{})
			if th.ETHREAD().Tcb.Queue != 0 {
				status = nt.STATUS_UNSUCCESSFUL
			}
			ended <- status
		})
	}
	until(t, "both wait", s.waitersOf(queue, 2))
	s.do(func(th *Thread) {
		_, _, _ = th.RemoveQueue(queue, WaitOptions{Timeout: Poll})
		first, err := s.RundownQueue(queue)
		require.NoError(t, err)
		assert.Zero(t, first)
		assert.Zero(t, th.ETHREAD().Tcb.Queue)
	})
	assert.Equal(t, nt.STATUS_ABANDONED, <-ended)
	assert.Equal(t, nt.STATUS_ABANDONED, <-ended)
	assert.Zero(t, active(queue))
	assert.Zero(t, threadsOf(t, queue))
	assert.Empty(t, s.bucket(queue).members)
}

func TestAQueueThatIsGoneDoesNotHurtItsThreads(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 1})
	event := s.event(nt.NotificationEvent, false)
	for name, spoil := range map[string]func(queue guest.Addr){
		"overwritten": func(q guest.Addr) { _ = guest.Store64(q, 0) },
		"made anew":   func(q guest.Addr) { _ = InitializeQueue(q, 3) },
		"a list of nonsense": func(q guest.Addr) {
			_ = guest.Store64(q+queueThreads, 0x10)
			_ = guest.Store64(q+queueThreads+8, 0x10)
		},
	} {
		s.do(func(th *Thread) {
			queue := s.queue(1)
			_, status, err := th.RemoveQueue(queue, WaitOptions{Timeout: Poll})
			require.NoError(t, err)
			require.Equal(t, nt.STATUS_TIMEOUT, status)
			spoil(queue)
			status, err = th.WaitForSingleObject(event, After(time.Microsecond))
			require.NoError(t, err, name)
			require.Equal(t, nt.STATUS_TIMEOUT, status, name)
		})
	}
	for i := range s.buckets {
		assert.Empty(t, s.buckets[i].members)
	}
}

// TestManyThreadsShareAQueue: whatever the threads do between entries, each entry is taken once, and
// never by more active threads than may be.
func TestManyThreadsShareAQueue(t *testing.T) {
	const threads, entries, limit = 8, 2000, 2
	s := newTestSystem(t, testOptions{processors: 4, memory: 4 << 20})
	queue := s.queue(limit)
	var taken, over atomic.Int32
	var ends []<-chan error
	for i := range threads {
		ended := s.run(func(th *Thread) {
			rng := rand.New(rand.NewPCG(uint64(i), 7))
			for {
				entry, status, err := th.RemoveQueue(queue, WaitOptions{})
				if err != nil || status != nt.STATUS_SUCCESS || entry == 0 {
					return
				}
				taken.Add(1)
				if n := active(queue); n > threads {
					over.Add(1)
				}
				if rng.IntN(8) == 0 {
					th.Delay(WaitOptions{Timeout: After(time.Microsecond)})
				}
			}
		})
		ends = append(ends, ended)
	}
	for range entries {
		s.insert(queue)
	}
	until(t, "all are taken", func() bool { return taken.Load() == entries })
	until(t, "all wait", s.waitersOf(queue, threads))
	assert.Zero(t, active(queue))
	assert.Zero(t, over.Load())
	assert.Equal(t, threads, threadsOf(t, queue))
	_, err := s.RundownQueue(queue)
	require.NoError(t, err)
	for _, ended := range ends {
		require.NoError(t, <-ended)
	}
}
