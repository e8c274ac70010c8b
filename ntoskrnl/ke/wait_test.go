package ke

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// state gives an object's SignalState.
func state(t testing.TB, object guest.Addr) int32 {
	t.Helper()
	v, err := guest.Load32(object + headerState)
	require.NoError(t, err)
	return int32(v)
}

func TestPollOfAnObject(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	for _, c := range []struct {
		name   string
		object guest.Addr
		want   nt.Status
		left   int32 // SignalState afterwards
	}{
		{"a notification event that is set stays set", s.event(nt.NotificationEvent, true),
			nt.STATUS_SUCCESS, 1},
		{"a notification event that is not set", s.event(nt.NotificationEvent, false),
			nt.STATUS_TIMEOUT, 0},
		{"a synchronization event that is set is reset", s.event(nt.SynchronizationEvent, true),
			nt.STATUS_SUCCESS, 0},
		{"a synchronization event that is not set", s.event(nt.SynchronizationEvent, false),
			nt.STATUS_TIMEOUT, 0},
		{"zeroed memory is a notification event", s.alloc(sizeofKEvent), nt.STATUS_TIMEOUT, 0},
		{"a semaphore's count goes down", s.semaphore(3, 5), nt.STATUS_SUCCESS, 2},
		{"a semaphore at 0", s.semaphore(0, 5), nt.STATUS_TIMEOUT, 0},
		{"a mutant that is free", s.mutant(), nt.STATUS_SUCCESS, 0},
		{"a timer that has not expired", s.newTimer(nt.NotificationTimer), nt.STATUS_TIMEOUT, 0},
		{"the system process, which has not ended", s.SystemProcess.Object, nt.STATUS_TIMEOUT, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.do(func(th *Thread) {
				for _, irql := range []nt.IRQL{nt.PASSIVE_LEVEL, nt.DISPATCH_LEVEL} {
					if irql > 0 && (c.left != 1 || state(t, c.object) != 1) {
						continue // one satisfied wait changes what the next one finds
					}
					th.RaiseIRQL(irql)
					got, err := th.WaitForSingleObject(c.object, Poll)
					th.LowerIRQL(nt.PASSIVE_LEVEL)
					assert.NoError(t, err)
					assert.Equal(t, c.want, got)
					assert.Equal(t, c.left, state(t, c.object))
				}
				if owner, _ := guest.LoadAddr(c.object + mutantOwner); owner == th.Object {
					_, err := th.ReleaseMutant(c.object)
					assert.NoError(t, err)
				}
			})
		})
	}
}

func TestOperationsOnWhatIsNoSuchObject(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	const unmapped = guest.Addr(0x1000)
	semaphore := s.semaphore(0, 1)
	event := s.event(nt.NotificationEvent, false)
	garbage := s.alloc(64)
	require.NoError(t, guest.Store64(garbage, 0x1234567890ABCDEF))
	s.do(func(th *Thread) {
		for name, f := range map[string]func(a guest.Addr) error{
			"wait": func(a guest.Addr) error {
				_, err := th.WaitForSingleObject(a,
					Forever)
				return err
			},
			"wait for any": func(a guest.Addr) error {
				_, err := th.WaitForMultipleObjects([]guest.Addr{event, a}, false, Forever)
				return err
			},
			"wait for all": func(a guest.Addr) error {
				_, err := th.WaitForMultipleObjects([]guest.Addr{a, event}, true, Forever)
				return err
			},
			"set":   func(a guest.Addr) error { _, err := s.SetEvent(a); return err },
			"reset": func(a guest.Addr) error { _, err := s.ResetEvent(a); return err },
			"release": func(a guest.Addr) error {
				_, err := s.ReleaseSemaphore(a,
					1)
				return err
			},
			"mutant": func(a guest.Addr) error { _, err := th.ReleaseMutant(a); return err },
			"timer": func(a guest.Addr) error {
				_, err := th.SetTimer(a, -1, 0,
					0)
				return err
			},
			"cancel":     func(a guest.Addr) error { _, err := s.CancelTimer(a); return err },
			"queue DPC":  func(a guest.Addr) error { _, err := th.QueueDPC(a, 0, 0); return err },
			"remove DPC": func(a guest.Addr) error { _, err := s.RemoveDPC(a); return err },
		} {
			var fault *guest.FaultError
			assert.ErrorAs(t, f(unmapped), &fault, name)
			var wrong *ObjectError
			assert.ErrorAs(t, f(garbage), &wrong, name)
		}
		var wrong *ObjectError
		_, err := s.SetEvent(semaphore)
		assert.ErrorAs(t, err, &wrong)
		_, err = s.ReleaseSemaphore(event, 1)
		assert.ErrorAs(t, err, &wrong)
		code, params := wrong.BugCheck()
		assert.Equal(t, nt.REFERENCE_BY_POINTER, code)
		assert.EqualValues(t, event, params[1])
	})
	assert.Zero(t, s.waitBlocks())
}

