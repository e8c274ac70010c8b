package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Processes: finding them and threads by their identifiers, and what they are.
var psProcessExports = []Export{
	{Name: "PsLookupProcessByProcessId", Fn: fn2(psLookupProcessByProcessId),
		Params: "ProcessId:d Process", MaxIRQL: apc, Support: Full},
	{Name: "PsLookupThreadByThreadId", Fn: fn2(psLookupThreadByThreadId),
		Params: "ThreadId:d Thread", MaxIRQL: apc, Support: Full},
	{Name: "PsLookupProcessThreadByCid", Fn: fn3(psLookupProcessThreadByCid),
		Params: "Cid Process Thread", MaxIRQL: apc, Support: Full},
	{Name: "PsGetProcessCreateTimeQuadPart", Fn: fn1(psGetProcessCreateTimeQuadPart),
		Params: "Process", MaxIRQL: dispatch, Support: Full},
	{Name: "PsGetProcessExitTime", Fn: fn0(psGetProcessExitTime), MaxIRQL: dispatch, Support: Full},
	{Name: "PsGetProcessExitStatus", Fn: fn1(psGetProcessExitStatus), Params: "Process",
		MaxIRQL: dispatch, Support: Full},
	{Name: "PsGetProcessExitProcessCalled", Fn: fn1(psGetProcessExitProcessCalled),
		Params: "Process", MaxIRQL: dispatch, Support: Full},
	{Name: "PsGetProcessInheritedFromUniqueProcessId",
		Fn: fn1(psGetProcessInheritedFromUniqueProcessId), Params: "Process", MaxIRQL: dispatch,
		Support: Full},
	{Name: "PsGetProcessPeb", Fn: fn1(psGetProcessPeb), Params: "Process", MaxIRQL: dispatch,
		Support: Partial, Note: noUserMode},
	{Name: "PsGetProcessWow64Process", Fn: fn1(psGetProcessWow64Process), Params: "Process",
		MaxIRQL: dispatch, Support: Partial, Note: noUserMode},
	{Name: "PsGetProcessSectionBaseAddress", Fn: fn1(psGetProcessSectionBaseAddress),
		Params: "Process", MaxIRQL: dispatch, Support: Partial, Note: noUserMode},
	{Name: "PsGetProcessWin32Process", Fn: fn1(psGetProcessWin32Process), Params: "Process",
		MaxIRQL: dispatch, Support: Partial, Note: noUserMode},
	{Name: "PsGetProcessJob", Fn: fn1(psGetProcessJob), Params: "Process", MaxIRQL: dispatch,
		Support: Partial, Note: "there are no jobs"},
	{Name: "PsGetProcessProtection", Fn: fn1(psGetProcessProtection), Params: "Process",
		MaxIRQL: dispatch, Support: Full},
	{Name: "PsIsProcessBeingDebugged", Fn: fn1(psIsProcessBeingDebugged), Params: "Process",
		MaxIRQL: dispatch, Support: Full},
	{Name: "PsGetProcessSessionId", Fn: fn1(psGetProcessSessionId), Params: "Process",
		MaxIRQL: dispatch, Support: Full},
	{Name: "PsGetProcessSessionIdEx", Fn: fn1(psGetProcessSessionId), Params: "Process",
		MaxIRQL: dispatch, Support: Full},
	{Name: "PsGetCurrentProcessSessionId", Fn: fn0(psGetCurrentProcessSessionId),
		MaxIRQL: dispatch, Support: Full},
	{Name: "PsIsSystemProcess", Fn: fn1(psIsSystemProcess), Params: "Process", MaxIRQL: dispatch,
		Support: Full},
	{Name: "PsIsThreadTerminating", Fn: fn1(psIsThreadTerminating), Params: "Thread",
		MaxIRQL: dispatch, Support: Full},
	{Name: "PsGetThreadExitStatus", Fn: fn1(psGetThreadExitStatus), Params: "Thread",
		MaxIRQL: dispatch, Support: Full},
	{Name: "PsGetThreadCreateTime", Fn: fn1(psGetThreadCreateTime), Params: "Thread",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ZwOpenProcess", Fn: fn4(zwOpenProcess),
		Params: "ProcessHandle DesiredAccess ObjectAttributes ClientId", MaxIRQL: passive,
		Support: Full},
	{Name: "ZwOpenThread", Fn: fn4(zwOpenThread),
		Params: "ThreadHandle DesiredAccess ObjectAttributes ClientId", MaxIRQL: passive,
		Support: Full},
	{Name: "KeStackAttachProcess", Fn: do2(keStackAttachProcess), Params: "Process ApcState",
		MaxIRQL: apc, Support: Full},
	{Name: "KeUnstackDetachProcess", Fn: do1(keUnstackDetachProcess), Params: "ApcState",
		MaxIRQL: apc, Support: Full},
	{Name: "KeAttachProcess", Fn: do1(keAttachProcess), Params: "Process", MaxIRQL: apc,
		Support: Full},
	{Name: "KeDetachProcess", Fn: do0(keDetachProcess), MaxIRQL: apc, Support: Full},
	{Name: "KeIsAttachedProcess", Fn: fn0(keIsAttachedProcess), MaxIRQL: anyIRQL, Support: Full},
}

