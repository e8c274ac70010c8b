package devobj

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// newManager makes a manager over memory of its own, and counts the blocks that it has not freed.
func newManager(t testing.TB) (m *Manager, blocks func() int) {
	space, err := guest.Default()
	require.NoError(t, err)
	regions := map[guest.Addr]*guest.Region{}
	alloc := func(size uintptr) (guest.Addr, error) {
		r, err := space.AllocSystem(size, guest.ProtRW, "objects of a test")
		if err != nil {
			return 0, err
		}
		regions[r.Base()] = r
		return r.Base(), nil
	}
	free := func(a guest.Addr) {
		r := regions[a]
		require.NotNil(t, r, "freed what was not allocated")
		require.NoError(t, r.Free())
		delete(regions, a)
	}
	objects := ob.New(alloc, free)
	t.Cleanup(func() {
		objects.Close()
		for _, r := range regions {
			require.NoError(t, r.Free())
		}
	})
	return New(objects, alloc, free), func() int { return len(regions) }
}

func driver(t testing.TB, m *Manager, name string) *Driver {
	d, err := m.CreateDriver(DriverInfo{Service: name, DefaultDispatch: 0x1234,
		HardwareDatabase: `\REGISTRY`})
	require.NoError(t, err)
	return d
}

func device(t testing.TB, m *Manager, d *Driver, info DeviceInfo) *Device {
	dev, status := m.CreateDevice(d, info)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	return dev
}

func TestADriverObjectIsAsWindowsMakesIt(t *testing.T) {
	m, _ := newManager(t)
	d := driver(t, m, "echo")
	o := d.Object.Ref()
	assert.Equal(t, nt.IO_TYPE_DRIVER, o.Type)
	assert.EqualValues(t, 0x150, o.Size)
	name, err := guest.ReadUnicodeString(d.Object.Addr() + 0x38)
	require.NoError(t, err)
	assert.Equal(t, `\Driver\echo`, name)
	for _, routine := range o.MajorFunction {
		assert.EqualValues(t, 0x1234, routine)
	}
	x := guest.Ptr[nt.DriverExtension](o.DriverExtension).Ref()
	assert.Equal(t, d.Object.Addr(), x.DriverObject)
	assert.Same(t, d, m.Driver(d.Object.Addr()))
	assert.Nil(t, m.Device(d.Object.Addr()), "a driver is no device")
	_, err = m.CreateDriver(DriverInfo{Service: "ECHO"})
	assert.ErrorIs(t, err, nt.STATUS_OBJECT_NAME_COLLISION)
}

func TestADeviceObjectIsAsWindowsMakesIt(t *testing.T) {
	m, _ := newManager(t)
	d := driver(t, m, "d")
	for size, want := range map[uint32]struct {
		size      uint16
		extension guest.Addr
	}{0: {0x150, 0}, 1: {0x151, 0x150}, 16: {0x160, 0x150}, 100: {0x1B4, 0x150},
		maxExtension: {0xFFFF, 0x150}} {
		dev := device(t, m, d, DeviceInfo{ExtensionSize: size, Type: 0x22, Characteristics: 0x100})
		o, at := dev.Object.Ref(), dev.Object.Addr()
		assert.Zero(t, at%nt.DeviceObjectAlign)
		assert.Equal(t, nt.IO_TYPE_DEVICE, o.Type)
		assert.Equal(t, want.size, o.Size)
		if want.extension != 0 {
			want.extension += at
		}
		assert.Equal(t, want.extension, o.DeviceExtension)
		assert.Equal(t, nt.DO_DEVICE_INITIALIZING, o.Flags)
		assert.EqualValues(t, 0x22, o.DeviceType)
		assert.EqualValues(t, 0x100, o.Characteristics)
		assert.EqualValues(t, 1, o.StackSize)
		x := guest.Ptr[nt.DevObjExtension](o.DeviceObjectExtension).Ref()
		assert.Equal(t, at, x.DeviceObject)
		assert.Equal(t, at+(guest.Addr(sizeofDeviceObject)+guest.Addr(size)+15)&^15,
			o.DeviceObjectExtension, "behind the extension")
		assert.Equal(t, at, d.Object.Ref().DeviceObject, "the newest is the first")
	}
	_, status := m.CreateDevice(d, DeviceInfo{ExtensionSize: maxExtension + 1})
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, status)
	m.DeleteDriver(d)
}

