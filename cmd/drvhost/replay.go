package main

// replay: recorded sessions as tests.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/drvhost/drvhost/driverhost/replay"
	"github.com/drvhost/drvhost/driverhost/sandbox"
	"github.com/drvhost/drvhost/irp/trace"
)

const replayHelp = `Replay does recorded sessions of I/O again, each with the drivers that its trace names in a
throw-away process, and compares what comes back: statuses, IoStatus, Information and the
bytes of output. Requests are made in the recorded order and with the recorded overlap,
for clients with the recorded identities. A difference is shown by request, field and
byte. What differs by nature is masked by rules in the trace: see docs/trace-format.md.

With --update the results of this replay replace those that differ; everything else in
the trace stays as it is. Exit code 10 says that a session did not replay as recorded.

With --format json each session is a line: {"session", "requests", "differences",
"stopped", "crash", …}.`

func (a *app) replayCommand() *cobra.Command {
	var o replay.FileOptions
	var box, junit string
	var update bool
	cmd := &cobra.Command{
		Use:   "replay SESSION...",
		Short: "Do recorded I/O again and compare the results",
		Long:  replayHelp,
		Example: `  drvhost replay hello.irpl
  drvhost replay --driver new/echo.sys --junit report.xml sessions/*.irpl`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, sessions []string) error {
			if err := wantedSandbox(box); err != nil {
				return err
			}
			if o.Limit <= 0 {
				return usage("--limit %v: want more than 0", o.Limit)
			}
			o.Sandbox = sandbox.Mode(box)
			return a.replay(sessions, o, junit, update)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.Drivers, "driver", nil, "a driver's `file` (repeatable), in place of those "+
		"that the traces name")
	f.DurationVar(&o.Limit, "limit", replay.DefaultLimit, "`time` that one request may take")
	f.IntVar(&o.Processors, "processors", 0,
		"`number` of virtual processors (default: the machine's)")
	f.StringVar(&box, "sandbox", string(sandbox.On), sandboxHelp)
	f.StringVar(&junit, "junit", "", "write the results to this `file`, as JUnit's XML")
	f.BoolVar(&update, "update", false, "take the new results into the traces")
	return cmd
}

func (a *app) replay(sessions []string, o replay.FileOptions, junit string, update bool) error {
	for _, w := range o.Sandbox.Foreseen() {
		fmt.Fprintf(a.err, "drvhost: %s\n", w)
	}
	ctx, stop := interruptible()
	defer stop()
	var reports []*replay.Report
	bad := 0
	for _, session := range sessions {
		r, err := replay.File(ctx, session, o)
		switch {
		case ctx.Err() != nil:
			return &exitError{exitInterrupted, errors.New("interrupted"), ""}
		case err != nil:
			return &exitError{exitBadDriver, err, ""}
		}
		reports = append(reports, r)
		if a.format == formatJSON {
			err = a.json(r)
		} else {
			_, err = r.WriteTo(a.out)
		}
		if err != nil {
			return err
		}
		if update && len(r.Differences) > 0 {
			if err := accept(session, r); err != nil {
				return err
			}
			fmt.Fprintf(a.err, "drvhost: %s has the new results\n", session)
			continue
		}
		if !r.Clean() {
			bad++
		}
	}
	if junit != "" {
		if err := writeJUnit(junit, reports); err != nil {
			return err
		}
	}
	if bad > 0 {
		return silent(exitNotClean)
	}
	return nil
}

// accept writes a trace with the results of a replay. The file has its old or its new contents, and
// nothing in between.
func accept(session string, r *replay.Report) error {
	t, err := trace.ReadFile(session)
	if err != nil {
		return err
	}
	text, err := r.Accept(t, trace.Dir(trace.DataDir(session)))
	if err != nil {
		return err
	}
	return replaceFile(session, text)
}

func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails, as it should, once the file has its name
	_, err = f.Write(text)
	if info, e := os.Stat(path); e == nil && err == nil {
		err = f.Chmod(info.Mode())
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func writeJUnit(path string, reports []*replay.Report) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = replay.WriteJUnit(f, reports)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
