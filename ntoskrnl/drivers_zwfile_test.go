package ntoskrnl_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
)

// TestZwfileDriver runs zwfile.sys on a directory with a file beside it that must stay out of reach.
func TestZwfileDriver(t *testing.T) {
	outside := t.TempDir()
	c := filepath.Join(outside, "c")
	secret := filepath.Join(outside, "secret")
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
	}
	write(secret, "secret", 0o644)
	write(filepath.Join(c, "config", "driver.ini"), "level=7\n", 0o644)
	write(filepath.Join(c, "readonly"), "", 0o444)
	require.NoError(t, os.MkdirAll(filepath.Join(c, "Windows"), 0o755))
	require.NoError(t, os.Symlink(outside, filepath.Join(c, "escape")))
	require.NoError(t, os.Symlink("../secret", filepath.Join(c, "shortcut")))
	require.NoError(t, os.Symlink(secret, filepath.Join(c, "absolute")))
	require.NoError(t, os.Symlink("config", filepath.Join(c, "inside")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(c, "pipe"), 0o644))

	h := loadScenarios(t, "echo", 2, drivertest.Volume("C", c))
	path, err := fixtures.Path("zwfile")
	require.NoError(t, err)
	d, err := h.Load(path)
	require.NoError(t, err)
	require.Empty(t, d.Missing)
	f := drivertest.Open(t, h, deviceOf("zwfile"))
	for _, s := range listScenarios(t, f) {
		t.Run(s.Name, func(t *testing.T) { runScenario(t, "zwfile", f, s) })
	}
	text, err := os.ReadFile(filepath.Join(c, "Windows", "driver.log"))
	require.NoError(t, err)
	assert.Equal(t, "ONE\nmore\n", string(text))
	text, err = os.ReadFile(secret)
	require.NoError(t, err)
	assert.Equal(t, "secret", string(text))
}
