package ntoskrnl

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

func TestDebugOutput(t *testing.T) {
	var out strings.Builder
	r := newRigOf(t, newKernel(t, Options{Processors: 1, Print: func(s string) { out.WriteString(s) }}))
	for _, c := range []struct {
		name string
		args []uint64
		want string
	}{
		{"DbgPrint", []uint64{r.str("%s %wZ %d %x %u\n"), r.str("a"), r.ustr("b", 0), 1, 0xC, 5},
			"a b 1 c 5\n"},
		{"DbgPrintReturnControlC", []uint64{r.str("%ws"), r.wstr("wide")}, "wide"},
		{"DbgPrintEx", []uint64{77, 3, r.str("%d %d %d"), 1, 2, 3}, "1 2 3"},
		{"vDbgPrintEx", []uint64{77, 3, r.str("%d %I64x"), r.bytes(slots(1, 1<<40))}, "1 10000000000"},
		{"vDbgPrintExWithPrefix", []uint64{r.str("drv: "), 77, 3, r.str("%d"), r.bytes(slots(1))},
			"drv: 1"},
	} {
		out.Reset()
		require.Equal(t, nt.STATUS_SUCCESS, r.status(c.name, c.args...), c.name)
		require.Equal(t, c.want, out.String(), c.name)
	}
	out.Reset()
	_, err := r.callAt(nt.HIGH_LEVEL, "DbgPrint", r.str("at any level"))
	require.NoError(t, err)
	require.Equal(t, "at any level", out.String())

	out.Reset()
	require.Equal(t, nt.STATUS_SUCCESS, r.status("DbgPrint", r.str(strings.Repeat("x", 600))))
	require.Equal(t, strings.Repeat("x", 511)+"\n", out.String())

	out.Reset()
	r.call("RtlAssert", r.str("a == b"), r.str("x.c"), 7, 0)
	require.Equal(t, "Assertion failed: a == b, x.c line 7\n", out.String())
	response := r.bytes([]byte("xx"))
	require.EqualValues(t, 0, r.call("DbgPrompt", r.str("well?"), response, 2))
	require.Equal(t, byte(0), r.read(response, 1)[0])
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("DbgPrint", r.str("%n"), r.mem(8)))
}

func TestDebugOutputFromABadAddressIsTheDriversFault(t *testing.T) {
	b := bugcheck(t, nt.PASSIVE_LEVEL, "DbgPrint", func(*driverRig) []uint64 { return []uint64{0x40} })
	require.Equal(t, uint64(nt.STATUS_ACCESS_VIOLATION), b.Params[0])
}

func TestThereIsNoDebugger(t *testing.T) {
	r := newRig(t)
	require.Equal(t, []byte{0}, r.read(uint64(r.symbol("KdDebuggerEnabled")), 1))
	require.Equal(t, []byte{1}, r.read(uint64(r.symbol("KdDebuggerNotPresent")), 1))
	require.Zero(t, r.u64(uint64(r.symbol("KdComPortInUse"))))
	require.EqualValues(t, 1, r.call("KdRefreshDebuggerNotPresent"))
	require.Equal(t, nt.STATUS_DEBUGGER_INACTIVE, r.status("KdDisableDebugger"))
	require.Equal(t, nt.STATUS_DEBUGGER_INACTIVE, r.status("KdChangeOption", 0, 0, 0, 0, 0, 0))
	for _, name := range []string{"DbgBreakPoint", "DbgBreakPointWithStatus"} {
		b := bugcheck(t, nt.PASSIVE_LEVEL, name, func(*driverRig) []uint64 { return []uint64{1} })
		require.Equal(t, uint64(nt.STATUS_BREAKPOINT), b.Params[0], name)
		require.Contains(t, b.Reason, "ntoskrnl.exe")
	}
}
