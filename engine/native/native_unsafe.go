package native

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"
	_ "unsafe"

	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/nt"
)

// The runtime's own brackets around a system call, which gVisor uses too: between them the
// goroutine does not hold up the garbage collector.
//
//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// In assembly.

//go:noescape
func enter(c *engine.Context) (exit uint32)

// Where the assembly's functions start. (A Go func value would point at a wrapper.)
var (
	addrEnterWindow   uintptr
	addrLeave         uintptr
	addrLeaveFull     uintptr
	addrGateFast      uintptr
	addrGateReturnTo  uintptr
	addrGateFull      uintptr
	addrGateCall      uintptr
	addrGateReturn    uintptr
	addrSignalHandler uintptr
	addrSignalReturn  uintptr
)

func fsBase() uintptr
func fsWord() uint64
func xgetbv() uint64
func rdpkru() uint32
func cpuidXSave(component uint32) (eax, ebx uint32)

// State that the assembly reads.
var (
	ownerTable uintptr
	hasAVX     uint8
	needFence  uint32      = 1 // until membarrier is registered
	goMXCSR    uint32      = 0x1F80
	keyBits    uint32      // the bits of PKRU that are the guest key's, 0 without one
	pkruOffset uintptr     // of PKRU in a signal frame's XSAVE image
	previous   [65]uintptr // handlers to pass signals on to

	// Where an interrupted thread may be besides guest code.
	enterStart, enterEnd         uintptr
	leaveStart, leaveEnd         uintptr
	leaveFullStart, leaveFullEnd uintptr
	gateInStart, gateInEnd       uintptr
	gateOutStart, gateOutEnd     uintptr
)

// pinnedThread keeps a thread structure of the runtime reachable.
type pinnedThread = unsafe.Pointer

func pinThread(fs uintptr) pinnedThread { return pointer(fs) }

