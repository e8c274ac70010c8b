package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatACommandDoesIsRecordedAndReplayed(t *testing.T) {
	s := newShell(t)
	dir := t.TempDir()
	session := filepath.Join(dir, "s.irpl")
	r := s.run("record", "-o", session, "--driver", fixture(t, "echo"), "--", binary, "ioctl", "Echo",
		"0x222004", "--in", "over and back", "--out-size", "64")
	require.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, r.out, "over and back", "the command's output is record's")
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, list, 1, "no directory for data that there is not")

	r = s.run("replay", session)
	require.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, r.out, "1 requests, as recorded")
	text, err := os.ReadFile(session)
	require.NoError(t, err)
	bad := strings.Replace(string(text), `"out":"over`, `"out":"oven`, 1)
	require.NotEqual(t, string(text), bad)
	require.NoError(t, os.WriteFile(session, []byte(bad), 0o600))
	junit := filepath.Join(dir, "out.xml")
	r = s.run("replay", "--junit", junit, session)
	assert.Equal(t, exitNotClean, r.code)
	assert.Contains(t, r.out, "1 differ, the first at 0x3")
	xml, err := os.ReadFile(junit)
	require.NoError(t, err)
	assert.Contains(t, string(xml), `failures="1"`)
	r = s.run("replay", "--update", session)
	assert.Equal(t, exitOK, r.code, r.err)
	updated, err := os.ReadFile(session)
	require.NoError(t, err)
	assert.Equal(t, string(text), string(updated))

	r = s.run("record", "-o", session, "--driver", fixture(t, "echo"), "--", binary, "ioctl", "None",
		"0x222004")
	assert.Equal(t, exitNoDevice, r.code, "record exits as the command does")
	assert.Equal(t, exitUsage, s.run("record", "--", "true").code)
	r = s.run("record", "-o", session, "--driver", fixture(t, "refuse"), "--", "true")
	assert.Equal(t, exitDriverEntry, r.code, r.err)
	r = s.run("replay", fixture(t, "echo"))
	assert.Equal(t, exitBadDriver, r.code)
	assert.Contains(t, r.err, "echo.sys:1:1: ")
}
