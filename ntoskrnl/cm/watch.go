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
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	if k.n.deleted {
		return nil, nt.STATUS_KEY_DELETED
	}
	w := &Watch{n: k.n, filter: filter, tree: tree, f: f}
	k.n.watches = append(k.n.watches, w)
	return w, nt.STATUS_SUCCESS
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
	return true
}

// changed takes the watches that a change of this kind at n is for.
func (n *node) changed(kind uint32) (due []*Watch) {
	for at := n; at != nil; at = at.parent {
		at.watches = slices.DeleteFunc(at.watches, func(w *Watch) bool {
			hit := w.filter&kind != 0 && (at == n || w.tree)
			if hit {
				due = append(due, w)
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
