package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Deferred procedure calls.
var keDPCExports = []Export{
	{Name: "KeInitializeDpc", Fn: do3(keInitializeDpc),
		Params: "Dpc DeferredRoutine DeferredContext", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeInitializeThreadedDpc", Fn: do3(keInitializeThreadedDpc),
		Params: "Dpc DeferredRoutine DeferredContext", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeInsertQueueDpc", Fn: fn3(keInsertQueueDpc),
		Params: "Dpc SystemArgument1 SystemArgument2", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeRemoveQueueDpc", Fn: fn1(keRemoveQueueDpc), Params: "Dpc", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KeSetImportanceDpc", Fn: do2(keSetImportanceDpc), Params: "Dpc Importance:d",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeSetTargetProcessorDpc", Fn: do2(keSetTargetProcessorDpc), Params: "Dpc Number:d",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeSetTargetProcessorDpcEx", Fn: fn2(keSetTargetProcessorDpcEx),
		Params: "Dpc ProcNumber", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeFlushQueuedDpcs", Fn: do0(keFlushQueuedDpcs), MaxIRQL: passive, Support: Full},
}

// keInitializeDpc makes a DPC object.
//
//	VOID KeInitializeDpc(PRKDPC Dpc, PKDEFERRED_ROUTINE DeferredRoutine, PVOID DeferredContext)
//
// "KeInitializeDpc function (wdm.h)".
func keInitializeDpc(c *Call, dpc, routine, context guest.Addr) {
	c.Must(ke.InitializeDPC(dpc, routine, context, false))
}

// keInitializeThreadedDpc makes a threaded DPC object. Windows may run it at PASSIVE_LEVEL or at
// DISPATCH_LEVEL; here it is always the latter.
//
//	VOID KeInitializeThreadedDpc(PRKDPC Dpc, PKDEFERRED_ROUTINE DeferredRoutine,
//	    PVOID DeferredContext)
//
// "KeInitializeThreadedDpc function (wdm.h)", "Introduction to Threaded DPCs".
func keInitializeThreadedDpc(c *Call, dpc, routine, context guest.Addr) {
	c.Must(ke.InitializeDPC(dpc, routine, context, true))
}

// keInsertQueueDpc queues a DPC.
//
//	BOOLEAN KeInsertQueueDpc(PRKDPC Dpc, PVOID SystemArgument1, PVOID SystemArgument2)
//
// FALSE if it is queued already. "KeInsertQueueDpc function (wdm.h)".
func keInsertQueueDpc(c *Call, dpc guest.Addr, arg1, arg2 uint64) nt.Boolean {
	queued, err := c.T.QueueDPC(dpc, arg1, arg2)
	c.Must(err)
	return boolean(queued)
}

// keRemoveQueueDpc takes a DPC off its queue.
//
//	BOOLEAN KeRemoveQueueDpc(PRKDPC Dpc)
//
// FALSE if it was not queued. "KeRemoveQueueDpc function (wdm.h)".
func keRemoveQueueDpc(c *Call, dpc guest.Addr) nt.Boolean {
	removed, err := c.Ke.RemoveDPC(dpc)
	c.Must(err)
	return boolean(removed)
}

// keSetImportanceDpc sets how urgent a DPC is: one of HighImportance goes to the front of the
// queue. All are run as soon as they can be.
//
//	VOID KeSetImportanceDpc(PRKDPC Dpc, KDPC_IMPORTANCE Importance)
//
// "KeSetImportanceDpc function (wdm.h)".
func keSetImportanceDpc(c *Call, dpc guest.Addr, importance nt.DpcImportance) {
	c.Must(ke.SetDPCImportance(dpc, importance))
}

// keSetTargetProcessorDpc sets the processor that a DPC runs on. A number that the system does not
// have leaves the DPC as it is.
//
//	VOID KeSetTargetProcessorDpc(PRKDPC Dpc, CCHAR Number)
//
// "KeSetTargetProcessorDpc function (ntddk.h)".
func keSetTargetProcessorDpc(c *Call, dpc guest.Addr, number int8) {
	if err := c.Ke.SetDPCTarget(dpc, int(number)); err != nt.STATUS_INVALID_PARAMETER {
		c.Must(err)
	}
}

// keSetTargetProcessorDpcEx sets the processor that a DPC runs on.
//
//	NTSTATUS KeSetTargetProcessorDpcEx(PKDPC Dpc, PPROCESSOR_NUMBER ProcNumber)
//
// STATUS_INVALID_PARAMETER for a processor that the system does not have.
// "KeSetTargetProcessorDpcEx function (wdm.h)".
func keSetTargetProcessorDpcEx(c *Call, dpc, number guest.Addr) nt.Status {
	n := Load[nt.ProcessorNumber](c, number)
	if n.Group != 0 || n.Reserved != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	err := c.Ke.SetDPCTarget(dpc, int(n.Number))
	if err == nt.STATUS_INVALID_PARAMETER {
		return nt.STATUS_INVALID_PARAMETER
	}
	c.Must(err)
	return nt.STATUS_SUCCESS
}

// keFlushQueuedDpcs waits until every DPC that is queued now has run.
//
//	VOID KeFlushQueuedDpcs(VOID)
//
// "KeFlushQueuedDpcs function (wdm.h)".
func keFlushQueuedDpcs(c *Call) { c.T.FlushDPCs() }
