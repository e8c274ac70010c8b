// Package seh is Windows' structured exceptions on x64 as plain Go: unwinding by tables, the search
// for a handler, and the unwind to it.
//
// [Registers] is what unwinding changes. [Tables] finds the function that code belongs to, undoes
// one function's frame ([Tables.VirtualUnwind], RtlVirtualUnwind) and walks a stack
// ([Tables.Walk]). A [Dispatcher] looks for the handler of an exception ([Dispatcher.Dispatch]) and
// unwinds to a frame ([Dispatcher.Unwind], RtlUnwindEx), and it is __C_specific_handler
// ([Dispatcher.CSpecificHandler]). Handlers, filters and termination handlers are guest code, which
// it calls through the [Thread] that it was given.
//
// Tables, stacks and contexts are the driver's memory: they are read with the checked routines of
// package guest, every loop over them is bounded, and what makes no sense is an error.
//
// The package may import nt, guest, engine and pe. It has no locks.
package seh
