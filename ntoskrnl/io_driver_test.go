package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

func TestStacksFromBelow(t *testing.T) {
	r := newRig(t)
	d, dev, _ := r.reachable(nt.IRP_MJ_POWER, 3)
	for i := range 2 {
		require.Equal(t, nt.STATUS_SUCCESS, r.status("IoAttachDeviceToDeviceStackSafe", dev[i+1], dev[0],
			r.mem(8)))
	}
	references := func(device uint64) uint64 { n, _ := r.counts(device); return n }
	before := references(dev[0])
	assert.Equal(t, dev[0], r.call("IoGetDeviceAttachmentBaseRef", dev[2]))
	assert.Equal(t, dev[0], r.call("IoGetDeviceAttachmentBaseRef", dev[0]))
	assert.Equal(t, dev[0], r.call("IoGetLowerDeviceObject", dev[1]))
	assert.Equal(t, before+3, references(dev[0]))
	assert.Equal(t, dev[1], r.call("IoGetLowerDeviceObject", dev[2]))
	assert.Zero(t, r.call("IoGetLowerDeviceObject", dev[0]))

	list, n := r.mem(64), r.mem(4)
	driver := uint64(d.Object.Addr())
	assert.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, r.status("IoEnumerateDeviceObjectList", driver, list, 23,
		n))
	assert.EqualValues(t, 3, r.u32(n))
	assert.Zero(t, r.u64(list))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("IoEnumerateDeviceObjectList", driver, list, 24, n))
	assert.Equal(t, []uint64{dev[2], dev[1], dev[0]}, r.words(list, 3), "the newest first")
	assert.Equal(t, before+4, references(dev[0]))

	r.call("IoDetachDevice", dev[1])
	assert.Zero(t, r.call("IoGetLowerDeviceObject", dev[2]))
	assert.Equal(t, dev[2], r.call("IoGetDeviceAttachmentBaseRef", dev[2]))
}

func TestDriverObjectExtensions(t *testing.T) {
	r := newRig(t)
	d, _ := r.device()
	driver, out := uint64(d.Object.Addr()), r.mem(8)
	assert.Zero(t, r.call("IoGetDriverObjectExtension", driver, 1))
	for id := range uint64(3) {
		require.Equal(t, nt.STATUS_SUCCESS, r.status("IoAllocateDriverObjectExtension", driver, id, 100,
			out))
		a := r.u64(out)
		assert.Equal(t, make([]byte, 100), r.read(a, 100))
		assert.Equal(t, a, r.call("IoGetDriverObjectExtension", driver, id))
	}
	assert.Equal(t, nt.STATUS_OBJECT_NAME_COLLISION,
		r.status("IoAllocateDriverObjectExtension", driver, 1, 8, out))
	assert.Zero(t, r.u64(out))
	assert.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES,
		r.status("IoAllocateDriverObjectExtension", driver, 9, 0xFFFFFFFF, out))
}

// A routine that registers itself again is called with a count that grows, until it does not.
func TestReinitialization(t *testing.T) {
	for _, register := range []string{"IoRegisterDriverReinitialization",
		"IoRegisterBootDriverReinitialization"} {
		r := newRig(t)
		d, _ := r.device()
		seen := r.mem(64)
		routine := r.routine(0x4C, 0x89, 0x02, // mov [rdx], r8
			0x48, 0x89, 0x4A, 0x08, // mov [rdx+8], rcx
			0xC3)
		driver := uint64(d.Object.Addr())
		for range 3 {
			r.call(register, driver, routine, seen)
		}
		require.NoError(t, r.onSystemThread(func(th *ke.Thread) { r.reinitialize(th, d) }))
		assert.Equal(t, []uint64{3, driver}, r.words(seen, 2))
		r.put64(seen, 0)
		require.NoError(t, r.onSystemThread(func(th *ke.Thread) { r.reinitialize(th, d) }))
		assert.Zero(t, r.u64(seen), "once for each registration")
	}
}

// What DriverEntry has registered is called once it has returned, and not when it failed.
func TestALoadedDriverIsReinitialized(t *testing.T) {
	for _, entry := range []nt.Status{nt.STATUS_SUCCESS, nt.STATUS_UNSUCCESSFUL} {
		r := newRig(t)
		seen := r.mem(16)
		routine := r.routine(0x4C, 0x89, 0x02, 0xC3) // mov [rdx], r8; ret
		image := &GoImage{Service: "again", Names: []string{"DriverEntry"}}
		image.Routines = []GoRoutine{func(c *Call) uint64 {
			c.Invoke(image.Driver, "IoRegisterDriverReinitialization", c.Arg(0), routine, seen)
			assert.Zero(t, r.u64(seen), "not before DriverEntry has returned")
			return uint64(uint32(entry))
		}}
		_, err := r.LoadGo(image)
		if entry.Success() {
			require.NoError(t, err)
			assert.EqualValues(t, 1, r.u64(seen))
		} else {
			require.Error(t, err)
			assert.Zero(t, r.u64(seen))
		}
	}
}
