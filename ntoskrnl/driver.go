package ntoskrnl

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
	"github.com/drvhost/drvhost/pe"
)

// Driver is a loaded driver.
type Driver struct {
	*devobj.Driver
	// Service is the service's name, Path the image's file.
	Service string
	Path    string
	// Missing are the imports that nothing answers, as "module!name".
	Missing []string
	// Bound counts the imports that are bound to something.
	Bound int
	// Entry is what DriverEntry returned.
	Entry nt.Status

	k        *Kernel
	goImage  *GoImage   // or nil
	goInvoke guest.Addr // its stub for calls
	entry    moduleEntry
	registry guest.Addr // UNICODE_STRING: the path of the service's key
	links    []string   // symbolic links that the driver's code made

	// Under Kernel.loadMu:
	marked   bool          // by UnloadService, to be unloaded when nothing uses it
	unloaded chan struct{} // closed at the end of its unload; nil before one has begun
	lingers  func()        // called when it does not end with DriverUnload, or nil
}

// EntryError says that a driver refused to start: DriverEntry returned an error.
type EntryError struct {
	Driver string
	Status nt.Status
}

// Error names the driver and its status.
func (e *EntryError) Error() string {
	return fmt.Sprintf("%s: DriverEntry returned %s", e.Driver, e.Status.Error())
}

// Unwrap gives the status.
func (e *EntryError) Unwrap() error { return e.Status }

