package ob

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// managerFor makes a manager over memory of its own.
func managerFor(t testing.TB) *Manager {
	space, err := guest.Default()
	require.NoError(t, err)
	var regions []*guest.Region
	m := New(func(size uintptr) (guest.Addr, error) {
		r, err := space.AllocSystem(size, guest.ProtRW, "objects of a test")
		if err != nil {
			return 0, err
		}
		regions = append(regions, r)
		return r.Base(), nil
	}, func(guest.Addr) {})
	t.Cleanup(func() {
		m.Close()
		for _, r := range regions {
			require.NoError(t, r.Free())
		}
	})
	return m
}

func create(t testing.TB, m *Manager, typ *Type) *Object {
	o, err := m.Create(typ, 0x20, nil)
	require.NoError(t, err)
	return o
}

func add(t testing.TB, h *HandleTable, o *Object) nt.Handle {
	v, status := h.Add(o, 3, 0)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	return v
}

// closeHandle closes a handle that is there.
func closeHandle(t testing.TB, h *HandleTable, v nt.Handle) {
	t.Helper()
	status, err := h.Close(v)
	require.NoError(t, err)
	require.Equal(t, nt.STATUS_SUCCESS, status)
}

func TestHandleHoldsItsObject(t *testing.T) {
	m := managerFor(t)
	deleted, left := 0, []int64{}
	o := create(t, m, &Type{Name: "Thing", Delete: func(*Object) { deleted++ },
		Closed: func(_ *Object, n int64) { left = append(left, n) }})
	h := m.NewHandleTable()
	first, second := add(t, h, o), add(t, h, o)
	assert.NotEqual(t, first, second)
	assert.Zero(t, first%4)
	assert.EqualValues(t, 2, o.Handles())
	assert.EqualValues(t, 3, m.References(o))
	_, err := m.Dereference(o.Addr)
	require.NoError(t, err)

	got, status := h.Reference(first)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.Equal(t, Handle{Object: o, Access: 3}, got)
	_, err = m.Dereference(o.Addr)
	require.NoError(t, err)

	closeHandle(t, h, first)
	assert.Zero(t, deleted)
	closeHandle(t, h, second|1) // the lowest bits are the owner's
	assert.Equal(t, 1, deleted)
	assert.Equal(t, []int64{1, 0}, left)
	assert.Zero(t, h.Len())
	_, status = h.Reference(first)
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, status)
}

func TestHandlesThatAreNone(t *testing.T) {
	m := managerFor(t)
	h := m.NewHandleTable()
	for _, v := range []nt.Handle{0, 1, 4, 0x1000, CurrentProcess, CurrentThread,
		KernelHandle(4), 1 << 40} {
		_, status := h.Reference(v)
		assert.Equal(t, nt.STATUS_INVALID_HANDLE, status, "%#x", v)
		status, err := h.Close(v)
		require.NoError(t, err)
		assert.Equal(t, nt.STATUS_INVALID_HANDLE, status, "%#x", v)
		assert.Equal(t, nt.STATUS_INVALID_HANDLE, h.SetAttributes(v, 0), "%#x", v)
	}
}

func TestKernelHandlesHaveTheHighBits(t *testing.T) {
	m := managerFor(t)
	v := KernelHandle(add(t, m.KernelHandles(), create(t, m, &Type{Name: "Thing"})))
	assert.Equal(t, nt.Handle(0xFFFFFFFF80000004), v)
	assert.True(t, IsKernelHandle(v))
	for _, other := range []nt.Handle{0, 4, 0x80000004, CurrentProcess, CurrentThread} {
		assert.False(t, IsKernelHandle(other), "%#x", other)
	}
	closeHandle(t, m.KernelHandles(), v)
}

