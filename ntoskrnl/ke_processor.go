package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Processors, and which of them a thread runs on. All are in group 0.
var keProcessorExports = []Export{
	{Name: "KeNumberProcessors", Data: 1, MaxIRQL: anyIRQL, Support: Full,
		Init: func(k *Kernel) []byte { return []byte{uint8(k.Ke.Processors())} }},
	{Name: "KeQueryActiveProcessors", Fn: fn0(keQueryActiveProcessors), MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KeQueryActiveProcessorCount", Fn: fn1(keQueryActiveProcessorCount),
		Params: "ActiveProcessors", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeQueryActiveProcessorCountEx", Fn: fn1(keQueryActiveProcessorCountEx),
		Params: "GroupNumber:d", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeQueryMaximumProcessorCount", Fn: fn0(keQueryMaximumProcessorCount), MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KeQueryMaximumProcessorCountEx", Fn: fn1(keQueryActiveProcessorCountEx),
		Params: "GroupNumber:d", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeQueryActiveGroupCount", Fn: fn0(keQueryGroupCount), MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeQueryMaximumGroupCount", Fn: fn0(keQueryGroupCount), MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeQueryGroupAffinity", Fn: fn1(keQueryGroupAffinity), Params: "GroupNumber:d",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeQueryHighestNodeNumber", Fn: fn0(keQueryHighestNodeNumber), MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KeGetCurrentProcessorNumberEx", Fn: fn1(keGetCurrentProcessorNumberEx),
		Params: "ProcNumber", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeGetCurrentProcessorNumber", Fn: fn0(keGetCurrentProcessorNumber), MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KeGetProcessorNumberFromIndex", Fn: fn2(keGetProcessorNumberFromIndex),
		Params: "ProcIndex:d ProcNumber", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeGetProcessorIndexFromNumber", Fn: fn1(keGetProcessorIndexFromNumber),
		Params: "ProcNumber", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeSetSystemAffinityThread", Fn: do1(keSetSystemAffinityThread), Params: "Affinity",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeSetSystemAffinityThreadEx", Fn: fn1(keSetSystemAffinityThreadEx), Params: "Affinity",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeRevertToUserAffinityThread", Fn: do0(keRevertToUserAffinityThread),
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeRevertToUserAffinityThreadEx", Fn: do1(keRevertToUserAffinityThreadEx),
		Params: "Affinity", MaxIRQL: dispatch, Support: Full},
	{Name: "KeSetSystemGroupAffinityThread", Fn: do2(keSetSystemGroupAffinityThread),
		Params: "Affinity PreviousAffinity", MaxIRQL: dispatch, Support: Full},
	{Name: "KeRevertToUserGroupAffinityThread", Fn: do1(keRevertToUserGroupAffinityThread),
		Params: "PreviousAffinity", MaxIRQL: dispatch, Support: Full},
}

// allProcessorGroups is ALL_PROCESSOR_GROUPS.
const allProcessorGroups = 0xFFFF

// keQueryActiveProcessors gives a mask with a bit for each processor.
//
//	KAFFINITY KeQueryActiveProcessors(VOID)
//
// "KeQueryActiveProcessors function (ntddk.h)".
func keQueryActiveProcessors(c *Call) uint64 { return c.Ke.ActiveProcessors() }

// keQueryActiveProcessorCount gives the number of processors, and the mask if it is asked for.
//
//	ULONG KeQueryActiveProcessorCount(PKAFFINITY ActiveProcessors)
//
// "KeQueryActiveProcessorCount function (wdm.h)".
func keQueryActiveProcessorCount(c *Call, mask guest.Addr) uint32 {
	StoreOpt(c, mask, c.Ke.ActiveProcessors())
	return uint32(c.Ke.Processors())
}

// keQueryActiveProcessorCountEx gives the number of processors in a group, or in all: also what
// KeQueryMaximumProcessorCountEx gives, for processors do not come and go.
//
//	ULONG KeQueryActiveProcessorCountEx(USHORT GroupNumber)
//
// 0 for a group that the system does not have. "KeQueryActiveProcessorCountEx function (wdm.h)".
func keQueryActiveProcessorCountEx(c *Call, group uint16) uint32 {
	if group != 0 && group != allProcessorGroups {
		return 0
	}
	return uint32(c.Ke.Processors())
}

// keQueryMaximumProcessorCount gives the largest number of processors that there can be.
//
//	ULONG KeQueryMaximumProcessorCount(VOID)
//
// "KeQueryMaximumProcessorCount function (wdm.h)".
func keQueryMaximumProcessorCount(c *Call) uint32 { return uint32(c.Ke.Processors()) }

// keQueryGroupCount gives the number of processor groups.
//
//	USHORT KeQueryActiveGroupCount(VOID)
//
// "KeQueryActiveGroupCount function (wdm.h)".
func keQueryGroupCount(c *Call) uint16 { return 1 }

// keQueryGroupAffinity gives the processors of a group.
//
//	KAFFINITY KeQueryGroupAffinity(USHORT GroupNumber)
//
// 0 for a group that the system does not have. "KeQueryGroupAffinity function (wdm.h)".
func keQueryGroupAffinity(c *Call, group uint16) uint64 {
	if group != 0 {
		return 0
	}
	return c.Ke.ActiveProcessors()
}

// keQueryHighestNodeNumber gives the number of the last NUMA node.
//
//	USHORT KeQueryHighestNodeNumber(VOID)
//
// "KeQueryHighestNodeNumber function (wdm.h)".
func keQueryHighestNodeNumber(c *Call) uint16 { return 0 }

