package service

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// A script is a driver of these tests: what it asks for in its DriverEntry and in its
// DriverUnload. It follows an image's headers.
type script struct{ Load, Unload []string }

// image makes a file that the manager takes for an image.
func (s script) image() []byte {
	b := make([]byte, 0x40, 0x200)
	copy(b, "MZ")
	b[0x3c] = 0x40
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return append(append(b, "PE\x00\x00"...), text...)
}

const imageHeader = 0x44

// scripted is a host whose drivers are scripts.
type scripted struct {
	control *Control
	mu      sync.Mutex
	drivers map[string]script
}

// hostVariable makes this test's binary a host.
const hostVariable = "DRVHOST_TEST_SCRIPTED_HOST"

func init() {
	if os.Getenv(hostVariable) == "" {
		return
	}
	control, err := InheritControl()
	if err != nil {
		panic(err)
	}
	panic(control.Serve(&scripted{control: control, drivers: map[string]script{}}))
}

func (s *scripted) Load(service, _ string, image []byte) error {
	var driver script
	if err := json.Unmarshal(image[imageHeader:], &driver); err != nil {
		return err
	}
	s.mu.Lock()
	s.drivers[cm.Fold(service)] = driver
	s.mu.Unlock()
	for _, other := range driver.Load {
		if other == "fail" {
			return StatusError(nt.STATUS_DEVICE_CONFIGURATION_ERROR, service)
		}
		s.control.LoadService(other)
	}
	return nil
}

func (s *scripted) Unload(service string) error {
	s.mu.Lock()
	driver := s.drivers[cm.Fold(service)]
	s.mu.Unlock()
	for _, other := range driver.Unload {
		s.control.UnloadService(other)
	}
	return nil
}

func (s *scripted) Mark(service string) (bool, error) {
	if len(service)%2 == 0 { // it is in use for a moment
		go func() {
			_ = s.Unload(service)
			s.control.Unloaded(service)
		}()
		return true, nil
	}
	return false, s.Unload(service)
}

func (s *scripted) Keep(string) error    { return CannotAcceptControl }
func (s *scripted) End() error           { os.Exit(0); return nil }
func (s *scripted) Follow(conn net.Conn) { _ = conn.Close() }

// scriptedManager is a manager whose hosts are this binary.
func scriptedManager(t *testing.T) (*Manager, string) {
	dir := t.TempDir()
	store, err := Open(filepath.Join(dir, RegistryFile), func() *cm.Registry {
		return cm.Initial(cm.System{Processors: 1, ComputerName: "TEST"})
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	m, err := NewManager(ManagerOptions{Dir: dir, Store: store, Command: func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), hostVariable+"=1")
		return cmd
	}})
	require.NoError(t, err)
	t.Cleanup(func() {
		m.mu.Lock()
		var all []*link
		for _, u := range m.units {
			if u.link != nil {
				all = append(all, u.link)
			}
		}
		m.mu.Unlock()
		for _, l := range all {
			l.kill()
			<-l.gone
		}
		m.Close()
	})
	return m, dir
}

func createScript(t *testing.T, m *Manager, dir string, s script, c Config) {
	t.Helper()
	c.Type, c.Start = KernelDriver, DemandStart
	c.ImagePath = filepath.Join(dir, c.Name+".sys")
	require.NoError(t, os.WriteFile(c.ImagePath, s.image(), 0o600))
	require.NoError(t, m.Create(c))
}

// stateOf gives a service's state.
func stateOf(t *testing.T, m *Manager, name string) State {
	t.Helper()
	st, err := m.Query(name)
	require.NoError(t, err)
	return st.State
}

func TestANestedStartThatFailsLeavesWhatItIsNestedIn(t *testing.T) {
	m, dir := scriptedManager(t)
	createScript(t, m, dir, script{Load: []string{"Inner"}}, Config{Name: "Outer", HostGroup: "g"})
	createScript(t, m, dir, script{Load: []string{"fail"}}, Config{Name: "Inner", HostGroup: "g"})
	require.NoError(t, m.Start("Outer"))
	assert.Equal(t, Running, stateOf(t, m, "Outer"))
	assert.Equal(t, Stopped, stateOf(t, m, "Inner"))
	err := m.Start("Inner")
	require.ErrorIs(t, err, FromStatus(nt.STATUS_DEVICE_CONFIGURATION_ERROR))
	assert.Equal(t, uint32(nt.STATUS_DEVICE_CONFIGURATION_ERROR), statusIn(err))
	assert.Equal(t, Running, stateOf(t, m, "Outer"))
}

func TestAnOuterStartThatFailsLeavesWhatItHasStarted(t *testing.T) {
	m, dir := scriptedManager(t)
	createScript(t, m, dir, script{Load: []string{"Inner", "fail"}}, Config{Name: "Outer",
		HostGroup: "g"})
	createScript(t, m, dir, script{}, Config{Name: "Inner", HostGroup: "g"})
	require.Error(t, m.Start("Outer"))
	assert.Equal(t, Stopped, stateOf(t, m, "Outer"))
	assert.Equal(t, Running, stateOf(t, m, "Inner"))
	require.NoError(t, m.Stop("Inner"))
}

func TestAnythingStartsAndStopsAnything(t *testing.T) {
	m, dir := scriptedManager(t)
	const n = 8
	name := func(i int) string { return fmt.Sprintf("%0*d", 1+i%2, i%n) }
	for i := range n {
		c := Config{Name: name(i), HostGroup: []string{"a", "b", ""}[i%3]}
		if i == 3 || i == 5 {
			c.DependOnService = []string{name(i + 1)}
		}
		createScript(t, m, dir, script{Load: []string{name(i + 1), name(i + 4)},
			Unload: []string{name(i + 2)}}, c)
	}
	var wg sync.WaitGroup
	for client := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), 6))
			for range 8 {
				which := name(random.IntN(n))
				if random.IntN(2) == 0 {
					_ = m.Start(which)
				} else {
					_ = m.Stop(which)
				}
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool {
		stopped := true
		for i := range n {
			_ = m.Stop(name(i))
			stopped = stopped && stateOf(t, m, name(i)) == Stopped
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, u := range m.units {
			stopped = stopped && u.link == nil && u.occupied == nil
		}
		return stopped && len(m.asked) == 0
	}, patience, patience/1000)
}
