package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Executive resources: locks for many readers or one writer.
var exResourceExports = []Export{
	{Name: "ExInitializeResourceLite", Fn: fn1(exInitializeResourceLite), Params: "Resource",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExReinitializeResourceLite", Fn: fn1(exReinitializeResourceLite), Params: "Resource",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExDeleteResourceLite", Fn: fn1(exDeleteResourceLite), Params: "Resource",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExAcquireResourceExclusiveLite", Fn: fn2(exAcquireResourceExclusiveLite),
		Params: "Resource Wait:b", MaxIRQL: apc, Support: Full},
	{Name: "ExAcquireResourceSharedLite", Fn: fn2(exAcquireResourceSharedLite),
		Params: "Resource Wait:b", MaxIRQL: dispatch, Support: Full},
	{Name: "ExAcquireSharedStarveExclusive", Fn: fn2(exAcquireSharedStarveExclusive),
		Params: "Resource Wait:b", MaxIRQL: dispatch, Support: Full},
	{Name: "ExAcquireSharedWaitForExclusive", Fn: fn2(exAcquireSharedWaitForExclusive),
		Params: "Resource Wait:b", MaxIRQL: dispatch, Support: Full},
	{Name: "ExReleaseResourceLite", Fn: do1(exReleaseResourceLite), Params: "Resource",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExReleaseResourceForThreadLite", Fn: do2(exReleaseResourceForThreadLite),
		Params: "Resource ResourceThreadId", MaxIRQL: dispatch, Support: Full},
	{Name: "ExConvertExclusiveToSharedLite", Fn: do1(exConvertExclusiveToSharedLite),
		Params: "Resource", MaxIRQL: dispatch, Support: Full},
	{Name: "ExIsResourceAcquiredExclusiveLite", Fn: fn1(exIsResourceAcquiredExclusiveLite),
		Params: "Resource", MaxIRQL: dispatch, Support: Full},
	{Name: "ExIsResourceAcquiredSharedLite", Fn: fn1(exIsResourceAcquiredSharedLite),
		Params: "Resource", MaxIRQL: dispatch, Support: Full},
	{Name: "ExGetExclusiveWaiterCount", Fn: fn1(exGetExclusiveWaiterCount), Params: "Resource",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExGetSharedWaiterCount", Fn: fn1(exGetSharedWaiterCount), Params: "Resource",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ExEnterCriticalRegionAndAcquireResourceExclusive", Fn: fn1(exEnterAndAcquireExclusive),
		Params: "Resource", MaxIRQL: apc, Support: Full},
	{Name: "ExEnterCriticalRegionAndAcquireResourceShared", Fn: fn1(exEnterAndAcquireShared),
		Params: "Resource", MaxIRQL: apc, Support: Full},
	{Name: "ExReleaseResourceAndLeaveCriticalRegion", Fn: do1(exReleaseAndLeave),
		Params: "Resource", MaxIRQL: apc, Support: Full},
	{Name: "ExDisableResourceBoostLite", Fn: do1(exDisableResourceBoostLite), Params: "Resource",
		MaxIRQL: dispatch, Support: Full},
}

// exInitializeResourceLite makes a resource that is free.
//
//	NTSTATUS ExInitializeResourceLite(PERESOURCE Resource)
//
// STATUS_SUCCESS. "ExInitializeResourceLite function (wdm.h)".
func exInitializeResourceLite(c *Call, resource guest.Addr) nt.Status {
	c.Must(ke.InitializeResource(resource))
	return nt.STATUS_SUCCESS
}

// exReinitializeResourceLite makes a resource that was initialised before free again.
//
//	NTSTATUS ExReinitializeResourceLite(PERESOURCE Resource)
//
// STATUS_SUCCESS. "ExReinitializeResourceLite function (wdm.h)".
func exReinitializeResourceLite(c *Call, resource guest.Addr) nt.Status {
	c.Must(c.Ke.DeleteResource(resource))
	c.Must(ke.InitializeResource(resource))
	return nt.STATUS_SUCCESS
}

