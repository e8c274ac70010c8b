package ke

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Queues of entries that threads wait for: KQUEUE. SignalState is the number of entries. The lock
// of the queue's bucket guards its list, so that a wait that is satisfied has its entry at once,
// and does not look at the queue again.

// InitializeQueue makes the KQUEUE at queue ready, for so many active threads.
func InitializeQueue(queue guest.Addr, maximum uint32) error {
	entries, threads := queue+queueEntries, queue+queueThreads
	return guest.Ptr[nt.KQueue](queue).Store(nt.KQueue{
		Header:         newHeader(queue, nt.QueueObject, sizeofKQueue, 0),
		EntryListHead:  nt.ListEntry{Flink: entries, Blink: entries},
		MaximumCount:   maximum,
		ThreadListHead: nt.ListEntry{Flink: threads, Blink: threads},
	})
}

func loadQueue(queue guest.Addr) (header, error) {
	return loadAs(queue, nt.QueueObject, nt.QueueObject, "KQUEUE")
}

// InsertQueue puts an entry at the end of a queue, or at its front, and wakes the thread that has
// waited longest. It gives the number of entries from before.
func (s *System) InsertQueue(queue, entry guest.Addr, front bool) (before int32, err error) {
	b := s.bucket(queue)
	b.mu.Lock()
	h, err := loadQueue(queue)
	if err == nil {
		_, err = insertEntry(queue+queueEntries, entry, front)
	}
	if err == nil {
		err = storeState(queue, h.state+1)
	}
	if err != nil || b.blocks == 0 {
		b.mu.Unlock()
		return h.state, err
	}
	return h.state, s.wakeAndUnlock(b, queue)
}

// takeEntry is what satisfies a wait of RemoveQueue. The caller holds the lock of the bucket.
func (t *Thread) takeEntry(queue guest.Addr, h header) (err error) {
	if t.entry, err = removeHead(queue + queueEntries); err != nil {
		return err
	}
	if t.entry == 0 { // the driver has changed the state
		return &ObjectError{Object: queue, Want: "KQUEUE", Fact: "has fewer entries than it counts"}
	}
	return storeState(queue, h.state-1)
}

// RemoveQueue waits for an entry of a queue and takes it. Without one the status is that of the
// wait: STATUS_TIMEOUT, STATUS_ABANDONED when the queue was run down, STATUS_ALERTED, STATUS_USER_APC.
func (t *Thread) RemoveQueue(queue guest.Addr, o WaitOptions) (entry guest.Addr, status nt.Status,
	err error) {
	if t.IRQL() >= nt.DISPATCH_LEVEL && !o.Poll() {
		t.waitTooHigh(queue, o.Timeout)
	}
	if _, err := loadQueue(queue); err != nil {
		return 0, 0, err
	}
	var due deadline
	for {
		t.removing = true
		status, err := t.waitSingle(queue, o, &due)
		t.removing = false
		if status == nt.STATUS_KERNEL_APC {
			t.DeliverAPCs()
			continue
		}
		if status == nt.STATUS_WAIT_0 && err == nil {
			entry, t.entry = t.entry, 0
		}
		return entry, status, err
	}
}

// RundownQueue takes all entries off a queue and ends all waits for one with STATUS_ABANDONED. It
// gives the first entry, whose links are the list of them all, or 0.
func (s *System) RundownQueue(queue guest.Addr) (first guest.Addr, err error) {
	b := s.bucket(queue)
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := loadQueue(queue); err != nil {
		return 0, err
	}
	head := queue + queueEntries
	l, err := guest.Ptr[nt.ListEntry](head).Load()
	if err != nil {
		return 0, err
	}
	if l.Flink != head {
		// The head leaves the list, which stays a circle.
		first = l.Flink
		if err := guest.StoreAddr(l.Blink, first); err != nil {
			return 0, err
		}
		if err := guest.StoreAddr(first+listBlink, l.Blink); err != nil {
			return 0, err
		}
	}
	if err := guest.Ptr[nt.ListEntry](head).Store(nt.ListEntry{Flink: head, Blink: head}); err != nil {
		return 0, err
	}
	if err := storeState(queue, 0); err != nil || !b.hasWaiters(queue) {
		return first, err
	}
	for blk := b.queues[queue].first; blk != nil; {
		w, next := blk.wait, blk.next
		if !w.all && w.state.CompareAndSwap(waitPending, waitClaimed) {
			b.dequeue(blk)
			w.finish(blk.index, true)
		}
		blk = next
	}
	return first, nil
}
