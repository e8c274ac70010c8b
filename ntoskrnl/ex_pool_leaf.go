package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// The routines in ex_pool_amd64.s, and where they go on when a call is not plain.

// What they know of magazines, records and pool types.
const (
	kpcrTimers   = ke.TimersSetOffset
	kpcrMagazine = ke.PoolMagazineOffset

	poolRAM          = mm.MagazineBase
	poolRAMSize      = mm.MagazineSize
	poolShelves      = mm.MagazineShelves
	poolRecords      = mm.MagazineRecords
	poolClasses      = mm.MagazineClasses
	poolFirst        = mm.MagazineFirst
	poolShelfShift   = mm.ShelfShift
	poolKindShift    = mm.MagazineClassShift
	poolRecordsShift = mm.PageRecordsShift
	poolFirstBlock   = mm.FirstBlock
	poolMax          = mm.MaxMagazine
	poolRound        = mm.MinGuard + 15

	poolTake   = mm.ShelfTake
	poolGiven  = mm.ShelfGiven
	poolSize   = mm.ShelfSize
	poolCount  = mm.ShelfCount
	poolRecip  = mm.ShelfRecip
	poolBlocks = mm.ShelfBlocks
	poolFreed  = mm.ShelfFreed
	poolRoom   = mm.ShelfRoom

	poolNx    = int(nt.NonPagedPoolNx)
	poolPaged = int(mm.Paged)

	flagNonPaged = nt.POOL_FLAG_NON_PAGED
	flagPaged    = nt.POOL_FLAG_PAGED

	tagMask = 0x7FFFFFFF // but for PROTECTED_POOL
	tagBIG  = 'B' | 'I'<<8 | 'G'<<16
	tagNone = 'N' | 'o'<<8 | 'n'<<16 | 'e'<<24

	liveBit      = 48
	freedBit     = 49
	guardPattern = mm.GuardWord
	guardHalf    = mm.GuardWord & 0xFFFFFFFF
	guardMax     = mm.MaxGuard
	freedPattern = mm.FreedWord
)

var addrAllocatePoolWithTag, addrAllocatePool2, addrAllocatePool *byte
var addrFreePoolWithTag, addrFreePool *byte

var (
	codeAllocatePoolWithTag = &Code{Text: leafText(addrAllocatePoolWithTag),
		Next: "ExpAllocatePoolWithTag"}
	codeAllocatePool2   = &Code{Text: leafText(addrAllocatePool2), Next: "ExpAllocatePool2"}
	codeAllocatePool    = &Code{Text: leafText(addrAllocatePool), Next: "ExAllocatePoolWithTag"}
	codeFreePoolWithTag = &Code{Text: leafText(addrFreePoolWithTag), Next: "ExpFreePoolWithTag"}
	codeFreePool        = &Code{Text: leafText(addrFreePool), Next: "ExFreePoolWithTag"}
)

// makeMagazines gives each processor its magazine. In a kernel that is traced they stay empty, so that
// each call of the driver's can be seen.
func (k *Kernel) makeMagazines() error {
	for n := range k.Ke.Processors() {
		g, err := k.Mm.NewMagazine(k.opts.Trace == nil)
		if err != nil {
			return err
		}
		k.magazines = append(k.magazines, g)
		at := k.Ke.Processor(n).KPCR() + guest.Addr(kpcrMagazine)
		if err := guest.StoreAddr(at, g.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// magazine gives the magazine of the caller's processor.
func (c *Call) magazine() *mm.Magazine { return c.magazines[c.T.Processor().Number()] }

// expAllocatePoolWithTag is what ExAllocatePoolWithTag goes on to.
//
//	PVOID ExpAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag, ULONG Taken)
//
// Taken says that PoolType is a block from the magazine instead.
func expAllocatePoolWithTag(c *Call, kind uint64, size uintptr, tag mm.Tag, taken uint32) guest.Addr {
	if taken != 0 {
		return c.finishPool(guest.Addr(kind), size, tag)
	}
	t := nt.PoolType(kind)
	a := exAllocatePoolWithTag(c, t, size, tag)
	c.magazine().Fill(t, size)
	return a
}

// expAllocatePool2 is what ExAllocatePool2 goes on to.
//
//	PVOID ExpAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag, ULONG Taken)
//
// Taken says that Flags is a block from the magazine instead.
func expAllocatePool2(c *Call, flags uint64, size uintptr, tag mm.Tag, taken uint32) guest.Addr {
	if taken != 0 {
		a := c.finishPool(guest.Addr(flags), size, tag)
		c.Must(guest.Fill(a, 0, size))
		return a
	}
	a := exAllocatePool2(c, flags, size, tag)
	switch flags {
	case nt.POOL_FLAG_NON_PAGED:
		c.magazine().Fill(nt.NonPagedPoolNx, size)
	case nt.POOL_FLAG_PAGED:
		c.magazine().Fill(nt.PagedPool, size)
	}
	return a
}

// finishPool makes a block ready that guest code has taken, and lets DPCs run that wait.
func (c *Call) finishPool(a guest.Addr, size uintptr, tag mm.Tag) guest.Addr {
	c.Must(c.Mm.Finish(a, size, tag))
	c.T.LowerIRQL(c.T.IRQL())
	return a
}

// expFreePoolWithTag is what ExFreePoolWithTag goes on to.
//
//	VOID ExpFreePoolWithTag(PVOID P, ULONG Tag, ULONG Freed)
//
// Freed says that the block is in the magazine already, and DPCs wait.
func expFreePoolWithTag(c *Call, p guest.Addr, tag mm.Tag, freed uint32) {
	if freed != 0 {
		c.T.LowerIRQL(c.T.IRQL())
		return
	}
	exFreePoolWithTag(c, p, tag)
	c.Must(c.magazine().Empty(p))
}
