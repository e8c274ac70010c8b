package guest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/drvhost/drvhost/nt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// accesses is every way of touching guest memory, with how many bytes it touches.
var accesses = []struct {
	name   string
	size   uintptr
	access Access
	do     func(a Addr) error
}{
	{"Load8", 1, AccessRead, func(a Addr) error { _, err := Load8(a); return err }},
	{"Load16", 2, AccessRead, func(a Addr) error { _, err := Load16(a); return err }},
	{"Load32", 4, AccessRead, func(a Addr) error { _, err := Load32(a); return err }},
	{"Load64", 8, AccessRead, func(a Addr) error { _, err := Load64(a); return err }},
	{"LoadAddr", 8, AccessRead, func(a Addr) error { _, err := LoadAddr(a); return err }},
	{"Store8", 1, AccessWrite, func(a Addr) error { return Store8(a, 1) }},
	{"Store16", 2, AccessWrite, func(a Addr) error { return Store16(a, 1) }},
	{"Store32", 4, AccessWrite, func(a Addr) error { return Store32(a, 1) }},
	{"Store64", 8, AccessWrite, func(a Addr) error { return Store64(a, 1) }},
	{"StoreAddr", 8, AccessWrite, func(a Addr) error { return StoreAddr(a, 1) }},
	{"Swap32", 4, AccessWrite, func(a Addr) error { _, err := Swap32(a, 1); return err }},
	{"Swap64", 8, AccessWrite, func(a Addr) error { _, err := Swap64(a, 1); return err }},
	{"Add32", 4, AccessWrite, func(a Addr) error { _, err := Add32(a, 1); return err }},
	{"Add64", 8, AccessWrite, func(a Addr) error { _, err := Add64(a, 1); return err }},
	{"Or32", 4, AccessWrite, func(a Addr) error { _, err := Or32(a, 1); return err }},
	{"And32", 4, AccessWrite, func(a Addr) error { _, err := And32(a, 1); return err }},
	{"CompareAndSwap32", 4, AccessWrite, func(a Addr) error {
		_, err := CompareAndSwap32(a, 0, 1)
		return err
	}},
	{"CompareAndSwap64", 8, AccessWrite, func(a Addr) error {
		_, err := CompareAndSwap64(a, 0, 1)
		return err
	}},
	{"Read 1", 1, AccessRead, func(a Addr) error { return Read(make([]byte, 1), a) }},
	{"Read 3", 3, AccessRead, func(a Addr) error { return Read(make([]byte, 3), a) }},
	{"Read 64", 64, AccessRead, func(a Addr) error { return Read(make([]byte, 64), a) }},
	{"Read 2000", 2000, AccessRead, func(a Addr) error { return Read(make([]byte, 2000), a) }},
	{"Write 1", 1, AccessWrite, func(a Addr) error { return Write(a, make([]byte, 1)) }},
	{"Write 13", 13, AccessWrite, func(a Addr) error { return Write(a, make([]byte, 13)) }},
	{"Write 100", 100, AccessWrite, func(a Addr) error { return Write(a, make([]byte, 100)) }},
	{"Fill 2", 2, AccessWrite, func(a Addr) error { return Fill(a, 0, 2) }},
	{"Fill 700", 700, AccessWrite, func(a Addr) error { return Fill(a, 0, 700) }},
	{"Ptr.Load", 24, AccessRead, func(a Addr) error {
		_, err := Ptr[[3]uint64](a).Load()
		return err
	}},
	{"Ptr.Store", 24, AccessWrite, func(a Addr) error { return Ptr[[3]uint64](a).Store([3]uint64{}) }},
	{"ReadSlice", 8, AccessRead, func(a Addr) error { return ReadSlice(make([]uint16, 4), a) }},
	{"WriteSlice", 8, AccessWrite, func(a Addr) error { return WriteSlice(a, make([]uint16, 4)) }},
	{"Move from", 40, AccessRead, func(a Addr) error { return Move(scratch.Base(), a, 40) }},
	{"Move to", 40, AccessWrite, func(a Addr) error { return Move(a, scratch.Base(), 40) }},
	{"Move long from", 4000, AccessRead, func(a Addr) error { return Move(scratch.Base(), a, 4000) }},
	{"Move long to", 4000, AccessWrite, func(a Addr) error { return Move(a, scratch.Base(), 4000) }},
}

