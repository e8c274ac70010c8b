package native

// Protection keys: Go's memory is read-only while guest code runs, so that a stray write of a driver
// is a fault in the driver.
//
// Memory that guest code may write to (the arenas, images, contexts) has a key of its own, the
// guest's; all other memory, Go's, has key 0. A key's rights are in PKRU, a register of the thread:
// entering the guest takes away the right to write by key 0, as the last thing before the guest's
// registers are loaded, and leaving gives it back, as the first thing after the context is written.
// Reading stays allowed. WRPKRU is no privileged instruction: this is against accidents, not attacks.
//
// Linux calls signal handlers with the rights that a new process has, key 0 only; 6.12 is the first
// that can also write the frame to a stack that the interrupted code could not write to. The handler
// takes the guest's key before it touches a context, and rt_sigreturn puts back what was there.
//
// It is off unless asked for: an import call costs 100 ns with it instead of 60, 2.0 times a bare
// switch instead of 1.25 (BenchmarkImportCall), since each of the two WRPKRU is 17 ns.

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/guest"
)

// UseKeys, set before the first New, has it use a protection key. New fails then on a machine that
// cannot ([KeysAvailable]).
var UseKeys bool

// errOldKernel is of a kernel that kills a process whose signal stack the guest may not write to.
var errOldKernel = errors.New("this kernel is older")

// KeysAvailable says whether protection keys can be used on this machine: nil, or a *FeatureError.
func KeysAvailable() error {
	var name unix.Utsname
	err := unix.Uname(&name)
	release := unix.ByteSliceToString(name.Release[:])
	var major, minor int
	if _, e := fmt.Sscanf(release, "%d.%d", &major, &minor); err == nil && e != nil {
		err = fmt.Errorf("release %q: %w", release, e)
	}
	if err == nil && (major < 6 || major == 6 && minor < 12) {
		err = errOldKernel
	}
	if err == nil {
		runtime.LockOSThread() // the key's rights are the thread's
		defer runtime.UnlockOSThread()
		key, _, errno := unix.Syscall(unix.SYS_PKEY_ALLOC, 0, keyAccessDisabled, 0)
		if errno == 0 {
			_, _, _ = unix.Syscall(unix.SYS_PKEY_FREE, key, 0, 0)
			return nil
		}
		err = errno
	}
	return noKeys(err)
}

func noKeys(err error) error {
	return &FeatureError{Feature: "protection keys",
		Needs: "a processor with PKU, and Linux 6.12", Err: err}
}

// Rights to memory, as PKRU has them: two bits a key, access disabled and write disabled. Both are 0
// without protection keys.
var goRights, guestRights uint32

const (
	keyAccessDisabled = 1
	keyWriteDisabled  = 2 // of key 0, which all memory has that nobody gave another
)

// makeKey makes the key, and has package guest give it to all of its memory.
func makeKey() error {
	if !UseKeys {
		return nil
	}
	if err := KeysAvailable(); err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	key, _, errno := unix.Syscall(unix.SYS_PKEY_ALLOC, 0, 0, 0)
	if errno != 0 {
		return noKeys(errno)
	}
	const pkru = 9 // a component of the XSAVE image
	_, offset := cpuidXSave(pkru)
	pkruOffset = uintptr(offset)
	keyBits = 3 << (2 * key)
	goRights = rdpkru() &^ keyBits
	guestRights = goRights | keyWriteDisabled
	if err := guest.UseKey(int(key)); err != nil {
		return fmt.Errorf("native engine: protection key: %w", err)
	}
	return nil
}

// shareKey gives every thread of the process the rights to the guest's memory: Linux gave them to the
// one that made the key. Later threads have the rights of those that make them. The system call
// does nothing; it is made in a signal's handler, and ours comes first (notInGuest there).
func shareKey() error {
	if !UseKeys {
		return nil
	}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0); errno != 0 {
		return &FeatureError{Feature: "protection keys", Needs: "a program without cgo", Err: errno}
	}
	return nil
}
