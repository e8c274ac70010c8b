package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Sections with handles and names, and their views in processes. \Device\PhysicalMemory is one, of
// which a view shows what MmMapIoSpace shows.
var zwSectionExports = []Export{
	{Name: "ZwCreateSection", Fn: fn7(zwCreateSection),
		Params: "SectionHandle DesiredAccess ObjectAttributes MaximumSize SectionPageProtection " +
			"AllocationAttributes FileHandle",
		MaxIRQL: passive, Support: Partial, Note: fileSections},
	{Name: "ZwOpenSection", Fn: fn3(zwOpenSection),
		Params: "SectionHandle DesiredAccess ObjectAttributes", MaxIRQL: passive, Support: Full},
	{Name: "ZwMapViewOfSection", Fn: fn10(zwMapViewOfSection),
		Params: "SectionHandle ProcessHandle BaseAddress ZeroBits CommitSize SectionOffset ViewSize " +
			"InheritDisposition:d AllocationType Win32Protect",
		MaxIRQL: passive, Support: Partial, Note: viewNote},
	{Name: "ZwUnmapViewOfSection", Fn: fn2(zwUnmapViewOfSection), Params: "ProcessHandle BaseAddress",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwFlushVirtualMemory", Fn: fn4(zwFlushVirtualMemory),
		Params: "ProcessHandle BaseAddress RegionSize IoStatus", MaxIRQL: passive, Support: Partial,
		Note: "a range that goes on behind its view ends with it"},
	{Name: "ZwQuerySection", Fn: fn5(zwQuerySection),
		Params: "SectionHandle SectionInformationClass:d SectionInformation " +
			"SectionInformationLength:d ReturnLength",
		MaxIRQL: passive, Support: Partial,
		Note: "SectionBasicInformation; no section is an image"},
}

// zwCreateSection makes a section, or with OBJ_OPENIF opens one.
//
//	NTSTATUS ZwCreateSection(PHANDLE SectionHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes, PLARGE_INTEGER MaximumSize,
//	    ULONG SectionPageProtection, ULONG AllocationAttributes, HANDLE FileHandle)
//
// STATUS_INVALID_PARAMETER_4 for no size, STATUS_INVALID_PARAMETER_6 for attributes,
// STATUS_INVALID_PAGE_PROTECTION, STATUS_SECTION_TOO_BIG, STATUS_COMMITMENT_LIMIT without memory,
// STATUS_INVALID_FILE_FOR_SECTION for what is no file on a volume, STATUS_ACCESS_DENIED for views
// that write to one that was not opened for writing, STATUS_MAPPED_FILE_SIZE_ZERO for an empty file
// without a size, STATUS_SECTION_TOO_BIG for a size beyond the end of a file that views cannot
// write; one that they can becomes so long. STATUS_OBJECT_NAME_EXISTS for one that was opened,
// STATUS_OBJECT_NAME_COLLISION, and what the namespace says of the name. "ZwCreateSection function
// (wdm.h)".
func zwCreateSection(c *Call, result guest.Addr, access uint32, attributes, maximum guest.Addr,
	protection, allocation uint32, file nt.Handle) nt.Status {
	if status := mm.CheckSection(protection, allocation); status != nt.STATUS_SUCCESS {
		return status
	}
	host, drop, status := c.fileForSection(file, 0)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer drop()
	return c.createNamed(result, access, attributes, c.types.section,
		func(path string, permanent bool) (*ob.Object, nt.Status) {
			o, status := c.newSection(maximum, protection, allocation, host)
			if status != nt.STATUS_SUCCESS || path == "" {
				return o, status
			}
			if status := c.Ob.Insert(o, path, permanent); status != nt.STATUS_SUCCESS {
				c.dereference(o)
				return nil, status
			}
			return o, nt.STATUS_SUCCESS
		})
}

// zwOpenSection opens a named section.
//
//	NTSTATUS ZwOpenSection(PHANDLE SectionHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes)
//
// STATUS_OBJECT_TYPE_MISMATCH and what the namespace says of the name. "ZwOpenSection function
// (wdm.h)".
func zwOpenSection(c *Call, result guest.Addr, access uint32, attributes guest.Addr) nt.Status {
	return c.openNamed(result, access, attributes, c.types.section)
}

// referenceSection gives the section of a handle, with a reference to its object.
func (c *Call) referenceSection(h nt.Handle, access uint32) (*mm.Section, *ob.Object, nt.Status) {
	e, status := c.reference(h, access, c.types.section, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return nil, nil, status
	}
	return e.Object.Body.(*mm.Section), e.Object, nt.STATUS_SUCCESS
}

