// Exports that stay in guest code: pool blocks out of the processor's magazine, and back into it.
//
// As in ke_leaf_amd64.s, each is copied out of Go's text into ntoskrnl.exe, and what is not the common
// case goes on to an export of the kernel's own. The layout of magazines and records, and what a
// block's guard and poison are, is said in package mm.
//
// A magazine belongs to whoever runs on its processor at DISPATCH_LEVEL, so the level is raised for the
// few instructions that use it, by writing it: nothing but an exit would see the difference. Which
// processor that is may change until then.
#include "go_asm.h"
#include "textflag.h"

#define END_MARK QUAD $const_leafEnd

#define ADDRESS(var, fn) \
	DATA var(SB)/8, $fn(SB) \
	GLOBL var(SB), NOPTR|RODATA, $8

ADDRESS(·addrAllocatePoolWithTag, ·leafAllocatePoolWithTag)
ADDRESS(·addrAllocatePool2, ·leafAllocatePool2)
ADDRESS(·addrAllocatePool, ·leafAllocatePool)
ADDRESS(·addrFreePoolWithTag, ·leafFreePoolWithTag)
ADDRESS(·addrFreePool, ·leafFreePool)

#define IRQL const_kpcrIRQL(GS)
#define PENDING const_kpcrPending(GS)
#define TIMERS const_kpcrTimers(GS)
#define MAGAZINE const_kpcrMagazine(GS)

// CHECK_REQUEST goes to slow unless the tag in R8, the size in DX and the level in AX are plain for the
// kind of pool in R9.
#define CHECK_REQUEST \
	MOVBLZX IRQL, AX \
	CMPB AX, $const_dispatch \
	JA   slow \
	JB   low \
	CMPL R9, $const_poolPaged \
	JE   slow \
low: \
	TESTL $const_tagMask, R8 \
	JZ   slow \
	CMPL R8, $const_tagBIG \
	JE   slow \
	CMPQ DX, $const_poolMax \
	JA   slow

// TAKE takes a block for DX bytes of the kind R9. It leaves the block in R11, its record in R9 and the
// size of its class in R10. It goes to empty when there is none, to undone when the block is taken and
// Go must do the rest. It uses AX and CX.
#define TAKE \
	MOVB $const_dispatch, IRQL \
	MOVQ MAGAZINE, R10 \
	LEAQ const_poolRound(DX), R11 \
	SHRQ $4, R11 \
	MOVBLZX const_poolClasses(R10)(R11*1), R11 \
	SHLL $const_poolKindShift, R9 \
	ADDL R11, R9 \
	SHLL $const_poolShelfShift, R9 \
	LEAQ const_poolFirst(R10)(R9*1), R10 \
	MOVL const_poolTake(R10), R9 \
	SUBL $1, R9 \
	JB   empty \
	MOVL R9, const_poolTake(R10) \
	SHLQ $4, R9 \
	LEAQ const_poolBlocks(R10)(R9*1), R9 \
	MOVQ (R9), R11 \
	MOVQ 8(R9), R9 \
	MOVL const_poolSize(R10), R10 \
	MOVB AX, IRQL \
	CMPB AX, $const_dispatch \
	JAE  unpoison \
	CMPL PENDING, $0 \
	JNE  undone \
unpoison: \
	MOVQ (R9), CX \
	SHRQ $32, CX \
	MOVWLZX CX, CX \
	ADDL $7, CX \
	SHRL $3, CX \
	MOVQ $const_freedPattern, AX \
unpoisonNext: \
	SUBL $1, CX \
	JB   unpoisoned \
	CMPQ AX, (R11)(CX*8) \
	JE   unpoisonNext \
	JMP  undone \
unpoisoned:

// RECORD writes the record in R9 of a live block of DX bytes with the tag R8, and the guard behind the
// block at R11, of the class size R10. It leaves the guard's pattern in AX.
#define RECORD \
	MOVL R8, AX \
	MOVQ DX, CX \
	SHLQ $32, CX \
	ORQ  CX, AX \
	BTSQ $const_liveBit, AX \
	MOVQ AX, (R9) \
	SUBL DX, R10 \
	CMPL R10, $const_guardMax \
	JBE  guard \
	MOVL $const_guardMax, R10 \
guard: \
	LEAQ (R11)(DX*1), CX \
	LEAQ -8(CX)(R10*1), R10 \
	MOVQ $const_guardPattern, AX \
	MOVQ AX, (R10) \
guardNext: \
	CMPQ CX, R10 \
	JAE  guarded \
	MOVQ AX, (CX) \
	ADDQ $8, CX \
	JMP  guardNext \
guarded:

// GO_ON is the end of a routine that allocates: R9 says whether a block is taken already, and is in RCX.
#define GO_ON \
undone: \
	MOVQ R11, CX \
	MOVL $1, R9 \
	JMP  end \
empty: \
	MOVB AX, IRQL \
slow: \
	XORL R9, R9 \
end: \
	END_MARK

// PVOID ExAllocatePoolWithTag(POOL_TYPE type, SIZE_T size, ULONG tag)
TEXT ·leafAllocatePoolWithTag(SB), NOSPLIT|NOFRAME, $0-0
	XORL R9, R9
	CMPL CX, $const_poolNx
	JE   known
	CMPL CX, $1
	JA   slow
	LEAL 1(CX), R9

known:
	CHECK_REQUEST
	TAKE
	RECORD
	MOVQ R11, AX
	RET

	GO_ON

