// The way into the guest and out of it.

#include "textflag.h"
#include "go_asm.h"

#define GPR(n) (const_ctxGPR+8*n)
#define XMM(n) (const_ctxXMM6+16*(n-6))
// Flags that Go must not run with: AC, NT, DF, TF.
#define ODD_FLAGS $0x44500
// What ResumeReturn and ResumeCall load of RFLAGS: all that user code may set but TF, which would
// trap before the guest is reached.
#define CALL_FLAGS $0x244CD5
// What ResumeFull loads: the same and TF. IOPL, RF and VM are not user code's to set.
#define FULL_FLAGS $0x244DD5

// WRPKRU loads the rights in EAX; ECX and EDX must be 0.
#define WRPKRU BYTE $0x0F; BYTE $0x01; BYTE $0xEF

// GO_RIGHTS gives Go code its rights to memory back. It uses AX, CX and DX; R10 is the owner record.
#define GO_RIGHTS \
	MOVL const_ownerGoPKRU(R10), AX \
	TESTL AX, AX                    \
	JEQ unlocked                    \
	XORL CX, CX                     \
	XORL DX, DX                     \
	WRPKRU                          \
unlocked:

// endMark, as data between functions.
#define END_MARK \
	QUAD $const_endMark

// func enter(c *engine.Context) (exit uint32)
//
// Finds the thread's owner record and goes into the guest. Go's frame below it:
//
//	SP+16  result
//	SP+8   c
//	SP     return address into run; leave returns through it
TEXT ·enter(SB), NOSPLIT|NOFRAME, $0-12
	MOVQ c+0(FP), DI
	RDFSBASEQ AX
	MOVQ AX, R8
	SHRQ $const_ownerShift, R8
	ANDL $const_ownerMask, R8
	MOVQ ·ownerTable(SB), SI
probe:
	MOVQ (SI)(R8*1), R9
	CMPQ R9, AX
	JEQ found
	TESTQ R9, R9
	JEQ unknown
	ADDL $const_ownerSize, R8
	ANDL $const_ownerMask, R8
	JMP probe
unknown:
	MOVL $const_exitArm, exit+8(FP)
	RET
found:
	LEAQ (SI)(R8*1), R10
	MOVQ const_ownerAlive(R10), R9
	MOVL const_ownerTID(R10), AX
	CMPL AX, (R9)
	JNE unknown // the record of a thread that has ended, and had the same FS base
	MOVQ DI, const_ownerContext(R10)
	MOVQ SP, const_ownerSP(R10)
	MOVQ BP, const_ownerBP(R10)
	MOVL AX, const_ctxTID(DI)
	JMP ·enterWindow(SB)

// enterWindow loads the guest's registers. From its second instruction on the thread counts as in
// the guest; a signal that finds it here, or in the gates to which it jumps, rolls the entry back.
// The context is only read (but for the frame that IRETQ pops), so rolling back means leaving.
//
// The kick protocol. No kick is lost: one that is requested before the guest is left ends that
// stay, or else the next entry does not happen.
//
//	kicker                             this thread
//	K1  kick = 1                       E1  tid = this thread's id
//	K2  membarrier                     E2  inGuest = 1
//	K3  read tid                       E3  read kick: if set, leave with ExitKick
//	K4  if not 0: tgkill(tid)          …   guest code
//	                                   L1  tid = 0
//	                                   L2  inGuest = 0
//
// K2 is a full fence on every thread of the process, and so cuts this thread's steps in two. If the
// cut is before E3, E3 sees the flag. If it is after E3, it is after E1 too, so K3 sees the thread
// (or L1, and then the stay is over: the next E3 sees the flag), and the signal comes. What the
// signal finds decides:
//
//	inGuest = 0 (before E2, after L2)  nothing is done: the next E3 sees the flag
//	between E2 and the guest           the entry is rolled back: ExitKick
//	guest code                         the registers are saved: ExitKick
//	between the guest and L2           nothing is done: the guest is leaving, the next E3 sees it
//	in another context                 nothing is done, unless that one was kicked as well
//
// A flag that is set already has a kicker between K1 and K4, or has been through it, so a second
// one does nothing. Without K2, E3 would need a fence before it in every entry (3.4 ns of 62); until
// membarrier is registered, and where Linux has none, there is one.
TEXT ·enterWindow(SB), NOSPLIT|NOFRAME, $0-0
	MOVL $1, const_ownerInGuest(R10)
	CMPL ·needFence(SB), $0
	JNE fence
