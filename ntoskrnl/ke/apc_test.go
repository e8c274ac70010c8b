package ke

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// apcLog is what APC routines have done.
type apcLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *apcLog) add(s string) {
	l.mu.Lock()
	l.lines = append(l.lines, s)
	l.mu.Unlock()
}

func (l *apcLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.lines...)
}

// apcs makes KAPCs of a test whose routines write to a log, with the IRQL.
type apcs struct {
	*testSystem
	log            apcLog
	kernel, normal guest.Addr
	nothing        guest.Addr // a routine that does nothing
}

func newAPCs(s *testSystem) *apcs {
	a := &apcs{testSystem: s, nothing: s.function(0xC3)}
	a.kernel = s.imported(func(t *Thread) uint64 {
		a.log.add("kernel " + t.IRQL().String())
		return 0
	})
	a.normal = s.imported(func(t *Thread) uint64 {
		a.log.add("normal " + t.IRQL().String() + " " + string(rune('0'+arg(t, 0))))
		return 0
	})
	return a
}

func (a *apcs) make(t *Thread, normal guest.Addr, mode nt.ProcessorMode) guest.Addr {
	apc := a.alloc(sizeofKAPC)
	require.NoError(a.t, InitializeAPC(apc, APC{Thread: t.Object, Kernel: a.kernel, Normal: normal,
		Mode: mode, Context: 7}))
	return apc
}

func (a *apcs) queue(apc guest.Addr) {
	a.t.Helper()
	ok, err := a.QueueAPC(apc, 1, 2)
	require.NoError(a.t, err)
	require.True(a.t, ok)
}

const (
	ranKernel = "kernel APC_LEVEL"
	ranNormal = "normal PASSIVE_LEVEL 7"
)

func TestAPCsRunWhenTheirThreadMay(t *testing.T) {
	for _, c := range []struct {
		name         string
		enter, leave func(t *Thread)
		special      bool
		during       bool // it runs before leave
	}{
		{"normal at once", func(*Thread) {}, func(*Thread) {}, false, true},
		{"special at once", func(*Thread) {}, func(*Thread) {}, true, true},
		{"normal after a critical region", (*Thread).EnterCriticalRegion,
			(*Thread).LeaveCriticalRegion, false, false},
		{"special in a critical region", (*Thread).EnterCriticalRegion,
			(*Thread).LeaveCriticalRegion, true, true},
		{"special after a guarded region", (*Thread).EnterGuardedRegion,
			(*Thread).LeaveGuardedRegion, true, false},
		{"special below APC_LEVEL", func(t *Thread) { t.RaiseIRQL(nt.APC_LEVEL) },
			func(t *Thread) { t.LowerIRQL(nt.PASSIVE_LEVEL) }, true, false},
		{"normal below DISPATCH_LEVEL", func(t *Thread) { t.RaiseIRQL(nt.DISPATCH_LEVEL) },
			func(t *Thread) { t.LowerIRQL(nt.PASSIVE_LEVEL) }, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPCs(newTestSystem(t, testOptions{processors: 1}))
			var apc guest.Addr
			var during []string
			step := func(f func(*Thread)) guest.Addr {
				return a.imported(func(t *Thread) uint64 { f(t); return 0 })
			}
			enter, leave := step(c.enter), step(c.leave)
			queue := step(func(*Thread) { a.queue(apc) })
			look := step(func(*Thread) { during = a.log.all() })
			want := []string{ranKernel}
			a.do(func(th *Thread) {
				normal := a.normal
				if c.special {
					normal = 0
				} else {
					want = append(want, ranNormal)
				}
				apc = a.make(th, normal, nt.KernelMode)
				for _, f := range []guest.Addr{enter, queue, look, leave} {
					th.Call(f)
				}
				if c.during {
					assert.Equal(t, want, during)
				} else {
					assert.Empty(t, during)
				}
				assert.Equal(t, want, a.log.all())
				inserted, err := guest.Load8(apc + apcInserted)
				assert.NoError(t, err)
				assert.Zero(t, inserted)
				assert.Zero(t, th.ETHREAD().Tcb.ApcState.KernelApcPending)
			})
		})
	}
}

