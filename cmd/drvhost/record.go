package main

// record: a client's I/O with throw-away devices as a trace; and what `load --record` does.

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/irp/trace"
)

const recordHelp = `Record loads drivers into a new host, runs a command that does I/O with their devices, and
writes what was asked and what came back to a trace, which ` + "`drvhost replay`" + ` does again.
The command finds the host by $DRVHOST_RUNTIME_DIR; other clients do not. When it has
ended, so does the host. Record exits as the command did.

To record a host that serves several clients, start it with ` + "`drvhost load --record FILE`" + `.

A trace is text: docs/trace-format.md describes it. Data from 4 KiB up lies beside it, in a
directory with its name and the ending .data.`

func (a *app) recordCommand() *cobra.Command {
	var file string
	var drivers []string
	cmd := &cobra.Command{
		Use:   "record -o FILE --driver FILE [--driver FILE...] -- COMMAND [ARG...]",
		Short: "Record the I/O that a command does with a driver's devices",
		Long:  recordHelp,
		Example: `  drvhost record -o hello.irpl --driver echo.sys -- drvhost write Echo hello
  drvhost replay hello.irpl`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, command []string) error {
			if file == "" || len(drivers) == 0 {
				return usage("record needs -o FILE and --driver FILE")
			}
			return a.record(file, drivers, command)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "the `file` to write the trace to")
	cmd.Flags().StringArrayVar(&drivers, "driver", nil, "a driver's `file` (repeatable, in the order "+
		"of loading)")
	return cmd
}

// record runs a command with a host of its own.
func (a *app) record(file string, drivers, command []string) error {
	dir, err := os.MkdirTemp("", "drvhost-record-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	stop := ignoreInterrupts()
	defer stop()
	h := &recordedHost{dir: dir, err: a.err}
	args := append([]string{"load", "--format", formatJSON, "--runtime-dir", dir, "--record", file},
		drivers...)
	if err := h.start(args); err != nil {
		return err
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "DRVHOST_RUNTIME_DIR="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.out, a.err
	ran := cmd.Run()
	if err := h.end(); err != nil {
		return err
	}
	removeIfEmpty(trace.DataDir(file))
	var exit *exec.ExitError
	if errors.As(ran, &exit) {
		return silent(max(exit.ExitCode(), exitFailure))
	}
	return ran
}

// ignoreInterrupts leaves Ctrl-C to the command and its host, until stop is called.
func ignoreInterrupts() (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	return func() { signal.Stop(signals) }
}

// recordedHost is the process with the drivers.
type recordedHost struct {
	dir  string
	err  io.Writer
	cmd  *exec.Cmd
	said chan error // its output has ended
}

// start starts the host and waits until its devices can be opened.
func (h *recordedHost) start(args []string) error {
	h.cmd = exec.Command("/proc/self/exe", args...)
	h.cmd.Stderr = h.err
	// Ctrl-C is for the command; the host is ended when that has ended.
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := h.cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		var e struct{ Event string }
		if err == nil {
			err = json.Unmarshal(line, &e)
		}
		if err != nil {
			return h.wait()
		}
		if e.Event == "listening" {
			break
		}
	}
	h.said = make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, lines)
		h.said <- err
	}()
	return nil
}

// end ends the host. The error is how it ended, if not well.
func (h *recordedHost) end() error {
	_ = h.cmd.Process.Signal(unix.SIGTERM) // it may have ended
	<-h.said
	return h.wait()
}

func (h *recordedHost) wait() error {
	var exit *exec.ExitError
	if err := h.cmd.Wait(); errors.As(err, &exit) {
		return silent(max(exit.ExitCode(), exitFailure)) // the host has said why
	} else if err != nil {
		return err
	}
	return nil
}

// removeIfEmpty removes a directory in which nothing is.
func removeIfEmpty(dir string) { _ = os.Remove(dir) }

// recorder makes the trace that a host with these drivers is recorded to.
func recorder(file string, drivers []string) (*trace.Writer, error) {
	var h trace.Header
	for _, d := range drivers {
		data, err := os.ReadFile(d)
		if err != nil {
			return nil, loadError(err)
		}
		sum := sha256.Sum256(data)
		h.Drivers = append(h.Drivers, trace.Driver{File: relative(filepath.Dir(file), d),
			SHA256: hex.EncodeToString(sum[:])})
	}
	w, err := trace.Create(file, h)
	if err != nil {
		return nil, fmt.Errorf("the trace: %w", err)
	}
	// The sandbox lets the host write into the directory, not make it.
	if err := os.Mkdir(trace.DataDir(file), 0o777); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// relative gives a path relative to a directory, or as it is when there is no such path.
func relative(dir, path string) string {
	from, err := filepath.Abs(dir)
	if err != nil {
		return path
	}
	to, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if r, err := filepath.Rel(from, to); err == nil {
		return r
	}
	return to
}
