package mm

import (
	"sync"
	"testing"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mdlFor makes an MDL.
func mdlFor(t testing.TB, m *Manager, a nt.Addr, n uintptr) nt.Addr {
	t.Helper()
	mdl, err := m.AllocateMdl(a, n)
	require.NoError(t, err)
	return mdl
}

func header(t testing.TB, mdl nt.Addr) nt.MDL {
	t.Helper()
	h, err := guest.Ptr[nt.MDL](mdl).Load()
	require.NoError(t, err)
	return h
}

func flags(t testing.TB, mdl nt.Addr) uint16 {
	h := header(t, mdl)
	return flagsOf(&h)
}

func frames(t testing.TB, mdl nt.Addr) []uint64 {
	h := header(t, mdl)
	out := make([]uint64, pagesOf(&h))
	require.NoError(t, guest.ReadSlice(out, framesAt(mdl, 0)))
	return out
}

// assertStop checks that err is a *StopError with a code and a first parameter.
func assertStop(t testing.TB, err error, code nt.BugCheck, kind uint64) {
	t.Helper()
	var se *StopError
	if assert.ErrorAs(t, err, &se) {
		assert.Equal(t, code, se.Code)
		assert.Equal(t, kind, se.Params[0], se.Error())
	}
}

func TestSizeOfMdl(t *testing.T) {
	for _, c := range []struct {
		a    nt.Addr
		n    uintptr
		want uintptr
	}{
		{0x1000, 0, 48}, {0x1000, 1, 56}, {0x1000, 0x1000, 56}, {0x1001, 0x1000, 64},
		{0x1FFF, 2, 64}, {0x1FFF, 1, 56}, {0x1000, 1 << 20, 48 + 256*8},
		{0xFFF, 1<<32 - 1, 48 + 8*(1<<20+1)},
	} {
		assert.Equal(t, c.want, SizeOfMdl(c.a, c.n), "%v+%#x", c.a, c.n)
	}
}

func TestAllocateMdl(t *testing.T) {
	m := newManager(t, Config{})
	mdl := mdlFor(t, m, 0x12345678, 0x3000)
	assert.Equal(t, nt.MDL{Size: 48 + 4*8, MdlFlags: int16(nt.MDL_ALLOCATED_FIXED_SIZE),
		StartVa: 0x12345000, ByteOffset: 0x678, ByteCount: 0x3000}, header(t, mdl))
	require.NoError(t, m.FreeMdl(mdl))
	assertPool(t, m.FreeMdl(mdl), nt.BAD_POOL_CALLER, 0x07)

	_, err := m.AllocateMdl(0, 1<<32)
	assert.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES, err)
	big := mdlFor(t, m, 0, 1<<32-pageSize-1)
	require.NoError(t, m.FreeMdl(big))
	assert.Equal(t, nt.STATUS_ACCESS_VIOLATION, m.FreeMdl(0x10))
}

func TestBuildMdlForNonPagedPool(t *testing.T) {
	m := newManager(t, Config{})
	a, err := m.AllocatePool(nt.NonPagedPoolNx, 3*pageSize, testTag)
	require.NoError(t, err)
	mdl := mdlFor(t, m, a+0x123, 2*pageSize)
	require.NoError(t, m.BuildMdlForNonPagedPool(mdl))
	h := header(t, mdl)
	assert.Equal(t, nt.MDL_SOURCE_IS_NONPAGED_POOL|nt.MDL_ALLOCATED_FIXED_SIZE, flagsOf(&h))
	assert.Equal(t, a+0x123, h.MappedSystemVa)
	for i, pfn := range frames(t, mdl) {
		assert.Equal(t, m.PhysicalAddress(a+nt.Addr(i)*pageSize), pfn<<pageShift)
	}
	s, err := m.SystemAddressForMdl(mdl)
	require.NoError(t, err)
	assert.Equal(t, a+0x123, s)
	assertStop(t, m.ProbeAndLockPages(mdl, nt.KernelMode, IoReadAccess, nil),
		nt.DRIVER_VERIFIER_DETECTED_VIOLATION, 0xB0)
	assertStop(t, m.UnlockPages(mdl), nt.PFN_LIST_CORRUPT, 7)
	require.NoError(t, m.FreeMdl(mdl))
	require.NoError(t, m.FreePool(a))

	gone := mdlFor(t, m, a, 100)
	assert.Equal(t, nt.STATUS_ACCESS_VIOLATION, m.BuildMdlForNonPagedPool(gone))
}

