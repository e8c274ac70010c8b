package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Handles: what they lead to, and making them.
var obHandleExports = []Export{
	{Name: "ObReferenceObjectByHandle", Fn: fn6(obReferenceObjectByHandle),
		Params:  "Handle DesiredAccess ObjectType AccessMode:d Object HandleInformation",
		MaxIRQL: passive, Support: Full},
	{Name: "ObReferenceObjectByHandleWithTag", Fn: fn7(obReferenceObjectByHandleWithTag),
		Params:  "Handle DesiredAccess ObjectType AccessMode:d Tag:tag Object HandleInformation",
		MaxIRQL: passive, Support: Full},
	{Name: "ObOpenObjectByPointer", Fn: fn7(obOpenObjectByPointer),
		Params: "Object HandleAttributes PassedAccessState DesiredAccess ObjectType AccessMode:d " +
			"Handle",
		MaxIRQL: passive, Support: Partial, Note: noDescriptors},
	{Name: "ObOpenObjectByPointerWithTag", Fn: fn8(obOpenObjectByPointerWithTag),
		Params: "Object HandleAttributes PassedAccessState DesiredAccess ObjectType AccessMode:d " +
			"Tag:tag Handle",
		MaxIRQL: passive, Support: Partial, Note: noDescriptors},
	{Name: "ObOpenObjectByName", Fn: fn7(obOpenObjectByName),
		Params: "ObjectAttributes ObjectType AccessMode:d PassedAccessState DesiredAccess " +
			"ParseContext Handle",
		MaxIRQL: passive, Support: Partial, Note: noDescriptors + "; devices are not opened as files"},
	{Name: "ObCloseHandle", Fn: fn2(obCloseHandle), Params: "Handle PreviousMode:d",
		MaxIRQL: passive, Support: Full},
	{Name: "ObIsKernelHandle", Fn: fn1(obIsKernelHandle), Params: "Handle", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "ObSetHandleAttributes", Fn: fn3(obSetHandleAttributes),
		Params: "Handle HandleFlags PreviousMode:d", MaxIRQL: passive, Support: Full},
	{Name: "ObFindHandleForObject", Fn: fn5(obFindHandleForObject),
		Params: "Process Object ObjectType MatchCriteria Handle", MaxIRQL: passive, Support: Full},
}

const noDescriptors = "objects have no security descriptors: user mode gets whatever access " +
	"it asks for"

// handles gives the table that a handle is in; nil if the mode may not use it.
func (c *Call) handles(h nt.Handle, mode nt.ProcessorMode) *ob.HandleTable {
	if !ob.IsKernelHandle(h) {
		return handlesOf(c.T.CurrentProcess())
	}
	if mode != nt.KernelMode {
		return nil
	}
	return c.Ob.KernelHandles()
}

func handlesOf(p *ke.Process) *ob.HandleTable { return p.Handles.(*ob.HandleTable) }

// reference gives what a handle leads to, with a reference to the object, which must be of type t
// unless that is nil. STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH, and STATUS_ACCESS_DENIED
// where user mode has not the access; the kernel needs none.
func (c *Call) reference(h nt.Handle, access uint32, t *ob.Type, mode nt.ProcessorMode) (
	ob.Handle, nt.Status) {
	var e ob.Handle
	switch h {
	case ob.CurrentProcess:
		e = ob.Handle{Object: c.Ob.Find(c.T.CurrentProcess().Object), Access: c.types.process.Valid}
	case ob.CurrentThread:
		e = ob.Handle{Object: c.Ob.Find(c.T.Object), Access: c.types.thread.Valid}
	default:
		table := c.handles(h, mode)
		if table == nil {
			return ob.Handle{}, nt.STATUS_INVALID_HANDLE
		}
		var status nt.Status
		if e, status = table.Reference(h); status != nt.STATUS_SUCCESS {
			return ob.Handle{}, status
		}
	}
	if h == ob.CurrentProcess || h == ob.CurrentThread {
		if e.Object == nil || !c.Ob.Reference(e.Object.Addr) {
			return ob.Handle{}, nt.STATUS_INVALID_HANDLE
		}
	}
	status := nt.STATUS_SUCCESS
	switch {
	case t != nil && e.Object.Type != t:
		status = nt.STATUS_OBJECT_TYPE_MISMATCH
	case mode != nt.KernelMode && access&^e.Access != 0:
		status = nt.STATUS_ACCESS_DENIED
	default:
		return e, status
	}
	c.dereference(e.Object)
	return ob.Handle{}, status
}

