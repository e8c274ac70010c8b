// Tests: each instruction's effect, where there can be one against the processor itself.

package insn

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
)

type gprs map[engine.Register]uint64

// TestPrivileged is the table of privileged instructions: bytes, registers before, and the effect.
func TestPrivileged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		code   string
		before gprs
		after  gprs // what differs
		fault  bool // it stays one
		// The fault that brings it here, and that it then becomes, if not general protection.
		vector, becomes uint32
		check           func(t *testing.T, m *testMachine)
	}{
		{name: "mov rax, cr8", code: "44 0F 20 C0", after: gprs{engine.RAX: 2}},
		{name: "mov r9, cr8", code: "45 0F 20 C1", after: gprs{engine.R9: 2}},
		{name: "mov rcx, cr0", code: "0F 20 C1", after: gprs{engine.RCX: 0x80050033}},
		{name: "mov rax, cr1 is no register", code: "0F 20 C8", fault: true},
		{name: "mov cr8, rcx", code: "44 0F 22 C1", before: gprs{engine.RCX: 1},
			check: func(t *testing.T, m *testMachine) { require.EqualValues(t, 1, m.special[CR8]) }},
		{name: "mov cr8, r15", code: "45 0F 22 C7", before: gprs{engine.R15: 13},
			check: func(t *testing.T, m *testMachine) { require.EqualValues(t, 13, m.special[CR8]) }},
		{name: "mov cr3, rax is refused", code: "0F 22 D8", fault: true},
		{name: "mov rbx, dr7", code: "0F 21 FB", after: gprs{engine.RBX: 0x400}},
		{name: "mov dr7, rdi", code: "0F 23 FF", before: gprs{engine.RDI: 0x500},
			check: func(t *testing.T, m *testMachine) { require.EqualValues(t, 0x500, m.special[DR7]) }},

		{name: "rdmsr of a known one", code: "0F 32",
			before: gprs{engine.RCX: 0xFFFFFFFF_C0000080, engine.RAX: ^uint64(0), engine.RDX: ^uint64(0)},
			after:  gprs{engine.RAX: 0xD01, engine.RDX: 0}},
		{name: "rdmsr of an unknown one", code: "0F 32", before: gprs{engine.RCX: 0x12345678}, fault: true},
		{name: "wrmsr", code: "0F 30",
			before: gprs{engine.RCX: 0xC0000080, engine.RAX: 0xFFFFFFFF_00000001, engine.RDX: 2},
			check: func(t *testing.T, m *testMachine) {
				require.EqualValues(t, 0x2_00000001, m.msr[0xC0000080])
			}},
		{name: "wrmsr of an unknown one", code: "0F 30", fault: true},

		{name: "cli", code: "FA"},
		{name: "sti", code: "FB"},
		{name: "clts", code: "0F 06"},
		{name: "wbinvd", code: "0F 09"},
		{name: "invd", code: "0F 08"},
		{name: "invlpg [rdi]", code: "0F 01 3F"},
		{name: "hlt", code: "F4",
			check: func(t *testing.T, m *testMachine) { require.Equal(t, 1, m.halts) }},

		{name: "in al, 60h", code: "E4 60", before: gprs{engine.RAX: 0xAABB}, after: gprs{engine.RAX: 0xAA34}},
		{name: "in al, 80h has no sign", code: "E4 80", after: gprs{engine.RAX: 0x34}},
		{name: "in ax, dx", code: "66 ED", before: gprs{engine.RAX: 0xAABBCCDD, engine.RDX: 0x3F8},
			after: gprs{engine.RAX: 0xAABB1234}},
		{name: "in eax, dx", code: "ED", before: gprs{engine.RAX: ^uint64(0), engine.RDX: 0x10CF8},
			after: gprs{engine.RAX: 0x0CF81234}},
		{name: "out 61h, al", code: "E6 61", before: gprs{engine.RAX: 0x1FF},
			check: func(t *testing.T, m *testMachine) {
				require.Equal(t, []portWrite{{0x61, 1, 0xFF}}, m.ports)
			}},
		{name: "out dx, eax", code: "EF", before: gprs{engine.RAX: 0x1_80000000, engine.RDX: 0xCF8},
			check: func(t *testing.T, m *testMachine) {
				require.Equal(t, []portWrite{{0xCF8, 4, 0x80000000}}, m.ports)
			}},

		{name: "wbnoinvd", code: "F3 0F 09"},
		{name: "invpcid rcx, [rax]", code: "66 0F 38 82 08"},
		{name: "clac", code: "0F 01 CA", vector: engine.VectorInvalidOpcode},
		{name: "stac", code: "0F 01 CB", vector: engine.VectorInvalidOpcode},
		{name: "monitor", code: "0F 01 C8", vector: engine.VectorInvalidOpcode},
		{name: "mwait", code: "0F 01 C9", vector: engine.VectorInvalidOpcode,
			check: func(t *testing.T, m *testMachine) { require.Equal(t, 1, m.halts) }},
		{name: "cli clears the flag", code: "FA",
			check: func(t *testing.T, m *testMachine) { require.True(t, m.masked) }},
		{name: "lock cli is none", code: "F0 FA", vector: engine.VectorInvalidOpcode, fault: true},
		{name: "cpuid is none that is undefined", code: "0F A2", vector: engine.VectorInvalidOpcode,
			fault: true},

		{name: "rdpmc of one that is there", code: "0F 33", before: gprs{engine.RCX: 1},
			after: gprs{engine.RAX: 7, engine.RDX: 5}},
		{name: "rdpmc of one that is not", code: "0F 33", before: gprs{engine.RCX: 9}, fault: true},
		{name: "lldt of the present one", code: "0F 00 D0", before: gprs{engine.RAX: 0xABC_0040}},
		{name: "lldt of another", code: "0F 00 D0", before: gprs{engine.RAX: 0x48}, fault: true},
		{name: "ltr of the present one", code: "0F 00 D9", before: gprs{engine.RCX: 0x60}},
		{name: "ltr of another", code: "0F 00 D9", fault: true},
		{name: "lmsw cannot clear PE", code: "0F 01 F0", before: gprs{engine.RAX: 0x2},
			check: func(t *testing.T, m *testMachine) {
				require.EqualValues(t, 0x80050033&^0xF|3, m.special[CR0])
			}},
		{name: "lmsw can set TS", code: "0F 01 F0", before: gprs{engine.RAX: 0xB},
			check: func(t *testing.T, m *testMachine) {
				require.EqualValues(t, 0x8005003B, m.special[CR0])
			}},
		{name: "lgdt from nowhere", code: "0F 01 17", fault: true, becomes: engine.VectorPageFault},
		{name: "lidt from nowhere", code: "0F 01 1F", fault: true, becomes: engine.VectorPageFault},
		{name: "xsetbv of another value", code: "0F 01 D1", fault: true},
		{name: "xsetbv of another register", code: "0F 01 D1", before: gprs{engine.RCX: 1},
			fault: true},
		{name: "swapgs is refused", code: "0F 01 F8", fault: true},
		{name: "sysret is refused", code: "48 0F 07", fault: true},
		{name: "sysexit is refused", code: "0F 35", fault: true},
		{name: "iretq is refused", code: "48 CF", fault: true},

		{name: "sldt eax", code: "0F 00 C0", before: gprs{engine.RAX: ^uint64(0)},
			after: gprs{engine.RAX: 0x40}},
		{name: "str cx", code: "66 0F 00 C9", before: gprs{engine.RCX: ^uint64(0)},
			after: gprs{engine.RCX: 0xFFFFFFFF_FFFF0060}},
		{name: "smsw rdx", code: "48 0F 01 E2", after: gprs{engine.RDX: 0x80050033}},
		{name: "smsw bx", code: "66 0F 01 E3", after: gprs{engine.RBX: 0x33}},
		{name: "cpuid", code: "0F A2", before: gprs{engine.RAX: 0x1_00000007, engine.RCX: 5},
			after: gprs{engine.RAX: 8, engine.RBX: 7, engine.RCX: 3, engine.RDX: 4}},
		{name: "rdpid rax", code: "F3 0F C7 F8", after: gprs{engine.RAX: 6}},
		{name: "rdpid r9", code: "F3 41 0F C7 F9", after: gprs{engine.R9: 6}},
		{name: "rdfsbase eax", code: "F3 0F AE C0", after: gprs{engine.RAX: 0x12345678}},
		{name: "rdgsbase r8", code: "F3 49 0F AE C8", after: gprs{engine.R8: 0xFFFFF802_00001000}},
		{name: "wrfsbase rcx", code: "F3 48 0F AE D1", before: gprs{engine.RCX: 0x1000},
			check: func(t *testing.T, m *testMachine) {
				require.EqualValues(t, 0x1000, m.msr[msrFSBase])
			}},
		{name: "vmcall is undefined", code: "0F 01 C1", fault: true,
			becomes: engine.VectorInvalidOpcode},
		{name: "vmmcall is undefined", code: "0F 01 D9", fault: true,
			becomes: engine.VectorInvalidOpcode},
		{name: "vmfunc is undefined", code: "0F 01 D4", fault: true,
			becomes: engine.VectorInvalidOpcode},
		{name: "pushfq without a stack", code: "9C", fault: true, becomes: engine.VectorPageFault},
		{name: "popfq without a stack", code: "9D", fault: true, becomes: engine.VectorPageFault},
		{name: "a load from nowhere", code: "48 8B 01", before: gprs{engine.RCX: 1 << 63}, fault: true},
		{name: "no instruction", code: "0F FF FF", fault: true},
		{name: "nothing but prefixes", code: "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66", fault: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.put(tt.code)
			r.c.GPR = [16]uint64{}
			for n, v := range tt.before {
				r.c.GPR[n] = v
			}
			want := r.get()
			for n, v := range tt.after {
				want.gpr[n] = v
			}
			rip := r.c.RIP
			if !tt.fault {
				rip += uint64(len(unhex(t, tt.code)))
			}
			f := generalProtection()
			if tt.vector != 0 {
				f.Vector = tt.vector
			}
			if tt.becomes == 0 {
				tt.becomes = f.Vector
			}
			require.Equal(t, !tt.fault, Emulate(r.c, f, r.m))
			require.Equal(t, tt.becomes, f.Vector)
			require.Equal(t, rip, r.c.RIP)
			require.Equal(t, want, r.get())
			require.Equal(t, engine.ResumeFull, r.c.Resume)
			if tt.check != nil {
				tt.check(t, r.m)
			}
		})
	}
}

