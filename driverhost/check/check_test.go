package check

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/pe"
)

func TestMain(m *testing.M) {
	Init()
	os.Exit(m.Run())
}

func checkFile(t *testing.T, path string, opts Options) *Verdict {
	t.Helper()
	if opts.Timeout == 0 {
		opts.Timeout = time.Minute
	}
	v, err := File(t.Context(), path, opts)
	require.NoError(t, err)
	assert.Equal(t, path, v.File)
	return v
}

func fixture(t *testing.T, name string) string {
	path, err := fixtures.Path(name)
	require.NoError(t, err)
	return path
}

func TestEachFixtureGetsTheVerdictThatItDeserves(t *testing.T) {
	for name, want := range map[string]Verdict{
		"hello":       {Verdict: Clean, Stage: StageDone, Unload: UnloadOK},
		"echo":        {Verdict: Clean, Stage: StageDone, Unload: UnloadOK},
		"bench":       {Verdict: Clean, Stage: StageDone, Unload: UnloadOK},
		"faults":      {Verdict: Clean, Stage: StageDone, Unload: UnloadOK},
		"missing":     {Verdict: Clean, Stage: StageDone, Unload: UnloadOK},
		"noun":        {Verdict: Clean, Stage: StageDone, Unload: UnloadNone},
		"refuse":      {Verdict: Refused, Stage: StageDriverEntry, Unload: UnloadSkipped},
		"callmissing": {Verdict: Unimplemented, Stage: StageDriverEntry, Unload: UnloadSkipped},
	} {
		t.Run(name, func(t *testing.T) {
			v := checkFile(t, fixture(t, name), Options{})
			assert.Equal(t, want.Verdict, v.Verdict, v.Reason)
			assert.Equal(t, want.Stage, v.Stage)
			assert.Equal(t, want.Unload, v.Unload)
			assert.Equal(t, want.Verdict == Clean, v.Good())
			assert.Len(t, v.SHA256, 64)
			assert.Positive(t, v.Milliseconds)
			assert.Equal(t, want.Verdict == Clean, v.Reason == "", v.Reason)
		})
	}
}

func TestAVerdictSaysWhatWasFound(t *testing.T) {
	v := checkFile(t, fixture(t, "echo"), Options{})
	require.NotNil(t, v.DriverEntry)
	assert.Equal(t, "0x00000000", *v.DriverEntry)
	assert.Equal(t, []string{`\Device\Echo`, `\Device\EchoDirect`, `\Device\EchoNeither`,
		`\Device\EchoExclusive`}, v.Devices)
	require.Len(t, v.Opened, 4)
	for _, o := range v.Opened {
		assert.Equal(t, "STATUS_SUCCESS", o.Status, o.Name)
	}
	v = checkFile(t, fixture(t, "refuse"), Options{})
	assert.Equal(t, "0xc0000182", *v.DriverEntry)
	v = checkFile(t, fixture(t, "callmissing"), Options{})
	const lost = "ntoskrnl.exe!DrvhostNoSuchRoutine"
	assert.Nil(t, v.DriverEntry)
	assert.Equal(t, []string{lost}, v.CalledUnimplemented)
	assert.Equal(t, []string{lost}, v.Imports.Missing)
	require.NotNil(t, v.Bugcheck)
	assert.Equal(t, "0x0000007e", v.Bugcheck.Code)
	assert.Equal(t, "callmissing.sys", v.Bugcheck.Module)
	assert.NotZero(t, v.Bugcheck.Registers["rsp"])
	v = checkFile(t, fixture(t, "missing"), Options{FailMissing: true})
	assert.Equal(t, Unimplemented, v.Verdict)
	assert.Equal(t, StageLoad, v.Stage)
	assert.Empty(t, v.CalledUnimplemented)
}

func TestTheNamesInJSONStay(t *testing.T) {
	for _, name := range []string{"echo", "callmissing"} {
		data, err := json.Marshal(checkFile(t, fixture(t, name), Options{}))
		require.NoError(t, err)
		var row map[string]any
		require.NoError(t, json.Unmarshal(data, &row))
		assert.Equal(t, []string{"bugcheck", "called_unimplemented", "devices", "driver_entry", "file",
			"imports", "leaks", "links", "ms", "opened", "sha256", "stage", "unload", "verdict"},
			slices.Sorted(maps.Keys(row)))
		assert.Equal(t, map[string]any{}, row["leaks"])
	}
}

