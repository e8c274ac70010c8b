package ntoskrnl

import (
	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// The kernel stack.
var keStackExports = []Export{
	{Name: "IoGetStackLimits", Fn: do2(ioGetStackLimits), Params: "LowLimit HighLimit",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoGetRemainingStackSize", Fn: fn0(ioGetRemainingStackSize), MaxIRQL: dispatch,
		Support: Full},
	{Name: "IoGetInitialStack", Fn: fn0(ioGetInitialStack), MaxIRQL: dispatch, Support: Full},
	{Name: "KeExpandKernelStackAndCallout", Fn: fn3(keExpandKernelStackAndCallout),
		Params: "Callout Parameter Size", MaxIRQL: apc, Support: Full},
	{Name: "KeExpandKernelStackAndCalloutEx", Fn: fn5(keExpandKernelStackAndCalloutEx),
		Params: "Callout Parameter Size Wait:b Context", MaxIRQL: dispatch, Support: Full},
}

// ioGetStackLimits gives the bounds of the calling thread's stack.
//
//	VOID IoGetStackLimits(PULONG_PTR LowLimit, PULONG_PTR HighLimit)
//
// "IoGetStackLimits function (ntddk.h)".
func ioGetStackLimits(c *Call, low, high guest.Addr) {
	Store(c, low, c.T.Stack().Base())
	Store(c, high, c.T.Stack().Top())
}

// ioGetRemainingStackSize gives the bytes that are left of the stack.
//
//	ULONG_PTR IoGetRemainingStackSize(VOID)
//
// "IoGetRemainingStackSize function (wdm.h)".
func ioGetRemainingStackSize(c *Call) uint64 {
	return c.ctx.GPR[engine.RSP] - uint64(c.T.Stack().Base())
}

// ioGetInitialStack gives where the calling thread's stack begins.
//
//	PVOID IoGetInitialStack(VOID)
//
// "IoGetInitialStack function (ntddk.h)".
func ioGetInitialStack(c *Call) guest.Addr { return c.T.ETHREAD().Tcb.InitialStack }

// maximumExpansion is MAXIMUM_EXPANSION_SIZE on x64: a large kernel stack less half a page.
const maximumExpansion = 0x12000 - guest.PageSize/2

// calloutFrame is what a call of the routine itself needs of the stack, in bytes.
const calloutFrame = 0x100

// keExpandKernelStackAndCallout calls a routine with a guarantee of stack space: on the stack as it
// is if enough is left of it, else on an expanded one, whose limits are those of the thread
// meanwhile.
//
//	NTSTATUS KeExpandKernelStackAndCallout(PEXPAND_STACK_CALLOUT Callout, PVOID Parameter,
//	    SIZE_T Size)
//
// STATUS_INVALID_PARAMETER_3 for more than MAXIMUM_EXPANSION_SIZE, STATUS_NO_MEMORY;
// STATUS_STACK_OVERFLOW when expansions inside each other have used up the expanded stack. An
// exception passes the routine's frames to those of the caller. A thread that ends in the routine
// is a bugcheck. "KeExpandKernelStackAndCallout function (ntddk.h)".
func keExpandKernelStackAndCallout(c *Call, callout guest.Addr, parameter, size uint64) nt.Status {
	if size > maximumExpansion {
		return nt.STATUS_INVALID_PARAMETER_3
	}
	switch {
	case ioGetRemainingStackSize(c) >= size+calloutFrame:
		c.T.Call(callout, parameter)
	case c.T.Expanded():
		return nt.STATUS_STACK_OVERFLOW
	case c.T.CallExpanded(callout, parameter) != nil:
		return nt.STATUS_NO_MEMORY
	}
	return nt.STATUS_SUCCESS
}

// keExpandKernelStackAndCalloutEx is the same; with Wait the IRQL must be below DISPATCH_LEVEL.
// There is nothing that could be waited for: memory is there or is not.
//
//	NTSTATUS KeExpandKernelStackAndCalloutEx(PEXPAND_STACK_CALLOUT Callout, PVOID Parameter,
//	    SIZE_T Size, BOOLEAN Wait, PVOID Context)
//
// Also STATUS_INVALID_PARAMETER_4 for Wait at DISPATCH_LEVEL. "KeExpandKernelStackAndCalloutEx
// function (ntddk.h)".
func keExpandKernelStackAndCalloutEx(c *Call, callout guest.Addr, parameter, size uint64,
	wait nt.Boolean, context guest.Addr) nt.Status {
	if size > maximumExpansion {
		return nt.STATUS_INVALID_PARAMETER_3
	}
	if wait != 0 && c.T.IRQL() >= dispatch {
		return nt.STATUS_INVALID_PARAMETER_4
	}
	return keExpandKernelStackAndCallout(c, callout, parameter, size)
}
