package guest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// space gives the address space, and checks at the end of the test that nothing is left in it that
// was not there before.
func space(t testing.TB) *Space {
	t.Helper()
	s, err := Default()
	require.NoError(t, err)
	before := s.Stats()
	t.Cleanup(func() {
		after := s.Stats()
		require.Equal(t, before.Regions, after.Regions, "regions left")
		require.Equal(t, before.Bytes, after.Bytes, "bytes left")
		require.Equal(t, before.Stacks, after.Stacks, "stacks left")
	})
	return s
}

// alloc gives a region that is freed when the test ends.
func alloc(t testing.TB, s *Space, size uintptr, prot Prot) *Region {
	t.Helper()
	r, err := s.AllocSystem(size, prot, t.Name())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Free()) })
	return r
}
