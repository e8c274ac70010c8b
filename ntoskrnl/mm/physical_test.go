package mm

import (
	"testing"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPhysicalAddressRoundTrip(t *testing.T) {
	m := newManager(t, Config{})
	w := newWindow(t, m, 0)
	stack, err := m.space.AllocSystem(2*pageSize, guest.ProtRW, "a stack")
	require.NoError(t, err)
	defer stack.Free()
	small, err := m.AllocatePool(nt.PagedPool, 40, testTag)
	require.NoError(t, err)
	large, err := m.AllocatePool(nt.NonPagedPool, 3*pageSize, testTag)
	require.NoError(t, err)
	seen := map[uint64]nt.Addr{}
	for _, a := range []nt.Addr{small, small + 5, large, large + 2*pageSize + 9, stack.Base() + 0x1234,
		w.SystemBase() + 0x777} {
		p := m.PhysicalAddress(a)
		require.NotZero(t, p)
		assert.Equal(t, a, m.VirtualForPhysical(p))
		assert.Equal(t, uint64(a)&0xFFF, p&0xFFF)
		assert.NotContains(t, seen, p)
		seen[p] = a
	}
	assert.Equal(t, m.PhysicalAddress(w.SystemBase()), m.PhysicalAddress(w.Base()))
	require.NoError(t, m.FreePool(large))
	for _, a := range []nt.Addr{0, 0x1234, large, w.Base() - 1, 1 << 46, 1 << 50, ^nt.Addr(0)} {
		assert.Zero(t, m.PhysicalAddress(a), "%v", a)
	}
	for _, p := range []uint64{0, 0x1000, 0xFED00000, 1 << 48, 1<<48 | 0x5000, 1 << 60, ^uint64(0)} {
		assert.Zero(t, m.VirtualForPhysical(p), "%#x", p)
	}
	ranges := m.PhysicalMemoryRanges()
	assert.Equal(t, []PhysicalRange{{Base: 1 << 20, Size: DefaultRAM}}, ranges)
}

func TestContiguousMemory(t *testing.T) {
	m := newManager(t, Config{RAM: 64 << 20})
	for _, c := range []struct {
		name                string
		size                uintptr
		low, high, boundary uint64
		ok                  bool
	}{
		{"anywhere", 100000, 0, ^uint64(0), 0, true},
		{"one byte", 1, 0, ^uint64(0), 0, true},
		{"for ISA DMA", 64 << 10, 0, 1<<24 - 1, 64 << 10, true},
		{"in a narrow range", 3 * pageSize, 40 << 20, 40<<20 + 3*pageSize - 1, 0, true},
		{"in a too narrow range", 3*pageSize + 1, 40 << 20, 40<<20 + 3*pageSize - 1, 0, false},
		{"not across 1 MiB", 700 << 10, 20 << 20, 50 << 20, 1 << 20, true},
		{"larger than the boundary", 2 << 20, 0, ^uint64(0), 1 << 20, false},
		{"a boundary that is no power of two", 4096, 0, ^uint64(0), 12345, false},
		{"above RAM", 4096, 4 << 30, ^uint64(0), 0, false},
		{"low above high", 4096, 40 << 20, 30 << 20, 0, false},
		{"below RAM", 4096, 0, 0xFFFF, 0, false},
		{"larger than RAM", 1 << 40, 0, ^uint64(0), 0, false},
		{"an overflow", ^uintptr(0), 0, ^uint64(0), 0, false},
		{"nothing", 0, 0, ^uint64(0), 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []nt.Addr
			for range 3 {
				a, err := m.AllocateContiguous(c.size, c.low, c.high, c.boundary, guest.ProtRW)
				if !c.ok {
					assert.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES, err)
					return
				}
				if err != nil && len(got) > 0 {
					break
				}
				require.NoError(t, err)
				got = append(got, a)
				first := m.PhysicalAddress(a)
				last := m.PhysicalAddress(a + nt.Addr(c.size) - 1)
				assert.EqualValues(t, c.size-1, last-first)
				assert.GreaterOrEqual(t, first, c.low)
				assert.LessOrEqual(t, last, c.high)
				if c.boundary != 0 {
					assert.Equal(t, first/c.boundary, last/c.boundary)
				}
				assert.Zero(t, a%pageSize)
				assert.Zero(t, firstOther(a, c.size, 0))
				require.NoError(t, guest.Fill(a, 0xAA, c.size))
			}
			for _, a := range got {
				assertPool(t, m.FreeContiguous(a+1), nt.BAD_POOL_CALLER, 0x60)
				assertPool(t, m.FreePool(a), nt.BAD_POOL_CALLER, 0x46)
				assertPool(t, m.FreeContiguousSpecifyCache(a, c.size+pageSize),
					nt.BAD_POOL_CALLER, 0x60)
				require.NoError(t, m.FreeContiguousSpecifyCache(a, c.size))
				assertPool(t, m.FreeContiguous(a), nt.BAD_POOL_CALLER, 0x60)
				assert.Error(t, guest.Store8(a, 1))
			}
		})
	}
	assert.Zero(t, m.Use().Other)
}

