package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Routines that are told of processes, threads and images that come and go: client processes with
// their threads, system threads that drivers start, and the images of drivers.
var psNotifyExports = []Export{
	{Name: "PsSetCreateProcessNotifyRoutine", Fn: fn2(psSetCreateProcessNotifyRoutine),
		Params: "NotifyRoutine Remove:b", MaxIRQL: passive, Support: Full},
	{Name: "PsSetCreateProcessNotifyRoutineEx", Fn: fn2(psSetCreateProcessNotifyRoutineEx),
		Params: "NotifyRoutine Remove:b", MaxIRQL: passive, Support: Full},
	{Name: "PsSetCreateProcessNotifyRoutineEx2", Fn: fn3(psSetCreateProcessNotifyRoutineEx2),
		Params: "NotifyType:d NotifyInformation Remove:b", MaxIRQL: passive, Support: Full},
	{Name: "PsSetCreateThreadNotifyRoutine", Fn: fn1(psSetCreateThreadNotifyRoutine),
		Params: "NotifyRoutine", MaxIRQL: passive, Support: Full},
	{Name: "PsSetCreateThreadNotifyRoutineEx", Fn: fn2(psSetCreateThreadNotifyRoutineEx),
		Params: "NotifyType:d NotifyInformation", MaxIRQL: passive, Support: Full},
	{Name: "PsRemoveCreateThreadNotifyRoutine", Fn: fn1(psRemoveCreateThreadNotifyRoutine),
		Params: "NotifyRoutine", MaxIRQL: passive, Support: Full},
	{Name: "PsSetLoadImageNotifyRoutine", Fn: fn1(psSetLoadImageNotifyRoutine),
		Params: "NotifyRoutine", MaxIRQL: passive, Support: Full},
	{Name: "PsSetLoadImageNotifyRoutineEx", Fn: fn2(psSetLoadImageNotifyRoutineEx),
		Params: "NotifyRoutine Flags", MaxIRQL: passive, Support: Full},
	{Name: "PsRemoveLoadImageNotifyRoutine", Fn: fn1(psRemoveLoadImageNotifyRoutine),
		Params: "NotifyRoutine", MaxIRQL: passive, Support: Full},
}

// notifyRoutines are the routines of a kernel.
type notifyRoutines struct {
	process routineList[processNotify]
	thread  routineList[threadNotify]
	image   routineList[guest.Addr]
}

// processNotify is a routine that is told of processes: a PCREATE_PROCESS_NOTIFY_ROUTINE, or with
// extended one of the Ex kind.
type processNotify struct {
	routine  guest.Addr
	extended bool
}

// threadNotify is a routine that is told of threads, or with nonSystem only of those that do not
// belong to the System process, on the new thread itself.
type threadNotify struct {
	routine   guest.Addr
	nonSystem bool
}

// maxNotify is how many routines of a kind there may be, as on Windows.
const maxNotify = 64

// register adds a routine, unless it is there or there are too many, and reports whether it did.
func register[T comparable](l *routineList[T], v T) bool {
	n := 0
	return l.insert(v, nil, func(old T) bool {
		n++
		return old == v || n == maxNotify
	})
}

// unregister takes a routine off the list: STATUS_PROCEDURE_NOT_FOUND if it is not there.
func unregister[T comparable](c *Call, l *routineList[T], v T) nt.Status {
	if !l.remove(c.T, func(old T) bool { return old == v }) {
		return nt.STATUS_PROCEDURE_NOT_FOUND
	}
	return nt.STATUS_SUCCESS
}

func (c *Call) setProcessNotify(routine guest.Addr, extended bool, remove nt.Boolean) nt.Status {
	v := processNotify{routine, extended}
	switch {
	case remove != 0:
		return unregister(c, &c.notify.process, v)
	case !register(&c.notify.process, v):
		return nt.STATUS_INVALID_PARAMETER
	}
	return nt.STATUS_SUCCESS
}

