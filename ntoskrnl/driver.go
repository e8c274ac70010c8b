package ntoskrnl

import (
	"errors"
	"fmt"
	"slices"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
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
	entry    moduleEntry
	registry guest.Addr // UNICODE_STRING: the path of the service's key
	links    []string   // symbolic links that the driver's code made
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

// LoadFile reads, maps and starts the driver in a file, under a service of the file's name.
func (k *Kernel) LoadFile(path string) (*Driver, error) {
	img, err := pe.ParseFile(path)
	if err != nil {
		return nil, err
	}
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
	d := &Driver{Service: service, Path: img.Name, k: k}
	m, err := img.Map(k.space, pe.MapOptions{
		GuardCheck: k.symbol(symGuardCheck), GuardDispatch: k.symbol(symGuardJump)})
	if err != nil {
		return nil, err
	}
	if err := k.install(d, m); err != nil {
		return nil, errors.Join(err, m.Unmap())
	}
	err = k.start(d)
	if err != nil {
		err = errors.Join(err, k.discard(d))
		return d, err
	}
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
			HardwareDatabase: `\REGISTRY\MACHINE\HARDWARE\DESCRIPTION\SYSTEM`})
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
	err := k.onSystemThread(func(t *ke.Thread) {
		d.Entry = nt.Status(t.Call(d.Module.Entry(), uint64(d.Object.Addr()), uint64(d.registry)))
	})
	if err != nil {
		return err
	}
	if !d.Entry.Success() {
		return &EntryError{Driver: d.Module.Name(), Status: d.Entry}
	}
	k.Dev.Initialized(d.Driver)
	d.Object.Ref().Flags |= nt.DRVO_INITIALIZED
	return nil
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

// Unload calls the driver's DriverUnload and takes it out. Nothing may have its devices open.
// Left is what the driver should have deleted and did not: devices and symbolic links; they are
// deleted. ErrNoUnload if it cannot be unloaded.
func (k *Kernel) Unload(d *Driver) (left []string, err error) {
	unload := d.Object.Ref().DriverUnload
	if unload == 0 {
		return nil, fmt.Errorf("%s: %w", d.Module.Name(), ErrNoUnload)
	}
	d.Object.Ref().Flags |= nt.DRVO_UNLOAD_INVOKED
	if err := k.onSystemThread(func(t *ke.Thread) {
		t.Call(unload, uint64(d.Object.Addr()))
	}); err != nil {
		return nil, err
	}
	for _, dev := range k.Dev.Devices(d.Driver) {
		left = append(left, "device "+dev.Describe())
	}
	for _, l := range k.driverLinks(d) {
		left = append(left, "link "+l)
	}
	k.mu.Lock()
	k.drivers = slices.DeleteFunc(k.drivers, func(o *Driver) bool { return o == d })
	k.mu.Unlock()
	return left, k.discard(d)
}

// discard takes a driver out of the kernel, with what it has left behind.
func (k *Kernel) discard(d *Driver) error {
	for _, l := range k.driverLinks(d) {
		k.Ob.DeleteLink(l)
	}
	k.Dev.DeleteDriver(d.Driver)
	if k.Ke.Ended() {
		// Threads may still be in the driver's code; the image goes when the kernel is closed.
		return nil
	}
	k.Linker.Remove(d.Module)
	k.removeModule(d.entry)
	k.freeObject(d.registry)
	return d.Module.Unmap()
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
