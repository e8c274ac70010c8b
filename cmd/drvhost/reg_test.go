package main

// drvhost reg on its file and through a server, and hosts that see what it has done.

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/registry"
	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

const (
	completed = "The operation completed successfully.\n"
	notFound  = "ERROR: The system was unable to find the specified registry key or value.\n"
	denied    = "ERROR: Access is denied."
)

// newRegShell gives a shell with a state directory of its own.
func newRegShell(t *testing.T) (*shell, string) {
	dir, err := os.MkdirTemp("", "reg")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("DRVHOST_STATE_DIR", dir)
	return newShell(t), dir
}

// serveRegistry is a small service manager, with the registry only.
func serveRegistry(t *testing.T, dir string, write bool) (*cm.Registry, string) {
	store, err := service.Open(filepath.Join(dir, service.RegistryFile),
		func() *cm.Registry { return ntoskrnl.NewRegistry(0) })
	require.NoError(t, err)
	s, err := registry.NewServer(store.Registry, registry.ServerOptions{Batch: store.Batch,
		Settled: store.Settled, MayWrite: func(_, _ uint32) bool { return write }})
	require.NoError(t, err)
	socket := filepath.Join(dir, service.RegistrySocket)
	l, err := service.ListenSocket(socket)
	require.NoError(t, err)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() {
		assert.NoError(t, s.Close())
		assert.NoError(t, store.Close())
	})
	return store.Registry, socket
}

// step is a command and what it says.
type step struct {
	args  string // separated by blanks
	stdin string
	code  int
	out   string
	err   string // begins so
}

func (s *shell) steps(t *testing.T, all []step) {
	t.Helper()
	for _, c := range all {
		r := s.runWith(c.stdin, append([]string{"reg"}, strings.Split(c.args, " ")...)...)
		require.Equal(t, c.code, r.code, "%s: %s%s", c.args, r.out, r.err)
		require.Equal(t, c.out, r.out, c.args)
		require.True(t, strings.HasPrefix(r.err, c.err), "%s: %s", c.args, r.err)
		if c.err == "" {
			require.Empty(t, r.err, c.args)
		}
	}
}

const regX = `HKEY_LOCAL_MACHINE\Software\X`

// regSteps go from a registry without HKLM\Software\X to one without it.
var regSteps = []step{
	{args: `query HKLM\Software\X`, code: 1, err: notFound},
	{args: `add HKLM\Software\X /v limit /t REG_DWORD /d 0x10`, out: completed},
	{args: `add hklm\software\x -v Name --d text`, out: completed},
	{args: `add HKLM\Software\X /ve /d /f /f`, out: completed},
	{args: `add HKLM\Software\X\Sub /v list /t reg_multi_sz /d a|b /s |`, out: completed},
	{args: `add HKLM\Software\X\Sub\Empty`, out: completed},
	{args: `query HKLM\Software\X /v LIMIT`,
		out: "\n" + regX + "\n    limit    REG_DWORD    0x10\n\n"},
	{args: `query HKLM\Software\X`, out: "\n" + regX + "\n    limit    REG_DWORD    0x10\n" +
		"    Name    REG_SZ    text\n    (Default)    REG_SZ    /f\n\n" + regX + `\Sub` + "\n"},
	{args: `query HKLM\Software\X\Sub /s /z`, out: "\n" + regX + `\Sub` +
		"\n    list    REG_MULTI_SZ (7)    a\\0b\n\n" + regX + `\Sub\Empty` + "\n\n"},
	{args: `query HKLM\Software\X\Sub /ve`,
		out: "\n" + regX + `\Sub` + "\n    (Default)    REG_SZ    (value not set)\n\n"},
	{args: `query HKLM\Software\X /s /v list`, out: "\n" + regX + `\Sub` +
		"\n    list    REG_MULTI_SZ    a\\0b\n\nEnd of search: 1 match(es) found.\n"},
	{args: `query HKLM\Software\X /s /f emp?y /k /e`, out: "\n" + regX + `\Sub\Empty` +
		"\nEnd of search: 1 match(es) found.\n"},
	{args: `query HKLM\Software\X /f TEXT /c`, code: 1, out: "\nEnd of search: 0 match(es) found.\n"},
	{args: `query HKLM\Software\X /s /t REG_DWORD`,
		out: "\n" + regX + "\n    limit    REG_DWORD    0x10\n\n"},
	{args: `query HKLM\Software\X /v nothing`, code: 1, err: notFound},
	{args: `add HKLM\Software\X /v limit /d other`, stdin: "no\n", code: 1,
		out: "Value limit exists, overwrite (Yes/No)? The operation was canceled by the user.\n"},
	{args: `add HKLM\Software\X /v limit /d other`, stdin: "yes\n",
		out: "Value limit exists, overwrite (Yes/No)? " + completed},
	{args: `delete HKLM\Software\X /v limit /f`, out: completed},
	{args: `delete HKLM\Software\X /v limit /f`, code: 1, err: notFound},
	{args: `delete HKLM\Software\X /va /f`, out: completed},
	{args: `query HKLM\Software\X`, out: "\n" + regX + `\Sub` + "\n"},
	{args: `delete HKLM\Software\X`, code: 1, out: "Permanently delete the registry key " + regX +
		" (Yes/No)? \nThe operation was canceled by the user.\n"},
	{args: `delete HKLM\Software\X /f`, out: completed},
	{args: `delete HKLM\Software\X /f`, code: 1, err: notFound},
}

