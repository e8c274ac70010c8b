package engine

import (
	"errors"
	"sync/atomic"

	"github.com/drvhost/drvhost/nt"
)

// Register numbers the general registers as the instruction encoding does.
type Register uint8

// The general registers of x86-64, in encoding order.
const (
	RAX Register = iota
	RCX
	RDX
	RBX
	RSP
	RBP
	RSI
	RDI
	R8
	R9
	R10
	R11
	R12
	R13
	R14
	R15
)

var registerNames = [...]string{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}

// String gives the register's name as assemblers write it.
func (r Register) String() string { return registerNames[r&15] }

// Resume says how the next Run goes back into the guest.
type Resume uint32

// The ways to go back. Their numbers are shared with the assembly.
const (
	// ResumeReturn returns from the import call that brought the guest out: RAX and the
	// callee-saved registers are loaded, and the guest's own return address is popped.
	ResumeReturn Resume = iota
	// ResumeCall jumps to RIP with the argument registers and the callee-saved registers loaded.
	ResumeCall
	// ResumeFull loads everything: all general registers, RFLAGS and the whole XSAVE image. It
	// alone honours the trap flag.
	ResumeFull
)

// XMM is one 128-bit register.
type XMM [2]uint64

// Context is the register file of a guest thread. It lies outside the Go heap, because the
// assembly and the signal handler write it while the thread is in the guest, and it holds no Go
// pointer. Engines allocate it, directly followed by the XSAVE image.
//
// After ExitCall and ExitReturn the callee-saved registers (RBX, RBP, RSI, RDI, R12–R15,
// XMM6–15, MXCSR, the x87 control word), RFLAGS, RSP and RCX, RDX, R8, R9 are true; RAX is the
// import's index or the result. After ExitFault and ExitKick everything is.
type Context struct {
	GPR    [16]uint64
	RIP    uint64
	RFLAGS uint64
	XMM6   [10]XMM // XMM6 to XMM15, of a call exit
	GSBase uint64
	MXCSR  uint32
	FCW    uint16
	_      uint16
	Resume Resume
	Fault  Fault

	kick      uint32 // 1: leave as soon as possible
	tid       uint32 // the OS thread that runs the context now, or 0
	frame     [6]uint64
	gates     [3]uint64 // how the assembly goes in, indexed by Resume
	xsaveMask uint64    // which components ResumeFull loads
	xsaveSize uint64    // room behind the context

	StackLimit nt.Addr // lowest usable address of the guest stack
	StackBase  nt.Addr // one past the highest

	// The stack that this one goes on from, while the thread is on an expanded one; else 0.
	OuterLimit nt.Addr
	OuterBase  nt.Addr
}

// Fault describes the instruction fault that ended a Run. It uses the processor's own terms.
type Fault struct {
	Addr   uint64 // the address that was accessed, of a page fault (CR2), else 0
	Vector uint32 // x86 exception vector: 0 divide error, 6 invalid opcode, 13 #GP, 14 #PF…
	Code   uint32 // the processor's error code, of vectors that have one
	Signal uint32 // the Linux signal
	Sub    int32  // its si_code
}

// x86 exception vectors that callers ask for.
const (
	VectorDivide        = 0
	VectorDebug         = 1
	VectorBreakpoint    = 3
	VectorOverflow      = 4
	VectorBounds        = 5
	VectorInvalidOpcode = 6
	VectorStack         = 12
	VectorGeneral       = 13
	VectorPageFault     = 14
	VectorX87           = 16
	VectorAlignment     = 17
	VectorSIMD          = 19
	// VectorSyscall is none of the processor's: a raw system call, which Linux caught.
	VectorSyscall = 256
)

// Bits of a page fault's error code.
const (
	pageFaultWrite       = 2
	pageFaultInstruction = 16
)

// The fault's signal numbers, for the two cases that have no vector of their own.
const (
	SignalBus     = 7  // SIGBUS: a mapped page that has nothing behind it
	SignalSyscall = 31 // SIGSYS: a raw system call was caught
)

// IsSyscall reports a raw system-call instruction in guest code. RIP is behind the instruction,
// which is two bytes long in each of its forms; but SYSENTER does not keep RIP and RSP at all.
func (f *Fault) IsSyscall() bool { return f.Signal == SignalSyscall }

// IsPageFault reports an access that the page tables refuse.
func (f *Fault) IsPageFault() bool { return f.Vector == VectorPageFault }

// IsWrite reports that the access of a page fault was a write.
func (f *Fault) IsWrite() bool { return f.IsPageFault() && f.Code&pageFaultWrite != 0 }

// IsExecute reports that the access of a page fault was an instruction fetch.
func (f *Fault) IsExecute() bool { return f.IsPageFault() && f.Code&pageFaultInstruction != 0 }

