package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

func TestLoadSaysWhatItDidAndUnloads(t *testing.T) {
	h := newShell(t).load(fixture(t, "hello"))
	driver := h.event("driver")
	assert.Equal(t, "hello", driver["service"])
	assert.Equal(t, "0x140000000", driver["base"])
	assert.Equal(t, "STATUS_SUCCESS", driver["driver_entry"])
	assert.Equal(t, map[string]any{"bound": 6.0, "missing": []any{}}, driver["imports"])
	assert.EqualValues(t, h.cmd.Process.Pid, h.event("listening")["pid"])
	assert.Zero(t, h.end(syscall.SIGINT))
	var text strings.Builder
	for _, e := range h.events {
		if e["event"] == "print" {
			text.WriteString(e["text"].(string))
		}
	}
	for _, line := range fixtures.HelloLines {
		assert.Contains(t, text.String(), line+"\n")
	}
	assert.Contains(t, text.String(), `hello: unload of \Driver\hello`)
	end := h.event("end")
	assert.Equal(t, []any{}, end["stuck"])
	assert.Equal(t, map[string]any{}, end["left"])
	assert.Equal(t, []any{}, end["pool"])
}

func TestLoadSaysTheSameToPeople(t *testing.T) {
	s := newShell(t)
	h := s.start("load", fixture(t, "missing"), fixture(t, "noun"))
	var text strings.Builder
	for line := range h.text {
		text.WriteString(line + "\n")
		if strings.Contains(line, "serves these devices") {
			require.NoError(t, h.cmd.Process.Signal(os.Interrupt))
		}
	}
	assert.Zero(t, h.end(0))
	for _, want := range []string{
		"missing: loaded\n", "missing.sys: service missing\n", "noun.sys: service noun\n",
		"  mapped   0x140000000 to 0x14000", "where it wants to be", "relocated; it wants",
		"  imports  1 bound, 1 missing\n",
		"  missing  ntoskrnl.exe!DrvhostNoSuchRoutine (reported if it is called)\n",
		"  entry    DriverEntry returned STATUS_SUCCESS\n", "  device   \\Device\\Noun\n",
		"  link     \\\\.\\Noun\n", "  unload   none", s.dir + "/hosts/",
		"drvhost: noun has no DriverUnload: it ends with the process\n",
	} {
		assert.Contains(t, text.String(), want)
	}
	assert.Contains(t, h.errs.String(), "what is pending is cancelled")
}

