package floor

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pair is two coroutines that switch between each other: the caller of Swap, and one with a stack
// of its own that does nothing but switch back.
type Pair struct {
	here, there uintptr
	stack       []byte
}

// Swap switches to the other side and back, saving the callee-saved general registers and nothing
// else.
//
//go:noescape
func Swap(p *Pair)

var addrEcho, addrEmptyHandler uintptr

// NewPair makes the other side.
func NewPair() (*Pair, error) {
	stack, err := unix.Mmap(-1, 0, 1<<16, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	// What Swap pops: six registers and where to go. Zeros above end a stack trace.
	const top = 1<<16 - 128
	*(*uintptr)(unsafe.Pointer(&stack[top+6*8])) = addrEcho
	return &Pair{there: uintptr(unsafe.Pointer(&stack[top])), stack: stack}, nil
}

// Close frees the other side.
func (p *Pair) Close() error { return unix.Munmap(p.stack) }

// Trap executes one breakpoint instruction: between the two calls of HandleTraps, that is one bare
// signal there and back.
func Trap()

// HandleTraps puts an empty handler in place of the one for SIGTRAP, with the same flags, and gives
// the function that puts the old one back.
func HandleTraps() (restore func() error, err error) {
	var old struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}
	set := func(sa, old unsafe.Pointer) error {
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGTRAP), uintptr(sa),
			uintptr(old), 8, 0, 0)
		if errno != 0 {
			return fmt.Errorf("rt_sigaction: %w", errno)
		}
		return nil
	}
	if err := set(nil, unsafe.Pointer(&old)); err != nil {
		return nil, err
	}
	act := old
	act.handler = addrEmptyHandler
	if err := set(unsafe.Pointer(&act), nil); err != nil {
		return nil, err
	}
	return func() error { return set(unsafe.Pointer(&old), nil) }, nil
}
