package rtl

// RTL_AVL_TABLE: generic tables that are AVL trees in guest memory.
//
//	RTL_AVL_TABLE          RTL_BALANCED_LINKS, the head of every element
//	BalancedRoot ──right──▶ Parent, LeftChild, RightChild, Balance; then the user data
//	                        (BalancedRoot is the root's parent)

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Offsets in RTL_BALANCED_LINKS and RTL_AVL_TABLE.
const (
	avlBalance  = 3 * pointerSize // signed: -1 the left side is higher, 1 the right
	avlNodeSize = 4 * pointerSize // and offset of the user data

	avlOrderedPointer = avlNodeSize
	avlWhichOrdered   = avlOrderedPointer + pointerSize
	avlElements       = avlWhichOrdered + 4
	avlDepth          = avlElements + 4
	avlRestartKey     = avlDepth + pointerSize // DepthOfTree and, on x64, 4 bytes
	avlDeleteCount    = avlRestartKey + pointerSize
	avlCompare        = avlDeleteCount + pointerSize
	avlAllocate       = avlCompare + pointerSize
	avlFree           = avlAllocate + pointerSize
	avlContext        = avlFree + pointerSize
	avlTableSize      = avlContext + pointerSize
)

// AVLNodeSize is the bytes before the user data of an element.
const AVLNodeSize = avlNodeSize

// AVLTable is an RTL_AVL_TABLE in guest memory with the driver's routines.
type AVLTable struct {
	Addr     nt.Addr
	Routines TableRoutines
}

// InitializeAVLTable is RtlInitializeGenericTableAvl: the table at a, with the addresses of the
// driver's routines and its context.
func InitializeAVLTable(a, compare, allocate, free, context nt.Addr) error {
	l := newLinks()
	if l.err = guest.Fill(a, 0, avlTableSize); l.err != nil {
		return l.err
	}
	l.set(a, a)
	l.set(a+avlCompare, compare)
	l.set(a+avlAllocate, allocate)
	l.set(a+avlFree, free)
	l.set(a+avlContext, context)
	return l.err
}

// AVLRoutines gives the addresses of the driver's routines and the context of the table at a.
func AVLRoutines(a nt.Addr) (compare, allocate, free, context nt.Addr, err error) {
	l := newLinks()
	compare, allocate = l.get(a+avlCompare), l.get(a+avlAllocate)
	free, context = l.get(a+avlFree), l.get(a+avlContext)
	return compare, allocate, free, context, l.err
}

func (t *AVLTable) isTop(_, parent nt.Addr) bool { return parent == t.Addr }

func (t *AVLTable) next(l *links, n nt.Addr, before bool) nt.Addr {
	return l.neighbour(n, before, t.isTop)
}

// user gives the user data of a node, null of none.
func user(n, head nt.Addr) nt.Addr {
	if n == 0 {
		return 0
	}
	return n + head
}

// Count is RtlNumberGenericTableElementsAvl.
func (t *AVLTable) Count() (uint32, error) { return guest.Load32(t.Addr + avlElements) }

// Lookup is RtlLookupElementGenericTableAvl and …FullAvl: the user data equal to buffer, or null;
// and the node found, or the one below which it belongs, with a TABLE_SEARCH_RESULT.
func (t *AVLTable) Lookup(buffer nt.Addr) (data, node nt.Addr, result uint32, err error) {
	l := newLinks()
	node, result = l.search(t.Addr, l.right(t.Addr), buffer, avlNodeSize, &t.Routines)
	if l.err == nil && result == TableFoundNode {
		data = node + avlNodeSize
	}
	return data, node, result, l.err
}

// Insert is RtlInsertElementGenericTableAvl: a copy of size bytes at buffer. It returns the user
// data of the new element, or of the one that is there already (added is false then), or null if
// the driver's allocation gave null.
func (t *AVLTable) Insert(buffer nt.Addr, size uint32) (data nt.Addr, added bool, err error) {
	data, node, result, err := t.Lookup(buffer)
	if err != nil || data != 0 {
		return data, false, err
	}
	return t.InsertAt(buffer, size, node, result)
}

