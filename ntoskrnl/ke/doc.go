// Package ke is the kernel's core as plain Go: virtual processors, IRQL, threads, DPCs, the
// dispatcher's objects and waits, timers, and bugchecks.
//
// A [System] has a number of [Processor] tokens. Guest code runs only while its [Thread] holds one;
// a thread that waits gives its processor back. The token carries the KPCR, and in it the IRQL. At
// DISPATCH_LEVEL or above a thread keeps its processor, and DPCs run on a processor before it goes
// back below DISPATCH_LEVEL.
//
// A guest thread is used by one goroutine at a time, through [Thread.Do]; inside, [Thread.Call]
// calls guest code, and calls nest. Three things end a Do before its function returns, each a typed
// panic that Do recovers: the end of the thread (PsTerminateSystemThread), a bugcheck, on whatever
// thread it happened, and nothing else. Go frames in between release what they hold by defer.
//
// What Windows documents as visible to drivers lives in guest memory: a DISPATCHER_HEADER's
// SignalState, a KDPC's DpcData, the KPCR's Irql. Go keeps, by address, only waiters and queue
// membership, and only for as long as something waits or is queued.
//
// The package may import nt, guest and engine. Lock order: Thread.mu, then the dispatcher's locks
// in address order, then System.sched, then a Processor's DPC lock, then System.registry. No lock
// is held while guest code runs or while a thread waits for a processor.
package ke