// keGetCurrentProcessorNumberEx gives the processor that the caller runs on.
//
//	ULONG KeGetCurrentProcessorNumberEx(PPROCESSOR_NUMBER ProcNumber)
//
// "KeGetCurrentProcessorNumberEx function (wdm.h)".
func keGetCurrentProcessorNumberEx(c *Call, number guest.Addr) uint32 {
	n := c.T.Processor().Number()
	StoreOpt(c, number, nt.ProcessorNumber{Number: uint8(n)})
	return uint32(n)
}

// keGetCurrentProcessorNumber gives the processor that the caller runs on.
//
//	ULONG KeGetCurrentProcessorNumber(VOID)
//
// "KeGetCurrentProcessorNumber function (wdm.h)".
func keGetCurrentProcessorNumber(c *Call) uint32 { return uint32(c.T.Processor().Number()) }

// keGetProcessorNumberFromIndex turns an index into group and number.
//
//	NTSTATUS KeGetProcessorNumberFromIndex(ULONG ProcIndex, PPROCESSOR_NUMBER ProcNumber)
//
// STATUS_INVALID_PARAMETER for one that the system does not have. "KeGetProcessorNumberFromIndex
// function (wdm.h)".
func keGetProcessorNumberFromIndex(c *Call, index uint32, number guest.Addr) nt.Status {
	if index >= uint32(c.Ke.Processors()) {
		return nt.STATUS_INVALID_PARAMETER
	}
	Store(c, number, nt.ProcessorNumber{Number: uint8(index)})
	return nt.STATUS_SUCCESS
}

// keGetProcessorIndexFromNumber turns group and number into an index.
//
//	ULONG KeGetProcessorIndexFromNumber(PPROCESSOR_NUMBER ProcNumber)
//
// INVALID_PROCESSOR_INDEX for one that the system does not have. "KeGetProcessorIndexFromNumber
// function (wdm.h)".
func keGetProcessorIndexFromNumber(c *Call, number guest.Addr) uint32 {
	const invalidProcessorIndex = 0xFFFFFFFF
	n := Load[nt.ProcessorNumber](c, number)
	if n.Group != 0 || n.Reserved != 0 || int(n.Number) >= c.Ke.Processors() {
		return invalidProcessorIndex
	}
	return uint32(n.Number)
}

// keSetSystemAffinityThread moves the caller to one of the given processors.
//
//	VOID KeSetSystemAffinityThread(KAFFINITY Affinity)
//
// INVALID_AFFINITY_SET for none that the system has. "KeSetSystemAffinityThread function
// (ntddk.h)".
func keSetSystemAffinityThread(c *Call, mask uint64) {
	if mask&c.Ke.ActiveProcessors() == 0 {
		c.T.Bugcheck(nt.INVALID_AFFINITY_SET, mask, 0, 0, 0)
	}
	c.T.SetSystemAffinity(mask)
}

// keSetSystemAffinityThreadEx does the same and gives what the affinity was.
//
//	KAFFINITY KeSetSystemAffinityThreadEx(KAFFINITY Affinity)
//
// 0 if no system affinity was set. A mask with none of the system's processors changes nothing.
// "KeSetSystemAffinityThreadEx function (wdm.h)".
func keSetSystemAffinityThreadEx(c *Call, mask uint64) uint64 {
	if mask&c.Ke.ActiveProcessors() == 0 {
		return c.T.SystemAffinity()
	}
	return c.T.SetSystemAffinity(mask)
}

// keRevertToUserAffinityThread undoes KeSetSystemAffinityThread.
//
//	VOID KeRevertToUserAffinityThread(VOID)
//
// "KeRevertToUserAffinityThread function (ntddk.h)".
func keRevertToUserAffinityThread(c *Call) { c.T.RevertAffinity(0) }

// keRevertToUserAffinityThreadEx goes back to what KeSetSystemAffinityThreadEx gave.
//
//	VOID KeRevertToUserAffinityThreadEx(KAFFINITY Affinity)
//
// "KeRevertToUserAffinityThreadEx function (wdm.h)".
func keRevertToUserAffinityThreadEx(c *Call, mask uint64) { c.T.RevertAffinity(mask) }

// keSetSystemGroupAffinityThread moves the caller to one of the given processors.
//
//	VOID KeSetSystemGroupAffinityThread(PGROUP_AFFINITY Affinity, PGROUP_AFFINITY PreviousAffinity)
//
// What is not valid changes nothing, and gives a previous affinity of 0.
// "KeSetSystemGroupAffinityThread function (wdm.h)".
func keSetSystemGroupAffinityThread(c *Call, affinity, previous guest.Addr) {
	a := Load[nt.GroupAffinity](c, affinity)
	before := uint64(0)
	if a.Group == 0 && a.Reserved == [3]uint16{} && uint64(a.Mask)&c.Ke.ActiveProcessors() != 0 {
		before = c.T.SetSystemAffinity(uint64(a.Mask))
	}
	StoreOpt(c, previous, nt.GroupAffinity{Mask: uintptr(before)})
}

// keRevertToUserGroupAffinityThread goes back to what KeSetSystemGroupAffinityThread gave.
//
//	VOID KeRevertToUserGroupAffinityThread(PGROUP_AFFINITY PreviousAffinity)
//
// "KeRevertToUserGroupAffinityThread function (wdm.h)".
func keRevertToUserGroupAffinityThread(c *Call, previous guest.Addr) {
	c.T.RevertAffinity(uint64(Load[nt.GroupAffinity](c, previous).Mask))
}
