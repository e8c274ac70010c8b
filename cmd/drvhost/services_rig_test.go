package main

// What the tests of the service manager share: what they ask it, what has to be so, and how a
// process is made to die at a step of what it does.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/nt"
)

// stepped is a manager that dies where a test wants it to; see package stepping.
type stepped struct {
	*manager
	dir string
	pid int    // of the host, before
	at  string // the step that the manager has come to
}

func newStepped(t testing.TB) *stepped {
	bin, err := steps()
	require.NoError(t, err)
	m := newManager(t)
	m.bin = bin
	s := &stepped{manager: m, dir: filepath.Join(m.sh.dir, "steps")}
	return s
}

// begin starts the daemon and waits until it has answered, or has ended.
func (s *stepped) begin() {
	s.t.Helper()
	s.start("DRVHOST_TEST_STEPS=" + s.dir)
	require.NoError(s.t, os.MkdirAll(s.dir, 0o700))
	_ = s.alive("the manager answers", func() bool { // what it dies of is looked at later
		_, err := s.ask(service.Request{Do: service.DoQuery})
		return err == nil
	})
}

// arm has a process of a role, host or manager, be killed at a step, or held there: the nth from
// now, or one with a name.
func (s *stepped) arm(how, role, at string) {
	s.t.Helper()
	_ = os.Remove(filepath.Join(s.dir, "died."+role))
	path := filepath.Join(s.dir, how+"."+role)
	require.NoError(s.t, os.WriteFile(path+".new", []byte(at), 0o600))
	require.NoError(s.t, os.Rename(path+".new", path))
}

// disarmed takes that back; ok is false if it has come to the step.
func (s *stepped) disarmed(how, role string) (ok bool) {
	s.t.Helper()
	err := os.Remove(filepath.Join(s.dir, how+"."+role))
	if err != nil {
		require.ErrorIs(s.t, err, fs.ErrNotExist)
	}
	return err == nil
}

// told says whether a process has come to the step that it was armed with.
func (s *stepped) told(role string) bool {
	_, err := os.Stat(filepath.Join(s.dir, "died."+role))
	return err == nil
}

// diedAt gives the step that a process has come to.
func (s *stepped) diedAt(role string) (name string) {
	s.t.Helper()
	s.eventually("a "+role+" comes to its step", func() bool {
		b, err := os.ReadFile(filepath.Join(s.dir, "died."+role))
		_, name, _ = strings.Cut(string(b), " ")
		return err == nil
	})
	return name
}

// gone waits until the process that was killed at a step is no more.
func (s *stepped) gone(role string) {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "died."+role))
	require.NoError(s.t, err)
	pid, _, _ := strings.Cut(string(b), " ")
	s.eventually("it ends", func() bool {
		b, err := os.ReadFile("/proc/" + pid + "/cmdline")
		return err != nil || len(b) == 0
	})
}

// ask asks the daemon.
func (m *manager) ask(r service.Request) (*service.Response, error) {
	c, err := service.Dial(filepath.Join(m.state, service.ServicesSocket))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Do(r)
}

func (m *manager) do(what, name string) error {
	_, err := m.ask(service.Request{Do: what, Name: name})
	return err
}

// must does it, and nothing may go wrong.
func (m *manager) must(what, name string) {
	m.t.Helper()
	require.NoError(m.t, m.do(what, name), "%s %s", what, name)
}

// create registers a service.
func (m *manager) create(c service.Config) error {
	c.Type = service.KernelDriver
	_, err := m.ask(service.Request{Do: service.DoCreate, Config: &c})
	return err
}

func (m *manager) mustCreate(c service.Config) {
	m.t.Helper()
	require.NoError(m.t, m.create(c), c.Name)
}

// status asks what a service does; ok is false if there is none.
func (m *manager) status(name string) (st service.Status, ok bool) {
	m.t.Helper()
	r, err := m.ask(service.Request{Do: service.DoQuery, Name: name})
	if errors.Is(err, service.DoesNotExist) {
		return st, false
	}
	require.NoError(m.t, err)
	return r.Services[0], true
}

func (m *manager) config(name string) service.Config {
	m.t.Helper()
	r, err := m.ask(service.Request{Do: service.DoConfig, Name: name})
	require.NoError(m.t, err)
	return *r.Config
}

// becomes waits until a service has a state, and gives its status.
func (m *manager) becomes(name string, want service.State) (st service.Status) {
	m.t.Helper()
	m.eventually(fmt.Sprintf("%s has state %d", name, want), func() bool {
		st, _ = m.status(name)
		return st.State == want && (want != service.Stopped || !st.Restarting)
	})
	return st
}

// serves checks that a service runs in one host of its own, and that its device can be used.
func (m *manager) serves(name string) (pid int) {
	m.t.Helper()
	pid = m.hosted(name)
	m.usable("Echo")
	return pid
}

