package ntoskrnl

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// rememberer makes a dispatch routine that appends its device's address to a list, whose length lies
// before it, and completes its IRP.
func (r *driverRig) rememberer(list uint64) guest.Addr {
	text := []byte{0x48, 0xB8} // mov rax, list
	text = binary.LittleEndian.AppendUint64(text, list)
	text = append(text,
		0x4C, 0x8B, 0x00, // mov r8, [rax]
		0x4A, 0x89, 0x4C, 0xC0, 0x08, // mov [rax+r8*8+8], rcx
		0x48, 0xFF, 0x00, // inc qword [rax]
		0x48, 0x89, 0xD1, // mov rcx, rdx
		0xC7, 0x41, 0x30, 0, 0, 0, 0, // mov dword [rcx+30h], STATUS_SUCCESS
		0x31, 0xD2, // xor edx, edx
		0x48, 0x83, 0xEC, 0x28, // sub rsp, 28h
		0x48, 0xB8) // mov rax, IofCompleteRequest
	text = binary.LittleEndian.AppendUint64(text, uint64(r.symbol("IofCompleteRequest")))
	return guest.Addr(r.routine(append(text,
		0xFF, 0xD0, // call rax
		0x31, 0xC0, // xor eax, eax
		0x48, 0x83, 0xC4, 0x28, // add rsp, 28h
		0xC3)...))
}

// reachable gives the rig's driver devices whose IRPs of one function go to a rememberer.
func (r *driverRig) reachable(major nt.MajorFunction, n int) (d *devobj.Driver, devices []uint64,
	list uint64) {
	d, first := r.device()
	devices = []uint64{first}
	for len(devices) < n {
		devices = append(devices, r.another(uint64(d.Object.Addr())))
	}
	for _, device := range devices {
		r.put32(device+deviceFlags, r.u32(device+deviceFlags)&^nt.DO_DEVICE_INITIALIZING)
	}
	list = r.mem(256)
	d.Object.Ref().MajorFunction[major] = r.rememberer(list)
	return d, devices, list
}

func TestShutdownIsToldTheLastFirst(t *testing.T) {
	r := newRig(t)
	_, dev, list := r.reachable(nt.IRP_MJ_SHUTDOWN, 6)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IoRegisterLastChanceShutdownNotification", dev[0]))
	for _, d := range dev[1:] {
		require.Equal(t, nt.STATUS_SUCCESS, r.status("IoRegisterShutdownNotification", d))
	}
	references, _ := r.counts(dev[2])
	r.call("IoUnregisterShutdownNotification", dev[2])
	fewer, _ := r.counts(dev[2])
	assert.Equal(t, references-1, fewer)
	r.call("IoDeleteDevice", dev[4])
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IoAttachDeviceToDeviceStackSafe", dev[5], dev[3],
		r.mem(8)))

	stuck, err := r.Shutdown(nil)
	require.NoError(t, err)
	assert.Nil(t, stuck)
	assert.Equal(t, []uint64{4, dev[5], dev[5], dev[1], dev[0]}, r.words(list, 5),
		"to the top of each stack, those of the last chance last, not to what is deleted")
	stuck, err = r.Shutdown(nil)
	require.NoError(t, err)
	assert.Nil(t, stuck)
	assert.EqualValues(t, 4, r.u64(list), "once")
}

func TestADriverThatDoesNotEndItsShutdown(t *testing.T) {
	r := newRig(t)
	d, dev, _ := r.reachable(nt.IRP_MJ_SHUTDOWN, 1)
	d.Object.Ref().MajorFunction[nt.IRP_MJ_SHUTDOWN] = guest.Addr(r.routine(0xEB, 0xFE)) // jmp $
	r.call("IoRegisterShutdownNotification", dev[0])
	late := make(chan struct{})
	close(late)
	stuck, err := r.Shutdown(late)
	require.NoError(t, err)
	require.NotNil(t, stuck)
	assert.EqualValues(t, dev[0], stuck.Object.Addr())
}
