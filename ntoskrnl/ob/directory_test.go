package ob

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

// open opens what there is.
func open(t testing.TB, m *Manager, path string, itself bool) *Object {
	t.Helper()
	o, rest, status := m.Open(path, itself)
	require.Equal(t, nt.STATUS_SUCCESS, status, path)
	require.Empty(t, rest, path)
	return o
}

func drop(t testing.TB, m *Manager, o *Object) {
	t.Helper()
	_, err := m.Dereference(o.Addr)
	require.NoError(t, err)
}

func TestDirectoriesAndLinksAreObjects(t *testing.T) {
	m := managerFor(t)
	o := open(t, m, `\device`, false)
	assert.Equal(t, "Directory", o.Type.Name)
	assert.Equal(t, `\Device`, m.Path(o))
	assert.Same(t, o, open(t, m, `\DEVICE`, false), "each open gives the same object")
	assert.Same(t, open(t, m, `\??`, false), open(t, m, `\GLOBAL??`, false))
	assert.Equal(t, "SymbolicLink", open(t, m, `\??`, true).Type.Name)
	assert.Equal(t, `\`, m.Path(open(t, m, `\`, false)))

	require.Equal(t, nt.STATUS_SUCCESS, m.CreateLink(`\??\Echo`, `\Device\Echo`))
	l := open(t, m, `\??\Echo`, true)
	target, ok := m.Target(l)
	assert.True(t, ok)
	assert.Equal(t, `\Device\Echo`, target)
	_, _, status := m.Open(`\??\Echo`, false)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status, "the target is not there")
	require.Equal(t, nt.STATUS_SUCCESS, m.DeleteLink(`\??\Echo`))
	assert.Empty(t, m.Path(l), "who has it open keeps a link without a name")
	drop(t, m, l)
	assert.Nil(t, m.Find(l.Addr))
}

func TestRelativeNames(t *testing.T) {
	m := managerFor(t)
	thing := create(t, m, &Type{Name: "Thing"})
	require.Equal(t, nt.STATUS_SUCCESS, m.Name(thing, `\Device\Thing`))
	device := open(t, m, `\Device`, false)
	for _, c := range []struct {
		root   *Object
		name   string
		want   string
		status nt.Status
	}{
		{nil, `\Device\Thing`, `\Device\Thing`, nt.STATUS_SUCCESS},
		{device, `Thing`, `\Device\Thing`, nt.STATUS_SUCCESS},
		{device, ``, `\Device`, nt.STATUS_SUCCESS},
		{device, `\Thing`, ``, nt.STATUS_OBJECT_PATH_SYNTAX_BAD},
		{thing, `x`, ``, nt.STATUS_OBJECT_TYPE_MISMATCH},
		{open(t, m, `\`, false), `Device`, `\Device`, nt.STATUS_SUCCESS},
	} {
		got, status := m.Join(c.root, c.name)
		assert.Equal(t, c.status, status, c.name)
		assert.Equal(t, c.want, got, c.name)
	}
}

func TestTemporaryNameGoesWithTheLastHandle(t *testing.T) {
	m := managerFor(t)
	h := m.NewHandleTable()
	for name, make := range map[string]func() *Object{
		`\BaseNamedObjects\Thing`: func() *Object {
			o := create(t, m, &Type{Name: "Thing"})
			require.Equal(t, nt.STATUS_SUCCESS, m.Insert(o, `\BaseNamedObjects\Thing`, false))
			return o
		},
		`\Own`: func() *Object {
			o, status := m.CreateDirectory(`\Own`, false)
			require.Equal(t, nt.STATUS_SUCCESS, status)
			return o
		},
		`\GLOBAL??\Link`: func() *Object {
			o, status := m.CreateLinkObject(`\GLOBAL??\Link`, `\Device\X`, false)
			require.Equal(t, nt.STATUS_SUCCESS, status)
			return o
		},
	} {
		o := make()
		first := add(t, h, o)
		drop(t, m, o)
		again := open(t, m, name, true)
		assert.Same(t, o, again)
		second := add(t, h, again)
		drop(t, m, again)
		closeHandle(t, h, first)
		assert.Equal(t, name, m.Path(o))
		closeHandle(t, h, second)
		_, _, status := m.Open(name, true)
		assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status, name)
		assert.Nil(t, m.Find(o.Addr), name)
	}
}

func TestPermanentNameStays(t *testing.T) {
	m := managerFor(t)
	h := m.NewHandleTable()
	var gone []string
	m.LinkGone = func(path string) { gone = append(gone, path) }
	require.Equal(t, nt.STATUS_SUCCESS, m.CreateLink(`\??\Echo`, `\Device\Echo`))
	l := open(t, m, `\??\Echo`, true)
	v := add(t, h, l)
	drop(t, m, l)
	closeHandle(t, h, v)

	l = open(t, m, `\??\Echo`, true)
	v = add(t, h, l)
	require.Equal(t, nt.STATUS_SUCCESS, m.MakeTemporary(l))
	drop(t, m, l)
	assert.Empty(t, gone)
	closeHandle(t, h, v)
	assert.Equal(t, []string{`\GLOBAL??\Echo`}, gone)

	o, status := m.CreateDirectory(`\Own`, true)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, m.MakeTemporary(o))
	assert.Empty(t, m.Path(o), "it has no handle")
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, m.MakeTemporary(open(t, m, `\??`, true)))
}

func TestNamesThatAreTaken(t *testing.T) {
	m := managerFor(t)
	thing := create(t, m, &Type{Name: "Thing"})
	_, status := m.CreateDirectory(`\DEVICE`, true)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_COLLISION, status)
	_, status = m.CreateLinkObject(`\Device`, `\x`, true)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_COLLISION, status)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_COLLISION, m.Insert(thing, `\Device`, true))
	assert.Equal(t, nt.STATUS_OBJECT_PATH_NOT_FOUND, m.Insert(thing, `\No\Way`, true))
	assert.EqualValues(t, 1, m.References(thing))
}

func TestEntriesOfADirectory(t *testing.T) {
	m := managerFor(t)
	require.Equal(t, nt.STATUS_SUCCESS, m.Name(create(t, m, &Type{Name: "Thing"}), `\Device\b`))
	_, status := m.CreateDirectory(`\Device\C`, true)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, m.CreateLink(`\Device\A`, `\x`))
	device := open(t, m, `\Device`, false)
	entries, ok := m.Entries(device)
	assert.True(t, ok)
	assert.Equal(t, []EntryInfo{{"A", "SymbolicLink"}, {"b", "Thing"}, {"C", "Directory"}}, entries)
	_, ok = m.Entries(open(t, m, `\Device\b`, false))
	assert.False(t, ok)
}

func TestTypesAreObjects(t *testing.T) {
	m := managerFor(t)
	typ := &Type{Name: "Thing", Valid: 0x1F0003, Mapping: nt.GenericMapping{GenericRead: 0x20001,
		GenericWrite: 0x20002, GenericExecute: 0x120000, GenericAll: 0x1F0003}}
	require.NoError(t, m.AddType(typ))
	o := create(t, m, typ)
	assert.Same(t, typ, m.TypeAt(typ.Addr()))
	assert.Nil(t, m.TypeAt(o.Addr))
	assert.Equal(t, `\ObjectTypes\Thing`, m.Path(m.Find(typ.Addr())))
	for desired, want := range map[uint32]uint32{
		nt.GENERIC_READ:              0x20001,
		nt.GENERIC_ALL:               0x1F0003,
		nt.MAXIMUM_ALLOWED:           0x1F0003,
		1 | 0x80:                     1,
		nt.ACCESS_SYSTEM_SECURITY:    nt.ACCESS_SYSTEM_SECURITY,
		nt.GENERIC_WRITE | nt.DELETE: 0x20002 | nt.DELETE,
	} {
		assert.Equal(t, want, typ.Access(desired), "%#x", desired)
	}
}
