package seh

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/engine/native"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/pe"
)

// code is what a test's function consists of: lines of hexadecimal bytes, each followed by two
// spaces and what it says. A "|" at the end of a line marks the end of a prologue instruction that
// has an unwind operation.
func assemble(text string) (code []byte, marks []uint8) {
	for _, l := range strings.Split(strings.TrimSpace(text), "\n") {
		l = strings.TrimSpace(l)
		bytes, _, _ := strings.Cut(l, "  ")
		b, err := hex.DecodeString(strings.ReplaceAll(bytes, " ", ""))
		if err != nil {
			panic(l)
		}
		code = append(code, b...)
		if strings.HasSuffix(l, "|") {
			marks = append(marks, uint8(len(code)))
		}
	}
	return code, marks
}

// rig runs a built module's functions on a guest stack.
type rig struct {
	t      testing.TB
	cpu    engine.CPU
	ctx    *engine.Context
	stack  *guest.Stack
	linker *pe.Linker
	module *pe.Module
	symbol func(name string) guest.Addr
	tables Tables
}

// newRig maps what build puts into a module, and makes a thread. The symbol "return" is the
// trampoline.
func newRig(t testing.TB, build func(b *pe.Builder)) *rig {
	t.Helper()
	space, err := guest.Default()
	require.NoError(t, err)
	r := &rig{t: t, linker: pe.NewLinker()}
	r.cpu, err = native.New()
	require.NoError(t, err)
	b := pe.NewBuilder("test.sys")
	b.Data("gate", 8, 8, nil, nil)
	// The first byte is a NOP: a jump alone would be an epilogue.
	b.Code("return", []byte{0x90, 0xFF, 0x25, 0, 0, 0, 0},
		[]pe.Fixup{{Offset: 3, Kind: pe.Rel32, Symbol: "gate"}},
		&pe.Unwind{Ops: []pe.UnwindOp{pe.PushMachFrame(0, false), pe.Alloc(0, engine.TrampolineAlloc)}})
	build(b)
	img, err := b.Build()
	require.NoError(t, err)
	r.module, err = img.Map(space, pe.MapOptions{Relocate: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.module.Unmap()) })
	r.symbol = func(name string) guest.Addr {
		rva, ok := b.SymbolRVA(name)
		require.True(t, ok, name)
		return r.module.Addr(rva)
	}
	require.NoError(t, guest.StoreAddr(r.symbol("gate"), r.cpu.Gates().Return))
	require.NoError(t, r.module.Protect())
	require.NoError(t, r.linker.Add(r.module))
	r.tables = Tables{r.linker}
	r.stack, err = space.AllocStack(32 << 10)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.stack.Free()) })
	r.ctx, err = r.cpu.NewContext(r.stack.Base(), r.stack.Top())
	require.NoError(t, err)
	t.Cleanup(func() { r.cpu.FreeContext(r.ctx) })
	return r
}

// nonvolatile are the registers that a call preserves.
var nonvolatile = []engine.Register{engine.RBX, engine.RSP, engine.RBP, engine.RSI, engine.RDI,
	engine.R12, engine.R13, engine.R14, engine.R15}

// steps runs a function one instruction at a time, with random contents of all registers, and calls
// at before each. RSP is then what it was at the function's first instruction, entry.
func (r *rig) steps(fn guest.Addr, at func(now, entry Registers)) {
	r.t.Helper()
	c := r.ctx
	rng := rand.New(rand.NewPCG(1, uint64(fn)))
	for _, reg := range nonvolatile {
		if reg != engine.RSP {
			c.GPR[reg] = rng.Uint64()
		}
	}
	var saved engine.Saved
	require.NoError(r.t, c.PushCall(&saved, r.symbol("return"), fn, 0))
	c.MakeFull()
	for i := range 16 {
		c.SetFullXMM(i, engine.XMM{rng.Uint64(), rng.Uint64()})
	}
	const trap = 0x100
	c.RFLAGS |= trap
	entry := Guest(c)
	for range 10000 {
		at(Guest(c), entry)
		exit := r.cpu.Run(c)
		require.Equal(r.t, engine.ExitFault, exit)
		require.EqualValues(r.t, engine.VectorDebug, c.Fault.Vector, "at %#x", c.RIP)
		if guest.Addr(c.RIP) == r.symbol("return") {
			c.PopCall(&saved)
			return
		}
	}
	r.t.Fatal("the function does not return")
}

// unwindTo unwinds until the frame below the one with the given RSP at its entry.
func (r *rig) unwindTo(now Registers, entry guest.Addr) (Registers, error) {
	for range 100 {
		if now.RSP() > entry {
			break
		}
		f, ok := r.tables.Lookup(now.RIP)
		if err := r.tables.unwind(nt.UNW_FLAG_NHANDLER, f, ok, &now, nil); err != nil {
			return now, err
		}
	}
	return now, nil
}

// requireUnwindsEverywhere runs a function and unwinds it at each instruction, of it and of what it
// calls: the caller's registers must always come out.
func (r *rig) requireUnwindsEverywhere(fn guest.Addr) (instructions int) {
	r.t.Helper()
	r.steps(fn, func(now, entry Registers) {
		instructions++
		got, err := r.unwindTo(now, entry.RSP())
		require.NoError(r.t, err)
		where := now.RIP - fn
		require.Equal(r.t, r.symbol("return"), got.RIP, "RIP at +%#x", uint64(where))
		require.Equal(r.t, entry.RSP()+8, got.RSP(), "RSP at +%#x", uint64(where))
		for _, reg := range nonvolatile {
			if reg != engine.RSP {
				require.Equal(r.t, entry.GPR[reg], got.GPR[reg], "%v at +%#x", reg, uint64(where))
			}
		}
		for i := 6; i < 16; i++ {
			require.Equal(r.t, entry.XMM[i], got.XMM[i], "XMM%d at +%#x", i, uint64(where))
		}
	})
	return instructions
}
