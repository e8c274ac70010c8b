package native

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/nt"
)

// code is guest machine code with a thunk and a return trampoline behind it:
//
//	0x000  the snippet
//	0xE00  thunk: mov eax, 7; jmp [gateCall]
//	0xE40  trampoline: jmp [gateReturn]
//	0xE80  the two gates' addresses
type guestCode struct {
	base       nt.Addr
	trampoline nt.Addr
	thunk      nt.Addr
}

const (
	thunkAt      = 0xE00
	trampolineAt = 0xE40
	gatesAt      = 0xE80
	thunkIndex   = 7
)

func mapMemory(t testing.TB, size int, prot int) []byte {
	mem, err := unix.Mmap(-1, 0, size, prot, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Munmap(mem)) })
	return mem
}

func newCode(t testing.TB, cpu engine.CPU, snippet []byte) guestCode {
	mem := mapMemory(t, 0x1000, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC)
	require.Less(t, len(snippet), thunkAt)
	copy(mem, snippet)
	copy(mem[thunkAt:], []byte{0xB8, thunkIndex, 0, 0, 0, 0xFF, 0x25, gatesAt - thunkAt - 11, 0, 0, 0})
	copy(mem[trampolineAt:], []byte{0xFF, 0x25, gatesAt + 8 - trampolineAt - 6, 0, 0, 0})
	copy(mem[gatesAt:], word(uint64(cpu.Gates().Call)))
	copy(mem[gatesAt+8:], word(uint64(cpu.Gates().Return)))
	base := addrOf(mem)
	return guestCode{base: base, trampoline: base + trampolineAt, thunk: base + thunkAt}
}

const testStack = 64 << 10

func newThread(t testing.TB, cpu engine.CPU) *engine.Context {
	mem := mapMemory(t, testStack+0x2000, unix.PROT_NONE)
	require.NoError(t, unix.Mprotect(mem[0x1000:0x1000+testStack], unix.PROT_READ|unix.PROT_WRITE))
	c, err := cpu.NewContext(addrOf(mem)+0x1000, addrOf(mem)+0x1000+testStack)
	require.NoError(t, err)
	t.Cleanup(func() { cpu.FreeContext(c) })
	return c
}

func newCPU(t testing.TB) engine.CPU {
	cpu, err := New()
	require.NoError(t, err)
	return cpu
}

func TestCallReturnsResult(t *testing.T) {
	cpu := newCPU(t)
	// lea rax, [rcx+rdx]; add rax, r8; add rax, r9; add rax, [rsp+0x28] … [rsp+0x80]; ret
	code := []byte{0x48, 0x8D, 0x04, 0x11, 0x4C, 0x01, 0xC0, 0x4C, 0x01, 0xC8}
	for off := 0x28; off <= 0x80; off += 8 {
		code = append(code, 0x48, 0x03, 0x84, 0x24, byte(off), 0, 0, 0)
	}
	code = append(code, 0xC3)
	g := newCode(t, cpu, code)
	c := newThread(t, cpu)
	for n := range engine.MaxArgs + 1 {
		args := make([]uint64, engine.MaxArgs)
		want := uint64(0)
		for i := range n {
			args[i] = 1 << (3 * i)
			want += args[i]
		}
		var s engine.Saved
		require.NoError(t, c.PushCall(&s, g.trampoline, g.base, 0, args...))
		require.Equal(t, engine.ExitReturn, cpu.Run(c))
		require.Equal(t, want, c.GPR[engine.RAX], "%d arguments", n)
		c.PopCall(&s)
		require.Equal(t, uint64(c.StackBase), c.GPR[engine.RSP])
	}
	var s engine.Saved
	require.ErrorIs(t, c.PushCall(&s, 0, 0, 0, make([]uint64, 17)...), engine.ErrArgs)
}

// callLoop: push rbx; sub rsp,0x20; mov rbx, rcx; L: mov rcx, rbx; call thunk; dec rbx; jnz L;
// add rsp,0x20; pop rbx; ret
func callLoop() []byte {
	code := []byte{0x53, 0x48, 0x83, 0xEC, 0x20, 0x48, 0x89, 0xCB}
	loop := len(code)
	code = append(code, 0x48, 0x89, 0xD9)
	code = append(code, 0xE8)
	rel := thunkAt - (len(code) + 4)
	code = append(code, byte(rel), byte(rel>>8), byte(rel>>16), byte(rel>>24))
	code = append(code, 0x48, 0xFF, 0xCB)
	code = append(code, 0x75, byte(loop-(len(code)+2)))
	return append(code, 0x48, 0x83, 0xC4, 0x20, 0x5B, 0xC3)
}

func TestImportCallComesBack(t *testing.T) {
	cpu := newCPU(t)
	g := newCode(t, cpu, callLoop())
	c := newThread(t, cpu)
	var s engine.Saved
	require.NoError(t, c.PushCall(&s, g.trampoline, g.base, 0, 1000))
	for i := uint64(1000); i > 0; i-- {
		require.Equal(t, engine.ExitCall, cpu.Run(c))
		require.Equal(t, uint64(thunkIndex), c.GPR[engine.RAX])
		v, ok := c.Arg(0)
		require.True(t, ok)
		require.Equal(t, i, v)
	}
	require.Equal(t, engine.ExitReturn, cpu.Run(c))
}
