// Package ntoskrnl is the kernel that drivers import: the export table, and the [Kernel] that holds
// the parts together.
//
// Each export is one row ([Export]) and one Go function, in the file of its component: io_device.go
// has IoCreateDevice, ke_event.go KeSetEvent. The function is thin: it reads what the driver passed
// and calls the package that has the semantics (ntoskrnl/ke, /mm, /ob, /rtl, devobj, irp). The table
// appears in the driver's address space as the PE images ntoskrnl.exe and hal.dll, whose functions
// are thunks that leave for Go with the row's number.
//
// An export whose row has no function, and an import that no row answers, are bound to a thunk that
// reports the call, by name, caller and arguments, and raises STATUS_ENTRYPOINT_NOT_FOUND in the
// driver: nothing claims to have been done that was not.
//
// An export that must end early raises an exception in the driver with [Call.Raise] and its
// relatives, which do not return: if a handler takes the exception, the Go stack is unwound by panic
// to the call of the driver that goes on (see Resume of package ke's Thread); else it is a bugcheck.
// Functions that hold something release it by defer.
//
// The package may import everything but driverhost, client and cmd. Kernel.mu guards the list of
// drivers; Kernel.loadMu, which comes before it, is held while an unload begins. Neither is held
// while guest code runs.
package ntoskrnl
