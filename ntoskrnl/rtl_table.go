package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Generic tables: RTL_AVL_TABLE, and RTL_GENERIC_TABLE, which is a splay tree. The driver's three
// routines compare, allocate and free elements. The caller holds whatever lock the table needs, so
// the IRQL is up to its routines and memory.
var rtlTableExports = []Export{
	// VOID RtlInitializeGenericTableAvl(PRTL_AVL_TABLE Table, PRTL_AVL_COMPARE_ROUTINE
	// CompareRoutine, PRTL_AVL_ALLOCATE_ROUTINE AllocateRoutine, PRTL_AVL_FREE_ROUTINE FreeRoutine,
	// PVOID TableContext). "RtlInitializeGenericTableAvl function (ntddk.h)".
	{Name: "RtlInitializeGenericTableAvl", Fn: do5(rtlInitializeGenericTableAvl),
		Params: "Table CompareRoutine AllocateRoutine FreeRoutine TableContext", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "RtlInsertElementGenericTableAvl", Fn: insertElement((*Call).avlTable),
		Params: "Table Buffer BufferSize:d NewElement", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlInsertElementGenericTableFullAvl", Fn: insertElementAt((*Call).avlTable),
		Params:  "Table Buffer BufferSize:d NewElement NodeOrParent SearchResult:d",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlDeleteElementGenericTableAvl", Fn: deleteElement((*Call).avlTable),
		Params: "Table Buffer", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlDeleteElementGenericTableAvlEx", Fn: do2(rtlDeleteElementGenericTableAvlEx),
		Params: "Table NodeOrParent", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlLookupElementGenericTableAvl", Fn: lookupElement((*Call).avlTable),
		Params: "Table Buffer", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlLookupElementGenericTableFullAvl", Fn: lookupElementFull((*Call).avlTable),
		Params: "Table Buffer NodeOrParent SearchResult", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlLookupFirstMatchingElementGenericTableAvl",
		Fn: fn3(rtlLookupFirstMatchingElementGenericTableAvl), Params: "Table Buffer RestartKey",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlEnumerateGenericTableAvl", Fn: enumerate((*Call).avlTable),
		Params: "Table Restart:b", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlEnumerateGenericTableWithoutSplayingAvl",
		Fn: enumerateWithoutSplaying((*Call).avlTable), Params: "Table RestartKey",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlGetElementGenericTableAvl", Fn: getElement((*Call).avlTable), Params: "Table I:d",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlNumberGenericTableElementsAvl", Fn: numberElements((*Call).avlTable),
		Params: "Table", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlIsGenericTableEmptyAvl", Fn: tableEmpty((*Call).avlTable), Params: "Table",
		MaxIRQL: anyIRQL, Support: Full},

	// VOID RtlInitializeGenericTable(PRTL_GENERIC_TABLE Table, PRTL_GENERIC_COMPARE_ROUTINE
	// CompareRoutine, PRTL_GENERIC_ALLOCATE_ROUTINE AllocateRoutine, PRTL_GENERIC_FREE_ROUTINE
	// FreeRoutine, PVOID TableContext). "RtlInitializeGenericTable function (ntddk.h)".
	{Name: "RtlInitializeGenericTable", Fn: do5(rtlInitializeGenericTable),
		Params: "Table CompareRoutine AllocateRoutine FreeRoutine TableContext", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "RtlInsertElementGenericTable", Fn: insertElement((*Call).genericTable),
		Params: "Table Buffer BufferSize:d NewElement", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlInsertElementGenericTableFull", Fn: insertElementAt((*Call).genericTable),
		Params:  "Table Buffer BufferSize:d NewElement NodeOrParent SearchResult:d",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlDeleteElementGenericTable", Fn: deleteElement((*Call).genericTable),
		Params: "Table Buffer", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlLookupElementGenericTable", Fn: lookupElement((*Call).genericTable),
		Params: "Table Buffer", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlLookupElementGenericTableFull", Fn: lookupElementFull((*Call).genericTable),
		Params: "Table Buffer NodeOrParent SearchResult", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlEnumerateGenericTable", Fn: enumerate((*Call).genericTable),
		Params: "Table Restart:b", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlEnumerateGenericTableWithoutSplaying",
		Fn: enumerateWithoutSplaying((*Call).genericTable), Params: "Table RestartKey",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlGetElementGenericTable", Fn: getElement((*Call).genericTable), Params: "Table I:d",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlNumberGenericTableElements", Fn: numberElements((*Call).genericTable),
		Params: "Table", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlIsGenericTableEmpty", Fn: tableEmpty((*Call).genericTable), Params: "Table",
		MaxIRQL: anyIRQL, Support: Full},

	// PRTL_SPLAY_LINKS RtlSplay(PRTL_SPLAY_LINKS Links): Links becomes the root.
	// "RtlSplay function (ntddk.h)".
	{Name: "RtlSplay", Fn: try1(rtl.Splay), Params: "Links", MaxIRQL: anyIRQL, Support: Full},
	// PRTL_SPLAY_LINKS RtlDelete(PRTL_SPLAY_LINKS Links): the new root, NULL of an empty tree.
	// "RtlDelete function (ntddk.h)".
	{Name: "RtlDelete", Fn: try1(rtl.SplayDelete), Params: "Links", MaxIRQL: anyIRQL,
		Support: Full},
	// VOID RtlDeleteNoSplay(PRTL_SPLAY_LINKS Links, PRTL_SPLAY_LINKS *Root).
	// "RtlDeleteNoSplay function (ntddk.h)".
	{Name: "RtlDeleteNoSplay", Fn: run2(rtl.SplayDeleteNoSplay), Params: "Links Root",
		MaxIRQL: anyIRQL, Support: Full},
	// PRTL_SPLAY_LINKS RtlRealSuccessor(PRTL_SPLAY_LINKS Links): the next node, or NULL.
	// "RtlRealSuccessor function (ntddk.h)".
	{Name: "RtlRealSuccessor", Fn: try1(rtl.RealSuccessor), Params: "Links", MaxIRQL: anyIRQL,
		Support: Full},
	// PRTL_SPLAY_LINKS RtlRealPredecessor(PRTL_SPLAY_LINKS Links).
	// "RtlRealPredecessor function (ntddk.h)".
	{Name: "RtlRealPredecessor", Fn: try1(rtl.RealPredecessor), Params: "Links", MaxIRQL: anyIRQL,
		Support: Full},
	// PRTL_SPLAY_LINKS RtlSubtreeSuccessor(PRTL_SPLAY_LINKS Links): the next node below Links.
	// "RtlSubtreeSuccessor function (ntddk.h)".
	{Name: "RtlSubtreeSuccessor", Fn: try1(rtl.SubtreeSuccessor), Params: "Links", MaxIRQL: anyIRQL,
		Support: Full},
	// PRTL_SPLAY_LINKS RtlSubtreePredecessor(PRTL_SPLAY_LINKS Links).
	// "RtlSubtreePredecessor function (ntddk.h)".
	{Name: "RtlSubtreePredecessor", Fn: try1(rtl.SubtreePredecessor), Params: "Links",
		MaxIRQL: anyIRQL, Support: Full},
}

