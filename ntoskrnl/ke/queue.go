package ke

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Queues of entries that threads wait for: KQUEUE. SignalState is the number of entries. The lock
// of the queue's bucket guards its list, so that a wait that is satisfied has its entry at once,
// and does not look at the queue again.
//
// A thread that has asked a queue for an entry is the queue's until it asks another one, ends, or
// the queue is run down. CurrentCount is how many of a queue's threads are active, that is, neither
// wait for an entry nor for anything else; an entry is given out only while it is below
// MaximumCount. So when an active thread begins a wait, another one gets an entry; when its wait
// ends it is active again, and they may be more than MaximumCount for a while.
//
// The count and the list of threads are the driver's memory; which threads are a queue's is known
// in Go too. A driver that frees a queue that still has threads does not hurt them: what is no
// KQUEUE any more is let alone.

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
// waited longest, unless as many are active as may be. It gives the number of entries from before.
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

// mayTakeEntry says whether one more thread may be active. The caller holds the lock of the bucket.
func mayTakeEntry(queue guest.Addr) (bool, error) {
	counts, err := guest.Load64(queue + queueCounts) // CurrentCount, and MaximumCount above it
	return uint32(counts) < uint32(counts>>32), err
}

// countActive adds to the number of active threads. The caller holds the lock of the bucket.
func countActive(queue guest.Addr, add int32) error {
	n, err := guest.Load32(queue + queueCounts)
	if err != nil || n == 0 && add < 0 { // the driver has made it anew
		return err
	}
	return guest.Store32(queue+queueCounts, n+uint32(add))
}

// takeEntry is what satisfies a wait of RemoveQueue. The caller holds the lock of the bucket.
func (t *Thread) takeEntry(queue guest.Addr, h header) (err error) {
	if t.entry, err = removeHead(queue + queueEntries); err != nil {
		return err
	}
	if t.entry == 0 { // the driver has changed the state
		return &ObjectError{Object: queue, Want: "KQUEUE", Fact: "has fewer entries than it counts"}
	}
	err = storeState(queue, h.state-1)
	if err != nil || guest.Addr(t.queue.Load()) != queue { // it was run down before the wait began
		return err
	}
	return countActive(queue, 1)
}

// RemoveQueue waits for an entry of a queue and takes it. Without one the status is that of the
// wait: STATUS_TIMEOUT, STATUS_ABANDONED when the queue was run down, STATUS_ALERTED,
// STATUS_USER_APC.
func (t *Thread) RemoveQueue(queue guest.Addr, o WaitOptions) (entry guest.Addr, status nt.Status,
	err error) {
	if t.IRQL() >= nt.DISPATCH_LEVEL && !o.Poll() {
		t.waitTooHigh(queue, o.Timeout)
	}
	if err := t.joinQueue(queue); err != nil {
		return 0, 0, err
	}
	var due deadline
	for {
		t.removing = true
		status, err := t.waitSingle(queue, o, &due)
		t.removing = false
		if status == nt.STATUS_WAIT_0 && err == nil {
			entry, t.entry = t.entry, 0
			return entry, status, nil
		}
		t.countInQueue(1) // active again, without an entry
		if status != nt.STATUS_KERNEL_APC || err != nil {
			return 0, status, err
		}
		t.DeliverAPCs()
		t.countInQueue(-1)
	}
}

// MoreFromQueue takes further entries that a queue has, into what is left of entries, for a thread
// that has one already. It gives how many.
func (t *Thread) MoreFromQueue(queue guest.Addr, entries []guest.Addr) (n int, err error) {
	b := t.sys.bucket(queue)
	b.mu.Lock()
	defer b.mu.Unlock()
	h, err := loadQueue(queue)
	for ; err == nil && n < len(entries) && h.state > 0; n++ {
		if entries[n], err = removeHead(queue + queueEntries); err != nil || entries[n] == 0 {
			return n, err
		}
		h.state--
		err = storeState(queue, h.state)
	}
	return n, err
}

