// Faults: every way in which guest code can go wrong gives a named exit, and the engine goes on.

package native

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/engine"
)

const (
	anyCode      = ^uint32(0)
	nonCanonical = 0x8000_0000_0000_0000
	nowhere      = 0x1234_5678_9000 // far from where Linux maps anything
)

// requireWorks runs a good function on c, which whatever happened before must not have hurt.
func requireWorks(t *testing.T, cpu engine.CPU, c *engine.Context) {
	t.Helper()
	g := newCode(t, cpu, callLoop())
	c.DropFrame()
	var s engine.Saved
	g.push(t, c, &s, 3)
	for range 3 {
		require.Equal(t, engine.ExitCall, cpu.Run(c))
	}
	require.Equal(t, engine.ExitReturn, cpu.Run(c))
	c.PopCall(&s)
}

func TestFaultsAreNamed(t *testing.T) {
	cpu := newCPU(t)
	const (
		protection = 13
		user       = 4
		userWrite  = 6
		userFetch  = 0x14
	)
	for _, tt := range []struct {
		name   string
		code   string
		vector uint32
		errc   uint32
		rip    uint64 // an offset into the snippet, or an address beyond it
		rips   uint64 // another address that some processors report
		addr   uint64
	}{
		{name: "call NULL", vector: engine.VectorPageFault, errc: userFetch, rip: atNull, code: `
			31 C0  xor eax, eax
			FF D0  call rax`},
		{name: "jump to nowhere", vector: engine.VectorPageFault, errc: userFetch, rip: nowhere,
			addr: nowhere, code: `
			48 B8 00 90 78 56 34 12 00 00  mov rax, nowhere
			FF E0                          jmp rax`},
		{name: "load from NULL", vector: engine.VectorPageFault, errc: user, rip: 2, code: `
			31 C0  xor eax, eax
			8B 00  mov eax, [rax]`},
		{name: "store near NULL", vector: engine.VectorPageFault, errc: userWrite, rip: 2, addr: 8,
			code: `
			31 C0     xor eax, eax
			89 40 08  mov [rax+8], eax`},
		{name: "load from the kernel's half", vector: engine.VectorPageFault, errc: anyCode, rip: 7,
			addr: 0xFFFF_FFFF_FFFF_F000, code: `
			48 C7 C0 00 F0 FF FF  mov rax, -0x1000
			8B 00                 mov eax, [rax]`},
		{name: "divide by zero", vector: engine.VectorDivide, rip: 2, code: `
			31 C9  xor ecx, ecx
			F7 F1  div ecx`},
		{name: "int3", vector: engine.VectorBreakpoint, rip: 1, code: `
			CC  int3`},
		{name: "int 3 in two bytes", vector: engine.VectorBreakpoint, rip: 2, code: `
			CD 03  int 3`},
		{name: "int 4", vector: engine.VectorOverflow, rip: 2, code: `
			CD 04  int 4`},
		{name: "int1", vector: engine.VectorDebug, rip: 1, code: `
			F1  int1`},
		{name: "ud2", vector: engine.VectorInvalidOpcode, rip: 0, code: `
			0F 0B  ud2`},
		{name: "non-canonical load", vector: protection, rip: 10, code: `
			48 B8 00 00 00 00 00 00 00 80  mov rax, 0x8000000000000000
			8B 00                          mov eax, [rax]`},
		{name: "non-canonical store", vector: protection, rip: 10, code: `
			48 B8 00 00 00 00 00 00 00 80  mov rax, 0x8000000000000000
			89 00                          mov [rax], eax`},
		{name: "non-canonical jump", vector: protection, rip: 10, rips: nonCanonical, code: `
			48 B8 00 00 00 00 00 00 00 80  mov rax, 0x8000000000000000
			FF E0                          jmp rax`},
		{name: "return to a non-canonical address", vector: protection, rip: 11, rips: nonCanonical,
			code: `
			48 B8 00 00 00 00 00 00 00 80  mov rax, 0x8000000000000000
			50                             push rax
			C3                             ret`},
		{name: "non-canonical stack", vector: engine.VectorStack, rip: 13, code: `
			48 B8 00 00 00 00 00 00 00 80  mov rax, 0x8000000000000000
			48 89 C4                       mov rsp, rax
			50                             push rax`},
		{name: "cli", vector: protection, code: `FA  cli`},
		{name: "sti", vector: protection, code: `FB  sti`},
		{name: "hlt", vector: protection, code: `F4  hlt`},
		{name: "in", vector: protection, code: `EC  in al, dx`},
		{name: "out", vector: protection, code: `EE  out dx, al`},
		{name: "read cr8", vector: protection, code: `44 0F 20 C0  mov rax, cr8`},
		{name: "write cr8", vector: protection, code: `44 0F 22 C0  mov cr8, rax`},
		{name: "rdmsr", vector: protection, code: `0F 32  rdmsr`},
		{name: "wrmsr", vector: protection, code: `0F 30  wrmsr`},
		{name: "invlpg", vector: protection, code: `0F 01 38  invlpg [rax]`},
		{name: "swapgs", vector: protection, code: `0F 01 F8  swapgs`},
		{name: "int 29h, __fastfail", vector: protection, errc: 0x29<<3 | 2,
			code: `CD 29  int 0x29`},
		{name: "int 2Ch, an assertion", vector: protection, errc: 0x2C<<3 | 2,
			code: `CD 2C  int 0x2c`},
		{name: "int 2Dh, the debugger", vector: protection, errc: 0x2D<<3 | 2,
			code: `CD 2D  int 0x2d`},
		{name: "popf with TF", vector: engine.VectorDebug, rip: 7, code: `
			68 02 03 00 00  push 0x302
			9D              popfq
			90              nop
			C3              ret`},
		{name: "popf with AC, then an unaligned load", vector: engine.VectorAlignment, rip: 6,
			code: `
			68 02 02 04 00  push 0x40202
			9D              popfq
			8B 44 24 01     mov eax, [rsp+1]`},
		{name: "unmasked SSE 0/0", vector: engine.VectorSIMD, rip: 15, code: `
			68 00 1F 00 00  push 0x1f00
			0F AE 14 24     ldmxcsr [rsp]
			31 C0           xor eax, eax
			F3 0F 2A C0     cvtsi2ss xmm0, eax
			F3 0F 5E C0     divss xmm0, xmm0
		`},
		{name: "unmasked x87 divide by zero", vector: engine.VectorX87, rip: 14, code: `
			68 7B 02 00 00  push 0x27b
			D9 2C 24        fldcw [rsp]
			D9 E8           fld1
			D9 EE           fldz
			DE F9           fdivp
			9B              fwait
		`},
		{name: "far return to a bad selector", vector: protection, errc: anyCode, rip: 4, code: `
			6A 40  push 0x40
			6A 00  push 0
			48 CB  retfq`},
		{name: "jump into 32-bit mode", vector: engine.VectorPageFault, errc: userFetch,
			rip: 0x2000, addr: 0x2000, code: `
			6A 23           push 0x23
			68 00 20 00 00  push 0x2000
			48 CB           retfq`},
		{name: "ud2 with a null RSP", vector: engine.VectorInvalidOpcode, rip: 2, code: `
			31 E4  xor esp, esp
			0F 0B  ud2`},
		{name: "ud2 with a non-canonical RSP", vector: engine.VectorInvalidOpcode, rip: 13, code: `
			48 B8 00 00 00 00 00 00 00 80  mov rax, 0x8000000000000000
			48 89 C4                       mov rsp, rax
			0F 0B                          ud2`},
		{name: "ud2 with every odd flag", vector: engine.VectorInvalidOpcode, rip: 6, code: `
			68 D7 4E 24 00  push 0x244ed7
			9D              popfq
			0F 0B           ud2`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newCode(t, cpu, listing(tt.code))
			c := newThread(t, cpu)
			var s engine.Saved
			g.push(t, c, &s)
			require.Equal(t, engine.ExitFault, cpu.Run(c))
			assert.Equal(t, tt.vector, c.Fault.Vector, "vector")
			if tt.errc != anyCode {
				assert.Equal(t, tt.errc, c.Fault.Code, "error code")
			}
			assert.Equal(t, tt.addr, c.Fault.Addr, "address")
			want := tt.rip
			switch {
			case want == atNull:
				want = 0
			case want < dataAt:
				want += uint64(g.base)
			}
			if tt.rips == 0 || c.RIP != tt.rips {
				assert.Equal(t, want, c.RIP, "rip")
			}
			assert.Equal(t, engine.ResumeFull, c.Resume)
			assert.Equal(t, tt.vector == engine.VectorPageFault, c.Fault.IsPageFault())
			assert.False(t, c.Fault.IsSyscall())
			requireWorks(t, cpu, c)
		})
	}
}

