package mm

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newWindow(t testing.TB, m *Manager, size uintptr) *Window {
	t.Helper()
	w, err := m.NewWindow(size, "a test")
	require.NoError(t, err)
	return w
}

func TestWindowIsMappedTwice(t *testing.T) {
	m := newManager(t, Config{})
	w := newWindow(t, m, 0)
	assert.EqualValues(t, DefaultWindow, w.Size())
	assert.True(t, m.space.IsUserRange(w.Base(), w.Size()))
	assert.False(t, m.space.IsUserRange(w.SystemBase(), 1))
	a := w.Base() + nt.Addr(w.Size()) - 100
	require.NoError(t, guest.Fill(a, 7, 100))
	s, ok := m.AliasOf(a, 100)
	require.True(t, ok)
	assert.Zero(t, firstOther(s, 100, 7))
	assert.Same(t, w, m.WindowOf(a))
	assert.Same(t, w, m.WindowOf(s))
	for _, at := range []nt.Addr{w.Base() - 1, w.Base() + nt.Addr(w.Size()), w.SystemBase() - 1,
		w.SystemBase() + nt.Addr(w.Size())} {
		assert.Error(t, guest.Store8(at, 1), "guard at %v", at)
		assert.Nil(t, m.WindowOf(at))
	}
	for _, c := range []struct {
		a nt.Addr
		n uintptr
	}{{a, 101}, {w.Base() - 1, 2}, {w.Base(), ^uintptr(0)}, {a, ^uintptr(0) - uintptr(a) + 2},
		{s, 1}, {0, 1}} {
		_, ok := m.AliasOf(c.a, c.n)
		assert.False(t, ok, "%v+%#x", c.a, c.n)
		assert.False(t, w.Contains(c.a, c.n), "%v+%#x", c.a, c.n)
	}
}

func TestWindowsAreApart(t *testing.T) {
	m := newManager(t, Config{})
	v, w := newWindow(t, m, MinWindow), newWindow(t, m, MinWindow)
	assert.True(t, v.Contains(v.Base(), v.Size()))
	assert.False(t, v.Contains(w.Base(), 1))
	assert.Same(t, w, m.WindowOf(w.Base()))
	assert.NotEqual(t, m.PhysicalAddress(v.Base()), m.PhysicalAddress(w.Base()))
	require.NoError(t, v.Release())
	require.NoError(t, v.Release(), "a second Release does nothing")
	assert.Nil(t, m.WindowOf(v.Base()))
	assert.Same(t, w, m.WindowOf(w.Base()))
}

func TestWindowBuffers(t *testing.T) {
	m := newManager(t, Config{})
	w := newWindow(t, m, MinWindow)
	for _, c := range []struct {
		name        string
		size, align uintptr
		ok          bool
	}{
		{"nothing", 0, 0, true},
		{"a byte", 1, 1, true},
		{"64 KiB alignment", 100, 64 << 10, true},
		{"all", MinWindow, 0, true},
		{"more than all", MinWindow + 1, 0, false},
		{"an overflow", ^uintptr(0), 0, false},
		{"an alignment that is no power of two", 100, 48, false},
		{"an alignment above 64 KiB", 100, 128 << 10, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, ok := w.Alloc(c.size, c.align)
			require.Equal(t, c.ok, ok)
			if !ok {
				return
			}
			assert.Zero(t, uintptr(a)%max(c.align, pageSize))
			assert.True(t, w.Contains(a, c.size))
			require.NoError(t, w.Free(a))
			require.Error(t, w.Free(a), "free twice")
		})
	}
	for _, a := range []nt.Addr{0, w.Base() - pageSize, w.Base() + 1, w.Base() + pageSize,
		w.Base() + MinWindow} {
		assert.Error(t, w.Free(a), "%v", a)
	}
}

func TestWindowBuffersUnderLoad(t *testing.T) {
	m := newManager(t, Config{})
	w := newWindow(t, m, 4<<20)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(worker)))
			type buffer struct {
				a nt.Addr
				n uintptr
			}
			var mine []buffer
			for range 3000 {
				if n := uintptr(r.IntN(60 << 10)); len(mine) < 8 {
					if a, ok := w.Alloc(n, 0); ok {
						guest.Fill(a, byte(worker+1), n)
						mine = append(mine, buffer{a, n})
						continue
					}
				}
				if len(mine) == 0 {
					continue
				}
				i := r.IntN(len(mine))
				b := mine[i]
				mine = append(mine[:i], mine[i+1:]...)
				if bad := firstOther(b.a, b.n, byte(worker+1)); bad != 0 {
					t.Errorf("buffer %v of %d bytes was changed at %v", b.a, b.n, bad)
					return
				}
				if !assert.NoError(t, w.Free(b.a)) {
					return
				}
			}
			for _, b := range mine {
				assert.NoError(t, w.Free(b.a))
			}
		})
	}
	wg.Wait()
	require.NoError(t, w.Trim())
	a, ok := w.Alloc(w.Size(), 0)
	require.True(t, ok, "everything is free and whole again")
	assert.Equal(t, w.Base(), a)
	assert.Zero(t, firstOther(a, w.Size(), 0), "Trim drops the contents")
}

func TestWindowBufferNeedsNoGoMemory(t *testing.T) {
	m := newManager(t, Config{})
	w := newWindow(t, m, 0)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		a, _ := w.Alloc(5000, 0)
		_ = w.Free(a)
	}))
}

func TestManyWindowsGetSmaller(t *testing.T) {
	if testing.Short() {
		t.Skip("fills the user arena")
	}
	m := newManager(t, Config{})
	for range 200 {
		w := newWindow(t, m, 0)
		require.GreaterOrEqual(t, w.Size(), uintptr(MinWindow))
		require.Same(t, w, m.WindowOf(w.Base()+nt.Addr(w.Size()-1)))
	}
}
