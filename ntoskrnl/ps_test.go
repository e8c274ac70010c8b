package ntoskrnl

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// startThread starts a system thread and gives its handle and its identifier.
func (r *driverRig) startThread(routine uint64) (h, id uint64) {
	r.t.Helper()
	at, cid := r.mem(8), r.mem(16)
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("PsCreateSystemThread", at, 0x1FFFFF,
		r.objectAttributes("", 0, nt.OBJ_KERNEL_HANDLE), 0, cid, routine, 0xC0FFEE))
	return r.u64(at), r.u64(cid + 8)
}

func TestThreadObjectOutlivesItsThread(t *testing.T) {
	r := newRig(t)
	h, id := r.startThread(r.routine(0xC3))
	p := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ObReferenceObjectByHandle", h, nt64(nt.SYNCHRONIZE),
		r.pointer("PsThreadType"), 0, p, 0))
	thread := r.u64(p)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwWaitForSingleObject", h, 0, 0))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("KeWaitForSingleObject", thread, 0, 0, 0, 0))
	assert.EqualValues(t, 1, r.call("PsIsThreadTerminating", thread)&0xFF)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("PsGetThreadExitStatus", thread))
	assert.Equal(t, id, r.call("PsGetThreadId", thread))
	assert.NotZero(t, r.call("PsGetThreadCreateTime", thread))
	again := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsLookupThreadByThreadId", id, again))
	assert.Equal(t, thread, r.u64(again))
	r.call("ObfDereferenceObject", thread)
	r.call("ZwClose", h)
	o := r.Ob.Find(guest.Addr(thread))
	for r.Ob.References(o) > 1 {
		runtime.Gosched() // its goroutine is about to give its own reference back
	}
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsLookupThreadByThreadId", id, again))
	r.call("ObfDereferenceObject", thread)
	r.call("ObfDereferenceObject", thread)
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("PsLookupThreadByThreadId", id, again))
}

func TestLookups(t *testing.T) {
	r := newRig(t)
	r.asClient()
	p, th := r.mem(8), r.mem(8)
	process, thread := uint64(r.thread.Process.Object), uint64(r.thread.Object)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsLookupProcessByProcessId", 0x2000, p))
	assert.Equal(t, process, r.u64(p))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsLookupProcessByProcessId", 4, p))
	assert.Equal(t, r.pointer("PsInitialSystemProcess"), r.u64(p))
	assert.Equal(t, nt.STATUS_INVALID_CID, r.status("PsLookupProcessByProcessId", 0x3000, p))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("PsLookupThreadByThreadId", 0x2000, th))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsLookupThreadByThreadId", uint64(r.thread.ID), th))
	assert.Equal(t, thread, r.u64(th))

	cid := r.mem(16)
	r.put64(cid, 0x2000)
	r.put64(cid+8, uint64(r.thread.ID))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsLookupProcessThreadByCid", cid, p, th))
	assert.Equal(t, []uint64{process, thread}, []uint64{r.u64(p), r.u64(th)})
	oa, h := r.objectAttributes("", 0, nt.OBJ_KERNEL_HANDLE), r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwOpenThread", h, 0x1FFFFF, oa, cid))
	assert.Equal(t, thread, r.objectOf(r.u64(h)))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwOpenProcess", h, 0x1FFFFF, oa, cid))
	assert.Equal(t, process, r.objectOf(r.u64(h)))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER_MIX, r.status("ZwOpenProcess", h, 1, oa, 0))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER_MIX, r.status("ZwOpenProcess", h, 1,
		r.objectAttributes(`\x`, 0, 0), cid))
	r.put64(cid, 4)
	assert.Equal(t, nt.STATUS_INVALID_CID, r.status("PsLookupProcessThreadByCid", cid, p, th))
	assert.Equal(t, nt.STATUS_INVALID_CID, r.status("ZwOpenThread", h, 1, oa, cid))
	assert.Equal(t, nt.STATUS_INVALID_CID, r.status("ZwOpenProcess", h, 1, oa, cid))
}

