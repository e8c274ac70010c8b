package main

// check: verdicts on drivers.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/drvhost/drvhost/driverhost/check"
	"github.com/drvhost/drvhost/driverhost/sandbox"
)

const checkHelp = `Check loads each driver in a throw-away host process, which is sandboxed, opens each of
its devices for reading and writing, closes them, unloads the driver, and gives a verdict:

  clean          nothing went wrong (what it left behind is in leaks)
  refused        DriverEntry returned an error
  unimplemented  it called an export that nothing implements
  fault          it crashed
  timeout        it had not ended when the time was up
  invalid        the file is no driver that this host can map

With --format json there is one object a line, in the order of the files: {file, sha256,
verdict, stage, driver_entry, devices, links, imports: {bound, missing},
called_unimplemented, opened: [{name, status}], unload: "ok"|"none"|"failed"|"skipped",
leaks: {devices, links, pool}, bugcheck, ms}. Why a verdict is not clean is said on standard
error then.`

func (a *app) checkCommand() *cobra.Command {
	var opts check.Options
	var missing, box string
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Try drivers out, each in a throw-away process, and give a verdict on each",
		Long:  checkHelp,
		Example: `  drvhost check foo.sys
  drvhost check --format json -j 8 --timeout 5s *.sys > verdicts.jsonl`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error {
			if err := wanted("missing", missing, "report", "fail"); err != nil {
				return err
			}
			if err := wantedSandbox(box); err != nil {
				return err
			}
			opts.Sandbox = sandbox.Mode(box)
			if opts.Timeout <= 0 {
				return usage("--timeout %v: want more than 0", opts.Timeout)
			}
			opts.FailMissing = missing == "fail"
			return a.check(files, opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&box, "sandbox", string(sandbox.On), sandboxHelp)
	f.DurationVar(&opts.Timeout, "timeout", check.DefaultTimeout, "`time` that a driver may take")
	f.IntVarP(&opts.Jobs, "jobs", "j", 0,
		"check this `number` of drivers at once (default: one a processor)")
	f.IntVar(&opts.Processors, "processors", 0,
		"`number` of virtual processors (default: the machine's)")
	f.StringVar(&missing, "missing", "report",
		"`what` an import that nothing answers does: fail the check, or report when it is called")
	return cmd
}

func (a *app) check(files []string, opts check.Options) error {
	for _, w := range opts.Sandbox.Foreseen() {
		fmt.Fprintf(a.err, "drvhost: %s\n", w)
	}
	ctx, stop := interruptible()
	defer stop()
	p := newProgress(len(files))
	opts.Started, opts.Finished = p.started, p.finished
	bad := 0
	err := check.Run(ctx, files, opts, func(v *check.Verdict) error {
		p.clear()
		if !v.Good() {
			bad++
		}
		if a.format == formatJSON {
			if v.Reason != "" {
				fmt.Fprintf(a.err, "drvhost: %s: %s\n", v.File, v.Summary())
			}
			return a.json(v)
		}
		_, err := v.WriteTo(a.out)
		return err
	})
	p.clear()
	var host *check.HostError
	switch {
	case errors.Is(err, context.Canceled):
		return &exitError{exitInterrupted, errors.New("interrupted"), ""}
	case errors.As(err, &host):
		return &exitError{exitMachine, err, "`drvhost doctor` says what this machine lacks"}
	case err != nil:
		return err
	case bad > 0:
		return silent(exitNotClean)
	}
	return nil
}

// progress is a line on the terminal that says what is being done. Without a terminal it is
// nothing.
type progress struct {
	total int
	mu    sync.Mutex
	done  int
	now   []string
	shown time.Time
	line  bool
}

func newProgress(total int) *progress {
	p := &progress{total: total}
	if total < 2 || !isTerminal(os.Stderr) {
		p.total = 0
	}
	return p
}

func (p *progress) started(file string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = append(p.now, file)
	p.show()
}

func (p *progress) finished(file string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if i := slices.Index(p.now, file); i >= 0 {
		p.now = slices.Delete(p.now, i, i+1)
	}
	p.show()
}

// show rewrites the line, not more often than anyone can read.
func (p *progress) show() {
	const often = 50 * time.Millisecond
	if p.total == 0 || time.Since(p.shown) < often {
		return
	}
	const widest = 79
	text := fmt.Sprintf("%d of %d checked; now %s", p.done, p.total, strings.Join(p.now, ", "))
	if r := []rune(text); len(r) > widest {
		text = string(r[:widest-1]) + "…"
	}
	fmt.Fprintf(os.Stderr, "\r\x1b[K%s", text)
	p.shown, p.line = time.Now(), true
}

// clear takes the line away, for other output.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
		p.line, p.shown = false, time.Time{}
	}
}
