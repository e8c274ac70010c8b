package driverhost_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Files to which something else than the client has a reference when that closes them. The tests
// take the reference in place of a driver.

func TestCloseIsSentWhenTheLastReferenceToTheFileHasGone(t *testing.T) {
	h := loadEcho(t)
	watch := local{drivertest.Open(t, h, `\\.\Echo`)}
	f := drivertest.Open(t, h, `\\.\Echo`)
	file := guest.Addr(facts(t, local{f}, -1).FileObject)
	require.True(t, h.Kernel.Ob.Reference(file))
	require.NoError(t, f.Close())
	c := counts(t, watch)
	assert.EqualValues(t, 1, c.Dispatched[nt.IRP_MJ_CLEANUP])
	assert.Zero(t, c.Dispatched[nt.IRP_MJ_CLOSE])
	assert.EqualValues(t, 2, c.OpenFiles)
	_, err := f.Write([]byte("x"))
	assert.ErrorIs(t, err, driverhost.ErrClosed)

	_, err = h.Kernel.Ob.Dereference(file)
	require.NoError(t, err)
	eventually(t, "CLOSE", func() bool { return counts(t, watch).Dispatched[nt.IRP_MJ_CLOSE] == 1 })
	assert.EqualValues(t, 1, counts(t, watch).OpenFiles)
}

func TestAFileThatADriverHoldsOnToIsNamedWhenTheHostCloses(t *testing.T) {
	h := drivertest.Load(t, fixture(t, "echo"), drivertest.Patience(20*time.Millisecond))
	f := drivertest.Open(t, h, `\\.\Echo`)
	require.True(t, h.Kernel.Ob.Reference(guest.Addr(facts(t, local{f}, -1).FileObject)))
	require.NoError(t, f.Close())
	_, err := h.Unload(h.Kernel.Drivers()[0])
	var busy *driverhost.BusyError
	require.ErrorAs(t, err, &busy)
	report, err := h.Close()
	require.NoError(t, err)
	require.Len(t, report.Stuck, 1)
	assert.Contains(t, report.Stuck[0], "the file Echo by process")
	assert.Contains(t, report.Stuck[0], "1 references")
}

func TestADeviceThatIsHeldKeepsTheImageUntilItIsNot(t *testing.T) {
	h := drivertest.New(t)
	d := drivertest.LoadInto(t, h, fixture(t, "echo"))
	dev := h.Kernel.Dev.Devices(d.Driver)[0].Object.Addr()
	require.True(t, h.Kernel.Ob.Reference(dev))
	done := make(chan error, 1)
	go func() {
		_, err := h.Unload(d)
		done <- err
	}()
	eventually(t, "DriverUnload", func() bool { return len(h.Kernel.Dev.Devices(d.Driver)) == 0 })
	select {
	case <-done:
		t.Error("unloaded while a device is referenced, as by a work item")
	case <-time.After(30 * time.Millisecond):
	}
	_, err := guest.Load8(d.Module.Base())
	assert.NoError(t, err, "the image is there")
	_, err = h.Kernel.Ob.Dereference(dev)
	require.NoError(t, err)
	require.NoError(t, <-done)
}
