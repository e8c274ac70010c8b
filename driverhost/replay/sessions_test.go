package replay_test

import (
	"context"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/driverhost/replay"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/irp/trace"
	"github.com/drvhost/drvhost/nt"
)

// The fixtures' sessions: what clients do with them, recorded in fixtures/sessions and replayed here.

var recordSessions = flag.Bool("record", false, "record fixtures/sessions anew")

const sessions = "../../fixtures/sessions"

func TestMain(m *testing.M) {
	replay.Init()
	os.Exit(m.Run())
}

// opener opens a device for a script.
type opener func(name string, opts ...client.Option) *client.File

// scripts are what clients do, by the driver that they do it with.
var scripts = map[string]struct {
	below []string // drivers to load first
	masks []trace.Mask
	run   func(t *testing.T, open opener)
}{
	"echo": {masks: []trace.Mask{{What: trace.MaskOut, HasOp: true, Op: nt.IRP_MJ_DEVICE_CONTROL,
		HasCode: true, Code: fixtures.IOCTL_ECHO_FACTS,
		Why: "addresses, the thread, the process and the time"}}, run: echoSession},
	"bench": {run: benchSession},
	"fastio": {masks: []trace.Mask{{What: trace.MaskOut, HasOp: true, Op: nt.IRP_MJ_DEVICE_CONTROL,
		HasCode: true, Code: 0x222000, Why: "addresses among what the driver saw"}},
		run: fastioSession},
	"filter":  {below: []string{"echo"}, run: filterSession},
	"cancel":  {run: cancelSession},
	"csq":     {run: csqSession},
	"startio": {run: startIoSession},
	"status":  {run: statusSession},
	"noun":    {run: func(t *testing.T, open opener) { require.NoError(t, open(`\\.\Noun`).Close()) }},
}

// control does an IOCTL, whatever comes of it.
func control(t *testing.T, f *client.File, code uint32, in []byte, out int) client.Result {
	t.Helper()
	r, err := f.DeviceIoControlEx(context.Background(), code, in, make([]byte, out))
	require.NoError(t, err)
	return r
}

func echoSession(t *testing.T, open opener) {
	f := open(`\\.\Echo`)
	_, err := f.WriteAt([]byte("written before it is read"), 4)
	require.NoError(t, err)
	_, _ = f.ReadAt(make([]byte, 64), 0)
	for _, code := range []uint32{fixtures.IOCTL_ECHO_BUFFERED, fixtures.IOCTL_ECHO_IN_DIRECT,
		fixtures.IOCTL_ECHO_OUT_DIRECT, fixtures.IOCTL_ECHO_NEITHER, fixtures.IOCTL_ECHO_PEND_WORK} {
		control(t, f, code, []byte("over and back, \x00 and all"), 64)
		control(t, f, code, nil, 8)
		control(t, f, code, []byte(strings.Repeat("long ", 2000)), 10000)
	}
	for _, s := range []nt.Status{nt.STATUS_SUCCESS, nt.STATUS_MORE_ENTRIES, nt.STATUS_BUFFER_OVERFLOW,
		nt.STATUS_ACCESS_DENIED, 0xE0001234} {
		for how := range uint32(2) {
			in := binary.LittleEndian.AppendUint32(nil, uint32(s))
			in = binary.LittleEndian.AppendUint32(in, how)
			in = binary.LittleEndian.AppendUint64(in, 8)
			in = append(in, "answered"...)
			control(t, f, fixtures.IOCTL_ECHO_STATUS, in, 16)
		}
	}
	control(t, f, fixtures.IOCTL_ECHO_FACTS, nil, fixtures.EchoFactsSize)
	control(t, f, 0x22FFFC, nil, 8)
	second := open(`\\.\Echo`, client.Overlapped())
	forever := second.Begin(&client.Request{Major: nt.IRP_MJ_DEVICE_CONTROL,
		Code: fixtures.IOCTL_ECHO_PEND_FOREVER, Out: make([]byte, 8)})
	for { // until the request is under way
		out := make([]byte, fixtures.EchoCountsSize)
		_, err := second.DeviceIoControl(context.Background(), fixtures.IOCTL_ECHO_COUNTS, nil, out)
		require.NoError(t, err)
		if c, err := fixtures.ParseEchoCounts(out); err == nil && c.Waiting == 1 {
			break
		}
	}
	require.NoError(t, forever.Cancel())
	<-forever.Done()
	require.NoError(t, second.Close())
	require.NoError(t, f.Close())
	_, err = client.Open(`\\.\Echo`, client.RuntimeDir(t.TempDir()))
	require.Error(t, err)
}