// PVOID ExAllocatePool2(POOL_FLAGS flags, SIZE_T size, ULONG tag): the same, zeroed.
TEXT ·leafAllocatePool2(SB), NOSPLIT|NOFRAME, $0-0
	XORL R9, R9
	CMPQ CX, $const_flagNonPaged
	JE   known
	MOVL $const_poolPaged, R9
	CMPQ CX, $const_flagPaged
	JNE  slow

known:
	TESTQ DX, DX
	JZ   slow
	CHECK_REQUEST
	TAKE
	LEAQ 7(DX), CX
	SHRQ $3, CX
	XORL AX, AX

zeroNext:
	MOVQ AX, -8(R11)(CX*8)
	SUBL $1, CX
	JNE  zeroNext
	RECORD
	MOVQ R11, AX
	RET

	GO_ON

// PVOID ExAllocatePool(POOL_TYPE type, SIZE_T size). It goes on as ExAllocatePoolWithTag.
TEXT ·leafAllocatePool(SB), NOSPLIT|NOFRAME, $0-0
	MOVL $const_tagNone, R8
	END_MARK

// VOID ExFreePool(PVOID p). It goes on as ExFreePoolWithTag.
TEXT ·leafFreePool(SB), NOSPLIT|NOFRAME, $0-0
	XORL DX, DX
	END_MARK

// VOID ExFreePoolWithTag(PVOID p, ULONG tag). In the slow case R8 says whether the block is freed
// already.
TEXT ·leafFreePoolWithTag(SB), NOSPLIT|NOFRAME, $0-0
	MOVBLZX IRQL, AX
	CMPB AX, $const_dispatch
	JA   slow
	CMPL TIMERS, $0
	JNE  slow

	// R9: the page. R11: the shelf. R8: the offset from the first block.
	MOVQ MAGAZINE, R10
	MOVQ CX, R8
	SUBQ const_poolRAM(R10), R8
	CMPQ R8, const_poolRAMSize(R10)
	JAE  slow
	MOVQ R8, R9
	SHRQ $12, R9
	MOVQ const_poolShelves(R10), R11
	MOVBLZX (R11)(R9*1), R11
	SUBL $1, R11
	JB   slow
	CMPB AX, $const_dispatch
	JNE  low
	CMPL R11, $(const_poolPaged<<const_poolKindShift)
	JAE  slow

low:
	SHLQ $const_poolRecordsShift, R9
	ADDQ const_poolRecords(R10), R9
	SHLL $const_poolShelfShift, R11
	LEAQ const_poolFirst(R10)(R11*1), R10
	ANDL $0xFFF, R8
	SUBL $const_poolFirstBlock, R8
	JB   slow
	MOVQ R8, AX
	IMULQ const_poolRecip(R10), AX
	SHRQ $32, AX
	CMPL AX, const_poolCount(R10)
	JAE  slow
	LEAQ (R9)(AX*8), R9
	IMULL const_poolSize(R10), AX
	CMPL AX, R8
	JNE  slow

	// R9: the record. AX: what it says.
	MOVQ (R9), AX
	MOVQ AX, R8
	SHRQ $48, R8
	CMPL R8, $1
	JNE  slow
	TESTL DX, DX
	JZ   anyTag
	MOVL AX, R8
	XORL DX, R8
	TESTL $const_tagMask, R8
	JNZ  slow
	JMP  tagged

anyTag:
	TESTL AX, AX
	JS   slow

tagged:
	// R8 to R10, the last eight bytes: the guard.
	MOVQ AX, R8
	SHRQ $32, R8
	MOVWLZX R8, R8
	MOVL const_poolSize(R10), R10
	SUBL R8, R10
	CMPL R10, $const_guardMax
	JBE  guard
	MOVL $const_guardMax, R10

guard:
	ADDQ CX, R8
	LEAQ -8(R8)(R10*1), R10
	CMPL (R10), $const_guardHalf
	JNE  slow
	CMPL 4(R10), $const_guardHalf
	JNE  slow

guardNext:
	CMPQ R8, R10
	JAE  guarded
	CMPL (R8), $const_guardHalf
	JNE  slow
	CMPL 4(R8), $const_guardHalf
	JNE  slow
	ADDQ $8, R8
	JMP  guardNext

guarded:
	// R10: the level. R11: the shelf of the processor on which the thread is from here on.
	MOVBLZX IRQL, R10
	MOVB $const_dispatch, IRQL
	MOVQ MAGAZINE, R8
	LEAQ const_poolFirst(R8)(R11*1), R11
	CMPL const_poolGiven(R11), $const_poolRoom
	JAE  full
	MOVQ AX, R8
	BTRQ $const_liveBit, R8
	BTSQ $const_freedBit, R8
	LOCK
	CMPXCHGQ R8, (R9)
	JNE  full
	SHRQ $32, R8
	MOVWLZX R8, R8
	ADDL $7, R8
	SHRL $3, R8
	MOVQ $const_freedPattern, AX

poisonNext:
	SUBL $1, R8
	JB   poisoned
	MOVQ AX, (CX)(R8*8)
	JMP  poisonNext

poisoned:
	MOVL const_poolGiven(R11), R9
	MOVQ CX, const_poolFreed(R11)(R9*8)
	INCL const_poolGiven(R11)
	MOVB R10, IRQL
	CMPB R10, $const_dispatch
	JAE  done
	CMPL PENDING, $0
	JNE  deliver

done:
	RET

deliver:
	MOVL $1, R8
	JMP  end

full:
	MOVB R10, IRQL

slow:
	XORL R8, R8

end:
	END_MARK
