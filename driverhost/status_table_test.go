package driverhost_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

// Every kind of status, at once and pended, by each method. The rules: a buffered output goes back
// with every status but an error (and STATUS_VERIFY_REQUIRED), as many bytes as Information says; what
// a driver has written to the caller's own buffer stays there, whatever the status; and
// DeviceIoControl tells of Information with every status but an error.

var tableStatuses = map[string]nt.Status{
	"success":                       nt.STATUS_SUCCESS,
	"success with a value":          nt.STATUS_WAIT_63,
	"success, more entries":         nt.STATUS_MORE_ENTRIES,
	"information":                   nt.STATUS_OBJECT_NAME_EXISTS,
	"information of a customer":     0x60001234,
	"warning, buffer overflow":      nt.STATUS_BUFFER_OVERFLOW,
	"warning, no more files":        nt.STATUS_NO_MORE_FILES,
	"warning, verify":               nt.STATUS_VERIFY_REQUIRED,
	"warning of a customer":         0xA0000001,
	"error":                         nt.STATUS_UNSUCCESSFUL,
	"error, end of file":            nt.STATUS_END_OF_FILE,
	"error, buffer too small":       nt.STATUS_BUFFER_TOO_SMALL,
	"error, more processing":        nt.STATUS_MORE_PROCESSING_REQUIRED,
	"error, cancelled":              nt.STATUS_CANCELLED,
	"error of a customer":           0xE0001234,
	"the highest of all":            0xFFFFFFFF,
	"success of a customer":         0x20000001,
	"success, buffer all zeros":     nt.STATUS_BUFFER_ALL_ZEROS,
	"success, reparse":              nt.STATUS_REPARSE,
	"error, insufficient resources": nt.STATUS_INSUFFICIENT_RESOURCES,
}

func TestTheStatusTable(t *testing.T) {
	const (
		size   = 48
		fill   = 0x5A
		before = 0x33
	)
	hows := map[string]uint32{
		"at once":             fixtures.STATUS_HOW_SYNC,
		"marked and complete": fixtures.STATUS_HOW_MARKED,
		"by a work item":      fixtures.STATUS_HOW_WORK_ITEM,
		"by a DPC":            fixtures.STATUS_HOW_DPC,
	}
	methods := map[string]uint32{
		"buffered":   fixtures.IOCTL_STATUS_BUFFERED,
		"in direct":  fixtures.IOCTL_STATUS_IN_DIRECT,
		"out direct": fixtures.IOCTL_STATUS_OUT_DIRECT,
		"neither":    fixtures.IOCTL_STATUS_NEITHER,
	}
	bothWays(t, "status", func(t *testing.T, open func(string) device) {
		d := open(`\\.\Status`)
		for method, code := range methods {
			for how, n := range hows {
				for name, status := range tableStatuses {
					for _, information := range []uint64{0, 16, size} {
						what := fmt.Sprintf("%s, %s, %s (%v), Information %d", method, how, name, status,
							information)
						out := make([]byte, size)
						for i := range out {
							out[i] = before
						}
						in := fixtures.StatusRequest{Status: uint32(status), How: n,
							Information: information, Filled: 32, Fill: fill}.Bytes()
						r, err := d.ioctl(background, code, in, out)
						require.NoError(t, err, what)
						require.Equal(t, status, r.Status, what)
						require.Equal(t, status, r.IOStatus, what)
						require.Equal(t, information, r.Information, what)
						want := make([]byte, size)
						for i := range want {
							want[i] = before
							switch {
							case method == "in direct":
							case method == "buffered" && (status.IsError() ||
								status == nt.STATUS_VERIFY_REQUIRED || i >= int(information)):
							case i < 32:
								want[i] = fill
							case method == "buffered":
								want[i] = 0 // what the system buffer held behind the input
							}
						}
						require.Equal(t, want, out, what)

						n, err := d.DeviceIoControl(background, code, in, make([]byte, size))
						if status.IsError() {
							require.Zero(t, n, what)
						} else {
							require.EqualValues(t, information, n, what)
						}
						if status.Success() {
							require.NoError(t, err, what)
						} else {
							require.ErrorIs(t, err, status, what)
						}
					}
				}
			}
		}
	})
}