// The loads: RCX is the base, RDX an index. What is undefined on the processor is not compared.
var loadTable = []struct {
	name      string
	code      string
	undefined uint64
}{
	{name: "mov rax, [rcx]", code: "48 8B 01"},
	{name: "mov eax, [rcx]", code: "8B 01"},
	{name: "mov ax, [rcx]", code: "66 8B 01"},
	{name: "mov al, [rcx]", code: "8A 01"},
	{name: "mov ah, [rcx]", code: "8A 21"},
	{name: "mov dh, [rcx]", code: "8A 31"},
	{name: "mov sil, [rcx]", code: "40 8A 31"},
	{name: "mov r11b, [rcx]", code: "44 8A 19"},
	{name: "mov r12, [rcx+14h]", code: "4C 8B 61 14"},
	{name: "mov rax, [rcx-8]", code: "48 8B 41 F8"},
	{name: "mov rax, [rcx-80h], 32-bit displacement", code: "48 8B 81 80 FF FF FF"},
	{name: "mov rax, [rcx+200h]", code: "48 8B 81 00 02 00 00"},
	{name: "mov rax, [rcx+rdx*8+10h]", code: "48 8B 44 D1 10"},
	{name: "mov rax, [rcx+rdx*4-100h]", code: "48 8B 84 91 00 FF FF FF"},
	{name: "mov rcx, [rcx]", code: "48 8B 09"},
	{name: "mov rax, ds:[rcx]", code: "3E 48 8B 01"},
	{name: "mov rax, [rcx] with a useless rep", code: "F3 48 8B 01"},
	{name: "movzx eax, byte [rcx]", code: "0F B6 01"},
	{name: "movzx rax, byte [rcx]", code: "48 0F B6 01"},
	{name: "movzx ax, byte [rcx]", code: "66 0F B6 01"},
	{name: "movzx eax, word [rcx]", code: "0F B7 01"},
	{name: "movsx eax, byte [rcx]", code: "0F BE 01"},
	{name: "movsx ax, byte [rcx]", code: "66 0F BE 01"},
	{name: "movsx rax, byte [rcx]", code: "48 0F BE 01"},
	{name: "movsx rax, word [rcx]", code: "48 0F BF 01"},
	{name: "movsxd rax, dword [rcx]", code: "48 63 01"},
	{name: "movsxd eax, dword [rcx]", code: "63 01"},
	{name: "movbe eax, [rcx]", code: "0F 38 F0 01"},
	{name: "movbe rax, [rcx]", code: "48 0F 38 F0 01"},
	{name: "movbe ax, [rcx]", code: "66 0F 38 F0 01"},

	{name: "add rax, [rcx]", code: "48 03 01"},
	{name: "add eax, [rcx]", code: "03 01"},
	{name: "add ax, [rcx]", code: "66 03 01"},
	{name: "add al, [rcx]", code: "02 01"},
	{name: "add bh, [rcx]", code: "02 39"},
	{name: "adc rax, [rcx]", code: "48 13 01"},
	{name: "adc eax, [rcx]", code: "13 01"},
	{name: "adc al, [rcx]", code: "12 01"},
	{name: "sub rax, [rcx]", code: "48 2B 01"},
	{name: "sub r8d, [rcx]", code: "44 2B 01"},
	{name: "sub ax, [rcx]", code: "66 2B 01"},
	{name: "sub al, [rcx]", code: "2A 01"},
	{name: "sbb rax, [rcx]", code: "48 1B 01"},
	{name: "sbb al, [rcx]", code: "1A 01"},
	{name: "and rax, [rcx]", code: "48 23 01", undefined: flagAdjust},
	{name: "and al, [rcx]", code: "22 01", undefined: flagAdjust},
	{name: "or eax, [rcx]", code: "0B 01", undefined: flagAdjust},
	{name: "xor rax, [rcx]", code: "48 33 01", undefined: flagAdjust},
	{name: "cmp rax, [rcx]", code: "48 3B 01"},
	{name: "cmp al, [rcx]", code: "3A 01"},
	{name: "cmp [rcx], rax", code: "48 39 01"},
	{name: "cmp [rcx], al", code: "38 01"},
	{name: "cmp byte [rcx], 5", code: "80 39 05"},
	{name: "cmp byte [rcx], 0C8h", code: "80 39 C8"},
	{name: "cmp word [rcx], -1", code: "66 83 39 FF"},
	{name: "cmp word [rcx], 8765h", code: "66 81 39 65 87"},
	{name: "cmp dword [rcx], -1", code: "83 39 FF"},
	{name: "cmp qword [rcx], -80000000h", code: "48 81 39 00 00 00 80"},
	{name: "test [rcx], al", code: "84 01", undefined: flagAdjust},
	{name: "test [rcx], rax", code: "48 85 01", undefined: flagAdjust},
	{name: "test byte [rcx], 85h", code: "F6 01 85", undefined: flagAdjust},
	{name: "test dword [rcx], 80000001h", code: "F7 01 01 00 00 80", undefined: flagAdjust},
	{name: "test qword [rcx], -1", code: "48 F7 01 FF FF FF FF", undefined: flagAdjust},

	{name: "imul eax, [rcx]", code: "0F AF 01", undefined: flagsAfterMultiply},
	{name: "imul rax, [rcx]", code: "48 0F AF 01", undefined: flagsAfterMultiply},
	{name: "imul ax, [rcx]", code: "66 0F AF 01", undefined: flagsAfterMultiply},
	{name: "imul rax, [rcx], 10h", code: "48 6B 01 10", undefined: flagsAfterMultiply},
	{name: "imul eax, [rcx], -10h", code: "6B 01 F0", undefined: flagsAfterMultiply},
	{name: "imul ax, [rcx], -3039h", code: "66 69 01 C7 CF", undefined: flagsAfterMultiply},
	{name: "imul rax, [rcx], -80000000h", code: "48 69 01 00 00 00 80", undefined: flagsAfterMultiply},
	{name: "imul byte [rcx]", code: "F6 29", undefined: flagsAfterMultiply},
	{name: "imul dword [rcx]", code: "F7 29", undefined: flagsAfterMultiply},
	{name: "imul qword [rcx]", code: "48 F7 29", undefined: flagsAfterMultiply},
	{name: "mul byte [rcx]", code: "F6 21", undefined: flagsAfterMultiply},
	{name: "mul word [rcx]", code: "66 F7 21", undefined: flagsAfterMultiply},
	{name: "mul dword [rcx]", code: "F7 21", undefined: flagsAfterMultiply},
	{name: "mul qword [rcx]", code: "48 F7 21", undefined: flagsAfterMultiply},
	{name: "div byte [rcx]", code: "F6 31", undefined: flagsStatus},
	{name: "div word [rcx]", code: "66 F7 31", undefined: flagsStatus},
	{name: "div dword [rcx]", code: "F7 31", undefined: flagsStatus},
	{name: "div qword [rcx]", code: "48 F7 31", undefined: flagsStatus},
	{name: "idiv byte [rcx]", code: "F6 39", undefined: flagsStatus},
	{name: "idiv word [rcx]", code: "66 F7 39", undefined: flagsStatus},
	{name: "idiv dword [rcx]", code: "F7 39", undefined: flagsStatus},
	{name: "idiv qword [rcx]", code: "48 F7 39", undefined: flagsStatus},

	{name: "bt dword [rcx], 3", code: "0F BA 21 03", undefined: flagsStatus &^ (flagCarry | flagZero)},
	{name: "bt qword [rcx], 3Fh", code: "48 0F BA 21 3F", undefined: flagsStatus &^ (flagCarry | flagZero)},
	{name: "bt [rcx], edx", code: "0F A3 11", undefined: flagsStatus &^ (flagCarry | flagZero)},
	{name: "bt [rcx], dx", code: "66 0F A3 11", undefined: flagsStatus &^ (flagCarry | flagZero)},
	{name: "bt [rcx], rdx", code: "48 0F A3 11", undefined: flagsStatus &^ (flagCarry | flagZero)},
	{name: "bsf eax, [rcx]", code: "0F BC 01", undefined: flagsStatus &^ flagZero},
	{name: "bsr rax, [rcx]", code: "48 0F BD 01", undefined: flagsStatus &^ flagZero},
	{name: "tzcnt eax, [rcx]", code: "F3 0F BC 01", undefined: flagsStatus &^ (flagZero | flagCarry)},
	{name: "tzcnt ax, [rcx]", code: "66 F3 0F BC 01", undefined: flagsStatus &^ (flagZero | flagCarry)},
	{name: "lzcnt rax, [rcx]", code: "F3 48 0F BD 01", undefined: flagsStatus &^ (flagZero | flagCarry)},
	{name: "popcnt eax, [rcx]", code: "F3 0F B8 01"},

	{name: "movaps xmm0, [rcx]", code: "0F 28 01"},
	{name: "movapd xmm9, [rcx]", code: "66 44 0F 28 09"},
	{name: "movups xmm3, [rcx+1]", code: "0F 10 59 01"},
	{name: "movupd xmm3, [rcx+1]", code: "66 0F 10 59 01"},
	{name: "movdqa xmm15, [rcx]", code: "66 44 0F 6F 39"},
	{name: "movdqu xmm7, [rcx+3]", code: "F3 0F 6F 79 03"},
	{name: "lddqu xmm0, [rcx+3]", code: "F2 0F F0 41 03"},
	{name: "movntdqa xmm1, [rcx]", code: "66 0F 38 2A 09"},
	{name: "movd xmm0, [rcx]", code: "66 0F 6E 01"},
	{name: "movq xmm0, [rcx]", code: "F3 0F 7E 01"},
	{name: "movq xmm0, [rcx], the other form", code: "66 48 0F 6E 01"},
	{name: "movss xmm0, [rcx]", code: "F3 0F 10 01"},
	{name: "movsd xmm0, [rcx]", code: "F2 0F 10 01"},
	{name: "movlps xmm0, [rcx]", code: "0F 12 01"},
	{name: "movlpd xmm8, [rcx]", code: "66 44 0F 12 01"},
	{name: "movhps xmm0, [rcx]", code: "0F 16 01"},
	{name: "movhpd xmm0, [rcx]", code: "66 0F 16 01"},

	{name: "push qword [rcx]", code: "FF 31"},
	{name: "push word [rcx]", code: "66 FF 31"},
}

