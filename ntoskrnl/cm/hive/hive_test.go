package hive

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// sample is a tree with one of everything.
func sample() *cm.Tree {
	big := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i * 7 >> 3)
		}
		return b
	}
	other := slices.Clone(cm.DefaultSecurity)
	other[4] = 0x15 // as hostile as any
	return &cm.Tree{Name: "ROOT", LastWrite: 0x01D0_0000_0000_0001, Security: cm.DefaultSecurity,
		Values: []cm.Value{
			{Name: "", Type: nt.REG_SZ, Data: cm.SZ("default")},
			{Name: "Number", Type: nt.REG_DWORD, Data: cm.DWord(42)},
			{Name: "käse", Type: nt.REG_BINARY, Data: []byte{1, 2, 3}},
			{Name: "日本", Type: nt.REG_QWORD, Data: cm.QWord(1 << 63)},
			{Name: "Empty", Type: nt.REG_NONE, Data: []byte{}},
			{Name: "Odd", Type: 0xFFFF0007, Data: big(5)},
			{Name: "One cell", Type: nt.REG_BINARY, Data: big(maxCellData)},
			{Name: "Two cells", Type: nt.REG_BINARY, Data: big(maxCellData + 1)},
			{Name: "Five cells", Type: nt.REG_BINARY, Data: big(5 * maxCellData)},
		},
		Keys: []*cm.Tree{
			{Name: "alpha", Class: "Klasse 日", LastWrite: 5, Keys: []*cm.Tree{
				{Name: "Deep", LastWrite: 6, Security: other, Values: []cm.Value{
					{Name: "v", Type: nt.REG_MULTI_SZ, Data: cm.MultiSZ("a", "b")}}}}},
			{Name: "Link", Link: true, Values: []cm.Value{{Name: "SymbolicLinkValue",
				Type: nt.REG_LINK, Data: cm.Encode(`\Registry\Machine\X`, false)}}},
			{Name: "Ärger", Security: other},
			{Name: "日本"},
		}}
}

func encode(t testing.TB, root *cm.Tree) []byte {
	data, err := (&Hive{Name: `\SystemRoot\a\rather\long\path\to\config\SYSTEM`, Written: 77,
		Root: root}).Encode()
	require.NoError(t, err)
	return data
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	data := encode(t, sample())
	h, err := Read("test", data)
	require.NoError(t, err)
	assert.Equal(t, sample(), h.Root)
	assert.Equal(t, `oot\a\rather\long\path\to\config\SYSTEM`[8:], h.Name, "its last 31 characters")
	assert.EqualValues(t, 77, h.Written)
	assert.EqualValues(t, 5, h.Minor)
	assert.Zero(t, len(data)%binAlign)
	assert.False(t, dirty(data))

	empty, err := Read("test", encode(t, &cm.Tree{}))
	require.NoError(t, err)
	assert.Equal(t, &cm.Tree{Security: cm.DefaultSecurity}, empty.Root, "a root without a descriptor gets one")
}

func TestTheStandardFormat(t *testing.T) {
	data, err := (&Hive{Minor: Standard, Root: sample()}).Encode()
	require.NoError(t, err)
	assert.EqualValues(t, 3, le.Uint32(data[baseMinor:]))
	assert.Negative(t, bytes.Index(data, []byte("lh\x04\x00")))
	assert.Negative(t, bytes.Index(data, []byte("db\x02\x00")))
	leaf := bytes.Index(data, []byte("lf\x04\x00"))
	require.Positive(t, leaf)
	assert.Equal(t, "alph", string(data[leaf+8:leaf+12]), "hints are the names' beginnings")
	h, err := Read("test", data)
	require.NoError(t, err)
	assert.Equal(t, sample(), h.Root)
}

func TestWhatIsVolatileIsNotWritten(t *testing.T) {
	h, err := Read("test", encode(t, &cm.Tree{Keys: []*cm.Tree{{Name: "stays"},
		{Name: "goes", Volatile: true, Keys: []*cm.Tree{{Name: "too", Volatile: true}}}}}))
	require.NoError(t, err)
	require.Len(t, h.Root.Keys, 1)
	assert.Equal(t, "stays", h.Root.Keys[0].Name)
}

// randomTree makes a tree of some keys; same seed, same tree.
func randomTree(r *rand.Rand, depth int) *cm.Tree {
	alphabet := []rune("abcXYZ019 _-.äÉßжЯ日本😀")
	name := func(least int) string {
		var b strings.Builder
		for range least + r.IntN(14) {
			b.WriteRune(alphabet[r.IntN(len(alphabet))])
		}
		return b.String()
	}
	t := &cm.Tree{LastWrite: r.Int64()}
	if r.IntN(4) == 0 {
		t.Class = name(1)
	}
	if r.IntN(4) == 0 {
		t.Security = []byte(name(8))
	}
	seen := map[string]bool{}
	for range r.IntN(6) {
		v := cm.Value{Name: name(0), Type: r.Uint32N(14), Data: make([]byte, r.IntN(40))}
		if r.IntN(20) == 0 {
			v.Data = make([]byte, maxCellData-2+r.IntN(maxCellData*2))
		}
		for i := range v.Data {
			v.Data[i] = byte(r.Uint32())
		}
		if !seen[cm.Fold(v.Name)] {
			t.Values = append(t.Values, v)
		}
		seen[cm.Fold(v.Name)] = true
	}
	clear(seen)
	for n := r.IntN(5); depth > 0 && n > 0; n-- {
		k := randomTree(r, depth-1)
		if k.Name = name(1); !seen[cm.Fold(k.Name)] {
			t.Keys = append(t.Keys, k)
		}
		seen[cm.Fold(k.Name)] = true
	}
	slices.SortFunc(t.Keys, func(a, b *cm.Tree) int { return strings.Compare(cm.Fold(a.Name), cm.Fold(b.Name)) })
	return t
}

