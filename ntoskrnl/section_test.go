package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

const (
	secCommit     = 0x08000000
	pageRO        = 2
	pageRW        = 4
	currentProc   = ^uint64(0)
	sectionAccess = 0xF001F
	dontInherit   = 2
)

// section makes a section with a handle, of the kernel's table.
func (r *driverRig) section(name string, size uint64) uint64 {
	r.t.Helper()
	h, max := r.mem(8), r.mem(8)
	r.put64(max, size)
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("ZwCreateSection", h, sectionAccess,
		r.objectAttributes(name, 0, nt.OBJ_KERNEL_HANDLE), max, pageRW, secCommit, 0))
	return r.u64(h)
}

// viewArgs is a request of ZwMapViewOfSection, and its answer.
type viewArgs struct{ base, zeroBits, commit, offset, size, protect uint64 }

func (r *driverRig) mapView(section, process uint64, v *viewArgs) nt.Status {
	base, offset, size := r.mem(8), r.mem(8), r.mem(8)
	r.put64(base, v.base)
	r.put64(offset, v.offset)
	r.put64(size, v.size)
	status := r.status("ZwMapViewOfSection", section, process, base, v.zeroBits, v.commit, offset,
		size, dontInherit, 0, v.protect)
	if status == nt.STATUS_SUCCESS {
		v.base, v.offset, v.size = r.u64(base), r.u64(offset), r.u64(size)
	}
	return status
}

func TestNamedSectionsAreShared(t *testing.T) {
	r := newRig(t)
	const name = `\BaseNamedObjects\shared`
	h := r.section(name, 0x23456)
	again, max := r.mem(8), r.mem(8)
	r.put64(max, 1)
	for flags, want := range map[uint32]nt.Status{
		0:             nt.STATUS_OBJECT_NAME_COLLISION,
		nt.OBJ_OPENIF: nt.STATUS_OBJECT_NAME_EXISTS,
	} {
		require.Equal(t, want, r.status("ZwCreateSection", again, sectionAccess,
			r.objectAttributes(name, 0, flags|nt.OBJ_KERNEL_HANDLE), max, pageRW, secCommit, 0))
	}
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwOpenSection", again, 4,
		r.objectAttributes(`\basenamedobjects\SHARED`, 0, nt.OBJ_KERNEL_HANDLE)))
	require.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, r.status("ZwOpenSection", again+0, 4,
		r.objectAttributes(`\BaseNamedObjects\other`, 0, 0)))
	require.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, r.status("ZwOpenSection", r.mem(8), 4,
		r.objectAttributes(`\BaseNamedObjects`, 0, 0)))

	info, n := r.mem(0x40), r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQuerySection", h, 0, info, 24, n))
	assert.EqualValues(t, 0x24000, r.u64(info+16))
	assert.EqualValues(t, secCommit, r.u32(info+8))
	assert.EqualValues(t, 24, r.u64(n))
	assert.Equal(t, nt.STATUS_INFO_LENGTH_MISMATCH, r.status("ZwQuerySection", h, 0, info, 23, 0))
	assert.Equal(t, nt.STATUS_INVALID_INFO_CLASS, r.status("ZwQuerySection", h, 9, info, 24, 0))
	assert.Equal(t, nt.STATUS_SECTION_NOT_IMAGE, r.status("ZwQuerySection", h, 1, info, 0x40, 0))

	one, two := viewArgs{protect: pageRW}, viewArgs{protect: pageRO, offset: 0x10000, size: 1}
	require.Equal(t, nt.STATUS_SUCCESS, r.mapView(h, currentProc, &one))
	require.Equal(t, nt.STATUS_SUCCESS, r.mapView(r.u64(again), currentProc, &two))
	assert.EqualValues(t, 0x24000, one.size)
	assert.EqualValues(t, 0x1000, two.size)
	r.write(one.base+0x10000, []byte("the same"))
	assert.Equal(t, []byte("the same"), r.read(two.base, 8))
	assert.Error(t, guest.Store8(guest.Addr(two.base), 1))
	assert.Less(t, one.base, uint64(guest.UserEnd))

	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", h))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", r.u64(again)))
	r.write(one.base, []byte("x")) // a view keeps the section
	assert.Equal(t, 2, r.Mm.Use().Sections, "this one and the physical memory")
	for _, v := range []viewArgs{one, two} {
		require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwUnmapViewOfSection", currentProc, v.base+5))
		require.Equal(t, nt.STATUS_NOT_MAPPED_VIEW, r.status("ZwUnmapViewOfSection", currentProc, v.base))
	}
	assert.Zero(t, r.Mm.Use().Mappings)
	// The handle of OBJ_OPENIF is still open.
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwOpenSection", again, 4,
		r.objectAttributes(name, 0, nt.OBJ_KERNEL_HANDLE)))
}

