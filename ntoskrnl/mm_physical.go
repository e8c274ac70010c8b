package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// Physical memory: addresses, contiguous and non-cached memory, memory of devices. All memory is
// cached, whatever a caching type says; there is no hardware that could tell. Memory of a device
// that nobody simulates holds zeros until it is written.
var mmPhysicalExports = []Export{
	{Name: "MmGetPhysicalAddress", Fn: fn1(mmGetPhysicalAddress), Params: "BaseAddress",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "MmGetVirtualForPhysical", Fn: fn1(mmGetVirtualForPhysical), Params: "PhysicalAddress",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "MmGetPhysicalMemoryRanges", Fn: fn0(mmGetPhysicalMemoryRanges), MaxIRQL: pageable,
		Support: Full},
	{Name: "MmCopyMemory", Fn: fn5(mmCopyMemory),
		Params:  "TargetAddress SourceAddress NumberOfBytes:d Flags NumberOfBytesTransferred",
		MaxIRQL: apc, Support: Full},

	{Name: "MmAllocateContiguousMemory", Fn: fn2(mmAllocateContiguousMemory),
		Params: "NumberOfBytes:d HighestAcceptableAddress", MaxIRQL: dispatch, Support: Full},
	{Name: "MmAllocateContiguousMemorySpecifyCache",
		Fn: fn5(mmAllocateContiguousMemorySpecifyCache),
		Params: "NumberOfBytes:d LowestAcceptableAddress HighestAcceptableAddress " +
			"BoundaryAddressMultiple CacheType", MaxIRQL: dispatch, Support: Full},
	{Name: "MmAllocateContiguousMemorySpecifyCacheNode",
		Fn: fn6(mmAllocateContiguousMemorySpecifyCacheNode),
		Params: "NumberOfBytes:d LowestAcceptableAddress HighestAcceptableAddress " +
			"BoundaryAddressMultiple CacheType PreferredNode", MaxIRQL: dispatch, Support: Full},
	{Name: "MmAllocateContiguousNodeMemory", Fn: fn6(mmAllocateContiguousNodeMemory),
		Params: "NumberOfBytes:d LowestAcceptableAddress HighestAcceptableAddress " +
			"BoundaryAddressMultiple Protect PreferredNode", MaxIRQL: dispatch, Support: Full},
	{Name: "MmFreeContiguousMemory", Fn: do1(mmFreeContiguousMemory), Params: "BaseAddress",
		MaxIRQL: dispatch, Support: Full},
	{Name: "MmFreeContiguousMemorySpecifyCache", Fn: do3(mmFreeContiguousMemorySpecifyCache),
		Params: "BaseAddress NumberOfBytes:d CacheType", MaxIRQL: dispatch, Support: Full},
	{Name: "MmAllocateNonCachedMemory", Fn: fn1(mmAllocateNonCachedMemory),
		Params: "NumberOfBytes:d", MaxIRQL: apc, Support: Full},
	{Name: "MmFreeNonCachedMemory", Fn: do2(mmFreeNonCachedMemory),
		Params: "BaseAddress NumberOfBytes:d", MaxIRQL: apc, Support: Full},

	{Name: "MmMapIoSpace", Fn: fn3(mmMapIoSpace),
		Params: "PhysicalAddress NumberOfBytes:d CacheType", MaxIRQL: dispatch, Support: Full},
	{Name: "MmMapIoSpaceEx", Fn: fn3(mmMapIoSpaceEx),
		Params: "PhysicalAddress NumberOfBytes:d Protect", MaxIRQL: dispatch, Support: Full},
	{Name: "MmUnmapIoSpace", Fn: do2(mmUnmapIoSpace), Params: "BaseAddress NumberOfBytes:d",
		MaxIRQL: dispatch, Support: Full},
}

// mmGetPhysicalAddress gives the physical address of a valid virtual one.
//
//	PHYSICAL_ADDRESS MmGetPhysicalAddress(PVOID BaseAddress)
//
// 0 where no page is. "MmGetPhysicalAddress function (ntddk.h)".
func mmGetPhysicalAddress(c *Call, a guest.Addr) uint64 { return c.Mm.PhysicalAddress(a) }