func TestQueuedAPC(t *testing.T) {
	a := newAPCs(newTestSystem(t, testOptions{processors: 1}))
	a.do(func(th *Thread) {
		th.EnterGuardedRegion()
		n1, n2 := a.make(th, a.normal, nt.KernelMode), a.make(th, a.normal, nt.KernelMode)
		sp := a.make(th, 0, nt.UserMode)
		a.queue(n1)
		a.queue(n2)
		a.queue(sp)
		assert.NotZero(t, th.ETHREAD().Tcb.ApcState.KernelApcPending)
		again, err := a.QueueAPC(n1, 0, 0)
		assert.NoError(t, err)
		assert.False(t, again, "it is queued")
		removed, err := a.RemoveAPC(n2)
		assert.NoError(t, err)
		assert.True(t, removed)
		removed, err = a.RemoveAPC(n2)
		assert.NoError(t, err)
		assert.False(t, removed, "it was removed")
		th.LeaveGuardedRegion()
		th.DeliverAPCs()
		assert.Equal(t, []string{ranKernel, ranKernel, ranNormal}, a.log.all(), "the special one first")

		_, err = a.QueueAPC(a.event(nt.NotificationEvent, false), 0, 0)
		var object *ObjectError
		assert.ErrorAs(t, err, &object)
		_, err = a.QueueAPC(0x10, 0, 0)
		assert.Error(t, err)
		wild := a.make(th, 0, nt.KernelMode)
		require.NoError(t, guest.StoreAddr(wild+8, a.event(nt.NotificationEvent, false)))
		_, err = a.QueueAPC(wild, 0, 0)
		assert.ErrorAs(t, err, &object)
	})
}

func TestNormalAPCsDoNotNest(t *testing.T) {
	a := newAPCs(newTestSystem(t, testOptions{processors: 1}))
	var order []string
	a.do(func(th *Thread) {
		inner := a.make(th, a.normal, nt.KernelMode)
		special := a.make(th, 0, nt.KernelMode)
		outer := a.imported(func(th *Thread) uint64 {
			a.queue(inner)
			a.queue(special)
			return 0
		})
		look := a.imported(func(*Thread) uint64 { order = a.log.all(); return 0 })
		// sub rsp, 28h; mov [rsp+20h], rdx; call outer; mov the second to rax; call; add; ret
		both := a.function(0x53, 0x48, 0x83, 0xEC, 0x20, 0x48, 0x89, 0xD3, 0xFF, 0xD1, 0xFF, 0xD3,
			0x48, 0x83, 0xC4, 0x20, 0x5B, 0xC3)
		apc := a.alloc(sizeofKAPC)
		require.NoError(t, InitializeAPC(apc, APC{Thread: th.Object, Kernel: a.kernel, Normal: both,
			Context: outer}))
		ok, err := a.QueueAPC(apc, uint64(look), 0)
		require.True(t, ok)
		require.NoError(t, err)
		th.DeliverAPCs()
		assert.Equal(t, []string{ranKernel, ranKernel}, order, "the special one ran inside")
		assert.Equal(t, []string{ranKernel, ranKernel, ranKernel, ranNormal}, a.log.all())
	})
}

func TestAKernelRoutineMayTakeAwayTheNormalOne(t *testing.T) {
	a := newAPCs(newTestSystem(t, testOptions{processors: 1}))
	a.kernel = a.function(0x48, 0xC7, 0x02, 0, 0, 0, 0, 0xC3) // mov qword [rdx], 0; ret
	a.do(func(th *Thread) {
		a.queue(a.make(th, a.normal, nt.KernelMode))
		th.DeliverAPCs()
		assert.Empty(t, a.log.all())
	})
}

