package wire

// The runtime directory, in which clients find devices without a broker:
//
//	RUNTIME/hosts/PID-TIME.sock   the socket of a host
//	RUNTIME/DosDevices/NAME       a link to ../hosts/PID-TIME.sock (NAME: EscapeName)
//	RUNTIME/lock                  held (flock) while links change
//
// What a killed host leaves behind is known by its socket: nobody listens there. The time in the
// socket's name keeps a later process with the same id from inheriting links.

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/drvhost/drvhost/nt"

	"golang.org/x/sys/unix"
)

const (
	systemRuntimeDir = "/run/drvhost"
	hostsDir         = "hosts"
	devicesDir       = "DosDevices"
	lockFile         = "lock"
)

// lockPatience is how long a claim waits for another process that holds the lock.
const lockPatience = 5 * time.Second

// How long it pauses between two attempts: first, and at most.
const (
	lockPause    = 20 * time.Microsecond
	lockPauseMax = 2 * time.Millisecond
)

// RuntimeDir gives the runtime directory: $DRVHOST_RUNTIME_DIR, else $XDG_RUNTIME_DIR/drvhost, else
// /run/drvhost. It need not exist.
func RuntimeDir() string {
	if d := os.Getenv("DRVHOST_RUNTIME_DIR"); d != "" {
		return d
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "drvhost")
	}
	return systemRuntimeDir
}

// LinkPath gives the path of the link for a device's name (without prefix and what follows it) in
// the runtime directory dir. Errors are those of EscapeName.
func LinkPath(dir, name string) (string, error) {
	file, err := EscapeName(name)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, devicesDir, file), nil
}

// PrepareRuntimeDir makes the runtime directory where it is missing: open to all (mode 0755) at
// /run/drvhost, where root's hosts serve every user, else private (0700). It refuses a directory
// that strangers could have filled.
func PrepareRuntimeDir(dir string) error {
	mode := fs.FileMode(0o700)
	if filepath.Clean(dir) == systemRuntimeDir {
		mode = 0o755
	}
	for _, d := range []string{dir, filepath.Join(dir, hostsDir), filepath.Join(dir, devicesDir)} {
		err := os.Mkdir(d, mode)
		if errors.Is(err, fs.ErrNotExist) { // the parents of dir itself
			if err = os.MkdirAll(filepath.Dir(d), 0o755); err == nil {
				err = os.Mkdir(d, mode)
			}
		}
		switch {
		case err == nil:
			err = os.Chmod(d, mode) // whatever the umask
		case errors.Is(err, fs.ErrExist):
			err = checkRuntimeDir(d)
		}
		if err != nil {
			return fmt.Errorf("runtime directory: %w", err)
		}
	}
	return nil
}

func checkRuntimeDir(d string) error {
	info, err := os.Stat(d)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &os.PathError{Op: "open", Path: d, Err: syscall.ENOTDIR}
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if uid := uint32(os.Geteuid()); st.Uid != uid && st.Uid != 0 {
			return fmt.Errorf("%s belongs to uid %d, not to uid %d or root", d, st.Uid, uid)
		}
	}
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("%s can be written by everyone (mode %v)", d, info.Mode().Perm())
	}
	return nil
}

// HostSocket gives the path at which this process can listen, in the runtime directory dir: each
// call another one.
func HostSocket(dir string) string {
	name := strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36) + ".sock"
	return filepath.Join(dir, hostsDir, name)
}

// ClaimedError says that a living host holds the name of a device. It is
// STATUS_OBJECT_NAME_COLLISION to errors.Is.
type ClaimedError struct {
	Name   string // as it was asked for
	PID    int    // of the host, 0 when it is not known
	Socket string // of the host
}

// Error names the device and the host.
func (e *ClaimedError) Error() string {
	return fmt.Sprintf(`\\.\%s is held by another driver host (process %d, %s)`,
		e.Name, e.PID, e.Socket)
}

// Unwrap gives STATUS_OBJECT_NAME_COLLISION.
func (e *ClaimedError) Unwrap() error { return nt.STATUS_OBJECT_NAME_COLLISION }