fenced:
	MOVL $const_exitKick, AX
	CMPL const_ctxKick(DI), $0
	JNE kicked
	MOVB $1, const_ownerSelector(R10)
	MOVQ const_ctxGSBase(DI), AX
	WRGSBASEQ AX
	MOVL const_ctxResume(DI), CX
	CMPL CX, $const_resumeFull
	JEQ full

	LDMXCSR const_ctxMXCSR(DI)
	FLDCW const_ctxFCW(DI)
	MOVUPS XMM(6)(DI), X6
	MOVUPS XMM(7)(DI), X7
	MOVUPS XMM(8)(DI), X8
	MOVUPS XMM(9)(DI), X9
	MOVUPS XMM(10)(DI), X10
	MOVUPS XMM(11)(DI), X11
	MOVUPS XMM(12)(DI), X12
	MOVUPS XMM(13)(DI), X13
	MOVUPS XMM(14)(DI), X14
	MOVUPS XMM(15)(DI), X15
	MOVL const_ownerPKRU(R10), AX
	MOVQ (const_ctxGates)(DI)(CX*8), R10
	TESTL ODD_FLAGS, const_ctxRFLAGS(DI)
	JNE flags
flagged:
	PUSHQ GPR(5)(DI)
	POPQ BP
	// From here on Go's memory, its stack too, may be out of bounds for writes.
	TESTL AX, AX
	JEQ unlocked
	XORL CX, CX
	XORL DX, DX
	WRPKRU
unlocked:
	MOVQ const_ctxRIP(DI), R11
	MOVQ GPR(0)(DI), AX
	MOVQ GPR(1)(DI), CX
	MOVQ GPR(2)(DI), DX
	MOVQ GPR(3)(DI), BX
	MOVQ GPR(6)(DI), SI
	MOVQ GPR(8)(DI), R8
	MOVQ GPR(9)(DI), R9
	MOVQ GPR(12)(DI), R12
	MOVQ GPR(13)(DI), R13
	MOVQ GPR(14)(DI), R14
	MOVQ GPR(15)(DI), R15
	JMP R10
flags:
	MOVL const_ctxRFLAGS(DI), R11
	ANDL CALL_FLAGS, R11
	PUSHQ R11
	POPFQ
	JMP flagged

fence:
	MFENCE
	JMP fenced

kicked:
	MOVQ DI, R11
	JMP ·leaveFull(SB)

full:
	// The frame for IRETQ: RIP, CS, RFLAGS, RSP, SS. It must be 16-byte aligned only for speed.
	MOVQ const_ctxRIP(DI), AX
	MOVQ AX, (const_ctxFrame+0)(DI)
	MOVQ $0x33, (const_ctxFrame+8)(DI)
	MOVQ const_ctxRFLAGS(DI), AX
	ANDQ FULL_FLAGS, AX
	ORQ $0x202, AX
	MOVQ AX, (const_ctxFrame+16)(DI)
	MOVQ GPR(4)(DI), AX
	MOVQ AX, (const_ctxFrame+24)(DI)
	MOVQ $0x2B, (const_ctxFrame+32)(DI)
	MOVL const_ctxXSaveMask(DI), AX
	MOVL (const_ctxXSaveMask+4)(DI), DX
	XRSTOR64 const_ctxXSave(DI)
	PUSHQ GPR(5)(DI)
	POPQ BP
	MOVL const_ownerPKRU(R10), AX
	TESTL AX, AX
	JEQ unlockedFull
	XORL CX, CX
	XORL DX, DX
	WRPKRU
