package ntoskrnl

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/engine/native"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
	"github.com/drvhost/drvhost/ntoskrnl/seh"
	"github.com/drvhost/drvhost/pe"
)

// Options says how a kernel is made. The zero value is a good one.
type Options struct {
	// Processors is the number of virtual processors; 0 takes the machine's.
	Processors int
	// Log takes what the kernel has to say; nil is silence.
	Log hclog.Logger
	// Print takes the text of DbgPrint and its relatives.
	Print func(text string)
	// Trace, if set, takes a line for every import call that leaves the driver's code (see Code): its
	// arguments and what it gave.
	Trace func(line string)
	// FailMissing makes an import that nothing answers refuse the load. Otherwise it is bound to a
	// thunk that reports the call if one comes.
	FailMissing bool
	// NoPatch leaves the code of drivers as it is, so that instructions which do not trap in a process
	// (see UntrappedInstructions) have their native effect.
	NoPatch bool
	// DPCTimeLimit is how long a DPC may run, and a processor stay at DISPATCH_LEVEL, before that is a
	// bugcheck; 0 is 20 s.
	DPCTimeLimit time.Duration
	// Registry is the registry; nil gives the kernel one of its own, with what Windows has.
	Registry *cm.Registry
	// Volumes are the directories that drivers see as drives, by the drive's letter. Each is opened
	// when the kernel is made, and nothing outside it can be reached through it.
	Volumes map[string]string
	// Services, if set, does what ZwLoadDriver and ZwUnloadDriver ask for; nil leaves that to the kernel
	// itself: LoadService, UnloadService.
	Services ServiceControl
	// CheckImage, if set, says whether LoadService may load an image.
	CheckImage func(img *pe.Image) error
	// OnUnloaded is told the service of a driver that was marked by UnloadService and is unloaded.
	OnUnloaded func(service string)
	// OnLinks is told when a symbolic link was made or deleted.
	OnLinks func()
	// OnCrash is told of the bugcheck that ends the kernel.
	OnCrash func(b *ke.Bugcheck)
}

// Kernel is one ntoskrnl: its memory, processors and threads, objects, devices and drivers. Several
// may live in a process; they share the address space and nothing else.
type Kernel struct {
	opts  Options
	log   hclog.Logger
	space *guest.Space
	cpu   engine.CPU

	Ke     *ke.System
	Mm     *mm.Manager
	Ob     *ob.Manager
	Dev    *devobj.Manager
	IO     *irp.Manager
	Linker *pe.Linker

	magazines  []*mm.Magazine // of each processor
	goRoutines atomic.Pointer[[]goRoutine]

	ntoskrnl *pe.Module
	hal      *pe.Module
	symbol   func(name string) guest.Addr // addresses in ntoskrnl.exe
	rows     []Export
	seh      *seh.Dispatcher
	patches  patchTable
	tables   descriptorTables

	rings   []callRing               // by processor
	reports atomic.Pointer[[]report] // imports that nothing answers, by number

	nextDeviceNumber atomic.Uint32
	nextDriverNumber atomic.Uint32
	random           *randomState
	types            objectTypes

	ids  sync.Mutex
	byID map[objectID]guest.Addr // processes and threads, until their objects are deleted

	bugChecks       bugCheckCallbacks
	handleCallbacks routineList[*handleCallback]

	kernelRegistry
	registryCallbacks routineList[*registryCallback]
	registryCookies   atomic.Int64

	notify notifyRoutines

	serviceLoads

	volumes   volumes
	closingMu sync.Mutex
	closing   []*kernelFile // whose last handle was closed

	closesLater int           // files that end on goroutines of their own
	closesDone  chan struct{} // closed when there are none, if somebody waits
	closesEnded bool          // there are no more: the kernel ends

	mu           sync.Mutex
	drivers      []*Driver
	created      []*devobj.Driver // by IoCreateDriver
	modules      []moduleEntry    // of the built-in modules
	links        []ownedLink
	wmiProviders map[guest.Addr]struct{} // devices
	shutdown     shutdownList
	extras       map[*devobj.Driver]*driverExtras
	power        map[guest.Addr]int32 // device power states that drivers have set, by device
	called       map[string]struct{}  // unimplemented exports that were called
	closed       bool
}

// defaultProcessors is how many virtual processors a kernel has unless it is told.
func defaultProcessors() int { return min(runtime.NumCPU(), ke.MaxProcessors) }

