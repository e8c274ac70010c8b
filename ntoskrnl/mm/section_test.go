package mm

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// newSection makes a section that is released at the test's end.
func newSection(t *testing.T, m *Manager, size uint64, page, attributes uint32) *Section {
	t.Helper()
	s, status := m.NewSection(size, page, attributes)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	t.Cleanup(func() {
		if !m.closed.Load() {
			s.Release()
		}
	})
	return s
}

const (
	pageReadOnly    = 0x02
	pageReadWrite   = 0x04
	pageExecute     = 0x10
	pageExecuteRead = 0x20
)

func TestSectionsThatCannotBe(t *testing.T) {
	m := newManager(t, Config{RAM: 64 << 20})
	for _, c := range []struct {
		fact       string
		size       uint64
		page       uint32
		attributes uint32
		want       nt.Status
	}{
		{"committed", 5000, pageReadWrite, SEC_COMMIT, nt.STATUS_SUCCESS},
		{"reserved", 5000, pageReadWrite, SEC_RESERVE, nt.STATUS_SUCCESS},
		{"for execution", 1, pageExecuteReadWrite, SEC_COMMIT, nt.STATUS_SUCCESS},
		{"without cache", 1, pageReadWrite, SEC_COMMIT | SEC_NOCACHE, nt.STATUS_SUCCESS},
		{"neither committed nor reserved", 1, pageReadWrite, 0, nt.STATUS_INVALID_PARAMETER_6},
		{"both", 1, pageReadWrite, SEC_COMMIT | SEC_RESERVE, nt.STATUS_INVALID_PARAMETER_6},
		{"unknown attributes", 1, pageReadWrite, SEC_COMMIT | 1, nt.STATUS_INVALID_PARAMETER_6},
		{"two kinds of caching", 1, pageReadWrite, SEC_COMMIT | SEC_NOCACHE | SEC_WRITECOMBINE,
			nt.STATUS_INVALID_PARAMETER_6},
		{"an image without a file", 1, pageReadWrite, SEC_IMAGE, nt.STATUS_INVALID_FILE_FOR_SECTION},
		{"a based one", 1, pageReadWrite, SEC_COMMIT | SEC_BASED, nt.STATUS_NOT_SUPPORTED},
		{"no protection", 1, 0, SEC_COMMIT, nt.STATUS_INVALID_PAGE_PROTECTION},
		{"two protections", 1, 6, SEC_COMMIT, nt.STATUS_INVALID_PAGE_PROTECTION},
		{"no access", 1, pageNoAccess, SEC_COMMIT, nt.STATUS_INVALID_PAGE_PROTECTION},
		{"a guard page", 1, pageReadWrite | 0x100, SEC_COMMIT, nt.STATUS_INVALID_PAGE_PROTECTION},
		{"caching in the protection", 1, pageReadWrite | pageNoCache, SEC_COMMIT,
			nt.STATUS_INVALID_PAGE_PROTECTION},
		{"no size", 0, pageReadWrite, SEC_COMMIT, nt.STATUS_INVALID_PARAMETER_4},
		{"larger than can be", maxSection + 1, pageReadWrite, SEC_COMMIT, nt.STATUS_SECTION_TOO_BIG},
		{"a negative size", ^uint64(0), pageReadWrite, SEC_COMMIT, nt.STATUS_SECTION_TOO_BIG},
		{"larger than the memory", 65 << 20, pageReadWrite, SEC_COMMIT, nt.STATUS_COMMITMENT_LIMIT},
		{"all of the memory", 64 << 20, pageReadWrite, SEC_COMMIT, nt.STATUS_SUCCESS},
	} {
		s, status := m.NewSection(c.size, c.page, c.attributes)
		assert.Equal(t, c.want, status, c.fact)
		if s != nil {
			info := s.Info()
			assert.EqualValues(t, (c.size+pageSize-1)&^(pageSize-1), info.Size, c.fact)
			assert.Equal(t, 1, m.Use().Sections)
			s.Release()
		}
		assert.Zero(t, m.Use().Sections, c.fact)
		assert.Zero(t, m.Use().Other, c.fact)
	}
}

