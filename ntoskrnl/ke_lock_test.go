package ntoskrnl

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Spin locks, the IRQL, fast mutexes, run-down protection and interlocked lists as a driver calls
// them.

// on runs f on the rig's thread, with a function that calls exports.
func (r *driverRig) on(f func(call func(name string, args ...uint64) uint64)) {
	r.t.Helper()
	require.NoError(r.t, r.thread.Do(func() {
		f(func(name string, args ...uint64) uint64 {
			return r.thread.Call(r.symbol(name),
				args...)
		})
	}))
}

func TestIRQL(t *testing.T) {
	r := newRig(t)
	r.on(func(call func(string, ...uint64) uint64) {
		irql := func() uint8 { return uint8(call("KeGetCurrentIrql")) }
		assert.EqualValues(t, nt.PASSIVE_LEVEL, irql())
		assert.EqualValues(t, nt.PASSIVE_LEVEL, uint8(call("KfRaiseIrql", 1)))
		assert.EqualValues(t, nt.APC_LEVEL, irql())
		assert.EqualValues(t, nt.APC_LEVEL, uint8(call("KeRaiseIrqlToDpcLevel")))
		assert.EqualValues(t, nt.DISPATCH_LEVEL, uint8(call("KfRaiseIrql", 0xFFFFFF00|15)))
		assert.EqualValues(t, nt.HIGH_LEVEL, irql())
		call("KeLowerIrql", 2)
		assert.EqualValues(t, nt.DISPATCH_LEVEL, uint8(call("KeRaiseIrqlToSynchLevel")))
		assert.EqualValues(t, 12, irql())
		call("KfLowerIrql", 0)
		assert.EqualValues(t, nt.PASSIVE_LEVEL, irql())
	})
}

func TestRegions(t *testing.T) {
	r := newRig(t)
	r.on(func(call func(string, ...uint64) uint64) {
		disabled := func(normal, all bool) {
			t.Helper()
			assert.Equal(t, normal, uint8(call("KeAreApcsDisabled")) != 0)
			assert.Equal(t, all, uint8(call("KeAreAllApcsDisabled")) != 0)
		}
		disabled(false, false)
		call("KeEnterCriticalRegion")
		call("FsRtlEnterFileSystem")
		disabled(true, false)
		call("KeLeaveCriticalRegion")
		disabled(true, false)
		call("FsRtlExitFileSystem")
		disabled(false, false)
		call("KeEnterGuardedRegion")
		disabled(true, true)
		call("KeLeaveGuardedRegion")
		disabled(false, false)
	})
}

func TestSpinLocks(t *testing.T) {
	r := newRig(t)
	lock, handle := r.mem(8), r.mem(24)
	r.put64(lock, 0x55)
	r.call("KeInitializeSpinLock", lock)
	owner := uint64(r.thread.Object) | 1
	r.on(func(call func(string, ...uint64) uint64) {
		irql := func() nt.IRQL { return r.thread.IRQL() }
		for _, from := range []nt.IRQL{nt.PASSIVE_LEVEL, nt.APC_LEVEL, nt.DISPATCH_LEVEL} {
			call("KfRaiseIrql", uint64(from))
			assert.Equal(t, from, nt.IRQL(call("KeAcquireSpinLockRaiseToDpc", lock)))
			assert.Equal(t, owner, r.u64(lock))
			assert.Equal(t, nt.DISPATCH_LEVEL, irql())
			assert.Zero(t, uint8(call("KeTestSpinLock", lock)))
			assert.Zero(t, uint8(call("KeTryToAcquireSpinLockAtDpcLevel", lock)))
			call("KeReleaseSpinLock", lock, uint64(from))
			assert.Zero(t, r.u64(lock))
			assert.Equal(t, from, irql())

			for _, kind := range []string{"", "ForDpc"} {
				call("KeAcquireInStackQueuedSpinLock"+kind, lock, handle)
				assert.Equal(t, owner, r.u64(lock))
				assert.Equal(t, lock, r.u64(handle+8))
				assert.Equal(t, nt.DISPATCH_LEVEL, irql())
				call("KeReleaseInStackQueuedSpinLock"+kind, handle)
				assert.Zero(t, r.u64(lock))
				assert.Equal(t, from, irql())
			}
			call("KeLowerIrql", 0)
		}
		call("KeRaiseIrqlToDpcLevel")
		call("KeAcquireSpinLockAtDpcLevel", lock)
		assert.Equal(t, owner, r.u64(lock))
		call("KeReleaseSpinLockFromDpcLevel", lock)
		assert.NotZero(t, uint8(call("KeTryToAcquireSpinLockAtDpcLevel", lock)))
		call("KeReleaseSpinLockFromDpcLevel", lock)
		assert.NotZero(t, uint8(call("KeTestSpinLock", lock)))
		call("KeAcquireInStackQueuedSpinLockAtDpcLevel", lock, handle)
		assert.Equal(t, owner, r.u64(lock))
		call("KeReleaseInStackQueuedSpinLockFromDpcLevel", handle)
		assert.Zero(t, r.u64(lock))
		call("KeLowerIrql", 0)
	})
}

