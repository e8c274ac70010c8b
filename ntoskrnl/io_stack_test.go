package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

// Device stacks, and IRPs that a driver makes, sends and cancels itself.

// Offsets in an IRP and in a stack location, as drivers' macros use them.
const (
	irpStatus       = 0x30
	irpInformation  = 0x38
	irpStackCount   = 0x42
	irpLocation     = 0x43
	irpCancel       = 0x44
	irpCancelRtn    = 0x68
	irpCurrent      = 0xB8
	stackSize       = 0x48
	stackControl    = 0x03
	stackDevice     = 0x28
	stackCompletion = 0x38
	stackContext    = 0x40
	deviceAttached  = 0x18
	deviceFlags     = 0x30
	deviceStackSize = 0x4C
)

// moreProcessing is a completion routine: inc dword [r8]; mov eax, STATUS_MORE_PROCESSING_REQUIRED;
// ret.
var moreProcessing = []byte{0x41, 0xFF, 0x00, 0xB8, 0x16, 0x00, 0x00, 0xC0, 0xC3}

// another gives the rig one more device of a driver.
func (r *driverRig) another(driver uint64) uint64 {
	result := r.mem(8)
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("IoCreateDevice", driver, 0, 0, 0x22, 0, 0, result))
	return r.u64(result)
}

func TestDeviceStacks(t *testing.T) {
	r := newRig(t)
	d, bottom := r.device()
	driver := uint64(d.Object.Addr())
	middle, top := r.another(driver), r.another(driver)

	assert.Equal(t, bottom, r.call("IoGetAttachedDevice", bottom), "alone, it is its own top")
	below := r.mem(8)
	assert.Zero(t, r.call("IoAttachDeviceToDeviceStack", middle, bottom),
		"not while DO_DEVICE_INITIALIZING is set in the device below")
	assert.Equal(t, nt.STATUS_NO_SUCH_DEVICE,
		r.status("IoAttachDeviceToDeviceStackSafe", middle, bottom, below))
	assert.Zero(t, r.u64(below))
	for _, device := range []uint64{bottom, middle, top} {
		r.put32(device+deviceFlags, r.u32(device+deviceFlags)&^nt.DO_DEVICE_INITIALIZING)
	}
	assert.Equal(t, bottom, r.call("IoAttachDeviceToDeviceStack", middle, bottom))
	assert.EqualValues(t, 2, r.read(middle+deviceStackSize, 1)[0], "one more than the device below")
	assert.Equal(t, middle, r.u64(bottom+deviceAttached))

	assert.Equal(t, nt.STATUS_SUCCESS,
		r.status("IoAttachDeviceToDeviceStackSafe", top, bottom, below))
	assert.Equal(t, middle, r.u64(below), "it goes on top of the stack, not on the target")
	assert.EqualValues(t, 3, r.read(top+deviceStackSize, 1)[0])
	for _, device := range []uint64{bottom, middle, top} {
		assert.Equal(t, top, r.call("IoGetAttachedDevice", device))
	}

	assert.Equal(t, top, r.call("IoGetAttachedDeviceReference", bottom))
	r.call("ObfDereferenceObject", top)

	r.call("IoDetachDevice", middle)
	assert.Equal(t, middle, r.call("IoGetAttachedDevice", bottom))
	r.call("IoDetachDevice", bottom)
	assert.Zero(t, r.u64(bottom+deviceAttached))
	for _, device := range []uint64{top, middle, bottom} {
		r.call("IoDeleteDevice", device)
	}
}