// scratch is the good end of the moves.
var scratch *Region

func TestEveryAccess(t *testing.T) {
	s := space(t)
	scratch = alloc(t, s, PageSize, ProtRW)
	good := alloc(t, s, 3*PageSize, ProtRW)
	require.NoError(t, good.Protect(PageSize, PageSize, ProtRead))
	require.NoError(t, good.Protect(2*PageSize, PageSize, ProtNone))
	holes, err := s.ReserveSystem(2*PageSize, "reserved")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, holes.Free()) })
	require.NoError(t, holes.Commit(0, PageSize, ProtRW))
	require.NoError(t, holes.Decommit(0, PageSize))
	short := shortFile(t, s)

	const readOnly, fine = 1, 2
	for _, at := range []struct {
		name string
		a    Addr
		only int
	}{
		{"committed page", good.Base(), fine},
		{"committed page, unaligned", good.Base() + 3, fine},
		{"read-only page", good.Base() + PageSize, readOnly},
		{"page without access", good.Base() + 2*PageSize, 0},
		{"guard page behind", good.End(), 0},
		{"guard page before", good.Base() - 8, 0},
		{"decommitted page", holes.Base(), 0},
		{"page that was never committed", holes.Base() + PageSize, 0},
		{"end of the file that is mapped", short.Base() + PageSize, 0},
		{"null", 0, 0},
		{"null with an offset", 0x18, 0},
		{"last bytes below 64 KiB", LowGuard - 8, 0},
		{"lowest non-canonical address", 1 << 47, 0},
		{"non-canonical address", 0x8000_0000_0000_0000, 0},
		{"pool poison", 0xDDDD_DDDD_DDDD_DDDD, 0},
		{"KUSER_SHARED_DATA", 0xFFFF_F780_0000_0000, 0},
		{"highest address", ^Addr(0), 0},
	} {
		for _, acc := range accesses {
			err := acc.do(at.a)
			if at.only == fine || at.only == readOnly && acc.access == AccessRead {
				assert.NoError(t, err, "%s: %s", at.name, acc.name)
				continue
			}
			// The processor reports a read-modify-write of an unmapped page as a write.
			want := &FaultError{Addr: at.a, Access: acc.access}
			assert.Equal(t, want, err, "%s: %s", at.name, acc.name)
			assert.ErrorIs(t, err, nt.STATUS_ACCESS_VIOLATION)
		}
	}
}

// shortFile gives a region of two pages of which the second lies behind the end of its file.
func shortFile(t *testing.T, s *Space) *Region {
	fd, err := unix.MemfdCreate("short", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	require.NoError(t, unix.Ftruncate(fd, 2*PageSize))
	r, err := s.AllocShared(fd, 0, 2*PageSize, ArenaUser, ProtRW, "truncated file")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Free()) })
	require.NoError(t, unix.Ftruncate(fd, PageSize))
	require.NoError(t, unix.Close(fd))
	return r
}

