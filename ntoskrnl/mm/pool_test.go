package mm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPoolBlocksAreAlignedAndInOnePage(t *testing.T) {
	m := newManager(t, Config{})
	for _, kind := range []nt.PoolType{nt.NonPagedPool, nt.NonPagedPoolNx, nt.PagedPool,
		nt.NonPagedPoolCacheAligned, nt.PagedPoolCacheAligned, nt.NonPagedPoolNxCacheAligned,
		nt.PagedPoolSession} {
		for size := uintptr(0); size < 9000; size += 1 + size/40 {
			a, err := m.AllocatePool(kind, size, testTag)
			require.NoError(t, err)
			align := nt.Addr(16)
			switch {
			case size >= pageSize:
				align = pageSize
			case kind.CacheAligned():
				align = 64
			}
			require.Zero(t, a%align, "type %d, size %d", kind, size)
			if size > 0 && size < pageSize {
				require.Equal(t, a>>pageShift, (a+nt.Addr(size)-1)>>pageShift, "size %d", size)
			}
			require.NoError(t, guest.Fill(a, 0x5A, size))
			info, ok := m.BlockAt(a + nt.Addr(size/2))
			require.True(t, ok)
			assert.Equal(t, BlockInfo{Addr: a, Size: size, Tag: testTag, Pool: Pool(kindOf(kind)),
				Routine: "pool"}, info)
			require.NoError(t, m.FreePoolWithTag(a, testTag), "size %d", size)
		}
	}
	assert.Empty(t, m.Outstanding())
}

func TestClassArithmetic(t *testing.T) {
	for _, table := range []*[classes]class{&classTable, &alignedClassTable} {
		for _, c := range table {
			if c.size == 0 {
				continue
			}
			require.LessOrEqual(t, c.count, uint32(128))
			require.LessOrEqual(t, c.first+c.count*c.size, uint32(pageSize))
			for off := range uint32(pageSize) {
				require.Equal(t, off/c.size, uint32(uint64(off)*c.recip>>32),
					"class %d offset %d", c.size, off)
			}
		}
	}
	for size := range uintptr(maxSmall + 1) {
		units := (size + minGuard + 15) / 16
		require.GreaterOrEqual(t, uintptr(classTable[classOf[units]].size), size+minGuard)
		require.GreaterOrEqual(t, uintptr(alignedClassTable[alignedClassOf[units]].size),
			size+minGuard)
	}
}

func TestPoolProtection(t *testing.T) {
	m := newManager(t, Config{})
	for _, c := range []struct {
		name string
		t    nt.PoolType
		prot guest.Prot
	}{
		{"non-paged pool is executable", nt.NonPagedPool, guest.ProtRWX},
		{"NX pool is not", nt.NonPagedPoolNx, guest.ProtRW},
		{"paged pool is not", nt.PagedPool, guest.ProtRW},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []uintptr{100, 5000} {
				a, err := m.AllocatePool(c.t, size, testTag)
				require.NoError(t, err)
				info, ok := m.space.Lookup(a)
				require.True(t, ok)
				assert.Equal(t, c.prot, info.Prot)
				require.NoError(t, m.FreePool(a))
			}
		})
	}
}

func TestPoolZeroing(t *testing.T) {
	m := newManager(t, Config{})
	for _, size := range []uintptr{24, 64, 1000, 4000, 4096, 5000, 300 << 10} {
		// Used memory, so that zeros are not there by chance.
		var dirty []nt.Addr
		for range 100 {
			a, err := m.AllocatePool(nt.NonPagedPoolNx, size, testTag)
			require.NoError(t, err)
			require.NoError(t, guest.Fill(a, 0xAA, size))
			dirty = append(dirty, a)
		}
		for _, a := range dirty {
			require.NoError(t, m.FreePool(a))
		}
		for name, alloc := range map[string]func() (nt.Addr, error){
			"ExAllocatePool2": func() (nt.Addr, error) {
				return m.AllocatePool2(nt.POOL_FLAG_NON_PAGED, size, testTag)
			},
			"POOL_ZERO_ALLOCATION": func() (nt.Addr, error) {
				return m.AllocatePool(nt.NonPagedPoolNx|nt.POOL_ZERO_ALLOCATION, size, testTag)
			},
		} {
			for range 100 {
				a, err := alloc()
				require.NoError(t, err)
				require.Zero(t, firstOther(a, size, 0), "%s of %d bytes", name, size)
				require.NoError(t, guest.Fill(a, 0xAA, size))
				require.NoError(t, m.FreePool(a))
			}
		}
	}
}

