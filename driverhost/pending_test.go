package driverhost_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

// Requests that pend: cancelled, released, closed over, and left behind by a killed client.

func TestACancelledContextCancelsTheIRP(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d, watch := open(`\\.\Echo`), open(`\\.\Echo`)
		ctx, cancel := context.WithCancel(background)
		defer cancel()
		done := async(ctx, d, fixtures.IOCTL_ECHO_PEND_FOREVER, make([]byte, 8), make([]byte, 8))
		eventually(t, "pended", func() bool { return counts(t, watch).Waiting == 1 })
		cancel()
		r := <-done
		require.NoError(t, r.err)
		assert.Equal(t, nt.STATUS_CANCELLED, r.IOStatus)
		assert.Equal(t, nt.STATUS_CANCELLED, r.Status)
		assert.Zero(t, counts(t, watch).Waiting)

		_, err := d.DeviceIoControl(ctx, fixtures.IOCTL_ECHO_PEND_FOREVER, nil, nil)
		assert.ErrorIs(t, err, context.Canceled, "cancelled before it began")
	})
}

func TestADeadlineIsTheContextsError(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d := open(`\\.\Echo`)
		ctx, cancel := context.WithTimeout(background, 5*time.Millisecond)
		defer cancel()
		_, err := d.DeviceIoControl(ctx, fixtures.IOCTL_ECHO_PEND_FOREVER, nil, nil)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, nt.STATUS_CANCELLED)
	})
}

func TestReleasedRequestsComplete(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d, other := open(`\\.\Echo`), open(`\\.\Echo`)
		const n = 20
		var done []<-chan asyncResult
		outs := make([][]byte, n)
		for i := range n {
			outs[i] = make([]byte, 100)
			done = append(done, async(background, d, fixtures.IOCTL_ECHO_PEND_FOREVER,
				pattern(100, byte(i)), outs[i]))
		}
		eventually(t, "pended", func() bool { return counts(t, other).Waiting == n })
		out := make([]byte, 4)
		_, err := other.DeviceIoControl(background, fixtures.IOCTL_ECHO_RELEASE, nil, out)
		require.NoError(t, err)
		assert.EqualValues(t, n, out[0])
		for i, ch := range done {
			r := <-ch
			require.NoError(t, r.err)
			assert.Equal(t, nt.STATUS_SUCCESS, r.Status)
			same(t, pattern(100, byte(i)), outs[i], "released")
		}
	})
}

func TestCloseEndsWhatPends(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d, watch := open(`\\.\Echo`), open(`\\.\Echo`)
		var done []<-chan asyncResult
		for range 5 {
			done = append(done, async(background, d, fixtures.IOCTL_ECHO_PEND_FOREVER, nil, nil))
		}
		eventually(t, "pended", func() bool { return counts(t, watch).Waiting == 5 })
		before := counts(t, watch)
		require.NoError(t, d.Close())
		for _, ch := range done {
			r := <-ch
			if r.err == nil {
				assert.Equal(t, nt.STATUS_CANCELLED, r.Status)
			} else {
				assert.ErrorIs(t, r.err, os.ErrClosed)
			}
		}
		after := counts(t, watch)
		assert.Zero(t, after.Waiting)
		assert.Equal(t, before.OpenFiles-1, after.OpenFiles)
		assert.Equal(t, before.Dispatched[nt.IRP_MJ_CLEANUP]+1, after.Dispatched[nt.IRP_MJ_CLEANUP])
		assert.Equal(t, before.Dispatched[nt.IRP_MJ_CLOSE]+1, after.Dispatched[nt.IRP_MJ_CLOSE])
		assert.Error(t, d.Close())
		_, err := d.DeviceIoControl(background, fixtures.IOCTL_ECHO_BUFFERED, nil, nil)
		assert.Error(t, err)
	})
}

func TestCloseRacesRequests(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		watch := open(`\\.\Echo`)
		for range 20 {
			d := open(`\\.\Echo`)
			parallel(4, func(i int) {
				if i == 0 {
					d.Close()
					return
				}
				for range 50 {
					code := uint32(fixtures.IOCTL_ECHO_BUFFERED)
					if i == 1 {
						code = fixtures.IOCTL_ECHO_PEND_FOREVER
					}
					_, err := d.DeviceIoControl(background, code, make([]byte, 10), make([]byte, 10))
					if err != nil {
						return
					}
				}
			})
		}
		eventually(t, "all closed", func() bool { return counts(t, watch).OpenFiles == 1 })
		assert.Zero(t, counts(t, watch).Waiting)
	})
}

func TestCancelRacesCompletion(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d := open(`\\.\Echo`)
		parallel(8, func(i int) {
			for k := range 40 {
				ctx, cancel := context.WithTimeout(background, time.Duration(k*7)*time.Microsecond)
				code := []uint32{fixtures.IOCTL_ECHO_PEND_FOREVER, fixtures.IOCTL_ECHO_PEND_WORK,
					fixtures.IOCTL_ECHO_BUFFERED}[(i+k)%3]
				_, err := d.DeviceIoControl(ctx, code, make([]byte, 16), make([]byte, 16))
				if err != nil && ctx.Err() == nil {
					t.Errorf("%#x: %v", code, err)
				}
				cancel()
			}
		})
		assert.Zero(t, counts(t, d).Waiting)
	})
}

