package insn

import (
	"debug/elf"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/arch/x86/x86asm"
)

func TestScan(t *testing.T) {
	const base = 0x1000
	for _, tt := range []struct {
		name      string
		code      string
		functions []Range
		want      []Site
	}{
		{"an instruction of a function", "31 C0 0F A2 C3", []Range{{0, 5}},
			[]Site{{RVA: 2, Name: "cpuid", Code: []byte{0x0F, 0xA2}}}},
		{"one of each prefix", "F3 0F C7 F8 66 9D 9C F3 48 0F AE D1 C3", []Range{{0, 13}},
			[]Site{{RVA: 0, Name: "rdpid", Code: []byte{0xF3, 0x0F, 0xC7, 0xF8}},
				{RVA: 4, Name: "popf", Code: []byte{0x66, 0x9D}},
				{RVA: 6, Name: "pushfq", Code: []byte{0x9C}},
				{RVA: 7, Name: "wrfsbase", Code: []byte{0xF3, 0x48, 0x0F, 0xAE, 0xD1}}}},
		{"bytes inside of another instruction", "B8 0F A2 9C 9D C3", []Range{{0, 6}}, nil},
		{"what traps is none", "FA FB 0F 32 F4 0F 01 F8 C3", []Range{{0, 9}}, nil},
		{"a function whose end is inside of an instruction", "0F A2 C3 B8 00", []Range{{0, 5}},
			[]Site{{RVA: 0, Name: "cpuid", Code: []byte{0x0F, 0xA2}, Why: whyUnclear}}},
		{"a jump into the instruction", "EB 01 0F A2 C3", []Range{{0, 5}},
			[]Site{{RVA: 2, Name: "cpuid", Code: []byte{0x0F, 0xA2}, Why: whyJump}}},
		{"a jump to the instruction", "EB 00 0F A2 C3", []Range{{0, 5}},
			[]Site{{RVA: 2, Name: "cpuid", Code: []byte{0x0F, 0xA2}}}},
		{"a call into it from another function", "0F A2 C3 E8 F9 FF FF FF C3",
			[]Range{{0, 3}, {3, 9}},
			[]Site{{RVA: 0, Name: "cpuid", Code: []byte{0x0F, 0xA2}, Why: whyJump}}},
		{"a jump through a table, and what it hides", "0F A2 FF E0 0F A2 C3", []Range{{0, 7}},
			[]Site{{RVA: 0, Name: "cpuid", Code: []byte{0x0F, 0xA2}},
				{RVA: 4, Name: "cpuid", Code: []byte{0x0F, 0xA2}, Why: whyUnreached}}},
		{"a jump through a table with a way around", "85 C0 74 02 FF E0 9C C3", []Range{{0, 8}},
			[]Site{{RVA: 6, Name: "pushfq", Code: []byte{0x9C}}}},
		{"a jump through the import table", "FF 25 00 00 00 00 9C C3", []Range{{0, 8}},
			[]Site{{RVA: 6, Name: "pushfq", Code: []byte{0x9C}}}},
		{"a leaf function outside of .pdata", "C3 CC CC CC 0F A2 C3 CC", []Range{{0, 1}},
			[]Site{{RVA: 4, Name: "cpuid", Code: []byte{0x0F, 0xA2}, Why: whyNoFunction}}},
		{"no code at all", "0F", []Range{{0, 1}}, nil},
		{"rows of another section, and wrong ones", "0F A2 C3",
			[]Range{{0x10, 0x20}, {5, 2}, {0xFFFFF000, 0xFFFFFFFF}},
			[]Site{{RVA: 0, Name: "cpuid", Code: []byte{0x0F, 0xA2}, Why: whyNoFunction}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i := range tt.functions {
				tt.functions[i].Begin += base
				tt.functions[i].End += base
			}
			for i := range tt.want {
				tt.want[i].RVA += base
			}
			require.Equal(t, tt.want, Scan(unhex(t, tt.code), base, tt.functions))
		})
	}
}

// The test binary's own code is a megabyte of instructions that both can be asked about.
func TestOutlineAgreesWithTheDecoder(t *testing.T) {
	path, err := os.Executable()
	require.NoError(t, err)
	f, err := elf.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	code, err := f.Section(".text").Data()
	require.NoError(t, err)
	code = code[:min(len(code), 400<<10)]
	compared := 0
	for at := 0; at < len(code); {
		s, ok := outline(code[at:])
		x, err := x86asm.Decode(code[at:], 64)
		switch known := err == nil && x.Op != 0; {
		case ok && known && !vex(&x):
			require.Equal(t, x.Len, s.length, "% x: %v", code[at:at+maxLength], x)
			rel, isJump := x.Args[0].(x86asm.Rel)
			if x.Op == x86asm.CALL {
				isJump = false
			}
			require.Equal(t, isJump, s.jumps, "%v", x)
			if isJump {
				require.EqualValues(t, rel, s.distance, "%v", x)
			}
			compared++
			at += s.length
		case ok:
			at += s.length
		default:
			at++
		}
	}
	require.Greater(t, compared, 50_000)
}

// vex reports whether x86asm has met a VEX or EVEX prefix, of which it gives some a wrong length.
func vex(x *x86asm.Inst) bool {
	for _, p := range x.Prefix {
		if p.IsVEX() || p.IsEVEX() {
			return true
		}
	}
	return false
}

func FuzzScan(f *testing.F) {
	for _, s := range []string{"31 C0 0F A2 C3", "EB 01 0F A2 C3", "F3 0F C7 F8 66 9D 9C",
		"C5 F8 77 0F 01 F9", "0F 01 4D F8", "66 2E 0F 1F 84 00 00 00 00 00 9D"} {
		f.Add(unhex(f, s), uint16(5))
	}
	f.Fuzz(func(t *testing.T, code []byte, end uint16) {
		sites := Scan(code, 0x1000, []Range{{0x1000, 0x1000 + uint32(end)}})
		for _, s := range sites {
			p := NewPatch(s.Code)
			if p == nil || len(p.Bytes()) != len(s.Code) || s.Name == "" {
				t.Fatalf("%+v cannot be patched", s)
			}
			if s.Why == "" && s.RVA+uint32(len(s.Code)) > 0x1000+uint32(end) {
				t.Fatalf("%+v lies outside of its function", s)
			}
		}
	})
}
