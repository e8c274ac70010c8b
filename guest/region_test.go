package guest

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/drvhost/drvhost/nt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAllocationsAreZeroedAndAlone(t *testing.T) {
	s := space(t)
	for _, c := range []struct {
		name  string
		alloc func() (*Region, error)
		lo    Addr
		align Addr
		kind  Kind
	}{
		{"system", func() (*Region, error) { return s.AllocSystem(5000, ProtRW, "x") },
			1 << 46, PageSize, KindSystem},
		{"user", func() (*Region, error) { return s.AllocUser(5000, ProtRW, "x") },
			UserBase, userAlign, KindUser},
		{"at", func() (*Region, error) { return s.AllocAt(0x140000000, 5000, ProtRW, "x") },
			0x140000000, PageSize, KindFixed},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 3 { // the same addresses again, with nothing left in them
				r, err := c.alloc()
				require.NoError(t, err)
				assert.EqualValues(t, 2*PageSize, r.Size())
				assert.GreaterOrEqual(t, r.Base(), c.lo)
				assert.Zero(t, r.Base()%c.align)
				assert.Equal(t, c.kind, r.Kind())
				got := make([]byte, r.Size())
				require.NoError(t, Read(got, r.Base()))
				require.Equal(t, make([]byte, r.Size()), got)
				require.NoError(t, Fill(r.Base(), 0xFF, r.Size()))
				assert.Error(t, Store8(r.Base()-1, 0))
				assert.Error(t, Store8(r.End(), 0))
				require.NoError(t, r.Free())
				assert.ErrorIs(t, r.Free(), ErrFreed)
				assert.ErrorIs(t, r.Protect(0, PageSize, ProtRW), ErrFreed)
				assert.Error(t, Store8(r.Base(), 0))
				_, ok := s.Lookup(r.Base())
				assert.False(t, ok)
			}
		})
	}
}

func TestSizesThatCannotBe(t *testing.T) {
	s := space(t)
	for _, size := range []uintptr{0, ^uintptr(0), ^uintptr(0) - 100, 1 << 63, 1 << 40, 65 << 30} {
		for at, alloc := range map[string]func(uintptr) (*Region, error){
			"AllocSystem": func(n uintptr) (*Region, error) { return s.AllocSystem(n, ProtRW, "x") },
			"AllocUser":   func(n uintptr) (*Region, error) { return s.AllocUser(n, ProtRW, "x") },
			"ReserveUser": func(n uintptr) (*Region, error) { return s.ReserveUser(n, "x") },
			"AllocAt": func(n uintptr) (*Region, error) {
				return s.AllocAt(SystemRangeStart-PageSize, n, ProtRW, "x")
			},
			"AllocShared": func(n uintptr) (*Region, error) {
				return s.AllocShared(0, 0, n, ArenaUser, ProtRW, "x")
			},
		} {
			_, err := alloc(size)
			assert.Error(t, err, "%s(%#x)", at, size)
		}
	}
	_, err := s.AllocUser(4<<30, ProtRW, "x")
	assert.ErrorIs(t, err, ErrNoRoom)
	assert.ErrorIs(t, err, nt.STATUS_INSUFFICIENT_RESOURCES)
	_, err = s.AllocStack(MaxStackSize + 1)
	assert.Error(t, err)
	_, err = s.AllocShared(-1, 0, PageSize, ArenaSystem, ProtRW, "x")
	assert.ErrorIs(t, err, unix.EBADF)
	_, err = s.AllocShared(0, 7, PageSize, ArenaSystem, ProtRW, "x")
	assert.ErrorIs(t, err, unix.EINVAL)
	_, err = s.AllocShared(0, 0, PageSize, 9, ProtRW, "x")
	assert.ErrorIs(t, err, unix.EINVAL)
}

