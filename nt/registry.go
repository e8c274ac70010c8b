// Constants and layouts of the registry.
package nt

// The types of registry values.
const (
	REG_NONE                       uint32 = 0
	REG_SZ                         uint32 = 1
	REG_EXPAND_SZ                  uint32 = 2
	REG_BINARY                     uint32 = 3
	REG_DWORD                      uint32 = 4
	REG_DWORD_BIG_ENDIAN           uint32 = 5
	REG_LINK                       uint32 = 6
	REG_MULTI_SZ                   uint32 = 7
	REG_RESOURCE_LIST              uint32 = 8
	REG_FULL_RESOURCE_DESCRIPTOR   uint32 = 9
	REG_RESOURCE_REQUIREMENTS_LIST uint32 = 10
	REG_QWORD                      uint32 = 11
)

// Access rights of keys.
const (
	KEY_QUERY_VALUE        uint32 = 0x0001
	KEY_SET_VALUE          uint32 = 0x0002
	KEY_CREATE_SUB_KEY     uint32 = 0x0004
	KEY_ENUMERATE_SUB_KEYS uint32 = 0x0008
	KEY_NOTIFY             uint32 = 0x0010
	KEY_CREATE_LINK        uint32 = 0x0020
	KEY_READ               uint32 = 0x00020019
	KEY_WRITE              uint32 = 0x00020006
	KEY_EXECUTE            uint32 = 0x00020019
	KEY_ALL_ACCESS         uint32 = 0x000F003F
)

// Options of ZwCreateKey, and what it did.
const (
	REG_OPTION_NON_VOLATILE   uint32 = 0
	REG_OPTION_VOLATILE       uint32 = 1
	REG_OPTION_CREATE_LINK    uint32 = 2
	REG_OPTION_BACKUP_RESTORE uint32 = 4
	REG_OPTION_OPEN_LINK      uint32 = 8
	REG_CREATED_NEW_KEY       uint32 = 1
	REG_OPENED_EXISTING_KEY   uint32 = 2
)

// Formats of ZwSaveKeyEx.
const (
	REG_STANDARD_FORMAT uint32 = 1
	REG_LATEST_FORMAT   uint32 = 2
	REG_NO_COMPRESSION  uint32 = 4
)

// Flags of ZwRestoreKey and ZwLoadKeyEx.
const (
	REG_WHOLE_HIVE_VOLATILE    uint32 = 0x0001
	REG_REFRESH_HIVE           uint32 = 0x0002
	REG_NO_LAZY_FLUSH          uint32 = 0x0004
	REG_FORCE_RESTORE          uint32 = 0x0008
	REG_APP_HIVE               uint32 = 0x0010
	REG_HIVE_EXACT_FILE_GROWTH uint32 = 0x0080
	REG_HIVE_NO_RM             uint32 = 0x0100
	REG_HIVE_SINGLE_LOG        uint32 = 0x0200
	REG_LOAD_HIVE_OPEN_HANDLE  uint32 = 0x0800
	REG_FLUSH_HIVE_FILE_GROWTH uint32 = 0x1000
)

// What ZwNotifyChangeKey is to wait for.
const (
	REG_NOTIFY_CHANGE_NAME       uint32 = 1
	REG_NOTIFY_CHANGE_ATTRIBUTES uint32 = 2
	REG_NOTIFY_CHANGE_LAST_SET   uint32 = 4
	REG_NOTIFY_CHANGE_SECURITY   uint32 = 8
	REG_NOTIFY_THREAD_AGNOSTIC   uint32 = 0x10000000
)

// Kinds of information about a key (KEY_INFORMATION_CLASS).
const (
	KeyBasicInformation          uint32 = 0
	KeyNodeInformation           uint32 = 1
	KeyFullInformation           uint32 = 2
	KeyNameInformation           uint32 = 3
	KeyCachedInformation         uint32 = 4
	KeyFlagsInformation          uint32 = 5
	KeyVirtualizationInformation uint32 = 6
	KeyHandleTagsInformation     uint32 = 7
)

// KeyWriteTimeInformation is what of a key can be set (KEY_SET_INFORMATION_CLASS).
const KeyWriteTimeInformation uint32 = 0

// Kinds of information about a value (KEY_VALUE_INFORMATION_CLASS).
const (
	KeyValueBasicInformation          uint32 = 0
	KeyValueFullInformation           uint32 = 1
	KeyValuePartialInformation        uint32 = 2
	KeyValueFullInformationAlign64    uint32 = 3
	KeyValuePartialInformationAlign64 uint32 = 4
)

// KeyValueBasic is the head of KEY_VALUE_BASIC_INFORMATION. Name, in UTF-16, begins at its offset 12.
type KeyValueBasic struct {
	TitleIndex uint32
	Type       uint32
	NameLength uint32 // bytes
}

// KeyValueFull is the head of KEY_VALUE_FULL_INFORMATION. Name, in UTF-16, begins at its offset 20.
type KeyValueFull struct {
	TitleIndex uint32
	Type       uint32
	DataOffset uint32 // from the beginning, in bytes
	DataLength uint32 // bytes
	NameLength uint32 // bytes
}

// KeyValuePartial is the head of KEY_VALUE_PARTIAL_INFORMATION. Data begins at its offset 12.
type KeyValuePartial struct {
	TitleIndex uint32
	Type       uint32
	DataLength uint32 // bytes
}

// KeyBasic is the head of KEY_BASIC_INFORMATION. Name, in UTF-16, begins at its offset 16.
type KeyBasic struct {
	LastWriteTime int64
	TitleIndex    uint32
	NameLength    uint32 // bytes
}

// RTLQueryRegistryTable is RTL_QUERY_REGISTRY_TABLE: one row of RtlQueryRegistryValues' table.
type RTLQueryRegistryTable struct {
	QueryRoutine  Addr
	Flags         uint32 // RTL_QUERY_REGISTRY_*
	_             [ptrPad]byte
	Name          Addr // UTF-16, ends with zero
	EntryContext  Addr
	DefaultType   uint32
	_             [ptrPad]byte
	DefaultData   Addr
	DefaultLength uint32
	_             [ptrPad]byte
}

// The flags of an RTLQueryRegistryTable, and what a path of the Rtl registry functions is relative to.
const (
	RTL_QUERY_REGISTRY_SUBKEY    uint32 = 0x01
	RTL_QUERY_REGISTRY_TOPKEY    uint32 = 0x02
	RTL_QUERY_REGISTRY_REQUIRED  uint32 = 0x04
	RTL_QUERY_REGISTRY_NOVALUE   uint32 = 0x08
	RTL_QUERY_REGISTRY_NOEXPAND  uint32 = 0x10
	RTL_QUERY_REGISTRY_DIRECT    uint32 = 0x20
	RTL_QUERY_REGISTRY_DELETE    uint32 = 0x40
	RTL_QUERY_REGISTRY_TYPECHECK uint32 = 0x100
	RTL_REGISTRY_ABSOLUTE        uint32 = 0
	RTL_REGISTRY_SERVICES        uint32 = 1
	RTL_REGISTRY_CONTROL         uint32 = 2
	RTL_REGISTRY_WINDOWS_NT      uint32 = 3
	RTL_REGISTRY_DEVICEMAP       uint32 = 4
	RTL_REGISTRY_USER            uint32 = 5
	RTL_REGISTRY_HANDLE          uint32 = 0x40000000
	RTL_REGISTRY_OPTIONAL        uint32 = 0x80000000
)