func TestLockUserBuffer(t *testing.T) {
	m := newManager(t, Config{})
	w := newWindow(t, m, 0)
	buf, ok := w.Alloc(3*pageSize, 0)
	require.True(t, ok)
	a := buf + 0x10
	require.NoError(t, guest.Fill(a, 3, 2*pageSize))
	for _, c := range []struct {
		op   LockOperation
		want uint16
	}{
		{IoReadAccess, nt.MDL_PAGES_LOCKED},
		{IoWriteAccess, nt.MDL_PAGES_LOCKED | nt.MDL_WRITE_OPERATION},
		{IoModifyAccess, nt.MDL_PAGES_LOCKED | nt.MDL_WRITE_OPERATION},
	} {
		mdl := mdlFor(t, m, a, 2*pageSize)
		require.NoError(t, m.ProbeAndLockPages(mdl, nt.UserMode, c.op, w))
		assert.Equal(t, c.want|nt.MDL_ALLOCATED_FIXED_SIZE, flags(t, mdl))
		assert.Equal(t, 3, w.LockedPages())
		s, err := m.SystemAddressForMdl(mdl)
		require.NoError(t, err)
		alias, _ := w.AliasOf(a, 2*pageSize)
		assert.Equal(t, alias, s, "the window's system alias, at the same offset in the page")
		assert.Zero(t, firstOther(s, 2*pageSize, 3))
		again, err := m.SystemAddressForMdl(mdl)
		require.NoError(t, err)
		assert.Equal(t, s, again)
		for i, pfn := range frames(t, mdl) {
			off := nt.Addr(i) * pageSize
			assert.Equal(t, pfn<<pageShift, m.PhysicalAddress(buf+off))
			assert.Equal(t, pfn<<pageShift, m.PhysicalAddress(s&^0xFFF+off))
			assert.Equal(t, s&^0xFFF+off, m.VirtualForPhysical(pfn<<pageShift))
		}
		require.NoError(t, m.UnlockPages(mdl))
		assert.Equal(t, nt.MDL_ALLOCATED_FIXED_SIZE, flags(t, mdl))
		assert.Zero(t, w.LockedPages())
		assertStop(t, m.UnlockPages(mdl), nt.PFN_LIST_CORRUPT, 7)
		require.NoError(t, m.FreeMdl(mdl))
	}
}