// newHandle makes a handle to an object, in the table that attributes name: OBJ_KERNEL_HANDLE, or
// else the current process's. The callbacks of ObRegisterCallbacks may take rights away. The
// statuses are those of the table.
func (c *Call) newHandle(o *ob.Object, desired, attributes uint32) (nt.Handle, nt.Status) {
	kernel := attributes&nt.OBJ_KERNEL_HANDLE != 0
	open := handleOperation{operation: operationCreate, object: o, access: o.Type.Access(desired),
		kernel: kernel}
	return c.watched(&open, func(access uint32) (nt.Handle, nt.Status) {
		if kernel {
			h, status := c.Ob.KernelHandles().Add(o, access, attributes)
			if status != nt.STATUS_SUCCESS {
				return 0, status
			}
			return ob.KernelHandle(h), status
		}
		return handlesOf(c.T.CurrentProcess()).Add(o, access, attributes)
	})
}

// giveHandle stores a new handle where the driver wants it.
func (c *Call) giveHandle(at guest.Addr, h nt.Handle) {
	if err := guest.Ptr[nt.Handle](at).Store(h); err != nil {
		_, _ = c.handles(h, nt.KernelMode).Close(h) // made a moment ago
		c.Must(err)
	}
}

// objectHandleInformation is OBJECT_HANDLE_INFORMATION.
type objectHandleInformation struct {
	HandleAttributes uint32
	GrantedAccess    uint32
}

// obReferenceObjectByHandle gives the object that a handle leads to, with a reference.
//
//	NTSTATUS ObReferenceObjectByHandle(HANDLE Handle, ACCESS_MASK DesiredAccess,
//	    POBJECT_TYPE ObjectType, KPROCESSOR_MODE AccessMode, PVOID *Object,
//	    POBJECT_HANDLE_INFORMATION HandleInformation)
//
// STATUS_INVALID_HANDLE, also for a kernel handle in user mode, STATUS_OBJECT_TYPE_MISMATCH,
// STATUS_ACCESS_DENIED. "ObReferenceObjectByHandle function (wdm.h)".
func obReferenceObjectByHandle(c *Call, h nt.Handle, access uint32, objType guest.Addr,
	mode nt.ProcessorMode, result, info guest.Addr) nt.Status {
	Store(c, result, guest.Addr(0))
	t := c.typeAt(objType)
	e, status := c.reference(h, access, t, mode)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	if info != 0 {
		i := objectHandleInformation{e.Attributes, e.Access}
		if err := guest.Ptr[objectHandleInformation](info).Store(i); err != nil {
			c.dereference(e.Object)
			c.Must(err)
		}
	}
	Store(c, result, e.Object.Addr)
	return nt.STATUS_SUCCESS
}

// obReferenceObjectByHandleWithTag is ObReferenceObjectByHandle; the tag has no effect.
//
//	NTSTATUS ObReferenceObjectByHandleWithTag(HANDLE Handle, ACCESS_MASK DesiredAccess,
//	    POBJECT_TYPE ObjectType, KPROCESSOR_MODE AccessMode, ULONG Tag, PVOID *Object,
//	    POBJECT_HANDLE_INFORMATION HandleInformation)
//
// "ObReferenceObjectByHandleWithTag function (wdm.h)".
func obReferenceObjectByHandleWithTag(c *Call, h nt.Handle, access uint32, objType guest.Addr,
	mode nt.ProcessorMode, tag uint32, result, info guest.Addr) nt.Status {
	return obReferenceObjectByHandle(c, h, access, objType, mode, result, info)
}

