package ntoskrnl

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// MDLs: making them, and locking and mapping the pages that they describe.
var mmMDLExports = []Export{
	// SIZE_T MmSizeOfMdl(PVOID Base, SIZE_T Length). "MmSizeOfMdl function (wdm.h)".
	{Name: "MmSizeOfMdl", Fn: pure2(mm.SizeOfMdl), Params: "Base Length:d", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "MmCreateMdl", Fn: fn3(mmCreateMdl), Params: "MemoryDescriptorList Base Length:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "MmBuildMdlForNonPagedPool", Fn: do1(mmBuildMdlForNonPagedPool),
		Params: "MemoryDescriptorList", MaxIRQL: dispatch, Support: Full},
	{Name: "MmProbeAndLockPages", Fn: do3(mmProbeAndLockPages),
		Params: "MemoryDescriptorList AccessMode Operation:d", MaxIRQL: dispatch, Support: Full},
	{Name: "MmUnlockPages", Fn: do1(mmUnlockPages), Params: "MemoryDescriptorList",
		MaxIRQL: dispatch, Support: Full},
	{Name: "MmMapLockedPages", Fn: fn2(mmMapLockedPages), Params: "MemoryDescriptorList AccessMode",
		MaxIRQL: dispatch, Support: Full},
	{Name: "MmMapLockedPagesSpecifyCache", Fn: fn6(mmMapLockedPagesSpecifyCache),
		Params: "MemoryDescriptorList AccessMode CacheType RequestedAddress BugCheckOnFailure " +
			"Priority", MaxIRQL: dispatch, Support: Partial,
		Note: "in UserMode, RequestedAddress is not heeded: the address is the system's choice"},
	{Name: "MmUnmapLockedPages", Fn: do2(mmUnmapLockedPages),
		Params: "BaseAddress MemoryDescriptorList", MaxIRQL: dispatch, Support: Full},
	{Name: "MmProtectMdlSystemAddress", Fn: fn2(mmProtectMdlSystemAddress),
		Params: "MemoryDescriptorList NewProtect", MaxIRQL: dispatch, Support: Full},
	{Name: "MmAllocatePagesForMdl", Fn: fn4(mmAllocatePagesForMdl),
		Params: "LowAddress HighAddress SkipBytes TotalBytes:d", MaxIRQL: apc, Support: Full},
	{Name: "MmAllocatePagesForMdlEx", Fn: fn6(mmAllocatePagesForMdlEx),
		Params: "LowAddress HighAddress SkipBytes TotalBytes:d CacheType Flags", MaxIRQL: apc,
		Support: Full},
	{Name: "MmFreePagesFromMdl", Fn: do1(mmFreePagesFromMdl), Params: "MemoryDescriptorList",
		MaxIRQL: apc, Support: Full},
}

// mmCreateMdl makes an MDL for a buffer, in the memory that the caller gives or in its own.
//
//	PMDL MmCreateMdl(PMDL MemoryDescriptorList, PVOID Base, SIZE_T Length)
//
// NULL without memory. "MmCreateMdl function (ntddk.h)".
func mmCreateMdl(c *Call, mdl, base guest.Addr, length uintptr) guest.Addr {
	if mdl == 0 {
		return c.orNull(c.Mm.AllocateMdl(base, length))
	}
	c.Must(mm.InitializeMdl(mdl, base, uint32(length)))
	return mdl
}

// mmBuildMdlForNonPagedPool fills in the pages of a buffer in memory that is never paged out.
//
//	VOID MmBuildMdlForNonPagedPool(PMDL MemoryDescriptorList)
//
// "MmBuildMdlForNonPagedPool function (wdm.h)".
func mmBuildMdlForNonPagedPool(c *Call, mdl guest.Addr) { c.Must(c.Mm.BuildMdlForNonPagedPool(mdl)) }

// mmProbeAndLockPages checks a buffer, keeps its pages in memory and fills them in.
//
//	VOID MmProbeAndLockPages(PMDL MemoryDescriptorList, KPROCESSOR_MODE AccessMode,
//	    LOCK_OPERATION Operation)
//
// It raises STATUS_ACCESS_VIOLATION. "MmProbeAndLockPages function (wdm.h)".
func mmProbeAndLockPages(c *Call, mdl guest.Addr, mode nt.ProcessorMode, op mm.LockOperation) {
	c.Must(c.Mm.ProbeAndLockPages(mdl, mode, op, c.userMemory()))
}

// mmUnlockPages lets the pages go.
//
//	VOID MmUnlockPages(PMDL MemoryDescriptorList)
//
// "MmUnlockPages function (wdm.h)".
func mmUnlockPages(c *Call, mdl guest.Addr) { c.Must(c.Mm.UnlockPages(mdl)) }

