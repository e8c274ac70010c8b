package ntoskrnl

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

func (r *driverRig) pool(n uint64) uint64 { return r.call("ExAllocatePoolWithTag", 512, n, tagEcho) }

func TestMDLOfPool(t *testing.T) {
	r := newRig(t)
	buf := r.pool(5000)
	require.EqualValues(t, 48+8*2, r.call("MmSizeOfMdl", buf, 5000))
	mdl := r.call("MmCreateMdl", 0, buf, 5000)
	require.Equal(t, mdl, r.call("MmCreateMdl", mdl, buf, 5000), "in the caller's memory")
	r.call("MmBuildMdlForNonPagedPool", mdl)
	flags := r.u16(mdl + 10)
	require.NotZero(t, flags&uint16(nt.MDL_SOURCE_IS_NONPAGED_POOL))
	require.Equal(t, buf, r.u64(mdl+24), "MappedSystemVa")
	require.Equal(t, r.call("MmGetPhysicalAddress", buf)>>12, r.u64(mdl+48), "the first page")
	r.call("IoFreeMdl", mdl)
	r.call("ExFreePool", buf)
}

func TestMDLOfUserMemory(t *testing.T) {
	r := newRig(t)
	w := r.asClient()
	user, ok := w.Alloc(8192, 0)
	require.True(t, ok)
	a := uint64(user) + 100
	mdl := r.call("MmCreateMdl", 0, a, 5000)
	r.call("MmProbeAndLockPages", mdl, uint64(nt.UserMode), 1)
	require.Equal(t, 2, w.LockedPages())

	sys := r.call("MmMapLockedPagesSpecifyCache", mdl, uint64(nt.KernelMode), 1, 0, 0, 16)
	require.Greater(t, sys, uint64(guest.SystemRangeStart))
	r.write(sys, []byte("hello"))
	require.Equal(t, []byte("hello"), r.read(a, 5), "the same memory")
	require.Equal(t, nt.STATUS_INVALID_PAGE_PROTECTION,
		r.status("MmProtectMdlSystemAddress", mdl, 0x12345678))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("MmProtectMdlSystemAddress", mdl, 2))
	r.call("MmUnmapLockedPages", sys, mdl)
	require.Equal(t, sys, r.call("MmMapLockedPages", mdl, uint64(nt.KernelMode)))
	r.call("MmUnlockPages", mdl)
	require.Zero(t, w.LockedPages())
	r.call("IoFreeMdl", mdl)
}

func TestPoolMappedForAUser(t *testing.T) {
	r := newRig(t)
	w := r.asClient()
	buf := r.pool(8192)
	mdl := r.call("MmCreateMdl", 0, buf, 8192)
	r.call("MmBuildMdlForNonPagedPool", mdl)
	user := r.call("MmMapLockedPagesSpecifyCache", mdl, uint64(nt.UserMode), 1, 0, 0, 16)
	require.True(t, w.Contains(guest.Addr(user), 8192))
	r.write(buf, []byte("seen"))
	require.Equal(t, []byte("seen"), r.read(user, 4))
	r.call("ProbeForWrite", user, 8192, 1)
	r.call("MmUnmapLockedPages", user, mdl)
	require.False(t, w.Contains(guest.Addr(user), 8192))
	r.call("IoFreeMdl", mdl)
	r.call("ExFreePool", buf)
}

