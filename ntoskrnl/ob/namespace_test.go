package ob

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestLookup(t *testing.T) {
	m := managerFor(t)
	device := create(t, m, &Type{Name: "Device"})
	require.Equal(t, nt.STATUS_SUCCESS, m.Name(device, `\Device\Echo`))
	for link, target := range map[string]string{
		`\DosDevices\Echo`:       `\Device\Echo`,
		`\??\Sub`:                `\Device\Echo\sub`,
		`\GLOBAL??\Chain`:        `\DosDevices\Echo`,
		`\DosDevices\Global\Glo`: `\Device\Echo`,
		`\DosDevices\Loop`:       `\DosDevices\Loop`,
		`\DosDevices\LoopA`:      `\DosDevices\LoopB\x`,
		`\DosDevices\LoopB`:      `\DosDevices\LoopA\y`,
		`\DosDevices\Dangling`:   `\Device\None`,
		`\DosDevices\Nowhere`:    `relative`,
		`\DosDevices\Dir`:        `\Device`,
	} {
		require.Equal(t, nt.STATUS_SUCCESS, m.CreateLink(link, target), link)
	}
	for path, want := range map[string]struct {
		rest   string
		status nt.Status
	}{
		`\Device\Echo`:                 {"", 0},
		`\device\ECHO`:                 {"", 0},
		`\Device\Echo\a\b`:             {`\a\b`, 0},
		`\Device\Echo\`:                {`\`, 0},
		`\Device\Echo\\`:               {`\\`, 0},
		`\DosDevices\Echo`:             {"", 0},
		`\??\echo`:                     {"", 0},
		`\GLOBAL??\Echo\x`:             {`\x`, 0},
		`\??\Sub`:                      {`\sub`, 0},
		`\??\Sub\more`:                 {`\sub\more`, 0},
		`\??\Chain\x`:                  {`\x`, 0},
		`\??\Global\Echo`:              {"", 0},
		`\??\Glo`:                      {"", 0},
		`\??\GLOBALROOT\Device\Echo\x`: {`\x`, 0},
		`\??\Dir\Echo`:                 {"", 0},
		`\Device\None`:                 {"", nt.STATUS_OBJECT_NAME_NOT_FOUND},
		`\None\Echo`:                   {"", nt.STATUS_OBJECT_PATH_NOT_FOUND},
		`\Device\None\Echo`:            {"", nt.STATUS_OBJECT_PATH_NOT_FOUND},
		`\??\Dangling`:                 {"", nt.STATUS_OBJECT_NAME_NOT_FOUND},
		`\??\Loop`:                     {"", nt.STATUS_OBJECT_NAME_INVALID},
		`\??\LoopA`:                    {"", nt.STATUS_OBJECT_NAME_INVALID},
		`\??\Nowhere`:                  {"", nt.STATUS_OBJECT_PATH_SYNTAX_BAD},
		`Device\Echo`:                  {"", nt.STATUS_OBJECT_PATH_SYNTAX_BAD},
		``:                             {"", nt.STATUS_OBJECT_PATH_SYNTAX_BAD},
		`\\Device`:                     {"", nt.STATUS_OBJECT_NAME_INVALID},
		`\Device\`:                     {"", nt.STATUS_OBJECT_NAME_INVALID},
		`\Device`:                      {"", nt.STATUS_OBJECT_TYPE_MISMATCH},
		`\`:                            {"", nt.STATUS_OBJECT_TYPE_MISMATCH},
		`\??\Dir`:                      {"", nt.STATUS_OBJECT_TYPE_MISMATCH},
	} {
		o, rest, status := m.Lookup(path)
		assert.Equal(t, want.status, status, path)
		if status == nt.STATUS_SUCCESS {
			assert.Same(t, device, o, path)
		} else {
			assert.Nil(t, o, path)
		}
		assert.Equal(t, want.rest, rest, path)
	}
}

func TestNamesInTheirPlaces(t *testing.T) {
	m := managerFor(t)
	device := &Type{Name: "Device"}
	o := create(t, m, device)
	require.Equal(t, nt.STATUS_SUCCESS, m.Name(o, `\Device\Echo`))
	assert.Equal(t, `\Device\Echo`, m.Path(o))
	for path, want := range map[string]nt.Status{
		`\Device\ECHO`:            nt.STATUS_OBJECT_NAME_COLLISION,
		`\Device`:                 nt.STATUS_OBJECT_NAME_COLLISION,
		`\??`:                     nt.STATUS_OBJECT_NAME_COLLISION,
		`\None\Echo`:              nt.STATUS_OBJECT_PATH_NOT_FOUND,
		`\Device\Echo\Below`:      nt.STATUS_OBJECT_PATH_NOT_FOUND,
		`Device\Other`:            nt.STATUS_OBJECT_PATH_SYNTAX_BAD,
		`\Device\`:                nt.STATUS_OBJECT_NAME_INVALID,
		`\DosDevices\Other`:       nt.STATUS_SUCCESS,
		`\DosDevices\Global\More`: nt.STATUS_SUCCESS,
	} {
		other := create(t, m, device)
		assert.Equal(t, want, m.Name(other, path), path)
	}
	_, _, status := m.Lookup(`\GLOBAL??\More`)
	assert.Equal(t, nt.STATUS_SUCCESS, status)
	m.Unname(o)
	assert.Equal(t, "", m.Path(o))
	_, _, status = m.Lookup(`\Device\Echo`)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status)
	m.Unname(o)
	assert.Equal(t, nt.STATUS_SUCCESS, m.Name(o, `\Device\Echo`), "the name is free again")
}

func TestLinksAreMadeAndDeleted(t *testing.T) {
	m := managerFor(t)
	require.Equal(t, nt.STATUS_SUCCESS, m.CreateLink(`\DosDevices\B`, `\Device\B`))
	require.Equal(t, nt.STATUS_SUCCESS, m.CreateLink(`\??\A`, `\Device\A`))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_COLLISION, m.CreateLink(`\GLOBAL??\a`, `\Device\A`))
	assert.Equal(t, []LinkInfo{{`\GLOBAL??\A`, `\Device\A`}, {`\GLOBAL??\B`, `\Device\B`}},
		m.Links(`\GLOBAL??`), "without the manager's own")
	assert.Empty(t, m.Links(`\None`))
	for path, want := range map[string]nt.Status{
		`\DosDevices\None`:   nt.STATUS_OBJECT_NAME_NOT_FOUND,
		`\None\A`:            nt.STATUS_OBJECT_PATH_NOT_FOUND,
		`\Device`:            nt.STATUS_OBJECT_TYPE_MISMATCH,
		`\??`:                nt.STATUS_ACCESS_DENIED,
		`\DosDevices\Global`: nt.STATUS_ACCESS_DENIED,
		`\DosDevices\a`:      nt.STATUS_SUCCESS,
		`\GLOBAL??\B`:        nt.STATUS_SUCCESS,
	} {
		assert.Equal(t, want, m.DeleteLink(path), path)
	}
	assert.Empty(t, m.Links(`\GLOBAL??`))
}

func TestReferences(t *testing.T) {
	m := managerFor(t)
	gone := 0
	typ := &Type{Name: "Thing", Delete: func(*Object) { gone++ }}
	o := create(t, m, typ)
	assert.EqualValues(t, 1, m.References(o))
	assert.True(t, m.Reference(o.Addr))
	left, err := m.Dereference(o.Addr)
	require.NoError(t, err)
	assert.EqualValues(t, 1, left)
	assert.Zero(t, gone)
	left, err = m.Dereference(o.Addr)
	require.NoError(t, err)
	assert.Zero(t, left)
	assert.Equal(t, 1, gone)
	assert.Nil(t, m.Find(o.Addr))
	assert.False(t, m.Reference(o.Addr))
	_, err = m.Dereference(o.Addr)
	var ref *RefError
	require.ErrorAs(t, err, &ref)
	code, params := ref.BugCheck()
	assert.Equal(t, nt.REFERENCE_BY_POINTER, code)
	assert.Equal(t, uint64(o.Addr), params[1])
}

func TestAddressesThatAreNoObjects(t *testing.T) {
	m := managerFor(t)
	o := create(t, m, &Type{Name: "Thing"})
	for _, a := range []nt.Addr{0, 1, 0x30, o.Addr + 8, o.Addr - 8, o.Addr - headerSize,
		^nt.Addr(0), 0x8000000000000000, 0xDDDDDDDDDDDDDDDD} {
		assert.Nil(t, m.Find(a), a)
		assert.False(t, m.Reference(a), a)
	}
}

func TestAnOwnersReferenceCannotBeTaken(t *testing.T) {
	m := managerFor(t)
	o := create(t, m, &Type{Name: "Device", Owned: true})
	_, err := m.Dereference(o.Addr)
	assert.ErrorContains(t, err, "Device object, of which the caller has no reference")
	assert.Same(t, o, m.Find(o.Addr))
	require.True(t, m.Reference(o.Addr))
	assert.False(t, m.Release(o), "a driver has one more")
	assert.False(t, m.Release(o), "only once")
	assert.Same(t, o, m.Find(o.Addr))
	_, err = m.Dereference(o.Addr)
	require.NoError(t, err)
	assert.Nil(t, m.Find(o.Addr))
}

func TestLastMayKeepTheObject(t *testing.T) {
	m := managerFor(t)
	calls := 0
	o := create(t, m, &Type{Name: "File", Last: func(*Object) bool { calls++; return calls == 1 }})
	_, err := m.Dereference(o.Addr)
	require.NoError(t, err)
	assert.Same(t, o, m.Find(o.Addr))
	assert.EqualValues(t, 1, m.References(o))
	_, err = m.Dereference(o.Addr)
	require.NoError(t, err)
	assert.Nil(t, m.Find(o.Addr))
	assert.Equal(t, 2, calls)
}

func TestLookupReferenceHoldsTheObject(t *testing.T) {
	m := managerFor(t)
	o := create(t, m, &Type{Name: "Device", Owned: true})
	require.Equal(t, nt.STATUS_SUCCESS, m.Name(o, `\Device\Echo`))
	have, rest, status := m.LookupReference(`\Device\Echo\x`)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.Same(t, o, have)
	assert.Equal(t, `\x`, rest)
	assert.EqualValues(t, 2, m.References(o))
	assert.False(t, m.Release(o))
	_, err := m.Dereference(o.Addr)
	require.NoError(t, err)
	_, _, status = m.LookupReference(`\Device\Echo`)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status, "a deleted object has no name")
}

func TestMemoryOfDeletedObjectsIsOverwrittenAndUsedAgain(t *testing.T) {
	m := managerFor(t)
	typ := &Type{Name: "Thing"}
	seen := map[nt.Addr]bool{}
	again := 0
	for i := range 100 {
		o := create(t, m, typ)
		if seen[o.Addr] {
			again++
		}
		seen[o.Addr] = true
		body := make([]byte, 64)
		require.NoError(t, read(body, o.Addr))
		assert.Equal(t, make([]byte, 64), body, fmt.Sprintf("object %d is zeroed", i))
		_, err := m.Dereference(o.Addr)
		require.NoError(t, err)
		require.NoError(t, read(body, o.Addr), "it stays mapped")
		assert.EqualValues(t, 0xDD, body[0])
	}
	assert.Greater(t, again, 80)
}

func TestObjectsFromManyGoroutines(t *testing.T) {
	m := managerFor(t)
	typ := &Type{Name: "Thing"}
	done := make(chan error)
	for range 8 {
		go func() {
			for range 500 {
				o, err := m.Create(typ, 100, nil)
				if err == nil && !m.Reference(o.Addr) {
					err = fmt.Errorf("%v is lost", o.Addr)
				}
				for range 2 {
					if err == nil {
						_, err = m.Dereference(o.Addr)
					}
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		assert.NoError(t, <-done)
	}
}

func read(p []byte, a nt.Addr) error { return guest.Read(p, a) }
