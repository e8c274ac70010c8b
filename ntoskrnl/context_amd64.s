// RtlCaptureContext: an export that stays in guest code, because every register counts. It follows
// the rules of leaf_amd64.s.
#include "go_asm.h"
#include "textflag.h"

DATA ·addrCaptureContext(SB)/8, $·leafCaptureContext(SB)
GLOBL ·addrCaptureContext(SB), NOPTR, $8

#define GPR(n) (const_contextGPR+8*n)

// void RtlCaptureContext(CONTEXT *context): the caller's registers, as they are when this returns.
TEXT ·leafCaptureContext(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ AX, GPR(0)(CX)
	MOVQ CX, GPR(1)(CX)
	MOVQ DX, GPR(2)(CX)
	MOVQ BX, GPR(3)(CX)
	MOVQ BP, GPR(5)(CX)
	MOVQ SI, GPR(6)(CX)
	MOVQ DI, GPR(7)(CX)
	MOVQ R8, GPR(8)(CX)
	MOVQ R9, GPR(9)(CX)
	MOVQ R10, GPR(10)(CX)
	MOVQ R11, GPR(11)(CX)
	MOVQ R12, GPR(12)(CX)
	MOVQ R13, GPR(13)(CX)
	MOVQ R14, GPR(14)(CX)
	MOVQ R15, GPR(15)(CX)
	FXSAVE64 const_contextFltSave(CX)
	STMXCSR const_contextMxCsr(CX)
	MOVL $const_contextFull, const_contextFlags(CX)
	// CS, DS, ES, FS, GS and SS are what they are in the kernel of x64 Windows.
	MOVL $0x002B0010, (const_contextSegments+0)(CX)
	MOVL $0x0053002B, (const_contextSegments+4)(CX)
	MOVL $0x0018002B, (const_contextSegments+8)(CX)
	LEAQ 8(SP), AX
	MOVQ AX, GPR(4)(CX)
	MOVQ 0(SP), AX
	MOVQ AX, const_contextRip(CX)
	PUSHFQ
	POPQ AX
	MOVL AX, const_contextEFlags(CX)
	MOVQ GPR(0)(CX), AX
	RET
	QUAD $const_leafEnd
