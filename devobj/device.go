package devobj

import (
	"sync"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Manager makes and finds the drivers, devices and files of one kernel.
type Manager struct {
	Ob    *ob.Manager
	alloc func(size uintptr) (guest.Addr, error)
	free  func(addr guest.Addr)

	driverType, deviceType, fileType *ob.Type

	mu sync.Mutex
}

// New makes a manager. alloc gives zeroed nonpaged memory, aligned to 16 bytes.
func New(objects *ob.Manager, alloc func(size uintptr) (guest.Addr, error), free func(addr guest.Addr)) *Manager {
	m := &Manager{Ob: objects, alloc: alloc, free: free}
	m.driverType = &ob.Type{Name: "Driver", Delete: m.driverGone}
	m.deviceType = &ob.Type{Name: "Device"}
	m.fileType = &ob.Type{Name: "File", Delete: m.fileGone}
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

	object    *ob.Object
	extension guest.Ptr[nt.DevObjExtension]
	exclusive bool
	opens     int  // files that are open
	deleted   bool // IoDeleteDevice was called
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
	dev := &Device{Driver: d, Name: info.Name, exclusive: info.Exclusive}
	obj, err := m.Ob.Create(m.deviceType, sizeofDeviceObject+ext+sizeofDevObjExtension, dev)
	if err != nil {
		return nil, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	dev.object, dev.Object = obj, guest.Ptr[nt.DeviceObject](obj.Addr)
	if info.Name != "" {
		if status := m.Ob.Name(obj, info.Name); status != nt.STATUS_SUCCESS {
			m.drop(obj)
			return nil, status
		}
		dev.Name = m.Ob.Path(obj)
	}
	o := dev.Object.Ref()
	o.Type = nt.IO_TYPE_DEVICE
	o.Size = uint16(uint32(sizeofDeviceObject) + info.ExtensionSize)
	o.DriverObject = d.Object.Addr()
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
		o.DeviceExtension = obj.Addr + guest.Addr(sizeofDeviceObject)
	}
	o.DeviceQueue.Type, o.DeviceQueue.Size = int16(nt.DeviceQueueObject), int16(sizeofDeviceQueue)
	initList(&o.DeviceQueue.DeviceListHead)
	o.DeviceLock.Header.Type = nt.EventSynchronizationObject
	o.DeviceLock.Header.Size = uint8(sizeofEvent / 4)
	o.DeviceLock.Header.SignalState = 1
	initList(&o.DeviceLock.Header.WaitListHead)
	o.DeviceObjectExtension = obj.Addr + guest.Addr(sizeofDeviceObject+ext)
	dev.extension = guest.Ptr[nt.DevObjExtension](o.DeviceObjectExtension)
	x := dev.extension.Ref()
	x.Type, x.Size, x.DeviceObject = nt.IO_TYPE_DEVICE_OBJECT_EXTENSION, uint16(sizeofDevObjExtension), obj.Addr

	m.mu.Lock()
	defer m.mu.Unlock()
	driver := d.Object.Ref()
	o.NextDevice = driver.DeviceObject
	driver.DeviceObject = obj.Addr
	d.devices = append([]*Device{dev}, d.devices...)
	return dev, nt.STATUS_SUCCESS
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

// DeleteDevice takes a device out of the namespace and out of its driver's list. Its memory goes
// when nothing has it open or holds a reference. It reports whether the device was there.
func (m *Manager) DeleteDevice(dev *Device) bool {
	m.mu.Lock()
	if dev.deleted {
		m.mu.Unlock()
		return false
	}
	dev.deleted = true
	m.Ob.Unname(dev.object)
	m.unlink(dev)
	gone := dev.opens == 0
	m.mu.Unlock()
	if gone {
		m.drop(dev.object)
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

// Initialized clears DO_DEVICE_INITIALIZING on every device of the driver, as the I/O manager does
// when DriverEntry has succeeded.
func (m *Manager) Initialized(d *Driver) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, dev := range d.devices {
		dev.Object.Ref().Flags &^= nt.DO_DEVICE_INITIALIZING
	}
}

func (m *Manager) drop(o *ob.Object) {
	// The reference is the one that creation gave; a driver that took it away too was told so then.
	_, _ = m.Ob.Dereference(o.Addr)
}
