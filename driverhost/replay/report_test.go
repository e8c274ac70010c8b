package replay_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/replay"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/irp/trace"
)

// copied gives a session of the fixtures in a directory of its own, with its text changed.
func copied(t *testing.T, name string, change ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(sessions, name+".irpl"))
	require.NoError(t, err)
	driver, err := fixtures.Path(name)
	require.NoError(t, err)
	driver, err = filepath.Abs(driver)
	require.NoError(t, err)
	s := strings.Replace(string(text), `"../`+name+`.sys"`, `"`+driver+`"`, 1)
	changed := strings.NewReplacer(change...).Replace(s)
	require.True(t, len(change) == 0 || changed != s)
	file := filepath.Join(t.TempDir(), name+".irpl")
	require.NoError(t, os.WriteFile(file, []byte(changed), 0o600))
	require.NoError(t, os.CopyFS(trace.DataDir(file), os.DirFS(sessions+"/echo.data")))
	return file
}

func file(t *testing.T, session string, o replay.FileOptions) *replay.Report {
	t.Helper()
	r, err := replay.File(t.Context(), session, o)
	require.NoError(t, err)
	return r
}

func TestADifferenceIsShownByRequestFieldAndByte(t *testing.T) {
	session := copied(t, "echo",
		`"information":29,"out":"hex:000000007772`, `"information":30,"out":"hex:0000000077ff`,
		`"status":"STATUS_MORE_ENTRIES","nt":"0x00000105"`, `"status":"STATUS_SUCCESS"`)
	r := file(t, session, replay.FileOptions{})
	require.False(t, r.Clean())
	require.Len(t, r.Differences, 3)
	var b strings.Builder
	_, err := r.WriteTo(&b)
	require.NoError(t, err)
	for _, line := range []string{
		" requests differ from what was recorded; the first is request 2, read of 64 bytes at 0",
		"request 2, read of 64 bytes at 0 on \\\\.\\Echo (line 7, id 2)",
		"  information  recorded 30, now 29",
		"  output       recorded 29 bytes, now 29; 1 differ, the first at 0x5",
		"  - 0x0000  00 00 00 00 77 ff 69 74  74 65 6e 20 62 65 66 6f  |....w.itten befo|",
		"  + 0x0000  00 00 00 00 77 72 69 74  74 65 6e 20 62 65 66 6f  |....written befo|",
		"  status       recorded STATUS_SUCCESS (0x00000000)",
		"               now      STATUS_MORE_ENTRIES (0x00000105)",
	} {
		assert.Contains(t, b.String(), line)
	}

	var xml bytes.Buffer
	require.NoError(t, replay.WriteJUnit(&xml, []*replay.Report{r, file(t, copied(t, "bench"),
		replay.FileOptions{})}))
	assert.Contains(t, xml.String(), `tests="2" failures="1"`)
	assert.Contains(t, xml.String(), "recorded 30, now 29")
	_, err = json.Marshal(r)
	require.NoError(t, err)

	tr, err := trace.ReadFile(session)
	require.NoError(t, err)
	text, err := r.Accept(tr, trace.Dir(trace.DataDir(session)))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(session, text, 0o600))
	clean(t, file(t, session, replay.FileOptions{}))
}

func TestAnOpenThatEndsInAnotherWay(t *testing.T) {
	r := file(t, copied(t, "bench", `"name":"BenchDrv"`, `"name":"Nothing"`), replay.FileOptions{})
	require.Len(t, r.Differences, 1)
	assert.Contains(t, r.Differences[0].What, "open")
	assert.Positive(t, r.NotSent)
	tr, err := trace.ReadFile(copied(t, "bench"))
	require.NoError(t, err)
	_, err = r.Accept(tr, nil)
	require.ErrorIs(t, err, replay.ErrNotAcceptable)
}

func TestACrashEndsAReplay(t *testing.T) {
	r := file(t, copied(t, "bench", `"code":"0x22e000"`, `"code":"0x22e030"`), replay.FileOptions{})
	require.False(t, r.Clean())
	require.NotNil(t, r.Crash)
	assert.Equal(t, "bench.sys", r.Crash.Module)
	require.NotNil(t, r.Stopped)
	assert.Equal(t, 1, r.Stopped.Request)
	assert.Contains(t, r.Summary(), "the driver crashed")
}

func TestARequestThatDoesNotEnd(t *testing.T) {
	// The cancel of what waits for ever is another event.
	session := copied(t, "echo", `"event":"cancel","id":30`, `"event":"cancel","id":30,"note":"x"`)
	text, err := os.ReadFile(session)
	require.NoError(t, err)
	var kept []string
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, `"cancel"`) {
			kept = append(kept, line)
		}
	}
	require.NoError(t, os.WriteFile(session, []byte(strings.Join(kept, "")), 0o600))
	r := file(t, session, replay.FileOptions{Limit: 300 * time.Millisecond})
	require.NotNil(t, r.Stopped)
	assert.Contains(t, r.Stopped.Text, "it had not ended after 300ms")
	assert.Equal(t, 30, r.Stopped.Request)
}

func TestWhatCannotBeReplayed(t *testing.T) {
	for session, says := range map[string]string{
		"nothing.irpl":              "no such file",
		copied(t, "bench", "{", ""): "1:1: want an object",
		copied(t, "bench", `"file":`, `"file":"x","sha256":`): "64 hexadecimal digits",
		copied(t, "bench", "bench.sys", "none.sys"):           "none.sys",
	} {
		_, err := replay.File(t.Context(), session, replay.FileOptions{})
		require.ErrorContains(t, err, says)
	}
	refuse, err := fixtures.Path("refuse")
	require.NoError(t, err)
	_, err = replay.File(t.Context(), copied(t, "bench"), replay.FileOptions{Drivers: []string{refuse}})
	require.ErrorContains(t, err, "DriverEntry returned")
}
