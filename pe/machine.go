// Which machines and subsystems images are made for, and which of them this host runs.

package pe

import (
	"fmt"
	"runtime"
)

// Machine is the Machine field of IMAGE_FILE_HEADER ("PE Format", Machine Types).
type Machine uint16

// The machines that Windows drivers are met for.
const (
	MachineI386  Machine = 0x14c
	MachineR4000 Machine = 0x166
	MachineAlpha Machine = 0x184
	MachineARM   Machine = 0x1c0
	MachineThumb Machine = 0x1c2
	MachineARMNT Machine = 0x1c4
	MachineIA64  Machine = 0x200
	MachineEBC   Machine = 0xebc
	MachineAMD64 Machine = 0x8664
	MachineARM64 Machine = 0xaa64
)

var machines = map[Machine]struct{ name, host string }{
	MachineI386:  {"32-bit x86", "a 32-bit host"},
	MachineR4000: {"MIPS", "a MIPS host"},
	MachineAlpha: {"Alpha", "an Alpha host"},
	MachineARM:   {"32-bit ARM", "a 32-bit ARM host"},
	MachineThumb: {"32-bit ARM (Thumb)", "a 32-bit ARM host"},
	MachineARMNT: {"32-bit ARM (Thumb-2)", "a 32-bit ARM host"},
	MachineIA64:  {"Itanium", "an Itanium host"},
	MachineEBC:   {"EFI byte code", "EFI firmware"},
	MachineAMD64: {"x64", "an x64 host"},
	MachineARM64: {"ARM64", "an ARM64 host"},
}

// String names the machine as people say it: "x64", "ARM64", "32-bit x86".
func (m Machine) String() string {
	if k, ok := machines[m]; ok {
		return k.name
	}
	return fmt.Sprintf("machine 0x%x", uint16(m))
}

// host says what would run an image for the machine.
func (m Machine) host() string {
	if k, ok := machines[m]; ok {
		return k.host
	}
	return "a host of that machine"
}

// article is the indefinite article for the machine's name.
func (m Machine) article() string {
	switch m {
	case MachineARM64, MachineIA64, MachineEBC, MachineAMD64, MachineAlpha:
		return "an"
	}
	return "a"
}

// hostMachine is the machine whose images this process runs: the engine runs their code natively.
func hostMachine() Machine {
	switch runtime.GOARCH {
	case "386":
		return MachineI386
	case "arm64":
		return MachineARM64
	}
	return MachineAMD64
}

// Subsystem is the Subsystem field of the optional header ("PE Format", Windows Subsystem).
type Subsystem uint16

// SubsystemNative is the subsystem of drivers and kernel-mode libraries.
const SubsystemNative Subsystem = 1

var subsystems = map[Subsystem]struct{ name, host string }{
	0:  {"an image for no subsystem", "to be linked as a driver"},
	1:  {"a native image", "this host"},
	2:  {"a Windows GUI program", "Windows or Wine"},
	3:  {"a Windows console program", "Windows or Wine"},
	5:  {"an OS/2 program", "OS/2"},
	7:  {"a POSIX program", "Windows NT"},
	8:  {"a Windows 9x driver", "Windows 9x"},
	9:  {"a Windows CE program", "Windows CE"},
	10: {"an EFI application", "EFI firmware"},
	11: {"an EFI boot service driver", "EFI firmware"},
	12: {"an EFI runtime driver", "EFI firmware"},
	13: {"an EFI ROM image", "EFI firmware"},
	14: {"an Xbox program", "an Xbox"},
	16: {"a Windows boot application", "the Windows boot loader"},
}

// String names the subsystem with its article: "a native image", "a Windows GUI program".
func (s Subsystem) String() string {
	if k, ok := subsystems[s]; ok {
		return k.name
	}
	return fmt.Sprintf("an image for subsystem %d", uint16(s))
}

// host says what would run an image for the subsystem.
func (s Subsystem) host() string {
	if k, ok := subsystems[s]; ok {
		return k.host
	}
	return "a driver, whose subsystem is native"
}
