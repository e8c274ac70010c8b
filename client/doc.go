// Package client opens devices of driver hosts and does I/O with them.
//
//	f, err := client.Open(`\\.\Echo`)
//	n, err := f.DeviceIoControl(ctx, code, in, out)
//
// A [File] is an open file object in the host, and one thread to the driver. It may be used by many
// goroutines at once: each request is an IRP of its own, and they are matched by id, so several may
// be pending. One goroutine that uses a File alone sends and receives by itself, with no other
// goroutine in between; of several that wait, one receives for all.
//
// Errors are or wrap an nt.Status: errors.Is(err, nt.STATUS_INVALID_DEVICE_REQUEST). Every status
// that NT_SUCCESS accepts is no error. A warning, such as STATUS_BUFFER_OVERFLOW, comes with data
// and an error. When the host ends, what is pending and what follows fails with a [HostGoneError].
//
// A call blocks its thread, past Go's network poller (package wire says why). In a program with
// GOMAXPROCS=1 other goroutines may stand still meanwhile, for up to 10 ms.
//
// The package imports only nt and driverhost/wire.
//
// Lock order: File.mu alone; it is not held during a system call that can block.
package client
