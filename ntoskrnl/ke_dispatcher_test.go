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

// Events, semaphores, mutexes, timers, waits and DPCs as a driver calls them.

// i32 calls an export that gives a LONG.
func (r *driverRig) i32(name string, args ...uint64) int32 {
	r.t.Helper()
	return int32(r.call(name, args...))
}

// bool calls an export that gives a BOOLEAN.
func (r *driverRig) bool(name string, args ...uint64) bool {
	r.t.Helper()
	return uint8(r.call(name, args...)) != 0
}

// due gives a LARGE_INTEGER for a timeout after d.
func (r *driverRig) due(d time.Duration) uint64 {
	a := r.mem(8)
	r.put64(a, uint64(-int64(d/100)))
	return a
}

// poll waits for an object, and does not wait.
func (r *driverRig) poll(object uint64) nt.Status {
	r.t.Helper()
	return r.status("KeWaitForSingleObject", object, 0, 0, 0, r.due(0))
}

// Guest routines that add 1 to the 64-bit word that is an argument of theirs.
var (
	incFirst  = []byte{0xF0, 0x48, 0xFF, 0x01, 0xC3} // lock inc qword [rcx]; ret
	incSecond = []byte{0xF0, 0x48, 0xFF, 0x02, 0xC3} // lock inc qword [rdx]; ret
)

// soon wants a word to become n.
func (r *driverRig) soon(n uint64, at uint64) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return r.u64(at) == n }, 10*time.Second,
		100*time.Microsecond)
}

func TestEvents(t *testing.T) {
	r := newRig(t)
	e := r.mem(24)
	for _, c := range []struct {
		typ  nt.EventType
		left nt.Status // of a second wait
	}{{nt.NotificationEvent, nt.STATUS_SUCCESS}, {nt.SynchronizationEvent, nt.STATUS_TIMEOUT}} {
		r.write(e, []byte("garbage garbage garbage."))
		r.call("KeInitializeEvent", e, uint64(c.typ), 0)
		h, err := guest.Ptr[nt.KEvent](e).Load()
		require.NoError(t, err)
		assert.Equal(t, nt.KEvent{Header: nt.DispatcherHeader{Type: uint8(c.typ), Size: 6,
			WaitListHead: nt.ListEntry{Flink: guest.Addr(e) + 8, Blink: guest.Addr(e) + 8}}}, h)
		assert.Equal(t, nt.STATUS_TIMEOUT, r.poll(e))
		assert.Zero(t, r.i32("KeSetEvent", e, 0, 0))
		assert.EqualValues(t, 1, r.i32("KeSetEvent", e, 1, 1))
		assert.EqualValues(t, 1, r.i32("KeReadStateEvent", e))
		assert.Equal(t, nt.STATUS_SUCCESS, r.poll(e))
		assert.Equal(t, c.left, r.poll(e))
		r.call("KeSetEvent", e, 0, 0)
		assert.EqualValues(t, 1, r.i32("KeResetEvent", e))
		assert.Zero(t, r.i32("KeResetEvent", e))
		r.call("KeSetEvent", e, 0, 0)
		r.call("KeClearEvent", e)
		assert.Zero(t, r.i32("KeReadStateEvent", e))
		assert.Zero(t, r.i32("KePulseEvent", e, 0, 0))
		assert.Zero(t, r.i32("KeReadStateEvent", e))
	}
	r.call("KeInitializeEvent", e, uint64(nt.NotificationEvent), 1)
	assert.EqualValues(t, 1, r.i32("KeReadStateEvent", e))
}

func TestSemaphores(t *testing.T) {
	r := newRig(t)
	s := r.mem(32)
	r.call("KeInitializeSemaphore", s, 1, 3)
	assert.EqualValues(t, 1, r.i32("KeReadStateSemaphore", s))
	assert.EqualValues(t, 1, r.i32("KeReleaseSemaphore", s, 0, 2, 0))
	for range 3 {
		assert.Equal(t, nt.STATUS_SUCCESS, r.poll(s))
	}
	assert.Equal(t, nt.STATUS_TIMEOUT, r.poll(s))
	b := bugcheck(t, nt.PASSIVE_LEVEL, "KeReleaseSemaphore", func(r *driverRig) []uint64 {
		s := r.mem(32)
		r.call("KeInitializeSemaphore", s, 1, 3)
		return []uint64{s, 0, 3, 0}
	})
	assert.Contains(t, b.Reason, "STATUS_SEMAPHORE_LIMIT_EXCEEDED")
}

