// Kicks: none is lost, none comes twice, whenever it arrives.

package native

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
)

// elsewhere runs f on an OS thread that is not the caller's.
func elsewhere(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// kickOut runs c, which must be spinning or before its first instruction, until a kick ends it.
func kickOut(t testing.TB, eng engine.CPU, c *engine.Context) {
	go func() {
		for c.Thread() == 0 && !c.Kicked() {
			runtime.Gosched()
		}
		eng.Kick(c)
	}()
	require.Equal(t, engine.ExitKick, eng.Run(c))
	c.ClearKick()
}

// kickAllTheTime kicks c until stop is closed.
func kickAllTheTime(eng engine.CPU, c *engine.Context, stop chan struct{}) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				eng.Kick(c)
				runtime.Gosched()
			}
		}
	}()
	return done
}

func spin() []byte {
	return listing(`
		EB FE  jmp $
		C3     ret`)
}

func TestKickBeforeRunKeepsTheGuestFromRunning(t *testing.T) {
	eng := newCPU(t)
	g := newCode(t, eng, callLoop())
	c := newThread(t, eng)
	var s engine.Saved
	g.push(t, c, &s, 2)
	eng.Kick(c)
	eng.Kick(c)
	assert.True(t, c.Kicked())
	require.Equal(t, engine.ExitKick, eng.Run(c))
	require.EqualValues(t, g.base, c.RIP, "nothing has run")
	require.Equal(t, engine.ExitKick, eng.Run(c), "until it is cleared")
	c.ClearKick()
	assert.False(t, c.Kicked())
	require.Equal(t, engine.ExitCall, eng.Run(c), "two kicks are one exit")
	require.Equal(t, engine.ExitCall, eng.Run(c))
	require.Equal(t, engine.ExitReturn, eng.Run(c))
}

func TestKickAfterAnExitEndsTheNextRun(t *testing.T) {
	eng := newCPU(t)
	g := newCode(t, eng, callLoop())
	c := newThread(t, eng)
	var s engine.Saved
	g.push(t, c, &s, 2)
	require.Equal(t, engine.ExitCall, eng.Run(c))
	eng.Kick(c)
	c.GPR[engine.RAX] = 77
	require.Equal(t, engine.ExitKick, eng.Run(c))
	assert.EqualValues(t, 77, c.GPR[engine.RAX], "the import's result")
	assert.Equal(t, engine.ResumeFull, c.Resume)
	c.ClearKick()
	require.Equal(t, engine.ExitCall, eng.Run(c))
	v, _ := c.Arg(0)
	assert.EqualValues(t, 1, v)
	require.Equal(t, engine.ExitReturn, eng.Run(c))
	eng.Kick(c)
	c.PopCall(&s)
	g.push(t, c, &s, 0)
	require.Equal(t, engine.ExitKick, eng.Run(c), "a kick outlives the call that it was meant for")
	c.ClearKick()
}

func TestClearedKickIsForgotten(t *testing.T) {
	eng := newCPU(t)
	g := newCode(t, eng, callLoop())
	c := newThread(t, eng)
	var s engine.Saved
	g.push(t, c, &s, 1)
	eng.Kick(c)
	c.ClearKick()
	require.Equal(t, engine.ExitCall, eng.Run(c))
}

func TestKickEndsAnEndlessLoop(t *testing.T) {
	eng := newCPU(t)
	g := newCode(t, eng, spin())
	c := newThread(t, eng)
	var s engine.Saved
	g.push(t, c, &s)
	for range 100 {
		kickOut(t, eng, c)
		require.EqualValues(t, g.base, c.RIP)
	}
	c.RIP += 2
	require.Equal(t, engine.ExitReturn, eng.Run(c))
	requireWorks(t, eng, c)
}

func TestKickOfOneContextLeavesTheOthersAlone(t *testing.T) {
	eng := newCPU(t)
	g := newCode(t, eng, callLoop())
	mine, other := newThread(t, eng), newThread(t, eng)
	stop := make(chan struct{})
	done := kickAllTheTime(eng, other, stop)
	endless := newCode(t, eng, spin())
	var s, otherSaved engine.Saved
	endless.push(t, other, &otherSaved)
	const calls = 2_000
	g.push(t, mine, &s, calls)
	for range calls {
		require.Equal(t, engine.ExitCall, eng.Run(mine))
		// The other runs on this thread too, time and again: a signal that comes late for it finds
		// mine here.
		require.Equal(t, engine.ExitKick, eng.Run(other))
		other.ClearKick()
	}
	close(stop)
	<-done
	require.Equal(t, engine.ExitReturn, eng.Run(mine))
}

// callOrSpin calls the import for ever; when that returns other than 0, it spins.
func callOrSpin() []byte {
	a := new(assembler).callThunk(0x28).list(`
		85 C0  test eax, eax
		74 02  jz +2
		EB FE  jmp $`)
	return a.bytes(0xE9).relative(0).code // jmp back
}

// storm kicks a guest that calls imports all the time, and waits for the exit before each next
// kick. Every so often the guest is sent into an endless loop, out of which only a kick can take
// it: if one is lost, the test hangs.
func storm(t *testing.T, kicks uint64) {
	eng := newCPU(t)
	code := callOrSpin()
	g := newCode(t, eng, code)
	c := newThread(t, eng)
	var s engine.Saved
	g.push(t, c, &s)
	var seen atomic.Uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		random := uint64(88172645463325252)
		for i := range kicks {
			for seen.Load() < i {
				runtime.Gosched()
			}
			random ^= random << 13
			random ^= random >> 7
			random ^= random << 17
			for range random & 0x3FF {
				if seen.Load() > i {
					panic("an exit without a kick")
				}
			}
			eng.Kick(c)
		}
	}()
	var calls, loops uint64
	for seen.Load() < kicks {
		switch exit := eng.Run(c); exit {
		case engine.ExitCall:
			calls++
			c.GPR[engine.RAX] = 0
			if calls%64 == 0 {
				c.GPR[engine.RAX] = 1
			}
		case engine.ExitKick:
			if c.RIP == uint64(g.base)+uint64(len(code))-7 {
				loops++
				c.RIP += 2
			}
			c.ClearKick()
			seen.Add(1)
		default:
			t.Fatalf("%v: %+v at %#x", exit, c.Fault, c.RIP)
		}
	}
	<-done
	t.Logf("%d kicks, %d of them in the endless loop, %d calls", kicks, loops, calls)
	requireWorks(t, eng, c)
}

func TestStormOfKicks(t *testing.T) { storm(t, scaled(1_000_000, 20_000)) }

func TestStormOfKicksWithoutMembarrier(t *testing.T) {
	e := newCPU(t).(*cpuEngine)
	e.startRegistration()
	<-e.registration
	if needFence != 0 {
		t.Skip("this machine has no membarrier: TestStormOfKicks is this test")
	}
	needFence = 1
	defer func() { needFence = 0 }()
	storm(t, scaled(1_000_000, 10_000))
}