func TestRegOnTheFile(t *testing.T) {
	s, dir := newRegShell(t)
	s.steps(t, regSteps[:1])
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries, "a query makes nothing")
	s.steps(t, regSteps)
}

func TestRegThroughTheManager(t *testing.T) {
	s, dir := newRegShell(t)
	dir = filepath.Join(dir, strings.Repeat("long", 40)) // too long for a socket's address
	t.Setenv("DRVHOST_STATE_DIR", dir)
	serveRegistry(t, dir, true)
	s.steps(t, regSteps)
}

func TestRegRefuses(t *testing.T) {
	s, dir := newRegShell(t)
	bad := filepath.Join(dir, "bad.reg")
	require.NoError(t, os.WriteFile(bad,
		[]byte("REGEDIT4\n[HKEY_LOCAL_MACHINE\\Software\\X]\n\"a\"=dword:xyz\n"), 0o600))
	s.steps(t, []step{
		{args: `flags HKLM\Software`, code: 1, err: "ERROR: Invalid syntax. flags is none of query, add,"},
		{args: `copy HKLM\Software`, code: 1, err: "ERROR: Invalid syntax.\nType \"REG COPY /?\""},
		{args: `query`, code: 1, err: "ERROR: Invalid syntax.\nType \"REG QUERY /?\" for usage.\n"},
		{args: `query HKXX\a`, code: 1, err: "ERROR: Invalid key name.\n"},
		{args: `query \\machine\HKLM`, code: 1, err: "ERROR: Invalid key name.\n"},
		{args: `query HKLM\a\\b`, code: 1, err: "ERROR: Invalid key name.\n"},
		{args: `query HKLM /q`, code: 1, err: "ERROR: Invalid syntax. /q is not known here."},
		{args: `query HKLM /s /s`, code: 1, err: "ERROR: Invalid syntax. /s is given twice."},
		{args: `query HKLM /v`, code: 1, err: "ERROR: Invalid syntax. /v wants a name"},
		{args: `query HKLM /t REG_WHAT`, code: 1, err: "ERROR: Invalid syntax. REG_WHAT is no type"},
		{args: `query HKLM --format xml`, code: exitUsage, err: "drvhost: --format xml"},
		{args: `add HKLM\Software\X /v a /t REG_DWORD /d 0x1ffffffff`, code: 1,
			err: "ERROR: Invalid syntax. Specify valid numeric value for '/d'."},
		{args: `add HKLM\Software\X /v a /t REG_BINARY /d xy`, code: 1,
			err: "ERROR: Invalid syntax. Specify valid binary value for '/d'."},
		{args: `add HKLM\Software\X /v a /t REG_MULTI_SZ /d a\0\0b`, code: 1,
			err: "ERROR: Invalid syntax. A text"},
		{args: `add \Registry\Other /f`, code: 1, err: denied},
		{args: `delete HKLM /f`, code: 1, err: denied},
		{args: `import ` + bad, code: 1, err: "ERROR: " + bad + `:3: `},
		{args: `import /no/such.reg`, code: 1, err: "ERROR: The system cannot find the file specified."},
		{args: `query HKLM\Software\X`, code: 1, err: notFound},
	})
	assert.Contains(t, s.run("reg", "add", "/?").out, "REG ADD KEY")
	assert.Contains(t, s.run("reg", "--help").out, "in the words of Windows' reg.exe")
}