const flagsAfterMultiply = flagSign | flagZero | flagAdjust | flagParity

func init() {
	names := "o no b ae e ne be a s ns p np l ge le g"
	for cc, name := range bytes.Fields([]byte(names)) {
		for prefix, reg := range map[string]string{"": "eax", "48": "rax"} {
			loadTable = append(loadTable, struct {
				name      string
				code      string
				undefined uint64
			}{name: "cmov" + string(name) + " " + reg + ", [rcx]",
				code: prefix + "0F4" + string("0123456789ABCDEF"[cc]) + "01"})
		}
	}
}

// TestLoadsAsOnTheProcessor does each load natively, from memory, and emulated, from a served copy
// of that memory, with many values in registers and flags: the results must be the same.
func TestLoadsAsOnTheProcessor(t *testing.T) {
	r := newRig(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	values := []uint64{0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000,
		0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF}
	pick := func() uint64 {
		if rnd.IntN(2) == 0 {
			return values[rnd.IntN(len(values))]
		}
		return rnd.Uint64() >> rnd.IntN(64)
	}
	const at = 0x400
	for _, tt := range loadTable {
		t.Run(tt.name, func(t *testing.T) {
			code := unhex(t, tt.code)
			for range 100 {
				for i := range 0x20 {
					lo := pick()
					for j := range 8 {
						r.m.memory[at+8*i+j] = byte(lo >> (8 * j))
					}
				}
				require.NoError(t, guest.Write(r.data.Base(), r.m.memory[:]))
				var in registers
				for i := range in.gpr {
					in.gpr[i] = pick()
					in.xmm[i] = engine.XMM{pick(), pick()}
				}
				in.gpr[engine.RDX] = uint64(int64(int16(rnd.Uint64())) >> 9)
				in.gpr[engine.RSP] = uint64(r.c.StackBase) - 0x100
				in.flags = rnd.Uint64() & flagsStatus

				in.gpr[engine.RCX] = uint64(r.data.Base()) + at
				r.set(in)
				r.putBytes(append(code, 0xCC))
				require.Equal(t, engine.ExitFault, r.cpu.Run(r.c))
				want, fault, pushed := r.get(), r.c.Fault, r.c.GPR[engine.RSP]
				wantTop, err := guest.Load64(guest.Addr(pushed))
				require.NoError(t, err)

				in.gpr[engine.RCX] = served + at
				r.set(in)
				r.putBytes(code)
				f := pageFault(served + at)
				ok := Emulate(r.c, f, r.m)
				got := r.get()
				if fault.Vector == engine.VectorDivide {
					require.False(t, ok)
					require.EqualValues(t, engine.VectorDivide, f.Vector)
					continue
				}
				require.EqualValues(t, engine.VectorBreakpoint, fault.Vector)
				require.True(t, ok)
				if got.gpr[engine.RCX] == served+at {
					got.gpr[engine.RCX] = uint64(r.data.Base()) + at
				}
				want.flags |= tt.undefined
				got.flags |= tt.undefined
				require.Equal(t, want, got, "from %+v", in)
				gotTop, err := guest.Load64(guest.Addr(pushed))
				require.NoError(t, err)
				require.Equal(t, wantTop, gotTop)
				require.Equal(t, uint64(r.code.Base())+uint64(len(code)), r.c.RIP)
			}
		})
	}
}

// TestAddresses has the ways to say where, which cannot be tried on both kinds of memory.
func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		name string
		code string
		at   uint64 // from served; ^0 when it stays a fault
		prep func(r *rig)
	}{
		{name: "an absolute 64-bit address", code: "48 A1 14 00 00 00 80 F7 FF FF", at: 0x14},
		{name: "a 64-bit base", code: "48 8B 01", at: 0x20,
			prep: func(r *rig) { r.c.GPR[engine.RCX] = served + 0x20 }},
		{name: "base r13 without displacement", code: "49 8B 45 00", at: 0x30,
			prep: func(r *rig) { r.c.GPR[engine.R13] = served + 0x30 }},
		{name: "base r12 with a SIB byte", code: "49 8B 04 24", at: 0x30,
			prep: func(r *rig) { r.c.GPR[engine.R12] = served + 0x30 }},
		{name: "index only", code: "48 8B 04 CD 08 00 00 00", at: 0x10, // rcx*8
			prep: func(r *rig) { r.c.GPR[engine.RCX] = (served + 8) / 8 }},
		{name: "gs base", code: "65 48 8B 04 25 88 01 00 00", at: 0x188,
			prep: func(r *rig) { r.c.GSBase = served }},
		{name: "fs is Go's", code: "64 48 8B 01", at: ^uint64(0),
			prep: func(r *rig) { r.c.GPR[engine.RCX] = served }},
		{name: "a 32-bit address is never one", code: "67 48 8B 01", at: ^uint64(0),
			prep: func(r *rig) { r.c.GPR[engine.RCX] = served }},
		{name: "the last 8 bytes", code: "48 8B 01", at: servedSize - 8,
			prep: func(r *rig) { r.c.GPR[engine.RCX] = served + servedSize - 8 }},
		{name: "across the end", code: "48 8B 01", at: ^uint64(0),
			prep: func(r *rig) { r.c.GPR[engine.RCX] = served + servedSize - 7 }},
		{name: "across the beginning", code: "48 8B 01", at: ^uint64(0),
			prep: func(r *rig) { r.c.GPR[engine.RCX] = served - 4 }},
		{name: "behind the end", code: "48 8B 01", at: ^uint64(0),
			prep: func(r *rig) { r.c.GPR[engine.RCX] = served + servedSize }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, f := range map[string]*engine.Fault{
				"page fault":                    pageFault(served),
				"page fault without an address": pageFault(0),
				"general protection":            generalProtection(),
			} {
				t.Run(name, func(t *testing.T) {
					r := newRig(t)
					r.put(tt.code)
					if tt.prep != nil {
						tt.prep(r)
					}
					ok := Emulate(r.c, f, r.m)
					if tt.at == ^uint64(0) {
						require.False(t, ok)
						return
					}
					require.True(t, ok)
					want, _, _ := r.m.Load(served+tt.at, 8)
					require.Equal(t, want, r.c.GPR[engine.RAX])
				})
			}
		})
	}
}

