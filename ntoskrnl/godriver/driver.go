package godriver

import (
	"fmt"
	"sync"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// Dispatch answers an IRP: it completes it, pends it, or sends it on, and returns the status of that.
type Dispatch func(r *Request) nt.Status

// Driver is a driver in Go. It is loaded once at a time.
type Driver struct {
	// Service is the service's name; the image is SERVICE.sys, the driver object \Driver\SERVICE.
	Service string
	// Entry is DriverEntry. A status that is no success keeps the driver from being loaded.
	Entry func(c *Call) nt.Status
	// Unload is DriverUnload; without one the driver stays until the kernel ends. Links and devices
	// that it leaves are told as another driver's are.
	Unload func(c *Call)
	// Dispatch has the dispatch routines. Without one, a major function is answered with
	// STATUS_INVALID_DEVICE_REQUEST, but for CREATE, CLEANUP and CLOSE, which succeed.
	Dispatch [nt.IRP_MJ_MAXIMUM_FUNCTION + 1]Dispatch

	kernel *ntoskrnl.Kernel
	image  *ntoskrnl.GoImage
	object guest.Addr // DRIVER_OBJECT

	completion guest.Addr // the completion routine that calls what Then was given

	mu      sync.Mutex
	devices map[guest.Addr]*Device
	thens   []then // by the contexts of completion routines
	free    []int  // places in it
	idle    []*Request
}

// The routines of the image, in this order.
const (
	routineEntry = iota
	routineUnload
	routineCompletion
	routineDispatch // and one for each other major function
	routines        = routineDispatch + int(nt.IRP_MJ_MAXIMUM_FUNCTION) + 1
)

// Image makes what ntoskrnl.Kernel.LoadGo loads.
func (d *Driver) Image(k *ntoskrnl.Kernel) *ntoskrnl.GoImage {
	d.kernel, d.devices = k, make(map[guest.Addr]*Device)
	d.thens, d.free, d.idle = nil, nil, nil
	g := &ntoskrnl.GoImage{Service: d.Service, Routines: make([]ntoskrnl.GoRoutine, routines),
		Names: make([]string, routines)}
	g.Routines[routineEntry], g.Names[routineEntry] = d.entry, "DriverEntry"
	g.Routines[routineUnload], g.Names[routineUnload] = d.unload, "DriverUnload"
	g.Routines[routineCompletion], g.Names[routineCompletion] = d.completed, "Completion"
	for m := range d.Dispatch {
		major := nt.MajorFunction(m)
		g.Names[routineDispatch+m] = fmt.Sprintf("Dispatch%02X", m)
		g.Routines[routineDispatch+m] = func(c *ntoskrnl.Call) uint64 {
			return uint64(uint32(d.dispatch(c, major)))
		}
	}
	d.image = g
	return g
}

// entry is DriverEntry.
func (d *Driver) entry(c *ntoskrnl.Call) uint64 {
	d.object = guest.Addr(c.Arg(0))
	routine := func(name string) guest.Addr {
		e, _ := d.image.Driver.Module.LookupExport(name) // Image has put it there
		return e.Addr
	}
	o := ntoskrnl.Load[nt.DriverObject](c, d.object)
	if d.Unload != nil {
		o.DriverUnload = routine("DriverUnload")
	}
	for m := range d.Dispatch {
		o.MajorFunction[m] = routine(fmt.Sprintf("Dispatch%02X", m))
	}
	ntoskrnl.Store(c, d.object, o)
	d.completion = routine("Completion")
	if d.Entry == nil {
		return uint64(nt.STATUS_SUCCESS)
	}
	return uint64(uint32(d.Entry(&Call{c, d})))
}

func (d *Driver) unload(c *ntoskrnl.Call) uint64 {
	d.Unload(&Call{c, d})
	return 0
}

// Call is a call of a driver's routine.
type Call struct {
	*ntoskrnl.Call
	driver *Driver
}

// Export calls an export of the kernel as a native driver calls it, with up to 8 arguments, and gives
// RAX.
func (c *Call) Export(name string, args ...uint64) uint64 {
	return c.Invoke(c.driver.image.Driver, name, args...)
}

// stringTag is the pool tag of strings that are passed to exports.
var stringTag = mm.MakeTag("GoDr")

// with calls f with the addresses of UNICODE_STRINGs.
func (c *Call) with(texts []string, f func(at []uint64) uint64) uint64 {
	const header = 16
	var at []uint64
	for _, text := range texts {
		enc := guest.EncodeUTF16(text)
		a, err := c.Mm.AllocatePool2(nt.POOL_FLAG_NON_PAGED, uintptr(header+len(enc)+2), stringTag)
		c.Must(err)
		n := uint16(len(enc))
		ntoskrnl.Store(c.Call, a, nt.UnicodeString{Length: n, MaximumLength: n + 2, Buffer: a + header})
		c.Must(guest.Write(a+header, enc))
		at = append(at, uint64(a))
	}
	v := f(at)
	for _, a := range at {
		c.Must(c.Mm.FreePoolWithTag(guest.Addr(a), stringTag))
	}
	return v
}

// Device is a device of a driver in Go.
type Device struct {
	// Object is the DEVICE_OBJECT.
	Object guest.Addr
	// Context is the driver's own.
	Context any

	driver *Driver
	lower  guest.Addr // in the device extension: where the device below is stored
}

// Lower gives the device that a device is attached to, or 0.
func (c *Call) Lower(d *Device) guest.Addr { return ntoskrnl.Load[guest.Addr](c.Call, d.lower) }

// DeviceOptions says what a device is like. The zero value is an unknown device whose reads and writes
// have the caller's addresses.
type DeviceOptions struct {
	Name            string // \Device\…, or "" for none
	Type            uint32 // FILE_DEVICE_*; 0 is FILE_DEVICE_UNKNOWN
	Characteristics uint32
	Exclusive       bool
	Flags           uint32 // DO_BUFFERED_IO or DO_DIRECT_IO, and the like
}

// extensionSize is the size in bytes of the devices' extensions: a pointer, zero at first.
const extensionSize = 8

// CreateDevice is IoCreateDevice. The device can be used when Entry returns; one that is made later
// after StartDevice.
func (c *Call) CreateDevice(o DeviceOptions) (*Device, nt.Status) {
	const unknown = 0x22 // FILE_DEVICE_UNKNOWN
	if o.Type == 0 {
		o.Type = unknown
	}
	exclusive := uint64(0)
	if o.Exclusive {
		exclusive = 1
	}
	out, err := c.Mm.AllocatePool2(nt.POOL_FLAG_NON_PAGED, 16, stringTag)
	c.Must(err)
	texts := []string{o.Name}
	if o.Name == "" {
		texts = nil
	}
	status := nt.Status(c.with(texts, func(at []uint64) uint64 {
		name := uint64(0)
		if len(at) > 0 {
			name = at[0]
		}
		return c.Export("IoCreateDevice", uint64(c.driver.object), extensionSize, name, uint64(o.Type),
			uint64(o.Characteristics), exclusive, uint64(out))
	}))
	device := ntoskrnl.Load[guest.Addr](c.Call, out)
	c.Must(c.Mm.FreePoolWithTag(out, stringTag))
	if !status.Success() {
		return nil, status
	}
	d := &Device{Object: device, driver: c.driver,
		lower: ntoskrnl.Load[nt.DeviceObject](c.Call, device).DeviceExtension}
	c.driver.mu.Lock()
	c.driver.devices[device] = d
	c.driver.mu.Unlock()
	c.change(d, 0, o.Flags)
	return d, status
}

// change clears and sets flags of a device object.
func (c *Call) change(d *Device, clear, set uint32) {
	o := ntoskrnl.Load[nt.DeviceObject](c.Call, d.Object)
	o.Flags = o.Flags&^clear | set
	ntoskrnl.Store(c.Call, d.Object, o)
}

// StartDevice says that a device which was not made in Entry can be used.
func (c *Call) StartDevice(d *Device) { c.change(d, nt.DO_DEVICE_INITIALIZING, 0) }

// Attach makes a device without a name and puts it on top of the stack of the one with that name, which
// it opens meanwhile. It transfers data as the device below does.
func (c *Call) Attach(target string) (*Device, nt.Status) {
	d, status := c.CreateDevice(DeviceOptions{})
	if !status.Success() {
		return nil, status
	}
	status = nt.Status(c.with([]string{target}, func(at []uint64) uint64 {
		return c.Export("IoAttachDevice", uint64(d.Object), at[0], uint64(d.lower))
	}))
	if !status.Success() {
		c.DeleteDevice(d)
		return nil, status
	}
	below := ntoskrnl.Load[nt.DeviceObject](c.Call, c.Lower(d))
	c.change(d, nt.DO_DEVICE_INITIALIZING, below.Flags&(nt.DO_BUFFERED_IO|nt.DO_DIRECT_IO))
	return d, status
}

// DeleteDevice is IoDeleteDevice, after IoDetachDevice if it is attached.
func (c *Call) DeleteDevice(d *Device) {
	if lower := c.Lower(d); lower != 0 {
		c.Export("IoDetachDevice", uint64(lower))
		ntoskrnl.Store(c.Call, d.lower, guest.Addr(0))
	}
	c.driver.mu.Lock()
	delete(c.driver.devices, d.Object)
	c.driver.mu.Unlock()
	c.Export("IoDeleteDevice", uint64(d.Object))
}

// CreateLink is IoCreateSymbolicLink: `\DosDevices\Foo` to `\Device\Foo`.
func (c *Call) CreateLink(link, device string) nt.Status {
	return nt.Status(c.with([]string{link, device}, func(at []uint64) uint64 {
		return c.Export("IoCreateSymbolicLink", at[0], at[1])
	}))
}

// DeleteLink is IoDeleteSymbolicLink.
func (c *Call) DeleteLink(link string) nt.Status {
	return nt.Status(c.with([]string{link}, func(at []uint64) uint64 {
		return c.Export("IoDeleteSymbolicLink", at[0])
	}))
}

// Devices gives the devices that there are, in no order.
func (c *Call) Devices() (all []*Device) {
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	for _, d := range c.driver.devices {
		all = append(all, d)
	}
	return all
}
