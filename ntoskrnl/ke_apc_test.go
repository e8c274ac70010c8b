package ntoskrnl

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// APC routines of a test. NormalContext, or the word that is the first system argument, is counted.
var (
	// The kernel routine gets a pointer to SystemArgument1 in R9.
	apcKernel = []byte{0x49, 0x8B, 0x01, // mov rax, [r9]
		0xF0, 0x48, 0xFF, 0x00, 0xC3} // lock inc qword [rax]; ret
	apcNormal = incFirst
)

// exports gives a function that calls exports on t.
func (r *driverRig) exports(t *ke.Thread) func(name string, args ...uint64) uint64 {
	return func(name string, args ...uint64) uint64 { return t.Call(r.symbol(name), args...) }
}

func TestAPCs(t *testing.T) {
	r := newRig(t)
	apc, kernel, normal := r.mem(0x58), r.mem(8), r.mem(8)
	kernelRoutine, normalRoutine := r.routine(apcKernel...), r.routine(apcNormal...)
	require.NoError(t, r.thread.Do(func() {
		call := r.exports(r.thread)
		call("KeInitializeApc", apc, uint64(r.thread.Object), 0, kernelRoutine, 0, normalRoutine, 0,
			normal)
		k, err := guest.Ptr[nt.KAPC](apc).Load()
		require.NoError(t, err)
		assert.Equal(t, nt.KAPC{Type: nt.ApcObject, Size: 0x58, Thread: r.thread.Object,
			KernelRoutine: guest.Addr(kernelRoutine), NormalRoutine: guest.Addr(normalRoutine),
			NormalContext: guest.Addr(normal)}, k)

		call("KeEnterCriticalRegion")
		assert.EqualValues(t, 1, uint8(call("KeInsertQueueApc", apc, kernel, 2, 0)))
		assert.EqualValues(t, 0, uint8(call("KeInsertQueueApc", apc, kernel, 2, 0)))
		assert.Zero(t, r.u64(kernel))
		call("KeLeaveCriticalRegion")
		assert.EqualValues(t, 1, r.u64(kernel))
		assert.EqualValues(t, 1, r.u64(normal))

		call("KeEnterGuardedRegion")
		assert.EqualValues(t, 1, uint8(call("KeInsertQueueApc", apc, kernel, 2, 0)))
		assert.EqualValues(t, 1, uint8(call("KeRemoveQueueApc", apc)))
		assert.EqualValues(t, 0, uint8(call("KeRemoveQueueApc", apc)))
		call("KeLeaveGuardedRegion")
		assert.EqualValues(t, 1, r.u64(kernel))

		// Lowering the IRQL is guest code until there is an APC.
		call("KfRaiseIrql", uint64(nt.APC_LEVEL))
		assert.EqualValues(t, 1, uint8(call("KeInsertQueueApc", apc, kernel, 2, 0)))
		assert.EqualValues(t, 1, r.u64(kernel))
		call("KeLowerIrql", 0)
		assert.EqualValues(t, 2, r.u64(kernel))
		assert.EqualValues(t, 2, r.u64(normal))
	}))
}

func TestAnAPCOfAnotherThreadRunsInItsWait(t *testing.T) {
	r := newRig(t)
	apc, kernel, normal, event := r.mem(0x58), r.mem(8), r.mem(8), r.mem(24)
	r.call("KeInitializeEvent", event, 1, 0)
	waiter, err := r.Ke.NewThread(r.Ke.SystemProcess)
	require.NoError(t, err)
	status := make(chan uint64, 2)
	go func() {
		_ = waiter.Do(func() {
			call := r.exports(waiter)
			status <- call("KeWaitForSingleObject", event, 0, 0, 0, 0)
			status <- call("KeDelayExecutionThread", 0, 1, r.due(time.Hour))
		})
	}()
	r.call("KeInitializeApc", apc, uint64(waiter.Object), 0, r.routine(apcKernel...), 0,
		r.routine(apcNormal...), 0, normal)
	require.True(t, r.bool("KeInsertQueueApc", apc, kernel, 0, 0))
	r.soon(1, normal)
	assert.EqualValues(t, 1, r.u64(kernel))
	r.call("KeSetEvent", event, 0, 0)
	assert.EqualValues(t, nt.STATUS_SUCCESS, <-status)
	assert.False(t, r.bool("KeAlertThread", uint64(waiter.Object), 0))
	assert.EqualValues(t, nt.STATUS_ALERTED, <-status)
	require.NoError(t, waiter.Do(func() {}))
	waiter.Release()
}

func TestAlerts(t *testing.T) {
	r := newRig(t)
	event, array := r.mem(24), r.mem(8)
	r.call("KeInitializeEvent", event, 1, 0)
	r.put64(array, event)
	self := uint64(r.thread.Object)
	assert.False(t, r.bool("KeAlertThread", self, 0))
	assert.True(t, r.bool("KeAlertThread", self, 0))
	assert.Equal(t, nt.STATUS_TIMEOUT, r.poll(event), "a wait that is not alertable")
	assert.Equal(t, nt.STATUS_ALERTED, r.status("KeWaitForSingleObject", event, 0, 0, 1, 0))
	assert.False(t, r.bool("KeTestAlertThread", 0))
	handle := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwCreateEvent", handle, 0x1F0003, 0, 1, 0))
	r.call("KeAlertThread", self, 0)
	assert.Equal(t, nt.STATUS_TIMEOUT, r.status("ZwWaitForSingleObject", r.u64(handle), 0, r.due(0)))
	assert.Equal(t, nt.STATUS_ALERTED, r.status("ZwWaitForSingleObject", r.u64(handle), 1, 0))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", r.u64(handle)))
	r.call("KeAlertThread", self, 1)
	assert.Equal(t, nt.STATUS_ALERTED, r.status("KeWaitForMultipleObjects", 1, array, 1, 0, 1, 1, 0,
		0), "user mode")
	r.call("KeAlertThread", self, 1)
	assert.True(t, r.bool("KeTestAlertThread", 1))
	assert.False(t, r.bool("KeTestAlertThread", 1))
}
