package driverhost

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/irp/trace"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
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
	// Registry is what drivers see as the registry; nil is one of the host's own, with what Windows has
	// ([ntoskrnl.NewRegistry]).
	Registry *cm.Registry
	// NoPatch leaves instructions in drivers' code as they are that have another effect in a process
	// than in a kernel, and do not trap ([ntoskrnl.UntrappedInstructions]).
	NoPatch bool
	// DPCTimeLimit is how long a DPC may run, and a processor stay at DISPATCH_LEVEL, before that is a
	// bugcheck; 0 is 20 s.
	DPCTimeLimit time.Duration
	// Volumes are the directories that drivers see as drives, by the drive's letter; they are opened
	// by New.
	Volumes map[string]string
	// OnCrash is told of the bugcheck that ends the host.
	OnCrash func(b *ke.Bugcheck)
	// Services does what ZwLoadDriver and ZwUnloadDriver ask for; nil has the host load and unload
	// the drivers itself, by what the registry says of their services.
	Services ServiceControl
	// CheckImage, if set, says whether the host may load an image that a driver asks for.
	CheckImage func(img *pe.Image) error
	// OnUnloaded is told the service of a driver that UnloadService has marked, and that is
	// unloaded.
	OnUnloaded func(service string)
	// Patience is how long Close waits for requests that were cancelled and for a DriverUnload; 0 is
	// 5 s.
	Patience time.Duration
}

// Host is a kernel with its drivers.
type Host struct {
	Kernel *ntoskrnl.Kernel

	log       hclog.Logger
	wireLog   hclog.Logger
	onCrash   func(b *ke.Bugcheck)
	crashOnce sync.Once
	crashDone chan struct{}
	crashTold chan struct{} // closed when clients have been told of a crash
	// crashReport is made when the bugcheck comes.
	crashReport atomic.Pointer[CrashReport]

	patience time.Duration
	// gate has what uses the kernel: sessions until they are gone, loads, unloads, cancels.
	gate gate

	mu       sync.Mutex
	fewer    sync.Cond // a session has gone
	sessions map[*session]struct{}
	procs    map[client]*process
	self     *process     // of files that are opened in this process, once there was one
	helpers  []*ke.Thread // threads to run cancel routines on, idle
	server   *wire.Server
	closed   bool

	recorder atomic.Pointer[trace.Writer] // or nil

	linkMu  sync.Mutex      // guards what follows; file operations run under it
	runtime string          // the runtime directory that is served, "" when none is
	claimed map[string]bool // names of links in it
	// linkErrors is what was wrong with links when they last changed.
	linkErrors []string
}

// Driver is a loaded driver.
type Driver = ntoskrnl.Driver

// New makes a host without drivers. Close ends it.
func New(opts Options) (*Host, error) {
	if opts.Log == nil {
		opts.Log = hclog.NewNullLogger()
	}
	h := &Host{log: opts.Log.Named(logHost), wireLog: opts.Log.Named(logWire),
		onCrash: opts.OnCrash, crashDone: make(chan struct{}),
		crashTold: make(chan struct{}),
		sessions:  make(map[*session]struct{}), procs: make(map[client]*process),
		claimed: make(map[string]bool), patience: opts.Patience}
	if h.patience == 0 {
		h.patience = defaultPatience
	}
	h.gate.init()
	h.fewer.L = &h.mu
	if opts.Services == nil {
		opts.Services = ownServices{h}
	}
	var err error
	h.Kernel, err = ntoskrnl.New(ntoskrnl.Options{Processors: opts.Processors,
		Log:   opts.Log.Named(logKernel),
		Print: opts.Print, Trace: opts.Trace, FailMissing: opts.FailMissing,
		NoPatch: opts.NoPatch, DPCTimeLimit: opts.DPCTimeLimit, Registry: opts.Registry,
		Volumes: opts.Volumes, OnLinks: h.linksChanged, OnCrash: h.crashed,
		Services: opts.Services, CheckImage: opts.CheckImage, OnUnloaded: opts.OnUnloaded})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Load loads the driver in a file and calls its DriverEntry. See [ntoskrnl.Kernel.LoadFile]. When the
// host listens and another host has the name of one of the driver's devices, the driver is unloaded
// again, and the error is a *wire.ClaimedError.
func (h *Host) Load(path string) (*Driver, error) {
	return h.load(func() (*Driver, error) { return h.Kernel.LoadFile(path) })
}

// LoadParsed is Load for a file that was parsed before, as a host does that gives up its access to
// files first.
func (h *Host) LoadParsed(path string, img *pe.Image) (*Driver, error) {
	return h.load(func() (*Driver, error) { return h.Kernel.LoadParsed(path, img) })
}

// LoadImage is Load for an image that was parsed already, under the given service name.
func (h *Host) LoadImage(img *pe.Image, service string) (*Driver, error) {
	return h.load(func() (*Driver, error) { return h.Kernel.Load(img, service) })
}

func (h *Host) load(do func() (*Driver, error)) (*Driver, error) {
	if !h.gate.enter() {
		return nil, ErrClosed
	}
	defer h.gate.leave()
	d, err := do()
	if err != nil {
		return d, err
	}
	err = h.SyncLinks()
	var claimed *wire.ClaimedError
	if !errors.As(err, &claimed) {
		return d, err
	}
	if _, e := h.Kernel.Unload(d); e != nil {
		err = errors.Join(err, e)
	}
	return d, fmt.Errorf("%s: %w", d.Service, err)
}

// Unload unloads a driver none of whose devices is open. See [ntoskrnl.Kernel.Unload] for the
// result; a *ntoskrnl.BusyError says that files are open.
func (h *Host) Unload(d *Driver) (left []string, err error) {
	if !h.gate.enter() {
		return nil, ErrClosed
	}
	defer h.gate.leave()
	return h.Kernel.Unload(d)
}

// BusyError says that a driver cannot be unloaded: its devices are open, or another driver uses it.
type BusyError = ntoskrnl.BusyError

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
		sessions := slices.Collect(maps.Keys(h.sessions))
		h.mu.Unlock()
		if server != nil {
			server.Abort(StatusGone, b.Error())
		}
		close(h.crashTold)
		go func() {
			defer close(h.crashDone)
			for _, s := range sessions {
				s.abandon()
			}
			if h.onCrash != nil {
				h.onCrash(b)
			}
		}()
	})
}