func TestMutexes(t *testing.T) {
	r := newRig(t)
	m := r.mem(0x38)
	r.call("KeInitializeMutex", m, 0)
	assert.EqualValues(t, 1, r.i32("KeReadStateMutex", m))
	require.NoError(t, r.thread.Do(func() {
		call := func(name string, args ...uint64) uint64 {
			return r.thread.Call(r.symbol(name), args...)
		}
		for range 2 {
			assert.EqualValues(t, 0, call("KeWaitForMutexObject", m, 0, 0, 0, 0))
		}
		assert.EqualValues(t, 1, uint8(call("KeAreApcsDisabled")))
		assert.EqualValues(t, -1, int32(call("KeReleaseMutex", m, 0)))
		assert.EqualValues(t, 0, int32(call("KeReleaseMutex", m, 0)))
		assert.EqualValues(t, 0, uint8(call("KeAreApcsDisabled")))

		call("KeInitializeMutant", m, 1)
		assert.EqualValues(t, 0, int32(call("KeReadStateMutant", m)))
		assert.EqualValues(t, 0, uint8(call("KeAreApcsDisabled")))
		assert.EqualValues(t, 0, int32(call("KeReleaseMutant", m, 0, 1, 0)))
		assert.EqualValues(t, nt.STATUS_ABANDONED_WAIT_0, call("KeWaitForSingleObject", m, 0, 0, 0,
			0))
		assert.EqualValues(t, 0, int32(call("KeReleaseMutant", m, 0, 0, 0)))
	}))
	b := bugcheck(t, nt.PASSIVE_LEVEL, "KeReleaseMutex", func(r *driverRig) []uint64 {
		m := r.mem(0x38)
		r.call("KeInitializeMutex", m, 0)
		return []uint64{m, 0}
	})
	assert.Contains(t, b.Reason, "STATUS_MUTANT_NOT_OWNED")
}

func TestWaits(t *testing.T) {
	r := newRig(t)
	e := []uint64{r.mem(24), r.mem(24), r.mem(24), r.mem(24)}
	array, blocks := r.mem(8*len(e)), r.mem(64*48)
	for i, a := range e {
		r.call("KeInitializeEvent", a, uint64(nt.SynchronizationEvent), 0)
		r.put64(array+uint64(8*i), a)
	}
	wait := func(count int, typ nt.WaitType, timeout, blocks uint64) nt.Status {
		return r.status("KeWaitForMultipleObjects", uint64(count), array, uint64(typ), 0, 0, 0,
			timeout, blocks)
	}
	assert.Equal(t, nt.STATUS_TIMEOUT, wait(4, nt.WaitAny, r.due(time.Millisecond), blocks))
	r.call("KeSetEvent", e[2], 0, 0)
	assert.Equal(t, nt.STATUS_TIMEOUT, wait(3, nt.WaitAll, r.due(0), 0))
	assert.Equal(t, nt.STATUS_WAIT_0+2, wait(3, nt.WaitAny, 0, 0))
	for _, a := range e {
		r.call("KeSetEvent", a, 0, 0)
	}
	assert.Equal(t, nt.STATUS_SUCCESS, wait(4, nt.WaitAll, 0, blocks))
	for _, a := range e {
		assert.Zero(t, r.i32("KeReadStateEvent", a))
	}
	start := time.Now()
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeDelayExecutionThread", 0, 0,
		r.due(2*time.Millisecond)))
	assert.GreaterOrEqual(t, time.Since(start), 2*time.Millisecond)
	start = time.Now()
	r.call("KeStallExecutionProcessor", 50)
	assert.GreaterOrEqual(t, time.Since(start), 50*time.Microsecond)
}

