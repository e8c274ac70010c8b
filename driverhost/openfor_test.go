package driverhost_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/godriver"
)

// slow is a driver whose CREATE pends, and is given to pends.
func slow(pends chan<- *godriver.Pending) *godriver.Driver {
	d := &godriver.Driver{Service: "slow", Entry: func(c *godriver.Call) nt.Status {
		if _, status := c.CreateDevice(godriver.DeviceOptions{Name: `\Device\Slow`}); !status.Success() {
			return status
		}
		return c.CreateLink(`\DosDevices\Slow`, `\Device\Slow`)
	}, Unload: func(c *godriver.Call) {
		c.DeleteLink(`\DosDevices\Slow`)
		for _, d := range c.Devices() {
			c.DeleteDevice(d)
		}
	}}
	for m := range d.Dispatch {
		d.Dispatch[m] = func(r *godriver.Request) nt.Status { return r.Complete(nt.STATUS_SUCCESS, 0) }
	}
	d.Dispatch[nt.IRP_MJ_CREATE] = func(r *godriver.Request) nt.Status {
		pends <- r.Pend()
		return nt.STATUS_PENDING
	}
	return d
}

func TestAnOpenThatPendsIsUnderWay(t *testing.T) {
	h := drivertest.New(t)
	pends := make(chan *godriver.Pending, 1)
	loadGo(t, h, slow(pends))
	underWay := make(chan struct{})
	type opened struct {
		f      *driverhost.File
		status nt.Status
		err    error
	}
	done := make(chan opened, 1)
	go func() {
		var o opened
		o.f, o.status, _, o.err = h.OpenFor(driverhost.ExactOpen{Name: "Slow",
			Access: nt.FILE_READ_DATA, UnderWay: func() { close(underWay) }})
		done <- o
	}()
	select {
	case <-underWay:
	case <-time.After(time.Minute):
		require.Fail(t, "nobody was told that the open is under way")
	}
	require.Empty(t, done)
	require.NoError(t, (<-pends).Complete(nt.STATUS_SUCCESS, nil, 0))
	o := <-done
	require.NoError(t, o.err)
	require.Equal(t, nt.STATUS_SUCCESS, o.status)
	require.NoError(t, o.f.Close())
}
