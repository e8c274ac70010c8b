// Package irp has I/O request packets: how they are built from a client's request, how they go down
// a device stack, and how they are completed and cancelled.
//
// An IRP is guest memory, in the layout that drivers' inlined macros rely on. A [Request] is the
// client's side of one: its data, and the result once the IRP is completed. [Manager.Start] makes
// the IRP of a request, with buffers as the device's flags or the IOCTL's method ask, and calls the
// driver; [Manager.Complete] is IofCompleteRequest. A request is done when its IRP is completed and
// the first driver's dispatch routine has returned.
//
// IRPs are taken from slabs in nonpaged pool, so that the Go side of one is found from its address by arithmetic. What
// Go needs to finish an IRP is kept in Go; fields that a driver may have scribbled on are read once
// and checked before they are used.
//
// Drivers make IRPs too: [Manager.Allocate], [Manager.Build], [Manager.MakeAssociated], and
// [Manager.Initialize] in memory of their own. Those that a driver waits for belong to its thread,
// which cancels them when it ends ([Manager.CancelThread]). What dispatch and completion routines
// return is checked as Driver Verifier does (verify.go).
//
// When the kernel has crashed, no driver completes anything any more: a request whose Start has not
// returned is abandoned by its starter, and those that pend by [Open.AbandonAll].
//
// The package may import nt, guest, devobj and ntoskrnl/ke, /mm and /ob. Open.mu guards a file's
// list of pending requests, slabs.mu the free IRPs, owned.mu the threads' lists and foreign.mu the IRPs
// in memory of drivers; owned.mu may be taken inside Open.mu, and else none while another is held, nor
// is one held while guest code runs. The cancel spin lock may be held while guest code runs, and comes
// before Open.mu and owned.mu.
package irp
