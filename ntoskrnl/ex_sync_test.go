package ntoskrnl

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Resources, push locks, work items, threads, processors and callbacks as a driver calls them.

func TestResources(t *testing.T) {
	r := newRig(t)
	a := r.mem(0x68)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ExInitializeResourceLite", a))
	count := func() uint32 { return uint32(r.call("ExIsResourceAcquiredSharedLite", a)) }
	assert.Zero(t, count())
	assert.True(t, r.bool("ExAcquireResourceSharedLite", a, 1))
	assert.True(t, r.bool("ExAcquireSharedStarveExclusive", a, 1))
	assert.True(t, r.bool("ExAcquireSharedWaitForExclusive", a, 1))
	assert.EqualValues(t, 3, count())
	assert.False(t, r.bool("ExIsResourceAcquiredExclusiveLite", a))
	assert.False(t, r.bool("ExAcquireResourceExclusiveLite", a, 0))
	for range 2 {
		r.call("ExReleaseResourceLite", a)
	}
	r.call("ExReleaseResourceForThreadLite", a, uint64(r.thread.Object))
	assert.True(t, r.bool("ExAcquireResourceExclusiveLite", a, 1))
	assert.True(t, r.bool("ExIsResourceAcquiredExclusiveLite", a))
	r.call("ExConvertExclusiveToSharedLite", a)
	assert.False(t, r.bool("ExIsResourceAcquiredExclusiveLite", a))
	assert.EqualValues(t, 1, count())
	r.call("ExReleaseResourceLite", a)
	assert.Zero(t, r.call("ExGetExclusiveWaiterCount", a))
	assert.Zero(t, r.call("ExGetSharedWaiterCount", a))
	r.call("ExDisableResourceBoostLite", a)
	r.on(func(call func(string, ...uint64) uint64) {
		for _, kind := range []string{"Exclusive", "Shared"} {
			call("ExEnterCriticalRegionAndAcquireResource"+kind, a)
			assert.NotZero(t, uint8(call("KeAreApcsDisabled")))
			call("ExReleaseResourceAndLeaveCriticalRegion", a)
			assert.Zero(t, uint8(call("KeAreApcsDisabled")))
		}
	})
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ExReinitializeResourceLite", a))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ExDeleteResourceLite", a))
	for _, fn := range []string{"ExReleaseResourceLite", "ExConvertExclusiveToSharedLite"} {
		b := bugcheck(t, nt.PASSIVE_LEVEL, fn,
			func(r *driverRig) []uint64 { return []uint64{r.mem(0x68)} })
		assert.Equal(t, nt.RESOURCE_NOT_OWNED, b.Code)
	}
	b := bugcheck(t, nt.DISPATCH_LEVEL, "ExAcquireResourceSharedLite",
		func(r *driverRig) []uint64 { return []uint64{r.mem(0x68), 1} })
	assert.Equal(t, nt.IRQL_NOT_LESS_OR_EQUAL, b.Code, "it may not wait there")
}

func TestPushLocks(t *testing.T) {
	r := newRig(t)
	a := r.mem(8)
	r.put64(a, 0x55)
	r.call("ExInitializePushLock", a)
	for _, c := range [][2]string{
		{"ExAcquirePushLockExclusiveEx", "ExReleasePushLockExclusiveEx"},
		{"ExAcquirePushLockExclusiveEx", "ExReleasePushLockEx"},
		{"ExAcquirePushLockSharedEx", "ExReleasePushLockSharedEx"},
		{"ExfAcquirePushLockExclusive", "ExfReleasePushLock"},
		{"ExfAcquirePushLockExclusive", "ExfReleasePushLockExclusive"},
		{"ExfAcquirePushLockShared", "ExfReleasePushLockShared"},
	} {
		r.call(c[0], a, 0)
		assert.NotZero(t, r.u64(a)&1)
		r.call(c[1], a, 0)
		assert.Zero(t, r.u64(a))
	}
	assert.True(t, r.bool("ExfTryAcquirePushLockShared", a))
	assert.True(t, r.bool("ExfTryAcquirePushLockShared", a))
	r.call("ExfReleasePushLock", a)
	r.call("ExfReleasePushLock", a)
	r.call("ExfAcquirePushLockExclusive", a)
	assert.False(t, r.bool("ExfTryAcquirePushLockShared", a))
}

