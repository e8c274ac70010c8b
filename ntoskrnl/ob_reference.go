package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// References to objects, by pointer and by name.
var obReferenceExports = []Export{
	{Name: "ObfReferenceObject", Fn: fn1(obfReferenceObject), Params: "Object", MaxIRQL: dispatch,
		Support: Full},
	{Name: "ObfReferenceObjectWithTag", Fn: fn1(obfReferenceObject), Params: "Object Tag:tag",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ObReferenceObjectSafe", Fn: fn1(obReferenceObjectSafe), Params: "Object",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ObReferenceObjectSafeWithTag", Fn: fn1(obReferenceObjectSafe), Params: "Object Tag:tag",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ObfDereferenceObject", Fn: fn1(obfDereferenceObject), Params: "Object",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ObDereferenceObject", Fn: fn1(obfDereferenceObject), Params: "Object",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ObfDereferenceObjectWithTag", Fn: fn1(obfDereferenceObject), Params: "Object Tag:tag",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ObDereferenceObjectDeferDelete", Fn: fn1(obfDereferenceObject), Params: "Object",
		MaxIRQL: dispatch, Support: Full},
	{Name: "ObDereferenceObjectDeferDeleteWithTag", Fn: fn1(obfDereferenceObject),
		Params: "Object Tag:tag", MaxIRQL: dispatch, Support: Full},
	{Name: "ObReferenceObjectByPointer", Fn: fn4(obReferenceObjectByPointer),
		Params: "Object DesiredAccess ObjectType AccessMode:d", MaxIRQL: dispatch, Support: Full},
	{Name: "ObReferenceObjectByPointerWithTag", Fn: fn4(obReferenceObjectByPointer),
		Params: "Object DesiredAccess ObjectType AccessMode:d Tag:tag", MaxIRQL: dispatch,
		Support: Full},
	{Name: "ObReferenceObjectByName", Fn: fn8(obReferenceObjectByName),
		Params: "ObjectName:ustr Attributes AccessState DesiredAccess ObjectType AccessMode:d " +
			"ParseContext Object",
		MaxIRQL: passive, Support: Partial, Note: "objects have no security descriptors: " +
			"user mode gets whatever access it asks for"},
	{Name: "ObGetObjectType", Fn: fn1(obGetObjectType), Params: "Object", MaxIRQL: dispatch,
		Support: Full},
	{Name: "ObMakeTemporaryObject", Fn: do1(obMakeTemporaryObject), Params: "Object",
		MaxIRQL: passive, Support: Full},
}

// object gives the object that the driver passed.
func (c *Call) object(a guest.Addr) *ob.Object {
	o := c.Ob.Find(a)
	if o == nil {
		c.notAnObject(a, "object")
	}
	return o
}

// typeAt gives the type whose OBJECT_TYPE the driver passed; nil for a null pointer.
func (c *Call) typeAt(a guest.Addr) *ob.Type {
	if a == 0 {
		return nil
	}
	t := c.Ob.TypeAt(a)
	if t == nil {
		c.notAnObject(a, "OBJECT_TYPE")
	}
	return t
}

// dereference gives back a reference that the call itself has taken.
func (c *Call) dereference(o *ob.Object) {
	_, err := c.Ob.Dereference(o.Addr)
	c.Must(err)
}

// obfReferenceObject adds a reference to an object.
//
//	LONG_PTR ObfReferenceObject(PVOID Object)
//
// The new count, "reserved for system use". REFERENCE_BY_POINTER for what is no object or has no
// references any more. "ObfReferenceObject macro (wdm.h)".
func obfReferenceObject(c *Call, object guest.Addr) int64 {
	count := c.Ob.AddReference(object)
	if count == 0 {
		c.notAnObject(object, "object")
	}
	return count
}

// obReferenceObjectSafe adds a reference to an object unless it is being deleted.
//
//	BOOLEAN ObReferenceObjectSafe(PVOID Object)
//
// "ObReferenceObjectSafe function (ntifs.h)".
func obReferenceObjectSafe(c *Call, object guest.Addr) nt.Boolean {
	Load[uint8](c, object)
	return boolean(c.Ob.Reference(object))
}