func TestAnAPCReachesASpinningThread(t *testing.T) {
	for _, irql := range []nt.IRQL{nt.PASSIVE_LEVEL, nt.APC_LEVEL} {
		t.Run(irql.String(), func(t *testing.T) {
			a := newAPCs(newTestSystem(t, testOptions{processors: 2}))
			word := a.alloc(8)
			a.kernel = a.imported(func(th *Thread) uint64 {
				a.log.add("kernel " + th.IRQL().String())
				assert.NoError(t, guest.Store8(word, 1))
				return 0
			})
			spin := a.spinUntil()
			var started atomic.Bool
			th, ended := a.start(func(th *Thread) {
				th.RaiseIRQL(irql)
				started.Store(true)
				th.Call(spin, uint64(word))
				th.LowerIRQL(nt.PASSIVE_LEVEL)
			})
			require.Eventually(t, started.Load, 10*time.Second, 50*time.Microsecond)
			a.queue(a.make(th, 0, nt.KernelMode))
			if irql == nt.APC_LEVEL {
				time.Sleep(time.Millisecond)
				assert.Empty(t, a.log.all())
				require.NoError(t, guest.Store8(word, 1))
			}
			require.NoError(t, within(t, ended))
			assert.Equal(t, []string{ranKernel}, a.log.all())
			th.Release()
		})
	}
}

func TestAnAPCRunsInAWait(t *testing.T) {
	forAll := []func(th *Thread, e guest.Addr) nt.Status{
		func(th *Thread, e guest.Addr) nt.Status {
			status, _ := th.WaitForSingleObject(e, Forever)
			return status
		},
		func(th *Thread, e guest.Addr) nt.Status {
			status, _ := th.WaitForMultipleObjects([]guest.Addr{e}, true, After(time.Hour))
			return status
		},
	}
	for i, wait := range forAll {
		a := newAPCs(newTestSystem(t, testOptions{processors: 2}))
		event := a.event(nt.SynchronizationEvent, false)
		status := make(chan nt.Status, 1)
		th, ended := a.start(func(th *Thread) { status <- wait(th, event) })
		a.blocked(1)
		a.queue(a.make(th, a.normal, nt.KernelMode))
		require.Eventually(t, func() bool { return len(a.log.all()) == 2 }, 10*time.Second,
			50*time.Microsecond)
		a.blocked(1)
		_, err := a.SetEvent(event)
		require.NoError(t, err)
		assert.Equal(t, nt.STATUS_SUCCESS, within(t, status), "wait %d", i)
		require.NoError(t, within(t, ended))
		th.Release()
	}
}

func TestADelayIsNotLongerForAnAPC(t *testing.T) {
	a := newAPCs(newTestSystem(t, testOptions{processors: 2}))
	entered := make(chan struct{})
	start := time.Now()
	th, ended := a.start(func(th *Thread) {
		close(entered)
		th.Delay(WaitOptions{Timeout: After(20 * time.Millisecond)})
	})
	within(t, entered)
	for range 20 {
		a.queue(a.make(th, 0, nt.KernelMode))
	}
	require.NoError(t, within(t, ended))
	assert.GreaterOrEqual(t, time.Since(start), 20*time.Millisecond)
	assert.Len(t, a.log.all(), 20)
	th.Release()
}

func TestACriticalRegionKeepsAPCsOutOfAWait(t *testing.T) {
	a := newAPCs(newTestSystem(t, testOptions{processors: 2}))
	event := a.event(nt.SynchronizationEvent, false)
	th, ended := a.start(func(th *Thread) {
		th.EnterCriticalRegion()
		_, err := th.WaitForSingleObject(event, Forever)
		assert.NoError(t, err)
		assert.Empty(t, a.log.all())
		th.LeaveCriticalRegion()
	})
	a.blocked(1)
	a.queue(a.make(th, a.normal, nt.KernelMode))
	_, err := a.SetEvent(event)
	require.NoError(t, err)
	require.NoError(t, within(t, ended))
	assert.Len(t, a.log.all(), 2)
	th.Release()
}

