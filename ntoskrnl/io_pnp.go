package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// Plug and Play. No bus is enumerated, so that no device is a physical device object (PDO), no device
// has an interface, and nothing is ever plugged in or removed.
var ioPnPExports = []Export{
	{Name: "IoGetDeviceProperty", Fn: fn5(ioGetDeviceProperty),
		Params:  "DeviceObject DeviceProperty:d BufferLength:d PropertyBuffer ResultLength",
		MaxIRQL: passive, Support: Partial, Note: noPDO + ": STATUS_INVALID_DEVICE_REQUEST"},
	{Name: "IoOpenDeviceRegistryKey", Fn: fn4(ioOpenDeviceRegistryKey),
		Params:  "DeviceObject DevInstKeyType:d DesiredAccess DeviceRegKey",
		MaxIRQL: passive, Support: Partial, Note: noPDO + ": STATUS_INVALID_DEVICE_REQUEST"},
	{Name: "IoRegisterDeviceInterface", Fn: fn4(ioRegisterDeviceInterface),
		Params:  "PhysicalDeviceObject InterfaceClassGuid ReferenceString:ustr SymbolicLinkName",
		MaxIRQL: passive, Support: Partial, Note: noPDO + ": STATUS_INVALID_DEVICE_REQUEST"},
	{Name: "IoSetDeviceInterfaceState", Fn: fn2(ioSetDeviceInterfaceState),
		Params: "SymbolicLinkName:ustr Enable:b", MaxIRQL: passive, Support: Partial,
		Note: "no interface is registered: STATUS_OBJECT_NAME_NOT_FOUND"},
	{Name: "IoGetDeviceInterfaces", Fn: fn4(ioGetDeviceInterfaces),
		Params:  "InterfaceClassGuid PhysicalDeviceObject Flags SymbolicLinkList",
		MaxIRQL: passive, Support: Partial, Note: "no interface is registered: an empty list"},
	{Name: "IoRegisterPlugPlayNotification", Fn: fn7(ioRegisterPlugPlayNotification),
		Params: "EventCategory:d EventCategoryFlags EventCategoryData DriverObject " +
			"CallbackRoutine Context NotificationEntry",
		MaxIRQL: passive, Support: Partial, Note: "registrations are checked and kept; no event comes"},
	{Name: "IoUnregisterPlugPlayNotification", Fn: fn1(ioUnregisterPlugPlayNotification),
		Params: "NotificationEntry", MaxIRQL: passive, Support: Partial,
		Note: "gives the registration back; no event comes that it could end or wait for"},
	{Name: "IoUnregisterPlugPlayNotificationEx", Fn: fn1(ioUnregisterPlugPlayNotification),
		Params: "NotificationEntry", MaxIRQL: passive, Support: Partial,
		Note: "gives the registration back; no event comes that it could end or wait for"},
	{Name: "IoInvalidateDeviceRelations", Fn: do2(ioInvalidateDeviceRelations),
		Params: "DeviceObject Type:d", MaxIRQL: dispatch, Support: Partial, Note: noPDOBugcheck},
	{Name: "IoInvalidateDeviceState", Fn: do1(ioInvalidateDeviceState),
		Params: "PhysicalDeviceObject", MaxIRQL: dispatch, Support: Partial, Note: noPDOBugcheck},
	{Name: "IoRequestDeviceEject", Fn: do1(ioRequestDeviceEject), Params: "PhysicalDeviceObject",
		MaxIRQL: dispatch, Support: Partial, Note: noPDOBugcheck},
	{Name: "IoGetDmaAdapter", Fn: fn3(ioGetDmaAdapter),
		Params:  "PhysicalDeviceObject DeviceDescription NumberOfMapRegisters",
		MaxIRQL: passive, Support: Partial, Note: "no bus has DMA: NULL"},
}

const (
	noPDO         = "no device is a PDO"
	noPDOBugcheck = noPDO + ": PNP_DETECTED_FATAL_ERROR"
)

// notAPDO is the bugcheck of a device that must be a PDO and is none ("Bug Check 0xCA").
func (c *Call) notAPDO(device guest.Addr) {
	const invalidPDO = 2
	c.T.Crash(&ke.Bugcheck{Code: nt.PNP_DETECTED_FATAL_ERROR,
		Params: [4]uint64{invalidPDO, uint64(device), 0, 0},
		Reason: c.row.Name + " was called with a device that is no physical device object, by " +
			c.Where(c.Caller())})
}

