package main

// drvhost reg with hives, and with two keys.

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/cm/hive"
)

// writeTree writes a hive.
func writeTree(t *testing.T, file string, root *cm.Tree) {
	data, err := (&hive.Hive{Name: filepath.Base(file), Root: root}).Encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, data, 0o600))
}

// bothRegistries runs a test on the registry's file and through a manager.
func bothRegistries(t *testing.T, f func(t *testing.T, s *shell, dir string)) {
	t.Run("file", func(t *testing.T) {
		s, dir := newRegShell(t)
		f(t, s, dir)
	})
	t.Run("manager", func(t *testing.T) {
		s, dir := newRegShell(t)
		serveRegistry(t, dir, true)
		f(t, s, dir)
	})
}

func TestAHiveHoldsAKey(t *testing.T) { bothRegistries(t, hiveHoldsAKey) }

func hiveHoldsAKey(t *testing.T, s *shell, dir string) {
	file := filepath.Join(dir, "X.hiv")
	s.steps(t, []step{
		{args: `save HKLM\Software\X ` + file, code: 1, err: notFound},
		{args: "import -", stdin: sample, out: completed},
		{args: `save HKLM\Software\X ` + file, out: completed},
		{args: `save HKLM\Software\X ` + file, stdin: "n\n", code: 1, out: "File " + file +
			" already exists. Do you want to overwrite (Yes/No)? " +
			"The operation was canceled by the user.\n"},
		{args: `save HKLM\Software\X /y ` + file, out: completed},
		{args: `restore HKLM\Software\Y ` + file, code: 1, err: notFound},
		{args: `restore HKLM ` + file, code: 1, err: denied},
		{args: `add HKLM\Software\X /v other /d goes /f`, out: completed},
		{args: `add HKLM\Software\X\Other\Deep`, out: completed},
		{args: `delete HKLM\Software\X\Sub /f`, out: completed},
		{args: `restore HKLM\Software\X ` + file, out: completed},
		{args: `export HKLM\Software\X -`, out: sample},
		{args: `restore HKLM\Software\X /no/such.hiv`, code: 1,
			err: "ERROR: The system cannot find the file specified."},
	})
	require.NoError(t, os.Truncate(file, 5000))
	s.steps(t, []step{{args: `restore HKLM\Software\X ` + file, code: 1, err: "ERROR: " + file +
		": offset 0x28: base block, size of bins: "}})
}

func TestAHiveIsLoadedAndUnloaded(t *testing.T) { bothRegistries(t, hiveIsLoadedAndUnloaded) }

func hiveIsLoadedAndUnloaded(t *testing.T, s *shell, dir string) {
	file := filepath.Join(dir, "NTUSER.DAT")
	tree := &cm.Tree{Name: "root", Class: "c", Security: []byte("descriptor"),
		Values: []cm.Value{{Name: "v", Type: nt.REG_DWORD, Data: cm.DWord(7)}},
		Keys:   []*cm.Tree{{Name: "Sub"}}}
	writeTree(t, file, tree)
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	list := `HKLM\System\CurrentControlSet\Control\hivelist`
	s.steps(t, []step{
		{args: `unload HKU\Someone`, code: 1, err: "ERROR: The parameter is incorrect.\n"},
		{args: `load HKLM\Software\Someone ` + file, code: 1, err: "ERROR: Invalid key name.\n"},
		{args: `load HKLM\Software ` + file, code: 1, err: "ERROR: There is a key of that name already.\n"},
		{args: `load HKU\Someone ` + file, out: completed},
		{args: `query HKU\Someone`, out: "\nHKEY_USERS\\Someone\n    v    REG_DWORD    0x7\n\n" +
			"HKEY_USERS\\Someone\\Sub\n"},
		{args: `query ` + list, out: "\nHKEY_LOCAL_MACHINE\\System\\CurrentControlSet\\Control\\hivelist\n" +
			`    \REGISTRY\USER\Someone    REG_SZ    ` + file + "\n\n"},
		{args: `unload HKU\Someone`, out: completed},
		{args: `unload HKU\Someone`, code: 1, err: "ERROR: The parameter is incorrect.\n"},
		{args: `query HKU\Someone`, code: 1, err: notFound},
		{args: `query ` + list, out: "\nHKEY_LOCAL_MACHINE\\System\\CurrentControlSet\\Control\\hivelist\n\n"},
	})
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, before, after, "nothing has changed, and nothing is written")

	s.steps(t, []step{
		{args: `load HKU\Someone ` + file, out: completed},
		{args: `add HKU\Someone\New /v w /d text`, out: completed},
		{args: `unload HKU\Someone`, out: completed},
	})
	h, err := hive.Open(file)
	require.NoError(t, err)
	assert.Equal(t, "c", h.Root.Class)
	assert.Equal(t, tree.Security, h.Root.Security)
	require.NotNil(t, h.Root.Key("New"))
	assert.Equal(t, cm.SZ("text"), h.Root.Key("New").Values[0].Data)
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode(), "as it was")

	s.steps(t, []step{{args: `load HKU\Someone ` + file, out: completed},
		{args: `add HKU\Someone /v y /d z`, out: completed}})
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Mkdir(file, 0o700))
	r := s.run("reg", "unload", `HKU\Someone`)
	assert.Equal(t, 1, r.code, r.out)
	s.steps(t, []step{{args: `query HKU\Someone /v y`,
		out: "\nHKEY_USERS\\Someone\n    y    REG_SZ    z\n\n"}})
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		assert.False(t, strings.HasPrefix(e.Name(), ".NTUSER"), "nothing is left of what failed")
	}
}