func TestLockRefuses(t *testing.T) {
	m := newManager(t, Config{})
	w, other := newWindow(t, m, 0), newWindow(t, m, 0)
	pool, err := m.AllocatePool(nt.PagedPool, pageSize, testTag)
	require.NoError(t, err)
	freed, err := m.AllocatePool(nt.PagedPool, pageSize, testTag)
	require.NoError(t, err)
	require.NoError(t, m.FreePool(freed))
	ro, err := m.space.AllocSystem(pageSize, guest.ProtRead, "read-only")
	require.NoError(t, err)
	defer ro.Free()
	image, err := m.space.AllocAt(0x20_0000_0000, pageSize, guest.ProtRW, "an image")
	require.NoError(t, err)
	defer image.Free()
	user, err := m.space.AllocUser(pageSize, guest.ProtRW, "nobody's")
	require.NoError(t, err)
	defer user.Free()
	for _, c := range []struct {
		name string
		a    nt.Addr
		n    uintptr
		mode nt.ProcessorMode
		op   LockOperation
		user UserMemory
		want nt.Status
	}{
		{"own window", w.Base(), 100, nt.UserMode, IoWriteAccess, w, nt.STATUS_SUCCESS},
		{"own window, kernel mode", w.Base(), 100, nt.KernelMode, IoWriteAccess, w, nt.STATUS_SUCCESS},
		{"the end of the window", w.Base() + nt.Addr(w.Size()) - 1, 1, nt.UserMode, IoReadAccess, w,
			nt.STATUS_SUCCESS},
		{"past the window", w.Base() + nt.Addr(w.Size()) - 1, 2, nt.UserMode, IoReadAccess, w,
			nt.STATUS_ACCESS_VIOLATION},
		{"another client's window", other.Base(), 100, nt.UserMode, IoReadAccess, w,
			nt.STATUS_ACCESS_VIOLATION},
		{"another client's window, kernel mode", other.Base(), 100, nt.KernelMode, IoReadAccess, w,
			nt.STATUS_ACCESS_VIOLATION},
		{"user memory of no process", user.Base(), 100, nt.UserMode, IoReadAccess, w,
			nt.STATUS_ACCESS_VIOLATION},
		{"a window, without a process", w.Base(), 100, nt.KernelMode, IoReadAccess, nil,
			nt.STATUS_ACCESS_VIOLATION},
		{"pool for a user", pool, 100, nt.UserMode, IoReadAccess, w, nt.STATUS_ACCESS_VIOLATION},
		{"an alias for a user", w.SystemBase(), 100, nt.UserMode, IoReadAccess, w,
			nt.STATUS_ACCESS_VIOLATION},
		{"an image for a user", image.Base(), 100, nt.UserMode, IoReadAccess, w,
			nt.STATUS_ACCESS_VIOLATION},
		{"an image", image.Base(), 100, nt.KernelMode, IoWriteAccess, nil, nt.STATUS_SUCCESS},
		{"pool", pool, pageSize, nt.KernelMode, IoWriteAccess, nil, nt.STATUS_SUCCESS},
		{"past pool", pool, pageSize + 1, nt.KernelMode, IoWriteAccess, nil,
			nt.STATUS_ACCESS_VIOLATION},
		{"freed pool", freed, 100, nt.KernelMode, IoReadAccess, nil, nt.STATUS_ACCESS_VIOLATION},
		{"read-only memory", ro.Base(), 100, nt.KernelMode, IoReadAccess, nil, nt.STATUS_SUCCESS},
		{"read-only memory for writing", ro.Base(), 100, nt.KernelMode, IoWriteAccess, nil,
			nt.STATUS_ACCESS_VIOLATION},
		{"null", 0, 100, nt.KernelMode, IoReadAccess, nil, nt.STATUS_ACCESS_VIOLATION},
		{"not canonical", 1 << 50, 100, nt.KernelMode, IoReadAccess, nil, nt.STATUS_ACCESS_VIOLATION},
		{"the end of the address space", ^nt.Addr(0) - 10, 100, nt.KernelMode, IoReadAccess, nil,
			nt.STATUS_ACCESS_VIOLATION},
	} {
		t.Run(c.name, func(t *testing.T) {
			mdl := mdlFor(t, m, c.a, c.n)
			before := m.Use().LockedPages
			err := m.ProbeAndLockPages(mdl, c.mode, c.op, c.user)
			if c.want != nt.STATUS_SUCCESS {
				assert.Equal(t, c.want, err)
				assert.Equal(t, before, m.Use().LockedPages)
				assert.Zero(t, flags(t, mdl)&nt.MDL_PAGES_LOCKED)
				return
			}
			require.NoError(t, err)
			require.NoError(t, m.UnlockPages(mdl))
		})
	}
}

func TestLockedPagesOutliveTheWindow(t *testing.T) {
	m := newManager(t, Config{})
	before := m.space.Stats()
	w := newWindow(t, m, 0)
	a, _ := w.Alloc(pageSize, 0)
	require.NoError(t, guest.Fill(a, 9, pageSize))
	mdl := mdlFor(t, m, a, pageSize)
	require.NoError(t, m.ProbeAndLockPages(mdl, nt.UserMode, IoModifyAccess, w))
	require.NoError(t, w.Release())
	_, err := guest.Load8(a)
	assert.Error(t, err, "user memory is gone at once")
	s, err := m.SystemAddressForMdl(mdl)
	require.NoError(t, err)
	assert.Zero(t, firstOther(s, pageSize, 9), "the locked pages are there")
	require.NoError(t, m.UnlockPages(mdl))
	_, err = guest.Load8(s)
	assert.Error(t, err, "unlocked, they are gone")
	assert.Equal(t, before, m.space.Stats())
	assert.Equal(t, nt.STATUS_ACCESS_VIOLATION,
		m.ProbeAndLockPages(mdl, nt.UserMode, IoReadAccess, w))
}

