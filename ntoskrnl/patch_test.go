package ntoskrnl

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/pe"
)

// loadOdd loads odd.sys into a kernel of its own.
func loadOdd(t *testing.T, opts Options) (*Kernel, *Driver) {
	opts.Processors = 1
	k, err := New(opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	path, err := fixtures.Path("odd")
	require.NoError(t, err)
	d, err := k.LoadFile(path)
	require.NoError(t, err)
	return k, d
}

func TestUntrappedInstructionsArePatchedWhileTheDriverIsLoaded(t *testing.T) {
	k, d := loadOdd(t, Options{})
	names := make(map[string]bool)
	for _, i := range untrapped(d.Module.Image()) {
		require.Empty(t, i.Why, "%s at %#x", i.Name, i.RVA)
		at := d.Module.Addr(i.RVA)
		code := make([]byte, len(i.Code))
		require.NoError(t, guest.Read(code, at))
		require.Equal(t, append([]byte{0xF4}, bytes.Repeat([]byte{0xCC}, len(code)-1)...), code)
		require.NotNil(t, k.patches.find(uint64(at)))
		info, ok := k.space.Lookup(at)
		require.True(t, ok)
		require.Equal(t, guest.ProtRead|guest.ProtExec, info.Prot,
			"its page's flags are those of the section")
		names[i.Name] = true
	}
	for _, name := range []string{"pushfq", "popfq", "sidt", "sgdt", "sldt", "str", "smsw", "cpuid",
		"rdtscp", "rdpid", "rdfsbase", "wrfsbase", "rdgsbase", "wrgsbase", "vmcall", "vmmcall"} {
		require.True(t, names[name], name)
	}
	_, err := k.Unload(d)
	require.NoError(t, err)
	require.Empty(t, *k.patches.at.Load())
}

func TestNoPatchLeavesTheCodeAlone(t *testing.T) {
	_, d := loadOdd(t, Options{NoPatch: true})
	for _, i := range untrapped(d.Module.Image()) {
		code := make([]byte, len(i.Code))
		require.NoError(t, guest.Read(code, d.Module.Addr(i.RVA)))
		require.Equal(t, i.Code, code, "%s at %#x", i.Name, i.RVA)
	}
}

func TestWhatIsNotPatchedIsLogged(t *testing.T) {
	b := pe.NewBuilder("native.sys")
	// sub rsp, 28h; xor eax, eax; add rsp, 28h; ret; and a leaf function without unwind data.
	entry := []byte{0x48, 0x83, 0xEC, 0x28, 0x31, 0xC0, 0x48, 0x83, 0xC4, 0x28, 0xC3}
	b.Code("DriverEntry", entry, nil,
		&pe.Unwind{PrologSize: 4, Ops: []pe.UnwindOp{pe.Alloc(4, 0x28)}})
	b.Code("leaf", []byte{0x0F, 0xA2, 0xC3}, nil, nil)
	b.SetEntry("DriverEntry")
	img, err := b.Build()
	require.NoError(t, err)
	rva, ok := b.SymbolRVA("leaf")
	require.True(t, ok)
	require.Equal(t, []UntrappedInstruction{{RVA: rva, Name: "cpuid",
		Why: "it lies outside of the functions in .pdata"}}, UntrappedInstructions(img))
	var log strings.Builder
	k, err := New(Options{Processors: 1, Log: hclog.New(&hclog.LoggerOptions{Output: &log,
		Level: hclog.Info, DisableTime: true})})
	require.NoError(t, err)
	defer func() { require.NoError(t, k.Close()) }()
	_, err = k.Load(img, "native")
	require.NoError(t, err)
	require.Contains(t, log.String(), fmt.Sprintf("[INFO]  an instruction has its native effect: "+
		"instruction=cpuid at=\"native.sys+%#x\"", rva))
}

// Among the drivers of saferwall/pe none has such an instruction; what objdump finds agrees.
func TestRealDriversAreScannedInFull(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/saferwall/pe").Output()
	if err != nil {
		t.Skip("the module saferwall/pe is not there")
	}
	for _, name := range []string{"acpi", "amdxata", "amdi2c", "WdBoot"} {
		t.Run(name, func(t *testing.T) {
			img, err := pe.ParseFile(filepath.Join(strings.TrimSpace(string(dir)), "test", name+".sys"))
			if err != nil {
				t.Skip(err)
			}
			require.Empty(t, UntrappedInstructions(img))
		})
	}
}

func TestEveryFastFailIsItsBugcheck(t *testing.T) {
	// The codes of winnt.h, and some that it does not have.
	for _, code := range append(sequence(0, 0x4B), 0x1000, 0xFFFFFFFF) {
		err := onThread(t, func(k *Kernel, th *ke.Thread, page *guest.Region) {
			runCode(t, th, page, "CD 29 C3", uint64(code)) // int 29h
		})
		var b *ke.Bugcheck
		require.ErrorAs(t, err, &b, "%#x", code)
		require.Equal(t, nt.KERNEL_SECURITY_CHECK_FAILURE, b.Code, "%#x", code)
		require.EqualValues(t, code, b.Params[0])
		require.Contains(t, b.Reason, "fast fail at")
	}
}

func sequence(from, to uint32) (all []uint32) {
	for ; from <= to; from++ {
		all = append(all, from)
	}
	return all
}
