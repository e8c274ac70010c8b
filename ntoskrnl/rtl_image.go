package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// PE images in memory, read as a driver would read them.
var rtlImageExports = []Export{
	{Name: "RtlImageNtHeader", Fn: fn1(rtlImageNtHeader), Params: "Base", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "RtlImageDirectoryEntryToData", Fn: fn4(rtlImageDirectoryEntryToData),
		Params: "Base MappedAsImage:b DirectoryEntry:d Size", MaxIRQL: anyIRQL, Support: Partial,
		Note: "of an image that is mapped as a file, it gives NULL"},
	{Name: "RtlFindExportedRoutineByName", Fn: fn2(rtlFindExportedRoutineByName),
		Params: "ImageBase RoutineName:str", MaxIRQL: pageable, Support: Full},
}

// Offsets in IMAGE_DOS_HEADER and IMAGE_NT_HEADERS64.
const (
	dosMagic          = 0x5A4D // MZ
	dosHeadersAt      = 0x3C
	maxHeadersAt      = 0x10000000
	peSignature       = 0x4550 // PE
	optionalMagicAt   = 24
	optionalMagic64   = 0x20B
	directoryCountAt  = 24 + 108
	directoriesAt     = 24 + 112
	directoryEntry    = 8 // RVA and size
	mostDirectories   = 16
	directorySizePart = 4
)

// rtlImageNtHeader gives the headers of an image.
//
//	PIMAGE_NT_HEADERS RtlImageNtHeader(PVOID Base)
//
// NULL where there is no image.
func rtlImageNtHeader(c *Call, base guest.Addr) guest.Addr {
	magic, err := guest.Load16(base)
	if err != nil || magic != dosMagic {
		return 0
	}
	offset, err := guest.Load32(base + dosHeadersAt)
	if err != nil || offset >= maxHeadersAt {
		return 0
	}
	headers := base + guest.Addr(offset)
	if signature, err := guest.Load32(headers); err != nil || signature != peSignature {
		return 0
	}
	return headers
}

// rtlImageDirectoryEntryToData gives the address and size of what a directory entry names.
//
//	PVOID RtlImageDirectoryEntryToData(PVOID Base, BOOLEAN MappedAsImage, USHORT DirectoryEntry,
//	    PULONG Size)
//
// NULL without such an entry.
func rtlImageDirectoryEntryToData(c *Call, base guest.Addr, mapped nt.Boolean, entry uint16,
	size guest.Addr) guest.Addr {
	headers := rtlImageNtHeader(c, base)
	if headers == 0 || mapped == 0 {
		return 0
	}
	if Load[uint16](c, headers+optionalMagicAt) != optionalMagic64 {
		return 0
	}
	if uint32(entry) >= min(Load[uint32](c, headers+directoryCountAt), mostDirectories) {
		return 0
	}
	at := headers + directoriesAt + directoryEntry*guest.Addr(entry)
	rva := Load[uint32](c, at)
	if rva == 0 {
		return 0
	}
	Store(c, size, Load[uint32](c, at+directorySizePart))
	return base + guest.Addr(rva)
}

// rtlFindExportedRoutineByName gives the address of what a loaded image exports.
//
//	PVOID RtlFindExportedRoutineByName(PVOID ImageBase, PCCH RoutineName)
//
// NULL if it exports no such routine, and for one of the kernel's that does nothing here.
func rtlFindExportedRoutineByName(c *Call, base, name guest.Addr) guest.Addr {
	n, err := rtl.Strnlen(name, guest.PageSize)
	c.Must(err)
	text := make([]byte, n)
	c.Must(guest.Read(text, name))
	m, ok := c.Linker.At(base)
	if !ok || m.Base() != base {
		return 0
	}
	if m == c.ntoskrnl {
		return c.routine(string(text))
	}
	e, ok := m.LookupExport(string(text))
	if !ok {
		return 0
	}
	return e.Addr
}