// mmMapLockedPagesSpecifyCache maps the pages of an MDL.
//
//	PVOID MmMapLockedPagesSpecifyCache(PMDL MemoryDescriptorList, KPROCESSOR_MODE AccessMode,
//	    MEMORY_CACHING_TYPE CacheType, PVOID RequestedAddress, ULONG BugCheckOnFailure,
//	    ULONG Priority)
//
// Where the pages cannot be mapped: for KernelMode NULL, or with BugCheckOnFailure the bugcheck
// NO_MORE_SYSTEM_PTES; for UserMode, which is for callers up to APC_LEVEL, STATUS_ACCESS_VIOLATION
// is raised. All memory is cached, whatever CacheType says.
// "MmMapLockedPagesSpecifyCache function (wdm.h)".
func mmMapLockedPagesSpecifyCache(c *Call, mdl guest.Addr, mode nt.ProcessorMode, cache uint32,
	requested guest.Addr, bugCheck, priority uint32) guest.Addr {
	if mode == nt.KernelMode {
		a := c.orNull(c.Mm.MapLockedPages(mdl, mode, nil))
		if a == 0 && bugCheck != 0 {
			c.T.Crash(&ke.Bugcheck{Code: nt.NO_MORE_SYSTEM_PTES,
				Reason: fmt.Sprintf("the pages of the MDL at %v cannot be mapped; asked for by %s",
					mdl, c.Where(c.Caller()))})
		}
		return a
	}
	c.atMost(apc)
	a := c.orNull(c.Mm.MapLockedPages(mdl, mode, c.window()))
	if a == 0 {
		c.Raise(nt.STATUS_ACCESS_VIOLATION)
	}
	return a
}

// mmMapLockedPages maps the pages of an MDL, and does not return where they cannot be.
//
//	PVOID MmMapLockedPages(PMDL MemoryDescriptorList, KPROCESSOR_MODE AccessMode)
//
// "MmMapLockedPages function (wdm.h)".
func mmMapLockedPages(c *Call, mdl guest.Addr, mode nt.ProcessorMode) guest.Addr {
	const cached = 1
	return mmMapLockedPagesSpecifyCache(c, mdl, mode, cached, 0, 1, 0)
}

// mmUnmapLockedPages undoes MmMapLockedPages. For user addresses it is for callers up to APC_LEVEL.
//
//	VOID MmUnmapLockedPages(PVOID BaseAddress, PMDL MemoryDescriptorList)
//
// "MmUnmapLockedPages function (wdm.h)".
func mmUnmapLockedPages(c *Call, a, mdl guest.Addr) {
	if c.space.IsUserRange(a, 0) {
		c.atMost(apc)
	}
	c.Must(c.Mm.UnmapLockedPages(a, mdl))
}

// mmProtectMdlSystemAddress changes the protection of an MDL's system mapping.
//
//	NTSTATUS MmProtectMdlSystemAddress(PMDL MemoryDescriptorList, ULONG NewProtect)
//
// STATUS_INVALID_PAGE_PROTECTION, STATUS_NOT_MAPPED_VIEW.
// "MmProtectMdlSystemAddress function (wdm.h)".
func mmProtectMdlSystemAddress(c *Call, mdl guest.Addr, protect uint32) nt.Status {
	return c.Mm.ProtectMdlSystemAddress(mdl, protect)
}

// mmAllocatePagesForMdl allocates pages that are mapped nowhere, and an MDL for them.
//
//	PMDL MmAllocatePagesForMdl(PHYSICAL_ADDRESS LowAddress, PHYSICAL_ADDRESS HighAddress,
//	    PHYSICAL_ADDRESS SkipBytes, SIZE_T TotalBytes)
//
// NULL if there are none; it may describe fewer than asked for.
// "MmAllocatePagesForMdl function (wdm.h)".
func mmAllocatePagesForMdl(c *Call, low, high, skip uint64, total uintptr) guest.Addr {
	return c.orNull(c.Mm.AllocatePagesForMdl(low, high, skip, total, 0))
}

// mmAllocatePagesForMdlEx is MmAllocatePagesForMdl with flags: MM_DONT_ZERO_ALLOCATION,
// MM_ALLOCATE_FULLY_REQUIRED, MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS; the others have no effect on a
// machine with one node.
//
//	PMDL MmAllocatePagesForMdlEx(PHYSICAL_ADDRESS LowAddress, PHYSICAL_ADDRESS HighAddress,
//	    PHYSICAL_ADDRESS SkipBytes, SIZE_T TotalBytes, MEMORY_CACHING_TYPE CacheType, ULONG Flags)
//
// "MmAllocatePagesForMdlEx function (wdm.h)".
func mmAllocatePagesForMdlEx(c *Call, low, high, skip uint64, total uintptr,
	cache, flags uint32) guest.Addr {
	return c.orNull(c.Mm.AllocatePagesForMdl(low, high, skip, total, flags))
}

// mmFreePagesFromMdl frees such pages; the MDL itself is freed with ExFreePool.
//
//	VOID MmFreePagesFromMdl(PMDL MemoryDescriptorList)
//
// "MmFreePagesFromMdl function (wdm.h)".
func mmFreePagesFromMdl(c *Call, mdl guest.Addr) { c.Must(c.Mm.FreePagesFromMdl(mdl)) }

// window gives the user memory of the current process; nil if it has none.
func (c *Call) window() *mm.Window {
	w, _ := c.T.CurrentProcess().Window.(*mm.Window)
	return w
}

// userMemory is window for the memory manager's checks. A process without one has views.
func (c *Call) userMemory() mm.UserMemory {
	if w := c.window(); w != nil {
		return w
	}
	return c.Mm.SystemUserMemory()
}
