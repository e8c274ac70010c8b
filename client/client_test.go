package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/nt"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOpenFindsTheDeviceByEachSpelling(t *testing.T) {
	h := newHost(t, wire.Config{})
	for name, sent := range map[string]string{
		`\\.\Echo`: "Echo", `\\.\ECHO`: "ECHO", `//./echo`: "echo", `\\?\Echo`: "Echo",
		`\??\Echo`: "Echo", `\DosDevices\Echo`: "Echo", `\dosdevices\Echo`: "Echo", `Echo`: "Echo",
		`\\.\Global\Echo`: "Echo", `\\.\Echo\sub\path`: `Echo\sub\path`, `\\.\Echo/sub`: `Echo\sub`,
	} {
		f, err := client.Open(name, client.RuntimeDir(h.dir))
		require.NoError(t, err, name)
		hello, peer := h.b.last()
		assert.Equal(t, sent, hello.Name)
		assert.Equal(t, name, f.Name())
		assert.Equal(t, os.Getpid(), f.HostPID())
		assert.EqualValues(t, 1, f.Information())
		require.NoError(t, f.Close())
		assert.EqualValues(t, os.Getpid(), peer.PID)
		assert.EqualValues(t, os.Getuid(), peer.UID)
		groups, _ := os.Getgroups()
		assert.Len(t, peer.Groups, len(groups))
	}
}

func TestOpenSendsWhatNtCreateFileTakes(t *testing.T) {
	h := newHost(t, wire.Config{})
	f := h.open(`\\.\Echo`)
	defer f.Close()
	hello, _ := h.b.last()
	assert.Equal(t, uint32(0xC0100080), hello.Access)
	assert.EqualValues(t, 3, hello.Share)
	assert.EqualValues(t, 1, hello.Disposition)
	assert.EqualValues(t, 0x60, hello.Options)
	g := h.open(`\\.\Echo`, client.Access(1), client.Share(0), client.Disposition(3),
		client.CreateOptions(0x1000), client.Attributes(2))
	defer g.Close()
	hello, _ = h.b.last()
	assert.Equal(t, [5]uint32{1, 0, 3, 0x1000, 2}, [5]uint32{hello.Access, hello.Share,
		hello.Disposition, hello.Options, hello.Attributes})
}

