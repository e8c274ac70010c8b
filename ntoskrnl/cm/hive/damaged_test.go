package hive

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// small is a hive whose cells stand where the table below says.
func small(t testing.TB) []byte {
	return encode(t, &cm.Tree{Name: "R", Class: "C", Values: []cm.Value{
		{Name: "x", Type: 3, Data: []byte("12345678")},
		{Name: "yy", Type: 4, Data: cm.DWord(1)},
		{Name: "big", Type: 3, Data: make([]byte, maxCellData+1)},
	}, Keys: []*cm.Tree{{Name: "a"}, {Name: "b"}}})
}

// Where the cells of small are, from the start of the file.
type places struct{ root, sk, class, x, xData, yy, values, db, dbList, a, b, leaf int }

func placesOf(t testing.TB, data []byte) (p places) {
	u32 := func(at int) int { return baseSize + int(le.Uint32(data[at:])) }
	p.root = u32(baseRoot)
	body := p.root + cellHeader
	p.sk, p.class, p.values, p.leaf = u32(body+nkSecurity), u32(body+nkClass), u32(body+nkValueList),
		u32(body+nkList)
	p.x, p.yy = u32(p.values+4), u32(p.values+8)
	p.xData = u32(p.x + 4 + vkData)
	p.db = u32(u32(p.values+12) + 4 + vkData)
	p.dbList = u32(p.db + 4 + 4)
	p.a, p.b = u32(p.leaf+4+4), u32(p.leaf+4+12)
	require.Equal(t, "nk", string(data[p.a+4:p.a+6]))
	require.Equal(t, "db", string(data[p.db+4:p.db+6]))
	return p
}