func TestViewsOfASectionAreTheSameMemory(t *testing.T) {
	m := newManager(t, Config{})
	w := newWindow(t, m, 0)
	_, err := m.AllocateContiguous(pageSize, 0, ^uint64(0), 0, guest.ProtRW)
	require.NoError(t, err)
	s := newSection(t, m, 3*granularity, pageReadWrite, SEC_COMMIT)
	var views []View
	for _, r := range []ViewRequest{{Protect: pageReadWrite}, {Protect: pageReadOnly},
		{Protect: pageReadWrite, Offset: granularity, Size: 100}} {
		v, status := s.MapView(w, r)
		require.Equal(t, nt.STATUS_SUCCESS, status)
		views = append(views, v)
		assert.Zero(t, v.Base%granularity)
		assert.True(t, w.Contains(v.Base, uintptr(v.Size)))
	}
	sys, status := s.MapSystemView(0, 0)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.EqualValues(t, 3*granularity, sys.Size)
	assert.EqualValues(t, pageSize, views[2].Size)
	assert.Greater(t, sys.Base, guest.UserEnd)
	assert.Zero(t, firstOther(sys.Base, uintptr(sys.Size), 0))

	require.NoError(t, guest.Store64(views[0].Base+granularity+8, 42))
	for _, a := range []nt.Addr{views[1].Base + granularity, views[2].Base, sys.Base + granularity} {
		v, err := guest.Load64(a + 8)
		require.NoError(t, err)
		assert.EqualValues(t, 42, v)
		assert.Equal(t, m.PhysicalAddress(views[0].Base+granularity), m.PhysicalAddress(a))
	}
	assert.Error(t, guest.Store64(views[1].Base, 1), "read-only")
	assert.Error(t, guest.Store64(views[2].Base+pageSize, 1), "the end of a view")
	p := m.PhysicalAddress(sys.Base)
	assert.True(t, m.isRAM(p>>pageShift))
	assert.NotZero(t, m.VirtualForPhysical(p))
	io := m.MapIOSpace(p+granularity, 16, guest.ProtRW)
	v, err := guest.Load64(io + 8)
	require.NoError(t, err)
	assert.EqualValues(t, 42, v)
	require.NoError(t, m.UnmapIOSpace(io, 16))
	assertStop(t, m.UnmapIOSpace(sys.Base, 0), nt.SYSTEM_PTE_MISUSE, pteNotMapped)

	assert.Equal(t, nt.STATUS_NOT_MAPPED_VIEW, m.UnmapView(nil, views[0].Base), "another process's")
	assert.Equal(t, nt.STATUS_NOT_MAPPED_VIEW, m.UnmapView(w, sys.Base))
	assert.Equal(t, nt.STATUS_NOT_MAPPED_VIEW, m.UnmapView(w, w.Base()))
	assertStop(t, m.UnmapSystemView(views[0].Base), nt.DRIVER_UNMAPPING_INVALID_VIEW,
		uint64(views[0].Base))
	for i, v := range views {
		assert.Equal(t, nt.STATUS_SUCCESS, m.UnmapView(w, v.Base+nt.Addr(i)*8), "inside of it")
		assert.False(t, w.Contains(v.Base, 1))
		assert.Error(t, guest.Store8(v.Base, 1))
		assert.Equal(t, nt.STATUS_NOT_MAPPED_VIEW, m.UnmapView(w, v.Base))
	}
	require.NoError(t, m.UnmapSystemView(sys.Base))
	assertStop(t, m.UnmapSystemView(sys.Base), nt.DRIVER_UNMAPPING_INVALID_VIEW, uint64(sys.Base))
}

