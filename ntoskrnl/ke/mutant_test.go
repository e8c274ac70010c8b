package ke

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func await(t testing.TB, th *Thread, object guest.Addr) nt.Status {
	t.Helper()
	status, err := th.WaitForSingleObject(object, Forever)
	require.NoError(t, err)
	return status
}

func TestMutexCountsItsOwnersAcquisitions(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	m := s.mutex()
	s.do(func(th *Thread) {
		for i := range int32(3) {
			assert.Equal(t, nt.STATUS_SUCCESS, await(t, th, m))
			assert.Equal(t, -i, state(t, m))
		}
		assert.True(t, th.APCsDisabled(), "a mutex disables APCs")
		assert.False(t, th.AllAPCsDisabled())
		for _, before := range []int32{-2, -1, 0} {
			assert.True(t, th.APCsDisabled())
			got, err := th.ReleaseMutant(m)
			require.NoError(t, err)
			assert.Equal(t, before, got)
		}
		assert.False(t, th.APCsDisabled())
		assert.Equal(t, int32(1), state(t, m))
		_, err := th.ReleaseMutant(m)
		assert.Equal(t, nt.STATUS_MUTANT_NOT_OWNED, err)
	})
}

func TestMutexBelongsToItsOwner(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	m := s.mutex()
	release := s.event(nt.NotificationEvent, false)
	owned := make(chan struct{})
	_, ended := s.start(func(th *Thread) {
		await(t, th, m)
		close(owned)
		await(t, th, release)
		_, err := th.ReleaseMutant(m)
		assert.NoError(t, err)
	})
	within(t, owned)
	_, waited := s.start(func(th *Thread) {
		status, err := th.WaitForSingleObject(m, Poll)
		assert.NoError(t, err)
		assert.Equal(t, nt.STATUS_TIMEOUT, status)
		_, err = th.ReleaseMutant(m)
		assert.Equal(t, nt.STATUS_MUTANT_NOT_OWNED, err)
		assert.Equal(t, nt.STATUS_SUCCESS, await(t, th, m))
		assert.True(t, th.APCsDisabled())
		before, err := th.ReleaseMutant(m)
		assert.NoError(t, err)
		assert.Zero(t, before)
	})
	s.blocked(2)
	_, err := s.SetEvent(release)
	require.NoError(t, err)
	require.NoError(t, within(t, ended))
	require.NoError(t, within(t, waited))
	assert.Equal(t, int32(1), state(t, m))
}

func TestMutantsAreAbandonedInAnyOrder(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	m := []guest.Addr{s.mutant(), s.mutant(), s.mutant()}
	ended := make(chan error, 1)
	_, err := s.StartSystemThread(s.SystemProcess, func(th *Thread) {
		for _, a := range m {
			await(t, th, a)
		}
		_, err := th.ReleaseMutant(m[1]) // from the middle of the list
		assert.NoError(t, err)
		th.Exit(nt.STATUS_SUCCESS)
	}, func(_ *Thread, err error) { ended <- err })
	require.NoError(t, err)
	var exit *ThreadExit
	require.ErrorAs(t, within(t, ended), &exit)
	s.do(func(th *Thread) {
		assert.Equal(t, nt.STATUS_ABANDONED_WAIT_0, await(t, th, m[0]))
		assert.Equal(t, nt.STATUS_SUCCESS, await(t, th, m[1]))
		status, err := th.WaitForMultipleObjects([]guest.Addr{s.event(0, false), m[2]}, false, Poll)
		assert.NoError(t, err)
		assert.Equal(t, nt.STATUS_ABANDONED_WAIT_0+1, status)
		for _, a := range m {
			before, err := th.AbandonMutant(a)
			assert.NoError(t, err)
			assert.Zero(t, before)
			_, err = th.ReleaseMutant(a)
			assert.Equal(t, nt.STATUS_ABANDONED, err)
			assert.Equal(t, nt.STATUS_ABANDONED_WAIT_0, await(t, th, a))
			_, err = th.ReleaseMutant(a)
			assert.NoError(t, err)
		}
	})
}

func TestMutantLimit(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	m := s.mutant()
	s.do(func(th *Thread) {
		await(t, th, m)
		require.NoError(t, storeState(m, -0x80000000))
		_, err := th.WaitForSingleObject(m, Forever)
		assert.Equal(t, nt.STATUS_MUTANT_LIMIT_EXCEEDED, err)
	})
}

func TestThreadThatEndsWhereItMayNot(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(s *testSystem, th *Thread)
		code nt.BugCheck
	}{
		{"with a mutex", func(s *testSystem, th *Thread) { await(t, th, s.mutex()) },
			threadTerminateHeldMutex},
		{"in a critical region", func(s *testSystem, th *Thread) { th.EnterCriticalRegion() },
			nt.KERNEL_APC_PENDING_DURING_EXIT},
		{"in a guarded region", func(s *testSystem, th *Thread) { th.EnterGuardedRegion() },
			nt.KERNEL_APC_PENDING_DURING_EXIT},
		{"at APC_LEVEL", func(s *testSystem, th *Thread) { th.RaiseIRQL(nt.APC_LEVEL) },
			nt.KERNEL_APC_PENDING_DURING_EXIT},
		{"with a mutant that was freed", func(s *testSystem, th *Thread) {
			region, err := s.Space.AllocSystem(guest.PageSize, guest.ProtRW, "a mutant")
			assert.NoError(s.t, err)
			assert.NoError(s.t, InitializeMutant(region.Base(), false))
			await(s.t, th, region.Base())
			assert.NoError(s.t, region.Free())
		}, threadTerminateHeldMutex},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTestSystem(t, testOptions{})
			_, err := s.StartSystemThread(s.SystemProcess, func(th *Thread) { c.f(s, th) }, nil)
			require.NoError(t, err)
			assert.Equal(t, c.code, s.crash().Code)
		})
	}
}
