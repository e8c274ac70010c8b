package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine/native"
)

func TestTheFindingsAgreeWithTheEngine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	findings := Examine(dir)
	seen := make(map[string]bool)
	for _, f := range findings {
		assert.False(t, seen[f.Name], f.Name)
		seen[f.Name] = true
		assert.NotEmpty(t, f.Found, f.Name)
		assert.NotEmpty(t, f.Cost, f.Name)
	}
	_, err := native.New()
	assert.Equal(t, err == nil, Able(findings), "%v: %+v", err, findings)
	assert.DirExists(t, dir)

	open := t.TempDir()
	require.NoError(t, os.Chmod(open, 0o777))
	last := Examine(open)[len(findings)-1]
	assert.Equal(t, "runtime directory", last.Name)
	assert.False(t, last.OK)
	assert.Contains(t, last.Found, "can be written by everyone")
}

func TestALackIsSaidWithItsCost(t *testing.T) {
	findings := []Finding{{Name: "a", OK: true, Found: "yes", Cost: "not said"},
		{Name: "b", Found: "no", Cost: "speed"}}
	assert.True(t, Able(findings))
	findings = append(findings, Finding{Name: "c", Required: true, Found: "no", Cost: "all"})
	assert.False(t, Able(findings))
	var b strings.Builder
	require.NoError(t, Write(&b, findings))
	assert.Equal(t, "a  ok       yes\nb  missing  no\nc  MISSING  no\n\nb (what it costs): speed\n\n"+
		"c (nothing runs without it): all\n", b.String())
}

func TestKernelReleasesAreCompared(t *testing.T) {
	for release, want := range map[string]bool{"5.10.0-28-amd64": false, "5.11.0": true, "6.1": true,
		"4.19.0": false, "": false, "10.0-rc1": true} {
		assert.Equal(t, want, atLeast(release, 5, 11), release)
	}
}
