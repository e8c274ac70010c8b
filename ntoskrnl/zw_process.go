package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// What system services tell about processes and threads.
var zwProcessExports = []Export{
	{Name: "ZwQueryInformationProcess", Fn: fn5(zwQueryInformationProcess),
		Params: "ProcessHandle ProcessInformationClass:d ProcessInformation " +
			"ProcessInformationLength:d ReturnLength",
		MaxIRQL: passive, Support: Partial, Note: processClasses},
	{Name: "NtQueryInformationProcess", Fn: fn5(zwQueryInformationProcess),
		Params: "ProcessHandle ProcessInformationClass:d ProcessInformation " +
			"ProcessInformationLength:d ReturnLength",
		MaxIRQL: passive, Support: Partial, Note: processClasses},
	{Name: "ZwQueryInformationThread", Fn: fn5(zwQueryInformationThread),
		Params: "ThreadHandle ThreadInformationClass:d ThreadInformation " +
			"ThreadInformationLength:d ReturnLength",
		MaxIRQL: passive, Support: Partial,
		Note: "ThreadBasicInformation, ThreadTimes without times of the processor, " +
			"ThreadQuerySetWin32StartAddress"},
	{Name: "ZwSetInformationThread", Fn: fn4(zwSetInformationThread),
		Params: "ThreadHandle ThreadInformationClass:d ThreadInformation " +
			"ThreadInformationLength:d",
		MaxIRQL: passive, Support: Partial,
		Note: "ThreadPriority, ThreadBasePriority, ThreadHideFromDebugger"},
}

const processClasses = "ProcessBasicInformation, ProcessSessionInformation, " +
	"ProcessWow64Information, ProcessImageFileName (the program's name without a path)"

// Classes of ZwQueryInformationProcess and ZwQueryInformationThread.
const (
	processBasicInformation   = 0
	processSessionInformation = 24
	processWow64Information   = 26
	processImageFileName      = 27

	threadBasicInformation          = 0
	threadTimes                     = 1
	threadPriorityClass             = 2
	threadBasePriorityClass         = 3
	threadQuerySetWin32StartAddress = 9
	threadHideFromDebugger          = 17
)

// processBasic is PROCESS_BASIC_INFORMATION.
type processBasic struct {
	ExitStatus                   nt.Status
	_                            [4]byte
	PebBaseAddress               guest.Addr
	AffinityMask                 uint64
	BasePriority                 int32
	_                            [4]byte
	UniqueProcessId              nt.Handle
	InheritedFromUniqueProcessId nt.Handle
}

// zwQueryInformationProcess tells about a process.
//
//	NTSTATUS ZwQueryInformationProcess(HANDLE ProcessHandle,
//	    PROCESSINFOCLASS ProcessInformationClass, PVOID ProcessInformation,
//	    ULONG ProcessInformationLength, PULONG ReturnLength)
//
// STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH, STATUS_INVALID_INFO_CLASS,
// STATUS_INFO_LENGTH_MISMATCH. "ZwQueryInformationProcess function".
func zwQueryInformationProcess(c *Call, h nt.Handle, class uint32, info guest.Addr, length uint32,
	needed guest.Addr) nt.Status {
	p, status := c.processOf(h)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(c.Ob.Find(p.Object))
	e := c.eprocess(p.Object)
	switch class {
	case processBasicInformation:
		return fixedInformation(c, info, length, needed, processBasic{ExitStatus: e.ExitStatus,
			PebBaseAddress: e.Peb, AffinityMask: 1<<c.Ke.Processors() - 1,
			BasePriority: normalBasePriority, UniqueProcessId: nt.Handle(p.ID),
			InheritedFromUniqueProcessId: nt.Handle(p.ParentID)})
	case processSessionInformation:
		return fixedInformation(c, info, length, needed, uint32(0))
	case processWow64Information:
		return fixedInformation(c, info, length, needed, e.WoW64Process)
	case processImageFileName:
		return c.imageName(p, info, length, needed)
	}
	return nt.STATUS_INVALID_INFO_CLASS
}

