package ntoskrnl

import (
	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// What a driver can ask of device stacks and of driver objects, and have kept in them.
var ioStackExports = []Export{
	{Name: "IoGetLowerDeviceObject", Fn: fn1(ioGetLowerDeviceObject), Params: "DeviceObject",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoGetDeviceAttachmentBaseRef", Fn: fn1(ioGetDeviceAttachmentBaseRef),
		Params: "DeviceObject", MaxIRQL: dispatch, Support: Full},
	{Name: "IoEnumerateDeviceObjectList", Fn: fn4(ioEnumerateDeviceObjectList),
		Params:  "DriverObject DeviceObjectList DeviceObjectListSize:d ActualNumberDeviceObjects",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoAllocateDriverObjectExtension", Fn: fn4(ioAllocateDriverObjectExtension),
		Params: "DriverObject ClientIdentificationAddress DriverObjectExtensionSize:d " +
			"DriverObjectExtension",
		MaxIRQL: apc, Support: Full},
	{Name: "IoGetDriverObjectExtension", Fn: fn2(ioGetDriverObjectExtension),
		Params: "DriverObject ClientIdentificationAddress", MaxIRQL: dispatch, Support: Full},
	{Name: "IoRegisterDriverReinitialization", Fn: do3(ioRegisterDriverReinitialization),
		Params: "DriverObject DriverReinitializationRoutine Context", MaxIRQL: passive, Support: Full},
	{Name: "IoRegisterBootDriverReinitialization", Fn: do3(ioRegisterDriverReinitialization),
		Params: "DriverObject DriverReinitializationRoutine Context", MaxIRQL: passive, Support: Full},
}

// ioGetLowerDeviceObject gives the device below, with a reference.
//
//	PDEVICE_OBJECT IoGetLowerDeviceObject(PDEVICE_OBJECT DeviceObject)
//
// NULL at the bottom of a stack, and for a device that is deleted. "IoGetLowerDeviceObject function
// (ntifs.h)".
func ioGetLowerDeviceObject(c *Call, device guest.Addr) guest.Addr {
	d := c.deviceObject(device)
	if c.Dev.Deleted(d) {
		return 0
	}
	below := c.Dev.Below(d)
	if below == nil {
		return 0
	}
	c.Ob.Reference(below.Object.Addr())
	return below.Object.Addr()
}

// ioGetDeviceAttachmentBaseRef gives the bottom of a device's stack, with a reference.
//
//	PDEVICE_OBJECT IoGetDeviceAttachmentBaseRef(PDEVICE_OBJECT DeviceObject)
//
// "IoGetDeviceAttachmentBaseRef function (ntifs.h)".
func ioGetDeviceAttachmentBaseRef(c *Call, device guest.Addr) guest.Addr {
	d := c.deviceObject(device)
	for range devobj.MaxStack {
		below := c.Dev.Below(d)
		if below == nil {
			break
		}
		d = below
	}
	c.Ob.Reference(d.Object.Addr())
	return d.Object.Addr()
}

// ioEnumerateDeviceObjectList lists a driver's devices, each with a reference. The size is in bytes.
//
//	NTSTATUS IoEnumerateDeviceObjectList(PDRIVER_OBJECT DriverObject,
//	    PDEVICE_OBJECT *DeviceObjectList, ULONG DeviceObjectListSize,
//	    PULONG ActualNumberDeviceObjects)
//
// STATUS_BUFFER_TOO_SMALL if the list has no room for all; then only the number is told.
// "IoEnumerateDeviceObjectList function (ntifs.h)".
func ioEnumerateDeviceObjectList(c *Call, driver, list guest.Addr, size uint32,
	number guest.Addr) nt.Status {
	const pointer = 8
	devices := c.Dev.Devices(c.driverObject(driver))
	Store(c, number, uint32(len(devices)))
	if int(size/pointer) < len(devices) {
		return nt.STATUS_BUFFER_TOO_SMALL
	}
	for i, d := range devices {
		Store(c, list+guest.Addr(i*pointer), d.Object.Addr())
		c.Ob.Reference(d.Object.Addr())
	}
	return nt.STATUS_SUCCESS
}

// driverExtras is what a driver has had kept for it. Kernel.mu guards it.
type driverExtras struct {
	extensions map[guest.Addr]guest.Addr // memory, by the client's identification
	reinits    []reinit
}

// reinit is a routine that is to be called when DriverEntry has returned.
type reinit struct{ routine, context guest.Addr }

// extrasOf gives what is kept for a driver. k.mu is held.
func (k *Kernel) extrasOf(d *devobj.Driver) *driverExtras {
	x := k.extras[d]
	if x == nil {
		x = &driverExtras{extensions: make(map[guest.Addr]guest.Addr)}
		k.extras[d] = x
	}
	return x
}

// dropExtras gives back what was kept for a driver that is gone.
func (k *Kernel) dropExtras(d *devobj.Driver) {
	k.mu.Lock()
	x := k.extras[d]
	delete(k.extras, d)
	k.mu.Unlock()
	if x != nil {
		for _, a := range x.extensions {
			k.freeObject(a)
		}
	}
}

// ioAllocateDriverObjectExtension gives zeroed memory that belongs to a driver object, and goes with
// it. The identification is an address that its owner alone uses.
//
//	NTSTATUS IoAllocateDriverObjectExtension(PDRIVER_OBJECT DriverObject,
//	    PVOID ClientIdentificationAddress, ULONG DriverObjectExtensionSize,
//	    PVOID *DriverObjectExtension)
//
// STATUS_OBJECT_NAME_COLLISION if there is one of this identification, STATUS_INSUFFICIENT_RESOURCES.
// "IoAllocateDriverObjectExtension function (wdm.h)".
func ioAllocateDriverObjectExtension(c *Call, driver, client guest.Addr, size uint32,
	result guest.Addr) nt.Status {
	d := c.driverObject(driver)
	Store(c, result, guest.Addr(0))
	a, err := c.allocObject(max(uintptr(size), 1))
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	c.mu.Lock()
	x := c.extrasOf(d)
	_, taken := x.extensions[client]
	if !taken {
		x.extensions[client] = a
	}
	c.mu.Unlock()
	if taken {
		c.freeObject(a)
		return nt.STATUS_OBJECT_NAME_COLLISION
	}
	Store(c, result, a)
	return nt.STATUS_SUCCESS
}

// ioGetDriverObjectExtension finds what IoAllocateDriverObjectExtension gave.
//
//	PVOID IoGetDriverObjectExtension(PDRIVER_OBJECT DriverObject, PVOID ClientIdentificationAddress)
//
// NULL if there is none. "IoGetDriverObjectExtension function (wdm.h)".
func ioGetDriverObjectExtension(c *Call, driver, client guest.Addr) guest.Addr {
	d := c.driverObject(driver)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.extrasOf(d).extensions[client]
}

// ioRegisterDriverReinitialization has a routine called when DriverEntry has returned. The routine may
// register again; it is told how often it was called.
//
//	VOID IoRegisterDriverReinitialization(PDRIVER_OBJECT DriverObject,
//	    PDRIVER_REINITIALIZE DriverReinitializationRoutine, PVOID Context)
//
// "IoRegisterDriverReinitialization function (ntddk.h)".
func ioRegisterDriverReinitialization(c *Call, driver, routine, context guest.Addr) {
	d := c.driverObject(driver)
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.extrasOf(d)
	x.reinits = append(x.reinits, reinit{routine, context})
}

// maxReinits bounds how often a driver may be reinitialised: one that registers for ever would keep the
// host from serving.
const maxReinits = 1 << 16

// reinitialize calls a driver's reinitialisation routines, those that they register too.
func (k *Kernel) reinitialize(t *ke.Thread, d *devobj.Driver) {
	for count := uint64(1); count <= maxReinits; count++ {
		k.mu.Lock()
		x := k.extras[d]
		var next reinit
		if x != nil && len(x.reinits) > 0 {
			next, x.reinits = x.reinits[0], x.reinits[1:]
		}
		k.mu.Unlock()
		if next.routine == 0 {
			return
		}
		t.Call(next.routine, uint64(d.Object.Addr()), uint64(next.context), count)
	}
}
