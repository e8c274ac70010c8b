package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// The registry keys of a driver.
var ioDriverKeyExports = []Export{
	{Name: "IoOpenDriverRegistryKey", Fn: fn5(ioOpenDriverRegistryKey),
		Params:  "DriverObject RegKeyType:d DesiredAccess Flags DriverRegKey",
		MaxIRQL: passive, Support: Partial,
		Note: "DriverRegKeyParameters, and DriverRegKeyPersistentState as the key PersistentState " +
			"below the service's"},
}

// driverKeys are the keys below that of a service, by DRIVER_REGKEY_TYPE.
var driverKeys = [...]string{"Parameters", "PersistentState"}

// ioOpenDriverRegistryKey opens a key of the driver's, and makes it if it is not there.
//
//	NTSTATUS IoOpenDriverRegistryKey(PDRIVER_OBJECT DriverObject, DRIVER_REGKEY_TYPE RegKeyType,
//	    ACCESS_MASK DesiredAccess, ULONG Flags, PHANDLE DriverRegKey)
//
// STATUS_INVALID_PARAMETER for another type, and for any flag; what the registry refuses.
// "IoOpenDriverRegistryKey function (wdm.h)".
func ioOpenDriverRegistryKey(c *Call, driver guest.Addr, kind, access, flags uint32,
	handle guest.Addr) nt.Status {
	d := c.driverObject(driver)
	if kind >= uint32(len(driverKeys)) || flags != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	service := Load[nt.DriverExtension](c, d.Object.Ref().DriverExtension).ServiceKeyName
	name, err := guest.ReadUTF16(service.Buffer, int(service.Length))
	c.Must(err)
	key, _, status := c.Registry().Create(nil, Services+name+`\`+driverKeys[kind],
		cm.CreateOptions{Parents: true})
	if status == nt.STATUS_SUCCESS {
		_, status = c.giveKey(handle, key, access, nt.OBJ_KERNEL_HANDLE)
	}
	return status
}