// exDeleteResourceLite ends the use of a resource.
//
//	NTSTATUS ExDeleteResourceLite(PERESOURCE Resource)
//
// STATUS_SUCCESS; the bugcheck RESOURCE_NOT_OWNED for one that is owned. "ExDeleteResourceLite
// function (wdm.h)".
func exDeleteResourceLite(c *Call, resource guest.Addr) nt.Status {
	c.Must(c.Ke.DeleteResource(resource))
	return nt.STATUS_SUCCESS
}

// exAcquireResourceExclusiveLite makes the caller a resource's writer.
//
//	BOOLEAN ExAcquireResourceExclusiveLite(PERESOURCE Resource, BOOLEAN Wait)
//
// FALSE if that would be to wait and Wait is not set. "ExAcquireResourceExclusiveLite function
// (wdm.h)".
func exAcquireResourceExclusiveLite(c *Call, resource guest.Addr, wait nt.Boolean) nt.Boolean {
	ok, err := c.T.AcquireExclusive(resource, wait != 0)
	c.Must(err)
	return boolean(ok)
}

func (c *Call) acquireShared(resource guest.Addr, wait nt.Boolean, mode ke.SharedMode) nt.Boolean {
	if wait != 0 {
		c.atMost(apc)
	}
	ok, err := c.T.AcquireShared(resource, wait != 0, mode)
	c.Must(err)
	return boolean(ok)
}

// exAcquireResourceSharedLite makes the caller one of a resource's readers.
//
//	BOOLEAN ExAcquireResourceSharedLite(PERESOURCE Resource, BOOLEAN Wait)
//
// FALSE if that would be to wait and Wait is not set. "ExAcquireResourceSharedLite function
// (wdm.h)".
func exAcquireResourceSharedLite(c *Call, resource guest.Addr, wait nt.Boolean) nt.Boolean {
	return c.acquireShared(resource, wait, ke.Shared)
}

// exAcquireSharedStarveExclusive does the same before writers that wait.
//
//	BOOLEAN ExAcquireSharedStarveExclusive(PERESOURCE Resource, BOOLEAN Wait)
//
// "ExAcquireSharedStarveExclusive function (wdm.h)".
func exAcquireSharedStarveExclusive(c *Call, resource guest.Addr, wait nt.Boolean) nt.Boolean {
	return c.acquireShared(resource, wait, ke.SharedStarveExclusive)
}

// exAcquireSharedWaitForExclusive does the same behind writers that wait.
//
//	BOOLEAN ExAcquireSharedWaitForExclusive(PERESOURCE Resource, BOOLEAN Wait)
//
// "ExAcquireSharedWaitForExclusive function (wdm.h)".
func exAcquireSharedWaitForExclusive(c *Call, resource guest.Addr, wait nt.Boolean) nt.Boolean {
	return c.acquireShared(resource, wait, ke.SharedWaitForExclusive)
}

// exReleaseResourceLite takes back one acquisition of the caller's.
//
//	VOID ExReleaseResourceLite(PERESOURCE Resource)
//
// RESOURCE_NOT_OWNED if it has none. "ExReleaseResourceLite function (wdm.h)".
func exReleaseResourceLite(c *Call, resource guest.Addr) {
	c.Must(c.Ke.ReleaseResource(resource, uintptr(c.T.Object)))
}

// exReleaseResourceForThreadLite takes back one acquisition of a thread's, which
// ExGetCurrentResourceThread has given.
//
//	VOID ExReleaseResourceForThreadLite(PERESOURCE Resource, ERESOURCE_THREAD ResourceThreadId)
//
// "ExReleaseResourceForThreadLite function (wdm.h)".
func exReleaseResourceForThreadLite(c *Call, resource guest.Addr, thread uintptr) {
	c.Must(c.Ke.ReleaseResource(resource, thread))
}

