package cm

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

const software = `\Registry\Machine\Software`

func newTree(t *testing.T) *Registry {
	t.Helper()
	r := New()
	_, created, status := r.Create(nil, software, CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.True(t, created)
	return r
}

func open(t *testing.T, r *Registry, path string) *Key {
	t.Helper()
	k, status := r.Open(nil, path, false)
	require.Equal(t, nt.STATUS_SUCCESS, status, path)
	return k
}

func TestPaths(t *testing.T) {
	r := newTree(t)
	_, _, status := r.Create(nil, software+`\Ab`, CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	from := open(t, r, software)
	for _, c := range []struct {
		name string
		from *Key
		path string
		want nt.Status
	}{
		{"case does not count", nil, `\REGISTRY\machine\sOFTWARE\aB`, nt.STATUS_SUCCESS},
		{"nor does a backslash at the end", nil, software + `\Ab\`, nt.STATUS_SUCCESS},
		{"an empty name does", nil, software + `\\Ab`, nt.STATUS_OBJECT_NAME_INVALID},
		{"a path is full", nil, `Registry\Machine`, nt.STATUS_OBJECT_PATH_SYNTAX_BAD},
		{"or below a key", from, `Ab`, nt.STATUS_SUCCESS},
		{"or the key itself", from, ``, nt.STATUS_SUCCESS},
		{"and not both", from, `\Registry`, nt.STATUS_OBJECT_PATH_SYNTAX_BAD},
		{"what is not there is not found", nil, software + `\X\Y`, nt.STATUS_OBJECT_NAME_NOT_FOUND},
		{"other roots are not here", nil, `\Device`, nt.STATUS_OBJECT_NAME_NOT_FOUND},
		{"a name may have 255 characters", nil, software + `\` + strings.Repeat("é", 255),
			nt.STATUS_OBJECT_NAME_NOT_FOUND},
		{"and not 256", nil, software + `\` + strings.Repeat("é", 256), nt.STATUS_OBJECT_NAME_INVALID},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, status := r.Open(c.from, c.path, false)
			assert.Equal(t, c.want, status)
		})
	}
	assert.Equal(t, `\REGISTRY\MACHINE\Software\Ab`, open(t, r, software+`\ab`).Path())
}

func TestCreate(t *testing.T) {
	r := newTree(t)
	_, _, status := r.Create(nil, software+`\v`, CreateOptions{Volatile: true})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	for _, c := range []struct {
		name string
		path string
		opts CreateOptions
		want nt.Status
	}{
		{"below what is not there", software + `\a\b`, CreateOptions{}, nt.STATUS_OBJECT_NAME_NOT_FOUND},
		{"with its parents", software + `\a\b`, CreateOptions{Parents: true}, nt.STATUS_SUCCESS},
		{"stable below volatile", software + `\v\s`, CreateOptions{}, nt.STATUS_CHILD_MUST_BE_VOLATILE},
		{"volatile below volatile", software + `\v\w`, CreateOptions{Volatile: true}, nt.STATUS_SUCCESS},
		{"below the root", `\Registry\X`, CreateOptions{}, nt.STATUS_ACCESS_DENIED},
		{"a link over a key", software + `\a`, CreateOptions{Link: true},
			nt.STATUS_OBJECT_NAME_COLLISION},
		{"too deep", software + strings.Repeat(`\d`, MaxDepth), CreateOptions{Parents: true},
			nt.STATUS_NAME_TOO_LONG},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, status := r.Create(nil, c.path, c.opts)
			assert.Equal(t, c.want, status)
		})
	}
}

func TestDelete(t *testing.T) {
	r := newTree(t)
	k, _, _ := r.Create(nil, software+`\a\b`, CreateOptions{Parents: true})
	a := open(t, r, software+`\a`)
	assert.Equal(t, nt.STATUS_CANNOT_DELETE, a.Delete())
	assert.Equal(t, nt.STATUS_CANNOT_DELETE, open(t, r, `\Registry\Machine`).Delete())
	require.Equal(t, nt.STATUS_SUCCESS, k.Set("x", nt.REG_DWORD, DWord(1)))
	assert.Equal(t, nt.STATUS_SUCCESS, k.Delete())
	assert.Equal(t, nt.STATUS_KEY_DELETED, k.Delete())
	_, status := k.Value("x")
	assert.Equal(t, nt.STATUS_KEY_DELETED, status)
	_, status = r.Open(k, "", false)
	assert.Equal(t, nt.STATUS_KEY_DELETED, status)
	_, _, _ = r.Create(nil, software+`\a\c\d`, CreateOptions{Parents: true})
	assert.Equal(t, nt.STATUS_SUCCESS, a.DeleteTree())
	_, status = r.Open(nil, software+`\a`, false)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status)
}

func TestValues(t *testing.T) {
	r := newTree(t)
	k := open(t, r, software)
	data := []byte{1, 2, 3}
	require.Equal(t, nt.STATUS_SUCCESS, k.Set("Second", nt.REG_BINARY, data))
	require.Equal(t, nt.STATUS_SUCCESS, k.Set("", nt.REG_SZ, SZ("default")))
	data[0] = 9
	v, status := k.Value("SECOND")
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.Equal(t, Value{"Second", nt.REG_BINARY, []byte{1, 2, 3}}, v, "data is copied")
	require.Equal(t, nt.STATUS_SUCCESS, k.Set("second", nt.REG_DWORD, DWord(7)))
	v, _ = k.ValueAt(0)
	assert.Equal(t, "Second", v.Name, "a value keeps its place and its spelling")
	n, ok := v.Number()
	assert.True(t, ok)
	assert.EqualValues(t, 7, n)
	_, status = k.ValueAt(2)
	assert.Equal(t, nt.STATUS_NO_MORE_ENTRIES, status)
	info, _ := k.Info()
	assert.Equal(t, 2, info.Values)
	assert.Equal(t, 12, info.MaxValueName)
	assert.Equal(t, 16, info.MaxData)
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, k.Set(strings.Repeat("x", MaxValueName+1), 1, nil))
	assert.Equal(t, nt.STATUS_SUCCESS, k.DeleteValue("SECOND"))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, k.DeleteValue("SECOND"))
}

func TestLinks(t *testing.T) {
	r := newTree(t)
	_, _, _ = r.Create(nil, software+`\to\below`, CreateOptions{Parents: true})
	l, _, status := r.Create(nil, software+`\link`, CreateOptions{Link: true})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	_, status = r.Open(nil, software+`\link`, false)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status, "it leads nowhere yet")
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, l.Set("x", nt.REG_SZ, nil))
	target := Encode(software+`\to`, false)
	require.Equal(t, nt.STATUS_SUCCESS, l.Set("SymbolicLinkValue", nt.REG_LINK, target))
	assert.Equal(t, `\REGISTRY\MACHINE\Software\to\below`, open(t, r, software+`\link\below`).Path())
	itself, status := r.Open(nil, software+`\link`, true)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.True(t, itself.Same(l))
	require.Equal(t, nt.STATUS_SUCCESS,
		l.Set("SymbolicLinkValue", nt.REG_LINK, Encode(software+`\link`, false)))
	_, status = r.Open(nil, software+`\link\below`, false)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status, "a circle ends")
}

func TestWatches(t *testing.T) {
	r := newTree(t)
	k, _, _ := r.Create(nil, software+`\a`, CreateOptions{})
	for _, c := range []struct {
		name   string
		filter uint32
		tree   bool
		do     func()
		want   bool
	}{
		{"a value of the key", nt.REG_NOTIFY_CHANGE_LAST_SET, false,
			func() { open(t, r, software).Set("v", 1, nil) }, true},
		{"another kind", nt.REG_NOTIFY_CHANGE_NAME, false,
			func() { open(t, r, software).Set("v", 1, nil) }, false},
		{"below, without tree", nt.REG_NOTIFY_CHANGE_LAST_SET, false, func() { k.Set("v", 1, nil) }, false},
		{"below, with tree", nt.REG_NOTIFY_CHANGE_LAST_SET, true, func() { k.Set("v", 1, nil) }, true},
		{"a new subkey", nt.REG_NOTIFY_CHANGE_NAME, false,
			func() { r.Create(nil, software+`\new`, CreateOptions{}) }, true},
		{"security", nt.REG_NOTIFY_CHANGE_SECURITY, false,
			func() { open(t, r, software).SetSecurity([]byte{1}) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			called := 0
			at := open(t, r, software)
			w, status := at.Watch(c.filter, c.tree, func() { called++ })
			require.Equal(t, nt.STATUS_SUCCESS, status)
			c.do()
			c.do()
			assert.Equal(t, c.want, called == 1)
			assert.Equal(t, !c.want, at.Unwatch(w))
		})
	}
	called := false
	_, status := k.Watch(nt.REG_NOTIFY_CHANGE_SECURITY, false, func() { called = true })
	require.Equal(t, nt.STATUS_SUCCESS, status)
	k.Delete()
	assert.True(t, called, "the key's end is told whatever the filter")
	_, status = open(t, r, software).Watch(0, false, func() {})
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, status)
}

func TestChangesMakeTheSameTreeElsewhere(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { copyScrambled(t, seed) })
	}
}

// copyScrambled does random things to a registry, and each change to another one.
func copyScrambled(t *testing.T, seed uint64) {
	from, to := New(), New()
	from.OnChange = func(c Change) nt.Status {
		assert.Equal(t, nt.STATUS_SUCCESS, to.Apply(c), "%v %s", c.Op, c.Key)
		assert.Equal(t, nt.STATUS_SUCCESS, from.check(c))
		return nt.STATUS_SUCCESS
	}
	// A key that stays: what comes below one that the first step made volatile would not be kept.
	_, _, status := from.Create(nil, software, CreateOptions{Parents: true})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	scramble(from, rand.New(rand.NewPCG(seed, 1)), 500)
	require.Equal(t, dump(from), dump(to))
	third := New()
	for c := range from.Changes {
		require.Equal(t, nt.STATUS_SUCCESS, third.Apply(c))
	}
	require.Equal(t, dump(from), dump(third))
}

// check stands for what a store would look at.
func (r *Registry) check(c Change) nt.Status {
	if c.Op.String() == "?" || !strings.HasPrefix(c.Key, `\REGISTRY\`) {
		return nt.STATUS_INTERNAL_ERROR
	}
	return nt.STATUS_SUCCESS
}

// scramble does random things.
func scramble(r *Registry, random *rand.Rand, n int) {
	name := func() string { return string(rune('a' + random.IntN(6))) }
	for range n {
		path := software
		for range random.IntN(4) {
			path += `\` + name()
		}
		k, _, status := r.Create(nil, path, CreateOptions{Parents: true, Volatile: random.IntN(9) == 0})
		if status != nt.STATUS_SUCCESS {
			continue
		}
		switch random.IntN(7) {
		case 0, 1, 2:
			k.Set(name(), uint32(random.IntN(12)), []byte(name()))
		case 3:
			k.DeleteValue(name())
		case 4:
			k.Delete()
		case 5:
			if path != software {
				k.Rename(name())
			}
		case 6:
			k.SetSecurity([]byte(name()))
		}
	}
}

func dump(r *Registry) string {
	var b strings.Builder
	for c := range r.Changes {
		fmt.Fprintf(&b, "%v %s %s %d %x %v\n", c.Op, c.Key, c.Name, c.Type, c.Data, c.Volatile)
	}
	return b.String()
}

func TestARefusedChangeIsNotDone(t *testing.T) {
	r := newTree(t)
	k := open(t, r, software)
	require.Equal(t, nt.STATUS_SUCCESS, k.Set("v", 1, nil))
	before := dump(r)
	r.OnChange = func(Change) nt.Status { return nt.STATUS_REGISTRY_IO_FAILED }
	for name, do := range map[string]func() nt.Status{
		"create": func() nt.Status {
			_, _, status := r.Create(k, "x", CreateOptions{})
			return status
		},
		"set":          func() nt.Status { return k.Set("v", 1, []byte{1}) },
		"delete value": func() nt.Status { return k.DeleteValue("v") },
		"delete":       k.Delete,
		"rename":       func() nt.Status { return k.Rename("y") },
		"security":     func() nt.Status { return k.SetSecurity(nil) },
	} {
		assert.Equal(t, nt.STATUS_REGISTRY_IO_FAILED, do(), name)
	}
	assert.Equal(t, before, dump(r))
}

func TestQuota(t *testing.T) {
	r := newTree(t)
	k := open(t, r, software)
	big := make([]byte, 64<<20)
	status := nt.STATUS_SUCCESS
	for i := 0; status == nt.STATUS_SUCCESS; i++ {
		require.Less(t, i, 5)
		status = k.Set(fmt.Sprint(i), nt.REG_BINARY, big)
	}
	assert.Equal(t, nt.STATUS_REGISTRY_QUOTA_LIMIT, status)
	require.Equal(t, nt.STATUS_SUCCESS, k.DeleteValue("0"))
	assert.Equal(t, nt.STATUS_SUCCESS, k.Set("x", nt.REG_BINARY, big))
}

func TestManyAtOnce(t *testing.T) {
	r := newTree(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			scramble(r, rand.New(rand.NewPCG(uint64(i), 0)), 300)
			if k, status := r.Open(nil, software, false); status == nt.STATUS_SUCCESS {
				k.DeleteTree()
			}
		})
	}
	all.Wait()
	k, _, status := r.Create(nil, software, CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, k.DeleteTree())
	empty := New()
	assert.Equal(t, empty.used, r.used, "what is deleted is not counted")
}

func TestInitialTree(t *testing.T) {
	r := Initial(System{Processors: 12, ComputerName: "HERE", Vendor: "GenuineIntel", MHz: 3000})
	for _, c := range []struct{ key, value, want string }{
		{`\Registry\Machine\Software\Microsoft\Windows NT\CurrentVersion`, "CurrentBuild", "19045"},
		{`\Registry\Machine\System\CurrentControlSet\Control\ComputerName\ComputerName`,
			"ComputerName", "HERE"},
		{`\Registry\Machine\Hardware\Description\System\CentralProcessor\11`, "VendorIdentifier",
			"GenuineIntel"},
	} {
		v, status := open(t, r, c.key).Value(c.value)
		require.Equal(t, nt.STATUS_SUCCESS, status)
		assert.Equal(t, c.want, v.Text())
	}
	assert.Equal(t, `\REGISTRY\MACHINE\System\ControlSet001\Services`,
		open(t, r, `\Registry\Machine\System\CurrentControlSet\Services`).Path())
}