// pointer is the one place where an address becomes a pointer.
func pointer(addr uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

func contextAt(addr uintptr) *engine.Context { return (*engine.Context)(pointer(addr)) }

// mapGuarded maps size bytes with an inaccessible page before and behind.
func mapGuarded(size uintptr, prot int) (uintptr, error) {
	page := uintptr(os.Getpagesize())
	base, err := unix.MmapPtr(-1, 0, nil, size+2*page, unix.PROT_NONE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return 0, err
	}
	body := unsafe.Add(base, page)
	if err := mprotect(body, size, prot); err != nil {
		return 0, err
	}
	return uintptr(body), nil
}

func mprotect(p unsafe.Pointer, size uintptr, prot int) error {
	return unix.Mprotect(unsafe.Slice((*byte)(p), size), prot)
}

func (e *cpuEngine) makeOwnerTable() error {
	base, err := mapGuarded(ownerCount*ownerSize, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return fmt.Errorf("native engine: owner table: %w", err)
	}
	ownerTable = base
	return nil
}

func ownerKeyAt(i uintptr) *uintptr { return (*uintptr)(pointer(ownerTable + i + ownerKey)) }

// claimOwner makes the record for the thread with FS base fs, and gives its address. alive is where
// the thread's id is while it lives, 0 for a field of the record. The key is stored last: the
// signal handler of another thread may be probing.
func claimOwner(fs uintptr, tid uint32, alive uintptr) (rec uintptr) {
	i := fs >> ownerShift & ownerMask
	gone := uintptr(0)
	for range ownerCount {
		switch key := atomic.LoadUintptr(ownerKeyAt(i)); {
		case key == keyGone && gone == 0:
			gone = ownerTable + i
		case key == fs:
			rec = ownerTable + i // of a thread that has ended
		case key == keyFree:
			rec = ownerTable + i
			if gone != 0 {
				rec = gone
			}
		}
		if rec != 0 {
			break
		}
		i = (i + ownerSize) & ownerMask
	}
	if rec == 0 {
		panic(errOwners)
	}
	if alive == 0 {
		alive = rec + ownerEnd
		*(*uint32)(pointer(alive)) = tid
	}
	*(*uintptr)(pointer(rec + ownerAlive)) = alive
	*(*uint32)(pointer(rec + ownerTID)) = tid
	*(*uint32)(pointer(rec + ownerPKRU)) = guestRights
	*(*uint32)(pointer(rec + ownerGoPKRU)) = goRights
	atomic.StoreUintptr((*uintptr)(pointer(rec+ownerKey)), fs)
	return rec
}

// isOwner reports whether rec is the record of the calling thread, and not of one that had the same
// FS base before it.
func isOwner(rec, fs uintptr, tid uint32) bool {
	return *(*uintptr)(pointer(rec + ownerKey)) == fs &&
		holdsID(*(*uintptr)(pointer(rec + ownerAlive)), tid)
}

// releaseOwner frees a record whose thread has ended. Its place becomes free where no chain of
// probes can pass through it: when a free one follows.
func releaseOwner(rec uintptr) {
	i := rec - ownerTable
	atomic.StoreUintptr(ownerKeyAt(i), keyGone)
	if atomic.LoadUintptr(ownerKeyAt((i+ownerSize)&ownerMask)) != keyFree {
		return
	}
	for atomic.LoadUintptr(ownerKeyAt(i)) == keyGone {
		atomic.StoreUintptr(ownerKeyAt(i), keyFree)
		i = (i - ownerSize) & ownerMask
	}
}

// idWord gives the word that Linux clears when the calling thread ends, or 0. In a program without
// cgo there is none, until one is set; the C library has one for its own use.
func idWord() (addr uintptr) {
	const getTIDAddress = 40
	unix.RawSyscall(unix.SYS_PRCTL, getTIDAddress, uintptr(unsafe.Pointer(&addr)), 0)
	return addr
}

// holdsID reports whether the word at addr, which Linux will write to, holds the thread's id.
func holdsID(addr uintptr, tid uint32) bool { return *(*uint32)(pointer(addr)) == tid }

// codeOf gives the machine code of an assembly function, up to its end mark.
func codeOf(addr uintptr) []byte {
	const longest = 1024
	window := unsafe.Slice((*byte)(pointer(addr)), longest)
	mark := binary.LittleEndian.AppendUint64(nil, endMark)
	n := bytes.Index(window, mark)
	if n < 0 {
		panic("native engine: an assembly function has no end mark")
	}
	return window[:n]
}

// makeGatePage copies the gate code to a page of its own and fills in the addresses it needs.
func (e *cpuEngine) makeGatePage() error {
	const slot = 0x200
	pageSize := uintptr(os.Getpagesize())
	page, err := mapGuarded(pageSize, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return fmt.Errorf("native engine: gate page: %w", err)
	}
	span := func(addr uintptr) (start, end uintptr) {
		return addr, addr + uintptr(len(codeOf(addr)))
	}
	leaveStart, leaveEnd = span(addrLeave)
	leaveFullStart, leaveFullEnd = span(addrLeaveFull)
	enterStart, enterEnd = span(addrEnterWindow)

	mem := unsafe.Slice((*byte)(pointer(page)), pageSize)
	for i := range mem {
		mem[i] = 0xCC // int3
	}
	place := func(n int, addr uintptr) uintptr {
		code := codeOf(addr)
		if len(code) > slot {
			panic("native engine: gate code is larger than its slot")
		}
		code = bytes.ReplaceAll(code, word(placeTable), word(uint64(ownerTable)))
		code = bytes.ReplaceAll(code, word(placeLeave), word(uint64(addrLeave)))
		copy(mem[n*slot:], code)
		return page + uintptr(n)*slot
	}
	e.into[engine.ResumeReturn] = uint64(place(0, addrGateReturnTo))
	e.into[engine.ResumeCall] = uint64(place(1, addrGateFast))
	e.into[engine.ResumeFull] = uint64(place(2, addrGateFull))
	gateInStart, gateInEnd = page, page+3*slot
	e.gates.Call = nt.Addr(place(3, addrGateCall))
	e.gates.Return = nt.Addr(place(4, addrGateReturn))
	gateOutStart, gateOutEnd = page+3*slot, page+5*slot
	return mprotect(pointer(page), pageSize, unix.PROT_READ|unix.PROT_EXEC)
}

func word(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// sigaction is the kernel's struct, not the C library's.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// swapHandlers puts signalHandler before the handlers that are there, and keeps their flags and
// mask. It keeps the restorer too, but for one that is not in Go's text, as in a program with cgo:
// a raw system call that is made there, in the middle of guest code, kills the process.
func swapHandlers(text textRange) error {
	const lastSignal = 64
	for sig := unix.Signal(1); sig <= lastSignal; sig++ {
		if sig == unix.SIGKILL || sig == unix.SIGSTOP {
			continue
		}
		var sa sigaction
		if err := rtSigaction(sig, nil, &sa); err != nil {
			return err
		}
		const ignored = 1
		if sa.handler <= ignored {
			if sig < 32 && (1<<sig)&(faultSignals|1<<kickSignal) != 0 {
				return fmt.Errorf("native engine: signal %d (%v) has no handler: Go's is missing",
					sig, sig)
			}
			continue
		}
		previous[sig] = sa.handler
		sa.handler = addrSignalHandler
		if !text.holds(sa.restorer) {
			sa.restorer = addrSignalReturn
		}
		if err := rtSigaction(sig, &sa, nil); err != nil {
			return err
		}
	}
	return nil
}

func rtSigaction(sig unix.Signal, set, old *sigaction) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	if errno != 0 {
		return fmt.Errorf("native engine: rt_sigaction of signal %d: %w", sig, errno)
	}
	return nil
}

// textRange is where Go's own machine code lies.
type textRange struct{ start, end uintptr }

func (t textRange) holds(addr uintptr) bool { return addr >= t.start && addr < t.end }

// findText finds the mapping that holds this package's assembly, which is the whole program's text.
func findText() (textRange, error) {
	at := addrSignalHandler
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return textRange{}, fmt.Errorf("native engine: where Go's code lies: %w", err)
	}
	for line := range strings.Lines(string(maps)) {
		span, _, _ := strings.Cut(line, " ")
		lo, hi, ok := strings.Cut(span, "-")
		if !ok {
			continue
		}
		start, err1 := strconv.ParseUint(lo, 16, 64)
		end, err2 := strconv.ParseUint(hi, 16, 64)
		text := textRange{uintptr(start), uintptr(end)}
		if err1 == nil && err2 == nil && text.holds(at) {
			return text, nil
		}
	}
	return textRange{}, fmt.Errorf("native engine: no mapping holds address %#x", at)
}
