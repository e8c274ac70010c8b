// Access rights, share modes, dispositions and options of an open.
package nt

// Standard and generic access rights. Source: [MS-DTYP] section 2.4.3, ACCESS_MASK.
const (
	DELETE                   uint32 = 0x00010000
	READ_CONTROL             uint32 = 0x00020000
	WRITE_DAC                uint32 = 0x00040000
	WRITE_OWNER              uint32 = 0x00080000
	SYNCHRONIZE              uint32 = 0x00100000
	STANDARD_RIGHTS_REQUIRED uint32 = 0x000F0000
	STANDARD_RIGHTS_ALL      uint32 = 0x001F0000
	SPECIFIC_RIGHTS_ALL      uint32 = 0x0000FFFF
	ACCESS_SYSTEM_SECURITY   uint32 = 0x01000000
	MAXIMUM_ALLOWED          uint32 = 0x02000000
	GENERIC_ALL              uint32 = 0x10000000
	GENERIC_EXECUTE          uint32 = 0x20000000
	GENERIC_WRITE            uint32 = 0x40000000
	GENERIC_READ             uint32 = 0x80000000
)

// Access rights of files and devices.
const (
	FILE_READ_DATA        uint32 = 0x00000001
	FILE_LIST_DIRECTORY   uint32 = 0x00000001
	FILE_WRITE_DATA       uint32 = 0x00000002
	FILE_ADD_FILE         uint32 = 0x00000002
	FILE_APPEND_DATA      uint32 = 0x00000004
	FILE_ADD_SUBDIRECTORY uint32 = 0x00000004
	FILE_READ_EA          uint32 = 0x00000008
	FILE_WRITE_EA         uint32 = 0x00000010
	FILE_EXECUTE          uint32 = 0x00000020
	FILE_TRAVERSE         uint32 = 0x00000020
	FILE_DELETE_CHILD     uint32 = 0x00000040
	FILE_READ_ATTRIBUTES  uint32 = 0x00000080
	FILE_WRITE_ATTRIBUTES uint32 = 0x00000100
)

// What the generic rights mean for files and devices.
const (
	FILE_ALL_ACCESS      uint32 = 0x001F01FF
	FILE_GENERIC_READ    uint32 = 0x00120089
	FILE_GENERIC_WRITE   uint32 = 0x00120116
	FILE_GENERIC_EXECUTE uint32 = 0x001200A0
)

// Share modes.
const (
	FILE_SHARE_READ        uint32 = 0x00000001
	FILE_SHARE_WRITE       uint32 = 0x00000002
	FILE_SHARE_DELETE      uint32 = 0x00000004
	FILE_SHARE_VALID_FLAGS uint32 = 0x00000007
)

// Dispositions: what to do if the file exists, or does not.
const (
	FILE_SUPERSEDE    uint32 = 0x00000000
	FILE_OPEN         uint32 = 0x00000001
	FILE_CREATE       uint32 = 0x00000002
	FILE_OPEN_IF      uint32 = 0x00000003
	FILE_OVERWRITE    uint32 = 0x00000004
	FILE_OVERWRITE_IF uint32 = 0x00000005
)

// What a CREATE did (IOStatusBlock.Information).
const (
	FILE_SUPERSEDED     uintptr = 0
	FILE_OPENED         uintptr = 1
	FILE_CREATED        uintptr = 2
	FILE_OVERWRITTEN    uintptr = 3
	FILE_EXISTS         uintptr = 4
	FILE_DOES_NOT_EXIST uintptr = 5
)