func TestASectionGoesWithItsLastHandleAndView(t *testing.T) {
	r := newRig(t)
	before := r.Mm.Use()
	h := r.section(`\BaseNamedObjects\gone`, 0x10000)
	v := viewArgs{protect: pageRW}
	require.Equal(t, nt.STATUS_SUCCESS, r.mapView(h, currentProc, &v))
	r.call("ZwClose", h)
	require.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, r.status("ZwOpenSection", r.mem(8), 4,
		r.objectAttributes(`\BaseNamedObjects\gone`, 0, 0)))
	require.NotEqual(t, before.Other, r.Mm.Use().Other)
	r.call("ZwUnmapViewOfSection", currentProc, v.base)
	after := r.Mm.Use()
	assert.Equal(t, before.Other, after.Other)
	assert.Equal(t, before.Sections, after.Sections)
}

func TestMisuseOfSections(t *testing.T) {
	r := newRig(t)
	h, event := r.section("", 5*0x10000), r.event("", eventAllAccess, nt.OBJ_KERNEL_HANDLE)
	for _, c := range []struct {
		fact             string
		size             uint64
		protect, attribs uint64
		file             uint64
		want             nt.Status
	}{
		{"no size", 0, pageRW, secCommit, 0, nt.STATUS_INVALID_PARAMETER_4},
		{"no protection", 1, 0, secCommit, 0, nt.STATUS_INVALID_PAGE_PROTECTION},
		{"no attributes", 1, pageRW, 0, 0, nt.STATUS_INVALID_PARAMETER_6},
		{"too large", 1 << 60, pageRW, secCommit, 0, nt.STATUS_SECTION_TOO_BIG},
		{"larger than the memory", 1 << 40, pageRW, secCommit, 0, nt.STATUS_COMMITMENT_LIMIT},
		{"no handle of a file", 1, pageRW, secCommit, 0x4000, nt.STATUS_INVALID_HANDLE},
		{"another handle than of a file", 1, pageRW, secCommit, event, nt.STATUS_OBJECT_TYPE_MISMATCH},
		{"an image without a file", 1, pageRO, 0x01000000, 0, nt.STATUS_INVALID_FILE_FOR_SECTION},
	} {
		max := r.mem(8)
		r.put64(max, c.size)
		assert.Equal(t, c.want, r.status("ZwCreateSection", r.mem(8), sectionAccess, 0, max, c.protect,
			c.attribs, c.file), c.fact)
		assert.Equal(t, c.want, r.status("MmCreateSection", r.mem(8), sectionAccess, 0, max, c.protect,
			c.attribs, c.file, 0), c.fact)
	}
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER_4, r.status("ZwCreateSection", r.mem(8),
		sectionAccess, 0, 0, pageRW, secCommit, 0), "no pointer to a size")
	assert.Equal(t, nt.STATUS_INVALID_FILE_FOR_SECTION, r.status("MmCreateSection", r.mem(8),
		sectionAccess, 0, r.mem(8), pageRW, secCommit, 0, r.mem(8)))
	for _, c := range []struct {
		fact             string
		section, process uint64
		v                viewArgs
		want             nt.Status
	}{
		{"no section", 0x4000, currentProc, viewArgs{protect: pageRW}, nt.STATUS_INVALID_HANDLE},
		{"a process as a section", currentProc, currentProc, viewArgs{protect: pageRW},
			nt.STATUS_OBJECT_TYPE_MISMATCH},
		{"no process", h, 0, viewArgs{protect: pageRW}, nt.STATUS_INVALID_HANDLE},
		{"a section as a process", h, h, viewArgs{protect: pageRW}, nt.STATUS_OBJECT_TYPE_MISMATCH},
		{"an odd address", h, currentProc, viewArgs{base: 0x567A20, protect: pageRW},
			nt.STATUS_MAPPED_ALIGNMENT},
		{"an odd offset", h, currentProc, viewArgs{offset: 0x1000, protect: pageRW},
			nt.STATUS_MAPPED_ALIGNMENT},
		{"a system address", h, currentProc, viewArgs{base: uint64(guest.SystemRangeStart) + 200,
			protect: pageRW}, nt.STATUS_INVALID_PARAMETER_3},
		{"zero bits", h, currentProc, viewArgs{zeroBits: 22, protect: pageRW},
			nt.STATUS_INVALID_PARAMETER_4},
		{"to commit more", h, currentProc, viewArgs{commit: 0x1000000, protect: pageRW},
			nt.STATUS_INVALID_PARAMETER_5},
		{"more than it has", h, currentProc, viewArgs{size: 5*0x10000 + 1, protect: pageRW},
			nt.STATUS_INVALID_VIEW_SIZE},
		{"execution", h, currentProc, viewArgs{protect: 0x20}, nt.STATUS_SECTION_PROTECTION},
		{"no protection", h, currentProc, viewArgs{}, nt.STATUS_INVALID_PAGE_PROTECTION},
		{"addresses across the end of user memory", h, currentProc,
			viewArgs{base: uint64(guest.UserEnd) - 0x10000, protect: pageRW},
			nt.STATUS_CONFLICTING_ADDRESSES},
	} {
		assert.Equal(t, c.want, r.mapView(c.section, c.process, &c.v), c.fact)
	}
	for _, c := range []struct {
		inherit, allocation uint64
		want                nt.Status
	}{{0, 0, nt.STATUS_INVALID_PARAMETER_8}, {3, 0, nt.STATUS_INVALID_PARAMETER_8},
		{1, 0x1000, nt.STATUS_INVALID_PARAMETER_9}, {1, 0x2000, nt.STATUS_INVALID_PARAMETER_9}} {
		assert.Equal(t, c.want, r.status("ZwMapViewOfSection", h, currentProc, r.mem(8), 0, 0, 0,
			r.mem(8), c.inherit, c.allocation, pageRW))
	}
	assert.Zero(t, r.Mm.Use().Mappings)
	assert.Equal(t, nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED, bugcheck(t, nt.PASSIVE_LEVEL,
		"ZwMapViewOfSection", func(r *driverRig) []uint64 {
			return []uint64{r.section("", 1), currentProc, 0, 0, 0, 0, r.mem(8), 1, 0, pageRW}
		}).Code)
	b := bugcheck(t, nt.PASSIVE_LEVEL, "MmUnmapViewInSystemSpace", func(r *driverRig) []uint64 {
		return []uint64{r.mem(8)}
	})
	assert.Equal(t, nt.DRIVER_UNMAPPING_INVALID_VIEW, b.Code)
	b = bugcheck(t, nt.PASSIVE_LEVEL, "MmMapViewInSystemSpace", func(r *driverRig) []uint64 {
		return []uint64{r.mem(64), r.mem(8), r.mem(8)}
	})
	assert.Equal(t, nt.REFERENCE_BY_POINTER, b.Code)
	assert.Equal(t, nt.IRQL_NOT_LESS_OR_EQUAL, bugcheck(t, nt.DISPATCH_LEVEL, "MmMapViewInSystemSpace",
		func(r *driverRig) []uint64 { return []uint64{r.mem(64), r.mem(8), r.mem(8)} }).Code)
}

