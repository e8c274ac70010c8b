package main

// What the tests share: the built binary, its runs, and hosts that it keeps running.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
)

// binary is the built command.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "drvhost-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "drvhost")
		build := exec.Command("go", "build", "-o", binary, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building drvhost: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// patience is how long a process may take before a test gives it up. It bounds what is broken, and
// measures nothing.
const patience = 60 * time.Second

// result is how a run ended.
type result struct {
	code     int
	out, err string
}

// shell runs commands in one runtime directory.
type shell struct {
	t   testing.TB
	dir string
}

func newShell(t testing.TB) *shell { return &shell{t, filepath.Join(t.TempDir(), "run")} }

func (s *shell) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "DRVHOST_RUNTIME_DIR="+s.dir)
	return cmd
}

// run runs a command to its end.
func (s *shell) run(args ...string) result { return s.runWith("", args...) }

// runWith is run with standard input.
func (s *shell) runWith(stdin string, args ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := s.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	require.NoError(s.t, ctx.Err(), "drvhost %v does not end", args)
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// host is a `drvhost load --format json` that runs.
type host struct {
	t      testing.TB
	cmd    *exec.Cmd
	events []map[string]any // up to "listening"
	more   chan map[string]any
	text   chan string // what is no event
	errs   bytes.Buffer
	waited chan struct{}
}

// load starts a host and waits until it serves its devices.
func (s *shell) load(args ...string) *host {
	s.t.Helper()
	h := s.start(append([]string{"load", "--format", "json"}, args...)...)
	for e := range h.more {
		h.events = append(h.events, e)
		if e["event"] == "listening" {
			return h
		}
	}
	<-h.waited
	s.t.Fatalf("the host ended: %v\n%s", h.cmd.ProcessState, h.errs.String())
	return nil
}

// start starts a command that says events.
func (s *shell) start(args ...string) *host {
	s.t.Helper()
	h := &host{t: s.t, more: make(chan map[string]any, 1024),
		text: make(chan string, 1024), waited: make(chan struct{})}
	h.cmd = s.command(context.Background(), args...)
	h.cmd.Stderr = &h.errs
	out, err := h.cmd.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, h.cmd.Start())
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var e map[string]any
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				h.more <- e
			} else {
				h.text <- lines.Text()
			}
		}
		close(h.more)
		close(h.text)
		_ = h.cmd.Wait()
		close(h.waited)
	}()
	s.t.Cleanup(func() {
		_ = h.cmd.Process.Kill()
		<-h.waited
	})
	return h
}

// event gives the first of the host's events of a kind.
func (h *host) event(kind string) map[string]any {
	h.t.Helper()
	for _, e := range h.events {
		if e["event"] == kind {
			return e
		}
	}
	h.t.Fatalf("no %q among %v", kind, h.events)
	return nil
}

// end waits for the host's end after sig, 0: none, and gives its exit code.
func (h *host) end(sig syscall.Signal) int {
	h.t.Helper()
	if sig != 0 {
		require.NoError(h.t, h.cmd.Process.Signal(sig))
	}
	select {
	case <-h.waited:
	case <-time.After(patience):
		h.t.Fatal("the host does not end")
	}
	for e := range h.more {
		h.events = append(h.events, e)
	}
	return h.cmd.ProcessState.ExitCode()
}

// fixture gives the path of a fixture driver.
func fixture(t testing.TB, name string) string {
	t.Helper()
	path, err := fixtures.Path(name)
	require.NoError(t, err)
	return path
}

// rows decodes JSON lines.
func rows(t testing.TB, text string) (list []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var row map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &row), "%s", line)
		list = append(list, row)
	}
	return list
}
