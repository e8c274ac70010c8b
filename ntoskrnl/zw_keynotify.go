package ntoskrnl

import (
	"sync"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// keyWatches are the notifications that are asked for with a key's object; they end with it.
type keyWatches struct {
	mu  sync.Mutex
	all map[*cm.Watch]func(nt.Status)
}

func (w *keyWatches) add(watch *cm.Watch, done func(nt.Status)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = make(map[*cm.Watch]func(nt.Status))
	}
	w.all[watch] = done
}

// end ends all of them, with STATUS_NOTIFY_CLEANUP.
func (w *keyWatches) end(key *cm.Key) {
	w.mu.Lock()
	all := w.all
	w.all = nil
	w.mu.Unlock()
	for watch, done := range all {
		if key.Unwatch(watch) {
			done(nt.STATUS_NOTIFY_CLEANUP)
		}
	}
}

// zwNotifyChangeKey waits for a change of a key, or with an event has one signalled.
//
//	NTSTATUS ZwNotifyChangeKey(HANDLE KeyHandle, HANDLE Event, PIO_APC_ROUTINE ApcRoutine,
//	    PVOID ApcContext, PIO_STATUS_BLOCK IoStatusBlock, ULONG CompletionFilter,
//	    BOOLEAN WatchTree, PVOID Buffer, ULONG BufferSize, BOOLEAN Asynchronous)
//
// STATUS_PENDING when it is asynchronous, STATUS_NOTIFY_ENUM_DIR in the IO_STATUS_BLOCK for a change,
// STATUS_NOTIFY_CLEANUP when the key's handle is closed first. STATUS_INVALID_HANDLE,
// STATUS_INVALID_PARAMETER for a filter that is none, STATUS_NOT_SUPPORTED for an APC routine.
// "ZwNotifyChangeKey function (ntifs.h)".
func zwNotifyChangeKey(c *Call, h, event nt.Handle, routine, _, iosb guest.Addr, filter uint32,
	tree nt.Boolean, _ guest.Addr, _ uint32, asynchronous nt.Boolean) nt.Status {
	if routine != 0 {
		return nt.STATUS_NOT_SUPPORTED
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
	ended := make(chan struct{})
	done := func(status nt.Status) {
		// The driver may have freed what it gave: then there is nobody to tell.
		_ = guest.Ptr[nt.IOStatusBlock](iosb).Store(nt.IOStatusBlock{Status: status})
		if signal != nil {
			_, _ = c.Ke.SetEvent(signal.Addr)
			_, _ = c.Ob.Dereference(signal.Addr)
		}
		close(ended)
		c.T.Unpark()
	}
	status := c.withKey(h, nt.KEY_NOTIFY, func(o *ob.Object, k *cm.Key) nt.Status {
		w, status := k.Watch(filter, tree != 0, func() { done(nt.STATUS_NOTIFY_ENUM_DIR) })
		if status == nt.STATUS_SUCCESS {
			o.Body.(*keyObject).watches.add(w, done)
		}
		return status
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
	c.T.Park(func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	return Load[nt.IOStatusBlock](c, iosb).Status
}
