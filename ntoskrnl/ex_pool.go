package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// The pool. What stops Windows, such as a block that is freed twice or was written past its end,
// stops this system with the same bugcheck.
var exPoolExports = []Export{
	{Name: "ExAllocatePool", Fn: fn2(exAllocatePool), Params: "PoolType NumberOfBytes:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExAllocatePoolWithTag", Fn: fn3(exAllocatePoolWithTag),
		Params: "PoolType NumberOfBytes:d Tag:tag", MaxIRQL: dispatch, Support: Full},
	{Name: "ExFreePool", Fn: do1(exFreePool), Params: "P", MaxIRQL: dispatch, Support: Full},
	{Name: "ExFreePoolWithTag", Fn: do2(exFreePoolWithTag), Params: "P Tag:tag", MaxIRQL: dispatch,
		Support: Full},
}

// exAllocatePoolWithTag allocates memory.
//
//	PVOID ExAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag)
//
// NULL without memory, or with POOL_RAISE_IF_ALLOCATION_FAILURE STATUS_INSUFFICIENT_RESOURCES is
// raised. Paged pool is for callers up to APC_LEVEL. "ExAllocatePoolWithTag function (wdm.h)".
func exAllocatePoolWithTag(c *Call, kind nt.PoolType, size uintptr, tag mm.Tag) guest.Addr {
	c.Must(mm.CheckAllocateIRQL(kind, size, c.T.IRQL()))
	return c.orNull(c.Mm.AllocatePool(kind, size, tag))
}

// exAllocatePool allocates memory with the tag "None".
//
//	PVOID ExAllocatePool(POOL_TYPE PoolType, SIZE_T NumberOfBytes)
//
// "ExAllocatePool function (wdm.h)".
func exAllocatePool(c *Call, kind nt.PoolType, size uintptr) guest.Addr {
	c.Must(mm.CheckAllocateIRQL(kind, size, c.T.IRQL()))
	return c.orNull(c.Mm.AllocatePoolUntagged(kind, size))
}

// orNull gives the address that an allocation gave; NULL if the error is a status, which is how
// the memory manager says that Windows gives NULL.
func (c *Call) orNull(a guest.Addr, err error) guest.Addr {
	if _, ok := err.(nt.Status); ok {
		return 0
	}
	c.Must(err)
	return a
}

// exFreePool frees memory.
//
//	VOID ExFreePool(PVOID P)
//
// "ExFreePool function (ntddk.h)".
func exFreePool(c *Call, p guest.Addr) {
	c.Must(c.Mm.CheckFreeIRQL(p, c.T.IRQL()))
	c.Must(c.Mm.FreePool(p))
}

// exFreePoolWithTag frees memory that was allocated with a tag; 0 is any.
//
//	VOID ExFreePoolWithTag(PVOID P, ULONG Tag)
//
// "ExFreePoolWithTag function (wdm.h)".
func exFreePoolWithTag(c *Call, p guest.Addr, tag mm.Tag) {
	c.Must(c.Mm.CheckFreeIRQL(p, c.T.IRQL()))
	c.Must(c.Mm.FreePoolWithTag(p, tag))
}
