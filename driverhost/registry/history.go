package registry

import (
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// history is what a server can tell of its changes: the last ones, and the whole tree as it once was.
type history struct {
	last uint64   // number of the last change
	log  [][]byte // the changes up to it, each encoded alone
	size int      // bytes of log

	tree   [][]byte // frames of the tree when treeAt was the last change; nil is none
	treeAt uint64
}

const (
	maxLog  = 1 << 20 // bytes of changes that are kept
	maxBack = 256     // changes that are told behind a tree before a new one is made
)

// add takes a change.
func (h *history) add(c *cm.Change) {
	b := frame(nil).change(c, "")
	h.last++
	h.log = append(h.log, b)
	for h.size += len(b); h.size > maxLog; h.log = h.log[1:] {
		h.size -= len(h.log[0])
		h.log[0] = nil
	}
	if h.treeAt < h.begin() {
		h.tree = nil
	}
}

// begin gives the last change that is not in the log any more.
func (h *history) begin() uint64 { return h.last - uint64(len(h.log)) }

// whole says whether who has come to a change is to be told the whole tree, and old that there is none
// that can be told.
func (h *history) whole(since uint64) (whole, old bool) {
	whole = since == 0 || since > h.last || since < h.begin()
	return whole, whole && (h.tree == nil || h.last-h.treeAt > maxBack)
}

// keep makes the tree that is told of what all gives, which is the tree now.
func (h *history) keep(all []cm.Change) error {
	h.tree, h.treeAt = nil, h.last
	f, before := newFrame(kindTree).number(h.last), ""
	var frames [][]byte
	for i := range all {
		f = f.change(&all[i], before)
		before = all[i].Key
		if len(f) < treeFrame && i < len(all)-1 {
			continue
		}
		b, err := f.end()
		if err != nil {
			return err
		}
		frames = append(frames, b)
		f, before = newFrame(kindTree).number(h.last), ""
	}
	if len(frames) == 0 { // a tree without anything
		b, err := f.end()
		if err != nil {
			return err
		}
		frames = append(frames, b)
	}
	h.tree = frames
	return nil
}

// since gives the frames for who has come to a change, and what they come to.
func (h *history) since(n uint64) (frames [][]byte, at uint64, err error) {
	if whole, _ := h.whole(n); whole {
		frames, n = append(frames, h.tree...), h.treeAt
	}
	for from := n - h.begin(); from < uint64(len(h.log)); {
		f := newFrame(kindLog).number(h.begin() + from + 1)
		for ; from < uint64(len(h.log)) && len(f) < treeFrame; from++ {
			f = append(f, h.log[from]...)
		}
		b, err := f.end()
		if err != nil {
			return nil, 0, err
		}
		frames = append(frames, b)
	}
	return frames, h.last, nil
}
