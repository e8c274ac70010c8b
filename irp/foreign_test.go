package irp

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

var foreignTag = mm.MakeTag("Test")

// pool gives a block of pool as a driver gets it.
func (r *rig) pool(size uintptr) guest.Addr {
	a, err := r.mm.AllocatePool2(nt.POOL_FLAG_NON_PAGED, size, foreignTag)
	require.NoError(r.t, err)
	return a
}

func TestAnIRPInADriversMemoryEndsWithIt(t *testing.T) {
	for name, size := range map[string]uintptr{"a small block": 0x200, "a large block": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			b := r.do(func(th *ke.Thread) {
				irp := r.pool(size)
				require.NoError(t, r.Initialize(th, irp, uint16(nt.IoSizeOfIrp(2)), 2))
				assert.False(t, r.CancelIRP(th, irp))
				*guest.Ptr[int16](irp).Ref() = 0
				require.NoError(t, r.mm.FreePoolWithTag(irp, foreignTag))
				r.CancelIRP(th, irp)
			})
			require.NotNil(t, b)
			assert.Equal(t, nt.MULTIPLE_IRP_COMPLETE_REQUESTS, b.Code, b.Error())
		})
	}
}

func TestACompletionRoutineMayFreeAnIRPInADriversMemory(t *testing.T) {
	for name, c := range map[string]struct {
		returns nt.Status
		crashes bool
	}{
		"and says so":         {nt.STATUS_MORE_PROCESSING_REQUIRED, false},
		"and does not say so": {nt.STATUS_SUCCESS, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			b := r.do(func(th *ke.Thread) {
				irp := r.pool(1 << 20) // its pages go with it
				require.NoError(t, r.Initialize(th, irp, uint16(nt.IoSizeOfIrp(1)), 1))
				i := at(irp)
				i.CurrentLocation = 1
				location(i, 1).Control = nt.SL_INVOKE_ON_SUCCESS
				location(i, 1).CompletionRoutine = r.add(
					func(_ *ke.Thread, _, irp, _ guest.Addr) uint64 {
						_ = r.mm.FreePoolWithTag(irp, foreignTag)
						return uint64(c.returns)
					})
				r.complete(th, irp, nt.STATUS_SUCCESS, 0)
			})
			if !c.crashes {
				assert.Nil(t, b)
				return
			}
			require.NotNil(t, b)
			assert.Equal(t, nt.MULTIPLE_IRP_COMPLETE_REQUESTS, b.Code, b.Error())
		})
	}
}

func TestAnIRPInADriversMemoryIsFreedAsPool(t *testing.T) {
	r := newRig(t)
	require.Nil(t, r.do(func(th *ke.Thread) {
		irp := r.pool(0x200)
		require.NoError(t, r.Initialize(th, irp, 0xD0, 100), "with as many locations as fit")
		assert.EqualValues(t, 1, at(irp).StackCount)
		r.Free(th, irp)
		assert.Error(t, r.Initialize(th, 0x10, 0x200, 1), "memory that is not there")
	}))
}

func TestAThreadCancelsItsIRPs(t *testing.T) {
	r := newRig(t)
	var held []guest.Addr
	cancel := r.add(func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
		r.ReleaseCancelSpinLock(th, at(irp).CancelIrql)
		r.complete(th, irp, nt.STATUS_CANCELLED, 0)
		return 0
	})
	dev := r.device(r.driver("d", func(_ *ke.Thread, _, irp, _ guest.Addr) uint64 {
		current(irp).Control |= nt.SL_PENDING_RETURNED
		at(irp).CancelRoutine = cancel
		held = append(held, irp)
		return uint64(nt.STATUS_PENDING)
	}), `\Device\D`)
	var ends []nt.Status
	require.Nil(t, r.do(func(th *ke.Thread) {
		for range 10 {
			irp := r.Build(th, dev, func(*nt.IRP, *nt.IOStackLocation) {},
				func(_ *ke.Thread, e Ended) { ends = append(ends, e.Result.Status) })
			r.Own(th, irp)
			assert.Equal(t, nt.STATUS_PENDING, r.Call(th, dev.Object.Addr(), irp))
		}
		// Two have ended before.
		for _, irp := range held[3:5] {
			at(irp).CancelRoutine = 0
			r.complete(th, irp, nt.STATUS_SUCCESS, 0)
		}
		assert.Equal(t, 8, r.Owned(th))
		r.CancelThread(th)
		assert.Zero(t, r.Owned(th))
	}))
	require.Len(t, ends, 10)
	for i, status := range ends {
		want := nt.STATUS_CANCELLED
		if i < 2 {
			want = nt.STATUS_SUCCESS
		}
		assert.Equal(t, want, status)
	}
	assert.Zero(t, r.Outstanding())
}
