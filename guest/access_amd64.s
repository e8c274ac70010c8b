//go:build linux

// The access routines: the only instructions of the host that may fault on guest memory, and the
// signal handler that knows them.
//
// Every routine has an empty frame, so at any of its instructions SP points at the return address
// and the arguments and results are where FP says. A fault therefore lands in a function of the
// same signature (landAccess1 to 3, landCopy), which stores the outcome and returns to the caller.
// Guest addresses are in SI (source) and DI (destination), never in BP or SP: a non-canonical
// address there would be a stack fault.

#include "textflag.h"

// Offsets in the kernel's siginfo and ucontext (asm/siginfo.h, asm/sigcontext.h).
#define SI_CODE 8
#define SI_ADDR 16
#define UC_R8 40
#define UC_R9 48
#define UC_RIP 168
#define UC_ERR 192
#define UC_TRAPNO 200

#define SIGBUS 7
#define BUS_MCEERR_AO 5

// func load8(a uintptr) (v, info uint64)
TEXT ·load8(SB), NOSPLIT, $0-24
	MOVQ    a+0(FP), SI
	MOVBLZX (SI), AX
	MOVQ    AX, v+8(FP)
	MOVQ    $0, info+16(FP)
	RET

// func load16(a uintptr) (v, info uint64)
TEXT ·load16(SB), NOSPLIT, $0-24
	MOVQ    a+0(FP), SI
	MOVWLZX (SI), AX
	MOVQ    AX, v+8(FP)
	MOVQ    $0, info+16(FP)
	RET

// func load32(a uintptr) (v, info uint64)
TEXT ·load32(SB), NOSPLIT, $0-24
	MOVQ a+0(FP), SI
	MOVL (SI), AX
	MOVQ AX, v+8(FP)
	MOVQ $0, info+16(FP)
	RET

// func load64(a uintptr) (v, info uint64)
TEXT ·load64(SB), NOSPLIT, $0-24
	MOVQ a+0(FP), SI
	MOVQ (SI), AX
	MOVQ AX, v+8(FP)
	MOVQ $0, info+16(FP)
	RET

// func store8(a uintptr, v uint64) (old, info uint64)
TEXT ·store8(SB), NOSPLIT, $0-32
	MOVQ a+0(FP), DI
	MOVQ v+8(FP), AX
	MOVB AX, (DI)
	MOVQ $0, info+24(FP)
	RET

// func store16(a uintptr, v uint64) (old, info uint64)
TEXT ·store16(SB), NOSPLIT, $0-32
	MOVQ a+0(FP), DI
	MOVQ v+8(FP), AX
	MOVW AX, (DI)
	MOVQ $0, info+24(FP)
	RET

// func store32(a uintptr, v uint64) (old, info uint64)
TEXT ·store32(SB), NOSPLIT, $0-32
	MOVQ a+0(FP), DI
	MOVQ v+8(FP), AX
	MOVL AX, (DI)
	MOVQ $0, info+24(FP)
	RET

// func store64(a uintptr, v uint64) (old, info uint64)
TEXT ·store64(SB), NOSPLIT, $0-32
	MOVQ a+0(FP), DI
	MOVQ v+8(FP), AX
	MOVQ AX, (DI)
	MOVQ $0, info+24(FP)
	RET

// func swap32(a uintptr, v uint64) (old, info uint64)
TEXT ·swap32(SB), NOSPLIT, $0-32
	MOVQ  a+0(FP), DI
	MOVQ  v+8(FP), AX
	XCHGL AX, (DI)
	MOVQ  AX, old+16(FP)
	MOVQ  $0, info+24(FP)
	RET

// func swap64(a uintptr, v uint64) (old, info uint64)
TEXT ·swap64(SB), NOSPLIT, $0-32
	MOVQ  a+0(FP), DI
	MOVQ  v+8(FP), AX
	XCHGQ AX, (DI)
	MOVQ  AX, old+16(FP)
	MOVQ  $0, info+24(FP)
	RET

// func add32(a uintptr, v uint64) (old, info uint64)
TEXT ·add32(SB), NOSPLIT, $0-32
	MOVQ a+0(FP), DI
	MOVQ v+8(FP), AX
	LOCK
	XADDL AX, (DI)
	MOVQ AX, old+16(FP)
	MOVQ $0, info+24(FP)
	RET

// func add64(a uintptr, v uint64) (old, info uint64)
TEXT ·add64(SB), NOSPLIT, $0-32
	MOVQ a+0(FP), DI
	MOVQ v+8(FP), AX
	LOCK
	XADDQ AX, (DI)
	MOVQ AX, old+16(FP)
	MOVQ $0, info+24(FP)
	RET

