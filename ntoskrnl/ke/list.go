package ke

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Lists in guest memory that several threads change: interlocked ones, each under a spin lock, and
// S-lists.

// ListError says that a doubly linked list is none any more: the bugcheck
// KERNEL_SECURITY_CHECK_FAILURE that the checks of Windows' own list functions end in.
type ListError struct{ Entry guest.Addr }

// Error names the entry.
func (e *ListError) Error() string {
	return fmt.Sprintf("the LIST_ENTRY at %v is corrupted: its neighbours do not point back at it",
		e.Entry)
}

// BugCheck gives the bugcheck's code and parameters.
func (e *ListError) BugCheck() (nt.BugCheck, [4]uint64) {
	const corruptListEntry = 3 // FAST_FAIL_CORRUPT_LIST_ENTRY
	return nt.KERNEL_SECURITY_CHECK_FAILURE, [4]uint64{corruptListEntry, 0, 0, uint64(e.Entry)}
}

// locked does f with a spin lock held, at whatever IRQL: nothing runs on t's processor meanwhile.
func (t *Thread) locked(lock guest.Addr, f func() error) error {
	if err := t.AcquireSpinLock(lock); err != nil {
		return err
	}
	err := f()
	if e := t.ReleaseSpinLock(lock); err == nil {
		err = e
	}
	return err
}

// InsertList puts entry into the list at head, at its front or its end, with the lock held. It
// gives what was first, or last, before, or 0 for an empty list.
func (t *Thread) InsertList(head, entry, lock guest.Addr, front bool) (before guest.Addr,
	err error) {
	err = t.locked(lock, func() error {
		before, err = insertEntry(head, entry, front)
		return err
	})
	return before, err
}

// insertEntry is InsertList for a list that the caller has locked.
func insertEntry(head, entry guest.Addr, front bool) (before guest.Addr, err error) {
	l, err := guest.Ptr[nt.ListEntry](head).Load()
	if err != nil {
		return 0, err
	}
	links := nt.ListEntry{Flink: head, Blink: l.Blink}
	before = l.Blink
	if front {
		links = nt.ListEntry{Flink: l.Flink, Blink: head}
		before = l.Flink
	}
	if before == head {
		before = 0
	}
	if err := checkLinks(head, l, front); err != nil {
		return before, err
	}
	if err := guest.Ptr[nt.ListEntry](entry).Store(links); err != nil {
		return before, err
	}
	if err := guest.StoreAddr(links.Blink, entry); err != nil {
		return before, err
	}
	return before, guest.StoreAddr(links.Flink+listBlink, entry)
}

// checkLinks makes sure that the neighbour of head at which something is to be done points back.
func checkLinks(head guest.Addr, l nt.ListEntry, front bool) error {
	at, neighbour := l.Blink, l.Blink
	if front {
		at, neighbour = l.Flink+listBlink, l.Flink
	}
	back, err := guest.LoadAddr(at)
	if err == nil && back != head {
		err = &ListError{neighbour}
	}
	return err
}

// RemoveListHead takes the first entry out of the list at head, with the lock held, and gives it,
// or 0 for an empty list.
func (t *Thread) RemoveListHead(head, lock guest.Addr) (entry guest.Addr, err error) {
	err = t.locked(lock, func() error {
		entry, err = removeHead(head)
		return err
	})
	return entry, err
}

// removeHead is RemoveListHead for a list that the caller has locked.
func removeHead(head guest.Addr) (entry guest.Addr, err error) {
	l, err := guest.Ptr[nt.ListEntry](head).Load()
	if err != nil || l.Flink == head {
		return 0, err
	}
	first, err := guest.Ptr[nt.ListEntry](l.Flink).Load()
	if err != nil {
		return 0, err
	}
	back, err := guest.LoadAddr(first.Flink + listBlink)
	if err != nil {
		return 0, err
	}
	if first.Blink != head || back != l.Flink {
		return 0, &ListError{l.Flink}
	}
	if err := guest.StoreAddr(head, first.Flink); err != nil {
		return 0, err
	}
	return l.Flink, guest.StoreAddr(first.Flink+listBlink, head)
}

