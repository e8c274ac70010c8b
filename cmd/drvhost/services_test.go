package main

// The service manager and its hosts, as processes.

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost/registry"
	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// manager is a state directory with a daemon.
type manager struct {
	t     testing.TB
	sh    *shell
	state string
	bin   string
	flags []string // of the daemon
	cmd   *exec.Cmd
	log   *bytes.Buffer
	ended chan struct{}
}

// newManager makes a state directory; nothing of it runs any more when the test is over.
func newManager(t testing.TB) *manager {
	dir, err := os.MkdirTemp("", "drvs")
	require.NoError(t, err)
	m := &manager{t: t, sh: &shell{t, filepath.Join(dir, "run")}, state: filepath.Join(dir, "state"),
		bin: binary}
	t.Cleanup(func() {
		if m.cmd != nil {
			m.kill()
		}
		for _, pid := range m.hosts() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		m.eventually("the hosts end", func() bool { return len(m.hosts()) == 0 })
		_ = os.RemoveAll(dir)
		if t.Failed() && m.log != nil {
			t.Log(m.log.String())
		}
	})
	return m
}

// hosts gives the processes that are hosts of this manager.
func (m *manager) hosts() (pids []int) {
	proc, err := os.Open("/proc")
	require.NoError(m.t, err)
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	require.NoError(m.t, err)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + name + "/cmdline")
		args := strings.Split(string(b), "\x00")
		if err == nil && len(args) > 3 && args[1] == "host" && args[3] == m.sh.dir {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (m *manager) eventually(what string, ok func() bool) {
	m.t.Helper()
	for start := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(start) > patience {
			m.t.Fatalf("it does not happen that %s", what)
		}
	}
}

// start starts the daemon and waits until it answers, or has ended.
func (m *manager) start(env ...string) {
	m.t.Helper()
	m.cmd = exec.Command(m.bin, append([]string{"services"}, m.flags...)...)
	m.cmd.Env = append(m.environ(), env...)
	m.log = &bytes.Buffer{}
	m.cmd.Stderr = m.log
	require.NoError(m.t, m.cmd.Start())
	m.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(m.cmd, m.ended)
	m.eventually("the manager answers", func() bool {
		c, err := service.Dial(filepath.Join(m.state, service.ServicesSocket))
		if err == nil {
			_ = c.Close()
			return true
		}
		select {
		case <-m.ended:
			return true
		default:
			return false
		}
	})
}

func (m *manager) environ() []string {
	return append(os.Environ(), "DRVHOST_RUNTIME_DIR="+m.sh.dir, "DRVHOST_STATE_DIR="+m.state)
}

// kill kills the daemon and waits for its end.
func (m *manager) kill() {
	_ = m.cmd.Process.Kill()
	<-m.ended
}

