// OS threads: armed when they first run a guest, forgotten when they end, and Go's own in between.

package native

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
)

// rawSyscall is getpid, called behind the kernel's back.
func rawSyscall() []byte {
	return listing(`
		B8 27 00 00 00  mov eax, 39
		0F 05           syscall
		C3              ret`)
}

func TestEveryNewThreadIsArmed(t *testing.T) {
	eng := newCPU(t)
	g := newCode(t, eng, rawSyscall())
	requireCaught := func(c *engine.Context) bool {
		var s engine.Saved
		if c.PushCall(&s, g.trampoline, g.base, 0) != nil {
			return false
		}
		defer c.PopCall(&s)
		return eng.Run(c) == engine.ExitFault && c.Fault.IsSyscall()
	}
	c := newThread(t, eng)
	caught := requireCaught(c)
	if err := SyscallsCaught(); err != nil {
		t.Skip("this machine does not catch raw system calls:", err)
	}
	require.True(t, caught)

	// A goroutine that ends with its thread locked takes the thread with it.
	const batches, atOnce = 60, 8
	ids := map[int]bool{}
	var mu sync.Mutex
	for range batches {
		var wg sync.WaitGroup
		for range atOnce {
			c := newThread(t, eng)
			wg.Go(func() {
				runtime.LockOSThread()
				for range 3 {
					if !requireCaught(c) {
						t.Errorf("a raw system call was not caught: %+v", c.Fault)
					}
				}
				mu.Lock()
				ids[threadID()] = true
				mu.Unlock()
			})
		}
		wg.Wait()
		if batches%10 == 0 {
			runtime.GC() // thread structures that nothing keeps are used again
		}
	}
	assert.Greater(t, len(ids), batches*atOnce/2, "the threads were new ones")
	e := eng.(*cpuEngine)
	e.mu.Lock()
	defer e.mu.Unlock()
	assert.Less(t, len(e.armed), batches*atOnce/2, "records of ended threads are freed")
}

func TestRecordsAreFoundBehindFreedOnes(t *testing.T) {
	e := newCPU(t).(*cpuEngine)
	e.mu.Lock()
	defer e.mu.Unlock()
	// Keys that no thread has, of the same hash: that of the first of five free records, at the
	// table's end if that is free.
	first := uintptr(ownerMask)
	for n := uintptr(0); n < 5; n++ {
		if *ownerKeyAt((first + n*ownerSize) & ownerMask) != keyFree {
			first, n = first-ownerSize, ^uintptr(0)
		}
	}
	key := func(n uintptr) uintptr { return (first | (n+1)<<40) << ownerShift }
	find := func(k uintptr) uintptr {
		for i, probes := k>>ownerShift&ownerMask, 0; probes < ownerCount; probes++ {
			switch *ownerKeyAt(i) {
			case k:
				return ownerTable + i
			case keyFree:
				return 0
			}
			i = (i + ownerSize) & ownerMask
		}
		return 0
	}
	var recs [4]uintptr
	for n := range recs {
		recs[n] = claimOwner(key(uintptr(n)), 1, 0)
	}
	require.Equal(t, ownerTable+first, recs[0])
	require.Equal(t, ownerTable+(first+ownerSize)&ownerMask, recs[1], "probing goes round the end")

	releaseOwner(recs[1])
	require.Equal(t, recs[3], find(key(3)), "behind a freed record")
	require.Zero(t, find(key(1)))
	require.Equal(t, recs[3], claimOwner(key(3), 2, 0), "the same key is the same record")
	require.Equal(t, recs[1], claimOwner(key(9), 1, 0), "a freed record is used again")
	require.Equal(t, recs[1], find(key(9)))

	releaseOwner(recs[0])
	releaseOwner(recs[2])
	releaseOwner(recs[3])
	require.Equal(t, recs[1], find(key(9)))
	releaseOwner(recs[1])
	for _, rec := range recs {
		require.EqualValues(t, keyFree, *ownerKeyAt(rec - ownerTable), "nothing is left behind")
	}
}

func TestGoPanicsStayGoPanics(t *testing.T) {
	eng := newCPU(t)
	g := newCode(t, eng, new(assembler).callThunk(0x28).list(`
		EB FE  jmp $
		C3     ret`).code)
	c := newThread(t, eng)
	var s engine.Saved
	g.push(t, c, &s)

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.Equal(t, engine.ExitCall, eng.Run(c)) // this thread was the last to run it
	done := make(chan engine.Exit)
	go func() { done <- eng.Run(c) }()
	for c.Thread() == 0 {
		runtime.Gosched()
	}
	for range 1000 {
		require.PanicsWithError(t,
			"runtime error: invalid memory address or nil pointer dereference",
			func() { sink = *nilPointer })
		require.PanicsWithError(t, "runtime error: integer divide by zero",
			func() { sink = 1 / sink0 })
	}
	eng.Kick(c)
	require.Equal(t, engine.ExitKick, <-done)
	require.NotZero(t, c.GPR[engine.RSP])
}

var (
	nilPointer  *int
	sink, sink0 int
)

