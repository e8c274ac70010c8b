package service

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/drvhost/drvhost/nt"
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
	// Policy, if set, says which images may be loaded.
	Policy ImagePolicy
	// Share, if set, serves the registry to a host that another manager has started: it is called with
	// a connection to it, which it closes.
	Share func(net.Conn)
	// Log takes what happens; nil is silence.
	Log hclog.Logger
	// StartLimit and StopLimit are how long a start and a stop may take; 0 is 30 s.
	StartLimit, StopLimit time.Duration
	// Heartbeat is how often each host is asked whether it answers, and how long it may take; 0 is
	// 30 s.
	Heartbeat time.Duration
}

// Manager keeps services and their hosts.
type Manager struct {
	opts ManagerOptions
	log  hclog.Logger
	boot string

	// admin is held by what changes registrations.
	admin sync.Mutex

	mu       sync.Mutex // guards what follows
	services map[string]*runtime
	units    map[string]*unit
	closed   bool
	quit     chan struct{}
}

// runtime is what a service does now.
type runtime struct {
	op sync.Mutex // held by what starts or stops it; taken before unit.op

	// Guarded by Manager.mu:
	name    string
	state   State
	exit    Code
	detail  string
	unit    *unit // that it runs in
	restart *time.Timer
}

// forget makes it that of a service that is new. Manager.mu is held.
func (s *runtime) forget(name string) {
	s.name, s.state, s.exit, s.detail, s.unit = name, Stopped, NeverStarted, "", nil
}

// remembered is what a unit remembers of a service.
type remembered struct {
	Wish     wish      `json:"wish"`
	Failures int       `json:"failures"`
	Last     time.Time `json:"last"` // failure
}

// Status is what a service does, for people.
type Status struct {
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
	Type        Type   `json:"type"`
	State       State  `json:"state"`
	ExitCode    Code   `json:"exit_code"`
	Detail      string `json:"detail"` // of the exit code
	PID         int    `json:"pid"`
	HostGroup   string `json:"host_group"`
	Failures    int    `json:"failures"` // since the reset period's last end
	Restarting  bool   `json:"restarting"`
}

const defaultLimit = 30 * time.Second

