// What survives: every register across a resumed fault and a kick, the callee-saved state across a
// call of an import.

package native

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"

	"github.com/drvhost/drvhost/engine"
)

// Where a register snippet has its data: what is loaded, and the same again for what was found.
const (
	inGPR     = 0x1000
	inFlags   = inGPR + 0x80
	inMXCSR   = inGPR + 0x88
	inFCW     = inGPR + 0x90
	inMasks   = inGPR + 0xA0
	inVectors = inGPR + 0x100 // 32 of 64 bytes
	out       = 0x1000        // from in to out
	savedRSP  = 0x3800
)

// registers lists the general registers that a snippet loads.
var registers = []engine.Register{engine.RAX, engine.RCX, engine.RDX, engine.RBX, engine.RBP,
	engine.RSI, engine.RDI, engine.R8, engine.R9, engine.R10, engine.R11, engine.R12, engine.R13,
	engine.R14, engine.R15}

// vectors says how large this machine's vector registers are, how many there are, and how many
// mask registers.
func vectors() (size, count, masks int) {
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW:
		return 64, 32, 8
	case cpu.X86.HasAVX:
		return 32, 16, 0
	}
	return 16, 16, 0
}

// surround gives a snippet that loads every register from in, goes through window, and stores every
// register to out.
func surround(window func(a *assembler)) []byte {
	size, count, masks := vectors()
	a := new(assembler)
	a.storeGPR(savedRSP, engine.RSP)
	for n := range count {
		a.loadVector(size, n, inVectors+64*n)
	}
	for n := range masks {
		a.loadMask(n, inMasks+8*n)
	}
	a.loadMXCSR(inMXCSR).loadFCW(inFCW)
	for _, r := range registers {
		a.loadGPR(r, inGPR+8*int(r))
	}
	a.loadFlags(inFlags)

	window(a)

	for _, r := range registers {
		a.storeGPR(out+inGPR+8*int(r), r)
	}
	a.storeGPR(out+inGPR+8*int(engine.RSP), engine.RSP)
	a.storeFlags(out + inFlags)
	a.list(`68 02 02 00 00  push 0x202
		9D              popfq`)
	a.storeMXCSR(out + inMXCSR).storeFCW(out + inFCW)
	for n := range count {
		a.storeVector(out+inVectors+64*n, size, n)
	}
	for n := range masks {
		a.storeMask(out+inMasks+8*n, n)
	}
	return a.ret().code
}

// Odd values: MXCSR rounds up, flushes to zero and has no sticky flags; the x87 rounds to zero with
// single precision.
const (
	oddMXCSR = 0xDF80
	oddFCW   = 0x0C7F
	roundUp  = 0x5F80
)

// fill gives g's snippet values to load.
func fill(g guestCode, flags uint64) {
	for i := range 16 {
		g.store(inGPR+8*i, 0x1111_1111_1111_1111*uint64(i)+0x0123_4567)
	}
	for i := inVectors; i < inVectors+32*64; i++ {
		g.mem[i] = byte(i*7 + i>>8*13 + 1)
	}
	for i := range 8 {
		g.store(inMasks+8*i, 0xFEDC_BA98_0000_0001<<i|uint64(i))
	}
	g.store(inFlags, flags)
	g.store(inMXCSR, oddMXCSR)
	g.store(inFCW, oddFCW)
}

// requireSame compares what the snippet found with what it loaded.
func requireSame(t *testing.T, g guestCode, flagsMask uint64) {
	t.Helper()
	for _, r := range registers {
		assert.Equal(t, g.load(inGPR+8*int(r)), g.load(out+inGPR+8*int(r)), r)
	}
	assert.Equal(t, g.load(savedRSP), g.load(out+inGPR+8*int(engine.RSP)), "rsp")
	assert.Equal(t, g.load(inFlags)&flagsMask, g.load(out+inFlags)&flagsMask, "flags")
	assert.EqualValues(t, oddMXCSR, uint32(g.load(out+inMXCSR)), "mxcsr")
	assert.EqualValues(t, oddFCW, uint16(g.load(out+inFCW)), "fcw")
	size, count, masks := vectors()
	for n := range count {
		in, found := inVectors+64*n, out+inVectors+64*n
		assert.Equal(t, g.mem[in:in+size], g.mem[found:found+size], "vector register %d", n)
	}
	for n := range masks {
		assert.Equal(t, g.load(inMasks+8*n), g.load(out+inMasks+8*n), "mask register %d", n)
	}
	assert.False(t, t.Failed())
}