func TestMapPool(t *testing.T) {
	m := newManager(t, Config{})
	a, err := m.AllocatePool(nt.PagedPool, 2*pageSize, testTag)
	require.NoError(t, err)
	require.NoError(t, guest.Fill(a, 4, 2*pageSize))
	mdl := mdlFor(t, m, a+8, pageSize)
	_, err = m.MapLockedPages(mdl, nt.KernelMode, nil)
	assertStop(t, err, nt.DRIVER_VERIFIER_DETECTED_VIOLATION, 0xB3)
	require.NoError(t, m.ProbeAndLockPages(mdl, nt.KernelMode, IoModifyAccess, nil))
	s, err := m.SystemAddressForMdl(mdl)
	require.NoError(t, err)
	assert.NotEqual(t, a+8, s)
	assert.EqualValues(t, 8, s&0xFFF)
	require.NoError(t, guest.Store8(s, 5))
	v, err := guest.Load8(a + 8)
	require.NoError(t, err)
	assert.EqualValues(t, 5, v, "two addresses of one page")
	assert.Equal(t, m.PhysicalAddress(a+8), m.PhysicalAddress(s))

	assert.Equal(t, nt.STATUS_SUCCESS, m.ProtectMdlSystemAddress(mdl, 0x02))
	assert.Error(t, guest.Store8(s, 6), "the mapping is read-only")
	assert.NoError(t, guest.Store8(a+8, 6), "the pool is not")
	assert.Equal(t, nt.STATUS_INVALID_PAGE_PROTECTION, m.ProtectMdlSystemAddress(mdl, 0x99))

	assertStop(t, m.UnmapLockedPages(s+1, mdl), nt.SYSTEM_PTE_MISUSE, 6)
	require.NoError(t, m.UnmapLockedPages(s, mdl))
	assert.Error(t, guest.Store8(s, 6))
	assertStop(t, m.UnmapLockedPages(s, mdl), nt.SYSTEM_PTE_MISUSE, 6)
	assert.Equal(t, nt.STATUS_NOT_MAPPED_VIEW, m.ProtectMdlSystemAddress(mdl, 0x04))
	_, err = m.SystemAddressForMdl(mdl)
	require.NoError(t, err)
	require.NoError(t, m.UnlockPages(mdl), "unlocking unmaps")
	assert.Zero(t, m.Use().Mappings)
}

func TestMapImageForWriting(t *testing.T) {
	m := newManager(t, Config{})
	code, err := m.space.AllocAt(0x21_0000_0000, pageSize, guest.ProtRX, "an image")
	require.NoError(t, err)
	defer code.Free()
	mdl := mdlFor(t, m, code.Base()+16, 32)
	require.NoError(t, m.ProbeAndLockPages(mdl, nt.KernelMode, IoReadAccess, nil))
	s, err := m.SystemAddressForMdl(mdl)
	require.NoError(t, err)
	require.NoError(t, guest.Store8(s, 0xCC), "the mapping can be written")
	v, err := guest.Load8(code.Base() + 16)
	require.NoError(t, err)
	assert.EqualValues(t, 0xCC, v)
	require.NoError(t, m.UnlockPages(mdl))
	assert.Error(t, guest.Store8(code.Base()+16, 1), "the image is as before")
	info, _ := m.space.Lookup(code.Base())
	assert.Equal(t, guest.ProtRX, info.Prot)
}

func TestProtectWindowMapping(t *testing.T) {
	m := newManager(t, Config{})
	w := newWindow(t, m, 0)
	mdl := mdlFor(t, m, w.Base(), pageSize)
	require.NoError(t, m.ProbeAndLockPages(mdl, nt.UserMode, IoModifyAccess, w))
	s, err := m.SystemAddressForMdl(mdl)
	require.NoError(t, err)
	require.Equal(t, nt.STATUS_SUCCESS, m.ProtectMdlSystemAddress(mdl, 0x02))
	assert.Error(t, guest.Store8(s, 1))
	assert.NoError(t, guest.Store8(w.Base(), 1))
	require.NoError(t, m.UnlockPages(mdl))
	assert.NoError(t, guest.Store8(s, 1), "unmapping restores")
}

