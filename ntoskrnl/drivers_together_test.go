package ntoskrnl_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
)

// TestDriversTogether runs the scenarios of all drivers at the same time, in one host, so that they
// compete for its processors, its pool and its timers.
func TestDriversTogether(t *testing.T) {
	t.Parallel()
	host := drivertest.New(t, drivertest.Processors(3))
	var running sync.WaitGroup
	for _, driver := range []string{"sync", "lock", "dpc", "timer", "thread", "apc", "pool", "mdl",
		"object", "rtl"} {
		path, err := fixtures.Path(driver)
		require.NoError(t, err)
		drivertest.LoadInto(t, host, path)
		for _, s := range listScenarios(t, drivertest.Open(t, host, deviceOf(driver))) {
			if s.Flags != 0 {
				continue
			}
			f, err := host.Open(deviceOf(driver), driverhost.OpenOptions{})
			require.NoError(t, err)
			running.Go(func() {
				runScenario(t, driver, f, s)
				_ = f.Close() // nothing is pending
			})
		}
	}
	running.Wait()
}
