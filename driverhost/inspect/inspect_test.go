package inspect

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/pe"
)

func TestEveryExportIsListedOnceInEachOfItsModules(t *testing.T) {
	seen := make(map[string]bool)
	for _, e := range Exports() {
		key := e.Module + "!" + e.Name
		assert.False(t, seen[key], key)
		seen[key] = true
		assert.Contains(t, []string{"full", "partial", "stub"}, e.Support, key)
		if e.Support == "partial" {
			assert.NotEmpty(t, e.Note, "%s: what is partial about it?", key)
		}
		assert.NotEmpty(t, e.MaxIRQL)
	}
	for _, row := range ntoskrnl.Exports() {
		assert.Equal(t, !row.Internal, seen["ntoskrnl.exe!"+row.Name], row.Name)
		assert.Equal(t, row.Hal && !row.Internal, seen["hal.dll!"+row.Name], row.Name)
	}
	data, err := json.Marshal(Exports()[0])
	require.NoError(t, err)
	var row map[string]any
	require.NoError(t, json.Unmarshal(data, &row))
	assert.Equal(t, []string{"max_irql", "module", "name", "note", "support"},
		slices.Sorted(maps.Keys(row)))
	var b bytes.Buffer
	require.NoError(t, WriteExports(&b, Exports()))
	assert.Contains(t, b.String(), "ntoskrnl.exe!IoCreateDevice")
}

func report(t *testing.T, name string) *Report {
	path, err := fixtures.Path(name)
	require.NoError(t, err)
	r, err := File(path)
	require.NoError(t, err)
	return r
}

// find gives an import of a report.
func (r *Report) find(t *testing.T, module, name string) Import {
	for _, i := range r.Imports {
		if strings.EqualFold(i.Module, module) && i.Name == name {
			return i
		}
	}
	t.Fatalf("no import %s!%s", module, name)
	return Import{}
}

func TestImportsAreJudgedByWhatTheKernelHas(t *testing.T) {
	r := report(t, "missing")
	assert.Equal(t, SupportMissing, r.find(t, "ntoskrnl.exe", "DrvhostNoSuchRoutine").Support)
	assert.Equal(t, []string{"ntoskrnl.exe!DrvhostNoSuchRoutine"}, r.Missing)
	print, ok := ntoskrnl.FindExport("DbgPrint")
	require.True(t, ok)
	assert.Equal(t, print.Support.String(), r.find(t, "ntoskrnl.exe", "DbgPrint").Support)
	assert.Equal(t, len(r.Imports), r.Support["full"]+r.Support["partial"]+r.Support["stub"]+1)

	r = report(t, "importer")
	i := r.find(t, "exportlib.sys", "#7")
	assert.Equal(t, SupportOther, i.Support)
	assert.Contains(t, i.Note, "exportlib.sys")
	assert.Len(t, r.Missing, 6)

	assert.Equal(t, SupportMissing, judge("hal.dll", pe.Import{Name: "IoCreateDevice"}).Support,
		"hal.dll has only what it forwards")
	assert.Equal(t, SupportMissing, judge("NTOSKRNL.EXE", pe.Import{ByOrdinal: true, Ordinal: 3}).Support)
	assert.Equal(t, SupportOwn, judge("ext-ms-win-x.sys", pe.Import{Name: "X", Fallback: 1}).Support)
}

func TestTheHeadersAreShownAsTheyAre(t *testing.T) {
	r := report(t, "hello")
	assert.Equal(t, "x64", r.Machine)
	assert.EqualValues(t, 0x140000000, r.PreferredBase)
	assert.False(t, r.Signed)
	assert.Positive(t, r.Functions)
	i := slices.IndexFunc(r.Sections, func(s Section) bool { return s.Name == "INIT" })
	require.GreaterOrEqual(t, i, 0)
	assert.Equal(t, "r-xd", r.Sections[i].Protection)
	var b strings.Builder
	_, err := r.WriteTo(&b)
	require.NoError(t, err)
	assert.Contains(t, b.String(), "x64 driver, sha256 "+r.SHA256)
	assert.Contains(t, b.String(), "ntoskrnl.exe!DbgPrint")

	r = report(t, "exportlib")
	assert.NotEmpty(t, r.Exports)
	b.Reset()
	_, err = r.WriteTo(&b)
	require.NoError(t, err)
	assert.Contains(t, b.String(), "ExportLibAdd")

	bad := filepath.Join(t.TempDir(), "bad.sys")
	require.NoError(t, os.WriteFile(bad, []byte("MZ"), 0o600))
	_, err = File(bad)
	var invalid *pe.InvalidError
	assert.ErrorAs(t, err, &invalid)
}
