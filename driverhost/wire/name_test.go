package wire

import (
	"strings"
	"testing"

	"github.com/drvhost/drvhost/nt"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFileNamesOfDevices(t *testing.T) {
	for name, file := range map[string]string{
		"Echo": "ECHO", "echo": "ECHO", "C:": "C:", "COM1": "COM1", "a b": "A%0020B",
		"..": "%002E%002E", "a/b": "A%002FB", "100%": "100%0025", "größe": "GR%00D6%00DFE",
		"😀": "%D83D%DE00", "\xed\xa0\x80": "%D800", "ı": "%0131",
		`##?#USB#VID_1&PID_2#{a-b}`: "##%003F#USB#VID_1&PID_2#{A-B}",
	} {
		got, err := EscapeName(name)
		require.NoError(t, err, name)
		assert.Equal(t, file, got)
		back, ok := UnescapeName(got)
		assert.True(t, ok)
		again, err := EscapeName(back)
		require.NoError(t, err)
		assert.Equal(t, got, again)
	}
	for name, status := range map[string]nt.Status{
		"": nt.STATUS_OBJECT_NAME_INVALID, `a\b`: nt.STATUS_OBJECT_NAME_INVALID,
		"a\x00": nt.STATUS_OBJECT_NAME_INVALID, strings.Repeat("x", 256): nt.STATUS_NAME_TOO_LONG,
		strings.Repeat(".", 52): nt.STATUS_NAME_TOO_LONG,
	} {
		_, err := EscapeName(name)
		assert.ErrorIs(t, err, status, "%q", name)
	}
	for _, file := range []string{"", "echo", "%", "%00", "%002e", "%0041", "a.b", "%005C"} {
		_, ok := UnescapeName(file)
		assert.False(t, ok, "%q is not what EscapeName gives", file)
	}
}

func TestDeviceNamesSplitIntoLinkAndRest(t *testing.T) {
	for name, want := range map[string][2]string{
		`\\.\Echo`: {"Echo", ""}, `//./Echo`: {"Echo", ""}, `\\?\Echo\`: {"Echo", `\`},
		`\??\Echo\a\b`: {"Echo", `\a\b`}, `Echo`: {"Echo", ""}, `\GLOBAL??\C:`: {"C:", ""},
		`\DosDevices\Global\Echo`: {"Echo", ""}, `\\.\`: {"", ""}, ``: {"", ""}, `\x`: {"", `\x`},
	} {
		link, rest := SplitDeviceName(name)
		assert.Equal(t, want, [2]string{link, rest}, name)
	}
}

func FuzzDeviceNames(f *testing.F) {
	f.Add(`\\.\Echo\sub`)
	f.Add("\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, name string) {
		link, _ := SplitDeviceName(name)
		file, err := EscapeName(link)
		if err != nil {
			return
		}
		if strings.ContainsAny(file, "/\x00.") || len(file) > 255 {
			t.Fatalf("%q is the file %q", link, file)
		}
		back, ok := UnescapeName(file)
		if !ok {
			t.Fatalf("%q is the file %q, which is nothing", link, file)
		}
		if again, err := EscapeName(back); err != nil || again != file {
			t.Fatalf("%q: %q, then %q", link, file, again)
		}
	})
}
