package service

// A unit is a host's place: hosts/NAME in the state directory, with its lock, its socket, its log
// and what is wanted of its services.

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// The files of a unit.
const (
	unitsDir   = "hosts"
	unitLock   = "lock"
	unitSocket = "control.sock"
	unitLog    = "host.log"
	unitState  = "state.json"
)

// unit is where one host runs, or may.
type unit struct {
	key string // "service NAME" or "group NAME", folded
	dir string

	link *link // to the host, or nil; guarded by Manager.mu
	// occupied is closed at the end of what starts or ends the host; nil if there is none. Guarded by
	// Manager.mu, as is pace.
	occupied chan struct{}
	pace     pace
	// ending says that the host's end was asked for; guarded by Manager.mu.
	ending bool
	state  unitRecord // guarded by Manager.mu
	lines  int        // of the state file; guarded by Manager.mu
}

// wish is what is wanted of a service.
type wish string

const (
	wishNone     wish = ""
	wishStarting wish = "starting" // somebody has begun to start it
	wishRunning  wish = "running"  // it has run; if it does not, that is a failure
	wishStopped  wish = "stopped"  // it was stopped, and the manager's start leaves it so
)

// unitRecord is what outlives the manager: the last line of state.json.
type unitRecord struct {
	Key      string                 `json:"key"`
	Boot     string                 `json:"boot"` // of the machine; of another one nothing counts
	Services map[string]*remembered `json:"services"`
}

// unitKey gives the key of the unit for a service.
func unitKey(c *Config) string {
	if c.HostGroup != "" {
		return "group " + cm.Fold(c.HostGroup)
	}
	return "service " + cm.Fold(c.Name)
}

// unitName makes a key a file's name.
func unitName(key string) string {
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
			b.WriteByte(c)
		case c == ' ' && b.Len() <= len("service"):
			b.WriteByte('-')
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	const longest = 200
	s := b.String()
	if len(s) > longest {
		sum := sha256.Sum256([]byte(key))
		s = s[:longest-33] + "-" + hex.EncodeToString(sum[:16])
	}
	return s
}

// bootID names the machine's start.
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// readState reads what the last manager has left. What cannot be read, or is of another start of the
// machine, is nothing.
func (u *unit) readState(boot string) {
	b, err := os.ReadFile(filepath.Join(u.dir, unitState))
	if err == nil {
		if r := lastRecord(b); r.Boot == boot {
			u.state = r
		}
	}
	for name, rec := range u.state.Services {
		if rec == nil {
			delete(u.state.Services, name)
		}
	}
	u.state.Key, u.state.Boot = u.key, boot
	if u.state.Services == nil {
		u.state.Services = map[string]*remembered{}
	}
	u.lines = bytes.Count(b, []byte("\n"))
}

// lastRecord gives the last whole line of a state file. A manager that was killed may have left a part
// of one behind it.
func lastRecord(file []byte) (r unitRecord) {
	for line := range bytes.Lines(file) {
		var next unitRecord
		if json.Unmarshal(line, &next) == nil {
			r = next
		}
	}
	return r
}

// maxStateLines is how many lines a state file has before it is begun anew.
const maxStateLines = 100

// writeState writes it, in a way that leaves the old or the new one: a line behind the others, which
// takes the tenth part of what a file in place of another does.
func (u *unit) writeState() error {
	b, err := json.Marshal(&u.state)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	path := filepath.Join(u.dir, unitState)
	if u.lines == 0 || u.lines >= maxStateLines {
		if err := os.MkdirAll(u.dir, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path+".new", b, 0o600); err != nil {
			return err
		}
		step("state")
		defer step("state written")
		u.lines = 1
		return os.Rename(path+".new", path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, os.ErrNotExist) {
		u.lines = 0
		return u.writeState()
	}
	if err != nil {
		return err
	}
	step("state")
	defer step("state written")
	u.lines++
	if _, err = f.Write(append([]byte{'\n'}, b...)); err != nil { // it ends half a line, too
		u.lines = 0
	}
	return errors.Join(err, f.Close())
}

// lockFile opens the unit's lock and takes it, at once or not at all unless wait is set. got is
// false if a host has it.
func (u *unit) lock(wait bool) (f *os.File, got bool, err error) {
	f, err = os.OpenFile(filepath.Join(u.dir, unitLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		switch err = unix.Flock(int(f.Fd()), how); {
		case err == nil:
			return f, true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil, false, f.Close()
		default:
			return nil, false, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
		}
	}
}

// inDir does something with the address of the unit's socket, whose path may be too long for one.
func (u *unit) inDir(f func(a *unix.SockaddrUnix) error) error {
	dir, err := unix.Open(u.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: u.dir, Err: err}
	}
	defer unix.Close(dir)
	a := &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(dir) + "/" + unitSocket}
	if err := f(a); err != nil {
		return &os.PathError{Op: "control", Path: filepath.Join(u.dir, unitSocket), Err: err}
	}
	return nil
}

