package ntoskrnl

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// What the memory manager says of the system: its bounds and size, exported routines by name, and
// paging of drivers' code. Nothing is ever paged out.
var mmSystemExports = []Export{
	{Name: "MmGetSystemRoutineAddress", Fn: fn1(mmGetSystemRoutineAddress),
		Params: "SystemRoutineName:ustr", MaxIRQL: pageable, Support: Full},
	{Name: "MmQuerySystemSize", Fn: fn0(mmQuerySystemSize), MaxIRQL: anyIRQL, Support: Full},
	{Name: "MmIsThisAnNtAsSystem", Fn: fn0(mmIsThisAnNtAsSystem), MaxIRQL: anyIRQL, Support: Full},
	{Name: "MmIsDriverVerifying", Fn: fn1(mmIsDriverVerifying), Params: "DriverObject",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "MmIsDriverVerifyingByAddress", Fn: fn1(mmIsDriverVerifying),
		Params: "AddressWithinSection", MaxIRQL: anyIRQL, Support: Full},

	{Name: "MmPageEntireDriver", Fn: fn1(mmPageEntireDriver), Params: "AddressWithinSection",
		MaxIRQL: pageable, Support: Full},
	{Name: "MmResetDriverPaging", Fn: do1(mmResetDriverPaging), Params: "AddressWithinSection",
		MaxIRQL: pageable, Support: Full},
	{Name: "MmLockPagableDataSection", Fn: fn1(mmLockPagableDataSection),
		Params: "AddressWithinSection", MaxIRQL: pageable, Support: Full},
	{Name: "MmLockPagableSectionByHandle", Fn: do1(mmLockPagableSectionByHandle),
		Params: "ImageSectionHandle", MaxIRQL: pageable, Support: Full},
	{Name: "MmUnlockPagableImageSection", Fn: do1(mmUnlockPagableImageSection),
		Params: "ImageSectionHandle", MaxIRQL: pageable, Support: Full},

	// The lowest address that is not user memory; the highest that is; and where ProbeForRead and
	// ProbeForWrite draw the line.
	{Name: "MmSystemRangeStart", Data: 8,
		Init: func(*Kernel) []byte { return pointer(guest.SystemRangeStart) }, MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "MmHighestUserAddress", Data: 8,
		Init: func(*Kernel) []byte { return pointer(guest.UserEnd - 1) }, MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "MmUserProbeAddress", Data: 8,
		Init: func(*Kernel) []byte { return pointer(guest.UserEnd) }, MaxIRQL: anyIRQL,
		Support: Full},
	// Whether physical addresses may have more than 32 bits.
	{Name: "Mm64BitPhysicalAddress", Data: 1, Init: func(*Kernel) []byte { return []byte{nt.TRUE} },
		MaxIRQL: anyIRQL, Support: Full},
}

// pointer gives the bytes of a variable.
func pointer(a guest.Addr) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(a)) }

// mmGetSystemRoutineAddress gives the address of what ntoskrnl.exe or hal.dll exports.
//
//	PVOID MmGetSystemRoutineAddress(PUNICODE_STRING SystemRoutineName)
//
// NULL if there is no such export, and if it is one that does nothing here: a driver that asks can
// do without. "MmGetSystemRoutineAddress function (wdm.h)".
func mmGetSystemRoutineAddress(c *Call, name guest.Addr) guest.Addr {
	return c.routine(c.UString(name))
}

// routine gives the address of what the kernel exports, if it does something. The kernel has all
// that hal.dll forwards.
func (c *Call) routine(name string) guest.Addr {
	i, ok := slices.BinarySearchFunc(c.rows, name, func(e Export, name string) int {
		return strings.Compare(e.Name, name)
	})
	if !ok || !c.rows[i].Implemented() {
		return 0
	}
	e, ok := c.ntoskrnl.LookupExport(name)
	if !ok {
		return 0
	}
	return e.Addr
}

// mmQuerySystemSize says how much memory the system has: MmLargeSystem.
//
//	MM_SYSTEMSIZE MmQuerySystemSize(VOID)
//
// "MmQuerySystemSize function (ntddk.h)".
func mmQuerySystemSize(c *Call) uint32 {
	const large = 2
	return large
}

// mmIsThisAnNtAsSystem says whether this is a server edition.
//
//	BOOLEAN MmIsThisAnNtAsSystem(VOID)
//
// "MmIsThisAnNtAsSystem function (ntddk.h)".
func mmIsThisAnNtAsSystem(c *Call) nt.Boolean { return nt.FALSE }

// mmIsDriverVerifying says whether Driver Verifier checks a driver.
//
//	LOGICAL MmIsDriverVerifying(PDRIVER_OBJECT DriverObject)
//	LOGICAL MmIsDriverVerifyingByAddress(PVOID AddressWithinSection)
//
// "MmIsDriverVerifying function (ntddk.h)".
func mmIsDriverVerifying(c *Call, object guest.Addr) uint32 { return 0 }

// mmPageEntireDriver lets all of a driver be paged out.
//
//	PVOID MmPageEntireDriver(PVOID AddressWithinSection)
//
// The base of the driver's image, NULL if the address is in none.
// "MmPageEntireDriver function (ntddk.h)".
func mmPageEntireDriver(c *Call, a guest.Addr) guest.Addr {
	m, ok := c.Linker.At(a)
	if !ok {
		return 0
	}
	return m.Base()
}

// mmResetDriverPaging undoes MmPageEntireDriver.
//
//	VOID MmResetDriverPaging(PVOID AddressWithinSection)
//
// "MmResetDriverPaging function (ntddk.h)".
func mmResetDriverPaging(c *Call, a guest.Addr) {}

// mmLockPagableDataSection keeps a section of a driver in memory.
//
//	PVOID MmLockPagableDataSection(PVOID AddressWithinSection)
//
// A handle for MmUnlockPagableImageSection. An address in no image is the bugcheck that following it
// would give. "MmLockPagableDataSection function (ntddk.h)".
func mmLockPagableDataSection(c *Call, a guest.Addr) guest.Addr {
	m, ok := c.Linker.At(a)
	if !ok {
		c.notAnObject(a, "address in an image")
	}
	s, ok := m.Image().SectionAt(uint32(a - m.Base()))
	if !ok {
		return m.Base()
	}
	return m.Addr(s.RVA)
}

// mmLockPagableSectionByHandle keeps it in memory once more.
//
//	VOID MmLockPagableSectionByHandle(PVOID ImageSectionHandle)
//
// "MmLockPagableSectionByHandle function (ntddk.h)".
func mmLockPagableSectionByHandle(c *Call, handle guest.Addr) {}

// mmUnlockPagableImageSection undoes one of the two.
//
//	VOID MmUnlockPagableImageSection(PVOID ImageSectionHandle)
//
// "MmUnlockPagableImageSection function (ntddk.h)".
func mmUnlockPagableImageSection(c *Call, handle guest.Addr) {}