// sc runs a command.
func (m *manager) sc(args ...string) result {
	m.t.Helper()
	cmd := exec.Command(binary, append([]string{"sc"}, args...)...)
	cmd.Env = m.environ()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // its status is looked at
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// does runs a command that has to succeed.
func (m *manager) does(args ...string) string {
	m.t.Helper()
	r := m.sc(args...)
	require.Zero(m.t, r.code, "sc %v: %s%s", args, r.out, r.err)
	return r.out
}

// running waits for a service to run, in another process than before, and gives that.
func (m *manager) running(name string, before string) (pid string) {
	m.t.Helper()
	m.eventually(name+" runs", func() bool {
		out := m.sc("queryex", name).out
		_, pid, _ = strings.Cut(out, "PID                : ")
		pid, _, _ = strings.Cut(pid, "\n")
		return strings.Contains(out, "RUNNING") && pid != before
	})
	return pid
}

func (m *manager) open(name string) (*client.File, error) {
	return client.Open(name, client.RuntimeDir(m.sh.dir))
}

// usable checks that a device can be used.
func (m *manager) usable(name string) {
	m.t.Helper()
	f, err := m.open(name)
	require.NoError(m.t, err)
	_, err = f.Write([]byte("hello"))
	require.NoError(m.t, err)
	require.NoError(m.t, f.Close())
}

func TestADriverIsRegisteredUsedRestartedStoppedAndDeleted(t *testing.T) {
	m := newManager(t)
	m.start()
	echo := fixture(t, "echo")
	assert.Equal(t, "[SC] CreateService SUCCESS\n",
		m.does("create", "Echo", "binPath=", echo, "type=", "kernel", "start=", "auto"))
	m.does("failure", "Echo", "reset=", "60", "actions=restart/10")
	query := m.does("query", "Echo")
	assert.Equal(t, `
SERVICE_NAME: Echo
        TYPE               : 1  KERNEL_DRIVER
        STATE              : 4  RUNNING
                                (STOPPABLE, NOT_PAUSABLE, IGNORES_SHUTDOWN)
        WIN32_EXIT_CODE    : 0  (0x0)
        SERVICE_EXIT_CODE  : 0  (0x0)
        CHECKPOINT         : 0x0
        WAIT_HINT          : 0x0
`, query)
	m.usable("Echo")
	f, err := m.open("Echo")
	require.NoError(t, err)
	pid := m.running("Echo", "")
	number, err := strconv.Atoi(pid)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(number, syscall.SIGKILL))
	_, err = f.Write([]byte("anybody?"))
	require.Error(t, err)
	_ = f.Close()
	m.running("Echo", pid)
	m.usable("Echo")

	m.kill() // and the host goes on
	m.usable("Echo")
	m.start()
	assert.Len(t, m.hosts(), 1)
	m.running("Echo", pid)

	assert.Contains(t, m.does("stop", "Echo"), "STOPPED")
	assert.Empty(t, m.hosts())
	_, err = m.open("Echo")
	require.ErrorIs(t, err, nt.STATUS_OBJECT_NAME_NOT_FOUND)
	assert.Equal(t, "[SC] DeleteService SUCCESS\n", m.does("delete", "Echo"))
	r := m.sc("query", "Echo")
	assert.Equal(t, 1060&0xFF, r.code)
	assert.Equal(t, "[SC] EnumQueryServicesStatus:OpenService FAILED 1060:\n\n"+
		"The specified service does not exist as an installed service.\n\n", r.out)
}

func TestWhatScRefuses(t *testing.T) {
	m := newManager(t)
	m.start()
	echo := fixture(t, "echo")
	m.does("create", "Echo", "binPath=", echo, "start=", "demand")
	m.does("create", "Off", "binPath=", echo, "start=", "disabled")
	m.does("create", "Gone", "binPath=", "/nowhere/gone.sys")
	m.does("create", "Text", "binPath=", "/proc/self/status")
	m.does("create", "Orphan", "binPath=", echo, "depend=", "Nobody")
	m.does("create", "Needy", "binPath=", echo, "depend=", "Gone")
	m.does("create", "A", "binPath=", echo, "depend=", "B")
	for _, c := range []struct {
		fact string
		args []string
		code int
	}{
		{"no such service", []string{"start", "Nope"}, 1060},
		{"not started", []string{"stop", "Echo"}, 1062},
		{"exists, in other letters", []string{"create", "ECHO", "binPath=", echo}, 1073},
		{"disabled", []string{"start", "Off"}, 1058},
		{"no file", []string{"start", "Gone"}, 2},
		{"no driver", []string{"start", "Text"}, 193},
		{"a dependency that is not there", []string{"start", "Orphan"}, 1075},
		{"a dependency that does not start", []string{"start", "Needy"}, 1068},
		{"a circle of two", []string{"config", "A", "depend=", "A"}, 1059},
		{"a name with a backslash", []string{"create", `a\b`, "binPath=", echo}, 123},
		{"an empty name", []string{"query", `a\b`}, 123},
		{"no image path", []string{"create", "Empty"}, 87},
		{"a display name that is taken", []string{"config", "Off", "displayname=", "Echo"}, 1078},
	} {
		t.Run(c.fact, func(t *testing.T) {
			r := m.sc(append(c.args, "--format", "json")...)
			lines := rows(t, r.out)
			require.Len(t, lines, 1, r.err)
			assert.EqualValues(t, c.code, lines[0]["code"], r.out)
			assert.Equal(t, max(c.code&0xFF, 1), r.code)
		})
	}
	m.does("start", "Echo")
	assert.Contains(t, m.sc("start", "Echo").out, "[SC] StartService FAILED 1056:\n\n"+
		"An instance of the service is already running.\n\n")
	m.does("delete", "Echo")
	assert.Contains(t, m.sc("delete", "Echo").out, "[SC] DeleteService FAILED 1072:")
	m.does("stop", "Echo")
	assert.Contains(t, m.sc("query", "Echo").out, "FAILED 1060")
}

