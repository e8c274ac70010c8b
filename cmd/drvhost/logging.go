package main

// --log, --trace and the other flags of commands that make a host.

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/cm/hive"
)

// hostFlags are what a host can be told.
type hostFlags struct {
	processors int
	missing    string
	noPatch    bool
	log        []string
	trace      bool
	reg        []string
	hives      []string
	volumes    []string
	given      *cm.Registry     // in place of one of the host's own
	control    *service.Control // of a service's host
}

func (f *hostFlags) add(flags *pflag.FlagSet) {
	flags.IntVar(&f.processors, "processors", 0,
		"`number` of virtual processors (default: the machine's)")
	flags.BoolVar(&f.noPatch, "no-patch", false,
		"leave instructions as they are that have another effect in a process (cpuid, popf, sidt…)")
	flags.StringVar(&f.missing, "missing", "report",
		"`what` an import that nothing answers does: fail the load, or report when it is called")
	flags.StringSliceVar(&f.log, "log", nil, "log what these `parts` do, to standard error: all, "+
		"host, wire, kernel, or the drivers' calls of a component of the kernel: ke, io, mm, rtl...")
	flags.StringArrayVar(&f.reg, "reg", nil,
		"a .reg `file` whose keys and values the drivers find in the registry (may be repeated)")
	flags.StringArrayVar(&f.hives, "hive", nil, "a binary hive, as `KEY=FILE`, whose keys and values "+
		"the drivers find below that key: HKLM\\System=SYSTEM (may be repeated)")
	flags.StringArrayVar(&f.volumes, "volume", nil, "a directory that the drivers see as a drive, "+
		"as `C=DIR` (may be repeated); they reach nothing outside it")
	flags.BoolVar(&f.trace, "trace", false, "show every call that a driver makes, on standard error")
}

// options makes the host's options. w takes the log.
func (f *hostFlags) options(w io.Writer) (driverhost.Options, error) {
	if err := wanted("missing", f.missing, "report", "fail"); err != nil {
		return driverhost.Options{}, err
	}
	if f.processors < 0 || f.processors > driverhost.MaxProcessors {
		return driverhost.Options{}, usage("--processors %d: want 1 to %d", f.processors,
			driverhost.MaxProcessors)
	}
	log, calls, err := newLog(f.log, w)
	if err != nil {
		return driverhost.Options{}, err
	}
	opts := driverhost.Options{Processors: f.processors, FailMissing: f.missing == "fail",
		NoPatch: f.noPatch, Log: log}
	if opts.Registry, err = f.registry(); err != nil {
		return opts, err
	}
	for _, arg := range f.volumes {
		drive, dir, err := ntoskrnl.ParseVolume(arg)
		if err != nil {
			return opts, usage("--volume %v", err)
		}
		if opts.Volumes == nil {
			opts.Volumes = make(map[string]string)
		}
		opts.Volumes[drive] = dir
	}
	switch {
	case f.trace:
		opts.Trace = func(line string) { _, _ = io.WriteString(w, line+"\n") }
	case calls:
		opts.Trace = driverhost.TraceTo(log)
	}
	return opts, nil
}

// registry makes a registry with what hives and .reg files ask for; without any it is left to the host.
func (f *hostFlags) registry() (*cm.Registry, error) {
	if f.given != nil {
		return f.given, nil
	}
	if len(f.reg) == 0 && len(f.hives) == 0 {
		return nil, nil
	}
	r := ntoskrnl.NewRegistry(f.processors)
	for _, arg := range f.hives {
		if err := hive.SeedFile(r, arg); err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("--hive %w", err), "want KEY=FILE, as in " +
				`HKLM\System=/mnt/Windows/System32/config/SYSTEM`}
		}
	}
	for _, name := range f.reg {
		if err := importReg(r, name); err != nil {
			return nil, &exitError{exitUsage, err, "regedit's .reg files are understood, and REGEDIT4's"}
		}
	}
	return r, nil
}

func importReg(r *cm.Registry, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	edits, err := cm.Parse(name, file)
	if err != nil {
		return err
	}
	if err := r.Do(edits); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// newLog makes a log of warnings and errors, and of everything from the parts that are named. calls
// says that a component of the kernel is among them.
func newLog(parts []string, w io.Writer) (log hclog.Logger, calls bool, err error) {
	on := make(map[string]bool)
	var names []string
	if len(parts) > 0 {
		names = driverhost.LogNames()
	}
	for _, p := range parts {
		p = strings.ToLower(strings.TrimSpace(p))
		switch {
		case p == "all":
			for _, name := range names {
				on[name] = true
			}
		case slices.Contains(names, p):
			on[p] = true
		default:
			return nil, false, usage("--log %s: there is no such part; want all, or of %s", p,
				strings.Join(names, ", "))
		}
	}
	for name := range on {
		calls = calls || driverhost.IsComponent(name)
	}
	return hclog.New(&hclog.LoggerOptions{
		Output: w, Level: hclog.Warn, IndependentLevels: true,
		SubloggerHook: func(sub hclog.Logger) hclog.Logger {
			if on[sub.Name()] {
				sub.SetLevel(hclog.Debug)
			}
			return sub
		},
	}), calls, nil
}

// lineWriter lets several goroutines write to one file, each write as a whole.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
