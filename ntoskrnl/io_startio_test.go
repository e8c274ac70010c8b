package ntoskrnl

import (
	"encoding/binary"
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

// startsNext makes a StartIo routine that appends its IRP to a list, asks for the next one, and appends
// its IRP again.
func (r *driverRig) startsNext(list uint64) guest.Addr {
	call := binary.LittleEndian.AppendUint64([]byte{0x48, 0xB8}, // mov rax, IoStartNextPacket
		uint64(r.symbol("IoStartNextPacket")))
	remember := binary.LittleEndian.AppendUint64([]byte{0x48, 0xB8}, list) // mov rax, list
	remember = append(remember,
		0x4C, 0x8B, 0x00, // mov r8, [rax]
		0x4A, 0x89, 0x5C, 0xC0, 0x08, // mov [rax+r8*8+8], rbx
		0x48, 0xFF, 0x00) // inc qword [rax]
	code := []byte{0x53, // push rbx
		0x48, 0x83, 0xEC, 0x20, // sub rsp, 20h
		0x48, 0x89, 0xD3} // mov rbx, rdx
	code = append(code, remember...)
	code = append(code, 0x31, 0xD2) // xor edx, edx
	code = append(append(code, call...), 0xFF, 0xD0)
	code = append(code, remember...)
	return guest.Addr(r.routine(append(code, 0x48, 0x83, 0xC4, 0x20, 0x5B, 0xC3)...))
}

func TestDeferredStartIODoesNotNest(t *testing.T) {
	for name, c := range map[string]struct {
		deferred uint64
		order    [6]int
	}{"it nests": {0, [6]int{1, 2, 3, 3, 2, 1}}, "deferred": {1, [6]int{1, 1, 2, 2, 3, 3}}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			d, device := r.device()
			list := r.mem(128)
			r.call("IoSetStartIoAttributes", device, c.deferred, 0)
			r.call("IoSetStartIoAttributes", device, 0, 0) // which takes nothing back
			start := d.Object.Addr() + driverStartIO
			require.NoError(t, guest.StoreAddr(start, guest.Addr(r.routine(0xC3))))
			irps := []uint64{r.mem(0xD0), r.mem(0xD0), r.mem(0xD0), r.mem(0xD0)}
			for _, irp := range irps {
				r.call("IoStartPacket", device, irp, 0, 0)
			}
			require.NoError(t, guest.StoreAddr(start, r.startsNext(list)))
			_, err := r.callAt(nt.DISPATCH_LEVEL, "IoStartNextPacket", device, 0)
			require.NoError(t, err)
			want := []uint64{6}
			for _, n := range c.order {
				want = append(want, irps[n])
			}
			assert.Equal(t, want, r.words(list, 7))
			assert.Zero(t, r.u64(device+uint64(deviceCurrentAt)), "there is no other")
			r.call("IoStartPacket", device, irps[0], 0, 0)
			assert.EqualValues(t, 8, r.u64(list), "the device is not busy")
		})
	}
}

func TestAnIRPThatIsStartedCannotBeCancelledIfTheDriverSaysSo(t *testing.T) {
	for name, nonCancelable := range map[string]bool{"by default it can": false, "NonCancelable": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			d, device := r.device()
			routine := guest.Addr(r.routine(0xC3))
			require.NoError(t, guest.StoreAddr(d.Object.Addr()+driverStartIO, routine))
			want := uint64(routine)
			if nonCancelable {
				_, err := r.callAt(nt.HIGH_LEVEL, "IoSetStartIoAttributes", device, 0, 1)
				require.NoError(t, err)
				want = 0
			}
			first, second := r.mem(0xD0), r.mem(0xD0)
			r.call("IoStartPacket", device, first, 0, uint64(routine))
			r.call("IoStartPacket", device, second, 0, uint64(routine))
			assert.Equal(t, want, r.u64(first+irpCancelRtn))
			assert.Equal(t, uint64(routine), r.u64(second+irpCancelRtn), "it is queued")
			_, err := r.callAt(nt.DISPATCH_LEVEL, "IoStartNextPacket", device, 1)
			require.NoError(t, err)
			assert.Equal(t, want, r.u64(second+irpCancelRtn))
		})
	}
}