// InsertAt is RtlInsertElementGenericTableFullAvl: Insert at the place that Lookup gave.
func (t *AVLTable) InsertAt(
	buffer nt.Addr, size uint32, node nt.Addr, result uint32,
) (data nt.Addr, added bool, err error) {
	if result == TableFoundNode {
		return node + avlNodeSize, false, nil
	}
	if size > ^uint32(0)-avlNodeSize {
		return 0, false, nil
	}
	n, err := t.Routines.Allocate(t.Addr, size+avlNodeSize)
	if err != nil || n == 0 {
		return 0, false, err
	}
	if err := guest.Fill(n, 0, avlNodeSize); err != nil {
		return 0, false, err
	}
	if size > 0 {
		if err := guest.Move(n+avlNodeSize, buffer, uintptr(size)); err != nil {
			return 0, false, err
		}
	}
	l := newLinks()
	if result == TableEmptyTree {
		l.adopt(t.Addr, n, false)
	} else {
		l.adopt(node, n, result == TableInsertAsLeft)
		t.grown(l, n)
	}
	l.set32(t.Addr+avlElements, l.get32(t.Addr+avlElements)+1)
	t.forgetOrder(l)
	t.noteDepth(l)
	return n + avlNodeSize, true, l.err
}

// forgetOrder drops the place that Element remembers.
func (t *AVLTable) forgetOrder(l *links) {
	l.set(t.Addr+avlOrderedPointer, 0)
	l.set32(t.Addr+avlWhichOrdered, 0)
}

// noteDepth keeps DepthOfTree true: the balances lead down the longest path.
func (t *AVLTable) noteDepth(l *links) {
	depth := uint32(0)
	for n := l.right(t.Addr); n != 0 && l.more(); depth++ {
		n = l.get(n + side(l.balance(n) < 0))
	}
	l.set32(t.Addr+avlDepth, depth)
}

func (l *links) balance(n nt.Addr) int8       { return int8(l.get8(n + avlBalance)) }
func (l *links) setBalance(n nt.Addr, b int8) { l.set8(n+avlBalance, uint8(b)) }

// heavier gives the balance that means: this side is higher.
func heavier(left bool) int8 {
	if left {
		return -1
	}
	return 1
}

// grown goes up from a node whose subtree has become higher by one.
func (t *AVLTable) grown(l *links, n nt.Addr) {
	for l.more() {
		p := l.parent(n)
		if p == t.Addr || p == 0 {
			return
		}
		left := l.left(p) == n
		switch b := l.balance(p); {
		case b == 0:
			l.setBalance(p, heavier(left))
		case b != heavier(left):
			l.setBalance(p, 0)
			return
		default:
			t.rebalance(l, p, left)
			return
		}
		n = p
	}
}

// shrunk goes up from p, whose subtree on one side has become lower by one.
func (t *AVLTable) shrunk(l *links, p nt.Addr, left bool) {
	for p != t.Addr && p != 0 && l.more() {
		switch b := l.balance(p); {
		case b == 0:
			l.setBalance(p, heavier(!left))
			return
		case b == heavier(left):
			l.setBalance(p, 0)
		default:
			if !t.rebalance(l, p, !left) {
				return
			}
			p = l.parent(p)
		}
		up := l.parent(p)
		left = l.left(up) == p
		p = up
	}
}

// lift rotates n's child on one side into its place.
func (l *links) lift(n nt.Addr, left bool) nt.Addr {
	c, p := l.get(n+side(left)), l.parent(n)
	inner := l.get(c + side(!left))
	l.replace(p, n, c)
	l.adopt(n, inner, left)
	l.adopt(c, n, !left)
	return c
}

