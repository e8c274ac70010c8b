package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// System services on handles of any type.
var zwHandleExports = []Export{
	{Name: "ZwClose", Fn: fn1(zwClose), Params: "Handle", MaxIRQL: passive, Support: Full},
	{Name: "NtClose", Fn: fn1(ntClose), Params: "Handle", MaxIRQL: passive, Support: Full},
	{Name: "ZwDuplicateObject", Fn: fn7(zwDuplicateObject),
		Params: "SourceProcessHandle SourceHandle TargetProcessHandle TargetHandle DesiredAccess " +
			"HandleAttributes Options",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwQueryObject", Fn: fn5(zwQueryObject),
		Params: "Handle ObjectInformationClass:d ObjectInformation ObjectInformationLength:d " +
			"ReturnLength",
		MaxIRQL: passive, Support: Partial,
		Note: "ObjectBasicInformation, ObjectNameInformation, ObjectTypeInformation and " +
			"ObjectHandleFlagInformation; counts of a type's objects are 0"},
	{Name: "ZwSetInformationObject", Fn: fn4(zwSetInformationObject),
		Params:  "Handle ObjectInformationClass:d ObjectInformation ObjectInformationLength:d",
		MaxIRQL: passive, Support: Partial, Note: "ObjectHandleFlagInformation only"},
	{Name: "ZwWaitForSingleObject", Fn: fn3(zwWaitForSingleObject),
		Params: "Handle Alertable:b Timeout", MaxIRQL: passive, Support: Full},
}

// zwClose closes a handle.
//
//	NTSTATUS ZwClose(HANDLE Handle)
//
// STATUS_INVALID_HANDLE, STATUS_HANDLE_NOT_CLOSABLE; for a kernel handle the bugcheck
// INVALID_KERNEL_HANDLE. "ZwClose function (wdm.h)".
func zwClose(c *Call, h nt.Handle) nt.Status { return c.close(h, nt.KernelMode) }

// ntClose closes a handle on behalf of who made the request: for a client the kernel's handles are
// invalid.
//
//	NTSTATUS NtClose(HANDLE Handle)
//
// "NtClose function (ntifs.h)".
func ntClose(c *Call, h nt.Handle) nt.Status { return c.close(h, exGetPreviousMode(c)) }

// Options of ZwDuplicateObject.
const (
	duplicateCloseSource    uint32 = 1
	duplicateSameAccess     uint32 = 2
	duplicateSameAttributes uint32 = 4
)

// zwDuplicateObject makes a second handle to the object of a handle, in the same process or in
// another one.
//
//	NTSTATUS ZwDuplicateObject(HANDLE SourceProcessHandle, HANDLE SourceHandle,
//	    HANDLE TargetProcessHandle, PHANDLE TargetHandle, ACCESS_MASK DesiredAccess,
//	    ULONG HandleAttributes, ULONG Options)
//
// STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH. "ZwDuplicateObject function (ntifs.h)".
func zwDuplicateObject(c *Call, sourceProcess, source, targetProcess nt.Handle, result guest.Addr,
	access, attributes, options uint32) nt.Status {
	from, status := c.processOf(sourceProcess)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(c.Ob.Find(from.Object))
	e, status := c.referenceIn(from, source)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(e.Object)
	if targetProcess != 0 {
		to, status := c.processOf(targetProcess)
		if status != nt.STATUS_SUCCESS {
			return status
		}
		defer c.dereference(c.Ob.Find(to.Object))
		if options&duplicateSameAccess != 0 {
			access = e.Access
		}
		if options&duplicateSameAttributes != 0 {
			attributes = e.Attributes | attributes&nt.OBJ_KERNEL_HANDLE
		}
		h, status := c.duplicate(e.Object, from, to, access, attributes)
		if status != nt.STATUS_SUCCESS {
			return status
		}
		StoreOpt(c, result, h)
	}
	if options&duplicateCloseSource != 0 && source != ob.CurrentProcess && source != ob.CurrentThread {
		table := handlesOf(from)
		if ob.IsKernelHandle(source) {
			table = c.Ob.KernelHandles()
		}
		_, err := table.Close(source)
		c.Must(err)
	}
	return nt.STATUS_SUCCESS
}