// mmGetVirtualForPhysical gives an address at which physical memory is mapped.
//
//	PVOID MmGetVirtualForPhysical(PHYSICAL_ADDRESS PhysicalAddress)
//
// NULL where none is.
func mmGetVirtualForPhysical(c *Call, p uint64) guest.Addr { return c.Mm.VirtualForPhysical(p) }

// memoryRangesTag is the tag of the array that MmGetPhysicalMemoryRanges gives.
var memoryRangesTag = mm.MakeTag("hPmM")

// mmGetPhysicalMemoryRanges gives an array of the ranges of RAM as (base, size), with zeros behind
// the last, which the caller frees with ExFreePool.
//
//	PPHYSICAL_MEMORY_RANGE MmGetPhysicalMemoryRanges(VOID)
//
// NULL without memory. "MmGetPhysicalMemoryRanges function (ntddk.h)".
func mmGetPhysicalMemoryRanges(c *Call) guest.Addr {
	ranges := append(c.Mm.PhysicalMemoryRanges(), mm.PhysicalRange{})
	const size = 16
	a := c.orNull(c.Mm.AllocatePool(nt.NonPagedPoolNx, uintptr(len(ranges))*size, memoryRangesTag))
	if a == 0 {
		return 0
	}
	for i, r := range ranges {
		Store(c, a+size*guest.Addr(i), r)
	}
	return a
}

// mmCopyMemory copies from memory that may be gone.
//
//	NTSTATUS MmCopyMemory(PVOID TargetAddress, MM_COPY_ADDRESS SourceAddress,
//	    SIZE_T NumberOfBytes, ULONG Flags, PSIZE_T NumberOfBytesTransferred)
//
// STATUS_INVALID_ADDRESS, with the bytes before it copied; STATUS_INVALID_PARAMETER.
// "MmCopyMemory function (ntddk.h)".
func mmCopyMemory(c *Call, target guest.Addr, source uint64, n uintptr, flags uint32,
	transferred guest.Addr) nt.Status {
	done, status := c.Mm.CopyMemory(target, source, n, flags)
	Store(c, transferred, uint64(done))
	return status
}

// mmAllocateContiguousMemory allocates memory whose pages lie one after the other.
//
//	PVOID MmAllocateContiguousMemory(SIZE_T NumberOfBytes,
//	    PHYSICAL_ADDRESS HighestAcceptableAddress)
//
// NULL without such memory. "MmAllocateContiguousMemory function (wdm.h)".
func mmAllocateContiguousMemory(c *Call, n uintptr, high uint64) guest.Addr {
	return c.orNull(c.Mm.AllocateContiguous(n, 0, high, 0, guest.ProtRW))
}

// mmAllocateContiguousMemorySpecifyCache is MmAllocateContiguousMemory with a lowest address and a
// boundary that the memory does not cross.
//
//	PVOID MmAllocateContiguousMemorySpecifyCache(SIZE_T NumberOfBytes,
//	    PHYSICAL_ADDRESS LowestAcceptableAddress, PHYSICAL_ADDRESS HighestAcceptableAddress,
//	    PHYSICAL_ADDRESS BoundaryAddressMultiple, MEMORY_CACHING_TYPE CacheType)
//
// "MmAllocateContiguousMemorySpecifyCache function (wdm.h)".
func mmAllocateContiguousMemorySpecifyCache(c *Call, n uintptr, low, high, boundary uint64,
	cache uint32) guest.Addr {
	return c.orNull(c.Mm.AllocateContiguous(n, low, high, boundary, guest.ProtRW))
}

// mmAllocateContiguousMemorySpecifyCacheNode is the same on a machine with one node.
//
//	PVOID MmAllocateContiguousMemorySpecifyCacheNode(SIZE_T NumberOfBytes,
//	    PHYSICAL_ADDRESS LowestAcceptableAddress, PHYSICAL_ADDRESS HighestAcceptableAddress,
//	    PHYSICAL_ADDRESS BoundaryAddressMultiple, MEMORY_CACHING_TYPE CacheType,
//	    NODE_REQUIREMENT PreferredNode)
//
// "MmAllocateContiguousMemorySpecifyCacheNode function (wdm.h)".
func mmAllocateContiguousMemorySpecifyCacheNode(c *Call, n uintptr, low, high, boundary uint64,
	cache, node uint32) guest.Addr {
	return c.orNull(c.Mm.AllocateContiguous(n, low, high, boundary, guest.ProtRW))
}

