// What holds for every driver holds for one in Go: modules, unloading, IRP rules, crashes.

package godriver_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/godriver"
)

const ioctlRule = 0x222404 // METHOD_BUFFERED

// ruleDriver gives a driver with the device Rule whose DEVICE_CONTROL is f.
func ruleDriver(f godriver.Dispatch) *godriver.Driver {
	d := &godriver.Driver{Service: "rule", Entry: func(c *godriver.Call) nt.Status {
		if _, status := c.CreateDevice(godriver.DeviceOptions{Name: `\Device\Rule`,
			Flags: nt.DO_BUFFERED_IO}); !status.Success() {
			return status
		}
		return c.CreateLink(`\DosDevices\Rule`, `\Device\Rule`)
	}, Unload: func(c *godriver.Call) {
		c.DeleteLink(`\DosDevices\Rule`)
		for _, d := range c.Devices() {
			c.DeleteDevice(d)
		}
	}}
	d.Dispatch[nt.IRP_MJ_DEVICE_CONTROL] = f
	return d
}

func TestARoutineIsAnAddressInTheDriversModule(t *testing.T) {
	h := drivertest.New(t)
	d := drivertest.LoadGo(t, h, ruleDriver(nil))
	inside := func(a guest.Addr) bool {
		return a >= d.Module.Base() && a < d.Module.Base()+guest.Addr(d.Module.Size())
	}
	o := d.Object.Ref()
	assert.True(t, inside(o.DriverUnload), "DriverUnload")
	for m, a := range o.MajorFunction {
		assert.Truef(t, inside(a), "MajorFunction[%#x] is %v", m, a)
	}
	var names []string
	for _, m := range h.Kernel.LoadedModules() {
		names = append(names, m.Name)
	}
	assert.Contains(t, names, "rule.sys")
}

func TestADriverLoadsAgainAfterItsUnload(t *testing.T) {
	h := drivertest.New(t)
	for range 3 {
		d := drivertest.LoadGo(t, h, ruleDriver(nil))
		f := drivertest.Open(t, h, `\\.\Rule`)
		_, err := f.DeviceIoControl(t.Context(), ioctlRule, nil, nil)
		assert.ErrorIs(t, err, nt.STATUS_INVALID_DEVICE_REQUEST)
		_, err = h.Kernel.Unload(d)
		var busy *ntoskrnl.BusyError
		require.ErrorAs(t, err, &busy)
		require.NoError(t, f.Close())
		left, err := h.Kernel.Unload(d)
		require.NoError(t, err)
		assert.Empty(t, left)
	}
}

func TestAnEntryThatFailsLeavesNothing(t *testing.T) {
	h := drivertest.New(t)
	d := ruleDriver(nil)
	entry := d.Entry
	d.Entry = func(c *godriver.Call) nt.Status {
		entry(c)
		return nt.STATUS_NO_SUCH_DEVICE
	}
	_, err := h.LoadGo(d)
	var refused *ntoskrnl.EntryError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, nt.STATUS_NO_SUCH_DEVICE, refused.Status)
	d.Entry = entry
	drivertest.LoadGo(t, h, d)
}

