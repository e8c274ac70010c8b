package ntoskrnl

import (
	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

const securityNote = "of devices, of files for their device's, and of keys, which they do not guard"

// Security descriptors of devices: who may open them. A device without one can be opened by
// everybody.
var ioSecurityExports = []Export{
	{Name: "ObSetSecurityObjectByPointer", Fn: fn3(obSetSecurityObjectByPointer),
		Params: "Object SecurityInformation SecurityDescriptor", MaxIRQL: passive, Support: Partial,
		Note: securityNote},
	{Name: "ZwSetSecurityObject", Fn: fn3(zwSetSecurityObject),
		Params: "Handle SecurityInformation SecurityDescriptor", MaxIRQL: passive, Support: Partial,
		Note: securityNote},
	{Name: "ZwQuerySecurityObject", Fn: fn5(zwQuerySecurityObject),
		Params:  "Handle SecurityInformation SecurityDescriptor Length:d LengthNeeded",
		MaxIRQL: passive, Support: Partial, Note: securityNote},
}

// sid gives a SID that is written right.
func sid(text string) nt.SID {
	s, err := nt.ParseSID(text)
	if err != nil {
		panic(err)
	}
	return s
}

// SIDs that everybody knows.
var (
	sidEveryone       = sid("S-1-1-0")
	sidAuthenticated  = sid("S-1-5-11")
	sidUsers          = sid("S-1-5-32-545")
	sidSystem         = sid("S-1-5-18")
	sidAdministrators = sid("S-1-5-32-544")
)

// SubjectSIDs gives the SIDs that a Linux user with these groups has: S-1-22-1-uid and S-1-22-2-gid,
// and Everyone, Authenticated Users and Users. The user 0 is SYSTEM and an administrator too.
func SubjectSIDs(uid uint32, groups ...uint32) []nt.SID {
	sids := []nt.SID{nt.SIDForUID(uid), sidEveryone, sidAuthenticated, sidUsers}
	for _, g := range groups {
		sids = append(sids, nt.SIDForGID(g))
	}
	if uid == 0 {
		sids = append(sids, sidSystem, sidAdministrators)
	}
	return sids
}

// CheckDeviceAccess does the check of an open in user mode: rest is what follows the device's name.
// With MAXIMUM_ALLOWED access becomes what is granted. What lies below a device is the driver's to
// protect, unless it asked for FILE_DEVICE_SECURE_OPEN ("Controlling Device Namespace Access").
// STATUS_ACCESS_DENIED.
func CheckDeviceAccess(dev *devobj.Device, rest string, subject []nt.SID, access *uint32) nt.Status {
	d := dev.Descriptor.Load()
	below := rest != "" && dev.Object.Ref().Characteristics&nt.FILE_DEVICE_SECURE_OPEN == 0
	if d == nil || below {
		if *access&nt.MAXIMUM_ALLOWED != 0 {
			*access = *access&^nt.MAXIMUM_ALLOWED | nt.FILE_ALL_ACCESS
		}
		return nt.STATUS_SUCCESS
	}
	granted, ok := d.AccessCheck(subject, *access, nt.FileGenericMapping)
	if !ok {
		return nt.STATUS_ACCESS_DENIED
	}
	*access = granted
	return nt.STATUS_SUCCESS
}

// deviceSecurity are the descriptors for the requests of clients.
type deviceSecurity struct{}

// descriptorOf gives a device's descriptor, or that of a device without one.
func descriptorOf(dev *devobj.Device) nt.Descriptor {
	if d := dev.Descriptor.Load(); d != nil {
		return *d
	}
	owner, group := sidAdministrators, sidSystem
	return nt.Descriptor{Owner: &owner, Group: &group, Control: nt.SE_DACL_PRESENT, NullDACL: true}
}

// Query gives parts of a device's descriptor.
func (deviceSecurity) Query(dev *devobj.Device, info uint32) ([]byte, nt.Status) {
	d := descriptorOf(dev).Part(info)
	return d.Append(nil), nt.STATUS_SUCCESS
}

// Set replaces parts of a device's descriptor.
func (deviceSecurity) Set(dev *devobj.Device, info uint32, sd []byte) nt.Status {
	by, err := nt.ParseDescriptor(sd)
	if err != nil {
		return nt.STATUS_INVALID_SECURITY_DESCR
	}
	setDescriptor(dev, info, by)
	return nt.STATUS_SUCCESS
}

func setDescriptor(dev *devobj.Device, info uint32, by nt.Descriptor) {
	for {
		old := dev.Descriptor.Load()
		d := descriptorOf(dev).Replace(info, by)
		if dev.Descriptor.CompareAndSwap(old, &d) {
			return
		}
	}
}

// loadDescriptor reads a security descriptor of either form out of the driver's memory.
func (c *Call) loadDescriptor(a guest.Addr) (d nt.Descriptor, status nt.Status) {
	raw, err := rtl.LoadSecurityDescriptor(a)
	if err != nil {
		return d, c.status(err)
	}
	d.Control = raw.Control &^ nt.SE_SELF_RELATIVE
	for _, p := range [...]struct {
		at guest.Addr
		to **nt.SID
	}{{raw.Owner, &d.Owner}, {raw.Group, &d.Group}} {
		if p.at == 0 {
			continue
		}
		s, err := rtl.LoadSid(p.at)
		if err != nil {
			return d, c.status(err)
		}
		*p.to = &s
	}
	if raw.Control&nt.SE_DACL_PRESENT == 0 {
		return d, nt.STATUS_SUCCESS
	}
	if raw.Dacl == 0 {
		d.NullDACL = true
		return d, nt.STATUS_SUCCESS
	}
	b := make([]byte, Load[nt.ACL](c, raw.Dacl).AclSize)
	c.Must(guest.Read(b, raw.Dacl))
	if d.DACL, err = nt.ParseACL(b); err != nil {
		return d, nt.STATUS_INVALID_ACL
	}
	return d, nt.STATUS_SUCCESS
}

// deviceOfObject gives the device whose descriptor an object has, or nil.
func deviceOfObject(o *ob.Object) *devobj.Device {
	switch body := o.Body.(type) {
	case *devobj.Device:
		return body
	case *devobj.File:
		return body.Device
	}
	return nil
}

func (c *Call) setSecurity(o *ob.Object, info uint32, sd guest.Addr) nt.Status {
	if key, ok := o.Body.(*keyObject); ok {
		return c.setKeySecurity(o, key, info, sd)
	}
	dev := deviceOfObject(o)
	if dev == nil {
		return nt.STATUS_NOT_SUPPORTED
	}
	d, status := c.loadDescriptor(sd)
	if status == nt.STATUS_SUCCESS {
		setDescriptor(dev, info, d)
	}
	return status
}

// obSetSecurityObjectByPointer sets parts of an object's security descriptor.
//
//	NTSTATUS ObSetSecurityObjectByPointer(PVOID Object, SECURITY_INFORMATION SecurityInformation,
//	    PSECURITY_DESCRIPTOR SecurityDescriptor)
//
// STATUS_UNKNOWN_REVISION, STATUS_INVALID_SID, STATUS_INVALID_ACL, STATUS_KEY_DELETED;
// STATUS_NOT_SUPPORTED of other objects. The function is not documented.
func obSetSecurityObjectByPointer(c *Call, object guest.Addr, info uint32, sd guest.Addr) nt.Status {
	return c.setSecurity(c.object(object), info, sd)
}

// zwSetSecurityObject is the same by a handle.
//
//	NTSTATUS ZwSetSecurityObject(HANDLE Handle, SECURITY_INFORMATION SecurityInformation,
//	    PSECURITY_DESCRIPTOR SecurityDescriptor)
//
// "ZwSetSecurityObject function (ntifs.h)".
func zwSetSecurityObject(c *Call, h nt.Handle, info uint32, sd guest.Addr) nt.Status {
	e, status := c.reference(h, 0, nil, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(e.Object)
	return c.setSecurity(e.Object, info, sd)
}

// zwQuerySecurityObject gives parts of an object's security descriptor, self-relative.
//
//	NTSTATUS ZwQuerySecurityObject(HANDLE Handle, SECURITY_INFORMATION SecurityInformation,
//	    PSECURITY_DESCRIPTOR SecurityDescriptor, ULONG Length, PULONG LengthNeeded)
//
// STATUS_BUFFER_TOO_SMALL with LengthNeeded. "ZwQuerySecurityObject function (ntifs.h)".
func zwQuerySecurityObject(c *Call, h nt.Handle, info uint32, sd guest.Addr, length uint32,
	needed guest.Addr) nt.Status {
	e, status := c.reference(h, 0, nil, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(e.Object)
	if key, ok := e.Object.Body.(*keyObject); ok {
		return c.queryKeySecurity(e.Object, key, info, sd, length, needed)
	}
	dev := deviceOfObject(e.Object)
	if dev == nil {
		return nt.STATUS_NOT_SUPPORTED
	}
	b, _ := deviceSecurity{}.Query(dev, info)
	Store(c, needed, uint32(len(b)))
	if uint32(len(b)) > length {
		return nt.STATUS_BUFFER_TOO_SMALL
	}
	c.Must(guest.Write(sd, b))
	return nt.STATUS_SUCCESS
}
