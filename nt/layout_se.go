// Layouts and constants of security: descriptors, ACLs, access checks.
package nt

// GenericMapping is GENERIC_MAPPING: what the generic rights mean for one type of object.
type GenericMapping struct {
	GenericRead    uint32
	GenericWrite   uint32
	GenericExecute uint32
	GenericAll     uint32
}

// SecurityDescriptor is SECURITY_DESCRIPTOR, the form with addresses.
type SecurityDescriptor struct {
	Revision uint8
	Sbz1     uint8
	Control  uint16 // SE_*
	_        [ptrPad]byte
	Owner    Addr // SID
	Group    Addr // SID
	Sacl     Addr // ACL
	Dacl     Addr // ACL
}

// SecurityDescriptorRelative is SECURITY_DESCRIPTOR_RELATIVE: the same, with offsets from its
// beginning, and SE_SELF_RELATIVE set in Control.
type SecurityDescriptorRelative struct {
	Revision uint8
	Sbz1     uint8
	Control  uint16
	Owner    uint32
	Group    uint32
	Sacl     uint32
	Dacl     uint32
}

// The control bits of a security descriptor, and its revision.
const (
	SECURITY_DESCRIPTOR_REVISION = 1

	SE_OWNER_DEFAULTED       uint16 = 0x0001
	SE_GROUP_DEFAULTED       uint16 = 0x0002
	SE_DACL_PRESENT          uint16 = 0x0004
	SE_DACL_DEFAULTED        uint16 = 0x0008
	SE_SACL_PRESENT          uint16 = 0x0010
	SE_SACL_DEFAULTED        uint16 = 0x0020
	SE_DACL_AUTO_INHERIT_REQ uint16 = 0x0100
	SE_SACL_AUTO_INHERIT_REQ uint16 = 0x0200
	SE_DACL_AUTO_INHERITED   uint16 = 0x0400
	SE_SACL_AUTO_INHERITED   uint16 = 0x0800
	SE_DACL_PROTECTED        uint16 = 0x1000
	SE_SACL_PROTECTED        uint16 = 0x2000
	SE_SELF_RELATIVE         uint16 = 0x8000
)

// ACL is the head of an ACL; AceCount entries follow it.
type ACL struct {
	AclRevision uint8
	Sbz1        uint8
	AclSize     uint16 // bytes, with the entries
	AceCount    uint16
	Sbz2        uint16
}

// ACL revisions.
const (
	ACL_REVISION    = 2
	ACL_REVISION_DS = 4
)

// ACEHeader is ACE_HEADER: what every entry of an ACL begins with.
type ACEHeader struct {
	AceType  uint8
	AceFlags uint8
	AceSize  uint16 // bytes, with the SID
}

// AccessAllowedACE is ACCESS_ALLOWED_ACE; ACCESS_DENIED_ACE and SYSTEM_AUDIT_ACE are the same. The
// SID begins at SidStart.
type AccessAllowedACE struct {
	Header   ACEHeader
	Mask     uint32
	SidStart uint32
}

// The types and flags of ACL entries.
const (
	ACCESS_ALLOWED_ACE_TYPE         uint8 = 0
	ACCESS_DENIED_ACE_TYPE          uint8 = 1
	SYSTEM_AUDIT_ACE_TYPE           uint8 = 2
	SYSTEM_MANDATORY_LABEL_ACE_TYPE uint8 = 0x11

	OBJECT_INHERIT_ACE       uint8 = 0x01
	CONTAINER_INHERIT_ACE    uint8 = 0x02
	NO_PROPAGATE_INHERIT_ACE uint8 = 0x04
	INHERIT_ONLY_ACE         uint8 = 0x08
	INHERITED_ACE            uint8 = 0x10
)

// The parts of a security descriptor (SECURITY_INFORMATION).
const (
	OWNER_SECURITY_INFORMATION uint32 = 0x1
	GROUP_SECURITY_INFORMATION uint32 = 0x2
	DACL_SECURITY_INFORMATION  uint32 = 0x4
	SACL_SECURITY_INFORMATION  uint32 = 0x8
	LABEL_SECURITY_INFORMATION uint32 = 0x10
)

// SecurityQualityOfService is SECURITY_QUALITY_OF_SERVICE.
type SecurityQualityOfService struct {
	Length              uint32
	ImpersonationLevel  uint32
	ContextTrackingMode uint8
	EffectiveOnly       Boolean
	_                   [2]byte
}

// Impersonation levels (SECURITY_IMPERSONATION_LEVEL).
const (
	SecurityAnonymous      uint32 = 0
	SecurityIdentification uint32 = 1
	SecurityImpersonation  uint32 = 2
	SecurityDelegation     uint32 = 3
)