// imageName gives a UNICODE_STRING with its text behind it.
func (c *Call) imageName(p *ke.Process, info guest.Addr, length uint32,
	needed guest.Addr) nt.Status {
	const header = guest.Addr(sizeofUnicodeString)
	size := uint32(header) + stringSize(p.Name)
	StoreOpt(c, needed, size)
	if length < size {
		return nt.STATUS_INFO_LENGTH_MISMATCH
	}
	name, _ := c.putString(info+header, p.Name)
	Store(c, info, name)
	return nt.STATUS_SUCCESS
}

// threadBasic is THREAD_BASIC_INFORMATION.
type threadBasic struct {
	ExitStatus     nt.Status
	_              [4]byte
	TebBaseAddress guest.Addr
	ClientId       nt.ClientID
	AffinityMask   uint64
	Priority       int32
	BasePriority   int32
}

// kernelUserTimes is KERNEL_USER_TIMES.
type kernelUserTimes struct{ CreateTime, ExitTime, KernelTime, UserTime int64 }

// zwQueryInformationThread tells about a thread.
//
//	NTSTATUS ZwQueryInformationThread(HANDLE ThreadHandle,
//	    THREADINFOCLASS ThreadInformationClass, PVOID ThreadInformation,
//	    ULONG ThreadInformationLength, PULONG ReturnLength)
//
// As for ZwQueryInformationProcess. "ZwQueryInformationThread function".
func zwQueryInformationThread(c *Call, h nt.Handle, class uint32, info guest.Addr, length uint32,
	needed guest.Addr) nt.Status {
	e, status := c.reference(h, 0, c.types.thread, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(e.Object)
	t := c.thread(e.Object.Addr)
	switch class {
	case threadBasicInformation:
		return fixedInformation(c, info, length, needed, threadBasic{
			ExitStatus: psGetThreadExitStatus(c, e.Object.Addr), TebBaseAddress: t.Tcb.Teb,
			ClientId: t.Cid, AffinityMask: 1<<c.Ke.Processors() - 1,
			Priority:     keQueryPriorityThread(c, e.Object.Addr),
			BasePriority: int32(t.Tcb.BasePriority) - normalBasePriority})
	case threadTimes:
		return fixedInformation(c, info, length, needed, kernelUserTimes{CreateTime: t.CreateTime,
			ExitTime: t.ExitTime})
	case threadQuerySetWin32StartAddress:
		return fixedInformation(c, info, length, needed, t.Win32StartAddress)
	}
	return nt.STATUS_INVALID_INFO_CLASS
}

// zwSetInformationThread sets something of a thread.
//
//	NTSTATUS ZwSetInformationThread(HANDLE ThreadHandle, THREADINFOCLASS ThreadInformationClass,
//	    PVOID ThreadInformation, ULONG ThreadInformationLength)
//
// STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH, STATUS_INVALID_INFO_CLASS,
// STATUS_INFO_LENGTH_MISMATCH, STATUS_INVALID_PARAMETER for a priority that there is not.
// "ZwSetInformationThread function (ntifs.h)".
func zwSetInformationThread(c *Call, h nt.Handle, class uint32, info guest.Addr,
	length uint32) nt.Status {
	e, status := c.reference(h, 0, c.types.thread, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(e.Object)
	switch class {
	case threadPriorityClass, threadBasePriorityClass:
		if length != 4 {
			return nt.STATUS_INFO_LENGTH_MISMATCH
		}
		const lowest, highest = 1, 31
		v := Load[int32](c, info)
		if class == threadBasePriorityClass {
			keSetBasePriorityThread(c, e.Object.Addr, v)
			return nt.STATUS_SUCCESS
		}
		if v < lowest || v > highest {
			return nt.STATUS_INVALID_PARAMETER
		}
		keSetPriorityThread(c, e.Object.Addr, v)
		return nt.STATUS_SUCCESS
	case threadHideFromDebugger: // there is none
		if length != 0 {
			return nt.STATUS_INFO_LENGTH_MISMATCH
		}
		return nt.STATUS_SUCCESS
	}
	return nt.STATUS_INVALID_INFO_CLASS
}