// exConvertExclusiveToSharedLite makes the writer a reader.
//
//	VOID ExConvertExclusiveToSharedLite(PERESOURCE Resource)
//
// "ExConvertExclusiveToSharedLite function (wdm.h)".
func exConvertExclusiveToSharedLite(c *Call, resource guest.Addr) {
	c.Must(c.T.ConvertToShared(resource))
}

func (c *Call) resourceState(resource guest.Addr) ke.ResourceState {
	v, err := c.T.ResourceState(resource)
	c.Must(err)
	return v
}

// exIsResourceAcquiredExclusiveLite tells whether the caller is a resource's writer.
//
//	BOOLEAN ExIsResourceAcquiredExclusiveLite(PERESOURCE Resource)
//
// "ExIsResourceAcquiredExclusiveLite function (wdm.h)".
func exIsResourceAcquiredExclusiveLite(c *Call, resource guest.Addr) nt.Boolean {
	return boolean(c.resourceState(resource).Exclusive)
}

// exIsResourceAcquiredSharedLite tells how often the caller has acquired a resource, in either way.
//
//	ULONG ExIsResourceAcquiredSharedLite(PERESOURCE Resource)
//
// "ExIsResourceAcquiredSharedLite function (wdm.h)".
func exIsResourceAcquiredSharedLite(c *Call, resource guest.Addr) uint32 {
	return c.resourceState(resource).Count
}

// exGetExclusiveWaiterCount tells how many writers wait.
//
//	ULONG ExGetExclusiveWaiterCount(PERESOURCE Resource)
//
// "ExGetExclusiveWaiterCount function (wdm.h)".
func exGetExclusiveWaiterCount(c *Call, resource guest.Addr) uint32 {
	return c.resourceState(resource).ExclusiveWaiters
}

// exGetSharedWaiterCount tells how many readers wait.
//
//	ULONG ExGetSharedWaiterCount(PERESOURCE Resource)
//
// "ExGetSharedWaiterCount function (wdm.h)".
func exGetSharedWaiterCount(c *Call, resource guest.Addr) uint32 {
	return c.resourceState(resource).SharedWaiters
}

// exEnterAndAcquireExclusive enters a critical region and makes the caller the writer.
//
//	PVOID ExEnterCriticalRegionAndAcquireResourceExclusive(PERESOURCE Resource)
//
// The thread's Win32 structure: NULL. "ExEnterCriticalRegionAndAcquireResourceExclusive function
// (ntddk.h)".
func exEnterAndAcquireExclusive(c *Call, resource guest.Addr) guest.Addr {
	c.T.EnterCriticalRegion()
	exAcquireResourceExclusiveLite(c, resource, nt.TRUE)
	return 0
}

// exEnterAndAcquireShared enters a critical region and makes the caller a reader.
//
//	PVOID ExEnterCriticalRegionAndAcquireResourceShared(PERESOURCE Resource)
//
// "ExEnterCriticalRegionAndAcquireResourceShared function (ntddk.h)".
func exEnterAndAcquireShared(c *Call, resource guest.Addr) guest.Addr {
	c.T.EnterCriticalRegion()
	exAcquireResourceSharedLite(c, resource, nt.TRUE)
	return 0
}

// exReleaseAndLeave undoes either.
//
//	VOID ExReleaseResourceAndLeaveCriticalRegion(PERESOURCE Resource)
//
// "ExReleaseResourceAndLeaveCriticalRegion function (ntddk.h)".
func exReleaseAndLeave(c *Call, resource guest.Addr) {
	exReleaseResourceLite(c, resource)
	c.T.LeaveCriticalRegion()
}

// exDisableResourceBoostLite keeps owners from being boosted, which nobody is.
//
//	VOID ExDisableResourceBoostLite(PERESOURCE Resource)
//
// "ExDisableResourceBoostLite function (ntifs.h)".
func exDisableResourceBoostLite(c *Call, resource guest.Addr) { c.resourceState(resource) }
