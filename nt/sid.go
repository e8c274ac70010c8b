// SIDs: their text and binary forms, the well-known ones, and those of Linux users and groups.
package nt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// What a SID may hold.
const (
	SID_REVISION            = 1
	SID_MAX_SUB_AUTHORITIES = 15
	SECURITY_MAX_SID_SIZE   = 68 // bytes, in binary form
)

// SID is a security identifier. It is comparable; the sub-authorities from Count on are 0.
//
// Source: [MS-DTYP] section 2.4.2, SID.
type SID struct {
	Authority      uint64 // 48 bits
	Count          uint8  // of sub-authorities
	SubAuthorities [SID_MAX_SUB_AUTHORITIES]uint32
}

// Well-known SIDs. Source: [MS-DTYP] section 2.4.2.4, Well-Known SID Structures.
var (
	SIDNull               = SID{Authority: 0, Count: 1}
	SIDWorld              = SID{Authority: 1, Count: 1}
	SIDLocal              = SID{Authority: 2, Count: 1}
	SIDCreatorOwner       = SID{Authority: 3, Count: 1}
	SIDCreatorGroup       = SID{Authority: 3, Count: 1, SubAuthorities: subs{1}}
	SIDOwnerRights        = SID{Authority: 3, Count: 1, SubAuthorities: subs{4}}
	SIDNetwork            = SID{Authority: 5, Count: 1, SubAuthorities: subs{2}}
	SIDBatch              = SID{Authority: 5, Count: 1, SubAuthorities: subs{3}}
	SIDInteractive        = SID{Authority: 5, Count: 1, SubAuthorities: subs{4}}
	SIDService            = SID{Authority: 5, Count: 1, SubAuthorities: subs{6}}
	SIDAnonymous          = SID{Authority: 5, Count: 1, SubAuthorities: subs{7}}
	SIDSelf               = SID{Authority: 5, Count: 1, SubAuthorities: subs{10}}
	SIDAuthenticatedUsers = SID{Authority: 5, Count: 1, SubAuthorities: subs{11}}
	SIDRestricted         = SID{Authority: 5, Count: 1, SubAuthorities: subs{12}}
	SIDSystem             = SID{Authority: 5, Count: 1, SubAuthorities: subs{18}}
	SIDLocalService       = SID{Authority: 5, Count: 1, SubAuthorities: subs{19}}
	SIDNetworkService     = SID{Authority: 5, Count: 1, SubAuthorities: subs{20}}
	SIDAdministrators     = SID{Authority: 5, Count: 2, SubAuthorities: subs{32, 544}}
	SIDUsers              = SID{Authority: 5, Count: 2, SubAuthorities: subs{32, 545}}
	SIDGuests             = SID{Authority: 5, Count: 2, SubAuthorities: subs{32, 546}}
	SIDPowerUsers         = SID{Authority: 5, Count: 2, SubAuthorities: subs{32, 547}}
	SIDLabelLow           = SID{Authority: 16, Count: 1, SubAuthorities: subs{0x1000}}
	SIDLabelMedium        = SID{Authority: 16, Count: 1, SubAuthorities: subs{0x2000}}
	SIDLabelHigh          = SID{Authority: 16, Count: 1, SubAuthorities: subs{0x3000}}
	SIDLabelSystem        = SID{Authority: 16, Count: 1, SubAuthorities: subs{0x4000}}
)

type subs = [SID_MAX_SUB_AUTHORITIES]uint32

// unixAuthority is the authority that Samba gives to users and groups of Unix.
const unixAuthority = 22

// SIDForUID gives S-1-22-1-uid, the SID of a Linux user.
func SIDForUID(uid uint32) SID {
	return SID{Authority: unixAuthority, Count: 2, SubAuthorities: subs{1, uid}}
}

// SIDForGID gives S-1-22-2-gid, the SID of a Linux group.
func SIDForGID(gid uint32) SID {
	return SID{Authority: unixAuthority, Count: 2, SubAuthorities: subs{2, gid}}
}

