// The signal handler: turns a fault or a kick in guest code into an exit.

#include "textflag.h"
#include "go_asm.h"

#define GPR(n) (const_ctxGPR+8*n)
#define COPY(uc, n) \
	MOVQ const_uc(DX), AX \
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
TEXT ·signalHandler(SB), NOSPLIT|NOFRAME, $0-0
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
	MOVQ const_ownerContext(R10), R11
	MOVQ const_ucRIP(DX), R8

	CMPL DI, $const_kickSignal
	JNE fault
	CMPL const_ctxKick(R11), $0
	JEQ ignore // meant for a context that has left this thread
	IN_RANGE(·gateOutStart(SB), ·gateOutEnd(SB), ignore)
	IN_RANGE(·leaveStart(SB), ·leaveEnd(SB), ignore)
	IN_RANGE(·leaveFullStart(SB), ·leaveFullEnd(SB), ignore)
	IN_RANGE(·gateInStart(SB), ·gateInEnd(SB), rollBackKick)
	IN_RANGE(·enterStart(SB), ·enterEnd(SB), rollBackKick)
	MOVL $const_exitKick, CX
	JMP save

rollBackKick:
	MOVL $const_exitKick, CX
	JMP redirect

fault:
	CMPL const_siCode(SI), $0
	JLE pass // sent by a process: none of ours
	IN_RANGE(·leaveStart(SB), ·leaveEnd(SB), inLeave)
	IN_RANGE(·leaveFullStart(SB), ·leaveFullEnd(SB), inLeave)
	MOVQ const_ucCR2(DX), AX
	MOVQ AX, const_ctxFaultAddr(R11)
	MOVL const_ucTRAPNO(DX), AX
	MOVL AX, const_ctxFaultVec(R11)
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

inLeave:
	// A guest that set the trap flag and left: the flag is in the context, and cleared here.
	CMPL const_ucTRAPNO(DX), $1
	JNE pass
	ANDQ $~0x100, const_ucEFLAGS(DX)
	RET

save:
	MOVQ const_ucRAX(DX), AX
	MOVQ AX, GPR(0)(R11)
	MOVQ const_ucRCX(DX), AX
	MOVQ AX, GPR(1)(R11)
	MOVQ const_ucRDX(DX), AX
	MOVQ AX, GPR(2)(R11)
	MOVQ const_ucRBX(DX), AX
	MOVQ AX, GPR(3)(R11)
	MOVQ const_ucRSP(DX), AX
	MOVQ AX, GPR(4)(R11)
	MOVQ const_ucRBP(DX), AX
	MOVQ AX, GPR(5)(R11)
	MOVQ const_ucRSI(DX), AX
	MOVQ AX, GPR(6)(R11)
	MOVQ const_ucRDI(DX), AX
	MOVQ AX, GPR(7)(R11)
	MOVQ const_ucR8(DX), AX
	MOVQ AX, GPR(8)(R11)
	MOVQ const_ucR9(DX), AX
	MOVQ AX, GPR(9)(R11)
	MOVQ const_ucR10(DX), AX
	MOVQ AX, GPR(10)(R11)
	MOVQ const_ucR11(DX), AX
	MOVQ AX, GPR(11)(R11)
	MOVQ const_ucR12(DX), AX
	MOVQ AX, GPR(12)(R11)
	MOVQ const_ucR13(DX), AX
	MOVQ AX, GPR(13)(R11)
	MOVQ const_ucR14(DX), AX
	MOVQ AX, GPR(14)(R11)
	MOVQ const_ucR15(DX), AX
	MOVQ AX, GPR(15)(R11)
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
	CLD
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
ignore:
	RET

notInGuest:
	CMPL DI, $const_kickSignal
	JEQ ignore
pass:
	LEAQ ·previous(SB), AX
	MOVLQZX DI, CX
	MOVQ (AX)(CX*8), AX
	JMP AX
