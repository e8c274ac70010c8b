package main

// crashes: what is left of hosts that crashed.

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/service"
)

const crashesHelp = `Crashes lists the crashes that the service manager's hosts have kept, oldest first: when, of
which service, the process, the bugcheck, and the folder, whose name is the crash's ID. A
folder has report.txt, report.json and core, which gdb opens. --dir lists those of drvhost
load --crash-dir.

The manager itself keeps as many as its config.json says (see drvhost services), and sc
queryex shows the last one of a service.

With --format json: [{id, time, services, driver, pid, bugcheck, bytes, path}].`

// crashesFlags say which crashes are meant.
type crashesFlags struct {
	dir   string
	keep  int
	bytes int64
	older string
}

// list gives the directory with crashes.
func (f *crashesFlags) list() service.CrashList {
	if f.dir != "" {
		return service.ListCrashes(f.dir, "")
	}
	state := service.StateDir()
	return service.ListCrashes(filepath.Join(state, service.CrashesDir), state)
}

func (a *app) crashesCommand() *cobra.Command {
	var f crashesFlags
	cmd := &cobra.Command{
		Use:   "crashes",
		Short: "List the crashes of services' hosts",
		Long:  crashesHelp,
		Example: `  drvhost crashes
  drvhost crashes show faults-20261121T083840-4711
  drvhost crashes prune --keep 10 --older-than 30d`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.listCrashes(&f) },
	}
	cmd.PersistentFlags().StringVar(&f.dir, "dir", "", "`directory` with crashes "+
		"(default crashes in the service manager's state directory)")
	prune := &cobra.Command{
		Use:   "prune",
		Short: "Remove old crashes",
		Long: `Prune removes crashes that are older than a time, and the oldest ones until no more than a number
or a size is left, of which the newest is kept in any case. It says which.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.pruneCrashes(&f) },
	}
	prune.Flags().IntVar(&f.keep, "keep", 0, "keep at most this `number`")
	prune.Flags().Int64Var(&f.bytes, "max-bytes", 0, "keep at most this `size` on the disk, in bytes")
	prune.Flags().StringVar(&f.older, "older-than", "",
		"remove what is older than this `time`, such as 12h or 30d")
	cmd.AddCommand(prune, &cobra.Command{
		Use:   "show ID",
		Short: "Print the report of a crash",
		Long:  "Show prints the report of a crash; with --format json as report.json has it.",
		Args:  cobra.ExactArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return a.showCrash(&f, args[0]) },
	})
	return cmd
}

func (a *app) listCrashes(f *crashesFlags) error {
	all, err := f.list().All()
	if err != nil {
		return err
	}
	if a.format == formatJSON {
		return a.json(append([]service.Crash{}, all...))
	}
	if len(all) == 0 {
		fmt.Fprintln(a.err, "drvhost: no crash is kept")
		return nil
	}
	return a.tellCrashes(all)
}

// tellCrashes prints a line for each.
func (a *app) tellCrashes(all []service.Crash) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TIME\tSERVICE\tPROCESS\tBUGCHECK\tPATH")
	for _, c := range all {
		services := strings.Join(c.Services, ",")
		if services == "" {
			services = "(" + c.Driver + ")"
		}
		// What a driver has to do with is one line, and does no harm to a terminal.
		line := strings.NewReplacer("\n", " ", "\t", " ").Replace(driverhost.Printable(c.Bugcheck))
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", c.Time.Format(time.RFC3339),
			driverhost.Printable(services), c.PID, line, c.Path)
	}
	return w.Flush()
}

func (a *app) showCrash(f *crashesFlags, id string) error {
	text, err := f.list().Report(id, a.format == formatJSON)
	if errors.Is(err, os.ErrNotExist) {
		return &exitError{exitFailure, err, "`drvhost crashes` lists what there is"}
	}
	if err != nil {
		return err
	}
	if a.format == formatText {
		text = driverhost.Printable(text)
	}
	_, err = io.WriteString(a.out, text)
	return err
}

func (a *app) pruneCrashes(f *crashesFlags) error {
	var before time.Time
	if f.older != "" {
		age, err := parseAge(f.older)
		if err != nil {
			return err
		}
		before = time.Now().Add(-age)
	}
	limits := service.CrashLimits{Keep: f.keep, Bytes: f.bytes}
	if limits == (service.CrashLimits{}) && before.IsZero() || f.keep < 0 || f.bytes < 0 {
		return usage("crashes prune: want --keep, --max-bytes or --older-than")
	}
	gone, err := f.list().Prune(limits, before)
	if a.format == formatJSON {
		return errors.Join(err, a.json(append([]service.Crash{}, gone...)))
	}
	for _, c := range gone {
		fmt.Fprintf(a.out, "%s\n", c.Path)
	}
	return err
}

// parseAge reads "12h", or "30d" for days.
func parseAge(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, usage("--older-than %s: want a time such as 12h or 30d", text)
	}
	return d, nil
}