func TestWhatAProcessIs(t *testing.T) {
	r := newRig(t)
	system := r.pointer("PsInitialSystemProcess")
	r.asClient()
	p := r.thread.Process
	p.ParentID = 0x1234
	process := uint64(p.Object)
	assert.EqualValues(t, 0x2000, r.call("PsGetProcessId", process))
	assert.EqualValues(t, 0x1234, r.call("PsGetProcessInheritedFromUniqueProcessId", process))
	assert.Equal(t, "client", r.readStr(r.call("PsGetProcessImageFileName", process)))
	assert.NotZero(t, r.call("PsGetProcessCreateTimeQuadPart", process))
	assert.Zero(t, r.call("PsGetProcessExitTime"))
	assert.Equal(t, nt.STATUS_PENDING, r.status("PsGetProcessExitStatus", process))
	assert.Zero(t, r.call("PsGetProcessExitProcessCalled", process)&0xFF)
	assert.Zero(t, r.call("PsIsSystemProcess", process)&0xFF)
	assert.EqualValues(t, 1, r.call("PsIsSystemProcess", system)&0xFF)
	assert.Zero(t, r.call("PsIsProcessBeingDebugged", process)&0xFF)
	for _, name := range []string{"PsGetProcessPeb", "PsGetProcessWow64Process", "PsGetProcessJob",
		"PsGetProcessSectionBaseAddress", "PsGetProcessWin32Process", "PsGetProcessProtection",
		"PsGetProcessSessionId", "PsGetProcessSessionIdEx", "PsGetCurrentProcessSessionId"} {
		assert.Zero(t, r.call(name, process), name)
	}
	assert.Equal(t, process, r.call("IoThreadToProcess", uint64(r.thread.Object)))
	r.EndProcess(p)
	assert.NotZero(t, r.call("PsGetProcessExitTime"))
	assert.EqualValues(t, 1, r.call("PsGetProcessExitProcessCalled", process)&0xFF)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("PsGetProcessExitStatus", process))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeWaitForSingleObject", process, 0, 0, 0, 0))
}

func TestProcessObjectOutlivesTheProcess(t *testing.T) {
	r := newRig(t)
	system := r.thread
	r.asClient()
	client := r.thread
	h := r.event("", eventAllAccess, 0)
	object := r.objectOf(h)
	r.call("ObfReferenceObject", object)
	r.thread = system
	p := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsLookupProcessByProcessId", 0x2000, p))
	process := r.u64(p)
	r.EndProcess(client.Process)
	assert.EqualValues(t, 0, r.call("ObfDereferenceObject", object), "its handles were closed")
	threadObject := uint64(client.Object)
	r.call("ObfReferenceObject", threadObject)
	client.Release()
	client.Process.Release()
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("KeWaitForSingleObject", threadObject, 0, 0, 0, 0))
	assert.EqualValues(t, 1, r.call("PsIsThreadTerminating", threadObject)&0xFF)
	assert.Equal(t, process, r.call("PsGetThreadProcess", threadObject), "a thread keeps its process")
	r.call("ObfDereferenceObject", threadObject)
	assert.EqualValues(t, 0x2000, r.call("PsGetProcessId", process))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsLookupProcessByProcessId", 0x2000, p))

	// Another process gets the same identifier.
	next, err := r.Ke.NewProcess(0x2000, "next")
	require.NoError(t, err)
	r.call("ObfDereferenceObject", process)
	assert.EqualValues(t, 0, r.call("ObfDereferenceObject", process))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsLookupProcessByProcessId", 0x2000, p))
	assert.EqualValues(t, next.Object, r.u64(p))
}

// during runs f inside one request, as a dispatch routine runs: with call, it calls exports. The
// error is the bugcheck that it ended in.
func (r *driverRig) during(f func(call func(name string, args ...uint64) uint64)) error {
	return r.thread.Do(func() {
		f(func(name string, args ...uint64) uint64 {
			return r.thread.Call(r.symbol(name), args...)
		})
	})
}