// Claim makes the link for name in the runtime directory dir point to socket, on which this process
// listens. A link that a dead host left is replaced. When a living one holds the name the error is
// a *ClaimedError. To claim what socket already holds changes nothing.
func Claim(dir, name, socket string) error {
	link, err := LinkPath(dir, name)
	if err != nil {
		return err
	}
	unlock, err := lockRuntimeDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	target := linkTarget(socket)
	for range 3 {
		err = os.Symlink(target, link)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if old, _ := os.Readlink(link); old == target {
			return nil
		}
		if pid, alive := probe(link); alive {
			return &ClaimedError{Name: name, PID: pid, Socket: resolveLink(link)}
		}
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// Release removes the link for name if it points to socket. A link that is gone, or another host's,
// is no error.
func Release(dir, name, socket string) error {
	link, err := LinkPath(dir, name)
	if err != nil {
		return err
	}
	unlock, err := lockRuntimeDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if old, _ := os.Readlink(link); old != linkTarget(socket) {
		return nil
	}
	err = os.Remove(link)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// Device is a link in the runtime directory.
type Device struct {
	Name   string // upper case
	Socket string // of its host
	PID    int    // of the host; 0 when it is not known
	Alive  bool   // the host listens
}

// List gives the devices in the runtime directory dir, by name. A directory that does not exist has
// none.
func List(dir string) ([]Device, error) {
	entries, err := os.ReadDir(filepath.Join(dir, devicesDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	type host struct {
		pid   int
		alive bool
	}
	hosts := map[string]host{}
	var out []Device
	for _, e := range entries {
		name, ok := UnescapeName(e.Name())
		if !ok || e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		link := filepath.Join(dir, devicesDir, e.Name())
		socket := resolveLink(link)
		h, known := hosts[socket]
		if !known {
			h.pid, h.alive = probe(link)
			hosts[socket] = h
		}
		out = append(out, Device{Name: name, Socket: socket, PID: h.pid, Alive: h.alive})
	}
	return out, nil
}

// probedAnyway is how many of the sockets whose process seems to live Sweep probes all the same: its
// number may be another one's by now. All of a large directory would be a connection to each host from
// every host that starts.
const probedAnyway = 4

// suspects gives the sockets of a runtime directory of which Sweep asks whether anybody listens.
func suspects(dir string, names []string) (paths []string) {
	var seem []string
	for _, name := range names {
		path := filepath.Join(dir, hostsDir, name)
		if pid := socketPID(name); pid > 0 && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			seem = append(seem, path)
		} else {
			paths = append(paths, path)
		}
	}
	rand.Shuffle(len(seem), func(i, j int) { seem[i], seem[j] = seem[j], seem[i] })
	return append(paths, seem[:min(probedAnyway, len(seem))]...)
}

// socketPID gives the process that a socket's name tells of, or 0.
func socketPID(name string) int {
	pid, err := strconv.Atoi(strings.SplitN(name, "-", 2)[0])
	if err != nil {
		return 0
	}
	return pid
}

// Sweep removes the sockets and links that dead hosts have left in the runtime directory dir.
func Sweep(dir string) error {
	unlock, err := lockRuntimeDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	dead := map[string]bool{}
	var errs []error
	remove := func(path string) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	hosts, err := os.ReadDir(filepath.Join(dir, hostsDir))
	if err != nil {
		return err
	}
	known := map[string]bool{}
	var sockets []string
	for _, e := range hosts {
		known[filepath.Join(dir, hostsDir, e.Name())] = true
		if strings.HasSuffix(e.Name(), ".sock") {
			sockets = append(sockets, e.Name())
		}
	}
	for _, path := range suspects(dir, sockets) {
		if _, alive := probe(path); !alive {
			dead[path] = true
			remove(path)
		}
	}
	links, err := os.ReadDir(filepath.Join(dir, devicesDir))
	if err != nil {
		return err
	}
	for _, e := range links {
		path := filepath.Join(dir, devicesDir, e.Name())
		if e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		socket := resolveLink(path)
		if !known[socket] {
			_, alive := probe(path)
			dead[socket] = !alive
			known[socket] = true
		}
		if dead[socket] {
			remove(path)
		}
	}
	return errors.Join(errs...)
}

// linkTarget is what a link to socket contains: relative, so that the directory may be mounted
// elsewhere.
func linkTarget(socket string) string { return "../" + hostsDir + "/" + filepath.Base(socket) }

// resolveLink gives the path that a link points to, the link itself when it is none.
func resolveLink(link string) string {
	target, err := os.Readlink(link)
	if err != nil {
		return link
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(link), target)
	}
	return target
}

// probe finds out whether somebody listens at path, and who. Only what proves that nobody does
// makes it dead: a host that is too busy to accept, or that we may not talk to, lives.
func probe(path string) (pid int, alive bool) {
	s, err := connect(path, unix.SOCK_NONBLOCK)
	switch {
	case err == nil:
		defer s.Close()
		return s.PeerPID(), true
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT),
		errors.Is(err, syscall.ENOTSOCK), errors.Is(err, syscall.EPROTOTYPE),
		errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENOTDIR):
		return 0, false
	}
	return socketPID(filepath.Base(resolveLink(path))), true
}

// lockRuntimeDir keeps other processes from changing links until unlock is called.
func lockRuntimeDir(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, lockFile)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	pause := lockPause
	for start := time.Now(); ; time.Sleep(pause) {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { unix.Close(fd) }, nil
		}
		if (err != unix.EWOULDBLOCK && err != unix.EINTR) || time.Since(start) > lockPatience {
			unix.Close(fd)
			return nil, &os.PathError{Op: "lock", Path: path, Err: err}
		}
		pause = min(2*pause, lockPauseMax)
	}
}
