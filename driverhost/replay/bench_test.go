package replay_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/driverhost/replay"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/irp/trace"
	"github.com/drvhost/drvhost/nt"
)

// many makes a session of n IOCTLs with 64 bytes each way.
func many(n int) []byte {
	var text bytes.Buffer
	w := trace.NewWriter(&text, nil, trace.Header{})
	data := bytes.Repeat([]byte("sixteen letters."), 4)
	file := w.Open(&trace.Open{Name: "BenchDrv", Access: 0x12019F, Share: 3, Disposition: 1,
		Options: 0x60, Attributes: 0x80, Client: trace.Client{PID: 2, Program: "many"}})
	w.Opened(file, nt.STATUS_SUCCESS, 0)
	for range n {
		id := w.Request(&trace.Request{File: file, Major: nt.IRP_MJ_DEVICE_CONTROL,
			Code: fixtures.IOCTL_BENCH_ECHO, Offset: trace.FilePosition, In: data, OutSize: len(data)})
		w.Result(&trace.Result{ID: id, Information: uint64(len(data)), Out: data})
	}
	w.Closing(file)
	w.Closed(file)
	_ = w.Close() // to memory
	return text.Bytes()
}

// BenchmarkReplay replays 100,000 IOCTLs, and reports what one takes as ns, how much of that reading the
// trace is as ns-read, and the ratio of ns to the same IOCTL made in a loop as x-floor.
func BenchmarkReplay(b *testing.B) {
	const n = 100_000
	text := many(n)
	path, err := fixtures.Path("bench")
	require.NoError(b, err)
	h := drivertest.Load(b, path)
	f := drivertest.Open(b, h, `\\.\BenchDrv`)
	data := make([]byte, 64)
	least := func(old time.Duration, do func()) time.Duration {
		start := time.Now()
		do()
		if d := time.Since(start); old == 0 || d < old {
			return d
		}
		return old
	}
	var floor, read, whole time.Duration
	for range b.N {
		floor = least(floor, func() {
			for range n {
				if _, err := f.DeviceIoControl(b.Context(), fixtures.IOCTL_BENCH_ECHO, data, data); err != nil {
					b.Fatal(err)
				}
			}
		})
		var r *replay.Report
		whole = least(whole, func() {
			var t *trace.Trace
			read = least(read, func() { t, err = trace.Parse("many", text, nil) })
			require.NoError(b, err)
			r = replay.Run(b.Context(), h, t, replay.Options{})
		})
		require.True(b, r.Clean(), r.Summary())
	}
	b.ReportMetric(float64(whole.Nanoseconds())/n, "ns")
	b.ReportMetric(float64(read.Nanoseconds())/n, "ns-read")
	b.ReportMetric(float64(whole)/float64(floor), "x-floor")
	b.ReportMetric(n/whole.Seconds(), "requests/s")
}