func TestNamesOfDevices(t *testing.T) {
	m, _ := newManager(t)
	d := driver(t, m, "d")
	dev := device(t, m, d, DeviceInfo{Name: `\Device\A`, Exclusive: true})
	assert.Equal(t, nt.DO_DEVICE_INITIALIZING|nt.DO_DEVICE_HAS_NAME|nt.DO_EXCLUSIVE,
		dev.Object.Ref().Flags)
	for name, want := range map[string]nt.Status{
		`\Device\a`: nt.STATUS_OBJECT_NAME_COLLISION,
		`\None\A`:   nt.STATUS_OBJECT_PATH_NOT_FOUND,
		`A`:         nt.STATUS_OBJECT_PATH_SYNTAX_BAD,
	} {
		before := len(m.Ob.Outstanding())
		_, status := m.CreateDevice(d, DeviceInfo{Name: name})
		assert.Equal(t, want, status, name)
		assert.Len(t, m.Devices(d), 1)
		assert.Len(t, m.Ob.Outstanding(), before)
	}
	assert.True(t, m.DeleteDevice(dev))
	assert.False(t, m.DeleteDevice(dev), "only once")
	device(t, m, d, DeviceInfo{Name: `\Device\A`})
}

func TestTheDriversListOfDevices(t *testing.T) {
	m, _ := newManager(t)
	d := driver(t, m, "d")
	list := func() (all []*Device) {
		for a := d.Object.Ref().DeviceObject; a != 0; {
			dev := m.Device(a)
			require.NotNil(t, dev)
			all = append(all, dev)
			a = dev.Object.Ref().NextDevice
		}
		return all
	}
	a, b, c := device(t, m, d, DeviceInfo{}), device(t, m, d, DeviceInfo{}), device(t, m, d, DeviceInfo{})
	assert.Equal(t, []*Device{c, b, a}, list())
	assert.Equal(t, list(), m.Devices(d))
	m.DeleteDevice(b)
	assert.Equal(t, []*Device{c, a}, list())
	m.DeleteDevice(c)
	assert.Equal(t, []*Device{a}, list())
	m.DeleteDevice(a)
	assert.Empty(t, list())
}

func TestWhoMayOpen(t *testing.T) {
	m, _ := newManager(t)
	d := driver(t, m, "d")
	dev := device(t, m, d, DeviceInfo{Name: `\Device\A`})
	exclusive := device(t, m, d, DeviceInfo{Exclusive: true})
	dev.Object.Ref().Flags &^= nt.DO_DEVICE_INITIALIZING
	_, status := m.Open(dev, OpenInfo{})
	assert.Equal(t, nt.STATUS_NO_SUCH_DEVICE, status, "while DriverEntry runs")
	m.Initialized(d)
	late := device(t, m, d, DeviceInfo{})
	_, status = m.Open(late, OpenInfo{})
	assert.Equal(t, nt.STATUS_NO_SUCH_DEVICE, status, "while it is being set up")

	f, status := m.Open(dev, OpenInfo{Name: `\sub`, Access: nt.FILE_READ_DATA,
		ShareAccess: uint16(nt.FILE_SHARE_READ), Options: nt.FILE_SYNCHRONOUS_IO_NONALERT})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	o := f.Object.Ref()
	assert.Equal(t, nt.IO_TYPE_FILE, o.Type)
	assert.Equal(t, dev.Object.Addr(), o.DeviceObject)
	assert.Equal(t, nt.FO_SYNCHRONOUS_IO, o.Flags)
	assert.Equal(t, [6]nt.Boolean{1, 0, 0, 1, 0, 0}, [6]nt.Boolean{o.ReadAccess, o.WriteAccess,
		o.DeleteAccess, o.SharedRead, o.SharedWrite, o.SharedDelete})
	assert.EqualValues(t, 8, o.FileName.Length)
	assert.EqualValues(t, 1, dev.Object.Ref().ReferenceCount)

	x, status := m.Open(exclusive, OpenInfo{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	_, status = m.Open(exclusive, OpenInfo{})
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, status)
	m.Close(x)
	x, status = m.Open(exclusive, OpenInfo{})
	assert.Equal(t, nt.STATUS_SUCCESS, status)
	a, status := m.Open(exclusive, OpenInfo{Attach: true})
	assert.Equal(t, nt.STATUS_SUCCESS, status, "to attach to it")
	m.Close(a)

	opens, ok := m.BeginUnload(d)
	assert.Equal(t, 2, opens)
	assert.False(t, ok)
	m.Close(x)
	m.Close(f)
	_, ok = m.BeginUnload(d)
	assert.True(t, ok)
	_, ok = m.BeginUnload(d)
	assert.False(t, ok, "only once")
	_, status = m.Open(dev, OpenInfo{})
	assert.Equal(t, nt.STATUS_NO_SUCH_DEVICE, status, "while DriverUnload runs")
}

func TestADeletedDeviceLivesAsLongAsItIsOpen(t *testing.T) {
	m, _ := newManager(t)
	d := driver(t, m, "d")
	dev := device(t, m, d, DeviceInfo{Name: `\Device\A`})
	m.Initialized(d)
	f, _ := m.Open(dev, OpenInfo{})
	g, _ := m.Open(dev, OpenInfo{})
	assert.True(t, m.DeleteDevice(dev))
	_, _, status := m.Ob.Lookup(`\Device\A`)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status)
	_, status = m.Open(dev, OpenInfo{})
	assert.Equal(t, nt.STATUS_NO_SUCH_DEVICE, status)
	assert.Empty(t, m.Devices(d))
	m.Close(f)
	assert.NotNil(t, m.Device(dev.Object.Addr()))
	m.DeleteDriver(d)
	select {
	case <-d.Gone():
		t.Error("the driver object has gone before its device")
	default:
	}
	m.Close(g)
	assert.Nil(t, m.Device(dev.Object.Addr()))
	<-d.Gone()
}

