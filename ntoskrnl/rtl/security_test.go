package rtl

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func (m *memory) sid(s nt.SID) nt.Addr {
	m.t.Helper()
	a := m.alloc(nt.SECURITY_MAX_SID_SIZE)
	_, err := StoreSid(a, s)
	require.NoError(m.t, err)
	return a
}

func TestSid(t *testing.T) {
	m := newMemory(t)
	system, admins := m.sid(nt.SIDSystem), m.sid(nt.SIDAdministrators)
	bad := m.bytes([]byte{2, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0})
	long := m.bytes([]byte{1, 16, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0})

	require.EqualValues(t, 12, LengthRequiredSid(1))
	n, err := LengthSid(admins)
	require.NoError(t, err)
	require.EqualValues(t, 16, n)
	for a, want := range map[nt.Addr]bool{
		system: true, admins: true, bad: false, long: false, unmapped: false, 0: false,
		m.atEnd([]byte{1, 1, 0, 0, 0, 0, 0, 5}): false,
	} {
		require.Equal(t, want, ValidSid(a))
	}

	made := m.alloc(32)
	authority := m.bytes([]byte{0, 0, 0, 0, 0, 5})
	require.NoError(t, InitializeSid(made, authority, 2))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, InitializeSid(made, authority, 16))
	require.NoError(t, guest.Store32(SubAuthoritySid(made, 0), 32))
	require.NoError(t, guest.Store32(SubAuthoritySid(made, 1), 544))
	got, err := LoadSid(made)
	require.NoError(t, err)
	require.Equal(t, nt.SIDAdministrators, got)
	count, err := guest.Load8(SubAuthorityCountSid(made))
	require.NoError(t, err)
	require.EqualValues(t, 2, count)
	require.Equal(t, []byte{0, 0, 0, 0, 0, 5}, m.read(IdentifierAuthoritySid(made), 6))

	eq, err := EqualSid(made, admins)
	require.NoError(t, err)
	require.True(t, eq)
	eq, err = EqualSid(made, system)
	require.NoError(t, err)
	require.False(t, eq)

	dst := m.alloc(32)
	require.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, CopySid(15, dst, admins))
	require.NoError(t, CopySid(16, dst, admins))
	require.Equal(t, m.read(admins, 16), m.read(dst, 16))

	text := m.ubuf(40)
	require.NoError(t, ConvertSidToUnicodeString(text, admins, nil))
	require.Equal(t, "S-1-5-32-544", m.text(text))
	require.NoError(t, ConvertSidToUnicodeString(text, system, m.pool))
	require.Equal(t, "S-1-5-18", m.cwstr(m.header(text).Buffer))
	require.EqualValues(t, 18, m.header(text).MaximumLength)
	require.Equal(t, nt.STATUS_BUFFER_OVERFLOW, ConvertSidToUnicodeString(m.ubuf(10), admins, nil))
	require.Equal(t, nt.STATUS_INVALID_SID, ConvertSidToUnicodeString(text, bad, nil))
	require.Equal(t, nt.STATUS_NO_MEMORY, ConvertSidToUnicodeString(text, system, noPool))
}