func TestOpenSaysWhyItFails(t *testing.T) {
	h := newHost(t, wire.Config{})
	require.NoError(t, wire.Claim(h.dir, "Stale", filepath.Join(h.dir, "hosts", "1-x.sock")))
	for _, c := range []struct {
		name   string
		status nt.Status
		is     error
		text   string
	}{
		{`\\.\Refuse`, nt.STATUS_ACCESS_DENIED, nil, "STATUS_ACCESS_DENIED"},
		{`\\.\Broken`, nt.STATUS_UNSUCCESSFUL, nil, "the driver has no CREATE"},
		{`\\.\Missing`, nt.STATUS_OBJECT_NAME_NOT_FOUND, fs.ErrNotExist, "no driver host offers"},
		{`\\.\Stale`, nt.STATUS_OBJECT_NAME_NOT_FOUND, fs.ErrNotExist, "no driver host offers"},
		{`\\.\`, nt.STATUS_OBJECT_NAME_INVALID, nil, "no device name"},
	} {
		f, err := client.Open(c.name, client.RuntimeDir(h.dir))
		assert.Nil(t, f)
		assert.ErrorIs(t, err, c.status, c.name)
		assert.ErrorContains(t, err, c.text)
		if c.is != nil {
			assert.ErrorIs(t, err, c.is)
		}
	}
}

func TestStatusesComeBackAsWindowsGivesThem(t *testing.T) {
	h := newHost(t, wire.Config{})
	f := h.open(`\\.\Echo`)
	out := make([]byte, 16)
	in := []byte("0123456789abcdef")

	n, err := f.DeviceIoControl(bg, ioctlEcho, in, out)
	require.NoError(t, err)
	assert.Equal(t, "0123456789abcdef", string(out[:n]))

	n, err = f.DeviceIoControl(bg, ioctlWarn, in, out)
	assert.Equal(t, 8, n, "a warning comes with data")
	assert.ErrorIs(t, err, nt.STATUS_BUFFER_OVERFLOW)

	_, err = f.DeviceIoControl(bg, ioctlFail, in, out)
	assert.ErrorIs(t, err, nt.STATUS_INVALID_DEVICE_REQUEST)
	var e *client.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, client.Error{Op: "ioctl", Name: `\\.\Echo`, Code: ioctlFail,
		Status: nt.STATUS_INVALID_DEVICE_REQUEST}, *e)

	for status, ok := range map[nt.Status]bool{
		0: true, 0x40000000: true, 0x102: true, 0x80000005: false, 0xC0000001: false,
	} {
		_, err = f.DeviceIoControl(bg, ioctlStatus,
			[]byte{byte(status), byte(status >> 8), byte(status >> 16), byte(status >> 24)}, nil)
		assert.Equal(t, ok, err == nil, "%v", status)
	}
	res, err := f.DeviceIoControlEx(bg, ioctlStatus, []byte{1, 0, 0, 0xC0}, nil)
	require.NoError(t, err)
	assert.Equal(t, client.Result{Status: nt.STATUS_PENDING, IOStatus: nt.STATUS_UNSUCCESSFUL}, res)

	n, err = f.DeviceIoControl(bg, ioctlLie, in, out)
	require.NoError(t, err)
	assert.Equal(t, 16, n, "never more than out is long")
	res, err = f.DeviceIoControlEx(bg, ioctlLie, in, out)
	require.NoError(t, err)
	assert.Equal(t, client.Result{Information: 1<<63 + 17, N: 16}, res)

	res, err = f.DeviceIoControlEx(bg, ioctlInfoOnly, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, client.Result{Information: 7}, res)
}

func TestTheDriverSeesWhatOutHoldsUnlessTheMethodIsBuffered(t *testing.T) {
	h := newHost(t, wire.Config{})
	f := h.open(`\\.\Echo`)
	for _, size := range []int{3, 100_000} {
		out := bytes.Repeat([]byte{6}, size)
		_, err := f.DeviceIoControl(bg, ioctlAdd1, nil, out)
		require.NoError(t, err)
		assert.Equal(t, bytes.Repeat([]byte{7}, size), out)
		_, err = f.DeviceIoControl(bg, ioctlDirect, []byte("in"), out)
		require.NoError(t, err)
		assert.Equal(t, byte('X'), out[0])
		assert.Equal(t, bytes.Repeat([]byte{7}, size-1), out[1:], "what the driver leaves, stays")
	}
}

func TestReadAndWriteUseTheHostsPosition(t *testing.T) {
	h := newHost(t, wire.Config{})
	f := h.open(`\\.\Echo`)
	n, err := f.Write([]byte("hello, "))
	require.NoError(t, err)
	assert.Equal(t, 7, n)
	_, err = io.WriteString(f, "world")
	require.NoError(t, err)
	_, err = f.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err, "STATUS_END_OF_FILE")
	buf := make([]byte, 5)
	n, err = f.ReadAt(buf, 7)
	require.NoError(t, err)
	assert.Equal(t, "world", string(buf[:n]))
	_, err = f.WriteAt([]byte("W"), 7)
	require.NoError(t, err)
	n, err = f.ReadAt(buf, 10)
	assert.Equal(t, 2, n)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	all, err := io.ReadAll(io.NewSectionReader(f, 0, 12))
	require.NoError(t, err)
	assert.Equal(t, "hello, World", string(all))
	require.NoError(t, f.Flush())
}

func TestDataOfEverySizeComesBackWhole(t *testing.T) {
	h := newHost(t, wire.Config{MaxBuffer: 4 << 20})
	f := h.open(`\\.\Echo`)
	for _, size := range []int{0, 1, 64, 4096, 8<<10 - 1, 8 << 10, 64 << 10, 64<<10 + 1, 1 << 20,
		2 << 20} {
		in, out := make([]byte, size), make([]byte, size)
		for i := range in {
			in[i] = byte(i*7 + i>>8)
		}
		n, err := f.DeviceIoControl(bg, ioctlEcho, in, out)
		require.NoError(t, err, "%d bytes", size)
		assert.Equal(t, size, n)
		assert.True(t, bytes.Equal(in, out), "%d bytes", size)
		_, err = f.WriteAt(in, 0)
		require.NoError(t, err)
		clear(out)
		_, err = f.ReadAt(out, 0)
		if size > 0 {
			require.NoError(t, err)
		}
		assert.True(t, bytes.Equal(in, out), "%d bytes", size)
	}
	_, err := f.Write(make([]byte, 4<<20+1))
	assert.ErrorIs(t, err, nt.STATUS_INVALID_BUFFER_SIZE)
	assert.ErrorContains(t, err, "the host takes 4194304")
}

func TestAHostWithoutSharedBufferTakesWhatFitsAMessage(t *testing.T) {
	h := newHost(t, wire.Config{MaxBuffer: -1})
	f := h.open(`\\.\Echo`)
	in, out := bytes.Repeat([]byte("x"), 64<<10), make([]byte, 64<<10)
	_, err := f.DeviceIoControl(bg, ioctlEcho, in, out)
	require.NoError(t, err)
	assert.Equal(t, in, out)
	_, err = f.Write(make([]byte, 64<<10+1))
	assert.ErrorIs(t, err, nt.STATUS_INVALID_BUFFER_SIZE)
}

func TestManyGoroutinesShareAFile(t *testing.T) {
	h := newHost(t, wire.Config{MaxRequests: 20, MaxBuffer: 256 << 10})
	f := h.open(`\\.\Echo`)
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for i := range 60 {
				size := []int{8, 200, 20_000, 100_000}[(g+i)%4]
				in := bytes.Repeat([]byte{byte(g), byte(i)}, size/2)
				out := make([]byte, size)
				code := uint32(ioctlEcho)
				if i%3 == 0 {
					code = ioctlLater
				}
				n, err := f.DeviceIoControl(bg, code, in, out)
				if !assert.NoError(t, err) || !assert.Equal(t, size, n) ||
					!assert.True(t, bytes.Equal(in, out)) {
					return
				}
			}
		})
	}
	wg.Wait()
	assert.Zero(t, h.file().overlaps.Load(), "one File is one thread")
}

func TestACancelledContextCancelsTheIRP(t *testing.T) {
	for name, code := range map[string]uint32{"pended": ioctlPend, "inside dispatch": ioctlBlock} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, wire.Config{})
			f := h.open(`\\.\Echo`)
			ctx, cancel := context.WithCancelCause(bg)
			done := make(chan error)
			go func() {
				_, err := f.DeviceIoControl(ctx, code, nil, nil)
				done <- err
			}()
			eventually(t, func() bool { return len(h.server.Outstanding()) == 1 })
			cancel(errors.New("enough"))
			err := <-done
			assert.ErrorIs(t, err, nt.STATUS_CANCELLED)
			assert.ErrorIs(t, err, context.Canceled)
			_, err = f.DeviceIoControl(ctx, ioctlEcho, nil, nil)
			assert.ErrorIs(t, err, context.Canceled, "and no request is made at all")
			_, err = f.DeviceIoControl(bg, ioctlEcho, nil, nil)
			assert.NoError(t, err)
		})
	}
}

func TestADriverMayCompleteACancelledIRPWithSuccess(t *testing.T) {
	h := newHost(t, wire.Config{})
	f := h.open(`\\.\Echo`)
	ctx, cancel := context.WithCancel(bg)
	go func() {
		for len(h.server.Outstanding()) == 0 {
		}
		cancel()
	}()
	res, err := f.DeviceIoControlEx(ctx, ioctlDeaf, nil, nil)
	require.NoError(t, err)
	assert.EqualValues(t, 3, res.Information)
}

func TestRequestsBehindABlockedDispatchWaitInOrder(t *testing.T) {
	h := newHost(t, wire.Config{})
	f := h.open(`\\.\Echo`)
	var wg sync.WaitGroup
	start := func(code uint32, ctx context.Context) <-chan error {
		done := make(chan error, 1)
		wg.Go(func() {
			_, err := f.DeviceIoControl(ctx, code, []byte{0, 0, 0, 0}, nil)
			done <- err
		})
		return done
	}
	blocked := start(ioctlBlock, bg)
	eventually(t, func() bool { return len(h.server.Outstanding()) == 1 })
	var codes []uint32
	for i := range 20 {
		codes = append(codes, []uint32{ioctlFail, ioctlStatus, ioctlInfoOnly}[i%3])
		start(codes[i], bg)
		eventually(t, func() bool { return len(h.server.Outstanding()) == i+2 })
	}
	ctx, cancel := context.WithCancel(bg)
	unborn := start(ioctlWarn, ctx)
	eventually(t, func() bool { return len(h.server.Outstanding()) == 22 })
	cancel()
	assert.ErrorIs(t, <-unborn, nt.STATUS_CANCELLED, "what was not started is cancelled at once")
	close(h.file().release)
	require.NoError(t, <-blocked)
	wg.Wait()
	assert.Equal(t, append([]uint32{ioctlBlock}, codes...), h.file().started())
	assert.Zero(t, h.file().overlaps.Load())
	_, err := f.DeviceIoControl(bg, ioctlEcho, nil, nil)
	require.NoError(t, err)
}

func TestManyBlockedDispatchesInARow(t *testing.T) {
	h := newHost(t, wire.Config{})
	f := h.open(`\\.\Echo`)
	close(h.file().release)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				_, err := f.DeviceIoControl(bg, ioctlBlock, nil, nil)
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	assert.Zero(t, h.file().overlaps.Load())
}

func TestTheEndOfAClientIsNoticedInsideDispatchAndInsideOpen(t *testing.T) {
	h := newHost(t, wire.Config{})
	path, err := wire.LinkPath(h.dir, "Echo")
	require.NoError(t, err)
	greet := func(name string) wire.Socket {
		s, err := wire.Connect(path, nil)
		require.NoError(t, err)
		hello, err := (&wire.Hello{VersionMin: 1, VersionMax: 1, Name: name}).Append(nil)
		require.NoError(t, err)
		require.Zero(t, s.TrySend(hello))
		return s
	}
	s := greet("Echo")
	_, e := s.Recv(make([]byte, 4096))
	require.Zero(t, e)
	for id := range uint64(3) {
		m := make([]byte, wire.RequestSize)
		r := wire.RequestHeader{ID: id, Major: nt.IRP_MJ_DEVICE_CONTROL, Code: ioctlBlock}
		if id == 0 {
			r.Code = ioctlPend
		}
		r.Put(m)
		require.Zero(t, s.TrySend(m))
	}
	eventually(t, func() bool { return len(h.server.Outstanding()) == 3 })
	s.Close()
	eventually(t, func() bool { return h.b.closed.Load() == 1 })
	assert.EqualValues(t, 2, h.b.cancels.Load(), "the third was not started")

	s = greet("Slow")
	eventually(t, func() bool { return h.b.opens.Load() == 2 })
	s.Close()
	eventually(t, func() bool { return h.b.closed.Load() == 2 && h.server.Conns() == 0 })
}

func TestOpenWaitsForCreateAndCanBeCancelled(t *testing.T) {
	h := newHost(t, wire.Config{})
	ctx, cancel := context.WithCancel(bg)
	done := make(chan error)
	go func() {
		_, err := client.OpenContext(ctx, `\\.\Slow`, client.RuntimeDir(h.dir))
		done <- err
	}()
	eventually(t, func() bool { return h.b.opens.Load() == 1 })
	cancel()
	err := <-done
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, err, nt.STATUS_CANCELLED)
	eventually(t, func() bool { return h.server.Conns() == 0 })

	close(h.b.openDelay)
	f := h.open(`\\.\Slow`)
	for range 3 {
		_, err = f.DeviceIoControl(bg, ioctlEcho, nil, nil)
		require.NoError(t, err)
	}
}

func TestCloseWaitsForTheDriverAndEndsEverything(t *testing.T) {
	h := newHost(t, wire.Config{})
	f := h.open(`\\.\Echo`)
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() {
			_, err := f.DeviceIoControl(bg, ioctlPend, nil, nil)
			errs <- err
		}()
	}
	eventually(t, func() bool { return len(h.server.Outstanding()) == cap(errs) })
	require.NoError(t, f.Close())
	assert.EqualValues(t, 1, h.b.asked.Load(), "CLEANUP and CLOSE are done when Close returns")
	for range cap(errs) {
		assert.ErrorIs(t, <-errs, nt.STATUS_CANCELLED)
	}
	_, err := f.Read(nil)
	assert.ErrorIs(t, err, os.ErrClosed)
	assert.ErrorIs(t, err, nt.STATUS_INVALID_HANDLE)
	assert.ErrorIs(t, f.Close(), os.ErrClosed)
}

func TestCloseAlsoEndsABlockedDispatch(t *testing.T) {
	h := newHost(t, wire.Config{})
	f := h.open(`\\.\Echo`)
	errs := make(chan error, 3)
	for range cap(errs) {
		go func() {
			_, err := f.DeviceIoControl(bg, ioctlBlock, nil, nil)
			errs <- err
		}()
	}
	eventually(t, func() bool { return len(h.server.Outstanding()) == cap(errs) })
	require.NoError(t, f.Close())
	for range cap(errs) {
		assert.ErrorIs(t, <-errs, nt.STATUS_CANCELLED)
	}
}

func TestAnOrderlyEndOfTheHostTellsItsClients(t *testing.T) {
	h := newHost(t, wire.Config{})
	f, idle := h.open(`\\.\Echo`), h.open(`\\.\Echo`)
	errs := make(chan error, 1)
	go func() {
		_, err := f.DeviceIoControl(bg, ioctlPend, nil, nil)
		errs <- err
	}()
	eventually(t, func() bool { return len(h.server.Outstanding()) == 1 })
	h.server.Shutdown(nt.STATUS_DEVICE_REMOVED, "echo.sys was unloaded")
	assert.ErrorIs(t, <-errs, nt.STATUS_CANCELLED, "the IRP's own completion")
	for _, f := range []*client.File{f, idle} {
		_, err := f.DeviceIoControl(bg, ioctlEcho, nil, nil)
		assert.ErrorIs(t, err, nt.STATUS_DEVICE_REMOVED)
		assert.ErrorContains(t, err, "echo.sys was unloaded")
		var gone *client.HostGoneError
		require.ErrorAs(t, err, &gone)
		assert.Equal(t, os.Getpid(), gone.PID)
	}
	assert.True(t, h.server.Wait(1e10))
	_, err := client.Open(`\\.\Echo`, client.RuntimeDir(h.dir))
	assert.ErrorIs(t, err, nt.STATUS_OBJECT_NAME_NOT_FOUND)
	require.NoError(t, <-h.served)
}

func TestACrashingHostHasTheLastWord(t *testing.T) {
	h := newHost(t, wire.Config{})
	f := h.open(`\\.\Echo`)
	_, err := f.DeviceIoControl(bg, ioctlGoodbye, nil, nil)
	assert.ErrorIs(t, err, nt.STATUS_DRIVER_PROCESS_TERMINATED)
	assert.EqualError(t, err, fmt.Sprintf(`ioctl 0x222030 \\.\Echo: the driver host of \\.\Echo `+
		`(process %d) has ended: bugcheck 0x1E in foo.sys+0x1234`, os.Getpid()))
}

func TestSixteenClientsAtOnce(t *testing.T) {
	h := newHost(t, wire.Config{})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			f, err := client.Open(`\\.\Echo`, client.RuntimeDir(h.dir))
			if !assert.NoError(t, err) {
				return
			}
			in, out := make([]byte, 64), make([]byte, 64)
			for i := range 300 {
				in[0] = byte(i)
				_, err := f.DeviceIoControl(bg, ioctlEcho, in, out)
				if !assert.NoError(t, err) || !assert.Equal(t, in, out) {
					return
				}
			}
			assert.NoError(t, f.Close())
		})
	}
	wg.Wait()
	assert.EqualValues(t, 16, h.b.asked.Load())
}

func TestAWarmCallAllocatesNothingOnEitherSide(t *testing.T) {
	h := newHost(t, wire.Config{})
	f := h.open(`\\.\Echo`)
	for _, size := range []int{64, 64 << 10} {
		in, out := make([]byte, size), make([]byte, size)
		call := func() {
			if _, err := f.DeviceIoControl(bg, ioctlEcho, in, out); err != nil {
				t.Error(err)
			}
		}
		for range 10 {
			call()
		}
		// Not testing.AllocsPerRun: it sets GOMAXPROCS to 1, where two blocking sides crawl.
		const runs = 1000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			call()
		}
		runtime.ReadMemStats(&after)
		allocs := after.Mallocs - before.Mallocs // of the host too, which is in this process
		assert.Less(t, allocs, uint64(runs/10), "%d bytes", size)
	}
}

func TestLimitsOnConnectionsAreTold(t *testing.T) {
	h := newHost(t, wire.Config{MaxConns: 2})
	h.open(`\\.\Echo`)
	f := h.open(`\\.\Echo`)
	_, err := client.Open(`\\.\Echo`, client.RuntimeDir(h.dir))
	assert.ErrorIs(t, err, nt.STATUS_INSUFFICIENT_RESOURCES)
	assert.ErrorContains(t, err, "the host serves 2 connections already")
	require.NoError(t, f.Close())
	eventually(t, func() bool { return h.server.Conns() == 1 })
	h.open(`\\.\Echo`)
}
