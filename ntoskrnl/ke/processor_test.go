package ke

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestAThreadAloneOnItsProcessor(t *testing.T) {
	const processors, threads, rounds = 3, 12, 300
	s := newTestSystem(t, testOptions{processors: processors})
	var running, onOne [processors]atomic.Int32
	var total atomic.Int32
	var done sync.WaitGroup
	for i := range threads {
		done.Add(1)
		go func() {
			defer done.Done()
			assert.NoError(t, s.try(func(th *Thread) {
				if i%4 == 0 {
					th.SetSystemAffinity(1) // these want processor 0 only
				}
				for n := range rounds {
					p := th.Processor().Number()
					assert.Equal(t, int32(1), running[p].Add(1))
					assert.LessOrEqual(t, total.Add(1), int32(processors))
					if i%4 == 0 {
						assert.Zero(t, p)
						onOne[0].Add(1)
					}
					runtime.Gosched()
					assert.Equal(t, th.Object, th.proc.pcr.Prcb.CurrentThread)
					total.Add(-1)
					running[p].Add(-1)
					if n%16 == 0 {
						th.Delay(WaitOptions{Timeout: Timeout{Limited: true, Value: -1}})
					} else {
						th.Reschedule()
					}
				}
			}))
		}()
	}
	done.Wait()
	assert.EqualValues(t, threads/4*rounds, onOne[0].Load())
	s.quiet()
}

// quiet wants all processors to be idle.
func (s *testSystem) quiet() {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		return s.idle.Load() == s.ActiveProcessors() && s.waiting.Load() == 0
	}, 10*time.Second, time.Millisecond)
}

func TestQuantumEndsAThreadsTurn(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 1})
	spin, flag := s.spinUntil(), s.alloc(16)
	spinning := make(chan struct{})
	_, ended := s.start(func(th *Thread) {
		close(spinning)
		th.Call(spin, uint64(flag))
	})
	within(t, spinning)
	// The one processor is the spinning thread's, until its quantum is over.
	s.do(func(th *Thread) { require.NoError(t, guest.Store8(flag, 1)) })
	require.NoError(t, within(t, ended))
}

func TestDispatchLevelKeepsTheProcessor(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 1})
	spin, flag := s.spinUntil(), s.alloc(16)
	spinning := make(chan struct{})
	var lowered atomic.Bool
	_, ended := s.start(func(th *Thread) {
		th.RaiseIRQL(nt.DISPATCH_LEVEL)
		close(spinning)
		th.Call(spin, uint64(flag))
		lowered.Store(true)
		th.LowerIRQL(nt.PASSIVE_LEVEL)
	})
	within(t, spinning)
	_, other := s.start(func(th *Thread) { assert.True(t, lowered.Load()) })
	time.Sleep(3 * quantum)
	select {
	case <-other:
		t.Error("another thread got the processor of one at DISPATCH_LEVEL")
	default:
	}
	require.NoError(t, guest.Store8(flag, 1))
	require.NoError(t, within(t, ended))
	require.NoError(t, within(t, other))
}

func TestAffinity(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 4})
	s.do(func(th *Thread) {
		assert.Zero(t, th.SetSystemAffinity(1<<2))
		assert.Equal(t, 2, th.Processor().Number())
		assert.EqualValues(t, 1<<2, th.SetSystemAffinity(1<<3))
		assert.Equal(t, 3, th.Processor().Number())
		th.RevertAffinity(1 << 2)
		assert.Equal(t, 2, th.Processor().Number())
		th.RaiseIRQL(nt.DISPATCH_LEVEL)
		th.SetSystemAffinity(1)
		assert.Equal(t, 2, th.Processor().Number(), "not at DISPATCH_LEVEL")
		th.LowerIRQL(nt.PASSIVE_LEVEL)
		assert.Equal(t, 0, th.Processor().Number(), "but when it is over")
		th.RevertAffinity(0)
		assert.Equal(t, s.ActiveProcessors(), th.affinity)
	})
}

func TestIRQLRules(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(th *Thread)
		code nt.BugCheck
	}{
		{"raising to a lower level", func(th *Thread) {
			th.RaiseIRQL(nt.DISPATCH_LEVEL)
			th.RaiseIRQL(nt.APC_LEVEL)
		}, nt.IRQL_NOT_GREATER_OR_EQUAL},
		{"raising above HIGH_LEVEL", func(th *Thread) { th.RaiseIRQL(16) },
			nt.IRQL_NOT_GREATER_OR_EQUAL},
		{"lowering to a higher level", func(th *Thread) { th.LowerIRQL(nt.APC_LEVEL) },
			nt.IRQL_NOT_LESS_OR_EQUAL},
		{"a dispatch routine that returns at a raised level",
			func(th *Thread) { th.RaiseIRQL(nt.DISPATCH_LEVEL) }, nt.IRQL_GT_ZERO_AT_SYSTEM_SERVICE},
		{"a dispatch routine that returns in a critical region",
			func(th *Thread) { th.EnterCriticalRegion() }, nt.APC_INDEX_MISMATCH},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTestSystem(t, testOptions{})
			require.Error(t, s.try(c.f))
			assert.Equal(t, c.code, s.crash().Code)
		})
	}
	s := newTestSystem(t, testOptions{})
	s.do(func(th *Thread) {
		assert.Equal(t, nt.PASSIVE_LEVEL, th.RaiseIRQL(nt.APC_LEVEL))
		assert.Equal(t, nt.APC_LEVEL, th.RaiseIRQL(nt.APC_LEVEL))
		assert.Equal(t, nt.APC_LEVEL, th.RaiseIRQL(nt.HIGH_LEVEL))
		th.LowerIRQL(nt.DISPATCH_LEVEL)
		assert.Equal(t, nt.DISPATCH_LEVEL, th.IRQL())
		th.LowerIRQL(nt.PASSIVE_LEVEL)
	})
}