// ownFlags are those that user code sets: CF, PF, AF, ZF, SF, DF, OF, NT, AC, ID.
const ownFlags = 0x244CD5

var flagValues = map[string]uint64{
	"no flag":    0x202,
	"every flag": ownFlags | 0x202,
	"DF":         0x602,
	"CF and OF":  0xA03,
	"ZF and SF":  0x2C2,
}

// clobber makes a function that fills every register with ones.
func clobber() []byte {
	size, count, masks := vectors()
	a := new(assembler)
	for n := range count {
		a.loadVector(size, n, inVectors)
	}
	for n := range masks {
		a.loadMask(n, inMasks)
	}
	a.loadMXCSR(inMXCSR).loadFCW(inFCW)
	for _, r := range registers {
		a.loadGPR(r, inGPR)
	}
	return a.loadFlags(inFlags).ret().code
}

// clobberer is a clobber function with its data.
func clobberer(t *testing.T, eng engine.CPU) guestCode {
	g := newCode(t, eng, clobber())
	for i := inGPR; i < inVectors+64; i++ {
		g.mem[i] = 0xFF
	}
	g.store(inFlags, ownFlags|0x202)
	g.store(inMXCSR, 0x1FBF)
	g.store(inFCW, 0x37F)
	return g
}

// between is what Go does in the middle of a full exit.
var between = map[string]func(t *testing.T, eng engine.CPU, c *engine.Context){
	"nothing": func(*testing.T, engine.CPU, *engine.Context) {},
	"another context runs": func(t *testing.T, eng engine.CPU, _ *engine.Context) {
		g, c := clobberer(t, eng), newThread(t, eng)
		var s engine.Saved
		g.push(t, c, &s)
		require.Equal(t, engine.ExitReturn, eng.Run(c))
	},
	"a nested call": func(t *testing.T, eng engine.CPU, c *engine.Context) {
		g := clobberer(t, eng)
		var s engine.Saved
		g.push(t, c, &s, 1, 2, 3, 4, 5)
		require.Equal(t, engine.ExitReturn, eng.Run(c))
		c.PopCall(&s)
	},
	"a nested call that faults and is given up": func(t *testing.T, eng engine.CPU,
		c *engine.Context) {
		g := newCode(t, eng, append(clobber()[:len(clobber())-1], 0x0F, 0x0B)) // ud2 for ret
		g.store(inMXCSR, 0x1F80)
		var s engine.Saved
		g.push(t, c, &s)
		require.Equal(t, engine.ExitFault, eng.Run(c))
		c.PopCall(&s)
	},
	"a move to another OS thread": func(t *testing.T, eng engine.CPU, c *engine.Context) {
		elsewhere(func() {
			eng.Kick(c)
			require.Equal(t, engine.ExitKick, eng.Run(c))
			c.ClearKick()
		})
	},
}

func TestEverythingSurvivesAResumedFault(t *testing.T) {
	eng := newCPU(t)
	for flagsName, flags := range flagValues {
		for name, do := range between {
			t.Run(flagsName+", "+name, func(t *testing.T) {
				at := 0
				g := newCode(t, eng, surround(func(a *assembler) {
					at = len(a.code)
					a.list(`0F 0B  ud2`)
				}))
				fill(g, flags)
				c := newThread(t, eng)
				var s engine.Saved
				g.push(t, c, &s)
				for range 3 {
					require.Equal(t, engine.ExitFault, eng.Run(c))
					require.EqualValues(t, engine.VectorInvalidOpcode, c.Fault.Vector)
					require.EqualValues(t, int(g.base)+at, c.RIP)
					do(t, eng, c)
				}
				c.RIP += 2
				require.Equal(t, engine.ExitReturn, eng.Run(c))
				requireSame(t, g, ownFlags)
				requireWorks(t, eng, c)
			})
		}
	}
}

func TestEverythingSurvivesAKick(t *testing.T) {
	eng := newCPU(t)
	for flagsName, flags := range flagValues {
		for name, do := range between {
			t.Run(flagsName+", "+name, func(t *testing.T) {
				at := 0
				g := newCode(t, eng, surround(func(a *assembler) {
					at = len(a.code)
					a.list(`EB FE  jmp $`)
				}))
				fill(g, flags)
				c := newThread(t, eng)
				var s engine.Saved
				g.push(t, c, &s)
				for c.RIP != uint64(int(g.base)+at) || c.Resume != engine.ResumeFull {
					kickOut(t, eng, c)
				}
				for range 3 {
					kickOut(t, eng, c)
					require.EqualValues(t, int(g.base)+at, c.RIP)
					do(t, eng, c)
				}
				c.RIP += 2
				require.Equal(t, engine.ExitReturn, eng.Run(c))
				requireSame(t, g, ownFlags)
				requireWorks(t, eng, c)
			})
		}
	}
}

