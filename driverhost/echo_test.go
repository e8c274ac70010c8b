package driverhost_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

// Data through echo.sys, by every method and kind of transfer.

var transferSizes = []int{0, 1, 63, 64, 65, 367, 368, 369, 4095, 4096, 4097, 65535, 65536, 65537,
	1<<20 - 1, 1 << 20, 1<<20 + 1}

func TestEachMethodCarriesDataBothWays(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d := open(`\\.\Echo`)
		for _, m := range []struct {
			name string
			code uint32
		}{
			{"buffered", fixtures.IOCTL_ECHO_BUFFERED},
			{"out direct", fixtures.IOCTL_ECHO_OUT_DIRECT},
			{"neither", fixtures.IOCTL_ECHO_NEITHER},
			{"from a work item", fixtures.IOCTL_ECHO_PEND_WORK},
		} {
			for _, n := range transferSizes {
				in, out := pattern(n, 1), pattern(n, 7)
				r, err := d.ioctl(background, m.code, in, out)
				what := fmt.Sprintf("%s, %d bytes", m.name, n)
				require.NoError(t, err, what)
				assert.Equal(t, nt.STATUS_SUCCESS, r.Status, what)
				assert.Equal(t, uint64(n), r.Information, what)
				same(t, in, out, what)
			}
		}
	})
}

func TestInAndOutputOfDifferentSizes(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d := open(`\\.\Echo`)
		for _, code := range []uint32{fixtures.IOCTL_ECHO_BUFFERED, fixtures.IOCTL_ECHO_OUT_DIRECT,
			fixtures.IOCTL_ECHO_NEITHER} {
			for _, size := range [][2]int{{0, 100}, {100, 0}, {10, 5000}, {5000, 10}, {1 << 20, 1}} {
				in, out := pattern(size[0], 1), pattern(size[1], 7)
				both := min(size[0], size[1])
				want := append(pattern(size[0], 1)[:both:both], out[both:]...)
				r, err := d.ioctl(background, code, in, out)
				what := fmt.Sprintf("%#x, %d to %d bytes", code, size[0], size[1])
				require.NoError(t, err, what)
				assert.Equal(t, nt.STATUS_SUCCESS, r.Status, what)
				assert.Equal(t, uint64(both), r.Information, what)
				same(t, want, out, what+": what the driver did not write stays")
			}
		}
	})
}

func TestInDirectTakesBothBuffers(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d := open(`\\.\Echo`)
		for _, size := range [][2]int{{0, 0}, {10, 0}, {0, 10}, {100, 5000}, {4096, 61440}} {
			in, out := pattern(size[0], 3), pattern(size[1], 9)
			r, err := d.ioctl(background, fixtures.IOCTL_ECHO_IN_DIRECT, in, out)
			require.NoError(t, err)
			require.Equal(t, nt.STATUS_SUCCESS, r.Status)
			want := append(in, pattern(size[1], 9)...)
			require.Equal(t, uint64(len(want)), r.Information)
			have := make([]byte, len(want)+1)
			n, err := d.ReadAt(have, 0)
			if len(want) == 0 {
				assert.ErrorIs(t, err, io.EOF)
				continue
			}
			assert.Equal(t, len(want), n)
			same(t, want, have[:n], "stored")
		}
	})
}

func TestReadAndWriteByEachKindOfTransfer(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		for _, name := range []string{`\\.\Echo`, `\\.\EchoDirect`, `\\.\EchoNeither`} {
			d := open(name)
			for _, n := range []int{1, 64, 4095, 4096, 4097, 65535, 65536} {
				what := fmt.Sprintf("%s, %d bytes", name, n)
				data := pattern(n, byte(n))
				w, err := d.WriteAt(data, 0)
				require.NoError(t, err, what)
				assert.Equal(t, n, w, what)
				have := make([]byte, n)
				r, err := d.ReadAt(have, 0)
				require.NoError(t, err, what)
				assert.Equal(t, n, r, what)
				same(t, data, have, what)
			}
			n, err := d.Write(nil)
			assert.NoError(t, err)
			assert.Zero(t, n)
			n, err = d.ReadAt(make([]byte, 10), 65536)
			assert.ErrorIs(t, err, io.EOF)
			assert.Zero(t, n)
			_, err = d.WriteAt(make([]byte, 1), 65536)
			assert.ErrorIs(t, err, nt.STATUS_DISK_FULL)
			_, err = d.ReadAt(make([]byte, 1), -5)
			assert.ErrorIs(t, err, nt.STATUS_INVALID_PARAMETER, "refused by the I/O manager")
			_, err = d.WriteAt([]byte("xyz"), 65536-3)
			require.NoError(t, err)
			have := make([]byte, 4)
			n, err = d.ReadAt(have, 65536-3)
			assert.Error(t, err, "a short read")
			assert.Equal(t, "xyz", string(have[:n]))
			assert.NoError(t, d.Flush())
		}
	})
}

