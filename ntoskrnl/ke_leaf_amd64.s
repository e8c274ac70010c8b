// Exports that stay in guest code: spin locks and the IRQL.
//
// As in leaf_amd64.s, each is copied out of Go's text into ntoskrnl.exe and has the calling
// convention of x64 Windows. What is not the common case (a lock that is taken, a DPC that waits, a
// level that is not allowed) goes on to an export of the kernel's own, whose thunk leaves for Go:
// the code runs into it at its end, with the arguments where they were.
//
// The IRQL is a byte of the KPCR, at which GS points. Below DISPATCH_LEVEL the thread may move to
// another processor between any two instructions, but its IRQL comes with it.
//
// Lowering the IRQL without leaving loses no DPC. Whoever queues one sets the KPCR's pending word
// and then kicks the thread that holds the processor. This code stores the new level and then reads
// the word. If the kick comes before the store, the word was set before it, and is seen; if it
// comes after, the thread is below DISPATCH_LEVEL, and runs the DPC when it is kicked out. The
// processor may let the load pass the store, but a signal finds the instructions before it done and
// none behind.
#include "go_asm.h"
#include "textflag.h"

#define END_MARK QUAD $const_leafEnd

#define ADDRESS(var, fn) \
	DATA var(SB)/8, $fn(SB) \
	GLOBL var(SB), NOPTR|RODATA, $8

ADDRESS(·addrGetIRQL, ·leafGetIRQL)
ADDRESS(·addrRaiseIRQL, ·leafRaiseIRQL)
ADDRESS(·addrRaiseToDPC, ·leafRaiseToDPC)
ADDRESS(·addrLowerIRQL, ·leafLowerIRQL)
ADDRESS(·addrAcquireSpinLock, ·leafAcquireSpinLock)
ADDRESS(·addrReleaseSpinLock, ·leafReleaseSpinLock)
ADDRESS(·addrAcquireAtDPC, ·leafAcquireAtDPC)
ADDRESS(·addrReleaseFromDPC, ·leafReleaseFromDPC)
ADDRESS(·addrAcquireQueued, ·leafAcquireQueued)
ADDRESS(·addrReleaseQueued, ·leafReleaseQueued)

#define IRQL const_kpcrIRQL(GS)
#define PENDING const_kpcrPending(GS)
#define THREAD const_kpcrThread(GS)

// KIRQL KeGetCurrentIrql(void)
TEXT ·leafGetIRQL(SB), NOSPLIT|NOFRAME, $0-0
	MOVBLZX IRQL, AX
	RET
	END_MARK

// KIRQL KfRaiseIrql(KIRQL level)
TEXT ·leafRaiseIRQL(SB), NOSPLIT|NOFRAME, $0-0
	MOVBLZX IRQL, AX
	CMPB CX, AX
	JB   slow
	CMPB CX, $const_anyIRQL
	JA   slow
	MOVB CX, IRQL
	RET

slow:
	END_MARK

// KIRQL KeRaiseIrqlToDpcLevel(void)
TEXT ·leafRaiseToDPC(SB), NOSPLIT|NOFRAME, $0-0
	MOVBLZX IRQL, AX
	CMPB AX, $const_dispatch
	JA   slow
	MOVB $const_dispatch, IRQL
	RET

slow:
	END_MARK

// void KeLowerIrql(KIRQL level)
TEXT ·leafLowerIRQL(SB), NOSPLIT|NOFRAME, $0-0
	CMPB CX, IRQL
	JA   slow
	MOVB CX, IRQL
	CMPB CX, $const_dispatch
	JAE  done
	CMPL PENDING, $0
	JNE  slow

done:
	RET

slow:
	END_MARK

// KIRQL KeAcquireSpinLockRaiseToDpc(KSPIN_LOCK *lock)
TEXT ·leafAcquireSpinLock(SB), NOSPLIT|NOFRAME, $0-0
	MOVBLZX IRQL, R8
	CMPB R8, $const_dispatch
	JA   slow
	MOVB $const_dispatch, IRQL
	MOVQ THREAD, DX
	ORQ  $1, DX
	XORL AX, AX
	LOCK
	CMPXCHGQ DX, (CX)
	JNE  taken
	MOVL R8, AX
	RET

taken:
	MOVB R8, IRQL

slow:
	END_MARK

// void KeReleaseSpinLock(KSPIN_LOCK *lock, KIRQL level). In the slow case a null lock says that it
// is released already, and the level set.
TEXT ·leafReleaseSpinLock(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ THREAD, R8
	ORQ  $1, R8
	CMPQ R8, (CX)
	JNE  slow
	CMPB DX, IRQL
	JA   slow
	MOVQ $0, (CX)
	MOVB DX, IRQL
	CMPB DX, $const_dispatch
	JAE  done
	CMPL PENDING, $0
	JNE  deliver

done:
	RET

deliver:
	XORL CX, CX

slow:
	END_MARK

// void KeAcquireSpinLockAtDpcLevel(KSPIN_LOCK *lock)
TEXT ·leafAcquireAtDPC(SB), NOSPLIT|NOFRAME, $0-0
	CMPB IRQL, $const_dispatch
	JB   slow
	MOVQ THREAD, DX
	ORQ  $1, DX
	XORL AX, AX
	LOCK
	CMPXCHGQ DX, (CX)
	JNE  slow
	RET

slow:
	END_MARK

// void KeReleaseSpinLockFromDpcLevel(KSPIN_LOCK *lock)
TEXT ·leafReleaseFromDPC(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ THREAD, R8
	ORQ  $1, R8
	CMPQ R8, (CX)
	JNE  slow
	MOVQ $0, (CX)
	RET

slow:
	END_MARK

// void KeAcquireInStackQueuedSpinLock(KSPIN_LOCK *lock, KLOCK_QUEUE_HANDLE *handle)
TEXT ·leafAcquireQueued(SB), NOSPLIT|NOFRAME, $0-0
	MOVBLZX IRQL, R8
	CMPB R8, $const_dispatch
	JA   slow
	MOVB $const_dispatch, IRQL
	MOVQ THREAD, R9
	ORQ  $1, R9
	XORL AX, AX
	LOCK
	CMPXCHGQ R9, (CX)
	JNE  taken
	MOVQ AX, const_queueNext(DX)
	MOVQ CX, const_queueLock(DX)
	MOVB R8, const_queueOldIRQL(DX)
	RET

taken:
	MOVB R8, IRQL

slow:
	END_MARK

// void KeReleaseInStackQueuedSpinLock(KLOCK_QUEUE_HANDLE *handle). It goes on as KeReleaseSpinLock.
TEXT ·leafReleaseQueued(SB), NOSPLIT|NOFRAME, $0-0
	MOVBLZX const_queueOldIRQL(CX), DX
	MOVQ const_queueLock(CX), CX
	END_MARK
