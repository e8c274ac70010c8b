package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Sandboxed processes: this test program again, told by the environment what to try.

const (
	tryEnv = "DRVHOST_SANDBOX_TRY" // the name of an attempt, or all
	dirEnv = "DRVHOST_SANDBOX_DIR" // with a directory rw, which is the sandbox's, and one ro
)

func TestMain(m *testing.M) {
	if what := os.Getenv(tryEnv); what != "" {
		os.Exit(child(what))
	}
	os.Exit(m.Run())
}

// scene is what a child has at hand from before it entered.
type scene struct {
	dir     string
	pair    [2]int  // a socket pair
	tcp     string  // somebody listens there
	abroad  int     // a process that is not ours
	running *syncer // a thread from before
	driver  *driver
}

// syncer runs functions on an OS thread of its own.
type syncer struct {
	in  chan func() error
	out chan error
}

func newSyncer() *syncer {
	s := &syncer{make(chan func() error), make(chan error)}
	go func() {
		runtime.LockOSThread()
		for f := range s.in {
			s.out <- f()
		}
	}()
	return s
}

func (s *syncer) do(f func() error) error {
	s.in <- f
	return <-s.out
}

// attempt is something that a sandboxed process tries. want is the error it gets; nil means that it
// works.
type attempt struct {
	name string
	do   func(s *scene) error
	want error
}