func TestLowMemoryIsGivenOutLast(t *testing.T) {
	m := newManager(t, Config{RAM: 32 << 20})
	a, err := m.AllocatePool(nt.NonPagedPoolNx, 12<<20, testTag)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, m.PhysicalAddress(a), uint64(16<<20))
	_, err = m.AllocateContiguous(8<<20, 0, 16<<20-1, 0, guest.ProtRW)
	require.NoError(t, err)
	_, err = m.AllocatePool(nt.NonPagedPoolNx, 6<<20, testTag)
	require.NoError(t, err, "but it is given out")
}

func TestNonCachedMemory(t *testing.T) {
	m := newManager(t, Config{})
	a, err := m.AllocateNonCached(5000)
	require.NoError(t, err)
	assert.Zero(t, firstOther(a, 5000, 0))
	assertStop(t, m.FreeNonCached(a, 9000), nt.SYSTEM_PTE_MISUSE, 0x302)
	require.NoError(t, m.FreeNonCached(a, 5000))
	assertStop(t, m.FreeNonCached(a, 5000), nt.SYSTEM_PTE_MISUSE, 0x302)
	_, err = m.AllocateNonCached(0)
	assert.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES, err)
}

func TestDeviceMemory(t *testing.T) {
	m := newManager(t, Config{})
	const bar = 0xFED0_0010
	a := m.MapIOSpace(bar, 0x1800, guest.ProtRW)
	require.NotZero(t, a)
	assert.EqualValues(t, 0x10, a&0xFFF)
	assert.Zero(t, firstOther(a, 0x1800, 0))
	require.NoError(t, guest.Store32(a+0x1000, 0x12345678))
	assert.EqualValues(t, bar+0x1000, m.PhysicalAddress(a+0x1000))
	assert.Equal(t, a+0x1000, m.VirtualForPhysical(bar+0x1000))

	b := m.MapIOSpace(bar+0x1000, 16, guest.ProtRead)
	require.NotZero(t, b)
	v, err := guest.Load32(b)
	require.NoError(t, err)
	assert.EqualValues(t, 0x12345678, v, "the same physical range is the same memory")
	assert.Error(t, guest.Store32(b, 1))

	mdl := mdlFor(t, m, a, 0x1800)
	require.NoError(t, m.BuildMdlForNonPagedPool(mdl))
	assert.Equal(t, []uint64{bar >> 12, bar>>12 + 1}, frames(t, mdl))

	assertStop(t, m.UnmapIOSpace(a, 0x1000), nt.SYSTEM_PTE_MISUSE, 0x302)
	require.NoError(t, m.UnmapIOSpace(a, 0x1800))
	assertStop(t, m.UnmapIOSpace(a, 0x1800), nt.SYSTEM_PTE_MISUSE, 0x302)
	assert.Error(t, guest.Store8(a, 1))
	require.NoError(t, m.UnmapIOSpace(b, 16))

	t.Run("RAM can be mapped too", func(t *testing.T) {
		p, err := m.AllocatePool(nt.NonPagedPoolNx, 100, testTag)
		require.NoError(t, err)
		require.NoError(t, guest.Store32(p, 99))
		io := m.MapIOSpace(m.PhysicalAddress(p), 100, guest.ProtRW)
		v, err := guest.Load32(io)
		require.NoError(t, err)
		assert.EqualValues(t, 99, v)
		require.NoError(t, m.UnmapIOSpace(io, 100))
	})
	t.Run("a range that begins below RAM and ends in it", func(t *testing.T) {
		p, err := m.AllocateContiguous(pageSize, 0, 1<<20+pageSize-1, 0, guest.ProtRW)
		require.NoError(t, err)
		require.NoError(t, guest.Store32(p, 98))
		io := m.MapIOSpace(0xFF000, 2*pageSize, guest.ProtRW)
		require.NotZero(t, io)
		v, err := guest.Load32(io + pageSize)
		require.NoError(t, err)
		assert.EqualValues(t, 98, v)
		require.NoError(t, m.UnmapIOSpace(io, 2*pageSize))
	})
	for _, c := range []struct {
		p uint64
		n uintptr
	}{{0, 0}, {^uint64(0), 2}, {1 << 60, 10}, {0x1000, ^uintptr(0)}, {1 << 48, 4096},
		{0x1000, 1 << 47}} {
		assert.Zero(t, m.MapIOSpace(c.p, c.n, guest.ProtRW), "%#x+%#x", c.p, c.n)
	}
	assert.Zero(t, m.Use().Mappings)
}

