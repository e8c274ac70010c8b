package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestImagesInMemory(t *testing.T) {
	r := newRig(t)
	base := uint64(r.ntoskrnl.Base())
	headers := r.call("RtlImageNtHeader", base)
	require.Equal(t, []byte("PE\x00\x00"), r.read(headers, 4))
	require.Zero(t, r.call("RtlImageNtHeader", r.mem(0x100)))
	require.Zero(t, r.call("RtlImageNtHeader", 0))

	const exports, security, beyond = 0, 4, 99
	size := r.mem(8)
	dir := r.call("RtlImageDirectoryEntryToData", base, 1, exports, size)
	require.Greater(t, dir, base)
	require.Equal(t, "ntoskrnl.exe", r.readStr(base+uint64(r.u32(dir+12))))
	require.NotZero(t, r.u32(size))
	require.Zero(t, r.call("RtlImageDirectoryEntryToData", base, 1, security, size))
	require.Zero(t, r.call("RtlImageDirectoryEntryToData", base, 1, beyond, size))

	require.EqualValues(t, r.symbol("DbgPrint"),
		r.call("RtlFindExportedRoutineByName", base, r.str("DbgPrint")))
	require.Zero(t, r.call("RtlFindExportedRoutineByName", base, r.str("NoSuchRoutine")))
	require.Zero(t, r.call("RtlFindExportedRoutineByName", base+1, r.str("DbgPrint")))
}
