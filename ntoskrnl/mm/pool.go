// The pool's routines: ExAllocatePool and its kin, ExFreePool.

package mm

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

const (
	// freedByte fills freed blocks. As a pointer, eight of them are not canonical.
	freedByte = 0xDD

	// guardByte fills the bytes between a block's end and the next block.
	guardByte = 0xFD
)

// RaiseError is a failed allocation for which the driver asked for an exception instead of NULL.
type RaiseError struct{ Status nt.Status }

// Error gives the status.
func (e *RaiseError) Error() string { return "raise " + e.Status.Error() }

// Unwrap gives the status, so that errors.Is finds it.
func (e *RaiseError) Unwrap() error { return e.Status }

// AllocatePool is ExAllocatePoolWithTag (and, with tag 0 replaced by "None", ExAllocatePool: see
// AllocatePoolUntagged). A block of less than a page is aligned to 16 bytes and does not cross a
// page; from a page up it begins on a page. Cache-aligned types begin on a cache line of 64 bytes.
// The contents are undefined unless POOL_ZERO_ALLOCATION is set. An allocation of 0 bytes gives a
// block.
//
// The error is nt.STATUS_INSUFFICIENT_RESOURCES where Windows gives NULL, a *RaiseError where the
// type has POOL_RAISE_IF_ALLOCATION_FAILURE, else a *PoolError: a tag of 0, the tag "BIG", and the
// must-succeed types, as Bug Check 0xC2 lists them.
func (m *Manager) AllocatePool(t nt.PoolType, size uintptr, tag Tag) (nt.Addr, error) {
	if err := checkRequest(t, size, tag); err != nil {
		return 0, err
	}
	a, err := m.allocate(kindOf(t), t.CacheAligned(), t&nt.POOL_ZERO_ALLOCATION != 0, size, tag)
	if err != nil && t&nt.POOL_RAISE_IF_ALLOCATION_FAILURE != 0 {
		return 0, raise(err)
	}
	return a, err
}

// AllocatePoolUntagged is ExAllocatePool.
func (m *Manager) AllocatePoolUntagged(t nt.PoolType, size uintptr) (nt.Addr, error) {
	return m.AllocatePool(t, size, noneTag)
}

// AllocatePoolWithQuota is ExAllocatePoolWithQuotaTag: a failure raises, unless the type has
// POOL_QUOTA_FAIL_INSTEAD_OF_RAISE. Processes have no quota here that could be exceeded.
func (m *Manager) AllocatePoolWithQuota(t nt.PoolType, size uintptr, tag Tag) (nt.Addr, error) {
	if t&nt.POOL_QUOTA_FAIL_INSTEAD_OF_RAISE == 0 {
		t |= nt.POOL_RAISE_IF_ALLOCATION_FAILURE
	}
	return m.AllocatePool(t&^nt.POOL_QUOTA_FAIL_INSTEAD_OF_RAISE, size, tag)
}

// AllocatePool2 is ExAllocatePool2: zeroed unless POOL_FLAG_UNINITIALIZED is set. Flags that are
// required and not known, or that do not name exactly one pool, a tag of 0 and a size of 0 are
// STATUS_INVALID_PARAMETER, too little memory is STATUS_INSUFFICIENT_RESOURCES: NULL to the driver,
// or with POOL_FLAG_RAISE_ON_FAILURE a *RaiseError.
//
// Source: POOL_FLAGS; ExAllocatePool2 function (wdm.h).
func (m *Manager) AllocatePool2(flags uint64, size uintptr, tag Tag) (nt.Addr, error) {
	a, err := m.allocate2(flags, size, tag)
	if err != nil && flags&nt.POOL_FLAG_RAISE_ON_FAILURE != 0 {
		return 0, raise(err)
	}
	return a, err
}

// requiredFlags are the flags in the lower half that are known; flags in the upper half are hints,
// which an unknown one of is ignored.
const requiredFlags = nt.POOL_FLAG_USE_QUOTA | nt.POOL_FLAG_UNINITIALIZED | nt.POOL_FLAG_SESSION |
	nt.POOL_FLAG_CACHE_ALIGNED | nt.POOL_FLAG_RAISE_ON_FAILURE | nt.POOL_FLAG_NON_PAGED |
	nt.POOL_FLAG_NON_PAGED_EXECUTE | nt.POOL_FLAG_PAGED