func TestRequestsForViewsThatCannotBe(t *testing.T) {
	m := newManager(t, Config{})
	w := newWindow(t, m, 0)
	s := newSection(t, m, 5*granularity, pageReadWrite, SEC_COMMIT)
	taken, status := s.MapView(w, ViewRequest{Protect: pageReadWrite})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	free := taken.Base + 64*granularity
	ok := nt.STATUS_SUCCESS
	for _, c := range []struct {
		fact string
		r    ViewRequest
		want nt.Status
	}{
		{"up to the end", ViewRequest{Offset: 4 * granularity}, ok},
		{"at an address", ViewRequest{Base: free}, ok},
		{"with an offset that is rounded", ViewRequest{Offset: 4*granularity + 5, Size: 9}, ok},
		{"with zero bits", ViewRequest{ZeroBits: 1}, ok},
		{"with a mask of zero bits", ViewRequest{ZeroBits: 0x7FFFFFFF}, ok},
		{"with what is committed anyway", ViewRequest{CommitSize: 500}, ok},
		{"too long", ViewRequest{Size: 5*granularity + 1}, nt.STATUS_INVALID_VIEW_SIZE},
		{"too long from an offset", ViewRequest{Offset: granularity, Size: 5 * granularity},
			nt.STATUS_INVALID_VIEW_SIZE},
		{"behind the end", ViewRequest{Offset: 5 * granularity}, nt.STATUS_INVALID_VIEW_SIZE},
		{"far behind the end", ViewRequest{Offset: ^uint64(0) - 0xFFFF}, nt.STATUS_INVALID_VIEW_SIZE},
		{"as long as nothing is", ViewRequest{Size: ^uint64(0)}, nt.STATUS_INVALID_PARAMETER_3},
		{"of a system address", ViewRequest{Base: guest.SystemRangeStart}, nt.STATUS_INVALID_PARAMETER_3},
		{"across the end of user memory", ViewRequest{Base: guest.UserEnd - granularity,
			Size: 2 * granularity}, nt.STATUS_INVALID_PARAMETER_3},
		{"across it with the whole size", ViewRequest{Base: guest.UserEnd - granularity},
			nt.STATUS_CONFLICTING_ADDRESSES},
		{"where something is", ViewRequest{Base: taken.Base}, nt.STATUS_CONFLICTING_ADDRESSES},
		{"in a client's window", ViewRequest{Base: w.Base()}, nt.STATUS_CONFLICTING_ADDRESSES},
		{"in the first 64 KiB", ViewRequest{Base: 0x1000}, ok}, // rounded down to no address
		{"with too many zero bits", ViewRequest{ZeroBits: 22}, nt.STATUS_INVALID_PARAMETER_4},
		{"with only zero bits", ViewRequest{ZeroBits: ^uint64(0)}, nt.STATUS_INVALID_PARAMETER_4},
		{"with zero bits that leave no room", ViewRequest{ZeroBits: 20}, nt.STATUS_NO_MEMORY},
		{"that commits more", ViewRequest{CommitSize: 5*granularity + 1}, nt.STATUS_INVALID_PARAMETER_5},
		{"that reserves", ViewRequest{AllocationType: MEM_RESERVE}, nt.STATUS_INVALID_PARAMETER_9},
		{"of an unknown kind", ViewRequest{AllocationType: 0x1000}, nt.STATUS_INVALID_PARAMETER_9},
		{"from the top", ViewRequest{AllocationType: MEM_TOP_DOWN}, ok},
		{"with two protections", ViewRequest{Protect: 3}, nt.STATUS_INVALID_PAGE_PROTECTION},
		{"for execution", ViewRequest{Protect: pageExecuteRead}, nt.STATUS_SECTION_PROTECTION},
	} {
		if c.r.Protect == 0 {
			c.r.Protect = pageReadWrite
		}
		v, status := s.MapView(w, c.r)
		assert.Equal(t, c.want, status, c.fact)
		if status == ok {
			assert.NoError(t, guest.Store8(v.Base+nt.Addr(v.Size)-1, 1), c.fact)
			assert.Equal(t, ok, m.UnmapView(w, v.Base), c.fact)
		}
	}
	assert.Equal(t, 1, m.Use().Mappings)
	assert.Equal(t, nt.STATUS_MAPPED_ALIGNMENT, s.CheckAlignment(ViewRequest{Base: 0x567A20}))
	assert.Equal(t, nt.STATUS_MAPPED_ALIGNMENT, s.CheckAlignment(ViewRequest{Offset: 0x40211}))
	_, status = s.MapSystemView(0, 5*granularity+1)
	assert.Equal(t, nt.STATUS_INVALID_VIEW_SIZE, status)
}

