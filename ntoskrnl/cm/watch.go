package cm

import (
	"slices"

	"github.com/drvhost/drvhost/nt"
)

// Watch waits for one change of a key: ZwNotifyChangeKey.
type Watch struct {
	n      *node
	filter uint32
	tree   bool
	f      func()
}

// Watch calls f once, on the goroutine that makes the change, when something that the filter
// (nt.REG_NOTIFY_*) names changes at the key, or with tree also below it, or when the key is
// deleted. STATUS_INVALID_PARAMETER for a filter that names nothing or more than there is.
func (k *Key) Watch(filter uint32, tree bool, f func()) (*Watch, nt.Status) {
	const all = nt.REG_NOTIFY_CHANGE_NAME | nt.REG_NOTIFY_CHANGE_ATTRIBUTES |
		nt.REG_NOTIFY_CHANGE_LAST_SET | nt.REG_NOTIFY_CHANGE_SECURITY
	if filter == 0 || filter&^all != 0 {
		return nil, nt.STATUS_INVALID_PARAMETER
	}
	r := k.r
	r.refresh()
	w := &Watch{n: k.n, filter: filter, tree: tree, f: f}
	r.mu.Lock()
	deleted := k.n.deleted
	if !deleted {
		k.n.watches = append(k.n.watches, w)
		r.watches++
	}
	r.mu.Unlock()
	if deleted {
		return nil, nt.STATUS_KEY_DELETED
	}
	if r.OnWatch != nil {
		r.OnWatch()
	}
	return w, nt.STATUS_SUCCESS
}

// Watched says whether there are watches that wait.
func (r *Registry) Watched() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.watches > 0
}

// Unwatch takes a watch back, and reports whether its function has not been called and will not be.
func (k *Key) Unwatch(w *Watch) bool {
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	i := slices.Index(w.n.watches, w)
	if i < 0 {
		return false
	}
	w.n.watches = slices.Delete(w.n.watches, i, i+1)
	k.r.watches--
	return true
}

// changed takes the watches that a change of this kind at n is for.
func (r *Registry) changed(n *node, kind uint32) (due []*Watch) {
	for at := n; at != nil; at = at.parent {
		at.watches = slices.DeleteFunc(at.watches, func(w *Watch) bool {
			hit := w.filter&kind != 0 && (at == n || w.tree)
			if hit {
				due = append(due, w)
				r.watches--
			}
			return hit
		})
	}
	return due
}

func fire(due []*Watch) {
	for _, w := range due {
		w.f()
	}
}