func TestAcl(t *testing.T) {
	m := newMemory(t)
	system, admins := m.sid(nt.SIDSystem), m.sid(nt.SIDAdministrators)
	acl := m.alloc(256)
	require.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, CreateAcl(acl, 7, 2))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, CreateAcl(acl, 64, 1))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, CreateAcl(acl, 64, 5))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, CreateAcl(acl, 0x10000, 2))
	require.NoError(t, CreateAcl(acl, 8+20+24+3, 2))
	require.Equal(t, []byte{2, 0, 52, 0, 0, 0, 0, 0}, m.read(acl, 8), "the size is cut to 4")
	require.True(t, ValidAcl(acl))

	allow := nt.ACCESS_ALLOWED_ACE_TYPE
	require.NoError(t, AddKnownAce(acl, 2, allow, 0, 0x1F01FF, system))
	require.NoError(t, AddKnownAce(acl, 2, nt.ACCESS_DENIED_ACE_TYPE, nt.CONTAINER_INHERIT_ACE, 0x10, admins))
	require.Equal(t, nt.STATUS_ALLOTTED_SPACE_EXCEEDED, AddKnownAce(acl, 2, allow, 0, 1, system))
	require.Equal(t, []byte{0, 0, 20, 0, 0xFF, 1, 0x1F, 0, 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0}, m.read(acl+8, 20))
	require.True(t, ValidAcl(acl))
	free, ok, err := FirstFreeAce(acl)
	require.NoError(t, err)
	require.True(t, ok)
	require.Zero(t, free, "the ACL is full")

	second, err := GetAce(acl, 1)
	require.NoError(t, err)
	require.Equal(t, acl+28, second)
	require.Equal(t, []byte{1, 2, 24, 0, 0x10, 0, 0, 0}, m.read(second, 8))
	_, err = GetAce(acl, 2)
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, err)

	require.Equal(t, nt.STATUS_INVALID_PARAMETER, DeleteAce(acl, 2))
	require.NoError(t, DeleteAce(acl, 0))
	require.True(t, ValidAcl(acl))
	require.Equal(t, []byte{1, 2, 24, 0}, m.read(acl+8, 4))
	free, ok, err = FirstFreeAce(acl)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, acl+32, free)
	require.Equal(t, make([]byte, 20), m.read(free, 20))

	require.Equal(t, nt.STATUS_REVISION_MISMATCH, AddKnownAce(acl, 5, allow, 0, 1, system))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, AddKnownAce(acl, 2, allow, 0x40, 1, system))
	require.Equal(t, nt.STATUS_INVALID_SID, AddKnownAce(acl, 2, allow, 0, 1, acl))
	require.NoError(t, AddKnownAce(acl, 4, nt.SYSTEM_AUDIT_ACE_TYPE, 0x40, 1, system))
	require.EqualValues(t, 4, m.read(acl, 1)[0], "the revision rises with the entry's")

	t.Run("malformed ACLs", func(t *testing.T) {
		for name, b := range map[string][]byte{
			"revision 1":              {1, 0, 8, 0, 0, 0, 0, 0},
			"size below the header":   {2, 0, 4, 0, 0, 0, 0, 0},
			"an entry beyond the end": {2, 0, 12, 0, 1, 0, 0, 0, 0, 0, 8, 0},
			"an entry of size 0":      {2, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
			"more entries than fit":   {2, 0, 8, 0, 0xFF, 0xFF, 0, 0},
			"a SID beyond its entry":  {2, 0, 20, 0, 1, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 1, 1, 0, 0},
		} {
			a := m.bytes(b)
			require.False(t, ValidAcl(a), name)
			if b[0] == 2 {
				require.Equal(t, nt.STATUS_INVALID_ACL, AddKnownAce(a, 2, allow, 0, 1, system), name)
			}
			_, err := GetAce(a, 0)
			if b[4] == 0 || name == "an entry beyond the end" || name == "an entry of size 0" {
				require.Equal(t, nt.STATUS_INVALID_PARAMETER, err, name)
			}
		}
		require.False(t, ValidAcl(unmapped))
		_, _, err := FirstFreeAce(unmapped)
		requireFault(t, err, unmapped)
	})
}