// func or32(a uintptr, v uint64) (old, info uint64)
TEXT ·or32(SB), NOSPLIT, $0-32
	MOVQ a+0(FP), DI
	MOVQ v+8(FP), CX
	MOVL (DI), AX

again:
	MOVL AX, DX
	ORL  CX, DX
	LOCK
	CMPXCHGL DX, (DI)
	JNE  again
	MOVQ AX, old+16(FP)
	MOVQ $0, info+24(FP)
	RET

// func and32(a uintptr, v uint64) (old, info uint64)
TEXT ·and32(SB), NOSPLIT, $0-32
	MOVQ a+0(FP), DI
	MOVQ v+8(FP), CX
	MOVL (DI), AX

again:
	MOVL AX, DX
	ANDL CX, DX
	LOCK
	CMPXCHGL DX, (DI)
	JNE  again
	MOVQ AX, old+16(FP)
	MOVQ $0, info+24(FP)
	RET

// func cas32(a uintptr, expect, v uint64) (old, info uint64)
TEXT ·cas32(SB), NOSPLIT, $0-40
	MOVQ a+0(FP), DI
	MOVQ expect+8(FP), AX
	MOVQ v+16(FP), DX
	LOCK
	CMPXCHGL DX, (DI)
	MOVL AX, AX                // a match leaves the upper half of AX as it was
	MOVQ AX, old+24(FP)
	MOVQ $0, info+32(FP)
	RET

// func cas64(a uintptr, expect, v uint64) (old, info uint64)
TEXT ·cas64(SB), NOSPLIT, $0-40
	MOVQ a+0(FP), DI
	MOVQ expect+8(FP), AX
	MOVQ v+16(FP), DX
	LOCK
	CMPXCHGQ DX, (DI)
	MOVQ AX, old+24(FP)
	MOVQ $0, info+32(FP)
	RET

