package ntoskrnl

import (
	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Names of objects, and opening and making objects by name.
var obNameExports = []Export{
	{Name: "ObQueryNameString", Fn: fn4(obQueryNameString),
		Params: "Object ObjectNameInfo Length:d ReturnLength", MaxIRQL: passive, Support: Full},
	{Name: "ZwMakeTemporaryObject", Fn: fn1(zwMakeTemporaryObject), Params: "Handle",
		MaxIRQL: passive, Support: Full},
}

// obQueryNameString gives an object's full name.
//
//	NTSTATUS ObQueryNameString(PVOID Object, POBJECT_NAME_INFORMATION ObjectNameInfo, ULONG Length,
//	    PULONG ReturnLength)
//
// The string lies behind the UNICODE_STRING, with a zero. One without a name has an empty one.
// STATUS_INFO_LENGTH_MISMATCH if there is no room; ReturnLength says how much is needed.
// "ObQueryNameString function (ntifs.h)".
func obQueryNameString(c *Call, object, info guest.Addr, length uint32,
	needed guest.Addr) nt.Status {
	return c.nameInformation(c.object(object), info, length, needed)
}

// nameInformation fills in an OBJECT_NAME_INFORMATION.
func (c *Call) nameInformation(o *ob.Object, info guest.Addr, length uint32,
	needed guest.Addr) nt.Status {
	const header = guest.Addr(sizeofUnicodeString)
	enc := guest.EncodeUTF16(c.nameOf(o))
	size := uint32(header)
	if len(enc) > 0 {
		size += uint32(len(enc)) + 2
	}
	StoreOpt(c, needed, size)
	if length < size {
		return nt.STATUS_INFO_LENGTH_MISMATCH
	}
	var name nt.UnicodeString
	if n := uint16(len(enc)); n > 0 {
		name = nt.UnicodeString{Length: n, MaximumLength: n + 2, Buffer: info + header}
		c.Must(guest.Write(info+header, append(enc, 0, 0)))
	}
	Store(c, info, name)
	return nt.STATUS_SUCCESS
}

// nameOf gives the full name of an object. That of a file is its device's with what follows it.
func (c *Call) nameOf(o *ob.Object) string {
	if k, ok := o.Body.(*keyObject); ok {
		return k.Path()
	}
	f, ok := o.Body.(*devobj.File)
	if !ok {
		return c.Ob.Path(o)
	}
	rest := c.UString(o.Addr + fileNameOffset)
	return f.Device.Name + rest
}

// objectAttributes is what an OBJECT_ATTRIBUTES says.
type objectAttributes struct {
	path       string // full, or "" for an object without a name
	attributes uint32
}

// attributesOf reads an OBJECT_ATTRIBUTES, which may be null. STATUS_INVALID_PARAMETER for what is
// none, and what the namespace says of the name.
func (c *Call) attributesOf(a guest.Addr) (objectAttributes, nt.Status) {
	if a == 0 {
		return objectAttributes{}, nt.STATUS_SUCCESS
	}
	oa := Load[nt.ObjectAttributes](c, a)
	if oa.Length != uint32(sizeofObjectAttributes) || oa.Attributes&^nt.OBJ_VALID_ATTRIBUTES != 0 {
		return objectAttributes{}, nt.STATUS_INVALID_PARAMETER
	}
	r := objectAttributes{attributes: oa.Attributes}
	name := c.OptUString(oa.ObjectName)
	if oa.RootDirectory == 0 {
		r.path = name
		return r, nt.STATUS_SUCCESS
	}
	if oa.ObjectName == 0 {
		return r, nt.STATUS_OBJECT_NAME_INVALID
	}
	root, status := c.reference(oa.RootDirectory, 0, nil, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return r, status
	}
	defer c.dereference(root.Object)
	r.path, status = c.Ob.Join(root.Object, name)
	return r, status
}

// openNamed opens an object of type t, or of any if t is nil, that the OBJECT_ATTRIBUTES at
// attributes name, and stores a handle.
func (c *Call) openNamed(result guest.Addr, access uint32, attributes guest.Addr,
	t *ob.Type) nt.Status {
	a, status := c.attributesOf(attributes)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	o, status := c.openObject(a.path, t, a.attributes)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(o)
	h, status := c.newHandle(o, access, a.attributes)
	if status == nt.STATUS_SUCCESS {
		c.giveHandle(result, h)
	}
	return status
}

// createNamed makes an object of type t with create, which is told its path and whether it is
// permanent and gives a reference, and stores a handle. With OBJ_OPENIF one that is there is
// opened: STATUS_OBJECT_NAME_EXISTS.
func (c *Call) createNamed(result guest.Addr, access uint32, attributes guest.Addr, t *ob.Type,
	create func(path string, permanent bool) (*ob.Object, nt.Status)) nt.Status {
	a, status := c.attributesOf(attributes)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	done := nt.STATUS_SUCCESS
	o, status := create(a.path, a.attributes&nt.OBJ_PERMANENT != 0)
	for status == nt.STATUS_OBJECT_NAME_COLLISION && a.attributes&nt.OBJ_OPENIF != 0 {
		o, status = c.openObject(a.path, t, a.attributes)
		if status != nt.STATUS_OBJECT_NAME_NOT_FOUND {
			done = nt.STATUS_OBJECT_NAME_EXISTS
			break
		}
		// It has lost its name since, with its last handle.
		o, status = create(a.path, a.attributes&nt.OBJ_PERMANENT != 0)
	}
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(o)
	h, status := c.newHandle(o, access, a.attributes)
	if status != nt.STATUS_SUCCESS {
		if done == nt.STATUS_SUCCESS {
			c.Ob.Unname(o)
		}
		return status
	}
	c.giveHandle(result, h)
	return done
}

// zwMakeTemporaryObject lets an object lose its name with its last handle.
//
//	NTSTATUS ZwMakeTemporaryObject(HANDLE Handle)
//
// STATUS_INVALID_HANDLE. "ZwMakeTemporaryObject function (wdm.h)".
func zwMakeTemporaryObject(c *Call, h nt.Handle) nt.Status {
	e, status := c.reference(h, nt.DELETE, nil, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(e.Object)
	return c.Ob.MakeTemporary(e.Object)
}