func TestAccessAcrossTheEndOfThePage(t *testing.T) {
	s := space(t)
	scratch = alloc(t, s, PageSize, ProtRW)
	r := alloc(t, s, PageSize, ProtRW)
	ro := alloc(t, s, 2*PageSize, ProtRW)
	require.NoError(t, ro.Protect(PageSize, PageSize, ProtRead))
	file := shortFile(t, s)
	for _, acc := range accesses {
		for back := uintptr(1); back < acc.size; back++ {
			want := &FaultError{Addr: r.End(), Access: acc.access}
			require.Equal(t, want, acc.do(r.End()-Addr(back)), "%s, %d bytes on the page", acc.name,
				back)
			want.Addr = file.Base() + PageSize
			require.Equal(t, want, acc.do(want.Addr-Addr(back)), "%s, %d bytes in the file", acc.name,
				back)
			if acc.access == AccessWrite {
				want.Addr = ro.Base() + PageSize
				require.Equal(t, want, acc.do(want.Addr-Addr(back)), "%s, %d bytes not read-only",
					acc.name, back)
			}
		}
	}
}

func TestValues(t *testing.T) {
	s := space(t)
	a := alloc(t, s, PageSize, ProtRW).Base()
	const v = 0x8877665544332211
	must := func(err error) { t.Helper(); require.NoError(t, err) }
	word := func() uint64 { w, err := Load64(a); must(err); return w }

	must(Store64(a, v))
	v8, err := Load8(a + 1)
	must(err)
	assert.EqualValues(t, 0x22, v8)
	v16, err := Load16(a + 1)
	must(err)
	assert.EqualValues(t, 0x3322, v16)
	v32, err := Load32(a + 4)
	must(err)
	assert.EqualValues(t, 0x88776655, v32)
	must(Store8(a, 0))
	assert.Equal(t, uint64(0x8877665544332200), word())
	must(Store16(a+6, 0))
	assert.EqualValues(t, 0x665544332200, word())
	must(Store32(a, 0xFFFFFFFF))
	assert.EqualValues(t, 0x6655FFFFFFFF, word())

	sum, err := Add32(a, 2)
	must(err)
	assert.EqualValues(t, 1, sum)
	assert.EqualValues(t, 0x665500000001, word(), "no carry into the neighbour")
	sum64, err := Add64(a, ^uint64(0))
	must(err)
	assert.EqualValues(t, 0x665500000000, sum64)
	old, err := Or32(a, 0xF0)
	must(err)
	assert.EqualValues(t, 0, old)
	old, err = And32(a, 0x30)
	must(err)
	assert.EqualValues(t, 0xF0, old)
	assert.EqualValues(t, 0x665500000030, word())
	old, err = Swap32(a, 7)
	must(err)
	assert.EqualValues(t, 0x30, old)
	old64, err := Swap64(a, v)
	must(err)
	assert.EqualValues(t, 0x665500000007, old64)

	swapped, err := CompareAndSwap32(a+4, 1, 2)
	must(err)
	assert.False(t, swapped)
	swapped, err = CompareAndSwap32(a+4, 0x88776655, 2)
	must(err)
	assert.True(t, swapped)
	swapped, err = CompareAndSwap64(a, 0x0000000244332211, v)
	must(err)
	assert.True(t, swapped)
	swapped, err = CompareAndSwap64(a, 1, 2)
	must(err)
	assert.False(t, swapped)
	assert.EqualValues(t, uint64(v), word())
}

// lengths are those at which the copy routine takes different ways, and their neighbours.
func lengths() (out []int) {
	for n := range 200 {
		out = append(out, n)
	}
	for _, n := range []int{255, 256, 257, 319, 320, 383, 384, 385, 447, 448, 511, 512, 513, 640,
		1000, 1024, 4095, 4096, 8191, 8192, 8193, 10000} {
		out = append(out, n)
	}
	return out
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7+i>>8) | 1
	}
	return b
}

