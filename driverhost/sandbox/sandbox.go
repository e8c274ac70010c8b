package sandbox

// Enter, and what it can be told.

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Policy says what a process keeps. The zero value keeps no files and has the default limits.
type Policy struct {
	// ReadWrite are directories under which files may be read, made, written and removed, and
	// symbolic links made. They must exist.
	ReadWrite []string
	// ReadOnly are directories, or files, that may be read.
	ReadOnly []string
	// Limits bound what the process uses.
	Limits Limits
}

// Lack says that a part of the sandbox is missing on this machine.
type Lack struct {
	Feature string // such as "landlock"
	Needs   string // what would supply it
	Cost    string // what a hostile driver can do without it
	Err     error
}

// Error names the feature, what would supply it and what it costs.
func (l *Lack) Error() string {
	s := fmt.Sprintf("sandbox: %s is missing (it needs %s): %s", l.Feature, l.Needs, l.Cost)
	if l.Err != nil {
		s += fmt.Sprintf(" [%v]", l.Err)
	}
	return s
}

// Unwrap gives the system's own error, if there is one.
func (l *Lack) Unwrap() error { return l.Err }

func lackSeccomp(err error) *Lack {
	return &Lack{"seccomp", "Linux 4.17 with CONFIG_SECCOMP_FILTER",
		"a hostile driver can make any system call that its user may", err}
}

func lackLandlock(err error) *Lack {
	return &Lack{"landlock", "Linux 5.13 with CONFIG_SECURITY_LANDLOCK, and landlock among its " +
		"security modules (lsm=)", "a hostile driver can open every file that its user may", err}
}

// Entry is an entry that has begun.
type Entry struct {
	limits chan error // of what Begin does
	filter error      // why there is no filter
}

// Begin does the first half of an entry, on another goroutine: privileges, limits, and the filter
// with what a host needs for its start besides. To compile it takes Linux 0.3 ms, in which the host
// can be made.
func Begin(l Limits) *Entry {
	e := &Entry{limits: make(chan error, 1)}
	go func() { e.limits <- e.begin(l) }()
	return e
}

func (e *Entry) begin(l Limits) error {
	// The time zone's file is read at the first use of local time.
	_ = time.Now().Local().Format(time.Kitchen)
	if err := l.apply(); err != nil {
		return err
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	// No-new-privileges is the thread's own; the filter then takes both to every other thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("sandbox: no new privileges: %w", err)
	}
	e.filter = installFilter(program(unix.Getpid()))
	if e.filter == nil {
		return nil
	}
	if !unsupported(e.filter) {
		return fmt.Errorf("sandbox: seccomp: %w", e.filter)
	}
	if err := onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("sandbox: no new privileges: %w", err)
	}
	return nil
}

// Complete does the second half: files, and what only a start needs. It does what the machine can,
// and gives what is missing: an error is for what went wrong on a machine that has it all (a
// directory that is not there), and then the process is half in. Whoever wants to go on in spite of
// that should not. p.Limits is not looked at.
//
// Files, sockets and directories that are open stay open. All later threads are in the sandbox too.
func (e *Entry) Complete(p Policy) (lacks []*Lack, err error) {
	rules, lack, err := newRuleset(p)
	if err != nil {
		return nil, err
	}
	if lack != nil {
		lacks = append(lacks, lack)
	}
	defer rules.close()
	if err := <-e.limits; err != nil {
		return lacks, err
	}
	more, err := rules.restrict()
	lacks = append(lacks, more...)
	switch {
	case err != nil:
		return lacks, err
	case e.filter != nil:
		return append(lacks, lackSeccomp(e.filter)), nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := installFilter(withoutStart()); err != nil {
		return lacks, fmt.Errorf("sandbox: seccomp: %w", err)
	}
	return lacks, nil
}

// Enter puts the calling process into the sandbox: Begin and Complete.
func Enter(p Policy) (lacks []*Lack, err error) { return Begin(p.Limits).Complete(p) }

// Mode says whether a process enters, and how much a missing part matters.
type Mode string

// The modes.
const (
	On     Mode = "on"     // a missing part is a warning
	Strict Mode = "strict" // a missing part is an error
	Off    Mode = "off"    // nothing is done
)

// Unsandboxed is what is lost in mode Off.
const Unsandboxed = "no sandbox: a driver that is hostile, or has been taken over, can do all that " +
	"this user can: read and change every file, use the network, start and end programs"

// Begin is the function Begin as the mode has it.
func (m Mode) Begin(l Limits) *Entry {
	if m == Off {
		return nil
	}
	return Begin(l)
}

// Complete completes what Begin of the same mode has begun. warnings are what is missing.
func (m Mode) Complete(e *Entry, p Policy) (warnings []string, err error) {
	if m == Off {
		return []string{Unsandboxed}, nil
	}
	lacks, err := e.Complete(p)
	for _, l := range lacks {
		warnings = append(warnings, l.Error())
	}
	if err == nil && m == Strict && len(lacks) > 0 {
		err = lacks[0]
	}
	return warnings, err
}

// Foreseen gives what the warnings of Enter will be about, for who starts processes that enter.
func (m Mode) Foreseen() (warnings []string) {
	if m == Off {
		return []string{Unsandboxed}
	}
	for _, f := range Examine() {
		if !f.OK {
			warnings = append(warnings, fmt.Sprintf("sandbox: %s: %s: %s", f.Name, f.Found, f.Cost))
		}
	}
	return warnings
}

// unsupported tells what a kernel answers that does not have a feature from what is wrong with its
// use.
func unsupported(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) ||
		errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM)
}

// Finding is a part of the sandbox as this machine has it.
type Finding struct {
	Name  string
	OK    bool
	Found string
	Cost  string // of its absence
}

// Examine looks at what this machine has for a sandbox. It changes nothing.
func Examine() []Finding {
	return []Finding{examineLandlock(), examineSeccomp(), examineLimits()}
}
