package ke

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// MaxProcessors is the most virtual processors that a system can have: one processor group.
const MaxProcessors = 64

// Config says what a System is made of.
type Config struct {
	CPU        engine.CPU
	Space      *guest.Space
	Processors int // virtual processors, 1 to MaxProcessors

	// Alloc gives zeroed nonpaged memory for kernel objects, Free takes it back.
	Alloc func(size uintptr) (guest.Addr, error)
	Free  func(addr guest.Addr)

	// NewObject and DropObject, if set, make the memory of threads and processes instead, and give
	// back the reference that came with it, so that they can be objects of an object manager. body
	// is the *Thread or *Process.
	NewObject  func(kind ObjectKind, size uintptr, body any) (guest.Addr, error)
	DropObject func(addr guest.Addr)

	// Export does an import call that guest code made on t; what it returns goes to RAX. Fault
	// handles an instruction fault; when it returns, the thread resumes with the registers as they
	// are then.
	Export func(t *Thread, index uint32)
	Fault  func(t *Thread, f *engine.Fault)
	// OnBugcheck, if set, is called on the thread that crashes the system, at HIGH_LEVEL, while guest
	// code still runs: for the callbacks of drivers.
	OnBugcheck func(t *Thread)
	// OnCrash is told once, of the bugcheck that ends the system.
	OnCrash func(b *Bugcheck)

	// DPCTimeLimit is how long a DPC may run, and a processor stay at DISPATCH_LEVEL; 0 is 20 s.
	DPCTimeLimit time.Duration

	// Trampoline is where guest functions called from Go return to, and Thunk gives the address of
	// an import's thunk, where an unwinder finds the frame below.
	Trampoline guest.Addr
	Thunk      func(index uint32) guest.Addr
}

// ObjectKind says which kind of object NewObject makes.
type ObjectKind uint8

// The kinds of objects.
const (
	KindThread ObjectKind = iota
	KindProcess
)

// System is the kernel core of one kernel: its processors, threads and dispatcher.
type System struct {
	Config
	procs []*Processor

	idle    atomic.Uint64 // a bit per processor that no thread holds
	waiting atomic.Int32  // threads that wait for a processor
	sched   sync.Mutex    // guards queue and ticking
	queue   threadQueue   // those threads, longest first
	ticking bool          // the quantum clock runs

	buckets [bucketCount]bucket // waiters, by the address of what they wait for
	timers  timerQueue
	workers workers
	clock   clock

	crash    atomic.Pointer[Bugcheck]
	crashing crashing
	closed   atomic.Bool
	generic  sync.Mutex    // held by the GenericCallDPC that runs
	stopped  chan struct{} // closed when the system ends
	watching atomic.Bool   // somebody looks after the processors
	dpcLimit time.Duration // how long one may take, and a thread at DISPATCH_LEVEL

	registry  sync.Mutex
	threads   map[*Thread]struct{}
	byID      map[uintptr]*Thread
	byObject  map[guest.Addr]*Thread
	processes map[*Process]struct{}
	nextID    uintptr
	graves    []guest.Addr   // objects of system threads that have ended
	stopping  bool           // no goroutine is started any more
	ended     sync.WaitGroup // the system's own goroutines

	// SystemProcess is the process that system threads belong to.
	SystemProcess *Process
}

// New makes a system. Close ends it.
func New(cfg Config) (*System, error) {
	if cfg.Processors < 1 || cfg.Processors > MaxProcessors {
		return nil, fmt.Errorf("ke: %d processors: must be 1 to %d", cfg.Processors, MaxProcessors)
	}
	s := &System{
		Config:    cfg,
		threads:   make(map[*Thread]struct{}),
		byID:      make(map[uintptr]*Thread),
		byObject:  make(map[guest.Addr]*Thread),
		processes: make(map[*Process]struct{}),
		nextID:    firstID,
		clock:     newClock(),
		stopped:   make(chan struct{}),
		dpcLimit:  dpcTimeLimit,
	}
	if cfg.DPCTimeLimit != 0 {
		s.dpcLimit = cfg.DPCTimeLimit
	}
	s.timers.init(s)
	s.workers.init(s)
	var err error
	if s.SystemProcess, err = s.NewProcess(systemProcessID, "System"); err != nil {
		return nil, err
	}
	for i := range cfg.Processors {
		p, err := s.newProcessor(i)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.procs = append(s.procs, p)
		s.spawn(p.runIdle)
	}
	s.idle.Store(1<<cfg.Processors - 1)
	return s, nil
}

