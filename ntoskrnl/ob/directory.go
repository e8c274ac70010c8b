package ob

import (
	"slices"
	"strings"

	"github.com/drvhost/drvhost/nt"
)

// Directories and symbolic links as objects that can be opened. They become objects when somebody
// opens them; until then they are entries of the namespace only. The name of such an object, and of
// one that Insert has put into the namespace, holds a reference to it.

// bodySize is how large directories and symbolic links are in guest memory, in bytes: what is in
// them is Go's alone.
const bodySize = 0x20

func newDirectoryType() *Type {
	return &Type{Name: "Directory", Valid: 0xF000F, Mapping: nt.GenericMapping{
		GenericRead: 0x20003, GenericWrite: 0x2000C, GenericExecute: 0x20003, GenericAll: 0xF000F}}
}

func newLinkType() *Type {
	return &Type{Name: "SymbolicLink", Valid: 0xF0001, Mapping: nt.GenericMapping{
		GenericRead: 0x20001, GenericWrite: 0x20000, GenericExecute: 0x20001, GenericAll: 0xF0001}}
}

// Join gives the full path of a name that begins in the directory root, or the name itself if root
// is nil. STATUS_OBJECT_TYPE_MISMATCH if root is no directory, STATUS_OBJECT_PATH_SYNTAX_BAD for a
// relative name that begins with a backslash, STATUS_OBJECT_PATH_NOT_FOUND for a directory that has
// lost its name.
func (m *Manager) Join(root *Object, name string) (string, nt.Status) {
	if root == nil {
		return name, nt.STATUS_SUCCESS
	}
	d, ok := root.Body.(*directory)
	switch {
	case !ok:
		return "", nt.STATUS_OBJECT_TYPE_MISMATCH
	case strings.HasPrefix(name, `\`):
		return "", nt.STATUS_OBJECT_PATH_SYNTAX_BAD
	case d == m.root:
		return `\` + name, nt.STATUS_SUCCESS
	}
	base := m.Path(root)
	switch {
	case base == "":
		return "", nt.STATUS_OBJECT_PATH_NOT_FOUND
	case name == "":
		return base, nt.STATUS_SUCCESS
	}
	return base + `\` + name, nt.STATUS_SUCCESS
}

// Open finds an object of any kind by its full path, and adds a reference to it. It follows
// symbolic links, but for one at the end if itself is set. rest is as for Lookup.
func (m *Manager) Open(path string, itself bool) (o *Object, rest string, status nt.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	parent, e, rest, status := m.find(path, itself)
	if status != nt.STATUS_SUCCESS {
		return nil, "", status
	}
	if o, status = m.object(e, parent); status != nt.STATUS_SUCCESS {
		return nil, "", status
	}
	if !o.reference() {
		return nil, "", nt.STATUS_OBJECT_NAME_NOT_FOUND
	}
	return o, rest, nt.STATUS_SUCCESS
}

// find follows a path to an entry.
func (m *Manager) find(path string, itself bool) (parent *directory, e entry, rest string,
	status nt.Status) {
	for range maxLinks {
		parent, _, e, rest, status := m.walk(path)
		l, ok := e.(*link)
		if status != nt.STATUS_SUCCESS || !ok || itself && rest == "" {
			return parent, e, rest, status
		}
		path = l.target + rest
	}
	return nil, nil, "", nt.STATUS_OBJECT_NAME_INVALID
}

// object makes the object of an entry in parent, if it has none. The caller holds m.mu.
func (m *Manager) object(e entry, parent *directory) (*Object, nt.Status) {
	switch e := e.(type) {
	case *Object:
		return e, nt.STATUS_SUCCESS
	case *directory:
		return m.promote(&e.object, m.directoryType, e, parent, e.name)
	case *link:
		return m.promote(&e.object, m.linkType, e, parent, e.name)
	}
	return nil, nt.STATUS_OBJECT_NAME_NOT_FOUND
}

// promote makes the object of a directory or link, unless it is there, with one reference: the
// name's.
func (m *Manager) promote(at **Object, t *Type, body any, parent *directory, name string) (
	*Object, nt.Status) {
	if *at == nil {
		o, err := m.create(t, bodySize, body)
		if err != nil {
			return nil, nt.STATUS_INSUFFICIENT_RESOURCES
		}
		o.parent, o.name, o.permanent, o.counted = parent, name, true, true
		*at = o
	}
	return *at, nt.STATUS_SUCCESS
}

// CreateDirectory makes a directory, and gives its object with a reference. One that is not
// permanent loses its name with its last handle. The statuses are those of Name.
func (m *Manager) CreateDirectory(path string, permanent bool) (*Object, nt.Status) {
	return m.createEntry(path, permanent, func(parent *directory, name string) entry {
		return newDirectory(name, parent)
	})
}

// CreateLinkObject makes a symbolic link, and gives its object with a reference, as CreateDirectory
// does.
func (m *Manager) CreateLinkObject(path, target string, permanent bool) (*Object, nt.Status) {
	return m.createEntry(path, permanent, func(_ *directory, name string) entry {
		return &link{name: name, target: target}
	})
}

func (m *Manager) createEntry(path string, permanent bool, make func(*directory, string) entry) (
	*Object, nt.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	parent, name, status := m.place(path)
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	e := make(parent, name)
	o, status := m.object(e, parent)
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	o.permanent = permanent
	o.reference()
	parent.entries[fold(name)] = e
	return o, nt.STATUS_SUCCESS
}

// Insert gives an object a name, which it keeps until its last handle is closed, or for good if it
// is permanent. The name holds a reference. The statuses are those of Name.
func (m *Manager) Insert(o *Object, path string, permanent bool) nt.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, name, status := m.place(path)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	if !o.reference() {
		return nt.STATUS_INVALID_PARAMETER
	}
	d.entries[fold(name)] = o
	o.parent, o.name, o.permanent, o.counted = d, name, permanent, true
	return nt.STATUS_SUCCESS
}

// MakeTemporary lets an object lose its name with its last handle; at once if there is none.
// STATUS_ACCESS_DENIED for a symbolic link of the system's own.
func (m *Manager) MakeTemporary(o *Object) nt.Status {
	if l, ok := o.Body.(*link); ok && l.system {
		return nt.STATUS_ACCESS_DENIED
	}
	m.mu.Lock()
	o.permanent = false
	m.mu.Unlock()
	m.removeName(o, func() bool { return !o.permanent && o.Handles() == 0 })
	return nt.STATUS_SUCCESS
}

// removeName takes the name of o away, if due, which runs with the lock held, says so.
func (m *Manager) removeName(o *Object, due func() bool) {
	m.mu.Lock()
	if o.parent == nil || !due() {
		m.mu.Unlock()
		return
	}
	path, counted := o.parent.path()+`\`+o.name, o.counted
	m.unname(o)
	o.counted = false
	m.mu.Unlock()
	if counted {
		// It fails when a driver has given back the name's reference as its own; that was said then.
		_, _ = m.dereference(o)
	}
	if _, ok := o.Body.(*link); ok && m.LinkGone != nil {
		m.LinkGone(path)
	}
}

// Target gives what a symbolic link stands for; ok is false if o is none.
func (m *Manager) Target(o *Object) (target string, ok bool) {
	l, ok := o.Body.(*link)
	if !ok {
		return "", false
	}
	return l.target, true
}

// EntryInfo is a name in a directory.
type EntryInfo struct{ Name, Type string }

// Entries gives what is in a directory, sorted by name; ok is false if o is none.
func (m *Manager) Entries(o *Object) (entries []EntryInfo, ok bool) {
	d, ok := o.Body.(*directory)
	if !ok {
		return nil, false
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, e := range d.entries {
		switch e := e.(type) {
		case *Object:
			entries = append(entries, EntryInfo{e.name, e.Type.Name})
		case *directory:
			entries = append(entries, EntryInfo{e.name, m.directoryType.Name})
		case *link:
			entries = append(entries, EntryInfo{e.name, m.linkType.Name})
		}
	}
	slices.SortFunc(entries, func(a, b EntryInfo) int {
		return strings.Compare(fold(a.Name), fold(b.Name))
	})
	return entries, true
}
