package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Security descriptors of objects, of which they have none.
var obSecurityExports = []Export{
	{Name: "ObGetObjectSecurity", Fn: fn3(obGetObjectSecurity),
		Params: "Object SecurityDescriptor MemoryAllocated", MaxIRQL: apc, Support: Partial,
		Note: "objects have no security descriptors"},
	{Name: "ObReleaseObjectSecurity", Fn: do2(obReleaseObjectSecurity),
		Params: "SecurityDescriptor MemoryAllocated:b", MaxIRQL: apc, Support: Partial,
		Note: "objects have no security descriptors"},
}

// obGetObjectSecurity gives an object's security descriptor: NULL, which is what Windows gives for
// an object without one.
//
//	NTSTATUS ObGetObjectSecurity(PVOID Object, PSECURITY_DESCRIPTOR *SecurityDescriptor,
//	    PBOOLEAN MemoryAllocated)
//
// "ObGetObjectSecurity function (ntifs.h)".
func obGetObjectSecurity(c *Call, object, descriptor, allocated guest.Addr) nt.Status {
	c.object(object)
	Store(c, descriptor, guest.Addr(0))
	Store(c, allocated, nt.FALSE)
	return nt.STATUS_SUCCESS
}

// obReleaseObjectSecurity gives back what ObGetObjectSecurity gave: nothing.
//
//	VOID ObReleaseObjectSecurity(PSECURITY_DESCRIPTOR SecurityDescriptor, BOOLEAN MemoryAllocated)
//
// "ObReleaseObjectSecurity function (ntifs.h)".
func obReleaseObjectSecurity(c *Call, descriptor guest.Addr, allocated nt.Boolean) {
	if descriptor != 0 {
		c.notAnObject(descriptor, "security descriptor of an object")
	}
}
