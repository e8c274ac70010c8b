// Runs the fixture drivers that consist of scenarios.

package ntoskrnl_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

// crash is the bugcheck that a scenario must end in.
type crash struct {
	code nt.BugCheck
	// params are the parameters that are known beforehand, by index from 0.
	params map[int]uint64
	// reason must be contained in what the report says.
	reason string
}

// deviceOf gives the Win32 name of the device that a driver with scenarios makes.
func deviceOf(driver string) string {
	return `\\.\` + strings.ToUpper(driver[:1]) + driver[1:]
}

// loadScenarios loads a driver with scenarios into a host with the given number of processors.
func loadScenarios(t testing.TB, driver string, processors int, opts ...drivertest.Option) *driverhost.Host {
	t.Helper()
	path, err := fixtures.Path(driver)
	require.NoError(t, err)
	return drivertest.Load(t, path, append(opts, drivertest.Processors(processors))...)
}

// listScenarios asks a driver what scenarios it has.
func listScenarios(t testing.TB, f *driverhost.File) []fixtures.Scenario {
	t.Helper()
	out := make([]byte, fixtures.ScenarioListSize)
	n, err := f.DeviceIoControl(t.Context(), fixtures.IOCTL_SCENARIO_LIST, nil, out)
	require.NoError(t, err)
	require.Less(t, n, len(out), "there may be more scenarios than fit")
	list, err := fixtures.ParseScenarioList(out[:n])
	require.NoError(t, err)
	return list
}

// runScenario runs a scenario that must succeed. It may be called on any goroutine.
func runScenario(t testing.TB, driver string, f *driverhost.File, s fixtures.Scenario) {
	t.Helper()
	out := make([]byte, fixtures.ScenarioResultSize)
	in := binary.LittleEndian.AppendUint32(nil, s.Number)
	n, err := f.DeviceIoControl(t.Context(), fixtures.IOCTL_SCENARIO_RUN, in, out)
	if !assert.NoError(t, err, s.Name) {
		return
	}
	r, err := fixtures.ParseScenarioResult(out[:n])
	if !assert.NoError(t, err, s.Name) {
		return
	}
	assert.NotZerof(t, r.Checks, "%s: the scenario checks nothing", s.Name)
	assert.Zerof(t, r.Failures, "%s: %s.c:%d: %s is %#x, want %#x", s.Name, driver, r.Line, r.Text(),
		r.Got, r.Want)
}

// testScenarios runs all scenarios of a driver: those that must succeed in a host that they share,
// two at a time, and in turn on several processors and on one; each that must crash in a host of its
// own.
func testScenarios(t *testing.T, driver string, crashes map[string]crash) {
	t.Parallel()
	for _, run := range []struct {
		name       string
		processors int
	}{{"on one processor", 1}, {"on four processors", 4}} {
		t.Run(run.name, func(t *testing.T) {
			host := loadScenarios(t, driver, run.processors)
			list := listScenarios(t, drivertest.Open(t, host, deviceOf(driver)))
			for _, s := range list {
				if s.Flags&fixtures.SCENARIO_FLAG_CRASHES != 0 {
					continue
				}
				t.Run(s.Name, func(t *testing.T) {
					if s.Flags&fixtures.SCENARIO_FLAG_ALONE == 0 {
						t.Parallel()
					}
					runScenario(t, driver, drivertest.Open(t, host, deviceOf(driver)), s)
				})
			}
		})
	}
	t.Run("misuse", func(t *testing.T) {
		list := listScenarios(t, drivertest.Open(t, loadScenarios(t, driver, 1), deviceOf(driver)))
		seen := make(map[string]bool)
		for _, s := range list {
			name, misuse := strings.CutPrefix(s.Name, "misuse: ")
			assert.Equal(t, s.Flags&fixtures.SCENARIO_FLAG_CRASHES != 0, misuse, s.Name)
			if !misuse {
				continue
			}
			seen[name] = true
			want, ok := crashes[name]
			if !assert.True(t, ok, "%s: how %q must end is not known", driver, name) {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				testCrash(t, driver, s, want)
			})
		}
		for name := range crashes {
			assert.True(t, seen[name], "%s has no scenario %q", driver, name)
		}
	})
}

// testCrash runs a scenario in a host of its own, which must end in a bugcheck.
func testCrash(t *testing.T, driver string, s fixtures.Scenario, want crash) {
	host := loadScenarios(t, driver, 2, drivertest.MayCrash())
	f := drivertest.Open(t, host, deviceOf(driver))
	out := make([]byte, fixtures.ScenarioResultSize)
	in := binary.LittleEndian.AppendUint32(nil, s.Number)
	r, err := f.DeviceIoControlEx(t.Context(), fixtures.IOCTL_SCENARIO_RUN, in, out)
	require.NoError(t, err)
	if host.Crashed() == nil && r.Status.Success() {
		r, err := fixtures.ParseScenarioResult(out[:r.Written])
		require.NoError(t, err)
		require.Failf(t, "no bugcheck", "%s.c:%d: %s is %#x, want %#x", driver, r.Line, r.Text(),
			r.Got, r.Want)
	}
	b := drivertest.Crash(t, host)
	assert.Equal(t, driverhost.StatusGone, r.Status)
	assert.Equal(t, want.code, b.Code, "%v", b)
	for i, p := range want.params {
		assert.Equalf(t, p, b.Params[i], "parameter %d of %v", i+1, b)
	}
	assert.Contains(t, b.Reason, want.reason)
}
