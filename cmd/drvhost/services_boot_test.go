package main

// What a service manager starts by itself after the machine's start, and in which order.

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/service"
)

// hostsInOrder gives the hosts as they have come to listen, by what their sockets are called.
func (m *manager) hostsInOrder() (pids []int) {
	m.t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.sh.dir, "hosts"))
	require.NoError(m.t, err)
	since := map[int]int64{}
	for _, e := range entries {
		pid, when, ok := strings.Cut(strings.TrimSuffix(e.Name(), ".sock"), "-")
		if !ok {
			continue
		}
		n, err := strconv.Atoi(pid)
		require.NoError(m.t, err)
		since[n], err = strconv.ParseInt(when, 36, 64)
		require.NoError(m.t, err)
	}
	pids = m.hosts()
	for _, pid := range pids {
		require.Contains(m.t, since, pid)
	}
	slices.SortFunc(pids, func(a, b int) int { return cmp.Compare(since[a], since[b]) })
	return pids
}

// startedInOrder gives the services that run, in the order of their hosts.
func (m *manager) startedInOrder() (names []string) {
	m.t.Helper()
	r, err := m.ask(service.Request{Do: service.DoQuery})
	require.NoError(m.t, err)
	by := map[int]string{}
	for _, st := range r.Services {
		if st.State == service.Running {
			by[st.PID] = st.Name
		}
	}
	for _, pid := range m.hostsInOrder() {
		names = append(names, by[pid])
	}
	return names
}

func TestEverythingAutomaticStartsWithTheMachineInItsOrder(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.start()
	lib := fixture(t, "exportlib")
	for _, c := range []service.Config{
		{Name: "Last", Start: service.AutoStart, DependOnService: []string{"Demanded"}},
		{Name: "System", Start: service.SystemStart, Group: "Base"},
		{Name: "BaseTwo", Start: service.BootStart, Group: "base", Tag: 2},
		{Name: "BaseOne", Start: service.BootStart, Group: "Base", Tag: 1},
		{Name: "BaseNone", Start: service.BootStart, Group: "Base"},
		{Name: "Alone", Start: service.BootStart},
		{Name: "Unlisted", Start: service.BootStart, Group: "Nobody knows it"},
		{Name: "First", Start: service.BootStart, Group: "System Reserved"},
		{Name: "EarlyButWaits", Start: service.BootStart, Group: "EMS",
			DependOnService: []string{"ItsHelper"}},
		{Name: "ItsHelper", Start: service.AutoStart},
		{Name: "GroupWaits", Start: service.SystemStart, DependOnGroup: []string{"Video"}},
		{Name: "Video", Start: service.AutoStart, Group: "Video"},
		{Name: "Demanded", Start: service.DemandStart},
		{Name: "NotDemanded", Start: service.DemandStart},
		{Name: "Off", Start: service.DisabledStart},
	} {
		c.ImagePath = lib
		m.mustCreate(c)
	}
	for _, name := range []string{"Last", "EarlyButWaits", "GroupWaits"} {
		if err := m.do(service.DoStart, name); err != nil { // Last starts Demanded
			require.ErrorIs(t, err, service.AlreadyRunning)
		}
	}
	m.must(service.DoStart, "NotDemanded")
	m.must(service.DoStop, "First")
	m.must(service.DoStop, "System")
	pids := m.hosts()

	// Another manager leaves all as it is, also what was stopped.
	m.kill()
	m.start()
	m.becomes("Last", service.Running)
	m.becomes("First", service.Stopped)
	require.ElementsMatch(t, pids, m.hosts())

	m.reboot()
	m.start()
	want := []string{"First", "ItsHelper", "EarlyButWaits", "BaseOne", "BaseTwo", "BaseNone",
		"Unlisted", "Alone", "System", "Video", "GroupWaits", "Demanded", "Last"}
	m.becomes("Last", service.Running)
	assert.Equal(t, want, m.startedInOrder())
	m.becomes("NotDemanded", service.Stopped)
	m.becomes("Off", service.Stopped)
	m.clean()
}

