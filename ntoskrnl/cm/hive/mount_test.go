package hive

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

func TestWhereAHiveIsLoaded(t *testing.T) {
	for path, ok := range map[string]bool{`\Registry\Machine\X`: true, `\REGISTRY\user\X`: true,
		`\Registry\Machine`: false, `\Registry\Machine\`: false, `\Registry\Machine\X\Y`: false,
		`\Registry\Other\X`: false, `\Other\Machine\X`: false, `Registry\Machine\X`: false,
		``: false, `x\Registry\Machine\X`: false} {
		assert.Equal(t, ok, MayMount(path), path)
		status := (&Hive{Root: &cm.Tree{}}).Mount(cm.New(), path, "file")
		assert.Equal(t, ok, status == nt.STATUS_SUCCESS, path)
	}
}

func TestWhatTheRegistryRefusesOfAHiveLeavesNothing(t *testing.T) {
	r := cm.New()
	h := &Hive{Root: &cm.Tree{Keys: []*cm.Tree{{Name: "a"}, {Name: "b"}}}}
	const path = `\Registry\Machine\X`
	refuse := cm.OpSetValue // of the list
	r.OnChange = func(c cm.Change) nt.Status {
		if c.Op == refuse {
			return nt.STATUS_REGISTRY_IO_FAILED
		}
		return nt.STATUS_SUCCESS
	}
	assert.Equal(t, nt.STATUS_REGISTRY_IO_FAILED, h.Mount(r, path, "file"))
	_, status := r.Open(nil, path, true)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status)
	refuse = 0
	require.Equal(t, nt.STATUS_SUCCESS, h.Mount(r, path, "file"))
	k, file, status := Mounted(r, `\REGISTRY\MACHINE\x`)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.Equal(t, "file", file)
	again, status := Of(k, "name")
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.Len(t, again.Root.Keys, 2)
	require.Equal(t, nt.STATUS_SUCCESS, Unmount(r, path))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, Unmount(r, path))
	_, status = Of(k, "name")
	assert.Equal(t, nt.STATUS_KEY_DELETED, status)
}

func TestASystemHiveSeeds(t *testing.T) {
	current := func(n uint32, set string) *Hive {
		return &Hive{Root: &cm.Tree{Keys: []*cm.Tree{
			{Name: "Select", Values: []cm.Value{{Name: "Current", Type: nt.REG_DWORD, Data: cm.DWord(n)}}},
			{Name: set, Keys: []*cm.Tree{{Name: "Mark"}}}}}}
	}
	const system = `\Registry\Machine\System`
	marked := func(r *cm.Registry) bool {
		_, status := r.Open(nil, system+`\CurrentControlSet\Mark`, false)
		return status == nt.STATUS_SUCCESS
	}
	r := cm.New()
	require.Equal(t, nt.STATUS_SUCCESS, current(7, "ControlSet007").Seed(r, system))
	assert.True(t, marked(r), "the link is made")
	r = cm.Initial(cm.System{Processors: 1})
	require.Equal(t, nt.STATUS_SUCCESS, current(2, "ControlSet002").Seed(r, system))
	assert.True(t, marked(r), "the link leads elsewhere than before")
	_, status := r.Open(nil, system+`\ControlSet001\Services`, false)
	assert.Equal(t, nt.STATUS_SUCCESS, status, "what was there stays")
	r = cm.Initial(cm.System{Processors: 1})
	require.Equal(t, nt.STATUS_SUCCESS, current(3, "ControlSet002").Seed(r, system))
	assert.False(t, marked(r), "there is no such set")
	_, status = r.Open(nil, system+`\CurrentControlSet\Services`, false)
	assert.Equal(t, nt.STATUS_SUCCESS, status)
	r = cm.New()
	_, _, status = r.Create(nil, system+`\CurrentControlSet`, cm.CreateOptions{Parents: true})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, current(2, "ControlSet002").Seed(r, system))
	k, status := r.Open(nil, system+`\CurrentControlSet`, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	tree, _ := k.Tree()
	assert.Empty(t, tree.Values, "what is no link stays what it is")
}

func TestSeedFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hive")
	require.NoError(t, os.WriteFile(file, encode(t, sample()), 0o600))
	r := cm.New()
	require.NoError(t, SeedFile(r, `HKLM\Software\X=`+file))
	k, status := r.Open(nil, `\Registry\Machine\Software\X`, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	got, _ := k.Tree()
	want := sample()
	want.Class = got.Class
	assert.True(t, cm.Equal(want, got))
	for arg, text := range map[string]string{"HKLM": "has no key, = and file", "=x": "has no key",
		"HKLM=": "has no key", "X=" + file: "begins with none", `HKLM\X=/no/such`: "no such file"} {
		assert.ErrorContains(t, SeedFile(r, arg), text)
	}
	assert.ErrorIs(t, SeedFile(r, `\Registry\X=`+file), nt.STATUS_ACCESS_DENIED)
}