func sysErr(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

func sys(nr uintptr, args ...uintptr) func(*scene) error {
	return func(*scene) error {
		var a [6]uintptr
		copy(a[:], args)
		_, _, e := syscall.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		return sysErr(e)
	}
}

func read(path string) func(*scene) error {
	return func(s *scene) error {
		_, err := os.ReadFile(strings.ReplaceAll(path, "DIR", s.dir))
		return err
	}
}

func write(path string) func(*scene) error {
	return func(s *scene) error {
		return os.WriteFile(strings.ReplaceAll(path, "DIR", s.dir), []byte("x"), 0o600)
	}
}

var attempts = []attempt{
	// Files.
	{"read a file elsewhere", read("/etc/passwd"), unix.EACCES},
	{"list a directory elsewhere", func(*scene) error {
		_, err := os.ReadDir("/etc")
		return err
	}, unix.EACCES},
	{"write a file elsewhere", write("DIR/elsewhere"), unix.EACCES},
	{"truncate a file elsewhere", func(s *scene) error {
		return unix.Truncate(s.dir+"/ro/file", 0)
	}, unix.EPERM},
	{"write where only reading is allowed", write("DIR/ro/file"), unix.EACCES},
	{"leave by dot-dot", read("DIR/rw/../elsewhere"), unix.EACCES},
	{"leave by a symbolic link", func(s *scene) error {
		link := s.dir + "/rw/link"
		if err := os.Symlink("/etc/passwd", link); err != nil {
			return err
		}
		_, err := os.ReadFile(link)
		return err
	}, unix.EACCES},
	{"leave by a hard link", func(s *scene) error {
		return os.Link(s.dir+"/elsewhere", s.dir+"/rw/hard")
	}, unix.EXDEV},
	{"leave by /proc/self/root", read("/proc/self/root/etc/passwd"), unix.EACCES},
	{"read another process's environment", func(s *scene) error {
		_, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", s.abroad))
		return err
	}, unix.EACCES},
	{"open the processes' own memory", func(*scene) error {
		_, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
		return err
	}, unix.EACCES},
	{"change the mode of a file elsewhere", func(s *scene) error {
		return os.Chmod(s.dir+"/elsewhere", 0o777)
	}, unix.EPERM},
	{"change the owner of a file", func(s *scene) error {
		return os.Lchown(s.dir+"/elsewhere", 1, 1)
	}, unix.EPERM},
	{"make a device", func(s *scene) error {
		return unix.Mknod(s.dir+"/rw/null", unix.S_IFCHR|0o666, 0x103)
	}, unix.EPERM},
	{"change the root", sys(unix.SYS_CHROOT, 0), unix.EPERM},
	{"mount", sys(unix.SYS_MOUNT, 0, 0, 0, 0, 0), unix.EPERM},
	{"type into the terminal", sys(unix.SYS_IOCTL, 0, unix.TIOCSTI, 0), unix.EPERM},
	// The network and other processes.
	{"make a TCP socket", func(s *scene) error {
		_, err := net.Dial("tcp", s.tcp)
		return err
	}, unix.EPERM},
	{"make a unix socket", sys(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0), unix.EPERM},
	{"bind", sys(unix.SYS_BIND, 0, 0, 0), unix.EPERM},
	{"listen", sys(unix.SYS_LISTEN, 0, 0), unix.EPERM},
	{"add another filter", sys(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0), unix.EPERM},
	{"connect", sys(unix.SYS_CONNECT, 0, 0, 0), unix.EPERM},
	{"signal another process", func(s *scene) error {
		return unix.Kill(s.abroad, unix.SIGTERM)
	}, unix.EPERM},
	{"signal the process group", func(*scene) error { return unix.Kill(0, unix.SIGTERM) }, unix.EPERM},
	{"signal everybody", func(*scene) error { return unix.Kill(-1, unix.SIGCONT) }, unix.EPERM},
	{"signal another process's thread", func(s *scene) error {
		return unix.Tgkill(s.abroad, s.abroad, unix.SIGTERM)
	}, unix.EPERM},
	{"get a descriptor for a process", sys(unix.SYS_PIDFD_OPEN, 1, 0), unix.EPERM},
	{"start a process", func(*scene) error {
		_, err := syscall.ForkExec("/bin/true", []string{"true"}, nil)
		return err
	}, unix.EPERM},
	{"fork", sys(unix.SYS_FORK), unix.EPERM},
	{"clone with flags in memory", sys(unix.SYS_CLONE3, 0, 0), unix.EPERM},
	{"clone into a new user namespace",
		sys(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0), unix.EPERM},
	{"make a user namespace", sys(unix.SYS_UNSHARE, unix.CLONE_NEWUSER), unix.EPERM},
	{"enter a namespace", sys(unix.SYS_SETNS, 0, 0), unix.EPERM},
	// The kernel.
	{"make an io_uring", sys(unix.SYS_IO_URING_SETUP, 1, 0), unix.EPERM},
	{"load a BPF program", sys(unix.SYS_BPF, 0, 0, 0), unix.EPERM},
	{"watch performance events", sys(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0), unix.EPERM},
	{"handle page faults", sys(unix.SYS_USERFAULTFD, 0), unix.EPERM},
	{"read keys", sys(unix.SYS_KEYCTL, 0, 0, 0), unix.EPERM},
	{"get I/O ports", sys(unix.SYS_IOPL, 3), unix.EPERM},
	{"become somebody", sys(unix.SYS_SETUID, 1), unix.EPERM},
	{"be dumped", sys(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1), unix.EPERM},
	{"ask for the x32 numbers", sys(0x40000000 + unix.SYS_GETPID), unix.EPERM},
	{"call what does not exist", sys(9999), unix.EPERM},
	// Limits.
	{"raise a limit", func(*scene) error {
		return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
	}, unix.EPERM},
	{"take more memory than allowed", func(*scene) error {
		_, err := unix.Mmap(-1, 0, 4<<30, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		return err
	}, unix.ENOMEM},
	{"reserve address space", func(*scene) error {
		_, err := unix.Mmap(-1, 0, 64<<30, unix.PROT_NONE,
			unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		return err
	}, nil},
	{"write a file that is too large", func(s *scene) error {
		f, err := os.Create(s.dir + "/rw/large")
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte("x"), 32<<20)
		return err
	}, unix.EFBIG},
	// On another thread, from before.
	{"read a file elsewhere on an old thread", func(s *scene) error {
		return s.running.do(func() error { return read("/etc/passwd")(s) })
	}, unix.EACCES},
	{"make a socket on an old thread", func(s *scene) error {
		return s.running.do(func() error {
			return sys(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)(s)
		})
	}, unix.EPERM},
	// What a host does.
	{"write and remove a file of its own", func(s *scene) error {
		if err := write("DIR/rw/file")(s); err != nil {
			return err
		}
		return os.Remove(s.dir + "/rw/file")
	}, nil},
	{"make, list and remove a directory of its own", func(s *scene) error {
		sub := s.dir + "/rw/sub"
		if err := os.Mkdir(sub, 0o700); err != nil {
			return err
		}
		if err := write("DIR/rw/sub/file")(s); err != nil {
			return err
		}
		if err := os.Rename(sub+"/file", s.dir+"/rw/renamed"); err != nil {
			return err
		}
		if _, err := os.ReadDir(s.dir + "/rw"); err != nil {
			return err
		}
		return os.Remove(sub)
	}, nil},
	{"change the times of a file, and its mode", func(s *scene) error {
		path := s.dir + "/rw/changed"
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := os.Chtimes(path, time.Now(), time.Now()); err != nil {
			return err
		}
		return f.Chmod(0o400)
	}, nil},
	{"read what may be read", read("DIR/ro/file"), nil},
	{"send on an open socket", func(s *scene) error {
		if _, err := unix.Write(s.pair[0], []byte("x")); err != nil {
			return err
		}
		_, err := unix.Read(s.pair[1], make([]byte, 1))
		return err
	}, nil},
	{"share a sealed memory file", func(*scene) error {
		fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Ftruncate(fd, 1<<20); err != nil {
			return err
		}
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
		if err != nil {
			return err
		}
		m, err := unix.Mmap(fd, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		return unix.Munmap(m)
	}, nil},
	{"map code", func(*scene) error {
		m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return err
		}
		return unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC)
	}, nil},
	{"start threads", func(*scene) error {
		const threads = 200
		var here, gone sync.WaitGroup
		here.Add(threads)
		gone.Add(threads)
		for range threads {
			go func() {
				runtime.LockOSThread() // and let it end with the goroutine
				here.Done()
				here.Wait()
				gone.Done()
			}()
		}
		gone.Wait()
		return nil
	}, nil},
	{"collect garbage and take a profile", func(s *scene) error {
		f, err := os.Create(s.dir + "/rw/profile")
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		for range 20 {
			_ = make([]byte, 1<<20)
			runtime.GC()
		}
		pprof.StopCPUProfile()
		return nil
	}, nil},
	{"signal itself", func(*scene) error { return unix.Kill(os.Getpid(), unix.SIGURG) }, nil},
	{"sleep and tell the local time", func(*scene) error {
		time.Sleep(time.Millisecond)
		_ = time.Now().Local().String()
		return nil
	}, nil},
}

// lethal are what ends the process by SIGSYS.
var lethal = []attempt{
	{name: "execve", do: sys(unix.SYS_EXECVE, 0, 0, 0)},
	{name: "execveat", do: sys(unix.SYS_EXECVEAT, 0, 0, 0, 0, 0)},
	{name: "ptrace", do: sys(unix.SYS_PTRACE, unix.PTRACE_TRACEME)},
	{name: "process_vm_writev", do: sys(unix.SYS_PROCESS_VM_WRITEV, 1, 0, 0, 0, 0, 0)},
	{name: "execve by machine code", do: byDriver(unix.SYS_EXECVE)},
	{name: "finit_module", do: sys(unix.SYS_FINIT_MODULE, 0, 0, 0)},
}

const tenMiB = 10 << 20

// outcome is what a child tells of an attempt.
type outcome struct {
	Name string
	OK   bool
	Text string // of another error than the one that was wanted
}

// child is the sandboxed process.
func child(what string) int {
	runtime.LockOSThread() // what a driver does to its thread stays with its later attempts
	s := &scene{dir: os.Getenv(dirEnv), running: newSyncer(), abroad: os.Getppid()}
	if err := s.running.do(func() error { return nil }); err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s.tcp = l.Addr().String()
	if s.pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0); err != nil {
		panic(err)
	}
	if s.driver, err = newDriver(); err != nil {
		panic(err)
	}
	lacks, err := Enter(Policy{ReadWrite: []string{s.dir + "/rw"}, ReadOnly: []string{s.dir + "/ro"},
		Limits: Limits{Memory: 2 << 30, FileSize: tenMiB, Files: 1000}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, l := range lacks {
		fmt.Fprintln(os.Stderr, l)
	}
	if what == "wait" {
		fmt.Print(".")
		_, _ = os.Stdin.Read(make([]byte, 1))
		return 0
	}
	out := json.NewEncoder(os.Stdout)
	for _, a := range slices.Concat(attempts, driverAttempts, lethal) {
		deadly := slices.ContainsFunc(lethal, func(l attempt) bool { return l.name == a.name })
		if what == "all" && deadly || what != "all" && a.name != what {
			continue
		}
		err := a.do(s)
		o := outcome{Name: a.name, OK: errors.Is(err, a.want)}
		if !o.OK {
			o.Text = fmt.Sprint(err)
		}
		if err := out.Encode(o); err != nil {
			return 1
		}
	}
	return 0
}

// prepare makes a child that is not yet started, and has a pipe for a standard input.
func prepare(t *testing.T, what string) (*exec.Cmd, io.Closer) {
	t.Helper()
	for _, f := range Examine() {
		if !f.OK {
			t.Skipf("this machine lacks a part of the sandbox: %s: %s", f.Name, f.Found)
		}
	}
	dir := t.TempDir()
	for _, d := range []string{"rw", "ro"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	for _, f := range []string{"ro/file", "elsewhere"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600))
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), tryEnv+"="+what, dirEnv+"="+dir)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	return cmd, stdin
}