func TestProtectionsOfViews(t *testing.T) {
	m := newManager(t, Config{})
	all := []uint32{pageNoAccess, pageReadOnly, pageReadWrite, pageWriteCopy, pageExecute,
		pageExecuteRead, pageExecuteReadWrite, pageExecuteWriteCopy}
	for page, allowed := range map[uint32][]uint32{
		pageReadOnly:  {pageNoAccess, pageReadOnly, pageWriteCopy},
		pageReadWrite: {pageNoAccess, pageReadOnly, pageReadWrite, pageWriteCopy},
		pageWriteCopy: {pageNoAccess, pageReadOnly, pageWriteCopy},
		pageExecute:   {pageNoAccess, pageExecute},
		pageExecuteRead: {pageNoAccess, pageReadOnly, pageWriteCopy, pageExecute, pageExecuteRead,
			pageExecuteWriteCopy},
		pageExecuteWriteCopy: {pageNoAccess, pageReadOnly, pageWriteCopy, pageExecute, pageExecuteRead,
			pageExecuteWriteCopy},
		pageExecuteReadWrite: all,
	} {
		s := newSection(t, m, 1, page, SEC_COMMIT)
		for _, p := range all {
			want := nt.STATUS_SECTION_PROTECTION
			for _, a := range allowed {
				if a == p {
					want = nt.STATUS_SUCCESS
				}
			}
			v, status := s.MapView(nil, ViewRequest{Protect: p})
			assert.Equal(t, want, status, "%#x of %#x", p, page)
			if status == nt.STATUS_SUCCESS {
				writable := p&(pageReadWrite|pageWriteCopy|pageExecuteReadWrite|pageExecuteWriteCopy) != 0
				assert.Equal(t, writable, guest.Store8(v.Base, 1) == nil, "%#x of %#x", p, page)
				assert.Equal(t, nt.STATUS_SUCCESS, m.UnmapView(nil, v.Base))
			}
		}
	}
}

func TestACopiedPageIsTheViewsAlone(t *testing.T) {
	m := newManager(t, Config{})
	s := newSection(t, m, 2*pageSize, pageReadWrite, SEC_COMMIT)
	shared, _ := s.MapView(nil, ViewRequest{Protect: pageReadWrite})
	private, status := s.MapView(nil, ViewRequest{Protect: pageWriteCopy})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.NoError(t, guest.Store8(shared.Base, 1))
	v, _ := guest.Load8(private.Base)
	assert.EqualValues(t, 1, v)
	require.NoError(t, guest.Store8(private.Base, 2))
	v, _ = guest.Load8(shared.Base)
	assert.EqualValues(t, 1, v)
	assert.NotEqual(t, m.PhysicalAddress(shared.Base), m.PhysicalAddress(private.Base))
}

