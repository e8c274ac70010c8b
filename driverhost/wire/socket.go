package wire

// Sockets by path: listening, connecting, and who is at the other end.

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end, as Linux knew it when it connected (SO_PEERCRED).
type Peer struct {
	PID    int32
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary groups; nil where Linux does not tell
}

// PeerPID gives the process id of the other end, 0 when it is not known. For a client that is the
// process that listens, so it cannot be forged by what a message says.
func (s Socket) PeerPID() int {
	cred, err := unix.GetsockoptUcred(int(s), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0
	}
	return int(cred.Pid)
}

func (s Socket) peer() (Peer, error) {
	cred, err := unix.GetsockoptUcred(int(s), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	return Peer{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid, Groups: s.peerGroups()}, nil
}

// setRecvTimeout bounds every later Recv, 0 lifts the bound. A Recv that ran out gives EAGAIN.
func (s Socket) setRecvTimeout(ms int) error {
	tv := unix.NsecToTimeval(int64(ms) * 1e6)
	return unix.SetsockoptTimeval(int(s), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
}

// Connect connects to the socket at path, following links. The path may be longer than the 108
// bytes that a socket address holds. While the host is too busy to accept it waits, until done
// (which may be nil) is closed.
func Connect(path string, done <-chan struct{}) (Socket, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		s, err := connect(path, unix.SOCK_NONBLOCK)
		if err == nil {
			err = unix.SetNonblock(int(s), false)
			if err == nil {
				return s, nil
			}
			s.Close()
		}
		if err == unix.EAGAIN {
			select {
			case <-time.After(pause):
				continue
			case <-done:
			}
		}
		return -1, &os.PathError{Op: "connect", Path: path, Err: err}
	}
}

func connect(path string, flags int) (Socket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|flags, 0)
	if err != nil {
		return -1, err
	}
	err = withShortPath(path, func(short string) error {
		for {
			err := unix.Connect(fd, &unix.SockaddrUnix{Name: short})
			if err != unix.EINTR {
				return err
			}
		}
	})
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return Socket(fd), nil
}

// listen makes a listening socket at path, which must not exist, that everyone who can reach it may
// connect to.
func listen(path string, backlog int) (Socket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = withShortPath(path, func(short string) error {
		return unix.Bind(fd, &unix.SockaddrUnix{Name: short})
	})
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		unix.Close(fd)
		return -1, &os.PathError{Op: "listen", Path: path, Err: err}
	}
	return Socket(fd), nil
}

// withShortPath calls f with a name for path that fits into a socket address: path itself, or one
// that goes through a descriptor of its directory.
func withShortPath(path string, f func(string) error) error {
	const most = 107 // bytes, and a zero: sizeof sun_path, unix(7)
	if len(path) <= most {
		return f(path)
	}
	if target, err := os.Readlink(path); err == nil { // a link's own name may be long too
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		if len(target) <= most {
			return f(target)
		}
		path = target
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	short := "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path)
	if len(short) > most {
		return syscall.ENAMETOOLONG
	}
	return f(short)
}