// IsForbidden reports that the page tables allow the access of a page fault and a protection key does
// not: guest code wrote to the host's own memory.
// The error code does not always say so: not for a page that is not there yet.
func (f *Fault) IsForbidden() bool {
	const segv, keyError = 11, 4 // SIGSEGV, SEGV_PKUERR
	return f.IsPageFault() && f.Signal == segv && f.Sub == keyError
}

// Kicked reports whether a kick is waiting to be delivered.
func (c *Context) Kicked() bool { return atomic.LoadUint32(&c.kick) != 0 }

// ClearKick forgets a kick that was delivered, or that is no longer wanted.
func (c *Context) ClearKick() { atomic.StoreUint32(&c.kick, 0) }

// RequestKick marks the context as kicked, and reports whether it was not. Engines use it.
func (c *Context) RequestKick() bool { return atomic.SwapUint32(&c.kick, 1) == 0 }

// Thread gives the OS thread that runs the context now, or 0. Engines use it.
func (c *Context) Thread() int { return int(atomic.LoadUint32(&c.tid)) }

// Setup makes a context ready for its first call. Engines use it: gates are the addresses, by
// Resume, of the code that goes into the guest.
func (c *Context) Setup(limit, base nt.Addr, gates [3]uint64, xsaveMask, xsaveSize uint64) {
	*c = Context{
		RFLAGS: initialFlags, MXCSR: initialMXCSR, FCW: initialFCW, Resume: ResumeCall,
		gates: gates, xsaveMask: xsaveMask, xsaveSize: xsaveSize,
		StackLimit: limit, StackBase: base,
	}
	c.GPR[RSP] = uint64(base)
	c.resetXSave()
}

// MakeFull turns the state of a call exit, or of a call that has not begun, into a full one: the
// next Run continues at the same place, but by ResumeFull, so that every register may be changed
// before. XMM0 to XMM5, R10 and R11, which a call does not preserve, hold nothing.
//
// After an import call RIP and RSP become what they are behind the return. If the return address
// lies outside the guest stack, RIP becomes 0: to go on is to fault.
func (c *Context) MakeFull() {
	switch c.Resume {
	case ResumeFull:
		return
	case ResumeReturn:
		to, ok := c.ReturnAddress()
		c.RIP = uint64(to)
		if ok {
			c.GPR[RSP] += 8
		}
	}
	c.resetXSave()
	for i, v := range c.XMM6 {
		c.SetFullXMM(6+i, v)
	}
	c.Resume = ResumeFull
}

// What Windows gives a kernel thread: interrupts on, all SSE and x87 exceptions masked, x87
// precision 53 bits (Microsoft's "x64 software conventions").
const (
	initialFlags = 0x202
	initialMXCSR = 0x1F80
	initialFCW   = 0x27F
)

// MaxArgs is the largest number of arguments of a guest call.
const MaxArgs = 16

// ErrStack says that a guest call does not fit on the guest stack: the thread has used it up, or
// RSP points elsewhere.
var ErrStack = errors.New("guest stack overflow: no room for a call frame")

// ErrArgs says that a guest call has more than MaxArgs arguments.
var ErrArgs = errors.New("guest call with more than 16 arguments")

// Saved holds what PopCall puts back. One that is used again keeps its memory.
type Saved struct {
	gpr    [16]uint64
	rip    uint64
	rflags uint64
	xmm6   [10]XMM
	mxcsr  uint32
	fcw    uint16
	resume Resume
	fault  Fault
	xsave  []byte // a copy of the image, when the outer state is a full one
	idle   bool   // the outer state is that of a thread with no frames, and nothing is saved
}

// Sizes of the frame that PushCall builds; TrampolineAlloc is what the trampoline's unwind data
// must describe: an allocation of that many bytes above a machine frame.
//
//	outer RSP, aligned down to 16
//	        8  padding
//	       40  machine frame: RIP, CS, RFLAGS, RSP, SS of the outer frame
//	       96  arguments 5 to 16
//	       32  home space of the first four
//	        8  return address: the trampoline
//	RSP at the callee's first instruction
const (
	TrampolineAlloc  = 128
	machineFrameSize = 40
	callFrameSize    = 8 + machineFrameSize + TrampolineAlloc + 8
)