func TestWaitMisuse(t *testing.T) {
	for _, c := range []struct {
		name string
		irql nt.IRQL
		fn   string
		args func(r *driverRig) []uint64
		code nt.BugCheck
	}{
		{"too many objects", 0, "KeWaitForMultipleObjects", func(r *driverRig) []uint64 {
			return []uint64{65, r.mem(65 * 8), 1, 0, 0, 0, 0, r.mem(65 * 48)}
		}, nt.MAXIMUM_WAIT_OBJECTS_EXCEEDED},
		{"more than three without wait blocks", 0, "KeWaitForMultipleObjects",
			func(r *driverRig) []uint64 { return []uint64{4, r.mem(32), 1, 0, 0, 0, 0, 0} },
			nt.MAXIMUM_WAIT_OBJECTS_EXCEEDED},
		{"at DISPATCH_LEVEL with a timeout", nt.DISPATCH_LEVEL, "KeWaitForSingleObject",
			func(r *driverRig) []uint64 { return []uint64{r.mem(24), 0, 0, 0, r.due(time.Second)} },
			nt.DRIVER_VERIFIER_DETECTED_VIOLATION},
		{"a delay at DISPATCH_LEVEL", nt.DISPATCH_LEVEL, "KeDelayExecutionThread",
			func(r *driverRig) []uint64 {
				return []uint64{0, 0,
					r.due(0)}
			}, nt.IRQL_NOT_LESS_OR_EQUAL},
		{"setting an event above DISPATCH_LEVEL", 3, "KeSetEvent",
			func(r *driverRig) []uint64 {
				return []uint64{r.mem(24), 0,
					0}
			}, nt.IRQL_NOT_LESS_OR_EQUAL},
		{"setting an event at DISPATCH_LEVEL with a wait to come", nt.DISPATCH_LEVEL, "KeSetEvent",
			func(r *driverRig) []uint64 {
				return []uint64{r.mem(24), 0,
					1}
			}, nt.IRQL_NOT_LESS_OR_EQUAL},
		{"an address where nothing is", 0, "KeSetEvent",
			func(r *driverRig) []uint64 { return []uint64{0x10, 0, 0} },
			nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED},
		{"what is no event", 0, "KeSetEvent", func(r *driverRig) []uint64 {
			return []uint64{uint64(r.thread.Object), 0, 0}
		}, nt.REFERENCE_BY_POINTER},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.code, bugcheck(t, c.irql, c.fn, c.args).Code)
		})
	}
}

