package wire

// The shared buffer of a connection: a memfd that the host makes, so that it knows the seals and
// never maps what a stranger hands it. The seals keep its size: no access to it can fault, whatever
// the other side does. Its content can change at any moment, so both sides copy first and then
// look.

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const bufferSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// sharedBuffer is the host's end.
type sharedBuffer struct {
	fd  int
	mem []byte
}

// newSharedBuffer makes a buffer of size bytes, rounded up to pages. Pages take memory only when
// they are touched.
func newSharedBuffer(size uint64) (*sharedBuffer, error) {
	page := uint64(os.Getpagesize())
	size = (size + page - 1) &^ (page - 1)
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("drvhost-file-buffer", flags|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // Linux before 6.3 has no MFD_NOEXEC_SEAL
		fd, err = unix.MemfdCreate("drvhost-file-buffer", flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("ftruncate", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, bufferSeals); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl F_ADD_SEALS", err)
	}
	mem, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("mmap", err)
	}
	return &sharedBuffer{fd: fd, mem: mem}, nil
}

// slice gives the n bytes at place, or false when they are not all inside.
func (b *sharedBuffer) slice(place uint64, n uint32) ([]byte, bool) {
	if b == nil || place > uint64(len(b.mem)) || uint64(n) > uint64(len(b.mem))-place {
		return nil, false
	}
	end := place + uint64(n)
	return b.mem[place:end:end], true
}

func (b *sharedBuffer) close() {
	_ = unix.Munmap(b.mem)
	unix.Close(b.fd)
}

// MapBuffer maps the descriptor that came with a MsgBufferReply and closes it. It accepts only a
// memfd of at least size bytes that can never shrink, so that no access to it can fault.
func MapBuffer(fd int, size uint64) ([]byte, error) {
	defer unix.Close(fd)
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 {
		return nil, malformed("the shared buffer is not a memfd sealed against shrinking")
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if size == 0 || size > 1<<46 || uint64(st.Size) < size {
		return nil, malformed("a shared buffer of %d bytes that should have %d", st.Size, size)
	}
	mem, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("shared buffer: %w", os.NewSyscallError("mmap", err))
	}
	return mem, nil
}

// UnmapBuffer ends what MapBuffer made.
func UnmapBuffer(mem []byte) { _ = unix.Munmap(mem) }
