// The system calls that make and change mappings at chosen addresses.

package guest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/drvhost/drvhost/nt"
	"golang.org/x/sys/unix"
)

// reservedFlags are the mmap flags of address space that is taken but holds nothing.
const reservedFlags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE

// mmap is mmap(2) at exactly addr; flags says whether what is there gets replaced (MAP_FIXED) or
// is an error (MAP_FIXED_NOREPLACE).
func mmap(addr, size uintptr, prot Prot, flags, fd int, off int64) error {
	got, _, errno := unix.Syscall6(unix.SYS_MMAP, addr, size, uintptr(prot), uintptr(flags),
		uintptr(fd), uintptr(off))
	if errno != 0 {
		return errno
	}
	if got != addr {
		// Linux before 4.17 takes MAP_FIXED_NOREPLACE for a hint.
		munmap(got, size)
		return unix.EEXIST
	}
	return Own(addr, size, prot)
}

// protectionKey is the key of all guest memory, 0 for none.
var protectionKey int

// UseKey gives all guest memory a protection key of the processor's. It is called before anything is
// allocated.
func UseKey(key int) error {
	protectionKey = key
	s := defaultSpace.Load()
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(*s.table.Load()) > 0 {
		return errors.New("guest: there is memory without a protection key already")
	}
	for i := range s.arenas {
		for _, f := range s.arenas[i].free.spans {
			if err := Own(f.start, f.end-f.start, ProtNone); err != nil {
				return err
			}
		}
	}
	return nil
}

// Own gives memory that the guest may touch the key of UseKey, if there is one. prot is what the
// memory has already.
func Own(addr, size uintptr, prot Prot) error {
	if protectionKey == 0 {
		return nil
	}
	_, _, errno := unix.Syscall6(unix.SYS_PKEY_MPROTECT, addr, size, uintptr(prot),
		uintptr(protectionKey), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// munmap is munmap(2).
func munmap(addr, size uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_MUNMAP, addr, size, 0); errno != 0 {
		return errno
	}
	return nil
}

// mprotect is mprotect(2).
func mprotect(addr, size uintptr, prot Prot) error {
	_, _, errno := unix.Syscall(unix.SYS_MPROTECT, addr, size, uintptr(prot))
	if errno != 0 {
		return errno
	}
	return nil
}

// madvise is madvise(2).
func madvise(addr, size uintptr, advice int) error {
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, addr, size, uintptr(advice))
	if errno != 0 {
		return errno
	}
	return nil
}

// MapError is the error of an allocation, a change or a release that the system refused. It
// unwraps to the cause and to STATUS_INSUFFICIENT_RESOURCES.
type MapError struct {
	Op   string // what was tried, such as "allocate"
	What string // the name of the region
	Size uintptr
	Err  error
}

// Error names the operation, the cause and, where it is that, the limit that was hit.
func (e *MapError) Error() string {
	s := fmt.Sprintf("guest: cannot %s %#x bytes (%s): %v", e.Op, e.Size, e.What, e.Err)
	if errors.Is(e.Err, unix.ENOMEM) {
		s += limitHint(mappings())
	}
	return s
}

// limitHint says what to do when the number of mappings is, or nearly is, at its limit.
func limitHint(have, limit int) string {
	if limit == 0 || have+4 < limit {
		return ""
	}
	return fmt.Sprintf(": the process has %d mappings and may have %d: raise vm.max_map_count "+
		"with sysctl", have, limit)
}

// Status gives STATUS_INSUFFICIENT_RESOURCES.
func (e *MapError) Status() nt.Status { return nt.STATUS_INSUFFICIENT_RESOURCES }

// Unwrap gives the cause and the status.
func (e *MapError) Unwrap() []error { return []error{e.Err, e.Status()} }

// mappings counts the mappings of this process and reads how many Linux allows it. A number that
// cannot be had is 0.
func mappings() (have, limit int) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err == nil {
		have = bytes.Count(maps, []byte{'\n'})
	}
	text, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if err == nil {
		fmt.Sscan(string(text), &limit)
	}
	return have, limit
}

// mapping is one line of /proc/self/maps.
type mapping struct {
	start, end uintptr
	name       string
}

// readMappings gives the mappings of this process in order.
func readMappings() ([]mapping, error) {
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	var out []mapping
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			return nil, fmt.Errorf("/proc/self/maps: line %q has too few fields", line)
		}
		start, end, _ := strings.Cut(f[0], "-")
		from, err := strconv.ParseUint(start, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("/proc/self/maps: line %q: %w", line, err)
		}
		to, err := strconv.ParseUint(end, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("/proc/self/maps: line %q: %w", line, err)
		}
		m := mapping{start: uintptr(from), end: uintptr(to)}
		if len(f) > 5 {
			m.name = f[5]
		}
		out = append(out, m)
	}
	return out, nil
}
