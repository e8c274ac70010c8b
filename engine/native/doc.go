// Package native is the engine that runs guest code on the CPU itself, in this process: a coroutine
// switch in assembly, for Linux on x86-64.
//
// How the pieces fit:
//
//	Run ─ entersyscall ─ enter ──────────► gateFast/gateFull ──► guest code
//	  ▲                    (Go's text)        (the gate page)        │ thunk: jump to a gate
//	  │                                                              ▼
//	  └ exitsyscall ◄───── leave ◄──────────────────────────── gateCall/gateReturn
//	                         ▲                                       │ fault, kick
//	                         └───────── signalHandler ◄──────────────┘
//
// While a thread is in the guest its goroutine counts as in a system call, so the garbage collector
// does not wait for it. The code that runs on a guest's stack lies in the gate page, a copy outside
// Go's text, so that the runtime's profiler never unwinds a guest stack as if it were a
// goroutine's.
//
// Every OS thread that runs guest code has an owner record, found by its FS base (which is the Go
// runtime's and unique per thread; a guest can change GS at will). The record says whether
// the thread is in the guest, in which context, and holds the selector byte of Linux' syscall user
// dispatch, so that raw system calls in guest code raise SIGSYS. It is made when the thread first
// runs a guest, and is void when the thread has ended: see arm.
//
// The signal handler looks the record up. A signal for a thread that is not in the guest goes to
// the handler that was there before, and so does one that is neither a fault nor a kick. For a
// fault or a kick in the guest, all registers are copied from the signal frame to the context, and
// the thread is sent to leave. Two ranges of code are the exception: on the way in, registers are half
// loaded, so the entry is rolled back; on the way out a kick is left for the next entry to see. The
// protocol is written down at enterWindow.
//
// With protection keys (UseKeys) Go's memory is read-only while a thread is in the guest: see
// keys_amd64.go.
//
// A program with cgo works as well (go test -race is one): the C library's threads reuse each
// other's FS base, and its signal handlers return through code that is not Go's, both of which is
// dealt with.
//
// It may import engine, guest and x/sys. It has one lock, for the allocation of contexts and for
// arming threads; nothing is called while it is held.
package native
