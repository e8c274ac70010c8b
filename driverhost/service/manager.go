package service

// The manager: what it is made of, and what it knows of its services.

import (
	"cmp"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// State is what a service does ("SERVICE_STATUS structure").
type State uint32

// The states.
const (
	Stopped      State = 1
	StartPending State = 2
	StopPending  State = 3
	Running      State = 4
)

// ImagePolicy decides which images may be loaded: *signature.Policy is one.
type ImagePolicy interface {
	CheckImage(name string, image []byte, when time.Time) error
}

// ManagerOptions says how a manager is made.
type ManagerOptions struct {
	// Dir is the state directory.
	Dir string
	// Store has the registry. It stays the caller's.
	Store *Store
	// Command gives the command that is a host: see [InheritControl]. Its standard streams,
	// descriptors and session are the manager's to set.
	Command func() *exec.Cmd
	// CrashDir is where the hosts keep their crashes.
	CrashDir string
	// Share, if set, serves the registry to a host that another manager has started: it is called with
	// a connection to it, which it closes.
	Share func(net.Conn)
	// Log takes what happens; nil is silence.
	Log hclog.Logger
	// Guard, if set, is told of the hosts.
	Guard *Guard
	// Settings are what applies until [Manager.Configure].
	Settings Settings
	// Policy, if set, says which images may be loaded, until Configure.
	Policy ImagePolicy
}

// Manager keeps services and their hosts.
type Manager struct {
	opts ManagerOptions
	log  hclog.Logger
	boot string

	// admin is held by what changes registrations.
	admin sync.Mutex
	// system is held by what starts or restarts everything.
	system  sync.Mutex
	reboots atomic.Bool // somebody waits to restart everything

	now     atomic.Pointer[settled]
	crashes crashIndex

	mu       sync.Mutex // guards what follows
	services map[string]*runtime
	units    map[string]*unit
	closed   bool
	quit     chan struct{}
	changed  chan struct{} // has one after Configure
	asked    operations
}

// settled are the settings that apply.
type settled struct {
	Settings
	policy ImagePolicy
}

// runtime is what a service does now.
type runtime struct {
	op sync.Mutex // held by what starts or stops it; see Manager.take

	// Guarded by Manager.mu:
	name    string
	state   State
	exit    Code
	detail  string
	unit    *unit       // that it runs in, or is being started or stopped in
	due     *time.Timer // of the failure action that waits, or nil
	turn    int         // of due
	command bool        // that of a failure runs
	holder  *operation  // that has op, or nil
	marked  bool        // StopPending until nothing uses its driver any more
}

// forget makes it that of a service that is new. Manager.mu is held.
func (s *runtime) forget(name string) {
	s.name, s.state, s.exit, s.detail, s.unit = name, Stopped, NeverStarted, "", nil
	s.marked = false
	s.cancel()
}

// cancel takes back a failure action that waits, and says whether there was one. Manager.mu is held.
func (s *runtime) cancel() bool {
	if s.due == nil {
		return false
	}
	s.due.Stop()
	s.due, s.turn = nil, s.turn+1
	return true
}

// remembered is what a unit remembers of a service.
type remembered struct {
	Wish     wish      `json:"wish"`
	Failures int       `json:"failures"`
	Last     time.Time `json:"last"`   // failure
	Streak   int       `json:"streak"` // failures that came quickly one after the other
	// Due is the failure action that waits. It is taken away before the action begins, so that no
	// action is done twice.
	Due *dueAction `json:"due,omitempty"`
	By  string     `json:"by,omitempty"` // the unit whose driver has had it started
}

// Status is what a service does, for people.
type Status struct {
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
	Type        Type   `json:"type"`
	Group       string `json:"group"`
	State       State  `json:"state"`
	ExitCode    Code   `json:"exit_code"`
	Detail      string `json:"detail"` // of the exit code
	PID         int    `json:"pid"`
	HostGroup   string `json:"host_group"`
	Failures    int    `json:"failures"` // since the reset period's last end
	Restarting  bool   `json:"restarting"`
	LastCrash   *Crash `json:"last_crash,omitempty"` // that is kept
}

// NewManager makes a manager, finds the hosts that run, and ends what another one has left half
// done. It starts nothing; see [Manager.Boot].
func NewManager(o ManagerOptions) (*Manager, error) {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.Guard == nil {
		o.Guard = NewGuard(o.Store.Registry)
	}
	m := &Manager{opts: o, log: o.Log, boot: bootID(), services: map[string]*runtime{},
		units: map[string]*unit{}, quit: make(chan struct{}),
		changed: make(chan struct{}, 1)}
	m.crashes.open(o.Dir, o.CrashDir)
	m.Configure(o.Settings, o.Policy)
	if err := os.MkdirAll(filepath.Join(o.Dir, unitsDir), 0o700); err != nil {
		return nil, err
	}
	if err := seedGroupOrder(o.Store.Registry); err != nil {
		return nil, err
	}
	m.attribute()
	if err := m.find(); err != nil {
		return nil, err
	}
	go m.beat()
	return m, nil
}

// Configure changes the settings. Hosts that run keep what they were started with.
func (m *Manager) Configure(s Settings, policy ImagePolicy) {
	m.now.Store(&settled{s.orDefault(), policy})
	select {
	case m.changed <- struct{}{}:
	default:
	}
	m.prune()
}

// limits gives the settings that apply.
func (m *Manager) limits() *settled { return m.now.Load() }

// isClosed says whether the manager ends. What is under way then is left to the next one.
func (m *Manager) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

// Close ends the manager. The hosts run on.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	close(m.quit)
	for _, s := range m.services {
		s.cancel()
	}
	for _, u := range m.units {
		if u.link != nil {
			_ = u.link.conn.Close()
		}
	}
}

