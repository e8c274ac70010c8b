// The version of Windows that the system presents itself as.
package nt

// Windows 10 22H2.
const (
	MajorVersion   uint32 = 10
	MinorVersion   uint32 = 0
	BuildNumber    uint32 = 19045
	DisplayVersion        = "22H2"
	ProductName           = "Windows 10 Pro"
	// NtBuildNumber is the kernel's exported variable: the build number, with the highest four bits
	// 0xF for a free (not checked) build.
	NtBuildNumber uint32 = 0xF0000000 | BuildNumber
)

// The values of RTLOSVersionInfoExW.DwPlatformId, WProductType and WSuiteMask.
const (
	VER_PLATFORM_WIN32_NT    uint32 = 2
	VER_NT_WORKSTATION       uint8  = 1
	VER_SUITE_SINGLEUSERTS   uint16 = 0x0100
	VER_NT_DOMAIN_CONTROLLER uint8  = 2
	VER_NT_SERVER            uint8  = 3
)

// SystemRoot is what \SystemRoot stands for, as KUSER_SHARED_DATA has it.
const SystemRoot = `C:\Windows`