// obOpenObjectByPointer makes a handle to an object.
//
//	NTSTATUS ObOpenObjectByPointer(PVOID Object, ULONG HandleAttributes,
//	    PACCESS_STATE PassedAccessState, ACCESS_MASK DesiredAccess, POBJECT_TYPE ObjectType,
//	    KPROCESSOR_MODE AccessMode, PHANDLE Handle)
//
// STATUS_OBJECT_TYPE_MISMATCH, STATUS_INVALID_PARAMETER for attributes that there are not.
// "ObOpenObjectByPointer function (ntifs.h)".
func obOpenObjectByPointer(c *Call, object guest.Addr, attributes uint32, state guest.Addr,
	access uint32, objType guest.Addr, mode nt.ProcessorMode, result guest.Addr) nt.Status {
	o, t := c.object(object), c.typeAt(objType)
	switch {
	case attributes&^nt.OBJ_VALID_ATTRIBUTES != 0:
		return nt.STATUS_INVALID_PARAMETER
	case t != nil && o.Type != t:
		return nt.STATUS_OBJECT_TYPE_MISMATCH
	}
	if mode != nt.KernelMode {
		attributes &^= nt.OBJ_KERNEL_HANDLE
	}
	h, status := c.newHandle(o, access, attributes)
	if status == nt.STATUS_SUCCESS {
		c.giveHandle(result, h)
	}
	return status
}

// obOpenObjectByPointerWithTag is ObOpenObjectByPointer; the tag has no effect.
//
//	NTSTATUS ObOpenObjectByPointerWithTag(PVOID Object, ULONG HandleAttributes,
//	    PACCESS_STATE PassedAccessState, ACCESS_MASK DesiredAccess, POBJECT_TYPE ObjectType,
//	    KPROCESSOR_MODE AccessMode, ULONG Tag, PHANDLE Handle)
//
// "ObOpenObjectByPointerWithTag function (ntifs.h)".
func obOpenObjectByPointerWithTag(c *Call, object guest.Addr, attributes uint32, state guest.Addr,
	access uint32, objType guest.Addr, mode nt.ProcessorMode, tag uint32,
	result guest.Addr) nt.Status {
	return obOpenObjectByPointer(c, object, attributes, state, access, objType, mode, result)
}

// obOpenObjectByName makes a handle to a named object.
//
//	NTSTATUS ObOpenObjectByName(POBJECT_ATTRIBUTES ObjectAttributes, POBJECT_TYPE ObjectType,
//	    KPROCESSOR_MODE AccessMode, PACCESS_STATE PassedAccessState, ACCESS_MASK DesiredAccess,
//	    PVOID ParseContext, PHANDLE Handle)
//
// STATUS_OBJECT_TYPE_MISMATCH and what the namespace says of the name. The function is not
// documented.
func obOpenObjectByName(c *Call, attributes, objType guest.Addr, mode nt.ProcessorMode,
	state guest.Addr, access uint32, context, result guest.Addr) nt.Status {
	return c.openNamed(result, access, attributes, c.typeAt(objType))
}

// obCloseHandle closes a handle.
//
//	NTSTATUS ObCloseHandle(HANDLE Handle, KPROCESSOR_MODE PreviousMode)
//
// As ZwClose, for the given mode. "ObCloseHandle function (ntifs.h)".
func obCloseHandle(c *Call, h nt.Handle, mode nt.ProcessorMode) nt.Status {
	return c.close(h, mode)
}

