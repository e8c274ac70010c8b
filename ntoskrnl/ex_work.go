package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Work items of the executive.
var exWorkExports = []Export{
	{Name: "ExQueueWorkItem", Fn: do2(exQueueWorkItem), Params: "WorkItem QueueType:d",
		MaxIRQL: dispatch, Support: Full},
}

// exQueueWorkItem has a worker thread call the item's routine.
//
//	VOID ExQueueWorkItem(PWORK_QUEUE_ITEM WorkItem, WORK_QUEUE_TYPE QueueType)
//
// WORKER_INVALID for an item that is queued already or has no routine. "ExQueueWorkItem function
// (wdm.h)".
func exQueueWorkItem(c *Call, item guest.Addr, queue ke.WorkQueue) {
	if !queue.Valid() {
		c.Raise(nt.STATUS_INVALID_PARAMETER)
	}
	c.Must(c.Ke.QueueWorkItem(item, queue))
}