// processOf gives the process that a handle leads to, with a reference to its object.
func (c *Call) processOf(h nt.Handle) (*ke.Process, nt.Status) {
	e, status := c.reference(h, 0, c.types.process, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	return e.Object.Body.(*ke.Process), nt.STATUS_SUCCESS
}

// referenceIn is reference for a handle of process p, of any type.
func (c *Call) referenceIn(p *ke.Process, h nt.Handle) (ob.Handle, nt.Status) {
	if h == ob.CurrentProcess || h == ob.CurrentThread || ob.IsKernelHandle(h) {
		return c.reference(h, 0, nil, nt.KernelMode)
	}
	return handlesOf(p).Reference(h)
}

// duplicate makes a handle in process to.
func (c *Call) duplicate(o *ob.Object, from, to *ke.Process, access, attributes uint32) (
	nt.Handle, nt.Status) {
	kernel := attributes&nt.OBJ_KERNEL_HANDLE != 0
	open := handleOperation{operation: operationDuplicate, object: o, access: o.Type.Access(access),
		kernel: kernel, source: from.Object, target: to.Object}
	return c.watched(&open, func(access uint32) (nt.Handle, nt.Status) {
		if kernel {
			h, status := c.Ob.KernelHandles().Add(o, access, attributes)
			if status != nt.STATUS_SUCCESS {
				return 0, status
			}
			return ob.KernelHandle(h), status
		}
		return handlesOf(to).Add(o, access, attributes)
	})
}

// Classes of ZwQueryObject.
const (
	objectBasicInformation      = 0
	objectNameInformation       = 1
	objectTypeInformation       = 2
	objectHandleFlagInformation = 4
)

// objectBasic is OBJECT_BASIC_INFORMATION.
type objectBasic struct {
	Attributes             uint32
	GrantedAccess          uint32
	HandleCount            uint32
	PointerCount           uint32
	PagedPoolCharge        uint32
	NonPagedPoolCharge     uint32
	_                      [3]uint32
	NameInfoSize           uint32
	TypeInfoSize           uint32
	SecurityDescriptorSize uint32
	CreationTime           int64
}

// objectTypeInfo is OBJECT_TYPE_INFORMATION, which the type's name follows.
type objectTypeInfo struct {
	TypeName        nt.UnicodeString
	_               [0x44 - 0x10]byte // counts
	GenericMapping  nt.GenericMapping
	ValidAccessMask uint32
	_               [0x68 - 0x58]byte
}

// zwQueryObject tells about an object.
//
//	NTSTATUS ZwQueryObject(HANDLE Handle, OBJECT_INFORMATION_CLASS ObjectInformationClass,
//	    PVOID ObjectInformation, ULONG ObjectInformationLength, PULONG ReturnLength)
//
// STATUS_INVALID_HANDLE, STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH with ReturnLength.
// "ZwQueryObject function (ntifs.h)".
func zwQueryObject(c *Call, h nt.Handle, class uint32, info guest.Addr, length uint32,
	needed guest.Addr) nt.Status {
	e, status := c.reference(h, 0, nil, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(e.Object)
	o := e.Object
	switch class {
	case objectBasicInformation:
		basic := objectBasic{Attributes: e.Attributes, GrantedAccess: e.Access,
			HandleCount:  uint32(o.Handles()),
			PointerCount: uint32(c.Ob.References(o)) - 1} // one is this call's
		if name := c.nameOf(o); name != "" {
			basic.NameInfoSize = uint32(sizeofUnicodeString) + 2*uint32(len(name)) + 2
		}
		basic.TypeInfoSize = uint32(sizeofObjectTypeInfo) + 2*uint32(len(o.Type.Name)) + 2
		return fixedInformation(c, info, length, needed, basic)
	case objectNameInformation:
		return c.nameInformation(o, info, length, needed)
	case objectTypeInformation:
		return c.typeInformation(o.Type, info, length, needed)
	case objectHandleFlagInformation:
		return fixedInformation(c, info, length, needed, objectHandleFlags{
			boolean(e.Attributes&nt.OBJ_INHERIT != 0), boolean(e.Attributes&ob.OBJ_PROTECT_CLOSE != 0)})
	}
	return nt.STATUS_INVALID_INFO_CLASS
}

// fixedInformation gives information of a fixed size: STATUS_INFO_LENGTH_MISMATCH for another
// length.
func fixedInformation[T any](c *Call, info guest.Addr, length uint32, needed guest.Addr,
	v T) nt.Status {
	size := uint32(sizeOf[T]())
	StoreOpt(c, needed, size)
	if length != size {
		return nt.STATUS_INFO_LENGTH_MISMATCH
	}
	Store(c, info, v)
	return nt.STATUS_SUCCESS
}

func (c *Call) typeInformation(t *ob.Type, info guest.Addr, length uint32,
	needed guest.Addr) nt.Status {
	const header = guest.Addr(sizeofObjectTypeInfo)
	enc := guest.EncodeUTF16(t.Name)
	n := uint16(len(enc))
	size := uint32(header) + uint32(n) + 2
	StoreOpt(c, needed, size)
	if length < size {
		return nt.STATUS_INFO_LENGTH_MISMATCH
	}
	Store(c, info, objectTypeInfo{GenericMapping: t.Mapping, ValidAccessMask: t.Valid,
		TypeName: nt.UnicodeString{Length: n, MaximumLength: n + 2, Buffer: info + header}})
	c.Must(guest.Write(info+header, append(enc, 0, 0)))
	return nt.STATUS_SUCCESS
}

// zwSetInformationObject says whether a handle is inherited and whether it may be closed.
//
//	NTSTATUS ZwSetInformationObject(HANDLE Handle,
//	    OBJECT_INFORMATION_CLASS ObjectInformationClass, PVOID ObjectInformation,
//	    ULONG ObjectInformationLength)
//
// STATUS_INVALID_HANDLE, STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH. The function is
// not documented.
func zwSetInformationObject(c *Call, h nt.Handle, class uint32, info guest.Addr,
	length uint32) nt.Status {
	switch {
	case class != objectHandleFlagInformation:
		return nt.STATUS_INVALID_INFO_CLASS
	case length != uint32(sizeOf[objectHandleFlags]()):
		return nt.STATUS_INFO_LENGTH_MISMATCH
	}
	return obSetHandleAttributes(c, h, info, nt.KernelMode)
}

// zwWaitForSingleObject waits until the object of a handle is signalled, and takes it. A file is
// signalled by its event; an object that cannot be waited for is always signalled.
//
//	NTSTATUS ZwWaitForSingleObject(HANDLE Handle, BOOLEAN Alertable, PLARGE_INTEGER Timeout)
//
// STATUS_SUCCESS, STATUS_TIMEOUT, STATUS_ALERTED, STATUS_USER_APC, STATUS_INVALID_HANDLE.
// "ZwWaitForSingleObject function (ntifs.h)".
func zwWaitForSingleObject(c *Call, h nt.Handle, alertable nt.Boolean,
	timeout guest.Addr) nt.Status {
	limit := c.timeout(timeout)
	e, status := c.reference(h, nt.SYNCHRONIZE, nil, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(e.Object)
	at := e.Object.Addr
	switch e.Object.Type {
	case c.types.event, c.types.process, c.types.thread:
	case c.types.file:
		at += fileEventOffset
	default:
		return nt.STATUS_SUCCESS
	}
	status, err := c.T.WaitSingle(at, waitOptions(limit, nt.KernelMode, alertable))
	return c.statusOr(status, err)
}

// statusOr gives the status of an error that is one, where a function that raises it is called by
// one that returns it.
func (c *Call) statusOr(status nt.Status, err error) nt.Status {
	if err != nil {
		return c.status(err)
	}
	return status
}