// TestRIPRelative needs served memory near the code.
func TestRIPRelative(t *testing.T) {
	r := newRig(t)
	near := nearMachine{r.m, uint64(r.code.Base()) + 0x1000}
	r.put("48 8B 05 00 10 00 00") // mov rax, [rip+1000h]
	require.True(t, Emulate(r.c, generalProtection(), near))
	want, _, _ := r.m.Load(served+7, 8)
	require.Equal(t, want, r.c.GPR[engine.RAX])
}

type nearMachine struct {
	*testMachine
	at uint64
}

func (m nearMachine) Serves(a uint64) bool { return m.testMachine.Serves(a - m.at + served) }
func (m nearMachine) Load(a uint64, width int) (uint64, uint64, bool) {
	return m.testMachine.Load(a-m.at+served, width)
}

// TestNotHandled has what stays a fault, with every register as it was.
func TestNotHandled(t *testing.T) {
	write := pageFault(served)
	write.Code |= pageFaultWrite
	execute := pageFault(served)
	execute.Code |= 16
	for _, tt := range []struct {
		name string
		code string
		f    *engine.Fault
	}{
		{name: "a store", code: "48 89 01", f: pageFault(served)},
		{name: "a store, as Linux reports it", code: "48 89 01", f: write},
		{name: "add [rcx], eax", code: "01 01", f: pageFault(served)},
		{name: "inc dword [rcx]", code: "FF 01", f: pageFault(served)},
		{name: "xchg [rcx], eax", code: "87 01", f: pageFault(served)},
		{name: "lock cmpxchg [rcx], edx", code: "F0 0F B1 11", f: pageFault(served)},
		{name: "lock add [rcx], eax", code: "F0 01 01", f: pageFault(served)},
		{name: "movaps [rcx], xmm0", code: "0F 29 01", f: pageFault(served)},
		{name: "movaps xmm0, [rcx+4] is not aligned", code: "0F 28 41 04", f: generalProtection()},
		{name: "movq mm0, [rcx]", code: "0F 6F 01", f: pageFault(served)},
		{name: "mov es, [rcx]", code: "8E 01", f: pageFault(served)},
		{name: "vmovups ymm0, [rcx]", code: "C5 FC 10 01", f: pageFault(served)},
		{name: "call [rcx]", code: "FF 11", f: pageFault(served)},
		{name: "a jump there", code: "48 8B 01", f: execute},
		{name: "a load from elsewhere", code: "48 8B 02", f: pageFault(0x1000)},
		{name: "a load from elsewhere, by the operand", code: "48 8B 02", f: pageFault(0)},
		{name: "an invalid opcode", code: "48 8B 01", f: &engine.Fault{Vector: engine.VectorInvalidOpcode}},
		{name: "a raw system call", code: "48 8B 01", f: &engine.Fault{Signal: engine.SignalSyscall}},
		{name: "a privileged instruction with a page fault", code: "44 0F 20 C0", f: pageFault(served)},
		{name: "movsb to there", code: "A4", f: pageFault(served)},
		{name: "insb to there", code: "6C", f: generalProtection()},
		{name: "rep movsb with 32-bit addresses", code: "F3 67 A4", f: pageFault(served)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.put(tt.code)
			r.c.GPR[engine.RCX], r.c.GPR[engine.RDI] = served, served
			r.c.GPR[engine.RSI] = uint64(r.data.Base())
			before, rip := r.get(), r.c.RIP
			require.False(t, Emulate(r.c, tt.f, r.m))
			require.Equal(t, before, r.get())
			require.Equal(t, rip, r.c.RIP)
		})
	}
	t.Run("no code at RIP", func(t *testing.T) {
		r := newRig(t)
		r.c.RIP = served
		require.False(t, Emulate(r.c, generalProtection(), r.m))
	})
	t.Run("a push without a stack becomes that fault", func(t *testing.T) {
		r := newRig(t)
		r.put("FF 31")
		r.c.GPR[engine.RCX], r.c.GPR[engine.RSP] = served, 0x1008
		f := pageFault(served)
		require.False(t, Emulate(r.c, f, r.m))
		require.True(t, f.IsPageFault() && f.IsWrite())
		require.EqualValues(t, 0x1000, f.Addr)
	})
}