func TestAttach(t *testing.T) {
	r := newRig(t)
	system := r.thread
	w := r.asClient()
	client := uint64(r.thread.Process.Object)
	second, err := r.Ke.NewProcess(0x3000, "second")
	require.NoError(t, err)
	r.thread = system
	own := r.pointer("PsInitialSystemProcess")
	state, inner, again, object := r.mem(0x30), r.mem(0x30), r.mem(0x30), r.mem(8)
	probe := func() nt.Status {
		return r.Mm.ProbeForRead(w.Base(), 16, 1, r.Kernel.call(r.thread).userMemory())
	}
	require.NoError(t, r.during(func(call func(string, ...uint64) uint64) {
		current := func() uint64 { return call("PsGetCurrentProcess") }
		assert.Equal(t, nt.STATUS_ACCESS_VIOLATION, probe())
		call("KeStackAttachProcess", client, state)
		assert.Equal(t, client, current())
		assert.Equal(t, nt.STATUS_SUCCESS, probe(), "the client's memory is seen")
		assert.EqualValues(t, 4, call("PsGetCurrentProcessId"), "the thread stays the system's")
		assert.Equal(t, own, call("PsGetCurrentThreadProcess"))
		assert.Equal(t, own, call("IoThreadToProcess", uint64(r.thread.Object)))
		assert.EqualValues(t, 1, call("KeIsAttachedProcess")&0xFF)
		call("ObReferenceObjectByHandle", ^uint64(0), 0, 0, 0, object, 0)
		assert.Equal(t, client, r.u64(object), "NtCurrentProcess()")
		call("ObfDereferenceObject", client)

		call("KeStackAttachProcess", uint64(second.Object), inner)
		assert.EqualValues(t, second.Object, current())
		call("KeStackAttachProcess", uint64(second.Object), again)
		assert.EqualValues(t, 1, r.u64(again+0x20), "nothing to do")
		call("KeUnstackDetachProcess", again)
		assert.EqualValues(t, second.Object, current())
		call("KeUnstackDetachProcess", inner)
		assert.Equal(t, client, current())
		call("KeUnstackDetachProcess", state)
		assert.Equal(t, own, current())
		assert.Zero(t, call("KeIsAttachedProcess")&0xFF)

		call("KeAttachProcess", client)
		assert.Equal(t, client, current())
		call("KeDetachProcess")
		assert.Equal(t, own, current())
		call("KeDetachProcess")
	}))
	e := r.thread.ETHREAD()
	assert.Equal(t, e.Tcb.Process, e.Tcb.ApcState.Process)
	assert.Zero(t, e.Tcb.ApcStateIndex)
	for i := range e.Tcb.ApcState.ApcListHead {
		head := guest.AddrOf(&e.Tcb.ApcState.ApcListHead[i])
		assert.Equal(t, nt.ListEntry{Flink: head, Blink: head}, e.Tcb.ApcState.ApcListHead[i])
	}
}

func TestMisuseOfAttach(t *testing.T) {
	for _, c := range []struct {
		fact string
		code nt.BugCheck
		do   func(r *driverRig, p, q uint64, call func(string, ...uint64) uint64)
	}{
		{"a detach without an attach", nt.INVALID_PROCESS_DETACH_ATTEMPT,
			func(r *driverRig, p, q uint64, call func(string, ...uint64) uint64) {
				call("KeUnstackDetachProcess", r.mem(0x30))
			}},
		{"a second KeAttachProcess", nt.INVALID_PROCESS_ATTACH_ATTEMPT,
			func(r *driverRig, p, q uint64, call func(string, ...uint64) uint64) {
				call("KeAttachProcess", p)
				call("KeAttachProcess", q)
			}},
		{"a request that ends attached", nt.APC_INDEX_MISMATCH,
			func(r *driverRig, p, q uint64, call func(string, ...uint64) uint64) {
				call("KeStackAttachProcess", p, r.mem(0x30))
			}},
	} {
		r := newRig(t)
		p, err := r.Ke.NewProcess(0x2000, "p")
		require.NoError(t, err)
		q, err := r.Ke.NewProcess(0x3000, "q")
		require.NoError(t, err)
		err = r.during(func(call func(string, ...uint64) uint64) {
			c.do(r, uint64(p.Object), uint64(q.Object), call)
		})
		var b *ke.Bugcheck
		require.ErrorAs(t, err, &b, c.fact)
		assert.Equal(t, c.code, b.Code, c.fact)
	}
}