func TestViewsOfAClient(t *testing.T) {
	r := newRig(t)
	h := r.section("", 0x20000)
	system := viewArgs{protect: pageRW}
	require.Equal(t, nt.STATUS_SUCCESS, r.mapView(h, currentProc, &system))
	r.call("ProbeForWrite", system.base, system.size, 1)
	mdl := r.call("MmCreateMdl", 0, system.base, 0x2000)
	r.call("MmProbeAndLockPages", mdl, uint64(nt.KernelMode), 1)
	mapped := r.call("MmMapLockedPagesSpecifyCache", mdl, uint64(nt.KernelMode), 1, 0, 0, 16)
	r.write(system.base, []byte("seen"))
	require.Equal(t, []byte("seen"), r.read(mapped, 4))
	w := r.asClient()
	wanted := uint64(guest.UserEnd) - 0x1000000
	v := viewArgs{base: wanted, protect: pageRW}
	require.Equal(t, nt.STATUS_SUCCESS, r.mapView(h, currentProc, &v))
	assert.Equal(t, wanted, v.base)
	assert.True(t, w.Contains(guest.Addr(v.base), uintptr(v.size)))
	assert.False(t, w.Contains(guest.Addr(system.base), 1))
	r.call("ProbeForWrite", v.base, v.size, 1)
	require.Equal(t, []byte("seen"), r.read(v.base, 4))
	assert.Equal(t, nt.STATUS_NOT_MAPPED_VIEW, r.status("ZwUnmapViewOfSection", currentProc,
		system.base))

	object, process := r.objectOf(h), uint64(r.thread.Process.Object)
	base, offset, size := r.mem(8), r.mem(8), r.mem(8)
	r.put64(offset, 0x10004)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("MmMapViewOfSection", object, process, base, 0, 0,
		offset, size, dontInherit, 0, pageRO))
	assert.EqualValues(t, 0x10000, r.u64(offset), "rounded down")
	assert.EqualValues(t, 0x10000, r.u64(size))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("MmUnmapViewOfSection", process, r.u64(base)))
	require.Equal(t, nt.STATUS_NOT_MAPPED_VIEW, r.status("MmUnmapViewOfSection", process, r.u64(base)))
	r.call("MmUnlockPages", mdl)
	r.call("IoFreeMdl", mdl)
	require.NoError(t, w.Release())
	assert.Equal(t, 1, r.Mm.Use().Mappings, "that of the System process")
	v.base = 0
	assert.Equal(t, nt.STATUS_PROCESS_IS_TERMINATING, r.mapView(h, currentProc, &v))
}