func TestCopiesAreWholeAndTouchNothingElse(t *testing.T) {
	s := space(t)
	const room = 4 * PageSize
	r, q := alloc(t, s, room, ProtRW), alloc(t, s, room, ProtRW)
	src := pattern(room)
	for _, avx := range []bool{hasAVX, false} {
		defer func(v bool) { hasAVX = v }(hasAVX)
		hasAVX = avx
		for _, n := range lengths() {
			for _, off := range []int{0, 1, 17} {
				require.NoError(t, Fill(r.Base(), 0, room))
				require.NoError(t, Fill(q.Base(), 0, room))
				require.NoError(t, Write(r.Base()+Addr(off), src[:n]))
				require.NoError(t, Move(q.Base()+Addr(off)+1, r.Base()+Addr(off), uintptr(n)))
				want := make([]byte, room)
				copy(want[off+1:], src[:n])
				got := make([]byte, room)
				require.NoError(t, Read(got[:off+1+n+20], q.Base()))
				require.True(t, bytes.Equal(want, got), "n %d off %d", n, off)

				require.NoError(t, Fill(q.Base()+Addr(off)+1, 0xAB, uintptr(n)))
				for i := range n {
					want[off+1+i] = 0xAB
				}
				require.NoError(t, Read(got, q.Base()))
				require.True(t, bytes.Equal(want, got), "fill n %d off %d", n, off)
			}
		}
	}
}

func TestCopiesStopAtTheExactByte(t *testing.T) {
	s := space(t)
	const room = 4 * PageSize
	r := alloc(t, s, room, ProtRW)
	alloc(t, s, room, ProtNone) // so that no range that starts in r reaches q
	q := alloc(t, s, room, ProtRW)
	src := pattern(room)
	for _, n := range lengths() {
		for _, fits := range []int{0, 1, 7, 8, 15, 17, 33, 63, 64, 129, 300, 5000} {
			if fits >= n {
				continue
			}
			name := fmt.Sprintf("n %d, of which %d fit", n, fits)
			a := r.End() - Addr(fits)

			require.NoError(t, Fill(a, 0, uintptr(fits)))
			require.Equal(t, &FaultError{r.End(), AccessWrite}, Write(a, src[:n]), name)
			got := make([]byte, n)
			require.Equal(t, &FaultError{r.End(), AccessRead}, Read(got, a), name)
			require.Equal(t, src[:fits], got[:fits], name)
			require.Equal(t, make([]byte, n-fits), got[fits:], name)

			require.NoError(t, Fill(q.Base(), 0, uintptr(n)))
			require.Equal(t, &FaultError{r.End(), AccessRead}, Move(q.Base(), a, uintptr(n)), name)
			require.NoError(t, Read(got, q.Base()))
			require.Equal(t, src[:fits], got[:fits], name)

			require.NoError(t, Write(q.Base(), src[:n]))
			require.NoError(t, Fill(a, 0, uintptr(fits)))
			require.Equal(t, &FaultError{r.End(), AccessWrite}, Move(a, q.Base(), uintptr(n)), name)
			require.NoError(t, Read(got[:fits], a))
			require.Equal(t, src[:fits], got[:fits], name)

			require.Equal(t, &FaultError{r.End(), AccessWrite}, Fill(a, 0xCD, uintptr(n)), name)
			require.NoError(t, Read(got[:fits], a))
			require.Equal(t, bytes.Repeat([]byte{0xCD}, fits), got[:fits], name)
		}
	}
}

func TestMoveOverlapping(t *testing.T) {
	s := space(t)
	const room = 8 * PageSize
	r := alloc(t, s, room, ProtRW)
	for _, n := range []int{1, 8, 100, 4096, 4097, 9000, 20000} {
		for _, shift := range []int{-4097, -4096, -100, -1, 0, 1, 3, 64, 4096, 5000} {
			want := pattern(room)
			require.NoError(t, Write(r.Base(), want))
			from := 5000
			copy(want[from+shift:], want[from:from+n])
			require.NoError(t, Move(r.Base()+Addr(from+shift), r.Base()+Addr(from), uintptr(n)))
			got := make([]byte, room)
			require.NoError(t, Read(got, r.Base()))
			require.True(t, bytes.Equal(want, got), "n %d shift %d", n, shift)
		}
	}
	assert.Equal(t, &FaultError{r.End(), AccessRead}, Move(r.End()-20, r.End()-10, 20))
	got := make([]byte, 10)
	require.NoError(t, Read(got, r.End()-20))
	assert.Equal(t, pattern(room)[room-10:], got, "the bytes before the fault")
	var fault *FaultError
	require.ErrorAs(t, Move(r.End()-10, r.End()-20, 20), &fault)
	assert.Equal(t, AccessWrite, fault.Access)
	assert.Equal(t, &FaultError{0, AccessRead}, Move(1, 0, 2), "both ends bad: the read is first")
}

