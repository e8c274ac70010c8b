package ke

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Attaching: a thread that runs in another process's memory for a while. KTHREAD.ApcState says
// which, and its queues of APCs are put aside, as on Windows.

// sameProcess is what KeStackAttachProcess leaves in KAPC_STATE.Process when there was nothing to
// do.
const sameProcess guest.Addr = 1

// CurrentProcess gives the process whose memory the thread sees: the one that it is attached to, or
// its own.
func (t *Thread) CurrentProcess() *Process {
	if n := len(t.attached); n > 0 {
		return t.attached[n-1]
	}
	return t.Process
}

// IsAttached reports whether the thread is attached to another process.
func (t *Thread) IsAttached() bool { return len(t.attached) > 0 }

// StackAttach makes p the current process, and puts what DetachStack needs into the KAPC_STATE at
// state.
func (t *Thread) StackAttach(p *Process, state guest.Addr) error {
	at := guest.Ptr[nt.KAPCState](state)
	tcb := &t.ETHREAD().Tcb
	switch {
	case tcb.ApcState.Process == p.Object:
		return at.Store(nt.KAPCState{Process: sameProcess})
	case tcb.ApcStateIndex == 0:
		if err := at.Store(nt.KAPCState{}); err != nil {
			return err
		}
		t.attach(p)
		return nil
	}
	if err := moveAPCState(state, guest.AddrOf(&tcb.ApcState)); err != nil {
		return err
	}
	t.enter(p)
	return nil
}

// DetachStack goes back to the process that StackAttach has put into the KAPC_STATE at state. A
// *DetachError says that the thread is not attached.
func (t *Thread) DetachStack(state guest.Addr) error {
	saved, err := guest.Ptr[nt.KAPCState](state).Load()
	if err != nil || saved.Process == sameProcess {
		return err
	}
	if err := t.checkDetach(); err != nil {
		return err
	}
	if saved.Process == 0 {
		return t.detach()
	}
	tcb := &t.ETHREAD().Tcb
	for n := len(t.attached); n > 0 && t.attached[n-1].Object != saved.Process; n-- {
		t.attached = t.attached[:n-1]
	}
	if len(t.attached) == 0 {
		return &DetachError{Process: tcb.ApcState.Process,
			Fact: fmt.Sprintf("it was not attached to %v before", saved.Process)}
	}
	return moveAPCState(guest.AddrOf(&tcb.ApcState), state)
}

// Attach makes p the current process, which is allowed once: KeAttachProcess. An *AttachError says
// that the thread is attached already.
func (t *Thread) Attach(p *Process) error {
	tcb := &t.ETHREAD().Tcb
	switch {
	case tcb.ApcState.Process == p.Object:
		return nil
	case tcb.ApcStateIndex != 0:
		return &AttachError{Process: p.Object, Current: tcb.ApcState.Process}
	}
	t.attach(p)
	return nil
}

// Detach undoes Attach; it does nothing if the thread is not attached.
func (t *Thread) Detach() error {
	if t.ETHREAD().Tcb.ApcStateIndex == 0 {
		return nil
	}
	if err := t.checkDetach(); err != nil {
		return err
	}
	return t.detach()
}

// attach is Attach from the thread's own process.
func (t *Thread) attach(p *Process) {
	tcb := &t.ETHREAD().Tcb
	// Both are the thread's own, which is mapped.
	_ = moveAPCState(guest.AddrOf(&tcb.SavedApcState), guest.AddrOf(&tcb.ApcState))
	tcb.ApcStateIndex = 1
	t.enter(p)
}

// enter gives the thread an empty APC state in p.
func (t *Thread) enter(p *Process) {
	state := &t.ETHREAD().Tcb.ApcState
	for i := range state.ApcListHead {
		initList(&state.ApcListHead[i])
	}
	state.Process = p.Object
	state.KernelApcPending, state.UserApcPending = nt.FALSE, nt.FALSE
	t.attached = append(t.attached, p)
}

// detach goes back to the thread's own process.
func (t *Thread) detach() error {
	tcb := &t.ETHREAD().Tcb
	t.attached = t.attached[:0]
	err := moveAPCState(guest.AddrOf(&tcb.ApcState), guest.AddrOf(&tcb.SavedApcState))
	tcb.SavedApcState.Process = 0
	tcb.ApcStateIndex = 0
	return err
}

// checkDetach is the error of a thread that is not attached.
func (t *Thread) checkDetach() error {
	tcb := &t.ETHREAD().Tcb
	if tcb.ApcStateIndex == 0 || len(t.attached) == 0 {
		return &DetachError{Process: tcb.ApcState.Process, Fact: "it is not attached"}
	}
	return nil
}

// apcStateFlags are the bytes of a KAPC_STATE behind Process: the rest of it holds other fields in
// a KTHREAD.
const apcStateFlags = 3

// moveAPCState copies a KAPC_STATE, whose queues go along.
func moveAPCState(dst, src guest.Addr) error {
	for _, mode := range [...]guest.Addr{0, apcListSize} {
		if err := moveList(dst+mode, src+mode); err != nil {
			return err
		}
	}
	return guest.Move(dst+apcProcess, src+apcProcess, uintptr(apcFlags-apcProcess)+apcStateFlags)
}

// moveList makes the list at src that at dst; the head at src is left as it is.
func moveList(dst, src guest.Addr) error {
	l, err := guest.Ptr[nt.ListEntry](src).Load()
	if err != nil {
		return err
	}
	if l.Flink == src || l.Flink == 0 {
		return guest.Ptr[nt.ListEntry](dst).Store(nt.ListEntry{Flink: dst, Blink: dst})
	}
	if err := guest.Ptr[nt.ListEntry](dst).Store(l); err != nil {
		return err
	}
	if err := guest.StoreAddr(l.Flink+listBlink, dst); err != nil {
		return err
	}
	return guest.StoreAddr(l.Blink, dst)
}

// AttachError is the bugcheck of KeAttachProcess on a thread that is attached already.
type AttachError struct{ Process, Current guest.Addr }

// Error names the processes.
func (e *AttachError) Error() string {
	return fmt.Sprintf("attach to process %v by a thread that is attached to %v", e.Process, e.Current)
}

// BugCheck gives the code and the parameters.
func (e *AttachError) BugCheck() (nt.BugCheck, [4]uint64) {
	return nt.INVALID_PROCESS_ATTACH_ATTEMPT, [4]uint64{uint64(e.Process), uint64(e.Current), 1, 0}
}

// DetachError is the bugcheck of a detach that no attach belongs to.
type DetachError struct {
	Process guest.Addr
	Fact    string
}

// Error says what is wrong.
func (e *DetachError) Error() string {
	return fmt.Sprintf("a thread in process %v detaches, but %s", e.Process, e.Fact)
}

// BugCheck gives the code and the parameters.
func (e *DetachError) BugCheck() (nt.BugCheck, [4]uint64) {
	return nt.INVALID_PROCESS_DETACH_ATTEMPT, [4]uint64{}
}
