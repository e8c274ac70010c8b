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
		Params: "Callout Parameter Size", MaxIRQL: apc, Support: Partial, Note: noExpansion},
	{Name: "KeExpandKernelStackAndCalloutEx", Fn: fn5(keExpandKernelStackAndCalloutEx),
		Params: "Callout Parameter Size Wait:b Context", MaxIRQL: dispatch, Support: Partial,
		Note: noExpansion},
}

const noExpansion = "the stack is not expanded: STATUS_NO_MEMORY if the size is more than is left of it"

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

// keExpandKernelStackAndCallout calls a routine with a guarantee of stack space.
//
//	NTSTATUS KeExpandKernelStackAndCallout(PEXPAND_STACK_CALLOUT Callout, PVOID Parameter,
//	    SIZE_T Size)
//
// STATUS_INVALID_PARAMETER_3 for more than MAXIMUM_EXPANSION_SIZE, STATUS_NO_MEMORY.
// "KeExpandKernelStackAndCallout function (ntddk.h)".
func keExpandKernelStackAndCallout(c *Call, callout guest.Addr, parameter, size uint64) nt.Status {
	if size > maximumExpansion {
		return nt.STATUS_INVALID_PARAMETER_3
	}
	if ioGetRemainingStackSize(c) < size+calloutFrame {
		return nt.STATUS_NO_MEMORY
	}
	c.T.Call(callout, parameter)
	return nt.STATUS_SUCCESS
}

// keExpandKernelStackAndCalloutEx is the same; with Wait the IRQL must be below DISPATCH_LEVEL.
//
//	NTSTATUS KeExpandKernelStackAndCalloutEx(PEXPAND_STACK_CALLOUT Callout, PVOID Parameter,
//	    SIZE_T Size, BOOLEAN Wait, PVOID Context)
//
// STATUS_INVALID_PARAMETER_4 for Wait at DISPATCH_LEVEL. "KeExpandKernelStackAndCalloutEx function
// (ntddk.h)".
func keExpandKernelStackAndCalloutEx(c *Call, callout guest.Addr, parameter, size uint64,
	wait nt.Boolean, context guest.Addr) nt.Status {
	if wait != 0 && c.T.IRQL() >= dispatch {
		return nt.STATUS_INVALID_PARAMETER_4
	}
	return keExpandKernelStackAndCallout(c, callout, parameter, size)
}