func TestAReservedSectionIsCommittedByItsViews(t *testing.T) {
	m := newManager(t, Config{})
	s := newSection(t, m, 2*granularity, pageReadWrite, SEC_RESERVE)
	first, status := s.MapView(nil, ViewRequest{Protect: pageReadWrite})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.Error(t, guest.Store8(first.Base, 1), "not committed")
	second, status := s.MapView(nil, ViewRequest{Protect: pageReadOnly, Offset: granularity,
		CommitSize: pageSize + 1})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	at := first.Base + granularity
	require.NoError(t, guest.Store8(at+2*pageSize-1, 7), "committed in every view")
	assert.Error(t, guest.Store8(at+2*pageSize, 7))
	assert.Error(t, guest.Store8(at-1, 7))
	v, err := guest.Load8(second.Base + 2*pageSize - 1)
	require.NoError(t, err)
	assert.EqualValues(t, 7, v)
	assert.Error(t, guest.Store8(second.Base, 7), "as protected as it was")
	third, _ := s.MapSystemView(granularity, pageSize)
	require.NoError(t, guest.Store8(third.Base, 7), "committed before the view was")
	assert.NotZero(t, m.PhysicalAddress(at))
	assert.Zero(t, m.PhysicalAddress(first.Base))
}

func TestPhysicalMemoryIsASection(t *testing.T) {
	m := newManager(t, Config{})
	s := m.PhysicalMemory()
	defer s.Release()
	w := newWindow(t, m, 0)
	pool, err := m.AllocatePool(nt.NonPagedPoolNx, 3*granularity, testTag)
	require.NoError(t, err)
	require.NoError(t, guest.Store64(pool+0x2340, 0x1234))
	p := m.PhysicalAddress(pool + 0x2340)
	user, ok := w.Alloc(pageSize, 0)
	require.True(t, ok)
	require.NoError(t, guest.Store64(user, 0x5678))
	io := m.MapIOSpace(0xFEB00000, 0x100, guest.ProtRW)
	require.NoError(t, guest.Store64(io+8, 0x9ABC))
	for _, c := range []struct {
		fact string
		phys uint64
		want uint64
	}{{"the pool", p, 0x1234}, {"a window", m.PhysicalAddress(user), 0x5678},
		{"a device", 0xFEB00008, 0x9ABC}} {
		r := ViewRequest{Offset: c.phys, Size: 8, CommitSize: 1 << 40,
			Protect: pageReadWrite | pageNoCache}
		assert.Equal(t, nt.STATUS_SUCCESS, s.CheckAlignment(r))
		v, status := s.MapView(w, r)
		require.Equal(t, nt.STATUS_SUCCESS, status, c.fact)
		assert.Equal(t, c.phys&^(granularity-1), v.Offset)
		got, err := guest.Load64(v.Base + nt.Addr(c.phys-v.Offset))
		require.NoError(t, err, c.fact)
		assert.Equal(t, c.want, got, c.fact)
		assert.Equal(t, c.phys, m.PhysicalAddress(v.Base+nt.Addr(c.phys-v.Offset)), c.fact)
		assert.Equal(t, nt.STATUS_SUCCESS, m.UnmapView(w, v.Base))
	}
	for _, c := range []struct {
		fact string
		r    ViewRequest
		want nt.Status
	}{
		{"across the end", ViewRequest{Offset: physEnd - granularity, Size: granularity + 1},
			nt.STATUS_INVALID_VIEW_SIZE},
		{"all of it", ViewRequest{}, nt.STATUS_NO_MEMORY},
		{"what is no memory", ViewRequest{Offset: otherPhysBase, Size: pageSize},
			nt.STATUS_INSUFFICIENT_RESOURCES},
		{"a copy", ViewRequest{Size: 1, Protect: pageWriteCopy}, nt.STATUS_INVALID_PAGE_PROTECTION},
	} {
		c.r.Protect |= pageReadWrite * b2u(c.r.Protect == 0)
		_, status := s.MapView(w, c.r)
		assert.Equal(t, c.want, status, c.fact)
	}
}

