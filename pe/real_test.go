// Images that others made: the files in saferwall/pe's own test folder.

package pe

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// saferwallFolder finds the folder, or skips the test.
func saferwallFolder(tb testing.TB) string {
	dir, err := saferwallDir()
	if err != nil {
		if os.Getenv("DRVHOST_REQUIRE_REAL_DRIVERS") != "" {
			tb.Fatalf("the real drivers of saferwall/pe's module are not here: %v", err)
		}
		tb.Skipf("SKIPPED: the real drivers of saferwall/pe's module are not here: %v", err)
	}
	return dir
}

var saferwallDir = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}",
		"github.com/saferwall/pe").Output()
	dir := filepath.Join(strings.TrimSpace(string(out)), "test")
	if err == nil {
		_, err = os.Stat(dir)
	}
	return dir, err
})

// realImages are x64 images in the folder: drivers, and programs and libraries that become native
// images by one changed byte. What matters of them here is that tables made by many linkers pass
// the checks.
var realImages = []string{
	"acpi.sys", "amdxata.sys", "amdi2c.sys", "WdBoot.sys",
	"D2D1Debug2.dll", "PSCRIPT5.DLL", "SgrmEnclave_secure.dll", "WdfCoInstaller01011.dll",
	"YourPhone.Exp.WinRT.dll", "brave.exe", "kernel32.dll", "liblzo2-2.dll", "mfc140u.dll",
	"putty.exe", "pwsh.exe", "shimeng.dll",
}

// readNative reads an image and makes its subsystem native.
func readNative(tb testing.TB, path string) []byte {
	data, err := os.ReadFile(path)
	require.NoError(tb, err)
	nt := binary.LittleEndian.Uint32(data[60:])
	binary.LittleEndian.PutUint16(data[nt+24+68:], uint16(SubsystemNative))
	return data
}

func TestRealImagesReadAsDebugPEReadsThem(t *testing.T) {
	dir := saferwallFolder(t)
	for _, file := range realImages {
		t.Run(file, func(t *testing.T) {
			data := readNative(t, filepath.Join(dir, file))
			img, err := Parse(file, data)
			require.NoError(t, err)

			std, err := pe.NewFile(bytes.NewReader(data))
			require.NoError(t, err)
			opt := std.OptionalHeader.(*pe.OptionalHeader64)
			require.Equal(t, opt.ImageBase, img.PreferredBase)
			require.Equal(t, opt.SizeOfImage, img.SizeOfImage)
			require.Equal(t, opt.AddressOfEntryPoint, img.EntryRVA)
			require.Equal(t, std.TimeDateStamp, img.TimeDateStamp)
			require.Len(t, img.Sections, len(std.Sections))
			for i, s := range std.Sections {
				require.Equal(t, s.Name, img.Sections[i].Name)
				require.Equal(t, s.VirtualAddress, img.Sections[i].RVA)
				require.Equal(t, s.Size, img.Sections[i].RawSize)
			}
			require.Equal(t, opt.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_EXCEPTION].Size/12,
				uint32(len(img.Functions())))

			symbols, err := std.ImportedSymbols() // by name only
			require.NoError(t, err)
			var got []string
			for _, m := range img.Imports {
				for _, f := range m.Functions {
					if !f.ByOrdinal {
						got = append(got, f.Name+":"+m.Name)
					}
				}
			}
			require.Equal(t, symbols, got)
		})
	}
}

func TestRealDriversHaveWhatTheirLoadConfigSays(t *testing.T) {
	dir := saferwallFolder(t)
	for _, c := range []struct {
		file          string
		exports       int
		guard, signed bool
	}{
		{"acpi.sys", 2, true, true},
		{"amdxata.sys", 0, true, true},
		{"amdi2c.sys", 0, true, false},
		{"WdBoot.sys", 0, true, true},
	} {
		t.Run(c.file, func(t *testing.T) {
			img, err := ParseFile(filepath.Join(dir, c.file))
			require.NoError(t, err)
			require.Len(t, img.Exports(), c.exports)
			require.NotZero(t, img.LoadConfig.Cookie)
			raw, _ := img.at(img.LoadConfig.Cookie)
			require.EqualValues(t, DefaultCookie, le64(raw, 0))
			require.Equal(t, c.guard, img.LoadConfig.GuardDispatch != 0)
			require.Equal(t, c.signed, img.Authenticode.Size != 0)
		})
	}
}

func TestOtherFilesAreRefusedByName(t *testing.T) {
	dir := saferwallFolder(t)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		_, err := ParseFile(filepath.Join(dir, f.Name()))
		if strings.HasSuffix(f.Name(), ".sys") {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, f.Name()+": ")
	}
}

func TestRealImagesCutOffAnywhereAreRefused(t *testing.T) {
	dir := saferwallFolder(t)
	for _, file := range []string{"amdxata.sys", "amdi2c.sys", "WdBoot.sys"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		for n := 0; n < len(data); n += 1 + n/64 {
			_, err := Parse(file, data[:n:n])
			require.Error(t, err, "%s cut off after %d bytes", file, n)
		}
	}
}

func TestImportsOfOptionalModulesHaveAFallback(t *testing.T) {
	img, err := ParseFile(filepath.Join(saferwallFolder(t), "acpi.sys"))
	require.NoError(t, err)
	for _, m := range img.Imports {
		for _, f := range m.Functions {
			require.Equal(t, strings.HasPrefix(m.Name, "ext-ms-"), f.Fallback != 0, f.Name)
		}
	}
}

func TestFixtureDriversMap(t *testing.T) {
	files, err := filepath.Glob("../fixtures/*.sys")
	require.NoError(t, err)
	if len(files) == 0 {
		t.Skip("SKIPPED: the fixture drivers are not built")
	}
	for _, file := range files {
		img, err := ParseFile(file)
		require.NoError(t, err)
		require.NotEmpty(t, img.Functions())
		exercise(t, space(t), img)
	}
}
