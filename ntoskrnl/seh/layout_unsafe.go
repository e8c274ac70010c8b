package seh

import (
	"unsafe"

	"github.com/drvhost/drvhost/nt"
)

// Sizes and offsets of what lies on guest stacks.
const (
	sizeofExceptionFrame = uint64(unsafe.Sizeof(exceptionFrame{}))
	offsetContext        = nt.Addr(unsafe.Offsetof(exceptionFrame{}.Context))
	offsetUnwound        = nt.Addr(unsafe.Offsetof(exceptionFrame{}.Unwound))
	offsetRecord         = nt.Addr(unsafe.Offsetof(exceptionFrame{}.Record))
	offsetDispatcher     = nt.Addr(unsafe.Offsetof(exceptionFrame{}.Dispatcher))

	sizeofUnwindFrame      = uint64(unsafe.Sizeof(unwindFrame{}))
	offsetUnwindContext    = nt.Addr(unsafe.Offsetof(unwindFrame{}.Context))
	offsetUnwindRecord     = nt.Addr(unsafe.Offsetof(unwindFrame{}.Record))
	offsetUnwindDispatcher = nt.Addr(unsafe.Offsetof(unwindFrame{}.Dispatcher))

	sizeofPointers = uint64(unsafe.Sizeof(nt.ExceptionPointers{}))

	offsetFlags       = nt.Addr(unsafe.Offsetof(nt.ExceptionRecord{}.ExceptionFlags))
	offsetEstablisher = nt.Addr(unsafe.Offsetof(nt.DispatcherContext{}.EstablisherFrame))
	offsetScopeIndex  = nt.Addr(unsafe.Offsetof(nt.DispatcherContext{}.ScopeIndex))
)
