// Everything at once: many guests, the garbage collector, the profiler, the clock.

package native

import (
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
)

// fullSize is the environment variable that makes the hammer tests as long as CI runs them. -short
// makes them ten times shorter than usual.
const fullSize = "DRVHOST_HAMMER"

func scaled(full, usual uint64) uint64 {
	if os.Getenv(fullSize) != "" {
		return full
	}
	if testing.Short() {
		return usual / 10
	}
	return usual
}

// disturb runs the garbage collector, the profiler, the clock, system calls and allocation in other
// goroutines until the returned function is called.
func disturb(t *testing.T) (stop func()) {
	profiling := pprof.StartCPUProfile(io.Discard) == nil // not under -cpuprofile
	quit := make(chan struct{})
	var wg sync.WaitGroup
	again := func(f func()) {
		wg.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
					f()
				}
			}
		})
	}
	again(runtime.GC)
	again(func() {
		if before, after := time.Now(), time.Now(); after.Before(before) {
			t.Error("the clock runs backwards")
		}
		runtime.Gosched()
	})
	again(func() {
		if _, err := os.Stat("/proc/self"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Microsecond)
	})
	return func() {
		close(quit)
		wg.Wait()
		if profiling {
			pprof.StopCPUProfile()
		}
	}
}

func TestManyThreadsSwitchWhileEverythingElseRuns(t *testing.T) {
	eng := newCPU(t)
	defer disturb(t)()
	const goroutines = 8
	switches := scaled(300_000, 100_000)
	var wg sync.WaitGroup
	for id := range uint64(goroutines) {
		g, c := newCode(t, eng, callLoop()), newThread(t, eng)
		var s engine.Saved
		g.push(t, c, &s, switches)
		wg.Go(func() {
			var kept [64]*uint64 // live pointers that a collection must find
			for left := switches; left > 0; left-- {
				if exit := eng.Run(c); exit != engine.ExitCall {
					t.Errorf("%v: %+v", exit, c.Fault)
					return
				}
				if v, _ := c.Arg(0); v != left {
					t.Errorf("argument %d, want %d", v, left)
					return
				}
				slot := &kept[left%uint64(len(kept))]
				if *slot != nil && **slot != id {
					t.Errorf("a Go pointer went astray")
					return
				}
				*slot = new(uint64)
				**slot = id
				grow(int(left % 64)) // stacks move between two stays in the guest
			}
			if exit := eng.Run(c); exit != engine.ExitReturn {
				t.Errorf("%v: %+v", exit, c.Fault)
			}
		})
	}
	wg.Wait()
}

//go:noinline
func grow(depth int) byte {
	var room [256]byte
	if depth > 0 {
		room[depth] = grow(depth - 1)
	}
	return room[depth]
}

func TestFaultsWhileEverythingElseRuns(t *testing.T) {
	eng := newCPU(t)
	defer disturb(t)()
	var wg sync.WaitGroup
	for range 4 {
		g := newCode(t, eng, surround(func(a *assembler) { a.list(`0F 0B  ud2`) }))
		fill(g, ownFlags|0x202)
		c := newThread(t, eng)
		var s engine.Saved
		g.push(t, c, &s)
		wg.Go(func() {
			for range scaled(300_000, 10_000) {
				if exit := eng.Run(c); exit != engine.ExitFault {
					t.Errorf("%v", exit)
					return
				}
			}
			c.RIP += 2
			if exit := eng.Run(c); exit != engine.ExitReturn {
				t.Errorf("%v", exit)
				return
			}
			requireSame(t, g, ownFlags)
		})
	}
	wg.Wait()
}

func TestCollectorDoesNotWaitForTheGuest(t *testing.T) {
	eng := newCPU(t)
	g := newCode(t, eng, spin())
	c := newThread(t, eng)
	var s engine.Saved
	g.push(t, c, &s)
	done := make(chan engine.Exit)
	go func() { done <- eng.Run(c) }()
	for range 20 {
		runtime.GC() // would hang
	}
	eng.Kick(c)
	require.Equal(t, engine.ExitKick, <-done)
}
