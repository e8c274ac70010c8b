package devobj

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
	"github.com/drvhost/drvhost/pe"
)

// Driver is a driver object.
type Driver struct {
	// Object is the DRIVER_OBJECT in guest memory.
	Object guest.Ptr[nt.DriverObject]
	// Name is the object's name: "\Driver\echo".
	Name string
	// Module is the driver's image.
	Module *pe.Module
	// Init is the routine that initialises it: what DRIVER_OBJECT.DriverInit was at first.
	Init guest.Addr

	object    *ob.Object
	onGone    func(d *Driver)
	deleted   bool // the reference that its creation gave was given back
	strings   []guest.Addr
	extension guest.Addr
	devices   []*Device // newest first, as the guest's list
	opens     int       // files that are open on its devices
	running   bool      // DriverEntry has succeeded, and DriverUnload was not called
	marked    bool      // it is to be unloaded when nothing uses its devices any more
	gone      chan struct{}
}

// Gone is closed when the driver object is deleted: nothing has a reference to it or to one of its
// devices any more. DeleteDriver comes first.
func (d *Driver) Gone() <-chan struct{} { return d.gone }

// DriverInfo says what a driver object is made of.
type DriverInfo struct {
	// Service is the service's name: "echo". RegistryPath is its key's.
	Service      string
	RegistryPath string
	// Name is the object's full name; "" is \Driver\ and the service's.
	Name   string
	Module *pe.Module
	// Init is the initialisation routine of a driver without a module of its own (IoCreateDriver).
	Init guest.Addr
	// Gone, if set, is called when the driver object is deleted, or could not be made.
	Gone func(d *Driver)
	// Section is the address of the module's KLDR_DATA_TABLE_ENTRY, or 0.
	Section guest.Addr
	// DefaultDispatch is where every entry of the dispatch table points at first.
	DefaultDispatch guest.Addr
	// HardwareDatabase is the path that DRIVER_OBJECT.HardwareDatabase has.
	HardwareDatabase string
}

// CreateDriver makes a driver object. STATUS_OBJECT_NAME_COLLISION if there is one of its name.
func (m *Manager) CreateDriver(info DriverInfo) (*Driver, error) {
	d := &Driver{Name: info.Name, Module: info.Module, Init: info.Init, onGone: info.Gone,
		gone: make(chan struct{})}
	if d.Name == "" {
		d.Name = `\Driver\` + info.Service
	}
	obj, err := m.Ob.Create(m.driverType, sizeofDriverObject, d)
	if err != nil {
		return nil, err
	}
	d.object, d.Object = obj, guest.Ptr[nt.DriverObject](obj.Addr)
	if err := m.fillDriver(d, info); err != nil {
		m.Ob.Release(obj)
		return nil, err
	}
	if status := m.Ob.Name(obj, d.Name); status != nt.STATUS_SUCCESS {
		m.Ob.Release(obj)
		return nil, fmt.Errorf("driver object %s: %w", d.Name, status)
	}
	return d, nil
}

func (m *Manager) fillDriver(d *Driver, info DriverInfo) error {
	ext, err := m.alloc(sizeofDriverExtension)
	if err != nil {
		return err
	}
	d.extension = ext
	o := d.Object.Ref()
	o.Type, o.Size = nt.IO_TYPE_DRIVER, int16(sizeofDriverObject)
	o.DriverExtension = ext
	o.Flags = nt.DRVO_LEGACY_DRIVER
	if info.Module != nil {
		o.DriverStart, o.DriverSize = info.Module.Base(), uint32(info.Module.Size())
		d.Init = info.Module.Entry()
	} else {
		o.Flags |= nt.DRVO_BUILTIN_DRIVER
	}
	o.DriverInit = d.Init
	o.DriverSection = info.Section
	if o.DriverName, err = m.unicodeString(d, d.Name); err != nil {
		return err
	}
	hw, err := m.unicodeStringObject(d, info.HardwareDatabase)
	if err != nil {
		return err
	}
	o.HardwareDatabase = hw
	for i := range o.MajorFunction {
		o.MajorFunction[i] = info.DefaultDispatch
	}
	e := guest.Ptr[nt.DriverExtension](ext).Ref()
	e.DriverObject = d.Object.Addr()
	e.ServiceKeyName, err = m.unicodeString(d, info.Service)
	return err
}

// unicodeString makes a UNICODE_STRING whose buffer belongs to the driver object.
func (m *Manager) unicodeString(d *Driver, s string) (nt.UnicodeString, error) {
	enc := guest.EncodeUTF16(s)
	buf, err := m.alloc(uintptr(len(enc)) + 2)
	if err != nil {
		return nt.UnicodeString{}, err
	}
	d.strings = append(d.strings, buf)
	if err := guest.Write(buf, enc); err != nil {
		return nt.UnicodeString{}, err
	}
	n := uint16(len(enc))
	return nt.UnicodeString{Length: n, MaximumLength: n + 2, Buffer: buf}, nil
}

// unicodeStringObject is unicodeString with the UNICODE_STRING itself in guest memory.
func (m *Manager) unicodeStringObject(d *Driver, s string) (guest.Addr, error) {
	us, err := m.unicodeString(d, s)
	if err != nil {
		return 0, err
	}
	at, err := m.alloc(sizeofUnicodeString)
	if err != nil {
		return 0, err
	}
	d.strings = append(d.strings, at)
	return at, guest.Ptr[nt.UnicodeString](at).Store(us)
}

// Devices gives the driver's devices, newest first.
func (m *Manager) Devices(d *Driver) []*Device {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*Device(nil), d.devices...)
}

// DeleteDriver takes the driver object out of the namespace and drops the reference that its
// creation gave. Its devices must be gone, or are the caller's loss: they are deleted.
func (m *Manager) DeleteDriver(d *Driver) (left []*Device) {
	left = m.Devices(d)
	for _, dev := range left {
		m.DeleteDevice(dev)
	}
	m.ReleaseDriver(d)
	return left
}

// ReleaseDriver takes the driver object out of the namespace and drops the reference that its creation
// gave: it goes with the last of its devices. It reports whether that was not done before.
func (m *Manager) ReleaseDriver(d *Driver) bool {
	m.mu.Lock()
	was := d.deleted
	d.deleted = true
	m.mu.Unlock()
	if was {
		return false
	}
	m.Ob.Unname(d.object)
	m.Ob.Release(d.object)
	return true
}

func (m *Manager) driverGone(o *ob.Object) {
	d := o.Body.(*Driver)
	for _, s := range d.strings {
		m.free(s)
	}
	if d.extension != 0 {
		m.free(d.extension)
	}
	if d.onGone != nil {
		d.onGone(d)
	}
	close(d.gone)
}
