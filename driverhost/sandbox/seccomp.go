package sandbox

// The seccomp filter: which system calls the process may make.
//
// A call that is not in the table fails with EPERM. It does not end the process: Go code that meets
// a limit of the sandbox, such as a driver's open of a file elsewhere, gets an error that it can
// report, and a call that a later version of Go or Linux' vDSO tries first and does without is no
// crash. Nor is it logged: the log is the whole machine's, and a driver could flood it. The calls in
// fatal end the process, since nothing but an attack makes them; Linux logs that.
//
// Paths and other memory cannot be looked at by a filter. What Landlock does not rule either, though
// it goes by a path (chmod, chown, setxattr, a connect to somebody's socket), is not allowed.

import (
	"golang.org/x/sys/unix"
)

// condition is about an argument of a system call: its low 32 bits, masked, are one of values. Where
// the kernel takes an int or a flag word that is all there is of it.
type condition struct {
	arg    int
	mask   uint32 // 0: all bits
	values []uint32
	high   bool // the high 32 bits are to be 0 too
}

// rule allows a system call, if every condition holds.
type rule struct {
	nr   uint32
	when []condition
}

func is(arg int, values ...uint32) condition { return condition{arg: arg, values: values} }

// null says that a pointer is null.
func null(arg int) condition { return condition{arg: arg, values: []uint32{0}, high: true} }

// unconditional are the system calls that are allowed whatever their arguments. Linux looks them up
// in a bitmap, without running the filter.
var unconditional = []uint32{
	// Open files and sockets. Of what is opened or made anew Landlock says where.
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64,
	unix.SYS_PWRITE64, unix.SYS_PREADV, unix.SYS_PWRITEV, unix.SYS_LSEEK, unix.SYS_CLOSE,
	unix.SYS_FSTAT, unix.SYS_FSTATFS, unix.SYS_FLOCK, unix.SYS_FSYNC, unix.SYS_FDATASYNC,
	unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FCHMOD, unix.SYS_GETDENTS64,
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT,
	unix.SYS_RENAMEAT2, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_READLINKAT,
	// Landlock knows no right to change times, and os.Root does it by path.
	unix.SYS_UTIMENSAT,
	// Whether a file exists, and its size and times, is all that these tell of one elsewhere.
	unix.SYS_NEWFSTATAT, unix.SYS_STATX, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_STATFS,
	unix.SYS_ACCEPT4, unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_SENDTO, unix.SYS_SENDMSG,
	unix.SYS_SHUTDOWN, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKOPT,
	unix.SYS_SETSOCKOPT,
	unix.SYS_POLL, unix.SYS_PPOLL, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL,
	unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_EVENTFD2,
	unix.SYS_PIPE2, unix.SYS_MEMFD_CREATE,
	// Memory.
	unix.SYS_MMAP, unix.SYS_MPROTECT, unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MINCORE,
	unix.SYS_MSYNC, unix.SYS_BRK, unix.SYS_MEMBARRIER, unix.SYS_PKEY_ALLOC, unix.SYS_PKEY_FREE,
	unix.SYS_PKEY_MPROTECT,
	// Threads, signals and time.
	unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETTID,
	unix.SYS_GETPID, unix.SYS_SET_TID_ADDRESS, unix.SYS_RT_SIGACTION,
	unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES,
	unix.SYS_GETTIMEOFDAY, unix.SYS_TIME, unix.SYS_SETITIMER, unix.SYS_TIMER_CREATE,
	unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, unix.SYS_GETCPU, unix.SYS_EXIT,
	unix.SYS_EXIT_GROUP,
	// What there is to know about the process and the machine.
	unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETRLIMIT,
	unix.SYS_GETRUSAGE, unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETRANDOM, unix.SYS_GETCWD,
}

// starting are the system calls that a host makes between Begin and Complete: for its socket, to
// find hosts that listen, to make the runtime directory, and to enter the sandbox.
var starting = []rule{
	{unix.SYS_SOCKET, []condition{is(0, unix.AF_UNIX)}},
	{unix.SYS_CONNECT, nil},
	{unix.SYS_BIND, nil},
	{unix.SYS_LISTEN, nil},
	{unix.SYS_FCHMODAT, nil},
	{unix.SYS_SECCOMP, nil},
	{unix.SYS_LANDLOCK_CREATE_RULESET, nil},
	{unix.SYS_LANDLOCK_ADD_RULE, nil},
	{unix.SYS_LANDLOCK_RESTRICT_SELF, nil},
}

// namespaceFlags are clone's flags for what a thread of this process does not need: new namespaces.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// conditional are the system calls that are allowed with some arguments.
func conditional(pid uint32) []rule {
	const (
		archSetGS, archSetFS, archGetFS, archGetGS = 0x1001, 0x1002, 0x1003, 0x1004
		setUserDispatch, getTIDAddress             = 59, 40
		setVMA                                     = 0x53564d41
	)
	return []rule{
		// New threads, but no new processes. clone3 hides its flags in memory; Go does not use it.
		{unix.SYS_CLONE, []condition{
			{arg: 0, mask: unix.CLONE_THREAD | namespaceFlags, values: []uint32{unix.CLONE_THREAD}}}},
		// Signals go to this process.
		{unix.SYS_TGKILL, []condition{is(0, pid)}},
		{unix.SYS_KILL, []condition{is(0, pid)}},
		{unix.SYS_ARCH_PRCTL, []condition{is(0, archSetGS, archSetFS, archGetFS, archGetGS)}},
		{unix.SYS_PRCTL, []condition{is(0, setUserDispatch, getTIDAddress, setVMA,
			unix.PR_SET_NAME, unix.PR_GET_NO_NEW_PRIVS)}},
		// No F_SETOWN and F_SETSIG.
		{unix.SYS_FCNTL, []condition{is(1, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD,
			unix.F_GETFL, unix.F_SETFL, unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW,
			unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW, unix.F_ADD_SEALS,
			unix.F_GET_SEALS)}},
		// Is it a terminal, and how wide? Others could type into it (TIOCSTI).
		{unix.SYS_IOCTL, []condition{is(1, unix.TCGETS, unix.TIOCGWINSZ)}},
		// Limits are read, of this process.
		{unix.SYS_PRLIMIT64, []condition{is(0, 0, pid), null(2)}},
	}
}

// fatal are the system calls that end the process: they reach into another process or into the
// kernel, or replace the program, and nothing that a host does by mistake ends in one.
var fatal = []uint32{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV,
	unix.SYS_PROCESS_VM_WRITEV, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE,
	unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT,
}

func examineSeccomp() Finding {
	f := Finding{Name: "seccomp", OK: true, Found: "filters for all threads",
		Cost: lackSeccomp(nil).Cost}
	if err := haveFilter(); err != nil {
		f.OK, f.Found = false, err.Error()
	}
	return f
}