func b2u(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

func TestASectionStaysForItsViewsAndLocks(t *testing.T) {
	m := newManager(t, Config{})
	before := m.space.Stats()
	w := newWindow(t, m, 0)
	s, status := m.NewSection(granularity, pageReadWrite, SEC_COMMIT)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	v, _ := s.MapView(w, ViewRequest{Protect: pageReadWrite})
	mine, _ := s.MapView(nil, ViewRequest{Protect: pageReadWrite})
	s.Release()
	require.NoError(t, guest.Store64(v.Base, 42))
	mdl, err := m.AllocateMdl(v.Base, pageSize)
	require.NoError(t, err)
	assert.Equal(t, nt.STATUS_ACCESS_VIOLATION, m.ProbeAndLockPages(mdl, nt.UserMode, IoWriteAccess,
		m.SystemUserMemory()))
	assert.True(t, m.SystemUserMemory().Contains(mine.Base, granularity))
	assert.False(t, m.SystemUserMemory().Contains(mine.Base, granularity+1))
	assert.False(t, m.SystemUserMemory().Contains(w.SystemBase(), 1))
	require.NoError(t, m.ProbeAndLockPages(mdl, nt.UserMode, IoWriteAccess, w))
	sys, err := m.SystemAddressForMdl(mdl)
	require.NoError(t, err)
	require.NoError(t, w.Release(), "which unmaps its view")
	assert.Error(t, guest.Store64(v.Base, 42))
	require.Equal(t, nt.STATUS_SUCCESS, m.UnmapView(nil, mine.Base))
	got, err := guest.Load64(sys)
	require.NoError(t, err)
	assert.EqualValues(t, 42, got)
	assert.Equal(t, 1, m.Use().Sections, "for its locked page")
	assert.NotZero(t, m.Use().Other)
	_, status = s.MapView(w, ViewRequest{Protect: pageReadWrite})
	assert.Equal(t, nt.STATUS_PROCESS_IS_TERMINATING, status)
	require.NoError(t, m.UnlockPages(mdl))
	assert.Zero(t, m.Use().Sections)
	assert.Zero(t, m.Use().Other)
	assert.Zero(t, m.Use().Mappings)
	require.NoError(t, m.FreeMdl(mdl))
	assert.Equal(t, before, m.space.Stats())
}

func TestCloseGivesSectionsAndViewsBack(t *testing.T) {
	space, err := guest.Default()
	require.NoError(t, err)
	before := space.Stats()
	m, err := New(space, Config{})
	require.NoError(t, err)
	w, err := m.NewWindow(0, "a client")
	require.NoError(t, err)
	for _, owner := range []*Window{w, nil} {
		s, status := m.NewSection(3*granularity, pageReadWrite, SEC_COMMIT)
		require.Equal(t, nt.STATUS_SUCCESS, status)
		for _, s := range []*Section{s, m.PhysicalMemory()} {
			_, status := s.MapView(owner, ViewRequest{Protect: pageReadWrite, Offset: granularity,
				Size: granularity})
			require.Equal(t, nt.STATUS_SUCCESS, status)
			_, status = s.MapSystemView(0, pageSize)
			require.Equal(t, nt.STATUS_SUCCESS, status)
		}
	}
	require.NoError(t, m.Close())
	assert.Equal(t, before, space.Stats())
}

func TestViewsComeAndGoAtOnce(t *testing.T) {
	m := newManager(t, Config{})
	s := newSection(t, m, 4*granularity, pageReadWrite, SEC_RESERVE)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			w, err := m.NewWindow(MinWindow, "a client")
			if !assert.NoError(t, err) {
				return
			}
			for j := range 50 {
				v, status := s.MapView(w, ViewRequest{Protect: pageReadWrite,
					Offset: uint64(i) * granularity, CommitSize: uint64(j%16+1) * pageSize})
				if !assert.Equal(t, nt.STATUS_SUCCESS, status) {
					return
				}
				assert.NoError(t, guest.Store8(v.Base+nt.Addr(j%16)*pageSize, 1))
				if j%2 == 0 {
					assert.Equal(t, nt.STATUS_SUCCESS, m.UnmapView(w, v.Base))
				}
			}
			assert.NoError(t, w.Release())
		}()
	}
	wg.Wait()
	assert.Zero(t, m.Use().Mappings)
}
