package mm

import (
	"testing"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLookaside(t *testing.T) {
	m := newManager(t, Config{})
	list, err := m.AllocatePool(nt.NonPagedPoolNxCacheAligned, 128, testTag)
	require.NoError(t, err)
	require.NoError(t, guest.Fill(list, 0xAA, 128))
	require.NoError(t, InitializeLookaside(list, LookasideParams{Type: nt.NonPagedPoolNx, Size: 48,
		Tag: testTag, Allocate: 0x1234, Free: 0x5678}))
	l, err := guest.Ptr[nt.GeneralLookaside](list).Load()
	require.NoError(t, err)
	assert.Equal(t, nt.GeneralLookaside{Depth: 4, MaximumDepth: 256, Type: nt.NonPagedPoolNx,
		Tag: uint32(testTag), Size: 48, Allocate: 0x1234, Free: 0x5678}, l)
	require.NoError(t, DrainLookaside(list, m.FreePool), "an empty list")

	head := nt.Addr(0)
	for range 3 {
		a, err := m.AllocatePool(nt.NonPagedPoolNx, 48, testTag)
		require.NoError(t, err)
		require.NoError(t, guest.StoreAddr(a, head))
		head = a
	}
	full := nt.SListHeader{Alignment: 3, Region: uint64(head) | 1}
	require.NoError(t, guest.Ptr[nt.SListHeader](list).Store(full))
	require.NoError(t, DrainLookaside(list, m.FreePool))
	require.NoError(t, m.FreePool(list))
	assert.Empty(t, m.Outstanding())

	loop, err := m.AllocatePool(nt.NonPagedPoolNxCacheAligned, 128, testTag)
	require.NoError(t, err)
	require.NoError(t, guest.StoreAddr(loop+64, loop+64))
	broken := nt.SListHeader{Alignment: 0xFFFF, Region: uint64(loop+64) | 1}
	require.NoError(t, guest.Ptr[nt.SListHeader](loop).Store(broken))
	n := 0
	require.NoError(t, DrainLookaside(loop, func(nt.Addr) error { n++; return nil }))
	assert.Equal(t, 0xFFFF, n, "a list that goes round ends")
	assert.Equal(t, nt.STATUS_ACCESS_VIOLATION, DrainLookaside(0x10, m.FreePool))
}