func TestEverythingIsGivenBack(t *testing.T) {
	m, blocks := newManager(t)
	var before, objects int
	for i := range 20 {
		d := driver(t, m, "d")
		dev := device(t, m, d, DeviceInfo{Name: `\Device\A`, ExtensionSize: 5000})
		m.Initialized(d)
		f, status := m.Open(dev, OpenInfo{Name: `\name`})
		require.Equal(t, nt.STATUS_SUCCESS, status)
		m.Close(f)
		left := m.DeleteDriver(d)
		assert.Equal(t, []*Device{dev}, left)
		<-d.Gone()
		if i == 9 {
			before, objects = blocks(), len(m.Ob.Outstanding())
		}
	}
	assert.Equal(t, before, blocks())
	assert.Len(t, m.Ob.Outstanding(), objects)
}

func TestDeviceStacks(t *testing.T) {
	m, _ := newManager(t)
	d := driver(t, m, "d")
	bottom := device(t, m, d, DeviceInfo{})
	filter, upper, other := device(t, m, d, DeviceInfo{}), device(t, m, d, DeviceInfo{}),
		device(t, m, d, DeviceInfo{})
	assert.Nil(t, m.Attach(filter, bottom), "the target is being set up")
	m.Initialized(d)
	bottom.Object.Ref().AlignmentRequirement = 3
	assert.Same(t, bottom, m.Attach(filter, bottom))
	assert.Same(t, filter, m.Attach(upper, bottom), "on top of what is there")
	assert.Same(t, upper, m.Top(bottom))
	assert.Same(t, upper, m.Top(filter))
	assert.EqualValues(t, 3, upper.Object.Ref().StackSize)
	assert.EqualValues(t, 3, upper.Object.Ref().AlignmentRequirement)
	assert.Equal(t, filter.Object.Addr(), bottom.Object.Ref().AttachedDevice)
	assert.Equal(t, bottom.Object.Addr(), filter.extension.Ref().AttachedTo)
	assert.Nil(t, m.Attach(upper, bottom), "it is there already")
	assert.Nil(t, m.Attach(filter, other), "another one is on top of it")

	assert.True(t, m.Detach(filter))
	assert.False(t, m.Detach(filter))
	assert.Same(t, filter, m.Top(bottom))
	m.DeleteDevice(filter)
	assert.Same(t, bottom, m.Top(bottom), "a deleted device is off the stack")
	assert.Nil(t, m.Attach(filter, bottom))
	m.DeleteDevice(bottom)
	assert.Nil(t, m.Attach(upper, bottom))

	t.Run("that a driver has scribbled on", func(t *testing.T) {
		dev := device(t, m, d, DeviceInfo{})
		m.Initialized(d)
		for _, a := range []guest.Addr{1, 0x8000000000000000, 0xDDDDDDDDDDDDDDDD, d.Object.Addr()} {
			dev.Object.Ref().AttachedDevice = a
			assert.Same(t, dev, m.Top(dev))
		}
		dev.Object.Ref().AttachedDevice = dev.Object.Addr()
		assert.Same(t, dev, m.Top(dev), "a circle")
		dev.Object.Ref().AttachedDevice = 0
		for _, n := range []int8{-1, 0, MaxStack, 127} {
			dev.Object.Ref().StackSize = n
			assert.Nil(t, m.Attach(other, dev), n)
		}
		dev.extension.Ref().AttachedTo = 0xDDDDDDDDDDDDDDDD
		assert.True(t, m.DeleteDevice(dev))
	})
}

