package devobj

import "github.com/drvhost/drvhost/nt"

// Device stacks: which device gets requests before which.

// MaxStack is the most devices that one stack can have: an IRP counts its stack locations in a signed
// byte, and one more than there are is a value that it must hold.
const MaxStack = 126

// Top gives the device at the top of the stack that dev is in: IoGetAttachedDevice. A stack that a
// driver has scribbled on ends where it cannot be followed.
func (m *Manager) Top(dev *Device) *Device {
	for range MaxStack {
		above := dev.Object.Ref().AttachedDevice
		if above == 0 {
			return dev
		}
		next := m.Device(above)
		if next == nil {
			return dev
		}
		dev = next
	}
	return dev
}

// Attach puts source on top of the stack that target is in, and gives the device that was the top:
// where source's driver sends requests on to. It is nil, and nothing is changed, when that device is
// being set up or deleted (IoAttachDeviceToDeviceStackSafe).
func (m *Manager) Attach(source, target *Device) *Device {
	m.mu.Lock()
	defer m.mu.Unlock()
	top := m.Top(target)
	o, s := top.Object.Ref(), source.Object.Ref()
	if top.deleted || source.deleted || top == source || o.Flags&nt.DO_DEVICE_INITIALIZING != 0 ||
		o.StackSize < 1 || o.StackSize >= MaxStack || s.AttachedDevice != 0 {
		return nil
	}
	s.StackSize = o.StackSize + 1
	s.AlignmentRequirement = o.AlignmentRequirement
	s.SectorSize = o.SectorSize
	o.AttachedDevice = source.Object.Addr()
	source.extension.Ref().AttachedTo = top.Object.Addr()
	return top
}

// Detach takes the device that is attached to target off it. It reports whether there was one.
func (m *Manager) Detach(target *Device) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.detach(target)
}

// detach is Detach; m.mu is held.
func (m *Manager) detach(target *Device) bool {
	o := target.Object.Ref()
	above := m.Device(o.AttachedDevice)
	o.AttachedDevice = 0
	if above == nil {
		return false
	}
	above.extension.Ref().AttachedTo = 0
	return true
}

// Below gives the device that dev is attached to, or nil.
func (m *Manager) Below(dev *Device) *Device {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Device(dev.extension.Ref().AttachedTo)
}
