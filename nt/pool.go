// Kinds of pool, and the flags of ExAllocatePool2 and ExAllocatePool3.
package nt

// PoolType is POOL_TYPE.
type PoolType uint32

// The kinds of pool, and the bits that may be or-ed to them.
const (
	NonPagedPool                     PoolType = 0
	NonPagedPoolExecute              PoolType = 0
	PagedPool                        PoolType = 1
	NonPagedPoolMustSucceed          PoolType = 2
	DontUseThisType                  PoolType = 3
	NonPagedPoolCacheAligned         PoolType = 4
	PagedPoolCacheAligned            PoolType = 5
	NonPagedPoolSession              PoolType = 32
	PagedPoolSession                 PoolType = 33
	NonPagedPoolNx                   PoolType = 512
	NonPagedPoolNxCacheAligned       PoolType = 516
	NonPagedPoolSessionNx            PoolType = 544
	POOL_QUOTA_FAIL_INSTEAD_OF_RAISE PoolType = 8
	POOL_RAISE_IF_ALLOCATION_FAILURE PoolType = 16
	POOL_COLD_ALLOCATION             PoolType = 256
	POOL_NX_ALLOCATION               PoolType = 512
	POOL_ZERO_ALLOCATION             PoolType = 1024
	poolTypeBase                     PoolType = 1
	poolTypeCacheAligned             PoolType = 4
)

// Paged reports whether the memory may be paged out, so is not for use at DISPATCH_LEVEL.
func (t PoolType) Paged() bool { return t&poolTypeBase != 0 }

// Executable reports whether code may run from the memory: non-paged pool without the Nx bit.
func (t PoolType) Executable() bool { return !t.Paged() && t&POOL_NX_ALLOCATION == 0 }

// CacheAligned reports whether the memory must begin on a cache line.
func (t PoolType) CacheAligned() bool { return t&poolTypeCacheAligned != 0 }

// The flags of ExAllocatePool2 and ExAllocatePool3. Source: POOL_FLAGS (driver documentation).
const (
	POOL_FLAG_REQUIRED_START    uint64 = 0x0000000000000001
	POOL_FLAG_USE_QUOTA         uint64 = 0x0000000000000001
	POOL_FLAG_UNINITIALIZED     uint64 = 0x0000000000000002
	POOL_FLAG_SESSION           uint64 = 0x0000000000000004
	POOL_FLAG_CACHE_ALIGNED     uint64 = 0x0000000000000008
	POOL_FLAG_RESERVED1         uint64 = 0x0000000000000010
	POOL_FLAG_RAISE_ON_FAILURE  uint64 = 0x0000000000000020
	POOL_FLAG_NON_PAGED         uint64 = 0x0000000000000040
	POOL_FLAG_NON_PAGED_EXECUTE uint64 = 0x0000000000000080
	POOL_FLAG_PAGED             uint64 = 0x0000000000000100
	POOL_FLAG_RESERVED2         uint64 = 0x0000000000000200
	POOL_FLAG_RESERVED3         uint64 = 0x0000000000000400
	POOL_FLAG_REQUIRED_END      uint64 = 0x0000000080000000
	POOL_FLAG_OPTIONAL_START    uint64 = 0x0000000100000000
	POOL_FLAG_SPECIAL_POOL      uint64 = 0x0000000100000000
	POOL_FLAG_OPTIONAL_END      uint64 = 0x8000000000000000
)