func TestAnotherProcessDoesIOWithADevice(t *testing.T) {
	s := newShell(t)
	h := s.load(fixture(t, "echo"))
	pid := strconv.Itoa(h.cmd.Process.Pid)
	big := strings.Repeat("0123456789abcdef", 4096)
	file := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.WriteFile(file, []byte("from a file"), 0o600))
	const ok = "STATUS_SUCCESS (0x00000000)"
	for name, c := range map[string]struct {
		stdin string
		args  []string
		code  int
		out   string
		err   string
	}{
		"devices": {args: []string{"devices"}, out: `\\.\ECHO           process ` + pid},
		"text comes back as text": {args: []string{"ioctl", "Echo", "0x222004", "--in", "hello",
			"--out-size", "64"}, out: ok + ", information 5\nhello\n"},
		"the full name, a decimal code, output as a dump": {args: []string{"ioctl", `\\.\Echo`,
			"2236420", "--in", "hex:00 ff", "--out-size", "2"},
			out: ok + ", information 2\n00000000  00 ff "},
		"raw output is nothing else": {args: []string{"ioctl", "echo", "0x222004", "--in", "@" + file,
			"--out-size", "64", "--output", "raw"}, out: "from a file", err: ok},
		"input from standard input": {stdin: "piped", args: []string{"ioctl", "Echo", "0x22200e",
			"--in", "-", "--out-size", "5"}, out: "\npiped\n"},
		"method neither": {args: []string{"ioctl", "Echo", "0x222013", "--in", "n", "--out-size", "8"},
			out: "\nn\n"},
		"a large buffer": {stdin: big, args: []string{"ioctl", "Echo", "0x222004", "--in", "-",
			"--out-size", "65536", "--output", "raw"}, out: big},
		"a shorter output buffer": {args: []string{"ioctl", "Echo", "0x222004", "--in", "hello",
			"--out-size", "2"}, out: ok + ", information 2\nhe\n"},
		"a code that the driver does not know": {args: []string{"ioctl", "Echo", "0x22fffc"},
			code: exitStatus, out: "STATUS_INVALID_DEVICE_REQUEST (0xc0000010)"},
		"a timeout cancels": {args: []string{"ioctl", "Echo", "0x22201c", "--timeout", "20ms"},
			code: exitStatus, out: "STATUS_CANCELLED (0xc0000120)"},
		"write": {args: []string{"write", "Echo", "four"}, out: ok + ", information 4\n"},
		"write what looks like a file": {args: []string{"write", "Echo", "text:@home"},
			out: ok + ", information 5\n"},
		"read at the end": {args: []string{"read", "Echo"}, code: exitStatus,
			out: "STATUS_END_OF_FILE (0xc0000011)"},
		"a failing open": {args: []string{"read", `Echo\status\c0000022`}, code: exitStatus,
			err: "STATUS_ACCESS_DENIED"},
		"no such device": {args: []string{"read", "Nothing"}, code: exitNoDevice,
			err: "`drvhost devices` lists"},
		"no such code": {args: []string{"ioctl", "Echo", "0xzz"}, code: exitUsage,
			err: "is no I/O control code"},
		"bad hexadecimal": {args: []string{"write", "Echo", "hex:0"}, code: exitUsage,
			err: "pairs of hexadecimal digits"},
		"bad output": {args: []string{"read", "Echo", "--output", "x"}, code: exitUsage,
			err: "want auto, text, hex, raw"},
		"a negative size": {args: []string{"read", "Echo", "--size", "-1"}, code: exitUsage,
			err: "--size -1"},
		"bad access": {args: []string{"read", "Echo", "--access", "x"}, code: exitUsage, err: "--access x"},
		"a code that needs write access": {args: []string{"ioctl", "Echo", "0x22a034", "--access", "r"},
			code: exitStatus, out: "STATUS_ACCESS_DENIED"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &shell{t, s.dir}
			r := s.runWith(c.stdin, c.args...)
			assert.Equal(t, c.code, r.code, "%s%s", r.out, r.err)
			assert.Contains(t, r.out, c.out)
			assert.Contains(t, r.err, c.err)
		})
	}
	t.Run("results as JSON", func(t *testing.T) {
		r := s.run("ioctl", "Echo", "0x222004", "--in", "hi", "--out-size", "9", "--format", "json")
		assert.JSONEq(t, `{"device": "Echo", "operation": "ioctl", "code": "0x222004",
			"status": "STATUS_SUCCESS", "status_code": "0x00000000", "information": 2,
			"data": "`+hex.EncodeToString([]byte("hi"))+`"}`, r.out)
	})
	t.Run("devices as JSON", func(t *testing.T) {
		r := s.run("devices", "--format", "json")
		var list []map[string]any
		require.NoError(t, json.Unmarshal([]byte(r.out), &list))
		require.Len(t, list, 4)
		assert.Equal(t, `\\.\ECHO`, list[0]["name"])
		assert.EqualValues(t, h.cmd.Process.Pid, list[0]["pid"])
		assert.Equal(t, true, list[0]["alive"])
	})
	t.Run("names are completed", func(t *testing.T) {
		assert.Contains(t, s.run("__complete", "read", "").out, "ECHODIRECT\n")
	})
	assert.Zero(t, h.end(syscall.SIGTERM), h.errs.String())
	assert.Contains(t, s.run("devices").err, "no host offers a device")
}