func TestReaderWriterSpinLocks(t *testing.T) {
	r := newRig(t)
	a := r.mem(4)
	r.on(func(call func(string, ...uint64) uint64) {
		irql := func() nt.IRQL { return r.thread.IRQL() }
		for _, kind := range []string{"Shared", "Exclusive"} {
			assert.Zero(t, uint8(call("ExAcquireSpinLock"+kind, a)))
			assert.NotZero(t, r.u32(a))
			assert.Equal(t, nt.DISPATCH_LEVEL, irql())
			call("ExReleaseSpinLock"+kind, a, 0)
			assert.Zero(t, r.u32(a))
			assert.Equal(t, nt.PASSIVE_LEVEL, irql())
			call("KeRaiseIrqlToDpcLevel")
			call("ExAcquireSpinLock"+kind+"AtDpcLevel", a)
			assert.NotZero(t, r.u32(a))
			call("ExReleaseSpinLock"+kind+"FromDpcLevel", a)
			assert.Zero(t, r.u32(a))
			call("KeLowerIrql", 0)
		}
		call("ExAcquireSpinLockShared", a)
		assert.NotZero(t, call("ExTryConvertSharedSpinLockExclusive", a))
		assert.Zero(t, call("ExTryConvertSharedSpinLockExclusive", a))
		call("ExReleaseSpinLockExclusive", a, 0)
	})
	b := bugcheck(t, nt.PASSIVE_LEVEL, "ExAcquireSpinLockSharedAtDpcLevel",
		func(r *driverRig) []uint64 { return []uint64{r.mem(4)} })
	assert.Equal(t, nt.IRQL_NOT_DISPATCH_LEVEL, b.Code)
}

// device gives the rig a driver with a device.
func (r *driverRig) device() (driver *devobj.Driver, device uint64) {
	d, err := r.LoadFile(fixture(r.t, "hello"))
	require.NoError(r.t, err)
	result := r.mem(8)
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("IoCreateDevice", uint64(d.Object.Addr()), 0, 0,
		0x22, 0, 0, result))
	return d.Driver, r.u64(result)
}

func TestWorkItems(t *testing.T) {
	r := newRig(t)
	count := r.mem(8)
	item := r.mem(32)
	r.put64(item+16, r.routine(incFirst...))
	r.put64(item+24, count)
	for i, queue := range []uint64{0, 1, 2, 32 + 13} {
		r.call("ExQueueWorkItem", item, queue)
		r.soon(uint64(i+1), count)
	}
	_, device := r.device()
	r.put64(count, 0)
	routine := r.routine(incSecond...)
	w := r.call("IoAllocateWorkItem", device)
	require.NotZero(t, w)
	r.call("IoQueueWorkItem", w, routine, 1, count)
	r.soon(1, count)
	r.call("IoQueueWorkItemEx", w, routine, 0, count)
	r.soon(2, count)
	r.call("IoFreeWorkItem", w)
	own := r.mem(int(r.call("IoSizeofWorkItem")))
	r.call("IoInitializeWorkItem", device, own)
	assert.True(t, r.bool("IoTryQueueWorkItem", own, routine, 1, count))
	r.soon(3, count)
	r.call("IoUninitializeWorkItem", own)
}