func TestProtectedHandleStays(t *testing.T) {
	m := managerFor(t)
	h := m.NewHandleTable()
	v := add(t, h, create(t, m, &Type{Name: "Thing"}))
	require.Equal(t, nt.STATUS_SUCCESS, h.SetAttributes(v, OBJ_PROTECT_CLOSE))
	status, err := h.Close(v)
	require.NoError(t, err)
	assert.Equal(t, nt.STATUS_HANDLE_NOT_CLOSABLE, status)
	require.Equal(t, nt.STATUS_SUCCESS, h.SetAttributes(v, 0))
	closeHandle(t, h, v)
}

func TestClosedHandleIsNotUsedAgainSoon(t *testing.T) {
	m := managerFor(t)
	h := m.NewHandleTable()
	o := create(t, m, &Type{Name: "Thing"})
	old := add(t, h, o)
	closeHandle(t, h, old)
	for range keptHandles {
		v := add(t, h, o)
		require.NotEqual(t, old, v)
		closeHandle(t, h, v)
	}
	for range 100 {
		v := add(t, h, o)
		assert.LessOrEqual(t, v, nt.Handle(4*(keptHandles+2)), "closed handles are used again")
		closeHandle(t, h, v)
	}
}

func TestReferenceOfAHandleCannotBeStolen(t *testing.T) {
	m := managerFor(t)
	h := m.NewHandleTable()
	o := create(t, m, &Type{Name: "Thing"})
	v := add(t, h, o)
	_, err := m.Dereference(o.Addr)
	require.NoError(t, err)
	_, err = m.Dereference(o.Addr)
	var ref *RefError
	require.ErrorAs(t, err, &ref, "the handle is open")
	code, params := ref.BugCheck()
	assert.Equal(t, nt.REFERENCE_BY_POINTER, code)
	assert.EqualValues(t, o.Addr, params[1])
	closeHandle(t, h, v)
}

func TestEndOfAProcessClosesItsHandles(t *testing.T) {
	m := managerFor(t)
	h := m.NewHandleTable()
	deleted := 0
	o := create(t, m, &Type{Name: "Thing", Delete: func(*Object) { deleted++ }})
	v := add(t, h, o)
	h.SetAttributes(v, OBJ_PROTECT_CLOSE)
	add(t, h, o)
	_, err := m.Dereference(o.Addr)
	require.NoError(t, err)
	h.CloseAll()
	assert.Equal(t, 1, deleted)
	assert.Zero(t, h.Len())
}

func TestHandlesFromManyGoroutines(t *testing.T) {
	m := managerFor(t)
	h := m.NewHandleTable()
	o := create(t, m, &Type{Name: "Thing"})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				v, status := h.Add(o, 1, 0)
				assert.Equal(t, nt.STATUS_SUCCESS, status)
				got, status := h.Reference(v)
				assert.Equal(t, nt.STATUS_SUCCESS, status)
				assert.Same(t, o, got.Object)
				_, err := m.Dereference(o.Addr)
				assert.NoError(t, err)
				_, err = h.Close(v)
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, m.References(o))
	assert.Zero(t, o.Handles())
}

func TestFindHandle(t *testing.T) {
	m := managerFor(t)
	h := m.NewHandleTable()
	a, b := create(t, m, &Type{Name: "Thing"}), create(t, m, &Type{Name: "Thing"})
	add(t, h, a)
	v := add(t, h, b)
	got, ok := h.Find(func(e Handle) bool { return e.Object == b })
	assert.True(t, ok)
	assert.Equal(t, v, got)
	_, ok = h.Find(func(e Handle) bool { return false })
	assert.False(t, ok)
}

// The owner of an object may give its reference back at any moment, while others do so too.
func TestReleaseBesideDereference(t *testing.T) {
	m := managerFor(t)
	deleted := 0
	thing := &Type{Name: "Thing", Owned: true, Delete: func(*Object) { deleted++ }}
	const rounds = 5000
	for range rounds {
		o := create(t, m, thing)
		require.True(t, m.Reference(o.Addr))
		var both sync.WaitGroup
		both.Go(func() { m.Release(o) })
		_, err := m.Dereference(o.Addr)
		both.Wait()
		require.NoError(t, err)
	}
	assert.Equal(t, rounds, deleted)
}
