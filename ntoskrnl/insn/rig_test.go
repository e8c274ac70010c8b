// What the tests have: a machine that serves memory, and a guest thread with code and data.

package insn

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/engine/native"
	"github.com/drvhost/drvhost/guest"
)

// served is where the test's machine serves memory: an address that no process can map.
const (
	served     = 0xFFFFF78000000000
	servedSize = 0x1000
)

// testMachine is a Machine that remembers what was asked of it.
type testMachine struct {
	memory  [servedSize]byte
	special map[Special]uint64
	msr     map[uint32]uint64
	ports   []portWrite
	halts   int
	masked  bool
	patches map[uint64]*Patch
}

type portWrite struct {
	port  uint16
	width int
	v     uint32
}

func newMachine() *testMachine {
	m := &testMachine{special: map[Special]uint64{CR0: 0x80050033, CR8: 2, DR7: 0x400},
		msr: map[uint32]uint64{0xC0000080: 0xD01, msrFSBase: 0x5_12345678,
			msrFSBase + 1: 0xFFFFF802_00001000, msrTSCAux: 6}}
	for i := range m.memory {
		m.memory[i] = byte(i*7 + i>>8 + 3)
	}
	return m
}

func (m *testMachine) Special(r Special) (uint64, bool) { v, ok := m.special[r]; return v, ok }

func (m *testMachine) SetSpecial(r Special, v uint64) bool {
	if _, ok := m.special[r]; !ok {
		return false
	}
	m.special[r] = v
	return true
}

func (m *testMachine) MSR(n uint32) (uint64, bool) { v, ok := m.msr[n]; return v, ok }

func (m *testMachine) SetMSR(n uint32, v uint64) bool {
	if _, ok := m.msr[n]; !ok {
		return false
	}
	m.msr[n] = v
	return true
}

func (m *testMachine) In(port uint16, width int) uint32 { return uint32(port)<<16 | 0x1234 }

func (m *testMachine) Out(port uint16, width int, v uint32) {
	m.ports = append(m.ports, portWrite{port, width, v})
}

func (m *testMachine) Counter(n uint32) (uint64, bool) { return 0x5_00000007, n == 1 }

func (m *testMachine) Interrupts() bool { return !m.masked }

func (m *testMachine) SetInterrupts(on bool) { m.masked = !on }

func (m *testMachine) Table(t Table) (uint64, uint16) {
	return 0xFFFFF802_00001000 + uint64(t)<<16, 0xFFF - uint16(t)
}

func (m *testMachine) Selector(t Table) uint16 { return uint16(t) * 0x20 }

func (m *testMachine) CPUID(leaf, sub uint32) [4]uint32 {
	return [4]uint32{leaf + 1, sub + 2, 3, 4}
}

func (m *testMachine) Patched(rip uint64) *Patch { return m.patches[rip] }

func (m *testMachine) Halt() { m.halts++ }

func (m *testMachine) Serves(addr uint64) bool { return addr-served < servedSize }

func (m *testMachine) Load(addr uint64, width int) (lo, hi uint64, ok bool) {
	off := addr - served
	if off > uint64(servedSize-width) {
		return 0, 0, false
	}
	var b [16]byte
	copy(b[:width], m.memory[off:])
	return binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:]), true
}

// rig is a guest thread with a page of code and a page of data.
type rig struct {
	t    testing.TB
	cpu  engine.CPU
	c    *engine.Context
	m    *testMachine
	code *guest.Region // two pages, so that code may cross
	data *guest.Region // the same bytes as the machine serves
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, m: newMachine()}
	space, err := guest.Default()
	require.NoError(t, err)
	r.cpu, err = native.New()
	require.NoError(t, err)
	r.code, err = space.AllocSystem(2*guest.PageSize, guest.ProtRWX, "code")
	require.NoError(t, err)
	r.data, err = space.AllocSystem(servedSize, guest.ProtRW, "data")
	require.NoError(t, err)
	require.NoError(t, guest.Write(r.data.Base(), r.m.memory[:]))
	stack, err := space.AllocStack(16 << 10)
	require.NoError(t, err)
	r.c, err = r.cpu.NewContext(stack.Base(), stack.Top())
	require.NoError(t, err)
	t.Cleanup(func() {
		r.cpu.FreeContext(r.c)
		require.NoError(t, stack.Free())
		require.NoError(t, r.code.Free())
		require.NoError(t, r.data.Free())
	})
	// A fault makes the context a full one.
	var s engine.Saved
	r.put("CC")
	require.NoError(t, r.c.PushCall(&s, r.code.Base(), r.code.Base(), 0))
	require.Equal(t, engine.ExitFault, r.cpu.Run(r.c))
	require.Equal(t, engine.ResumeFull, r.c.Resume)
	return r
}

// put writes code, in hexadecimal, and points RIP at it.
func (r *rig) put(code string) { r.putBytes(unhex(r.t, code)) }

func (r *rig) putBytes(code []byte) {
	require.NoError(r.t, guest.Write(r.code.Base(), code))
	r.c.RIP = uint64(r.code.Base())
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// registers is what instructions change.
type registers struct {
	gpr   [16]uint64
	flags uint64
	xmm   [16]engine.XMM
}

func (r *rig) set(s registers) {
	r.c.GPR, r.c.RFLAGS = s.gpr, s.flags|2
	for i, x := range s.xmm {
		r.c.SetFullXMM(i, x)
	}
	r.c.XSave()[xsaveHeader] |= componentSSE
}

func (r *rig) get() (s registers) {
	s.gpr, s.flags = r.c.GPR, r.c.RFLAGS&(flagsStatus|flagDown)
	for i := range s.xmm {
		s.xmm[i] = r.c.FullXMM(i)
	}
	return s
}

// The faults that bring instructions here.
func generalProtection() *engine.Fault {
	return &engine.Fault{Vector: engine.VectorGeneral, Signal: signalSegv}
}

func pageFault(addr uint64) *engine.Fault {
	return &engine.Fault{Vector: engine.VectorPageFault, Addr: addr, Code: pageFaultUser | 1,
		Signal: signalSegv}
}
