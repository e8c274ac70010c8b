package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Queues that threads wait for entries of.
var keQueueExports = []Export{
	{Name: "KeInitializeQueue", Fn: do2(keInitializeQueue), Params: "Queue Count:d", MaxIRQL: dispatch,
		Support: Partial, Note: noConcurrency},
	{Name: "KeReadStateQueue", Fn: fn1(keReadStateQueue), Params: "Queue", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeInsertQueue", Fn: fn2(keInsertQueue), Params: "Queue Entry", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeInsertHeadQueue", Fn: fn2(keInsertHeadQueue), Params: "Queue Entry", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeRemoveQueue", Fn: fn3(keRemoveQueue), Params: "Queue WaitMode:d Timeout",
		MaxIRQL: dispatch, Support: Partial, Note: noConcurrency},
	{Name: "KeRundownQueue", Fn: fn1(keRundownQueue), Params: "Queue", MaxIRQL: dispatch,
		Support: Full},
}

const noConcurrency = "any number of threads may have entries at the same time"

// keInitializeQueue makes a queue. How many threads are to be active is kept and has no effect.
//
//	VOID KeInitializeQueue(PRKQUEUE Queue, ULONG Count)
//
// Count is 0 for as many as there are processors. "KeInitializeQueue function (ntifs.h)".
func keInitializeQueue(c *Call, queue guest.Addr, count uint32) {
	if count == 0 {
		count = uint32(c.Ke.Config.Processors)
	}
	c.Must(ke.InitializeQueue(queue, count))
}

// keReadStateQueue gives the number of entries.
//
//	LONG KeReadStateQueue(PRKQUEUE Queue)
//
// The function is not documented.
func keReadStateQueue(c *Call, queue guest.Addr) int32 { return keReadState(c, queue) }

// keInsertQueue puts an entry at the end of a queue.
//
//	LONG KeInsertQueue(PRKQUEUE Queue, PLIST_ENTRY Entry)
//
// The number of entries from before. "KeInsertQueue function (ntifs.h)".
func keInsertQueue(c *Call, queue, entry guest.Addr) int32 {
	before, err := c.Ke.InsertQueue(queue, entry, false)
	c.Must(err)
	return before
}

// keInsertHeadQueue puts an entry at the front of a queue.
//
//	LONG KeInsertHeadQueue(PRKQUEUE Queue, PLIST_ENTRY Entry)
//
// The number of entries from before. "KeInsertHeadQueue function (ntifs.h)".
func keInsertHeadQueue(c *Call, queue, entry guest.Addr) int32 {
	before, err := c.Ke.InsertQueue(queue, entry, true)
	c.Must(err)
	return before
}

// keRemoveQueue waits for an entry and takes it. At DISPATCH_LEVEL only with a timeout of 0.
//
//	PLIST_ENTRY KeRemoveQueue(PRKQUEUE Queue, KPROCESSOR_MODE WaitMode, PLARGE_INTEGER Timeout)
//
// The entry, or as if it were one STATUS_TIMEOUT, STATUS_USER_APC, or STATUS_ABANDONED when the
// queue was run down. "KeRemoveQueue function (ntifs.h)".
func keRemoveQueue(c *Call, queue guest.Addr, mode nt.ProcessorMode,
	timeout guest.Addr) guest.Addr {
	entry, status, err := c.T.RemoveQueue(queue, waitOptions(c.timeout(timeout), mode, nt.FALSE))
	c.Must(err)
	if status != nt.STATUS_SUCCESS {
		return guest.Addr(status)
	}
	return entry
}

// keRundownQueue ends the waits for a queue with STATUS_ABANDONED.
//
//	PLIST_ENTRY KeRundownQueue(PRKQUEUE Queue)
//
// The first entry, to which the others are linked in a circle, or NULL. "KeRundownQueue function
// (ntifs.h)".
func keRundownQueue(c *Call, queue guest.Addr) guest.Addr {
	first, err := c.Ke.RundownQueue(queue)
	c.Must(err)
	return first
}
