package crash

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// crashed loads the faults driver and sends it a control code that crashes it; at the end keep is
// called while the host still has its memory.
func crashed(t *testing.T, code uint32, keep func(r *driverhost.CrashReport)) {
	t.Helper()
	path, err := fixtures.Path("faults")
	require.NoError(t, err)
	var h *driverhost.Host
	h, err = driverhost.New(driverhost.Options{OnCrash: func(*ke.Bugcheck) {
		r, ok := h.CrashReport()
		require.True(t, ok)
		keep(&r)
	}})
	require.NoError(t, err)
	_, err = h.Load(path)
	require.NoError(t, err)
	f := drivertest.Open(t, h, `\\.\Faults`)
	_, err = f.DeviceIoControl(context.Background(), code, nil, nil)
	require.Error(t, err)
	<-h.Done()
	_ = f.Close()
	_, _ = h.Close()
}

func TestACrashIsKept(t *testing.T) {
	dir, err := Open(filepath.Join(t.TempDir(), "new", "crashes"))
	require.NoError(t, err)
	defer dir.Close()
	crashed(t, fixtures.IOCTL_FAULTS_WRITE_NULL, func(r *driverhost.CrashReport) {
		folder, err := dir.Keep(r.Driver(), r)
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(filepath.Base(folder), "faults-"))

		text, err := os.ReadFile(filepath.Join(folder, "report.txt"))
		require.NoError(t, err)
		for _, want := range []string{"SYSTEM_SERVICE_EXCEPTION", "write to 0x0 at faults.sys+",
			"exception code", "#0  faults.sys+", "IRP_MJ_DEVICE_CONTROL", "IoCreateDevice(DriverObject=",
			"ntoskrnl.exe", "thread 0x"} {
			assert.Contains(t, string(text), want)
		}

		data, err := os.ReadFile(filepath.Join(folder, "report.json"))
		require.NoError(t, err)
		var fields map[string]any
		require.NoError(t, json.Unmarshal(data, &fields))
		for _, name := range []string{"code", "name", "params", "reason", "meaning", "parameters",
			"module", "offset", "rip", "irql", "processor", "thread_id", "registers", "stack", "trace",
			"calls", "modules", "request"} {
			assert.Contains(t, fields, name)
		}
		assert.NotNil(t, fields["request"])

		core, err := elf.Open(filepath.Join(folder, "core"))
		require.NoError(t, err)
		defer core.Close()
		assert.Equal(t, elf.ET_CORE, core.Type)
		require.Equal(t, elf.PT_NOTE, core.Progs[0].Type)
		note, err := io.ReadAll(core.Progs[0].Open())
		require.NoError(t, err)
		registers := note[20+statusRegisters:]
		assert.Equal(t, uint64(r.RIP), binary.LittleEndian.Uint64(registers[16*8:]))
		assert.Equal(t, uint64(r.Registers["rsp"]), binary.LittleEndian.Uint64(registers[19*8:]))
		for _, at := range []guest.Addr{guest.Addr(r.RIP), guest.Addr(r.Registers["rsp"])} {
			want := make([]byte, 16)
			require.NoError(t, guest.Read(want, at))
			assert.Equal(t, want, coreAt(t, core, at, len(want)), at)
		}
	})
}

// coreAt reads a core's memory.
func coreAt(t *testing.T, core *elf.File, at guest.Addr, n int) []byte {
	t.Helper()
	for _, p := range core.Progs {
		if p.Type == elf.PT_LOAD && uint64(at) >= p.Vaddr && uint64(at)+uint64(n) <= p.Vaddr+p.Filesz {
			b := make([]byte, n)
			_, err := p.ReadAt(b, int64(uint64(at)-p.Vaddr))
			require.NoError(t, err)
			return b
		}
	}
	t.Fatalf("the core has nothing at %v", at)
	return nil
}

func TestACrashOfAnyKindHasAReport(t *testing.T) {
	for name, code := range map[string]uint32{
		"a jump into nowhere": fixtures.IOCTL_FAULTS_WILD_JUMP,
		"a stack overflow":    fixtures.IOCTL_FAULTS_STACK_OVERFLOW,
		"KeBugCheckEx":        fixtures.IOCTL_FAULTS_BUGCHECK,
		"a division by zero":  fixtures.IOCTL_FAULTS_DIVIDE,
	} {
		t.Run(name, func(t *testing.T) {
			crashed(t, code, func(r *driverhost.CrashReport) {
				var text strings.Builder
				require.NoError(t, r.WriteLong(&text))
				assert.Equal(t, "faults", r.Driver())
				in := false
				for _, f := range r.Trace[:min(len(r.Trace), 3)] {
					in = in || f.Module == "faults.sys"
				}
				assert.True(t, in || len(r.Stack) > 0, "the driver is in the trace: %v", r.Trace)
				require.NotEmpty(t, r.Calls)
				require.Len(t, r.Modules, 3)
				require.NotNil(t, r.Request)
				assert.Equal(t, code, uint32(r.Request.Code))
			})
		})
	}
}

func TestADirectoryThatCannotBeUsedIsSaid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(filepath.Join(file, "crashes"))
	require.ErrorContains(t, err, "crash directory")
}

func TestNamesOfFolders(t *testing.T) {
	for name, want := range map[string]string{"echo": "echo", "../x y": "_x_y", "": "driver",
		"..": "driver", "a/b": "a_b"} {
		assert.Equal(t, want, safe(name))
	}
}

func TestMappings(t *testing.T) {
	s, ok := parseMapping("00011000-00012000 r-xp 00000000 00:00 0")
	require.True(t, ok)
	assert.Equal(t, Segment{0x11000, 0x1000, guest.ProtRX}, s)
	for _, bad := range []string{"", "x", "1-2", "2000-1000 rw-p", "zz-10 rw-p"} {
		_, ok := parseMapping(bad)
		assert.False(t, ok, bad)
	}
}