// atNull stands for RIP 0, which as an offset would mean the snippet's start.
const atNull = ^uint64(0)

func TestStackOverflowHitsTheGuardPage(t *testing.T) {
	cpu := newCPU(t)
	g := newCode(t, cpu, listing(`
		50     push rax    ; again:
		EB FD  jmp again`))
	c := newThread(t, cpu)
	var s engine.Saved
	g.push(t, c, &s)
	require.Equal(t, engine.ExitFault, cpu.Run(c))
	assert.True(t, c.Fault.IsPageFault())
	assert.True(t, c.Fault.IsWrite())
	assert.EqualValues(t, c.StackLimit-8, c.Fault.Addr)
	assert.EqualValues(t, c.StackLimit, c.GPR[engine.RSP])
	assert.EqualValues(t, g.base, c.RIP)
	var inner engine.Saved
	require.ErrorIs(t, c.PushCall(&inner, g.trampoline, g.base, 0), engine.ErrStack)
	requireWorks(t, cpu, c)
}

func TestJumpIntoGoTextIsAFaultLikeAnyOther(t *testing.T) {
	cpu := newCPU(t)
	g := newCode(t, cpu, listing(`FF E1  jmp rcx`))
	c := newThread(t, cpu)
	var s engine.Saved
	at := undefinedInGoText(t)
	g.push(t, c, &s, uint64(at))
	require.Equal(t, engine.ExitFault, cpu.Run(c))
	assert.EqualValues(t, engine.VectorInvalidOpcode, c.Fault.Vector)
	assert.EqualValues(t, at, c.RIP)
	requireWorks(t, cpu, c)
}

