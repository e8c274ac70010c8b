package rtl

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
)

// bitmap makes a bitmap from text: '1' and '0', bit 0 first; spaces do not count.
func (m *memory) bitmap(text string) BitMap {
	m.t.Helper()
	text = strings.ReplaceAll(text, " ", "")
	b := make([]byte, (len(text)+31)/32*4)
	for i, c := range text {
		if c == '1' {
			b[i/8] |= 1 << (i % 8)
		}
	}
	a := m.alloc(16)
	require.NoError(m.t, InitializeBitMap(a, m.bytes(b), uint32(len(text))))
	bm, err := LoadBitMap(a)
	require.NoError(m.t, err)
	return bm
}

func (m *memory) bits(b BitMap) string {
	m.t.Helper()
	var s strings.Builder
	for i := range b.Size {
		v, err := b.Test(i)
		require.NoError(m.t, err)
		s.WriteByte("01"[map[bool]int{false: 0, true: 1}[v]])
	}
	return s.String()
}

func TestBitMapSetAndClear(t *testing.T) {
	m := newMemory(t)
	zeros, ones := strings.Repeat("0", 100), strings.Repeat("1", 100)
	for _, c := range []struct {
		name     string
		start, n uint32
		want     string
	}{
		{"one bit", 5, 1, zeros[:5] + "1" + zeros[6:]},
		{"over a word's end", 30, 4, zeros[:30] + "1111" + zeros[34:]},
		{"whole words and more", 10, 80, zeros[:10] + ones[:80] + zeros[:10]},
		{"everything", 0, 100, ones},
		{"nothing", 5, 0, zeros},
		{"beyond the end: nothing", 99, 2, zeros},
		{"a huge count: nothing", 5, 0xFFFFFFFF, zeros},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := m.bitmap(zeros)
			require.NoError(t, b.SetBits(c.start, c.n))
			require.Equal(t, c.want, m.bits(b))
			n, err := b.NumberOfSet()
			require.NoError(t, err)
			require.EqualValues(t, strings.Count(c.want, "1"), n)
			n, err = b.NumberOfClear()
			require.NoError(t, err)
			require.EqualValues(t, strings.Count(c.want, "0"), n)
			require.NoError(t, b.ClearBits(c.start, c.n))
			require.Equal(t, zeros, m.bits(b))
		})
	}
	b := m.bitmap(zeros)
	require.NoError(t, b.SetAll())
	require.Equal(t, ones, m.bits(b))
	n, err := b.NumberOfSet()
	require.NoError(t, err)
	require.EqualValues(t, 100, n, "bits behind the end do not count")
	require.NoError(t, b.ClearAll())
	require.Equal(t, zeros, m.bits(b))
}

