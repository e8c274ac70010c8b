package ntoskrnl

import (
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// keyWatches are the notifications that are asked for with a key's object; they end with it. From
// the first request on the key is watched, with that request's filter: what changes between one
// request and the next completes the next at once.
type keyWatches struct {
	mu      sync.Mutex
	filter  uint32
	tree    bool
	armed   *keyWatch // nil before the first, and when the key is deleted
	asked   bool
	ended   bool
	changed bool // since the last request was completed
	waiting []func(nt.Status)
}

// keyWatch is one watch of the registry, which is good for one change.
type keyWatch struct{ *cm.Watch }

// wait has done called once: with STATUS_NOTIFY_ENUM_DIR for a change, with STATUS_NOTIFY_CLEANUP
// for the end. What it returns is no success if done is not called.
func (w *keyWatches) wait(key *cm.Key, filter uint32, tree bool, done func(nt.Status)) nt.Status {
	w.mu.Lock()
	first := !w.asked
	switch {
	case w.ended || w.asked && w.armed == nil && !w.changed:
		w.mu.Unlock()
		return nt.STATUS_KEY_DELETED
	case w.changed:
		w.changed = false
		w.mu.Unlock()
		done(nt.STATUS_NOTIFY_ENUM_DIR)
		return nt.STATUS_SUCCESS
	}
	w.asked = true
	w.waiting = append(w.waiting, done)
	if !first {
		w.mu.Unlock()
		return nt.STATUS_SUCCESS
	}
	a := &keyWatch{}
	w.filter, w.tree, w.armed = filter, tree, a
	w.mu.Unlock()
	status := w.arm(key, a)
	if status != nt.STATUS_SUCCESS {
		w.mu.Lock()
		others := w.waiting[1:]
		w.waiting = nil
		w.mu.Unlock()
		for _, done := range others {
			done(nt.STATUS_NOTIFY_CLEANUP)
		}
	}
	return status
}

// arm watches for the next change. The lock is not held meanwhile: to look at the registry may
// bring the change.
func (w *keyWatches) arm(key *cm.Key, a *keyWatch) nt.Status {
	watch, status := key.Watch(w.filter, w.tree, func() { w.fire(key) })
	w.mu.Lock()
	a.Watch = watch
	ended := w.ended
	if status != nt.STATUS_SUCCESS {
		w.armed = nil
	}
	w.mu.Unlock()
	if ended && watch != nil {
		key.Unwatch(watch)
	}
	return status
}

// fire completes what waits for a change.
func (w *keyWatches) fire(key *cm.Key) {
	a := &keyWatch{}
	w.mu.Lock()
	waiting, ended := w.waiting, w.ended
	w.waiting, w.armed = nil, a
	w.changed = len(waiting) == 0
	w.mu.Unlock()
	if !ended {
		w.arm(key, a) // or the key is deleted
	}
	for _, done := range waiting {
		done(nt.STATUS_NOTIFY_ENUM_DIR)
	}
}

// end ends all of them, with STATUS_NOTIFY_CLEANUP.
func (w *keyWatches) end(key *cm.Key) {
	w.mu.Lock()
	waiting := w.waiting
	w.waiting, w.ended = nil, true
	var watch *cm.Watch
	if w.armed != nil {
		watch = w.armed.Watch
	}
	w.mu.Unlock()
	if watch != nil {
		key.Unwatch(watch)
	}
	for _, done := range waiting {
		done(nt.STATUS_NOTIFY_CLEANUP)
	}
}

// zwNotifyChangeKey waits for a change of a key, or has one signalled by an event or a work item.
//
//	NTSTATUS ZwNotifyChangeKey(HANDLE KeyHandle, HANDLE Event, PIO_APC_ROUTINE ApcRoutine,
//	    PVOID ApcContext, PIO_STATUS_BLOCK IoStatusBlock, ULONG CompletionFilter,
//	    BOOLEAN WatchTree, PVOID Buffer, ULONG BufferSize, BOOLEAN Asynchronous)
//
// For drivers, which call in kernel mode, ApcRoutine is a WORK_QUEUE_ITEM and ApcContext a
// WORK_QUEUE_TYPE. The filter and the tree of the first request with a handle hold for all of them.
//
// STATUS_PENDING when it is asynchronous, STATUS_NOTIFY_ENUM_DIR in the IO_STATUS_BLOCK for a
// change, STATUS_NOTIFY_CLEANUP when the key's handle is closed first. STATUS_INVALID_HANDLE,
// STATUS_INVALID_PARAMETER for a filter or a queue that is none, STATUS_KEY_DELETED.
// "ZwNotifyChangeKey function (ntifs.h)".
func zwNotifyChangeKey(c *Call, h, event nt.Handle, item, queue, iosb guest.Addr, filter uint32,
	tree nt.Boolean, _ guest.Addr, _ uint32, asynchronous nt.Boolean) nt.Status {
	if item != 0 && !ke.WorkQueue(queue).Valid() {
		return nt.STATUS_INVALID_PARAMETER
	}
	const all = nt.REG_NOTIFY_CHANGE_NAME | nt.REG_NOTIFY_CHANGE_ATTRIBUTES |
		nt.REG_NOTIFY_CHANGE_LAST_SET | nt.REG_NOTIFY_CHANGE_SECURITY
	if filter &^= nt.REG_NOTIFY_THREAD_AGNOSTIC; filter == 0 || filter&^all != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	Store(c, iosb, nt.IOStatusBlock{Status: nt.STATUS_PENDING})
	var signal *ob.Object
	if event != 0 {
		e, status := c.reference(event, 0, c.types.event, nt.KernelMode)
		if status != nt.STATUS_SUCCESS {
			return status
		}
		signal = e.Object
		if _, err := c.Ke.ResetEvent(signal.Addr); err != nil {
			c.dereference(signal)
			c.Must(err)
		}
	}
	k, thread := c.Kernel, c.T // the call may be over when the change comes
	var ended atomic.Bool
	done := func(status nt.Status) {
		// The driver may have freed what it gave: then there is nobody to tell.
		_ = guest.Ptr[nt.IOStatusBlock](iosb).Store(nt.IOStatusBlock{Status: status})
		if signal != nil {
			_, _ = k.Ke.SetEvent(signal.Addr)
			_, _ = k.Ob.Dereference(signal.Addr)
		}
		if item != 0 {
			_ = k.Ke.QueueWorkItem(item, ke.WorkQueue(queue))
		}
		if asynchronous == 0 {
			ended.Store(true)
			thread.Unpark()
		}
	}
	status := c.withKey(h, nt.KEY_NOTIFY, func(o *ob.Object, key *cm.Key) nt.Status {
		return o.Body.(*keyObject).watches.wait(key, filter, tree != 0, done)
	})
	switch {
	case status != nt.STATUS_SUCCESS:
		if signal != nil {
			c.dereference(signal)
		}
		return status
	case asynchronous != 0:
		return nt.STATUS_PENDING
	}
	c.T.Park(ended.Load)
	return Load[nt.IOStatusBlock](c, iosb).Status
}
