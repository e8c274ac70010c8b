package driverhost_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/pe"
)

// benchIOCTL times one IOCTL of bench.sys with n bytes each way. On a machine that does other things
// too, the metric ns-p10 is the one to look at: what a call takes in the tenth of the time that is
// disturbed least.
func benchIOCTL(b *testing.B, code uint32, n int) {
	h := drivertest.Load(b, fixture(b, "bench"))
	f := drivertest.Open(b, h, `\\.\BenchDrv`)
	in, out := make([]byte, n), make([]byte, n)
	ctx := context.Background()
	const batch = 64
	var times []time.Duration
	b.ReportAllocs()
	for i, start := 0, time.Now(); b.Loop(); i++ {
		r, err := f.DeviceIoControlEx(ctx, code, in, out)
		if err != nil || r.Status != nt.STATUS_SUCCESS {
			b.Fatal(err, r.Status)
		}
		if i%batch == batch-1 && len(times) < cap(times) {
			now := time.Now()
			times = append(times, now.Sub(start))
			start = now
		} else if times == nil {
			times = make([]time.Duration, 0, 1<<16)
			start = time.Now()
		}
	}
	if len(times) > 0 {
		slices.Sort(times)
		b.ReportMetric(float64(times[len(times)/10].Nanoseconds())/batch, "ns-p10")
	}
}

func BenchmarkIOCTLNull(b *testing.B)    { benchIOCTL(b, fixtures.IOCTL_BENCH_NULL, 0) }
func BenchmarkIOCTL64(b *testing.B)      { benchIOCTL(b, fixtures.IOCTL_BENCH_ECHO, 64) }
func BenchmarkIOCTL1M(b *testing.B)      { benchIOCTL(b, fixtures.IOCTL_BENCH_ECHO, 1<<20) }
func BenchmarkIOCTLNeither(b *testing.B) { benchIOCTL(b, fixtures.IOCTL_BENCH_ECHO_NEI, 64) }
func BenchmarkIOCTLDirect(b *testing.B)  { benchIOCTL(b, fixtures.IOCTL_BENCH_ECHO_OUTD, 4096) }

func BenchmarkOpenClose(b *testing.B) {
	h := drivertest.Load(b, fixture(b, "bench"))
	b.ReportAllocs()
	for b.Loop() {
		f, err := h.Open(`\\.\BenchDrv`, driverhost.OpenOptions{})
		require.NoError(b, err)
		require.NoError(b, f.Close())
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		h, err := driverhost.New(driverhost.Options{})
		require.NoError(b, err)
		_, err = h.Close()
		require.NoError(b, err)
	}
}

func BenchmarkLoad(b *testing.B) {
	path := fixture(b, "bench")
	b.Run("file", func(b *testing.B) {
		h := drivertest.New(b)
		for b.Loop() {
			d, err := h.Load(path)
			require.NoError(b, err)
			_, err = h.Unload(d)
			require.NoError(b, err)
		}
	})
	b.Run("image", func(b *testing.B) {
		h := drivertest.New(b)
		img, err := pe.ParseFile(path)
		require.NoError(b, err)
		for b.Loop() {
			d, err := h.LoadImage(img, "bench")
			require.NoError(b, err)
			_, err = h.Unload(d)
			require.NoError(b, err)
		}
	})
	b.Run("new load close", func(b *testing.B) {
		for b.Loop() {
			h, err := driverhost.New(driverhost.Options{})
			require.NoError(b, err)
			_, err = h.Load(path)
			require.NoError(b, err)
			_, err = h.Close()
			require.NoError(b, err)
		}
	})
}

// BenchmarkFilters times an IOCTL without data through three filters with completion routines, and
// reports its ratio to one without the filters as x-floor.
func BenchmarkFilters(b *testing.B) {
	data, err := fixtures.Bytes("above")
	require.NoError(b, err)
	least := func(filters int) float64 {
		reg := "Windows Registry Editor Version 5.00\n"
		for i := range filters {
			reg += fmt.Sprintf("[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\above%d]\n"+
				"\"Target\"=\"\\\\Device\\\\BenchDrv\"\n", i)
		}
		h := drivertest.New(b, drivertest.Reg(b, reg))
		drivertest.LoadInto(b, h, fixture(b, "bench"))
		for i := range filters {
			img, err := pe.Parse(fmt.Sprintf("above%d.sys", i), data)
			require.NoError(b, err)
			_, err = h.LoadImage(img, fmt.Sprint("above", i))
			require.NoError(b, err)
		}
		f := drivertest.Open(b, h, `\\.\BenchDrv`)
		const rounds = 2000
		least := time.Duration(0)
		for range 200 {
			start := time.Now()
			for range rounds {
				if _, err := f.DeviceIoControl(b.Context(), fixtures.IOCTL_BENCH_NULL, nil, nil); err != nil {
					b.Fatal(err)
				}
			}
			if d := time.Since(start); least == 0 || d < least {
				least = d
			}
		}
		return float64(least.Nanoseconds()) / rounds
	}
	for b.Loop() {
		three, none := least(3), least(0)
		b.ReportMetric(three, "ns")
		b.ReportMetric(three/none, "x-floor")
	}
}
