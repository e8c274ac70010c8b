package sandbox

// The system calls that take structures.

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// onAllThreads makes a system call on every thread of the process. In a program with cgo it is
// ENOTSUP.
func onAllThreads(trap, a1, a2 uintptr) error {
	if _, _, e := syscall.AllThreadsSyscall(trap, a1, a2, 0); e != 0 {
		return e
	}
	return nil
}

func setCapabilities(header *unix.CapUserHeader, data *[2]unix.CapUserData) error {
	return onAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)),
		uintptr(unsafe.Pointer(data)))
}

// landlockABI gives the version of Landlock's interface, from 1 on.
func landlockABI() (int, error) {
	abi, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0,
		unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0, e
	}
	return int(abi), nil
}

// landlockErrata gives a bit for each erratum that the kernel has fixed, from bit 0 for the first. A
// kernel before 6.15 does not tell.
func landlockErrata() uint {
	errata, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0,
		unix.LANDLOCK_CREATE_RULESET_ERRATA)
	if e != 0 {
		return 0
	}
	return uint(errata)
}

func createRuleset(attr *unix.LandlockRulesetAttr, size uintptr) (int, error) {
	fd, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(attr)), size,
		0)
	if e != 0 {
		return -1, e
	}
	return int(fd), nil
}

func addRule(ruleset, parent int, rights uint64) error {
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(parent)}
	_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset),
		unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

func restrictSelf(ruleset int, flags uintptr) error {
	_, _, e := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), flags, 0)
	if e != 0 {
		return e
	}
	return nil
}

// installFilter puts a seccomp filter on every thread of the process, and with it the calling
// thread's no-new-privileges.
func installFilter(program []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: unsafe.SliceData(program)}
	// SPEC_ALLOW: before 5.16 Linux turned speculative store bypass off for processes with a
	// filter, which costs all of their code up to a third of its speed.
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	thread, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return e
	}
	if thread != 0 {
		// A thread that has a filter of its own, which this process did not give it.
		return unix.EBUSY
	}
	return nil
}

// haveFilter asks whether seccomp knows the actions and flags that the filter needs: a null program
// is EFAULT only where the flags are known.
func haveFilter() error {
	kill := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0,
		uintptr(unsafe.Pointer(&kill)))
	if e != 0 {
		return e
	}
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	_, _, e = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, 0)
	if e != unix.EFAULT {
		return e
	}
	return nil
}
