package ntoskrnl

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// MDLs: locking and mapping the pages that they describe.
var mmMDLExports = []Export{
	{Name: "MmMapLockedPages", Fn: fn2(mmMapLockedPages), Params: "MemoryDescriptorList AccessMode",
		MaxIRQL: dispatch, Support: Full},
	{Name: "MmMapLockedPagesSpecifyCache", Fn: fn6(mmMapLockedPagesSpecifyCache),
		Params: "MemoryDescriptorList AccessMode CacheType RequestedAddress BugCheckOnFailure " +
			"Priority", MaxIRQL: dispatch, Support: Partial,
		Note: "in UserMode, RequestedAddress is not heeded: the address is the system's choice"},
	{Name: "MmUnmapLockedPages", Fn: do2(mmUnmapLockedPages),
		Params: "BaseAddress MemoryDescriptorList", MaxIRQL: dispatch, Support: Full},
}

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
	return mmMapLockedPagesSpecifyCache(c, mdl, mode, 1, 0, 1, 0)
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

// window gives the user memory of the current process; nil if it has none.
func (c *Call) window() *mm.Window {
	w, _ := c.T.Process.Window.(*mm.Window)
	return w
}

// userMemory is window for the memory manager's checks.
func (c *Call) userMemory() mm.UserMemory {
	if w := c.window(); w != nil {
		return w
	}
	return nil
}
