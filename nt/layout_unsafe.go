// Views of unions, in place: the typed members of Parameters.
package nt

import "unsafe"

// Create gives the Create member.
func (p *Parameters) Create() *ParametersCreate { return (*ParametersCreate)(unsafe.Pointer(p)) }

// Read gives the Read member.
func (p *Parameters) Read() *ParametersRead { return (*ParametersRead)(unsafe.Pointer(p)) }

// Write gives the Write member.
func (p *Parameters) Write() *ParametersWrite { return (*ParametersWrite)(unsafe.Pointer(p)) }

// DeviceIoControl gives the DeviceIoControl member.
func (p *Parameters) DeviceIoControl() *ParametersDeviceIoControl {
	return (*ParametersDeviceIoControl)(unsafe.Pointer(p))
}

// FileSystemControl gives the FileSystemControl member.
func (p *Parameters) FileSystemControl() *ParametersFileSystemControl {
	return (*ParametersFileSystemControl)(unsafe.Pointer(p))
}

// QueryFile gives the QueryFile member.
func (p *Parameters) QueryFile() *ParametersQueryFile {
	return (*ParametersQueryFile)(unsafe.Pointer(p))
}

// SetFile gives the SetFile member.
func (p *Parameters) SetFile() *ParametersSetFile { return (*ParametersSetFile)(unsafe.Pointer(p)) }

// QueryVolume gives the QueryVolume member.
func (p *Parameters) QueryVolume() *ParametersQueryVolume {
	return (*ParametersQueryVolume)(unsafe.Pointer(p))
}

// SetVolume gives the SetVolume member.
func (p *Parameters) SetVolume() *ParametersSetVolume {
	return (*ParametersSetVolume)(unsafe.Pointer(p))
}

// QueryDirectory gives the QueryDirectory member.
func (p *Parameters) QueryDirectory() *ParametersQueryDirectory {
	return (*ParametersQueryDirectory)(unsafe.Pointer(p))
}

// NotifyDirectory gives the NotifyDirectory member.
func (p *Parameters) NotifyDirectory() *ParametersNotifyDirectory {
	return (*ParametersNotifyDirectory)(unsafe.Pointer(p))
}

// LockControl gives the LockControl member.
func (p *Parameters) LockControl() *ParametersLockControl {
	return (*ParametersLockControl)(unsafe.Pointer(p))
}

// QuerySecurity gives the QuerySecurity member.
func (p *Parameters) QuerySecurity() *ParametersQuerySecurity {
	return (*ParametersQuerySecurity)(unsafe.Pointer(p))
}

// SetSecurity gives the SetSecurity member.
func (p *Parameters) SetSecurity() *ParametersSetSecurity {
	return (*ParametersSetSecurity)(unsafe.Pointer(p))
}

// Power gives the Power member.
func (p *Parameters) Power() *ParametersPower { return (*ParametersPower)(unsafe.Pointer(p)) }

// StartDevice gives the StartDevice member.
func (p *Parameters) StartDevice() *ParametersStartDevice {
	return (*ParametersStartDevice)(unsafe.Pointer(p))
}

// QueryDeviceRelations gives the QueryDeviceRelations member.
func (p *Parameters) QueryDeviceRelations() *ParametersQueryDeviceRelations {
	return (*ParametersQueryDeviceRelations)(unsafe.Pointer(p))
}

// QueryInterface gives the QueryInterface member.
func (p *Parameters) QueryInterface() *ParametersQueryInterface {
	return (*ParametersQueryInterface)(unsafe.Pointer(p))
}

// DeviceCapabilities gives the DeviceCapabilities member.
func (p *Parameters) DeviceCapabilities() *ParametersDeviceCapabilities {
	return (*ParametersDeviceCapabilities)(unsafe.Pointer(p))
}

// QueryId gives the QueryId member.
func (p *Parameters) QueryId() *ParametersQueryId { return (*ParametersQueryId)(unsafe.Pointer(p)) }

// WMI gives the WMI member.
func (p *Parameters) WMI() *ParametersWMI { return (*ParametersWMI)(unsafe.Pointer(p)) }
