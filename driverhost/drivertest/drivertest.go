// Package drivertest loads drivers for tests, in the manner of net/http/httptest.
//
//	func TestEcho(t *testing.T) {
//		h := drivertest.Load(t, "echo.sys")
//		f := drivertest.Open(t, h, `\\.\Echo`)
//		n, err := f.Write([]byte("hello"))
//		…
//	}
//
// What the driver prints goes to the test's log. At the end of the test the driver is unloaded and
// everything is checked to be given back: a crash, a device, a link or pool that is left behind, and
// a request that does not end fail the test.
//
// The package may import what driverhost may.
package drivertest

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/cm/hive"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Option changes how a driver is loaded.
type Option func(*config)

type config struct {
	host       driverhost.Options
	crashes    bool
	leavesMess bool

	replayLimit time.Duration
}

// Processors sets the number of virtual processors.
func Processors(n int) Option { return func(c *config) { c.host.Processors = n } }

// Patience sets how long the end of the test waits for requests that were cancelled.
func Patience(d time.Duration) Option { return func(c *config) { c.host.Patience = d } }

// Volume makes a directory the drive of that letter for drivers.
func Volume(drive, dir string) Option {
	return func(c *config) {
		if c.host.Volumes == nil {
			c.host.Volumes = make(map[string]string)
		}
		c.host.Volumes[drive] = dir
	}
}

// MayCrash says that the test expects the driver to crash: it looks at Host.Crashed itself.
func MayCrash() Option { return func(c *config) { c.crashes = true } }

// MayLeave says that the driver may leave devices, links or pool behind.
func MayLeave() Option { return func(c *config) { c.leavesMess = true } }

// Print takes the driver's DbgPrint text instead of the test's log.
func Print(f func(text string)) Option { return func(c *config) { c.host.Print = f } }

// Reg gives the drivers a registry with what a .reg file's text asks for, beside what Windows has.
func Reg(t testing.TB, text string) Option {
	t.Helper()
	edits, err := cm.Parse("drivertest.Reg", strings.NewReader(text))
	if err != nil {
		t.Fatalf("drivertest: %v", err)
	}
	return func(c *config) {
		if c.host.Registry == nil {
			c.host.Registry = ntoskrnl.NewRegistry(1)
		}
		if err := c.host.Registry.Do(edits); err != nil {
			t.Fatalf("drivertest: %v", err)
		}
	}
}

// Hive gives the drivers a registry with what a binary hive's file has at a key, as HKLM\System, beside
// what Windows has.
func Hive(t testing.TB, key, file string) Option {
	return func(c *config) {
		t.Helper()
		if c.host.Registry == nil {
			c.host.Registry = ntoskrnl.NewRegistry(1)
		}
		if err := hive.SeedFile(c.host.Registry, key+"="+file); err != nil {
			t.Fatalf("drivertest: %v", err)
		}
	}
}

// Trace logs every import call that the driver makes.
func Trace(t testing.TB) Option {
	return func(c *config) { c.host.Trace = func(line string) { t.Log(line) } }
}

// New makes a host that ends with the test.
func New(t testing.TB, opts ...Option) *driverhost.Host {
	t.Helper()
	c := config{}
	c.host.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: logWriter{t},
		DisableTime: true})
	c.host.Print = func(text string) { t.Log(strings.TrimSuffix(text, "\n")) }
	for _, o := range opts {
		o(&c)
	}
	h, err := driverhost.New(c.host)
	if err != nil {
		t.Fatalf("drivertest: %v", err)
	}
	t.Cleanup(func() { end(t, h, &c) })
	return h
}

// end closes the host and says what should not be.
func end(t testing.TB, h *driverhost.Host, c *config) {
	t.Helper()
	crash := h.Crashed()
	report, err := h.Close()
	if crash != nil && !c.crashes {
		t.Errorf("the driver crashed: %v", crash)
	}
	if err != nil && crash == nil {
		t.Errorf("drivertest: closing the host: %v", err)
	}
	for _, s := range report.Stuck {
		t.Errorf("a request did not end: %s", s)
	}
	if !c.leavesMess {
		for driver, left := range report.Left {
			t.Errorf("%s left behind on unload: %s", driver, strings.Join(left, ", "))
		}
		for _, use := range report.Pool {
			t.Errorf("drivers did not free %d bytes of pool in %d blocks with the tag %q", use.Bytes,
				use.Blocks, use.Tag)
		}
	}
}

// Load makes a host and loads the drivers in the given files into it, in order. A relative name is
// looked for in the test's directory.
func Load(t testing.TB, file string, opts ...Option) *driverhost.Host {
	t.Helper()
	h := New(t, opts...)
	LoadInto(t, h, file)
	return h
}

// LoadInto loads one more driver into a host.
func LoadInto(t testing.TB, h *driverhost.Host, file string) *driverhost.Driver {
	t.Helper()
	d, err := h.Load(filepath.Clean(file))
	if err != nil {
		t.Fatalf("drivertest: %v", err)
	}
	return d
}

// Open opens a device of the host for the test, and closes it at its end.
func Open(t testing.TB, h *driverhost.Host, name string) *driverhost.File {
	t.Helper()
	f, err := h.Open(name, driverhost.OpenOptions{})
	if err != nil {
		t.Fatalf("drivertest: %v", err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil && err != driverhost.ErrClosed {
			t.Errorf("drivertest: close %s: %v", name, err)
		}
	})
	return f
}

// Crash gives the bugcheck that ended the host, after waiting for it to be dealt with; it fails the
// test if there is none.
func Crash(t testing.TB, h *driverhost.Host) *ke.Bugcheck {
	t.Helper()
	b := h.Crashed()
	if b == nil {
		t.Fatal("drivertest: the driver has not crashed")
	}
	<-h.Done()
	return b
}

// logWriter writes log lines to a test.
type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Helper()
	w.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}
