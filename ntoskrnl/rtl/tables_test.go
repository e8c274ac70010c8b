package rtl

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// heap is a driver's allocation of equal blocks for the tests of tables of ULONGs.
type heap struct {
	m    *memory
	free []nt.Addr
	used int
}

func (h *heap) routines() TableRoutines {
	return TableRoutines{
		Compare: func(_, a, b nt.Addr) (uint32, error) {
			x, err := guest.Load32(a)
			if err != nil {
				return 0, err
			}
			y, err := guest.Load32(b)
			switch {
			case x < y:
				return GenericLessThan, err
			case x > y:
				return GenericGreaterThan, err
			}
			return GenericEqual, err
		},
		Allocate: func(_ nt.Addr, size uint32) (nt.Addr, error) {
			h.used++
			if n := len(h.free); n > 0 {
				a := h.free[n-1]
				h.free = h.free[:n-1]
				return a, nil
			}
			return h.m.alloc(uintptr(size)), nil
		},
		Free: func(_, a nt.Addr) error {
			h.used--
			h.free = append(h.free, a)
			return guest.Fill(a, 0xDD, 48)
		},
	}
}

// table is what the two kinds have in common.
type table interface {
	Insert(buffer nt.Addr, size uint32) (nt.Addr, bool, error)
	Delete(buffer nt.Addr) (bool, error)
	Lookup(buffer nt.Addr) (nt.Addr, nt.Addr, uint32, error)
	Enumerate(restart bool) (nt.Addr, error)
	EnumerateWithoutSplaying(key nt.Addr) (nt.Addr, error)
	Element(i uint32) (nt.Addr, error)
	Count() (uint32, error)
}

// checkAVL verifies parents, balances and depth below n and returns the height.
func checkAVL(t *testing.T, l *links, n, parent nt.Addr) int {
	t.Helper()
	if n == 0 {
		return 0
	}
	require.Equal(t, parent, l.parent(n))
	a, b := checkAVL(t, l, l.left(n), n), checkAVL(t, l, l.right(n), n)
	require.Equal(t, b-a, int(l.balance(n)), "balance")
	require.LessOrEqual(t, max(a-b, b-a), 1)
	return max(a, b) + 1
}

func TestTables(t *testing.T) {
	for _, kind := range []string{"AVL", "splay"} {
		t.Run(kind, func(t *testing.T) {
			m := newMemory(t)
			h := &heap{m: m}
			a := m.alloc(128)
			var tab table
			avl := AVLTable{a, h.routines()}
			if kind == "AVL" {
				require.NoError(t, InitializeAVLTable(a, 1, 2, 3, 4))
				c, al, f, ctx, err := AVLRoutines(a)
				require.NoError(t, err)
				require.Equal(t, []nt.Addr{1, 2, 3, 4}, []nt.Addr{c, al, f, ctx})
				tab = &avl
			} else {
				require.NoError(t, InitializeGenericTable(a, 1, 2, 3, 4))
				c, al, f, ctx, err := GenericRoutines(a)
				require.NoError(t, err)
				require.Equal(t, []nt.Addr{1, 2, 3, 4}, []nt.Addr{c, al, f, ctx})
				tab = &GenericTable{a, h.routines()}
			}
			key, position := m.alloc(16), m.alloc(8)
			value := func(a nt.Addr) uint32 {
				v, err := guest.Load32(a)
				require.NoError(t, err)
				return v
			}
			rnd := rand.New(rand.NewPCG(3, 4))
			have := map[uint32]bool{}
			var inserted []uint32
			for step := range 3000 {
				v := rnd.Uint32N(200)
				require.NoError(t, guest.Store32(key, v))
				if rnd.IntN(2) == 0 {
					data, added, err := tab.Insert(key, 4)
					require.NoError(t, err)
					require.Equal(t, !have[v], added)
					require.Equal(t, v, value(data))
					if added {
						inserted = append(inserted, v)
					}
					have[v] = true
				} else {
					gone, err := tab.Delete(key)
					require.NoError(t, err)
					require.Equal(t, have[v], gone)
					delete(have, v)
					inserted = slices.DeleteFunc(inserted, func(x uint32) bool { return x == v })
				}
				n, err := tab.Count()
				require.NoError(t, err)
				require.EqualValues(t, len(have), n)
				require.Equal(t, len(have), h.used)
				if kind == "AVL" && step%10 == 0 {
					l := newLinks()
					depth := checkAVL(t, l, l.right(a), a)
					require.EqualValues(t, depth, l.get32(a+avlDepth))
					require.NoError(t, l.err)
				}
			}
			sorted := slices.Clone(inserted)
			slices.Sort(sorted)
			var got []uint32
			at, err := tab.Enumerate(true)
			for ; at != 0; at, err = tab.Enumerate(false) {
				got = append(got, value(at))
			}
			require.NoError(t, err)
			require.Equal(t, sorted, got)
			got = nil
			at, err = tab.EnumerateWithoutSplaying(position)
			for ; at != 0; at, err = tab.EnumerateWithoutSplaying(position) {
				got = append(got, value(at))
			}
			require.NoError(t, err)
			require.Equal(t, sorted, got)
			order := sorted // an AVL table's elements are numbered in order, a splay table's by age
			if kind == "splay" {
				order = inserted
			}
			for _, i := range []int{0, 1, 2, 10, 5, 5, 0, len(order) - 1} {
				at, err := tab.Element(uint32(i))
				require.NoError(t, err)
				require.Equal(t, order[i], value(at), "element %d", i)
			}
			at, err = tab.Element(uint32(len(order)))
			require.NoError(t, err)
			require.Zero(t, at)
			require.NoError(t, guest.Store32(key, 1000))
			at, _, result, err := tab.Lookup(key)
			require.NoError(t, err)
			require.Zero(t, at)
			require.EqualValues(t, TableInsertAsRight, result)
		})
	}
}

