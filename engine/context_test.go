package engine

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestContextFitsBeforeItsImage(t *testing.T) {
	assert.LessOrEqual(t, contextSize, uintptr(XSaveOffset))
	assert.Zero(t, XSaveOffset%64, "XRSTOR wants 64-byte alignment")
	assert.Zero(t, OffsetXMM6%16, "a guest with AC set saves XMM registers")
	assert.Zero(t, OffsetFrame%8)
}

func TestNewThreadHasWindowsInitialState(t *testing.T) {
	c := newContext(t)
	assert.EqualValues(t, 0x202, c.RFLAGS)
	assert.EqualValues(t, 0x1F80, c.MXCSR)
	assert.EqualValues(t, 0x27F, c.FCW)
	assert.EqualValues(t, c.StackBase, c.GPR[RSP])
	assert.False(t, c.Kicked())
	assert.Zero(t, c.Thread())
}

// words reads the stack of c from address at.
func words(c *Context, at uint64, n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = *c.word(at + 8*uint64(i))
	}
	return out
}

func TestPushCallBuildsTheFrameOfTheDrawing(t *testing.T) {
	const trampoline, fn, outerRIP = 0x1111, 0x2222, 0x3333
	for misalign := range uint64(3) {
		c := newContext(t)
		outer := uint64(c.StackBase) - 0x200 - 8*misalign
		c.GPR[RSP] = outer
		c.RFLAGS = 0x246
		args := make([]uint64, MaxArgs)
		for i := range args {
			args[i] = 0xA000 + uint64(i)
		}
		var s Saved
		require.NoError(t, c.PushCall(&s, trampoline, fn, outerRIP, args...))

		rsp := c.GPR[RSP]
		assert.EqualValues(t, 8, rsp%16, "as behind a CALL")
		assert.EqualValues(t, (outer&^15)-184, rsp)
		frame := words(c, rsp, 22)
		assert.EqualValues(t, trampoline, frame[0])
		assert.Equal(t, args, frame[1:17])
		assert.Equal(t, []uint64{outerRIP, 0x33, 0x246, outer, 0x2B}, frame[17:22])
		// The trampoline runs with the return address popped: its unwind data finds the machine
		// frame at RSP + TrampolineAlloc.
		assert.EqualValues(t, outerRIP, *c.word(rsp + 8 + TrampolineAlloc))

		assert.EqualValues(t, fn, c.RIP)
		assert.Equal(t, args[:4], []uint64{c.GPR[RCX], c.GPR[RDX], c.GPR[R8], c.GPR[R9]})
		assert.Equal(t, ResumeCall, c.Resume)
		assert.EqualValues(t, 0x202, c.RFLAGS)
	}
}

func TestPushCallLeavesRegistersOfMissingArgumentsAlone(t *testing.T) {
	c := newContext(t)
	c.GPR[RDX], c.GPR[R8] = 7, 8
	var s Saved
	require.NoError(t, c.PushCall(&s, 1, 2, 3, 99))
	assert.EqualValues(t, 99, c.GPR[RCX])
	assert.EqualValues(t, 7, c.GPR[RDX])
	assert.EqualValues(t, 8, c.GPR[R8])
}

func TestPushCallRefusesWhatDoesNotFit(t *testing.T) {
	c := newContext(t)
	limit, base := uint64(c.StackLimit), uint64(c.StackBase)
	for _, tt := range []struct {
		name string
		rsp  uint64
		err  error
	}{
		{"a whole stack", base, nil},
		{"just enough, aligned", limit + callFrameSize + 8, nil},
		{"just not enough", limit + callFrameSize + 7, ErrStack},
		{"at the limit", limit, ErrStack},
		{"below the limit", limit - 0x100, ErrStack},
		{"above the base", base + 8, ErrStack},
		{"null", 0, ErrStack},
		{"small", 100, ErrStack},
		{"the last address", ^uint64(0), ErrStack},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := *c
			c.GPR[RSP] = tt.rsp
			var s Saved
			err := c.PushCall(&s, 1, 2, 3)
			require.ErrorIs(t, err, tt.err)
			if err == nil {
				c.PopCall(&s)
			}
			c.GPR[RSP] = before.GPR[RSP]
			require.Equal(t, before, *c, "a refused or undone call changes nothing")
		})
	}
	require.ErrorIs(t, c.PushCall(new(Saved), 1, 2, 3, make([]uint64, MaxArgs+1)...), ErrArgs)
}

