// What an image says of itself, after Parse or Builder.Build checked it.

package pe

import "fmt"

// Limits of what Parse takes. Each is far above what real drivers hold, and keeps what a crafted
// file can cost in memory and time within reason.
const (
	// MaxFileSize is the size of the largest file, in bytes.
	MaxFileSize = 256 << 20
	// MaxImageSize is the largest SizeOfImage, in bytes.
	MaxImageSize = 512 << 20
	// MaxSections is how many sections an image may have.
	MaxSections = 512
	// MaxImports is how many functions an image may import, over all modules.
	MaxImports = 1 << 16

	maxNameLength = 4096    // one import or export name, in bytes
	maxModuleName = 255     // one module's name, in bytes
	maxNameBytes  = 8 << 20 // all import or all export names together, in bytes
)

const pageSize = 0x1000

// Image is a PE image: the headers and tables of a file, with its bytes. It is not changed after
// Parse or Builder.Build, and may be mapped any number of times, by several goroutines at once.
// Addresses inside it are relative to its base (RVA), in bytes.
type Image struct {
	// Name is the file's name without its directory, as errors and the linker name it.
	Name string
	// Symbols are the names in the linker's map beside the file, by RVA; nil without one.
	Symbols   []Symbol
	Machine   Machine
	Subsystem Subsystem
	// PreferredBase is the address that the image was linked for: ImageBase.
	PreferredBase uint64
	// SizeOfImage is the extent of the mapped image, in bytes, rounded up to whole pages.
	SizeOfImage uint32
	// SizeOfHeaders is how many bytes of the file are mapped at the base.
	SizeOfHeaders uint32
	// EntryRVA is where DriverEntry's wrapper or DllInitialize starts; 0 if the image has none.
	EntryRVA         uint32
	SectionAlignment uint32
	FileAlignment    uint32
	// Characteristics and DLLCharacteristics are the flag words of the file and optional header.
	Characteristics    uint16
	DLLCharacteristics uint16
	// TimeDateStamp is the link time in Unix seconds, or a hash in a reproducible build.
	TimeDateStamp uint32
	// CheckSum is the header's checksum; it is not verified.
	CheckSum         uint32
	LinkerVersion    Version
	OSVersion        Version
	ImageVersion     Version
	SubsystemVersion Version
	// Sections are in the order of their addresses.
	Sections []Section
	Imports  []ImportedModule
	// LoadConfig holds what the loader has to fill in.
	LoadConfig LoadConfig
	// Authenticode is where in the file the signature is, with Size 0 if it is not signed. Nothing
	// checks the signature.
	Authenticode FileRange

	data      []byte // the file
	exports   exportTable
	functions []RuntimeFunction
	relocs    relocations
	pdataRVA  uint32 // the exception directory's RVA
}

// Version is a pair of version numbers in an optional header.
type Version struct{ Major, Minor uint16 }

// String gives "10.0".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// FileRange is a part of the file, in bytes from its start.
type FileRange struct{ Offset, Size uint32 }

// The flags of IMAGE_FILE_HEADER.Characteristics that loading looks at ("PE Format",
// Characteristics).
const (
	FileRelocsStripped    = 0x0001
	FileExecutableImage   = 0x0002
	FileLargeAddressAware = 0x0020
	FileDLL               = 0x2000
)

// Bytes gives the file that the image was read from or built as. It must not be changed.
func (img *Image) Bytes() []byte { return img.data }

// HasRelocations says whether the image can be mapped at another base than the preferred one. An
// image without a single relocation can too if it does not say that they were stripped: its code
// is position-independent.
func (img *Image) HasRelocations() bool {
	return len(img.relocs.raw) > 0 || img.Characteristics&FileRelocsStripped == 0
}

// SectionAt finds the section that the address lies in. The headers belong to none.
func (img *Image) SectionAt(rva uint32) (*Section, bool) {
	if i, ok := img.sectionIndex(rva); ok {
		return &img.Sections[i], true
	}
	return nil, false
}

func (img *Image) sectionIndex(rva uint32) (int, bool) {
	lo, hi := 0, len(img.Sections)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if img.Sections[m].RVA <= rva {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo == 0 || rva-img.Sections[lo-1].RVA >= img.Sections[lo-1].extent {
		return 0, false
	}
	return lo - 1, true
}

// place names an address by the section that it lies in, for error messages.
func (img *Image) place(rva uint32) string {
	if i, ok := img.sectionIndex(rva); ok {
		s := &img.Sections[i]
		return fmt.Sprintf("0x%x (%s+0x%x)", rva, s.Name, rva-s.RVA)
	}
	if rva < img.SizeOfHeaders {
		return fmt.Sprintf("0x%x (in the headers)", rva)
	}
	return fmt.Sprintf("0x%x", rva)
}