// mix computes for RCX rounds with every general register and with wide additions, and gives a sum
// in RAX. A register or a flag that a kick loses changes the sum.
func mix() []byte {
	a := new(assembler).list(`48 89 C8  mov rax, rcx`).storeGPR(savedRSP, engine.RSP)
	size, count, _ := vectors()
	size = min(size, 32)
	count = min(count, 16)
	for n := range count {
		a.loadVector(size, n, inVectors+64*n)
	}
	for _, r := range registers {
		if r != engine.RAX && r != engine.RCX {
			a.loadGPR(r, inGPR+8*int(r))
		}
	}
	again := len(a.code)
	regs := append([]engine.Register{engine.RAX}, registers[2:]...) // all but RCX
	for i, r := range regs {                                        // adc next, r
		next := regs[(i+1)%len(regs)]
		a.bytes(0x48|byte(r)>>3<<2|byte(next)>>3, 0x11, 0xC0|byte(r)&7<<3|byte(next)&7)
	}
	for n := range count { // paddq or vpaddq n+1, n+1, n
		m := (n + 1) % count
		if size == 32 {
			a.bytes(0xC4, byte(1-m>>3)<<7|0x40|byte(1-n>>3)<<5|1, byte(15-m)<<3|5, 0xD4,
				0xC0|byte(m)&7<<3|byte(n)&7)
		} else {
			a.bytes(0x66, 0x40|byte(m)>>3<<2|byte(n)>>3, 0x0F, 0xD4, 0xC0|byte(m)&7<<3|byte(n)&7)
		}
	}
	a.list(`48 8D 49 FF  lea rcx, [rcx-1]
		E3 05        jrcxz +5`)
	a.bytes(0xE9).relative(again) // jmp again
	for n := range count {
		a.storeVector(out+inVectors+64*n, size, n)
	}
	return a.ret().code
}

func TestArithmeticIsTheSameUnderAStormOfKicks(t *testing.T) {
	eng := newCPU(t)
	if !cpu.X86.HasAVX2 {
		t.Log("without AVX2 the wide registers' upper halves are not exercised")
	}
	run := func(kicks bool) (sum uint64, vectors []byte, kicked int) {
		g := newCode(t, eng, mix())
		fill(g, 0x202)
		c := newThread(t, eng)
		var s engine.Saved
		const rounds = 1_000_000
		g.push(t, c, &s, rounds)
		stop := make(chan struct{})
		if kicks {
			done := kickAllTheTime(eng, c, stop)
			defer func() { <-done }()
		}
		defer close(stop)
		for eng.Run(c) == engine.ExitKick {
			c.ClearKick()
			kicked++
		}
		return c.GPR[engine.RAX], g.mem[out+inVectors : out+inVectors+16*64], kicked
	}
	sum, vectors, _ := run(false)
	for kicked := 0; kicked < 1000; {
		kickedSum, kickedVectors, n := run(true)
		require.Equal(t, sum, kickedSum)
		require.Equal(t, vectors, kickedVectors)
		kicked += n
	}
}