func (m *Manager) allocate2(flags uint64, size uintptr, tag Tag) (nt.Addr, error) {
	if flags&0xFFFFFFFF&^requiredFlags != 0 || tag&^protectedPool == 0 || size == 0 {
		return 0, nt.STATUS_INVALID_PARAMETER
	}
	var k kind
	const pools = nt.POOL_FLAG_NON_PAGED | nt.POOL_FLAG_NON_PAGED_EXECUTE | nt.POOL_FLAG_PAGED
	switch flags & pools {
	case nt.POOL_FLAG_NON_PAGED:
		k = kindNonPaged
	case nt.POOL_FLAG_NON_PAGED_EXECUTE:
		k = kindExec
	case nt.POOL_FLAG_PAGED:
		k = kindPaged
	default:
		return 0, nt.STATUS_INVALID_PARAMETER
	}
	return m.allocate(k, flags&nt.POOL_FLAG_CACHE_ALIGNED != 0,
		flags&nt.POOL_FLAG_UNINITIALIZED == 0, size, tag)
}

// FreePool is ExFreePool: FreePoolWithTag with tag 0.
func (m *Manager) FreePool(a nt.Addr) error { return m.FreePoolWithTag(a, 0) }

// FreePoolWithTag is ExFreePoolWithTag. With tag 0 any block may be freed that was not allocated
// with the bit PROTECTED_POOL in its tag; else the tag must be the one of the allocation. A block
// of pages is inaccessible from now on; a smaller one is filled with 0xDD and not reused at once.
//
// The error is a *PoolError: BAD_POOL_CALLER for what is not allocated, or with the wrong tag, and
// BAD_POOL_HEADER when the bytes behind the block were written; then the block stays allocated.
func (m *Manager) FreePoolWithTag(a nt.Addr, tag Tag) error {
	b := m.ram.block(a)
	if b == nil {
		return m.notPool(a)
	}
	if b.use == useSmall {
		return b.cache.free(b, a, tag)
	}
	return m.freeLarge(b, a, tag)
}

// kindOf gives the pool that a type means. Session pool is not apart: there is one session.
func kindOf(t nt.PoolType) kind {
	switch {
	case t.Paged():
		return kindPaged
	case t.Executable():
		return kindExec
	}
	return kindNonPaged
}

// checkRequest finds the allocations for which Windows stops.
func checkRequest(t nt.PoolType, size uintptr, tag Tag) error {
	const mustSucceed = 2
	refuse := func(kind, last uint64, what string) error {
		return &PoolError{Code: nt.BAD_POOL_CALLER, Tag: tag, What: what,
			Params: [4]uint64{kind, uint64(t), uint64(size), last}}
	}
	switch {
	case t&mustSucceed != 0:
		return refuse(poolMustSucceed, uint64(tag), fmt.Sprintf(
			"pool of the must-succeed type %d was asked for, which Windows no longer has", t))
	case tag&^protectedPool == 0:
		return refuse(poolZeroTag, 0, "pool was asked for with a tag of 0")
	case tag == 'B'|'I'<<8|'G'<<16:
		return refuse(poolTagBIG, 0, `pool was asked for with the tag "BIG"`)
	}
	return nil
}

// allocate gives a block of any kind.
func (m *Manager) allocate(k kind, aligned, zero bool, size uintptr, tag Tag) (nt.Addr, error) {
	if size > maxSmall {
		a, err := m.allocateLarge(k, useLarge, size, tag, zero)
		if err != nil && m.ram.fits(k, size) {
			m.drainAll()
			a, err = m.allocateLarge(k, useLarge, size, tag, zero)
		}
		return a, err
	}
	a, err := m.allocateSmall(k, aligned, size, tag)
	if err == nt.STATUS_INSUFFICIENT_RESOURCES {
		m.drainAll()
		a, err = m.allocateSmall(k, aligned, size, tag)
	}
	if err == nil && zero {
		err = guest.Fill(a, 0, size)
	}
	return a, err
}

// raise turns a failed allocation into one that the driver sees as an exception.
func raise(err error) error {
	if s, ok := err.(nt.Status); ok {
		return &RaiseError{Status: s}
	}
	return err
}

