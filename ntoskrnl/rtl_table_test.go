package ntoskrnl

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// tableRoutinesOf gives the three routines of a driver's table, whose elements are ULONGs at the
// head of their data. Elements come out of an array whose next free place is at the returned
// address; what Free got last is stored 8 bytes behind that.
func tableRoutinesOf(r *driverRig) (compare, allocate, free, state uint64) {
	state = r.mem(16)
	r.put64(state, r.mem(4096))
	literal := func(code []byte) uint64 {
		return r.routine(binary.LittleEndian.AppendUint64(code, state)...)
	}
	compare = r.routine(
		0x8B, 0x02, // mov eax, [rdx]
		0x41, 0x3B, 0x00, // cmp eax, [r8]
		0x72, 0x08, // jb +8
		0x77, 0x09, // ja +9
		0xB8, 2, 0, 0, 0, // mov eax, GenericEqual
		0xC3,       // ret
		0x31, 0xC0, // xor eax, eax: GenericLessThan
		0xC3,             // ret
		0xB8, 1, 0, 0, 0, // mov eax, GenericGreaterThan
		0xC3)
	allocate = literal([]byte{
		0x4C, 0x8B, 0x15, 0x0C, 0, 0, 0, // mov r10, [rip+12]
		0x49, 0x8B, 0x02, // mov rax, [r10]
		0x49, 0x83, 0x02, 0x40, // add qword [r10], 64
		0xC3, 0x90, 0x90, 0x90, 0x90, // ret
	})
	free = literal([]byte{
		0x4C, 0x8B, 0x15, 0x05, 0, 0, 0, // mov r10, [rip+5]
		0x49, 0x89, 0x52, 0x08, // mov [r10+8], rdx
		0xC3, // ret
	})
	return compare, allocate, free, state
}

func TestGenericTables(t *testing.T) {
	for _, kind := range []struct {
		suffix  string
		ordered bool // elements have numbers in order, not as they were inserted
	}{{"Avl", true}, {"", false}} {
		t.Run("GenericTable"+kind.suffix, func(t *testing.T) {
			r := newRig(t)
			compare, allocate, free, state := tableRoutinesOf(r)
			name := func(verb string) string { return verb + "GenericTable" + kind.suffix }
			table := r.mem(256)
			key, isNew := r.mem(8), r.mem(8)
			element := func(v uint32) uint64 { r.put32(key, v); return key }

			r.call(name("RtlInitialize"), table, compare, allocate, free, 0x77)
			require.EqualValues(t, 1, r.call("RtlIsGenericTableEmpty"+kind.suffix, table))
			for _, v := range []uint32{50, 20, 80, 10, 30} {
				a := r.call(name("RtlInsertElement"), table, element(v), 4, isNew)
				require.Equal(t, v, r.u32(a))
				require.Equal(t, byte(1), r.read(isNew, 1)[0])
			}
			a := r.call(name("RtlInsertElement"), table, element(30), 4, isNew)
			require.Equal(t, byte(0), r.read(isNew, 1)[0], "it is there already")
			require.Equal(t, a, r.call(name("RtlLookupElement"), table, element(30)))
			require.Zero(t, r.call(name("RtlLookupElement"), table, element(31)))
			require.EqualValues(t, 5, r.call("RtlNumberGenericTableElements"+kind.suffix, table))

			inOrder := func(next func(first bool) uint64) (all []uint32) {
				for a := next(true); a != 0; a = next(false) {
					all = append(all, r.u32(a))
				}
				return all
			}
			want := []uint32{10, 20, 30, 50, 80}
			require.Equal(t, want, inOrder(func(first bool) uint64 {
				return r.call(name("RtlEnumerate"), table, uint64(boolean(first)))
			}))
			place := r.mem(8)
			require.Equal(t, want, inOrder(func(bool) uint64 {
				return r.call("RtlEnumerateGenericTableWithoutSplaying"+kind.suffix, table, place)
			}))
			second := uint32(20)
			require.Equal(t, second, r.u32(r.call(name("RtlGetElement"), table, 1)))
			require.Zero(t, r.call(name("RtlGetElement"), table, 5))

			node, result := r.mem(8), r.mem(8)
			full := "RtlLookupElementGenericTableFull" + kind.suffix
			require.Zero(t, r.call(full, table, element(60), node, result))
			require.NotZero(t, r.u64(node))
			a = r.call("RtlInsertElementGenericTableFull"+kind.suffix, table, element(60), 4, isNew,
				r.u64(node), uint64(r.u32(result)))
			require.Equal(t, uint32(60), r.u32(a))
			require.Equal(t, a, r.call(full, table, element(60), node, result))
			require.Equal(t, uint32(1), r.u32(result), "TableFoundNode")

			require.EqualValues(t, 1, r.call(name("RtlDeleteElement"), table, element(20)))
			require.NotZero(t, r.u64(state+8), "the driver's routine freed it")
			require.EqualValues(t, 0, r.call(name("RtlDeleteElement"), table, element(20)))
			if kind.ordered {
				r.call(full, table, element(60), node, result)
				r.call("RtlDeleteElementGenericTableAvlEx", table, r.u64(node))
				require.Zero(t, r.call(name("RtlLookupElement"), table, element(60)))
				a = r.call("RtlLookupFirstMatchingElementGenericTableAvl", table, element(50), place)
				require.Equal(t, uint32(50), r.u32(a))
			}
		})
	}
}

func TestSplayLinks(t *testing.T) {
	r := newRig(t)
	// Three nodes of RTL_SPLAY_LINKS (Parent, LeftChild, RightChild): b with a left and c right.
	a, b, c := r.mem(24), r.mem(24), r.mem(24)
	link := func(n, parent, left, right uint64) {
		r.put64(n, parent)
		r.put64(n+8, left)
		r.put64(n+16, right)
	}
	link(b, b, a, c)
	link(a, b, 0, 0)
	link(c, b, 0, 0)
	require.Equal(t, b, r.call("RtlRealSuccessor", a))
	require.Equal(t, c, r.call("RtlRealSuccessor", b))
	require.Zero(t, r.call("RtlRealSuccessor", c))
	require.Equal(t, b, r.call("RtlRealPredecessor", c))
	require.Equal(t, a, r.call("RtlSubtreePredecessor", b))
	require.Equal(t, c, r.call("RtlSubtreeSuccessor", b))
	require.Equal(t, a, r.call("RtlSplay", a))
	require.Equal(t, a, r.u64(a), "the root is its own parent")
	root := r.mem(8)
	r.put64(root, a)
	r.call("RtlDeleteNoSplay", c, root)
	require.Equal(t, a, r.u64(root))
	require.Equal(t, b, r.call("RtlDelete", a))
	require.Zero(t, r.call("RtlDelete", b))
}
