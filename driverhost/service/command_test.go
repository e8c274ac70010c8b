package service

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

func TestACommandIsTakenApartAsOnWindows(t *testing.T) {
	for _, c := range []struct {
		fact, line string
		words      []string
	}{
		{"blanks", "/x  a\tb ", []string{"/x", "a", "b"}},
		{"blanks before it", "  /x a", []string{"/x", "a"}},
		{"a program in quotes", `"/a b/c" d`, []string{"/a b/c", "d"}},
		{"a program's backslashes", `/a\b\"c d" e`, []string{`/a\b\c d`, "e"}},
		{"quotes within a word", `/x d"e f"g h`, []string{"/x", "de fg", "h"}},
		{"the documentation's first", `/x "abc" d e`, []string{"/x", "abc", "d", "e"}},
		{"the documentation's second", `/x a\\b d"e f"g h`, []string{"/x", `a\\b`, "de fg", "h"}},
		{"the documentation's third", `/x a\\\"b c d`, []string{"/x", `a\"b`, "c", "d"}},
		{"the documentation's fourth", `/x a\\\\"b c" d e`, []string{"/x", `a\\b c`, "d", "e"}},
		{"the documentation's fifth", `/x a"b"" c d`, []string{"/x", `ab" c d`}},
		{"an empty word", `/x "" b`, []string{"/x", "", "b"}},
		{"a quote that does not end", `/x "a b`, []string{"/x", "a b"}},
		{"backslashes at the end", `/x a\\`, []string{"/x", `a\\`}},
	} {
		t.Run(c.fact, func(t *testing.T) {
			words, err := SplitCommand(c.line)
			require.NoError(t, err)
			assert.Equal(t, c.words, words)
		})
	}
	for _, line := range []string{"", "  ", "notify x", `"" x`, "./x"} {
		_, err := SplitCommand(line)
		assert.ErrorIs(t, err, InvalidParameter, line)
	}
}

func FuzzSplitCommand(f *testing.F) {
	f.Add(`/x a\\\\"b c" d "" e""`)
	f.Fuzz(func(t *testing.T, line string) {
		words := splitCommand(line)
		n := 0
		for _, w := range words {
			n += len(w)
		}
		assert.LessOrEqual(t, n, len(line), "nothing comes out that was not in it")
	})
}

// startIn runs a command in a unit of a directory, and gives what is then in its log.
func runIn(t *testing.T, line string, limit time.Duration) (log string, err error) {
	t.Helper()
	u := &unit{dir: t.TempDir()}
	wait, err := u.startCommand(line, 3, limit)
	if err == nil {
		err = wait()
	}
	b, _ := os.ReadFile(filepath.Join(u.dir, unitLog))
	return string(b), err
}

func TestACommandRunsWithoutAShellInASessionOfItsOwn(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/systemd")
	t.Setenv("LISTEN_FDS", "1")
	log, err := runIn(t, `/bin/sh -c "echo [$0] [$NOTIFY_SOCKET$LISTEN_FDS] x; exit 7" `+
		`"$HOME; /fail=%1%"`, time.Minute)
	assert.ErrorContains(t, err, "exit status 7")
	assert.Contains(t, log, "[$HOME; /fail=3] [] ")
	log, err = runIn(t, `/bin/sh -c "read -r s < /proc/$$/stat; set -- $s; echo $(($6 - $$)) begun"`,
		time.Minute)
	require.NoError(t, err)
	assert.Contains(t, log, "\n0 begun\n", "it leads its session")
	_, err = runIn(t, "/nowhere/at/all", time.Minute)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestACommandThatTakesTooLongIsKilledWithItsSession(t *testing.T) {
	// What holds the log open would keep Wait from ending, were it not killed too.
	started := time.Now()
	_, err := runIn(t, `/bin/sh -c "sleep 1000 & sleep 1000"`, 50*time.Millisecond)
	assert.ErrorContains(t, err, "has taken more than 50ms")
	assert.Less(t, time.Since(started), 100*time.Second)
}

func TestWhatIsApprovedIsForOneServiceAndLastsAsLongAsItsRegistration(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, filepath.Join(dir, "registry.db"))
	m, err := NewManager(ManagerOptions{Dir: dir, Store: s})
	require.NoError(t, err)
	defer m.Close()
	c := Config{Name: "A", Type: KernelDriver, Start: DemandStart, ImagePath: "/a.sys",
		Failure: FailureActions{Actions: []Action{{ActionRun, 0}}, Command: "/bin/true"}}
	require.NoError(t, m.Create(c))
	unapproved := func(name string) bool {
		have, err := m.Config(name)
		require.NoError(t, err)
		return have.Failure.Unapproved
	}
	assert.False(t, unapproved("a"))
	require.NoError(t, m.Change("A", func(c *Config) error { c.Description = "x"; return nil }))
	assert.False(t, unapproved("A"))
	// Somebody writes to the registry.
	k, have, err := m.key("A")
	require.NoError(t, err)
	have.Failure.Command = "/bin/false"
	require.NoError(t, have.store(k))
	assert.True(t, unapproved("A"))
	require.NoError(t, m.Change("A", func(c *Config) error { c.Description = "y"; return nil }))
	assert.True(t, unapproved("A"), "a change of something else approves nothing")
	require.NoError(t, m.Change("A", func(c *Config) error { c.Failure.approve = true; return nil }))
	assert.False(t, unapproved("A"))
	// A service of another name, or a later one of the same, is another one.
	c.Name, c.Failure.Command = "B", ""
	require.NoError(t, m.Create(c))
	k, have, err = m.key("B")
	require.NoError(t, err)
	have.Failure.Command = "/bin/false"
	require.NoError(t, have.store(k))
	assert.True(t, unapproved("B"))
	require.NoError(t, m.Change("A", func(c *Config) error {
		c.Failure.Command, c.Failure.approve = "/bin/true", true
		return nil
	}))
	assert.False(t, unapproved("A"))
	require.NoError(t, m.Delete("A"))
	k, _, status := s.Registry.Create(nil, ServicesKey+`\A`, cm.CreateOptions{})
	require.True(t, status.Success())
	c.Name, c.Failure.Command = "A", "/bin/true"
	require.NoError(t, c.store(k))
	assert.True(t, unapproved("A"))
}