func TestDamagedHives(t *testing.T) {
	whole := small(t)
	p := placesOf(t, whole)
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { le.PutUint32(b[at:], v); return b }
	}
	put16 := func(at int, v uint16) func([]byte) []byte {
		return func(b []byte) []byte { le.PutUint16(b[at:], v); return b }
	}
	put := func(at int, s string) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], s); return b }
	}
	offset := func(at int) uint32 { return uint32(at - baseSize) }
	for _, c := range []struct {
		name   string
		damage func([]byte) []byte
		want   string
	}{
		{"empty", func([]byte) []byte { return nil }, "offset 0x0: base block: the file has 0 bytes"},
		{"half a base block", func(b []byte) []byte { return b[:4095] }, "offset 0xfff: base block: "},
		{"no bins", func(b []byte) []byte { return b[:4096] },
			"offset 0x28: base block, size of bins: 0x6000, but the file has 0x0 behind its base block"},
		{"cut off", func(b []byte) []byte { return b[:len(b)-1] }, "offset 0x28: base block, size of bins"},
		{"no hive", put(0, "MZ"), `offset 0x0: base block, signature: "MZgf", want "regf"`},
		{"major version", put32(baseMajor, 2), "offset 0x14: base block, major version: 2 is not known"},
		{"old version", put32(baseMinor, 2), "offset 0x18: base block, minor version: 2 is not known"},
		{"new version", put32(baseMinor, 7), "offset 0x18: base block, minor version: 7 is not known"},
		{"a log", put32(baseType, 6), "offset 0x1c: base block, type of file: 6 is not known"},
		{"format", put32(baseFormat, 0), "offset 0x20: base block, format: 0 is not known"},
		{"size of nothing", put32(baseLength, 0), "offset 0x28: base block, size of bins: 0x0 is no multiple"},
		{"half a bin", put32(baseLength, 0x1800), "offset 0x28: base block, size of bins: 0x1800 is no"},
		{"root nowhere", put32(baseRoot, 0xFFFFFFFF),
			"offset 0x24: base block, root cell: 0xffffffff is no allocated cell"},
		{"root behind the end", put32(baseRoot, 0x6000), "root cell: 0x6000 is no allocated cell"},
		{"root within a cell", put32(baseRoot, 0x28), "root cell: 0x28 is no allocated cell"},
		{"root at an odd place", put32(baseRoot, 0x21), "root cell: 0x21 is no allocated cell"},
		{"root is a value", put32(baseRoot, offset(p.x)), `root cell, signature: "vk", want "nk"`},
		{"root too small", func(b []byte) []byte {
			le.PutUint32(b[baseRoot:], offset(p.class))
			copy(b[p.class+4:], "nk")
			return b
		}, "root cell: the cell at 0x108 has 4 bytes, want 76"},
		{"bin's signature", put(4096, "hbon"), `offset 0x1000: hive bin, signature: "hbon", want "hbin"`},
		{"bin's offset", put32(4096+4, 0x1000), "offset 0x1004: hive bin, offset: 0x1000, but it is at 0x0"},
		{"bin of nothing", put32(4096+8, 0), "offset 0x1008: hive bin, size: 0x0 of 0x6000 that are left"},
		{"bin too large", put32(4096+8, 0x7000), "offset 0x1008: hive bin, size: 0x7000 of 0x6000"},
		{"bin's odd size", put32(4096+8, 0x1001), "offset 0x1008: hive bin, size: 0x1001 of 0x6000"},
		{"cell of nothing", put32(p.root, 0), "offset 0x1020: cell, size: 0 of 4064 that its bin has left"},
		{"cell beyond its bin", put32(p.root, uint32(0xFFFFE000)), "offset 0x1020: cell, size: -8192 of 4064"},
		{"cell's odd size", put32(p.root, 0xFFFFFFAC), "offset 0x1020: cell, size: -84 of 4064"},
		{"cell of the smallest number", put32(p.root, 1<<31), "cell, size: -2147483648 of 4064"},
		{"free root", func(b []byte) []byte {
			le.PutUint32(b[p.root:], -le.Uint32(b[p.root:]))
			return b
		}, "root cell: 0x20 is no allocated cell"},
		{"name beyond its cell", put16(p.root+4+nkNameSize, 99),
			"offset 0x106c: key node, name: 99 bytes, but its cell has 8"},
		{"name of odd UTF-16", func(b []byte) []byte {
			le.PutUint16(b[p.root+4+nkFlags:], 0)
			return b
		}, "key node, name: 1 bytes of UTF-16"},
		{"subkey without a name", put16(p.a+4+nkNameSize, 0), `key node, name: "" is no name of a key`},
		{"subkey with a path", put(p.a+4+nkName, `\`), `key node, name: "\\" is no name of a key`},
		{"subkey's parent", put32(p.a+4+nkParent, 8), "key node, parent: 0x8, but it is below 0x20"},
		{"subkeys of one name", put(p.b+4+nkName, "A"), `list of subkeys: two subkeys are called "`},
		{"class nowhere", put32(p.root+4+nkClass, 0), "offset 0x1054: key node, class: 0x0 is no allocated"},
		{"class too long", put16(p.root+4+nkClassSize, 200),
			"key node, class: the cell at 0x108 has 4 bytes, want 200"},
		{"class of odd UTF-16", put16(p.root+4+nkClassSize, 1), "key node, class: 1 bytes of UTF-16"},
		{"security nowhere", put32(p.root+4+nkSecurity, 4), "offset 0x1050: key node, security: 0x4 is no"},
		{"security is a key", put32(p.root+4+nkSecurity, offset(p.a)),
			`key node, security, signature: "nk", want "sk"`},
		{"security too long", put32(p.sk+4+skLength, 0x1000),
			"security, size: 4096 bytes, but its cell has 120, and 65536 are allowed"},
		{"values nowhere", put32(p.root+4+nkValueList, 1), "key node, list of values: 0x1 is no allocated"},
		{"values without end", put32(p.root+4+nkValues, 1<<30),
			"key node, list of values: 1073741824 values in a file of 24576 bytes"},
		{"more values than the list has", put32(p.root+4+nkValues, 99), "has 12 bytes, want 396"},
		{"value is a key", put32(p.values+4, offset(p.a)),
			`key node, list of values, signature: "nk", want "vk"`},
		{"value nowhere", put32(p.values+8, 3), "key node, list of values, element 1: 0x3 is no allocated"},
		{"value twice", put32(p.values+8, offset(p.x)),
			"list of values, element 1: the cell at 0x120 has another use"},
		{"values of one name", func(b []byte) []byte {
			le.PutUint16(b[p.yy+4+vkNameSize:], 1)
			b[p.yy+4+vkName] = 'X'
			return b
		}, `list of values, element 1: two values are called "X"`},
		{"value's name beyond its cell", put16(p.x+4+vkNameSize, 99), "value, name: 99 bytes, but its cell has"},
		{"value's data nowhere", put32(p.x+4+vkData, 7), "value, data: 0x7 is no allocated cell"},
		{"value's data is a key", put32(p.x+4+vkData, offset(p.root)), "value, data: the cell at 0x20 has another"},
		{"value's data too long", put32(p.x+4+vkSize, 13), "value, data: the cell at 0x110 has 12 bytes, want 13"},
		{"value's data without end", put32(p.x+4+vkSize, 1<<31-1),
			"value, size of data: 2147483647 bytes in a file of 24576"},
		{"five bytes in the place of four", put32(p.yy+4+vkSize, 1<<31|5),
			"value, size of data: 5 bytes in the place of an offset"},
		{"big data is none", put(p.db+4, "xx"), `value, data, signature: "xx", want "db"`},
		{"big data of three parts", put16(p.db+4+2, 3),
			"big data, number of segments: 3, but 16345 bytes are 2"},
		{"big data nowhere", put32(p.db+4+4, 2), "big data, list of segments: 0x2 is no allocated cell"},
		{"big data's part nowhere", put32(p.dbList+4, 2),
			"big data, list of segments, element 0: 0x2 is no allocated cell"},
		{"big data's part twice", func(b []byte) []byte {
			copy(b[p.dbList+8:p.dbList+12], b[p.dbList+4:p.dbList+8])
			return b
		}, "big data, list of segments, element 1: the cell at 0x1020 has another use"},
		{"subkeys nowhere", put32(p.root+4+nkList, 5), "key node, list of subkeys: 0x5 is no allocated cell"},
		{"subkeys are none", put(p.leaf+4, "lx"), `key node, list of subkeys, signature: "lx" is none here`},
		{"subkeys without end", put16(p.leaf+4+2, 0xFFFF),
			"list of subkeys, number of elements: 65535, but its cell has 20 bytes"},
		{"another number of subkeys", put32(p.root+4+nkSubkeys, 3),
			"offset 0x1038: key node, number of subkeys: 3, but the list has 2"},
		{"subkey nowhere", put32(p.leaf+4+12, 5), "key node, list of subkeys, element 1: 0x5 is no allocated"},
		{"subkey twice", put32(p.leaf+4+12, offset(p.a)), "list of subkeys, element 1: the cell at 0x"},
		{"a circle", put32(p.leaf+4+4, offset(p.root)), "element 0: the cell at 0x20 has another use"},
		{"a list of its own", func(b []byte) []byte {
			copy(b[p.leaf+4:], "ri")
			le.PutUint32(b[p.leaf+4+4:], offset(p.leaf))
			return b
		}, "list of subkeys, element 0: the cell at 0x"},
		{"a list of lists of lists", func(b []byte) []byte {
			copy(b[p.leaf+4:], "ri")
			le.PutUint32(b[p.leaf+4+4:], offset(p.a))
			copy(b[p.a+4:], "ri")
			return b
		}, `list of subkeys, signature: "ri" is none here`},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := c.damage(slices.Clone(whole))
			if len(data) >= baseSize {
				seal(data)
			}
			_, err := Read("test", data)
			var e *Error
			require.ErrorAs(t, err, &e)
			require.ErrorContains(t, err, "test: offset 0x")
			assert.ErrorContains(t, err, c.want)
		})
	}
}