func TestAllocAt(t *testing.T) {
	s := space(t)
	user, err := s.AllocUser(3*PageSize, ProtRW, "window")
	require.NoError(t, err)
	defer func() { require.NoError(t, user.Free()) }()
	system := s.arenas[ArenaSystem].bounds
	for _, c := range []struct {
		name string
		addr Addr
		size uintptr
		by   string // of the TakenError, or "" when it succeeds
	}{
		{"the base of old drivers", 0x10000, 0x30000, ""},
		{"the base of new drivers", 0x140000000, 0x100000, ""},
		{"the base of DLLs", 0x180000000, 0x100000, ""},
		{"inside of the user arena", 0xF0000000, 0x10000, ""},
		{"inside of the system arena", Addr(system.end) - 1<<20, 0x10000, ""},
		{"null", 0, PageSize, "the first 64 KiB are never mapped"},
		{"below 64 KiB", 0xF000, 0x10000, "the first 64 KiB are never mapped"},
		{"the Go program", 0x400000, PageSize, "the host process has "},
		{"beyond user space", 1 << 47, PageSize, "not addresses that a Linux process can map"},
		{"not canonical", 0xFFFF_0000_0000_0000, PageSize, "not addresses that a Linux process can"},
		{"up to the end", ^Addr(0) - 0xFFF, PageSize, "not addresses that a Linux process can map"},
		{"into the user arena", UserBase - PageSize, 2 * PageSize, "the border of the user arena"},
		{"around the user arena", 0x8000000, 8 << 30, "the border of the user arena"},
		{"out of the system arena", Addr(system.end) - PageSize, 2 * PageSize, "the border of the "},
		{"a region", user.Base() + PageSize, PageSize, "window is at "},
		{"the end of a region", user.End() - PageSize, 2 * PageSize, "window is at "},
		{"a guard gap", user.End(), PageSize, "window is at "},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := s.AllocAt(c.addr, c.size, ProtRW, "image")
			if c.by != "" {
				var taken *TakenError
				require.ErrorAs(t, err, &taken)
				assert.Contains(t, taken.By, c.by)
				assert.Equal(t, c.addr, taken.Addr)
				assert.ErrorIs(t, err, nt.STATUS_CONFLICTING_ADDRESSES)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.addr, r.Base())
			require.NoError(t, Store64(r.End()-8, 1))
			assert.False(t, s.IsUserRange(r.Base(), 1), "an image is never user memory")
			_, err = s.AllocAt(c.addr+PageSize, PageSize, ProtRW, "second image")
			assert.ErrorContains(t, err, "image is at")
			require.NoError(t, r.Free())
		})
	}
	_, err = s.AllocAt(0x140000001, PageSize, ProtRW, "x")
	assert.ErrorIs(t, err, unix.EINVAL, "not a page's address")
}

