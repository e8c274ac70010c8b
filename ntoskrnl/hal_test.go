package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/pe"
)

func TestBusesHaveNoDevices(t *testing.T) {
	r := newRig(t)
	const pci = 4
	buf := r.bytes([]byte("xxxxxxxx"))
	for _, name := range []string{"HalGetBusData", "HalSetBusData"} {
		require.EqualValues(t, 0, r.call(name, pci, 0, 0, buf, 8), name)
	}
	for _, name := range []string{"HalGetBusDataByOffset", "HalSetBusDataByOffset"} {
		require.EqualValues(t, 0, r.call(name, pci, 0, 0, buf, 0, 8), name)
	}
	require.Equal(t, []byte("xxxxxxxx"), r.read(buf, 8))
	irql, affinity := r.bytes([]byte{9}), r.bytes([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	require.EqualValues(t, 0, r.call("HalGetInterruptVector", 1, 0, 3, 3, irql, affinity))
	require.Zero(t, r.u64(affinity))
}

func TestBusAddressesArePhysical(t *testing.T) {
	r := newRig(t)
	const isa, memory, port = 1, 0, 1
	space, out := r.mem(8), r.mem(8)
	for _, s := range []uint32{memory, port} {
		r.put32(space, s)
		require.EqualValues(t, 1, r.call("HalTranslateBusAddress", isa, 0, 0xA0000, space, out))
		require.EqualValues(t, 0xA0000, r.u64(out))
		require.Equal(t, s, r.u32(space))
	}
	require.EqualValues(t, 0, r.call("HalTranslateBusAddress", 99, 0, 0xA0000, space, out))
}

func TestHalForwardsToTheKernel(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"HalTranslateBusAddress", "HalGetBusDataByOffset"} {
		e, ok := r.hal.LookupExport(name)
		require.True(t, ok, name)
		require.Equal(t, "ntoskrnl."+name, e.Forwarder)
		a, err := r.Linker.Resolve("HAL.dll", pe.Import{Name: name})
		require.NoError(t, err)
		require.Equal(t, r.symbol(name), a)
	}
}