func TestTimersAndDPCs(t *testing.T) {
	r := newRig(t)
	routine := r.routine(incSecond...)
	count := r.mem(8)
	timer, dpc := r.mem(0x40), r.mem(0x40)
	r.call("KeInitializeDpc", dpc, routine, count)

	assert.True(t, r.bool("KeInsertQueueDpc", dpc, 1, 2))
	assert.EqualValues(t, 1, r.u64(count))
	require.NoError(t, r.thread.Do(func() {
		call := func(name string, args ...uint64) uint64 {
			return r.thread.Call(r.symbol(name), args...)
		}
		old := call("KeRaiseIrqlToDpcLevel")
		assert.EqualValues(t, 1, uint8(call("KeInsertQueueDpc", dpc, 0, 0)))
		assert.EqualValues(t, 0, uint8(call("KeInsertQueueDpc", dpc, 0, 0)))
		assert.EqualValues(t, 1, uint8(call("KeRemoveQueueDpc", dpc)))
		assert.EqualValues(t, 0, uint8(call("KeRemoveQueueDpc", dpc)))
		call("KeSetImportanceDpc", dpc, uint64(nt.HighImportance))
		assert.EqualValues(t, 1, uint8(call("KeInsertQueueDpc", dpc, 0, 0)))
		assert.EqualValues(t, 1, r.u64(count))
		call("KeLowerIrql", old)
		assert.EqualValues(t, 2, r.u64(count), "lowering the IRQL in guest code runs it")
	}))
	number := r.mem(4)
	r.put32(number, 5<<16)
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("KeSetTargetProcessorDpcEx", dpc, number))
	r.put32(number, 0)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeSetTargetProcessorDpcEx", dpc, number))
	r.call("KeSetTargetProcessorDpc", dpc, 0)
	r.call("KeSetTargetProcessorDpc", dpc, 99)
	assert.True(t, r.bool("KeInsertQueueDpc", dpc, 0, 0))
	r.call("KeFlushQueuedDpcs")
	assert.EqualValues(t, 3, r.u64(count))
	r.call("KeInitializeThreadedDpc", dpc, routine, count)
	assert.True(t, r.bool("KeInsertQueueDpc", dpc, 0, 0))
	assert.EqualValues(t, 4, r.u64(count))

	r.call("KeInitializeTimer", timer)
	assert.False(t, r.bool("KeSetTimer", timer, uint64(1<<64-10_000), dpc))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeWaitForSingleObject", timer, 0, 0, 0, 0))
	r.soon(5, count)
	assert.True(t, r.bool("KeReadStateTimer", timer))
	assert.False(t, r.bool("KeCancelTimer", timer))
	const hour = uint64(1<<64 - 36_000_000_000)
	assert.False(t, r.bool("KeSetTimer", timer, hour, dpc))
	assert.False(t, r.bool("KeReadStateTimer", timer))
	assert.True(t, r.bool("KeSetCoalescableTimer", timer, hour, 0, 100, dpc))
	assert.True(t, r.bool("KeCancelTimer", timer))
	r.call("KeInitializeTimerEx", timer, uint64(nt.SynchronizationTimer))
	assert.False(t, r.bool("KeSetTimerEx", timer, 0, 1, dpc))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeWaitForSingleObject", timer, 0, 0, 0, 0))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeWaitForSingleObject", timer, 0, 0, 0, 0))
	require.Eventually(t, func() bool { return r.u64(count) >= 7 }, 10*time.Second,
		time.Millisecond)
	assert.True(t, r.bool("KeCancelTimer", timer))

	b := bugcheck(t, nt.PASSIVE_LEVEL, "KeInitializeTimer", func(r *driverRig) []uint64 {
		timer := r.mem(0x40)
		r.call("KeInitializeTimer", timer)
		r.call("KeSetTimer", timer, hour, 0)
		return []uint64{timer}
	})
	assert.Equal(t, nt.TIMER_OR_DPC_INVALID, b.Code)
}

func TestClocks(t *testing.T) {
	r := newRig(t)
	a := r.mem(8)
	r.call("KeQuerySystemTime", a)
	first := r.u64(a)
	r.call("KeQuerySystemTimePrecise", a)
	assert.GreaterOrEqual(t, r.u64(a), first)
	assert.InDelta(t, r.Ke.SystemTime(), first, 1e8)
	assert.InDelta(t, r.Ke.InterruptTime(), r.call("KeQueryInterruptTime"), 1e8)
	now := r.call("KeQueryInterruptTimePrecise", a)
	assert.Equal(t, now, r.u64(a))
	assert.InDelta(t, r.Ke.InterruptTime(), r.call("KeQueryUnbiasedInterruptTime"), 1e8)
	r.call("KeQueryTickCount", a)
	assert.InDelta(t, r.Ke.TickCount(), r.u64(a), 1000)
	assert.EqualValues(t, ke.TimeIncrement, r.call("KeQueryTimeIncrement"))
	assert.EqualValues(t, ke.TimeIncrement, r.call("ExSetTimerResolution", 10000, 1))
	counter := r.call("KeQueryPerformanceCounter", a)
	assert.EqualValues(t, 10_000_000, r.u64(a))
	assert.GreaterOrEqual(t, r.call("KeQueryPerformanceCounter", 0), counter)
	b := r.mem(8)
	r.put64(a, 133_000_000_000_000_000)
	r.call("ExSystemTimeToLocalTime", a, b)
	r.call("ExLocalTimeToSystemTime", b, b)
	assert.Equal(t, r.u64(a), r.u64(b))
}