// NewManager makes a manager, finds the hosts that run, and ends what another one has left half
// done. It starts nothing; see [Manager.Boot].
func NewManager(o ManagerOptions) (*Manager, error) {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	o.StartLimit = cmp.Or(o.StartLimit, defaultLimit)
	o.StopLimit = cmp.Or(o.StopLimit, defaultLimit)
	o.Heartbeat = cmp.Or(o.Heartbeat, defaultLimit)
	m := &Manager{opts: o, log: o.Log, boot: bootID(), services: map[string]*runtime{},
		units: map[string]*unit{}, quit: make(chan struct{})}
	if err := os.MkdirAll(filepath.Join(o.Dir, unitsDir), 0o700); err != nil {
		return nil, err
	}
	if err := seedGroupOrder(o.Store.Registry); err != nil {
		return nil, err
	}
	if err := m.find(); err != nil {
		return nil, err
	}
	go m.beat()
	return m, nil
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
		if s.restart != nil {
			s.restart.Stop()
		}
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

// unitFor gives the unit of a key. m.mu is held.
func (m *Manager) unitFor(key string) *unit {
	u := m.units[key]
	if u == nil {
		u = &unit{key: key, dir: filepath.Join(m.opts.Dir, unitsDir, unitName(key))}
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

// wishFor notes what is wanted of a service, so that another manager knows.
func (m *Manager) wishFor(u *unit, name string, w wish) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := u.record(name)
	if r.Wish == w {
		return nil
	}
	r.Wish = w
	return u.writeState()
}

// find finds the hosts that run.
func (m *Manager) find() error {
	dirs, err := os.ReadDir(filepath.Join(m.opts.Dir, unitsDir))
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		u := &unit{dir: filepath.Join(m.opts.Dir, unitsDir, d.Name())}
		b, err := os.ReadFile(filepath.Join(u.dir, unitState))
		if err != nil {
			continue
		}
		if u.key = lastRecord(b).Key; unitName(u.key) != d.Name() {
			continue
		}
		m.mu.Lock()
		u = m.unitFor(u.key)
		m.mu.Unlock()
		lock, free, err := u.lock(false)
		switch {
		case err != nil:
			m.log.Error("a host's place cannot be used", "dir", u.dir, "error", err)
		case free:
			_ = lock.Close()
		default:
			wg.Go(func() { m.adopt(u) })
		}
	}
	wg.Wait()
	for _, c := range m.Configs() {
		m.settleService(c)
	}
	return nil
}

// adopt takes a host that runs.
func (m *Manager) adopt(u *unit) {
	l, r, err := u.adopt(m.opts.StartLimit)
	if err != nil {
		m.log.Error("a host does not answer", "dir", u.dir, "error", err)
		return
	}
	m.mu.Lock()
	u.link = l
	for _, name := range r.Services {
		s := m.service(name)
		s.state, s.exit, s.detail, s.unit = Running, Success, "", u
	}
	m.mu.Unlock()
	if m.opts.Share != nil {
		if conn, err := u.share(); err == nil {
			go m.opts.Share(conn)
		} else {
			m.log.Error("a host does not follow the registry", "process", l.pid, "error", err)
		}
	}
	m.log.Info("found a host", "process", l.pid, "services", r.Services)
	go m.follow(u, l)
	for _, name := range r.Services {
		m.mu.Lock()
		stop := u.record(name).Wish == wishStopped
		m.mu.Unlock()
		if _, err := m.Config(name); err != nil || stop {
			_ = m.halt(name) // it goes on where the last manager has ended
		}
	}
	if len(r.Services) == 0 {
		m.mu.Lock()
		starting := false
		for _, rec := range u.state.Services {
			starting = starting || rec.Wish == wishStarting
		}
		m.mu.Unlock()
		if !starting {
			m.endHost(u)
		}
	}
}

// settleService ends what the last manager had begun with one service.
func (m *Manager) settleService(c Config) {
	m.mu.Lock()
	s := m.service(c.Name)
	u := m.unitFor(unitKey(&c))
	rec := *u.record(c.Name)
	running := s.state == Running
	m.mu.Unlock()
	switch {
	case c.Deleted:
		if !running {
			_ = m.remove(c.Name)
		}
	case running:
	case rec.Wish == wishStarting:
		go func() {
			if err := m.Start(c.Name); err != nil {
				m.log.Warn("a start that was under way has failed", "service", c.Name, "error", err)
			}
		}()
	case rec.Wish == wishRunning:
		m.failed(u, c.Name, fail(ProcessAborted, "the service's host has ended"))
	}
}

// follow waits for a host's end.
func (m *Manager) follow(u *unit, l *link) {
	<-l.ended
	m.mu.Lock()
	closed := m.closed
	m.mu.Unlock()
	if closed {
		close(l.gone)
		return
	}
	l.kill() // it does not speak: whatever it does, nobody can reach it any more
	if f, _, err := u.lock(true); err == nil {
		_ = f.Close()
	}
	step("host ended")
	m.mu.Lock()
	if u.link == l {
		u.link = nil
	}
	asked := u.ending
	u.ending = false
	var lost []string
	for _, s := range m.services {
		if s.unit == u && s.state == Running {
			s.state, s.unit = Stopped, nil
			lost = append(lost, s.name)
		}
	}
	m.mu.Unlock()
	if !asked && len(lost) > 0 {
		m.log.Error("a host has ended", "process", l.pid, "services", lost, "error", l.aborted(),
			"report", l.crash.Report)
	}
	for _, name := range lost {
		if asked {
			m.mu.Lock()
			s := m.service(name)
			s.exit, s.detail = Success, ""
			m.mu.Unlock()
		} else {
			m.failed(u, name, l.aborted())
		}
	}
	close(l.gone)
}

// failed does what a service's failure actions say.
func (m *Manager) failed(u *unit, name string, why error) {
	_, c, err := m.key(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.service(name)
	s.exit, s.detail = CodeOf(why)
	rec := u.record(name)
	if m.closed || rec.Wish == wishStopped {
		return
	}
	if period := c.Failure.ResetPeriod; period != resetInfinite &&
		time.Since(rec.Last) > time.Duration(period)*time.Second {
		rec.Failures = 0
	}
	rec.Failures++
	rec.Last = time.Now()
	action, delay := c.Failure.after(rec.Failures)
	if err != nil || c.Deleted || c.Start == DisabledStart {
		action = ActionNone
	}
	if action != ActionRestart {
		rec.Wish = wishNone
	}
	if err := u.writeState(); err != nil {
		m.log.Error("state", "error", err)
	}
	if c.Deleted {
		go func() { _ = m.remove(name) }()
	}
	if action != ActionRestart {
		return
	}
	m.log.Warn("the service is started again", "service", name, "failures", rec.Failures,
		"delay", delay)
	if s.restart != nil {
		s.restart.Stop()
	}
	s.restart = time.AfterFunc(delay, func() { m.startAgain(u, name) })
}

// startAgain starts a service after a failure; that it cannot be started is one more.
func (m *Manager) startAgain(u *unit, name string) {
	m.mu.Lock()
	s := m.service(name)
	wanted := s.restart != nil && u.record(name).Wish != wishStopped
	s.restart = nil
	closed := m.closed
	m.mu.Unlock()
	if !wanted || closed {
		return
	}
	step("restart")
	switch err := m.Start(name); {
	case err == nil, errors.Is(err, AlreadyRunning):
	default:
		m.log.Error("the service cannot be started again", "service", name, "error", err)
		m.failed(u, name, err)
	}
}

// Boot starts the services whose start is automatic and which do not run, in their order.
func (m *Manager) Boot() {
	order := readGroupOrder(m.opts.Store.Registry)
	var all []Config
	for _, c := range m.Configs() {
		m.mu.Lock()
		w := m.unitFor(unitKey(&c)).record(c.Name).Wish
		pending := m.service(c.Name).restart != nil
		m.mu.Unlock()
		if c.Start.automatic() && !c.Deleted && w != wishStopped && !pending {
			all = append(all, c)
		}
	}
	order.sort(all)
	for _, wave := range order.waves(all) {
		m.bootWave(wave)
	}
}

// startsAtOnce is how many services are started at the same time.
const startsAtOnce = 8

func (m *Manager) bootWave(wave []Config) {
	places := make(chan struct{}, startsAtOnce)
	var wg sync.WaitGroup
	for _, c := range wave {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			err := m.Start(c.Name)
			if err == nil || errors.Is(err, AlreadyRunning) {
				return
			}
			switch c.ErrorControl {
			case ErrorIgnore:
			case ErrorNormal:
				m.log.Warn("the service is not started", "service", c.Name, "error", err)
			default:
				m.log.Error("the service is not started", "service", c.Name, "error", err)
			}
		})
	}
	wg.Wait()
}

