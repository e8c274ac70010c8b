package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// WMI. There is no WMI service: nobody asks a provider, and no data block has a provider to ask.
var ioWMIExports = []Export{
	{Name: "IoWMIRegistrationControl", Fn: fn2(ioWMIRegistrationControl),
		Params: "DeviceObject Action:d", MaxIRQL: passive, Support: Partial,
		Note: "registrations are checked and kept track of, but no IRP_MJ_SYSTEM_CONTROL is sent"},
	{Name: "IoWMIOpenBlock", Fn: fn3(ioWMIOpenBlock), Params: "DataBlockGuid DesiredAccess DataBlockObject",
		MaxIRQL: passive, Support: Partial, Note: "no data block exists: STATUS_WMI_GUID_NOT_FOUND"},
	{Name: "IoWMIQueryAllData", Fn: fn3(ioWMIQueryAllData),
		Params: "DataBlockObject InOutBufferSize OutBuffer", MaxIRQL: passive, Support: Partial,
		Note: "no data block can be open: STATUS_OBJECT_TYPE_MISMATCH"},
}

// Actions of IoWMIRegistrationControl ("IoWMIRegistrationControl function (wdm.h)").
const (
	wmiRegActionRegister   = 1
	wmiRegActionDeregister = 2
	wmiRegActionReregister = 3
	wmiRegActionUpdate     = 4
	wmiRegActionBlockIRPs  = 5
)

// ioWMIRegistrationControl registers a device as a provider of WMI data, and ends that.
//
//	NTSTATUS IoWMIRegistrationControl(PDEVICE_OBJECT DeviceObject, ULONG Action)
//
// STATUS_INVALID_PARAMETER for an action that there is not, or a device that is not registered.
// "IoWMIRegistrationControl function (wdm.h)".
func ioWMIRegistrationControl(c *Call, device guest.Addr, action uint32) nt.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, registered := c.wmiProviders[device]
	switch action {
	case wmiRegActionRegister:
		if registered {
			return nt.STATUS_OBJECT_NAME_EXISTS
		}
		c.wmiProviders[device] = struct{}{}
	case wmiRegActionDeregister:
		if !registered {
			return nt.STATUS_INVALID_PARAMETER
		}
		delete(c.wmiProviders, device)
	case wmiRegActionReregister, wmiRegActionUpdate, wmiRegActionBlockIRPs:
		if !registered {
			return nt.STATUS_INVALID_PARAMETER
		}
	default:
		return nt.STATUS_INVALID_PARAMETER
	}
	return nt.STATUS_SUCCESS
}

// ioWMIOpenBlock opens a WMI data block of another provider.
//
//	NTSTATUS IoWMIOpenBlock(GUID *DataBlockGuid, ULONG DesiredAccess, PVOID *DataBlockObject)
//
// STATUS_WMI_GUID_NOT_FOUND. "IoWMIOpenBlock function (wdm.h)".
func ioWMIOpenBlock(c *Call, guid guest.Addr, access uint32, result guest.Addr) nt.Status {
	Load[[16]byte](c, guid)
	return nt.STATUS_WMI_GUID_NOT_FOUND
}

// ioWMIQueryAllData reads all instances of a data block that is open.
//
//	NTSTATUS IoWMIQueryAllData(PVOID DataBlockObject, PULONG InOutBufferSize, PVOID OutBuffer)
//
// STATUS_OBJECT_TYPE_MISMATCH: IoWMIOpenBlock has opened none, so that the object is another one. What
// is no object is a bugcheck. "IoWMIQueryAllData function (wdm.h)".
func ioWMIQueryAllData(c *Call, block, size, buffer guest.Addr) nt.Status {
	c.object(block)
	Load[uint32](c, size)
	return nt.STATUS_OBJECT_TYPE_MISMATCH
}