func TestMapForUser(t *testing.T) {
	m := newManager(t, Config{})
	w, other := newWindow(t, m, 0), newWindow(t, m, 0)
	a, err := m.AllocatePool(nt.NonPagedPoolNx, pageSize, testTag)
	require.NoError(t, err)
	mdl := mdlFor(t, m, a+0x20, 100)
	require.NoError(t, m.BuildMdlForNonPagedPool(mdl))
	u, err := m.MapLockedPages(mdl, nt.UserMode, w)
	require.NoError(t, err)
	assert.True(t, m.space.IsUserRange(u, 100))
	assert.True(t, w.Contains(u, 100))
	assert.False(t, other.Contains(u, 100))
	require.NoError(t, guest.Store8(u, 77))
	v, err := guest.Load8(a + 0x20)
	require.NoError(t, err)
	assert.EqualValues(t, 77, v)
	assert.Equal(t, m.PhysicalAddress(a), m.PhysicalAddress(u)&^0xFFF)
	assert.Equal(t, nt.STATUS_SUCCESS, m.ProbeForWrite(u, 100, 1, w))
	assert.Equal(t, nt.STATUS_ACCESS_VIOLATION, m.ProbeForWrite(u, 100, 1, other))

	assertStop(t, m.UnmapLockedPages(u+pageSize, mdl), nt.SYSTEM_PTE_MISUSE, 6)
	require.NoError(t, m.UnmapLockedPages(u, mdl))
	assert.False(t, w.Contains(u, 1))
	_, err = m.MapLockedPages(mdl, nt.UserMode, nil)
	assert.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES, err)

	u, err = m.MapLockedPages(mdl, nt.UserMode, w)
	require.NoError(t, err)
	require.NoError(t, w.Release())
	assert.Error(t, guest.Store8(u, 1), "what is mapped for a process goes with it")
	_, err = m.MapLockedPages(mdl, nt.UserMode, w)
	assert.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES, err)
	assert.Zero(t, m.Use().Mappings)
}

func TestPartialMdl(t *testing.T) {
	m := newManager(t, Config{})
	w := newWindow(t, m, 0)
	a, _ := w.Alloc(8*pageSize, 0)
	require.NoError(t, guest.Fill(a, 1, 8*pageSize))
	source := mdlFor(t, m, a+0x100, 6*pageSize)
	require.NoError(t, m.ProbeAndLockPages(source, nt.UserMode, IoReadAccess, w))
	target := mdlFor(t, m, a+0x100, 6*pageSize)

	require.NoError(t, m.BuildPartialMdl(source, target, a+2*pageSize+0x300, pageSize))
	h := header(t, target)
	assert.Equal(t, nt.MDL_PARTIAL|nt.MDL_ALLOCATED_FIXED_SIZE, flagsOf(&h))
	assert.Equal(t, a+2*pageSize, h.StartVa)
	assert.EqualValues(t, 0x300, h.ByteOffset)
	assert.EqualValues(t, pageSize, h.ByteCount)
	assert.Equal(t, frames(t, source)[2:4], frames(t, target))

	s, err := m.SystemAddressForMdl(target)
	require.NoError(t, err)
	alias, _ := w.AliasOf(a+2*pageSize+0x300, 1)
	assert.Equal(t, alias, s)
	assert.Equal(t, nt.MDL_PARTIAL|nt.MDL_PARTIAL_HAS_BEEN_MAPPED|nt.MDL_MAPPED_TO_SYSTEM_VA|
		nt.MDL_ALLOCATED_FIXED_SIZE, flags(t, target))
	assertStop(t, m.UnlockPages(target), nt.DRIVER_VERIFIER_DETECTED_VIOLATION, 0xB4)
	require.NoError(t, m.PrepareMdlForReuse(target))
	assert.Equal(t, nt.MDL_PARTIAL|nt.MDL_ALLOCATED_FIXED_SIZE, flags(t, target))

	require.NoError(t, m.BuildPartialMdl(source, target, a+5*pageSize, 0), "0 is all to the end")
	assert.EqualValues(t, pageSize+0x100, header(t, target).ByteCount)
	require.NoError(t, m.FreeMdl(target))

	small := mdlFor(t, m, 0, 30*pageSize)
	require.NoError(t, guest.Ptr[nt.MDL](small).Store(nt.MDL{Size: 56}))
	for _, c := range []struct {
		a nt.Addr
		n uint32
	}{{a, 10}, {a + 0x100, 6*pageSize + 1}, {a + 7*pageSize, 10}, {a + 0x200, 1<<32 - 1}} {
		assert.Equal(t, nt.STATUS_INVALID_PARAMETER, m.BuildPartialMdl(source, small, c.a, c.n))
	}
	require.NoError(t, m.UnlockPages(source))

	t.Run("of a mapped or non-paged MDL it knows the system address", func(t *testing.T) {
		p, err := m.AllocatePool(nt.NonPagedPoolNx, 4*pageSize, testTag)
		require.NoError(t, err)
		source := mdlFor(t, m, p, 4*pageSize)
		require.NoError(t, m.BuildMdlForNonPagedPool(source))
		target := mdlFor(t, m, p, 4*pageSize)
		require.NoError(t, m.BuildPartialMdl(source, target, p+0x1234, 8))
		s, err := m.SystemAddressForMdl(target)
		require.NoError(t, err)
		assert.Equal(t, p+0x1234, s)
	})
}