func TestProcessNotifyRoutines(t *testing.T) {
	r := newRig(t)
	routine, at := r.record()
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsSetCreateProcessNotifyRoutine", routine, 0))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("PsSetCreateProcessNotifyRoutine", routine,
		0))
	extended, exAt := r.record()
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsSetCreateProcessNotifyRoutineEx", extended, 0))
	third, thirdAt := r.record()
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsSetCreateProcessNotifyRoutineEx2", 0, third, 0))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("PsSetCreateProcessNotifyRoutineEx2", 1,
		third, 0))

	system := r.thread
	r.asClient()
	client := r.thread
	r.thread = system
	client.Process.ParentID = 7
	require.NoError(t, client.Do(func() {
		assert.Equal(t, nt.STATUS_SUCCESS, r.ProcessStarted(client))
	}))
	assert.Equal(t, []uint64{7, 0x2000, 1, 1}, r.words(at, 4))
	assert.Equal(t, []uint64{uint64(client.Process.Object), 0x2000}, r.words(exAt, 2))
	assert.NotZero(t, r.u64(exAt+16), "a PS_CREATE_NOTIFY_INFO")
	r.EndProcess(client.Process)
	assert.Equal(t, []uint64{7, 0x2000, 0, 2}, r.words(at, 4))
	assert.Equal(t, []uint64{uint64(client.Process.Object), 0x2000, 0, 2}, r.words(exAt, 4))
	assert.EqualValues(t, 2, r.u64(thirdAt+24))

	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsSetCreateProcessNotifyRoutine", routine, 1))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsSetCreateProcessNotifyRoutineEx", extended, 1))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsSetCreateProcessNotifyRoutineEx2", 0, third, 1))
	assert.Equal(t, nt.STATUS_PROCEDURE_NOT_FOUND, r.status("PsSetCreateProcessNotifyRoutine",
		routine, 1))
	r.EndProcess(client.Process)
	assert.EqualValues(t, 2, r.u64(at+24))

	// One that sets CreationStatus, and keeps what it learns.
	keep := r.mem(0x60)
	// mov rax, keep
	refuse := append([]byte{0x48, 0xB8}, binary.LittleEndian.AppendUint64(nil, keep)...)
	for off := byte(0); off < 0x48; off += 8 {
		// rdx: [r8+off] to [rax+off]
		refuse = append(refuse, 0x49, 0x8B, 0x50, off, 0x48, 0x89, 0x50, off)
	}
	refuse = append(refuse, 0x41, 0xC7, 0x40, 0x40, 0x22, 0, 0, 0xC0, 0xC3) // mov dword [r8+40h]
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsSetCreateProcessNotifyRoutineEx",
		r.routine(refuse...), 0))
	require.NoError(t, client.Do(func() {
		assert.Equal(t, nt.STATUS_ACCESS_DENIED, r.ProcessStarted(client))
	}))
	assert.EqualValues(t, 0x48, r.u64(keep), "Size")
	assert.EqualValues(t, 7, r.u64(keep+0x10), "ParentProcessId")
	assert.NotZero(t, r.u64(keep+0x30), "ImageFileName")
}

// words reads n 64-bit words.
func (r *driverRig) words(a uint64, n int) (w []uint64) {
	for i := range uint64(n) {
		w = append(w, r.u64(a+8*i))
	}
	return w
}

func nt64(v uint32) uint64 { return uint64(v) }

func TestThreadNotifyRoutines(t *testing.T) {
	r := newRig(t)
	routine, at := r.record()
	nonSystem, other := r.record()
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsSetCreateThreadNotifyRoutine", routine))
	assert.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES, r.status("PsSetCreateThreadNotifyRoutine",
		routine))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsSetCreateThreadNotifyRoutineEx", 0, nonSystem))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("PsSetCreateThreadNotifyRoutineEx", 2,
		nonSystem))

	h, id := r.startThread(r.routine(0xC3))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwWaitForSingleObject", h, 0, 0))
	assert.Equal(t, []uint64{4, id, 0, 2}, r.words(at, 4), "told of its end before that is signalled")
	assert.Zero(t, r.u64(other+24))

	system := r.thread
	r.asClient()
	require.NoError(t, r.thread.Do(func() { r.ThreadStarted(r.thread) }))
	assert.Equal(t, []uint64{0x2000, uint64(r.thread.ID), 1, 3}, r.words(at, 4))
	assert.Equal(t, []uint64{0x2000, uint64(r.thread.ID), 1, 1}, r.words(other, 4))
	require.NoError(t, r.thread.Do(func() { r.ThreadEnding(r.thread) }))
	assert.Equal(t, []uint64{0x2000, uint64(r.thread.ID), 0, 2}, r.words(other, 4))

	r.thread = system
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsRemoveCreateThreadNotifyRoutine", routine))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsRemoveCreateThreadNotifyRoutine", nonSystem))
	assert.Equal(t, nt.STATUS_PROCEDURE_NOT_FOUND, r.status("PsRemoveCreateThreadNotifyRoutine",
		routine))
}

func TestImageNotifyRoutines(t *testing.T) {
	r := newRig(t)
	keep := r.mem(0x40)
	code := append([]byte{0x48, 0xB8}, binary.LittleEndian.AppendUint64(nil, keep)...) // mov rax, keep
	// mov [rax], rdx
	code = append(code, 0x48, 0x89, 0x10)
	for off := byte(0); off < 0x28; off += 8 {
		// rcx: [r8+off] to [rax+off+8]
		code = append(code, 0x49, 0x8B, 0x48, off, 0x48, 0x89, 0x48, off+8)
	}
	routine := r.routine(append(code, 0xC3)...)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsSetLoadImageNotifyRoutine", routine))
	assert.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES, r.status("PsSetLoadImageNotifyRoutineEx",
		routine, 1))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("PsSetLoadImageNotifyRoutineEx", routine, 2))
	d, err := r.LoadFile(fixture(t, "hello"))
	require.NoError(t, err)
	assert.Equal(t, []uint64{0, 0x103, uint64(d.Module.Base()), 0, uint64(d.Module.Size()), 0},
		r.words(keep, 6))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsRemoveLoadImageNotifyRoutine", routine))
	assert.Equal(t, nt.STATUS_PROCEDURE_NOT_FOUND, r.status("PsRemoveLoadImageNotifyRoutine", routine))
	_, err = r.Unload(d)
	require.NoError(t, err)
}

