package driverhost_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/driverhost/replay"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/irp/trace"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/godriver"
)

// Drivers in Go: alone, under a native filter, above a native driver.

func loadGo(t testing.TB, h *driverhost.Host, d *godriver.Driver) *driverhost.Driver {
	t.Helper()
	l, err := h.LoadGo(d)
	require.NoError(t, err)
	return l
}

const shout = uint32(0x222004) // METHOD_BUFFERED

func ioctl(t testing.TB, f *driverhost.File, code uint32, in string, room int) (string,
	driverhost.Result) {
	t.Helper()
	out := make([]byte, room)
	r, err := f.DeviceIoControlEx(context.Background(), code, []byte(in), out)
	require.NoError(t, err)
	return string(out[:min(r.Information, uint64(room))]), r
}

// The three ways to transfer data, each with each method: what the driver sees is what was sent, and
// what it answers comes back.
func TestAGoDriverIsADriver(t *testing.T) {
	for name, flags := range map[string]uint32{"buffered": nt.DO_BUFFERED_IO,
		"direct": nt.DO_DIRECT_IO, "neither": 0} {
		t.Run(name, func(t *testing.T) {
			h := drivertest.New(t)
			r := &godriver.Recorder{Name: "Rec", Flags: flags, Answer: func(q godriver.Received) godriver.Answer {
				if q.Major == nt.IRP_MJ_WRITE {
					return godriver.Answer{}
				}
				return godriver.Answer{Output: append([]byte("answer to "), q.Input...)}
			}}
			d := loadGo(t, h, r.Driver())
			assert.Equal(t, "Rec.sys", d.Module.Name())
			f := drivertest.Open(t, h, `\\.\Rec`)
			for method := range uint32(4) {
				out, res := ioctl(t, f, shout&^3|method, "hi", 64)
				assert.Equal(t, nt.STATUS_SUCCESS, res.Status)
				assert.Equal(t, "answer to hi", out, "method %d", method)
			}
			n, err := f.WriteAt([]byte("data"), 77)
			require.NoError(t, err)
			assert.Equal(t, 4, n)
			buf := make([]byte, 6)
			n, err = f.ReadAt(buf, 5)
			require.NoError(t, err)
			assert.Equal(t, "answer", string(buf[:n]))
			got := r.Received(nt.IRP_MJ_WRITE, nt.IRP_MJ_READ)
			require.Len(t, got, 2)
			assert.Equal(t, "data", string(got[0].Input))
			assert.EqualValues(t, 77, got[0].Offset)
			assert.Equal(t, 6, got[1].OutputLength)
			require.NoError(t, f.Close())
			all := r.Received()
			assert.Equal(t, []nt.MajorFunction{nt.IRP_MJ_CREATE, nt.IRP_MJ_CLEANUP, nt.IRP_MJ_CLOSE},
				[]nt.MajorFunction{all[0].Major, all[len(all)-2].Major, all[len(all)-1].Major})
			left, err := h.Unload(d)
			require.NoError(t, err)
			assert.Empty(t, left)
			loadGo(t, h, r.Driver()) // again
		})
	}
}

func TestAGoDriverUnderANativeFilter(t *testing.T) {
	h := drivertest.New(t)
	later := false
	lower := &godriver.Recorder{Name: "Below", Answer: func(q godriver.Received) godriver.Answer {
		if q.Code == nt.IOCTL(shout) {
			return godriver.Answer{Output: append([]byte("Got "), q.Input...), Later: later}
		}
		return godriver.Answer{Status: nt.STATUS_NOT_SUPPORTED, Information: 7}
	}}
	loadGo(t, h, lower.Driver())
	path, err := fixtures.Path("above")
	require.NoError(t, err)
	drivertest.LoadInto(t, h, path)
	f := drivertest.Open(t, h, `\\.\Below`)
	for _, later = range []bool{false, true} {
		out, r := ioctl(t, f, shout, "Hello", 64)
		assert.Equal(t, nt.STATUS_SUCCESS, r.IOStatus)
		assert.Equal(t, "gOT Hello", out, "the filter swaps case on the way down and on the way up")
	}
	_, r := ioctl(t, f, 0x222008, "other", 8)
	assert.Equal(t, nt.STATUS_NOT_SUPPORTED, r.Status)
	got := lower.Received(nt.IRP_MJ_DEVICE_CONTROL)
	require.Len(t, got, 3)
	assert.Equal(t, "hELLO", string(got[0].Input))
	assert.EqualValues(t, 2, got[0].StackCount, "a location for each of the two")
}

