package main

// load: a host process in the foreground.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/crash"
	"github.com/drvhost/drvhost/driverhost/registry"
	"github.com/drvhost/drvhost/driverhost/sandbox"
	"github.com/drvhost/drvhost/driverhost/signature"
	"github.com/drvhost/drvhost/internal/resident"
	"github.com/drvhost/drvhost/irp/trace"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/pe"
)

const loadHelp = `Load loads drivers into a new host process, in the order in which they are given, calls
their DriverEntry, and offers their devices to other processes until it is interrupted.

It says what it mapped and where, what it bound, which devices and links there are, and
prints what the drivers print. On Ctrl-C or SIGTERM pending requests are cancelled, get
5 s to end and are then named, files are closed and the drivers unloaded in reverse
order. A driver without DriverUnload ends with the process. When a driver crashes, the
bugcheck is printed on standard error and every client gets an error at once.

Before any of the drivers' code runs, the process gives up what it does not need: files
outside the runtime directory and its volumes, the network, other processes, most system
calls. See --sandbox and --limit. Clients reach it by the socket that is open by then.

ZwLoadDriver in a driver loads the driver of a service in its registry (see --reg): a file on
a --volume, or, with --sandbox=off, one at \??\ and an absolute path of Linux.

With --registry the drivers see the service manager's registry (registry.sock in its state
directory) and change it for everybody, if the manager lets this user. The connection is
made before the sandbox closes, which lets no process connect to anything: when the manager
ends, the drivers read on what there was, and their writes fail with
STATUS_REGISTRY_IO_FAILED until the host is started again. With --sandbox=off the host
connects to the next manager by itself.

With --format json each line is an event: {"event": "driver" | "listening" | "print" |
"crash" | "end", …}.`

func (a *app) loadCommand() *cobra.Command {
	var flags hostFlags
	var box sandboxFlags
	var crashDir, traceFile, shared string
	var rootFiles []string
	cmd := &cobra.Command{
		Use:   "load FILE...",
		Short: "Start a host process with one or more drivers",
		Long:  loadHelp,
		Example: `  drvhost load echo.sys
  drvhost load exportlib.sys importer.sys
  drvhost load --log io --missing=fail foo.sys`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error {
			signers, err := signaturePolicy(rootFiles)
			if err != nil {
				return err
			}
			if shared != "" {
				if err := flags.share(shared); err != nil {
					return err
				}
			}
			l, err := a.newLoading(&flags, &box, crashDir)
			if err != nil {
				return err
			}
			l.signers = signers
			if traceFile != "" {
				if err := l.record(traceFile, files); err != nil {
					return l.giveUp(err)
				}
			}
			return l.run(files)
		},
	}
	flags.add(cmd.Flags())
	box.add(cmd.Flags())
	cmd.Flags().StringVar(&crashDir, "crash-dir", "", "`directory` for what is left of a crash: "+
		"report.txt, report.json and an ELF core of the driver's memory")
	cmd.Flags().StringVar(&shared, "registry", "", "the `socket` of a service manager's registry, "+
		"for the drivers in place of one of the host's own")
	cmd.Flags().StringVar(&traceFile, "record", "", "write what clients ask and what they get to "+
		"this `file`, for drvhost replay")
	cmd.Flags().StringArrayVar(&rootFiles, "require-signature", nil, "refuse an image without an "+
		"Authenticode signature that a chain of certificates leads from to a root in this PEM "+
		"`file` (repeatable)")
	return cmd
}

// share has the drivers see a service manager's registry. It is to be called before the sandbox.
func (f *hostFlags) share(socket string) error {
	if len(f.reg) > 0 || len(f.hives) > 0 {
		return usage("--reg and --hive are for a registry of the host's own; `drvhost reg` fills the " +
			"manager's, which --registry is for")
	}
	ctx, stop := context.WithTimeout(context.Background(), registryPatience)
	defer stop()
	mirror, err := registry.Dial(ctx, socket)
	if err != nil {
		return fmt.Errorf("--registry: %w", err)
	}
	f.given = mirror.Registry()
	return nil
}

// The events of --format json.
type (
	driverEvent struct {
		Event string `json:"event"` // driver
		driverhost.DriverReport
	}
	listeningEvent struct {
		Event      string `json:"event"` // listening
		PID        int    `json:"pid"`
		RuntimeDir string `json:"runtime_dir"`
		Socket     string `json:"socket"`
	}
	printEvent struct {
		Event string `json:"event"` // print
		Text  string `json:"text"`
	}
	crashEvent struct {
		Event    string                 `json:"event"` // crash
		Bugcheck driverhost.CrashReport `json:"bugcheck"`
	}
	endEvent struct {
		Event    string               `json:"event"` // end
		Stuck    []string             `json:"stuck"`
		Left     map[string][]string  `json:"left"`
		NoUnload []string             `json:"no_unload"`
		Pool     []driverhost.PoolUse `json:"pool"`
	}
)

