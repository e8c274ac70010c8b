package guest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

func TestUserMemoryAtAnAddress(t *testing.T) {
	s := space(t)
	free, err := s.ReserveUser(16*PageSize, "a free place")
	require.NoError(t, err)
	at := free.Base()
	require.NoError(t, free.Free())
	before := s.Stats()
	r, err := s.ReserveUserAt(at, 2*PageSize, "view")
	require.NoError(t, err)
	assert.Equal(t, at, r.Base())
	assert.Equal(t, KindUser, r.Kind())
	assert.True(t, s.IsUserRange(at, r.Size()))
	require.NoError(t, r.Commit(0, r.Size(), ProtRW))
	require.NoError(t, Store8(r.End()-1, 1))
	for name, c := range map[string]struct {
		addr Addr
		size uintptr
	}{
		"where something is": {at + PageSize, PageSize}, "around it": {at - PageSize, 4 * PageSize},
		"below the arena": {UserBase - PageSize, PageSize}, "above it": {UserEnd, PageSize},
		"across its end": {UserEnd - PageSize, 2 * PageSize},
	} {
		_, err := s.ReserveUserAt(c.addr, c.size, "x")
		var taken *TakenError
		require.ErrorAs(t, err, &taken, name)
		assert.ErrorIs(t, err, nt.STATUS_CONFLICTING_ADDRESSES, name)
	}
	for _, size := range []uintptr{0, ^uintptr(0)} {
		_, err := s.ReserveUserAt(at+4*PageSize, size, "x")
		assert.Error(t, err)
	}
	_, err = s.ReserveUserAt(at+1, PageSize, "x")
	assert.Error(t, err)
	require.NoError(t, r.Free())
	assert.Equal(t, before, s.Stats())
}
