package main

// demo: a driver in one process, a client in another.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

const demoHelp = `Demo loads echo.sys, a driver that comes with drvhost, compiled from C, into a host
process. Then a second process opens its device \\.\Echo, writes, reads, sends I/O
control codes of each transfer method and closes, and shows each result with its status.

On a terminal the host stays until Ctrl-C, so that you can use the device from another
shell:

  drvhost ioctl Echo 0x222004 --in hello --out-size 64

Without a terminal it is ended at once, and the exit code is 0 if everything went as it
should.`

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Run a driver in a host process, and do I/O with it from a second process",
		Long:  demoHelp,
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.demo() },
	}
}

// demo starts the two processes. All that it knows of the host is what `load` prints.
func (a *app) demo() error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, unix.SIGTERM)
	driver, err := fixtures.Path("echo")
	if err != nil {
		return err
	}
	dir := a.runtimeDir
	if cannot := wire.PrepareRuntimeDir(dir); cannot != nil {
		if dir, err = os.MkdirTemp("", "drvhost-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		fmt.Fprintf(a.out, "The runtime directory cannot be used (%v). In other shells:\n\n"+
			"  export DRVHOST_RUNTIME_DIR=%s\n\n", cannot, dir)
	}
	stay := isTerminal(os.Stdin) && isTerminal(os.Stdout)

	fmt.Fprintf(a.out, "$ drvhost load %s\n", driver)
	host, err := a.startHost(dir, driver)
	if err != nil {
		return err
	}
	defer host.end()
	if err := host.ready(signals); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\nProcess %d is the host. Now process ", host.cmd.Process.Pid)
	c := exec.Command("/proc/self/exe", "demo-client", "--runtime-dir", dir)
	c.Stdout, c.Stderr = a.out, a.err
	if err := c.Run(); err != nil {
		return fmt.Errorf("the client: %w", err)
	}
	if stay {
		fmt.Fprintf(a.out, "\nThe host stays. Try in another shell:\n\n"+
			"  %[1]s devices\n  %[1]s ioctl Echo %#[2]x --in hello --out-size 64\n\nCtrl-C ends it.\n",
			os.Args[0], fixtures.IOCTL_ECHO_BUFFERED)
		select {
		case <-signals:
		case <-host.gone:
		}
	}
	fmt.Fprintln(a.out)
	return host.stop()
}

// demoHost is a child process that runs `load`.
type demoHost struct {
	*app
	cmd    *exec.Cmd
	events chan demoEvent
	shown  chan struct{} // closed when all events are shown
	gone   chan struct{}
	err    error // of the process, once gone is closed
}

// demoEvent is what demo reads of load's events.
type demoEvent struct {
	Event string `json:"event"`
	Text  string `json:"text"`
	driverhost.DriverReport
	Socket   string   `json:"socket"`
	NoUnload []string `json:"no_unload"`
}

func (a *app) startHost(dir, driver string) (*demoHost, error) {
	h := &demoHost{app: a, events: make(chan demoEvent, 16), gone: make(chan struct{}),
		shown: make(chan struct{}),
		cmd:   exec.Command("/proc/self/exe", "load", "--format", "json", "--runtime-dir", dir, driver)}
	h.cmd.Stderr = a.err
	// In a process group of its own, Ctrl-C reaches it by way of this process.
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	go h.read(out)
	return h, nil
}

// read takes the host's events until it has ended.
func (h *demoHost) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e demoEvent
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			h.events <- e
		}
	}
	h.err = h.cmd.Wait()
	close(h.events)
	close(h.gone)
}

// ready shows the host's events until it serves its devices.
func (h *demoHost) ready(signals <-chan os.Signal) error {
	for {
		select {
		case e, ok := <-h.events:
			if !ok {
				return h.failed()
			}
			h.show(e)
			if e.Event == "listening" {
				go func() {
					defer close(h.shown)
					for e := range h.events {
						h.show(e)
					}
				}()
				return nil
			}
		case <-signals:
			return silent(exitInterrupted)
		}
	}
}

func (h *demoHost) show(e demoEvent) {
	switch e.Event {
	case "driver":
		_, _ = e.DriverReport.WriteTo(h.out)
	case "listening":
		fmt.Fprintf(h.out, "  socket   %s\n", e.Socket)
	case "print":
		fmt.Fprintf(h.out, "  the driver prints: %s", driverhost.Printable(e.Text))
	case "end":
		fmt.Fprintln(h.out, "The driver is unloaded and the host has ended.")
	}
}

// failed gives the error of a host that has ended, with its own exit code.
func (h *demoHost) failed() error {
	<-h.gone
	var exit *exec.ExitError
	if errors.As(h.err, &exit) && exit.ExitCode() > 0 {
		return &exitError{exit.ExitCode(), fmt.Errorf("the host has ended: %w", h.err), ""}
	}
	if h.err == nil {
		h.err = errors.New("it was ended")
	}
	return fmt.Errorf("the host has ended: %w", h.err)
}

