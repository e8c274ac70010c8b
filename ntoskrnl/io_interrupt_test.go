package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

// Offsets in IO_CONNECT_INTERRUPT_PARAMETERS, as they are for a C compiler.
const (
	connectVersion     = 0x00
	connectDevice      = 0x08
	connectResult      = 0x10
	connectRoutine     = 0x18
	connectContext     = 0x20
	connectSynchronize = 0x30
	connectVector      = 0x34
	connectIrql        = 0x38
	connectMask        = 0x40
	connectGroup       = 0x48
)

func TestConnectInterruptEx(t *testing.T) {
	r := newRig(t)
	_, device := r.device()
	p, result := r.mem(0x50), r.mem(8)
	for _, c := range []struct {
		name    string
		version uint32
		device  uint64
		mask    uint64
		want    nt.Status
	}{
		{"a version that there is not", 0, device, 1, nt.STATUS_INVALID_PARAMETER_1},
		{"a version from the future", 6, device, 1, nt.STATUS_INVALID_PARAMETER_1},
		{"no device", 1, 0, 1, nt.STATUS_INVALID_PARAMETER},
		{"a line, which no device has", 2, device, 1, nt.STATUS_NOT_FOUND},
		{"messages, which no device has", 3, device, 1, nt.STATUS_NOT_FOUND},
		{"no processor", 1, device, 0, nt.STATUS_INVALID_PARAMETER_10},
		{"a processor that there is not", 4, device, 1 << 40, nt.STATUS_INVALID_PARAMETER_10},
		{"fully specified", 1, device, 1, nt.STATUS_SUCCESS},
		{"fully specified with a group", 4, device, 1, nt.STATUS_SUCCESS},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.put32(p+connectVersion, c.version)
			r.put64(p+connectDevice, c.device)
			r.put64(p+connectResult, result)
			r.put64(p+connectRoutine, r.routine(0xC3))
			r.put64(p+connectContext, 7)
			r.write(p+connectSynchronize, []byte{5})
			r.put32(p+connectVector, 0x51)
			r.write(p+connectIrql, []byte{5})
			r.put64(p+connectMask, c.mask)
			r.write(p+connectGroup, []byte{0, 0})
			r.put64(result, 0)
			require.Equal(t, c.want, r.status("IoConnectInterruptEx", p))
			if c.want != nt.STATUS_SUCCESS {
				assert.Zero(t, r.u64(result))
				return
			}
			interrupt := r.u64(result)
			r.on(func(call func(string, ...uint64) uint64) {
				assert.Zero(t, uint8(call("KeAcquireInterruptSpinLock", interrupt)))
				assert.EqualValues(t, 5, r.thread.IRQL())
				call("KeReleaseInterruptSpinLock", interrupt, 0)
			})
			out := r.mem(16)
			r.put32(out, c.version)
			r.put64(out+8, interrupt)
			r.call("IoDisconnectInterruptEx", out)
		})
	}
	r.write(p+connectGroup, []byte{1, 0})
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER_10, r.status("IoConnectInterruptEx", p),
		"there is one group")
	b := bugcheck(t, nt.PASSIVE_LEVEL, "IoDisconnectInterruptEx", func(r *driverRig) []uint64 {
		out := r.mem(16)
		r.put64(out+8, r.mem(64))
		return []uint64{out}
	})
	assert.Equal(t, nt.REFERENCE_BY_POINTER, b.Code)
}

func TestNoDataBlockIsOpen(t *testing.T) {
	r := newRig(t)
	guid, result := r.mem(16), r.mem(8)
	assert.Equal(t, nt.STATUS_WMI_GUID_NOT_FOUND, r.status("IoWMIOpenBlock", guid, 1, result))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH,
		r.status("IoWMIQueryAllData", uint64(r.thread.Object), r.mem(4), 0))
	b := bugcheck(t, nt.PASSIVE_LEVEL, "IoWMIQueryAllData", func(r *driverRig) []uint64 {
		return []uint64{r.mem(64), r.mem(4), 0}
	})
	assert.Equal(t, nt.REFERENCE_BY_POINTER, b.Code)
}
