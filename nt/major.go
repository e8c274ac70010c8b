// The function codes of IRPs.
package nt

import "strconv"

// MajorFunction is an IRP's major function code: IRP_MJ_*.
type MajorFunction uint8

// The major function codes.
const (
	IRP_MJ_CREATE                   MajorFunction = 0x00
	IRP_MJ_CREATE_NAMED_PIPE        MajorFunction = 0x01
	IRP_MJ_CLOSE                    MajorFunction = 0x02
	IRP_MJ_READ                     MajorFunction = 0x03
	IRP_MJ_WRITE                    MajorFunction = 0x04
	IRP_MJ_QUERY_INFORMATION        MajorFunction = 0x05
	IRP_MJ_SET_INFORMATION          MajorFunction = 0x06
	IRP_MJ_QUERY_EA                 MajorFunction = 0x07
	IRP_MJ_SET_EA                   MajorFunction = 0x08
	IRP_MJ_FLUSH_BUFFERS            MajorFunction = 0x09
	IRP_MJ_QUERY_VOLUME_INFORMATION MajorFunction = 0x0A
	IRP_MJ_SET_VOLUME_INFORMATION   MajorFunction = 0x0B
	IRP_MJ_DIRECTORY_CONTROL        MajorFunction = 0x0C
	IRP_MJ_FILE_SYSTEM_CONTROL      MajorFunction = 0x0D
	IRP_MJ_DEVICE_CONTROL           MajorFunction = 0x0E
	IRP_MJ_INTERNAL_DEVICE_CONTROL  MajorFunction = 0x0F
	IRP_MJ_SCSI                     MajorFunction = 0x0F
	IRP_MJ_SHUTDOWN                 MajorFunction = 0x10
	IRP_MJ_LOCK_CONTROL             MajorFunction = 0x11
	IRP_MJ_CLEANUP                  MajorFunction = 0x12
	IRP_MJ_CREATE_MAILSLOT          MajorFunction = 0x13
	IRP_MJ_QUERY_SECURITY           MajorFunction = 0x14
	IRP_MJ_SET_SECURITY             MajorFunction = 0x15
	IRP_MJ_POWER                    MajorFunction = 0x16
	IRP_MJ_SYSTEM_CONTROL           MajorFunction = 0x17
	IRP_MJ_DEVICE_CHANGE            MajorFunction = 0x18
	IRP_MJ_QUERY_QUOTA              MajorFunction = 0x19
	IRP_MJ_SET_QUOTA                MajorFunction = 0x1A
	IRP_MJ_PNP                      MajorFunction = 0x1B
	IRP_MJ_MAXIMUM_FUNCTION                       = 0x1B
)

var majorNames = [IRP_MJ_MAXIMUM_FUNCTION + 1]string{
	"IRP_MJ_CREATE", "IRP_MJ_CREATE_NAMED_PIPE", "IRP_MJ_CLOSE", "IRP_MJ_READ", "IRP_MJ_WRITE",
	"IRP_MJ_QUERY_INFORMATION", "IRP_MJ_SET_INFORMATION", "IRP_MJ_QUERY_EA", "IRP_MJ_SET_EA",
	"IRP_MJ_FLUSH_BUFFERS", "IRP_MJ_QUERY_VOLUME_INFORMATION", "IRP_MJ_SET_VOLUME_INFORMATION",
	"IRP_MJ_DIRECTORY_CONTROL", "IRP_MJ_FILE_SYSTEM_CONTROL", "IRP_MJ_DEVICE_CONTROL",
	"IRP_MJ_INTERNAL_DEVICE_CONTROL", "IRP_MJ_SHUTDOWN", "IRP_MJ_LOCK_CONTROL", "IRP_MJ_CLEANUP",
	"IRP_MJ_CREATE_MAILSLOT", "IRP_MJ_QUERY_SECURITY", "IRP_MJ_SET_SECURITY", "IRP_MJ_POWER",
	"IRP_MJ_SYSTEM_CONTROL", "IRP_MJ_DEVICE_CHANGE", "IRP_MJ_QUERY_QUOTA", "IRP_MJ_SET_QUOTA",
	"IRP_MJ_PNP",
}

// String gives the name, such as IRP_MJ_DEVICE_CONTROL.
func (m MajorFunction) String() string {
	if int(m) < len(majorNames) {
		return majorNames[m]
	}
	return "IRP_MJ_0x" + strconv.FormatUint(uint64(m), 16)
}

