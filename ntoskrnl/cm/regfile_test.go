package cm

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

const sample = `Windows Registry Editor Version 5.00

; a comment
[HKEY_LOCAL_MACHINE\Software\Sample]
@="default"
"Text"="with \"quotes\" and \\ backslashes" ; and a comment
"Number"=dword:000000ff
"Bytes"=hex:01,02,\
  03,04
"Many"=hex(7):61,00,00,00,62,00,00,00,00,00
"Gone"=dword:1
"Gone"=-

[HKLM\Software\Sample\Sub]
[-HKLM\Software\Sample\Sub]
`

func TestRegFile(t *testing.T) {
	for name, data := range map[string][]byte{
		"UTF-8":                         []byte(sample),
		"UTF-8 with a mark and CR LF":   append([]byte("\xEF\xBB\xBF"), crlf(sample)...),
		"UTF-16 with a byte order mark": append([]byte{0xFF, 0xFE}, Encode(string(crlf(sample)), false)...),
	} {
		t.Run(name, func(t *testing.T) {
			r := newTree(t)
			edits, err := Parse("sample.reg", bytes.NewReader(data))
			require.NoError(t, err)
			require.NoError(t, r.Do(edits))
			k := open(t, r, software+`\Sample`)
			for _, c := range []Value{
				{"", nt.REG_SZ, SZ("default")},
				{"Text", nt.REG_SZ, SZ(`with "quotes" and \ backslashes`)},
				{"Number", nt.REG_DWORD, DWord(255)},
				{"Bytes", nt.REG_BINARY, []byte{1, 2, 3, 4}},
				{"Many", nt.REG_MULTI_SZ, MultiSZ("a", "b")},
			} {
				v, status := k.Value(c.Name)
				require.Equal(t, nt.STATUS_SUCCESS, status, c.Name)
				assert.Equal(t, c, v)
			}
			_, status := k.Value("Gone")
			assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status)
			info, _ := k.Info()
			assert.Zero(t, info.Subkeys)

			var out, again bytes.Buffer
			require.NoError(t, k.Export(&out))
			other := newTree(t)
			edits, err = Parse("export.reg", bytes.NewReader(out.Bytes()))
			require.NoError(t, err)
			require.NoError(t, other.Do(edits))
			require.NoError(t, open(t, other, software+`\Sample`).Export(&again))
			assert.Equal(t, out.String(), again.String())
		})
	}
}

func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

func TestREGEDIT4HasAnsiText(t *testing.T) {
	r := newTree(t)
	edits, err := Parse("old.reg", strings.NewReader("REGEDIT4\n[HKLM\\Software]\n"+
		"\"E\"=hex(2):25,61,25,00\n"))
	require.NoError(t, err)
	require.NoError(t, r.Do(edits))
	v, _ := open(t, r, software).Value("E")
	assert.Equal(t, SZ("%a%"), v.Data)
}

func TestMalformedRegFilesAreRefusedWithTheLine(t *testing.T) {
	const head = "Windows Registry Editor Version 5.00\n"
	for _, c := range []struct{ text, want string }{
		{"", `x.reg:1: the first line is neither`},
		{"[HKLM]", `x.reg:1: the first line`},
		{head + "[HKLM\\Software", "x.reg:2: the key has no closing bracket"},
		{head + "[Nowhere\\X]", `begins with none of`},
		{head + "\n\"a\"=dword:1", "x.reg:3: a value before the first key"},
		{head + "[-HKLM\\X]\n\"a\"=dword:1", "x.reg:3: a value of a key that is deleted"},
		{head + "[HKLM\\X]\n\"a=dword:1", "x.reg:3: a quote is not closed"},
		{head + "[HKLM\\X]\na=1", "x.reg:3: \"a=1\" is no key"},
		{head + "[HKLM\\X]\n\"a\" 1", "x.reg:3: no = behind"},
		{head + "[HKLM\\X]\n\"a\"=dword:123456789", "x.reg:3: \"123456789\" is no hexadecimal"},
		{head + "[HKLM\\X]\n\"a\"=hex:1,\\\n  zz", "x.reg:3: \"zz\" is no byte"},
		{head + "[HKLM\\X]\n\"a\"=hex(g):1", `x.reg:3: "hex(g)" names no type`},
		{head + "[HKLM\\X]\n\"a\"=what", `x.reg:3: data "what" is neither`},
		{"\xFF\xFEa", "x.reg:1: UTF-16 with an odd number"},
		{"\xC3", "x.reg:1: neither UTF-16"},
	} {
		_, err := Parse("x.reg", strings.NewReader(c.text))
		require.Error(t, err, c.text)
		assert.Contains(t, err.Error(), c.want)
	}
}

func FuzzRegFile(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("REGEDIT4\n[HKLM\\Software]\n\"E\"=hex(2):25,\\\n61,25,00\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		edits, err := Parse("f.reg", bytes.NewReader(data))
		if err != nil {
			return
		}
		r := New()
		if r.Do(edits) != nil {
			return
		}
		var out bytes.Buffer
		k, _ := r.Open(nil, `\Registry\Machine`, false)
		if err := k.Export(&out); err != nil {
			t.Fatal(err)
		}
		if edits, err = Parse("again.reg", &out); err != nil {
			t.Fatalf("an export cannot be read: %v\n%s", err, out.Bytes())
		}
	})
}
