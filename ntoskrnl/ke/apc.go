package ke

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Asynchronous procedure calls: functions that are to run on a thread of the driver's choice.
//
// A special kernel APC runs at APC_LEVEL as soon as its thread is below that level and in no guarded
// region; a normal one besides calls its NormalRoutine at PASSIVE_LEVEL, one at a time, and not in a
// critical region. They run when guest code has been kicked out, when an import call ends, when guest
// code ends, and in a wait of the kinds that drivers make, which is left for them and begun anew. An
// APC for user mode ends a wait that allows it, and runs when the thread goes back to user mode.
//
// Whoever queues an APC makes it pending and then looks where the thread is: it is kicked out of guest
// code, or woken from its wait. A thread whose IRQL is too high when it is kicked finds the APC when it
// lowers the IRQL: guest code does not do so on its own while the processor's word says that an APC is
// pending.

// apcState is a thread's queues of APCs.
type apcState struct {
	mu sync.Mutex
	// By nt.ProcessorMode, in the order in which they are to run; a KAPC is in a queue as long as its
	// Inserted says so.
	queues  [2][]queuedAPC
	pending atomic.Bool // the kernel's queue is not empty
	closed  bool        // nothing can be queued: the thread has ended
	visits  bool        // a goroutine is on its way to run APCs while the thread is in user mode

	// What follows is the thread's own.
	inProgress bool // a normal routine of a kernel APC runs
}

// queuedAPC is a place in a queue.
type queuedAPC struct {
	object  guest.Addr
	special bool // without a normal routine
	index   int8 // KAPC.ApcStateIndex: 0 if it is for the thread's own process only
}

// The values of KAPC_ENVIRONMENT, which KeInitializeApc is given.
const (
	OriginalAPCEnvironment uint32 = iota
	AttachedAPCEnvironment
	CurrentAPCEnvironment
	InsertAPCEnvironment
)

// APC is what KeInitializeApc is told.
type APC struct {
	Thread      guest.Addr // ETHREAD
	Environment uint32
	Kernel      guest.Addr // KernelRoutine
	Rundown     guest.Addr // RundownRoutine, or 0
	Normal      guest.Addr // NormalRoutine, or 0 for a special kernel APC
	Mode        nt.ProcessorMode
	Context     guest.Addr // NormalContext
}

// InitializeAPC makes the KAPC at apc ready, as KeInitializeApc does. A special APC is always one of
// kernel mode and has no context.
func InitializeAPC(apc guest.Addr, a APC) error {
	index := int8(a.Environment)
	if a.Environment == CurrentAPCEnvironment {
		v, err := guest.Load8(a.Thread + threadAPCIndex)
		if err != nil {
			return err
		}
		index = int8(v)
	}
	k := nt.KAPC{Type: nt.ApcObject, Size: uint8(sizeofKAPC), Thread: a.Thread,
		KernelRoutine: a.Kernel, RundownRoutine: a.Rundown, NormalRoutine: a.Normal,
		ApcStateIndex: index}
	if a.Normal != 0 {
		k.ApcMode, k.NormalContext = a.Mode, a.Context
	}
	return guest.Ptr[nt.KAPC](apc).Store(k)
}

// loadAPC reads a KAPC.
func loadAPC(apc guest.Addr) (nt.KAPC, error) {
	k, err := guest.Ptr[nt.KAPC](apc).Load()
	if err == nil && (k.Type != nt.ApcObject || k.ApcMode > nt.UserMode || k.ApcMode < 0) {
		err = &ObjectError{Object: apc, Want: "KAPC", Type: k.Type}
	}
	return k, err
}

// QueueAPC queues a KAPC to its thread, as KeInsertQueueApc does, and reports whether it did: not if
// it is queued already, or if the thread has ended. A thread that t is not, or a processor's own, gives
// an *ObjectError.
func (s *System) QueueAPC(apc guest.Addr, arg1, arg2 uint64) (bool, error) {
	k, err := loadAPC(apc)
	if err != nil {
		return false, err
	}
	t := s.ThreadAt(k.Thread)
	if t == nil {
		return false, s.checkEndedThread(apc, k.Thread)
	}
	a := &t.apcs
	a.mu.Lock()
	defer a.mu.Unlock()
	inserted, err := guest.Load8(apc + apcInserted)
	if err != nil || inserted != 0 || a.closed {
		return false, err
	}
	args := [2]uint64{arg1, arg2}
	if err := guest.WriteSlice(apc+apcArgument1, args[:]); err != nil {
		return false, err
	}
	q := queuedAPC{object: apc, special: k.NormalRoutine == 0, index: k.ApcStateIndex}
	if uint32(k.ApcStateIndex) == InsertAPCEnvironment {
		index, _ := guest.Load8(t.Object + threadAPCIndex) // the host's own memory
		q.index = int8(index)
		if err := guest.Store8(apc+apcIndex, index); err != nil {
			return false, err
		}
	}
	if err := guest.Store8(apc+apcInserted, nt.TRUE); err != nil {
		return false, err
	}
	list := &a.queues[k.ApcMode]
	at := len(*list)
	if q.special {
		for at > 0 && !(*list)[at-1].special {
			at--
		}
	}
	*list = slices.Insert(*list, at, q)
	t.showAPCs()
	t.notifyAPC()
	return true, nil
}

