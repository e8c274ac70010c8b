// What the engine asks the processor.

#include "textflag.h"

// func fsBase() uintptr
TEXT ·fsBase(SB), NOSPLIT, $0-8
	RDFSBASEQ AX
	MOVQ AX, ret+0(FP)
	RET

// func fsWord() uint64
TEXT ·fsWord(SB), NOSPLIT, $0-8
	BYTE $0x64; BYTE $0x48; BYTE $0x8B; BYTE $0x04; BYTE $0x25; LONG $0 // mov rax, fs:[0]
	MOVQ AX, ret+0(FP)
	RET

// func xgetbv() uint64
TEXT ·xgetbv(SB), NOSPLIT, $0-8
	XORL CX, CX
	XGETBV
	SHLQ $32, DX
	ORQ DX, AX
	MOVQ AX, ret+0(FP)
	RET

// func rdpkru() uint32
TEXT ·rdpkru(SB), NOSPLIT, $0-4
	XORL CX, CX
	BYTE $0x0F; BYTE $0x01; BYTE $0xEE // RDPKRU
	MOVL AX, ret+0(FP)
	RET

// func cpuidXSave(component uint32) (eax, ebx uint32)
TEXT ·cpuidXSave(SB), NOSPLIT, $0-16
	MOVL $0xD, AX
	MOVL component+0(FP), CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	RET

// Addresses of the functions that Go code needs to know.

#define ADDRESS(var, fn) \
	DATA var(SB)/8, $fn(SB) \
	GLOBL var(SB), NOPTR, $8

ADDRESS(·addrEnterWindow, ·enterWindow)
ADDRESS(·addrLeave, ·leave)
ADDRESS(·addrLeaveFull, ·leaveFull)
ADDRESS(·addrGateFast, ·gateFast)
ADDRESS(·addrGateReturnTo, ·gateReturnTo)
ADDRESS(·addrGateFull, ·gateFull)
ADDRESS(·addrGateCall, ·gateCall)
ADDRESS(·addrGateReturn, ·gateReturn)
ADDRESS(·addrSignalHandler, ·signalHandler)
ADDRESS(·addrSignalReturn, ·signalReturn)
