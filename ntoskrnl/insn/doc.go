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
// The interrupt flag is advisory: cli, sti and popf change what pushf gives, and keep neither the
// driver nor others from being preempted. wbinvd, invd, invlpg, invpcid, clts, stac, clac and
// monitor have nothing to act on. What changes the processor's tables and modes (lgdt, lidt, lldt,
// ltr, lmsw, xsetbv) is done if it changes nothing. Never done: swapgs, sysret and iretq to another
// ring, writes to served memory, instructions with a VEX or EVEX prefix, SSE arithmetic with a
// served operand.
//
// [Scan] finds the instructions that do not trap in a process, though a kernel's have another
// effect: pushf and popf, sgdt, sidt, sldt, str, smsw, cpuid, rdtscp, rdpid, vmcall, and those on
// the bases of FS and GS. Where it is certain that one is an instruction, a [Trap] can take its
// place; Emulate asks the Machine what stood there.
//
// The package may import nt, guest, engine and x86asm, which decodes. It takes no locks.
package insn
