package ntoskrnl

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestLookasideLists(t *testing.T) {
	require.EqualValues(t, 0x60, unsafe.Sizeof(lookasidePool{}))
	r := newRig(t)
	list := r.mem(128 + 16)
	pop := func() uint64 { return r.call("ExpInterlockedPopEntrySList", list) }
	for _, c := range []struct {
		name   string
		length int
		make   func(allocate, free uint64)
		end    string
		typ    nt.PoolType
	}{
		{"nonpaged", 128, func(a, f uint64) {
			r.call("ExInitializeNPagedLookasideList", list, a, f, 512, 4, tagEcho, 0)
		}, "ExDeleteNPagedLookasideList", nt.NonPagedPoolNx},
		{"paged", 128, func(a, f uint64) {
			r.call("ExInitializePagedLookasideList", list, a, f, 0, 4, tagEcho, 0)
		}, "ExDeletePagedLookasideList", nt.PagedPool},
		{"extended", 0x60, func(a, f uint64) {
			require.Equal(t, nt.STATUS_SUCCESS, r.status("ExInitializeLookasideListEx", list, a, f,
				uint64(nt.NonPagedPoolNx), 0, 4, tagEcho, 0))
		}, "ExDeleteLookasideListEx", nt.NonPagedPoolNx},
		{"extended, flushed", 0x60, func(a, f uint64) {
			require.Equal(t, nt.STATUS_SUCCESS, r.status("ExInitializeLookasideListEx", list, a, f,
				uint64(nt.PagedPool), 0, 4, tagEcho, 0))
		}, "ExFlushLookasideListEx", nt.PagedPool},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.put64(list+uint64(c.length), 0x55)
			c.make(0, 0)
			l, err := guest.Ptr[lookasidePool](list).Load()
			require.NoError(t, err)
			assert.Equal(t, lookasidePool{Depth: 4, MaximumDepth: 256, Type: c.typ, Tag: tagEcho,
				Size: 8, AllocateEx: r.symbol("ExAllocatePoolWithTag"),
				FreeEx: r.symbol("ExFreePool")}, l)
			assert.EqualValues(t, 0x55, r.u64(list+uint64(c.length)))
			assert.Zero(t, pop())

			// What the inline functions do.
			for range 2 {
				block := r.call("ExAllocatePoolWithTag", uint64(l.Type), uint64(l.Size),
					uint64(l.Tag))
				require.NotZero(t, block)
				r.call("ExpInterlockedPushEntrySList", list, block)
			}
			r.call(c.end, list)
			assert.Zero(t, pop())

			count := r.mem(16)
			c.make(0, r.routine(incSecond...))
			l, err = guest.Ptr[lookasidePool](list).Load()
			require.NoError(t, err)
			r.call("ExpInterlockedPushEntrySList", list, count)
			r.call(c.end, list)
			assert.EqualValues(t, 1, r.u64(list), "its routine was called, and told the list")
		})
	}
	for _, c := range []struct {
		typ, flags uint64
		status     nt.Status
	}{
		{3, 0, nt.STATUS_INVALID_PARAMETER_4}, {512, 3, nt.STATUS_INVALID_PARAMETER_5},
		{512, 1, nt.STATUS_SUCCESS}, {512, 2, nt.STATUS_SUCCESS},
	} {
		assert.Equal(t, c.status, r.status("ExInitializeLookasideListEx", list, 0, 0, c.typ, c.flags,
			64, tagEcho, 0))
	}
}
