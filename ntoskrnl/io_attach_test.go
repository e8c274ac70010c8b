package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// attachable gives the rig echo.sys with its device open, and a device to attach whose driver remembers
// in list what CLOSE is sent to.
func (r *driverRig) attachable() (file, target, source, list uint64) {
	r.t.Helper()
	file, target = r.opened()
	_, devices, list := r.reachable(nt.IRP_MJ_CLOSE, 1)
	return file, target, devices[0], list
}

// echoCounts asks echo.sys what it was sent.
func (r *driverRig) echoCounts(file, device uint64) fixtures.EchoCounts {
	r.t.Helper()
	event, iosb, out := r.mem(24), r.mem(16), r.mem(fixtures.EchoCountsSize)
	r.call("KeInitializeEvent", event, 0, 0)
	irp := r.call("IoBuildDeviceIoControlRequest", fixtures.IOCTL_ECHO_COUNTS, device, 0, 0, out,
		fixtures.EchoCountsSize, 0, event, iosb)
	status, _ := r.send(device, file, irp, event, iosb)
	require.Equal(r.t, nt.STATUS_SUCCESS, status)
	counts, err := fixtures.ParseEchoCounts(r.read(out, fixtures.EchoCountsSize))
	require.NoError(r.t, err)
	return counts
}

func TestIoAttachDeviceOpensTheTarget(t *testing.T) {
	r := newRig(t)
	file, target, source, list := r.attachable()
	before := r.echoCounts(file, target)
	below := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IoAttachDevice", source, r.ustr(`\Device\Echo`, 0),
		below))
	assert.Equal(t, target, r.u64(below))
	assert.Equal(t, source, r.u64(target+deviceAttached))
	after := r.echoCounts(file, target)
	for major, more := range map[nt.MajorFunction]uint32{nt.IRP_MJ_CREATE: 1, nt.IRP_MJ_CLEANUP: 1,
		nt.IRP_MJ_CLOSE: 0} {
		assert.Equal(t, before.Dispatched[major]+more, after.Dispatched[major], major)
	}
	assert.Equal(t, []uint64{1, source}, r.words(list, 2), "CLOSE goes to the new top")
	assert.EqualValues(t, 1, r.u32(target+0x04), "only the first file is open")

	r.call("IoDetachDevice", target)
	r.call("ObfDereferenceObject", file)
	r.call("IoDeleteDevice", source)
}

func TestIoAttachDeviceFails(t *testing.T) {
	r := newRig(t)
	file, target, source, list := r.attachable()
	d := r.Dev.Device(guest.Addr(source)).Driver
	made := r.mem(8)
	name := r.ustr(`\Device\Refuses`, 0)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IoCreateDevice", uint64(d.Object.Addr()), 0, name,
		0x22, 0, 0, made))
	below := r.mem(8)
	for _, c := range []struct {
		name   string
		device string
		want   nt.Status
	}{
		{"without a device of the name", `\Device\None`, nt.STATUS_OBJECT_NAME_NOT_FOUND},
		{"with a name that is none", `Echo`, nt.STATUS_OBJECT_PATH_SYNTAX_BAD},
		{"with something else of the name", `\Driver\echo`, nt.STATUS_OBJECT_TYPE_MISMATCH},
		{"while the device is being set up", `\Device\Refuses`, nt.STATUS_NO_SUCH_DEVICE},
	} {
		assert.Equal(t, c.want, r.status("IoAttachDevice", source, r.ustr(c.device, 0), below), c.name)
	}
	refuses := r.u64(made)
	r.put32(refuses+deviceFlags, r.u32(refuses+deviceFlags)&^nt.DO_DEVICE_INITIALIZING)
	assert.Equal(t, nt.STATUS_INVALID_DEVICE_REQUEST, r.status("IoAttachDevice", source, name, below),
		"what the driver's CREATE says")
	assert.Zero(t, r.u64(below))
	assert.Zero(t, r.u64(list), "no CLOSE of what was not opened")
	r.write(target+deviceStackSize, []byte{127})
	assert.Equal(t, nt.STATUS_INVALID_DEVICE_STATE, r.status("IoAttachDevice", source,
		r.ustr(`\Device\Echo`, 0), below), "no IRP can have that many locations")
	r.write(target+deviceStackSize, []byte{1})
	r.call("IoDeleteDevice", refuses)
	r.call("IoDeleteDevice", source)
	r.call("ObfDereferenceObject", file)
}

func TestAnExclusiveDeviceThatIsOpenCanBeAttachedTo(t *testing.T) {
	r := newRig(t)
	file, _, source, list := r.attachable()
	at, name := r.mem(16), r.ustr(`\Device\EchoExclusive`, 0)
	get := func() nt.Status {
		return r.status("IoGetDeviceObjectPointer", name, uint64(nt.FILE_READ_DATA), at, at+8)
	}
	require.Equal(t, nt.STATUS_SUCCESS, get())
	exclusive, target := r.u64(at), r.u64(at+8)
	require.Equal(t, nt.STATUS_ACCESS_DENIED, get())
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IoAttachDevice", source, name, at))
	assert.Equal(t, target, r.u64(at))
	assert.Equal(t, []uint64{1, source}, r.words(list, 2))
	r.call("IoDetachDevice", target)
	for _, f := range []uint64{exclusive, file} {
		r.call("ObfDereferenceObject", f)
	}
	r.call("IoDeleteDevice", source)
}

func TestIoAttachDeviceByPointer(t *testing.T) {
	r := newRig(t)
	d, device, _ := r.reachable(nt.IRP_MJ_CLOSE, 2)
	fresh := r.another(uint64(d.Object.Addr()))
	assert.Equal(t, nt.STATUS_NO_SUCH_DEVICE, r.status("IoAttachDeviceByPointer", device[1], fresh),
		"it is being set up")
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("IoAttachDeviceByPointer", device[1], device[0]))
	assert.Equal(t, device[1], r.u64(device[0]+deviceAttached))
	assert.EqualValues(t, 2, r.read(device[1]+deviceStackSize, 1)[0])
}

func TestWhereTheDeviceBelowIsStoredMustBeMemory(t *testing.T) {
	b := bugcheck(t, nt.PASSIVE_LEVEL, "IoAttachDeviceToDeviceStackSafe", func(r *driverRig) []uint64 {
		_, device, _ := r.reachable(nt.IRP_MJ_CLOSE, 2)
		return []uint64{device[1], device[0], 0}
	})
	assert.Equal(t, nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED, b.Code)
}