// start runs a child, and gives what it told and how it ended.
func start(t *testing.T, what string) (outcomes map[string]outcome, said string, err error) {
	t.Helper()
	cmd, _ := prepare(t, what)
	var errs strings.Builder
	cmd.Stderr = &errs
	text, err := cmd.Output()
	outcomes = map[string]outcome{}
	for line := range strings.Lines(string(text)) {
		var o outcome
		require.NoError(t, json.Unmarshal([]byte(line), &o), line)
		outcomes[o.Name] = o
	}
	return outcomes, errs.String(), err
}

func TestASandboxedProcess(t *testing.T) {
	outcomes, said, err := start(t, "all")
	require.NoError(t, err, said)
	for _, a := range slices.Concat(attempts, driverAttempts) {
		name := "can " + a.name
		if a.want != nil {
			name = "cannot " + a.name
		}
		t.Run(name, func(t *testing.T) {
			o, ok := outcomes[a.name]
			require.True(t, ok, "not tried: %s", said)
			assert.True(t, o.OK, "got %q, want %v", o.Text, a.want)
		})
	}
	assert.Empty(t, said)
}

func TestAnAttackEndsTheProcess(t *testing.T) {
	for _, a := range lethal {
		t.Run(a.name, func(t *testing.T) {
			outcomes, said, err := start(t, a.name)
			assert.Empty(t, outcomes)
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, said)
			assert.Equal(t, unix.SIGSYS, exit.Sys().(syscall.WaitStatus).Signal())
		})
	}
}