func TestADriverThatRefusesLeavesNothing(t *testing.T) {
	s := newShell(t)
	for range 2 {
		r := s.run("load", fixture(t, "refuse"))
		assert.Equal(t, exitDriverEntry, r.code)
		assert.Contains(t, r.err, "DriverEntry returned STATUS_DEVICE_CONFIGURATION_ERROR")
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "*", "*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestAFailingDriverTakesTheOnesBeforeItAlong(t *testing.T) {
	s := newShell(t)
	r := s.run("load", fixture(t, "hello"), fixture(t, "refuse"))
	assert.Equal(t, exitDriverEntry, r.code)
	assert.Contains(t, r.out, "hello: unload of")
}

func TestFilesThatAreNoDriversAreRefusedWithTheFact(t *testing.T) {
	s := newShell(t)
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.sys")
	require.NoError(t, os.WriteFile(garbage, bytes.Repeat([]byte{7}, 4096), 0o600))
	fifo := filepath.Join(dir, "fifo.sys")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	for path, want := range map[string]string{
		garbage: "garbage.sys: ", fifo: "not a regular file", dir: "not a regular file",
		filepath.Join(dir, "none.sys"): "no such file",
	} {
		r := s.run("load", path)
		assert.Equal(t, exitBadDriver, r.code, path)
		assert.Contains(t, r.err, want)
	}
}

func TestMissingImports(t *testing.T) {
	s := newShell(t)
	t.Run("do not keep a driver from being loaded", func(t *testing.T) {
		s := newShell(t)
		h := s.load(fixture(t, "missing"))
		imports := h.event("driver")["imports"].(map[string]any)
		assert.Equal(t, []any{"ntoskrnl.exe!DrvhostNoSuchRoutine"}, imports["missing"])
		assert.Zero(t, h.end(syscall.SIGTERM))
	})
	t.Run("do with --missing=fail", func(t *testing.T) {
		r := s.run("load", "--missing=fail", fixture(t, "missing"))
		assert.Equal(t, exitBadDriver, r.code)
		assert.Contains(t, r.err, "DrvhostNoSuchRoutine")
	})
	t.Run("stop the driver when one is called", func(t *testing.T) {
		r := s.run("load", fixture(t, "callmissing"))
		assert.Equal(t, exitCrash, r.code)
		assert.Contains(t, r.err, "0x1111, 0x2222, 0x3333, 0x4444")
		assert.Contains(t, r.err, "called by callmissing.sys+0x")
		assert.Contains(t, r.err, "*** STOP 0x0000007e")
	})
}

func TestSeveralDriversShareAHost(t *testing.T) {
	t.Run("at one base", func(t *testing.T) {
		h := newShell(t).load(fixture(t, "base_a"), fixture(t, "base_b"))
		assert.Equal(t, "0x140000000", h.events[driverAt(h, 0)]["base"])
		second := h.events[driverAt(h, 1)]
		assert.Equal(t, true, second["relocated"])
		assert.NotEqual(t, "0x140000000", second["base"])
		assert.Zero(t, h.end(syscall.SIGTERM))
	})
	t.Run("one importing from another", func(t *testing.T) {
		h := newShell(t).load(fixture(t, "exportlib"), fixture(t, "importer"))
		imports := h.events[driverAt(h, 1)]["imports"].(map[string]any)
		assert.Empty(t, imports["missing"])
		assert.Zero(t, h.end(syscall.SIGTERM))
	})
}

// driverAt gives the index of the host's n-th driver event.
func driverAt(h *host, n int) int {
	for i, e := range h.events {
		if e["event"] == "driver" {
			if n == 0 {
				return i
			}
			n--
		}
	}
	return -1
}

func TestASecondHostMayNotClaimAName(t *testing.T) {
	s := newShell(t)
	first := s.load(fixture(t, "echo"))
	r := s.run("load", fixture(t, "echo"))
	assert.Equal(t, exitClaimed, r.code)
	assert.Contains(t, r.err, fmt.Sprintf("process %d", first.cmd.Process.Pid))
	assert.Zero(t, s.run("ioctl", "Echo", "0x222004", "--in", "x").code, "the first still serves")
	assert.Zero(t, first.end(syscall.SIGTERM))
}

func TestAKilledHostIsAnErrorAtOnceAndIsReplaced(t *testing.T) {
	s := newShell(t)
	h := s.load(fixture(t, "echo"))
	f, err := client.Open("Echo", client.RuntimeDir(s.dir))
	require.NoError(t, err)
	defer f.Close()
	pending := make(chan error, 1)
	go func() {
		_, err := f.DeviceIoControl(context.Background(), fixtures.IOCTL_ECHO_PEND_FOREVER, nil, nil)
		pending <- err
	}()
	waitPending(t, s)
	h.end(syscall.SIGKILL)
	var gone *client.HostGoneError
	assert.ErrorAs(t, <-pending, &gone)
	assert.Contains(t, s.run("devices").out, "its host has ended")
	r := s.run("read", "Echo")
	assert.Equal(t, exitNoDevice, r.code)
	assert.Contains(t, r.err, "has ended")
	again := s.load(fixture(t, "echo"))
	assert.Zero(t, s.run("ioctl", "Echo", "0x222004").code)
	assert.Zero(t, again.end(syscall.SIGTERM))
}

// waitPending waits until the echo driver has one pending request.
func waitPending(t *testing.T, s *shell) {
	f, err := client.Open("EchoDirect", client.RuntimeDir(s.dir))
	require.NoError(t, err)
	defer f.Close()
	echo, err := client.Open("Echo", client.RuntimeDir(s.dir))
	require.NoError(t, err)
	defer echo.Close()
	for {
		out := make([]byte, fixtures.EchoCountsSize)
		_, err := echo.DeviceIoControl(context.Background(), fixtures.IOCTL_ECHO_COUNTS, nil, out)
		require.NoError(t, err)
		counts, err := fixtures.ParseEchoCounts(out)
		require.NoError(t, err)
		if counts.Waiting > 0 {
			return
		}
	}
}

func TestTheEndOfAHostCancelsWhatIsPending(t *testing.T) {
	s := newShell(t)
	h := s.load(fixture(t, "echo"))
	f, err := client.Open("Echo", client.RuntimeDir(s.dir))
	require.NoError(t, err)
	defer f.Close()
	pending := make(chan error, 1)
	go func() {
		_, err := f.DeviceIoControl(context.Background(), fixtures.IOCTL_ECHO_PEND_FOREVER, nil, nil)
		pending <- err
	}()
	waitPending(t, s)
	assert.Zero(t, h.end(syscall.SIGTERM), h.errs.String())
	assert.ErrorIs(t, <-pending, nt.STATUS_CANCELLED)
}

func TestARequestThatDoesNotEndIsNamed(t *testing.T) {
	t.Parallel() // it takes the 5 s that a request has
	s := newShell(t)
	h := s.load(fixture(t, "faults"))
	f, err := client.Open("Faults", client.RuntimeDir(s.dir))
	require.NoError(t, err)
	defer f.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := f.DeviceIoControl(context.Background(), fixtures.IOCTL_FAULTS_LOOP, nil, nil)
		ended <- err
	}()
	spinning(t, h.cmd.Process.Pid)
	assert.Equal(t, exitStuck, h.end(syscall.SIGTERM), h.errs.String())
	assert.Error(t, <-ended)
	stuck := h.event("end")["stuck"].([]any)
	require.Len(t, stuck, 1)
	assert.Contains(t, stuck[0], `on Faults by process `+strconv.Itoa(os.Getpid())+", code 0x222024")
}