func TestAlerts(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 2})
	event := s.event(nt.SynchronizationEvent, false)
	alertable := WaitOptions{Alertable: true}
	s.do(func(th *Thread) {
		assert.False(t, th.Alert(nt.KernelMode))
		assert.True(t, th.Alert(nt.KernelMode))
		status, err := th.WaitSingle(event, WaitOptions{Timeout: Poll})
		assert.NoError(t, err)
		assert.Equal(t, nt.STATUS_TIMEOUT, status, "a wait that is not alertable")
		status, err = th.WaitSingle(event, alertable)
		assert.NoError(t, err)
		assert.Equal(t, nt.STATUS_ALERTED, status)
		assert.False(t, th.TestAlert(nt.KernelMode), "the wait took it")

		th.Alert(nt.KernelMode)
		assert.Equal(t, nt.STATUS_ALERTED, th.Delay(WaitOptions{Timeout: Poll, Alertable: true,
			Mode: nt.UserMode}), "user mode hears the kernel's alerts")
		th.Alert(nt.UserMode)
		status, err = th.WaitSingle(event, WaitOptions{Timeout: Poll, Alertable: true})
		assert.NoError(t, err)
		assert.Equal(t, nt.STATUS_TIMEOUT, status, "kernel mode does not hear those of user mode")
		assert.True(t, th.TestAlert(nt.UserMode))
		assert.Equal(t, nt.STATUS_SUCCESS, th.Delay(WaitOptions{Timeout: Poll, Alertable: true,
			Mode: nt.UserMode}))
	})
	status := make(chan nt.Status, 1)
	th, ended := s.start(func(th *Thread) {
		v, err := th.WaitMultiple([]guest.Addr{event}, false, alertable)
		assert.NoError(t, err)
		status <- v
	})
	s.blocked(1)
	th.Alert(nt.KernelMode)
	assert.Equal(t, nt.STATUS_ALERTED, within(t, status))
	require.NoError(t, within(t, ended))
	s.blocked(0)
	th.Release()
}

func TestAnAPCForUserModeEndsAWait(t *testing.T) {
	a := newAPCs(newTestSystem(t, testOptions{processors: 2}))
	event := a.event(nt.SynchronizationEvent, false)
	user := WaitOptions{Alertable: true, Mode: nt.UserMode}
	status := make(chan nt.Status, 3)
	th, ended := a.start(func(th *Thread) {
		v, _ := th.WaitSingle(event, user)
		status <- v
		v, _ = th.WaitSingle(event, WaitOptions{Timeout: Poll, Mode: nt.UserMode})
		status <- v
		v, _ = th.WaitSingle(event, WaitOptions{Timeout: Poll, Alertable: true})
		status <- v
	})
	a.blocked(1)
	a.queue(a.make(th, a.normal, nt.UserMode))
	assert.Equal(t, nt.STATUS_USER_APC, within(t, status))
	assert.Equal(t, nt.STATUS_USER_APC, within(t, status), "it is pending until user mode")
	assert.Equal(t, nt.STATUS_TIMEOUT, within(t, status), "kernel mode does not look")
	require.NoError(t, within(t, ended))
	assert.Equal(t, []string{ranKernel}, a.log.all(), "on the way to user mode")
	th.Release()
}

func TestAnAPCVisitsAThreadInUserMode(t *testing.T) {
	a := newAPCs(newTestSystem(t, testOptions{processors: 1}))
	th, err := a.NewThread(a.SystemProcess)
	require.NoError(t, err)
	a.queue(a.make(th, a.normal, nt.KernelMode))
	require.Eventually(t, func() bool { return len(a.log.all()) == 2 }, 10*time.Second,
		50*time.Microsecond)
	th.Release()
}

