// Built images against the parser, and against LLVM's reader where it is installed.

package pe

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// ret and thunk are code to fill functions with: a bare return, and a call through an import.
var (
	ret   = []byte{0xc3}
	thunk = []byte{0x48, 0x83, 0xec, 0x28, 0xff, 0x15, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 0x28, 0xc3}
)

// everything builds an image that uses all that the Builder can do.
func everything() *Builder {
	b := NewBuilder("all.sys")
	b.SetBase(0x140000000)
	b.Code("DriverEntry", thunk, []Fixup{{Offset: 6, Kind: Rel32, Symbol: "imp.DbgPrint"}},
		&Unwind{PrologSize: 4, Ops: []UnwindOp{Alloc(4, 0x28)}})
	b.Code("leaf", ret, nil, nil)
	b.Code("framed", append(make([]byte, 63), 0xc3), nil, &Unwind{
		PrologSize: 40, FrameRegister: 5, FrameOffset: 0x20,
		Ops: []UnwindOp{PushNonvol(1, 5), PushNonvol(3, 12), Alloc(10, 0x200), SetFPReg(15),
			SaveNonvol(20, 3, 0x40), SaveXMM128(30, 6, 0x50)},
		Handler: "handler", OnException: true, OnUnwind: true,
		HandlerData: make([]byte, 12),
		HandlerFixups: []Fixup{{Offset: 0, Kind: RVA32, Symbol: "leaf"},
			{Offset: 4, Kind: Abs64, Symbol: "counter", Addend: 4}},
	})
	b.Code("huge", ret, nil, &Unwind{PrologSize: 30, Ops: []UnwindOp{PushMachFrame(0, true),
		Alloc(10, 0x100000), SaveNonvol(20, 15, 0x90000), SaveXMM128(30, 15, 0x200000)}})
	b.Code("handler", ret, nil, nil)
	b.Data("counter", 8, 8, []byte{1, 2, 3}, nil)
	b.Data("table", 16, 8, nil, []Fixup{{Offset: 0, Kind: Abs64, Symbol: "leaf"},
		{Offset: 8, Kind: Abs64, Symbol: "counter", Addend: 1}})
	b.Data("cookie", 8, 8, []byte{0x32, 0xa2, 0xdf, 0x2d, 0x99, 0x2b, 0, 0}, nil)
	b.Data("bss", 0x3000, 16, nil, nil)
	b.Const("text", 6, 1, []byte("hello"), nil)
	b.Const("guard.check", 8, 8, nil, []Fixup{{Kind: Abs64, Symbol: "leaf"}})
	b.Const("guard.dispatch", 8, 8, nil, []Fixup{{Kind: Abs64, Symbol: "leaf"}})
	b.Import("imp.DbgPrint", "ntoskrnl.exe", Import{Name: "DbgPrint"})
	b.Import("imp.stall", "hal.dll", Import{Name: "KeStallExecutionProcessor", Hint: 7})
	b.Import("imp.12", "ntoskrnl.exe", Import{ByOrdinal: true, Ordinal: 12})
	b.Export("Leaf", 0, "leaf")
	b.Export("Alias", 0, "leaf")
	b.Export("Counter", 9, "counter")
	b.Export("", 11, "bss")
	b.ExportForward("Elsewhere", 0, "other.Name")
	b.LoadConfig("cookie", "guard.check", "guard.dispatch")
	b.SetEntry("DriverEntry")
	return b
}

// kernelLike builds a module with n exported thunks, about as ntoskrnl.exe is.
func kernelLike(n int) *Builder {
	b := NewBuilder("ntoskrnl.exe")
	b.Grow(n + 2)
	unwind := &Unwind{PrologSize: 4, Ops: []UnwindOp{Alloc(4, 0x28)}}
	for i := range n {
		name := names600[i]
		b.Code(name, thunk[:14], nil, unwind)
		b.Export(name, 0, name)
	}
	b.Data("KeTickCount", 8, 8, nil, nil)
	b.Data("PsInitialSystemProcess", 8, 8, nil, []Fixup{{Kind: Abs64, Symbol: names600[0]}})
	b.Export("KeTickCount", 0, "KeTickCount")
	b.Export("PsInitialSystemProcess", 0, "PsInitialSystemProcess")
	return b
}

var names600 = func() (s []string) {
	for i := range 600 {
		s = append(s, "IoSomeLongerKernelRoutine"+strconv.Itoa(i*7919%600))
	}
	return s
}()

func build(tb testing.TB, b *Builder) *Image {
	img, err := b.Build()
	require.NoError(tb, err)
	return img
}