// What is done with a native filter above a Go driver replays like anything else.
func TestASessionWithAGoDriverReplays(t *testing.T) {
	stack := func() *driverhost.Host {
		h := drivertest.New(t)
		loadGo(t, h, (&godriver.Recorder{Name: "Below", Answer: func(q godriver.Received) godriver.Answer {
			return godriver.Answer{Output: append([]byte("Got "), q.Input...), Later: len(q.Input) > 5}
		}}).Driver())
		path, err := fixtures.Path("above")
		require.NoError(t, err)
		drivertest.LoadInto(t, h, path)
		return h
	}
	var text bytes.Buffer
	w := trace.NewWriter(&text, nil, trace.Header{})
	h := stack()
	h.Record(w)
	f := drivertest.Open(t, h, `\\.\Below`)
	for _, in := range []string{"short", "longer", "", "short again"} {
		ioctl(t, f, shout, in, 64)
	}
	require.NoError(t, f.Close())
	require.NoError(t, w.Close())
	tr, err := trace.Parse("session", text.Bytes(), nil)
	require.NoError(t, err)
	r := replay.Run(t.Context(), stack(), tr, replay.Options{})
	assert.True(t, r.Clean(), r.Summary())
	assert.Equal(t, 4, r.Requests)
}

// quoter is a filter in Go above the echo driver: it puts what comes back in quotes.
func quoter(target string) *godriver.Driver {
	d := &godriver.Driver{Service: "quoter", Entry: func(c *godriver.Call) nt.Status {
		_, status := c.Attach(target)
		return status
	}, Unload: func(c *godriver.Call) {
		for _, d := range c.Devices() {
			c.DeleteDevice(d)
		}
	}}
	for m := range d.Dispatch {
		d.Dispatch[m] = (*godriver.Request).Forward
	}
	d.Dispatch[nt.IRP_MJ_DEVICE_CONTROL] = func(r *godriver.Request) nt.Status {
		return r.ForwardThen(func(r *godriver.Request) {
			status, n := r.Status()
			out := make([]byte, n)
			if r.ReadOutput(out); status.Success() && n > 0 {
				r.SetStatus(status, uint64(r.Write(fmt.Appendf(nil, "%q", out))))
			}
		})
	}
	return d
}

func TestAGoFilterAboveANativeDriver(t *testing.T) {
	h := drivertest.Load(t, fixture(t, "echo"))
	d := loadGo(t, h, quoter(`\Device\Echo`))
	f := drivertest.Open(t, h, `\\.\Echo`)
	for _, code := range []uint32{fixtures.IOCTL_ECHO_BUFFERED, fixtures.IOCTL_ECHO_OUT_DIRECT,
		fixtures.IOCTL_ECHO_PEND_WORK} {
		out, _ := ioctl(t, f, code, "hello", 64)
		assert.Equal(t, `"hello"`, out)
	}
	require.NoError(t, f.Close())
	_, err := h.Unload(d)
	require.NoError(t, err)
	f = drivertest.Open(t, h, `\\.\Echo`)
	out, _ := ioctl(t, f, fixtures.IOCTL_ECHO_BUFFERED, "hello", 64)
	assert.Equal(t, "hello", out)
	_, err = h.LoadGo(quoter(`\Device\None`))
	var entry *ntoskrnl.EntryError
	require.True(t, errors.As(err, &entry), "%v", err)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, entry.Status)
}

func TestAPanicOfAGoDriverIsItsCrash(t *testing.T) {
	h := drivertest.New(t, drivertest.MayCrash())
	r := &godriver.Recorder{Name: "Bad", Answer: func(q godriver.Received) godriver.Answer {
		return godriver.Answer{Output: q.Input[1000:]}
	}}
	loadGo(t, h, r.Driver())
	f := drivertest.Open(t, h, `\\.\Bad`)
	_, err := f.DeviceIoControl(context.Background(), shout, []byte("x"), make([]byte, 8))
	require.Error(t, err)
	b := drivertest.Crash(t, h)
	assert.Equal(t, nt.KMODE_EXCEPTION_NOT_HANDLED, b.Code)
	assert.Contains(t, b.Reason, "panic in Bad.sys!Dispatch0E: runtime error: slice bounds out of range")
	report, ok := h.CrashReport()
	require.True(t, ok)
	assert.Equal(t, "Bad.sys!Dispatch0E", report.Calls[0].Name)
}

