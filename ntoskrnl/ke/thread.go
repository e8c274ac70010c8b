package ke

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// StackSize is the size in bytes of a guest thread's kernel stack. Windows gives 24 KiB on x64.
const StackSize = 32 << 10

// basePriority is the priority of a thread of an ordinary process and of the System process.
const basePriority = 8

// Thread is a guest thread: an ETHREAD, a stack and registers. It is not tied to a goroutine; Do
// lends it one.
type Thread struct {
	sys      *System
	ctx      *engine.Context
	stack    *guest.Stack
	mu       sync.Mutex // held by Do
	proc     *Processor // while it runs
	last     *Processor // where it ran last
	granted  atomic.Pointer[Processor]
	wake     chan struct{}
	index    uint32       // of the import call under way
	calls    []callRecord // under way, the outermost first
	resumeAt int          // the Call that Resume unwinds to, counted from 1; else 0

	nextReady      *Thread // in the queue for processors
	affinity       uint64
	systemAffinity uint64 // what KeSetSystemAffinityThread has set, or 0
	wait           wait
	timer          *time.Timer // ends waits with a timeout; made when first needed
	released       atomic.Bool
	system         bool // ends with its function, and is then signalled
	worker         bool // runs work items
	removing       bool // its wait is RemoveQueue's, which gets
	entry          guest.Addr
	queue          atomic.Uint64 // the KQUEUE that it is a thread of, or 0

	apcs     apcState
	attached []*Process // the processes that it is attached to, the current one last

	// Object is the address of the ETHREAD.
	Object guest.Addr
	// Process is the process that the thread belongs to. See CurrentProcess.
	Process *Process
	// ID is the thread's identifier, unique in the system.
	ID uintptr
	// Blocking, if set, is called before the thread waits for something other than a processor, and
	// Preempted after it was kicked out of guest code. They must not block.
	Blocking  func()
	Preempted func()
	// Ending, if set, is called on a system thread when its function has ended, before the thread's
	// object is signalled.
	Ending func(t *Thread)
	// Export is scratch space for whoever handles import calls.
	Export any
}

// unwind is what ends a Do early.
type unwind struct {
	crashed bool      // a bugcheck, or the end of the system
	status  nt.Status // else the thread's exit status
}

// NewThread makes a guest thread of process p. Release gives it back.
func (s *System) NewThread(p *Process) (*Thread, error) {
	stack, err := s.Space.AllocStack(StackSize)
	if err != nil {
		return nil, err
	}
	ctx, err := s.CPU.NewContext(stack.Base(), stack.Top())
	if err != nil {
		return nil, errorsJoin(err, stack.Free())
	}
	t := &Thread{
		sys: s, ctx: ctx, stack: stack, Process: p,
		wake: make(chan struct{}, 1), affinity: 1<<s.Config.Processors - 1,
	}
	t.wait.init(t)
	s.registry.Lock()
	t.ID = s.newID()
	s.registry.Unlock()
	obj, err := newObject[nt.EThread](s, KindThread, sizeofEThread, t)
	if err != nil {
		s.CPU.FreeContext(ctx)
		return nil, errorsJoin(err, stack.Free())
	}
	t.Object = obj.Addr()
	s.registry.Lock()
	stopping := s.stopping
	if !stopping {
		s.threads[t] = struct{}{}
		s.byID[t.ID] = t
		s.byObject[t.Object] = t
	}
	s.registry.Unlock()
	if stopping {
		t.Release()
		return nil, errClosed
	}

	e := obj.Ref()
	tcb := &e.Tcb
	tcb.Header.Type = nt.ThreadObject
	tcb.Header.Size = uint8(sizeofKThread / 4 & 0xFF)
	initList(&tcb.Header.WaitListHead)
	tcb.InitialStack, tcb.StackBase = stack.Top(), stack.Top()
	tcb.StackLimit = stack.Base()
	tcb.Process, tcb.ApcState.Process = p.Object, p.Object
	tcb.BasePriority = basePriority
	_ = guest.Store8(t.Object+threadPriority, basePriority) // the host's own memory
	if p != s.SystemProcess {
		tcb.PreviousMode = nt.UserMode
	}
	initList(&tcb.MutantListHead)
	for i := range tcb.ApcState.ApcListHead {
		initList(&tcb.ApcState.ApcListHead[i])
	}
	e.CreateTime = s.SystemTime()
	e.Cid = nt.ClientID{UniqueProcess: nt.Handle(p.ID), UniqueThread: nt.Handle(t.ID)}
	initList(&e.IrpList)
	return t, nil
}