// psSetCreateProcessNotifyRoutine has a routine told of processes that come and go.
//
//	NTSTATUS PsSetCreateProcessNotifyRoutine(PCREATE_PROCESS_NOTIFY_ROUTINE NotifyRoutine,
//	    BOOLEAN Remove)
//
// STATUS_INVALID_PARAMETER if it is registered or there are 64, STATUS_PROCEDURE_NOT_FOUND if there
// is none to remove. "PsSetCreateProcessNotifyRoutine function (ntddk.h)".
func psSetCreateProcessNotifyRoutine(c *Call, routine guest.Addr, remove nt.Boolean) nt.Status {
	return c.setProcessNotify(routine, false, remove)
}

// psSetCreateProcessNotifyRoutineEx is the same for a routine that learns more, and can refuse a
// process. Every image counts as signed.
//
//	NTSTATUS PsSetCreateProcessNotifyRoutineEx(PCREATE_PROCESS_NOTIFY_ROUTINE_EX NotifyRoutine,
//	    BOOLEAN Remove)
//
// "PsSetCreateProcessNotifyRoutineEx function (ntddk.h)".
func psSetCreateProcessNotifyRoutineEx(c *Call, routine guest.Addr, remove nt.Boolean) nt.Status {
	return c.setProcessNotify(routine, true, remove)
}

// psSetCreateProcessNotifyRoutineEx2 is PsSetCreateProcessNotifyRoutineEx for processes of all
// subsystems, of which there is one.
//
//	NTSTATUS PsSetCreateProcessNotifyRoutineEx2(PSCREATEPROCESSNOTIFYTYPE NotifyType,
//	    PVOID NotifyInformation, BOOLEAN Remove)
//
// STATUS_INVALID_PARAMETER for another type than PsCreateProcessNotifySubsystems.
// "PsSetCreateProcessNotifyRoutineEx2 function (ntddk.h)".
func psSetCreateProcessNotifyRoutineEx2(c *Call, typ uint32, routine guest.Addr,
	remove nt.Boolean) nt.Status {
	const subsystems = 0
	if typ != subsystems {
		return nt.STATUS_INVALID_PARAMETER
	}
	return c.setProcessNotify(routine, true, remove)
}