func TestStrings(t *testing.T) {
	const there = 0x100
	for _, tt := range []struct {
		name    string
		code    string
		gpr     gprs
		flags   uint64
		data    uint64 // RDI is at this offset of the data page
		after   gprs   // what differs
		flagsOn uint64
		stays   bool // RIP does
	}{
		{name: "movsq", code: "48 A5", after: gprs{engine.RSI: served + there + 8, engine.RDI: 8}},
		{name: "rep movsb", code: "F3 A4", gpr: gprs{engine.RCX: 5},
			after: gprs{engine.RSI: served + there + 5, engine.RDI: 5, engine.RCX: 0}},
		{name: "rep movsd, downwards", code: "F3 A5", gpr: gprs{engine.RCX: 2}, flags: flagDown, data: 0x20,
			after: gprs{engine.RSI: served + there - 8, engine.RDI: 0x18, engine.RCX: 0}},
		{name: "rep movsq of nothing", code: "F3 48 A5", gpr: gprs{engine.RCX: 0}},
		{name: "rep movsq beyond the page", code: "F3 48 A5",
			gpr:   gprs{engine.RCX: 5, engine.RSI: served + servedSize - 16},
			after: gprs{engine.RCX: 3, engine.RSI: served + servedSize, engine.RDI: 16}, stays: true},
		{name: "lodsd", code: "AD", gpr: gprs{engine.RAX: ^uint64(0)},
			after: gprs{engine.RAX: 0x19120B04, engine.RSI: served + there + 4}},
		{name: "scasb, equal", code: "AE", gpr: gprs{engine.RAX: 4, engine.RDI: served + there},
			after: gprs{engine.RDI: served + there + 1}, flagsOn: flagZero | flagParity},
		{name: "repne scasb", code: "F2 AE",
			gpr:     gprs{engine.RAX: 0x12, engine.RDI: served + there, engine.RCX: 100},
			after:   gprs{engine.RDI: served + there + 3, engine.RCX: 97},
			flagsOn: flagZero | flagParity},
		{name: "repe cmpsb with the same bytes", code: "F3 A6", gpr: gprs{engine.RCX: 4}, data: there,
			after:   gprs{engine.RSI: served + there + 4, engine.RDI: there + 4, engine.RCX: 0},
			flagsOn: flagZero | flagParity},
		{name: "repe cmpsb with others", code: "F3 A6", gpr: gprs{engine.RCX: 4}, data: there + 1,
			after:   gprs{engine.RSI: served + there + 1, engine.RDI: there + 2, engine.RCX: 3},
			flagsOn: flagCarry | flagSign | flagAdjust | flagParity},
		{name: "insw", code: "66 6D", gpr: gprs{engine.RDX: 0x60}, after: gprs{engine.RDI: 2}},
		{name: "rep insb", code: "F3 6C", gpr: gprs{engine.RDX: 0x60, engine.RCX: 3},
			after: gprs{engine.RDI: 3, engine.RCX: 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.put(tt.code)
			base := uint64(r.data.Base())
			in := registers{flags: tt.flags}
			in.gpr[engine.RSI], in.gpr[engine.RDI] = served+there, base+tt.data
			for n, v := range tt.gpr {
				in.gpr[n] = v
			}
			want := in
			want.flags |= tt.flagsOn
			for n, v := range tt.after {
				if n == engine.RDI && v < served {
					v += base
				}
				want.gpr[n] = v
			}
			r.set(in)
			want.xmm = r.get().xmm
			rip := r.c.RIP
			if !tt.stays {
				rip += uint64(len(unhex(t, tt.code)))
			}
			require.True(t, Emulate(r.c, generalProtection(), r.m))
			assert.Equal(t, want, r.get())
			assert.Equal(t, rip, r.c.RIP)
		})
	}
	t.Run("movs copies what is served", func(t *testing.T) {
		r := newRig(t)
		r.put("F3 A4")
		r.c.GPR[engine.RSI], r.c.GPR[engine.RDI] = served, uint64(r.data.Base())+0x800
		r.c.GPR[engine.RCX] = 0x123
		r.c.RFLAGS = 2
		require.True(t, Emulate(r.c, pageFault(served), r.m))
		got := make([]byte, 0x123)
		require.NoError(t, guest.Read(got, r.data.Base()+0x800))
		require.Equal(t, r.m.memory[:0x123], got)
	})
	t.Run("movs to nowhere becomes that fault", func(t *testing.T) {
		r := newRig(t)
		r.put("F3 A4")
		end := uint64(r.data.End())
		r.c.GPR[engine.RSI], r.c.GPR[engine.RDI], r.c.GPR[engine.RCX] = served, end-3, 10
		r.c.RFLAGS = 2
		require.True(t, Emulate(r.c, pageFault(served), r.m))
		require.EqualValues(t, 7, r.c.GPR[engine.RCX])
		f := pageFault(served + 3)
		require.False(t, Emulate(r.c, f, r.m))
		require.True(t, f.IsPageFault() && f.IsWrite())
		require.Equal(t, end, f.Addr)
		require.EqualValues(t, 7, r.c.GPR[engine.RCX])
	})
	t.Run("outs writes what is in memory", func(t *testing.T) {
		r := newRig(t)
		r.put("F3 6E")
		r.c.GPR[engine.RSI], r.c.GPR[engine.RDX] = uint64(r.data.Base()), 0x70
		r.c.GPR[engine.RCX] = 2
		r.c.RFLAGS = 2
		require.True(t, Emulate(r.c, generalProtection(), r.m))
		first, second := uint32(r.m.memory[0]), uint32(r.m.memory[1])
		require.Equal(t, []portWrite{{0x70, 1, first}, {0x70, 1, second}}, r.m.ports)
	})
	t.Run("an enormous count is done in parts", func(t *testing.T) {
		r := newRig(t)
		r.put("F3 6C")
		r.c.GPR[engine.RDI], r.c.GPR[engine.RCX] = uint64(r.data.Base()), 1<<60
		r.c.RFLAGS = 2
		rip := r.c.RIP
		require.True(t, Emulate(r.c, generalProtection(), r.m))
		require.EqualValues(t, 1<<60-maxElements, r.c.GPR[engine.RCX])
		require.Equal(t, rip, r.c.RIP)
	})
}