func TestRawSystemCallsAreCaught(t *testing.T) {
	cpu := newCPU(t)
	const getpid, number = 39, 5
	for _, tt := range []struct {
		name, code string
		exact      bool // RIP is known
	}{
		{"syscall", `
			B8 27 00 00 00  mov eax, 39
			0F 05           syscall
			C3              ret`, true},
		{"int 80h", `
			B8 27 00 00 00  mov eax, 39
			CD 80           int 0x80
			C3              ret`, true},
		{"sysenter", `
			B8 27 00 00 00  mov eax, 39
			0F 34           sysenter
			C3              ret`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newCode(t, cpu, listing(tt.code))
			c := newThread(t, cpu)
			var s engine.Saved
			g.push(t, c, &s)
			exit := cpu.Run(c)
			if err := SyscallsCaught(); err != nil {
				t.Skip("this machine does not catch raw system calls:", err)
			}
			require.Equal(t, engine.ExitFault, exit)
			if !tt.exact {
				requireWorks(t, cpu, c)
				return
			}
			if c.Fault.Vector == engine.VectorGeneral && tt.name == "int 80h" {
				t.Skip("this Linux has no 32-bit system calls: int 80h is a fault of its own")
			}
			assert.True(t, c.Fault.IsSyscall())
			assert.EqualValues(t, engine.VectorSyscall, c.Fault.Vector)
			assert.False(t, c.Fault.IsPageFault())
			assert.Zero(t, c.Fault.Code)
			assert.EqualValues(t, g.base+number+2, c.RIP)
			assert.EqualValues(t, getpid, c.GPR[engine.RAX])
			c.GPR[engine.RAX] = 0xC0000002
			require.Equal(t, engine.ExitReturn, cpu.Run(c), "it goes on behind the instruction")
			assert.EqualValues(t, 0xC0000002, c.GPR[engine.RAX])
			requireWorks(t, cpu, c)
		})
	}
}

