package ntoskrnl

import (
	"encoding/binary"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Which Windows this is: 10 22H2, build 19045.
var rtlVersionExports = []Export{
	// NTSTATUS RtlGetVersion(PRTL_OSVERSIONINFOW lpVersionInformation): STATUS_SUCCESS.
	// "RtlGetVersion function (wdm.h)".
	{Name: "RtlGetVersion", Fn: status1(rtl.GetVersion), Params: "lpVersionInformation",
		MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlVerifyVersionInfo(PRTL_OSVERSIONINFOEXW VersionInfo, ULONG TypeMask, ULONGLONG
	// ConditionMask): STATUS_REVISION_MISMATCH, STATUS_INVALID_PARAMETER.
	// "RtlVerifyVersionInfo function (wdm.h)".
	{Name: "RtlVerifyVersionInfo", Fn: status3(rtl.VerifyVersionInfo),
		Params: "VersionInfo TypeMask ConditionMask", MaxIRQL: pageable, Support: Full},
	// ULONGLONG VerSetConditionMask(ULONGLONG ConditionMask, ULONG TypeMask, UCHAR Condition).
	// "VerSetConditionMask function (wdm.h)".
	{Name: "VerSetConditionMask", Fn: verSetConditionMask,
		Params: "ConditionMask TypeMask Condition:d", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlIsNtDdiVersionAvailable", Fn: fn1(rtlIsNtDdiVersionAvailable), Params: "Version",
		MaxIRQL: pageable, Support: Full},
	{Name: "RtlIsServicePackVersionInstalled", Fn: fn1(rtlIsServicePackVersionInstalled),
		Params: "Version", MaxIRQL: pageable, Support: Full},
	{Name: "PsGetVersion", Fn: fn4(psGetVersion),
		Params: "MajorVersion MinorVersion BuildNumber CSDVersion", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "NtBuildNumber", Data: 4, Init: func(*Kernel) []byte { return ulong(nt.NtBuildNumber) },
		MaxIRQL: anyIRQL, Support: Full},
	// Not 0 in safe mode.
	{Name: "InitSafeBootMode", Data: 4, Init: func(*Kernel) []byte { return ulong(0) },
		MaxIRQL: anyIRQL, Support: Full},
}

// ulong gives the bytes of a variable.
func ulong(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

func verSetConditionMask(c *Call) uint64 {
	return rtl.VerSetConditionMask(c.Arg(0), uint32(c.Arg(1)), uint8(c.Arg(2)))
}

// rtlIsNtDdiVersionAvailable says whether this is a version of Windows or a later one.
//
//	BOOLEAN RtlIsNtDdiVersionAvailable(ULONG Version)
//
// FALSE for a version with a service pack. "RtlIsNtDdiVersionAvailable function (wdm.h)".
func rtlIsNtDdiVersionAvailable(c *Call, version uint32) nt.Boolean {
	return boolean(rtl.IsNtDdiVersionAvailable(version))
}

// rtlIsServicePackVersionInstalled says whether this is a version with a service pack or a later one
// of them.
//
//	BOOLEAN RtlIsServicePackVersionInstalled(ULONG Version)
//
// "RtlIsServicePackVersionInstalled function (wdm.h)".
func rtlIsServicePackVersionInstalled(c *Call, version uint32) nt.Boolean {
	return boolean(rtl.IsServicePackVersionInstalled(version))
}

// psGetVersion gives the version. Each pointer may be null. There is no service pack, so CSDVersion
// becomes an empty string.
//
//	BOOLEAN PsGetVersion(PULONG MajorVersion, PULONG MinorVersion, PULONG BuildNumber,
//	    PUNICODE_STRING CSDVersion)
//
// FALSE: this is a free build. "PsGetVersion function (ntddk.h)".
func psGetVersion(c *Call, major, minor, build, csd guest.Addr) nt.Boolean {
	StoreOpt(c, major, nt.MajorVersion)
	StoreOpt(c, minor, nt.MinorVersion)
	StoreOpt(c, build, nt.BuildNumber)
	StoreOpt(c, csd, nt.UnicodeString{})
	return nt.FALSE
}