func TestEventFunctionsGiveTheStateFromBefore(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	e := s.event(nt.SynchronizationEvent, false)
	for i, c := range []struct {
		f            func(guest.Addr) (int32, error)
		before, left int32
	}{
		{s.SetEvent, 0, 1}, {s.SetEvent, 1, 1}, {s.ResetEvent, 1, 0}, {s.ResetEvent, 0, 0},
		{s.PulseEvent, 0, 0}, {s.SetEvent, 0, 1}, {s.PulseEvent, 1, 0},
	} {
		before, err := c.f(e)
		require.NoError(t, err)
		assert.Equal(t, c.before, before, "step %d", i)
		assert.Equal(t, c.left, state(t, e), "step %d", i)
	}
}

func TestWakingWaiters(t *testing.T) {
	set := func(s *testSystem, e guest.Addr) error { _, err := s.SetEvent(e); return err }
	for _, c := range []struct {
		name    string
		object  func(s *testSystem) guest.Addr
		signal  func(s *testSystem, e guest.Addr) error
		waiters int
		woken   int
		left    int32
	}{
		{"a notification event wakes all", func(s *testSystem) guest.Addr {
			return s.event(0,
				false)
		},
			set, 4, 4, 1},
		{"a synchronization event wakes one", func(s *testSystem) guest.Addr {
			return s.event(1,
				false)
		},
			set, 4, 1, 0},
		{"a pulse of a notification event wakes all",
			func(s *testSystem) guest.Addr { return s.event(0, false) },
			func(s *testSystem, e guest.Addr) error {
				_,
					err := s.PulseEvent(e)
				return err
			}, 4, 4, 0},
		{"a pulse of a synchronization event wakes one",
			func(s *testSystem) guest.Addr { return s.event(1, false) },
			func(s *testSystem, e guest.Addr) error {
				_,
					err := s.PulseEvent(e)
				return err
			}, 4, 1, 0},
		{"a semaphore wakes as many as it has",
			func(s *testSystem) guest.Addr { return s.semaphore(0, 10) },
			func(s *testSystem, e guest.Addr) error {
				_, err := s.ReleaseSemaphore(e,
					3)
				return err
			},
			5, 3, 0},
		{"a semaphore keeps what is left",
			func(s *testSystem) guest.Addr { return s.semaphore(0, 10) },
			func(s *testSystem, e guest.Addr) error {
				_, err := s.ReleaseSemaphore(e,
					7)
				return err
			},
			5, 5, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTestSystem(t, testOptions{})
			object := c.object(s)
			order := make(chan int, c.waiters)
			for i := range c.waiters {
				s.start(func(th *Thread) {
					status, err := th.WaitForSingleObject(object, Forever)
					assert.NoError(t, err)
					assert.Equal(t, nt.STATUS_SUCCESS, status)
					order <- i
				})
				s.blocked(i + 1)
			}
			require.NoError(t, c.signal(s, object))
			got := map[int]bool{}
			for range c.woken {
				got[within(t, order)] = true
			}
			for i := range c.woken {
				assert.True(t, got[i], "waiters are served in the order in which they came")
			}
			assert.Equal(t, c.waiters-c.woken, s.waitBlocks())
			assert.Empty(t, order)
			assert.Equal(t, c.left, state(t, object))
		})
	}
}

func TestSemaphoreRefusesMoreThanItsLimit(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	for _, c := range []struct {
		name                     string
		count, limit, adjustment int32
		err                      error
	}{
		{"up to the limit", 1, 3, 2, nil},
		{"beyond the limit", 1, 3, 3, nt.STATUS_SEMAPHORE_LIMIT_EXCEEDED},
		{"a negative adjustment", 2, 3, -1, nt.STATUS_SEMAPHORE_LIMIT_EXCEEDED},
		{"an adjustment that overflows", 2, 0x7FFFFFFF, 0x7FFFFFFF,
			nt.STATUS_SEMAPHORE_LIMIT_EXCEEDED},
		{"none", 2, 3, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.semaphore(c.count, c.limit)
			before, err := s.ReleaseSemaphore(a, c.adjustment)
			assert.Equal(t, c.err, err)
			assert.Equal(t, c.count, before)
			want := c.count
			if c.err == nil {
				want += c.adjustment
			}
			assert.Equal(t, want, state(t, a))
		})
	}
}

