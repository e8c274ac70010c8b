package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Device queues.
var keDeviceQueueExports = []Export{
	{Name: "KeInitializeDeviceQueue", Fn: do1(keInitializeDeviceQueue), Params: "DeviceQueue",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeInsertDeviceQueue", Fn: fn2(keInsertDeviceQueue),
		Params: "DeviceQueue DeviceQueueEntry", MaxIRQL: dispatch, Support: Full},
	{Name: "KeInsertByKeyDeviceQueue", Fn: fn3(keInsertByKeyDeviceQueue),
		Params: "DeviceQueue DeviceQueueEntry SortKey:d", MaxIRQL: dispatch, Support: Full},
	{Name: "KeRemoveDeviceQueue", Fn: fn1(keRemoveDeviceQueue), Params: "DeviceQueue",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeRemoveByKeyDeviceQueue", Fn: fn2(keRemoveByKeyDeviceQueue),
		Params: "DeviceQueue SortKey:d", MaxIRQL: dispatch, Support: Full},
	{Name: "KeRemoveEntryDeviceQueue", Fn: fn2(keRemoveEntryDeviceQueue),
		Params: "DeviceQueue DeviceQueueEntry", MaxIRQL: dispatch, Support: Full},
}

// keInitializeDeviceQueue makes a device queue that is empty and not busy.
//
//	VOID KeInitializeDeviceQueue(PKDEVICE_QUEUE DeviceQueue)
//
// "KeInitializeDeviceQueue function (wdm.h)".
func keInitializeDeviceQueue(c *Call, queue guest.Addr) { c.Must(ke.InitializeDeviceQueue(queue)) }

// keInsertDeviceQueue queues an entry for a device that is busy, and makes busy one that is not.
// The caller is at DISPATCH_LEVEL.
//
//	BOOLEAN KeInsertDeviceQueue(PKDEVICE_QUEUE DeviceQueue, PKDEVICE_QUEUE_ENTRY DeviceQueueEntry)
//
// FALSE if it was not busy: the entry is not queued. "KeInsertDeviceQueue function (wdm.h)".
func keInsertDeviceQueue(c *Call, queue, entry guest.Addr) nt.Boolean {
	c.atDispatch()
	ok, err := c.T.InsertDeviceQueue(queue, entry, 0, false)
	c.Must(err)
	return boolean(ok)
}

// keInsertByKeyDeviceQueue does the same in the order of keys.
//
//	BOOLEAN KeInsertByKeyDeviceQueue(PKDEVICE_QUEUE DeviceQueue,
//	    PKDEVICE_QUEUE_ENTRY DeviceQueueEntry, ULONG SortKey)
//
// "KeInsertByKeyDeviceQueue function (wdm.h)".
func keInsertByKeyDeviceQueue(c *Call, queue, entry guest.Addr, key uint32) nt.Boolean {
	c.atDispatch()
	ok, err := c.T.InsertDeviceQueue(queue, entry, key, true)
	c.Must(err)
	return boolean(ok)
}

// keRemoveDeviceQueue takes the first entry out of the queue; if there is none, the device is not
// busy any more.
//
//	PKDEVICE_QUEUE_ENTRY KeRemoveDeviceQueue(PKDEVICE_QUEUE DeviceQueue)
//
// NULL if there is none. "KeRemoveDeviceQueue function (wdm.h)".
func keRemoveDeviceQueue(c *Call, queue guest.Addr) guest.Addr {
	c.atDispatch()
	entry, err := c.T.RemoveDeviceQueue(queue, 0, false)
	c.Must(err)
	return entry
}

// keRemoveByKeyDeviceQueue takes the first entry whose key is not less out of the queue, or else
// the first of all.
//
//	PKDEVICE_QUEUE_ENTRY KeRemoveByKeyDeviceQueue(PKDEVICE_QUEUE DeviceQueue, ULONG SortKey)
//
// NULL if there is none. "KeRemoveByKeyDeviceQueue function (wdm.h)".
func keRemoveByKeyDeviceQueue(c *Call, queue guest.Addr, key uint32) guest.Addr {
	c.atDispatch()
	entry, err := c.T.RemoveDeviceQueue(queue, key, true)
	c.Must(err)
	return entry
}

// keRemoveEntryDeviceQueue takes an entry out of the queue.
//
//	BOOLEAN KeRemoveEntryDeviceQueue(PKDEVICE_QUEUE DeviceQueue,
//	    PKDEVICE_QUEUE_ENTRY DeviceQueueEntry)
//
// FALSE if it is not queued. "KeRemoveEntryDeviceQueue function (wdm.h)".
func keRemoveEntryDeviceQueue(c *Call, queue, entry guest.Addr) nt.Boolean {
	was, err := c.T.RemoveEntryDeviceQueue(queue, entry)
	c.Must(err)
	return boolean(was)
}
