package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Bitmaps: RTL_BITMAP. The documentation allows APC_LEVEL, or any level if the bitmap is never paged
// out, which it is not here.
var rtlBitmapExports = []Export{
	// VOID RtlInitializeBitMap(PRTL_BITMAP BitMapHeader, PULONG BitMapBuffer, ULONG SizeOfBitMap).
	// "RtlInitializeBitMap function (wdm.h)".
	{Name: "RtlInitializeBitMap", Fn: run3(rtl.InitializeBitMap),
		Params: "BitMapHeader BitMapBuffer SizeOfBitMap:d", MaxIRQL: anyIRQL, Support: Full},
	// VOID RtlSetBit(PRTL_BITMAP BitMapHeader, ULONG BitNumber). "RtlSetBit function (wdm.h)".
	{Name: "RtlSetBit", Fn: do2(rtlSetBit), Params: "BitMapHeader BitNumber:d", MaxIRQL: anyIRQL,
		Support: Full},
	// VOID RtlClearBit(PRTL_BITMAP BitMapHeader, ULONG BitNumber). "RtlClearBit function (wdm.h)".
	{Name: "RtlClearBit", Fn: do2(rtlClearBit), Params: "BitMapHeader BitNumber:d",
		MaxIRQL: anyIRQL, Support: Full},
	// BOOLEAN RtlTestBit(PRTL_BITMAP BitMapHeader, ULONG BitNumber). "RtlTestBit function (wdm.h)".
	{Name: "RtlTestBit", Fn: fn2(rtlTestBit), Params: "BitMapHeader BitNumber:d", MaxIRQL: anyIRQL,
		Support: Full},
	// VOID RtlSetBits(PRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG NumberToSet).
	// "RtlSetBits function (wdm.h)".
	{Name: "RtlSetBits", Fn: do3(rtlSetBits), Params: "BitMapHeader StartingIndex:d NumberToSet:d",
		MaxIRQL: anyIRQL, Support: Full},
	// VOID RtlClearBits(PRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG NumberToClear).
	// "RtlClearBits function (wdm.h)".
	{Name: "RtlClearBits", Fn: do3(rtlClearBits),
		Params: "BitMapHeader StartingIndex:d NumberToClear:d", MaxIRQL: anyIRQL, Support: Full},
	// VOID RtlSetAllBits(PRTL_BITMAP BitMapHeader). "RtlSetAllBits function (wdm.h)".
	{Name: "RtlSetAllBits", Fn: do1(rtlSetAllBits), Params: "BitMapHeader", MaxIRQL: anyIRQL,
		Support: Full},
	// VOID RtlClearAllBits(PRTL_BITMAP BitMapHeader). "RtlClearAllBits function (wdm.h)".
	{Name: "RtlClearAllBits", Fn: do1(rtlClearAllBits), Params: "BitMapHeader", MaxIRQL: anyIRQL,
		Support: Full},
	// BOOLEAN RtlAreBitsSet(PRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length): FALSE for
	// none. "RtlAreBitsSet function (wdm.h)".
	{Name: "RtlAreBitsSet", Fn: bitTest(rtl.BitMap.AreSet),
		Params: "BitMapHeader StartingIndex:d Length:d", MaxIRQL: anyIRQL, Support: Full},
	// BOOLEAN RtlAreBitsClear(PRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length).
	// "RtlAreBitsClear function (wdm.h)".
	{Name: "RtlAreBitsClear", Fn: bitTest(rtl.BitMap.AreClear),
		Params: "BitMapHeader StartingIndex:d Length:d", MaxIRQL: anyIRQL, Support: Full},
	// ULONG RtlNumberOfSetBits(PRTL_BITMAP BitMapHeader). "RtlNumberOfSetBits function (wdm.h)".
	{Name: "RtlNumberOfSetBits", Fn: bitCount(rtl.BitMap.NumberOfSet), Params: "BitMapHeader",
		MaxIRQL: anyIRQL, Support: Full},
	// ULONG RtlNumberOfClearBits(PRTL_BITMAP BitMapHeader). "RtlNumberOfClearBits function (wdm.h)".
	{Name: "RtlNumberOfClearBits", Fn: bitCount(rtl.BitMap.NumberOfClear), Params: "BitMapHeader",
		MaxIRQL: anyIRQL, Support: Full},

	// ULONG RtlFindSetBits(PRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex): where so
	// many are in a row, from the hint on and then from the start; 0xFFFFFFFF without.
	// "RtlFindSetBits function (wdm.h)".
	{Name: "RtlFindSetBits", Fn: bitSearch(rtl.BitMap.FindSet),
		Params: "BitMapHeader NumberToFind:d HintIndex:d", MaxIRQL: anyIRQL, Support: Full},
	// ULONG RtlFindClearBits(PRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex).
	// "RtlFindClearBits function (wdm.h)".
	{Name: "RtlFindClearBits", Fn: bitSearch(rtl.BitMap.FindClear),
		Params: "BitMapHeader NumberToFind:d HintIndex:d", MaxIRQL: anyIRQL, Support: Full},
	// ULONG RtlFindClearBitsAndSet(PRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex).
	// "RtlFindClearBitsAndSet function (wdm.h)".
	{Name: "RtlFindClearBitsAndSet", Fn: bitSearch(rtl.BitMap.FindClearAndSet),
		Params: "BitMapHeader NumberToFind:d HintIndex:d", MaxIRQL: anyIRQL, Support: Full},
	// ULONG RtlFindSetBitsAndClear(PRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex).
	// "RtlFindSetBitsAndClear function (wdm.h)".
	{Name: "RtlFindSetBitsAndClear", Fn: bitSearch(rtl.BitMap.FindSetAndClear),
		Params: "BitMapHeader NumberToFind:d HintIndex:d", MaxIRQL: anyIRQL, Support: Full},

	{Name: "RtlFindFirstRunClear", Fn: fn2(rtlFindFirstRunClear),
		Params: "BitMapHeader StartingIndex", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlFindNextForwardRunClear", Fn: fn3(rtlFindNextForwardRunClear),
		Params: "BitMapHeader FromIndex:d StartingRunIndex", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlFindLastBackwardRunClear", Fn: fn3(rtlFindLastBackwardRunClear),
		Params: "BitMapHeader FromIndex:d StartingRunIndex", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlFindLongestRunClear", Fn: fn2(rtlFindLongestRunClear),
		Params: "BitMapHeader StartingIndex", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlFindClearRuns", Fn: fn4(rtlFindClearRuns),
		Params: "BitMapHeader RunArray SizeOfRunArray:d LocateLongestRuns:b", MaxIRQL: anyIRQL,
		Support: Partial, Note: "it gives at most 65536 runs"},
}