// TestFetch has code at the end of what is mapped, and code that changes.
func TestFetch(t *testing.T) {
	r := newRig(t)
	end := r.code.End()
	at := func(a guest.Addr, code string) bool {
		require.NoError(t, guest.Write(a, unhex(t, code)))
		r.c.RIP = uint64(a)
		return Emulate(r.c, generalProtection(), r.m)
	}
	for range 2 { // the second time from the cache
		require.True(t, at(end-4, "44 0F 20 C0"), "the last bytes of a page")
		require.True(t, at(r.code.Base()+guest.PageSize-2, "44 0F 20 C0"), "across pages")
		require.False(t, at(end-3, "44 0F 20"), "cut off by the end")
	}
	require.True(t, at(r.code.Base(), "44 0F 20 C0"))
	require.EqualValues(t, r.m.special[CR8], r.c.GPR[engine.RAX])
	require.True(t, at(r.code.Base(), "0F 20 C1"), "changed code")
	require.EqualValues(t, r.m.special[CR0], r.c.GPR[engine.RCX])
	require.True(t, at(r.code.Base(), "0F 21 FB"), "and again")
	require.EqualValues(t, r.m.special[DR7], r.c.GPR[engine.RBX])
}

// TestInTheGuest runs code that needs emulation, faults and all.
func TestInTheGuest(t *testing.T) {
	r := newRig(t)
	r.c.DropFrame()
	var s engine.Saved
	// mov rax, cr8; mov rcx, rax; mov rax, [served+14h]; cli; lea rax, [rax+rcx]; int3
	r.put("44 0F 20 C0 48 89 C1 48 A1 14 00 00 00 80 F7 FF FF FA 48 8D 04 08 CC")
	require.NoError(t, r.c.PushCall(&s, r.code.Base(), r.code.Base(), 0))
	faults := 0
	for {
		require.Equal(t, engine.ExitFault, r.cpu.Run(r.c))
		if !Emulate(r.c, &r.c.Fault, r.m) {
			break
		}
		faults++
	}
	require.EqualValues(t, engine.VectorBreakpoint, r.c.Fault.Vector)
	require.Equal(t, 3, faults)
	want, _, _ := r.m.Load(served+0x14, 8)
	require.Equal(t, want+2, r.c.GPR[engine.RAX])
}

