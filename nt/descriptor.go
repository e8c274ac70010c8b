// Security descriptors as bytes, self-relative: [MS-DTYP] section 2.4.6.
package nt

import "encoding/binary"

// relativeHeader is the size of SECURITY_DESCRIPTOR_RELATIVE in bytes.
const relativeHeader = 20

// ValidRelativeDescriptor reports whether b is a self-relative security descriptor whose SIDs and
// ACLs lie inside it and are well formed.
func ValidRelativeDescriptor(b []byte) bool {
	_, err := ParseDescriptor(b)
	return err == nil
}

// ACE is an entry of a discretionary ACL.
type ACE struct {
	Type, Flags uint8
	Mask        uint32
	SID         SID
}

// Descriptor is a security descriptor, taken apart. Owner and Group are nil where it has none.
// Without SE_DACL_PRESENT, or with NullDACL, it lets everybody do everything.
type Descriptor struct {
	Control      uint16 // SE_*
	Owner, Group *SID
	NullDACL     bool
	DACL         []ACE
	SACL         []byte // as it stands
}

// ParseDescriptor reads a self-relative security descriptor. STATUS_INVALID_SECURITY_DESCR,
// STATUS_INVALID_SID, STATUS_INVALID_ACL, STATUS_UNKNOWN_REVISION.
func ParseDescriptor(b []byte) (d Descriptor, err error) {
	le := binary.LittleEndian
	if len(b) < relativeHeader {
		return d, STATUS_INVALID_SECURITY_DESCR
	}
	if b[0] != SECURITY_DESCRIPTOR_REVISION {
		return d, STATUS_UNKNOWN_REVISION
	}
	d.Control = le.Uint16(b[2:])
	if d.Control&SE_SELF_RELATIVE == 0 {
		return d, STATUS_INVALID_SECURITY_DESCR
	}
	at := func(field int) ([]byte, bool) {
		off := le.Uint32(b[field:])
		if off == 0 || off < relativeHeader || uint64(off) > uint64(len(b)) {
			return nil, off == 0
		}
		return b[off:], true
	}
	for i, to := range [...]**SID{&d.Owner, &d.Group} {
		part, ok := at(4 + 4*i)
		if !ok {
			return d, STATUS_INVALID_SECURITY_DESCR
		}
		if part == nil {
			continue
		}
		sid, _, e := DecodeSID(part)
		if e != nil {
			return d, STATUS_INVALID_SID
		}
		*to = &sid
	}
	sacl, ok := at(12)
	if !ok {
		return d, STATUS_INVALID_SECURITY_DESCR
	}
	if sacl != nil && d.Control&SE_SACL_PRESENT != 0 {
		if len(sacl) < 8 || int(le.Uint16(sacl[2:])) < 8 || int(le.Uint16(sacl[2:])) > len(sacl) {
			return d, STATUS_INVALID_ACL
		}
		d.SACL = sacl[:le.Uint16(sacl[2:])]
	}
	dacl, ok := at(16)
	switch {
	case !ok:
		return d, STATUS_INVALID_SECURITY_DESCR
	case d.Control&SE_DACL_PRESENT == 0:
		return d, nil
	case dacl == nil:
		d.NullDACL = true
		return d, nil
	}
	d.DACL, err = ParseACL(dacl)
	return d, err
}

// ParseACL reads an ACL. Entries that neither allow nor deny have no SID. STATUS_INVALID_ACL.
func ParseACL(b []byte) (aces []ACE, err error) {
	le := binary.LittleEndian
	if len(b) < 8 {
		return nil, STATUS_INVALID_ACL
	}
	size, count := int(le.Uint16(b[2:])), int(le.Uint16(b[4:]))
	if b[0] < ACL_REVISION || b[0] > ACL_REVISION_DS || size < 8 || size > len(b) {
		return nil, STATUS_INVALID_ACL
	}
	rest := b[8:size]
	for range count {
		if len(rest) < 4 {
			return nil, STATUS_INVALID_ACL
		}
		n := int(le.Uint16(rest[2:]))
		if n < 4 || n%4 != 0 || n > len(rest) {
			return nil, STATUS_INVALID_ACL
		}
		e := ACE{Type: rest[0], Flags: rest[1]}
		if e.Type == ACCESS_ALLOWED_ACE_TYPE || e.Type == ACCESS_DENIED_ACE_TYPE {
			if n < 8 {
				return nil, STATUS_INVALID_ACL
			}
			e.Mask = le.Uint32(rest[4:])
			if e.SID, _, err = DecodeSID(rest[8:n]); err != nil {
				return nil, STATUS_INVALID_ACL
			}
		}
		aces = append(aces, e)
		rest = rest[n:]
	}
	return aces, nil
}

