package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// Lookaside lists. Drivers allocate and free by inline functions, which call the list's own routines
// when it is empty or full.
var exLookasideExports = []Export{
	{Name: "ExInitializeNPagedLookasideList", Fn: do7(exInitializeNPagedLookasideList),
		Params: "Lookaside Allocate Free Flags Size:d Tag:tag Depth:d", MaxIRQL: dispatch,
		Support: Full},
	{Name: "ExInitializePagedLookasideList", Fn: do7(exInitializePagedLookasideList),
		Params: "Lookaside Allocate Free Flags Size:d Tag:tag Depth:d", MaxIRQL: apc,
		Support: Full},
	{Name: "ExDeleteNPagedLookasideList", Fn: do1(exDeleteLookasideList), Params: "Lookaside",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExDeletePagedLookasideList", Fn: do1(exDeleteLookasideList), Params: "Lookaside",
		MaxIRQL: apc, Support: Full},
	{Name: "ExInitializeLookasideListEx", Fn: fn8(exInitializeLookasideListEx),
		Params:  "Lookaside Allocate Free PoolType:d Flags Size:d Tag:tag Depth:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExFlushLookasideListEx", Fn: do1(exDeleteLookasideList), Params: "Lookaside",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExDeleteLookasideListEx", Fn: do1(exDeleteLookasideList), Params: "Lookaside",
		MaxIRQL: dispatch, Support: Full},
}

// lookasidePool is GENERAL_LOOKASIDE_POOL, which a LOOKASIDE_LIST_EX consists of: a GENERAL_LOOKASIDE
// without what fills its last cache line.
type lookasidePool struct {
	ListHead           nt.SListHeader
	Depth              uint16
	MaximumDepth       uint16
	TotalAllocates     uint32
	AllocateMisses     uint32
	TotalFrees         uint32
	FreeMisses         uint32
	Type               nt.PoolType
	Tag                uint32
	Size               uint32
	AllocateEx         guest.Addr
	FreeEx             guest.Addr
	ListEntry          nt.ListEntry
	LastTotalAllocates uint32
	LastAllocateMisses uint32
	Future             [2]uint32
}

// Offsets into a lookaside list, in bytes.

// The flags of pool types that lookaside lists add, and those of ExInitializeLookasideListEx.
const (
	poolQuotaFailInsteadOfRaise = 8
	poolRaiseIfFailure          = 16

	lookasideRaiseOnFail = 1
	lookasideFailNoRaise = 2
)

// lookasideMinimum is the size in bytes of a block of a list: it must hold the link to the next.
const lookasideMinimum = 8

// exInitializeNPagedLookasideList makes a list of blocks of nonpaged pool.
//
//	VOID ExInitializeNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside,
//	    PALLOCATE_FUNCTION Allocate, PFREE_FUNCTION Free, ULONG Flags, SIZE_T Size, ULONG Tag,
//	    USHORT Depth)
//
// Flags may be POOL_NX_ALLOCATION and POOL_RAISE_IF_ALLOCATION_FAILURE. Depth is reserved.
// "ExInitializeNPagedLookasideList function (wdm.h)".
func exInitializeNPagedLookasideList(c *Call, list, allocate, free guest.Addr, flags uint32,
	size uint64, tag uint32, depth uint16) {
	c.initializeLookaside(list, allocate, free, nt.NonPagedPool|nt.PoolType(flags), size, tag)
}

// exInitializePagedLookasideList makes a list of blocks of paged pool.
//
//	VOID ExInitializePagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside,
//	    PALLOCATE_FUNCTION Allocate, PFREE_FUNCTION Free, ULONG Flags, SIZE_T Size, ULONG Tag,
//	    USHORT Depth)
//
// "ExInitializePagedLookasideList function (wdm.h)".
func exInitializePagedLookasideList(c *Call, list, allocate, free guest.Addr, flags uint32,
	size uint64, tag uint32, depth uint16) {
	c.initializeLookaside(list, allocate, free, nt.PagedPool|nt.PoolType(flags), size, tag)
}

// initializeLookaside makes a list with the pool's routines in place of those that are not given.
func (c *Call) initializeLookaside(list, allocate, free guest.Addr, typ nt.PoolType, size uint64,
	tag uint32) {
	if allocate == 0 {
		allocate = c.symbol("ExAllocatePoolWithTag")
	}
	if free == 0 {
		free = c.symbol("ExFreePool")
	}
	err := mm.InitializeLookaside(list, mm.LookasideParams{Type: typ,
		Size: uint32(max(size, lookasideMinimum)), Tag: mm.Tag(tag), Allocate: allocate, Free: free})
	c.Must(err)
}

// exInitializeLookasideListEx makes a list of blocks of either kind of pool, whose routines are told
// which list they work for.
//
//	NTSTATUS ExInitializeLookasideListEx(PLOOKASIDE_LIST_EX Lookaside,
//	    PALLOCATE_FUNCTION_EX Allocate, PFREE_FUNCTION_EX Free, POOL_TYPE PoolType, ULONG Flags,
//	    SIZE_T Size, ULONG Tag, USHORT Depth)
//
// STATUS_INVALID_PARAMETER_4 for another type of pool, STATUS_INVALID_PARAMETER_5 for other flags than
// one of EX_LOOKASIDE_LIST_EX_FLAGS_RAISE_ON_FAIL and EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE.
// "ExInitializeLookasideListEx function (wdm.h)".
func exInitializeLookasideListEx(c *Call, list, allocate, free guest.Addr, typ nt.PoolType,
	flags uint32, size uint64, tag uint32, depth uint16) nt.Status {
	switch typ {
	case nt.NonPagedPool, nt.PagedPool, nt.NonPagedPoolNx:
	default:
		return nt.STATUS_INVALID_PARAMETER_4
	}
	switch flags {
	case 0:
	case lookasideRaiseOnFail:
		typ |= poolRaiseIfFailure
	case lookasideFailNoRaise:
		typ |= poolQuotaFailInsteadOfRaise
		if allocate == 0 {
			allocate = c.symbol("ExAllocatePoolWithQuotaTag")
		}
	default:
		return nt.STATUS_INVALID_PARAMETER_5
	}
	if allocate == 0 {
		allocate = c.symbol("ExAllocatePoolWithTag")
	}
	if free == 0 {
		free = c.symbol("ExFreePool")
	}
	Store(c, list, lookasidePool{Depth: 4, MaximumDepth: 256, Type: typ, Tag: tag,
		Size: uint32(max(size, lookasideMinimum)), AllocateEx: allocate, FreeEx: free})
	return nt.STATUS_SUCCESS
}

// exDeleteLookasideList gives the blocks of a list back, by the list's own routine.
//
//	VOID ExDeleteNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside)
//	VOID ExDeletePagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside)
//	VOID ExFlushLookasideListEx(PLOOKASIDE_LIST_EX Lookaside)
//	VOID ExDeleteLookasideListEx(PLOOKASIDE_LIST_EX Lookaside)
//
// "ExDeleteNPagedLookasideList function (wdm.h)", "ExFlushLookasideListEx function (wdm.h)".
func exDeleteLookasideList(c *Call, list guest.Addr) {
	free := Load[guest.Addr](c, list+lookasideFree)
	c.Must(mm.DrainLookaside(list, func(block guest.Addr) error {
		c.T.Call(free, uint64(block), uint64(list))
		return nil
	}))
}
