// The tests' machine code and guest threads, and calls there and back.

package native

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// guestCode is guest machine code with a thunk, a return trampoline and data behind it:
//
//	0x0000  the snippet
//	0x0E00  thunk: mov eax, 7; jmp [gateCall]
//	0x0E40  trampoline: jmp [gateReturn]
//	0x0E80  the two gates' addresses
//	0x1000  data
//	0x4000  end
type guestCode struct {
	mem        []byte
	base       nt.Addr
	trampoline nt.Addr
	thunk      nt.Addr
}

const (
	thunkAt      = 0xE00
	trampolineAt = 0xE40
	gatesAt      = 0xE80
	dataAt       = 0x1000
	codeSize     = 0x4000
	thunkIndex   = 7
)

func mapMemory(t testing.TB, size int, prot int) []byte {
	mem, err := unix.Mmap(-1, 0, size, prot, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Munmap(mem)) })
	require.NoError(t, guest.Own(uintptr(addrOf(mem)), uintptr(size), guest.Prot(prot)))
	return mem
}

func newCode(t testing.TB, cpu engine.CPU, snippet []byte) guestCode {
	mem := mapMemory(t, codeSize, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC)
	require.LessOrEqual(t, len(snippet), thunkAt)
	copy(mem, snippet)
	copy(mem[thunkAt:], []byte{0xB8, thunkIndex, 0, 0, 0})
	copy(mem[thunkAt+5:], []byte{0xFF, 0x25, gatesAt - thunkAt - 11, 0, 0, 0})
	copy(mem[trampolineAt:], []byte{0xFF, 0x25, gatesAt + 8 - trampolineAt - 6, 0, 0, 0})
	copy(mem[gatesAt:], word(uint64(cpu.Gates().Call)))
	copy(mem[gatesAt+8:], word(uint64(cpu.Gates().Return)))
	base := addrOf(mem)
	return guestCode{mem: mem, base: base, trampoline: base + trampolineAt, thunk: base + thunkAt}
}

// push prepares a call of the snippet on c.
func (g *guestCode) push(t testing.TB, c *engine.Context, s *engine.Saved, args ...uint64) {
	require.NoError(t, c.PushCall(s, g.trampoline, g.base, 0, args...))
}

func (g *guestCode) load(at int) uint64     { return binary.LittleEndian.Uint64(g.mem[at:]) }
func (g *guestCode) store(at int, v uint64) { binary.LittleEndian.PutUint64(g.mem[at:], v) }

const (
	testStack = 64 << 10
	guardPage = 0x1000
)

// newThread makes a guest thread whose stack has a guard page at each end.
func newThread(t testing.TB, cpu engine.CPU) *engine.Context {
	mem := mapMemory(t, testStack+2*guardPage, unix.PROT_NONE)
	stack := mem[guardPage : guardPage+testStack]
	require.NoError(t, unix.Mprotect(stack, unix.PROT_READ|unix.PROT_WRITE))
	c, err := cpu.NewContext(addrOf(stack), addrOf(stack)+testStack)
	require.NoError(t, err)
	t.Cleanup(func() { cpu.FreeContext(c) })
	return c
}

func newCPU(t testing.TB) engine.CPU {
	cpu, err := New()
	require.NoError(t, err)
	return cpu
}

// sumArgs returns the sum of its n arguments.
func sumArgs(n int) []byte {
	a := new(assembler).list(`31 C0  xor eax, eax`)
	for i, add := range [...]string{
		"48 01 C8  add rax, rcx", "48 01 D0  add rax, rdx",
		"4C 01 C0  add rax, r8", "4C 01 C8  add rax, r9",
	} {
		if i < n {
			a.list(add)
		}
	}
	for i := 4; i < n; i++ {
		a.bytes(0x48, 0x03, 0x84, 0x24, byte(8+8*i), 0, 0, 0) // add rax, [rsp+8+8*i]
	}
	return a.ret().code
}

// powers gives n arguments, each of which shows in their sum.
func powers(n int) (args []uint64, sum uint64) {
	for i := range n {
		args = append(args, 1<<(3*i))
		sum += args[i]
	}
	return args, sum
}

func TestCallReturnsResult(t *testing.T) {
	cpu := newCPU(t)
	c := newThread(t, cpu)
	for n := range engine.MaxArgs + 1 {
		g := newCode(t, cpu, sumArgs(n))
		args, want := powers(n)
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

// callLoop calls the import RCX times, with the number of calls that are left as its argument.
func callLoop() []byte {
	a := new(assembler).list(`
		53           push rbx
		48 89 CB     mov rbx, rcx
		48 89 D9     mov rcx, rbx    ; again:
	`).callThunk(0x20)
	const again, jump = 4, 2
	back := byte(again - (len(a.code) + 3 + jump))
	return a.list(`48 FF CB     dec rbx`).bytes(0x75, back). // jnz again
									list(`
		5B           pop rbx
		C3           ret
	`).code
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