// A DPC that comes while a spin lock is held runs when guest code releases it.
func TestReleasingASpinLockRunsDPCs(t *testing.T) {
	r := newRig(t)
	routine := r.routine(incSecond...)
	count, lock, handle, dpc := r.mem(8), r.mem(8), r.mem(24), r.mem(0x40)
	r.call("KeInitializeDpc", dpc, routine, count)
	r.on(func(call func(string, ...uint64) uint64) {
		call("KeAcquireSpinLockRaiseToDpc", lock)
		call("KeInsertQueueDpc", dpc, 0, 0)
		assert.Zero(t, r.u64(count))
		call("KeReleaseSpinLock", lock, 0)
		assert.EqualValues(t, 1, r.u64(count))
		call("KeAcquireInStackQueuedSpinLock", lock, handle)
		call("KeInsertQueueDpc", dpc, 0, 0)
		call("KeReleaseInStackQueuedSpinLock", handle)
		assert.EqualValues(t, 2, r.u64(count))
		assert.Zero(t, r.u64(lock))
		assert.Equal(t, nt.PASSIVE_LEVEL, r.thread.IRQL())
	})
}

func TestLockMisuse(t *testing.T) {
	owned := func(r *driverRig) []uint64 {
		lock := r.mem(24)
		r.put64(lock, uint64(r.thread.Object)|1)
		return []uint64{lock, lock}
	}
	free := func(r *driverRig) []uint64 { return []uint64{r.mem(24), 0} }
	for _, c := range []struct {
		name string
		irql nt.IRQL
		fn   string
		args func(r *driverRig) []uint64
		code nt.BugCheck
	}{
		{"taking one's own lock", 0, "KeAcquireSpinLockRaiseToDpc", owned,
			nt.SPIN_LOCK_ALREADY_OWNED},
		{"taking one's own lock at DISPATCH_LEVEL", 2, "KeAcquireSpinLockAtDpcLevel", owned,
			nt.SPIN_LOCK_ALREADY_OWNED},
		{"taking one's own queued lock", 0, "KeAcquireInStackQueuedSpinLock", owned,
			nt.SPIN_LOCK_ALREADY_OWNED},
		{"taking a lock above DISPATCH_LEVEL", 3, "KeAcquireSpinLockRaiseToDpc", free,
			nt.IRQL_NOT_LESS_OR_EQUAL},
		{"taking a lock at DISPATCH_LEVEL below it", 0, "KeAcquireSpinLockAtDpcLevel", free,
			nt.IRQL_NOT_DISPATCH_LEVEL},
		{"releasing a lock that is free", 0, "KeReleaseSpinLock", free, nt.SPIN_LOCK_NOT_OWNED},
		{"releasing a lock to a higher level", 0, "KeReleaseSpinLock", func(r *driverRig) []uint64 {
			return []uint64{owned(r)[0], 2}
		}, nt.IRQL_NOT_LESS_OR_EQUAL},
		{"raising to a lower level", 2, "KfRaiseIrql",
			func(*driverRig) []uint64 { return []uint64{1} },
			nt.IRQL_NOT_GREATER_OR_EQUAL},
		{"raising above HIGH_LEVEL", 2, "KfRaiseIrql",
			func(*driverRig) []uint64 { return []uint64{16} },
			nt.IRQL_NOT_GREATER_OR_EQUAL},
		{"raising to DISPATCH_LEVEL from above", 5, "KeRaiseIrqlToDpcLevel",
			func(*driverRig) []uint64 { return nil }, nt.IRQL_NOT_GREATER_OR_EQUAL},
		{"lowering to a higher level", 0, "KeLowerIrql",
			func(*driverRig) []uint64 { return []uint64{2} },
			nt.IRQL_NOT_LESS_OR_EQUAL},
		{"a fast mutex at DISPATCH_LEVEL", 2, "ExAcquireFastMutex", free,
			nt.IRQL_NOT_LESS_OR_EQUAL},
		{"releasing a fast mutex that is free", 0, "ExReleaseFastMutex",
			func(r *driverRig) []uint64 {
				m := r.mem(0x38)
				r.call("KeInitializeGuardedMutex", m)
				return []uint64{m}
			}, nt.THREAD_NOT_MUTEX_OWNER},
		{"a list that is none", 0, "ExInterlockedInsertTailList", func(r *driverRig) []uint64 {
			head := r.mem(16)
			r.put64(head, head)
			r.put64(head+8, r.mem(16))
			return []uint64{head, r.mem(16), r.mem(8)}
		}, nt.KERNEL_SECURITY_CHECK_FAILURE},
		{"run-down protection released too often", 0, "ExReleaseRundownProtection", free,
			nt.REFERENCE_BY_POINTER},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.code, bugcheck(t, c.irql, c.fn, c.args).Code)
		})
	}
}