const noUserMode = "always null: clients are Linux processes, and have no Windows user mode"

// process gives the process whose object the driver passed.
func (c *Call) process(a guest.Addr) *ke.Process {
	if o := c.Ob.Find(a); o != nil {
		if p, ok := o.Body.(*ke.Process); ok {
			return p
		}
	}
	c.notAnObject(a, "EPROCESS")
	return nil
}

// psLookupProcessByProcessId gives the process with an identifier, with a reference to it.
//
//	NTSTATUS PsLookupProcessByProcessId(HANDLE ProcessId, PEPROCESS *Process)
//
// STATUS_INVALID_CID. "PsLookupProcessByProcessId function (ntifs.h)".
func psLookupProcessByProcessId(c *Call, id uintptr, result guest.Addr) nt.Status {
	return c.lookup(ke.KindProcess, id, result)
}

// psLookupThreadByThreadId gives the thread with an identifier, with a reference to it.
//
//	NTSTATUS PsLookupThreadByThreadId(HANDLE ThreadId, PETHREAD *Thread)
//
// STATUS_INVALID_PARAMETER if there is none. "PsLookupThreadByThreadId function (ntifs.h)".
func psLookupThreadByThreadId(c *Call, id uintptr, result guest.Addr) nt.Status {
	if status := c.lookup(ke.KindThread, id, result); status != nt.STATUS_INVALID_CID {
		return status
	}
	return nt.STATUS_INVALID_PARAMETER
}

func (c *Call) lookup(kind ke.ObjectKind, id uintptr, result guest.Addr) nt.Status {
	o, status := c.lookupID(kind, id)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	if err := guest.StoreAddr(result, o.Addr); err != nil {
		c.dereference(o)
		c.Must(err)
	}
	return nt.STATUS_SUCCESS
}

// psLookupProcessThreadByCid gives a thread of a process, and the process unless that is not
// wanted, with references to both.
//
//	NTSTATUS PsLookupProcessThreadByCid(PCLIENT_ID Cid, PEPROCESS *Process, PETHREAD *Thread)
//
// STATUS_INVALID_CID. The function is not documented.
func psLookupProcessThreadByCid(c *Call, cid, process, thread guest.Addr) nt.Status {
	id := Load[nt.ClientID](c, cid)
	o, status := c.lookupID(ke.KindThread, uintptr(id.UniqueThread))
	if status != nt.STATUS_SUCCESS {
		return status
	}
	t := o.Body.(*ke.Thread)
	if id.UniqueProcess != 0 && uintptr(id.UniqueProcess) != t.Process.ID {
		c.dereference(o)
		return nt.STATUS_INVALID_CID
	}
	if process != 0 {
		obfReferenceObject(c, t.Process.Object) // the thread has a reference
		Store(c, process, t.Process.Object)
	}
	Store(c, thread, o.Addr)
	return nt.STATUS_SUCCESS
}

// eprocess gives the object of a process in place.
func (c *Call) eprocess(a guest.Addr) *nt.EProcess {
	return guest.Ptr[nt.EProcess](c.process(a).Object).Ref()
}

// psGetProcessCreateTimeQuadPart gives when a process was made, in system time.
//
//	LONGLONG PsGetProcessCreateTimeQuadPart(PEPROCESS Process)
//
// "PsGetProcessCreateTimeQuadPart function (ntddk.h)".
func psGetProcessCreateTimeQuadPart(c *Call, process guest.Addr) int64 {
	return c.eprocess(process).CreateTime
}

// psGetProcessExitTime gives when the current process has ended, in system time, or 0.
//
//	LARGE_INTEGER PsGetProcessExitTime(VOID)
//
// "PsGetProcessExitTime function (ntifs.h)".
func psGetProcessExitTime(c *Call) int64 { return c.eprocess(c.T.CurrentProcess().Object).ExitTime }

