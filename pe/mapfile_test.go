package pe

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
)

const linkerMap = ` echo

 Preferred load address is 0000000140000000

 Start         Length     Name                   Class
 0001:00000000 0000002eH .text                   CODE

  Address         Publics by Value              Rva+Base               Lib:Object

 0001:00000010       DriverEntry                0000000140001010     a.obj
 0001:00000000       Helper                     0000000140001000 f   a.obj
 0001:00000000       Outside                    0000000240001000     a.obj
 0001:00000000       Below                      0000000000001000     a.obj

 entry point at         0001:00000010
`

func TestALinkersMapGivesSymbols(t *testing.T) {
	data, err := fixtures.Bytes("echo")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "echo.sys")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	img, err := ParseFile(path)
	require.NoError(t, err)
	assert.Empty(t, img.Symbols)
	_, ok := img.NearestSymbol(0x1000)
	assert.False(t, ok)

	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(path), "echo.map"), []byte(linkerMap),
		0o600))
	img, err = ParseFile(path)
	require.NoError(t, err)
	require.Equal(t, []Symbol{{0x1000, "Helper"}, {0x1010, "DriverEntry"}}, img.Symbols)
	for rva, want := range map[uint32]string{0x1000: "Helper", 0x100F: "Helper", 0x1010: "DriverEntry",
		0x2000: "DriverEntry"} {
		s, ok := img.NearestSymbol(rva)
		require.True(t, ok)
		assert.Equal(t, want, s.Name, rva)
	}
	_, ok = img.NearestSymbol(0xFFF)
	assert.False(t, ok)
}