func benchSession(t *testing.T, open opener) {
	f := open(`\\.\BenchDrv`)
	count := binary.LittleEndian.AppendUint64(nil, 100)
	for _, code := range []uint32{fixtures.IOCTL_BENCH_NULL, fixtures.IOCTL_BENCH_ECHO,
		fixtures.IOCTL_BENCH_ECHO_IND, fixtures.IOCTL_BENCH_ECHO_OUTD, fixtures.IOCTL_BENCH_ECHO_NEI,
		fixtures.IOCTL_BENCH_PEND, fixtures.IOCTL_BENCH_COMPUTE, fixtures.IOCTL_BENCH_ALLOC,
		fixtures.IOCTL_BENCH_SPIN, fixtures.IOCTL_BENCH_EVENT} {
		for range 3 {
			control(t, f, code, append(slices.Clone(count), "sixty-four bytes"...), 64)
		}
	}
	require.NoError(t, f.Close())
}

func fastioSession(t *testing.T, open opener) {
	f := open(`\\.\FastIo\a\name`)
	control(t, f, 0x222004, []byte("fast"), 16)
	control(t, f, 0x222008, []byte("slow"), 16)
	control(t, f, 0x22200F, []byte("copied"), 16)
	_, _ = f.Write([]byte("data"))
	_, _ = f.ReadAt(make([]byte, 16), 0)
	_, _ = f.QueryInformation(5, make([]byte, 24))
	_, _ = f.QueryVolumeInformation(4, make([]byte, 8))
	_ = f.Flush()
	control(t, f, 0x222000, nil, 0xB8)
	require.NoError(t, f.Close())
}

// record does a script on a new host, and writes the trace to a file.
func record(t *testing.T, name, file string) {
	t.Helper()
	s := scripts[name]
	var header trace.Header
	h := drivertest.New(t, drivertest.Processors(1))
	for _, driver := range append(slices.Clone(s.below), name) {
		path, err := fixtures.Path(driver)
		require.NoError(t, err)
		drivertest.LoadInto(t, h, path)
		if strings.HasPrefix(file, sessions) {
			path = "../" + driver + ".sys"
		}
		header.Drivers = append(header.Drivers, trace.Driver{File: path})
	}
	w, err := trace.Create(file, header)
	require.NoError(t, err)
	for _, m := range s.masks {
		w.Mask(m)
	}
	dir := t.TempDir()
	require.NoError(t, h.Listen(dir))
	served := make(chan error, 1)
	go func() { served <- h.Serve() }()
	h.Record(w)
	s.run(t, func(name string, opts ...client.Option) *client.File {
		f, err := client.Open(name, append(opts, client.RuntimeDir(dir))...)
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() }) // the script may have closed it
		return f
	})
	_, err = h.Close()
	require.NoError(t, err)
	require.NoError(t, <-served)
	require.NoError(t, w.Close())
}

func replayed(t *testing.T, tr *trace.Trace, files []string) *replay.Report {
	t.Helper()
	h, err := driverhost.New(driverhost.Options{})
	require.NoError(t, err)
	for _, file := range files {
		_, err := h.Load(file)
		require.NoError(t, err)
	}
	r := replay.Run(t.Context(), h, tr, replay.Options{})
	_, err = h.Close()
	require.NoError(t, err)
	return r
}

func clean(t *testing.T, r *replay.Report) {
	t.Helper()
	var b strings.Builder
	_, err := r.WriteTo(&b)
	require.NoError(t, err)
	require.True(t, r.Clean(), b.String())
}

// What is recorded now replays, and reads the same when it is written again.
func TestWhatIsRecordedReplays(t *testing.T) {
	for name := range scripts {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), name+".irpl")
			if *recordSessions {
				file = filepath.Join(sessions, name+".irpl")
			}
			record(t, name, file)
			tr, err := trace.ReadFile(file)
			require.NoError(t, err)
			files, err := replay.DriverFiles(tr)
			require.NoError(t, err)
			clean(t, replayed(t, tr, files))
			text, err := tr.Format(trace.Dir(trace.DataDir(file)))
			require.NoError(t, err)
			was, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(was), string(text))
		})
	}
}

func TestRecordedSessions(t *testing.T) {
	files, err := filepath.Glob(sessions + "/*.irpl")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), len(scripts))
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			r, err := replay.File(t.Context(), file, replay.FileOptions{})
			require.NoError(t, err)
			clean(t, r)
			require.Positive(t, r.Seconds)
		})
	}
}

func TestASessionReplaysEachTime(t *testing.T) {
	tr, err := trace.ReadFile(sessions + "/bench.irpl")
	require.NoError(t, err)
	files, err := replay.DriverFiles(tr)
	require.NoError(t, err)
	for range 100 {
		clean(t, replayed(t, tr, files))
	}
}
