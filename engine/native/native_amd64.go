package native

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// FeatureError names a feature of the machine that the engine cannot do without, and what would
// supply it.
type FeatureError struct {
	Feature string
	Needs   string
	Err     error
}

// Error names the feature and what would supply it.
func (e *FeatureError) Error() string {
	s := fmt.Sprintf("native engine: %s is not available: it needs %s", e.Feature, e.Needs)
	if e.Err != nil {
		s += fmt.Sprintf(" (%v)", e.Err)
	}
	return s
}

// Unwrap gives the system's own error, if there is one.
func (e *FeatureError) Unwrap() error { return e.Err }

// cpuEngine is the process's one native engine: signal handlers and system-call dispatch belong to
// the whole process.
type cpuEngine struct {
	gates       engine.Gates
	into        [3]uint64 // gates into the guest, by engine.Resume
	xsaveMask   uint64
	xsaveSize   uint64
	contextSize uintptr
	text        textRange
	armError    atomic.Pointer[FeatureError]

	registering  sync.Once
	barrier      atomic.Bool   // membarrier is registered
	registration chan struct{} // closed when that is decided

	mu      sync.Mutex
	free    []*engine.Context
	armed   []armedThread
	sweepAt int // look for ended threads when there are as many armed ones
}

// armedThread is an OS thread that has an owner record.
type armedThread struct {
	rec uintptr
	tid int
	// Keeping the runtime's thread structure reachable keeps its address, which is the record's
	// key, from being used again before the thread has ended.
	pin pinnedThread
}

var shared = sync.OnceValues(start)

// New gives the process's native engine. The first call reserves the guest's address space and
// swaps the signal handlers; later calls give the same engine.
func New() (engine.CPU, error) {
	e, err := shared()
	if err != nil {
		return nil, err
	}
	return e, nil
}

func start() (*cpuEngine, error) {
	if !hasFSGSBase() {
		return nil, &FeatureError{Feature: "FSGSBASE",
			Needs: "Linux 5.9 and a processor with wrgsbase"}
	}
	if !cpu.X86.HasOSXSAVE {
		return nil, &FeatureError{Feature: "XSAVE", Needs: "a processor with XSAVE"}
	}
	if err := makeKey(); err != nil {
		return nil, err
	}
	// The guest package's handler must be in place first: this engine's passes on to it.
	if _, err := guest.Default(); err != nil {
		return nil, err
	}
	e := &cpuEngine{registration: make(chan struct{})}
	if cpu.X86.HasAVX {
		hasAVX = 1
	}
	e.xsaveMask, e.xsaveSize = xsaveLayout()
	e.contextSize = (engine.XSaveOffset + uintptr(e.xsaveSize) + 63) &^ 63
	var err error
	if e.text, err = findText(); err != nil {
		return nil, err
	}
	if err := e.makeOwnerTable(); err != nil {
		return nil, err
	}
	if err := e.makeGatePage(); err != nil {
		return nil, err
	}
	if err := swapHandlers(e.text); err != nil {
		return nil, err
	}
	if err := shareKey(); err != nil {
		return nil, err
	}
	return e, nil
}

// hasFSGSBase asks the kernel whether user code may use wrgsbase (HWCAP2_FSGSBASE).
func hasFSGSBase() bool {
	const atHwcap2, hwcap2FSGSBase = 26, 2
	aux, err := unix.Auxv()
	if err != nil {
		return false
	}
	for _, kv := range aux {
		if kv[0] == atHwcap2 {
			return kv[1]&hwcap2FSGSBase != 0
		}
	}
	return false
}

