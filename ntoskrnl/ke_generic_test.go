package ntoskrnl

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestGenericCallDPC(t *testing.T) {
	for _, processors := range []int{1, 4} {
		r := newRigOf(t, newKernel(t, Options{Processors: processors}))
		counts := r.mem(64)
		r.put64(counts+32, uint64(r.symbol("KeSignalCallDpcSynchronize")))
		r.put64(counts+40, uint64(r.symbol("KeSignalCallDpcDone")))
		routine := r.routine(
			0x53, 0x56, 0x57, 0x48, 0x83, 0xEC, 0x20, // push rbx, rsi, rdi; sub rsp, 20h
			0x48, 0x89, 0xD3, // mov rbx, rdx
			0x4C, 0x89, 0xC6, // mov rsi, r8
			0xF0, 0x48, 0xFF, 0x03, // lock inc qword [rbx]: a processor is here
			0x4C, 0x89, 0xC9, // mov rcx, r9
			0xFF, 0x53, 0x20, // call [rbx+32]
			0x0F, 0xB6, 0xC0, // movzx eax, al
			0xF0, 0x48, 0x01, 0x43, 0x08, // lock add [rbx+8], rax: the chosen one
			0x48, 0x8B, 0x03, // mov rax, [rbx]
			0xF0, 0x48, 0x01, 0x43, 0x10, // lock add [rbx+16], rax: all are here by now
			0x44, 0x0F, 0x20, 0xC0, // mov rax, cr8
			0x48, 0x0F, 0xB6, 0xC0,
			0xF0, 0x48, 0x01, 0x43, 0x18, // lock add [rbx+24], rax: the level
			0x48, 0x89, 0xF1, // mov rcx, rsi
			0xFF, 0x53, 0x28, // call [rbx+40]
			0x48, 0x83, 0xC4, 0x20, 0x5F, 0x5E, 0x5B, 0xC3)
		n := uint64(processors)
		for i := uint64(1); i <= 3; i++ {
			r.call("KeGenericCallDpc", routine, counts)
			assert.Equal(t, n*i, r.u64(counts))
			assert.Equal(t, i, r.u64(counts+8), "one of them is told")
			assert.Equal(t, 2*n*i, r.u64(counts+24), "at DISPATCH_LEVEL")
		}
		assert.Equal(t, n*n*(1+2+3), r.u64(counts+16), "nobody leaves before all have come")
	}
	for _, name := range []string{"KeSignalCallDpcDone", "KeSignalCallDpcSynchronize"} {
		b := bugcheck(t, nt.PASSIVE_LEVEL, name, func(r *driverRig) []uint64 {
			return []uint64{r.mem(8)}
		})
		assert.Equal(t, nt.IRQL_NOT_DISPATCH_LEVEL, b.Code)
	}
}

func TestBugCheckCallbacks(t *testing.T) {
	var word, record uint64
	var rig *driverRig
	b := bugcheck(t, nt.DISPATCH_LEVEL, "KeBugCheckEx", func(r *driverRig) []uint64 {
		rig = r
		record, word = r.mem(0x40), r.mem(16)
		name := r.str("test")
		assert.False(t, r.bool("KeDeregisterBugCheckCallback", record))
		require.True(t, r.bool("KeRegisterBugCheckCallback", record, r.routine(
			0xF0, 0x48, 0xFF, 0x01, // lock inc qword [rcx]
			0x48, 0x89, 0x51, 0x08, // mov [rcx+8], rdx
			0xC3), word, 16, name))
		assert.False(t, r.bool("KeRegisterBugCheckCallback", record, word, word, 16, name))

		gone := r.mem(0x40)
		require.True(t, r.bool("KeRegisterBugCheckCallback", gone, r.routine(incFirst...), word, 1, 0))
		require.True(t, r.bool("KeDeregisterBugCheckCallback", gone))
		assert.False(t, r.bool("KeDeregisterBugCheckCallback", gone))
		bad := r.mem(0x40)
		require.True(t, r.bool("KeRegisterBugCheckCallback", bad, 0x1000, 0, 0, 0))

		reason := r.mem(0x38)
		require.True(t, r.bool("KeRegisterBugCheckReasonCallback", reason, word, 2, name))
		require.True(t, r.bool("KeDeregisterBugCheckReasonCallback", reason))
		assert.False(t, r.bool("KeDeregisterBugCheckReasonCallback", reason))
		require.True(t, r.bool("KeDeregisterBugCheckCallback", bad))
		return []uint64{0xE2, 1, 2, 3, 4}
	})
	assert.EqualValues(t, 0xE2, b.Code)
	assert.EqualValues(t, 1, rig.u64(word))
	assert.EqualValues(t, 16, rig.u64(word+8))
	r, err := guest.Ptr[bugCheckRecord](record).Load()
	require.NoError(t, err)
	assert.Equal(t, bufferFinished, r.State)
}

func TestABugCheckCallbackThatCrashesDoesNotHideTheCrash(t *testing.T) {
	b := bugcheck(t, nt.PASSIVE_LEVEL, "KeBugCheckEx", func(r *driverRig) []uint64 {
		require.True(t, r.bool("KeRegisterBugCheckCallback", r.mem(0x40), 0x1000, 0, 0, 0))
		return []uint64{0xE2, 1, 2, 3, 4}
	})
	assert.EqualValues(t, 0xE2, b.Code)
	assert.Equal(t, [4]uint64{1, 2, 3, 4}, b.Params)
}

func TestRemoveLocks(t *testing.T) {
	r := newRigOf(t, newKernel(t, Options{Processors: 2}))
	const size = 32
	for _, whole := range []int{size, 120} {
		lock := r.mem(whole + 8)
		r.write(lock, []byte("garbage garbage garbage garbage."))
		r.put64(lock+uint64(whole), 0x55)
		r.call("IoInitializeRemoveLockEx", lock, 0x41414141, 1, 2, uint64(whole))
		for range 2 {
			assert.Equal(t, nt.STATUS_SUCCESS, r.status("IoAcquireRemoveLockEx", lock, 0x99, 0, 0,
				uint64(whole)))
		}
		assert.EqualValues(t, 3, r.u32(lock+4))
		r.call("IoReleaseRemoveLockEx", lock, 0x99, uint64(whole))
		r.call("IoReleaseRemoveLockAndWaitEx", lock, 0x99, uint64(whole))
		assert.Equal(t, nt.STATUS_DELETE_PENDING, r.status("IoAcquireRemoveLockEx", lock, 0x99, 0, 0,
			uint64(whole)))
		assert.EqualValues(t, 0x55, r.u64(lock+uint64(whole)))
	}

	lock := r.mem(size)
	r.call("IoInitializeRemoveLockEx", lock, 0, 0, 0, size)
	for range 2 {
		r.call("IoAcquireRemoveLockEx", lock, 0x99, 0, 0, size)
	}
	done := make(chan error, 1)
	th, err := r.Ke.NewThread(r.Ke.SystemProcess)
	require.NoError(t, err)
	go func() {
		done <- th.Do(func() { r.exports(th)("IoReleaseRemoveLockAndWaitEx", lock, 0, size) })
	}()
	require.Eventually(t, func() bool { return r.u32(lock+4) == 1 }, 10*time.Second,
		100*time.Microsecond)
	assert.Empty(t, done)
	r.call("IoReleaseRemoveLockEx", lock, 0, size)
	require.NoError(t, <-done)
	th.Release()
}
