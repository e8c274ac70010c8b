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

// Filters above echo.sys: filter.sys, one deep and deeper.

// filtered gives a host in which that many devices of filter.sys stand above \Device\Echo.
func filtered(t *testing.T, depth int) (*driverhost.Host, *driverhost.Driver) {
	t.Helper()
	h := drivertest.New(t, drivertest.Reg(t, fmt.Sprintf("Windows Registry Editor Version 5.00\n"+
		"[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\filter]\n"+
		"\"Depth\"=dword:%08x\n", depth)))
	drivertest.LoadInto(t, h, fixture(t, "echo"))
	return h, drivertest.LoadInto(t, h, fixture(t, "filter"))
}

func TestFiltersModifyPendTakeBackAndComplete(t *testing.T) {
	for _, depth := range []int{1, 3, 8} {
		t.Run(fmt.Sprint(depth, " deep"), func(t *testing.T) {
			h, _ := filtered(t, depth)
			f := drivertest.Open(t, h, `\\.\Echo`)
			for _, c := range []struct {
				name string
				code uint32
				add  int
			}{
				{"modified on both ways", fixtures.IOCTL_FILTER_MODIFY, 2 * depth},
				{"pended by each", fixtures.IOCTL_FILTER_PEND, depth},
				{"taken back in the dispatch routine", fixtures.IOCTL_FILTER_HOLD, depth},
				{"taken back and completed later", fixtures.IOCTL_FILTER_LATER, depth},
				{"not the filter's", fixtures.IOCTL_ECHO_BUFFERED, 0},
				{"pended below", fixtures.IOCTL_ECHO_PEND_WORK, 0},
			} {
				out, r := ioctl(t, f, c.code, "abc", 3)
				assert.Equal(t, nt.STATUS_SUCCESS, r.IOStatus, c.name)
				a := byte('a' + c.add)
				assert.Equal(t, string([]byte{a, a + 1, a + 2}), out, c.name)
			}
			out, r := ioctl(t, f, fixtures.IOCTL_FILTER_COMPLETE, "", 4)
			assert.Equal(t, nt.STATUS_SUCCESS, r.IOStatus)
			assert.Equal(t, string(word(uint32(depth+1))), out, "the StackSize of the top")
			_, r = ioctl(t, f, fixtures.IOCTL_FILTER_COMPLETE, "", 3)
			assert.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, r.IOStatus)
		})
	}
}

func TestAnIRPHasALocationForEachFilter(t *testing.T) {
	h, _ := filtered(t, 3)
	f := drivertest.Open(t, h, `\\.\Echo`)
	out, _ := ioctl(t, f, fixtures.IOCTL_ECHO_FACTS, "", 4096)
	facts, err := fixtures.ParseEchoFacts([]byte(out))
	require.NoError(t, err)
	assert.EqualValues(t, 4, facts.StackCount)
	assert.EqualValues(t, 4, facts.CurrentLocation, "each filter has skipped its own")
}

func TestAFilterThatUnloadsLeavesTheDeviceBelow(t *testing.T) {
	h, d := filtered(t, 3)
	f := drivertest.Open(t, h, `\\.\Echo`)
	out, _ := ioctl(t, f, fixtures.IOCTL_FILTER_MODIFY, "abc", 3)
	assert.Equal(t, "ghi", out)
	require.NoError(t, f.Close())
	left, err := h.Unload(d)
	require.NoError(t, err)
	assert.Empty(t, left)
	f = drivertest.Open(t, h, `\\.\Echo`)
	out, _ = ioctl(t, f, fixtures.IOCTL_ECHO_BUFFERED, "abc", 3)
	assert.Equal(t, "abc", out)
	_, r := ioctl(t, f, fixtures.IOCTL_FILTER_MODIFY, "abc", 3)
	assert.Equal(t, nt.STATUS_INVALID_DEVICE_REQUEST, r.IOStatus)
}

func TestAFilterThatAttachesByNameOpensTheDevice(t *testing.T) {
	h := drivertest.New(t, drivertest.Reg(t, "Windows Registry Editor Version 5.00\n"+
		"[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\above]\n"+
		"\"Target\"=\"\\\\Device\\\\Echo\"\n"))
	drivertest.LoadInto(t, h, fixture(t, "echo"))
	drivertest.LoadInto(t, h, fixture(t, "above"))
	f := drivertest.Open(t, h, `\\.\Echo`)
	out, r := ioctl(t, f, fixtures.IOCTL_ECHO_BUFFERED, "abc", 3)
	assert.Equal(t, nt.STATUS_SUCCESS, r.IOStatus)
	assert.Equal(t, "abc", out, "swapped twice")
	// The counts' bytes are no letters as long as they are small.
	out, _ = ioctl(t, f, fixtures.IOCTL_ECHO_COUNTS, "", fixtures.EchoCountsSize)
	counts, err := fixtures.ParseEchoCounts([]byte(out))
	require.NoError(t, err)
	assert.EqualValues(t, 2, counts.Dispatched[nt.IRP_MJ_CREATE])
	assert.EqualValues(t, 1, counts.Dispatched[nt.IRP_MJ_CLEANUP])
	assert.EqualValues(t, 1, counts.Dispatched[nt.IRP_MJ_CLOSE], "through the filter")
	assert.EqualValues(t, 1, counts.OpenFiles)
}