func TestNothingIsTouchedForNothing(t *testing.T) {
	space(t)
	assert.NoError(t, Read(nil, 0))
	assert.NoError(t, Write(0, nil))
	assert.NoError(t, Move(0, 1, 0))
	assert.NoError(t, Fill(0, 0, 0))
	assert.NoError(t, ReadSlice([]uint64(nil), 0))
}

func TestLongRangesStopAtTheFault(t *testing.T) {
	s := space(t)
	const room = 3 << 20
	r := alloc(t, s, room, ProtRW)
	b := pattern(room + 1)
	assert.Equal(t, &FaultError{r.End(), AccessWrite}, Write(r.Base(), b))
	got := make([]byte, room+1)
	assert.Equal(t, &FaultError{r.End(), AccessRead}, Read(got, r.Base()))
	assert.True(t, bytes.Equal(b[:room], got[:room]))
	assert.Equal(t, &FaultError{r.End(), AccessWrite}, Fill(r.Base(), 1, ^uintptr(0)))
	err := Move(r.Base(), r.Base()+room, 1<<62)
	assert.Equal(t, &FaultError{r.End(), AccessRead}, err)
}

func TestFaultErrorSaysWhatIsThere(t *testing.T) {
	s := space(t)
	r, err := s.AllocSystem(PageSize, ProtRead, "KUSER page")
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Free()) }()
	for _, c := range []struct {
		err  error
		want string
	}{
		{Store64(r.Base()+8, 0), fmt.Sprintf("cannot write guest address %v (KUSER page+0x8, r--)",
			r.Base()+8)},
		{Store64(r.End()+4, 0), fmt.Sprintf("cannot write guest address %v (unmapped, 0x4 bytes "+
			"behind the end of KUSER page)", r.End()+4)},
		{Store64(r.Base()-8, 0), fmt.Sprintf("cannot write guest address %v (unmapped, 0x8 bytes "+
			"before KUSER page)", r.Base()-8)},
		{Read(make([]byte, 1), 0x10), "cannot read guest address 0x10 (the first 64 KiB, never " +
			"mapped: a null pointer)"},
		{Store8(0x8000000000000000, 1), "cannot write guest address 0x8000000000000000 (not a " +
			"canonical address)"},
		{Store8(0xFFFFF78000000000, 1), "cannot write guest address 0xfffff78000000000 (the upper " +
			"half of the address space)"},
	} {
		assert.EqualError(t, c.err, c.want)
		var fault *FaultError
		require.True(t, errors.As(c.err, &fault))
		assert.Equal(t, nt.STATUS_ACCESS_VIOLATION, fault.Status())
	}
}

func TestAccessDoesNotAllocate(t *testing.T) {
	s := space(t)
	a := alloc(t, s, PageSize, ProtRW).Base()
	buf := make([]byte, 100)
	n := testing.AllocsPerRun(100, func() {
		_, _ = Load64(a)
		_ = Read(buf, a)
		_ = Write(a, buf)
		_ = Move(a, a+200, 100)
		_ = Move(a, a+20, 100)
		v, _ := Ptr[[4]uint64](a).Load()
		_ = Ptr[[4]uint64](a).Store(v)
		_, _ = s.Lookup(a)
		_ = s.IsUserRange(UserBase, 1)
	})
	assert.Zero(t, n)
}
