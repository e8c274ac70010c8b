package ke

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// System threads: threads that run one function and end with it. Their object is signalled then.

// StartSystemThread runs f as a new thread of process p on a goroutine of its own, and releases the
// thread when it ends; before that, ended is told how: err is nil, a *ThreadExit or the bugcheck.
// The ETHREAD stays for those who have a reference to it.
func (s *System) StartSystemThread(p *Process, f func(t *Thread), ended func(t *Thread,
	err error)) (
	*Thread, error) {
	t, err := s.NewThread(p)
	if err != nil {
		return nil, err
	}
	if err := s.runSystemThread(t, f, ended); err != nil {
		t.Release()
		return nil, err
	}
	return t, nil
}

func (s *System) runSystemThread(t *Thread, f func(t *Thread), ended func(t *Thread,
	err error)) error {
	t.system = true
	misc := &t.ETHREAD().Tcb.MiscFlags
	*misc |= nt.KThreadMiscSystemThread
	run := func() {
		err := t.Do(func() {
			f(t)
			t.checkExit()
		})
		if t.Ending != nil && !s.Ended() {
			_ = t.Do(func() { t.Ending(t) }) // what ends this ends the system
		}
		t.end(err)
		if ended != nil {
			ended(t, err)
		}
		t.Release()
	}
	if !s.spawn(run) {
		return errClosed
	}
	return nil
}

// IsSystemThread reports whether PsTerminateSystemThread may end t.
func (t *Thread) IsSystemThread() bool { return t.system }

// IsWorker reports whether t runs work items.
func (t *Thread) IsWorker() bool { return t.worker }

// Exit ends the thread: the Do that runs it returns a ThreadExit. It does not return. A thread that
// may not end now is a bugcheck: KERNEL_APC_PENDING_DURING_EXIT at a raised IRQL or in a critical
// region, THREAD_TERMINATE_HELD_MUTEX with a mutex.
func (t *Thread) Exit(status nt.Status) {
	t.checkExit()
	panic(unwind{status: status})
}

// checkExit is the bugcheck of a thread that ends where it may not. It runs the thread's last APCs and
// abandons mutants that it owns.
func (t *Thread) checkExit() {
	tcb := &t.ETHREAD().Tcb
	if irql := t.IRQL(); irql != nt.PASSIVE_LEVEL {
		t.Crash(&Bugcheck{Code: nt.KERNEL_APC_PENDING_DURING_EXIT,
			Params: [4]uint64{0, uint64(uint16(tcb.KernelApcDisable)), uint64(irql), 0},
			Reason: "a system thread ended at " + irql.String()})
	}
	if t.IsAttached() {
		t.Crash(&Bugcheck{Code: nt.INVALID_PROCESS_ATTACH_ATTEMPT,
			Params: [4]uint64{uint64(t.Process.Object), uint64(tcb.ApcState.Process),
				uint64(tcb.ApcStateIndex), uint64(t.Object)},
			Reason: fmt.Sprintf("a system thread ended attached to process %v", tcb.ApcState.Process)})
	}
	t.checkExpanded()
	left := t.closeAPCs()
	t.abandonMutants()
	if tcb.KernelApcDisable != 0 || tcb.SpecialApcDisable != 0 {
		t.Crash(&Bugcheck{Code: nt.KERNEL_APC_PENDING_DURING_EXIT,
			Params: [4]uint64{0, uint64(uint16(tcb.KernelApcDisable)), 0, 0},
			Reason: fmt.Sprintf("a system thread ended inside a critical or guarded region "+
				"(KernelApcDisable %d, SpecialApcDisable %d)", tcb.KernelApcDisable,
				tcb.SpecialApcDisable)})
	}
	if left != 0 {
		t.Crash(&Bugcheck{Code: nt.KERNEL_APC_PENDING_DURING_EXIT,
			Params: [4]uint64{uint64(left), 0, 0, 0},
			Reason: fmt.Sprintf("a system thread ended in a normal kernel APC, and the KAPC at %v is "+
				"queued", left)})
	}
}

// end marks the thread as ended and wakes those who wait for it.
func (t *Thread) end(err error) {
	t.leaveQueue()
	e := t.ETHREAD()
	var exit *ThreadExit
	if errors.As(err, &exit) {
		e.ExitStatus = exit.Status
	}
	e.ExitTime = t.sys.SystemTime()
	atomic.StoreUint32(&e.CrossThreadFlags,
		atomic.LoadUint32(&e.CrossThreadFlags)|nt.PS_CROSS_THREAD_FLAGS_TERMINATED)
	t.sys.registry.Lock()
	delete(t.sys.byID, t.ID)
	t.sys.registry.Unlock()
	// The object is the host's own memory: it cannot fault.
	_ = t.sys.signalForever(t.Object)
}

// signalForever sets an object's state for good: a thread or a process that has ended.
func (s *System) signalForever(object guest.Addr) error {
	b := s.bucket(object)
	b.mu.Lock()
	if err := storeState(object, 1); err != nil {
		b.mu.Unlock()
		return err
	}
	return s.wakeAndUnlock(b, object)
}