func TestViewsInSystemSpace(t *testing.T) {
	r := newRig(t)
	out, max := r.mem(8), r.mem(8)
	r.put64(max, 0x30000)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("MmCreateSection", out, sectionAccess, 0, max, pageRW,
		secCommit, 0, 0))
	section := r.u64(out)
	require.Equal(t, r.pointer("MmSectionObjectType"), r.call("ObGetObjectType", section))
	base, size, offset := r.mem(8), r.mem(8), r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("MmMapViewInSystemSpace", section, base, size))
	whole := r.u64(base)
	assert.EqualValues(t, 0x30000, r.u64(size))
	assert.Greater(t, whole, uint64(guest.SystemRangeStart))
	r.put64(offset, 0x10008)
	r.put64(size, 0x10)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("MmMapViewInSystemSpaceEx", section, base, size,
		offset, 0))
	assert.EqualValues(t, 0x10000, r.u64(offset))
	assert.EqualValues(t, 0x1000, r.u64(size))
	part := r.u64(base)
	r.write(whole+0x10008, []byte("both"))
	assert.Equal(t, []byte("both"), r.read(part+8, 4))
	assert.Equal(t, r.call("MmGetPhysicalAddress", whole+0x10000),
		r.call("MmGetPhysicalAddress", part))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER_5, r.status("MmMapViewInSystemSpaceEx", section, base,
		size, offset, 2))
	r.put64(size, 0x30001)
	assert.Equal(t, nt.STATUS_INVALID_VIEW_SIZE, r.status("MmMapViewInSystemSpace", section, base,
		size))
	r.call("ObfDereferenceObject", section)
	r.write(whole, []byte("still there"))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("MmUnmapViewInSystemSpace", whole))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("MmUnmapViewInSystemSpace", part))
	assert.Equal(t, 1, r.Mm.Use().Sections)
}

func TestThePhysicalMemoryCanBeMapped(t *testing.T) {
	r := newRig(t)
	h := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwOpenSection", h, sectionAccess,
		r.objectAttributes(`\Device\PhysicalMemory`, 0, nt.OBJ_KERNEL_HANDLE)))
	a := r.call("MmAllocateContiguousMemory", 0x3000, 0xFFFFFFFF)
	r.write(a+0x1234, []byte("physical"))
	p := r.call("MmGetPhysicalAddress", a+0x1234)
	v := viewArgs{offset: p, size: 8, commit: 8, protect: pageRW | 0x200}
	require.Equal(t, nt.STATUS_SUCCESS, r.mapView(r.u64(h), currentProc, &v))
	assert.Equal(t, p&^0xFFFF, v.offset)
	assert.Equal(t, []byte("physical"), r.read(v.base+p-v.offset, 8))
	assert.Equal(t, p, r.call("MmGetPhysicalAddress", v.base+p-v.offset))
	r.write(v.base+p-v.offset, []byte("written!"))
	assert.Equal(t, []byte("written!"), r.read(a+0x1234, 8))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwUnmapViewOfSection", currentProc, v.base))
	r.call("MmFreeContiguousMemory", a)

	io := r.call("MmMapIoSpace", 0xE0000, 0x100, 0)
	r.put32(io+4, 0x55AA55AA)
	v = viewArgs{offset: 0xE0000, size: 0x100, protect: pageRO}
	require.Equal(t, nt.STATUS_SUCCESS, r.mapView(r.u64(h), currentProc, &v))
	assert.EqualValues(t, 0x55AA55AA, r.u32(v.base+4))
	r.call("MmUnmapIoSpace", io, 0x100)
	r.call("ZwUnmapViewOfSection", currentProc, v.base)
	assert.Equal(t, nt.STATUS_INVALID_PAGE_PROTECTION, r.mapView(r.u64(h), currentProc,
		&viewArgs{size: 1, protect: 8}))
	r.call("ZwClose", r.u64(h))
	assert.Zero(t, r.Mm.Use().Mappings)
}

func TestNoFileHasSections(t *testing.T) {
	r := newRig(t)
	pointers := r.mem(24)
	for _, c := range []struct {
		data, image uint64
		name        string
		arg, want   uint64
	}{
		{0, 0, "MmFlushImageSection", 0, 1}, {0, 0, "MmForceSectionClosed", 0, 1},
		{0, 1, "MmFlushImageSection", 1, 0}, {1, 0, "MmFlushImageSection", 0, 0},
		{1, 0, "MmFlushImageSection", 1, 1}, {1, 0, "MmForceSectionClosed", 1, 0},
	} {
		r.put64(pointers, c.data)
		r.put64(pointers+16, c.image)
		assert.Equal(t, c.want, r.call(c.name, pointers, c.arg), "%v", c)
	}
}