// awaitTold waits, after a crash, until clients have been told why: then their requests may fail.
func (h *Host) awaitTold() {
	if h.Crashed() != nil {
		<-h.crashTold
	}
}

const defaultPatience = 5 * time.Second

// CloseReport is what Close found.
type CloseReport struct {
	// Stuck are the requests, and the DriverUnload routines, that did not end in time, and the files
	// that drivers still refer to.
	Stuck []string
	// Left is what drivers did not delete on unload, by driver.
	Left map[string][]string
	// NoUnload are the drivers without a DriverUnload routine: they end with the process.
	NoUnload []string
	// Pool is the pool that drivers did not free, by tag, when all of them were unloaded.
	Pool []mm.TagUse
}

// Close ends the host: clients are told, what is pending is cancelled, files are closed, drivers
// unloaded in the reverse order of loading, and all memory is given back. What does not end in time
// is kicked out, and then drivers are not unloaded; nor when one has crashed.
func (h *Host) Close() (report CloseReport, err error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return report, nil
	}
	h.closed = true
	server := h.server
	h.mu.Unlock()
	deadline := time.Now().Add(h.patience)
	var errs []error
	if server != nil {
		errs = append(errs, h.releaseLinks())
		server.Shutdown(StatusGone, "the driver host has ended")
	}
	report.Stuck = h.closeSessions(deadline)
	if len(report.Stuck) == 0 && h.Crashed() == nil {
		report.Left = make(map[string][]string)
		errs = append(errs, h.shutdown(&report, deadline))
		if len(report.Stuck) == 0 && h.Crashed() == nil {
			errs = append(errs, h.unloadAll(&report, deadline))
		}
	}
	// From here on nothing runs in a driver any more, and whoever waits for one is told.
	h.Kernel.Ke.Close()
	h.endSessions()
	h.gate.close()
	if h.self != nil {
		h.releaseProcess(h.self)
	}
	if server != nil {
		server.Wait(h.patience)
	}
	return report, errors.Join(append(errs, h.Kernel.Close())...)
}

// shutdown tells the devices that want to know that the system shuts down.
func (h *Host) shutdown(report *CloseReport, deadline time.Time) error {
	late := make(chan struct{})
	timer := time.AfterFunc(time.Until(deadline), func() { close(late) })
	defer timer.Stop()
	stuck, err := h.Kernel.Shutdown(late)
	if stuck != nil {
		report.Stuck = append(report.Stuck, "IRP_MJ_SHUTDOWN of "+stuck.Describe())
	}
	return err
}

