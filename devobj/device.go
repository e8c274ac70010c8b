package devobj

import (
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Manager makes and finds the drivers, devices and files of one kernel.
type Manager struct {
	Ob *ob.Manager
	// Idle, if set, is told with no lock held when the last file on a driver's devices has gone,
	// or a device that was attached to one of them, and the driver was marked by MarkUnload.
	Idle func()

	alloc func(size uintptr) (guest.Addr, error)
	free  func(addr guest.Addr)

	driverType, deviceType, fileType *ob.Type

	mu sync.Mutex
}

// New makes a manager. alloc gives zeroed nonpaged memory, aligned to 16 bytes.
func New(objects *ob.Manager, alloc func(size uintptr) (guest.Addr, error), free func(addr guest.Addr)) *Manager {
	m := &Manager{Ob: objects, alloc: alloc, free: free}
	m.driverType = &ob.Type{Name: "Driver", Owned: true, Delete: m.driverGone}
	m.deviceType = &ob.Type{Name: "Device", Owned: true, Delete: m.deviceGone}
	m.fileType = &ob.Type{Name: "File", Owned: true, Last: m.fileLast, Delete: m.fileGone}
	return m
}

// Types gives the object types, for the exported IoDriverObjectType and its like.
func (m *Manager) Types() (driver, device, file *ob.Type) {
	return m.driverType, m.deviceType, m.fileType
}

// Device is a device object.
type Device struct {
	// Object is the DEVICE_OBJECT in guest memory; the device extension lies behind it.
	Object guest.Ptr[nt.DeviceObject]
	// Driver is whose it is.
	Driver *Driver
	// Name is the object's full name, or "".
	Name string

	// Descriptor is the security descriptor that was set, or nil: then everybody may do everything.
	Descriptor atomic.Pointer[nt.Descriptor]

	// StartIO is how the driver's StartIo routine is to be called for the device.
	StartIO StartIO

	object    *ob.Object
	extension guest.Ptr[nt.DevObjExtension]
	exclusive bool
	opens     int  // files that are open
	deleted   bool // IoDeleteDevice was called
}

// StartIO is a device's attributes of IoSetStartIoAttributes, and what they need.
type StartIO struct {
	Deferred      atomic.Bool // StartIo is not called while it runs
	NonCancelable atomic.Bool // an IRP that StartIo gets has no cancel routine

	mu     sync.Mutex
	inside int       // calls of StartIo, of those that are deferred
	next   NextStart // what was deferred, if asked
	asked  bool
}

// NextStart is a call of IoStartNextPacket or of IoStartNextPacketByKey.
type NextStart struct {
	Cancelable bool
	Key        uint32
	ByKey      bool
}

// Enter says that StartIo is about to be called.
func (s *StartIO) Enter() {
	s.mu.Lock()
	s.inside++
	s.mu.Unlock()
}

// Defer keeps n until StartIo has returned; it says false if StartIo does not run. A second one takes
// the place of the first: a device works on one IRP at a time.
func (s *StartIO) Defer(n NextStart) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inside == 0 {
		return false
	}
	s.next, s.asked = n, true
	return true
}

// Leave says that StartIo has returned, and gives what was deferred, if no other call runs.
func (s *StartIO) Leave() (n NextStart, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside--
	if s.inside > 0 || !s.asked {
		return n, false
	}
	s.asked = false
	return s.next, true
}

// Describe names the device for a person: by its name, or by its address if it has none.
func (d *Device) Describe() string {
	if d.Name != "" {
		return d.Name
	}
	return d.Object.Addr().String() + " (no name)"
}

// DeviceInfo is what IoCreateDevice is told.
type DeviceInfo struct {
	Name            string // full path, or "" for a device without a name
	ExtensionSize   uint32 // bytes
	Type            uint32 // FILE_DEVICE_*
	Characteristics uint32 // FILE_DEVICE_SECURE_OPEN and the like
	Exclusive       bool
}

// maxExtension is the most that DEVICE_OBJECT.Size, 16 bits, can tell.
const maxExtension = 0xFFFF - uint32(sizeofDeviceObject)

