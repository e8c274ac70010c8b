package main

// The command tree, and what all commands share.

import (
	"context"
	"encoding/json"

	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/nt"
)

// app is one run of the command: the global flags, and where output goes.
type app struct {
	format     string
	runtimeDir string
	out, err   io.Writer
}

const (
	formatText = "text"
	formatJSON = "json"
)

const longHelp = `drvhost runs Windows kernel drivers (.sys) as ordinary Linux processes: the driver's own
machine code on the processor, ntoskrnl.exe in Go. It needs no Windows files and no
virtual machine.

  drvhost load foo.sys                        start a host process with a driver
  drvhost devices                             the devices that running hosts offer
  drvhost ioctl Foo 0x222004 --in hello       do I/O with one, from another shell
  drvhost check foo.sys                       load it in a throw-away process, and get a verdict

Names of devices are written as \\.\Foo or Foo. Hosts and clients meet in the runtime
directory: $DRVHOST_RUNTIME_DIR, else $XDG_RUNTIME_DIR/drvhost, else /run/drvhost.`

// newRoot builds the command tree: all of it, or the root with only one command.
func newRoot(a *app, only string) *cobra.Command {
	root := &cobra.Command{
		Use:           "drvhost",
		Short:         "Run Windows kernel drivers as Linux processes",
		Long:          longHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.format != formatText && a.format != formatJSON {
				return usage("--format %s: want text or json", a.format)
			}
			if a.runtimeDir == "" {
				a.runtimeDir = wire.RuntimeDir()
			}
			return nil
		},
	}
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{exitUsage, err, "`" + cmd.CommandPath() + " --help` says what it takes"}
	})
	flags := root.PersistentFlags()
	flags.StringVar(&a.format, "format", formatText, "output `format`: text or json")
	flags.StringVar(&a.runtimeDir, "runtime-dir", "",
		"`directory` in which hosts and clients meet (default $DRVHOST_RUNTIME_DIR, else "+
			"$XDG_RUNTIME_DIR/drvhost, else /run/drvhost)")
	_ = root.RegisterFlagCompletionFunc("format", // the flag is there, so this does not fail
		cobra.FixedCompletions([]string{formatText, formatJSON}, cobra.ShellCompDirectiveNoFileComp))
	for _, c := range a.commands() {
		if only == "" || only == c.name {
			root.AddCommand(c.make())
		}
	}
	return root
}

// version says which drvhost this is, as far as the build knows, and what it presents to drivers.
func version() string {
	v := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok {
		v = info.Main.Version
	}
	return fmt.Sprintf("%s, %s, presents Windows 10 22H2 (build %d)", v, runtime.Version(),
		nt.BuildNumber)
}

// command is a command by name. Most runs need one only, and making all of them takes 0.1 ms.
type command struct {
	name string
	make func() *cobra.Command
}

func (a *app) commands() []command {
	return []command{
		{"load", a.loadCommand}, {"services", a.servicesCommand}, {"sc", a.scCommand},
		{"crashes", a.crashesCommand},
		{"reg", a.regCommand},
		{"host", a.hostCommand}, {"devices", a.devicesCommand}, {"ioctl", a.ioctlCommand},
		{"read", a.readCommand}, {"write", a.writeCommand}, {"check", a.checkCommand},
		{"record", a.recordCommand}, {"replay", a.replayCommand},
		{"inspect", a.inspectCommand}, {"exports", a.exportsCommand}, {"doctor", a.doctorCommand},
		{"demo", a.demoCommand}, {"demo-client", a.demoClientCommand}, {"docs", a.docsCommand},
		{"exit-codes", exitCodesCommand},
	}
}

func exitCodesCommand() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodesText()}
}

// named gives the command that a command line is for, if its first word is the name of one that
// needs no other.
func (a *app) named(args []string) string {
	for _, c := range a.commands() {
		if len(args) > 0 && c.name == args[0] && c.name != "docs" {
			return c.name
		}
	}
	return ""
}

// run does a command line and gives its exit code.
func run(args []string) int {
	a := &app{out: os.Stdout, err: os.Stderr}
	root := newRoot(a, a.named(args))
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return exitOK
	}
	e := classify(err)
	if e.code == exitFailure && isCobraUsage(err) {
		e = &exitError{exitUsage, err, "`drvhost --help` lists the commands"}
	}
	if e.err != nil {
		fmt.Fprintf(a.err, "drvhost: %v\n", e.err)
	}
	if e.hint != "" {
		fmt.Fprintf(a.err, "drvhost: %s\n", e.hint)
	}
	return e.code
}

// isCobraUsage tells the errors that cobra makes for a command line, which have no type.
func isCobraUsage(err error) bool {
	s := err.Error()
	return strings.HasPrefix(s, "unknown command") || strings.Contains(s, "arg(s)")
}

// json writes v as one line.
func (a *app) json(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// interruptible gives a context that ends with Ctrl-C or SIGTERM.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
}

// isTerminal says whether a file is a terminal.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// wanted checks a flag's value.
func wanted(flag, value string, values ...string) error {
	for _, v := range values {
		if value == v {
			return nil
		}
	}
	return usage("--%s %s: want %s", flag, value, strings.Join(values, ", "))
}
