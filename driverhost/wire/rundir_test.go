package wire

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/drvhost/drvhost/nt"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheRuntimeDirectoryComesFromTheEnvironment(t *testing.T) {
	t.Setenv("DRVHOST_RUNTIME_DIR", "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	assert.Equal(t, "/run/drvhost", RuntimeDir())
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	assert.Equal(t, "/run/user/7/drvhost", RuntimeDir())
	t.Setenv("DRVHOST_RUNTIME_DIR", "/x")
	assert.Equal(t, "/x", RuntimeDir())
}

// listener is a host that only listens.
func listener(t *testing.T, dir string) (path string, s *Server) {
	t.Helper()
	s = NewServer(Config{Backend: nil})
	require.NoError(t, s.ListenRuntime(dir))
	t.Cleanup(func() { s.Shutdown(0, "") })
	return s.Socket(), s
}

// die leaves behind what a killed host does: a socket at which nobody listens.
func die(s *Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sock.Close()
	s.sock = -1
}

func TestThePrivateDirectoryIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	require.NoError(t, PrepareRuntimeDir(dir))
	require.NoError(t, PrepareRuntimeDir(dir))
	for _, d := range []string{"", "hosts", "DosDevices"} {
		info, err := os.Stat(filepath.Join(dir, d))
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	}
	require.NoError(t, os.Chmod(dir, 0o777))
	assert.ErrorContains(t, PrepareRuntimeDir(dir), "can be written by everyone")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	assert.Error(t, PrepareRuntimeDir(file))
}

func TestClaimNamesTheLivingHolderAndReplacesTheDead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	a, sa := listener(t, dir)
	b, _ := listener(t, dir)
	require.NoError(t, Claim(dir, "Echo", a))
	require.NoError(t, Claim(dir, "ECHO", a), "again changes nothing")
	err := Claim(dir, "eCHO", b)
	var claimed *ClaimedError
	require.ErrorAs(t, err, &claimed)
	assert.Equal(t, ClaimedError{Name: "eCHO", PID: os.Getpid(), Socket: a}, *claimed)
	assert.ErrorIs(t, err, nt.STATUS_OBJECT_NAME_COLLISION)
	require.NoError(t, Release(dir, "Echo", b), "another's link stays")
	devices, err := List(dir)
	require.NoError(t, err)
	assert.Equal(t, []Device{{Name: "ECHO", Socket: a, PID: os.Getpid(), Alive: true}}, devices)

	die(sa)
	devices, err = List(dir)
	require.NoError(t, err)
	assert.Equal(t, []Device{{Name: "ECHO", Socket: a}}, devices)
	require.NoError(t, Claim(dir, "Echo", b))
	link, err := LinkPath(dir, "echo")
	require.NoError(t, err)
	assert.Equal(t, b, resolveLink(link))
	require.NoError(t, Release(dir, "Echo", b))
	require.NoError(t, Release(dir, "Echo", b))
	devices, err = List(dir)
	require.NoError(t, err)
	assert.Empty(t, devices)
	assert.ErrorIs(t, Claim(dir, "", b), nt.STATUS_OBJECT_NAME_INVALID)
}

func TestOneOfManyClaimsWins(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	var paths []string
	for range 8 {
		path, _ := listener(t, dir)
		paths = append(paths, path)
	}
	dead, sd := listener(t, dir)
	require.NoError(t, Claim(dir, "Race", dead))
	die(sd)
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for _, path := range paths {
		wg.Go(func() {
			var claimed *ClaimedError
			switch err := Claim(dir, "Race", path); {
			case err == nil:
				won.Add(1)
			case errors.As(err, &claimed):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, won.Load())
	assert.EqualValues(t, 7, lost.Load())
}

func TestANewHostSweepsUpAfterTheDead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	dead, sd := listener(t, dir)
	alive, _ := listener(t, dir)
	require.NoError(t, Claim(dir, "Old", dead))
	require.NoError(t, Claim(dir, "New", alive))
	require.NoError(t, os.Symlink("../hosts/nobody.sock", filepath.Join(dir, "DosDevices", "LOST")))
	require.NoError(t, os.Symlink("LOOP", filepath.Join(dir, "DosDevices", "LOOP")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "hosts", "README"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "DosDevices", "plain"), nil, 0o600))
	die(sd)
	listener(t, dir)
	assert.NoFileExists(t, dead)
	devices, err := List(dir)
	require.NoError(t, err)
	assert.Equal(t, []Device{{Name: "NEW", Socket: alive, PID: os.Getpid(), Alive: true}}, devices)
	assert.FileExists(t, filepath.Join(dir, "hosts", "README"), "only sockets are ours")
	none, err := List(filepath.Join(dir, "missing"))
	require.NoError(t, err)
	assert.Empty(t, none)
}

func TestOfManyHostsThatSeemToLiveAFewAreAskedEachTime(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, PrepareRuntimeDir(dir))
	const many = 20
	for i := range many { // of this process, but nobody listens there
		require.NoError(t, os.WriteFile(filepath.Join(dir, "hosts", fmt.Sprintf("%d-%d.sock", os.Getpid(), i)),
			nil, 0o600))
	}
	const nobody = 1<<22 + 1 // no process has such a number
	require.NoError(t, os.WriteFile(filepath.Join(dir, "hosts", fmt.Sprintf("%d-x.sock", nobody)), nil, 0o600))
	for left := many; left > 0; {
		require.NoError(t, Sweep(dir))
		all, err := os.ReadDir(filepath.Join(dir, "hosts"))
		require.NoError(t, err)
		assert.Len(t, all, max(0, left-probedAnyway))
		left = len(all)
	}
}

func TestLongPathsWork(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40), "run")
	path, s := listener(t, dir)
	require.Greater(t, len(path), 200)
	name := strings.Repeat("n", 200)
	require.NoError(t, Claim(dir, name, path))
	link, err := LinkPath(dir, name)
	require.NoError(t, err)
	sock, err := Connect(link, nil)
	require.NoError(t, err)
	assert.Equal(t, os.Getpid(), sock.PeerPID())
	sock.Close()
	s.Shutdown(0, "")
	assert.NoFileExists(t, path)
	_, err = Connect(link, nil)
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func TestListenReplacesADeadSocketOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	a, b := NewServer(Config{}), NewServer(Config{})
	require.NoError(t, a.Listen(path))
	assert.ErrorContains(t, b.Listen(path), "listens there already")
	die(a)
	require.NoError(t, b.Listen(path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o666), info.Mode().Perm())
	b.Shutdown(0, "")
}
