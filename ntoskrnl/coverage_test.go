// What the table promises, and what shows it.

package ntoskrnl_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/pe"
)

// composed are exports whose names tests put together from parts, by the test that does.
var composed = map[string][]string{
	"TestResources": {"ExEnterCriticalRegionAndAcquireResourceShared"},
	"TestReaderWriterSpinLocks": {"ExAcquireSpinLockExclusiveAtDpcLevel",
		"ExReleaseSpinLockExclusiveFromDpcLevel", "ExReleaseSpinLockSharedFromDpcLevel"},
	"TestSpinLocks": {"KeAcquireInStackQueuedSpinLockForDpc",
		"KeReleaseInStackQueuedSpinLockForDpc"},
	"TestGenericTables": {"RtlEnumerateGenericTableAvl", "RtlInsertElementGenericTableFullAvl",
		"RtlLookupElementGenericTable", "RtlLookupElementGenericTableFullAvl"},
	"TestSecurityDescriptors": {"RtlGetGroupSecurityDescriptor", "RtlGetSaclSecurityDescriptor",
		"RtlSetGroupSecurityDescriptor", "RtlSetSaclSecurityDescriptor"},
	"TestInternetAddresses": {"RtlIpv4AddressToStringA", "RtlIpv4AddressToStringExA",
		"RtlIpv4AddressToStringExW", "RtlIpv4AddressToStringW", "RtlIpv4StringToAddressA",
		"RtlIpv4StringToAddressExA", "RtlIpv4StringToAddressExW", "RtlIpv4StringToAddressW",
		"RtlIpv6AddressToStringA", "RtlIpv6AddressToStringExA", "RtlIpv6AddressToStringExW",
		"RtlIpv6AddressToStringW", "RtlIpv6StringToAddressA", "RtlIpv6StringToAddressExA",
		"RtlIpv6StringToAddressExW", "RtlIpv6StringToAddressW"},
}

var word = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)

// tested gives every word in the tests of the kernel and the host, and what fixture drivers import.
func tested(t *testing.T) map[string]bool {
	words := make(map[string]bool)
	for _, dir := range []string{".", "../driverhost"} {
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") ||
				filepath.Base(path) == "coverage_test.go" {
				return err
			}
			text, err := os.ReadFile(path)
			for _, w := range word.FindAllString(string(text), -1) {
				words[w] = true
			}
			return err
		}))
	}
	for _, name := range fixtures.Names() {
		data, err := fixtures.Bytes(name)
		require.NoError(t, err)
		img, err := pe.Parse(name, data)
		require.NoError(t, err)
		for _, m := range img.Imports {
			for _, f := range m.Functions {
				words[f.Name] = true
			}
		}
	}
	return words
}

func TestEveryFullExportIsTested(t *testing.T) {
	words := tested(t)
	for test, names := range composed {
		assert.True(t, words[test], "there is no %s", test)
		for _, name := range names {
			words[name] = true
		}
	}
	for _, e := range ntoskrnl.Exports() {
		if e.Support == ntoskrnl.Full && !e.Internal {
			assert.True(t, words[e.Name], "%s is full, but no test or fixture driver names it", e.Name)
		}
	}
}

// testdata/first_exports.txt has the functions that complete most drivers soonest, in that order.
func TestFirstExportsAreImplemented(t *testing.T) {
	text, err := os.ReadFile("testdata/first_exports.txt")
	require.NoError(t, err)
	first := strings.Fields(string(text))
	require.Len(t, first, 250)
	for _, name := range first {
		e, ok := ntoskrnl.FindExport(name)
		assert.True(t, ok && e.Implemented() && e.Support != ntoskrnl.Stub, "%s is not implemented", name)
	}
}
