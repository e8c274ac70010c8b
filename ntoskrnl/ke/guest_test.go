package ke

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/engine/native"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// testSystem is a System with a small guest: memory to allocate from, a page of code, and imports
// that are Go functions.
type testSystem struct {
	*System
	t       testing.TB
	memory  arena
	code    *guest.Region
	end     guest.Addr // of the code that was written
	imports []func(t *Thread) uint64
	crashes chan *Bugcheck
}

// arena gives zeroed memory that is never used again.
type arena struct {
	mu     sync.Mutex
	region *guest.Region
	next   guest.Addr
}

func (a *arena) alloc(size uintptr) (guest.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.next
	if uintptr(at-a.region.Base())+size > a.region.Size() {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	a.next += guest.Addr(size+15) &^ 15
	return at, nil
}

// Layout of the page of code.
const (
	codeGates      = 0x000 // the addresses of the two gates
	codeTrampoline = 0x010
	codeThunks     = 0x020 // 16 bytes each
	codeFunctions  = 0x200
	maxImports     = 16
)

type testOptions struct {
	processors int
	memory     uintptr
}

func newTestSystem(t testing.TB, o testOptions) *testSystem {
	t.Helper()
	if o.processors == 0 {
		o.processors = 2
	}
	if o.memory == 0 {
		o.memory = 1 << 20
	}
	space, err := guest.Default()
	require.NoError(t, err)
	cpu, err := native.New()
	require.NoError(t, err)
	s := &testSystem{t: t, crashes: make(chan *Bugcheck, 1)}
	s.memory.region, err = space.AllocSystem(o.memory, guest.ProtRW, "test memory")
	require.NoError(t, err)
	s.memory.next = s.memory.region.Base()
	s.code, err = space.AllocSystem(guest.PageSize, guest.ProtRWX, "test code")
	require.NoError(t, err)
	s.writeGates(cpu)
	s.System, err = New(Config{
		CPU: cpu, Space: space, Processors: o.processors,
		Alloc: s.memory.alloc, Free: func(guest.Addr) {},
		Export:     s.export,
		Fault:      s.fault,
		OnCrash:    func(b *Bugcheck) { s.crashes <- b },
		Trampoline: s.code.Base() + codeTrampoline,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		done := make(chan struct{})
		go func() {
			s.Close()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			panic("Close hangs")
		}
		require.NoError(t, s.code.Free())
		require.NoError(t, s.memory.region.Free())
	})
	return s
}

func (s *testSystem) writeGates(cpu engine.CPU) {
	code := make([]byte, codeFunctions)
	le := binary.LittleEndian
	le.PutUint64(code[codeGates:], uint64(cpu.Gates().Call))
	le.PutUint64(code[codeGates+8:], uint64(cpu.Gates().Return))
	jump := func(at, gate int) { // jmp [gate]
		code[at], code[at+1] = 0xFF, 0x25
		le.PutUint32(code[at+2:], uint32(gate-at-6))
	}
	jump(codeTrampoline, codeGates+8)
	for i := range maxImports {
		at := codeThunks + 16*i
		code[at] = 0xB8 // mov eax, i
		le.PutUint32(code[at+1:], uint32(i))
		jump(at+5, codeGates)
	}
	require.NoError(s.t, guest.Write(s.code.Base(), code))
	s.end = s.code.Base() + codeFunctions
}

func (s *testSystem) export(t *Thread, index uint32) {
	t.ctx.GPR[engine.RAX] = s.imports[index](t)
}

func (s *testSystem) fault(t *Thread, f *engine.Fault) {
	t.Bugcheck(nt.UNEXPECTED_KERNEL_MODE_TRAP, uint64(f.Vector), f.Addr, t.ctx.RIP, 0)
}

// function writes guest code and gives its address.
func (s *testSystem) function(code ...byte) guest.Addr {
	at := s.end
	require.NoError(s.t, guest.Write(at, code))
	s.end += guest.Addr(len(code)+15) &^ 15
	return at
}

// imported makes a Go function one that guest code can be given: the address of a thunk.
func (s *testSystem) imported(f func(t *Thread) uint64) guest.Addr {
	require.Less(s.t, len(s.imports), maxImports)
	s.imports = append(s.imports, f)
	return s.code.Base() + codeThunks + guest.Addr(16*(len(s.imports)-1))
}

// arg gives an argument of an import call.
func arg(t *Thread, i int) uint64 {
	v, _ := t.ctx.Arg(i)
	return v
}

// forever is a guest function that never returns.
func (s *testSystem) forever() guest.Addr { return s.function(0xEB, 0xFE) } // jmp $

// spinUntil is a guest function that spins until the byte at RCX is not 0.
func (s *testSystem) spinUntil() guest.Addr {
	return s.function(
		0x80, 0x39, 0x00, // cmp byte [rcx], 0
		0x74, 0xFB, // je to the beginning
		0xC3) // ret
}

// alloc gives zeroed memory.
func (s *testSystem) alloc(size uintptr) guest.Addr {
	a, err := s.memory.alloc(size)
	require.NoError(s.t, err)
	return a
}

func (s *testSystem) event(typ nt.EventType, state bool) guest.Addr {
	a := s.alloc(sizeofKEvent)
	require.NoError(s.t, InitializeEvent(a, typ, state))
	return a
}

func (s *testSystem) semaphore(count, limit int32) guest.Addr {
	a := s.alloc(sizeofKSemaphore)
	require.NoError(s.t, InitializeSemaphore(a, count, limit))
	return a
}

func (s *testSystem) mutex() guest.Addr {
	a := s.alloc(sizeofKMutant)
	require.NoError(s.t, InitializeMutant(a, true))
	return a
}

func (s *testSystem) mutant() guest.Addr {
	a := s.alloc(sizeofKMutant)
	require.NoError(s.t, InitializeMutant(a, false))
	return a
}

// newTimer makes a KTIMER.
func (s *testSystem) newTimer(typ nt.TimerType) guest.Addr {
	a := s.alloc(sizeofKTimer)
	require.NoError(s.t, s.InitializeTimer(a, typ))
	return a
}

// dpc makes a KDPC whose routine is a Go function.
func (s *testSystem) dpc(f func(t *Thread)) guest.Addr {
	a := s.alloc(sizeofKDPC)
	routine := s.imported(func(t *Thread) uint64 { f(t); return 0 })
	require.NoError(s.t, InitializeDPC(a, routine, 0x1234, false))
	return a
}

// do runs f as a new thread, and wants it to end well.
func (s *testSystem) do(f func(t *Thread)) {
	s.t.Helper()
	require.NoError(s.t, s.try(f))
}

// try runs f as a new thread.
func (s *testSystem) try(f func(t *Thread)) error {
	t, err := s.NewThread(s.SystemProcess)
	if err != nil {
		return err
	}
	defer t.Release()
	return t.Do(func() { f(t) })
}

// start runs f as a new thread on a goroutine of its own; the channel gives its end.
func (s *testSystem) start(f func(t *Thread)) (*Thread, <-chan error) {
	t, err := s.NewThread(s.SystemProcess)
	require.NoError(s.t, err)
	ended := make(chan error, 1)
	go func() { ended <- t.Do(func() { f(t) }) }()
	return t, ended
}

// blocked waits until n wait blocks are queued.
func (s *testSystem) blocked(n int) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.waitBlocks() == n }, 10*time.Second,
		50*time.Microsecond, "%d wait blocks", n)
}

func (s *testSystem) waitBlocks() (n int) {
	for i := range s.buckets {
		b := &s.buckets[i]
		b.mu.Lock()
		n += b.blocks
		b.mu.Unlock()
	}
	return n
}

// crash gives the bugcheck that a test has caused.
func (s *testSystem) crash() *Bugcheck {
	s.t.Helper()
	select {
	case b := <-s.crashes:
		return b
	case <-time.After(10 * time.Second):
		s.t.Fatal("no bugcheck")
		return nil
	}
}

// within gives what a channel does, soon.
func within[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happens")
		panic("unreachable")
	}
}