func TestTheFilterDecidesByNumberAndArguments(t *testing.T) {
	const pid = 4711
	p := program(pid)
	args := func(a ...uint64) [6]uint64 {
		var all [6]uint64
		copy(all[:], a)
		return all
	}
	const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
		unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	for _, c := range []struct {
		name string
		arch uint32
		nr   uint32
		args [6]uint64
		want uint32
	}{
		{"a call of every host", auditArchX8664, unix.SYS_FUTEX, args(), retAllow},
		{"the first number", auditArchX8664, unix.SYS_READ, args(), retAllow},
		{"no call", auditArchX8664, 0xFFFFFFFF, args(), retError},
		{"an attack", auditArchX8664, unix.SYS_PTRACE, args(), retKill},
		{"32-bit code", 0x40000003, 4, args(), retKill},
		{"a new thread", auditArchX8664, unix.SYS_CLONE, args(threadFlags), retAllow},
		{"a new process", auditArchX8664, unix.SYS_CLONE, args(uint64(unix.SIGCHLD)), retError},
		{"a thread in a namespace", auditArchX8664, unix.SYS_CLONE,
			args(threadFlags | unix.CLONE_NEWNS), retError},
		{"a signal to itself", auditArchX8664, unix.SYS_TGKILL, args(pid, 1, 2), retAllow},
		{"a signal to others", auditArchX8664, unix.SYS_TGKILL, args(pid+1, 1, 2), retError},
		{"a limit read", auditArchX8664, unix.SYS_PRLIMIT64, args(0, 7, 0, 1<<40), retAllow},
		{"a limit set", auditArchX8664, unix.SYS_PRLIMIT64, args(0, 7, 0xC000001000), retError},
		{"a limit set from a round address", auditArchX8664, unix.SYS_PRLIMIT64, args(0, 7, 1<<40),
			retError},
		{"the last of the values", auditArchX8664, unix.SYS_FCNTL, args(0, unix.F_GET_SEALS),
			retAllow},
		{"the first of the values", auditArchX8664, unix.SYS_FCNTL, args(0, unix.F_DUPFD_CLOEXEC),
			retAllow},
		{"a unix socket, at the start", auditArchX8664, unix.SYS_SOCKET, args(unix.AF_UNIX), retAllow},
		{"another socket, at the start", auditArchX8664, unix.SYS_SOCKET, args(unix.AF_INET), retError},
		{"none of the values", auditArchX8664, unix.SYS_FCNTL, args(0, unix.F_SETOWN), retError},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, interpret(t, p, c.arch, c.nr, c.args))
		})
	}
	t.Run("every rule", func(t *testing.T) {
		for _, nr := range unconditional {
			assert.Equal(t, uint32(retAllow), interpret(t, p, auditArchX8664, nr, args()),
				strconv.Itoa(int(nr)))
		}
		for _, nr := range fatal {
			assert.Equal(t, uint32(retKill), interpret(t, p, auditArchX8664, nr, args()))
		}
	})
	t.Run("what only a start needs", func(t *testing.T) {
		second := withoutStart()
		for _, r := range starting {
			assert.Equal(t, uint32(retError), interpret(t, second, auditArchX8664, r.nr, args()))
		}
		for _, nr := range []uint32{unix.SYS_READ, unix.SYS_FUTEX, unix.SYS_PTRACE, 9999} {
			assert.Equal(t, uint32(retAllow), interpret(t, second, auditArchX8664, nr, args()))
		}
	})
	assert.Less(t, len(p), 4096, "BPF_MAXINSNS")
}

