package main

// Drivers that load and unload others by ZwLoadDriver and ZwUnloadDriver: in hosts of the service
// manager, which is asked then, and in a host without one.

import (
	"context"
	le "encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
)

// loaderFile is a device of loader.sys that is open.
type loaderFile struct {
	*client.File
	t testing.TB
}

func (m *manager) openLoader(device string) loaderFile {
	m.t.Helper()
	f, err := m.open(device)
	require.NoError(m.t, err)
	m.t.Cleanup(func() { _ = f.Close() })
	return loaderFile{f, m.t}
}

// control loads or unloads a service.
func (f loaderFile) control(code uint32, name string) nt.Status {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out := make([]byte, 4)
	_, err := f.DeviceIoControl(ctx, code, guest.EncodeUTF16(ntoskrnl.Services+name), out)
	require.NoError(f.t, err, name)
	return nt.Status(le.LittleEndian.Uint32(out))
}

func (f loaderFile) loads(name string) nt.Status {
	f.t.Helper()
	return f.control(fixtures.IOCTL_LOADER_LOAD, name)
}

func (f loaderFile) unloads(name string) nt.Status {
	f.t.Helper()
	return f.control(fixtures.IOCTL_LOADER_UNLOAD, name)
}

// entry gives what DriverEntry has got for its load.
func (f loaderFile) entry() nt.Status {
	f.t.Helper()
	out := make([]byte, 8)
	_, err := f.DeviceIoControl(context.Background(), fixtures.IOCTL_LOADER_ENTRY, nil, out)
	require.NoError(f.t, err)
	assert.EqualValues(f.t, 1, le.LittleEndian.Uint32(out[4:]), "in the System process")
	return nt.Status(le.LittleEndian.Uint32(out))
}