func TestSecurityDescriptor(t *testing.T) {
	m := newMemory(t)
	sd := m.alloc(40)
	require.NoError(t, guest.Fill(sd, 0xEE, 40))
	require.Equal(t, nt.STATUS_UNKNOWN_REVISION, CreateSecurityDescriptor(sd, 2))
	require.NoError(t, CreateSecurityDescriptor(sd, 1))
	require.Equal(t, append([]byte{1}, make([]byte, 39)...), m.read(sd, 40))
	require.True(t, ValidSecurityDescriptor(sd))
	n, err := LengthSecurityDescriptor(sd)
	require.NoError(t, err)
	require.EqualValues(t, 40, n)

	owner, group := m.sid(nt.SIDSystem), m.sid(nt.SIDAdministrators)
	dacl := m.alloc(64)
	require.NoError(t, CreateAcl(dacl, 64, 2))
	require.NoError(t, AddKnownAce(dacl, 2, nt.ACCESS_ALLOWED_ACE_TYPE, 0, 0x1F01FF, owner))
	require.NoError(t, SetOwner(sd, owner, false))
	require.NoError(t, SetGroup(sd, group, true))
	require.NoError(t, SetDacl(sd, true, dacl, false))
	d, err := LoadSecurityDescriptor(sd)
	require.NoError(t, err)
	require.Equal(t, nt.SecurityDescriptor{
		Revision: 1, Control: nt.SE_DACL_PRESENT | nt.SE_GROUP_DEFAULTED, Owner: owner, Group: group, Dacl: dacl,
	}, d)
	require.True(t, ValidSecurityDescriptor(sd))
	n, err = LengthSecurityDescriptor(sd)
	require.NoError(t, err)
	require.EqualValues(t, 40+12+16+64, n)

	size, dst := m.alloc(4), m.alloc(256)
	require.NoError(t, guest.Store32(size, 10))
	require.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, AbsoluteToSelfRelativeSD(sd, dst, size))
	need, err := guest.Load32(size)
	require.NoError(t, err)
	require.EqualValues(t, 20+12+16+64, need)
	require.NoError(t, AbsoluteToSelfRelativeSD(sd, dst, size))
	rel, err := LoadSecurityDescriptor(dst)
	require.NoError(t, err)
	require.Equal(t, d.Control|nt.SE_SELF_RELATIVE, rel.Control)
	require.Equal(t, []nt.Addr{dst + 20, dst + 84, dst + 96, 0}, []nt.Addr{rel.Dacl, rel.Owner, rel.Group, rel.Sacl})
	require.True(t, ValidSecurityDescriptor(dst))
	require.True(t, ValidRelativeSecurityDescriptor(dst, need, nt.OWNER_SECURITY_INFORMATION|nt.DACL_SECURITY_INFORMATION))
	require.False(t, ValidRelativeSecurityDescriptor(dst, need, nt.SACL_SECURITY_INFORMATION))
	require.False(t, ValidRelativeSecurityDescriptor(dst, need-1, 0))
	require.False(t, ValidRelativeSecurityDescriptor(dst, 19, 0))
	require.False(t, ValidRelativeSecurityDescriptor(sd, 40, 0), "it is absolute")
	n, err = LengthSecurityDescriptor(dst)
	require.NoError(t, err)
	require.Equal(t, need, n)
	require.Equal(t, nt.STATUS_BAD_DESCRIPTOR_FORMAT, AbsoluteToSelfRelativeSD(dst, sd, size))
	require.Equal(t, nt.STATUS_INVALID_SECURITY_DESCR, SetOwner(dst, owner, false))
	require.Equal(t, nt.STATUS_INVALID_SECURITY_DESCR, SetDacl(dst, true, 0, false))

	require.NoError(t, SetDacl(sd, false, 0, false))
	require.NoError(t, SetSacl(sd, true, dacl, true))
	d, err = LoadSecurityDescriptor(sd)
	require.NoError(t, err)
	require.Equal(t, nt.SE_SACL_PRESENT|nt.SE_SACL_DEFAULTED|nt.SE_GROUP_DEFAULTED, d.Control)
	require.Zero(t, d.Dacl)
	require.Equal(t, dacl, d.Sacl)
	require.NoError(t, SetSacl(sd, false, 0, false))

	require.NoError(t, SetOwner(sd, unmapped, false))
	require.False(t, ValidSecurityDescriptor(sd))
	require.False(t, ValidSecurityDescriptor(unmapped))
	_, err = LengthSecurityDescriptor(sd)
	requireFault(t, err, unmapped+1)
	require.NoError(t, guest.Store8(sd, 9))
	require.Equal(t, nt.STATUS_UNKNOWN_REVISION, SetGroup(sd, group, false))
}
