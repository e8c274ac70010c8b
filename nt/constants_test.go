// Every constant with a name of Windows' has the value that mingw's headers, or a correction, give.
package nt_test

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt/internal/layouts"
)

func TestConstantsAreWindows(t *testing.T) {
	declared, err := layouts.Sources(".")
	require.NoError(t, err)
	require.Greater(t, len(declared.Constants), 300)

	facts := map[string]*fact{}
	lines(t, "constants.golden", func(at string, f []string) {
		require.Len(t, f, 2, at)
		v, ok := number(t, at, f[1])
		facts[f[0]] = &fact{value: v, inHeaders: ok}
	})
	sourced := false
	lines(t, "constants.corrections", func(at string, f []string) {
		if f[0] == "#" {
			sourced = len(f) > 2
			return
		}
		require.Len(t, f, 3, at)
		require.True(t, sourced, "%s: no source above this correction", at)
		known := facts[f[0]]
		require.NotNil(t, known, "%s: there is no %s", at, f[0])
		was, present := number(t, at, f[1])
		require.Equal(t, known.inHeaders, present, "%s: whether mingw has %s", at, f[0])
		require.Equal(t, known.value, was, "%s: what mingw says of %s", at, f[0])
		v, ok := number(t, at, f[2])
		require.True(t, ok, at)
		require.False(t, present && v == was, "%s: corrects nothing", at)
		require.False(t, known.corrected, "%s: corrected twice", at)
		known.value, known.corrected = v, true
	})

	// A name in Go spelling is this package's own, unless the headers know it.
	own := regexp.MustCompile(`[a-z]`)
	for name, value := range declared.Constants {
		f := facts[name]
		if !assert.NotNil(t, f, "constants.golden lacks %s: run testdata/regen.sh", name) {
			continue
		}
		switch {
		case f.known():
			assert.Equal(t, f.value, value, "%s: want 0x%X, Go has 0x%X", name, f.value, value)
		default:
			assert.True(t, own.MatchString(name),
				"neither the headers nor a correction say what %s is; Go has 0x%X", name, value)
		}
	}
	for name := range facts {
		assert.Contains(t, declared.Constants, name, "constants.golden is stale: run testdata/regen.sh")
	}
}
