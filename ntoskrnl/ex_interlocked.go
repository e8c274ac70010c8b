package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Interlocked lists and S-lists.
var exInterlockedExports = []Export{
	{Name: "ExInterlockedInsertHeadList", Fn: fn3(exInterlockedInsertHeadList),
		Params: "ListHead ListEntry Lock", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExInterlockedInsertTailList", Fn: fn3(exInterlockedInsertTailList),
		Params: "ListHead ListEntry Lock", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExInterlockedRemoveHeadList", Fn: fn2(exInterlockedRemoveHeadList),
		Params: "ListHead Lock", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExInterlockedPushEntryList", Fn: fn3(exInterlockedPushEntryList),
		Params: "ListHead ListEntry Lock", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExInterlockedPopEntryList", Fn: fn2(exInterlockedPopEntryList),
		Params: "ListHead Lock", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExInterlockedAddLargeInteger", Fn: fn3(exInterlockedAddLargeInteger),
		Params: "Addend Increment:d Lock", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExInterlockedAddUlong", Fn: fn3(exInterlockedAddUlong),
		Params: "Addend Increment:d Lock", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExpInterlockedPushEntrySList", Fn: fn2(exInterlockedPushEntrySList),
		Params: "ListHead ListEntry", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExpInterlockedPopEntrySList", Fn: fn1(exInterlockedPopEntrySList),
		Params: "ListHead", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExpInterlockedFlushSList", Fn: fn1(exInterlockedFlushSList), Params: "ListHead",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExQueryDepthSList", Fn: fn1(exQueryDepthSList), Params: "SListHead", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "InitializeSListHead", Fn: do1(initializeSListHead), Params: "SListHead",
		MaxIRQL: anyIRQL, Support: Full},
}

// exInterlockedInsertHeadList puts an entry in front of a doubly linked list.
//
//	PLIST_ENTRY ExInterlockedInsertHeadList(PLIST_ENTRY ListHead, PLIST_ENTRY ListEntry,
//	    PKSPIN_LOCK Lock)
//
// What was first, or NULL. "ExInterlockedInsertHeadList function (wdm.h)".
func exInterlockedInsertHeadList(c *Call, head, entry, lock guest.Addr) guest.Addr {
	before, err := c.T.InsertList(head, entry, lock, true)
	c.Must(err)
	return before
}

// exInterlockedInsertTailList puts an entry at the end of a doubly linked list.
//
//	PLIST_ENTRY ExInterlockedInsertTailList(PLIST_ENTRY ListHead, PLIST_ENTRY ListEntry,
//	    PKSPIN_LOCK Lock)
//
// What was last, or NULL. "ExInterlockedInsertTailList function (wdm.h)".
func exInterlockedInsertTailList(c *Call, head, entry, lock guest.Addr) guest.Addr {
	before, err := c.T.InsertList(head, entry, lock, false)
	c.Must(err)
	return before
}

// exInterlockedRemoveHeadList takes the first entry out of a doubly linked list.
//
//	PLIST_ENTRY ExInterlockedRemoveHeadList(PLIST_ENTRY ListHead, PKSPIN_LOCK Lock)
//
// NULL if it is empty. "ExInterlockedRemoveHeadList function (wdm.h)".
func exInterlockedRemoveHeadList(c *Call, head, lock guest.Addr) guest.Addr {
	entry, err := c.T.RemoveListHead(head, lock)
	c.Must(err)
	return entry
}

// exInterlockedPushEntryList puts an entry in front of a singly linked list.
//
//	PSINGLE_LIST_ENTRY ExInterlockedPushEntryList(PSINGLE_LIST_ENTRY ListHead,
//	    PSINGLE_LIST_ENTRY ListEntry, PKSPIN_LOCK Lock)
//
// What was first, or NULL. "ExInterlockedPushEntryList function (wdm.h)".
func exInterlockedPushEntryList(c *Call, head, entry, lock guest.Addr) guest.Addr {
	before, err := c.T.PushEntryList(head, entry, lock)
	c.Must(err)
	return before
}

