package cm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

const treeKey = `\Registry\Machine\T`

// treeOf gives what a registry has below a key that is made of edits.
func treeOf(t *testing.T, text string) (*Registry, *Key) {
	r := New()
	edits, err := Parse("test", strings.NewReader("REGEDIT4\n[HKEY_LOCAL_MACHINE\\T]\n"+text))
	require.NoError(t, err)
	require.NoError(t, r.Do(edits))
	k, status := r.Open(nil, treeKey, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	return r, k
}

// told gives what OnChange of the registry is told from now on.
func told(r *Registry) *[]string {
	var all []string
	r.OnChange = func(c Change) nt.Status {
		all = append(all, c.Op.String()+" "+strings.TrimPrefix(Fold(c.Key), Fold(treeKey))+" "+c.Name)
		return nt.STATUS_SUCCESS
	}
	return &all
}

func dw(name string, v uint32) Value { return Value{name, nt.REG_DWORD, DWord(v)} }

func TestMergeKeepsWhatIsThere(t *testing.T) {
	r, k := treeOf(t, "\"a\"=dword:1\n\"b\"=dword:2\n[HKEY_LOCAL_MACHINE\\T\\Old]\n\"x\"=dword:1\n")
	changes := told(r)
	require.Equal(t, nt.STATUS_SUCCESS, k.Merge(&Tree{Values: []Value{dw("A", 9), dw("b", 2)},
		Keys: []*Tree{{Name: "New", Class: "c"}, {Name: "OLD", Values: []Value{dw("y", 3)}},
			{Name: "Link", Link: true, Values: []Value{{"SymbolicLinkValue", nt.REG_LINK,
				Encode(treeKey, false)}}}}}))
	assert.Equal(t, []string{"set-value  a", `create-key \NEW `, `set-value \OLD y`, `create-key \LINK `,
		`set-value \LINK SymbolicLinkValue`}, *changes)
	got, _ := k.Tree()
	require.Len(t, got.Keys, 3)
	assert.Equal(t, "c", got.Key("new").Class)
	assert.Len(t, got.Key("old").Values, 2)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_COLLISION, k.Merge(&Tree{Keys: []*Tree{{Name: "Link"}}}))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_COLLISION,
		k.Merge(&Tree{Keys: []*Tree{{Name: "Old", Link: true}}}))
}

func TestRestoreLeavesNothingElse(t *testing.T) {
	r, k := treeOf(t, "\"a\"=dword:1\n\"b\"=dword:2\n[HKEY_LOCAL_MACHINE\\T\\Old\\Deep]\n"+
		"[HKEY_LOCAL_MACHINE\\T\\Same]\n\"x\"=dword:1\n")
	_, _, status := r.Create(k, "Volatile", CreateOptions{Volatile: true})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, k.SetSecurity([]byte("own")))
	want := &Tree{Name: "T", Values: []Value{dw("b", 2), dw("c", 3)}, Keys: []*Tree{
		{Name: "Link", Link: true, Values: []Value{{"SymbolicLinkValue", nt.REG_LINK,
			Encode(treeKey, false)}}},
		{Name: "Old", Class: "other"}, {Name: "Same", Values: []Value{dw("x", 1)}},
		{Name: "Volatile"}}} // it is to stay
	changes := told(r)
	require.Equal(t, nt.STATUS_SUCCESS, k.Restore(want))
	got, _ := k.Tree()
	assert.True(t, Equal(want, got), "%+v", got)
	for _, c := range *changes {
		assert.NotContains(t, c, "SAME", "what is the same is not touched")
	}
	*changes = nil
	require.Equal(t, nt.STATUS_SUCCESS, k.Restore(want))
	assert.Empty(t, *changes)

	deep := &Tree{}
	for at, i := deep, 0; i < MaxDepth; i++ {
		at.Keys = []*Tree{{Name: "k"}}
		at = at.Keys[0]
	}
	assert.Equal(t, nt.STATUS_NAME_TOO_LONG, k.Restore(deep))
	assert.Empty(t, *changes, "nothing is done of what cannot be done")
	r.OnChange = func(Change) nt.Status { return nt.STATUS_ACCESS_DENIED }
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, k.Restore(&Tree{}))
	r.OnChange = nil
	require.Equal(t, nt.STATUS_SUCCESS, k.DeleteTree())
	_, status = k.Tree()
	assert.Equal(t, nt.STATUS_KEY_DELETED, status)
	assert.Equal(t, nt.STATUS_KEY_DELETED, k.Merge(want))
}