func TestTheEndOfAThreadAndAPCs(t *testing.T) {
	a := newAPCs(newTestSystem(t, testOptions{processors: 2}))
	event := a.event(nt.SynchronizationEvent, false)
	rundown := a.imported(func(*Thread) uint64 { a.log.add("rundown"); return 0 })
	var th *Thread
	entered, ended := make(chan struct{}), make(chan error, 1)
	var late guest.Addr
	th, err := a.StartSystemThread(a.SystemProcess, func(th *Thread) {
		<-entered
		_, _ = th.WaitForSingleObject(event, Forever)
		th.EnterCriticalRegion()
		a.queue(a.make(th, a.normal, nt.KernelMode))
		th.LeaveCriticalRegion()
		late = a.make(th, 0, nt.KernelMode)
	}, func(th *Thread, err error) { ended <- err })
	require.NoError(t, err)
	close(entered)
	apc := a.alloc(sizeofKAPC)
	require.NoError(t, InitializeAPC(apc, APC{Thread: th.Object, Kernel: a.kernel, Rundown: rundown,
		Normal: a.normal, Mode: nt.UserMode}))
	a.queue(apc)
	_, err = a.SetEvent(event)
	require.NoError(t, err)
	require.NoError(t, within(t, ended))
	assert.Equal(t, []string{ranKernel, ranNormal, "rundown"}, a.log.all())
	ok, err := a.QueueAPC(late, 0, 0)
	assert.NoError(t, err)
	assert.False(t, ok, "the thread has ended")
}

func TestAPCMisuse(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(a *apcs, th *Thread)
		code nt.BugCheck
	}{
		{"a kernel routine that lowers the IRQL", func(a *apcs, th *Thread) {
			a.kernel = a.imported(func(th *Thread) uint64 { th.LowerIRQL(0); return 0 })
			a.queue(a.make(th, 0, nt.KernelMode))
			th.DeliverAPCs()
		}, nt.IRQL_UNEXPECTED_VALUE},
		{"a normal routine that raises it", func(a *apcs, th *Thread) {
			a.normal = a.imported(func(th *Thread) uint64 { th.RaiseIRQL(1); return 0 })
			a.queue(a.make(th, a.normal, nt.KernelMode))
			th.DeliverAPCs()
		}, nt.IRQL_UNEXPECTED_VALUE},
		{"a KAPC that is overwritten", func(a *apcs, th *Thread) {
			th.EnterGuardedRegion()
			apc := a.make(th, 0, nt.KernelMode)
			a.queue(apc)
			require.NoError(a.t, guest.Fill(apc, 0, sizeofKAPC))
			th.LeaveGuardedRegion()
			th.DeliverAPCs()
		}, nt.REFERENCE_BY_POINTER},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPCs(newTestSystem(t, testOptions{processors: 1}))
			err := a.try(func(th *Thread) { c.do(a, th) })
			var b *Bugcheck
			require.True(t, errors.As(err, &b), "%v", err)
			assert.Equal(t, c.code, b.Code)
		})
	}
}

// Threads that queue APCs to each other while they wait, spin and leave regions lose none.
func TestAPCsUnderLoad(t *testing.T) {
	const threads, rounds = 8, 60
	a := newAPCs(newTestSystem(t, testOptions{processors: 3, memory: 4 << 20}))
	var ran atomic.Int32
	a.kernel = a.imported(func(th *Thread) uint64 { ran.Add(1); return 0 })
	event := a.event(nt.SynchronizationEvent, false)
	var all []*Thread
	ready := make(chan struct{})
	var ends []<-chan error
	var queued atomic.Int32
	for i := range threads {
		th, ended := a.start(func(th *Thread) {
			<-ready
			for n := range rounds {
				a.queue(a.make(all[(i+n)%threads], []guest.Addr{0, a.nothing}[n%2],
					nt.KernelMode))
				queued.Add(1)
				switch n % 3 {
				case 0:
					_, _ = th.WaitForSingleObject(event, After(20*time.Microsecond))
				case 1:
					th.EnterCriticalRegion()
					th.Delay(WaitOptions{Timeout: After(10 * time.Microsecond)})
					th.LeaveCriticalRegion()
				case 2:
					_, _ = a.SetEvent(event)
				}
			}
		})
		all, ends = append(all, th), append(ends, ended)
	}
	close(ready)
	for _, e := range ends {
		require.NoError(t, within(t, e))
	}
	require.Eventually(t, func() bool { return ran.Load() == queued.Load() }, 10*time.Second,
		100*time.Microsecond, "a thread that has ended its Do is visited")
	for _, th := range all {
		th.Release()
	}
}