func TestADirtyHiveSaysSo(t *testing.T) {
	s, dir := newRegShell(t)
	file := filepath.Join(dir, "SYSTEM")
	writeTree(t, file, &cm.Tree{})
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	log := append([]byte(nil), data[:512]...) // of the old format, in which nothing has changed
	log[28] = 1                               // its type
	log[508] ^= 1
	log = append(append(log, "DIRT"...), make([]byte, 508)...)
	data[4]++ // a sequence number
	require.NoError(t, os.WriteFile(file, data, 0o600))
	s.steps(t, []step{{args: `load HKLM\X ` + file, code: 1, err: "ERROR: " + file + ": offset 0x1fc: " +
		"base block, checksum: "}})
	require.NoError(t, os.WriteFile(file+".LOG1", log, 0o600))
	for _, operation := range []string{"load", "restore"} {
		r := s.run("reg", operation, `HKLM\X`, file)
		assert.Equal(t, completed, r.out)
		assert.Equal(t, "The hive was not written to its end, and was recovered from its transaction "+
			"logs (changes: 1).\n", r.err)
	}
}

func TestKeysAreCopied(t *testing.T) { bothRegistries(t, keysAreCopied) }

func keysAreCopied(t *testing.T, s *shell, _ string) {
	y := `HKEY_LOCAL_MACHINE\Software\Y`
	s.steps(t, []step{
		{args: "import -", stdin: sample, out: completed},
		{args: `copy HKLM\Software\None HKLM\Software\Y`, code: 1, err: notFound},
		{args: `copy HKLM\Software\X hklm\SOFTWARE\x`, code: 1,
			err: "ERROR: The registry entry cannot be copied onto itself.\n"},
		{args: `copy HKLM\Software\X HKLM\Software\Y`, out: completed},
		{args: `query HKLM\Software\Y\Sub`, code: 1, err: notFound},
		{args: `copy HKLM\Software\X HKLM\Software\Y /s /f`, out: completed},
		{args: `export HKLM\Software\Y -`, out: strings.ReplaceAll(sample, regX, y)},
		{args: `add HKLM\Software\X /v n /t REG_DWORD /d 43 /f`, out: completed},
		{args: `add HKLM\Software\X /v b /t REG_BINARY /d 00 /f`, out: completed},
		{args: `add HKLM\Software\Y /v own /d stays`, out: completed},
		{args: `copy HKLM\Software\X HKLM\Software\Y`, stdin: "n\nno\nYes\nn\nn\nn\n", out: "Value " + y +
			`\(Default) exists, overwrite (Yes/No/All)? Value ` + y + `\a "quoted" \ näme` +
			` exists, overwrite (Yes/No/All)? Value ` + y + `\n exists, overwrite (Yes/No/All)? Value ` + y +
			`\b exists, overwrite (Yes/No/All)? Value ` + y + `\q exists, overwrite (Yes/No/All)? Value ` + y +
			`\m exists, overwrite (Yes/No/All)? ` + completed},
		{args: `query HKLM\Software\Y /v n`, out: "\n" + y + "\n    n    REG_DWORD    0x2b\n\n"},
		{args: `query HKLM\Software\Y /v b`, out: "\n" + y + "\n    b    REG_BINARY    0102FF\n\n"},
		{args: `copy HKLM\Software\X HKLM\Software\Y`, stdin: "all\n", out: "Value " + y +
			`\(Default) exists, overwrite (Yes/No/All)? ` + completed},
		{args: `query HKLM\Software\Y /v b`, out: "\n" + y + "\n    b    REG_BINARY    00\n\n"},
		{args: `query HKLM\Software\Y /v own`, out: "\n" + y + "\n    own    REG_SZ    stays\n\n"},
		{args: `copy HKLM\Software\X HKLM\Software\Y`, code: 1, out: "Value " + y +
			"\\(Default) exists, overwrite (Yes/No/All)? \nThe operation was canceled by the user.\n"},
		{args: `copy HKLM\Software\X HKLM\Software\X\Below /s`, out: completed},
		{args: `query HKLM\Software\X\Below\Below`, code: 1, err: notFound},
		{args: `query HKLM\Software\X\Below\Sub`, out: "\n" + regX + "\\Below\\Sub\n\n"},
	})
}

