package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Checks of addresses.
var mmProbeExports = []Export{
	{Name: "ProbeForRead", Fn: do3(probeForRead), Params: "Address Length:d Alignment:d",
		MaxIRQL: apc, Support: Full},
	{Name: "ProbeForWrite", Fn: do3(probeForWrite), Params: "Address Length:d Alignment:d",
		MaxIRQL: apc, Support: Full},
	{Name: "MmIsAddressValid", Fn: fn1(mmIsAddressValid), Params: "VirtualAddress",
		MaxIRQL: dispatch, Support: Full},
}

// probeForRead checks that a buffer lies in the user memory of the current process, and its
// alignment. A buffer of no bytes is not looked at.
//
//	VOID ProbeForRead(const volatile VOID *Address, SIZE_T Length, ULONG Alignment)
//
// It raises STATUS_ACCESS_VIOLATION or STATUS_DATATYPE_MISALIGNMENT.
// "ProbeForRead function (wdm.h)".
func probeForRead(c *Call, a guest.Addr, n uintptr, align uint32) {
	if s := c.Mm.ProbeForRead(a, n, uintptr(align), c.userMemory()); s != nt.STATUS_SUCCESS {
		c.Raise(s)
	}
}

// probeForWrite is probeForRead, and every page of the buffer can be written.
//
//	VOID ProbeForWrite(volatile VOID *Address, SIZE_T Length, ULONG Alignment)
//
// "ProbeForWrite function (wdm.h)".
func probeForWrite(c *Call, a guest.Addr, n uintptr, align uint32) {
	if s := c.Mm.ProbeForWrite(a, n, uintptr(align), c.userMemory()); s != nt.STATUS_SUCCESS {
		c.Raise(s)
	}
}

// mmIsAddressValid says whether an address can be read without a fault.
//
//	BOOLEAN MmIsAddressValid(PVOID VirtualAddress)
//
// "MmIsAddressValid function (ntddk.h)".
func mmIsAddressValid(c *Call, a guest.Addr) nt.Boolean { return boolean(c.Mm.IsAddressValid(a)) }
