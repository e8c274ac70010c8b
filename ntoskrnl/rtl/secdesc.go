package rtl

// Security descriptors in guest memory: RtlCreateSecurityDescriptor, RtlSetDaclSecurityDescriptor,
// RtlAbsoluteToSelfRelativeSD….

import (
	"encoding/binary"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

const (
	absoluteSize = 5 * pointerSize // 40 bytes on x64, 20 on x86
	relativeSize = 20
)

// Offsets in an absolute descriptor.
const (
	absoluteOwner = pointerSize
	absoluteGroup = absoluteOwner + pointerSize
	absoluteSacl  = absoluteGroup + pointerSize
	absoluteDacl  = absoluteSacl + pointerSize
)

// CreateSecurityDescriptor is RtlCreateSecurityDescriptor: an empty absolute descriptor.
// STATUS_UNKNOWN_REVISION unless revision is 1.
func CreateSecurityDescriptor(a nt.Addr, revision uint32) error {
	if revision != nt.SECURITY_DESCRIPTOR_REVISION {
		return nt.STATUS_UNKNOWN_REVISION
	}
	b := [absoluteSize]byte{nt.SECURITY_DESCRIPTOR_REVISION}
	return guest.Write(a, b[:])
}

// LoadSecurityDescriptor reads the descriptor at a, absolute or self-relative, with its parts as
// addresses. A part that is not present is null. STATUS_UNKNOWN_REVISION unless the revision is 1.
func LoadSecurityDescriptor(a nt.Addr) (nt.SecurityDescriptor, error) {
	var b [absoluteSize]byte
	if err := guest.Read(b[:relativeSize], a); err != nil {
		return nt.SecurityDescriptor{}, err
	}
	d := nt.SecurityDescriptor{Revision: b[0], Sbz1: b[1], Control: binary.LittleEndian.Uint16(b[2:])}
	if d.Revision != nt.SECURITY_DESCRIPTOR_REVISION {
		return d, nt.STATUS_UNKNOWN_REVISION
	}
	if d.Control&nt.SE_SELF_RELATIVE != 0 {
		part := func(i int) nt.Addr {
			if off := binary.LittleEndian.Uint32(b[i:]); off != 0 {
				return a + nt.Addr(off)
			}
			return 0
		}
		d.Owner, d.Group, d.Sacl, d.Dacl = part(4), part(8), part(12), part(16)
	} else {
		if err := guest.Read(b[:], a); err != nil {
			return d, err
		}
		part := func(i int) nt.Addr { return nt.Addr(pointerAt(b[i:])) }
		d.Owner, d.Group = part(absoluteOwner), part(absoluteGroup)
		d.Sacl, d.Dacl = part(absoluteSacl), part(absoluteDacl)
	}
	if d.Control&nt.SE_SACL_PRESENT == 0 {
		d.Sacl = 0
	}
	if d.Control&nt.SE_DACL_PRESENT == 0 {
		d.Dacl = 0
	}
	return d, nil
}

// change sets a part of an absolute descriptor: the pointer at offset, and the control bits.
// STATUS_INVALID_SECURITY_DESCR if it is self-relative.
func changeDescriptor(a nt.Addr, offset nt.Addr, part nt.Addr, clear, set uint16) error {
	d, err := LoadSecurityDescriptor(a)
	if err != nil {
		return err
	}
	if d.Control&nt.SE_SELF_RELATIVE != 0 {
		return nt.STATUS_INVALID_SECURITY_DESCR
	}
	if err := guest.StoreAddr(a+offset, part); err != nil {
		return err
	}
	return guest.Store16(a+2, d.Control&^clear|set)
}

func when(b bool, bits uint16) uint16 {
	if b {
		return bits
	}
	return 0
}

// SetOwner is RtlSetOwnerSecurityDescriptor.
func SetOwner(a, owner nt.Addr, defaulted bool) error {
	return changeDescriptor(a, absoluteOwner, owner, nt.SE_OWNER_DEFAULTED,
		when(defaulted, nt.SE_OWNER_DEFAULTED))
}

// SetGroup is RtlSetGroupSecurityDescriptor.
func SetGroup(a, group nt.Addr, defaulted bool) error {
	return changeDescriptor(a, absoluteGroup, group, nt.SE_GROUP_DEFAULTED,
		when(defaulted, nt.SE_GROUP_DEFAULTED))
}

// SetDacl is RtlSetDaclSecurityDescriptor. Without present the descriptor has no DACL; present with
// a null dacl grants everyone everything.
func SetDacl(a nt.Addr, present bool, dacl nt.Addr, defaulted bool) error {
	if !present {
		return changeDescriptor(a, absoluteDacl, 0, nt.SE_DACL_PRESENT|nt.SE_DACL_DEFAULTED, 0)
	}
	return changeDescriptor(a, absoluteDacl, dacl, nt.SE_DACL_DEFAULTED,
		nt.SE_DACL_PRESENT|when(defaulted, nt.SE_DACL_DEFAULTED))
}

// SetSacl is RtlSetSaclSecurityDescriptor.
func SetSacl(a nt.Addr, present bool, sacl nt.Addr, defaulted bool) error {
	if !present {
		return changeDescriptor(a, absoluteSacl, 0, nt.SE_SACL_PRESENT|nt.SE_SACL_DEFAULTED, 0)
	}
	return changeDescriptor(a, absoluteSacl, sacl, nt.SE_SACL_DEFAULTED,
		nt.SE_SACL_PRESENT|when(defaulted, nt.SE_SACL_DEFAULTED))
}

// ValidSecurityDescriptor is RtlValidSecurityDescriptor: a known revision, valid SIDs and ACLs.
func ValidSecurityDescriptor(a nt.Addr) bool {
	d, err := LoadSecurityDescriptor(a)
	if err != nil {
		return false
	}
	return (d.Owner == 0 || ValidSid(d.Owner)) && (d.Group == 0 || ValidSid(d.Group)) &&
		(d.Dacl == 0 || ValidAcl(d.Dacl)) && (d.Sacl == 0 || ValidAcl(d.Sacl))
}

// ValidRelativeSecurityDescriptor is RtlValidRelativeSecurityDescriptor: the descriptor of size
// bytes at a is self-relative, all of it lies within size, and it has the parts that required names
// (OWNER_SECURITY_INFORMATION…).
func ValidRelativeSecurityDescriptor(a nt.Addr, size, required uint32) bool {
	if size < relativeSize {
		return false
	}
	d, err := LoadSecurityDescriptor(a)
	if err != nil || d.Control&nt.SE_SELF_RELATIVE == 0 {
		return false
	}
	fits := func(p nt.Addr, head, n int) bool {
		off := uint64(p - a)
		return off%4 == 0 && off >= relativeSize && off+uint64(max(head, n)) <= uint64(size)
	}
	sid := func(p nt.Addr, flag uint32) bool {
		if p == 0 {
			return required&flag == 0
		}
		if !fits(p, sidHeader, 0) {
			return false
		}
		s, err := LoadSid(p)
		return err == nil && fits(p, 0, s.Size())
	}
	acl := func(p nt.Addr, present uint16, flag uint32) bool {
		if d.Control&present == 0 {
			return required&flag == 0
		}
		if p == 0 {
			return true
		}
		if !fits(p, aclHeader, 0) {
			return false
		}
		h, err := loadACL(p)
		return err == nil && fits(p, 0, int(h.AclSize)) && ValidAcl(p)
	}
	return sid(d.Owner, nt.OWNER_SECURITY_INFORMATION) &&
		sid(d.Group, nt.GROUP_SECURITY_INFORMATION) &&
		acl(d.Dacl, nt.SE_DACL_PRESENT, nt.DACL_SECURITY_INFORMATION) &&
		acl(d.Sacl, nt.SE_SACL_PRESENT, nt.SACL_SECURITY_INFORMATION)
}

// parts gives the sizes of the parts of d, each rounded up to 4: owner, group, SACL, DACL.
func descriptorParts(d nt.SecurityDescriptor) (sizes [4]uint32, err error) {
	for i, p := range [...]nt.Addr{d.Owner, d.Group, d.Sacl, d.Dacl} {
		if p == 0 {
			continue
		}
		if i < 2 {
			if sizes[i], err = LengthSid(p); err != nil {
				return sizes, err
			}
			continue
		}
		h, err := loadACL(p)
		if err != nil {
			return sizes, err
		}
		sizes[i] = (uint32(h.AclSize) + 3) &^ 3
	}
	return sizes, nil
}

// LengthSecurityDescriptor is RtlLengthSecurityDescriptor: header and parts, in bytes.
func LengthSecurityDescriptor(a nt.Addr) (uint32, error) {
	d, err := LoadSecurityDescriptor(a)
	if err != nil && err != nt.STATUS_UNKNOWN_REVISION {
		return 0, err
	}
	sizes, err := descriptorParts(d)
	if err != nil {
		return 0, err
	}
	n := uint32(absoluteSize)
	if d.Control&nt.SE_SELF_RELATIVE != 0 {
		n = relativeSize
	}
	for _, s := range sizes {
		n += s
	}
	return n, nil
}

// AbsoluteToSelfRelativeSD is RtlAbsoluteToSelfRelativeSD: size is the address of the length of
// dst, which gets the length needed if that is too small (STATUS_BUFFER_TOO_SMALL).
// STATUS_BAD_DESCRIPTOR_FORMAT if src is self-relative already.
func AbsoluteToSelfRelativeSD(src, dst, size nt.Addr) error {
	d, err := LoadSecurityDescriptor(src)
	if err != nil {
		return err
	}
	if d.Control&nt.SE_SELF_RELATIVE != 0 {
		return nt.STATUS_BAD_DESCRIPTOR_FORMAT
	}
	sizes, err := descriptorParts(d)
	if err != nil {
		return err
	}
	need := uint32(relativeSize)
	for _, s := range sizes {
		need += s
	}
	have, err := guest.Load32(size)
	if err != nil {
		return err
	}
	if have < need {
		if err := guest.Store32(size, need); err != nil {
			return err
		}
		return nt.STATUS_BUFFER_TOO_SMALL
	}
	var head [relativeSize]byte
	head[0], head[1] = d.Revision, d.Sbz1
	binary.LittleEndian.PutUint16(head[2:], d.Control|nt.SE_SELF_RELATIVE)
	at := uint32(relativeSize)
	// Windows lays out SACL, DACL, owner, group; the header names owner, group, SACL, DACL.
	parts := [...]nt.Addr{d.Owner, d.Group, d.Sacl, d.Dacl}
	for _, i := range [...]int{2, 3, 0, 1} {
		if parts[i] == 0 {
			continue
		}
		if err := guest.Move(dst+nt.Addr(at), parts[i], uintptr(sizes[i])); err != nil {
			return err
		}
		binary.LittleEndian.PutUint32(head[4+4*i:], at)
		at += sizes[i]
	}
	return guest.Write(dst, head[:])
}
