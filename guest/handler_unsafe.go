//go:build linux && amd64

// Installs the signal handler that turns faults of the access routines into errors.

package guest

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// accessRange is one access routine as the signal handler sees it: an instruction in [start, end)
// that faults resumes at landing.
type accessRange struct{ start, end, landing uintptr }

// accessRanges is read by onAccessFault, up to a row of zeros. It is written once, before the
// handler is installed.
var accessRanges [32]accessRange

// The handlers that were there before; onAccessFault jumps to them. They are written once, before
// the handler is installed.
var prevSIGSEGV, prevSIGBUS uintptr

// sigaction is the kernel's struct sigaction of x86-64.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// rtSigaction is rt_sigaction(2). The C library's numbering and layout do not come into it.
func rtSigaction(sig unix.Signal, act, old *sigaction) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(act)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(act.mask), 0, 0)
	if errno != 0 {
		return fmt.Errorf("guest: rt_sigaction(%v): %w", sig, errno)
	}
	return nil
}

// installHandler puts onAccessFault before the handlers of SIGSEGV and SIGBUS. It changes nothing
// else about them: Go's flags (alternate stack, siginfo), mask and restorer stay.
func installHandler() error {
	if err := findRoutines(); err != nil {
		return err
	}
	for _, s := range []struct {
		sig  unix.Signal
		prev *uintptr
	}{{unix.SIGSEGV, &prevSIGSEGV}, {unix.SIGBUS, &prevSIGBUS}} {
		var act sigaction
		if err := rtSigaction(s.sig, nil, &act); err != nil {
			return err
		}
		if act.handler <= 1 { // SIG_DFL or SIG_IGN
			return fmt.Errorf("guest: no handler of %v to chain to: the Go runtime's is missing",
				s.sig)
		}
		*s.prev = act.handler
		act.handler = onAccessFaultPC()
		if err := rtSigaction(s.sig, &act, nil); err != nil {
			return err
		}
	}
	return nil
}

// findRoutines fills accessRanges. The assembler gives a function's start; its end is where the
// runtime's function table names another function, asked in steps of the linker's alignment.
func findRoutines() error {
	const align = 16
	n := uintptr(0)
	for ; n < uintptr(len(accessRanges)-1); n++ {
		start, landing := routine(n)
		if start == 0 {
			return nil
		}
		f := runtime.FuncForPC(start)
		if f == nil || f.Entry() != start || start%align != 0 {
			return fmt.Errorf("guest: access routine %d at %#x is not in the function table",
				n, start)
		}
		end := start + align
		for g := runtime.FuncForPC(end); g != nil && g.Entry() == start; {
			end += align
			g = runtime.FuncForPC(end)
		}
		accessRanges[n] = accessRange{start, end, landing}
	}
	return fmt.Errorf("guest: more than %d access routines", n)
}