func TestWorkItemMisuse(t *testing.T) {
	for _, c := range []struct {
		name, fn string
		args     func(r *driverRig) []uint64
		code     nt.BugCheck
	}{
		{"no routine", "ExQueueWorkItem", func(r *driverRig) []uint64 {
			return []uint64{r.mem(32),
				1}
		},
			nt.WORKER_INVALID},
		{"queued already", "ExQueueWorkItem", func(r *driverRig) []uint64 {
			item := r.mem(32)
			r.put64(item, item)
			r.put64(item+16, r.routine(0xC3))
			return []uint64{item, 1}
		}, nt.WORKER_INVALID},
		{"freed while it is queued", "IoFreeWorkItem", func(r *driverRig) []uint64 {
			_, device := r.device()
			w := r.call("IoAllocateWorkItem", device)
			r.put64(w, w)
			return []uint64{w}
		}, nt.WORKER_INVALID},
		{"of no device", "IoAllocateWorkItem",
			func(r *driverRig) []uint64 { return []uint64{r.mem(16)} },
			nt.REFERENCE_BY_POINTER},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.code, bugcheck(t, nt.PASSIVE_LEVEL, c.fn, c.args).Code)
		})
	}
}

func TestCurrentThreadAndProcess(t *testing.T) {
	r := newRig(t)
	r.asClient()
	th, p := uint64(r.thread.Object), uint64(r.thread.Process.Object)
	assert.EqualValues(t, 0x2000, r.call("PsGetCurrentProcessId"))
	assert.EqualValues(t, 0x2000, r.call("PsGetCurrentThreadProcessId"))
	assert.EqualValues(t, 0x2000, r.call("PsGetProcessId", p))
	assert.EqualValues(t, 0x2000, r.call("PsGetThreadProcessId", th))
	for _, fn := range []string{"PsGetCurrentProcess", "IoGetCurrentProcess",
		"PsGetCurrentThreadProcess"} {
		assert.Equal(t, p, r.call(fn), fn)
	}
	assert.Equal(t, p, r.call("PsGetThreadProcess", th))
	assert.Equal(t, p, r.call("IoThreadToProcess", th))
	assert.Equal(t, th, r.call("PsGetCurrentThread"))
	assert.Equal(t, th, r.call("KeGetCurrentThread"))
	assert.EqualValues(t, r.thread.ID, r.call("PsGetCurrentThreadId"))
	assert.EqualValues(t, r.thread.ID, r.call("PsGetThreadId", th))
	assert.EqualValues(t, nt.UserMode, uint8(r.call("ExGetPreviousMode")))
	assert.False(t, r.bool("PsIsSystemThread", th))
	assert.Equal(t, "client", r.readStr(r.call("PsGetProcessImageFileName", p)))
	assert.Equal(t, uint64(r.Ke.SystemProcess.Object),
		r.u64(uint64(r.symbol("PsInitialSystemProcess"))))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("PsTerminateSystemThread", 0))
	assert.EqualValues(t, 8, r.i32("KeSetPriorityThread", th, 12))
	assert.EqualValues(t, 12, r.i32("KeQueryPriorityThread", th))
	assert.Zero(t, r.i32("KeSetBasePriorityThread", th, 2))
	assert.EqualValues(t, 2, r.i32("KeSetBasePriorityThread", th, 0))
	system := newRigOf(t, r.Kernel)
	assert.EqualValues(t, nt.KernelMode, uint8(system.call("ExGetPreviousMode")))
	assert.EqualValues(t, 4, system.call("PsGetCurrentProcessId"))
}