func TestMDLMisuse(t *testing.T) {
	pooled := func(r *driverRig) uint64 { return r.call("MmCreateMdl", 0, r.pool(4096), 4096) }
	for _, c := range []struct {
		fact string
		irql nt.IRQL
		name string
		args func(r *driverRig) []uint64
		code nt.BugCheck
	}{
		{"mapping what is not locked", nt.PASSIVE_LEVEL, "MmMapLockedPages",
			func(r *driverRig) []uint64 { return []uint64{pooled(r), uint64(nt.KernelMode)} },
			nt.DRIVER_VERIFIER_DETECTED_VIOLATION},
		{"unmapping what is not mapped", nt.PASSIVE_LEVEL, "MmUnmapLockedPages",
			func(r *driverRig) []uint64 { return []uint64{r.pool(4096), pooled(r)} },
			nt.SYSTEM_PTE_MISUSE},
		{"mapping for a user at DISPATCH_LEVEL", nt.DISPATCH_LEVEL, "MmMapLockedPagesSpecifyCache",
			func(r *driverRig) []uint64 { return []uint64{pooled(r), uint64(nt.UserMode), 1, 0, 0, 0} },
			nt.IRQL_NOT_LESS_OR_EQUAL},
		{"allocating pages at DISPATCH_LEVEL", nt.DISPATCH_LEVEL, "MmAllocatePagesForMdl",
			func(r *driverRig) []uint64 { return []uint64{0, math.MaxUint64, 0, 4096} },
			nt.IRQL_NOT_LESS_OR_EQUAL},
		{"locking another's memory", nt.PASSIVE_LEVEL, "MmProbeAndLockPages",
			func(r *driverRig) []uint64 {
				w, err := r.Mm.NewWindow(0, "another")
				require.NoError(r.t, err)
				return []uint64{r.call("MmCreateMdl", 0, uint64(w.Base()), 10), uint64(nt.UserMode), 0}
			}, nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED},
		{"mapping for a process without user memory", nt.PASSIVE_LEVEL, "MmMapLockedPages",
			func(r *driverRig) []uint64 {
				mdl := pooled(r)
				r.call("MmBuildMdlForNonPagedPool", mdl)
				return []uint64{mdl, uint64(nt.UserMode)}
			}, nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED},
	} {
		b := bugcheck(t, c.irql, c.name, c.args)
		require.Equal(t, c.code, b.Code, "%s: %v", c.fact, b)
	}
}

func TestMDLOfUserMemoryNamesItsProcess(t *testing.T) {
	const process = 0x10 // of MDL.Process
	r := newRig(t)
	w := r.asClient()
	mdl := r.call("MmCreateMdl", 0, uint64(w.Base()), 4096)
	r.call("MmProbeAndLockPages", mdl, uint64(nt.UserMode), uint64(mm.IoWriteAccess))
	require.EqualValues(t, r.thread.Process.Object, r.u64(mdl+process))
	r.call("MmUnlockPages", mdl)
	mdl = r.call("MmCreateMdl", 0, r.pool(4096), 4096)
	r.put64(mdl+process, 1)
	r.call("MmProbeAndLockPages", mdl, uint64(nt.KernelMode), uint64(mm.IoWriteAccess))
	require.Zero(t, r.u64(mdl+process))
	r.call("MmUnlockPages", mdl)
}

func TestPagesOfMDLs(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		name string
		args []uint64
	}{
		{"MmAllocatePagesForMdl", []uint64{0, math.MaxInt64, 0, 3 * 4096}},
		{"MmAllocatePagesForMdlEx", []uint64{0, math.MaxInt64, 0, 3 * 4096, 1, 4}},
	} {
		mdl := r.call(c.name, c.args...)
		require.Equal(t, uint32(3*4096), r.u32(mdl+40), c.name)
		a := r.call("MmMapLockedPagesSpecifyCache", mdl, uint64(nt.KernelMode), 1, 0, 0, 16)
		require.Equal(t, make([]byte, 3*4096), r.read(a, 3*4096), c.name)
		require.Equal(t, r.u64(mdl+48)<<12, r.call("MmGetPhysicalAddress", a))
		r.call("MmFreePagesFromMdl", mdl)
		r.call("ExFreePool", mdl)
	}
	require.Zero(t, r.call("MmAllocatePagesForMdlEx", 0, math.MaxInt64, 0, 1<<40, 1, 4),
		"fully required")
}

func TestPhysicalMemory(t *testing.T) {
	r := newRig(t)
	a := r.call("MmAllocateContiguousMemory", 3*4096, 0xFFFFFF)
	p := r.call("MmGetPhysicalAddress", a)
	require.LessOrEqual(t, p+3*4096, uint64(1<<24))
	require.Equal(t, p+0x2345, r.call("MmGetPhysicalAddress", a+0x2345))
	require.Equal(t, a+8, r.call("MmGetVirtualForPhysical", p+8))
	r.write(a, []byte("phys"))
	io := r.call("MmMapIoSpace", p, 4096, 0)
	require.NotEqual(t, a, io)
	require.Equal(t, []byte("phys"), r.read(io, 4), "the same page")
	r.call("MmUnmapIoSpace", io, 4096)
	r.call("MmFreeContiguousMemory", a)
	require.Zero(t, r.call("MmGetPhysicalAddress", 0x1000))

	const low, high, boundary = 0x100000, 0x3FFFFFFF, 0x10000
	a = r.call("MmAllocateContiguousMemorySpecifyCache", 0x8000, low, high, boundary, 1)
	p = r.call("MmGetPhysicalAddress", a)
	require.GreaterOrEqual(t, p, uint64(low))
	require.Equal(t, p/boundary, (p+0x7FFF)/boundary)
	r.call("MmFreeContiguousMemorySpecifyCache", a, 0x8000, 1)
	a = r.call("MmAllocateContiguousMemorySpecifyCacheNode", 4096, 0, high, 0, 1, 0)
	r.call("MmFreeContiguousMemory", a)
	a = r.call("MmAllocateContiguousNodeMemory", 4096, 0, high, 0, 4, 0)
	r.call("MmFreeContiguousMemory", a)
	require.Zero(t, r.call("MmAllocateContiguousNodeMemory", 4096, 0, high, 0, 2, 0), "PAGE_READONLY")
	require.Zero(t, r.call("MmAllocateContiguousMemory", 1<<40, math.MaxInt64))

	a = r.call("MmAllocateNonCachedMemory", 5000)
	require.Zero(t, a&0xFFF)
	r.call("MmFreeNonCachedMemory", a, 5000)
}

