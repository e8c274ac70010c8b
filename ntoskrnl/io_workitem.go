package ntoskrnl

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Work items of a device or driver object, which is kept while the item is queued or runs.
var ioWorkItemExports = []Export{
	{Name: "IoAllocateWorkItem", Fn: fn1(ioAllocateWorkItem), Params: "DeviceObject",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoFreeWorkItem", Fn: do1(ioFreeWorkItem), Params: "IoWorkItem", MaxIRQL: dispatch,
		Support: Full},
	{Name: "IoSizeofWorkItem", Fn: fn0(ioSizeofWorkItem), MaxIRQL: anyIRQL, Support: Full},
	{Name: "IoInitializeWorkItem", Fn: do2(ioInitializeWorkItem), Params: "IoObject IoWorkItem",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoUninitializeWorkItem", Fn: do1(ioUninitializeWorkItem), Params: "IoWorkItem",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoQueueWorkItem", Fn: do4(ioQueueWorkItem),
		Params:  "IoWorkItem WorkerRoutine QueueType:d Context",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoQueueWorkItemEx", Fn: do4(ioQueueWorkItemEx),
		Params:  "IoWorkItem WorkerRoutine QueueType:d Context",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoTryQueueWorkItem", Fn: fn4(ioTryQueueWorkItem),
		Params:  "IoWorkItem WorkerRoutine QueueType:d Context",
		MaxIRQL: dispatch, Support: Full},
}

// ioWorkItem is IO_WORKITEM, which is opaque to drivers. WorkItem.List.Flink is not 0 while it is
// queued.
type ioWorkItem struct {
	WorkItem             nt.WorkQueueItem
	Routine              guest.Addr
	IoObject             guest.Addr
	Context              guest.Addr
	WorkOnBehalfOfThread guest.Addr
	Type                 uint32 // 1: by IoQueueWorkItemEx
	ActivityID           nt.GUID
}

// ioAllocateWorkItem makes a work item of a device or driver object.
//
//	PIO_WORKITEM IoAllocateWorkItem(PDEVICE_OBJECT DeviceObject)
//
// NULL without memory. "IoAllocateWorkItem function (wdm.h)".
func ioAllocateWorkItem(c *Call, object guest.Addr) guest.Addr {
	a, err := c.allocObject(sizeofIOWorkItem)
	if err != nil {
		return 0
	}
	ioInitializeWorkItem(c, object, a)
	return a
}

// ioFreeWorkItem gives it back.
//
//	VOID IoFreeWorkItem(PIO_WORKITEM IoWorkItem)
//
// IO_WORK_ITEM is not to be freed while it is queued: WORKER_INVALID. "IoFreeWorkItem function
// (wdm.h)".
func ioFreeWorkItem(c *Call, item guest.Addr) {
	ioUninitializeWorkItem(c, item)
	c.freeObject(item)
}

// ioSizeofWorkItem gives the size of a work item, for drivers that have memory for it.
//
//	ULONG IoSizeofWorkItem(VOID)
//
// "IoSizeofWorkItem function (wdm.h)".
func ioSizeofWorkItem(c *Call) uint32 { return uint32(sizeofIOWorkItem) }

// ioInitializeWorkItem makes a work item in memory of the driver's.
//
//	VOID IoInitializeWorkItem(PVOID IoObject, PIO_WORKITEM IoWorkItem)
//
// "IoInitializeWorkItem function (wdm.h)".
func ioInitializeWorkItem(c *Call, object, item guest.Addr) {
	if c.Dev.Device(object) == nil && c.Dev.Driver(object) == nil {
		c.notAnObject(object, "DEVICE_OBJECT or DRIVER_OBJECT")
	}
	Store(c, item, ioWorkItem{IoObject: object})
}

// ioUninitializeWorkItem ends the use of such a work item.
//
//	VOID IoUninitializeWorkItem(PIO_WORKITEM IoWorkItem)
//
// "IoUninitializeWorkItem function (wdm.h)".
func ioUninitializeWorkItem(c *Call, item guest.Addr) {
	if Load[ioWorkItem](c, item).WorkItem.List.Flink != 0 {
		c.Must(&ke.WorkItemError{Item: item, Fact: "is freed while it is queued"})
	}
}