// spinning waits until a process has used some processor time since it was looked at first.
func spinning(t *testing.T, pid int) {
	ticks := func() int {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		require.NoError(t, err)
		_, rest, _ := strings.Cut(string(stat), ") ")
		n, err := strconv.Atoi(strings.Fields(rest)[11]) // utime
		require.NoError(t, err)
		return n
	}
	const some = 10
	for first := ticks(); ticks() < first+some; {
		time.Sleep(time.Millisecond)
	}
}

func TestASecondSignalEndsTheHostAtOnce(t *testing.T) {
	s := newShell(t)
	h := s.load(fixture(t, "faults"))
	f, err := client.Open("Faults", client.RuntimeDir(s.dir))
	require.NoError(t, err)
	defer f.Close()
	go func() {
		_, _ = f.DeviceIoControl(context.Background(), fixtures.IOCTL_FAULTS_LOOP, nil, nil)
	}()
	spinning(t, h.cmd.Process.Pid)
	require.NoError(t, h.cmd.Process.Signal(syscall.SIGTERM))
	for len(s.run("devices").out) > 0 { // until it has begun to end
		time.Sleep(time.Millisecond)
	}
	assert.Equal(t, exitInterrupted, h.end(syscall.SIGINT))
}

func TestACrashIsReportedAndFailsTheClientAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		code uint32
		want string
	}{
		"a write to null":    {fixtures.IOCTL_FAULTS_WRITE_NULL, "STATUS_ACCESS_VIOLATION: write to 0x0 at faults.sys+0x"},
		"a call of null":     {fixtures.IOCTL_FAULTS_CALL_NULL, "at faults.sys+0x"},
		"KeBugCheckEx":       {fixtures.IOCTL_FAULTS_BUGCHECK, "*** STOP 0x0badc0de"},
		"a bare system call": {fixtures.IOCTL_FAULTS_SYSCALL, "a raw system call"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShell(t)
			h := s.load(fixture(t, "faults"))
			r := s.run("ioctl", "Faults", fmt.Sprintf("%#x", c.code))
			assert.Equal(t, exitCrash, r.code, "%s%s", r.out, r.err)
			assert.Contains(t, r.err, "bugcheck")
			assert.Equal(t, exitCrash, h.end(0))
			assert.Contains(t, h.errs.String(), c.want)
			assert.Contains(t, h.errs.String(), "rip 0x")
			bugcheck := h.event("crash")["bugcheck"].(map[string]any)
			assert.Equal(t, "faults.sys", bugcheck["module"])
			assert.Empty(t, s.run("devices").out, "its names are gone")
		})
	}
}