func TestHundredsOfPendingRequestsAreCancelledAtOnce(t *testing.T) {
	h := loadEcho(t)
	d, watch := drivertest.Open(t, h, `\\.\Echo`), local{drivertest.Open(t, h, `\\.\Echo`)}
	const n = 500
	done := make(chan error, n)
	for range n {
		go func() {
			_, err := d.DeviceIoControl(background, fixtures.IOCTL_ECHO_PEND_FOREVER, nil, nil)
			done <- err
		}()
	}
	eventually(t, "pended", func() bool { return counts(t, watch).Waiting == n })
	require.NoError(t, d.Close())
	for range n {
		assert.ErrorIs(t, <-done, nt.STATUS_CANCELLED)
	}
}

func TestABlockedDispatchHoldsUpNobodyElse(t *testing.T) {
	h := drivertest.Load(t, fixture(t, "bench"), drivertest.Processors(2),
		drivertest.Patience(100*time.Millisecond))
	busy, other := drivertest.Open(t, h, `\\.\BenchDrv`), drivertest.Open(t, h, `\\.\BenchDrv`)
	done := make(chan error, 1)
	count := []byte{0, 0, 0, 0, 1, 0, 0, 0} // 2^32 rounds: many seconds
	go func() {
		_, err := busy.DeviceIoControl(background, fixtures.IOCTL_BENCH_COMPUTE, count, make([]byte, 8))
		done <- err
	}()
	eventually(t, "begun", func() bool { return h.Kernel.IO.Outstanding() == 1 })
	for range 100 {
		_, err := other.DeviceIoControl(background, fixtures.IOCTL_BENCH_NULL, nil, nil)
		require.NoError(t, err)
	}
	select {
	case <-done:
		assert.Fail(t, "the long request was over first")
	default:
	}
	require.NoError(t, other.Close())
	report, err := h.Close()
	require.NoError(t, err)
	require.Len(t, report.Stuck, 1)
	assert.Contains(t, report.Stuck[0], "IRP_MJ_DEVICE_CONTROL on BenchDrv by process")
	assert.ErrorIs(t, <-done, driverhost.StatusGone, "kicked out")
}

// A client that pends requests and waits to be killed.
func init() {
	children["pend"] = func([]string) error {
		f, err := client.Open(`\\.\Echo\killed`)
		if err != nil {
			return err
		}
		for range 3 {
			go f.DeviceIoControl(background, fixtures.IOCTL_ECHO_PEND_FOREVER, nil, nil)
		}
		for {
			out := make([]byte, fixtures.EchoCountsSize)
			if _, err := f.DeviceIoControl(background, fixtures.IOCTL_ECHO_COUNTS, nil, out); err != nil {
				return err
			}
			c, err := fixtures.ParseEchoCounts(out)
			if err != nil {
				return err
			}
			if c.Waiting == 3 {
				break
			}
		}
		fmt.Println("pended")
		select {}
	}
}

func TestAKilledClientIsCleanedUpAfter(t *testing.T) {
	h := loadEcho(t)
	dir := serve(t, h)
	cmd := child(t, "pend", dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "pended\n", line)
	watch := local{drivertest.Open(t, h, `\\.\Echo`)}
	before := counts(t, watch)
	require.EqualValues(t, 3, before.Waiting)
	require.EqualValues(t, 2, before.OpenFiles)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	eventually(t, "CANCEL, CLEANUP and CLOSE", func() bool {
		c := counts(t, watch)
		return c.Waiting == 0 && c.OpenFiles == 1 &&
			c.Dispatched[nt.IRP_MJ_CLEANUP] == before.Dispatched[nt.IRP_MJ_CLEANUP]+1 &&
			c.Dispatched[nt.IRP_MJ_CLOSE] == before.Dispatched[nt.IRP_MJ_CLOSE]+1
	})
	closed := facts(t, watch, int(nt.IRP_MJ_CLOSE))
	assert.EqualValues(t, cmd.Process.Pid, closed.ProcessId, "in its process, until the last")
	assert.Equal(t, `\killed`, closed.Name())
}

// A file that is open for synchronous I/O, and its duplicate, have one request under way at a time.
func TestRequestsOfASynchronousFileTakeTurns(t *testing.T) {
	dir := serve(t, drivertest.Load(t, fixture(t, "echo")))
	open := func(opts ...client.Option) *client.File {
		f, err := client.Open(`\\.\Echo`, append(opts, client.RuntimeDir(dir))...)
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() }) // the test may have closed it
		return f
	}
	watch, f := open(), open(client.Synchronous())
	again, err := f.Duplicate()
	require.NoError(t, err)
	defer again.Close()
	waiting := func() uint32 { return counts(t, remote{watch}).Waiting }
	release := func() byte {
		out := make([]byte, 4)
		_, err := watch.DeviceIoControl(background, fixtures.IOCTL_ECHO_RELEASE, nil, out)
		require.NoError(t, err)
		return out[0]
	}
	first := async(background, remote{f}, fixtures.IOCTL_ECHO_PEND_FOREVER, nil, nil)
	eventually(t, "pended", func() bool { return waiting() == 1 })
	second := async(background, remote{again}, fixtures.IOCTL_ECHO_PEND_FOREVER, nil, nil)
	for range 300 {
		require.EqualValues(t, 1, waiting())
	}
	ctx, cancel := context.WithCancel(background)
	third := async(ctx, remote{f}, fixtures.IOCTL_ECHO_BUFFERED, nil, nil)
	cancel()
	require.ErrorIs(t, (<-third).err, context.Canceled, "it was not its turn")
	assert.EqualValues(t, 1, release())
	require.NoError(t, (<-first).err)
	eventually(t, "the second's turn", func() bool { return waiting() == 1 })
	assert.EqualValues(t, 1, release())
	require.NoError(t, (<-second).err)
}
