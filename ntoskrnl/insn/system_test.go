package insn

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
)

// emulate does one instruction, which must be one that is done.
func (r *rig) emulate(code string) {
	r.t.Helper()
	r.put(code)
	require.True(r.t, Emulate(r.c, generalProtection(), r.m), code)
}

func TestFlagsArePushedAndPoppedWithTheAdvisoryOne(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct {
		name       string
		push, pop  string
		width      uint64
		flags      uint64
		masked     bool
		wantPushed uint64
	}{
		{"pushfq and popfq", "9C", "9D", 8, 0x10ED7, false, 0xED7},
		{"with interrupts off", "9C", "9D", 8, 0x302, true, 0x102},
		{"pushf and popf", "66 9C", "66 9D", 2, 0x200246, false, 0x246},
	} {
		top := uint64(r.data.Base()) + 0x100
		r.c.GPR[engine.RSP], r.c.RFLAGS, r.m.masked = top, tt.flags, tt.masked
		r.emulate(tt.push)
		require.Equal(t, top-tt.width, r.c.GPR[engine.RSP], tt.name)
		pushed, err := loadGuest(guest.Addr(top-tt.width), uint8(tt.width))
		require.NoError(t, err)
		require.Equal(t, tt.wantPushed, pushed, tt.name)
		// What was pushed is popped onto other flags.
		r.c.RFLAGS, r.m.masked = 0x202, !tt.masked
		r.emulate(tt.pop)
		require.Equal(t, top, r.c.GPR[engine.RSP], tt.name)
		require.Equal(t, tt.masked, r.m.masked, tt.name)
		require.Equal(t, tt.wantPushed|0x200, r.c.RFLAGS, tt.name)
	}
}

func TestTablesAreStoredAndLoadedFromMemory(t *testing.T) {
	r := newRig(t)
	at := uint64(r.data.Base())
	r.c.GPR[engine.RDI] = at
	for _, tt := range []struct {
		name, store, load string
		table             Table
	}{
		{"GDT", "0F 01 07", "0F 01 17", GDT},
		{"IDT", "0F 01 0F", "0F 01 1F", IDT},
	} {
		r.emulate(tt.store)
		limit, err := guest.Load16(guest.Addr(at))
		require.NoError(t, err)
		base, err := guest.Load64(guest.Addr(at) + 2)
		require.NoError(t, err)
		wantBase, wantLimit := r.m.Table(tt.table)
		require.Equal(t, wantBase, base, tt.name)
		require.Equal(t, wantLimit, limit, tt.name)
		r.emulate(tt.load)
		require.NoError(t, guest.Store64(guest.Addr(at)+2, base+1))
		r.put(tt.load)
		require.False(t, Emulate(r.c, generalProtection(), r.m), tt.name)
	}
	r.emulate("0F 00 0F") // str [rdi]
	v, err := guest.Load16(guest.Addr(at))
	require.NoError(t, err)
	require.Equal(t, r.m.Selector(TR), v)
}

func TestRdtscpGivesTheTimeAndTheProcessor(t *testing.T) {
	r := newRig(t)
	before := rdtsc()
	r.emulate("0F 01 F9")
	require.EqualValues(t, 6, r.c.GPR[engine.RCX])
	now := r.c.GPR[engine.RDX]<<32 | r.c.GPR[engine.RAX]
	require.Greater(t, now, before)
	require.Less(t, now, rdtsc())
}

func TestATrapStandsForThePatchedInstruction(t *testing.T) {
	r := newRig(t)
	code := unhex(t, "0F A2")
	p := NewPatch(code)
	require.NotNil(t, p)
	require.Equal(t, unhex(t, "F4 CC"), p.Bytes())
	r.putBytes(p.Bytes())
	r.m.patches = map[uint64]*Patch{r.c.RIP: p}
	rip := r.c.RIP
	r.c.GPR[engine.RAX], r.c.GPR[engine.RCX] = 7, 5
	require.True(t, Emulate(r.c, generalProtection(), r.m))
	require.Equal(t, rip+2, r.c.RIP)
	require.EqualValues(t, 8, r.c.GPR[engine.RAX])
	// A hlt of the driver's own is one.
	r.m.patches = nil
	r.c.RIP = rip
	require.True(t, Emulate(r.c, generalProtection(), r.m))
	require.Equal(t, 1, r.m.halts)
	require.Nil(t, NewPatch(unhex(t, "FA")), "cli traps anyway")
}