func TestWhatIsNoDriverIsInvalid(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	hello, err := fixtures.Bytes("hello")
	require.NoError(t, err)
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	for path, want := range map[string]struct{ stage, reason string }{
		write("empty.sys", nil):                            {StageParse, "empty.sys"},
		write("garbage.sys", bytes.Repeat([]byte{9}, 999)): {StageParse, "garbage.sys"},
		write("cut.sys", hello[:len(hello)/2]):             {StageParse, "cut.sys"},
		fifo:                                               {StageRead, "not a regular file"},
		dir:                                                {StageRead, "not a regular file"},
		filepath.Join(dir, "none.sys"):                     {StageRead, "no such file"},
	} {
		v := checkFile(t, path, Options{})
		assert.Equal(t, Invalid, v.Verdict, path)
		assert.Equal(t, want.stage, v.Stage, path)
		assert.Contains(t, v.Reason, want.reason)
		assert.Equal(t, want.stage == StageParse, v.SHA256 != "", path)
	}
}

// build writes the image of a driver that is given as machine code.
func build(t *testing.T, name string, fill func(b *pe.Builder)) string {
	t.Helper()
	b := pe.NewBuilder(name)
	b.SetBase(0x140000000)
	fill(b)
	b.SetEntry("DriverEntry")
	img, err := b.Build()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, img.Bytes(), 0o600))
	return path
}

// forever is jmp $, success xor eax, eax; ret.
var (
	forever = []byte{0xEB, 0xFE}
	success = []byte{0x31, 0xC0, 0xC3}
)

// withUnload is a DriverEntry that sets DriverUnload to the symbol "unload" and returns success.
var (
	withUnload = []byte{
		0x48, 0x8D, 0x05, 0, 0, 0, 0, // lea rax, [unload]
		0x48, 0x89, 0x41, 0x68, // mov [rcx + DRIVER_OBJECT.DriverUnload], rax
		0x31, 0xC0, 0xC3,
	}
	withUnloadFixups = []pe.Fixup{{Offset: 3, Kind: pe.Rel32, Symbol: "unload"}}
)

func TestADriverThatNeverEndsIsATimeout(t *testing.T) {
	short := Options{Timeout: 300 * time.Millisecond}
	t.Run("in DriverEntry", func(t *testing.T) {
		v := checkFile(t, build(t, "loop.sys", func(b *pe.Builder) {
			b.Code("DriverEntry", forever, nil, nil)
		}), short)
		assert.Equal(t, Timeout, v.Verdict)
		assert.Equal(t, StageDriverEntry, v.Stage)
		assert.Len(t, v.SHA256, 64)
		assert.GreaterOrEqual(t, v.Milliseconds, 300.0)
	})
	t.Run("in DriverUnload", func(t *testing.T) {
		v := checkFile(t, build(t, "loop.sys", func(b *pe.Builder) {
			b.Code("DriverEntry", withUnload, withUnloadFixups, nil)
			b.Code("unload", forever, nil, nil)
		}), short)
		assert.Equal(t, Timeout, v.Verdict)
		assert.Equal(t, StageUnload, v.Stage)
		assert.Equal(t, UnloadFailed, v.Unload)
		assert.Equal(t, "0x00000000", *v.DriverEntry)
	})
}

func TestACrashOnUnloadIsAFault(t *testing.T) {
	v := checkFile(t, build(t, "ud2.sys", func(b *pe.Builder) {
		b.Code("DriverEntry", withUnload, withUnloadFixups, nil)
		b.Code("unload", []byte{0x0F, 0x0B}, nil, nil)
	}), Options{})
	assert.Equal(t, Fault, v.Verdict)
	assert.Equal(t, StageUnload, v.Stage)
	assert.Equal(t, UnloadFailed, v.Unload)
	require.NotNil(t, v.Bugcheck)
	assert.Equal(t, "ud2.sys", v.Bugcheck.Module)
}