func TestABuiltImageIsWhatParseReads(t *testing.T) {
	dll := NewBuilder("lib.dll")
	dll.SetDLL()
	dll.Data("v", 4, 4, nil, nil)
	dll.Export("", 500, "v")
	dll.Export("", 40000, "v")
	zero := NewBuilder("zero.sys")
	zero.Code("f", ret, nil, nil)
	for _, c := range []struct {
		name string
		b    *Builder
	}{
		{"everything", everything()},
		{"600 exports", kernelLike(600)},
		{"no code, ordinals far apart", dll},
		{"one function", zero},
	} {
		t.Run(c.name, func(t *testing.T) {
			built := build(t, c.b)
			parsed, err := Parse(built.Name, built.Bytes())
			require.NoError(t, err)
			require.Equal(t, parsed, built)
		})
	}
}

func TestBuiltExportsAndSymbolsAgree(t *testing.T) {
	b := everything()
	img := build(t, b)
	leaf, _ := b.SymbolRVA("leaf")
	counter, _ := b.SymbolRVA("counter")
	bss, _ := b.SymbolRVA("bss")
	require.Equal(t, []Export{
		{Ordinal: 11, RVA: bss},
		{Name: "Alias", Ordinal: 1, RVA: leaf},
		{Name: "Counter", Ordinal: 9, RVA: counter},
		{Name: "Elsewhere", Ordinal: 2, Forwarder: "other.Name"},
		{Name: "Leaf", Ordinal: 3, RVA: leaf},
	}, img.Exports())
	e, ok := img.ExportByOrdinal(9)
	require.True(t, ok)
	require.Equal(t, "Counter", e.Name)
	for _, ord := range []uint16{0, 4, 10, 12, 0xffff} {
		_, ok := img.ExportByOrdinal(ord)
		require.False(t, ok, "ordinal %d", ord)
	}
	for _, name := range []string{"", "leaf", "Lea", "Leaff"} {
		_, ok := img.LookupExport(name)
		require.False(t, ok, "name %q", name)
	}
	_, ok = b.SymbolRVA("none")
	require.False(t, ok)
}

