package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Interrupt objects by way of parameters in a structure.
var ioInterruptExExports = []Export{
	{Name: "IoConnectInterruptEx", Fn: fn1(ioConnectInterruptEx), Params: "Parameters",
		MaxIRQL: passive, Support: Partial, Note: "no device has interrupts: what is not fully " +
			"specified is STATUS_NOT_FOUND, and no routine is called"},
	{Name: "IoDisconnectInterruptEx", Fn: do1(ioDisconnectInterruptEx), Params: "Parameters",
		MaxIRQL: passive, Support: Full},
}

// What IO_CONNECT_INTERRUPT_PARAMETERS describes, by its version.
const (
	connectFullySpecified      = 1
	connectLineBased           = 2
	connectMessageBased        = 3
	connectFullySpecifiedGroup = 4
	connectMessageBasedPassive = 5
)

// connectParameters is IO_CONNECT_INTERRUPT_PARAMETERS with what is fully specified. The others
// have the same members up to ServiceContext.
type connectParameters struct {
	Version         uint32
	Device          guest.Addr
	InterruptObject guest.Addr
	ServiceRoutine  guest.Addr
	ServiceContext  guest.Addr
	SpinLock        guest.Addr
	SynchronizeIrql nt.IRQL
	FloatingSave    nt.Boolean
	ShareVector     nt.Boolean
	Vector          uint32
	Irql            nt.IRQL
	InterruptMode   uint32
	Processors      uint64
	Group           uint16
}

// disconnectParameters is IO_DISCONNECT_INTERRUPT_PARAMETERS.
type disconnectParameters struct {
	Version         uint32
	InterruptObject guest.Addr
}

// ioConnectInterruptEx makes an interrupt object. Interrupts that the system would find by the
// device, those of a line and those with messages, are not there.
//
//	NTSTATUS IoConnectInterruptEx(PIO_CONNECT_INTERRUPT_PARAMETERS Parameters)
//
// STATUS_INVALID_PARAMETER_1 for a version that there is not, STATUS_INVALID_PARAMETER without a
// device, STATUS_NOT_FOUND for a device without interrupts, STATUS_INVALID_PARAMETER_10 for a mask without
// a processor of the system, and what IoConnectInterrupt gives. "IoConnectInterruptEx function
// (wdm.h)".
func ioConnectInterruptEx(c *Call, parameters guest.Addr) nt.Status {
	version, device := Load[uint32](c, parameters), Load[guest.Addr](c, parameters+8)
	if version < connectFullySpecified || version > connectMessageBasedPassive {
		return nt.STATUS_INVALID_PARAMETER_1
	}
	if device == 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	if version != connectFullySpecified && version != connectFullySpecifiedGroup {
		return nt.STATUS_NOT_FOUND
	}
	p := Load[connectParameters](c, parameters)
	if p.Processors&c.Ke.ActiveProcessors() == 0 ||
		version == connectFullySpecifiedGroup && p.Group != 0 {
		return nt.STATUS_INVALID_PARAMETER_10
	}
	return c.connectInterrupt(p.InterruptObject, interruptObject{ServiceRoutine: p.ServiceRoutine,
		ServiceContext: p.ServiceContext, ActualLock: p.SpinLock, Vector: p.Vector, Irql: p.Irql,
		SynchronizeIrql: p.SynchronizeIrql}, p.Processors)
}

// ioDisconnectInterruptEx gives it back.
//
//	VOID IoDisconnectInterruptEx(PIO_DISCONNECT_INTERRUPT_PARAMETERS Parameters)
//
// "IoDisconnectInterruptEx function (wdm.h)".
func ioDisconnectInterruptEx(c *Call, parameters guest.Addr) {
	ioDisconnectInterrupt(c, Load[disconnectParameters](c, parameters).InterruptObject)
}
