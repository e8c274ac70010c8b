package ntoskrnl

import (
	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
)

// Cancel-safe queues of IRPs.
//
// The IRQL is that of the driver's own lock: with a spin lock a queue may be used up to
// DISPATCH_LEVEL, with a mutex up to APC_LEVEL.
var ioCSQExports = []Export{
	{Name: "IoCsqInitialize", Fn: fn7(ioCsqInitialize),
		Params: "Csq CsqInsertIrp CsqRemoveIrp CsqPeekNextIrp CsqAcquireLock CsqReleaseLock " +
			"CsqCompleteCanceledIrp",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "IoCsqInitializeEx", Fn: fn7(ioCsqInitializeEx),
		Params: "Csq CsqInsertIrp CsqRemoveIrp CsqPeekNextIrp CsqAcquireLock CsqReleaseLock " +
			"CsqCompleteCanceledIrp",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "IoCsqInsertIrp", Fn: do3(ioCsqInsertIrp), Params: "Csq Irp Context", MaxIRQL: dispatch,
		Support: Full},
	{Name: "IoCsqInsertIrpEx", Fn: fn4(ioCsqInsertIrpEx), Params: "Csq Irp Context InsertContext",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoCsqRemoveIrp", Fn: fn2(ioCsqRemoveIrp), Params: "Csq Context", MaxIRQL: dispatch,
		Support: Full},
	{Name: "IoCsqRemoveNextIrp", Fn: fn2(ioCsqRemoveNextIrp), Params: "Csq PeekContext",
		MaxIRQL: dispatch, Support: Full},
	{Name: symCSQCancel, Fn: do2(iopCsqCancelRoutine), Params: "DeviceObject Irp", MaxIRQL: dispatch,
		Support: Full, Internal: true},
}

// symCSQCancel is the cancel routine of IRPs in such queues.
const symCSQCancel = "IopCsqCancelRoutine"

// homeSpace gives the 32 bytes above the return address that a caller leaves for the one it calls.
func (c *Call) homeSpace() guest.Addr { return guest.Addr(c.ctx.GPR[engine.RSP]) + 8 }

func (c *Call) initializeCSQ(csq guest.Addr, q irp.CSQ) nt.Status {
	Store(c, csq, q)
	return nt.STATUS_SUCCESS
}

// ioCsqInitialize makes an IO_CSQ of the driver's routines.
//
//	NTSTATUS IoCsqInitialize(PIO_CSQ Csq, PIO_CSQ_INSERT_IRP CsqInsertIrp,
//	    PIO_CSQ_REMOVE_IRP CsqRemoveIrp, PIO_CSQ_PEEK_NEXT_IRP CsqPeekNextIrp,
//	    PIO_CSQ_ACQUIRE_LOCK CsqAcquireLock, PIO_CSQ_RELEASE_LOCK CsqReleaseLock,
//	    PIO_CSQ_COMPLETE_CANCELED_IRP CsqCompleteCanceledIrp)
//
// STATUS_SUCCESS. "IoCsqInitialize function (wdm.h)".
func ioCsqInitialize(c *Call, csq, insert, remove, peek, acquire, release,
	complete guest.Addr) nt.Status {
	return c.initializeCSQ(csq, irp.CSQ{Type: irp.CSQType, InsertIrp: insert, RemoveIrp: remove,
		PeekNextIrp: peek, AcquireLock: acquire, ReleaseLock: release, CompleteCanceled: complete})
}

// ioCsqInitializeEx does so with an insert routine that may refuse an IRP and gets a context.
//
//	NTSTATUS IoCsqInitializeEx(PIO_CSQ Csq, PIO_CSQ_INSERT_IRP_EX CsqInsertIrp,
//	    PIO_CSQ_REMOVE_IRP CsqRemoveIrp, PIO_CSQ_PEEK_NEXT_IRP CsqPeekNextIrp,
//	    PIO_CSQ_ACQUIRE_LOCK CsqAcquireLock, PIO_CSQ_RELEASE_LOCK CsqReleaseLock,
//	    PIO_CSQ_COMPLETE_CANCELED_IRP CsqCompleteCanceledIrp)
//
// STATUS_SUCCESS. "IoCsqInitializeEx function (wdm.h)".
func ioCsqInitializeEx(c *Call, csq, insert, remove, peek, acquire, release,
	complete guest.Addr) nt.Status {
	return c.initializeCSQ(csq, irp.CSQ{Type: irp.CSQExType, InsertIrp: insert, RemoveIrp: remove,
		PeekNextIrp: peek, AcquireLock: acquire, ReleaseLock: release, CompleteCanceled: complete})
}

// ioCsqInsertIrp puts an IRP into the queue and marks it pending.
//
//	VOID IoCsqInsertIrp(PIO_CSQ Csq, PIRP Irp, PIO_CSQ_IRP_CONTEXT Context)
//
// "IoCsqInsertIrp function (wdm.h)".
func ioCsqInsertIrp(c *Call, csq, irp, context guest.Addr) {
	ioCsqInsertIrpEx(c, csq, irp, context, 0)
}

// ioCsqInsertIrpEx puts an IRP into the queue and marks it pending, unless the driver's routine
// refuses it.
//
//	NTSTATUS IoCsqInsertIrpEx(PIO_CSQ Csq, PIRP Irp, PIO_CSQ_IRP_CONTEXT Context,
//	    PVOID InsertContext)
//
// What a CsqInsertIrpEx routine returns, else STATUS_SUCCESS. "IoCsqInsertIrpEx function (wdm.h)".
func ioCsqInsertIrpEx(c *Call, csq, irp, context, insertContext guest.Addr) nt.Status {
	status, err := c.IO.InsertCSQ(c.T, csq, irp, context, insertContext, c.homeSpace(),
		c.symbol(symCSQCancel))
	c.Must(err)
	return status
}

// ioCsqRemoveIrp takes one IRP out of the queue.
//
//	PIRP IoCsqRemoveIrp(PIO_CSQ Csq, PIO_CSQ_IRP_CONTEXT Context)
//
// NULL if it is there no more, or is being cancelled. "IoCsqRemoveIrp function (wdm.h)".
func ioCsqRemoveIrp(c *Call, csq, context guest.Addr) guest.Addr {
	irp, err := c.IO.RemoveCSQ(c.T, csq, context, c.homeSpace())
	c.Must(err)
	return irp
}

// ioCsqRemoveNextIrp takes the next IRP out of the queue, of those that the peek routine finds.
//
//	PIRP IoCsqRemoveNextIrp(PIO_CSQ Csq, PVOID PeekContext)
//
// NULL if there is none. "IoCsqRemoveNextIrp function (wdm.h)".
func ioCsqRemoveNextIrp(c *Call, csq, peekContext guest.Addr) guest.Addr {
	irp, err := c.IO.RemoveNextCSQ(c.T, csq, peekContext, c.homeSpace())
	c.Must(err)
	return irp
}

// iopCsqCancelRoutine is called, with the cancel spin lock held, when an IRP in a queue is cancelled.
func iopCsqCancelRoutine(c *Call, device, irp guest.Addr) {
	c.Must(c.IO.CancelCSQ(c.T, irp, c.homeSpace()))
}
