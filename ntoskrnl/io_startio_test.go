package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestStartIO(t *testing.T) {
	r := newRig(t)
	d, device := r.device()
	// StartIo counts in the IRP.
	started := r.routine(0xFF, 0x82, byte(irpInformation), 0, 0, 0, 0xC3) // inc dword [rdx+38h]; ret
	require.NoError(t, guest.StoreAddr(d.Object.Addr()+driverStartIO, guest.Addr(started)))
	irps := []uint64{r.mem(0xD0), r.mem(0xD0), r.mem(0xD0)}
	runs := func() (n []uint32) {
		for _, irp := range irps {
			n = append(n, r.u32(irp+irpInformation))
		}
		return n
	}
	current := func() uint64 { return r.u64(device + uint64(deviceCurrentAt)) }
	next := func(name string, args ...uint64) {
		_, err := r.callAt(nt.DISPATCH_LEVEL, name, append([]uint64{device}, args...)...)
		require.NoError(t, err)
	}
	key := r.mem(4)
	r.call("IoStartPacket", device, irps[0], 0, 0)
	assert.Equal(t, []uint32{1, 0, 0}, runs())
	assert.Equal(t, irps[0], current())
	for i, k := range []uint32{9, 5} {
		r.put32(key, k)
		r.call("IoStartPacket", device, irps[1+i], key, 0)
	}
	assert.Equal(t, []uint32{1, 0, 0}, runs(), "the device is busy")
	next("IoStartNextPacket", 1)
	assert.Equal(t, []uint32{1, 0, 1}, runs(), "in the order of the keys")
	next("IoStartNextPacketByKey", 0, 7)
	assert.Equal(t, []uint32{1, 1, 1}, runs())
	assert.Equal(t, irps[1], current())
	next("IoStartNextPacket", 0)
	assert.Zero(t, current())

	// An IRP that was cancelled already, when it is queued with a cancel function.
	cancelled := r.mem(0xD0)
	cancel := r.routine(
		0x48, 0x83, 0xEC, 0x28, // sub rsp, 28h
		0xFF, 0x82, byte(irpInformation), 0, 0, 0, // inc dword [rdx+38h]
		0x0F, 0xB6, 0x4A, 0x45, // movzx ecx, byte [rdx+45h]: CancelIrql
		0x48, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, // mov rax, IoReleaseCancelSpinLock
		0xFF, 0xD0, 0x48, 0x83, 0xC4, 0x28, 0xC3)
	code, err := r.space.AllocSystem(guest.PageSize, guest.ProtRW, "a cancel routine of a test")
	require.NoError(t, err)
	defer func() { require.NoError(t, code.Free()) }()
	copy(code.Bytes(), r.read(cancel, 64))
	require.NoError(t, guest.StoreAddr(code.Base()+16, r.symbol("IoReleaseCancelSpinLock")))
	require.NoError(t, code.Protect(0, code.Size(), guest.ProtRX))
	r.call("IoStartPacket", device, irps[0], 0, uint64(code.Base()))
	r.write(cancelled+irpCancel, []byte{1})
	r.call("IoStartPacket", device, cancelled, 0, uint64(code.Base()))
	assert.EqualValues(t, 1, r.u32(cancelled+irpInformation))
	assert.Zero(t, r.u64(cancelled+irpCancelRtn))
}