// close closes a handle. STATUS_INVALID_HANDLE, STATUS_HANDLE_NOT_CLOSABLE for one that is
// protected. For a handle of the kernel's table both are the bugcheck INVALID_KERNEL_HANDLE, which
// Windows gives when a kernel debugger is attached: such a handle is the driver's own mistake.
func (c *Call) close(h nt.Handle, mode nt.ProcessorMode) nt.Status {
	table := c.handles(h, mode)
	if table == nil {
		return nt.STATUS_INVALID_HANDLE
	}
	if e, status := table.Reference(h); status == nt.STATUS_SUCCESS {
		defer c.dereference(e.Object)
		if key, ok := e.Object.Body.(*keyObject); ok {
			return c.watchKey(regKeyHandleClose, e.Object, nil, func() nt.Status {
				status := c.closeIn(table, h)
				if e.Object.Handles() == 0 {
					c.keyClosed(e.Object, key)
				}
				return status
			})
		}
	}
	return c.closeIn(table, h)
}

// closeIn closes a handle of a table.
func (c *Call) closeIn(table *ob.HandleTable, h nt.Handle) nt.Status {
	status, err := table.Close(h)
	c.finishFiles(c.T)
	c.Must(err)
	if status != nt.STATUS_SUCCESS && ob.IsKernelHandle(h) {
		const closedProtected, closedInvalid = 0, 1
		how, what := uint64(closedInvalid), "is not open"
		if status == nt.STATUS_HANDLE_NOT_CLOSABLE {
			how, what = closedProtected, "is protected from being closed"
		}
		c.T.Crash(&ke.Bugcheck{Code: nt.INVALID_KERNEL_HANDLE, Params: [4]uint64{uint64(h), how},
			Reason: "a kernel handle that " + what + " was closed by " + c.Where(c.Caller())})
	}
	return status
}

// obIsKernelHandle tells whether a handle is one of the kernel's table.
//
//	BOOLEAN ObIsKernelHandle(HANDLE Handle)
//
// "ObIsKernelHandle function (ntifs.h)".
func obIsKernelHandle(c *Call, h nt.Handle) nt.Boolean { return boolean(ob.IsKernelHandle(h)) }

// objectHandleFlags is OBJECT_HANDLE_FLAG_INFORMATION.
type objectHandleFlags struct {
	Inherit          nt.Boolean
	ProtectFromClose nt.Boolean
}

func (f objectHandleFlags) attributes() (attributes uint32) {
	if f.Inherit != 0 {
		attributes |= nt.OBJ_INHERIT
	}
	if f.ProtectFromClose != 0 {
		attributes |= ob.OBJ_PROTECT_CLOSE
	}
	return attributes
}

// obSetHandleAttributes says whether a handle is inherited and whether it may be closed.
//
//	NTSTATUS ObSetHandleAttributes(HANDLE Handle, POBJECT_HANDLE_FLAG_INFORMATION HandleFlags,
//	    KPROCESSOR_MODE PreviousMode)
//
// STATUS_INVALID_HANDLE. The function is not documented.
func obSetHandleAttributes(c *Call, h nt.Handle, flags guest.Addr,
	mode nt.ProcessorMode) nt.Status {
	f := Load[objectHandleFlags](c, flags)
	table := c.handles(h, mode)
	if table == nil {
		return nt.STATUS_INVALID_HANDLE
	}
	return table.SetAttributes(h, f.attributes())
}

// obFindHandleForObject gives a handle that a process has to an object, of the given type and
// rights if these are not null.
//
//	BOOLEAN ObFindHandleForObject(PEPROCESS Process, PVOID Object, POBJECT_TYPE ObjectType,
//	    POBJECT_HANDLE_INFORMATION MatchCriteria, PHANDLE Handle)
//
// The function is not documented.
func obFindHandleForObject(c *Call, process, object, objType, criteria,
	result guest.Addr) nt.Boolean {
	p, t := c.process(process), c.typeAt(objType)
	var want objectHandleInformation
	if criteria != 0 {
		want = Load[objectHandleInformation](c, criteria)
	}
	h, found := handlesOf(p).Find(func(e ob.Handle) bool {
		return (object == 0 || e.Object.Addr == object) && (t == nil || e.Object.Type == t) &&
			(criteria == 0 || e.Attributes == want.HandleAttributes && e.Access == want.GrantedAccess)
	})
	if found {
		Store(c, result, h)
	}
	return boolean(found)
}