// scramble fills c with values that differ from register to register.
func scramble(c *Context, seed uint64) {
	for i := range c.GPR {
		if Register(i) != RSP {
			c.GPR[i] = seed + uint64(i)
		}
	}
	for i := range c.XMM6 {
		c.XMM6[i] = XMM{seed + 0x100, seed + uint64(i)}
	}
	c.RIP, c.RFLAGS, c.MXCSR, c.FCW = seed, 0x202|seed&0x8D5, 0x7F80, 0x37F
	c.Fault = Fault{Addr: seed, Vector: 14, Code: 6}
}

func TestPopCallPutsBackWhatPushCallFound(t *testing.T) {
	for _, resume := range []Resume{ResumeReturn, ResumeCall, ResumeFull} {
		c := newContext(t)
		scramble(c, 0x5000)
		c.Resume = resume
		c.GPR[RSP] -= 64
		for i := range c.XSave() {
			c.XSave()[i] = byte(i * 7)
		}
		before, image := *c, append([]byte(nil), c.XSave()...)
		var s, inner Saved
		require.NoError(t, c.PushCall(&s, 1, 2, 3, 4))
		scramble(c, 0x9000)
		c.Resume = ResumeFull
		clear(c.XSave())
		require.NoError(t, c.PushCall(&inner, 1, 2, 3))
		c.PopCall(&inner)
		c.PopCall(&s)
		require.Equal(t, before, *c)
		if resume == ResumeFull {
			require.Equal(t, image, c.XSave())
		}
	}
}

func TestPopCallLeavesNothingOfACallFromAnEmptyStack(t *testing.T) {
	c := newContext(t)
	c.RIP = 0
	before := *c
	var s Saved
	require.NoError(t, c.PushCall(&s, 1, 2, 3))
	c.MXCSR, c.FCW, c.RFLAGS, c.Resume = 0x7F80, 0x37F, 0x602, ResumeReturn
	c.PopCall(&s)
	require.Equal(t, before, *c)
}

func TestCallFromFullStateStartsWithUsualControlWords(t *testing.T) {
	c := newContext(t)
	scramble(c, 1)
	for i := range 16 {
		c.SetFullXMM(i, XMM{uint64(i), 0xF00})
	}
	c.Resume = ResumeFull
	var s Saved
	require.NoError(t, c.PushCall(&s, 1, 2, 3))
	assert.EqualValues(t, 0x1F80, c.MXCSR)
	assert.EqualValues(t, 0x27F, c.FCW)
	assert.Equal(t, XMM{6, 0xF00}, c.XMM6[0], "callee-saved registers are the interrupted code's")

	c = newContext(t)
	scramble(c, 1)
	c.Resume = ResumeReturn
	require.NoError(t, c.PushCall(&s, 1, 2, 3))
	assert.EqualValues(t, 0x7F80, c.MXCSR, "a call's callee inherits them")
}

func TestSavedKeepsItsMemory(t *testing.T) {
	c := newContext(t)
	c.Resume = ResumeFull
	var s Saved
	require.NoError(t, c.PushCall(&s, 1, 2, 3))
	c.PopCall(&s)
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		_ = c.PushCall(&s, 1, 2, 3)
		c.PopCall(&s)
	}))
}

func TestMakeFull(t *testing.T) {
	t.Run("behind an import call", func(t *testing.T) {
		c := newContext(t)
		scramble(c, 0x77)
		c.Resume = ResumeReturn
		c.GPR[RSP] = uint64(c.StackBase) - 64
		*c.word(c.GPR[RSP]) = 0xC0DE
		c.MakeFull()
		assert.Equal(t, ResumeFull, c.Resume)
		assert.EqualValues(t, 0xC0DE, c.RIP)
		assert.EqualValues(t, uint64(c.StackBase)-56, c.GPR[RSP])
		for i := range c.XMM6 {
			assert.Equal(t, c.XMM6[i], c.FullXMM(6+i))
		}
		assert.Equal(t, []byte{0x80, 0x7F, 0, 0}, c.XSave()[legacyMXCSR:legacyMXCSR+4])
		assert.Equal(t, []byte{0x7F, 0x03}, c.XSave()[legacyFCW:legacyFCW+2])
	})
	t.Run("with a return address that is not there", func(t *testing.T) {
		c := newContext(t)
		c.Resume, c.RIP, c.GPR[RSP] = ResumeReturn, 5, 0x10
		c.MakeFull()
		assert.Zero(t, c.RIP)
		assert.EqualValues(t, 0x10, c.GPR[RSP])
	})
	t.Run("before a call", func(t *testing.T) {
		c := newContext(t)
		require.NoError(t, c.PushCall(new(Saved), 1, 0xF00D, 3, 4))
		rsp := c.GPR[RSP]
		c.MakeFull()
		assert.EqualValues(t, 0xF00D, c.RIP)
		assert.Equal(t, rsp, c.GPR[RSP])
	})
	t.Run("of a full state changes nothing", func(t *testing.T) {
		c := newContext(t)
		c.Resume = ResumeFull
		c.XSave()[300] = 9
		c.MakeFull()
		assert.EqualValues(t, 9, c.XSave()[300])
	})
}

