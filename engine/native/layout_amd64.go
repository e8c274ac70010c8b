package native

import (
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/engine"
)

// Offsets into engine.Context for the assembly, which sees them as const_ctx….
const (
	ctxGPR       = engine.OffsetGPR
	ctxRIP       = engine.OffsetRIP
	ctxRFLAGS    = engine.OffsetRFLAGS
	ctxXMM6      = engine.OffsetXMM6
	ctxGSBase    = engine.OffsetGSBase
	ctxMXCSR     = engine.OffsetMXCSR
	ctxFCW       = engine.OffsetFCW
	ctxResume    = engine.OffsetResume
	ctxFaultAddr = engine.OffsetFault
	ctxFaultVec  = engine.OffsetFault + 8
	ctxFaultCode = engine.OffsetFault + 12
	ctxFaultSig  = engine.OffsetFault + 16
	ctxFaultSub  = engine.OffsetFault + 20
	ctxKick      = engine.OffsetKick
	ctxTID       = engine.OffsetTID
	ctxFrame     = engine.OffsetFrame
	ctxGates     = engine.OffsetGates
	ctxXSaveMask = engine.OffsetXSaveMask
	ctxXSaveSize = engine.OffsetXSaveSize
	ctxXSave     = engine.XSaveOffset

	exitReturn = uint32(engine.ExitReturn)
	exitCall   = uint32(engine.ExitCall)
	exitFault  = uint32(engine.ExitFault)
	exitKick   = uint32(engine.ExitKick)
	// exitArm never leaves the package: the OS thread has no owner record yet.
	exitArm = uint32(0)

	resumeReturn = uint32(engine.ResumeReturn)
	resumeFull   = uint32(engine.ResumeFull)
)

// Layout of the owner table: open addressing, keyed by FS base, linear probing. The Go runtime
// allows 10,000 threads, and its thread structures are some 2 KiB apart.
const (
	ownerKey      = 0  // FS base, keyFree or keyGone
	ownerContext  = 8  // the context that the thread runs
	ownerSP       = 16 // Go's stack pointer at the entry
	ownerBP       = 24
	ownerInGuest  = 32 // uint32: 1 from entry to leave
	ownerTID      = 36 // uint32: the OS thread's id
	ownerSelector = 40 // byte: syscall user dispatch, 0 allow, 1 block
	ownerEnd      = 44 // uint32: the thread's id, set to 0 by Linux when the thread ends
	ownerAlive    = 48 // address of a uint32 that holds the thread's id while it lives

	keyFree = 0 // ends a chain of probes
	keyGone = 1 // does not

	ownerPKRU   = 56 // uint32: the rights to load for guest code, 0 without protection keys
	ownerGoPKRU = 60 // uint32: those of Go code

	ownerSize  = 128
	ownerCount = 1 << 14
	ownerMask  = (ownerCount - 1) * ownerSize
	ownerShift = 4
)

// Offsets into the signal frame: struct ucontext and struct siginfo of Linux on x86-64
// (arch/x86/include/uapi/asm/sigcontext.h).
const (
	ucR8      = 40
	ucR9      = 48
	ucR10     = 56
	ucR11     = 64
	ucR12     = 72
	ucR13     = 80
	ucR14     = 88
	ucR15     = 96
	ucRDI     = 104
	ucRSI     = 112
	ucRBP     = 120
	ucRBX     = 128
	ucRDX     = 136
	ucRAX     = 144
	ucRCX     = 152
	ucRSP     = 160
	ucRIP     = 168
	ucEFLAGS  = 176
	ucERR     = 192
	ucTRAPNO  = 200
	ucCS      = 184
	ucSS      = 190
	ucCR2     = 216
	ucFPSTATE = 224
	fpMagic   = 464      // sw_reserved.magic1
	fpSize    = 464 + 16 // sw_reserved.xstate_size

	fpStateBV = 512 // the header's first word: which components there are

	fpMagic1 = 0x46505853

	siCode = 8
)

// Signals and vectors that the handler tells apart.
const (
	// kickSignal is a signal that the Go runtime handles and nothing uses. It is not a real-time
	// one: those are queued, and sending fails when the queue is full.
	kickSignal = uint32(unix.SIGSTKFLT)
	sysSignal  = uint32(unix.SIGSYS)
	// faultSignals has a bit for every signal by which Linux reports a fault.
	faultSignals = 1<<unix.SIGSEGV | 1<<unix.SIGBUS | 1<<unix.SIGILL | 1<<unix.SIGFPE |
		1<<unix.SIGTRAP | 1<<unix.SIGSYS

	segvSignal = uint32(unix.SIGSEGV)
	segvPKUErr = 4 // SEGV_PKUERR, an si_code

	vectorDebug     = engine.VectorDebug
	vectorPageFault = engine.VectorPageFault
	vectorSyscall   = engine.VectorSyscall
)

// Placeholders in the gate code, replaced when it is copied to the gate page, and the mark that
// ends each piece of code whose length is taken by scanning.
const (
	placeTable = 0x7ab1e7ab1e7ab1e1
	placeLeave = 0x1eaf1eaf1eaf1ea1
	endMark    = 0x0bada55e0bada55e
)
