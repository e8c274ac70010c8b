package ntoskrnl

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

func TestExTimers(t *testing.T) {
	r := newRigOf(t, newKernel(t, Options{Processors: 2}))
	word, params, gone := r.mem(8), r.mem(24), r.mem(8)
	r.put64(params+8, r.routine(incFirst...))
	r.put64(params+16, gone)
	due := func(d time.Duration) uint64 { return uint64(-int64(d / 100)) }

	assert.Zero(t, r.call("ExAllocateTimer", 0, 0, 1), "an unknown attribute")
	timer := r.call("ExAllocateTimer", r.routine(incSecond...), word, 8)
	require.NotZero(t, timer)
	assert.False(t, r.bool("ExSetTimer", timer, due(time.Microsecond), 0, 0))
	r.soon(1, word)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeWaitForSingleObject", timer, 0, 0, 0, 0))
	assert.Equal(t, nt.STATUS_TIMEOUT, r.poll(timer), "it is a synchronization timer")
	assert.False(t, r.bool("ExSetTimer", timer, due(time.Hour), 0, 0))
	assert.True(t, r.bool("ExSetTimer", timer, due(time.Hour), 0, 0))
	assert.True(t, r.bool("ExCancelTimer", timer, 0))
	assert.False(t, r.bool("ExCancelTimer", timer, 0))

	r.call("ExSetTimer", timer, due(0), 2_000, 0) // each 0.2 ms
	require.Eventually(t, func() bool { return r.u64(word) > 5 }, 10*time.Second,
		100*time.Microsecond)
	assert.True(t, r.bool("ExDeleteTimer", timer, 1, 1, params))
	assert.EqualValues(t, 1, r.u64(gone))

	timer = r.call("ExAllocateTimer", 0, 0, 1<<31|4)
	r.call("ExSetTimer", timer, due(time.Millisecond), 0, 0)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeWaitForSingleObject", timer, 0, 0, 0, 0))
	assert.Equal(t, nt.STATUS_SUCCESS, r.poll(timer), "it is a notification timer")
	r.call("ExSetTimer", timer, due(2*time.Millisecond), 0, 0)
	assert.False(t, r.bool("ExDeleteTimer", timer, 0, 0, params), "it expires first")
	r.soon(2, gone)
}