// UID gives the Linux user that the SID stands for, and false if it is no S-1-22-1-uid.
func (s SID) UID() (uid uint32, ok bool) {
	ok = s.Authority == unixAuthority && s.Count == 2 && s.SubAuthorities[0] == 1
	if ok {
		uid = s.SubAuthorities[1]
	}
	return uid, ok
}

// GID gives the Linux group that the SID stands for, and false if it is no S-1-22-2-gid.
func (s SID) GID() (gid uint32, ok bool) {
	ok = s.Authority == unixAuthority && s.Count == 2 && s.SubAuthorities[0] == 2
	if ok {
		gid = s.SubAuthorities[1]
	}
	return gid, ok
}

// String gives the SID as S-1-5-18; an authority of more than 32 bits is in hexadecimal.
func (s SID) String() string {
	b := append(make([]byte, 0, 32), "S-1-"...)
	if s.Authority < 1<<32 {
		b = strconv.AppendUint(b, s.Authority, 10)
	} else {
		b = fmt.Appendf(b, "0x%012X", s.Authority)
	}
	for _, v := range s.SubAuthorities[:min(s.Count, SID_MAX_SUB_AUTHORITIES)] {
		b = append(b, '-')
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return string(b)
}

// ParseSID reads the text form: S-1-5-32-544, with an authority in decimal or as 0x and 12 digits.
func ParseSID(text string) (SID, error) {
	fail := func(why string) (SID, error) { return SID{}, fmt.Errorf("SID %q: %s", text, why) }
	parts := strings.Split(text, "-")
	if len(parts) < 3 || (parts[0] != "S" && parts[0] != "s") {
		return fail("not of the form S-1-authority-…")
	}
	if parts[1] != "1" {
		return fail("the revision is not 1")
	}
	var s SID
	var err error
	if hex, ok := strings.CutPrefix(strings.ToLower(parts[2]), "0x"); ok {
		s.Authority, err = strconv.ParseUint(hex, 16, 48)
	} else {
		s.Authority, err = strconv.ParseUint(parts[2], 10, 48)
	}
	if err != nil {
		return fail("the authority is not a number of 48 bits")
	}
	if len(parts)-3 > SID_MAX_SUB_AUTHORITIES {
		return fail("more than 15 sub-authorities")
	}
	for i, p := range parts[3:] {
		v, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return fail(fmt.Sprintf("sub-authority %q is not a number of 32 bits", p))
		}
		s.SubAuthorities[i] = uint32(v)
		s.Count++
	}
	return s, nil
}

// Size gives the length of the binary form in bytes.
func (s SID) Size() int { return 8 + 4*int(min(s.Count, SID_MAX_SUB_AUTHORITIES)) }

// AppendBinary appends the binary form, as it lies in a SID structure. It never fails.
func (s SID) AppendBinary(b []byte) ([]byte, error) {
	n := min(s.Count, SID_MAX_SUB_AUTHORITIES)
	var authority [8]byte
	binary.BigEndian.PutUint64(authority[:], s.Authority)
	b = append(b, SID_REVISION, n)
	b = append(b, authority[2:]...)
	for _, v := range s.SubAuthorities[:n] {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b, nil
}

// DecodeSID reads the binary form at the beginning of b, and gives the number of bytes that it has.
func DecodeSID(b []byte) (s SID, size int, err error) {
	if len(b) < 8 {
		return SID{}, 0, errors.New("SID: shorter than 8 bytes")
	}
	if b[0] != SID_REVISION {
		return SID{}, 0, fmt.Errorf("SID: revision %d, want 1", b[0])
	}
	if b[1] > SID_MAX_SUB_AUTHORITIES {
		return SID{}, 0, fmt.Errorf("SID: %d sub-authorities, the most is 15", b[1])
	}
	s.Count = b[1]
	if len(b) < s.Size() {
		return SID{}, 0, fmt.Errorf("SID: %d bytes, needs %d", len(b), s.Size())
	}
	s.Authority = uint64(binary.BigEndian.Uint16(b[2:]))<<32 | uint64(binary.BigEndian.Uint32(b[4:]))
	for i := range int(s.Count) {
		s.SubAuthorities[i] = binary.LittleEndian.Uint32(b[8+4*i:])
	}
	return s, s.Size(), nil
}
