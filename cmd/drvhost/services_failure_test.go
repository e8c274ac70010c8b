package main

// What the manager does when services fail, with the settings for that, and what is left of crashes.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/registry"
	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// ran is a file that a failure's command adds a line to.
type ran struct {
	m    *manager
	path string
}

func newRan(m *manager) ran { return ran{m, filepath.Join(filepath.Dir(m.state), "ran")} }

// command gives a command that adds its argument.
func (r ran) command(argument string) string {
	return fmt.Sprintf(`/bin/sh -c "echo $0 >> %s; echo written" %s`, r.path, argument)
}

func (r ran) lines() []string {
	b, _ := os.ReadFile(r.path)
	return strings.Fields(string(b))
}

// has waits for the lines that are wanted.
func (r ran) has(lines ...string) {
	r.m.t.Helper()
	r.m.eventually(fmt.Sprintf("%v have run", lines), func() bool {
		return strings.Join(r.lines(), " ") == strings.Join(lines, " ")
	})
}

// fell kills the host of a service, and waits until the manager knows.
func (m *manager) fell(name string) {
	m.t.Helper()
	st, _ := m.status(name)
	require.Equal(m.t, service.Running, st.State, name)
	require.NoError(m.t, syscall.Kill(st.PID, syscall.SIGKILL))
	m.eventually(name+" has failed", func() bool {
		now, _ := m.status(name)
		return now.Failures > st.Failures || now.PID != st.PID
	})
}

func TestAFailureRunsACommandRestartsAndRestartsEverything(t *testing.T) {
	m := newManager(t)
	m.start()
	r := newRan(m)
	m.does("create", "Echo", "binPath=", m.echo(), "start=", "demand")
	m.does("create", "Auto", "binPath=", fixture(t, "exportlib"), "start=", "auto")
	m.does("create", "Rest", "binPath=", fixture(t, "exportlib"), "start=", "auto", "depend=", "Auto")
	m.does("create", "Demand", "binPath=", fixture(t, "exportlib"), "start=", "demand")
	assert.Equal(t, "[SC] ChangeServiceConfig2 SUCCESS\n", m.does("failure", "Echo", "reset=", "600",
		"actions=", "run/1/restart/1/reboot/1", "command=", r.command("/fail=%1%"), "reboot=", "oh no"))
	assert.Equal(t, `[SC] QueryServiceConfig2 SUCCESS

SERVICE_NAME: Echo
        RESET_PERIOD (in seconds)    : 600
        REBOOT_MESSAGE               : oh no
        COMMAND_LINE                 : `+r.command("/fail=%1%")+`
        FAILURE_ACTIONS              : RUN PROCESS -- Delay = 1 milliseconds.
                                       RESTART -- Delay = 1 milliseconds.
                                       REBOOT -- Delay = 1 milliseconds.
`, m.does("qfailure", "Echo"))

	m.does("start", "Echo")
	m.fell("Echo")
	r.has("/fail=1")
	assert.Equal(t, service.Stopped, m.becomes("Echo", service.Stopped).State)
	log, err := os.ReadFile(filepath.Join(m.state, "hosts", "service-ECHO", "host.log"))
	require.NoError(t, err)
	m.eventually("what the command writes is in the log", func() bool {
		log, err = os.ReadFile(filepath.Join(m.state, "hosts", "service-ECHO", "host.log"))
		return err == nil && strings.Contains(string(log), "written\n")
	})

	m.does("start", "Echo")
	before := m.becomes("Echo", service.Running).PID
	m.fell("Echo")
	m.running("Echo", strconv.Itoa(before))

	m.does("start", "Demand")
	m.does("stop", "Rest")
	auto := m.becomes("Auto", service.Running).PID
	m.fell("Echo")
	m.eventually("everything is started again", func() bool {
		a, _ := m.status("Auto")
		rest, _ := m.status("Rest")
		return a.State == service.Running && a.PID != auto && rest.State == service.Running
	})
	assert.Equal(t, service.NeverStarted, m.becomes("Demand", service.Stopped).ExitCode)
	m.becomes("Echo", service.Stopped)
	assert.Len(t, m.hosts(), 2)
	assert.Equal(t, []string{"/fail=1"}, r.lines())
	m.kill()
	assert.Contains(t, m.log.String(), `message="oh no"`)
}

