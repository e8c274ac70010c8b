package drivertest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/cm/hive"
)

func TestADriverReadsAHive(t *testing.T) {
	data, err := (&hive.Hive{Root: &cm.Tree{Values: []cm.Value{
		{Name: "Limit", Type: nt.REG_DWORD, Data: cm.DWord(5)},
		{Name: "Greeting", Type: nt.REG_SZ, Data: cm.SZ("grüezi")}}}}).Encode()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "parameters.hiv")
	require.NoError(t, os.WriteFile(file, data, 0o600))
	path, err := fixtures.Path("registry")
	require.NoError(t, err)
	h := drivertest.Load(t, path,
		drivertest.Hive(t, `HKLM\System\CurrentControlSet\Services\registry\Parameters`, file))
	f := drivertest.Open(t, h, `\\.\Registry`)
	b := make([]byte, 200)
	n, err := f.Read(b)
	require.NoError(t, err)
	assert.Equal(t, "limit 5, greeting grüezi, start 1", cm.Value{Data: b[:n]}.Text())
}
