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

// count has several threads add to a word under a lock, one load and one store each.
func (s *testSystem) count(threads, rounds int, lock, unlock func(th *Thread) error) {
	s.t.Helper()
	word := s.alloc(16)
	var done sync.WaitGroup
	for range threads {
		done.Add(1)
		go func() {
			defer done.Done()
			assert.NoError(s.t, s.try(func(th *Thread) {
				for range rounds {
					assert.NoError(s.t, lock(th))
					v, err := guest.Load64(word)
					assert.NoError(s.t, err)
					assert.NoError(s.t, guest.Store64(word, v+1))
					assert.NoError(s.t, unlock(th))
				}
			}))
		}()
	}
	done.Wait()
	v, err := guest.Load64(word)
	require.NoError(s.t, err)
	assert.EqualValues(s.t, threads*rounds, v)
}

func TestLocksExclude(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 3})
	t.Run("spin lock", func(t *testing.T) {
		l := s.alloc(16)
		s.count(4, 500, func(th *Thread) error {
			th.RaiseIRQL(nt.DISPATCH_LEVEL)
			return th.AcquireSpinLock(l)
		}, func(th *Thread) error {
			err := th.ReleaseSpinLock(l)
			th.LowerIRQL(nt.PASSIVE_LEVEL)
			return err
		})
	})
	t.Run("fast mutex", func(t *testing.T) {
		m := s.fastMutex()
		s.count(4, 500, func(th *Thread) error { return th.AcquireFastMutex(m, false) },
			func(th *Thread) error { return th.ReleaseFastMutex(m, false) })
		s.wantFree(m)
	})
	t.Run("mutex", func(t *testing.T) {
		m := s.mutex()
		s.count(4, 500, func(th *Thread) error {
			_, err := th.WaitForSingleObject(m,
				Forever)
			return err
		},
			func(th *Thread) error { _, err := th.ReleaseMutant(m); return err })
	})
	t.Run("kernel's own lock", func(t *testing.T) {
		var l GlobalLock
		var irql nt.IRQL
		s.count(4, 500, func(th *Thread) error { irql = l.Acquire(th); return nil },
			func(th *Thread) error { l.Release(th, irql); return nil })
	})
}

func (s *testSystem) fastMutex() guest.Addr {
	m := s.alloc(64)
	require.NoError(s.t, InitializeFastMutex(m))
	return m
}

func (s *testSystem) wantFree(mutex guest.Addr) {
	s.t.Helper()
	m, err := guest.Ptr[nt.FastMutex](mutex).Load()
	require.NoError(s.t, err)
	assert.EqualValues(s.t, 1, m.Count)
	assert.Zero(s.t, m.Owner)
	assert.Zero(s.t, m.Event.Header.SignalState)
}

func TestFastMutexRaisesToAPCLevel(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	m := s.fastMutex()
	s.do(func(th *Thread) {
		for _, irql := range []nt.IRQL{nt.PASSIVE_LEVEL, nt.APC_LEVEL} {
			th.RaiseIRQL(irql)
			assert.NoError(t, th.AcquireFastMutex(m, false))
			assert.Equal(t, nt.APC_LEVEL, th.IRQL())
			owner, err := guest.LoadAddr(m + fastMutexOwner)
			assert.NoError(t, err)
			assert.Equal(t, th.Object, owner)
			ok, err := th.TryAcquireFastMutex(m, false)
			assert.NoError(t, err)
			assert.False(t, ok)
			assert.NoError(t, th.ReleaseFastMutex(m, false))
			assert.Equal(t, irql, th.IRQL())
			ok, err = th.TryAcquireFastMutex(m, false)
			assert.NoError(t, err)
			assert.True(t, ok)
			assert.Equal(t, nt.APC_LEVEL, th.IRQL())
			assert.NoError(t, th.ReleaseFastMutex(m, false))
			assert.Equal(t, irql, th.IRQL())
			th.LowerIRQL(nt.PASSIVE_LEVEL)
		}
		assert.NoError(t, th.AcquireFastMutex(m, true))
		assert.Equal(t, nt.PASSIVE_LEVEL, th.IRQL())
		assert.NoError(t, th.ReleaseFastMutex(m, true))
		s.wantFree(m)
	})
}