// hosted checks that a service runs in the only host.
func (m *manager) hosted(name string) (pid int) {
	m.t.Helper()
	m.eventually(name+" runs, in the only host", func() bool {
		st, _ := m.status(name)
		pid = st.PID // of one that has just died, for a moment
		return st.State == service.Running && slices.Equal(m.hosts(), []int{pid})
	})
	return pid
}

// rests checks that a service does not run, and that its device is not there.
func (m *manager) rests(name string) service.Status {
	m.t.Helper()
	st := m.becomes(name, service.Stopped)
	require.Empty(m.t, m.hosts())
	_, err := m.open("Echo")
	require.ErrorIs(m.t, err, nt.STATUS_OBJECT_NAME_NOT_FOUND)
	return st
}

// clean stops and deletes every service, and checks that nothing is left of any.
func (m *manager) clean() {
	m.t.Helper()
	r, err := m.ask(service.Request{Do: service.DoQuery})
	require.NoError(m.t, err)
	left := r.Services
	for len(left) > 0 {
		st := left[0]
		left = left[1:]
		err := m.do(service.DoStop, st.Name)
		switch {
		case errors.Is(err, service.DependentRunning):
			left = append(left, st) // behind what depends on it
			continue
		case errors.Is(err, service.NotActive), errors.Is(err, service.DoesNotExist):
		default:
			require.NoError(m.t, err, st.Name)
		}
		err = m.do(service.DoDelete, st.Name)
		if !errors.Is(err, service.DoesNotExist) { // it was marked for deletion before
			require.NoError(m.t, err, st.Name)
		}
		_, ok := m.status(st.Name)
		require.False(m.t, ok, st.Name)
	}
	require.Empty(m.t, m.hosts())
	m.eventually("no host's directory is left", func() bool {
		dirs, err := os.ReadDir(filepath.Join(m.state, "hosts"))
		require.NoError(m.t, err)
		return len(dirs) == 0
	})
}

// swept checks that nothing in the runtime directory outlives the dead for longer than until the
// next host has started.
func (m *manager) swept() {
	m.t.Helper()
	m.mustCreate(service.Config{Name: "Sweeper", Start: service.DemandStart, ImagePath: m.echo()})
	m.must(service.DoStart, "Sweeper")
	m.clean()
	for _, dir := range []string{"hosts", "DosDevices"} {
		left, err := os.ReadDir(filepath.Join(m.sh.dir, dir))
		require.NoError(m.t, err)
		for _, e := range left {
			require.True(m.t, e.IsDir() || strings.HasSuffix(e.Name(), "lock"), e.Name())
		}
	}
}

func (m *manager) echo() string {
	m.t.Helper()
	return fixture(m.t, "echo")
}

// again has a service started again at once.
var again = service.FailureActions{Actions: []service.Action{{Type: service.ActionRestart,
	Delay: 1}}}

// alive waits until something is so, or the manager has ended, which is an error.
func (s *stepped) alive(what string, ok func() bool) (err error) {
	s.t.Helper()
	s.eventually(what, func() bool {
		select {
		case <-s.ended:
			err = errors.New("the manager has ended")
			return true
		default:
			return ok()
		}
	})
	return err
}

// runs says whether the service runs, of a manager that may die.
func (s *stepped) runs(name string, notIn int) bool {
	r, err := s.ask(service.Request{Do: service.DoQuery, Name: name})
	return err == nil && r.Services[0].State == service.Running && r.Services[0].PID != notIn
}

// reboot makes what is left look as of another start of the machine, with its manager and hosts
// gone.
func (m *manager) reboot() {
	m.t.Helper()
	m.killAll()
	files, err := filepath.Glob(filepath.Join(m.state, "hosts", "*", "state.json"))
	require.NoError(m.t, err)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	require.NoError(m.t, err)
	for _, path := range files {
		b, err := os.ReadFile(path)
		require.NoError(m.t, err)
		other := strings.Replace(string(b), strings.TrimSpace(string(boot)), "another-boot", -1)
		require.NotEqual(m.t, string(b), other)
		require.NoError(m.t, os.WriteFile(path, []byte(other), 0o600))
	}
}

// killAll kills the manager, and then the hosts.
func (m *manager) killAll() {
	m.t.Helper()
	m.kill()
	m.killHosts()
}

// killHosts kills the hosts, and waits until there are none of them.
func (m *manager) killHosts() {
	m.t.Helper()
	m.killNow(m.hosts())
	require.Empty(m.t, m.hosts())
}

// killNow kills processes and waits for their ends.
func (m *manager) killNow(pids []int) {
	m.t.Helper()
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	m.eventually("they end", func() bool {
		now := m.hosts()
		return !slices.ContainsFunc(pids, func(pid int) bool { return slices.Contains(now, pid) })
	})
}

// runReg runs drvhost reg.
func (m *manager) runReg(args ...string) result {
	m.t.Helper()
	cmd := exec.Command(binary, append([]string{"reg"}, args...)...)
	cmd.Env = m.environ()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // its status is looked at
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}
