// Package insn does the instructions that a kernel may execute and a Linux process may not: moves
// to and from control registers, rdmsr, port I/O and their like, and loads from addresses that a
// process cannot map, such as KUSER_SHARED_DATA.
//
// [Emulate] takes the context of a guest thread whose instruction faulted. It fetches and decodes
// the instruction, does it on the context's registers with the help of a [Machine], which has what
// is not a register, and moves RIP behind it. What it does not know, and what the Machine refuses,
// stays a fault. Decoded instructions are kept in a cache, so that a repeated one costs little
// beside the signal that brought it here, and nothing on Go's heap.
//
// Done without asking the Machine: cli and sti (the interrupt flag is advisory: a driver that
// clears it is not kept from being preempted, nor are others), wbinvd, invd, invlpg and clts, which
// have nothing to act on. Never done: writes to served memory, instructions with a VEX or EVEX
// prefix, SSE arithmetic with a served operand, and what changes the processor's tables (lgdt, lidt,
// lldt, ltr, lmsw, swapgs, xsetbv, rdpmc, sysret).
//
// The package may import nt, guest, engine and x86asm, which decodes. It takes no locks.
package insn
