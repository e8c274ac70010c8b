// Benchmarks: what the engine costs, as a ratio to a floor that is measured in the same run.

package native

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/engine/native/internal/floor"
)

// versus times work against bare in turns and reports the ratio of their medians, and each one's
// median in ns. Each is called with a number of rounds.
func versus(b *testing.B, work, bare func(rounds int)) {
	rounds := min(b.N, 500)
	batches := max(b.N/rounds, 1)
	time1 := func(f func(int)) float64 {
		start := time.Now()
		f(rounds)
		return float64(time.Since(start)) / float64(rounds)
	}
	var w, f []float64
	b.ResetTimer()
	for range batches {
		w = append(w, time1(work))
		f = append(f, time1(bare))
	}
	b.StopTimer()
	slices.Sort(w)
	slices.Sort(f)
	median := func(s []float64) float64 { return s[len(s)/2] }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(w), "ns")
	b.ReportMetric(median(f), "floor-ns")
	b.ReportMetric(median(w)/median(f), "x-floor")
	b.ReportMetric(w[len(w)/10]/f[len(f)/10], "x-floor-p10")
	b.ReportMetric(w[len(w)/10], "ns-p10")
}

// BenchmarkImportCall is a call of an import, to Go and back. Its floor is a bare coroutine switch
// there and back, within the runtime's brackets as well.
func BenchmarkImportCall(b *testing.B) {
	cpu := newCPU(b)
	g := newCode(b, cpu, callLoop())
	c := newThread(b, cpu)
	pair, err := floor.NewPair()
	require.NoError(b, err)
	defer pair.Close()
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
