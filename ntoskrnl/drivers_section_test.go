package ntoskrnl_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/drivertest"
)

// TestSectionDriver runs section.sys on a drive with a file to read and two to write.
func TestSectionDriver(t *testing.T) {
	dir := t.TempDir()
	firmware := bytes.Repeat([]byte{'x'}, 0x5123)
	copy(firmware, "firmware")
	for name, content := range map[string][]byte{"firmware.bin": firmware, "state.bin": []byte("old"),
		"empty": nil} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	h := loadScenarios(t, "section", 2, drivertest.Volume("C", dir))
	f := drivertest.Open(t, h, deviceOf("section"))
	for _, s := range listScenarios(t, f) {
		t.Run(s.Name, func(t *testing.T) { runScenario(t, "section", f, s) })
	}
	want := make([]byte, 0x3000)
	copy(want, "old")
	copy(want[0x100:], "flushed")
	copy(want[0x1000:], "at the end")
	copy(want[0x2000:], "by the driver")
	got, err := os.ReadFile(filepath.Join(dir, "state.bin"))
	require.NoError(t, err)
	assert.Equal(t, want, got)
	got, err = os.ReadFile(filepath.Join(dir, "firmware.bin"))
	require.NoError(t, err)
	assert.Equal(t, firmware, got)
}
