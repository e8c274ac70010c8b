package ke

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestAThreadThatStaysAtDispatchLevelIsABugcheck(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 2})
	s.dpcLimit = 40 * time.Millisecond
	loop := s.forever()
	th, err := s.NewThread(s.SystemProcess)
	require.NoError(t, err)
	defer th.Release()
	require.Error(t, th.Do(func() {
		th.RaiseIRQL(nt.DISPATCH_LEVEL)
		th.Call(loop)
	}))
	b := s.crash()
	assert.Equal(t, nt.DPC_WATCHDOG_VIOLATION, b.Code)
	assert.EqualValues(t, 1, b.Params[0])
	assert.Equal(t, th.ID, b.ThreadID)
	assert.Contains(t, b.Reason, "at DISPATCH_LEVEL or above for 40ms")
}

func TestAThreadThatComesDownMayStayAsLongAsItLikes(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 2})
	s.dpcLimit = 8 * time.Millisecond
	spin := s.spinUntil()
	done := s.alloc(8)
	go func() {
		// Each of the watchdog's own DPCs counts by two.
		for s.procs[0].dpcRuns.Load()+s.procs[1].dpcRuns.Load() < 20 {
			time.Sleep(time.Millisecond)
		}
		_ = guest.Store8(done, 1)
	}()
	s.do(func(th *Thread) { th.Call(spin, uint64(done)) })
	require.Nil(t, s.Crashed())
}
