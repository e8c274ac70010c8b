package engine

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestHeightsPutAnExpandedStackBelowTheOneThatItGoesOnFrom(t *testing.T) {
	for name, c := range map[string]*Context{
		"the expanded one has the higher addresses": {StackLimit: 0x9000, StackBase: 0xA000,
			OuterLimit: 0x1000, OuterBase: 0x3000},
		"the expanded one has the lower addresses": {StackLimit: 0x1000, StackBase: 0x2000,
			OuterLimit: 0x9000, OuterBase: 0xB000},
	} {
		inner, outer := uint64(c.StackLimit), uint64(c.OuterLimit)
		last := uint64(0)
		for i, a := range []uint64{inner + 8, inner + 0xFF8, inner + 0x1000, outer, outer + 8,
			outer + 0x2000} {
			h, ok := c.Height(a)
			assert.True(t, ok, "%s: %#x", name, a)
			assert.Greater(t, h, last, "%s: %d", name, i)
			last = h
		}
		for _, a := range []uint64{0, inner - 8, inner + 0x1008, outer - 8, outer + 0x2008} {
			_, ok := c.Height(a)
			assert.False(t, ok, "%s: %#x", name, a)
		}
		for a, want := range map[uint64]bool{inner: true, inner + 4: false, inner + 0x1000: false,
			outer: true, outer + 0x1FF8: true, outer + 0x2000: false} {
			_, ok := c.Frame(a)
			assert.Equal(t, want, ok, "%s: %#x", name, a)
		}
	}
	one := Context{StackLimit: 0x1000, StackBase: 0x2000}
	_, ok := one.Height(0)
	assert.False(t, ok, "without an expanded stack there is no outer one at 0")
	h, ok := one.Height(0x1800)
	assert.True(t, ok)
	assert.EqualValues(t, 0x800, h)
}