// logged gives the level at which a service's failure to start was logged, or nothing.
func (m *manager) logged(name string) string {
	for line := range strings.Lines(m.log.String()) {
		if strings.Contains(line, "not started: service="+name+" ") {
			_, level, _ := strings.Cut(line, "[")
			level, _, _ = strings.Cut(level, "]")
			return level
		}
	}
	return ""
}

func TestWhatCannotBeStartedWithTheMachineSaysWhyAndKeepsNothingElseFromIt(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.start()
	lib := fixture(t, "exportlib")
	const nowhere = "/nowhere.sys"
	all := []struct {
		service.Config
		exit   service.Code // 0 if it is to run
		level  string       // at which that is logged
		manual service.Code // what starting it by hand gives
	}{
		{service.Config{Name: "Broken", ImagePath: nowhere, ErrorControl: service.ErrorNormal},
			service.FileNotFound, "WARN", service.FileNotFound},
		{service.Config{Name: "Severe", ImagePath: nowhere, ErrorControl: service.ErrorSevere},
			service.FileNotFound, "ERROR", service.FileNotFound},
		{service.Config{Name: "Critical", ImagePath: nowhere, ErrorControl: service.ErrorCritical},
			service.FileNotFound, "ERROR", service.FileNotFound},
		{service.Config{Name: "Ignored", ImagePath: nowhere, ErrorControl: service.ErrorIgnore},
			service.FileNotFound, "", service.FileNotFound},
		{service.Config{Name: "Needs", DependOnService: []string{"Broken"},
			ErrorControl: service.ErrorNormal},
			service.DependencyFailed, "WARN", service.DependencyFailed},
		{service.Config{Name: "NeedsIndirectly", DependOnService: []string{"Needs"},
			ErrorControl: service.ErrorSevere},
			service.DependencyFailed, "ERROR", service.DependencyFailed},
		{service.Config{Name: "NeedsGroup", DependOnGroup: []string{"Broken ones"}},
			service.DependencyFailed, "", service.DependencyFailed},
		{service.Config{Name: "InGroup", ImagePath: nowhere, Group: "Broken ones"},
			service.FileNotFound, "", service.FileNotFound},
		{service.Config{Name: "NeedsEmptyGroup", DependOnGroup: []string{"Nobody is in it"}},
			service.DependencyFailed, "", service.DependencyFailed},
		{service.Config{Name: "NeedsOneOfGroup", DependOnGroup: []string{"Half"}}, 0, "",
			service.AlreadyRunning},
		{service.Config{Name: "HalfBroken", ImagePath: nowhere, Group: "Half"},
			service.FileNotFound, "", service.FileNotFound},
		{service.Config{Name: "HalfWell", Group: "Half"}, 0, "", service.AlreadyRunning},
		{service.Config{Name: "NeedsOff", DependOnService: []string{"Off"}},
			service.DependencyFailed, "", service.DependencyFailed},
		{service.Config{Name: "NeedsNobody", DependOnService: []string{"Nobody"}},
			service.DependencyDeleted, "", service.DependencyDeleted},
		{service.Config{Name: "Off", Start: service.DisabledStart},
			service.NeverStarted, "", service.Disabled},
		{service.Config{Name: "Well", Start: service.AutoStart}, 0, "", service.AlreadyRunning},
	}
	for _, c := range all {
		if c.ImagePath == "" {
			c.ImagePath = lib
		}
		if c.Start == service.BootStart { // which is the zero
			c.Start = service.SystemStart
		}
		m.mustCreate(c.Config)
	}
	m.reboot()
	m.start()
	m.becomes("Well", service.Running)
	require.NotEmpty(t, m.hosts())
	for _, c := range all {
		st, ok := m.status(c.Name)
		require.True(t, ok)
		assert.Equal(t, c.exit, st.ExitCode, c.Name)
		assert.Equal(t, c.exit == 0, st.State == service.Running, c.Name)
		if c.manual == service.AlreadyRunning {
			assert.ErrorIs(t, m.do(service.DoStart, c.Name), service.AlreadyRunning, c.Name)
		} else {
			err := m.do(service.DoStart, c.Name)
			code, _ := service.CodeOf(err)
			assert.Equal(t, c.manual, code, c.Name)
		}
	}
	running := m.startedInOrder()
	m.kill() // its log is whole then
	for _, c := range all {
		assert.Equal(t, c.level, m.logged(c.Name), c.Name)
	}
	slices.Sort(running)
	assert.Equal(t, []string{"HalfWell", "NeedsOneOfGroup", "Well"}, running)
}

