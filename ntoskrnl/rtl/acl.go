package rtl

// ACLs in guest memory: RtlCreateAcl, RtlAddAccessAllowedAce, RtlGetAce….

import (
	"encoding/binary"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

const mostAclRevision = nt.ACL_REVISION_DS

func loadACL(a nt.Addr) (nt.ACL, error) {
	var b [aclHeader]byte
	if err := guest.Read(b[:], a); err != nil {
		return nt.ACL{}, err
	}
	return nt.ACL{
		AclRevision: b[0], Sbz1: b[1],
		AclSize:  binary.LittleEndian.Uint16(b[2:]),
		AceCount: binary.LittleEndian.Uint16(b[4:]),
		Sbz2:     binary.LittleEndian.Uint16(b[6:]),
	}, nil
}

func storeACL(a nt.Addr, h nt.ACL) error {
	b := [aclHeader]byte{0: h.AclRevision, 1: h.Sbz1}
	binary.LittleEndian.PutUint16(b[2:], h.AclSize)
	binary.LittleEndian.PutUint16(b[4:], h.AceCount)
	binary.LittleEndian.PutUint16(b[6:], h.Sbz2)
	return guest.Write(a, b[:])
}

// CreateAcl is RtlCreateAcl: an empty ACL in size bytes at a. STATUS_BUFFER_TOO_SMALL below 8
// bytes, STATUS_INVALID_PARAMETER above 65535 or for a revision that is not 2, 3 or 4.
func CreateAcl(a nt.Addr, size, revision uint32) error {
	if size < aclHeader {
		return nt.STATUS_BUFFER_TOO_SMALL
	}
	if revision < nt.ACL_REVISION || revision > mostAclRevision || size > 0xFFFF {
		return nt.STATUS_INVALID_PARAMETER
	}
	return storeACL(a, nt.ACL{AclRevision: uint8(revision), AclSize: uint16(size) &^ 3})
}

// ACE is an entry of an ACL, where it lies and what its header says.
type ACE struct {
	Addr nt.Addr
	nt.ACEHeader
}

// walk goes through the entries of the ACL at a, up to its count or until visit says stop, and
// gives the offset behind the last one seen. STATUS_INVALID_ACL if an entry leaves the ACL.
func walkACL(a nt.Addr, h nt.ACL, visit func(i int, e ACE) (stop bool, err error)) (int, error) {
	at := aclHeader
	for i := range int(h.AceCount) {
		if at+aceHeader > int(h.AclSize) {
			return at, nt.STATUS_INVALID_ACL
		}
		var b [aceHeader]byte
		if err := guest.Read(b[:], a+nt.Addr(at)); err != nil {
			return at, err
		}
		e := ACE{a + nt.Addr(at), nt.ACEHeader{
			AceType: b[0], AceFlags: b[1], AceSize: binary.LittleEndian.Uint16(b[2:]),
		}}
		if e.AceSize < aceHeader || at+int(e.AceSize) > int(h.AclSize) {
			return at, nt.STATUS_INVALID_ACL
		}
		if visit != nil {
			if stop, err := visit(i, e); err != nil || stop {
				return at, err
			}
		}
		at += int(e.AceSize)
	}
	return at, nil
}

// ValidAcl is RtlValidAcl: revision, sizes, and the SIDs of allowed, denied and audit entries.
func ValidAcl(a nt.Addr) bool {
	h, err := loadACL(a)
	if err != nil || h.AclRevision < nt.ACL_REVISION || h.AclRevision > mostAclRevision ||
		h.AclSize < aclHeader || h.AclSize%4 != 0 {
		return false
	}
	_, err = walkACL(a, h, func(_ int, e ACE) (bool, error) {
		if e.AceSize%4 != 0 {
			return true, nt.STATUS_INVALID_ACL
		}
		if e.AceType > nt.SYSTEM_AUDIT_ACE_TYPE {
			return false, nil
		}
		s, err := LoadSid(e.Addr + 8)
		if err != nil {
			return true, err
		}
		if 8+s.Size() > int(e.AceSize) {
			return true, nt.STATUS_INVALID_ACL
		}
		return false, nil
	})
	return err == nil
}

// FirstFreeAce is RtlFirstFreeAce: the address behind the last entry, null if the ACL is full;
// false if it is malformed.
func FirstFreeAce(a nt.Addr) (nt.Addr, bool, error) {
	h, err := loadACL(a)
	if err != nil {
		return 0, false, err
	}
	at, err := walkACL(a, h, nil)
	switch {
	case err == nt.STATUS_INVALID_ACL:
		return 0, false, nil
	case err != nil:
		return 0, false, err
	case at > int(h.AclSize):
		return 0, false, nil
	case at == int(h.AclSize):
		return 0, true, nil
	}
	return a + nt.Addr(at), true, nil
}

// GetAce is RtlGetAce: the address of entry i. STATUS_INVALID_PARAMETER for a wrong revision or
// index.
func GetAce(a nt.Addr, i uint32) (nt.Addr, error) {
	h, err := loadACL(a)
	if err != nil {
		return 0, err
	}
	if h.AclRevision < nt.ACL_REVISION || h.AclRevision > mostAclRevision || i >= uint32(h.AceCount) {
		return 0, nt.STATUS_INVALID_PARAMETER
	}
	var found nt.Addr
	_, err = walkACL(a, h, func(k int, e ACE) (bool, error) {
		found = e.Addr
		return uint32(k) == i, nil
	})
	if err == nt.STATUS_INVALID_ACL {
		err = nt.STATUS_INVALID_PARAMETER
	}
	if err != nil {
		return 0, err
	}
	return found, nil
}

// AddKnownAce is RtlAddAccessAllowedAceEx, RtlAddAccessDeniedAceEx and RtlAddAuditAccessAce, by
// kind: one of nt's three ACE types that are a mask and a SID. The row without "Ex" has flags 0.
//
// Statuses: STATUS_INVALID_SID, STATUS_REVISION_MISMATCH (a revision above 4),
// STATUS_INVALID_PARAMETER (flags), STATUS_INVALID_ACL, STATUS_ALLOTTED_SPACE_EXCEEDED.
func AddKnownAce(a nt.Addr, revision uint32, kind, flags uint8, mask uint32, sid nt.Addr) error {
	var buf [nt.SECURITY_MAX_SID_SIZE]byte
	s, err := loadSidBytes(sid, &buf)
	if err != nil {
		return err
	}
	h, err := loadACL(a)
	if err != nil {
		return err
	}
	if h.AclRevision > mostAclRevision || revision > mostAclRevision {
		return nt.STATUS_REVISION_MISMATCH
	}
	known := nt.OBJECT_INHERIT_ACE | nt.CONTAINER_INHERIT_ACE | nt.NO_PROPAGATE_INHERIT_ACE |
		nt.INHERIT_ONLY_ACE | nt.INHERITED_ACE
	if kind == nt.SYSTEM_AUDIT_ACE_TYPE {
		known |= 0xC0 // SUCCESSFUL_ACCESS_ACE_FLAG, FAILED_ACCESS_ACE_FLAG
	}
	if flags&^known != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	if !ValidAcl(a) {
		return nt.STATUS_INVALID_ACL
	}
	at, err := walkACL(a, h, nil)
	if err != nil {
		return err
	}
	size := aceHeader + 4 + len(s)
	if at+size > int(h.AclSize) {
		return nt.STATUS_ALLOTTED_SPACE_EXCEEDED
	}
	var b [aceHeader + 4 + nt.SECURITY_MAX_SID_SIZE]byte
	b[0], b[1] = kind, flags
	binary.LittleEndian.PutUint16(b[2:], uint16(size))
	binary.LittleEndian.PutUint32(b[4:], mask)
	copy(b[8:], s)
	if err := guest.Write(a+nt.Addr(at), b[:size]); err != nil {
		return err
	}
	h.AceCount++
	h.AclRevision = max(h.AclRevision, uint8(revision))
	return storeACL(a, h)
}

// DeleteAce is RtlDeleteAce: STATUS_INVALID_PARAMETER for a malformed ACL or no such entry.
func DeleteAce(a nt.Addr, i uint32) error {
	h, err := loadACL(a)
	if err != nil {
		return err
	}
	if !ValidAcl(a) || i >= uint32(h.AceCount) {
		return nt.STATUS_INVALID_PARAMETER
	}
	var gone ACE
	end, err := walkACL(a, h, func(k int, e ACE) (bool, error) {
		if uint32(k) == i {
			gone = e
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	next := gone.Addr + nt.Addr(gone.AceSize)
	if n := uintptr(a+nt.Addr(end)) - uintptr(next); n > 0 {
		if err := guest.Move(gone.Addr, next, n); err != nil {
			return err
		}
	}
	if err := guest.Fill(a+nt.Addr(end-int(gone.AceSize)), 0, uintptr(gone.AceSize)); err != nil {
		return err
	}
	h.AceCount--
	return storeACL(a, h)
}