func TestLockMisuse(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(s *testSystem, th *Thread)
		code nt.BugCheck
	}{
		{"a spin lock taken twice", func(s *testSystem, th *Thread) {
			l := s.alloc(16)
			th.RaiseIRQL(nt.DISPATCH_LEVEL)
			_ = th.AcquireSpinLock(l)
			_ = th.AcquireSpinLock(l)
		}, nt.SPIN_LOCK_ALREADY_OWNED},
		{"a spin lock released that is free", func(s *testSystem, th *Thread) {
			_ = th.ReleaseSpinLock(s.alloc(16))
		}, nt.SPIN_LOCK_NOT_OWNED},
		{"a fast mutex taken twice", func(s *testSystem, th *Thread) {
			m := s.fastMutex()
			_ = th.AcquireFastMutex(m, false)
			_ = th.AcquireFastMutex(m, false)
		}, nt.MUTEX_ALREADY_OWNED},
		{"a fast mutex released that is free", func(s *testSystem, th *Thread) {
			_ = th.ReleaseFastMutex(s.fastMutex(), false)
		}, nt.THREAD_NOT_MUTEX_OWNER},
		{"the cancel lock taken twice", func(s *testSystem, th *Thread) {
			var l GlobalLock
			l.Acquire(th)
			l.Acquire(th)
		}, nt.SPIN_LOCK_ALREADY_OWNED},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTestSystem(t, testOptions{})
			require.Error(t, s.try(func(th *Thread) { c.f(s, th) }))
			assert.Equal(t, c.code, s.crash().Code)
		})
	}
}

func TestRundown(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	ref := s.alloc(16)
	acquire := func(n uint32) bool {
		ok, err := AcquireRundown(ref, n)
		require.NoError(t, err)
		return ok
	}
	require.NoError(t, InitializeRundown(ref))
	assert.True(t, acquire(1))
	assert.True(t, acquire(2))
	done := make(chan struct{})
	_, ended := s.start(func(th *Thread) {
		assert.NoError(t, th.WaitForRundown(ref))
		close(done)
	})
	s.blocked(1)
	assert.False(t, acquire(1), "no protection while it is run down")
	require.NoError(t, s.ReleaseRundown(ref, 2))
	time.Sleep(time.Millisecond)
	select {
	case <-done:
		t.Error("one still uses it")
	default:
	}
	require.NoError(t, s.ReleaseRundown(ref, 1))
	require.NoError(t, within(t, ended))
	assert.False(t, acquire(1))
	s.do(func(th *Thread) { assert.NoError(t, th.WaitForRundown(ref)) })
	require.NoError(t, InitializeRundown(ref))
	assert.True(t, acquire(1))
	require.NoError(t, s.ReleaseRundown(ref, 1))
	var wrong *ObjectError
	assert.ErrorAs(t, s.ReleaseRundown(ref, 1), &wrong)
	require.NoError(t, RundownCompleted(ref))
	assert.False(t, acquire(1))
}

func TestRegions(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	s.do(func(th *Thread) {
		assert.False(t, th.APCsDisabled())
		th.EnterCriticalRegion()
		assert.True(t, th.APCsDisabled())
		assert.False(t, th.AllAPCsDisabled())
		th.EnterGuardedRegion()
		assert.True(t, th.AllAPCsDisabled())
		th.LeaveCriticalRegion()
		assert.True(t, th.APCsDisabled())
		th.LeaveGuardedRegion()
		assert.False(t, th.APCsDisabled())
		th.RaiseIRQL(nt.APC_LEVEL)
		assert.True(t, th.AllAPCsDisabled())
		th.LowerIRQL(nt.PASSIVE_LEVEL)
	})
}
