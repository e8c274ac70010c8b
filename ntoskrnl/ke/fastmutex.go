package ke

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Fast mutexes, which are also guarded mutexes. FAST_MUTEX.Count is 1 when it is free, 0 when it is
// owned, and less by one for each thread that waits; each of those is let in by one setting of
// Event. ExInitializeFastMutex is an inline function: the mutex is the driver's to make.

// AcquireFastMutex takes the mutex for t, and waits for it. With it t is at APC_LEVEL, until
// ReleaseFastMutex; or, if unsafe is set, at whatever level it was. To take it twice is
// MUTEX_ALREADY_OWNED.
func (t *Thread) AcquireFastMutex(mutex guest.Addr, unsafe bool) error {
	irql := t.IRQL()
	if !unsafe && irql < nt.APC_LEVEL {
		t.RaiseIRQL(nt.APC_LEVEL)
	}
	count, err := guest.Add32(mutex+fastMutexCount, ^uint32(0))
	if err != nil {
		return err
	}
	if int32(count) < 0 {
		owner, err := guest.LoadAddr(mutex + fastMutexOwner)
		if err == nil && owner == t.Object {
			t.Crash(&Bugcheck{Code: nt.MUTEX_ALREADY_OWNED,
				Params: [4]uint64{uint64(mutex), uint64(t.Object), 0, 0},
				Reason: fmt.Sprintf("a thread takes the fast mutex at %v, which it owns", mutex)})
		}
		if _, err := guest.Add32(mutex+fastMutexContention, 1); err != nil {
			return err
		}
		if _, err := t.WaitForSingleObject(mutex+fastMutexEvent, Forever); err != nil {
			return err
		}
	}
	return t.ownFastMutex(mutex, irql)
}

// TryAcquireFastMutex takes the mutex if it is free, as AcquireFastMutex does, and reports whether
// it was.
func (t *Thread) TryAcquireFastMutex(mutex guest.Addr, unsafe bool) (bool, error) {
	ok, err := guest.CompareAndSwap32(mutex+fastMutexCount, 1, 0)
	if err != nil || !ok {
		return false, err
	}
	irql := t.IRQL()
	if !unsafe && irql < nt.APC_LEVEL {
		t.RaiseIRQL(nt.APC_LEVEL)
	}
	return true, t.ownFastMutex(mutex, irql)
}

func (t *Thread) ownFastMutex(mutex guest.Addr, irql nt.IRQL) error {
	if err := guest.StoreAddr(mutex+fastMutexOwner, t.Object); err != nil {
		return err
	}
	return guest.Store32(mutex+fastMutexOldIRQL, uint32(irql))
}

// ReleaseFastMutex gives the mutex back, lets in the first who waits for it, and, unless unsafe is
// set, restores the IRQL. For a mutex that t does not own it is THREAD_NOT_MUTEX_OWNER.
func (t *Thread) ReleaseFastMutex(mutex guest.Addr, unsafe bool) error {
	owner, err := guest.LoadAddr(mutex + fastMutexOwner)
	if err != nil {
		return err
	}
	if owner != t.Object {
		t.Crash(&Bugcheck{Code: nt.THREAD_NOT_MUTEX_OWNER,
			Params: [4]uint64{uint64(t.Object), uint64(mutex), 0, 0},
			Reason: fmt.Sprintf("a thread releases the fast mutex at %v; its owner is %v", mutex,
				owner)})
	}
	irql, err := guest.Load32(mutex + fastMutexOldIRQL)
	if err != nil {
		return err
	}
	if err := guest.StoreAddr(mutex+fastMutexOwner, 0); err != nil {
		return err
	}
	count, err := guest.Add32(mutex+fastMutexCount, 1)
	if err == nil && int32(count) <= 0 {
		_, err = t.sys.SetEvent(mutex + fastMutexEvent)
	}
	if err == nil && !unsafe {
		t.LowerIRQL(nt.IRQL(irql))
	}
	return err
}

// InitializeFastMutex makes a mutex that is free, for those who do not have the inline function.
func InitializeFastMutex(mutex guest.Addr) error {
	event := mutex + fastMutexEvent
	return guest.Ptr[nt.FastMutex](mutex).Store(nt.FastMutex{Count: 1, Event: nt.KEvent{
		Header: newHeader(event, nt.EventSynchronizationObject, sizeofKEvent, 0)}})
}
