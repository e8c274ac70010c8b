// Benchmarks: what the engine costs, as a ratio to a floor that is measured in the same run.

package native

import (
	"math"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/engine/native/internal/floor"
)

// versus times work against bare in turns, in short batches, so that few of them are disturbed by
// what else the machine does. It reports the median of each in ns and their ratio; and the ratio of
// the fastest tenths, which on a busy machine is the better one.
func versus(b *testing.B, work, bare func(rounds int)) {
	rounds := min(b.N, 500)
	batches := max(b.N/rounds, 1)
	each := func(f func(int)) float64 {
		start := time.Now()
		f(rounds)
		return float64(time.Since(start)) / float64(rounds)
	}
	var works, bares []float64
	b.ResetTimer()
	for range batches {
		works = append(works, each(work))
		bares = append(bares, each(bare))
	}
	b.StopTimer()
	slices.Sort(works)
	slices.Sort(bares)
	middle, tenth := batches/2, batches/10
	b.ReportMetric(0, "ns/op") // of both together: says nothing
	b.ReportMetric(works[middle], "ns")
	b.ReportMetric(bares[middle], "floor-ns")
	b.ReportMetric(works[middle]/bares[middle], "x-floor")
	b.ReportMetric(works[tenth]/bares[tenth], "x-floor-p10")
}

// BenchmarkImportCall is a call of an import, to Go and back. Its floor is a bare coroutine switch
// there and back, within the runtime's brackets as well.
func BenchmarkImportCall(b *testing.B) {
	cpu := newCPU(b)
	g := newCode(b, cpu, callLoop())
	c := newThread(b, cpu)
	pair, err := floor.NewPair()
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, pair.Close()) })
	var s engine.Saved
	require.NoError(b, c.PushCall(&s, g.trampoline, g.base, 0, math.MaxInt64))
	versus(b, func(rounds int) {
		for range rounds {
			if cpu.Run(c) != engine.ExitCall {
				b.Fatal("not a call")
			}
		}
	}, func(rounds int) {
		for range rounds {
			bareSwitch(pair)
		}
	})
}

//go:nosplit
func bareSwitch(p *floor.Pair) {
	entersyscall()
	floor.Swap(p)
	exitsyscall()
}

// BenchmarkFault is a fault in the guest, Go that looks at it, and the resume. Its floor is a bare
// signal there and back: a breakpoint with an empty handler.
func BenchmarkFault(b *testing.B) {
	eng := newCPU(b)
	g := newCode(b, eng, listing(`
		CC     int3    ; again:
		EB FD  jmp again`))
	c := newThread(b, eng)
	var s engine.Saved
	g.push(b, c, &s)
	versus(b, func(rounds int) {
		for range rounds {
			if eng.Run(c) != engine.ExitFault {
				b.Fatal("not a fault")
			}
		}
	}, func(rounds int) {
		restore, err := floor.HandleTraps()
		require.NoError(b, err)
		for range rounds {
			floor.Trap()
		}
		require.NoError(b, restore())
	})
}

// BenchmarkNestedCall is a guest call from Go, on a thread that is in an import call. Its floor is
// that of an import call.
func BenchmarkNestedCall(b *testing.B) {
	eng := newCPU(b)
	outer, inner := newCode(b, eng, callLoop()), newCode(b, eng, listing(`C3  ret`))
	c := newThread(b, eng)
	pair, err := floor.NewPair()
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, pair.Close()) })
	var s engine.Saved
	outer.push(b, c, &s, 1)
	require.Equal(b, engine.ExitCall, eng.Run(c))
	versus(b, func(rounds int) {
		for i := range rounds {
			var saved engine.Saved
			if c.PushCall(&saved, inner.trampoline, inner.base, 0, uint64(i), 2, 3, 4) != nil {
				b.Fatal("no room")
			}
			if eng.Run(c) != engine.ExitReturn {
				b.Fatal("not a return")
			}
			c.PopCall(&saved)
		}
	}, func(rounds int) {
		for range rounds {
			bareSwitch(pair)
		}
	})
}

// BenchmarkKick is the time from Kick to the moment when Run has returned on another thread. It has
// no floor: most of it is the wake-up of a thread on another CPU.
func BenchmarkKick(b *testing.B) {
	eng := newCPU(b)
	g := newCode(b, eng, spin())
	c := newThread(b, eng)
	var s engine.Saved
	g.push(b, c, &s)
	var kicked time.Time
	ready := make(chan struct{})
	go func() {
		for range ready {
			for c.Thread() == 0 {
				runtime.Gosched()
			}
			kicked = time.Now()
			eng.Kick(c)
		}
	}()
	var took []time.Duration
	for b.Loop() {
		ready <- struct{}{}
		if eng.Run(c) != engine.ExitKick {
			b.Fatal("not a kick")
		}
		took = append(took, time.Since(kicked))
		c.ClearKick()
	}
	close(ready)
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(took[len(took)/2]), "ns-p50")
	b.ReportMetric(float64(took[len(took)*99/100]), "ns-p99")
}
