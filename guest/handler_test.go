package guest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// panicOf gives what f panics with.
func panicOf(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

// storm keeps the garbage collector and other goroutines' faults going until the returned function
// is called.
func storm(t *testing.T) (stop func()) {
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !done.Load() {
				if _, err := Load64(8); err == nil {
					t.Error("read a null pointer")
				}
				runtime.Gosched()
			}
		})
	}
	wg.Go(func() {
		for !done.Load() {
			runtime.GC()
		}
	})
	return func() { done.Store(true); wg.Wait() }
}

func TestGoFaultsStayGoPanics(t *testing.T) {
	s := space(t)
	r := alloc(t, s, PageSize, ProtNone)
	defer storm(t)()
	for range 50 {
		var p *[4]uint64
		v := panicOf(func() { p[2] = 1 })
		require.Implements(t, (*runtime.Error)(nil), v)
		require.EqualError(t, v.(error),
			"runtime error: invalid memory address or nil pointer dereference")

		// In place, the guest's memory has no guard but the one that the runtime offers.
		v = panicOf(func() {
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			r.Bytes()[8] = 1
		})
		require.Implements(t, (*runtime.Error)(nil), v)
		fault, ok := v.(interface{ Addr() uintptr })
		require.True(t, ok)
		require.Equal(t, uintptr(r.Base()+8), fault.Addr())

		require.Equal(t, &FaultError{r.Base(), AccessRead}, Read(make([]byte, 8), r.Base()))
	}
	assert.Nil(t, Ptr[uint64](8).Ref(), "a small address in place is a Go nil")
}

func TestFaultsUnderTheProfiler(t *testing.T) {
	s := space(t)
	r := alloc(t, s, 1<<20, ProtRW)
	require.NoError(t, pprof.StartCPUProfile(io.Discard))
	defer pprof.StopCPUProfile()
	stop := storm(t)
	buf := make([]byte, r.Size()+1)
	for range 100 {
		require.Equal(t, &FaultError{r.End(), AccessRead}, Read(buf, r.Base()))
	}
	stop()
}

func TestSignalPackageDoesNotUndoTheHandler(t *testing.T) {
	space(t)
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGSEGV, unix.SIGBUS)
	_, err := Load64(0)
	require.Error(t, err)
	signal.Reset(unix.SIGSEGV, unix.SIGBUS)
	_, err = Load64(0)
	require.Error(t, err)
	assert.Empty(t, c)
}

func TestOnlyTheHandlerWasSwapped(t *testing.T) {
	space(t)
	var segv, bus, fpe sigaction
	require.NoError(t, rtSigaction(unix.SIGSEGV, nil, &segv))
	require.NoError(t, rtSigaction(unix.SIGBUS, nil, &bus))
	require.NoError(t, rtSigaction(unix.SIGFPE, nil, &fpe))
	assert.Equal(t, onAccessFaultPC(), segv.handler)
	assert.Equal(t, onAccessFaultPC(), bus.handler)
	assert.Equal(t, fpe.handler, prevSIGSEGV)
	assert.Equal(t, fpe.handler, prevSIGBUS)
	fpe.handler = segv.handler
	assert.Equal(t, fpe, segv)
	assert.Equal(t, fpe, bus)
}

func TestRoutineTable(t *testing.T) {
	space(t)
	n := 0
	for _, r := range accessRanges {
		if r.start == 0 {
			break
		}
		n++
		name := runtime.FuncForPC(r.start).Name()
		assert.Equal(t, name, runtime.FuncForPC(r.end-1).Name())
		assert.NotEqual(t, name, runtime.FuncForPC(r.end).Name())
		assert.Contains(t, runtime.FuncForPC(r.landing).Name(), "guest.land")
	}
	assert.Equal(t, 20, n)
}

// A fault that is neither Go's to recover nor an access routine's must end the process as it would
// have without this package, and so must a signal that some process sends.
func TestCrashesStayCrashes(t *testing.T) {
	const variable = "GUEST_TEST_CRASH"
	switch os.Getenv(variable) {
	case "fault":
		s, err := Default()
		if err == nil {
			r, _ := s.AllocSystem(PageSize, ProtNone, "page")
			r.Bytes()[0] = 1
		}
		os.Exit(0)
	case "sent":
		if _, err := Default(); err == nil {
			_ = unix.Kill(unix.Getpid(), unix.SIGSEGV)
			select {}
		}
		os.Exit(0)
	}
	for how, want := range map[string]string{
		"fault": "unexpected fault address 0x50",
		"sent":  "SIGSEGV: segmentation violation",
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrashesStayCrashes$")
		cmd.Env = append(os.Environ(), variable+"="+how)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, "%s: %s", how, out)
		assert.Equal(t, 2, exit.ExitCode(), how)
		assert.Contains(t, string(out), want, how)
	}
}