// loading is a host process from start to end.
type loading struct {
	*app
	host     *driverhost.Host
	mode     sandbox.Mode
	entry    *sandbox.Entry
	policy   sandbox.Policy
	crashes  *crash.Dir        // or nil
	kept     string            // where the crash is kept
	trace    *trace.Writer     // or nil
	signers  *signature.Policy // or nil: whose images are loaded
	signals  chan os.Signal
	notified chan struct{} // closed when signals has them
}

func (a *app) newLoading(flags *hostFlags, box *sandboxFlags, crashDir string) (*loading, error) {
	out, errs := &lineWriter{w: a.out}, &lineWriter{w: a.err}
	l := &loading{app: &app{a.format, a.runtimeDir, out, errs}, signals: make(chan os.Signal, 2),
		notified: make(chan struct{})}
	// Beside the start of the host: the two threads that Go makes for signals take 0.2 ms. Until
	// then a signal ends the process as it is, and there is nothing to be ended in order.
	go func() {
		signal.Notify(l.signals, os.Interrupt, unix.SIGTERM, unix.SIGHUP)
		signal.Ignore(unix.SIGPIPE) // who reads the output may go: the devices are still there
		close(l.notified)
	}()
	opts, err := flags.options(errs)
	if err == nil {
		l.mode, l.policy.Limits, err = box.parse()
	}
	if err != nil {
		return nil, err
	}
	l.entry = l.mode.Begin(l.policy.Limits)
	l.policy.ReadOnly = ownFiles
	l.policy.ReadWrite = append(slices.Collect(maps.Values(opts.Volumes)), l.runtimeDir)
	l.loads(&opts, flags.control)
	opts.Print = func(text string) { l.event(printEvent{"print", text}, text) }
	if crashDir != "" {
		if l.crashes, err = crash.Open(crashDir); err != nil {
			return nil, err
		}
		l.policy.ReadWrite = append(l.policy.ReadWrite, crashDir)
		opts.OnCrash = l.keepCrash
	}
	l.host, err = driverhost.New(opts)
	return l, err
}

// keepCrash keeps what is left of a crash. Whether that can be done or not, the crash is told.
func (l *loading) keepCrash(*ke.Bugcheck) {
	r, _ := l.host.CrashReport()
	path, err := l.crashes.Keep(r.Driver(), &r)
	l.kept = path
	if err != nil {
		fmt.Fprintf(l.err, "drvhost: the crash is not kept whole: %v\n", err)
	}
	if path != "" {
		fmt.Fprintf(l.err, "drvhost: the crash is kept in %s\n", path)
	}
}

// record has the host recorded.
func (l *loading) record(file string, drivers []string) (err error) {
	if l.trace, err = recorder(file, drivers); err == nil {
		l.policy.ReadWrite = append(l.policy.ReadWrite, trace.DataDir(file))
		l.host.Record(l.trace)
	}
	return err
}

// event tells something: as JSON, or as text.
func (l *loading) event(e any, text string) {
	if l.format == formatJSON {
		_ = l.json(e)
	} else {
		fmt.Fprint(l.out, driverhost.Printable(text))
	}
}

// settled is how long after its start a host is taken to need no more of what starting took.
const settled = 200 * time.Millisecond

func (l *loading) run(files []string) error {
	// The socket is made while the drivers' files are read; clients that come early wait for Serve.
	listening := make(chan error, 1)
	go func() {
		<-l.notified
		listening <- l.host.Listen(l.runtimeDir)
	}()
	images, err := l.parse(files)
	if e := <-listening; err == nil {
		err = e
	}
	if err == nil {
		err = l.enterSandbox()
	}
	for i := 0; err == nil && i < len(files); i++ {
		err = l.load(files[i], images[i])
	}
	if err != nil {
		return l.giveUp(err)
	}
	served := make(chan error, 1)
	go func() { served <- l.host.Serve() }()
	l.event(listeningEvent{"listening", os.Getpid(), l.runtimeDir, l.host.Socket()},
		fmt.Sprintf("drvhost: process %d serves these devices at %s; Ctrl-C ends it\n", os.Getpid(),
			l.host.Socket()))
	// An error would leave the process larger than it need be, and is nobody's business.
	rest := time.AfterFunc(settled, func() { _ = resident.Trim() })
	defer rest.Stop()
	select {
	case <-l.signals:
		if l.format == formatText {
			fmt.Fprintln(l.err, "drvhost: ending: what is pending is cancelled (again: at once)")
		}
	case <-l.host.Done():
	case err := <-served:
		if err != nil {
			return l.giveUp(err)
		}
	}
	return l.end()
}

// signaturePolicy reads the roots that --require-signature names.
func signaturePolicy(files []string) (*signature.Policy, error) {
	if len(files) == 0 {
		return nil, nil
	}
	p, err := signature.LoadRoots(files...)
	if err != nil {
		return nil, usage("--require-signature: %w", err)
	}
	return p, nil
}