// table is what the two kinds have in common.
type table interface {
	Count() (uint32, error)
	Lookup(buffer guest.Addr) (data, node guest.Addr, result uint32, err error)
	Insert(buffer guest.Addr, size uint32) (data guest.Addr, added bool, err error)
	InsertAt(buffer guest.Addr, size uint32, node guest.Addr, result uint32) (data guest.Addr,
		added bool, err error)
	Delete(buffer guest.Addr) (bool, error)
	Enumerate(restart bool) (guest.Addr, error)
	EnumerateWithoutSplaying(key guest.Addr) (guest.Addr, error)
	Element(i uint32) (guest.Addr, error)
}

// avlTable gives the AVL table at a.
func (c *Call) avlTable(a guest.Addr) table {
	compare, allocate, free, _, err := rtl.AVLRoutines(a)
	c.Must(err)
	return &rtl.AVLTable{Addr: a, Routines: c.tableRoutines(compare, allocate, free)}
}

// genericTable gives the splay table at a.
func (c *Call) genericTable(a guest.Addr) table {
	compare, allocate, free, _, err := rtl.GenericRoutines(a)
	c.Must(err)
	return &rtl.GenericTable{Addr: a, Routines: c.tableRoutines(compare, allocate, free)}
}

// tableRoutines calls the driver's routines.
func (c *Call) tableRoutines(compare, allocate, free guest.Addr) rtl.TableRoutines {
	return rtl.TableRoutines{
		Compare: func(table, first, second guest.Addr) (uint32, error) {
			return uint32(c.T.Call(compare, uint64(table), uint64(first), uint64(second))), nil
		},
		Allocate: func(table guest.Addr, size uint32) (guest.Addr, error) {
			return guest.Addr(c.T.Call(allocate, uint64(table), uint64(size))), nil
		},
		Free: func(table, buffer guest.Addr) error {
			c.T.Call(free, uint64(table), uint64(buffer))
			return nil
		},
	}
}