func TestRegWithoutTheRightToWrite(t *testing.T) {
	s, dir := newRegShell(t)
	tree, _ := serveRegistry(t, dir, false)
	s.steps(t, []step{
		{args: `add HKLM\Software\X`, code: 1, err: denied},
		{args: `delete HKLM\Software\Microsoft /f`, code: 1, err: denied},
		{args: `query HKLM\Software`, out: "\nHKEY_LOCAL_MACHINE\\Software\\Classes\n" +
			"HKEY_LOCAL_MACHINE\\Software\\Microsoft\n"},
	})
	_, status := tree.Open(nil, `\Registry\Machine\Software\X`, false)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status)
}

func TestAnotherProcessHasTheFile(t *testing.T) {
	s, dir := newRegShell(t)
	store, err := service.Open(filepath.Join(dir, service.RegistryFile), cm.New)
	require.NoError(t, err)
	defer store.Close()
	s.steps(t, []step{{args: `query HKLM`, code: 1,
		err: "ERROR: " + filepath.Join(dir, service.RegistryFile) + ": another process has"}})
}

// sample is a .reg file with every way in which data is written.
const sample = "Windows Registry Editor Version 5.00\r\n\r\n[" + regX + "]\r\n@=\"default\"\r\n" +
	"\"a \\\"quoted\\\" \\\\ näme\"=\"käse\"\r\n\"n\"=dword:0000002a\r\n" +
	"\"b\"=hex:01,02,ff\r\n\"q\"=hex(b):01,00,00,00,00,00,00,80\r\n" +
	"\"m\"=hex(7):61,00,00,00,62,00,00,00,00,00\r\n\r\n[" + regX + "\\Sub]\r\n\r\n"

func TestExportGivesWhatWasImported(t *testing.T) {
	utf16 := string(append([]byte{0xFF, 0xFE}, cm.Encode(sample, false)...))
	old := strings.Replace(sample, "Windows Registry Editor Version 5.00", "REGEDIT4", 1)
	old = strings.Replace(old, "61,00,00,00,62,00,00,00,00,00", "61,00,62,00,00", 1)
	for name, text := range map[string]string{"UTF-8": sample, "UTF-16": utf16, "REGEDIT4": old} {
		t.Run(name, func(t *testing.T) {
			s, dir := newRegShell(t)
			in, out := filepath.Join(dir, "in.reg"), filepath.Join(dir, "out.reg")
			require.NoError(t, os.WriteFile(in, []byte(text), 0o600))
			s.steps(t, []step{
				{args: "import " + in, out: completed},
				{args: `export HKLM\Software\X -`, out: sample},
				{args: `export HKLM\Software\X ` + out, out: completed},
				{args: `export HKLM\Software\X ` + out, stdin: "n\n", code: 1, out: "File " + out +
					" already exists. Do you want to overwrite (Yes/No)? " +
					"The operation was canceled by the user.\n"},
			})
			data, err := os.ReadFile(out)
			require.NoError(t, err)
			assert.Equal(t, utf16, string(data), "reg.exe's encoding")
			s.steps(t, []step{
				{args: `export HKLM\Software\X /y /utf8 ` + out, out: completed},
				{args: `delete HKLM\Software\X /f`, out: completed},
				{args: "import " + out, out: completed},
				{args: `export HKLM\Software\X -`, out: sample},
				{args: "import -", stdin: "REGEDIT4\n[-" + regX + "]\n", out: completed},
				{args: `query HKLM\Software\X`, code: 1, err: notFound},
			})
		})
	}
}

