package mm

import (
	"testing"

	"github.com/drvhost/drvhost/guest"
	"github.com/stretchr/testify/require"
)

const testTag Tag = 't' | 's'<<8 | 'e'<<16 | 'T'<<24

// newManager makes a manager that is closed at the test's end.
func newManager(t testing.TB, config Config) *Manager {
	t.Helper()
	space, err := guest.Default()
	require.NoError(t, err)
	m, err := New(space, config)
	require.NoError(t, err)
	t.Cleanup(func() {
		if !m.closed.Load() {
			require.NoError(t, m.Close())
		}
	})
	return m
}
