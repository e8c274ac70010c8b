package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// What the machine and its driver model are.
var ioVersionExports = []Export{
	{Name: "IoIsWdmVersionAvailable", Fn: fn2(ioIsWdmVersionAvailable),
		Params: "MajorVersion:d MinorVersion:d", MaxIRQL: anyIRQL, Support: Full},
	{Name: "IoIs32bitProcess", Fn: fn1(ioIs32bitProcess), Params: "Irp", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "ExGetFirmwareEnvironmentVariable", Fn: fn5(exGetFirmwareEnvironmentVariable),
		Params: "VariableName:ustr VendorGuid Value ValueLength Attributes", MaxIRQL: passive,
		Support: Full},
	{Name: "ExSetFirmwareEnvironmentVariable", Fn: fn5(exSetFirmwareEnvironmentVariable),
		Params: "VariableName:ustr VendorGuid Value ValueLength:d Attributes", MaxIRQL: passive,
		Support: Full},
}

// ioIsWdmVersionAvailable tells whether the driver model has a version, of which 6.0 is the last.
//
//	BOOLEAN IoIsWdmVersionAvailable(UCHAR MajorVersion, UCHAR MinorVersion)
//
// "IoIsWdmVersionAvailable function (wdm.h)".
func ioIsWdmVersionAvailable(c *Call, major, minor uint8) nt.Boolean {
	return boolean(major < 6 || major == 6 && minor == 0)
}

// ioIs32bitProcess tells whether who asks is a 32-bit process. No client is.
//
//	BOOLEAN IoIs32bitProcess(PIRP Irp)
//
// "IoIs32bitProcess function (wdm.h)".
func ioIs32bitProcess(c *Call, irp guest.Addr) nt.Boolean { return nt.FALSE }

// exGetFirmwareEnvironmentVariable reads a variable of the UEFI firmware. The machine has none: it is
// one with a BIOS.
//
//	NTSTATUS ExGetFirmwareEnvironmentVariable(PUNICODE_STRING VariableName, LPGUID VendorGuid,
//	    PVOID Value, PULONG ValueLength, PULONG Attributes)
//
// STATUS_NOT_IMPLEMENTED, as on such machines. "ExGetFirmwareEnvironmentVariable function (wdm.h)".
func exGetFirmwareEnvironmentVariable(c *Call, name, vendor, value, length,
	attributes guest.Addr) nt.Status {
	return nt.STATUS_NOT_IMPLEMENTED
}

// exSetFirmwareEnvironmentVariable writes one.
//
//	NTSTATUS ExSetFirmwareEnvironmentVariable(PUNICODE_STRING VariableName, LPGUID VendorGuid,
//	    PVOID Value, ULONG ValueLength, ULONG Attributes)
//
// STATUS_NOT_IMPLEMENTED, likewise. "ExSetFirmwareEnvironmentVariable function (wdm.h)".
func exSetFirmwareEnvironmentVariable(c *Call, name, vendor, value guest.Addr, length,
	attributes uint32) nt.Status {
	return nt.STATUS_NOT_IMPLEMENTED
}
