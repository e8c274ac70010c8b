package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// SIDs, ACLs and security descriptors.
var rtlSecurityExports = []Export{
	// BOOLEAN RtlValidSid(PSID Sid). "RtlValidSid function (ntifs.h)".
	{Name: "RtlValidSid", Fn: fn1(rtlValidSid), Params: "Sid", MaxIRQL: pageable, Support: Full},
	// BOOLEAN RtlEqualSid(PSID Sid1, PSID Sid2). "RtlEqualSid function (ntifs.h)".
	{Name: "RtlEqualSid", Fn: test2(rtl.EqualSid), Params: "Sid1 Sid2", MaxIRQL: pageable,
		Support: Full},
	// ULONG RtlLengthSid(PSID Sid). "RtlLengthSid function (ntifs.h)".
	{Name: "RtlLengthSid", Fn: try1(rtl.LengthSid), Params: "Sid", MaxIRQL: pageable,
		Support: Full},
	// ULONG RtlLengthRequiredSid(ULONG SubAuthorityCount).
	// "RtlLengthRequiredSid function (ntifs.h)".
	{Name: "RtlLengthRequiredSid", Fn: pure1(rtl.LengthRequiredSid), Params: "SubAuthorityCount:d",
		MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlInitializeSid(PSID Sid, PSID_IDENTIFIER_AUTHORITY IdentifierAuthority, UCHAR
	// SubAuthorityCount): STATUS_INVALID_PARAMETER. "RtlInitializeSid function (ntifs.h)".
	{Name: "RtlInitializeSid", Fn: status3(rtl.InitializeSid),
		Params: "Sid IdentifierAuthority SubAuthorityCount:d", MaxIRQL: pageable, Support: Full},
	// PULONG RtlSubAuthoritySid(PSID Sid, ULONG SubAuthority).
	// "RtlSubAuthoritySid function (ntifs.h)".
	{Name: "RtlSubAuthoritySid", Fn: pure2(rtl.SubAuthoritySid), Params: "Sid SubAuthority:d",
		MaxIRQL: pageable, Support: Full},
	// PUCHAR RtlSubAuthorityCountSid(PSID Sid). "RtlSubAuthorityCountSid function (ntifs.h)".
	{Name: "RtlSubAuthorityCountSid", Fn: pure1(rtl.SubAuthorityCountSid), Params: "Sid",
		MaxIRQL: pageable, Support: Full},
	// PSID_IDENTIFIER_AUTHORITY RtlIdentifierAuthoritySid(PSID Sid).
	{Name: "RtlIdentifierAuthoritySid", Fn: pure1(rtl.IdentifierAuthoritySid), Params: "Sid",
		MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlCopySid(ULONG DestinationSidLength, PSID DestinationSid, PSID SourceSid):
	// STATUS_BUFFER_TOO_SMALL. "RtlCopySid function (ntifs.h)".
	{Name: "RtlCopySid", Fn: status3(rtl.CopySid),
		Params: "DestinationSidLength:d DestinationSid SourceSid", MaxIRQL: pageable,
		Support: Full},
	// NTSTATUS RtlConvertSidToUnicodeString(PUNICODE_STRING UnicodeString, PSID Sid, BOOLEAN
	// AllocateDestinationString): STATUS_INVALID_SID, STATUS_BUFFER_OVERFLOW, STATUS_NO_MEMORY.
	// "RtlConvertSidToUnicodeString function (ntifs.h)".
	{Name: "RtlConvertSidToUnicodeString", Fn: allocating(rtl.ConvertSidToUnicodeString),
		Params: "UnicodeString Sid AllocateDestinationString:b", MaxIRQL: pageable, Support: Full},

	// NTSTATUS RtlCreateAcl(PACL Acl, ULONG AclLength, ULONG AclRevision): STATUS_BUFFER_TOO_SMALL,
	// STATUS_INVALID_PARAMETER. "RtlCreateAcl function (ntifs.h)".
	{Name: "RtlCreateAcl", Fn: status3(rtl.CreateAcl), Params: "Acl AclLength:d AclRevision:d",
		MaxIRQL: pageable, Support: Full},
	// BOOLEAN RtlValidAcl(PACL Acl).
	{Name: "RtlValidAcl", Fn: fn1(rtlValidAcl), Params: "Acl", MaxIRQL: pageable, Support: Full},
	// BOOLEAN RtlFirstFreeAce(PACL Acl, PVOID *FirstFree): FALSE for a malformed ACL; NULL of a full
	// one.
	{Name: "RtlFirstFreeAce", Fn: fn2(rtlFirstFreeAce), Params: "Acl FirstFree", MaxIRQL: pageable,
		Support: Full},
	{Name: "RtlGetAce", Fn: fn3(rtlGetAce), Params: "Acl AceIndex:d Ace", MaxIRQL: pageable,
		Support: Full},
	// NTSTATUS RtlDeleteAce(PACL Acl, ULONG AceIndex): STATUS_INVALID_PARAMETER.
	// "RtlDeleteAce function (ntifs.h)".
	{Name: "RtlDeleteAce", Fn: status2(rtl.DeleteAce), Params: "Acl AceIndex:d", MaxIRQL: pageable,
		Support: Full},
	{Name: "RtlAddAccessAllowedAce", Fn: addAce(nt.ACCESS_ALLOWED_ACE_TYPE),
		Params: "Acl AceRevision:d AccessMask Sid", MaxIRQL: pageable, Support: Full},
	{Name: "RtlAddAccessAllowedAceEx", Fn: addAceEx(nt.ACCESS_ALLOWED_ACE_TYPE),
		Params: "Acl AceRevision:d AceFlags AccessMask Sid", MaxIRQL: pageable, Support: Full},
	{Name: "RtlAddAccessDeniedAce", Fn: addAce(nt.ACCESS_DENIED_ACE_TYPE),
		Params: "Acl AceRevision:d AccessMask Sid", MaxIRQL: pageable, Support: Full},
	{Name: "RtlAddAccessDeniedAceEx", Fn: addAceEx(nt.ACCESS_DENIED_ACE_TYPE),
		Params: "Acl AceRevision:d AceFlags AccessMask Sid", MaxIRQL: pageable, Support: Full},

	// NTSTATUS RtlCreateSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor, ULONG Revision):
	// STATUS_UNKNOWN_REVISION. "RtlCreateSecurityDescriptor function (wdm.h)".
	{Name: "RtlCreateSecurityDescriptor", Fn: status2(rtl.CreateSecurityDescriptor),
		Params: "SecurityDescriptor Revision:d", MaxIRQL: pageable, Support: Full},
	// BOOLEAN RtlValidSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor).
	// "RtlValidSecurityDescriptor function (wdm.h)".
	{Name: "RtlValidSecurityDescriptor", Fn: fn1(rtlValidSecurityDescriptor),
		Params: "SecurityDescriptor", MaxIRQL: pageable, Support: Full},
	// BOOLEAN RtlValidRelativeSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptorInput, ULONG
	// SecurityDescriptorLength, SECURITY_INFORMATION RequiredInformation).
	// "RtlValidRelativeSecurityDescriptor function (wdm.h)".
	{Name: "RtlValidRelativeSecurityDescriptor", Fn: fn3(rtlValidRelativeSecurityDescriptor),
		Params:  "SecurityDescriptorInput SecurityDescriptorLength:d RequiredInformation",
		MaxIRQL: pageable, Support: Full},
	// ULONG RtlLengthSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor).
	// "RtlLengthSecurityDescriptor function (wdm.h)".
	{Name: "RtlLengthSecurityDescriptor", Fn: try1(rtl.LengthSecurityDescriptor),
		Params: "SecurityDescriptor", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlAbsoluteToSelfRelativeSD(PSECURITY_DESCRIPTOR AbsoluteSecurityDescriptor,
	// PSECURITY_DESCRIPTOR SelfRelativeSecurityDescriptor, PULONG BufferLength):
	// STATUS_BAD_DESCRIPTOR_FORMAT, STATUS_BUFFER_TOO_SMALL.
	// "RtlAbsoluteToSelfRelativeSD function (ntifs.h)".
	{Name: "RtlAbsoluteToSelfRelativeSD", Fn: status3(rtl.AbsoluteToSelfRelativeSD),
		Params:  "AbsoluteSecurityDescriptor SelfRelativeSecurityDescriptor BufferLength",
		MaxIRQL: pageable, Support: Full},
	{Name: "RtlSetOwnerSecurityDescriptor", Fn: fn3(rtlSetOwnerSecurityDescriptor),
		Params: "SecurityDescriptor Owner OwnerDefaulted:b", MaxIRQL: pageable, Support: Full},
	{Name: "RtlSetGroupSecurityDescriptor", Fn: fn3(rtlSetGroupSecurityDescriptor),
		Params: "SecurityDescriptor Group GroupDefaulted:b", MaxIRQL: pageable, Support: Full},
	{Name: "RtlSetDaclSecurityDescriptor", Fn: fn4(rtlSetDaclSecurityDescriptor),
		Params: "SecurityDescriptor DaclPresent:b Dacl DaclDefaulted:b", MaxIRQL: pageable,
		Support: Full},
	{Name: "RtlSetSaclSecurityDescriptor", Fn: fn4(rtlSetSaclSecurityDescriptor),
		Params: "SecurityDescriptor SaclPresent:b Sacl SaclDefaulted:b", MaxIRQL: pageable,
		Support: Full},
	{Name: "RtlGetOwnerSecurityDescriptor", Fn: fn3(rtlGetOwnerSecurityDescriptor),
		Params: "SecurityDescriptor Owner OwnerDefaulted", MaxIRQL: pageable, Support: Full},
	{Name: "RtlGetGroupSecurityDescriptor", Fn: fn3(rtlGetGroupSecurityDescriptor),
		Params: "SecurityDescriptor Group GroupDefaulted", MaxIRQL: pageable, Support: Full},
	{Name: "RtlGetDaclSecurityDescriptor", Fn: fn4(rtlGetDaclSecurityDescriptor),
		Params: "SecurityDescriptor DaclPresent Dacl DaclDefaulted", MaxIRQL: pageable,
		Support: Full},
	{Name: "RtlGetSaclSecurityDescriptor", Fn: fn4(rtlGetSaclSecurityDescriptor),
		Params: "SecurityDescriptor SaclPresent Sacl SaclDefaulted", MaxIRQL: pageable,
		Support: Full},
}

func rtlValidSid(c *Call, sid guest.Addr) nt.Boolean { return boolean(rtl.ValidSid(sid)) }

func rtlValidAcl(c *Call, acl guest.Addr) nt.Boolean { return boolean(rtl.ValidAcl(acl)) }

func rtlFirstFreeAce(c *Call, acl, first guest.Addr) nt.Boolean {
	a, ok, err := rtl.FirstFreeAce(acl)
	c.Must(err)
	Store(c, first, a)
	return boolean(ok)
}

// rtlGetAce gives the address of an entry.
//
//	NTSTATUS RtlGetAce(PACL Acl, ULONG AceIndex, PVOID *Ace)
//
// STATUS_INVALID_PARAMETER. "RtlGetAce function (ntifs.h)".
func rtlGetAce(c *Call, acl guest.Addr, i uint32, ace guest.Addr) nt.Status {
	a, err := rtl.GetAce(acl, i)
	if err == nil {
		Store(c, ace, a)
	}
	return c.status(err)
}

// addAce makes an export that adds an entry with a mask and a SID to an ACL.
//
//	NTSTATUS RtlAddAccessAllowedAce(PACL Acl, ULONG AceRevision, ACCESS_MASK AccessMask, PSID Sid)
//
// STATUS_INVALID_ACL, STATUS_INVALID_SID, STATUS_REVISION_MISMATCH, STATUS_ALLOTTED_SPACE_EXCEEDED.
// "RtlAddAccessAllowedAce function (ntifs.h)".
func addAce(kind uint8) Func {
	return fn4(func(c *Call, acl guest.Addr, revision, mask uint32, sid guest.Addr) nt.Status {
		return c.status(rtl.AddKnownAce(acl, revision, kind, 0, mask, sid))
	})
}

// addAceEx is addAce with flags for inheritance.
//
//	NTSTATUS RtlAddAccessAllowedAceEx(PACL Acl, ULONG AceRevision, ULONG AceFlags,
//	    ACCESS_MASK AccessMask, PSID Sid)
//
// STATUS_INVALID_PARAMETER for other flags. "RtlAddAccessAllowedAceEx function (ntifs.h)".
func addAceEx(kind uint8) Func {
	return fn5(func(c *Call, acl guest.Addr, revision, flags, mask uint32, sid guest.Addr) nt.Status {
		if flags > 0xFF {
			return nt.STATUS_INVALID_PARAMETER
		}
		return c.status(rtl.AddKnownAce(acl, revision, kind, uint8(flags), mask, sid))
	})
}

func rtlValidSecurityDescriptor(c *Call, sd guest.Addr) nt.Boolean {
	return boolean(rtl.ValidSecurityDescriptor(sd))
}

func rtlValidRelativeSecurityDescriptor(c *Call, sd guest.Addr, size, required uint32) nt.Boolean {
	return boolean(rtl.ValidRelativeSecurityDescriptor(sd, size, required))
}

// rtlSetOwnerSecurityDescriptor sets the owner in an absolute descriptor.
//
//	NTSTATUS RtlSetOwnerSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor, PSID Owner,
//	    BOOLEAN OwnerDefaulted)
//
// STATUS_UNKNOWN_REVISION, STATUS_INVALID_SECURITY_DESCR.
// "RtlSetOwnerSecurityDescriptor function (ntifs.h)".
func rtlSetOwnerSecurityDescriptor(c *Call, sd, owner guest.Addr, defaulted nt.Boolean) nt.Status {
	return c.status(rtl.SetOwner(sd, owner, defaulted != 0))
}

// rtlSetGroupSecurityDescriptor sets the primary group.
//
//	NTSTATUS RtlSetGroupSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor, PSID Group,
//	    BOOLEAN GroupDefaulted)
//
// "RtlSetGroupSecurityDescriptor function (ntifs.h)".
func rtlSetGroupSecurityDescriptor(c *Call, sd, group guest.Addr, defaulted nt.Boolean) nt.Status {
	return c.status(rtl.SetGroup(sd, group, defaulted != 0))
}

// rtlSetDaclSecurityDescriptor sets or removes the DACL; one that is present and null lets everybody
// do everything.
//
//	NTSTATUS RtlSetDaclSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor,
//	    BOOLEAN DaclPresent, PACL Dacl, BOOLEAN DaclDefaulted)
//
// "RtlSetDaclSecurityDescriptor function (wdm.h)".
func rtlSetDaclSecurityDescriptor(c *Call, sd guest.Addr, present nt.Boolean, dacl guest.Addr,
	defaulted nt.Boolean) nt.Status {
	return c.status(rtl.SetDacl(sd, present != 0, dacl, defaulted != 0))
}

// rtlSetSaclSecurityDescriptor sets or removes the SACL.
//
//	NTSTATUS RtlSetSaclSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor,
//	    BOOLEAN SaclPresent, PACL Sacl, BOOLEAN SaclDefaulted)
func rtlSetSaclSecurityDescriptor(c *Call, sd guest.Addr, present nt.Boolean, sacl guest.Addr,
	defaulted nt.Boolean) nt.Status {
	return c.status(rtl.SetSacl(sd, present != 0, sacl, defaulted != 0))
}

// rtlGetOwnerSecurityDescriptor gives the owner, NULL if there is none.
//
//	NTSTATUS RtlGetOwnerSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor, PSID *Owner,
//	    PBOOLEAN OwnerDefaulted)
//
// STATUS_UNKNOWN_REVISION. "RtlGetOwnerSecurityDescriptor function (ntifs.h)".
func rtlGetOwnerSecurityDescriptor(c *Call, sd, owner, defaulted guest.Addr) nt.Status {
	d, err := rtl.LoadSecurityDescriptor(sd)
	if err == nil {
		Store(c, owner, d.Owner)
		Store(c, defaulted, boolean(d.Control&nt.SE_OWNER_DEFAULTED != 0))
	}
	return c.status(err)
}

// rtlGetGroupSecurityDescriptor gives the primary group.
//
//	NTSTATUS RtlGetGroupSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor, PSID *Group,
//	    PBOOLEAN GroupDefaulted)
//
// "RtlGetGroupSecurityDescriptor function (ntifs.h)".
func rtlGetGroupSecurityDescriptor(c *Call, sd, group, defaulted guest.Addr) nt.Status {
	d, err := rtl.LoadSecurityDescriptor(sd)
	if err == nil {
		Store(c, group, d.Group)
		Store(c, defaulted, boolean(d.Control&nt.SE_GROUP_DEFAULTED != 0))
	}
	return c.status(err)
}

// rtlGetDaclSecurityDescriptor gives the DACL. Without one, only *DaclPresent is written.
//
//	NTSTATUS RtlGetDaclSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor,
//	    PBOOLEAN DaclPresent, PACL *Dacl, PBOOLEAN DaclDefaulted)
//
// "RtlGetDaclSecurityDescriptor function (ntifs.h)".
func rtlGetDaclSecurityDescriptor(c *Call, sd, present, dacl, defaulted guest.Addr) nt.Status {
	d, err := rtl.LoadSecurityDescriptor(sd)
	if err == nil {
		storeAcl(c, d.Control, nt.SE_DACL_PRESENT, nt.SE_DACL_DEFAULTED, d.Dacl, present, dacl,
			defaulted)
	}
	return c.status(err)
}

// rtlGetSaclSecurityDescriptor gives the SACL in the same way.
//
//	NTSTATUS RtlGetSaclSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor,
//	    PBOOLEAN SaclPresent, PACL *Sacl, PBOOLEAN SaclDefaulted)
//
// "RtlGetSaclSecurityDescriptor function (ntifs.h)".
func rtlGetSaclSecurityDescriptor(c *Call, sd, present, sacl, defaulted guest.Addr) nt.Status {
	d, err := rtl.LoadSecurityDescriptor(sd)
	if err == nil {
		storeAcl(c, d.Control, nt.SE_SACL_PRESENT, nt.SE_SACL_DEFAULTED, d.Sacl, present, sacl,
			defaulted)
	}
	return c.status(err)
}

func storeAcl(c *Call, control, isPresent, isDefaulted uint16, acl guest.Addr,
	present, at, defaulted guest.Addr) {
	has := control&isPresent != 0
	Store(c, present, boolean(has))
	if has {
		Store(c, at, acl)
		Store(c, defaulted, boolean(control&isDefaulted != 0))
	}
}