func TestWhatIsStrangeAndYetRead(t *testing.T) {
	whole := small(t)
	p := placesOf(t, whole)
	read := func(damage func(b []byte)) *cm.Tree {
		b := slices.Clone(whole)
		damage(b)
		h, err := Read("test", seal(b))
		require.NoError(t, err)
		return h.Root
	}
	root := read(func(b []byte) {
		copy(b[p.leaf+4:], "li")
		le.PutUint32(b[p.leaf+4+8:], offsetOf(p.b))
	})
	assert.Len(t, root.Keys, 2, "a list without hints")
	root = read(func(b []byte) { copy(b[p.leaf+4:], "lf") })
	assert.Len(t, root.Keys, 2, "a list with hints")
	root = read(func(b []byte) {
		le.PutUint16(b[p.root+4+nkFlags:], keyPredef|keyLatin)
		le.PutUint32(b[p.root+4+nkValues:], 0x80000002)
	})
	assert.Empty(t, root.Values, "their number is a handle")
	root = read(func(b []byte) { le.PutUint32(b[p.a+4+nkSecurity:], noCell) })
	assert.Nil(t, root.Key("a").Security, "none")
	old := encode(t, &cm.Tree{Values: []cm.Value{{Name: "v", Data: bytes.Repeat([]byte("7"), maxCellData)}}})
	at := bytes.Index(old, []byte("vk\x01"))
	le.PutUint32(old[baseMinor:], 3)
	h, err := Read("test", seal(old))
	require.NoError(t, err)
	assert.Len(t, h.Root.Values[0].Data, maxCellData)
	le.PutUint32(old[at+vkSize:], maxCellData+5)
	_, err = Read("test", seal(old))
	assert.ErrorContains(t, err, "has 16348 bytes, want 16349", "version 1.3 has all data in one cell")
	padded := append(slices.Clone(whole), 1, 2, 3)
	_, err = Read("test", padded)
	assert.NoError(t, err, "what is behind the bins is nobody's")
}

