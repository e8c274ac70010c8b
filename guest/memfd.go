// Sealed memory files.

package guest

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// SealedMemfd makes a memory file of size bytes, zeroed, that can neither shrink nor grow nor be
// sealed further, and that, where Linux can do so (6.3 on), no process can execve. name shows in
// /proc/PID/maps. The caller closes the descriptor, which is closed on exec.
func SealedMemfd(name string, size int64) (fd int, err error) {
	if size <= 0 {
		return -1, fmt.Errorf("guest: memfd %q of %d bytes: %w", name, size, unix.EINVAL)
	}
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return -1, fmt.Errorf("guest: memfd_create %q: %w", name, err)
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		return -1, errors.Join(fmt.Errorf("guest: memfd %q of %d bytes: %w", name, size, err),
			unix.Close(fd))
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return -1, errors.Join(fmt.Errorf("guest: seal memfd %q: %w", name, err), unix.Close(fd))
	}
	return fd, nil
}
