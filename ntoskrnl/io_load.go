package ntoskrnl

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/pe"
)

// Drivers that drivers load and unload, by the names of their services' keys.
var ioLoadExports = []Export{
	{Name: "ZwLoadDriver", Fn: fn1(zwLoadDriver), Params: "DriverServiceName:ustr", MaxIRQL: passive,
		Support: Full},
	{Name: "ZwUnloadDriver", Fn: fn1(zwUnloadDriver), Params: "DriverServiceName:ustr",
		MaxIRQL: passive, Support: Full},
}

// ServiceControl does what ZwLoadDriver and ZwUnloadDriver ask for. Its methods are called on
// goroutines of their own, and may take their time: the driver waits.
type ServiceControl interface {
	// LoadService loads the driver of a service; the status is that of ZwLoadDriver.
	LoadService(name string) nt.Status
	// UnloadService unloads it, and gives the status of ZwUnloadDriver.
	UnloadService(name string) nt.Status
}

// zwLoadDriver loads the driver of a service: its DriverEntry is called on a thread of the System
// process, wherever the caller is. It may be called from a DriverEntry.
//
//	NTSTATUS ZwLoadDriver(PUNICODE_STRING DriverServiceName)
//
// STATUS_INVALID_PARAMETER for an empty name, STATUS_OBJECT_PATH_SYNTAX_BAD for one that is no
// path, STATUS_OBJECT_NAME_NOT_FOUND without the key, STATUS_INVALID_PARAMETER_1 for the key of
// something else than a service, STATUS_ILL_FORMED_SERVICE_ENTRY for a service that is no driver,
// STATUS_IMAGE_ALREADY_LOADED, also while it is being loaded, STATUS_OBJECT_NAME_COLLISION; for
// the image what opening it gives, STATUS_INVALID_IMAGE_FORMAT, STATUS_INVALID_IMAGE_HASH where a
// policy refuses it, STATUS_DRIVER_ENTRYPOINT_NOT_FOUND; and what DriverEntry fails with. A driver
// that waits to be unloaded stays, which is success. What a manager of services says besides is in
// package driverhost/service. The privilege SeLoadDriverPrivilege is for callers in user mode.
// "ZwLoadDriver function (wdm.h)"; the documentation leaves the statuses open.
func zwLoadDriver(c *Call, name guest.Addr) nt.Status {
	return c.controlService(name, ServiceControl.LoadService)
}

// zwUnloadDriver unloads the driver of a service: its DriverUnload is called on a thread of the
// System process. While files are open on its devices, or devices are attached to them, it is only
// marked: nobody can open its devices any more, and it is unloaded when the last of those has
// gone.
//
//	NTSTATUS ZwUnloadDriver(PUNICODE_STRING DriverServiceName)
//
// STATUS_SUCCESS for a driver that is marked, too; STATUS_INVALID_DEVICE_REQUEST for one without
// DriverUnload, of Plug and Play, or whose DriverEntry has not returned;
// STATUS_OBJECT_NAME_NOT_FOUND if it is not loaded; and for names as ZwLoadDriver. "ZwUnloadDriver
// function (wdm.h)".
func zwUnloadDriver(c *Call, name guest.Addr) nt.Status {
	return c.controlService(name, ServiceControl.UnloadService)
}

// controlService does something with the service that a path names, while the caller waits without
// a processor.
func (c *Call) controlService(path guest.Addr, do func(ServiceControl, string) nt.Status) nt.Status {
	service, status := c.serviceNamed(c.OptUString(path))
	if status != nt.STATUS_SUCCESS {
		return status
	}
	var control ServiceControl = c.Kernel
	if c.opts.Services != nil {
		control = c.opts.Services
	}
	t, done := c.T, atomic.Bool{}
	if !c.aside(func() {
		status = do(control, service)
		done.Store(true)
		t.Unpark()
	}) {
		return nt.STATUS_SHUTDOWN_IN_PROGRESS
	}
	t.Park(done.Load)
	if status == nt.STATUS_PENDING {
		return nt.STATUS_SUCCESS // it is marked
	}
	return status
}