// stop ends the host as Ctrl-C does, and gives its error.
func (h *demoHost) stop() error {
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	<-h.gone
	<-h.shown
	if h.err != nil {
		return h.failed()
	}
	return nil
}

// end makes sure that the host has ended.
func (h *demoHost) end() {
	select {
	case <-h.gone:
		return
	default:
	}
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	const patience = 10 * time.Second
	select {
	case <-h.gone:
	case <-time.After(patience):
		_ = h.cmd.Process.Kill()
		<-h.gone
	}
}

func (a *app) demoClientCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "demo-client",
		Short:  "The second process of demo",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(*cobra.Command, []string) error { return a.demoClient() },
	}
}

// demoStep is a request of the demo, and how it has to end.
type demoStep struct {
	what string
	req  client.Request
	want nt.Status
	data string        // what has to come back, or ""
	stop time.Duration // cancel after this
}

func ioctlStep(name string, code uint32, in string, out int, data string) demoStep {
	r := client.Request{Major: nt.IRP_MJ_DEVICE_CONTROL, Code: code, In: []byte(in),
		Out: bytes.Repeat([]byte{'.'}, out), SendOut: nt.IOCTL(code).Method() != nt.METHOD_BUFFERED}
	return demoStep{what: fmt.Sprintf("ioctl %#x, %s", code, name), req: r, data: data}
}

// demoSteps are the requests, in order, all on one open file.
func demoSteps() []demoStep {
	const text = "hello, driver"
	read := func(size int, offset int64, want nt.Status, data string) demoStep {
		return demoStep{what: fmt.Sprintf("read %d bytes at %d", size, offset), want: want, data: data,
			req: client.Request{Major: nt.IRP_MJ_READ, Out: make([]byte, size), HasOffset: true,
				Offset: offset}}
	}
	forever := ioctlStep("pends until it is cancelled", fixtures.IOCTL_ECHO_PEND_FOREVER, "", 0, "")
	forever.want, forever.stop = nt.STATUS_CANCELLED, 20*time.Millisecond
	unknown := ioctlStep("which no driver knows", 0x22ffff&^3, "", 0, "")
	unknown.want = nt.STATUS_INVALID_DEVICE_REQUEST
	return []demoStep{
		{what: "write " + strconv.Quote(text), req: client.Request{Major: nt.IRP_MJ_WRITE,
			In: []byte(text), HasOffset: true}},
		read(64, 0, nt.STATUS_SUCCESS, text),
		read(64, int64(len(text)), nt.STATUS_END_OF_FILE, ""),
		ioctlStep("METHOD_BUFFERED", fixtures.IOCTL_ECHO_BUFFERED, text, 64, text),
		ioctlStep("METHOD_IN_DIRECT", fixtures.IOCTL_ECHO_IN_DIRECT, "in", 5, "....."),
		ioctlStep("METHOD_OUT_DIRECT", fixtures.IOCTL_ECHO_OUT_DIRECT, text, 64, text),
		ioctlStep("METHOD_NEITHER", fixtures.IOCTL_ECHO_NEITHER, text, 64, text),
		forever,
		unknown,
		{what: "flush", req: client.Request{Major: nt.IRP_MJ_FLUSH_BUFFERS}},
	}
}

func (a *app) demoClient() error {
	const name = `\\.\Echo`
	fmt.Fprintf(a.out, "%d opens its device:\n\n", os.Getpid())
	say := func(what string, status nt.Status, more string) {
		fmt.Fprintf(a.out, "  %-44s %s%s\n", what, status.String(), more)
	}
	f, err := client.Open(name, client.RuntimeDir(a.runtimeDir))
	if err != nil {
		return err
	}
	say("open "+name, nt.STATUS_SUCCESS, "")
	wrong := 0
	for _, s := range demoSteps() {
		ctx, cancel := context.Background(), context.CancelFunc(func() {})
		if s.stop > 0 {
			ctx, cancel = context.WithTimeout(ctx, s.stop)
		}
		res, err := f.Do(ctx, &s.req)
		cancel()
		if err != nil {
			return err
		}
		status, data := res.Final(), string(filled(&s.req, res))
		more := ""
		if status.Success() && res.Information > 0 {
			more = fmt.Sprintf(", %d bytes", res.Information)
		}
		if data != "" {
			more += ", " + strconv.Quote(data)
		}
		say(s.what, status, more)
		if status != s.want || data != s.data {
			wrong++
			fmt.Fprintf(a.out, "    that is not as it should be: want %s, %q\n", s.want.String(), s.data)
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	say("close", nt.STATUS_SUCCESS, "")
	if wrong > 0 {
		return fmt.Errorf("%d results are not as they should be", wrong)
	}
	return nil
}
