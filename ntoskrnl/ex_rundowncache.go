package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// Cache-aware run-down protection. A reference is one EX_RUNDOWN_REF with a cache line of its own,
// for all processors.
var exRundownCacheExports = []Export{
	{Name: "ExAllocateCacheAwareRundownProtection", Fn: fn2(exAllocateCacheAwareRundownProtection),
		Params: "PoolType PoolTag:tag", MaxIRQL: dispatch, Support: Full},
	{Name: "ExFreeCacheAwareRundownProtection", Fn: do1(exFreePool), Params: "RunRefCacheAware",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExSizeOfRundownProtectionCacheAware", Fn: fn0(exSizeOfRundownProtectionCacheAware),
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExInitializeRundownProtectionCacheAware", Fn: do2(exInitializeRundownProtectionCacheAware),
		Params: "RunRefCacheAware RunRefSize:d", MaxIRQL: dispatch, Support: Full},
	{Name: "ExReInitializeRundownProtectionCacheAware", Fn: do1(exInitializeRundownProtection),
		Params: "RunRefCacheAware", MaxIRQL: apc, Support: Full},
	{Name: "ExAcquireRundownProtectionCacheAware", Fn: fn1(exAcquireRundownProtection),
		Params: "RunRefCacheAware", MaxIRQL: dispatch, Support: Full},
	{Name: "ExAcquireRundownProtectionCacheAwareEx", Fn: fn2(exAcquireRundownProtectionEx),
		Params: "RunRefCacheAware Count:d", MaxIRQL: dispatch, Support: Full},
	{Name: "ExReleaseRundownProtectionCacheAware", Fn: do1(exReleaseRundownProtection),
		Params: "RunRefCacheAware", MaxIRQL: dispatch, Support: Full},
	{Name: "ExReleaseRundownProtectionCacheAwareEx", Fn: do2(exReleaseRundownProtectionEx),
		Params: "RunRefCacheAware Count:d", MaxIRQL: dispatch, Support: Full},
	{Name: "ExWaitForRundownProtectionReleaseCacheAware", Fn: do1(exWaitForRundownProtectionRelease),
		Params: "RunRefCacheAware", MaxIRQL: apc, Support: Full},
	{Name: "ExRundownCompletedCacheAware", Fn: do1(exRundownCompleted), Params: "RunRefCacheAware",
		MaxIRQL: apc, Support: Full},
}

// rundownCacheSize is the size of an EX_RUNDOWN_REF_CACHE_AWARE, which is opaque: a cache line.
const rundownCacheSize = 64

// exAllocateCacheAwareRundownProtection allocates a reference and makes it ready.
//
//	PEX_RUNDOWN_REF_CACHE_AWARE ExAllocateCacheAwareRundownProtection(POOL_TYPE PoolType,
//	    ULONG PoolTag)
//
// NULL without memory. "ExAllocateCacheAwareRundownProtection function (ntddk.h)".
func exAllocateCacheAwareRundownProtection(c *Call, kind nt.PoolType, tag mm.Tag) guest.Addr {
	const cacheAligned = 4 // NonPagedPoolCacheAligned
	a := exAllocatePoolWithTag(c, kind|cacheAligned, rundownCacheSize, tag)
	if a != 0 {
		exInitializeRundownProtection(c, a)
	}
	return a
}

// exSizeOfRundownProtectionCacheAware gives the size of a reference that the driver allocates
// itself.
//
//	SIZE_T ExSizeOfRundownProtectionCacheAware(VOID)
//
// "ExSizeOfRundownProtectionCacheAware function (ntddk.h)".
func exSizeOfRundownProtectionCacheAware(c *Call) uint64 { return rundownCacheSize }

// exInitializeRundownProtectionCacheAware makes one of that size ready.
//
//	VOID ExInitializeRundownProtectionCacheAware(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware,
//	    SIZE_T RunRefSize)
//
// "ExInitializeRundownProtectionCacheAware function (ntddk.h)".
func exInitializeRundownProtectionCacheAware(c *Call, ref guest.Addr, size uint64) {
	exInitializeRundownProtection(c, ref)
}