func TestADriverThatRefusesToStartIsAFailureIfTheFlagSaysSo(t *testing.T) {
	m := newManager(t)
	m.start()
	r := newRan(m)
	m.does("create", "Refuse", "binPath=", fixture(t, "refuse"))
	m.does("failure", "Refuse", "reset=", "600", "actions=", "run/0", "command=", r.command("ran"))
	assert.Equal(t, "[SC] QueryServiceConfig2 SUCCESS\n\nSERVICE_NAME: Refuse\n"+
		"        FAILURE_ACTIONS_ON_NONCRASH_FAILURES: FALSE\n", m.does("qfailureflag", "Refuse"))
	assert.NotZero(t, m.sc("start", "Refuse").code)
	st, _ := m.status("Refuse")
	assert.Zero(t, st.Failures)
	m.does("failureflag", "Refuse", "1")
	assert.Contains(t, m.does("qfailureflag", "Refuse"), "NONCRASH_FAILURES: TRUE\n")
	assert.NotZero(t, m.sc("start", "Refuse").code)
	r.has("ran")
	st, _ = m.status("Refuse")
	assert.Equal(t, 1, st.Failures)
	assert.Equal(t, 2, m.sc("failureflag", "Refuse", "yes").code)
	// A file that is not there is nobody's failure.
	m.does("config", "Refuse", "binPath=", "/nowhere.sys")
	assert.NotZero(t, m.sc("start", "Refuse").code)
	st, _ = m.status("Refuse")
	assert.Equal(t, 1, st.Failures)
}

