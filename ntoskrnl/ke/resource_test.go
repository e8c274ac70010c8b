package ke

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func (s *testSystem) resource() guest.Addr {
	a := s.alloc(0x68)
	require.NoError(s.t, InitializeResource(a))
	return a
}

// lockKind is a lock for many readers or one writer.
type lockKind struct {
	name              string
	read, write       func(th *Thread, a guest.Addr) error
	endRead, endWrite func(th *Thread, a guest.Addr) error
}

func lockKinds() []lockKind {
	at := func(irql nt.IRQL, f func(th *Thread, a guest.Addr) error, lower bool) func(*Thread,
		guest.Addr) error {
		return func(th *Thread, a guest.Addr) error {
			if !lower {
				th.RaiseIRQL(irql)
			}
			err := f(th, a)
			if lower {
				th.LowerIRQL(nt.PASSIVE_LEVEL)
			}
			return err
		}
	}
	release := func(th *Thread, a guest.Addr) error {
		return th.sys.ReleaseResource(a,
			uintptr(th.Object))
	}
	pop := func(th *Thread, a guest.Addr) error { return th.sys.ReleasePushLock(a) }
	return []lockKind{
		{"resource",
			func(th *Thread, a guest.Addr) error {
				_, err := th.AcquireShared(a, true,
					Shared)
				return err
			},
			func(th *Thread, a guest.Addr) error {
				_, err := th.AcquireExclusive(a,
					true)
				return err
			},
			release, release},
		{"push lock",
			func(th *Thread, a guest.Addr) error { return th.AcquirePushLock(a, false) },
			func(th *Thread, a guest.Addr) error { return th.AcquirePushLock(a, true) }, pop, pop},
		{"reader/writer spin lock",
			at(2, (*Thread).AcquireSharedSpinLock, false), at(2, (*Thread).AcquireExclusiveSpinLock,
				false),
			at(2, (*Thread).ReleaseSharedSpinLock, true), at(2, (*Thread).ReleaseExclusiveSpinLock,
				true)},
	}
}

func TestReadersShareAndWritersDoNot(t *testing.T) {
	for _, k := range lockKinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newTestSystem(t, testOptions{processors: 3})
			a := s.resource()
			if k.name != "resource" {
				a = s.alloc(16)
			}
			var readers, writers atomic.Int32
			var done sync.WaitGroup
			for i := range 6 {
				done.Add(1)
				go func() {
					defer done.Done()
					rnd := rand.New(rand.NewPCG(uint64(i), 7))
					assert.NoError(t, s.try(func(th *Thread) {
						for range 400 {
							if rnd.IntN(3) == 0 {
								assert.NoError(t, k.write(th, a))
								assert.EqualValues(t, 1, writers.Add(1))
								assert.Zero(t, readers.Load())
								writers.Add(-1)
								assert.NoError(t, k.endWrite(th, a))
								continue
							}
							assert.NoError(t, k.read(th, a))
							readers.Add(1)
							assert.Zero(t, writers.Load())
							readers.Add(-1)
							assert.NoError(t, k.endRead(th, a))
						}
					}))
				}()
			}
			done.Wait()
			assert.Zero(t, s.waitBlocks())
			if k.name == "resource" {
				r, err := guest.Ptr[nt.EResource](a).Load()
				require.NoError(t, err)
				assert.Zero(t, r.ActiveCount)
				assert.Zero(t, r.NumberOfExclusiveWaiters)
				assert.Zero(t, r.NumberOfSharedWaiters)
				assert.NoError(t, s.DeleteResource(a))
				return
			}
			v, err := guest.Load64(a)
			require.NoError(t, err)
			assert.Zero(t, v)
		})
	}
}

func TestResourceCountsAcquisitions(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	a := s.resource()
	s.do(func(th *Thread) {
		want := func(exclusive bool, count uint32) {
			t.Helper()
			v, err := th.ResourceState(a)
			assert.NoError(t, err)
			assert.Equal(t, ResourceState{Exclusive: exclusive, Count: count}, v)
		}
		get := func(ok bool, err error) {
			t.Helper()
			assert.NoError(t, err)
			assert.True(t, ok)
		}
		want(false, 0)
		get(th.AcquireShared(a, false, Shared))
		get(th.AcquireShared(a, false, Shared))
		want(false, 2)
		ok, err := th.AcquireExclusive(a, false)
		assert.NoError(t, err)
		assert.False(t, ok, "a reader does not become the writer")
		for range 2 {
			assert.NoError(t, s.ReleaseResource(a, uintptr(th.Object)))
		}
		get(th.AcquireExclusive(a, false))
		get(th.AcquireExclusive(a, false))
		get(th.AcquireShared(a, false, Shared))
		want(true, 3)
		s.do(func(other *Thread) {
			ok, err := other.AcquireShared(a, false, SharedStarveExclusive)
			assert.NoError(t, err)
			assert.False(t, ok)
		})
		assert.NoError(t, th.ConvertToShared(a))
		want(false, 3)
		s.do(func(other *Thread) {
			get(other.AcquireShared(a, false, Shared))
			assert.NoError(t, s.ReleaseResource(a, uintptr(other.Object)))
		})
		var e *ResourceError
		assert.ErrorAs(t, th.ConvertToShared(a), &e)
		assert.ErrorAs(t, s.DeleteResource(a), &e, "it is owned")
		for range 3 {
			assert.NoError(t, s.ReleaseResource(a, uintptr(th.Object)))
		}
		want(false, 0)
		assert.ErrorAs(t, s.ReleaseResource(a, uintptr(th.Object)), &e)
		code, params := e.BugCheck()
		assert.Equal(t, nt.RESOURCE_NOT_OWNED, code)
		assert.EqualValues(t, a, params[0])
	})
}

