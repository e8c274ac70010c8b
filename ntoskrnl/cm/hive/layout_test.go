package hive

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// cellsOf gives the allocated cells of a hive by their offset in the bins.
func cellsOf(data []byte) map[uint32][]byte {
	cells := map[uint32][]byte{}
	bins := data[baseSize:]
	for bin := uint32(0); bin < uint32(len(bins)); bin += le.Uint32(bins[bin+8:]) {
		end := bin + le.Uint32(bins[bin+8:])
		for at := bin + binHeader; at < end; {
			size := int32(le.Uint32(bins[at:]))
			if size < 0 {
				size = -size
				cells[at] = bins[at+cellHeader : at+uint32(size)]
			}
			at += uint32(size)
		}
	}
	return cells
}

func TestSecurityCellsAreSharedAndARing(t *testing.T) {
	cells := cellsOf(encode(t, sample()))
	var all []uint32
	keys, refs := 0, uint32(0)
	for at, c := range cells {
		switch string(c[:2]) {
		case "nk":
			keys++
		case "sk":
			all = append(all, at)
			refs += le.Uint32(c[skRefs:])
		}
	}
	require.Len(t, all, 2, "two keys have the same")
	assert.EqualValues(t, keys, refs)
	assert.Equal(t, all[1], le.Uint32(cells[all[0]][skFlink:]))
	assert.Equal(t, all[0], le.Uint32(cells[all[1]][skFlink:]))
	assert.Equal(t, all[1], le.Uint32(cells[all[0]][skBlink:]))
}

func TestSubkeysAreInTheOrderOfTheirNamesWithHashes(t *testing.T) {
	tree := &cm.Tree{Keys: []*cm.Tree{{Name: "Ärger"}, {Name: "b"}, {Name: "alpha"}, {Name: "C"}}}
	data := encode(t, tree)
	cells := cellsOf(data)
	root := cells[le.Uint32(data[baseRoot:])]
	list := cells[le.Uint32(root[nkList:])]
	require.Equal(t, "lh", string(list[:2]))
	var names []string
	for i := range int(le.Uint16(list[2:])) {
		k := cells[le.Uint32(list[4+8*i:])]
		names = append(names, latin(k[nkName:nkName+int(le.Uint16(k[nkNameSize:]))]))
	}
	assert.Equal(t, []string{"alpha", "b", "C", "Ärger"}, names)
	// 37 times what is before it plus the character, from 0 on, of ALPHA and ÄRGER.
	assert.Equal(t, []uint32{0x077f4946, 0x1625ff48},
		[]uint32{le.Uint32(list[8:]), le.Uint32(list[4+8*3+4:])})
	assert.EqualValues(t, 2*len("alpha"), le.Uint32(root[nkMaxName:]))
	assert.EqualValues(t, 0xFFFFFFFF, le.Uint32(root[nkVolatile:]))
	assert.EqualValues(t, keyRoot|keyNoDelete|keyLatin, le.Uint16(root[nkFlags:]))
}

// TestTwoChainsThatAreTooDeepTogether hangs one chain of keys below the end of another.
func TestTwoChainsThatAreTooDeepTogether(t *testing.T) {
	chain := func(name string, n int) *cm.Tree {
		top := &cm.Tree{Name: name + "0"}
		for at, i := top, 1; i < n; i++ {
			at.Keys = []*cm.Tree{{Name: fmt.Sprintf("%s%d", name, i)}}
			at = at.Keys[0]
		}
		return top
	}
	for n, ok := range map[int]bool{256: true, 257: false} {
		data := encode(t, &cm.Tree{Keys: []*cm.Tree{chain("a", n), chain("b", n)}})
		cells := cellsOf(data)
		key := func(name string) (uint32, []byte) {
			for at, c := range cells {
				size := min(len(c)-nkName, len(name))
				if string(c[:2]) == "nk" && size > 0 && string(c[nkName:nkName+size]) == name &&
					int(le.Uint16(c[nkNameSize:])) == len(name) {
					return at, c
				}
			}
			t.Fatal(name)
			return 0, nil
		}
		end, last := key(fmt.Sprintf("a%d", n-1))
		_, top := key("b0")
		_, below := key("b1")
		copy(last[nkSubkeys:nkSubkeys+4], []byte{1, 0, 0, 0})
		copy(last[nkList:nkList+4], slices.Clone(top[nkList:nkList+4]))
		copy(top[nkSubkeys:nkSubkeys+4], []byte{0, 0, 0, 0})
		le.PutUint32(below[nkParent:], end)
		_, err := Read("test", data)
		if ok {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "more than 512 keys above it")
		}
	}
}
