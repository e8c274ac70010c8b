package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

func TestPowerRequests(t *testing.T) {
	r := newRig(t)
	_, dev, list := r.reachable(nt.IRP_MJ_POWER, 2)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IoAttachDeviceToDeviceStackSafe", dev[1], dev[0],
		r.mem(8)))
	// The completion function: what it is called with goes to its context.
	seen, irp := r.mem(64), r.mem(8)
	completion := r.routine(
		0x49, 0x89, 0x09, // mov [r9], rcx
		0x49, 0x89, 0x51, 0x08, // mov [r9+8], rdx
		0x4D, 0x89, 0x41, 0x10, // mov [r9+10h], r8
		0x48, 0x8B, 0x44, 0x24, 0x28, // mov rax, [rsp+28h]
		0x8B, 0x00, // mov eax, [rax]
		0x49, 0x89, 0x41, 0x18, // mov [r9+18h], rax
		0xC3)
	const setPower, d3 = 2, 4
	require.Equal(t, nt.STATUS_PENDING, r.status("PoRequestPowerIrp", dev[0], setPower, d3, completion,
		seen, irp))
	assert.Equal(t, []uint64{1, dev[1]}, r.words(list, 2), "the top of the stack has it")
	assert.Equal(t, []uint64{dev[0], setPower, d3, uint64(nt.STATUS_SUCCESS)}, r.words(seen, 4))
	assert.NotZero(t, r.u64(irp))
	assert.Equal(t, nt.STATUS_PENDING, r.status("PoRequestPowerIrp", dev[0], 0, d3, 0, 0, 0))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER_2,
		r.status("PoRequestPowerIrp", dev[0], 1, d3, completion, seen, irp))
}

func TestPowerStates(t *testing.T) {
	r := newRig(t)
	_, device := r.device()
	const system, ofDevice, d0, d3 = 0, 1, 1, 4
	assert.EqualValues(t, 0, r.i32("PoSetPowerState", device, ofDevice, d0))
	assert.EqualValues(t, d0, r.i32("PoSetPowerState", device, ofDevice, d3))
	assert.EqualValues(t, d3, r.i32("PoSetPowerState", device, system, 5))
	assert.EqualValues(t, d3, r.i32("PoSetPowerState", device, ofDevice, d0))
	r.call("PoSetSystemState", 1)
}

func TestPowerInformation(t *testing.T) {
	r := newRig(t)
	out := r.mem(64)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwPowerInformation", 5, 0, 0, out, 32))
	assert.Equal(t, []byte{1, 0, 0, 0}, r.read(out, 4), "on AC, without a battery")
	assert.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, r.status("ZwPowerInformation", 5, 0, 0, out, 31))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwPowerInformation", 11, 0, 0, out, 24))
	assert.EqualValues(t, processorMHz, r.u32(out+4))
	assert.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, r.status("ZwPowerInformation", 11, 0, 0, out, 23))
	for _, level := range []uint64{14, 15, 16} {
		require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwPowerInformation", level, 0, 0, out, 8))
	}
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("ZwPowerInformation", 99, 0, 0, out, 64))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("ZwPowerInformation", 5, out, 4, out, 32))
}