func TestPagesForMdl(t *testing.T) {
	m := newManager(t, Config{RAM: 64 << 20})
	const size = 10*pageSize + 5
	for _, c := range []struct {
		name            string
		low, high, skip uint64
		size            uintptr
		flags           uint32
		pages           int // 0: refused
	}{
		{"anywhere", 0, ^uint64(0), 0, size, 0, 11},
		{"below 16 MiB", 0, 16<<20 - 1, 0, size, 0, 11},
		{"not zeroed", 0, ^uint64(0), 0, size, MM_DONT_ZERO_ALLOCATION, 11},
		{"as many as there are", 32 << 20, 32<<20 + 3*pageSize - 1, 0, size, 0, 3},
		{"all or nothing", 32 << 20, 32<<20 + 3*pageSize - 1, 0, size, MM_ALLOCATE_FULLY_REQUIRED, 0},
		{"range after range", 32 << 20, 32<<20 + 3*pageSize - 1, 1 << 20, size,
			MM_ALLOCATE_FULLY_REQUIRED, 11},
		{"contiguous chunks", 0, ^uint64(0), 4 * pageSize, 8 * pageSize,
			MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS, 8},
		{"above RAM", 1 << 30, ^uint64(0), 0, size, 0, 0},
		{"more than RAM", 0, ^uint64(0), 0, 1 << 40, 0, 0},
		{"nothing", 0, ^uint64(0), 0, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			mdl, err := m.AllocatePagesForMdl(c.low, c.high, c.skip, c.size, c.flags)
			if c.pages == 0 {
				assert.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES, err)
				return
			}
			require.NoError(t, err)
			h := header(t, mdl)
			assert.EqualValues(t, c.pages*pageSize, h.ByteCount)
			assert.Zero(t, bufferOf(&h))
			assert.Equal(t, nt.MDL_PAGES_LOCKED, flagsOf(&h))
			list := frames(t, mdl)
			assert.Len(t, list, c.pages)
			for _, pfn := range list {
				require.True(t, m.isRAM(pfn))
				assert.GreaterOrEqual(t, pfn<<pageShift, c.low)
				assert.Zero(t, m.VirtualForPhysical(pfn<<pageShift), "mapped nowhere")
			}
			s, err := m.SystemAddressForMdl(mdl)
			require.NoError(t, err)
			if c.flags&MM_DONT_ZERO_ALLOCATION == 0 {
				assert.Zero(t, firstOther(s, uintptr(h.ByteCount), 0))
			}
			for i, pfn := range list {
				assert.Equal(t, pfn<<pageShift, m.PhysicalAddress(s+nt.Addr(i)*pageSize))
			}
			require.NoError(t, guest.Fill(s, 0xAA, uintptr(h.ByteCount)))
			require.NoError(t, m.FreePagesFromMdl(mdl))
			assert.Error(t, guest.Store8(s, 1), "freeing unmaps")
			assertStop(t, m.FreePagesFromMdl(mdl), nt.PFN_LIST_CORRUPT, 0x99)
			require.NoError(t, m.FreePool(mdl))
		})
	}
	assert.Zero(t, m.Use().Other)
	assert.Empty(t, m.Outstanding())
}

