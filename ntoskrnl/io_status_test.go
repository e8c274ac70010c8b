package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

// A caller's IO_STATUS_BLOCK holds what the IRP was completed with, unless the status is an error and
// the IRP was not pended: then nothing is written there.
func TestWhatACallersIOStatusBlockHolds(t *testing.T) {
	r := newRig(t)
	_, err := r.LoadFile(fixture(t, "status"))
	require.NoError(t, err)
	const untouched = 0x7777
	at, iosb, out := r.mem(8), r.mem(16), r.mem(64)
	const access, shareAll, synchronous = nt.FILE_READ_DATA | nt.SYNCHRONIZE, 7, 0x20
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwOpenFile", at, uint64(access),
		r.attributes(`\Device\Status`), iosb, shareAll, synchronous))
	handle := r.u64(at)
	for _, status := range []nt.Status{nt.STATUS_SUCCESS, nt.STATUS_OBJECT_NAME_EXISTS,
		nt.STATUS_BUFFER_OVERFLOW, nt.STATUS_UNSUCCESSFUL, 0xE0001234} {
		for how, written := range map[uint32]bool{
			fixtures.STATUS_HOW_SYNC:      !status.IsError(),
			fixtures.STATUS_HOW_MARKED:    true,
			fixtures.STATUS_HOW_WORK_ITEM: true,
			fixtures.STATUS_HOW_DPC:       true,
		} {
			r.put64(iosb, untouched)
			r.put64(iosb+8, untouched)
			in := fixtures.StatusRequest{Status: uint32(status), How: how, Information: 8,
				Filled: 16, Fill: 0x5A}.Bytes()
			got := r.status("ZwDeviceIoControlFile", handle, 0, 0, 0, iosb,
				fixtures.IOCTL_STATUS_BUFFERED, r.bytes(in), uint64(len(in)), out, 64)
			assert.Equal(t, status, got, "%v, how %d", status, how)
			if written {
				assert.Equal(t, status, nt.Status(r.u32(iosb)), "%v, how %d", status, how)
				assert.EqualValues(t, 8, r.u64(iosb+8), "%v, how %d", status, how)
			} else {
				assert.EqualValues(t, untouched, r.u64(iosb), "%v, how %d", status, how)
				assert.EqualValues(t, untouched, r.u64(iosb+8), "%v, how %d", status, how)
			}
		}
	}
	r.call("ZwClose", handle)
}