unlockedFull:
	MOVQ (const_ctxGates+16)(DI), R10
	JMP R10
	END_MARK

// leave comes back from gateCall and gateReturn, on Go's stack already. R10 is the owner record,
// R11 the context, AX the exit. A kick that arrives from the gate to here is left pending.
//
// Go keeps its own MXCSR; of the x87 state it needs nothing, but pending unmasked exceptions would
// surface at the next x87 instruction, so an unusual control word is reset with the rest.
TEXT ·leave(SB), NOSPLIT|NOFRAME, $0-0
	PUSHFQ
	POPQ const_ctxRFLAGS(R11)
	TESTL ODD_FLAGS, const_ctxRFLAGS(R11)
	JEQ flagsClean
	PUSHQ $0x202
	POPFQ
flagsClean:
	CMPB ·hasAVX(SB), $0
	JEQ noAVX
	VZEROUPPER
noAVX:
	MOVL const_ctxMXCSR(R11), CX
	ANDL $0xFFC0, CX // without the sticky flags, which belong to nobody
	CMPL CX, $0x1F80
	JEQ mxcsrOK
	LDMXCSR ·goMXCSR(SB)
mxcsrOK:
	CMPW const_ctxFCW(R11), $0x27F
	JEQ fcwOK
	BYTE $0xDB; BYTE $0xE3 // FNINIT
fcwOK:
	MOVB $0, const_ownerSelector(R10)
	MOVL $0, const_ctxTID(R11)
	MOVL $0, const_ownerInGuest(R10)
	PUSHQ const_ownerBP(R10)
	POPQ BP
	MOVL AX, 16(SP)
	RET
	END_MARK

// leaveFull is where the signal handler sends a thread, and where an entry that sees a kick goes:
// registers are whatever they are, and saved where they need to be.
TEXT ·leaveFull(SB), NOSPLIT|NOFRAME, $0-0
	MOVL AX, R8
	GO_RIGHTS
	MOVL R8, AX
	PUSHQ $0x202
	POPFQ
	CMPB ·hasAVX(SB), $0
	JEQ noAVX
	VZEROUPPER
noAVX:
	LDMXCSR ·goMXCSR(SB)
	BYTE $0xDB; BYTE $0xE3 // FNINIT
	MOVB $0, const_ownerSelector(R10)
	MOVL $0, const_ctxTID(R11)
	MOVL $0, const_ownerInGuest(R10)
	PUSHQ const_ownerBP(R10)
	POPQ BP
	MOVL AX, 16(SP)
	RET
	END_MARK

// The gate page's code. It is copied out of Go's text, so it names no symbol: addresses are
// placeholders.