func newSocket() (int, error) {
	return unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

// connect connects to the unit's socket and says whose process listens there.
func (u *unit) connect() (conn net.Conn, pid int, err error) {
	fd, err := newSocket()
	if err != nil {
		return nil, 0, err
	}
	f := os.NewFile(uintptr(fd), unitSocket)
	defer f.Close()
	err = u.inDir(func(a *unix.SockaddrUnix) error { return unix.Connect(fd, a) })
	if err != nil {
		return nil, 0, err
	}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, 0, err
	}
	conn, err = net.FileConn(f)
	return conn, int(cred.Pid), err
}

// listen makes the unit's socket.
func (u *unit) listen() (*os.File, error) {
	if err := os.Remove(filepath.Join(u.dir, unitSocket)); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	fd, err := newSocket()
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), unitSocket)
	err = u.inDir(func(a *unix.SockaddrUnix) error { return unix.Bind(fd, a) })
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// errHosted says that a host has the unit's lock.
var errHosted = errors.New("there is a host already")

// maxLog is how large a host's log may be when another one appends to it.
const maxLog = 1 << 20

// spawn starts a host. It is its own session's, so that it outlives the manager and the terminal.
func (u *unit) spawn(command func(log *os.File) *exec.Cmd) (*link, error) {
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
		return nil, err
	}
	lock, got, err := u.lock(false)
	if err != nil {
		return nil, err
	}
	if !got {
		return nil, errHosted
	}
	defer lock.Close()
	step("locked")
	l, err := u.listen()
	if err != nil {
		return nil, err
	}
	defer l.Close()
	conn, _, err := u.connect()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(u.dir, unitLog)
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		_ = os.Rename(path, path+".old") // else it grows on
	}
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	defer log.Close()
	cmd := command(log)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, log, log
	cmd.ExtraFiles = []*os.File{lock, l} // HostLockFD, HostListenFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	step("listening")
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	step("spawned")
	link := newLink(conn)
	link.pid = cmd.Process.Pid
	link.kill = func() { _ = cmd.Process.Kill() }
	go func() { _ = cmd.Wait() }() // what it says of its end is in the log
	return link, nil
}

// adopt connects to a host that another manager has started. limit bounds how long it may take to
// answer.
func (u *unit) adopt(limit time.Duration) (*link, hostReply, error) {
	conn, pid, err := u.connect()
	if err != nil {
		return nil, hostReply{}, err
	}
	l := newLink(conn)
	go l.read()
	r, err := l.call(hostRequest{Do: "hello"}, nil, limit)
	if err != nil {
		_ = conn.Close()
		return nil, r, err
	}
	if r.PID != pid {
		// It has come to listen only after we had connected; now it does.
		_ = conn.Close()
		if conn, pid, err = u.connect(); err != nil {
			return nil, r, err
		}
		l = newLink(conn)
		go l.read()
		if r, err = l.call(hostRequest{Do: "hello"}, nil, limit); err != nil {
			_ = conn.Close()
			return nil, r, err
		}
	}
	l.pid = pid
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		_ = conn.Close()
		return nil, r, fmt.Errorf("process %d: %w", pid, err)
	}
	// The process that the descriptor stands for is the one that answers, if that still does.
	if r, err = l.call(hostRequest{Do: "hello"}, nil, limit); err != nil {
		_ = conn.Close()
		unix.Close(fd)
		return nil, r, err
	}
	l.kill = func() { _ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) }
	go func() {
		<-l.gone
		unix.Close(fd)
	}()
	return l, r, nil
}

// clear kills the process that has the unit's lock, and says whether it has ended within a time. It is
// known by the lock, which a host has as descriptor HostLockFD: one that does not answer may not have
// come to listen.
func (u *unit) clear(limit time.Duration) bool {
	lock, err := os.Stat(filepath.Join(u.dir, unitLock))
	if err != nil {
		return false
	}
	held, _ := filepath.Glob("/proc/[0-9]*/fd/" + strconv.Itoa(HostLockFD))
	for _, path := range held {
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		if err != nil || pid == os.Getpid() {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		// Behind the descriptor, so that it is the same process.
		if info, err := os.Stat(path); err == nil && os.SameFile(info, lock) {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		_ = unix.Close(fd)
	}
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		f, got, err := u.lock(false)
		if got {
			_ = f.Close()
			return true
		}
		if err != nil || time.Since(start) > limit {
			return false
		}
	}
}

// share connects to the host once more, for what ManagerOptions.Share is to say.
func (u *unit) share() (net.Conn, error) {
	conn, _, err := u.connect()
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(&hostRequest{Do: doRegistry})
	if err == nil {
		_, err = conn.Write(append(b, '\n'))
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
