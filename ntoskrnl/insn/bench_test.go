// Benchmarks: what emulation costs, beside the signal round trip that it needs.

package insn

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
)

// BenchmarkEmulate is the emulation alone, with the instruction in the cache.
func BenchmarkEmulate(b *testing.B) {
	for _, bb := range []struct{ name, code string }{
		{"mov rax, cr8", "44 0F 20 C0"},
		{"mov rax, [served]", "48 8B 01"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := newRig(b)
			r.put(bb.code)
			rip, f := r.c.RIP, generalProtection()
			r.c.GPR[engine.RCX] = served
			b.ReportAllocs()
			for b.Loop() {
				r.c.RIP = rip
				if !Emulate(r.c, f, r.m) {
					b.Fatal("not done")
				}
			}
		})
	}
}

// BenchmarkFault is an emulated instruction in guest code, faults and all. Its floor is the bare
// signal round trip: the same fault, with the instruction skipped and nothing else done.
func BenchmarkFault(b *testing.B) {
	for _, bb := range []struct {
		name, code string // L: …; jmp L
		length     uint64
	}{
		{"mov rax, cr8", "44 0F 20 C0 EB FA", 4},
		{"mov rax, [served]", "48 8B 01 EB FB", 3},
		{"movups xmm0, [served]", "0F 10 01 EB FB", 3},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := newRig(b)
			r.put(bb.code)
			r.c.GPR[engine.RCX] = served
			measure := func(rounds int, handle func()) float64 {
				start := time.Now()
				for range rounds {
					if r.cpu.Run(r.c) != engine.ExitFault {
						b.Fatal("not a fault")
					}
					handle()
				}
				return float64(time.Since(start)) / float64(rounds)
			}
			const rounds = 200
			var work, floor []float64
			for b.Loop() {
				work = append(work, measure(rounds, func() {
					if !Emulate(r.c, &r.c.Fault, r.m) {
						b.Fatal("not done")
					}
				}))
				floor = append(floor, measure(rounds, func() { r.c.RIP += bb.length }))
			}
			slices.Sort(work)
			slices.Sort(floor)
			w, f := work[len(work)/2], floor[len(floor)/2]
			require.Positive(b, f)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(w, "ns")
			b.ReportMetric(f, "floor-ns")
			b.ReportMetric(w/f, "x-floor")
		})
	}
}