// ioQueueWorkItem has a worker thread call a routine, with the object and the context.
//
//	VOID IoQueueWorkItem(PIO_WORKITEM IoWorkItem, PIO_WORKITEM_ROUTINE WorkerRoutine,
//	    WORK_QUEUE_TYPE QueueType, PVOID Context)
//
// WORKER_INVALID for an item that is queued already. "IoQueueWorkItem function (wdm.h)".
func ioQueueWorkItem(c *Call, item, routine guest.Addr, queue ke.WorkQueue, context guest.Addr) {
	c.queueIOWorkItem(item, routine, queue, context, 0)
}

// ioQueueWorkItemEx has a worker thread call a routine, with the object, the context and the item.
//
//	VOID IoQueueWorkItemEx(PIO_WORKITEM IoWorkItem, PIO_WORKITEM_ROUTINE_EX WorkerRoutine,
//	    WORK_QUEUE_TYPE QueueType, PVOID Context)
//
// "IoQueueWorkItemEx function (wdm.h)".
func ioQueueWorkItemEx(c *Call, item, routine guest.Addr, queue ke.WorkQueue, context guest.Addr) {
	c.queueIOWorkItem(item, routine, queue, context, 1)
}

// ioTryQueueWorkItem is IoQueueWorkItemEx for an item that may be queued already.
//
//	BOOLEAN IoTryQueueWorkItem(PIO_WORKITEM IoWorkItem, PIO_WORKITEM_ROUTINE_EX WorkerRoutine,
//	    WORK_QUEUE_TYPE QueueType, PVOID Context)
//
// FALSE if it is. "IoTryQueueWorkItem function (wdm.h)".
func ioTryQueueWorkItem(c *Call, item, routine guest.Addr, queue ke.WorkQueue,
	context guest.Addr) nt.Boolean {
	return boolean(c.tryQueueIOWorkItem(item, routine, queue, context, 1))
}

func (c *Call) queueIOWorkItem(item, routine guest.Addr, queue ke.WorkQueue, context guest.Addr,
	typ uint32) {
	if !c.tryQueueIOWorkItem(item, routine, queue, context, typ) {
		c.Must(&ke.WorkItemError{Item: item, Fact: "is queued already"})
	}
}

func (c *Call) tryQueueIOWorkItem(item, routine guest.Addr, queue ke.WorkQueue, context guest.Addr,
	typ uint32) bool {
	if !queue.Valid() {
		c.Raise(nt.STATUS_INVALID_PARAMETER)
	}
	ours, err := guest.CompareAndSwap64(item, 0, uint64(item))
	c.Must(err)
	if !ours {
		return false
	}
	w := Load[ioWorkItem](c, item)
	w.Routine, w.Context, w.Type = routine, context, typ
	Store(c, item, w)
	// The reference keeps the object while the item is queued or runs.
	if !c.Ob.Reference(w.IoObject) {
		c.Must(&ke.WorkItemError{Item: item, Fact: "belongs to a device that is gone"})
	}
	k := c.Kernel
	c.Ke.QueueWork(queue, func(t *ke.Thread) { k.runIOWorkItem(t, item, w.IoObject) })
	return true
}

// runIOWorkItem calls the routine of a work item, on a worker thread. From then on the driver may
// queue the item again, or free it.
func (k *Kernel) runIOWorkItem(t *ke.Thread, item, object guest.Addr) {
	w, err := guest.Ptr[ioWorkItem](item).Load()
	if err == nil {
		err = guest.StoreAddr(item, 0)
	}
	if err != nil || w.IoObject != object {
		t.Crash(&ke.Bugcheck{Code: nt.WORKER_INVALID, Params: [4]uint64{0, uint64(item), 0, 0},
			Reason: fmt.Sprintf("the work item at %v was freed while it was queued", item)})
	}
	if w.Type == 0 {
		t.Call(w.Routine, uint64(object), uint64(w.Context))
	} else {
		t.Call(w.Routine, uint64(object), uint64(w.Context), uint64(item))
	}
	t.CheckWorker(w.Routine, w.Context, item)
	// The reference was taken when the item was queued, so it is there to be given back.
	_, _ = k.Ob.Dereference(object)
}