func TestAnotherUserMayOnlyLook(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this takes root, to be another user")
	}
	m := newManager(t)
	m.start()
	m.does("create", "Echo", "binPath=", fixture(t, "echo"))
	require.NoError(t, os.Chmod(filepath.Dir(m.state), 0o755))
	as := func(args ...string) (string, error) {
		copied := filepath.Join(filepath.Dir(m.state), "drvhost")
		if _, err := os.Stat(copied); err != nil {
			b, err := os.ReadFile(binary)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(copied, b, 0o755))
		}
		cmd := exec.Command(copied, append([]string{"sc"}, args...)...)
		cmd.Env, cmd.Dir = m.environ(), "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := as("query", "Echo")
	require.NoError(t, err, out)
	out, err = as("start", "Echo")
	require.Error(t, err)
	assert.Contains(t, out, "[SC] StartService FAILED 5:\n\nAccess is denied.")
}

func TestServicesStartInTheOrderOfGroupsTagsAndDependencies(t *testing.T) {
	m := newManager(t)
	m.start()
	// Each has its driver's file missing, so that the order of the failures in the log is theirs.
	for _, args := range [][]string{
		{"Late", "start=", "auto"},
		{"System", "start=", "system", "group=", "Base"},
		{"Second", "start=", "boot", "group=", "Base", "tag=", "yes"},
		{"Third", "start=", "boot", "group=", "Base", "tag=", "yes"},
		{"Fourth", "start=", "boot", "group=", "Nobody knows it"},
		{"First", "start=", "boot", "group=", "System Reserved"},
	} {
		m.does(append([]string{"create", args[0], "binPath=", "/nowhere.sys"}, args[1:]...)...)
	}
	m.kill()
	m.start()
	m.eventually("all are tried", func() bool { return strings.Contains(m.does("query", "Late"), "2  (0x2)") })
	m.kill()
	var order []string
	for line := range strings.Lines(m.log.String()) {
		if _, after, ok := strings.Cut(line, "the service is not started: service="); ok {
			order = append(order, strings.Fields(after)[0])
		}
	}
	assert.Equal(t, []string{"First", "Second", "Third", "Fourth", "System", "Late"}, order)
}

func TestServicesOfOneHostGroupShareAProcess(t *testing.T) {
	m := newManager(t)
	m.start()
	m.does("create", "Lib", "binPath=", fixture(t, "exportlib"), "hostGroup=", "stack")
	m.does("create", "User", "binPath=", fixture(t, "importer"), "hostGroup=", "stack", "depend=", "Lib")
	m.does("start", "User")
	assert.Len(t, m.hosts(), 1)
	assert.Equal(t, m.running("Lib", ""), m.running("User", ""))
	assert.Contains(t, m.sc("stop", "Lib").out, "FAILED 1051")
	assert.Contains(t, m.does("enumdepend", "Lib"), "entriesread = 1")
	m.does("stop", "User")
	assert.Len(t, m.hosts(), 1)
	m.does("stop", "Lib")
	assert.Empty(t, m.hosts())
}

