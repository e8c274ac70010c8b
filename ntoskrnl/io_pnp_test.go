package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestNoDeviceIsAPDO(t *testing.T) {
	r := newRig(t)
	_, device := r.device()
	guid, out, name := r.mem(16), r.mem(64), r.ustr(`\??\none`, 0)
	assert.Equal(t, nt.STATUS_INVALID_DEVICE_REQUEST,
		r.status("IoGetDeviceProperty", device, 1, 64, out, out))
	assert.Equal(t, nt.STATUS_INVALID_DEVICE_REQUEST,
		r.status("IoOpenDeviceRegistryKey", device, 1, 0x20019, out))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER,
		r.status("IoOpenDeviceRegistryKey", device, 3, 0x20019, out))
	assert.Equal(t, nt.STATUS_INVALID_DEVICE_REQUEST,
		r.status("IoRegisterDeviceInterface", device, guid, 0, out))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, r.status("IoSetDeviceInterfaceState", name, 1))
	assert.Equal(t, nt.STATUS_INVALID_DEVICE_REQUEST,
		r.status("IoGetDeviceInterfaces", guid, device, 0, out))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IoGetDeviceInterfaces", guid, 0, 0, out))
	assert.Zero(t, r.u16(r.u64(out)), "an empty list")
	r.call("ExFreePool", r.u64(out))
	assert.Zero(t, r.call("IoGetDmaAdapter", device, out, out+8))
	for _, name := range []string{"IoInvalidateDeviceRelations", "IoInvalidateDeviceState",
		"IoRequestDeviceEject"} {
		b := bugcheck(t, nt.PASSIVE_LEVEL, name, func(r *driverRig) []uint64 {
			_, device := r.device()
			return []uint64{device, 0}
		})
		assert.Equal(t, nt.PNP_DETECTED_FATAL_ERROR, b.Code)
		assert.EqualValues(t, 2, b.Params[0])
	}
}

func TestPlugPlayNotifications(t *testing.T) {
	r := newRig(t)
	d, _ := r.device()
	driver, guid, entry := uint64(d.Object.Addr()), r.mem(16), r.mem(8)
	for _, category := range []uint64{1, 2} {
		require.Equal(t, nt.STATUS_SUCCESS, r.status("IoRegisterPlugPlayNotification", category, 0, guid,
			driver, r.routine(0xC3), 0, entry))
		require.Equal(t, nt.STATUS_SUCCESS, r.status("IoUnregisterPlugPlayNotification", r.u64(entry)))
		b, ok := r.Mm.BlockAt(guest.Addr(r.u64(entry)))
		assert.True(t, ok && b.Freed)
	}
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IoRegisterPlugPlayNotification", 1, 0, 0, driver,
		r.routine(0xC3), 0, entry))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IoUnregisterPlugPlayNotificationEx", r.u64(entry)))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("IoRegisterPlugPlayNotification", 9, 0, guid,
		driver, r.routine(0xC3), 0, entry))
}

func TestWMIEvents(t *testing.T) {
	r := newRig(t)
	event := r.pool(0x40)
	r.put32(event, 0x40)
	r.put32(event+0x2C, 0)
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("IoWMIWriteEvent", event))
	r.put32(event+0x2C, 8) // WNODE_FLAG_EVENT_ITEM
	r.put32(event, 1<<20)
	assert.Equal(t, nt.STATUS_BUFFER_OVERFLOW, r.status("IoWMIWriteEvent", event))
	r.put32(event, 0x40)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("IoWMIWriteEvent", event))
	b, _ := r.Mm.BlockAt(guest.Addr(event))
	assert.True(t, b.Freed)
}
