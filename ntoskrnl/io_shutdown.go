package ntoskrnl

import (
	"slices"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Devices that are told when the system shuts down: when the host is closed, before its drivers are
// unloaded.
var ioShutdownExports = []Export{
	{Name: "IoRegisterShutdownNotification", Fn: fn1(ioRegisterShutdownNotification),
		Params: "DeviceObject", MaxIRQL: passive, Support: Full},
	{Name: "IoRegisterLastChanceShutdownNotification",
		Fn:     fn1(ioRegisterLastChanceShutdownNotification),
		Params: "DeviceObject", MaxIRQL: passive, Support: Full},
	{Name: "IoUnregisterShutdownNotification", Fn: do1(ioUnregisterShutdownNotification),
		Params: "DeviceObject", MaxIRQL: passive, Support: Full},
}

// shutdownList has the devices to tell, in the order in which they were registered. Each has a
// reference. Kernel.mu guards it.
type shutdownList struct {
	early, late []*devobj.Device
}

func (c *Call) registerShutdown(device guest.Addr, list *[]*devobj.Device) nt.Status {
	d := c.deviceObject(device)
	c.Ob.Reference(device)
	c.mu.Lock()
	*list = append(*list, d)
	c.mu.Unlock()
	return nt.STATUS_SUCCESS
}

// ioRegisterShutdownNotification has a device sent IRP_MJ_SHUTDOWN before file systems are flushed.
// What was registered last is told first.
//
//	NTSTATUS IoRegisterShutdownNotification(PDEVICE_OBJECT DeviceObject)
//
// "IoRegisterShutdownNotification function (wdm.h)".
func ioRegisterShutdownNotification(c *Call, device guest.Addr) nt.Status {
	return c.registerShutdown(device, &c.shutdown.early)
}

// ioRegisterLastChanceShutdownNotification is the same after file systems are flushed, and so after
// all that were registered in the other way.
//
//	NTSTATUS IoRegisterLastChanceShutdownNotification(PDEVICE_OBJECT DeviceObject)
//
// "IoRegisterLastChanceShutdownNotification function (ntddk.h)".
func ioRegisterLastChanceShutdownNotification(c *Call, device guest.Addr) nt.Status {
	return c.registerShutdown(device, &c.shutdown.late)
}

// ioUnregisterShutdownNotification takes back every registration of a device.
//
//	VOID IoUnregisterShutdownNotification(PDEVICE_OBJECT DeviceObject)
//
// "IoUnregisterShutdownNotification function (wdm.h)".
func ioUnregisterShutdownNotification(c *Call, device guest.Addr) {
	d := c.deviceObject(device)
	n := 0
	c.mu.Lock()
	for _, list := range []*[]*devobj.Device{&c.shutdown.early, &c.shutdown.late} {
		*list = slices.DeleteFunc(*list, func(o *devobj.Device) bool {
			if o == d {
				n++
			}
			return o == d
		})
	}
	c.mu.Unlock()
	for range n {
		c.Ob.Dereference(device) // the registration's, so that there is one
	}
}

// forgetShutdown drops the registrations of a driver that is gone.
func (k *Kernel) forgetShutdown(driver *devobj.Driver) {
	var gone []*devobj.Device
	k.mu.Lock()
	for _, list := range []*[]*devobj.Device{&k.shutdown.early, &k.shutdown.late} {
		*list = slices.DeleteFunc(*list, func(d *devobj.Device) bool {
			if d.Driver == driver {
				gone = append(gone, d)
			}
			return d.Driver == driver
		})
	}
	k.mu.Unlock()
	for _, d := range gone {
		k.Ob.Dereference(d.Object.Addr())
	}
}

// Shutdown tells the devices that are registered for it that the system shuts down, one after the
// other, until late is closed. stuck is the device whose driver had not completed its IRP by then. The
// error is a crash.
func (k *Kernel) Shutdown(late <-chan struct{}) (stuck *devobj.Device, err error) {
	k.mu.Lock()
	last := k.shutdown
	k.shutdown = shutdownList{}
	k.mu.Unlock()
	slices.Reverse(last.early)
	slices.Reverse(last.late)
	for _, d := range slices.Concat(last.early, last.late) {
		done, sent := make(chan struct{}), make(chan error, 1)
		go func() {
			sent <- k.onSystemThread(func(t *ke.Thread) {
				k.sendShutdown(t, d, func() { close(done) })
			})
		}()
		for waiting := done; waiting != nil || sent != nil; {
			select {
			case <-waiting:
				waiting = nil
			case err := <-sent:
				if err != nil {
					return nil, err
				}
				sent = nil
			case <-late:
				return d, nil
			}
		}
	}
	return nil, nil
}

// sendShutdown sends the IRP to the top of a device's stack, and gives the device's reference back.
func (k *Kernel) sendShutdown(t *ke.Thread, d *devobj.Device, done func()) {
	defer k.Ob.Dereference(d.Object.Addr())
	if k.Dev.Deleted(d) {
		done()
		return
	}
	top := k.Dev.Top(d)
	a := k.IO.Build(t, top, func(_ *nt.IRP, loc *nt.IOStackLocation) {
		loc.MajorFunction = nt.IRP_MJ_SHUTDOWN
	}, func(*ke.Thread, irp.Ended) { done() })
	if a == 0 {
		done() // without memory a system shuts down all the same
		return
	}
	k.IO.Call(t, top.Object.Addr(), a)
}