func TestCalleeSavedStateSurvivesAnImportCall(t *testing.T) {
	eng := newCPU(t)
	calleeSaved := []engine.Register{engine.RBX, engine.RBP, engine.RSI, engine.RDI, engine.R12,
		engine.R13, engine.R14, engine.R15}
	for name, do := range between {
		t.Run(name, func(t *testing.T) {
			g := newCode(t, eng, surround(func(a *assembler) { a.callThunk(0x28) }))
			const df, ac = 0x400, 0x40000
			fill(g, 0x202|df|ac)
			c := newThread(t, eng)
			var s engine.Saved
			g.push(t, c, &s)
			require.Equal(t, engine.ExitCall, eng.Run(c))
			assert.EqualValues(t, oddMXCSR, c.MXCSR)
			assert.EqualValues(t, oddFCW, c.FCW)
			for i, r := range []engine.Register{engine.RCX, engine.RDX, engine.R8, engine.R9} {
				v, _ := c.Arg(i)
				assert.Equal(t, g.load(inGPR+8*int(r)), v)
			}
			assert.EqualValues(t, thunkIndex, c.GPR[engine.RAX])
			do(t, eng, c)
			c.GPR[engine.RAX] = 0xC000_0005
			require.Equal(t, engine.ExitReturn, eng.Run(c))

			for _, r := range calleeSaved {
				assert.Equal(t, g.load(inGPR+8*int(r)), g.load(out+inGPR+8*int(r)), r)
			}
			assert.EqualValues(t, 0xC000_0005, g.load(out+inGPR+8*int(engine.RAX)))
			assert.Equal(t, g.load(savedRSP), g.load(out+inGPR+8*int(engine.RSP)))
			assert.EqualValues(t, df|ac, g.load(out+inFlags)&(df|ac))
			assert.EqualValues(t, oddMXCSR, uint32(g.load(out+inMXCSR)))
			assert.EqualValues(t, oddFCW, uint16(g.load(out+inFCW)))
			for n := 6; n < 16; n++ {
				in, found := inVectors+64*n, out+inVectors+64*n
				assert.Equal(t, g.mem[in:in+16], g.mem[found:found+16], "xmm%d", n)
			}
			requireWorks(t, eng, c)
		})
	}
}

func TestStateOfACallMayBeMadeFull(t *testing.T) {
	eng := newCPU(t)
	g := newCode(t, eng, surround(func(a *assembler) { a.callThunk(0x28) }))
	fill(g, 0x202)
	c := newThread(t, eng)
	var s engine.Saved
	g.push(t, c, &s)
	require.Equal(t, engine.ExitCall, eng.Run(c))
	c.MakeFull()
	c.GPR[engine.R11] = 0x1234
	c.SetFullXMM(0, engine.XMM{5, 6})
	require.Equal(t, engine.ExitReturn, eng.Run(c))
	assert.EqualValues(t, 0x1234, g.load(out+inGPR+8*int(engine.R11)))
	assert.EqualValues(t, 5, g.load(out+inVectors))
	assert.EqualValues(t, 6, g.load(out+inVectors+8))
	for n := 6; n < 16; n++ {
		in, found := inVectors+64*n, out+inVectors+64*n
		assert.Equal(t, g.mem[in:in+16], g.mem[found:found+16], "xmm%d", n)
	}
	assert.EqualValues(t, oddMXCSR, uint32(g.load(out+inMXCSR)))
}

var one, three = 1.0, 3.0

func TestGoComputesWithItsOwnRounding(t *testing.T) {
	eng := newCPU(t)
	third := math.Float64frombits(0x3FD5_5555_5555_5555) // to nearest; upwards it ends in 6
	for name, window := range map[string]func(a *assembler){
		"in an import call": func(a *assembler) { a.callThunk(0x28) },
		"after a fault":     func(a *assembler) { a.list(`0F 0B  ud2`) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newCode(t, eng, surround(window))
			fill(g, 0x202)
			g.store(inMXCSR, roundUp)
			c := newThread(t, eng)
			var s engine.Saved
			g.push(t, c, &s)
			exit := eng.Run(c)
			got := one / three
			if exit == engine.ExitFault {
				c.RIP += 2
			}
			require.Equal(t, third, got, "rounding up gives another result")
			require.Equal(t, engine.ExitReturn, eng.Run(c))
			assert.EqualValues(t, roundUp, uint32(g.load(out+inMXCSR)))
			require.Equal(t, third, one/three, "after a return with another MXCSR")
		})
	}
}

func TestXSaveImageHoldsTheRegisters(t *testing.T) {
	eng := newCPU(t)
	g := newCode(t, eng, surround(func(a *assembler) { a.list(`0F 0B  ud2`) }))
	fill(g, 0x202)
	c := newThread(t, eng)
	var s engine.Saved
	g.push(t, c, &s)
	require.Equal(t, engine.ExitFault, eng.Run(c))
	for n := range 16 {
		in := inVectors + 64*n
		want := engine.XMM{g.load(in), g.load(in + 8)}
		assert.Equal(t, want, c.FullXMM(n))
	}
	assert.EqualValues(t, oddMXCSR, binary.LittleEndian.Uint32(c.XSave()[24:]))
	c.SetFullXMM(3, engine.XMM{7, 8})
	c.RIP += 2
	require.Equal(t, engine.ExitReturn, eng.Run(c))
	assert.EqualValues(t, 7, g.load(out+inVectors+3*64))
}
