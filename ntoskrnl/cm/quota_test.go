package cm

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

func TestWhatOneRegistryHasRoomForItsFollowerHasToo(t *testing.T) {
	a, b := New(), New()
	a.OnChange = func(c Change) nt.Status { return b.Apply(c) }
	k, _, status := a.Create(nil, `\Registry\Machine\K`, CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	data := make([]byte, 1000)
	a.used += QuotaBytes - 3*len(data)/2 - a.used
	b.used = a.used
	for range 3 {
		require.Equal(t, nt.STATUS_SUCCESS, k.Set("v", nt.REG_BINARY, data), "in place of the last")
	}
	assert.Equal(t, nt.STATUS_REGISTRY_QUOTA_LIMIT, k.Set("w", nt.REG_BINARY, data))
	assert.Equal(t, a.used, b.used)
}

func TestSecurityCountsAsDataDoes(t *testing.T) {
	r := New()
	k, _, status := r.Create(nil, `\Registry\Machine\K`, CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	before := r.used
	require.Equal(t, nt.STATUS_SUCCESS, k.SetSecurity(make([]byte, 1000)))
	assert.Equal(t, before+1000, r.used)
	require.Equal(t, nt.STATUS_SUCCESS, k.Rename("L"))
	require.Equal(t, nt.STATUS_SUCCESS, k.SetSecurity(make([]byte, 10)))
	assert.Equal(t, before+10, r.used)
	r.used += QuotaBytes
	assert.Equal(t, nt.STATUS_REGISTRY_QUOTA_LIMIT, k.SetSecurity(make([]byte, 11)))
	assert.Equal(t, nt.STATUS_REGISTRY_QUOTA_LIMIT, r.Apply(Change{Op: OpSetSecurity,
		Key: `\Registry\Machine\L`, Data: make([]byte, 11)}))
	r.used -= QuotaBytes
	empty := New().used
	require.Equal(t, nt.STATUS_SUCCESS, k.Delete())
	assert.Equal(t, empty, r.used)
}