// ioGetDeviceProperty tells what the PnP manager knows of a device.
//
//	NTSTATUS IoGetDeviceProperty(PDEVICE_OBJECT DeviceObject,
//	    DEVICE_REGISTRY_PROPERTY DeviceProperty, ULONG BufferLength, PVOID PropertyBuffer,
//	    PULONG ResultLength)
//
// STATUS_INVALID_DEVICE_REQUEST for what is no PDO. "IoGetDeviceProperty function (wdm.h)".
func ioGetDeviceProperty(c *Call, device guest.Addr, property, length uint32, buffer,
	needed guest.Addr) nt.Status {
	c.deviceObject(device)
	return nt.STATUS_INVALID_DEVICE_REQUEST
}

// ioOpenDeviceRegistryKey opens the hardware or software key of a device.
//
//	NTSTATUS IoOpenDeviceRegistryKey(PDEVICE_OBJECT DeviceObject, ULONG DevInstKeyType,
//	    ACCESS_MASK DesiredAccess, PHANDLE DeviceRegKey)
//
// STATUS_INVALID_PARAMETER for a type that there is not, STATUS_INVALID_DEVICE_REQUEST for what is no
// PDO. "IoOpenDeviceRegistryKey function (wdm.h)".
func ioOpenDeviceRegistryKey(c *Call, device guest.Addr, kind, access uint32,
	handle guest.Addr) nt.Status {
	const anyKey = 1 | 2 // PLUGPLAY_REGKEY_DEVICE, PLUGPLAY_REGKEY_DRIVER
	if kind&anyKey == 0 || kind&anyKey == anyKey {
		return nt.STATUS_INVALID_PARAMETER
	}
	c.deviceObject(device)
	Store(c, handle, nt.Handle(0))
	return nt.STATUS_INVALID_DEVICE_REQUEST
}

// ioRegisterDeviceInterface registers an interface class for a device.
//
//	NTSTATUS IoRegisterDeviceInterface(PDEVICE_OBJECT PhysicalDeviceObject,
//	    const GUID *InterfaceClassGuid, PUNICODE_STRING ReferenceString,
//	    PUNICODE_STRING SymbolicLinkName)
//
// STATUS_INVALID_DEVICE_REQUEST for what is no PDO. "IoRegisterDeviceInterface function (wdm.h)".
func ioRegisterDeviceInterface(c *Call, device, guid, reference, link guest.Addr) nt.Status {
	c.deviceObject(device)
	Load[[16]byte](c, guid)
	return nt.STATUS_INVALID_DEVICE_REQUEST
}

// ioSetDeviceInterfaceState enables or disables an interface that was registered.
//
//	NTSTATUS IoSetDeviceInterfaceState(PUNICODE_STRING SymbolicLinkName, BOOLEAN Enable)
//
// STATUS_OBJECT_NAME_NOT_FOUND if there is none of that name. "IoSetDeviceInterfaceState function
// (wdm.h)".
func ioSetDeviceInterfaceState(c *Call, link guest.Addr, enable nt.Boolean) nt.Status {
	c.UString(link)
	return nt.STATUS_OBJECT_NAME_NOT_FOUND
}

// ioGetDeviceInterfaces lists the interfaces of a class: strings with a zero behind each, and one
// behind the last, in paged pool that the caller frees.
//
//	NTSTATUS IoGetDeviceInterfaces(const GUID *InterfaceClassGuid,
//	    PDEVICE_OBJECT PhysicalDeviceObject, ULONG Flags, PZZWSTR *SymbolicLinkList)
//
// STATUS_INVALID_DEVICE_REQUEST for a device that is no PDO. "IoGetDeviceInterfaces function (wdm.h)".
func ioGetDeviceInterfaces(c *Call, guid, device guest.Addr, flags uint32, list guest.Addr) nt.Status {
	Load[[16]byte](c, guid)
	Store(c, list, guest.Addr(0))
	if device != 0 {
		c.deviceObject(device)
		return nt.STATUS_INVALID_DEVICE_REQUEST
	}
	a, err := c.Mm.AllocatePool2(nt.POOL_FLAG_PAGED, 2, pnpTag)
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	Store(c, list, a)
	return nt.STATUS_SUCCESS
}