// bitMap reads the header of a bitmap.
func (c *Call) bitMap(header guest.Addr) rtl.BitMap {
	b, err := rtl.LoadBitMap(header)
	return must(c, b, err)
}

func rtlSetBit(c *Call, header guest.Addr, i uint32) { c.Must(c.bitMap(header).SetBits(i, 1)) }

func rtlClearBit(c *Call, header guest.Addr, i uint32) { c.Must(c.bitMap(header).ClearBits(i, 1)) }

func rtlTestBit(c *Call, header guest.Addr, i uint32) nt.Boolean {
	v, err := c.bitMap(header).Test(i)
	return boolean(must(c, v, err))
}

func rtlSetBits(c *Call, header guest.Addr, start, n uint32) {
	c.Must(c.bitMap(header).SetBits(start, n))
}

func rtlClearBits(c *Call, header guest.Addr, start, n uint32) {
	c.Must(c.bitMap(header).ClearBits(start, n))
}

func rtlSetAllBits(c *Call, header guest.Addr) { c.Must(c.bitMap(header).SetAll()) }

func rtlClearAllBits(c *Call, header guest.Addr) { c.Must(c.bitMap(header).ClearAll()) }

func bitTest(f func(b rtl.BitMap, start, n uint32) (bool, error)) Func {
	return fn3(func(c *Call, header guest.Addr, start, n uint32) nt.Boolean {
		v, err := f(c.bitMap(header), start, n)
		return boolean(must(c, v, err))
	})
}