// Start starts a service, and those before it that it depends on.
func (m *Manager) Start(name string) error {
	_, c, err := m.key(name)
	switch {
	case err != nil:
		return err
	case c.Deleted:
		return MarkedForDelete
	case c.Start == DisabledStart:
		return Disabled
	}
	if err := m.startDependencies(&c); err != nil {
		return err
	}
	m.mu.Lock()
	s := m.service(c.Name)
	m.mu.Unlock()
	s.op.Lock()
	defer s.op.Unlock()
	if _, c, err = m.key(name); err != nil {
		return err
	}
	if c.Deleted {
		return MarkedForDelete
	}
	m.mu.Lock()
	u := m.unitFor(unitKey(&c))
	m.mu.Unlock()
	u.op.Lock()
	defer u.op.Unlock()
	m.mu.Lock()
	if s.state == Running {
		m.mu.Unlock()
		return AlreadyRunning
	}
	if s.restart != nil {
		s.restart.Stop()
		s.restart = nil
	}
	s.state, s.exit, s.detail = StartPending, Success, ""
	m.mu.Unlock()
	l, err := m.launch(u, &c)
	if err == nil {
		err = m.started(u, s, l)
	}
	if err == nil {
		return nil
	}
	m.mu.Lock()
	s.state, s.unit = Stopped, nil
	s.exit, s.detail = CodeOf(err)
	m.mu.Unlock()
	if e := m.wishFor(u, c.Name, wishNone); e != nil {
		m.log.Error("state", "error", e)
	}
	return err
}