func TestBitMapQueries(t *testing.T) {
	m := newMemory(t)
	b := m.bitmap("0011 1100 0000 0000 0000 0000 0000 0011 1111 0000 1")
	for _, c := range []struct {
		start, n   uint32
		set, clear bool
	}{
		{2, 4, true, false}, {1, 2, false, false}, {0, 2, false, true}, {30, 6, true, false}, {6, 24, false, true},
		{0, 0, false, false}, {40, 1, true, false}, {40, 2, false, false}, {41, 1, false, false},
	} {
		v, err := b.AreSet(c.start, c.n)
		require.NoError(t, err)
		require.Equal(t, c.set, v, "%d+%d", c.start, c.n)
		v, err = b.AreClear(c.start, c.n)
		require.NoError(t, err)
		require.Equal(t, c.clear, v, "%d+%d", c.start, c.n)
	}
	for _, c := range []struct{ n, hint, set, clear uint32 }{
		{1, 0, 2, 0}, {1, 3, 3, 6}, {5, 0, 30, 6}, {4, 6, 30, 6}, {4, 31, 31, 36}, {25, 0, NoBits, NoBits},
		{1, 40, 40, 0}, {4, 33, 2, 36}, {1, 99, 2, 0}, {42, 0, NoBits, NoBits}, {0, 13, 8, 8}, {6, 32, 30, 6},
	} {
		at, err := b.FindSet(c.n, c.hint)
		require.NoError(t, err)
		require.Equal(t, c.set, at, "set, %d from %d", c.n, c.hint)
		at, err = b.FindClear(c.n, c.hint)
		require.NoError(t, err)
		require.Equal(t, c.clear, at, "clear, %d from %d", c.n, c.hint)
	}
	for _, c := range []struct {
		from uint32
		set  bool
		want Run
	}{
		{0, true, Run{2, 4}}, {3, true, Run{3, 3}}, {6, true, Run{30, 6}}, {0, false, Run{0, 2}}, {36, false, Run{36, 4}},
		{40, false, Run{41, 0}}, {100, true, Run{41, 0}},
	} {
		r, err := b.NextForwardRun(c.from, c.set)
		require.NoError(t, err)
		require.Equal(t, c.want, r)
	}
	r, err := b.LastBackwardRun(33, false)
	require.NoError(t, err)
	require.Equal(t, Run{6, 24}, r)
	r, err = b.LastBackwardRun(20, false)
	require.NoError(t, err)
	require.Equal(t, Run{6, 15}, r)
	r, err = b.LongestRunClear()
	require.NoError(t, err)
	require.Equal(t, Run{6, 24}, r)
	runs := make([]Run, 2)
	n, err := b.ClearRuns(runs, false)
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	require.Equal(t, []Run{{0, 2}, {6, 24}}, runs)
	n, err = b.ClearRuns(runs, true)
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	require.Equal(t, []Run{{6, 24}, {36, 4}}, runs)
	runs = make([]Run, 5)
	n, err = b.ClearRuns(runs, true)
	require.NoError(t, err)
	require.Equal(t, []Run{{6, 24}, {36, 4}, {0, 2}}, runs[:n])

	at, err := b.FindClearAndSet(2, 0)
	require.NoError(t, err)
	require.Zero(t, at)
	at, err = b.FindSetAndClear(6, 0)
	require.NoError(t, err)
	require.Zero(t, at)
	require.Equal(t, "000000", m.bits(b)[:6])
}

func TestBitMapAgainstText(t *testing.T) {
	m := newMemory(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		m.reset()
		text := make([]byte, 1+rnd.IntN(200))
		for i := range text {
			text[i] = '0'
			if rnd.IntN(3) == 0 {
				text[i] = '1'
			}
		}
		b := m.bitmap(string(text))
		n, hint := 1+rnd.IntN(6), rnd.IntN(len(text))
		want := uint32(NoBits)
		if i := strings.Index(string(text[hint:]), strings.Repeat("0", n)); i >= 0 {
			want = uint32(hint + i)
		} else if i := strings.Index(string(text), strings.Repeat("0", n)); i >= 0 {
			want = uint32(i)
		}
		at, err := b.FindClear(uint32(n), uint32(hint))
		require.NoError(t, err)
		require.Equal(t, want, at, "%s: %d from %d", text, n, hint)
	}
}

func TestBitMapFaults(t *testing.T) {
	m := newMemory(t)
	_, err := LoadBitMap(unmapped)
	requireFault(t, err, unmapped)
	b := BitMap{Size: 0xFFFFFFFF, Buffer: m.region.End() - 4}
	require.NoError(t, guest.Store32(b.Buffer, 0))
	_, err = b.FindSet(1, 0)
	requireFault(t, err, m.region.End())
	_, err = b.NumberOfSet()
	requireFault(t, err, m.region.End())
	_, err = b.AreClear(0, 33)
	requireFault(t, err, m.region.End())
	requireFault(t, b.SetBits(20, 30), m.region.End())
}

func TestSignificantBits(t *testing.T) {
	for _, c := range []struct {
		v         uint64
		high, low int8
		n         uint32
	}{{0, -1, -1, 0}, {1, 0, 0, 1}, {0x8000000000000000, 63, 63, 1}, {0x50, 6, 4, 2}} {
		require.Equal(t, c.high, FindMostSignificantBit(c.v))
		require.Equal(t, c.low, FindLeastSignificantBit(c.v))
		require.Equal(t, c.n, NumberOfSetBitsUlongPtr(c.v))
	}
}