func TestAllocatePool2Flags(t *testing.T) {
	m := newManager(t, Config{MaxPagedPool: 1 << 20})
	for _, c := range []struct {
		name  string
		flags uint64
		size  uintptr
		tag   Tag
		want  error
	}{
		{"non-paged", nt.POOL_FLAG_NON_PAGED, 10, testTag, nil},
		{"executable", nt.POOL_FLAG_NON_PAGED_EXECUTE, 10, testTag, nil},
		{"paged, not zeroed, quota, cache aligned", nt.POOL_FLAG_PAGED | nt.POOL_FLAG_UNINITIALIZED |
			nt.POOL_FLAG_USE_QUOTA | nt.POOL_FLAG_CACHE_ALIGNED, 10, testTag, nil},
		{"an optional flag that is not known is ignored", nt.POOL_FLAG_PAGED | 1<<50, 10, testTag, nil},
		{"no pool", nt.POOL_FLAG_UNINITIALIZED, 10, testTag, nt.STATUS_INVALID_PARAMETER},
		{"two pools", nt.POOL_FLAG_PAGED | nt.POOL_FLAG_NON_PAGED, 10, testTag,
			nt.STATUS_INVALID_PARAMETER},
		{"a reserved flag", nt.POOL_FLAG_PAGED | nt.POOL_FLAG_RESERVED2, 10, testTag,
			nt.STATUS_INVALID_PARAMETER},
		{"no tag", nt.POOL_FLAG_PAGED, 10, 0, nt.STATUS_INVALID_PARAMETER},
		{"no bytes", nt.POOL_FLAG_PAGED, 0, testTag, nt.STATUS_INVALID_PARAMETER},
		{"above the limit", nt.POOL_FLAG_PAGED, 2 << 20, testTag, nt.STATUS_INSUFFICIENT_RESOURCES},
		{"above the limit, raises", nt.POOL_FLAG_PAGED | nt.POOL_FLAG_RAISE_ON_FAILURE, 2 << 20,
			testTag, &RaiseError{nt.STATUS_INSUFFICIENT_RESOURCES}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := m.AllocatePool2(c.flags, c.size, c.tag)
			if c.want != nil {
				assert.Equal(t, c.want, err)
				assert.Zero(t, a)
				return
			}
			require.NoError(t, err)
			require.NoError(t, m.FreePool(a))
		})
	}
}