// Release gives back the thread's stack, registers and ETHREAD, after the Do that is under way. The
// ETHREAD stays for as long as somebody has a reference to it.
func (t *Thread) Release() {
	if t.released.Swap(true) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sys
	if !t.system {
		t.end(nil) // a client's thread ends so
	}
	s.registry.Lock()
	delete(s.threads, t)
	delete(s.byID, t.ID)
	delete(s.byObject, t.Object)
	s.registry.Unlock()
	if t.timer != nil {
		t.timer.Stop()
	}
	s.CPU.FreeContext(t.ctx)
	if t.system && s.NewObject == nil {
		// Nobody counts references: the object stays for those who may still wait for it.
		s.registry.Lock()
		s.graves = append(s.graves, t.Object)
		s.registry.Unlock()
	} else {
		s.dropObject(t.Object)
	}
	_ = t.stack.Free() // a stack that cannot be given back stays with the space
}

// System gives the system that the thread belongs to.
func (t *Thread) System() *System { return t.sys }

// Context gives the thread's registers, for whoever handles its exits.
func (t *Thread) Context() *engine.Context { return t.ctx }

// Stack gives the thread's guest stack.
func (t *Thread) Stack() *guest.Stack { return t.stack }

// Processor gives the processor that the thread holds; it is nil outside Do and while waiting.
func (t *Thread) Processor() *Processor { return t.proc }

// ETHREAD gives the thread's object in place.
func (t *Thread) ETHREAD() *nt.EThread { return guest.Ptr[nt.EThread](t.Object).Ref() }

// ThreadByID gives the thread with the given identifier, or nil.
func (s *System) ThreadByID(id uintptr) *Thread {
	s.registry.Lock()
	defer s.registry.Unlock()
	return s.byID[id]
}

// ThreadAt gives the thread whose ETHREAD is at addr, or nil.
func (s *System) ThreadAt(addr guest.Addr) *Thread {
	s.registry.Lock()
	defer s.registry.Unlock()
	return s.byObject[addr]
}

// Do runs f as thread t, on the calling goroutine, with a processor at PASSIVE_LEVEL. It gives the
// bugcheck that ended the system, a *ThreadExit if the thread ended itself, or nil. Calls of Do on
// one thread wait for each other.
func (t *Thread) Do(f func()) (err error) {
	t.mu.Lock()
	defer t.leave(&err)
	if t.released.Load() {
		return errReleased
	}
	t.checkEnded()
	t.acquire()
	t.sys.watch()
	t.DeliverAPCs()
	f()
	t.returnToUser()
	t.checkService()
	return nil
}

// errReleased is what a Do of a thread gives that was released.
var errReleased = errors.New("ke: the thread was released")

// ThreadExit is the error of a Do that PsTerminateSystemThread ended.
type ThreadExit struct{ Status nt.Status }

// Error names the exit status.
func (e *ThreadExit) Error() string { return "thread ended: " + e.Status.Error() }

// leave ends a Do, however it ends.
func (t *Thread) leave(err *error) {
	t.settle(recover(), err)
	t.mu.Unlock()
}

// guard runs f, which has to do with processors itself, and ends it as Do would.
func (t *Thread) guard(f func()) (err error) {
	defer func() {
		// When f has returned, t may have been given to another goroutine by now.
		if r := recover(); r != nil {
			t.settle(r, &err)
		}
	}()
	f()
	return nil
}

