// Exports that stay in guest code: memory routines that drivers call in inner loops; __chkstk and
// the square roots, whose conventions no thunk could keep; and breakpoints.
//
// Each is copied out of Go's text into ntoskrnl.exe, so it names no symbol and jumps only inside
// itself. All have the calling convention of x64 Windows: arguments in CX, DX, R8 and R9, the
// result in AX; AX, CX, DX, R8–R11 and X0–X5 may be changed, everything else is the caller's. They
// touch no byte outside of what they were given, fault where a driver's own access would, and, but
// for __chkstk, use no stack, so they need no unwind data. They do not depend on the direction flag.
#include "go_asm.h"
#include "textflag.h"

// END_MARK ends a function that is copied; see leafEnd.
#define END_MARK QUAD $const_leafEnd

#define ADDRESS(var, fn) \
	DATA var(SB)/8, $fn(SB) \
	GLOBL var(SB), NOPTR|RODATA, $8

ADDRESS(·addrMemmove, ·leafMemmove)
ADDRESS(·addrMemset, ·leafMemset)
ADDRESS(·addrZeroMemory, ·leafZeroMemory)
ADDRESS(·addrFillMemory, ·leafFillMemory)
ADDRESS(·addrMemcmp, ·leafMemcmp)
ADDRESS(·addrCompareMemory, ·leafCompareMemory)
ADDRESS(·addrChkstk, ·leafChkstk)
ADDRESS(·addrSqrt, ·leafSqrt)
ADDRESS(·addrSqrtf, ·leafSqrtf)
ADDRESS(·addrBreak, ·leafBreak)

