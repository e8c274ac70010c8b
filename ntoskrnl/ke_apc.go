package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Asynchronous procedure calls and alerts. Windows exports them without documenting them.
var keAPCExports = []Export{
	{Name: "KeInitializeApc", Fn: do8(keInitializeApc),
		Params: "Apc Thread Environment:d KernelRoutine RundownRoutine NormalRoutine " +
			"ProcessorMode:d NormalContext",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeInsertQueueApc", Fn: fn4(keInsertQueueApc),
		Params: "Apc SystemArgument1 SystemArgument2 Increment:d", MaxIRQL: dispatch,
		Support: Partial, Note: "a client has no user mode here: of an APC for that mode only the " +
			"kernel routine is called"},
	{Name: "KeRemoveQueueApc", Fn: fn1(keRemoveQueueApc), Params: "Apc", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeAlertThread", Fn: fn2(keAlertThread), Params: "Thread AlertMode:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeTestAlertThread", Fn: fn1(keTestAlertThread), Params: "AlertMode:d", MaxIRQL: dispatch,
		Support: Full},
}

// keInitializeApc makes an APC for a thread. One without a NormalRoutine is a special kernel APC.
//
//	VOID KeInitializeApc(PRKAPC Apc, PRKTHREAD Thread, KAPC_ENVIRONMENT Environment,
//	    PKKERNEL_ROUTINE KernelRoutine, PKRUNDOWN_ROUTINE RundownRoutine,
//	    PKNORMAL_ROUTINE NormalRoutine, KPROCESSOR_MODE ProcessorMode, PVOID NormalContext)
func keInitializeApc(c *Call, apc, thread guest.Addr, environment uint32, kernel, rundown,
	normal guest.Addr, mode nt.ProcessorMode, context guest.Addr) {
	c.Must(ke.InitializeAPC(apc, ke.APC{Thread: thread, Environment: environment, Kernel: kernel,
		Rundown: rundown, Normal: normal, Mode: mode & nt.UserMode, Context: context}))
}

// keInsertQueueApc queues an APC. It runs when its thread allows that.
//
//	BOOLEAN KeInsertQueueApc(PRKAPC Apc, PVOID SystemArgument1, PVOID SystemArgument2,
//	    KPRIORITY Increment)
//
// FALSE if it is queued already, or if the thread has ended.
func keInsertQueueApc(c *Call, apc guest.Addr, arg1, arg2 uint64, increment int32) nt.Boolean {
	queued, err := c.Ke.QueueAPC(apc, arg1, arg2)
	c.Must(err)
	return boolean(queued)
}

// keRemoveQueueApc takes an APC off its thread's queue.
//
//	BOOLEAN KeRemoveQueueApc(PRKAPC Apc)
//
// FALSE if it is not there.
func keRemoveQueueApc(c *Call, apc guest.Addr) nt.Boolean {
	removed, err := c.Ke.RemoveAPC(apc)
	c.Must(err)
	return boolean(removed)
}

// keAlertThread ends an alertable wait of a thread, now or when it begins.
//
//	BOOLEAN KeAlertThread(PKTHREAD Thread, KPROCESSOR_MODE AlertMode)
//
// Whether it was alerted already.
func keAlertThread(c *Call, thread guest.Addr, mode nt.ProcessorMode) nt.Boolean {
	t := c.Ke.ThreadAt(thread)
	if t == nil {
		e := c.thread(thread) // one that has ended
		return boolean(e.Tcb.Alerted[mode&nt.UserMode] != 0)
	}
	return boolean(t.Alert(mode & nt.UserMode))
}

// keTestAlertThread tells whether the calling thread was alerted, and forgets it.
//
//	BOOLEAN KeTestAlertThread(KPROCESSOR_MODE AlertMode)
func keTestAlertThread(c *Call, mode nt.ProcessorMode) nt.Boolean {
	return boolean(c.T.TestAlert(mode & nt.UserMode))
}