// PushEntryList puts entry in front of the singly linked list at head, with the lock held, and
// gives what was first.
func (t *Thread) PushEntryList(head, entry, lock guest.Addr) (before guest.Addr, err error) {
	err = t.locked(lock, func() error {
		if before, err = guest.LoadAddr(head); err != nil {
			return err
		}
		if err := guest.StoreAddr(entry, before); err != nil {
			return err
		}
		return guest.StoreAddr(head, entry)
	})
	return before, err
}

// PopEntryList takes the first entry out of the singly linked list at head, with the lock held, and
// gives it, or 0.
func (t *Thread) PopEntryList(head, lock guest.Addr) (entry guest.Addr, err error) {
	err = t.locked(lock, func() error {
		if entry, err = guest.LoadAddr(head); err != nil || entry == 0 {
			return err
		}
		next, err := guest.LoadAddr(entry)
		if err != nil {
			return err
		}
		return guest.StoreAddr(head, next)
	})
	return entry, err
}

// AddLocked adds to the 32-bit or 64-bit number at addr with the lock held, and gives what was
// there.
func (t *Thread) AddLocked(addr, lock guest.Addr, add uint64, wide bool) (before uint64,
	err error) {
	err = t.locked(lock, func() error {
		if wide {
			before, err = guest.Add64(addr, add)
			before -= add
			return err
		}
		v, err := guest.Add32(addr, uint32(add))
		before = uint64(v - uint32(add))
		return err
	})
	return before, err
}

// S-lists: every change of one is made here, under the lock of the bucket of its address, so that
// no double-width compare-and-swap is needed. The low 16 bits of the header's first word are the
// depth, the rest counts changes; the second word has the first entry, with 4 bits below it that
// say which layout it is.
const (
	slistDepth    = 0xFFFF
	slistSequence = 1 << 16
	slistFlags    = 0xF
)

// changeSList makes a change of an S-list one step.
func (s *System) changeSList(list guest.Addr, f func(h *nt.SListHeader) error) error {
	b := s.bucket(list)
	b.mu.Lock()
	defer b.mu.Unlock()
	p := guest.Ptr[nt.SListHeader](list)
	h, err := p.Load()
	if err != nil {
		return err
	}
	old := h
	if err := f(&h); err != nil || h == old {
		return err
	}
	return p.Store(h)
}

// PushSList puts entry in front of the S-list, and gives what was first, or 0.
func (s *System) PushSList(list, entry guest.Addr) (before guest.Addr, err error) {
	err = s.changeSList(list, func(h *nt.SListHeader) error {
		before = h.NextEntry()
		if err := guest.StoreAddr(entry, before); err != nil {
			return err
		}
		h.Alignment = h.Alignment&^slistDepth + slistSequence | (h.Alignment+1)&slistDepth
		h.Region = uint64(entry)&^slistFlags | h.Region&slistFlags
		return nil
	})
	return before, err
}

// PopSList takes the first entry out of the S-list and gives it, or 0.
func (s *System) PopSList(list guest.Addr) (entry guest.Addr, err error) {
	err = s.changeSList(list, func(h *nt.SListHeader) error {
		first := h.NextEntry()
		if first == 0 {
			return nil
		}
		next, err := guest.LoadAddr(first)
		if err != nil {
			return err
		}
		entry = first
		h.Alignment = h.Alignment&^slistDepth + slistSequence | (h.Alignment-1)&slistDepth
		h.Region = uint64(next)&^slistFlags | h.Region&slistFlags
		return nil
	})
	return entry, err
}

// FlushSList takes all entries out of the S-list and gives the first, or 0.
func (s *System) FlushSList(list guest.Addr) (entry guest.Addr, err error) {
	err = s.changeSList(list, func(h *nt.SListHeader) error {
		if entry = h.NextEntry(); entry != 0 {
			h.Alignment = h.Alignment&^slistDepth + slistSequence
			h.Region &= slistFlags
		}
		return nil
	})
	return entry, err
}