func TestMemoryOfDevicesKeepsWhatIsWritten(t *testing.T) {
	r := newRig(t)
	const bar = 0xFEB00010
	a := r.call("MmMapIoSpace", bar, 0x100, 0)
	require.EqualValues(t, bar&0xFFF, a&0xFFF)
	require.Zero(t, r.u32(a))
	r.put32(a, 0x12345678)
	b := r.call("MmMapIoSpaceEx", bar, 0x100, 0x204)
	require.Equal(t, uint32(0x12345678), r.u32(b))
	r.call("MmUnmapIoSpace", a, 0x100)
	r.call("MmUnmapIoSpace", b, 0x100)
	require.Zero(t, r.call("MmMapIoSpaceEx", bar, 0x100, 0), "no protection")
	require.Zero(t, r.call("MmMapIoSpace", bar, 0, 0), "no bytes")
	require.Equal(t, nt.SYSTEM_PTE_MISUSE, bugcheck(t, nt.PASSIVE_LEVEL, "MmUnmapIoSpace",
		func(r *driverRig) []uint64 { return []uint64{r.mem(16), 16} }).Code)
}

func TestPhysicalMemoryRangesEndWithZeros(t *testing.T) {
	r := newRig(t)
	a := r.call("MmGetPhysicalMemoryRanges")
	total := uint64(0)
	i := uint64(0)
	for ; r.u64(a+16*i+8) != 0; i++ {
		total += r.u64(a + 16*i + 8)
	}
	require.EqualValues(t, 1<<30, total)
	require.Zero(t, r.u64(a+16*i))
	r.call("ExFreePool", a)
}

func TestMmCopyMemory(t *testing.T) {
	r := newRig(t)
	src, dst, n := r.bytes([]byte("abcdefgh")), r.mem(16), r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("MmCopyMemory", dst, src, 8, 2, n))
	require.EqualValues(t, 8, r.u64(n))
	require.Equal(t, []byte("abcdefgh"), r.read(dst, 8))
	end := r.atEnd([]byte("wxyz"))
	require.Equal(t, nt.STATUS_INVALID_ADDRESS, r.status("MmCopyMemory", dst, end, 8, 2, n))
	require.EqualValues(t, 4, r.u64(n))
	block := r.pool(64)
	r.write(block, []byte("phys"))
	p := r.call("MmGetPhysicalAddress", block)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("MmCopyMemory", dst, p, 4, 1, n))
	require.Equal(t, []byte("phys"), r.read(dst, 4))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("MmCopyMemory", dst, src, 8, 3, n))
}

func TestProbes(t *testing.T) {
	r := newRig(t)
	w := r.asClient()
	base := uint64(w.Base())
	size := uint64(w.Size())
	for _, name := range []string{"ProbeForRead", "ProbeForWrite"} {
		r.call(name, base, size, 1)
		r.call(name, 0x1003, 0, 8)
		for _, c := range []struct {
			fact           string
			a, n, align    uint64
			want           nt.Status
			asSystemThread bool
		}{
			{"one byte too many", base, size + 1, 1, nt.STATUS_ACCESS_VIOLATION, false},
			{"wraps round", base, math.MaxUint64, 1, nt.STATUS_ACCESS_VIOLATION, false},
			{"is misaligned", base + 2, 8, 4, nt.STATUS_DATATYPE_MISALIGNMENT, false},
			{"is system memory", uint64(guest.SystemRangeStart), 1, 1, nt.STATUS_ACCESS_VIOLATION, false},
			{"is nobody's", base, 1, 1, nt.STATUS_ACCESS_VIOLATION, true},
		} {
			b := bugcheck(t, nt.PASSIVE_LEVEL, name, func(r *driverRig) []uint64 {
				if !c.asSystemThread {
					w := r.asClient()
					if c.a != uint64(guest.SystemRangeStart) {
						return []uint64{uint64(w.Base()) + c.a - base, c.n, c.align}
					}
				}
				return []uint64{c.a, c.n, c.align}
			})
			require.Equal(t, uint64(c.want), b.Params[0], "%s: %s", name, c.fact)
		}
	}
	require.Equal(t, nt.IRQL_NOT_LESS_OR_EQUAL, bugcheck(t, nt.DISPATCH_LEVEL, "ProbeForRead",
		func(*driverRig) []uint64 { return []uint64{base, 1, 1} }).Code)
}