// serviceNamed gives the service whose key a path leads to.
func (k *Kernel) serviceNamed(path string) (name string, status nt.Status) {
	if path == "" {
		return "", nt.STATUS_INVALID_PARAMETER
	}
	// The usual form needs no look into the registry, which may be a manager's that knows more.
	if len(path) > len(Services) && strings.EqualFold(path[:len(Services)], Services) {
		name = path[len(Services):]
	} else {
		key, status := k.Registry().Open(nil, path, false)
		if status != nt.STATUS_SUCCESS {
			return "", status
		}
		all, status := k.Registry().Open(nil, strings.TrimSuffix(Services, `\`), false)
		if status != nt.STATUS_SUCCESS {
			return "", status
		}
		full, above := key.Path(), all.Path()+`\`
		if len(full) <= len(above) || cm.Fold(full[:len(above)]) != cm.Fold(above) {
			return "", nt.STATUS_INVALID_PARAMETER_1
		}
		name = full[len(above):]
	}
	if strings.ContainsAny(name, "\\\x00") {
		return "", nt.STATUS_INVALID_PARAMETER_1
	}
	return name, nt.STATUS_SUCCESS
}

// serviceLoads is what a kernel knows of loads and unloads by services.
type serviceLoads struct {
	loadMu  sync.Mutex          // held while an unload begins; before Kernel.mu
	loading map[string]struct{} // by folded names, under Kernel.mu
	asides  sync.WaitGroup      // goroutines that Close waits for

	// Under loadMu: modules that are being bound and started, and those that are being unloaded.
	coming, leaving map[*pe.Module]struct{}
}

// arrive notes that a module is about to be bound. From then on nothing that it imports from is
// unloaded.
func (k *Kernel) arrive(m *pe.Module) error {
	k.loadMu.Lock()
	defer k.loadMu.Unlock()
	for other := range k.leaving {
		if importsFrom(m, other) {
			return fmt.Errorf("%s: %s, which it imports from, is being unloaded: %w", m.Name(),
				other.Name(), nt.STATUS_DLL_NOT_FOUND)
		}
	}
	k.coming[m] = struct{}{}
	return nil
}

// arrived says that it is a loaded driver's, or is gone again.
func (k *Kernel) arrived(m *pe.Module) {
	k.loadMu.Lock()
	delete(k.coming, m)
	k.loadMu.Unlock()
	k.unloadIdle()
}

// importsFrom says whether one module imports from another.
func importsFrom(m, other *pe.Module) bool {
	for _, i := range m.Image().Imports {
		if strings.EqualFold(i.Name, other.Name()) {
			return true
		}
	}
	return false
}

// aside runs f on a goroutine that Close waits for. It says false when the kernel is closed.
func (k *Kernel) aside(f func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return false
	}
	k.asides.Go(f)
	return true
}

// LoadService is ZwLoadDriver for a service's name, without a manager.
func (k *Kernel) LoadService(name string) nt.Status { return k.LoadServiceWith(name, k.Load) }

// LoadServiceWith is LoadService, with a function that stands in for [Kernel.Load].
func (k *Kernel) LoadServiceWith(name string,
	load func(img *pe.Image, service string) (*Driver, error)) nt.Status {
	key, status := k.Registry().Open(nil, Services+name, false)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	if k.KeepService(name) {
		return nt.STATUS_SUCCESS
	}
	folded := cm.Fold(name)
	k.mu.Lock()
	if _, busy := k.loading[folded]; busy {
		k.mu.Unlock()
		return nt.STATUS_IMAGE_ALREADY_LOADED
	}
	k.loading[folded] = struct{}{}
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.loading, folded)
	}()
	if status := k.taken(name); status != nt.STATUS_SUCCESS {
		return status
	}
	path, status := serviceImage(key, name)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	img, status := k.openImage(path)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	if _, loaded := k.Linker.Module(img.Name); loaded {
		return nt.STATUS_IMAGE_ALREADY_LOADED
	}
	d, err := load(img, name)
	if d != nil {
		d.Path = path
	}
	if err != nil {
		k.log.Warn("a driver that a driver loads", "service", name, "error", err)
		return loadStatus(err)
	}
	return nt.STATUS_SUCCESS
}

// taken says whether there is a driver object of a service's name.
func (k *Kernel) taken(name string) nt.Status {
	o, _, status := k.Ob.Lookup(`\Driver\` + name)
	if status != nt.STATUS_SUCCESS {
		return nt.STATUS_SUCCESS
	}
	if d, ok := o.Body.(*devobj.Driver); ok && d.Module != nil {
		return nt.STATUS_IMAGE_ALREADY_LOADED
	}
	return nt.STATUS_OBJECT_NAME_COLLISION
}

// loadStatus gives the status for what kept a driver from being loaded.
func loadStatus(err error) nt.Status {
	var entry *EntryError
	var imports *ImportsError
	var status nt.Status
	switch {
	case errors.As(err, &entry):
		return entry.Status
	case errors.As(err, &imports):
		return nt.STATUS_DRIVER_ENTRYPOINT_NOT_FOUND
	case errors.As(err, &status):
		return status
	}
	return nt.STATUS_INSUFFICIENT_RESOURCES
}

// driverOf gives the loaded driver of a service.
func (k *Kernel) driverOf(name string) *Driver {
	for _, d := range k.Drivers() {
		if cm.Fold(d.Service) == cm.Fold(name) {
			return d
		}
	}
	return nil
}

// UnloadService is ZwUnloadDriver for a service's name, without a manager. STATUS_PENDING says
// that the driver is marked, to be unloaded later; Options.OnUnloaded is told then.
func (k *Kernel) UnloadService(name string) nt.Status {
	if _, status := k.Registry().Open(nil, Services+name, false); status != nt.STATUS_SUCCESS {
		return status
	}
	d := k.driverOf(name)
	if d == nil {
		if k.taken(name) != nt.STATUS_SUCCESS {
			return nt.STATUS_INVALID_DEVICE_REQUEST // it is loaded just now, or has no image
		}
		return nt.STATUS_OBJECT_NAME_NOT_FOUND
	}
	k.loadMu.Lock()
	switch {
	case d.marked || d.unloaded != nil:
		k.loadMu.Unlock()
		return nt.STATUS_SUCCESS
	case !d.canUnload():
		k.loadMu.Unlock()
		return nt.STATUS_INVALID_DEVICE_REQUEST
	}
	d.marked = true
	k.mark(d, true)
	k.loadMu.Unlock()
	// When something still refers to the driver, it may be the caller: its code stays until then.
	ended := make(chan bool, 2)
	if !k.aside(func() {
		gone, here := k.unloadMarked(d, func() { ended <- true })
		if gone && !here {
			<-d.unloaded // its last file was closed meanwhile
		}
		ended <- gone
	}) {
		return nt.STATUS_SHUTDOWN_IN_PROGRESS
	}
	if !<-ended {
		return nt.STATUS_PENDING
	}
	return nt.STATUS_SUCCESS
}

// canUnload says whether ZwUnloadDriver unloads the driver: it has DriverUnload, and no AddDevice.
func (d *Driver) canUnload() bool {
	o := d.Object.Ref()
	extension, err := guest.Ptr[nt.DriverExtension](o.DriverExtension).Load()
	return err == nil && o.DriverUnload != 0 && extension.AddDevice == 0
}

// mark keeps the devices of a driver, and of those that its code has created, from being opened.
func (k *Kernel) mark(d *Driver, on bool) {
	k.Dev.MarkUnload(d.Driver, on)
	for _, made := range k.createdBy(d) {
		k.Dev.MarkUnload(made, on)
	}
}

// KeepService lets a driver stay that waits to be unloaded. It says false if none does.
func (k *Kernel) KeepService(name string) bool {
	d := k.driverOf(name)
	if d == nil {
		return false
	}
	k.loadMu.Lock()
	defer k.loadMu.Unlock()
	if !d.marked || d.unloaded != nil {
		return false
	}
	d.marked = false
	k.mark(d, false)
	return true
}

// unloadMarked unloads a driver that is marked, unless something uses it: gone says that it goes,
// here that this call has unloaded it. When the driver's last references have not gone by the end
// of DriverUnload, lingers is called.
func (k *Kernel) unloadMarked(d *Driver, lingers func()) (gone, here bool) {
	if k.Dev.AttachedTo(d.Driver) {
		return false, false
	}
	k.loadMu.Lock()
	if !d.marked || d.unloaded != nil || k.leave(d) != nil {
		gone = d.unloaded != nil
		k.loadMu.Unlock()
		return gone, false
	}
	d.lingers = lingers
	k.loadMu.Unlock()
	left, err := k.finishUnload(d)
	if len(left) > 0 || err != nil {
		k.log.Warn("unloaded by a driver", "service", d.Service, "left", left, "error", err)
	}
	return true, true
}

// unloadIdle unloads the drivers that are marked and not used any more. It does not wait.
func (k *Kernel) unloadIdle() {
	for _, d := range k.Drivers() {
		k.loadMu.Lock()
		marked := d.marked && d.unloaded == nil
		k.loadMu.Unlock()
		if !marked {
			continue
		}
		k.aside(func() {
			if _, here := k.unloadMarked(d, nil); here && k.opts.OnUnloaded != nil {
				k.opts.OnUnloaded(d.Service)
			}
		})
	}
}

var _ ServiceControl = (*Kernel)(nil)