// started notes that a service runs, unless its host has ended meanwhile.
func (m *Manager) started(u *unit, s *runtime, l *link) error {
	step("loaded")
	if err := m.wishFor(u, s.name, wishRunning); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if u.link != l {
		return l.aborted()
	}
	s.state, s.unit = Running, u
	return nil
}

// startDependencies starts what a service depends on.
func (m *Manager) startDependencies(c *Config) error {
	if len(c.DependOnService)+len(c.DependOnGroup) == 0 {
		return nil
	}
	all := m.Configs()
	if circular(dependencies(all), c.Name) {
		return CircularDependency
	}
	for _, d := range c.DependOnService {
		err := m.Start(d)
		switch {
		case err == nil, errors.Is(err, AlreadyRunning):
		case errors.Is(err, DoesNotExist), errors.Is(err, MarkedForDelete):
			return fail(DependencyDeleted, "%s", d)
		default:
			return fail(DependencyFailed, "%s: %v", d, err)
		}
	}
	for _, g := range c.DependOnGroup {
		// One member that runs is enough, once all were tried.
		var members []Config
		for _, o := range all {
			if cm.Fold(o.Group) == cm.Fold(g) {
				members = append(members, o)
			}
		}
		readGroupOrder(m.opts.Store.Registry).sort(members)
		runs := false
		for i := range members {
			err := m.Start(members[i].Name)
			runs = runs || err == nil || errors.Is(err, AlreadyRunning)
		}
		if !runs {
			return fail(DependencyFailed, "no service of group %s", g)
		}
	}
	return nil
}

