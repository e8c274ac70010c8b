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

func TestDPCRunsWhereAndWhenItShould(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 2})
	ran := 0
	var d guest.Addr
	d = s.dpc(func(th *Thread) {
		ran++
		assert.Equal(t, nt.DISPATCH_LEVEL, th.IRQL())
		assert.True(t, th.InDPC())
		assert.Equal(t, []uint64{uint64(d), 0x1234, 5, 6}, []uint64{arg(th, 0), arg(th, 1), arg(th,
			2), arg(th, 3)})
		queued, err := guest.Load64(d + dpcData)
		assert.NoError(t, err)
		assert.Zero(t, queued, "it may be queued again while it runs")
	})
	queue := func(th *Thread) bool {
		queued, err := th.QueueDPC(d, 5, 6)
		assert.NoError(t, err)
		return queued
	}
	s.do(func(th *Thread) {
		assert.True(t, queue(th))
		assert.Equal(t, 1, ran, "at once, below DISPATCH_LEVEL")
		th.RaiseIRQL(nt.DISPATCH_LEVEL)
		assert.True(t, queue(th))
		assert.False(t, queue(th), "it is queued already")
		assert.Equal(t, 1, ran)
		th.RaiseIRQL(nt.HIGH_LEVEL)
		th.LowerIRQL(nt.DISPATCH_LEVEL)
		assert.Equal(t, 1, ran)
		th.LowerIRQL(nt.APC_LEVEL)
		assert.Equal(t, 2, ran, "when the IRQL goes below DISPATCH_LEVEL")
		assert.Equal(t, nt.APC_LEVEL, th.IRQL())
		assert.Equal(t, th.Object, th.proc.pcr.Prcb.CurrentThread)
		assert.Same(t, th, th.proc.held.Load())
		th.RaiseIRQL(nt.DISPATCH_LEVEL)
		queue(th)
		removed, err := s.RemoveDPC(d)
		assert.NoError(t, err)
		assert.True(t, removed)
		removed, err = s.RemoveDPC(d)
		assert.NoError(t, err)
		assert.False(t, removed)
		th.LowerIRQL(nt.PASSIVE_LEVEL)
		assert.Equal(t, 2, ran)
	})
}

func TestDPCOrder(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 1})
	var order []int
	dpcs := make([]guest.Addr, 5)
	for i := range dpcs {
		dpcs[i] = s.dpc(func(th *Thread) {
			order = append(order, i)
			if i == 0 && len(order) < 5 { // one that queues itself goes to the end
				_, err := th.QueueDPC(dpcs[0], 0, 0)
				assert.NoError(t, err)
			}
		})
	}
	require.NoError(t, SetDPCImportance(dpcs[3], nt.HighImportance))
	require.NoError(t, SetDPCImportance(dpcs[4], nt.HighImportance))
	s.do(func(th *Thread) {
		th.RaiseIRQL(nt.DISPATCH_LEVEL)
		for _, d := range dpcs {
			_, err := th.QueueDPC(d, 0, 0)
			assert.NoError(t, err)
		}
		th.LowerIRQL(nt.PASSIVE_LEVEL)
	})
	assert.Equal(t, []int{4, 3, 0, 1, 2, 0}, order)
}

func TestDPCOnOtherProcessors(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 3})
	ran := make(chan int, 1)
	d := s.dpc(func(th *Thread) { ran <- th.Processor().Number() })
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, s.SetDPCTarget(d, 3))
	require.NoError(t, s.SetDPCTarget(d, 2))
	queue := func(th *Thread) {
		_, err := th.QueueDPC(d, 0, 0)
		assert.NoError(t, err)
	}
	t.Run("that are idle", func(t *testing.T) {
		s.do(func(th *Thread) {
			th.SetSystemAffinity(1)
			queue(th)
			assert.Equal(t, 2, within(t, ran))
		})
	})
	t.Run("on which a thread computes", func(t *testing.T) {
		spin, flag := s.spinUntil(), s.alloc(16)
		spinning := make(chan struct{})
		_, ended := s.start(func(th *Thread) {
			th.SetSystemAffinity(1 << 2)
			close(spinning)
			th.Call(spin, uint64(flag))
			assert.Equal(t, nt.PASSIVE_LEVEL, th.IRQL())
		})
		within(t, spinning)
		s.do(func(th *Thread) {
			th.SetSystemAffinity(1)
			for range 20 {
				queue(th)
				assert.Equal(t, 2, within(t, ran))
			}
		})
		require.NoError(t, guest.Store8(flag, 1))
		require.NoError(t, within(t, ended))
	})
	t.Run("on which a thread is at DISPATCH_LEVEL", func(t *testing.T) {
		spin, flag := s.spinUntil(), s.alloc(16)
		spinning := make(chan struct{})
		_, ended := s.start(func(th *Thread) {
			th.SetSystemAffinity(1 << 2)
			th.RaiseIRQL(nt.DISPATCH_LEVEL)
			close(spinning)
			th.Call(spin, uint64(flag))
			assert.Empty(t, ran)
			th.LowerIRQL(nt.PASSIVE_LEVEL)
			assert.Equal(t, 2, within(t, ran))
		})
		within(t, spinning)
		s.do(func(th *Thread) {
			th.SetSystemAffinity(1)
			queue(th)
			time.Sleep(2 * time.Millisecond)
		})
		require.NoError(t, guest.Store8(flag, 1))
		require.NoError(t, within(t, ended))
	})
}

