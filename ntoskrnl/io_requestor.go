package ntoskrnl

import (
	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Who an IRP is from, and whether somebody waits for it.
var ioRequestorExports = []Export{
	{Name: "IoGetRequestorProcess", Fn: fn1(ioGetRequestorProcess), Params: "Irp", MaxIRQL: dispatch,
		Support: Full},
	{Name: "IoGetRequestorProcessId", Fn: fn1(ioGetRequestorProcessID), Params: "Irp",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoGetRequestorSessionId", Fn: fn2(ioGetRequestorSessionID), Params: "Irp SessionId",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoIsOperationSynchronous", Fn: fn1(ioIsOperationSynchronous), Params: "Irp",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoGetTopLevelIrp", Fn: fn0(ioGetTopLevelIrp), MaxIRQL: dispatch, Support: Full},
	{Name: "IoSetTopLevelIrp", Fn: do1(ioSetTopLevelIrp), Params: "Irp", MaxIRQL: dispatch,
		Support: Full},
}

// requestor gives the process whose thread an IRP is from, or nil.
func (c *Call) requestor(irp guest.Addr) *ke.Process {
	thread := Load[nt.IRP](c, irp).Tail.Overlay.Thread
	if thread == 0 {
		return nil
	}
	if t := c.Ke.ThreadAt(thread); t != nil {
		return t.Process
	}
	return nil
}

// ioGetRequestorProcess gives the process whose thread an IRP is from.
//
//	PEPROCESS IoGetRequestorProcess(PIRP Irp)
//
// NULL if the IRP has no thread. "IoGetRequestorProcess function (ntifs.h)".
func ioGetRequestorProcess(c *Call, irp guest.Addr) guest.Addr {
	if p := c.requestor(irp); p != nil {
		return p.Object
	}
	return 0
}

// ioGetRequestorProcessID gives that process's identifier.
//
//	ULONG IoGetRequestorProcessId(PIRP Irp)
//
// 0 if the IRP has no thread. "IoGetRequestorProcessId function (ntifs.h)".
func ioGetRequestorProcessID(c *Call, irp guest.Addr) uint32 {
	if p := c.requestor(irp); p != nil {
		return uint32(p.ID)
	}
	return 0
}

// ioGetRequestorSessionID gives that process's session: there is one, 0.
//
//	NTSTATUS IoGetRequestorSessionId(PIRP Irp, PULONG pSessionId)
//
// STATUS_UNSUCCESSFUL, and the session -1, if the IRP has no thread. "IoGetRequestorSessionId function
// (ntifs.h)".
func ioGetRequestorSessionID(c *Call, irp, session guest.Addr) nt.Status {
	if c.requestor(irp) == nil {
		Store(c, session, ^uint32(0))
		return nt.STATUS_UNSUCCESSFUL
	}
	Store(c, session, uint32(0))
	return nt.STATUS_SUCCESS
}

// ioIsOperationSynchronous says whether somebody waits for an IRP's end: because the file is open for
// synchronous I/O, the call is synchronous, or it is synchronous paging. Asynchronous paging is never
// waited for.
//
//	BOOLEAN IoIsOperationSynchronous(PIRP Irp)
//
// "IoIsOperationSynchronous function (ntifs.h)".
func ioIsOperationSynchronous(c *Call, irp guest.Addr) nt.Boolean {
	i := Load[nt.IRP](c, irp)
	const paging = nt.IRP_PAGING_IO | nt.IRP_SYNCHRONOUS_PAGING_IO
	if i.Flags&nt.IRP_PAGING_IO != 0 {
		return boolean(i.Flags&paging == paging)
	}
	if i.Flags&nt.IRP_SYNCHRONOUS_API != 0 {
		return nt.TRUE
	}
	file := Load[nt.IOStackLocation](c, i.Tail.Overlay.CurrentStackLocation).FileObject
	if file == 0 {
		return nt.FALSE
	}
	f, ok := c.object(file).Body.(*devobj.File)
	return boolean(ok && f.Object.Ref().Flags&nt.FO_SYNCHRONOUS_IO != 0)
}

// ioGetTopLevelIrp gives what a file system has set for this thread.
//
//	PIRP IoGetTopLevelIrp(VOID)
//
// NULL at first. "IoGetTopLevelIrp function (ntifs.h)".
func ioGetTopLevelIrp(c *Call) guest.Addr { return guest.Addr(c.T.ETHREAD().TopLevelIrp) }

// ioSetTopLevelIrp sets it.
//
//	VOID IoSetTopLevelIrp(PIRP Irp)
//
// "IoSetTopLevelIrp function (ntifs.h)".
func ioSetTopLevelIrp(c *Call, irp guest.Addr) { c.T.ETHREAD().TopLevelIrp = uintptr(irp) }