func TestCommitProtectDecommit(t *testing.T) {
	s := space(t)
	r, err := s.ReserveSystem(8*PageSize, "pool")
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Free()) }()
	page := func(n int) uintptr { return uintptr(n) * PageSize }
	at := func(n int) Addr { return r.Base() + Addr(page(n)) }
	state := func() (out string) {
		for n := range 8 {
			info, ok := s.Lookup(at(n) + 7)
			require.True(t, ok)
			if info.Committed {
				out += info.Prot.String() + " "
			} else {
				out += "... "
			}
			err := Store8(at(n)+5, 1)
			assert.Equal(t, info.Committed && info.Prot&ProtWrite != 0, err == nil, "page %d", n)
			_, err = Load8(at(n))
			assert.Equal(t, info.Committed && info.Prot != ProtNone, err == nil, "page %d", n)
		}
		return out
	}
	assert.Equal(t, "... ... ... ... ... ... ... ... ", state())
	require.NoError(t, r.Commit(page(1), page(4), ProtRW))
	assert.Equal(t, "... rw- rw- rw- rw- ... ... ... ", state())
	require.NoError(t, Store64(at(2), 42))
	require.NoError(t, r.Protect(page(2), page(1), ProtRead))
	assert.Equal(t, "... rw- r-- rw- rw- ... ... ... ", state())
	require.NoError(t, r.Protect(page(3), page(2), ProtNone))
	assert.Equal(t, "... rw- r-- --- --- ... ... ... ", state())
	require.NoError(t, r.Commit(page(2), page(4), ProtRX))
	assert.Equal(t, "... rw- r-x r-x r-x r-x ... ... ", state())
	v, err := Load64(at(2))
	require.NoError(t, err)
	assert.EqualValues(t, 42, v, "a second commit keeps the contents")
	require.NoError(t, r.Decommit(page(2), page(2)))
	assert.Equal(t, "... rw- ... ... r-x r-x ... ... ", state())
	require.NoError(t, r.Commit(page(0), page(8), ProtRW))
	assert.Equal(t, "rw- rw- rw- rw- rw- rw- rw- rw- ", state())
	assert.Len(t, *r.runs.Load(), 1)
	v, err = Load64(at(2) + 8)
	require.NoError(t, err)
	assert.Zero(t, v, "decommitted pages come back zeroed")
	require.NoError(t, r.Decommit(page(0), page(8)))
	assert.Equal(t, "... ... ... ... ... ... ... ... ", state())
	require.NoError(t, r.Commit(page(7), page(1), ProtRead))
	assert.Equal(t, "... ... ... ... ... ... ... r-- ", state())
	assert.ErrorContains(t, r.Protect(page(6), page(2), ProtRW), "not all of the pages are committed")

	for _, bad := range [][2]uintptr{{0, 0}, {1, PageSize}, {0, 1}, {page(8), PageSize},
		{page(7), 2 * PageSize}, {PageSize, ^uintptr(0) - PageSize + 1},
		{^uintptr(0) &^ 0xFFF, PageSize}} {
		var out *RangeError
		assert.ErrorAs(t, r.Commit(bad[0], bad[1], ProtRW), &out, "%#x", bad)
		assert.ErrorAs(t, r.Decommit(bad[0], bad[1]), &out, "%#x", bad)
		assert.ErrorAs(t, r.Protect(bad[0], bad[1], ProtRW), &out, "%#x", bad)
	}
}

func TestSharedMappingsAreAliases(t *testing.T) {
	s := space(t)
	fd, err := SealedMemfd("window", 4*PageSize)
	require.NoError(t, err)
	user, err := s.AllocShared(fd, 0, 4*PageSize, ArenaUser, ProtRW, "window")
	require.NoError(t, err)
	system, err := s.AllocShared(fd, PageSize, 2*PageSize, ArenaSystem, ProtRead, "MDL mapping")
	require.NoError(t, err)

	assert.Error(t, unix.Ftruncate(fd, PageSize), "sealed against shrinking")
	assert.Error(t, unix.Ftruncate(fd, 8*PageSize), "sealed against growing")
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	assert.Error(t, err, "sealed against seals")
	require.NoError(t, unix.Close(fd))

	require.NoError(t, Store64(user.Base()+PageSize+8, 42))
	v, err := Load64(system.Base() + 8)
	require.NoError(t, err)
	assert.EqualValues(t, 42, v)
	assert.Error(t, Store64(system.Base(), 1))
	require.NoError(t, system.Protect(0, PageSize, ProtRW))
	require.NoError(t, Store64(system.Base(), 43))
	v, err = Load64(user.Base() + PageSize)
	require.NoError(t, err)
	assert.EqualValues(t, 43, v)
	assert.Error(t, system.Commit(0, PageSize, ProtRW))
	assert.Error(t, system.Decommit(0, PageSize))
	assert.Equal(t, KindUser, user.Kind())
	assert.Equal(t, KindSystem, system.Kind())
	require.NoError(t, user.Free())
	v, err = Load64(system.Base())
	require.NoError(t, err)
	assert.EqualValues(t, 43, v)
	require.NoError(t, system.Free())
	assert.Error(t, Store8(system.Base(), 1))

	_, err = SealedMemfd("x", 0)
	assert.Error(t, err)
	_, err = SealedMemfd("x", -5)
	assert.Error(t, err)
}