// Services is the registry key of services.
const Services = `\Registry\Machine\System\CurrentControlSet\Services\`

// hardwareDatabase is what DRIVER_OBJECT.HardwareDatabase names.
const hardwareDatabase = `\REGISTRY\MACHINE\HARDWARE\DESCRIPTION\SYSTEM`

// LoadFile reads, maps and starts the driver in a file, under a service of the file's name.
func (k *Kernel) LoadFile(path string) (*Driver, error) {
	img, err := pe.ParseFile(path)
	if err != nil {
		return nil, err
	}
	return k.LoadParsed(path, img)
}

// LoadParsed is LoadFile for a file that was parsed before.
func (k *Kernel) LoadParsed(path string, img *pe.Image) (*Driver, error) {
	d, err := k.Load(img, serviceName(path))
	if d != nil {
		d.Path = path
	}
	return d, err
}

// Load maps an image, binds its imports and calls its DriverEntry. An error of DriverEntry is an
// *EntryError, a crash in it the *ke.Bugcheck; nothing of the driver is left then. The Driver is
// given with the error too, once the image is bound, for what it says.
func (k *Kernel) Load(img *pe.Image, service string) (*Driver, error) {
	return k.load(img, service, nil)
}

// load is Load; goImage is not nil if the driver is written in Go.
func (k *Kernel) load(img *pe.Image, service string, goImage *GoImage) (*Driver, error) {
	d := &Driver{Service: service, Path: img.Name, k: k}
	m, err := img.Map(k.space, pe.MapOptions{
		GuardCheck: k.symbol(symGuardCheck), GuardDispatch: k.symbol(symGuardJump)})
	if err != nil {
		return nil, err
	}
	if err := k.arrive(m); err != nil {
		return nil, errors.Join(err, m.Unmap())
	}
	defer k.arrived(m)
	if err := k.install(d, m); err != nil {
		return nil, errors.Join(err, m.Unmap())
	}
	if goImage != nil {
		invoke, _ := m.LookupExport(symGoInvoke) // the builder has put it there
		d.goInvoke, goImage.Driver = invoke.Addr, d
	}
	if err := k.start(d); err != nil {
		if e := k.discard(d); !errors.Is(err, e) {
			err = errors.Join(err, e)
		}
		return d, err
	}
	d.goImage = goImage
	k.mu.Lock()
	k.drivers = append(k.drivers, d)
	k.mu.Unlock()
	return d, nil
}

// install binds a mapped image and makes its driver object.
func (k *Kernel) install(d *Driver, m *pe.Module) (err error) {
	if d.Missing, err = k.bind(m); err != nil {
		return err
	}
	for _, mod := range m.Image().Imports {
		d.Bound += len(mod.Functions)
	}
	d.Bound -= len(d.Missing)
	if err := k.patch(m); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			k.unpatch(m)
		}
	}()
	if err := m.Protect(); err != nil {
		return err
	}
	if err := k.Linker.Add(m); err != nil {
		return err
	}
	if d.entry, err = k.addModule(m); err != nil {
		k.Linker.Remove(m)
		return err
	}
	path := Services + d.Service
	if d.registry, err = k.newUnicodeString(path); err == nil {
		d.Driver, err = k.Dev.CreateDriver(devobj.DriverInfo{Service: d.Service, RegistryPath: path,
			Module: m, Section: d.entry.entry, DefaultDispatch: k.symbol("IopInvalidDeviceRequest"),
			HardwareDatabase: hardwareDatabase})
	}
	if err == nil {
		k.addService(d.Service)
	}
	if err != nil {
		k.freeObject(d.registry)
		k.removeModule(d.entry)
		k.Linker.Remove(m)
	}
	return err
}

// start calls DriverEntry on a system thread.
func (k *Kernel) start(d *Driver) error {
	var told error
	err := k.onSystemThread(func(t *ke.Thread) {
		if told = k.imageLoaded(t, d); told != nil {
			return
		}
		d.Entry = nt.Status(t.Call(d.Module.Entry(), uint64(d.Object.Addr()), uint64(d.registry)))
	})
	if err == nil {
		err = told
	}
	if err != nil {
		return err
	}
	if !d.Entry.Success() {
		return &EntryError{Driver: d.Module.Name(), Status: d.Entry}
	}
	k.Dev.Initialized(d.Driver)
	k.mu.Lock()
	x := k.extras[d.Driver]
	again := x != nil && len(x.reinits) > 0
	k.mu.Unlock()
	if !again {
		return nil
	}
	return k.onSystemThread(func(t *ke.Thread) { k.reinitialize(t, d.Driver) })
}

// onSystemThread runs f on a new thread of the System process and waits for its end.
func (k *Kernel) onSystemThread(f func(t *ke.Thread)) error {
	t, err := k.Ke.NewThread(k.Ke.SystemProcess)
	if err != nil {
		return err
	}
	defer t.Release()
	return t.Do(func() { f(t) })
}

// ErrNoUnload says that a driver has no DriverUnload routine, so that it stays until the kernel ends.
var ErrNoUnload = errors.New("the driver has no DriverUnload routine")

// BusyError says that a driver cannot be unloaded: its devices are open, or another driver imports
// from it.
type BusyError struct {
	Driver   string
	Opens    int
	Importer string
}

// Error names the driver and counts the files, or names the importer.
func (e *BusyError) Error() string {
	if e.Importer != "" {
		return fmt.Sprintf("%s: %s imports from it", e.Driver, e.Importer)
	}
	return fmt.Sprintf("%s: %d files are open on its devices", e.Driver, e.Opens)
}

// Unload calls the driver's DriverUnload and takes it out. Left is what the driver should have
// deleted and did not: devices and symbolic links; they are deleted. The error is a *BusyError or
// ErrNoUnload if it cannot be unloaded; then nothing has changed.
//
// While DriverUnload runs and from then on no device of the driver can be opened. Before the image is
// unmapped, the DPCs that were queued have run, and nothing has a reference to the driver object or to
// one of its devices any more: a work item that IoQueueWorkItem has queued has one until its routine has
// returned, and so has an open file. A timer in the image that is still set is the bugcheck
// DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS. That no thread, and no timer or
// ExQueueWorkItem elsewhere in memory, leads into the image any more is the driver's own duty, as on
// Windows; it finds no code there then, and faults. When references do not go, the error says so, and
// the image stays mapped.
//
// A driver that is being unloaded, as by ZwUnloadDriver, is waited for; the error is ErrUnloaded
// then.
func (k *Kernel) Unload(d *Driver) (left []string, err error) {
	k.loadMu.Lock()
	unloading := d.unloaded != nil
	k.loadMu.Unlock()
	if unloading {
		return nil, d.awaitUnload()
	}
	if d.Object.Ref().DriverUnload == 0 {
		return nil, fmt.Errorf("%s: %w", d.Module.Name(), ErrNoUnload)
	}
	k.waitForCloses()
	k.loadMu.Lock()
	if d.unloaded == nil {
		err := k.leave(d)
		k.loadMu.Unlock()
		if err != nil {
			return nil, err
		}
		return k.finishUnload(d)
	}
	k.loadMu.Unlock()
	return nil, d.awaitUnload()
}

// ErrUnloaded says that a driver is unloaded already.
var ErrUnloaded = errors.New("the driver is unloaded")

// awaitUnload waits for the end of an unload that somebody else has begun.
func (d *Driver) awaitUnload() error {
	<-d.unloaded
	return fmt.Errorf("%s: %w", d.Service, ErrUnloaded)
}

// leave begins the unload of a driver that nothing uses. k.loadMu is held.
func (k *Kernel) leave(d *Driver) error {
	if importer := k.importer(d); importer != "" {
		return &BusyError{Driver: d.Service, Importer: importer}
	}
	if opens, begun := k.beginUnload(d); !begun {
		return &BusyError{Driver: d.Service, Opens: opens}
	}
	d.unloaded = make(chan struct{})
	k.leaving[d.Module] = struct{}{}
	return nil
}

// finishUnload calls the DriverUnload of a driver none of whose devices can be opened any more,
// and takes the driver out.
func (k *Kernel) finishUnload(d *Driver) (left []string, err error) {
	defer k.unloadIdle() // what it imported from may be idle now
	defer func() {
		k.loadMu.Lock()
		defer k.loadMu.Unlock()
		delete(k.leaving, d.Module)
		close(d.unloaded)
	}()
	err = k.onSystemThread(func(t *ke.Thread) {
		t.Call(d.Object.Ref().DriverUnload, uint64(d.Object.Addr()))
		t.FlushDPCs()
	})
	if err != nil {
		return nil, err
	}
	for _, dev := range k.Dev.Devices(d.Driver) {
		left = append(left, "device "+dev.Describe())
	}
	for _, made := range k.createdBy(d) {
		left = append(left, "driver object "+made.Name)
	}
	for _, l := range k.driverLinks(d) {
		left = append(left, "link "+l)
	}
	k.mu.Lock()
	k.drivers = slices.DeleteFunc(k.drivers, func(o *Driver) bool { return o == d })
	k.mu.Unlock()
	return left, k.discard(d)
}

// importer gives the name of a driver that imports from d, or "". k.loadMu is held.
func (k *Kernel) importer(d *Driver) string {
	for _, other := range k.Drivers() {
		if other != d && importsFrom(other.Module, d.Module) {
			return other.Module.Name()
		}
	}
	for m := range k.coming {
		if m != d.Module && importsFrom(m, d.Module) {
			return m.Name()
		}
	}
	return ""
}

// discard takes a driver out of the kernel, with what it has left behind, and unmaps it when nothing
// can come back to its code.
func (k *Kernel) discard(d *Driver) error {
	for _, l := range k.driverLinks(d) {
		k.Ob.DeleteLink(l)
		k.forgetLink(l)
	}
	k.forgetShutdown(d.Driver)
	k.dropExtras(d.Driver)
	waiting := []*devobj.Driver{d.Driver}
	for _, made := range k.createdBy(d) {
		k.discardCreated(made)
		waiting = append(waiting, made)
	}
	k.Dev.DeleteDriver(d.Driver)
	if err := k.settle(d, waiting); err != nil {
		// Threads may still be in the driver's code; the image goes when the kernel is closed.
		return err
	}
	k.Linker.Remove(d.Module)
	k.removeModule(d.entry)
	k.freeObject(d.registry)
	k.unpatch(d.Module)
	if d.goImage != nil {
		k.dropGoRoutines(d.goImage)
	}
	return d.Module.Unmap()
}

// settle waits until nothing refers to the objects of the driver, and of those that its code has
// created, any more, and then checks that nothing else leads into its code. The error is the bugcheck
// that ended the kernel meanwhile, or names the driver when that takes longer than settlePatience.
func (k *Kernel) settle(d *Driver, waiting []*devobj.Driver) error {
	deadline := time.Now().Add(settlePatience)
	select {
	case <-waiting[0].Gone():
	default:
		if d.lingers != nil {
			d.lingers()
		}
	}
	for {
		if k.Ke.Ended() {
			return k.ended()
		}
		select {
		case <-waiting[0].Gone():
			if waiting = waiting[1:]; len(waiting) == 0 {
				return k.checkUnloaded(d)
			}
			continue
		case <-time.After(endedPoll):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: something still refers to its driver object or to one of its "+
				"devices, so that the image stays", d.Module.Name())
		}
	}
}

const (
	// settlePatience is how long a driver's last references are waited for.
	settlePatience = 5 * time.Second
	// endedPoll is how often that wait looks whether the kernel has ended.
	endedPoll = 20 * time.Millisecond
)

// checkUnloaded is the bugcheck of a driver that has left a timer in its image.
func (k *Kernel) checkUnloaded(d *Driver) error {
	timer, found := k.Ke.TimerIn(d.Module.Base(), d.Module.Size())
	if !found {
		return nil
	}
	k.Ke.Crash(&ke.Bugcheck{Code: nt.DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS,
		Params: [4]uint64{uint64(timer), 0, 0, 0},
		Reason: fmt.Sprintf("%s was unloaded with the timer at %s still set", d.Module.Name(),
			k.Where(timer))})
	return k.ended()
}

// ended gives why the kernel has ended.
func (k *Kernel) ended() error {
	if b := k.Ke.Crashed(); b != nil {
		return b
	}
	return errEnded
}

var errEnded = errors.New("the kernel was closed")

// DriverPool gives the pool that drivers have allocated and not freed, by tag: everything but what
// the kernel itself allocates.
func (k *Kernel) DriverPool() (all []mm.TagUse) {
	for _, use := range k.Mm.Outstanding() {
		if use.Tag != objectTag && use.Tag != irp.BufferTag && use.Tag != irp.Tag {
			all = append(all, use)
		}
	}
	return all
}

// Drivers gives the loaded drivers, in the order in which they were loaded.
func (k *Kernel) Drivers() []*Driver {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.drivers)
}

// newUnicodeString makes a UNICODE_STRING with its buffer behind it.
func (k *Kernel) newUnicodeString(s string) (guest.Addr, error) {
	enc := guest.EncodeUTF16(s)
	const header = 16
	a, err := k.allocObject(header + uintptr(len(enc)) + 2)
	if err != nil {
		return 0, err
	}
	n := uint16(len(enc))
	us := nt.UnicodeString{Length: n, MaximumLength: n + 2, Buffer: a + header}
	return a, errors.Join(guest.Ptr[nt.UnicodeString](a).Store(us), guest.Write(a+header, enc))
}
