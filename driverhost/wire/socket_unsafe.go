package wire

// The system calls on sockets.
//
// Go's network poller is not used: a ping-pong through it takes 2.4 times as long as two processes
// in C. Instead a call that never blocks (a send with MSG_DONTWAIT) goes through RawSyscall, which
// does not tell the scheduler, and a call that blocks (a receive, a poll, an accept) through
// Syscall, on a thread that the scheduler then leaves alone: 1.15 times. A RawSyscall that blocked
// would stop the garbage collector of the whole process, so none here can.

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket is the descriptor of a SOCK_SEQPACKET unix socket in blocking mode.
type Socket int

// Recv waits for a message and gives its length, which is more than len(p) when the message was
// too long for p and so was cut off. 0 with no error says that the peer has closed. Descriptors
// that come with the message are closed by Linux.
func (s Socket) Recv(p []byte) (int, syscall.Errno) {
	for {
		n, _, e := syscall.Syscall6(syscall.SYS_RECVFROM, uintptr(s),
			uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_TRUNC, 0, 0)
		if e == 0 {
			return int(n), 0
		}
		if e != syscall.EINTR {
			return 0, e
		}
	}
}

// TryRecv is Recv that fails with EAGAIN when no message is there.
func (s Socket) TryRecv(p []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(s),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		syscall.MSG_TRUNC|syscall.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

// RecvFD is Recv that also takes one descriptor, -1 when none came; any further ones are closed.
// The descriptor has close-on-exec set.
func (s Socket) RecvFD(p []byte) (n, fd int, e syscall.Errno) {
	const room = 4 // descriptors; Linux closes the ones beyond
	var control [unix.SizeofCmsghdr + 4*room]byte
	iov := unix.Iovec{Base: unsafe.SliceData(p)}
	iov.SetLen(len(p))
	msg := unix.Msghdr{Iov: &iov, Control: &control[0]}
	msg.SetIovlen(1)
	for {
		msg.SetControllen(len(control))
		r, _, e := syscall.Syscall(syscall.SYS_RECVMSG, uintptr(s), uintptr(unsafe.Pointer(&msg)),
			syscall.MSG_TRUNC|syscall.MSG_CMSG_CLOEXEC)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 {
			return 0, -1, e
		}
		return int(r), firstFD(control[:min(uint64(msg.Controllen), uint64(len(control)))]), 0
	}
}

// firstFD gives the first descriptor in a control message and closes the others.
func firstFD(control []byte) int {
	fd := -1
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return fd
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, f := range fds {
			if fd < 0 {
				fd = f
			} else {
				unix.Close(f)
			}
		}
	}
	return fd
}

// TrySend sends a message, or fails with EAGAIN when the socket is full. It never blocks.
func (s Socket) TrySend(p []byte) syscall.Errno {
	_, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(s),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
	return e
}

// trySendFD is TrySend with a descriptor.
func (s Socket) trySendFD(p []byte, fd int) syscall.Errno {
	err := unix.Sendmsg(int(s), p, unix.UnixRights(fd), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if e, ok := err.(syscall.Errno); ok {
		return e
	}
	return 0
}

// WaitWritable waits until the socket has room, is closed by the peer, or timeout milliseconds have
// passed (-1: for ever). It says whether a send is worth a try.
func (s Socket) WaitWritable(timeout int) bool {
	p := unix.PollFd{Fd: int32(s), Events: unix.POLLOUT}
	for {
		n, _, e := syscall.Syscall(syscall.SYS_POLL, uintptr(unsafe.Pointer(&p)), 1,
			uintptr(timeout))
		if e == syscall.EINTR {
			continue
		}
		return e == 0 && n == 1
	}
}

// Shutdown ends the connection in both directions: a Recv that blocks on another thread returns.
func (s Socket) Shutdown() { _ = unix.Shutdown(int(s), unix.SHUT_RDWR) }

// Close closes the descriptor. No other call on the socket may be under way.
func (s Socket) Close() { _ = unix.Close(int(s)) }

// accept waits for a connection.
func (s Socket) accept() (Socket, syscall.Errno) {
	fd, _, e := syscall.Syscall6(syscall.SYS_ACCEPT4, uintptr(s), 0, 0, syscall.SOCK_CLOEXEC, 0, 0)
	if e != 0 {
		return -1, e
	}
	return Socket(fd), 0
}

// peerGroups gives the supplementary groups of the process at the other end, as they were when it
// connected: SO_PEERGROUPS, Linux 4.13.
func (s Socket) peerGroups() []uint32 {
	groups := make([]uint32, 64)
	for range 2 {
		size := uint32(4 * len(groups))
		_, _, e := syscall.Syscall6(syscall.SYS_GETSOCKOPT, uintptr(s), syscall.SOL_SOCKET,
			unix.SO_PEERGROUPS, uintptr(unsafe.Pointer(unsafe.SliceData(groups))),
			uintptr(unsafe.Pointer(&size)), 0)
		runtime.KeepAlive(groups)
		if e == 0 {
			return groups[:size/4]
		}
		if e != syscall.ERANGE || size > 1<<20 {
			return nil
		}
		groups = make([]uint32, size/4)
	}
	return nil
}