func TestTableAllocationFails(t *testing.T) {
	m := newMemory(t)
	h := &heap{m: m}
	r := h.routines()
	r.Allocate = func(nt.Addr, uint32) (nt.Addr, error) { return 0, nil }
	a := m.alloc(128)
	require.NoError(t, InitializeAVLTable(a, 0, 0, 0, 0))
	data, added, err := (&AVLTable{a, r}).Insert(m.alloc(4), 4)
	require.NoError(t, err)
	require.Zero(t, data)
	require.False(t, added)
	require.NoError(t, InitializeGenericTable(a, 0, 0, 0, 0))
	empty, err := (&GenericTable{a, r}).Empty()
	require.NoError(t, err)
	require.True(t, empty)
	data, added, err = (&GenericTable{a, r}).Insert(m.alloc(4), 0xFFFFFFFF)
	require.NoError(t, err)
	require.Zero(t, data)
	require.False(t, added)
}

func TestTableDuringEnumeration(t *testing.T) {
	m := newMemory(t)
	h := &heap{m: m}
	a, key := m.alloc(128), m.alloc(4)
	require.NoError(t, InitializeAVLTable(a, 0, 0, 0, 0))
	tab := &AVLTable{a, h.routines()}
	for v := range uint32(20) {
		require.NoError(t, guest.Store32(key, v))
		_, _, err := tab.Insert(key, 4)
		require.NoError(t, err)
	}
	var got []uint32
	at, err := tab.Enumerate(true)
	for ; at != 0; at, err = tab.Enumerate(false) {
		v, err := guest.Load32(at)
		require.NoError(t, err)
		got = append(got, v)
		if v == 0 {
			continue
		}
		_, err = tab.Delete(at)
		require.NoError(t, err)
	}
	require.NoError(t, err)
	require.Len(t, got, 20, "deleting the element that one stands on loses none")
	data, _, err := tab.FirstMatching(m.alloc(4))
	require.NoError(t, err)
	require.NotZero(t, data)
}

func TestKnottedTables(t *testing.T) {
	m := newMemory(t)
	h := &heap{m: m}
	n := m.alloc(48)
	l := newLinks()
	l.adopt(n, n, false) // its own right child
	l.set(n+nodeLeft, n)
	require.NoError(t, l.err)
	_, err := RealSuccessor(n)
	require.Equal(t, nt.STATUS_INTERNAL_DB_CORRUPTION, err)
	a := m.alloc(128)
	require.NoError(t, InitializeAVLTable(a, 0, 0, 0, 0))
	require.NoError(t, guest.StoreAddr(a+nodeRight, n))
	tab := AVLTable{a, h.routines()}
	_, err = tab.Enumerate(true)
	require.Equal(t, nt.STATUS_INTERNAL_DB_CORRUPTION, err)
	require.NoError(t, guest.StoreAddr(a+nodeRight, unmapped))
	_, _, _, err = tab.Lookup(m.alloc(4))
	requireFault(t, err, unmapped+avlNodeSize)
	_, err = Splay(unmapped)
	requireFault(t, err, unmapped)
	_, err = SplayDelete(unmapped)
	requireFault(t, err, unmapped+nodeLeft)
}

func TestSplayLinks(t *testing.T) {
	m := newMemory(t)
	nodes := make([]nt.Addr, 7)
	l := newLinks()
	for i := range nodes {
		nodes[i] = m.alloc(24)
		l.set(nodes[i], nodes[i])
		if i > 0 {
			l.adopt(nodes[i-1], nodes[i], false) // a list that leans right
		}
	}
	require.NoError(t, l.err)
	root, err := Splay(nodes[6])
	require.NoError(t, err)
	require.Equal(t, nodes[6], root)
	order := func(root nt.Addr) (got []nt.Addr) {
		l := newLinks()
		for n := l.edge(root, true); n != 0; {
			got = append(got, n)
			var err error
			n, err = RealSuccessor(n)
			require.NoError(t, err)
		}
		return got
	}
	require.Equal(t, nodes, order(root))
	p, err := RealPredecessor(nodes[3])
	require.NoError(t, err)
	require.Equal(t, nodes[2], p)
	p, err = SubtreePredecessor(root)
	require.NoError(t, err)
	require.Equal(t, nodes[5], p)
	p, err = SubtreeSuccessor(root)
	require.NoError(t, err)
	require.Zero(t, p)
	root, err = SplayDelete(nodes[3])
	require.NoError(t, err)
	require.Equal(t, slices.Delete(slices.Clone(nodes), 3, 4), order(root))
	at := m.alloc(8)
	require.NoError(t, guest.StoreAddr(at, root))
	require.NoError(t, SplayDeleteNoSplay(root, at))
	left, err := guest.LoadAddr(at)
	require.NoError(t, err)
	require.Len(t, order(left), 5)
}