// steps is the command with points at which it can be made to die.
var steps = sync.OnceValues(func() (string, error) {
	path := binary + "-steps"
	cmd := exec.Command("go", "build", "-tags", "drvhost_steps", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestSystemdIsToldAndItsSocketTaken(t *testing.T) {
	m := newManager(t)
	dir := filepath.Dir(m.state)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/notify", Net: "unixgram"})
	require.NoError(t, err)
	defer notify.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/passed", Net: "unix"})
	require.NoError(t, err)
	defer l.Close()
	passed, err := l.File()
	require.NoError(t, err)
	defer passed.Close()
	// LISTEN_PID has to be the daemon's own.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" services`, binary)
	cmd.Env = append(m.environ(), "NOTIFY_SOCKET="+dir+"/notify", "LISTEN_FDS=1",
		"WATCHDOG_USEC=20000")
	cmd.ExtraFiles = []*os.File{passed}
	require.NoError(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	next := func() string {
		b := make([]byte, 100)
		require.NoError(t, notify.SetReadDeadline(time.Now().Add(patience)))
		n, err := notify.Read(b)
		require.NoError(t, err)
		return string(b[:n])
	}
	assert.Equal(t, "READY=1", next())
	assert.Equal(t, "WATCHDOG=1", next())
	c, err := service.Dial(dir + "/passed")
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Do(service.Request{Do: service.DoQuery})
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	for next() != "STOPPING=1" {
	}
}

// BenchmarkTwoHundredServices registers and starts as many, eight at a time, and beside it makes as many
// bare starts of the same binary.
func BenchmarkTwoHundredServices(b *testing.B) {
	m := newManager(b)
	m.start()
	c, err := service.Dial(filepath.Join(m.state, service.ServicesSocket))
	require.NoError(b, err)
	defer c.Close()
	driver, err := fixtures.Path("exportlib") // it has no device, so that there may be many
	require.NoError(b, err)
	const many, atOnce = 200, 8
	var start, bare time.Duration
	for range b.N {
		var wg sync.WaitGroup
		places := make(chan struct{}, atOnce)
		from := time.Now()
		for range many {
			places <- struct{}{}
			wg.Go(func() {
				assert.NoError(b, exec.Command(binary, "--version").Run())
				<-places
			})
		}
		wg.Wait()
		bare += time.Since(from)
		from = time.Now()
		next := make(chan int)
		for range atOnce {
			wg.Go(func() {
				c, err := service.Dial(filepath.Join(m.state, service.ServicesSocket))
				if !assert.NoError(b, err) {
					return
				}
				defer c.Close()
				for i := range next {
					_, err := c.Do(service.Request{Do: service.DoCreate, Config: &service.Config{
						Name: fmt.Sprint("S", i), Type: service.KernelDriver, Start: service.AutoStart,
						ImagePath: driver}})
					assert.NoError(b, err)
				}
			})
		}
		for i := range many {
			next <- i
		}
		close(next)
		wg.Wait()
		start += time.Since(from)
		r, err := c.Do(service.Request{Do: service.DoQuery})
		require.NoError(b, err)
		for _, s := range r.Services {
			assert.Equal(b, service.Running, s.State, s.Detail)
			_, err := c.Do(service.Request{Do: service.DoStop, Name: s.Name})
			require.NoError(b, err)
			_, err = c.Do(service.Request{Do: service.DoDelete, Name: s.Name})
			require.NoError(b, err)
		}
	}
	b.ReportMetric(float64(start)/float64(b.N), "ns")
	b.ReportMetric(float64(start)/float64(bare), "x-bare")
}

// BenchmarkStartToOpen is what sc start takes until a device is open, and beside it what a bare start
// of the same binary takes.
func BenchmarkStartToOpen(b *testing.B) {
	m := newManager(b)
	m.start()
	echo, err := fixtures.Path("echo")
	require.NoError(b, err)
	m.does("create", "Echo", "binPath=", echo)
	c, err := service.Dial(filepath.Join(m.state, service.ServicesSocket))
	require.NoError(b, err)
	defer c.Close()
	var open, bare time.Duration
	for range b.N {
		from := time.Now()
		require.NoError(b, exec.Command(binary, "--version").Run())
		bare += time.Since(from)
		from = time.Now()
		_, err := c.Do(service.Request{Do: service.DoStart, Name: "Echo"})
		require.NoError(b, err)
		f, err := m.open("Echo")
		require.NoError(b, err)
		open += time.Since(from)
		require.NoError(b, f.Close())
		_, err = c.Do(service.Request{Do: service.DoStop, Name: "Echo"})
		require.NoError(b, err)
	}
	b.ReportMetric(float64(open)/float64(b.N), "ns")
	b.ReportMetric(float64(open-bare)/float64(b.N), "ns-beyond")
	b.ReportMetric(float64(open)/float64(bare), "x-bare")
}

func TestADriverSeesTheManagersRegistryAndWritesToIt(t *testing.T) {
	m := newManager(t)
	m.start()
	m.does("create", "registry", "binPath=", fixture(t, "registry"))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	mirror, err := registry.Dial(ctx, filepath.Join(m.state, service.RegistrySocket))
	require.NoError(t, err)
	defer mirror.Close()
	k, _, status := mirror.Registry().Create(nil, service.ServicesKey+`\registry\Parameters`,
		cm.CreateOptions{Parents: true})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, k.Set("Limit", nt.REG_DWORD, cm.DWord(42)))
	says := func() string {
		m.does("start", "registry")
		f, err := m.open("Registry")
		require.NoError(t, err)
		defer f.Close()
		p := make([]byte, 256)
		n, err := f.Read(p)
		require.NoError(t, err)
		return strings.ReplaceAll(string(p[:n]), "\x00", "")
	}
	assert.Equal(t, "limit 42, greeting none, start 1", says())
	m.does("stop", "registry")
	m.kill()
	m.start()
	assert.Equal(t, "limit 42, greeting none, start 2", says(), "what it has written is kept")
	m.does("stop", "registry")
}

// A host that outlives its manager follows the registry of the next one, though its sandbox lets it
// connect to nothing: the next manager comes to it.
func TestAHostFollowsTheNextManagersRegistry(t *testing.T) {
	m := newManager(t)
	m.start()
	m.does("create", "E", "binPath=", fixture(t, "echo"), "hostGroup=", "both")
	m.does("start", "E")
	pids := m.hosts()
	require.Len(t, pids, 1)
	m.kill()
	m.start()
	require.Equal(t, pids, m.hosts())
	m.does("create", "registry", "binPath=", fixture(t, "registry"), "hostGroup=", "both")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	mirror, err := registry.Dial(ctx, filepath.Join(m.state, service.RegistrySocket))
	require.NoError(t, err)
	defer mirror.Close()
	k, _, status := mirror.Registry().Create(nil, service.ServicesKey+`\registry\Parameters`,
		cm.CreateOptions{Parents: true})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, k.Set("Limit", nt.REG_DWORD, cm.DWord(7)))
	require.Eventually(t, func() bool { // the manager may still be on its way to the host
		m.does("start", "registry")
		defer m.does("stop", "registry")
		f, err := m.open("Registry")
		require.NoError(t, err)
		defer f.Close()
		p := make([]byte, 256)
		n, err := f.Read(p)
		require.NoError(t, err)
		return strings.Contains(strings.ReplaceAll(string(p[:n]), "\x00", ""), "limit 7,")
	}, patience, 10*time.Millisecond)
	require.Equal(t, pids, m.hosts(), "in the same host")
	v, status := k.Value("Starts")
	require.Equal(t, nt.STATUS_SUCCESS, status, "what the driver writes comes to the manager")
	n, _ := v.Number()
	require.Positive(t, n)
	m.does("stop", "E")
}