func TestAWriteToTheEndOfTheFileAppends(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d := open(`\\.\Echo`)
		_, err := d.Write([]byte("hello"))
		require.NoError(t, err)
		_, err = d.WriteAt([]byte(", world"), -1)
		require.NoError(t, err)
		have := make([]byte, 20)
		n, _ := d.ReadAt(have, 0)
		assert.Equal(t, "hello, world", string(have[:n]))
	})
}

func TestPendedRequestsComplete(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d := open(`\\.\Echo`)
		for _, delay := range []byte{0, 1, 5} {
			in, out := append([]byte{delay, 0, 0, 0}, pattern(60, 1)...), make([]byte, 64)
			r, err := d.ioctl(background, fixtures.IOCTL_ECHO_PEND_TIMER, in, out)
			require.NoError(t, err)
			assert.Equal(t, nt.STATUS_SUCCESS, r.Status)
			same(t, in, out, "from a timer's DPC")
		}
	})
}

func TestManyGoroutinesOnOneFile(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d := open(`\\.\Echo`)
		codes := []uint32{fixtures.IOCTL_ECHO_BUFFERED, fixtures.IOCTL_ECHO_OUT_DIRECT,
			fixtures.IOCTL_ECHO_NEITHER, fixtures.IOCTL_ECHO_PEND_WORK}
		parallel(16, func(i int) {
			for k := range 50 {
				in := pattern(1+(i*131+k*17)%5000, byte(i))
				out := make([]byte, len(in))
				r, err := d.ioctl(background, codes[(i+k)%len(codes)], in, out)
				if !assert.NoError(t, err) || !assert.Equal(t, nt.STATUS_SUCCESS, r.Status) {
					return
				}
				same(t, in, out, fmt.Sprintf("goroutine %d, round %d", i, k))
			}
		})
	})
}

func TestOpensEndAsTheDriverSays(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			h := loadEcho(t)
			open := way.start(t, h)
			for name, want := range map[string]nt.Status{
				`\\.\Echo`:                     nt.STATUS_SUCCESS,
				`\\.\echo`:                     nt.STATUS_SUCCESS,
				`\\.\GLOBALROOT\Device\Echo`:   nt.STATUS_SUCCESS,
				`\\.\Global\Echo`:              nt.STATUS_SUCCESS,
				`\\.\Echo\status\00000000`:     nt.STATUS_SUCCESS,
				`\\.\Echo\pend\00000000`:       nt.STATUS_SUCCESS,
				`\\.\Echo\status\C0000022`:     nt.STATUS_ACCESS_DENIED,
				`\\.\Echo\pend\C000009A`:       nt.STATUS_INSUFFICIENT_RESOURCES,
				`\\.\Echo\status\40000000`:     nt.STATUS_OBJECT_NAME_EXISTS,
				`\\.\Echo\status\80000005`:     nt.STATUS_BUFFER_OVERFLOW,
				`\\.\Echo\status\00000103`:     nt.STATUS_OBJECT_NAME_INVALID,
				`\\.\None`:                     nt.STATUS_OBJECT_NAME_NOT_FOUND,
				`\\.\GLOBALROOT\Device\None`:   nt.STATUS_OBJECT_NAME_NOT_FOUND,
				`\\.\GLOBALROOT\Device`:        nt.STATUS_OBJECT_TYPE_MISMATCH,
				`\\.\GLOBALROOT\Driver\echo`:   nt.STATUS_OBJECT_TYPE_MISMATCH,
				`\\.\GLOBALROOT\None\Whatever`: nt.STATUS_OBJECT_PATH_NOT_FOUND,
			} {
				if way.name != "in process" && len(name) > 14 && name[:14] == `\\.\GLOBALROOT` {
					continue // it is no link of a device, by which a host could be found
				}
				d, err := open(name)
				if want.Success() {
					if assert.NoError(t, err, name) {
						assert.NoError(t, d.Close(), name)
					}
					continue
				}
				assert.Nil(t, d, name)
				assert.ErrorIs(t, err, want, name)
			}
			d, err := open(`\\.\Echo`)
			require.NoError(t, err)
			c := counts(t, d)
			assert.EqualValues(t, 1, c.OpenFiles, "a refused open is not closed")
			assert.Equal(t, c.Dispatched[nt.IRP_MJ_CLEANUP], c.Dispatched[nt.IRP_MJ_CLOSE])
			require.NoError(t, d.Close())
		})
	}
}

func TestAnExclusiveDeviceIsOpenOnce(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			h := loadEcho(t)
			open := way.start(t, h)
			d, err := open(`\\.\EchoExclusive`)
			require.NoError(t, err)
			_, err = open(`\\.\EchoExclusive`)
			assert.ErrorIs(t, err, nt.STATUS_ACCESS_DENIED)
			_, err = open(`\\.\EchoExclusive\status\C0000001`)
			assert.ErrorIs(t, err, nt.STATUS_ACCESS_DENIED)
			require.NoError(t, d.Close())
			_, err = open(`\\.\EchoExclusive\status\C0000001`)
			assert.ErrorIs(t, err, nt.STATUS_UNSUCCESSFUL)
			d, err = open(`\\.\EchoExclusive`)
			require.NoError(t, err, "neither a close nor a failed open leaves it open")
			require.NoError(t, d.Close())
		})
	}
}