// The minor function codes of IRP_MJ_PNP.
const (
	IRP_MN_START_DEVICE                 uint8 = 0x00
	IRP_MN_QUERY_REMOVE_DEVICE          uint8 = 0x01
	IRP_MN_REMOVE_DEVICE                uint8 = 0x02
	IRP_MN_CANCEL_REMOVE_DEVICE         uint8 = 0x03
	IRP_MN_STOP_DEVICE                  uint8 = 0x04
	IRP_MN_QUERY_STOP_DEVICE            uint8 = 0x05
	IRP_MN_CANCEL_STOP_DEVICE           uint8 = 0x06
	IRP_MN_QUERY_DEVICE_RELATIONS       uint8 = 0x07
	IRP_MN_QUERY_INTERFACE              uint8 = 0x08
	IRP_MN_QUERY_CAPABILITIES           uint8 = 0x09
	IRP_MN_QUERY_RESOURCES              uint8 = 0x0A
	IRP_MN_QUERY_RESOURCE_REQUIREMENTS  uint8 = 0x0B
	IRP_MN_QUERY_DEVICE_TEXT            uint8 = 0x0C
	IRP_MN_FILTER_RESOURCE_REQUIREMENTS uint8 = 0x0D
	IRP_MN_READ_CONFIG                  uint8 = 0x0F
	IRP_MN_WRITE_CONFIG                 uint8 = 0x10
	IRP_MN_EJECT                        uint8 = 0x11
	IRP_MN_SET_LOCK                     uint8 = 0x12
	IRP_MN_QUERY_ID                     uint8 = 0x13
	IRP_MN_QUERY_PNP_DEVICE_STATE       uint8 = 0x14
	IRP_MN_QUERY_BUS_INFORMATION        uint8 = 0x15
	IRP_MN_DEVICE_USAGE_NOTIFICATION    uint8 = 0x16
	IRP_MN_SURPRISE_REMOVAL             uint8 = 0x17
	IRP_MN_DEVICE_ENUMERATED            uint8 = 0x19
)

// The minor function codes of IRP_MJ_POWER.
const (
	IRP_MN_WAIT_WAKE      uint8 = 0x00
	IRP_MN_POWER_SEQUENCE uint8 = 0x01
	IRP_MN_SET_POWER      uint8 = 0x02
	IRP_MN_QUERY_POWER    uint8 = 0x03
)

// The minor function codes of IRP_MJ_SYSTEM_CONTROL (WMI).
const (
	IRP_MN_QUERY_ALL_DATA         uint8 = 0x00
	IRP_MN_QUERY_SINGLE_INSTANCE  uint8 = 0x01
	IRP_MN_CHANGE_SINGLE_INSTANCE uint8 = 0x02
	IRP_MN_CHANGE_SINGLE_ITEM     uint8 = 0x03
	IRP_MN_ENABLE_EVENTS          uint8 = 0x04
	IRP_MN_DISABLE_EVENTS         uint8 = 0x05
	IRP_MN_ENABLE_COLLECTION      uint8 = 0x06
	IRP_MN_DISABLE_COLLECTION     uint8 = 0x07
	IRP_MN_REGINFO                uint8 = 0x08
	IRP_MN_EXECUTE_METHOD         uint8 = 0x09
	IRP_MN_REGINFO_EX             uint8 = 0x0B
)

// The minor function codes of directory, file system and lock control.
const (
	IRP_MN_QUERY_DIRECTORY         uint8 = 0x01
	IRP_MN_NOTIFY_CHANGE_DIRECTORY uint8 = 0x02
	IRP_MN_USER_FS_REQUEST         uint8 = 0x00
	IRP_MN_MOUNT_VOLUME            uint8 = 0x01
	IRP_MN_VERIFY_VOLUME           uint8 = 0x02
	IRP_MN_LOAD_FILE_SYSTEM        uint8 = 0x03
	IRP_MN_KERNEL_CALL             uint8 = 0x04
	IRP_MN_LOCK                    uint8 = 0x01
	IRP_MN_UNLOCK_SINGLE           uint8 = 0x02
	IRP_MN_UNLOCK_ALL              uint8 = 0x03
	IRP_MN_UNLOCK_ALL_BY_KEY       uint8 = 0x04
	IRP_MN_NORMAL                  uint8 = 0x00
	IRP_MN_SCSI_CLASS              uint8 = 0x01
)