// Threads take, lower and give up processors in all ways while DPCs are queued at them from
// outside: none may be left in a queue.
func TestNoDPCIsLost(t *testing.T) {
	const processors, rounds = 2, 4000
	s := newTestSystem(t, testOptions{processors: processors})
	quick := s.function(0xC3) // ret
	var stop atomic.Bool
	var busy sync.WaitGroup
	for i := range 3 {
		busy.Add(1)
		go func() {
			defer busy.Done()
			assert.NoError(t, s.try(func(th *Thread) {
				for n := i; !stop.Load(); n++ {
					switch n % 5 {
					case 0:
						th.RaiseIRQL(nt.DISPATCH_LEVEL)
						th.Call(quick)
						th.LowerIRQL(nt.PASSIVE_LEVEL)
					case 1:
						th.Call(quick)
					case 2:
						th.Reschedule()
					case 3:
						th.Delay(WaitOptions{Timeout: Timeout{Limited: true, Value: -1}})
					}
					th.checkEnded()
				}
			}))
		}()
	}
	ran := make(chan struct{}, 1)
	for n := range rounds {
		s.procs[n%processors].enqueueDPC(queuedDPC{work: func(*Thread) { ran <- struct{}{} }},
			false, nil)
		within(t, ran)
	}
	stop.Store(true)
	busy.Wait()
	s.quiet()
}

func TestFlushWaitsForRunningDPCs(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 2})
	var begun, ended atomic.Bool
	started := make(chan struct{})
	d := s.dpc(func(th *Thread) {
		begun.Store(true)
		close(started)
		time.Sleep(5 * time.Millisecond)
		ended.Store(true)
	})
	require.NoError(t, s.SetDPCTarget(d, 1))
	s.do(func(th *Thread) {
		th.SetSystemAffinity(1)
		_, err := th.QueueDPC(d, 0, 0)
		assert.NoError(t, err)
		within(t, started)
		th.FlushDPCs()
		assert.True(t, ended.Load())
		th.FlushDPCs()
	})
}

func TestDPCMisuse(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(s *testSystem, th *Thread)
		code nt.BugCheck
	}{
		{"a routine that returns at another IRQL", func(s *testSystem, th *Thread) {
			d := s.dpc(func(th *Thread) { th.RaiseIRQL(nt.HIGH_LEVEL) })
			_, _ = th.QueueDPC(d, 0, 0)
		}, nt.IRQL_UNEXPECTED_VALUE},
		{"initialised while it is queued", func(s *testSystem, th *Thread) {
			d := s.dpc(func(th *Thread) { s.t.Error("ran") })
			th.RaiseIRQL(nt.DISPATCH_LEVEL)
			_, _ = th.QueueDPC(d, 0, 0)
			assert.NoError(s.t, InitializeDPC(d, 0x1000, 0, false))
			th.LowerIRQL(nt.PASSIVE_LEVEL)
		}, nt.TIMER_OR_DPC_INVALID},
		{"freed while it is queued", func(s *testSystem, th *Thread) {
			region, err := s.Space.AllocSystem(guest.PageSize, guest.ProtRW, "a DPC")
			assert.NoError(s.t, err)
			assert.NoError(s.t, InitializeDPC(region.Base(), 0x1000, 0, false))
			th.RaiseIRQL(nt.DISPATCH_LEVEL)
			_, _ = th.QueueDPC(region.Base(), 0, 0)
			assert.NoError(s.t, region.Free())
			th.LowerIRQL(nt.PASSIVE_LEVEL)
		}, nt.TIMER_OR_DPC_INVALID},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTestSystem(t, testOptions{processors: 1})
			require.Error(t, s.try(func(th *Thread) {
				c.f(s, th)
				t.Error("it went on")
			}))
			assert.Equal(t, c.code, s.crash().Code)
		})
	}
	t.Run("a crash in a DPC of an idle processor", func(t *testing.T) {
		s := newTestSystem(t, testOptions{processors: 2})
		crash := func(th *Thread) { th.Bugcheck(nt.MANUALLY_INITIATED_CRASH, 1, 2, 3, 4) }
		s.procs[1].enqueueDPC(queuedDPC{work: crash}, false, nil)
		b := s.crash()
		assert.Equal(t, [4]uint64{1, 2, 3, 4}, b.Params)
		assert.Equal(t, 1, b.Processor)
		assert.Equal(t, nt.DISPATCH_LEVEL, b.IRQL)
	})
}

func TestDPCThatNeverEnds(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 2})
	s.dpcLimit = 40 * time.Millisecond
	var ran atomic.Int32
	quick := s.dpc(func(th *Thread) { ran.Add(1) })
	stuck := s.alloc(sizeofKDPC)
	require.NoError(t, InitializeDPC(stuck, s.forever(), 0, false))
	require.NoError(t, s.SetDPCTarget(stuck, 1))
	s.do(func(th *Thread) {
		th.SetSystemAffinity(1)
		for range 10 {
			_, err := th.QueueDPC(quick, 0, 0)
			assert.NoError(t, err)
			th.Delay(WaitOptions{Timeout: Timeout{Limited: true, Value: -50_000}})
		}
		assert.EqualValues(t, 10, ran.Load(), "many short ones are no harm")
		_, err := th.QueueDPC(stuck, 0, 0)
		assert.NoError(t, err)
	})
	b := s.crash()
	assert.Equal(t, nt.DPC_WATCHDOG_VIOLATION, b.Code)
	ticks := uint64(s.dpcLimit / (TimeIncrement * 100))
	assert.Equal(t, [4]uint64{0, ticks, ticks, 0}, b.Params)
}
