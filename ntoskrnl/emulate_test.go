package ntoskrnl

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/insn"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// onThread runs f on a guest thread of a kernel with two processors, with a page for code.
func onThread(t *testing.T, f func(k *Kernel, th *ke.Thread, code *guest.Region)) error {
	k, err := New(Options{Processors: 2})
	require.NoError(t, err)
	defer func() { require.NoError(t, k.Close()) }()
	code, err := k.space.AllocSystem(guest.PageSize, guest.ProtRWX, "code")
	require.NoError(t, err)
	defer func() { require.NoError(t, code.Free()) }()
	th, err := k.Ke.NewThread(k.Ke.SystemProcess)
	require.NoError(t, err)
	defer th.Release()
	return th.Do(func() { f(k, th, code) })
}

// runCode runs machine code, in hexadecimal, that ends with ret, with one argument in RCX.
func runCode(t *testing.T, th *ke.Thread, code *guest.Region, hexCode string, arg uint64) uint64 {
	b, err := hex.DecodeString(strings.ReplaceAll(hexCode, " ", ""))
	require.NoError(t, err)
	require.NoError(t, guest.Write(code.Base(), b))
	return th.Call(code.Base(), arg)
}

func TestDriverReadsAndWritesCR8(t *testing.T) {
	require.NoError(t, onThread(t, func(k *Kernel, th *ke.Thread, code *guest.Region) {
		require.Zero(t, runCode(t, th, code, "44 0F 20 C0 C3", 0)) // mov rax, cr8
		// mov cr8, rcx; mov rax, gs:[50h] (KPCR.Irql); xor edx, edx; mov cr8, rdx
		up := "44 0F 22 C1 65 48 8B 04 25 50 00 00 00 33 D2 44 0F 22 C2 C3"
		for irql := range uint64(16) {
			require.Equal(t, irql, runCode(t, th, code, up, irql)&0xFF)
			require.Equal(t, nt.PASSIVE_LEVEL, th.IRQL())
		}
	}))
}

func TestDriverCannotWriteCR8Above15(t *testing.T) {
	err := onThread(t, func(k *Kernel, th *ke.Thread, code *guest.Region) {
		runCode(t, th, code, "44 0F 22 C1 C3", 16)
	})
	var b *ke.Bugcheck
	require.ErrorAs(t, err, &b)
	require.EqualValues(t, nt.STATUS_ACCESS_VIOLATION, b.Params[0])
}

func TestDriverReadsKUserSharedData(t *testing.T) {
	require.NoError(t, onThread(t, func(k *Kernel, th *ke.Thread, code *guest.Region) {
		// mov rax, [0FFFFF780000003C0h] (ActiveProcessorCount)
		count := runCode(t, th, code, "48 A1 C0 03 00 00 80 F7 FF FF C3", 0)
		require.EqualValues(t, 2, uint32(count))
		// mov rax, [rcx]: SystemTime
		before, _ := loadShared(k.Ke, 0x14, 8)
		now := runCode(t, th, code, "48 8B 01 C3", nt.KI_USER_SHARED_DATA+0x14)
		require.GreaterOrEqual(t, now, before)
		// movzx eax, word [rcx]: the first character of NtSystemRoot
		first := runCode(t, th, code, "0F B7 01 C3", nt.KI_USER_SHARED_DATA+0x30)
		require.EqualValues(t, 'C', first)
		// cmp dword [rcx], 19045; sete al; movzx eax, al
		require.EqualValues(t, 1, runCode(t, th, code, "81 39 65 4A 00 00 0F 94 C0 0F B6 C0 C3",
			nt.KI_USER_SHARED_DATA+0x260))
	}))
}

func TestDriverCannotWriteKUserSharedData(t *testing.T) {
	err := onThread(t, func(k *Kernel, th *ke.Thread, code *guest.Region) {
		runCode(t, th, code, "48 89 01 C3", nt.KI_USER_SHARED_DATA+0x14)
	})
	var b *ke.Bugcheck
	require.ErrorAs(t, err, &b)
}

func TestDriverPortsAndInterruptFlag(t *testing.T) {
	require.NoError(t, onThread(t, func(k *Kernel, th *ke.Thread, code *guest.Region) {
		// cli; xor eax, eax; mov dx, 3F8h; in al, dx; out dx, al; sti; hlt; wbinvd
		require.EqualValues(t, 0xFF, runCode(t, th, code,
			"FA 33 C0 66 BA F8 03 EC EE FB F4 0F 09 C3", 0))
		// mov dx, 0CF8h; in eax, dx
		require.EqualValues(t, 0xFFFFFFFF, runCode(t, th, code, "66 BA F8 0C ED C3", 0))
		// rdmsr; shl rdx, 32; or rax, rdx: IA32_GS_BASE
		require.EqualValues(t, th.Processor().KPCR(), runCode(t, th, code,
			"0F 32 48 C1 E2 20 48 09 D0 C3", msrGSBase))
	}))
}

func TestSpecialRegisterWrites(t *testing.T) {
	require.NoError(t, onThread(t, func(k *Kernel, th *ke.Thread, code *guest.Region) {
		m := (*machine)(k.call(th))
		for r := range specials {
			v, ok := m.Special(r)
			require.True(t, ok)
			require.True(t, m.SetSpecial(r, v), "register %d takes its present value", r)
		}
		for _, tt := range []struct {
			name string
			r    insn.Special
			flip uint64
			ok   bool
		}{
			{"CR0.WP can be cleared", insn.CR0, cr0WP, true},
			{"CR0.PG cannot", insn.CR0, cr0PG, false},
			{"CR3 cannot be another", insn.CR3, 0x1000, false},
			{"CR4.SMEP can be cleared", insn.CR4, cr4SMEP, true},
			{"CR4.VMXE cannot be set", insn.CR4, 1 << 13, false},
			{"a breakpoint cannot be set", insn.DR7, 1, false},
			{"CR1 does not exist", 1, 0, false},
			{"DR4 does not exist", insn.DR0 + 4, 0, false},
		} {
			v, _ := m.Special(tt.r)
			require.Equal(t, tt.ok, m.SetSpecial(tt.r, v^tt.flip), tt.name)
		}
	}))
}

func TestModelSpecificRegisters(t *testing.T) {
	require.NoError(t, onThread(t, func(k *Kernel, th *ke.Thread, code *guest.Region) {
		m := (*machine)(k.call(th))
		for _, tt := range []struct {
			name string
			n    uint32
			mask uint64
			want uint64
		}{
			{"EFER", 0xC0000080, ^uint64(0), 0xD01},
			{"PAT", 0x277, ^uint64(0), 0x0007010600070106},
			{"APIC base", 0x1B, ^uint64(0x100), 0xFEE00800},
			{"TSC_AUX", 0xC0000103, ^uint64(0), uint64(th.Processor().Number())},
			{"KERNEL_GS_BASE", 0xC0000102, ^uint64(0), 0},
		} {
			v, ok := m.MSR(tt.n)
			require.True(t, ok, tt.name)
			require.Equal(t, tt.want, v&tt.mask, tt.name)
			require.True(t, m.SetMSR(tt.n, v), tt.name)
			require.False(t, m.SetMSR(tt.n, v^2), tt.name)
		}
		lstar, ok := m.MSR(msrLSTAR)
		require.True(t, ok)
		module, ok := k.Linker.At(guest.Addr(lstar))
		require.True(t, ok)
		require.Equal(t, "ntoskrnl.exe", module.Name())
		_, ok = m.MSR(0x12345678)
		require.False(t, ok)
		require.False(t, m.SetMSR(0x12345678, 0))
	}))
}