func TestWhoWaitsForAResource(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 2})
	a := s.resource()
	order := make(chan string, 8)
	free := s.event(nt.NotificationEvent, false)
	start := func(name string, f func(th *Thread) (bool, error)) <-chan error {
		before := s.waitBlocks()
		_, ended := s.start(func(th *Thread) {
			ok, err := f(th)
			assert.NoError(t, err)
			assert.True(t, ok)
			order <- name
			await(t, th, free)
			assert.NoError(t, s.ReleaseResource(a, uintptr(th.Object)))
		})
		require.Eventually(t, func() bool { return s.waitBlocks() > before }, 1e10, 1e5)
		return ended
	}
	shared := func(th *Thread) (bool, error) { return th.AcquireShared(a, true, Shared) }
	exclusive := func(th *Thread) (bool, error) { return th.AcquireExclusive(a, true) }
	var ends []<-chan error
	ends = append(ends, start("reader 1", shared))
	assert.Equal(t, "reader 1", <-order)
	ends = append(ends, start("writer 1", exclusive))
	ends = append(ends, start("reader 2", shared))
	ends = append(ends, start("writer 2", exclusive))
	ends = append(ends, start("reader 3", shared))
	assert.Empty(t, order, "readers wait behind a writer that waits")
	ends = append(ends, start("starving reader", func(th *Thread) (bool, error) {
		return th.AcquireShared(a, true, SharedStarveExclusive)
	}))
	assert.Equal(t, "starving reader", <-order)
	s.do(func(th *Thread) {
		v, err := th.ResourceState(a)
		assert.NoError(t, err)
		assert.Equal(t, ResourceState{SharedWaiters: 2, ExclusiveWaiters: 2}, v)
		ok, err := th.AcquireShared(a, false, SharedWaitForExclusive)
		assert.NoError(t, err)
		assert.False(t, ok)
	})
	_, err := s.SetEvent(free)
	require.NoError(t, err)
	for _, ended := range ends {
		require.NoError(t, within(t, ended))
	}
	assert.Equal(t, "writer 1", <-order)
	second, third := <-order, <-order
	assert.ElementsMatch(t, []string{"reader 2", "reader 3"}, []string{second, third},
		"after a writer all readers")
	assert.Equal(t, "writer 2", <-order)
}

func TestResourceHasManyReaders(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 2, memory: 4 << 20})
	a := s.resource()
	const n = 40
	free := s.event(nt.NotificationEvent, false)
	var ends []<-chan error
	for range n {
		_, ended := s.start(func(th *Thread) {
			for range 2 {
				_, err := th.AcquireShared(a, true, Shared)
				assert.NoError(t, err)
			}
			await(t, th, free)
			for range 2 {
				assert.NoError(t, s.ReleaseResource(a, uintptr(th.Object)))
			}
		})
		ends = append(ends, ended)
	}
	s.blocked(n)
	r, err := guest.Ptr[nt.EResource](a).Load()
	require.NoError(t, err)
	assert.EqualValues(t, n, r.ActiveCount)
	_, err = s.SetEvent(free)
	require.NoError(t, err)
	for _, ended := range ends {
		require.NoError(t, within(t, ended))
	}
	assert.NoError(t, s.DeleteResource(a))
}

func TestPushLockIsFair(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	a := s.alloc(16)
	ok, err := s.TryAcquirePushLock(a, false)
	require.NoError(t, err)
	require.True(t, ok)
	order := make(chan int, 3)
	for i, exclusive := range []bool{true, false, true} {
		s.start(func(th *Thread) {
			assert.NoError(t, th.AcquirePushLock(a, exclusive))
			order <- i
			assert.NoError(t, s.ReleasePushLock(a))
		})
		s.blocked(i + 1)
	}
	ok, err = s.TryAcquirePushLock(a, false)
	require.NoError(t, err)
	assert.False(t, ok, "others wait")
	require.NoError(t, s.ReleasePushLock(a))
	for i := range 3 {
		assert.Equal(t, i, within(t, order))
	}
	s.quiet()
	var wrong *ObjectError
	assert.ErrorAs(t, s.ReleasePushLock(a), &wrong)
}

func TestReaderWriterSpinLockMisuse(t *testing.T) {
	for name, f := range map[string]func(th *Thread, a guest.Addr) error{
		"a reader that is none": (*Thread).ReleaseSharedSpinLock,
		"a writer that is none": (*Thread).ReleaseExclusiveSpinLock,
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSystem(t, testOptions{})
			a := s.alloc(16)
			require.Error(t, s.try(func(th *Thread) { _ = f(th, a) }))
			assert.Equal(t, nt.SPIN_LOCK_NOT_OWNED, s.crash().Code)
		})
	}
	s := newTestSystem(t, testOptions{})
	a := s.alloc(16)
	s.do(func(th *Thread) {
		th.RaiseIRQL(nt.DISPATCH_LEVEL)
		assert.NoError(t, th.AcquireSharedSpinLock(a))
		assert.NoError(t, th.AcquireSharedSpinLock(a))
		ok, err := TryConvertSpinLock(a)
		assert.NoError(t, err)
		assert.False(t, ok, "there is another reader")
		assert.NoError(t, th.ReleaseSharedSpinLock(a))
		ok, err = TryConvertSpinLock(a)
		assert.NoError(t, err)
		assert.True(t, ok)
		assert.NoError(t, th.ReleaseExclusiveSpinLock(a))
		th.LowerIRQL(nt.PASSIVE_LEVEL)
	})
}