func TestMmIsAddressValid(t *testing.T) {
	r := newRig(t)
	require.EqualValues(t, 1, r.call("MmIsAddressValid", r.mem(1)))
	require.EqualValues(t, 1, r.call("MmIsAddressValid", uint64(r.symbol("DbgPrint"))))
	require.EqualValues(t, 0, r.call("MmIsAddressValid", uint64(r.page.End())))
	require.EqualValues(t, 0, r.call("MmIsAddressValid", 0))
	a := r.pool(8192)
	require.EqualValues(t, 1, r.call("MmIsAddressValid", a+8191))
	r.call("ExFreePool", a)
	require.EqualValues(t, 0, r.call("MmIsAddressValid", a))
}

func TestMmGetSystemRoutineAddress(t *testing.T) {
	r := newRig(t)
	for name, want := range map[string]guest.Addr{
		"DbgPrint":                 r.symbol("DbgPrint"),
		"memcpy":                   r.symbol("memcpy"),
		"HalTranslateBusAddress":   r.symbol("HalTranslateBusAddress"),
		"NtBuildNumber":            r.symbol("NtBuildNumber"),
		"__C_specific_handler":     0,
		"dbgprint":                 0,
		"NoSuchRoutine":            0,
		"":                         0,
		"IopInvalidDeviceRequest":  0, // not exported
		"KiCallReturn":             0,
		"RtlInitUnicodeString\x00": 0,
	} {
		if row, ok := FindExport(name); ok && row.Implemented() && want == 0 && !row.Internal {
			continue // it has come to do something
		}
		require.EqualValues(t, want, r.call("MmGetSystemRoutineAddress", r.ustr(name, 0)), "%q", name)
	}
	require.Equal(t, nt.IRQL_NOT_LESS_OR_EQUAL, bugcheck(t, nt.DISPATCH_LEVEL,
		"MmGetSystemRoutineAddress",
		func(r *driverRig) []uint64 { return []uint64{r.ustr("DbgPrint", 0)} }).Code)
}

func TestSystemBounds(t *testing.T) {
	r := newRig(t)
	require.Equal(t, uint64(guest.SystemRangeStart), r.u64(uint64(r.symbol("MmSystemRangeStart"))))
	require.Equal(t, uint64(guest.UserEnd)-1, r.u64(uint64(r.symbol("MmHighestUserAddress"))))
	require.Equal(t, uint64(guest.UserEnd), r.u64(uint64(r.symbol("MmUserProbeAddress"))))
	require.Equal(t, []byte{1}, r.read(uint64(r.symbol("Mm64BitPhysicalAddress")), 1))
	require.EqualValues(t, 2, r.call("MmQuerySystemSize"), "MmLargeSystem")
	require.EqualValues(t, 0, r.call("MmIsThisAnNtAsSystem"))
	require.EqualValues(t, 0, r.call("MmIsDriverVerifying", r.mem(16)))
	require.EqualValues(t, 0, r.call("MmIsDriverVerifyingByAddress", uint64(r.symbol("DbgPrint"))))
}

func TestPagingOfDriversHasNoEffect(t *testing.T) {
	r := newRig(t)
	code := uint64(r.symbol("DbgPrint"))
	require.Equal(t, uint64(r.ntoskrnl.Base()), r.call("MmPageEntireDriver", code))
	require.Zero(t, r.call("MmPageEntireDriver", r.mem(1)))
	r.call("MmResetDriverPaging", code)
	h := r.call("MmLockPagableDataSection", code)
	require.LessOrEqual(t, h, code)
	require.Greater(t, h, uint64(r.ntoskrnl.Base()))
	r.call("MmLockPagableSectionByHandle", h)
	r.call("MmUnlockPagableImageSection", h)
	r.call("MmUnlockPagableImageSection", h)
	require.EqualValues(t, 1, r.call("MmIsAddressValid", code))
}
