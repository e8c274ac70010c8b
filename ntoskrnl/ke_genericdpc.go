package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Calls on all processors at one time.
var keGenericDPCExports = []Export{
	{Name: "KeGenericCallDpc", Fn: do2(keGenericCallDpc), Params: "Routine Context", MaxIRQL: apc,
		Support: Full},
	{Name: "KeSignalCallDpcDone", Fn: do1(keSignalCallDpcDone), Params: "SystemArgument1",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeSignalCallDpcSynchronize", Fn: fn1(keSignalCallDpcSynchronize),
		Params: "SystemArgument2", MaxIRQL: dispatch, Support: Full},
}

// keGenericCallDpc calls a DPC routine on every processor and waits for all.
//
//	VOID KeGenericCallDpc(PKDEFERRED_ROUTINE Routine, PVOID Context)
func keGenericCallDpc(c *Call, routine, context guest.Addr) {
	c.Must(c.T.GenericCallDPC(routine, context))
}

// keSignalCallDpcDone says that the routine is done on the caller's processor.
//
//	VOID KeSignalCallDpcDone(PVOID SystemArgument1)
func keSignalCallDpcDone(c *Call, done guest.Addr) {
	c.atDispatch()
	c.Must(ke.SignalCallDPCDone(done))
}

// keSignalCallDpcSynchronize waits until the routine has come here on every processor.
//
//	LOGICAL KeSignalCallDpcSynchronize(PVOID SystemArgument2)
//
// TRUE on one of them.
func keSignalCallDpcSynchronize(c *Call, barrier guest.Addr) nt.Boolean {
	c.atDispatch()
	last, err := c.T.SignalCallDPCSynchronize(barrier)
	c.Must(err)
	return boolean(last)
}