func TestKeysAreCompared(t *testing.T) {
	s, _ := newRegShell(t)
	a, b := `HKEY_LOCAL_MACHINE\Software\A`, `HKEY_LOCAL_MACHINE\Software\B`
	identical := "Result Compared: Identical\n" + completed
	different := "Result Compared: Different\n" + completed
	version := "< Value: " + a + "  Version  REG_SZ  1\n> Value: " + b + "  Version  REG_DWORD  0x2\n"
	only := "< Value: " + a + "  Only  REG_SZ  a\n"
	other := "> Value: " + b + "  Other  REG_SZ  b\n"
	subs := "< Key: " + a + "\\OnlyA\n"
	sub := "< Value: " + a + "\\Sub  s  REG_SZ  1\n> Value: " + b + "\\Sub  s  REG_SZ  2\n"
	same := "= Value: " + a + "  Same  REG_MULTI_SZ  x\\0y\n"
	s.steps(t, []step{
		{args: "import -", stdin: "REGEDIT4\n[" + a + "]\n\"Version\"=\"1\"\n\"Same\"=hex(7):78,00,79,00,00\n" +
			"\"Only\"=\"a\"\n[" + a + "\\Sub]\n\"s\"=\"1\"\n[" + a + "\\OnlyA\\Deep]\n[" + b + "]\n" +
			"\"Version\"=dword:2\n\"same\"=hex(7):78,00,79,00,00\n\"Other\"=\"b\"\n[" + b + "\\SUB]\n\"s\"=\"2\"\n" +
			"[" + b + "\\OnlyB]\n", out: completed},
		{args: `compare HKLM\Software\A HKLM\Software\A /s`, out: identical},
		{args: `compare HKLM\Software\A HKLM\Software\B`, code: 2, out: version + only + other + different},
		{args: `compare HKLM\Software\A HKLM\Software\B /od /s`, code: 2, out: version + only + other +
			subs + sub + "> Key: " + b + "\\OnlyB\n" + different},
		{args: `compare HKLM\Software\A HKLM\Software\B /os /s`, code: 2, out: same + "= Key: " + a +
			"\\Sub\n" + different},
		{args: `compare HKLM\Software\A HKLM\Software\B /on`, code: 2, out: different},
		{args: `compare HKLM\Software\A HKLM\Software\B /oa`, code: 2, out: version + same + only + other +
			different},
		{args: `compare HKLM\Software\A HKLM\Software\B /v same`, out: identical},
		{args: `compare HKLM\Software\A HKLM\Software\B /v other`, code: 2, out: other + different},
		{args: `compare HKLM\Software\A HKLM\Software\B /v none`, code: 1, err: notFound},
		{args: `compare HKLM\Software\A HKLM\Software\B /ve`, code: 1, err: notFound},
		{args: `compare HKLM\Software\A HKLM\Software\C`, code: 1, err: notFound},
		{args: `compare HKLM\Software\A HKLM\Software\B /oa /od`, code: 1, err: "ERROR: Invalid syntax. /oa, "},
		{args: `compare HKLM\Software\A HKLM\Software\B /v x /s`, code: 1, err: "ERROR: Invalid syntax. /s "},
		{args: `compare HKLM\Software\A HKLM\Software\B /v x /ve`, code: 1, err: "ERROR: Invalid syntax. /v "},
		{args: `compare HKLM\Software\A /x`, code: 1, err: "ERROR: Invalid syntax. /x is not known here."},
	})
	r := s.run("--format=json", "reg", "compare", `HKLM\Software\A`, `HKLM\Software\B`, "/s", "/oa")
	assert.Equal(t, 2, r.code)
	var got []jsonResult
	for line := range strings.Lines(r.out) {
		var row jsonResult
		require.NoError(t, json.Unmarshal([]byte(line), &row), line)
		got = append(got, row)
	}
	assert.Equal(t, []jsonResult{
		{Key: a, First: &jsonValue{"Version", "REG_SZ", "1"}, Second: &jsonValue{"Version", "REG_DWORD", 2.0}},
		{Key: a, Same: true, First: &jsonValue{"Same", "REG_MULTI_SZ", []any{"x", "y"}},
			Second: &jsonValue{"same", "REG_MULTI_SZ", []any{"x", "y"}}},
		{Key: a, In: 1, First: &jsonValue{"Only", "REG_SZ", "a"}},
		{Key: b, In: 2, Second: &jsonValue{"Other", "REG_SZ", "b"}},
		{Key: a + `\OnlyA`, In: 1},
		{Key: a + `\Sub`, Same: true},
		{Key: a + `\Sub`, First: &jsonValue{"s", "REG_SZ", "1"}, Second: &jsonValue{"s", "REG_SZ", "2"}},
		{Key: b + `\OnlyB`, In: 2},
	}, got)
}