func TestCrashEndsEveryThread(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 2})
	e := s.event(nt.NotificationEvent, false)
	spin, flag := s.forever(), s.alloc(16)
	var ends []<-chan error
	start := func(f func(th *Thread)) {
		_, ended := s.start(f)
		ends = append(ends, ended)
	}
	spinning := make(chan struct{})
	start(func(th *Thread) { _, _ = th.WaitForSingleObject(e, Forever) })
	start(func(th *Thread) {
		_, _ = th.WaitForMultipleObjects([]guest.Addr{e, e}, true,
			After(time.Hour))
	})
	begun := make(chan struct{}, 2)
	start(func(th *Thread) {
		begun <- struct{}{}
		th.Delay(WaitOptions{Timeout: Timeout{Limited: true, Value: -1 << 62}})
	})
	start(func(th *Thread) {
		begun <- struct{}{}
		th.Park(func() bool { return false })
	})
	within(t, begun)
	within(t, begun)
	s.blocked(3)
	s.quiet()
	start(func(th *Thread) {
		th.RaiseIRQL(nt.DISPATCH_LEVEL)
		close(spinning)
		th.Call(spin, uint64(flag))
	})
	within(t, spinning)
	// The other processor spins for a lock that nobody gives back, and two threads want one.
	lock := s.alloc(16)
	require.NoError(t, guest.Store64(lock, 1))
	locking := make(chan struct{})
	start(func(th *Thread) {
		th.RaiseIRQL(nt.DISPATCH_LEVEL)
		close(locking)
		_ = th.AcquireSpinLock(lock)
	})
	within(t, locking)
	start(func(th *Thread) { t.Error("got a processor") })
	start(func(th *Thread) { t.Error("got a processor") })
	require.Eventually(t, func() bool { return s.waiting.Load() == 2 }, 10*time.Second,
		time.Millisecond)
	s.Crash(&Bugcheck{Code: nt.MANUALLY_INITIATED_CRASH})
	b := s.crash()
	for _, ended := range ends {
		assert.Equal(t, error(b), within(t, ended))
	}
	assert.ErrorIs(t, s.try(func(*Thread) { t.Error("ran") }), error(b))
}

func TestCloseEndsEveryThread(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 1})
	e := s.event(nt.NotificationEvent, false)
	_, waiting := s.start(func(th *Thread) { _, _ = th.WaitForSingleObject(e, Forever) })
	s.blocked(1)
	ended := make(chan error, 1)
	_, err := s.StartSystemThread(s.SystemProcess, func(th *Thread) { th.Call(s.forever()) },
		func(_ *Thread, err error) { ended <- err })
	require.NoError(t, err)
	s.Close()
	require.ErrorIs(t, within(t, waiting), error(errClosed))
	require.ErrorIs(t, within(t, ended), error(errClosed))
	assert.Nil(t, s.Crashed(), "closing is no crash")
	_, err = s.NewThread(s.SystemProcess)
	assert.Error(t, err)
	_, err = s.StartSystemThread(s.SystemProcess, func(*Thread) {}, nil)
	assert.Error(t, err)
	s.Close()
}

func TestHostPanicIsABugcheckOfItsOwn(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	require.Error(t, s.try(func(*Thread) { panic("oh") }))
	b := s.crash()
	assert.Equal(t, HostFault, b.Code)
	assert.Contains(t, b.Reason, "oh")
	assert.Contains(t, b.HostStack, "processor_test.go")
}

func TestSystemThreadsObject(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	started := make(chan struct{})
	release := make(chan struct{})
	th, err := s.StartSystemThread(s.SystemProcess, func(th *Thread) {
		close(started)
		<-release
		th.Exit(nt.STATUS_CANCELLED)
	}, nil)
	require.NoError(t, err)
	within(t, started)
	object, id := th.Object, th.ID
	assert.Same(t, th, s.ThreadByID(id))
	assert.Same(t, th, s.ThreadAt(object))
	_, ended := s.start(func(me *Thread) {
		assert.Equal(t, nt.STATUS_SUCCESS, await(t, me, object))
		assert.Equal(t, nt.STATUS_SUCCESS, await(t, me, object), "it stays signalled")
	})
	s.blocked(1)
	close(release)
	require.NoError(t, within(t, ended))
	e := guest.Ptr[nt.EThread](object).Ref()
	assert.Equal(t, nt.STATUS_CANCELLED, e.ExitStatus)
	assert.NotZero(t, e.CrossThreadFlags&nt.PS_CROSS_THREAD_FLAGS_TERMINATED)
	assert.GreaterOrEqual(t, e.ExitTime, e.CreateTime)
	assert.Nil(t, s.ThreadByID(id))
	assert.True(t, s.IsObject(object), "the object outlives the thread")
}