// ImageFile gives the file of an image path: an absolute path of Linux, with or without \??\ before
// it.
func ImageFile(path string) (string, error) {
	path = strings.TrimPrefix(path, `\??\`)
	if !filepath.IsAbs(path) {
		return "", fail(FileNotFound, "%s: want the absolute path of a file", path)
	}
	return filepath.Clean(path), nil
}

// readImage reads a driver's file.
func readImage(path string) (file string, image []byte, err error) {
	if file, err = ImageFile(path); err != nil {
		return "", nil, err
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		defer f.Close()
		var info os.FileInfo
		if info, err = f.Stat(); err == nil {
			switch {
			case !info.Mode().IsRegular():
				return "", nil, fail(FileNotFound, "%s is not a regular file", file)
			case info.Size() > maxImage:
				return "", nil, fail(BadExeFormat, "%s has more than %d bytes", file, maxImage)
			}
			image, err = io.ReadAll(io.LimitReader(f, maxImage))
		}
	}
	switch {
	case errors.Is(err, os.ErrPermission):
		return "", nil, fail(AccessDenied, "%v", err)
	case err != nil:
		return "", nil, fail(FileNotFound, "%v", err)
	}
	return file, image, nil
}

// launch has a service's driver loaded, by a host that is started if need be. s.op and u.op are held.
func (m *Manager) launch(u *unit, c *Config) (*link, error) {
	file, image, err := readImage(c.ImagePath)
	if err != nil {
		return nil, err
	}
	if m.opts.Policy != nil {
		// These bytes, and no others, go to the host.
		if err := m.opts.Policy.CheckImage(filepath.Base(file), image, time.Now()); err != nil {
			return nil, &Error{InvalidImageHash, err.Error()}
		}
	}
	if err := m.wishFor(u, c.Name, wishStarting); err != nil {
		return nil, err
	}
	step("wished")
	l, err := m.host(u)
	if err != nil {
		return nil, err
	}
	_, err = l.call(hostRequest{Do: "start", Service: c.Name, File: file}, image, m.opts.StartLimit)
	if err == nil {
		return l, nil
	}
	m.mu.Lock()
	alone := true
	for _, s := range m.services {
		alone = alone && (s.unit != u || s.state != Running)
	}
	if alone || errors.Is(err, RequestTimeout) {
		u.ending = alone
		m.mu.Unlock()
		l.kill() // nothing else is in it, or it cannot go on
		<-l.gone
		return nil, err
	}
	m.mu.Unlock()
	return nil, err
}

// host gives the unit's host, and starts one if there is none. u.op is held.
func (m *Manager) host(u *unit) (*link, error) {
	m.mu.Lock()
	l, closed := u.link, m.closed
	m.mu.Unlock()
	if closed {
		return nil, CannotAcceptControl
	}
	if l != nil {
		select {
		case <-l.ended: // wait until its end has been told
			<-l.gone
		default:
			return l, nil
		}
	}
	l, err := u.spawn(func(*os.File) *exec.Cmd { return m.opts.Command() })
	if errors.Is(err, errHosted) {
		return nil, fail(CannotAcceptControl, "a host that does not answer has %s", u.dir)
	}
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	u.link, u.ending = l, false
	m.mu.Unlock()
	go l.read()
	go m.follow(u, l)
	return l, nil
}

// dependents gives the services that depend on one, those that run if asked, in the order in which
// they were started last to first.
func (m *Manager) dependents(name string, running bool) (list []Config) {
	all := m.Configs()
	readGroupOrder(m.opts.Store.Registry).sort(all)
	on := dependencies(all)
	for i := len(all) - 1; i >= 0; i-- {
		if !slices.Contains(on[cm.Fold(all[i].Name)], cm.Fold(name)) {
			continue
		}
		m.mu.Lock()
		runs := m.service(all[i].Name).state != Stopped
		m.mu.Unlock()
		if runs || !running {
			list = append(list, all[i])
		}
	}
	return list
}

// Dependents gives the statuses of the services that depend on one.
func (m *Manager) Dependents(name string) (list []Status, err error) {
	if _, _, err := m.key(name); err != nil {
		return nil, err
	}
	for _, c := range m.dependents(name, false) {
		list = append(list, m.status(&c))
	}
	return list, nil
}

// Stop stops a service: its driver is unloaded, and its host ended if nothing else is in it. What
// does not end in time is killed.
func (m *Manager) Stop(name string) error {
	if _, _, err := m.key(name); err != nil {
		return err
	}
	for _, d := range m.dependents(name, true) {
		// One member of a group that runs still does for those that depend on the group.
		if slices.ContainsFunc(d.DependOnService,
			func(n string) bool { return cm.Fold(n) == cm.Fold(name) }) {
			return fail(DependentRunning, "%s", d.Name)
		}
	}
	return m.halt(name)
}

// halt is Stop without a look at others.
func (m *Manager) halt(name string) error {
	m.mu.Lock()
	s := m.service(name)
	m.mu.Unlock()
	s.op.Lock()
	defer s.op.Unlock()
	m.mu.Lock()
	u := s.unit
	pending := s.restart != nil
	if pending {
		s.restart.Stop()
		s.restart = nil
	}
	m.mu.Unlock()
	if u == nil {
		if pending {
			return m.forgetRestart(name)
		}
		return NotActive
	}
	u.op.Lock()
	defer u.op.Unlock()
	m.mu.Lock()
	if s.state != Running || u.link == nil {
		m.mu.Unlock()
		return NotActive
	}
	l := u.link
	last := true
	for _, o := range m.services {
		last = last && (o == s || o.unit != u || o.state != Running)
	}
	before := u.record(name).Wish
	s.state, u.ending = StopPending, last
	m.mu.Unlock()
	err := m.wishFor(u, name, wishStopped)
	step("stop wished")
	if err == nil {
		_, err = l.call(hostRequest{Do: "stop", Service: name}, nil, m.opts.StopLimit)
	}
	step("stopped")
	late := errors.Is(err, RequestTimeout)
	switch {
	case last && (err == nil || late || errors.Is(err, ProcessAborted)):
		if late {
			l.kill()
		}
		if !m.wait(l) {
			l.kill()
			<-l.gone
		}
	case late || errors.Is(err, ProcessAborted):
		l.kill() // with what else is in it: its failure actions bring that back
		<-l.gone
	case err != nil:
		m.mu.Lock()
		s.state, u.ending = Running, false
		m.mu.Unlock()
		return errors.Join(err, m.wishFor(u, name, before))
	}
	m.mu.Lock()
	s.state, s.unit, s.exit, s.detail = Stopped, nil, Success, ""
	m.mu.Unlock()
	if _, c, err := m.key(name); err == nil && c.Deleted {
		return m.remove(name)
	}
	return nil
}

// forgetRestart takes back a restart that a failure action has put off.
func (m *Manager) forgetRestart(name string) error {
	_, c, err := m.key(name)
	if err != nil {
		return err
	}
	m.mu.Lock()
	u := m.unitFor(unitKey(&c))
	m.mu.Unlock()
	return m.wishFor(u, name, wishStopped)
}

// wait waits for a host's end.
func (m *Manager) wait(l *link) bool {
	select {
	case <-l.gone:
		return true
	case <-time.After(m.opts.StopLimit):
		return false
	}
}

// endHost ends a host in which there is nothing.
func (m *Manager) endHost(u *unit) {
	u.op.Lock()
	defer u.op.Unlock()
	m.mu.Lock()
	l := u.link
	u.ending = true
	m.mu.Unlock()
	if l == nil {
		return
	}
	l.kill()
	<-l.gone
}

// beat asks each host now and then whether it answers.
func (m *Manager) beat() {
	t := time.NewTicker(m.opts.Heartbeat)
	defer t.Stop()
	for {
		select {
		case <-m.quit:
			return
		case <-t.C:
		}
		m.mu.Lock()
		var all []*link
		for _, u := range m.units {
			if u.link != nil {
				all = append(all, u.link)
			}
		}
		m.mu.Unlock()
		for _, l := range all {
			go func() {
				_, err := l.call(hostRequest{Do: "hello"}, nil, m.opts.Heartbeat)
				if errors.Is(err, RequestTimeout) {
					m.log.Error("a host does not answer and is killed", "process", l.pid)
					l.kill()
				}
			}()
		}
	}
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
		Restarting: s.restart != nil,
		Failures:   m.unitFor(unitKey(c)).record(c.Name).Failures}
	if s.unit != nil && s.unit.link != nil {
		st.PID = s.unit.link.pid
	}
	return st
}

// Create registers a service, and starts it if its start is automatic. What cannot be started is
// registered all the same, and the failure in the log and in its status.
func (m *Manager) Create(c Config) error {
	if err := m.create(&c); err != nil {
		return err
	}
	step("created")
	if c.Start.automatic() {
		if err := m.Start(c.Name); err != nil && !errors.Is(err, AlreadyRunning) {
			m.log.Warn("the new service is not started", "service", c.Name, "error", err)
		}
	}
	return nil
}

func (m *Manager) create(c *Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	m.admin.Lock()
	defer m.admin.Unlock()
	switch _, old, err := m.key(c.Name); {
	case err == nil && old.Deleted:
		return MarkedForDelete
	case err == nil:
		return Exists
	}
	if err := m.checkDisplayName(c); err != nil {
		return err
	}
	step("create")
	m.mu.Lock()
	m.service(c.Name).forget(c.Name) // what one of the name that is gone has done
	u := m.unitFor(unitKey(c))
	delete(u.state.Services, cm.Fold(c.Name))
	m.mu.Unlock()
	return m.opts.Store.Batch(func() error {
		k, _, status := m.opts.Store.Registry.Create(nil, ServicesKey+`\`+c.Name,
			cm.CreateOptions{Parents: true})
		if status != nt.STATUS_SUCCESS {
			return &Error{FromStatus(status), "the service's key"}
		}
		return c.store(k)
	})
}

// checkDisplayName says whether a display name is free.
func (m *Manager) checkDisplayName(c *Config) error {
	if c.DisplayName == "" {
		return nil
	}
	for _, o := range m.Configs() {
		if cm.Fold(o.Name) != cm.Fold(c.Name) && (cm.Fold(o.Name) == cm.Fold(c.DisplayName) ||
			cm.Fold(o.DisplayName) == cm.Fold(c.DisplayName)) {
			return DuplicateName
		}
	}
	return nil
}

// Change changes what a service is registered with: change is given what is there. What is running
// is not touched.
func (m *Manager) Change(name string, change func(c *Config) error) error {
	m.admin.Lock()
	defer m.admin.Unlock()
	k, c, err := m.key(name)
	switch {
	case err != nil:
		return err
	case c.Deleted:
		return MarkedForDelete
	}
	if err := change(&c); err != nil {
		return err
	}
	c.Name = name
	if err := c.Validate(); err != nil {
		return err
	}
	if err := m.checkDisplayName(&c); err != nil {
		return err
	}
	all := slices.DeleteFunc(m.Configs(), func(o Config) bool { return cm.Fold(o.Name) == cm.Fold(name) })
	if circular(dependencies(append(all, c)), name) {
		return CircularDependency
	}
	return m.opts.Store.Batch(func() error { return c.store(k) })
}

// NextTag gives a tag that no service of a group has.
func (m *Manager) NextTag(group string) (tag uint32) {
	for _, c := range m.Configs() {
		if cm.Fold(c.Group) == cm.Fold(group) {
			tag = max(tag, c.Tag)
		}
	}
	return tag + 1
}

// Delete deletes a service: at once if it is stopped, else when it is.
func (m *Manager) Delete(name string) error {
	m.admin.Lock()
	k, c, err := m.key(name)
	switch {
	case err != nil:
	case c.Deleted:
		err = MarkedForDelete
	default:
		if status := k.Set(valDelete, nt.REG_DWORD, cm.DWord(1)); !status.Success() {
			err = &Error{FromStatus(status), "value " + valDelete}
		}
	}
	m.admin.Unlock()
	if err != nil {
		return err
	}
	step("marked for deletion")
	m.mu.Lock()
	s := m.service(c.Name)
	m.mu.Unlock()
	s.op.Lock()
	defer s.op.Unlock()
	m.mu.Lock()
	stopped := s.state == Stopped
	if stopped && s.restart != nil {
		s.restart.Stop()
		s.restart = nil
	}
	m.mu.Unlock()
	if !stopped {
		return nil
	}
	return m.remove(c.Name)
}

// remove takes a service out of the registry, and away what it had.
func (m *Manager) remove(name string) error {
	m.admin.Lock()
	defer m.admin.Unlock()
	k, c, err := m.key(name)
	if err != nil || !c.Deleted {
		return nil // it is gone, or another one of the name has come
	}
	m.mu.Lock()
	u := m.unitFor(unitKey(&c))
	delete(u.state.Services, cm.Fold(name))
	m.service(name).forget(name)
	empty := len(u.state.Services) == 0 && u.link == nil
	err = nil
	if !empty {
		err = u.writeState()
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	step("remove")
	err = m.opts.Store.Batch(func() error {
		if status := k.DeleteTree(); !status.Success() {
			return &Error{FromStatus(status), "the service's key"}
		}
		return nil
	})
	step("removed")
	if err == nil && empty && c.HostGroup == "" {
		err = m.removeUnit(u)
	}
	return err
}

// removeUnit removes a unit's directory. No host is in it, and none is started while its lock is
// held.
func (m *Manager) removeUnit(u *unit) error {
	lock, free, err := u.lock(false)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil || !free {
		return err
	}
	defer lock.Close()
	for _, name := range []string{unitState, unitState + ".new", unitLog, unitLog + ".old", unitSocket,
		unitLock} {
		if err := os.Remove(filepath.Join(u.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("the service's directory: %w", err)
		}
	}
	return os.Remove(u.dir)
}