// rebalance mends p, whose side left (or right) is too high by one more; it reports whether the
// subtree became lower than it was with that excess.
func (t *AVLTable) rebalance(l *links, p nt.Addr, left bool) (lower bool) {
	c := l.get(p + side(left))
	if c == 0 {
		l.err = firstOf(l.err, nt.STATUS_INTERNAL_DB_CORRUPTION)
		return false
	}
	switch l.balance(c) {
	case heavier(left):
		l.lift(p, left)
		l.setBalance(p, 0)
		l.setBalance(c, 0)
		return true
	case 0:
		l.lift(p, left)
		l.setBalance(p, heavier(left))
		l.setBalance(c, heavier(!left))
		return false
	}
	g := l.get(c + side(!left))
	if g == 0 {
		l.err = firstOf(l.err, nt.STATUS_INTERNAL_DB_CORRUPTION)
		return false
	}
	b := l.balance(g)
	l.lift(c, !left)
	l.lift(p, left)
	l.setBalance(p, 0)
	l.setBalance(c, 0)
	switch b {
	case heavier(left):
		l.setBalance(p, heavier(!left))
	case heavier(!left):
		l.setBalance(c, heavier(left))
	}
	l.setBalance(g, 0)
	return true
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// Delete is RtlDeleteElementGenericTableAvl: false if there is no such element. The driver's
// routine frees it.
func (t *AVLTable) Delete(buffer nt.Addr) (bool, error) {
	data, n, _, err := t.Lookup(buffer)
	if err != nil || data == 0 {
		return false, err
	}
	return t.DeleteNode(n)
}

// DeleteNode is RtlDeleteElementGenericTableAvlEx: it takes the node that Lookup gave.
func (t *AVLTable) DeleteNode(n nt.Addr) (bool, error) {
	l := newLinks()
	if l.get(t.Addr+avlRestartKey) == n {
		// An enumeration that stands on the element goes on behind it.
		l.set(t.Addr+avlRestartKey, t.next(l, n, true))
	}
	if a, b := l.left(n), l.right(n); a != 0 && b != 0 {
		t.descend(l, n)
	}
	child := l.left(n)
	if child == 0 {
		child = l.right(n)
	}
	p := l.parent(n)
	left := l.left(p) == n
	l.adopt(p, child, left)
	t.shrunk(l, p, left)
	l.set32(t.Addr+avlElements, l.get32(t.Addr+avlElements)-1)
	l.set32(t.Addr+avlDeleteCount, l.get32(t.Addr+avlDeleteCount)+1)
	t.forgetOrder(l)
	t.noteDepth(l)
	if l.err != nil {
		return false, l.err
	}
	return true, t.Routines.Free(t.Addr, n)
}

// descend exchanges n, which has two children, with the node before it in order.
func (t *AVLTable) descend(l *links, n nt.Addr) {
	s := l.edge(l.left(n), false)
	b := l.get8(s + avlBalance)
	l.set8(s+avlBalance, l.get8(n+avlBalance))
	l.set8(n+avlBalance, b)
	below, sp := l.left(s), l.parent(s)
	l.replace(l.parent(n), n, s)
	l.adopt(s, l.right(n), false)
	if sp == n {
		l.adopt(s, n, true)
	} else {
		l.adopt(s, l.left(n), true)
		l.adopt(sp, n, false)
	}
	l.adopt(n, below, true)
	l.set(n+nodeRight, 0)
}

// Enumerate is RtlEnumerateGenericTableAvl: the first element with restart, else the one behind the
// last returned; null at the end.
func (t *AVLTable) Enumerate(restart bool) (nt.Addr, error) {
	if restart {
		if err := guest.StoreAddr(t.Addr+avlRestartKey, 0); err != nil {
			return 0, err
		}
	}
	return t.EnumerateWithoutSplaying(t.Addr + avlRestartKey)
}

// EnumerateWithoutSplaying is RtlEnumerateGenericTableWithoutSplayingAvl: key is the address of the
// caller's position, null before the first element.
func (t *AVLTable) EnumerateWithoutSplaying(key nt.Addr) (nt.Addr, error) {
	l := newLinks()
	n := l.get(key)
	if n == 0 {
		if n = l.right(t.Addr); n != 0 {
			n = l.edge(n, true)
		}
	} else {
		n = t.next(l, n, false)
	}
	if l.err == nil && n != 0 {
		l.set(key, n)
	}
	if l.err != nil {
		return 0, l.err
	}
	return user(n, avlNodeSize), nil
}

// Element is RtlGetElementGenericTableAvl: the element with index i in order, null beyond the last.
func (t *AVLTable) Element(i uint32) (nt.Addr, error) {
	l := newLinks()
	if i >= l.get32(t.Addr+avlElements) {
		return 0, l.err
	}
	n, at := l.get(t.Addr+avlOrderedPointer), l.get32(t.Addr+avlWhichOrdered)
	if n == 0 || at == 0 || at > i+1 {
		n, at = l.edge(l.right(t.Addr), true), 1
	}
	for ; at <= i && n != 0 && l.more(); at++ {
		n = t.next(l, n, false)
	}
	l.set(t.Addr+avlOrderedPointer, n)
	l.set32(t.Addr+avlWhichOrdered, at)
	if l.err != nil {
		return 0, l.err
	}
	return user(n, avlNodeSize), nil
}

// FirstMatching is RtlLookupFirstMatchingElementGenericTableAvl: the first in order of the elements
// that compare equal to buffer.
func (t *AVLTable) FirstMatching(buffer nt.Addr) (data, node nt.Addr, err error) {
	_, n, result, err := t.Lookup(buffer)
	if err != nil || result != TableFoundNode {
		return 0, 0, err
	}
	l := newLinks()
	for l.more() {
		p := t.next(l, n, true)
		if p == 0 {
			break
		}
		var order uint32
		if order, l.err = t.Routines.Compare(t.Addr, buffer, p+avlNodeSize); order != GenericEqual {
			break
		}
		n = p
	}
	if l.err != nil {
		return 0, 0, l.err
	}
	return n + avlNodeSize, n, nil
}