func bitCount(f func(b rtl.BitMap) (uint32, error)) Func {
	return fn1(func(c *Call, header guest.Addr) uint32 {
		n, err := f(c.bitMap(header))
		return must(c, n, err)
	})
}

func bitSearch(f func(b rtl.BitMap, n, hint uint32) (uint32, error)) Func {
	return fn3(func(c *Call, header guest.Addr, n, hint uint32) uint32 {
		at, err := f(c.bitMap(header), n, hint)
		return must(c, at, err)
	})
}

// run stores where a run begins and gives its length.
func (c *Call) run(r rtl.Run, err error, start guest.Addr) uint32 {
	c.Must(err)
	Store(c, start, r.Start)
	return r.Count
}

// rtlFindFirstRunClear gives the length of the first run of clear bits, 0 if there is none.
//
//	ULONG RtlFindFirstRunClear(PRTL_BITMAP BitMapHeader, PULONG StartingIndex)
//
// "RtlFindFirstRunClear function (wdm.h)".
func rtlFindFirstRunClear(c *Call, header, start guest.Addr) uint32 {
	r, err := c.bitMap(header).NextForwardRun(0, false)
	return c.run(r, err, start)
}

// rtlFindNextForwardRunClear gives the length of the first run of clear bits from an index on.
//
//	ULONG RtlFindNextForwardRunClear(PRTL_BITMAP BitMapHeader, ULONG FromIndex,
//	    PULONG StartingRunIndex)
//
// "RtlFindNextForwardRunClear function (wdm.h)".
func rtlFindNextForwardRunClear(c *Call, header guest.Addr, from uint32, start guest.Addr) uint32 {
	r, err := c.bitMap(header).NextForwardRun(from, false)
	return c.run(r, err, start)
}

// rtlFindLastBackwardRunClear gives the length of the last run of clear bits up to an index.
//
//	ULONG RtlFindLastBackwardRunClear(PRTL_BITMAP BitMapHeader, ULONG FromIndex,
//	    PULONG StartingRunIndex)
//
// "RtlFindLastBackwardRunClear function (wdm.h)".
func rtlFindLastBackwardRunClear(c *Call, header guest.Addr, from uint32, start guest.Addr) uint32 {
	r, err := c.bitMap(header).LastBackwardRun(from, false)
	return c.run(r, err, start)
}

// rtlFindLongestRunClear gives the length of the longest run of clear bits.
//
//	ULONG RtlFindLongestRunClear(PRTL_BITMAP BitMapHeader, PULONG StartingIndex)
//
// "RtlFindLongestRunClear function (wdm.h)".
func rtlFindLongestRunClear(c *Call, header, start guest.Addr) uint32 {
	r, err := c.bitMap(header).LongestRunClear()
	return c.run(r, err, start)
}

// maxRuns is the most runs that one call gives.
const maxRuns = 1 << 16

// rtlFindClearRuns stores runs of clear bits, the first ones or the longest ones, as (index, length)
// and gives how many.
//
//	ULONG RtlFindClearRuns(PRTL_BITMAP BitMapHeader, PRTL_BITMAP_RUN RunArray,
//	    ULONG SizeOfRunArray, BOOLEAN LocateLongestRuns)
//
// "RtlFindClearRuns function (wdm.h)".
func rtlFindClearRuns(c *Call, header, array guest.Addr, size uint32, longest nt.Boolean) uint32 {
	b := c.bitMap(header)
	runs := make([]rtl.Run, min(size, b.Size/2+1, maxRuns))
	n, err := b.ClearRuns(runs, longest != 0)
	c.Must(err)
	for i, r := range runs[:n] {
		Store(c, array+8*guest.Addr(i), r)
	}
	return n
}