// joinQueue makes t one of the queue's threads, which is not active.
func (t *Thread) joinQueue(queue guest.Addr) error {
	if guest.Addr(t.queue.Load()) != queue {
		t.leaveQueue()
	}
	b := t.sys.bucket(queue)
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := loadQueue(queue); err != nil {
		return err
	}
	if guest.Addr(t.queue.Load()) == queue {
		return countActive(queue, -1)
	}
	if _, err := insertEntry(queue+queueThreads, t.Object+threadQueueEntry, false); err != nil {
		return err
	}
	if b.members == nil {
		b.members = make(map[guest.Addr]map[*Thread]struct{})
	}
	if b.members[queue] == nil {
		b.members[queue] = make(map[*Thread]struct{})
	}
	b.members[queue][t] = struct{}{}
	t.queue.Store(uint64(queue))
	t.ETHREAD().Tcb.Queue = queue
	return nil
}

// leaveQueue ends t's being a queue's, which is one active thread less.
func (t *Thread) leaveQueue() {
	queue := guest.Addr(t.queue.Load())
	if queue == 0 {
		return
	}
	b := t.sys.bucket(queue)
	b.mu.Lock()
	if guest.Addr(t.queue.Load()) != queue { // it was run down meanwhile
		b.mu.Unlock()
		return
	}
	b.release(t, queue)
	if _, err := loadQueue(queue); err != nil {
		b.mu.Unlock()
		return
	}
	unlinkEntry(t.Object + threadQueueEntry)
	t.activeAndUnlock(b, queue, -1)
}

// release takes t from among a queue's threads. The caller holds b.mu.
func (b *bucket) release(t *Thread, queue guest.Addr) {
	delete(b.members[queue], t)
	if len(b.members[queue]) == 0 {
		delete(b.members, queue)
	}
	t.queue.Store(0)
	t.ETHREAD().Tcb.Queue = 0
}

// countInQueue says that t, which may be a queue's, begins to wait (-1) or is active again (1).
func (t *Thread) countInQueue(add int32) {
	queue := guest.Addr(t.queue.Load())
	if queue == 0 {
		return
	}
	b := t.sys.bucket(queue)
	b.mu.Lock()
	if _, err := loadQueue(queue); err != nil || guest.Addr(t.queue.Load()) != queue {
		b.mu.Unlock()
		return
	}
	t.activeAndUnlock(b, queue, add)
}

// activeAndUnlock changes the number of a queue's active threads, and lets another one have an
// entry if that became less. What is wrong with the driver's queue is said to whoever uses it next.
// The caller holds b.mu, and no longer afterwards.
func (t *Thread) activeAndUnlock(b *bucket, queue guest.Addr, add int32) {
	if countActive(queue, add) != nil || add > 0 || !b.hasWaiters(queue) {
		b.mu.Unlock()
		return
	}
	_ = t.sys.wakeAndUnlock(b, queue)
}

// unlinkEntry takes an entry out of its list, if it is in one: if its neighbours say so too. The
// caller has locked the list.
func unlinkEntry(entry guest.Addr) {
	l, err := guest.Ptr[nt.ListEntry](entry).Load()
	if err != nil {
		return
	}
	next, err := guest.LoadAddr(l.Blink)
	if err != nil || next != entry {
		return
	}
	if before, err := guest.LoadAddr(l.Flink + listBlink); err != nil || before != entry {
		return
	}
	_ = guest.StoreAddr(l.Blink, l.Flink) // both were read a moment ago
	_ = guest.StoreAddr(l.Flink+listBlink, l.Blink)
}

// RundownQueue takes all entries off a queue, ends all waits for one with STATUS_ABANDONED, and
// lets the queue's threads go. It gives the first entry, whose links are the list of them all, or
// 0.
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
	for t := range b.members[queue] {
		b.release(t, queue)
	}
	threads := queue + queueThreads
	err = guest.Ptr[nt.ListEntry](threads).Store(nt.ListEntry{Flink: threads, Blink: threads})
	if err == nil {
		err = guest.Store32(queue+queueCounts, 0)
	}
	if err == nil {
		err = guest.Ptr[nt.ListEntry](head).Store(nt.ListEntry{Flink: head, Blink: head})
	}
	if err != nil {
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