// exInterlockedPopEntryList takes the first entry out of a singly linked list.
//
//	PSINGLE_LIST_ENTRY ExInterlockedPopEntryList(PSINGLE_LIST_ENTRY ListHead, PKSPIN_LOCK Lock)
//
// NULL if it is empty. "ExInterlockedPopEntryList function (wdm.h)".
func exInterlockedPopEntryList(c *Call, head, lock guest.Addr) guest.Addr {
	entry, err := c.T.PopEntryList(head, lock)
	c.Must(err)
	return entry
}

// exInterlockedAddLargeInteger adds to a 64-bit number.
//
//	LARGE_INTEGER ExInterlockedAddLargeInteger(PLARGE_INTEGER Addend, LARGE_INTEGER Increment,
//	    PKSPIN_LOCK Lock)
//
// What it was. "ExInterlockedAddLargeInteger function (wdm.h)".
func exInterlockedAddLargeInteger(c *Call, addend guest.Addr, increment uint64,
	lock guest.Addr) uint64 {
	before, err := c.T.AddLocked(addend, lock, increment, true)
	c.Must(err)
	return before
}

// exInterlockedAddUlong adds to a 32-bit number.
//
//	ULONG ExInterlockedAddUlong(PULONG Addend, ULONG Increment, PKSPIN_LOCK Lock)
//
// What it was. "ExInterlockedAddUlong function (wdm.h)".
func exInterlockedAddUlong(c *Call, addend guest.Addr, increment uint32, lock guest.Addr) uint64 {
	before, err := c.T.AddLocked(addend, lock, uint64(increment), false)
	c.Must(err)
	return before
}

// exInterlockedPushEntrySList puts an entry in front of an S-list.
//
//	PSLIST_ENTRY ExpInterlockedPushEntrySList(PSLIST_HEADER ListHead, PSLIST_ENTRY ListEntry)
//
// What was first, or NULL. "ExInterlockedPushEntrySList macro (wdm.h)".
func exInterlockedPushEntrySList(c *Call, list, entry guest.Addr) guest.Addr {
	before, err := c.Ke.PushSList(list, entry)
	c.Must(err)
	return before
}

// exInterlockedPopEntrySList takes the first entry out of an S-list.
//
//	PSLIST_ENTRY ExpInterlockedPopEntrySList(PSLIST_HEADER ListHead)
//
// NULL if it is empty. "ExInterlockedPopEntrySList macro (wdm.h)".
func exInterlockedPopEntrySList(c *Call, list guest.Addr) guest.Addr {
	entry, err := c.Ke.PopSList(list)
	c.Must(err)
	return entry
}

// exInterlockedFlushSList takes all entries out of an S-list.
//
//	PSLIST_ENTRY ExpInterlockedFlushSList(PSLIST_HEADER ListHead)
//
// The first, or NULL. "ExInterlockedFlushSList function (wdm.h)".
func exInterlockedFlushSList(c *Call, list guest.Addr) guest.Addr {
	entry, err := c.Ke.FlushSList(list)
	c.Must(err)
	return entry
}

// exQueryDepthSList gives the number of entries of an S-list, modulo 65536.
//
//	USHORT ExQueryDepthSList(PSLIST_HEADER SListHead)
//
// "ExQueryDepthSList function (wdm.h)".
func exQueryDepthSList(c *Call, list guest.Addr) uint16 {
	return Load[nt.SListHeader](c, list).Depth()
}

// initializeSListHead makes an S-list that is empty.
//
//	VOID InitializeSListHead(PSLIST_HEADER SListHead)
//
// "InitializeSListHead function (wdm.h)".
func initializeSListHead(c *Call, list guest.Addr) { Store(c, list, nt.SListHeader{}) }
