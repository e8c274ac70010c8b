package rtl

// RTL_SPLAY_LINKS and RTL_GENERIC_TABLE: splay trees in guest memory. The root is its own parent.

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func splayTop(n, parent nt.Addr) bool { return n == parent }

// turn rotates n into its parent's place.
func (l *links) turn(n nt.Addr) {
	p := l.parent(n)
	g := l.parent(p)
	left := l.left(p) == n
	inner := l.get(n + side(!left))
	if g == p {
		l.set(n, n)
	} else {
		l.replace(g, p, n)
	}
	l.adopt(p, inner, left)
	l.adopt(n, p, !left)
}

func (l *links) splay(n nt.Addr) nt.Addr {
	for l.more() {
		p := l.parent(n)
		if p == n || l.err != nil {
			break
		}
		g := l.parent(p)
		if g != p {
			if (l.left(g) == p) == (l.left(p) == n) {
				l.turn(p)
			} else {
				l.turn(n)
			}
		}
		l.turn(n)
	}
	return n
}

// Splay is RtlSplay: n becomes the root of its tree, which the function returns.
func Splay(n nt.Addr) (nt.Addr, error) {
	l := newLinks()
	return l.splay(n), l.err
}

// RealSuccessor is RtlRealSuccessor: the next node in order, or null.
func RealSuccessor(n nt.Addr) (nt.Addr, error) {
	l := newLinks()
	return l.neighbour(n, false, splayTop), l.err
}

// RealPredecessor is RtlRealPredecessor.
func RealPredecessor(n nt.Addr) (nt.Addr, error) {
	l := newLinks()
	return l.neighbour(n, true, splayTop), l.err
}

func subtree(n nt.Addr, left bool) (nt.Addr, error) {
	l := newLinks()
	c := l.get(n + side(left))
	if c == 0 {
		return 0, l.err
	}
	return l.edge(c, !left), l.err
}

// SubtreeSuccessor is RtlSubtreeSuccessor: the next node in order below n, or null.
func SubtreeSuccessor(n nt.Addr) (nt.Addr, error) { return subtree(n, false) }

// SubtreePredecessor is RtlSubtreePredecessor.
func SubtreePredecessor(n nt.Addr) (nt.Addr, error) { return subtree(n, true) }

// unlink takes n out of its tree and returns a node that is still in it, null if n was alone.
func (l *links) unlink(n nt.Addr) nt.Addr {
	a, b := l.left(n), l.right(n)
	top := l.parent(n) == n
	if a != 0 && b != 0 {
		// The node before n takes its place.
		s := l.edge(a, false)
		sp := l.parent(s)
		from := s
		if sp != n {
			l.adopt(sp, l.left(s), false)
			l.adopt(s, a, true)
			from = sp
		}
		l.adopt(s, b, false)
		if top {
			l.set(s, s)
		} else {
			l.replace(l.parent(n), n, s)
		}
		return from
	}
	c := a
	if c == 0 {
		c = b
	}
	if top {
		if c != 0 {
			l.set(c, c)
		}
		return c
	}
	p := l.parent(n)
	l.replace(p, n, c)
	return p
}

// SplayDelete is RtlDelete: it takes n out of its tree, splays, and returns the new root, null if
// the tree is empty.
func SplayDelete(n nt.Addr) (nt.Addr, error) {
	l := newLinks()
	root := l.unlink(n)
	if root != 0 {
		root = l.splay(root)
	}
	return root, l.err
}

// SplayDeleteNoSplay is RtlDeleteNoSplay: root is the address of the root's pointer, which changes
// only if n was the root.
func SplayDeleteNoSplay(n, root nt.Addr) error {
	l := newLinks()
	top := l.parent(n) == n
	rest := l.unlink(n)
	if top {
		for rest != 0 && l.parent(rest) != rest && l.more() {
			rest = l.parent(rest)
		}
		l.set(root, rest)
	}
	return l.err
}