func TestServicesThatDependOnEachOtherInACircleAreRefused(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.start()
	lib := fixture(t, "exportlib")
	m.mustCreate(service.Config{Name: "A", Start: service.DemandStart, ImagePath: lib,
		DependOnService: []string{"B"}})
	m.mustCreate(service.Config{Name: "G", Start: service.DemandStart, ImagePath: lib, Group: "Ring",
		DependOnService: []string{"B"}})
	for fact, c := range map[string]service.Config{
		"to itself":       {Name: "X", DependOnService: []string{"x"}},
		"of two":          {Name: "B", DependOnService: []string{"A"}},
		"through a group": {Name: "B", DependOnGroup: []string{"ring"}},
		"to its group":    {Name: "X", Group: "Own", DependOnGroup: []string{"Own"}},
	} {
		c.Start, c.ImagePath = service.DemandStart, lib
		assert.ErrorIs(t, m.create(c), service.CircularDependency, fact)
		_, ok := m.status(c.Name)
		assert.False(t, ok, fact)
	}
	// What comes into the registry past the manager is found at the start.
	m.mustCreate(service.Config{Name: "B", Start: service.AutoStart, ImagePath: lib})
	out := m.runReg("add", `HKLM\System\CurrentControlSet\Services\B`, "/v", "DependOnService", "/t",
		"REG_MULTI_SZ", "/d", "A")
	require.Zero(t, out.code, out.err)
	m.becomes("B", service.Running)
	m.must(service.DoStop, "B")
	assert.ErrorIs(t, m.do(service.DoStart, "A"), service.CircularDependency)
	assert.ErrorIs(t, m.do(service.DoStart, "B"), service.CircularDependency)
	assert.ErrorIs(t, m.do(service.DoStart, "G"), service.DependencyFailed)
	m.reboot()
	m.start()
	m.eventually("B is tried", func() bool {
		st, _ := m.status("B")
		return st.ExitCode == service.CircularDependency
	})
	require.Empty(t, m.hosts())
}

// A count of failures, and what was put off by one, is of one start of the machine.
func TestFailuresAreForgottenWithTheMachinesStart(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.start()
	m.mustCreate(service.Config{Name: "Echo", Start: service.DemandStart, ImagePath: m.echo(),
		Failure: service.FailureActions{ResetPeriod: 3600,
			Actions: []service.Action{{Type: service.ActionRestart, Delay: 3600_000}}}})
	m.must(service.DoStart, "Echo")
	pid := m.serves("Echo")
	m.killHosts()
	m.eventually("the restart is put off", func() bool {
		st, _ := m.status("Echo")
		return st.Restarting && st.Failures == 1 && st.State == service.Stopped
	})
	m.kill()
	m.start() // the next manager counts on, and starts nothing twice
	st, _ := m.status("Echo")
	require.True(t, st.Restarting)
	require.Equal(t, 1, st.Failures, "it has not failed again")
	require.Empty(t, m.hosts())
	m.must(service.DoStart, "Echo")
	require.NotEqual(t, pid, m.serves("Echo"))
	m.reboot()
	m.start()
	st = m.rests("Echo")
	assert.Zero(t, st.Failures)
	assert.Equal(t, service.NeverStarted, st.ExitCode)
	m.clean()
}