// func copyIn(dst unsafe.Pointer, src, n uintptr) (left uintptr, info uint64, at uintptr)
//
// Up to 256 bytes everything is loaded before anything is stored within a step, with the last step
// overlapping the one before. Longer ranges go through AVX or REP MOVSB.
TEXT ·copyIn(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	CMPQ CX, $16
	JA   over16
	CMPQ CX, $8
	JAE  from8
	CMPQ CX, $4
	JAE  from4
	TESTQ CX, CX
	JEQ  done
	MOVBLZX (SI), AX
	MOVBLZX -1(SI)(CX*1), DX
	CMPQ CX, $3
	JNE  upto2
	MOVBLZX 1(SI), BX
	MOVB BX, 1(DI)

upto2:
	MOVB AX, (DI)
	MOVB DX, -1(DI)(CX*1)
	JMP  done

from4:
	MOVL (SI), AX
	MOVL -4(SI)(CX*1), DX
	MOVL AX, (DI)
	MOVL DX, -4(DI)(CX*1)
	JMP  done

from8:
	MOVQ (SI), AX
	MOVQ -8(SI)(CX*1), DX
	MOVQ AX, (DI)
	MOVQ DX, -8(DI)(CX*1)
	JMP  done

over16:
	CMPQ  CX, $64
	JA    over64
	MOVOU (SI), X0
	MOVOU -16(SI)(CX*1), X1
	CMPQ  CX, $32
	JBE   store32
	MOVOU 16(SI), X2
	MOVOU -32(SI)(CX*1), X3
	MOVOU X2, 16(DI)
	MOVOU X3, -32(DI)(CX*1)

store32:
	MOVOU X0, (DI)
	MOVOU X1, -16(DI)(CX*1)
	JMP   done

over64:
	CMPQ CX, ·repMin(SB)
	JAE  rep

	// The last 64 bytes are stored after the loop, which does whole blocks before them.
	MOVOU -64(SI)(CX*1), X4
	MOVOU -48(SI)(CX*1), X5
	MOVOU -32(SI)(CX*1), X6
	MOVOU -16(SI)(CX*1), X7
	LEAQ  -64(DI)(CX*1), R10
	CMPQ  CX, $256
	JB    sse
	CMPB  ·hasAVX(SB), $1
	JNE   sse

avx:
	VMOVDQU (SI), Y0
	VMOVDQU 32(SI), Y1
	VMOVDQU 64(SI), Y2
	VMOVDQU 96(SI), Y3
	VMOVDQU Y0, (DI)
	VMOVDQU Y1, 32(DI)
	VMOVDQU Y2, 64(DI)
	VMOVDQU Y3, 96(DI)
	ADDQ    $128, SI
	ADDQ    $128, DI
	SUBQ    $128, CX
	CMPQ    CX, $192
	JAE     avx
	VZEROUPPER

sse:
	MOVOU (SI), X0
	MOVOU 16(SI), X1
	MOVOU 32(SI), X2
	MOVOU 48(SI), X3
	MOVOU X0, (DI)
	MOVOU X1, 16(DI)
	MOVOU X2, 32(DI)
	MOVOU X3, 48(DI)
	ADDQ  $64, SI
	ADDQ  $64, DI
	SUBQ  $64, CX
	CMPQ  CX, $64
	JA    sse
	MOVOU X4, (R10)
	MOVOU X5, 16(R10)
	MOVOU X6, 32(R10)
	MOVOU X7, 48(R10)

done:
	MOVQ $0, info+32(FP)
	RET

rep:
	REP; MOVSB
	MOVQ $0, info+32(FP)
	RET

// func copyOut(dst uintptr, src unsafe.Pointer, n uintptr) (left uintptr, info uint64, at uintptr)
TEXT ·copyOut(SB), NOSPLIT, $0-48
	JMP ·copyIn(SB)

// func copyGuest(dst, src, n uintptr) (left uintptr, info uint64, at uintptr)
TEXT ·copyGuest(SB), NOSPLIT, $0-48
	JMP ·copyIn(SB)

// func copyInExact(dst unsafe.Pointer, src, n uintptr) (left uintptr, info uint64, at uintptr)
TEXT ·copyInExact(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	REP; MOVSB
	MOVQ $0, left+24(FP)
	MOVQ $0, info+32(FP)
	RET

// func copyOutExact(dst uintptr, src unsafe.Pointer, n uintptr) (left uintptr, info uint64,
//	at uintptr)
TEXT ·copyOutExact(SB), NOSPLIT, $0-48
	JMP ·copyInExact(SB)

// func copyGuestExact(dst, src, n uintptr) (left uintptr, info uint64, at uintptr)
TEXT ·copyGuestExact(SB), NOSPLIT, $0-48
	JMP ·copyInExact(SB)

// func fill(dst uintptr, b uint64, n uintptr) (left uintptr, info uint64, at uintptr)
TEXT ·fill(SB), NOSPLIT, $0-48
	MOVQ    dst+0(FP), DI
	MOVBLZX b+8(FP), AX
	MOVQ    n+16(FP), CX
	MOVQ    $0x0101010101010101, DX
	IMULQ   DX, AX
	CMPQ    CX, $16
	JA      over16
	CMPQ    CX, $8
	JAE     from8
	CMPQ    CX, $4
	JAE     from4
	TESTQ   CX, CX
	JEQ     done

	// One to three bytes: first, last and the middle one, which may be either.
	MOVB AX, (DI)
	MOVB AX, -1(DI)(CX*1)
	SHRQ $1, CX
	MOVB AX, (DI)(CX*1)
	JMP  done

from4:
	MOVL AX, (DI)
	MOVL AX, -4(DI)(CX*1)
	JMP  done

from8:
	MOVQ AX, (DI)
	MOVQ AX, -8(DI)(CX*1)
	JMP  done

over16:
	CMPQ       CX, $512
	JAE        rep
	MOVQ       AX, X0
	PUNPCKLQDQ X0, X0
	LEAQ       -16(DI)(CX*1), R10

loop:
	MOVOU X0, (DI)
	ADDQ  $16, DI
	CMPQ  DI, R10
	JB    loop
	MOVOU X0, (R10)

done:
	MOVQ $0, info+32(FP)
	RET

rep:
	REP; STOSB
	MOVQ $0, info+32(FP)
	RET

// func fillExact(dst uintptr, b uint64, n uintptr) (left uintptr, info uint64, at uintptr)
TEXT ·fillExact(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ b+8(FP), AX
	MOVQ n+16(FP), CX
	REP; STOSB
	MOVQ $0, left+24(FP)
	MOVQ $0, info+32(FP)
	RET

// func landAccess1(a uintptr) (v, info uint64)
//
// The handler has put the fault's address in R8 and its nature in R9; so for the other three.
TEXT ·landAccess1(SB), NOSPLIT, $0-24
	MOVQ R8, v+8(FP)
	MOVQ R9, info+16(FP)
	RET

// func landAccess2(a uintptr, v uint64) (old, info uint64)
TEXT ·landAccess2(SB), NOSPLIT, $0-32
	MOVQ R8, old+16(FP)
	MOVQ R9, info+24(FP)
	RET

// func landAccess3(a uintptr, x, y uint64) (old, info uint64)
TEXT ·landAccess3(SB), NOSPLIT, $0-40
	MOVQ R8, old+24(FP)
	MOVQ R9, info+32(FP)
	RET

// func landCopy(a uintptr, x, n uintptr) (left uintptr, info uint64, at uintptr)
//
// CX is the number of bytes that REP has not done.
TEXT ·landCopy(SB), NOSPLIT, $0-48
	CMPB ·hasAVX(SB), $1
	JNE  results
	VZEROUPPER

results:
	MOVQ CX, left+24(FP)
	MOVQ R9, info+32(FP)
	MOVQ R8, at+40(FP)
	RET

// func onAccessFault()
//
// The kernel enters here on the signal stack with DI = signal, SI = siginfo, DX = ucontext and the
// address of the restorer on top of the stack. It uses no Go state, so it does not matter what the
// thread was doing. When the interrupted instruction is in an access routine, the thread resumes
// in the routine's landing; otherwise the handler that was here before runs, and finds every
// register that a handler may look at as the kernel left it.
TEXT ·onAccessFault(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVL  SI_CODE(SI), AX
	CMPL  AX, $0
	JLE   chain                // sent by a process, not raised by an instruction
	CMPL  DI, $SIGBUS
	JNE   search
	CMPL  AX, $BUS_MCEERR_AO   // a memory error elsewhere
	JEQ   chain

search:
	MOVQ UC_RIP(DX), R8
	LEAQ ·accessRanges(SB), R9

next:
	MOVQ (R9), AX              // start
	TESTQ AX, AX
	JEQ  chain
	MOVQ 8(R9), R10            // end
	MOVQ 16(R9), R11           // landing
	ADDQ $24, R9
	CMPQ R8, AX
	JB   next
	CMPQ R8, R10
	JAE  next

	MOVQ R11, UC_RIP(DX)
	MOVQ SI_ADDR(SI), AX
	MOVQ AX, UC_R8(DX)
	MOVBQZX UC_TRAPNO(DX), AX
	SHLQ $8, AX
	MOVBQZX UC_ERR(DX), R10
	ORQ  R10, AX
	BTSQ $32, AX
	MOVQ AX, UC_R9(DX)
	RET

chain:
	MOVQ ·prevSIGSEGV(SB), AX
	CMPL DI, $SIGBUS
	JNE  jump
	MOVQ ·prevSIGBUS(SB), AX

jump:
	JMP AX

// func onAccessFaultPC() uintptr
TEXT ·onAccessFaultPC(SB), NOSPLIT, $0-8
	LEAQ ·onAccessFault(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func routine(i uintptr) (start, landing uintptr)
TEXT ·routine(SB), NOSPLIT, $0-24
	MOVQ i+0(FP), AX
	SHLQ $4, AX
	LEAQ routines<>(SB), CX
	MOVQ (CX)(AX*1), DX
	MOVQ 8(CX)(AX*1), BX
	MOVQ DX, start+8(FP)
	MOVQ BX, landing+16(FP)
	RET

// The access routines and their landings; a row of zeros ends the table.
#define ROUTINE(row, name, landing) \
	DATA routines<>+(row*16)(SB)/8, $name(SB)\
	DATA routines<>+(row*16+8)(SB)/8, $landing(SB)

ROUTINE(0, ·load8, ·landAccess1)
ROUTINE(1, ·load16, ·landAccess1)
ROUTINE(2, ·load32, ·landAccess1)
ROUTINE(3, ·load64, ·landAccess1)
ROUTINE(4, ·store8, ·landAccess2)
ROUTINE(5, ·store16, ·landAccess2)
ROUTINE(6, ·store32, ·landAccess2)
ROUTINE(7, ·store64, ·landAccess2)
ROUTINE(8, ·swap32, ·landAccess2)
ROUTINE(9, ·swap64, ·landAccess2)
ROUTINE(10, ·add32, ·landAccess2)
ROUTINE(11, ·add64, ·landAccess2)
ROUTINE(12, ·or32, ·landAccess2)
ROUTINE(13, ·and32, ·landAccess2)
ROUTINE(14, ·cas32, ·landAccess3)
ROUTINE(15, ·cas64, ·landAccess3)
ROUTINE(16, ·copyIn, ·landCopy)
ROUTINE(17, ·copyInExact, ·landCopy)
ROUTINE(18, ·fill, ·landCopy)
ROUTINE(19, ·fillExact, ·landCopy)
GLOBL routines<>(SB), RODATA, $(21*16)