func TestPoolMisuse(t *testing.T) {
	m := newManager(t, Config{})
	alloc := func(t *testing.T, size uintptr, tag Tag) nt.Addr {
		a, err := m.AllocatePool(nt.NonPagedPoolNx, size, tag)
		require.NoError(t, err)
		return a
	}
	const other Tag = 'x' | 'x'<<8 | 'x'<<16 | 'x'<<24
	for _, size := range []uintptr{60, 2000, 4096, 6000} {
		for _, c := range []struct {
			name string
			do   func(t *testing.T, a nt.Addr) error
			code nt.BugCheck
			p    func(a nt.Addr) [4]uint64
		}{
			{"free twice", func(t *testing.T, a nt.Addr) error {
				require.NoError(t, m.FreePool(a))
				return m.FreePool(a)
			}, nt.BAD_POOL_CALLER, func(a nt.Addr) [4]uint64 {
				return [4]uint64{0x07, 0, uint64(testTag), uint64(a)}
			}},
			{"free with another tag", func(t *testing.T, a nt.Addr) error {
				return m.FreePoolWithTag(a, other)
			}, nt.BAD_POOL_CALLER, func(a nt.Addr) [4]uint64 {
				return [4]uint64{0x0A, uint64(a), uint64(testTag), uint64(other)}
			}},
			{"free inside of a block", func(t *testing.T, a nt.Addr) error {
				return m.FreePool(a + 16)
			}, nt.BAD_POOL_CALLER, func(a nt.Addr) [4]uint64 {
				return [4]uint64{0x46, uint64(a) + 16, 0, 0}
			}},
		} {
			t.Run(fmt.Sprintf("%s, %d bytes", c.name, size), func(t *testing.T) {
				a := alloc(t, size, testTag)
				err := c.do(t, a)
				var pe *PoolError
				require.ErrorAs(t, err, &pe)
				assert.Equal(t, c.code, pe.Code)
				assert.Equal(t, c.p(a), pe.Params)
			})
		}
	}
	t.Run("a block with a protected tag needs it", func(t *testing.T) {
		a := alloc(t, 10, testTag|protectedPool)
		assertPool(t, m.FreePool(a), nt.BAD_POOL_CALLER, 0x0A)
		require.NoError(t, m.FreePoolWithTag(a, testTag))
	})
	for _, c := range []struct {
		name string
		a    nt.Addr
		kind uint64
	}{
		{"null", 0, 0x46},
		{"user memory", guest.UserBase + 0x5000, 0x40},
		{"nothing", 0x7000_0000_0000, 0x43},
		{"RAM that was never allocated", m.ram.addr(m.ram.pages - 1), 0x43},
	} {
		t.Run("free of "+c.name, func(t *testing.T) {
			assertPool(t, m.FreePool(c.a), nt.BAD_POOL_CALLER, c.kind)
		})
	}
	for _, c := range []struct {
		name string
		t    nt.PoolType
		tag  Tag
		kind uint64
	}{
		{"no tag", nt.PagedPool, 0, 0x9B},
		{"the tag BIG", nt.PagedPool, 'B' | 'I'<<8 | 'G'<<16, 0x9C},
		{"must succeed", nt.NonPagedPoolMustSucceed, testTag, 0x9A},
	} {
		t.Run("allocate with "+c.name, func(t *testing.T) {
			_, err := m.AllocatePool(c.t, 10, c.tag)
			assertPool(t, err, nt.BAD_POOL_CALLER, c.kind)
		})
	}
	t.Run("paged pool at DISPATCH_LEVEL", func(t *testing.T) {
		assertPool(t, CheckAllocateIRQL(nt.PagedPool, 10, nt.DISPATCH_LEVEL), nt.BAD_POOL_CALLER, 8)
		assert.NoError(t, CheckAllocateIRQL(nt.NonPagedPoolNx, 10, nt.DISPATCH_LEVEL))
		assertPool(t, CheckAllocateIRQL(nt.NonPagedPoolNx, 10, 5), nt.BAD_POOL_CALLER, 8)
		a, err := m.AllocatePool(nt.PagedPool, 10, testTag)
		require.NoError(t, err)
		assertPool(t, m.CheckFreeIRQL(a, nt.DISPATCH_LEVEL), nt.BAD_POOL_CALLER, 9)
		assert.NoError(t, m.CheckFreeIRQL(a, nt.APC_LEVEL))
	})
}

// assertPool checks that err is a *PoolError with a code and a kind.
func assertPool(t *testing.T, err error, code nt.BugCheck, kind uint64) {
	t.Helper()
	var pe *PoolError
	if assert.ErrorAs(t, err, &pe) {
		assert.Equal(t, code, pe.Code)
		assert.Equal(t, kind, pe.Params[0], pe.Error())
	}
}

func TestOverrunIsFoundAtFree(t *testing.T) {
	m := newManager(t, Config{})
	for _, size := range []uintptr{0, 1, 7, 16, 23, 24, 25, 72, 100, 500, 2000, 4024, 4090, 6001} {
		for _, past := range []uintptr{0, 1, 5} {
			a, err := m.AllocatePool(nt.PagedPool, size, testTag)
			require.NoError(t, err)
			at := a + nt.Addr(size+past)
			old, err := guest.Load8(at)
			require.NoError(t, err)
			require.NoError(t, guest.Store8(at, old+1))
			err = m.FreePool(a)
			var pe *PoolError
			require.ErrorAs(t, err, &pe, "size %d, %d past", size, past)
			assert.Equal(t, nt.BAD_POOL_HEADER, pe.Code)
			assert.Equal(t, testTag, pe.Tag)
			assert.Equal(t, uint64(a-16), pe.Params[1])
			assert.Contains(t, pe.What, fmt.Sprintf("offset %d was changed", size+past))
			require.NoError(t, guest.Store8(at, old))
			require.NoError(t, m.FreePool(a))
		}
	}
}