// inherited gives nil to keys that have the descriptor of the key above: that is how it is read.
func inherited(t *cm.Tree, above []byte) {
	if t.Security == nil {
		t.Security = above
	}
	for _, k := range t.Keys {
		inherited(k, t.Security)
	}
	if bytes.Equal(t.Security, above) {
		t.Security = nil
	}
}

func TestRandomTreesComeBack(t *testing.T) {
	for seed := range uint64(30) {
		tree := randomTree(rand.New(rand.NewPCG(seed, 1)), 5)
		if tree.Security == nil {
			tree.Security = cm.DefaultSecurity
		}
		h, err := Read("test", encode(t, tree))
		require.NoError(t, err, seed)
		inherited(tree, nil)
		require.Equal(t, tree, h.Root, seed)
	}
}

func TestManySubkeysHaveALayerOfLists(t *testing.T) {
	tree := &cm.Tree{Security: cm.DefaultSecurity}
	for i := range 2*maxLeaf + 1 {
		tree.Keys = append(tree.Keys, &cm.Tree{Name: fmt.Sprintf("key %05d", i)})
	}
	data := encode(t, tree)
	assert.Positive(t, bytes.Index(data, []byte("ri\x03\x00")))
	h, err := Read("test", data)
	require.NoError(t, err)
	assert.Equal(t, tree, h.Root)
}

func TestWhatNoHiveHolds(t *testing.T) {
	deep := &cm.Tree{}
	for at, i := deep, 0; i < cm.MaxDepth; i++ {
		at.Keys = []*cm.Tree{{Name: "k"}}
		at = at.Keys[0]
	}
	for name, tree := range map[string]*cm.Tree{
		"a long key":    {Keys: []*cm.Tree{{Name: strings.Repeat("ж", 256)}}},
		"no name":       {Keys: []*cm.Tree{{}}},
		"a long class":  {Class: strings.Repeat("c", 40000)},
		"a long value":  {Values: []cm.Value{{Name: strings.Repeat("ж", 16384)}}},
		"too deep":      deep,
		"much security": {Security: make([]byte, maxSecurity+1)},
	} {
		_, err := (&Hive{Root: tree}).Encode()
		assert.Error(t, err, name)
	}
	deep.Keys = deep.Keys[0].Keys
	h, err := Read("test", encode(t, deep))
	require.NoError(t, err, "one less")
	assert.NotNil(t, h.Root)
	large := &Hive{Root: &cm.Tree{Values: []cm.Value{{Data: make([]byte, 100000)}}}}
	_, err = large.encode(100000)
	assert.ErrorIs(t, err, ErrTooLarge)
}

func TestMarvin(t *testing.T) {
	for text, want := range map[string]uint32{"": 0xb00892ac, "h": 0xf41a608e, "he": 0x11107c6b,
		"hel": 0x24056a46, "hell": 0x7f91e021, "hello, world!": 0x00c18515} {
		h := marvin([]byte(text))
		assert.Equal(t, want, uint32(h)^uint32(h>>32), text)
	}
}

func TestChecksumIsNeverZeroOrAllOnes(t *testing.T) {
	base := make([]byte, baseSize)
	assert.EqualValues(t, 1, checksum(base))
	le.PutUint32(base, ^uint32(0))
	assert.EqualValues(t, 0xFFFFFFFE, checksum(base))
	le.PutUint32(base, 0x12345678)
	assert.EqualValues(t, 0x12345678, checksum(base))
}

func TestOpenFindsTheLogs(t *testing.T) {
	old, whole := twoStates(t)
	path := filepath.Join(t.TempDir(), "SYSTEM")
	le.PutUint32(old[basePrimary:], 2)
	require.NoError(t, os.WriteFile(path, seal(old), 0o600))
	_, err := Open(path)
	require.ErrorContains(t, err, "there is no transaction log")
	log := newLog(old, 1, logEntry(1, old, whole))
	require.NoError(t, os.WriteFile(path+".LOG2", log, 0o600))
	h, err := Open(path)
	require.NoError(t, err)
	assert.Equal(t, 1, h.Recovered)
	assert.NotNil(t, h.Root.Key("New"))
	_, err = Open(path + ".none")
	assert.ErrorIs(t, err, os.ErrNotExist)
}