func TestAGoDriverBreaksTheRulesLikeAnyOther(t *testing.T) {
	h := drivertest.New(t, drivertest.MayCrash())
	d := (&godriver.Recorder{Name: "Twice"}).Driver()
	d.Dispatch[nt.IRP_MJ_DEVICE_CONTROL] = func(r *godriver.Request) nt.Status {
		r.Complete(nt.STATUS_SUCCESS, 0)
		return r.Complete(nt.STATUS_SUCCESS, 0)
	}
	loadGo(t, h, d)
	f := drivertest.Open(t, h, `\\.\Twice`)
	_, err := f.DeviceIoControl(context.Background(), shout, nil, nil)
	require.Error(t, err)
	assert.Equal(t, nt.MULTIPLE_IRP_COMPLETE_REQUESTS, drivertest.Crash(t, h).Code)
}

// A host that is closed tells its drivers before it unloads them.
func TestADriverIsToldOfShutdown(t *testing.T) {
	r := &godriver.Recorder{Name: "Told"}
	d := r.Driver()
	entry, unload := d.Entry, d.Unload
	atUnload := -1
	d.Entry = func(c *godriver.Call) nt.Status {
		status := entry(c)
		require.Equal(t, nt.STATUS_SUCCESS, status)
		device := c.Devices()[0].Object
		assert.Equal(t, uint64(nt.STATUS_SUCCESS),
			c.Export("IoRegisterShutdownNotification", uint64(device)))
		return status
	}
	d.Unload = func(c *godriver.Call) {
		atUnload = len(r.Received(nt.IRP_MJ_SHUTDOWN))
		unload(c)
	}
	h, err := driverhost.New(driverhost.Options{})
	require.NoError(t, err)
	loadGo(t, h, d)
	report, err := h.Close()
	require.NoError(t, err)
	assert.Empty(t, report.Stuck)
	assert.Empty(t, report.Left)
	assert.Equal(t, 1, atUnload)
}

// BenchmarkGoDriver reports an IOCTL of 64 bytes to a driver in Go, beside one to a native driver.
func BenchmarkGoDriver(b *testing.B) {
	data := bytes.Repeat([]byte("x"), 64)
	d := (&godriver.Recorder{Name: "Fast"}).Driver()
	buf := make([]byte, 64)
	d.Dispatch[nt.IRP_MJ_DEVICE_CONTROL] = func(r *godriver.Request) nt.Status {
		return r.Complete(nt.STATUS_SUCCESS, uint64(r.Write(buf[:r.Read(buf)])))
	}
	for name, open := range map[string]func(b *testing.B) *driverhost.File{
		"Go": func(b *testing.B) *driverhost.File {
			h := drivertest.New(b)
			loadGo(b, h, d)
			return drivertest.Open(b, h, `\\.\Fast`)
		},
		"native": func(b *testing.B) *driverhost.File {
			return drivertest.Open(b, drivertest.Load(b, fixture(b, "bench")), `\\.\BenchDrv`)
		},
	} {
		b.Run(name, func(b *testing.B) {
			f := open(b)
			code := map[string]uint32{"Go": shout, "native": fixtures.IOCTL_BENCH_ECHO}[name]
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.DeviceIoControl(ctx, code, data, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func ExampleHost_LoadGo() {
	upper := &godriver.Driver{
		Service: "upper",
		Entry: func(c *godriver.Call) nt.Status {
			if _, status := c.CreateDevice(godriver.DeviceOptions{Name: `\Device\Upper`}); !status.Success() {
				return status
			}
			return c.CreateLink(`\DosDevices\Upper`, `\Device\Upper`)
		},
		Unload: func(c *godriver.Call) {
			c.DeleteLink(`\DosDevices\Upper`)
			for _, d := range c.Devices() {
				c.DeleteDevice(d)
			}
		},
	}
	upper.Dispatch[nt.IRP_MJ_DEVICE_CONTROL] = func(r *godriver.Request) nt.Status {
		out := strings.ToUpper(string(r.Input()))
		return r.Complete(nt.STATUS_SUCCESS, uint64(r.Write([]byte(out))))
	}

	h, err := driverhost.New(driverhost.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Close()
	if _, err := h.LoadGo(upper); err != nil {
		fmt.Println(err)
		return
	}
	f, err := h.Open(`\\.\Upper`, driverhost.OpenOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	out := make([]byte, 16)
	n, err := f.DeviceIoControl(context.Background(), 0x222004, []byte("hello"), out)
	fmt.Println(string(out[:n]), err)
	// Output: HELLO <nil>
}