// settle deals with a panic that ended a Do, and gives back the processor.
func (t *Thread) settle(r any, err *error) {
	if r != nil {
		if u, ok := r.(unwind); ok {
			*err = t.outcome(u)
		} else {
			*err = t.sys.hostPanic(t, r)
		}
		t.ctx.DropFrame()
		t.calls, t.resumeAt = t.calls[:0], 0
	}
	if t.proc != nil {
		t.yieldProcessor()
	}
}

func (t *Thread) outcome(u unwind) error {
	if !u.crashed {
		return &ThreadExit{u.status}
	}
	return t.sys.crash.Load()
}

// checkEnded ends the Do when the system has crashed or was closed.
func (t *Thread) checkEnded() {
	if t.sys.Ended() {
		panic(unwind{crashed: true})
	}
}

func (t *Thread) unpark() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Call calls the guest function fn on t's guest stack, below what is on it, with up to 16
// arguments, and gives what it returns in RAX. It must be called inside Do. The function runs at
// the current IRQL, and may wait if that allows it.
func (t *Thread) Call(fn guest.Addr, args ...uint64) uint64 {
	return t.call(^uint64(0), t.sys.Trampoline, fn, args)
}

// trapDoubleFault is the processor's vector for a fault that has no stack to go to: what a kernel
// stack overflow is.
const trapDoubleFault = 8

// outerRIP is where an unwinder finds the frame below the one that Call makes.
func (t *Thread) outerRIP() guest.Addr {
	switch {
	case t.ctx.Resume == engine.ResumeFull:
		return guest.Addr(t.ctx.RIP)
	case t.ctx.Resume == engine.ResumeReturn && t.sys.Thunk != nil:
		return t.sys.Thunk(t.index)
	}
	return 0
}

// runGuest runs guest code until the function that Call number depth called returns. again says
// that guest code was unwound to that Call, and is to be run on.
func (t *Thread) runGuest(depth int) (again bool) {
	defer t.caught(depth, &again)
	s, c := t.sys, t.ctx
	for {
		exit := s.CPU.Run(c)
		if s.crash.Load() != nil {
			panic(unwind{crashed: true})
		}
		switch exit {
		case engine.ExitCall:
			t.index = uint32(c.GPR[engine.RAX])
			s.Export(t, t.index)
			if t.apcs.pending.Load() {
				t.DeliverAPCs()
			}
		case engine.ExitReturn:
			return false
		case engine.ExitKick:
			c.ClearKick()
			t.preempted()
		case engine.ExitFault:
			s.Fault(t, &c.Fault)
		}
	}
}

// Park lets t wait, without a processor, until Unpark is called; unparked calls are remembered, so
// the caller loops until what it waits for has come true. The IRQL, below DISPATCH_LEVEL, is kept.
func (t *Thread) Park(done func() bool) {
	irql := t.suspend()
	for !done() {
		t.checkEnded()
		<-t.wake
	}
	t.resume(irql)
}

// suspend gives t's processor back before a wait, and gives the IRQL to resume at.
func (t *Thread) suspend() (irql nt.IRQL) {
	if t.Blocking != nil {
		t.Blocking()
	}
	irql = t.IRQL()
	t.yieldProcessor()
	if t.worker {
		t.sys.workers.blocks(1)
	}
	if !t.removing {
		t.countInQueue(-1)
	}
	return irql
}

// resume takes a processor again after a wait.
func (t *Thread) resume(irql nt.IRQL) {
	if t.worker {
		t.sys.workers.blocks(-1)
	}
	if !t.removing {
		t.countInQueue(1)
	}
	t.acquire()
	t.proc.pcr.Irql = irql
}

// Unpark makes a Park of t look again at what it waits for.
func (t *Thread) Unpark() { t.unpark() }
