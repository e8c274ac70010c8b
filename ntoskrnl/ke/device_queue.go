package ke

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Device queues: KDEVICE_QUEUE, a list of entries that wait for a device that is busy, under a spin
// lock of its own. All of it is in guest memory.

// InitializeDeviceQueue makes the KDEVICE_QUEUE at queue empty and not busy.
func InitializeDeviceQueue(queue guest.Addr) error {
	head := queue + deviceQueueList
	return guest.Ptr[nt.KDeviceQueue](queue).Store(nt.KDeviceQueue{Type: int16(nt.DeviceQueueObject),
		Size: int16(sizeofDeviceQueue), DeviceListHead: nt.ListEntry{Flink: head, Blink: head}})
}

// deviceQueue is what f in withDeviceQueue works on.
type deviceQueue struct {
	addr guest.Addr
	nt.KDeviceQueue
}

// withDeviceQueue does f with the queue's lock held.
func (t *Thread) withDeviceQueue(queue guest.Addr, f func(q *deviceQueue) error) error {
	return t.locked(queue+deviceQueueLock, func() error {
		v, err := guest.Ptr[nt.KDeviceQueue](queue).Load()
		if err != nil {
			return err
		}
		if v.Type != int16(nt.DeviceQueueObject) {
			return &ObjectError{Object: queue, Want: "KDEVICE_QUEUE", Type: uint8(v.Type)}
		}
		return f(&deviceQueue{queue, v})
	})
}

func (q *deviceQueue) head() guest.Addr { return q.addr + deviceQueueList }

func (q *deviceQueue) setBusy(busy nt.Boolean) error {
	return guest.Store8(q.addr+deviceQueueBusy, busy)
}

// next gives the entry behind the one at a, which may be the head.
func (q *deviceQueue) next(a guest.Addr) (guest.Addr, error) { return guest.LoadAddr(a) }

// unlink takes the entry at a out of the list.
func (q *deviceQueue) unlink(a guest.Addr) error {
	l, err := guest.Ptr[nt.ListEntry](a).Load()
	if err != nil {
		return err
	}
	back, err := guest.LoadAddr(l.Blink)
	if err != nil {
		return err
	}
	forth, err := guest.LoadAddr(l.Flink + listBlink)
	if err != nil {
		return err
	}
	if back != a || forth != a {
		return &ListError{a}
	}
	if err := guest.StoreAddr(l.Blink, l.Flink); err != nil {
		return err
	}
	if err := guest.StoreAddr(l.Flink+listBlink, l.Blink); err != nil {
		return err
	}
	return guest.Store8(a+queueEntryInserted, nt.FALSE)
}

// InsertDeviceQueue puts an entry at the end of the queue of a busy device, or, with a key, in
// front of the first entry whose key is greater. It reports false, and makes the device busy, if it
// was not: the entry is the caller's to start then.
func (t *Thread) InsertDeviceQueue(queue, entry guest.Addr, key uint32, byKey bool) (inserted bool,
	err error) {
	err = t.withDeviceQueue(queue, func(q *deviceQueue) error {
		if q.Busy == nt.FALSE {
			if err := q.setBusy(nt.TRUE); err != nil {
				return err
			}
			return guest.Store8(entry+queueEntryInserted, nt.FALSE)
		}
		before := q.head()
		if byKey {
			var err error
			if before, err = q.find(func(k uint32) bool { return k > key }); err != nil {
				return err
			}
		}
		last, err := guest.LoadAddr(before + listBlink)
		if err != nil {
			return err
		}
		inserted = true
		e := nt.KDeviceQueueEntry{DeviceListEntry: nt.ListEntry{Flink: before, Blink: last},
			Inserted: nt.TRUE}
		if byKey {
			e.SortKey = key
		}
		if err := guest.Ptr[nt.KDeviceQueueEntry](entry).Store(e); err != nil {
			return err
		}
		if err := guest.StoreAddr(last, entry); err != nil {
			return err
		}
		return guest.StoreAddr(before+listBlink, entry)
	})
	return inserted, err
}

// find gives the first entry for whose key want says yes, or the head. A list that leads in a
// circle ends somewhere.
func (q *deviceQueue) find(want func(key uint32) bool) (guest.Addr, error) {
	const most = 1 << 20
	a, err := q.next(q.head())
	for n := 0; err == nil && a != q.head(); n++ {
		if n == most {
			return 0, &ListError{a}
		}
		var key uint32
		if key, err = guest.Load32(a + queueEntryKey); err == nil && want(key) {
			return a, nil
		}
		if err == nil {
			a, err = q.next(a)
		}
	}
	return a, err
}

// RemoveDeviceQueue takes the first entry out of the queue and gives it, or, with a key, the first
// whose key is not less, if there is one. For an empty queue it gives 0, and the device is busy no
// more. The device must be busy.
func (t *Thread) RemoveDeviceQueue(queue guest.Addr, key uint32, byKey bool) (entry guest.Addr,
	err error) {
	err = t.withDeviceQueue(queue, func(q *deviceQueue) error {
		first, err := q.next(q.head())
		if err != nil {
			return err
		}
		if first == q.head() {
			return q.setBusy(nt.FALSE)
		}
		entry = first
		if byKey {
			a, err := q.find(func(k uint32) bool { return k >= key })
			if err != nil {
				return err
			}
			if a != q.head() {
				entry = a
			}
		}
		return q.unlink(entry)
	})
	return entry, err
}

// RemoveEntryDeviceQueue takes an entry out of the queue, and reports whether it was there.
func (t *Thread) RemoveEntryDeviceQueue(queue, entry guest.Addr) (was bool, err error) {
	err = t.withDeviceQueue(queue, func(q *deviceQueue) error {
		v, err := guest.Load8(entry + queueEntryInserted)
		if err != nil || v == nt.FALSE {
			return err
		}
		was = true
		return q.unlink(entry)
	})
	return was, err
}
