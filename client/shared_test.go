package client

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSlotsAreDisjointAndComeBackWhole(t *testing.T) {
	const size = 64 * slotAlign
	s := slots{free: []extent{{0, size}}}
	rng := rand.New(rand.NewPCG(1, 2))
	owner := map[uint64]int{} // page to slot
	var taken []extent
	for i := range 20_000 {
		if len(taken) > 0 && rng.IntN(2) == 0 {
			k := rng.IntN(len(taken))
			e := taken[k]
			taken = append(taken[:k], taken[k+1:]...)
			for p := e.place; p < e.place+e.size; p += slotAlign {
				delete(owner, p)
			}
			s.give(e)
			continue
		}
		n := 1 + rng.IntN(12*slotAlign)
		e, ok := s.take(n)
		if !ok {
			continue
		}
		require.GreaterOrEqual(t, e.size, uint64(n))
		require.LessOrEqual(t, e.place+e.size, uint64(size))
		for p := e.place; p < e.place+e.size; p += slotAlign {
			_, used := owner[p]
			require.False(t, used, "step %d: page %#x is in two slots", i, p)
			owner[p] = i
		}
		taken = append(taken, e)
	}
	for _, e := range taken {
		s.give(e)
	}
	assert.Equal(t, []extent{{0, size}}, s.free)
	e, ok := s.take(size)
	assert.True(t, ok)
	assert.Equal(t, extent{0, size}, e)
	_, ok = s.take(1)
	assert.False(t, ok)
}