// TestVectorInTheGuest sees that a vector register that was emulated arrives.
func TestVectorInTheGuest(t *testing.T) {
	r := newRig(t)
	r.c.DropFrame()
	var s engine.Saved
	// mov rcx, served; movdqu xmm6, [rcx+1]; movq rax, xmm6; int3
	r.put("48 B9 00 00 00 00 80 F7 FF FF F3 0F 6F 71 01 66 48 0F 7E F0 CC")
	require.NoError(t, r.c.PushCall(&s, r.code.Base(), r.code.Base(), 0))
	require.Equal(t, engine.ExitFault, r.cpu.Run(r.c))
	require.True(t, Emulate(r.c, &r.c.Fault, r.m))
	require.Equal(t, engine.ExitFault, r.cpu.Run(r.c))
	lo, hi, _ := r.m.Load(served+1, 16)
	require.Equal(t, lo, r.c.GPR[engine.RAX])
	require.Equal(t, engine.XMM{lo, hi}, r.c.FullXMM(6))
}

func TestNothingIsAllocated(t *testing.T) {
	r := newRig(t)
	for _, code := range []string{"44 0F 20 C0", "48 8B 01", "0F 10 01", "F3 A4"} {
		r.put(code)
		rip, f := r.c.RIP, generalProtection()
		require.Zero(t, testing.AllocsPerRun(100, func() {
			r.c.RIP = rip
			r.c.GPR[engine.RCX], r.c.GPR[engine.RSI] = served, served
			r.c.GPR[engine.RDI] = uint64(r.data.Base())
			if code == "F3 A4" {
				r.c.GPR[engine.RCX] = 8
			}
			if !Emulate(r.c, f, r.m) {
				t.Fatal("not done: " + code)
			}
		}), code)
	}
}

