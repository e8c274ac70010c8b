package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

func TestInterruptObjects(t *testing.T) {
	r := newRig(t)
	result, lock, word := r.mem(8), r.mem(8), r.mem(8)
	connect := func(args ...uint64) nt.Status { return r.status("IoConnectInterrupt", args...) }
	routine := r.routine(0xC3)
	for _, own := range []uint64{0, lock} {
		require.Equal(t, nt.STATUS_SUCCESS, connect(result, routine, 1, own, 0x31, 5, 6, 0, 0, 1, 0))
		interrupt := r.u64(result)
		level := r.routine(0x44, 0x0F, 0x20, 0xC0, // mov rax, cr8
			0x48, 0x89, 0x01, // mov [rcx], rax
			0xB0, 0x01, 0xC3) // mov al, 1; ret
		assert.True(t, r.bool("KeSynchronizeExecution", interrupt, level, word))
		assert.EqualValues(t, 6, r.u64(word))
		require.NoError(t, r.thread.Do(func() {
			call := r.exports(r.thread)
			assert.EqualValues(t, 0, uint8(call("KeAcquireInterruptSpinLock", interrupt)))
			assert.EqualValues(t, 6, r.thread.IRQL())
			if own != 0 {
				assert.NotZero(t, r.u64(lock))
			}
			call("KeReleaseInterruptSpinLock", interrupt, 0)
			assert.EqualValues(t, 0, r.thread.IRQL())
		}))
		r.call("IoDisconnectInterrupt", interrupt)
	}
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, connect(result, routine, 1, 0, 0x31, 5, 6, 0, 0, 0, 0))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, connect(result, 0, 1, 0, 0x31, 5, 6, 0, 0, 1, 0))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, connect(result, routine, 1, 0, 0x31, 7, 6, 0, 0, 1, 0))
}

func TestStackExports(t *testing.T) {
	r := newRig(t)
	low, high, word := r.mem(8), r.mem(8), r.mem(8)
	r.call("IoGetStackLimits", low, high)
	assert.EqualValues(t, r.thread.Stack().Base(), r.u64(low))
	assert.EqualValues(t, r.thread.Stack().Top(), r.u64(high))
	assert.Equal(t, r.u64(high), r.call("IoGetInitialStack"))
	left := r.call("IoGetRemainingStackSize")
	assert.Less(t, left, r.u64(high)-r.u64(low))
	assert.Greater(t, left, r.u64(high)-r.u64(low)-0x1000)

	inc := r.routine(incFirst...)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeExpandKernelStackAndCallout", inc, word, 0x2000))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeExpandKernelStackAndCalloutEx", inc, word, 0x2000, 1,
		0))
	assert.EqualValues(t, 2, r.u64(word))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER_3, r.status("KeExpandKernelStackAndCallout", inc, word,
		0x20000))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeExpandKernelStackAndCallout", inc, word, left),
		"on a stack of its own")
	v, err := r.callAt(nt.DISPATCH_LEVEL, "KeExpandKernelStackAndCalloutEx", inc, word, 0x1000, 1, 0)
	require.NoError(t, err)
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER_4, nt.Status(v))
	assert.EqualValues(t, 3, r.u64(word))
}

func TestLogicalProcessorRelationships(t *testing.T) {
	r := newRigOf(t, newKernel(t, Options{Processors: 3}))
	number, length, info := r.mem(4), r.mem(4), r.mem(512)
	for _, c := range []struct {
		name   string
		number uint64
		typ    uint64
		want   uint32
	}{
		{"cores", 0, relationProcessorCore, 3 * 48}, {"the core of one", number, 0, 48},
		{"package", 0, relationProcessorPackage, 48}, {"node", 0, relationNumaNode, 48},
		{"no caches", 0, relationCache, 0}, {"group", 0, relationGroup, 80},
		{"all", 0, relationAll, 3*48 + 48 + 48 + 80},
	} {
		r.put32(length, 0)
		r.put32(number, 1<<16) // group 0, processor 1
		want := nt.STATUS_INFO_LENGTH_MISMATCH
		if c.want == 0 {
			want = nt.STATUS_SUCCESS
		}
		call := func() nt.Status {
			return r.status("KeQueryLogicalProcessorRelationship", c.number, c.typ, info, length)
		}
		assert.Equal(t, want, call(), c.name)
		assert.Equal(t, c.want, r.u32(length), c.name)
		assert.Equal(t, nt.STATUS_SUCCESS, call(), c.name)
		if c.number != 0 {
			assert.EqualValues(t, 2, r.u64(info+32), "its mask")
		}
	}
	r.put32(number, 9<<16)
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("KeQueryLogicalProcessorRelationship", number,
		0, info, length))
}