func TestTimeouts(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	event := s.event(nt.SynchronizationEvent, false)
	for _, c := range []struct {
		name    string
		timeout func() Timeout
		least   time.Duration
	}{
		{"relative", func() Timeout { return After(20 * time.Millisecond) }, 20 * time.Millisecond},
		{"absolute", func() Timeout {
			return Timeout{true, s.SystemTime() + 200_000}
		}, 19 * time.Millisecond},
		{"an absolute time that has passed", func() Timeout { return Timeout{true, 1} }, 0},
		{"the shortest", func() Timeout { return Timeout{true, -1} }, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.do(func(th *Thread) {
				for _, irql := range []nt.IRQL{nt.PASSIVE_LEVEL, nt.APC_LEVEL} {
					th.RaiseIRQL(irql)
					start := time.Now()
					status, err := th.WaitForSingleObject(event, c.timeout())
					assert.NoError(t, err)
					assert.Equal(t, nt.STATUS_TIMEOUT, status)
					assert.GreaterOrEqual(t, time.Since(start), c.least)
					assert.Equal(t, irql, th.IRQL(), "the IRQL is kept")
					th.LowerIRQL(nt.PASSIVE_LEVEL)
				}
			})
			assert.Zero(t, s.waitBlocks())
		})
	}
	s.do(func(th *Thread) {
		start := time.Now()
		th.Delay(WaitOptions{Timeout: Timeout{Limited: true, Value: -100_000}})
		assert.GreaterOrEqual(t, time.Since(start), 10*time.Millisecond)
		th.Delay(WaitOptions{Timeout: Timeout{Limited: true, Value: 0}})
	})
}

func TestWaitForSeveralObjects(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	on := func() guest.Addr { return s.event(nt.SynchronizationEvent, true) }
	off := func() guest.Addr { return s.event(nt.SynchronizationEvent, false) }
	for _, c := range []struct {
		name    string
		objects []guest.Addr
		all     bool
		want    nt.Status
		left    []int32
	}{
		{"any: the first that is signalled is taken", []guest.Addr{off(), on(), on()}, false,
			nt.STATUS_WAIT_0 + 1, []int32{0, 0, 1}},
		{"any: none", []guest.Addr{off(), off()}, false, nt.STATUS_TIMEOUT, []int32{0, 0}},
		{"all: all are taken", []guest.Addr{on(), on(), s.semaphore(2, 2)}, true, nt.STATUS_SUCCESS,
			[]int32{0, 0, 1}},
		{"all: nothing is taken while one is missing", []guest.Addr{on(), off(), on()}, true,
			nt.STATUS_TIMEOUT, []int32{1, 0, 1}},
		{"one", []guest.Addr{on()}, false, nt.STATUS_SUCCESS, []int32{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.do(func(th *Thread) {
				got, err := th.WaitForMultipleObjects(c.objects, c.all, Poll)
				assert.NoError(t, err)
				assert.Equal(t, c.want, got)
				for i, o := range c.objects {
					assert.Equal(t, c.left[i], state(t, o), "object %d", i)
				}
			})
			assert.Zero(t, s.waitBlocks())
		})
	}
}

func TestWaitForAnyOf64IsWokenByEach(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	var objects [nt.MAXIMUM_WAIT_OBJECTS]guest.Addr
	for i := range objects {
		objects[i] = s.event(nt.SynchronizationEvent, false)
	}
	for _, i := range []int{0, 1, 31, 63} {
		got := make(chan nt.Status, 1)
		_, ended := s.start(func(th *Thread) {
			status, err := th.WaitForMultipleObjects(objects[:], false, Forever)
			assert.NoError(t, err)
			got <- status
		})
		s.blocked(len(objects))
		_, err := s.SetEvent(objects[i])
		require.NoError(t, err)
		assert.Equal(t, nt.STATUS_WAIT_0+nt.Status(i), within(t, got))
		require.NoError(t, within(t, ended))
		assert.Zero(t, s.waitBlocks(), "no block is left behind")
		assert.Zero(t, state(t, objects[i]))
	}
}