func TestIsUserRange(t *testing.T) {
	s := space(t)
	r, err := s.AllocUser(2*PageSize, ProtRW, "window")
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Free()) }()
	for _, image := range []bool{false, true} {
		if image {
			r, err := s.AllocAt(0xC0000000, PageSize, ProtRW, "image")
			require.NoError(t, err)
			defer func() { require.NoError(t, r.Free()) }()
		}
		for _, c := range []struct {
			a    Addr
			n    uintptr
			want bool
		}{
			{r.Base(), r.Size(), true},
			{UserEnd - 1, 1, true},
			{UserEnd - 1, 2, false},
			{UserEnd - 1, ^uintptr(0), false},
			{UserBase - 1, 1, false},
			{UserEnd, 0, false},
			{r.Base(), 0, true},
			{0, 0, false},
			{0x140000000, 8, false},
			{0xFFFFF78000000000, 8, false},
			{0xC0000000 - 8, 8, true},
			{0xC0000000 - 8, 9, !image},
			{0xC0000000, 0, !image},
			{0xC0000FFF, 8, !image},
			{0xC0001000, 8, true},
		} {
			assert.Equal(t, c.want, s.IsUserRange(c.a, c.n), "%v+%#x image %v", c.a, c.n, image)
		}
	}
}

func TestContains(t *testing.T) {
	s := space(t)
	r := alloc(t, s, PageSize, ProtRW)
	assert.True(t, r.Contains(r.Base(), PageSize))
	assert.True(t, r.Contains(r.End(), 0))
	assert.False(t, r.Contains(r.End(), 1))
	assert.False(t, r.Contains(r.Base()-1, 1))
	assert.False(t, r.Contains(r.Base()+1, ^uintptr(0)))
}

func TestUserArenaAroundWhatIsTaken(t *testing.T) {
	const lo, hi = 0x6800_0000_0000 - 64<<20, 0x6800_0000_0000 - 32<<20
	a := arena{bounds: span{lo, hi}}
	hole := span{lo + 4<<20, lo + 5<<20}
	require.NoError(t, reserve(hole))
	defer func() { require.NoError(t, munmap(hole.start, hole.end-hole.start)) }()
	require.NoError(t, a.reserveAround(16<<20))
	assert.Equal(t, []span{{lo, hole.start}, {hole.end, hi}}, a.free.spans)
	assert.Equal(t, []span{hole}, a.holes)
	require.NoError(t, a.release())

	b := arena{bounds: span{lo, hi}}
	err := b.reserveAround(32 << 20)
	assert.ErrorContains(t, err, fmt.Sprintf("%#x-%#x", hole.start, hole.end))
	require.NoError(t, reserve(span{lo, hole.start}), "a failure leaves nothing reserved")
	require.NoError(t, munmap(lo, hole.start-lo))
}

// Goroutines allocate, use, look up and free all kinds of memory at once, with the garbage
// collector running; nobody sees another's bytes, and nothing is left.
func TestAllocatorHammer(t *testing.T) {
	s := space(t)
	defer storm(t)()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 60 {
				r, err := s.alloc(Arena(i%2), KindSystem-Kind(1-i%2), uintptr(1+i%7)*PageSize, ProtRW,
					true, "hammer")
				if !assert.NoError(t, err) {
					return
				}
				st, err := s.AllocStack(uintptr(i%3) * 20000)
				if !assert.NoError(t, err) {
					return
				}
				tag := uint64(w)<<32 | uint64(i)
				assert.NoError(t, Store64(r.End()-8, tag))
				assert.NoError(t, Store64(st.Top()-8, ^tag))
				if i%4 == 0 {
					assert.NoError(t, r.Protect(0, PageSize, ProtRead))
				}
				runtime.Gosched()
				v, err := Load64(r.End() - 8)
				assert.NoError(t, err)
				assert.Equal(t, tag, v)
				v, err = Load64(st.Top() - 8)
				assert.NoError(t, err)
				assert.Equal(t, ^tag, v)
				info, ok := s.Lookup(r.Base() + 1)
				assert.True(t, ok && info.Region == r)
				assert.NoError(t, st.Free())
				assert.NoError(t, r.Free())
			}
		})
	}
	wg.Wait()
	for _, a := range s.arenas {
		assert.LessOrEqual(t, len(a.free.spans), 10, "free ranges coalesce")
	}
}
