package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// loadedModules walks PsLoadedModuleList forwards as a driver does, and checks every link back.
func (r *driverRig) loadedModules() (names []string, bases []guest.Addr) {
	r.t.Helper()
	head := r.symbol("PsLoadedModuleList")
	last := head
	for range 100 {
		next, err := guest.LoadAddr(last)
		require.NoError(r.t, err)
		back, err := guest.LoadAddr(next + flinkSize)
		require.NoError(r.t, err)
		require.Equal(r.t, last, back)
		if next == head {
			return names, bases
		}
		e, err := guest.Ptr[nt.KLdrDataTableEntry](next).Load()
		require.NoError(r.t, err)
		b := make([]byte, e.BaseDllName.Length)
		require.NoError(r.t, guest.Read(b, e.BaseDllName.Buffer))
		names, bases = append(names, guest.DecodeUTF16(b)), append(bases, e.DllBase)
		last = next
	}
	require.Fail(r.t, "PsLoadedModuleList has no end")
	return nil, nil
}

func TestPsLoadedModuleList(t *testing.T) {
	r := newRig(t)
	builtins, _ := r.loadedModules()
	require.NotEmpty(t, builtins)
	assert.Equal(t, "ntoskrnl.exe", builtins[0], "the kernel comes first")
	d, err := r.LoadFile(fixture(t, "hello"))
	require.NoError(t, err)
	names, bases := r.loadedModules()
	assert.Equal(t, append(builtins, "hello.sys"), names, "a driver goes to the end")
	assert.Equal(t, d.Module.Base(), bases[len(bases)-1])
	_, err = r.Unload(d)
	require.NoError(t, err)
	names, _ = r.loadedModules()
	assert.Equal(t, builtins, names, "and off when it is unloaded")
}