// unloadAll unloads every driver, until one takes too long.
func (h *Host) unloadAll(report *CloseReport, deadline time.Time) error {
	drivers := h.Kernel.Drivers()
	slices.Reverse(drivers)
	var errs []error
	for _, d := range drivers {
		type result struct {
			left []string
			err  error
		}
		done := make(chan result, 1)
		h.gate.enter()
		go func() {
			defer h.gate.leave()
			left, err := h.Kernel.Unload(d)
			done <- result{left, err}
		}()
		select {
		case r := <-done:
			if errors.Is(r.err, ntoskrnl.ErrNoUnload) {
				report.NoUnload = append(report.NoUnload, d.Service)
			} else if r.err != nil && !errors.Is(r.err, ntoskrnl.ErrUnloaded) {
				errs = append(errs, r.err)
			}
			if len(r.left) > 0 {
				report.Left[d.Service] = r.left
			}
		case <-time.After(time.Until(deadline)):
			report.Stuck = append(report.Stuck, "DriverUnload of "+d.Service)
			return errors.Join(errs...)
		}
	}
	if len(errs) == 0 && len(report.NoUnload) == 0 && h.Crashed() == nil {
		report.Pool = h.Kernel.DriverPool()
	}
	return errors.Join(errs...)
}

// Listen makes the host reachable for other processes: a socket in the runtime directory dir, and a
// link for each Win32 name that its drivers have made and will make. It fails with a
// *wire.ClaimedError when a living host has one of the names, and nothing is left in dir then.
func (h *Host) Listen(dir string) error {
	// With one thread for Go code, a client's connection that waits for its next request would hold
	// up everything else for up to 10 ms.
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2)
	}
	h.mu.Lock()
	listening, closed := h.server != nil, h.closed
	h.mu.Unlock()
	if listening || closed {
		return errors.New("the host listens already, or is closed")
	}
	server := wire.NewServer(wire.Config{Backend: backend{h}, Logf: func(f string, args ...any) {
		h.wireLog.Warn(fmt.Sprintf(f, args...))
	}})
	if err := server.ListenRuntime(dir); err != nil {
		return err
	}
	h.linkMu.Lock()
	h.runtime = dir
	h.linkMu.Unlock()
	h.mu.Lock()
	h.server = server
	h.mu.Unlock()
	err := h.SyncLinks()
	if err == nil {
		return nil
	}
	h.mu.Lock()
	h.server = nil
	h.mu.Unlock()
	err = errors.Join(err, h.releaseLinksOf(server.Socket()))
	server.Shutdown(StatusGone, err.Error())
	return err
}

// Serve answers clients until Close.
func (h *Host) Serve() error {
	h.mu.Lock()
	server := h.server
	h.mu.Unlock()
	if server == nil {
		return errors.New("the host does not listen")
	}
	return server.Serve()
}

// Socket gives the path of the socket, or "" before Listen.
func (h *Host) Socket() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.server == nil {
		return ""
	}
	return h.server.Socket()
}

// linksChanged follows the drivers' links while the host is served. What is newly wrong is in the
// log; the load that made it finds out by SyncLinks.
func (h *Host) linksChanged() {
	var wrong []string // a line for each name
	if err := h.SyncLinks(); err != nil {
		wrong = strings.Split(err.Error(), "\n")
	}
	h.linkMu.Lock()
	known := h.linkErrors
	h.linkErrors = wrong
	h.linkMu.Unlock()
	for _, line := range wrong {
		if !slices.Contains(known, line) {
			h.log.Warn("device name", "error", line)
		}
	}
}

// dosDevices is the directory of Win32 names.
const dosDevices = `\GLOBAL??`

// SyncLinks makes the links in the runtime directory those that the drivers have made. It does
// nothing before Listen. A name that another host holds is a *wire.ClaimedError.
func (h *Host) SyncLinks() error {
	socket := h.Socket()
	h.linkMu.Lock()
	defer h.linkMu.Unlock()
	if socket == "" || h.runtime == "" {
		return nil
	}
	var errs []error
	have := make(map[string]bool)
	for _, l := range h.Kernel.Ob.Links(dosDevices) {
		name := strings.TrimPrefix(l.Path, dosDevices+`\`)
		if h.Kernel.IsDrive(name) {
			continue
		}
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

// releaseLinks removes all links, and makes no more.
func (h *Host) releaseLinks() error { return h.releaseLinksOf(h.Socket()) }

func (h *Host) releaseLinksOf(socket string) error {
	h.linkMu.Lock()
	defer h.linkMu.Unlock()
	var errs []error
	for name := range h.claimed {
		errs = append(errs, wire.Release(h.runtime, name, socket))
	}
	h.claimed = make(map[string]bool)
	h.runtime = ""
	return errors.Join(errs...)
}
