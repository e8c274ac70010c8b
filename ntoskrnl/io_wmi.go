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
	{Name: "IoWMIWriteEvent", Fn: fn1(ioWMIWriteEvent), Params: "WnodeEventItem", MaxIRQL: apc,
		Support: Partial, Note: "the event goes to the host's log: nobody consumes it"},
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

// ioWMIWriteEvent delivers an event to its consumers, of whom there are none, and frees it.
//
//	NTSTATUS IoWMIWriteEvent(PVOID WnodeEventItem)
//
// STATUS_INVALID_PARAMETER for what is no event item, and STATUS_BUFFER_OVERFLOW for one that is
// larger than the default of the registry's limit; the caller keeps both. "IoWMIWriteEvent function
// (wdm.h)".
func ioWMIWriteEvent(c *Call, item guest.Addr) nt.Status {
	const (
		eventItem      = 0x8       // WNODE_FLAG_EVENT_ITEM
		eventReference = 0x2000    // WNODE_FLAG_EVENT_REFERENCE
		largest        = 64 * 1024 // bytes
	)
	h := Load[wnodeHeader](c, item)
	switch {
	case h.Flags&(eventItem|eventReference) == 0:
		return nt.STATUS_INVALID_PARAMETER
	case h.BufferSize > largest:
		return nt.STATUS_BUFFER_OVERFLOW
	}
	c.log.Info("WMI event", "driver", c.Where(c.Caller()), "bytes", h.BufferSize)
	exFreePool(c, item)
	return nt.STATUS_SUCCESS
}

// wnodeHeader is WNODE_HEADER.
type wnodeHeader struct {
	BufferSize, ProviderID       uint32
	HistoricalContext, TimeStamp uint64
	GUID                         [16]byte
	ClientContext, Flags         uint32
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
