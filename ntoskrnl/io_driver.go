package ntoskrnl

import (
	"errors"
	"fmt"
	"slices"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Driver objects that drivers make for themselves, without an image of their own.
var ioDriverExports = []Export{
	{Name: "IoCreateDriver", Fn: fn2(ioCreateDriver), Params: "DriverName:ustr InitializationFunction",
		MaxIRQL: passive, Support: Full},
	{Name: "IoDeleteDriver", Fn: do1(ioDeleteDriver), Params: "DriverObject", MaxIRQL: passive,
		Support: Full},
}

// ioCreateDriver makes a driver object and calls a routine to initialise it, as DriverEntry is called but
// with no registry path. The name is the object's full one; without it, it is \Driver\ and a number.
//
//	NTSTATUS IoCreateDriver(PUNICODE_STRING DriverName, PDRIVER_INITIALIZE InitializationFunction)
//
// What the namespace says of the name, STATUS_INSUFFICIENT_RESOURCES, and what the routine returns: after
// an error nothing is left of the driver. Windows exports it, and no header of the WDK declares it.
func ioCreateDriver(c *Call, name, init guest.Addr) nt.Status {
	full := c.OptUString(name)
	if full == "" {
		full = fmt.Sprintf(`\Driver\%08d`, c.nextDriverNumber.Add(1))
	}
	d, err := c.Dev.CreateDriver(devobj.DriverInfo{Name: full, Service: full, Init: init,
		Gone: c.createdGone, DefaultDispatch: c.symbol("IopInvalidDeviceRequest"),
		HardwareDatabase: hardwareDatabase})
	if err != nil {
		var status nt.Status
		if errors.As(err, &status) {
			return status
		}
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	c.mu.Lock()
	c.created = append(c.created, d)
	c.mu.Unlock()
	status := nt.Status(c.T.Call(init, uint64(d.Object.Addr()), 0))
	if !status.Success() {
		c.discardCreated(d)
		return status
	}
	c.Dev.Initialized(d)
	c.reinitialize(c.T, d)
	return status
}

// ioDeleteDriver takes the name of a driver object that IoCreateDriver has made, and the reference that
// it has by that: it goes with the last of its devices.
//
//	VOID IoDeleteDriver(PDRIVER_OBJECT DriverObject)
//
// REFERENCE_BY_POINTER for one that was deleted before, and for a loaded driver's, whose reference is the
// loader's. Windows exports it, and no header of the WDK declares it.
func ioDeleteDriver(c *Call, driver guest.Addr) {
	d := c.driverObject(driver)
	c.mu.Lock()
	created := slices.Contains(c.created, d)
	c.mu.Unlock()
	if !created || !c.Dev.ReleaseDriver(d) {
		c.T.Crash(&ke.Bugcheck{Code: nt.REFERENCE_BY_POINTER,
			Params: [4]uint64{0, uint64(driver), 0, 0},
			Reason: fmt.Sprintf("%s deletes the driver object %s, which is not IoCreateDriver's or was "+
				"deleted before", c.Where(c.Caller()), d.Name)})
	}
}

// createdGone forgets a driver of IoCreateDriver that is gone.
func (k *Kernel) createdGone(d *devobj.Driver) {
	k.dropExtras(d)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.created = slices.DeleteFunc(k.created, func(o *devobj.Driver) bool { return o == d })
}

// discardCreated deletes a driver of IoCreateDriver and its devices.
func (k *Kernel) discardCreated(d *devobj.Driver) {
	k.forgetShutdown(d)
	k.Dev.DeleteDriver(d)
}

// createdBy gives the drivers that IoCreateDriver has made with a routine in a driver's image.
func (k *Kernel) createdBy(d *Driver) (made []*devobj.Driver) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, o := range k.created {
		if d.Module.Contains(o.Init) {
			made = append(made, o)
		}
	}
	return made
}

// beginUnload is devobj's BeginUnload for a driver and those that its code has created: opens counts the
// files on the devices of all, and with any nothing changes.
func (k *Kernel) beginUnload(d *Driver) (opens int, ok bool) {
	created := k.createdBy(d)
	for _, made := range created {
		opens += k.Dev.Opens(made)
	}
	if opens > 0 {
		return opens, false
	}
	if opens, ok = k.Dev.BeginUnload(d.Driver); !ok {
		return opens, false
	}
	for _, made := range created {
		k.Dev.BeginUnload(made) // so that nobody opens its devices any more
	}
	return 0, true
}
