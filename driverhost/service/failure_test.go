package service

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
)

// A manager that ends while a host starts leaves that host, and what was begun, to the next one.
func TestAManagerThatEndsLeavesAStartToTheNextOne(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, filepath.Join(dir, "registry.db"))
	image, err := fixtures.Path("echo")
	require.NoError(t, err)
	m, err := NewManager(ManagerOptions{Dir: dir, Store: s, Command: func() *exec.Cmd {
		return exec.Command("/bin/sleep", "1000") // a host that never answers
	}})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.Create(Config{Name: "A", Type: KernelDriver, Start: DemandStart,
		ImagePath: image}))
	failed := make(chan error, 1)
	go func() { failed <- m.Start("A") }()
	var st Status
	require.Eventually(t, func() bool {
		st, err = m.Query("A")
		return err == nil && st.PID != 0
	}, time.Minute, time.Millisecond)
	m.mu.Lock()
	u := m.unitFor(unitKey(&Config{Name: "A"}))
	l := u.link
	kill, killed := l.kill, false
	l.kill = func() { killed = true }
	m.mu.Unlock()
	defer kill()
	m.Close()
	require.ErrorIs(t, <-failed, CannotAcceptControl)
	assert.False(t, killed)
	next := &unit{key: u.key, dir: u.dir}
	next.readState(m.boot)
	assert.Equal(t, wishStarting, next.record("A").Wish)
	kill()
	lock, _, err := u.lock(true)
	require.NoError(t, err)
	require.NoError(t, lock.Close())
}

func TestQuickFailuresAreSlowedDown(t *testing.T) {
	assert.Zero(t, throttle(quickFailures))
	assert.Equal(t, 100*time.Millisecond, throttle(quickFailures+1))
	assert.Equal(t, 200*time.Millisecond, throttle(quickFailures+2))
	assert.LessOrEqual(t, throttle(1000), backoffLimit)
	dir := t.TempDir()
	s := openStore(t, filepath.Join(dir, "registry.db"))
	m, err := NewManager(ManagerOptions{Dir: dir, Store: s})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.Create(Config{Name: "A", Type: KernelDriver, Start: DemandStart,
		ImagePath: "/nowhere.sys", Failure: FailureActions{Actions: []Action{{ActionRestart, 1}}}}))
	m.mu.Lock()
	defer m.mu.Unlock()
	r, u := m.service("A"), m.unitFor(unitKey(&Config{Name: "A"}))
	rec := u.record("A")
	for i := range quickFailures + 2 {
		m.failed(u, r, ProcessAborted)
		assert.Equal(t, i+1, rec.Streak)
		assert.Equal(t, 1, rec.Failures, "with a reset period of 0 each failure is the first")
	}
	assert.Equal(t, throttle(quickFailures+2), rec.Due.Delay)
	rec.Last = rec.Last.Add(-2 * quickFailure)
	m.failed(u, r, ProcessAborted)
	assert.Equal(t, 1, rec.Streak)
}

// What was asked for comes to pass once, whatever the clock does while nobody looks.
func TestAnActionThatWaitsWaitsNoLongerThanItsDelay(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, filepath.Join(dir, "registry.db"))
	m, err := NewManager(ManagerOptions{Dir: dir, Store: s})
	require.NoError(t, err)
	require.NoError(t, m.Create(Config{Name: "A", Type: KernelDriver, Start: DemandStart,
		ImagePath: "/nowhere.sys", Failure: FailureActions{Actions: []Action{{ActionRestart, 20}}}}))
	m.mu.Lock()
	r, u := m.service("A"), m.unitFor(unitKey(&Config{Name: "A"}))
	m.failed(u, r, ProcessAborted)
	u.record("A").Due.At = time.Now().Add(time.Hour) // it was set back
	require.NoError(t, u.writeState())
	r.cancel()
	m.mu.Unlock()
	m.Close()
	m, err = NewManager(ManagerOptions{Dir: dir, Store: s})
	require.NoError(t, err)
	defer m.Close()
	require.Eventually(t, func() bool {
		st, err := m.Query("A")
		return err == nil && st.ExitCode == FileNotFound
	}, time.Minute, time.Millisecond, "it is tried")
}
