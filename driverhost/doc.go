// Package driverhost is the host that drivers run in: it loads them into a kernel, opens their
// devices for clients in this process or in others, and contains a crash.
//
// A [Host] is one kernel with its drivers. In this process, [Host.Open] gives a [File]. For other
// processes, [Host.Serve] listens on a socket and makes every Win32 name of a device a link in the
// runtime directory (package wire). Every open file has a thread of its own, as far as the driver can
// see, and belongs to the process of its client.
//
// When a driver crashes, the host is over: every request, pending or new, fails at once with
// STATUS_DEVICE_REMOVED, and [Host.Crashed] tells why. Nothing outside the host is hurt.
//
// A file that a client closes gets CLEANUP, what pends is cancelled, and CLOSE follows when drivers
// have given back their references to it. [Host.Close] gives all this a while, then kicks out what
// still runs, and gives back the kernel's memory only when nobody uses it any more: whoever does is
// inside Host.gate.
//
// The package may import everything but client and cmd. Host.linkMu and Host.mu are not held together;
// what a kernel has comes after either. Neither is held while driver code runs.
package driverhost
