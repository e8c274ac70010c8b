package driverhost_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

// Statuses: what a driver completes an IRP with, and what the client gets.

func TestEveryStatusComesBackInEveryWay(t *testing.T) {
	statuses := []nt.Status{nt.STATUS_SUCCESS, nt.STATUS_WAIT_1, nt.STATUS_MORE_ENTRIES,
		nt.STATUS_OBJECT_NAME_EXISTS, nt.STATUS_BUFFER_OVERFLOW, nt.STATUS_NO_MORE_ENTRIES,
		nt.STATUS_VERIFY_REQUIRED, nt.STATUS_UNSUCCESSFUL, nt.STATUS_END_OF_FILE, nt.STATUS_CANCELLED,
		nt.STATUS_DEVICE_REMOVED, 0xE0001234, 0x20000001, 0xA0000001}
	hows := map[string]uint32{"at once": fixtures.ECHO_HOW_SYNC, "marked": fixtures.ECHO_HOW_MARKED,
		"by a work item": fixtures.ECHO_HOW_WORK_ITEM, "by a timer": fixtures.ECHO_HOW_TIMER}
	const fill, before = 0x5A, 0x33
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d := open(`\\.\Echo`)
		for how, n := range hows {
			for _, status := range statuses {
				for _, information := range []int{0, 10, 40} {
					out := make([]byte, 40)
					for i := range out {
						out[i] = before
					}
					r, err := d.ioctl(background, fixtures.IOCTL_ECHO_STATUS,
						fixtures.EchoStatusRequest{Status: uint32(status), How: n,
							Information: uint64(information), Fill: fill}.Bytes(), out)
					what := fmt.Sprintf("%v %s, Information %d", status, how, information)
					require.NoError(t, err, what)
					assert.Equal(t, status, r.Status, what)
					assert.Equal(t, status, r.IOStatus, what)
					assert.EqualValues(t, information, r.Information, what)
					filled := information
					if status.IsError() || status == nt.STATUS_VERIFY_REQUIRED {
						filled = 0 // the I/O manager copies nothing back
					}
					assert.Equal(t, filled, r.Written, what)
					for i, b := range out {
						want := byte(before)
						if i < filled {
							want = fill
						}
						require.Equal(t, want, b, "%s: byte %d", what, i)
					}
				}
			}
		}
	})
}

func TestWarningsComeWithDataAndAnError(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d := open(`\\.\Echo`)
		call := func(status nt.Status) (int, error) {
			in := fixtures.EchoStatusRequest{Status: uint32(status), Information: 8}.Bytes()
			return d.DeviceIoControl(background, fixtures.IOCTL_ECHO_STATUS, in, make([]byte, 8))
		}
		n, err := call(nt.STATUS_OBJECT_NAME_EXISTS)
		assert.NoError(t, err, "informational statuses are successes")
		assert.Equal(t, 8, n)
		n, err = call(nt.STATUS_BUFFER_OVERFLOW)
		assert.ErrorIs(t, err, nt.STATUS_BUFFER_OVERFLOW)
		assert.Equal(t, 8, n)
		n, err = call(nt.STATUS_UNSUCCESSFUL)
		assert.ErrorIs(t, err, nt.STATUS_UNSUCCESSFUL)
		assert.Zero(t, n)
	})
}

func TestAnUnknownMajorFunctionOrCodeIsAnInvalidDeviceRequest(t *testing.T) {
	bothWays(t, "bench", func(t *testing.T, open func(string) device) {
		d := open(`\\.\BenchDrv`)
		assert.ErrorIs(t, d.Flush(), nt.STATUS_INVALID_DEVICE_REQUEST, "no dispatch routine")
		r, err := d.ioctl(background, 0x22FFF0, make([]byte, 8), make([]byte, 8))
		require.NoError(t, err)
		assert.Equal(t, nt.STATUS_INVALID_DEVICE_REQUEST, r.Status)
	})
}
