package registry_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/registry"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

const software = `\Registry\Machine\Software`

func newTree(t *testing.T) *cm.Registry {
	r := cm.New()
	_, _, status := r.Create(nil, software, cm.CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	return r
}

func serve(t *testing.T, r *cm.Registry, socket string, write bool) *registry.Server {
	s := registry.NewServer(r, registry.ServerOptions{MayWrite: func(_, _ uint32) bool { return write }})
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func dial(t *testing.T, socket string) *registry.Mirror {
	m, err := registry.Dial(t.Context(), socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func dump(t *testing.T, r *cm.Registry) string {
	var b bytes.Buffer
	require.NoError(t, r.Root().Export(&b))
	return b.String()
}

func TestTwoMirrorsThatWriteConvergeWithTheServer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	tree := newTree(t)
	serve(t, tree, socket, true)
	a, b := dial(t, socket), dial(t, socket)
	var wg sync.WaitGroup
	for i, m := range []*registry.Mirror{a, b} {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(6, uint64(i)))
			for n := range 300 {
				path := fmt.Sprintf(`%s\K%d`, software, random.IntN(4))
				k, _, status := m.Registry().Create(nil, path, cm.CreateOptions{})
				if status != nt.STATUS_SUCCESS {
					continue // the other has deleted it meanwhile
				}
				switch random.IntN(4) {
				case 0:
					k.Delete()
				case 1:
					k.Rename(fmt.Sprintf("K%d", random.IntN(4)))
				default:
					k.Set(fmt.Sprintf("v%d", random.IntN(3)), nt.REG_DWORD, cm.DWord(uint32(n)))
				}
			}
		})
	}
	wg.Wait()
	// A write comes back behind all before it.
	for _, m := range []*registry.Mirror{a, b} {
		k, _, status := m.Registry().Create(nil, software+`\End`, cm.CreateOptions{})
		require.Equal(t, nt.STATUS_SUCCESS, status)
		require.Equal(t, nt.STATUS_SUCCESS, k.Set("end", nt.REG_DWORD, cm.DWord(1)))
	}
	want := dump(t, tree)
	for _, m := range []*registry.Mirror{a, b} {
		require.Eventually(t, func() bool { return dump(t, m.Registry()) == want }, 30*time.Second,
			5*time.Millisecond)
	}
}

func TestAMirrorReadsOnWithoutItsServerAndFollowsTheNext(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	first := newTree(t)
	s := serve(t, first, socket, true)
	m := dial(t, socket)
	k, _, status := m.Registry().Create(nil, software+`\X`, cm.CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, k.Set("v", nt.REG_DWORD, cm.DWord(1)))
	fired := make(chan struct{})
	_, status = k.Watch(nt.REG_NOTIFY_CHANGE_LAST_SET, false, func() { close(fired) })
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.NoError(t, s.Close())
	require.Eventually(t, func() bool {
		return k.Set("v", nt.REG_DWORD, cm.DWord(1)) == nt.STATUS_REGISTRY_IO_FAILED
	}, 30*time.Second, time.Millisecond)
	v, status := k.Value("v")
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, cm.DWord(1), v.Data)

	next := newTree(t)
	other, _, status := next.Create(nil, software+`\X`, cm.CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, other.Set("v", nt.REG_DWORD, cm.DWord(2)))
	serve(t, next, socket, true)
	select {
	case <-fired:
	case <-time.After(30 * time.Second):
		t.Fatal("the watch has not fired")
	}
	require.Eventually(t, func() bool { return dump(t, m.Registry()) == dump(t, next) },
		30*time.Second, time.Millisecond)
}

func TestWhoMayNotWriteIsRefused(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	tree := newTree(t)
	serve(t, tree, socket, false)
	_, _, status := dial(t, socket).Registry().Create(nil, software+`\X`, cm.CreateOptions{})
	require.Equal(t, nt.STATUS_ACCESS_DENIED, status)
	_, status = tree.Open(nil, software+`\X`, false)
	require.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, status)
}

func TestAMirrorThatCannotConnectIsReachedByTheNextServer(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	first := serve(t, newTree(t), socket, true)
	m := dial(t, socket)
	require.NoError(t, first.Close()) // and the socket with it
	l, err := net.Listen("unix", filepath.Join(dir, "mirror"))
	require.NoError(t, err)
	defer l.Close()
	adopted := make(chan error, 1)
	go func() {
		for range 2 {
			conn, err := l.Accept()
			if err != nil {
				adopted <- err
				return
			}
			m.Adopt(conn)
		}
		adopted <- nil
	}()
	for n := range uint32(2) { // the second takes the first one's place while that still serves
		tree := newTree(t)
		s := registry.NewServer(tree,
			registry.ServerOptions{MayWrite: func(_, _ uint32) bool { return true }})
		conn, err := net.Dial("unix", filepath.Join(dir, "mirror"))
		require.NoError(t, err)
		go s.ServeConn(conn)
		t.Cleanup(func() { _ = s.Close() })
		require.Eventually(t, func() bool {
			k, _, status := m.Registry().Create(nil, software+`\X`, cm.CreateOptions{})
			if status == nt.STATUS_SUCCESS {
				status = k.Set("v", nt.REG_DWORD, cm.DWord(n))
			}
			return status == nt.STATUS_SUCCESS && dump(t, tree) == dump(t, m.Registry())
		}, 30*time.Second, time.Millisecond)
	}
	require.NoError(t, <-adopted)
}
