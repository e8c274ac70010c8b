package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Waits.
var keWaitExports = []Export{
	{Name: "KeWaitForSingleObject", Fn: fn5(keWaitForSingleObject),
		Params: "Object WaitReason:d WaitMode:d Alertable:b Timeout", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeWaitForMutexObject", Fn: fn5(keWaitForSingleObject),
		Params: "Mutex WaitReason:d WaitMode:d Alertable:b Timeout", MaxIRQL: dispatch,
		Support: Full},
	{Name: "KeWaitForMultipleObjects", Fn: fn8(keWaitForMultipleObjects),
		Params: "Count:d Objects WaitType:d WaitReason:d WaitMode:d Alertable:b Timeout " +
			"WaitBlocks",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeDelayExecutionThread", Fn: fn3(keDelayExecutionThread),
		Params: "WaitMode:d Alertable:b Interval", MaxIRQL: apc, Support: Full},
	{Name: "KeStallExecutionProcessor", Fn: do1(keStallExecutionProcessor), Hal: true,
		Params: "MicroSeconds:d", MaxIRQL: anyIRQL, Support: Full},
}

// timeout reads a PLARGE_INTEGER that bounds a wait; a null one does not.
func (c *Call) timeout(at guest.Addr) ke.Timeout {
	if at == 0 {
		return ke.Forever
	}
	v, err := guest.Load64(at)
	c.Must(err)
	return ke.Timeout{Limited: true, Value: int64(v)}
}

func waitOptions(t ke.Timeout, mode nt.ProcessorMode, alertable nt.Boolean) ke.WaitOptions {
	return ke.WaitOptions{Timeout: t, Mode: mode & nt.UserMode, Alertable: alertable != 0}
}

// keWaitForSingleObject waits until a dispatcher object is signalled, and takes it.
//
//	NTSTATUS KeWaitForSingleObject(PVOID Object, KWAIT_REASON WaitReason, KPROCESSOR_MODE WaitMode,
//	    BOOLEAN Alertable, PLARGE_INTEGER Timeout)
//
// STATUS_SUCCESS, STATUS_TIMEOUT, STATUS_ABANDONED_WAIT_0, STATUS_ALERTED, STATUS_USER_APC; raises
// STATUS_MUTANT_LIMIT_EXCEEDED. At DISPATCH_LEVEL only with a timeout of 0. "KeWaitForSingleObject function (wdm.h)".
func keWaitForSingleObject(c *Call, object guest.Addr, reason uint32, mode nt.ProcessorMode,
	alertable nt.Boolean, timeout guest.Addr) nt.Status {
	status, err := c.T.WaitSingle(object, waitOptions(c.timeout(timeout), mode, alertable))
	c.Must(err)
	return status
}

// keWaitForMultipleObjects waits until any of several dispatcher objects, or all together, are
// signalled.
//
//	NTSTATUS KeWaitForMultipleObjects(ULONG Count, PVOID Object[], WAIT_TYPE WaitType,
//	    KWAIT_REASON WaitReason, KPROCESSOR_MODE WaitMode, BOOLEAN Alertable,
//	    PLARGE_INTEGER Timeout, PKWAIT_BLOCK WaitBlockArray)
//
// STATUS_WAIT_0 and STATUS_ABANDONED_WAIT_0 plus the object's index, STATUS_TIMEOUT, STATUS_ALERTED, STATUS_USER_APC; the bugcheck
// MAXIMUM_WAIT_OBJECTS_EXCEEDED for more than 64 objects, or more than 3 without wait blocks. The
// wait blocks are the system's to write and stay as they are. "KeWaitForMultipleObjects function
// (wdm.h)".
func keWaitForMultipleObjects(c *Call, count uint32, objects guest.Addr, typ nt.WaitType,
	reason uint32, mode nt.ProcessorMode, alertable nt.Boolean, timeout,
	blocks guest.Addr) nt.Status {
	if count > nt.MAXIMUM_WAIT_OBJECTS || blocks == 0 && count > nt.THREAD_WAIT_OBJECTS ||
		count == 0 {
		c.T.Bugcheck(nt.MAXIMUM_WAIT_OBJECTS_EXCEEDED, uint64(count), 0, 0, 0)
	}
	limit := c.timeout(timeout)
	var list [nt.MAXIMUM_WAIT_OBJECTS]guest.Addr
	c.Must(guest.ReadSlice(list[:count], objects))
	status, err := c.T.WaitMultiple(list[:count], typ == nt.WaitAll,
		waitOptions(limit, mode, alertable))
	c.Must(err)
	return status
}

// keDelayExecutionThread waits for the time to pass.
//
//	NTSTATUS KeDelayExecutionThread(KPROCESSOR_MODE WaitMode, BOOLEAN Alertable,
//	    PLARGE_INTEGER Interval)
//
// STATUS_SUCCESS, STATUS_ALERTED, STATUS_USER_APC. "KeDelayExecutionThread function (wdm.h)".
func keDelayExecutionThread(c *Call, mode nt.ProcessorMode, alertable nt.Boolean,
	interval guest.Addr) nt.Status {
	limit := ke.Timeout{Limited: true, Value: Load[int64](c, interval)}
	return c.T.Delay(waitOptions(limit, mode, alertable))
}

// keStallExecutionProcessor spins for a time.
//
//	VOID KeStallExecutionProcessor(ULONG MicroSeconds)
//
// "KeStallExecutionProcessor function (wdm.h)".
func keStallExecutionProcessor(c *Call, microseconds uint32) { c.T.Stall(microseconds) }