// checkEndedThread reports whether an address could be that of a thread's object that has no thread
// any more: then nothing is wrong but that it has ended.
func (s *System) checkEndedThread(apc, thread guest.Addr) error {
	typ, err := guest.Load8(thread)
	if err == nil && typ&^lockBit != nt.ThreadObject {
		err = &ObjectError{Object: apc, Want: "KAPC", Fact: fmt.Sprintf("is for %v, which is no thread",
			thread)}
	}
	return err
}

// RemoveAPC takes a KAPC off its queue, as KeRemoveQueueApc does, and reports whether it was there.
func (s *System) RemoveAPC(apc guest.Addr) (bool, error) {
	k, err := loadAPC(apc)
	if err != nil {
		return false, err
	}
	t := s.ThreadAt(k.Thread)
	if t == nil {
		return false, nil
	}
	a := &t.apcs
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.queues[k.ApcMode], func(q queuedAPC) bool { return q.object == apc })
	if i < 0 {
		return false, nil
	}
	a.queues[k.ApcMode] = slices.Delete(a.queues[k.ApcMode], i, i+1)
	t.showAPCs()
	return true, guest.Store8(apc+apcInserted, nt.FALSE)
}

// showAPCs makes what others look at say whether APCs are queued. The caller holds t.apcs.mu.
func (t *Thread) showAPCs() {
	a := &t.apcs
	kernel := len(a.queues[nt.KernelMode]) > 0
	a.pending.Store(kernel)
	v := uint8(nt.FALSE)
	if kernel {
		v = nt.TRUE
	}
	_ = guest.Store8(t.Object+threadAPCPending, v) // the host's own memory
}

// notifyAPC makes the thread look at its queues, wherever it is. The caller holds t.apcs.mu.
func (t *Thread) notifyAPC() {
	s := t.sys
	for _, p := range s.procs {
		if p.held.Load() == t {
			s.CPU.Kick(t.ctx)
			return
		}
	}
	t.unpark()
	if a := &t.apcs; !t.system && !a.visits && a.pending.Load() {
		// It may be in user mode, which is outside Do.
		a.visits = s.spawn(func() {
			_ = t.Do(func() {}) // what ends this ends the thread or the system, which is known
			a.mu.Lock()
			a.visits = false
			a.mu.Unlock()
		})
	}
}