// CreateDevice makes a device object of a driver, with DO_DEVICE_INITIALIZING set, as IoCreateDevice
// does. STATUS_OBJECT_NAME_COLLISION if the name is taken, STATUS_INSUFFICIENT_RESOURCES without
// memory, or what the namespace says of the name.
func (m *Manager) CreateDevice(d *Driver, info DeviceInfo) (*Device, nt.Status) {
	if info.ExtensionSize > maxExtension {
		return nil, nt.STATUS_INVALID_PARAMETER
	}
	// The extension is rounded up as Windows does, and DEVOBJ_EXTENSION follows.
	ext := (uintptr(info.ExtensionSize) + 15) &^ 15
	dev := &Device{Driver: d, exclusive: info.Exclusive}
	if !m.Ob.Reference(d.object.Addr) {
		return nil, nt.STATUS_NO_SUCH_DEVICE
	}
	obj, err := m.Ob.Create(m.deviceType, sizeofDeviceObject+ext+sizeofDevObjExtension, dev)
	if err != nil {
		m.dereference(d.object)
		return nil, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	dev.object, dev.Object = obj, guest.Ptr[nt.DeviceObject](obj.Addr)
	dev.fill(info, ext)
	// Everything is there before the name lets others find it.
	if info.Name != "" {
		if status := m.Ob.Name(obj, info.Name); status != nt.STATUS_SUCCESS {
			m.Ob.Release(obj)
			return nil, status
		}
		dev.Name = m.Ob.Path(obj)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	driver := d.Object.Ref()
	dev.Object.Ref().NextDevice = driver.DeviceObject
	driver.DeviceObject = obj.Addr
	d.devices = append([]*Device{dev}, d.devices...)
	return dev, nt.STATUS_SUCCESS
}

// fill makes the DEVICE_OBJECT and what lies behind the device extension of ext bytes.
func (dev *Device) fill(info DeviceInfo, ext uintptr) {
	o, at := dev.Object.Ref(), dev.object.Addr
	o.Type = nt.IO_TYPE_DEVICE
	o.Size = uint16(uint32(sizeofDeviceObject) + info.ExtensionSize)
	o.DriverObject = dev.Driver.Object.Addr()
	o.DeviceType = info.Type
	o.Characteristics = info.Characteristics
	o.Flags = nt.DO_DEVICE_INITIALIZING
	if info.Exclusive {
		o.Flags |= nt.DO_EXCLUSIVE
	}
	if info.Name != "" {
		o.Flags |= nt.DO_DEVICE_HAS_NAME
	}
	o.StackSize = 1
	if info.ExtensionSize != 0 {
		o.DeviceExtension = at + guest.Addr(sizeofDeviceObject)
	}
	o.DeviceQueue.Type, o.DeviceQueue.Size = int16(nt.DeviceQueueObject), int16(sizeofDeviceQueue)
	initList(&o.DeviceQueue.DeviceListHead)
	o.DeviceLock.Header.Type = nt.EventSynchronizationObject
	o.DeviceLock.Header.Size = uint8(sizeofEvent / 4)
	o.DeviceLock.Header.SignalState = 1
	initList(&o.DeviceLock.Header.WaitListHead)
	o.DeviceObjectExtension = at + guest.Addr(sizeofDeviceObject+ext)
	dev.extension = guest.Ptr[nt.DevObjExtension](o.DeviceObjectExtension)
	x := dev.extension.Ref()
	x.Type, x.Size, x.DeviceObject = nt.IO_TYPE_DEVICE_OBJECT_EXTENSION, uint16(sizeofDevObjExtension), at
}

// Device gives the device whose object is at addr, or nil.
func (m *Manager) Device(addr guest.Addr) *Device {
	o := m.Ob.Find(addr)
	if o == nil {
		return nil
	}
	dev, _ := o.Body.(*Device)
	return dev
}

// Driver gives the driver whose object is at addr, or nil.
func (m *Manager) Driver(addr guest.Addr) *Driver {
	o := m.Ob.Find(addr)
	if o == nil {
		return nil
	}
	d, _ := o.Body.(*Driver)
	return d
}

// Deleted reports whether DeleteDevice was called for a device.
func (m *Manager) Deleted(dev *Device) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return dev.deleted
}

// DeleteDevice takes a device out of the namespace, out of its driver's list and off the device below
// it. Its memory goes when nothing has it open or holds a reference. It reports whether the device
// was there.
func (m *Manager) DeleteDevice(dev *Device) bool {
	m.mu.Lock()
	if dev.deleted {
		m.mu.Unlock()
		return false
	}
	dev.deleted = true
	m.Ob.Unname(dev.object)
	m.unlink(dev)
	below := m.Device(dev.extension.Ref().AttachedTo)
	if below != nil && below.Object.Ref().AttachedDevice == dev.Object.Addr() {
		m.detach(below)
	}
	gone := dev.opens == 0
	m.mu.Unlock()
	if below != nil {
		m.tellIdle(below.Driver)
	}
	if gone {
		m.Ob.Release(dev.object)
	}
	return true
}

// unlink takes dev out of its driver's list, in Go and in the guest.
func (m *Manager) unlink(dev *Device) {
	d := dev.Driver
	for i, other := range d.devices {
		if other != dev {
			continue
		}
		next := guest.Addr(0)
		if i+1 < len(d.devices) {
			next = d.devices[i+1].Object.Addr()
		}
		if i == 0 {
			d.Object.Ref().DeviceObject = next
		} else {
			d.devices[i-1].Object.Ref().NextDevice = next
		}
		d.devices = append(d.devices[:i], d.devices[i+1:]...)
		return
	}
}

// Initialized says that DriverEntry has succeeded: the driver's devices can be opened from now on.
// It clears their DO_DEVICE_INITIALIZING, as the I/O manager does.
func (m *Manager) Initialized(d *Driver) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, dev := range d.devices {
		dev.Object.Ref().Flags &^= nt.DO_DEVICE_INITIALIZING
	}
	d.Object.Ref().Flags |= nt.DRVO_INITIALIZED
	d.running = true
}

