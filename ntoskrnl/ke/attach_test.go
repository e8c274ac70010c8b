package ke

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestQueuedAPCsGoAlongWithTheState(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 1})
	region, err := s.Space.AllocSystem(guest.PageSize, guest.ProtRW, "states of a test")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, region.Free()) })
	from, to := region.Base(), region.Base()+0x40
	apc := []guest.Addr{region.Base() + 0x100, region.Base() + 0x120}
	link := func(entries ...guest.Addr) { // in a ring
		for i, e := range entries {
			next := entries[(i+1)%len(entries)]
			require.NoError(t, guest.StoreAddr(e, next))
			require.NoError(t, guest.StoreAddr(next+listBlink, e))
		}
	}
	link(from, apc[0], apc[1]) // of the kernel
	link(from + apcListSize)   // of the user
	require.NoError(t, guest.StoreAddr(from+apcProcess, 0x1234))
	require.NoError(t, guest.Fill(to, 0xEE, 0x30))

	require.NoError(t, moveAPCState(to, from))
	state, err := guest.Ptr[nt.KAPCState](to).Load()
	require.NoError(t, err)
	assert.Equal(t, nt.ListEntry{Flink: apc[0], Blink: apc[1]}, state.ApcListHead[0])
	user := to + apcListSize
	assert.Equal(t, nt.ListEntry{Flink: user, Blink: user}, state.ApcListHead[1])
	assert.EqualValues(t, 0x1234, state.Process)
	for at, want := range map[guest.Addr]guest.Addr{apc[0]: apc[1], apc[1]: to,
		apc[0] + listBlink: to, apc[1] + listBlink: apc[0]} {
		got, err := guest.LoadAddr(at)
		require.NoError(t, err)
		assert.Equal(t, want, got, "%v", at)
	}
	rest, err := guest.Load8(to + 0x2B)
	require.NoError(t, err)
	assert.EqualValues(t, 0xEE, rest, "what a KTHREAD has behind the state is not of it")
}

func TestSystemThreadThatEndsAttached(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 1})
	p, err := s.NewProcess(0x2000, "client")
	require.NoError(t, err)
	ended := make(chan error, 1)
	_, err = s.StartSystemThread(s.SystemProcess, func(th *Thread) {
		assert.NoError(t, th.Attach(p))
	}, func(_ *Thread, err error) { ended <- err })
	require.NoError(t, err)
	var b *Bugcheck
	require.ErrorAs(t, <-ended, &b)
	assert.Equal(t, nt.INVALID_PROCESS_ATTACH_ATTEMPT, b.Code)
}