// psGetProcessExitStatus gives a process's exit status, STATUS_PENDING while it runs.
//
//	NTSTATUS PsGetProcessExitStatus(PEPROCESS Process)
func psGetProcessExitStatus(c *Call, process guest.Addr) nt.Status {
	return c.eprocess(process).ExitStatus
}

// psGetProcessExitProcessCalled tells whether a process has ended.
//
//	BOOLEAN PsGetProcessExitProcessCalled(PEPROCESS Process)
func psGetProcessExitProcessCalled(c *Call, process guest.Addr) nt.Boolean {
	return boolean(c.eprocess(process).Flags&nt.PS_PROCESS_FLAGS_PROCESS_EXITING != 0)
}

// psGetProcessInheritedFromUniqueProcessId gives the identifier of a process's parent, or 0 if it
// is not known.
//
//	HANDLE PsGetProcessInheritedFromUniqueProcessId(PEPROCESS Process)
func psGetProcessInheritedFromUniqueProcessId(c *Call, process guest.Addr) uintptr {
	return c.process(process).ParentID
}

// psGetProcessPeb gives the address of a process's PEB, of which there is none.
//
//	PPEB PsGetProcessPeb(PEPROCESS Process)
func psGetProcessPeb(c *Call, process guest.Addr) guest.Addr { return c.eprocess(process).Peb }

// psGetProcessWow64Process gives the address of a process's 32-bit PEB, of which there is none.
//
//	PVOID PsGetProcessWow64Process(PEPROCESS Process)
func psGetProcessWow64Process(c *Call, process guest.Addr) guest.Addr {
	return c.eprocess(process).WoW64Process
}

// psGetProcessSectionBaseAddress gives where a process's image is, which is not a Windows one.
//
//	PVOID PsGetProcessSectionBaseAddress(PEPROCESS Process)
func psGetProcessSectionBaseAddress(c *Call, process guest.Addr) guest.Addr {
	return c.eprocess(process).SectionBaseAddress
}

// psGetProcessWin32Process gives what the graphics system keeps for a process: nothing.
//
//	PVOID PsGetProcessWin32Process(PEPROCESS Process)
func psGetProcessWin32Process(c *Call, process guest.Addr) guest.Addr {
	return c.eprocess(process).Win32Process
}

// psGetProcessJob gives a process's job, of which there is none.
//
//	PEJOB PsGetProcessJob(PEPROCESS Process)
func psGetProcessJob(c *Call, process guest.Addr) guest.Addr { return c.eprocess(process).Job }

// psGetProcessProtection gives a process's protection: clients have none.
//
//	PS_PROTECTION PsGetProcessProtection(PEPROCESS Process)
func psGetProcessProtection(c *Call, process guest.Addr) uint8 {
	return c.eprocess(process).Protection
}

// psIsProcessBeingDebugged tells whether a process has a debug port.
//
//	BOOLEAN PsIsProcessBeingDebugged(PEPROCESS Process)
func psIsProcessBeingDebugged(c *Call, process guest.Addr) nt.Boolean {
	return boolean(c.eprocess(process).DebugPort != 0)
}

// psGetProcessSessionId gives a process's session: there is one, 0.
//
//	ULONG PsGetProcessSessionId(PEPROCESS Process)
func psGetProcessSessionId(c *Call, process guest.Addr) uint32 {
	c.process(process)
	return 0
}

// psGetCurrentProcessSessionId gives the current process's session: there is one, 0.
//
//	ULONG PsGetCurrentProcessSessionId(VOID)
func psGetCurrentProcessSessionId(*Call) uint32 { return 0 }

// psIsSystemProcess tells whether a process is the System process.
//
//	BOOLEAN PsIsSystemProcess(PEPROCESS Process)
func psIsSystemProcess(c *Call, process guest.Addr) nt.Boolean {
	return boolean(c.process(process) == c.Ke.SystemProcess)
}

// psIsThreadTerminating tells whether a thread has ended.
//
//	BOOLEAN PsIsThreadTerminating(PETHREAD Thread)
//
// "PsIsThreadTerminating function (ntifs.h)".
func psIsThreadTerminating(c *Call, thread guest.Addr) nt.Boolean {
	return boolean(c.thread(thread).CrossThreadFlags&nt.PS_CROSS_THREAD_FLAGS_TERMINATED != 0)
}

// psGetThreadExitStatus gives a thread's exit status, STATUS_PENDING while it runs.
//
//	NTSTATUS PsGetThreadExitStatus(PETHREAD Thread)
//
// "PsGetThreadExitStatus function (ntddk.h)".
func psGetThreadExitStatus(c *Call, thread guest.Addr) nt.Status {
	t := c.thread(thread)
	if t.CrossThreadFlags&nt.PS_CROSS_THREAD_FLAGS_TERMINATED == 0 {
		return nt.STATUS_PENDING
	}
	return t.ExitStatus
}