func TestWhatADriverLeavesBehindIsALeak(t *testing.T) {
	const name = `\Device\Left`
	v := checkFile(t, build(t, "leak.sys", func(b *pe.Builder) {
		var text []byte
		for _, c := range name {
			text = binary.LittleEndian.AppendUint16(text, uint16(c))
		}
		us := make([]byte, 16)
		binary.LittleEndian.PutUint16(us, uint16(len(text)))
		binary.LittleEndian.PutUint16(us[2:], uint16(len(text)))
		b.Const("text", uint32(len(text)), 2, text, nil)
		b.Data("name", 16, 8, us, []pe.Fixup{{Offset: 8, Kind: pe.Abs64, Symbol: "text"}})
		b.Data("device", 8, 8, nil, nil)
		b.Import("create", "ntoskrnl.exe", pe.Import{Name: "IoCreateDevice"})
		b.Code("unload", success, nil, nil)
		b.Code("DriverEntry", []byte{
			0x48, 0x83, 0xEC, 0x48, // sub rsp, 48h
			0x48, 0x8D, 0x05, 0, 0, 0, 0, // lea rax, [unload]
			0x48, 0x89, 0x41, 0x68, // mov [rcx + DRIVER_OBJECT.DriverUnload], rax
			0x31, 0xD2, // xor edx, edx
			0x4C, 0x8D, 0x05, 0, 0, 0, 0, // lea r8, [name]
			0x41, 0xB9, 0x22, 0, 0, 0, // mov r9d, FILE_DEVICE_UNKNOWN
			0x48, 0xC7, 0x44, 0x24, 0x20, 0, 0, 0, 0, // mov qword [rsp + 20h], 0
			0x48, 0xC7, 0x44, 0x24, 0x28, 0, 0, 0, 0, // mov qword [rsp + 28h], 0
			0x48, 0x8D, 0x05, 0, 0, 0, 0, // lea rax, [device]
			0x48, 0x89, 0x44, 0x24, 0x30, // mov [rsp + 30h], rax
			0xFF, 0x15, 0, 0, 0, 0, // call [create]
			0x48, 0x83, 0xC4, 0x48, 0xC3, // add rsp, 48h; ret
		}, []pe.Fixup{{Offset: 7, Kind: pe.Rel32, Symbol: "unload"},
			{Offset: 20, Kind: pe.Rel32, Symbol: "name"},
			{Offset: 51, Kind: pe.Rel32, Symbol: "device"},
			{Offset: 62, Kind: pe.Rel32, Symbol: "create"}}, nil)
	}), Options{})
	assert.Equal(t, Clean, v.Verdict, v.Reason)
	assert.Equal(t, Leaks{Devices: []string{name}}, v.Leaks)
	assert.False(t, v.Good())
	assert.Equal(t, []string{name}, v.Devices)
	// The dispatch table is as it was, so CREATE fails.
	assert.Equal(t, []Opened{{name, "STATUS_INVALID_DEVICE_REQUEST"}}, v.Opened)
}

func TestPoolThatADriverDoesNotFreeIsALeak(t *testing.T) {
	v := checkFile(t, build(t, "pool.sys", func(b *pe.Builder) {
		b.Import("allocate", "ntoskrnl.exe", pe.Import{Name: "ExAllocatePoolWithTag"})
		b.Code("unload", success, nil, nil)
		b.Code("DriverEntry", []byte{
			0x48, 0x83, 0xEC, 0x28, // sub rsp, 28h
			0x48, 0x8D, 0x05, 0, 0, 0, 0, // lea rax, [unload]
			0x48, 0x89, 0x41, 0x68, // mov [rcx + DRIVER_OBJECT.DriverUnload], rax
			0xB9, 0, 2, 0, 0, // mov ecx, NonPagedPoolNx
			0xBA, 0x64, 0, 0, 0, // mov edx, 100
			0x41, 0xB8, 'L', 'e', 'a', 'k', // mov r8d, 'kaeL'
			0xFF, 0x15, 0, 0, 0, 0, // call [allocate]
			0x31, 0xC0, // xor eax, eax
			0x48, 0x83, 0xC4, 0x28, 0xC3, // add rsp, 28h; ret
		}, []pe.Fixup{{Offset: 7, Kind: pe.Rel32, Symbol: "unload"},
			{Offset: 33, Kind: pe.Rel32, Symbol: "allocate"}}, nil)
	}), Options{})
	assert.Equal(t, Clean, v.Verdict, v.Reason)
	assert.False(t, v.Good())
	assert.Equal(t, []driverhost.PoolUse{{Tag: "Leak", Pool: "non-paged", Blocks: 1, Bytes: 100}},
		v.Leaks.Pool)
}

