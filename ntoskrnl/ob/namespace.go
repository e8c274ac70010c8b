package ob

import (
	"slices"
	"strings"
	"unicode"

	"github.com/drvhost/drvhost/nt"
)

// The namespace: directories, symbolic links and named objects.

// entry is what a directory holds: a *directory, a *link or an *Object.
type entry any

type directory struct {
	name    string
	parent  *directory
	entries map[string]entry // by folded name
	object  *Object          // once somebody has opened it
}

type link struct {
	name   string
	target string
	system bool    // the manager's own, which nobody deletes
	object *Object // once somebody has opened it
}

func newDirectory(name string, parent *directory) *directory {
	return &directory{name: name, parent: parent, entries: make(map[string]entry)}
}

func (d *directory) path() string {
	if d.parent == nil {
		return ""
	}
	return d.parent.path() + `\` + d.name
}

// fold makes names that differ only in case equal.
func fold(name string) string { return strings.Map(unicode.ToUpper, name) }

// maxLinks bounds how many symbolic links a look-up follows, so that links that lead in a circle
// end.
const maxLinks = 32

// Lookup finds the object that a path leads to; it may go at any moment: see LookupReference. Where
// it meets an object that is no directory, what is left of the path, with its leading backslash, is
// rest: the part that a driver parses itself.
//
// STATUS_OBJECT_PATH_SYNTAX_BAD for a path that does not begin with a backslash or has an empty
// component, STATUS_OBJECT_PATH_NOT_FOUND and STATUS_OBJECT_NAME_NOT_FOUND as Windows has them,
// STATUS_OBJECT_TYPE_MISMATCH when the path leads to a directory.
func (m *Manager) Lookup(path string) (o *Object, rest string, status nt.Status) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.lookup(path)
}

// LookupReference is Lookup, and adds a reference to the object.
func (m *Manager) LookupReference(path string) (o *Object, rest string, status nt.Status) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, rest, status = m.lookup(path)
	if status == nt.STATUS_SUCCESS && !o.reference() {
		return nil, "", nt.STATUS_OBJECT_NAME_NOT_FOUND
	}
	return o, rest, status
}

func (m *Manager) lookup(path string) (o *Object, rest string, status nt.Status) {
	for range maxLinks {
		_, _, e, rest, status := m.walk(path)
		if status != nt.STATUS_SUCCESS {
			return nil, "", status
		}
		switch e := e.(type) {
		case *Object:
			return e, rest, nt.STATUS_SUCCESS
		case *link:
			path = e.target + rest
		default:
			return nil, "", nt.STATUS_OBJECT_TYPE_MISMATCH
		}
	}
	return nil, "", nt.STATUS_OBJECT_NAME_INVALID
}

// walk goes down the tree until the path ends or meets something that is no directory.
func (m *Manager) walk(path string) (parent *directory, name string, e entry, rest string,
	status nt.Status) {
	if !strings.HasPrefix(path, `\`) {
		return nil, "", nil, "", nt.STATUS_OBJECT_PATH_SYNTAX_BAD
	}
	d := m.root
	rest = path[1:]
	if rest == "" {
		return nil, "", d, "", nt.STATUS_SUCCESS
	}
	for {
		component, more, deeper := strings.Cut(rest, `\`)
		if component == "" {
			return nil, "", nil, "", nt.STATUS_OBJECT_NAME_INVALID
		}
		found := d.entries[fold(component)]
		if deeper {
			more = `\` + more
		}
		switch found := found.(type) {
		case nil:
			if deeper {
				return nil, "", nil, "", nt.STATUS_OBJECT_PATH_NOT_FOUND
			}
			return d, component, nil, "", nt.STATUS_OBJECT_NAME_NOT_FOUND
		case *directory:
			if !deeper {
				return d, component, found, "", nt.STATUS_SUCCESS
			}
			d, rest = found, more[1:]
		default:
			return d, component, found, more, nt.STATUS_SUCCESS
		}
	}
}

// place finds where a new name goes, following links in the directory part.
func (m *Manager) place(path string) (*directory, string, nt.Status) {
	for range maxLinks {
		parent, name, e, rest, status := m.walk(path)
		switch {
		case status == nt.STATUS_OBJECT_NAME_NOT_FOUND && parent != nil:
			return parent, name, nt.STATUS_SUCCESS
		case status != nt.STATUS_SUCCESS:
			return nil, "", status
		}
		l, ok := e.(*link)
		switch {
		case ok && rest != "":
			path = l.target + rest
		case rest != "":
			return nil, "", nt.STATUS_OBJECT_PATH_NOT_FOUND
		default:
			return nil, "", nt.STATUS_OBJECT_NAME_COLLISION
		}
	}
	return nil, "", nt.STATUS_OBJECT_NAME_INVALID
}

// Name gives an object its name. STATUS_OBJECT_NAME_COLLISION if the name is taken, and what Lookup
// says of a path that leads nowhere.
func (m *Manager) Name(o *Object, path string) nt.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, name, status := m.place(path)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	d.entries[fold(name)] = o
	o.parent, o.name, o.permanent = d, name, true
	return nt.STATUS_SUCCESS
}

// Unname takes the object's name away; the object stays as long as it has references.
func (m *Manager) Unname(o *Object) { m.removeName(o, func() bool { return true }) }

func (m *Manager) unname(o *Object) {
	if o.parent != nil {
		delete(o.parent.entries, fold(o.name))
		o.parent = nil
	}
}

// CreateLink makes a symbolic link. The target need not exist.
func (m *Manager) CreateLink(path, target string) nt.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, name, status := m.place(path)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	d.entries[fold(name)] = &link{name: name, target: target}
	return nt.STATUS_SUCCESS
}

// DeleteLink removes a symbolic link. STATUS_OBJECT_TYPE_MISMATCH if the name is something else's.
func (m *Manager) DeleteLink(path string) nt.Status {
	l, status := m.deleteLink(path)
	if l != nil && l.object != nil {
		// The name's reference; that others have given it back is said to them.
		_, _ = m.dereference(l.object)
	}
	return status
}

func (m *Manager) deleteLink(path string) (*link, nt.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range maxLinks {
		d, name, e, rest, status := m.walk(path)
		if status != nt.STATUS_SUCCESS {
			return nil, status
		}
		l, ok := e.(*link)
		switch {
		case !ok:
			return nil, nt.STATUS_OBJECT_TYPE_MISMATCH
		case rest == "" && l.system:
			return nil, nt.STATUS_ACCESS_DENIED
		case rest != "":
			path = l.target + rest
		default:
			delete(d.entries, fold(name))
			if l.object != nil {
				l.object.parent, l.object.counted = nil, false
			}
			return l, nt.STATUS_SUCCESS
		}
	}
	return nil, nt.STATUS_OBJECT_NAME_INVALID
}

// LinkInfo is a symbolic link and what it stands for.
type LinkInfo struct{ Path, Target string }

// Links gives the symbolic links that were made in a directory, sorted by name.
func (m *Manager) Links(dir string) []LinkInfo {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, _, e, _, status := m.walk(dir)
	d, ok := e.(*directory)
	if status != nt.STATUS_SUCCESS || !ok {
		return nil
	}
	var links []LinkInfo
	for _, e := range d.entries {
		if l, ok := e.(*link); ok && !l.system {
			links = append(links, LinkInfo{d.path() + `\` + l.name, l.target})
		}
	}
	slices.SortFunc(links, func(a, b LinkInfo) int { return strings.Compare(a.Path, b.Path) })
	return links
}