// xsaveLayout gives the state components that a resume restores, and the size of an image that
// holds them. The protection keys' register is Go's to keep, and tile data is never enabled.
func xsaveLayout() (mask, size uint64) {
	const (
		legacyAndHeader = 512 + 64
		pkru            = 1 << 9
		tiles           = 3 << 17
	)
	mask = xgetbv() &^ (pkru | tiles)
	size = legacyAndHeader
	for i := uint32(2); i < 63; i++ {
		if mask&(1<<i) == 0 {
			continue
		}
		eax, ebx := cpuidXSave(i)
		size = max(size, uint64(eax)+uint64(ebx))
	}
	// The signal frame may carry components that are not restored: room for them, so that what
	// follows in the standard format is not cut off.
	return mask, (size + 64 + 63) &^ 63
}

func (e *cpuEngine) Name() string { return "native" }

func (e *cpuEngine) Gates() engine.Gates { return e.gates }

// slabContexts is how many contexts share one mapping, with an inaccessible page at each end.
const slabContexts = 32

func (e *cpuEngine) NewContext(limit, base nt.Addr) (*engine.Context, error) {
	if base&15 != 0 || limit >= base {
		return nil, fmt.Errorf("native engine: bad stack [%v, %v)", limit, base)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.free) == 0 {
		page := uintptr(os.Getpagesize())
		body := (e.contextSize*slabContexts + page - 1) &^ (page - 1)
		slab, err := mapGuarded(body, unix.PROT_READ|unix.PROT_WRITE)
		if err == nil {
			err = guest.Own(slab, body, guest.ProtRW)
		}
		if err != nil {
			return nil, fmt.Errorf("native engine: memory for contexts: %w", err)
		}
		for i := range uintptr(slabContexts) {
			e.free = append(e.free, contextAt(slab+i*e.contextSize))
		}
	}
	c := e.free[len(e.free)-1]
	e.free = e.free[:len(e.free)-1]
	c.Setup(limit, base, e.into, e.xsaveMask, e.xsaveSize)
	return c, nil
}

func (e *cpuEngine) FreeContext(c *engine.Context) {
	e.mu.Lock()
	e.free = append(e.free, c)
	e.mu.Unlock()
}

func (e *cpuEngine) Run(c *engine.Context) engine.Exit {
	for {
		exit := engine.Exit(run(c))
		if exit == engine.ExitCall {
			return exit
		}
		if uint32(exit) == exitArm {
			e.arm()
			continue
		}
		if exit != engine.ExitReturn {
			// On the way into the guest the state may be another than a full one.
			c.MakeFull()
		}
		return exit
	}
}

// run is one stay in the guest. It must not return between entersyscall and exitsyscall, nor grow
// the stack.
//
//go:nosplit
//go:norace
func run(c *engine.Context) uint32 {
	entersyscall()
	exit := enter(c)
	exitsyscall()
	return exit
}

// Commands of membarrier(2).
const (
	privateExpedited  = 8
	registerExpedited = 16
)

// startRegistration has membarrier registered, beside the first stay in a guest. Any earlier, the
// thread that waits for Linux then would be waited for in turn by who makes a system call on all
// threads, as a host does that enters its sandbox.
func (e *cpuEngine) startRegistration() {
	e.registering.Do(func() { go e.registerBarrier() })
}

// registerBarrier makes membarrier available to kicks, and only then entries do without their fence.
// In a process with threads Linux takes some 10 ms over it, which a host that starts need not wait
// for.
func (e *cpuEngine) registerBarrier() {
	defer close(e.registration)
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, registerExpedited, 0, 0)
	if errno != 0 {
		return
	}
	e.barrier.Store(true)
	atomic.StoreUint32(&needFence, 0)
}

// barrierAll is a full fence on every thread of the process. It cannot fail: the process is
// registered.
func barrierAll() { unix.RawSyscall(unix.SYS_MEMBARRIER, privateExpedited, 0, 0) }

var processID = os.Getpid()

