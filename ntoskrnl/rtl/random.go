package rtl

// Random numbers: RtlUniform, RtlRandom, RtlRandomEx, rand and srand.

import "sync/atomic"

const maxLong = 0x7FFFFFFF

// Uniform is RtlUniform: Lehmer's generator, a number in [0, MAXLONG-1] that is also the new seed.
func Uniform(seed uint32) uint32 {
	return uint32((uint64(seed)*0x7FFFFFED + 0x7FFFFFC3) % maxLong)
}

// Random is the state behind RtlRandom and RtlRandomEx: 128 saved values, which the calls of all
// drivers shuffle (G. MacLaren and G. Marsaglia, "Uniform Random Number Generators"). As on Windows
// the result depends on earlier calls, not only on the caller's seed. The zero value is ready.
type Random struct{ saved [128]atomic.Uint32 }

// Next is RtlRandom and RtlRandomEx: a number in [0, MAXLONG-1] and the caller's new seed.
func (r *Random) Next(seed uint32) (value, newSeed uint32) {
	x := Uniform(seed)
	y := Uniform(x)
	slot := &r.saved[y%128]
	value = slot.Swap(x + 1)
	if value == 0 { // not filled yet
		return Uniform(y), y
	}
	return value - 1, y
}

// Rand is the state behind rand and srand. The zero value is not seeded; use [NewRand].
type Rand struct{ state atomic.Uint32 }

// NewRand gives the state of a program that has not called srand: seed 1.
func NewRand() *Rand {
	r := new(Rand)
	r.Seed(1)
	return r
}

// Seed is srand.
func (r *Rand) Seed(seed uint32) { r.state.Store(seed) }

// Next is rand: a number from 0 to RAND_MAX (0x7FFF).
func (r *Rand) Next() int32 {
	for {
		old := r.state.Load()
		v := old*214013 + 2531011
		if r.state.CompareAndSwap(old, v) {
			return int32(v >> 16 & 0x7FFF)
		}
	}
}
