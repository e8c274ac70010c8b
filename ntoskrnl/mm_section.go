package ntoskrnl

import (
	"os"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
	"github.com/drvhost/drvhost/ntoskrnl/volume"
)

// Sections as objects, and their views in system space. A section is of the paging file, that is,
// of RAM, or of a file on a volume. A file's sections show a copy of it, which all of them share:
// so they stay whole whatever becomes of the host's file. What is written to them goes to the file
// when a view is unmapped, when the file is read, flushed or written, and with the last section.
var mmSectionExports = []Export{
	{Name: "MmCreateSection", Fn: fn8(mmCreateSection),
		Params: "SectionObject DesiredAccess ObjectAttributes MaximumSize SectionPageProtection " +
			"AllocationAttributes FileHandle FileObject",
		MaxIRQL: passive, Support: Partial, Note: fileSections},
	{Name: "MmMapViewOfSection", Fn: fn10(mmMapViewOfSection),
		Params: "Section Process BaseAddress ZeroBits CommitSize SectionOffset ViewSize " +
			"InheritDisposition:d AllocationType Win32Protect",
		MaxIRQL: apc, Support: Partial, Note: viewNote},
	{Name: "MmUnmapViewOfSection", Fn: fn2(mmUnmapViewOfSection), Params: "Process BaseAddress",
		MaxIRQL: apc, Support: Full},
	{Name: "MmMapViewInSystemSpace", Fn: fn3(mmMapViewInSystemSpace),
		Params: "Section MappedBase ViewSize", MaxIRQL: apc, Support: Full},
	{Name: "MmMapViewInSystemSpaceEx", Fn: fn5(mmMapViewInSystemSpaceEx),
		Params: "Section MappedBase ViewSize SectionOffset Flags", MaxIRQL: apc, Support: Full},
	{Name: "MmUnmapViewInSystemSpace", Fn: fn1(mmUnmapViewInSystemSpace), Params: "MappedBase",
		MaxIRQL: apc, Support: Full},
	{Name: "MmFlushImageSection", Fn: fn2(mmFlushImageSection),
		Params: "SectionObjectPointer FlushType:d", MaxIRQL: apc, Support: Partial,
		Note: noPointers},
	{Name: "MmForceSectionClosed", Fn: fn2(mmForceSectionClosed),
		Params: "SectionObjectPointer DelayClose:b", MaxIRQL: apc, Support: Partial,
		Note: noPointers},
}

const (
	fileSections = "of files those on volumes, as a copy in memory; a file of a driver's is " +
		"STATUS_INVALID_FILE_FOR_SECTION, SEC_IMAGE of a file, SEC_BASED and SEC_LARGE_PAGES are " +
		"STATUS_NOT_SUPPORTED"
	noPointers = "SECTION_OBJECT_POINTERS are the file system's, and the files of volumes have none"
	viewNote   = "MEM_TOP_DOWN and MEM_LARGE_PAGES have no effect; a view for a client is in the " +
		"driver's address space, not in the client's own"
)

// sizeofSection is the size in bytes of a section's object; what is in it is the system's alone.
const sizeofSection = 0x40

// makePhysicalMemory makes \Device\PhysicalMemory.
func (k *Kernel) makePhysicalMemory() error {
	o, err := k.Ob.Create(k.types.section, sizeofSection, k.Mm.PhysicalMemory())
	if err != nil {
		return err
	}
	if status := k.Ob.Name(o, `\Device\PhysicalMemory`); status != nt.STATUS_SUCCESS {
		return status
	}
	return nil
}

// sectionGone gives up a section with its object.
func sectionGone(o *ob.Object) { o.Body.(*mm.Section).Release() }

