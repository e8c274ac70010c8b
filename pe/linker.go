// Linker: the loaded modules by name, and what their imports come to.

package pe

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/drvhost/drvhost/guest"
)

// Linker is the set of modules that are loaded. Names are compared as Windows compares file names:
// without regard to case. It may be used by several goroutines at once.
type Linker struct {
	mu      sync.RWMutex
	byName  map[string]*Module
	aliases map[string]string
	modules []*Module // in the order in which they were added
}

// Missing is an import that no loaded module answers.
type Missing struct {
	// Importer is the module that needs it.
	Importer *Module
	// Module is the name of the module that should have it, as the importer spells it.
	Module string
	Import Import
	// Err says why it is missing: a *MissingError.
	Err error
}

// MissingError says what a look-up did not find.
type MissingError struct {
	// Module is the module that was asked.
	Module string
	// Import is what was asked for, empty if the module itself is not loaded.
	Import string
}

// Error names the module that is not loaded, or the export that it does not have.
func (e *MissingError) Error() string {
	if e.Import == "" {
		return fmt.Sprintf("module %s is not loaded", e.Module)
	}
	return fmt.Sprintf("%s does not export %s", e.Module, e.Import)
}

// ErrLoop is the error of forwarders, or of imports between modules, that lead back to where they
// began.
var ErrLoop = errors.New("import loop")

// NewLinker makes an empty set.
func NewLinker() *Linker {
	return &Linker{byName: make(map[string]*Module), aliases: make(map[string]string)}
}

// Add makes a module's exports available. It fails if a module of that name is there.
func (l *Linker) Add(m *Module) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := strings.ToLower(m.Name())
	if other := l.byName[key]; other != nil {
		return fmt.Errorf("%s: a module of that name is loaded at %v", m.Name(), other.Base())
	}
	l.byName[key] = m
	l.modules = append(l.modules, m)
	return nil
}

// Remove takes a module out. What was bound to its exports stays bound.
func (l *Linker) Remove(m *Module) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := strings.ToLower(m.Name())
	if l.byName[key] == m {
		delete(l.byName, key)
	}
	l.modules = slices.DeleteFunc(slices.Clone(l.modules), func(o *Module) bool { return o == m })
}

// Alias lets imports that name one module be answered by another: "ntkrnlpa.exe" by
// "ntoskrnl.exe". A loaded module of the first name goes before its alias.
func (l *Linker) Alias(name, module string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.aliases[strings.ToLower(name)] = strings.ToLower(module)
}

// Module finds a module by its file name. A name without an extension, as forwarders have it, is
// tried with .dll, .sys and .exe.
func (l *Linker) Module(name string) (*Module, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	m := l.find(name)
	return m, m != nil
}

func (l *Linker) find(name string) *Module {
	name = strings.ToLower(name)
	for _, ext := range [...]string{"", ".dll", ".sys", ".exe"} {
		if m := l.byName[name+ext]; m != nil {
			return m
		}
		if m := l.byName[l.aliases[name+ext]]; m != nil {
			return m
		}
	}
	return nil
}

// Modules gives the modules in the order in which they were added.
func (l *Linker) Modules() []*Module {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Clone(l.modules)
}

// At finds the module that an address lies in.
func (l *Linker) At(a guest.Addr) (*Module, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, m := range l.modules {
		if m.Contains(a) {
			return m, true
		}
	}
	return nil, false
}

// Resolve gives the address of an import, after following forwarders. The error is a *MissingError,
// with the forwarders that led there before it, or wraps ErrLoop.
func (l *Linker) Resolve(module string, imp Import) (guest.Addr, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var path []string // the forwarders so far: "a.sys!X"
	via := func(err error) error {
		if len(path) == 0 {
			return err
		}
		return fmt.Errorf("forwarded by %s: %w", strings.Join(path, ", "), err)
	}
	for {
		m := l.find(module)
		if m == nil {
			return 0, via(&MissingError{Module: module})
		}
		var e Export
		var ok bool
		if imp.ByOrdinal {
			e, ok = m.ExportByOrdinal(imp.Ordinal)
		} else {
			e, ok = m.LookupExport(imp.Name)
		}
		if !ok {
			return 0, via(&MissingError{Module: m.Name(), Import: imp.String()})
		}
		if e.Forwarder == "" {
			return e.Addr, nil
		}
		here := m.Name() + "!" + imp.String()
		if slices.Contains(path, here) || len(path) == maxForwards {
			return 0, via(fmt.Errorf("%w at %s", ErrLoop, here))
		}
		path = append(path, here)
		var err error
		if module, imp, err = splitForwarder(e.Forwarder); err != nil {
			return 0, via(err)
		}
	}
}

// maxForwards bounds a chain of forwarders that never repeats itself.
const maxForwards = 32

// Link binds a module's imports to the loaded modules. What is missing stays bound to the module's
// own Fallback, if it has one. Else it is given to missing, which supplies an address in its place
// (such as that of a thunk that reports the call) or the error with which linking ends; without
// such a function the first missing import ends it. Forwarders that run in a circle always do.
func (l *Linker) Link(m *Module, missing func(Missing) (guest.Addr, error)) error {
	return m.Bind(func(module string, imp Import) (guest.Addr, error) {
		a, err := l.Resolve(module, imp)
		switch {
		case err == nil || !errors.As(err, new(*MissingError)):
			return a, err
		case imp.Fallback != 0:
			return m.Addr(imp.Fallback), nil
		case missing == nil:
			return 0, err
		}
		return missing(Missing{Importer: m, Module: module, Import: imp, Err: err})
	})
}

// LoadOrder sorts images such that each comes after those that it imports from, and otherwise keeps
// their order. Imports from modules that are not among them do not matter. Images that import from
// each other in a circle are an error that wraps ErrLoop and names them.
func LoadOrder(images []*Image) ([]*Image, error) {
	index := make(map[string]int, len(images))
	for i, img := range images {
		key := strings.ToLower(img.Name)
		if j, dup := index[key]; dup {
			return nil, fmt.Errorf("%s: given twice, as image %d and %d", img.Name, j+1, i+1)
		}
		index[key] = i
	}
	const (
		fresh = iota
		open
		done
	)
	state := make([]uint8, len(images))
	order := make([]*Image, 0, len(images))
	var path []string
	var visit func(i int) error
	visit = func(i int) error {
		path = append(path, images[i].Name)
		defer func() { path = path[:len(path)-1] }()
		switch state[i] {
		case done:
			return nil
		case open:
			from := slices.Index(path, images[i].Name)
			return fmt.Errorf("%w: %s", ErrLoop, strings.Join(path[from:], " imports from "))
		}
		state[i] = open
		for k := range images[i].Imports {
			j, ok := index[strings.ToLower(images[i].Imports[k].Name)]
			if !ok {
				continue
			}
			if err := visit(j); err != nil {
				return err
			}
		}
		state[i] = done
		order = append(order, images[i])
		return nil
	}
	for i := range images {
		if err := visit(i); err != nil {
			return nil, err
		}
	}
	return order, nil
}
