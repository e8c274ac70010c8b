// Package devobj has driver objects, device objects and file objects, device stacks and symbolic
// links: what I/O is sent through.
//
// The objects themselves are guest memory, as drivers see them ([nt.DriverObject],
// [nt.DeviceObject], [nt.FileObject]); the types here hold what Go adds: names, the module, who has
// a device open. A [Manager] makes them and finds a device by its name.
//
// A device that is deleted while it is open goes out of the namespace and out of its driver's list
// at once, and its memory when the last file is closed and the last reference given back. A driver
// object lives as long as one of its devices. A file object whose client has closed it lives until
// drivers have given back their references: only then IRP_MJ_CLOSE is due.
//
// The package may import nt, guest, pe and ntoskrnl/ob. Manager.mu guards the drivers' device
// lists and the devices' counts, and comes before the object manager's lock; guest code never runs
// while it is held. StartIO's lock is held for its own fields only. DriverInfo.Gone and
// Manager.Idle are called with no lock held.
package devobj