// newSection makes a section with its object, to which the caller has a reference. host is the file
// that it is of, or nil.
func (c *Call) newSection(maximum guest.Addr, protection, attributes uint32, host *volume.File) (
	*ob.Object, nt.Status) {
	var size uint64
	if maximum != 0 {
		size = Load[uint64](c, maximum)
	}
	var s *mm.Section
	var status nt.Status
	if host == nil {
		s, status = c.Mm.NewSection(size, protection, attributes)
	} else {
		s, status = c.newFileSection(host, size, protection, attributes)
	}
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	o, err := c.Ob.Create(c.types.section, sizeofSection, s)
	if err != nil {
		s.Release()
		return nil, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	return o, nt.STATUS_SUCCESS
}

// filePages are the pages of a file that has sections, as a volume sees them.
type filePages struct{ *mm.FilePages }

// SetFile implements volume.Content.
func (p filePages) SetFile(f *os.File) { p.FilePages.SetFile(f) }

// newFileSection makes a section of a file; a size of 0 is all of it. One that can be written makes
// the file as long as it is.
func (c *Call) newFileSection(host *volume.File, size uint64, protection, attributes uint32) (
	*mm.Section, nt.Status) {
	const maxFile = 1 << 62
	switch {
	case attributes&(mm.SEC_IMAGE|mm.SEC_BASED|mm.SEC_LARGE_PAGES) != 0:
		return nil, nt.STATUS_NOT_SUPPORTED
	case size > maxFile:
		return nil, nt.STATUS_SECTION_TOO_BIG
	}
	create := func(h *os.File, size int64) (volume.Content, nt.Status) {
		p, status := c.Mm.NewFilePages(h, uint64(size))
		return filePages{p}, status
	}
	content, use, status := host.Share(int64(size), writesFile(protection), create)
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	if size == 0 {
		size = uint64(host.Size())
	}
	s, status := content.(filePages).Section(size, protection, attributes&^mm.SEC_RESERVE, use.End)
	if status != nt.STATUS_SUCCESS {
		use.End()
	}
	return s, status
}

// writesFile says whether what is written to views of a section goes to its file.
func writesFile(protection uint32) bool {
	const readWrite, executeReadWrite = 0x04, 0x40
	return protection&(readWrite|executeReadWrite) != 0
}

// section gives the section whose object is at an address; something else is a bugcheck.
func (c *Call) section(a guest.Addr) *mm.Section {
	if o := c.Ob.Find(a); o != nil {
		if s, ok := o.Body.(*mm.Section); ok {
			return s
		}
	}
	c.notAnObject(a, "section")
	return nil
}

// windowOf gives the user memory of a process; nil if it has none.
func windowOf(p *ke.Process) *mm.Window {
	w, _ := p.Window.(*mm.Window)
	return w
}

// mmCreateSection makes a section without a handle or a name. A file is named by handle or by
// object; whether an object was opened for it is the caller's to know.
//
//	NTSTATUS MmCreateSection(PVOID *SectionObject, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes, PLARGE_INTEGER MaximumSize,
//	    ULONG SectionPageProtection, ULONG AllocationAttributes, HANDLE FileHandle,
//	    PFILE_OBJECT FileObject)
//
// As ZwCreateSection. "MmCreateSection function".
func mmCreateSection(c *Call, result guest.Addr, access uint32, attributes, maximum guest.Addr,
	protection, allocation uint32, file nt.Handle, fileObject guest.Addr) nt.Status {
	if status := mm.CheckSection(protection, allocation); status != nt.STATUS_SUCCESS {
		return status
	}
	host, drop, status := c.fileForSection(file, fileObject)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer drop()
	o, status := c.newSection(maximum, protection, allocation, host)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	if err := guest.Ptr[guest.Addr](result).Store(o.Addr); err != nil {
		c.dereference(o)
		c.Must(err)
	}
	return nt.STATUS_SUCCESS
}

// fileForSection gives the file of which a section is wanted, by its handle or its object, or nil
// if that is none. drop gives it back. The handle's rights do not matter to a caller in the kernel.
// STATUS_INVALID_FILE_FOR_SECTION for a file that is on no volume.
func (c *Call) fileForSection(h nt.Handle, object guest.Addr) (host *volume.File, drop func(),
	status nt.Status) {
	drop = func() {}
	if h == 0 && object == 0 {
		return nil, drop, nt.STATUS_SUCCESS
	}
	var file *devobj.File
	if h != 0 {
		e, status := c.reference(h, 0, c.types.file, nt.KernelMode)
		if status != nt.STATUS_SUCCESS {
			return nil, drop, status
		}
		drop = func() { c.dereference(e.Object) }
		file, _ = e.Object.Body.(*devobj.File)
	} else if o := c.Ob.Find(object); o != nil {
		file, _ = o.Body.(*devobj.File)
	}
	if file != nil {
		if f, ok := file.Owner.(*kernelFile); ok && f.host != nil {
			return f.host, drop, nt.STATUS_SUCCESS
		}
	}
	drop()
	return nil, func() {}, nt.STATUS_INVALID_FILE_FOR_SECTION
}

// How a view is inherited. Nothing inherits here.
const (
	viewShare = 1
	viewUnmap = 2
)

// viewRequest reads what ZwMapViewOfSection and MmMapViewOfSection are asked for.
func (c *Call) viewRequest(base guest.Addr, zeroBits, commit uint64, offset, size guest.Addr,
	inherit, allocation, protect uint32) (r mm.ViewRequest, status nt.Status) {
	if inherit != viewShare && inherit != viewUnmap {
		return r, nt.STATUS_INVALID_PARAMETER_8
	}
	r = mm.ViewRequest{Base: Load[guest.Addr](c, base), ZeroBits: zeroBits, CommitSize: commit,
		Size: Load[uint64](c, size), AllocationType: allocation, Protect: protect}
	if offset != 0 {
		r.Offset = Load[uint64](c, offset)
	}
	return r, r.Check()
}

// mapView maps a view for a process and stores where it is.
func (c *Call) mapView(s *mm.Section, w *mm.Window, r mm.ViewRequest, base, offset,
	size guest.Addr) nt.Status {
	v, status := s.MapView(w, r)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	stored := false
	defer func() {
		if !stored {
			c.Mm.UnmapView(w, v.Base)
		}
	}()
	StoreOpt(c, offset, v.Offset)
	Store(c, size, v.Size)
	Store(c, base, v.Base)
	stored = true
	return status
}

// mmMapViewOfSection maps a view of a section into the user memory of a process. An offset is
// rounded down to 64 KiB.
//
//	NTSTATUS MmMapViewOfSection(PVOID SectionToMap, PEPROCESS Process, PVOID *CapturedBase,
//	    ULONG_PTR ZeroBits, SIZE_T CommitSize, PLARGE_INTEGER SectionOffset,
//	    PSIZE_T CapturedViewSize, SECTION_INHERIT InheritDisposition, ULONG AllocationType,
//	    ULONG Win32Protect)
//
// As ZwMapViewOfSection. The function is not documented.
func mmMapViewOfSection(c *Call, section, process, base guest.Addr, zeroBits, commit uint64, offset,
	size guest.Addr, inherit, allocation, protect uint32) nt.Status {
	s, p := c.section(section), c.process(process)
	r, status := c.viewRequest(base, zeroBits, commit, offset, size, inherit, allocation, protect)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	return c.mapView(s, windowOf(p), r, base, offset, size)
}

// mmUnmapViewOfSection ends the view of a process that an address lies in.
//
//	NTSTATUS MmUnmapViewOfSection(PEPROCESS Process, PVOID BaseAddress)
//
// STATUS_NOT_MAPPED_VIEW. The function is not documented.
func mmUnmapViewOfSection(c *Call, process, a guest.Addr) nt.Status {
	return c.Mm.UnmapView(windowOf(c.process(process)), a)
}

// mmMapViewInSystemSpace maps a view of a section, from its beginning on, in system space. ViewSize
// is its size, 0 all of it.
//
//	NTSTATUS MmMapViewInSystemSpace(PVOID Section, PVOID *MappedBase, PSIZE_T ViewSize)
//
// STATUS_INVALID_VIEW_SIZE, STATUS_NO_MEMORY. "MmMapViewInSystemSpace function (ntddk.h)".
func mmMapViewInSystemSpace(c *Call, section, base, size guest.Addr) nt.Status {
	return mmMapViewInSystemSpaceEx(c, section, base, size, 0, 0)
}

// mmMapViewInSystemSpaceEx is the same from an offset on, which is rounded down to 64 KiB. The only
// flag, for errors of reading the paging file, has no effect: nothing is ever paged out.
//
//	NTSTATUS MmMapViewInSystemSpaceEx(PVOID Section, PVOID *MappedBase, PSIZE_T ViewSize,
//	    PLARGE_INTEGER SectionOffset, ULONG_PTR Flags)
//
// Also STATUS_INVALID_PARAMETER_5 for other flags. "MmMapViewInSystemSpaceEx function (ntddk.h)".
func mmMapViewInSystemSpaceEx(c *Call, section, base, size, offset guest.Addr,
	flags uint64) nt.Status {
	const exceptionsForInpageErrors = 1
	s := c.section(section)
	if flags&^exceptionsForInpageErrors != 0 {
		return nt.STATUS_INVALID_PARAMETER_5
	}
	var from uint64
	if offset != 0 {
		from = Load[uint64](c, offset)
	}
	v, status := s.MapSystemView(from, Load[uint64](c, size))
	if status != nt.STATUS_SUCCESS {
		return status
	}
	stored := false
	defer func() {
		if !stored {
			_ = c.Mm.UnmapSystemView(v.Base) // mapped a moment ago
		}
	}()
	StoreOpt(c, offset, v.Offset)
	Store(c, size, v.Size)
	Store(c, base, v.Base)
	stored = true
	return status
}

// mmUnmapViewInSystemSpace ends such a view.
//
//	NTSTATUS MmUnmapViewInSystemSpace(PVOID MappedBase)
//
// The bugcheck DRIVER_UNMAPPING_INVALID_VIEW for what is none.
// "MmUnmapViewInSystemSpace function (ntddk.h)".
func mmUnmapViewInSystemSpace(c *Call, base guest.Addr) nt.Status {
	c.Must(c.Mm.UnmapSystemView(base))
	return nt.STATUS_SUCCESS
}

// mmFlushImageSection says whether a file, of which these are the sections, can be written or
// deleted: there is no image section of it.
//
//	BOOLEAN MmFlushImageSection(PSECTION_OBJECT_POINTERS SectionObjectPointer,
//	    MMFLUSH_TYPE FlushType)
//
// "MmFlushImageSection function (ntifs.h)".
func mmFlushImageSection(c *Call, pointers guest.Addr, typ uint32) nt.Boolean {
	p := Load[nt.SectionObjectPointers](c, pointers)
	const forDelete = 0
	return boolean(p.ImageSectionObject == 0 && (typ != forDelete || p.DataSectionObject == 0))
}

// mmForceSectionClosed says whether no section of a file is left.
//
//	BOOLEAN MmForceSectionClosed(PSECTION_OBJECT_POINTERS SectionObjectPointer, BOOLEAN DelayClose)
//
// "MmForceSectionClosed function (ntifs.h)".
func mmForceSectionClosed(c *Call, pointers guest.Addr, delay nt.Boolean) nt.Boolean {
	p := Load[nt.SectionObjectPointers](c, pointers)
	return boolean(p.ImageSectionObject == 0 && p.DataSectionObject == 0)
}