func TestFastMutexes(t *testing.T) {
	r := newRig(t)
	m := r.mem(0x38)
	r.call("KeInitializeGuardedMutex", m)
	r.on(func(call func(string, ...uint64) uint64) {
		irql := func() nt.IRQL { return r.thread.IRQL() }
		disabled := func() bool { return uint8(call("KeAreAllApcsDisabled")) != 0 }
		call("ExAcquireFastMutex", m)
		assert.Equal(t, nt.APC_LEVEL, irql())
		assert.Zero(t, uint8(call("ExTryToAcquireFastMutex", m)))
		call("ExReleaseFastMutex", m)
		assert.Equal(t, nt.PASSIVE_LEVEL, irql())
		assert.NotZero(t, uint8(call("ExTryToAcquireFastMutex", m)))
		assert.Equal(t, nt.APC_LEVEL, irql())
		call("ExReleaseFastMutex", m)
		call("ExAcquireFastMutexUnsafe", m)
		assert.Equal(t, nt.PASSIVE_LEVEL, irql())
		call("ExReleaseFastMutexUnsafe", m)
		call("KeAcquireGuardedMutex", m)
		assert.Equal(t, nt.PASSIVE_LEVEL, irql())
		assert.True(t, disabled())
		assert.Zero(t, uint8(call("KeTryToAcquireGuardedMutex", m)))
		call("KeReleaseGuardedMutex", m)
		assert.False(t, disabled())
		assert.NotZero(t, uint8(call("KeTryToAcquireGuardedMutex", m)))
		assert.True(t, disabled())
		call("KeReleaseGuardedMutex", m)
		call("KeAcquireGuardedMutexUnsafe", m)
		assert.False(t, disabled())
		call("KeReleaseGuardedMutexUnsafe", m)
	})
	f, err := guest.Ptr[nt.FastMutex](m).Load()
	require.NoError(t, err)
	assert.EqualValues(t, 1, f.Count)
	assert.Zero(t, f.Owner)
}

func TestRundownProtection(t *testing.T) {
	r := newRig(t)
	ref := r.mem(8)
	r.put64(ref, 0x55)
	r.call("ExInitializeRundownProtection", ref)
	assert.True(t, r.bool("ExAcquireRundownProtection", ref))
	assert.True(t, r.bool("ExAcquireRundownProtectionEx", ref, 3))
	r.call("ExReleaseRundownProtectionEx", ref, 2)
	r.call("ExReleaseRundownProtection", ref)
	r.call("ExReleaseRundownProtection", ref)
	r.call("ExWaitForRundownProtectionRelease", ref)
	assert.False(t, r.bool("ExAcquireRundownProtection", ref))
	r.call("ExReInitializeRundownProtection", ref)
	assert.True(t, r.bool("ExAcquireRundownProtection", ref))
	r.call("ExReleaseRundownProtection", ref)
	r.call("ExRundownCompleted", ref)
	assert.False(t, r.bool("ExAcquireRundownProtection", ref))
}

