package rtl

// Linked structures in guest memory: accessors with an error that sticks, for tree algorithms.

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// links reads and writes pointers of nodes. After an error reads give null and writes do nothing,
// so that an algorithm checks err once per loop. budget bounds the steps through a tree that a
// driver may have tied into a knot.
type links struct {
	err    error
	budget int
}

// knotted is the budget's end: more nodes than any driver's table has.
const mostSteps = 1 << 24

func newLinks() *links { return &links{budget: mostSteps} }

// more is called once per loop; it is false after an error, and when the budget is spent.
func (l *links) more() bool {
	if l.err == nil {
		if l.budget--; l.budget < 0 {
			l.err = nt.STATUS_INTERNAL_DB_CORRUPTION
		}
	}
	return l.err == nil
}

func (l *links) get(a nt.Addr) nt.Addr {
	if l.err != nil {
		return 0
	}
	var v nt.Addr
	v, l.err = guest.LoadAddr(a)
	return v
}

func (l *links) set(a, v nt.Addr) {
	if l.err == nil {
		l.err = guest.StoreAddr(a, v)
	}
}

func (l *links) get32(a nt.Addr) uint32 {
	if l.err != nil {
		return 0
	}
	var v uint32
	v, l.err = guest.Load32(a)
	return v
}

func (l *links) set32(a nt.Addr, v uint32) {
	if l.err == nil {
		l.err = guest.Store32(a, v)
	}
}

func (l *links) get8(a nt.Addr) uint8 {
	if l.err != nil {
		return 0
	}
	var v uint8
	v, l.err = guest.Load8(a)
	return v
}

func (l *links) set8(a nt.Addr, v uint8) {
	if l.err == nil {
		l.err = guest.Store8(a, v)
	}
}

// Nodes of both kinds of tree begin with parent, left and right child.
const (
	nodeLeft  = pointerSize
	nodeRight = 2 * pointerSize
)

func (l *links) parent(n nt.Addr) nt.Addr { return l.get(n) }
func (l *links) left(n nt.Addr) nt.Addr   { return l.get(n + nodeLeft) }
func (l *links) right(n nt.Addr) nt.Addr  { return l.get(n + nodeRight) }

// side gives the offset of the child pointer on one side.
func side(left bool) nt.Addr {
	if left {
		return nodeLeft
	}
	return nodeRight
}

// edge walks from n to the outermost node on one side.
func (l *links) edge(n nt.Addr, left bool) nt.Addr {
	for l.more() {
		c := l.get(n + side(left))
		if c == 0 {
			break
		}
		n = c
	}
	return n
}

// neighbour gives the next node in order (or the one before), null at the end. isTop tells a node
// above which there is none.
func (l *links) neighbour(n nt.Addr, before bool, isTop func(n, parent nt.Addr) bool) nt.Addr {
	if c := l.get(n + side(before)); c != 0 {
		return l.edge(c, !before)
	}
	for l.more() {
		p := l.parent(n)
		if l.err != nil || isTop(n, p) {
			return 0
		}
		if l.get(p+side(!before)) == n {
			return p
		}
		n = p
	}
	return 0
}

// adopt makes child (which may be null) a child of n.
func (l *links) adopt(n, child nt.Addr, left bool) {
	l.set(n+side(left), child)
	if child != 0 {
		l.set(child, n)
	}
}

// replace puts new in the place of old among the children of p.
func (l *links) replace(p, old, new nt.Addr) {
	l.adopt(p, new, l.left(p) == old)
}

// What a comparison of the driver returns (RTL_GENERIC_COMPARE_RESULTS).
const (
	GenericLessThan    = 0
	GenericGreaterThan = 1
	GenericEqual       = 2
)

// What a search ends with (TABLE_SEARCH_RESULT).
const (
	TableEmptyTree     = 0
	TableFoundNode     = 1
	TableInsertAsLeft  = 2
	TableInsertAsRight = 3
)

// TableRoutines calls the three routines that a driver gave a generic table.
type TableRoutines struct {
	Compare  func(table, first, second nt.Addr) (uint32, error) // GenericLessThan…
	Allocate func(table nt.Addr, size uint32) (nt.Addr, error)  // null: no memory
	Free     func(table, buffer nt.Addr) error
}

// search looks for buffer below root. data is the offset of a node's user data. Its result is the
// node found, or the one below which to insert.
func (l *links) search(
	table, root, buffer nt.Addr, data nt.Addr, r *TableRoutines,
) (nt.Addr, uint32) {
	if root == 0 {
		return 0, TableEmptyTree
	}
	n := root
	for l.more() {
		var order uint32
		order, l.err = r.Compare(table, buffer, n+data)
		if l.err != nil {
			break
		}
		result := uint32(TableInsertAsRight)
		switch order {
		case GenericLessThan:
			result = TableInsertAsLeft
		case GenericGreaterThan:
		default:
			return n, TableFoundNode
		}
		c := l.get(n + side(result == TableInsertAsLeft))
		if c == 0 {
			return n, result
		}
		n = c
	}
	return 0, TableEmptyTree
}
