package ke

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func setTimer(t testing.TB, th *Thread, timer guest.Addr, due time.Duration, period uint32,
	dpc guest.Addr) bool {
	t.Helper()
	was, err := th.SetTimer(timer, -int64(due/100), period, dpc)
	require.NoError(t, err)
	return was
}

func isInserted(t testing.TB, timer guest.Addr) bool {
	t.Helper()
	v, err := guest.Load8(timer + timerInserted)
	require.NoError(t, err)
	return v&inserted != 0
}

func TestTimerExpires(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	for _, typ := range []nt.TimerType{nt.NotificationTimer, nt.SynchronizationTimer} {
		timer := s.newTimer(typ)
		s.do(func(th *Thread) {
			start := time.Now()
			assert.False(t, setTimer(t, th, timer, 5*time.Millisecond, 0, 0))
			assert.Zero(t, state(t, timer))
			assert.True(t, isInserted(t, timer))
			await(t, th, timer)
			assert.GreaterOrEqual(t, time.Since(start), 5*time.Millisecond)
			assert.False(t, isInserted(t, timer))
			assert.Equal(t, typ == nt.NotificationTimer, state(t, timer) == 1)
			was, err := s.CancelTimer(timer)
			assert.NoError(t, err)
			assert.False(t, was, "it has expired")
			setTimer(t, th, timer, time.Hour, 0, 0)
			assert.Zero(t, state(t, timer), "setting it resets it")
			assert.True(t, setTimer(t, th, timer, time.Hour, 0, 0), "it was set")
			was, err = s.CancelTimer(timer)
			assert.NoError(t, err)
			assert.True(t, was)
		})
	}
}

func TestTimerInThePastExpiresAtOnce(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	ran := make(chan struct{}, 3)
	d := s.dpc(func(th *Thread) { ran <- struct{}{} })
	timer := s.newTimer(nt.NotificationTimer)
	s.do(func(th *Thread) {
		for _, due := range []int64{0, 1, s.SystemTime() - 1} {
			_, err := th.SetTimer(timer, due, 0, d)
			assert.NoError(t, err)
			assert.Equal(t, int32(1), state(t, timer))
			within(t, ran)
		}
		_, err := th.SetTimer(timer, s.SystemTime()+50_000, 0, d)
		assert.NoError(t, err)
		assert.Zero(t, state(t, timer))
		within(t, ran)
	})
}

func TestPeriodicTimer(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	var ran atomic.Int32
	d := s.dpc(func(th *Thread) { ran.Add(1) })
	timer := s.newTimer(nt.SynchronizationTimer)
	s.do(func(th *Thread) {
		setTimer(t, th, timer, time.Millisecond, 1, d)
		for range 5 {
			await(t, th, timer)
		}
		assert.True(t, isInserted(t, timer))
		was, err := s.CancelTimer(timer)
		assert.NoError(t, err)
		assert.True(t, was)
		th.FlushDPCs()
		n := ran.Load()
		assert.GreaterOrEqual(t, n, int32(1))
		th.Delay(WaitOptions{Timeout: Timeout{Limited: true, Value: -50_000}})
		assert.Equal(t, n, ran.Load(), "cancelled")
	})
}

func TestTimersExpireInOrder(t *testing.T) {
	s := newTestSystem(t, testOptions{memory: 4 << 20})
	const n = 200
	timers := make([]guest.Addr, n)
	for i := range timers {
		timers[i] = s.newTimer(nt.NotificationTimer)
	}
	s.do(func(th *Thread) {
		for i := range timers {
			k := (i * 77) % n
			setTimer(t, th, timers[k], time.Duration(k)*50*time.Microsecond+time.Millisecond, 0, 0)
		}
		for i := 3; i < n; i += 7 {
			_, err := s.CancelTimer(timers[i])
			assert.NoError(t, err)
		}
		for i := range timers {
			if i%7 != 3 {
				await(t, th, timers[i])
			} else {
				assert.Zero(t, state(t, timers[i]))
			}
		}
	})
	assert.Empty(t, s.timers.heap)
	assert.Empty(t, s.timers.set)
}

func TestTimerMisuse(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(s *testSystem, th *Thread)
	}{
		{"freed while it is set", func(s *testSystem, th *Thread) {
			region, err := s.Space.AllocSystem(guest.PageSize, guest.ProtRW, "a timer")
			assert.NoError(s.t, err)
			assert.NoError(s.t, s.InitializeTimer(region.Base(), nt.NotificationTimer))
			setTimer(s.t, th, region.Base(), time.Millisecond, 0, 0)
			assert.NoError(s.t, s.CheckFree(region.Base()-8, 8))
			assert.Error(s.t, s.CheckFree(region.Base()-8, 16))
			assert.Error(s.t, s.CheckFree(region.Base()-8, 4096))
			assert.NoError(s.t, region.Free())
		}},
		{"overwritten while it is set", func(s *testSystem, th *Thread) {
			timer := s.newTimer(nt.NotificationTimer)
			setTimer(s.t, th, timer, time.Millisecond, 0, 0)
			assert.NoError(s.t, guest.Fill(timer, 0xCC, sizeofKTimer))
		}},
		{"its DPC freed while it is set", func(s *testSystem, th *Thread) {
			region, err := s.Space.AllocSystem(guest.PageSize, guest.ProtRW, "a DPC")
			assert.NoError(s.t, err)
			assert.NoError(s.t, InitializeDPC(region.Base(), 0x1000, 0, false))
			setTimer(s.t, th, s.newTimer(nt.NotificationTimer), time.Millisecond, 0, region.Base())
			assert.NoError(s.t, region.Free())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTestSystem(t, testOptions{})
			assert.NoError(t, s.try(func(th *Thread) { c.f(s, th) }))
			assert.Equal(t, nt.TIMER_OR_DPC_INVALID, s.crash().Code)
		})
	}
	t.Run("initialised while it is set", func(t *testing.T) {
		s := newTestSystem(t, testOptions{})
		s.do(func(th *Thread) {
			timer := s.newTimer(nt.NotificationTimer)
			setTimer(t, th, timer, time.Hour, 0, 0)
			var e *timerError
			require.ErrorAs(t, s.InitializeTimer(timer, nt.NotificationTimer), &e)
			code, _ := e.BugCheck()
			assert.Equal(t, nt.TIMER_OR_DPC_INVALID, code)
		})
	})
}

func TestClocks(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	i, c, ticks, system := s.InterruptTime(), s.PerformanceCounter(), s.TickCount(), s.SystemTime()
	time.Sleep(20 * time.Millisecond)
	assert.GreaterOrEqual(t, s.InterruptTime()-i, uint64(200_000))
	assert.GreaterOrEqual(t, s.PerformanceCounter()-c, int64(200_000))
	assert.GreaterOrEqual(t, s.TickCount()-ticks, uint64(1))
	assert.GreaterOrEqual(t, s.SystemTime()-system, int64(190_000))
	const y2020, y2100 = 132223104000000000, 157469184000000000
	assert.Greater(t, system, int64(y2020))
	assert.Less(t, system, int64(y2100))
	s.do(func(th *Thread) {
		start := time.Now()
		th.Stall(500)
		th.Stall(5000)
		assert.GreaterOrEqual(t, time.Since(start), 5500*time.Microsecond)
	})
}