// newLoader registers a service of loader.sys, whose device has its name; values are of its
// Parameters, and each service has an image of its own name, so that there may be several in one
// host.
func (m *manager) newLoader(c service.Config, values ...string) {
	m.t.Helper()
	data, err := fixtures.Bytes("loader")
	require.NoError(m.t, err)
	c.ImagePath = filepath.Join(filepath.Dir(m.state), c.Name+".sys")
	require.NoError(m.t, os.WriteFile(c.ImagePath, data, 0o600))
	c.Start = service.DemandStart
	m.mustCreate(c)
	for i, v := range append([]string{"Device", c.Name}, values...) {
		if i%2 == 1 {
			continue
		}
		all := append([]string{"Device", c.Name}, values...)
		m.reg("add", `HKLM\SYSTEM\CurrentControlSet\Services\`+c.Name+`\Parameters`, "/v", v, "/t",
			"REG_SZ", "/d", all[i+1], "/f")
	}
}

// reg runs a command on the manager's registry.
func (m *manager) reg(args ...string) {
	m.t.Helper()
	cmd := exec.Command(binary, append([]string{"reg"}, args...)...)
	cmd.Env = m.environ()
	out, err := cmd.CombinedOutput()
	require.NoError(m.t, err, "%s", out)
}

func (m *manager) demand(name, image string) {
	m.t.Helper()
	m.mustCreate(service.Config{Name: name, ImagePath: image, Start: service.DemandStart})
}

func TestADriverStartsAndStopsServices(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.start()
	m.newLoader(service.Config{Name: "Loader"})
	m.demand("Echo", fixture(t, "echo"))
	m.demand("Lib", fixture(t, "exportlib"))
	m.demand("Refuse", fixture(t, "refuse"))
	m.demand("Gone", "/nowhere/gone.sys")
	m.demand("Text", "/proc/self/status")
	m.mustCreate(service.Config{Name: "Off", ImagePath: fixture(t, "echo"),
		Start: service.DisabledStart})
	m.mustCreate(service.Config{Name: "Orphan", ImagePath: fixture(t, "echo"),
		Start: service.DemandStart, DependOnService: []string{"Nobody"}})
	m.mustCreate(service.Config{Name: "Needy", ImagePath: fixture(t, "hello"),
		Start: service.DemandStart, DependOnService: []string{"Echo"}})
	m.must(service.DoStart, "Loader")
	m.must(service.DoStart, "Lib")
	f := m.openLoader("Loader")

	assert.Equal(t, nt.STATUS_SUCCESS, f.loads("ECHO"))
	assert.Contains(t, m.does("query", "Echo"), "RUNNING")
	m.usable("Echo")
	assert.Equal(t, nt.STATUS_IMAGE_ALREADY_LOADED, f.loads("Echo"))
	assert.Equal(t, nt.STATUS_SUCCESS, f.loads("Needy"))
	assert.Equal(t, nt.STATUS_RESOURCE_IN_USE, f.unloads("Echo"), "Needy depends on it")
	assert.Equal(t, nt.STATUS_SUCCESS, f.unloads("Needy"))
	assert.Equal(t, nt.STATUS_SUCCESS, f.unloads("Echo"))
	assert.Contains(t, m.does("query", "Echo"), "STOPPED")
	assert.Len(t, m.hosts(), 2, "those of Loader and Lib")
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, f.unloads("Echo"))

	for _, c := range []struct {
		service string
		want    nt.Status
	}{
		{"Nobody", nt.STATUS_OBJECT_NAME_NOT_FOUND},
		{"Off", nt.STATUS_DRIVER_BLOCKED},
		{"Gone", nt.STATUS_OBJECT_NAME_NOT_FOUND},
		{"Text", nt.STATUS_INVALID_IMAGE_FORMAT},
		{"Orphan", nt.STATUS_DRIVER_UNABLE_TO_LOAD},
		{"Refuse", nt.STATUS_DEVICE_CONFIGURATION_ERROR},
		{"Loader", nt.STATUS_IMAGE_ALREADY_LOADED},
	} {
		assert.Equal(t, c.want, f.loads(c.service), c.service)
	}
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, f.unloads("Lib"), "it is another's")
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, f.unloads("Nobody"))
	m.must(service.DoStop, "Lib")
	assert.Equal(t, nt.STATUS_SUCCESS, f.loads("Lib"))
	m.kill()
	assert.Equal(t, nt.STATUS_PORT_DISCONNECTED, f.loads("Echo"))
	m.start()
	m.eventually("the next manager answers", func() bool {
		return f.unloads("Lib") == nt.STATUS_SUCCESS // which knows who has started it
	})
	assert.Contains(t, m.does("query", "Lib"), "STOPPED")
}

func TestADriverEntryStartsAServiceOfItsOwnHost(t *testing.T) {
	t.Parallel()
	for _, group := range []string{"both", ""} {
		t.Run(fmt.Sprintf("host group %q", group), func(t *testing.T) {
			t.Parallel()
			m := newManager(t)
			m.start()
			m.newLoader(service.Config{Name: "Outer", HostGroup: group}, "Load", "Middle", "Unload",
				"Middle")
			m.newLoader(service.Config{Name: "Middle", HostGroup: group}, "Load", "Inner", "Unload",
				"Inner")
			m.newLoader(service.Config{Name: "Inner", HostGroup: group}, "Load", "Outer")
			m.must(service.DoStart, "Outer")
			for name, status := range map[string]nt.Status{"Outer": nt.STATUS_SUCCESS,
				"Middle": nt.STATUS_SUCCESS, "Inner": nt.STATUS_IMAGE_ALREADY_LOADED} {
				f := m.openLoader(name) // while Inner is loaded, Outer is in its DriverEntry
				assert.Equal(t, status, f.entry(), name)
				require.NoError(t, f.Close())
			}
			want := 3
			if group != "" {
				want = 1
			}
			assert.Len(t, m.hosts(), want)
			m.must(service.DoStop, "Inner")
			m.must(service.DoStart, "Inner")
			f := m.openLoader("Outer")
			may := nt.STATUS_SUCCESS
			if group == "" {
				may = nt.STATUS_ACCESS_DENIED // it was started by Middle, and by sc
			}
			assert.Equal(t, may, f.unloads("Inner"))
			require.NoError(t, f.Close())
			m.must(service.DoStop, "Outer")
			m.must(service.DoStart, "Outer")
		})
	}
}

func TestServicesWhoseDriversStopEachOther(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.start()
	m.newLoader(service.Config{Name: "Outer", HostGroup: "both"}, "Load", "Inner", "Unload", "Inner")
	m.newLoader(service.Config{Name: "Inner", HostGroup: "both"}, "Unload", "Outer")
	m.demand("Other", fixture(t, "hello"))
	_, err := m.ask(service.Request{Do: service.DoChange, Name: "Other",
		Config: &service.Config{HostGroup: "both"}, Fields: []string{"host_group"}})
	require.NoError(t, err)
	m.must(service.DoStart, "Other")
	for range 5 {
		m.must(service.DoStart, "Outer")
		m.must(service.DoStop, "Outer") // whose DriverUnload stops Inner
		m.becomes("Inner", service.Stopped)
		assert.Len(t, m.hosts(), 1)
	}
	m.must(service.DoStart, "Outer")
	m.must(service.DoStop, "Other")
	m.must(service.DoStop, "Inner")
	m.becomes("Outer", service.Stopped)
	m.eventually("the empty host ends", func() bool { return len(m.hosts()) == 0 })
}

func TestAServiceThatDependsOnWhoStartsIt(t *testing.T) {
	t.Parallel()
	for _, group := range []string{"both", ""} {
		t.Run(fmt.Sprintf("host group %q", group), func(t *testing.T) {
			t.Parallel()
			m := newManager(t)
			m.start()
			m.newLoader(service.Config{Name: "First", HostGroup: group}, "Load", "Second")
			m.newLoader(service.Config{Name: "Second", HostGroup: group,
				DependOnService: []string{"First"}})
			m.must(service.DoStart, "First")
			f := m.openLoader("First")
			assert.Equal(t, nt.STATUS_POSSIBLE_DEADLOCK, f.entry())
			assert.Equal(t, nt.STATUS_SUCCESS, f.loads("Second"), "First runs now")
		})
	}
}

func TestDriversThatStartEachOtherAtTheSameTime(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.start()
	m.newLoader(service.Config{Name: "Left", HostGroup: "l"}, "Load", "RightToo")
	m.newLoader(service.Config{Name: "LeftToo", HostGroup: "l", DependOnService: []string{"Left"}})
	m.newLoader(service.Config{Name: "Right", HostGroup: "r"}, "Load", "LeftToo")
	m.newLoader(service.Config{Name: "RightToo", HostGroup: "r", DependOnService: []string{"Right"}})
	all := []string{"Left", "Right", "LeftToo", "RightToo"}
	for range 5 {
		var wg sync.WaitGroup
		for _, name := range all[:2] {
			wg.Go(func() { assert.NoError(t, m.do(service.DoStart, name)) })
		}
		wg.Wait()
		for _, name := range all[:2] {
			f := m.openLoader(name)
			assert.Contains(t, []nt.Status{nt.STATUS_SUCCESS, nt.STATUS_POSSIBLE_DEADLOCK,
				nt.STATUS_IMAGE_ALREADY_LOADED}, f.entry(), name)
			require.NoError(t, f.Close())
		}
		for _, name := range slices.Backward(all) {
			err := m.do(service.DoStop, name)
			if err != nil {
				assert.ErrorIs(t, err, service.NotActive)
			}
		}
		assert.Empty(t, m.hosts())
	}
}

func TestAServiceInUseIsStoppedAtItsLastClose(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.start()
	m.newLoader(service.Config{Name: "Loader"})
	m.demand("Echo", fixture(t, "echo"))
	m.must(service.DoStart, "Loader")
	f := m.openLoader("Loader")
	require.Equal(t, nt.STATUS_SUCCESS, f.loads("Echo"))
	user, err := m.open("Echo")
	require.NoError(t, err)
	assert.Equal(t, nt.STATUS_SUCCESS, f.unloads("Echo"))
	assert.Contains(t, m.does("query", "Echo"), "STOP_PENDING")
	_, err = user.Write([]byte("it goes on"))
	require.NoError(t, err)
	_, err = m.open("Echo")
	require.ErrorIs(t, err, nt.STATUS_NO_SUCH_DEVICE)

	assert.Equal(t, nt.STATUS_SUCCESS, f.loads("Echo"), "it stays")
	assert.Contains(t, m.does("query", "Echo"), "RUNNING")
	m.usable("Echo")
	assert.Equal(t, nt.STATUS_SUCCESS, f.unloads("Echo"))
	m.kill()
	m.start()
	m.becomes("Echo", service.StopPending) // the next manager knows
	require.NoError(t, user.Close())
	m.becomes("Echo", service.Stopped)
	m.eventually("its host ends", func() bool { return len(m.hosts()) == 1 })

	m.eventually("the manager answers", func() bool { return f.loads("Echo") == nt.STATUS_SUCCESS })
	user, err = m.open("Echo")
	require.NoError(t, err)
	assert.Equal(t, nt.STATUS_SUCCESS, f.unloads("Echo"))
	m.must(service.DoStop, "Echo") // which does not wait for anybody
	assert.Len(t, m.hosts(), 1)
	_ = user.Close()

	assert.Equal(t, nt.STATUS_SUCCESS, f.unloads("Loader"), "itself")
	assert.Contains(t, m.does("query", "Loader"), "STOP_PENDING")
	require.NoError(t, f.Close())
	m.becomes("Loader", service.Stopped)
	m.eventually("its host ends", func() bool { return len(m.hosts()) == 0 })
}

func TestADriverLoadsOnlyWhatIsSignedIfThatIsRequired(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	samples, err := filepath.Abs("../../driverhost/signature/testdata")
	require.NoError(t, err)
	m.start()
	m.newLoader(service.Config{Name: "Loader"})
	m.demand("Echo", fixture(t, "echo"))
	m.demand("Signed", filepath.Join(samples, "nested.sys"))
	m.must(service.DoStart, "Loader")
	f := m.openLoader("Loader")
	m.kill()
	m.flags = []string{"--require-signature", filepath.Join(samples, "root.pem")}
	m.start()
	m.eventually("the manager answers", func() bool {
		return f.loads("Signed") == nt.STATUS_SUCCESS
	})
	assert.Equal(t, nt.STATUS_INVALID_IMAGE_HASH, f.loads("Echo"))
	assert.Contains(t, m.does("query", "Echo"), "577  (0x241)")
}

func TestAManagerThatIsKilledWhileADriverAsks(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"asked", "wished", "spawned", "loaded", "done for a host"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			bin, err := steps()
			require.NoError(t, err)
			m := newManager(t)
			m.bin = bin
			m.start()
			m.newLoader(service.Config{Name: "Loader"})
			m.demand("Echo", fixture(t, "echo"))
			m.must(service.DoStart, "Loader")
			f := m.openLoader("Loader")
			m.kill()
			m.start("DRVHOST_TEST_STEP=" + step)
			m.eventually("the manager is asked", func() bool {
				status := f.loads("Echo")
				if status == nt.STATUS_PORT_DISCONNECTED {
					select {
					case <-m.ended:
						return true
					default:
					}
				}
				return false
			})
			m.start()
			m.eventually("it is loaded", func() bool {
				return slices.Contains([]nt.Status{nt.STATUS_SUCCESS, nt.STATUS_IMAGE_ALREADY_LOADED},
					f.loads("Echo"))
			})
			m.becomes("Echo", service.Running)
			m.usable("Echo")
			assert.Len(t, m.hosts(), 2, "it was not started twice")
			assert.Equal(t, nt.STATUS_SUCCESS, f.unloads("Echo"))
			assert.Len(t, m.hosts(), 1)
		})
	}
}

func TestAManagerThatIsKilledWhileADriverEntryAsks(t *testing.T) {
	t.Parallel()
	for _, group := range []string{"both", ""} {
		t.Run(fmt.Sprintf("host group %q", group), func(t *testing.T) {
			t.Parallel()
			bin, err := steps()
			require.NoError(t, err)
			m := newManager(t)
			m.bin = bin
			m.start("DRVHOST_TEST_STEP=asked")
			m.newLoader(service.Config{Name: "Outer", HostGroup: group}, "Load", "Inner")
			m.newLoader(service.Config{Name: "Inner", HostGroup: group})
			require.Error(t, m.do(service.DoStart, "Outer"))
			<-m.ended
			m.start() // and ends the start
			m.becomes("Outer", service.Running)
			f := m.openLoader("Outer")
			assert.Equal(t, nt.STATUS_PORT_DISCONNECTED, f.entry())
			m.eventually("it is loaded", func() bool { return f.loads("Inner") == nt.STATUS_SUCCESS })
			m.becomes("Inner", service.Running)
		})
	}
}

// In a host without a manager the drivers' services are those of its own registry, and its sandbox
// leaves it the files on its volumes.
func TestADriverLoadsOthersInAHostWithoutAManager(t *testing.T) {
	t.Parallel()
	for sandbox, linux := range map[string]nt.Status{"on": nt.STATUS_ACCESS_DENIED,
		"off": nt.STATUS_SUCCESS} {
		t.Run("sandbox "+sandbox, func(t *testing.T) {
			t.Parallel()
			s := newShell(t)
			drive := filepath.Join(s.dir, "c")
			data, err := fixtures.Bytes("echo")
			require.NoError(t, err)
			require.NoError(t, os.MkdirAll(drive, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(drive, "echo.sys"), data, 0o600))
			reg := filepath.Join(s.dir, "services.reg")
			key := `[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\`
			require.NoError(t, os.WriteFile(reg, []byte("REGEDIT4\n"+
				key+"Echo]\n\"Type\"=dword:1\n\"ImagePath\"=\"\\\\??\\\\C:\\\\echo.sys\"\n"+
				key+"Lib]\n\"Type\"=dword:1\n\"ImagePath\"=\""+fixture(t, "exportlib")+"\"\n"), 0o600))
			h := s.load("--sandbox", sandbox, "--volume", "C="+drive, "--reg", reg,
				fixture(t, "loader"))
			open := func(name string) *client.File {
				f, err := client.Open(name, client.RuntimeDir(s.dir))
				require.NoError(t, err)
				return f
			}
			f := loaderFile{open("Loader"), t}
			assert.Equal(t, nt.STATUS_SUCCESS, f.loads("Echo"))
			echo := open("Echo")
			_, err = echo.Write([]byte("hello"))
			require.NoError(t, err)
			require.NoError(t, echo.Close())
			assert.Equal(t, linux, f.loads("Lib"))
			assert.Equal(t, nt.STATUS_SUCCESS, f.unloads("Echo"))
			_, err = client.Open("Echo", client.RuntimeDir(s.dir))
			require.Error(t, err)
			require.NoError(t, f.Close())
			assert.Zero(t, h.end(syscall.SIGINT))
			assert.NotContains(t, strings.ToLower(h.errs.String()), "stop 0x")
		})
	}
}

// Drivers and clients start and stop the same services, whose DriverEntries and DriverUnloads do
// so too. Whatever comes of each, it comes, and in the end all can be stopped.
func TestDriversAndClientsStartAndStopTheSameServices(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.start()
	const n = 6
	name := func(i int) string { return fmt.Sprint("S", i%n) }
	for i := range n {
		c := service.Config{Name: name(i), HostGroup: []string{"even", "odd"}[i%2]}
		if i == 2 || i == 3 {
			c.DependOnService = []string{name(i + 2)}
		}
		m.newLoader(c, "Load", name(i+1), "Unload", name(i+3))
	}
	var wg sync.WaitGroup
	for client := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), 6))
			for range 25 {
				what := []string{service.DoStart, service.DoStop}[random.IntN(2)]
				which, other := name(random.IntN(n)), name(random.IntN(n))
				if client%2 == 0 {
					_ = m.do(what, which)
					continue
				}
				f, err := m.open(which)
				if err != nil {
					_ = m.do(service.DoStart, which)
					continue
				}
				code := uint32(fixtures.IOCTL_LOADER_LOAD)
				if what == service.DoStop {
					code = fixtures.IOCTL_LOADER_UNLOAD
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				_, err = f.DeviceIoControl(ctx, code, guest.EncodeUTF16(ntoskrnl.Services+other),
					make([]byte, 4))
				assert.NoError(t, ctx.Err(), "it comes back")
				cancel()
				_ = err // the host may have been stopped
				_ = f.Close()
			}
		})
	}
	wg.Wait()
	m.eventually("all are stopped", func() bool {
		stopped := true
		for i := range n {
			_ = m.do(service.DoStop, name(i))
			st, _ := m.status(name(i))
			stopped = stopped && st.State == service.Stopped
		}
		return stopped && len(m.hosts()) == 0
	})
	assert.NotContains(t, m.log.String(), "a host has ended", "nothing has crashed")
	m.must(service.DoStart, "S0")
	m.usableLoader("S0")
	m.must(service.DoStop, "S0")
}

// usableLoader checks that a device of loader.sys answers.
func (m *manager) usableLoader(device string) {
	m.t.Helper()
	f := m.openLoader(device)
	f.entry()
	require.NoError(m.t, f.Close())
}
