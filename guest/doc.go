// Package guest owns the address space in which driver code and its data live, and every way in
// which Go touches it.
//
// There is one guest address space per process, [Default]: a user arena below 4 GiB and a system
// arena above 2^46, both reserved when Default is first called, plus single images that want an
// address outside of the two. A [Space] hands out a [Region] for each allocation and a [Stack] for
// each guest thread, and answers what lies at an address ([Space.Lookup], [Space.Describe]).
//
// Go reads and writes guest memory only through the functions of this package ([Read], [Write],
// [Load64], [CompareAndSwap32], [Ptr.Load], [ReadUnicodeString]…). They are built on assembly
// routines that the signal handler of this package knows: a bad address, also one that becomes bad
// in the middle of a copy, is a [*FaultError] and nothing else. They need no range check before
// them, because another thread could unmap the page after the check. In-place access ([Ptr.Ref],
// [Region.Bytes]) has no such guard and is for memory that the host itself allocated and keeps
// mapped.
//
// Call Default before the first access: it installs the handlers of SIGSEGV and SIGBUS. Faults
// that are not this package's go on to the handler that was installed before, so a nil dereference
// in Go stays a Go panic. A handler that is installed later must chain in the same way.
//
// The package imports nt and golang.org/x/sys only, and knows nothing of who runs the code.
//
// Lock order: stackPool.mu, then Region.mu, then Space.mu. Lookups take no lock.
package guest
