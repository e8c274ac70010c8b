package driverhost

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/pe"
)

// Options says how a host is made. The zero value is a good one.
type Options struct {
	// Processors is the number of virtual processors; 0 takes the machine's.
	Processors int
	// Log takes what the host has to say; nil is silence.
	Log hclog.Logger
	// Print takes the text of DbgPrint and its relatives.
	Print func(text string)
	// Trace, if set, takes a line for every import call of a driver.
	Trace func(line string)
	// FailMissing refuses a driver that imports what nothing answers. Otherwise such an import is
	// reported if it is called.
	FailMissing bool
	// OnCrash is told of the bugcheck that ends the host.
	OnCrash func(b *ke.Bugcheck)
}

// Host is a kernel with its drivers.
type Host struct {
	Kernel *ntoskrnl.Kernel

	log       hclog.Logger
	wireLog   hclog.Logger
	onCrash   func(b *ke.Bugcheck)
	crashOnce sync.Once
	crashDone chan struct{}
	// crashReport is made when the bugcheck comes.
	crashReport atomic.Pointer[CrashReport]

	mu       sync.Mutex
	sessions map[*session]struct{}
	procs    map[int]*process
	helpers  []*ke.Thread // threads to run cancel routines on, idle
	server   *wire.Server
	runtime  string          // the runtime directory that is served
	claimed  map[string]bool // names of links in it
	closed   bool
}

// Driver is a loaded driver.
type Driver = ntoskrnl.Driver

// New makes a host without drivers. Close ends it.
func New(opts Options) (*Host, error) {
	if opts.Log == nil {
		opts.Log = hclog.NewNullLogger()
	}
	h := &Host{log: opts.Log.Named("host"), wireLog: opts.Log.Named("wire"),
		onCrash: opts.OnCrash, crashDone: make(chan struct{}),
		sessions: make(map[*session]struct{}), procs: make(map[int]*process),
		claimed: make(map[string]bool)}
	var err error
	h.Kernel, err = ntoskrnl.New(ntoskrnl.Options{Processors: opts.Processors,
		Log:   opts.Log.Named("kernel"),
		Print: opts.Print, Trace: opts.Trace, FailMissing: opts.FailMissing,
		OnLinks: h.linksChanged, OnCrash: h.crashed})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Load loads the driver in a file and calls its DriverEntry. See [ntoskrnl.Kernel.LoadFile].
func (h *Host) Load(path string) (*Driver, error) { return h.Kernel.LoadFile(path) }

// LoadImage is Load for an image that was parsed already, under the given service name.
func (h *Host) LoadImage(img *pe.Image, service string) (*Driver, error) {
	return h.Kernel.Load(img, service)
}

// BusyError says that a driver cannot be unloaded: its devices are open.
type BusyError struct {
	Driver string
	Opens  int
}

// Error names the driver and counts the files.
func (e *BusyError) Error() string {
	return fmt.Sprintf("%s: %d files are open on its devices", e.Driver, e.Opens)
}

// Unload unloads a driver none of whose devices is open. See [ntoskrnl.Kernel.Unload] for the
// result.
func (h *Host) Unload(d *Driver) (left []string, err error) {
	h.mu.Lock()
	n := 0
	for s := range h.sessions {
		if s.open.File.Device.Driver == d.Driver {
			n++
		}
	}
	h.mu.Unlock()
	if n > 0 {
		return nil, &BusyError{d.Service, n}
	}
	return h.Kernel.Unload(d)
}

// Crashed gives the bugcheck that ended the host, or nil.
func (h *Host) Crashed() *ke.Bugcheck { return h.Kernel.Crashed() }

// Done is closed when a bugcheck has ended the host and every request has failed.
func (h *Host) Done() <-chan struct{} { return h.crashDone }

// StatusGone is what requests fail with whose host has crashed or ended: what Windows gives for a
// device that was surprise-removed.
const StatusGone = nt.STATUS_DEVICE_REMOVED

// crashed fails everything that is under way. It is called once, on the thread that crashed. Clients
// are told why before that thread unwinds, which fails its own request without a reason; the rest is
// done elsewhere.
func (h *Host) crashed(b *ke.Bugcheck) {
	h.crashOnce.Do(func() {
		// Later the stack may be gone.
		report := h.DescribeCrash(b)
		h.crashReport.Store(&report)
		h.mu.Lock()
		server := h.server
		sessions := make([]*session, 0, len(h.sessions))
		for s := range h.sessions {
			sessions = append(sessions, s)
		}
		h.mu.Unlock()
		if server != nil {
			server.Abort(StatusGone, b.Error())
		}
		go func() {
			defer close(h.crashDone)
			for _, s := range sessions {
				s.open.AbandonAll(StatusGone)
			}
			if h.onCrash != nil {
				h.onCrash(b)
			}
		}()
	})
}

// unloadPatience is how long Close waits for requests that do not end, though they were cancelled.
const unloadPatience = 5 * time.Second

// CloseReport is what Close found.
type CloseReport struct {
	// Stuck are the requests that did not end within 5 s of being cancelled.
	Stuck []string
	// Left is what drivers did not delete on unload, by driver.
	Left map[string][]string
	// NoUnload are the drivers without a DriverUnload routine: they end with the process.
	NoUnload []string
}

// Close ends the host: clients are told, what is pending is cancelled, files are closed, drivers
// unloaded in the reverse order of loading, and all memory is given back. When requests do not end,
// or a driver has crashed, it goes on without them.
func (h *Host) Close() (report CloseReport, err error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return report, nil
	}
	h.closed = true
	server := h.server
	h.mu.Unlock()
	var errs []error
	if server != nil {
		errs = append(errs, h.releaseLinks())
		server.Shutdown(StatusGone, "the driver host has ended")
	}
	h.closeSessions()
	if server != nil && !server.Wait(unloadPatience) {
		for _, o := range server.Outstanding() {
			report.Stuck = append(report.Stuck, describeOutstanding(o))
		}
	}
	h.mu.Lock()
	open := len(h.sessions)
	h.mu.Unlock()
	if open == 0 && h.Crashed() == nil {
		report.Left = make(map[string][]string)
		drivers := h.Kernel.Drivers()
		slices.Reverse(drivers)
		for _, d := range drivers {
			left, err := h.Kernel.Unload(d)
			if errors.Is(err, ntoskrnl.ErrNoUnload) {
				report.NoUnload = append(report.NoUnload, d.Service)
			} else if err != nil {
				errs = append(errs, err)
			}
			if len(left) > 0 {
				report.Left[d.Service] = left
			}
		}
	}
	return report, errors.Join(append(errs, h.Kernel.Close())...)
}

