package ntoskrnl_test

import (
	"fmt"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// readAll reads what the driver found.
func readRegistryText(t *testing.T, h *driverhost.Host) string {
	t.Helper()
	f := drivertest.Open(t, h, `\\.\Registry`)
	p := make([]byte, 256)
	n, err := f.Read(p)
	require.NoError(t, err)
	var units []uint16
	for i := 0; i+1 < n; i += 2 {
		units = append(units, uint16(p[i])|uint16(p[i+1])<<8)
	}
	return string(utf16.Decode(units))
}

func TestADriverReadsItsParameters(t *testing.T) {
	const head = "Windows Registry Editor Version 5.00\n" +
		"[HKLM\\SYSTEM\\CurrentControlSet\\Services\\registry\\Parameters]\n"
	for _, c := range []struct{ name, reg, want string }{
		{"none are there", "", "limit 10, greeting none, start 1"},
		{"a number", head + `"Limit"=dword:0000002a`, "limit 42, greeting none, start 1"},
		{"text", head + `"Greeting"="good morning"`, "limit 10, greeting good morning, start 1"},
		{"a count that goes on", head + `"Starts"=dword:00000006`, "limit 10, greeting none, start 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var opts []drivertest.Option
			if c.reg != "" {
				opts = append(opts, drivertest.Reg(t, c.reg))
			}
			h := drivertest.New(t, opts...)
			_, err := h.Load(fixturePath(t, "registry"))
			require.NoError(t, err)
			assert.Equal(t, c.want, readRegistryText(t, h))
		})
	}
}

func TestADriverWithParametersOfAnotherTypeIsRefused(t *testing.T) {
	h := drivertest.New(t, drivertest.Reg(t, "REGEDIT4\n"+
		"[HKLM\\SYSTEM\\CurrentControlSet\\Services\\registry\\Parameters]\n\"Limit\"=\"many\"\n"))
	_, err := h.Load(fixturePath(t, "registry"))
	require.ErrorIs(t, err, nt.STATUS_OBJECT_TYPE_MISMATCH)
}

func TestDriversOfTwoHostsShareARegistry(t *testing.T) {
	shared := ntoskrnl.NewRegistry(1)
	for i := 1; i <= 3; i++ {
		h, err := driverhost.New(driverhost.Options{Registry: shared})
		require.NoError(t, err)
		_, err = h.Load(fixturePath(t, "registry"))
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("limit 10, greeting none, start %d", i), readRegistryText(t, h))
		_, err = h.Close()
		require.NoError(t, err)
	}
	k, status := shared.Open(nil, ntoskrnl.Services+"registry", false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	v, _ := k.Value("ImagePath")
	assert.Equal(t, nt.REG_EXPAND_SZ, v.Type)
	assert.Equal(t, cm.SZ(`\SystemRoot\System32\drivers\registry.sys`), v.Data)
}

func fixturePath(t *testing.T, name string) string {
	t.Helper()
	p, err := fixtures.Path(name)
	require.NoError(t, err)
	return p
}

func TestARegistryWithoutANumberOfProcessorsHasThoseOfAKernel(t *testing.T) {
	k, status := ntoskrnl.NewRegistry(0).Open(nil,
		`\Registry\Machine\Hardware\Description\System\CentralProcessor\0`, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	v, status := k.Value("VendorIdentifier")
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.NotEmpty(t, v.Text())
}
