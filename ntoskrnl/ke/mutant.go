package ke

import (
	"fmt"
	"math"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Mutants, which drivers call mutexes.

// InitializeMutant makes the KMUTANT at mutant ready and free. A mutex, in contrast to a mutant,
// disables normal kernel APCs while it is owned.
func InitializeMutant(mutant guest.Addr, mutex bool) error {
	m := nt.KMutant{Header: newHeader(mutant, nt.MutantObject, sizeofKMutant, 1)}
	if mutex {
		m.ApcDisable = 1
	}
	return guest.Ptr[nt.KMutant](mutant).Store(m)
}

// ownMutant makes t the owner of a mutant that is free or its own already. The caller holds the
// lock of its bucket; if t waits, it does so on behalf of t.
func (t *Thread) ownMutant(mutant guest.Addr, h header) (abandoned bool, err error) {
	if h.state == math.MinInt32 {
		return false, nt.STATUS_MUTANT_LIMIT_EXCEEDED
	}
	state := h.state - 1
	if err := storeState(mutant, state); err != nil || state != 0 {
		return false, err
	}
	m, err := guest.Ptr[nt.KMutant](mutant).Load()
	if err != nil {
		return false, err
	}
	// The last in the list of the mutants that t owns.
	tcb := &t.ETHREAD().Tcb
	head := t.Object + threadMutants
	entry := mutant + mutantList
	m.MutantListEntry = nt.ListEntry{Flink: head, Blink: tcb.MutantListHead.Blink}
	m.OwnerThread = t.Object
	abandoned, m.Abandoned = m.Abandoned != 0, 0
	if err := guest.StoreAddr(m.MutantListEntry.Blink, entry); err != nil {
		return abandoned, listError(mutant)
	}
	tcb.MutantListHead.Blink = entry
	tcb.KernelApcDisable -= int16(m.ApcDisable)
	return abandoned, guest.Ptr[nt.KMutant](mutant).Store(m)
}

// listError says that the list of a thread's mutants is not one any more.
func listError(mutant guest.Addr) error {
	return &ObjectError{Object: mutant, Want: "KMUTANT",
		Fact: "is in a list of owned mutants that was overwritten or freed"}
}

// ReleaseMutant gives up t's ownership of a mutant once, and wakes the first who waits for it when
// it is free. It gives SignalState from before: 0 if it is free now.
//
// STATUS_MUTANT_NOT_OWNED, to be raised, if t does not own it, and STATUS_ABANDONED if it is free
// because its owner ended.
func (t *Thread) ReleaseMutant(mutant guest.Addr) (before int32, err error) {
	s := t.sys
	b := s.bucket(mutant)
	b.mu.Lock()
	h, err := loadAs(mutant, nt.MutantObject, nt.MutantObject, "KMUTANT")
	if err != nil {
		b.mu.Unlock()
		return 0, err
	}
	m, err := guest.Ptr[nt.KMutant](mutant).Load()
	if err == nil && m.OwnerThread != t.Object {
		err = nt.STATUS_MUTANT_NOT_OWNED
		if m.Abandoned != 0 {
			err = nt.STATUS_ABANDONED
		}
	}
	if err != nil {
		b.mu.Unlock()
		return h.state, err
	}
	if h.state+1 < 1 {
		err := storeState(mutant, h.state+1)
		b.mu.Unlock()
		return h.state, err
	}
	err = t.disownMutant(mutant, &m, false)
	if err != nil || b.blocks == 0 {
		b.mu.Unlock()
		return h.state, err
	}
	return h.state, s.wakeAndUnlock(b, mutant)
}

// disownMutant makes a mutant of t's free. m is what is at mutant; the caller holds the lock of its
// bucket.
func (t *Thread) disownMutant(mutant guest.Addr, m *nt.KMutant, abandoned bool) error {
	tcb := &t.ETHREAD().Tcb
	entry := mutant + mutantList
	flink, blink := m.MutantListEntry.Flink, m.MutantListEntry.Blink
	back, err := guest.LoadAddr(blink)
	if err != nil || back != entry {
		return listError(mutant)
	}
	if back, err = guest.LoadAddr(flink + listBlink); err != nil || back != entry {
		return listError(mutant)
	}
	if guest.StoreAddr(blink, flink) != nil || guest.StoreAddr(flink+listBlink, blink) != nil {
		return listError(mutant)
	}
	tcb.KernelApcDisable += int16(m.ApcDisable)
	m.OwnerThread = 0
	m.Header.SignalState = 1
	if abandoned {
		m.Abandoned = 1
	}
	return guest.Ptr[nt.KMutant](mutant).Store(*m)
}

// abandonMutants makes the mutants free that t owns when it ends. To end with a mutex is
// THREAD_TERMINATE_HELD_MUTEX.
func (t *Thread) abandonMutants() {
	head := t.Object + threadMutants
	tcb := &t.ETHREAD().Tcb
	for tcb.MutantListHead.Flink != head {
		mutant := tcb.MutantListHead.Flink - mutantList
		if err := t.abandonMutant(mutant); err != nil {
			t.Crash(&Bugcheck{Code: threadTerminateHeldMutex,
				Params: [4]uint64{uint64(t.Object), uint64(mutant), 0, 0},
				Reason: fmt.Sprintf("a thread ended that owns the mutex at %v: %v", mutant, err)})
		}
	}
}

func (t *Thread) abandonMutant(mutant guest.Addr) error {
	b := t.sys.bucket(mutant)
	b.mu.Lock()
	m, err := guest.Ptr[nt.KMutant](mutant).Load()
	if err == nil && m.ApcDisable != 0 {
		err = &ObjectError{Object: mutant, Want: "KMUTEX", Fact: "was not released"}
	}
	if err == nil {
		err = t.disownMutant(mutant, &m, true)
	}
	if err != nil {
		b.mu.Unlock()
		return err
	}
	return t.sys.wakeAndUnlock(b, mutant)
}

// AbandonMutant frees a mutant of t's, however often t owns it, and marks it as abandoned. It gives
// SignalState from before. STATUS_MUTANT_NOT_OWNED, to be raised, if t does not own it.
func (t *Thread) AbandonMutant(mutant guest.Addr) (before int32, err error) {
	b := t.sys.bucket(mutant)
	b.mu.Lock()
	h, err := loadAs(mutant, nt.MutantObject, nt.MutantObject, "KMUTANT")
	var m nt.KMutant
	if err == nil {
		m, err = guest.Ptr[nt.KMutant](mutant).Load()
	}
	if err == nil && m.OwnerThread != t.Object {
		err = nt.STATUS_MUTANT_NOT_OWNED
	}
	if err == nil {
		err = t.disownMutant(mutant, &m, true)
	}
	if err != nil {
		b.mu.Unlock()
		return h.state, err
	}
	return h.state, t.sys.wakeAndUnlock(b, mutant)
}

// threadTerminateHeldMutex is THREAD_TERMINATE_HELD_MUTEX ("Bug Check 0x4000008A").
const threadTerminateHeldMutex nt.BugCheck = 0x4000008A
