package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

// opened gives the rig the echo driver's device, by its name, with a file object.
func (r *driverRig) opened() (file, device uint64) {
	r.t.Helper()
	_, err := r.LoadFile(fixture(r.t, "echo"))
	require.NoError(r.t, err)
	at := r.mem(16)
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("IoGetDeviceObjectPointer",
		r.ustr(`\Device\Echo`, 0), uint64(nt.FILE_ALL_ACCESS), at, at+8))
	return r.u64(at), r.u64(at + 8)
}

// send sends an IRP with a file object, waits for the event, and gives the IO_STATUS_BLOCK.
func (r *driverRig) send(device, file, irp, event, iosb uint64) (nt.Status, uint64) {
	r.t.Helper()
	require.NotZero(r.t, irp)
	r.put64(r.u64(irp+irpCurrent)-stackSize+0x30, file) // the next location's FileObject
	status := r.status("IofCallDriver", device, irp)
	if status == nt.STATUS_PENDING {
		require.Equal(r.t, nt.STATUS_SUCCESS, r.status("KeWaitForSingleObject", event, 0, 0, 0, 0))
	}
	return nt.Status(r.u32(iosb)), r.u64(iosb + 8)
}

func TestDevicesAreFoundByName(t *testing.T) {
	r := newRig(t)
	file, device := r.opened()
	assert.Equal(t, device, r.call("IoGetRelatedDeviceObject", file))
	at := r.mem(16)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, r.status("IoGetDeviceObjectPointer",
		r.ustr(`\Device\None`, 0), uint64(nt.FILE_READ_DATA), at, at+8))
	r.call("ObfDereferenceObject", file)
}

func TestIRPsThatAreBuiltForADriver(t *testing.T) {
	r := newRig(t)
	file, device := r.opened()
	event, iosb, out := r.mem(24), r.mem(16), r.mem(64)
	in := r.bytes([]byte("over and back"))
	control := func(code uint32, inLen, outLen uint64) (nt.Status, uint64) {
		r.call("KeInitializeEvent", event, 0, 0)
		irp := r.call("IoBuildDeviceIoControlRequest", uint64(code), device, in, inLen, out, outLen, 0,
			event, iosb)
		return r.send(device, file, irp, event, iosb)
	}
	for name, code := range map[string]uint32{"buffered": fixtures.IOCTL_ECHO_BUFFERED,
		"out direct": fixtures.IOCTL_ECHO_OUT_DIRECT, "pended": fixtures.IOCTL_ECHO_PEND_WORK} {
		t.Run(name, func(t *testing.T) {
			r.write(out, make([]byte, 64))
			status, n := control(code, 13, 64)
			require.Equal(t, nt.STATUS_SUCCESS, status)
			assert.EqualValues(t, 13, n)
			assert.Equal(t, "over and back", string(r.read(out, 13)))
		})
	}
	status, _ := control(0x222FFC, 13, 64)
	assert.Equal(t, nt.STATUS_INVALID_DEVICE_REQUEST, status)
	require.Zero(t, r.call("IoBuildDeviceIoControlRequest", uint64(fixtures.IOCTL_ECHO_OUT_DIRECT), device,
		in, 13, 0x20000, 64, 0, event, iosb), "memory that is not there cannot be locked")

	transfer := func(major nt.MajorFunction, buffer, length uint64) (nt.Status, uint64) {
		r.call("KeInitializeEvent", event, 0, 0)
		irp := r.call("IoBuildSynchronousFsdRequest", uint64(major), device, buffer, length,
			r.bytes(make([]byte, 8)), event, iosb)
		return r.send(device, file, irp, event, iosb)
	}
	status, n := transfer(nt.IRP_MJ_WRITE, in, 13)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.EqualValues(t, 13, n)
	r.write(out, make([]byte, 64))
	status, _ = transfer(nt.IRP_MJ_READ, out, 13)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.Equal(t, "over and back", string(r.read(out, 13)))
	status, _ = transfer(nt.IRP_MJ_FLUSH_BUFFERS, 0, 0)
	assert.Equal(t, nt.STATUS_SUCCESS, status)
	r.call("ObfDereferenceObject", file)
}

func TestAnAsynchronousIRPIsFreedByItsCompletionRoutine(t *testing.T) {
	r := newRig(t)
	file, device := r.opened()
	iosb, count := r.mem(16), r.mem(8)
	irp := r.call("IoBuildAsynchronousFsdRequest", uint64(nt.IRP_MJ_FLUSH_BUFFERS), device, 0, 0, 0, iosb)
	require.NotZero(t, irp)
	next := r.u64(irp+irpCurrent) - stackSize
	r.put64(next+0x30, file)
	r.put64(next+stackCompletion, r.routine(moreProcessing...))
	r.put64(next+stackContext, count)
	r.write(next+stackControl, []byte{0xE0}) // on success, error and cancel
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IofCallDriver", device, irp))
	assert.EqualValues(t, 1, r.u32(count))
	assert.Zero(t, r.u64(iosb), "the I/O manager has not seen its end")
	before := r.IO.Outstanding()
	r.call("IoFreeIrp", irp)
	assert.Equal(t, before-1, r.IO.Outstanding())
	r.call("ObfDereferenceObject", file)
}
