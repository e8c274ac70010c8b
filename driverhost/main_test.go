package driverhost_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

// childEnv holds the name of what a re-executed test binary does instead of testing.
const childEnv = "DRVHOST_TEST_CHILD"

// children are the roles of other processes.
var children = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		if err := children[role](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child prepares another process in a role, with the runtime directory dir.
func child(t testing.TB, role, dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"="+role, "DRVHOST_RUNTIME_DIR="+dir)
	cmd.Stderr = testWriter{t}
	return cmd
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// fixture gives the path of a fixture driver.
func fixture(t testing.TB, name string) string {
	t.Helper()
	path, err := fixtures.Path(name)
	require.NoError(t, err)
	return path
}

// runtimeDir gives a directory for sockets, whose path is short enough for them.
func runtimeDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "drvh")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve makes a host reachable for other processes until the end of the test.
func serve(t testing.TB, h *driverhost.Host) (dir string) {
	t.Helper()
	dir = runtimeDir(t)
	require.NoError(t, h.Listen(dir))
	served := make(chan error, 1)
	go func() { served <- h.Serve() }()
	t.Cleanup(func() { <-served })
	t.Cleanup(func() { h.Close() })
	return dir
}

// result is how a request ended, by whatever way it was sent.
type result struct {
	Status, IOStatus nt.Status
	Information      uint64
	Written          int
}

// device is an open device of either kind: of the same process, or by the socket.
type device interface {
	ioctl(ctx context.Context, code uint32, in, out []byte) (result, error)
	DeviceIoControl(ctx context.Context, code uint32, in, out []byte) (int, error)
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	Flush() error
	Close() error
}

type local struct{ *driverhost.File }

func (f local) ioctl(ctx context.Context, code uint32, in, out []byte) (result, error) {
	r, err := f.DeviceIoControlEx(ctx, code, in, out)
	return result(r), err
}

type remote struct{ *client.File }

func (f remote) ioctl(ctx context.Context, code uint32, in, out []byte) (result, error) {
	r, err := f.DeviceIoControlEx(ctx, code, in, out)
	return result{r.Final(), r.IOStatus, r.Information, r.N}, err
}

// ways are the two ways to a device.
var ways = []struct {
	name  string
	start func(t testing.TB, h *driverhost.Host) (open func(name string) (device, error))
}{
	{"in process", func(t testing.TB, h *driverhost.Host) func(string) (device, error) {
		return func(name string) (device, error) {
			f, err := h.Open(name, driverhost.OpenOptions{})
			if err != nil {
				return nil, err
			}
			return local{f}, nil
		}
	}},
	{"by the socket", func(t testing.TB, h *driverhost.Host) func(string) (device, error) {
		dir := serve(t, h)
		return func(name string) (device, error) {
			f, err := client.Open(name, client.RuntimeDir(dir))
			if err != nil {
				return nil, err
			}
			return remote{f}, nil
		}
	}},
}

// loadEcho makes a host with echo.sys.
func loadEcho(t testing.TB, opts ...drivertest.Option) *driverhost.Host {
	t.Helper()
	return drivertest.Load(t, fixture(t, "echo"), opts...)
}

// bothWays runs a test of echo.sys in process and by the socket.
func bothWays(t *testing.T, driver string, f func(t *testing.T, open func(name string) device)) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			h := drivertest.Load(t, fixture(t, driver))
			try := way.start(t, h)
			f(t, func(name string) device {
				t.Helper()
				d, err := try(name)
				require.NoError(t, err)
				t.Cleanup(func() { d.Close() })
				return d
			})
		})
	}
}

var background = context.Background()

// pattern gives n bytes that differ from place to place.
func pattern(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i) ^ byte(i>>8)*31 ^ byte(i>>16)*17 ^ seed
	}
	return p
}

// same compares large data without printing them.
func same(t testing.TB, want, have []byte, what string) {
	t.Helper()
	if !bytes.Equal(want, have) {
		n := 0
		for n < len(want) && n < len(have) && want[n] == have[n] {
			n++
		}
		t.Errorf("%s: %d bytes, want %d; they differ from %#x on", what, len(have), len(want), n)
	}
}

// counts asks an echo device for its counters.
func counts(t testing.TB, d device) fixtures.EchoCounts {
	t.Helper()
	out := make([]byte, fixtures.EchoCountsSize)
	r, err := d.ioctl(background, fixtures.IOCTL_ECHO_COUNTS, nil, out)
	require.NoError(t, err)
	require.Equal(t, nt.STATUS_SUCCESS, r.Status)
	c, err := fixtures.ParseEchoCounts(out)
	require.NoError(t, err)
	return c
}

// eventually waits for something that another process or thread brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			require.Fail(t, "did not happen: "+what)
		}
	}
}

// asyncResult is a request under way.
type asyncResult struct {
	result
	err error
}

// async sends a request and gives where its result will be.
func async(ctx context.Context, d device, code uint32, in, out []byte) <-chan asyncResult {
	done := make(chan asyncResult, 1)
	go func() {
		r, err := d.ioctl(ctx, code, in, out)
		done <- asyncResult{r, err}
	}()
	return done
}

// parallel runs f n times at once and waits.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
