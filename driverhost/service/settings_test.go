package service

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSettingsAreReadAsTheyAreWritten(t *testing.T) {
	s, err := ParseSettings([]byte(`{
		"users": ["jo", 1001], "signature_roots": ["/etc/root.pem"], "sandbox": "strict",
		"heartbeat": "1s", "start_limit": "2s", "stop_limit": "3s", "command_limit": "1m30s",
		"failure": {"reset_period": 60, "actions": [{"type": "restart", "delay_ms": 100},
			{"type": "run", "delay_ms": 1}, {"type": "none"}], "command": "/bin/true",
			"reboot_message": "oh", "on_non_crash": true},
		"crashes": {"keep": 5, "bytes": 1000}}`))
	require.NoError(t, err)
	want := Settings{Users: []string{"jo", "1001"}, SignatureRoots: []string{"/etc/root.pem"},
		Sandbox: "strict", Heartbeat: time.Second, StartLimit: 2 * time.Second,
		StopLimit: 3 * time.Second, CommandLimit: 90 * time.Second,
		Failure: FailureActions{ResetPeriod: 60, Actions: []Action{{ActionRestart, 100},
			{ActionRun, 1}, {ActionNone, 0}}, Command: "/bin/true", RebootMessage: "oh",
			OnNonCrash: true},
		Crashes: CrashLimits{Keep: 5, Bytes: 1000}}
	assert.Equal(t, want, s)
	b, err := json.Marshal(s)
	require.NoError(t, err)
	again, err := ParseSettings(b)
	require.NoError(t, err)
	assert.Equal(t, want, again)
	s, err = ParseSettings([]byte("{}"))
	require.NoError(t, err)
	assert.Equal(t, DefaultSettings(), s)
}

func TestWrongSettingsAreRefusedByName(t *testing.T) {
	for _, c := range []struct{ fact, file, says string }{
		{"an unknown field", `{"heartbeats": "1s"}`, `field "heartbeats" is unknown`},
		{"other letters", `{"Heartbeat": "1s"}`, `field "Heartbeat" is unknown`},
		{"an unknown field below", `{"crashes": {"kept": 1}}`, `crashes: field "kept" is unknown`},
		{"a number for a time", `{"heartbeat": 30}`, `heartbeat: want a time such as`},
		{"no unit", `{"heartbeat": "30"}`, `heartbeat: want a time`},
		{"no time", `{"stop_limit": "0s"}`, `stop_limit: want a time`},
		{"a text for a list", `{"users": "jo"}`, `users: want a list`},
		{"a null", `{"users": null}`, `users: want a list`},
		{"an object in a list", `{"users": ["jo", {}]}`, `users: [1]: want a user`},
		{"an unknown mode", `{"sandbox": "maybe"}`, `sandbox: want on, strict, off, not "maybe"`},
		{"a relative path", `{"signature_roots": ["root.pem"]}`, `signature_roots: [0]: want the absolute`},
		{"too little", `{"crashes": {"keep": 0}}`, `crashes: keep: want a number from 1`},
		{"a fraction", `{"crashes": {"bytes": 1.5}}`, `crashes: bytes: want a number`},
		{"a text for a flag", `{"failure": {"on_non_crash": "yes"}}`, `failure: on_non_crash: want true`},
		{"an unknown action", `{"failure": {"actions": [{"type": "shout"}]}}`,
			`failure: actions: [0]: type: want none, restart, reboot, run`},
		{"an action without a type", `{"failure": {"actions": [{}]}}`, `actions: [0]: want a type`},
		{"a command by its name", `{"failure": {"command": "true"}}`, `failure: The parameter`},
		{"a field twice", `{"sandbox": "on", "sandbox": "off"}`, `sandbox: it is there twice`},
		{"a list", `[]`, `want an object`},
		{"nothing", ``, `it ends too early`},
		{"half of it", "{\n\"sandbox\": \"on\"", `it ends too early`},
		{"a comma too many", "{\n\"sandbox\": \"on\",\n}", `line 3`},
		{"more behind it", `{} {}`, `there is more`},
	} {
		t.Run(c.fact, func(t *testing.T) {
			_, err := ParseSettings([]byte(c.file))
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.says)
		})
	}
	dir := t.TempDir()
	s, err := ReadSettings(dir)
	require.NoError(t, err, "without a file they are the defaults")
	assert.Equal(t, DefaultSettings(), s)
	path := filepath.Join(dir, SettingsFile)
	require.NoError(t, os.WriteFile(path, []byte("no"), 0o600))
	_, err = ReadSettings(dir)
	assert.ErrorContains(t, err, path)
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"users": ["jo", 1], "failure": {"actions": [{"type": "run", "delay_ms": 1}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSettings(b)
		if err != nil {
			return
		}
		b, err = json.Marshal(s)
		require.NoError(t, err)
		_, err = ParseSettings(b)
		require.NoError(t, err)
	})
}
