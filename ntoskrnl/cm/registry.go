package cm

import (
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Limits of the registry ("Registry element size limits"): characters of a key's and a value's name,
// levels of the tree. QuotaBytes is what names and data may take together; hostile drivers fill it.
const (
	MaxKeyName   = 255
	MaxValueName = 16383
	MaxDepth     = 512
	QuotaBytes   = 256 << 20
)

// Registry is a tree of keys. The zero value is not one; see New.
type Registry struct {
	// OnChange, if set, is told of each change before it is done; an error refuses it. It is set before
	// the registry is used, and must not call the registry.
	OnChange func(Change) nt.Status

	// Forward, if set, takes each change in OnChange's place, to where the truth is; once it
	// returns STATUS_SUCCESS the change has come back through Apply, and is not done again here. It
	// runs without the lock, and is set before the registry is used.
	Forward func(Change) nt.Status

	// Fresh, if set, is called before anything is looked at, without the lock: it may Apply what has
	// happened elsewhere. It is set before the registry is used.
	Fresh func()

	// OnWatch, if set, is told without the lock that there is another watch. It is set before the
	// registry is used.
	OnWatch func()

	mu   sync.RWMutex
	root *node
	used int              // bytes that names and data take
	now  func() time.Time // of changes

	watches int // that have not been called
}

// node is a key of the tree.
type node struct {
	name     string
	fold     string // name, upper case
	class    string
	parent   *node
	depth    int
	volatile bool
	link     bool // its value SymbolicLinkValue says where to go on
	deleted  bool
	written  int64          // last change, as a FILETIME
	security []byte         // SECURITY_DESCRIPTOR, self-relative; nil inherits
	keys     []*node        // by fold
	values   []Value        // in the order in which they came
	places   map[string]int // of values by their folded names, when they are many; or nil
	watches  []*Watch
}

// Value is a value of a key.
type Value struct {
	Name string
	Type uint32 // nt.REG_*
	Data []byte // owned by the registry: not to be changed
}

// New makes an empty registry: \Registry with Machine and User.
func New() *Registry {
	r := &Registry{now: time.Now}
	r.root = &node{name: "REGISTRY", fold: "REGISTRY", depth: 0}
	for _, name := range []string{"MACHINE", "USER"} {
		r.insert(r.root, &node{name: name})
	}
	return r
}

// Key is an open key. It may be used by several goroutines.
type Key struct {
	r *Registry
	n *node
}

// Fold gives a name as names are compared.
func Fold(s string) string {
	lower := -1
	for i := range len(s) {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			return strings.Map(upcase, s)
		case lower < 0 && 'a' <= c && c <= 'z':
			lower = i
		}
	}
	if lower < 0 {
		return s
	}
	b := []byte(s)
	for i := lower; i < len(b); i++ {
		if 'a' <= b[i] && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

func upcase(c rune) rune {
	if c < 0x10000 {
		return rune(rtl.UpcaseUnicodeChar(uint16(c)))
	}
	return c
}

func (r *Registry) stamp() int64 { return fileTime(r.now()) }

func (n *node) find(fold string) (int, bool) {
	return slices.BinarySearchFunc(n.keys, fold, func(k *node, f string) int {
		return strings.Compare(k.fold, f)
	})
}

func (n *node) child(name string) *node {
	if i, ok := n.find(Fold(name)); ok {
		return n.keys[i]
	}
	return nil
}

// insert puts a new key below parent, which has none of its name.
func (r *Registry) insert(parent, k *node) {
	k.fold, k.parent, k.depth = Fold(k.name), parent, parent.depth+1
	k.written = r.stamp()
	i, _ := parent.find(k.fold)
	parent.keys = slices.Insert(parent.keys, i, k)
	parent.written = k.written
	r.used += k.cost()
}

func (n *node) cost() int { return 2*(len(n.name)+len(n.class)) + len(n.security) + 128 }

func (v *Value) cost() int { return 2*len(v.Name) + len(v.Data) + 64 }

// path gives a key's path, from \REGISTRY on.
func (n *node) path() string {
	if n.parent == nil {
		return `\` + n.name
	}
	return n.parent.path() + `\` + n.name
}

// Path gives the key's path: \REGISTRY\MACHINE\Software.
func (k *Key) Path() string {
	k.r.refresh()
	k.r.mu.RLock()
	defer k.r.mu.RUnlock()
	return k.n.path()
}

// Root gives \REGISTRY.
func (r *Registry) Root() *Key { return &Key{r, r.root} }

// Same reports whether two keys are the same key.
func (k *Key) Same(other *Key) bool { return other != nil && k.n == other.n }

// split takes a path apart. One backslash at its end means nothing, an empty name elsewhere is
// STATUS_OBJECT_NAME_INVALID.
func split(path string) ([]string, nt.Status) {
	path = strings.TrimSuffix(path, `\`)
	if path == "" {
		return nil, nt.STATUS_SUCCESS
	}
	names := strings.Split(path, `\`)
	for _, name := range names {
		if name == "" || utf16Len(name) > MaxKeyName {
			return nil, nt.STATUS_OBJECT_NAME_INVALID
		}
	}
	return names, nt.STATUS_SUCCESS
}

// start gives where a path begins: at a key, or with none at the root.
func (r *Registry) start(from *Key, path string) (*node, []string, nt.Status) {
	if from == nil {
		rest, ok := strings.CutPrefix(path, `\`)
		if !ok {
			return nil, nil, nt.STATUS_OBJECT_PATH_SYNTAX_BAD
		}
		names, status := split(rest)
		if status == nt.STATUS_SUCCESS && (len(names) == 0 || Fold(names[0]) != r.root.fold) {
			status = nt.STATUS_OBJECT_NAME_NOT_FOUND
		}
		if status != nt.STATUS_SUCCESS {
			return nil, nil, status
		}
		return r.root, names[1:], status
	}
	if from.n.deleted {
		return nil, nil, nt.STATUS_KEY_DELETED
	}
	if strings.HasPrefix(path, `\`) {
		return nil, nil, nt.STATUS_OBJECT_PATH_SYNTAX_BAD
	}
	names, status := split(path)
	return from.n, names, status
}

// maxLinks is how many links one path may lead through: more are taken for a circle.
const maxLinks = 32

// walk goes from a key down the names, and through links; the last name's own link is not followed
// if itself is set. It gives how far it came: the key, and the names that are missing below it.
func (r *Registry) walk(n *node, names []string, itself bool) (*node, []string, nt.Status) {
	for links := 0; ; {
		if n.link && !(itself && len(names) == 0) {
			if links++; links > maxLinks {
				return nil, nil, nt.STATUS_OBJECT_NAME_NOT_FOUND
			}
			target, status := n.target()
			if status != nt.STATUS_SUCCESS {
				return nil, nil, status
			}
			var more []string
			if n, more, status = r.start(nil, target); status != nt.STATUS_SUCCESS {
				return nil, nil, status
			}
			names = append(more, names...)
			continue
		}
		if len(names) == 0 {
			return n, nil, nt.STATUS_SUCCESS
		}
		next := n.child(names[0])
		if next == nil {
			return n, names, nt.STATUS_SUCCESS
		}
		n, names = next, names[1:]
	}
}

// target gives where a link leads.
func (n *node) target() (string, nt.Status) {
	if i := n.value("SymbolicLinkValue"); i >= 0 && n.values[i].Type == nt.REG_LINK {
		return decode(n.values[i].Data), nt.STATUS_SUCCESS
	}
	return "", nt.STATUS_OBJECT_NAME_NOT_FOUND
}

// Open opens a key by its path: a full one, or one below from, where the empty path is from itself.
// With itself a link at the path's end is opened and not followed.
//
// STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_NAME_INVALID, STATUS_OBJECT_PATH_SYNTAX_BAD, and
// STATUS_KEY_DELETED for from.
func (r *Registry) Open(from *Key, path string, itself bool) (*Key, nt.Status) {
	r.refresh()
	r.mu.RLock()
	defer r.mu.RUnlock()
	n, names, status := r.start(from, path)
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	n, names, status = r.walk(n, names, itself)
	if status == nt.STATUS_SUCCESS && len(names) > 0 {
		status = nt.STATUS_OBJECT_NAME_NOT_FOUND
	}
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	return &Key{r, n}, status
}

// Resolve gives the path of the key that a path leads to, or would if it were there: one without links,
// in the tree's spelling as far as it exists. The other parameter and errors are those of Open.
func (r *Registry) Resolve(path string, itself bool) (string, nt.Status) {
	r.refresh()
	r.mu.RLock()
	defer r.mu.RUnlock()
	n, names, status := r.start(nil, path)
	if status != nt.STATUS_SUCCESS {
		return "", status
	}
	if n, names, status = r.walk(n, names, itself); status != nt.STATUS_SUCCESS {
		return "", status
	}
	return strings.Join(append([]string{n.path()}, names...), `\`), nt.STATUS_SUCCESS
}

// Used gives how many bytes of QuotaBytes names and data take.
func (r *Registry) Used() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.used
}

// CreateOptions is how a key is made.
type CreateOptions struct {
	Class    string
	Volatile bool // it is gone with the system
	Link     bool // it is a symbolic link: its value SymbolicLinkValue is to say where it leads
	Parents  bool // missing keys above it are made too
}

// Create opens a key, or makes it. All keys above it must exist, unless the options say otherwise.
//
// Beside Open's: STATUS_CHILD_MUST_BE_VOLATILE below a volatile key, STATUS_ACCESS_DENIED directly
// below \Registry, STATUS_OBJECT_NAME_COLLISION for a link whose name is taken,
// STATUS_NAME_TOO_LONG for a tree too deep, STATUS_REGISTRY_QUOTA_LIMIT.
func (r *Registry) Create(from *Key, path string, o CreateOptions) (k *Key, created bool, status nt.Status) {
	var due []*Watch
	k, created, due, status = r.create(from, path, o)
	fire(due)
	return k, created, status
}

func (r *Registry) create(from *Key, path string, o CreateOptions) (*Key, bool, []*Watch, nt.Status) {
	r.refresh()
	r.mu.Lock()
	defer r.mu.Unlock()
	n, names, status := r.start(from, path)
	if status != nt.STATUS_SUCCESS {
		return nil, false, nil, status
	}
	n, names, status = r.walk(n, names, o.Link)
	switch {
	case status != nt.STATUS_SUCCESS:
		return nil, false, nil, status
	case len(names) == 0 && o.Link:
		return nil, false, nil, nt.STATUS_OBJECT_NAME_COLLISION
	case len(names) == 0:
		return &Key{r, n}, false, nil, nt.STATUS_SUCCESS
	case len(names) > 1 && !o.Parents:
		return nil, false, nil, nt.STATUS_OBJECT_NAME_NOT_FOUND
	}
	var due []*Watch
	for i, name := range names {
		c := Change{Op: OpCreateKey, Volatile: o.Volatile}
		if i == len(names)-1 {
			c.Class, c.Link = o.Class, o.Link
		}
		if n, status = r.addKey(n, name, c); status != nt.STATUS_SUCCESS {
			return nil, false, due, status
		}
		due = append(due, r.changed(n.parent, nt.REG_NOTIFY_CHANGE_NAME)...)
	}
	return &Key{r, n}, true, due, nt.STATUS_SUCCESS
}

// addKey makes one key.
func (r *Registry) addKey(parent *node, name string, c Change) (*node, nt.Status) {
	k := &node{name: name, class: c.Class, link: c.Link, volatile: c.Volatile}
	switch {
	case parent == r.root:
		return nil, nt.STATUS_ACCESS_DENIED
	case parent.volatile && !k.volatile:
		return nil, nt.STATUS_CHILD_MUST_BE_VOLATILE
	case parent.depth >= MaxDepth:
		return nil, nt.STATUS_NAME_TOO_LONG
	case r.used+k.cost() > QuotaBytes:
		return nil, nt.STATUS_REGISTRY_QUOTA_LIMIT
	}
	c.Key = parent.path() + `\` + name
	if done, status := r.tell(c); status != nt.STATUS_SUCCESS {
		return nil, status
	} else if done {
		if k = parent.child(name); k == nil {
			return nil, nt.STATUS_KEY_DELETED
		}
		return k, nt.STATUS_SUCCESS
	}
	r.insert(parent, k)
	return k, nt.STATUS_SUCCESS
}

// refresh has Fresh bring what has happened elsewhere.
func (r *Registry) refresh() {
	if r.Fresh != nil {
		r.Fresh()
	}
}

// tell asks whether a change may be done; done says that it has been, by Forward, for which the lock
// was given back meanwhile.
func (r *Registry) tell(c Change) (done bool, status nt.Status) {
	if r.Forward != nil {
		r.mu.Unlock()
		defer r.mu.Lock()
		return true, r.Forward(c)
	}
	if r.OnChange == nil {
		return false, nt.STATUS_SUCCESS
	}
	return false, r.OnChange(c)
}

// Delete deletes the key, which then has no name; those who have it open get STATUS_KEY_DELETED.
//
// STATUS_CANNOT_DELETE for one with subkeys, and for the roots.
func (k *Key) Delete() nt.Status {
	due, status := k.delete()
	fire(due)
	return status
}

func (k *Key) delete() ([]*Watch, nt.Status) {
	k.r.refresh()
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	n := k.n
	switch {
	case n.deleted:
		return nil, nt.STATUS_KEY_DELETED
	case len(n.keys) > 0 || n.depth < 2:
		return nil, nt.STATUS_CANNOT_DELETE
	}
	c := Change{Op: OpDeleteKey, Key: n.path(), Volatile: n.volatile}
	if done, status := k.r.tell(c); done || status != nt.STATUS_SUCCESS {
		return nil, status
	}
	return k.r.remove(n), nt.STATUS_SUCCESS
}

// remove takes a key without subkeys out of the tree.
func (r *Registry) remove(n *node) []*Watch {
	due := append(r.changed(n, nt.REG_NOTIFY_CHANGE_NAME), n.watches...)
	r.watches -= len(n.watches)
	n.watches = nil
	i, _ := n.parent.find(n.fold)
	n.parent.keys = slices.Delete(n.parent.keys, i, i+1)
	n.parent.written = r.stamp()
	due = append(due, r.changed(n.parent, nt.REG_NOTIFY_CHANGE_NAME)...)
	n.deleted = true
	r.used -= n.cost()
	for i := range n.values {
		r.used -= n.values[i].cost()
	}
	n.values, n.places = nil, nil
	return due
}

// DeleteTree deletes a key with everything below it, as far as it comes.
func (k *Key) DeleteTree() nt.Status {
	for {
		info, status := k.Info()
		if status != nt.STATUS_SUCCESS {
			return status
		}
		if info.Subkeys == 0 {
			return k.Delete()
		}
		name, status := k.Subkey(info.Subkeys - 1)
		if status != nt.STATUS_SUCCESS {
			continue // somebody else deletes here too
		}
		sub, status := k.r.Open(k, name.Name, true)
		if status != nt.STATUS_SUCCESS {
			continue
		}
		if status := sub.DeleteTree(); status != nt.STATUS_SUCCESS && status != nt.STATUS_KEY_DELETED {
			return status
		}
	}
}

// Rename gives the key another name, below the same key. STATUS_OBJECT_NAME_COLLISION,
// STATUS_OBJECT_NAME_INVALID; STATUS_ACCESS_DENIED for the roots.
func (k *Key) Rename(name string) nt.Status {
	due, status := k.rename(name)
	fire(due)
	return status
}

func (k *Key) rename(name string) ([]*Watch, nt.Status) {
	if name == "" || utf16Len(name) > MaxKeyName || strings.Contains(name, `\`) {
		return nil, nt.STATUS_OBJECT_NAME_INVALID
	}
	k.r.refresh()
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	n := k.n
	switch other := (*node)(nil); {
	case n.deleted:
		return nil, nt.STATUS_KEY_DELETED
	case n.depth < 2:
		return nil, nt.STATUS_ACCESS_DENIED
	default:
		if other = n.parent.child(name); other != nil && other != n {
			return nil, nt.STATUS_OBJECT_NAME_COLLISION
		}
	}
	c := Change{Op: OpRenameKey, Key: n.path(), Name: name, Volatile: n.volatile}
	if done, status := k.r.tell(c); done || status != nt.STATUS_SUCCESS {
		return nil, status
	}
	k.r.renameNode(n, name)
	return k.r.changed(n.parent, nt.REG_NOTIFY_CHANGE_NAME), nt.STATUS_SUCCESS
}

func (r *Registry) renameNode(n *node, name string) {
	parent := n.parent
	i, _ := parent.find(n.fold)
	parent.keys = slices.Delete(parent.keys, i, i+1)
	r.used -= n.cost()
	n.name = name
	r.insert(parent, n)
}

// Info is what is known of a key.
type Info struct {
	Name         string
	Class        string
	LastWrite    int64 // FILETIME
	Subkeys      int
	MaxSubkey    int // the longest name of a subkey, in bytes of UTF-16
	MaxClass     int // the longest class of a subkey, likewise
	Values       int
	MaxValueName int // the longest name of a value, likewise
	MaxData      int // bytes
	Volatile     bool
	Link         bool
}

// Info gives what is known of the key.
func (k *Key) Info() (Info, nt.Status) {
	k.r.refresh()
	k.r.mu.RLock()
	defer k.r.mu.RUnlock()
	n := k.n
	if n.deleted {
		return Info{}, nt.STATUS_KEY_DELETED
	}
	i := Info{Name: n.name, Class: n.class, LastWrite: n.written, Subkeys: len(n.keys),
		Values: len(n.values), Volatile: n.volatile, Link: n.link}
	for _, s := range n.keys {
		i.MaxSubkey = max(i.MaxSubkey, 2*utf16Len(s.name))
		i.MaxClass = max(i.MaxClass, 2*utf16Len(s.class))
	}
	for _, v := range n.values {
		i.MaxValueName = max(i.MaxValueName, 2*utf16Len(v.Name))
		i.MaxData = max(i.MaxData, len(v.Data))
	}
	return i, nt.STATUS_SUCCESS
}

// Subkey gives the subkey of an index; they are in the order of their names. STATUS_NO_MORE_ENTRIES.
func (k *Key) Subkey(index int) (Info, nt.Status) {
	k.r.refresh()
	k.r.mu.RLock()
	switch {
	case k.n.deleted:
		k.r.mu.RUnlock()
		return Info{}, nt.STATUS_KEY_DELETED
	case index < 0 || index >= len(k.n.keys):
		k.r.mu.RUnlock()
		return Info{}, nt.STATUS_NO_MORE_ENTRIES
	}
	sub := &Key{k.r, k.n.keys[index]}
	k.r.mu.RUnlock()
	return sub.Info()
}

// Security gives the key's own security descriptor, self-relative; nil if it has none.
func (k *Key) Security() ([]byte, nt.Status) {
	k.r.refresh()
	k.r.mu.RLock()
	defer k.r.mu.RUnlock()
	if k.n.deleted {
		return nil, nt.STATUS_KEY_DELETED
	}
	return k.n.security, nt.STATUS_SUCCESS
}

// SetSecurity gives the key a security descriptor. STATUS_REGISTRY_QUOTA_LIMIT.
func (k *Key) SetSecurity(descriptor []byte) nt.Status {
	due, status := k.setSecurity(slices.Clone(descriptor))
	fire(due)
	return status
}

func (k *Key) setSecurity(descriptor []byte) ([]*Watch, nt.Status) {
	k.r.refresh()
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	n := k.n
	if n.deleted {
		return nil, nt.STATUS_KEY_DELETED
	}
	if k.r.used+len(descriptor)-len(n.security) > QuotaBytes {
		return nil, nt.STATUS_REGISTRY_QUOTA_LIMIT
	}
	c := Change{Op: OpSetSecurity, Key: n.path(), Data: descriptor, Volatile: n.volatile}
	if done, status := k.r.tell(c); done || status != nt.STATUS_SUCCESS {
		return nil, status
	}
	k.r.used += len(descriptor) - len(n.security)
	n.security = descriptor
	n.written = k.r.stamp()
	return k.r.changed(n, nt.REG_NOTIFY_CHANGE_SECURITY), nt.STATUS_SUCCESS
}