// A driver shares the host's address space, so it can overwrite the Go runtime.
func TestADriverThatDestroysItsHostGetsAVerdictAllTheSame(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	f, err := elf.Open(exe)
	require.NoError(t, err)
	defer f.Close()
	data := f.Section(".data")
	if f.Type != elf.ET_EXEC || data == nil {
		t.Skip("SKIPPED: the test binary's data is not at a fixed address")
	}
	code := []byte{0x48, 0xBF} // mov rdi, imm64
	code = binary.LittleEndian.AppendUint64(code, data.Addr)
	code = append(code, 0xB9) // mov ecx, imm32
	code = binary.LittleEndian.AppendUint32(code, uint32(data.Size))
	code = append(code, 0xB0, 0x5A, 0xF3, 0xAA) // mov al, 5Ah; rep stosb
	v := checkFile(t, build(t, "wild.sys", func(b *pe.Builder) {
		b.Code("DriverEntry", append(code, success...), nil, nil)
	}), Options{Timeout: 2 * time.Second})
	assert.Contains(t, []Kind{Fault, Timeout}, v.Verdict)
	assert.Equal(t, StageDriverEntry, v.Stage)
	assert.NotEmpty(t, v.Reason)
	assert.Len(t, v.SHA256, 64)
}

func TestRunGivesVerdictsInTheOrderOfTheFiles(t *testing.T) {
	names := []string{"noun", "hello", "refuse", "noun", "missing"}
	var files, got []string
	for _, n := range names {
		files = append(files, fixture(t, n))
	}
	err := Run(t.Context(), files, Options{Jobs: 3}, func(v *Verdict) error {
		got = append(got, v.File)
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, files, got)
	require.NoError(t, Run(t.Context(), nil, Options{}, nil))
}

func TestACancelledRunEndsItsHosts(t *testing.T) {
	path := build(t, "loop.sys", func(b *pe.Builder) { b.Code("DriverEntry", forever, nil, nil) })
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{}, 8)
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, []string{path, path, path}, Options{Timeout: time.Hour, Jobs: 2,
			Started: func(string) { started <- struct{}{} }}, func(*Verdict) error { return nil })
	}()
	<-started
	cancel()
	assert.ErrorIs(t, <-done, context.Canceled)
}

func TestVerdictsForPeople(t *testing.T) {
	v := checkFile(t, fixture(t, "callmissing"), Options{})
	var b strings.Builder
	_, err := v.WriteTo(&b)
	require.NoError(t, err)
	assert.Contains(t, b.String(), "callmissing.sys: unimplemented, at stage driver_entry")
	assert.Contains(t, b.String(), "called        ntoskrnl.exe!DrvhostNoSuchRoutine")
	v.File = "a\x1b[31m.sys"
	b.Reset()
	_, err = v.WriteTo(&b)
	require.NoError(t, err)
	assert.NotContains(t, b.String(), "\x1b")
}

// realDrivers are the drivers in saferwall/pe's own test folder.
var realDrivers = []string{"acpi.sys", "amdxata.sys", "amdi2c.sys", "WdBoot.sys"}

func TestRealDriversEndWithAVerdict(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/saferwall/pe").Output()
	dir := filepath.Join(strings.TrimSpace(string(out)), "test")
	if err == nil {
		_, err = os.Stat(dir)
	}
	if err != nil {
		if os.Getenv("DRVHOST_REQUIRE_REAL_DRIVERS") != "" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: the real drivers of saferwall/pe's module are not here: %v", err)
	}
	for _, name := range realDrivers {
		t.Run(name, func(t *testing.T) {
			v := checkFile(t, filepath.Join(dir, name), Options{})
			t.Log(v.Summary())
			assert.Contains(t, []Kind{Clean, Refused, Unimplemented}, v.Verdict)
			assert.NotContains(t, v.Reason, "the host process died")
			if v.Bugcheck != nil {
				assert.Empty(t, v.Bugcheck.HostStack)
			}
			assert.Equal(t, v.Verdict == Unimplemented, len(v.CalledUnimplemented) > 0)
		})
	}
}
