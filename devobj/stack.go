package devobj

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

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
// being set up or deleted (IoAttachDeviceToDeviceStack).
func (m *Manager) Attach(source, target *Device) *Device {
	below, _ := m.attach(source, target, nil)
	return below
}

// AttachStored is Attach, and stores the device below at an address of the guest, or 0 if there is
// none, before a request can come to source (IoAttachDeviceToDeviceStackSafe). The error is the fault
// of the store; nothing is changed then.
func (m *Manager) AttachStored(source, target *Device, at guest.Addr) (*Device, error) {
	return m.attach(source, target, &at)
}

// attach stores the device below, unless at is nil: while m.mu is held, so that nobody else gets on
// top meanwhile.
func (m *Manager) attach(source, target *Device, at *guest.Addr) (*Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	top := m.Top(target)
	o, s := top.Object.Ref(), source.Object.Ref()
	addr := top.Object.Addr()
	if top.deleted || source.deleted || top == source || o.Flags&nt.DO_DEVICE_INITIALIZING != 0 ||
		o.StackSize < 1 || o.StackSize >= MaxStack || s.AttachedDevice != 0 {
		top, addr = nil, 0
	}
	if at != nil {
		if err := guest.StoreAddr(*at, addr); err != nil {
			return nil, err
		}
	}
	if top == nil {
		return nil, nil
	}
	s.StackSize = o.StackSize + 1
	s.AlignmentRequirement = o.AlignmentRequirement
	s.SectorSize = o.SectorSize
	source.extension.Ref().AttachedTo = addr
	o.AttachedDevice = source.Object.Addr()
	return top, nil
}

// Detach takes the device that is attached to target off it. It reports whether there was one.
func (m *Manager) Detach(target *Device) bool {
	m.mu.Lock()
	was := m.detach(target)
	m.mu.Unlock()
	m.tellIdle(target.Driver)
	return was
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