func TestUnwindInfoIsEncodedAsTheFormatHasIt(t *testing.T) {
	for _, c := range []struct {
		name string
		u    Unwind
		want []byte
	}{
		{"nothing", Unwind{}, []byte{1, 0, 0, 0}},
		{"push and small allocation", Unwind{PrologSize: 5, Ops: []UnwindOp{
			PushNonvol(1, 3), Alloc(5, 0x20)}}, []byte{1, 5, 2, 0, 5, 0x32, 1, 0x30}},
		{"largest small allocation", Unwind{PrologSize: 7, Ops: []UnwindOp{Alloc(7, 128)}},
			[]byte{1, 7, 1, 0, 7, 0xf2, 0, 0}},
		{"large allocation", Unwind{PrologSize: 7, Ops: []UnwindOp{Alloc(7, 136)}},
			[]byte{1, 7, 2, 0, 7, 0x01, 17, 0}},
		{"largest scaled allocation", Unwind{PrologSize: 7, Ops: []UnwindOp{Alloc(7, 0x7fff8)}},
			[]byte{1, 7, 2, 0, 7, 0x01, 0xff, 0xff}},
		{"huge allocation", Unwind{PrologSize: 7, Ops: []UnwindOp{Alloc(7, 0x80000)}},
			[]byte{1, 7, 3, 0, 7, 0x11, 0, 0, 8, 0, 0, 0}},
		{"frame register", Unwind{PrologSize: 4, FrameRegister: 5, FrameOffset: 0x30,
			Ops: []UnwindOp{SetFPReg(4)}}, []byte{1, 4, 1, 0x35, 4, 3, 0, 0}},
		{"saved registers", Unwind{PrologSize: 9, Ops: []UnwindOp{SaveNonvol(5, 7, 0x10),
			SaveXMM128(9, 6, 0x20)}}, []byte{1, 9, 4, 0, 9, 0x68, 2, 0, 5, 0x74, 2, 0}},
		{"registers saved far away", Unwind{PrologSize: 9, Ops: []UnwindOp{
			SaveNonvol(5, 7, 0x80000), SaveXMM128(9, 6, 0x100000)}},
			[]byte{1, 9, 6, 0, 9, 0x69, 0, 0, 0x10, 0, 5, 0x75, 0, 0, 8, 0}},
		{"trap frame", Unwind{Ops: []UnwindOp{PushMachFrame(0, true)}},
			[]byte{1, 0, 1, 0, 0, 0x1a, 0, 0}},
		{"handler", Unwind{Handler: "h", OnException: true}, []byte{9, 0, 0, 0, 0, 0, 0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, err := c.u.encode(nil)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestBuildRefusesWhatItCannotMake(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*Builder)
		want string
	}{
		{"an undefined symbol", func(b *Builder) {
			b.Code("f", make([]byte, 8), []Fixup{{Kind: Rel32, Symbol: "g"}}, nil)
		}, "refers to symbol g"},
		{"a fixup outside of its code", func(b *Builder) {
			b.Code("f", make([]byte, 8), []Fixup{{Offset: 5, Kind: Rel32, Symbol: "f"}}, nil)
		}, "outside"},
		{"a symbol defined twice", func(b *Builder) {
			b.Data("x", 8, 8, nil, nil)
		}, "x is defined twice"},
		{"an export of an undefined symbol", func(b *Builder) { b.Export("A", 0, "a") }, "symbol a"},
		{"two exports of one name", func(b *Builder) {
			b.Export("A", 0, "x")
			b.Export("A", 0, "x")
		}, "A is exported twice"},
		{"two exports of one ordinal", func(b *Builder) {
			b.Export("A", 7, "x")
			b.Export("B", 7, "x")
		}, "ordinal 7"},
		{"an export with nothing", func(b *Builder) { b.Export("", 0, "x") }, "neither"},
		{"a forwarder to nowhere", func(b *Builder) { b.ExportForward("A", 0, "nt") }, "forwarder"},
		{"a name that no image holds", func(b *Builder) { b.Export("A\nB", 0, "x") }, "byte 0x0a"},
		{"an entry point that is data", func(b *Builder) { b.SetEntry("x") }, "entry point"},
		{"a base that is not aligned", func(b *Builder) { b.SetBase(0x1000) }, "base 0x1000"},
		{"unwind operations out of order", func(b *Builder) {
			b.Code("f", ret, nil, &Unwind{PrologSize: 9,
				Ops: []UnwindOp{PushNonvol(5, 3), PushNonvol(2, 4)}})
		}, "not in order"},
		{"an odd allocation", func(b *Builder) {
			b.Code("f", ret, nil, &Unwind{PrologSize: 9, Ops: []UnwindOp{Alloc(2, 9)}})
		}, "allocation"},
		{"data with no size", func(b *Builder) { b.Data("d", 0, 1, nil, nil) }, "size"},
		{"data aligned to 3", func(b *Builder) { b.Data("d", 1, 3, nil, nil) }, "alignment"},
		{"empty code", func(b *Builder) { b.Code("f", nil, nil, nil) }, "empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := NewBuilder("bad.sys")
			b.Data("x", 8, 8, nil, nil)
			c.do(b)
			_, err := b.Build()
			require.ErrorContains(t, err, "building bad.sys: ")
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := NewBuilder("empty.sys").Build()
	require.ErrorContains(t, err, "no code and no data")
}

func TestLLVMReadsABuiltImage(t *testing.T) {
	tool, err := exec.LookPath("llvm-readobj")
	if err != nil {
		t.Skip("SKIPPED: llvm-readobj is not installed")
	}
	file := filepath.Join(t.TempDir(), "all.sys")
	require.NoError(t, os.WriteFile(file, build(t, everything()).Bytes(), 0o600))
	out, err := exec.Command(tool, "--file-headers", "--sections", "--coff-imports",
		"--coff-exports", "--coff-basereloc", "--coff-load-config", "--unwind", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, want := range []string{
		"IMAGE_SUBSYSTEM_NATIVE", "Name: Leaf", "Name: ntoskrnl.exe", "Symbol: DbgPrint (0)",
		"Symbol: KeStallExecutionProcessor (7)", "Symbol:  (12)", "Type: DIR64",
		"Name: Elsewhere", "SecurityCookie: 0x14000",
		"ALLOC_SMALL size=40", "SET_FPREG reg=RBP, offset=0x20", "PUSH_MACHFRAME errcode=yes",
		"ALLOC_LARGE size=1048576", "SAVE_NONVOL_FAR reg=R15, offset=0x90000",
		"SAVE_XMM128_FAR reg=XMM15, offset=0x200000", "PUSH_NONVOL reg=R12",
		"SAVE_NONVOL reg=RBX, offset=0x40", "SAVE_XMM128 reg=XMM6, offset=0x50",
		"ExceptionHandler", "TerminateHandler",
	} {
		require.Contains(t, string(out), want)
	}
	require.NotContains(t, string(out), "warning")
}

func BenchmarkBuild600Exports(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := kernelLike(600).Build(); err != nil {
			b.Fatal(err)
		}
	}
}
