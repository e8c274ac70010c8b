package ntoskrnl

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// pointer reads a variable that is exported.
func (r *driverRig) pointer(name string) uint64 { return r.u64(uint64(r.symbol(name))) }

// attributes makes an OBJECT_ATTRIBUTES; an empty name is none.
func (r *driverRig) objectAttributes(name string, root uint64, flags uint32) uint64 {
	oa := nt.ObjectAttributes{Length: uint32(sizeofObjectAttributes), Attributes: flags,
		RootDirectory: nt.Handle(root)}
	if name != "" {
		oa.ObjectName = guest.Addr(r.ustr(name, 0))
	}
	a := r.mem(int(sizeofObjectAttributes))
	require.NoError(r.t, guest.Ptr[nt.ObjectAttributes](a).Store(oa))
	return a
}

// event makes an event with a handle.
func (r *driverRig) event(name string, access, flags uint32) uint64 {
	r.t.Helper()
	h := r.mem(8)
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("ZwCreateEvent", h, uint64(access),
		r.objectAttributes(name, 0, flags), uint64(nt.NotificationEvent), 0))
	return r.u64(h)
}

// objectOf gives the object of a handle, without a reference.
func (r *driverRig) objectOf(h uint64) uint64 {
	r.t.Helper()
	p := r.mem(8)
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("ObReferenceObjectByHandle", h, 0, 0, 0, p, 0))
	o := r.u64(p)
	r.call("ObfDereferenceObject", o)
	return o
}

func (r *driverRig) counts(object uint64) (references, handles uint64) {
	return r.u64(object - 0x30), r.u64(object - 0x28)
}