func TestQueryAsJSON(t *testing.T) {
	s, _ := newRegShell(t)
	require.Zero(t, s.runWith(sample, "reg", "import", "-").code)
	r := s.run("reg", "query", `HKLM\Software\X`, "--format", "json")
	require.Zero(t, r.code, r.err)
	var key jsonKey
	require.NoError(t, json.Unmarshal([]byte(r.out), &key))
	assert.Equal(t, jsonKey{regX, []jsonValue{{"", "REG_SZ", "default"},
		{`a "quoted" \ näme`, "REG_SZ", "käse"}, {"n", "REG_DWORD", 42.0},
		{"b", "REG_BINARY", "0102FF"}, {"q", "REG_QWORD", float64(1<<63 + 1)},
		{"m", "REG_MULTI_SZ", []any{"a", "b"}}}, []string{"Sub"}}, key)
	assert.Len(t, rows(t, s.run("--format=json", "reg", "query", `HKLM\Software\X`, "/s").out), 2)
}

const parameters = "Windows Registry Editor Version 5.00\r\n[HKEY_LOCAL_MACHINE\\SYSTEM\\" +
	"CurrentControlSet\\Services\\registry\\Parameters]\r\n\"Limit\"=dword:00000007\r\n" +
	"\"Greeting\"=\"moin\"\r\n"

// greeting gives what the registry driver says of its Parameters.
func greeting(t *testing.T, s *shell) string {
	r := s.run("read", "Registry", "--size", "200", "--output", "raw")
	require.Zero(t, r.code, r.err)
	return cm.Value{Data: []byte(r.out)}.Text()
}

func TestADriverSeesWhatRegImportPutThere(t *testing.T) {
	for _, mode := range []string{"on", "off"} {
		t.Run("sandbox "+mode, func(t *testing.T) {
			s, dir := newRegShell(t)
			tree, socket := serveRegistry(t, dir, true)
			s.steps(t, []step{{args: "import -", stdin: parameters, out: completed}})
			h := s.load("--registry", socket, "--sandbox", mode, fixture(t, "registry"))
			assert.Equal(t, "limit 7, greeting moin, start 1", greeting(t, s))
			k, status := tree.Open(nil, ntoskrnl.Services+`registry\Parameters`, false)
			require.Equal(t, nt.STATUS_SUCCESS, status)
			v, status := k.Value("Starts")
			require.Equal(t, nt.STATUS_SUCCESS, status)
			assert.Equal(t, cm.DWord(1), v.Data, "what the driver writes is everybody's")
			assert.Zero(t, h.end(syscall.SIGTERM), h.errs.String())
		})
	}
}

func TestLoadWithARegistryThatIsNotThere(t *testing.T) {
	s, dir := newRegShell(t)
	r := s.run("load", "--registry", filepath.Join(dir, "none.sock"), fixture(t, "registry"))
	assert.Equal(t, exitFailure, r.code, r.err)
	assert.Contains(t, r.err, "none.sock")
	r = s.run("load", "--registry", "x.sock", "--reg", "y.reg", fixture(t, "registry"))
	assert.Equal(t, exitUsage, r.code, r.err)
}