func TestWaitForAllIsSatisfiedAtOnce(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	a, b := s.event(nt.SynchronizationEvent, false), s.event(nt.SynchronizationEvent, false)
	_, ended := s.start(func(th *Thread) {
		status, err := th.WaitForMultipleObjects([]guest.Addr{a, b}, true, Forever)
		assert.NoError(t, err)
		assert.Equal(t, nt.STATUS_SUCCESS, status)
	})
	s.blocked(2)
	_, err := s.SetEvent(a)
	require.NoError(t, err)
	s.do(func(th *Thread) {
		status, err := th.WaitForSingleObject(a, Poll)
		assert.NoError(t, err)
		assert.Equal(t, nt.STATUS_SUCCESS, status, "nobody has taken it yet")
	})
	_, err = s.SetEvent(b)
	require.NoError(t, err)
	assert.Equal(t, int32(1), state(t, b))
	_, err = s.SetEvent(a)
	require.NoError(t, err)
	require.NoError(t, within(t, ended))
	assert.Zero(t, state(t, a))
	assert.Zero(t, state(t, b))
	assert.Zero(t, s.waitBlocks())
}

// Many threads take and give pairs of tokens, some together and some one after the other, so that
// every path of a hand-over runs against every other.
func TestTokensAreNeitherLostNorDoubled(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 3})
	const threads, rounds, tokens = 6, 300, 2
	a, b := s.semaphore(tokens, 100), s.semaphore(tokens, 100)
	var inside atomic.Int32
	var done sync.WaitGroup
	for i := range threads {
		done.Add(1)
		_, ended := s.start(func(th *Thread) {
			for n := range rounds {
				take := func(f func() (nt.Status, error)) bool {
					status, err := f()
					assert.NoError(t, err)
					return status != nt.STATUS_TIMEOUT
				}
				limit := Forever
				if n%3 == 0 {
					limit = After(time.Millisecond)
				}
				var ok bool
				if (i+n)%2 == 0 {
					ok = take(func() (nt.Status, error) {
						return th.WaitForMultipleObjects([]guest.Addr{a, b}, true, limit)
					})
				} else {
					ok = take(func() (nt.Status, error) {
						return th.WaitForSingleObject(a,
							limit)
					}) &&
						take(func() (nt.Status, error) {
							return th.WaitForSingleObject(b,
								Forever)
						})
				}
				if !ok {
					continue
				}
				assert.LessOrEqual(t, inside.Add(1), int32(tokens))
				inside.Add(-1)
				for _, x := range []guest.Addr{a, b} {
					_, err := s.ReleaseSemaphore(x, 1)
					assert.NoError(t, err)
				}
			}
		})
		go func() {
			defer done.Done()
			assert.NoError(t, within(t, ended))
		}()
	}
	done.Wait()
	assert.Equal(t, int32(tokens), state(t, a))
	assert.Equal(t, int32(tokens), state(t, b))
	assert.Zero(t, s.waitBlocks())
}

func TestWaitWhereOneMayNot(t *testing.T) {
	for _, c := range []struct {
		name   string
		f      func(s *testSystem, th *Thread)
		code   nt.BugCheck
		param1 uint64
	}{
		{"at DISPATCH_LEVEL with a timeout", func(s *testSystem, th *Thread) {
			e := s.event(nt.NotificationEvent, true)
			th.RaiseIRQL(nt.DISPATCH_LEVEL)
			_, _ = th.WaitForSingleObject(e, After(time.Second))
		}, nt.DRIVER_VERIFIER_DETECTED_VIOLATION, verifierWaitTooHigh},
		{"at DISPATCH_LEVEL without one", func(s *testSystem, th *Thread) {
			e := s.event(nt.NotificationEvent, true)
			th.RaiseIRQL(nt.DISPATCH_LEVEL)
			_, _ = th.WaitForMultipleObjects([]guest.Addr{e}, true, Forever)
		}, nt.DRIVER_VERIFIER_DETECTED_VIOLATION, verifierWaitTooHigh},
		{"a delay at DISPATCH_LEVEL", func(s *testSystem, th *Thread) {
			th.RaiseIRQL(nt.DISPATCH_LEVEL)
			th.Delay(WaitOptions{Timeout: Timeout{Limited: true, Value: -1}})
		}, nt.DRIVER_VERIFIER_DETECTED_VIOLATION, verifierWaitTooHigh},
		{"in a DPC", func(s *testSystem, th *Thread) {
			e := s.event(nt.NotificationEvent, true)
			d := s.dpc(func(th *Thread) { _, _ = th.WaitForSingleObject(e, Forever) })
			_, _ = th.QueueDPC(d, 0, 0)
		}, nt.ATTEMPTED_SWITCH_FROM_DPC, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTestSystem(t, testOptions{})
			err := s.try(func(th *Thread) {
				c.f(s, th)
				t.Error("the wait came back")
			})
			b := s.crash()
			assert.Equal(t, b, err)
			assert.Equal(t, c.code, b.Code)
			if c.param1 != 0 {
				assert.Equal(t, c.param1, b.Params[0])
			}
		})
	}
}