// interpret runs the filter as Linux does.
func interpret(t *testing.T, p []unix.SockFilter, arch, nr uint32, args [6]uint64) uint32 {
	words := map[uint32]uint32{dataNr: nr, dataArch: arch}
	for i, a := range args {
		words[uint32(dataArgs+8*i)] = uint32(a)
		words[uint32(dataArgs+8*i+4)] = uint32(a >> 32)
	}
	var acc uint32
	for pc := 0; pc < len(p); pc++ {
		i := p[pc]
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = words[i.K]
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= i.K
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			yes := acc == i.K
			if i.Code == unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K {
				yes = acc >= i.K
			}
			if yes {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		default:
			t.Fatalf("instruction %d: code %#x", pc, i.Code)
		}
	}
	t.Fatal("the filter runs off its end")
	return 0
}

func TestLandlockRightsFollowTheABI(t *testing.T) {
	all := func(a unix.LandlockRulesetAttr) [3]uint64 {
		return [3]uint64{a.Handled_access_fs, a.Handled_access_net, a.Scoped}
	}
	assert.Equal(t, [3]uint64{0x1FFF, 0, 0}, all(handled(1, false)))
	assert.Equal(t, [3]uint64{0x3FFF, 0, 0}, all(handled(2, false)))
	assert.Equal(t, [3]uint64{0x7FFF, 0, 0}, all(handled(3, false)))
	assert.Equal(t, [3]uint64{0x7FFF, 3, 0}, all(handled(4, false)))
	assert.Equal(t, [3]uint64{0xFFFF, 3, 0}, all(handled(5, false)))
	assert.Equal(t, [3]uint64{0xFFFF, 3, 1}, all(handled(6, false)))
	assert.Equal(t, [3]uint64{0xFFFF, 3, 3}, all(handled(7, true)))
	assert.Equal(t, []uintptr{8, 16, 24}, []uintptr{sizeOf(3), sizeOf(5), sizeOf(99)})
}