// PushCall prepares the next Run to call fn with args on the guest stack of c, below what is on
// it, and to come back with ExitReturn when fn returns through trampoline. outerRIP is where an
// unwinder continues in the frame below. What the context held goes to s for PopCall; registers of
// a context with nothing on its stack mean nothing, and are not kept.
// Each argument fills a 64-bit slot, the first four go to RCX, RDX, R8 and R9 (Microsoft's x64
// calling convention).
func (c *Context) PushCall(s *Saved, trampoline, fn, outerRIP nt.Addr, args ...uint64) error {
	if len(args) > MaxArgs {
		return ErrArgs
	}
	outer := c.GPR[RSP]
	top := outer &^ 15
	if outer > uint64(c.StackBase) || top < uint64(c.StackLimit)+callFrameSize {
		return ErrStack
	}
	if s.idle = c.Resume == ResumeCall && outer == uint64(c.StackBase); !s.idle {
		s.gpr, s.rip, s.rflags, s.xmm6 = c.GPR, c.RIP, c.RFLAGS, c.XMM6
		s.mxcsr, s.fcw, s.resume, s.fault = c.MXCSR, c.FCW, c.Resume, c.Fault
	}
	if c.Resume == ResumeFull {
		s.xsave = append(s.xsave[:0], c.XSave()...)
		// The callee-saved XMM registers of the outer frame are live in the image only. The control
		// words are those of code that did not make this call, so the callee gets the usual ones.
		for i := range c.XMM6 {
			c.XMM6[i] = c.fullXMM(6 + i)
		}
		c.MXCSR, c.FCW = initialMXCSR, initialFCW
	}
	f := c.callFrame(top - callFrameSize)
	f.ret = uint64(trampoline)
	for i, a := range args {
		f.args[i] = a
	}
	f.machine = [5]uint64{uint64(outerRIP), codeSelector, c.RFLAGS, outer, dataSelector}
	for i, r := range [...]Register{RCX, RDX, R8, R9} {
		if i < len(args) {
			c.GPR[r] = args[i]
		}
	}
	c.GPR[RSP] = top - callFrameSize
	c.RIP = uint64(fn)
	c.RFLAGS = initialFlags
	c.Resume = ResumeCall
	return nil
}

// PopCall puts back the state that PushCall saved.
func (c *Context) PopCall(s *Saved) {
	if s.idle {
		c.DropFrame()
		c.RIP = 0
		return
	}
	c.GPR, c.RIP, c.RFLAGS, c.XMM6 = s.gpr, s.rip, s.rflags, s.xmm6
	c.MXCSR, c.FCW, c.Resume, c.Fault = s.mxcsr, s.fcw, s.resume, s.fault
	if s.resume == ResumeFull {
		copy(c.XSave(), s.xsave)
	}
}

// Selectors of 64-bit user mode on Linux, as they stand in a machine frame.
const (
	codeSelector = 0x33
	dataSelector = 0x2B
)

// OnStack reports whether [addr, addr+size) lies within the context's guest stack.
func (c *Context) OnStack(addr, size uint64) bool {
	return addr >= uint64(c.StackLimit) && addr <= uint64(c.StackBase) &&
		size <= uint64(c.StackBase)-addr
}

// Height gives the place of an address on the guest stack: it grows from the innermost frame to the
// outermost, also where an expanded stack ends and the one that it goes on from continues, wherever
// the two lie. ok is false if the address is on neither. Both ends of a stack belong to it.
func (c *Context) Height(addr uint64) (h uint64, ok bool) {
	low, high := uint64(c.StackLimit), uint64(c.StackBase)
	if addr >= low && addr <= high {
		return addr - low, true
	}
	if from := uint64(c.OuterLimit); c.OuterBase != 0 && addr >= from && addr <= uint64(c.OuterBase) {
		return high - low + 8 + addr - from, true
	}
	return 0, false
}

// Frame is Height of a stack pointer with something above it: ok is false at the top of a stack,
// and if it is no multiple of 8.
func (c *Context) Frame(rsp uint64) (h uint64, ok bool) {
	if rsp%8 != 0 || rsp == uint64(c.StackBase) || rsp == uint64(c.OuterBase) {
		return 0, false
	}
	return c.Height(rsp)
}

// Arg gives argument i (from 0) of the import call that ended the last Run. ok is false when it
// would lie outside the guest stack.
func (c *Context) Arg(i int) (v uint64, ok bool) {
	switch i {
	case 0:
		return c.GPR[RCX], true
	case 1:
		return c.GPR[RDX], true
	case 2:
		return c.GPR[R8], true
	case 3:
		return c.GPR[R9], true
	}
	at := c.GPR[RSP] + 8 + 8*uint64(i)
	if !c.OnStack(at, 8) || at&7 != 0 {
		return 0, false
	}
	return *c.word(at), true
}

// ReturnAddress gives the address to which the import call that ended the last Run returns.
func (c *Context) ReturnAddress() (addr nt.Addr, ok bool) {
	at := c.GPR[RSP]
	if !c.OnStack(at, 8) || at&7 != 0 {
		return 0, false
	}
	return nt.Addr(*c.word(at)), true
}

// DropFrame discards everything on the guest stack, for a thread that starts anew.
func (c *Context) DropFrame() {
	c.GPR[RSP] = uint64(c.StackBase)
	c.RFLAGS, c.MXCSR, c.FCW, c.Resume = initialFlags, initialMXCSR, initialFCW, ResumeCall
}
