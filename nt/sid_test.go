// SIDs read back as they were written, and bad ones are refused.
package nt_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

func TestSIDForms(t *testing.T) {
	for _, c := range []struct {
		sid          nt.SID
		text, binary string
	}{
		{nt.SIDNull, "S-1-0-0", "010100000000000000000000"},
		{nt.SIDWorld, "S-1-1-0", "010100000000000100000000"},
		{nt.SIDSystem, "S-1-5-18", "010100000000000512000000"},
		{nt.SIDAuthenticatedUsers, "S-1-5-11", "01010000000000050b000000"},
		{nt.SIDAdministrators, "S-1-5-32-544", "01020000000000052000000020020000"},
		{nt.SIDLabelMedium, "S-1-16-8192", "010100000000001000200000"},
		{nt.SIDForUID(1000), "S-1-22-1-1000", "010200000000001601000000e8030000"},
		{nt.SIDForGID(0xFFFFFFFF), "S-1-22-2-4294967295", "010200000000001602000000ffffffff"},
		{nt.SID{Authority: 1 << 40}, "S-1-0x010000000000", "0100010000000000"},
	} {
		assert.Equal(t, c.text, c.sid.String())
		got, err := nt.ParseSID(c.text)
		if assert.NoError(t, err, c.text) {
			assert.Equal(t, c.sid, got, c.text)
		}
		b, err := c.sid.AppendBinary(nil)
		require.NoError(t, err)
		assert.Equal(t, c.binary, hex.EncodeToString(b), c.text)
		assert.Equal(t, len(b), c.sid.Size(), c.text)
		got, n, err := nt.DecodeSID(append(b, 0xAA))
		if assert.NoError(t, err, c.text) {
			assert.Equal(t, c.sid, got, c.text)
			assert.Equal(t, len(b), n, c.text)
		}
		for cut := range b {
			_, _, err := nt.DecodeSID(b[:cut])
			assert.Error(t, err, "%s cut to %d bytes", c.text, cut)
		}
	}
}

func TestSIDsOfLinuxUsersAndGroups(t *testing.T) {
	uid, ok := nt.SIDForUID(33).UID()
	assert.True(t, ok)
	assert.EqualValues(t, 33, uid)
	gid, ok := nt.SIDForGID(33).GID()
	assert.True(t, ok)
	assert.EqualValues(t, 33, gid)
	_, ok = nt.SIDForUID(33).GID()
	assert.False(t, ok, "a user is no group")
	_, ok = nt.SIDSystem.UID()
	assert.False(t, ok, "SYSTEM is no Linux user")
}

func TestBadSIDsAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "S", "S-1", "S-1-", "S-2-5-18", "X-1-5-18", "S-1-5-", "S-1-5-18-", "S-1-5--18", "S-1-5-x",
		"S-1-5-4294967296", "S-1-281474976710656-1", "S-1-0x-1", "S-1-0x1000000000000-1", "S-1-5-+1",
		"S-1-5" + strings.Repeat("-1", 16),
	} {
		_, err := nt.ParseSID(text)
		assert.Error(t, err, text)
	}
	_, err := nt.ParseSID("S-1-5" + strings.Repeat("-1", 15))
	assert.NoError(t, err)
	for fact, head := range map[string][]byte{
		"revision 2":         {2, 1, 0, 0, 0, 0, 0, 5},
		"revision 0":         {0, 1, 0, 0, 0, 0, 0, 5},
		"16 sub-authorities": {1, 16, 0, 0, 0, 0, 0, 5},
	} {
		_, _, err := nt.DecodeSID(append(head, make([]byte, 80)...))
		assert.Error(t, err, fact)
	}
}

func FuzzSID(f *testing.F) {
	f.Add("S-1-5-32-544", []byte{1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0})
	f.Fuzz(func(t *testing.T, text string, b []byte) {
		if s, err := nt.ParseSID(text); err == nil {
			again, err := nt.ParseSID(s.String())
			require.NoError(t, err)
			require.Equal(t, s, again)
		}
		if s, n, err := nt.DecodeSID(b); err == nil {
			out, err := s.AppendBinary(nil)
			require.NoError(t, err)
			require.Equal(t, b[:n], out)
		}
	})
}
