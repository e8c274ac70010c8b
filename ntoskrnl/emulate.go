// Privileged instructions of drivers, and loads of KUSER_SHARED_DATA: the processor that they see.

package ntoskrnl

import (
	"runtime"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/insn"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// emulate does an instruction that a kernel may execute and a process may not, and reports whether
// it did. If not, f says which fault the driver is to see.
func (k *Kernel) emulate(t *ke.Thread, f *engine.Fault) bool {
	return insn.Emulate(t.Context(), f, (*machine)(k.call(t)))
}

// machine is the processor that privileged instructions of a thread see.
//
// Control registers and MSRs describe an x64 processor in 64-bit mode, as Windows 10 sets it up. A
// write that would change nothing here is done; one that would have to have an effect is refused,
// with the general protection fault that a processor raises for values it does not allow.
type machine Call

// Bits of CR0 and CR4 (Intel SDM volume 3, 2.5).
const (
	cr0PE = 1 << 0
	cr0MP = 1 << 1
	cr0TS = 1 << 3
	cr0ET = 1 << 4
	cr0NE = 1 << 5
	cr0WP = 1 << 16
	cr0AM = 1 << 18
	cr0PG = 1 << 31

	cr4DE         = 1 << 3
	cr4PAE        = 1 << 5
	cr4MCE        = 1 << 6
	cr4PGE        = 1 << 7
	cr4OSFXSR     = 1 << 9
	cr4OSXMMEXCPT = 1 << 10
	cr4FSGSBASE   = 1 << 16
	cr4OSXSAVE    = 1 << 18
	cr4SMEP       = 1 << 20
)

// specials are the special registers but CR8: the value that each reads as, and the bits that a
// write may give another value. Among those are CR0.WP and CR4.SMEP, which guard against a kernel
// itself: a driver may clear them, but a page that is not writable stays so, and a write to it
// faults. Toggling CR4.PGE and reloading CR3 flush translations, of which there are none. Debug
// registers can be read, and cleared, but not armed.
var specials = map[insn.Special]struct{ value, free uint64 }{
	insn.CR0: {cr0PG | cr0AM | cr0WP | cr0NE | cr0ET | cr0MP | cr0PE, cr0WP | cr0TS | cr0AM},
	insn.CR2: {0, ^uint64(0)},
	insn.CR3: {directoryTable, 0},
	insn.CR4: {cr4DE | cr4PAE | cr4MCE | cr4PGE | cr4OSFXSR | cr4OSXMMEXCPT | cr4FSGSBASE |
		cr4OSXSAVE | cr4SMEP, cr4PGE | cr4SMEP},
	insn.DR0: {0, 0},
	insn.DR1: {0, 0},
	insn.DR2: {0, 0},
	insn.DR3: {0, 0},
	insn.DR6: {0xFFFF0FF0, 0xE00F},
	insn.DR7: {0x400, 0},
}

// directoryTable is the physical address of the System process's page tables, as CR3 has it: the
// usual one of Windows 10. There is nothing to be found at it.
const directoryTable = 0x1AD000

// Special implements insn.Machine.
func (m *machine) Special(r insn.Special) (v uint64, ok bool) {
	if r == insn.CR8 {
		return uint64(m.T.IRQL()), true
	}
	s, ok := specials[r]
	return s.value, ok
}

// SetSpecial implements insn.Machine.
func (m *machine) SetSpecial(r insn.Special, v uint64) (ok bool) {
	if r == insn.CR8 {
		return m.setIRQL(v)
	}
	s, ok := specials[r]
	return ok && (v^s.value)&^s.free == 0
}

// setIRQL is a write to CR8, which may raise or lower.
func (m *machine) setIRQL(v uint64) bool {
	switch old := m.T.IRQL(); {
	case v > uint64(nt.HIGH_LEVEL):
		return false
	case nt.IRQL(v) >= old:
		m.T.RaiseIRQL(nt.IRQL(v))
	default:
		m.T.LowerIRQL(nt.IRQL(v))
	}
	return true
}

// Model-specific registers (Intel SDM volume 4).
const (
	msrAPICBase       = 0x1B
	msrFeatureControl = 0x3A
	msrMicrocode      = 0x8B
	msrSysenterCS     = 0x174
	msrSysenterESP    = 0x175
	msrSysenterEIP    = 0x176
	msrMiscEnable     = 0x1A0
	msrDebugControl   = 0x1D9
	msrPAT            = 0x277
	msrEFER           = 0xC0000080
	msrSTAR           = 0xC0000081
	msrLSTAR          = 0xC0000082
	msrCSTAR          = 0xC0000083
	msrSyscallMask    = 0xC0000084
	msrFSBase         = 0xC0000100
	msrGSBase         = 0xC0000101
	msrKernelGSBase   = 0xC0000102
	msrTSCAux         = 0xC0000103
)

// MSR implements insn.Machine.
func (m *machine) MSR(n uint32) (v uint64, ok bool) {
	switch n {
	case msrAPICBase:
		v = 0xFEE00800 // at its usual place, enabled
		if m.T.Processor().Number() == 0 {
			v |= 0x100 // the bootstrap processor
		}
	case msrFeatureControl:
		v = 1 // locked, with VMX off
	case msrMiscEnable:
		v = 1 // fast strings
	case msrPAT:
		v = 0x0007010600070106
	case msrEFER:
		v = 0xD01 // SCE, LME, LMA, NXE
	case msrSTAR:
		v = 0x0023001000000000 // the selectors of user and kernel code
	case msrLSTAR:
		// No system call arrives there, but code that looks for the kernel from here finds it.
		v = uint64(m.symbol(symTrampoline))
	case msrSyscallMask:
		v = 0x4700 // NT, DF, IF, TF
	case msrGSBase:
		v = m.ctx.GSBase
	case msrTSCAux:
		v = uint64(m.T.Processor().Number())
	case msrMicrocode, msrSysenterCS, msrSysenterESP, msrSysenterEIP, msrDebugControl, msrCSTAR,
		msrFSBase, msrKernelGSBase:
	default:
		return 0, false
	}
	return v, true
}

// SetMSR implements insn.Machine: only the present value may be written.
func (m *machine) SetMSR(n uint32, v uint64) (ok bool) {
	old, ok := m.MSR(n)
	return ok && v == old
}

// In implements insn.Machine. No port has anything behind it, so that it reads as all ones.
func (m *machine) In(port uint16, width int) uint32 { return ^uint32(0) >> (32 - 8*width) }

// Out implements insn.Machine. What is written to a port with nothing behind it is lost.
func (m *machine) Out(port uint16, width int, v uint32) {}

// Halt implements insn.Machine: interrupts come all the time, so it only lets others go first.
func (m *machine) Halt() {
	if m.T.IRQL() < nt.DISPATCH_LEVEL {
		m.T.Reschedule()
	}
	runtime.Gosched()
}

// Counter implements insn.Machine: the performance counters stand still, because the registers that
// start them do not exist.
func (m *machine) Counter(n uint32) (v uint64, ok bool) {
	const fixed = 1 << 30
	return 0, n < 4 || n >= fixed && n < fixed+3
}

// Interrupts implements insn.Machine. The flag is the thread's, and advisory: it says what the
// thread has last done to it, and keeps nothing from running.
func (m *machine) Interrupts() bool { return !m.interruptsOff }

// SetInterrupts implements insn.Machine.
func (m *machine) SetInterrupts(on bool) { m.interruptsOff = !on }

// Serves implements insn.Machine.
func (m *machine) Serves(addr uint64) bool {
	return addr-nt.KI_USER_SHARED_DATA < nt.KUserSharedDataPageSize
}

// Load implements insn.Machine.
func (m *machine) Load(addr uint64, width int) (lo, hi uint64, ok bool) {
	off := addr - nt.KI_USER_SHARED_DATA
	if off > uint64(nt.KUserSharedDataPageSize-width) {
		return 0, 0, false
	}
	lo, hi = loadShared(m.Ke, off, width)
	return lo, hi, true
}