// zwMapViewOfSection maps a view of a section into the user memory of a process, at the address in
// BaseAddress or, if that is NULL, where there is room. What comes back is rounded to pages; an
// offset in physical memory also down to 64 KiB.
//
//	NTSTATUS ZwMapViewOfSection(HANDLE SectionHandle, HANDLE ProcessHandle, PVOID *BaseAddress,
//	    ULONG_PTR ZeroBits, SIZE_T CommitSize, PLARGE_INTEGER SectionOffset, PSIZE_T ViewSize,
//	    SECTION_INHERIT InheritDisposition, ULONG AllocationType, ULONG Win32Protect)
//
// STATUS_INVALID_PARAMETER_3 for an address or a size that is not user memory's, _4 for the zero
// bits, _5 to commit more than the view, _8 for the disposition, _9 for the allocation type;
// STATUS_INVALID_PAGE_PROTECTION, STATUS_SECTION_PROTECTION for one that the section has not,
// STATUS_MAPPED_ALIGNMENT, STATUS_INVALID_VIEW_SIZE for what is not in the section,
// STATUS_CONFLICTING_ADDRESSES where something is, STATUS_NO_MEMORY without room,
// STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH, STATUS_PROCESS_IS_TERMINATING.
// "ZwMapViewOfSection function (wdm.h)".
func zwMapViewOfSection(c *Call, h, process nt.Handle, base guest.Addr, zeroBits, commit uint64,
	offset, size guest.Addr, inherit, allocation, protect uint32) nt.Status {
	r, status := c.viewRequest(base, zeroBits, commit, offset, size, inherit, allocation, protect)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	p, status := c.processOf(process)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(c.Ob.Find(p.Object))
	s, o, status := c.referenceSection(h, 0)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(o)
	if status = s.CheckProtection(r.Protect); status == nt.STATUS_SUCCESS {
		status = s.CheckAlignment(r)
	}
	if status != nt.STATUS_SUCCESS {
		return status
	}
	return c.mapView(s, windowOf(p), r, base, offset, size)
}

// zwUnmapViewOfSection ends the view of a process that an address lies in.
//
//	NTSTATUS ZwUnmapViewOfSection(HANDLE ProcessHandle, PVOID BaseAddress)
//
// STATUS_NOT_MAPPED_VIEW, STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH.
// "ZwUnmapViewOfSection function (wdm.h)".
func zwUnmapViewOfSection(c *Call, process nt.Handle, a guest.Addr) nt.Status {
	p, status := c.processOf(process)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(c.Ob.Find(p.Object))
	return c.Mm.UnmapView(windowOf(p), a)
}

// zwFlushVirtualMemory writes to its file what was changed in a view. BaseAddress and RegionSize
// become those of the pages that were looked at; a RegionSize of 0 is all up to the end of the
// view.
//
//	NTSTATUS ZwFlushVirtualMemory(HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize,
//	    PIO_STATUS_BLOCK IoStatus)
//
// STATUS_NOT_MAPPED_VIEW, STATUS_NOT_MAPPED_DATA for a view of no file, STATUS_INVALID_HANDLE,
// STATUS_OBJECT_TYPE_MISMATCH, and what writing the file says. "ZwFlushVirtualMemory function
// (ntifs.h)".
func zwFlushVirtualMemory(c *Call, process nt.Handle, base, size, iosb guest.Addr) nt.Status {
	a, n := Load[guest.Addr](c, base), Load[uint64](c, size)
	p, status := c.processOf(process)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(c.Ob.Find(p.Object))
	a, n, status = c.Mm.FlushView(windowOf(p), a, n)
	if a != 0 {
		Store(c, base, a)
		Store(c, size, n)
		Store(c, iosb, nt.IOStatusBlock{Status: status})
	}
	return status
}

// Classes of ZwQuerySection.
const (
	sectionBasicInformation = 0
	sectionImageInformation = 1

	sizeofSectionImageInformation = 0x40
)

// sectionBasic is SECTION_BASIC_INFORMATION.
type sectionBasic struct {
	BaseAddress          guest.Addr
	AllocationAttributes uint32
	_                    uint32
	MaximumSize          uint64
}

// zwQuerySection tells about a section.
//
//	NTSTATUS ZwQuerySection(HANDLE SectionHandle, SECTION_INFORMATION_CLASS InformationClass,
//	    PVOID SectionInformation, SIZE_T SectionInformationLength, PSIZE_T ReturnLength)
//
// STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH, STATUS_SECTION_NOT_IMAGE.
// "NtQuerySection function".
func zwQuerySection(c *Call, h nt.Handle, class uint32, info guest.Addr, length uint64,
	needed guest.Addr) nt.Status {
	least := uint64(sizeOf[sectionBasic]())
	switch class {
	case sectionBasicInformation:
	case sectionImageInformation:
		least = sizeofSectionImageInformation
	default:
		return nt.STATUS_INVALID_INFO_CLASS
	}
	if length < least {
		return nt.STATUS_INFO_LENGTH_MISMATCH
	}
	const query = 1 // SECTION_QUERY
	s, o, status := c.referenceSection(h, query)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(o)
	if class == sectionImageInformation {
		return nt.STATUS_SECTION_NOT_IMAGE
	}
	i := s.Info()
	Store(c, info, sectionBasic{AllocationAttributes: i.Attributes, MaximumSize: i.Size})
	StoreOpt(c, needed, least)
	return nt.STATUS_SUCCESS
}