// Identifiers of processes and threads are multiples of 4 on Windows; the System process has 4.
const (
	systemProcessID = 4
	firstID         = 0x1000
	idStep          = 4
)

// Processors gives the number of virtual processors.
func (s *System) Processors() int { return len(s.procs) }

// Processor gives virtual processor n.
func (s *System) Processor(n int) *Processor { return s.procs[n] }

// Close ends every thread and gives back all memory. Threads that guest code still occupies are
// kicked out, and every Do that is under way returns first. It must not be called from inside Do.
func (s *System) Close() {
	if s.closed.Swap(true) {
		return
	}
	s.crash.CompareAndSwap(nil, errClosed)
	s.registry.Lock()
	s.stopping = true
	s.registry.Unlock()
	s.stopAll()
	s.timers.stop()
	s.workers.stop()
	s.ended.Wait()
	s.registry.Lock()
	threads := make([]*Thread, 0, len(s.threads))
	for t := range s.threads {
		threads = append(threads, t)
	}
	processes := make([]*Process, 0, len(s.processes))
	for p := range s.processes {
		processes = append(processes, p)
	}
	s.registry.Unlock()
	for _, t := range threads {
		// A Do that is under way may run DPCs on another thread's stack: all end before any goes.
		t.mu.Lock()
		t.mu.Unlock()
	}
	for _, t := range threads {
		t.Release()
	}
	for _, p := range processes {
		p.Release()
	}
	for _, a := range s.graves {
		s.Free(a)
	}
	s.graves = nil
	for _, p := range s.procs {
		p.release()
	}
}

// spawn starts a goroutine that Close waits for, unless the system is being closed already.
func (s *System) spawn(f func()) bool {
	s.registry.Lock()
	defer s.registry.Unlock()
	if s.stopping {
		return false
	}
	s.ended.Add(1)
	go func() {
		defer s.ended.Done()
		f()
	}()
	return true
}

// stopAll makes every thread notice that the system has ended: those in guest code are kicked,
// those that wait are woken.
func (s *System) stopAll() {
	s.registry.Lock()
	defer s.registry.Unlock()
	select {
	case <-s.stopped:
	default:
		close(s.stopped)
	}
	for t := range s.threads {
		s.CPU.Kick(t.ctx)
		t.unpark()
	}
	for _, p := range s.procs {
		p.wakeDPC()
	}
}

// Crashed gives the bugcheck that ended the system, or nil while it runs.
func (s *System) Crashed() *Bugcheck {
	if b := s.crash.Load(); b != errClosed {
		return b
	}
	return nil
}

// Ended reports whether the system has crashed or was closed: no guest code runs any more.
func (s *System) Ended() bool { return s.crash.Load() != nil }

// newID gives an identifier for a thread or process that has none of its own.
func (s *System) newID() uintptr {
	s.nextID += idStep
	return s.nextID
}

// newObject allocates the zeroed memory of a thread or process.
func newObject[T any](s *System, kind ObjectKind, size uintptr, body any) (guest.Ptr[T], error) {
	if s.NewObject == nil {
		a, err := s.Alloc(size)
		return guest.Ptr[T](a), err
	}
	a, err := s.NewObject(kind, size, body)
	return guest.Ptr[T](a), err
}

func (s *System) dropObject(a guest.Addr) {
	if s.NewObject == nil {
		s.Free(a)
		return
	}
	s.DropObject(a)
}

// Version is what the system presents itself as.
const (
	MajorVersion = nt.MajorVersion
	MinorVersion = nt.MinorVersion
	BuildNumber  = nt.BuildNumber
)