// nextAPC takes the next kernel APC off the queue that may run now.
func (t *Thread) nextAPC(irql nt.IRQL) (queuedAPC, bool) {
	a := &t.apcs
	if !a.pending.Load() || irql >= nt.APC_LEVEL {
		return queuedAPC{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	i := t.findAPC()
	if i < 0 {
		return queuedAPC{}, false
	}
	q := a.queues[nt.KernelMode][i]
	a.queues[nt.KernelMode] = slices.Delete(a.queues[nt.KernelMode], i, i+1)
	t.showAPCs()
	return q, true
}

// findAPC gives the place of the next kernel APC that may run now below APC_LEVEL, or -1. The caller
// holds t.apcs.mu.
func (t *Thread) findAPC() int {
	tcb := &t.ETHREAD().Tcb
	if tcb.SpecialApcDisable != 0 {
		return -1
	}
	return slices.IndexFunc(t.apcs.queues[nt.KernelMode], func(q queuedAPC) bool {
		return uint8(q.index) == tcb.ApcStateIndex &&
			(q.special || !t.apcs.inProgress && tcb.KernelApcDisable == 0)
	})
}

// apcReady reports whether a kernel APC may run on t now, at the given level.
func (t *Thread) apcReady(irql nt.IRQL) bool {
	a := &t.apcs
	if !a.pending.Load() || irql >= nt.APC_LEVEL {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return t.findAPC() >= 0
}

// DeliverAPCs runs the kernel APCs that may run now. t is in Do, and Go holds nothing for it.
func (t *Thread) DeliverAPCs() {
	for {
		q, ok := t.nextAPC(t.IRQL())
		if !ok {
			break
		}
		irql := t.RaiseIRQL(nt.APC_LEVEL)
		normal := t.runKernelRoutine(q)
		if normal.NormalRoutine != 0 {
			t.LowerIRQL(nt.PASSIVE_LEVEL)
			t.runNormalRoutine(q, &normal)
			t.RaiseIRQL(nt.APC_LEVEL)
		}
		t.LowerIRQL(irql)
	}
	t.proc.setAPCPending(t.apcs.pending.Load())
}

// runNormalRoutine calls the NormalRoutine of a kernel APC, at PASSIVE_LEVEL.
func (t *Thread) runNormalRoutine(q queuedAPC, k *nt.KAPC) {
	t.setAPCInProgress(true)
	defer t.setAPCInProgress(false) // also when the thread ends in it
	t.Call(k.NormalRoutine, uint64(k.NormalContext), uint64(k.SystemArgument1),
		uint64(k.SystemArgument2))
	t.checkAPCReturn(q, k, nt.PASSIVE_LEVEL)
}

// kernelAPCInProgress is the bit of KAPC_STATE.InProgressFlags for a normal kernel APC.
const kernelAPCInProgress = 1

func (t *Thread) setAPCInProgress(on bool) {
	t.apcs.inProgress = on
	flags := &t.ETHREAD().Tcb.ApcState.InProgressFlags
	if on {
		*flags |= kernelAPCInProgress
	} else {
		*flags &^= kernelAPCInProgress
	}
}

// apcArguments is the stack space for what a kernel routine gets pointers to, in bytes: NormalRoutine,
// NormalContext, SystemArgument1 and SystemArgument2.
const apcArguments = 32

// runKernelRoutine calls the KernelRoutine of an APC that has been taken off its queue, at APC_LEVEL.
// It gives the KAPC as it was, with what the routine has made of its normal routine and arguments:
// the routine may free the KAPC.
func (t *Thread) runKernelRoutine(q queuedAPC) (k nt.KAPC) {
	k, err := loadAPC(q.object)
	if err == nil && (k.Inserted == 0 || k.Thread != t.Object) {
		err = &ObjectError{Object: q.object, Want: "KAPC",
			Fact: "was overwritten or freed while it was queued"}
	}
	if err == nil {
		err = guest.Store8(q.object+apcInserted, nt.FALSE)
	}
	if err != nil {
		t.Crash(&Bugcheck{Code: nt.REFERENCE_BY_POINTER,
			Params: [4]uint64{0, uint64(q.object), uint64(k.Type), 0},
			Reason: fmt.Sprintf("the KAPC at %v was freed or overwritten while it was queued: %v",
				q.object, err)})
	}
	sp := guest.Addr(t.ctx.GPR[engine.RSP]-apcArguments) &^ 15
	args := [4]uint64{uint64(k.NormalRoutine), uint64(k.NormalContext), uint64(k.SystemArgument1),
		uint64(k.SystemArgument2)}
	if !t.ctx.OnStack(uint64(sp), apcArguments) || guest.WriteSlice(sp, args[:]) != nil {
		t.Bugcheck(nt.UNEXPECTED_KERNEL_MODE_TRAP, trapDoubleFault, uint64(sp), t.ctx.RIP, 0)
	}
	t.CallBelow(sp, 0, k.KernelRoutine, uint64(q.object), uint64(sp), uint64(sp)+8, uint64(sp)+16,
		uint64(sp)+24)
	t.checkAPCReturn(q, &k, nt.APC_LEVEL)
	_ = guest.ReadSlice(args[:], sp) // the thread's own stack
	k.NormalRoutine, k.NormalContext = guest.Addr(args[0]), guest.Addr(args[1])
	k.SystemArgument1, k.SystemArgument2 = guest.Addr(args[2]), guest.Addr(args[3])
	return k
}

// checkAPCReturn is the bugcheck of an APC routine that has changed the IRQL.
func (t *Thread) checkAPCReturn(q queuedAPC, k *nt.KAPC, want nt.IRQL) {
	if now := t.IRQL(); now != want {
		t.Crash(&Bugcheck{Code: nt.IRQL_UNEXPECTED_VALUE,
			Params: [4]uint64{uint64(now)<<16 | uint64(want)<<8 | 1, uint64(k.KernelRoutine),
				uint64(q.object), uint64(k.NormalRoutine)},
			Reason: "an APC routine that was called at " + want.String() + " returned at " +
				now.String()})
	}
}

// Alert alerts a thread for a mode, as KeAlertThread does: an alertable wait in that mode, or in user
// mode if mode is KernelMode, ends with STATUS_ALERTED, now or when it begins. It gives whether the
// thread was alerted already.
func (t *Thread) Alert(mode nt.ProcessorMode) (was bool) {
	a := &t.apcs
	a.mu.Lock()
	alerted := &t.ETHREAD().Tcb.Alerted[mode&1]
	was, *alerted = *alerted != 0, nt.TRUE
	a.mu.Unlock()
	t.unpark()
	return was
}

// TestAlert gives whether t was alerted for a mode, and forgets it, as KeTestAlertThread does. In user
// mode APCs that are queued for it run when t goes back there.
func (t *Thread) TestAlert(mode nt.ProcessorMode) (was bool) {
	a := &t.apcs
	a.mu.Lock()
	defer a.mu.Unlock()
	tcb := &t.ETHREAD().Tcb
	alerted := &tcb.Alerted[mode&1]
	was, *alerted = *alerted != 0, nt.FALSE
	if !was && mode == nt.UserMode && len(a.queues[nt.UserMode]) > 0 {
		tcb.ApcState.UserApcPending = nt.TRUE
	}
	return was
}

// alertStatus gives the status with which a wait ends because t was alerted, or because of an APC for
// user mode; STATUS_SUCCESS if there is no such reason.
func (t *Thread) alertStatus(o WaitOptions) nt.Status {
	if !o.Alertable && o.Mode == nt.KernelMode {
		return nt.STATUS_SUCCESS
	}
	a := &t.apcs
	a.mu.Lock()
	defer a.mu.Unlock()
	tcb := &t.ETHREAD().Tcb
	take := func(mode nt.ProcessorMode) bool {
		was := tcb.Alerted[mode] != 0
		tcb.Alerted[mode] = nt.FALSE
		return was
	}
	switch {
	case !o.Alertable:
		if tcb.ApcState.UserApcPending != 0 {
			return nt.STATUS_USER_APC
		}
	case take(o.Mode & 1):
		return nt.STATUS_ALERTED
	case o.Mode == nt.UserMode && len(a.queues[nt.UserMode]) > 0:
		tcb.ApcState.UserApcPending = nt.TRUE
		return nt.STATUS_USER_APC
	case take(nt.KernelMode):
		return nt.STATUS_ALERTED
	}
	return nt.STATUS_SUCCESS
}

// alertWaits is alertStatus without taking anything.
func (t *Thread) alertWaits(o WaitOptions) bool {
	if !o.Alertable && o.Mode == nt.KernelMode {
		return false
	}
	a := &t.apcs
	a.mu.Lock()
	defer a.mu.Unlock()
	tcb := &t.ETHREAD().Tcb
	if !o.Alertable {
		return tcb.ApcState.UserApcPending != 0
	}
	return tcb.Alerted[o.Mode&1] != 0 || tcb.Alerted[nt.KernelMode] != 0 ||
		o.Mode == nt.UserMode && len(a.queues[nt.UserMode]) > 0
}

// returnToUser does what happens when t goes back to user mode: APCs run. There is no user mode here,
// so the kernel routine of one for user mode is called, and the normal routine is not.
func (t *Thread) returnToUser() {
	t.DeliverAPCs()
	tcb := &t.ETHREAD().Tcb
	for tcb.ApcState.UserApcPending != 0 && t.IRQL() == nt.PASSIVE_LEVEL {
		q, ok := t.takeUserAPC()
		if !ok {
			return
		}
		t.RaiseIRQL(nt.APC_LEVEL)
		t.runKernelRoutine(q)
		t.LowerIRQL(nt.PASSIVE_LEVEL)
	}
}

// takeUserAPC takes the first APC for user mode off the queue; without one nothing is pending.
func (t *Thread) takeUserAPC() (q queuedAPC, ok bool) {
	a := &t.apcs
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.queues[nt.UserMode]
	if len(list) == 0 {
		t.ETHREAD().Tcb.ApcState.UserApcPending = nt.FALSE
		return q, false
	}
	a.queues[nt.UserMode] = list[1:]
	return list[0], true
}

// closeAPCs ends the queues of a thread that ends: nothing is queued any more, kernel APCs run now, and
// those for user mode are run down. It gives the first kernel APC that cannot run, or 0.
func (t *Thread) closeAPCs() (left guest.Addr) {
	t.DeliverAPCs()
	a := &t.apcs
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	t.DeliverAPCs() // what was queued between
	for {
		q, ok := t.takeUserAPC()
		if !ok {
			break
		}
		k, err := loadAPC(q.object)
		if err == nil {
			err = guest.Store8(q.object+apcInserted, nt.FALSE)
		}
		if err == nil && k.RundownRoutine != 0 {
			t.Call(k.RundownRoutine, uint64(q.object))
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, q := range a.queues[nt.KernelMode] {
		if q.index == 0 {
			return q.object
		}
	}
	return 0
}