func TestSystemThreads(t *testing.T) {
	r := newRig(t)
	count, handle, id := r.mem(8), r.mem(8), r.mem(16)
	create := func(routine uint64) uint64 {
		t.Helper()
		require.Equal(t, nt.STATUS_SUCCESS, r.status("PsCreateSystemThread", handle, 0, 0, 0, id,
			routine, count))
		th := r.Ke.ThreadByID(uintptr(r.u64(id + 8)))
		if th == nil {
			return 0 // it has ended
		}
		return uint64(th.Object)
	}
	create(r.routine(incFirst...))
	assert.NotZero(t, r.u64(handle))
	assert.EqualValues(t, 4, r.u64(id))
	r.soon(1, count)

	// sub rsp, 28h; mov ecx, 0C0000120h; mov rax, PsTerminateSystemThread; call rax; int 3
	code := []byte{0x48, 0x83, 0xEC, 0x28, 0xB9, 0x20, 0x01, 0x00, 0xC0, 0x48, 0xB8}
	for a, i := uint64(r.symbol("PsTerminateSystemThread")), 0; i < 8; i++ {
		code = append(code, byte(a>>(8*i)))
	}
	// The thread begins when its creator has its handle, so its object can still be had.
	th := create(r.routine(append(code, 0xFF, 0xD0, 0xCC)...))
	if th != 0 {
		assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeWaitForSingleObject", th, 0, 0, 0,
			r.due(10*time.Second)))
		assert.Equal(t, nt.STATUS_CANCELLED, guest.Ptr[nt.EThread](guest.Addr(th)).Ref().ExitStatus)
	}
	assert.Nil(t, r.Crashed())
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, r.status("PsCreateSystemThread", handle, 0, 0, 0x1234,
		0, r.routine(0xC3), 0))
}

func TestProcessors(t *testing.T) {
	r := newRigOf(t, newKernel(t, Options{Processors: 4}))
	a := r.mem(16)
	assert.EqualValues(t, 4, r.read(uint64(r.symbol("KeNumberProcessors")), 1)[0])
	assert.EqualValues(t, 0xF, r.call("KeQueryActiveProcessors"))
	assert.EqualValues(t, 4, r.call("KeQueryActiveProcessorCount", a))
	assert.EqualValues(t, 0xF, r.u64(a))
	assert.EqualValues(t, 4, r.call("KeQueryActiveProcessorCount", 0))
	for _, fn := range []string{"KeQueryActiveProcessorCountEx", "KeQueryMaximumProcessorCountEx"} {
		assert.EqualValues(t, 4, r.call(fn, 0))
		assert.EqualValues(t, 4, r.call(fn, 0xFFFF))
		assert.Zero(t, r.call(fn, 1))
	}
	assert.EqualValues(t, 4, r.call("KeQueryMaximumProcessorCount"))
	assert.EqualValues(t, 1, r.call("KeQueryActiveGroupCount"))
	assert.EqualValues(t, 1, r.call("KeQueryMaximumGroupCount"))
	assert.EqualValues(t, 0xF, r.call("KeQueryGroupAffinity", 0))
	assert.Zero(t, r.call("KeQueryGroupAffinity", 1))
	assert.Zero(t, r.call("KeQueryHighestNodeNumber"))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeGetProcessorNumberFromIndex", 3, a))
	assert.EqualValues(t, 3<<16, r.u32(a))
	assert.EqualValues(t, 3, r.call("KeGetProcessorIndexFromNumber", a))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("KeGetProcessorNumberFromIndex", 4, a))
	r.put32(a, 9<<16)
	assert.EqualValues(t, 0xFFFFFFFF, r.call("KeGetProcessorIndexFromNumber", a))
	affinity, previous := r.mem(16), r.mem(16)
	r.put64(affinity, 1<<1)
	r.on(func(call func(string, ...uint64) uint64) {
		on := func(want uint64) {
			t.Helper()
			assert.Equal(t, want, call("KeGetCurrentProcessorNumberEx", a))
			assert.Equal(t, want, call("KeGetCurrentProcessorNumber"))
			assert.EqualValues(t, want<<16, r.u32(a))
		}
		assert.Zero(t, call("KeSetSystemAffinityThreadEx", 1<<2))
		on(2)
		assert.EqualValues(t, 1<<2, call("KeSetSystemAffinityThreadEx", 1<<3))
		on(3)
		assert.EqualValues(t, 1<<3, call("KeSetSystemAffinityThreadEx", 1<<9), "changes nothing")
		call("KeRevertToUserAffinityThreadEx", 1<<2)
		on(2)
		call("KeSetSystemGroupAffinityThread", affinity, previous)
		on(1)
		assert.EqualValues(t, 1<<2, r.u64(previous))
		call("KeRevertToUserGroupAffinityThread", previous)
		on(2)
		call("KeRevertToUserAffinityThread")
		call("KeSetSystemAffinityThread", 1)
		on(0)
		call("KeRevertToUserAffinityThread")
	})
	b := bugcheck(t, nt.PASSIVE_LEVEL, "KeSetSystemAffinityThread",
		func(*driverRig) []uint64 { return []uint64{1 << 60} })
	assert.Equal(t, nt.INVALID_AFFINITY_SET, b.Code)
}