func TestSystemThreadOfAnotherProcess(t *testing.T) {
	r := newRig(t)
	system := r.thread
	r.asClient()
	client := r.thread.Process
	r.thread = system
	h, at := r.mem(8), r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ObOpenObjectByPointer", uint64(client.Object),
		nt64(nt.OBJ_KERNEL_HANDLE), 0, 0x1FFFFF, 0, 0, h))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("PsCreateSystemThread", at, 0x1FFFFF, 0, r.u64(h), 0,
		r.routine(0xC3), 0))
	thread := r.objectOf(r.u64(at))
	assert.EqualValues(t, client.Object, r.call("PsGetThreadProcess", thread))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwWaitForSingleObject", r.u64(at), 0, 0))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, r.status("PsCreateSystemThread", at, 0, 0,
		r.u64(at), 0,
		r.routine(0xC3), 0))
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, r.status("PsCreateSystemThread", at, 0, 0, 0x4000, 0,
		r.routine(0xC3), 0))
}

func TestQueryInformationProcessAndThread(t *testing.T) {
	r := newRig(t)
	r.asClient()
	r.thread.Process.ParentID = 7
	info, n := r.mem(128), r.mem(4)
	const process, thread = ^uint64(0), ^uint64(1)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQueryInformationProcess", process, 0, info, 0x30,
		n))
	assert.Equal(t, []uint64{uint64(nt.STATUS_PENDING), 0, 1, 8, 0x2000, 7}, r.words(info, 6))
	assert.EqualValues(t, 0x30, r.u32(n))
	assert.Equal(t, nt.STATUS_INFO_LENGTH_MISMATCH,
		r.status("ZwQueryInformationProcess", process, 0, info, 0x2F, n))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQueryInformationProcess", process, 24, info, 4, 0))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("NtQueryInformationProcess", process, 26, info, 8, 0))
	assert.Zero(t, r.u64(info))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQueryInformationProcess", process, 27, info, 128,
		n))
	assert.Equal(t, "client", r.readUstr(info))
	assert.Equal(t, nt.STATUS_INFO_LENGTH_MISMATCH, r.status("ZwQueryInformationProcess", process,
		27, info,
		uint64(r.u32(n)-1), n))
	assert.Equal(t, nt.STATUS_INVALID_INFO_CLASS,
		r.status("ZwQueryInformationProcess", process, 99, info, 128, n))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH,
		r.status("ZwQueryInformationProcess", thread, 0, info, 0x30, n))

	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQueryInformationThread", thread, 0, info, 0x30, n))
	assert.Equal(t, []uint64{uint64(nt.STATUS_PENDING), 0, 0x2000, uint64(r.thread.ID), 1, 8},
		r.words(info, 6))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQueryInformationThread", thread, 1, info, 0x20, n))
	assert.NotZero(t, r.u64(info))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQueryInformationThread", thread, 9, info, 8, n))
	assert.Equal(t, nt.STATUS_INVALID_INFO_CLASS,
		r.status("ZwQueryInformationThread", thread, 99, info, 8, n))
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, r.status("ZwQueryInformationThread", 0x4000, 0, info,
		8, n))

	r.put32(info, 13)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwSetInformationThread", thread, 2, info, 4))
	assert.EqualValues(t, 13, r.i32("KeQueryPriorityThread", uint64(r.thread.Object)))
	assert.Equal(t, nt.STATUS_INFO_LENGTH_MISMATCH,
		r.status("ZwSetInformationThread", thread, 2, info, 8))
	r.put32(info, 32)
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER,
		r.status("ZwSetInformationThread", thread, 2, info, 4))
	r.put32(info, 1)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwSetInformationThread", thread, 3, info, 4))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwSetInformationThread", thread, 17, 0, 0))
	assert.Equal(t, nt.STATUS_INVALID_INFO_CLASS,
		r.status("ZwSetInformationThread", thread, 99, info, 4))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH,
		r.status("ZwSetInformationThread", process, 2, info, 4))

	sd, allocated := r.mem(8), r.mem(1)
	r.put64(sd, 1)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ObGetObjectSecurity", uint64(r.thread.Object), sd,
		allocated))
	assert.Zero(t, r.u64(sd))
	r.call("ObReleaseObjectSecurity", 0, 0)
}
