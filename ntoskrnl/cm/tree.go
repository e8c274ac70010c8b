package cm

import (
	"bytes"
	"slices"

	"github.com/drvhost/drvhost/nt"
)

// Trees: what a key is with everything below it, as plain data. Hives are read into one and written
// from one, and keys are copied and compared by theirs.

// Tree is a key and what is below it.
type Tree struct {
	Name      string
	Class     string
	LastWrite int64 // FILETIME
	Link      bool
	Volatile  bool
	Security  []byte // SECURITY_DESCRIPTOR, self-relative; nil is that of the key above
	Values    []Value
	Keys      []*Tree // by name
}

// Tree gives a key with everything below it as it is now. What it holds belongs to the registry and
// is not to be changed. STATUS_KEY_DELETED.
func (k *Key) Tree() (*Tree, nt.Status) {
	k.r.refresh()
	k.r.mu.RLock()
	defer k.r.mu.RUnlock()
	if k.n.deleted {
		return nil, nt.STATUS_KEY_DELETED
	}
	return k.n.tree(), nt.STATUS_SUCCESS
}

func (n *node) tree() *Tree {
	t := &Tree{Name: n.name, Class: n.class, LastWrite: n.written, Link: n.link, Volatile: n.volatile,
		Security: n.security, Values: slices.Clone(n.values)}
	if len(n.keys) > 0 {
		t.Keys = make([]*Tree, len(n.keys))
		for i, k := range n.keys {
			t.Keys[i] = k.tree()
		}
	}
	return t
}

// Stable gives a tree without what is volatile below it.
func (t *Tree) Stable() *Tree {
	s := *t
	s.Keys = nil
	for _, k := range t.Keys {
		if !k.Volatile {
			s.Keys = append(s.Keys, k.Stable())
		}
	}
	return &s
}

// Plain gives a tree's classes, values and, with deep, keys, without links, times and security, and
// with nothing that is volatile: what a copy has.
func (t *Tree) Plain(deep bool) *Tree {
	p := &Tree{Name: t.Name, Class: t.Class, Values: t.Values}
	for _, k := range t.Keys {
		if deep && !k.Link {
			p.Keys = append(p.Keys, k.Plain(true))
		}
	}
	return p
}

// Equal reports whether two trees are the same but for their names, times and the order of values.
func Equal(a, b *Tree) bool {
	if a.Class != b.Class || a.Link != b.Link || a.Volatile != b.Volatile ||
		len(a.Keys) != len(b.Keys) || !bytes.Equal(a.Security, b.Security) || !Compare(a, b, false, func(Difference) {}) {
		return false
	}
	for i, k := range a.Keys {
		if other := b.Keys[i]; other.Name != k.Name || !Equal(k, other) {
			return false
		}
	}
	return true
}

// Value finds a value by its name.
func (t *Tree) Value(name string) (Value, bool) {
	fold := Fold(name)
	for _, v := range t.Values {
		if Fold(v.Name) == fold {
			return v, true
		}
	}
	return Value{}, false
}

// Key finds a key below by its name; it gives nil if there is none.
func (t *Tree) Key(name string) *Tree {
	fold := Fold(name)
	for _, k := range t.Keys {
		if Fold(k.Name) == fold {
			return k
		}
	}
	return nil
}

// Same reports whether two values have the same type and data; their names do not matter.
func (v Value) Same(other Value) bool {
	return v.Type == other.Type && bytes.Equal(v.Data, other.Data)
}

// Merge puts a tree's values into the key and its keys below it, in the place of what has the same
// name; all else stays. A key that is there keeps its class. Times are those of the change. It
// stops at the first change that the registry refuses.
//
// STATUS_OBJECT_NAME_COLLISION where a link and a key meet that is none.
func (k *Key) Merge(t *Tree) nt.Status { return k.put(t, false) }

// Restore makes what is below the key, and its values and security, those of a tree. It changes
// what differs only, so that watches tell of that; volatile keys go too.
func (k *Key) Restore(t *Tree) nt.Status { return k.put(t, true) }

// tooDeep reports whether a tree has no room below a key of this depth, before any of it is put
// there.
func (t *Tree) tooDeep(depth int) bool {
	return depth > MaxDepth || slices.ContainsFunc(t.Keys, func(k *Tree) bool {
		return k.tooDeep(depth + 1)
	})
}

func (k *Key) put(t *Tree, whole bool) nt.Status {
	old, status := k.Tree()
	if status != nt.STATUS_SUCCESS {
		return status
	}
	k.r.mu.RLock()
	depth := k.n.depth
	k.r.mu.RUnlock()
	if t.tooDeep(depth) {
		return nt.STATUS_NAME_TOO_LONG
	}
	return k.become(old, t, whole)
}

// become changes a key that is as old says.
func (k *Key) become(old, t *Tree, whole bool) nt.Status {
	if old.Link != t.Link {
		return nt.STATUS_OBJECT_NAME_COLLISION
	}
	values := make(map[string]Value, len(old.Values))
	for _, v := range old.Values {
		values[Fold(v.Name)] = v
	}
	for _, v := range t.Values {
		before, ok := values[Fold(v.Name)]
		delete(values, Fold(v.Name))
		if ok && before.Same(v) {
			continue
		}
		if status := k.Set(v.Name, v.Type, v.Data); status != nt.STATUS_SUCCESS {
			return status
		}
	}
	if !bytes.Equal(old.Security, t.Security) && (whole || t.Security != nil) {
		if status := k.SetSecurity(t.Security); status != nt.STATUS_SUCCESS {
			return status
		}
	}
	keys := make(map[string]*Tree, len(old.Keys))
	for _, sub := range old.Keys {
		keys[Fold(sub.Name)] = sub
	}
	if whole {
		if status := k.clear(values, keys, t); status != nt.STATUS_SUCCESS {
			return status
		}
	}
	for _, sub := range t.Keys {
		before := keys[Fold(sub.Name)]
		if before == nil {
			before = &Tree{Link: sub.Link, Volatile: sub.Volatile || old.Volatile}
			_, _, status := k.r.Create(k, sub.Name, CreateOptions{Class: sub.Class,
				Volatile: before.Volatile, Link: sub.Link})
			if status != nt.STATUS_SUCCESS {
				return status
			}
		}
		below, status := k.r.Open(k, sub.Name, true)
		if status == nt.STATUS_SUCCESS {
			status = below.become(before, sub, whole)
		}
		if status != nt.STATUS_SUCCESS {
			return status
		}
	}
	return nt.STATUS_SUCCESS
}

// clear takes away values and keys that a tree has not, or that cannot become what it has.
func (k *Key) clear(values map[string]Value, keys map[string]*Tree, t *Tree) nt.Status {
	for _, v := range values {
		status := k.DeleteValue(v.Name)
		if status != nt.STATUS_SUCCESS && status != nt.STATUS_OBJECT_NAME_NOT_FOUND {
			return status
		}
	}
	want := make(map[string]*Tree, len(t.Keys))
	for _, sub := range t.Keys {
		want[Fold(sub.Name)] = sub
	}
	for fold, sub := range keys {
		now := want[fold]
		if now != nil && now.Link == sub.Link && now.Class == sub.Class && !sub.Volatile {
			continue
		}
		below, status := k.r.Open(k, sub.Name, true)
		if status == nt.STATUS_SUCCESS {
			status = below.DeleteTree()
		}
		switch status {
		case nt.STATUS_SUCCESS, nt.STATUS_OBJECT_NAME_NOT_FOUND, nt.STATUS_KEY_DELETED:
			delete(keys, fold)
		default:
			return status
		}
	}
	return nt.STATUS_SUCCESS
}