func TestObjectTypesAreOBJECT_TYPEs(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		export, name      string
		read, write, exec uint32
		all, valid        uint32
	}{
		{"PsProcessType", "Process", 0x20410, 0x20BEA, 0x121001, 0x1FFFFF, 0x1FFFFF},
		{"PsThreadType", "Thread", 0x20048, 0x20437, 0x121800, 0x1FFFFF, 0x1FFFFF},
		{"ExEventObjectType", "Event", 0x20001, 0x20002, 0x120000, 0x1F0003, 0x1F0003},
		{"ExSemaphoreObjectType", "Semaphore", 0x20001, 0x20002, 0x120000, 0x1F0003, 0x1F0003},
		{"IoFileObjectType", "File", 0x120089, 0x120116, 0x1200A0, 0x1F01FF, 0x1F01FF},
		{"IoDriverObjectType", "Driver", 0x120089, 0x120116, 0x1200A0, 0x1F01FF, 0x1F01FF},
		{"IoDeviceObjectType", "Device", 0x120089, 0x120116, 0x1200A0, 0x1F01FF, 0x1F01FF},
		{"MmSectionObjectType", "Section", 0x20005, 0x20002, 0x20008, 0xF001F, 0x1F001F},
		{"CmKeyObjectType", "Key", 0x20019, 0x20006, 0x20039, 0xF003F, 0x1F003F},
		{"SeTokenObjectType", "Token", 0x2001A, 0x201E0, 0x20005, 0xF01FF, 0x1F01FF},
	} {
		a := r.pointer(c.export)
		assert.Equal(t, c.name, r.readUstr(a+0x10), c.export)
		for i, want := range []uint32{c.read, c.write, c.exec, c.all, c.valid} {
			assert.Equal(t, want, r.u32(a+0x4C+4*uint64(i)), "%s, mask %d", c.export, i)
		}
		o, rest, status := r.Ob.Lookup(`\ObjectTypes\` + c.name)
		require.Equal(t, nt.STATUS_SUCCESS, status)
		assert.Empty(t, rest)
		assert.EqualValues(t, a, o.Addr)
	}
	thread := r.call("PsGetCurrentThread")
	assert.Equal(t, r.pointer("PsThreadType"), r.call("ObGetObjectType", thread))
	index := r.read(thread-0x18, 1)[0] ^ byte((thread-0x30)>>8)
	assert.Equal(t, r.read(r.pointer("PsThreadType")+0x28, 1)[0], index)
}

func TestReferencesOfAThread(t *testing.T) {
	r := newRig(t)
	thread := r.call("PsGetCurrentThread")
	before, _ := r.counts(thread)
	assert.Equal(t, before+1, r.call("ObfReferenceObject", thread))
	assert.Equal(t, before+2, r.call("ObfReferenceObjectWithTag", thread, 0x20746144))
	assert.Equal(t, uint64(1), r.call("ObReferenceObjectSafe", thread))
	assert.Equal(t, before+2, r.call("ObfDereferenceObject", thread))
	assert.Equal(t, before+1, r.call("ObfDereferenceObjectWithTag", thread, 0x20746144))
	assert.Equal(t, before, r.call("ObDereferenceObjectDeferDelete", thread))
	assert.Equal(t, uint64(1), r.call("ObReferenceObjectSafeWithTag", thread, 0x20746144))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ObReferenceObjectByPointerWithTag", thread, 0,
		r.pointer("PsThreadType"), 0, 0x20746144))
	assert.Equal(t, before+1, r.call("ObDereferenceObject", thread))
	assert.Equal(t, before, r.call("ObDereferenceObjectDeferDeleteWithTag", thread, 0x20746144))
}

func TestLastReferenceDeletesTheObject(t *testing.T) {
	r := newRig(t)
	h := r.event("", eventAllAccess, nt.OBJ_KERNEL_HANDLE)
	object := r.objectOf(h)
	r.call("ObfReferenceObject", object)
	r.call("ZwClose", h)
	assert.EqualValues(t, 0, r.call("KeSetEvent", object, 0, 0), "it is still there")
	v, err := r.callAt(nt.DISPATCH_LEVEL, "ObfDereferenceObject", object)
	require.NoError(t, err)
	assert.Zero(t, v)
	assert.Nil(t, r.Ob.Find(guest.Addr(object)))
	assert.EqualValues(t, 0, r.call("ObReferenceObjectSafe", object)&0xFF)
}

func TestReferenceByPointerChecksTheType(t *testing.T) {
	r := newRig(t)
	thread := r.call("PsGetCurrentThread")
	before, _ := r.counts(thread)
	for _, c := range []struct {
		fact   string
		typ    uint64
		mode   nt.ProcessorMode
		status nt.Status
	}{
		{"its type", r.pointer("PsThreadType"), nt.UserMode, nt.STATUS_SUCCESS},
		{"another type", r.pointer("PsProcessType"), nt.KernelMode, nt.STATUS_OBJECT_TYPE_MISMATCH},
		{"no type, for the kernel", 0, nt.KernelMode, nt.STATUS_SUCCESS},
		{"no type, for a client", 0, nt.UserMode, nt.STATUS_OBJECT_TYPE_MISMATCH},
	} {
		assert.Equal(t, c.status, r.status("ObReferenceObjectByPointer", thread, 0, c.typ,
			uint64(c.mode)), c.fact)
	}
	after, _ := r.counts(thread)
	assert.Equal(t, before+2, after)
}

func TestMisuseOfReferences(t *testing.T) {
	b := bugcheck(t, nt.PASSIVE_LEVEL, "ObfDereferenceObject", func(r *driverRig) []uint64 {
		return []uint64{uint64(r.thread.Object)} // of which the caller has no reference
	})
	assert.Equal(t, nt.REFERENCE_BY_POINTER, b.Code)
	b = bugcheck(t, nt.PASSIVE_LEVEL, "ObfReferenceObject", func(r *driverRig) []uint64 {
		return []uint64{r.mem(0x100) + 0x40} // no object
	})
	assert.Equal(t, nt.REFERENCE_BY_POINTER, b.Code)
	b = bugcheck(t, nt.PASSIVE_LEVEL, "ObfDereferenceObject", func(r *driverRig) []uint64 {
		h := r.event("", eventAllAccess, 0)
		return []uint64{r.objectOf(h)} // the handle's reference
	})
	assert.Equal(t, nt.REFERENCE_BY_POINTER, b.Code)
	b = bugcheck(t, nt.PASSIVE_LEVEL, "ObfReferenceObject", func(r *driverRig) []uint64 {
		h := r.event("", eventAllAccess, 0)
		o := r.objectOf(h)
		r.call("ZwClose", h)
		return []uint64{o}
	})
	assert.Equal(t, nt.REFERENCE_BY_POINTER, b.Code)
}

func TestReferenceByHandle(t *testing.T) {
	r := newRig(t)
	r.asClient()
	own := r.event("", 2, 0) // EVENT_MODIFY_STATE
	kernel := r.event("", 2|nt.SYNCHRONIZE, nt.OBJ_KERNEL_HANDLE)
	assert.Equal(t, uint64(0xFFFFFFFF80000000), kernel&0xFFFFFFFF80000000)
	assert.Less(t, own, uint64(0x10000))
	assert.Equal(t, uint64(1), r.call("ObIsKernelHandle", kernel)&0xFF)
	assert.Equal(t, uint64(0), r.call("ObIsKernelHandle", own)&0xFF)
	event, process := r.pointer("ExEventObjectType"), r.pointer("PsProcessType")
	thread := r.pointer("PsThreadType")
	const current, currentThread = ^uint64(0), ^uint64(1)
	for _, c := range []struct {
		fact   string
		h      uint64
		access uint32
		typ    uint64
		mode   nt.ProcessorMode
		status nt.Status
	}{
		{"a client's own", own, 2, event, nt.UserMode, nt.STATUS_SUCCESS},
		{"without a type", own, 2, 0, nt.UserMode, nt.STATUS_SUCCESS},
		{"more access than granted", own, 3, event, nt.UserMode, nt.STATUS_ACCESS_DENIED},
		{"which the kernel needs not", own, 3, event, nt.KernelMode, nt.STATUS_SUCCESS},
		{"another type", own, 2, process, nt.UserMode, nt.STATUS_OBJECT_TYPE_MISMATCH},
		{"the kernel's", kernel, 2, event, nt.KernelMode, nt.STATUS_SUCCESS},
		{"the kernel's from a client", kernel, 2, event, nt.UserMode, nt.STATUS_INVALID_HANDLE},
		{"none", 0, 0, 0, nt.KernelMode, nt.STATUS_INVALID_HANDLE},
		{"not open", 0x4000, 0, 0, nt.KernelMode, nt.STATUS_INVALID_HANDLE},
		{"not open in the kernel", 0xFFFFFFFF80004000, 0, 0, nt.KernelMode, nt.STATUS_INVALID_HANDLE},
		{"the process", current, 0x1FFFFF, process, nt.UserMode, nt.STATUS_SUCCESS},
		{"the process as a thread", current, 0, thread, nt.UserMode, nt.STATUS_OBJECT_TYPE_MISMATCH},
		{"the thread", currentThread, 0x1FFFFF, thread, nt.UserMode, nt.STATUS_SUCCESS},
	} {
		p := r.mem(8)
		r.put64(p, 1)
		assert.Equal(t, c.status, r.status("ObReferenceObjectByHandle", c.h, uint64(c.access), c.typ,
			uint64(c.mode), p, 0), c.fact)
		if c.status == nt.STATUS_SUCCESS {
			r.call("ObfDereferenceObject", r.u64(p))
		} else {
			assert.Zero(t, r.u64(p), c.fact)
		}
	}
	info, p := r.mem(8), r.mem(8)
	r.status("ObReferenceObjectByHandle", kernel, 0, 0, 0, p, info)
	assert.EqualValues(t, 2|nt.SYNCHRONIZE, r.u32(info+4))
	references, handles := r.counts(r.u64(p))
	assert.EqualValues(t, 2, references)
	assert.EqualValues(t, 1, handles)
	r.status("ObReferenceObjectByHandleWithTag", current, 0, process, 0, 0x20746144, p, 0)
	assert.EqualValues(t, r.thread.Process.Object, r.u64(p))
	assert.EqualValues(t, r.thread.Object, r.objectOf(currentThread))
}

func TestHandlesOfAClientAreItsOwn(t *testing.T) {
	r := newRig(t)
	r.asClient()
	h := r.event("", eventAllAccess, 0)
	r.thread, _ = r.Ke.NewThread(r.Ke.SystemProcess)
	p := r.mem(8)
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, r.status("ObReferenceObjectByHandle", h, 0, 0, 0, p, 0))

	own := r.event("", eventAllAccess, 0) // in the System process's table, which is the kernel's
	assert.Equal(t, r.objectOf(own), r.objectOf(own|0xFFFFFFFF80000000))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", own))
}

func TestClose(t *testing.T) {
	r := newRig(t)
	h := r.event("", eventAllAccess, nt.OBJ_KERNEL_HANDLE)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", h))
	for _, h := range []uint64{0, ^uint64(0), ^uint64(1), 0x4000} {
		assert.Equal(t, nt.STATUS_INVALID_HANDLE, r.status("ZwClose", h), "%#x", h)
	}
	h = r.event("", eventAllAccess, 0)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ObSetHandleAttributes", h, r.bytes([]byte{0, 1}), 0))
	assert.Equal(t, nt.STATUS_HANDLE_NOT_CLOSABLE, r.status("ObCloseHandle", h, 0))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwSetInformationObject", h, 4, r.bytes([]byte{0,
		0}), 2))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ObCloseHandle", h, 0))

	kernel := r.event("", eventAllAccess, nt.OBJ_KERNEL_HANDLE)
	r.asClient()
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, r.status("NtClose", kernel), "for a client")
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, r.status("ObCloseHandle", kernel, uint64(nt.UserMode)))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", kernel))
}

func TestMisuseOfKernelHandles(t *testing.T) {
	for _, c := range []struct {
		fact   string
		handle func(r *driverRig) uint64
		param  uint64
	}{
		{"closed twice", func(r *driverRig) uint64 {
			h := r.event("", eventAllAccess, nt.OBJ_KERNEL_HANDLE)
			r.call("ZwClose", h)
			return h
		}, 1},
		{"protected", func(r *driverRig) uint64 {
			h := r.event("", eventAllAccess, nt.OBJ_KERNEL_HANDLE)
			r.call("ObSetHandleAttributes", h, r.bytes([]byte{0, 1}), 0)
			return h
		}, 0},
	} {
		var h uint64
		b := bugcheck(t, nt.PASSIVE_LEVEL, "ZwClose", func(r *driverRig) []uint64 {
			h = c.handle(r)
			return []uint64{h}
		})
		assert.Equal(t, nt.INVALID_KERNEL_HANDLE, b.Code, c.fact)
		assert.Equal(t, [4]uint64{h, c.param}, b.Params, c.fact)
	}
}

func TestOpenObjectByPointer(t *testing.T) {
	r := newRig(t)
	r.asClient()
	object := r.objectOf(r.event("", eventAllAccess, nt.OBJ_KERNEL_HANDLE))
	event, process := r.pointer("ExEventObjectType"), r.pointer("PsProcessType")
	h, p, info := r.mem(8), r.mem(8), r.mem(8)
	for _, c := range []struct {
		fact    string
		flags   uint32
		access  uint32
		typ     uint64
		mode    nt.ProcessorMode
		status  nt.Status
		kernel  bool
		granted uint32
	}{
		{"for the kernel", nt.OBJ_KERNEL_HANDLE, nt.GENERIC_ALL, event, 0, 0, true, eventAllAccess},
		{"for the process", 0, nt.GENERIC_READ, event, 0, 0, false, 0x20001},
		{"all there is", 0, nt.MAXIMUM_ALLOWED, event, 0, 0, false, eventAllAccess},
		{"what there is not", 0, 0xFF, event, 0, 0, false, 3},
		{"without a type", 0, 1, 0, 0, 0, false, 1},
		{"a client's kernel handle", nt.OBJ_KERNEL_HANDLE, 1, 0, nt.UserMode, 0, false, 1},
		{"another type", 0, 1, process, 0, nt.STATUS_OBJECT_TYPE_MISMATCH, false, 0},
		{"attributes that there are not", 1, 1, 0, 0, nt.STATUS_INVALID_PARAMETER, false, 0},
	} {
		assert.Equal(t, c.status, r.status("ObOpenObjectByPointer", object, uint64(c.flags), 0,
			uint64(c.access), c.typ, uint64(c.mode), h), c.fact)
		if c.status != nt.STATUS_SUCCESS {
			continue
		}
		assert.Equal(t, c.kernel, ob.IsKernelHandle(nt.Handle(r.u64(h))), c.fact)
		require.Equal(t, nt.STATUS_SUCCESS,
			r.status("ObReferenceObjectByHandle", r.u64(h), 0, 0, 0, p, info), c.fact)
		assert.Equal(t, object, r.u64(p), c.fact)
		assert.Equal(t, c.granted, r.u32(info+4), c.fact)
		r.call("ObfDereferenceObject", object)
		assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", r.u64(h)), c.fact)
	}
	references, handles := r.counts(object)
	assert.EqualValues(t, 1, references)
	assert.EqualValues(t, 1, handles)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ObOpenObjectByPointerWithTag", object, 0, 0, 1,
		event, 0,
		0x20746144, h))
	assert.Equal(t, object, r.objectOf(r.u64(h)))
}

func TestOpenObjectByName(t *testing.T) {
	r := newRig(t)
	object := r.objectOf(r.event(`\BaseNamedObjects\N`, 3, nt.OBJ_KERNEL_HANDLE))
	h := r.mem(8)
	open := func(typ uint64) nt.Status {
		return r.status("ObOpenObjectByName", r.objectAttributes(`\BaseNamedObjects\N`, 0,
			nt.OBJ_KERNEL_HANDLE), typ, 0, 0, 3, 0, h)
	}
	require.Equal(t, nt.STATUS_SUCCESS, open(r.pointer("ExEventObjectType")))
	assert.Equal(t, object, r.objectOf(r.u64(h)))
	assert.Equal(t, nt.STATUS_SUCCESS, open(0))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, open(r.pointer("PsThreadType")))
}

func TestFindHandleForObject(t *testing.T) {
	r := newRig(t)
	r.asClient()
	h := r.event("", eventAllAccess, 0)
	object, result := r.objectOf(h), r.mem(8)
	process := uint64(r.thread.Process.Object)
	assert.EqualValues(t, 1, r.call("ObFindHandleForObject", process, object, 0, 0, result)&0xFF)
	assert.Equal(t, h, r.u64(result))
	assert.EqualValues(t, 0, r.call("ObFindHandleForObject", process, object,
		r.pointer("PsProcessType"), 0, result)&0xFF)
}

func TestDuplicate(t *testing.T) {
	r := newRig(t)
	system := r.thread
	r.asClient()
	client := r.thread
	h := r.event("", 2, 0)
	object := r.objectOf(h)
	toClient, fromClient := r.mem(8), r.mem(8)
	r.thread = system
	processHandle := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ObOpenObjectByPointer",
		uint64(client.Process.Object), uint64(nt.OBJ_KERNEL_HANDLE), 0, 0x1FFFFF, 0, 0, processHandle))
	proc := r.u64(processHandle)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwDuplicateObject", proc, h, ^uint64(0), fromClient,
		3, uint64(nt.OBJ_KERNEL_HANDLE), 0))
	assert.Equal(t, object, r.objectOf(r.u64(fromClient)))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwDuplicateObject", ^uint64(0), r.u64(fromClient),
		proc,
		toClient, 0, 0, uint64(duplicateSameAccess|duplicateCloseSource)))
	_, handles := r.counts(object)
	assert.EqualValues(t, 2, handles, "the source was closed")
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, r.status("ZwDuplicateObject", proc, 0x4000, ^uint64(0),
		fromClient, 0, 0, 0))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, r.status("ZwDuplicateObject", ^uint64(1), h,
		^uint64(0), fromClient, 0, 0, 0))
	r.thread = client
	assert.Equal(t, object, r.objectOf(r.u64(toClient)))
	info, p := r.mem(8), r.mem(8)
	r.status("ObReferenceObjectByHandle", r.u64(toClient), 0, 0, 0, p, info)
	assert.EqualValues(t, 3, r.u32(info+4))
}

func TestQueryObject(t *testing.T) {
	r := newRig(t)
	h := r.event(`\BaseNamedObjects\Asked`, 3, nt.OBJ_KERNEL_HANDLE)
	info, n := r.mem(256), r.mem(4)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQueryObject", h, 0, info, 0x38, n))
	assert.EqualValues(t, 3, r.u32(info+4), "access")
	assert.EqualValues(t, 1, r.u32(info+8), "handles")
	assert.EqualValues(t, 0x38, r.u32(n))
	assert.Equal(t, nt.STATUS_INFO_LENGTH_MISMATCH, r.status("ZwQueryObject", h, 0, info, 0x37, n))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQueryObject", h, 1, info, 256, n))
	assert.Equal(t, `\BaseNamedObjects\Asked`, r.readUstr(info))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQueryObject", h, 2, info, 256, n))
	assert.Equal(t, "Event", r.readUstr(info))
	assert.EqualValues(t, eventAllAccess, r.u32(info+0x54))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQueryObject", h, 4, info, 2, n))
	assert.EqualValues(t, 0, r.u16(info))
	assert.Equal(t, nt.STATUS_INVALID_INFO_CLASS, r.status("ZwQueryObject", h, 99, info, 256, n))
	assert.Equal(t, nt.STATUS_INVALID_INFO_CLASS, r.status("ZwSetInformationObject", h, 0, info, 2))
	assert.Equal(t, nt.STATUS_INFO_LENGTH_MISMATCH, r.status("ZwSetInformationObject", h, 4, info, 1))
}

func TestQueryNameString(t *testing.T) {
	r := newRig(t)
	named := r.objectOf(r.event(`\BaseNamedObjects\N`, 3, nt.OBJ_KERNEL_HANDLE))
	info, n := r.mem(256), r.mem(4)
	for _, c := range []struct {
		object uint64
		want   string
	}{
		{named, `\BaseNamedObjects\N`},
		{uint64(r.thread.Object), ""},
		{r.pointer("IoFileObjectType"), `\ObjectTypes\File`},
	} {
		needed := uint32(16)
		if c.want != "" {
			needed += 2*uint32(len(c.want)) + 2
		}
		assert.Equal(t, nt.STATUS_INFO_LENGTH_MISMATCH,
			r.status("ObQueryNameString", c.object, info, uint64(needed-1), n), c.want)
		assert.Equal(t, needed, r.u32(n), c.want)
		assert.Equal(t, nt.STATUS_SUCCESS,
			r.status("ObQueryNameString", c.object, info, uint64(needed), n), c.want)
		assert.Equal(t, c.want, r.readUstr(info))
	}
}

func TestReferenceObjectByName(t *testing.T) {
	r := newRig(t)
	object := r.objectOf(r.event(`\BaseNamedObjects\N`, 3, nt.OBJ_KERNEL_HANDLE))
	p := r.mem(8)
	event, driver := r.pointer("ExEventObjectType"), r.pointer("IoDriverObjectType")
	for _, c := range []struct {
		name   string
		typ    uint64
		status nt.Status
	}{
		{`\basenamedobjects\n`, event, nt.STATUS_SUCCESS},
		{`\BaseNamedObjects\N`, driver, nt.STATUS_OBJECT_TYPE_MISMATCH},
		{`\BaseNamedObjects\N\x`, event, nt.STATUS_OBJECT_TYPE_MISMATCH},
		{`\Driver\None`, driver, nt.STATUS_OBJECT_NAME_NOT_FOUND},
		{`None`, driver, nt.STATUS_OBJECT_PATH_SYNTAX_BAD},
	} {
		assert.Equal(t, c.status, r.status("ObReferenceObjectByName", r.ustr(c.name, 0), 0, 0, 0, c.typ,
			0, 0, p), c.name)
	}
	assert.Equal(t, object, r.u64(p))
	references, _ := r.counts(object)
	assert.EqualValues(t, 3, references, "the handle's, the name's and this one")
}

func TestNamedEvents(t *testing.T) {
	r := newRig(t)
	const name = `\BaseNamedObjects\Shared`
	h := r.event(name, eventAllAccess, nt.OBJ_KERNEL_HANDLE)
	object := r.objectOf(h)
	second := r.mem(8)
	create := func(name string, flags uint32) nt.Status {
		return r.status("ZwCreateEvent", second, uint64(eventAllAccess), r.objectAttributes(name, 0,
			flags), 0, 0)
	}
	assert.Equal(t, nt.STATUS_OBJECT_NAME_COLLISION, create(name, 0))
	require.Equal(t, nt.STATUS_OBJECT_NAME_EXISTS, create(name, nt.OBJ_OPENIF|nt.OBJ_KERNEL_HANDLE))
	assert.Equal(t, object, r.objectOf(r.u64(second)))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", r.u64(second)))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, create(`\Device`, nt.OBJ_OPENIF))
	assert.Equal(t, nt.STATUS_OBJECT_PATH_NOT_FOUND, create(`\None\Event`, 0))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, create(name, 1))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("ZwCreateEvent", second, 3, 0, 2, 0))

	open := func(name string, root uint64) nt.Status {
		return r.status("ZwOpenEvent", second, uint64(eventAllAccess), r.objectAttributes(name, root,
			nt.OBJ_KERNEL_HANDLE))
	}
	require.Equal(t, nt.STATUS_SUCCESS, open(name, 0))
	opened := r.u64(second)
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, open(`\Device`, 0))
	directory := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwOpenDirectoryObject", directory, 3,
		r.objectAttributes(`\BaseNamedObjects`, 0, nt.OBJ_KERNEL_HANDLE)))
	require.Equal(t, nt.STATUS_SUCCESS, open("Shared", r.u64(directory)))
	r.call("ZwClose", r.u64(second))
	assert.Equal(t, nt.STATUS_OBJECT_PATH_SYNTAX_BAD, open(`\Shared`, r.u64(directory)))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, open(`x`, opened))
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, open(`x`, 0x4000))

	before := r.mem(4)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwSetEvent", h, before))
	assert.EqualValues(t, 0, r.u32(before))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwWaitForSingleObject", opened, 0, 0))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwResetEvent", opened, before))
	assert.EqualValues(t, 1, r.u32(before))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClearEvent", opened))
	zero := r.mem(8)
	assert.Equal(t, nt.STATUS_TIMEOUT, r.status("ZwWaitForSingleObject", h, 0, zero))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, r.status("ZwSetEvent", r.u64(directory), 0))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwWaitForSingleObject", r.u64(directory), 0, zero),
		"what cannot be waited for is signalled")
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, r.status("ZwWaitForSingleObject", 0x4000, 0, zero))

	r.call("ZwClose", h)
	r.call("ZwClose", opened)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, open(name, 0), "the last handle is closed")
}

func TestPermanentEvent(t *testing.T) {
	r := newRig(t)
	const name = `\BaseNamedObjects\Stays`
	r.call("ZwClose", r.event(name, eventAllAccess, nt.OBJ_PERMANENT|nt.OBJ_KERNEL_HANDLE))
	again := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwOpenEvent", again, 2, r.objectAttributes(name, 0,
		nt.OBJ_KERNEL_HANDLE)))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwMakeTemporaryObject", r.u64(again)))
	r.call("ZwClose", r.u64(again))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, r.status("ZwOpenEvent", again, 2,
		r.objectAttributes(name, 0, 0)))

	r.call("ZwClose", r.event(name, eventAllAccess, nt.OBJ_PERMANENT|nt.OBJ_KERNEL_HANDLE))
	p := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ObReferenceObjectByName", r.ustr(name, 0), 0, 0, 0,
		0,
		0, 0, p))
	r.call("ObMakeTemporaryObject", r.u64(p))
	_, _, status := r.Ob.Lookup(name)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status)
	assert.EqualValues(t, 0, r.call("ObfDereferenceObject", r.u64(p)))
}

func TestIoCreateEvents(t *testing.T) {
	r := newRig(t)
	h, again := r.mem(8), r.mem(8)
	event := r.call("IoCreateNotificationEvent", r.ustr(`\BaseNamedObjects\N`, 0), h)
	require.NotZero(t, event)
	assert.EqualValues(t, nt.EventNotificationObject, r.read(event, 1)[0])
	assert.EqualValues(t, 1, r.call("KeReadStateEvent", event), "a new one is signalled")
	assert.True(t, ob.IsKernelHandle(nt.Handle(r.u64(h))))
	r.call("KeClearEvent", event)
	assert.Equal(t, event, r.call("IoCreateNotificationEvent", r.ustr(`\BaseNamedObjects\n`, 0),
		again))
	assert.EqualValues(t, 0, r.call("KeReadStateEvent", event))
	references, handles := r.counts(event)
	assert.EqualValues(t, 2, handles)
	assert.EqualValues(t, 3, references, "two handles and the name")

	event = r.call("IoCreateSynchronizationEvent", r.ustr(`\BaseNamedObjects\S`, 0), h)
	require.NotZero(t, event)
	assert.EqualValues(t, nt.EventSynchronizationObject, r.read(event, 1)[0])
	assert.Zero(t, r.call("IoCreateSynchronizationEvent", r.ustr(`\Device`, 0), h))
	assert.Zero(t, r.call("IoCreateNotificationEvent", r.ustr(`\No\Way`, 0), h))
}

func TestDirectoryObjects(t *testing.T) {
	r := newRig(t)
	h, second := r.mem(8), r.mem(8)
	create := func(name string, flags uint32) nt.Status {
		return r.status("ZwCreateDirectoryObject", second, 0xF000F, r.objectAttributes(name, 0, flags))
	}
	require.Equal(t, nt.STATUS_SUCCESS, create(`\Own`, nt.OBJ_KERNEL_HANDLE))
	r.put64(h, r.u64(second))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_COLLISION, create(`\Own`, 0))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_EXISTS, create(`\OWN`, nt.OBJ_OPENIF|nt.OBJ_KERNEL_HANDLE))
	r.call("ZwClose", r.u64(second))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, r.status("ZwOpenDirectoryObject", second, 3,
		r.objectAttributes(`\ObjectTypes\File`, 0, 0)))
	r.event(`\Own\b`, 3, 0)
	r.event(`\Own\A`, 3, 0)

	buffer, context, n := r.mem(512), r.mem(4), r.mem(4)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQueryDirectoryObject", r.u64(h), buffer, 512, 0, 1,
		context, n))
	assert.Equal(t, "A", r.readUstr(buffer))
	assert.Equal(t, "Event", r.readUstr(buffer+16))
	assert.Equal(t, "b", r.readUstr(buffer+32))
	assert.Zero(t, r.u64(buffer+64))
	assert.EqualValues(t, 2, r.u32(context))
	next := func(length uint64, restart uint64) nt.Status {
		return r.status("ZwQueryDirectoryObject", r.u64(h), buffer, length, 1, restart, context, n)
	}
	assert.Equal(t, nt.STATUS_NO_MORE_ENTRIES, next(512, 0))
	require.Equal(t, nt.STATUS_SUCCESS, next(512, 1))
	require.Equal(t, nt.STATUS_SUCCESS, next(512, 0))
	assert.Equal(t, "b", r.readUstr(buffer))
	assert.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, next(64, 1))
	need := uint64(r.u32(n))
	assert.Equal(t, nt.STATUS_SUCCESS, next(need, 1))
	assert.Equal(t, nt.STATUS_MORE_ENTRIES, r.status("ZwQueryDirectoryObject", r.u64(h), buffer,
		need, 0,
		1, context, n))
}

func TestSymbolicLinkObjects(t *testing.T) {
	changes := 0
	r := newRigOf(t, newKernel(t, Options{Processors: 1, OnLinks: func() { changes++ }}))
	h := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwCreateSymbolicLinkObject", h, 0xF0001,
		r.objectAttributes(`\??\Mine`, 0, nt.OBJ_KERNEL_HANDLE), r.ustr(`\Device\Mine`, 0)))
	assert.Equal(t, 1, changes)
	link := r.u64(h)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwOpenSymbolicLinkObject", h, 1,
		r.objectAttributes(`\DosDevices\Mine`, 0, nt.OBJ_KERNEL_HANDLE)))
	n, target := r.mem(4), r.ustr("", 26)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQuerySymbolicLinkObject", r.u64(h), target, n))
	assert.Equal(t, `\Device\Mine`, r.readUstr(target))
	assert.EqualValues(t, 26, r.u32(n))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQuerySymbolicLinkObject", r.u64(h), r.ustr("",
		24), 0))
	assert.Equal(t, nt.STATUS_BUFFER_TOO_SMALL,
		r.status("ZwQuerySymbolicLinkObject", r.u64(h), r.ustr("", 24), n), "no room for the zero")
	assert.Equal(t, nt.STATUS_BUFFER_TOO_SMALL,
		r.status("ZwQuerySymbolicLinkObject", r.u64(h), r.ustr("", 22), 0))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, r.status("ZwOpenSymbolicLinkObject", n, 1,
		r.objectAttributes(`\Device`, 0, 0)))
	r.call("ZwClose", r.u64(h))
	assert.Len(t, r.Ob.Links(`\GLOBAL??`), 1)
	r.call("ZwClose", link)
	assert.Empty(t, r.Ob.Links(`\GLOBAL??`), "a temporary link goes with its last handle")
	assert.Equal(t, 2, changes)

	require.EqualValues(t, nt.STATUS_SUCCESS, r.status("IoCreateSymbolicLink", r.ustr(`\??\Stays`, 0),
		r.ustr(`\Device\Mine`, 0)))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwOpenSymbolicLinkObject", h, 1,
		r.objectAttributes(`\??\Stays`, 0, nt.OBJ_KERNEL_HANDLE)))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("IoDeleteSymbolicLink", r.ustr(`\??\Stays`, 0)))
	r.call("ZwClose", r.u64(h))
}

// record makes a routine that writes its first three arguments to the memory that is given, with a
// count of calls behind them.
func (r *driverRig) record() (routine, at uint64) {
	at = r.mem(32)
	code := append([]byte{0x48, 0xB8}, binary.LittleEndian.AppendUint64(nil, at)...) // mov rax, at
	code = append(code,
		0x48, 0x89, 0x08, // mov [rax], rcx
		0x48, 0x89, 0x50, 0x08, // mov [rax+8], rdx
		0x4C, 0x89, 0x40, 0x10, // mov [rax+10h], r8
		0x48, 0xFF, 0x40, 0x18, // inc qword [rax+18h]
		0xC3)
	return r.routine(code...), at
}

func TestHandleCallbacks(t *testing.T) {
	r := newRig(t)
	assert.EqualValues(t, 0x100, r.call("ObGetFilterVersion")&0xFFFF)
	// and dword [info->Parameters], ~PROCESS_TERMINATE; the original rights stay.
	strip := r.routine(0x48, 0x8B, 0x42, 0x20, 0x83, 0x20, 0xFE, 0x31, 0xC0, 0xC3)
	post, posted := r.record()
	register := func(altitude string, count uint16, typ uint64, operations uint32, pre, post uint64,
		result uint64) nt.Status {
		op := r.mem(32)
		r.put64(op, typ)
		r.put32(op+8, operations)
		r.put64(op+16, pre)
		r.put64(op+24, post)
		reg := r.mem(0x28)
		r.write(reg, []byte{0, 1, byte(count), 0})
		r.write(reg+8, r.read(r.ustr(altitude, 0), 16))
		r.put64(reg+0x18, 0xC0FFEE)
		r.put64(reg+0x20, op)
		return r.status("ObRegisterCallbacks", reg, result)
	}
	process := uint64(r.symbol("PsProcessType"))
	handle, h := r.mem(8), r.mem(8)
	for fact, got := range map[string]nt.Status{
		"no operations":    register("1", 1, process, 0, strip, 0, handle),
		"no routines":      register("1", 1, process, 1, 0, 0, handle),
		"none":             register("1", 0, process, 1, strip, 0, handle),
		"a type of events": register("1", 1, uint64(r.symbol("ExEventObjectType")), 1, strip, 0, handle),
	} {
		assert.Equal(t, nt.STATUS_INVALID_PARAMETER, got, fact)
	}
	require.Equal(t, nt.STATUS_SUCCESS, register("370030.5", 1, process, 1, strip, post, handle))
	assert.Equal(t, nt.STATUS_FLT_INSTANCE_ALTITUDE_COLLISION,
		register("370030.50", 1, process, 1, strip, 0, h))

	open := func() uint32 {
		cid := r.mem(16)
		r.put64(cid, 4)
		require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwOpenProcess", h, 0x1FFFFF,
			r.objectAttributes("", 0, nt.OBJ_KERNEL_HANDLE), cid))
		p, info := r.mem(8), r.mem(8)
		require.Equal(t, nt.STATUS_SUCCESS, r.status("ObReferenceObjectByHandle", r.u64(h), 0, 0, 0, p,
			info))
		r.call("ObfDereferenceObject", r.u64(p))
		r.call("ZwClose", r.u64(h))
		return r.u32(info + 4)
	}
	assert.EqualValues(t, 0x1FFFFE, open(), "PROCESS_TERMINATE was taken away")
	assert.EqualValues(t, 0xC0FFEE, r.u64(posted))
	assert.EqualValues(t, 1, r.u64(posted+0x18))
	r.call("ObUnRegisterCallbacks", r.u64(handle))
	assert.EqualValues(t, 0x1FFFFF, open())
	assert.EqualValues(t, 1, r.u64(posted+0x18))
}

func TestAltitudesAreNumbers(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1", "2", -1}, {"10", "9", 1}, {"010", "10", 0}, {"10.5", "10.50", 0}, {"10.05", "10.5", -1},
		{"", "0", 0}, {"320000.00001", "320000", 1},
	} {
		assert.Equal(t, c.want, compareAltitudes(c.a, c.b), "%s and %s", c.a, c.b)
		assert.Equal(t, -c.want, compareAltitudes(c.b, c.a), "%s and %s", c.b, c.a)
	}
}

func TestRoutineThatIsTakenOffIsNotUnderWay(t *testing.T) {
	r := newRigOf(t, newKernel(t, Options{Processors: 2}))
	other, err := r.Ke.NewThread(r.Ke.SystemProcess)
	require.NoError(t, err)
	var list routineList[int]
	require.True(t, list.insert(1, nil, nil))
	started, finish, done := make(chan struct{}), make(chan struct{}), make(chan bool, 1)
	calls := 0
	go func() {
		done <- other.Do(func() {
			list.each(other, func(int) { calls++; close(started); <-finish })
		}) == nil
	}()
	<-started
	require.NoError(t, r.thread.Do(func() {
		go close(finish)
		assert.True(t, list.remove(r.thread, func(int) bool { return true }))
		list.mu.Lock()
		defer list.mu.Unlock()
		assert.Empty(t, list.all)
	}))
	assert.True(t, <-done)
	list.each(r.thread, func(int) { calls++ })
	assert.Equal(t, 1, calls)
	assert.False(t, list.remove(r.thread, func(int) bool { return true }))
}
