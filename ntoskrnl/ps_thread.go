package ntoskrnl

import (
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Threads and processes: who runs, system threads.
var psThreadExports = []Export{
	{Name: "PsGetCurrentProcessId", Fn: fn0(psGetCurrentProcessId), MaxIRQL: dispatch,
		Support: Full},
	{Name: "PsGetCurrentThreadId", Fn: fn0(psGetCurrentThreadId), MaxIRQL: dispatch, Support: Full},
	{Name: "PsGetCurrentProcess", Fn: fn0(psGetCurrentProcess), MaxIRQL: dispatch, Support: Full},
	{Name: "IoGetCurrentProcess", Fn: fn0(psGetCurrentProcess), MaxIRQL: dispatch, Support: Full},
	{Name: "PsGetCurrentThread", Fn: fn0(psGetCurrentThread), MaxIRQL: dispatch, Support: Full},
	{Name: "KeGetCurrentThread", Fn: fn0(psGetCurrentThread), MaxIRQL: anyIRQL, Support: Full},
	{Name: "PsGetCurrentThreadProcess", Fn: fn0(psGetCurrentThreadProcess), MaxIRQL: dispatch,
		Support: Full},
	{Name: "PsGetCurrentThreadProcessId", Fn: fn0(psGetCurrentProcessId), MaxIRQL: dispatch,
		Support: Full},
	{Name: "PsGetProcessId", Fn: fn1(psGetProcessId), Params: "Process", MaxIRQL: dispatch,
		Support: Full},
	{Name: "PsGetThreadId", Fn: fn1(psGetThreadId), Params: "Thread", MaxIRQL: dispatch,
		Support: Full},
	{Name: "PsGetThreadProcessId", Fn: fn1(psGetThreadProcessId), Params: "Thread",
		MaxIRQL: dispatch, Support: Full},
	{Name: "PsGetThreadProcess", Fn: fn1(psGetThreadProcess), Params: "Thread", MaxIRQL: dispatch,
		Support: Full},
	{Name: "IoThreadToProcess", Fn: fn1(psGetThreadProcess), Params: "Thread", MaxIRQL: dispatch,
		Support: Full},
	{Name: "PsGetProcessImageFileName", Fn: fn1(psGetProcessImageFileName), Params: "Process",
		MaxIRQL: dispatch, Support: Full},
	{Name: "PsIsSystemThread", Fn: fn1(psIsSystemThread), Params: "Thread", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "PsInitialSystemProcess", Data: 8, MaxIRQL: anyIRQL, Support: Full,
		Init: func(k *Kernel) []byte { return addrBytes(k.Ke.SystemProcess.Object) }},
	{Name: "ExGetPreviousMode", Fn: fn0(exGetPreviousMode), MaxIRQL: anyIRQL, Support: Full},
	{Name: "PsCreateSystemThread", Fn: fn7(psCreateSystemThread),
		Params: "ThreadHandle DesiredAccess ObjectAttributes ProcessHandle ClientId " +
			"StartRoutine StartContext",
		MaxIRQL: passive, Support: Full},
	{Name: "PsTerminateSystemThread", Fn: fn1(psTerminateSystemThread), Params: "ExitStatus:status",
		MaxIRQL: passive, Support: Full},
	{Name: "KeSetPriorityThread", Fn: fn2(keSetPriorityThread), Params: "Thread Priority:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeQueryPriorityThread", Fn: fn1(keQueryPriorityThread), Params: "Thread",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeSetBasePriorityThread", Fn: fn2(keSetBasePriorityThread),
		Params: "Thread Increment:d", MaxIRQL: dispatch, Support: Full},
}

// psGetCurrentProcessId gives the identifier of the caller's process: a client's real one.
//
//	HANDLE PsGetCurrentProcessId(VOID)
//
// "PsGetCurrentProcessId function (ntddk.h)".
func psGetCurrentProcessId(c *Call) uintptr { return c.T.Process.ID }

// psGetCurrentThreadId gives the identifier of the calling thread.
//
//	HANDLE PsGetCurrentThreadId(VOID)
//
// "PsGetCurrentThreadId function (ntddk.h)".
func psGetCurrentThreadId(c *Call) uintptr { return c.T.ID }

// psGetCurrentProcess gives the caller's process, or the one that it is attached to.
//
//	PEPROCESS PsGetCurrentProcess(VOID)
//	PEPROCESS IoGetCurrentProcess(VOID)
//
// "PsGetCurrentProcess function (wdm.h)".
func psGetCurrentProcess(c *Call) guest.Addr { return c.T.CurrentProcess().Object }

// psGetCurrentThreadProcess gives the process that the calling thread belongs to.
//
//	PEPROCESS PsGetCurrentThreadProcess(VOID)
func psGetCurrentThreadProcess(c *Call) guest.Addr { return c.T.Process.Object }

// psGetCurrentThread gives the calling thread.
//
//	PETHREAD PsGetCurrentThread(VOID)
//	PKTHREAD KeGetCurrentThread(VOID)
//
// "PsGetCurrentThread function (wdm.h)".
func psGetCurrentThread(c *Call) guest.Addr { return c.T.Object }

// psGetProcessId gives the identifier of a process.
//
//	HANDLE PsGetProcessId(PEPROCESS Process)
//
// "PsGetProcessId function (ntddk.h)".
func psGetProcessId(c *Call, process guest.Addr) nt.Handle {
	return Load[nt.EProcess](c, process).UniqueProcessId
}

// thread gives a thread's object, which the driver passed. It may have ended.
func (c *Call) thread(a guest.Addr) nt.EThread {
	e := Load[nt.EThread](c, a)
	if e.Tcb.Header.Type != nt.ThreadObject {
		c.notAnObject(a, "ETHREAD")
	}
	return e
}

// psGetThreadId gives the identifier of a thread.
//
//	HANDLE PsGetThreadId(PETHREAD Thread)
func psGetThreadId(c *Call,
	thread guest.Addr) nt.Handle {
	return c.thread(thread).Cid.UniqueThread
}

// psGetThreadProcessId gives the identifier of a thread's process.
//
//	HANDLE PsGetThreadProcessId(PETHREAD Thread)
func psGetThreadProcessId(c *Call, thread guest.Addr) nt.Handle {
	return c.thread(thread).Cid.UniqueProcess
}

// psGetThreadProcess gives a thread's process.
//
//	PEPROCESS PsGetThreadProcess(PETHREAD Thread)
//	PEPROCESS IoThreadToProcess(PETHREAD Thread)
func psGetThreadProcess(c *Call,
	thread guest.Addr) guest.Addr {
	return c.thread(thread).Tcb.Process
}

// psGetProcessImageFileName gives the name of a process's image, of at most 14 characters, as it
// lies in the EPROCESS.
//
//	PUCHAR PsGetProcessImageFileName(PEPROCESS Process)
func psGetProcessImageFileName(c *Call, process guest.Addr) guest.Addr {
	Load[uint8](c, process+imageFileName)
	return process + imageFileName
}

// psIsSystemThread tells whether a thread belongs to the system.
//
//	BOOLEAN PsIsSystemThread(PETHREAD Thread)
//
// "PsIsSystemThread function (ntifs.h)".
func psIsSystemThread(c *Call, thread guest.Addr) nt.Boolean {
	return boolean(c.thread(thread).Tcb.MiscFlags&nt.KThreadMiscSystemThread != 0)
}

// exGetPreviousMode tells whether the caller's request came from user mode.
//
//	KPROCESSOR_MODE ExGetPreviousMode(VOID)
//
// "ExGetPreviousMode function (wdm.h)".
func exGetPreviousMode(c *Call) nt.ProcessorMode { return c.T.ETHREAD().Tcb.PreviousMode }

// psCreateSystemThread starts a thread.
//
//	NTSTATUS PsCreateSystemThread(PHANDLE ThreadHandle, ULONG DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes, HANDLE ProcessHandle, PCLIENT_ID ClientId,
//	    PKSTART_ROUTINE StartRoutine, PVOID StartContext)
//
// STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH. The thread
// belongs to the System process unless a handle to another one is given.
// "PsCreateSystemThread function (wdm.h)".
func psCreateSystemThread(c *Call, handle guest.Addr, access uint32, attributes guest.Addr,
	process nt.Handle, clientID, routine, context guest.Addr) nt.Status {
	a, status := c.attributesOf(attributes)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	p := c.Ke.SystemProcess
	if process != 0 {
		if p, status = c.processOf(process); status != nt.STATUS_SUCCESS {
			return status
		}
		defer c.dereference(c.Ob.Find(p.Object))
	}
	Store(c, handle, nt.Handle(0))
	// The thread waits until the caller has its handle. It waits without a processor: the caller may
	// lose its own meanwhile, in a driver's routine that is told of the thread.
	var ready, run atomic.Bool
	t, err := c.Ke.StartSystemThread(p, func(t *ke.Thread) {
		if !ready.Load() {
			t.Park(ready.Load)
		}
		if run.Load() {
			t.Call(routine, uint64(context))
		}
	}, nil)
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	defer func() {
		ready.Store(true)
		t.Unpark()
	}()
	e := t.ETHREAD()
	e.StartAddress, e.Win32StartAddress = routine, routine
	StoreOpt(c, clientID, e.Cid)
	h, status := c.newHandle(c.Ob.Find(t.Object), access, a.attributes)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	c.giveHandle(handle, h)
	c.threadNotify(c.T, t, nt.TRUE)
	t.Ending = c.Kernel.ThreadEnding
	run.Store(true)
	return nt.STATUS_SUCCESS
}

// psTerminateSystemThread ends the calling thread.
//
//	NTSTATUS PsTerminateSystemThread(NTSTATUS ExitStatus)
//
// It returns only if the caller is no system thread: STATUS_INVALID_PARAMETER. A work item that
// ends its worker is the bugcheck ACTIVE_EX_WORKER_THREAD_TERMINATION. "PsTerminateSystemThread
// function (wdm.h)".
func psTerminateSystemThread(c *Call, status nt.Status) nt.Status {
	if c.T.IsWorker() {
		c.T.Bugcheck(nt.ACTIVE_EX_WORKER_THREAD_TERMINATION, uint64(c.T.Object), 0, 0, 0)
	}
	if !c.T.IsSystemThread() {
		return nt.STATUS_INVALID_PARAMETER
	}
	c.T.Exit(status)
	return status
}

// keSetPriorityThread sets a thread's priority, which is recorded and has no other effect.
//
//	KPRIORITY KeSetPriorityThread(PKTHREAD Thread, KPRIORITY Priority)
//
// The old priority. "KeSetPriorityThread function (wdm.h)".
func keSetPriorityThread(c *Call, thread guest.Addr, priority int32) int32 {
	c.thread(thread)
	old := Load[int8](c, thread+threadPriority)
	Store(c, thread+threadPriority, int8(priority))
	return int32(old)
}

// keQueryPriorityThread gives a thread's priority.
//
//	KPRIORITY KeQueryPriorityThread(PKTHREAD Thread)
//
// "KeQueryPriorityThread function (ntddk.h)".
func keQueryPriorityThread(c *Call, thread guest.Addr) int32 {
	c.thread(thread)
	return int32(Load[int8](c, thread+threadPriority))
}

// keSetBasePriorityThread sets a thread's priority relative to its process's, which is 8.
//
//	LONG KeSetBasePriorityThread(PKTHREAD Thread, LONG Increment)
//
// The old increment. "KeSetBasePriorityThread function (ntddk.h)".
func keSetBasePriorityThread(c *Call, thread guest.Addr, increment int32) int32 {
	e := c.thread(thread)
	Store(c, thread+threadBasePriority, int8(normalBasePriority+max(-2, min(increment, 2))))
	return int32(e.Tcb.BasePriority) - normalBasePriority
}

// normalBasePriority is the base priority of an ordinary process and of the System process.
const normalBasePriority = 8