func TestReturnFromImportToABadPlace(t *testing.T) {
	cpu := newCPU(t)
	for _, tt := range []struct {
		name      string
		rsp       uint64
		vectors   []uint32
		addr      uint64
		rip       uint64
		returnsTo uint64 // written at RSP, when that is on the stack
	}{
		{name: "RSP 0", vectors: []uint32{engine.VectorPageFault}},
		{name: "RSP unmapped", rsp: nowhere, addr: nowhere,
			vectors: []uint32{engine.VectorPageFault}},
		{name: "RSP non-canonical", rsp: nonCanonical, vectors: []uint32{engine.VectorStack}},
		{name: "return address unmapped", vectors: []uint32{engine.VectorPageFault},
			returnsTo: nowhere, rip: nowhere, addr: nowhere},
		{name: "return address non-canonical", vectors: []uint32{engine.VectorGeneral},
			returnsTo: nonCanonical, rip: nonCanonical},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newCode(t, cpu, new(assembler).
				list(`48 89 CC  mov rsp, rcx`).bytes(0xE9).relative(thunkAt).code) // jmp thunk
			c := newThread(t, cpu)
			rsp := tt.rsp
			if tt.returnsTo != 0 {
				rsp = uint64(c.StackBase) - 0x1000
				storeWord(rsp, tt.returnsTo)
			}
			var s engine.Saved
			g.push(t, c, &s, rsp)
			require.Equal(t, engine.ExitCall, cpu.Run(c))
			_, ok := c.ReturnAddress()
			assert.Equal(t, tt.returnsTo != 0, ok)
			_, ok = c.Arg(4)
			assert.Equal(t, tt.returnsTo != 0, ok)
			require.Equal(t, engine.ExitFault, cpu.Run(c))
			assert.Contains(t, tt.vectors, c.Fault.Vector)
			assert.Equal(t, tt.addr, c.Fault.Addr)
			assert.Equal(t, tt.rip, c.RIP)
			requireWorks(t, cpu, c)
		})
	}
}

func TestCallOfABadFunction(t *testing.T) {
	cpu := newCPU(t)
	g := newCode(t, cpu, nil)
	for name, fn := range map[string]uint64{"null": 0, "unmapped": nowhere,
		"non-canonical": nonCanonical} {
		t.Run(name, func(t *testing.T) {
			c := newThread(t, cpu)
			var s engine.Saved
			require.NoError(t, c.PushCall(&s, g.trampoline, addr(fn), 0, 1))
			require.Equal(t, engine.ExitFault, cpu.Run(c))
			assert.Equal(t, fn, c.RIP)
			assert.EqualValues(t, 1, c.GPR[engine.RCX])
			requireWorks(t, cpu, c)
		})
	}
}

func TestBadStateToResumeIsAFault(t *testing.T) {
	cpu := newCPU(t)
	g := newCode(t, cpu, listing(`0F 0B  ud2`))
	for _, tt := range []struct {
		name     string
		rip, rsp uint64
		vector   uint32
	}{
		{"RIP 0", 0, nowhere, engine.VectorPageFault},
		{"RIP non-canonical", nonCanonical, nowhere, engine.VectorGeneral},
		{"RSP non-canonical", 0, nonCanonical, engine.VectorPageFault},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newThread(t, cpu)
			var s engine.Saved
			g.push(t, c, &s)
			require.Equal(t, engine.ExitFault, cpu.Run(c))
			c.RIP, c.GPR[engine.RSP], c.RFLAGS = tt.rip, tt.rsp, ^uint64(0)&^0x100
			require.Equal(t, engine.ExitFault, cpu.Run(c))
			assert.Equal(t, tt.vector, c.Fault.Vector)
			assert.Equal(t, tt.rip, c.RIP)
			assert.Equal(t, tt.rsp, c.GPR[engine.RSP])
			requireWorks(t, cpu, c)
		})
	}
}

