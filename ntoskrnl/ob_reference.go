package ntoskrnl

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// References to objects.
var obReferenceExports = []Export{
	{Name: "ObfReferenceObject", Fn: fn1(obfReferenceObject), Params: "Object", MaxIRQL: dispatch,
		Support: Partial, Note: "a thread's or process's object is not counted: it lives as long as its client"},
	{Name: "ObfDereferenceObject", Fn: fn1(obfDereferenceObject), Params: "Object", MaxIRQL: dispatch,
		Support: Partial, Note: "a thread's or process's object is not counted: it lives as long as its client"},
	{Name: "ObReferenceObjectByName", Fn: fn8(obReferenceObjectByName),
		Params:  "ObjectName:ustr Attributes AccessState DesiredAccess ObjectType AccessMode:d ParseContext Object",
		MaxIRQL: passive, Support: Partial, Note: "drivers and devices only; no access check"},
	{Name: "IoDriverObjectType", Data: 8, MaxIRQL: anyIRQL, Support: Partial,
		Init: func(k *Kernel) []byte { return k.typeVariable("Driver") },
		Note: "the OBJECT_TYPE that it points at has no contents"},
	{Name: "IoDeviceObjectType", Data: 8, MaxIRQL: anyIRQL, Support: Partial,
		Init: func(k *Kernel) []byte { return k.typeVariable("Device") },
		Note: "the OBJECT_TYPE that it points at has no contents"},
	{Name: "IoFileObjectType", Data: 8, MaxIRQL: anyIRQL, Support: Partial,
		Init: func(k *Kernel) []byte { return k.typeVariable("File") },
		Note: "the OBJECT_TYPE that it points at has no contents"},
}

// obfReferenceObject adds a reference to an object.
//
//	LONG_PTR ObfReferenceObject(PVOID Object)
//
// The new count, "reserved for system use". "ObfReferenceObject macro (wdm.h)".
func obfReferenceObject(c *Call, object guest.Addr) int64 {
	if c.isDispatcherObject(object) {
		return 2
	}
	o := c.Ob.Find(object)
	if o == nil || !c.Ob.Reference(object) {
		c.notAnObject(object, "object")
	}
	return c.Ob.References(o)
}

// obfDereferenceObject takes a reference away; the last one deletes the object.
//
//	LONG_PTR ObfDereferenceObject(PVOID Object)
//
// The count that is left. REFERENCE_BY_POINTER when there was none. "ObDereferenceObject macro
// (wdm.h)".
func obfDereferenceObject(c *Call, object guest.Addr) int64 {
	if c.isDispatcherObject(object) {
		return 1
	}
	left, err := c.Ob.Dereference(object)
	c.Must(err) // a *ob.RefError is REFERENCE_BY_POINTER
	return left
}

// isDispatcherObject reports whether an address is that of a thread or a process.
func (k *Kernel) isDispatcherObject(a guest.Addr) bool { return k.Ke.IsObject(a) }

// obReferenceObjectByName finds an object by its full name and adds a reference to it.
//
//	NTSTATUS ObReferenceObjectByName(PUNICODE_STRING ObjectName, ULONG Attributes,
//	    PACCESS_STATE AccessState, ACCESS_MASK DesiredAccess, POBJECT_TYPE ObjectType,
//	    KPROCESSOR_MODE AccessMode, PVOID ParseContext, PVOID *Object)
//
// STATUS_OBJECT_TYPE_MISMATCH for an object of another type, and what the namespace says of the
// name. The function is not documented; its prototype is common knowledge among driver authors.
func obReferenceObjectByName(c *Call, name guest.Addr, attributes uint32, state guest.Addr,
	access uint32, objType guest.Addr, mode uint8, context, result guest.Addr) nt.Status {
	o, rest, status := c.Ob.LookupReference(c.UString(name))
	switch {
	case status != nt.STATUS_SUCCESS:
		return status
	case rest != "":
		status = nt.STATUS_OBJECT_NAME_NOT_FOUND
	case objType != 0 && objType != c.typeObjects[o.Type.Name]:
		status = nt.STATUS_OBJECT_TYPE_MISMATCH
	}
	if status == nt.STATUS_SUCCESS {
		if err := guest.StoreAddr(result, o.Addr); err == nil {
			return status
		} else {
			defer c.Must(err)
		}
	}
	_, err := c.Ob.Dereference(o.Addr)
	c.Must(err)
	return status
}

// typeVariable makes the value of a variable such as IoDriverObjectType: the address of what stands
// for the OBJECT_TYPE.
func (k *Kernel) typeVariable(name string) []byte {
	const sizeofObjectType = 0xD8
	a, err := k.allocObject(sizeofObjectType)
	if err != nil {
		panic(fmt.Sprintf("ntoskrnl: no memory for object type %s: %v", name, err))
	}
	k.typeObjects[name] = a
	return addrBytes(a)
}