// What a dispatch routine must not do, as Driver Verifier has it.
func TestADispatchRoutineThatContradictsItsIRPIsABugcheck(t *testing.T) {
	const ok, failed = uint32(nt.STATUS_SUCCESS), uint32(nt.STATUS_UNSUCCESSFUL)
	for name, c := range map[string]struct {
		how, status uint32
		kind        uint64
		reason      string
	}{
		"an error completed, success returned": {fixtures.STATUS_HOW_OTHER, failed, 0x224,
			"returned STATUS_SUCCESS, and completed the IRP with STATUS_UNSUCCESSFUL"},
		"success completed, an error returned": {fixtures.STATUS_HOW_OTHER, ok, 0x224,
			"returned STATUS_UNSUCCESSFUL, and completed the IRP with STATUS_SUCCESS"},
		"STATUS_PENDING returned, not marked": {fixtures.STATUS_HOW_NOT_MARKED, ok, 0x23D,
			"did not mark the IRP pending"},
		"the same, completed later": {fixtures.STATUS_HOW_LATE_NOT_MARKED, ok, 0x23D,
			"did not mark the IRP pending"},
		"marked, STATUS_PENDING not returned": {fixtures.STATUS_HOW_NOT_RETURNED, ok, 0x23E,
			"marked the IRP pending, and returned STATUS_SUCCESS"},
		"neither completed nor pending": {fixtures.STATUS_HOW_FORGOTTEN, ok, 0x226,
			"neither completed the IRP nor passed it on"},
		"completed with STATUS_PENDING": {fixtures.STATUS_HOW_AS_PENDING, uint32(nt.STATUS_PENDING), 0x06,
			"was completed with STATUS_PENDING"},
	} {
		t.Run(name, func(t *testing.T) {
			h := drivertest.Load(t, fixture(t, "status"), drivertest.MayCrash())
			d := drivertest.Open(t, h, `\\.\Status`)
			in := fixtures.StatusRequest{Status: c.status, How: c.how}.Bytes()
			_, err := d.DeviceIoControlEx(background, fixtures.IOCTL_STATUS_BUFFERED, in, nil)
			require.NoError(t, err)
			<-h.Done()
			b := drivertest.Crash(t, h)
			assert.Equal(t, nt.DRIVER_VERIFIER_IOMANAGER_VIOLATION, b.Code, "%v", b)
			assert.Equal(t, c.kind, b.Params[0], "%v", b)
			assert.Contains(t, b.Reason, c.reason)
		})
	}
}

// Without these checks such a driver's requests end as Windows ends them.
func TestWithoutVerificationAContradictionIsLetPass(t *testing.T) {
	h := drivertest.New(t)
	h.Kernel.IO.NoVerify = true
	drivertest.LoadInto(t, h, fixture(t, "status"))
	f, err := h.Open(`\\.\Status`, driverhost.OpenOptions{})
	require.NoError(t, err)
	defer f.Close()
	for _, how := range []uint32{fixtures.STATUS_HOW_OTHER, fixtures.STATUS_HOW_NOT_MARKED,
		fixtures.STATUS_HOW_NOT_RETURNED, fixtures.STATUS_HOW_LATE_NOT_MARKED} {
		in := fixtures.StatusRequest{Status: uint32(nt.STATUS_UNSUCCESSFUL), How: how}.Bytes()
		r, err := f.DeviceIoControlEx(background, fixtures.IOCTL_STATUS_BUFFERED, in, nil)
		require.NoError(t, err)
		assert.Equal(t, nt.STATUS_UNSUCCESSFUL, r.IOStatus)
	}
	assert.Nil(t, h.Crashed())
}
