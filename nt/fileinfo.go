// What can be asked of and set on a file: the classes, and the fixed layouts of the simple ones.
package nt

// Kinds of information about a file (FILE_INFORMATION_CLASS).
const (
	FileDirectoryInformation   uint32 = 1
	FileBasicInformation       uint32 = 4
	FileStandardInformation    uint32 = 5
	FileInternalInformation    uint32 = 6
	FileEaInformation          uint32 = 7
	FileAccessInformation      uint32 = 8
	FileNameInformation        uint32 = 9
	FileRenameInformation      uint32 = 10
	FileDispositionInformation uint32 = 13
	FilePositionInformation    uint32 = 14
	FileModeInformation        uint32 = 16
	FileAlignmentInformation   uint32 = 17
	FileAllInformation         uint32 = 18
	FileAllocationInformation  uint32 = 19
	FileEndOfFileInformation   uint32 = 20
	FileNetworkOpenInformation uint32 = 34
)

// Kinds of information about a volume (FS_INFORMATION_CLASS).
const (
	FileFsVolumeInformation    uint32 = 1
	FileFsSizeInformation      uint32 = 3
	FileFsDeviceInformation    uint32 = 4
	FileFsAttributeInformation uint32 = 5
	FileFsFullSizeInformation  uint32 = 7
)

// FileBasicInfo is FILE_BASIC_INFORMATION. Times are in units of 100 ns since 1601, UTC.
type FileBasicInfo struct {
	CreationTime   int64
	LastAccessTime int64
	LastWriteTime  int64
	ChangeTime     int64
	FileAttributes uint32
	_              [4]byte
}

// FileStandardInfo is FILE_STANDARD_INFORMATION. Sizes are in bytes.
type FileStandardInfo struct {
	AllocationSize int64
	EndOfFile      int64
	NumberOfLinks  uint32
	DeletePending  Boolean
	Directory      Boolean
	_              [2]byte
}

// FilePositionInfo is FILE_POSITION_INFORMATION, in bytes.
type FilePositionInfo struct {
	CurrentByteOffset int64
}

// FileFsDeviceInfo is FILE_FS_DEVICE_INFORMATION.
type FileFsDeviceInfo struct {
	DeviceType      uint32
	Characteristics uint32
}