// void *memmove(void *dst, const void *src, size_t n). The last 64 bytes or less are all loaded
// before any is stored, so overlaps do no harm; above that the copy runs away from the overlap.
TEXT ·leafMemmove(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ CX, AX
	MOVQ CX, R9
	SUBQ DX, R9        // dst - src: below n, as a number without sign, if dst begins inside src
	CMPQ R8, $64
	JBE  rest
	CMPQ R9, R8
	JB   backward

forward:
	MOVOU 0(DX), X0
	MOVOU 16(DX), X1
	MOVOU 32(DX), X2
	MOVOU 48(DX), X3
	MOVOU X0, 0(CX)
	MOVOU X1, 16(CX)
	MOVOU X2, 32(CX)
	MOVOU X3, 48(CX)
	ADDQ $64, DX
	ADDQ $64, CX
	SUBQ $64, R8
	CMPQ R8, $64
	JA   forward
	JMP  rest

backward:
	MOVOU -16(DX)(R8*1), X0
	MOVOU -32(DX)(R8*1), X1
	MOVOU -48(DX)(R8*1), X2
	MOVOU -64(DX)(R8*1), X3
	MOVOU X0, -16(CX)(R8*1)
	MOVOU X1, -32(CX)(R8*1)
	MOVOU X2, -48(CX)(R8*1)
	MOVOU X3, -64(CX)(R8*1)
	SUBQ $64, R8
	CMPQ R8, $64
	JA   backward

rest:                  // at most 64 bytes
	CMPQ R8, $16
	JB   under16
	CMPQ R8, $32
	JA   over32
	MOVOU 0(DX), X0
	MOVOU -16(DX)(R8*1), X1
	MOVOU X0, 0(CX)
	MOVOU X1, -16(CX)(R8*1)
	RET

over32:
	MOVOU 0(DX), X0
	MOVOU 16(DX), X1
	MOVOU -32(DX)(R8*1), X2
	MOVOU -16(DX)(R8*1), X3
	MOVOU X0, 0(CX)
	MOVOU X1, 16(CX)
	MOVOU X2, -32(CX)(R8*1)
	MOVOU X3, -16(CX)(R8*1)
	RET

under16:
	CMPQ R8, $8
	JB   under8
	MOVQ 0(DX), R9
	MOVQ -8(DX)(R8*1), R10
	MOVQ R9, 0(CX)
	MOVQ R10, -8(CX)(R8*1)
	RET

under8:
	CMPQ R8, $4
	JB   under4
	MOVL 0(DX), R9
	MOVL -4(DX)(R8*1), R10
	MOVL R9, 0(CX)
	MOVL R10, -4(CX)(R8*1)
	RET

under4:
	CMPQ R8, $2
	JB   under2
	MOVWLZX 0(DX), R9
	MOVBLZX -1(DX)(R8*1), R10
	MOVW R9, 0(CX)
	MOVB R10, -1(CX)(R8*1)
	RET

under2:
	TESTQ R8, R8
	JZ   done
	MOVBLZX 0(DX), R9
	MOVB R9, 0(CX)

done:
	RET
	END_MARK

// void RtlZeroMemory(void *dst, size_t n): what goes before memset.
TEXT ·leafZeroMemory(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ DX, R8
	XORL DX, DX
	END_MARK

// void RtlFillMemory(void *dst, size_t n, int c): what goes before memset.
TEXT ·leafFillMemory(SB), NOSPLIT|NOFRAME, $0-0
	XCHGQ DX, R8
	END_MARK

// void *memset(void *dst, int c, size_t n)
TEXT ·leafMemset(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ CX, AX
	MOVBLZX DX, DX
	MOVQ $0x0101010101010101, R9
	IMULQ R9, DX       // the byte, eight times
	CMPQ R8, $16
	JB   under16
	MOVQ DX, X0
	PUNPCKLQDQ X0, X0  // sixteen times
	CMPQ R8, $64
	JBE  rest

loop:
	MOVOU X0, 0(CX)
	MOVOU X0, 16(CX)
	MOVOU X0, 32(CX)
	MOVOU X0, 48(CX)
	ADDQ $64, CX
	SUBQ $64, R8
	CMPQ R8, $64
	JAE  loop
	CMPQ R8, $16
	JB   under16

rest:                  // 16 to 64 bytes
	MOVOU X0, 0(CX)
	MOVOU X0, -16(CX)(R8*1)
	CMPQ R8, $32
	JBE  done
	MOVOU X0, 16(CX)
	MOVOU X0, -32(CX)(R8*1)
	RET

under16:
	CMPQ R8, $8
	JB   under8
	MOVQ DX, 0(CX)
	MOVQ DX, -8(CX)(R8*1)
	RET

under8:
	CMPQ R8, $4
	JB   under4
	MOVL DX, 0(CX)
	MOVL DX, -4(CX)(R8*1)
	RET

under4:
	TESTQ R8, R8
	JZ   done
	MOVB DX, 0(CX)
	MOVB DX, -1(CX)(R8*1)
	SHRQ $1, R8        // 1 of 2 and 3: the byte in the middle
	MOVB DX, 0(CX)(R8*1)

done:
	RET
	END_MARK

// int memcmp(const void *a, const void *b, size_t n): -1, 0 or 1.
TEXT ·leafMemcmp(SB), NOSPLIT|NOFRAME, $0-0
	XORL AX, AX
	CMPQ R8, $8
	JB   bytes

words:
	MOVQ 0(CX), R9
	MOVQ 0(DX), R10
	CMPQ R9, R10
	JNE  differ
	ADDQ $8, CX
	ADDQ $8, DX
	SUBQ $8, R8
	CMPQ R8, $8
	JAE  words

bytes:
	TESTQ R8, R8
	JZ   done
	MOVBLZX 0(CX), R9
	MOVBLZX 0(DX), R10
	CMPL R9, R10
	JNE  differBytes
	INCQ CX
	INCQ DX
	DECQ R8
	JMP  bytes

differ:
	BSWAPQ R9
	BSWAPQ R10
	CMPQ R9, R10

differBytes:
	SBBL AX, AX        // -1 if below
	ORL  $1, AX

done:
	RET
	END_MARK

// SIZE_T RtlCompareMemory(const void *a, const void *b, SIZE_T n): how many bytes are equal.
TEXT ·leafCompareMemory(SB), NOSPLIT|NOFRAME, $0-0
	XORL AX, AX
	CMPQ R8, $8
	JB   bytes

words:
	MOVQ 0(CX)(AX*1), R9
	XORQ 0(DX)(AX*1), R9
	JNZ  differ
	ADDQ $8, AX
	SUBQ $8, R8
	CMPQ R8, $8
	JAE  words

bytes:
	TESTQ R8, R8
	JZ   done
	MOVBLZX 0(CX)(AX*1), R9
	CMPB R9, 0(DX)(AX*1)
	JNE  done
	INCQ AX
	DECQ R8
	JMP  bytes

differ:
	BSFQ R9, R9        // the lowest bit that differs
	SHRQ $3, R9
	ADDQ R9, AX

done:
	RET
	END_MARK

// __chkstk is called with the size of a stack frame in AX, before the caller subtracts it from RSP.
// It touches every page of the frame to come, from the top down, so that a frame larger than the
// guard below the stack does not step over it. All registers are kept.
TEXT ·leafChkstk(SB), NOSPLIT|NOFRAME, $0-0
	PUSHQ R10
	PUSHQ R11
	LEAQ 24(SP), R10   // the caller's RSP
	MOVQ R10, R11
	SUBQ AX, R11       // the lowest address of the frame
	JAE  probe
	XORL R11, R11      // there is none: down to where it faults

probe:
	SUBQ $0x1000, R10
	CMPQ R10, R11
	JB   done
	TESTB AX, 0(R10)
	JMP  probe

done:
	POPQ R11
	POPQ R10
	RET
	END_MARK

// double sqrt(double x)
TEXT ·leafSqrt(SB), NOSPLIT|NOFRAME, $0-0
	SQRTSD X0, X0
	RET
	END_MARK

// float sqrtf(float x)
TEXT ·leafSqrtf(SB), NOSPLIT|NOFRAME, $0-0
	SQRTSS X0, X0
	RET
	END_MARK

// void DbgBreakPoint(void)
TEXT ·leafBreak(SB), NOSPLIT|NOFRAME, $0-0
	BYTE $0xCC         // int3, in one byte
	RET
	END_MARK