func TestADriverWithoutUnloadEndsWithTheProcess(t *testing.T) {
	h := newShell(t).load(fixture(t, "noun"))
	assert.Zero(t, h.end(syscall.SIGTERM))
	assert.Equal(t, []any{"noun"}, h.event("end")["no_unload"])
}

func TestTracesAndLogs(t *testing.T) {
	trace := func(args ...string) string {
		h := newShell(t).load(append(args, fixture(t, "noun"))...)
		assert.Zero(t, h.end(syscall.SIGTERM))
		return h.errs.String()
	}
	assert.Contains(t, trace("--trace"), `IoCreateDevice(`)
	all := trace("--log", "io")
	assert.Contains(t, all, "[DEBUG] io: noun.sys+0x")
	assert.NotContains(t, all, "RtlInitUnicodeString")
	assert.Contains(t, trace("--log", "rtl,mm"), "RtlInitUnicodeString")
	assert.Empty(t, trace("--log", "ke"))
	r := newShell(t).run("load", "--log", "nonsense", fixture(t, "noun"))
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.err, "there is no such part")
}

func TestDemoEndsWellWithoutATerminal(t *testing.T) {
	s := newShell(t)
	r := s.run("demo")
	assert.Zero(t, r.code, "%s%s", r.out, r.err)
	for _, want := range []string{`open \\.\Echo`, "STATUS_SUCCESS, 13 bytes", "METHOD_NEITHER",
		"STATUS_CANCELLED", "STATUS_END_OF_FILE", "STATUS_INVALID_DEVICE_REQUEST", "is unloaded"} {
		assert.Contains(t, r.out, want)
	}
	assert.Contains(t, s.run("devices").err, "no host offers a device")
}

func TestOnlyWhatIsSignedIsLoadedIfThatIsRequired(t *testing.T) {
	const samples = "../../driverhost/signature/testdata/"
	s := newShell(t)
	r := s.run("load", "--require-signature", samples+"stranger.pem", "--require-signature",
		samples+"root.pem", samples+"nested.sys", fixture(t, "echo"))
	assert.Equal(t, exitBadDriver, r.code)
	assert.Contains(t, r.err, "echo.sys: not signed")
	assert.NotContains(t, r.err+r.out, "nested", "nothing was loaded")

	h := s.load("--require-signature", samples+"root.pem", samples+"nested.sys")
	assert.Equal(t, "nested", h.event("driver")["service"])
	assert.Zero(t, h.end(syscall.SIGINT))

	r = s.run("load", "--require-signature", filepath.Join(s.dir, "none.pem"), fixture(t, "echo"))
	assert.Equal(t, exitUsage, r.code)
}