func TestFreedMemoryIsGone(t *testing.T) {
	m := newManager(t, Config{})
	t.Run("a page-sized block faults at once", func(t *testing.T) {
		a, err := m.AllocatePool(nt.NonPagedPoolNx, 3*pageSize, testTag)
		require.NoError(t, err)
		require.NoError(t, guest.Store8(a+2*pageSize, 1))
		require.NoError(t, m.FreePool(a))
		for off := nt.Addr(0); off < 3*pageSize; off += pageSize {
			_, err := guest.Load8(a + off)
			require.Error(t, err)
			require.Error(t, guest.Store8(a+off, 1))
			require.False(t, m.IsAddressValid(a+off))
		}
		assert.Contains(t, m.Describe(a), "freed block of pool")
	})
	t.Run("the page behind a block of pages faults", func(t *testing.T) {
		for range 10 {
			a, err := m.AllocatePool(nt.NonPagedPoolNx, pageSize, testTag)
			require.NoError(t, err)
			require.Error(t, guest.Store8(a+pageSize, 1))
		}
	})
	t.Run("a small block is poisoned and not reused at once", func(t *testing.T) {
		a, err := m.AllocatePool(nt.NonPagedPoolNx, 64, testTag)
		require.NoError(t, err)
		require.NoError(t, m.FreePool(a))
		v, err := guest.Load64(a)
		require.NoError(t, err)
		assert.EqualValues(t, uint64(0xDDDDDDDDDDDDDDDD), v)
		for range 8 {
			b, err := m.AllocatePool(nt.NonPagedPoolNx, 64, testTag)
			require.NoError(t, err)
			require.NotEqual(t, a, b)
			require.NoError(t, m.FreePool(b))
		}
	})
	t.Run("a write after free is found at the reuse", func(t *testing.T) {
		m := newManager(t, Config{})
		m.shards = 1
		a, err := m.AllocatePool(nt.PagedPool, 200, testTag)
		require.NoError(t, err)
		require.NoError(t, m.FreePool(a))
		require.NoError(t, guest.Store8(a+77, 1))
		for range 2 * queueSize {
			var b nt.Addr
			if b, err = m.AllocatePool(nt.PagedPool, 200, testTag); err != nil {
				break
			}
			require.NoError(t, m.FreePool(b))
		}
		assertPool(t, err, nt.DRIVER_CAUGHT_MODIFYING_FREED_POOL, uint64(a+77))
	})
}

func TestPoolLimits(t *testing.T) {
	m := newManager(t, Config{RAM: 32 << 20, MaxPagedPool: 1 << 20})
	for _, size := range []uintptr{^uintptr(0), ^uintptr(0) - pageSize, 1 << 63, 1 << 40, 32<<20 + 1,
		32 << 20} {
		for _, kind := range []nt.PoolType{nt.NonPagedPool, nt.PagedPool} {
			_, err := m.AllocatePool(kind, size, testTag)
			require.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES, err, "%#x", size)
			_, err = m.AllocatePool(kind|nt.POOL_RAISE_IF_ALLOCATION_FAILURE, size, testTag)
			require.Equal(t, &RaiseError{nt.STATUS_INSUFFICIENT_RESOURCES}, err)
			_, err = m.AllocatePoolWithQuota(kind, size, testTag)
			require.Equal(t, &RaiseError{nt.STATUS_INSUFFICIENT_RESOURCES}, err)
			_, err = m.AllocatePoolWithQuota(kind|nt.POOL_QUOTA_FAIL_INSTEAD_OF_RAISE, size, testTag)
			require.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES, err)
		}
	}
	for _, size := range []uintptr{100, 3000, 9000} {
		var got []nt.Addr
		total := uintptr(0)
		for {
			a, err := m.AllocatePool(nt.PagedPool, size, testTag)
			if err != nil {
				require.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES, err)
				break
			}
			got = append(got, a)
			total += size
		}
		assert.LessOrEqual(t, total, uintptr(1<<20))
		assert.Greater(t, total, uintptr(600<<10))
		out := m.Outstanding()
		require.Len(t, out, 1)
		assert.Equal(t, TagUse{Tag: testTag, Pool: Paged, Blocks: len(got), Bytes: total}, out[0])
		for _, a := range got {
			require.NoError(t, m.FreePool(a))
		}
		a, err := m.AllocatePool(nt.PagedPool, size, testTag)
		require.NoError(t, err, "freed pool can be had again")
		require.NoError(t, m.FreePool(a))
	}
}