// gateFast and gateReturnTo end an entry: everything but RSP and RDI is loaded, RDI is the context.
TEXT ·gateFast(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ GPR(4)(DI), SP
	MOVQ GPR(7)(DI), DI
	JMP R11
	END_MARK

// gateReturnTo returns from an import call. It does not use RET: the processor predicts a RET by
// the CALL before it, which is the one into enter, and the RET in leave by the guest's call of the
// import. Each would be predicted wrong. So this one is a jump, and TO_LEAVE has the one RET that
// must go wrong, which takes the guest's call off the predictor's stack (10 ns of 72 saved).
TEXT ·gateReturnTo(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ GPR(4)(DI), SP
	MOVQ GPR(7)(DI), DI
	POPQ R11
	JMP R11
	END_MARK

// gateFull loads every general register (RBP is loaded already) and lets IRETQ load RIP, RFLAGS and
// RSP at once.
TEXT ·gateFull(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ const_ctxFrame(DI), SP
	MOVQ GPR(0)(DI), AX
	MOVQ GPR(1)(DI), CX
	MOVQ GPR(2)(DI), DX
	MOVQ GPR(3)(DI), BX
	MOVQ GPR(6)(DI), SI
	MOVQ GPR(8)(DI), R8
	MOVQ GPR(9)(DI), R9
	MOVQ GPR(10)(DI), R10
	MOVQ GPR(11)(DI), R11
	MOVQ GPR(12)(DI), R12
	MOVQ GPR(13)(DI), R13
	MOVQ GPR(14)(DI), R14
	MOVQ GPR(15)(DI), R15
	MOVQ GPR(7)(DI), DI
	BYTE $0x48; BYTE $0xCF // IRETQ
	END_MARK

// FIND_OWNER leaves the record in R10 and the context in R11. It uses R10, R11 and X5, which are
// free at a call, and keeps RCX in X5 meanwhile. A guest that has changed FS has destroyed its Go
// thread: there is no way back, and the process ends by SIGILL.
#define FIND_OWNER \
	MOVQ CX, X5                     \
	RDFSBASEQ R10                   \
	MOVQ R10, R11                   \
	SHRQ $const_ownerShift, R11     \
	ANDL $const_ownerMask, R11      \
	MOVQ $const_placeTable, CX      \
probe:                                  \
	CMPQ (CX)(R11*1), R10           \
	JEQ found                       \
	CMPQ (CX)(R11*1), $0            \
	JEQ lost                        \
	ADDL $const_ownerSize, R11      \
	ANDL $const_ownerMask, R11      \
	JMP probe                       \
lost:                                   \
	UNDEF                           \
found:                                  \
	LEAQ (CX)(R11*1), R10           \
	MOVQ X5, CX                     \
	MOVQ const_ownerContext(R10), R11

// SAVE_CALLEE_SAVED stores what a call preserves, and the result or index in RAX.
#define SAVE_CALLEE_SAVED \
	MOVQ AX, GPR(0)(R11)            \
	MOVQ BX, GPR(3)(R11)            \
	MOVQ SP, GPR(4)(R11)            \
	MOVQ BP, GPR(5)(R11)            \
	MOVQ SI, GPR(6)(R11)            \
	MOVQ DI, GPR(7)(R11)            \
	MOVQ R12, GPR(12)(R11)          \
	MOVQ R13, GPR(13)(R11)          \
	MOVQ R14, GPR(14)(R11)          \
	MOVQ R15, GPR(15)(R11)          \
	MOVUPS X6, XMM(6)(R11)          \
	MOVUPS X7, XMM(7)(R11)          \
	MOVUPS X8, XMM(8)(R11)          \
	MOVUPS X9, XMM(9)(R11)          \
	MOVUPS X10, XMM(10)(R11)        \
	MOVUPS X11, XMM(11)(R11)        \
	MOVUPS X12, XMM(12)(R11)        \
	MOVUPS X13, XMM(13)(R11)        \
	MOVUPS X14, XMM(14)(R11)        \
	MOVUPS X15, XMM(15)(R11)        \
	STMXCSR const_ctxMXCSR(R11)     \
	FSTCW const_ctxFCW(R11)

// TO_LEAVE goes to leave on Go's stack, by RET: see gateReturnTo.
#define TO_LEAVE(exit) \
	GO_RIGHTS                       \
	MOVQ const_ownerSP(R10), SP     \
	MOVL $exit, AX                  \
	MOVQ $const_placeLeave, CX      \
	PUSHQ CX                        \
	BYTE $0xC3

// gateCall is where import thunks jump to: the index in EAX, the return address at RSP.
TEXT ·gateCall(SB), NOSPLIT|NOFRAME, $0-0
	FIND_OWNER
	MOVQ CX, GPR(1)(R11)
	MOVQ DX, GPR(2)(R11)
	MOVQ R8, GPR(8)(R11)
	MOVQ R9, GPR(9)(R11)
	MOVL $const_resumeReturn, const_ctxResume(R11)
	SAVE_CALLEE_SAVED
	TO_LEAVE(const_exitCall)
	END_MARK

// gateReturn is where the return trampoline jumps to, the result in RAX.
TEXT ·gateReturn(SB), NOSPLIT|NOFRAME, $0-0
	FIND_OWNER
	SAVE_CALLEE_SAVED
	TO_LEAVE(const_exitReturn)
	END_MARK
