package ntoskrnl

import (
	"errors"
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
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
	if !c.Ob.Reference(object) {
		c.notAnObject(object, "object")
	}
	return c.Ob.References(c.Ob.Find(object))
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
	var ref *ob.RefError
	if errors.As(err, &ref) {
		c.T.Crash(&ke.Bugcheck{Code: nt.REFERENCE_BY_POINTER,
			Params: [4]uint64{0, uint64(object), uint64(ref.Count), 0},
			Reason: ref.Error() + ", by " + c.Where(c.Caller())})
	}
	c.Must(err)
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
	o, rest, status := c.Ob.Lookup(c.UString(name))
	switch {
	case status != nt.STATUS_SUCCESS:
		return status
	case rest != "":
		return nt.STATUS_OBJECT_NAME_NOT_FOUND
	case objType != 0 && objType != c.typeObjects[o.Type.Name]:
		return nt.STATUS_OBJECT_TYPE_MISMATCH
	}
	c.Ob.Reference(o.Addr)
	Store(c, result, o.Addr)
	return nt.STATUS_SUCCESS
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