// pnpTag is the pool tag of the PnP manager, as Windows has it.
var pnpTag = mm.MakeTag("Pp  ")

// The categories of events (IO_NOTIFICATION_EVENT_CATEGORY).
const (
	eventHardwareProfile = 1
	eventInterfaceChange = 2
	eventTargetDevice    = 3
)

// ioRegisterPlugPlayNotification registers a routine for PnP events. NotificationEntry is for
// IoUnregisterPlugPlayNotification.
//
//	NTSTATUS IoRegisterPlugPlayNotification(IO_NOTIFICATION_EVENT_CATEGORY EventCategory,
//	    ULONG EventCategoryFlags, PVOID EventCategoryData, PDRIVER_OBJECT DriverObject,
//	    PDRIVER_NOTIFICATION_CALLBACK_ROUTINE CallbackRoutine, PVOID Context,
//	    PVOID *NotificationEntry)
//
// STATUS_INVALID_PARAMETER for a category that there is not. "IoRegisterPlugPlayNotification function
// (wdm.h)".
func ioRegisterPlugPlayNotification(c *Call, category, flags uint32, data, driver, routine, context,
	entry guest.Addr) nt.Status {
	c.driverObject(driver)
	switch category {
	case eventHardwareProfile:
	case eventInterfaceChange:
		Load[[16]byte](c, data) // the class
	case eventTargetDevice:
		if c.Dev.File(data) == nil {
			c.notAnObject(data, "FILE_OBJECT")
		}
	default:
		return nt.STATUS_INVALID_PARAMETER
	}
	const entrySize = 16
	a, err := c.Mm.AllocatePool2(nt.POOL_FLAG_PAGED, entrySize, pnpTag)
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	Store(c, a, routine)
	Store(c, entry, a)
	return nt.STATUS_SUCCESS
}

// ioUnregisterPlugPlayNotification ends a registration.
//
//	NTSTATUS IoUnregisterPlugPlayNotification(PVOID NotificationEntry)
//
// "IoUnregisterPlugPlayNotification function (wdm.h)".
func ioUnregisterPlugPlayNotification(c *Call, entry guest.Addr) nt.Status {
	exFreePoolWithTag(c, entry, pnpTag)
	return nt.STATUS_SUCCESS
}

// ioInvalidateDeviceRelations says that what is on a device's bus has changed.
//
//	VOID IoInvalidateDeviceRelations(PDEVICE_OBJECT DeviceObject, DEVICE_RELATION_TYPE Type)
//
// PNP_DETECTED_FATAL_ERROR for what is no PDO. "IoInvalidateDeviceRelations function (wdm.h)".
func ioInvalidateDeviceRelations(c *Call, device guest.Addr, kind uint32) { c.notAPDO(device) }

// ioInvalidateDeviceState says that a device's PnP state has changed.
//
//	VOID IoInvalidateDeviceState(PDEVICE_OBJECT PhysicalDeviceObject)
//
// PNP_DETECTED_FATAL_ERROR for what is no PDO. "IoInvalidateDeviceState function (wdm.h)".
func ioInvalidateDeviceState(c *Call, device guest.Addr) { c.notAPDO(device) }

// ioRequestDeviceEject says that somebody wants a device ejected.
//
//	VOID IoRequestDeviceEject(PDEVICE_OBJECT PhysicalDeviceObject)
//
// PNP_DETECTED_FATAL_ERROR for what is no PDO. "IoRequestDeviceEject function (wdm.h)".
func ioRequestDeviceEject(c *Call, device guest.Addr) { c.notAPDO(device) }

// ioGetDmaAdapter gives the DMA adapter of a device's bus.
//
//	PDMA_ADAPTER IoGetDmaAdapter(PDEVICE_OBJECT PhysicalDeviceObject,
//	    PDEVICE_DESCRIPTION DeviceDescription, PULONG NumberOfMapRegisters)
//
// NULL, as for a device without DMA. "IoGetDmaAdapter function (wdm.h)".
func ioGetDmaAdapter(c *Call, device, description, registers guest.Addr) guest.Addr {
	Load[uint32](c, description) // DEVICE_DESCRIPTION.Version
	Store(c, registers, uint32(0))
	return 0
}
