// The signal handler: turns a fault or a kick in guest code into an exit.

#include "textflag.h"
#include "go_asm.h"

#define GPR(n) (const_ctxGPR+8*n)

// WRPKRU loads the rights in EAX; ECX and EDX must be 0.
#define WRPKRU BYTE $0x0F; BYTE $0x01; BYTE $0xEF

// COPY_GPR copies a register from the signal frame to the context.
#define COPY_GPR(uc, n) \
	MOVQ uc(DX), AX      \
	MOVQ AX, GPR(n)(R11)

// IN_RANGE jumps to label when R8 (the interrupted RIP) lies in [lo, hi).
#define IN_RANGE(lo, hi, label) \
	CMPQ R8, lo \
	JCS 3(PC)   \
	CMPQ R8, hi \
	JCS label

// signalHandler(sig DI, info SI, ucontext DX), called by the kernel on the thread's signal stack in
// the C calling convention. It uses caller-saved registers only, needs no g, and returns to the
// kernel's restorer, or passes everything on to the handler that was there before.
//
// It stands before every handler of the process, and so may run in the middle of guest code on
// Go's behalf (profiling, preemption, SIGTERM). Three things are made right for Go then:
//   - AC and NT are cleared. Linux clears DF, RF and TF only, and with AC set any unaligned access
//     of Go's handler is a fault. On the way back NT and ID are set again, which Linux does not
//     take from the frame.
//   - Raw system calls are allowed meanwhile: the vDSO, which is not Go's text, makes one when the
//     clock source needs it.
//   - The return goes through Go's text, which matters in a program with cgo: see swapHandlers.
TEXT ·signalHandler(SB), NOSPLIT|NOFRAME, $0-0
	PUSHQ $0x202
	POPFQ
	RDFSBASEQ AX
	MOVQ AX, R9
	SHRQ $const_ownerShift, R9
	ANDL $const_ownerMask, R9
	MOVQ ·ownerTable(SB), R10
probe:
	MOVQ (R10)(R9*1), R11
	CMPQ R11, AX
	JEQ found
	TESTQ R11, R11
	JEQ notInGuest
	ADDL $const_ownerSize, R9
	ANDL $const_ownerMask, R9
	JMP probe
found:
	ADDQ R9, R10
	CMPL const_ownerInGuest(R10), $0
	JEQ notInGuest
	// Linux gives a handler the rights of a new process: contexts are out of bounds.
	MOVL const_ownerGoPKRU(R10), AX
	TESTL AX, AX
	JEQ unlocked
	MOVQ DX, R8
	XORL CX, CX
	XORL DX, DX
	WRPKRU
	MOVQ R8, DX
unlocked:
	MOVQ const_ownerContext(R10), R11
	MOVQ const_ucRIP(DX), R8

	CMPL DI, $const_kickSignal
	JEQ kick
	CMPL DI, $32
	JCC passInGuest
	MOVL $const_faultSignals, AX
	BTL DI, AX
	JCC passInGuest
	CMPL const_siCode(SI), $0
	JLE passInGuest // sent by a process: no fault
	JMP fault

kick:
	CMPL const_ctxKick(R11), $0
	JEQ return // meant for a context that has left this thread
	IN_RANGE(·gateOutStart(SB), ·gateOutEnd(SB), return)
	IN_RANGE(·leaveStart(SB), ·leaveEnd(SB), return)
	IN_RANGE(·leaveFullStart(SB), ·leaveFullEnd(SB), return)
	MOVL $const_exitKick, CX
	IN_RANGE(·gateInStart(SB), ·gateInEnd(SB), redirect)
	IN_RANGE(·enterStart(SB), ·enterEnd(SB), redirect)
	JMP save

fault:
	MOVL const_ucTRAPNO(DX), R9
	CMPL DI, $const_sysSignal
	JNE vector
	// The frame's trap number, error code and CR2 are those of an earlier fault.
	MOVL $const_vectorSyscall, R9
	MOVL $0, const_ucERR(DX)
vector:
	IN_RANGE(·leaveStart(SB), ·leaveEnd(SB), stepping)
	IN_RANGE(·leaveFullStart(SB), ·leaveFullEnd(SB), stepping)
	IN_RANGE(·gateOutStart(SB), ·gateOutEnd(SB), stepping)
	XORL AX, AX
	CMPL R9, $const_vectorPageFault
	JNE address
	MOVQ const_ucCR2(DX), AX
address:
	MOVQ AX, const_ctxFaultAddr(R11)
	MOVL R9, const_ctxFaultVec(R11)
	MOVL const_ucERR(DX), AX
	MOVL AX, const_ctxFaultCode(R11)
	MOVL DI, const_ctxFaultSig(R11)
	MOVL const_siCode(SI), AX
	MOVL AX, const_ctxFaultSub(R11)
	MOVL $const_exitFault, CX
	// On the way in only a bad RIP or RSP can fault: the registers to report are those that were
	// to be loaded, and they are in the context.
	IN_RANGE(·gateInStart(SB), ·gateInEnd(SB), redirect)
	IN_RANGE(·enterStart(SB), ·enterEnd(SB), redirect)
	JMP save