// Offsets in RTL_GENERIC_TABLE, and in the head of its elements.
const (
	tableInsertOrder    = pointerSize
	tableOrderedPointer = 3 * pointerSize
	tableWhichOrdered   = 4 * pointerSize
	tableElements       = tableWhichOrdered + 4
	tableCompare        = tableElements + 4
	tableAllocate       = tableCompare + pointerSize
	tableFree           = tableAllocate + pointerSize
	tableContext        = tableFree + pointerSize
	tableSize           = tableContext + pointerSize

	entryList = 3 * pointerSize
	entrySize = 5 * pointerSize // and, on x64, offset of the user data
)

// GenericNodeSize is the bytes before the user data of an element of an RTL_GENERIC_TABLE.
const GenericNodeSize = (entrySize + 7) &^ 7

// GenericTable is an RTL_GENERIC_TABLE in guest memory with the driver's routines.
type GenericTable struct {
	Addr     nt.Addr
	Routines TableRoutines
}

// InitializeGenericTable is RtlInitializeGenericTable.
func InitializeGenericTable(a, compare, allocate, free, context nt.Addr) error {
	l := newLinks()
	if l.err = guest.Fill(a, 0, tableSize); l.err != nil {
		return l.err
	}
	list := a + tableInsertOrder
	l.set(list, list)
	l.set(list+pointerSize, list)
	l.set(a+tableOrderedPointer, list)
	l.set(a+tableCompare, compare)
	l.set(a+tableAllocate, allocate)
	l.set(a+tableFree, free)
	l.set(a+tableContext, context)
	return l.err
}

// GenericRoutines gives the addresses of the driver's routines and the context of the table at a.
func GenericRoutines(a nt.Addr) (compare, allocate, free, context nt.Addr, err error) {
	l := newLinks()
	compare, allocate = l.get(a+tableCompare), l.get(a+tableAllocate)
	free, context = l.get(a+tableFree), l.get(a+tableContext)
	return compare, allocate, free, context, l.err
}

// Count is RtlNumberGenericTableElements.
func (t *GenericTable) Count() (uint32, error) { return guest.Load32(t.Addr + tableElements) }

// Empty is RtlIsGenericTableEmpty.
func (t *GenericTable) Empty() (bool, error) {
	root, err := guest.LoadAddr(t.Addr)
	return root == 0, err
}

// Lookup is RtlLookupElementGenericTable and …Full: the user data equal to buffer, or null; and the
// node found, which becomes the root, or the one below which it belongs.
func (t *GenericTable) Lookup(buffer nt.Addr) (data, node nt.Addr, result uint32, err error) {
	l := newLinks()
	node, result = l.search(t.Addr, l.get(t.Addr), buffer, GenericNodeSize, &t.Routines)
	if l.err == nil && result == TableFoundNode {
		l.set(t.Addr, l.splay(node))
		data = node + GenericNodeSize
	}
	return data, node, result, l.err
}

// Insert is RtlInsertElementGenericTable; see [AVLTable.Insert].
func (t *GenericTable) Insert(buffer nt.Addr, size uint32) (data nt.Addr, added bool, err error) {
	l := newLinks()
	node, result := l.search(t.Addr, l.get(t.Addr), buffer, GenericNodeSize, &t.Routines)
	if l.err != nil {
		return 0, false, l.err
	}
	return t.InsertAt(buffer, size, node, result)
}