// While one goroutine takes a page away and puts it back, copies of the range around it either are
// whole or name that page and have done all bytes before it.
func TestPageVanishesInMidCopy(t *testing.T) {
	s := space(t)
	const room, page = 16 * PageSize, 9 * PageSize
	want := pattern(room)
	for _, c := range []struct {
		name string
		bad  func(r *Region) error
		good func(r *Region) error
	}{
		{"protected",
			func(r *Region) error { return r.Protect(page, PageSize, ProtNone) },
			func(r *Region) error { return r.Protect(page, PageSize, ProtRW) }},
		{"decommitted",
			func(r *Region) error { return r.Decommit(page, PageSize) },
			func(r *Region) error { return r.Commit(page, PageSize, ProtRW) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, q := alloc(t, s, room, ProtRW), alloc(t, s, room, ProtRW)
			require.NoError(t, Write(r.Base(), want))
			var done atomic.Bool
			var wg sync.WaitGroup
			wg.Go(func() {
				for !done.Load() {
					assert.NoError(t, c.bad(r))
					assert.NoError(t, c.good(r))
				}
			})
			faults := 0
			check := func(err error, access Access) {
				if err == nil {
					return
				}
				faults++
				var fault *FaultError
				require.ErrorAs(t, err, &fault)
				require.Equal(t, access, fault.Access)
				require.GreaterOrEqual(t, fault.Addr, r.Base()+page)
				require.Less(t, fault.Addr, r.Base()+page+PageSize)
			}
			got := make([]byte, room)
			for i := 0; i < 500 || faults == 0 && i < 200000; i++ {
				clear(got)
				check(Read(got, r.Base()), AccessRead)
				require.True(t, bytes.Equal(want[:page], got[:page]))
				check(Write(r.Base()+page-99, want[page-99:page+300]), AccessWrite)
				check(Move(q.Base(), r.Base()+1, room-1), AccessRead)
				require.NoError(t, Read(got[:page-1], q.Base()))
				require.True(t, bytes.Equal(want[1:page], got[:page-1]))
				check(Fill(r.Base()+page+8, 1, 5000), AccessWrite)
			}
			done.Store(true)
			wg.Wait()
			assert.NotZero(t, faults, "the page was never away during a copy")
		})
	}
}

func TestFileShrinksInMidCopy(t *testing.T) {
	s := space(t)
	const room = 8 * PageSize
	fd, err := unix.MemfdCreate("shrinking", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Ftruncate(fd, room))
	r, err := s.AllocShared(fd, 0, room, ArenaUser, ProtRW, "shrinking file")
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Free()) }()
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() {
			assert.NoError(t, unix.Ftruncate(fd, 3*PageSize+1))
			assert.NoError(t, unix.Ftruncate(fd, room))
		}
	})
	faults := 0
	buf := make([]byte, room)
	for i := 0; i < 500 || faults == 0 && i < 200000; i++ {
		for _, err := range []error{Read(buf, r.Base()), Write(r.Base(), buf)} {
			var fault *FaultError
			if errors.As(err, &fault) {
				faults++
				require.GreaterOrEqual(t, fault.Addr, r.Base()+4*PageSize)
				require.Less(t, fault.Addr, r.End())
			}
		}
	}
	done.Store(true)
	wg.Wait()
	assert.NotZero(t, faults, "the file was never short during a copy")
}

// Atomic operations of many goroutines on one word lose nothing, also while its neighbour page
// comes and goes.
func TestAtomicsAreAtomic(t *testing.T) {
	s := space(t)
	a := alloc(t, s, PageSize, ProtRW).Base()
	const workers, rounds = 4, 20000
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range rounds {
				_, _ = Add32(a, 1)
				_, _ = Add64(a+8, 3)
				_, _ = Or32(a+16, 1<<w)
				_, _ = And32(a+16, ^uint32(1<<w))
				for {
					v, _ := Load32(a + 20)
					if ok, err := CompareAndSwap32(a+20, v, v+1); ok || err != nil {
						break
					}
				}
				for {
					v, _ := Load64(a + 24)
					if ok, err := CompareAndSwap64(a+24, v, v+5); ok || err != nil {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	got, err := Ptr[[4]uint64](a).Load()
	require.NoError(t, err)
	const n = workers * rounds
	assert.Equal(t, [4]uint64{n, 3 * n, n << 32, 5 * n}, got)
}