// Kick is the kicker's side of the protocol that is written down at enterWindow.
func (e *cpuEngine) Kick(c *engine.Context) {
	if !c.RequestKick() {
		return
	}
	barrier := e.barrier.Load()
	if barrier {
		barrierAll()
	}
	tid := c.Thread()
	if !barrier && e.barrier.Load() {
		// Registered meanwhile: the entry may have been one without a fence. If it was not yet
		// registered here, the entry's fence was still there, or it began after the flag was set.
		barrierAll()
		tid = c.Thread()
	}
	if tid != 0 {
		// The thread may have left the context, or ended: then there is nothing to do, and the flag
		// is still set for the next entry.
		unix.RawSyscall(unix.SYS_TGKILL, uintptr(processID), uintptr(tid), uintptr(kickSignal))
	}
}

// arm makes an owner record for the OS thread that it runs on, and has Linux send raw system calls
// of guest code back as signals. It leaves the thread as it was if that is done already.
//
// A record lives as long as its thread, and no longer: a new thread may have the FS base of one
// that has ended, and is not armed. So an entry compares the record's thread id with a word that
// Linux clears when the thread ends (set_tid_address). In a program with cgo that word is the C
// library's, in its thread structure, where a new thread's id will be.
func (e *cpuEngine) arm() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	e.mu.Lock()
	defer e.mu.Unlock()
	tid := unix.Gettid()
	fs := fsBase()
	for _, t := range e.armed {
		if t.tid == tid && isOwner(t.rec, fs, uint32(tid)) {
			return
		}
	}
	e.startRegistration()
	e.sweep()
	alive, err := threadWord(fs, uint32(tid))
	if err != nil {
		e.armError.Store(err)
	}
	rec := claimOwner(fs, uint32(tid), alive)
	if alive == 0 && err == nil {
		unix.RawSyscall(unix.SYS_SET_TID_ADDRESS, rec+ownerEnd, 0, 0)
	}
	// The C library gives a new thread the memory, and the FS base, of one that has ended.
	e.armed = slices.DeleteFunc(e.armed, func(t armedThread) bool { return t.rec == rec })
	e.armed = append(e.armed, armedThread{rec: rec, tid: tid, pin: pinThread(fs)})
	const (
		setSyscallUserDispatch = 59
		dispatchOn             = 1
	)
	_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, setSyscallUserDispatch, dispatchOn,
		e.text.start, e.text.end-e.text.start, rec+ownerSelector, 0)
	if errno != 0 {
		e.armError.Store(&FeatureError{Feature: "syscall user dispatch", Needs: "Linux 5.11",
			Err: errno})
	}
}

// threadWord gives the C library's word that holds the calling thread's id until it ends, or 0 in a
// program that has no C library.
func threadWord(fs uintptr, tid uint32) (uintptr, *FeatureError) {
	if addr := idWord(); addr != 0 && holdsID(addr, tid) {
		return addr, nil
	}
	if fsWord() == uint64(fs) { // as the psABI has it for threads of a C library
		return 0, &FeatureError{Feature: "notice of a thread's end",
			Needs: "a program without cgo, or the GNU C library and CONFIG_CHECKPOINT_RESTORE"}
	}
	return 0, nil
}

// sweep frees the records of threads that have ended. It looks when their number has doubled.
func (e *cpuEngine) sweep() {
	if len(e.armed) < e.sweepAt {
		return
	}
	e.armed = slices.DeleteFunc(e.armed, func(t armedThread) bool {
		_, _, errno := unix.RawSyscall(unix.SYS_TGKILL, uintptr(processID), uintptr(t.tid), 0)
		if errno != unix.ESRCH {
			return false
		}
		releaseOwner(t.rec)
		return true
	})
	const fewest = 16
	e.sweepAt = max(2*len(e.armed), fewest)
}

// SyscallsCaught reports whether raw system calls in guest code are caught, and if not, why. It is
// known once guest code has run.
func SyscallsCaught() error {
	e, err := shared()
	if err != nil {
		return err
	}
	if f := e.armError.Load(); f != nil {
		return f
	}
	return nil
}

// errOwners says that the owner table is full; the Go runtime allows fewer threads than it has room
// for.
var errOwners = errors.New("native engine: more OS threads than owner records")
