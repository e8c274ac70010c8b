package sandbox

// Landlock: which files can be opened, and no TCP, no abstract sockets, no signals to others.

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Rights on files, by the Landlock ABI that has them first (Linux' documentation, "Landlock:
// unprivileged access control").
const (
	readRights  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeRights = readRights | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	// fileRights are those that a rule for what is no directory may have.
	fileRights = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE

	rights1 = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
)

// handled gives the rights that a kernel of some ABI can take away: all of them are taken, but for
// what rules give back.
func handled(abi int, signals bool) unix.LandlockRulesetAttr {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: rights1}
	if abi >= 2 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP |
			unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 5 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
		if signals {
			attr.Scoped |= unix.LANDLOCK_SCOPE_SIGNAL
		}
	}
	return attr
}

// sizeOf is how much of the attributes a kernel of some ABI knows.
func sizeOf(abi int) uintptr {
	const word = 8
	switch {
	case abi >= 6:
		return 3 * word
	case abi >= 4:
		return 2 * word
	}
	return word
}

// ruleset is a Landlock ruleset that is not yet in force.
type ruleset struct {
	fd     int
	abi    int
	wide   bool // one call restricts all threads
	scoped bool // signals are among what is taken away
}

// The ABI that has the flag by which one call restricts all threads.
const abiAllThreads = 8

// newRuleset makes the ruleset of a policy. Directories are looked up now.
func newRuleset(p Policy) (ruleset, *Lack, error) {
	abi, err := landlockABI()
	if err != nil {
		return ruleset{fd: -1}, lackLandlock(err), nil
	}
	r := ruleset{abi: abi, wide: abi >= abiAllThreads}
	// Without the flag each thread gets a domain of its own, and kernels before erratum 2 then keep
	// threads of one process from signalling each other: Go would stand still.
	const erratumThreads = 1 << 1
	r.scoped = r.wide || landlockErrata()&erratumThreads != 0
	attr := handled(abi, r.scoped)
	if r.fd, err = createRuleset(&attr, sizeOf(abi)); err != nil {
		return ruleset{fd: -1}, nil, fmt.Errorf("sandbox: landlock ruleset: %w", err)
	}
	add := func(paths []string, rights uint64) error {
		for _, path := range paths {
			if err := r.add(path, rights&attr.Handled_access_fs); err != nil {
				return err
			}
		}
		return nil
	}
	if err = add(p.ReadWrite, writeRights); err == nil {
		err = add(p.ReadOnly, readRights)
	}
	if err != nil {
		r.close()
		return ruleset{fd: -1}, nil, err
	}
	return r, nil, nil
}

// add gives rights back beneath a path.
func (r *ruleset) add(path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("sandbox: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("sandbox: %w", &os.PathError{Op: "stat", Path: path, Err: err})
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= fileRights
	}
	if err := addRule(r.fd, fd, rights); err != nil {
		return fmt.Errorf("sandbox: landlock rule for %s: %w", path, err)
	}
	return nil
}

func (r *ruleset) close() {
	if r.fd >= 0 {
		unix.Close(r.fd)
	}
}

// restrict puts the ruleset in force on all threads. No-new-privileges must be set on all of them.
func (r *ruleset) restrict() ([]*Lack, error) {
	if r.fd < 0 {
		return nil, nil
	}
	flags := uintptr(0)
	var err error
	if r.wide {
		flags = unix.LANDLOCK_RESTRICT_SELF_TSYNC
		err = restrictSelf(r.fd, flags)
	} else {
		err = onAllThreads(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r.fd), flags)
	}
	if errors.Is(err, unix.ENOTSUP) {
		// A program with cgo, whose threads Go does not know.
		return []*Lack{lackLandlock(err)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sandbox: landlock: %w", err)
	}
	return r.partial(), nil
}

// partial says what an older ABI leaves open.
func (r *ruleset) partial() []*Lack {
	var lacks []*Lack
	if r.abi < 3 {
		lacks = append(lacks, &Lack{"landlock's truncate right", "Linux 6.2 (Landlock ABI 3)",
			"a hostile driver can empty every file that its user may write", nil})
	}
	if r.abi < 6 || !r.scoped {
		lacks = append(lacks, &Lack{"landlock's signal scope", "Linux 6.15 (Landlock ABI 6 with " +
			"erratum 2)", "only the seccomp filter keeps a hostile driver from signalling its " +
			"user's other processes", nil})
	}
	return lacks
}

func examineLandlock() Finding {
	f := Finding{Name: "landlock", Cost: lackLandlock(nil).Cost}
	abi, err := landlockABI()
	if err != nil {
		f.Found = err.Error()
		return f
	}
	f.OK, f.Found = true, fmt.Sprintf("ABI %d", abi)
	errata := landlockErrata()
	r := ruleset{abi: abi, scoped: abi >= abiAllThreads || errata&2 != 0}
	for i, lack := range r.partial() {
		if i == 0 {
			f.OK, f.Cost = false, lack.Cost
		} else {
			f.Cost += "; " + lack.Cost
		}
		f.Found += ", without " + lack.Feature
	}
	return f
}
