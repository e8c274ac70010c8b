// Package engine is the seam between what runs guest code and what is a kernel.
//
// A guest thread is a [Context] (its registers, kept outside the Go heap) and a stack in guest
// memory. [CPU.Run] runs the context until the guest must come back to Go: it called an import,
// returned from the outermost call, faulted, or was kicked out. Go does the work on its own stack
// and calls Run again; nothing ever calls back into Go. [Context.PushCall] and [Context.PopCall]
// make a call of guest code from Go, on the guest stack that the thread already has, so calls
// nest. engine/native is the one implementation of CPU: assembly for amd64.
//
// The engine knows a calling convention, because it makes calls, and nothing else of Windows.
// It may import nt (for addresses) and guest. It takes no locks.
package engine