func TestInterlockedLists(t *testing.T) {
	r := newRig(t)
	lock, head := r.mem(8), r.mem(16)
	r.put64(head, head)
	r.put64(head+8, head)
	e := []uint64{r.mem(16), r.mem(16), r.mem(16)}
	assert.Zero(t, r.call("ExInterlockedRemoveHeadList", head, lock))
	assert.Zero(t, r.call("ExInterlockedInsertTailList", head, e[1], lock))
	assert.Equal(t, e[1], r.call("ExInterlockedInsertTailList", head, e[2], lock))
	assert.Equal(t, e[1], r.call("ExInterlockedInsertHeadList", head, e[0], lock))
	at := head
	for _, next := range []uint64{e[0], e[1], e[2], head} {
		assert.Equal(t, next, r.u64(at))
		assert.Equal(t, at, r.u64(next+8))
		at = next
	}
	for _, want := range e {
		assert.Equal(t, want, r.call("ExInterlockedRemoveHeadList", head, lock))
	}
	assert.Equal(t, head, r.u64(head))
	assert.Equal(t, head, r.u64(head+8))
	assert.Zero(t, r.u64(lock))

	single := r.mem(8)
	assert.Zero(t, r.call("ExInterlockedPopEntryList", single, lock))
	assert.Zero(t, r.call("ExInterlockedPushEntryList", single, e[0], lock))
	assert.Equal(t, e[0], r.call("ExInterlockedPushEntryList", single, e[1], lock))
	assert.Equal(t, e[1], r.call("ExInterlockedPopEntryList", single, lock))
	assert.Equal(t, e[0], r.call("ExInterlockedPopEntryList", single, lock))

	number := r.mem(8)
	r.put64(number, 1<<40|0xFFFFFFFF)
	assert.EqualValues(t, 1<<40|0xFFFFFFFF, r.call("ExInterlockedAddLargeInteger", number, 1, lock))
	assert.EqualValues(t, 1<<40+1<<32, r.u64(number))
	r.put64(number, 0xFFFFFFFF)
	assert.EqualValues(t, 0xFFFFFFFF, r.call("ExInterlockedAddUlong", number, 2, lock))
	assert.EqualValues(t, 1, r.u64(number), "nothing is carried out of 32 bits")
}

func TestSLists(t *testing.T) {
	r := newRig(t)
	list := r.mem(16)
	r.write(list, []byte("garbage garbage."))
	r.call("InitializeSListHead", list)
	e := []uint64{r.mem(16), r.mem(16), r.mem(16)}
	assert.Zero(t, r.call("ExpInterlockedPopEntrySList", list))
	before := uint64(0)
	for i, a := range e {
		assert.Equal(t, before, r.call("ExpInterlockedPushEntrySList", list, a))
		assert.EqualValues(t, i+1, uint16(r.call("ExQueryDepthSList", list)))
		before = a
	}
	assert.Equal(t, e[2], r.call("ExpInterlockedPopEntrySList", list))
	assert.Equal(t, e[1], r.call("ExpInterlockedFlushSList", list))
	assert.Equal(t, e[0], r.u64(e[1]))
	assert.Zero(t, uint16(r.call("ExQueryDepthSList", list)))
	assert.Zero(t, r.call("ExpInterlockedPopEntrySList", list))
	assert.Zero(t, r.call("ExpInterlockedFlushSList", list))
}