func TestOutstandingByTag(t *testing.T) {
	m := newManager(t, Config{})
	for i, tag := range []string{"Bbbb", "Aaaa", "Bbbb"} {
		_, err := m.AllocatePool(nt.NonPagedPoolNx, uintptr(100+i), MakeTag(tag))
		require.NoError(t, err)
	}
	_, err := m.AllocatePool(nt.PagedPool, 9000, MakeTag("Bbbb")|protectedPool)
	require.NoError(t, err)
	assert.Equal(t, []TagUse{
		{MakeTag("Aaaa"), NonPaged, 1, 101},
		{MakeTag("Bbbb"), NonPaged, 2, 202},
		{MakeTag("Bbbb"), Paged, 1, 9000},
	}, m.Outstanding())
}

func TestPoolUnderLoad(t *testing.T) {
	m := newManager(t, Config{RAM: 64 << 20})
	const workers, rounds = 8, 4000
	shared := make(chan nt.Addr, 64) // blocks that another goroutine frees
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			var mine []nt.Addr
			sizes := map[nt.Addr]uintptr{}
			free := func(a nt.Addr) {
				if !assert.NoError(t, m.FreePoolWithTag(a, testTag)) {
					panic("free")
				}
			}
			for range rounds {
				if len(mine) > 40 || len(mine) > 0 && r.IntN(3) == 0 {
					i := r.IntN(len(mine))
					a := mine[i]
					mine[i] = mine[len(mine)-1]
					mine = mine[:len(mine)-1]
					if bad := firstOther(a, sizes[a], byte(a>>4)); bad != 0 {
						t.Errorf("block %v of %d bytes was changed at %v", a, sizes[a], bad)
						return
					}
					select {
					case shared <- a:
					default:
						free(a)
					}
					continue
				}
				size := uintptr(r.IntN(300))
				if r.IntN(10) == 0 {
					size = uintptr(r.IntN(12000))
				}
				types := [...]nt.PoolType{nt.NonPagedPool, nt.NonPagedPoolNx, nt.PagedPool,
					nt.NonPagedPoolCacheAligned}
				a, err := m.AllocatePool(types[r.IntN(4)], size, testTag)
				if !assert.NoError(t, err) {
					return
				}
				guest.Fill(a, byte(a>>4), size)
				sizes[a] = size
				mine = append(mine, a)
				if r.IntN(2) == 0 {
					select {
					case b := <-shared:
						free(b)
					default:
					}
				}
				if r.IntN(500) == 0 {
					m.Outstanding()
				}
			}
			for _, a := range mine {
				free(a)
			}
		})
	}
	wg.Wait()
	close(shared)
	for a := range shared {
		require.NoError(t, m.FreePool(a))
	}
	assert.Empty(t, m.Outstanding())
}

