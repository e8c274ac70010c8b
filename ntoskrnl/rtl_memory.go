package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Blocks of memory. Most stay in guest code: see leaf_amd64.s.
var rtlMemoryExports = []Export{
	// VOID RtlCopyMemory(VOID *Destination, const VOID *Source, SIZE_T Length).
	// "RtlCopyMemory macro (wdm.h)".
	{Name: "RtlCopyMemory", Code: codeMemmove, Params: "Destination Source Length:d",
		MaxIRQL: anyIRQL, Support: Full},
	// VOID RtlCopyMemoryNonTemporal(VOID *Destination, const VOID *Source, SIZE_T Length): without
	// the hint to the cache.
	{Name: "RtlCopyMemoryNonTemporal", Code: codeMemmove, Params: "Destination Source Length:d",
		MaxIRQL: anyIRQL, Support: Full},
	// VOID RtlMoveMemory(VOID *Destination, const VOID *Source, SIZE_T Length).
	// "RtlMoveMemory macro (wdm.h)".
	{Name: "RtlMoveMemory", Code: codeMemmove, Params: "Destination Source Length:d",
		MaxIRQL: anyIRQL, Support: Full},
	// VOID RtlZeroMemory(VOID *Destination, SIZE_T Length). "RtlZeroMemory macro (wdm.h)".
	{Name: "RtlZeroMemory", Code: codeZeroMemory, Params: "Destination Length:d", MaxIRQL: anyIRQL,
		Support: Full},
	// VOID RtlFillMemory(VOID *Destination, SIZE_T Length, int Fill). "RtlFillMemory macro (wdm.h)".
	{Name: "RtlFillMemory", Code: codeFillMemory, Params: "Destination Length:d Fill",
		MaxIRQL: anyIRQL, Support: Full},
	// SIZE_T RtlCompareMemory(const VOID *Source1, const VOID *Source2, SIZE_T Length): how many
	// bytes are equal. "RtlCompareMemory function (wdm.h)".
	{Name: "RtlCompareMemory", Code: codeCompareMemory, Params: "Source1 Source2 Length:d",
		MaxIRQL: anyIRQL, Support: Full},
	// SIZE_T RtlCompareMemoryUlong(PVOID Source, SIZE_T Length, ULONG Pattern): how many bytes, in
	// whole ULONGs, have the pattern; 0 for a source that is not aligned.
	// "RtlCompareMemoryUlong function (ntifs.h)".
	{Name: "RtlCompareMemoryUlong", Fn: try3(rtl.CompareMemoryUlong),
		Params: "Source Length:d Pattern", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlPrefetchMemoryNonTemporal", Fn: do2(rtlPrefetchMemoryNonTemporal),
		Params: "Source Length:d", MaxIRQL: anyIRQL, Support: Full},
}

// rtlPrefetchMemoryNonTemporal is a hint to the cache.
//
//	VOID RtlPrefetchMemoryNonTemporal(PVOID Source, SIZE_T Length)
//
// "RtlPrefetchMemoryNonTemporal function (wdm.h)".
func rtlPrefetchMemoryNonTemporal(c *Call, source guest.Addr, length uintptr) {}