func offsetOf(at int) uint32 { return uint32(at - baseSize) }

func TestMuchSecurityIsRefused(t *testing.T) {
	one, two := make([]byte, maxSecurity), make([]byte, maxSecurity)
	two[0] = 1
	tree := &cm.Tree{}
	for i := range 2 * maxSecurity2 / maxSecurity {
		k := &cm.Tree{Name: string(rune('一' + i)), Security: one}
		if i%2 == 0 {
			k.Security = two
		}
		tree.Keys = append(tree.Keys, k)
	}
	_, err := Read("test", encode(t, tree))
	assert.ErrorContains(t, err, "the keys' descriptors take more than")
}

// FuzzRead reads anything. What is read can be written, and is the same then.
func FuzzRead(f *testing.F) {
	old, changed := twoStates(f)
	le.PutUint32(old[basePrimary:], 2)
	for _, seed := range [][]byte{encode(f, sample()), small(f), changed, {}, []byte("regf")} {
		f.Add(seed, []byte(nil))
	}
	f.Add(seal(old), newLog(old, 1, logEntry(1, old, changed)))
	f.Add(old, oldLog(old, changed))
	f.Fuzz(func(t *testing.T, data, log []byte) {
		if len(data) >= baseSize && le.Uint32(data[baseChecksum:]) != 0 && len(log) == 0 {
			seal(data) // or nothing behind it is ever read
		}
		h, err := Read("fuzz", data, Log{"log", log})
		if err != nil {
			var e *Error
			require.ErrorAs(t, err, &e)
			return
		}
		out, err := h.Encode()
		require.NoError(t, err)
		again, err := Read("again", out)
		require.NoError(t, err)
		inherited(h.Root, nil)
		inherited(again.Root, nil)
		if h.Root.Security == nil {
			return // the writer gives one
		}
		require.Equal(t, h.Root, again.Root)
	})
}

// TestAnyDamageIsAnErrorOrAHive changes each byte of a hive in turn.
func TestAnyDamageIsAnErrorOrAHive(t *testing.T) {
	whole := small(t)
	read := 0
	for at := range baseSize + 0x400 {
		if at >= sectorSize && at < baseSize {
			continue // reserved
		}
		for _, v := range []byte{0, 1, 0x7F, 0x80, 0xFF} {
			b := slices.Clone(whole)
			b[at] = v
			if at < baseChecksum || at >= baseChecksum+4 {
				seal(b)
			}
			if _, err := Read("test", b); err != nil {
				var e *Error
				require.ErrorAs(t, err, &e)
				continue
			}
			read++
		}
	}
	assert.Positive(t, read)
}
