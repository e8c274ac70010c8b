package ntoskrnl_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
)

// loaders is a host with a volume C: and drivers that load others.
type loaders struct {
	*driverhost.Host
	t   *testing.T
	dir string // of the volume
}

// copyOf copies a fixture's image below the volume.
func (l *loaders) copyOf(name, as string) string {
	data, err := fixtures.Bytes(name)
	require.NoError(l.t, err)
	path := filepath.Join(l.dir, as)
	require.NoError(l.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(l.t, os.WriteFile(path, data, 0o644))
	return path
}

// service writes what a .reg file has of a service: lines of values, and of its Parameters.
func service(name, values, parameters string) string {
	key := `[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\` + name
	return key + "]\n" + values + "\n" + key + `\Parameters]` + "\n" + parameters + "\n"
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, `\`, `\\`) + `"` }

const isDriver = "\"Type\"=dword:00000001\n"

// imagePath is a value.
func imagePath(path string) string { return isDriver + `"ImagePath"=` + quoted(path) }

// newLoaders makes a host whose registry has the services that make gives, and loads the service
// Loader.
func newLoaders(t *testing.T, make func(l *loaders) []string, opts ...drivertest.Option) *loaders {
	l := &loaders{t: t, dir: t.TempDir()}
	reg := "Windows Registry Editor Version 5.00\n" + strings.Join(make(l), "\n")
	l.Host = drivertest.New(t, append(opts, drivertest.Volume("C", l.dir), drivertest.Reg(t, reg))...)
	_, err := l.Load(fixturePath(t, "loader"))
	require.NoError(t, err)
	return l
}

// control has the driver with a device load or unload a service.
func control(t *testing.T, f *driverhost.File, code uint32, path string) nt.Status {
	t.Helper()
	out := make([]byte, 4)
	n, err := f.DeviceIoControl(t.Context(), code, guest.EncodeUTF16(path), out)
	require.NoError(t, err)
	require.Equal(t, 4, n)
	return nt.Status(binary.LittleEndian.Uint32(out))
}

func (l *loaders) loads(name string) nt.Status {
	l.t.Helper()
	f, err := l.Open(`\\.\Loader`, driverhost.OpenOptions{})
	require.NoError(l.t, err)
	defer f.Close()
	return control(l.t, f, fixtures.IOCTL_LOADER_LOAD, ntoskrnl.Services+name)
}

func (l *loaders) unloads(name string) nt.Status {
	l.t.Helper()
	f, err := l.Open(`\\.\Loader`, driverhost.OpenOptions{})
	require.NoError(l.t, err)
	defer f.Close()
	return control(l.t, f, fixtures.IOCTL_LOADER_UNLOAD, ntoskrnl.Services+name)
}

// loaded lists the services that are loaded.
func (l *loaders) loaded() (names []string) {
	for _, d := range l.Kernel.Drivers() {
		names = append(names, d.Service)
	}
	return names
}

// entry gives what DriverEntry of the driver with a device has seen.
func (l *loaders) entry(device string) (load nt.Status, inSystem bool) {
	l.t.Helper()
	f, err := l.Open(device, driverhost.OpenOptions{})
	require.NoError(l.t, err)
	defer f.Close()
	out := make([]byte, 8)
	_, err = f.DeviceIoControl(l.t.Context(), fixtures.IOCTL_LOADER_ENTRY, nil, out)
	require.NoError(l.t, err)
	return nt.Status(binary.LittleEndian.Uint32(out)), binary.LittleEndian.Uint32(out[4:]) != 0
}

func TestZwLoadDriverFindsTheImage(t *testing.T) {
	l := newLoaders(t, func(l *loaders) []string {
		l.copyOf("echo", "Windows/System32/drivers/Bare.sys")
		l.copyOf("hello", "Windows/relative.sys")
		l.copyOf("registry", "drive.sys")
		return []string{
			service("Bare", isDriver, ""),
			service("Relative", imagePath("relative.SYS"), ""),
			service("Drive", imagePath(`\??\C:\drive.sys`), ""),
			service("Linux", imagePath(`\??\`+l.copyOf("exportlib", "l/linux.sys")), ""),
			service("Plain", imagePath(l.copyOf("exportlib", "l/plain.sys")), ""),
		}
	})
	for _, name := range []string{"Bare", "relative", "Drive", "Linux", "Plain"} {
		assert.Equal(t, nt.STATUS_SUCCESS, l.loads(name), name)
	}
	assert.Len(t, l.loaded(), 6)
	f := drivertest.Open(t, l.Host, `\\.\Echo`)
	_, err := f.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	for _, name := range []string{"Bare", "DRIVE", "Linux"} {
		assert.Equal(t, nt.STATUS_SUCCESS, l.unloads(name), name)
		assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, l.unloads(name), name)
		assert.Equal(t, nt.STATUS_SUCCESS, l.loads(name), "%s once more", name)
	}
}

func TestWhatZwLoadDriverRefuses(t *testing.T) {
	l := newLoaders(t, func(l *loaders) []string {
		require.NoError(l.t, os.WriteFile(filepath.Join(l.dir, "text.sys"), []byte("no image"), 0o644))
		l.copyOf("refuse", "refuse.sys")
		l.copyOf("loader", "x/loader.sys")
		return []string{
			service("Loader", isDriver, ""),
			service("NoImage", isDriver, ""),
			service("NoFile", imagePath("/nowhere/at/all.sys"), ""),
			service("NoDrive", imagePath(`\??\X:\gone.sys`), ""),
			service("Text", imagePath(`\??\C:\text.sys`), ""),
			service("Directory", imagePath(`\??\C:\x`), ""),
			service("Pipe", imagePath(`/dev/null`), ""),
			service("Refuse", imagePath(`\??\C:\refuse.sys`), ""),
			service("Twice", imagePath(`\??\C:\x\loader.sys`), ""),
			service("Program", "\"Type\"=dword:00000010\n\"ImagePath\"=\"/bin/sh\"", ""),
			service("Nothing", "", ""),
			service("volmgr", imagePath(`\??\C:\refuse.sys`), ""),
			`[HKEY_LOCAL_MACHINE\SOFTWARE\Elsewhere]`,
		}
	}, drivertest.MayLeave())
	for _, c := range []struct {
		fact, path string
		want       nt.Status
	}{
		{"an empty name", "", nt.STATUS_INVALID_PARAMETER},
		{"no path", "Loader", nt.STATUS_OBJECT_PATH_SYNTAX_BAD},
		{"no key", ntoskrnl.Services + "Nobody", nt.STATUS_OBJECT_NAME_NOT_FOUND},
		{"the key of all services", strings.TrimSuffix(ntoskrnl.Services, `\`),
			nt.STATUS_INVALID_PARAMETER_1},
		{"a key below a service", ntoskrnl.Services + `Loader\Parameters`, nt.STATUS_INVALID_PARAMETER_1},
		{"a key elsewhere", `\Registry\Machine\Software\Elsewhere`, nt.STATUS_INVALID_PARAMETER_1},
		{"no directory of drivers", ntoskrnl.Services + "NoImage", nt.STATUS_OBJECT_PATH_NOT_FOUND},
		{"no file", ntoskrnl.Services + "NoFile", nt.STATUS_OBJECT_NAME_NOT_FOUND},
		{"no drive", ntoskrnl.Services + "NoDrive", nt.STATUS_OBJECT_PATH_NOT_FOUND},
		{"a file that is no image", ntoskrnl.Services + "Text", nt.STATUS_INVALID_IMAGE_FORMAT},
		{"a directory", ntoskrnl.Services + "Directory", nt.STATUS_FILE_IS_A_DIRECTORY},
		{"a device of Linux", ntoskrnl.Services + "Pipe", nt.STATUS_OBJECT_TYPE_MISMATCH},
		{"a DriverEntry that fails", ntoskrnl.Services + "Refuse", refuseStatus},
		{"itself", ntoskrnl.Services + "Loader", nt.STATUS_IMAGE_ALREADY_LOADED},
		{"itself by another control set", `\registry\machine\SYSTEM\ControlSet001\Services\LOADER`,
			nt.STATUS_IMAGE_ALREADY_LOADED},
		{"an image of the same name", ntoskrnl.Services + "Twice", nt.STATUS_IMAGE_ALREADY_LOADED},
		{"no driver's service", ntoskrnl.Services + "Program", nt.STATUS_ILL_FORMED_SERVICE_ENTRY},
		{"no type", ntoskrnl.Services + "Nothing", nt.STATUS_ILL_FORMED_SERVICE_ENTRY},
		{"the name of a driver without an image", ntoskrnl.Services + "volmgr",
			nt.STATUS_OBJECT_NAME_COLLISION},
	} {
		t.Run(c.fact, func(t *testing.T) {
			f := drivertest.Open(t, l.Host, `\\.\Loader`)
			assert.Equal(t, c.want, control(t, f, fixtures.IOCTL_LOADER_LOAD, c.path))
		})
	}
	assert.Equal(t, []string{"loader"}, l.loaded())
}

// refuseStatus is what DriverEntry of refuse.sys returns.
const refuseStatus = nt.STATUS_DEVICE_CONFIGURATION_ERROR

func TestWhatZwUnloadDriverRefuses(t *testing.T) {
	l := newLoaders(t, func(l *loaders) []string {
		return []string{
			service("Noun", imagePath(l.copyOf("noun", "noun.sys")), ""),
			service("Idle", imagePath(`\??\C:\idle.sys`), ""),
			service("volmgr", isDriver, ""),
		}
	})
	require.Equal(t, nt.STATUS_SUCCESS, l.loads("Noun"))
	for _, c := range []struct {
		fact, path string
		want       nt.Status
	}{
		{"an empty name", "", nt.STATUS_INVALID_PARAMETER},
		{"no key", ntoskrnl.Services + "Nobody", nt.STATUS_OBJECT_NAME_NOT_FOUND},
		{"a driver that is not loaded", ntoskrnl.Services + "Idle", nt.STATUS_OBJECT_NAME_NOT_FOUND},
		{"a driver without DriverUnload", ntoskrnl.Services + "Noun", nt.STATUS_INVALID_DEVICE_REQUEST},
		{"a driver without an image", ntoskrnl.Services + "volmgr", nt.STATUS_INVALID_DEVICE_REQUEST},
	} {
		t.Run(c.fact, func(t *testing.T) {
			f := drivertest.Open(t, l.Host, `\\.\Loader`)
			assert.Equal(t, c.want, control(t, f, fixtures.IOCTL_LOADER_UNLOAD, c.path))
		})
	}
}

func TestADriverOfPlugAndPlayIsNotUnloadedByAnother(t *testing.T) {
	l := newLoaders(t, func(l *loaders) []string {
		return []string{service("Echo", imagePath(l.copyOf("echo", "echo.sys")), "")}
	})
	require.Equal(t, nt.STATUS_SUCCESS, l.loads("Echo"))
	extension := l.Kernel.Drivers()[1].Object.Ref().DriverExtension
	guest.Ptr[nt.DriverExtension](extension).Ref().AddDevice = 1
	assert.Equal(t, nt.STATUS_INVALID_DEVICE_REQUEST, l.unloads("Echo"))
	guest.Ptr[nt.DriverExtension](extension).Ref().AddDevice = 0
	assert.Equal(t, nt.STATUS_SUCCESS, l.unloads("Echo"))
}

func TestDriverEntryLoadsAnotherDriver(t *testing.T) {
	l := newLoaders(t, func(l *loaders) []string {
		return []string{
			service("Outer", imagePath(l.copyOf("loader", "outer.sys")),
				"\"Device\"=\"Outer\"\n\"Load\"=\"Inner\"\n\"Unload\"=\"Inner\""),
			service("Inner", imagePath(l.copyOf("loader", "inner.sys")),
				"\"Device\"=\"Inner\"\n\"Load\"=\"Outer\""),
			service("Self", imagePath(l.copyOf("loader", "self.sys")),
				"\"Device\"=\"Self\"\n\"Load\"=\"Self\""),
			service("Failing", imagePath(l.copyOf("loader", "failing.sys")),
				"\"Load\"=\"Good\"\n\"Status\"=dword:c0000056"),
			service("Good", imagePath(l.copyOf("exportlib", "good.sys")), ""),
		}
	}, drivertest.Processors(1))
	require.Equal(t, nt.STATUS_SUCCESS, l.loads("Outer"))
	assert.Equal(t, []string{"loader", "Inner", "Outer"}, l.loaded())
	status, system := l.entry(`\\.\Outer`)
	assert.Equal(t, nt.STATUS_SUCCESS, status)
	assert.True(t, system)
	status, system = l.entry(`\\.\Inner`)
	assert.Equal(t, nt.STATUS_IMAGE_ALREADY_LOADED, status, "Outer is in its DriverEntry")
	assert.True(t, system)

	require.Equal(t, nt.STATUS_SUCCESS, l.loads("Self"))
	status, _ = l.entry(`\\.\Self`)
	assert.Equal(t, nt.STATUS_IMAGE_ALREADY_LOADED, status)

	assert.Equal(t, nt.Status(0xC0000056), l.loads("Failing"))
	assert.Contains(t, l.loaded(), "Good", "what it has loaded stays")

	require.Equal(t, nt.STATUS_SUCCESS, l.unloads("Outer"))
	assert.Equal(t, []string{"loader", "Self", "Good"}, l.loaded(), "Inner was unloaded by Outer")
}

func TestADriverInUseIsUnloadedAtItsLastClose(t *testing.T) {
	l := newLoaders(t, func(l *loaders) []string {
		return []string{service("Echo", imagePath(l.copyOf("echo", "echo.sys")), "")}
	})
	require.Equal(t, nt.STATUS_SUCCESS, l.loads("Echo"))
	first, second := drivertest.Open(t, l.Host, `\\.\Echo`), drivertest.Open(t, l.Host, `\\.\Echo`)
	assert.Equal(t, nt.STATUS_SUCCESS, l.unloads("Echo"))
	assert.Equal(t, nt.STATUS_SUCCESS, l.unloads("Echo"), "it is marked")
	_, err := l.Open(`\\.\Echo`, driverhost.OpenOptions{})
	require.ErrorIs(t, err, nt.STATUS_NO_SUCH_DEVICE)
	_, err = first.Write([]byte("still there"))
	require.NoError(t, err)
	require.NoError(t, first.Close())
	assert.Contains(t, l.loaded(), "Echo")

	assert.Equal(t, nt.STATUS_SUCCESS, l.loads("Echo"), "the mark is taken away")
	third := drivertest.Open(t, l.Host, `\\.\Echo`)
	assert.Equal(t, nt.STATUS_SUCCESS, l.unloads("Echo"))
	require.NoError(t, second.Close())
	require.NoError(t, third.Close())
	require.Eventually(t, func() bool { return len(l.loaded()) == 1 }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return l.loads("Echo") == nt.STATUS_SUCCESS }, patience,
		time.Millisecond)
}

const patience = 30 * time.Second

func TestADriverThatUnloadsItselfGoesWhenItsClientDoes(t *testing.T) {
	l := newLoaders(t, func(*loaders) []string { return nil })
	f := drivertest.Open(t, l.Host, `\\.\Loader`)
	assert.Equal(t, nt.STATUS_SUCCESS,
		control(t, f, fixtures.IOCTL_LOADER_UNLOAD, ntoskrnl.Services+"loader"))
	_, err := l.Open(`\\.\Loader`, driverhost.OpenOptions{})
	require.ErrorIs(t, err, nt.STATUS_NO_SUCH_DEVICE)
	require.NoError(t, f.Close())
	require.Eventually(t, func() bool { return len(l.loaded()) == 0 }, patience, time.Millisecond)
}

func TestADriverThatOthersImportFromGoesAfterThem(t *testing.T) {
	l := newLoaders(t, func(l *loaders) []string {
		return []string{
			service("Lib", imagePath(l.copyOf("exportlib", "exportlib.sys")), ""),
			service("User", imagePath(l.copyOf("importer", "importer.sys")), ""),
		}
	})
	require.Equal(t, nt.STATUS_SUCCESS, l.loads("Lib"))
	require.Equal(t, nt.STATUS_SUCCESS, l.loads("User"))
	assert.Equal(t, nt.STATUS_SUCCESS, l.unloads("Lib"))
	assert.Equal(t, []string{"loader", "Lib", "User"}, l.loaded())
	assert.Equal(t, nt.STATUS_SUCCESS, l.unloads("User"))
	require.Eventually(t, func() bool { return len(l.loaded()) == 1 }, patience, time.Millisecond)
}

func TestDriversThatLoadAndUnloadTheSameAtTheSameTime(t *testing.T) {
	l := newLoaders(t, func(l *loaders) []string {
		var all []string
		for i := range 3 {
			name := fmt.Sprint("S", i)
			all = append(all, service(name, imagePath(l.copyOf("hello", name+".sys")), ""))
		}
		return all
	}, drivertest.Print(func(string) {}))
	var wg sync.WaitGroup
	for i := range 4 {
		f := drivertest.Open(t, l.Host, `\\.\Loader`)
		wg.Go(func() {
			for n := range 30 {
				name := fmt.Sprint(ntoskrnl.Services, "S", (i+n)%3)
				code := uint32(fixtures.IOCTL_LOADER_LOAD)
				if n%2 == 1 {
					code = fixtures.IOCTL_LOADER_UNLOAD
				}
				assert.Contains(t, []nt.Status{nt.STATUS_SUCCESS, nt.STATUS_IMAGE_ALREADY_LOADED,
					nt.STATUS_OBJECT_NAME_NOT_FOUND, nt.STATUS_INVALID_DEVICE_REQUEST},
					control(t, f, code, name))
			}
		})
	}
	wg.Wait()
	for i := range 3 {
		_ = l.unloads(fmt.Sprint("S", i))
	}
	require.Eventually(t, func() bool { return len(l.loaded()) == 1 }, patience, time.Millisecond)
}

func TestADriverBelowAFilterGoesAfterIt(t *testing.T) {
	l := newLoaders(t, func(l *loaders) []string {
		return []string{
			service("Echo", imagePath(l.copyOf("echo", "echo.sys")), ""),
			service("Filter", imagePath(l.copyOf("filter", "filter.sys")), ""),
		}
	})
	require.Equal(t, nt.STATUS_SUCCESS, l.loads("Echo"))
	require.Equal(t, nt.STATUS_SUCCESS, l.loads("Filter"))
	assert.Equal(t, nt.STATUS_SUCCESS, l.unloads("Echo"))
	assert.Equal(t, []string{"loader", "Echo", "Filter"}, l.loaded())
	assert.Equal(t, nt.STATUS_SUCCESS, l.unloads("Filter"))
	require.Eventually(t, func() bool { return len(l.loaded()) == 1 }, patience, time.Millisecond)
}

func TestAHostThatIsClosedWhileDriversWaitToBeUnloaded(t *testing.T) {
	for range 10 {
		l := newLoaders(t, func(l *loaders) []string {
			return []string{service("Echo", imagePath(l.copyOf("echo", "echo.sys")), "")}
		})
		require.Equal(t, nt.STATUS_SUCCESS, l.loads("Echo"))
		_, err := l.Open(`\\.\Echo`, driverhost.OpenOptions{})
		require.NoError(t, err)
		require.Equal(t, nt.STATUS_SUCCESS, l.unloads("Echo"))
		report, err := l.Close() // which closes the file, and that unloads the driver
		require.NoError(t, err)
		assert.Empty(t, report.Stuck)
		assert.Empty(t, report.NoUnload)
	}
}