// Opens counts the files that are open on a driver's devices.
func (m *Manager) Opens(d *Driver) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return d.opens
}

// BeginUnload keeps a driver's devices from being opened, so that DriverUnload can be called. It says
// false, and changes nothing, when files are open on them, or when it has said true before.
func (m *Manager) BeginUnload(d *Driver) (opens int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.opens > 0 || !d.running {
		return d.opens, false
	}
	d.running = false
	d.Object.Ref().Flags |= nt.DRVO_UNLOAD_INVOKED
	return 0, true
}

// MarkUnload keeps a driver's devices from being opened, as those of a driver that is to be
// unloaded when nothing uses them any more; or it lets them be opened again. From then on
// Manager.Idle is called when that may have come.
func (m *Manager) MarkUnload(d *Driver, mark bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d.marked = mark
}

// AttachedTo says whether another driver's devices are attached to a driver's.
func (m *Manager) AttachedTo(d *Driver) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, dev := range d.devices {
		if above := m.Device(dev.Object.Ref().AttachedDevice); above != nil && above.Driver != d {
			return true
		}
	}
	return false
}

// tellIdle calls Idle for a driver that was marked by MarkUnload.
func (m *Manager) tellIdle(d *Driver) {
	m.mu.Lock()
	tell := d.marked && d.opens == 0 && m.Idle != nil
	m.mu.Unlock()
	if tell {
		m.Idle()
	}
}

// deviceGone lets the device's driver go, of which the device held a reference.
func (m *Manager) deviceGone(o *ob.Object) { m.dereference(o.Body.(*Device).Driver.object) }

// dereference gives a reference of the manager's own back.
func (m *Manager) dereference(o *ob.Object) {
	// It fails when a driver has given back the reference as if it were its own; that is said then.
	_, _ = m.Ob.Dereference(o.Addr)
}
