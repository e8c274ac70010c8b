package registry_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
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
	return serveWith(t, r, socket, registry.ServerOptions{
		MayWrite: func(_, _ uint32) bool { return write }})
}

func serveWith(t *testing.T, r *cm.Registry, socket string, o registry.ServerOptions) *registry.Server {
	s, err := registry.NewServer(r, o)
	require.NoError(t, err)
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
	want := dump(t, tree)
	for _, m := range []*registry.Mirror{a, b} {
		require.Equal(t, want, dump(t, m.Registry()), "a read sees every write before it")
	}
}

func TestAReadSeesEveryWriteBeforeIt(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	tree := newTree(t)
	serve(t, tree, socket, true)
	a, b := dial(t, socket), dial(t, socket)
	mine, _, status := a.Registry().Create(nil, software+`\X`, cm.CreateOptions{Volatile: true})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	others, status := b.Registry().Open(nil, software+`\X`, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	info, status := others.Info()
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.True(t, info.Volatile)
	servers, status := tree.Open(nil, software+`\X`, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	for n := range uint32(500) {
		writer, reader := mine, others
		switch n % 3 {
		case 1:
			writer, reader = others, mine
		case 2:
			writer = servers
		}
		require.Equal(t, nt.STATUS_SUCCESS, writer.Set("v", nt.REG_DWORD, cm.DWord(n)))
		v, status := reader.Value("v")
		require.Equal(t, nt.STATUS_SUCCESS, status)
		require.Equal(t, cm.DWord(n), v.Data)
	}
}

func TestWatchesOfAMirrorFireForWhatOthersDo(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	tree := newTree(t)
	serve(t, tree, socket, true)
	m := dial(t, socket)
	k, status := m.Registry().Open(nil, software, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	other, status := tree.Open(nil, software, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	for n := range uint32(50) { // one after another, as a driver waits that calls again
		fired := make(chan struct{})
		_, status = k.Watch(nt.REG_NOTIFY_CHANGE_LAST_SET, false, func() { close(fired) })
		require.Equal(t, nt.STATUS_SUCCESS, status)
		_, _, status := tree.Create(nil, fmt.Sprint(software, `\K`, n), cm.CreateOptions{})
		require.Equal(t, nt.STATUS_SUCCESS, status, "which is for no watch of this filter")
		require.Equal(t, nt.STATUS_SUCCESS, other.Set("v", nt.REG_DWORD, cm.DWord(n)))
		select {
		case <-fired:
		case <-time.After(30 * time.Second):
			t.Fatal("the watch has not fired")
		}
		v, status := k.Value("v")
		require.Equal(t, nt.STATUS_SUCCESS, status)
		require.Equal(t, cm.DWord(n), v.Data)
	}
}

func TestAMirrorThatIsFarBehindIsToldTheWholeTree(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	tree := newTree(t)
	serve(t, tree, socket, true)
	m := dial(t, socket)
	k, status := tree.Open(nil, software, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	_, _, status = tree.Create(nil, software+`\Gone`, cm.CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, dump(t, tree), dump(t, m.Registry()))
	gone, status := tree.Open(nil, software+`\Gone`, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, gone.Delete())
	big := make([]byte, 100<<10)
	for n := range 40 { // more than the server keeps
		big[0] = byte(n)
		require.Equal(t, nt.STATUS_SUCCESS, k.Set(fmt.Sprint("v", n%20), nt.REG_BINARY, big))
	}
	require.Equal(t, dump(t, tree), dump(t, m.Registry()))
}

func TestChangesOfOneRequestAreSeenTogether(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	tree := newTree(t)
	var half, whole sync.RWMutex
	within := make(chan struct{})
	serveWith(t, tree, socket, registry.ServerOptions{
		MayWrite: func(_, _ uint32) bool { return true },
		Batch: func(f func() error) error {
			half.Lock()
			defer half.Unlock()
			err := f()
			close(within)
			whole.RLock() // until the test says so
			defer whole.RUnlock()
			return err
		},
		Settled: func(f func()) {
			half.RLock()
			defer half.RUnlock()
			f()
		}})
	writer, reader := dial(t, socket), dial(t, socket)
	whole.Lock()
	written := make(chan nt.Status, 1)
	go func() {
		_, _, status := writer.Registry().Create(nil, software+`\X`, cm.CreateOptions{})
		written <- status
	}()
	<-within
	seen := make(chan nt.Status, 1)
	go func() {
		_, status := reader.Registry().Open(nil, software+`\X`, false)
		seen <- status
	}()
	select {
	case <-seen:
		t.Fatal("half a request was seen")
	case <-time.After(20 * time.Millisecond):
	}
	whole.Unlock()
	require.Equal(t, nt.STATUS_SUCCESS, <-written)
	require.Equal(t, nt.STATUS_SUCCESS, <-seen)
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

func TestABatchIsOneRequest(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	tree := newTree(t)
	batches := 0
	serveWith(t, tree, socket, registry.ServerOptions{
		MayWrite: func(_, _ uint32) bool { return true },
		Check: func(_ int, c cm.Change) nt.Status {
			if c.Name == "no" {
				return nt.STATUS_ACCESS_DENIED
			}
			return nt.STATUS_SUCCESS
		},
		Batch: func(f func() error) error {
			batches++
			return f()
		}})
	m := dial(t, socket)
	make3 := func(third string) error {
		return m.Batch(func() error {
			k, _, status := m.Registry().Create(nil, software+`\A\`+third, cm.CreateOptions{Parents: true})
			require.Equal(t, nt.STATUS_SUCCESS, status)
			require.Equal(t, nt.STATUS_SUCCESS, k.Set("v", nt.REG_DWORD, cm.DWord(1)))
			require.Equal(t, nt.STATUS_SUCCESS, k.Rename(third+"2"))
			require.Equal(t, nt.STATUS_SUCCESS, k.Set(third, nt.REG_DWORD, cm.DWord(2)))
			require.Equal(t, nt.STATUS_SUCCESS, k.Set("w", nt.REG_DWORD, cm.DWord(3)))
			return nil
		})
	}
	require.NoError(t, make3("yes"))
	require.Equal(t, 1, batches)
	require.Equal(t, dump(t, tree), dump(t, m.Registry()))
	require.ErrorIs(t, make3("no"), nt.STATUS_ACCESS_DENIED)
	require.Equal(t, dump(t, tree), dump(t, m.Registry()), "what was refused is not here either")
	_, status := m.Registry().Open(nil, software+`\A\no2`, false)
	require.Equal(t, nt.STATUS_SUCCESS, status, "what came before it is")
	require.NoError(t, m.Batch(func() error { return nil }))
	require.Equal(t, 2, batches)
}

func TestAChangeThatIsCheckedAndRefusedIsNotDone(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	tree := newTree(t)
	serveWith(t, tree, socket, registry.ServerOptions{
		MayWrite: func(_, _ uint32) bool { return true },
		Check: func(pid int, c cm.Change) nt.Status {
			if pid != os.Getpid() || strings.EqualFold(c.Key, software+`\No`) {
				return nt.STATUS_ACCESS_DENIED
			}
			return nt.STATUS_SUCCESS
		}})
	m := dial(t, socket)
	_, _, status := m.Registry().Create(nil, software+`\No`, cm.CreateOptions{})
	require.Equal(t, nt.STATUS_ACCESS_DENIED, status)
	_, _, status = m.Registry().Create(nil, software+`\Yes`, cm.CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	link, _, status := m.Registry().Create(nil, software+`\Yes\L`, cm.CreateOptions{Link: true})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, link.Set("SymbolicLinkValue", nt.REG_LINK,
		cm.Encode(software, false)))
	m.Registry().Fresh = nil // this process says what it likes
	for _, c := range []cm.Change{{Op: cm.OpCreateKey, Key: software + `\Yes\L\no`},
		{Op: cm.OpSetValue, Key: software + `\Yes\l\NO`, Name: "v"}} {
		want := nt.STATUS_ACCESS_DENIED // through a link, too
		require.Equal(t, want, m.Registry().Forward(c))
	}
}

func TestAProcessMakesTheRegistryLargerUpToItsLimit(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	const limit = 100_000
	serveWith(t, newTree(t), socket, registry.ServerOptions{
		MayWrite: func(_, _ uint32) bool { return true },
		Limit:    func(int) int { return limit }})
	m := dial(t, socket)
	k, _, status := m.Registry().Create(nil, software+`\X`, cm.CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	for range 10 { // one value in the other's place is no growth
		require.Equal(t, nt.STATUS_SUCCESS, k.Set("v", nt.REG_BINARY, make([]byte, limit/3)))
	}
	require.Equal(t, nt.STATUS_SUCCESS, k.Set("w", nt.REG_BINARY, make([]byte, limit/3)))
	require.Equal(t, nt.STATUS_REGISTRY_QUOTA_LIMIT, k.Set("x", nt.REG_BINARY, make([]byte, limit/2)))
	require.Equal(t, nt.STATUS_SUCCESS, k.DeleteValue("w"))
	require.Equal(t, nt.STATUS_SUCCESS, k.Set("x", nt.REG_BINARY, make([]byte, limit/2)))
	for n := 0; status == nt.STATUS_SUCCESS && n < limit; n++ {
		_, _, status = m.Registry().Create(k, fmt.Sprint("k", n), cm.CreateOptions{})
	}
	require.Equal(t, nt.STATUS_REGISTRY_QUOTA_LIMIT, status, "keys count too")
}

func TestAProcessThatIsDisconnectedCannotWriteByItsConnection(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	s := serve(t, newTree(t), socket, true)
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("\x03\x00\x00\x00\x02\x01\x00")) // pull
	require.NoError(t, err)
	b := make([]byte, 4096)
	_, err = conn.Read(b)
	require.NoError(t, err)
	s.Disconnect(os.Getpid() + 1)
	m := dial(t, socket)
	_, _, status := m.Registry().Create(nil, software+`\X`, cm.CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status, "another process's")
	s.Disconnect(os.Getpid())
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(30*time.Second)))
	for err == nil {
		_, err = conn.Read(b)
	}
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
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
		s, err := registry.NewServer(tree,
			registry.ServerOptions{MayWrite: func(_, _ uint32) bool { return true }})
		require.NoError(t, err)
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
