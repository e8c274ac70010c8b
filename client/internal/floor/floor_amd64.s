#include "textflag.h"

#define SYS_sendto 44
#define SYS_recvfrom 45
#define EINTR 4

// func Ping(fd int, p *byte, n int, rounds int) int
TEXT ·Ping(SB), NOSPLIT, $0-40
	MOVQ rounds+24(FP), R12
next:
	TESTQ R12, R12
	JLE  good
send:
	MOVQ fd+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), DX
	XORL R10, R10
	XORL R8, R8
	XORL R9, R9
	MOVL $SYS_sendto, AX
	SYSCALL
	CMPQ AX, $-EINTR
	JEQ  send
	TESTQ AX, AX
	JLE  bad
recv:
	MOVQ fd+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), DX
	XORL R10, R10
	XORL R8, R8
	XORL R9, R9
	MOVL $SYS_recvfrom, AX
	SYSCALL
	CMPQ AX, $-EINTR
	JEQ  recv
	TESTQ AX, AX
	JLE  bad
	DECQ R12
	JMP  next
bad:
	TESTQ AX, AX
	JNE  out
	MOVQ $-1, AX
	JMP  out
good:
	XORL AX, AX
out:
	MOVQ AX, ret+32(FP)
	RET

// func Echo(fd int, p *byte, n int) int
TEXT ·Echo(SB), NOSPLIT, $0-32
again:
	MOVQ fd+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), DX
	XORL R10, R10
	XORL R8, R8
	XORL R9, R9
	MOVL $SYS_recvfrom, AX
	SYSCALL
	CMPQ AX, $-EINTR
	JEQ  again
	TESTQ AX, AX
	JLE  done
	MOVQ AX, R12
reply:
	MOVQ fd+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ R12, DX
	XORL R10, R10
	XORL R8, R8
	XORL R9, R9
	MOVL $SYS_sendto, AX
	SYSCALL
	CMPQ AX, $-EINTR
	JEQ  reply
	TESTQ AX, AX
	JGT  again
done:
	MOVQ AX, ret+24(FP)
	RET
