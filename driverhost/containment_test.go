package driverhost_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/fixtures"
)

// Containment: who notices a bug, over the socket. Each case injects one, with a host process of
// its own, a client that brings the bug about, another client of the same host that waits for a
// request, and a second host with a client. The test's log is the table of what each of them saw.

// A host whose clients may do it any harm. It loads a driver for each line that it reads, and ends
// in order at SIGTERM or after a crash.
func init() {
	children["contained"] = func(files []string) error {
		h, err := driverhost.New(driverhost.Options{Processors: 2, DPCTimeLimit: 100 * time.Millisecond,
			Patience: 50 * time.Millisecond, Print: func(text string) {
				if strings.Contains(text, "hello") {
					panic("a bug in the host")
				}
			}})
		if err != nil {
			return err
		}
		for _, file := range files {
			if _, err := h.Load(file); err != nil {
				return err
			}
		}
		if err := h.Listen(os.Getenv("DRVHOST_RUNTIME_DIR")); err != nil {
			return err
		}
		stop := make(chan struct{})
		go func() {
			in := bufio.NewScanner(os.Stdin)
			for in.Scan() {
				_, _ = h.Load(in.Text())
			}
			close(stop)
		}()
		go h.Serve()
		fmt.Println("listening")
		select {
		case <-h.Done():
		case <-stop:
		}
		report, err := h.Close()
		if crash, ok := h.CrashReport(); ok {
			fmt.Println(crash.Name)
		} else {
			fmt.Printf("ended, %d stuck\n", len(report.Stuck))
		}
		return err
	}
}

