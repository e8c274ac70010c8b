package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/sandbox"
	"github.com/drvhost/drvhost/engine/native"
)

// requireSandbox skips where the machine has none.
func requireSandbox(t *testing.T) {
	for _, f := range sandbox.Examine() {
		if !f.OK {
			t.Skipf("this machine lacks a part of the sandbox: %s: %s", f.Name, f.Found)
		}
	}
}

// filtered says whether a host has given up system calls.
func filtered(t *testing.T, h *host) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.cmd.Process.Pid))
	require.NoError(t, err)
	return strings.Contains(string(status), "Seccomp:\t2\n")
}

func TestAHostIsSandboxedUnlessToldOtherwise(t *testing.T) {
	requireSandbox(t)
	for name, c := range map[string]struct {
		args []string
		want bool
		says string
	}{
		"by default":  {want: true},
		"strict":      {args: []string{"--sandbox=strict"}, want: true},
		"with limits": {args: []string{"--limit", "memory=1G,cpu=1h"}, want: true},
		"off":         {args: []string{"--sandbox=off"}, says: sandbox.Unsandboxed},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShell(t)
			h := s.load(append(c.args, fixture(t, "echo"))...)
			assert.Equal(t, c.want, filtered(t, h))
			r := s.run("ioctl", "Echo", "0x222004", "--in", "hello", "--out-size", "64")
			assert.Contains(t, r.out, "hello")
			assert.Zero(t, h.end(syscall.SIGTERM))
			assert.Contains(t, h.errs.String(), c.says)
			if c.says == "" {
				assert.NotContains(t, h.errs.String(), "sandbox")
			}
			entries, err := os.ReadDir(s.dir + "/hosts")
			require.NoError(t, err)
			assert.Empty(t, entries, "its socket is gone")
		})
	}
}

func TestDriversRunWithProtectionKeys(t *testing.T) {
	if err := native.KeysAvailable(); err != nil {
		t.Skip(err)
	}
	s := newShell(t)
	h := s.load("--pkeys", fixture(t, "echo"))
	for _, code := range []string{"0x222004", "0x22200e", "0x222013"} {
		r := s.run("ioctl", "Echo", code, "--in", "hello", "--out-size", "64")
		assert.Contains(t, r.out, "hello", code)
	}
	big := strings.Repeat("0123456789abcdef", 64<<10) // a shared memory file
	r := s.runWith(big, "ioctl", "Echo", "0x222004", "--in", "-", "--out-size", "1048576",
		"--output", "raw")
	assert.True(t, r.out == big, "%.80s %s", r.out, r.err)
	assert.Zero(t, h.end(syscall.SIGTERM), h.errs.String())
}

func TestALimitHolds(t *testing.T) {
	requireSandbox(t)
	h := newShell(t).load("--limit", "files=200", "--limit", "memory=900M", fixture(t, "noun"))
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", h.cmd.Process.Pid))
	require.NoError(t, err)
	for _, want := range []string{"Max open files 200 200", "Max data size 943718400 943718400",
		"Max core file size 0 0"} {
		assert.Contains(t, strings.Join(strings.Fields(string(limits)), " "), want)
	}
	assert.Zero(t, h.end(syscall.SIGTERM))
}

func TestSandboxFlagsThatMakeNoSense(t *testing.T) {
	for _, args := range [][]string{{"load", "--sandbox=maybe", "x.sys"},
		{"load", "--limit=memory=much", "x.sys"}, {"load", "--limit=stack=1", "x.sys"},
		{"load", "--sandbox=off", "--limit=files=100", "x.sys"},
		{"check", "--sandbox=maybe", "x.sys"}} {
		r := newShell(t).run(args...)
		assert.Equal(t, exitUsage, r.code, "%v: %s", args, r.err)
	}
}

func TestCheckSaysWhatIsLostWithoutASandbox(t *testing.T) {
	r := newShell(t).run("check", "--sandbox=off", fixture(t, "noun"))
	assert.Zero(t, r.code, r.err)
	assert.Contains(t, r.err, sandbox.Unsandboxed)
	assert.Contains(t, r.out, "clean")
}
