package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// The pool. What stops Windows, such as a block that is freed twice or was written past its end,
// stops this system with the same bugcheck. So does a call at too high an IRQL: the functions look at
// that themselves, as it depends on the pool.
var exPoolExports = []Export{
	{Name: "ExAllocatePool", Code: codeAllocatePool, Params: "PoolType NumberOfBytes:d",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExAllocatePoolWithTag", Code: codeAllocatePoolWithTag,
		Params: "PoolType NumberOfBytes:d Tag:tag", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExAllocatePoolWithTagPriority", Fn: fn4(exAllocatePoolWithTagPriority),
		Params: "PoolType NumberOfBytes:d Tag:tag Priority:d", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExAllocatePoolWithQuota", Fn: fn2(exAllocatePoolWithQuota),
		Params: "PoolType NumberOfBytes:d", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExAllocatePoolWithQuotaTag", Fn: fn3(exAllocatePoolWithQuotaTag),
		Params: "PoolType NumberOfBytes:d Tag:tag", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExAllocatePool2", Code: codeAllocatePool2, Params: "Flags NumberOfBytes:d Tag:tag",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExAllocatePool3", Fn: fn5(exAllocatePool3),
		Params:  "Flags NumberOfBytes:d Tag:tag ExtendedParameters ExtendedParametersCount:d",
		MaxIRQL: anyIRQL, Support: Partial,
		Note: "a priority has no effect; other extended parameters that are not optional give " +
			"NULL"},
	{Name: "ExFreePool", Code: codeFreePool, Params: "P", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExFreePoolWithTag", Code: codeFreePoolWithTag, Params: "P Tag:tag", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "ExFreePool2", Fn: do4(exFreePool2),
		Params: "P Tag:tag ExtendedParameters ExtendedParametersCount:d", MaxIRQL: anyIRQL,
		Support: Full},

	{Name: "ExpAllocatePoolWithTag", Fn: fn4(expAllocatePoolWithTag),
		Params: "PoolType NumberOfBytes:d Tag:tag", MaxIRQL: anyIRQL, Support: Full,
		Internal: true, Of: "ExAllocatePoolWithTag"},
	{Name: "ExpAllocatePool2", Fn: fn4(expAllocatePool2),
		Params: "Flags NumberOfBytes:d Tag:tag", MaxIRQL: anyIRQL, Support: Full,
		Internal: true, Of: "ExAllocatePool2"},
	{Name: "ExpFreePoolWithTag", Fn: do3(expFreePoolWithTag), Params: "P Tag:tag",
		MaxIRQL: anyIRQL, Support: Full, Internal: true, Of: "ExFreePoolWithTag"},
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

// exAllocatePoolWithTagPriority is ExAllocatePoolWithTag; a priority has no effect where memory is
// not short.
//
//	PVOID ExAllocatePoolWithTagPriority(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag,
//	    EX_POOL_PRIORITY Priority)
//
// "ExAllocatePoolWithTagPriority function (wdm.h)".
func exAllocatePoolWithTagPriority(c *Call, kind nt.PoolType, size uintptr, tag mm.Tag,
	priority uint32) guest.Addr {
	return exAllocatePoolWithTag(c, kind, size, tag)
}

// exAllocatePoolWithQuotaTag allocates memory and charges the current process for it. There is no
// quota that could be exceeded.
//
//	PVOID ExAllocatePoolWithQuotaTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag)
//
// It raises STATUS_INSUFFICIENT_RESOURCES, or with POOL_QUOTA_FAIL_INSTEAD_OF_RAISE gives NULL.
// "ExAllocatePoolWithQuotaTag function (wdm.h)".
func exAllocatePoolWithQuotaTag(c *Call, kind nt.PoolType, size uintptr, tag mm.Tag) guest.Addr {
	c.Must(mm.CheckAllocateIRQL(kind, size, c.T.IRQL()))
	return c.orNull(c.Mm.AllocatePoolWithQuota(kind, size, tag))
}

// untagged is the tag of memory that was allocated without.
var untagged = mm.MakeTag("None")

// exAllocatePoolWithQuota is the same with the tag "None".
//
//	PVOID ExAllocatePoolWithQuota(POOL_TYPE PoolType, SIZE_T NumberOfBytes)
//
// "ExAllocatePoolWithQuota function (wdm.h)".
func exAllocatePoolWithQuota(c *Call, kind nt.PoolType, size uintptr) guest.Addr {
	return exAllocatePoolWithQuotaTag(c, kind, size, untagged)
}

// exAllocatePool2 allocates memory, which is zeroed unless the flags say otherwise.
//
//	PVOID ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag)
//
// NULL without memory, for no bytes, for no tag and for flags that make no sense; or, with
// POOL_FLAG_RAISE_ON_FAILURE, the status is raised. "ExAllocatePool2 function (wdm.h)".
func exAllocatePool2(c *Call, flags uint64, size uintptr, tag mm.Tag) guest.Addr {
	kind := nt.NonPagedPoolNx
	if flags&nt.POOL_FLAG_PAGED != 0 {
		kind = nt.PagedPool
	}
	c.Must(mm.CheckAllocateIRQL(kind, size, c.T.IRQL()))
	return c.orNull(c.Mm.AllocatePool2(flags, size, tag))
}

// exAllocatePool3 is ExAllocatePool2 with extended parameters.
//
//	PVOID ExAllocatePool3(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag,
//	    PCPOOL_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParametersCount)
//
// "ExAllocatePool3 function (wdm.h)".
func exAllocatePool3(c *Call, flags uint64, size uintptr, tag mm.Tag, params guest.Addr,
	count uint32) guest.Addr {
	// A POOL_EXTENDED_PARAMETER is 16 bytes, of which the first 8 hold the type, and whether the
	// parameter is optional.
	const (
		parameterSize  = 16
		typeMask       = 0xFF
		optional       = 1 << 8
		typePriority   = 1
		mostAcceptable = 3 // priority, secure pool and node
	)
	if count > mostAcceptable {
		return 0
	}
	for i := range guest.Addr(count) {
		kind := Load[uint64](c, params+i*parameterSize)
		if kind&typeMask != typePriority && kind&optional == 0 {
			return 0
		}
	}
	return exAllocatePool2(c, flags, size, tag)
}

// exFreePool2 is ExFreePoolWithTag; there are no extended parameters for memory that is not secure.
//
//	VOID ExFreePool2(PVOID P, ULONG Tag, PCPOOL_EXTENDED_PARAMETER ExtendedParameters,
//	    ULONG ExtendedParametersCount)
//
// "ExFreePool2 function (wdm.h)".
func exFreePool2(c *Call, p guest.Addr, tag mm.Tag, params guest.Addr, count uint32) {
	exFreePoolWithTag(c, p, tag)
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
func exFreePool(c *Call, p guest.Addr) { exFreePoolWithTag(c, p, 0) }

// exFreePoolWithTag frees memory that was allocated with a tag; 0 is any.
//
//	VOID ExFreePoolWithTag(PVOID P, ULONG Tag)
//
// "ExFreePoolWithTag function (wdm.h)".
func exFreePoolWithTag(c *Call, p guest.Addr, tag mm.Tag) {
	c.checkFree(p)
	c.Must(c.Mm.FreePoolWithTag(p, tag))
}

// checkFree is the bugcheck of memory that must not be freed now: at this IRQL, or with a timer in it
// that is set.
func (c *Call) checkFree(p guest.Addr) {
	c.Must(c.Mm.CheckFreeIRQL(p, c.T.IRQL()))
	if !c.Ke.TimersSet() {
		return
	}
	if b, ok := c.Mm.BlockAt(p); ok && !b.Freed {
		c.Must(c.Ke.CheckFree(b.Addr, b.Size))
	}
}