func TestADriversOwnIRPs(t *testing.T) {
	for _, name := range []string{"IofCallDriver", "IoCallDriver", "PoCallDriver"} {
		t.Run(name+" takes it to the next stack location's dispatch routine", func(t *testing.T) {
			r := newRig(t)
			_, device := r.device()
			irp := r.call("IoAllocateIrp", 2, 0)
			require.NotZero(t, irp)
			first := r.u64(irp + irpCurrent)
			next := first - stackSize
			calls := r.mem(8)
			r.write(next, []byte{byte(nt.IRP_MJ_DEVICE_CONTROL)})
			r.write(next+stackControl, []byte{0xE0}) // on success, error and cancel
			r.put64(next+stackCompletion, r.routine(moreProcessing...))
			r.put64(next+stackContext, calls)
			r.call("PoStartNextPowerIrp", irp)
			assert.Equal(t, nt.STATUS_INVALID_DEVICE_REQUEST, r.status(name, device, irp),
				"the driver sets no such routine")
			assert.Equal(t, device, r.u64(next+stackDevice))
			assert.EqualValues(t, 1, r.u32(calls), "the completion routine runs once")
			assert.Equal(t, nt.STATUS_INVALID_DEVICE_REQUEST, nt.Status(r.u32(irp+irpStatus)))
			assert.Equal(t, first, r.u64(irp+irpCurrent), "and it is the caller's again")
			assert.EqualValues(t, 3, r.read(irp+irpLocation, 1)[0])

			r.put64(irp+irpInformation, 7)
			r.call("IoReuseIrp", irp, uint64(nt.STATUS_NOT_SUPPORTED))
			assert.Equal(t, nt.STATUS_NOT_SUPPORTED, nt.Status(r.u32(irp+irpStatus)))
			assert.Zero(t, r.u64(irp+irpInformation))
			assert.EqualValues(t, 2, r.read(irp+irpStackCount, 1)[0])
			r.call("IoFreeIrp", irp)
			r.call("IoDeleteDevice", device)
		})
	}
	t.Run("IoCompleteRequest is IofCompleteRequest", func(t *testing.T) {
		r := newRig(t)
		irp := r.call("IoAllocateIrp", 2, 0)
		next := r.u64(irp+irpCurrent) - stackSize
		calls := r.mem(8)
		r.write(next+stackControl, []byte{0xE0})
		r.put64(next+stackCompletion, r.routine(moreProcessing...))
		r.put64(next+stackContext, calls)
		r.write(irp+irpLocation, []byte{2}) // IoSetNextIrpStackLocation
		r.put64(irp+irpCurrent, next)
		r.call("IoCompleteRequest", irp, 0)
		assert.EqualValues(t, 1, r.u32(calls))
		r.call("IoFreeIrp", irp)
	})
}

func TestIoCancelIrp(t *testing.T) {
	r := newRig(t)
	_, device := r.device()
	irp := r.call("IoAllocateIrp", 2, 0)
	assert.False(t, r.bool("IoCancelIrp", irp), "without a cancel routine")
	assert.EqualValues(t, 1, r.read(irp+irpCancel, 1)[0], "but it is marked")
	r.call("IoReuseIrp", irp, 0)
	assert.Zero(t, r.read(irp+irpCancel, 1)[0])

	// The routine releases the cancel spin lock with the IRQL in the IRP: sub rsp, 0x28;
	// movzx ecx, byte [rdx+0x45]; mov rax, IoReleaseCancelSpinLock; call rax; add rsp, 0x28; ret.
	code := []byte{0x48, 0x83, 0xEC, 0x28, 0x0F, 0xB6, 0x4A, 0x45, 0x48, 0xB8}
	release := uint64(r.symbol("IoReleaseCancelSpinLock"))
	for i := range 8 {
		code = append(code, byte(release>>(8*i)))
	}
	code = append(code, 0xFF, 0xD0, 0x48, 0x83, 0xC4, 0x28, 0xC3)
	current := r.u64(irp+irpCurrent) - stackSize
	r.write(irp+irpLocation, []byte{2})
	r.put64(irp+irpCurrent, current)
	r.put64(current+stackDevice, device)
	r.put64(irp+irpCancelRtn, r.routine(code...))
	assert.True(t, r.bool("IoCancelIrp", irp))
	assert.Zero(t, r.u64(irp+irpCancelRtn), "it is taken out before it runs")
	assert.Zero(t, r.call("KeGetCurrentIrql")&0xFF)
	r.call("IoFreeIrp", irp)
	r.call("IoDeleteDevice", device)
}

func TestErrorLogEntries(t *testing.T) {
	r := newRig(t)
	d, device := r.device()
	for _, object := range []uint64{device, uint64(d.Object.Addr())} {
		entry := r.call("IoAllocateErrorLogEntry", object, 0x40)
		require.NotZero(t, entry)
		r.call("IoFreeErrorLogEntry", entry)
	}
	assert.Zero(t, r.call("IoAllocateErrorLogEntry", device, 0xF1), "longer than an entry may be")
	assert.Zero(t, r.call("IoAllocateErrorLogEntry", device, 0x10), "shorter than its header")
	assert.Zero(t, r.call("IoAllocateErrorLogEntry", r.mem(64), 0x40), "for no device or driver")
	r.call("IoDeleteDevice", device)
}
