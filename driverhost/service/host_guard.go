package service

// What hosts may change in the registry of the manager. A host has a driver in it that may be hostile,
// and the manager acts on what services are registered with: it reads the file that ImagePath names and
// loads it beside the drivers of the same HostGroup. So a driver may register services, as others that
// ZwLoadDriver is to load, but it cannot touch those that somebody else has registered.

import (
	"strings"
	"sync"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// maxMade is how many services a host may register.
const maxMade = 64

// hostGrowth is by how many bytes a host may have the registry grow: all of them share cm.QuotaBytes.
const hostGrowth = 16 << 20

// Values of a service's key that are a driver's business in no service: they say what the manager does
// with its own rights, and with whom a service shares a host.
var managerValues = folded(valFailure, valCommand, valReboot, valNonCrash, valHostGroup, valDelete,
	"SymbolicLinkValue")

// registrationValues are the others that make a service.
var registrationValues = folded(valType, valImage, valDisplay, valGroup, valTag, valServices, valGroups)

// What else says which services there are, and in which order they start.
var (
	currentControlSet = cm.Fold(`\Registry\Machine\System\CurrentControlSet`)
	orderKeys         = []string{cm.Fold(`\ServiceGroupOrder`), cm.Fold(`\GroupOrderList`)}
)

func folded(names ...string) map[string]bool {
	set := map[string]bool{}
	for _, n := range names {
		set[cm.Fold(n)] = true
	}
	return set
}

// Guard decides what hosts may change. A manager tells it of its hosts.
type Guard struct {
	// OnGone, if set, is told of a process that is no host any more, before it counts as none. It is set
	// before the guard is used.
	OnGone func(pid int)

	registry *cm.Registry

	mu    sync.Mutex        // guards what follows; the registry's lock may be taken under it
	hosts map[int]string    // the unit's key of the host that is a process
	made  map[string]string // the unit's key of the host that has registered a service, by folded name
}

// NewGuard makes a guard of a registry.
func NewGuard(r *cm.Registry) *Guard {
	return &Guard{registry: r, hosts: map[int]string{}, made: map[string]string{}}
}

// host notes that a process is the host of a unit.
func (g *Guard) host(pid int, unit string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hosts[pid] = unit
}

// gone notes that it is not any more.
func (g *Guard) gone(pid int, unit string) {
	if g.OnGone != nil {
		g.OnGone(pid)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hosts[pid] == unit {
		delete(g.hosts, pid)
	}
}

// taken notes that a service is no host's any more, because somebody else has registered or changed
// it, or it is deleted.
func (g *Guard) taken(service string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.made, cm.Fold(service))
}

// path gives the path of a key, folded and without links on the way.
func (g *Guard) path(name string) string {
	k, status := g.registry.Open(nil, name, false)
	if !status.Success() {
		return cm.Fold(name)
	}
	return cm.Fold(k.Path())
}

// config reads what a service is registered with; ok is false if it is not registered whole.
func (g *Guard) config(name string) (c Config, ok bool) {
	k, status := g.registry.Open(nil, ServicesKey+`\`+name, false)
	if !status.Success() {
		return c, false
	}
	c, ok = readConfig(k, name)
	return c, ok && c.ImagePath != ""
}

// below says whether a path is that of a key or of one below it, and gives what follows.
func below(path, key string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, key)
	if !ok || rest != "" && rest[0] != '\\' {
		return "", false
	}
	return strings.TrimPrefix(rest, `\`), true
}

// Check says whether a process may do a change: STATUS_SUCCESS or STATUS_ACCESS_DENIED. Processes other
// than hosts may do any: who may write at all is decided before. The change's path has no links in it, as
// cm.Registry.Resolve gives it, and nothing else may change the registry until the change is done.
func (g *Guard) Check(pid int, c cm.Change) nt.Status {
	if !g.allows(pid, c) {
		return nt.STATUS_ACCESS_DENIED
	}
	return nt.STATUS_SUCCESS
}

// Limit gives by how many bytes a process may have the registry grow, 0 for as many as there are.
func (g *Guard) Limit(pid int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, isHost := g.hosts[pid]; isHost {
		return hostGrowth
	}
	return 0
}

func (g *Guard) allows(pid int, c cm.Change) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	unit, isHost := g.hosts[pid]
	path, services, control := cm.Fold(c.Key), g.path(ServicesKey), g.path(controlKey)
	if !isHost {
		if rest, ok := below(path, services); ok {
			name, _, _ := strings.Cut(rest, `\`)
			delete(g.made, name) // it is taken
		}
		return true
	}
	if _, above := below(services, path); above || path == currentControlSet {
		return false // Services itself, a key above it, or the link to that
	}
	for _, order := range orderKeys {
		if _, ok := below(path, control+order); ok {
			return false
		}
	}
	rest, ok := below(path, services)
	if !ok {
		return true
	}
	name, deeper, _ := strings.Cut(rest, `\`)
	config, registered := g.config(name)
	made := g.made[name] == unit
	own := registered && unitKey(&config) == unit
	switch {
	case registered && !own && !made:
		return false
	case deeper != "":
		return true
	}
	switch c.Op {
	case cm.OpCreateKey:
		return !c.Link && g.makes(name, unit)
	case cm.OpSetValue, cm.OpDeleteValue:
		return mayChangeValue(c, registered && !made, own)
	case cm.OpDeleteKey, cm.OpSetSecurity:
		return made
	}
	return false
}

// mayChangeValue decides on a value of a service that a driver may have to do with: settled says that
// somebody else has registered it, own that it runs in this host.
func mayChangeValue(c cm.Change, settled, own bool) bool {
	name := cm.Fold(c.Name)
	switch {
	case managerValues[name]:
		return false
	case registrationValues[name]:
		return !settled
	case name == cm.Fold(valStart) && !own:
		// What a driver registers is not started by itself.
		n, ok := cm.Value{Type: c.Type, Data: c.Data}.Number()
		return c.Op == cm.OpSetValue && c.Type == nt.REG_DWORD && ok && Start(n) >= DemandStart
	}
	return true
}

// makes notes that a host makes a service's key, unless it is there already. False if the host has made
// too many. g.mu is held.
func (g *Guard) makes(name, unit string) bool {
	if _, status := g.registry.Open(nil, ServicesKey+`\`+name, true); status.Success() {
		return true
	}
	n := 0
	for service, u := range g.made {
		if u != unit {
			continue
		}
		if _, status := g.registry.Open(nil, ServicesKey+`\`+service, true); status.Success() {
			n++
		} else {
			delete(g.made, service) // it is gone again
		}
	}
	if n >= maxMade {
		return false
	}
	g.made[name] = unit
	return true
}
