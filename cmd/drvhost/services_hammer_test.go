package main

// A service manager that is killed again and again while clients work with it, and one that comes
// second.

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/service"
)

// hammered is a service, and what a client knows of it by what was acknowledged.
type hammered struct {
	name, driver, device string
	random               *rand.Rand

	known   bool // what follows is
	exists  bool
	running bool
}

// learn finds out what has become of it.
func (h *hammered) learn(m *manager) {
	r, err := m.ask(service.Request{Do: service.DoQuery, Name: h.name})
	switch {
	case errors.Is(err, service.DoesNotExist):
		h.known, h.exists, h.running = true, false, false
	case err != nil: // there is no manager
	case r.Services[0].State == service.Running:
		h.known, h.exists, h.running = true, true, true
	case r.Services[0].State == service.Stopped && !r.Services[0].Restarting:
		h.known, h.exists, h.running = true, true, false
	}
}

// act asks for something, and checks that the answer fits what was known. It says whether it was
// answered.
func (h *hammered) act(t *testing.T, m *manager) bool {
	if !h.known {
		h.learn(m)
		return false
	}
	what := []string{service.DoCreate, service.DoStart, service.DoStart, service.DoStop,
		service.DoDelete}[h.random.IntN(5)]
	if what == service.DoDelete && h.running {
		what = service.DoStop // it would only be marked
	}
	var err error
	if what == service.DoCreate {
		err = m.create(service.Config{Name: h.name, Start: service.DemandStart, Failure: again,
			ImagePath: fixture(t, h.driver)})
	} else {
		err = m.do(what, h.name)
	}
	if errors.Is(err, service.ManagerNotRunning) {
		h.known = false
		return false
	}
	var want error
	switch {
	case what == service.DoCreate && h.exists:
		want = service.Exists
	case what == service.DoCreate:
		h.exists = true
	case !h.exists:
		want = service.DoesNotExist
	case what == service.DoDelete:
		h.exists = false
	case what == service.DoStart && h.running:
		want = service.AlreadyRunning
	case what == service.DoStart:
		h.running = true
	case !h.running:
		want = service.NotActive
	default:
		h.running = false
	}
	if want == nil {
		assert.NoError(t, err, "%s %s", what, h.name)
	} else {
		assert.ErrorIs(t, err, want, "%s %s", what, h.name)
	}
	return true
}

func TestAManagerThatIsKilledAgainAndAgainKeepsWhatItHasAcknowledged(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.start()
	all := []*hammered{{name: "A", driver: "echo", device: "Echo"},
		{name: "B", driver: "cancel", device: "Cancel"}, {name: "C", driver: "csq", device: "Csq"},
		{name: "D", driver: "startio", device: "StartIo"},
		{name: "E", driver: "status", device: "Status"}}
	var done atomic.Bool
	answers := make(chan struct{}, 1)
	var wg sync.WaitGroup
	for i, h := range all {
		h.known, h.random = true, rand.New(rand.NewPCG(6, uint64(i)))
		wg.Go(func() {
			for !done.Load() && !t.Failed() {
				if h.act(t, m) {
					select {
					case answers <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	over := make(chan struct{}) // before its time, if a client has found something wrong
	go func() {
		wg.Wait()
		close(over)
	}()
	random := rand.New(rand.NewPCG(6, 10))
	for range 10 {
		for range 3 + random.IntN(15) {
			select {
			case <-answers:
			case <-over:
			}
		}
		m.kill()
		m.start()
	}
	done.Store(true)
	<-over
	var hosts []int
	for _, h := range all {
		m.eventually(h.name+" is known", func() bool {
			if !h.known {
				h.learn(m)
			}
			return h.known
		})
		st, ok := m.status(h.name)
		require.Equal(t, h.exists, ok, h.name)
		f, err := m.open(h.device)
		if !h.running {
			require.Error(t, err, h.device)
			continue
		}
		require.Equal(t, service.Running, st.State, h.name)
		require.NoError(t, err, h.device)
		require.Equal(t, st.PID, f.HostPID())
		require.NoError(t, f.Close())
		hosts = append(hosts, st.PID)
	}
	require.ElementsMatch(t, hosts, m.hosts(), "one host for each that runs, and no other")
	m.clean()
}

func TestASecondManagerIsRefusedAndDisturbsNothing(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.start()
	m.mustCreate(service.Config{Name: "Echo", Start: service.AutoStart, ImagePath: m.echo()})
	pid := m.serves("Echo")
	cmd := exec.Command(binary, "services")
	cmd.Env = m.environ()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	require.Error(t, cmd.Run())
	assert.Equal(t, exitClaimed, cmd.ProcessState.ExitCode())
	assert.Contains(t, errs.String(), "another service manager runs")
	assert.Equal(t, pid, m.serves("Echo"))
	m.mustCreate(service.Config{Name: "Other", Start: service.DemandStart, ImagePath: m.echo()})
	left, err := filepath.Glob(filepath.Join(m.state, "*.sock"))
	require.NoError(t, err)
	slices.Sort(left)
	assert.Equal(t, []string{filepath.Join(m.state, service.RegistrySocket),
		filepath.Join(m.state, service.ServicesSocket)}, left)
}
