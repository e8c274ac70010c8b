package ntoskrnl

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
)

// newKernel makes a kernel for a test, and checks at the end that it gives everything back.
func newKernel(t testing.TB, opts Options) *Kernel {
	k, err := New(opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	return k
}

// fixture gives the path of a fixture driver.
func fixture(t testing.TB, name string) string {
	path, err := fixtures.Path(name)
	require.NoError(t, err)
	return path
}

func TestHelloLoadsPrintsAndUnloads(t *testing.T) {
	var out strings.Builder
	k := newKernel(t, Options{Print: func(s string) { out.WriteString(s) }})
	d, err := k.LoadFile(fixture(t, "hello"))
	require.NoError(t, err)
	left, err := k.Unload(d)
	require.NoError(t, err)
	require.Empty(t, left)
	t.Log(out.String())
}
