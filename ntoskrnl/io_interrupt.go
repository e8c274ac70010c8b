package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Interrupt objects. No device interrupts: an object is there for its lock and its IRQL.
var ioInterruptExports = []Export{
	{Name: "IoConnectInterrupt", Fn: ioConnectInterrupt,
		Params: "InterruptObject ServiceRoutine ServiceContext SpinLock Vector Irql:d " +
			"SynchronizeIrql:d InterruptMode:d ShareVector:b ProcessorEnableMask FloatingSave:b",
		MaxIRQL: passive, Support: Partial, Note: "no interrupt comes, so the routine is not called"},
	{Name: "IoDisconnectInterrupt", Fn: do1(ioDisconnectInterrupt), Params: "InterruptObject",
		MaxIRQL: passive, Support: Full},
	{Name: "KeSynchronizeExecution", Fn: fn3(keSynchronizeExecution),
		Params: "Interrupt SynchronizeRoutine SynchronizeContext", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeAcquireInterruptSpinLock", Fn: fn1(keAcquireInterruptSpinLock), Params: "Interrupt",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeReleaseInterruptSpinLock", Fn: do2(keReleaseInterruptSpinLock),
		Params: "Interrupt OldIrql:d", MaxIRQL: anyIRQL, Support: Full},
}

// interruptObject is KINTERRUPT, which is opaque to drivers.
type interruptObject struct {
	Type            int16
	Size            int16
	SpinLock        uintptr // if the driver has given none
	ActualLock      guest.Addr
	ServiceRoutine  guest.Addr
	ServiceContext  guest.Addr
	Vector          uint32
	Irql            nt.IRQL
	SynchronizeIrql nt.IRQL
}

// ioConnectInterrupt makes an interrupt object.
//
//	NTSTATUS IoConnectInterrupt(PKINTERRUPT *InterruptObject, PKSERVICE_ROUTINE ServiceRoutine,
//	    PVOID ServiceContext, PKSPIN_LOCK SpinLock, ULONG Vector, KIRQL Irql,
//	    KIRQL SynchronizeIrql, KINTERRUPT_MODE InterruptMode, BOOLEAN ShareVector,
//	    KAFFINITY ProcessorEnableMask, BOOLEAN FloatingSave)
//
// STATUS_INVALID_PARAMETER for a mask without a processor of the system, a missing routine, or a level
// that is none of devices; STATUS_INSUFFICIENT_RESOURCES. "IoConnectInterrupt function (wdm.h)".
func ioConnectInterrupt(c *Call) uint64 {
	o := interruptObject{ServiceRoutine: guest.Addr(c.Arg(1)), ServiceContext: guest.Addr(c.Arg(2)),
		ActualLock: guest.Addr(c.Arg(3)), Vector: uint32(c.Arg(4)), Irql: nt.IRQL(c.Arg(5)),
		SynchronizeIrql: nt.IRQL(c.Arg(6))}
	return uint64(c.connectInterrupt(guest.Addr(c.Arg(0)), o, c.Arg(9)))
}

// connectInterrupt makes an interrupt object of what the driver wants, for the processors of a mask.
func (c *Call) connectInterrupt(result guest.Addr, o interruptObject, mask uint64) nt.Status {
	o.Type, o.Size = int16(nt.InterruptObject), int16(sizeofInterrupt)
	if o.ServiceRoutine == 0 || mask&c.Ke.ActiveProcessors() == 0 ||
		o.SynchronizeIrql > nt.HIGH_LEVEL || o.Irql > o.SynchronizeIrql || o.Irql <= dispatch {
		return nt.STATUS_INVALID_PARAMETER
	}
	Store(c, result, guest.Addr(0))
	a, err := c.allocObject(sizeofInterrupt)
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	if o.ActualLock == 0 {
		o.ActualLock = a + interruptLock
	}
	Store(c, a, o)
	Store(c, result, a)
	return nt.STATUS_SUCCESS
}

// interrupt gives an interrupt object, which the driver passed.
func (c *Call) interrupt(a guest.Addr) interruptObject {
	o := Load[interruptObject](c, a)
	if o.Type != int16(nt.InterruptObject) {
		c.notAnObject(a, "KINTERRUPT")
	}
	return o
}

// ioDisconnectInterrupt gives it back.
//
//	VOID IoDisconnectInterrupt(PKINTERRUPT InterruptObject)
//
// "IoDisconnectInterrupt function (wdm.h)".
func ioDisconnectInterrupt(c *Call, interrupt guest.Addr) {
	c.interrupt(interrupt)
	c.freeObject(interrupt)
}

// keSynchronizeExecution calls a routine as the interrupt's own is called: at its level, with its lock.
//
//	BOOLEAN KeSynchronizeExecution(PKINTERRUPT Interrupt, PKSYNCHRONIZE_ROUTINE SynchronizeRoutine,
//	    PVOID SynchronizeContext)
//
// What the routine returns. "KeSynchronizeExecution function (wdm.h)".
func keSynchronizeExecution(c *Call, interrupt, routine, context guest.Addr) nt.Boolean {
	old := keAcquireInterruptSpinLock(c, interrupt)
	result := nt.Boolean(c.T.Call(routine, uint64(context)))
	keReleaseInterruptSpinLock(c, interrupt, old)
	return result
}

// keAcquireInterruptSpinLock raises to the interrupt's level and takes its lock.
//
//	KIRQL KeAcquireInterruptSpinLock(PKINTERRUPT Interrupt)
//
// The IRQL from before. "KeAcquireInterruptSpinLock function (wdm.h)".
func keAcquireInterruptSpinLock(c *Call, interrupt guest.Addr) nt.IRQL {
	o := c.interrupt(interrupt)
	old := c.T.RaiseIRQL(o.SynchronizeIrql)
	c.Must(c.T.AcquireSpinLock(o.ActualLock))
	return old
}

// keReleaseInterruptSpinLock gives the lock back and lowers the IRQL.
//
//	VOID KeReleaseInterruptSpinLock(PKINTERRUPT Interrupt, KIRQL OldIrql)
//
// "KeReleaseInterruptSpinLock function (wdm.h)".
func keReleaseInterruptSpinLock(c *Call, interrupt guest.Addr, old nt.IRQL) {
	c.Must(c.T.ReleaseSpinLock(c.interrupt(interrupt).ActualLock))
	c.T.LowerIRQL(old)
}