func TestMapScatteredFrames(t *testing.T) {
	m := newManager(t, Config{})
	w := newWindow(t, m, 0)
	a, err := m.AllocatePool(nt.NonPagedPoolNx, 2*pageSize, testTag)
	require.NoError(t, err)
	for i, at := range []nt.Addr{a, a + pageSize, w.Base(), w.Base() + 9*pageSize} {
		require.NoError(t, guest.Fill(at, byte(i+1), pageSize))
	}
	order := []nt.Addr{w.Base() + 9*pageSize, a + pageSize, a, w.Base()}
	mdl := mdlFor(t, m, 0, 4*pageSize)
	for i, at := range order {
		pfn := m.PhysicalAddress(at) >> pageShift
		require.NoError(t, guest.Store64(framesAt(mdl, uintptr(i)), pfn))
	}
	h := header(t, mdl)
	h.MdlFlags |= int16(nt.MDL_PAGES_LOCKED)
	require.NoError(t, guest.Ptr[nt.MDL](mdl).Store(h))
	for _, mode := range []nt.ProcessorMode{nt.KernelMode, nt.UserMode} {
		s, err := m.MapLockedPages(mdl, mode, w)
		require.NoError(t, err)
		for i, want := range []byte{4, 2, 1, 3} {
			at := s + nt.Addr(i)*pageSize
			assert.Zero(t, firstOther(at, pageSize, want), "%v page %d", mode, i)
			assert.Equal(t, m.PhysicalAddress(order[i]), m.PhysicalAddress(at))
		}
		require.NoError(t, m.UnmapLockedPages(s, mdl))
	}
	t.Run("frames that are no memory", func(t *testing.T) {
		for _, pfn := range []uint64{^uint64(0), 1 << 50, endPFN, otherPFN, otherPFN + 0x10} {
			for i := range uintptr(4) {
				require.NoError(t, guest.Store64(framesAt(mdl, i), pfn))
			}
			_, err := m.MapLockedPages(mdl, nt.KernelMode, nil)
			assert.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES, err, "%#x", pfn)
		}
	})
}

func TestDirectIOUnderLoad(t *testing.T) {
	m := newManager(t, Config{})
	before := m.space.Stats()
	var wg sync.WaitGroup
	for worker := range 6 {
		wg.Go(func() {
			for range 20 {
				w, err := m.NewWindow(MinWindow, "a test")
				if !assert.NoError(t, err) {
					return
				}
				for i := range 50 {
					size := uintptr(100 + 997*i)
					a, _ := w.Alloc(size, 0)
					guest.Fill(a, byte(worker), size)
					mdl, err := m.AllocateMdl(a, size)
					if assert.NoError(t, err) &&
						assert.NoError(t, m.ProbeAndLockPages(mdl, nt.UserMode, IoWriteAccess, w)) {
						s, err := m.SystemAddressForMdl(mdl)
						assert.NoError(t, err)
						assert.Zero(t, firstOther(s, size, byte(worker)))
						if i == 49 {
							assert.NoError(t, w.Release())
						}
						assert.NoError(t, m.UnlockPages(mdl))
						assert.NoError(t, m.FreeMdl(mdl))
					}
					if i < 49 {
						assert.NoError(t, w.Free(a))
					}
				}
			}
		})
	}
	wg.Wait()
	assert.Equal(t, before, m.space.Stats())
	assert.Zero(t, m.Use().LockedPages)
	assert.Empty(t, m.Outstanding())
}

func TestDirectIOAllocatesNoGoMemory(t *testing.T) {
	m := newManager(t, Config{})
	w := newWindow(t, m, 0)
	a, _ := w.Alloc(100, 0)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		mdl, _ := m.AllocateMdl(a, 100)
		_ = m.ProbeAndLockPages(mdl, nt.UserMode, IoReadAccess, w)
		_, _ = m.SystemAddressForMdl(mdl)
		_ = m.UnlockPages(mdl)
		_ = m.FreeMdl(mdl)
	}))
}
