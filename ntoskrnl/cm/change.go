package cm

import (
	"slices"

	"github.com/drvhost/drvhost/nt"
)

// Op is a kind of change.
type Op uint8

// The kinds of changes.
const (
	OpCreateKey Op = iota + 1
	OpDeleteKey
	OpRenameKey
	OpSetValue
	OpDeleteValue
	OpSetSecurity
)

var opNames = [...]string{"?", "create-key", "delete-key", "rename-key", "set-value", "delete-value",
	"set-security"}

// String names the kind.
func (o Op) String() string {
	if int(o) >= len(opNames) {
		o = 0
	}
	return opNames[o]
}

// Change is one change of the registry.
type Change struct {
	Op       Op     `json:"op"`
	Key      string `json:"key"`            // path, without links on the way
	Name     string `json:"name,omitempty"` // of the value; for OpRenameKey the key's new one
	Type     uint32 `json:"type,omitempty"`
	Data     []byte `json:"data,omitempty"` // of the value; for OpSetSecurity the descriptor
	Class    string `json:"class,omitempty"`
	Link     bool   `json:"link,omitempty"`
	Volatile bool   `json:"volatile,omitempty"` // what is changed is gone with the system
}

// Apply does a change of another registry, without telling OnChange. Doing one again changes nothing:
// a key that exists is not made, what is gone is not deleted.
//
// STATUS_OBJECT_NAME_NOT_FOUND where a key above is missing, STATUS_INVALID_PARAMETER for no change,
// and what the limits refuse.
func (r *Registry) Apply(c Change) nt.Status {
	due, status := r.apply(c)
	fire(due)
	return status
}

func (r *Registry) apply(c Change) ([]*Watch, nt.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, names, status := r.start(nil, c.Key)
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	for len(names) > 0 {
		next := n.child(names[0])
		if next == nil {
			break
		}
		n, names = next, names[1:]
	}
	found := len(names) == 0
	switch {
	case c.Op == OpCreateKey && len(names) == 1:
		return r.applyCreate(n, names[0], c)
	case c.Op == OpCreateKey && found, c.Op == OpDeleteKey && !found:
		return nil, nt.STATUS_SUCCESS
	case !found:
		return nil, nt.STATUS_OBJECT_NAME_NOT_FOUND
	}
	switch c.Op {
	case OpDeleteKey:
		if len(n.keys) > 0 || n.depth < 2 {
			return nil, nt.STATUS_CANNOT_DELETE
		}
		return r.remove(n), nt.STATUS_SUCCESS
	case OpRenameKey:
		if n.depth < 2 || c.Name == "" || utf16Len(c.Name) > MaxKeyName {
			return nil, nt.STATUS_INVALID_PARAMETER
		}
		if other := n.parent.child(c.Name); other != nil && other != n {
			return nil, nt.STATUS_OBJECT_NAME_COLLISION
		}
		r.renameNode(n, c.Name)
		return r.changed(n.parent, nt.REG_NOTIFY_CHANGE_NAME), nt.STATUS_SUCCESS
	case OpSetValue:
		v := Value{c.Name, c.Type, slices.Clone(c.Data)}
		if utf16Len(v.Name) > MaxValueName {
			return nil, nt.STATUS_INVALID_PARAMETER
		}
		i, old := n.value(c.Name), 0
		if i >= 0 {
			old = n.values[i].cost()
		}
		if r.used+v.cost()-old > QuotaBytes {
			return nil, nt.STATUS_REGISTRY_QUOTA_LIMIT
		}
		r.setValue(n, i, v)
		return r.changed(n, nt.REG_NOTIFY_CHANGE_LAST_SET), nt.STATUS_SUCCESS
	case OpDeleteValue:
		if i := n.value(c.Name); i >= 0 {
			r.removeValue(n, i)
		}
		return r.changed(n, nt.REG_NOTIFY_CHANGE_LAST_SET), nt.STATUS_SUCCESS
	case OpSetSecurity:
		if r.used+len(c.Data)-len(n.security) > QuotaBytes {
			return nil, nt.STATUS_REGISTRY_QUOTA_LIMIT
		}
		r.used += len(c.Data) - len(n.security)
		n.security = slices.Clone(c.Data)
		return r.changed(n, nt.REG_NOTIFY_CHANGE_SECURITY), nt.STATUS_SUCCESS
	}
	return nil, nt.STATUS_INVALID_PARAMETER
}

func (r *Registry) applyCreate(parent *node, name string, c Change) ([]*Watch, nt.Status) {
	k := &node{name: name, class: c.Class, link: c.Link, volatile: c.Volatile}
	switch {
	case parent == r.root:
		return nil, nt.STATUS_ACCESS_DENIED
	case parent.volatile && !c.Volatile:
		return nil, nt.STATUS_CHILD_MUST_BE_VOLATILE
	case parent.depth >= MaxDepth:
		return nil, nt.STATUS_NAME_TOO_LONG
	case r.used+k.cost() > QuotaBytes:
		return nil, nt.STATUS_REGISTRY_QUOTA_LIMIT
	}
	r.insert(parent, k)
	return r.changed(parent, nt.REG_NOTIFY_CHANGE_NAME), nt.STATUS_SUCCESS
}

// Changes gives the changes that make a registry like this one of an empty one: keys before what they
// hold.
func (r *Registry) Changes(yield func(Change) bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, k := range r.root.keys {
		if !k.changes(k.path(), yield) {
			return
		}
	}
}

// Snapshot calls f with what Changes gives, while nothing can change.
func (r *Registry) Snapshot(f func([]Change)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []Change
	for _, k := range r.root.keys {
		k.changes(k.path(), func(c Change) bool {
			all = append(all, c)
			return true
		})
	}
	f(all)
}

func (n *node) changes(path string, yield func(Change) bool) bool {
	if n.depth > 1 && !yield(Change{Op: OpCreateKey, Key: path, Class: n.class, Link: n.link,
		Volatile: n.volatile}) {
		return false
	}
	if n.security != nil && !yield(Change{Op: OpSetSecurity, Key: path, Data: n.security,
		Volatile: n.volatile}) {
		return false
	}
	for _, v := range n.values {
		if !yield(Change{Op: OpSetValue, Key: path, Name: v.Name, Type: v.Type, Data: v.Data,
			Volatile: n.volatile}) {
			return false
		}
	}
	for _, k := range n.keys {
		if !k.changes(path+`\`+k.name, yield) {
			return false
		}
	}
	return true
}