func describeOutstanding(o wire.Outstanding) string {
	s := fmt.Sprintf("%v on %s by process %d", o.Major, o.Name, o.Peer.PID)
	if o.Major == nt.IRP_MJ_DEVICE_CONTROL {
		s += fmt.Sprintf(", code %#x", o.Code)
	}
	return s
}

// Listen makes the host reachable for other processes: a socket in the runtime directory dir, and a
// link for each Win32 name that its drivers have made and will make. It fails with a
// *wire.ClaimedError when a living host has one of the names.
func (h *Host) Listen(dir string) error {
	server := wire.NewServer(wire.Config{Backend: backend{h}, Logf: func(f string, args ...any) {
		h.wireLog.Warn(fmt.Sprintf(f, args...))
	}})
	if err := server.ListenRuntime(dir); err != nil {
		return err
	}
	h.mu.Lock()
	h.server, h.runtime = server, dir
	h.mu.Unlock()
	return h.SyncLinks()
}

// Serve answers clients until Close.
func (h *Host) Serve() error { return h.server.Serve() }

// Socket gives the path of the socket, or "" before Listen.
func (h *Host) Socket() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.server == nil {
		return ""
	}
	return h.server.Socket()
}

// linksChanged follows the drivers' links while the host is served. A name that another host holds
// is reported; the load that made it finds out by SyncLinks.
func (h *Host) linksChanged() {
	if err := h.SyncLinks(); err != nil {
		h.log.Error("device name", "error", err.Error())
	}
}

// dosDevices is the directory of Win32 names.
const dosDevices = `\GLOBAL??`

// SyncLinks makes the links in the runtime directory those that the drivers have made. It does
// nothing before Listen.
func (h *Host) SyncLinks() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.server == nil || h.closed {
		return nil
	}
	socket := h.server.Socket()
	var errs []error
	have := make(map[string]bool)
	for _, l := range h.Kernel.Ob.Links(dosDevices) {
		name := strings.TrimPrefix(l.Path, dosDevices+`\`)
		have[name] = true
		if h.claimed[name] {
			continue
		}
		if err := wire.Claim(h.runtime, name, socket); err != nil {
			errs = append(errs, err)
			continue
		}
		h.claimed[name] = true
	}
	for name := range h.claimed {
		if !have[name] {
			delete(h.claimed, name)
			errs = append(errs, wire.Release(h.runtime, name, socket))
		}
	}
	return errors.Join(errs...)
}

func (h *Host) releaseLinks() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for name := range h.claimed {
		errs = append(errs, wire.Release(h.runtime, name, h.server.Socket()))
	}
	h.claimed = make(map[string]bool)
	return errors.Join(errs...)
}

// pid is this process, the client of files that are opened in it.
var pid = os.Getpid()