func TestConcurrentDoubleFreeIsFoundOnce(t *testing.T) {
	m := newManager(t, Config{})
	for _, size := range []uintptr{64, 8192} {
		for range 200 {
			a, err := m.AllocatePool(nt.NonPagedPoolNx, size, testTag)
			require.NoError(t, err)
			var wg sync.WaitGroup
			errs := make([]error, 2)
			for i := range errs {
				wg.Go(func() { errs[i] = m.FreePool(a) })
			}
			wg.Wait()
			require.True(t, (errs[0] == nil) != (errs[1] == nil), "%v, %v", errs[0], errs[1])
			assertPool(t, errors.Join(errs...), nt.BAD_POOL_CALLER, 0x07)
		}
	}
}

func TestPoolPairAllocatesNoGoMemory(t *testing.T) {
	m := newManager(t, Config{})
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		a, _ := m.AllocatePool(nt.NonPagedPoolNx, 64, testTag)
		_ = m.FreePoolWithTag(a, testTag)
	}))
}

func TestManagersAreApart(t *testing.T) {
	a, b := newManager(t, Config{}), newManager(t, Config{})
	p, err := a.AllocatePool(nt.NonPagedPoolNx, 64, testTag)
	require.NoError(t, err)
	assertPool(t, b.FreePool(p), nt.BAD_POOL_CALLER, 0x43)
	require.NoError(t, a.FreePool(p))
}

func TestCloseLeavesNothing(t *testing.T) {
	space, err := guest.Default()
	require.NoError(t, err)
	before := space.Stats()
	m := newManager(t, Config{})
	w, err := m.NewWindow(0, "a test")
	require.NoError(t, err)
	for _, size := range []uintptr{10, 5000} {
		_, err = m.AllocatePool(nt.NonPagedPool, size, testTag)
		require.NoError(t, err)
	}
	require.NotZero(t, m.MapIOSpace(0xFED00000, 5000, guest.ProtRW))
	mdl, err := m.AllocatePagesForMdl(0, 1<<40, 0, 40000, 0)
	require.NoError(t, err)
	_, err = m.MapLockedPages(mdl, nt.KernelMode, nil)
	require.NoError(t, err)
	_, err = m.MapLockedPages(mdl, nt.UserMode, w)
	require.NoError(t, err)
	a, _ := w.Alloc(100, 0)
	user, err := m.AllocateMdl(a, 100)
	require.NoError(t, err)
	require.NoError(t, m.ProbeAndLockPages(user, nt.UserMode, IoReadAccess, w))
	gone, err := m.NewWindow(0, "a test that ends early")
	require.NoError(t, err)
	a, _ = gone.Alloc(100, 0)
	user, err = m.AllocateMdl(a, 100)
	require.NoError(t, err)
	require.NoError(t, m.ProbeAndLockPages(user, nt.UserMode, IoReadAccess, gone))
	require.NoError(t, gone.Release())
	require.NoError(t, m.Close())
	assert.Equal(t, before, space.Stats())
}

func TestNewRefusesSizes(t *testing.T) {
	space, err := guest.Default()
	require.NoError(t, err)
	for _, size := range []uintptr{1, 16 << 20, MaxRAM + 1, ^uintptr(0)} {
		_, err := New(space, Config{RAM: size})
		assert.Error(t, err)
	}
}

// Every other page of many is freed, so that the direct map would fall into thousands of pieces.
func TestManyPageBlocks(t *testing.T) {
	m := newManager(t, Config{})
	const n = 5000
	var blocks [n]nt.Addr
	for i := range blocks {
		a, err := m.AllocatePool(nt.NonPagedPoolNx, pageSize, testTag)
		require.NoError(t, err)
		require.NoError(t, guest.Store64(a, uint64(i)))
		blocks[i] = a
	}
	for i := 0; i < n; i += 2 {
		require.NoError(t, m.FreePool(blocks[i]))
	}
	for i, a := range blocks {
		v, err := guest.Load64(a)
		if i%2 == 1 {
			require.NoError(t, err)
			require.EqualValues(t, i, v)
			require.NoError(t, m.FreePool(a))
			continue
		}
		require.True(t, err != nil || v == freedWord, "freed block %d: %#x, %v", i, v, err)
		require.False(t, m.IsAddressValid(a))
		assertPool(t, m.FreePool(a), nt.BAD_POOL_CALLER, 0x07)
	}
	assert.Zero(t, m.Use().NonPagedPool)
}