// mmAllocateContiguousNodeMemory is the same with a protection.
//
//	PVOID MmAllocateContiguousNodeMemory(SIZE_T NumberOfBytes,
//	    PHYSICAL_ADDRESS LowestAcceptableAddress, PHYSICAL_ADDRESS HighestAcceptableAddress,
//	    PHYSICAL_ADDRESS BoundaryAddressMultiple, ULONG Protect, NODE_REQUIREMENT PreferredNode)
//
// NULL for a protection that is neither PAGE_READWRITE nor PAGE_EXECUTE_READWRITE.
// "MmAllocateContiguousNodeMemory function (wdm.h)".
func mmAllocateContiguousNodeMemory(c *Call, n uintptr, low, high, boundary uint64,
	protect, node uint32) guest.Addr {
	prot, ok := mm.PageProt(protect)
	if !ok || prot&guest.ProtRW != guest.ProtRW {
		return 0
	}
	return c.orNull(c.Mm.AllocateContiguous(n, low, high, boundary, prot))
}

// mmFreeContiguousMemory frees such memory.
//
//	VOID MmFreeContiguousMemory(PVOID BaseAddress)
//
// "MmFreeContiguousMemory function (wdm.h)".
func mmFreeContiguousMemory(c *Call, a guest.Addr) { c.Must(c.Mm.FreeContiguous(a)) }

// mmFreeContiguousMemorySpecifyCache is the same with the size that was allocated.
//
//	VOID MmFreeContiguousMemorySpecifyCache(PVOID BaseAddress, SIZE_T NumberOfBytes,
//	    MEMORY_CACHING_TYPE CacheType)
//
// "MmFreeContiguousMemorySpecifyCache function (wdm.h)".
func mmFreeContiguousMemorySpecifyCache(c *Call, a guest.Addr, n uintptr, cache uint32) {
	c.Must(c.Mm.FreeContiguousSpecifyCache(a, n))
}

// mmAllocateNonCachedMemory allocates whole pages.
//
//	PVOID MmAllocateNonCachedMemory(SIZE_T NumberOfBytes)
//
// NULL without memory. "MmAllocateNonCachedMemory function (ntddk.h)".
func mmAllocateNonCachedMemory(c *Call, n uintptr) guest.Addr {
	return c.orNull(c.Mm.AllocateNonCached(n))
}

// mmFreeNonCachedMemory frees them.
//
//	VOID MmFreeNonCachedMemory(PVOID BaseAddress, SIZE_T NumberOfBytes)
//
// "MmFreeNonCachedMemory function (ntddk.h)".
func mmFreeNonCachedMemory(c *Call, a guest.Addr, n uintptr) { c.Must(c.Mm.FreeNonCached(a, n)) }

// mmMapIoSpace maps physical memory.
//
//	PVOID MmMapIoSpace(PHYSICAL_ADDRESS PhysicalAddress, SIZE_T NumberOfBytes,
//	    MEMORY_CACHING_TYPE CacheType)
//
// NULL where it cannot be mapped. "MmMapIoSpace function (wdm.h)".
func mmMapIoSpace(c *Call, p uint64, n uintptr, cache uint32) guest.Addr {
	return c.Mm.MapIOSpace(p, n, guest.ProtRW)
}

// mmMapIoSpaceEx maps physical memory with a protection.
//
//	PVOID MmMapIoSpaceEx(PHYSICAL_ADDRESS PhysicalAddress, SIZE_T NumberOfBytes, ULONG Protect)
//
// NULL for a protection that is not known. "MmMapIoSpaceEx function (wdm.h)".
func mmMapIoSpaceEx(c *Call, p uint64, n uintptr, protect uint32) guest.Addr {
	prot, ok := mm.PageProt(protect)
	if !ok {
		return 0
	}
	return c.Mm.MapIOSpace(p, n, prot)
}

// mmUnmapIoSpace undoes MmMapIoSpace.
//
//	VOID MmUnmapIoSpace(PVOID BaseAddress, SIZE_T NumberOfBytes)
//
// "MmUnmapIoSpace function (wdm.h)".
func mmUnmapIoSpace(c *Call, a guest.Addr, n uintptr) { c.Must(c.Mm.UnmapIOSpace(a, n)) }