// contained is a host process of a test.
type contained struct {
	t   *testing.T
	dir string
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startContained(t *testing.T, dir string, drivers ...string) *contained {
	var files []string
	for _, d := range drivers {
		files = append(files, fixture(t, d))
	}
	h := &contained{t: t, dir: dir, cmd: child(t, "contained", dir, files...)}
	var err error
	h.in, err = h.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := h.cmd.StdoutPipe()
	require.NoError(t, err)
	h.out = bufio.NewReader(out)
	require.NoError(t, h.cmd.Start())
	t.Cleanup(func() { h.cmd.Process.Kill() })
	require.Equal(t, "listening", h.line())
	return h
}

func (h *contained) line() string {
	line, _ := h.out.ReadString('\n')
	return strings.TrimSuffix(line, "\n")
}

// end waits for the process, and gives what it says of its end.
func (h *contained) end() string {
	last := h.line()
	err := h.cmd.Wait()
	if last == "" {
		return fmt.Sprint(err)
	}
	assert.NoError(h.t, err)
	return last
}

// stop ends it in order.
func (h *contained) stop() string {
	require.NoError(h.t, h.in.Close())
	return h.end()
}

func (h *contained) open(name string) remote {
	f, err := client.Open(`\\.\`+name, client.RuntimeDir(h.dir))
	require.NoError(h.t, err)
	h.t.Cleanup(func() { f.Close() })
	return remote{f}
}

// works reports whether the device answers a new client.
func (h *contained) works(name string, code uint32) string {
	f, err := client.Open(`\\.\`+name, client.RuntimeDir(h.dir))
	if err == nil {
		_, err = f.DeviceIoControl(background, code, nil, make([]byte, 8))
		f.Close()
	}
	return saw(err)
}

var bugcheckName = regexp.MustCompile(`bugcheck (?:bugcheck )?(\S+)`)

// saw puts an error in the words of the table.
func saw(err error) string {
	var gone *client.HostGoneError
	switch {
	case err == nil:
		return "nothing"
	case errors.As(err, &gone):
		if name := bugcheckName.FindStringSubmatch(gone.Text); name != nil {
			return "host ended: " + name[1]
		}
		return "host ended: " + gone.Status.String()
	case errors.Is(err, os.ErrNotExist):
		return "no device"
	}
	return err.Error()
}

// outcome is a row of the table.
type outcome struct {
	culprit string // what the client saw that brought it about
	other   string // the other client's pending request
	host    string // how the host ended
	later   string // a new client of the host
	second  string // the second host's client
	left    string // in the runtime directory, but for the second host's
}

// containment is a test's surroundings.
type containment struct {
	*contained
	second  *contained
	watch   remote
	pending <-chan asyncResult
}

func newContainment(t *testing.T, dir string, second *contained) *containment {
	c := &containment{contained: startContained(t, dir, "faults", "harm", "echo"), second: second}
	c.watch = c.open("Echo")
	c.pending = async(background, c.open("Echo"), fixtures.IOCTL_ECHO_PEND_FOREVER, nil, nil)
	eventually(t, "pended", func() bool { return counts(t, c.watch).Waiting == 1 })
	return c
}

// lives fills in the row of a host that goes on, and ends it.
func (c *containment) lives(o *outcome) {
	assert.EqualValues(c.t, 1, counts(c.t, c.watch).Waiting, "the other client's request")
	_, err := c.watch.DeviceIoControl(background, fixtures.IOCTL_ECHO_RELEASE, nil, make([]byte, 4))
	require.NoError(c.t, err)
	r := <-c.pending
	o.other = saw(r.err)
	o.later = c.works("Faults", fixtures.IOCTL_FAULTS_NONE)
	o.host = c.stop()
}

// ended fills in the row of a host that has ended.
func (c *containment) ended(o *outcome) {
	r := <-c.pending
	o.other = saw(r.err)
	o.host = c.end()
	o.later = c.works("Faults", fixtures.IOCTL_FAULTS_NONE)
}

// left lists what is in the runtime directory besides the second host's socket and links.
func (c *containment) left() string {
	var names []string
	devices, err := wire.List(c.dir)
	require.NoError(c.t, err)
	for _, d := range devices {
		if d.PID != c.second.cmd.Process.Pid {
			names = append(names, "link "+d.Name)
		}
	}
	sockets, err := filepath.Glob(filepath.Join(c.dir, "hosts", "*.sock"))
	require.NoError(c.t, err)
	if len(sockets) > 1 {
		names = append(names, fmt.Sprintf("%d sockets", len(sockets)-1))
	}
	if names == nil {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// crashesBy is a bug that an I/O control code of a driver brings about.
func crashesBy(device string, code uint32) func(*containment, *outcome) {
	return func(c *containment, o *outcome) {
		_, err := c.open(device).DeviceIoControl(background, code, nil, make([]byte, 8))
		o.culprit = saw(err)
		c.ended(o)
	}
}

// raw is a client that sends messages of its own making, and then looks whether it is thrown out.
func raw(hello bool, messages ...[]byte) func(*containment, *outcome) {
	return func(c *containment, o *outcome) {
		for _, m := range messages {
			path, err := wire.LinkPath(c.dir, "Echo")
			require.NoError(c.t, err)
			conn, err := net.Dial("unixpacket", path)
			require.NoError(c.t, err)
			defer conn.Close()
			require.NoError(c.t, conn.SetDeadline(time.Now().Add(20*time.Second)))
			buf := make([]byte, 1<<16)
			if hello {
				h, err := (&wire.Hello{VersionMin: wire.VersionMin, VersionMax: wire.VersionMax,
					Name: "Echo", Access: 0xC0000000, Disposition: 1}).Append(nil)
				require.NoError(c.t, err)
				_, err = conn.Write(h)
				require.NoError(c.t, err)
				n, err := conn.Read(buf)
				require.NoError(c.t, err)
				w, err := wire.ParseWelcome(buf[:n])
				require.NoError(c.t, err)
				require.True(c.t, w.Status.Success(), "%v", w.Status)
			}
			_, err = conn.Write(m)
			if errors.Is(err, syscall.EMSGSIZE) {
				o.culprit = "the message is refused"
				continue
			}
			require.NoError(c.t, err)
			for err == nil {
				_, err = conn.Read(buf)
			}
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				c.t.Errorf("the host keeps a client that sent % x…", m[:min(len(m), 24)])
			}
			o.culprit = "disconnected"
		}
		c.lives(o)
	}
}

// request makes a message with a request's header, and changes it.
func request(length int, change func(m []byte)) []byte {
	m := make([]byte, length)
	h := wire.RequestHeader{ID: 1, Major: 14, Code: fixtures.IOCTL_ECHO_BUFFERED}
	if length >= wire.RequestSize {
		h.InLen = uint32(length - wire.RequestSize)
		h.Put(m)
	} else {
		wire.PutHeader(m, wire.MsgRequest, 1)
	}
	change(m)
	return m
}

func TestContainment(t *testing.T) {
	const bystander, nothing = "BenchDrv", "nothing"
	put32 := func(at int, v uint32) func([]byte) {
		return func(m []byte) { binary.LittleEndian.PutUint32(m[at:], v) }
	}
	none := func([]byte) {}
	garbage := pattern(200, 0x5A)
	dir := runtimeDir(t)
	second := startContained(t, dir, "bench")
	secondClient := second.open(bystander)
	rows := []struct {
		in, fault string
		inject    func(c *containment, o *outcome)
		culprit   string // what its client sees; the others see that too if the host has ended
		host      string
	}{
		{"driver", "write to null", crashesBy("Faults", fixtures.IOCTL_FAULTS_WRITE_NULL),
			"host ended: SYSTEM_SERVICE_EXCEPTION", "SYSTEM_SERVICE_EXCEPTION"},
		{"driver", "wild jump", crashesBy("Faults", fixtures.IOCTL_FAULTS_WILD_JUMP),
			"host ended: SYSTEM_SERVICE_EXCEPTION", "SYSTEM_SERVICE_EXCEPTION"},
		{"driver", "stack overflow", crashesBy("Faults", fixtures.IOCTL_FAULTS_STACK_OVERFLOW),
			"host ended: UNEXPECTED_KERNEL_MODE_TRAP", "UNEXPECTED_KERNEL_MODE_TRAP"},
		{"driver", "double fault in a filter", crashesBy("Harm", fixtures.IOCTL_HARM_FILTER),
			"host ended: UNEXPECTED_KERNEL_MODE_TRAP", "UNEXPECTED_KERNEL_MODE_TRAP"},
		{"driver", "loop at DISPATCH_LEVEL",
			crashesBy("Faults", fixtures.IOCTL_FAULTS_LOOP_DISPATCH),
			"host ended: DPC_WATCHDOG_VIOLATION", "DPC_WATCHDOG_VIOLATION"},
		{"driver", "pool corruption", crashesBy("Harm", fixtures.IOCTL_HARM_OVERRUN),
			"host ended: BAD_POOL_HEADER", "BAD_POOL_HEADER"},
		{"driver", "scribbled IRP", crashesBy("Harm", fixtures.IOCTL_HARM_SCRIBBLE),
			"host ended: MULTIPLE_IRP_COMPLETE_REQUESTS", "MULTIPLE_IRP_COMPLETE_REQUESTS"},
		{"driver", "deadlock", func(c *containment, o *outcome) {
			stuck := async(background, c.open("Harm"), fixtures.IOCTL_HARM_DEADLOCK, nil, nil)
			eventually(t, "others are served", func() bool {
				return c.works("Harm", fixtures.IOCTL_HARM_NONE) == nothing
			})
			c.lives(o)
			r := <-stuck
			require.NoError(t, r.err)
			o.culprit = "at the end: " + r.Status.String()
		}, "at the end: " + driverhost.StatusGone.String(), "ended, 1 stuck"},

		{"client", "killed in a request", func(c *containment, o *outcome) {
			cmd := child(t, "pend", c.dir)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			// Of its three requests and the other client's, four wait.
			eventually(t, "pended", func() bool { return counts(t, c.watch).Waiting == 4 })
			require.NoError(t, cmd.Process.Kill())
			_, _ = io.Copy(io.Discard, out)
			require.Error(t, cmd.Wait())
			eventually(t, "cancelled", func() bool { return counts(t, c.watch).Waiting == 1 })
			o.culprit = "its end"
			c.lives(o)
		}, "its end", "ended, 0 stuck"},
		{"client", "garbage before Hello", raw(false, garbage, garbage[:16]), "disconnected",
			"ended, 0 stuck"},
		{"client", "garbage after Hello", raw(true, garbage, garbage[:17]), "disconnected",
			"ended, 0 stuck"},
		{"client", "half messages", raw(true, request(16, none)[:7], request(40, none),
			request(100, none)[:80]), "disconnected", "ended, 0 stuck"},
		{"client", "enormous sizes", raw(true, request(100, put32(0, 0xFFFFFFFF)),
			request(100, put32(32, 0xFFFFFFFF)), request(100, put32(32, 0x80000000))), "disconnected",
			"ended, 0 stuck"},

		{"host's Go code", "panic in an export", func(c *containment, o *outcome) {
			stuck := async(background, c.open("Echo"), fixtures.IOCTL_ECHO_PEND_FOREVER, nil, nil)
			_, err := fmt.Fprintln(c.in, fixture(t, "hello"))
			require.NoError(t, err)
			r := <-stuck
			o.culprit = saw(r.err)
			c.ended(o)
		}, "host ended: 0xD0D00001", "DRVHOST_FAULT"},
		{"host's Go code", "killed −9", func(c *containment, o *outcome) {
			stuck := async(background, c.open("Harm"), fixtures.IOCTL_HARM_PEND, nil, nil)
			require.NoError(t, c.cmd.Process.Kill())
			r := <-stuck
			o.culprit = saw(r.err)
			c.ended(o)
			require.NoError(t, wire.Sweep(c.dir)) // what each host does that starts here
		}, "host ended: STATUS_DRIVER_PROCESS_TERMINATED", "signal: killed"},
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "a bug in\tfault\tits client sees\tanother client's request\ta new client\thost"+
		"\tsecond host's client\tleft behind")
	for _, row := range rows {
		t.Run(row.in+"/"+row.fault, func(t *testing.T) {
			c := newContainment(t, dir, second)
			var o outcome
			row.inject(c, &o)
			_, err := secondClient.DeviceIoControl(background, fixtures.IOCTL_BENCH_NULL, nil, nil)
			o.second, o.left = saw(err), c.left()
			assert.Equal(t, row.culprit, o.culprit)
			assert.Equal(t, row.host, o.host)
			assert.Equal(t, nothing, o.second)
			assert.Equal(t, nothing, o.left)
			if strings.HasPrefix(o.host, "ended") {
				assert.Equal(t, nothing, o.other)
				assert.Equal(t, nothing, o.later)
			} else {
				assert.Equal(t, o.culprit, o.other, "the same, at once")
				assert.Equal(t, "no device", o.later)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.in, row.fault, o.culprit, o.other,
				o.later, o.host, o.second, o.left)
		})
	}
	require.NoError(t, w.Flush())
	t.Log("\n" + table.String())
	assert.Equal(t, "ended, 0 stuck", second.stop())
}

func TestAPanicInAnExportIsABugcheckWithBothStacks(t *testing.T) {
	h, err := driverhost.New(driverhost.Options{Print: func(string) { panic("a bug in the host") }})
	require.NoError(t, err)
	defer h.Close()
	_, err = h.Load(fixture(t, "hello"))
	require.Error(t, err)
	report, ok := h.CrashReport()
	require.True(t, ok)
	assert.Equal(t, "DRVHOST_FAULT", report.Name)
	assert.Contains(t, report.Reason, "a bug in the host")
	require.NotEmpty(t, report.Stack)
	assert.Regexp(t, `hello\.sys\+0x`, report.Stack[0], "the driver's")
	assert.Contains(t, report.HostStack, "containment_test.go", "the host's")
}