func TestGuestsGSBaseIsItsOwn(t *testing.T) {
	eng := newCPU(t)
	block := mapMemory(t, 0x1000, protRW)
	copy(block[0x20:], word(0x4B50_4352))
	g := newCode(t, eng, new(assembler).
		list(`
		65 48 8B 04 25 20 00 00 00  mov rax, gs:[0x20]
		50                          push rax
		48 C7 C0 23 01 00 00        mov rax, 0x123
		F3 48 0F AE D8              wrgsbase rax`).
		callThunk(0x20).
		list(`
		65 48 8B 04 25 20 00 00 00  mov rax, gs:[0x20]
		5A                          pop rdx
		48 01 D0                    add rax, rdx
		C3                          ret`).code)
	c := newThread(t, eng)
	c.GSBase = uint64(addrOf(block))
	var s engine.Saved
	g.push(t, c, &s)
	require.Equal(t, engine.ExitCall, eng.Run(c))
	// The thread has a bad GS base now; Go does not mind, and neither do Go's faults.
	require.Panics(t, func() { sink = *nilPointer })
	runtime.GC()
	require.NoError(t, exec.Command(os.Args[0], "-test.run=^$").Run())
	require.Equal(t, engine.ExitReturn, eng.Run(c), "the entry sets it again")
	require.EqualValues(t, 2*0x4B50_4352, c.GPR[engine.RAX])

	var inherits engine.Saved
	bad := newCode(t, eng, listing(`
		48 31 C0        xor rax, rax
		F3 48 0F AE D8  wrgsbase rax
		0F 0B           ud2`))
	bad.push(t, c, &inherits)
	require.Equal(t, engine.ExitFault, eng.Run(c))
	require.EqualValues(t, engine.VectorInvalidOpcode, c.Fault.Vector)
	requireWorks(t, eng, c)
}

// childEnv tells this test binary to be the child of TestChildProcessOfAGuestThread.
const childEnv = "DRVHOST_TEST_CHILD"

func TestChildProcessOfAGuestThread(t *testing.T) {
	eng := newCPU(t)
	if os.Getenv(childEnv) != "" {
		// A child has an engine of its own, whatever its parent's thread was armed with.
		requireWorks(t, eng, newThread(t, eng))
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := newThread(t, eng)
	requireWorks(t, eng, c)
	for range 3 {
		child := exec.Command(os.Args[0], "-test.run=^TestChildProcessOfAGuestThread$")
		child.Env = append(os.Environ(), childEnv+"=1")
		out, err := child.CombinedOutput()
		require.NoError(t, err, "%s", out)
		requireWorks(t, eng, c)
	}
}

func TestGoRunsOnWhileGuestsDo(t *testing.T) {
	eng := newCPU(t)
	g := newCode(t, eng, spin())
	var guests []*engine.Context
	var wg sync.WaitGroup
	for range 4 {
		c := newThread(t, eng)
		var s engine.Saved
		g.push(t, c, &s)
		guests = append(guests, c)
		wg.Go(func() { eng.Run(c) })
	}
	for _, c := range guests {
		for c.Thread() == 0 {
			runtime.Gosched()
		}
	}
	start := time.Now()
	for range 100 {
		_, err := os.ReadFile("/proc/self/stat")
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(start), time.Duration(0))
		elsewhere(func() { _ = time.Now() })
	}
	for _, c := range guests {
		eng.Kick(c)
	}
	wg.Wait()
	for _, c := range guests {
		require.True(t, c.Kicked())
	}
}

func TestSignalsForGoAreHandledInTheMiddleOfAGuest(t *testing.T) {
	eng := newCPU(t)
	for name, flags := range map[string]uint64{"usual flags": 0x202, "AC and NT": 0x44202} {
		t.Run(name, func(t *testing.T) {
			g := newCode(t, eng, new(assembler).loadFlags(dataAt).list(`
				EB FE           jmp $
				68 02 02 00 00  push 0x202
				9D              popfq
				C3              ret`).code)
			g.store(dataAt, flags)
			c := newThread(t, eng)
			var s engine.Saved
			g.push(t, c, &s)
			done := make(chan engine.Exit)
			go func() { done <- eng.Run(c) }()
			for c.Thread() == 0 {
				runtime.Gosched()
			}
			got := notified(t)
			for range 100 {
				sendUserSignal(t, c.Thread())
				<-got
			}
			eng.Kick(c)
			require.Equal(t, engine.ExitKick, <-done)
			c.ClearKick()
			kickOut(t, eng, c)
			c.RIP += 2
			require.Equal(t, engine.ExitReturn, eng.Run(c))
		})
	}
}

func TestContextsAreGivenBackClean(t *testing.T) {
	eng := newCPU(t)
	_, err := eng.NewContext(0x1000, 0x1008)
	require.Error(t, err, "a stack base that is not aligned")
	_, err = eng.NewContext(0x2000, 0x1000)
	require.Error(t, err, "a stack of negative size")

	seen := map[*engine.Context]bool{}
	for range 3 * slabContexts {
		c, err := eng.NewContext(0x10000, 0x20000)
		require.NoError(t, err)
		require.False(t, c.Kicked())
		require.Zero(t, c.GPR[engine.RBX])
		require.EqualValues(t, 0x20000, c.GPR[engine.RSP])
		seen[c] = true
		c.GPR[engine.RBX] = 1
		eng.Kick(c)
		eng.FreeContext(c)
	}
	assert.LessOrEqual(t, len(seen), slabContexts, "they are used again")
	assert.Equal(t, "native", eng.Name())
}