func TestProbes(t *testing.T) {
	m := newManager(t, Config{})
	w, other := newWindow(t, m, 0), newWindow(t, m, 0)
	pool, err := m.AllocatePool(nt.PagedPool, 100, testTag)
	require.NoError(t, err)
	end := w.Base() + nt.Addr(w.Size())
	for _, c := range []struct {
		name     string
		a        nt.Addr
		n, align uintptr
		user     UserMemory
		want     nt.Status
	}{
		{"own memory", w.Base(), 100, 8, w, nt.STATUS_SUCCESS},
		{"all of it", w.Base(), w.Size(), 1, w, nt.STATUS_SUCCESS},
		{"odd", w.Base() + 1, 100, 2, w, nt.STATUS_DATATYPE_MISALIGNMENT},
		{"nothing, anywhere", 0xFFFF_8000_0000_0001, 0, 8, w, nt.STATUS_SUCCESS},
		{"past the end", end - 1, 2, 1, w, nt.STATUS_ACCESS_VIOLATION},
		{"an overflow", end - 1, ^uintptr(0), 1, w, nt.STATUS_ACCESS_VIOLATION},
		{"null", 0, 1, 1, w, nt.STATUS_ACCESS_VIOLATION},
		{"pool", pool, 1, 1, w, nt.STATUS_ACCESS_VIOLATION},
		{"the system alias", w.SystemBase(), 1, 1, w, nt.STATUS_ACCESS_VIOLATION},
		{"another process's", other.Base(), 1, 1, w, nt.STATUS_ACCESS_VIOLATION},
		{"no process", w.Base(), 1, 1, nil, nt.STATUS_ACCESS_VIOLATION},
		{"a process without a window", w.Base(), 1, 1, (*Window)(nil), nt.STATUS_ACCESS_VIOLATION},
		{"misaligned comes first", pool + 1, 4, 4, w, nt.STATUS_DATATYPE_MISALIGNMENT},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, m.ProbeForRead(c.a, c.n, c.align, c.user))
			assert.Equal(t, c.want, m.ProbeForWrite(c.a, c.n, c.align, c.user))
		})
	}
}

func TestIsAddressValid(t *testing.T) {
	m := newManager(t, Config{})
	w := newWindow(t, m, 0)
	image, err := m.space.AllocAt(0x22_0000_0000, 2*pageSize, guest.ProtRX, "an image")
	require.NoError(t, err)
	defer image.Free()
	require.NoError(t, image.Protect(pageSize, pageSize, guest.ProtNone))
	pool, err := m.AllocatePool(nt.PagedPool, pageSize, testTag)
	require.NoError(t, err)
	for _, a := range []nt.Addr{w.Base(), w.SystemBase(), image.Base() + 5, pool + 4095} {
		assert.True(t, m.IsAddressValid(a), "%v", a)
	}
	for _, a := range []nt.Addr{0, 0xFFFF, w.Base() - 1, image.Base() + pageSize, pool + pageSize,
		1 << 50, ^nt.Addr(0), m.ram.addr(m.ram.pages - 1)} {
		assert.False(t, m.IsAddressValid(a), "%v", a)
	}
}

func TestCopyMemory(t *testing.T) {
	m := newManager(t, Config{})
	a, err := m.AllocatePool(nt.NonPagedPoolNx, 2*pageSize, testTag)
	require.NoError(t, err)
	require.NoError(t, guest.Fill(a, 5, 2*pageSize))
	b, err := m.AllocatePool(nt.NonPagedPoolNx|nt.POOL_ZERO_ALLOCATION, 4*pageSize, testTag)
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		target nt.Addr
		source uint64
		n      uintptr
		flags  uint32
		done   uintptr
		want   nt.Status
	}{
		{"virtual", b, uint64(a) + 10, pageSize + 7, MM_COPY_MEMORY_VIRTUAL, pageSize + 7,
			nt.STATUS_SUCCESS},
		{"physical", b, m.PhysicalAddress(a) + 10, pageSize + 7, MM_COPY_MEMORY_PHYSICAL,
			pageSize + 7, nt.STATUS_SUCCESS},
		{"past the source", b, uint64(a) + pageSize, 2 * pageSize, MM_COPY_MEMORY_VIRTUAL, pageSize,
			nt.STATUS_INVALID_ADDRESS},
		{"past the source, physical", b, m.PhysicalAddress(a) + pageSize, 2 * pageSize,
			MM_COPY_MEMORY_PHYSICAL, pageSize, nt.STATUS_INVALID_ADDRESS},
		{"nowhere", b, 0x5000, 10, MM_COPY_MEMORY_VIRTUAL, 0, nt.STATUS_INVALID_ADDRESS},
		{"nowhere, physical", b, 0xFED00000, 10, MM_COPY_MEMORY_PHYSICAL, 0,
			nt.STATUS_INVALID_ADDRESS},
		{"to nowhere", 0x5000, uint64(a), 10, MM_COPY_MEMORY_VIRTUAL, 0,
			nt.STATUS_ACCESS_VIOLATION},
		{"both", b, uint64(a), 10, 3, 0, nt.STATUS_INVALID_PARAMETER},
		{"nothing", b, uint64(a), 0, MM_COPY_MEMORY_VIRTUAL, 0, nt.STATUS_SUCCESS},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, guest.Fill(b, 0, 4*pageSize))
			done, status := m.CopyMemory(c.target, c.source, c.n, c.flags)
			assert.Equal(t, c.want, status)
			assert.Equal(t, c.done, done)
			assert.Zero(t, firstOther(b, done, 5))
		})
	}
}
