// A bare coroutine switch, and the body of the coroutine at its other end.

#include "textflag.h"

// A side that is switched away from looks like this, from its stack pointer up:
//
//	R15, R14, R13, R12, BX, BP, return address

// func Swap(p *Pair)
TEXT ·Swap(SB), NOSPLIT|NOFRAME, $0-8
	MOVQ p+0(FP), DI
	PUSHQ BP
	PUSHQ BX
	PUSHQ R12
	PUSHQ R13
	PUSHQ R14
	PUSHQ R15
	MOVQ SP, 0(DI)
	MOVQ 8(DI), SP
	POPQ R15
	POPQ R14
	POPQ R13
	POPQ R12
	POPQ BX
	POPQ BP
	RET

// swapBack is the same switch in the other direction, for a caller that keeps p in DI.
TEXT swapBack<>(SB), NOSPLIT|NOFRAME, $0-0
	PUSHQ BP
	PUSHQ BX
	PUSHQ R12
	PUSHQ R13
	PUSHQ R14
	PUSHQ R15
	MOVQ SP, 8(DI)
	MOVQ 0(DI), SP
	POPQ R15
	POPQ R14
	POPQ R13
	POPQ R12
	POPQ BX
	POPQ BP
	RET

// echo is the other side: it switches back for ever.
TEXT ·echo(SB), NOSPLIT|NOFRAME, $0-0
again:
	CALL swapBack<>(SB)
	JMP again

// func emptyHandler is a signal handler that does nothing.
TEXT ·emptyHandler(SB), NOSPLIT|NOFRAME, $0-0
	RET

// func Trap()
TEXT ·Trap(SB), NOSPLIT|NOFRAME, $0-0
	BYTE $0xCC // int3
	RET

DATA ·addrEcho(SB)/8, $·echo(SB)
GLOBL ·addrEcho(SB), NOPTR, $8
DATA ·addrEmptyHandler(SB)/8, $·emptyHandler(SB)
GLOBL ·addrEmptyHandler(SB), NOPTR, $8