func TestSteppingThroughAGuest(t *testing.T) {
	cpu := newCPU(t)
	g := newCode(t, cpu, new(assembler).
		list(`
		68 02 03 00 00  push 0x302
		9D              popfq
		90              nop`).
		callThunk(0x28).
		list(`
		90              nop
		C3              ret`).code)
	c := newThread(t, cpu)
	var s engine.Saved
	g.push(t, c, &s)
	var at []uint64
	exit := cpu.Run(c)
	for ; exit == engine.ExitFault; exit = cpu.Run(c) {
		require.EqualValues(t, engine.VectorDebug, c.Fault.Vector)
		require.NotZero(t, c.RFLAGS&0x100)
		at = append(at, c.RIP-uint64(g.base))
	}
	assert.Equal(t, []uint64{7, 12, thunkAt, thunkAt + 5}, at, "every instruction of the guest's")
	require.Equal(t, engine.ExitCall, exit)
	assert.Zero(t, c.RFLAGS&0x100, "the way out is not stepped through, and ends the stepping")
	require.Equal(t, engine.ExitReturn, cpu.Run(c))
	requireWorks(t, cpu, c)
}

func TestFaultIsResumedOnceItsCauseIsGone(t *testing.T) {
	cpu := newCPU(t)
	page := mapMemory(t, 0x1000, unix.PROT_READ|unix.PROT_WRITE)
	page[0] = 1
	require.NoError(t, unix.Mprotect(page, unix.PROT_READ))
	g := newCode(t, cpu, listing(`
		48 C7 01 2A 00 00 00  mov qword [rcx], 42
		48 8B 01              mov rax, [rcx]
		C3                    ret`))
	c := newThread(t, cpu)
	var s engine.Saved
	g.push(t, c, &s, uint64(addrOf(page)))
	require.Equal(t, engine.ExitFault, cpu.Run(c))
	assert.True(t, c.Fault.IsWrite())
	assert.EqualValues(t, 7, c.Fault.Code, "the page is there, and read-only")
	assert.EqualValues(t, addrOf(page), c.Fault.Addr)
	require.NoError(t, unix.Mprotect(page, unix.PROT_READ|unix.PROT_WRITE))
	require.Equal(t, engine.ExitReturn, cpu.Run(c))
	assert.EqualValues(t, 42, c.GPR[engine.RAX])
}

func TestMappingWithNothingBehindItIsABusError(t *testing.T) {
	cpu := newCPU(t)
	fd, err := unix.MemfdCreate("short", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	mem, err := unix.Mmap(fd, 0, 0x1000, unix.PROT_READ, unix.MAP_SHARED)
	require.NoError(t, err)
	defer unix.Munmap(mem)
	g := newCode(t, cpu, listing(`8B 01  mov eax, [rcx]`))
	c := newThread(t, cpu)
	var s engine.Saved
	g.push(t, c, &s, uint64(addrOf(mem)))
	require.Equal(t, engine.ExitFault, cpu.Run(c))
	assert.EqualValues(t, engine.SignalBus, c.Fault.Signal)
	assert.EqualValues(t, addrOf(mem), c.Fault.Addr)
	requireWorks(t, cpu, c)
}

func TestContextIsReusedAfterManyFaults(t *testing.T) {
	cpu := newCPU(t)
	bad := newCode(t, cpu, listing(`0F 0B  ud2`))
	c := newThread(t, cpu)
	for range 1000 {
		var s engine.Saved
		bad.push(t, c, &s)
		require.Equal(t, engine.ExitFault, cpu.Run(c))
		c.PopCall(&s)
		require.EqualValues(t, c.StackBase, c.GPR[engine.RSP])
	}
	requireWorks(t, cpu, c)
}