// write writes a value of a service's key, as drvhost reg does.
func (m *manager) write(name, value string, typ uint32, data []byte) {
	m.t.Helper()
	mirror, err := registry.Dial(m.t.Context(), filepath.Join(m.state, service.RegistrySocket))
	require.NoError(m.t, err)
	defer mirror.Close()
	k, status := mirror.Registry().Open(nil, service.ServicesKey+`\`+name, false)
	require.Equal(m.t, nt.STATUS_SUCCESS, status)
	require.Equal(m.t, nt.STATUS_SUCCESS, k.Set(value, typ, data))
}

func TestACommandThatWasWrittenToTheRegistryIsNotRun(t *testing.T) {
	m := newManager(t)
	m.start()
	r := newRan(m)
	m.does("create", "Echo", "binPath=", m.echo())
	m.does("failure", "Echo", "reset=", "600", "actions=", "run/0", "command=", r.command("good"))
	m.write("Echo", "FailureCommand", nt.REG_SZ, cm.SZ(r.command("evil")))
	asked := m.sc("qfailure", "Echo")
	assert.Contains(t, asked.out, "evil")
	assert.Contains(t, asked.err, "is not run")
	m.does("description", "Echo", "something else")
	m.does("start", "Echo")
	m.fell("Echo")
	m.eventually("it is not run", func() bool {
		st, _ := m.status("Echo")
		return st.State == service.Stopped && strings.Contains(m.said(), "was not set through the manager")
	})
	assert.Empty(t, r.lines())
	m.does("failure", "Echo", "command=", r.command("better"))
	m.does("start", "Echo")
	m.fell("Echo")
	r.has("better")
}

// said gives what the daemon has logged, which is complete only once it has ended.
func (m *manager) said() string {
	m.kill()
	said := m.log.String()
	m.start()
	return said
}

func TestOnlyTheManagersOwnUserSetsACommand(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this takes root, to be another user")
	}
	m := newManager(t)
	m.flags = []string{"--allow-user", "65534"}
	m.start()
	r := newRan(m)
	m.does("create", "Echo", "binPath=", m.echo(), "start=", "auto")
	copied := filepath.Join(filepath.Dir(m.state), "drvhost")
	b, err := os.ReadFile(binary)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(filepath.Dir(m.state), 0o755))
	require.NoError(t, os.WriteFile(copied, b, 0o755))
	as := func(args ...string) (string, error) {
		cmd := exec.Command(copied, args...)
		cmd.Env, cmd.Dir = m.environ(), "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := as("sc", "failure", "Echo", "reset=", "600", "actions=", "run/0")
	require.NoError(t, err, out)
	for _, args := range [][]string{
		{"sc", "failure", "Echo", "command=", r.command("evil")},
		{"sc", "failure", "Echo", "reset=", "0", "actions=", "run/0", "command=", r.command("evil")},
	} {
		out, err = as(args...)
		require.Error(t, err)
		assert.Contains(t, out, "[SC] ChangeServiceConfig2 FAILED 5:\n\nAccess is denied.")
	}
	out, err = as("reg", "add", `HKLM\System\CurrentControlSet\Services\Echo`, "/v", "FailureCommand",
		"/d", r.command("evil"), "/f")
	require.NoError(t, err, out)
	m.fell("Echo")
	m.eventually("it is not run", func() bool {
		return strings.Contains(m.said(), "was not set through the manager")
	})
	assert.Empty(t, r.lines())
	// One who may change services may take a command away.
	m.does("failure", "Echo", "command=", r.command("good"))
	out, err = as("sc", "failure", "Echo", "command=", "")
	require.NoError(t, err, out)
	assert.Empty(t, m.config("Echo").Failure.Command)
}

// A driver that writes to its Parameters key, which leads to another service's, is refused.
func TestADriverDoesNotWriteToOtherServices(t *testing.T) {
	m := newManager(t)
	m.start()
	m.does("create", "registry", "binPath=", fixture(t, "registry"))
	m.does("create", "Victim", "binPath=", m.echo())
	mirror, err := registry.Dial(t.Context(), filepath.Join(m.state, service.RegistrySocket))
	require.NoError(t, err)
	defer mirror.Close()
	reg := mirror.Registry()
	key := func(path string, o cm.CreateOptions) *cm.Key {
		k, _, status := reg.Create(nil, service.ServicesKey+`\`+path, o)
		require.Equal(t, nt.STATUS_SUCCESS, status)
		return k
	}
	of := key(`Victim\Parameters`, cm.CreateOptions{})
	link := key(`registry\Parameters`, cm.CreateOptions{Link: true})
	require.Equal(t, nt.STATUS_SUCCESS, link.Set("SymbolicLinkValue", nt.REG_LINK,
		cm.Encode(`\Registry\Machine\System\CurrentControlSet\Services\Victim\Parameters`, false)))
	m.sc("start", "registry") // as it likes
	_, status := of.Value("Starts")
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status, "nothing is written there")
	m.sc("stop", "registry")
	require.Equal(t, nt.STATUS_SUCCESS, link.Delete())
	of = key(`registry\Parameters`, cm.CreateOptions{})
	m.does("start", "registry")
	m.eventually("it writes to its own", func() bool {
		_, status := of.Value("Starts")
		return status == nt.STATUS_SUCCESS
	})
}

func TestAFailureActionThatWaitsIsTakenBackByAStopAndOutlivesTheManager(t *testing.T) {
	m := newManager(t)
	m.start()
	r := newRan(m)
	m.does("create", "Echo", "binPath=", m.echo())
	m.does("failure", "Echo", "reset=", "600", "actions=", "restart/600000/run/600000",
		"command=", r.command("ran"))
	waits := func() service.Status {
		m.does("start", "Echo")
		m.fell("Echo")
		st, _ := m.status("Echo")
		require.True(t, st.Restarting)
		return st
	}
	waits()
	m.kill()
	m.start()
	st, _ := m.status("Echo")
	assert.True(t, st.Restarting, "the next manager waits on")
	assert.Equal(t, 1, st.Failures, "and counts nothing twice")
	m.does("stop", "Echo")
	st, _ = m.status("Echo")
	assert.False(t, st.Restarting)
	assert.Equal(t, 1062&0xFF, m.sc("stop", "Echo").code)
	m.does("start", "Echo")
	m.fell("Echo") // the second time, so that a command waits
	m.does("delete", "Echo")
	_, ok := m.status("Echo")
	assert.False(t, ok)
	// A delay that has passed while no manager ran is over.
	m.does("create", "Echo", "binPath=", m.echo())
	m.does("failure", "Echo", "reset=", "600", "actions=", "restart/200")
	m.does("start", "Echo")
	m.fell("Echo")
	m.kill()
	m.start()
	m.running("Echo", "")
	m.usable("Echo")
	assert.Empty(t, r.lines())
}

// A manager that is killed while it restarts everything is followed by one that ends that.
func TestARestartOfEverythingOutlivesTheManager(t *testing.T) {
	bin, err := steps()
	require.NoError(t, err)
	for _, step := range []string{"reboot", "stop wished", "stopped", "all stopped", "rebooted"} {
		t.Run(step, func(t *testing.T) {
			m := newManager(t)
			m.bin = bin
			m.start()
			m.does("create", "Auto", "binPath=", fixture(t, "exportlib"), "start=", "auto")
			m.does("create", "Echo", "binPath=", m.echo(), "start=", "demand")
			m.does("failure", "Echo", "reset=", "600", "actions=", "reboot/0")
			m.does("start", "Echo")
			m.kill()
			m.start("DRVHOST_TEST_STEP=" + step)
			auto, _ := m.status("Auto")
			st, _ := m.status("Echo")
			require.NoError(t, syscall.Kill(st.PID, syscall.SIGKILL))
			<-m.ended
			m.start()
			m.eventually("everything is started again", func() bool {
				now, _ := m.status("Auto")
				return now.State == service.Running && now.PID != auto.PID
			})
			m.becomes("Echo", service.Stopped)
			assert.Len(t, m.hosts(), 1)
			assert.NoFileExists(t, filepath.Join(m.state, "reboot"))
		})
	}
}

// A service that is given another host group while it runs is known in the old one as in the new.
func TestAServiceThatChangesItsHostGroupWhileItRunsIsNotLost(t *testing.T) {
	m := newManager(t)
	m.start()
	m.does("create", "Echo", "binPath=", m.echo(), "start=", "demand")
	m.does("create", "Auto", "binPath=", fixture(t, "exportlib"), "start=", "auto")
	m.does("failure", "Echo", "reset=", "600", "actions=", "restart/1")
	m.does("start", "Echo")
	st, _ := m.status("Echo")
	m.does("config", "Echo", "hostGroup=", "both")
	m.does("config", "Auto", "hostGroup=", "both")
	assert.Contains(t, m.sc("start", "Echo").out, "FAILED 1056")
	m.does("stop", "Auto")
	m.killAll()
	m.start()
	m.running("Echo", strconv.Itoa(st.PID))
	assert.Equal(t, service.Stopped, m.becomes("Auto", service.Stopped).State, "it was stopped by hand")
	m.does("start", "Auto")
	assert.Len(t, m.hosts(), 1, "now they share a host")
	m.clean()
}

// The start that a manager was ended in is ended by the next one.
func TestAManagerThatIsEndedInAStartForgetsNothing(t *testing.T) {
	s := newStepped(t)
	s.begin()
	s.does("create", "Echo", "binPath=", s.echo())
	s.arm("hold", "host", "host: loading")
	answer := make(chan error, 1)
	go func() { answer <- s.do(service.DoStart, "Echo") }()
	s.eventually("the host loads", func() bool { return s.told("host") })
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	<-s.ended
	require.Error(t, <-answer)
	require.NoError(t, os.Remove(filepath.Join(s.dir, "died.host"))) // it goes on
	s.begin()
	s.serves("Echo")
	s.clean()
}

// Where a start meets a stop of what it needs, one of them is refused.
func TestNothingRunsWithoutWhatItNeeds(t *testing.T) {
	s := newStepped(t)
	s.begin()
	s.does("create", "Lib", "binPath=", fixture(t, "exportlib"))
	s.does("create", "Echo", "binPath=", s.echo(), "depend=", "Lib")
	meet := func(step string) (started, stopped error) {
		s.must(service.DoStart, "Lib")
		s.arm("hold", "manager", step)
		answer := make(chan error, 1)
		go func() { answer <- s.do(service.DoStart, "Echo") }()
		s.eventually("it is begun", func() bool { return s.told("manager") })
		stopped = s.do(service.DoStop, "Lib")
		require.NoError(t, os.Remove(filepath.Join(s.dir, "died.manager"))) // it goes on
		return <-answer, stopped
	}
	started, stopped := meet("dependencies run")
	require.NoError(t, stopped)
	require.ErrorIs(t, started, service.DependencyFailed)
	s.rests("Echo")
	started, stopped = meet("wished")
	require.ErrorIs(t, stopped, service.DependentRunning)
	require.NoError(t, started)
	s.usable("Echo")
	s.must(service.DoStop, "Echo")
	s.clean()
}

func TestSettingsApplyAndAreReadAgain(t *testing.T) {
	m := newManager(t)
	require.NoError(t, os.MkdirAll(m.state, 0o700))
	put := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(m.state, service.SettingsFile), []byte(text), 0o600))
	}
	check := func(args ...string) result {
		cmd := exec.Command(binary, append([]string{"services", "--check-config"}, args...)...)
		cmd.Env = m.environ()
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run() // its status is looked at
		return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	}
	put(`{"heartbeat": 5}`)
	r := check()
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.err, "config.json: heartbeat: want a time such as")
	put(`{"users": ["nobody at all"]}`)
	assert.Contains(t, check().err, "unknown user")
	put(`{"heartbeat": "5s", "sandbox": "off", "start_limit": "7s", "users": [4711]}`)
	r = check("--sandbox", "on", "--timeout", "9s")
	require.Zero(t, r.code, r.err)
	var s map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.out), &s))
	assert.Equal(t, "5s", s["heartbeat"])
	assert.Equal(t, "on", s["sandbox"])
	assert.Equal(t, "9s", s["start_limit"])
	assert.Equal(t, []any{"4711"}, s["users"])

	ran := newRan(m)
	dir := filepath.Dir(m.state)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/notify", Net: "unixgram"})
	require.NoError(t, err)
	defer notify.Close()
	told := func(want string) {
		b := make([]byte, 200)
		require.NoError(t, notify.SetReadDeadline(time.Now().Add(patience)))
		n, err := notify.Read(b)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(b[:n]), want), string(b[:n]))
	}
	again := func() {
		require.NoError(t, m.cmd.Process.Signal(syscall.SIGHUP))
		told("RELOADING=1\nMONOTONIC_USEC=")
		told("READY=1")
	}
	put("{}")
	m.start("NOTIFY_SOCKET=" + dir + "/notify")
	told("READY=1")
	m.does("create", "Echo", "binPath=", m.echo())
	m.does("create", "Own", "binPath=", fixture(t, "exportlib"))
	m.does("failure", "Own", "reset=", "600", "actions=", "")
	m.does("start", "Echo")
	m.does("start", "Own")
	m.fell("Echo")
	m.becomes("Echo", service.Stopped)
	file, err := json.Marshal(map[string]any{"failure": map[string]any{"reset_period": 600,
		"actions": []any{map[string]any{"type": "run"}, map[string]any{"type": "restart"}},
		"command": ran.command("default")}})
	require.NoError(t, err)
	put(string(file))
	again()
	put(`{"heartbeat": "never"}`) // the settings stay as they were
	again()
	st, _ := m.status("Echo")
	assert.Equal(t, 1, st.Failures)
	m.does("start", "Echo")
	m.fell("Echo") // for the second time
	m.running("Echo", strconv.Itoa(st.PID))
	m.fell("Own")
	m.becomes("Own", service.Stopped)
	assert.Empty(t, ran.lines(), "nothing was to be done about that one")
	m.does("failure", "Own", "reset=", "0", "actions=", "run/0")
	m.does("create", "Third", "binPath=", fixture(t, "exportlib"))
	m.does("start", "Third")
	m.fell("Third")
	ran.has("default")
	m.kill()
	assert.Contains(t, m.log.String(), "heartbeat: want a time such as")
}

func TestCrashesAreListedShownAndPruned(t *testing.T) {
	m := newManager(t)
	m.start()
	m.does("create", "Faulty", "binPath=", fixture(t, "faults"))
	m.does("failure", "Faulty", "reset=", "0", "actions=", "restart/0")
	crashes := func(args ...string) result {
		cmd := exec.Command(binary, append([]string{"crashes"}, args...)...)
		cmd.Env = m.environ()
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run() // its status is looked at
		return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	}
	assert.Contains(t, crashes().err, "no crash is kept")
	m.does("start", "Faulty")
	assert.NotContains(t, m.does("queryex", "Faulty"), "LAST_CRASH")
	var pids []int
	for range 2 {
		st := m.becomes("Faulty", service.Running)
		pids = append(pids, st.PID)
		f, err := m.open("Faults")
		require.NoError(t, err)
		_, err = f.DeviceIoControl(t.Context(), fixtures.IOCTL_FAULTS_WRITE_NULL, nil, nil)
		require.Error(t, err)
		_ = f.Close()
		m.running("Faulty", strconv.Itoa(st.PID))
	}
	var all []service.Crash
	r := crashes("--format", "json")
	require.NoError(t, json.Unmarshal([]byte(r.out), &all), r.out+r.err)
	require.Len(t, all, 2)
	for i, c := range all {
		assert.Equal(t, []string{"Faulty"}, c.Services)
		assert.Equal(t, pids[i], c.PID)
		assert.Equal(t, "faults", c.Driver)
		assert.Contains(t, c.Bugcheck, "STATUS_ACCESS_VIOLATION: write to 0x0 at faults.sys+0x")
		assert.DirExists(t, c.Path)
	}
	last := m.does("queryex", "Faulty")
	assert.Contains(t, last, "        LAST_CRASH         : ")
	assert.Contains(t, last, "STATUS_ACCESS_VIOLATION: write to 0x0")
	assert.Contains(t, last, all[1].Path)
	text := crashes().out
	assert.Contains(t, text, "TIME")
	assert.Contains(t, text, fmt.Sprint(pids[0]))
	assert.Equal(t, 3, strings.Count(text, "\n"))
	assert.Contains(t, crashes("show", all[0].ID).out, "*** STOP")
	assert.Contains(t, crashes("show", all[0].ID, "--format", "json").out, `"rip"`)
	assert.Equal(t, exitFailure, crashes("show", "nothing-20260101T000000-1").code)
	assert.Equal(t, exitUsage, crashes("prune").code)
	assert.Equal(t, exitUsage, crashes("prune", "--older-than", "long").code)
	assert.Empty(t, crashes("prune", "--older-than", "1d").out)
	assert.Equal(t, all[0].Path+"\n", crashes("prune", "--keep", "1").out)
	assert.NoDirExists(t, all[0].Path)
	m.does("stop", "Faulty")
	m.kill()
	m.start()
	assert.Contains(t, m.does("queryex", "Faulty"), all[1].Path, "the next manager knows it")
}

func TestScQueryPicksServicesAsAsked(t *testing.T) {
	m := newManager(t)
	m.start()
	m.does("create", "A", "binPath=", fixture(t, "exportlib"), "displayname=", "The first")
	m.does("create", "B", "binPath=", fixture(t, "exportlib"), "type=", "filesys", "group=", "Base")
	m.does("create", "C", "binPath=", fixture(t, "exportlib"), "group=", "base")
	m.does("start", "C")
	for _, c := range []struct{ args, names string }{
		{"", "C"},
		{"state= all", "A B C"},
		{"state= active", "C"},
		{"state= inactive", "A B"},
		{"type= driver state= all", "A B C"},
		{"type= all state= all", "A B C"},
		{"type= kernel state=all", "A C"},
		{"type= driver type= filesys state= all", "A B C"},
		{"type= filesys state= all", "B"},
		{"type= service state= all", ""},
		{"group= BASE state= all", "B C"},
		{"group= |state= all", "A"},
		{"state= all ri= 1", "B C"},
		{"state= all ri= 3", ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := append([]string{"query"}, strings.Fields(c.args)...)
			if before, after, ok := strings.Cut(c.args, "|"); ok { // an empty word
				args = append(append([]string{"query"}, strings.Fields(before)...), "")
				args = append(args, strings.Fields(after)...)
			}
			var names []string
			for line := range strings.Lines(m.does(args...)) {
				if name, ok := strings.CutPrefix(line, "SERVICE_NAME: "); ok {
					names = append(names, strings.TrimSpace(name))
				}
			}
			assert.Equal(t, c.names, strings.Join(names, " "))
		})
	}
	r := m.sc("query", "state=", "all", "bufsize=", "100")
	assert.Equal(t, 234, r.code)
	assert.Contains(t, r.out, "SERVICE_NAME: A\n")
	assert.NotContains(t, r.out, "SERVICE_NAME: B\n")
	assert.Contains(t, r.out, "Enum: more data, need 128 bytes start resume at index 1\n")
	rest := m.sc("query", "state=", "all", "ri=", "1", "--format", "json")
	assert.Equal(t, "B", rows(t, rest.out)[0]["services"].([]any)[0].(map[string]any)["name"])
	for _, args := range [][]string{{"query", "state=", "odd"}, {"query", "type=", "odd"},
		{"query", "colour=", "x"}, {"query", "A", "B"}, {"failure", "A"},
		{"failure", "A", "reset=", "1"}, {"failure", "A", "actions=", "restart/1"}} {
		assert.Equal(t, exitUsage, m.sc(args...).code, args)
	}
	assert.Equal(t, "[SC] GetServiceDisplayName SUCCESS\nName = The first\n",
		m.does("getdisplayname", "a"))
	assert.Equal(t, "[SC] GetServiceKeyName SUCCESS\nName = A\n", m.does("getkeyname", "the FIRST"))
	r = m.sc("getkeyname", "nobody")
	assert.Equal(t, 1060&0xFF, r.code)
	assert.Contains(t, r.out, "[SC] GetServiceKeyName FAILED 1060:")
	m.does("description", "A", "what it is")
	assert.Equal(t, "[SC] QueryServiceConfig2 SUCCESS\n\nSERVICE_NAME: A\nDESCRIPTION:  what it is\n",
		m.does("qdescription", "A"))
	m.does("description", "A", "")
	assert.Contains(t, m.does("qdescription", "A"), "DESCRIPTION:  \n")
}
