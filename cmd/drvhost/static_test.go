package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckGivesOneVerdictALine(t *testing.T) {
	s := newShell(t)
	good, bad := fixture(t, "hello"), fixture(t, "refuse")
	r := s.run("check", "--format", "json", good, bad)
	assert.Equal(t, exitNotClean, r.code)
	list := rows(t, r.out)
	require.Len(t, list, 2)
	assert.Equal(t, "clean", list[0]["verdict"])
	assert.Equal(t, good, list[0]["file"])
	assert.Equal(t, "refused", list[1]["verdict"])
	assert.Equal(t, "0xc0000182", list[1]["driver_entry"])
	assert.Contains(t, r.err, "STATUS_DEVICE_CONFIGURATION_ERROR")
	r = s.run("check", good)
	assert.Zero(t, r.code)
	assert.Contains(t, r.out, "hello.sys: clean")
	assert.Empty(t, r.err)
	assert.Equal(t, exitUsage, s.run("check").code)
	assert.Equal(t, exitUsage, s.run("check", "--missing", "x", good).code)
	assert.Equal(t, exitUsage, s.run("check", "--timeout", "0s", good).code)
	r = s.run("check", "--missing=fail", fixture(t, "missing"))
	assert.Contains(t, r.out, "unimplemented, at stage load")
	assert.NoDirExists(t, s.dir, "a check needs no runtime directory")
}

func TestListsAsTextAndJSON(t *testing.T) {
	s := newShell(t)
	for _, c := range []struct {
		args []string
		text string
		keys []string
	}{
		{[]string{"exports"}, "ntoskrnl.exe!IoCreateDevice",
			[]string{"module", "name", "support", "note", "max_irql"}},
		{[]string{"doctor"}, "fsgsbase", []string{"name", "ok", "required", "found", "cost"}},
	} {
		assert.Contains(t, s.run(c.args...).out, c.text)
		var list []map[string]any
		require.NoError(t, json.Unmarshal([]byte(s.run(append(c.args, "--format=json")...).out), &list))
		require.NotEmpty(t, list)
		for _, key := range c.keys {
			assert.Contains(t, list[0], key)
		}
		assert.Len(t, list[0], len(c.keys))
	}
	assert.Regexp(t, `odd.sys +ok +\d+ instructions are patched`,
		s.run("doctor", fixture(t, "odd")).out)
	assert.Equal(t, exitBadDriver, s.run("doctor", "main.go").code)
	assert.Contains(t, s.run("--version").out, "build 19045")
	assert.Contains(t, s.run("inspect", fixture(t, "missing")).out, "DrvhostNoSuchRoutine  missing")
	var report map[string]any
	r := s.run("inspect", "--format", "json", fixture(t, "missing"))
	require.NoError(t, json.Unmarshal([]byte(r.out), &report))
	assert.Equal(t, []any{"ntoskrnl.exe!DrvhostNoSuchRoutine"}, report["missing"])
	assert.Equal(t, exitBadDriver, s.run("inspect", "main.go").code)
}

func TestACommandLineThatIsNotUnderstoodIsSaidToBe(t *testing.T) {
	s := newShell(t)
	for _, args := range [][]string{{"nonsense"}, {"load"}, {"load", "--nonsense", "x"}, {"ioctl", "x"},
		{"devices", "--format", "xml"}, {"load", "--missing", "x", "x"}, {"load", "--processors", "65", "x"},
		{"inspect", "a", "b"}, {"exports", "x"}} {
		r := s.run(args...)
		assert.Equal(t, exitUsage, r.code, "%v", args)
		assert.True(t, strings.HasPrefix(r.err, "drvhost: "), "%v: %s", args, r.err)
		assert.Empty(t, r.out)
	}
	assert.Contains(t, s.run("help", "exit-codes").out, "DriverEntry returned an error")
	assert.Contains(t, s.run().out, "drvhost load foo.sys")
	for _, sh := range []string{"bash", "zsh", "fish"} {
		assert.Contains(t, s.run("completion", sh).out, "drvhost")
	}
}

func TestTheManualIsThatOfTheCommand(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, writeDocs(newRoot(&app{}, ""), dir))
	made, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	kept, err := filepath.Glob("../../docs/cli/*")
	require.NoError(t, err)
	assert.Equal(t, len(made), len(kept), "run go generate ./cmd/drvhost")
	for _, path := range made {
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		have, err := os.ReadFile(filepath.Join("../../docs/cli", filepath.Base(path)))
		require.NoError(t, err)
		assert.Equal(t, string(want), string(have), "run go generate ./cmd/drvhost")
	}
}

func TestDataArguments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(file, []byte{1, 2}, 0o600))
	for arg, want := range map[string]string{
		"": "", "hello": "hello", "hex:": "", "hex:00ff": "\x00\xff", "hex:0a:0B, 0c": "\n\v\f",
		"-": "in", "@" + file: "\x01\x02", "text:-": "-", "text:hex:00": "hex:00", "a@b": "a@b",
	} {
		have, err := parseData(arg, strings.NewReader("in"))
		require.NoError(t, err, arg)
		assert.Equal(t, want, string(have), arg)
	}
	for _, arg := range []string{"hex:0", "hex:zz", "@/nonexistent"} {
		_, err := parseData(arg, nil)
		assert.Error(t, err, arg)
	}
	for arg, want := range map[string]uint32{"0": 0, "2236420": 0x222004, "0x222004": 0x222004,
		"0X22E030": 0x22e030, "0xffffffff": 0xffffffff} {
		have, err := parseCode(arg)
		require.NoError(t, err, arg)
		assert.Equal(t, want, have)
	}
	for _, arg := range []string{"", "0x", "x", "22E004", "-1", "0x100000000"} {
		_, err := parseCode(arg)
		assert.Error(t, err, arg)
	}
}

func TestOutputIsShownInTheFormThatIsWanted(t *testing.T) {
	for _, c := range []struct{ data, form, want string }{
		{"hello", outputAuto, "hello\n"},
		{"line\n", outputAuto, "line\n"},
		{"", outputAuto, ""},
		{"\x1b[31m", outputAuto, "00000000  1b 5b 33 31 6d  "},
		{"\xff", outputAuto, "00000000  ff "},
		{"hello", outputHex, "00000000  68 65 6c 6c 6f "},
		{"\x00", outputRaw, "\x00"},
		{"x", outputText, "x\n"},
	} {
		var b strings.Builder
		require.NoError(t, showData(&b, []byte(c.data), c.form))
		assert.True(t, strings.HasPrefix(b.String(), c.want), "%q as %s: %q", c.data, c.form, b.String())
	}
}