func rtlInitializeGenericTableAvl(c *Call, a, compare, allocate, free, context guest.Addr) {
	c.Must(rtl.InitializeAVLTable(a, compare, allocate, free, context))
}

func rtlInitializeGenericTable(c *Call, a, compare, allocate, free, context guest.Addr) {
	c.Must(rtl.InitializeGenericTable(a, compare, allocate, free, context))
}

// insertElement makes the export that adds a copy of an element.
//
//	PVOID RtlInsertElementGenericTable(PRTL_GENERIC_TABLE Table, PVOID Buffer, CLONG BufferSize,
//	    PBOOLEAN NewElement)
//
// The element, or the one that is there already (*NewElement is FALSE then), or NULL if the driver's
// routine gave no memory. "RtlInsertElementGenericTable function (ntddk.h)",
// "RtlInsertElementGenericTableAvl function (ntddk.h)".
func insertElement(of func(*Call, guest.Addr) table) Func {
	return fn4(func(c *Call, t, buffer guest.Addr, size uint32, added guest.Addr) guest.Addr {
		data, isNew, err := of(c, t).Insert(buffer, size)
		c.Must(err)
		StoreOpt(c, added, boolean(isNew))
		return data
	})
}

// insertElementAt makes the export that adds an element where a search ended.
//
//	PVOID RtlInsertElementGenericTableFull(PRTL_GENERIC_TABLE Table, PVOID Buffer,
//	    CLONG BufferSize, PBOOLEAN NewElement, PVOID NodeOrParent, TABLE_SEARCH_RESULT SearchResult)
//
// "RtlInsertElementGenericTableFullAvl function (ntddk.h)".
func insertElementAt(of func(*Call, guest.Addr) table) Func {
	return fn6(func(c *Call, t, buffer guest.Addr, size uint32, added, node guest.Addr,
		result uint32) guest.Addr {
		data, isNew, err := of(c, t).InsertAt(buffer, size, node, result)
		c.Must(err)
		StoreOpt(c, added, boolean(isNew))
		return data
	})
}

// deleteElement makes the export that takes an element out; the driver's routine frees it.
//
//	BOOLEAN RtlDeleteElementGenericTable(PRTL_GENERIC_TABLE Table, PVOID Buffer)
//
// FALSE if it is not there. "RtlDeleteElementGenericTable function (ntddk.h)",
// "RtlDeleteElementGenericTableAvl function (ntddk.h)".
func deleteElement(of func(*Call, guest.Addr) table) Func {
	return fn2(func(c *Call, t, buffer guest.Addr) nt.Boolean {
		ok, err := of(c, t).Delete(buffer)
		return boolean(must(c, ok, err))
	})
}

// rtlDeleteElementGenericTableAvlEx takes out the element that a search gave the node of.
//
//	VOID RtlDeleteElementGenericTableAvlEx(PRTL_AVL_TABLE Table, PVOID NodeOrParent)
//
// "RtlDeleteElementGenericTableAvlEx function (ntddk.h)".
func rtlDeleteElementGenericTableAvlEx(c *Call, t, node guest.Addr) {
	_, err := c.avlTable(t).(*rtl.AVLTable).DeleteNode(node)
	c.Must(err)
}

// lookupElement makes the export that looks for an element.
//
//	PVOID RtlLookupElementGenericTable(PRTL_GENERIC_TABLE Table, PVOID Buffer)
//
// NULL if it is not there. "RtlLookupElementGenericTable function (ntddk.h)",
// "RtlLookupElementGenericTableAvl function (ntddk.h)".
func lookupElement(of func(*Call, guest.Addr) table) Func {
	return fn2(func(c *Call, t, buffer guest.Addr) guest.Addr {
		data, _, _, err := of(c, t).Lookup(buffer)
		return must(c, data, err)
	})
}

