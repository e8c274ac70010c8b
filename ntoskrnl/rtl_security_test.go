package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

func TestSids(t *testing.T) {
	const ok = nt.STATUS_SUCCESS
	runCases(t, []exportCase{
		{"accepts S-1-5-18", "RtlValidSid", []any{raw(systemSID)}, true, nil},
		{"refuses revision 2", "RtlValidSid", []any{raw{2, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0}}, false,
			nil},
		{"refuses a bad address", "RtlValidSid", []any{0x10}, false, nil},
		{"compares", "RtlEqualSid", []any{raw(systemSID), raw(systemSID)}, true, nil},
		{"compares", "RtlEqualSid", []any{raw(systemSID), raw{1, 1, 0, 0, 0, 0, 0, 5, 19, 0, 0, 0}},
			false, nil},
		{"is 12 of S-1-5-18", "RtlLengthSid", []any{raw(systemSID)}, 12, nil},
		{"is 16 for two", "RtlLengthRequiredSid", []any{2}, 16, nil},
		{"sets all but sub-authorities", "RtlInitializeSid",
			[]any{room(16), raw{0, 0, 0, 0, 0, 5}, 2}, ok,
			map[int]any{0: raw{1, 2, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0}}},
		{"refuses 16", "RtlInitializeSid", []any{room(16), raw{0, 0, 0, 0, 0, 5}, 16},
			nt.STATUS_INVALID_PARAMETER, nil},
		{"is an address", "RtlSubAuthoritySid", []any{raw(systemSID), 0}, at{0, 8}, nil},
		{"is an address", "RtlSubAuthorityCountSid", []any{raw(systemSID)}, at{0, 1}, nil},
		{"is an address", "RtlIdentifierAuthoritySid", []any{raw(systemSID)}, at{0, 2}, nil},
		{"copies", "RtlCopySid", []any{12, room(16), raw(systemSID)}, ok,
			map[int]any{1: raw(systemSID)}},
		{"needs room", "RtlCopySid", []any{11, room(16), raw(systemSID)}, nt.STATUS_BUFFER_TOO_SMALL,
			nil},
		{"is text", "RtlConvertSidToUnicodeString", []any{uni{"", 64}, raw(systemSID), 0}, ok,
			map[int]any{0: uni{"S-1-5-18", 0}}},
		{"needs room", "RtlConvertSidToUnicodeString", []any{uni{"", 4}, raw(systemSID), 0},
			nt.STATUS_BUFFER_OVERFLOW, nil},
		{"refuses what is none", "RtlConvertSidToUnicodeString", []any{uni{"", 64}, room(16), 0},
			nt.STATUS_INVALID_SID, nil},
	})
}

func TestAcls(t *testing.T) {
	r := newRig(t)
	const ok, revision = nt.STATUS_SUCCESS, 2
	acl, sid, out := r.mem(256), r.bytes(systemSID), r.mem(8)
	require.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, r.status("RtlCreateAcl", acl, 4, revision))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("RtlCreateAcl", acl, 100, 9))
	require.Equal(t, ok, r.status("RtlCreateAcl", acl, 8+4*20, revision))
	require.EqualValues(t, 1, r.call("RtlValidAcl", acl))
	require.Equal(t, ok, r.status("RtlAddAccessAllowedAce", acl, revision, 0x1F01FF, sid))
	require.Equal(t, ok, r.status("RtlAddAccessAllowedAceEx", acl, revision, 2, 0x120089, sid))
	require.Equal(t, ok, r.status("RtlAddAccessDeniedAce", acl, revision, 1, sid))
	require.Equal(t, ok, r.status("RtlAddAccessDeniedAceEx", acl, revision, 0, 2, sid))
	require.Equal(t, nt.STATUS_ALLOTTED_SPACE_EXCEEDED,
		r.status("RtlAddAccessAllowedAce", acl, revision, 1, sid))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER,
		r.status("RtlAddAccessAllowedAceEx", acl, revision, 0x100, 1, sid))
	require.EqualValues(t, 1, r.call("RtlFirstFreeAce", acl, out))
	require.Zero(t, r.u64(out), "the ACL is full")

	require.Equal(t, ok, r.status("RtlGetAce", acl, 1, out))
	ace := r.u64(out)
	require.Equal(t, acl+8+20, ace)
	require.Equal(t, []byte{0, 2, 20, 0}, r.read(ace, 4), "allowed, with the flags")
	require.Equal(t, uint32(0x120089), r.u32(ace+4))
	require.Equal(t, systemSID, r.read(ace+8, 12))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("RtlGetAce", acl, 4, out))

	require.Equal(t, ok, r.status("RtlDeleteAce", acl, 0))
	require.Equal(t, ok, r.status("RtlGetAce", acl, 0, out))
	require.Equal(t, uint32(0x120089), r.u32(r.u64(out)+4), "the second is the first now")
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("RtlDeleteAce", acl, 3))
	r.write(acl, []byte{9})
	require.EqualValues(t, 0, r.call("RtlValidAcl", acl))
}