func TestBelowAVolatileKeyAllIsVolatile(t *testing.T) {
	r, k := treeOf(t, "")
	v, _, status := r.Create(k, "V", CreateOptions{Volatile: true})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, v.Merge(&Tree{Keys: []*Tree{{Name: "a",
		Keys: []*Tree{{Name: "b"}}}}}))
	got, _ := k.Tree()
	assert.True(t, got.Keys[0].Keys[0].Keys[0].Volatile)
	assert.Empty(t, got.Stable().Keys)
	plain := got.Plain(true)
	assert.False(t, plain.Keys[0].Keys[0].Volatile)
	assert.Empty(t, got.Plain(false).Keys)
}

func TestEqualTrees(t *testing.T) {
	make := func() *Tree {
		return &Tree{Class: "c", Values: []Value{dw("a", 1), dw("b", 2)},
			Keys: []*Tree{{Name: "k", Security: []byte("s")}}}
	}
	for name, change := range map[string]func(*Tree){
		"class":    func(t *Tree) { t.Class = "" },
		"link":     func(t *Tree) { t.Link = true },
		"volatile": func(t *Tree) { t.Keys[0].Volatile = true },
		"security": func(t *Tree) { t.Keys[0].Security = nil },
		"data":     func(t *Tree) { t.Values[1] = dw("b", 3) },
		"type":     func(t *Tree) { t.Values[1].Type = nt.REG_BINARY },
		"fewer":    func(t *Tree) { t.Values = t.Values[:1] },
		"more":     func(t *Tree) { t.Values = append(t.Values, dw("c", 1)) },
		"spelling": func(t *Tree) { t.Keys[0].Name = "K" },
		"no key":   func(t *Tree) { t.Keys = nil },
	} {
		other := make()
		change(other)
		assert.False(t, Equal(make(), other), name)
		assert.False(t, Equal(other, make()), name)
	}
	other := make()
	other.Name, other.LastWrite = "other", 7
	other.Values[0], other.Values[1] = other.Values[1], other.Values[0]
	assert.True(t, Equal(make(), other))
}

func TestEffectiveSecurityIsInherited(t *testing.T) {
	r, k := treeOf(t, "[HKEY_LOCAL_MACHINE\\T\\a\\b]\n")
	b, status := r.Open(k, `a\b`, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	got, _ := b.EffectiveSecurity()
	assert.Equal(t, DefaultSecurity, got)
	d, err := nt.ParseDescriptor(DefaultSecurity)
	require.NoError(t, err)
	assert.Equal(t, []string{"S-1-5-32-544", "S-1-5-18"}, []string{d.Owner.String(), d.Group.String()})
	require.Len(t, d.DACL, 3)
	assert.Equal(t, []uint32{nt.KEY_ALL_ACCESS, nt.KEY_ALL_ACCESS, nt.KEY_READ},
		[]uint32{d.DACL[0].Mask, d.DACL[1].Mask, d.DACL[2].Mask})
	require.Equal(t, nt.STATUS_SUCCESS, k.SetSecurity([]byte("top")))
	got, _ = b.EffectiveSecurity()
	assert.Equal(t, "top", string(got))
	require.Equal(t, nt.STATUS_SUCCESS, b.Delete())
	_, status = b.EffectiveSecurity()
	assert.Equal(t, nt.STATUS_KEY_DELETED, status)
	assert.Equal(t, nt.STATUS_KEY_DELETED, b.SetWritten(1))
	require.Equal(t, nt.STATUS_SUCCESS, k.SetWritten(42))
	info, _ := k.Info()
	assert.EqualValues(t, 42, info.LastWrite)
}

func TestCompareTellsWhatDiffers(t *testing.T) {
	a := &Tree{Values: []Value{dw("same", 1), dw("differs", 1), dw("first", 1)},
		Keys: []*Tree{{Name: "both", Values: []Value{dw("x", 1)}}, {Name: "one"}}}
	b := &Tree{Values: []Value{dw("second", 1), dw("DIFFERS", 2), dw("Same", 1)},
		Keys: []*Tree{{Name: "Both", Values: []Value{dw("x", 2)}}, {Name: "two"}}}
	var got []string
	show := func(v *Value) string {
		if v == nil {
			return "-"
		}
		return v.Name
	}
	tell := func(d Difference) {
		what := strings.Join(d.Path, `\`)
		if d.Value {
			what += ":" + show(d.First) + "/" + show(d.Second)
		}
		got = append(got, what+map[bool]string{true: " !"}[d.IsDifferent]+
			[]string{"", " 1", " 2"}[d.OnlyIn])
	}
	assert.False(t, Compare(a, b, true, tell))
	assert.Equal(t, []string{":same/Same", ":differs/DIFFERS !", ":first/- !", ":-/second !", "both",
		"both:x/x !", "one ! 1", "two ! 2"}, got)
	got = nil
	assert.False(t, Compare(a, b, false, tell))
	assert.Len(t, got, 4)
	assert.True(t, Compare(a, a, true, tell))
}