// key opens a service's key.
func (m *Manager) key(name string) (*cm.Key, Config, error) {
	if !ValidName(name) {
		return nil, Config{}, InvalidName
	}
	k, status := m.opts.Store.Registry.Open(nil, ServicesKey+`\`+name, false)
	if !status.Success() {
		return nil, Config{}, DoesNotExist
	}
	info, status := k.Info()
	if !status.Success() {
		return nil, Config{}, DoesNotExist
	}
	c, ok := readConfig(k, info.Name)
	if !ok {
		return k, c, DoesNotExist
	}
	c.Failure.Unapproved = c.Failure.Command != "" &&
		!m.opts.Store.approved(c.Name, c.Failure.Command)
	return k, c, nil
}

// Config gives what a service is registered with.
func (m *Manager) Config(name string) (Config, error) {
	_, c, err := m.key(name)
	return c, err
}

// Configs gives all services, by name.
func (m *Manager) Configs() (all []Config) {
	k, status := m.opts.Store.Registry.Open(nil, ServicesKey, false)
	if !status.Success() {
		return nil
	}
	for i := 0; ; i++ {
		info, status := k.Subkey(i)
		if !status.Success() {
			return all
		}
		if _, c, err := m.key(info.Name); err == nil {
			all = append(all, c)
		}
	}
}

// service gives what is known of a service's running. m.mu is held.
func (m *Manager) service(name string) *runtime {
	s := m.services[cm.Fold(name)]
	if s == nil {
		s = &runtime{name: name, state: Stopped, exit: NeverStarted}
		m.services[cm.Fold(name)] = s
	}
	return s
}

// unitDir gives the directory of a unit.
func (m *Manager) unitDir(key string) string {
	return filepath.Join(m.opts.Dir, unitsDir, unitName(key))
}

// unitFor gives the unit of a key. m.mu is held.
func (m *Manager) unitFor(key string) *unit {
	u := m.units[key]
	if u == nil {
		u = &unit{key: key, dir: m.unitDir(key)}
		u.readState(m.boot)
		m.units[key] = u
	}
	return u
}

// record gives what a unit remembers of a service. m.mu is held.
func (u *unit) record(name string) *remembered {
	r := u.state.Services[cm.Fold(name)]
	if r == nil {
		r = &remembered{}
		u.state.Services[cm.Fold(name)] = r
	}
	return r
}

// home gives the unit that remembers a service: the one that its registration names, else the one
// that it is in. m.mu is held.
func (m *Manager) home(name string, in *unit) *unit {
	if _, c, err := m.key(name); err == nil {
		return m.unitFor(unitKey(&c))
	}
	return in
}

// wishFor notes what is wanted of a service, so that another manager knows. That takes back a failure
// action that waits.
func (m *Manager) wishFor(u *unit, name string, w wish) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := u.record(name)
	if r.Wish == w && r.Due == nil {
		return nil
	}
	r.Wish, r.Due = w, nil
	return u.writeState()
}

// Query gives a service's status.
func (m *Manager) Query(name string) (Status, error) {
	_, c, err := m.key(name)
	if err != nil {
		return Status{}, err
	}
	return m.status(&c), nil
}

// QueryAll gives the status of every service, by name.
func (m *Manager) QueryAll() (all []Status) {
	for _, c := range m.Configs() {
		all = append(all, m.status(&c))
	}
	return all
}

func (m *Manager) status(c *Config) Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.service(c.Name)
	st := Status{Name: c.Name, DisplayName: cmp.Or(c.DisplayName, c.Name), Type: c.Type,
		State: s.state, ExitCode: s.exit, Detail: s.detail, HostGroup: c.HostGroup,
		Group: c.Group, LastCrash: m.crashes.last(c.Name)}
	rec := m.unitFor(unitKey(c)).record(c.Name)
	st.Failures = rec.Failures
	st.Restarting = s.due != nil && rec.Due != nil && rec.Due.Type == ActionRestart
	if s.state == Stopped && s.due != nil && rec.Wish == wishStarting {
		st.State = StartPending // the last manager has begun that
	}
	if s.unit != nil && s.unit.link != nil {
		st.PID = s.unit.link.pid
	}
	return st
}