// New makes a kernel without drivers. Close ends it.
func New(opts Options) (_ *Kernel, err error) {
	if opts.Processors == 0 {
		opts.Processors = defaultProcessors()
	}
	if opts.Log == nil {
		opts.Log = hclog.NewNullLogger()
	}
	go kernelImage() // beside what does not need it, once in a process
	k := &Kernel{opts: opts, log: opts.Log, Linker: pe.NewLinker(),
		called: make(map[string]struct{}), wmiProviders: make(map[guest.Addr]struct{}),
		power: make(map[guest.Addr]int32), extras: make(map[*devobj.Driver]*driverExtras),
		serviceLoads: serviceLoads{loading: map[string]struct{}{}, coming: map[*pe.Module]struct{}{},
			leaving: map[*pe.Module]struct{}{}},
		byID: make(map[objectID]guest.Addr), rings: make([]callRing, opts.Processors)}
	k.reports.Store(new([]report))
	k.random = newRandomState()
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
	}()
	if k.space, err = guest.Default(); err != nil {
		return nil, err
	}
	if k.cpu, err = native.New(); err != nil {
		return nil, err
	}
	if k.Mm, err = mm.New(k.space, mm.Config{}); err != nil {
		return nil, err
	}
	k.rows = Exports()
	if err = k.loadBuiltins(); err != nil {
		return nil, err
	}
	k.Ob = ob.New(k.allocObject, k.freeObject)
	k.Ob.LinkGone = k.linkGone
	k.Dev = devobj.New(k.Ob, k.allocObject, k.freeObject)
	k.Dev.Idle = k.unloadIdle
	if err = k.makeTypes(); err != nil {
		return nil, err
	}
	if err = k.makePhysicalMemory(); err != nil {
		return nil, err
	}
	k.startExceptions()
	if k.Ke, err = ke.New(ke.Config{
		CPU: k.cpu, Space: k.space, Processors: opts.Processors,
		Alloc: k.allocObject, Free: k.freeObject,
		NewObject: k.newKeObject, DropObject: k.dropKeObject,
		Export: k.export, Fault: k.fault, OnCrash: k.crashed,
		OnBugcheck: k.callBugCheckCallbacks, DPCTimeLimit: opts.DPCTimeLimit,
		Trampoline: k.symbol(symTrampoline), Thunk: k.thunk,
	}); err != nil {
		return nil, err
	}
	if err = k.makeMagazines(); err != nil {
		return nil, err
	}
	k.IO = irp.New(k.space, k.Mm, k.Dev)
	k.types.file.Closed = k.fileClosed
	k.IO.Security = deviceSecurity{}
	if err = k.mountVolumes(opts.Volumes); err != nil {
		return nil, err
	}
	if err = k.fillVariables(); err != nil {
		return nil, err
	}
	if err = k.listBuiltins(); err != nil {
		return nil, err
	}
	return k, nil
}

// Close ends the kernel: threads stop where they are, and all memory is given back. Drivers are not
// unloaded first.
func (k *Kernel) Close() error {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return nil
	}
	k.closed = true
	k.mu.Unlock()
	if k.Ke != nil {
		k.Ke.Close()
	}
	k.endCloses()
	k.asides.Wait()
	var errs []error
	for _, m := range k.Linker.Modules() {
		k.Linker.Remove(m)
		errs = append(errs, m.Unmap())
	}
	for _, r := range *k.reports.Load() {
		errs = append(errs, r.free())
	}
	errs = append(errs, k.unmountVolumes())
	if k.IO != nil {
		errs = append(errs, k.IO.Close())
	}
	if k.Mm != nil {
		errs = append(errs, k.Mm.Close())
	}
	return errors.Join(errs...)
}

// Crashed gives the bugcheck that ended the kernel, or nil.
func (k *Kernel) Crashed() *ke.Bugcheck { return k.Ke.Crashed() }

func (k *Kernel) crashed(b *ke.Bugcheck) {
	k.log.Error("bugcheck", "code", b.Code.String(), "reason", b.Reason)
	if k.opts.OnCrash != nil {
		k.opts.OnCrash(b)
	}
}

// thunk gives the address of an export's thunk.
func (k *Kernel) thunk(index uint32) guest.Addr {
	if rvas := thunkRVAs(); int(index) < len(rvas) {
		return k.ntoskrnl.Addr(rvas[index])
	}
	return 0
}

// thunkRVAs are where the thunks of all rows lie in ntoskrnl.exe: every driver that calls another by
// an import asks.
var thunkRVAs = sync.OnceValue(func() []uint32 {
	rows := Exports()
	rvas := make([]uint32, len(rows))
	if built, err := kernelImage(); err == nil { // or there is no kernel
		for i := range rows {
			rvas[i], _ = built.rva(rows[i].Name)
		}
	}
	return rvas
})

// call gives the Call of a thread.
func (k *Kernel) call(t *ke.Thread) *Call {
	c, ok := t.Export.(*Call)
	if !ok {
		c = &Call{Kernel: k, T: t, ctx: t.Context()}
		t.Export = c
	}
	return c
}

// export does an import call.
func (k *Kernel) export(t *ke.Thread, index uint32) {
	c := k.call(t)
	k.rings[t.Processor().Number()].note(c, index)
	if int(index) >= len(k.rows) {
		if index >= firstGo {
			k.callGo(c, index)
		} else {
			k.callReported(c, index)
		}
		return
	}
	outer := c.row
	c.row = &k.rows[index]
	if irql := t.IRQL(); irql > c.row.MaxIRQL {
		k.irqlTooHigh(c)
	}
	if c.row.Fn == nil {
		k.callStub(c)
	}
	if k.opts.Trace != nil {
		k.traced(c)
	} else {
		c.ctx.GPR[engine.RAX] = c.row.Fn(c)
	}
	c.row = outer
}

// Where describes an address in the driver's terms: module and offset, with the nearest export.
func (k *Kernel) Where(a guest.Addr) string {
	m, ok := k.Linker.At(a)
	if !ok {
		return a.String()
	}
	return fmt.Sprintf("%s+%#x", m.Name(), uint64(a-m.Base()))
}