// Create options (the lower 24 bits of ParametersCreate.Options).
const (
	FILE_DIRECTORY_FILE            uint32 = 0x00000001
	FILE_WRITE_THROUGH             uint32 = 0x00000002
	FILE_SEQUENTIAL_ONLY           uint32 = 0x00000004
	FILE_NO_INTERMEDIATE_BUFFERING uint32 = 0x00000008
	FILE_SYNCHRONOUS_IO_ALERT      uint32 = 0x00000010
	FILE_SYNCHRONOUS_IO_NONALERT   uint32 = 0x00000020
	FILE_NON_DIRECTORY_FILE        uint32 = 0x00000040
	FILE_CREATE_TREE_CONNECTION    uint32 = 0x00000080
	FILE_COMPLETE_IF_OPLOCKED      uint32 = 0x00000100
	FILE_NO_EA_KNOWLEDGE           uint32 = 0x00000200
	FILE_OPEN_REMOTE_INSTANCE      uint32 = 0x00000400
	FILE_RANDOM_ACCESS             uint32 = 0x00000800
	FILE_DELETE_ON_CLOSE           uint32 = 0x00001000
	FILE_OPEN_BY_FILE_ID           uint32 = 0x00002000
	FILE_OPEN_FOR_BACKUP_INTENT    uint32 = 0x00004000
	FILE_NO_COMPRESSION            uint32 = 0x00008000
	FILE_OPEN_REQUIRING_OPLOCK     uint32 = 0x00010000
	FILE_DISALLOW_EXCLUSIVE        uint32 = 0x00020000
	FILE_RESERVE_OPFILTER          uint32 = 0x00100000
	FILE_OPEN_REPARSE_POINT        uint32 = 0x00200000
	FILE_OPEN_NO_RECALL            uint32 = 0x00400000
	FILE_OPEN_FOR_FREE_SPACE_QUERY uint32 = 0x00800000
)

// File attributes.
const (
	FILE_ATTRIBUTE_READONLY  uint32 = 0x00000001
	FILE_ATTRIBUTE_HIDDEN    uint32 = 0x00000002
	FILE_ATTRIBUTE_SYSTEM    uint32 = 0x00000004
	FILE_ATTRIBUTE_DIRECTORY uint32 = 0x00000010
	FILE_ATTRIBUTE_ARCHIVE   uint32 = 0x00000020
	FILE_ATTRIBUTE_DEVICE    uint32 = 0x00000040
	FILE_ATTRIBUTE_NORMAL    uint32 = 0x00000080
	FILE_ATTRIBUTE_TEMPORARY uint32 = 0x00000100
)

// The attributes of an object (ObjectAttributes.Attributes).
const (
	OBJ_INHERIT                       uint32 = 0x00000002
	OBJ_PERMANENT                     uint32 = 0x00000010
	OBJ_EXCLUSIVE                     uint32 = 0x00000020
	OBJ_CASE_INSENSITIVE              uint32 = 0x00000040
	OBJ_OPENIF                        uint32 = 0x00000080
	OBJ_OPENLINK                      uint32 = 0x00000100
	OBJ_KERNEL_HANDLE                 uint32 = 0x00000200
	OBJ_FORCE_ACCESS_CHECK            uint32 = 0x00000400
	OBJ_IGNORE_IMPERSONATED_DEVICEMAP uint32 = 0x00000800
	OBJ_DONT_REPARSE                  uint32 = 0x00001000
	OBJ_VALID_ATTRIBUTES              uint32 = 0x00001FF2
)

// FileGenericMapping is what the generic rights mean for files and devices: the mapping of the type
// IoFileObjectType.
var FileGenericMapping = GenericMapping{
	GenericRead: FILE_GENERIC_READ, GenericWrite: FILE_GENERIC_WRITE,
	GenericExecute: FILE_GENERIC_EXECUTE, GenericAll: FILE_ALL_ACCESS,
}

// MapGenericAccess replaces the generic rights of an ACCESS_MASK by the specific ones that m gives for
// them: RtlMapGenericMask.
func MapGenericAccess(mask uint32, m GenericMapping) uint32 {
	for _, g := range [...]struct{ generic, specific uint32 }{
		{GENERIC_READ, m.GenericRead}, {GENERIC_WRITE, m.GenericWrite},
		{GENERIC_EXECUTE, m.GenericExecute}, {GENERIC_ALL, m.GenericAll},
	} {
		if mask&g.generic != 0 {
			mask = mask&^g.generic | g.specific
		}
	}
	return mask
}
