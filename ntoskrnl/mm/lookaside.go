// Lookaside lists: drivers take from them and give to them by inline functions, which call the
// list's Allocate and Free when it is empty or full. Here they begin and end.

package mm

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

const (
	// A list keeps up to minDepth blocks. Windows lets the depth of a busy list grow to maxDepth.
	minDepth = 4
	maxDepth = 256
)

// LookasideParams says what a lookaside list is made with.
type LookasideParams struct {
	Type nt.PoolType // of its blocks, with the flags that the driver gave
	Size uint32      // of a block in bytes
	Tag  Tag

	// Allocate and Free are the routines that the inline functions call: the driver's, or
	// ExAllocatePoolWithTag and ExFreePool.
	Allocate nt.Addr
	Free     nt.Addr
}

// InitializeLookaside writes the list at list, for ExInitializeNPagedLookasideList and
// ExInitializePagedLookasideList. The error is nt.STATUS_ACCESS_VIOLATION.
func InitializeLookaside(list nt.Addr, p LookasideParams) error {
	err := guest.Ptr[nt.GeneralLookaside](list).Store(nt.GeneralLookaside{
		Depth: minDepth, MaximumDepth: maxDepth, Type: p.Type, Tag: uint32(p.Tag), Size: p.Size,
		Allocate: p.Allocate, Free: p.Free,
	})
	if err != nil {
		return nt.STATUS_ACCESS_VIOLATION
	}
	return nil
}

// DrainLookaside takes all blocks out of the list at list and gives each to free, for
// ExDeleteNPagedLookasideList and ExDeletePagedLookasideList. Nobody else may use the list any more.
// It ends at the first error: that of free, or nt.STATUS_ACCESS_VIOLATION.
func DrainLookaside(list nt.Addr, free func(block nt.Addr) error) error {
	p := guest.Ptr[nt.SListHeader](list)
	h, err := p.Load()
	if err != nil {
		return nt.STATUS_ACCESS_VIOLATION
	}
	if p.Store(nt.SListHeader{}) != nil {
		return nt.STATUS_ACCESS_VIOLATION
	}
	a := h.NextEntry()
	for range h.Depth() {
		if a == 0 {
			break
		}
		next, err := guest.LoadAddr(a)
		if err != nil {
			return nt.STATUS_ACCESS_VIOLATION
		}
		if err := free(a); err != nil {
			return err
		}
		a = next
	}
	return nil
}