// psGetThreadCreateTime gives when a thread was made, in system time.
//
//	LONGLONG PsGetThreadCreateTime(PETHREAD Thread)
//
// "PsGetThreadCreateTime function (ntddk.h)".
func psGetThreadCreateTime(c *Call, thread guest.Addr) int64 { return c.thread(thread).CreateTime }

// zwOpenProcess makes a handle to the process with an identifier.
//
//	NTSTATUS ZwOpenProcess(PHANDLE ProcessHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes, PCLIENT_ID ClientId)
//
// STATUS_INVALID_CID; STATUS_INVALID_PARAMETER_MIX for a name, or without an identifier.
// "ZwOpenProcess function (ntddk.h)".
func zwOpenProcess(c *Call, result guest.Addr, access uint32, attributes,
	cid guest.Addr) nt.Status {
	return c.openID(result, access, attributes, cid, func(id nt.ClientID) objectID {
		return objectID{ke.KindProcess, uintptr(id.UniqueProcess)}
	})
}

// zwOpenThread makes a handle to the thread with an identifier.
//
//	NTSTATUS ZwOpenThread(PHANDLE ThreadHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes, PCLIENT_ID ClientId)
//
// As for ZwOpenProcess. "ZwOpenThread function (ntifs.h)".
func zwOpenThread(c *Call, result guest.Addr, access uint32, attributes, cid guest.Addr) nt.Status {
	return c.openID(result, access, attributes, cid, func(id nt.ClientID) objectID {
		return objectID{ke.KindThread, uintptr(id.UniqueThread)}
	})
}

// openID makes a handle to what a CLIENT_ID means.
func (c *Call) openID(result guest.Addr, access uint32, attributes, cid guest.Addr,
	which func(nt.ClientID) objectID) nt.Status {
	a, status := c.attributesOf(attributes)
	switch {
	case status != nt.STATUS_SUCCESS:
		return status
	case a.path != "" || cid == 0:
		return nt.STATUS_INVALID_PARAMETER_MIX
	}
	id := Load[nt.ClientID](c, cid)
	want := which(id)
	o, status := c.lookupID(want.kind, want.id)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(o)
	if id.UniqueThread != 0 && id.UniqueProcess != 0 {
		// Both are given: they must belong together.
		t, status := c.lookupID(ke.KindThread, uintptr(id.UniqueThread))
		if status != nt.STATUS_SUCCESS {
			return status
		}
		defer c.dereference(t)
		if t.Body.(*ke.Thread).Process.ID != uintptr(id.UniqueProcess) {
			return nt.STATUS_INVALID_CID
		}
	}
	h, status := c.newHandle(o, access, a.attributes)
	if status == nt.STATUS_SUCCESS {
		c.giveHandle(result, h)
	}
	return status
}

// keStackAttachProcess has the thread run in the memory of another process.
//
//	VOID KeStackAttachProcess(PRKPROCESS Process, PRKAPC_STATE ApcState)
//
// "KeStackAttachProcess function (ntifs.h)".
func keStackAttachProcess(c *Call, process, state guest.Addr) {
	c.Must(c.T.StackAttach(c.process(process), state))
}

// keUnstackDetachProcess undoes KeStackAttachProcess.
//
//	VOID KeUnstackDetachProcess(PRKAPC_STATE ApcState)
//
// The bugcheck INVALID_PROCESS_DETACH_ATTEMPT if the thread is not attached.
// "KeUnstackDetachProcess function (ntifs.h)".
func keUnstackDetachProcess(c *Call, state guest.Addr) { c.Must(c.T.DetachStack(state)) }

// keAttachProcess is KeStackAttachProcess, which it is older than: once only.
//
//	VOID KeAttachProcess(PRKPROCESS Process)
//
// The bugcheck INVALID_PROCESS_ATTACH_ATTEMPT if the thread is attached to another process.
func keAttachProcess(c *Call, process guest.Addr) { c.Must(c.T.Attach(c.process(process))) }

// keDetachProcess undoes KeAttachProcess.
//
//	VOID KeDetachProcess(VOID)
func keDetachProcess(c *Call) { c.Must(c.T.Detach()) }

// keIsAttachedProcess tells whether the thread is attached to another process.
//
//	BOOLEAN KeIsAttachedProcess(VOID)
func keIsAttachedProcess(c *Call) nt.Boolean { return boolean(c.T.IsAttached()) }