// attributes gives OBJECT_ATTRIBUTES with a name.
func (r *driverRig) attributes(name string) uint64 {
	a := r.mem(48)
	r.put32(a, 48)
	r.put64(a+16, r.ustr(name, 0))
	return a
}

func TestCallbacks(t *testing.T) {
	r := newRig(t)
	result, count := r.mem(8), r.mem(8)
	create := func(attributes, make, many uint64) nt.Status {
		return r.status("ExCreateCallback", result, attributes, make, many)
	}
	name := r.attributes(`\Callback\Test`)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, create(name, 0, 1))
	assert.Equal(t, nt.STATUS_UNSUCCESSFUL, create(0, 0, 1))
	assert.Equal(t, nt.STATUS_OBJECT_PATH_NOT_FOUND, create(r.attributes(`\Nowhere\Test`), 1, 1))
	require.Equal(t, nt.STATUS_SUCCESS, create(name, 1, 1))
	cb := r.u64(result)
	assert.Equal(t, []byte("Call"), r.read(cb, 4))
	require.Equal(t, nt.STATUS_SUCCESS, create(r.attributes(`\callback\TEST`), 0, 0))
	assert.Equal(t, cb, r.u64(result), "it is found by its name")
	for _, system := range []string{"PowerState", "SetSystemTime", "ProcessorAdd"} {
		assert.Equal(t, nt.STATUS_SUCCESS, create(r.attributes(`\Callback\`+system), 0, 0), system)
	}
	routine := r.routine(incFirst...) // the context is the first argument
	one := r.call("ExRegisterCallback", cb, routine, count)
	two := r.call("ExRegisterCallback", cb, routine, count)
	assert.NotZero(t, one)
	assert.NotZero(t, two)
	r.call("ExNotifyCallback", cb, 1, 2)
	assert.EqualValues(t, 2, r.u64(count))
	r.call("ExUnregisterCallback", one)
	r.call("ExNotifyCallback", cb, 1, 2)
	assert.EqualValues(t, 3, r.u64(count))
	r.call("ExUnregisterCallback", two)
	r.call("ExNotifyCallback", cb, 1, 2)
	assert.EqualValues(t, 3, r.u64(count))
	for range 2 {
		r.call("ObfDereferenceObject", cb)
	}
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, create(name, 0, 1), "it is gone")
	require.Equal(t, nt.STATUS_SUCCESS, create(0, 1, 0))
	cb = r.u64(result)
	assert.NotZero(t, r.call("ExRegisterCallback", cb, routine, count))
	assert.Zero(t, r.call("ExRegisterCallback", cb, routine, count), "one is all that is allowed")
	for _, fn := range []string{"ExNotifyCallback", "ExRegisterCallback", "ExUnregisterCallback"} {
		b := bugcheck(t, nt.PASSIVE_LEVEL, fn,
			func(r *driverRig) []uint64 { return []uint64{r.mem(16), 0, 0} })
		assert.Equal(t, nt.REFERENCE_BY_POINTER, b.Code, fn)
	}
}

func TestBugChecksOnPurpose(t *testing.T) {
	b := bugcheck(t, 5, "KeBugCheckEx", func(*driverRig) []uint64 {
		return []uint64{0xE2, 1, 2, 3,
			4}
	})
	assert.Equal(t, nt.MANUALLY_INITIATED_CRASH, b.Code)
	assert.Equal(t, [4]uint64{1, 2, 3, 4}, b.Params)
	assert.EqualValues(t, 5, b.IRQL)
	assert.Contains(t, b.Reason, "KeBugCheckEx")
	b = bugcheck(t, nt.PASSIVE_LEVEL, "KeBugCheck",
		func(*driverRig) []uint64 { return []uint64{0xE2} })
	assert.Equal(t, nt.MANUALLY_INITIATED_CRASH, b.Code)
}

func TestDeviceQueues(t *testing.T) {
	r := newRig(t)
	q := r.mem(0x28)
	r.call("KeInitializeDeviceQueue", q)
	e := []uint64{r.mem(24), r.mem(24), r.mem(24), r.mem(24), r.mem(24)}
	r.on(func(call func(string, ...uint64) uint64) {
		call("KeRaiseIrqlToDpcLevel")
		insert := func(i int) bool { return uint8(call("KeInsertDeviceQueue", q, e[i])) != 0 }
		insertByKey := func(i int, key uint64) bool {
			return uint8(call("KeInsertByKeyDeviceQueue", q, e[i], key)) != 0
		}
		assert.False(t, insert(0), "the device was not busy: the entry is to be started")
		assert.True(t, insert(1))
		assert.True(t, insert(2))
		assert.Equal(t, e[1], call("KeRemoveDeviceQueue", q))
		assert.NotZero(t, uint8(call("KeRemoveEntryDeviceQueue", q, e[2])))
		assert.Zero(t, uint8(call("KeRemoveEntryDeviceQueue", q, e[2])))
		for i, key := range []uint64{30, 10, 20, 10} {
			assert.True(t, insertByKey(i, key))
		}
		assert.Equal(t, e[2], call("KeRemoveByKeyDeviceQueue", q, 15),
			"20 is the first not below 15")
		assert.Equal(t, e[1], call("KeRemoveByKeyDeviceQueue", q, 99), "none: the first of all")
		assert.Equal(t, e[3], call("KeRemoveDeviceQueue", q), "behind an equal key")
		assert.Equal(t, e[0], call("KeRemoveDeviceQueue", q))
		assert.Zero(t, call("KeRemoveDeviceQueue", q))
		assert.False(t, insertByKey(4, 1), "it is not busy any more")
		call("KeLowerIrql", 0)
	})
	b := bugcheck(t, nt.PASSIVE_LEVEL, "KeRemoveDeviceQueue",
		func(r *driverRig) []uint64 { return []uint64{r.mem(0x28)} })
	assert.Equal(t, nt.IRQL_NOT_DISPATCH_LEVEL, b.Code)
	b = bugcheck(t, nt.DISPATCH_LEVEL, "KeRemoveDeviceQueue",
		func(r *driverRig) []uint64 { return []uint64{r.mem(0x28)} })
	assert.Equal(t, nt.REFERENCE_BY_POINTER, b.Code, "no queue")
}

func TestUUIDs(t *testing.T) {
	r := newRig(t)
	a, b := r.mem(16), r.mem(16)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ExUuidCreate", a))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ExUuidCreate", b))
	assert.NotEqual(t, r.read(a, 16), r.read(b, 16))
	assert.Equal(t, byte(0x40), r.read(a, 16)[7]&0xF0)
	assert.Equal(t, byte(0x80), r.read(a, 16)[8]&0xC0)
}

func TestCachesAreCoherent(t *testing.T) {
	r := newRig(t)
	r.call("KeFlushIoBuffers", r.mem(0x30), 1, 1)
	r.call("KeFlushWriteBuffer")
	assert.True(t, r.bool("KeInvalidateAllCaches"))
}