func TestTheDeviceBelowIsStoredOnceAndBeforeTheDeviceIsAttached(t *testing.T) {
	m, _ := newManager(t)
	d := driver(t, m, "d")
	bottom := device(t, m, d, DeviceInfo{})
	slots, err := m.alloc(guest.PageSize)
	require.NoError(t, err)
	slot := func(n int) guest.Addr { return slots + guest.Addr(n)*8 }
	load := func(n int) guest.Addr {
		v, err := guest.LoadAddr(slot(n))
		require.NoError(t, err)
		return v
	}
	const attached = 8
	devices := make([]*Device, attached)
	for i := range devices {
		devices[i] = device(t, m, d, DeviceInfo{})
	}
	require.NoError(t, guest.StoreAddr(slot(0), 1))
	below, err := m.AttachStored(devices[0], bottom, slot(0))
	require.NoError(t, err)
	assert.Nil(t, below, "the target is being set up")
	assert.Zero(t, load(0))
	m.Initialized(d)
	for _, at := range []guest.Addr{0, 0xDDDDDDDDDDDDDDDD} {
		below, err = m.AttachStored(devices[0], bottom, at)
		assert.Error(t, err)
		assert.Nil(t, below)
		assert.Same(t, bottom, m.Top(bottom), "a fault leaves the stack as it was")
	}

	seen := make([][]guest.Addr, attached) // what is in a slot, as long as the attachments last
	var attaching, watching sync.WaitGroup
	var over atomic.Bool
	for i, dev := range devices {
		watching.Go(func() {
			for last := guest.Addr(0); ; {
				ended := over.Load()
				if v, _ := guest.LoadAddr(slot(i)); v != last {
					seen[i], last = append(seen[i], v), v
				}
				if ended {
					return
				}
			}
		})
		attaching.Go(func() {
			_, err := m.AttachStored(dev, bottom, slot(i))
			assert.NoError(t, err)
		})
	}
	attaching.Wait()
	over.Store(true)
	watching.Wait()
	for i, dev := range devices {
		assert.Equal(t, []guest.Addr{m.Below(dev).Object.Addr()}, seen[i])
	}
	assert.EqualValues(t, attached+1, m.Top(bottom).Object.Ref().StackSize)
	m.DeleteDriver(d)
	<-d.Gone()
	m.free(slots)
}

func TestADriverCannotTakeWhatTheKernelHolds(t *testing.T) {
	m, _ := newManager(t)
	d := driver(t, m, "d")
	dev := device(t, m, d, DeviceInfo{})
	m.Initialized(d)
	f, _ := m.Open(dev, OpenInfo{})
	for _, a := range []guest.Addr{dev.Object.Addr(), f.Object.Addr()} {
		_, err := m.Ob.Dereference(a)
		assert.Error(t, err)
		assert.NotNil(t, m.Ob.Find(a))
	}
	m.Close(f)
	m.DeleteDriver(d)
	<-d.Gone()
}

func TestADriverIsIdleWhenNothingUsesItsDevices(t *testing.T) {
	m, _ := newManager(t)
	d, other := driver(t, m, "echo"), driver(t, m, "filter")
	below := device(t, m, d, DeviceInfo{Name: `\Device\Below`})
	above := device(t, m, other, DeviceInfo{})
	m.Initialized(d)
	told := 0
	m.Idle = func() { told++ }
	open := func() (*File, nt.Status) { return m.Open(below, OpenInfo{}) }
	f, status := open()
	require.Equal(t, nt.STATUS_SUCCESS, status)
	m.Close(f)
	assert.Zero(t, told, "it is not marked")

	f, status = open()
	require.Equal(t, nt.STATUS_SUCCESS, status)
	m.MarkUnload(d, true)
	_, status = open()
	assert.Equal(t, nt.STATUS_NO_SUCH_DEVICE, status)
	m.Close(f)
	assert.Equal(t, 1, told)

	assert.False(t, m.AttachedTo(d))
	require.NotNil(t, m.Attach(above, below))
	assert.True(t, m.AttachedTo(d))
	assert.True(t, m.Detach(below))
	assert.False(t, m.AttachedTo(d))
	assert.Equal(t, 2, told)
	require.NotNil(t, m.Attach(above, below))
	assert.True(t, m.DeleteDevice(above))
	assert.Equal(t, 3, told)

	m.MarkUnload(d, false)
	f, status = open()
	require.Equal(t, nt.STATUS_SUCCESS, status)
	m.Close(f)
	assert.Equal(t, 3, told)
	m.DeleteDriver(d)
	m.DeleteDriver(other)
}