// obfDereferenceObject takes a reference away; the last one deletes the object. No driver code runs
// then, so that there is nothing that ObDereferenceObjectDeferDelete would have to put off.
//
//	LONG_PTR ObfDereferenceObject(PVOID Object)
//	VOID ObDereferenceObjectDeferDelete(PVOID Object)
//
// The count that is left. REFERENCE_BY_POINTER when there was none. "ObDereferenceObject macro
// (wdm.h)", "ObDereferenceObjectDeferDelete function (wdm.h)".
func obfDereferenceObject(c *Call, object guest.Addr) int64 {
	left, err := c.Ob.Dereference(object)
	c.Must(err) // a *ob.RefError is REFERENCE_BY_POINTER
	return left
}

// obReferenceObjectByPointer adds a reference to an object of the given type.
//
//	NTSTATUS ObReferenceObjectByPointer(PVOID Object, ACCESS_MASK DesiredAccess,
//	    POBJECT_TYPE ObjectType, KPROCESSOR_MODE AccessMode)
//
// STATUS_OBJECT_TYPE_MISMATCH. As on Windows the access is not looked at, and without a type only
// kernel mode is served. "ObReferenceObjectByPointer function (wdm.h)".
func obReferenceObjectByPointer(c *Call, object guest.Addr, access uint32, objType guest.Addr,
	mode nt.ProcessorMode) nt.Status {
	o, t := c.object(object), c.typeAt(objType)
	if o.Type != t && (t != nil || mode != nt.KernelMode) && o.Type != c.types.link {
		return nt.STATUS_OBJECT_TYPE_MISMATCH
	}
	obfReferenceObject(c, object)
	return nt.STATUS_SUCCESS
}

// obReferenceObjectByName finds an object by its full name and adds a reference to it.
//
//	NTSTATUS ObReferenceObjectByName(PUNICODE_STRING ObjectName, ULONG Attributes,
//	    PACCESS_STATE AccessState, ACCESS_MASK DesiredAccess, POBJECT_TYPE ObjectType,
//	    KPROCESSOR_MODE AccessMode, PVOID ParseContext, PVOID *Object)
//
// STATUS_OBJECT_TYPE_MISMATCH for an object of another type, and what the namespace says of the
// name. The function is not documented; its prototype is common knowledge among driver authors.
func obReferenceObjectByName(c *Call, name guest.Addr, attributes uint32, state guest.Addr,
	access uint32, objType guest.Addr, mode nt.ProcessorMode, context, result guest.Addr) nt.Status {
	t := c.typeAt(objType)
	o, status := c.openObject(c.UString(name), t, attributes)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	if err := guest.StoreAddr(result, o.Addr); err != nil {
		c.dereference(o)
		c.Must(err)
	}
	return nt.STATUS_SUCCESS
}

// openObject finds an object of a type, or of any if t is nil, by its full name and adds a
// reference to it.
func (c *Call) openObject(path string, t *ob.Type, attributes uint32) (*ob.Object, nt.Status) {
	itself := t == c.types.link || attributes&nt.OBJ_OPENLINK != 0
	o, rest, status := c.Ob.Open(path, itself)
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	if rest != "" || t != nil && o.Type != t {
		c.dereference(o)
		return nil, nt.STATUS_OBJECT_TYPE_MISMATCH
	}
	return o, nt.STATUS_SUCCESS
}

// obGetObjectType gives the type of an object.
//
//	POBJECT_TYPE ObGetObjectType(PVOID Object)
//
// The function is not documented.
func obGetObjectType(c *Call, object guest.Addr) guest.Addr { return c.object(object).Type.Addr() }

// obMakeTemporaryObject lets an object lose its name with its last handle; at once if there is
// none.
//
//	VOID ObMakeTemporaryObject(PVOID Object)
//
// "ObMakeTemporaryObject function (ntifs.h)".
func obMakeTemporaryObject(c *Call, object guest.Addr) { c.Ob.MakeTemporary(c.object(object)) }
