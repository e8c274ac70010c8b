package seh

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/pe"
)

// walkRig has f, which calls g, which faults.
func walkRig(t *testing.T) *rig {
	return newRig(t, func(b *pe.Builder) {
		code, marks := assemble(`
			53           push rbx |
			48 83 EC 20  sub rsp, 20h |
			FF D1        call rcx
			48 83 C4 20  add rsp, 20h
			5B           pop rbx
			C3           ret`)
		b.Code("f", code, nil, unwind(marks, []op{push(rbx), alloc(0x20)}))
		code, marks = assemble(`
			56     push rsi |
			0F 0B  ud2
			5E     pop rsi
			C3     ret`)
		b.Code("g", code, nil, unwind(marks, []op{push(rsi)}))
	})
}

func TestWalkPassesCallsThatGoMade(t *testing.T) {
	r := walkRig(t)
	f, g := r.symbol("f"), r.symbol("g")
	var outer, inner engine.Saved
	require.NoError(t, r.ctx.PushCall(&outer, r.symbol("return"), f, 0, uint64(g)))
	require.Equal(t, engine.ExitFault, r.cpu.Run(r.ctx))
	require.NoError(t, r.ctx.PushCall(&inner, r.symbol("return"), f, guest.Addr(r.ctx.RIP), uint64(g)))
	require.Equal(t, engine.ExitFault, r.cpu.Run(r.ctx))

	var got []guest.Addr
	frames := Walk(r.ctx, r.linker, 100)
	for _, f := range frames {
		assert.Same(t, r.module, f.Module)
		assert.Equal(t, f.RIP, r.module.Addr(f.Offset))
		got = append(got, f.RIP)
	}
	back := r.symbol("return")
	assert.Equal(t, []guest.Addr{g + 1, f + 7, back, g + 1, f + 7, back}, got)
	assert.Equal(t, g, r.module.Addr(frames[0].Function))
	assert.Len(t, Walk(r.ctx, r.linker, 4), 4)
	r.ctx.PopCall(&inner)
	r.ctx.PopCall(&outer)
}

func TestWalkStartsBehindAWildJump(t *testing.T) {
	r := walkRig(t)
	var saved engine.Saved
	require.NoError(t, r.ctx.PushCall(&saved, r.symbol("return"), r.symbol("f"), 0, 0))
	require.Equal(t, engine.ExitFault, r.cpu.Run(r.ctx))
	frames := Walk(r.ctx, r.linker, 100)
	require.Len(t, frames, 3)
	assert.Zero(t, frames[0].RIP)
	assert.Nil(t, frames[0].Module)
	assert.Equal(t, r.symbol("f")+7, frames[1].RIP)
	assert.Contains(t, frames[1].String(), "test.sys+0x")
}

func TestWalkEndsWhereTheStackMakesNoSense(t *testing.T) {
	r := walkRig(t)
	c := r.ctx
	var saved engine.Saved
	require.NoError(t, c.PushCall(&saved, r.symbol("return"), r.symbol("f"), 0, uint64(r.symbol("g"))))
	require.Equal(t, engine.ExitFault, r.cpu.Run(c))
	regs := Guest(c)
	for name, rsp := range map[string]uint64{"null": 0, "not canonical": 1 << 63, "the end": ^uint64(7),
		"odd": regs.GPR[engine.RSP] + 1} {
		bad := regs
		bad.GPR[engine.RSP] = rsp
		assert.Len(t, walk(c, bad, r.linker, 100), 1, name)
	}
	// A machine frame that leads back into its own stack.
	at := guest.Addr(saveFrame(r)) + engine.TrampolineAlloc
	require.NoError(t, guest.StoreAddr(at, r.symbol("g")+1))
	require.NoError(t, guest.StoreAddr(at+24, regs.RSP()))
	assert.Len(t, walk(c, regs, r.linker, 100), 3)
}

// saveFrame finds RSP of the trampoline's frame.
func saveFrame(r *rig) uint64 {
	for _, f := range Walk(r.ctx, r.linker, 100) {
		if f.RIP == r.symbol("return") {
			return uint64(f.RSP)
		}
	}
	return 0
}
