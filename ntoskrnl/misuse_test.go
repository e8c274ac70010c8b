package ntoskrnl

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// systemThread starts a thread and waits for it.
func (r *driverRig) systemThread(routine uint64) {
	h := r.mem(8)
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("PsCreateSystemThread", h, 0x1FFFFF,
		r.objectAttributes("", 0, nt.OBJ_KERNEL_HANDLE), 0, 0, routine, 0))
	_, _ = r.callAt(nt.PASSIVE_LEVEL, "ZwWaitForSingleObject", r.u64(h), 0, 0)
}

// TestEachMisuseHasItsCodeAndParameters: those of "Bug Check Code Reference", the documentation's
// list. Where a parameter is of the system's own, it is what stands for it here.
func TestEachMisuseHasItsCodeAndParameters(t *testing.T) {
	pool := func(r *driverRig) uint64 { return r.call("ExAllocatePoolWithTag", 512, 48, tagEcho) }
	mutex := func(r *driverRig) uint64 {
		a := r.mem(0x38)
		r.call("KeInitializeMutex", a, 0)
		return a
	}
	at := func(irql nt.IRQL, name string, args ...uint64) func(r *driverRig) {
		return func(r *driverRig) { _, _ = r.callAt(irql, name, args...) }
	}
	type params = [4]uint64
	for _, c := range []struct {
		fact string
		do   func(r *driverRig) params // gives what is expected
		code nt.BugCheck
	}{
		{"freeing NULL", func(r *driverRig) params {
			at(nt.PASSIVE_LEVEL, "ExFreePoolWithTag", 0, tagEcho)(r)
			return params{0x46, 0, 0, 0}
		}, nt.BAD_POOL_CALLER},
		{"freeing user memory", func(r *driverRig) params {
			at(nt.PASSIVE_LEVEL, "ExFreePool", 0x20000000)(r)
			return params{0x40, 0x20000000, uint64(guest.SystemRangeStart), 0}
		}, nt.BAD_POOL_CALLER},
		{"freeing what is not allocated", func(r *driverRig) params {
			a := r.mem(64)
			at(nt.PASSIVE_LEVEL, "ExFreePoolWithTag", a, tagEcho)(r)
			return params{0x43, a, 0, 0}
		}, nt.BAD_POOL_CALLER},
		{"freeing twice", func(r *driverRig) params {
			a := pool(r)
			r.call("ExFreePoolWithTag", a, tagEcho)
			at(nt.PASSIVE_LEVEL, "ExFreePoolWithTag", a, tagEcho)(r)
			return params{0x07, 0, tagEcho, a}
		}, nt.BAD_POOL_CALLER},
		{"freeing with the wrong tag", func(r *driverRig) params {
			a := pool(r)
			at(nt.PASSIVE_LEVEL, "ExFreePoolWithTag", a, tagOther)(r)
			return params{0x0A, a, tagEcho, tagOther}
		}, nt.BAD_POOL_CALLER},
		{"paged pool at DISPATCH_LEVEL", func(r *driverRig) params {
			at(nt.DISPATCH_LEVEL, "ExAllocatePoolWithTag", 1, 48, tagEcho)(r)
			return params{0x08, uint64(nt.DISPATCH_LEVEL), 1, 48}
		}, nt.BAD_POOL_CALLER},
		{"paged pool freed at DISPATCH_LEVEL", func(r *driverRig) params {
			a := r.call("ExAllocatePoolWithTag", 1, 48, tagEcho)
			at(nt.DISPATCH_LEVEL, "ExFreePoolWithTag", a, tagEcho)(r)
			return params{0x09, uint64(nt.DISPATCH_LEVEL), 1, a}
		}, nt.BAD_POOL_CALLER},
		{"waiting at DISPATCH_LEVEL without end", func(r *driverRig) params {
			e := r.mem(24)
			r.call("KeInitializeEvent", e, 0, 0)
			at(nt.DISPATCH_LEVEL, "KeWaitForSingleObject", e, 0, 0, 0, 0)(r)
			return params{0x3B, uint64(nt.DISPATCH_LEVEL), e, 0}
		}, nt.DRIVER_VERIFIER_DETECTED_VIOLATION},
		{"waiting at DISPATCH_LEVEL with a timeout", func(r *driverRig) params {
			e, due := r.mem(24), r.mem(8)
			r.call("KeInitializeEvent", e, 0, 0)
			const soon = ^uint64(0) - 9
			r.put64(due, soon)
			at(nt.DISPATCH_LEVEL, "KeWaitForSingleObject", e, 0, 0, 0, due)(r)
			return params{0x3B, uint64(nt.DISPATCH_LEVEL), e, soon}
		}, nt.DRIVER_VERIFIER_DETECTED_VIOLATION},
		{"deleting a held resource", func(r *driverRig) params {
			a := r.mem(0x68)
			r.call("ExInitializeResourceLite", a)
			r.call("ExAcquireResourceExclusiveLite", a, 1)
			at(nt.PASSIVE_LEVEL, "ExDeleteResourceLite", a)(r)
			return params{a, uint64(r.thread.Object), 0, 0}
		}, nt.RESOURCE_NOT_OWNED},
		{"a thread that returns at DISPATCH_LEVEL", func(r *driverRig) params {
			r.systemThread(r.routine(0xB8, 2, 0, 0, 0, // mov eax, DISPATCH_LEVEL
				0x44, 0x0F, 0x22, 0xC0, 0xC3)) // mov cr8, rax; ret
			return params{0, 0, uint64(nt.DISPATCH_LEVEL), 0}
		}, nt.KERNEL_APC_PENDING_DURING_EXIT},
		{"a thread that returns in a critical region", func(r *driverRig) params {
			code := binary.LittleEndian.AppendUint64([]byte{0x48, 0xB8}, // mov rax, the export
				uint64(r.symbol("KeEnterCriticalRegion")))
			r.systemThread(r.routine(append(code, 0xFF, 0xE0)...)) // jmp rax
			return params{0, 0xFFFF, 0, 0}
		}, nt.KERNEL_APC_PENDING_DURING_EXIT},
		{"a thread that returns in a guarded region", func(r *driverRig) params {
			code := binary.LittleEndian.AppendUint64([]byte{0x48, 0xB8},
				uint64(r.symbol("KeEnterGuardedRegion")))
			r.systemThread(r.routine(append(code, 0xFF, 0xE0)...))
			return params{}
		}, nt.KERNEL_APC_PENDING_DURING_EXIT},
	} {
		t.Run(c.fact, func(t *testing.T) {
			r := newRig(t)
			want := c.do(r)
			b := r.Crashed()
			require.NotNil(t, b)
			assert.Equal(t, c.code, b.Code, "%v", b)
			assert.Equal(t, want, b.Params, "%v", b)
		})
	}
	// These raise a status, which is a bugcheck where nobody handles it.
	for fact, prepare := range map[string]func(r *driverRig) uint64{
		"releasing a mutex that nobody owns": mutex,
		"releasing a mutex that another thread owns": func(r *driverRig) uint64 {
			const signalState, ownerThread = 4, 0x28
			a := mutex(r)
			other, err := r.Ke.NewThread(r.Ke.SystemProcess)
			require.NoError(t, err)
			r.put32(a+signalState, 0)
			r.put64(a+ownerThread, uint64(other.Object))
			return a
		},
	} {
		t.Run(fact, func(t *testing.T) {
			r := newRig(t)
			_, err := r.callAt(nt.PASSIVE_LEVEL, "KeReleaseMutex", prepare(r), 0)
			var b *ke.Bugcheck
			require.True(t, errors.As(err, &b), "%v", err)
			assert.Equal(t, nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED, b.Code)
			assert.EqualValues(t, nt.STATUS_MUTANT_NOT_OWNED, b.Params[0])
		})
	}
}