func TestExportAsREGEDIT4(t *testing.T) {
	s, dir := newRegShell(t)
	out := filepath.Join(dir, "old.reg")
	old := "REGEDIT4\r\n\r\n[" + regX + "]\r\n\"m\"=hex(7):c3,a4,00,62,00,00\r\n" +
		"\"e\"=hex(2):25,61,25,00\r\n\"b\"=hex:01\r\n\r\n"
	s.steps(t, []step{
		{args: "import -", stdin: old, out: completed},
		{args: `export HKLM\Software\X - /regedit4`, out: old},
		{args: `export HKLM\Software\X ` + out + ` /regedit4`, out: completed},
		{args: `export HKLM\Software\X ` + out + ` /regedit4 /utf8`, code: 1, err: "ERROR: Invalid syntax."},
		{args: "import -", stdin: "Windows Registry Editor Version 5.00\n[" + regX + "]\n\"odd\"=hex(2):61\n",
			out: completed},
		{args: `export HKLM\Software\X - /regedit4`, code: 1, err: "ERROR: " + regX +
			`: "odd" has data that is no text`},
	})
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.Equal(t, old, string(text))
}

func TestAHostIsSeededByAHive(t *testing.T) {
	s, dir := newRegShell(t)
	file := filepath.Join(dir, "SYSTEM")
	parameters := &cm.Tree{Name: "Parameters", Values: []cm.Value{
		{Name: "Limit", Type: nt.REG_DWORD, Data: cm.DWord(9)},
		{Name: "Greeting", Type: nt.REG_SZ, Data: cm.SZ("servus")}}}
	writeTree(t, file, &cm.Tree{Keys: []*cm.Tree{
		{Name: "Select", Values: []cm.Value{{Name: "Current", Type: nt.REG_DWORD, Data: cm.DWord(2)}}},
		{Name: "ControlSet002", Keys: []*cm.Tree{{Name: "Services", Keys: []*cm.Tree{
			{Name: "registry", Keys: []*cm.Tree{parameters}}}}}}}})
	h := s.load("--hive", `HKLM\System=`+file, fixture(t, "registry"))
	assert.Equal(t, "limit 9, greeting servus, start 1", greeting(t, s), "of the current control set")
	assert.Zero(t, h.end(syscall.SIGTERM), h.errs.String())
	for arg, want := range map[string]string{"x": `--hive "x" has no key, = and file`,
		"HKXX=" + file: "begins with none of HKLM", "HKLM\\System=/no/hive": "no such file"} {
		r := s.run("load", "--hive", arg, fixture(t, "registry"))
		assert.Equal(t, exitUsage, r.code, arg)
		assert.Contains(t, r.err, want)
	}
}