// BenchmarkExports times calls of exports in a guest loop: how long one takes, with all that leads
// there.
func BenchmarkExports(b *testing.B) {
	for _, c := range []struct {
		name string
		args func(r *driverRig) uint64 // of both calls
		fn   [2]string
	}{
		{"two exits", func(*driverRig) uint64 { return 0 },
			[2]string{"KeQueryTimeIncrement", "KeQueryTimeIncrement"}},
		{"spin lock pair", func(r *driverRig) uint64 { return r.mem(8) },
			[2]string{"KeAcquireSpinLockRaiseToDpc", "KeReleaseSpinLock"}},
		{"fast mutex pair", func(r *driverRig) uint64 {
			m := r.mem(0x38)
			r.call("KeInitializeGuardedMutex", m)
			return m
		}, [2]string{"ExAcquireFastMutex", "ExReleaseFastMutex"}},
		{"event set and wait", func(r *driverRig) uint64 {
			e := r.mem(24)
			r.call("KeInitializeEvent", e, 1, 0)
			return e
		}, [2]string{"KeSetEvent", "KeWaitForSingleObject"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b)
			loop := r.pairLoop(c.fn[0], c.fn[1])
			arg := c.args(r)
			b.ReportAllocs()
			b.ResetTimer()
			r.on(func(func(string, ...uint64) uint64) {
				r.thread.Call(loop, arg, uint64(b.N))
			})
		})
	}
}

// pairLoop makes guest code that calls two exports, RDX times, with RCX and zeros as arguments.
func (r *driverRig) pairLoop(first, second string) guest.Addr {
	code, err := r.space.AllocSystem(guest.PageSize, guest.ProtRWX, "loop of a test")
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, code.Free()) })
	text := []byte{
		0x53,                   // push rbx
		0x56,                   // push rsi
		0x48, 0x83, 0xEC, 0x38, // sub rsp, 38h
		0x48, 0x89, 0xCB, // mov rbx, rcx
		0x48, 0x89, 0xD6, // mov rsi, rdx
	}
	again := len(text)
	for _, name := range []string{first, second} {
		text = append(text,
			0x48, 0x89, 0xD9, // mov rcx, rbx
			0x31, 0xD2, // xor edx, edx
			0x45, 0x31, 0xC0, // xor r8d, r8d
			0x45, 0x31, 0xC9, // xor r9d, r9d
			0x48, 0xC7, 0x44, 0x24, 0x20, 0, 0, 0, 0, // mov qword [rsp+20h], 0
			0x48, 0xB8) // mov rax, imm64
		a := uint64(r.symbol(name))
		for range 8 {
			text = append(text, byte(a))
			a >>= 8
		}
		text = append(text, 0xFF, 0xD0) // call rax
	}
	text = append(text, 0x48, 0xFF, 0xCE, 0x75, 0) // dec rsi; jnz again
	text[len(text)-1] = byte(again - len(text))
	text = append(text, 0x48, 0x83, 0xC4, 0x38, 0x5E, 0x5B, 0xC3) // add rsp, 38h; pop; pop; ret
	r.write(uint64(code.Base()), text)
	return code.Base()
}

// A processor's thread takes and releases a spin lock all the time, in guest code, while DPCs are
// queued at it from another: each must run, though the thread never leaves by itself.
func TestLoweringInGuestCodeLosesNoDPC(t *testing.T) {
	const rounds = 3000
	r := newRigOf(t, newKernel(t, Options{Processors: 2}))
	loop := r.pairLoop("KeAcquireSpinLockRaiseToDpc", "KeReleaseSpinLock")
	lock, count, dpc := r.mem(8), r.mem(8), r.mem(0x40)
	r.call("KeInitializeDpc", dpc, r.routine(incSecond...), count)
	r.call("KeSetTargetProcessorDpc", dpc, 1)
	th, err := r.Ke.NewThread(r.Ke.SystemProcess)
	require.NoError(t, err)
	running, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- th.Do(func() {
			th.SetSystemAffinity(1 << 1)
			close(running)
			th.Call(loop, lock, 1<<40)
		})
	}()
	<-running
	r.on(func(call func(string, ...uint64) uint64) {
		call("KeSetSystemAffinityThread", 1)
		for n := range uint64(rounds) {
			call("KeInsertQueueDpc", dpc, 0, 0)
			if n%8 == 0 {
				call("KeFlushQueuedDpcs")
			} else {
				for until := time.Now().Add(10 * time.Second); r.u64(count) <= n; runtime.Gosched() {
					require.True(t, time.Now().Before(until), "DPC %d was lost", n)
				}
			}
		}
		call("KeRevertToUserAffinityThread")
	})
	assert.EqualValues(t, rounds, r.u64(count))
	require.NoError(t, r.Close())
	require.Error(t, <-ended)
}