// checkTag compares the tag of a free with the one of the allocation.
func checkTag(a nt.Addr, have, given Tag) error {
	if given == 0 && have&protectedPool == 0 || (have^given)&^protectedPool == 0 {
		return nil
	}
	return &PoolError{
		Code:   nt.BAD_POOL_CALLER,
		Params: [4]uint64{poolWrongTag, uint64(a), uint64(have), uint64(given)},
		Addr:   a, Tag: have,
		What: fmt.Sprintf("the pool block at %v was allocated with the tag %q (%#x) and freed "+
			"with %q (%#x)", a, have, uint32(have), given, uint32(given)),
	}
}

// notPool makes the error of freeing an address that no block ever had.
func (m *Manager) notPool(a nt.Addr) error {
	switch {
	case a == 0:
		return badCaller(poolInvalidAddress, a, "a null pointer was freed")
	case a < guest.SystemRangeStart:
		e := badCaller(poolUserAddress, a, fmt.Sprintf(
			"%v was freed, which is not a system address (%s)", a, m.space.Describe(a)))
		e.Params[2] = uint64(guest.SystemRangeStart)
		return e
	}
	return badCaller(poolNeverAllocated, a, fmt.Sprintf(
		"%v was freed, which was never in a pool (%s)", a, m.space.Describe(a)))
}

// doubleFree makes the error of freeing a block that was freed before.
func doubleFree(a nt.Addr, tag Tag, size uintptr) error {
	e := badCaller(poolAlreadyFreed, a, fmt.Sprintf(
		"the pool block at %v (tag %q, %d bytes) was freed twice", a, tag, size))
	e.Params = [4]uint64{poolAlreadyFreed, 0, uint64(tag), uint64(a)}
	e.Tag = tag
	return e
}

// notBlock makes the error of freeing an address inside of a block.
func notBlock(a, start nt.Addr, tag Tag, size uintptr) error {
	e := badCaller(poolInvalidAddress, a, fmt.Sprintf(
		"%v was freed, which is %#x bytes into the block at %v (tag %q, %d bytes)", a, a-start,
		start, tag, size))
	e.Tag = tag
	return e
}

// overrun makes the error of a block behind whose end something was written: bad is the first such
// byte.
func overrun(a nt.Addr, tag Tag, size uintptr, bad, next nt.Addr) error {
	return &PoolError{
		Code:   nt.BAD_POOL_HEADER,
		Params: [4]uint64{poolHeaderCorrupted, uint64(a - 16), uint64(next), 0},
		Addr:   a, Tag: tag,
		What: fmt.Sprintf("the pool block at %v (tag %q, %d bytes) was written past its end: the "+
			"byte at offset %d was changed", a, tag, size, bad-a),
	}
}

// CheckAllocateIRQL gives the *PoolError of an allocation at a too high IRQL, or nil: paged pool up
// to APC_LEVEL, non-paged pool up to DISPATCH_LEVEL.
func CheckAllocateIRQL(t nt.PoolType, size uintptr, irql nt.IRQL) error {
	if irql <= nt.APC_LEVEL || irql == nt.DISPATCH_LEVEL && !t.Paged() {
		return nil
	}
	return &PoolError{
		Code:   nt.BAD_POOL_CALLER,
		Params: [4]uint64{poolAllocIRQL, uint64(irql), uint64(t), uint64(size)},
		What:   fmt.Sprintf("pool of type %d was asked for at %v", t, irql),
	}
}

// CheckFreeIRQL gives the *PoolError of a free of the block at a at a too high IRQL, or nil.
func (m *Manager) CheckFreeIRQL(a nt.Addr, irql nt.IRQL) error {
	if irql <= nt.APC_LEVEL {
		return nil
	}
	t := nt.NonPagedPoolNx
	if b := m.ram.block(a); b != nil {
		t = b.kind.poolType()
	}
	if irql == nt.DISPATCH_LEVEL && !t.Paged() {
		return nil
	}
	return &PoolError{
		Code:   nt.BAD_POOL_CALLER,
		Params: [4]uint64{poolFreeIRQL, uint64(irql), uint64(t), uint64(a)}, Addr: a,
		What: fmt.Sprintf("the block at %v, in pool of type %d, was freed at %v", a, t, irql),
	}
}
