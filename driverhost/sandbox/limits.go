package sandbox

// Resource limits.

import (
	"errors"
	"fmt"
	"math"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound what a process uses. For each, 0 takes the default and Unlimited leaves it as it is.
// A limit is never raised: one that the process has already, and that is lower, stays.
type Limits struct {
	// Memory is the most private writable memory, in bytes (RLIMIT_DATA). Address space that is only
	// reserved does not count, nor do memory files: those of windows, and the kernel's own RAM, of
	// which there is a fixed amount. RLIMIT_AS would count the 64 GiB that the arenas reserve. The default is three quarters of the machine's
	// memory, but at least 1 GiB.
	Memory uint64
	// FileSize is the size to which a file can grow, in bytes (RLIMIT_FSIZE); a write beyond it fails.
	// There is none by default: Linux counts memory files by their length too, and the one behind
	// MmMapIoSpace is as long as the physical address space, and nearly all hole. With a limit,
	// MmMapIoSpace gives NULL for the memory of devices.
	FileSize uint64
	// Files is how many descriptors can be open. The default is 16384: a host serves 1024
	// connections, and each may have files on a volume.
	Files uint64
	// Threads is how many OS threads the process's user may have, in all its processes: Linux does
	// not count them by process (RLIMIT_NPROC). The default is 32768, above what one Go process can
	// use. Root is not bound by it.
	Threads uint64
	// CPU is how much processor time the process may use until it is killed. A host runs as long as
	// it likes, so there is none by default. It is rounded up to seconds.
	CPU time.Duration
}

// Unlimited is the value for a limit that is not to be set.
const Unlimited = math.MaxUint64

const (
	defaultFiles   = 16384
	defaultThreads = 32768
	leastMemory    = 1 << 30
)

// ErrLimit says that a limit is not understood.
var ErrLimit = errors.New("want NAME=VALUE with NAME one of memory, file-size, files, threads, " +
	"cpu, and VALUE a number (with K, M or G for bytes), a time for cpu, or unlimited")

// Set sets a limit from text such as memory=2G, cpu=90s or files=unlimited. Its error wraps
// ErrLimit.
func (l *Limits) Set(text string) error {
	name, value, _ := strings.Cut(text, "=")
	wrong := fmt.Errorf("%q: %w", text, ErrLimit)
	if name == "cpu" {
		if value == "unlimited" {
			l.CPU = 0
			return nil
		}
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return wrong
		}
		l.CPU = d
		return nil
	}
	fields := map[string]*uint64{"memory": &l.Memory, "file-size": &l.FileSize, "files": &l.Files,
		"threads": &l.Threads}
	field, ok := fields[name]
	if !ok {
		return wrong
	}
	if value == "unlimited" {
		*field = Unlimited
		return nil
	}
	shift := 0
	if name == "memory" || name == "file-size" {
		for unit, n := range map[string]int{"K": 10, "M": 20, "G": 30} {
			if digits, ok := strings.CutSuffix(value, unit); ok {
				value, shift = digits, n
				break
			}
		}
	}
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n == 0 || n > math.MaxUint64>>shift {
		return wrong
	}
	*field = n << shift
	return nil
}

// apply sets the limits, both the soft and the hard ones.
func (l Limits) apply() error {
	or := func(v, standard uint64) uint64 {
		if v == 0 {
			return standard
		}
		return v
	}
	limits := []struct {
		name     string
		resource int
		value    uint64
	}{
		{"memory", unix.RLIMIT_DATA, or(l.Memory, defaultMemory())},
		{"file size", unix.RLIMIT_FSIZE, or(l.FileSize, Unlimited)},
		{"open files", unix.RLIMIT_NOFILE, or(l.Files, defaultFiles)},
		{"threads", unix.RLIMIT_NPROC, or(l.Threads, defaultThreads)},
		{"processor time", unix.RLIMIT_CPU, or(uint64((l.CPU+time.Second-1)/time.Second), Unlimited)},
	}
	// A core dump of a host would hold its clients' data, and the 64 GiB of its arenas as holes.
	none := unix.Rlimit{}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &none); err != nil {
		return fmt.Errorf("sandbox: limit of core dumps: %w", err)
	}
	// A write beyond the limit of a file's size is to fail, not to end the process.
	signal.Ignore(unix.SIGXFSZ)
	for _, x := range limits {
		var have unix.Rlimit
		if x.value == Unlimited {
			continue
		}
		if err := unix.Getrlimit(x.resource, &have); err != nil {
			return fmt.Errorf("sandbox: limit of %s: %w", x.name, err)
		}
		set := unix.Rlimit{Cur: min(have.Cur, x.value), Max: min(have.Max, x.value)}
		if set == have {
			continue
		}
		if err := unix.Setrlimit(x.resource, &set); err != nil {
			return fmt.Errorf("sandbox: limit of %s: %w", x.name, err)
		}
	}
	return nil
}

// defaultMemory is three quarters of the machine's memory.
func defaultMemory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return Unlimited
	}
	return max(uint64(info.Totalram)*uint64(info.Unit)/4*3, leastMemory)
}

func examineLimits() Finding {
	f := Finding{Name: "resource limits", OK: true,
		Cost: "a driver that allocates without end takes the machine's memory, not only its host's"}
	var have unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_DATA, &have); err != nil {
		f.OK, f.Found = false, err.Error()
		return f
	}
	const mib = 1 << 20
	f.Found = fmt.Sprintf("memory %d MiB, %d files", min(have.Max, defaultMemory())/mib,
		defaultFiles)
	if unix.Geteuid() == 0 {
		f.Found += ", threads not limited (root)"
	} else {
		f.Found += fmt.Sprintf(", %d threads of this user", defaultThreads)
	}
	return f
}