func TestArgumentsAreReadFromTheGuestStackOnly(t *testing.T) {
	c := newContext(t)
	c.GPR[RCX], c.GPR[RDX], c.GPR[R8], c.GPR[R9] = 1, 2, 3, 4
	top := uint64(c.StackBase)
	c.GPR[RSP] = top - 64 // the return address, the home space, arguments 5 to 7
	for i := range uint64(8) {
		*c.word(top - 64 + 8*i) = 100 + i
	}
	for i, want := range []uint64{1, 2, 3, 4, 105, 106, 107} {
		v, ok := c.Arg(i)
		assert.True(t, ok)
		assert.Equal(t, want, v, "argument %d", i)
	}
	_, ok := c.Arg(7)
	assert.False(t, ok, "beyond the base")
	v, ok := c.ReturnAddress()
	assert.True(t, ok)
	assert.EqualValues(t, 100, v)
	below := uint64(c.StackLimit) - 64
	for _, rsp := range []uint64{0, top, top - 63, below, ^uint64(7), ^uint64(0)} {
		c.GPR[RSP] = rsp
		_, ok := c.ReturnAddress()
		assert.False(t, ok, "RSP %#x", rsp)
		_, ok = c.Arg(6)
		assert.False(t, ok, "RSP %#x", rsp)
	}
}

func TestOnStack(t *testing.T) {
	c := newContext(t)
	limit, base := uint64(c.StackLimit), uint64(c.StackBase)
	for _, tt := range []struct {
		addr, size uint64
		want       bool
	}{
		{limit, base - limit, true}, {limit, base - limit + 1, false}, {limit - 1, 1, false},
		{base, 0, true}, {base, 1, false}, {base - 8, 8, true}, {limit, ^uint64(0), false},
	} {
		assert.Equal(t, tt.want, c.OnStack(tt.addr, tt.size), "%#x, %#x", tt.addr, tt.size)
	}
}

func TestDropFrameStartsTheThreadAnew(t *testing.T) {
	c := newContext(t)
	scramble(c, 3)
	c.Resume = ResumeFull
	c.GPR[RSP] = 12
	c.DropFrame()
	assert.EqualValues(t, c.StackBase, c.GPR[RSP])
	assert.Equal(t, ResumeCall, c.Resume)
	assert.EqualValues(t, 0x1F80, c.MXCSR)
}

func TestKickIsRequestedOnce(t *testing.T) {
	c := newContext(t)
	assert.True(t, c.RequestKick())
	assert.False(t, c.RequestKick(), "one is under way")
	assert.True(t, c.Kicked())
	c.ClearKick()
	assert.False(t, c.Kicked())
	assert.True(t, c.RequestKick())
}

func TestFaultHelpers(t *testing.T) {
	for _, tt := range []struct {
		name                              string
		f                                 Fault
		pageFault, write, execute, system bool
	}{
		{"a read", Fault{Vector: 14, Code: 4}, true, false, false, false},
		{"a write", Fault{Vector: 14, Code: 6}, true, true, false, false},
		{"a fetch", Fault{Vector: 14, Code: 0x14}, true, false, true, false},
		{"int 29h", Fault{Vector: 13, Code: 0x14A}, false, false, false, false},
		{"syscall", Fault{Vector: VectorSyscall, Signal: SignalSyscall}, false, false, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.pageFault, tt.f.IsPageFault())
			assert.Equal(t, tt.write, tt.f.IsWrite())
			assert.Equal(t, tt.execute, tt.f.IsExecute())
			assert.Equal(t, tt.system, tt.f.IsSyscall())
		})
	}
}

func TestNames(t *testing.T) {
	for e, want := range map[Exit]string{ExitReturn: "return", ExitCall: "call", ExitFault: "fault",
		ExitKick: "kick", 99: "exit?"} {
		assert.Equal(t, want, e.String())
	}
	assert.Equal(t, "rax", RAX.String())
	assert.Equal(t, "rsp", RSP.String())
	assert.Equal(t, "r15", R15.String())
}
