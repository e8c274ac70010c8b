package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

func TestQueues(t *testing.T) {
	const maximumCount = 0x2C
	r := newRigOf(t, newKernel(t, Options{Processors: 3}))
	queue, a, b := r.mem(0x40), r.mem(16), r.mem(16)
	r.call("KeInitializeQueue", queue, 0)
	assert.EqualValues(t, nt.QueueObject, r.read(queue, 1)[0])
	assert.EqualValues(t, 3, r.u32(queue+maximumCount), "as many as processors")
	r.call("KeInitializeQueue", queue, 7)
	assert.EqualValues(t, 7, r.u32(queue+maximumCount))
	assert.EqualValues(t, nt.STATUS_TIMEOUT, r.call("KeRemoveQueue", queue, 0, r.due(0)))
	assert.EqualValues(t, 0, r.call("KeInsertQueue", queue, a))
	assert.EqualValues(t, 1, r.call("KeInsertHeadQueue", queue, b))
	assert.Equal(t, nt.STATUS_SUCCESS, r.poll(queue), "a wait for the queue itself takes nothing")
	v, err := r.callAt(nt.DISPATCH_LEVEL, "KeRemoveQueue", queue, 0, r.due(0))
	require.NoError(t, err)
	assert.Equal(t, b, v)
	assert.EqualValues(t, 1, r.call("KeReadStateQueue", queue))
	assert.Equal(t, a, r.call("KeRundownQueue", queue))
	assert.Equal(t, [2]uint64{a, a}, [2]uint64{r.u64(a), r.u64(a + 8)}, "a circle of one")
	assert.EqualValues(t, 0, r.call("KeReadStateQueue", queue))
}

func TestSeveralEntriesOfAQueueAtOnce(t *testing.T) {
	const current = 0x28
	r := newRigOf(t, newKernel(t, Options{Processors: 1}))
	queue, array := r.mem(0x40), r.mem(8*100)
	r.call("KeInitializeQueue", queue, 1)
	remove := func(count uint64) uint64 {
		return r.call("KeRemoveQueueEx", queue, 0, 0, r.due(0), array, count)
	}
	assert.EqualValues(t, 1, remove(4))
	assert.EqualValues(t, nt.STATUS_TIMEOUT, r.u64(array), "a status in place of an entry")
	var entries []uint64
	for range 80 {
		entries = append(entries, r.mem(16))
		r.call("KeInsertQueue", queue, entries[len(entries)-1])
	}
	assert.EqualValues(t, 0, remove(0))
	assert.EqualValues(t, 1, remove(1))
	assert.Equal(t, entries[0], r.u64(array))
	assert.EqualValues(t, 70, remove(70))
	assert.Equal(t, entries[1], r.u64(array))
	assert.Equal(t, entries[70], r.u64(array+8*69))
	assert.EqualValues(t, 1, r.u32(queue+current), "one thread is active, with however many entries")
	assert.EqualValues(t, 9, remove(100))
	assert.EqualValues(t, 0, r.call("KeReadStateQueue", queue))
	r.call("KeInsertQueue", queue, entries[0])
	_, err := r.callAt(nt.PASSIVE_LEVEL, "KeRundownQueue", queue)
	require.NoError(t, err)
	assert.EqualValues(t, 0, r.u32(queue+current))
}

func TestQueueMisuse(t *testing.T) {
	for _, c := range []struct {
		fact string
		irql nt.IRQL
		name string
		args func(r *driverRig, queue uint64) []uint64
		code nt.BugCheck
	}{
		{"waiting at DISPATCH_LEVEL", nt.DISPATCH_LEVEL, "KeRemoveQueue",
			func(_ *driverRig, queue uint64) []uint64 { return []uint64{queue, 0, 0} },
			nt.DRIVER_VERIFIER_DETECTED_VIOLATION},
		{"inserting into an event", nt.PASSIVE_LEVEL, "KeInsertQueue",
			func(r *driverRig, _ uint64) []uint64 {
				e := r.mem(24)
				r.call("KeInitializeEvent", e, 0, 0)
				return []uint64{e, r.mem(16)}
			}, nt.REFERENCE_BY_POINTER},
		{"removing from what is no queue", nt.PASSIVE_LEVEL, "KeRemoveQueue",
			func(r *driverRig, _ uint64) []uint64 { return []uint64{r.mem(0x40), 0, 0} },
			nt.REFERENCE_BY_POINTER},
		{"counting more entries than there are", nt.PASSIVE_LEVEL, "KeRemoveQueue",
			func(r *driverRig, queue uint64) []uint64 {
				r.put32(queue+4, 1) // SignalState
				return []uint64{queue, 0, 0}
			}, nt.REFERENCE_BY_POINTER},
		{"a list that is broken", nt.PASSIVE_LEVEL, "KeRemoveQueue",
			func(r *driverRig, queue uint64) []uint64 {
				entry := r.mem(16)
				r.call("KeInsertQueue", queue, entry)
				r.put64(entry+8, entry)
				return []uint64{queue, 0, 0}
			}, nt.KERNEL_SECURITY_CHECK_FAILURE},
	} {
		b := bugcheck(t, c.irql, c.name, func(r *driverRig) []uint64 {
			queue := r.mem(0x40)
			r.call("KeInitializeQueue", queue, 1)
			return c.args(r, queue)
		})
		assert.Equal(t, c.code, b.Code, "%s: %v", c.fact, b)
	}
}