func (c *Call) setThreadNotify(v threadNotify) nt.Status {
	if !register(&c.notify.thread, v) {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	return nt.STATUS_SUCCESS
}

// psSetCreateThreadNotifyRoutine has a routine told of threads that come and go.
//
//	NTSTATUS PsSetCreateThreadNotifyRoutine(PCREATE_THREAD_NOTIFY_ROUTINE NotifyRoutine)
//
// STATUS_INSUFFICIENT_RESOURCES if it is registered or there are 64.
// "PsSetCreateThreadNotifyRoutine function (ntddk.h)".
func psSetCreateThreadNotifyRoutine(c *Call, routine guest.Addr) nt.Status {
	return c.setThreadNotify(threadNotify{routine: routine})
}

// psSetCreateThreadNotifyRoutineEx is the same; with PsCreateThreadNotifyNonSystem the routine is
// not told of threads of the System process.
//
//	NTSTATUS PsSetCreateThreadNotifyRoutineEx(PSCREATETHREADNOTIFYTYPE NotifyType,
//	    PVOID NotifyInformation)
//
// STATUS_INVALID_PARAMETER for another type. "PsSetCreateThreadNotifyRoutineEx function (ntddk.h)".
func psSetCreateThreadNotifyRoutineEx(c *Call, typ uint32, routine guest.Addr) nt.Status {
	const nonSystem, subsystems = 0, 1
	if typ > subsystems {
		return nt.STATUS_INVALID_PARAMETER
	}
	return c.setThreadNotify(threadNotify{routine, typ == nonSystem})
}

// psRemoveCreateThreadNotifyRoutine has it told no more, and waits for calls that are under way.
//
//	NTSTATUS PsRemoveCreateThreadNotifyRoutine(PCREATE_THREAD_NOTIFY_ROUTINE NotifyRoutine)
//
// STATUS_PROCEDURE_NOT_FOUND. "PsRemoveCreateThreadNotifyRoutine function (ntddk.h)".
func psRemoveCreateThreadNotifyRoutine(c *Call, routine guest.Addr) nt.Status {
	if !c.notify.thread.remove(c.T, func(v threadNotify) bool { return v.routine == routine }) {
		return nt.STATUS_PROCEDURE_NOT_FOUND
	}
	return nt.STATUS_SUCCESS
}

// psSetLoadImageNotifyRoutine has a routine told of images that are loaded.
//
//	NTSTATUS PsSetLoadImageNotifyRoutine(PLOAD_IMAGE_NOTIFY_ROUTINE NotifyRoutine)
//
// STATUS_INSUFFICIENT_RESOURCES if it is registered or there are 64.
// "PsSetLoadImageNotifyRoutine function (ntddk.h)".
func psSetLoadImageNotifyRoutine(c *Call, routine guest.Addr) nt.Status {
	if !register(&c.notify.image, routine) {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	return nt.STATUS_SUCCESS
}

// psSetLoadImageNotifyRoutineEx is the same. The flag PS_IMAGE_NOTIFY_CONFLICTING_ARCHITECTURE asks
// for images of other machines, of which there are none.
//
//	NTSTATUS PsSetLoadImageNotifyRoutineEx(PLOAD_IMAGE_NOTIFY_ROUTINE NotifyRoutine,
//	    ULONG_PTR Flags)
//
// STATUS_INVALID_PARAMETER for other flags. "PsSetLoadImageNotifyRoutineEx function (ntddk.h)".
func psSetLoadImageNotifyRoutineEx(c *Call, routine guest.Addr, flags uint64) nt.Status {
	const conflictingArchitecture = 1
	if flags&^conflictingArchitecture != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	return psSetLoadImageNotifyRoutine(c, routine)
}

// psRemoveLoadImageNotifyRoutine has it told no more, and waits for calls that are under way.
//
//	NTSTATUS PsRemoveLoadImageNotifyRoutine(PLOAD_IMAGE_NOTIFY_ROUTINE NotifyRoutine)
//
// STATUS_PROCEDURE_NOT_FOUND. "PsRemoveLoadImageNotifyRoutine function (ntddk.h)".
func psRemoveLoadImageNotifyRoutine(c *Call, routine guest.Addr) nt.Status {
	return unregister(c, &c.notify.image, routine)
}

// psCreateNotifyInfo is PS_CREATE_NOTIFY_INFO.
type psCreateNotifyInfo struct {
	Size             uint64
	Flags            uint32 // bit 0: FileOpenNameAvailable
	_                [4]byte
	ParentProcessId  nt.Handle
	CreatingThreadId nt.ClientID
	FileObject       guest.Addr
	ImageFileName    guest.Addr // UNICODE_STRING
	CommandLine      guest.Addr // UNICODE_STRING
	CreationStatus   nt.Status
	_                [4]byte
}

// ProcessStarted is to be called for a new client process, in a Do of its first thread t and before
// that dispatches anything: drivers are told. The status is what one of them refuses the process
// with, or STATUS_SUCCESS.
func (k *Kernel) ProcessStarted(t *ke.Thread) nt.Status {
	p := t.Process
	status := nt.STATUS_SUCCESS
	k.notify.process.each(t, func(n processNotify) {
		if !n.extended {
			t.Call(n.routine, uint64(p.ParentID), uint64(p.ID), uint64(nt.TRUE))
			return
		}
		if s := k.callProcessNotify(t, n.routine, p); !s.Success() && status.Success() {
			status = s
		}
	})
	return status
}

// callProcessNotify tells one routine of the Ex kind of a new process, and gives the status that it
// leaves.
func (k *Kernel) callProcessNotify(t *ke.Thread, routine guest.Addr, p *ke.Process) nt.Status {
	name, err := k.newUnicodeString(p.Name)
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	defer k.freeObject(name)
	size := sizeOf[psCreateNotifyInfo]()
	info, err := k.allocObject(size)
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	defer k.freeObject(info)
	at := guest.Ptr[psCreateNotifyInfo](info)
	*at.Ref() = psCreateNotifyInfo{Size: uint64(size), ParentProcessId: nt.Handle(p.ParentID),
		CreatingThreadId: nt.ClientID{UniqueProcess: nt.Handle(p.ParentID)}, ImageFileName: name}
	t.Call(routine, uint64(p.Object), uint64(p.ID), uint64(info))
	after, err := at.Load()
	if err != nil {
		return nt.STATUS_SUCCESS // the driver has freed it, and will be told when it is freed again
	}
	return after.CreationStatus
}

// EndProcess is to be called for a client process that has ended, before it is released: drivers
// are told, on a thread of it that is made for that, its handles are closed, and its object is
// signalled.
func (k *Kernel) EndProcess(p *ke.Process) {
	if len(k.notify.process.snapshot()) > 0 && !k.Ke.Ended() {
		if t, err := k.Ke.NewThread(p); err == nil {
			_ = t.Do(func() { k.processEnding(t) }) // what ends this ends the kernel
			t.Release()
		} else {
			k.log.Error("no thread to tell drivers of the end of a process", "process", p.ID,
				"error", err.Error())
		}
	}
	handlesOf(p).CloseAll()
	k.finishFilesElsewhere()
	p.End(nt.STATUS_SUCCESS)
}

func (k *Kernel) processEnding(t *ke.Thread) {
	p := t.Process
	k.notify.process.each(t, func(n processNotify) {
		if n.extended {
			t.Call(n.routine, uint64(p.Object), uint64(p.ID), 0)
		} else {
			t.Call(n.routine, uint64(p.ParentID), uint64(p.ID), uint64(nt.FALSE))
		}
	})
}

// ThreadStarted is to be called for a new thread of a client process, in a Do of it: drivers are
// told.
func (k *Kernel) ThreadStarted(t *ke.Thread) { k.threadNotify(t, t, nt.TRUE) }

// ThreadEnding is to be called for a thread that is about to be released, in a Do of it: drivers
// are told, and the thread's IRPs are cancelled.
func (k *Kernel) ThreadEnding(t *ke.Thread) {
	k.threadNotify(t, t, nt.FALSE)
	k.IO.CancelThread(t)
}

// threadNotify tells drivers of thread which, on thread t.
func (k *Kernel) threadNotify(t, which *ke.Thread, create nt.Boolean) {
	k.notify.thread.each(t, func(n threadNotify) {
		if n.nonSystem && which.Process == k.Ke.SystemProcess {
			return
		}
		t.Call(n.routine, uint64(which.Process.ID), uint64(which.ID), uint64(create))
	})
}

// imageInfo is IMAGE_INFO.
type imageInfo struct {
	Properties         uint32
	_                  [4]byte
	ImageBase          guest.Addr
	ImageSelector      uint32
	_                  [4]byte
	ImageSize          uint64
	ImageSectionNumber uint32
	_                  [4]byte
}

// imageLoaded tells drivers of the image of one, on the thread that will call its DriverEntry.
func (k *Kernel) imageLoaded(t *ke.Thread, d *Driver) error {
	if len(k.notify.image.snapshot()) == 0 {
		return nil
	}
	const addressing32, systemMode = 3, 1 << 8 // as Windows has it, also for 64-bit images
	info, err := k.allocObject(sizeOf[imageInfo]())
	if err != nil {
		return err
	}
	defer k.freeObject(info)
	name := guest.Ptr[nt.KLdrDataTableEntry](d.entry.entry).Ref().FullDllName
	at, err := k.newUnicodeString("")
	if err != nil {
		return err
	}
	defer k.freeObject(at)
	k.notify.image.each(t, func(routine guest.Addr) {
		*guest.Ptr[nt.UnicodeString](at).Ref() = name
		*guest.Ptr[imageInfo](info).Ref() = imageInfo{Properties: addressing32 | systemMode,
			ImageBase: d.Module.Base(), ImageSize: uint64(d.Module.Size())}
		t.Call(routine, uint64(at), 0, uint64(info))
	})
	return nil
}
