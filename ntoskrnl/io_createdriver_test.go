package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// initializer makes an initialisation routine that stores its arguments and gives a status.
func (r *driverRig) initializer(status nt.Status) (routine, seen uint64) {
	seen = r.mem(16)
	code := []byte{0x48, 0xB8} // mov rax, seen
	for i := range 8 {
		code = append(code, byte(seen>>(8*i)))
	}
	code = append(code, 0x48, 0x89, 0x08, // mov [rax], rcx
		0x48, 0x89, 0x50, 0x08, // mov [rax+8], rdx
		0xB8, byte(status), byte(status>>8), byte(status>>16), byte(status>>24), // mov eax, status
		0xC3)
	return r.routine(code...), seen
}

func TestADriverObjectOfIoCreateDriver(t *testing.T) {
	r := newRig(t)
	routine, seen := r.initializer(nt.STATUS_SUCCESS)
	r.put64(seen+8, 1)
	name := r.ustr(`\Driver\Made`, 0)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IoCreateDriver", name, routine))
	driver := r.u64(seen)
	assert.Zero(t, r.u64(seen+8), "there is no registry path")
	d := r.Dev.Driver(guest.Addr(driver))
	require.NotNil(t, d)
	o := d.Object.Ref()
	assert.Equal(t, guest.Addr(routine), o.DriverInit)
	assert.Zero(t, o.DriverStart, "there is no image")
	assert.Equal(t, nt.DRVO_LEGACY_DRIVER|nt.DRVO_BUILTIN_DRIVER|nt.DRVO_INITIALIZED, o.Flags)
	assert.Equal(t, `\Driver\Made`, r.readUstr(driver+0x38))
	for _, f := range o.MajorFunction {
		assert.Equal(t, r.symbol("IopInvalidDeviceRequest"), f)
	}
	assert.Equal(t, nt.STATUS_OBJECT_NAME_COLLISION, r.status("IoCreateDriver", name, routine))
	assert.Equal(t, nt.STATUS_OBJECT_PATH_NOT_FOUND, r.status("IoCreateDriver",
		r.ustr(`\None\Made`, 0), routine))

	device := r.another(driver)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IoAllocateDriverObjectExtension", driver, 7, 100,
		r.mem(8)))
	r.call("IoDeleteDriver", driver)
	_, _, status := r.Ob.Lookup(`\Driver\Made`)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status)
	assert.Same(t, d, r.Dev.Driver(guest.Addr(driver)), "it lives as long as its device")
	assert.NotZero(t, r.call("IoGetDriverObjectExtension", driver, 7))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IoCreateDriver", name, routine), "the name is free")
	r.call("IoDeleteDriver", r.u64(seen))
	r.call("IoDeleteDevice", device)
	assert.Nil(t, r.Dev.Driver(guest.Addr(driver)))
	assert.Empty(t, r.created)
	assert.Empty(t, r.extras)
}

func TestIoCreateDriverGivesANameToOneWithout(t *testing.T) {
	r := newRig(t)
	routine, seen := r.initializer(nt.STATUS_SUCCESS)
	for _, want := range []string{`\Driver\00000001`, `\Driver\00000002`} {
		require.Equal(t, nt.STATUS_SUCCESS, r.status("IoCreateDriver", 0, routine))
		assert.Equal(t, want, r.readUstr(r.u64(seen)+0x38))
	}
}

func TestADriverWhoseInitializationFailsIsGone(t *testing.T) {
	r := newRig(t)
	routine, seen := r.initializer(nt.STATUS_DEVICE_NOT_READY)
	assert.Equal(t, nt.STATUS_DEVICE_NOT_READY, r.status("IoCreateDriver", r.ustr(`\Driver\Made`, 0),
		routine))
	assert.Nil(t, r.Dev.Driver(guest.Addr(r.u64(seen))))
	assert.Empty(t, r.created)
}

func TestOnlyADriverOfIoCreateDriverIsDeletedAndOnce(t *testing.T) {
	for name, driver := range map[string]func(r *driverRig) uint64{
		"a loaded driver's": func(r *driverRig) uint64 {
			d, _ := r.device()
			return uint64(d.Object.Addr())
		},
		"deleted before": func(r *driverRig) uint64 {
			routine, seen := r.initializer(nt.STATUS_SUCCESS)
			require.Equal(r.t, nt.STATUS_SUCCESS, r.status("IoCreateDriver", 0, routine))
			r.another(r.u64(seen))
			r.call("IoDeleteDriver", r.u64(seen))
			return r.u64(seen)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := bugcheck(t, nt.PASSIVE_LEVEL, "IoDeleteDriver", func(r *driverRig) []uint64 {
				return []uint64{driver(r)}
			})
			assert.Equal(t, nt.REFERENCE_BY_POINTER, b.Code)
			assert.Contains(t, b.Reason, "IoCreateDriver")
		})
	}
}

// What a driver has created and not deleted goes with its image, but not while it is open.
func TestADriverIsUnloadedWithThoseThatItHasCreated(t *testing.T) {
	k := newKernel(t, Options{Processors: 1})
	g := &GoImage{Service: "maker", Names: []string{"DriverEntry", "DriverUnload", "Init"}}
	var made guest.Addr
	g.Routines = []GoRoutine{
		func(c *Call) uint64 {
			routine := func(name string) guest.Addr {
				e, _ := g.Driver.Module.LookupExport(name)
				return e.Addr
			}
			g.Driver.Object.Ref().DriverUnload = routine("DriverUnload")
			return c.Invoke(g.Driver, "IoCreateDriver", 0, uint64(routine("Init")))
		},
		func(*Call) uint64 { return 0 },
		func(c *Call) uint64 {
			made = guest.Addr(c.Arg(0))
			name, err := c.newUnicodeString(`\Device\Made`)
			c.Must(err)
			defer c.freeObject(name)
			result, err := c.allocObject(8)
			c.Must(err)
			defer c.freeObject(result)
			return c.Invoke(g.Driver, "IoCreateDevice", uint64(made), 0, uint64(name), 0x22, 0, 0,
				uint64(result))
		},
	}
	d, err := k.LoadGo(g)
	require.NoError(t, err)
	devices := k.Dev.Devices(k.Dev.Driver(made))
	require.Len(t, devices, 1)
	file, status := k.Dev.Open(devices[0], devobj.OpenInfo{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	_, err = k.Unload(d)
	var busy *BusyError
	require.ErrorAs(t, err, &busy)
	assert.Equal(t, 1, busy.Opens)
	k.Dev.Close(file)
	left, err := k.Unload(d)
	require.NoError(t, err)
	assert.Equal(t, []string{`driver object \Driver\00000001`}, left)
	assert.Nil(t, k.Dev.Driver(made))
}
