package ke

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

func BenchmarkEventSetAndWait(b *testing.B) {
	s := newTestSystem(b, testOptions{})
	e := s.event(nt.SynchronizationEvent, false)
	s.do(func(th *Thread) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.SetEvent(e)
			_, _ = th.WaitForSingleObject(e, Forever)
		}
	})
}

func BenchmarkMutex(b *testing.B) {
	s := newTestSystem(b, testOptions{})
	m := s.mutex()
	s.do(func(th *Thread) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = th.WaitForSingleObject(m, Forever)
			_, _ = th.ReleaseMutant(m)
		}
	})
}

func BenchmarkFastMutex(b *testing.B) {
	s := newTestSystem(b, testOptions{})
	m := s.fastMutex()
	s.do(func(th *Thread) {
		b.ReportAllocs()
		for b.Loop() {
			_ = th.AcquireFastMutex(m, false)
			_ = th.ReleaseFastMutex(m, false)
		}
	})
}

func BenchmarkSpinLock(b *testing.B) {
	s := newTestSystem(b, testOptions{})
	l := s.alloc(16)
	s.do(func(th *Thread) {
		b.ReportAllocs()
		for b.Loop() {
			th.RaiseIRQL(nt.DISPATCH_LEVEL)
			_ = th.AcquireSpinLock(l)
			_ = th.ReleaseSpinLock(l)
			th.LowerIRQL(nt.PASSIVE_LEVEL)
		}
	})
}

func BenchmarkTimerSetAndCancel(b *testing.B) {
	s := newTestSystem(b, testOptions{})
	timer := s.newTimer(nt.NotificationTimer)
	s.do(func(th *Thread) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = th.SetTimer(timer, -1<<40, 0, 0)
			_, _ = s.CancelTimer(timer)
		}
	})
}

// Two threads hand an event to and fro; a time is one way.
func BenchmarkEventHandOver(b *testing.B) {
	for name, processors := range map[string]int{"1 processor": 1, "2 processors": 2} {
		b.Run(name, func(b *testing.B) {
			s := newTestSystem(b, testOptions{processors: processors})
			ping, pong := s.event(nt.SynchronizationEvent, false), s.event(nt.SynchronizationEvent,
				false)
			_, ended := s.start(func(th *Thread) {
				for range b.N {
					_, _ = th.WaitForSingleObject(ping, Forever)
					_, _ = s.SetEvent(pong)
				}
			})
			s.blocked(1)
			b.ReportAllocs()
			b.ResetTimer()
			s.do(func(th *Thread) {
				for range b.N {
					_, _ = s.SetEvent(ping)
					_, _ = th.WaitForSingleObject(pong, Forever)
				}
			})
			require.NoError(b, <-ended)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(2*b.N), "ns/way")
		})
	}
}

func BenchmarkDPC(b *testing.B) {
	for name, target := range map[string]int{"same processor": 0, "idle processor": 1} {
		b.Run(name, func(b *testing.B) {
			s := newTestSystem(b, testOptions{processors: 2})
			event := s.event(nt.SynchronizationEvent, false)
			d := s.dpc(func(th *Thread) { _, _ = s.SetEvent(event) })
			require.NoError(b, s.SetDPCTarget(d, target))
			s.do(func(th *Thread) {
				th.SetSystemAffinity(1)
				b.ReportAllocs()
				for b.Loop() {
					_, _ = th.QueueDPC(d, 0, 0)
					_, _ = th.WaitForSingleObject(event, Forever)
				}
			})
		})
	}
}

func BenchmarkDo(b *testing.B) {
	s := newTestSystem(b, testOptions{})
	th, err := s.NewThread(s.SystemProcess)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_ = th.Do(func() {})
	}
}

func BenchmarkWorkItem(b *testing.B) {
	s := newTestSystem(b, testOptions{})
	event := s.event(nt.SynchronizationEvent, false)
	item := s.workItem(0, func(th *Thread) { _, _ = s.SetEvent(event) })
	s.do(func(th *Thread) {
		b.ReportAllocs()
		for b.Loop() {
			_ = s.QueueWorkItem(item, DelayedWorkQueue)
			_, _ = th.WaitForSingleObject(event, Forever)
		}
	})
}

// BenchmarkWaitingThreads reports what a guest thread that waits costs the Go heap and Go's stacks.
func BenchmarkWaitingThreads(b *testing.B) {
	const n = 10_000
	s := newTestSystem(b, testOptions{memory: n*(sizeofEThread+16) + 1<<20})
	e := s.event(nt.NotificationEvent, false)
	wait := s.imported(func(th *Thread) uint64 {
		_, _ = th.WaitForSingleObject(e, Forever)
		return 0
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range n {
		_, err := s.StartSystemThread(s.SystemProcess, func(th *Thread) { th.Call(wait) }, nil)
		require.NoError(b, err)
	}
	s.blocked(n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := after.HeapInuse + after.StackInuse - before.HeapInuse - before.StackInuse
	for b.Loop() {
	}
	b.ReportMetric(float64(used)/n, "B/thread")
}
