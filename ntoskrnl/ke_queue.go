package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Queues that threads wait for entries of.
var keQueueExports = []Export{
	{Name: "KeInitializeQueue", Fn: do2(keInitializeQueue), Params: "Queue Count:d", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeReadStateQueue", Fn: fn1(keReadStateQueue), Params: "Queue", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeInsertQueue", Fn: fn2(keInsertQueue), Params: "Queue Entry", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeInsertHeadQueue", Fn: fn2(keInsertHeadQueue), Params: "Queue Entry", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeRemoveQueue", Fn: fn3(keRemoveQueue), Params: "Queue WaitMode:d Timeout",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeRemoveQueueEx", Fn: fn6(keRemoveQueueEx),
		Params: "Queue WaitMode:d Alertable:b Timeout EntryArray Count:d", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeRundownQueue", Fn: fn1(keRundownQueue), Params: "Queue", MaxIRQL: dispatch,
		Support: Full},
}

// keInitializeQueue makes a queue, for so many active threads: those that have asked it for an
// entry and do not wait for anything. While there are so many nobody gets another entry.
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

// keRemoveQueue waits for an entry and takes it. At DISPATCH_LEVEL only with a timeout of 0. The
// thread becomes one of the queue's, until it asks another queue or ends.
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

// keRemoveQueueEx waits for an entry, and takes it and those behind it, up to a number of them.
//
//	ULONG KeRemoveQueueEx(PKQUEUE Queue, KPROCESSOR_MODE WaitMode, BOOLEAN Alertable,
//	    PLARGE_INTEGER Timeout, PLIST_ENTRY *EntryArray, ULONG Count)
//
// How many there are in the array. A wait that ends without an entry is 1, and its status is in the
// entry's place: STATUS_ALERTED, and as of KeRemoveQueue. The function is not documented.
func keRemoveQueueEx(c *Call, queue guest.Addr, mode nt.ProcessorMode, alertable nt.Boolean,
	timeout, array guest.Addr, count uint32) uint32 {
	if count == 0 {
		return 0
	}
	o := waitOptions(c.timeout(timeout), mode, alertable)
	var entries [64]guest.Addr
	first, status, err := c.T.RemoveQueue(queue, o)
	c.Must(err)
	if status != nt.STATUS_SUCCESS {
		first, count = guest.Addr(status), 1
	}
	Store(c, array, first)
	done := uint32(1)
	for done < count {
		n, err := c.T.MoreFromQueue(queue, entries[:min(int(count-done), len(entries))])
		for i := range n {
			Store(c, array+guest.Addr(8*done), entries[i])
			done++
		}
		c.Must(err)
		if n == 0 {
			break
		}
	}
	return done
}

// keRundownQueue ends the waits for a queue with STATUS_ABANDONED, and lets its threads go.
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