// InsertAt is RtlInsertElementGenericTableFull: Insert at a place that a search gave.
func (t *GenericTable) InsertAt(
	buffer nt.Addr, size uint32, node nt.Addr, result uint32,
) (data nt.Addr, added bool, err error) {
	l := newLinks()
	if result == TableFoundNode {
		l.set(t.Addr, l.splay(node))
		return node + GenericNodeSize, false, l.err
	}
	if size > ^uint32(0)-GenericNodeSize {
		return 0, false, nil
	}
	n, err := t.Routines.Allocate(t.Addr, size+GenericNodeSize)
	if err != nil || n == 0 {
		return 0, false, err
	}
	if err := guest.Fill(n, 0, GenericNodeSize); err != nil {
		return 0, false, err
	}
	if size > 0 {
		if err := guest.Move(n+GenericNodeSize, buffer, uintptr(size)); err != nil {
			return 0, false, err
		}
	}
	if result == TableEmptyTree {
		l.set(n, n)
	} else {
		// The place may have moved since the search; only its free side matters.
		left := result == TableInsertAsLeft
		if l.get(node+side(left)) != 0 {
			return 0, false, firstOf(l.err, nt.STATUS_INTERNAL_DB_CORRUPTION)
		}
		l.adopt(node, n, left)
	}
	list := t.Addr + tableInsertOrder
	last := l.get(list + pointerSize)
	l.set(n+entryList, list)
	l.set(n+entryList+pointerSize, last)
	l.set(last, n+entryList)
	l.set(list+pointerSize, n+entryList)
	l.set32(t.Addr+tableElements, l.get32(t.Addr+tableElements)+1)
	l.set(t.Addr, l.splay(n))
	return n + GenericNodeSize, true, l.err
}

// Delete is RtlDeleteElementGenericTable: false if there is no such element.
func (t *GenericTable) Delete(buffer nt.Addr) (bool, error) {
	l := newLinks()
	n, result := l.search(t.Addr, l.get(t.Addr), buffer, GenericNodeSize, &t.Routines)
	if l.err != nil || result != TableFoundNode {
		return false, l.err
	}
	root := l.unlink(n)
	if root != 0 {
		root = l.splay(root)
	}
	l.set(t.Addr, root)
	next, last := l.get(n+entryList), l.get(n+entryList+pointerSize)
	l.set(last, next)
	l.set(next+pointerSize, last)
	l.set32(t.Addr+tableElements, l.get32(t.Addr+tableElements)-1)
	l.set(t.Addr+tableOrderedPointer, t.Addr+tableInsertOrder)
	l.set32(t.Addr+tableWhichOrdered, 0)
	if l.err != nil {
		return false, l.err
	}
	return true, t.Routines.Free(t.Addr, n)
}

// Enumerate is RtlEnumerateGenericTable: the first element in order with restart, else the one
// behind the root, which the last call made so; null at the end.
func (t *GenericTable) Enumerate(restart bool) (nt.Addr, error) {
	l := newLinks()
	n := l.get(t.Addr)
	switch {
	case n == 0:
		return 0, l.err
	case restart:
		n = l.edge(n, true)
	default:
		n = l.neighbour(n, false, splayTop)
	}
	if n != 0 && l.err == nil {
		l.set(t.Addr, l.splay(n))
	}
	if l.err != nil {
		return 0, l.err
	}
	return user(n, GenericNodeSize), nil
}

// EnumerateWithoutSplaying is RtlEnumerateGenericTableWithoutSplaying; see
// [AVLTable.EnumerateWithoutSplaying].
func (t *GenericTable) EnumerateWithoutSplaying(key nt.Addr) (nt.Addr, error) {
	l := newLinks()
	n := l.get(key)
	if n == 0 {
		if n = l.get(t.Addr); n != 0 {
			n = l.edge(n, true)
		}
	} else {
		n = l.neighbour(n, false, splayTop)
	}
	if n != 0 && l.err == nil {
		l.set(key, n)
	}
	if l.err != nil {
		return 0, l.err
	}
	return user(n, GenericNodeSize), nil
}

// Element is RtlGetElementGenericTable: the element that was inserted as number i, counted from 0
// among those that are there; null beyond the last.
func (t *GenericTable) Element(i uint32) (nt.Addr, error) {
	l := newLinks()
	if i >= l.get32(t.Addr+tableElements) {
		return 0, l.err
	}
	at, entry := l.get32(t.Addr+tableWhichOrdered), l.get(t.Addr+tableOrderedPointer)
	if at == 0 || at > i+1 {
		at, entry = 0, t.Addr+tableInsertOrder
	}
	for ; at < i+1 && l.more(); at++ {
		entry = l.get(entry)
	}
	l.set32(t.Addr+tableWhichOrdered, at)
	l.set(t.Addr+tableOrderedPointer, entry)
	if l.err != nil {
		return 0, l.err
	}
	return entry - entryList + GenericNodeSize, nil
}