stepping:
	// A guest that set the trap flag and left: it is not to be stepped through the way out.
	CMPL R9, $const_vectorDebug
	JNE passInGuest
	ANDQ $~0x100, const_ucEFLAGS(DX)
	JMP return

save:
	COPY_GPR(const_ucRAX, 0)
	COPY_GPR(const_ucRCX, 1)
	COPY_GPR(const_ucRDX, 2)
	COPY_GPR(const_ucRBX, 3)
	COPY_GPR(const_ucRSP, 4)
	COPY_GPR(const_ucRBP, 5)
	COPY_GPR(const_ucRSI, 6)
	COPY_GPR(const_ucRDI, 7)
	COPY_GPR(const_ucR8, 8)
	COPY_GPR(const_ucR9, 9)
	COPY_GPR(const_ucR10, 10)
	COPY_GPR(const_ucR11, 11)
	COPY_GPR(const_ucR12, 12)
	COPY_GPR(const_ucR13, 13)
	COPY_GPR(const_ucR14, 14)
	COPY_GPR(const_ucR15, 15)
	MOVQ R8, const_ctxRIP(R11)
	MOVQ const_ucEFLAGS(DX), AX
	MOVQ AX, const_ctxRFLAGS(R11)
	MOVL $const_resumeFull, const_ctxResume(R11)

	// The XSAVE image: the signal frame says how large it is.
	MOVQ CX, R9
	MOVQ const_ucFPSTATE(DX), SI
	MOVL $512, CX
	CMPL const_fpMagic(SI), $const_fpMagic1
	JNE sized
	MOVL const_fpSize(SI), CX
	CMPQ CX, const_ctxXSaveSize(R11)
	JLS sized
	MOVQ const_ctxXSaveSize(R11), CX
sized:
	LEAQ const_ctxXSave(R11), DI
	SHRQ $3, CX
	REP; MOVSQ
	MOVQ R9, CX

redirect:
	MOVQ R10, const_ucR10(DX)
	MOVQ R11, const_ucR11(DX)
	MOVQ CX, const_ucRAX(DX)
	MOVQ const_ownerSP(R10), AX
	MOVQ AX, const_ucRSP(DX)
	LEAQ ·leaveFull(SB), AX
	MOVQ AX, const_ucRIP(DX)
	MOVQ $0x202, const_ucEFLAGS(DX)
	// SYSENTER and far jumps leave a guest in 32-bit mode, in which leaveFull cannot run.
	MOVW $0x33, const_ucCS(DX)
	MOVW $0x2B, const_ucSS(DX)
return:
	MOVQ const_ucEFLAGS(DX), AX
	ANDL $0x204000, AX
	ORL $0x202, AX
	PUSHQ AX
	POPFQ
	RET

passInGuest:
	// Linux calls a handler with RSP 8 below a multiple of 16, as here.
	SUBQ $24, SP
	MOVQ R10, 0(SP)
	MOVBLZX const_ownerSelector(R10), AX
	MOVQ AX, 8(SP)
	MOVQ DX, 16(SP)
	MOVB $0, const_ownerSelector(R10)
	LEAQ ·previous(SB), AX
	MOVLQZX DI, CX
	MOVQ (AX)(CX*8), AX
	CALL AX
	MOVQ 0(SP), R10
	MOVQ 8(SP), AX
	MOVB AX, const_ownerSelector(R10)
	MOVQ 16(SP), DX
	ADDQ $24, SP
	JMP return

notInGuest:
	// A thread from before the protection key was made has no rights to the guest's memory. It gets
	// them with the first signal, a fault for want of them included.
	MOVL ·keyBits(SB), CX
	TESTL CX, CX
	JEQ rights
	MOVQ const_ucFPSTATE(DX), R8
	CMPL const_fpMagic(R8), $const_fpMagic1
	JNE rights
	MOVQ const_fpStateBV(R8), AX
	BTL $9, AX
	JCC rights // PKRU is 0: no restrictions
	MOVQ ·pkruOffset(SB), R9
	MOVL (R8)(R9*1), AX
	TESTL AX, CX
	JEQ rights
	NOTL CX
	ANDL CX, AX
	MOVL AX, (R8)(R9*1)
	CMPL DI, $const_segvSignal
	JNE rights
	CMPL const_siCode(SI), $const_segvPKUErr
	JEQ return
rights:
	CMPL DI, $const_kickSignal
	JEQ return
	LEAQ ·previous(SB), AX
	MOVLQZX DI, CX
	MOVQ (AX)(CX*8), AX
	JMP AX

// signalReturn is what a handler returns to: rt_sigreturn, called from Go's text.
TEXT ·signalReturn(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ $15, AX
	SYSCALL
	UNDEF
