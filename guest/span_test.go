package guest

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSpanSet(t *testing.T) {
	s := spanSet{[]span{{0x10, 0x20}, {0x30, 0x100}}}
	at, ok := s.take(0x20, 0, 1)
	assert.True(t, ok)
	assert.EqualValues(t, 0x30, at, "the first range that is large enough")
	at, ok = s.take(0x12, 1, 0x40)
	assert.True(t, ok)
	assert.EqualValues(t, 0x7F, at, "0x80 is aligned, one pad byte before it")
	assert.Equal(t, []span{{0x10, 0x20}, {0x50, 0x7F}, {0x91, 0x100}}, s.spans)
	_, ok = s.take(0x1000, 0, 1)
	assert.False(t, ok)
	_, ok = s.take(^uintptr(0), 0, 1)
	assert.False(t, ok)
	assert.False(t, s.takeAt(span{0x18, 0x28}))
	assert.False(t, s.takeAt(span{0x8, 0x18}))
	assert.True(t, s.takeAt(span{0x18, 0x20}))
	assert.Error(t, s.give(span{0x17, 0x19}), "overlaps at its start")
	assert.Error(t, s.give(span{0x40, 0x51}), "overlaps at its end")
	assert.Error(t, s.give(span{0x92, 0x93}), "lies within")
	assert.NoError(t, s.give(span{0x30, 0x50}))
	assert.NoError(t, s.give(span{0x7F, 0x91}))
	assert.NoError(t, s.give(span{0x18, 0x20}))
	assert.Equal(t, []span{{0x10, 0x20}, {0x30, 0x100}}, s.spans)
	assert.EqualValues(t, 0xE0, s.size())
}

// Random allocations and releases keep the set in order, apart and complete.
func TestSpanSetAgainstABitmap(t *testing.T) {
	const n = 512
	rng := rand.New(rand.NewPCG(1, 2))
	s := spanSet{[]span{{0, n}}}
	var used [n]bool
	var held []span
	mark := func(r span, to bool) {
		for i := r.start; i < r.end; i++ {
			require.Equal(t, !to, used[i])
			used[i] = to
		}
	}
	for range 5000 {
		switch rng.IntN(3) {
		case 0:
			size := uintptr(1 + rng.IntN(20))
			if at, ok := s.take(size, 0, 1<<rng.IntN(4)); ok {
				held = append(held, span{at, at + size})
				mark(held[len(held)-1], true)
			}
		case 1:
			r := span{start: uintptr(rng.IntN(n - 4))}
			r.end = r.start + uintptr(1+rng.IntN(4))
			free := true
			for i := r.start; i < r.end; i++ {
				free = free && !used[i]
			}
			require.Equal(t, free, s.takeAt(r))
			if free {
				held = append(held, r)
				mark(r, true)
			}
		case 2:
			if len(held) > 0 {
				i := rng.IntN(len(held))
				mark(held[i], false)
				require.NoError(t, s.give(held[i]))
				held[i] = held[len(held)-1]
				held = held[:len(held)-1]
			}
		}
		var want []span
		for i := uintptr(0); i < n; i++ {
			if used[i] {
				continue
			}
			if k := len(want) - 1; k >= 0 && want[k].end == i {
				want[k].end++
			} else {
				want = append(want, span{i, i + 1})
			}
		}
		require.ElementsMatch(t, want, s.spans)
	}
}