// lookupElementFull makes the export that also says where the search ended.
//
//	PVOID RtlLookupElementGenericTableFull(PRTL_GENERIC_TABLE Table, PVOID Buffer,
//	    PVOID *NodeOrParent, TABLE_SEARCH_RESULT *SearchResult)
//
// "RtlLookupElementGenericTableFullAvl function (ntddk.h)".
func lookupElementFull(of func(*Call, guest.Addr) table) Func {
	return fn4(func(c *Call, t, buffer, nodeAt, resultAt guest.Addr) guest.Addr {
		data, node, result, err := of(c, t).Lookup(buffer)
		c.Must(err)
		Store(c, nodeAt, node)
		Store(c, resultAt, result)
		return data
	})
}

// rtlLookupFirstMatchingElementGenericTableAvl looks for the first of the elements that compare
// equal to a buffer. *RestartKey gets the place for RtlEnumerateGenericTableWithoutSplayingAvl.
//
//	PVOID RtlLookupFirstMatchingElementGenericTableAvl(PRTL_AVL_TABLE Table, PVOID Buffer,
//	    PVOID *RestartKey)
//
// "RtlLookupFirstMatchingElementGenericTableAvl function (ntddk.h)".
func rtlLookupFirstMatchingElementGenericTableAvl(c *Call, t, buffer, key guest.Addr) guest.Addr {
	data, node, err := c.avlTable(t).(*rtl.AVLTable).FirstMatching(buffer)
	c.Must(err)
	Store(c, key, node)
	return data
}

// enumerate makes the export that gives the elements in order.
//
//	PVOID RtlEnumerateGenericTable(PRTL_GENERIC_TABLE Table, BOOLEAN Restart)
//
// NULL at the end. "RtlEnumerateGenericTable function (ntddk.h)",
// "RtlEnumerateGenericTableAvl function (ntddk.h)".
func enumerate(of func(*Call, guest.Addr) table) Func {
	return fn2(func(c *Call, t guest.Addr, restart nt.Boolean) guest.Addr {
		data, err := of(c, t).Enumerate(restart != 0)
		return must(c, data, err)
	})
}

// enumerateWithoutSplaying makes the export that keeps its place in the caller's variable.
//
//	PVOID RtlEnumerateGenericTableWithoutSplaying(PRTL_GENERIC_TABLE Table, PVOID *RestartKey)
//
// "RtlEnumerateGenericTableWithoutSplaying function (ntddk.h)",
// "RtlEnumerateGenericTableWithoutSplayingAvl function (ntddk.h)".
func enumerateWithoutSplaying(of func(*Call, guest.Addr) table) Func {
	return fn2(func(c *Call, t, key guest.Addr) guest.Addr {
		data, err := of(c, t).EnumerateWithoutSplaying(key)
		return must(c, data, err)
	})
}

// getElement makes the export that gives an element by number: in an AVL table in order, else in the
// order of insertion.
//
//	PVOID RtlGetElementGenericTable(PRTL_GENERIC_TABLE Table, ULONG I)
//
// NULL beyond the last. "RtlGetElementGenericTable function (ntddk.h)",
// "RtlGetElementGenericTableAvl function (ntddk.h)".
func getElement(of func(*Call, guest.Addr) table) Func {
	return fn2(func(c *Call, t guest.Addr, i uint32) guest.Addr {
		data, err := of(c, t).Element(i)
		return must(c, data, err)
	})
}

// numberElements makes the export that counts the elements.
//
//	ULONG RtlNumberGenericTableElements(PRTL_GENERIC_TABLE Table)
//
// "RtlNumberGenericTableElements function (ntddk.h)".
func numberElements(of func(*Call, guest.Addr) table) Func {
	return fn1(func(c *Call, t guest.Addr) uint32 {
		n, err := of(c, t).Count()
		return must(c, n, err)
	})
}

// tableEmpty makes the export that says whether there is no element.
//
//	BOOLEAN RtlIsGenericTableEmpty(PRTL_GENERIC_TABLE Table)
//
// "RtlIsGenericTableEmpty function (ntddk.h)".
func tableEmpty(of func(*Call, guest.Addr) table) Func {
	return fn1(func(c *Call, t guest.Addr) nt.Boolean {
		n, err := of(c, t).Count()
		return boolean(must(c, n, err) == 0)
	})
}