func TestLimitsAreReadFromText(t *testing.T) {
	for text, want := range map[string]Limits{
		"memory=2G":       {Memory: 2 << 30},
		"memory=512M":     {Memory: 512 << 20},
		"file-size=100K":  {FileSize: 100 << 10},
		"file-size=7":     {FileSize: 7},
		"files=100":       {Files: 100},
		"threads=99":      {Threads: 99},
		"cpu=90s":         {CPU: 90 * time.Second},
		"cpu=unlimited":   {},
		"files=unlimited": {Files: Unlimited},
	} {
		var l Limits
		require.NoError(t, l.Set(text), text)
		assert.Equal(t, want, l, text)
	}
	for _, text := range []string{"", "memory", "memory=", "memory=0", "memory=-1", "memory=1T",
		"memory=99999999999G", "files=2K", "cpu=5", "cpu=-1s", "stack=1", "=1"} {
		var l Limits
		assert.ErrorIs(t, l.Set(text), ErrLimit, text)
	}
}

func TestWhatIsNotThereCannotBeAllowed(t *testing.T) {
	if _, err := landlockABI(); err != nil {
		t.Skipf("no Landlock on this machine: %v", err)
	}
	_, _, err := newRuleset(Policy{ReadWrite: []string{"/nonexistent/dir"}})
	assert.ErrorIs(t, err, unix.ENOENT)
	assert.ErrorContains(t, err, "/nonexistent/dir")
}

func TestALackNamesItsFeatureAndItsCost(t *testing.T) {
	l := lackLandlock(unix.ENOSYS)
	assert.ErrorIs(t, l, unix.ENOSYS)
	for _, want := range []string{"landlock", "Linux 5.13", "open every file", "not implemented"} {
		assert.ErrorContains(t, l, want)
	}
}

func TestEveryThreadIsInTheSandbox(t *testing.T) {
	cmd, stdin := prepare(t, "wait")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		stdin.Close()
		_ = cmd.Wait()
	}()
	_, err = stdout.Read(make([]byte, 1)) // it has entered
	require.NoError(t, err)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", cmd.Process.Pid))
	require.NoError(t, err)
	require.Greater(t, len(tasks), 2)
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		require.NoError(t, err)
		fields := map[string]string{}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			fields[name] = strings.TrimSpace(value)
		}
		assert.Equal(t, "1", fields["NoNewPrivs"], task)
		assert.Equal(t, "2", fields["Seccomp"], task)
		for _, set := range []string{"CapPrm", "CapEff", "CapInh"} {
			caps, err := strconv.ParseUint(fields[set], 16, 64)
			require.NoError(t, err)
			assert.Zero(t, caps&^keptCapabilities, "%s: %s", task, set)
		}
	}
}