func TestWhatADriverDoesWrongEndsItsKernel(t *testing.T) {
	for _, c := range []struct {
		name     string
		code     nt.BugCheck
		reason   string
		dispatch godriver.Dispatch
	}{
		{"a panic", nt.KMODE_EXCEPTION_NOT_HANDLED, "panic in rule.sys!Dispatch0E: made up",
			func(*godriver.Request) nt.Status { panic(errors.New("made up")) }},
		{"a nil map", nt.KMODE_EXCEPTION_NOT_HANDLED, "assignment to entry in nil map",
			func(r *godriver.Request) nt.Status {
				var m map[guest.Addr]int
				m[r.IRP] = 1
				return nt.STATUS_SUCCESS
			}},
		{"the end of the goroutine", nt.KMODE_EXCEPTION_NOT_HANDLED, "rule.sys!Dispatch0E",
			func(*godriver.Request) nt.Status { runtime.Goexit(); return nt.STATUS_SUCCESS }},
		{"another status than that of the IRP", nt.DRIVER_VERIFIER_IOMANAGER_VIOLATION, "",
			func(r *godriver.Request) nt.Status {
				r.Complete(nt.STATUS_SUCCESS, 0)
				return nt.STATUS_UNSUCCESSFUL
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := drivertest.New(t, drivertest.MayCrash(), drivertest.MayLeave())
			drivertest.LoadGo(t, h, ruleDriver(c.dispatch))
			f, err := h.Open(`\\.\Rule`, driverhost.OpenOptions{})
			require.NoError(t, err)
			ended := make(chan error, 1)
			go func() {
				err := errors.New("the goroutine ended")
				defer func() { ended <- err }()
				_, err = f.DeviceIoControl(t.Context(), ioctlRule, nil, nil)
			}()
			assert.Error(t, <-ended)
			b := drivertest.Crash(t, h)
			assert.Equal(t, c.code, b.Code)
			assert.Contains(t, b.Reason, c.reason)
		})
	}
}

// echoFilter gives a filter above echo.sys that adds 1 to each byte on its way up.
func echoFilter(f godriver.Dispatch) *godriver.Driver {
	d := &godriver.Driver{Service: "over", Entry: func(c *godriver.Call) nt.Status {
		_, status := c.Attach(`\Device\Echo`)
		return status
	}, Unload: func(c *godriver.Call) {
		for _, d := range c.Devices() {
			c.DeleteDevice(d)
		}
	}}
	for m := range d.Dispatch {
		d.Dispatch[m] = (*godriver.Request).Forward
	}
	d.Dispatch[nt.IRP_MJ_DEVICE_CONTROL] = f
	return d
}

func addOne(r *godriver.Request) {
	var room [16]byte
	_, n := r.Status()
	p := room[:min(int(n), len(room))]
	p = p[:r.ReadOutput(p)]
	for i := range p {
		p[i]++
	}
	r.Write(p)
}

func TestAnIRPTakesNoMemory(t *testing.T) {
	path, err := fixtures.Path("echo")
	require.NoError(t, err)
	h := drivertest.Load(t, path)
	drivertest.LoadGo(t, h, echoFilter(func(r *godriver.Request) nt.Status {
		return r.ForwardThen(addOne)
	}))
	drivertest.LoadGo(t, h, ruleDriver(func(r *godriver.Request) nt.Status {
		var room [16]byte
		return r.Complete(nt.STATUS_SUCCESS, uint64(r.Write(room[:r.Read(room[:])])))
	}))
	for name, code := range map[string]uint32{`\\.\Rule`: ioctlRule,
		`\\.\Echo`: fixtures.IOCTL_ECHO_BUFFERED} {
		f := drivertest.Open(t, h, name)
		in, out := []byte("12345678"), make([]byte, 8)
		n := testing.AllocsPerRun(500, func() {
			if _, err := f.DeviceIoControl(t.Context(), code, in, out); err != nil {
				t.Fatal(err)
			}
		})
		assert.Zerof(t, n, "%s", name)
	}
}

func TestARecorderSeesWhoAsksAndAtWhatLevel(t *testing.T) {
	r := &godriver.Recorder{Name: "Rec"}
	h := drivertest.New(t)
	drivertest.LoadGo(t, h, r.Driver())
	f := drivertest.Open(t, h, `\\.\Rec`)
	_, err := f.DeviceIoControl(t.Context(), ioctlRule, nil, nil)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	for _, got := range r.Received() {
		want := nt.UserMode
		if got.Major == nt.IRP_MJ_CLEANUP || got.Major == nt.IRP_MJ_CLOSE {
			want = nt.KernelMode // the I/O manager's own
		}
		assert.Equal(t, want, got.Requestor, "%v", got.Major)
		assert.Equal(t, nt.PASSIVE_LEVEL, got.IRQL, "%v", got.Major)
	}
}
