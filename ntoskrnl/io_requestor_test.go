package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/drvhost/drvhost/nt"
)

func TestRequestorSession(t *testing.T) {
	r := newRig(t)
	irp, session := r.call("IoAllocateIrp", 1, 0), r.mem(8)
	assert.Equal(t, nt.STATUS_UNSUCCESSFUL, r.status("IoGetRequestorSessionId", irp, session))
	assert.EqualValues(t, 0xFFFFFFFF, r.u32(session))
	r.put64(irp+0x98, uint64(r.thread.Object)) // Tail.Overlay.Thread
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("IoGetRequestorSessionId", irp, session))
	assert.Zero(t, r.u32(session))
	r.call("IoFreeIrp", irp)
}

func TestTopLevelIrp(t *testing.T) {
	r := newRig(t)
	assert.Zero(t, r.call("IoGetTopLevelIrp"))
	const fsrtlFastIO = 4 // FSRTL_FAST_IO_TOP_LEVEL_IRP: it need not be an address
	r.call("IoSetTopLevelIrp", fsrtlFastIO)
	assert.EqualValues(t, fsrtlFastIO, r.call("IoGetTopLevelIrp"))
	r.call("IoSetTopLevelIrp", 0)
	assert.Zero(t, r.call("IoGetTopLevelIrp"))
}