func TestSecurityDescriptors(t *testing.T) {
	r := newRig(t)
	const ok = nt.STATUS_SUCCESS
	sd, acl, sid := r.mem(64), r.mem(64), r.bytes(systemSID)
	ptr, flag, flag2 := r.mem(8), r.mem(8), r.mem(8)
	require.Equal(t, nt.STATUS_UNKNOWN_REVISION, r.status("RtlCreateSecurityDescriptor", sd, 2))
	require.Equal(t, ok, r.status("RtlCreateSecurityDescriptor", sd, 1))
	require.EqualValues(t, 1, r.call("RtlValidSecurityDescriptor", sd))

	for _, kind := range []string{"Dacl", "Sacl"} {
		require.Equal(t, ok, r.status("RtlGet"+kind+"SecurityDescriptor", sd, flag, ptr, flag2))
		require.EqualValues(t, 0, r.read(flag, 1)[0], "no %s", kind)
	}
	require.Equal(t, ok, r.status("RtlGetOwnerSecurityDescriptor", sd, ptr, flag))
	require.Zero(t, r.u64(ptr), "no owner")

	r.call("RtlCreateAcl", acl, 64, 2)
	r.call("RtlAddAccessAllowedAce", acl, 2, 0x1F01FF, sid)
	for _, kind := range []string{"Dacl", "Sacl"} {
		require.Equal(t, ok, r.status("RtlSet"+kind+"SecurityDescriptor", sd, 1, acl, 1))
		require.Equal(t, ok, r.status("RtlGet"+kind+"SecurityDescriptor", sd, flag, ptr, flag2))
		require.Equal(t, []byte{1}, r.read(flag, 1))
		require.Equal(t, acl, r.u64(ptr))
		require.Equal(t, []byte{1}, r.read(flag2, 1))
	}
	for _, kind := range []string{"Owner", "Group"} {
		require.Equal(t, ok, r.status("RtlSet"+kind+"SecurityDescriptor", sd, sid, 0))
		require.Equal(t, ok, r.status("RtlGet"+kind+"SecurityDescriptor", sd, ptr, flag))
		require.Equal(t, sid, r.u64(ptr))
		require.Equal(t, []byte{0}, r.read(flag, 1))
	}
	require.EqualValues(t, 1, r.call("RtlValidSecurityDescriptor", sd))

	relative, size := r.mem(256), r.mem(8)
	r.put32(size, 10)
	require.Equal(t, nt.STATUS_BUFFER_TOO_SMALL,
		r.status("RtlAbsoluteToSelfRelativeSD", sd, relative, size))
	n := r.u32(size)
	require.Equal(t, ok, r.status("RtlAbsoluteToSelfRelativeSD", sd, relative, size))
	require.Equal(t, n, uint32(r.call("RtlLengthSecurityDescriptor", relative)))
	require.Equal(t, n+40-20, uint32(r.call("RtlLengthSecurityDescriptor", sd)),
		"the header of an absolute one is larger")
	const owner, group, dacl = 1, 2, 4
	valid := func(n uint64) uint64 {
		return r.call("RtlValidRelativeSecurityDescriptor", relative, n, owner|group|dacl)
	}
	require.EqualValues(t, 1, valid(uint64(n)))
	require.EqualValues(t, 0, valid(uint64(n)-1))
	require.Equal(t, nt.STATUS_BAD_DESCRIPTOR_FORMAT,
		r.status("RtlAbsoluteToSelfRelativeSD", relative, r.mem(256), size))
	require.Equal(t, nt.STATUS_INVALID_SECURITY_DESCR,
		r.status("RtlSetOwnerSecurityDescriptor", relative, sid, 0), "it is self-relative")
}