// Append adds the descriptor to b, self-relative. Entries of the DACL that neither allow nor deny
// are left out.
func (d *Descriptor) Append(b []byte) []byte {
	le := binary.LittleEndian
	start := len(b)
	b = append(b, make([]byte, relativeHeader)...)
	place := func(field int) { le.PutUint32(b[start+field:], uint32(len(b)-start)) }
	control := d.Control | SE_SELF_RELATIVE
	for i, sid := range [...]*SID{d.Owner, d.Group} {
		if sid != nil {
			place(4 + 4*i)
			b, _ = sid.AppendBinary(b)
		}
	}
	if d.SACL != nil {
		control |= SE_SACL_PRESENT
		place(12)
		b = append(b, d.SACL...)
	}
	if control&SE_DACL_PRESENT != 0 && !d.NullDACL {
		place(16)
		b = appendACL(b, d.DACL)
	}
	b[start] = SECURITY_DESCRIPTOR_REVISION
	le.PutUint16(b[start+2:], control)
	return b
}

func appendACL(b []byte, aces []ACE) []byte {
	le := binary.LittleEndian
	start := len(b)
	b = append(b, ACL_REVISION, 0, 0, 0, 0, 0, 0, 0)
	n := uint16(0)
	for _, e := range aces {
		if e.Type > ACCESS_DENIED_ACE_TYPE {
			continue
		}
		n++
		b = append(b, e.Type, e.Flags)
		b = le.AppendUint16(b, uint16(8+e.SID.Size()))
		b = le.AppendUint32(b, e.Mask)
		b, _ = e.SID.AppendBinary(b)
	}
	le.PutUint16(b[start+2:], uint16(len(b)-start))
	le.PutUint16(b[start+4:], n)
	return b
}

// Part gives the descriptor with only those parts that a SECURITY_INFORMATION names.
func (d Descriptor) Part(info uint32) Descriptor {
	if info&OWNER_SECURITY_INFORMATION == 0 {
		d.Owner = nil
	}
	if info&GROUP_SECURITY_INFORMATION == 0 {
		d.Group = nil
	}
	if info&DACL_SECURITY_INFORMATION == 0 {
		d.Control &^= SE_DACL_PRESENT | SE_DACL_DEFAULTED | SE_DACL_PROTECTED | SE_DACL_AUTO_INHERITED
		d.DACL, d.NullDACL = nil, false
	}
	if info&SACL_SECURITY_INFORMATION == 0 {
		d.Control &^= SE_SACL_PRESENT | SE_SACL_DEFAULTED
		d.SACL = nil
	}
	return d
}

// Replace gives the descriptor with those parts that a SECURITY_INFORMATION names taken from by.
func (d Descriptor) Replace(info uint32, by Descriptor) Descriptor {
	if info&OWNER_SECURITY_INFORMATION != 0 {
		d.Owner = by.Owner
	}
	if info&GROUP_SECURITY_INFORMATION != 0 {
		d.Group = by.Group
	}
	const dacl = SE_DACL_PRESENT | SE_DACL_DEFAULTED | SE_DACL_PROTECTED | SE_DACL_AUTO_INHERITED
	if info&DACL_SECURITY_INFORMATION != 0 {
		d.Control = d.Control&^dacl | by.Control&dacl
		d.DACL, d.NullDACL = by.DACL, by.NullDACL
	}
	const sacl = SE_SACL_PRESENT | SE_SACL_DEFAULTED
	if info&SACL_SECURITY_INFORMATION != 0 {
		d.Control = d.Control&^sacl | by.Control&sacl
		d.SACL = by.SACL
	}
	return d
}

// AccessCheck gives the rights that a subject with these SIDs is granted of desired, a mask without
// generic rights, and whether that is all of them. With MAXIMUM_ALLOWED granted is everything that
// the subject may have ("How AccessCheck works", [MS-DTYP] section 2.5.3.2).
func (d *Descriptor) AccessCheck(subject []SID, desired uint32, mapping GenericMapping) (
	granted uint32, ok bool) {
	if d.Control&SE_DACL_PRESENT == 0 || d.NullDACL {
		if desired&MAXIMUM_ALLOWED != 0 {
			desired = desired&^MAXIMUM_ALLOWED | mapping.GenericAll
		}
		return desired, true
	}
	has := func(sid SID) bool {
		for _, s := range subject {
			if s == sid {
				return true
			}
		}
		return false
	}
	var denied uint32
	if d.Owner != nil && has(*d.Owner) {
		granted = READ_CONTROL | WRITE_DAC
	}
	for _, e := range d.DACL {
		if e.Flags&INHERIT_ONLY_ACE != 0 || !has(e.SID) {
			continue
		}
		mask := MapGenericAccess(e.Mask, mapping)
		switch e.Type {
		case ACCESS_ALLOWED_ACE_TYPE:
			granted |= mask &^ denied
		case ACCESS_DENIED_ACE_TYPE:
			denied |= mask &^ granted
		}
	}
	if desired&MAXIMUM_ALLOWED != 0 {
		want := desired &^ MAXIMUM_ALLOWED
		return granted | want, granted != 0 && want&^granted == 0
	}
	return desired & granted, desired&^granted == 0
}