// parse reads the drivers' files, and refuses what is not signed as it has to be. What is checked
// are the bytes that are mapped later.
func (l *loading) parse(files []string) ([]*pe.Image, error) {
	var images []*pe.Image
	for _, file := range files {
		img, err := pe.ParseFile(file)
		if err == nil && l.signers != nil {
			err = l.signers.CheckImage(file, img.Bytes(), time.Now())
		}
		if err != nil {
			return nil, loadError(err)
		}
		images = append(images, img)
	}
	return images, nil
}

// enterSandbox gives up what the process does not need from here on.
func (l *loading) enterSandbox() error {
	warnings, err := l.mode.Complete(l.entry, l.policy)
	for _, w := range warnings {
		fmt.Fprintf(l.err, "drvhost: %s\n", w)
	}
	if err != nil {
		return &exitError{exitMachine, err, "--sandbox=off does without; `drvhost doctor` says what " +
			"this machine lacks"}
	}
	return nil
}

// load loads one driver. DriverEntry may take as long as it likes: a signal ends the process then.
func (l *loading) load(file string, img *pe.Image) error {
	done := make(chan error, 1)
	var d *driverhost.Driver
	go func() {
		var err error
		d, err = l.host.LoadParsed(file, img)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return loadError(err)
		}
	case <-l.signals:
		fmt.Fprintf(l.err, "drvhost: interrupted in the DriverEntry of %s\n", file)
		return silent(exitInterrupted)
	}
	r := l.host.Describe(d)
	if l.format == formatJSON {
		return l.json(driverEvent{"driver", r})
	}
	_, err := r.WriteTo(l.out)
	return err
}

// loadError gives the exit code for a bad file to what else than its DriverEntry and a crash keeps
// a driver from being loaded or inspected.
func loadError(err error) error {
	if e := classify(err); e.code != exitFailure {
		return err
	}
	return &exitError{exitBadDriver, err, ""}
}

// giveUp ends a host that could not be started, so that nothing is left of it.
func (l *loading) giveUp(err error) error {
	var crash *ke.Bugcheck
	var exit *exitError
	switch {
	case errors.As(err, &exit) && exit.code == exitInterrupted:
		return err // the process ends with DriverEntry still at it
	case errors.As(err, &crash):
		<-l.host.Done()
		return l.end()
	}
	l.closeAtOnce(func() { _, _ = l.host.Close() })
	return err
}

// end closes the host and says how that went.
func (l *loading) end() error {
	var report driverhost.CloseReport
	var err error
	crash, crashed := l.host.CrashReport()
	if crashed {
		l.sayCrash(crash)
	}
	if !l.closeAtOnce(func() { report, err = l.host.Close() }) {
		return silent(exitInterrupted)
	}
	if l.trace != nil {
		if e := l.trace.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("the trace: %w", e))
		}
	}
	if !crashed {
		if crash, crashed = l.host.CrashReport(); crashed {
			l.sayCrash(crash) // on unload
		}
	}
	l.sayReport(report)
	switch {
	case crashed:
		return silent(exitCrash)
	case err != nil:
		return err
	case len(report.Stuck) > 0:
		return silent(exitStuck)
	}
	return nil
}

// closeAtOnce runs the end of the host, and says false if a signal cut it short.
func (l *loading) closeAtOnce(end func()) bool {
	done := make(chan struct{})
	go func() {
		end()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-l.signals:
		return false
	}
}

// sayCrash prints a bugcheck.
func (l *loading) sayCrash(r driverhost.CrashReport) {
	_, _ = r.WriteTo(l.err)
	if l.format == formatJSON {
		_ = l.json(crashEvent{"crash", r})
	}
}

func (l *loading) sayReport(r driverhost.CloseReport) {
	if l.format == formatJSON {
		e := endEvent{"end", r.Stuck, r.Left, r.NoUnload, driverhost.PoolUses(r.Pool)}
		if e.Stuck == nil {
			e.Stuck = []string{}
		}
		if e.Left == nil {
			e.Left = map[string][]string{}
		}
		if e.NoUnload == nil {
			e.NoUnload = []string{}
		}
		_ = l.json(e)
		return
	}
	for _, s := range r.Stuck {
		fmt.Fprintf(l.err, "drvhost: did not end within 5 s: %s\n", s)
	}
	for driver, left := range r.Left {
		for _, what := range left {
			fmt.Fprintf(l.err, "drvhost: %s left behind on unload: %s\n", driver, what)
		}
	}
	for _, use := range driverhost.PoolUses(r.Pool) {
		fmt.Fprintf(l.err, "drvhost: not freed on unload: %s\n", use)
	}
	for _, driver := range r.NoUnload {
		fmt.Fprintf(l.out, "drvhost: %s has no DriverUnload: it ends with the process\n", driver)
	}
}
