package cm

import (
	"slices"

	"github.com/drvhost/drvhost/nt"
)

// value gives the place of a value, or -1. It may be called by several who only read.
func (n *node) value(name string) int {
	fold := Fold(name)
	if n.places == nil {
		return slices.IndexFunc(n.values, func(v Value) bool { return Fold(v.Name) == fold })
	}
	if i, ok := n.places[fold]; ok {
		return i
	}
	return -1
}

// manyValues is how many values a key has when their places are kept.
const manyValues = 32

// keepPlaces keeps the places of the values from index i on. The lock is held for writing.
func (n *node) keepPlaces(i int) {
	if len(n.values) < manyValues {
		n.places = nil
		return
	}
	if n.places == nil {
		n.places, i = make(map[string]int, len(n.values)), 0
	}
	for ; i < len(n.values); i++ {
		n.places[Fold(n.values[i].Name)] = i
	}
}

// Value gives a value by its name; the empty one is the key's default value.
// STATUS_OBJECT_NAME_NOT_FOUND.
func (k *Key) Value(name string) (Value, nt.Status) {
	k.r.refresh()
	k.r.mu.RLock()
	defer k.r.mu.RUnlock()
	if k.n.deleted {
		return Value{}, nt.STATUS_KEY_DELETED
	}
	i := k.n.value(name)
	if i < 0 {
		return Value{}, nt.STATUS_OBJECT_NAME_NOT_FOUND
	}
	return k.n.values[i], nt.STATUS_SUCCESS
}

// ValueAt gives the value of an index, in the order in which they came. STATUS_NO_MORE_ENTRIES.
func (k *Key) ValueAt(index int) (Value, nt.Status) {
	k.r.refresh()
	k.r.mu.RLock()
	defer k.r.mu.RUnlock()
	switch {
	case k.n.deleted:
		return Value{}, nt.STATUS_KEY_DELETED
	case index < 0 || index >= len(k.n.values):
		return Value{}, nt.STATUS_NO_MORE_ENTRIES
	}
	return k.n.values[index], nt.STATUS_SUCCESS
}

// Set sets a value, whose data is copied.
//
// STATUS_INVALID_PARAMETER for a name that is too long, STATUS_REGISTRY_QUOTA_LIMIT;
// STATUS_ACCESS_DENIED for any value of a link but SymbolicLinkValue, a REG_LINK.
func (k *Key) Set(name string, typ uint32, data []byte) nt.Status {
	due, status := k.set(Value{name, typ, slices.Clone(data)})
	fire(due)
	return status
}

func (k *Key) set(v Value) ([]*Watch, nt.Status) {
	if utf16Len(v.Name) > MaxValueName {
		return nil, nt.STATUS_INVALID_PARAMETER
	}
	r, n := k.r, k.n
	r.refresh()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case n.deleted:
		return nil, nt.STATUS_KEY_DELETED
	case n.link && (Fold(v.Name) != "SYMBOLICLINKVALUE" || v.Type != nt.REG_LINK):
		return nil, nt.STATUS_ACCESS_DENIED
	}
	i, old := n.value(v.Name), 0
	if i >= 0 {
		v.Name, old = n.values[i].Name, n.values[i].cost()
	}
	if r.used+v.cost()-old > QuotaBytes {
		return nil, nt.STATUS_REGISTRY_QUOTA_LIMIT
	}
	c := Change{Op: OpSetValue, Key: n.path(), Name: v.Name, Type: v.Type, Data: v.Data,
		Volatile: n.volatile}
	if done, status := r.tell(c); done || status != nt.STATUS_SUCCESS {
		return nil, status
	}
	r.setValue(n, i, v)
	return r.changed(n, nt.REG_NOTIFY_CHANGE_LAST_SET), nt.STATUS_SUCCESS
}

// setValue puts a value at index i, or with -1 behind the others.
func (r *Registry) setValue(n *node, i int, v Value) {
	if i >= 0 {
		r.used -= n.values[i].cost()
		n.values[i] = v
	} else {
		n.values = append(n.values, v)
		n.keepPlaces(len(n.values) - 1)
	}
	r.used += v.cost()
	n.written = r.stamp()
}

// DeleteValue deletes a value. STATUS_OBJECT_NAME_NOT_FOUND.
func (k *Key) DeleteValue(name string) nt.Status {
	due, status := k.deleteValue(name)
	fire(due)
	return status
}

func (k *Key) deleteValue(name string) ([]*Watch, nt.Status) {
	r, n := k.r, k.n
	r.refresh()
	r.mu.Lock()
	defer r.mu.Unlock()
	if n.deleted {
		return nil, nt.STATUS_KEY_DELETED
	}
	i := n.value(name)
	if i < 0 {
		return nil, nt.STATUS_OBJECT_NAME_NOT_FOUND
	}
	c := Change{Op: OpDeleteValue, Key: n.path(), Name: n.values[i].Name, Volatile: n.volatile}
	if done, status := r.tell(c); done || status != nt.STATUS_SUCCESS {
		return nil, status
	}
	r.removeValue(n, i)
	return r.changed(n, nt.REG_NOTIFY_CHANGE_LAST_SET), nt.STATUS_SUCCESS
}

func (r *Registry) removeValue(n *node, i int) {
	r.used -= n.values[i].cost()
	if n.places != nil {
		delete(n.places, Fold(n.values[i].Name))
	}
	n.values = slices.Delete(n.values, i, i+1)
	n.keepPlaces(i)
	n.written = r.stamp()
}