// FuzzEmulate sees that no bytes panic, and that what is not done changes nothing.
func FuzzEmulate(f *testing.F) {
	for _, tt := range loadTable {
		f.Add(unhex(f, tt.code), true)
	}
	for _, code := range []string{"44 0F 20 C0", "0F 32", "F3 6C", "F3 48 A5", "C5 FC 10 01",
		"0F 01 17", "0F 01 07", "9C", "66 9D", "F3 0F C7 F8", "0F A2", "0F 01 C1", "48 0F 01 E2", "0F 33",
		"62 F1 7C 48 10 01", "F0 0F 22 C0", "67 8B 01", "65 A4"} {
		f.Add(unhex(f, code), false)
	}
	r := newRig(f)
	f.Fuzz(func(t *testing.T, code []byte, page bool) {
		if len(code) > 2*maxLength {
			return
		}
		r.t = t
		var in registers
		for i := range in.gpr {
			in.gpr[i] = served + 8*uint64(i)
		}
		in.gpr[engine.RDI] = uint64(r.data.Base())
		in.gpr[engine.RSP] = uint64(r.c.StackBase)
		r.set(in)
		r.putBytes(append(code, make([]byte, maxLength)...))
		fault := generalProtection()
		if page {
			fault = pageFault(served)
		}
		before, rip := r.get(), r.c.RIP
		if !Emulate(r.c, fault, r.m) {
			require.Equal(t, before, r.get())
			require.Equal(t, rip, r.c.RIP)
		} else {
			require.LessOrEqual(t, r.c.RIP-rip, uint64(maxLength))
		}
	})
}
