// Package ke is the kernel's core as plain Go: virtual processors, IRQL, threads, DPCs, the
// dispatcher's objects and waits, timers, and bugchecks.
//
// A [System] has a number of [Processor] tokens. Guest code runs only while its [Thread] holds one;
// a thread that waits gives its processor back. The token carries the KPCR, and in it the IRQL. At
// DISPATCH_LEVEL or above a thread keeps its processor, and DPCs run on a processor before it goes
// back below DISPATCH_LEVEL.
//
// A guest thread is used by one goroutine at a time, through [Thread.Do]; inside, [Thread.Call]
// calls guest code, and calls nest. Two things end a Do before its function returns, each a typed
// panic that Do recovers: the end of the thread (PsTerminateSystemThread), and a bugcheck, on whatever
// thread it happened. A third, [Thread.Resume], ends some of the Calls: guest code was unwound to a
// frame of an outer one. Go frames in between release what they hold by defer.
//
// What Windows documents as visible to drivers lives in guest memory: a DISPATCHER_HEADER's
// SignalState, a KDPC's DpcData, the KPCR's Irql. Go keeps, by address, only waiters and queue
// membership, and only for as long as something waits or is queued. Waiters are in buckets by
// address ([System.SetEvent], [Thread.WaitForSingleObject]); the lock of a bucket makes a
// transition of any object in it one step.
//
// A function gives an error for what is the driver's fault: a bad address, a status that is to be
// raised in the driver, or an error with a method BugCheck, such as [*ObjectError], for which
// Windows stops. Where it cannot go on, it ends the system itself, with [Thread.Crash].
//
// The package may import nt, guest and engine. Lock order: Thread.mu, then the buckets' locks by
// number, then the locks of the timer queue, of the workers and of a Processor's DPCs, then
// System.sched, then System.registry. No lock is held while guest code runs or while a thread waits
// for a processor, but for that which lets one GenericCallDPC run at a time. The lock of a thread's APCs
// comes before System.registry, and no other is taken with it.
package ke
